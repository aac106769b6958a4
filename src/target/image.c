#include "nbdpull/image.h"

#include "nbdpull/child.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/listener.h"
#include "nbdpull/nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct np_image {
    struct np_child child;
    struct np_listener listener;
    struct np_source source;
};

/* Pages that are only in memory tell nothing of the disk. Pages that are dirty stay, which is why it is asked
 * for after a sync. */
static int drop_cached(const char *path, struct np_error *err)
{
    NP_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot open", path);
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

static int serve(struct np_image *image, const char *path, const char *format, unsigned readers,
                 struct np_cancel *cancel, struct np_error *err)
{
    char shared[32], form[64];
    snprintf(shared, sizeof(shared), "--shared=%u", readers + 1);
    snprintf(form, sizeof(form), "--format=%s", format);
    const char *const argv[] = {"qemu-nbd", "--read-only", "--persistent", form, shared, "--", path, NULL};
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
    if (drop_cached(path, err) < 0 || serve(made, path, format, readers, cancel, err) < 0)
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
