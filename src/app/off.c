#include "off.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/image_file.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int np_off_check_disk(const struct np_domain_disk *disk, struct np_error *err)
{
    if (disk->why_running == NULL)
        return 0;
    np_error_where(err, disk->target, NP_NO_OFFSET);
    return np_fail(err, NP_FAILED,
                   "disk %s can be backed up only while the guest runs: %s; start the guest, or at least its "
                   "QEMU (virsh start --paused), or leave the disk out with -x %s",
                   disk->target, disk->why_running, disk->target);
}

/* ---- a checkpoint that libvirt knows ---- */

/* A bitmap in an image of the backing chain is not ours to write to: others may stand on that image. */
static int check_reachable(const struct np_domain_disk *disk, const char *name, struct np_error *err)
{
    NP_CLEANUP(np_image_file_clear) struct np_image_file image = {0};
    if (disk->why_running != NULL)
        return np_fail(err, NP_FAILED,
                       "disk %s: %s: deleting checkpoint %s is deferred until the domain runs", disk->target,
                       disk->why_running, name);
    if (access(disk->source, F_OK) <
        0) /* its file system may come back, with a bitmap that records for ever */
        return np_fail_errno(err, NP_FAILED, errno, "disk %s: %s: deleting checkpoint %s is deferred",
                             disk->target, disk->source, name);
    if (np_image_file_look(disk->source, disk->format, &image, err) < 0)
        return np_error_context(err, "checkpoint %s cannot be deleted", name);
    if (np_image_file_has(&image.below, name))
        return np_fail(
            err, NP_FAILED,
            "disk %s: the bitmap of checkpoint %s is in an image of its backing chain: deleting it "
            "is deferred until the domain runs",
            disk->target, name);
    return 0;
}

static int delete_running(struct np_domain *domain, const void *name, bool *was, struct np_error *err)
{
    (void)was;
    return np_checkpoint_delete(domain, name, err);
}

/* What libvirt says that it covers; of one that libvirt has lost, whatever can hold a bitmap. */
static int find_targets(struct np_domain *domain, const char *name, const struct np_domain_disks *disks,
                        struct np_names *targets, struct np_error *err)
{
    NP_CLEANUP(np_names_clear) struct np_names found = {0};
    if (np_checkpoint_list(domain, name, &found, err) < 0)
        return -1;
    if (np_image_file_has(&found, name))
        return np_checkpoint_targets(domain, name, targets, err);
    for (size_t i = 0; i < disks->count; i++)
        if (disks->list[i].can_bitmap && disks->list[i].why_running == NULL &&
            np_names_add(targets, disks->list[i].target, err) < 0)
            return -1;
    return 0;
}

/* Off: bitmaps first, so that whatever interrupts it, libvirt's XML still tells of what is left. */
static int delete_off(struct np_domain *domain, const void *what, bool *was, struct np_error *err)
{
    const char *name = what;
    NP_CLEANUP(np_names_clear) struct np_names targets = {0};
    NP_CLEANUP(np_domain_disks_clear) struct np_domain_disks disks = {0};
    if (np_domain_disks(domain, &disks, err) < 0 || find_targets(domain, name, &disks, &targets, err) < 0)
        return -1;
    for (size_t i = 0; i < targets.count; i++) {
        const struct np_domain_disk *disk = np_domain_disk_of(&disks, targets.list[i]);
        if (disk != NULL && disk->source != NULL && check_reachable(disk, name, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < targets.count; i++) {
        const struct np_domain_disk *disk = np_domain_disk_of(&disks, targets.list[i]);
        if (disk != NULL && disk->source != NULL && strcmp(disk->format, "qcow2") == 0 &&
            np_image_file_bitmap_remove(disk->source, name, was, err) < 0)
            return -1;
    }
    return np_checkpoint_forget(domain, name, err);
}

/* ---- what a run on images began ---- */

static bool is_attached(const struct np_domain_disks *disks, const struct np_intent_image *image)
{
    const struct np_domain_disk *disk = np_domain_disk_of(disks, image->target);
    return disk != NULL && disk->source != NULL && strcmp(disk->source, image->path) == 0;
}

/* What a domain that is there must let go of, or the run fails; others' images are none of its business. */
static int remove_from_image(const struct np_intent *intent, const struct np_intent_image *image,
                             bool attached, bool *was, struct np_error *err)
{
    struct np_error why = NP_ERROR_INIT;
    bool removed = false;
    int done = np_image_file_bitmap_remove(image->path, intent->checkpoint, &removed, &why);
    *was |= removed;
    if (done < 0 && attached) {
        *err = why;
        return np_error_context(err, "disk %s", image->target);
    }
    if (done < 0)
        np_log_warning("bitmap %s could not be removed: %s", intent->checkpoint, why.message);
    return 0;
}

static int take_back_running(struct np_domain *domain, const void *what, bool *was, struct np_error *err)
{
    const struct np_intent *intent = what;
    NP_CLEANUP(np_names_clear) struct np_names targets = {0}, found = {0};
    NP_CLEANUP(np_domain_disks_clear) struct np_domain_disks disks = {0};
    if (np_domain_disks(domain, &disks, err) < 0 ||
        np_checkpoint_list(domain, intent->checkpoint, &found, err) < 0)
        return -1;
    for (size_t i = 0; i < intent->image_count; i++) {
        const struct np_intent_image *image = &intent->images[i];
        int done = is_attached(&disks, image) ? np_names_add(&targets, image->target, err)
                                              : remove_from_image(intent, image, false, was, err);
        if (done < 0)
            return -1;
    }
    bool known = np_image_file_has(&found, intent->checkpoint);
    if (!known && targets.count > 0 &&
        np_checkpoint_declare(domain, intent->checkpoint, &targets, &disks, err) < 0)
        return -1;
    *was |= known || targets.count > 0;
    return np_checkpoint_delete(domain, intent->checkpoint, err);
}

static int take_back_off(struct np_domain *domain, const void *what, bool *was, struct np_error *err)
{
    const struct np_intent *intent = what;
    NP_CLEANUP(np_domain_disks_clear) struct np_domain_disks disks = {0};
    if (domain != NULL && np_domain_disks(domain, &disks, err) < 0)
        return -1;
    for (size_t i = 0; i < intent->image_count; i++)
        if (remove_from_image(intent, &intent->images[i], is_attached(&disks, &intent->images[i]), was, err) <
            0)
            return -1;
    return domain == NULL ? 0 : np_checkpoint_forget(domain, intent->checkpoint, err);
}

/* ---- on or off ---- */

typedef int work(struct np_domain *domain, const void *what, bool *was, struct np_error *err);

/*
 * A guest that is started between the question and the work is met by QEMU's lock on the images: then it is
 * asked once more.
 */
static int by_state(struct np_domain *domain, work *running, work *off, const void *what, bool *was,
                    struct np_error *err)
{
    bool active = false;
    if (domain != NULL && np_domain_is_active(domain, &active, err) < 0)
        return -1;
    if (active)
        return running(domain, what, was, err);
    struct np_error why = NP_ERROR_INIT;
    if (off(domain, what, was, &why) == 0)
        return 0;
    if (why.class == NP_BUSY && domain != NULL && np_domain_is_active(domain, &active, err) == 0 && active)
        return running(domain, what, was, err);
    *err = why;
    return -1;
}

int np_off_delete_checkpoint(struct np_domain *domain, const char *name, struct np_error *err)
{
    bool ignored;
    return by_state(domain, delete_running, delete_off, name, &ignored, err);
}

int np_off_take_back(struct np_domain *domain, const struct np_intent *intent, bool *was,
                     struct np_error *err)
{
    *was = false;
    if (intent->image_count == 0)
        return 0;
    return by_state(domain, take_back_running, take_back_off, intent, was, err);
}
