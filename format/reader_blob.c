#include "reader_blob.h"

#include "damage.h"

#include "nbdpull/cleanup.h"

#include <string.h>

void np_reader_blobs_clear(struct np_reader_blobs *blobs)
{
    for (size_t i = 0; i < blobs->count; i++)
        free(blobs->list[i].name);
    free(blobs->list);
    np_hash_stream_free(blobs->hash);
    *blobs = (struct np_reader_blobs){.list = NULL};
}

static bool is_taken(const struct np_reader_blobs *blobs, const char *name)
{
    for (size_t i = 0; i < blobs->count; i++)
        if (strcmp(blobs->list[i].name, name) == 0)
            return true;
    return false;
}

static int make_room(struct np_reader_blobs *blobs, const char *name, struct np_error *err)
{
    if (blobs->list == NULL)
        blobs->list = calloc(NP_BLOBS_MAX, sizeof(*blobs->list));
    if (blobs->hash == NULL)
        blobs->hash = np_hash_stream_new();
    if (blobs->list == NULL || blobs->hash == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", name);
    return 0;
}

static int begin(struct np_reader_blobs *blobs, const struct np_record_header *header,
                 const struct np_blob_table *table, const char *name, struct np_error *err)
{
    if (header->offset != 0)
        return np_damage_record(name, header, NULL, err, "the parts of %s before it are missing",
                                table->name);
    if (is_taken(blobs, table->name))
        return np_damage_record(name, header, NULL, err, "the stream has a second file %s", table->name);
    if (table->total == 0 && !np_hash128_equal(table->sum, np_hash128("", 0)))
        return np_damage_record(name, header, NULL, err, "the file %s, which is empty, has another checksum",
                                table->name);
    if (blobs->count == NP_BLOBS_MAX)
        return np_damage_record(name, header, NULL, err, "the stream has more than %d files", NP_BLOBS_MAX);
    if (make_room(blobs, name, err) < 0)
        return -1;

    struct np_reader_blob *blob = &blobs->list[blobs->count];
    blob->name = strdup(table->name);
    if (blob->name == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", name);
    blob->place = np_place_of(header);
    blobs->count++;
    np_hash_stream_reset(blobs->hash);
    blobs->current = *table;
    blobs->next = 0;
    return 0;
}

static bool same_blob(const struct np_blob_table *a, const struct np_blob_table *b)
{
    return a->total == b->total && np_hash128_equal(a->sum, b->sum) && strcmp(a->name, b->name) == 0;
}

int np_reader_blobs_part(struct np_reader_blobs *blobs, const struct np_record *record, const char *name,
                         struct np_error *err)
{
    struct np_blob_table table;
    if (np_blob_table_decode(record, name, &table, err) < 0)
        return -1;
    if (!blobs->open && begin(blobs, &record->header, &table, name, err) < 0)
        return -1;
    if (!same_blob(&blobs->current, &table) || record->header.offset != blobs->next)
        return np_damage_record(name, &record->header, NULL, err, "it is not the next part of %s",
                                blobs->current.name);
    blobs->next += record->header.length;
    blobs->open = true;
    return 0;
}

bool np_reader_blobs_part_passed(struct np_reader_blobs *blobs)
{
    blobs->open = blobs->next < blobs->current.total;
    return !blobs->open;
}

int np_reader_blobs_part_end(struct np_reader_blobs *blobs, const struct np_record_header *header,
                             const char *name, struct np_error *err)
{
    if (!np_reader_blobs_part_passed(blobs) ||
        np_hash128_equal(np_hash_stream_get(blobs->hash), blobs->current.sum))
        return 0;
    return np_damage_record(name, header, NULL, err, "the file %s has another checksum than it must",
                            blobs->current.name);
}
