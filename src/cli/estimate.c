#include "estimate.h"

#include "output.h"
#include "report.h"

#include "nbdpull/cleanup.h"

#include <stdio.h>

/* ---- for machines ---- */

static const char *source_name(enum np_estimate_source source)
{
    static const char *const names[] = {[NP_ESTIMATE_BITMAP] = "bitmap",
                                        [NP_ESTIMATE_ALLOCATION] = "allocation",
                                        [NP_ESTIMATE_EXTENTS] = "extents"};
    return names[source];
}

/* What was not measured is null, never 0. */
static void add_size(struct json_object *to, const char *key, bool known, uint64_t value)
{
    if (known)
        np_report_size(to, key, value);
    else
        np_report_add(to, key, NULL);
}

static struct json_object *disk_report(const struct np_estimate_disk *disk)
{
    struct json_object *to = json_object_new_object();
    bool known = disk->stored, exact = known && disk->source == NP_ESTIMATE_EXTENTS;
    np_report_string(to, "target", disk->target);
    np_report_add(to, "stored", json_object_new_boolean(disk->stored));
    np_report_string(to, "level", disk->level);
    np_report_string(to, "how", disk->how);
    np_report_string(to, "why", disk->why);
    np_report_string(to, "parent", disk->parent);
    np_report_size(to, "virtual_size", disk->virtual_size);
    np_report_string(to, "source", known ? source_name(disk->source) : NULL);
    add_size(to, "to_read_bytes", known, disk->to_read);
    add_size(to, "zero_bytes", exact, disk->zero);
    add_size(to, "expected_stored_bytes", exact, disk->expected);
    add_size(to, "sample_read_bytes", exact, disk->sample.read);
    add_size(to, "sample_data_bytes", exact, disk->sample.data);
    add_size(to, "sample_stored_bytes", exact, disk->sample.stored);
    return to;
}

static struct json_object *level_report(const struct np_estimate_level *level, bool exact)
{
    struct json_object *to = json_object_new_object();
    struct json_object *disks = json_object_new_array();
    uint64_t to_read = 0, zero = 0, expected = 0;
    for (size_t i = 0; i < level->disk_count; i++) {
        const struct np_estimate_disk *disk = &level->disks[i];
        json_object_array_add(disks, disk_report(disk));
        to_read += disk->to_read;
        zero += disk->zero;
        expected += disk->expected;
    }
    np_report_string(to, "level", level->level);
    np_report_size(to, "to_read_bytes", to_read);
    add_size(to, "zero_bytes", exact, zero);
    add_size(to, "expected_stored_bytes", exact, expected);
    np_report_add(to, "disks", disks);
    return to;
}

static int print_json(const struct np_backup_request *request, const struct np_estimate_result *result,
                      const struct np_error *outcome, struct np_error *err)
{
    struct json_object *report = np_report_new("estimate");
    struct json_object *levels = json_object_new_array();
    np_report_string(report, "domain", result->domain);
    np_report_uuid(report, "domain_uuid", &result->domain_uuid);
    np_report_string(report, "set", request->set);
    np_report_add(report, "exact", json_object_new_boolean(result->exact));
    np_report_string(report, "codec", request->codec_text);
    np_report_seconds(report, "seconds", result->seconds);
    for (size_t i = 0; outcome == NULL && i < result->level_count; i++)
        json_object_array_add(levels, level_report(&result->levels[i], result->exact));
    np_report_add(report, "levels", levels);
    return np_report_print(report, outcome, stdout, err);
}

/* ---- for people ---- */

#define CELL (NP_SIZE_TEXT + 1)

static const char *cell(bool known, const char *mark, uint64_t bytes, char text[CELL])
{
    char size[NP_SIZE_TEXT];
    if (known)
        snprintf(text, CELL, "%s%s", mark, np_output_size(bytes, size));
    else
        snprintf(text, CELL, "-");
    return text;
}

static void print_disk(const char *level, const struct np_estimate_disk *disk)
{
    char size[CELL], to_read[CELL], zero[CELL], expected[CELL];
    bool exact = disk->source == NP_ESTIMATE_EXTENTS;
    const char *mark = disk->source == NP_ESTIMATE_ALLOCATION ? "~" : "";
    if (!disk->stored) {
        np_output_line(stdout, "%-5s %-6s left out: %s", level, disk->target, disk->why);
        return;
    }
    np_output_line(stdout, "%-5s %-6s %-7s %10s %11s %10s %11s  %s", level, disk->target, disk->how,
                   cell(true, "", disk->virtual_size, size), cell(true, mark, disk->to_read, to_read),
                   cell(exact, "", disk->zero, zero), cell(exact, "~", disk->expected, expected), disk->why);
}

static void print_table(const struct np_estimate_result *result)
{
    np_output_line(stdout, "%-5s %-6s %-7s %10s %11s %10s %11s  %s", "LEVEL", "DISK", "HOW", "SIZE",
                   "TO READ", "ZERO", "STORED", "WHY");
    for (size_t i = 0; i < result->level_count; i++)
        for (size_t j = 0; j < result->levels[i].disk_count; j++)
            print_disk(result->levels[i].level, &result->levels[i].disks[j]);
}

int np_estimate_command(const struct np_context *context, const struct np_backup_request *request, bool exact,
                        const struct np_common *common, int done, struct np_error *err)
{
    NP_CLEANUP(np_estimate_result_clear) struct np_estimate_result result = {.exact = exact};
    if (done == 0) {
        struct np_backup_request asked = *request;
        asked.command = context->command_line;
        asked.cancel = context->cancel;
        done = np_app_estimate(&asked, exact, &result, err);
    }
    if (!common->json) {
        if (done == 0)
            print_table(&result);
        return done;
    }
    struct np_error failed = NP_ERROR_INIT;
    if (print_json(request, &result, done < 0 ? err : NULL, &failed) < 0 && done == 0) {
        *err = failed;
        return -1;
    }
    return done;
}
