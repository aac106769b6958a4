#include "restore_parts.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/log.h"
#include "nbdpull/virt.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

const char *const np_companion_endings[] = {".original.xml", ".xml", ".nvram", NULL};

void np_companions_clear(struct np_companions *companions)
{
    free(companions->domain_xml);
    free(companions->live_xml);
    free(companions->nvram);
    *companions = (struct np_companions){0};
}

bool np_companions_slot(struct np_companions *companions, const char *name, char ***bytes, size_t **size)
{
    const struct {
        const char *name;
        char **bytes;
        size_t *size;
    } slots[] = {
        {"domain.xml", &companions->domain_xml, &companions->domain_xml_size},
        {"domain-live.xml", &companions->live_xml, &companions->live_xml_size},
        {"nvram", &companions->nvram, &companions->nvram_size},
    };
    for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++)
        if (strcmp(slots[i].name, name) == 0) {
            *bytes = slots[i].bytes;
            *size = slots[i].size;
            return true;
        }
    return false;
}

static int open_dir(const char *path, struct np_restore_dir *dir, struct np_error *err)
{
    if (dir->made && np_file_set_mode(AT_FDCWD, path, path, S_IFDIR, 0700, err) < 0)
        return -1;
    dir->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (dir->made ? O_NOFOLLOW : 0));
    if (dir->fd < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot open the target directory", path);
    if (faccessat(dir->fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: the target directory is not writable", path);
    dir->path = realpath(path, NULL);
    return dir->path != NULL ? 0 : np_fail_errno(err, NP_FAILED, errno, "%s", path);
}

int np_restore_dir_open(const char *path, const char *domain, struct np_restore_dir *dir,
                        struct np_error *err)
{
    *dir = (struct np_restore_dir){.fd = -1, .asked = path};
    snprintf(dir->name, sizeof(dir->name), "%s", np_name_is_safe(domain) ? domain : "domain");

    dir->made = mkdir(path, 0700) == 0;
    if (!dir->made && errno != EEXIST)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot create the target directory", path);
    if (open_dir(path, dir, err) < 0) {
        np_cleanup_fd(&dir->fd);
        if (dir->made)
            rmdir(path);
        *dir = (struct np_restore_dir){.fd = -1};
        return -1;
    }
    np_restore_warn_of_unfinished(dir);
    return np_dir_sync_name(dir->fd, path, err);
}

int np_restore_dir_check(const struct np_restore_dir *dir, struct np_error *err)
{
    bool in_place;
    if (np_file_is_at(dir->fd, AT_FDCWD, dir->asked, dir->asked, 0, &in_place, err) < 0)
        return -1;
    return in_place ? 0
                    : np_fail(err, NP_FAILED,
                              "%s: the target directory is not there any more: it was moved, unmounted or "
                              "replaced meanwhile, and what was restored went with it",
                              dir->asked);
}

/* Another directory may stand there by now. */
static void remove_made(const struct np_restore_dir *dir)
{
    bool in_place;
    struct np_error ignored = NP_ERROR_INIT;
    if (np_file_is_at(dir->fd, AT_FDCWD, dir->path, dir->path, AT_SYMLINK_NOFOLLOW, &in_place, &ignored) ==
            0 &&
        in_place)
        rmdir(dir->path); /* fails, rightly, when somebody put something into it */
}

void np_restore_dir_close(struct np_restore_dir *dir, bool keep)
{
    if (dir->made && !keep && dir->path != NULL)
        remove_made(dir);
    if (dir->fd >= 0 && dir->path != NULL)
        close(dir->fd);
    free(dir->path);
    *dir = (struct np_restore_dir){.fd = -1};
}

int np_restore_refuse_existing(const struct np_restore_dir *dir, const char *file, struct np_error *err)
{
    if (faccessat(dir->fd, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return np_fail(
            err, NP_FAILED,
            "%s/%s exists and is not overwritten; restore into an empty directory, or move it away",
            dir->path, file);
    return 0;
}

int np_restore_refuse_companions(const struct np_restore_dir *dir, struct np_error *err)
{
    for (size_t i = 0; np_companion_endings[i] != NULL; i++) {
        char file[300];
        snprintf(file, sizeof(file), "%s%s", dir->name, np_companion_endings[i]);
        if (np_restore_refuse_existing(dir, file, err) < 0)
            return -1;
    }
    return 0;
}

static int put(const struct np_restore_dir *dir, const char *ending, const char *bytes, size_t size,
               struct np_restore_result *result, struct np_error *err)
{
    char file[300];
    snprintf(file, sizeof(file), "%s%s", dir->name, ending);
    NP_AUTO_FREE char *path = np_path_join(dir->path, file);
    char **files = realloc(result->files, (result->file_count + 1) * sizeof(*files));
    if (path == NULL || files == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", file);
    result->files = files;
    if (np_file_create_whole(dir->fd, path, file, bytes, size, err) < 0)
        return -1;
    result->files[result->file_count++] = NP_STEAL(path);
    return 0;
}

static int relocate(const struct np_restore_dir *dir, const char *xml, bool nvram, const char *format,
                    const struct np_restore_result *result, char **relocated, struct np_error *err)
{
    char name[300], nvram_path[PATH_MAX + 300];
    NP_AUTO_FREE struct np_xml_disk *disks = calloc(result->disk_count + 1, sizeof(*disks));
    if (disks == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", dir->name);
    for (size_t i = 0; i < result->disk_count; i++)
        disks[i] = (struct np_xml_disk){result->disks[i].target, result->disks[i].path, format};
    snprintf(name, sizeof(name), "%s-restored", dir->name);
    snprintf(nvram_path, sizeof(nvram_path), "%s/%s.nvram", dir->path, dir->name);
    return np_xml_relocate(xml, name, disks, result->disk_count, nvram ? nvram_path : NULL, relocated, err);
}

int np_restore_companions(const struct np_restore_dir *dir, const struct np_companions *companions,
                          const char *format, struct np_restore_result *result, char **open_displays,
                          struct np_error *err)
{
    const char *xml = companions->domain_xml != NULL ? companions->domain_xml : companions->live_xml;
    size_t size = companions->domain_xml != NULL ? companions->domain_xml_size : companions->live_xml_size;

    if (companions->nvram != NULL &&
        put(dir, ".nvram", companions->nvram, companions->nvram_size, result, err) < 0)
        return -1;
    if (xml == NULL)
        return 0;
    if (put(dir, ".original.xml", xml, size, result, err) < 0)
        return -1;

    /* The disks are right whatever the XML says: one that cannot be rewritten is a warning. */
    NP_AUTO_FREE char *relocated = NULL;
    struct np_error why = NP_ERROR_INIT;
    if (relocate(dir, xml, companions->nvram != NULL, format, result, &relocated, &why) < 0) {
        np_log_warning("no XML to define the restored guest with: %s", why.message);
        return 0;
    }
    if (np_graphics_open(relocated, open_displays, &why) < 0)
        np_log_warning("who can reach the restored guest's displays is not known: %s", why.message);
    return put(dir, ".xml", relocated, strlen(relocated), result, err);
}

void np_restore_warn_of_displays(const struct np_restore_dir *dir, const char *open_displays)
{
    if (open_displays != NULL)
        np_log_warning(
            "%s/%s.xml: the guest's screen and keyboard would be open to others: %s, without a password, for "
            "a set holds none; before the guest is started, give the display one (passwd=), or let it listen "
            "on 127.0.0.1",
            dir->path, dir->name, open_displays);
}
