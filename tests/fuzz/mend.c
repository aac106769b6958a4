#include "mend.h"

#include "fuzz.h"

#include "blob_table.h"
#include "index_node.h"
#include "results.h"
#include "track.h"
#include "trailer.h"

#include "nbdpull/codec.h"

static const uint8_t magic[4] = {0x89, 'N', 'B', 'P'};

#define EXPAND_MAX (1u << 20)

enum at { AT_TYPE = 5, AT_ID = 8, AT_POS = 16, AT_OFFSET = 24, AT_LENGTH = 32, AT_TABLE_LEN = 40 };
enum {
    AT_DATA_LEN = 44,
    AT_DISK = 48,
    AT_FLAGS = 50,
    AT_NUMBER = 56,
    AT_DATA_SUM = 64,
    AT_TABLE_SUM = 80,
    AT_HEAD_SUM = 88
};

/* ---- taking apart ---- */

static uint8_t *copy_of(const uint8_t *bytes, size_t size)
{
    return (uint8_t *)text_of(bytes, size);
}

static size_t next_magic(const uint8_t *bytes, size_t size, size_t from)
{
    for (; from + NP_RECORD_HEADER_SIZE <= size; from++) {
        if (memcmp(bytes + from, magic, sizeof(magic)) == 0)
            return from;
    }
    return size;
}

/* Where the record ends: where its lengths say, if another one begins there; else before the next magic. */
static size_t end_of(const uint8_t *bytes, size_t size, size_t pos)
{
    uint64_t told = np_align_up((uint64_t)NP_RECORD_HEADER_SIZE + np_get_le32(bytes + pos + AT_TABLE_LEN) +
                                    np_get_le32(bytes + pos + AT_DATA_LEN),
                                NP_RECORD_ALIGN);
    if (told == size - pos || (told < size - pos && next_magic(bytes, size, pos + told) == pos + told))
        return pos + told;
    return next_magic(bytes, size, pos + NP_RECORD_HEADER_SIZE);
}

static void cut_part(struct part *part, const uint8_t *bytes, size_t size)
{
    size_t left = size - NP_RECORD_HEADER_SIZE;
    memcpy(part->header, bytes, NP_RECORD_HEADER_SIZE);
    bytes += NP_RECORD_HEADER_SIZE;
    part->was = np_get_le64(part->header + AT_POS);
    part->table_len = (uint32_t)np_min_u64(np_get_le32(part->header + AT_TABLE_LEN), left);
    left -= part->table_len;
    part->data_len = (uint32_t)np_min_u64(np_get_le32(part->header + AT_DATA_LEN), left);
    left -= part->data_len;
    part->table = copy_of(bytes, part->table_len);
    part->data = copy_of(bytes + part->table_len, part->data_len);
    memset(part->padding, 0, sizeof(part->padding));
    memcpy(part->padding, bytes + part->table_len + part->data_len, left < 16 ? left : 0);
}

struct parts *parts_cut(const uint8_t *bytes, size_t size)
{
    struct parts *parts = malloc(sizeof(*parts));
    MUST(parts != NULL);
    parts->count = 0;
    for (size_t pos = next_magic(bytes, size, 0); pos < size && parts->count < PARTS_MAX;) {
        size_t end = end_of(bytes, size, pos);
        cut_part(&parts->list[parts->count++], bytes + pos, end - pos);
        pos = next_magic(bytes, size, end);
    }
    return parts;
}

void parts_free(struct parts *parts)
{
    for (size_t i = 0; i < parts->count; i++) {
        free(parts->list[i].table);
        free(parts->list[i].data);
    }
    free(parts);
}

/* ---- putting together ---- */

static size_t part_size(const struct part *part)
{
    return np_align_up((size_t)NP_RECORD_HEADER_SIZE + part->table_len + part->data_len, NP_RECORD_ALIGN);
}

uint8_t *parts_join(const struct parts *parts, size_t *size)
{
    *size = 0;
    for (size_t i = 0; i < parts->count; i++)
        *size += part_size(&parts->list[i]);
    uint8_t *bytes = copy_of(NULL, 0);
    bytes = realloc(bytes, *size + 1);
    MUST(bytes != NULL);
    uint8_t *at = bytes;
    for (size_t i = 0; i < parts->count; i++) {
        const struct part *part = &parts->list[i];
        size_t body = (size_t)part->table_len + part->data_len;
        memcpy(at, part->header, NP_RECORD_HEADER_SIZE);
        np_put_le32(at + AT_TABLE_LEN, part->table_len);
        np_put_le32(at + AT_DATA_LEN, part->data_len);
        memcpy(at + NP_RECORD_HEADER_SIZE, part->table, part->table_len);
        memcpy(at + NP_RECORD_HEADER_SIZE + part->table_len, part->data, part->data_len);
        memcpy(at + NP_RECORD_HEADER_SIZE + body, part->padding,
               part_size(part) - NP_RECORD_HEADER_SIZE - body);
        at += part_size(part);
    }
    return bytes;
}

/* ---- mending ---- */

struct mending {
    struct parts *parts;
    struct parts *inner;  /* in the first optional record that holds records; owned */
    struct np_meta *meta; /* owned; NULL: none that can be read */
    struct np_track *tracks;
    size_t now; /* the part at hand; those before it are done */
    uint64_t pos, last_index;
    uint64_t id;
    struct np_hash_stream *headers;
};

static uint8_t type_of(const struct part *part)
{
    return part->header[AT_TYPE];
}

static struct np_record_header header_of(const struct part *part)
{
    const uint8_t *from = part->header;
    return (struct np_record_header){
        .version = from[4],
        .type = from[AT_TYPE],
        .codec = from[6],
        .cipher = from[7],
        .stream_id = np_get_le64(from + AT_ID),
        .pos = np_get_le64(from + AT_POS),
        .offset = np_get_le64(from + AT_OFFSET),
        .length = np_get_le64(from + AT_LENGTH),
        .table_len = part->table_len,
        .data_len = part->data_len,
        .disk = np_get_le16(from + AT_DISK),
        .flags = np_get_le16(from + 50),
        .number = np_get_le64(from + AT_NUMBER),
        .data_sum = np_hash128_get(from + AT_DATA_SUM),
        .table_sum = np_get_le64(from + AT_TABLE_SUM),
        .head_sum = np_get_le64(from + AT_HEAD_SUM),
    };
}

static const struct np_meta_disk *disk_of(const struct mending *mending, const struct part *part)
{
    return mending->meta == NULL ? NULL
                                 : np_meta_disk_by_id(mending->meta, np_get_le16(part->header + AT_DISK));
}

/* The record before the one at hand that had that position, or NULL. */
static const struct part *named(const struct mending *mending, uint64_t was)
{
    for (size_t i = 0; i < mending->now; i++) {
        if (mending->parts->list[i].was == was)
            return &mending->parts->list[i];
    }
    for (size_t i = 0; mending->inner != NULL && i < mending->inner->count; i++) {
        if (mending->inner->list[i].was == was)
            return &mending->inner->list[i];
    }
    return NULL;
}

static void mend_place(const struct mending *mending, uint8_t at[NP_PLACE_SIZE])
{
    const struct part *part = named(mending, np_get_le64(at));
    if (part == NULL)
        return;
    struct np_record_header header = header_of(part);
    struct np_place place = np_place_of(&header);
    np_place_put(at, &place);
}

static void mend_child(const struct mending *mending, uint8_t at[NP_INDEX_CHILD_SIZE])
{
    const struct part *part = named(mending, np_get_le64(at));
    if (part == NULL)
        return;
    struct np_record_header header = header_of(part);
    struct np_index_child child = {
        .place = np_place_of(&header), .first = header.offset, .end = header.offset + header.length};
    np_index_node_put_child(at, &child);
}

static void mend_entry(const struct mending *mending, uint8_t at[NP_INDEX_ENTRY_FIXED])
{
    const struct part *part = named(mending, np_get_le64(at));
    if (part == NULL)
        return;
    struct np_record_header header = header_of(part);
    np_put_le64(at, header.pos);
    np_put_le64(at + 8, header.head_sum);
}

/* ---- each type ---- */

/* Expanded, or NULL. @return owned */
static uint8_t *expanded(const struct part *part, uint64_t length)
{
    const struct np_codec *codec = np_codec_find(part->header[6]);
    struct np_error err = NP_ERROR_INIT;
    if (codec == NULL || length > EXPAND_MAX)
        return NULL;
    NP_AUTO_FREE uint8_t *bytes = copy_of(NULL, 0);
    bytes = realloc(bytes, length + 1);
    MUST(bytes != NULL);
    return codec->expand(part->data, part->data_len, bytes, length, &err) == 0 ? NP_STEAL(bytes) : NULL;
}

/* The table becomes the map and the right hashes, however many there were. */
static void mend_data(const struct mending *mending, struct part *part)
{
    const struct np_meta_disk *disk = disk_of(mending, part);
    struct np_record_header header = header_of(part);
    if (disk == NULL || header.offset >= disk->geometry.size || header.offset % disk->geometry.chunk != 0)
        return;
    const struct np_geometry *geometry = &disk->geometry;
    uint32_t map_bytes = np_map_bytes(geometry);
    if (part->table_len < map_bytes)
        return;
    struct np_map_sums sums = np_map_add_up(geometry, header.offset, part->table);
    if (header.length != (uint64_t)sums.data_bytes + sums.dead_bytes)
        return;
    NP_AUTO_FREE uint8_t *payload = expanded(part, header.length);
    if (payload == NULL)
        return;
    part->table_len = map_bytes + sums.payload * NP_HASH128_SIZE;
    part->table = realloc(part->table, part->table_len + 1);
    MUST(part->table != NULL);
    uint8_t *hash = part->table + map_bytes;
    const uint8_t *from = payload;
    for (unsigned i = 0; i < np_window_granules(geometry, header.offset); i++) {
        enum np_granule_state state = np_map_get(part->table, i);
        if (state != NP_GRANULE_DATA && state != NP_GRANULE_DEAD)
            continue;
        uint32_t length = np_granule_length(geometry, header.offset, i);
        np_hash128_put(hash, np_hash128(from, length));
        hash += NP_HASH128_SIZE;
        from += length;
    }
}

/* The first part of a file: it and those that follow get its size and its sum. */
static void mend_blob(const struct mending *mending, struct part *first)
{
    struct np_hash_stream *hash = np_hash_stream_new();
    struct part *end = mending->parts->list + mending->parts->count;
    uint64_t total = 0;
    MUST(hash != NULL);
    for (struct part *part = first; part < end && type_of(part) == NP_RECORD_BLOB; part++) {
        if (part != first && np_get_le64(part->header + AT_OFFSET) == 0)
            break;
        np_hash_stream_add(hash, part->data, part->data_len);
        total += part->data_len;
    }
    for (struct part *part = first; part < end && type_of(part) == NP_RECORD_BLOB; part++) {
        if ((part != first && np_get_le64(part->header + AT_OFFSET) == 0) || part->table_len < 24)
            break;
        np_put_le64(part->table, total);
        np_hash128_put(part->table + 8, np_hash_stream_get(hash));
    }
    np_hash_stream_free(hash);
}

static void append(uint8_t **to, uint32_t *size, const uint8_t *bytes, size_t count)
{
    *to = realloc(*to, *size + count + 1);
    MUST(*to != NULL);
    memcpy(*to + *size, bytes, count);
    *size += (uint32_t)count;
}

/* As the writer would have made it of the disk's records since its leaf before. */
static void rebuild_leaf(const struct mending *mending, struct part *leaf)
{
    const struct np_meta_disk *disk = disk_of(mending, leaf);
    if (disk == NULL || leaf->table_len < NP_INDEX_HEAD_SIZE)
        return;
    uint32_t map_bytes = np_map_bytes(&disk->geometry), size = np_index_node_entry_size(&disk->geometry);
    uint64_t first = 0, end = 0;
    size_t from = mending->now;
    unsigned count = 0;
    while (from > 0 && (type_of(&mending->parts->list[from - 1]) != NP_RECORD_INDEX ||
                        disk_of(mending, &mending->parts->list[from - 1]) != disk))
        from--;
    leaf->table_len = NP_INDEX_HEAD_SIZE;
    leaf->data_len = 0;
    for (size_t i = from; i < mending->now; i++) {
        const struct part *part = &mending->parts->list[i];
        uint8_t entry[NP_INDEX_ENTRY_FIXED + NP_MAP_BYTES_MAX];
        bool is_data = type_of(part) == NP_RECORD_DATA;
        if (disk_of(mending, part) != disk || (!is_data && type_of(part) != NP_RECORD_ZERO) ||
            (is_data && part->table_len < map_bytes))
            continue;
        struct np_record_header header = header_of(part);
        first = count++ == 0 ? header.offset : first;
        bool window = is_data && header.offset < disk->geometry.size;
        end = header.offset + (window ? np_window_length(&disk->geometry, header.offset) : header.length);
        np_index_node_put_entry(entry, &disk->geometry, &header, part->table);
        append(&leaf->table, &leaf->table_len, entry, size);
        if (is_data)
            append(&leaf->data, &leaf->data_len, part->table + map_bytes, part->table_len - map_bytes);
    }
    leaf->table[1] = (uint8_t)(size / 8);
    np_put_le16(leaf->table + 2, (uint16_t)count);
    np_put_le64(leaf->header + AT_OFFSET, first);
    np_put_le64(leaf->header + AT_LENGTH, end - first);
}

static void link_index(const struct mending *mending, struct part *part)
{
    if (part->table_len < NP_INDEX_HEAD_SIZE)
        return;
    uint8_t *table = part->table;
    np_put_le64(table + 8, mending->last_index);
    size_t size = table[0] == 0 ? table[1] * 8u : NP_INDEX_CHILD_SIZE;
    size_t room = part->table_len - NP_INDEX_HEAD_SIZE;
    uint8_t *entry = table + NP_INDEX_HEAD_SIZE, *last = NULL;
    for (unsigned i = 0; i < np_get_le16(table + 2) && size >= NP_INDEX_ENTRY_FIXED && room >= size; i++) {
        if (table[0] == 0)
            mend_entry(mending, entry);
        else
            mend_child(mending, last = entry);
        entry += size;
        room -= size;
    }
    if (last == NULL)
        return;
    uint64_t first = np_get_le64(table + NP_INDEX_HEAD_SIZE + 16);
    np_put_le64(part->header + AT_OFFSET, first);
    np_put_le64(part->header + AT_LENGTH, np_get_le64(last + 24) - first);
}

static size_t dir_disks(const struct part *dir)
{
    size_t room = dir->table_len < NP_DIR_HEAD_SIZE ? 0 : dir->table_len - NP_DIR_HEAD_SIZE;
    return dir->table_len < NP_DIR_HEAD_SIZE ? 0
                                             : np_min_u64(np_get_le32(dir->table), room / NP_DIR_DISK_SIZE);
}

static void link_dir(const struct mending *mending, struct part *dir)
{
    if (dir->table_len < NP_DIR_HEAD_SIZE)
        return;
    np_put_le64(dir->table + 8, mending->last_index);
    uint8_t *at = dir->table + NP_DIR_HEAD_SIZE, *end = dir->table + dir->table_len;
    for (size_t i = 0; i < dir_disks(dir); i++, at += NP_DIR_DISK_SIZE) {
        if (at[3] & 1)
            mend_child(mending, at + 8);
    }
    for (; end - at >= NP_PLACE_SIZE; at += NP_PLACE_SIZE)
        mend_place(mending, at);
}

static struct part *dir_of(struct parts *parts)
{
    for (size_t i = parts->count; i > 0; i--) {
        if (type_of(&parts->list[i - 1]) == NP_RECORD_DIR)
            return &parts->list[i - 1];
    }
    return NULL;
}

/* What the disk's records add up to; the digest of a disk with a base is what DIR says. */
static struct np_totals totals_of(const struct mending *mending, size_t disk, const uint8_t *dir)
{
    struct np_totals totals = mending->tracks[disk].totals;
    totals.digest_known = np_uuid_is_nil(&mending->meta->disks[disk].base_state);
    if (!totals.digest_known) {
        totals.digest_known = (dir[3] & 2) != 0;
        totals.digest = totals.digest_known ? np_hash128_get(dir + 96) : (struct np_hash128){0, 0};
    }
    return totals;
}

static void mend_results(const struct mending *mending, struct part *meta)
{
    const struct part *dir = dir_of(mending->parts);
    struct np_error err = NP_ERROR_INIT;
    char *text;
    size_t blobs = 0;
    if (dir == NULL || mending->meta == NULL || dir_disks(dir) != mending->meta->disk_count)
        return;
    NP_AUTO_FREE struct np_totals *totals = calloc(mending->meta->disk_count, sizeof(*totals));
    MUST(totals != NULL);
    for (size_t i = 0; i < mending->meta->disk_count; i++)
        totals[i] = totals_of(mending, i, dir->table + NP_DIR_HEAD_SIZE + i * NP_DIR_DISK_SIZE);
    for (size_t i = 0; i < mending->now; i++) {
        const struct part *part = &mending->parts->list[i];
        blobs += type_of(part) == NP_RECORD_BLOB && np_get_le64(part->header + AT_OFFSET) == 0;
    }
    if (np_results_format(mending->meta, totals, blobs, &text, &err) < 0)
        return;
    free(meta->data);
    meta->data = (uint8_t *)text;
    meta->data_len = (uint32_t)strlen(text);
}

static void mend_dir(const struct mending *mending, struct part *dir)
{
    if (mending->meta == NULL || dir_disks(dir) != mending->meta->disk_count)
        return;
    for (size_t i = 0; i < mending->meta->disk_count; i++) {
        uint8_t *at = dir->table + NP_DIR_HEAD_SIZE + i * NP_DIR_DISK_SIZE;
        struct np_dir_disk disk = {.id = np_get_le16(at),
                                   .has_root = at[3] & 1,
                                   .root_level = at[2],
                                   .totals = totals_of(mending, i, at)};
        np_index_node_get_child(at + 8, &disk.root);
        np_trailer_put_dir_disk(at, &disk);
    }
}

/* ---- one after the other ---- */

static void track(const struct mending *mending, const struct part *part)
{
    const struct np_meta_disk *disk = disk_of(mending, part);
    struct np_record record = {.header = header_of(part), .table = part->table, .data = part->data};
    struct np_error err = NP_ERROR_INIT;
    if (disk == NULL)
        return;
    struct np_track *of = &mending->tracks[disk - mending->meta->disks];
    if (type_of(part) == NP_RECORD_DATA && np_window_check(&disk->geometry, &record, "", &err) < 0)
        return;
    if (np_track_check(of, &record, "", &err) == 0)
        np_track_add(of, &record);
}

static void mend_end(const struct mending *mending, struct part *end, unsigned flags)
{
    if (end->table_len != NP_END_TABLE_SIZE)
        return;
    np_put_le64(end->table, mending->pos + NP_END_SIZE);
    np_put_le64(end->table + 8, mending->now + 1);
    np_hash128_put(end->table + 64, np_hash_stream_get(mending->headers));
    if (flags & MEND_LINKS) {
        mend_place(mending, end->table + 16);
        mend_place(mending, end->table + 40);
    }
}

static void mend_content(const struct mending *mending, struct part *part, unsigned flags)
{
    uint8_t type = type_of(part);
    if (flags & MEND_HASHES && type == NP_RECORD_DATA)
        mend_data(mending, part);
    if (flags & MEND_HASHES && type == NP_RECORD_BLOB && np_get_le64(part->header + AT_OFFSET) == 0)
        mend_blob(mending, part);
    if (flags & MEND_LEAVES && type == NP_RECORD_INDEX && part->table_len > 0 && part->table[0] == 0)
        rebuild_leaf(mending, part);
    if (flags & MEND_LINKS && type == NP_RECORD_INDEX)
        link_index(mending, part);
    if (flags & MEND_TOTALS && type == NP_RECORD_META && mending->now > 0)
        mend_results(mending, part);
    if (flags & MEND_TOTALS && type == NP_RECORD_DIR)
        mend_dir(mending, part);
    if (flags & MEND_LINKS && type == NP_RECORD_DIR)
        link_dir(mending, part);
    if (type == NP_RECORD_END)
        mend_end(mending, part, flags);
}

static void mend_header(const struct mending *mending, struct part *part, uint64_t pos, uint64_t number)
{
    uint8_t *header = part->header;
    np_put_le64(header + AT_ID, mending->id);
    np_put_le64(header + AT_POS, pos);
    np_put_le64(header + AT_NUMBER, number);
    np_put_le32(header + AT_TABLE_LEN, part->table_len);
    np_put_le32(header + AT_DATA_LEN, part->data_len);
    np_hash128_put(header + AT_DATA_SUM, np_hash128(part->data, part->data_len));
    np_put_le64(header + AT_TABLE_SUM, np_hash64(part->table, part->table_len));
    header[AT_DATA_SUM] ^= header[AT_FLAGS] == OTHER_DATA_SUM;
    header[AT_TABLE_SUM] ^= header[AT_FLAGS] == OTHER_TABLE_SUM;
    np_put_le64(header + AT_HEAD_SUM, np_hash64(header, AT_HEAD_SUM));
}

static void mend_inner(struct mending *mending, struct part *part, unsigned flags)
{
    size_t size;
    uint64_t pos = mending->pos + NP_RECORD_HEADER_SIZE + part->table_len;
    if ((type_of(part) & NP_RECORD_OPTIONAL) == 0 || mending->inner != NULL ||
        part->data_len < NP_RECORD_HEADER_SIZE || memcmp(part->data, magic, sizeof(magic)) != 0)
        return;
    mending->inner = parts_cut(part->data, part->data_len);
    for (size_t i = 0; i < mending->inner->count; i++) {
        struct part *inner = &mending->inner->list[i];
        if (type_of(inner) == NP_RECORD_META || type_of(inner) == NP_RECORD_DIR)
            mend_content(mending, inner, flags);
        mend_header(mending, inner, pos, mending->now + i);
        pos += part_size(inner);
    }
    free(part->data);
    part->data = parts_join(mending->inner, &size);
    part->data_len = (uint32_t)size;
}

static void begin(struct mending *mending)
{
    const struct part *first = &mending->parts->list[0];
    struct np_error err = NP_ERROR_INIT;
    mending->headers = np_hash_stream_new();
    MUST(mending->headers != NULL);
    if (mending->parts->count == 0)
        return;
    mending->id = np_get_le64(first->header + AT_ID);
    if (np_meta_parse((const char *)first->table, first->table_len, "", &mending->meta, &err) < 0)
        return;
    mending->id = np_stream_id(&mending->meta->stream);
    mending->tracks = calloc(mending->meta->disk_count, sizeof(*mending->tracks));
    MUST(mending->tracks != NULL);
    for (size_t i = 0; i < mending->meta->disk_count; i++)
        np_track_init(&mending->tracks[i], &mending->meta->disks[i]);
}

void parts_mend(struct parts *parts, unsigned flags)
{
    struct mending mending = {.parts = parts};
    begin(&mending);
    for (; mending.now < parts->count; mending.now++) {
        struct part *part = &parts->list[mending.now];
        mend_inner(&mending, part, flags);
        mend_content(&mending, part, flags);
        mend_header(&mending, part, mending.pos, mending.now);
        np_hash_stream_add(mending.headers, part->header, NP_RECORD_HEADER_SIZE);
        if (type_of(part) == NP_RECORD_DATA || type_of(part) == NP_RECORD_ZERO)
            track(&mending, part);
        if (type_of(part) == NP_RECORD_INDEX)
            mending.last_index = mending.pos;
        mending.pos += part_size(part);
    }
    if (mending.inner != NULL)
        parts_free(mending.inner);
    np_hash_stream_free(mending.headers);
    np_meta_free(mending.meta);
    free(mending.tracks);
}

uint8_t *mended(const uint8_t *bytes, size_t size, unsigned flags, size_t *to)
{
    *to = size;
    if ((flags & MEND_ALL) == 0)
        return copy_of(bytes, size);
    struct parts *parts = parts_cut(bytes, size);
    parts_mend(parts, flags);
    uint8_t *joined = parts_join(parts, to);
    parts_free(parts);
    return joined;
}
