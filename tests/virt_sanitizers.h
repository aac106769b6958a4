/*
 * What the sanitisers need to know about libvirt and GLib, which are not built with them. Included once by
 * each test program that opens a connection.
 */
#ifndef NBDPULL_VIRT_SANITIZERS_H
#define NBDPULL_VIRT_SANITIZERS_H

/* Read by the leak checker: an embedded driver lives until its process ends and has some leaks of its own. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libvirt_driver_qemu.so\n";
}

/* Read by the thread sanitiser, which does not see how those libraries order their own accesses. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:libglib-2.0.so.0\n"
           "called_from_lib:libvirt.so.0\n"
           "called_from_lib:libvirt_driver_qemu.so\n"
           "race:libglib-2.0.so.0\n"
           "race:libvirt.so.0\n"
           "race:libvirt_driver_qemu.so\n";
}

#endif
