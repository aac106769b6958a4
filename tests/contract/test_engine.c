/*
 * The pull engine on NBD sources whose servers fail, die, wait, answer in odd cuts, lie or send garbage. What
 * a real server can be made to do, nbdkit does; what none does, fake_nbd.h. After each: the disk is stored
 * exactly, or there is an error of the right class that names disk and place, soon; no thread and no
 * descriptor stays, and what was written is no whole stream.
 */
#include "contract/fake_nbd.h"
#include "contract/server.h"
#include "memory.h"

#include "nbdpull/backup.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/nbd.h"
#include "nbdpull/restore.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define CHUNK NP_CHUNK_MIN
#define GRANULE NP_GRANULE_MIN
#define SIZE (6 * CHUNK + 1000u)
#define WORKERS 2u

#define ALLOCATION 0u /* numbers of the contexts */
#define BITMAP 1u
#define ZERO 3u /* hole, reads as zeroes */

/* ---- the disk, and the server's part of it ---- */

struct model {
    uint8_t bytes[SIZE], before[SIZE]; /* now, and at the base */
    uint32_t state[2][SIZE];           /* of each byte, in each context */
};

static struct model model;

static void set_range(uint32_t *state, size_t from, size_t to, uint32_t value)
{
    for (size_t i = from; i < to; i++)
        state[i] = value;
}

/* Boundaries that agree with no grid. What is not dirty is as it was, what is called zero is zero. */
static int make_model(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252u;
    for (size_t i = 0; i < SIZE; i++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        model.before[i] = i / GRANULE % 3 == 0 ? (uint8_t)seed : (uint8_t)(i / GRANULE + 1);
    }
    memset(model.before + 3 * CHUNK + 17, 0, CHUNK);
    memcpy(model.bytes, model.before, SIZE);
    set_range(model.state[BITMAP], 4095, 4097, 1);
    model.bytes[4095] ^= 0x55, model.bytes[4096] ^= 0x55;
    set_range(model.state[BITMAP], CHUNK + 1, 2 * CHUNK + 100, 1);
    memset(model.bytes + CHUNK + 1, 0, CHUNK / 2);
    set_range(model.state[ALLOCATION], CHUNK + 1, CHUNK + 1 + CHUNK / 2, ZERO);
    set_range(model.state[ALLOCATION], 3 * CHUNK + 17, 4 * CHUNK + 17, ZERO);
    set_range(model.state[BITMAP], SIZE - 3, SIZE, 1);
    memset(model.bytes + SIZE - 3, 0xab, 3);
    return 0;
}

struct plan;
typedef bool answer_function(const struct plan *plan, const struct fake_request *request);

struct plan {
    const uint8_t *bytes;
    uint32_t cut[2];  /* longest extent of each context; 0: no limit */
    unsigned most[2]; /* extents in an answer; 0: no limit */

    uint16_t type; /* the request that is answered wrongly */
    unsigned nth;  /* from 1; 0: none is */
    answer_function *wrong;
    uint64_t random;
    atomic_uint seen[8];
};

/* Extents of one context from offset on: how many words. */
static size_t list_extents(const struct plan *plan, unsigned context, uint64_t offset, uint64_t length,
                           uint32_t *words)
{
    size_t count = 0;
    uint64_t end = np_min_u64(offset + length, SIZE);
    const uint32_t *state = model.state[context];
    while (offset < end && (plan->most[context] == 0 || count < 2 * plan->most[context])) {
        uint64_t to = offset + 1;
        while (to < end && state[to] == state[offset] &&
               (plan->cut[context] == 0 || to - offset < plan->cut[context]))
            to++;
        words[count++] = (uint32_t)(to - offset);
        words[count++] = state[offset];
        offset = to;
    }
    return count;
}

static void send_context(const struct plan *plan, const struct fake_request *request, unsigned context)
{
    uint32_t *words = malloc(sizeof(*words) * 2 * SIZE);
    size_t count = list_extents(plan, context, request->offset, request->length, words);
    fake_send_extents(request->fd, false, request->cookie, context, words, count);
    free(words);
}

static bool answer_well(const struct plan *plan, const struct fake_request *request)
{
    if (request->type == FAKE_READ) {
        fake_send_data(request->fd, true, request->cookie, request->offset, plan->bytes + request->offset,
                       request->length);
        return true;
    }
    send_context(plan, request, ALLOCATION);
    send_context(plan, request, BITMAP);
    fake_send_done(request->fd, request->cookie);
    return true;
}

static bool answer(void *ctx, const struct fake_request *request)
{
    struct plan *plan = ctx;
    unsigned seen = ++plan->seen[request->type % 8];
    bool wrong = plan->nth != 0 && request->type == plan->type && seen == plan->nth;
    return wrong ? plan->wrong(plan, request) : answer_well(plan, request);
}

static struct fake_nbd fake_of(struct plan *plan)
{
    return (struct fake_nbd){.size = SIZE,
                             .contexts = {{.name = "base:allocation"}, {.name = "qemu:dirty-bitmap:bm"}},
                             .context_count = 2,
                             .answer = answer,
                             .ctx = plan};
}

/* ---- a pull ---- */

struct taken {
    struct memory_file file;
    struct np_meta *meta;
    struct np_stream *stream; /* when it is whole */
    struct np_hash128 digest;
    struct np_geometry geometry;
};

static void taken_clear(struct taken *taken)
{
    np_stream_close(taken->stream);
    np_meta_free(taken->meta);
    free(taken->file.bytes);
    *taken = (struct taken){0};
}

static size_t entries_of(const char *path)
{
    size_t count = 0;
    DIR *list = opendir(path);
    assert_non_null(list);
    while (readdir(list) != NULL)
        count++;
    closedir(list);
    return count;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static size_t threads_before, files_before;

static int note_resources(void **state)
{
    (void)state;
    threads_before = entries_of("/proc/self/task");
    files_before = entries_of("/proc/self/fd");
    return 0;
}

/* A thread that was joined may be listed a moment longer. */
static int check_resources(void **state)
{
    (void)state;
    for (double begin = now(); entries_of("/proc/self/task") != threads_before && now() - begin < 5;)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(entries_of("/proc/self/task"), threads_before);
    assert_int_equal(entries_of("/proc/self/fd"), files_before);
    return 0;
}

static void describe(struct taken *taken, const struct taken *base, struct np_error *err)
{
    taken->meta = memory_meta(&taken->geometry, 1, err);
    assert_non_null(taken->meta);
    if (base == NULL)
        return;
    struct np_meta_disk *disk = &taken->meta->disks[0];
    taken->meta->stream.bytes[15] = disk->state.bytes[1] = 0x77;
    taken->meta->point_disks[0].state = disk->state;
    taken->meta->point_disks[0].stream = taken->meta->stream;
    strcpy(taken->meta->level, "inc");
    strcpy(disk->level, "inc");
    strcpy(disk->how, "bitmap");
    strcpy(disk->base_point, "0001");
    disk->base_state = base->meta->disks[0].state;
    disk->base_size = base->geometry.size;
    disk->base_digest_known = true;
    disk->base_digest = base->digest;
}

static int write_stream(const struct np_backup_options *options, const struct np_source *source,
                        struct taken *taken, struct np_error *told)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_backup_counts counts;
    struct np_writer *writer;
    struct np_sink sink = memory_sink(&taken->file);
    ok(np_writer_new(&sink, taken->meta, &writer, &err));
    int result = np_backup_run(options, source, &taken->geometry, 0, "vda", writer, &counts, told);
    if (result == 0) {
        ok(np_writer_disk_end(writer, 0, options->base == NULL ? NULL : &counts.replaced, &err));
        ok(np_writer_finish(writer, &err));
        taken->digest = np_writer_totals(writer, 0)->digest;
    }
    np_writer_free(writer);
    return result;
}

/* All that a run does with a disk. @param base NULL: a full */
static int take(const char *socket, const char *bitmap, const struct taken *base, unsigned workers,
                struct np_cancel *cancel, struct taken *taken, struct np_error *told)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_source source = {0};
    struct np_chain *chain = NULL;
    struct np_base based;
    uint16_t id = 0;
    struct np_trust trust = {.believed = true};
    struct np_backup_options options = {.workers = workers,
                                        .codec = np_codec_find(1),
                                        .cancel = cancel,
                                        .scope = base == NULL ? NP_SCOPE_ALL : NP_SCOPE_DIRTY};
    *taken = (struct taken){0};
    int result = np_nbd_source_open(socket, "vda", bitmap, cancel, &source, told);
    taken->geometry = (struct np_geometry){source.size, CHUNK, GRANULE};
    for (int pass = 0; pass < 2 && result == 0 && base != NULL; pass++) {
        np_chain_close(chain);
        ok(np_chain_open((struct np_stream *const *)&base->stream, &id, 1, "vda", true, &chain, &err));
        based = (struct np_base){
            .chain = chain, .size = base->geometry.size, .digest_known = true, .digest = base->digest};
        options.base = &based;
        if (pass == 0)
            result = np_backup_trust(&source, &taken->geometry, &based, NULL, 0, 3, cancel, &trust, told);
    }
    if (result == 0) {
        assert_true(trust.believed);
        describe(taken, base, &err);
        result = write_stream(&options, &source, taken, told);
    }
    np_chain_close(chain);
    np_nbd_source_close(&source);
    return result;
}

static void check_exact(struct taken *taken, const struct taken *base, const uint8_t *truth)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_input_at input = memory_input_at(&taken->file);
    struct memory_image image;
    struct np_chain *chain;
    struct np_restore_counts counts;
    const struct np_restore_options options = {.workers = 1};
    uint16_t ids[2] = {0, 0};
    ok(np_stream_open(&input, "s", &taken->stream, &err));
    struct np_stream *streams[2] = {taken->stream, base == NULL ? NULL : base->stream};
    memory_image_init(&image, taken->geometry.size);
    struct np_restore_disk disk = {
        .target_name = "vda", .geometry = taken->geometry, .ops = &memory_target_ops, .target = &image};
    ok(np_chain_open(streams, ids, base == NULL ? 1 : 2, "vda", false, &chain, &err));
    ok(np_restore_chain(&options, chain, streams, ids, &disk, &counts, &err));
    assert_memory_equal(image.bytes, truth, taken->geometry.size);
    np_chain_close(chain);
    memory_image_clear(&image);
}

static void check_not_whole(struct taken *taken)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_input_at input = memory_input_at(&taken->file);
    if (np_stream_open(&input, "s", &taken->stream, &err) == 0)
        fail_msg("a run that failed left a whole stream");
}

/* What holds after every take. @param truth NULL: it must fail. @return its result */
static int check_take(const char *socket, const char *bitmap, const struct taken *base,
                      struct np_cancel *cancel, const uint8_t *truth, struct np_error *err)
{
    struct taken taken;
    double begin = now();
    *err = (struct np_error)NP_ERROR_INIT;
    int result = take(socket, bitmap, base, WORKERS, cancel, &taken, err);
    assert_true(now() - begin < 120); /* it hangs */
    if (result == 0 && truth == NULL)
        fail_msg("it succeeds");
    if (result == 0)
        check_exact(&taken, base, truth);
    else
        check_not_whole(&taken);
    taken_clear(&taken);
    return result;
}

/* ---- real servers: nbdkit ---- */

static char directory[] = "/tmp/nbdpull-test-XXXXXX";

static void path_in(char path[128], const char *name)
{
    snprintf(path, 128, "%s/%s", directory, name);
}

static void write_file(const char *name, const void *bytes, size_t size)
{
    char path[128];
    path_in(path, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

/*
 * Serves `disk`, a window in each answer of block status, and at call FAULT_NTH of FAULT_METHOD fails with
 * FAULT_ERROR, or dies. One call at a time, so that there is an order.
 */
static const char script[] = "cd \"$FAULT_DIR\" || exit 1\n"
                             "if [ \"$1\" = \"$FAULT_METHOD\" ]; then\n"
                             "    echo >>calls\n"
                             "    if [ \"$(wc -l <calls)\" -eq \"$FAULT_NTH\" ]; then\n"
                             "        [ \"$FAULT_ERROR\" != die ] || kill -9 $PPID\n"
                             "        echo \"$FAULT_ERROR on purpose\" >&2\n"
                             "        exit 1\n"
                             "    fi\n"
                             "fi\n"
                             "case $1 in\n"
                             "thread_model) echo serialize_all_requests ;;\n"
                             "get_size) stat -c %s disk ;;\n"
                             "pread) tail -c +$(($4 + 1)) disk | head -c \"$3\" ;;\n"
                             "can_extents) exit 0 ;;\n"
                             "extents) end=$((($4 / 65536 + 1) * 65536)); last=$(($4 + $3))\n"
                             "    [ $end -lt $last ] || end=$last\n"
                             "    echo \"$4 $((end - $4))\" ;;\n"
                             "*) exit 2 ;;\n"
                             "esac\n";

static void *nothing(void *ctx)
{
    return ctx;
}

static int make_directory(void **state)
{
    pthread_t first; /* with it a sanitiser starts one of its own, which stays */
    assert_int_equal(pthread_create(&first, NULL, nothing, NULL), 0);
    pthread_join(first, NULL);
    char path[128];
    assert_non_null(mkdtemp(directory));
    make_model(state);
    write_file("disk", model.bytes, SIZE);
    write_file("script", "#!/bin/sh\n", 10);
    path_in(path, "script");
    FILE *file = fopen(path, "ae");
    assert_non_null(file);
    fputs(script, file);
    fclose(file);
    assert_int_equal(chmod(path, 0700), 0);
    setenv("FAULT_DIR", directory, 1);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    ok(np_dir_remove(AT_FDCWD, directory, directory, &err));
    return 0;
}

/* @return what the take gave */
static int take_from_script(const char *method, unsigned nth, const char *error, struct np_error *err)
{
    struct server server;
    char path[128], number[16];
    path_in(path, "calls");
    unlink(path);
    snprintf(number, sizeof(number), "%u", nth);
    setenv("FAULT_METHOD", method, 1);
    setenv("FAULT_NTH", number, 1);
    setenv("FAULT_ERROR", error, 1);
    path_in(path, "script");
    server_run(&server, "nbdkit", "-f", "-t", "4", "sh", path);
    int result = check_take(server.listener.path, NULL, NULL, NULL, model.bytes, err);
    server_kill(&server);
    server_stop(&server);
    return result;
}

static void check_place(const struct np_error *err)
{
    assert_int_equal(err->class, NP_FAILED);
    assert_string_equal(err->disk, "vda");
    assert_non_null(strstr(err->message, "disk vda: export 'vda'"));
    if (err->offset >= SIZE)
        fail_msg("no offset: %s", err->message);
}

/* The numbers of errors that NBD has, one after the other. nbdkit keeps EOVERFLOW for requests that must not
 * be cut. */
static void test_engine__an_error_of_any_read_or_block_status_is_told_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *name, *said;
    } errors[] = {{"EIO", "Input/output error"},        {"ENOMEM", "Cannot allocate memory"},
                  {"ENOSPC", "No space left"},          {"ESHUTDOWN", "shutdown"},
                  {"EPERM", "Operation not permitted"}, {"EROFS", "Operation not permitted"},
                  {"EINVAL", "Invalid argument"}};
    static const char *const methods[] = {"pread", "extents"};
    for (size_t m = 0; m < 2; m++) {
        struct np_error err;
        unsigned nth = 1;
        for (; take_from_script(methods[m], nth, errors[(nth - 1) % 7].name, &err) < 0; nth++) {
            check_place(&err);
            if (strstr(err.message, errors[(nth - 1) % 7].said) == NULL)
                fail_msg("%s %u: %s", methods[m], nth, err.message);
        }
        assert_int_equal(nth, 8); /* seven windows, each with one */
    }
}

/* Until it is through, wherever that is: the first death that changes nothing ends the series. */
static void test_engine__a_server_that_is_killed_at_any_step_is_a_lost_connection(void **state)
{
    (void)state;
    static const char *const methods[] = {"open", "get_size", "pread", "extents"};
    for (size_t m = 0; m < NP_ARRAY_SIZE(methods); m++) {
        struct np_error err;
        unsigned nth = 1;
        for (; take_from_script(methods[m], nth, "die", &err) < 0; nth++) {
            assert_int_equal(err.class,
                             NP_FAILED); /* without a place, where a worker has not connected yet */
            if (strstr(err.message, "lost") == NULL && strstr(err.message, "cannot connect") == NULL)
                fail_msg("%s %u: %s", methods[m], nth, err.message);
        }
        assert_in_range(nth, m < 2 ? 4 : 8, 9);
    }
}

static void test_engine__a_server_that_takes_its_time_is_waited_for(void **state)
{
    (void)state;
    struct np_error err;
    struct server server;
    char disk[128];
    path_in(disk, "disk");
    server_run(&server, "nbdkit", "-f", "--filter=delay", "file", disk, "rdelay=20ms", "delay-extents=20ms",
               "delay-open=20ms");
    assert_int_equal(check_take(server.listener.path, NULL, NULL, NULL, model.bytes, &err), 0);
    server_stop(&server);
}

/* The largest answers and the smallest: 1 byte, a sector, one less than a granule. */
static void test_engine__odd_cuts_of_a_real_server_change_nothing(void **state)
{
    (void)state;
    static const unsigned cuts[] = {1, 512, 4095};
    for (size_t i = 0; i < NP_ARRAY_SIZE(cuts); i++) {
        struct np_error err;
        struct server server;
        char disk[128], list[160];
        path_in(disk, "list");
        FILE *file = fopen(disk, "we");
        assert_non_null(file);
        for (size_t at = 0, to; at < SIZE; at = to) {
            for (to = at + 1; to < SIZE && to - at < cuts[i] && (model.state[0][to] == model.state[0][at]);)
                to++;
            fprintf(file, "%zu %zu %s\n", at, to - at, model.state[0][at] == ZERO ? "hole,zero" : "");
        }
        fclose(file);
        snprintf(list, sizeof(list), "extentlist=%s", disk);
        path_in(disk, "disk");
        server_run(&server, "nbdkit", "-f", "--filter=extentlist", "file", disk, list);
        assert_int_equal(check_take(server.listener.path, NULL, NULL, NULL, model.bytes, &err), 0);
        server_stop(&server);
    }
}

static void test_engine__a_server_that_demands_tls_is_told_so(void **state)
{
    (void)state;
    struct np_error err;
    struct server server;
    char keys[160];
    write_file("keys", "nbdpull:00112233445566778899aabbccddeeff\n", 41);
    snprintf(keys, sizeof(keys), "--tls-psk=%s/keys", directory);
    server_run(&server, "nbdkit", "-f", "--tls=require", keys, "memory", "1M");
    assert_int_equal(check_take(server.listener.path, NULL, NULL, NULL, NULL, &err), -1);
    if (strstr(err.message, "TLS") == NULL)
        fail_msg("%s", err.message);
    server_stop(&server);
}

/* ---- sizes ---- */

/* Three connections: to look, the scheduler's, and the workers'. */
static void test_engine__a_size_that_changes_between_connections_is_an_error(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {SIZE - 1, SIZE + 1, 2 * SIZE, 512};
    for (size_t i = 0; i < NP_ARRAY_SIZE(sizes); i++) {
        struct np_error err;
        struct plan plan = {.bytes = model.bytes};
        struct fake_nbd fake = fake_of(&plan);
        fake.later_size = sizes[i];
        fake_start(&fake);
        assert_int_equal(check_take(fake.listener.path, NULL, NULL, NULL, NULL, &err), -1);
        if (strstr(err.message, "bytes and has") == NULL)
            fail_msg("%s", err.message);
        assert_string_equal(err.disk, "vda");
        fake_stop(&fake);
    }
}

static void test_engine__a_disk_of_no_bytes_is_stored(void **state)
{
    (void)state;
    struct np_error err;
    struct plan plan = {.bytes = model.bytes};
    struct fake_nbd fake = fake_of(&plan);
    fake.size = 0;
    fake_start(&fake);
    assert_int_equal(check_take(fake.listener.path, NULL, NULL, NULL, model.bytes, &err), 0);
    assert_int_equal(plan.seen[FAKE_READ] + plan.seen[FAKE_STATUS], 0);
    fake_stop(&fake);
}

static void test_engine__a_disk_larger_than_any_is_an_error(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {UINT64_MAX, (uint64_t)1 << 63};
    for (size_t i = 0; i < NP_ARRAY_SIZE(sizes); i++) {
        struct np_error err;
        struct plan plan = {.bytes = model.bytes};
        struct fake_nbd fake = fake_of(&plan);
        fake.size = sizes[i];
        fake_start(&fake);
        assert_int_equal(check_take(fake.listener.path, NULL, NULL, NULL, NULL, &err), -1);
        assert_non_null(strstr(err.message, "export 'vda'"));
        fake_stop(&fake);
    }
}

/* It says it has more than it has. */
static void test_engine__reading_behind_the_disks_end_is_an_error(void **state)
{
    (void)state;
    struct np_error err;
    struct server server;
    server_run(&server, "nbdkit", "-f", "eval", "get_size=echo 1000000", "can_extents=exit 3",
               "pread=tail -c +$(($4 + 1)) \"$FAULT_DIR/disk\" | head -c $3");
    assert_int_equal(check_take(server.listener.path, NULL, NULL, NULL, NULL, &err), -1);
    assert_int_equal(err.class, NP_FAILED);
    assert_string_equal(err.disk, "vda");
    assert_in_range(err.offset, SIZE - CHUNK, 999999);
    server_kill(&server);
    server_stop(&server);
}

/* ---- contexts and cuts ---- */

static void take_base(struct taken *base)
{
    struct np_error err = NP_ERROR_INIT;
    struct plan plan = {.bytes = model.before};
    struct fake_nbd fake = fake_of(&plan);
    static uint32_t now_zero[SIZE];
    memcpy(now_zero, model.state[ALLOCATION], sizeof(now_zero));
    memset(model.state[ALLOCATION], 0, sizeof(now_zero)); /* all data: at the base other parts were zero */
    fake_start(&fake);
    ok(take(fake.listener.path, NULL, NULL, WORKERS, NULL, base, &err));
    fake_stop(&fake);
    memcpy(model.state[ALLOCATION], now_zero, sizeof(now_zero));
    check_exact(base, NULL, model.before);
}

/* With small cuts an answer must hold many, or there would be a request for each of them. */
static bool is_slow(const struct plan *plan)
{
    for (unsigned context = 0; context < 2; context++)
        if (plan->cut[context] != 0 && plan->cut[context] <= 512 &&
            (plan->most[0] != 0 || plan->most[1] != 0))
            return true;
    return false;
}

static void test_engine__contexts_in_any_cuts_give_the_same_increment(void **state)
{
    (void)state;
    static const uint32_t cuts[] = {0, 1, 512, 4095, 4097};
    static const unsigned most[][2] = {{0, 0}, {1, 1}, {7, 1}, {0, 3}};
    struct taken base;
    take_base(&base);
    for (size_t i = 0; i < 25; i++)
        for (size_t m = 0; m < NP_ARRAY_SIZE(most); m++) {
            struct np_error err;
            struct plan plan = {
                .bytes = model.bytes, .cut = {cuts[i / 5], cuts[i % 5]}, .most = {most[m][0], most[m][1]}};
            struct fake_nbd fake = fake_of(&plan);
            if (is_slow(&plan))
                continue;
            fake_start(&fake);
            if (check_take(fake.listener.path, "bm", &base, NULL, model.bytes, &err) < 0)
                fail_msg("cuts %u %u, at most %u %u: %s", plan.cut[0], plan.cut[1], plan.most[0],
                         plan.most[1], err.message);
            fake_stop(&fake);
        }
    taken_clear(&base);
}

/* ---- waiting ---- */

static bool never(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    (void)request;
    return true;
}

struct later {
    const struct fake_nbd *fake;
    struct plan *plan; /* until it has seen the request that hangs; NULL: until there are two connections */
    struct np_cancel *cancel;
    double asked;
};

static void *cancel_later(void *ctx)
{
    struct later *later = ctx;
    const struct timespec moment = {.tv_nsec = 1000000};
    while (later->plan != NULL ? later->plan->seen[later->plan->type] < later->plan->nth
                               : later->fake->connections < 2)
        nanosleep(&moment, NULL);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    later->asked = now();
    np_cancel_request(later->cancel, SIGINT);
    return NULL;
}

static void check_cancelled(struct fake_nbd *fake, struct plan *plan, const char *bitmap,
                            const struct taken *base)
{
    struct np_error err;
    struct np_cancel cancel;
    struct later later = {.fake = fake, .plan = plan, .cancel = &cancel};
    pthread_t thread;
    np_cancel_init(&cancel);
    fake_start(fake);
    assert_int_equal(pthread_create(&thread, NULL, cancel_later, &later), 0);
    struct taken taken;
    err = (struct np_error)NP_ERROR_INIT;
    assert_int_equal(take(fake->listener.path, bitmap, base, WORKERS, &cancel, &taken, &err), -1);
    double ended = now();
    pthread_join(thread, NULL);
    fake_stop(fake);
    check_not_whole(&taken);
    taken_clear(&taken);
    if (ended - later.asked > 1)
        fail_msg("it took %.1f s", ended - later.asked);
    if (err.class != NP_INTERRUPTED)
        fail_msg("%s", err.message);
    assert_int_equal(err.signal, SIGINT);
    np_cancel_clear(&cancel);
}

/* In the pull, and where the thread that would look whether it is asked to stop is the one that waits. */
static void test_engine__a_signal_ends_every_wait_for_the_server(void **state)
{
    (void)state;
    static const uint16_t types[] = {FAKE_READ, FAKE_STATUS};
    struct taken base;
    take_base(&base);
    for (size_t t = 0; t < 2; t++)
        for (unsigned nth = 1; nth <= 3; nth += 2) {
            struct plan full = {
                .bytes = model.bytes, .most = {1, 1}, .type = types[t], .nth = nth, .wrong = never};
            struct plan inc = {
                .bytes = model.bytes, .most = {1, 1}, .type = types[t], .nth = nth, .wrong = never};
            struct fake_nbd fake = fake_of(&full);
            check_cancelled(&fake, &full, NULL, NULL);
            fake = fake_of(&inc); /* the trust check reads first */
            check_cancelled(&fake, &inc, "bm", &base);
        }
    struct plan plan = {.bytes = model.bytes};
    struct fake_nbd fake = fake_of(&plan);
    fake.silent_in_handshake = true;
    check_cancelled(&fake, NULL, NULL, NULL);
    taken_clear(&base);
}

/* As above, of the first connection: nothing is there yet that could be interrupted. */
static void test_engine__a_signal_ends_the_first_handshake(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_cancel cancel;
    struct np_listener listener; /* that nobody accepts at */
    struct np_source source;
    pthread_t thread;
    struct plan plan = {.type = FAKE_READ};
    struct later later = {.plan = &plan, .cancel = &cancel};
    np_cancel_init(&cancel);
    ok(np_listener_open(&listener, 1, &err));
    assert_int_equal(pthread_create(&thread, NULL, cancel_later, &later), 0);
    fails(NP_INTERRUPTED, np_nbd_source_open(listener.path, "vda", NULL, &cancel, &source, &err));
    double ended = now();
    pthread_join(thread, NULL);
    assert_true(ended - later.asked < 1);
    np_listener_close(&listener);
    np_cancel_clear(&cancel);
}

/* ---- garbage ---- */

static bool hang_up(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    (void)request;
    return false;
}

static bool wrong_magic(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    fake_send_header(request->fd, 0x12345678, FAKE_CHUNK_DONE, FAKE_TYPE_NONE, request->cookie, 0);
    return true;
}

static bool wrong_cookie(const struct plan *plan, const struct fake_request *request)
{
    struct fake_request other = *request;
    other.cookie ^= 0x0100000000000001;
    return answer_well(plan, &other);
}

/* Two requests are never under way in one connection, so the second answer is to none. */
static bool answers_twice(const struct plan *plan, const struct fake_request *request)
{
    return answer_well(plan, request) && answer_well(plan, request);
}

static bool simple_reply(const struct plan *plan, const struct fake_request *request)
{
    struct __attribute__((packed)) {
        uint32_t magic, error;
        uint64_t cookie;
    } reply = {htobe32(0x67446698), 0, request->cookie};
    fake_send(request->fd, &reply, sizeof(reply));
    fake_send(request->fd, plan->bytes, request->length % SIZE);
    return true;
}

static bool nothing_and_done(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    fake_send_done(request->fd, request->cookie);
    return true;
}

static bool unknown_type(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    fake_send_chunk(request->fd, true, 0x1234, request->cookie, NULL, 0, "????", 4);
    return true;
}

static bool unknown_error_type(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    const char error[6] = {0, 0, 0, 5, 0, 0};
    fake_send_chunk(request->fd, true, 0x9234, request->cookie, NULL, 0, error, 6);
    return true;
}

/* An error whose number is that of success. */
static bool error_of_nothing(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    const char error[6] = {0};
    fake_send_chunk(request->fd, true, FAKE_TYPE_ERROR, request->cookie, NULL, 0, error, 6);
    return true;
}

static bool error_text_too_long(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    const char error[6] = {0, 0, 0, 5, (char)0xff, (char)0xff};
    fake_send_chunk(request->fd, true, FAKE_TYPE_ERROR, request->cookie, NULL, 0, error, 6);
    return true;
}

static bool error_after_the_data(const struct plan *plan, const struct fake_request *request)
{
    const char error[6] = {0, 0, 0, 5, 0, 0};
    if (request->type == FAKE_READ)
        fake_send_data(request->fd, false, request->cookie, request->offset, plan->bytes + request->offset,
                       request->length);
    else
        send_context(plan, request, ALLOCATION);
    fake_send_chunk(request->fd, true, FAKE_TYPE_ERROR, request->cookie, NULL, 0, error, 6);
    return true;
}

static bool error_outside(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    struct __attribute__((packed)) {
        uint32_t error;
        uint16_t length;
        uint64_t offset;
    } error = {htobe32(5), 0, htobe64(UINT64_MAX - 5)};
    fake_send_chunk(request->fd, true, FAKE_TYPE_ERROR_OFFSET, request->cookie, NULL, 0, &error,
                    sizeof(error));
    return true;
}

static bool payload_without_end(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    fake_send_header(request->fd, FAKE_CHUNK_MAGIC, FAKE_CHUNK_DONE,
                     request->type == FAKE_READ ? FAKE_TYPE_DATA : FAKE_TYPE_STATUS, request->cookie,
                     UINT32_MAX);
    return true;
}

static bool payload_of_one_byte(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    fake_send_chunk(request->fd, true, request->type == FAKE_READ ? FAKE_TYPE_DATA : FAKE_TYPE_STATUS,
                    request->cookie, NULL, 0, "x", 1);
    return true;
}

/* The answer to the other kind of request. */
static bool crossed(const struct plan *plan, const struct fake_request *request)
{
    struct fake_request other = *request;
    other.type = request->type == FAKE_READ ? FAKE_STATUS : FAKE_READ;
    other.length = (uint32_t)np_min_u64(request->length, CHUNK);
    if (other.offset + other.length > SIZE)
        other.offset = 0;
    return answer_well(plan, &other);
}

static bool ends_in_the_header(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    const uint32_t magic = htobe32(FAKE_CHUNK_MAGIC);
    fake_send(request->fd, &magic, 3);
    return false;
}

static bool ends_in_the_payload(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    fake_send_header(request->fd, FAKE_CHUNK_MAGIC, FAKE_CHUNK_DONE,
                     request->type == FAKE_READ ? FAKE_TYPE_DATA : FAKE_TYPE_STATUS, request->cookie,
                     request->type == FAKE_READ ? request->length + 8 : 4 + 8 * 8);
    fake_send(request->fd, model.bytes, 21);
    return false;
}

static bool ends_between_chunks(const struct plan *plan, const struct fake_request *request)
{
    if (request->type == FAKE_READ)
        fake_send_data(request->fd, false, request->cookie, request->offset, plan->bytes + request->offset,
                       request->length / 2);
    else
        send_context(plan, request, ALLOCATION);
    return false;
}

/* ---- garbage in answers to reads ---- */

static bool data_longer(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    uint8_t *data = calloc(1, request->length + 512u);
    fake_send_data(request->fd, true, request->cookie, request->offset, data, request->length + 512u);
    free(data);
    return true;
}

static bool data_before(const struct plan *plan, const struct fake_request *request)
{
    fake_send_data(request->fd, true, request->cookie, request->offset - 1, plan->bytes, request->length);
    return true;
}

static bool data_behind(const struct plan *plan, const struct fake_request *request)
{
    fake_send_data(request->fd, true, request->cookie, request->offset + 1, plan->bytes, request->length);
    return true;
}

static bool data_at_the_far_end(const struct plan *plan, const struct fake_request *request)
{
    fake_send_data(request->fd, true, request->cookie, UINT64_MAX - 7, plan->bytes, request->length);
    return true;
}

static bool data_of_nothing(const struct plan *plan, const struct fake_request *request)
{
    fake_send_data(request->fd, true, request->cookie, request->offset, plan->bytes, 0);
    return true;
}

static bool second_half_first(const struct plan *plan, const struct fake_request *request)
{
    uint32_t half = request->length / 2;
    fake_send_data(request->fd, false, request->cookie, request->offset + half,
                   plan->bytes + request->offset + half, request->length - half);
    fake_send_data(request->fd, true, request->cookie, request->offset, plan->bytes + request->offset, half);
    return true;
}

static bool send_hole(const struct fake_request *request, uint64_t offset, uint32_t length)
{
    struct __attribute__((packed)) {
        uint64_t offset;
        uint32_t length;
    } hole = {htobe64(offset), htobe32(length)};
    fake_send_chunk(request->fd, true, FAKE_TYPE_HOLE, request->cookie, NULL, 0, &hole, sizeof(hole));
    return true;
}

static bool hole_longer(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    return send_hole(request, request->offset, UINT32_MAX);
}

static bool hole_of_nothing(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    return send_hole(request, request->offset, 0);
}

static bool hole_before(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    return send_hole(request, request->offset - 4096, request->length);
}

/* Legal: in pieces, as many as there can be. */
static bool byte_by_byte(const struct plan *plan, const struct fake_request *request)
{
    for (uint32_t i = 0; i < request->length; i++)
        fake_send_data(request->fd, i + 1 == request->length, request->cookie, request->offset + i,
                       plan->bytes + request->offset + i, 1);
    return true;
}

/* ---- garbage in answers to block status ---- */

static bool send_words(const struct fake_request *request, uint32_t context, const uint32_t *words,
                       size_t count)
{
    fake_send_extents(request->fd, false, request->cookie, context, words, count);
    fake_send_done(request->fd, request->cookie);
    return true;
}

static bool extent_of_nothing(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    return send_words(request, ALLOCATION, (const uint32_t[]){0, 0, SIZE, 0}, 4);
}

static bool no_extents(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    return send_words(request, ALLOCATION, NULL, 0);
}

static bool half_an_extent(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    return send_words(request, ALLOCATION, (const uint32_t[]){4096, 0, 4096}, 3);
}

static bool only_an_unasked_context(const struct plan *plan, const struct fake_request *request)
{
    (void)plan;
    return send_words(request, 77, (const uint32_t[]){SIZE, ZERO}, 2);
}

static bool one_context_twice(const struct plan *plan, const struct fake_request *request)
{
    send_context(plan, request, ALLOCATION);
    return answer_well(plan, request);
}

/* Legal, or without harm: what is beyond the question is not believed, what is not asked for is not looked
 * at. */
static bool an_unasked_context_too(const struct plan *plan, const struct fake_request *request)
{
    const uint32_t words[] = {UINT32_MAX, ZERO};
    fake_send_extents(request->fd, false, request->cookie, 77, words, 2);
    return answer_well(plan, request);
}

static bool extents_beyond_the_question(const struct plan *plan, const struct fake_request *request)
{
    const struct plan all = {.bytes = plan->bytes};
    for (unsigned context = 0; context < 2; context++) {
        uint32_t *words = malloc(sizeof(*words) * (2 * SIZE + 4));
        size_t count = list_extents(&all, context, request->offset, request->length, words);
        words[count++] = UINT32_MAX, words[count++] = ZERO;
        words[count++] = UINT32_MAX, words[count++] = 0;
        fake_send_extents(request->fd, context == 1, request->cookie, context, words, count);
        free(words);
    }
    return true;
}

static bool unknown_state_bits(const struct plan *plan, const struct fake_request *request)
{
    for (unsigned context = 0; context < 2; context++) {
        uint32_t *words = malloc(sizeof(*words) * 2 * SIZE);
        size_t count = list_extents(plan, context, request->offset, request->length, words);
        for (size_t i = 1; i < count; i += 2)
            words[i] |= 0xfffffff0;
        fake_send_extents(request->fd, context == 1, request->cookie, context, words, count);
        free(words);
    }
    return true;
}

static bool shorter_than_asked(const struct plan *plan, const struct fake_request *request)
{
    struct fake_request less = *request;
    less.length = 1;
    return answer_well(plan, &less);
}

struct garbage {
    const char *name;
    answer_function *answer;
    bool harmless;
};

#define GARBAGE(function, harmless)                                                                          \
    {                                                                                                        \
#function, function, harmless                                                                        \
    }

static const struct garbage for_any[] = {
    GARBAGE(hang_up, false),
    GARBAGE(wrong_magic, false),
    GARBAGE(wrong_cookie, false),
    GARBAGE(answers_twice, true), /* where no request follows, nobody reads it */
    GARBAGE(simple_reply, false),
    GARBAGE(nothing_and_done, false),
    GARBAGE(unknown_type, false),
    GARBAGE(unknown_error_type, false),
    GARBAGE(error_of_nothing, false),
    GARBAGE(error_text_too_long, false),
    GARBAGE(error_after_the_data, false),
    GARBAGE(error_outside, false),
    GARBAGE(payload_without_end, false),
    GARBAGE(payload_of_one_byte, false),
    GARBAGE(crossed, false),
    GARBAGE(ends_in_the_header, false),
    GARBAGE(ends_in_the_payload, false),
    GARBAGE(ends_between_chunks, false),
};

static const struct garbage for_reads[] = {
    GARBAGE(data_longer, false),     GARBAGE(data_before, false),         GARBAGE(data_behind, false),
    GARBAGE(data_of_nothing, false), GARBAGE(data_at_the_far_end, false), GARBAGE(second_half_first, false),
    GARBAGE(hole_longer, false),     GARBAGE(hole_of_nothing, false),     GARBAGE(hole_before, false),
    GARBAGE(byte_by_byte, true),
};

static const struct garbage for_status[] = {
    GARBAGE(extent_of_nothing, false),
    GARBAGE(no_extents, false),
    GARBAGE(half_an_extent, false),
    GARBAGE(only_an_unasked_context, false),
    GARBAGE(one_context_twice, false),
    GARBAGE(an_unasked_context_too, true),
    GARBAGE(extents_beyond_the_question, true),
    GARBAGE(unknown_state_bits, true),
    GARBAGE(shorter_than_asked, true),
};

static void try_garbage(const struct garbage *list, size_t count, uint16_t type, const struct taken *base)
{
    for (size_t i = 0; i < count; i++)
        for (unsigned nth = 1; nth <= 3; nth++) {
            struct np_error err;
            struct plan plan = {
                .bytes = model.bytes, .most = {1, 2}, .type = type, .nth = nth, .wrong = list[i].answer};
            struct fake_nbd fake = fake_of(&plan);
            fake.patience_ms = list[i].harmless ? 0 : 100;
            fake_start(&fake);
            print_message("%s, %s %u\n", list[i].name, type == FAKE_READ ? "read" : "block status", nth);
            int result = check_take(fake.listener.path, base == NULL ? NULL : "bm", base, NULL,
                                    list[i].harmless ? model.bytes : NULL, &err);
            bool twice = list[i].answer == answers_twice;
            if (result < 0 && list[i].harmless && !twice)
                fail_msg("%s", err.message);
            if (result < 0 && base == NULL)
                check_place(&err);
            if (result < 0 && (err.class != NP_FAILED || err.offset >= SIZE))
                fail_msg("%s", err.message);
            fake_stop(&fake);
        }
}

static void test_engine__garbage_in_any_answer_is_an_error(void **state)
{
    (void)state;
    struct taken base;
    take_base(&base);
    const struct taken *const bases[] = {NULL, &base};
    for (size_t b = 0; b < 2; b++) {
        try_garbage(for_any, NP_ARRAY_SIZE(for_any), FAKE_READ, bases[b]);
        try_garbage(for_any, NP_ARRAY_SIZE(for_any), FAKE_STATUS, bases[b]);
        try_garbage(for_reads, NP_ARRAY_SIZE(for_reads), FAKE_READ, bases[b]);
        try_garbage(for_status, NP_ARRAY_SIZE(for_status), FAKE_STATUS, bases[b]);
    }
    taken_clear(&base);
}

/* One bit of the first chunk's header, or of the number behind it, is another. */
static bool one_bit(const struct plan *plan, const struct fake_request *request)
{
    bool read = request->type == FAKE_READ;
    size_t head = 20 + (read ? 8 : 4);
    uint32_t *words = malloc(sizeof(*words) * 2 * SIZE);
    size_t count = read ? 0 : list_extents(plan, ALLOCATION, request->offset, request->length, words);
    size_t size = read ? request->length : count * 4;
    uint8_t *bytes = malloc(head + size);
    struct __attribute__((packed)) {
        uint32_t magic;
        uint16_t flags, type;
        uint64_t cookie;
        uint32_t size;
    } chunk = {htobe32(FAKE_CHUNK_MAGIC), htobe16(read ? FAKE_CHUNK_DONE : 0),
               htobe16(read ? FAKE_TYPE_DATA : FAKE_TYPE_STATUS), request->cookie,
               htobe32((uint32_t)(size + head - 20))};
    const uint64_t at = htobe64(request->offset);
    const uint32_t id = htobe32(ALLOCATION);
    memcpy(bytes, &chunk, sizeof(chunk));
    memcpy(bytes + 20, read ? (const void *)&at : &id, head - 20);
    for (size_t i = 0; i < count; i++)
        words[i] = htobe32(words[i]);
    memcpy(bytes + head, read ? (const void *)(plan->bytes + request->offset) : words, size);
    bytes[plan->random % head] ^= (uint8_t)(1u << plan->random / head % 8);
    fake_send(request->fd, bytes, head + size);
    free(bytes);
    free(words);
    if (!read) {
        send_context(plan, request, BITMAP);
        fake_send_done(request->fd, request->cookie);
    }
    return true;
}

/* Every bit, once; a header has no checksum, so what it says must be checked against what was asked. */
static void test_engine__a_flipped_bit_of_an_answers_header_is_an_error_or_without_harm(void **state)
{
    (void)state;
    unsigned harmless = 0, total = 0;
    for (unsigned t = 0; t < 2; t++)
        for (uint64_t bit = 0; bit < 8 * (t == 0 ? 28 : 24); bit++) {
            struct np_error err;
            struct plan plan = {.bytes = model.bytes,
                                .most = {1, 2},
                                .type = t == 0 ? FAKE_READ : FAKE_STATUS,
                                .nth = 2,
                                .wrong = one_bit,
                                .random = bit};
            struct fake_nbd fake = fake_of(&plan);
            fake.patience_ms = 50;
            fake_start(&fake);
            int result = check_take(fake.listener.path, "bm", NULL, NULL, model.bytes, &err);
            harmless += result == 0;
            total++;
            if (result < 0)
                check_place(&err);
            fake_stop(&fake);
        }
    print_message("%u of %u bits are without harm\n", harmless, total);
    assert_in_range(harmless, 0, total / 8);
}

/* ---- handshakes ---- */

static void test_engine__what_a_handshake_refuses_is_told(void **state)
{
    (void)state;
    static const struct {
        uint32_t refuses;
        const char *said;
    } cases[] = {
        {0, "no structured replies"},
        {0x80000001, "invalid eflags"}, /* a server that knows no NBD_OPT_GO, and then hangs up */
        {0x80000002, "policy"},
        {0x80000005, "requires TLS"},
        {0x80000006, "no export named"},
        {0x80000007, "shutting down"},
        {0x80000008, "specific block sizes"},
        {0x8000abcd, "unknown reply"},
        {0x00001234, "unexpected option reply"},
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(cases); i++) {
        struct np_error err;
        struct plan plan = {.bytes = model.bytes};
        struct fake_nbd fake = fake_of(&plan);
        fake.refuses = cases[i].refuses;
        fake.no_structured_replies = true;
        fake_start(&fake);
        assert_int_equal(check_take(fake.listener.path, NULL, NULL, NULL, NULL, &err), -1);
        assert_int_equal(err.class, NP_FAILED);
        assert_non_null(strstr(err.message, "export 'vda'"));
        if (strstr(err.message, cases[i].said) == NULL)
            fail_msg("%s", err.message);
        fake_stop(&fake);
    }
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, note_resources, check_resources)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_engine__an_error_of_any_read_or_block_status_is_told_with_its_place),
        CASE(test_engine__a_server_that_is_killed_at_any_step_is_a_lost_connection),
        CASE(test_engine__a_server_that_takes_its_time_is_waited_for),
        CASE(test_engine__odd_cuts_of_a_real_server_change_nothing),
        CASE(test_engine__a_server_that_demands_tls_is_told_so),
        CASE(test_engine__a_size_that_changes_between_connections_is_an_error),
        CASE(test_engine__a_disk_of_no_bytes_is_stored),
        CASE(test_engine__a_disk_larger_than_any_is_an_error),
        CASE(test_engine__reading_behind_the_disks_end_is_an_error),
        CASE(test_engine__contexts_in_any_cuts_give_the_same_increment),
        CASE(test_engine__a_signal_ends_every_wait_for_the_server),
        CASE(test_engine__a_signal_ends_the_first_handshake),
        CASE(test_engine__garbage_in_any_answer_is_an_error),
        CASE(test_engine__a_flipped_bit_of_an_answers_header_is_an_error_or_without_harm),
        CASE(test_engine__what_a_handshake_refuses_is_told),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
