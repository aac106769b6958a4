/*
 * What is left of a stream. Input: flags of mend.h and, in the upper bits, what is done to the stream after
 * it was made right; then the stream; then three bytes that say where.
 *
 * Of a stream that is whole nothing is lost. Of any other every granule is told once, and what is told as
 * data can be read and has the hash that its record says.
 */
#include "both_ways.h"
#include "mend.h"

#include "nbdpull/chain.h"
#include "nbdpull/salvage.h"

#include <sys/mman.h>
#include <unistd.h>

#define STEPS_MAX 4096

enum harm { NONE, CUT, DROP, FLIP, TWICE, ZEROES };

/* @return the new size */
static size_t harm(uint8_t *bytes, size_t size, enum harm how, const uint8_t where[3])
{
    size_t from = ((size_t)where[0] << 8 | where[1]) % (size + 1), length = (size_t)where[2] * 16;
    size_t to = (size_t)np_min_u64(from + length, size);
    switch (how) {
    case CUT:
        return from;
    case DROP:
        memmove(bytes + from, bytes + to, size - to);
        return size - (to - from);
    case FLIP:
        if (from < size)
            bytes[from] ^= where[2];
        return size;
    case TWICE: /* there is room */
        memmove(bytes + to + (to - from), bytes + to, size - to);
        memcpy(bytes + to, bytes + from, to - from);
        return size + (to - from);
    case ZEROES:
        memset(bytes + from, 0, to - from);
        return size;
    default:
        return size;
    }
}

static struct np_salvage_room *empty_room(void)
{
    static struct np_salvage_room room = {.index_fd = -1, .dir = "memory"};
    if (room.index_fd < 0) {
        room.index_fd = memfd_create("index", MFD_CLOEXEC);
        room.losses_fd = memfd_create("losses", MFD_CLOEXEC);
    }
    MUST(room.index_fd >= 0 && room.losses_fd >= 0);
    MUST(ftruncate(room.index_fd, 0) == 0 && ftruncate(room.losses_fd, 0) == 0);
    room.index_end = room.losses_end = 0;
    return &room;
}

/* What steps come to. */
struct told {
    uint64_t data, zero, lost, reached;
};

static void take_data(struct np_stream *stream, const struct np_chain_step *step, uint16_t disk,
                      struct told *told)
{
    const struct np_geometry *geometry = &np_meta_disk_by_id(np_stream_meta(stream), disk)->geometry;
    struct np_error err = NP_ERROR_INIT;
    struct np_record record;
    NP_AUTO_FREE uint8_t *table = malloc(NP_DATA_TABLE_MAX);
    NP_AUTO_FREE uint8_t *data = malloc(geometry->chunk);
    NP_AUTO_FREE uint8_t *out = malloc(geometry->chunk);
    MUST(table != NULL && data != NULL && out != NULL);
    MUST_WORK(np_stream_read(stream, disk, &step->entry, table, data, &record, &err));
    MUST_WORK(np_window_expand(geometry, &record, "stream", out, &err));
    told->data += np_map_add_up(geometry, step->offset, step->take).data_bytes;
}

/* @return false: too many steps to look at them all */
static bool walk(struct np_stream *stream, uint16_t disk, struct np_chain *chain, struct told *told)
{
    static struct np_chain_step step;
    struct np_error err = NP_ERROR_INIT;
    for (int i = 0; i < STEPS_MAX; i++) {
        int got = np_chain_next(chain, &step, &err);
        if (got < 0)
            broken(__FILE__, __LINE__, "a salvaged chain can be read", &err);
        if (got == 0)
            return true;
        MUST(step.length > 0 && step.length <= np_chain_geometry(chain)->size - step.offset);
        if (step.kind == NP_CHAIN_LOST) {
            MUST(step.offset >= told->reached && step.loss.kind != NP_LOSS_ZERO);
            told->reached = step.offset + step.length;
            told->lost += step.length;
        } else if (step.kind == NP_CHAIN_ZERO) {
            told->zero += step.length;
        } else {
            take_data(stream, &step, disk, told);
        }
    }
    return false;
}

static void salvage_disk(struct bytes *bytes, const struct np_meta_disk *disk, bool older, bool accepted)
{
    const struct np_salvage_request request = {
        .input = bytes_input_at(bytes), .name = "stream", .target = disk->target, .room = empty_room()};
    struct np_error err = NP_ERROR_INIT;
    struct np_salvage *salvage = NULL;
    struct np_chain *chain = NULL;
    struct told told = {0};
    MUST_WORK(np_salvage_open(&request, &salvage, &err)); /* its META was found before */
    const struct np_chain_part part = {
        .stream = np_salvage_stream(salvage), .disk_id = disk->id, .losses = np_salvage_losses(salvage)};
    MUST_WORK(np_chain_open_damaged(&part, 1, disk->target, older, &chain, &err));
    bool all = walk(part.stream, disk->id, chain, &told);
    if (all)
        MUST(told.data + told.zero == disk->geometry.size);
    if (accepted) {
        MUST(np_salvage_is_whole(salvage));
        MUST(told.lost == 0 || !np_uuid_is_nil(&disk->base_state));
    }
    np_chain_close(chain);
    np_salvage_close(salvage);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t input_size)
{
    BOUNDED_TIME;
    size_t size;
    if (input_size < 4)
        return 0;
    enum harm how = input[0] >> 5;
    NP_AUTO_FREE uint8_t *right = mended(input + 1, input_size - 4, input[0], &size);
    NP_AUTO_FREE uint8_t *room = malloc(2 * size + 1);
    MUST(room != NULL);
    memcpy(room, right, size);
    size = harm(room, size, how, input + input_size - 3);
    /* Of exactly that size, so that a read behind its end is seen. */
    NP_AUTO_FREE char *left = text_of(room, size);
    struct bytes bytes = {.bytes = (const uint8_t *)left, .size = size};

    const struct np_salvage_request request = {.input = bytes_input_at(&bytes), .name = "stream"};
    struct np_error err = NP_ERROR_INIT;
    struct np_meta *meta;
    if (np_salvage_meta(&request, &meta, &err) < 0)
        return refused(&err);
    NP_AUTO_FREE struct seen *seen = calloc(1, sizeof(*seen));
    MUST(seen != NULL);
    bool accepted = read_front_to_back(&bytes, false, seen) == ACCEPTED && size_of_stream(&bytes) == size;
    for (size_t i = 0; i < meta->disk_count && i < 3; i++)
        salvage_disk(&bytes, &meta->disks[i], input[input_size - 1] & 1, accepted);
    np_meta_free(meta);
    return 0;
}
