#include "command.h"
#include "options.h"
#include "output.h"
#include "report.h"

#include "nbdpull/cleanup.h"

#include <stdio.h>

static const char help[] = "Usage: nbdpull checkpoints -d DOMAIN [OPTIONS]\n"
                           "\n"
                           "List the checkpoints that nbdpull keeps in a guest, of all sets; or remove\n"
                           "them: before an undefine, a snapshot revert, or when the tool is dropped. The\n"
                           "next increment of each set then compares the disks with their last point.\n"
                           "\n"
                           "  -d, --domain DOMAIN     name, UUID or id of the guest\n"
                           "      --remove            remove them all, with their bitmaps\n"
                           "  -c, --connect URI       libvirt connection, as virsh -c\n"
                           "      --json              one JSON document\n"
                           "  -q, --quiet             no notices\n"
                           "  -v, --verbose           say more on standard error\n"
                           "  -h, --help              this text\n";

static int print_json(const struct np_checkpoints_result *result, const struct np_error *outcome,
                      struct np_error *err)
{
    struct json_object *report = np_report_new("checkpoints");
    struct json_object *names = json_object_new_array(), *lost = json_object_new_array();
    np_report_string(report, "domain", result->domain);
    for (size_t i = 0; i < result->names.count; i++)
        json_object_array_add(names, json_object_new_string(result->names.list[i]));
    np_report_add(report, "checkpoints", names);
    for (size_t i = 0; i < result->lost.count; i++)
        json_object_array_add(lost, json_object_new_string(result->lost.list[i]));
    np_report_add(report, "lost", lost);
    np_report_size(report, "removed", result->removed);
    return np_report_print(report, outcome, stdout, err);
}

static int run(struct np_context *context, int argc, char **argv, struct np_error *err)
{
    struct np_checkpoints_request request = {.cancel = context->cancel};
    struct np_common common = {0};
    NP_CLEANUP(np_checkpoints_result_clear) struct np_checkpoints_result result = {0};
    const struct np_option options[] = {
        {'d', "domain", NP_OPTION_STRING, &request.domain},
        {0, "remove", NP_OPTION_FLAG, &request.remove},
        {'c', "connect", NP_OPTION_STRING, &request.uri},
        {0},
    };
    int done = np_options_parse(argc, argv, options, &common, err);
    if (done == 0 && common.help) {
        fputs(help, stdout);
        return 0;
    }
    if (done == 0 && request.domain == NULL)
        done = np_fail(err, NP_USAGE, "checkpoints needs -d DOMAIN; see nbdpull checkpoints --help");
    if (done == 0)
        done = np_app_checkpoints(&request, &result, err);
    struct np_error failed = NP_ERROR_INIT;
    if (common.json) {
        if (print_json(&result, done < 0 ? err : NULL, &failed) < 0 && done == 0) {
            *err = failed;
            done = -1;
        }
        return done;
    }
    for (size_t i = 0; done == 0 && !request.remove && i < result.names.count; i++)
        np_output_line(stdout, "%s", result.names.list[i]);
    for (size_t i = 0; done == 0 && !request.remove && i < result.lost.count; i++)
        np_output_line(stdout, "%s (libvirt has lost it, its bitmap is left)", result.lost.list[i]);
    return done;
}

const struct np_command np_cmd_checkpoints = {
    .name = "checkpoints",
    .summary = "list or remove the checkpoints that nbdpull keeps in a guest",
    .run = run,
};
