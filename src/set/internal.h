/**
 * @file internal.h
 * What the files of src/set share: the open set, what set.json says, and numbers of points.
 */
#ifndef NBDPULL_SET_INTERNAL_H
#define NBDPULL_SET_INTERNAL_H

#include "home.h"
#include "store.h"

#include "nbdpull/set.h"

#define NP_SET_VERSION 1
#define NP_SET_KEY_MAX 128 /**< a key of the store, with NUL */

/** What set.json says. */
struct np_set_json {
    struct np_uuid uuid;
    char domain_name[256]; /**< "" not bound yet */
    struct np_uuid domain;
    uint64_t next;      /**< no point of this number or a higher one was ever begun */
    uint64_t committed; /**< highest number ever committed; points up to it may have been removed since */
    struct np_home home;
    char home_id[NP_HOME_ID_SIZE]; /**< names this set at this home; a new one after each move */
};

/** A stream that was written and synced, held open until a record mentions it. */
struct np_written {
    struct np_written *next;
    struct np_store_writer *writer; /* owned */
    char key[NP_SET_KEY_MAX];
};

struct np_set {
    char *path;
    int dir, lock; /* lock -1: open for reading */
    struct np_store *store;
    struct np_written *written;
    struct np_set_json json;
    bool moved;
    bool made, made_directory; /* by this np_set_open */
    bool lost;                 /* NP_SET_REPAIR: there is no set.json that could be read */
    struct np_error damaged;   /* why, or NP_OK: it is missing */
};

/* ---- set.c ---- */

/** Does its path still lead to the directory that is open? It may have been renamed, unmounted, deleted. */
int np_set_is_in_place(const struct np_set *set, bool *in_place, struct np_error *err);

/* ---- stream_file.c ---- */

/** Is each stream that was written since the last commit still what its key leads to? NP_FAILED names one
 * that is not. */
int np_written_check(const struct np_set *set, struct np_error *err);
/** They are mentioned, or are to go. */
void np_written_clear(struct np_set *set);
void np_cleanup_input(struct np_stream_input **file); /**< for NP_CLEANUP */

/* ---- points.c ---- */

/** One record. @param point out when found; np_point_clear */
int np_point_read(struct np_set *set, const char *id, struct np_point *point, bool *found,
                  struct np_error *err);

/* ---- set_json.c ---- */

/** Read set.json. @param found out; false when there is none */
int np_set_json_read(struct np_store *store, const char *set_path, struct np_set_json *json, bool *found,
                     struct np_error *err);
/** Write it, durably. */
int np_set_json_write(struct np_store *store, const char *set_path, const struct np_set_json *json,
                      struct np_error *err);

/* ---- create.c ---- */

/** Make the directory when it is missing; its parent must be there. @param made out */
int np_create_directory(const char *path, bool *made, struct np_error *err);
/** Refuse a directory without set.json that holds anything which an interrupted creation cannot have left. */
int np_create_check_empty(int dir, const char *path, struct np_error *err);
/** Make what is missing of points/, streams/ and config/. */
int np_create_areas(int dir, const char *path, struct np_error *err);
/** A new set's set.json. The lock is held. @param json out */
int np_create_json(struct np_store *store, int dir, const char *path, struct np_set_json *json,
                   struct np_error *err);

/* ---- lost.c ---- */

/** Add to an error about a set.json that is missing or damaged what can be done, if a set is there. @return
 * -1
 */
int np_lost_say(int dir, const char *path, struct np_error *err);

/* ---- point_id.c ---- */

#define NP_POINT_NUMBER_MAX 999999999

/** "0007". @param number at most NP_POINT_NUMBER_MAX */
void np_point_id_format(uint64_t number, char id[NP_POINT_ID_MAX]);
/** True for an id as np_point_id_format writes it; "3" is none. @param number out */
bool np_point_id_parse(const char *id, uint64_t *number);
/**
 * The id that a name in points/, streams/ or config/ begins with: the part before its first dot.
 * @return false when it is none of ours
 */
bool np_point_id_of_file(const char *name, char id[NP_POINT_ID_MAX], uint64_t *number);
/** "points/0007.json". */
void np_point_key(const char *id, char key[NP_SET_KEY_MAX]);

/* ---- debris.c ---- */

/** A name that we give in streams/ (ID.TARGET.nbp) or config/ (ID). @param id, number out */
bool np_point_is_file(const char *area, const char *name, char id[NP_POINT_ID_MAX], uint64_t *number);

/* ---- commit.c ---- */

/** The highest number that occurs in an area, or *high if that is higher. */
int np_point_raise_to_area(struct np_set *set, const char *area, uint64_t *high, struct np_error *err);

#endif
