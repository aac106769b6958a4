/* The place of the images: put there under their names, all or none, looked for last, and taken back. */
#include "restore_parts.h"

#include "nbdpull/file.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Its inode is held open, so no other file can have the number. */
static bool is_ours(const struct np_restore *restore, size_t i)
{
    struct stat st;
    return fstatat(restore->dir.fd, restore->files[i], &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           st.st_dev == restore->images[i].dev && st.st_ino == restore->images[i].ino;
}

int np_restore_place_check(const struct np_restore *restore, struct np_error *err)
{
    if (np_restore_dir_check(&restore->dir, err) < 0)
        return -1;
    for (size_t i = 0; i < restore->committed; i++)
        if (!is_ours(restore, i))
            return np_fail(err, NP_FAILED, "%s: it was moved, deleted or replaced when it was just restored",
                           restore->result->disks[i].path);
    return 0;
}

static int commit_image(struct np_restore *restore, size_t i, struct np_error *err)
{
    struct stat st;
    if (restore->ops->commit(restore->disks[i].target, err) < 0)
        return -1;
    restore->committed++;
    if (fstatat(restore->dir.fd, restore->files[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot look at it", restore->result->disks[i].path);
    restore->images[i] = (struct np_restored_image){st.st_dev, st.st_ino};
    return 0;
}

void np_restore_place_take_back(struct np_restore *restore)
{
    for (size_t i = 0; i < restore->committed; i++)
        if (!is_ours(restore, i) || unlinkat(restore->dir.fd, restore->files[i], 0) < 0)
            np_log_warning("%s/%s belongs to a restore that failed and could not be removed",
                           restore->dir.path, restore->files[i]);
    for (size_t i = 0; i < restore->count; i++)
        if (restore->result->disks[i].losses != NULL)
            unlinkat(restore->dir.fd, restore->reports[i].name, 0);
    for (size_t i = 0; i < restore->result->file_count; i++)
        unlinkat(restore->dir.fd, strrchr(restore->result->files[i], '/') + 1, 0);
    restore->committed = 0;
    struct np_error err = NP_ERROR_INIT;
    if (np_file_sync(restore->dir.fd, restore->dir.path, &err) < 0)
        np_log_warning("images of a restore that failed may be back after a power cut: %s", err.message);
}

int np_restore_place_commit(struct np_restore *restore, struct np_error *err)
{
    if (np_salvage_place_reports(restore, err) < 0) {
        np_restore_place_take_back(restore);
        return -1;
    }
    for (size_t i = 0; i < restore->count; i++) {
        if (np_cancel_check(restore->request->cancel, err) < 0 || commit_image(restore, i, err) < 0) {
            np_error_where(err, restore->disks[i].target_name, NP_NO_OFFSET);
            np_restore_place_take_back(restore);
            return -1;
        }
    }
    if (np_restore_companions(&restore->dir, &restore->companions, restore->ops->name, restore->result,
                              &restore->open_displays, err) < 0) {
        np_restore_place_take_back(restore);
        return -1;
    }
    return 0;
}
