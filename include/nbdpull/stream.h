/**
 * @file stream.h
 * Writing a stream, reading it front to back, and reading it by its index. Source: FORMAT.md.
 *
 * A writer and a reader belong to one thread. An open np_stream may be read by several threads at once
 * (np_stream_read); each cursor belongs to one.
 */
#ifndef NBDPULL_STREAM_H
#define NBDPULL_STREAM_H

#include "nbdpull/cancel.h"
#include "nbdpull/digest.h"
#include "nbdpull/meta.h"
#include "nbdpull/record.h"
#include "nbdpull/window.h"

#include <sys/uio.h>

/** What a disk's records add up to. Bytes. */
struct np_totals {
    uint64_t records;      /**< DATA and ZERO */
    uint64_t data_bytes;   /**< guest bytes in state data */
    uint64_t zero_bytes;   /**< guest bytes in state zero and in ZERO records */
    uint64_t dead_bytes;   /**< guest bytes in state dead */
    uint64_t stored_bytes; /**< payload as stored */
    bool digest_known;
    struct np_hash128 digest;
};

/* ---- writing ---- */

/** Where a stream's bytes go, in order. */
struct np_sink {
    /** Append all pieces. @param pieces may be changed */
    int (*append)(void *ctx, struct iovec *pieces, int count, struct np_error *err);
    void *ctx;
};

/**
 * A stream being written. What would make it a wrong stream (order, overlap, gaps, a body that no reader
 * takes) is refused with NP_FAILED, for it is our own mistake. After any error, of ours or of the sink, the
 * writer refuses everything but np_writer_size, np_writer_totals and np_writer_free: it cannot be finished.
 */
struct np_writer;

/**
 * Begin a stream: writes the first META.
 * @param sink copied; its ctx is borrowed until np_writer_free
 * @param meta borrowed until np_writer_free
 */
int np_writer_new(const struct np_sink *sink, const struct np_meta *meta, struct np_writer **writer,
                  struct np_error *err);

/**
 * Write one window. Windows of a disk come in rising order; disks may alternate. A merge may write a window
 * in several bodies, one after the other, that describe different granules.
 */
int np_writer_data(struct np_writer *writer, uint16_t disk, const struct np_packed *packed,
                   struct np_error *err);

/**
 * A run of whole windows that read as zeroes; neighbouring runs are joined to one ZERO record, written
 * before the disk's next DATA or at its end.
 * @param offset begins a window. @param length ends a window or the disk
 */
int np_writer_zero(struct np_writer *writer, uint16_t disk, uint64_t offset, uint64_t length,
                   struct np_error *err);

/**
 * The disk has no more records: flushes its pending ZERO and index and checks that a disk without a base, and
 * the part by which a disk outgrew its base, is covered without gaps.
 * @param replaced   NULL for a disk without base; else the digest of base minus what this stream replaces, to
 *                   which the stream's own terms are added; NULL with a base: digest unknown
 */
int np_writer_disk_end(struct np_writer *writer, uint16_t disk, const struct np_hash128 *replaced,
                       struct np_error *err);

/** A named file, cut into parts as needed. After all disks have ended. @param name [A-Za-z0-9._-]{1,255} */
int np_writer_blob(struct np_writer *writer, const char *name, const void *bytes, size_t size,
                   struct np_error *err);

/** Second META with results, DIR, END. Nothing may be written afterwards. */
int np_writer_finish(struct np_writer *writer, struct np_error *err);

/** Bytes appended so far. */
uint64_t np_writer_size(const struct np_writer *writer);

/** Totals of a disk so far, complete after np_writer_disk_end. Borrowed from the writer. */
const struct np_totals *np_writer_totals(const struct np_writer *writer, uint16_t disk);

void np_writer_free(struct np_writer *writer); /**< takes NULL */

/* ---- reading front to back ---- */

/** Bytes in order, from a pipe or a file. */
struct np_input {
    /** Read up to size bytes; *got == 0 only at the end. */
    int (*read)(void *ctx, void *buffer, size_t size, size_t *got, struct np_error *err);
    void *ctx;
};

struct np_reader;

/**
 * Begin: reads and checks the first META.
 * @param name for messages; borrowed until np_reader_free
 */
int np_reader_new(const struct np_input *input, const char *name, struct np_reader **reader,
                  struct np_error *err);

/** Borrowed until np_reader_free. */
const struct np_meta *np_reader_meta(const struct np_reader *reader);

/**
 * The next record of type DATA, ZERO or BLOB, its header and table checked against all rules (identity,
 * order, grid, limits); INDEX leaves are compared with what was read, META, DIR and END with what was
 * counted; unknown optional records are skipped. Its data are not read yet: call np_reader_data, or the next
 * call skips them, verified.
 * @param record out; table borrowed until the next call; data NULL
 * @return 1 a record; 0 the stream has ended and all of it was right; -1 error: NP_DAMAGED with file, record
 *         and guest range; NP_FAILED for input errors and unknown versions
 */
int np_reader_next(struct np_reader *reader, struct np_record *record, struct np_error *err);

/** Read the current record's data as stored and verify data_sum. @param room at least header.data_len */
int np_reader_data(struct np_reader *reader, void *buffer, size_t room, struct np_error *err);

/** Totals of the disk so far; complete and checked after np_reader_next gave 0. Borrowed. */
const struct np_totals *np_reader_totals(const struct np_reader *reader, uint16_t disk);

/**
 * Name of the BLOB that the current record is a part of, its total size, and the part's offset.
 * @return 0, or -1 when the current record is no BLOB
 */
int np_reader_blob(const struct np_reader *reader, const char **name, uint64_t *total, uint64_t *offset);

/** Bytes of the stream consumed so far. */
uint64_t np_reader_pos(const struct np_reader *reader);

void np_reader_free(struct np_reader *reader); /**< takes NULL */

/* ---- reading by the index ---- */

/** Bytes anywhere in a stream. Thread-safe. */
struct np_input_at {
    int (*read_at)(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err);
    void *ctx;
    uint64_t size; /**< of the stream, bytes */
};

struct np_stream;

/**
 * Open by END, second META and DIR, and the first META, which must agree.
 * @param name for messages; copied
 */
int np_stream_open(const struct np_input_at *input, const char *name, struct np_stream **stream,
                   struct np_error *err);
/**
 * What its first META says, without the rest of it: of a stream without an end too.
 * @param name for messages. @param meta out, owned
 * @return 0, or -1: NP_DAMAGED when no whole META stands there; NP_FAILED for input errors, or when it needs
 * a newer reader
 */
int np_stream_first_meta(const struct np_input_at *input, const char *name, struct np_meta **meta,
                         struct np_error *err);
const struct np_meta *np_stream_meta(const struct np_stream *stream);
const char *np_stream_name(const struct np_stream *stream);
uint64_t np_stream_size(const struct np_stream *stream); /**< bytes */
const struct np_totals *np_stream_totals(const struct np_stream *stream,
                                         uint16_t disk); /**< from DIR; NULL: no such disk */
void np_stream_close(struct np_stream *stream);          /**< takes NULL */

/**
 * A blob by name.
 * @param limit most bytes to accept; NP_DAMAGED beyond it
 * @param bytes out, owned (free), with a NUL behind it so that a text can be used as one; NULL when there is
 *              none
 * @param size  out; without that NUL
 * @return 0, or -1: NP_DAMAGED, also when a blob whose name cannot be read may be the one
 */
int np_stream_blob(struct np_stream *stream, const char *name, size_t limit, void **bytes, size_t *size,
                   struct np_error *err);

/**
 * The name of blob i, NULL when there are fewer, or "" when its record is damaged (the stream opens
 * nevertheless; np_stream_blob says what is wrong with it). Borrowed from the stream.
 */
const char *np_stream_blob_name(const struct np_stream *stream, size_t i);

/**
 * Read blob i, which np_stream_blob_name gives a name for, part by part, and check all that np_stream_blob
 * does.
 * @param cancel or NULL; looked at before each part
 */
int np_stream_blob_check(struct np_stream *stream, size_t i, struct np_cancel *cancel, struct np_error *err);

/** What an index leaf says of one DATA or ZERO record. */
struct np_entry {
    uint64_t pos, head_sum, offset,
        length; /**< DATA: offset of the window, decoded bytes. ZERO: guest range */
    uint32_t data_len;
    uint16_t hash_count;
    uint8_t type, codec;
    const uint8_t *map;    /**< np_map_bytes; all zero for ZERO. Borrowed until the next call */
    const uint8_t *hashes; /**< hash_count * 16 bytes, or NULL when the cursor does not read them. Borrowed */
};

struct np_cursor;

/** @param stream borrowed until np_cursor_close. @param hashes also read the granule hashes */
int np_cursor_open(struct np_stream *stream, uint16_t disk, bool hashes, struct np_cursor **cursor,
                   struct np_error *err);

/**
 * The next entry in guest order. A window may have several entries, of different granules.
 * @return 1, 0 at the end, -1: NP_DAMAGED; after an error only np_cursor_seek makes it usable again
 */
int np_cursor_next(struct np_cursor *cursor, struct np_entry *entry, struct np_error *err);

/**
 * Take the rest of the entries, for the check that np_cursor_next makes at the end: that the index lists what
 * DIR counts. Nothing to do for a cursor that jumped, which cannot know.
 */
int np_cursor_finish(struct np_cursor *cursor, struct np_error *err);

/** Go to the first entry that covers or follows a guest offset: np_cursor_next gives it. */
int np_cursor_seek(struct np_cursor *cursor, uint64_t offset, struct np_error *err);

void np_cursor_close(struct np_cursor *cursor); /**< takes NULL */

/**
 * Read the record an entry names and verify it: head_sum and identity against the entry, table and data
 * against their sums, np_window_check. Thread-safe.
 * @param table  room for NP_DATA_TABLE_MAX bytes
 * @param data   room for entry->data_len bytes
 * @param record out; points into table and data
 */
int np_stream_read(struct np_stream *stream, uint16_t disk, const struct np_entry *entry, void *table,
                   void *data, struct np_record *record, struct np_error *err);

/**
 * Read table and data of a DATA record by its header alone, and verify them as np_stream_read does, but for
 * the index. One read, in place. Thread-safe.
 * @param header a good one (np_walk_next)
 * @param body   room for NP_DATA_TABLE_MAX bytes and a chunk of the disk
 * @param record out; points into body
 */
int np_stream_record(struct np_stream *stream, const struct np_record_header *header, void *body,
                     struct np_record *record, struct np_error *err);

/** Read table and data of any record piece by piece and verify their sums. Thread-safe. */
int np_stream_sums(struct np_stream *stream, const struct np_record_header *header, struct np_error *err);

#endif
