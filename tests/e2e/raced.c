/*
 * Preloaded: somebody who may write to a directory is quicker. RACED is "WORD TARGET": a directory or socket
 * that is made under a path which contains WORD is moved away at once, and a symbolic link to TARGET put in
 * its place.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char word[200], target[4000];

static void __attribute__((constructor)) read_order(void)
{
    const char *order = getenv("RACED");
    if (order == NULL || sscanf(order, "%199s %3999s", word, target) != 2)
        word[0] = '\0';
}

static void *real(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);
    if (function == NULL)
        abort();
    return function;
}

static void overtake(int dir, const char *path)
{
    char moved[5000];
    int before = errno;
    if (word[0] == '\0' || strstr(path, word) == NULL)
        return;
    snprintf(moved, sizeof(moved), "%s.moved", path);
    if (renameat(dir, path, dir, moved) < 0 || symlinkat(target, dir, path) < 0)
        abort();
    errno = before;
}

int mkdir(const char *path, mode_t mode)
{
    int (*made)(const char *, mode_t) = real("mkdir");
    int result = made(path, mode);
    if (result == 0)
        overtake(AT_FDCWD, path);
    return result;
}

int mkdirat(int dir, const char *path, mode_t mode)
{
    int (*made)(int, const char *, mode_t) = real("mkdirat");
    int result = made(dir, path, mode);
    if (result == 0)
        overtake(dir, path);
    return result;
}

char *mkdtemp(char *path)
{
    char *(*made)(char *) = real("mkdtemp");
    char *result = made(path);
    if (result != NULL)
        overtake(AT_FDCWD, path);
    return result;
}

int bind(int fd, const struct sockaddr *address, socklen_t size)
{
    int (*made)(int, const struct sockaddr *, socklen_t) = real("bind");
    int result = made(fd, address, size);
    if (result == 0 && address->sa_family == AF_UNIX)
        overtake(AT_FDCWD, ((const struct sockaddr_un *)address)->sun_path);
    return result;
}
