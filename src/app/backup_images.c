/*
 * A run on the images of a guest that is off. The guest is not started: each image gets the new bitmap, and
 * is then served by a qemu-nbd that only reads. QEMU's locks do the rest, the servers' on qcow2 and our own
 * on what is not: while they are held nobody can write, so that their common content is that of one instant;
 * a guest that was started before has the images open, and the run fails; one that is to be started meanwhile
 * fails on the lock. Where locks are not known or not seen, a guest that runs in the end makes the run fail.
 */
#include "backup_parts.h"

#include "off.h"
#include "workdir.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/image_file.h"
#include "nbdpull/log.h"
#include "nbdpull/qemu_nbd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct np_run_images {
    struct np_cancel *cancel;
    struct np_cancel_entry on_cancel;
    struct np_qemu_nbd *servers; /* one for each disk of the run */
    size_t count;
    struct np_image_holds holds;
};

static void stop_all(void *ctx)
{
    struct np_run_images *images = ctx;
    for (size_t i = 0; i < images->count; i++)
        np_qemu_nbd_kill(&images->servers[i]);
}

static void free_images(struct np_run_images *images)
{
    if (images == NULL)
        return;
    np_cancel_remove(images->cancel, &images->on_cancel);
    for (size_t i = 0; i < images->count; i++)
        np_qemu_nbd_clear(&images->servers[i]);
    np_image_holds_clear(&images->holds);
    free(images->servers);
    free(images);
}

static void cleanup_images(struct np_run_images **images)
{
    free_images(*images);
}

static int new_images(size_t count, struct np_cancel *cancel, struct np_run_images **images,
                      struct np_error *err)
{
    struct np_run_images *made = calloc(1, sizeof(*made));
    if (made == NULL || (made->servers = calloc(count, sizeof(*made->servers))) == NULL) {
        free(made);
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot serve %zu images", count);
    }
    for (; made->count < count; made->count++)
        np_qemu_nbd_init(&made->servers[made->count], cancel);
    made->cancel = cancel;
    np_cancel_add(cancel, &made->on_cancel, stop_all, made);
    *images = made;
    return 0;
}

/* ---- what the images say ---- */

/* An XML that gives the backing chain decides what a guest sees, so what the images say must be the same. */
static int look(const struct np_domain_disk *disk, struct np_image_holds *holds, struct np_image_file *image,
                struct np_error *err)
{
    if (np_off_check_disk(disk, err) < 0)
        return -1;
    if (np_image_file_hold(disk->source, disk->format, holds, image, err) < 0) {
        np_error_where(err, disk->target, NP_NO_OFFSET);
        return np_error_context(err, "disk %s", disk->target);
    }
    if (disk->backing == NULL || strcmp(disk->backing, image->backing) == 0)
        return 0;
    np_error_where(err, disk->target, NP_NO_OFFSET);
    return np_fail(
        err, NP_FAILED,
        "disk %s: the domain's XML and the image name different backing chains; start the guest to "
        "back it up, or leave the disk out with -x %s",
        disk->target, disk->target);
}

static int look_at_all(const struct np_run *run, struct np_image_holds *holds, struct np_error *err)
{
    for (size_t i = 0; i < run->disk_count; i++) {
        NP_CLEANUP(np_image_file_clear) struct np_image_file image = {0};
        if (look(run->disks[i].domain_disk, holds, &image, err) < 0)
            return -1;
    }
    return 0;
}

static int images_check(struct np_run *run, struct np_error *err)
{
    return look_at_all(run, NULL, err);
}

/*
 * Only a bitmap of the active image counts. Where an image below has one of that name, libvirt would join
 * them: alone, this one says too little.
 */
static int images_probe(struct np_run *run, struct np_run_disk *disk, bool *usable, struct np_error *err)
{
    const char *checkpoint = disk->parent_disk->checkpoint;
    NP_CLEANUP(np_image_file_clear) struct np_image_file image = {0};
    (void)run;
    if (look(disk->domain_disk, NULL, &image, err) < 0)
        return -1;
    *usable = np_image_file_has(&image.usable, checkpoint) && !np_image_file_has(&image.below, checkpoint);
    return 0;
}

/* ---- serving ---- */

static int start_server(const struct np_run_disk *disk, const char *socket, struct np_qemu_nbd *server,
                        struct np_error *err)
{
    const struct np_domain_disk *of = disk->domain_disk;
    const struct np_qemu_nbd_spec spec = {
        .subject = of->source,
        .image = of->source,
        .format = of->format,
        .export_name = of->target,
        .bitmap = disk->mode == NP_MODE_BITMAP ? disk->parent_disk->checkpoint : NULL,
        .socket = socket,
    };
    return np_qemu_nbd_start(server, &spec, err);
}

static int open_source(const struct np_run *run, struct np_run_disk *disk, const struct np_qemu_nbd *server,
                       struct np_error *err)
{
    const char *bitmap = disk->mode == NP_MODE_BITMAP ? disk->parent_disk->checkpoint : NULL;
    return np_nbd_source_open(server->listener.path, disk->domain_disk->target, bitmap, run->request->cancel,
                              &disk->source, err);
}

static int serve(struct np_run *run, struct np_run_images *images, struct np_error *err)
{
    for (size_t i = 0; i < run->disk_count; i++) {
        char *socket;
        if (asprintf(&socket, "%s/%zu" NP_WORKDIR_EXPORT, run->workdir, i) < 0)
            return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot name a socket");
        int started = start_server(&run->disks[i], socket, &images->servers[i], err);
        free(socket);
        if (started < 0)
            return -1;
    }
    for (size_t i = 0; i < run->disk_count; i++)
        if (np_qemu_nbd_connect(&images->servers[i], err) < 0) {
            np_error_where(err, run->disks[i].domain_disk->target, NP_NO_OFFSET);
            return np_error_context(err, "disk %s", run->disks[i].domain_disk->target);
        }
    return 0;
}

/* ---- the checkpoint ---- */

/*
 * An image that is in use has not been touched, nor those behind it: there is nothing to take back in them.
 * The guardian must not look before a qemu-img that outlives us is done, so that it holds the channel too.
 */
static int add_bitmaps(struct np_run *run, struct np_error *err)
{
    int channel = run->guardian.pid != 0 ? run->guardian.channel : -1;
    for (size_t i = 0; i < run->intent.image_count; i++) {
        const struct np_intent_image *image = &run->intent.images[i];
        if (np_cancel_check(run->request->cancel, err) < 0)
            return -1;
        if (np_image_file_bitmap_add(image->path, run->intent.checkpoint, channel, err) < 0) {
            if (err->class == NP_BUSY)
                run->intent.image_count = i;
            np_error_where(err, image->target, NP_NO_OFFSET);
            return np_error_context(err, "disk %s", image->target);
        }
    }
    return 0;
}

static int declare_checkpoint(const struct np_run *run, struct np_error *err)
{
    NP_CLEANUP(np_names_clear) struct np_names targets = {0};
    for (size_t i = 0; i < run->intent.image_count; i++)
        if (np_names_add(&targets, run->intent.images[i].target, err) < 0)
            return -1;
    if (targets.count == 0)
        return 0;
    return np_checkpoint_declare(run->domain, run->intent.checkpoint, &targets, &run->all, err);
}

static int images_intend(struct np_run *run, struct np_error *err)
{
    struct np_intent *intent = &run->intent;
    intent->by_images = true;
    if (run->result->checkpoint[0] == '\0')
        return 0;
    intent->images = calloc(run->disk_count, sizeof(*intent->images));
    if (intent->images == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot list the images");
    for (size_t i = 0; i < run->disk_count; i++) {
        const struct np_domain_disk *disk = run->disks[i].domain_disk;
        struct np_intent_image *image = &intent->images[intent->image_count];
        if (!run->disks[i].checkpoint)
            continue;
        if (strlen(disk->source) >= sizeof(image->path))
            return np_fail(err, NP_FAILED, "disk %s: the path of its image is too long", disk->target);
        snprintf(image->target, sizeof(image->target), "%s", disk->target);
        snprintf(image->path, sizeof(image->path), "%s", disk->source);
        intent->image_count++;
    }
    return 0;
}

/*
 * The bitmap before the lock of its image: what is written in between is dirty in it, and so in the next
 * increment once more, which is no harm. The other way round it would be lost.
 */
static int images_begin(struct np_run *run, struct np_error *err)
{
    run->begin_tried = true;
    if (new_images(run->disk_count, run->request->cancel, &run->images, err) < 0 ||
        look_at_all(run, &run->images->holds, err) < 0) {
        run->intent.image_count = 0; /* none has been touched */
        return -1;
    }
    if (add_bitmaps(run, err) < 0)
        return -1;
    if (serve(run, run->images, err) < 0) {
        np_cancel_check(run->request->cancel, err);
        return -1;
    }
    return declare_checkpoint(run, err);
}

static int images_open(struct np_run *run, struct np_error *err)
{
    for (size_t i = 0; i < run->disk_count; i++) {
        struct np_run_disk *disk = &run->disks[i];
        const char *target = disk->domain_disk->target;
        if (open_source(run, disk, &run->images->servers[i], err) < 0) {
            np_error_where(err, target, NP_NO_OFFSET);
            return np_error_context(err, "disk %s", target);
        }
        disk->result->virtual_size = disk->source.size;
    }
    return 0;
}

static int images_end(struct np_run *run, struct np_error *err)
{
    bool started;
    if (np_domain_has_started(run->domain, &started, err) < 0)
        return -1;
    if (started)
        return np_fail(
            err, NP_FAILED,
            "domain %s was started while its images were read: what was read may be torn; run this "
            "again",
            np_domain_name(run->domain));
    free_images(NP_STEAL(run->images));
    return 0;
}

static int images_undo(struct np_run *run, bool *deferred, struct np_error *err)
{
    bool was;
    (void)deferred;
    free_images(NP_STEAL(run->images));
    return run->begin_tried && !np_run_may_stand(run) ? np_off_take_back(run->domain, &run->intent, &was, err)
                                                      : 0;
}

/* ---- without a job: what there would be to store ---- */

/* A server of its own for a moment; nothing of it remains. */
static int count_dirty(struct np_run *run, struct np_run_disk *disk, uint64_t *bytes, struct np_error *err)
{
    NP_CLEANUP(cleanup_images) struct np_run_images *images = NULL;
    struct np_backup_sums sums = {0};
    if (new_images(1, run->request->cancel, &images, err) < 0 ||
        start_server(disk, NULL, &images->servers[0], err) < 0 ||
        np_qemu_nbd_connect(&images->servers[0], err) < 0 ||
        open_source(run, disk, &images->servers[0], err) < 0)
        return np_error_context(err, "disk %s", disk->domain_disk->target);
    const struct np_geometry geometry = np_run_geometry(disk);
    int measured =
        np_backup_measure(&disk->source, &geometry, NP_SCOPE_DIRTY, NULL, run->request->cancel, &sums, err);
    np_nbd_source_close(&disk->source);
    *bytes = sums.data + sums.zero;
    return measured;
}

static int images_expect(struct np_run *run, struct np_run_disk *disk, uint64_t *bytes, bool *known,
                         struct np_error *err)
{
    NP_CLEANUP(np_image_file_clear) struct np_image_file image = {0};
    *known = true;
    if (disk->mode == NP_MODE_BITMAP)
        return count_dirty(run, disk, bytes, err);
    if (look(disk->domain_disk, NULL, &image, err) < 0)
        return -1;
    *bytes = image.on_host;
    return 0;
}

const struct np_reach np_reach_images = {
    .check = images_check,
    .probe = images_probe,
    .expect = images_expect,
    .intend = images_intend,
    .begin = images_begin,
    .open = images_open,
    .end = images_end,
    .undo = images_undo,
};
