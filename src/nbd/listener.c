#include "nbdpull/listener.h"

#include "nbdpull/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define NAME "/nbdpull-XXXXXX"
#define PARENT_MAX 64 /* longest parent directory; the whole path must fit sun_path */

static int make_directory(char directory[NP_LISTENER_DIRECTORY], struct np_error *err)
{
    _Static_assert(PARENT_MAX + sizeof(NAME) <= NP_LISTENER_DIRECTORY, "the name must fit");
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    bool usable = runtime != NULL && runtime[0] == '/' && strlen(runtime) <= PARENT_MAX &&
                  access(runtime, W_OK | X_OK) == 0;
    snprintf(directory, NP_LISTENER_DIRECTORY, "%.64s" NAME, usable ? runtime : "/tmp");
    /* A umask may have taken bits away that we need, here and from the socket. */
    if (mkdtemp(directory) != NULL && chmod(directory, 0700) == 0)
        return 0;
    np_fail_errno(err, NP_FAILED, errno, "%s: cannot create a directory for a socket", directory);
    directory[0] = '\0';
    return -1;
}

static int listen_at(struct np_listener *listener, int backlog, struct np_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _Static_assert(sizeof(address.sun_path) == sizeof(listener->path), "the path must fit");
    memcpy(address.sun_path, listener->path, sizeof(address.sun_path));

    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener->fd >= 0 && bind(listener->fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        chmod(listener->path, 0600) == 0 && listen(listener->fd, backlog) == 0)
        return 0;
    np_fail_errno(err, NP_FAILED, errno, "%s: cannot listen", listener->path);
    np_listener_close(listener);
    return -1;
}

int np_listener_open(struct np_listener *listener, int backlog, struct np_error *err)
{
    *listener = (struct np_listener)NP_LISTENER_NONE;
    if (make_directory(listener->directory, err) < 0)
        return -1;
    snprintf(listener->path, sizeof(listener->path), "%s/nbd", listener->directory);
    return listen_at(listener, backlog, err);
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
    if (listener->path[0] != '\0')
        unlink(listener->path);
    if (listener->directory[0] != '\0')
        rmdir(listener->directory);
    listener->directory[0] = '\0'; /* the path stays, for messages */
}
