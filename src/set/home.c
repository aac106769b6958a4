#include "home.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MACHINE_ID "/etc/machine-id"
#define MACHINE_ID_MAX 64

/*
 * Where there is none the host's name serves. One that is there and cannot be read just now is an error: by
 * its name the host would be another one, and the set would give up its checkpoints as a copy does.
 * @param found out
 */
static int read_machine_id(char host[NP_HOME_HOST_MAX], bool *found, struct np_error *err)
{
    NP_AUTO_FREE char *text = NULL;
    size_t size;
    struct stat st;
    *found = false;
    if (lstat(MACHINE_ID, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > MACHINE_ID_MAX)
        return 0;
    if (np_file_read_whole(AT_FDCWD, MACHINE_ID, MACHINE_ID, MACHINE_ID_MAX, &text, &size, err) < 0)
        return -1;
    size = strspn(text, "0123456789abcdef");
    *found = size == 32; /* else empty, or "uninitialized" */
    if (*found)
        snprintf(host, NP_HOME_HOST_MAX, "%.32s", text);
    return 0;
}

int np_home_find(int dir, const char *path, struct np_home *home, struct np_error *err)
{
    *home = (struct np_home){0};
    bool found;
    if (read_machine_id(home->host, &found, err) < 0)
        return -1;
    if (!found && gethostname(home->host, sizeof(home->host) - 1) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "cannot tell this host's name");
    struct stat st;
    if (fstat(dir, &st) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot stat", path);
    home->dev = st.st_dev;
    home->ino = st.st_ino;
    return 0;
}

void np_home_id(const struct np_uuid *uuid, char id[NP_HOME_ID_SIZE])
{
    char text[NP_UUID_TEXT_SIZE];
    np_uuid_format(uuid, text); /* 8 digits, a dash, 4 digits, ... */
    memcpy(id, text, 8);
    memcpy(id + 8, text + 9, 4);
    id[12] = '\0';
}

bool np_home_equal(const struct np_home *a, const struct np_home *b)
{
    return strcmp(a->host, b->host) == 0 && a->dev == b->dev && a->ino == b->ino;
}
