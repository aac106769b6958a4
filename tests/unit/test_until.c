#include "test.h"

#include "nbdpull/set.h"
#include "set/until.h"

#include <stdio.h>
#include <stdlib.h>

static void at(const char *text, time_t wanted)
{
    time_t seconds;
    if (!np_until_parse(text, &seconds) || seconds != wanted)
        fail_msg("%s: %jd, not %jd", text, (intmax_t)seconds, (intmax_t)wanted);
}

static void refused(const char *text)
{
    time_t seconds;
    if (np_until_parse(text, &seconds))
        fail_msg("'%s' was taken for a time", text);
}

static void test_until__times_with_a_zone(void **state)
{
    (void)state;
    at("2026-11-20T03:00:00Z", 1795143600);
    at("2026-11-20 03:00Z", 1795143600);
    at("2026-11-20 04:00+01:00", 1795143600);
    at("2026-11-19 22:30:00-0430", 1795143600);
}

static void test_until__without_a_zone_it_is_local(void **state)
{
    (void)state;
    setenv("TZ", "XST-2", 1);
    tzset();
    at("2026-11-20 05:00", 1795143600);
    at("2026-11-20T05:00:00", 1795143600);
    setenv("TZ", "UTC", 1);
    tzset();
    at("2026-11-20 03:00", 1795143600);
}

static void test_until__what_is_no_time(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "2026",
                                        "2026-11-20",
                                        "2026-11-20 ",
                                        "2026-13-01 00:00",
                                        "2026-02-31 00:00",
                                        "2026-11-20 24:00",
                                        "2026-11-20 03:60",
                                        "2026-11-20 03:00:60",
                                        "2026-11-20 03:00 Z",
                                        "2026-11-20 03:00+1",
                                        "2026-11-20 03:00Zx",
                                        "26-11-20 03:00",
                                        "latest"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        refused(texts[i]);
}

static void test_until__the_newest_point_not_after_it(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_point list[] = {{.id = "0001", .time = "2026-11-18T03:00:00Z"},
                              {.id = "0002", .time = "2026-11-19T03:00:00Z"},
                              {.id = "0003", .time = "2026-11-18T12:00:00Z"}, /* the clock went back */
                              {.id = "0004", .time = "2026-11-20T03:00:00Z"}};
    const struct np_points points = {.list = list, .count = 4};
    const struct np_point *point;
    ok(np_points_find(&points, "2026-11-20 03:00Z", &point, &err));
    assert_string_equal(point->id, "0004");
    ok(np_points_find(&points, "2026-11-20 02:59:59Z", &point, &err));
    assert_string_equal(point->id, "0003");
    ok(np_points_find(&points, "2026-11-18 11:00Z", &point, &err));
    assert_string_equal(point->id, "0001");
    fails(NP_FAILED, np_points_find(&points, "2026-11-18 02:59Z", &point, &err));
    assert_non_null(strstr(err.message, "0001"));
    fails(NP_FAILED, np_points_find(&points, "yesterday", &point, &err));
}

/* A record has no checksum: whether a point whose time cannot be read is the one, nobody can tell. */
static void test_until__a_time_that_cannot_be_read_is_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_point list[] = {{.id = "0001", .time = "2026-11-18T03:00:00Z"}, {.id = "0002", .time = "2O26"}};
    const struct np_points points = {.list = list, .count = 2};
    const struct np_point *point;
    fails(NP_DAMAGED, np_points_find(&points, "2026-11-18 11:00Z", &point, &err));
    assert_non_null(strstr(err.message, "0002"));
    ok(np_points_find(&points, "1", &point, &err));
    ok(np_points_find(&points, "latest", &point, &err));
    assert_string_equal(point->id, "0002");
}

/* A stream that was made without a set has a point without an id. */
static void test_until__a_point_without_an_id_is_named_by_its_time(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    char name[] = "copy.nbp";
    struct np_point list[] = {{.time = "2026-11-18T03:00:00Z"}};
    const struct np_points points = {.list = list, .count = 1, .name = name};
    const struct np_point *point;
    fails(NP_FAILED, np_points_find(&points, "3", &point, &err));
    assert_string_equal(err.message, "copy.nbp: no restore point \"3\"; the newest of 1: one without an id "
                                     "(2026-11-18T03:00:00Z)");
    fails(NP_FAILED, np_points_find(&points, "2026-11-17", &point, &err));
    fails(NP_FAILED, np_points_find(&points, "2026-11-17 00:00Z", &point, &err));
    assert_string_equal(err.message,
                        "copy.nbp: no restore point is as old as 2026-11-17 00:00Z; the oldest is "
                        "of 2026-11-18T03:00:00Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_until__times_with_a_zone),
        cmocka_unit_test(test_until__without_a_zone_it_is_local),
        cmocka_unit_test(test_until__what_is_no_time),
        cmocka_unit_test(test_until__the_newest_point_not_after_it),
        cmocka_unit_test(test_until__a_time_that_cannot_be_read_is_damage),
        cmocka_unit_test(test_until__a_point_without_an_id_is_named_by_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
