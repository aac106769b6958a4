#include "reader_whole.h"

#include "damage.h"

#include "nbdpull/bytes.h"

#include <stdlib.h>

int np_reader_whole_init(struct np_reader_whole *whole, const struct np_meta *meta, const char *name,
                         struct np_error *err)
{
    whole->seen = (struct np_reader_seen){.name = name, .meta = meta, .blobs = &whole->blobs};
    whole->seen.disks = calloc(meta->disk_count, sizeof(*whole->seen.disks));
    if (whole->seen.disks == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", name);
    for (size_t i = 0; i < meta->disk_count; i++) {
        struct np_reader_disk *disk = &whole->seen.disks[i];
        disk->meta = &meta->disks[i];
        np_track_init(&disk->track, disk->meta);
        disk->track.totals.digest_known = np_uuid_is_nil(&disk->meta->base_state);
        whole->disk_by_id[disk->meta->id] = disk;
    }
    return 0;
}

void np_reader_whole_clear(struct np_reader_whole *whole)
{
    for (size_t i = 0; whole->seen.disks != NULL && i < whole->seen.meta->disk_count; i++)
        np_reader_index_clear(&whole->seen.disks[i].index);
    free(whole->seen.disks);
    np_reader_blobs_clear(&whole->blobs);
    whole->seen.disks = NULL;
}

static int take_disk_record(struct np_reader_whole *whole, const struct np_record *record,
                            struct np_error *err)
{
    const char *name = whole->seen.name;
    struct np_reader_disk *disk = whole->disk_by_id[record->header.disk];
    if (disk == NULL)
        return np_damage_record(name, &record->header, NULL, err, "META knows no such disk");
    if (record->header.type == NP_RECORD_INDEX) {
        if (np_reader_index_node(&disk->index, disk->meta, record, whole->seen.last_index, name, err) < 0)
            return -1;
        whole->seen.last_index = record->header.pos;
        return 0;
    }

    const struct np_geometry *geometry = &disk->meta->geometry;
    bool is_data = record->header.type == NP_RECORD_DATA;
    if ((is_data && np_window_check(geometry, record, name, err) < 0) ||
        np_track_check(&disk->track, record, name, err) < 0 ||
        np_reader_index_add(&disk->index, disk->meta, record, name, err) < 0)
        return np_error_where(err, disk->meta->target, NP_NO_OFFSET);
    np_track_add(&disk->track, record);
    return 0;
}

static int take_blob(struct np_reader_whole *whole, const struct np_record *record, struct np_error *err)
{
    return np_reader_blobs_part(&whole->blobs, record, whole->seen.name, err);
}

/* Where a type may stand, what that makes of the phase, and who looks at it. META, which begins the stream
 * too, is there as the second. */
static const struct {
    enum np_reader_phase from, to, then;
    int (*take)(struct np_reader_whole *whole, const struct np_record *record, struct np_error *err);
} types[] = {
    [NP_RECORD_META] = {NP_READER_DISKS, NP_READER_BLOBS, NP_READER_META, NULL},
    [NP_RECORD_DATA] = {NP_READER_DISKS, NP_READER_DISKS, NP_READER_DISKS, take_disk_record},
    [NP_RECORD_ZERO] = {NP_READER_DISKS, NP_READER_DISKS, NP_READER_DISKS, take_disk_record},
    [NP_RECORD_BLOB] = {NP_READER_DISKS, NP_READER_BLOBS, NP_READER_BLOBS, take_blob},
    [NP_RECORD_INDEX] = {NP_READER_DISKS, NP_READER_DISKS, NP_READER_DISKS, take_disk_record},
    [NP_RECORD_DIR] = {NP_READER_META, NP_READER_META, NP_READER_DIR, NULL},
    [NP_RECORD_END] = {NP_READER_DIR, NP_READER_DIR, NP_READER_END, NULL},
};

static int damaged(const struct np_reader_whole *whole, const struct np_record_header *header,
                   const char *cause, struct np_error *err)
{
    return np_damage_record(whole->seen.name, header, np_meta_disk_by_id(whole->seen.meta, header->disk), err,
                            "%s", cause);
}

int np_reader_whole_take(struct np_reader_whole *whole, const struct np_record *record, struct np_error *err)
{
    const struct np_record_header *header = &record->header;
    if (whole->blobs.open && header->type != NP_RECORD_BLOB)
        return damaged(whole, header, "parts of a file are missing before it", err);
    if (header->type >= NP_ARRAY_SIZE(types)) /* optional and unknown, or np_record_decode had refused it */
        return 0;
    if (whole->phase < types[header->type].from || whole->phase > types[header->type].to)
        return damaged(whole, header, "it may not stand there", err);
    if (types[header->type].take != NULL && types[header->type].take(whole, record, err) < 0)
        return -1;
    if (header->type == NP_RECORD_META)
        whole->seen.meta_place = np_place_of(header);
    if (header->type == NP_RECORD_DIR)
        whole->seen.dir_place = np_place_of(header);
    whole->phase = types[header->type].then;
    return 0;
}
