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
#define TEXT_MAX 64
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
    struct np_error ignored = NP_ERROR_INIT;
    for (char *at = path + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        np_dir_make(AT_FDCWD, path, path, &ignored);
        *at = '/';
    }
    np_dir_make(AT_FDCWD, path, path, &ignored);
}

/* Another user could lead us to other places by links. @return descriptor, or -1 */
static int open_state(char *path, struct np_error *err)
{
    struct stat st;
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
static int name_of(const struct np_verify_request *request, unsigned parts, char name[NAME_SIZE])
{
    NP_AUTO_FREE char *input = realpath(request->input, NULL);
    struct np_hash_stream *hash = input != NULL ? np_hash_stream_new() : NULL;
    if (hash == NULL)
        return -1;
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

/* @return 0: not known */
static unsigned read_part(int dir, const char *path, const char *name, unsigned parts)
{
    NP_AUTO_FREE char *text = NULL;
    struct np_error why = NP_ERROR_INIT;
    size_t size;
    if (np_file_read_whole(dir, path, name, TEXT_MAX, &text, &size, &why) < 0) {
        np_log_debug("the last run's part is not known: %s", why.message);
        return 0;
    }
    unsigned long part = strtoul(text, NULL, 10);
    return part <= parts ? (unsigned)part : 0;
}

static int write_part(int dir, const char *path, const char *name, const struct np_verify_result *result,
                      struct np_error *err)
{
    char text[64];
    snprintf(text, sizeof(text), "%u of %u\n", result->part, result->parts);
    return np_file_replace(dir, path, name, text, strlen(text), err);
}

/* ---- the turn ---- */

/*
 * What is there but cannot be replaced would show each run the same part. So it is written anew first, as it
 * is.
 * @return the last run's part; 0: not known
 */
static unsigned recall(const struct np_verify_request *request, const struct np_verify_result *result,
                       struct np_error *err)
{
    char name[NAME_SIZE];
    if (name_of(request, result->parts, name) < 0)
        return 0; /* it is told when the input is opened */
    NP_AUTO_FREE char *path = state_path(err);
    if (path == NULL)
        return 0;
    NP_AUTO_FD int dir = open_state(path, err);
    if (dir < 0)
        return 0;
    const struct np_verify_result last = {.part = read_part(dir, path, name, result->parts),
                                          .parts = result->parts};
    return write_part(dir, path, name, &last, err) == 0 ? last.part : 0;
}

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
    unsigned last = recall(request, result, &why);
    if (why.class != NP_OK)
        np_log_warning("which part comes next cannot be remembered, so the day chooses: %s", why.message);
    uint64_t day = (uint64_t)time(NULL) / DAY;
    result->part = (unsigned)((last > 0 ? last : day) % result->parts) + 1;
}

/* Where this fails, the next run takes the same part, or says that it cannot be remembered. */
void np_verify_turn_keep(const struct np_verify_request *request, const struct np_verify_result *result)
{
    char name[NAME_SIZE];
    struct np_error why = NP_ERROR_INIT;
    if (result->parts <= 1 || request->part > 0 || name_of(request, result->parts, name) < 0)
        return;
    NP_AUTO_FREE char *path = state_path(&why);
    NP_AUTO_FD int dir = path != NULL ? open_state(path, &why) : -1;
    if (dir < 0 || write_part(dir, path, name, result, &why) < 0)
        np_log_debug("that this part was checked is not remembered: %s", why.message);
}
