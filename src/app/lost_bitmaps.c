#include "lost_bitmaps.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/image_file.h"

#include "backup_parts.h"
#include "off.h"

#include <string.h>

/* As a run names its checkpoint, and so a safe argument of a command; somebody else's may begin alike. */
static bool is_ours(const char *name)
{
    const size_t length = strlen(NP_CHECKPOINT_PREFIX);
    return strncmp(name, NP_CHECKPOINT_PREFIX, length) == 0 && name[length] != '\0' &&
           name[length + strspn(name + length, "0123456789abcdef-")] == '\0';
}

/* Those of ours that are in neither list yet. */
static int pick(const struct np_names *bitmaps, const struct np_names *known, const struct np_names *other,
                struct np_names *names, struct np_error *err)
{
    for (size_t i = 0; i < bitmaps->count; i++) {
        const char *name = bitmaps->list[i];
        if (is_ours(name) && !np_image_file_has(known, name) && !np_image_file_has(other, name) &&
            !np_image_file_has(names, name) && np_names_add(names, name, err) < 0)
            return -1;
    }
    return 0;
}

static int add_all(const struct np_names *from, struct np_names *to, struct np_error *err)
{
    for (size_t i = 0; i < from->count; i++)
        if (np_names_add(to, from->list[i], err) < 0)
            return -1;
    return 0;
}

static int look_at_disk(const struct np_domain_disk *disk, struct np_names *own, struct np_names *below,
                        struct np_error *err)
{
    NP_CLEANUP(np_image_file_clear) struct np_image_file image = {0};
    if (disk->why_running != NULL)
        return np_fail(err, NP_FAILED, "%s; start the guest, or at least its QEMU (virsh start --paused)",
                       disk->why_running);
    struct np_names *to = disk->can_bitmap ? own : below; /* one that is read-only may be another guest's */
    if (np_image_file_look(disk->source, disk->format, &image, err) < 0 ||
        add_all(&image.usable, to, err) < 0 || add_all(&image.broken, to, err) < 0)
        return -1;
    return add_all(&image.below, below, err);
}

static int look_at_images(struct np_domain *domain, struct np_names *own, struct np_names *below,
                          struct np_names *unseen, struct np_error *err)
{
    NP_CLEANUP(np_domain_disks_clear) struct np_domain_disks disks = {0};
    if (np_domain_disks(domain, &disks, err) < 0)
        return -1;
    for (size_t i = 0; i < disks.count; i++) {
        const struct np_domain_disk *disk = &disks.list[i];
        struct np_error why = NP_ERROR_INIT;
        if (disk->source == NULL || strcmp(disk->format, "qcow2") != 0 ||
            look_at_disk(disk, own, below, &why) == 0)
            continue;
        np_error_context(&why, "disk %s: cannot look for bitmaps of lost checkpoints", disk->target);
        if (np_names_add(unseen, why.message, err) < 0)
            return -1;
    }
    return 0;
}

int np_lost_bitmaps_find(struct np_domain *domain, bool active, struct np_lost_bitmaps *lost,
                         struct np_error *err)
{
    const struct np_names none = {0};
    NP_CLEANUP(np_names_clear) struct np_names own = {0}, below = {0}, known = {0};
    *lost = (struct np_lost_bitmaps){0};
    if ((active ? np_domain_bitmaps(domain, &own, &below, err)
                : look_at_images(domain, &own, &below, &lost->unseen, err)) < 0)
        return -1;
    /* Asked last: libvirt has the checkpoint of a run that begins now before QEMU has the bitmap. */
    if (np_checkpoint_list_all(domain, NP_CHECKPOINT_PREFIX, &known, err) < 0 ||
        pick(&own, &known, &none, &lost->names, err) < 0)
        return -1;
    return pick(&below, &known, &lost->names, &lost->below, err);
}

void np_lost_bitmaps_clear(struct np_lost_bitmaps *lost)
{
    np_names_clear(&lost->names);
    np_names_clear(&lost->below);
    np_names_clear(&lost->unseen);
}

int np_lost_bitmaps_remove(struct np_domain *domain, const char *name, struct np_error *err)
{
    NP_CLEANUP(np_lost_bitmaps_clear) struct np_lost_bitmaps left = {0};
    bool active, found = true;
    if (np_domain_is_active(domain, &active, err) < 0 ||
        (active && np_checkpoint_recall(domain, name, &found, err) < 0) ||
        (found && np_off_delete_checkpoint(domain, name, err) < 0) ||
        np_domain_is_active(domain, &active, err) < 0 || np_lost_bitmaps_find(domain, active, &left, err) < 0)
        return np_error_context(err, "bitmap %s, whose checkpoint libvirt has lost", name);
    if (!np_image_file_has(&left.names, name))
        return 0;
    return np_fail(err, NP_FAILED,
                   "bitmap %s, whose checkpoint libvirt has lost, is still in an image of domain %s; "
                   "`qemu-img bitmap --remove -f qcow2 IMAGE %s` removes it while the guest is off",
                   name, np_domain_name(domain), name);
}
