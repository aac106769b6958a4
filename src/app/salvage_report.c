#include "salvage.h"

#include "nbdpull/bytes.h"
#include "nbdpull/file.h"
#include "nbdpull/uuid.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_failed(const struct np_loss_report *report, struct np_error *err)
{
    return np_fail_errno(err, NP_FAILED, errno, "%s: cannot write the list of losses", report->path);
}

static int make_file(struct np_loss_report *report, const char *dir_path, struct np_error *err)
{
    struct np_uuid random;
    if (np_uuid_random(&random, err) < 0)
        return -1;
    report->path = np_path_join(dir_path, report->name);
    if (report->path == NULL ||
        asprintf(&report->temporary, ".%s.%08x.part", report->name, np_get_le32(random.bytes)) < 0) {
        report->temporary = NULL;
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", report->name);
    }
    int fd =
        openat(report->dir, report->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        free(report->temporary);
        report->temporary = NULL;
        return write_failed(report, err);
    }
    fchmod(fd, 0600);
    report->file = fdopen(fd, "w");
    if (report->file != NULL)
        return 0;
    close(fd);
    return write_failed(report, err);
}

/* Most reasons begin with the stream's name. */
static void put_nothing_left(struct np_loss_report *report, const struct np_salvaged_stream *stream)
{
    size_t length = strlen(stream->name);
    bool named = strncmp(stream->why, stream->name, length) == 0 && stream->why[length] == ':';
    fprintf(report->file, "# Nothing is left of %s%s%s\n", stream->name, named ? "" : ": ",
            stream->why + (named ? length : 0));
}

static void put_head(struct np_loss_report *report, const struct np_origin *origin, const char *target,
                     bool older)
{
    const struct np_salvaged_disk *disk = report->disk;
    const char *id = origin->point->id;
    fprintf(
        report->file,
        "# What is not, or may not be, as it was in disk %s of point %s%s%s%s: restored with --salvage=%s.\n",
        target, id, id[0] != '\0' ? " (" : "", origin->point->time, id[0] != '\0' ? ")" : "",
        older ? "older" : "zero");
    for (size_t i = 0; i < disk->count; i++)
        if (disk->list[i].why != NULL)
            put_nothing_left(report, &disk->list[i]);
    if (disk->base != NULL)
        fprintf(report->file, "# Point %s, which these streams build on, %s.\n", disk->base,
                disk->base_is_read ? "has a record that does not name this disk"
                                   : "has no record in the set");
    fprintf(
        report->file,
        "# offset, length: bytes of the disk. loss: \"lost\" was stored and is damaged; \"possible\" would "
        "be\n"
        "# lost if a record that is missing held it. instead: what the image has there. stream, record: "
        "which\n"
        "# is damaged, and the record's place in it (- where that is not known).\n"
        "# offset length loss instead stream record\n");
}

int np_loss_report_open(struct np_loss_report *report, int dir, const char *dir_path,
                        const struct np_salvaged_disk *disk, const struct np_origin *origin,
                        const char *target, bool older, struct np_error *err)
{
    *report = (struct np_loss_report){.disk = disk, .dir = dir};
    snprintf(report->name, sizeof(report->name), "%s.losses", target);
    if (dir < 0)
        return 0;
    if (make_file(report, dir_path, err) < 0)
        return -1;
    put_head(report, origin, target, older);
    return ferror(report->file) ? write_failed(report, err) : 0;
}

static const char *point_of(const struct np_salvaged_disk *disk, size_t i, char text[32])
{
    if (i == disk->count)
        return "zeroes";
    /* A stream lies in streams/POINT.TARGET.nbp. */
    const char *name = strrchr(disk->list[i].record->file, '/');
    name = name != NULL ? name + 1 : disk->list[i].record->file;
    snprintf(text, 32, "point-%.*s", (int)np_min_u64(strcspn(name, "."), 24), name);
    return text;
}

/* Neighbours that lost the same are one line. */
static int put_last(struct np_loss_report *report, struct np_error *err)
{
    const struct np_chain_step *last = &report->last;
    const struct np_salvaged_disk *disk = report->disk;
    if (last->length == 0)
        return 0;
    report->ranges++;
    if (report->file == NULL)
        return 0;
    char point[32], pos[24] = "-";
    if (last->loss.pos != NP_NO_OFFSET)
        snprintf(pos, sizeof(pos), "%ju", (uintmax_t)last->loss.pos);
    fprintf(report->file, "%ju %ju %s %s %s %s\n", (uintmax_t)last->offset, (uintmax_t)last->length,
            last->loss.kind == NP_LOSS_POSSIBLE ? "possible" : "lost", point_of(disk, last->instead, point),
            last->lost_in < disk->count ? disk->list[last->lost_in].record->file : "-", pos);
    return ferror(report->file) ? write_failed(report, err) : 0;
}

int np_loss_report_add(void *ctx, const struct np_chain_step *step, struct np_error *err)
{
    struct np_loss_report *report = ctx;
    struct np_chain_step *last = &report->last;
    if (step->loss.kind == NP_LOSS_POSSIBLE)
        report->possible_bytes += step->length;
    else
        report->lost_bytes += step->length;
    if (last->length > 0 && last->offset + last->length == step->offset &&
        last->loss.kind == step->loss.kind && last->loss.pos == step->loss.pos &&
        last->lost_in == step->lost_in && last->instead == step->instead) {
        last->length += step->length;
        return 0;
    }
    if (put_last(report, err) < 0)
        return -1;
    last->offset = step->offset;
    last->length = step->length;
    last->loss = step->loss;
    last->lost_in = step->lost_in;
    last->instead = step->instead;
    return 0;
}

int np_loss_report_end(struct np_loss_report *report, struct np_error *err)
{
    int done = put_last(report, err);
    report->last.length = 0;
    return done;
}

int np_loss_report_place(struct np_loss_report *report, struct np_error *err)
{
    if (fflush(report->file) != 0)
        return write_failed(report, err);
    if (np_file_sync(fileno(report->file), report->path, err) < 0 ||
        np_file_place(report->dir, report->path, report->temporary, report->name, err) < 0)
        return -1;
    free(report->temporary);
    report->temporary = NULL;
    return 0;
}

void np_loss_report_close(struct np_loss_report *report)
{
    if (report->file != NULL)
        fclose(report->file);
    if (report->temporary != NULL)
        unlinkat(report->dir, report->temporary, 0);
    free(report->temporary);
    free(report->path);
    *report = (struct np_loss_report){0};
}
