#include "set_fixture.h"

#include "nbdpull/bytes.h"
#include "nbdpull/set_repair.h"

/* ---- points ---- */

static void assert_disks_equal(const struct np_point_disk *a, const struct np_point_disk *b)
{
    assert_string_equal(a->target, b->target);
    assert_int_equal(a->stored, b->stored);
    assert_string_equal(a->level, b->level);
    assert_string_equal(a->how, b->how);
    assert_string_equal(a->why, b->why);
    assert_string_equal(a->parent, b->parent);
    assert_true(np_uuid_equal(&a->stream_uuid, &b->stream_uuid));
    assert_true(np_uuid_equal(&a->state, &b->state));
    assert_true(a->virtual_size == b->virtual_size && a->stream_size == b->stream_size);
    assert_true(a->data_bytes == b->data_bytes && a->zero_bytes == b->zero_bytes);
    assert_true(a->stored_bytes == b->stored_bytes);
    assert_string_equal(a->codec, b->codec);
    assert_string_equal(a->file, b->file);
    assert_int_equal(a->digest_known, b->digest_known);
    assert_true(a->digest.low == b->digest.low && a->digest.high == b->digest.high);
    assert_string_equal(a->checkpoint, b->checkpoint);
    assert_string_equal(a->image, b->image);
    assert_true(a->image_dev == b->image_dev && a->image_ino == b->image_ino);
    assert_int_equal(a->has_below, b->has_below);
    assert_true(np_hash128_equal(a->below, b->below));
}

static void test_point__comes_back_as_committed(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_OPEN(set, NP_SET_CREATE);
    add_point(set, "");
    struct np_point_disk disks[3] = {stored_disk("0002", "vda", "0001"), stored_disk("0002", "sdb", "")};
    disks[1].digest_known = false;
    disks[1].digest = (struct np_hash128){0};
    disks[1].checkpoint[0] = '\0';
    disks[0].has_below = true;
    disks[0].below = (struct np_hash128){.high = 0xfedcba9876543210, .low = 0x12345678};
    disks[2] = (struct np_point_disk){.target = "vdc", .why = "read-only"};
    struct np_point point = {.id = "0002",
                             .level = "inc",
                             .time = "2026-11-21T03:00:00Z",
                             .checkpoint = "nbdpull-a-0002-0123abcd",
                             .quiesced = true,
                             .disks = disks,
                             .disk_count = 3};
    ok(np_uuid_random(&point.uuid, &err));
    write_stream(set, "0002", "vda", "data");
    write_stream(set, "0002", "sdb", "data");
    ok(np_set_commit(set, &point, &err));

    NP_CLEANUP(np_points_clear) struct np_points points = {0};
    ok(np_set_points(set, &points, &err));
    assert_int_equal(points.count, 2);
    const struct np_point *found = &points.list[1];
    assert_string_equal(found->id, "0002");
    assert_true(np_uuid_equal(&found->uuid, &point.uuid));
    assert_string_equal(found->level, "inc");
    assert_string_equal(found->time, point.time);
    assert_string_equal(found->checkpoint, point.checkpoint);
    assert_true(found->quiesced);
    assert_int_equal(found->disk_count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_disks_equal(&found->disks[i], &disks[i]);
    assert_ptr_equal(np_point_disk_of(found, "vdc"), &found->disks[2]);
    assert_null(np_point_disk_of(found, "vdd"));
}

/* Records of before this key was, and those that a repair rebuilds. */
static void test_point__images_below_may_be_unknown(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_OPEN(set, NP_SET_CREATE);
    add_point(set, "");
    NP_AUTO_FREE char *text = read_text("points/0001.json");
    assert_null(strstr(text, "below"));
    NP_CLEANUP(np_points_clear) struct np_points points = {0};
    ok(np_set_points(set, &points, &err));
    assert_false(points.list[0].disks[0].has_below);

    struct np_points damaged = {0};
    edit("points/0001.json", "\"dev\"", "\"below\": \"0123456789abcdef\", \"dev\"");
    FAILS_WITH(NP_DAMAGED, np_set_points(set, &damaged, &err), "disks[0].image.below is not 32");
    edit("points/0001.json", "\"0123456789abcdef\"", "7");
    FAILS_WITH(NP_DAMAGED, np_set_points(set, &damaged, &err), "disks[0].image.below");
    edit("points/0001.json", "\"below\": 7", "\"below\": \"00000000000000010000000000000002\"");
    NP_CLEANUP(np_points_clear) struct np_points known = {0};
    ok(np_set_points(set, &known, &err));
    assert_true(known.list[0].disks[0].has_below);
    assert_true(np_hash128_equal(known.list[0].disks[0].below, (struct np_hash128){.high = 1, .low = 2}));

    bool same; /* a repair leaves the record that knows more */
    ok(np_point_same(&known.list[0], &points.list[0], &same, &err));
    assert_true(same);
}

static void test_point__same_id_is_never_committed_twice(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_OPEN(set, NP_SET_CREATE);
    add_point(set, "");
    struct np_point_disk disk = stored_disk("0001", "vda", "");
    struct np_point point = {.id = "0001", .level = "full", .time = "x", .disks = &disk, .disk_count = 1};
    FAILS_WITH(NP_FAILED, np_set_commit(set, &point, &err), "committed already");
    assert_true(exists("points/0001.json"));
    FAILS_WITH(NP_FAILED, np_set_remove_point_files(set, "0001", &err), "committed");
    assert_true(exists("streams/0001.vda.nbp"));
}

/* What may happen to the streams of a run, by the user's hand, before its record is written. */
static void stream_is_deleted(void)
{
    assert_int_equal(unlink(at("streams/0001.vda.nbp")), 0);
}

static void stream_is_cut_off(void)
{
    assert_int_equal(truncate(at("streams/0001.vda.nbp"), 3), 0);
}

static void stream_is_another(void)
{
    stream_is_deleted();
    write_text("streams/0001.vda.nbp", "data");
}

static void area_is_moved(const char *area)
{
    char moved[64];
    snprintf(moved, sizeof(moved), "%s.moved", area);
    assert_int_equal(rename(at(area), at(moved)), 0);
    assert_int_equal(mkdir(at(area), 0700), 0);
}

static void streams_are_moved(void)
{
    area_is_moved("streams");
}

static void points_are_moved(void)
{
    area_is_moved("points");
}

static void config_is_deleted(void)
{
    struct np_error err = NP_ERROR_INIT;
    ok(np_dir_remove(AT_FDCWD, "config", at("config"), &err));
}

static void set_is_moved(void)
{
    char moved[128];
    snprintf(moved, sizeof(moved), "%s.moved", fixture.path);
    assert_int_equal(rename(fixture.path, moved), 0);
    assert_int_equal(mkdir(fixture.path, 0700), 0);
}

static void test_point__is_not_committed_without_what_it_needs(void **state)
{
    (void)state;
    static void (*const happens[])(void) = {stream_is_deleted, stream_is_cut_off, stream_is_another,
                                            streams_are_moved, points_are_moved,  config_is_deleted,
                                            set_is_moved};
    for (size_t i = 0; i < NP_ARRAY_SIZE(happens); i++) {
        struct np_error err = NP_ERROR_INIT;
        {
            NP_OPEN(set, NP_SET_CREATE);
            struct np_point_disk disk = stored_disk("0001", "vda", "");
            struct np_point point = {.id = "0001", .level = "full", .disks = &disk, .disk_count = 1};
            snprintf(point.time, sizeof(point.time), "2026-11-20T03:00:00Z");
            char id[NP_POINT_ID_MAX];
            ok(np_set_next_id(set, id, &err));
            write_stream(set, id, "vda", "data");
            ok(np_set_config_write(set, "0001", "domain.xml", "x", 1, &err));
            happens[i]();
            FAILS_WITH(NP_FAILED, np_set_commit(set, &point, &err), "not there any more");
            ok(np_set_remove_point_files(set, "0001", &err));
        }
        assert_false(exists("points/0001.json") || exists("points.moved/0001.json"));
        assert_false(exists("streams.moved/0001.vda.nbp") || exists("../set.moved/streams/0001.vda.nbp"));
        teardown(state);
        setup(state);
    }
}

static void test_point__is_not_committed_without_its_parent(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_OPEN(set, NP_SET_CREATE);
    add_point(set, "");
    struct np_point_disk disk = stored_disk("0002", "vda", "0001");
    struct np_point point = {.id = "0002", .level = "inc", .disks = &disk, .disk_count = 1};
    snprintf(point.time, sizeof(point.time), "2026-11-20T03:00:00Z");
    assert_int_equal(unlink(at("points/0001.json")), 0);
    FAILS_WITH(NP_FAILED, np_set_commit(set, &point, &err), "record of point 0001 is not there any more");
    assert_false(exists("points/0002.json"));
}

/* Another stream's bytes in the file of a point's; @return how many */
static uint64_t put_golden(const char *name)
{
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE char *bytes = NULL;
    size_t size;
    const char *path = TEST_SOURCE_DIR "/golden/full.nbp";
    ok(np_file_read_whole(AT_FDCWD, path, path, 1 << 20, &bytes, &size, &err));
    FILE *file = fopen(at(name), "we");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return size;
}

static void test_point__is_not_committed_without_its_parents_stream(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_point_disk disk = stored_disk("0002", "vda", "0001");
    struct np_point point = {.id = "0002", .level = "inc", .disks = &disk, .disk_count = 1};
    snprintf(point.time, sizeof(point.time), "2026-11-20T03:00:00Z");
    NP_OPEN(set, NP_SET_CREATE);
    add_point(set, "");
    write_stream(set, "0002", "vda", "data");
    stream_is_deleted();
    FAILS_WITH(NP_DAMAGED, np_set_commit(set, &point, &err), "0001.vda.nbp: the stream is missing");
    assert_false(exists("points/0002.json"));
    write_text("streams/0001.vda.nbp", "another one");
    FAILS_WITH(NP_DAMAGED, np_set_commit(set, &point, &err), "0001.vda.nbp: the stream has 11 bytes");
    char size[64];
    snprintf(size, sizeof(size), "\"size\": %ju,", (uintmax_t)put_golden("streams/0001.vda.nbp"));
    edit("points/0001.json", "\"size\": 4,", size);
    FAILS_WITH(NP_DAMAGED, np_set_commit(set, &point, &err), "0001.vda.nbp: it is not the stream that");
    assert_false(exists("points/0002.json"));
}

/* As by repair, whose streams were there when it made its plan. */
static void test_point__is_not_committed_without_its_own_stream(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_point_disk disk = stored_disk("0001", "vda", "");
    struct np_point point = {.id = "0001", .level = "full", .disks = &disk, .disk_count = 1};
    snprintf(point.time, sizeof(point.time), "2026-11-20T03:00:00Z");
    NP_OPEN(set, NP_SET_CREATE);
    FAILS_WITH(NP_DAMAGED, np_set_commit(set, &point, &err), "0001.vda.nbp: the stream is missing");
    disk.stream_size = put_golden("streams/0001.vda.nbp");
    FAILS_WITH(NP_DAMAGED, np_set_commit(set, &point, &err), "0001.vda.nbp: it is not the stream that");
    assert_false(exists("points/0001.json"));
}

static void test_point__what_could_not_be_read_is_not_committed(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_OPEN(set, NP_SET_CREATE);
    struct np_point_disk disk = stored_disk("0001", "vda", "");
    struct np_point point = {.id = "0001", .level = "full", .time = "x", .disks = &disk, .disk_count = 1};
    snprintf(disk.file, sizeof(disk.file), "streams/../../etc/passwd");
    FAILS_WITH(NP_FAILED, np_set_commit(set, &point, &err), "disks[0].stream.file");
    disk = stored_disk("0001", "vda", "");
    disk.virtual_size = UINT64_C(1) << 53;
    FAILS_WITH(NP_FAILED, np_set_commit(set, &point, &err), "disks[0].size");
    disk = stored_disk("0001", "vda", "0001");
    FAILS_WITH(NP_FAILED, np_set_commit(set, &point, &err), "disks[0].parent");
    assert_false(exists("points/0001.json"));
}

static void test_point__damaged_records_are_named_by_file_and_key(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *message;
    } cases[] = {
        {"\"quiesced\": false", "\"quiesced\": 0", "key quiesced is not true"},
        {"\"quiesced\"", "\"quieted\"", "key quiesced is missing"},
        {"\"id\": \"0001\"", "\"id\": \"0002\"", "key id is not the one"},
        {"\"target\": \"vda\"", "\"target\": \"../vda\"", "disks[0].target"},
        {"\"level\": \"full\"", "\"level\": \"half\"", "disks[0].level"},
        {"\"how\": \"all\"", "\"how\": \"some\"", "disks[0].how"},
        {"\"parent\": null", "\"parent\": \"0001\"", "disks[0].parent"},
        {"\"size\": 1099511627776", "\"size\": 9007199254740992", "disks[0].size is 2^53"},
        {"\"size\": 1099511627776", "\"size\": -1", "disks[0].size is negative"},
        {"\"size\": 1099511627776", "\"size\": 1e3", "disks[0].size is not a whole"},
        {"\"size\": 1099511627776", "\"size\": 99999999999999999999999", "disks[0].size is 2^53"},
        {"00000000000000078000", "x", "disks[0].digest is not 32"},
        {"streams/0001.vda.nbp", "streams/0002.vda.nbp", "disks[0].stream.file"},
        {"streams/0001.vda.nbp", "/etc/shadow", "disks[0].stream.file"},
        {"streams/0001.vda.nbp", "streams/0001.x/../../a", "disks[0].stream.file"},
        {"\"zstd:3\"", "\"a codec with a long name\"", "disks[0].stream.codec is too long"},
        {"\"zstd:3\"", "\"a\\u0000b\"", "disks[0].stream.codec holds a NUL"},
        {"\"18446744073709551615\"", "\"18446744073709551616\"", "disks[0].image.ino"},
        {"\"18446744073709551615\"", "\"0x10\"", "disks[0].image.ino"},
        {"\"disks\": [", "\"disks\": [[],", "disks[0]. is not an object"},
        {"\"disks\": [", "\"disks\": 1, \"x\": [", "key disks is not an array"},
        {"\"disks\": [", "\"disks\": [], \"x\": [", "key disks is empty"},
        {"{", "{ \"deep\": [[[[[[[[[[]]]]]]]]]],", "not JSON"},
        {"{", "[{", "not JSON: it ends there"},
        {"\"auto\"", "\"auto\", //", "not JSON"},
    };
    NP_OPEN(set, NP_SET_CREATE);
    add_point(set, "");
    NP_AUTO_FREE char *good = read_text("points/0001.json");
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct np_error err = NP_ERROR_INIT;
        struct np_points points = {0};
        write_text("points/0001.json", good);
        edit("points/0001.json", cases[i].from, cases[i].to);
        FAILS_WITH(NP_DAMAGED, np_set_points(set, &points, &err), cases[i].message);
        assert_non_null(strstr(err.message, "points/0001.json"));
    }
}

static void test_point__unknown_keys_are_ignored_and_large_files_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_OPEN(set, NP_SET_CREATE);
    add_point(set, "");
    NP_CLEANUP(np_points_clear) struct np_points points = {0};
    edit("points/0001.json", "{", "{ \"later\": {\"a\": [1.5, null]},");
    ok(np_set_points(set, &points, &err));
    assert_int_equal(points.count, 1);
    struct np_points none = {0};
    assert_int_equal(truncate(at("points/0001.json"), 16 << 20), 0);
    FAILS_WITH(NP_DAMAGED, np_set_points(set, &none, &err), "points/0001.json");
}

static void test_points__every_cut_of_a_record_is_damage(void **state)
{
    (void)state;
    NP_OPEN(set, NP_SET_CREATE);
    add_point(set, "");
    NP_AUTO_FREE char *good = read_text("points/0001.json");
    for (size_t size = strlen(good) - 2; size > 0; size -= size > 7 ? 7 : size) {
        struct np_error err = NP_ERROR_INIT;
        struct np_points points = {0};
        good[size] = '\0';
        write_text("points/0001.json", good);
        fails(NP_DAMAGED, np_set_points(set, &points, &err));
    }
}

static void test_points__are_sorted_by_number_and_foreign_names_left_out(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_OPEN(set, NP_SET_CREATE);
    commit_point(set, "10000", "", "");
    commit_point(set, "9999", "", "");
    commit_point(set, "0002", "", "");
    write_text("points/0003.json.bak", "x");
    write_text("points/00004.json", "x");
    write_text("points/README", "x");
    NP_CLEANUP(np_points_clear) struct np_points points = {0};
    ok(np_set_points(set, &points, &err));
    assert_int_equal(points.count, 3);
    assert_string_equal(points.list[0].id, "0002");
    assert_string_equal(points.list[1].id, "9999");
    assert_string_equal(points.list[2].id, "10000");
}

static void assert_finds(const struct np_points *points, const char *until, const char *id)
{
    struct np_error err = NP_ERROR_INIT;
    const struct np_point *point;
    ok(np_points_find(points, until, &point, &err));
    assert_string_equal(point->id, id);
}

static void test_points__find_by_id_checkpoint_and_latest(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    const struct np_point *point;
    NP_OPEN(set, NP_SET_CREATE);
    NP_CLEANUP(np_points_clear) struct np_points points = {0};
    FAILS_WITH(NP_FAILED, np_points_find(&points, NULL, &point, &err), "no restore point");
    commit_point(set, "0001", "", "nbdpull-a-0001-00000000");
    commit_point(set, "0003", "", "nbdpull-a-0003-00000000");
    for (int i = 5; i < 12; i++) {
        char id[NP_POINT_ID_MAX];
        snprintf(id, sizeof(id), "%04d", i);
        commit_point(set, id, "", "");
    }
    ok(np_set_points(set, &points, &err));
    assert_finds(&points, NULL, "0011");
    assert_finds(&points, "latest", "0011");
    assert_finds(&points, "0003", "0003");
    assert_finds(&points, "3", "0003");
    assert_finds(&points, "00003", "0003");
    assert_finds(&points, "nbdpull-a-0001-00000000", "0001");
    FAILS_WITH(NP_FAILED, np_points_find(&points, "4", &point, &err), "0011");
    assert_non_null(strstr(err.message, fixture.path));
    assert_non_null(strstr(err.message, "0007"));
    assert_null(strstr(err.message, "0006"));
    fails(NP_FAILED, np_points_find(&points, "", &point, &err)); /* not the points without a checkpoint */
    fails(NP_FAILED, np_points_find(&points, "0", &point, &err));
    fails(NP_FAILED, np_points_find(&points, "18446744073709551619", &point, &err));
}

static void test_points__path_of_a_disk_goes_to_its_root(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_OPEN(set, NP_SET_CREATE);
    add_point(set, "");
    add_point(set, "0001");
    add_point(set, "0001");
    add_point(set, "0002");
    NP_CLEANUP(np_points_clear) struct np_points points = {0};
    ok(np_set_points(set, &points, &err));
    NP_AUTO_FREE const struct np_point_disk **path = NULL;
    size_t count;
    ok(np_points_path(&points, &points.list[3], "vda", &path, &count, &err));
    assert_int_equal(count, 3);
    assert_string_equal(path[0]->file, "streams/0004.vda.nbp");
    assert_string_equal(path[1]->file, "streams/0002.vda.nbp");
    assert_string_equal(path[2]->file, "streams/0001.vda.nbp");
    const struct np_point_disk **none;
    FAILS_WITH(NP_FAILED, np_points_path(&points, &points.list[3], "vdb", &none, &count, &err), "vdb");
}

/* Trap 17: a stream and its record, copied under another id. */
static void test_points__same_stream_twice_is_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_OPEN(set, NP_SET_CREATE);
    add_point(set, "");
    NP_CLEANUP(np_points_clear) struct np_points points = {0};
    ok(np_set_points(set, &points, &err));

    struct np_point_disk copy = points.list[0].disks[0];
    struct np_point point = {
        .id = "0002", .level = "auto", .time = "2026-11-20T03:00:00Z", .disks = &copy, .disk_count = 1};
    snprintf(copy.file, sizeof(copy.file), "streams/0002.vda.nbp");
    ok(np_uuid_random(&point.uuid, &err));
    write_stream(set, "0002", "vda", "vda!");
    ok(np_set_commit(set, &point, &err));
    struct np_points none;
    FAILS_WITH(NP_DAMAGED, np_set_points(set, &none, &err), "streams/0002.vda.nbp");
}

static void test_points__path_with_a_missing_parent_is_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_OPEN(set, NP_SET_CREATE);
    add_point(set, "");
    add_point(set, "0001");
    assert_int_equal(unlink(at("points/0001.json")), 0);
    NP_CLEANUP(np_points_clear) struct np_points points = {0};
    ok(np_set_points(set, &points, &err));
    const struct np_point_disk **path;
    size_t count;
    FAILS_WITH(NP_DAMAGED, np_points_path(&points, &points.list[0], "vda", &path, &count, &err), "0001");
    assert_string_equal(err.disk, "vda");
}

/* A record that can be read after a byte of it has changed says what it said before. */
static void test_set_points__a_byte_that_changed_is_seen(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_OPEN(set, NP_SET_CREATE);
    add_point(set, "");
    char *text = read_text("points/0001.json");
    size_t size = strlen(text), seen = 0;
    for (size_t i = 0; i < size; i++) {
        NP_CLEANUP(np_points_clear) struct np_points points = {0};
        text[i] ^= (char)(1 << i % 5); /* to no NUL */
        write_text("points/0001.json", text);
        text[i] ^= (char)(1 << i % 5);
        err = (struct np_error)NP_ERROR_INIT;
        if (np_set_points(set, &points, &err) < 0) {
            assert_int_equal(err.class, NP_DAMAGED);
            seen++;
            continue;
        }
        bool same;
        struct np_points good = {0};
        write_text("points/0001.json", text);
        ok(np_set_points(set, &good, &err));
        ok(np_point_same(&points.list[0], &good.list[0], &same, &err));
        np_points_clear(&good);
        assert_true(same);
    }
    assert_true(seen > size - 100);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_set_points__a_byte_that_changed_is_seen),
        TEST(test_point__comes_back_as_committed),
        TEST(test_point__images_below_may_be_unknown),
        TEST(test_point__same_id_is_never_committed_twice),
        TEST(test_point__is_not_committed_without_what_it_needs),
        TEST(test_point__is_not_committed_without_its_parent),
        TEST(test_point__is_not_committed_without_its_parents_stream),
        TEST(test_point__is_not_committed_without_its_own_stream),
        TEST(test_point__what_could_not_be_read_is_not_committed),
        TEST(test_point__damaged_records_are_named_by_file_and_key),
        TEST(test_point__unknown_keys_are_ignored_and_large_files_refused),
        TEST(test_points__every_cut_of_a_record_is_damage),
        TEST(test_points__are_sorted_by_number_and_foreign_names_left_out),
        TEST(test_points__find_by_id_checkpoint_and_latest),
        TEST(test_points__path_of_a_disk_goes_to_its_root),
        TEST(test_points__same_stream_twice_is_damage),
        TEST(test_points__path_with_a_missing_parent_is_damage),
    };
    return cmocka_run_group_tests_name("set_points", tests, NULL, NULL);
}
