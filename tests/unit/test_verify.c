#include "surgery.h"

#include "nbdpull/file.h"
#include "nbdpull/verify.h"

#include <fcntl.h>
#include <signal.h>

/* ---- what is reported ---- */

#define FAULTS_MAX 64

struct seen {
    struct np_fault faults[FAULTS_MAX];
    unsigned count;
};

static void note(void *ctx, const struct np_fault *fault)
{
    struct seen *seen = ctx;
    if (seen->count < FAULTS_MAX)
        seen->faults[seen->count] = *fault;
    seen->count++;
}

static struct seen seen;

static struct np_verify_counts check_part(struct np_stream *stream, enum np_verify_depth depth, unsigned part,
                                          unsigned parts)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_verify_counts counts = {0};
    seen.count = 0;
    const struct np_verify_options options = {
        .depth = depth, .workers = 1, .part = part, .parts = parts, .report = note, .ctx = &seen};
    ok(np_verify_stream(&options, stream, &counts, &err));
    return counts;
}

static struct np_verify_counts check(struct np_stream *stream, enum np_verify_depth depth)
{
    return check_part(stream, depth, 0, 1);
}

/* Opening that fails is one fault of the whole stream. @return the stream, or NULL */
static struct np_stream *open_and_check(struct memory *memory, enum np_verify_depth depth)
{
    struct np_input_at input = input_at(memory);
    struct np_stream *stream = NULL;
    struct np_error err = NP_ERROR_INIT;
    if (np_stream_open(&input, "sample", &stream, &err) == 0) {
        check(stream, depth);
        return stream;
    }
    seen.count = 1;
    seen.faults[0] = (struct np_fault){.scope = NP_FAULT_STREAM, .error = err};
    return NULL;
}

static void none_seen(void)
{
    if (seen.count > 0)
        fail_msg("a fault where there is none: %s", seen.faults[0].error.message);
}

static struct memory golden(const char *name)
{
    struct np_error err = NP_ERROR_INIT;
    char path[512], *bytes = NULL;
    size_t size;
    snprintf(path, sizeof(path), "%s/golden/%s", TEST_SOURCE_DIR, name);
    ok(np_file_read_whole(AT_FDCWD, path, path, 1 << 20, &bytes, &size, &err));
    return (struct memory){.bytes = (uint8_t *)bytes, .size = size};
}

/* ---- whole streams ---- */

static const char *const streams[] = {"interleaved.nbp", "blobs.nbp", "optional.nbp", "merged-inc.nbp",
                                      "dead.nbp",        "tree.nbp",  "sizes.nbp",    "codecs.nbp"};

static void test_verify__finds_nothing_in_good_streams(void **state)
{
    (void)state;
    for (size_t i = 0; i < NP_ARRAY_SIZE(streams); i++)
        for (int depth = NP_VERIFY_QUICK; depth <= NP_VERIFY_DEEP; depth++) {
            struct memory memory = golden(streams[i]);
            np_stream_close(open_and_check(&memory, (enum np_verify_depth)depth));
            none_seen();
            free(memory.bytes);
        }
}

static bool concerns(const struct np_fault *fault, uint16_t disk)
{
    bool one = fault->scope == NP_FAULT_RECORD || fault->scope == NP_FAULT_DISK;
    return fault->scope == NP_FAULT_STREAM || (one && fault->disk->id == disk);
}

/* A disk has a fault if and only if reading all of it by the index fails. */
static void assert_faults_are_exact(struct np_stream *stream, const char *name, size_t at)
{
    const struct np_meta *meta = np_stream_meta(stream);
    for (size_t i = 0; i < meta->disk_count; i++) {
        struct np_error err = NP_ERROR_INIT;
        bool readable = restore_disk(stream, &meta->disks[i], NULL, &err) == 0, told = false;
        for (unsigned k = 0; k < seen.count && k < FAULTS_MAX; k++)
            told = told || concerns(&seen.faults[k], meta->disks[i].id);
        if (readable == told)
            fail_msg("%s, byte %zu: disk %s %s, and the fault is: %s", name, at, meta->disks[i].target,
                     readable ? "can be read" : err.message, seen.faults[0].error.message);
    }
}

static void flip_each_byte(const char *name, size_t step)
{
    struct memory memory = golden(name);
    for (size_t at = 0; at < memory.size; at += step) {
        memory.bytes[at] ^= (uint8_t)(at % 3 == 0 ? 0xff : 1 << at % 8);
        struct np_stream *stream = open_and_check(&memory, NP_VERIFY_SUMS);
        if (seen.count == 0)
            fail_msg("%s: byte %zu can be changed", name, at);
        assert_int_equal(seen.faults[0].error.class, NP_DAMAGED);
        if (stream != NULL)
            assert_faults_are_exact(stream, name, at);
        np_stream_close(stream);
        memory.bytes[at] ^= (uint8_t)(at % 3 == 0 ? 0xff : 1 << at % 8);
    }
    free(memory.bytes);
}

static void test_verify__finds_every_flipped_byte_and_whom_it_concerns(void **state)
{
    (void)state;
    for (size_t i = 0; i < NP_ARRAY_SIZE(streams); i++)
        flip_each_byte(streams[i], i < 4 ? 1 : 5);
}

/* ---- it goes on ---- */

static void test_verify__goes_on_behind_damage_and_names_each(void **state)
{
    (void)state;
    struct guest guest;
    struct memory memory = many_records(&guest, 40, 16);
    struct parts *parts = cut_up(&memory);
    const size_t hurt[] = {3, 9, 20, 33};
    for (size_t i = 0; i < NP_ARRAY_SIZE(hurt); i++) {
        const struct np_record_header *header = &parts->list[part_of(parts, NP_RECORD_DATA, hurt[i])].header;
        /* a header, a table, and data: each in its own way */
        uint64_t in[] = {40, NP_RECORD_HEADER_SIZE + 3,
                         NP_RECORD_HEADER_SIZE + header->table_len + header->data_len / 2,
                         NP_RECORD_HEADER_SIZE + header->table_len};
        memory.bytes[header->pos + in[i]] ^= 0x10;
    }
    struct np_stream *stream = open_and_check(&memory, NP_VERIFY_SUMS);
    assert_int_equal(seen.count, NP_ARRAY_SIZE(hurt));
    for (size_t i = 0; i < NP_ARRAY_SIZE(hurt); i++) {
        const struct np_record_header *header = &parts->list[part_of(parts, NP_RECORD_DATA, hurt[i])].header;
        bool told = false;
        for (unsigned k = 0; k < seen.count; k++) {
            const struct np_fault *fault = &seen.faults[k];
            told = told || (fault->scope == NP_FAULT_RECORD && fault->pos == header->pos &&
                            fault->number == header->number && fault->offset == header->offset &&
                            fault->length == SAMPLE_CHUNK && fault->error.class == NP_DAMAGED);
        }
        if (!told)
            fail_msg("record %zu was not named", hurt[i]);
    }
    np_stream_close(stream);
    parts_free(parts);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_verify__what_could_not_be_expanded_is_not_counted(void **state)
{
    (void)state;
    struct memory memory = golden("interleaved.nbp");
    struct parts *parts = cut_up(&memory);
    const struct np_record_header *header = &parts->list[part_of(parts, NP_RECORD_DATA, 1)].header;
    struct np_input_at input = input_at(&memory);
    struct np_stream *stream;
    struct np_error err = NP_ERROR_INIT;
    ok(np_stream_open(&input, "sample", &stream, &err));
    struct np_verify_counts good = check(stream, NP_VERIFY_DEEP);
    none_seen();
    memory.bytes[header->pos + NP_RECORD_HEADER_SIZE + header->table_len] ^= 0x10;
    struct np_verify_counts bad = check(stream, NP_VERIFY_DEEP);
    assert_int_equal(seen.count, 1);
    assert_int_equal(good.expanded - bad.expanded, header->length);
    np_stream_close(stream);
    parts_free(parts);
    free(memory.bytes);
}

static void test_verify__a_damaged_index_does_not_hide_damaged_data(void **state)
{
    (void)state;
    struct guest guest;
    struct memory memory = many_records(&guest, 40, 16);
    struct parts *parts = cut_up(&memory);
    const struct np_record_header *index = &parts->list[part_of(parts, NP_RECORD_INDEX, 0)].header;
    const struct np_record_header *data = &parts->list[part_of(parts, NP_RECORD_DATA, 30)].header;
    memory.bytes[index->pos + NP_RECORD_HEADER_SIZE + 100] ^= 1;
    np_stream_close(open_and_check(&memory, NP_VERIFY_SUMS));
    assert_int_equal(seen.count, 1); /* good data: only the index */
    assert_int_equal(seen.faults[0].scope, NP_FAULT_DISK);

    memory.bytes[data->pos + NP_RECORD_HEADER_SIZE + data->table_len] ^= 1;
    np_stream_close(open_and_check(&memory, NP_VERIFY_SUMS));
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.faults[1].scope, NP_FAULT_RECORD);
    assert_int_equal(seen.faults[1].pos, data->pos);
    parts_free(parts);
    guest_free(&guest);
    free(memory.bytes);
}

/* Neither the header nor the index says where the next record is: it is looked for. */
static void test_verify__finds_the_next_record_where_nothing_names_it(void **state)
{
    (void)state;
    struct guest guest;
    struct memory memory = many_records(&guest, 40, 16);
    struct parts *parts = cut_up(&memory);
    const struct np_record_header *index = &parts->list[part_of(parts, NP_RECORD_INDEX, 0)].header;
    const struct np_record_header *lost = &parts->list[part_of(parts, NP_RECORD_DATA, 10)].header;
    const struct np_record_header *data = &parts->list[part_of(parts, NP_RECORD_DATA, 11)].header;
    memset(memory.bytes + index->pos, 0, 96);
    memset(memory.bytes + lost->pos, 0, 96);
    memory.bytes[data->pos + NP_RECORD_HEADER_SIZE + data->table_len] ^= 1;
    np_stream_close(open_and_check(&memory, NP_VERIFY_SUMS));
    assert_int_equal(seen.count, 3);
    assert_int_equal(seen.faults[0].scope, NP_FAULT_DISK);
    for (unsigned i = 1; i < 3; i++)
        assert_true(seen.faults[i].pos == (seen.faults[i].scope == NP_FAULT_RECORD ? data->pos : lost->pos));
    assert_int_not_equal(seen.faults[1].pos, seen.faults[2].pos);
    parts_free(parts);
    guest_free(&guest);
    free(memory.bytes);
}

/* All sums are right: only what the index and the records say of each other is not. */
static void test_verify__an_index_that_tells_of_other_hashes_is_found_without_payload(void **state)
{
    (void)state;
    struct parts *parts = parts_of(small_disk());
    struct part *leaf = &parts->list[part_of(parts, NP_RECORD_INDEX, 0)];
    leaf->data[5] ^= 1;
    struct memory memory = put_together(parts, FIX_ABOVE);
    np_stream_close(open_and_check(&memory, NP_VERIFY_QUICK));
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.faults[0].scope, NP_FAULT_RECORD);
    assert_non_null(strstr(seen.faults[0].error.message, "other hashes"));
    parts_free(parts);
    free(memory.bytes);
}

/* The index never comes past it; front to back it is refused. */
static void test_verify__records_stand_in_the_order_of_the_format(void **state)
{
    (void)state;
    static const uint8_t types[] = {NP_RECORD_META, NP_RECORD_DIR, NP_RECORD_END};
    for (size_t i = 0; i < NP_ARRAY_SIZE(types); i++) {
        struct parts *parts = parts_of(two_disks());
        const struct part from = parts->list[part_of(parts, types[i], 0)];
        part_insert(parts, part_of(parts, NP_RECORD_DATA, 1), &from);
        struct memory memory = put_together(parts, FIX_LINKS);
        np_stream_close(open_and_check(&memory, NP_VERIFY_QUICK));
        assert_int_equal(seen.count, 1);
        assert_int_equal(seen.faults[0].scope, NP_FAULT_NONE);
        assert_non_null(strstr(seen.faults[0].error.message, "it may not stand there"));
        parts_free(parts);
        free(memory.bytes);
    }
}

/* Only who reads front to back looks at what comes before. */
static void test_verify__what_index_and_dir_say_of_the_index_before(void **state)
{
    (void)state;
    static const uint8_t types[] = {NP_RECORD_INDEX, NP_RECORD_DIR};
    for (size_t i = 0; i < NP_ARRAY_SIZE(types); i++) {
        struct parts *parts = parts_of(two_disks());
        uint8_t *named = parts->list[part_of(parts, types[i], 0)].table + 8;
        np_put_le64(named, np_get_le64(named) + NP_RECORD_ALIGN);
        struct memory memory = put_together(parts, types[i] == NP_RECORD_INDEX ? FIX_DIR | FIX_END : FIX_END);
        np_stream_close(open_and_check(&memory, NP_VERIFY_QUICK));
        assert_int_equal(seen.count, 1);
        assert_int_equal(seen.faults[0].scope, NP_FAULT_NONE);
        assert_non_null(strstr(seen.faults[0].error.message, "another INDEX"));
        parts_free(parts);
        free(memory.bytes);
    }
}

/* An optional record that holds copies of second META and DIR, as records in their places, and END names the
 * copies. */
static struct memory with_copies(size_t at, bool of_meta, bool of_dir)
{
    struct parts *parts = parts_of(two_disks());
    const size_t table_len = NP_RECORD_ALIGN;
    const struct part *copied[2];
    size_t count = 0, size = 0;
    struct part optional = {.header = {.version = 1, .type = 0x80 | 42, .disk = NP_DISK_NONE}};
    optional.table = optional.data = calloc(1, NP_TABLE_MAX);
    optional.header.table_len = table_len;
    part_insert(parts, at, &optional);
    if (of_meta)
        copied[count++] = &parts->list[part_of(parts, NP_RECORD_META, 1)];
    if (of_dir)
        copied[count++] = &parts->list[part_of(parts, NP_RECORD_DIR, 0)];
    for (size_t i = 0; i < count; i++)
        size += np_record_size(&copied[i]->header);
    struct part *holder = &parts->list[at];
    holder->header.data_len = (uint32_t)size;
    holder->data = realloc(holder->data, size);
    memset(holder->data, 0, size);
    free(put_together(parts, FIX_LINKS).bytes);

    uint8_t *to = holder->data, *end = parts->list[parts->count - 1].table;
    for (size_t i = 0; i < count; i++) {
        struct np_record_header header = copied[i]->header;
        header.pos = holder->header.pos + NP_RECORD_HEADER_SIZE + table_len + (uint64_t)(to - holder->data);
        header.number = holder->header.number + i;
        np_record_encode(&header, to);
        memcpy(to + NP_RECORD_HEADER_SIZE, copied[i]->table, header.table_len);
        memcpy(to + NP_RECORD_HEADER_SIZE + header.table_len, copied[i]->data, header.data_len);
        struct np_place place = np_place_of(&header);
        np_place_put(end + (header.type == NP_RECORD_DIR ? 16 : 40), &place);
        to += np_record_size(&header);
    }
    free(optional.table);
    struct memory memory = put_together(parts, FIX_SUMS);
    parts_free(parts);
    return memory;
}

/* The index gives the same disks either way; front to back it is refused. */
static void test_verify__end_names_the_meta_and_dir_that_were_met(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    const size_t meta = part_of(parts, NP_RECORD_META, 1), dir = part_of(parts, NP_RECORD_DIR, 0);
    parts_free(parts);
    const struct {
        size_t at;
        bool meta, dir;
    } cases[] = {{meta, true, true}, {meta, true, false}, {dir, false, true}};
    for (size_t i = 0; i < NP_ARRAY_SIZE(cases); i++) {
        struct np_error err = NP_ERROR_INIT;
        struct memory memory = with_copies(cases[i].at, cases[i].meta, cases[i].dir);
        fails(NP_DAMAGED, read_all(&memory, &err));
        for (int depth = NP_VERIFY_QUICK; depth <= NP_VERIFY_DEEP; depth++) {
            np_stream_close(open_and_check(&memory, (enum np_verify_depth)depth));
            assert_int_equal(seen.count, 1);
            assert_int_equal(seen.faults[0].scope, NP_FAULT_NONE);
            assert_non_null(strstr(seen.faults[0].error.message, "META or DIR are elsewhere"));
        }
        free(memory.bytes);
    }
}

/* ---- the sum of nothing ---- */

/* Of each record, what is empty gets another sum, and all that names the record is right. Who reads by the
 * index sees it in each record that it reads. */
static void spoil_empty_parts(struct memory stream)
{
    struct parts *parts = cut_up(&stream);
    for (size_t i = 0; i + 1 < parts->count; i++) /* END: test_stream__end_has_the_sum_of_no_data */
        for (int table = 0; table < 2; table++) {
            struct part *part = &parts->list[i];
            struct np_error err = NP_ERROR_INIT;
            bool read = part->header.type != NP_RECORD_BLOB && part->header.type < NP_RECORD_OPTIONAL;
            if ((table ? part->header.table_len : part->header.data_len) > 0)
                continue;
            *(table ? &part->wrong_table_sum : &part->wrong_data_sum) = true;
            struct memory memory = put_together(parts, FIX_LINKS);
            part->wrong_table_sum = part->wrong_data_sum = false;
            const char *why = table ? "its table has a wrong checksum" : "its data have a wrong checksum";
            fails(NP_DAMAGED, read_all(&memory, &err));
            if (restore_index(&memory, NULL, &err) == 0 ? read : strstr(err.message, why) == NULL)
                fail_msg("record %zu, by the index: %s", i, err.message);
            for (int depth = NP_VERIFY_QUICK; depth <= NP_VERIFY_SUMS; depth++) {
                np_stream_close(open_and_check(&memory, (enum np_verify_depth)depth));
                if (seen.count != 1 || strstr(seen.faults[0].error.message, why) == NULL)
                    fail_msg("record %zu: %u faults, the first is: %s", i, seen.count,
                             seen.faults[0].error.message);
            }
            free(memory.bytes);
        }
    parts_free(parts);
    free(stream.bytes);
}

static void test_verify__what_is_empty_has_the_sum_of_nothing(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    struct part optional = {.header = {.version = 1, .type = 0x80 | 42, .disk = NP_DISK_NONE}};
    part_insert(parts, 3, &optional);
    spoil_empty_parts(put_together(parts, FIX_LINKS));
    parts_free(parts);
    spoil_empty_parts(golden("tree.nbp")); /* inner nodes, and a DATA without a payload */
}

/* A leaf that nobody can follow any more does not hide it. */
static void test_verify__a_zero_with_another_sum_behind_a_lost_index(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    struct part *zero = &parts->list[part_of(parts, NP_RECORD_ZERO, 0)];
    zero->wrong_data_sum = true;
    struct memory memory = put_together(parts, FIX_LINKS);
    for (size_t i = 0; i < parts->count; i++)
        if (parts->list[i].header.type == NP_RECORD_INDEX && parts->list[i].header.disk == zero->header.disk)
            memory.bytes[parts->list[i].header.pos + NP_RECORD_HEADER_SIZE] ^= 1;
    np_stream_close(open_and_check(&memory, NP_VERIFY_QUICK));
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.faults[0].scope, NP_FAULT_DISK);
    assert_int_equal(seen.faults[1].scope, NP_FAULT_RECORD);
    assert_int_equal(seen.faults[1].pos, zero->header.pos);
    assert_non_null(strstr(seen.faults[1].error.message, "its data have a wrong checksum"));
    parts_free(parts);
    free(memory.bytes);
}

/* Files of the guest: what DIR says of them, and how their parts fit together. */
static void test_verify__files_must_be_those_of_dir(void **state)
{
    (void)state;
    struct memory memory = golden("blobs.nbp");
    struct parts *parts = cut_up(&memory);
    struct part *dir = &parts->list[part_of(parts, NP_RECORD_DIR, 0)];
    size_t first = np_trailer_dir_size(np_get_le32(dir->table), 0);
    dir->table[first + 8] ^= 1; /* the first one's head_sum */
    struct memory forged = put_together(parts, FIX_END);
    for (int depth = NP_VERIFY_QUICK; depth <= NP_VERIFY_DEEP; depth++) {
        np_stream_close(open_and_check(&forged, (enum np_verify_depth)depth));
        assert_int_equal(seen.count, 1);
        assert_int_equal(seen.faults[0].scope, NP_FAULT_FILES);
        assert_non_null(strstr(seen.faults[0].error.message, "DIR names another record"));
    }
    parts_free(parts);
    free(forged.bytes);
    free(memory.bytes);
}

static void test_verify__the_parts_of_a_file_must_fit_together(void **state)
{
    (void)state;
    struct memory memory = golden("blobs.nbp");
    struct parts *parts = cut_up(&memory);
    for (size_t i = 0; i < parts->count; i++) {
        struct part *part = &parts->list[i];
        if (part->header.type == NP_RECORD_BLOB)
            part->table[8] ^= 1; /* the sum of the whole, the same in all parts */
    }
    struct memory forged = put_together(parts, FIX_LINKS);
    np_stream_close(open_and_check(&forged, NP_VERIFY_SUMS));
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.faults[0].scope, NP_FAULT_FILES);
    assert_non_null(strstr(seen.faults[0].error.message, "another checksum"));
    parts_free(parts);
    free(forged.bytes);
    free(memory.bytes);
}

/* Nothing of it needs to be read to see that. */
static void test_verify__an_empty_file_has_the_sum_of_nothing(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    struct part *empty = &parts->list[part_of(parts, NP_RECORD_BLOB, 1)];
    assert_int_equal(empty->header.data_len, 0);
    empty->table[8] ^= 1;
    struct np_error err = NP_ERROR_INIT;
    struct memory memory = put_together(parts, FIX_LINKS);
    fails(NP_DAMAGED, read_all(&memory, &err));
    for (int depth = NP_VERIFY_QUICK; depth <= NP_VERIFY_DEEP; depth++) {
        np_stream_close(open_and_check(&memory, (enum np_verify_depth)depth));
        assert_int_equal(seen.count, 1);
        assert_int_equal(seen.faults[0].scope, NP_FAULT_FILES);
        assert_non_null(strstr(seen.faults[0].error.message, "is empty, has another checksum"));
    }
    parts_free(parts);
    free(memory.bytes);
}

static void test_verify__a_granule_with_another_hash_is_found_by_deep_alone(void **state)
{
    (void)state;
    struct parts *parts = parts_of(small_disk());
    struct part *data = &parts->list[part_of(parts, NP_RECORD_DATA, 0)];
    data->data[data->header.data_len - 1] ^= 1;
    struct memory memory = put_together(parts, FIX_LINKS);
    np_stream_close(open_and_check(&memory, NP_VERIFY_SUMS));
    none_seen();
    np_stream_close(open_and_check(&memory, NP_VERIFY_DEEP));
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.faults[0].scope, NP_FAULT_RECORD);
    parts_free(parts);
    free(memory.bytes);
}

static void test_verify__quick_reads_no_payload(void **state)
{
    (void)state;
    struct guest guest;
    struct memory memory = many_records(&guest, 40, 16);
    struct parts *parts = cut_up(&memory);
    const struct np_record_header *data = &parts->list[part_of(parts, NP_RECORD_DATA, 7)].header;
    memory.bytes[data->pos + NP_RECORD_HEADER_SIZE + data->table_len] ^= 1;
    struct np_stream *stream = opened(&memory);
    assert_int_equal(check(stream, NP_VERIFY_QUICK).read, 0);
    none_seen();
    memory.bytes[data->pos + 8] ^= 1; /* its header is looked at */
    check(stream, NP_VERIFY_QUICK);
    assert_int_equal(seen.count, 1);
    np_stream_close(stream);
    parts_free(parts);
    guest_free(&guest);
    free(memory.bytes);
}

/* ---- what cannot be read ---- */

struct bad_disk {
    struct memory *memory;
    uint64_t from, to;
};

static int read_or_fail(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    const struct bad_disk *bad = ctx;
    if (pos < bad->to && pos + size > bad->from)
        return np_fail(err, NP_FAILED, "sample: cannot read byte %ju", (uintmax_t)pos);
    return memory_read_at(bad->memory, buffer, size, pos, err);
}

static void test_verify__what_cannot_be_read_is_not_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest;
    struct memory memory = many_records(&guest, 40, 16);
    struct parts *parts = cut_up(&memory);
    const struct np_record_header *first = &parts->list[part_of(parts, NP_RECORD_DATA, 10)].header;
    struct bad_disk bad = {.memory = &memory, .from = first->pos + 10, .to = first->pos + 90};
    struct np_input_at input = {.read_at = read_or_fail, .ctx = &bad, .size = memory.size};
    struct np_stream *stream = NULL;
    ok(np_stream_open(&input, "sample", &stream, &err));
    check(stream, NP_VERIFY_SUMS);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.faults[0].error.class, NP_FAILED);
    assert_int_equal(seen.faults[0].scope, NP_FAULT_RECORD);
    assert_int_equal(seen.faults[0].pos, first->pos);
    np_stream_close(stream);
    parts_free(parts);
    guest_free(&guest);
    free(memory.bytes);
}

/* ---- asked to stop ---- */

/* Somebody asks after so many reads. */
struct asking {
    struct memory *memory;
    struct np_cancel cancel;
    unsigned reads, ask_after;
};

static int read_and_ask(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    struct asking *asking = ctx;
    if (++asking->reads == asking->ask_after)
        np_cancel_request(&asking->cancel, SIGINT);
    return memory_read_at(asking->memory, buffer, size, pos, err);
}

/* META and the end are good, and all between them is a hole. */
static void test_verify__stops_while_it_looks_for_the_next_record(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest;
    struct memory memory = many_records(&guest, 6000, 16);
    struct np_stream *stream = NULL;
    struct np_record_header header;
    uint64_t from = 0, to = 0;
    for (uint64_t pos = 0; pos < memory.size; pos += np_record_size(&header)) {
        ok(np_record_decode(memory.bytes + pos, "sample", pos, &header, &err));
        from = pos == 0 ? np_record_size(&header) : from;
        to = header.type == NP_RECORD_META ? pos : to;
    }
    memset(memory.bytes + from, 0, to - from);
    assert_in_range(to - from, 12 * (64 << 10), UINT32_MAX); /* a scan reads 64 KiB at once */

    struct asking asking = {.memory = &memory};
    struct np_input_at input = {.read_at = read_and_ask, .ctx = &asking, .size = memory.size};
    np_cancel_init(&asking.cancel);
    ok(np_stream_open(&input, "sample", &stream, &err));
    asking.ask_after = asking.reads + 5;
    struct np_verify_counts counts = {0};
    const struct np_verify_options options = {.depth = NP_VERIFY_QUICK,
                                              .workers = 1,
                                              .parts = 1,
                                              .cancel = &asking.cancel,
                                              .report = note,
                                              .ctx = &seen};
    seen.count = 0;
    fails(NP_INTERRUPTED, np_verify_stream(&options, stream, &counts, &err));
    assert_int_equal(asking.reads, asking.ask_after);
    assert_int_equal(seen.count, 1); /* the index; the hole's end is not known */
    assert_int_equal(seen.faults[0].scope, NP_FAULT_DISK);
    np_stream_close(stream);
    np_cancel_clear(&asking.cancel);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_verify__stops_between_the_parts_of_a_file(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = small_disk();
    struct memory memory = {0};
    struct np_writer *writer = writer_to(&memory, guest.meta);
    struct np_stream *stream = NULL;
    static const uint8_t bytes[5 << 20];
    for (size_t i = 0; i < guest.meta->disk_count; i++) {
        const struct np_meta_disk *disk = &guest.meta->disks[i];
        ok(np_writer_zero(writer, disk->id, 0, disk->geometry.size, &err));
        ok(np_writer_disk_end(writer, disk->id, NULL, &err));
    }
    ok(np_writer_blob(writer, "large", bytes, sizeof(bytes), &err));
    ok(np_writer_finish(writer, &err));
    np_writer_free(writer);

    struct asking asking = {.memory = &memory};
    struct np_input_at input = {.read_at = read_and_ask, .ctx = &asking, .size = memory.size};
    np_cancel_init(&asking.cancel);
    ok(np_stream_open(&input, "sample", &stream, &err));
    ok(np_stream_blob_check(stream, 0, &asking.cancel, &err));
    asking.reads = 0;
    asking.ask_after = 3; /* header, table, data */
    fails(NP_INTERRUPTED, np_stream_blob_check(stream, 0, &asking.cancel, &err));
    assert_in_range(asking.reads, 3, 5);
    np_stream_close(stream);
    np_cancel_clear(&asking.cancel);
    guest_free(&guest);
    free(memory.bytes);
}

/* ---- the sample ---- */

static void test_verify__parts_cover_each_payload_once(void **state)
{
    (void)state;
    struct guest guest;
    struct memory memory = many_records(&guest, 200, 16);
    struct np_stream *stream = opened(&memory);
    uint64_t all = check(stream, NP_VERIFY_SUMS).checked;
    assert_int_equal(all, 200);
    for (unsigned parts = 2; parts <= 10; parts++) {
        uint64_t checked = 0;
        for (unsigned part = 0; part < parts; part++) {
            uint64_t now = check_part(stream, NP_VERIFY_SUMS, part, parts).checked;
            assert_true(now > 0 && now < all);
            checked += now;
        }
        assert_int_equal(checked, all);
    }
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify__finds_nothing_in_good_streams),
        cmocka_unit_test(test_verify__finds_every_flipped_byte_and_whom_it_concerns),
        cmocka_unit_test(test_verify__goes_on_behind_damage_and_names_each),
        cmocka_unit_test(test_verify__what_could_not_be_expanded_is_not_counted),
        cmocka_unit_test(test_verify__a_damaged_index_does_not_hide_damaged_data),
        cmocka_unit_test(test_verify__finds_the_next_record_where_nothing_names_it),
        cmocka_unit_test(test_verify__an_index_that_tells_of_other_hashes_is_found_without_payload),
        cmocka_unit_test(test_verify__records_stand_in_the_order_of_the_format),
        cmocka_unit_test(test_verify__what_index_and_dir_say_of_the_index_before),
        cmocka_unit_test(test_verify__end_names_the_meta_and_dir_that_were_met),
        cmocka_unit_test(test_verify__what_is_empty_has_the_sum_of_nothing),
        cmocka_unit_test(test_verify__a_zero_with_another_sum_behind_a_lost_index),
        cmocka_unit_test(test_verify__files_must_be_those_of_dir),
        cmocka_unit_test(test_verify__the_parts_of_a_file_must_fit_together),
        cmocka_unit_test(test_verify__an_empty_file_has_the_sum_of_nothing),
        cmocka_unit_test(test_verify__a_granule_with_another_hash_is_found_by_deep_alone),
        cmocka_unit_test(test_verify__quick_reads_no_payload),
        cmocka_unit_test(test_verify__what_cannot_be_read_is_not_damage),
        cmocka_unit_test(test_verify__stops_while_it_looks_for_the_next_record),
        cmocka_unit_test(test_verify__stops_between_the_parts_of_a_file),
        cmocka_unit_test(test_verify__parts_cover_each_payload_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
