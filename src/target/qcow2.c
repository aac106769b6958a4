/* qcow2 images, written directly (qcow2_image.h). No QEMU needed. */
#include "place.h"
#include "qcow2_image.h"
#include "targets.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define SECTOR 512u /* the size of a qcow2 disk is a multiple of it */
#define ZEROES_SIZE (1u << 20)

struct qcow2 {
    struct np_place place;
    struct np_cancel *cancel;
    struct np_qcow2_image image;
};

static void qcow2_close(void *target)
{
    struct qcow2 *qcow2 = target;
    if (qcow2 == NULL)
        return;
    np_qcow2_image_clear(&qcow2->image);
    np_place_close(&qcow2->place);
    free(qcow2);
}

static void cleanup_qcow2(struct qcow2 **qcow2)
{
    qcow2_close(*qcow2);
}

/* ---- preallocation ---- */

static int reserve(struct qcow2 *qcow2, const struct np_qcow2_run *run, struct np_error *err)
{
    if (fallocate(qcow2->place.fd, 0, (off_t)run->pos, (off_t)run->length) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot reserve %ju bytes (preallocation falloc)",
                             qcow2->place.path, (uintmax_t)run->length);
    return 0;
}

static int write_zeroes(struct qcow2 *qcow2, const struct np_qcow2_run *run, struct np_error *err)
{
    NP_AUTO_FREE void *zeroes = calloc(1, ZEROES_SIZE);
    if (zeroes == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", qcow2->place.path);
    for (uint64_t done = 0, step; done < run->length; done += step) {
        step = np_min_u64(ZEROES_SIZE, run->length - done);
        if (np_file_write_at(qcow2->place.fd, qcow2->place.path, zeroes, step, run->pos + done, err) < 0)
            return -1;
    }
    return 0;
}

static int leave_holes(struct qcow2 *qcow2, const struct np_qcow2_run *run, struct np_error *err)
{
    (void)qcow2, (void)run, (void)err;
    return 0;
}

/* Beside "off". Every cluster of the disk gets its place; the functions are called with each place. */
static const struct preallocation {
    const char *name;
    int (*run)(struct qcow2 *qcow2, const struct np_qcow2_run *run, struct np_error *err);
} preallocations[] = {{"metadata", leave_holes}, {"falloc", reserve}, {"full", write_zeroes}};

/* NULL in *how for none. */
static int find_preallocation(const char *name, const struct preallocation **how, struct np_error *err)
{
    *how = NULL;
    if (name == NULL || strcmp(name, "off") == 0)
        return 0;
    for (size_t i = 0; i < NP_ARRAY_SIZE(preallocations); i++)
        if (strcmp(name, preallocations[i].name) == 0)
            *how = &preallocations[i];
    return *how != NULL
               ? 0
               : np_fail(err, NP_USAGE,
                         "a qcow2 image has no preallocation '%s'; use off, metadata, falloc or full", name);
}

static int preallocate(struct qcow2 *qcow2, const struct preallocation *how, struct np_error *err)
{
    struct np_qcow2_run run;
    for (uint64_t at = 0; at < qcow2->image.size; at += run.length)
        if (np_cancel_check(qcow2->cancel, err) < 0 ||
            np_qcow2_image_map(&qcow2->image, at, qcow2->image.size - at, &run, err) < 0 ||
            how->run(qcow2, &run, err) < 0)
            return -1;
    return 0;
}

/* ---- the target ---- */

static int find_version(const char *compat, unsigned *version, struct np_error *err)
{
    bool old = compat != NULL && strcmp(compat, "0.10") == 0;
    *version = old ? 2 : 3;
    if (!old && compat != NULL && strcmp(compat, "1.1") != 0)
        return np_fail(err, NP_USAGE, "there is no qcow2 of compat '%s'; use 0.10 or 1.1", compat);
    return 0;
}

static uint64_t round_size(const struct qcow2 *qcow2, uint64_t size)
{
    uint64_t rounded = np_align_up(size, SECTOR);
    if (rounded != size)
        np_log_warning(
            "%s: the disk has %ju bytes, but a qcow2 image holds whole sectors: the image has %ju, "
            "the rest is zeroes",
            qcow2->place.path, (uintmax_t)size, (uintmax_t)rounded);
    return rounded;
}

static int make_image(struct qcow2 *qcow2, const struct np_target_options *options, unsigned version,
                      struct np_error *err)
{
    if (np_place_open(&qcow2->place, options, err) < 0)
        return -1;
    qcow2->image.fd = qcow2->place.fd;
    qcow2->image.path = qcow2->place.path;
    qcow2->image.version = version;
    qcow2->image.cluster = options->cluster_size;
    qcow2->image.size = round_size(qcow2, options->size);
    return np_qcow2_image_init(&qcow2->image, err);
}

static int qcow2_create(const struct np_target_options *options, void **target, struct np_error *err)
{
    const struct preallocation *how;
    unsigned version;
    if (find_preallocation(options->preallocation, &how, err) < 0 ||
        find_version(options->compat, &version, err) < 0 || np_cancel_check(options->cancel, err) < 0)
        return -1;
    NP_CLEANUP(cleanup_qcow2) struct qcow2 *qcow2 = calloc(1, sizeof(*qcow2));
    if (qcow2 == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", options->name);
    qcow2->place.fd = -1;
    qcow2->cancel = options->cancel;
    if (make_image(qcow2, options, version, err) < 0 || (how != NULL && preallocate(qcow2, how, err) < 0))
        return -1;
    *target = NP_STEAL(qcow2);
    return 0;
}

/* A writer has no state of its own: all writers are the target. */
static int qcow2_writer_open(void *target, void **writer, struct np_error *err)
{
    struct qcow2 *qcow2 = target;
    if (np_cancel_check(qcow2->cancel, err) < 0)
        return -1;
    *writer = qcow2;
    return 0;
}

static int write_runs(struct qcow2 *qcow2, const uint8_t *bytes, uint64_t offset, size_t length,
                      struct np_error *err)
{
    struct np_qcow2_run run;
    for (; length > 0; bytes += run.length, offset += run.length, length -= run.length)
        if (np_qcow2_image_map(&qcow2->image, offset, length, &run, err) < 0 ||
            np_place_write(&qcow2->place, bytes, run.length, run.pos, err) < 0)
            return -1;
    return 0;
}

static int qcow2_write(void *writer, const void *bytes, uint64_t offset, size_t length, struct np_error *err)
{
    struct qcow2 *qcow2 = writer;
    const uint64_t size = qcow2->image.size;
    if (np_cancel_check(qcow2->cancel, err) < 0)
        return -1;
    if (offset > size || length > size - offset)
        np_fail(err, NP_FAILED, "%s: cannot write %zu bytes at %ju: the disk has %ju", qcow2->place.path,
                length, (uintmax_t)offset, (uintmax_t)size);
    else if (write_runs(qcow2, bytes, offset, length, err) == 0)
        return 0;
    return np_error_where(err, NULL, offset);
}

static void qcow2_writer_close(void *writer)
{
    (void)writer;
}

static int qcow2_commit(void *target, struct np_error *err)
{
    struct qcow2 *qcow2 = target;
    if (np_cancel_check(qcow2->cancel, err) < 0 || np_qcow2_image_finish(&qcow2->image, err) < 0 ||
        np_cancel_check(qcow2->cancel, err) < 0)
        return -1;
    return np_place_commit(&qcow2->place, err);
}

const struct np_target_ops np_target_qcow2 = {
    .name = "qcow2",
    .extension = "qcow2",
    .create = qcow2_create,
    .writer_open = qcow2_writer_open,
    .write = qcow2_write,
    .writer_close = qcow2_writer_close,
    .commit = qcow2_commit,
    .close = qcow2_close,
};
