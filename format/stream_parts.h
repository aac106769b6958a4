/**
 * @file stream_parts.h
 * What is inside an open np_stream; for stream.c, stream_blob.c and cursor.c. Nothing of it changes after
 * np_stream_open, so threads need no lock.
 */
#ifndef NBDPULL_FORMAT_STREAM_PARTS_H
#define NBDPULL_FORMAT_STREAM_PARTS_H

#include "blob_table.h"
#include "record_at.h"
#include "trailer.h"

struct np_stream {
    struct np_record_at at;
    char *name; /**< owned */
    struct np_meta *meta;
    struct np_end end;
    struct np_dir_disk *disks; /**< in META's order */
    struct np_stream_blob {
        struct np_place place;
        char name[NP_BLOB_NAME_MAX + 1]; /**< "" when its first record cannot be read */
    } * blobs;
    size_t blob_count;
};

/** Read the names of the blobs whose places are there. NP_DAMAGED when one is there twice. */
int np_stream_blob_names(struct np_stream *stream, struct np_error *err);

/** What DIR says of a disk, or NULL when there is none of that id. Borrowed. */
const struct np_dir_disk *np_stream_dir_disk(const struct np_stream *stream, uint16_t disk);

/* What a header contradicts in its index entry, or NULL. */
const char *np_stream_wrong_header(const struct np_record_header *header, const struct np_entry *entry,
                                   const struct np_meta_disk *disk);

#endif
