/* What is particular to qcow2 targets: QEMU must find nothing wrong with them, in any shape. */
#include "contract/target_bench.h"

#include "nbdpull/log.h"

#define TIB (MIB * MIB)

static void run(const char *const argv[])
{
    struct np_error err = NP_ERROR_INIT;
    ok(np_subprocess_run(argv, &err));
}

/* No error, no leak: qemu-img check fails for both. */
static void assert_clean(const struct bench *bench)
{
    run((const char *const[]){"qemu-img", "check", "-q", "-f", "qcow2", path_of(bench), NULL});
}

/* ---- random writes by several threads, and the same into a raw file ---- */

#define THREADS 3
#define BLOCK UINT64_C(1536) /* smaller than most clusters, so that threads meet in them */

struct history {
    struct bench bench;
    uint64_t size;
    uint64_t blocks;
    uint8_t *owner; /* of each block: the thread that writes it, or THREADS */
    int raw;
    void *target;
};

struct scribe {
    struct history *history;
    unsigned number;
    pthread_t thread;
    struct np_error err;
    int status;
};

static uint64_t random_state;

static uint64_t draw(uint64_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (random_state >> 33) % below;
}

/* Runs of blocks belong to one thread or to none. */
static void deal_blocks(struct history *history)
{
    history->blocks = np_div_up(history->size, BLOCK);
    history->owner = malloc(history->blocks + 1);
    assert_non_null(history->owner);
    for (uint64_t i = 0; i < history->blocks;) {
        uint64_t end = np_min_u64(history->blocks, i + 1 + draw(draw(8) == 0 ? 1000 : 20));
        memset(history->owner + i, (int)draw(THREADS + 1), end - i);
        i = end;
    }
}

/* One run of blocks of the same owner from `first` on. */
static uint64_t run_end(const struct history *history, uint64_t first)
{
    uint64_t end = first + 1;
    while (end < history->blocks && history->owner[end] == history->owner[first])
        end++;
    return end;
}

static void *scribble(void *ctx)
{
    struct scribe *scribe = ctx;
    const struct history *history = scribe->history;
    const struct np_target_ops *ops = history->bench.ops;
    void *writer = NULL;
    scribe->status = ops->writer_open(history->target, &writer, &scribe->err);
    for (uint64_t i = 0, end; scribe->status == 0 && i < history->blocks; i = end) {
        end = run_end(history, i);
        if (history->owner[i] != scribe->number)
            continue;
        uint64_t at = i * BLOCK;
        size_t length = np_min_u64(end * BLOCK, history->size) - at;
        NP_AUTO_FREE uint8_t *bytes = malloc(length);
        fill(bytes, at, length);
        scribe->status = ops->write(writer, bytes, at, length, &scribe->err);
        if (pwrite(history->raw, bytes, length, (off_t)at) != (ssize_t)length)
            scribe->status = -1;
    }
    ops->writer_close(writer);
    return NULL;
}

static void scribble_by_all(struct history *history)
{
    struct scribe scribes[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        scribes[i] = (struct scribe){.history = history, .number = i, .err = NP_ERROR_INIT};
        assert_int_equal(pthread_create(&scribes[i].thread, NULL, scribble, &scribes[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(scribes[i].thread, NULL);
    for (unsigned i = 0; i < THREADS; i++)
        if (scribes[i].status != 0)
            fail_msg("%s", scribes[i].err.message);
}

static void compare_with_raw(const struct history *history, const char *raw)
{
    /* A disk whose size is not a multiple of 512 has zeroes behind its end, which the raw file then has too.
     */
    assert_int_equal(ftruncate(history->raw, (off_t)np_align_up(history->size, 512)), 0);
    run((const char *const[]){"qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw",
                              path_of(&history->bench), raw, NULL});
}

static void write_history(uint64_t size, uint64_t cluster, const char *compat, const char *preallocation)
{
    struct np_error err = NP_ERROR_INIT;
    struct history history = {.size = size};
    char raw[128];
    bench_init(&history.bench, np_target_find("qcow2"), size);
    snprintf(raw, sizeof(raw), "%s/raw", history.bench.directory);
    history.raw = open(raw, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(history.raw >= 0);
    deal_blocks(&history);
    history.bench.options.cluster_size = cluster;
    history.bench.options.compat = compat;
    history.bench.options.preallocation = preallocation;

    ok(history.bench.ops->create(&history.bench.options, &history.target, &err));
    scribble_by_all(&history);
    ok(history.bench.ops->commit(history.target, &err));
    history.bench.ops->close(history.target);
    assert_clean(&history.bench);
    compare_with_raw(&history, raw);
    close(history.raw);
    free(history.owner);
    bench_clear(&history.bench);
}

static void test_qcow2__random_histories_by_several_threads(void **state)
{
    (void)state;
    const char *rounds = getenv("NBDPULL_QCOW2_ROUNDS"); /* for a long run by hand */
    const char *seed = getenv("NBDPULL_QCOW2_SEED");
    random_state = seed != NULL ? strtoull(seed, NULL, 0) : 1;
    for (long i = rounds != NULL ? atol(rounds) : 13; i > 0; i--) {
        uint64_t began = random_state, cluster = UINT64_C(512) << (i % 13);
        uint64_t size = draw(cluster < 4096 ? 3 * MIB : 20 * MIB) / 512 * 512;
        print_message("seed %ju: %ju bytes in clusters of %ju\n", (uintmax_t)began, (uintmax_t)size,
                      (uintmax_t)cluster);
        write_history(size, cluster, draw(3) == 0 ? "0.10" : NULL, NULL);
    }
}

static void test_qcow2__preallocated_histories(void **state)
{
    (void)state;
    static const char *const how[] = {"metadata", "falloc", "full"};
    random_state = 2;
    for (size_t i = 0; i < NP_ARRAY_SIZE(how); i++) {
        write_history(5 * MIB + 512, 512, NULL, how[i]);
        write_history(5 * MIB + 512, 0, NULL, how[i]);
        write_history(5 * MIB + 512, 2 * MIB, NULL, how[i]);
    }
}

/* ---- shapes ---- */

static void make_empty(struct bench *bench)
{
    struct np_error err = NP_ERROR_INIT;
    void *target;
    ok(bench->ops->create(&bench->options, &target, &err));
    ok(bench->ops->commit(target, &err));
    bench->ops->close(target);
}

static void test_qcow2__sizes_around_clusters_and_tables(void **state)
{
    (void)state;
    static const uint64_t clusters[] = {512, 4096, 65536};
    for (size_t i = 0; i < NP_ARRAY_SIZE(clusters); i++) {
        const uint64_t cluster = clusters[i], reach = cluster * cluster / 8;
        const uint64_t sizes[] = {512, cluster, cluster + 512, reach - 512, reach, reach + 512, 7 * reach};
        for (size_t j = 0; j < NP_ARRAY_SIZE(sizes); j++) {
            struct np_error err = NP_ERROR_INIT;
            struct bench bench;
            void *target, *writer;
            bench_init(&bench, np_target_find("qcow2"), sizes[j]);
            bench.options.cluster_size = cluster;
            ok(bench.ops->create(&bench.options, &target, &err));
            ok(bench.ops->writer_open(target, &writer, &err));
            ok(bench.ops->write(writer, "x", sizes[j] - 1, 1, &err));
            bench.ops->writer_close(writer);
            ok(bench.ops->commit(target, &err));
            bench.ops->close(target);
            assert_clean(&bench);
            char read[64];
            snprintf(read, sizeof(read), "read -P 0x78 %ju 1", (uintmax_t)sizes[j] - 1);
            run((const char *const[]){"qemu-io", "-f", "qcow2", "-c", read, path_of(&bench), NULL});
            bench_clear(&bench);
        }
    }
}

static void test_qcow2__sixty_four_tebibytes_take_little(void **state)
{
    (void)state;
    static const uint64_t clusters[] = {65536, 2 * MIB};
    for (size_t i = 0; i < NP_ARRAY_SIZE(clusters); i++) {
        struct np_error err = NP_ERROR_INIT;
        struct bench bench;
        struct writing writings[2];
        struct stat st;
        void *target;
        bench_init(&bench, np_target_find("qcow2"), 64 * TIB);
        bench.options.cluster_size = clusters[i];
        ok(bench.ops->create(&bench.options, &target, &err));
        write_by_two(&bench, target, writings, 5 * GRANULE, 9 * TIB, GRANULE, 64 * TIB);
        ok(bench.ops->commit(target, &err));
        bench.ops->close(target);
        assert_clean(&bench);
        assert_int_equal(stat(path_of(&bench), &st), 0);
        assert_in_range(st.st_blocks * 512, 8 * GRANULE, 3 * MIB);
        bench_clear(&bench);
    }
}

/* Refcounts of clusters of 512 bytes need a table of many clusters, and blocks that count themselves. */
static void test_qcow2__many_small_clusters(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct bench bench;
    struct writing writings[2];
    void *target;
    bench_init(&bench, np_target_find("qcow2"), 40 * MIB);
    bench.options.cluster_size = 512;
    ok(bench.ops->create(&bench.options, &target, &err));
    write_by_two(&bench, target, writings, 0, MIB, MIB, 40 * MIB);
    ok(bench.ops->commit(target, &err));
    bench.ops->close(target);
    assert_clean(&bench);
    bench_clear(&bench);
}

/* The number of data clusters moves over the border where one refcount block more is needed. */
static void test_qcow2__refcounts_at_the_border_of_a_block(void **state)
{
    (void)state;
    for (uint64_t clusters = 235; clusters < 260; clusters++) {
        struct np_error err = NP_ERROR_INIT;
        struct bench bench;
        struct writing writings[2];
        void *target;
        bench_init(&bench, np_target_find("qcow2"), clusters * 512);
        bench.options.cluster_size = 512;
        ok(bench.ops->create(&bench.options, &target, &err));
        write_by_two(&bench, target, writings, 0, 512, 512, bench.options.size);
        ok(bench.ops->commit(target, &err));
        bench.ops->close(target);
        assert_clean(&bench);
        bench_clear(&bench);
    }
}

/* ---- what QEMU says of it, and does with it ---- */

static void assert_info(const struct bench *bench, const char *filter)
{
    char command[512];
    snprintf(command, sizeof(command), "qemu-img info --output=json '%s' | jq -e '%s' >/dev/null",
             path_of(bench), filter);
    run((const char *const[]){"sh", "-c", command, NULL});
}

static void test_qcow2__qemu_img_info_says_what_was_asked_for(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, np_target_find("qcow2"), 5 * MIB);
    make_empty(&bench);
    assert_info(&bench,
                ".\"virtual-size\" == 5242880 and .\"cluster-size\" == 65536 and (.\"dirty-flag\" | not)");
    assert_info(&bench, ".\"format-specific\".data | .compat == \"1.1\" and .\"refcount-bits\" == 16 and "
                        "(.corrupt | not) and (.\"lazy-refcounts\" | not) and (.\"extended-l2\" | not)");
    assert_int_equal(unlinkat(bench.options.dir, bench.name, 0), 0);
    bench.options.cluster_size = 2 * MIB;
    bench.options.compat = "0.10";
    make_empty(&bench);
    assert_info(&bench, ".\"cluster-size\" == 2097152 and .\"format-specific\".data.compat == \"0.10\"");
    bench_clear(&bench);
}

/* Everything QEMU may do later to an image that it has to maintain itself. */
static void test_qcow2__qemu_can_go_on_with_the_image(void **state)
{
    (void)state;
    static const uint64_t clusters[] = {4096, 65536};
    for (size_t i = 0; i < NP_ARRAY_SIZE(clusters); i++) {
        struct np_error err = NP_ERROR_INIT;
        struct bench bench;
        struct writing writings[2];
        void *target;
        bench_init(&bench, np_target_find("qcow2"), 3 * MIB);
        bench.options.cluster_size = clusters[i];
        ok(bench.ops->create(&bench.options, &target, &err));
        write_by_two(&bench, target, writings, GRANULE, 5 * GRANULE, 2 * GRANULE, 2 * MIB);
        ok(bench.ops->commit(target, &err));
        bench.ops->close(target);
        const char *path = path_of(&bench);
        run((const char *const[]){"qemu-img", "snapshot", "-c", "s", path, NULL});
        run((const char *const[]){"qemu-img", "bitmap", "--add", path, "b", NULL});
        run((const char *const[]){"qemu-io", "-t", "unsafe", "-c", "write -P 1 0 2M", "-c", "discard 1M 512k",
                                  "-c", "write -z 100k 9k", path, NULL});
        run((const char *const[]){"qemu-img", "resize", "-q", path, "900M", NULL});
        run((const char *const[]){"qemu-io", "-t", "unsafe", "-c", "write -P 2 800M 1M", path, NULL});
        assert_clean(&bench);
        run((const char *const[]){"qemu-img", "snapshot", "-d", "s", path, NULL});
        run((const char *const[]){"qemu-img", "resize", "-q", "--shrink", path, "1M", NULL});
        assert_clean(&bench);
        bench_clear(&bench);
    }
}

static void test_qcow2__an_unfinished_file_is_no_image(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct bench bench;
    struct writing writings[2];
    void *target;
    bench_init(&bench, np_target_find("qcow2"), 4 * MIB);
    ok(bench.ops->create(&bench.options, &target, &err));
    write_by_two(&bench, target, writings, 0, GRANULE, GRANULE, 4 * MIB);
    DIR *list = opendir(bench.directory);
    struct dirent *entry;
    while ((entry = readdir(list)) != NULL && entry->d_name[1] != 'v')
        ;
    assert_non_null(entry);
    assert_non_null(strstr(entry->d_name, ".part"));
    char begin[4] = "x";
    NP_AUTO_FD int fd = openat(bench.options.dir, entry->d_name, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, begin, 4, 0), 4);
    assert_memory_equal(begin, "\0\0\0\0", 4);
    closedir(list);
    bench.ops->close(target);
    bench_clear(&bench);
}

/* ---- refusals ---- */

static void is_refused(struct bench *bench, const char *why)
{
    struct np_error err = NP_ERROR_INIT;
    void *target;
    fails(NP_USAGE, bench->ops->create(&bench->options, &target, &err));
    if (strstr(err.message, why) == NULL)
        fail_msg("%s", err.message);
    assert_nothing_left(bench, 0);
}

static void test_qcow2__what_the_format_does_not_have_is_refused(void **state)
{
    (void)state;
    static const uint64_t bad[] = {1, 256, 513, 65537, 4 * MIB, UINT64_C(1) << 32, (UINT64_C(1) << 32) + 512};
    struct bench bench;
    bench_init(&bench, np_target_find("qcow2"), MIB);
    for (size_t i = 0; i < NP_ARRAY_SIZE(bad); i++) {
        bench.options.cluster_size = bad[i];
        is_refused(&bench, "512 to 2M");
    }
    bench.options.cluster_size = 0;
    static const char *const versions[] = {"", "0.1", "1.10", "2", "1.1 "};
    for (size_t i = 0; i < NP_ARRAY_SIZE(versions); i++) {
        bench.options.compat = versions[i];
        is_refused(&bench, "0.10 or 1.1");
    }
    bench_clear(&bench);
}

/* As qemu-img refuses them: the L1 table would be too large. */
static void test_qcow2__clusters_too_small_for_the_disk_are_refused(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, np_target_find("qcow2"), 128 * 1024 * MIB);
    bench.options.cluster_size = 512;
    make_empty(&bench);
    assert_clean(&bench);
    assert_int_equal(unlinkat(bench.options.dir, bench.name, 0), 0);
    bench.options.size += 512;
    is_refused(&bench, "--cluster-size 1024");
    bench.options.cluster_size = 4096;
    bench.options.size = 64 * TIB;
    is_refused(&bench, "--cluster-size 16384");
    bench_clear(&bench);
}

static void test_qcow2__raw_has_neither_clusters_nor_compat(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, np_target_find("raw"), MIB);
    bench.options.cluster_size = 65536;
    is_refused(&bench, "raw");
    bench.options.cluster_size = 0;
    bench.options.compat = "1.1";
    is_refused(&bench, "raw");
    bench_clear(&bench);
}

static void keep_warning(void *ctx, enum np_log_level level, const char *line)
{
    if (level == NP_LOG_WARNING)
        snprintf(ctx, 512, "%s", line);
}

static void test_qcow2__a_size_that_is_rounded_up_is_told(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct bench bench;
    char warning[512] = "";
    void *target;
    np_log_to(keep_warning, warning);
    bench_init(&bench, np_target_find("qcow2"), MIB);
    ok(bench.ops->create(&bench.options, &target, &err));
    bench.ops->close(target);
    assert_string_equal(warning, "");
    bench.options.size = MIB - 1;
    ok(bench.ops->create(&bench.options, &target, &err));
    bench.ops->close(target);
    assert_non_null(strstr(warning, "1048575 bytes"));
    assert_non_null(strstr(warning, "1048576"));
    np_log_to(NULL, NULL);
    bench_clear(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qcow2__random_histories_by_several_threads),
        cmocka_unit_test(test_qcow2__preallocated_histories),
        cmocka_unit_test(test_qcow2__sizes_around_clusters_and_tables),
        cmocka_unit_test(test_qcow2__sixty_four_tebibytes_take_little),
        cmocka_unit_test(test_qcow2__many_small_clusters),
        cmocka_unit_test(test_qcow2__refcounts_at_the_border_of_a_block),
        cmocka_unit_test(test_qcow2__qemu_img_info_says_what_was_asked_for),
        cmocka_unit_test(test_qcow2__qemu_can_go_on_with_the_image),
        cmocka_unit_test(test_qcow2__an_unfinished_file_is_no_image),
        cmocka_unit_test(test_qcow2__what_the_format_does_not_have_is_refused),
        cmocka_unit_test(test_qcow2__clusters_too_small_for_the_disk_are_refused),
        cmocka_unit_test(test_qcow2__raw_has_neither_clusters_nor_compat),
        cmocka_unit_test(test_qcow2__a_size_that_is_rounded_up_is_told),
    };
    return cmocka_run_group_tests(tests, make_runtime, remove_runtime);
}
