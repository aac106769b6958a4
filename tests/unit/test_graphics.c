#include "test.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/virt.h"

#include <stdio.h>
#include <stdlib.h>

static char *open_displays(const char *devices)
{
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE char *xml = NULL;
    char *displays = NULL;
    assert_true(asprintf(&xml, "<domain><devices>%s</devices></domain>", devices) > 0);
    ok(np_graphics_open(xml, &displays, &err));
    return displays;
}

/* Each from the documentation of libvirt's domain XML, or as libvirt 9.0 writes it. */
static void test_graphics__who_can_be_reached_is_named_with_its_address(void **state)
{
    (void)state;
    static const struct {
        const char *devices, *said;
    } cases[] = {
        {"<graphics type='vnc' port='-1' autoport='yes' listen='0.0.0.0'/>", "vnc on 0.0.0.0"},
        {"<graphics type='vnc' listen='0.0.0.0'><listen type='address' address='0.0.0.0'/></graphics>",
         "vnc on 0.0.0.0"},
        {"<graphics type='spice'><listen type='address' address='::'/></graphics>", "spice on ::"},
        {"<graphics type='rdp' listen='192.0.2.1'/>", "rdp on 192.0.2.1"},
        {"<graphics type='vnc'><listen type='address' address='host.example'/></graphics>",
         "vnc on host.example"},
        {"<graphics type='vnc' listen='192.0.2.1'><listen type='address'/></graphics>", "vnc on 192.0.2.1"},
        {"<graphics type='vnc'><listen type='network' network='office'/></graphics>",
         "vnc on this host's address in network 'office'"},
        {"<graphics type='vnc'><listen type='socket'/><listen type='address' "
         "address='192.0.2.1'/></graphics>",
         "vnc on 192.0.2.1"},
        {"<graphics type='vnc' listen='::ffff:192.0.2.1'/>", "vnc on ::ffff:192.0.2.1"},
        {"<graphics type='vnc' listen='127.0.0.1.example'/>", "vnc on 127.0.0.1.example"},
        {"<graphics type='newer' listen='0.0.0.0'/>", "newer on 0.0.0.0"},
        {"<graphics type='vnc'/><graphics type='spice' listen='192.0.2.7'/><graphics type='vnc' "
         "listen='192.0.2.8'/>",
         "spice on 192.0.2.7, vnc on 192.0.2.8"},
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(cases); i++) {
        NP_AUTO_FREE char *said = open_displays(cases[i].devices);
        if (said == NULL)
            fail_msg("nothing is said of %s", cases[i].devices);
        assert_string_equal(said, cases[i].said);
    }
}

static void test_graphics__what_only_the_host_or_a_password_opens_is_not_named(void **state)
{
    (void)state;
    static const char *const closed[] = {
        "",
        "<graphics type='vnc'/>",
        "<graphics type='vnc' listen=''><listen type='address'/></graphics>",
        "<graphics type='vnc' listen='127.0.0.1'/>",
        "<graphics type='vnc' listen='127.8.0.1'/>",
        "<graphics type='vnc' listen='127.1'/>",
        "<graphics type='vnc' listen='LocalHost'/>",
        "<graphics type='spice' listen='::1'/>",
        "<graphics type='spice' listen='::ffff:127.0.0.1'/>",
        "<graphics type='spice'><listen type='address' address='127.0.0.1'/></graphics>",
        "<graphics type='vnc'><listen type='socket'/></graphics>",
        "<graphics type='vnc' listen='0.0.0.0'><listen type='socket'/></graphics>",
        "<graphics type='spice'><listen type='none'/></graphics>",
        "<graphics type='spice'><listen type='none'/><gl enable='yes'/></graphics>",
        "<graphics type='vnc' listen='0.0.0.0' passwd='secret'/>",
        "<graphics type='vnc' listen='0.0.0.0' passwd=''/>",
        "<graphics type='sdl' listen='0.0.0.0'/>",
        "<graphics type='egl-headless'/>",
        "<graphics type='dbus' p2p='yes'/>",
        "<video><graphics type='vnc' listen='0.0.0.0'/></video>",
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(closed); i++) {
        NP_AUTO_FREE char *said = open_displays(closed[i]);
        if (said != NULL)
            fail_msg("'%s' is said of %s", said, closed[i]);
    }
}

/* A set may be hostile: a warning stays one that can be read. */
static void test_graphics__many_or_long_names_stay_short(void **state)
{
    (void)state;
    NP_AUTO_FREE char *devices = NULL;
    size_t size;
    FILE *out = open_memstream(&devices, &size);
    assert_non_null(out);
    for (int i = 0; i < 1000; i++)
        fprintf(out, "<graphics type='%0100d'><listen type='%s' %s='%04000d'/></graphics>", i,
                i % 2 == 0 ? "network" : "address", i % 2 == 0 ? "network" : "address", i);
    assert_int_equal(fclose(out), 0);
    NP_AUTO_FREE char *said = open_displays(devices);
    assert_non_null(said);
    assert_true(strlen(said) < 800);
    assert_non_null(strstr(said, " and 996 more"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_graphics__who_can_be_reached_is_named_with_its_address),
        cmocka_unit_test(test_graphics__what_only_the_host_or_a_password_opens_is_not_named),
        cmocka_unit_test(test_graphics__many_or_long_names_stay_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
