#include "place.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/uuid.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int refuse_existing(const struct np_place *place, struct np_error *err)
{
    struct stat st;
    if (fstatat(place->dir, place->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return np_fail(err, NP_FAILED, "%s: exists already; choose another directory, or remove it",
                       place->path);
    if (errno != ENOENT)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot look at it", place->path);
    return 0;
}

/* QEMU takes "nbd:..." or "json:..." for a protocol and "-..." for an option unless a path looks like one. */
static char *path_for_programs(const char *dir_path, const char *name)
{
    char *path;
    const char *here = dir_path[0] == '/' || dir_path[0] == '.' ? "" : "./";
    return asprintf(&path, "%s%s/%s", here, dir_path, name) < 0 ? NULL : path;
}

static int make_names(struct np_place *place, const struct np_target_options *options, struct np_error *err)
{
    struct np_uuid random;
    if (np_uuid_random(&random, err) < 0)
        return -1;
    place->path = np_path_join(options->dir_path, options->name);
    if (asprintf(&place->temporary, ".%s.%08x.part", options->name, np_get_le32(random.bytes)) < 0)
        place->temporary = NULL;
    else
        place->part_path = path_for_programs(options->dir_path, place->temporary);
    if (place->path == NULL || place->part_path == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", options->name);
    return 0;
}

static int make_file(struct np_place *place, struct np_error *err)
{
    int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): make_names fails without it */
    place->fd = openat(place->dir, place->temporary, flags, 0600);
    if (place->fd < 0 || fchmod(place->fd, 0600) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot create", place->part_path);
    return 0;
}

int np_place_open(struct np_place *place, const struct np_target_options *options, struct np_error *err)
{
    *place = (struct np_place){.dir = options->dir, .name = options->name, .fd = -1};
    if (make_names(place, options, err) == 0 && refuse_existing(place, err) == 0 &&
        make_file(place, err) == 0)
        return 0;
    np_place_close(place);
    return -1;
}

int np_place_write(struct np_place *place, const void *bytes, size_t size, uint64_t pos, struct np_error *err)
{
    if (np_file_write_at(place->fd, place->path, bytes, size, pos, err) < 0)
        return -1;
    const uint64_t before = atomic_fetch_add_explicit(&place->written, size, memory_order_relaxed);
    if (before / NP_FILE_START_WRITING != (before + size) / NP_FILE_START_WRITING)
        np_file_start_writing(place->fd, 0, 0);
    return 0;
}

int np_place_commit(struct np_place *place, struct np_error *err)
{
    if (np_file_sync(place->fd, place->path, err) < 0 ||
        np_file_place(place->dir, place->path, place->temporary, place->name, err) < 0)
        return -1;
    free(NP_STEAL(place->temporary));
    return 0;
}

void np_place_close(struct np_place *place)
{
    if (place->fd >= 0) {
        close(place->fd);
        if (place->temporary != NULL)
            unlinkat(place->dir, place->temporary, 0);
    }
    free(place->part_path);
    free(place->temporary);
    free(place->path);
    *place = (struct np_place){.fd = -1};
}
