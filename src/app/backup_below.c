/*
 * What a disk's image stands on. No bitmap tells when an image below is changed or becomes another one, so
 * the record of a point has a hash of what these images were before its job began: what is changed later is
 * seen by the next run.
 */
#include "backup_parts.h"

#include "opened.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/image_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void add_number(struct np_hash_stream *hash, uint64_t number)
{
    uint8_t bytes[8];
    np_put_le64(bytes, number);
    np_hash_stream_add(hash, bytes, sizeof(bytes));
}

static void add_text(struct np_hash_stream *hash, const char *text)
{
    np_hash_stream_add(hash, text, strlen(text) + 1);
}

/*
 * No path: the same chain is spelt in different ways by the images and by libvirt. No time of change: libvirt
 * sets the owner when a guest starts.
 */
static void add_file(struct np_hash_stream *hash, const struct stat *st)
{
    add_text(hash, "file");
    add_number(hash, st->st_dev);
    add_number(hash, st->st_ino);
    add_number(hash, (uint64_t)st->st_size);
    add_number(hash, (uint64_t)st->st_mtim.tv_sec);
    add_number(hash, (uint64_t)st->st_mtim.tv_nsec);
}

/* Of a chain, "FORMAT PATH\n" an image. */
struct below {
    struct np_hash_stream *hash; /* owned */
    struct stat *files;          /* owned; those that are regular files */
    size_t count;
    bool unseen; /* there is a path, and nothing that we can see */
};

static void clear_below(struct below *below)
{
    np_hash_stream_free(below->hash);
    free(below->files);
}

static void add_image(struct below *below, const char *format, const char *path)
{
    struct stat st;
    bool local = path[0] == '/' && stat(path, &st) == 0;
    below->unseen |= path[0] == '/' && !local;
    add_text(below->hash, format);
    if (local && S_ISREG(st.st_mode)) {
        add_file(below->hash, &st);
        below->files[below->count++] = st;
    } else if (local && S_ISBLK(st.st_mode)) {
        add_text(below->hash, "block");
        add_number(below->hash, st.st_rdev);
    } else {
        add_text(below->hash, "other");
        add_text(below->hash, path);
    }
}

static size_t count_lines(const char *text)
{
    size_t count = 0;
    for (; (text = strchr(text, '\n')) != NULL; text++)
        count++;
    return count;
}

static int look_at_chain(struct np_run_disk *disk, const char *chain, bool running, struct np_error *err)
{
    NP_AUTO_FREE char *lines = strdup(chain);
    NP_CLEANUP(clear_below)
    struct below below = {np_hash_stream_new(), calloc(count_lines(chain) + 1, sizeof(*below.files)), 0,
                          false};
    if (lines == NULL || below.hash == NULL || below.files == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "disk %s", disk->domain_disk->target);
    char *rest;
    for (char *line = strtok_r(lines, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char *path = strchr(line, ' ');
        if (path != NULL)
            *path++ = '\0';
        add_image(&below, line, path != NULL ? path : "");
    }
    /* A file that was replaced: the guest reads the old one until it is started again, without a word. */
    if (below.unseen)
        return 0;
    if (running && below.count > 0 && np_opened_others(disk->domain_disk->source, below.files, below.count))
        return 0;
    disk->below_known = true;
    disk->has_below = chain[0] != '\0';
    disk->below = np_hash_stream_get(below.hash);
    return 0;
}

int np_run_look_below(struct np_run *run, struct np_run_disk *disk, struct np_error *err)
{
    const struct np_domain_disk *of = disk->domain_disk;
    bool running = run->reach == &np_reach_job;
    NP_CLEANUP(np_image_file_clear) struct np_image_file image = {0};
    if (!of->can_bitmap || (of->backing == NULL && (of->why_running != NULL || running)))
        return 0;                        /* it cannot be known now, or makes no difference */
    struct np_error why = NP_ERROR_INIT; /* where the image must be opened, it is told then */
    if (of->backing == NULL && np_image_file_look(of->source, of->format, &image, &why) < 0)
        return 0;
    return look_at_chain(disk, of->backing != NULL ? of->backing : image.backing, running, err);
}
