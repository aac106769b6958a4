#include "test.h"

#include "nbdpull/throttle.h"

#include <time.h>

#define PIECE 100000u
#define RATE 10000000u
#define PIECES 40 /* 0.4 s */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double time_pieces(struct np_throttle *throttle)
{
    double began = seconds();
    for (int i = 0; i < PIECES; i++)
        assert_true(np_throttle_take(throttle, PIECE));
    return seconds() - began;
}

/* Never faster. Slower only when the machine has no time for us, which does not happen every time. */
static void test_throttle__keeps_the_rate_within_a_tenth(void **state)
{
    (void)state;
    const double due = (double)PIECE * PIECES / RATE;
    double best = 1e9;
    for (int attempt = 0; attempt < 5 && best > due * 1.1; attempt++) {
        struct np_throttle throttle;
        np_throttle_init(&throttle, RATE);
        double took = time_pieces(&throttle);
        assert_true(took >= due * 0.999);
        best = took < best ? took : best;
        np_throttle_clear(&throttle);
    }
    assert_true(best <= due * 1.1);
}

static void pause_ms(long ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static void test_throttle__no_burst_follows_a_pause(void **state)
{
    (void)state;
    struct np_throttle throttle;
    np_throttle_init(&throttle, RATE);
    assert_true(np_throttle_take(&throttle, PIECE));
    pause_ms(300);
    assert_true(time_pieces(&throttle) >= (double)PIECE * PIECES / RATE - 0.1001);
    np_throttle_clear(&throttle);
}

static void *close_soon(void *throttle)
{
    pause_ms(50);
    np_throttle_close(throttle);
    return NULL;
}

static void test_throttle__closing_wakes_who_waits(void **state)
{
    (void)state;
    struct np_throttle throttle;
    pthread_t closer;
    np_throttle_init(&throttle, 1);
    assert_int_equal(pthread_create(&closer, NULL, close_soon, &throttle), 0);
    double began = seconds();
    assert_false(np_throttle_take(&throttle, 1000));
    assert_true(seconds() - began < 100);
    assert_false(np_throttle_take(&throttle, 1000));
    pthread_join(closer, NULL);
    np_throttle_clear(&throttle);
}

static void test_throttle__without_a_rate_nobody_waits(void **state)
{
    (void)state;
    struct np_throttle throttle;
    np_throttle_init(&throttle, 0);
    assert_true(np_throttle_take(&throttle, UINT64_MAX));
    np_throttle_clear(&throttle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_throttle__keeps_the_rate_within_a_tenth),
        cmocka_unit_test(test_throttle__no_burst_follows_a_pause),
        cmocka_unit_test(test_throttle__closing_wakes_who_waits),
        cmocka_unit_test(test_throttle__without_a_rate_nobody_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
