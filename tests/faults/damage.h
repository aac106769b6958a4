/*
 * The matrix of damages: a backup set, what becomes of its files one at a time, and what every use case then
 * says. damage_world.c makes the set, damage_records.c the damages that need to know records, damage_uses.c
 * runs the use cases and judges them, damage.c goes through the cases.
 */
#ifndef NBDPULL_TEST_DAMAGE_H
#define NBDPULL_TEST_DAMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
    uint8_t *bytes; /* owned */
    size_t size;
};

void bytes_add(struct bytes *to, const void *from, size_t size);
struct bytes bytes_copy(const uint8_t *from, size_t size);

#define DAMAGE_POINTS 4
#define DAMAGE_DISKS 2
#define DAMAGE_FILES 40
#define DAMAGE_PATH 128

enum kind { STREAM, RECORD, SET_JSON, CONFIG };

/* A file of the set as it should be. */
struct set_file {
    char name[64]; /* relative to the set */
    enum kind kind;
    unsigned point; /* number from 1; 0: of none */
    char disk;      /* 'a', 'b'; 0: of none */
    struct bytes good;
    struct bytes attempt; /* a stream: what an attempt that failed wrote of the same disk */
};

struct world {
    char top[64], set[96], out[96];
    struct set_file files[DAMAGE_FILES];
    size_t file_count;
    struct bytes disks[DAMAGE_POINTS][DAMAGE_DISKS]; /* what they held; no bytes: not in the point */
    unsigned points;
    bool large;
};

/* Two disks, four points: full, two increments, a diff; every codec; a disk that grew; odd sizes. */
void world_make_small(struct world *world);
/* One disk of many windows, one full: an index of two levels. */
void world_make_large(struct world *world);
void world_clear(struct world *world);

/* Put the file's good bytes back. */
void world_heal(const struct world *world, const struct set_file *file);
void world_write(const struct world *world, const char *name, const uint8_t *bytes, size_t size);
void world_remove(const struct world *world, const char *name);

/* ---- damage_records.c ---- */

/* Called with what a file could have become. */
typedef void damage_variant(void *ctx, const char *what, const uint8_t *bytes, size_t size);
/* Asked before a variant is made; false: it is not wanted this time. */
typedef bool damage_wanted(void *ctx);

struct variants {
    damage_variant *each;
    damage_wanted *wanted;
    void *ctx;
};

/* Records swapped, doubled, dropped, as they are and with their positions and sums put right. */
void records_moved(const struct variants *to, const struct bytes *stream);
/* Each record replaced by the one at the same place of another stream, both ways. */
void records_replaced(const struct variants *to, const struct bytes *stream, const struct bytes *other,
                      const char *name);
/* Each byte of the index nodes, of DIR and of the results changed, with all sums right. */
void records_forged(const struct variants *to, const struct bytes *stream);

/* ---- damage_uses.c ---- */

/* One damage: what it is, whose files it touches, and what must come of it. */
struct damage {
    const char *what;
    const struct set_file *files[4]; /* touched */
    size_t file_count;
    bool must_find;     /* verify must tell of it: a stream differs from what was written */
    bool missing;       /* a file is not there: some say so with another class */
    bool zeroes_follow; /* they may, on a pipe */
    bool forged;     /* an index with right sums that lies: dump --map tells what it says, verify compares */
    bool good_alone; /* each stream is whole, only it is in the wrong place */
};

/* Remember what the undamaged set gives; ends the program when that is wrong. */
void uses_begin(struct world *world);
/* Run every use case on the set as it is now, and hold what it says against the truth. */
void uses_judge(struct world *world, const struct damage *damage);
/* As uses_judge, for a large set: verify in parts too, and one restore. */
void uses_judge_large(struct world *world, const struct damage *damage);
void uses_end(void);

/* What went wrong so far, each printed as it comes, up to a limit; runs of a use case; and points that verify
 * called affected, and that were restored exactly all the same. */
extern unsigned long damage_failures, damage_runs, damage_doubted;

#endif
