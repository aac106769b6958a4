/*
 * For LD_PRELOAD: the call that begins a backup job makes the file $HOLD_BEGIN and goes on when it is gone.
 * So a test is sure to be between freeze and thaw. With $FAKE_VERSION libvirt seems to be that one; then the
 * flags of the call go to the file $BEGIN_FLAGS, and the call is made without them.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef int begin_function(void *domain, const char *backup, const char *checkpoint, unsigned flags);

int virDomainBackupBegin(void *domain, const char *backup, const char *checkpoint, unsigned flags);

int virConnectGetLibVersion(void *conn, unsigned long *version);

int virConnectGetLibVersion(void *conn, unsigned long *version)
{
    const char *fake = getenv("FAKE_VERSION");
    int (*real)(void *, unsigned long *) =
        (int (*)(void *, unsigned long *))dlsym(RTLD_NEXT, "virConnectGetLibVersion");
    int result = real == NULL ? -1 : real(conn, version);
    if (result == 0 && fake != NULL)
        *version = strtoul(fake, NULL, 10);
    return result;
}

static unsigned take_flags(unsigned flags)
{
    const char *path = getenv("BEGIN_FLAGS");
    FILE *file = path == NULL ? NULL : fopen(path, "w");
    if (file == NULL)
        return flags;
    fprintf(file, "%u\n", flags);
    fclose(file);
    return 0;
}

int virDomainBackupBegin(void *domain, const char *backup, const char *checkpoint, unsigned flags)
{
    const char *path = getenv("HOLD_BEGIN");
    if (path != NULL) {
        close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        while (access(path, F_OK) == 0)
            usleep(10000);
    }
    begin_function *real = (begin_function *)dlsym(RTLD_NEXT, "virDomainBackupBegin");
    return real == NULL ? -1 : real(domain, backup, checkpoint, take_flags(flags));
}
