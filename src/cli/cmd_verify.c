#include "command.h"
#include "options.h"
#include "output.h"
#include "report.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] = "Usage: nbdpull verify -i SET|FILE|- [OPTIONS]\n"
                           "\n"
                           "Check a set or a stream: what is damaged, which restore points that concerns,\n"
                           "and which are still good. Nothing is written into it.\n"
                           "\n"
                           "  -i, --input SET         backup set, a stream in a file, or - for a pipe\n"
                           "      --until POINT       only this point and what it builds on, as for restore\n"
                           "  -d, --disk DISK         only these disks: vda,vdb or repeated\n"
                           "      --quick             records, indexes, links and sizes; no payload\n"
                           "                          (default: and every stored byte's checksum)\n"
                           "      --deep              and decompress, compare every granule's hash, and the\n"
                           "                          digest of every disk of every point\n"
                           "      --sample PERCENT    only this part of the payloads, the next run another\n"
                           "      --sample-part N     the part, from 1, instead of the next one\n"
                           "      --image FILE        only compare this image with disk DISK of the point\n"
                           "      --format FORMAT     of the image: qcow2, raw (default: by its name)\n"
                           "  -w, --workers N         readers and expanders (2 a core, at most 8)\n"
                           "      --json              one JSON document with all that was found\n"
                           "  -q, --quiet             no progress, no summary; damage is told\n"
                           "  -v, --verbose           say each step on standard error\n"
                           "  -h, --help              this text\n"
                           "\n"
                           "Status: 0 good, 4 damaged, 5 something could not be checked.\n";

struct arguments {
    struct np_verify_request request;
    bool quick, deep;
    struct np_common common;
};

static void arguments_clear(struct arguments *arguments)
{
    np_targets_clear(&arguments->request.disks);
}

/* By the name only: what an image begins with, a guest may have written. */
static const char *format_of_name(const char *path)
{
    const char *dot = strrchr(path, '.');
    bool known = dot != NULL && (strcmp(dot, ".qcow2") == 0 || strcmp(dot, ".raw") == 0);
    return known ? dot + 1 : NULL;
}

static int check_image(struct arguments *arguments, struct np_error *err)
{
    struct np_verify_request *request = &arguments->request;
    if (request->image == NULL)
        return np_fail(err, NP_USAGE, "--format goes with --image FILE");
    if (strcmp(request->input, "-") == 0 || arguments->quick || arguments->deep || request->sample > 0)
        return np_fail(err, NP_USAGE,
                       "--image compares with a set or a file, and takes neither --quick, --deep nor "
                       "--sample");
    if (request->disks.count != 1)
        return np_fail(err, NP_USAGE, "--image needs -d DISK: which disk is it to be?");
    if (request->format == NULL)
        request->format = format_of_name(request->image);
    if (request->format == NULL)
        return np_fail(err, NP_USAGE, "%s: its name does not tell its format; give --format qcow2 or raw",
                       request->image);
    /* Of others it is not known how they name files, which QEMU would open with our rights. */
    if (np_target_find(request->format) == NULL)
        return np_fail(err, NP_USAGE, "--format %s: an image that was restored is qcow2 or raw",
                       request->format);
    return 0;
}

static int check(struct arguments *arguments, struct np_error *err)
{
    struct np_verify_request *request = &arguments->request;
    if (request->input == NULL)
        return np_fail(err, NP_USAGE, "verify needs -i SET; see nbdpull verify --help");
    bool pipe = strcmp(request->input, "-") == 0;
    if (pipe && isatty(STDIN_FILENO))
        return np_fail(err, NP_USAGE, "standard input is a terminal: give -i - a stream by a pipe");
    if (arguments->quick && arguments->deep)
        return np_fail(err, NP_USAGE, "--quick reads no payload, --deep all of it: give one of them");
    if (request->sample > 0 && (pipe || arguments->quick))
        return np_fail(err, NP_USAGE, "--sample takes payloads of a set or a file, and not with --quick");
    if (request->part > 0 && request->sample == 0)
        return np_fail(err, NP_USAGE, "--sample-part goes with --sample PERCENT");
    if (request->image != NULL || request->format != NULL)
        return check_image(arguments, err);
    if (pipe && (arguments->quick || request->disks.count > 0))
        return np_fail(err, NP_USAGE, "a pipe is checked as a whole: no --quick, and no --disk");
    request->in_fd = STDIN_FILENO;
    request->depth = arguments->quick ? NP_VERIFY_QUICK : arguments->deep ? NP_VERIFY_DEEP : NP_VERIFY_SUMS;
    return 0;
}

static int parse(struct arguments *arguments, int argc, char **argv, struct np_error *err)
{
    struct np_verify_request *request = &arguments->request;
    const struct np_option options[] = {
        {'i', "input", NP_OPTION_STRING, &request->input},
        {0, "until", NP_OPTION_STRING, &request->until},
        {'d', "disk", NP_OPTION_TARGETS, &request->disks},
        {0, "quick", NP_OPTION_FLAG, &arguments->quick},
        {0, "deep", NP_OPTION_FLAG, &arguments->deep},
        {0, "sample", NP_OPTION_PERCENT, &request->sample},
        {0, "sample-part", NP_OPTION_ORDINAL, &request->part},
        {0, "image", NP_OPTION_STRING, &request->image},
        {0, "format", NP_OPTION_STRING, &request->format},
        {'w', "workers", NP_OPTION_WORKERS, &request->workers},
        {0},
    };
    if (np_options_parse(argc, argv, options, &arguments->common, err) < 0)
        return -1;
    return arguments->common.help ? 0 : check(arguments, err);
}

/* ---- for people ---- */

#define LIST_TEXT 512

/* A point that was asked for. */
struct row {
    const char *id, *time; /* borrowed; "" */
    enum np_verify_state state;
    size_t point; /* in the result; SIZE_MAX: its record is no good */
};

/* By rising id, also those without a good record. */
struct rows {
    struct row *list; /* owned */
    size_t count;
    bool all; /* every point that there is */
};

static void rows_clear(struct rows *rows)
{
    free(rows->list);
}

static int compare_rows(const void *a, const void *b)
{
    return np_point_id_compare(((const struct row *)a)->id, ((const struct row *)b)->id);
}

static struct rows rows_of(const struct np_verify_result *result)
{
    size_t points = result->states != NULL ? result->points.count : 0;
    struct rows rows = {.all = true};
    rows.list = calloc(points + result->lost_count + 1, sizeof(*rows.list));
    for (size_t i = 0; rows.list != NULL && i < points; i++) {
        const struct np_point *point = &result->points.list[i];
        if (result->states[i] == NP_VERIFY_UNASKED)
            rows.all = false;
        else
            rows.list[rows.count++] = (struct row){point->id, point->time, result->states[i], i};
    }
    /* Where one point was asked for, these are not known to be of those it needs. */
    for (size_t i = 0; rows.list != NULL && rows.all && i < result->lost_count; i++)
        rows.list[rows.count++] =
            (struct row){result->lost[i].id, "",
                         result->lost[i].unchecked ? NP_VERIFY_UNKNOWN : NP_VERIFY_AFFECTED, SIZE_MAX};
    if (rows.count > 1)
        qsort(rows.list, rows.count, sizeof(*rows.list), compare_rows);
    return rows;
}

/* Which rows are meant: those that a damage affects or does not, or those of a state. */
struct choice {
    const struct np_verify_damage *damage; /* NULL: by state */
    bool affected;
    enum np_verify_state state;
};

/* Of a point without a record it is not known what it needs: only its own damage says something of it. */
static bool is_meant(const struct row *row, const struct choice *choice)
{
    const struct np_verify_damage *damage = choice->damage;
    if (damage == NULL)
        return row->state == choice->state;
    if (row->point != SIZE_MAX)
        return damage->affects[row->point] == choice->affected;
    return choice->affected && strncmp(damage->file, "points/", 7) == 0 &&
           strcmp(damage->point, row->id) == 0;
}

/* "0001-0003, 0007": neighbours of the list in one, so that a long chain stays one line. "" none. */
static const char *list_points(const struct rows *rows, struct choice choice, char text[LIST_TEXT])
{
    size_t used = 0;
    char first[NP_POINT_ID_MAX], last[NP_POINT_ID_MAX];
    text[0] = '\0';
    for (size_t i = 0; i < rows->count; i++) {
        if (!is_meant(&rows->list[i], &choice))
            continue;
        size_t to = i;
        while (to + 1 < rows->count && is_meant(&rows->list[to + 1], &choice))
            to++;
        np_output_text(rows->list[i].id, first, sizeof(first));
        np_output_text(rows->list[to].id, last, sizeof(last));
        if (first[0] == '\0') { /* a copy has no id, and is alone */
            snprintf(text, LIST_TEXT, "the only point in it");
            break;
        }
        if (used + sizeof(first) + sizeof(last) + 8 > LIST_TEXT) {
            snprintf(text + used, LIST_TEXT - used, ", ...");
            break;
        }
        used += (size_t)snprintf(text + used, LIST_TEXT - used, "%s%s%s%s", used > 0 ? ", " : "", first,
                                 to > i ? "-" : "", to > i ? last : "");
        i = to;
    }
    return text;
}

/* What must be said wherever something is called good. */
static const char *unread_of(const struct np_verify_request *request)
{
    return request->depth == NP_VERIFY_QUICK ? " (no payload was read)" : "";
}

static void print_damage(const struct rows *rows, const struct np_verify_damage *damage)
{
    char message[NP_ERROR_MESSAGE_MAX], affected[LIST_TEXT], others[LIST_TEXT];
    printf("%s: %s", damage->unchecked ? "not checked" : "damaged",
           np_output_text(damage->message, message, sizeof(message)));
    list_points(rows, (struct choice){.damage = damage, .affected = true}, affected);
    list_points(rows, (struct choice){.damage = damage, .affected = false}, others);
    if (rows->count == 0)
        np_output_line(stdout, "; affects all that is in it");
    else if (affected[0] == '\0')
        np_output_line(stdout, "; affects no restore point%s", rows->all ? "" : " of those asked for");
    else if (others[0] != '\0')
        np_output_line(stdout, "; affects %s, not %s", affected, others);
    else if (rows->count == 1)
        np_output_line(stdout, "; affects %s", affected);
    else
        np_output_line(stdout, "; affects %s and so all", affected);
}

static void print_states(const struct rows *rows, const char *unread)
{
    static const struct {
        enum np_verify_state state;
        const char *words;
    } states[] = {
        {NP_VERIFY_AFFECTED, "affected by damage"},
        {NP_VERIFY_UNKNOWN, "not known, not all could be checked"},
        {NP_VERIFY_GOOD, "good"},
    };
    char list[LIST_TEXT];
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        if (list_points(rows, (struct choice){.state = states[i].state}, list)[0] != '\0')
            np_output_line(stdout, "restore points %s: %s%s", states[i].words, list,
                           states[i].state == NP_VERIFY_GOOD ? unread : "");
}

static void print_part(const struct np_verify_result *result)
{
    if (result->parts > 1)
        np_output_line(stdout, "  part %u of %u: %ju of %ju payload%s", result->part, result->parts,
                       (uintmax_t)result->counts.checked, (uintmax_t)result->counts.payloads,
                       result->counts.payloads == 1 ? "" : "s");
}

static bool is_of_record(const struct np_verify_result *result, const struct np_verify_damage *damage)
{
    return (result->of_set && strncmp(damage->file, "points/", 7) == 0) ||
           strcmp(damage->file, "set.json") == 0;
}

/* NULL: a point about which nothing is known */
static bool is_affected(const struct np_verify_result *result, const struct row *row, bool by_record)
{
    for (size_t i = 0; i < result->damage_count; i++) {
        const struct np_verify_damage *damage = &result->damages[i];
        const struct choice affected = {.damage = damage, .affected = true};
        if (!damage->unchecked && is_of_record(result, damage) == by_record &&
            (row == NULL || is_meant(row, &affected)))
            return true;
    }
    return false;
}

/* Is some point affected by a stream alone? Where a record is no good, its message says what mends it, and
 * with it what builds on that point. */
static bool is_stream_damaged(const struct rows *rows, const struct np_verify_result *result)
{
    for (size_t i = 0; i < rows->count; i++)
        if (is_affected(result, &rows->list[i], false) && !is_affected(result, &rows->list[i], true))
            return true;
    return rows->count == 0 && is_affected(result, NULL, false);
}

static void print_next_step(const struct np_verify_request *request, const struct rows *rows,
                            const struct np_verify_result *result)
{
    char good[LIST_TEXT];
    if (!is_stream_damaged(rows, result))
        return;
    if (strcmp(request->input, "-") == 0)
        np_output_line(stdout, "what to do: keep what comes from the pipe in a file; "
                               "\"nbdpull restore -i FILE --salvage\" takes what is left");
    else if (!result->of_set)
        np_output_line(stdout, "what to do: \"nbdpull restore --salvage\" takes what is left");
    else if (list_points(rows, (struct choice){.state = NP_VERIFY_GOOD}, good)[0] != '\0')
        np_output_line(stdout, "what to do: \"nbdpull restore --until POINT\" restores a good point exactly, "
                               "with --salvage what is left of another; "
                               "\"nbdpull backup -l full\" begins a new chain");
    else
        np_output_line(stdout, "what to do: \"nbdpull restore --until POINT --salvage\" takes what is left "
                               "of a point; \"nbdpull backup -l full\" begins a new chain");
}

static void print_damages(const struct np_verify_request *request, const struct np_verify_result *result)
{
    NP_CLEANUP(rows_clear) struct rows rows = rows_of(result);
    for (size_t i = 0; i < result->damage_count; i++)
        print_damage(&rows, &result->damages[i]);
    uint64_t all = result->damaged + result->unchecked;
    if (all > result->damage_count)
        np_output_line(stdout, "and %ju more", (uintmax_t)(all - result->damage_count));
    if (all == 0)
        return;
    print_states(&rows, unread_of(request));
    print_part(result);
    print_next_step(request, &rows, result);
}

static void print_summary(const struct np_verify_request *request, const struct np_verify_result *result)
{
    char size[NP_SIZE_TEXT], read[NP_SIZE_TEXT], list[LIST_TEXT];
    NP_CLEANUP(rows_clear) struct rows rows = rows_of(result);
    list_points(&rows, (struct choice){.state = NP_VERIFY_GOOD}, list);
    np_output_line(stdout, "%s: good: %s%s", result->domain, list[0] != '\0' ? list : "no restore point",
                   unread_of(request));
    np_output_line(stdout, "  %ju stream%s, %s, %s of payload read, %.1f s", (uintmax_t)result->streams,
                   result->streams == 1 ? "" : "s", np_output_size(result->counts.pos, size),
                   np_output_size(result->counts.read, read), result->seconds);
    print_part(result);
}

/* ---- for machines ---- */

static const char *state_word(enum np_verify_state state)
{
    static const char *const words[] = {[NP_VERIFY_GOOD] = "good",
                                        [NP_VERIFY_AFFECTED] = "affected",
                                        [NP_VERIFY_UNKNOWN] = "unknown",
                                        [NP_VERIFY_UNASKED] = NULL};
    return words[state];
}

/* Not known is null. NP_NO_OFFSET and NP_ANY_NUMBER are the same number. */
static void add_known(struct json_object *to, const char *key, uint64_t value, bool known)
{
    if (known && value != NP_NO_OFFSET)
        np_report_size(to, key, value);
    else
        np_report_add(to, key, NULL);
}

static struct json_object *damage_object(const struct rows *rows, const struct np_verify_damage *damage)
{
    const struct choice affected = {.damage = damage, .affected = true};
    struct json_object *to = json_object_new_object();
    struct json_object *affects = json_object_new_array();
    np_report_string(to, "kind", damage->unchecked ? "unchecked" : "damaged");
    np_report_string(to, "message", damage->message);
    np_report_string(to, "point", damage->point);
    np_report_string(to, "file", damage->file);
    np_report_string(to, "disk", damage->disk);
    add_known(to, "pos", damage->pos, true);
    add_known(to, "record", damage->number, true);
    add_known(to, "offset", damage->offset, true);
    add_known(to, "length", damage->length, damage->length > 0);
    for (size_t i = 0; i < rows->count; i++) {
        const char *id = rows->list[i].id; /* a copy has none */
        if (is_meant(&rows->list[i], &affected))
            json_object_array_add(affects, id[0] != '\0' ? np_report_text(id) : NULL);
    }
    np_report_add(to, "affects", affects);
    return to;
}

static struct json_object *points_array(const struct rows *rows)
{
    struct json_object *points = json_object_new_array();
    for (size_t i = 0; i < rows->count; i++) {
        const struct row *row = &rows->list[i];
        struct json_object *to = json_object_new_object();
        np_report_string(to, "id", row->id);
        np_report_string(to, "time", row->point != SIZE_MAX ? row->time : NULL);
        np_report_string(to, "state", state_word(row->state));
        json_object_array_add(points, to);
    }
    return points;
}

static int print_json(const struct arguments *arguments, const struct np_verify_result *result,
                      const struct np_error *outcome, struct np_error *err)
{
    static const char *const depths[] = {
        [NP_VERIFY_QUICK] = "quick", [NP_VERIFY_SUMS] = "default", [NP_VERIFY_DEEP] = "deep"};
    const bool counted = arguments->request.input == NULL || strcmp(arguments->request.input, "-") != 0;
    const bool done = result->parts > 0; /* the command line was right */
    NP_CLEANUP(rows_clear) struct rows rows = rows_of(result);
    struct json_object *report = np_report_new("verify");
    struct json_object *damages = json_object_new_array();
    np_report_string(report, "domain", result->domain);
    np_report_string(report, "image", arguments->request.image);
    if (arguments->request.image != NULL)
        np_report_string(report, "image_point", result->image_point);
    np_report_string(report, "depth",
                     arguments->request.image != NULL || !done ? NULL : depths[arguments->request.depth]);
    np_report_counted(report, "part", result->part, done);
    np_report_counted(report, "parts", result->parts, done);
    np_report_size(report, "streams", result->streams);
    np_report_size(report, "stream_bytes", result->counts.pos);
    np_report_size(report, "records", result->counts.records);
    np_report_counted(report, "payloads", result->counts.payloads, counted);
    np_report_counted(report, "payloads_checked", result->counts.checked, counted);
    np_report_size(report, "read_bytes", result->counts.read);
    np_report_counted(report, "expanded_bytes", result->counts.expanded, counted);
    np_report_seconds(report, "seconds", result->seconds);
    np_report_add(report, "points", points_array(&rows));
    np_report_size(report, "damaged", result->damaged);
    np_report_size(report, "unchecked", result->unchecked);
    for (size_t i = 0; i < result->damage_count; i++)
        json_object_array_add(damages, damage_object(&rows, &result->damages[i]));
    np_report_add(report, "damages", damages);
    return np_report_print(report, outcome, stdout, err);
}

/* ---- the command ---- */

static int run(struct np_context *context, int argc, char **argv, struct np_error *err)
{
    NP_CLEANUP(arguments_clear)
    struct arguments arguments = {.request = {.workers = np_backup_default_workers()}};
    NP_CLEANUP(np_verify_result_clear) struct np_verify_result result = {0};

    int done = parse(&arguments, argc, argv, err);
    if (done == 0 && arguments.common.help) {
        fputs(help, stdout);
        return 0;
    }
    if (done == 0) {
        arguments.request.cancel = context->cancel;
        arguments.request.progress = np_output_progress(arguments.common.quiet);
        done = np_app_verify(&arguments.request, &result, err);
        np_output_clear_line();
    }
    struct np_error failed = NP_ERROR_INIT;
    if (arguments.common.json && print_json(&arguments, &result, done < 0 ? err : NULL, &failed) < 0 &&
        done == 0) {
        *err = failed;
        return -1;
    }
    if (arguments.common.json)
        return done;
    if (arguments.request.image == NULL)
        print_damages(&arguments.request, &result);
    if (done < 0 || arguments.common.quiet || !isatty(STDOUT_FILENO))
        return done;
    if (arguments.request.image != NULL)
        np_output_line(stdout, "%s is disk %s of %s%s", arguments.request.image,
                       arguments.request.disks.list[0],
                       result.image_point[0] != '\0' ? "point " : "the only point in it", result.image_point);
    else
        print_summary(&arguments.request, &result);
    return done;
}

const struct np_command np_cmd_verify = {
    .name = "verify",
    .summary = "check a set or a stream: what is damaged, and whom it concerns",
    .run = run,
};
