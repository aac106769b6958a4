#include "command.h"
#include "options.h"
#include "output.h"
#include "report.h"

#include "nbdpull/cleanup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char help[] = "Usage: nbdpull dump -i SET|FILE|- [OPTIONS]\n"
                           "\n"
                           "Show the restore points of a set or a stream, and what they hold.\n"
                           "\n"
                           "  -i, --input SET         backup set, a stream in a file, or - for a pipe\n"
                           "      --map               every extent: kind, offset, length, codec, position\n"
                           "      --until POINT       only this point, as for restore\n"
                           "  -d, --disk DISK         only these disks in the map: vda,vdb or repeated\n"
                           "      --json              all of it as one JSON document\n"
                           "  -q, --quiet             no notices\n"
                           "  -v, --verbose           say more on standard error\n"
                           "  -h, --help              this text\n";

#define DISK_COLUMN 8        /* characters of the table's columns; a longer text gets a line of its own */
#define CHECKPOINT_COLUMN 54 /* behind the longest id, time and level, inside 100 */

struct arguments {
    struct np_dump_request request;
    bool map;
    struct np_common common;
};

static void arguments_clear(struct arguments *arguments)
{
    np_targets_clear(&arguments->request.disks);
}

static int parse(struct arguments *arguments, int argc, char **argv, struct np_error *err)
{
    struct np_dump_request *request = &arguments->request;
    const struct np_option options[] = {
        {'i', "input", NP_OPTION_STRING, &request->input},
        {0, "map", NP_OPTION_FLAG, &arguments->map},
        {0, "until", NP_OPTION_STRING, &request->until},
        {'d', "disk", NP_OPTION_TARGETS, &request->disks},
        {0},
    };
    if (np_options_parse(argc, argv, options, &arguments->common, err) < 0)
        return -1;
    if (arguments->common.help)
        return 0;
    if (request->input == NULL)
        return np_fail(err, NP_USAGE, "dump needs -i SET; see nbdpull dump --help");
    if (strcmp(request->input, "-") == 0 && isatty(STDIN_FILENO))
        return np_fail(err, NP_USAGE, "standard input is a terminal: give -i - a stream by a pipe");
    request->in_fd = STDIN_FILENO;
    return 0;
}

/* ---- the map; rows are printed as they come, so that memory does not grow with their number ---- */

struct rows {
    bool json;
    uint64_t count;
};

static void print_json_row(struct rows *rows, const struct np_map_row *row)
{
    struct json_object *to = json_object_new_object();
    np_report_string(to, "point", row->point);
    np_report_string(to, "disk", row->target);
    np_report_string(to, "kind", row->kind);
    np_report_size(to, "offset", row->offset);
    np_report_size(to, "length", row->length);
    np_report_string(to, "codec", row->codec);
    np_report_size(to, "pos", row->pos);
    np_report_size(to, "size", row->size);
    printf("%s\n    ", rows->count > 0 ? "," : "");
    np_report_put(json_object_to_json_string_ext(to, JSON_C_TO_STRING_PLAIN), stdout);
    json_object_put(to);
}

static int print_row(void *ctx, const struct np_map_row *row, struct np_error *err)
{
    struct rows *rows = ctx;
    char point[NP_POINT_ID_MAX];
    if (rows->json) {
        print_json_row(rows, row);
    } else {
        if (rows->count == 0)
            printf("%-6s %-8s %-5s %16s %16s  %-6s %16s\n", "POINT", "DISK", "KIND", "OFFSET", "LENGTH",
                   "CODEC", "POS");
        printf("%-6s %-8s %-5s %16" PRIu64 " %16" PRIu64 "  %-6s %16" PRIu64 "\n",
               row->point[0] != '\0' ? np_output_text(row->point, point, sizeof(point)) : "-", row->target,
               row->kind, row->offset, row->length, row->codec[0] != '\0' ? row->codec : "-", row->pos);
    }
    rows->count++;
    return ferror(stdout) ? np_report_flush(stdout, err) : 0;
}

/* ---- the table of points ---- */

/* A long name has a line of its own, so that the columns stay in place and inside 100. */
static void print_named(const char *name, const char *columns)
{
    if (strlen(name) <= DISK_COLUMN)
        np_output_line(stdout, "        %-*s %s", DISK_COLUMN, name, columns);
    else
        printf("        %s\n        %*s %s\n", name, DISK_COLUMN, "", columns);
}

/* What is not what the point's level promises has its reason beside it. */
static bool needs_reason(const struct np_point *point, const struct np_point_disk *disk)
{
    return disk->why[0] != '\0' && (strcmp(disk->level, point->level) != 0 || strcmp(disk->how, "scan") == 0);
}

static void print_disk(const struct np_point *point, const struct np_point_disk *disk)
{
    char size[NP_SIZE_TEXT], data[NP_SIZE_TEXT], zero[NP_SIZE_TEXT], stored[NP_SIZE_TEXT], ratio[16] = "-";
    char why[NP_WHY_MAX], parent[NP_POINT_ID_MAX], level[NP_LEVEL_MAX], how[NP_HOW_MAX], columns[200];
    if (!disk->stored) {
        snprintf(columns, sizeof(columns), "not stored: %.70s", np_output_text(disk->why, why, sizeof(why)));
        print_named(disk->target, columns);
        return;
    }
    if (disk->stored_bytes > 0)
        snprintf(ratio, sizeof(ratio), "%.2f", (double)disk->data_bytes / (double)disk->stored_bytes);
    np_output_text(disk->parent[0] != '\0' ? disk->parent : "-", parent, sizeof(parent));
    snprintf(columns, sizeof(columns), "%-5s %-6s %-6s %10s %10s %10s %10s %7s",
             np_output_text(disk->level, level, sizeof(level)), np_output_text(disk->how, how, sizeof(how)),
             parent, np_output_size(disk->virtual_size, size), np_output_size(disk->data_bytes, data),
             np_output_size(disk->zero_bytes, zero), np_output_size(disk->stored_bytes, stored), ratio);
    print_named(disk->target, columns);
    if (needs_reason(point, disk))
        np_output_line(stdout, "        %*s %.80s", DISK_COLUMN, "",
                       np_output_text(disk->why, why, sizeof(why)));
}

static void print_point(const struct np_point *point)
{
    char id[NP_POINT_ID_MAX], time[NP_TIME_MAX], level[NP_LEVEL_MAX], checkpoint[NP_CHECKPOINT_MAX];
    np_output_text(point->id[0] != '\0' ? point->id : "-", id, sizeof(id));
    np_output_text(point->checkpoint[0] != '\0' ? point->checkpoint : "-", checkpoint, sizeof(checkpoint));
    bool fits = strlen(checkpoint) <= CHECKPOINT_COLUMN;
    np_output_line(stdout, "%-7s %-20s %-5s %s", id, np_output_text(point->time, time, sizeof(time)),
                   np_output_text(point->level, level, sizeof(level)), fits ? checkpoint : "");
    if (!fits)
        np_output_line(stdout, "    %s", checkpoint);
    if (point->quiesced)
        np_output_line(stdout, "        quiesced: the guest's file systems were frozen");
    for (size_t i = 0; i < point->disk_count; i++)
        print_disk(point, &point->disks[i]);
}

static void print_points(const struct np_dump_result *result)
{
    if (result->points.count == 0) {
        np_output_line(stdout, "no restore points");
        return;
    }
    np_output_line(stdout, "%-7s %-20s %-5s %s", "POINT", "TIME", "LEVEL", "CHECKPOINT");
    print_named("DISK", "LEVEL HOW    PARENT       SIZE       DATA       ZERO     STORED   RATIO");
    for (size_t i = 0; i < result->points.count; i++)
        print_point(&result->points.list[i]);
}

static int print_json(const struct np_dump_result *result, bool map, const struct np_error *outcome,
                      struct np_error *err)
{
    struct json_object *report = np_report_new("dump");
    struct json_object *points = json_object_new_array();
    np_report_uuid(report, "set", &result->set);
    np_report_string(report, "domain", result->domain);
    np_report_uuid(report, "domain_uuid", &result->domain_uuid);
    for (size_t i = 0; i < result->points.count; i++)
        json_object_array_add(points, np_report_point(&result->points.list[i]));
    np_report_add(report, "points", points);
    if (!map)
        return np_report_print(report, outcome, stdout, err);
    printf("\n  ],"); /* the rows are out already: go on with the rest */
    return np_report_print_rest(report, outcome, stdout, err);
}

static int run(struct np_context *context, int argc, char **argv, struct np_error *err)
{
    NP_CLEANUP(arguments_clear) struct arguments arguments = {0};
    NP_CLEANUP(np_dump_result_clear) struct np_dump_result result = {0};

    int done = parse(&arguments, argc, argv, err);
    if (done == 0 && arguments.common.help) {
        fputs(help, stdout);
        return 0;
    }
    struct rows rows = {.json = arguments.common.json};
    bool json_map = done == 0 && arguments.map && arguments.common.json;
    if (json_map)
        printf("{\n  \"map\": [");
    if (done == 0) {
        arguments.request.cancel = context->cancel;
        arguments.request.row = arguments.map ? print_row : NULL;
        arguments.request.row_ctx = &rows;
        done = np_app_dump(&arguments.request, &result, err);
    }
    struct np_error failed = NP_ERROR_INIT;
    int printed = 0;
    if (arguments.common.json)
        printed = print_json(&result, json_map, done < 0 ? err : NULL, &failed);
    else if (!arguments.map && (done == 0 || result.points.count > 0))
        print_points(&result);
    if (done == 0 && printed < 0)
        *err = failed;
    return done < 0 || printed < 0 ? -1 : 0;
}

const struct np_command np_cmd_dump = {
    .name = "dump",
    .summary = "show restore points and what they hold",
    .run = run,
};
