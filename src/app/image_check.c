#include "image_check.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/image.h"
#include "nbdpull/log.h"
#include "nbdpull/verify.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct watch {
    const struct np_image_check *check;
    uint64_t size;
};

static void show(void *ctx, uint64_t covered)
{
    const struct watch *watch = ctx;
    const struct np_progress progress = {
        .target = watch->check->target,
        .disks = 1,
        .disk_done = covered,
        .disk_total = watch->size,
        .done = covered,
        .total = watch->size,
    };
    watch->check->progress.show(watch->check->progress.ctx, &progress);
}

/* QEMU rounds a raw image up to whole sectors, so its file is asked. A block device is what it is. */
static int check_raw_size(const struct np_image_check *check, uint64_t size, struct np_error *err)
{
    struct stat st;
    if (strcmp(check->format, "raw") != 0)
        return 0;
    if (stat(check->path, &st) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot open", check->path);
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size == size)
        return 0;
    np_fail(err, NP_DAMAGED, "%s: it has %ju bytes, and disk %s has %ju at that point", check->path,
            (uintmax_t)st.st_size, check->target, (uintmax_t)size);
    return np_error_where(err, check->target, NP_NO_OFFSET);
}

static int compare(const struct np_image_check *check, struct np_chain *chain, struct np_error *err)
{
    struct watch watch = {.check = check, .size = np_chain_geometry(chain)->size};
    const struct np_verify_image_options options = {
        .workers = check->workers,
        .target = check->target,
        .image = check->path,
        .cancel = check->cancel,
        .progress = check->progress.show != NULL ? show : NULL,
        .ctx = &watch,
    };
    struct np_image *image;
    struct np_source source;
    np_log_debug("disk %s: comparing %s with what was backed up", check->target, check->path);
    if (check_raw_size(check, watch.size, err) < 0 ||
        np_image_open(check->path, check->format, check->workers + 1, check->cancel, &image, &source, err) <
            0)
        return -1;
    int same = np_verify_image(&options, chain, &source, err);
    np_image_close(image);
    return same;
}

int np_image_check(const struct np_image_check *check, struct np_origin *origin, struct np_error *err)
{
    struct np_origin_disk opened;
    if (np_origin_open_disk(origin, check->target, true, &opened, err) < 0)
        return -1;
    int same = compare(check, opened.chain, err);
    np_origin_close_disk(origin, &opened);
    return same;
}
