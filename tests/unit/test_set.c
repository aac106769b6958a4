#include "set_fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- open and create ---- */

static void test_set__create_makes_a_set_that_opens_again(void **state)
{
    (void)state;
    char short_id[16], uuid[NP_UUID_TEXT_SIZE];
    struct np_uuid first;
    {
        NP_OPEN(set, NP_SET_CREATE);
        first = *np_set_uuid(set);
        snprintf(short_id, sizeof(short_id), "%s", np_set_short_id(set));
        assert_string_equal(np_set_path(set), fixture.path);
        assert_string_equal(np_set_domain_name(set), "");
        assert_false(np_set_moved(set));
    }
    np_uuid_format(&first, uuid);
    assert_int_equal(strlen(short_id), 12);
    assert_memory_equal(short_id, uuid, 8);
    NP_OPEN(again, NP_SET_CREATE);
    assert_true(np_uuid_equal(np_set_uuid(again), &first));
    assert_string_equal(np_set_short_id(again), short_id);
    assert_true(exists("points") && exists("streams") && exists("config") && exists("lock"));
    assert_false(exists("intent.json"));
}

static void test_set__create_takes_an_empty_directory_and_one_half_made(void **state)
{
    (void)state;
    assert_int_equal(mkdir(fixture.path, 0755), 0);
    assert_int_equal(mkdir(at("lost+found"), 0700), 0);
    assert_int_equal(mkdir(at("points"), 0700), 0);
    write_text("lock", "");
    write_text(".set.json.0123abcd.tmp", "{");
    NP_OPEN(set, NP_SET_CREATE);
    assert_true(exists("set.json"));
}

static void test_set__create_refuses_what_is_not_empty(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *set;
    assert_int_equal(mkdir(fixture.path, 0755), 0);
    write_text("photo.jpg", "x");
    FAILS_WITH(NP_FAILED, np_set_open(fixture.path, NP_SET_CREATE, "", &set, &err), "not empty");
    FAILS_WITH(NP_FAILED, np_set_open(fixture.path, NP_SET_CREATE, "", &set, &err), "photo.jpg");
    assert_false(exists("lock"));
}

static void test_set__create_that_fails_leaves_nothing(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *set;
    struct rlimit was, none;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = was.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    int made = np_set_open(fixture.path, NP_SET_CREATE, "", &set, &err);
    int there = access(fixture.path, F_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(made, -1);
    assert_non_null(strstr(err.message, "set.json"));
    assert_int_equal(there, -1);
}

static void test_set__create_refuses_a_set_that_lost_set_json(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *set;
    {
        NP_OPEN(made, NP_SET_CREATE);
        add_point(made, "");
    }
    assert_int_equal(unlink(at("set.json")), 0);
    FAILS_WITH(NP_DAMAGED, np_set_open(fixture.path, NP_SET_CREATE, "", &set, &err), "points/0001.json");
    FAILS_WITH(NP_FAILED, np_set_open(fixture.path, NP_SET_WRITE, "", &set, &err), "not a backup set");
}

/* All but repair itself, whether set.json is lost or no good. */
static void says(const char *text, bool lost)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_set *set;
    bool found;
    enum np_class reading = lost ? NP_FAILED : NP_DAMAGED;
    FAILS_WITH(reading, np_set_open(fixture.path, NP_SET_READ, "", &set, &err), text);
    FAILS_WITH(reading, np_set_open(fixture.path, NP_SET_WRITE, "", &set, &err), text);
    FAILS_WITH(NP_DAMAGED, np_set_open(fixture.path, NP_SET_CREATE, "", &set, &err), text);
    if (lost)
        FAILS_WITH(NP_DAMAGED, np_set_look(fixture.path, &found, &err), text);
}

static void test_set__without_a_good_set_json_says_how_to_get_one(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *set;
    char repair[128];
    snprintf(repair, sizeof(repair), "\"nbdpull repair -i %s\"", fixture.path);
    {
        NP_OPEN(made, NP_SET_CREATE);
        add_point(made, "");
    }
    NP_AUTO_FREE char *text = read_text("set.json");
    assert_int_equal(unlink(at("set.json")), 0);
    says(repair, true);
    write_text("set.json", "[");
    says(repair, false);
    write_text("set.json", "{\"format\": \"photo\"}");
    says(repair, false);

    assert_int_equal(unlink(at("streams/0001.vda.nbp")), 0);
    says("a copy of it back", false);
    assert_int_equal(unlink(at("set.json")), 0);
    says("a copy of it back", true);

    /* What holds nothing of a set never was one. */
    assert_int_equal(unlink(at("points/0001.json")), 0);
    FAILS_WITH(NP_FAILED, np_set_open(fixture.path, NP_SET_READ, "", &set, &err), "it has no set.json");
    assert_null(strstr(err.message, "repair"));
    assert_null(strstr(err.message, "copy of it"));
    write_text("set.json", text);
    np_set_close(open_set(NP_SET_READ));
}

static void test_set__missing_parent_and_missing_set_are_named(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *set;
    FAILS_WITH(NP_FAILED, np_set_open(at("inner"), NP_SET_CREATE, "", &set, &err), fixture.path);
    FAILS_WITH(NP_FAILED, np_set_open(fixture.path, NP_SET_READ, "", &set, &err), "No such file");
    FAILS_WITH(NP_FAILED, np_set_open(fixture.path, NP_SET_WRITE, "", &set, &err), "No such file");
}

static void test_set__newer_version_is_refused_with_both_versions(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *set;
    np_set_close(open_set(NP_SET_CREATE));
    edit("set.json", "\"version\": 1", "\"version\": 23");
    FAILS_WITH(NP_FAILED, np_set_open(fixture.path, NP_SET_READ, "", &set, &err), "version 23");
    FAILS_WITH(NP_FAILED, np_set_open(fixture.path, NP_SET_READ, "", &set, &err), "up to 1");
}

static void test_set__broken_set_json_is_named(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *set;
    np_set_close(open_set(NP_SET_CREATE));
    edit("set.json", "\"next\": 1", "\"next\": -1");
    FAILS_WITH(NP_DAMAGED, np_set_open(fixture.path, NP_SET_READ, "", &set, &err), "set.json: key next");
    edit("set.json", "\"next\": -1", "\"later\": -1");
    FAILS_WITH(NP_DAMAGED, np_set_open(fixture.path, NP_SET_READ, "", &set, &err), "next is missing");
    write_text("set.json", "{} {}");
    FAILS_WITH(NP_DAMAGED, np_set_open(fixture.path, NP_SET_READ, "", &set, &err), "set.json");
    write_text("set.json", "");
    FAILS_WITH(NP_DAMAGED, np_set_open(fixture.path, NP_SET_READ, "", &set, &err), "set.json");
}

static int in_child(int (*run)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(run());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static int open_as_nobody(void)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_set *set;
    if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
        return 77;
    if (np_set_open(fixture.path, NP_SET_WRITE, "", &set, &err) == 0 || err.class != NP_FAILED ||
        strstr(err.message, "cannot be written") == NULL)
        return 1;
    return np_set_open(fixture.path, NP_SET_READ, "", &set, &err) == 0 ? 0 : 2;
}

static void test_set__not_writable_is_said_and_reading_works(void **state)
{
    (void)state;
    np_set_close(open_set(NP_SET_CREATE));
    assert_int_equal(unlink(at("lock")), 0);
    assert_int_equal(chmod(at("set.json"), 0644), 0);
    assert_int_equal(chmod(fixture.path, 0555), 0);
    assert_int_equal(chmod(fixture.top, 0755), 0);
    assert_int_equal(in_child(open_as_nobody), 0);
    assert_int_equal(chmod(fixture.path, 0700), 0);
}

static void test_set__modes_do_not_depend_on_the_umask(void **state)
{
    (void)state;
    static const char *const files[] = {"set.json",    "lock",          "points/0001.json",
                                        "intent.json", "config/0001/a", "streams/0001.vda.nbp"};
    static const char *const dirs[] = {"", "points", "streams", "config", "config/0001"};
    struct np_error err = NP_ERROR_INIT;
    struct stat st;
    static const mode_t masks[] = {0, 0277};
    for (size_t m = 0; m < 2; m++) {
        mode_t old = umask(masks[m]);
        {
            NP_OPEN(set, NP_SET_CREATE);
            struct np_intent intent = {.point_id = "0001"};
            add_point(set, "");
            ok(np_set_config_write(set, "0001", "a", "b", 1, &err));
            ok(np_set_intent_write(set, &intent, &err));
        }
        umask(old);
        for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
            assert_int_equal(lstat(at(files[i]), &st), 0);
            assert_int_equal(st.st_mode, S_IFREG | 0600);
        }
        for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
            assert_int_equal(lstat(at(dirs[i]), &st), 0);
            assert_int_equal(st.st_mode, S_IFDIR | 0700);
        }
        ok(np_dir_remove(AT_FDCWD, fixture.path, fixture.path, &err));
    }
}

/* ---- bind, move ---- */

static void test_set__bind_once_and_refuse_another_domain(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_uuid mine, other;
    ok(np_uuid_random(&mine, &err));
    ok(np_uuid_random(&other, &err));
    {
        NP_OPEN(set, NP_SET_CREATE);
        ok(np_set_bind(set, "mail", &mine, &err));
    }
    NP_OPEN(set, NP_SET_WRITE);
    assert_string_equal(np_set_domain_name(set), "mail");
    assert_true(np_uuid_equal(np_set_domain(set), &mine));
    FAILS_WITH(NP_FAILED, np_set_bind(set, "web", &other, &err), "mail");
    assert_non_null(strstr(err.message, "web"));
    ok(np_set_bind(set, "post", &mine, &err)); /* it was renamed */
    assert_string_equal(np_set_domain_name(set), "post");
}

static void test_set__moved_set_takes_another_short_id(void **state)
{
    (void)state;
    char before[16], after[16];
    {
        NP_OPEN(set, NP_SET_CREATE);
        snprintf(before, sizeof(before), "%s", np_set_short_id(set));
    }
    NP_AUTO_FREE char *text = read_text("set.json");
    char *ino = strstr(text, "\"ino\": \"");
    assert_non_null(ino);
    *strchr(ino + 8, '"') = '\0';
    edit("set.json", ino, "\"ino\": \"1");
    {
        NP_OPEN(reader, NP_SET_READ);
        assert_true(np_set_moved(reader));
        assert_string_equal(np_set_short_id(reader), before);
    }
    {
        NP_OPEN(set, NP_SET_WRITE);
        assert_true(np_set_moved(set));
        snprintf(after, sizeof(after), "%s", np_set_short_id(set));
    }
    assert_string_not_equal(before, after);
    assert_non_null(strstr(fixture.log, "copied or moved"));
    NP_OPEN(set, NP_SET_WRITE);
    assert_false(np_set_moved(set));
    assert_string_equal(np_set_short_id(set), after);
}

/* The number behind a key of set.json's home is another one. */
static void change_home(const char *key, const char *number)
{
    NP_AUTO_FREE char *text = read_text("set.json");
    char from[64], to[64];
    snprintf(from, sizeof(from), "\"%s\": \"", key);
    snprintf(to, sizeof(to), "\"%s\": \"%s", key, number);
    char *place = strstr(text, from);
    assert_non_null(place);
    *strchr(place + strlen(from), '"') = '\0';
    edit("set.json", place, to);
}

/* As a set of an earlier version: set.json without a key of home. */
static void drop_from_home(const char *key)
{
    NP_AUTO_FREE char *text = read_text("set.json");
    char from[64];
    snprintf(from, sizeof(from), ",\n    \"%s\"", key);
    char *place = strstr(text, from);
    if (place == NULL)
        return; /* the file system tells none */
    place[strlen(from) + strcspn(place + strlen(from), ",\n}")] = '\0';
    edit("set.json", place, "");
}

static void test_set__device_with_another_number_is_no_move(void **state)
{
    (void)state;
    {
        NP_OPEN(set, NP_SET_CREATE);
    }
    NP_AUTO_FREE char *made = read_text("set.json");
    assert_true(strstr(made, "\"fs\"") != NULL || strstr(made, "\"born\"") != NULL);
    change_home("dev", "1");
    NP_OPEN(set, NP_SET_WRITE);
    assert_false(np_set_moved(set));
}

static void test_set__directory_made_at_another_time_is_a_copy(void **state)
{
    (void)state;
    {
        NP_OPEN(set, NP_SET_CREATE);
    }
    NP_AUTO_FREE char *made = read_text("set.json");
    if (strstr(made, "\"born\"") == NULL)
        skip(); /* a file system that does not tell it */
    change_home("born", "1000000000");
    NP_OPEN(set, NP_SET_WRITE);
    assert_true(np_set_moved(set));
}

static void test_set__home_of_an_earlier_version_is_known_and_made_more_exact(void **state)
{
    (void)state;
    char before[16];
    {
        NP_OPEN(set, NP_SET_CREATE);
        snprintf(before, sizeof(before), "%s", np_set_short_id(set));
    }
    NP_AUTO_FREE char *made = read_text("set.json");
    drop_from_home("born");
    drop_from_home("fs");
    {
        NP_OPEN(reader, NP_SET_READ);
        assert_false(np_set_moved(reader));
    }
    {
        NP_OPEN(set, NP_SET_WRITE);
        assert_false(np_set_moved(set));
        assert_string_equal(np_set_short_id(set), before);
    }
    NP_AUTO_FREE char *now = read_text("set.json");
    assert_string_equal(now, made);
    drop_from_home("born");
    drop_from_home("fs");
    change_home("dev", "1");
    NP_OPEN(set, NP_SET_WRITE);
    assert_true(np_set_moved(set));
}

/* ---- ids ---- */

static void assert_next_id(struct np_set *set, const char *wanted)
{
    struct np_error err = NP_ERROR_INIT;
    char id[NP_POINT_ID_MAX];
    ok(np_set_next_id(set, id, &err));
    assert_string_equal(id, wanted);
}

static void test_set__ids_are_never_used_again(void **state)
{
    (void)state;
    bool has;
    struct np_error err = NP_ERROR_INIT;
    {
        NP_OPEN(set, NP_SET_CREATE);
        assert_next_id(set, "0001");
        commit_point(set, "0001", "", "");
        assert_next_id(set, "0002");
        write_stream(set, "0002", "vda", "half");
        ok(np_set_has_point_files(set, "0002", &has, &err));
        assert_true(has);
        ok(np_set_remove_point_files(set, "0002", &err));
        ok(np_set_has_point_files(set, "0002", &has, &err));
        assert_false(has);
    }
    {
        NP_OPEN(set, NP_SET_WRITE); /* after a failed run whose files are gone */
        assert_next_id(set, "0003");
        commit_point(set, "0003", "", "");
        assert_int_equal(unlink(at("points/0003.json")), 0);
        assert_int_equal(unlink(at("streams/0003.vda.nbp")), 0);
        assert_next_id(set, "0004"); /* after a removal */
    }
    NP_OPEN(set, NP_SET_WRITE);
    write_text("streams/0020.vdb.nbp", "");
    assert_next_id(set, "0021"); /* after set.json came from an older copy */
    write_text("points/0030.json", "");
    assert_next_id(set, "0031");
    assert_int_equal(mkdir(at("config/0040"), 0700), 0);
    assert_next_id(set, "0041");
}

static void test_set__ids_end_instead_of_wrapping(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    char id[NP_POINT_ID_MAX];
    NP_OPEN(set, NP_SET_CREATE);
    write_text("streams/999999998.vda.nbp", "");
    assert_next_id(set, "999999999");
    FAILS_WITH(NP_FAILED, np_set_next_id(set, id, &err), "no id is left");
}

/* ---- debris ---- */

static void test_set__debris_goes_and_everything_else_stays(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_OPEN(set, NP_SET_CREATE);
    add_point(set, "");
    ok(np_set_config_write(set, "0001", "domain.xml", "<a/>", 4, &err));
    write_stream(set, "0002", "vda", "half");
    write_stream(set, "0002", "vdb", "half");
    ok(np_set_config_write(set, "0002", "domain.xml", "<a/>", 4, &err));
    write_text(".set.json.0123abcd.tmp", "");
    write_text("points/.0002.json.0123abcd.tmp", "");
    write_text("config/0001/.domain.xml.0123abcd.tmp", "");
    write_text("streams/notes", "");
    write_text("streams/0002.vda.nbp~", "");
    write_text("streams/0002", "");
    write_text("README", "");
    ok(np_set_remove_debris(set, &err));

    assert_false(exists("streams/0002.vda.nbp") || exists("streams/0002.vdb.nbp") || exists("config/0002"));
    assert_false(exists(".set.json.0123abcd.tmp") || exists("points/.0002.json.0123abcd.tmp"));
    assert_false(exists("config/0001/.domain.xml.0123abcd.tmp"));
    assert_true(exists("points/0001.json") && exists("streams/0001.vda.nbp"));
    assert_true(exists("config/0001/domain.xml") && exists("streams/notes") && exists("README"));
    assert_true(exists("streams/0002.vda.nbp~") && exists("streams/0002"));
    assert_non_null(strstr(fixture.log, "removed "));
    assert_non_null(strstr(fixture.log, "/streams/0002.vdb.nbp, which belongs"));
    fixture.log[0] = '\0';
    ok(np_set_remove_debris(set, &err));
    assert_string_equal(fixture.log, "");
}

/* Another set's streams/ may stand where ours was. */
static void test_set__streams_of_another_set_are_no_debris(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE char *bytes = NULL;
    size_t size;
    bool has;
    NP_OPEN(set, NP_SET_CREATE);
    add_point(set, "");
    const char *path = TEST_SOURCE_DIR "/golden/full.nbp";
    ok(np_file_read_whole(AT_FDCWD, path, path, 1 << 20, &bytes, &size, &err));
    FILE *file = fopen(at("streams/0002.vda.nbp"), "we");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size - 16, file), size - 16); /* one without an end tells, too */
    assert_int_equal(fclose(file), 0);
    write_text("streams/0002.vdb.nbp", "half");
    write_text("streams/0003.vdb.nbp", "half");
    ok(np_set_config_write(set, "0002", "domain.xml", "<a/>", 4, &err));
    ok(np_set_has_point_files(set, "0002", &has, &err));
    assert_false(has);
    ok(np_set_remove_point_files(set, "0002", &err));
    ok(np_set_remove_debris(set, &err));
    assert_true(exists("streams/0002.vda.nbp") && exists("streams/0002.vdb.nbp") && exists("config/0002"));
    assert_false(exists("streams/0003.vdb.nbp"));
    assert_non_null(strstr(fixture.log, "streams/0002.vda.nbp is of another backup set"));

    /* The run after gives its point a higher id, and then no record of 0002 was lost. */
    add_point(set, "");
    ok(np_set_remove_debris(set, &err));
    assert_null(strstr(fixture.log, "streams/0002.vda.nbp: the record"));
    assert_true(exists("streams/0002.vda.nbp"));
}

static void test_set__stream_whose_record_was_lost_is_no_debris(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    {
        NP_OPEN(set, NP_SET_CREATE);
        add_point(set, "");
        add_point(set, "0001");
    }
    assert_int_equal(unlink(at("points/0001.json")), 0);
    assert_int_equal(unlink(at("points/0002.json")), 0);
    NP_OPEN(set, NP_SET_WRITE);
    ok(np_set_remove_debris(set, &err));
    assert_true(exists("streams/0001.vda.nbp") && exists("streams/0002.vda.nbp"));
    assert_non_null(strstr(fixture.log, "the record of point 0002 is lost"));
}

static void test_set__damaged_record_protects_its_streams(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_OPEN(set, NP_SET_CREATE);
    write_stream(set, "0007", "vda", "data");
    write_text("points/0007.json", "damaged");
    ok(np_set_remove_debris(set, &err));
    assert_true(exists("streams/0007.vda.nbp"));
    fails(NP_FAILED, np_set_remove_point_files(set, "0007", &err));
    assert_true(exists("streams/0007.vda.nbp"));
}

/* ---- config, intent ---- */

static void test_config__comes_back_and_is_replaced(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_OPEN(set, NP_SET_CREATE);
    char *bytes;
    size_t size;
    ok(np_set_config_read(set, "0001", "domain.xml", &bytes, &size, &err));
    assert_null(bytes);
    ok(np_set_config_write(set, "0001", "domain.xml", "old", 3, &err));
    ok(np_set_config_write(set, "0001", "domain.xml", "a\0b", 4, &err));
    ok(np_set_config_read(set, "0001", "domain.xml", &bytes, &size, &err));
    assert_int_equal(size, 4);
    assert_memory_equal(bytes, "a\0b", 4);
    free(bytes);
}

static void test_intent__comes_back_until_it_is_cleared(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    bool found = true;
    struct np_intent read;
    struct np_intent intent = {.point_id = "0002",
                               .checkpoint = "nbdpull-a-0002-0123abcd",
                               .home = "0123456789ab",
                               .uri = "qemu:///system",
                               .socket = "/run/x/sock",
                               .work_dir = "/run/x",
                               .started = "2026-11-20T03:00:00Z",
                               .guest_ran = true,
                               .freeze = true};
    ok(np_uuid_random(&intent.domain, &err));
    {
        NP_OPEN(set, NP_SET_CREATE);
        ok(np_set_intent_read(set, &read, &found, &err));
        assert_false(found);
        ok(np_set_intent_write(set, &intent, &err));
    }
    NP_OPEN(set, NP_SET_WRITE);
    ok(np_set_intent_read(set, &read, &found, &err));
    assert_true(found);
    assert_string_equal(read.point_id, intent.point_id);
    assert_string_equal(read.checkpoint, intent.checkpoint);
    assert_true(read.guest_ran);
    assert_string_equal(read.home, intent.home);
    assert_string_equal(read.uri, intent.uri);
    assert_string_equal(read.socket, intent.socket);
    assert_string_equal(read.work_dir, intent.work_dir);
    assert_string_equal(read.started, intent.started);
    assert_true(read.freeze);
    assert_true(np_uuid_equal(&read.domain, &intent.domain));
    edit("intent.json", "\"freeze\"", "\"f_____\"");
    edit("intent.json", "\"guest_ran\"", "\"g________\"");
    ok(np_set_intent_read(set, &read, &found, &err)); /* the first versions did not write these */
    assert_false(read.freeze || read.guest_ran);
    edit("intent.json", "\"0002\"", "\"../2\"");
    FAILS_WITH(NP_DAMAGED, np_set_intent_read(set, &read, &found, &err), "intent.json: key point");
    ok(np_set_intent_clear(set, &err));
    ok(np_set_intent_clear(set, &err));
    ok(np_set_intent_read(set, &read, &found, &err));
    assert_false(found);
}

static void test_deferred__names_come_back_until_the_list_is_empty(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_CLEANUP(np_names_clear) struct np_names names = {0}, read = {0};
    ok(np_names_add(&names, "nbdpull-a-0001-01234567", &err));
    ok(np_names_add(&names, "nbdpull-a-0002-89abcdef", &err));
    {
        NP_OPEN(set, NP_SET_CREATE);
        ok(np_set_deferred_read(set, &read, &err));
        assert_int_equal(read.count, 0);
        ok(np_set_deferred_write(set, &names, &err));
    }
    NP_OPEN(set, NP_SET_WRITE);
    ok(np_set_deferred_read(set, &read, &err));
    assert_int_equal(read.count, 2);
    assert_string_equal(read.list[1], names.list[1]);
    np_names_clear(&names);
    ok(np_set_deferred_write(set, &names, &err));
    assert_false(exists("deferred.json"));
    ok(np_set_deferred_write(set, &names, &err));
}

/* ---- file systems that refuse ---- */

/* A small file system below the fixture, in the test's own view of mounts. */
static bool mount_small(const char *options)
{
    assert_int_equal(mkdir(fixture.path, 0700), 0);
    if (mount("none", fixture.path, "tmpfs", 0, options) == 0)
        return true;
    print_message("cannot mount a tmpfs here: %s\n", strerror(errno));
    return false;
}

static void test_set__full_disk_fails_with_the_path_and_leaves_a_sound_set(void **state)
{
    (void)state;
    if (!mount_small("size=1m"))
        skip();
    struct np_error err = NP_ERROR_INIT;
    {
        NP_OPEN(set, NP_SET_CREATE);
        add_point(set, "");
        struct np_stream_file *file;
        struct np_sink sink;
        static uint8_t bytes[100000];
        ok(np_set_stream_create(set, "0002", "vda", &file, &err));
        np_stream_file_sink(file, &sink);
        int status = 0;
        for (int i = 0; i < 100 && status == 0; i++) {
            struct iovec piece = {.iov_base = bytes, .iov_len = i % 2 == 0 ? sizeof(bytes) : 100};
            status = sink.append(sink.ctx, &piece, 1, &err);
        }
        assert_int_equal(status, -1);
        assert_int_equal(err.class, NP_FAILED);
        assert_non_null(strstr(err.message, at("streams/0002.vda.nbp")));
        assert_non_null(strstr(err.message, "No space left"));
        fails(NP_FAILED, np_stream_file_sync(file, &err));
        np_stream_file_close(file);

        struct np_point_disk disk = stored_disk("0002", "vda", "0001");
        struct np_point point = {.id = "0002", .level = "inc", .time = "x", .disks = &disk, .disk_count = 1};
        FAILS_WITH(NP_FAILED, np_set_commit(set, &point, &err), "No space left");
        ok(np_set_remove_point_files(set, "0002", &err));
        ok(np_set_remove_debris(set, &err));
        add_point(set, "0001");
        NP_CLEANUP(np_points_clear) struct np_points points = {0};
        ok(np_set_points(set, &points, &err));
        assert_int_equal(points.count, 2);
    }
    assert_int_equal(umount(fixture.path), 0);
}

static void test_set__locks_on_a_full_disk(void **state)
{
    (void)state;
    if (!mount_small("size=64k"))
        skip();
    struct np_error err = NP_ERROR_INIT;
    {
        NP_OPEN(set, NP_SET_CREATE);
        struct np_stream_file *file;
        struct np_sink sink;
        static uint8_t bytes[65536];
        struct iovec piece = {.iov_base = bytes, .iov_len = sizeof(bytes)};
        ok(np_set_stream_create(set, "0001", "vda", &file, &err));
        np_stream_file_sink(file, &sink);
        fails(NP_FAILED, sink.append(sink.ctx, &piece, 1, &err));
        np_stream_file_close(file);
    }
    {
        NP_OPEN(set, NP_SET_WRITE);
        ok(np_set_remove_debris(set, &err));
        assert_false(exists("streams/0001.vda.nbp"));
    }
    assert_int_equal(umount(fixture.path), 0);
}

static void test_set__reads_on_a_read_only_file_system(void **state)
{
    (void)state;
    if (!mount_small("size=1m"))
        skip();
    struct np_error err = NP_ERROR_INIT;
    {
        NP_OPEN(set, NP_SET_CREATE);
        add_point(set, "");
    }
    assert_int_equal(mount(NULL, fixture.path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    {
        NP_OPEN(set, NP_SET_READ);
        NP_CLEANUP(np_points_clear) struct np_points points = {0};
        ok(np_set_points(set, &points, &err));
        assert_int_equal(points.count, 1);
        struct np_set *second;
        FAILS_WITH(NP_FAILED, np_set_open(fixture.path, NP_SET_WRITE, "", &second, &err),
                   "cannot be written");
    }
    assert_int_equal(mount(NULL, fixture.path, NULL, MS_REMOUNT, NULL), 0);
    assert_int_equal(unlink(at("set.json")), 0);
    assert_int_equal(mount(NULL, fixture.path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    says("\"nbdpull repair -i COPY\"", true);
    assert_int_equal(umount(fixture.path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_set__create_makes_a_set_that_opens_again),
        TEST(test_set__create_takes_an_empty_directory_and_one_half_made),
        TEST(test_set__create_refuses_what_is_not_empty),
        TEST(test_set__create_that_fails_leaves_nothing),
        TEST(test_set__create_refuses_a_set_that_lost_set_json),
        TEST(test_set__without_a_good_set_json_says_how_to_get_one),
        TEST(test_set__missing_parent_and_missing_set_are_named),
        TEST(test_set__newer_version_is_refused_with_both_versions),
        TEST(test_set__broken_set_json_is_named),
        TEST(test_set__not_writable_is_said_and_reading_works),
        TEST(test_set__modes_do_not_depend_on_the_umask),
        TEST(test_set__bind_once_and_refuse_another_domain),
        TEST(test_set__moved_set_takes_another_short_id),
        TEST(test_set__device_with_another_number_is_no_move),
        TEST(test_set__directory_made_at_another_time_is_a_copy),
        TEST(test_set__home_of_an_earlier_version_is_known_and_made_more_exact),
        TEST(test_set__ids_are_never_used_again),
        TEST(test_set__ids_end_instead_of_wrapping),
        TEST(test_set__debris_goes_and_everything_else_stays),
        TEST(test_set__streams_of_another_set_are_no_debris),
        TEST(test_set__stream_whose_record_was_lost_is_no_debris),
        TEST(test_set__damaged_record_protects_its_streams),
        TEST(test_config__comes_back_and_is_replaced),
        TEST(test_intent__comes_back_until_it_is_cleared),
        TEST(test_deferred__names_come_back_until_the_list_is_empty),
        TEST(test_set__full_disk_fails_with_the_path_and_leaves_a_sound_set),
        TEST(test_set__locks_on_a_full_disk),
        TEST(test_set__reads_on_a_read_only_file_system),
    };
    return cmocka_run_group_tests_name("set", tests, NULL, NULL);
}
