/*
 * Preloaded: a disk that does not do what it was told. TAMPER is "HOW WORD BYTE": files whose path contains
 * WORD are meant, and the byte at that place of them.
 *
 *   eio    reading it fails with EIO
 *   flip   writing it writes another
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static char how[8], word[200];
static long long place = -1;

static void __attribute__((constructor)) read_order(void)
{
    const char *order = getenv("TAMPER");
    if (order == NULL || sscanf(order, "%7s %199s %lld", how, word, &place) != 3)
        place = -1;
}

static int is_meant(const char *what, int fd, off_t offset, size_t size)
{
    char link[64], path[4096];
    if (place < 0 || strcmp(how, what) != 0 || offset > place || offset + (off_t)size <= place)
        return 0;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof(path) - 1);
    if (length < 0)
        return 0;
    path[length] = '\0';
    return strstr(path, word) != NULL;
}

ssize_t pread(int fd, void *buffer, size_t size, off_t offset)
{
    static ssize_t (*real)(int, void *, size_t, off_t);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "pread");
    if (is_meant("eio", fd, offset, size)) {
        errno = EIO;
        return -1;
    }
    return real(fd, buffer, size, offset);
}

ssize_t pread64(int fd, void *buffer, size_t size, off_t offset)
{
    return pread(fd, buffer, size, offset);
}

ssize_t pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "pwrite");
    if (!is_meant("flip", fd, offset, size))
        return real(fd, buffer, size, offset);
    char *copy = malloc(size);
    memcpy(copy, buffer, size);
    copy[place - offset] ^= 1;
    ssize_t written = real(fd, copy, size, offset);
    free(copy);
    return written;
}

ssize_t pwrite64(int fd, const void *buffer, size_t size, off_t offset)
{
    return pwrite(fd, buffer, size, offset);
}
