/* A restore target in a directory of its own, and two threads that write into it. */
#ifndef TESTS_CONTRACT_TARGET_BENCH_H
#define TESTS_CONTRACT_TARGET_BENCH_H

#include "test.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/subprocess.h"
#include "nbdpull/target.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GRANULE (64 * KIB)

/* A target in a directory of its own, for one test. */
struct bench {
    const struct np_target_ops *ops;
    char directory[64];
    char name[32];
    struct np_cancel cancel;
    struct np_target_options options;
};

static inline void bench_init(struct bench *bench, const struct np_target_ops *ops, uint64_t size)
{
    *bench = (struct bench){.ops = ops, .directory = "/tmp/nbdpull-test-XXXXXX"};
    assert_non_null(mkdtemp(bench->directory));
    snprintf(bench->name, sizeof(bench->name), "vda.%s", ops->extension);
    np_cancel_init(&bench->cancel);
    bench->options = (struct np_target_options){
        .dir = open(bench->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
        .dir_path = bench->directory,
        .name = bench->name,
        .size = size,
        .cancel = &bench->cancel,
    };
    assert_true(bench->options.dir >= 0);
}

static inline void bench_clear(struct bench *bench)
{
    struct np_error err = NP_ERROR_INIT;
    close(bench->options.dir);
    ok(np_dir_remove(AT_FDCWD, bench->directory, bench->directory, &err));
    np_cancel_clear(&bench->cancel);
}

static inline size_t entries_in(const char *path)
{
    size_t count = 0;
    DIR *list = opendir(path);
    assert_non_null(list);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(list);
    return count;
}

/* Our children: a zombie or a server that is left would be one. */
static inline pid_t any_child(void)
{
    NP_AUTO_FD int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    char text[64] = "";
    assert_true(fd >= 0 && read(fd, text, sizeof(text) - 1) >= 0);
    return (pid_t)strtol(text, NULL, 10);
}

static char runtime[] = "/tmp/nbdpull-test-XXXXXX"; /* where sockets are made */

static inline int make_runtime(void **state)
{
    (void)state;
    return mkdtemp(runtime) == NULL || setenv("XDG_RUNTIME_DIR", runtime, 1) < 0;
}

static inline int remove_runtime(void **state)
{
    (void)state;
    return rmdir(runtime);
}

/* Nothing of a target that was closed is left but `files` in its directory: no socket, no process. */
static inline void assert_nothing_left(const struct bench *bench, size_t files)
{
    assert_int_equal(entries_in(bench->directory), files);
    assert_int_equal(entries_in(runtime), 0);
    assert_int_equal(any_child(), 0);
}

static inline const char *path_of(const struct bench *bench)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", bench->directory, bench->name);
    return path;
}

/* Byte at an offset of the test pattern; never zero. */
static inline uint8_t pattern(uint64_t offset)
{
    return (uint8_t)(1 + (offset * 31 + offset / 4096) % 255);
}

static inline void fill(uint8_t *bytes, uint64_t offset, size_t length)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = pattern(offset + i);
}

/* ---- two threads write every other range ---- */

struct writing {
    struct bench *bench;
    void *target;
    uint64_t begin, step, end; /* ranges of `length` at begin, begin + step, ... */
    size_t length;
    struct np_error err;
    int status;
    pthread_t thread;
};

static inline void *write_ranges(void *ctx)
{
    struct writing *w = ctx;
    const struct np_target_ops *ops = w->bench->ops;
    void *writer = NULL;
    NP_AUTO_FREE uint8_t *bytes = malloc(w->length);
    w->err = (struct np_error)NP_ERROR_INIT;
    w->status = ops->writer_open(w->target, &writer, &w->err);
    for (uint64_t at = w->begin; w->status == 0 && at < w->end; at += w->step) {
        size_t length = np_min_u64(w->length, w->end - at);
        fill(bytes, at, length);
        w->status = ops->write(writer, bytes, at, length, &w->err);
    }
    ops->writer_close(writer);
    return NULL;
}

static inline void write_by_two(struct bench *bench, void *target, struct writing writings[2], uint64_t begin,
                                uint64_t step, size_t length, uint64_t end)
{
    for (size_t i = 0; i < 2; i++) {
        writings[i] = (struct writing){
            .bench = bench,
            .target = target,
            .begin = begin + i * step,
            .step = 2 * step,
            .end = end,
            .length = length,
        };
        assert_int_equal(pthread_create(&writings[i].thread, NULL, write_ranges, &writings[i]), 0);
    }
    for (size_t i = 0; i < 2; i++)
        pthread_join(writings[i].thread, NULL);
}

#endif
