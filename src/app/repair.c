/*
 * Repair: look at everything, make a plan, then do it, record for record. Whatever ends it in between, the
 * set is no worse than before, and repair can be run again.
 */
#include "repair_parts.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SET_FILE "set.json"

static void repair_clear(struct np_repair *repair)
{
    np_intent_clear(&repair->intent);
    np_names_clear(&repair->bad);
    np_points_clear(&repair->points);
    np_set_files_clear(&repair->files);
    np_set_close(repair->set);
}

int np_repair_add(struct np_repair *repair, enum np_repair_action action, const char *id, const char *file,
                  struct np_point *point, struct np_error *err, const char *format, ...)
{
    struct np_repair_result *plan = repair->plan;
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);

    struct np_repair_step *steps = reallocarray(plan->steps, plan->step_count + 1, sizeof(*steps));
    char *copy = strdup(message);
    if (steps != NULL)
        plan->steps = steps;
    if (steps == NULL || copy == NULL) {
        free(copy);
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot plan the repair", repair->request->input);
    }
    struct np_repair_step *step = &plan->steps[plan->step_count++];
    *step = (struct np_repair_step){.action = action, .message = copy};
    snprintf(step->id, sizeof(step->id), "%s", id);
    snprintf(step->file, sizeof(step->file), "%s", file);
    if (point != NULL) {
        step->point = *point;
        *point = (struct np_point){0};
    }
    plan->left += action == NP_REPAIR_LEFT;
    return 0;
}

/* ---- looking ---- */

static void note_bad(void *ctx, const char *id, const struct np_error *why)
{
    struct np_repair *repair = ctx;
    struct np_error mine = NP_ERROR_INIT;
    if (why->class != NP_DAMAGED && repair->failed.class == NP_OK)
        repair->failed = *why;
    else if (id != NULL && np_names_add(&repair->bad, id, &mine) < 0 && repair->failed.class == NP_OK)
        repair->failed = mine;
}

/* The highest number is known to be committed only if it has a record; what lies below it is, see
 * repair_point.c. */
static void find_committed(struct np_repair *repair)
{
    uint64_t high = 0;
    repair->committed = np_set_committed(repair->set);
    for (size_t i = 0; i < repair->files.count; i++) {
        const struct np_set_file *file = &repair->files.list[i];
        if (file->number > high && high > repair->committed)
            repair->committed = high;
        high = file->number;
        if (file->record && file->number > repair->committed)
            repair->committed = file->number;
    }
}

/* One that cannot be read stops no backup, and so no repair. */
static int read_intent(struct np_repair *repair, struct np_error *err)
{
    struct np_error mine = NP_ERROR_INIT;
    if (np_set_intent_read(repair->set, &repair->intent, &repair->intended, &mine) == 0)
        return 0;
    repair->intended = false;
    if (mine.class != NP_DAMAGED) {
        *err = mine;
        return -1;
    }
    np_log_warning("%s; left for the next backup into the set", mine.message);
    return 0;
}

static int look(struct np_repair *repair, struct np_error *err)
{
    const struct np_repair_request *request = repair->request;
    enum np_set_mode mode = request->dry_run ? NP_SET_REPAIR_LOOK : NP_SET_REPAIR;
    if (np_set_open(request->input, mode, request->command, &repair->set, err) < 0 ||
        read_intent(repair, err) < 0 || np_set_files(repair->set, &repair->files, err) < 0 ||
        np_set_points_good(repair->set, note_bad, repair, &repair->points, err) < 0)
        return -1;
    if (repair->failed.class != NP_OK) {
        *err = repair->failed;
        return -1;
    }
    find_committed(repair);
    repair->uuid = *np_set_uuid(repair->set);
    return 0;
}

/* ---- planning ---- */

static int plan_set(struct np_repair *repair, struct np_error *err)
{
    const char *why;
    if (!np_set_is_lost(repair->set, &why))
        return 0;
    if (np_repair_find_set(repair, err) < 0)
        return -1;
    bool there = strcmp(why, "it is missing") != 0;
    if (there && np_repair_add(repair, NP_REPAIR_ASIDE, "", SET_FILE, NULL, err, "%s", why) < 0)
        return -1;
    return np_repair_add(repair, NP_REPAIR_REBUILD, "", SET_FILE, NULL, err, "%s",
                         there ? "it was damaged" : "it was lost");
}

static int check_asked(const struct np_repair *repair, struct np_error *err)
{
    for (size_t i = 0; i < repair->request->points.count; i++) {
        const char *asked = repair->request->points.list[i];
        size_t digits = strspn(asked, "0123456789");
        bool found = false;
        if (digits == 0 || digits > 9 || asked[digits] != '\0')
            return np_fail(err, NP_USAGE, "--points %s: not the id of a point, such as 0003", asked);
        for (size_t j = 0; j < repair->files.count; j++)
            found |= repair->files.list[j].number == strtoull(asked, NULL, 10);
        if (!found)
            return np_fail(err, NP_FAILED, "%s: there is no stream of point %s", repair->request->input,
                           asked);
    }
    return 0;
}

static int make_plan(struct np_repair *repair, struct np_error *err)
{
    size_t count;
    if (check_asked(repair, err) < 0 || plan_set(repair, err) < 0)
        return -1;
    for (size_t i = 0; i < repair->files.count; i += count) {
        count = 1;
        while (i + count < repair->files.count &&
               repair->files.list[i + count].number == repair->files.list[i].number)
            count++;
        if (np_repair_plan_point(repair, i, count, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- doing ---- */

static int rebuild(struct np_repair *repair, const struct np_repair_step *step, struct np_error *err)
{
    if (strcmp(step->file, SET_FILE) == 0)
        return np_set_rebuild(repair->set, &repair->uuid, repair->domain_name, &repair->domain,
                              repair->committed, err);
    return np_set_commit(repair->set, &step->point, err);
}

static bool is_of_set_json(const struct np_repair_step *step)
{
    return strcmp(step->file, SET_FILE) == 0;
}

static int act(struct np_repair *repair, struct np_error *err)
{
    struct np_repair_result *plan = repair->plan;
    if (np_set_remove_unfinished(repair->set, err) < 0)
        return -1;
    for (size_t i = 0; i < plan->step_count; i++, plan->done++) {
        struct np_repair_step *step = &plan->steps[i];
        bool changes = step->action == NP_REPAIR_REBUILD || step->action == NP_REPAIR_ASIDE;
        if (!changes)
            continue;
        /* Before a record is moved away: else its streams would be taken for what a run left. */
        if (np_cancel_check(repair->request->cancel, err) < 0 ||
            (!is_of_set_json(step) && np_set_raise_committed(repair->set, repair->committed, err) < 0))
            return -1;
        if (step->action == NP_REPAIR_REBUILD ? rebuild(repair, step, err) < 0
                                              : np_set_put_aside(repair->set, step->file, step->to, err) < 0)
            return -1;
    }
    return 0;
}

/* A set that is gone looks like one with damage. @return -1 */
static int is_gone(const struct np_repair *repair, struct np_error *err)
{
    struct np_error gone = NP_ERROR_INIT;
    if (err->class == NP_DAMAGED && repair->set != NULL && np_set_check_place(repair->set, &gone) < 0)
        *err = gone;
    return -1;
}

int np_app_repair(const struct np_repair_request *request, struct np_repair_result *result,
                  struct np_error *err)
{
    *result = (struct np_repair_result){0};
    NP_CLEANUP(repair_clear)
    struct np_repair repair = {.request = request, .plan = result, .failed = NP_ERROR_INIT};
    if (look(&repair, err) < 0 || make_plan(&repair, err) < 0)
        return is_gone(&repair, err);
    if (!request->dry_run && act(&repair, err) < 0)
        return -1;
    if (np_set_check_place(repair.set, err) < 0)
        return -1;
    if (result->left > 0)
        return np_fail(err, NP_DAMAGED,
                       "%s: %zu damage%s cannot be repaired; \"nbdpull verify\" says which points are good",
                       request->input, result->left, result->left == 1 ? "" : "s");
    return 0;
}

void np_repair_result_clear(struct np_repair_result *result)
{
    for (size_t i = 0; i < result->step_count; i++) {
        free(result->steps[i].message);
        np_point_clear(&result->steps[i].point);
    }
    free(result->steps);
    *result = (struct np_repair_result){0};
}
