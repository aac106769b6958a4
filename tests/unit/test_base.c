#include "test.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cancel.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/queue.h"
#include "nbdpull/subprocess.h"
#include "nbdpull/uuid.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

static void test_error__context_goes_in_front(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    assert_int_equal(np_fail_errno(&err, NP_FAILED, ENOSPC, "%s: cannot write", "a"), -1);
    np_error_context(&err, "disk %s", "vda");
    assert_string_equal(err.message, "disk vda: a: cannot write: No space left on device");
    assert_int_equal(np_error_exit_status(&err), 1);
}

static void test_error__first_place_is_kept(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    np_fail(&err, NP_DAMAGED, "x");
    np_error_where(&err, "vda", 4096);
    np_error_where(&err, "vdb", 8192);
    assert_string_equal(err.disk, "vda");
    assert_int_equal(err.offset, 4096);
    assert_int_equal(np_error_exit_status(&err), 4);
}

static void test_error__longer_than_its_room_is_cut(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    char big[2 * NP_ERROR_MESSAGE_MAX];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    np_fail_errno(&err, NP_FAILED, EIO, "%s", big);
    np_error_context(&err, "%s", big);
    assert_int_equal(strlen(err.message), NP_ERROR_MESSAGE_MAX - 1);
}

static void test_bytes__little_endian(void **state)
{
    (void)state;
    uint8_t b[8];
    np_put_le64(b, UINT64_C(0x0102030405060708));
    assert_int_equal(b[0], 8);
    assert_int_equal(b[7], 1);
    assert_true(np_get_le64(b) == UINT64_C(0x0102030405060708));
    assert_true(np_get_le32(b) == 0x05060708);
    assert_true(np_get_le16(b + 6) == 0x0102);
}

static void test_bytes__is_zero_sees_every_byte(void **state)
{
    (void)state;
    uint8_t b[100] = {0};
    for (size_t size = 0; size <= sizeof(b); size++) {
        assert_true(np_is_zero(b, size));
        for (size_t i = 0; i < size; i++) {
            b[i] = 1;
            assert_false(np_is_zero(b, size));
            b[i] = 0;
        }
    }
}

static void test_uuid__text_and_back(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_uuid a, b;
    char text[NP_UUID_TEXT_SIZE];
    ok(np_uuid_random(&a, &err));
    np_uuid_format(&a, text);
    assert_int_equal(strlen(text), 36);
    assert_true(np_uuid_parse(text, &b));
    assert_true(np_uuid_equal(&a, &b));
    assert_false(np_uuid_parse("", &b));
    assert_false(np_uuid_parse("0123", &b));
    text[35] = 'g';
    assert_false(np_uuid_parse(text, &b));
}

static void test_queue__closed_drains_then_ends(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_queue queue;
    int a, b;
    ok(np_queue_init(&queue, 2, &err));
    assert_true(np_queue_put(&queue, &a));
    assert_true(np_queue_put(&queue, &b));
    np_queue_close(&queue);
    assert_false(np_queue_put(&queue, &a));
    assert_ptr_equal(np_queue_take(&queue), &a);
    assert_ptr_equal(np_queue_take(&queue), &b);
    assert_null(np_queue_take(&queue));
    np_queue_clear(&queue);
}

static void count_call(void *ctx)
{
    ++*(int *)ctx;
}

static void test_cancel__first_signal_counts_and_hooks_run_once(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_cancel cancel;
    struct np_cancel_entry early, gone, late;
    int early_calls = 0, gone_calls = 0, late_calls = 0;
    np_cancel_init(&cancel);
    np_cancel_add(&cancel, &early, count_call, &early_calls);
    np_cancel_add(&cancel, &gone, count_call, &gone_calls);
    np_cancel_remove(&cancel, &gone);
    ok(np_cancel_check(&cancel, &err));
    np_cancel_request(&cancel, SIGTERM);
    np_cancel_request(&cancel, SIGINT);
    np_cancel_add(&cancel, &late, count_call, &late_calls);
    assert_int_equal(early_calls, 1);
    assert_int_equal(gone_calls, 0);
    assert_int_equal(late_calls, 1);
    fails(NP_INTERRUPTED, np_cancel_check(&cancel, &err));
    assert_int_equal(np_error_exit_status(&err), 128 + SIGTERM);
    np_cancel_remove(&cancel, &early);
    np_cancel_remove(&cancel, &late);
    np_cancel_clear(&cancel);
}

static void take_reason(void *ctx)
{
    void **both = ctx;
    np_cancel_check(both[0], both[1]);
}

static void test_cancel__error_is_the_reason_when_it_is_first(void **state)
{
    (void)state;
    struct np_error full = NP_ERROR_INIT, seen = NP_ERROR_INIT, err = NP_ERROR_INIT;
    struct np_cancel cancel;
    struct np_cancel_entry entry;
    void *both[] = {&cancel, &seen};
    np_fail(&full, NP_FAILED, "no space");
    np_error_where(&full, "vda", NP_NO_OFFSET);
    np_cancel_init(&cancel);
    np_cancel_add(&cancel, &entry, take_reason, both);
    assert_true(np_cancel_fail(&cancel, &full));
    fails(NP_FAILED, np_cancel_check(&cancel, &err));
    assert_string_equal(err.message, "no space");
    assert_string_equal(err.disk, "vda");
    assert_string_equal(seen.message, "no space"); /* a hook may ask */
    np_cancel_request(&cancel, SIGTERM);
    assert_false(np_cancel_fail(&cancel, &full));
    err = (struct np_error)NP_ERROR_INIT;
    fails(NP_FAILED, np_cancel_check(&cancel, &err));
    np_cancel_remove(&cancel, &entry);
    np_cancel_clear(&cancel);
}

static void test_cancel__error_does_not_hide_a_signal(void **state)
{
    (void)state;
    struct np_error full = NP_ERROR_INIT, err = NP_ERROR_INIT;
    struct np_cancel cancel;
    np_fail(&full, NP_FAILED, "no space");
    np_cancel_init(&cancel);
    np_cancel_request(&cancel, SIGTERM);
    assert_false(np_cancel_fail(&cancel, &full));
    assert_false(np_cancel_fail(NULL, &full));
    fails(NP_INTERRUPTED, np_cancel_check(&cancel, &err));
    np_cancel_clear(&cancel);
}

static int make_directory(char path[32])
{
    strcpy(path, "/tmp/nbdpull-test-XXXXXX");
    assert_non_null(mkdtemp(path));
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir >= 0);
    return dir;
}

static void test_file__replace_is_private_and_whole(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    char path[32];
    int dir = make_directory(path);
    mode_t was = umask(0);
    ok(np_file_replace(dir, "x", "x", "one", 3, &err));
    umask(was);
    ok(np_file_replace(dir, "x", "x", "second", 6, &err));
    fails(NP_FAILED, np_file_create_whole(dir, "x", "x", "third", 5, &err));

    struct stat st;
    assert_int_equal(fstatat(dir, "x", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    NP_AUTO_FREE char *text = NULL;
    size_t size;
    ok(np_file_read_whole(dir, "x", "x", 100, &text, &size, &err));
    assert_string_equal(text, "second");
    NP_AUTO_FREE char *none = NULL;
    fails(NP_DAMAGED, np_file_read_whole(dir, "x", "x", 5, &none, &size, &err));

    ok(np_dir_make(dir, "d", "d", &err));
    ok(np_dir_make(dir, "d", "d", &err));
    ok(np_dir_remove(dir, "d", "d", &err));
    ok(np_dir_remove(dir, "d", "d", &err));
    close(dir);
    ok(np_dir_remove(AT_FDCWD, path, path, &err));
}

static void test_file__remove_does_not_follow_links(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    char path[32], outside[32];
    int dir = make_directory(path);
    int other = make_directory(outside);
    ok(np_file_replace(other, "keep", "keep", "x", 1, &err));
    assert_int_equal(symlinkat(outside, dir, "link"), 0);
    ok(np_dir_remove(AT_FDCWD, path, path, &err));
    assert_int_equal(faccessat(other, "keep", F_OK, 0), 0);
    ok(np_dir_remove(AT_FDCWD, outside, outside, &err));
    close(dir);
    close(other);
}

static void test_file__mode_is_given_to_what_stands_there_and_not_behind_a_link(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct stat st;
    char path[32];
    int dir = make_directory(path);
    assert_int_equal(mkdirat(dir, "d", 0755), 0);
    assert_int_equal(symlinkat("d", dir, "link"), 0);
    fails(NP_FAILED, np_file_set_mode(dir, "link", "link", S_IFDIR, 0700, &err));
    fails(NP_FAILED, np_file_set_mode(dir, "d", "d", S_IFSOCK, 0600, &err));
    fails(NP_FAILED, np_file_set_mode(dir, "none", "none", S_IFDIR, 0700, &err));
    assert_int_equal(fstatat(dir, "d", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    ok(np_file_set_mode(dir, "d", "d", S_IFDIR, 0700, &err));
    assert_int_equal(fstatat(dir, "d", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0700);

    mode_t was = umask(0777);
    ok(np_dir_make(dir, "made", "made", &err));
    umask(was);
    assert_int_equal(fstatat(dir, "made", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    close(dir);
    ok(np_dir_remove(AT_FDCWD, path, path, &err));
}

static void test_file__names_that_are_not_safe(void **state)
{
    (void)state;
    assert_true(np_name_is_safe("vda"));
    assert_false(np_name_is_safe(""));
    assert_false(np_name_is_safe(".."));
    assert_false(np_name_is_safe("-x"));
    assert_false(np_name_is_safe("a/b"));
    assert_false(np_name_is_safe("a\nb"));
}

static void test_subprocess__status_and_last_line_come_out(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    const char *good[] = {"true", NULL};
    ok(np_subprocess_run(good, &err));
    const char *bad[] = {"sh", "-c", "echo one; echo two >&2; exit 3", NULL};
    fails(NP_FAILED, np_subprocess_run(bad, &err));
    assert_string_equal(err.message, "sh failed with status 3: two");
    const char *missing[] = {"nbdpull-no-such-program", NULL};
    fails(NP_FAILED, np_subprocess_run(missing, &err));
    assert_non_null(strstr(err.message, "is it installed"));

    NP_AUTO_FREE char *text = NULL;
    const char *echo[] = {"echo", "hello", NULL};
    ok(np_subprocess_output(echo, 100, &text, &err));
    assert_string_equal(text, "hello\n");
    NP_AUTO_FREE char *none = NULL;
    fails(NP_FAILED, np_subprocess_output(echo, 3, &none, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error__context_goes_in_front),
        cmocka_unit_test(test_error__first_place_is_kept),
        cmocka_unit_test(test_error__longer_than_its_room_is_cut),
        cmocka_unit_test(test_bytes__little_endian),
        cmocka_unit_test(test_bytes__is_zero_sees_every_byte),
        cmocka_unit_test(test_uuid__text_and_back),
        cmocka_unit_test(test_queue__closed_drains_then_ends),
        cmocka_unit_test(test_cancel__first_signal_counts_and_hooks_run_once),
        cmocka_unit_test(test_cancel__error_is_the_reason_when_it_is_first),
        cmocka_unit_test(test_cancel__error_does_not_hide_a_signal),
        cmocka_unit_test(test_file__replace_is_private_and_whole),
        cmocka_unit_test(test_file__remove_does_not_follow_links),
        cmocka_unit_test(test_file__mode_is_given_to_what_stands_there_and_not_behind_a_link),
        cmocka_unit_test(test_file__names_that_are_not_safe),
        cmocka_unit_test(test_subprocess__status_and_last_line_come_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
