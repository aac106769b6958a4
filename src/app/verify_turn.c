/*
 * Which part of the payloads a run with --sample takes: the one behind the last run's. That is remembered in
 * the user's state directory, not in the set, which verify only reads. Where it is not known, the day
 * chooses.
 */
#include "verify_parts.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/hash.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DAY UINT64_C(86400)
#define WEEK 7
#define TEXT_MAX 8192
#define NAME_SIZE 33 /* 32 hexadecimal digits */

/* ---- the file ---- */

static char *state_path(struct np_error *err)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char *path = NULL;
    if (state != NULL && state[0] == '/')
        path = np_path_join(state, "nbdpull");
    else if (geteuid() == 0)
        path = strdup("/var/lib/nbdpull");
    else if (home != NULL && home[0] == '/')
        path = np_path_join(home, ".local/state/nbdpull");
    else {
        np_fail(err, NP_FAILED, "neither XDG_STATE_HOME nor HOME is set");
        return NULL;
    }
    if (path == NULL)
        np_fail_errno(err, NP_FAILED, ENOMEM, "the state directory");
    return path;
}

/* What is missing of the path; what cannot be made is seen when it is opened. */
static void make_path(char *path)
{
    for (char *at = path + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdir(path, 0700);
        *at = '/';
    }
    mkdir(path, 0700);
}

/* Another user could lead us to other places by links. @return descriptor, or -1 */
static int open_state(char *path, bool make, struct np_error *err)
{
    struct stat st;
    if (make)
        make_path(path);
    NP_AUTO_FD int dir = np_dir_open(AT_FDCWD, path, path, err);
    if (dir < 0)
        return -1;
    if (fstat(dir, &st) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot stat", path);
    if (st.st_uid != geteuid())
        return np_fail(err, NP_FAILED, "%s: belongs to another user", path);
    return np_steal_fd(&dir);
}

/* One for each kind of run: those that check other things, or by another depth, do not take turns. */
static int name_of(const struct np_verify_request *request, unsigned parts, char name[NAME_SIZE],
                   struct np_error *err)
{
    NP_AUTO_FREE char *input = realpath(request->input, NULL);
    if (input == NULL)
        return np_fail_errno(err, NP_FAILED, errno, "%s", request->input);
    struct np_hash_stream *hash = np_hash_stream_new();
    if (hash == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", input);
    const char *until = request->until != NULL ? request->until : "";
    np_hash_stream_add(hash, input, strlen(input) + 1);
    np_hash_stream_add(hash, until, strlen(until) + 1);
    np_hash_stream_add(hash, &request->depth, sizeof(request->depth));
    np_hash_stream_add(hash, &parts, sizeof(parts));
    for (size_t i = 0; i < request->disks.count; i++)
        np_hash_stream_add(hash, request->disks.list[i], strlen(request->disks.list[i]) + 1);
    struct np_hash128 sum = np_hash_stream_get(hash);
    np_hash_stream_free(hash);
    snprintf(name, NAME_SIZE, "%016" PRIx64 "%016" PRIx64, sum.high, sum.low);
    return 0;
}

/* @return the last run's part; 0: not known */
static unsigned recall(const struct np_verify_request *request, unsigned parts, struct np_error *err)
{
    char name[NAME_SIZE];
    NP_AUTO_FREE char *path = state_path(err);
    NP_AUTO_FREE char *text = NULL;
    size_t size;
    if (path == NULL || name_of(request, parts, name, err) < 0)
        return 0;
    NP_AUTO_FD int dir = open_state(path, false, err);
    if (dir < 0 || np_file_read_whole(dir, path, name, TEXT_MAX, &text, &size, err) < 0)
        return 0;
    unsigned long part = strtoul(text, NULL, 10);
    return part <= parts ? (unsigned)part : 0;
}

static int remember(const struct np_verify_request *request, const struct np_verify_result *result,
                    struct np_error *err)
{
    char name[NAME_SIZE], text[TEXT_MAX];
    NP_AUTO_FREE char *path = state_path(err);
    if (path == NULL || name_of(request, result->parts, name, err) < 0)
        return -1;
    NP_AUTO_FD int dir = open_state(path, true, err);
    if (dir < 0)
        return -1;
    /* Only the number is read again; the rest is for who looks at it. */
    snprintf(text, sizeof(text), "%u of %u was the last part that verify checked of %.4096s\n", result->part,
             result->parts, request->input);
    return np_file_replace(dir, path, name, text, strlen(text), err);
}

/* ---- the turn ---- */

/*
 * A number of parts that a week divides would show a weekly job the same part for ever where the day chooses,
 * so there is none such; then daily and weekly runs both come past every part there too.
 */
void np_verify_turn_choose(const struct np_verify_request *request, struct np_verify_result *result)
{
    struct np_error why = NP_ERROR_INIT;
    result->parts = request->sample > 0 && request->sample < 100 ? 100 / request->sample : 1;
    if (result->parts % WEEK == 0)
        result->parts--;
    result->part = request->part > 0 ? request->part : 1;
    if (request->part > 0 || result->parts <= 1)
        return;
    unsigned last = recall(request, result->parts, &why);
    if (last == 0)
        np_log_debug("the last run's part is not known: %s", why.message);
    uint64_t day = (uint64_t)time(NULL) / DAY;
    result->part = (unsigned)((last > 0 ? last : day) % result->parts) + 1;
}

void np_verify_turn_keep(const struct np_verify_request *request, const struct np_verify_result *result)
{
    struct np_error why = NP_ERROR_INIT;
    if (result->parts > 1 && request->part == 0 && remember(request, result, &why) < 0)
        np_log_warning("that this part was checked is not remembered, and the day chooses the next one: %s",
                       why.message);
}
