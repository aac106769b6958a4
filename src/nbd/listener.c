#include "nbdpull/listener.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define NAME "/nbdpull-XXXXXX"
#define PARENT_MAX 64 /* longest parent directory; the whole path must fit sun_path */
#define DIRECTORY_MAX 80

/*
 * Who becomes root without a login may still have his own user's directory in the environment. That user
 * could put another socket in the place of ours; in /tmp, which is sticky, nobody can.
 */
static bool is_own_runtime(const char *path)
{
    struct stat st;
    return path != NULL && path[0] == '/' && strlen(path) <= PARENT_MAX && stat(path, &st) == 0 &&
           S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0 &&
           access(path, W_OK | X_OK) == 0;
}

static int make_directory(char directory[DIRECTORY_MAX], struct np_error *err)
{
    _Static_assert(PARENT_MAX + sizeof(NAME) <= DIRECTORY_MAX, "the name must fit");
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    snprintf(directory, DIRECTORY_MAX, "%.64s" NAME, is_own_runtime(runtime) ? runtime : "/tmp");
    if (mkdtemp(directory) == NULL) {
        np_fail_errno(err, NP_FAILED, errno, "%s: cannot create a directory for a socket", directory);
        directory[0] = '\0';
        return -1;
    }
    if (np_file_set_mode(AT_FDCWD, directory, directory, S_IFDIR, 0700, err) == 0)
        return 0;
    rmdir(directory);
    directory[0] = '\0';
    return -1;
}

static int listen_at(struct np_listener *listener, int backlog, struct np_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _Static_assert(sizeof(address.sun_path) == sizeof(listener->path), "the path must fit");
    memcpy(address.sun_path, listener->path, sizeof(address.sun_path));

    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* Of mode 0600 from the beginning; a umask can only take bits away from that. */
    listener->named = listener->fd >= 0 && fchmod(listener->fd, 0600) == 0 &&
                      bind(listener->fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (!listener->named)
        np_fail_errno(err, NP_FAILED, errno, "%s: cannot make a socket", listener->path);
    else if (np_file_set_mode(AT_FDCWD, listener->path, listener->path, S_IFSOCK, 0600, err) == 0) {
        if (listen(listener->fd, backlog) == 0)
            return 0;
        np_fail_errno(err, NP_FAILED, errno, "%s: cannot listen", listener->path);
    }
    np_listener_close(listener);
    return -1;
}

/* A file that has lost its name is still reached through a descriptor of it. */
static int hide(struct np_listener *listener, struct np_error *err)
{
    listener->file = open(listener->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (listener->file < 0) {
        np_fail_errno(err, NP_FAILED, errno, "%s: cannot open", listener->path);
        np_listener_close(listener);
        return -1;
    }
    unlink(listener->path);
    listener->named = false;
    snprintf(listener->path, sizeof(listener->path), "/proc/self/fd/%d", listener->file);
    return 0;
}

int np_listener_open(struct np_listener *listener, int backlog, struct np_error *err)
{
    char directory[DIRECTORY_MAX];
    *listener = (struct np_listener)NP_LISTENER_NONE;
    if (make_directory(directory, err) < 0)
        return -1;
    snprintf(listener->path, sizeof(listener->path), "%s/nbd", directory);
    int result = listen_at(listener, backlog, err) < 0 ? -1 : hide(listener, err);
    if (rmdir(directory) < 0)
        np_log_warning("%s: cannot remove: %s", directory, strerror(errno));
    return result;
}

int np_listener_open_at(struct np_listener *listener, const char *path, int backlog, struct np_error *err)
{
    *listener = (struct np_listener)NP_LISTENER_NONE;
    if (strlen(path) >= sizeof(listener->path))
        return np_fail(err, NP_FAILED, "%s: too long for a socket path (108 bytes)", path);
    snprintf(listener->path, sizeof(listener->path), "%s", path);
    return listen_at(listener, backlog, err);
}

void np_listener_hand_over(struct np_listener *listener)
{
    np_cleanup_fd(&listener->fd);
    listener->fd = -1;
}

void np_listener_close(struct np_listener *listener)
{
    np_listener_hand_over(listener);
    if (listener->named)
        unlink(listener->path);
    listener->named = false; /* the path stays, for messages */
    if (listener->path[0] != '\0')
        np_cleanup_fd(&listener->file);
    listener->file = -1;
}
