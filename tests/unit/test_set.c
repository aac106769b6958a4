#include "test.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/log.h"
#include "nbdpull/set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- a directory for each test, what was logged, and points to commit ---- */

struct fixture {
    char top[64];
    char path[96]; /* top/set, not there yet */
    char log[8192];
};

static struct fixture fixture;

static void keep_line(void *ctx, enum np_log_level level, const char *line)
{
    (void)level;
    struct fixture *f = ctx;
    size_t used = strlen(f->log);
    snprintf(f->log + used, sizeof(f->log) - used, "%s\n", line);
}

static int setup(void **state)
{
    (void)state;
    fixture = (struct fixture){.top = "/tmp/test_set.XXXXXX"};
    if (mkdtemp(fixture.top) == NULL)
        return -1;
    snprintf(fixture.path, sizeof(fixture.path), "%s/set", fixture.top);
    np_log_to(keep_line, &fixture);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    np_log_to(NULL, NULL);
    umount2(fixture.path, MNT_DETACH); /* of a test that failed; else there is none */
    return np_dir_remove(AT_FDCWD, fixture.top, fixture.top, &err);
}

static const char *at(const char *name)
{
    static char path[4][256];
    static unsigned turn;
    char *to = path[turn++ % 4];
    snprintf(to, sizeof(path[0]), "%s/%s", fixture.path, name);
    return to;
}

static bool exists(const char *name)
{
    struct stat st;
    return lstat(at(name), &st) == 0;
}

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(at(name), "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static char *read_text(const char *name)
{
    struct np_error err = NP_ERROR_INIT;
    char *text;
    size_t size;
    ok(np_file_read_whole(AT_FDCWD, name, at(name), 1 << 20, &text, &size, &err));
    return text;
}

/* Replace the one place where `from` stands in a file. */
static void edit(const char *name, const char *from, const char *to)
{
    NP_AUTO_FREE char *text = read_text(name);
    char *place = strstr(text, from);
    assert_non_null(place);
    NP_AUTO_FREE char *changed = NULL;
    assert_true(asprintf(&changed, "%.*s%s%s", (int)(place - text), text, to, place + strlen(from)) > 0);
    write_text(name, changed);
}

static struct np_set *open_set(enum np_set_mode mode)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_set *set = NULL;
    ok(np_set_open(fixture.path, mode, "backup vm1", &set, &err));
    return set;
}

static void close_set(struct np_set **set)
{
    np_set_close(*set);
}

#define NP_OPEN(name, mode) NP_CLEANUP(close_set) struct np_set *name = open_set(mode)

static void write_stream(struct np_set *set, const char *id, const char *target, const char *text)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_stream_file *file;
    struct np_sink sink;
    ok(np_set_stream_create(set, id, target, &file, &err));
    np_stream_file_sink(file, &sink);
    struct iovec pieces[] = {{.iov_base = (char *)(uintptr_t)text, .iov_len = strlen(text)}};
    ok(sink.append(sink.ctx, pieces, 1, &err));
    ok(np_stream_file_sync(file, &err));
    np_stream_file_close(file);
}

static struct np_point_disk stored_disk(const char *id, const char *target, const char *parent)
{
    struct np_point_disk disk = {.stored = true,
                                 .why = "first point of the set",
                                 .virtual_size = UINT64_C(1) << 40,
                                 .stream_size = 4,
                                 .data_bytes = 65536,
                                 .zero_bytes = 1,
                                 .stored_bytes = 4,
                                 .codec = "zstd:3",
                                 .digest_known = true,
                                 .digest = {.low = UINT64_C(0x8000000000000001), .high = 7},
                                 .checkpoint = "nbdpull-x",
                                 .image = "/images/\"a\"\n/vda.qcow2",
                                 .image_dev = 64769,
                                 .image_ino = UINT64_MAX};
    struct np_error err = NP_ERROR_INIT;
    snprintf(disk.target, sizeof(disk.target), "%s", target);
    snprintf(disk.parent, sizeof(disk.parent), "%s", parent);
    snprintf(disk.level, sizeof(disk.level), "%s", parent[0] == '\0' ? "full" : "inc");
    snprintf(disk.how, sizeof(disk.how), "%s", parent[0] == '\0' ? "all" : "bitmap");
    snprintf(disk.file, sizeof(disk.file), "streams/%s.%s.nbp", id, target);
    ok(np_uuid_random(&disk.stream_uuid, &err));
    ok(np_uuid_random(&disk.state, &err));
    return disk;
}

/* A point of disk vda with a stream of 4 bytes, committed. */
static void commit_point(struct np_set *set, const char *id, const char *parent, const char *checkpoint)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_point_disk disk = stored_disk(id, "vda", parent);
    struct np_point point = {
        .level = "auto", .time = "2026-11-20T03:00:00Z", .disks = &disk, .disk_count = 1};
    snprintf(point.id, sizeof(point.id), "%s", id);
    snprintf(point.checkpoint, sizeof(point.checkpoint), "%s", checkpoint);
    ok(np_uuid_random(&point.uuid, &err));
    write_stream(set, id, "vda", "vda!");
    ok(np_set_commit(set, &point, &err));
}

/* One more point, as a backup makes it. */
static void add_point(struct np_set *set, const char *parent)
{
    struct np_error err = NP_ERROR_INIT;
    char id[NP_POINT_ID_MAX];
    ok(np_set_next_id(set, id, &err));
    commit_point(set, id, parent, "");
}

#define FAILS_WITH(class, call, text)                                                                        \
    do {                                                                                                     \
        fails(class, call);                                                                                  \
        if (strstr(err.message, text) == NULL)                                                               \
            fail_msg("%s: message is \"%s\"", text, err.message);                                            \
    } while (0)

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

/* ---- lock ---- */

/* A child that holds the set's lock until its end of the pipe is closed. */
static pid_t start_holder(int hold[2])
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(hold), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct np_error err = NP_ERROR_INIT;
        struct np_set *set;
        close(hold[1]);
        if (np_set_open(fixture.path, NP_SET_CREATE, "backup -d mail", &set, &err) < 0 ||
            write(ready[1], "", 1) != 1)
            _exit(1);
        _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(ready[1]);
    close(hold[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void test_lock__second_writer_is_told_who_holds_it(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *set;
    int hold[2];
    char pid[32];
    pid_t child = start_holder(hold);
    snprintf(pid, sizeof(pid), "process %d ", (int)child);
    FAILS_WITH(NP_BUSY, np_set_open(fixture.path, NP_SET_WRITE, "", &set, &err), pid);
    FAILS_WITH(NP_BUSY, np_set_open(fixture.path, NP_SET_WRITE, "", &set, &err), "(backup -d mail) since 20");
    np_set_close(open_set(NP_SET_READ)); /* readers do not mind */

    close(hold[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    np_set_close(open_set(NP_SET_WRITE)); /* it died with the process */
}

static void test_lock__inherited_descriptor_keeps_it_after_close(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *second;
    struct np_set *set = open_set(NP_SET_CREATE);
    NP_AUTO_FD int guardian = dup(np_set_lock_fd(set));
    assert_true(guardian >= 0);
    np_set_close(set);
    fails(NP_BUSY, np_set_open(fixture.path, NP_SET_WRITE, "", &second, &err));
    close(np_steal_fd(&guardian));
    np_set_close(open_set(NP_SET_WRITE));
}

static void test_lock__dead_holder_with_a_live_guardian_is_said(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *second;
    NP_OPEN(set, NP_SET_CREATE);
    NP_AUTO_FREE char *text = read_text("lock");
    char pid[32];
    snprintf(pid, sizeof(pid), "\"pid\": %d", (int)getpid());
    NP_AUTO_FD int fd = open(at("lock"), O_WRONLY); /* in place: the lock is on this file */
    char *place = strstr(text, pid);
    assert_non_null(place);
    snprintf(pid, sizeof(pid), "\"pid\": 4194305,"); /* above the kernel's highest */
    char changed[4096];
    int size = snprintf(changed, sizeof(changed), "{%s%s", pid, strchr(place, ',') + 1);
    assert_int_equal(pwrite(fd, changed, (size_t)size, 0), size);
    assert_int_equal(ftruncate(fd, size), 0);
    FAILS_WITH(NP_BUSY, np_set_open(fixture.path, NP_SET_WRITE, "", &second, &err), "guardian");
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
    disks[2] = (struct np_point_disk){.target = "vdc", .why = "read-only"};
    struct np_point point = {.id = "0002",
                             .level = "inc",
                             .time = "2026-11-21T03:00:00Z",
                             .checkpoint = "nbdpull-a-0002-0123abcd",
                             .quiesced = true,
                             .disks = disks,
                             .disk_count = 3};
    ok(np_uuid_random(&point.uuid, &err));
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
        {"{", "[{", "not JSON"},
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
    struct np_error err = NP_ERROR_INIT;
    {
        NP_OPEN(set, NP_SET_CREATE);
        assert_next_id(set, "0001");
        commit_point(set, "0001", "", "");
        assert_next_id(set, "0002");
        write_stream(set, "0002", "vda", "half");
        ok(np_set_remove_point_files(set, "0002", &err));
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
    assert_int_equal(rename(at("streams"), at("elsewhere")), 0);
    assert_int_equal(symlink("elsewhere", at("streams")), 0);
    FAILS_WITH(NP_DAMAGED, np_set_stream_create(set, "0003", "vda", &file, &err), "symbolic link");

    assert_int_equal(rename(at("set.json"), at("set")), 0);
    assert_int_equal(symlink("set", at("set.json")), 0);
    struct np_set *second;
    FAILS_WITH(NP_DAMAGED, np_set_open(fixture.path, NP_SET_READ, "", &second, &err), "symbolic link");
}

static void test_lock__symbolic_link_is_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *set;
    np_set_close(open_set(NP_SET_CREATE));
    assert_int_equal(unlink(at("lock")), 0);
    assert_int_equal(symlink("set.json", at("lock")), 0);
    FAILS_WITH(NP_DAMAGED, np_set_open(fixture.path, NP_SET_WRITE, "", &set, &err), "symbolic link");
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
                               .uri = "qemu:///system",
                               .socket = "/run/x/sock",
                               .work_dir = "/run/x",
                               .started = "2026-11-20T03:00:00Z"};
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
    assert_string_equal(read.uri, intent.uri);
    assert_string_equal(read.socket, intent.socket);
    assert_string_equal(read.work_dir, intent.work_dir);
    assert_string_equal(read.started, intent.started);
    assert_true(np_uuid_equal(&read.domain, &intent.domain));
    edit("intent.json", "\"0002\"", "\"../2\"");
    FAILS_WITH(NP_DAMAGED, np_set_intent_read(set, &read, &found, &err), "intent.json: key point");
    ok(np_set_intent_clear(set, &err));
    ok(np_set_intent_clear(set, &err));
    ok(np_set_intent_read(set, &read, &found, &err));
    assert_false(found);
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
    assert_int_equal(umount(fixture.path), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_set__create_makes_a_set_that_opens_again),
        TEST(test_set__create_takes_an_empty_directory_and_one_half_made),
        TEST(test_set__create_refuses_what_is_not_empty),
        TEST(test_set__create_refuses_a_set_that_lost_set_json),
        TEST(test_set__missing_parent_and_missing_set_are_named),
        TEST(test_set__newer_version_is_refused_with_both_versions),
        TEST(test_set__broken_set_json_is_named),
        TEST(test_set__not_writable_is_said_and_reading_works),
        TEST(test_set__modes_do_not_depend_on_the_umask),
        TEST(test_lock__second_writer_is_told_who_holds_it),
        TEST(test_lock__inherited_descriptor_keeps_it_after_close),
        TEST(test_lock__dead_holder_with_a_live_guardian_is_said),
        TEST(test_lock__symbolic_link_is_refused),
        TEST(test_set__bind_once_and_refuse_another_domain),
        TEST(test_set__moved_set_takes_another_short_id),
        TEST(test_point__comes_back_as_committed),
        TEST(test_point__same_id_is_never_committed_twice),
        TEST(test_point__what_could_not_be_read_is_not_committed),
        TEST(test_point__damaged_records_are_named_by_file_and_key),
        TEST(test_point__unknown_keys_are_ignored_and_large_files_refused),
        TEST(test_points__every_cut_of_a_record_is_damage),
        TEST(test_points__are_sorted_by_number_and_foreign_names_left_out),
        TEST(test_points__find_by_id_checkpoint_and_latest),
        TEST(test_points__path_of_a_disk_goes_to_its_root),
        TEST(test_points__path_with_a_missing_parent_is_damage),
        TEST(test_set__ids_are_never_used_again),
        TEST(test_set__ids_end_instead_of_wrapping),
        TEST(test_set__debris_goes_and_everything_else_stays),
        TEST(test_set__stream_whose_record_was_lost_is_no_debris),
        TEST(test_set__damaged_record_protects_its_streams),
        TEST(test_stream_file__bytes_arrive_in_order),
        TEST(test_stream_file__is_never_written_over),
        TEST(test_stream_file__hostile_names_are_refused),
        TEST(test_stream_file__wrong_size_and_missing_are_damage),
        TEST(test_store__symbolic_links_inside_a_set_are_refused),
        TEST(test_set__reader_changes_nothing),
        TEST(test_config__comes_back_and_is_replaced),
        TEST(test_intent__comes_back_until_it_is_cleared),
        TEST(test_set__full_disk_fails_with_the_path_and_leaves_a_sound_set),
        TEST(test_set__locks_on_a_full_disk),
        TEST(test_set__reads_on_a_read_only_file_system),
    };
    return cmocka_run_group_tests_name("set", tests, NULL, NULL);
}
