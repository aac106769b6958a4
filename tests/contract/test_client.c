/* One NBD client against a server that lies, forgets or repeats. */
#include "contract/fake_nbd.h"

#include "../../src/nbd/status.h"
#include "nbdpull/bytes.h"

#include <dirent.h>

#define SIZE 65536u

static int try_open(struct fake_nbd *fake, const char *bitmap, struct np_nbd_group *group,
                    struct np_nbd_client **client, struct np_error *err)
{
    struct np_nbd_address address = {
        .socket = fake->listener.path,
        .export_name = "vda",
        .allocation = fake->context_count > 0,
        .bitmap = bitmap,
        .lost = "a hint",
    };
    np_nbd_group_init(group, NULL);
    return np_nbd_client_open(&address, group, client, err);
}

/* ---- reads ---- */

/* One read of SIZE bytes, answered by these pieces. Gives the message, or "" when it succeeded. */
static void read_pieces(const struct fake_piece *pieces, size_t count, uint8_t buffer[SIZE],
                        struct np_error *err)
{
    struct fake_nbd fake = {.size = SIZE, .piece_count = count};
    struct np_nbd_group group;
    struct np_nbd_client *client = NULL;
    memcpy(fake.pieces, pieces, count * sizeof(*pieces));
    *err = (struct np_error)NP_ERROR_INIT;
    fake_start(&fake);
    if (try_open(&fake, NULL, &group, &client, err) < 0)
        fail_msg("%s", err->message);
    memset(buffer, 0xee, SIZE);
    np_nbd_client_read(client, buffer, 0, SIZE, err);
    np_nbd_client_close(client);
    np_nbd_group_clear(&group);
    fake_stop(&fake);
}

static void test_client__pieces_that_cover_the_read_are_good(void **state)
{
    (void)state;
    static uint8_t buffer[SIZE];
    struct np_error err;
    const struct fake_piece pieces[] = {{0, 1000, 1}, {1000, 1, 2}, {1001, SIZE - 1001, 3}};
    read_pieces(pieces, NP_ARRAY_SIZE(pieces), buffer, &err);
    assert_int_equal(err.class, NP_OK);
    assert_int_equal(buffer[999], 1);
    assert_int_equal(buffer[1000], 2);
    assert_int_equal(buffer[SIZE - 1], 3);
}

static void test_client__a_read_that_lacks_its_end_is_an_error(void **state)
{
    (void)state;
    static uint8_t buffer[SIZE];
    struct np_error err;
    const struct fake_piece pieces[] = {{0, SIZE - 1, 1}};
    read_pieces(pieces, NP_ARRAY_SIZE(pieces), buffer, &err);
    assert_int_equal(err.class, NP_FAILED);
}

static void test_client__a_piece_sent_twice_does_not_stand_for_another(void **state)
{
    (void)state;
    static uint8_t buffer[SIZE];
    struct np_error err;
    const struct fake_piece pieces[] = {{0, SIZE / 2, 1}, {0, SIZE / 2, 1}};
    read_pieces(pieces, NP_ARRAY_SIZE(pieces), buffer, &err);
    assert_int_equal(err.class, NP_FAILED);
    assert_non_null(strstr(err.message, "lacks bytes"));
}

static void test_client__a_piece_outside_of_the_read_is_an_error(void **state)
{
    (void)state;
    static uint8_t buffer[SIZE];
    struct np_error err;
    const struct fake_piece pieces[] = {{0, SIZE / 2, 1}, {SIZE / 2 + 1, SIZE / 2, 1}};
    read_pieces(pieces, NP_ARRAY_SIZE(pieces), buffer, &err);
    assert_int_equal(err.class, NP_FAILED);
}

static size_t open_descriptors(void)
{
    size_t count = 0;
    DIR *list = opendir("/proc/self/fd");
    assert_non_null(list);
    while (readdir(list) != NULL)
        count++;
    closedir(list);
    return count;
}

static void test_client__a_server_that_hangs_up_is_told_and_leaks_nothing(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_nbd_group group;
    struct np_nbd_client *client = NULL;
    static uint8_t buffer[SIZE];
    size_t before = open_descriptors();

    struct fake_nbd early = {.size = SIZE, .hang_up_in_handshake = true};
    fake_start(&early);
    fails(NP_FAILED, try_open(&early, NULL, &group, &client, &err));
    assert_non_null(strstr(err.message, "cannot connect"));
    fake_stop(&early);

    struct fake_nbd late = {.size = SIZE, .hang_up_in_read = true};
    err = (struct np_error)NP_ERROR_INIT;
    fake_start(&late);
    ok(try_open(&late, NULL, &group, &client, &err));
    fails(NP_FAILED, np_nbd_client_read(client, buffer, 0, SIZE, &err));
    assert_non_null(strstr(err.message, "the NBD connection was lost"));
    assert_non_null(strstr(err.message, "a hint"));
    assert_true(np_nbd_client_is_lost(client));
    np_nbd_client_close(client);
    fake_stop(&late);
    assert_int_equal(open_descriptors(), before);
}

/* ---- block status ---- */

/* Block status of the whole export by a server with these contexts. */
static int ask_status(const struct fake_context *contexts, size_t context_count, struct np_extent extents[8],
                      size_t *count, struct np_error *err)
{
    struct fake_nbd fake = {.size = SIZE, .context_count = context_count};
    struct np_nbd_status answer = {0};
    struct np_nbd_group group;
    struct np_nbd_client *client = NULL;
    memcpy(fake.contexts, contexts, context_count * sizeof(*contexts));
    fake_start(&fake);
    int status = try_open(&fake, context_count == 2 ? "bm" : NULL, &group, &client, err);
    if (status == 0)
        status = np_nbd_status_extents(&answer, client, 0, SIZE, extents, 8, count, err);
    np_nbd_status_clear(&answer);
    np_nbd_client_close(client);
    np_nbd_group_clear(&group);
    fake_stop(&fake);
    return status;
}

#define ALLOCATION "base:allocation"
#define BITMAP "qemu:dirty-bitmap:bm"

static void test_client__contexts_cut_differently_lose_no_dirty_range(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_extent extents[8];
    size_t count;
    const struct fake_context contexts[] = {
        {ALLOCATION, {4096, 0, SIZE - 4096, 3}, 4, 1},
        {BITMAP, {1024, 0, 2048, 1, 4096, 0, 512, 1}, 8, 1},
    };
    ok(ask_status(contexts, 2, extents, &count, &err));
    const struct np_extent expected[] = {
        {0, 1024, 0},
        {1024, 2048, NP_EXTENT_DIRTY},
        {3072, 1024, 0},
        {4096, 3072, NP_EXTENT_ZERO},
        {7168, 512, NP_EXTENT_ZERO | NP_EXTENT_DIRTY},
    };
    assert_int_equal(count, NP_ARRAY_SIZE(expected));
    for (size_t i = 0; i < count; i++)
        assert_memory_equal(&extents[i], &expected[i], sizeof(extents[i].offset) * 2 + 4);
}

static void test_client__an_answer_longer_than_the_question_is_cut(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_extent extents[8];
    size_t count;
    const struct fake_context contexts[] = {{ALLOCATION, {4096, 0, 0xffffff00u, 2, 512, 0}, 6, 1}};
    ok(ask_status(contexts, 1, extents, &count, &err));
    assert_int_equal(count, 2);
    assert_int_equal(extents[1].offset + extents[1].length, SIZE);
}

static void test_client__an_extent_of_no_bytes_is_an_error(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_extent extents[8];
    size_t count;
    const struct fake_context first[] = {{ALLOCATION, {0, 0}, 2, 1}};
    fails(NP_FAILED, ask_status(first, 1, extents, &count, &err));
    const struct fake_context later[] = {{ALLOCATION, {512, 0, 0, 2, 512, 0}, 6, 1}};
    fails(NP_FAILED, ask_status(later, 1, extents, &count, &err));
}

static void test_client__a_bitmap_that_does_not_answer_is_not_clean(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_extent extents[8];
    size_t count;
    const struct fake_context contexts[] = {{ALLOCATION, {SIZE, 0}, 2, 1}, {BITMAP, {0}, 0, 1}};
    fails(NP_FAILED, ask_status(contexts, 2, extents, &count, &err));
    assert_non_null(strstr(err.message, "says nothing"));
}

static void test_client__a_context_that_answers_twice_is_an_error(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_extent extents[8];
    size_t count;
    const struct fake_context contexts[] = {{ALLOCATION, {4096, 0}, 2, 2}};
    fails(NP_FAILED, ask_status(contexts, 1, extents, &count, &err));
}

static void test_client__no_base_allocation_is_an_error(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_extent extents[8];
    size_t count;
    const struct fake_context contexts[] = {{"qemu:allocation-depth", {SIZE, 0}, 2, 1}};
    fails(NP_FAILED, ask_status(contexts, 1, extents, &count, &err));
    assert_non_null(strstr(err.message, "does not offer base:allocation"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client__pieces_that_cover_the_read_are_good),
        cmocka_unit_test(test_client__a_read_that_lacks_its_end_is_an_error),
        cmocka_unit_test(test_client__a_piece_sent_twice_does_not_stand_for_another),
        cmocka_unit_test(test_client__a_piece_outside_of_the_read_is_an_error),
        cmocka_unit_test(test_client__a_server_that_hangs_up_is_told_and_leaks_nothing),
        cmocka_unit_test(test_client__contexts_cut_differently_lose_no_dirty_range),
        cmocka_unit_test(test_client__an_answer_longer_than_the_question_is_cut),
        cmocka_unit_test(test_client__an_extent_of_no_bytes_is_an_error),
        cmocka_unit_test(test_client__a_bitmap_that_does_not_answer_is_not_clean),
        cmocka_unit_test(test_client__a_context_that_answers_twice_is_an_error),
        cmocka_unit_test(test_client__no_base_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
