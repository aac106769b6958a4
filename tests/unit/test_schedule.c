#include "test.h"

#include "memory.h"

#include "backup/schedule.h"

#define MAX_SIZE (4u << 20)

static struct np_schedule schedule;

static void begin(struct memory_disk *disk, const struct np_geometry *geometry, enum np_scope scope,
                  struct np_source *source)
{
    *source = memory_source(disk);
    np_schedule_init(&schedule, source, disk, geometry, scope, NULL);
}

/* The rule, granule by granule: in scope if any byte is dirty (or all are wanted), read if any byte is data.
 */
static enum np_granule_state expected(const struct memory_disk *disk, const struct np_geometry *geometry,
                                      enum np_scope scope, uint64_t granule)
{
    uint64_t from = granule * geometry->granule, to = np_min_u64(from + geometry->granule, geometry->size);
    bool in_scope = scope == NP_SCOPE_ALL, data = false;
    for (size_t i = 0; i < disk->extent_count; i++) {
        const struct np_extent *e = &disk->extents[i];
        if (e->offset < to && e->offset + e->length > from) {
            in_scope |= (e->flags & NP_EXTENT_DIRTY) != 0;
            data |= !(e->flags & NP_EXTENT_ZERO);
        }
    }
    return !in_scope ? NP_GRANULE_ABSENT : data ? NP_GRANULE_DATA : NP_GRANULE_ZERO;
}

static enum np_granule_state stepped(const struct np_step *step, unsigned index)
{
    if (step->kind == NP_STEP_ZERO)
        return NP_GRANULE_ZERO;
    return np_map_get(step->map, index);
}

/* What no step speaks of must be absent by the rule. */
static void check_left_out(struct memory_disk *disk, const struct np_geometry *geometry, enum np_scope scope,
                           uint64_t from, uint64_t to)
{
    for (uint64_t g = np_div_up(from, geometry->granule); g * geometry->granule < to; g++)
        assert_int_equal(expected(disk, geometry, scope, g), NP_GRANULE_ABSENT);
}

static void check_all(struct memory_disk *disk, const struct np_geometry *geometry, enum np_scope scope)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_source source;
    struct np_step step;
    uint64_t at = 0;
    begin(disk, geometry, scope, &source);
    for (int more; (more = np_schedule_next(&schedule, &step, &err)) != 0;) {
        if (more < 0)
            fail_msg("%s", err.message);
        assert_true(step.offset >= at);
        assert_true(step.offset % geometry->chunk == 0);
        check_left_out(disk, geometry, scope, at, step.offset);
        at = step.offset + step.length;
        assert_true(at == geometry->size || at % geometry->chunk == 0);
        if (step.kind == NP_STEP_WINDOW)
            assert_true(step.length == np_window_length(geometry, step.offset));
        uint64_t first = step.offset / geometry->granule;
        uint64_t granules = np_div_up(step.length, geometry->granule);
        for (uint64_t i = 0; i < granules; i++)
            assert_int_equal(stepped(&step, (unsigned)i), expected(disk, geometry, scope, first + i));
    }
    check_left_out(disk, geometry, scope, at, geometry->size);
}

static size_t random_extents(struct np_extent *extents, uint64_t size, uint64_t unit)
{
    size_t count = 0;
    for (uint64_t at = 0; at < size; count++) {
        uint64_t length = np_min_u64(((uint64_t)rand() % 24 + 1) * unit, size - at);
        extents[count] = (struct np_extent){at, length, (uint32_t)rand() % 4};
        at += length;
    }
    return count;
}

static void test_schedule__random_extents_follow_the_rule(void **state)
{
    (void)state;
    static const uint64_t units[] = {512, 4096, 65536, 300000};
    static struct np_extent extents[MAX_SIZE / 512 + 1];
    srand(20261120);
    for (int round = 0; round < 400; round++) {
        struct np_geometry geometry = {.size = (uint64_t)rand() % MAX_SIZE + 1,
                                       .chunk = 65536u << rand() % 5,
                                       .granule = 4096u << rand() % 5};
        struct memory_disk disk = {.size = geometry.size,
                                   .extents = extents,
                                   .fail_extents = NP_NO_OFFSET,
                                   .cut = rand() % 2 ? 0 : (uint64_t)(rand() % 1000 + 1) * 512};
        disk.extent_count = random_extents(extents, geometry.size, units[round % 4]);
        check_all(&disk, &geometry, NP_SCOPE_ALL);
        check_all(&disk, &geometry, NP_SCOPE_DIRTY);
    }
}

static void test_schedule__dirty_byte_takes_its_whole_granule_with_the_clean_data_around(void **state)
{
    (void)state;
    /* Clean data on both sides of a small dirty zero: the granule must be read, not stored as zero. */
    const struct np_extent extents[] = {
        {0, 70000, 0},
        {70000, 512, NP_EXTENT_DIRTY | NP_EXTENT_ZERO},
        {70512, 1000000, 0},
    };
    struct np_geometry geometry = {1070512, 1 << 20, 65536};
    struct memory_disk disk = {
        .size = geometry.size, .extents = extents, .extent_count = 3, .fail_extents = NP_NO_OFFSET};
    struct np_error err = NP_ERROR_INIT;
    struct np_source source;
    struct np_step step;
    begin(&disk, &geometry, NP_SCOPE_DIRTY, &source);
    assert_int_equal(np_schedule_next(&schedule, &step, &err), 1);
    assert_int_equal(step.kind, NP_STEP_WINDOW);
    assert_int_equal(np_map_get(step.map, 0), NP_GRANULE_ABSENT);
    assert_int_equal(np_map_get(step.map, 1), NP_GRANULE_DATA);
    assert_int_equal(np_map_get(step.map, 2), NP_GRANULE_ABSENT);
}

static void test_schedule__huge_hole_is_one_step(void **state)
{
    (void)state;
    uint64_t size = UINT64_C(64) << 40;
    const struct np_extent extents[] = {{0, size, NP_EXTENT_ZERO}};
    struct np_geometry geometry = {size, 1 << 20, 65536};
    struct memory_disk disk = {
        .size = size, .extents = extents, .extent_count = 1, .fail_extents = NP_NO_OFFSET};
    struct np_error err = NP_ERROR_INIT;
    struct np_source source;
    struct np_step step;
    begin(&disk, &geometry, NP_SCOPE_ALL, &source);
    assert_int_equal(np_schedule_next(&schedule, &step, &err), 1);
    assert_int_equal(step.kind, NP_STEP_ZERO);
    assert_true(step.length == size);
    assert_int_equal(np_schedule_next(&schedule, &step, &err), 0);
}

static void test_schedule__empty_disk_has_no_step(void **state)
{
    (void)state;
    struct np_geometry geometry = {0, 1 << 20, 65536};
    struct memory_disk disk = {.fail_extents = NP_NO_OFFSET};
    struct np_error err = NP_ERROR_INIT;
    struct np_source source;
    struct np_step step;
    begin(&disk, &geometry, NP_SCOPE_ALL, &source);
    assert_int_equal(np_schedule_next(&schedule, &step, &err), 0);
}

static int extents_without_progress(void *reader, uint64_t offset, uint64_t length, struct np_extent *out,
                                    size_t room, size_t *count, struct np_error *err)
{
    (void)reader, (void)offset, (void)length, (void)out, (void)room, (void)err;
    *count = 0;
    return 0;
}

static void test_schedule__answer_without_progress_is_an_error(void **state)
{
    (void)state;
    struct np_geometry geometry = {1 << 20, 1 << 20, 65536};
    struct np_source_ops ops = memory_source_ops;
    ops.extents = extents_without_progress;
    struct np_source source = {&ops, NULL, geometry.size};
    struct np_error err = NP_ERROR_INIT;
    struct np_step step;
    np_schedule_init(&schedule, &source, NULL, &geometry, NP_SCOPE_ALL, NULL);
    fails(NP_FAILED, np_schedule_next(&schedule, &step, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedule__random_extents_follow_the_rule),
        cmocka_unit_test(test_schedule__dirty_byte_takes_its_whole_granule_with_the_clean_data_around),
        cmocka_unit_test(test_schedule__huge_hole_is_one_step),
        cmocka_unit_test(test_schedule__empty_disk_has_no_step),
        cmocka_unit_test(test_schedule__answer_without_progress_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
