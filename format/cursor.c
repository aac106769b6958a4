#include "damage.h"
#include "stream_parts.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <string.h>

/* A cursor holds one node for each level, from the root down to a leaf, and the place in each. */
struct level {
    uint8_t *table; /* owned */
    size_t room;
    bool loaded;
    struct np_index_child self; /* as its parent, or DIR, names it */
    struct np_index_node node;
    unsigned next; /* entry to take next */
};

struct np_cursor {
    struct np_stream *stream;
    const struct np_meta_disk *disk;
    const struct np_dir_disk *dir;
    bool want_hashes;
    bool placed; /* the levels are filled and `next` is right */
    bool failed;
    bool whole;            /* since the disk's beginning without a jump: the sums must come to DIR's */
    struct np_totals seen; /* but for the digest */
    struct level levels[NP_INDEX_LEVELS];
    uint8_t *hashes; /* of the leaf; owned */
    size_t hashes_room;
    uint32_t hashes_used; /* by the entries before levels[0].next */

    /* Nodes check the order inside them; this is for records of one window in two leaves. */
    uint64_t window, reached;
    bool in_window;
    uint8_t described[NP_MAP_BYTES_MAX]; /* map of the open window: absent is what may still come */
};

int np_cursor_open(struct np_stream *stream, uint16_t disk, bool hashes, struct np_cursor **cursor,
                   struct np_error *err)
{
    const struct np_meta_disk *found = np_meta_disk_by_id(stream->meta, disk);
    if (found == NULL)
        return np_fail(err, NP_FAILED, "%s: it has no disk %u", stream->name, disk);
    *cursor = calloc(1, sizeof(**cursor));
    if (*cursor == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", stream->name);
    (*cursor)->stream = stream;
    (*cursor)->disk = found;
    (*cursor)->dir = np_stream_dir_disk(stream, disk);
    (*cursor)->want_hashes = hashes;
    return 0;
}

void np_cursor_close(struct np_cursor *cursor)
{
    if (cursor == NULL)
        return;
    for (unsigned i = 0; i < NP_INDEX_LEVELS; i++)
        free(cursor->levels[i].table);
    free(cursor->hashes);
    free(cursor);
}

/* ---- nodes ---- */

static int make_room(uint8_t **buffer, size_t *room, size_t size, const char *name, struct np_error *err)
{
    if (size <= *room)
        return 0;
    uint8_t *larger = realloc(*buffer, size);
    if (larger == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", name);
    *buffer = larger;
    *room = size;
    return 0;
}

static size_t table_max(const struct np_geometry *geometry, unsigned level)
{
    size_t leaf = (size_t)NP_INDEX_LEAF_ENTRIES * np_index_node_entry_size(geometry);
    size_t inner = (size_t)NP_INDEX_CHILDREN * NP_INDEX_CHILD_SIZE;
    return NP_INDEX_HEAD_SIZE + (level == 0 ? leaf : inner);
}

/* np_index_node_decode has bounded data_len to NP_INDEX_LEAF_HASHES of them. */
static int load_hashes(struct np_cursor *cursor, const struct np_record_header *header, struct np_error *err)
{
    cursor->hashes_used = 0;
    if (!cursor->want_hashes)
        return 0;
    size_t size = np_max_u64(header->data_len, NP_HASH128_SIZE); /* so that there is a pointer for none */
    if (make_room(&cursor->hashes, &cursor->hashes_room, size, cursor->stream->name, err) < 0)
        return -1;
    return np_record_at_data(&cursor->stream->at, header, cursor->disk, cursor->hashes, err);
}

/* Entries point backwards (np_index_node_decode), so going down a tree ends whatever it says. */
static int load_node(struct np_cursor *cursor, unsigned number, const struct np_index_child *child,
                     struct np_error *err)
{
    const struct np_record_at *at = &cursor->stream->at;
    struct level *level = &cursor->levels[number];
    struct np_record_header header;
    level->loaded = false;
    if (np_record_at_place(at, &child->place, NP_RECORD_INDEX, &header, err) < 0)
        return -1;
    if (header.disk != cursor->disk->id)
        return np_damage_record(at->name, &header, NULL, err, "it belongs to another disk than its parent");
    if (header.table_len > table_max(&cursor->disk->geometry, number))
        return np_damage_record(at->name, &header, cursor->disk, err, "its table is too long");
    if (make_room(&level->table, &level->room, header.table_len, at->name, err) < 0 ||
        np_record_at_table(at, &header, cursor->disk, level->table, err) < 0)
        return -1;

    struct np_record record = {.header = header, .table = level->table};
    if (np_index_node_decode(&cursor->disk->geometry, &record, at->name, &level->node, err) < 0 ||
        np_index_node_expect(&level->node, &header, child, number, at->name, err) < 0)
        return -1;
    if (number == 0 && load_hashes(cursor, &header, err) < 0)
        return -1;
    level->loaded = true;
    level->self = *child;
    level->next = 0;
    return 0;
}

/* As load_node, unless it is there already. */
static int need_node(struct np_cursor *cursor, unsigned number, const struct np_index_child *child,
                     struct np_error *err)
{
    const struct level *level = &cursor->levels[number];
    bool same = level->loaded && level->self.place.pos == child->place.pos &&
                level->self.place.head_sum == child->place.head_sum && level->self.first == child->first &&
                level->self.end == child->end;
    return same ? 0 : load_node(cursor, number, child, err);
}

/* ---- seeking ---- */

static uint64_t entry_end(const struct np_cursor *cursor, const struct np_entry *entry)
{
    if (entry->type == NP_RECORD_ZERO)
        return entry->offset + entry->length;
    return entry->offset + np_window_length(&cursor->disk->geometry, entry->offset);
}

static unsigned first_child_after(const struct np_index_node *node, uint64_t offset)
{
    struct np_index_child child;
    unsigned i = 0;
    for (; i < node->count; i++) {
        np_index_node_child(node, i, &child);
        if (child.end > offset)
            break;
    }
    return i;
}

static void place_in_leaf(struct np_cursor *cursor, uint64_t offset)
{
    struct level *leaf = &cursor->levels[0];
    struct np_entry entry;
    cursor->hashes_used = 0;
    for (leaf->next = 0; leaf->next < leaf->node.count; leaf->next++) {
        np_index_node_entry(&leaf->node, leaf->next, &entry);
        if (entry_end(cursor, &entry) > offset)
            return;
        cursor->hashes_used += entry.hash_count;
    }
}

static int descend(struct np_cursor *cursor, uint64_t offset, struct np_error *err)
{
    struct np_index_child child = cursor->dir->root;
    for (unsigned number = cursor->dir->root_level;; number--) {
        struct level *level = &cursor->levels[number];
        if (need_node(cursor, number, &child, err) < 0)
            return -1;
        if (number == 0)
            break;
        level->next = first_child_after(&level->node, offset);
        if (level->next == level->node.count)
            level->next--; /* only in the root, when nothing follows: the last leaf will say so */
        np_index_node_child(&level->node, level->next++, &child);
    }
    place_in_leaf(cursor, offset);
    return 0;
}

int np_cursor_seek(struct np_cursor *cursor, uint64_t offset, struct np_error *err)
{
    cursor->in_window = false;
    cursor->reached = 0;
    cursor->seen = (struct np_totals){0};
    cursor->whole = offset == 0;
    cursor->placed = true;
    cursor->failed = cursor->dir->has_root && descend(cursor, offset, err) < 0;
    return cursor->failed ? np_error_where(err, cursor->disk->target, offset) : 0;
}

/* ---- walking ---- */

/* @return 1 when the leaf has an entry to take, 0 at the end of the disk, -1 */
static int reach_leaf(struct np_cursor *cursor, struct np_error *err)
{
    unsigned number = 0;
    while (cursor->levels[number].next == cursor->levels[number].node.count)
        if (number++ == cursor->dir->root_level)
            return 0;
    for (; number > 0; number--) {
        struct np_index_child child;
        np_index_node_child(&cursor->levels[number].node, cursor->levels[number].next++, &child);
        if (load_node(cursor, number - 1, &child, err) < 0)
            return -1;
    }
    return 1;
}

/* Add an entry of the open window to what is described of it; false if something was there already. */
static bool describe_more(struct np_cursor *cursor, const struct np_entry *entry)
{
    unsigned granules = np_window_granules(&cursor->disk->geometry, entry->offset);
    for (unsigned i = 0; i < granules; i++) {
        enum np_granule_state state = np_map_get(entry->map, i), was = np_map_get(cursor->described, i);
        if (state != NP_GRANULE_DATA && state != NP_GRANULE_ZERO)
            continue;
        if (was == NP_GRANULE_DATA || was == NP_GRANULE_ZERO)
            return false;
        np_map_set(cursor->described, i, state);
    }
    return true;
}

/* Almost every window has one entry, so its map is only copied; looking at it waits for a second one. */
static bool is_in_order(struct np_cursor *cursor, const struct np_entry *entry)
{
    bool is_data = entry->type == NP_RECORD_DATA;
    if (is_data && cursor->in_window && entry->offset == cursor->window)
        return describe_more(cursor, entry);
    if (entry->offset < cursor->reached)
        return false;
    cursor->window = entry->offset;
    cursor->reached = entry_end(cursor, entry);
    cursor->in_window = is_data;
    memcpy(cursor->described, entry->map, np_map_bytes(&cursor->disk->geometry));
    return true;
}

static void add_up(struct np_cursor *cursor, const struct np_entry *entry)
{
    struct np_totals *seen = &cursor->seen;
    seen->records++;
    seen->stored_bytes += entry->data_len;
    if (entry->type == NP_RECORD_ZERO) {
        seen->zero_bytes += entry->length;
        return;
    }
    struct np_map_sums sums = np_map_add_up(&cursor->disk->geometry, entry->offset, entry->map);
    seen->data_bytes += sums.data_bytes;
    seen->zero_bytes += sums.zero_bytes;
    seen->dead_bytes += sums.dead_bytes;
}

static int take_entry(struct np_cursor *cursor, struct np_entry *entry, struct np_error *err)
{
    struct level *leaf = &cursor->levels[0];
    np_index_node_entry(&leaf->node, leaf->next++, entry);
    if (cursor->want_hashes)
        entry->hashes = cursor->hashes + (size_t)cursor->hashes_used * NP_HASH128_SIZE;
    cursor->hashes_used += entry->hash_count;
    add_up(cursor, entry);
    if (!is_in_order(cursor, entry))
        return np_fail(err, NP_DAMAGED,
                       "%s: INDEX at byte %ju, disk %s, guest byte %ju: it lists what was listed before: the "
                       "stream is damaged",
                       cursor->stream->name, (uintmax_t)leaf->self.place.pos, cursor->disk->target,
                       (uintmax_t)entry->offset);
    return 1;
}

static bool same_bytes(const struct np_totals *a, const struct np_totals *b)
{
    return a->data_bytes == b->data_bytes && a->zero_bytes == b->zero_bytes &&
           a->dead_bytes == b->dead_bytes && a->stored_bytes == b->stored_bytes;
}

/* An index that lacks a record would restore stale bytes; who walked all of it can see that. */
static int check_whole(const struct np_cursor *cursor, struct np_error *err)
{
    const struct np_totals *totals = &cursor->dir->totals, *seen = &cursor->seen;
    if (!cursor->whole || (seen->records == totals->records && same_bytes(seen, totals)))
        return 0;
    if (seen->records == totals->records)
        return np_fail(
            err, NP_DAMAGED,
            "%s: disk %s: what its index lists comes to other totals than those of DIR: the stream is "
            "damaged",
            cursor->stream->name, cursor->disk->target);
    return np_fail(err, NP_DAMAGED,
                   "%s: disk %s: its index lists %ju records where DIR counts %ju: the stream is damaged",
                   cursor->stream->name, cursor->disk->target, (uintmax_t)seen->records,
                   (uintmax_t)totals->records);
}

int np_cursor_next(struct np_cursor *cursor, struct np_entry *entry, struct np_error *err)
{
    if (!cursor->placed && np_cursor_seek(cursor, 0, err) < 0)
        return -1;
    if (cursor->failed)
        return np_fail(err, NP_FAILED, "%s: nothing can be read after an error", cursor->stream->name);
    if (!cursor->dir->has_root)
        return 0;
    int found = reach_leaf(cursor, err);
    found = found > 0 ? take_entry(cursor, entry, err) : found == 0 ? check_whole(cursor, err) : found;
    cursor->failed = found < 0;
    return found < 0 ? np_error_where(err, cursor->disk->target, cursor->reached) : found;
}

int np_cursor_finish(struct np_cursor *cursor, struct np_error *err)
{
    struct np_entry entry;
    int more = 1;
    while (more > 0 && cursor->placed && cursor->whole)
        more = np_cursor_next(cursor, &entry, err);
    return more < 0 ? -1 : 0;
}
