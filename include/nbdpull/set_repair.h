/**
 * @file set_repair.h
 * What who looks after a set needs. For a repair it is open with NP_SET_REPAIR: then set.json may be missing
 * or damaged, and what np_set_uuid and the like say is nothing until np_set_rebuild.
 */
#ifndef NBDPULL_SET_REPAIR_H
#define NBDPULL_SET_REPAIR_H

#include "nbdpull/set.h"

#define NP_SET_ASIDE_MAX 128 /**< name of a file that was set aside, relative to the set, with NUL */

/** Is set.json missing or damaged? @param why out, for the message; borrowed from the set */
bool np_set_is_lost(const struct np_set *set, const char **why);

/** A file that bears the number of a point: a stream, or a point record. */
struct np_set_file {
    char name[128]; /**< relative to the set */
    char id[NP_POINT_ID_MAX];
    uint64_t number;
    bool record;                /**< else a stream */
    char target[NP_TARGET_MAX]; /**< of a stream */
};

struct np_set_files {
    struct np_set_file *list; /**< owned; by rising number */
    size_t count;
};

/** All streams and point records by their names; nothing is opened. @param files zeroed; filled */
int np_set_files(struct np_set *set, struct np_set_files *files, struct np_error *err);
void np_set_files_clear(struct np_set_files *files); /**< takes a zeroed struct */

/**
 * Streams of points that have no record. Read the records before: what is committed meanwhile has one here.
 * @param strays    zeroed; filled, as by np_set_files
 * @param committed out; highest number that ever was. Up to it the record was lost, above it there was none
 */
int np_set_strays(struct np_set *set, struct np_set_files *strays, uint64_t *committed, struct np_error *err);

/** Open a stream by its name, whatever the records say of it. */
int np_set_file_open(struct np_set *set, const char *name, struct np_stream_input **file,
                     struct np_input_at *input, struct np_error *err);

/** The highest number that is known to have been committed, by set.json; 0: none, or not known. */
uint64_t np_set_committed(const struct np_set *set);

/** Note, durably, that all points up to that number were committed, or are over: so their files stay. */
int np_set_raise_committed(struct np_set *set, uint64_t number, struct np_error *err);

/**
 * Write a new set.json; a damaged one was set aside before. It gets another short id, as a copied set does:
 * where it lived before is not known.
 * @param committed as for np_set_raise_committed
 */
int np_set_rebuild(struct np_set *set, const struct np_uuid *uuid, const char *domain_name,
                   const struct np_uuid *domain, uint64_t committed, struct np_error *err);

/**
 * Move a file of the set to aside/, durably, under a name that nothing has there.
 * @param to out, relative to the set
 */
int np_set_put_aside(struct np_set *set, const char *name, char to[NP_SET_ASIDE_MAX], struct np_error *err);

/**
 * True when both records say the same of the point, but for what no stream tells: the codec as it was asked
 * for, and what the images below the disks were.
 */
int np_point_same(const struct np_point *a, const struct np_point *b, bool *same, struct np_error *err);

#endif
