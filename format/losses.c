#include "losses.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <errno.h>
#include <string.h>

#define BATCH 256 /* losses that are read or written at once */

static const char file_name[] = "the list of losses";

/* ---- reading ---- */

struct np_losses {
    int fd;              /* borrowed; -1: the batch is all there is */
    uint64_t begin, end; /* in the file */
    uint64_t at;         /* behind the batch */
    bool possible;       /* false: they are passed over */
    struct np_loss batch[BATCH];
    size_t next, count;
};

static int refill(struct np_losses *losses, struct np_error *err)
{
    size_t count = np_min_u64(BATCH, (losses->end - losses->at) / sizeof(struct np_loss));
    if (losses->fd < 0) /* the batch stays: it may be rewound */
        return 0;
    losses->next = losses->count = 0;
    if (count == 0)
        return 0;
    if (np_file_read_at(losses->fd, file_name, losses->batch, count * sizeof(struct np_loss), losses->at,
                        err) < 0)
        return -1;
    losses->at += count * sizeof(struct np_loss);
    losses->count = count;
    return 0;
}

int np_losses_next(struct np_losses *losses, struct np_loss *loss, struct np_error *err)
{
    do {
        if (losses->next == losses->count && refill(losses, err) < 0)
            return -1;
        if (losses->next == losses->count)
            return 0;
        *loss = losses->batch[losses->next++];
    } while (loss->kind == NP_LOSS_POSSIBLE && !losses->possible);
    return 1;
}

void np_losses_rewind(struct np_losses *losses)
{
    losses->at = losses->begin;
    losses->next = 0;
    losses->count = losses->fd < 0 ? losses->count : 0;
}

int np_losses_of_all(uint64_t size, struct np_losses **losses, struct np_error *err)
{
    *losses = calloc(1, sizeof(**losses));
    if (*losses == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", file_name);
    (*losses)->fd = -1;
    (*losses)->possible = true;
    (*losses)->count = size > 0;
    (*losses)->batch[0] = (struct np_loss){.kind = NP_LOSS_POSSIBLE, .length = size, .pos = NP_NO_OFFSET};
    return 0;
}

void np_losses_free(struct np_losses *losses)
{
    free(losses);
}

/* ---- writing ---- */

struct np_loss_writer {
    const struct np_geometry *geometry;
    struct np_salvage_room *room;
    uint64_t begin;
    struct np_loss batch[BATCH];
    size_t count;
    uint64_t reached; /* guest byte behind what was appended */
    uint64_t window;  /* the open one */
    bool in_window;
    struct {
        bool is;
        enum np_loss_kind kind;
        uint64_t pos;
    } granules[NP_GRANULES_MAX];
};

int np_loss_writer_new(const struct np_geometry *geometry, struct np_salvage_room *room,
                       struct np_loss_writer **writer, struct np_error *err)
{
    *writer = calloc(1, sizeof(**writer));
    if (*writer == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", file_name);
    (*writer)->geometry = geometry;
    (*writer)->room = room;
    (*writer)->begin = room->losses_end;
    return 0;
}

void np_loss_writer_free(struct np_loss_writer *writer)
{
    free(writer);
}

static int flush(struct np_loss_writer *writer, struct np_error *err)
{
    struct np_salvage_room *room = writer->room;
    size_t size = writer->count * sizeof(struct np_loss);
    if (np_file_write_at(room->losses_fd, file_name, writer->batch, size, room->losses_end, err) < 0)
        return np_error_context(err, "%s", room->dir);
    room->losses_end += size;
    writer->count = 0;
    return 0;
}

static bool continues(const struct np_loss *last, const struct np_loss *loss)
{
    return last->kind == loss->kind && last->pos == loss->pos && last->offset + last->length == loss->offset;
}

static int append(struct np_loss_writer *writer, const struct np_loss *loss, struct np_error *err)
{
    writer->reached = loss->offset + loss->length;
    if (writer->count > 0 && continues(&writer->batch[writer->count - 1], loss)) {
        writer->batch[writer->count - 1].length += loss->length;
        return 0;
    }
    if (writer->count == BATCH && flush(writer, err) < 0)
        return -1;
    writer->batch[writer->count++] = *loss;
    return 0;
}

static int end_window(struct np_loss_writer *writer, struct np_error *err)
{
    if (!writer->in_window)
        return 0;
    unsigned granules = np_window_granules(writer->geometry, writer->window);
    for (unsigned i = 0; i < granules; i++) {
        const struct np_loss loss = {
            .kind = writer->granules[i].kind,
            .offset = writer->window + (uint64_t)i * writer->geometry->granule,
            .length = np_granule_length(writer->geometry, writer->window, i),
            .pos = writer->granules[i].pos,
        };
        if (writer->granules[i].is && append(writer, &loss, err) < 0)
            return -1;
        writer->granules[i].is = false;
    }
    writer->in_window = false;
    return 0;
}

int np_loss_writer_granule(struct np_loss_writer *writer, uint64_t window, unsigned granule,
                           enum np_loss_kind kind, uint64_t pos, struct np_error *err)
{
    if (writer->in_window && writer->window != window && end_window(writer, err) < 0)
        return -1;
    if (window < writer->reached) /* records out of order, which nobody writes */
        return 0;
    writer->in_window = true;
    writer->window = window;
    if (writer->granules[granule].is && writer->granules[granule].kind != NP_LOSS_POSSIBLE)
        return 0;
    writer->granules[granule].is = true;
    writer->granules[granule].kind = kind;
    writer->granules[granule].pos = pos;
    return 0;
}

int np_loss_writer_run(struct np_loss_writer *writer, uint64_t offset, uint64_t end, enum np_loss_kind kind,
                       uint64_t pos, struct np_error *err)
{
    if (end_window(writer, err) < 0)
        return -1;
    offset = np_max_u64(offset, writer->reached);
    const struct np_loss loss = {.kind = kind, .offset = offset, .length = end - offset, .pos = pos};
    return offset < end ? append(writer, &loss, err) : 0;
}

int np_loss_writer_finish(struct np_loss_writer *writer, bool possible, struct np_losses **losses,
                          struct np_error *err)
{
    if (end_window(writer, err) < 0 || flush(writer, err) < 0 || np_losses_of_all(0, losses, err) < 0)
        return -1;
    (*losses)->fd = writer->room->losses_fd;
    (*losses)->begin = (*losses)->at = writer->begin;
    (*losses)->end = writer->room->losses_end;
    (*losses)->possible = possible;
    return 0;
}
