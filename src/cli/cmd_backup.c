#include "command.h"
#include "estimate.h"
#include "level.h"
#include "options.h"
#include "output.h"
#include "report.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <stdio.h>
#include <string.h>

static const char help[] = "Usage: nbdpull backup -d DOMAIN -l LEVEL -o SET [OPTIONS]\n"
                           "\n"
                           "Back up a guest's disks, running or off, into a set or to standard output.\n"
                           "\n"
                           "  -d, --domain DOMAIN     name, UUID or id of the guest\n"
                           "  -l, --level LEVEL       full, inc, diff, auto (full first, then inc), copy\n"
                           "  -o, --output SET        directory, made when missing; - for standard output\n"
                           "  -c, --connect URI       libvirt connection, as virsh -c\n"
                           "  -i, --include DISK      only these disks: vda,vdb or repeated\n"
                           "  -x, --exclude DISK      all disks but these\n"
                           "      --from POINT        diff: since this point; full: since the newest full\n"
                           "      --scan              compare all with the last point, trust no bitmap\n"
                           "      --require-bitmap    anything but an increment by bitmap is an error\n"
                           "      --threshold SIZE    skip it when less is to be stored: 20M, 1G\n"
                           "      --estimate          only say what it would read and store; also --exact\n"
                           "      --keep-checkpoints N  keep the N newest, not only those that are needed\n"
                           "      --compress CODEC    none, lz4 (default), zstd, zstd:LEVEL\n"
                           "      --quiesce MODE      freeze the guest: auto (default), require, no\n"
                           "  -w, --workers N         readers and compressors (2 a core, at most 8)\n"
                           "      --bwlimit RATE      read at most so much of the guest a second: 50M\n"
                           "      --scratch-dir DIR   for socket and scratch (default: /var/tmp)\n"
                           "      --scratch-reserve SIZE  end the backup when less is free there (256M)\n"
                           "      --json              one JSON document with all that was measured\n"
                           "  -q, -v, -h              quiet, verbose (each step), help: this text\n";

struct arguments {
    struct np_backup_request request;
    const char *output, *compress, *quiesce;
    bool estimate, exact;
    struct np_common common;
};

static void arguments_clear(struct arguments *arguments)
{
    np_targets_clear(&arguments->request.include);
    np_targets_clear(&arguments->request.exclude);
}

static bool to_standard_output(const struct arguments *arguments)
{
    return arguments->output != NULL && strcmp(arguments->output, "-") == 0;
}

static int check_level(const struct arguments *arguments, struct np_error *err)
{
    const struct np_backup_request *request = &arguments->request;
    if (request->level == NULL)
        return 0;
    if (np_level_check(request->level, request->from, err) < 0)
        return -1;
    if (to_standard_output(arguments) && strcmp(request->level, "copy") != 0)
        return np_fail(
            err, NP_USAGE,
            "level %s makes or needs a checkpoint that backups build on, and only a set keeps track of "
            "it: to standard output use -l copy",
            request->level);
    return 0;
}

static int choose_quiesce(struct arguments *arguments, struct np_error *err)
{
    static const char *const modes[] = {"auto", "require", "no"}; /* as enum np_quiesce */
    for (unsigned i = 0; i < NP_ARRAY_SIZE(modes); i++)
        if (strcmp(arguments->quiesce, modes[i]) == 0) {
            arguments->request.quiesce = (enum np_quiesce)i;
            return 0;
        }
    return np_fail(err, NP_USAGE, "--quiesce %s: it is auto, require or no", arguments->quiesce);
}

static int parse(struct arguments *arguments, int argc, char **argv, struct np_error *err)
{
    struct np_backup_request *request = &arguments->request;
    const struct np_option options[] = {
        {'d', "domain", NP_OPTION_STRING, &request->domain},
        {'l', "level", NP_OPTION_STRING, &request->level},
        {'o', "output", NP_OPTION_STRING, &arguments->output},
        {'c', "connect", NP_OPTION_STRING, &request->uri},
        {'i', "include", NP_OPTION_TARGETS, &request->include},
        {'x', "exclude", NP_OPTION_TARGETS, &request->exclude},
        {0, "from", NP_OPTION_STRING, &request->from},
        {0, "scan", NP_OPTION_FLAG, &request->scan},
        {0, "require-bitmap", NP_OPTION_FLAG, &request->require_bitmap},
        {0, "threshold", NP_OPTION_SIZE, &request->threshold},
        {0, "estimate", NP_OPTION_FLAG, &arguments->estimate},
        {0, "exact", NP_OPTION_FLAG, &arguments->exact},
        {0, "keep-checkpoints", NP_OPTION_COUNT, &request->keep_checkpoints},
        {0, "compress", NP_OPTION_STRING, &arguments->compress},
        {0, "quiesce", NP_OPTION_STRING, &arguments->quiesce},
        {'w', "workers", NP_OPTION_WORKERS, &request->workers},
        {0, "bwlimit", NP_OPTION_SIZE, &request->rate},
        {0, "scratch-dir", NP_OPTION_STRING, &request->scratch_dir},
        {0, "scratch-reserve", NP_OPTION_SIZE, &request->scratch_reserve},
        {0},
    };
    if (np_options_parse(argc, argv, options, &arguments->common, err) < 0)
        return -1;
    if (arguments->common.help)
        return 0;
    bool destined = request->level != NULL && arguments->output != NULL;
    if (request->domain == NULL || (!destined && !arguments->estimate))
        return np_fail(err, NP_USAGE,
                       "backup needs -d DOMAIN, -l LEVEL and -o SET; see nbdpull backup --help");
    if (arguments->exact && !arguments->estimate)
        return np_fail(err, NP_USAGE, "--exact goes with --estimate");
    if (check_level(arguments, err) < 0 || choose_quiesce(arguments, err) < 0)
        return -1;

    request->codec_text = arguments->compress;
    request->codec = np_codec_parse(arguments->compress, &request->codec_level, err);
    if (request->codec == NULL)
        return -1;
    bool to_stdout = to_standard_output(arguments);
    request->set = to_stdout ? NULL : arguments->output;
    request->out_fd = STDOUT_FILENO;
    if (to_stdout && !arguments->estimate && isatty(STDOUT_FILENO))
        return np_fail(err, NP_USAGE, "a stream is not for a terminal: redirect it to a file or a pipe");
    return 0;
}

static struct json_object *disk_report(const struct np_backup_disk *disk, const char *codec)
{
    struct json_object *to = json_object_new_object();
    np_report_string(to, "target", disk->target);
    np_report_add(to, "stored", json_object_new_boolean(disk->stored));
    np_report_string(to, "level", disk->level);
    np_report_string(to, "how", disk->how);
    np_report_string(to, "why", disk->why);
    np_report_string(to, "parent", disk->parent);
    np_report_size(to, "virtual_size", disk->virtual_size);
    np_report_size(to, "allocated_bytes", disk->counts.allocated);
    np_report_size(to, "read_bytes", disk->counts.read);
    np_report_size(to, "data_bytes", disk->counts.data);
    np_report_size(to, "zero_bytes", disk->counts.zero);
    np_report_size(to, "stored_bytes", disk->counts.stored);
    np_report_size(to, "stream_bytes", disk->stream_bytes);
    np_report_seconds(to, "seconds", disk->seconds);
    np_report_string(to, "codec", disk->stored ? codec : NULL);
    np_report_uuid(to, "stream_uuid", &disk->stream_uuid);
    np_report_string(to, "file", disk->file);
    return to;
}

static int print_json(const struct arguments *arguments, const struct np_backup_result *result,
                      const struct np_error *outcome, struct np_error *err)
{
    const struct np_backup_request *request = &arguments->request;
    struct json_object *report = np_report_new("backup");
    struct json_object *disks = json_object_new_array();
    np_report_string(report, "domain", result->domain);
    np_report_uuid(report, "domain_uuid", &result->domain_uuid);
    bool found = result->domain[0] != '\0';
    np_report_string(report, "guest", !found ? NULL : result->guest[0] != '\0' ? result->guest : "running");
    np_report_string(report, "set", request->set);
    np_report_string(report, "level", result->level);
    np_report_string(report, "point", result->point);
    np_report_string(report, "checkpoint", result->checkpoint);
    np_report_string(report, "time", result->time);
    np_report_add(report, "quiesced", json_object_new_boolean(result->quiesced));
    np_report_size(report, "workers", request->workers);
    np_report_size(report, "stream_bytes", result->stream_bytes);
    np_report_size(report, "scratch_bytes", result->scratch_bytes);
    np_report_seconds(report, "seconds", result->seconds);
    for (size_t i = 0; i < result->disk_count; i++)
        json_object_array_add(disks, disk_report(&result->disks[i], request->codec_text));
    np_report_add(report, "disks", disks);
    if (np_report_print(report, outcome, to_standard_output(arguments) ? stderr : stdout, err) == 0)
        return 0;
    if (outcome == NULL && result->point[0] != '\0')
        np_error_context(err, "point %s is committed in %s, but its report is lost", result->point,
                         request->set);
    return -1;
}

static void print_summary(const struct arguments *arguments, const struct np_backup_result *result)
{
    FILE *to = arguments->request.set == NULL ? stderr : stdout;
    char read[NP_SIZE_TEXT], stored[NP_SIZE_TEXT];
    if (result->point[0] != '\0')
        np_output_line(to, "%s%s%s: point %s (%s%s) in %s, %.1f s", result->domain,
                       result->guest[0] != '\0' ? ", which is " : "", result->guest, result->point,
                       result->level, result->quiesced ? ", quiesced" : "", arguments->request.set,
                       result->seconds);
    for (size_t i = 0; i < result->disk_count; i++) {
        const struct np_backup_disk *disk = &result->disks[i];
        if (disk->stored)
            np_output_line(to, "  %s: %s by %s, %s read, %s stored, %.1f s", disk->target, disk->level,
                           disk->how, np_output_size(disk->counts.read, read),
                           np_output_size(disk->counts.stored, stored), disk->seconds);
        else
            np_output_line(to, "  %s: left out: %s", disk->target, disk->why);
    }
}

static bool is_among(const struct np_targets *targets, const char *target)
{
    for (size_t i = 0; i < targets->count; i++)
        if (strcmp(targets->list[i], target) == 0)
            return true;
    return false;
}

/* A disk that nobody chose to leave out is named even where no summary is read, as in a nightly job. */
static void name_left_out(const struct np_backup_request *request, const struct np_backup_result *result)
{
    for (size_t i = 0; i < result->disk_count; i++) {
        const struct np_backup_disk *disk = &result->disks[i];
        if (!disk->stored && request->include.count == 0 && !is_among(&request->exclude, disk->target))
            np_log_info("disk %s is left out: %s", disk->target, disk->why);
    }
}

static int run(struct np_context *context, int argc, char **argv, struct np_error *err)
{
    NP_CLEANUP(arguments_clear)
    struct arguments arguments = {
        .compress = "lz4",
        .quiesce = "auto",
        .request = {.workers = np_backup_default_workers(), .scratch_reserve = NP_SCRATCH_RESERVE},
    };
    NP_CLEANUP(np_backup_result_clear) struct np_backup_result result = {0};

    int done = parse(&arguments, argc, argv, err);
    if (done == 0 && arguments.common.help) {
        fputs(help, stdout);
        return 0;
    }
    if (arguments.estimate)
        return np_estimate_command(context, &arguments.request, arguments.exact, &arguments.common, done,
                                   err);
    if (done == 0) {
        arguments.request.command = context->command_line;
        arguments.request.cancel = context->cancel;
        arguments.request.progress = np_output_progress(arguments.common.quiet);
        done = np_app_backup(&arguments.request, &result, err);
        np_output_clear_line();
    }
    struct np_error failed = NP_ERROR_INIT;
    if (arguments.common.json && print_json(&arguments, &result, done < 0 ? err : NULL, &failed) < 0) {
        if (done == 0)
            *err = failed;
        return -1;
    }
    context->told = arguments.common.json && to_standard_output(&arguments);
    int to = arguments.request.set == NULL ? STDERR_FILENO : STDOUT_FILENO;
    if (done < 0 || arguments.common.json)
        return done;
    if (!arguments.common.quiet && isatty(to))
        print_summary(&arguments, &result);
    else
        name_left_out(&arguments.request, &result);
    return 0;
}

const struct np_command np_cmd_backup = {
    .name = "backup",
    .summary = "back up the disks of a guest",
    .run = run,
};
