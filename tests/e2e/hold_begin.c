/*
 * For LD_PRELOAD: the call that begins a backup job makes the file $HOLD_BEGIN and goes on when it is gone.
 * So a test is sure to be between freeze and thaw.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

typedef int begin_function(void *domain, const char *backup, const char *checkpoint, unsigned flags);

int virDomainBackupBegin(void *domain, const char *backup, const char *checkpoint, unsigned flags);

int virDomainBackupBegin(void *domain, const char *backup, const char *checkpoint, unsigned flags)
{
    const char *path = getenv("HOLD_BEGIN");
    if (path != NULL) {
        close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        while (access(path, F_OK) == 0)
            usleep(10000);
    }
    begin_function *real = (begin_function *)dlsym(RTLD_NEXT, "virDomainBackupBegin");
    return real == NULL ? -1 : real(domain, backup, checkpoint, flags);
}
