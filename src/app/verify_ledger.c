#include "verify_parts.h"

#include "nbdpull/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARKS_MAX 65536

static int compare_slots(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const struct np_ledger_slot *)a)->disk;
    uintptr_t y = (uintptr_t)((const struct np_ledger_slot *)b)->disk;
    return x < y ? -1 : x > y;
}

/* Until np_verify_judge has looked at a point nothing is known of it, whatever ends the run before. */
static enum np_verify_state *new_states(size_t count)
{
    enum np_verify_state *states = calloc(count + 1, sizeof(*states));
    for (size_t i = 0; states != NULL && i < count; i++)
        states[i] = NP_VERIFY_UNKNOWN;
    return states;
}

int np_ledger_init(struct np_ledger *ledger, struct np_verify_result *result, struct np_error *err)
{
    const struct np_points *points = &result->points;
    size_t count = 0;
    for (size_t i = 0; i < points->count; i++)
        count += points->list[i].disk_count;
    ledger->result = result;
    ledger->slots = calloc(count + 1, sizeof(*ledger->slots));
    result->states = result->states != NULL ? result->states : new_states(points->count);
    result->damages =
        result->damages != NULL ? result->damages : calloc(NP_VERIFY_SHOWN, sizeof(*result->damages));
    if (ledger->slots == NULL || result->states == NULL || result->damages == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot list the streams");
    for (size_t i = 0; i < points->count; i++)
        for (size_t j = 0; j < points->list[i].disk_count; j++)
            if (points->list[i].disks[j].stored)
                ledger->slots[ledger->slot_count++] =
                    (struct np_ledger_slot){.point = i, .disk = &points->list[i].disks[j]};
    if (ledger->slot_count > 1)
        qsort(ledger->slots, ledger->slot_count, sizeof(*ledger->slots), compare_slots);
    return 0;
}

void np_ledger_clear(struct np_ledger *ledger)
{
    free(ledger->slots);
    free(ledger->marks);
    *ledger = (struct np_ledger){0};
}

struct np_ledger_slot *np_ledger_slot_of(struct np_ledger *ledger, const struct np_point_disk *disk)
{
    const struct np_ledger_slot wanted = {.disk = disk};
    return bsearch(&wanted, ledger->slots, ledger->slot_count, sizeof(wanted), compare_slots);
}

/* ---- what a person is told ---- */

static int compare_numbers(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_damages(const void *a, const void *b)
{
    const struct np_verify_damage *x = a, *y = b;
    int order = np_point_id_compare(x->point, y->point);
    order = order != 0 ? order : strcmp(x->file, y->file);
    order = order != 0 ? order : compare_numbers(x->pos, y->pos);
    order = order != 0 ? order : strcmp(x->disk, y->disk);
    order = order != 0 ? order : compare_numbers(x->offset, y->offset);
    return order != 0 ? order : strcmp(x->message, y->message);
}

void np_ledger_sort(struct np_verify_result *result)
{
    if (result->damage_count > 1)
        qsort(result->damages, result->damage_count, sizeof(*result->damages), compare_damages);
}

/* Of a full list, the place of the last one, if that comes behind `damage`: workers find things in any order,
 * and which of them are listed must not depend on it. Its marks count from now on, and no more. */
static struct np_verify_damage *last_behind(struct np_ledger *ledger, const struct np_verify_damage *damage)
{
    struct np_verify_damage *list = ledger->result->damages, *last = &list[0];
    for (size_t i = 1; i < ledger->result->damage_count; i++)
        if (compare_damages(&list[i], last) > 0)
            last = &list[i];
    if (compare_damages(last, damage) <= 0)
        return NULL;
    for (size_t i = 0; i < ledger->mark_count; i++)
        if (ledger->marks[i].damage == (size_t)(last - list))
            ledger->marks[i].damage = SIZE_MAX;
    free(last->message);
    free(last->affects);
    return last;
}

/* Count it, and list it. @return its place in the list, or NULL when others are listed */
static struct np_verify_damage *list_damage(struct np_ledger *ledger, const struct np_verify_damage *damage,
                                            const struct np_error *err)
{
    struct np_verify_result *result = ledger->result;
    struct np_verify_damage made = *damage;
    made.unchecked = err->class != NP_DAMAGED;
    *(made.unchecked ? &result->unchecked : &result->damaged) += 1;
    made.message = strdup(err->message);
    made.affects = calloc(result->points.count + 1, sizeof(*made.affects));
    struct np_verify_damage *place = NULL;
    if (made.message != NULL && made.affects != NULL)
        place = result->damage_count < NP_VERIFY_SHOWN ? &result->damages[result->damage_count++]
                                                       : last_behind(ledger, &made);
    if (place == NULL) {
        free(made.message);
        free(made.affects);
        return NULL;
    }
    *place = made;
    return place;
}

/* What the error knows of its place. */
static struct np_verify_damage damage_of(const struct np_error *err)
{
    struct np_verify_damage damage = {
        .pos = err->pos, .number = err->number, .offset = err->offset, .length = err->length};
    snprintf(damage.disk, sizeof(damage.disk), "%s", err->disk);
    return damage;
}

static void name_slot(const struct np_ledger *ledger, const struct np_ledger_slot *slot,
                      struct np_verify_damage *damage)
{
    if (slot == NULL)
        return;
    snprintf(damage->point, sizeof(damage->point), "%s", ledger->result->points.list[slot->point].id);
    snprintf(damage->file, sizeof(damage->file), "%s", slot->disk->file);
    if (damage->disk[0] == '\0')
        snprintf(damage->disk, sizeof(damage->disk), "%s", slot->disk->target);
}

/* ---- marks ---- */

static bool make_room(struct np_ledger *ledger)
{
    if (ledger->mark_count < ledger->mark_room)
        return true;
    size_t room = ledger->mark_room == 0 ? 64 : 2 * ledger->mark_room;
    if (room > MARKS_MAX)
        return false;
    struct np_ledger_mark *larger = realloc(ledger->marks, room * sizeof(*larger));
    if (larger == NULL)
        return false;
    ledger->marks = larger;
    ledger->mark_room = room;
    return true;
}

/* Where there are too many to keep, the disk counts as damaged as a whole: never as good. */
static void add_mark(struct np_ledger *ledger, const struct np_ledger_slot *slot,
                     const struct np_fault *fault, size_t damage)
{
    bool unchecked = fault->error.class != NP_DAMAGED;
    if (make_room(ledger)) {
        ledger->sorted = false;
        ledger->marks[ledger->mark_count++] = (struct np_ledger_mark){.slot = (size_t)(slot - ledger->slots),
                                                                      .scope = fault->scope,
                                                                      .pos = fault->pos,
                                                                      .damage = damage,
                                                                      .unchecked = unchecked};
        return;
    }
    struct np_ledger_slot *crowded = &ledger->slots[slot - ledger->slots];
    crowded->unchecked = unchecked && (!crowded->crowded || crowded->unchecked);
    crowded->crowded = true;
}

struct np_verify_damage *np_ledger_add(struct np_ledger *ledger, const struct np_ledger_slot *slot,
                                       const struct np_fault *fault)
{
    struct np_verify_damage found = damage_of(&fault->error);
    if (fault->pos != NP_NO_OFFSET) {
        found.pos = fault->pos;
        found.number = fault->number;
    }
    if (fault->length > 0) {
        found.offset = fault->offset;
        found.length = fault->length;
    }
    name_slot(ledger, slot, &found);
    struct np_verify_damage *damage = list_damage(ledger, &found, &fault->error);
    if (slot != NULL && fault->scope != NP_FAULT_NONE)
        add_mark(ledger, slot, fault, damage != NULL ? (size_t)(damage - ledger->result->damages) : SIZE_MAX);
    return damage;
}

static void set_state(struct np_ledger *ledger, size_t point, bool unchecked)
{
    enum np_verify_state *state = &ledger->result->states[point];
    if (!unchecked)
        *state = NP_VERIFY_AFFECTED;
    else if (*state != NP_VERIFY_AFFECTED)
        *state = NP_VERIFY_UNKNOWN;
}

void np_ledger_add_broken(struct np_ledger *ledger, size_t point, const struct np_point_disk *disk,
                          const struct np_error *err)
{
    struct np_verify_damage *damage = NULL;
    for (size_t i = 0; i < ledger->result->damage_count && damage == NULL; i++)
        if (strcmp(ledger->result->damages[i].message, err->message) == 0)
            damage = &ledger->result->damages[i];
    if (damage == NULL) {
        struct np_verify_damage found = damage_of(err);
        name_slot(ledger, np_ledger_slot_of(ledger, disk), &found);
        damage = list_damage(ledger, &found, err);
    }
    if (damage != NULL)
        damage->affects[point] = true;
    set_state(ledger, point, err->class != NP_DAMAGED);
}

static int compare_marks(const void *a, const void *b)
{
    const struct np_ledger_mark *x = a, *y = b;
    if (x->slot != y->slot)
        return x->slot < y->slot ? -1 : 1;
    return x->pos < y->pos ? -1 : x->pos > y->pos;
}

/* The first mark of a slot at pos or behind it. */
static size_t first_mark(struct np_ledger *ledger, const struct np_ledger_slot *slot, uint64_t pos)
{
    if (!ledger->sorted && ledger->mark_count > 1)
        qsort(ledger->marks, ledger->mark_count, sizeof(*ledger->marks), compare_marks);
    ledger->sorted = true;
    const struct np_ledger_mark wanted = {.slot = (size_t)(slot - ledger->slots), .pos = pos};
    size_t low = 0, high = ledger->mark_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_marks(&ledger->marks[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void hit(struct np_ledger *ledger, const struct np_ledger_mark *mark, size_t point)
{
    if (mark->damage != SIZE_MAX)
        ledger->result->damages[mark->damage].affects[point] = true;
    set_state(ledger, point, mark->unchecked);
}

static bool is_whole(const struct np_ledger_mark *mark)
{
    return mark->scope == NP_FAULT_DISK || mark->scope == NP_FAULT_STREAM;
}

/* Of a slot that is lost as a whole nobody can say what is taken from which record: so all of it counts. */
bool np_ledger_hit_whole(struct np_ledger *ledger, const struct np_ledger_slot *slot, size_t point, bool own)
{
    size_t number = (size_t)(slot - ledger->slots), first = first_mark(ledger, slot, 0), end = first;
    bool whole = slot->crowded;
    if (slot->crowded)
        set_state(ledger, point, slot->unchecked);
    for (; end < ledger->mark_count && ledger->marks[end].slot == number; end++)
        whole = whole || is_whole(&ledger->marks[end]);
    for (size_t i = first; i < end; i++) {
        const struct np_ledger_mark *mark = &ledger->marks[i];
        if (mark->scope == NP_FAULT_FILES ? own : whole)
            hit(ledger, mark, point);
    }
    return whole;
}

void np_ledger_hit_record(struct np_ledger *ledger, const struct np_ledger_slot *slot, uint64_t pos,
                          size_t point)
{
    size_t number = (size_t)(slot - ledger->slots);
    for (size_t i = first_mark(ledger, slot, pos); i < ledger->mark_count; i++) {
        const struct np_ledger_mark *mark = &ledger->marks[i];
        if (mark->slot != number || mark->pos != pos)
            break;
        if (mark->scope == NP_FAULT_RECORD)
            hit(ledger, mark, point);
    }
}
