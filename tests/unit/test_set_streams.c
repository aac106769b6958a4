#include "set_fixture.h"

/* ---- streams ---- */

/* Sizes around the buffer's and the direct writes' limits, in odd pieces. */
static void test_stream_file__bytes_arrive_in_order(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,     96,    65535, 65536, 7,     262144, 262145,  30000, 30000,
                                   60000, 65000, 65000, 65000, 65000, 100,    1 << 20, 0,     3};
    struct np_error err = NP_ERROR_INIT;
    struct np_stream_file *file;
    struct np_sink sink;
    size_t total = 0;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        total += sizes[i];
    NP_AUTO_FREE uint8_t *bytes = malloc(total);
    for (size_t i = 0; i < total; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);

    NP_OPEN(set, NP_SET_CREATE);
    ok(np_set_stream_create(set, "0001", "vda", &file, &err));
    assert_string_equal(np_stream_file_name(file), "streams/0001.vda.nbp");
    np_stream_file_sink(file, &sink);
    uint8_t *from = bytes;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct iovec pieces[10] = {{.iov_base = from, .iov_len = sizes[i] / 3},
                                   {.iov_base = from + sizes[i] / 3, .iov_len = sizes[i] - sizes[i] / 3}};
        ok(sink.append(sink.ctx, pieces, i % 2 == 0 ? 2 : 10, &err));
        from += sizes[i];
    }
    ok(np_stream_file_sync(file, &err));
    np_stream_file_close(file);

    struct np_point_disk disk = stored_disk("0001", "vda", "");
    struct np_stream_input *reader;
    struct np_input_at input;
    disk.stream_size = total;
    ok(np_set_stream_open(set, &disk, &reader, &input, &err));
    assert_int_equal(input.size, total);
    NP_AUTO_FREE uint8_t *read = malloc(total);
    ok(input.read_at(input.ctx, read, total - 5, 5, &err));
    assert_memory_equal(read, bytes + 5, total - 5);
    fails(NP_DAMAGED, input.read_at(input.ctx, read, 6, total - 5, &err));
    np_stream_input_close(reader);
}

static void test_stream_file__is_never_written_over(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_stream_file *file;
    NP_OPEN(set, NP_SET_CREATE);
    write_stream(set, "0001", "vda", "data");
    FAILS_WITH(NP_FAILED, np_set_stream_create(set, "0001", "vda", &file, &err), "0001.vda.nbp");
}

static void test_stream_file__hostile_names_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",    "..",    "../vda",
        "a/b", ".vda",  "-x",
        "a b", "vd\na", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    struct np_error err = NP_ERROR_INIT;
    struct np_stream_file *file;
    NP_OPEN(set, NP_SET_CREATE);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        fails(NP_FAILED, np_set_stream_create(set, "0001", names[i], &file, &err));
    fails(NP_FAILED, np_set_stream_create(set, "../1", "vda", &file, &err));
    fails(NP_FAILED, np_set_config_write(set, "0001", "../a", "", 0, &err));
    fails(NP_FAILED, np_set_config_write(set, "..", "a", "", 0, &err));
    fails(NP_FAILED, np_set_remove_point_files(set, "..", &err));
}

static void test_stream_file__wrong_size_and_missing_are_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_stream_input *reader;
    struct np_input_at input;
    NP_OPEN(set, NP_SET_CREATE);
    write_stream(set, "0001", "vda", "data");
    struct np_point_disk disk = stored_disk("0001", "vda", "");
    disk.stream_size = 5;
    FAILS_WITH(NP_DAMAGED, np_set_stream_open(set, &disk, &reader, &input, &err), "has 4 bytes, and 5");
    assert_string_equal(err.disk, "vda");
    assert_int_equal(unlink(at("streams/0001.vda.nbp")), 0);
    FAILS_WITH(NP_DAMAGED, np_set_stream_open(set, &disk, &reader, &input, &err), "missing");
    snprintf(disk.file, sizeof(disk.file), "streams/../set.json");
    fails(NP_DAMAGED, np_set_stream_open(set, &disk, &reader, &input, &err));
    assert_int_equal(mkfifo(at("streams/0001.vda.nbp"), 0600), 0);
    snprintf(disk.file, sizeof(disk.file), "streams/0001.vda.nbp");
    FAILS_WITH(NP_DAMAGED, np_set_stream_open(set, &disk, &reader, &input, &err), "not a regular file");
}

static void test_store__symbolic_links_inside_a_set_are_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_stream_file *file;
    struct np_stream_input *reader;
    struct np_input_at input;
    struct np_points points = {0};
    {
        NP_OPEN(set, NP_SET_CREATE);
        add_point(set, "");
        write_text("outside", "data");

        assert_int_equal(symlink("../outside", at("streams/0002.vda.nbp")), 0);
        FAILS_WITH(NP_DAMAGED, np_set_stream_create(set, "0002", "vda", &file, &err), "symbolic link");
        struct np_point_disk disk = stored_disk("0002", "vda", "");
        FAILS_WITH(NP_DAMAGED, np_set_stream_open(set, &disk, &reader, &input, &err), "symbolic link");
        assert_int_equal(symlink("../outside", at("points/0002.json")), 0);
        FAILS_WITH(NP_DAMAGED, np_set_points(set, &points, &err), "symbolic link");
        assert_int_equal(symlink("../../..", at("config/0001")), 0);
        FAILS_WITH(NP_DAMAGED, np_set_config_write(set, "0001", "a", "b", 1, &err), "symbolic link");
    }
    assert_int_equal(rename(at("streams"), at("elsewhere")), 0);
    assert_int_equal(symlink("elsewhere", at("streams")), 0);
    NP_OPEN(set, NP_SET_WRITE);
    FAILS_WITH(NP_DAMAGED, np_set_stream_create(set, "0003", "vda", &file, &err), "symbolic link");

    assert_int_equal(rename(at("set.json"), at("set")), 0);
    assert_int_equal(symlink("set", at("set.json")), 0);
    struct np_set *second;
    FAILS_WITH(NP_DAMAGED, np_set_open(fixture.path, NP_SET_READ, "", &second, &err), "symbolic link");
}

static void test_set__reader_changes_nothing(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    char id[NP_POINT_ID_MAX];
    struct np_stream_file *file;
    struct np_intent intent = {.point_id = "0002"};
    {
        NP_OPEN(set, NP_SET_CREATE);
        add_point(set, "");
    }
    NP_OPEN(set, NP_SET_READ);
    assert_int_equal(np_set_lock_fd(set), -1);
    FAILS_WITH(NP_FAILED, np_set_next_id(set, id, &err), "reading only");
    fails(NP_FAILED, np_set_stream_create(set, "0002", "vda", &file, &err));
    fails(NP_FAILED, np_set_intent_write(set, &intent, &err));
    fails(NP_FAILED, np_set_intent_clear(set, &err));
    fails(NP_FAILED, np_set_remove_debris(set, &err));
    assert_false(exists("streams/0002.vda.nbp") || exists("intent.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_stream_file__bytes_arrive_in_order),
        TEST(test_stream_file__is_never_written_over),
        TEST(test_stream_file__hostile_names_are_refused),
        TEST(test_stream_file__wrong_size_and_missing_are_damage),
        TEST(test_store__symbolic_links_inside_a_set_are_refused),
        TEST(test_set__reader_changes_nothing),
    };
    return cmocka_run_group_tests_name("set_streams", tests, NULL, NULL);
}
