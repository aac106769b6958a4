#include "index_node.h"

#include "nbdpull/bytes.h"

uint32_t np_index_node_entry_size(const struct np_geometry *geometry)
{
    return NP_INDEX_ENTRY_FIXED + np_map_bytes(geometry);
}

void np_index_node_put_head(uint8_t to[NP_INDEX_HEAD_SIZE], uint8_t level, uint32_t entry_size,
                            unsigned count, uint64_t prev)
{
    to[0] = level;
    to[1] = (uint8_t)(entry_size / 8);
    np_put_le16(to + 2, (uint16_t)count);
    np_put_le32(to + 4, 0);
    np_put_le64(to + 8, prev);
}

void np_index_node_put_entry(uint8_t *to, const struct np_geometry *geometry,
                             const struct np_record_header *header, const uint8_t *map)
{
    uint32_t map_bytes = np_map_bytes(geometry);
    bool is_data = header->type == NP_RECORD_DATA;
    uint32_t hashes = is_data ? (header->table_len - map_bytes) / NP_HASH128_SIZE : 0;
    np_put_le64(to, header->pos);
    np_put_le64(to + 8, header->head_sum);
    np_put_le64(to + 16, header->offset);
    np_put_le64(to + 24, header->length);
    np_put_le32(to + 32, header->data_len);
    np_put_le16(to + 36, (uint16_t)hashes);
    to[38] = header->type;
    to[39] = header->codec;
    if (is_data)
        memcpy(to + NP_INDEX_ENTRY_FIXED, map, map_bytes);
    else
        memset(to + NP_INDEX_ENTRY_FIXED, 0, map_bytes);
}

void np_index_node_put_child(uint8_t to[NP_INDEX_CHILD_SIZE], const struct np_index_child *child)
{
    np_put_le64(to, child->place.pos);
    np_put_le64(to + 8, child->place.head_sum);
    np_put_le64(to + 16, child->first);
    np_put_le64(to + 24, child->end);
    np_put_le32(to + 32, child->place.table_len);
    np_put_le32(to + 36, child->place.data_len);
    np_put_le64(to + 40, 0);
}

bool np_index_node_get_child(const uint8_t from[NP_INDEX_CHILD_SIZE], struct np_index_child *child)
{
    *child = (struct np_index_child){
        .place = {.pos = np_get_le64(from),
                  .head_sum = np_get_le64(from + 8),
                  .table_len = np_get_le32(from + 32),
                  .data_len = np_get_le32(from + 36)},
        .first = np_get_le64(from + 16),
        .end = np_get_le64(from + 24),
    };
    return np_get_le64(from + 40) == 0;
}

void np_index_node_entry(const struct np_index_node *node, unsigned i, struct np_entry *entry)
{
    const uint8_t *from = node->entries + (size_t)i * node->entry_size;
    *entry = (struct np_entry){
        .pos = np_get_le64(from),
        .head_sum = np_get_le64(from + 8),
        .offset = np_get_le64(from + 16),
        .length = np_get_le64(from + 24),
        .data_len = np_get_le32(from + 32),
        .hash_count = np_get_le16(from + 36),
        .type = from[38],
        .codec = from[39],
        .map = from + NP_INDEX_ENTRY_FIXED,
    };
}

void np_index_node_child(const struct np_index_node *node, unsigned i, struct np_index_child *child)
{
    np_index_node_get_child(node->entries + (size_t)i * node->entry_size, child);
}

static int damaged(const struct np_record_header *header, const char *name, const char *what,
                   struct np_error *err)
{
    np_fail(err, NP_DAMAGED, "%s: record %ju (INDEX) at byte %ju: %s: the index is damaged", name,
            (uintmax_t)header->number, (uintmax_t)header->pos, what);
    return np_error_record(err, header->pos, header->number);
}

int np_index_node_expect(const struct np_index_node *node, const struct np_record_header *header,
                         const struct np_index_child *child, unsigned level, const char *name,
                         struct np_error *err)
{
    if (!np_place_is_of(&child->place, header))
        return damaged(header, name, "it is not the record that the node above it names", err);
    if (node->level != level)
        return damaged(header, name, "it stands on another level than the node above it says", err);
    if (header->offset != child->first || header->length != child->end - child->first)
        return damaged(header, name, "it covers other guest bytes than the node above it says", err);
    return 0;
}

/* What the entries so far have come to. */
struct progress {
    uint64_t pos;    /* end of the last record referred to */
    uint64_t window; /* last window covered, for the one that neighbours may share */
    uint64_t end;    /* guest byte behind what is covered */
    bool shared;     /* the next entry may begin at `window` again */
    uint32_t hashes;
};

static bool ends_well(const struct np_geometry *geometry, uint64_t end)
{
    return end <= geometry->size && (end % geometry->chunk == 0 || end == geometry->size);
}

static const char *wrong_zero(const struct np_geometry *geometry, const struct np_entry *entry)
{
    if (entry->length == 0 || entry->length > geometry->size - entry->offset ||
        !ends_well(geometry, entry->offset + entry->length))
        return "a ZERO of it does not end with a window or the disk";
    if (entry->data_len != 0 || entry->hash_count != 0 || entry->codec != 0 ||
        !np_is_zero(entry->map, np_map_bytes(geometry)))
        return "a ZERO of it has contents";
    return NULL;
}

static const char *wrong_data(const struct np_geometry *geometry, const struct np_entry *entry)
{
    unsigned granules = np_window_granules(geometry, entry->offset);
    for (unsigned i = granules; i < 4 * np_map_bytes(geometry); i++)
        if (np_map_get(entry->map, i) != NP_GRANULE_ABSENT)
            return "a map of it speaks of granules that the window does not have";

    struct np_map_sums sums = np_map_add_up(geometry, entry->offset, entry->map);
    if (sums.live == 0)
        return "an entry of it describes nothing";
    if (entry->hash_count != sums.payload || entry->length != (uint64_t)sums.data_bytes + sums.dead_bytes)
        return "a map of it disagrees with its counts";
    if (entry->data_len > entry->length || (entry->codec == 0) != (entry->data_len == entry->length))
        return "a payload's size cannot be right";
    return NULL;
}

/* The entry by itself, then against those before it. */
static const char *wrong_entry(const struct np_geometry *geometry, const struct np_record_header *header,
                               const struct np_entry *entry, struct progress *so_far)
{
    if (entry->type != NP_RECORD_DATA && entry->type != NP_RECORD_ZERO)
        return "an entry of it is neither DATA nor ZERO";
    if (entry->offset >= geometry->size || entry->offset % geometry->chunk != 0)
        return "an entry of it begins on no window of the disk";
    bool is_data = entry->type == NP_RECORD_DATA;
    const char *wrong = is_data ? wrong_data(geometry, entry) : wrong_zero(geometry, entry);
    if (wrong != NULL)
        return wrong;

    struct np_place place = {.pos = entry->pos, .data_len = entry->data_len};
    if (is_data)
        place.table_len = np_map_bytes(geometry) + entry->hash_count * NP_HASH128_SIZE;
    if (entry->pos < so_far->pos || entry->data_len > NP_CHUNK_MAX || entry->pos % NP_RECORD_ALIGN != 0 ||
        entry->pos >= header->pos || np_place_size(&place) > header->pos - entry->pos)
        return "an entry of it points to no place before it, or is out of order";
    if (entry->offset < so_far->end && !(is_data && so_far->shared && entry->offset == so_far->window))
        return "its entries are not in the order of the disk";

    so_far->pos = entry->pos + np_place_size(&place);
    so_far->window = entry->offset;
    so_far->end = entry->offset + (is_data ? np_window_length(geometry, entry->offset) : entry->length);
    so_far->shared = is_data;
    so_far->hashes += entry->hash_count;
    return NULL;
}

static const char *wrong_child(const struct np_geometry *geometry, const struct np_record_header *header,
                               const uint8_t *from, struct progress *so_far)
{
    struct np_index_child child;
    if (!np_index_node_get_child(from, &child))
        return "reserved bytes are not zero";
    if (!np_place_is_before(&child.place, header->pos) || child.place.pos < so_far->pos)
        return "a child of it lies at no place before it, or is out of order";
    if (child.first >= child.end || child.first % geometry->chunk != 0 || !ends_well(geometry, child.end))
        return "a child of it covers what is no run of windows";
    if (child.first < so_far->end && !(so_far->shared && child.first == so_far->window))
        return "its children are not in the order of the disk";

    so_far->pos = child.place.pos + np_place_size(&child.place);
    so_far->window = np_align_down(child.end - 1, geometry->chunk);
    so_far->end = child.end;
    so_far->shared = true;
    return NULL;
}

static const char *wrong_head(const struct np_geometry *geometry, const struct np_record_header *header,
                              const uint8_t *table, struct np_index_node *node)
{
    bool leaf = table[0] == 0;
    *node = (struct np_index_node){
        .geometry = geometry,
        .entries = table + NP_INDEX_HEAD_SIZE,
        .level = table[0],
        .count = np_get_le16(table + 2),
        .entry_size = table[1] * 8u,
        .prev = np_get_le64(table + 8),
    };
    if (np_get_le32(table + 4) != 0)
        return "reserved bytes are not zero";
    if (node->level >= NP_INDEX_LEVELS)
        return "it stands too high";
    if (node->count == 0 || node->count > (leaf ? NP_INDEX_LEAF_ENTRIES : NP_INDEX_CHILDREN))
        return "impossible count of entries";
    if (node->entry_size != (leaf ? np_index_node_entry_size(geometry) : NP_INDEX_CHILD_SIZE))
        return "impossible size of an entry";
    if (header->table_len != NP_INDEX_HEAD_SIZE + node->count * node->entry_size)
        return "its table does not hold its entries";
    if (node->prev % NP_RECORD_ALIGN != 0 || node->prev >= header->pos)
        return "it names a previous INDEX that is not before it";
    return NULL;
}

static const char *wrong_sums(const struct np_record_header *header, const struct np_index_node *node,
                              uint64_t first, uint64_t end)
{
    if (node->hashes > NP_INDEX_LEAF_HASHES || header->data_len != node->hashes * NP_HASH128_SIZE)
        return "its data do not hold its hashes";
    if (header->offset != first || header->length != end - first)
        return "it does not cover what its header says";
    return NULL;
}

int np_index_node_decode(const struct np_geometry *geometry, const struct np_record *record, const char *name,
                         struct np_index_node *node, struct np_error *err)
{
    const struct np_record_header *header = &record->header;
    if (header->table_len < NP_INDEX_HEAD_SIZE)
        return damaged(header, name, "its table is too short", err);
    const char *wrong = wrong_head(geometry, header, record->table, node);

    struct progress so_far = {.pos = NP_RECORD_HEADER_SIZE}; /* META comes first */
    for (unsigned i = 0; wrong == NULL && i < node->count; i++) {
        struct np_entry entry;
        if (node->level > 0) {
            wrong = wrong_child(geometry, header, node->entries + (size_t)i * node->entry_size, &so_far);
            continue;
        }
        np_index_node_entry(node, i, &entry);
        wrong = wrong_entry(geometry, header, &entry, &so_far);
    }
    node->hashes = so_far.hashes;
    if (wrong == NULL) {
        uint64_t first = np_get_le64(node->entries + 16); /* offset of an entry, first of a child */
        wrong = wrong_sums(header, node, first, so_far.end);
    }
    return wrong == NULL ? 0 : damaged(header, name, wrong, err);
}
