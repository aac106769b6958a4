/* Raw images: a plain file of the disk's exact size, with holes where nothing was written. No QEMU needed. */
#include "place.h"
#include "targets.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define ZEROES_SIZE (1u << 20)

struct raw {
    struct np_place place;
    struct np_cancel *cancel;
    uint64_t size;
};

static void raw_close(void *target)
{
    struct raw *raw = target;
    if (raw == NULL)
        return;
    np_place_close(&raw->place);
    free(raw);
}

static void cleanup_raw(struct raw **raw)
{
    raw_close(*raw);
}

static int reserve(const struct raw *raw, uint64_t size, struct np_error *err)
{
    if (size > 0 && fallocate(raw->place.fd, 0, 0, (off_t)size) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot reserve %ju bytes (preallocation falloc)",
                             raw->place.path, (uintmax_t)size);
    return 0;
}

static int write_zeroes(const struct raw *raw, uint64_t size, struct np_error *err)
{
    NP_AUTO_FREE void *zeroes = calloc(1, ZEROES_SIZE);
    if (zeroes == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", raw->place.path);
    for (uint64_t pos = 0; pos < size; pos += ZEROES_SIZE) {
        size_t step = np_min_u64(ZEROES_SIZE, size - pos);
        if (np_cancel_check(raw->cancel, err) < 0 ||
            np_file_write_at(raw->place.fd, raw->place.path, zeroes, step, pos, err) < 0)
            return -1;
    }
    return 0;
}

/* Beside "off". The functions are called with the empty file of full size. */
static const struct preallocation {
    const char *name;
    int (*run)(const struct raw *raw, uint64_t size, struct np_error *err);
} preallocations[] = {{"falloc", reserve}, {"full", write_zeroes}};

/* NULL in *how for none. */
static int find_preallocation(const char *name, const struct preallocation **how, struct np_error *err)
{
    *how = NULL;
    if (name == NULL || strcmp(name, "off") == 0)
        return 0;
    for (size_t i = 0; i < NP_ARRAY_SIZE(preallocations); i++)
        if (strcmp(name, preallocations[i].name) == 0)
            *how = &preallocations[i];
    return *how != NULL ? 0
                        : np_fail(err, NP_USAGE,
                                  "a raw image has no preallocation '%s'; use off, falloc or full", name);
}

static int raw_create(const struct np_target_options *options, void **target, struct np_error *err)
{
    const struct preallocation *how;
    if (options->cluster_size != 0 || options->compat != NULL)
        return np_fail(err, NP_USAGE, "a raw image has no clusters and no compat");
    if (find_preallocation(options->preallocation, &how, err) < 0 ||
        np_cancel_check(options->cancel, err) < 0)
        return -1;
    NP_CLEANUP(cleanup_raw) struct raw *raw = calloc(1, sizeof(*raw));
    if (raw == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", options->name);
    raw->cancel = options->cancel;
    raw->size = options->size;
    raw->place.fd = -1;
    if (np_place_open(&raw->place, options, err) < 0)
        return -1;
    if (ftruncate(raw->place.fd, (off_t)options->size) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot make a file of %ju bytes", raw->place.path,
                             (uintmax_t)options->size);
    if (how != NULL && how->run(raw, options->size, err) < 0)
        return -1;
    *target = NP_STEAL(raw);
    return 0;
}

/* pwrite needs no state of its own: all writers are the target. */
static int raw_writer_open(void *target, void **writer, struct np_error *err)
{
    struct raw *raw = target;
    if (np_cancel_check(raw->cancel, err) < 0)
        return -1;
    *writer = raw;
    return 0;
}

static int raw_write(void *writer, const void *bytes, uint64_t offset, size_t length, struct np_error *err)
{
    struct raw *raw = writer;
    if (np_cancel_check(raw->cancel, err) < 0)
        return -1;
    if (offset > raw->size || length > raw->size - offset) /* pwrite would make the file longer */
        np_fail(err, NP_FAILED, "%s: cannot write %zu bytes at %ju: the disk has %ju", raw->place.path,
                length, (uintmax_t)offset, (uintmax_t)raw->size);
    else if (np_place_write(&raw->place, bytes, length, offset, err) == 0)
        return 0;
    return np_error_where(err, NULL, offset);
}

static void raw_writer_close(void *writer)
{
    (void)writer;
}

static int raw_commit(void *target, struct np_error *err)
{
    struct raw *raw = target;
    if (np_cancel_check(raw->cancel, err) < 0)
        return -1;
    return np_place_commit(&raw->place, err);
}

const struct np_target_ops np_target_raw = {
    .name = "raw",
    .extension = "raw",
    .create = raw_create,
    .writer_open = raw_writer_open,
    .write = raw_write,
    .writer_close = raw_writer_close,
    .commit = raw_commit,
    .close = raw_close,
};
