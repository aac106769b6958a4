/*
 * A backup set in a directory of its own for each test, what was logged meanwhile, and points to commit.
 */
#ifndef NBDPULL_SET_FIXTURE_H
#define NBDPULL_SET_FIXTURE_H

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

struct fixture {
    char top[64];
    char path[96]; /* top/set, not there yet */
    char log[8192];
};

static struct fixture fixture;

static inline void keep_line(void *ctx, enum np_log_level level, const char *line)
{
    (void)level;
    struct fixture *f = ctx;
    size_t used = strlen(f->log);
    snprintf(f->log + used, sizeof(f->log) - used, "%s\n", line);
}

static inline int setup(void **state)
{
    (void)state;
    fixture = (struct fixture){.top = "/tmp/test_set.XXXXXX"};
    if (mkdtemp(fixture.top) == NULL)
        return -1;
    snprintf(fixture.path, sizeof(fixture.path), "%s/set", fixture.top);
    np_log_to(keep_line, &fixture);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    np_log_to(NULL, NULL);
    umount2(fixture.path, MNT_DETACH); /* of a test that failed; else there is none */
    return np_dir_remove(AT_FDCWD, fixture.top, fixture.top, &err);
}

static inline const char *at(const char *name)
{
    static char path[4][256];
    static unsigned turn;
    char *to = path[turn++ % 4];
    snprintf(to, sizeof(path[0]), "%s/%s", fixture.path, name);
    return to;
}

static inline bool exists(const char *name)
{
    struct stat st;
    return lstat(at(name), &st) == 0;
}

static inline void write_text(const char *name, const char *text)
{
    FILE *file = fopen(at(name), "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Not inlined: gcc 12 would take what comes back for the variable below, and warn that it has gone. Owned. */
__attribute__((noinline, unused)) static char *read_text(const char *name)
{
    struct np_error err = NP_ERROR_INIT;
    char *text = NULL;
    size_t size;
    ok(np_file_read_whole(AT_FDCWD, name, at(name), 1 << 20, &text, &size, &err));
    return text;
}

/* Replace the one place where `from` stands in a file, as who does it by hand: without the checksum's line.
 */
static inline void edit(const char *name, const char *from, const char *to)
{
    char *text = read_text(name);
    char *sum = strstr(text, "  \"sum\": ");
    if (sum != NULL)
        memmove(sum, strchr(sum, '\n') + 1, strlen(strchr(sum, '\n') + 1) + 1);
    char *place = strstr(text, from);
    assert_non_null(place);
    char *changed = NULL;
    assert_true(asprintf(&changed, "%.*s%s%s", (int)(place - text), text, to, place + strlen(from)) > 0);
    write_text(name, changed);
    free(changed);
    free(text);
}

static inline struct np_set *open_set(enum np_set_mode mode)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_set *set = NULL;
    ok(np_set_open(fixture.path, mode, "backup vm1", &set, &err));
    return set;
}

static inline void close_set(struct np_set **set)
{
    np_set_close(*set);
}

#define NP_OPEN(name, mode) NP_CLEANUP(close_set) struct np_set *name = open_set(mode)

static inline void write_stream(struct np_set *set, const char *id, const char *target, const char *text)
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

static inline struct np_point_disk stored_disk(const char *id, const char *target, const char *parent)
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
static inline void commit_point(struct np_set *set, const char *id, const char *parent,
                                const char *checkpoint)
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
static inline void add_point(struct np_set *set, const char *parent)
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

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

#endif
