/*
 * Runs a fuzz target over files: the tests fuzz.NAME, and one input that a fuzzer has found.
 *
 *   fuzz_NAME FILE|DIRECTORY...
 */
#include "fuzz.h"

#include "nbdpull/file.h"
#include "nbdpull/names.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static size_t inputs;

static int fail(const char *path, const char *what)
{
    fprintf(stderr, "%s: %s\n", path, what);
    return -1;
}

static int run_file(int dir, const char *name, const char *path)
{
    NP_AUTO_FD int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    struct stat st;
    struct np_error err = NP_ERROR_INIT;
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail(path, strerror(errno));
    NP_AUTO_FREE uint8_t *bytes = malloc(st.st_size > 0 ? (size_t)st.st_size : 1);
    if (bytes == NULL || np_file_read_at(fd, path, bytes, (size_t)st.st_size, 0, &err) < 0)
        return fail(path, err.message);
    inputs++;
    fprintf(stderr, "%s\n", path); /* the last one is the one that broke it */
    LLVMFuzzerTestOneInput(bytes, (size_t)st.st_size);
    return 0;
}

static int run_directory(int dir, const char *path)
{
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    struct np_error err = NP_ERROR_INIT;
    if (np_names_of_dir(dir, path, &names, &err) < 0)
        return fail(path, err.message);
    for (size_t i = 0; i < names.count; i++) {
        NP_AUTO_FREE char *whole = np_path_join(path, names.list[i]);
        if (whole == NULL || run_file(dir, names.list[i], whole) < 0)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        NP_AUTO_FD int dir = open(argv[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if ((dir >= 0 ? run_directory(dir, argv[i]) : run_file(AT_FDCWD, argv[i], argv[i])) < 0)
            return 1;
    }
    printf("%zu inputs\n", inputs);
    return inputs > 0 ? 0 : 1; /* a test of nothing cannot fail */
}
