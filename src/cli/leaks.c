/*
 * The sanitiser looks for leaks when a process takes itself apart, which main leaves out.
 */
#include "leaks.h"

#ifdef __SANITIZE_ADDRESS__
#include <link.h>
#include <sanitizer/lsan_interface.h>
#include <string.h>

/* The threads of an embedded driver come and go; the look at their memory crashed once in 26 tests. */
static int is_driver(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)size;
    (void)ctx;
    return strstr(info->dlpi_name, "/libvirt_driver_qemu.so") != NULL;
}

void np_leaks_check(void)
{
    if (dl_iterate_phdr(is_driver, NULL) == 0)
        __lsan_do_leak_check();
}
#else
void np_leaks_check(void)
{
}
#endif
