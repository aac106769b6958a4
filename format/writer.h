/**
 * @file writer.h
 * What the two files of the stream writer share.
 */
#ifndef NBDPULL_FORMAT_WRITER_H
#define NBDPULL_FORMAT_WRITER_H

#include "emitter.h"
#include "index_writer.h"
#include "track.h"

struct np_writer_disk {
    const struct np_meta_disk *meta;   /* borrowed */
    struct np_index_writer *index;     /* from the first record to the disk's end */
    struct np_track track;             /* of what is written */
    uint64_t zero_offset, zero_length; /* run that waits for its end; length 0: none */
    bool ended;
    struct np_dir_disk dir; /* once it has ended */
};

struct np_writer_blob {
    char *name; /* owned */
    struct np_place place;
};

struct np_writer {
    struct np_emitter emitter;
    const struct np_meta *meta;   /* borrowed */
    char *meta_text;              /* owned */
    struct np_writer_disk *disks; /* owned; meta->disk_count, in META's order */
    struct np_writer_disk *by_id[NP_DISKS_MAX];
    struct np_writer_blob *blobs; /* owned */
    size_t blob_count, blob_room;
    bool closed; /* finished, or failed: nothing may follow */
};

/**
 * Begin or refuse a call: NP_FAILED once the stream is finished or a call has failed. A caller that passes
 * over an error must not come to a stream that looks whole.
 */
int np_writer_check_open(const struct np_writer *writer, struct np_error *err);

/** End a call: a failure closes the writer. Returns result. */
int np_writer_settle(struct np_writer *writer, int result);

/** Put a META record. @param results text for its data, or NULL */
int np_writer_put_meta(struct np_writer *writer, const char *results, struct np_place *place,
                       struct np_error *err);

#endif
