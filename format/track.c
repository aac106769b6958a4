#include "track.h"

#include "nbdpull/bytes.h"
#include "nbdpull/digest.h"

void np_track_init(struct np_track *track, const struct np_meta_disk *disk)
{
    bool based = !np_uuid_is_nil(&disk->base_state);
    *track = (struct np_track){
        .geometry = &disk->geometry,
        .cover_from = np_geometry_cover_from(&disk->geometry, based, disk->base_size),
    };
}

static bool is_live(const uint8_t *live, unsigned i)
{
    return live[i / 8] >> i % 8 & 1;
}

static bool describes(const uint8_t *map, unsigned i)
{
    enum np_granule_state state = np_map_get(map, i);
    return state == NP_GRANULE_DATA || state == NP_GRANULE_ZERO;
}

static int damaged(const struct np_record *record, const char *name, const char *what, struct np_error *err)
{
    const struct np_record_header *header = &record->header;
    np_fail(err, NP_DAMAGED, "%s: record %ju (%s) at byte %ju, guest byte %ju: %s: the stream is damaged",
            name, (uintmax_t)header->number, np_record_type_name(header->type), (uintmax_t)header->pos,
            (uintmax_t)header->offset, what);
    np_error_record(err, header->pos, header->number);
    return np_error_where(err, NULL, header->offset);
}

static int missing(uint64_t offset, const char *name, struct np_error *err)
{
    np_fail(err, NP_DAMAGED,
            "%s: nothing is stored for guest byte %ju, where there is no base to take it from: the stream is "
            "damaged",
            name, (uintmax_t)offset);
    return np_error_where(err, NULL, offset);
}

/* Everything from cover_from to `to` must be described; the last window by granules. */
static int check_covered(const struct np_track *track, uint64_t to, const char *name, struct np_error *err)
{
    if (track->in_window && track->cover_from < track->end) {
        uint64_t skip = np_max_u64(track->cover_from, track->window) - track->window;
        unsigned granules = np_window_granules(track->geometry, track->window);
        for (unsigned i = (unsigned)(skip / track->geometry->granule); i < granules; i++)
            if (!is_live(track->live, i))
                return missing(track->window + (uint64_t)i * track->geometry->granule, name, err);
    }
    uint64_t from = np_max_u64(track->end, track->cover_from);
    return from < to ? missing(from, name, err) : 0;
}

static int check_zero(const struct np_track *track, const struct np_record *record, const char *name,
                      struct np_error *err)
{
    const struct np_geometry *geometry = track->geometry;
    uint64_t offset = record->header.offset, length = record->header.length;
    if (offset >= geometry->size || offset % geometry->chunk != 0)
        return damaged(record, name, "no window of the disk begins there", err);
    if (length == 0 || length > geometry->size - offset)
        return damaged(record, name, "it is longer than the disk", err);
    if (length % geometry->chunk != 0 && length != geometry->size - offset)
        return damaged(record, name, "it ends neither with a window nor with the disk", err);
    return 0;
}

int np_track_check(const struct np_track *track, const struct np_record *record, const char *name,
                   struct np_error *err)
{
    uint64_t offset = record->header.offset;
    bool is_data = record->header.type == NP_RECORD_DATA;
    if (!is_data && check_zero(track, record, name, err) < 0)
        return -1;
    if (!is_data || !track->in_window || offset != track->window) {
        if (offset < track->end)
            return damaged(record, name, "it comes after a record that lies behind it or shares its window",
                           err);
        return check_covered(track, offset, name, err);
    }
    unsigned granules = np_window_granules(track->geometry, offset);
    for (unsigned i = 0; i < granules; i++)
        if (is_live(track->live, i) && describes(record->table, i))
            return damaged(record, name, "it describes a granule that was described before", err);
    return 0;
}

static void add_data(struct np_track *track, const struct np_record *record)
{
    const struct np_geometry *geometry = track->geometry;
    uint64_t offset = record->header.offset;
    unsigned granules = np_window_granules(geometry, offset);
    const uint8_t *hash = record->table + np_map_bytes(geometry);
    if (!track->in_window || offset != track->window)
        memset(track->live, 0, sizeof(track->live));

    for (unsigned i = 0; i < granules; i++) {
        enum np_granule_state state = np_map_get(record->table, i);
        if (describes(record->table, i))
            track->live[i / 8] |= (uint8_t)(1 << i % 8);
        if (state == NP_GRANULE_DATA)
            np_digest_add(&track->totals.digest, offset / geometry->granule + i,
                          np_granule_length(geometry, offset, i), np_hash128_get(hash));
        if (state == NP_GRANULE_DATA || state == NP_GRANULE_DEAD)
            hash += NP_HASH128_SIZE;
    }
    struct np_map_sums sums = np_map_add_up(geometry, offset, record->table);
    track->totals.data_bytes += sums.data_bytes;
    track->totals.zero_bytes += sums.zero_bytes;
    track->totals.dead_bytes += sums.dead_bytes;
    track->totals.stored_bytes += record->header.data_len;
    track->window = offset;
    track->end = offset + np_window_length(geometry, offset);
}

void np_track_add(struct np_track *track, const struct np_record *record)
{
    bool is_data = record->header.type == NP_RECORD_DATA;
    if (is_data) {
        add_data(track, record);
    } else {
        track->totals.zero_bytes += record->header.length;
        track->end = record->header.offset + record->header.length;
    }
    track->in_window = is_data;
    track->totals.records++;
}

int np_track_end(const struct np_track *track, const char *name, struct np_error *err)
{
    return check_covered(track, track->geometry->size, name, err);
}
