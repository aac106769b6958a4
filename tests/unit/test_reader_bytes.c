#include "surgery.h"

#define MIB (UINT64_C(1) << 20)

/* The pipe reader must refuse it, for this reason. Takes the memory. */
static void refused(struct memory memory, const char *why)
{
    struct np_error err = NP_ERROR_INIT;
    if (read_all(&memory, &err) != -1)
        fail_msg("accepted what must be refused with \"%s\"", why);
    if (strstr(err.message, why) == NULL || strstr(err.message, "sample") == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.message, why);
    assert_int_equal(err.class, NP_DAMAGED);
    free(memory.bytes);
}

static void accepted(struct memory memory)
{
    struct np_error err = NP_ERROR_INIT;
    ok(read_all(&memory, &err));
    free(memory.bytes);
}

/* ---- bytes that are not there, or wrong ---- */

static void test_reader__every_flipped_byte_is_refused(void **state)
{
    (void)state;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    for (size_t i = 0; i < memory.size; i++) {
        struct np_error err = NP_ERROR_INIT;
        uint8_t was = memory.bytes[i];
        memory.bytes[i] ^= (uint8_t)(i % 3 == 0 ? 0xff : 1 << i % 8);
        if (read_all(&memory, &err) != -1)
            fail_msg("byte %zu can be changed", i);
        memory.bytes[i] = was;
    }
    accepted(memory);
    guest_free(&guest);
}

static void test_reader__every_truncation_is_called_one(void **state)
{
    (void)state;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    for (size_t size = 0; size < memory.size; size++) {
        struct np_error err = NP_ERROR_INIT;
        struct memory cut = {.bytes = memory.bytes, .size = size};
        fails(NP_DAMAGED, read_all(&cut, &err));
        char where[64];
        snprintf(where, sizeof(where), "truncated: it ends at byte %zu,", size);
        if (strstr(err.message, where) == NULL)
            fail_msg("%s does not say %s", err.message, where);
    }
    guest_free(&guest);
    free(memory.bytes);
}

static void test_reader__only_zeroes_to_the_next_mib_may_follow(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    size_t size = memory.size;
    uint8_t *zeroes = calloc(1, MIB + 1);
    memory_add(&memory, zeroes, MIB - size);
    ok(read_all(&memory, &err));
    memory.bytes[MIB - 1] = 1;
    fails(NP_DAMAGED, read_all(&memory, &err));
    memory.bytes[MIB - 1] = 0;
    memory_add(&memory, zeroes, 1);
    fails(NP_DAMAGED, read_all(&memory, &err));
    memory.size = size;
    memory_double(&memory);
    refused(memory, "something follows the end");
    free(zeroes);
    guest_free(&guest);
}

static void test_reader__a_failing_input_is_no_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    for (size_t at = 1; at < memory.size; at += 611) {
        struct pipe pipe = {.bytes = memory.bytes, .size = memory.size, .step = SIZE_MAX, .fail_at = at};
        fails(NP_FAILED, read_pipe(&pipe, NULL, false, &err));
        assert_non_null(strstr(err.message, "the pipe broke"));
    }
    guest_free(&guest);
    free(memory.bytes);
}

static void test_reader__after_an_error_nothing_is_given(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = two_disks();
    struct memory memory = write_guest(&guest, 1);
    struct pipe pipe = {.bytes = memory.bytes, .size = memory.size - 1, .step = SIZE_MAX};
    struct np_input input = {.read = pipe_read, .ctx = &pipe};
    struct np_reader *reader = NULL;
    struct np_record record;
    int status;
    ok(np_reader_new(&input, "sample", &reader, &err));
    while ((status = np_reader_next(reader, &record, &err)) == 1)
        ;
    assert_int_equal(status, -1);
    fails(NP_FAILED, np_reader_next(reader, &record, &err));
    fails(NP_FAILED, np_reader_data(reader, &record, sizeof(record), &err));
    np_reader_free(reader);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_reader__data_are_given_once_and_only_into_enough_room(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = two_disks();
    struct memory memory = write_guest(&guest, 1);
    struct pipe pipe = {.bytes = memory.bytes, .size = memory.size, .step = SIZE_MAX};
    struct np_input input = {.read = pipe_read, .ctx = &pipe};
    struct np_reader *reader = NULL;
    struct np_record record;
    static uint8_t data[NP_CHUNK_MIN];
    ok(np_reader_new(&input, "sample", &reader, &err));
    fails(NP_FAILED, np_reader_data(reader, data, sizeof(data), &err));
    do
        assert_int_equal(np_reader_next(reader, &record, &err), 1);
    while (record.header.data_len == 0);
    fails(NP_FAILED, np_reader_data(reader, data, record.header.data_len - 1, &err));
    ok(np_reader_data(reader, data, record.header.data_len, &err));
    fails(NP_FAILED, np_reader_data(reader, data, sizeof(data), &err));
    np_reader_free(reader);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_reader__bad_data_are_not_given_a_second_time(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = two_disks();
    struct memory memory = write_guest(&guest, 1);
    struct parts *parts = cut_up(&memory);
    const struct part *part = &parts->list[part_of(parts, NP_RECORD_DATA, 0)];
    memory.bytes[part->was + NP_RECORD_HEADER_SIZE + part->header.table_len] ^= 1;
    struct pipe pipe = {.bytes = memory.bytes, .size = memory.size, .step = SIZE_MAX};
    struct np_input input = {.read = pipe_read, .ctx = &pipe};
    struct np_reader *reader = NULL;
    struct np_record record;
    static uint8_t data[NP_CHUNK_MIN];
    ok(np_reader_new(&input, "sample", &reader, &err));
    do
        assert_int_equal(np_reader_next(reader, &record, &err), 1);
    while (record.header.type != NP_RECORD_DATA);
    fails(NP_DAMAGED, np_reader_data(reader, data, sizeof(data), &err));
    size_t consumed = pipe.at;
    fails(NP_FAILED, np_reader_data(reader, data, sizeof(data), &err));
    assert_int_equal(pipe.at, consumed);
    np_reader_free(reader);
    parts_free(parts);
    guest_free(&guest);
    free(memory.bytes);
}

/* ---- whole records in the wrong place, each with right sums of its own ---- */

static void append_record(struct memory *memory, const struct memory *from, const struct part *part)
{
    memory_add(memory, from->bytes + part->was, np_record_size(&part->header));
}

/* The stream with record i left out, doubled, or exchanged with k; the bytes of all others as they were. */
static struct memory rearranged(const struct memory *memory, const struct parts *parts, size_t i, size_t k,
                                bool drop, bool twice)
{
    struct memory changed = {0};
    for (size_t n = 0; n < parts->count; n++) {
        size_t source = n == i ? k : n == k ? i : n;
        if (drop && n == i)
            continue;
        append_record(&changed, memory, &parts->list[source]);
        if (twice && n == i)
            append_record(&changed, memory, &parts->list[source]);
    }
    return changed;
}

static void test_reader__records_dropped_doubled_or_exchanged_are_refused(void **state)
{
    (void)state;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    struct parts *parts = cut_up(&memory);
    for (size_t i = 0; i < parts->count; i++) {
        struct np_error err = NP_ERROR_INIT;
        struct memory changed = rearranged(&memory, parts, i, i, true, false);
        fails(NP_DAMAGED, read_all(&changed, &err));
        free(changed.bytes);
        changed = rearranged(&memory, parts, i, i, false, true);
        fails(NP_DAMAGED, read_all(&changed, &err));
        free(changed.bytes);
        for (size_t k = i + 1; k < parts->count; k++) {
            changed = rearranged(&memory, parts, i, k, false, false);
            fails(NP_DAMAGED, read_all(&changed, &err));
            free(changed.bytes);
        }
    }
    parts_free(parts);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_reader__records_of_another_attempt_are_refused(void **state)
{
    (void)state;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    struct parts *parts = cut_up(&memory);
    guest.meta->stream = sample_uuid(0x99);
    for (size_t i = 0; i < guest.meta->point_disk_count; i++)
        guest.meta->point_disks[i].stream = guest.meta->stream;
    struct memory other = write_guest(&guest, 1);
    assert_int_equal(other.size, memory.size);
    for (size_t i = 0; i < parts->count; i++) {
        size_t pos = parts->list[i].was, size = np_record_size(&parts->list[i].header);
        struct memory mixed = {0};
        memory_add(&mixed, memory.bytes, memory.size);
        memcpy(mixed.bytes + pos, other.bytes + pos, size);
        refused(mixed, "it belongs to another stream");
    }
    parts_free(parts);
    guest_free(&guest);
    free(memory.bytes);
    free(other.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader__every_flipped_byte_is_refused),
        cmocka_unit_test(test_reader__every_truncation_is_called_one),
        cmocka_unit_test(test_reader__only_zeroes_to_the_next_mib_may_follow),
        cmocka_unit_test(test_reader__a_failing_input_is_no_damage),
        cmocka_unit_test(test_reader__after_an_error_nothing_is_given),
        cmocka_unit_test(test_reader__data_are_given_once_and_only_into_enough_room),
        cmocka_unit_test(test_reader__bad_data_are_not_given_a_second_time),
        cmocka_unit_test(test_reader__records_dropped_doubled_or_exchanged_are_refused),
        cmocka_unit_test(test_reader__records_of_another_attempt_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
