/**
 * @file restore_parts.h
 * The parts of restore.c: what a restore writes beside the disks, and under which names.
 */
#ifndef NP_RESTORE_PARTS_H
#define NP_RESTORE_PARTS_H

#include "origin.h"

#include "nbdpull/app.h"
#include "nbdpull/restore.h"

/** Files that go along with the disks; NULL where the backup has none. All owned. */
struct np_companions {
    char *domain_xml;
    size_t domain_xml_size;
    char *live_xml; /**< used when the domain had no inactive XML */
    size_t live_xml_size;
    char *nvram;
    size_t nvram_size;
};

void np_companions_clear(struct np_companions *companions); /**< takes a zeroed struct */

/** The slot of a blob of that name, or false when restore has no use for it. */
bool np_companions_slot(struct np_companions *companions, const char *name, char ***bytes, size_t **size);

/** The directory that the restore writes into. */
struct np_restore_dir {
    int fd;
    bool made;      /**< by this run */
    char *path;     /**< absolute, owned */
    char name[256]; /**< the domain's, as far as it can be part of a file name */
};

/** Open DIR, or make it when its parent exists; it must be writable. */
int np_restore_dir_open(const char *path, const char *domain, struct np_restore_dir *dir,
                        struct np_error *err);
/** @param keep false: remove it again if this run made it */
void np_restore_dir_close(struct np_restore_dir *dir, bool keep);

/** Refuse when a file of that name is there. */
int np_restore_refuse_existing(const struct np_restore_dir *dir, const char *file, struct np_error *err);
/** The same for all companions' names. */
int np_restore_refuse_companions(const struct np_restore_dir *dir, struct np_error *err);

/** Write NAME.original.xml, NAME.xml and NAME.nvram; adds them to result->files. */
int np_restore_companions(const struct np_restore_dir *dir, const struct np_companions *companions,
                          const char *format, struct np_restore_result *result, struct np_error *err);

/**
 * Add to the error of a restore from a set which other points can still be restored, the newest first: those
 * whose streams are all there and linked, and none of which the error names. No data is read.
 */
void np_restore_name_good_points(const struct np_restore_request *request, struct np_origin *origin,
                                 struct np_error *err);

#endif
