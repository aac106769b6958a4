#include "home.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static bool read_machine_id(char host[NP_HOME_HOST_MAX])
{
    struct np_error ignored = NP_ERROR_INIT;
    NP_AUTO_FREE char *text = NULL;
    size_t size;
    if (np_file_read_whole(AT_FDCWD, "/etc/machine-id", "/etc/machine-id", 64, &text, &size, &ignored) < 0)
        return false;
    size = strspn(text, "0123456789abcdef");
    if (size != 32) /* empty, or "uninitialized" */
        return false;
    memcpy(host, text, size);
    host[size] = '\0';
    return true;
}

int np_home_find(int dir, const char *path, struct np_home *home, struct np_error *err)
{
    *home = (struct np_home){0};
    if (!read_machine_id(home->host) && gethostname(home->host, sizeof(home->host) - 1) < 0)
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
