/*
 * Every damage that files can take, through every use case: see damage.h. A short run takes some of the
 * cases, others each time; NBDPULL_FAULTS=all takes every one, NBDPULL_DAMAGE_SEED repeats a short run, and
 * NBDPULL_DAMAGE_ONLY=CLASS takes one class.
 */
#include "damage.h"

#include "test.h"

#include "nbdpull/bytes.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CASE_SECONDS 120

static struct world world;
static uint64_t seed;
static bool all;

/* ---- which cases ---- */

static struct class
{
    const char *name;
    unsigned one_in; /* of a short run */
    unsigned long cases, run;
    uint64_t state;
} * current;

static char what[512];

static bool wanted(void *ctx)
{
    (void)ctx;
    current->cases++;
    current->state = current->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    bool take = all || (current->state >> 33) % current->one_in == 0;
    current->run += take;
    return take;
}

static void too_long(int number)
{
    (void)number;
    static const char text[] = "damage: this case does not end: ";
    if (write(2, text, sizeof(text) - 1) < 0 || write(2, what, strlen(what)) < 0 || write(2, "\n", 1) < 0)
        _exit(2);
    abort();
}

static void judge(const struct damage *damage)
{
    alarm(CASE_SECONDS);
    if (world.large)
        uses_judge_large(&world, damage);
    else
        uses_judge(&world, damage);
    alarm(0);
}

/* One file has other bytes. */
static void try_bytes(const struct set_file *file, const uint8_t *bytes, size_t size, struct damage damage)
{
    if (size == file->good.size && memcmp(bytes, file->good.bytes, size) == 0)
        return;
    damage.what = what;
    damage.files[0] = file;
    damage.file_count = damage.file_count > 0 ? damage.file_count : 1;
    damage.must_find = damage.must_find && file->kind == STREAM;
    world_write(&world, file->name, bytes, size);
    judge(&damage);
    world_heal(&world, file);
}

/* ---- bytes ---- */

static void flip(const struct set_file *file, size_t at, uint8_t bits)
{
    if (!wanted(NULL))
        return;
    snprintf(what, sizeof(what), "%s: byte %zu ^ %02x", file->name, at, bits);
    file->good.bytes[at] ^= bits;
    struct bytes changed = bytes_copy(file->good.bytes, file->good.size);
    file->good.bytes[at] ^= bits;
    try_bytes(file, changed.bytes, changed.size, (struct damage){.must_find = true});
    free(changed.bytes);
}

static void flips(const struct set_file *file)
{
    for (size_t at = 0; at < file->good.size; at++) {
        flip(file, at, (uint8_t)(1 << at % 8));
        flip(file, at, 0xff);
    }
}

static void truncations(const struct set_file *file)
{
    for (size_t size = 0; size < file->good.size; size++) {
        if (!wanted(NULL))
            continue;
        snprintf(what, sizeof(what), "%s: cut off after %zu bytes", file->name, size);
        try_bytes(file, file->good.bytes, size, (struct damage){.must_find = true});
    }
}

static void append(const struct set_file *file, const char *name, const uint8_t *bytes, size_t size)
{
    if (!wanted(NULL))
        return;
    struct bytes longer = bytes_copy(file->good.bytes, file->good.size);
    bytes_add(&longer, bytes, size);
    snprintf(what, sizeof(what), "%s: %zu bytes more: %s", file->name, size, name);
    try_bytes(file, longer.bytes, longer.size,
              (struct damage){.must_find = true, .zeroes_follow = np_is_zero(bytes, size)});
    free(longer.bytes);
}

static void appended(const struct set_file *file)
{
    static const size_t sizes[] = {1, 15, 16, 95, 96, 256, 512, 4096};
    uint8_t zeroes[4096] = {0}, ones[4096];
    memset(ones, 0xff, sizeof(ones));
    for (size_t i = 0; i < NP_ARRAY_SIZE(sizes); i++) {
        append(file, "zeroes", zeroes, sizes[i]);
        append(file, "ones", ones, sizes[i]);
        if (sizes[i] > file->good.size)
            continue;
        append(file, "its end once more", file->good.bytes + file->good.size - sizes[i], sizes[i]);
        append(file, "its beginning once more", file->good.bytes, sizes[i]);
    }
    for (size_t i = 0; i < world.file_count; i++)
        append(file, world.files[i].name, world.files[i].good.bytes, world.files[i].good.size);
}

/* ---- what a disk or a file system does ---- */

static void block(const struct set_file *file, const char *name, size_t at, size_t size, const uint8_t *from)
{
    if (!wanted(NULL))
        return;
    struct bytes changed = bytes_copy(file->good.bytes, file->good.size);
    memcpy(changed.bytes + at, from, size);
    snprintf(what, sizeof(what), "%s: %zu bytes at %zu are %s", file->name, size, at, name);
    try_bytes(file, changed.bytes, changed.size, (struct damage){.must_find = true});
    free(changed.bytes);
}

static void blocks(const struct set_file *file)
{
    static const size_t sizes[] = {512, 4096};
    uint8_t zeroes[4096] = {0}, ones[4096];
    memset(ones, 0xff, sizeof(ones));
    for (size_t i = 0; i < NP_ARRAY_SIZE(sizes); i++)
        for (size_t at = 0; at < file->good.size; at += sizes[i]) {
            size_t size = np_min_u64(sizes[i], file->good.size - at);
            block(file, "zeroes", at, size, zeroes);
            block(file, "ones", at, size, ones);
            if (at >= sizes[i])
                block(file, "the block before", at, size, file->good.bytes + at - sizes[i]);
            for (size_t k = 0; k < world.file_count; k++) {
                const struct set_file *other = &world.files[k];
                if (other != file && at + size <= other->good.size)
                    block(file, other->name, at, size, other->good.bytes + at);
            }
            if (at + size <= file->attempt.size)
                block(file, "another attempt's", at, size, file->attempt.bytes + at);
        }
}

/* ---- records ---- */

struct variant_of {
    const struct set_file *file;
    bool forged;
};

static void try_variant(void *ctx, const char *name, const uint8_t *bytes, size_t size)
{
    const struct variant_of *of = ctx;
    snprintf(what, sizeof(what), "%s: %s", of->file->name, name);
    bool raw = strstr(name, "they are") != NULL || strstr(name, "it is") != NULL;
    try_bytes(of->file, bytes, size, (struct damage){.must_find = of->forged || raw, .forged = of->forged});
}

static void moved(const struct set_file *file)
{
    struct variant_of of = {.file = file};
    const struct variants to = {.each = try_variant, .wanted = wanted, .ctx = &of};
    if (file->kind == STREAM)
        records_moved(&to, &file->good);
}

static void replaced(const struct set_file *file)
{
    struct variant_of of = {.file = file};
    const struct variants to = {.each = try_variant, .wanted = wanted, .ctx = &of};
    if (file->kind != STREAM)
        return;
    for (size_t i = 0; i < world.file_count; i++) {
        const struct set_file *other = &world.files[i];
        if (other != file && other->kind == STREAM)
            records_replaced(&to, &file->good, &other->good, other->name);
    }
    records_replaced(&to, &file->good, &file->attempt, "another attempt");
}

static void forged(const struct set_file *file)
{
    struct variant_of of = {.file = file, .forged = true};
    const struct variants to = {.each = try_variant, .wanted = wanted, .ctx = &of};
    if (file->kind == STREAM)
        records_forged(&to, &file->good);
}

/* ---- whole files ---- */

static void exchange(const struct set_file *a, const struct set_file *b)
{
    if (!wanted(NULL))
        return;
    snprintf(what, sizeof(what), "%s and %s exchanged", a->name, b->name);
    bool streams = a->kind == STREAM && b->kind == STREAM;
    const struct damage damage = {
        .what = what, .files = {a, b}, .file_count = 2, .must_find = streams, .good_alone = streams};
    world_write(&world, a->name, b->good.bytes, b->good.size);
    world_write(&world, b->name, a->good.bytes, a->good.size);
    judge(&damage);
    world_heal(&world, a);
    world_heal(&world, b);
}

static void stand_in(const struct set_file *file, const char *name, const struct bytes *bytes)
{
    if (!wanted(NULL))
        return;
    snprintf(what, sizeof(what), "%s is %s", file->name, name);
    try_bytes(file, bytes->bytes, bytes->size, (struct damage){.must_find = true, .good_alone = true});
}

/* Something else than a file. */
static void no_file(const struct set_file *file, const char *name, int (*make)(const char *path))
{
    char path[DAMAGE_PATH * 2];
    if (!wanted(NULL))
        return;
    snprintf(what, sizeof(what), "%s is %s", file->name, name);
    snprintf(path, sizeof(path), "%s/%s", world.set, file->name);
    const struct damage damage = {
        .what = what, .files = {file}, .file_count = 1, .must_find = file->kind == STREAM, .missing = true};
    world_remove(&world, file->name);
    if (make(path) < 0)
        abort();
    judge(&damage);
    if (make(NULL) == 0) /* something is there */
        world_remove(&world, file->name);
    world_heal(&world, file);
}

static int make_nothing(const char *path)
{
    return path == NULL ? -1 : 0;
}

static int make_directory(const char *path)
{
    return path == NULL ? 0 : mkdir(path, 0700);
}

static int make_pipe(const char *path)
{
    return path == NULL ? 0 : mkfifo(path, 0600);
}

static int make_link(const char *path)
{
    return path == NULL ? 0 : symlink("/dev/zero", path);
}

static void files(const struct set_file *file)
{
    for (const struct set_file *other = file + 1; other < world.files + world.file_count; other++)
        exchange(file, other);
    for (size_t i = 0; i < world.file_count; i++)
        if (&world.files[i] != file)
            stand_in(file, world.files[i].name, &world.files[i].good);
    if (file->kind == STREAM)
        stand_in(file, "another attempt's", &file->attempt);
    no_file(file, "not there", make_nothing);
    no_file(file, "a directory", make_directory);
    no_file(file, "a named pipe", make_pipe);
    no_file(file, "a link", make_link);
}

/* ---- several at once ---- */

static uint64_t draw(uint64_t below)
{
    static uint64_t state = 99;
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (state >> 33) % below;
}

static void flip_at_random(const struct set_file *file, unsigned count)
{
    struct bytes changed = bytes_copy(file->good.bytes, file->good.size);
    size_t used = (size_t)snprintf(what, sizeof(what), "%s:", file->name);
    for (unsigned i = 0; i < count; i++) {
        size_t at = draw(changed.size);
        uint8_t bits = (uint8_t)(1 + draw(255));
        changed.bytes[at] ^= bits;
        used += (size_t)snprintf(what + used, sizeof(what) - used, " byte %zu ^ %02x", at, bits);
    }
    try_bytes(file, changed.bytes, changed.size, (struct damage){.must_find = true});
    free(changed.bytes);
}

static void several(const struct set_file *file)
{
    for (unsigned i = 0; i < 400; i++) {
        bool take = wanted(NULL);
        if (take)
            flip_at_random(file, 2 + (unsigned)draw(6));
    }
}

static void single(const struct set_file *file)
{
    for (unsigned i = 0; file->kind == STREAM && i < 3000; i++)
        if (wanted(NULL))
            flip_at_random(file, 1);
}

/* ---- all of them ---- */

static double processor_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static void run_class(struct class *class, void (*cases)(const struct set_file *file))
{
    const char *only = getenv("NBDPULL_DAMAGE_ONLY");
    if (only != NULL && strcmp(only, class->name) != 0)
        return;
    const char *one_in = getenv("NBDPULL_DAMAGE_ONE_IN");
    if (one_in != NULL && atoi(one_in) > 0)
        class->one_in = (unsigned)atoi(one_in);
    unsigned long runs = damage_runs, failures = damage_failures, doubted = damage_doubted;
    double began = processor_seconds();
    current = class;
    class->state = seed;
    for (size_t i = 0; i < world.file_count; i++)
        cases(&world.files[i]);
    printf("%-16s %7lu of %7lu cases, %8lu runs of a use case, %6.1f s, %lu points doubted, %lu wrong\n",
           class->name, class->run, class->cases, damage_runs - runs, processor_seconds() - began,
           damage_doubted - doubted, damage_failures - failures);
    fflush(stdout);
}

static void run_small(void)
{
    world_make_small(&world);
    size_t bytes = 0;
    for (size_t i = 0; i < world.file_count; i++)
        bytes += world.files[i].good.size;
    printf("a small set: %zu files, %zu bytes\n", world.file_count, bytes);
    uses_begin(&world);
    run_class(&(struct class){.name = "flips", .one_in = 1500}, flips);
    run_class(&(struct class){.name = "truncations", .one_in = 1500}, truncations);
    run_class(&(struct class){.name = "appended", .one_in = 40}, appended);
    run_class(&(struct class){.name = "blocks", .one_in = 40}, blocks);
    run_class(&(struct class){.name = "records_moved", .one_in = 200}, moved);
    run_class(&(struct class){.name = "records_replaced", .one_in = 100}, replaced);
    run_class(&(struct class){.name = "records_forged", .one_in = 200}, forged);
    run_class(&(struct class){.name = "files", .one_in = 20}, files);
    run_class(&(struct class){.name = "several", .one_in = 200}, several);
    uses_end();
    world_clear(&world);
}

static void run_large(void)
{
    world_make_large(&world);
    size_t bytes = 0;
    for (size_t i = 0; i < world.file_count; i++)
        bytes += world.files[i].good.size;
    printf("a large set: %zu bytes\n", bytes);
    uses_begin(&world);
    run_class(&(struct class){.name = "large", .one_in = 600}, single);
    uses_end();
    world_clear(&world);
}

int main(void)
{
    const char *how = getenv("NBDPULL_FAULTS"), *asked = getenv("NBDPULL_DAMAGE_SEED");
    asked = asked != NULL ? asked : getenv("NBDPULL_CHOICE");
    all = how != NULL && strcmp(how, "all") == 0;
    seed = asked != NULL ? strtoull(asked, NULL, 10) : (uint64_t)time(NULL);
    if (!all)
        printf("some of the cases: NBDPULL_DAMAGE_SEED=%ju takes these again\n", (uintmax_t)seed);
    signal(SIGALRM, too_long);
    run_small();
    run_large();
    printf("%lu runs of a use case, %lu wrong\n", damage_runs, damage_failures);
    return damage_failures > 0;
}
