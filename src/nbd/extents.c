#include "extents.h"

#include "nbdpull/bytes.h"

#include <errno.h>
#include <stdlib.h>

#define CAPACITY_FIRST 256u

void np_nbd_extents_begin(struct np_nbd_extents *list, uint64_t offset)
{
    list->offset = list->end = offset;
    list->count = list->at = 0;
    list->at_offset = offset;
}

void np_nbd_extents_clear(struct np_nbd_extents *list)
{
    free(list->runs);
    *list = (struct np_nbd_extents){.runs = NULL};
}

static int grow(struct np_nbd_extents *list, struct np_error *err)
{
    size_t capacity = list->capacity == 0 ? CAPACITY_FIRST : list->capacity * 2;
    struct np_nbd_run *runs = realloc(list->runs, capacity * sizeof(*runs));
    if (runs == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot keep %zu extents", capacity);
    list->runs = runs;
    list->capacity = capacity;
    return 0;
}

/* Returns 1 when the list is full, so that this run and what follows must be asked for again. */
static int add_run(struct np_nbd_extents *list, uint32_t length, uint32_t flags, struct np_error *err)
{
    struct np_nbd_run *last = list->count == 0 ? NULL : &list->runs[list->count - 1];
    if (last != NULL && last->flags == flags && last->length <= UINT32_MAX - length) {
        last->length += length;
    } else {
        if (list->count == NP_NBD_EXTENTS_KEPT)
            return 1;
        if (list->count == list->capacity && grow(list, err) < 0)
            return -1;
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): there is room, so there is a list */
        list->runs[list->count++] = (struct np_nbd_run){.length = length, .flags = flags};
    }
    list->end += length;
    return 0;
}

int np_nbd_extents_append(struct np_nbd_extents *list, const uint32_t *words, size_t word_count,
                          uint64_t limit, uint32_t bit, uint32_t flag, struct np_error *err)
{
    if (word_count % 2 != 0)
        return np_fail(err, NP_FAILED, "the server's block status ends in the middle of an extent");
    for (size_t i = 0; i < word_count && list->end < limit; i += 2) {
        if (words[i] == 0)
            return np_fail(err, NP_FAILED, "the server's block status has an extent of no bytes at %ju",
                           (uintmax_t)list->end);
        uint32_t length = (uint32_t)np_min_u64(words[i], limit - list->end);
        int added = add_run(list, length, (words[i + 1] & bit) == bit ? flag : 0, err);
        if (added != 0)
            return added < 0 ? -1 : 0;
    }
    return 0;
}

/* The run that holds offset, or NULL. Walks go forward, so the last place is a good one to start from. */
static const struct np_nbd_run *find_run(struct np_nbd_extents *list, uint64_t offset)
{
    if (offset < list->at_offset) {
        list->at = 0;
        list->at_offset = list->offset;
    }
    if (offset < list->offset || offset >= list->end)
        return NULL;
    while (offset - list->at_offset >= list->runs[list->at].length)
        list->at_offset += list->runs[list->at++].length;
    return &list->runs[list->at];
}

/* The longest range from offset, at most to limit, that all lists describe with one run each. */
static bool next_extent(struct np_nbd_extents lists[], size_t list_count, uint64_t offset, uint64_t limit,
                        struct np_extent *extent)
{
    *extent = (struct np_extent){.offset = offset, .length = limit - offset};
    for (size_t i = 0; i < list_count; i++) {
        const struct np_nbd_run *run = find_run(&lists[i], offset);
        if (run == NULL)
            return false;
        extent->length = np_min_u64(extent->length, lists[i].at_offset + run->length - offset);
        extent->flags |= run->flags;
    }
    return true;
}

int np_nbd_extents_walk(struct np_nbd_extents lists[], size_t list_count, uint64_t offset, uint64_t limit,
                        struct np_extent *extents, size_t room, size_t *count, struct np_error *err)
{
    size_t found = 0;
    struct np_extent extent;
    for (uint64_t pos = offset; pos < limit; pos += extent.length) {
        if (!next_extent(lists, list_count, pos, limit, &extent))
            break;
        if (found > 0 && extents[found - 1].flags == extent.flags)
            extents[found - 1].length += extent.length;
        else if (found < room)
            extents[found++] = extent;
        else
            break;
    }
    if (found == 0)
        return np_fail(err, NP_FAILED, "the server's block status says nothing of the byte at %ju",
                       (uintmax_t)offset);
    *count = found;
    return 0;
}
