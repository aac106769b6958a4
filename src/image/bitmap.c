#include "nbdpull/image_file.h"

#include "lock.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/subprocess.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>

/* A process that is being killed lets go of its lock in milliseconds. */
#define PATIENCE_SECONDS 3

int np_image_file_busy(const char *path, struct np_error *err)
{
    return np_fail(
        err, NP_BUSY,
        "%s: another process has the image open; if the guest has been started meanwhile, run this "
        "again",
        path);
}

int np_image_file_explain_lock(const char *path, struct np_error *err)
{
    if (strstr(err->message, "another process using the image") == NULL)
        return np_error_context(err, "%s", path);
    *err = (struct np_error)NP_ERROR_INIT;
    return np_image_file_busy(path, err);
}

/* Not killed with us: an image that a tool had open for writing when it died has all its bitmaps broken. */
static int run(const char *const argv[], const char *path, int held, struct np_error *err)
{
    if (np_subprocess_run_whole(argv, held, err) < 0)
        return np_image_file_explain_lock(path, err);
    NP_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot open", path);
    return np_file_sync(fd, path, err);
}

/* qemu-img stores bitmaps when it closes the image: what fails then it prints, and succeeds. */
static int check_stored(const char *path, const char *name, bool wanted, struct np_error *err)
{
    NP_CLEANUP(np_image_file_clear) struct np_image_file image = {0};
    if (np_image_file_look(path, "qcow2", &image, err) < 0)
        return -1;
    bool usable = np_image_file_has(&image.usable, name), broken = np_image_file_has(&image.broken, name);
    if (wanted ? usable : !usable && !broken)
        return 0;
    return np_fail(
        err, NP_FAILED,
        "%s: qemu-img could not store its bitmaps; is the file system full? The other bitmaps in it "
        "may be lost",
        path);
}

int np_image_file_bitmap_add(const char *path, const char *name, int held, struct np_error *err)
{
    const char *argv[] = {"qemu-img", "bitmap", "--add", "-f", "qcow2", path, name, NULL};
    if (run(argv, path, held, err) < 0)
        return -1;
    if (check_stored(path, name, true, err) == 0)
        return 0;
    err->class = NP_FAILED; /* NP_BUSY would say that it was not touched */
    return -1;
}

static int look_and_remove(const char *path, const char *name, bool *removed, struct np_error *err)
{
    const char *argv[] = {"qemu-img", "bitmap", "--remove", "-f", "qcow2", path, name, NULL};
    NP_CLEANUP(np_image_file_clear) struct np_image_file image = {0};
    *removed = false;
    if (np_image_file_look(path, "qcow2", &image, err) < 0)
        return -1;
    if (!np_image_file_has(&image.usable, name) && !np_image_file_has(&image.broken, name))
        return 0;
    if (run(argv, path, -1, err) < 0 || check_stored(path, name, false, err) < 0)
        return -1;
    *removed = true;
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Locks announce nothing, but a file that is closed does, and its locks go with it. */
static bool await_close(int watch, int64_t until)
{
    char events[4096];
    struct pollfd waiting = {.fd = watch, .events = POLLIN};
    int64_t left = until - now_ms();
    return watch >= 0 && left > 0 && poll(&waiting, 1, (int)left) > 0 &&
           read(watch, events, sizeof(events)) > 0;
}

int np_image_file_bitmap_remove(const char *path, const char *name, bool *removed, struct np_error *err)
{
    bool ignored;
    if (removed == NULL)
        removed = &ignored;
    *removed = false;
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return 0;
    NP_AUTO_FD int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch >= 0)
        inotify_add_watch(watch, path, IN_CLOSE);
    int64_t until = now_ms() + PATIENCE_SECONDS * INT64_C(1000);
    do {
        *err = (struct np_error)NP_ERROR_INIT;
        if (look_and_remove(path, name, removed, err) == 0)
            return 0;
    } while (err->class == NP_BUSY && await_close(watch, until));
    return -1;
}
