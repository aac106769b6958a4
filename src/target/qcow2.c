/*
 * qcow2 images: qemu-img makes the image, qemu-nbd writes it for us, qemu-img checks it.
 *
 * Durability is ours, not qemu-nbd's: it may ignore flushes to the disk, because commit has it write out its
 * own caches, waits for its end and then calls fsync on the file, through a descriptor that was open all the
 * time and so is told every error of the kernel's writeback.
 */
#include "place.h"
#include "qemu_nbd.h"
#include "targets.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define SECTOR 512u /* the size of a qcow2 disk is a multiple of it */

struct qcow2 {
    struct np_place place;
    struct np_cancel *cancel;
    struct np_cancel_entry on_cancel;
    struct np_child tool; /* qemu-img */
    struct np_qemu_nbd server;
};

struct writer {
    struct qcow2 *qcow2;
    struct np_nbd_client *client; /* lent */
};

static void stop_all(void *ctx)
{
    struct qcow2 *qcow2 = ctx;
    np_child_kill(&qcow2->tool);
    np_qemu_nbd_kill(&qcow2->server);
}

static void qcow2_close(void *target)
{
    struct qcow2 *qcow2 = target;
    if (qcow2 == NULL)
        return;
    np_cancel_remove(qcow2->cancel, &qcow2->on_cancel);
    np_qemu_nbd_clear(&qcow2->server);
    np_child_clear(&qcow2->tool);
    np_place_close(&qcow2->place);
    free(qcow2);
}

static void cleanup_qcow2(struct qcow2 **qcow2)
{
    qcow2_close(*qcow2);
}

/* A failure after somebody has asked to stop: report that, and not its consequences. */
static int fail_or_cancelled(struct qcow2 *qcow2, struct np_error *err)
{
    if (!np_cancel_requested(qcow2->cancel))
        return -1;
    *err = (struct np_error)NP_ERROR_INIT;
    return np_cancel_check(qcow2->cancel, err);
}

static int check_preallocation(const struct np_target_options *options, struct np_error *err)
{
    static const char *const known[] = {"off", "metadata", "falloc", "full"};
    const char *wanted = options->preallocation;
    for (size_t i = 0; i < NP_ARRAY_SIZE(known); i++)
        if (wanted == NULL || strcmp(wanted, known[i]) == 0)
            return 0;
    return np_fail(err, NP_USAGE,
                   "a qcow2 image has no preallocation '%s'; use off, metadata, falloc or full", wanted);
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

static int make_image(struct qcow2 *qcow2, const struct np_target_options *options, struct np_error *err)
{
    char extra[64], size[32];
    const char *how = options->preallocation == NULL ? "off" : options->preallocation;
    snprintf(extra, sizeof(extra), "preallocation=%s", how);
    snprintf(size, sizeof(size), "%ju", (uintmax_t)round_size(qcow2, options->size));
    const char *argv[] = {"qemu-img", "create", "-q", "-f", "qcow2", "-o", extra, qcow2->place.part_path,
                          size,       NULL};
    if (np_child_run(&qcow2->tool, argv, err) < 0)
        return np_error_context(err, "%s: cannot make the image", qcow2->place.path);
    return 0;
}

/*
 * Direct I/O is the fastest where the file system has it: the kernel neither copies nor lets dirty pages pile
 * up for the fsync at the end. Elsewhere it is the page cache without flushes.
 */
static const char *cache_option(const struct np_place *place)
{
    NP_AUTO_FD int fd = openat(place->dir, place->temporary, O_RDWR | O_DIRECT | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? "--cache=none" : "--cache=unsafe";
}

static int make_and_serve(struct qcow2 *qcow2, const struct np_target_options *options, struct np_error *err)
{
    if (np_place_open(&qcow2->place, options, err) < 0 || make_image(qcow2, options, err) < 0)
        return -1;
    return np_qemu_nbd_start(&qcow2->server, qcow2->place.path, qcow2->place.part_path,
                             cache_option(&qcow2->place), options->writers, err);
}

static int qcow2_create(const struct np_target_options *options, void **target, struct np_error *err)
{
    if (check_preallocation(options, err) < 0 || np_cancel_check(options->cancel, err) < 0)
        return -1;
    NP_CLEANUP(cleanup_qcow2) struct qcow2 *qcow2 = calloc(1, sizeof(*qcow2));
    if (qcow2 == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", options->name);
    qcow2->place.fd = -1;
    np_child_init(&qcow2->tool);
    np_qemu_nbd_init(&qcow2->server);
    qcow2->cancel = options->cancel;
    np_cancel_add(qcow2->cancel, &qcow2->on_cancel, stop_all, qcow2);

    if (make_and_serve(qcow2, options, err) < 0)
        return fail_or_cancelled(qcow2, err);
    *target = NP_STEAL(qcow2);
    return 0;
}

static int qcow2_writer_open(void *target, void **writer, struct np_error *err)
{
    NP_AUTO_FREE struct writer *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot open a writer");
    made->qcow2 = target;
    if (np_cancel_check(made->qcow2->cancel, err) < 0 ||
        np_qemu_nbd_lend(&made->qcow2->server, &made->client, err) < 0)
        return -1;
    *writer = NP_STEAL(made);
    return 0;
}

static int qcow2_write(void *writer, const void *bytes, uint64_t offset, size_t length, struct np_error *err)
{
    struct writer *to = writer;
    if (np_nbd_client_write(to->client, bytes, offset, length, err) == 0)
        return 0;
    np_qemu_nbd_explain(&to->qcow2->server, to->client, err);
    return fail_or_cancelled(to->qcow2, err);
}

static void qcow2_writer_close(void *writer)
{
    struct writer *closed = writer;
    if (closed == NULL)
        return;
    np_qemu_nbd_give_back(&closed->qcow2->server, closed->client);
    free(closed);
}

static int check_image(struct qcow2 *qcow2, struct np_error *err)
{
    const char *argv[] = {"qemu-img", "check", "-q", "-f", "qcow2", qcow2->place.part_path, NULL};
    if (np_child_run(&qcow2->tool, argv, err) < 0)
        return np_error_context(err, "%s: the finished image is not clean", qcow2->place.path);
    return 0;
}

static int qcow2_commit(void *target, struct np_error *err)
{
    struct qcow2 *qcow2 = target;
    if (np_qemu_nbd_finish(&qcow2->server, err) < 0 || check_image(qcow2, err) < 0)
        return fail_or_cancelled(qcow2, err);
    if (np_cancel_check(qcow2->cancel, err) < 0)
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
