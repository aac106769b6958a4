#include "nbdpull/image.h"

#include "nbdpull/child.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/listener.h"
#include "nbdpull/nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct np_image {
    struct np_child child;
    struct np_listener listener;
    struct np_source source;
};

/*
 * QEMU would open whatever a qcow2 names, files and addresses, with our rights. A restored one names nothing.
 * Source: docs/interop/qcow2.txt of QEMU; "QFI\xfb", the backing file's place at 8, incompatible features at
 * 72, big-endian, of which bit 2 says that the data are in another file.
 */
static int check_names_nothing(int fd, const char *path, struct np_error *err)
{
    static const uint8_t none[8];
    uint8_t header[80];
    if (pread(fd, header, sizeof(header), 0) != sizeof(header) || memcmp(header, "QFI\xfb", 4) != 0)
        return 0; /* QEMU will say what it is */
    bool backing = memcmp(header + 8, none, sizeof(none)) != 0;
    if (!backing && (header[7] < 3 || (header[79] & 4) == 0))
        return 0;
    return np_fail(err, NP_FAILED,
                   "%s: it names %s, which is not opened: a restored image stands alone; `qemu-img convert` "
                   "makes one that does",
                   path, backing ? "a backing image" : "a file that holds its data");
}

/* Pages that are only in memory tell nothing of the disk, and are dropped. Pages that are dirty stay, which
 * is why it is asked for after a sync. */
static int look_at(const char *path, const char *format, struct np_error *err)
{
    struct stat st;
    NP_AUTO_FD int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a pipe would wait for a writer */
    if (fd < 0 || fstat(fd, &st) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot open", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return np_fail(err, NP_FAILED, "%s: neither a file nor a block device", path);
    if (strcmp(format, "qcow2") == 0 && check_names_nothing(fd, path, err) < 0)
        return -1;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    return 0;
}

static void cleanup_image(struct np_image **image)
{
    np_image_close(*image);
}

/* What qemu-nbd said as it ended is a better cause than that nobody listens. */
static int explain(struct np_image *image, const char *path, struct np_error *err)
{
    struct np_error end = NP_ERROR_INIT;
    np_child_end(&image->child);
    if (np_child_wait(&image->child, &end) < 0)
        *err = end;
    return np_error_context(err, "%s: cannot read it", path);
}

/* QEMU takes "nbd:..." or "json:..." for an address unless a path looks like one. */
static int serve(struct np_image *image, const char *path, const char *format, unsigned readers,
                 struct np_cancel *cancel, struct np_error *err)
{
    char shared[32], form[64];
    NP_AUTO_FREE char *file = path[0] == '/' ? strdup(path) : np_path_join(".", path);
    if (file == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", path);
    snprintf(shared, sizeof(shared), "--shared=%u", readers + 1);
    snprintf(form, sizeof(form), "--format=%s", format);
    const char *const argv[] = {"qemu-nbd", "--read-only", "--persistent", form, shared, "--", file, NULL};
    if (np_listener_open(&image->listener, (int)readers + 1, err) < 0)
        return -1;
    if (np_child_start(&image->child, argv, image->listener.fd, SIGKILL, err) < 0)
        return np_error_context(err, "%s", path);
    np_listener_hand_over(&image->listener);
    if (np_nbd_source_open(image->listener.path, "", NULL, cancel, &image->source, err) < 0)
        return np_cancel_requested(cancel) ? -1 : explain(image, path, err);
    return 0;
}

int np_image_open(const char *path, const char *format, unsigned readers, struct np_cancel *cancel,
                  struct np_image **image, struct np_source *source, struct np_error *err)
{
    NP_CLEANUP(cleanup_image) struct np_image *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", path);
    made->listener = (struct np_listener)NP_LISTENER_NONE;
    np_child_init(&made->child);
    if (look_at(path, format, err) < 0 || serve(made, path, format, readers, cancel, err) < 0)
        return -1;
    *source = made->source;
    *image = NP_STEAL(made);
    return 0;
}

void np_image_close(struct np_image *image)
{
    if (image == NULL)
        return;
    np_nbd_source_close(&image->source);
    np_child_clear(&image->child);
    np_listener_close(&image->listener);
    free(image);
}
