/* What verify lists, whichever worker was faster: the same damages, in the same order, of the same points. */
#include "test.h"

#include "../../src/app/verify_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAULTS 240 /* more than are listed */
#define DISKS 2

struct kit {
    struct np_point points[2];
    struct np_point_disk disks[2][DISKS];
    struct np_verify_result result;
    struct np_ledger ledger;
};

static void begin(struct kit *kit)
{
    struct np_error err = NP_ERROR_INIT;
    *kit = (struct kit){0};
    for (size_t i = 0; i < 2; i++) {
        snprintf(kit->points[i].id, sizeof(kit->points[i].id), "000%zu", i + 1);
        kit->points[i].disks = kit->disks[i];
        kit->points[i].disk_count = DISKS;
        for (size_t j = 0; j < DISKS; j++) {
            struct np_point_disk *disk = &kit->disks[i][j];
            disk->stored = true;
            snprintf(disk->target, sizeof(disk->target), "vd%c", (char)('a' + j));
            snprintf(disk->file, sizeof(disk->file), "streams/000%zu.vd%c.nbp", i + 1, (char)('a' + j));
        }
    }
    kit->result.points = (struct np_points){.list = kit->points, .count = 2};
    ok(np_ledger_init(&kit->ledger, &kit->result, &err));
}

static void end(struct kit *kit)
{
    kit->result.points = (struct np_points){0};
    np_ledger_clear(&kit->ledger);
    np_verify_result_clear(&kit->result);
}

/* Fault n of FAULTS: each stream has a quarter of them, 100 bytes apart. */
static const struct np_ledger_slot *slot_of(struct kit *kit, unsigned n)
{
    unsigned stream = n * 4 / FAULTS;
    return np_ledger_slot_of(&kit->ledger, &kit->disks[stream / DISKS][stream % DISKS]);
}

static uint64_t pos_of(unsigned n)
{
    return (uint64_t)(n % (FAULTS / 4)) * 100;
}

static void add(struct kit *kit, unsigned n)
{
    struct np_fault fault = {.scope = NP_FAULT_RECORD,
                             .pos = pos_of(n),
                             .number = n,
                             .offset = pos_of(n),
                             .length = 1,
                             .error = NP_ERROR_INIT};
    np_fail(&fault.error, NP_DAMAGED, "fault %u", n);
    np_ledger_add(&kit->ledger, slot_of(kit, n), &fault);
}

/* Each fault concerns the point of its stream; those of 0001.vda the second one too. */
static void judge(struct kit *kit)
{
    for (unsigned n = 0; n < FAULTS; n++) {
        const struct np_ledger_slot *slot = slot_of(kit, n);
        np_ledger_hit_record(&kit->ledger, slot, pos_of(n), slot->point);
        if (n < FAULTS / 4)
            np_ledger_hit_record(&kit->ledger, slot, pos_of(n), 1);
    }
}

static void check(const struct kit *kit)
{
    assert_int_equal(kit->result.damaged, FAULTS);
    assert_int_equal(kit->result.damage_count, NP_VERIFY_SHOWN);
    for (unsigned i = 0; i < NP_VERIFY_SHOWN; i++) {
        const struct np_verify_damage *damage = &kit->result.damages[i];
        assert_int_equal(damage->number, i);
        assert_int_equal(damage->pos, pos_of(i));
        assert_string_equal(damage->file, i < FAULTS / 4 ? "streams/0001.vda.nbp" : "streams/0001.vdb.nbp");
        assert_true(damage->affects[0]);
        assert_int_equal(damage->affects[1], i < FAULTS / 4);
    }
    assert_int_equal(kit->result.states[0], NP_VERIFY_AFFECTED);
    assert_int_equal(kit->result.states[1], NP_VERIFY_AFFECTED);
}

/* 7 and FAULTS have no common divisor, so each step takes all of them. */
static void test_verify_ledger__lists_the_same_in_whatever_order_it_was_found(void **state)
{
    (void)state;
    static const unsigned steps[] = {1, 7, FAULTS - 7, FAULTS - 1};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct kit kit;
        begin(&kit);
        for (unsigned n = 0; n < FAULTS; n++)
            add(&kit, n * steps[i] % FAULTS);
        judge(&kit);
        np_ledger_sort(&kit.result);
        check(&kit);
        end(&kit);
    }
}

/* What comes in place of another in the list: the other's mark must not speak of it. */
static void test_verify_ledger__points_of_what_is_not_listed_any_more_are_not_given_to_another(void **state)
{
    (void)state;
    struct kit kit;
    begin(&kit);
    for (unsigned n = FAULTS; n-- > FAULTS - NP_VERIFY_SHOWN;)
        add(&kit, n); /* all of point 0002 */
    add(&kit, 0);
    judge(&kit);
    np_ledger_sort(&kit.result);
    assert_int_equal(kit.result.damages[0].number, 0);
    assert_int_equal(kit.result.damages[1].number, FAULTS - NP_VERIFY_SHOWN);
    assert_true(kit.result.damages[0].affects[0]);
    assert_false(kit.result.damages[1].affects[0]);
    end(&kit);

    begin(&kit);
    for (unsigned n = FAULTS; n-- > FAULTS - NP_VERIFY_SHOWN;)
        add(&kit, n);
    add(&kit, FAULTS / 4); /* of 0001.vdb */
    np_ledger_hit_record(&kit.ledger, slot_of(&kit, FAULTS - 1), pos_of(FAULTS - 1), 1);
    np_ledger_sort(&kit.result);
    assert_false(kit.result.damages[0].affects[1]);
    assert_int_equal(kit.result.states[1], NP_VERIFY_AFFECTED);
    end(&kit);
}

/* Where the fault says nothing, what its error knows. */
static void test_verify_ledger__takes_the_place_out_of_the_error(void **state)
{
    (void)state;
    struct kit kit;
    begin(&kit);
    struct np_fault fault = {
        .scope = NP_FAULT_STREAM, .pos = NP_NO_OFFSET, .number = NP_NO_OFFSET, .error = NP_ERROR_INIT};
    np_fail(&fault.error, NP_DAMAGED, "somewhere");
    const struct np_verify_damage *damage = np_ledger_add(&kit.ledger, NULL, &fault);
    assert_true(damage->pos == NP_NO_OFFSET && damage->number == NP_NO_OFFSET);
    assert_true(damage->offset == NP_NO_OFFSET && damage->length == 0);
    np_error_record(&fault.error, 4096, 3);
    np_error_record(&fault.error, 1, 1); /* who was there first knows best */
    np_error_range(&fault.error, "vdb", 65536, 512);
    np_error_range(&fault.error, "vda", 0, 1);
    damage = np_ledger_add(&kit.ledger, NULL, &fault);
    assert_true(damage->pos == 4096 && damage->number == 3);
    assert_true(damage->offset == 65536 && damage->length == 512);
    assert_string_equal(damage->disk, "vdb");
    end(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify_ledger__lists_the_same_in_whatever_order_it_was_found),
        cmocka_unit_test(test_verify_ledger__points_of_what_is_not_listed_any_more_are_not_given_to_another),
        cmocka_unit_test(test_verify_ledger__takes_the_place_out_of_the_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
