/*
 * What every use case says of a set, held against the truth: exact, or an error that names the file; never
 * wrong bytes, never a good word for what is not. A use case is a function of the table at the end.
 */
#include "damage.h"

#include "app/origin.h"
#include "set/point.h"
#include "test.h"

#include "nbdpull/app.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/hash.h"
#include "nbdpull/log.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FAILURES_SHOWN 200
#define LARGE_PARTS 10

unsigned long damage_failures, damage_runs, damage_doubted;

/* ---- what went wrong ---- */

static void wrong(const struct damage *damage, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void wrong(const struct damage *damage, const char *format, ...)
{
    va_list arguments;
    if (damage_failures++ >= FAILURES_SHOWN)
        return;
    printf("WRONG: %s: ", damage->what);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fflush(stdout);
}

/* ---- files that a restore makes ---- */

#define OUT_FILES 8

struct out_file {
    char name[64];
    struct np_hash128 sum;
    uint64_t size;
};

struct out {
    struct out_file files[OUT_FILES];
    size_t count;
};

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const struct out_file *)a)->name, ((const struct out_file *)b)->name);
}

static struct bytes read_out(const struct world *world, const char *name)
{
    struct np_error err = NP_ERROR_INIT;
    char path[DAMAGE_PATH * 3], *text = NULL;
    size_t size = 0;
    snprintf(path, sizeof(path), "%s/%s", world->out, name);
    if (np_file_read_whole(AT_FDCWD, path, path, 1u << 30, &text, &size, &err) < 0) {
        fprintf(stderr, "damage: %s\n", err.message);
        abort();
    }
    return (struct bytes){.bytes = (uint8_t *)text, .size = size};
}

/* What lies in the target directory. */
static void list_out(const struct world *world, struct out *out)
{
    *out = (struct out){0};
    DIR *dir = opendir(world->out);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.' && (entry->d_name[1] == '\0' || entry->d_name[1] == '.'))
            continue;
        assert(out->count < OUT_FILES);
        struct out_file *file = &out->files[out->count++];
        snprintf(file->name, sizeof(file->name), "%.60s", entry->d_name);
        struct bytes bytes = read_out(world, entry->d_name);
        file->size = bytes.size;
        file->sum = np_hash128(bytes.bytes, bytes.size);
        free(bytes.bytes);
    }
    if (dir != NULL)
        closedir(dir);
    qsort(out->files, out->count, sizeof(out->files[0]), compare_files);
}

static void remove_out(const struct world *world)
{
    struct np_error err = NP_ERROR_INIT;
    struct stat st;
    if (lstat(world->out, &st) == 0 && np_dir_remove(AT_FDCWD, world->out, world->out, &err) < 0) {
        fprintf(stderr, "damage: %s\n", err.message);
        abort();
    }
}

static bool same_out(const struct out *a, const struct out *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++)
        same = strcmp(a->files[i].name, b->files[i].name) == 0 && a->files[i].size == b->files[i].size &&
               np_hash128_equal(a->files[i].sum, b->files[i].sum);
    return same;
}

/* Images only: XML and NVRAM that somebody has taken out, with all sums put right, leave no trace in what is
 * scanned. */
static bool same_images(const struct out *a, const struct out *b)
{
    struct out images[2] = {{.count = 0}, {.count = 0}};
    for (int k = 0; k < 2; k++) {
        const struct out *from = k == 0 ? a : b;
        for (size_t i = 0; i < from->count; i++)
            if (strstr(from->files[i].name, ".raw") != NULL)
                images[k].files[images[k].count++] = from->files[i];
    }
    return same_out(&images[0], &images[1]);
}

/* ---- the truth ---- */

enum format { RAW, QCOW2, FORMATS };
static const char *const format_names[] = {"raw", "qcow2"};

/* What a dump tells, as text: with places in the file, and without. */
struct told {
    struct bytes text, placed;
};

static void told_clear(struct told *told)
{
    free(told->text.bytes);
    free(told->placed.bytes);
}

static bool same_bytes(const struct bytes *a, const struct bytes *b)
{
    return a->size == b->size && (a->size == 0 || memcmp(a->bytes, b->bytes, a->size) == 0);
}

static struct truth {
    struct out points[DAMAGE_POINTS][FORMATS]; /* from the set */
    struct told list, map;                     /* of the set */
    struct {
        struct out out[FORMATS];
        bool whole; /* it can be restored alone */
        struct told map;
    } alone[DAMAGE_FILES]; /* a stream alone, from a file and from a pipe */
} truth;

/* ---- running the use cases ---- */

struct source {
    const char *input;
    int fd; /* for "-" */
};

/* @param result out; to be cleared */
static int restore_into(const struct world *world, const struct source *from, const char *until,
                        enum format format, enum np_salvage_mode salvage, struct np_restore_result *result,
                        struct np_error *err)
{
    const struct np_restore_request request = {.input = from->input,
                                               .in_fd = from->fd,
                                               .until = until,
                                               .dir = world->out,
                                               .format = format_names[format],
                                               .salvage = salvage,
                                               .workers = 1};
    remove_out(world);
    damage_runs++;
    return np_app_restore(&request, result, err);
}

static int do_restore(const struct world *world, const struct source *from, const char *until,
                      enum format format, struct np_error *err)
{
    struct np_restore_result result;
    int done = restore_into(world, from, until, format, NP_SALVAGE_NO, &result, err);
    np_restore_result_clear(&result);
    return done;
}

struct verdict {
    int done;
    struct np_error err;
    bool listed[DAMAGE_POINTS], affected[DAMAGE_POINTS];
    bool named; /* one of the touched files */
    char first[512];
    struct bytes points; /* as text */
};

static void verdict_clear(struct verdict *verdict)
{
    free(verdict->points.bytes);
}

static bool names_touched(const struct damage *damage, const char *text)
{
    for (size_t i = 0; i < damage->file_count; i++) {
        const char *slash = strrchr(damage->files[i]->name, '/');
        if (strstr(text, slash != NULL ? slash + 1 : damage->files[i]->name) != NULL)
            return true;
    }
    return false;
}

static void add_point(const struct np_point *point, struct bytes *to)
{
    struct np_error err = NP_ERROR_INIT;
    char *text;
    size_t size;
    if (np_point_encode(point, "point", &text, &size, &err) < 0)
        abort();
    bytes_add(to, text, size);
    free(text);
}

static void do_verify(const struct damage *damage, const struct source *from, enum np_verify_depth depth,
                      unsigned sample, unsigned part, struct verdict *verdict)
{
    struct np_verify_result result;
    const struct np_verify_request request = {.input = from->input,
                                              .in_fd = from->fd,
                                              .depth = depth,
                                              .workers = 1,
                                              .sample = sample,
                                              .part = part};
    *verdict = (struct verdict){.err = NP_ERROR_INIT};
    damage_runs++;
    verdict->done = np_app_verify(&request, &result, &verdict->err);
    for (size_t i = 0; i < result.points.count; i++) {
        unsigned number = (unsigned)atoi(result.points.list[i].id);
        add_point(&result.points.list[i], &verdict->points);
        if (number == 0 || number > DAMAGE_POINTS || result.states == NULL)
            continue;
        verdict->listed[number - 1] = true;
        verdict->affected[number - 1] =
            result.states[i] == NP_VERIFY_AFFECTED || result.states[i] == NP_VERIFY_UNKNOWN;
    }
    verdict->named = names_touched(damage, verdict->err.message);
    snprintf(verdict->first, sizeof(verdict->first), "%.500s", verdict->err.message);
    for (size_t i = 0; i < result.damage_count; i++) {
        verdict->named |= names_touched(damage, result.damages[i].message);
        if (i == 0)
            snprintf(verdict->first, sizeof(verdict->first), "%.500s", result.damages[i].message);
    }
    np_verify_result_clear(&result);
}

static int add_row(void *ctx, const struct np_map_row *row, struct np_error *err)
{
    (void)err;
    struct told *told = ctx;
    char line[256];
    int size = snprintf(line, sizeof(line), "%s %s %s %ju %ju %s\n", row->point, row->target, row->kind,
                        (uintmax_t)row->offset, (uintmax_t)row->length, row->codec);
    bytes_add(&told->text, line, (size_t)size);
    size = snprintf(line, sizeof(line), "%ju %ju\n", (uintmax_t)row->pos, (uintmax_t)row->size);
    bytes_add(&told->placed, line, (size_t)size);
    return 0;
}

static int do_dump(const struct source *from, bool map, struct told *told, struct np_error *err)
{
    struct np_dump_result result;
    const struct np_dump_request request = {
        .input = from->input, .in_fd = from->fd, .row = map ? add_row : NULL, .row_ctx = told};
    *told = (struct told){0};
    damage_runs++;
    int done = np_app_dump(&request, &result, err);
    for (size_t i = 0; done == 0 && i < result.points.count; i++) {
        for (size_t k = 0; k < result.points.list[i].disk_count; k++) {
            struct np_point_disk *disk = &result.points.list[i].disks[k];
            bool alone = from->input[0] == '-' || strcmp(disk->file, from->input) == 0;
            if (alone) /* by what name it was reached, and how many bytes were read */
                disk->stream_size = 0, disk->file[0] = '\0';
        }
        add_point(&result.points.list[i], &told->text);
    }
    bytes_add(&told->text, result.domain, strlen(result.domain));
    bytes_add(&told->text, result.domain_uuid.bytes, sizeof(result.domain_uuid.bytes));
    bytes_add(&told->text, result.set.bytes, sizeof(result.set.bytes));
    np_dump_result_clear(&result);
    return done;
}

/* ---- judging ---- */

static void judge_error(const struct damage *damage, const char *use, bool pipe, const struct np_error *err)
{
    bool right = err->class == NP_DAMAGED || (damage->missing && err->class == NP_FAILED);
    if (!right)
        wrong(damage, "%s: class %s: %s", use, np_class_name(err->class), err->message);
    else if (damage->forged) /* what is missed may be another stream's, for all that anybody can see */
        return;
    else if (!(pipe ? strstr(err->message, "standard input") != NULL : names_touched(damage, err->message)))
        wrong(damage, "%s: names no file: %s", use, err->message);
}

/* @return true: it was restored */
static bool judge_restore(struct world *world, const struct damage *damage, const char *use, int done,
                          bool pipe, const struct out *wanted, const struct np_error *err)
{
    struct out out;
    list_out(world, &out);
    if (done == 0) {
        if (wanted == NULL || !same_out(&out, wanted))
            wrong(damage, "%s: status 0, and not what was backed up", use);
        return true;
    }
    if (out.count > 0)
        wrong(damage, "%s: failed, and %s is there", use, out.files[0].name);
    judge_error(damage, use, pipe, err);
    return false;
}

static void judge_dump(const struct damage *damage, const char *use, int done, bool pipe, struct told *told,
                       const struct told *wanted, const struct np_error *err)
{
    if (done < 0)
        judge_error(damage, use, pipe, err);
    else if (!damage->forged && (!same_bytes(&told->text, &wanted->text) ||
                                 (damage->must_find && !same_bytes(&told->placed, &wanted->placed))))
        wrong(damage, "%s: status 0, and not what the set holds", use);
    told_clear(told);
}

static const char *const depth_names[] = {"verify --quick", "verify", "verify --deep"};

static bool is_of_set(const struct damage *damage)
{
    for (size_t i = 0; i < damage->file_count; i++)
        if (damage->files[i]->kind == SET_JSON)
            return true;
    return false;
}

static void judge_verdicts(const struct damage *damage, const struct verdict *verdicts, const bool *refused)
{
    for (int depth = NP_VERIFY_QUICK; depth <= NP_VERIFY_DEEP; depth++) {
        const struct verdict *verdict = &verdicts[depth], *sums = &verdicts[NP_VERIFY_SUMS];
        bool quick = depth == NP_VERIFY_QUICK;
        if (verdict->done == 0 && damage->must_find && !quick)
            wrong(damage, "%s: finds nothing", depth_names[depth]);
        if (verdict->done < 0 && verdict->err.class != NP_DAMAGED &&
            !(damage->missing && verdict->err.class == NP_UNCHECKED))
            wrong(damage, "%s: class %s: %s", depth_names[depth], np_class_name(verdict->err.class),
                  verdict->err.message);
        if (verdict->done < 0 && !verdict->named)
            wrong(damage, "%s: names no file: %s", depth_names[depth], verdict->first);
        if (quick && verdict->done < 0 && sums->done == 0)
            wrong(damage, "%s: damaged, where verify finds nothing: %s", depth_names[depth], verdict->first);
        for (unsigned p = 0; p < DAMAGE_POINTS; p++) {
            bool told = verdict->affected[p] || (verdict->done < 0 && !verdict->listed[p]) ||
                        (verdict->done < 0 && is_of_set(damage));
            damage_doubted += depth == NP_VERIFY_SUMS && verdict->affected[p] && !refused[p];
            if (!quick && refused[p] && !told)
                wrong(damage, "%s: point %u cannot be restored, and is not affected: %s", depth_names[depth],
                      p + 1, verdict->first);
            if (quick && verdict->affected[p] && !sums->affected[p])
                wrong(damage, "%s: point %u is affected, where verify says that it is not: %s",
                      depth_names[depth], p + 1, verdict->first);
        }
    }
}

/* ---- the use cases: of the set ---- */

static void use_set(struct world *world, const struct damage *damage)
{
    const struct source from = {.input = world->set};
    struct verdict verdicts[3];
    bool refused[DAMAGE_POINTS] = {0};
    char use[64], id[16];
    static unsigned turn;
    turn++;
    for (unsigned p = 0; p < world->points; p++) {
        struct np_error err = NP_ERROR_INIT;
        enum format format = (turn + p) % 3 == 0 ? QCOW2 : RAW;
        snprintf(use, sizeof(use), "restore --until %u as %s", p + 1, format_names[format]);
        snprintf(id, sizeof(id), "%u", p + 1);
        int done = do_restore(world, &from, id, format, &err);
        refused[p] = !judge_restore(world, damage, use, done, false, &truth.points[p][format], &err);
    }
    for (int depth = NP_VERIFY_QUICK; depth <= NP_VERIFY_DEEP; depth++)
        do_verify(damage, &from, (enum np_verify_depth)depth, 0, 0, &verdicts[depth]);
    judge_verdicts(damage, verdicts, refused);
    for (int depth = NP_VERIFY_QUICK; depth <= NP_VERIFY_DEEP; depth++)
        verdict_clear(&verdicts[depth]);
}

static void use_dump(struct world *world, const struct damage *damage)
{
    const struct source from = {.input = world->set};
    struct told told;
    for (int map = 0; map <= 1; map++) {
        struct np_error err = NP_ERROR_INIT;
        int done = do_dump(&from, map, &told, &err);
        judge_dump(damage, map ? "dump --map" : "dump", done, false, &told, map ? &truth.map : &truth.list,
                   &err);
    }
}

/* ---- of one stream, from a file and from a pipe ---- */

static size_t number_of(const struct world *world, const struct set_file *file)
{
    return (size_t)(file - world->files);
}

static struct source source_of(const char *path, bool pipe)
{
    return pipe ? (struct source){.input = "-", .fd = open(path, O_RDONLY | O_CLOEXEC)}
                : (struct source){.input = path, .fd = -1};
}

static void source_close(struct source *from)
{
    if (from->fd >= 0)
        close(from->fd);
}

/* An increment alone cannot be restored, and that is no damage. */
static bool is_increment_alone(const struct np_error *err)
{
    return err->class == NP_FAILED && strstr(err->message, "restore it from its set") != NULL;
}

static void restore_alone(struct world *world, const struct damage *damage, size_t number, const char *path,
                          bool pipe, enum format format)
{
    struct np_error err = NP_ERROR_INIT;
    char use[64];
    struct source from = source_of(path, pipe);
    snprintf(use, sizeof(use), "restore of a %s as %s", pipe ? "pipe" : "file", format_names[format]);
    int done = do_restore(world, &from, NULL, format, &err);
    source_close(&from);
    if (done < 0 && is_increment_alone(&err)) /* as META says, which may be another stream's */
        return;
    judge_restore(world, damage, use, done, pipe,
                  truth.alone[number].whole ? &truth.alone[number].out[format] : NULL, &err);
}

static void verify_alone(const struct damage *damage, const char *path, bool pipe)
{
    for (int depth = NP_VERIFY_SUMS; depth <= NP_VERIFY_DEEP; depth++) {
        struct verdict verdict;
        struct source from = source_of(path, pipe);
        do_verify(damage, &from, (enum np_verify_depth)depth, 0, 0, &verdict);
        source_close(&from);
        if (verdict.done == 0 && damage->must_find && !(pipe && damage->zeroes_follow))
            wrong(damage, "%s of a %s: finds nothing", depth_names[depth], pipe ? "pipe" : "file");
        if (verdict.done < 0 && verdict.err.class != NP_DAMAGED)
            wrong(damage, "%s of a %s: class %s: %s", depth_names[depth], pipe ? "pipe" : "file",
                  np_class_name(verdict.err.class), verdict.err.message);
        verdict_clear(&verdict);
    }
}

static void dump_alone(const struct damage *damage, size_t number, const char *path, bool pipe)
{
    struct np_error err = NP_ERROR_INIT;
    struct told told;
    struct source from = source_of(path, pipe);
    int done = do_dump(&from, true, &told, &err);
    source_close(&from);
    judge_dump(damage, pipe ? "dump --map of a pipe" : "dump --map of a file", done, pipe, &told,
               &truth.alone[number].map, &err);
}

static void use_alone(struct world *world, const struct damage *damage)
{
    static unsigned turn;
    for (size_t i = 0; i < damage->file_count; i++) {
        char path[DAMAGE_PATH * 2];
        struct stat st;
        snprintf(path, sizeof(path), "%s/%s", world->set, damage->files[i]->name);
        if (damage->files[i]->kind != STREAM || damage->good_alone || lstat(path, &st) < 0 ||
            !S_ISREG(st.st_mode))
            continue;
        size_t number = number_of(world, damage->files[i]);
        for (int pipe = 0; pipe <= 1; pipe++) {
            restore_alone(world, damage, number, path, pipe, turn++ % 3 == 0 ? QCOW2 : RAW);
            verify_alone(damage, path, pipe);
            dump_alone(damage, number, path, pipe);
        }
    }
}

/* ---- salvage ---- */

/* Where sums were made right, nobody can tell what was there; the status must say that all the same. */
static bool is_accident(const struct damage *damage)
{
    bool streams = true;
    for (size_t i = 0; i < damage->file_count; i++)
        streams = streams && damage->files[i]->kind == STREAM;
    return (damage->must_find || !streams) && !damage->forged;
}

/* Take out of `image` what its list says is not as it was. */
static void forgive_losses(struct bytes *image, const struct bytes *disk, const char *losses)
{
    char line[1024];
    FILE *list = losses != NULL ? fopen(losses, "re") : NULL;
    while (list != NULL && fgets(line, sizeof(line), list) != NULL) {
        uintmax_t offset, length;
        if (sscanf(line, "%ju %ju ", &offset, &length) == 2 && offset <= disk->size &&
            length <= disk->size - offset)
            memcpy(image->bytes + offset, disk->bytes + offset, length);
    }
    if (list != NULL)
        fclose(list);
}

static void judge_salvaged(const struct world *world, const struct damage *damage, unsigned p,
                           const struct np_restore_result *result)
{
    for (size_t i = 0; i < result->disk_count; i++) {
        const struct np_restored_disk *disk = &result->disks[i];
        const struct bytes *wanted = &world->disks[p][disk->target[2] - 'a'];
        char name[16];
        snprintf(name, sizeof(name), "%.3s.raw", disk->target);
        struct bytes image = read_out(world, name);
        if (image.size == wanted->size)
            forgive_losses(&image, wanted, disk->losses);
        if (!same_bytes(&image, wanted))
            wrong(damage, "restore --salvage of %u: %s is neither as it was nor listed", p + 1, name);
        if (disk->losses != NULL && !disk->lost)
            wrong(damage, "restore --salvage of %u: %s: a list, and no loss", p + 1, name);
        free(image.bytes);
    }
}

/* Whatever it cost: a disk whose own stream at the point was touched must be told of. */
static void judge_told(const struct damage *damage, unsigned p, const struct np_restore_result *result)
{
    for (size_t i = 0; damage->must_find && !damage->forged && i < result->disk_count; i++)
        for (size_t j = 0; j < damage->file_count; j++) {
            const struct set_file *file = damage->files[j];
            if (file->kind == STREAM && file->point == p + 1 && file->disk == result->disks[i].target[2] &&
                !result->disks[i].damaged)
                wrong(damage, "restore --salvage of %u: not a word of damage in %s", p + 1, file->name);
        }
}

static void use_salvage(struct world *world, const struct damage *damage)
{
    const struct source from = {.input = world->set};
    static unsigned turn;
    for (unsigned p = 0; p < world->points; p++) {
        struct np_error err = NP_ERROR_INIT;
        struct np_restore_result result;
        struct out out;
        char id[16];
        snprintf(id, sizeof(id), "%u", p + 1);
        int done = restore_into(world, &from, id, RAW, turn++ % 2 == 0 ? NP_SALVAGE_ZERO : NP_SALVAGE_OLDER,
                                &result, &err);
        list_out(world, &out);
        if (done == 0 || err.class == NP_LOSSES)
            judge_told(damage, p, &result);
        if (done == 0 && !(is_accident(damage) ? same_out(&out, &truth.points[p][RAW])
                                               : same_images(&out, &truth.points[p][RAW])))
            wrong(damage, "restore --salvage of %u: status 0, and not what was backed up", p + 1);
        else if (done < 0 && err.class == NP_LOSSES && is_accident(damage))
            judge_salvaged(world, damage, p, &result);
        else if (done < 0 && err.class != NP_LOSSES && out.count > 0)
            wrong(damage, "restore --salvage of %u: failed, and %s is there", p + 1, out.files[0].name);
        else if (done < 0 && err.class != NP_LOSSES && err.class != NP_DAMAGED && err.class != NP_FAILED)
            wrong(damage, "restore --salvage of %u: class %s: %s", p + 1, np_class_name(err.class),
                  err.message);
        np_restore_result_clear(&result);
    }
}

/* ---- the table ---- */

/* Each runs on the set as it is now, and calls wrong() of what is not right. */
static void (*const uses[])(struct world *world, const struct damage *damage) = {use_set, use_dump, use_alone,
                                                                                 use_salvage};

void uses_judge(struct world *world, const struct damage *damage)
{
    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++)
        uses[i](world, damage);
    remove_out(world);
}

/* ---- a large set ---- */

void uses_judge_large(struct world *world, const struct damage *damage)
{
    struct np_error err = NP_ERROR_INIT;
    const struct source from = {.input = world->set};
    struct verdict verdicts[3] = {0};
    bool refused[DAMAGE_POINTS] = {0}, found = false;
    for (int depth = NP_VERIFY_QUICK; depth <= NP_VERIFY_SUMS; depth++)
        do_verify(damage, &from, (enum np_verify_depth)depth, 0, 0, &verdicts[depth]);
    verdicts[NP_VERIFY_DEEP] = verdicts[NP_VERIFY_SUMS];
    int done = do_restore(world, &from, NULL, RAW, &err);
    refused[0] =
        !judge_restore(world, damage, "restore of a large set", done, false, &truth.points[0][RAW], &err);
    judge_verdicts(damage, verdicts, refused);
    for (unsigned part = 1; part <= LARGE_PARTS && !found; part++) {
        struct verdict verdict;
        do_verify(damage, &from, NP_VERIFY_SUMS, 100 / LARGE_PARTS, part, &verdict);
        found = verdict.done < 0;
        verdict_clear(&verdict);
    }
    if (!found)
        wrong(damage, "verify --sample: no part finds it");
    verdict_clear(&verdicts[NP_VERIFY_QUICK]);
    verdict_clear(&verdicts[NP_VERIFY_SUMS]);
    remove_out(world);
}

/* ---- the truth ---- */

static void not_true(const char *what, const char *message)
{
    fprintf(stderr, "damage: the undamaged set: %s: %s\n", what, message);
    abort();
}

/* Images are compared with the disks once; from then on their sums are the truth. */
static void compare_images(const struct world *world, unsigned p, char only)
{
    for (size_t i = 0; i < DAMAGE_DISKS; i++) {
        char name[16];
        const struct bytes *disk = &world->disks[p][i];
        if (disk->bytes == NULL || (only != 0 && only != (char)('a' + i)))
            continue;
        snprintf(name, sizeof(name), "vd%c.raw", (char)('a' + i));
        struct bytes image = read_out(world, name);
        if (!same_bytes(&image, disk))
            not_true(name, "differs from the disk");
        free(image.bytes);
    }
}

/* The same by QEMU, which knows qcow2. */
static void compare_qcow2(const struct world *world, unsigned p)
{
    for (size_t i = 0; i < DAMAGE_DISKS; i++) {
        char command[1024], raw[DAMAGE_PATH];
        const struct bytes *disk = &world->disks[p][i];
        if (disk->bytes == NULL)
            continue;
        snprintf(raw, sizeof(raw), "%s/truth", world->top);
        int fd = open(raw, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || write(fd, disk->bytes, disk->size) != (ssize_t)disk->size ||
            ftruncate(fd, (off_t)((disk->size + 511) / 512 * 512)) < 0 || close(fd) < 0)
            not_true(raw, "cannot be written");
        snprintf(command, sizeof(command), "qemu-img compare -q -f raw -F qcow2 '%s' '%s/vd%c.qcow2'", raw,
                 world->out, (char)('a' + i));
        if (system(command) != 0)
            not_true(command, "differs");
        unlink(raw);
    }
}

static void learn_points(struct world *world)
{
    const struct source from = {.input = world->set};
    for (unsigned p = 0; p < world->points; p++)
        for (int format = RAW; format <= (world->large ? RAW : QCOW2); format++) {
            struct np_error err = NP_ERROR_INIT;
            char id[16];
            snprintf(id, sizeof(id), "%u", p + 1);
            if (do_restore(world, &from, id, (enum format)format, &err) < 0)
                not_true(id, err.message);
            if (format == RAW)
                compare_images(world, p, 0);
            else
                compare_qcow2(world, p);
            list_out(world, &truth.points[p][format]);
        }
}

static void learn_alone(struct world *world)
{
    for (size_t i = 0; i < world->file_count; i++) {
        const struct set_file *file = &world->files[i];
        char path[DAMAGE_PATH * 2];
        struct np_error err = NP_ERROR_INIT;
        if (file->kind != STREAM)
            continue;
        snprintf(path, sizeof(path), "%s/%s", world->set, file->name);
        const struct source from = {.input = path, .fd = -1};
        truth.alone[i].whole = file->point == 1;
        for (int format = RAW; truth.alone[i].whole && format <= QCOW2; format++) {
            if (do_restore(world, &from, NULL, (enum format)format, &err) < 0)
                not_true(file->name, err.message);
            if (format == RAW)
                compare_images(world, file->point - 1, file->disk);
            list_out(world, &truth.alone[i].out[format]);
        }
        if (do_dump(&from, true, &truth.alone[i].map, &err) < 0)
            not_true(file->name, err.message);
    }
}

void uses_begin(struct world *world)
{
    const struct source from = {.input = world->set};
    const struct damage nothing = {.what = "nothing"};
    struct np_error err = NP_ERROR_INIT;
    learn_points(world);
    if (!world->large)
        learn_alone(world);
    if (do_dump(&from, false, &truth.list, &err) < 0 || do_dump(&from, true, &truth.map, &err) < 0)
        not_true("dump", err.message);
    for (int depth = NP_VERIFY_QUICK; depth <= NP_VERIFY_DEEP; depth++) {
        struct verdict verdict;
        do_verify(&nothing, &from, (enum np_verify_depth)depth, 0, 0, &verdict);
        if (verdict.done < 0)
            not_true(depth_names[depth], verdict.first);
        verdict_clear(&verdict);
    }
}

void uses_end(void)
{
    told_clear(&truth.list);
    told_clear(&truth.map);
    for (size_t i = 0; i < DAMAGE_FILES; i++)
        told_clear(&truth.alone[i].map);
    truth = (struct truth){0};
}
