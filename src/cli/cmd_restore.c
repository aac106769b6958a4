#include "command.h"
#include "options.h"
#include "output.h"
#include "report.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/target.h"

#include <stdio.h>
#include <string.h>

static const char help[] = "Usage: nbdpull restore -i SET|FILE|- -o DIR [OPTIONS]\n"
                           "\n"
                           "Restore the disks of a point into images, with the guest's XML and NVRAM.\n"
                           "\n"
                           "  -i, --input SET         backup set, a stream in a file, or - for a pipe\n"
                           "  -o, --output DIR        made when missing; nothing is overwritten\n"
                           "      --until POINT       id, checkpoint name, latest (default), or a time:\n"
                           "                          \"2026-11-20 03:00\" is the newest point not after it\n"
                           "      --dry-run           check every link and say what would be done\n"
                           "  -d, --disk DISK         only these disks: vda,vdb or repeated\n"
                           "      --format FORMAT     qcow2 (default) or raw\n"
                           "      --cluster-size SIZE  of qcow2: 512 to 2M (default: 64K)\n"
                           "      --compat VERSION    of qcow2: 1.1 (default) or 0.10\n"
                           "      --preallocation MODE  off (default), metadata, falloc, full\n"
                           "      --verify            read the images back, compare hashes\n"
                           "      --salvage[=HOW]     take what is good of a damaged set; what is lost\n"
                           "                          becomes zero (default) or older, and is listed\n"
                           "  -w, --workers N         expanders and writers (2 a core, at most 8)\n"
                           "      --bwlimit RATE      write at most so much a second: 50M\n"
                           "      --json              one JSON document with all that was done\n"
                           "  -q, --quiet             no progress, no summary\n"
                           "  -v, --verbose           say each step on standard error\n"
                           "  -h, --help              this text\n";

struct arguments {
    struct np_restore_request request;
    const char *salvage; /* NULL: not given */
    struct np_common common;
};

static void arguments_clear(struct arguments *arguments)
{
    np_targets_clear(&arguments->request.disks);
}

static int check_format(const char *format, struct np_error *err)
{
    if (np_target_find(format) != NULL)
        return 0;
    char names[128] = "";
    size_t used = 0;
    for (const struct np_target_ops *const *ops = np_target_all(); *ops != NULL && used < sizeof(names);
         ops++)
        used += (size_t)snprintf(names + used, sizeof(names) - used, " %s", (*ops)->name);
    return np_fail(err, NP_USAGE, "unknown image format '%s'; there are:%s", format, names);
}

static int check_salvage(struct arguments *arguments, struct np_error *err)
{
    struct np_restore_request *request = &arguments->request;
    const char *how = arguments->salvage;
    if (how == NULL)
        return 0;
    if (strcmp(how, "") != 0 && strcmp(how, "zero") != 0 && strcmp(how, "older") != 0)
        return np_fail(err, NP_USAGE, "--salvage: '%s' is neither zero nor older", how);
    if (request->input != NULL && strcmp(request->input, "-") == 0)
        return np_fail(err, NP_USAGE, "--salvage needs a set or a file: save what comes from the pipe first");
    if (request->verify)
        return np_fail(err, NP_USAGE,
                       "--verify compares with what the backup holds; of a damaged one that "
                       "cannot be told: leave it out with --salvage");
    request->salvage = strcmp(how, "older") == 0 ? NP_SALVAGE_OLDER : NP_SALVAGE_ZERO;
    return 0;
}

static int parse(struct arguments *arguments, int argc, char **argv, struct np_error *err)
{
    struct np_restore_request *request = &arguments->request;
    const struct np_option options[] = {
        {'i', "input", NP_OPTION_STRING, &request->input},
        {'o', "output", NP_OPTION_STRING, &request->dir},
        {0, "until", NP_OPTION_STRING, &request->until},
        {'d', "disk", NP_OPTION_TARGETS, &request->disks},
        {0, "dry-run", NP_OPTION_FLAG, &request->dry_run},
        {0, "format", NP_OPTION_STRING, &request->format},
        {0, "preallocation", NP_OPTION_STRING, &request->preallocation},
        {0, "cluster-size", NP_OPTION_ROOM, &request->cluster_size},
        {0, "compat", NP_OPTION_STRING, &request->compat},
        {0, "verify", NP_OPTION_FLAG, &request->verify},
        {0, "salvage", NP_OPTION_MAYBE, &arguments->salvage},
        {'w', "workers", NP_OPTION_WORKERS, &request->workers},
        {0, "bwlimit", NP_OPTION_SIZE, &request->rate},
        {0},
    };
    if (np_options_parse(argc, argv, options, &arguments->common, err) < 0)
        return -1;
    if (arguments->common.help)
        return 0;
    if (request->dry_run && request->input != NULL && strcmp(request->input, "-") == 0)
        return np_fail(err, NP_USAGE, "--dry-run needs a set or a file: a pipe can be read only once");
    if (request->verify && request->input != NULL && strcmp(request->input, "-") == 0)
        return np_fail(err, NP_USAGE, "--verify needs a set or a file: a pipe can be read only once");
    if (request->verify && request->dry_run)
        return np_fail(err, NP_USAGE, "--dry-run restores nothing that --verify could read");
    if (check_salvage(arguments, err) < 0)
        return -1;
    if (request->input == NULL || (request->dir == NULL && !request->dry_run))
        return np_fail(err, NP_USAGE, "restore needs -i SET and -o DIR; see nbdpull restore --help");
    if (strcmp(request->input, "-") == 0 && isatty(STDIN_FILENO))
        return np_fail(err, NP_USAGE, "standard input is a terminal: give -i - a stream by a pipe");
    request->in_fd = STDIN_FILENO;
    return check_format(request->format, err);
}

static struct json_object *names_of(const struct np_names *names)
{
    struct json_object *array = json_object_new_array();
    for (size_t i = 0; i < names->count; i++)
        json_object_array_add(array, np_report_text(names->list[i]));
    return array;
}

static int print_json(const struct arguments *arguments, const struct np_restore_result *result,
                      const struct np_error *outcome, struct np_error *err)
{
    struct json_object *report = np_report_new("restore");
    struct json_object *disks = json_object_new_array();
    struct json_object *files = json_object_new_array();
    np_report_string(report, "domain", result->domain);
    np_report_string(report, "point", result->point);
    np_report_string(report, "time", result->time);
    np_report_add(report, "dry_run", json_object_new_boolean(arguments->request.dry_run));
    np_report_string(report, "format", arguments->request.format);
    np_report_add(report, "verified", json_object_new_boolean(arguments->request.verify && outcome == NULL));
    np_report_seconds(report, "seconds", result->seconds);
    bool from_pipe = arguments->request.input != NULL && strcmp(arguments->request.input, "-") == 0;
    bool there = outcome == NULL || outcome->class == NP_LOSSES;
    for (size_t i = 0; there && i < result->disk_count; i++) {
        const struct np_restored_disk *disk = &result->disks[i];
        struct json_object *to = json_object_new_object();
        np_report_string(to, "target", disk->target);
        np_report_string(to, "path", arguments->request.dry_run ? NULL : disk->path);
        np_report_size(to, "virtual_size", disk->virtual_size);
        np_report_size(to, "data_bytes", disk->data_bytes);
        np_report_size(to, "read_bytes", disk->read_bytes);
        np_report_counted(to, "zero_bytes", disk->zero_bytes, !from_pipe);
        np_report_counted(to, "records", disk->records, !from_pipe);
        np_report_counted(to, "streams", disk->streams, !from_pipe);
        np_report_seconds(to, "seconds", disk->seconds);
        if (arguments->request.salvage != NP_SALVAGE_NO) {
            np_report_add(to, "exact", json_object_new_boolean(!disk->lost));
            np_report_add(to, "damaged", json_object_new_boolean(disk->damaged));
            np_report_string(to, "losses", disk->losses);
            np_report_size(to, "loss_ranges", disk->loss_ranges);
            np_report_size(to, "lost_bytes", disk->lost_bytes);
            np_report_size(to, "possible_bytes", disk->possible_bytes);
        }
        json_object_array_add(disks, to);
    }
    for (size_t i = 0; there && i < result->file_count; i++)
        json_object_array_add(files, np_report_text(result->files[i]));
    np_report_add(report, "disks", disks);
    np_report_add(report, "files", files);
    if (arguments->request.salvage != NP_SALVAGE_NO) {
        np_report_add(report, "lost_files", names_of(&result->lost_files));
        np_report_add(report, "possible_files", names_of(&result->possible_files));
    }
    return np_report_print(report, outcome, stdout, err);
}

static void print_plan(const struct np_restore_result *result)
{
    char size[NP_SIZE_TEXT], data[NP_SIZE_TEXT], read[NP_SIZE_TEXT];
    np_output_line(stdout, "%s: point %s%sof %s would be restored", result->domain, result->point,
                   result->point[0] != '\0' ? " " : "", result->time);
    np_output_line(stdout, "  %-8s %10s %10s %10s %10s %8s", "DISK", "SIZE", "WRITE", "READ", "RECORDS",
                   "STREAMS");
    for (size_t i = 0; i < result->disk_count; i++) {
        const struct np_restored_disk *disk = &result->disks[i];
        np_output_line(stdout, "  %-8s %10s %10s %10s %10ju %8zu", disk->target,
                       np_output_size(disk->virtual_size, size), np_output_size(disk->data_bytes, data),
                       np_output_size(disk->read_bytes, read), (uintmax_t)disk->records, disk->streams);
    }
}

static void print_summary(const struct np_restore_result *result, bool verified)
{
    char size[NP_SIZE_TEXT], data[NP_SIZE_TEXT];
    np_output_line(stdout, "%s: point %s%sof %s, %.1f s", result->domain, result->point,
                   result->point[0] != '\0' ? " " : "", result->time, result->seconds);
    for (size_t i = 0; i < result->disk_count; i++)
        np_output_line(stdout, "  %s: %s, %s of data", result->disks[i].path,
                       np_output_size(result->disks[i].virtual_size, size),
                       np_output_size(result->disks[i].data_bytes, data));
    for (size_t i = 0; i < result->file_count; i++)
        np_output_line(stdout, "  %s", result->files[i]);
    if (verified)
        np_output_line(stdout, "  verified: %s read back, and %s as the backup has %s",
                       result->disk_count == 1 ? "the image was" : "all images were",
                       result->disk_count == 1 ? "is" : "are", result->disk_count == 1 ? "it" : "them");
}

static int run(struct np_context *context, int argc, char **argv, struct np_error *err)
{
    NP_CLEANUP(arguments_clear)
    struct arguments arguments = {.request = {.format = "qcow2", .workers = np_backup_default_workers()}};
    NP_CLEANUP(np_restore_result_clear) struct np_restore_result result = {0};

    int done = parse(&arguments, argc, argv, err);
    if (done == 0 && arguments.common.help) {
        fputs(help, stdout);
        return 0;
    }
    if (done == 0) {
        arguments.request.cancel = context->cancel;
        arguments.request.progress = np_output_progress(arguments.common.quiet);
        done = np_app_restore(&arguments.request, &result, err);
        np_output_clear_line();
    }
    struct np_error failed = NP_ERROR_INIT;
    if (arguments.common.json && print_json(&arguments, &result, done < 0 ? err : NULL, &failed) < 0 &&
        done == 0) {
        *err = failed;
        if (!arguments.request.dry_run)
            np_error_context(err, "the disks are restored, but the report is lost");
        return -1;
    }
    if ((done < 0 && err->class != NP_LOSSES) || arguments.common.json)
        return done;
    if (arguments.request.dry_run)
        print_plan(&result);
    else if (!arguments.common.quiet && isatty(STDOUT_FILENO))
        print_summary(&result, arguments.request.verify);
    return done;
}

const struct np_command np_cmd_restore = {
    .name = "restore",
    .summary = "restore the disks of a restore point into images",
    .run = run,
};
