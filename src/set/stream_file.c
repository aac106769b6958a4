/* The streams of a set: written through a small buffer, read in place. */
#include "internal.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/set_repair.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define BUFFER_SIZE (256u << 10)
#define DIRECT_SIZE (8u << 10) /* from this size on, appends gain nothing by being copied into the buffer */
#define PIECES_MAX 8

struct np_stream_file {
    struct np_set *set;
    struct np_store_writer *writer;
    struct np_written *written; /* what the set gets when it is synced; NULL from then on */
    bool failed;                /* an append failed: what is there must not be called durable */
    char key[NP_SET_KEY_MAX];
    size_t used;
    uint8_t buffer[BUFFER_SIZE];
};

int np_set_stream_create(struct np_set *set, const char *point_id, const char *target,
                         struct np_stream_file **out, struct np_error *err)
{
    uint64_t number;
    if (!np_point_id_parse(point_id, &number))
        return np_fail(err, NP_FAILED, "%s: \"%s\" is no id of a point", set->path, point_id);
    if (strlen(target) >= NP_TARGET_MAX || !np_name_is_safe(target))
        return np_fail(err, NP_FAILED, "%s: disk \"%.100s\": its name cannot be part of a file name",
                       set->path, target);

    NP_AUTO_FREE struct np_stream_file *file = malloc(sizeof(*file));
    NP_AUTO_FREE struct np_written *written = malloc(sizeof(*written));
    if (file == NULL || written == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot create a stream", set->path);
    file->set = set;
    file->failed = false;
    file->used = 0;
    snprintf(file->key, sizeof(file->key), "streams/%s.%s.nbp", point_id, target);
    if (set->store->ops->create(set->store, file->key, &file->writer, err) < 0)
        return -1;
    file->written = NP_STEAL(written);
    *out = NP_STEAL(file);
    return 0;
}

static int flush(struct np_stream_file *file, struct np_error *err)
{
    struct iovec piece = {.iov_base = file->buffer, .iov_len = file->used};
    if (file->used == 0)
        return 0;
    file->used = 0;
    return file->writer->append(file->writer, &piece, 1, err);
}

static int append_pieces(struct np_stream_file *file, struct iovec *pieces, int count, struct np_error *err)
{
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += pieces[i].iov_len;

    if (size < DIRECT_SIZE) {
        if (size > sizeof(file->buffer) - file->used && flush(file, err) < 0)
            return -1;
        for (int i = 0; i < count; i++) {
            if (pieces[i].iov_len == 0) /* its base may be NULL, which memcpy must not get */
                continue;
            memcpy(file->buffer + file->used, pieces[i].iov_base, pieces[i].iov_len);
            file->used += pieces[i].iov_len;
        }
        return 0;
    }
    if (file->used == 0 || count >= PIECES_MAX) {
        if (flush(file, err) < 0)
            return -1;
        return file->writer->append(file->writer, pieces, count, err);
    }
    /* What the buffer holds goes in front, in the same call. */
    struct iovec all[PIECES_MAX] = {{.iov_base = file->buffer, .iov_len = file->used}};
    memcpy(all + 1, pieces, (size_t)count * sizeof(*pieces));
    file->used = 0;
    return file->writer->append(file->writer, all, count + 1, err);
}

static int append(void *ctx, struct iovec *pieces, int count, struct np_error *err)
{
    struct np_stream_file *file = ctx;
    if (append_pieces(file, pieces, count, err) == 0)
        return 0;
    file->failed = true;
    return -1;
}

void np_stream_file_sink(struct np_stream_file *file, struct np_sink *sink)
{
    *sink = (struct np_sink){.append = append, .ctx = file};
}

const char *np_stream_file_name(const struct np_stream_file *file)
{
    return file->key;
}

/* The writer stays good for the file until that is closed. */
static void leave_to_set(struct np_stream_file *file)
{
    struct np_written *written = NP_STEAL(file->written);
    written->writer = file->writer;
    written->next = file->set->written;
    memcpy(written->key, file->key, sizeof(written->key));
    file->set->written = written;
}

int np_stream_file_sync(struct np_stream_file *file, struct np_error *err)
{
    if (file->failed)
        return np_fail(err, NP_FAILED, "%s: not synced, a write to it has failed before", file->key);
    if (flush(file, err) < 0 || file->writer->commit(file->writer, err) < 0) {
        file->failed = true;
        return -1;
    }
    if (file->written != NULL)
        leave_to_set(file);
    return 0;
}

void np_stream_file_close(struct np_stream_file *file)
{
    if (file == NULL)
        return;
    if (file->written != NULL)
        file->writer->close(file->writer);
    free(file->written);
    free(file);
}

/* ---- from its sync to the record that mentions it ---- */

int np_written_check(const struct np_set *set, struct np_error *err)
{
    for (struct np_written *written = set->written; written != NULL; written = written->next) {
        bool in_place;
        if (written->writer->is_in_place(written->writer, &in_place, err) < 0)
            return -1;
        if (!in_place)
            return np_fail(err, NP_FAILED,
                           "%s/%s: what this run wrote there is not there any more: it was moved, deleted, "
                           "unmounted or replaced meanwhile",
                           set->path, written->key);
    }
    return 0;
}

void np_written_clear(struct np_set *set)
{
    while (set->written != NULL) {
        struct np_written *first = set->written;
        set->written = first->next;
        first->writer->close(first->writer);
        free(first);
    }
}

/* ---- reading ---- */

struct np_stream_input {
    struct np_store_reader *reader;
};

/* A set that was deleted under us is not a damaged one. */
static int fail_missing(struct np_set *set, const char *name, struct np_error *err)
{
    char aside[NP_STORE_ASIDE_MAX];
    struct stat st;
    if (np_set_check_place(set, err) < 0)
        return -1;
    const char *slash = strrchr(name, '/');
    snprintf(aside, sizeof(aside), "aside/%s", slash != NULL ? slash + 1 : name);
    if (fstatat(set->dir, aside, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return np_fail(
            err, NP_DAMAGED,
            "%s/%s: the stream is missing; a repair has moved it to %s, and moved back it is of use "
            "for a salvage only",
            set->path, name, aside);
    return np_fail(err, NP_DAMAGED, "%s/%s: the stream is missing", set->path, name);
}

int np_set_file_open(struct np_set *set, const char *name, struct np_stream_input **file,
                     struct np_input_at *input, struct np_error *err)
{
    struct np_stream_input *opened = malloc(sizeof(*opened));
    if (opened == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s/%s: cannot open", set->path, name);
    *opened = (struct np_stream_input){0};
    int done = set->store->ops->open(set->store, name, &opened->reader, err);
    if (done == 0 && opened->reader == NULL)
        done = fail_missing(set, name, err);
    if (done < 0) {
        free(opened);
        return -1;
    }
    *input = opened->reader->input;
    *file = opened;
    return 0;
}

static int check_size(struct np_set *set, const struct np_point_disk *disk,
                      const struct np_store_reader *reader, struct np_error *err)
{
    if (reader == NULL)
        return fail_missing(set, disk->file, err);
    if (reader->input.size == disk->stream_size)
        return 0;
    return np_fail(err, NP_DAMAGED,
                   "%s/%s: the stream has %" PRIu64 " bytes, and %" PRIu64 " by the point's record",
                   set->path, disk->file, reader->input.size, disk->stream_size);
}

int np_set_stream_open(struct np_set *set, const struct np_point_disk *disk, struct np_stream_input **file,
                       struct np_input_at *input, struct np_error *err)
{
    struct np_store_reader *reader;
    struct np_stream_input *opened = malloc(sizeof(*opened));
    if (opened == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s/%s: cannot open", set->path, disk->file);
    *opened = (struct np_stream_input){0};
    if (set->store->ops->open(set->store, disk->file, &reader, err) < 0) {
        free(opened);
        return np_error_where(err, disk->target, NP_NO_OFFSET);
    }
    opened->reader = reader;
    if (check_size(set, disk, reader, err) < 0) {
        np_stream_input_close(opened);
        return np_error_where(err, disk->target, NP_NO_OFFSET);
    }
    *input = reader->input;
    *file = opened;
    return 0;
}

void np_stream_input_close(struct np_stream_input *file)
{
    if (file == NULL)
        return;
    if (file->reader != NULL)
        file->reader->close(file->reader);
    free(file);
}

void np_cleanup_input(struct np_stream_input **file)
{
    np_stream_input_close(*file);
}
