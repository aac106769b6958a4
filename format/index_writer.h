/**
 * @file index_writer.h
 * The index tree of one disk, written while the stream grows: one open node per level, flushed by counts
 * only, so that equal records give equal bytes. Source: FORMAT.md, "INDEX".
 */
#ifndef NBDPULL_FORMAT_INDEX_WRITER_H
#define NBDPULL_FORMAT_INDEX_WRITER_H

#include "emitter.h"
#include "trailer.h"

struct np_index_writer;

/**
 * @param emitter  borrowed until np_index_writer_free
 * @param geometry borrowed until np_index_writer_free
 * @param writer   out, owned
 */
int np_index_writer_new(struct np_emitter *emitter, uint16_t disk, const struct np_geometry *geometry,
                        struct np_index_writer **writer, struct np_error *err);

/** Make room for the entry of a record with that many hashes, before that record is put: may write INDEX. */
int np_index_writer_reserve(struct np_index_writer *writer, unsigned hashes, struct np_error *err);

/** Enter a DATA or ZERO record that has just been put. @param table of DATA; else NULL */
void np_index_writer_add(struct np_index_writer *writer, const struct np_record_header *header,
                         const uint8_t *table);

/** Write what is open, up to the root. @param dir its has_root, root_level and root are set */
int np_index_writer_finish(struct np_index_writer *writer, struct np_dir_disk *dir, struct np_error *err);

void np_index_writer_free(struct np_index_writer *writer); /**< takes NULL */

#endif
