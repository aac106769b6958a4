#include "command.h"
#include "estimate.h"
#include "level.h"
#include "options.h"

#include "nbdpull/cleanup.h"

#include <stdio.h>
#include <string.h>

static const char help[] = "Usage: nbdpull estimate -d DOMAIN [OPTIONS]\n"
                           "\n"
                           "Say what a backup would read and store now, disk by disk, and change nothing.\n"
                           "The numbers are what libvirt knows at once: an increment's dirty bytes; for a\n"
                           "full or a scan, about (~) what the images take on the host.\n"
                           "\n"
                           "  -d, --domain DOMAIN    name, UUID or id of the guest\n"
                           "  -o, --output SET       the set it would go into; else only full and copy\n"
                           "  -l, --level LEVEL      full, inc, diff, auto or copy (default: full, and\n"
                           "                         inc as far as the set has a chain)\n"
                           "      --exact            begin a short job without a checkpoint, tell data and\n"
                           "                         zeroes apart, and compress a sample of some 64 MiB\n"
                           "  -c, --connect URI      libvirt connection, as virsh -c\n"
                           "  -i, --include DISK     only these disks (repeat, or separate by comma)\n"
                           "  -x, --exclude DISK     all disks but these\n"
                           "      --from POINT       diff: since this point, or full\n"
                           "      --scan             as backup --scan\n"
                           "      --compress CODEC   none, lz4 (default), zstd or zstd:LEVEL\n"
                           "      --scratch-dir DIR  for socket and scratch (default: /var/tmp)\n"
                           "      --scratch-reserve SIZE  what must stay free there (default: 256M)\n"
                           "      --json             one JSON document\n"
                           "  -q, -v, -h             quiet, verbose (each step), help: this text\n";

struct arguments {
    struct np_backup_request request;
    bool exact;
    struct np_common common;
};

static void arguments_clear(struct arguments *arguments)
{
    np_targets_clear(&arguments->request.include);
    np_targets_clear(&arguments->request.exclude);
}

static int parse(struct arguments *arguments, int argc, char **argv, struct np_error *err)
{
    struct np_backup_request *request = &arguments->request;
    const struct np_option options[] = {
        {'d', "domain", NP_OPTION_STRING, &request->domain},
        {'l', "level", NP_OPTION_STRING, &request->level},
        {'o', "output", NP_OPTION_STRING, &request->set},
        {'c', "connect", NP_OPTION_STRING, &request->uri},
        {'i', "include", NP_OPTION_TARGETS, &request->include},
        {'x', "exclude", NP_OPTION_TARGETS, &request->exclude},
        {0, "from", NP_OPTION_STRING, &request->from},
        {0, "scan", NP_OPTION_FLAG, &request->scan},
        {0, "exact", NP_OPTION_FLAG, &arguments->exact},
        {0, "compress", NP_OPTION_STRING, &request->codec_text},
        {0, "scratch-dir", NP_OPTION_STRING, &request->scratch_dir},
        {0, "scratch-reserve", NP_OPTION_SIZE, &request->scratch_reserve},
        {0},
    };
    if (np_options_parse(argc, argv, options, &arguments->common, err) < 0)
        return -1;
    if (arguments->common.help)
        return 0;
    if (request->domain == NULL)
        return np_fail(err, NP_USAGE, "estimate needs -d DOMAIN; see nbdpull estimate --help");
    if (request->level != NULL && np_level_check(request->level, request->from, err) < 0)
        return -1;
    if (request->set != NULL && strcmp(request->set, "-") == 0) /* as backup's: to standard output */
        request->set = NULL;
    request->codec = np_codec_parse(request->codec_text, &request->codec_level, err);
    return request->codec == NULL ? -1 : 0;
}

static int run(struct np_context *context, int argc, char **argv, struct np_error *err)
{
    NP_CLEANUP(arguments_clear)
    struct arguments arguments = {
        .request = {.codec_text = "lz4", .workers = 1, .scratch_reserve = NP_SCRATCH_RESERVE}};
    int done = parse(&arguments, argc, argv, err);
    if (done == 0 && arguments.common.help) {
        fputs(help, stdout);
        return 0;
    }
    return np_estimate_command(context, &arguments.request, arguments.exact, &arguments.common, done, err);
}

const struct np_command np_cmd_estimate = {
    .name = "estimate",
    .summary = "say what a backup would read and store, changing nothing",
    .run = run,
};
