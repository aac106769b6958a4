#include "backup_parts.h"

#include "off.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <stdio.h>
#include <string.h>

static const struct np_point_disk *stored_with_checkpoint(const struct np_point *point, const char *target)
{
    const struct np_point_disk *disk = np_point_disk_of(point, target);
    return disk != NULL && disk->stored && disk->checkpoint[0] != '\0' ? disk : NULL;
}

/* The one rule, for one disk: its newest committed checkpoint and its newest full's stay. */
static bool disk_needs(const struct np_points *points, const char *target, const char *checkpoint)
{
    bool newest = true;
    for (size_t i = points->count; i > 0; i--) {
        const struct np_point_disk *disk = stored_with_checkpoint(&points->list[i - 1], target);
        if (disk == NULL)
            continue;
        bool full = strcmp(disk->level, "full") == 0;
        if ((newest || full) && strcmp(disk->checkpoint, checkpoint) == 0)
            return true;
        if (full)
            return false;
        newest = false;
    }
    return false;
}

static bool is_needed(const struct np_points *points, const struct np_domain_disks *disks,
                      const char *checkpoint, unsigned keep)
{
    for (size_t i = points->count; i > 0 && keep > 0; i--) {
        if (points->list[i - 1].checkpoint[0] == '\0')
            continue;
        if (strcmp(points->list[i - 1].checkpoint, checkpoint) == 0)
            return true;
        keep--;
    }
    for (size_t i = 0; i < disks->count; i++)
        if (disk_needs(points, disks->list[i].target, checkpoint))
            return true;
    return false;
}

static bool is_listed(const struct np_names *names, const char *checkpoint)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->list[i], checkpoint) == 0)
            return true;
    return false;
}

/* While it is off, libvirt would not look whether an image has such a bitmap. */
static int tell_by_name(struct np_domain *domain, const char *name, struct np_error *err)
{
    bool active, found = false;
    if (np_domain_is_active(domain, &active, err) < 0 ||
        (active && np_checkpoint_recall(domain, name, &found, err) < 0))
        return -1;
    return found ? 0 : np_fail(err, NP_FAILED, "its XML cannot be read from the set");
}

static int tell_again(struct np_set *set, struct np_domain *domain, const struct np_point *point,
                      struct np_names *names, struct np_error *err)
{
    struct np_error unread = NP_ERROR_INIT;
    NP_AUTO_FREE char *xml = NULL;
    size_t size;
    bool saved =
        np_set_config_read(set, point->id, "checkpoint.xml", &xml, &size, &unread) == 0 && xml != NULL;
    if ((saved ? np_checkpoint_redefine(domain, xml, point->checkpoint, err)
               : tell_by_name(domain, point->checkpoint, err)) < 0)
        return -1;
    np_log_info("libvirt had lost checkpoint %s; it has been redefined", point->checkpoint);
    return np_names_add(names, point->checkpoint, err);
}

/*
 * A checkpoint that the run before this one kept is known to libvirt. If it is not, libvirt has lost its
 * state: the bitmap is in the image still, where it would record for ever. Told again, it is kept or removed
 * like any other.
 */
static void find_lost(struct np_set *set, struct np_domain *domain, const struct np_domain_disks *disks,
                      const struct np_points *points, const char *prefix, unsigned keep,
                      struct np_names *names)
{
    struct np_points before = *points;
    if (before.count > 0)
        before.count--;
    for (size_t i = 0; i < before.count; i++) {
        const struct np_point *point = &before.list[i];
        if (strncmp(point->checkpoint, prefix, strlen(prefix)) != 0 || is_listed(names, point->checkpoint) ||
            !is_needed(&before, disks, point->checkpoint, keep))
            continue;
        struct np_error why = NP_ERROR_INIT;
        if (tell_again(set, domain, point, names, &why) < 0)
            np_log_debug("checkpoint %s is gone: %s", point->checkpoint, why.message);
    }
}

static int prune(struct np_set *set, struct np_domain *domain, const struct np_domain_disks *disks,
                 unsigned keep, struct np_error *err)
{
    char prefix[64];
    NP_CLEANUP(np_points_clear) struct np_points points = {0};
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    snprintf(prefix, sizeof(prefix), NP_CHECKPOINT_PREFIX "%s-", np_set_short_id(set));
    if (np_set_points(set, &points, err) < 0 || np_checkpoint_list(domain, prefix, &names, err) < 0)
        return -1;
    find_lost(set, domain, disks, &points, prefix, keep, &names);
    for (size_t i = 0; i < names.count; i++) {
        if (is_needed(&points, disks, names.list[i], keep))
            continue;
        if (np_off_delete_checkpoint(domain, names.list[i], err) < 0)
            return -1;
        np_log_debug("checkpoint %s is no longer needed and was removed", names.list[i]);
    }
    return 0;
}

void np_prune(struct np_set *set, struct np_domain *domain, const struct np_domain_disks *disks,
              unsigned keep)
{
    struct np_error err = NP_ERROR_INIT;
    if (prune(set, domain, disks, keep, &err) < 0)
        np_log_warning("checkpoints that are no longer needed could not be removed; the next backup tries "
                       "again: %s",
                       err.message);
}
