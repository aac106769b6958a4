#include "reader_trailer.h"

#include "damage.h"
#include "results.h"

#include "nbdpull/cleanup.h"

static bool same_place(const struct np_place *a, const struct np_place *b)
{
    return a->pos == b->pos && a->head_sum == b->head_sum && a->table_len == b->table_len &&
           a->data_len == b->data_len;
}

static bool same_root(const struct np_dir_disk *a, const struct np_dir_disk *b)
{
    if (!a->has_root || !b->has_root)
        return a->has_root == b->has_root;
    return a->root_level == b->root_level && same_place(&a->root.place, &b->root.place) &&
           a->root.first == b->root.first && a->root.end == b->root.end;
}

static bool same_counts(const struct np_totals *a, const struct np_totals *b)
{
    return a->records == b->records && a->data_bytes == b->data_bytes && a->zero_bytes == b->zero_bytes &&
           a->dead_bytes == b->dead_bytes && a->stored_bytes == b->stored_bytes;
}

/* Only a disk without base has all its terms in this stream. */
static const char *wrong_digest(struct np_reader_disk *disk, const struct np_totals *dir)
{
    struct np_totals *counted = &disk->track.totals;
    if (!np_uuid_is_nil(&disk->meta->base_state)) {
        counted->digest_known = dir->digest_known;
        counted->digest = dir->digest;
        return NULL;
    }
    if (!dir->digest_known)
        return "it lacks the digest of a disk that is whole";
    return np_hash128_equal(counted->digest, dir->digest)
               ? NULL
               : "the digest of a disk is not that of its granules";
}

static int compare_disk(const struct np_reader_seen *seen, struct np_reader_disk *disk,
                        const struct np_dir_disk *dir, const struct np_record_header *header,
                        struct np_error *err)
{
    struct np_dir_disk counted;
    if (np_reader_index_root(&disk->index, disk->meta, seen->name, &counted, err) < 0)
        return -1;
    const char *wrong = NULL;
    if (dir->id != disk->meta->id)
        wrong = "it does not list the disks of META";
    else if (!same_root(&counted, dir))
        wrong = "it names another root of the index than there is";
    else if (!same_counts(&disk->track.totals, &dir->totals))
        wrong = "its totals are not those of the records";
    else
        wrong = wrong_digest(disk, &dir->totals);
    return wrong == NULL ? 0 : np_damage_record(seen->name, header, disk->meta, err, "%s", wrong);
}

static int compare_blobs(const struct np_reader_seen *seen, const struct np_dir *dir,
                         const struct np_record_header *header, struct np_error *err)
{
    if (dir->blobs != seen->blobs->count)
        return np_damage_record(seen->name, header, NULL, err, "it lists %u files where there are %zu",
                                dir->blobs, seen->blobs->count);
    for (uint32_t i = 0; i < dir->blobs; i++) {
        struct np_place place;
        np_trailer_dir_blob(dir, i, &place);
        if (!same_place(&place, &seen->blobs->list[i].place))
            return np_damage_record(seen->name, header, NULL, err, "it says that the file %s is elsewhere",
                                    seen->blobs->list[i].name);
    }
    return 0;
}

int np_reader_trailer_dir(const struct np_reader_seen *seen, const struct np_record *record,
                          struct np_error *err)
{
    struct np_dir dir;
    if (np_trailer_dir_decode(record, seen->name, &dir, err) < 0)
        return -1;
    if (dir.disks != seen->meta->disk_count)
        return np_damage_record(seen->name, &record->header, NULL, err, "it does not list the disks of META");
    if (dir.last_index != seen->last_index)
        return np_damage_record(seen->name, &record->header, NULL, err, "it names another INDEX as the last");
    for (uint32_t i = 0; i < dir.disks; i++) {
        struct np_dir_disk disk;
        np_trailer_dir_disk(&dir, i, &disk);
        if (compare_disk(seen, &seen->disks[i], &disk, &record->header, err) < 0)
            return -1;
    }
    return compare_blobs(seen, &dir, &record->header, err);
}

int np_reader_trailer_results(const struct np_reader_seen *seen, const uint8_t *text, size_t size,
                              struct np_error *err)
{
    NP_AUTO_FREE struct np_totals *totals = calloc(seen->meta->disk_count, sizeof(*totals));
    if (totals == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", seen->name);
    for (size_t i = 0; i < seen->meta->disk_count; i++)
        totals[i] = seen->disks[i].track.totals;
    return np_results_check((const char *)text, size, seen->name, seen->meta, totals, seen->blobs->count,
                            err);
}

int np_reader_trailer_end(const struct np_reader_seen *seen, const struct np_record_header *header,
                          const struct np_end *end, struct np_hash128 headers, struct np_error *err)
{
    const char *wrong = NULL;
    if (!np_uuid_equal(&end->stream, &seen->meta->stream))
        wrong = "its stream UUID is another than META's";
    else if (!same_place(&end->meta, &seen->meta_place) || !same_place(&end->dir, &seen->dir_place))
        wrong = "it says that META or DIR are elsewhere";
    else if (!np_hash128_equal(end->digest, headers))
        wrong = "its digest is not that of the headers before it";
    return wrong == NULL ? 0 : np_damage_record(seen->name, header, NULL, err, "%s", wrong);
}
