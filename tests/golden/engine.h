/* A golden disk of engine.txt through the real engine, with a fixed META, into memory. */
#ifndef NBDPULL_TEST_ENGINE_H
#define NBDPULL_TEST_ENGINE_H

#include "expected.h"
#include "memory.h"

#include "nbdpull/backup.h"

/**
 * @param codec     as --compress takes it
 * @param codec_lib what META says of it, so that META does not differ where only a library does
 */
static inline void engine_write(const struct golden *golden, const char *codec, const char *codec_lib,
                                struct memory_file *file)
{
    struct np_error err = NP_ERROR_INIT;
    const struct golden_disk *from = &golden->disks[0];
    struct memory_disk disk = {
        .size = from->geometry.size, .fail_read = NP_NO_OFFSET, .fail_extents = NP_NO_OFFSET};
    disk.bytes = malloc(disk.size + 1);
    golden_read(from, 0, disk.bytes, disk.size);
    struct np_source source = memory_source(&disk);

    struct np_meta *meta = memory_meta(&from->geometry, 1, &err);
    assert_non_null(meta);
    snprintf(meta->codec_lib, sizeof(meta->codec_lib), "%s", codec_lib);
    struct np_writer *writer;
    struct np_sink sink = memory_sink(file);
    ok(np_writer_new(&sink, meta, &writer, &err));

    struct np_backup_options options = {.workers = 2, .scope = NP_SCOPE_ALL};
    struct np_backup_counts counts;
    options.codec = np_codec_parse(codec, &options.level, &err);
    assert_non_null(options.codec);
    ok(np_backup_run(&options, &source, &from->geometry, 0, "vda", writer, &counts, &err));
    ok(np_writer_disk_end(writer, 0, NULL, &err));
    ok(np_writer_blob(writer, "domain.xml", "<domain/>\n", 10, &err));
    ok(np_writer_finish(writer, &err));

    np_writer_free(writer);
    np_meta_free(meta);
    free(disk.bytes);
}

#endif
