/*
 * A stream by its index. Input: flags of mend.h and, in the upper bits, which way; then the stream.
 */
#include "both_ways.h"
#include "mend.h"

#include "index_node.h"

#include "nbdpull/restore.h"
#include "nbdpull/verify.h"

enum way { BOTH_WAYS, SEEK, VERIFY, CHAIN, NODE };

static void cleanup_stream(struct np_stream **stream)
{
    np_stream_close(*stream);
}

static void cleanup_cursor(struct np_cursor **cursor)
{
    np_cursor_close(*cursor);
}

static void cleanup_chain(struct np_chain **chain)
{
    np_chain_close(*chain);
}

/* ---- seeking must find what going there finds ---- */

struct entries {
    struct np_entry *list; /* owned */
    size_t count;
};

static uint64_t end_of(const struct np_entry *entry, const struct np_geometry *geometry)
{
    return entry->offset +
           (entry->type == NP_RECORD_DATA ? np_window_length(geometry, entry->offset) : entry->length);
}

/* @return false when the index has a fault */
static bool all_entries(struct np_stream *stream, const struct np_meta_disk *disk, bool hashes,
                        struct entries *entries)
{
    NP_CLEANUP(cleanup_cursor) struct np_cursor *cursor = NULL;
    struct np_error err = NP_ERROR_INIT;
    struct np_entry entry;
    int got;
    if (np_cursor_open(stream, disk->id, hashes, &cursor, &err) < 0)
        return refused(&err);
    while ((got = np_cursor_next(cursor, &entry, &err)) > 0) {
        MUST(entry.offset < disk->geometry.size && end_of(&entry, &disk->geometry) <= disk->geometry.size);
        entries->list = realloc(entries->list, (entries->count + 1) * sizeof(entry));
        MUST(entries->list != NULL);
        entries->list[entries->count++] = entry;
    }
    return got == 0 || refused(&err);
}

static bool same_entry(const struct np_entry *a, const struct np_entry *b)
{
    return a->pos == b->pos && a->head_sum == b->head_sum && a->offset == b->offset && a->length == b->length;
}

static void seek_to(struct np_cursor *cursor, const struct np_geometry *geometry,
                    const struct entries *entries, uint64_t offset)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_entry entry;
    size_t i = 0;
    while (i < entries->count && end_of(&entries->list[i], geometry) <= offset)
        i++;
    MUST_WORK(np_cursor_seek(cursor, offset, &err));
    int got = np_cursor_next(cursor, &entry, &err);
    MUST(got == (i < entries->count));
    if (got > 0)
        MUST(same_entry(&entry, &entries->list[i]));
}

static void seek_disk(struct np_stream *stream, const struct np_meta_disk *disk)
{
    NP_CLEANUP(cleanup_cursor) struct np_cursor *cursor = NULL;
    struct np_error err = NP_ERROR_INIT;
    struct entries with = {0}, without = {0};
    bool whole = all_entries(stream, disk, true, &with);
    bool as_whole = all_entries(stream, disk, false, &without);
    MUST(!whole || (as_whole && with.count == without.count));
    if (whole && np_cursor_open(stream, disk->id, false, &cursor, &err) == 0) {
        for (size_t i = 0; i < with.count && i < 64; i++) {
            const struct np_entry *entry = &with.list[i * 7 % with.count];
            seek_to(cursor, &disk->geometry, &with, entry->offset);
            seek_to(cursor, &disk->geometry, &with, end_of(entry, &disk->geometry) - 1);
            seek_to(cursor, &disk->geometry, &with, entry->offset == 0 ? UINT64_MAX : entry->offset - 1);
        }
        seek_to(cursor, &disk->geometry, &with, disk->geometry.size);
    }
    free(with.list);
    free(without.list);
}

/* ---- verify finds a fault where the pipe does ---- */

struct faults {
    size_t count;
    struct np_error first;
};

static void on_fault(void *ctx, const struct np_fault *fault)
{
    struct faults *faults = ctx;
    if (faults->count++ == 0)
        faults->first = fault->error;
    refused(&fault->error);
}

static void verify(struct np_stream *stream, const uint8_t *bytes, size_t size)
{
    struct faults quick = {0}, sums = {0}, deep = {0};
    struct np_verify_counts counts = {0}, quick_counts = {0}, deep_counts = {0};
    struct np_error err = NP_ERROR_INIT;
    struct np_verify_options options = {.workers = 1, .parts = 1, .report = on_fault, .ctx = &quick};
    MUST_WORK(np_verify_stream(&options, stream, &quick_counts, &err));
    options.depth = NP_VERIFY_SUMS;
    options.ctx = &sums;
    MUST_WORK(np_verify_stream(&options, stream, &counts, &err));
    MUST(quick.count <= sums.count && quick_counts.payloads == counts.payloads);
    MUST(counts.checked == counts.payloads && quick_counts.records == counts.records);

    struct bytes whole = {.bytes = bytes, .size = size};
    NP_AUTO_FREE struct seen *seen = calloc(1, sizeof(*seen));
    MUST(seen != NULL);
    enum verdict verdict = read_front_to_back(&whole, false, seen);
    if (verdict == TOO_MUCH)
        return;
    options.depth = NP_VERIFY_DEEP;
    options.ctx = &deep;
    MUST_WORK(np_verify_stream(&options, stream, &deep_counts, &err));
    MUST(sums.count <= deep.count);
    if ((verdict == ACCEPTED) != (deep.count == 0))
        broken(__FILE__, __LINE__, "verify judges as a pipe does", deep.count > 0 ? &deep.first : &seen->err);
}

/* ---- a chain of one ---- */

/* @param sound the stream was accepted as a whole */
static void survey(struct np_stream *stream, const struct np_meta_disk *disk, bool sound)
{
    NP_CLEANUP(cleanup_chain) struct np_chain *chain = NULL;
    struct np_stream *const streams[] = {stream};
    struct np_error err = NP_ERROR_INIT;
    struct np_restore_plan plan = {0};
    bool whole = np_uuid_is_nil(&disk->base_state);
    int got = np_chain_open(streams, &disk->id, 1, disk->target, true, &chain, &err);
    if (got == 0)
        got = np_restore_survey(chain, NULL, &plan, &err);
    if (got < 0) {
        MUST(!whole || !sound);
        refused(&err);
        return;
    }
    MUST(whole);
    const struct np_totals *totals = np_stream_totals(stream, disk->id);
    MUST(plan.data_bytes + plan.zero_bytes == disk->geometry.size);
    if (sound)
        MUST(plan.data_bytes == totals->data_bytes && plan.zero_bytes == totals->zero_bytes);
}

static void survey_all(struct np_stream *stream, const uint8_t *bytes, size_t size)
{
    struct bytes whole = {.bytes = bytes, .size = size};
    NP_AUTO_FREE struct seen *seen = calloc(1, sizeof(*seen));
    MUST(seen != NULL);
    bool sound = read_front_to_back(&whole, true, seen) == ACCEPTED;
    const struct np_meta *meta = np_stream_meta(stream);
    for (size_t i = 0; i < meta->disk_count; i++)
        survey(stream, &meta->disks[i], sound);
}

/* ---- one INDEX record by itself ---- */

/* What is accepted is encoded again to the same bytes. */
static void encode_again(const struct np_index_node *node, const struct np_record *record)
{
    uint8_t head[NP_INDEX_HEAD_SIZE], entry[NP_INDEX_ENTRY_FIXED + NP_MAP_BYTES_MAX];
    np_index_node_put_head(head, node->level, node->entry_size, node->count, node->prev);
    MUST(memcmp(head, record->table, sizeof(head)) == 0);
    MUST(record->header.table_len == sizeof(head) + (size_t)node->count * node->entry_size);
    for (unsigned i = 0; i < node->count; i++) {
        const uint8_t *at = record->table + sizeof(head) + (size_t)i * node->entry_size;
        if (node->level > 0) {
            struct np_index_child child;
            np_index_node_child(node, i, &child);
            np_index_node_put_child(entry, &child);
        } else {
            struct np_entry of;
            np_index_node_entry(node, i, &of);
            struct np_record_header header = {.type = of.type,
                                              .codec = of.codec,
                                              .pos = of.pos,
                                              .head_sum = of.head_sum,
                                              .offset = of.offset,
                                              .length = of.length,
                                              .data_len = of.data_len,
                                              .table_len = np_map_bytes(node->geometry) +
                                                           of.hash_count * (uint32_t)NP_HASH128_SIZE};
            np_index_node_put_entry(entry, node->geometry, &header, of.map);
        }
        MUST(memcmp(entry, at, node->entry_size) == 0);
    }
}

/* A disk's size, chunk and granule as powers of two, offset, length, data_len, pos; then the table. */
static void decode_node(const uint8_t *bytes, size_t size)
{
    struct np_index_node node;
    struct np_error err = NP_ERROR_INIT;
    if (size < 38)
        return;
    struct np_geometry geometry = {.size = np_get_le64(bytes) % NP_OFFSET_LIMIT,
                                   .chunk = 1u << bytes[8] % 32,
                                   .granule = 1u << bytes[9] % 32};
    struct np_record record = {.header = {.type = NP_RECORD_INDEX,
                                          .offset = np_get_le64(bytes + 10) % NP_OFFSET_LIMIT,
                                          .length = np_get_le64(bytes + 18) % NP_OFFSET_LIMIT,
                                          .data_len = np_get_le32(bytes + 26),
                                          .pos = np_get_le64(bytes + 30) & ~(uint64_t)15,
                                          .table_len = (uint32_t)size - 38}};
    if (np_geometry_check(&geometry, &err) < 0 || size - 38 < NP_INDEX_HEAD_SIZE)
        return;
    NP_AUTO_FREE char *table = text_of(bytes + 38, size - 38);
    record.table = (const uint8_t *)table;
    if (np_index_node_decode(&geometry, &record, "stream", &node, &err) == 0)
        encode_again(&node, &record);
    else
        refused(&err);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t input_size)
{
    BOUNDED_TIME;
    if (input_size < 1)
        return 0;
    enum way way = input[0] >> 5;
    if (way == NODE) {
        decode_node(input + 1, input_size - 1);
        return 0;
    }
    size_t size;
    NP_AUTO_FREE uint8_t *bytes = mended(input + 1, input_size - 1, input[0], &size);
    struct bytes whole = {.bytes = bytes, .size = size};
    struct np_input_at at = bytes_input_at(&whole);
    struct np_error err = NP_ERROR_INIT;
    NP_CLEANUP(cleanup_stream) struct np_stream *stream = NULL;
    if (np_stream_open(&at, "stream", &stream, &err) < 0)
        return refused(&err);
    const struct np_meta *meta = np_stream_meta(stream);
    for (size_t i = 0; way == SEEK && i < meta->disk_count; i++)
        seek_disk(stream, &meta->disks[i]);
    if (way == VERIFY)
        verify(stream, bytes, size);
    else if (way == CHAIN)
        survey_all(stream, bytes, size);
    else if (way != SEEK)
        compare_both_ways(bytes, size);
    return 0;
}
