#include "command.h"
#include "options.h"
#include "output.h"
#include "report.h"

#include "nbdpull/cleanup.h"

#include <stdio.h>

static const char help[] = "Usage: nbdpull repair -i SET [OPTIONS]\n"
                           "\n"
                           "Rebuild what a backup set has lost and its streams still say: point records and\n"
                           "set.json. Nothing is deleted but the unfinished files of runs that were killed:\n"
                           "what is of no use is moved to SET/aside.\n"
                           "\n"
                           "  -i, --input SET         backup set\n"
                           "      --dry-run           only say what would be done\n"
                           "      --points POINT      this point was committed, though nothing shows it\n"
                           "      --json              one JSON document\n"
                           "  -q, --quiet             errors only\n"
                           "  -v, --verbose           say more on standard error\n"
                           "  -h, --help              this text\n";

struct arguments {
    struct np_repair_request request;
    struct np_common common;
};

static void arguments_clear(struct arguments *arguments)
{
    np_targets_clear(&arguments->request.points);
}

static const char *action_name(enum np_repair_action action)
{
    static const char *const names[] = {[NP_REPAIR_REBUILD] = "rebuild",
                                        [NP_REPAIR_ASIDE] = "aside",
                                        [NP_REPAIR_UNSURE] = "unsure",
                                        [NP_REPAIR_LEFT] = "left"};
    return names[action];
}

static int print_json(const struct np_repair_result *result, bool dry_run, const struct np_error *outcome,
                      struct np_error *err)
{
    struct json_object *report = np_report_new("repair");
    struct json_object *steps = json_object_new_array();
    for (size_t i = 0; i < result->step_count; i++) {
        const struct np_repair_step *step = &result->steps[i];
        struct json_object *to = json_object_new_object();
        np_report_string(to, "action", action_name(step->action));
        np_report_add(to, "done", json_object_new_boolean(i < result->done));
        np_report_string(to, "point", step->id);
        np_report_string(to, "file", step->file);
        np_report_string(to, "to", step->to);
        np_report_string(to, "message", step->message);
        json_object_array_add(steps, to);
    }
    np_report_add(report, "dry_run", json_object_new_boolean(dry_run));
    np_report_add(report, "steps", steps);
    np_report_size(report, "left", result->left);
    return np_report_print(report, outcome, stdout, err);
}

static void print_step(const struct np_repair_step *step, bool done)
{
    if (step->action == NP_REPAIR_REBUILD)
        np_output_line(stdout, "%s %s: %s", done ? "rebuilt" : "to be rebuilt:", step->file, step->message);
    else if (step->action == NP_REPAIR_ASIDE && done)
        np_output_line(stdout, "set aside %s as %s: %s", step->file, step->to, step->message);
    else if (step->action == NP_REPAIR_ASIDE)
        np_output_line(stdout, "to be set aside: %s: %s", step->file, step->message);
    else
        np_output_line(stdout, "left%s%s: %s", step->file[0] != '\0' ? " " : "", step->file, step->message);
}

static void print_steps(const struct np_repair_result *result)
{
    for (size_t i = 0; i < result->step_count; i++) {
        const struct np_repair_step *step = &result->steps[i];
        print_step(step, i < result->done);
    }
    if (result->step_count == 0)
        np_output_line(stdout, "nothing to repair: set.json and all point records are sound (no payload was "
                               "read; \"nbdpull verify\" does that)");
}

static int parse(struct arguments *arguments, int argc, char **argv, struct np_error *err)
{
    struct np_repair_request *request = &arguments->request;
    const struct np_option options[] = {
        {'i', "input", NP_OPTION_STRING, &request->input},
        {0, "dry-run", NP_OPTION_FLAG, &request->dry_run},
        {0, "points", NP_OPTION_TARGETS, &request->points},
        {0},
    };
    if (np_options_parse(argc, argv, options, &arguments->common, err) < 0)
        return -1;
    if (!arguments->common.help && request->input == NULL)
        return np_fail(err, NP_USAGE, "repair needs -i SET; see nbdpull repair --help");
    return 0;
}

static int run(struct np_context *context, int argc, char **argv, struct np_error *err)
{
    NP_CLEANUP(arguments_clear) struct arguments arguments = {0};
    NP_CLEANUP(np_repair_result_clear) struct np_repair_result result = {0};
    int done = parse(&arguments, argc, argv, err);
    if (done == 0 && arguments.common.help) {
        fputs(help, stdout);
        return 0;
    }
    if (done == 0) {
        arguments.request.command = context->command_line;
        arguments.request.cancel = context->cancel;
        done = np_app_repair(&arguments.request, &result, err);
    }
    struct np_error failed = NP_ERROR_INIT;
    int printed = 0;
    if (arguments.common.json)
        printed = print_json(&result, arguments.request.dry_run, done < 0 ? err : NULL, &failed);
    else if (!arguments.common.quiet && (done == 0 || result.step_count > 0))
        print_steps(&result);
    if (done == 0 && printed < 0)
        *err = failed;
    return done < 0 || printed < 0 ? -1 : 0;
}

const struct np_command np_cmd_repair = {
    .name = "repair",
    .summary = "rebuild what a set has lost and its streams still say",
    .run = run,
};
