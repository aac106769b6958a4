/**
 * @file verify_parts.h
 * The parts of verify.c: what was found and where, and which points that concerns.
 */
#ifndef NP_VERIFY_PARTS_H
#define NP_VERIFY_PARTS_H

#include "origin.h"

#include "nbdpull/app.h"

/** One disk of one point, with the stream that holds what the point stored of it. */
struct np_ledger_slot {
    size_t point; /**< index in the points */
    const struct np_point_disk *disk;
    bool wanted;    /**< some point that is asked for rests on it */
    bool crowded;   /**< more faults than are kept: taken to be damaged as a whole */
    bool unchecked; /**< of a crowded one: none of its faults is known to be damage */
};

/** A fault of a slot, for finding the points that it affects. */
struct np_ledger_mark {
    size_t slot;
    enum np_fault_scope scope;
    uint64_t pos;
    size_t damage; /**< in the result's list; SIZE_MAX: counted only */
    bool unchecked;
};

/** All that was found. One thread at a time. */
struct np_ledger {
    struct np_verify_result *result; /**< borrowed; its points are set */
    struct np_ledger_slot *slots;    /**< owned; by the disks' addresses */
    size_t slot_count;
    struct np_ledger_mark *marks; /**< owned */
    size_t mark_count, mark_room;
    bool sorted; /**< the marks are, by slot and position */
};

/** @param points of the result; every disk that is stored gets a slot */
int np_ledger_init(struct np_ledger *ledger, struct np_verify_result *result, struct np_error *err);
/** What was told, in an order that does not depend on which worker was faster. Nothing is added behind. */
void np_ledger_sort(struct np_verify_result *result);
void np_ledger_clear(struct np_ledger *ledger); /**< takes a zeroed struct */

/** The slot of a stored disk of one of the points. */
struct np_ledger_slot *np_ledger_slot_of(struct np_ledger *ledger, const struct np_point_disk *disk);

/** Note a fault of a slot's stream. @param slot NULL: of none. @return its place in the list, or NULL */
struct np_verify_damage *np_ledger_add(struct np_ledger *ledger, const struct np_ledger_slot *slot,
                                       const struct np_fault *fault);

/**
 * Note that a point cannot be followed to its root; once for all points that fail with the same message.
 * @param point index of a point that it affects
 */
void np_ledger_add_broken(struct np_ledger *ledger, size_t point, const struct np_point_disk *disk,
                          const struct np_error *err);

/** A mark of the slot as a whole has come, or one of its own files if `own`. Marks the point. */
bool np_ledger_hit_whole(struct np_ledger *ledger, const struct np_ledger_slot *slot, size_t point, bool own);

/** The record at pos of the slot has a mark. Marks the point. */
void np_ledger_hit_record(struct np_ledger *ledger, const struct np_ledger_slot *slot, uint64_t pos,
                          size_t point);

/**
 * Find out for each point that is asked for what it rests on, and set its state.
 * @param origin the points are its own
 * @param asked  index of the only point to look at, or SIZE_MAX
 * @return 0, or -1: NP_INTERRUPTED
 */
int np_verify_judge(const struct np_verify_request *request, struct np_origin *origin,
                    struct np_ledger *ledger, size_t asked, struct np_error *err);

/** Which part of how many this run checks: what was asked for, else the one behind the last run's, else the
 * day's. */
void np_verify_turn_choose(const struct np_verify_request *request, struct np_verify_result *result);

/** The part was checked: the next such run takes another one. */
void np_verify_turn_keep(const struct np_verify_request *request, const struct np_verify_result *result);

/** A stream front to back. */
int np_verify_pipe(const struct np_verify_request *request, struct np_verify_result *result,
                   struct np_error *err);

#endif
