/**
 * @file restore_parts.h
 * The parts of restore.c: its state, what it writes beside the disks and under which names, and salvaging.
 */
#ifndef NP_RESTORE_PARTS_H
#define NP_RESTORE_PARTS_H

#include "origin.h"
#include "salvage.h"

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
    bool made;         /**< by this run */
    const char *asked; /**< the path that was given; borrowed */
    char *path;        /**< absolute, owned */
    char name[256];    /**< the domain's, as far as it can be part of a file name */
};

/** Open DIR, or make it when its parent exists; it must be writable. */
int np_restore_dir_open(const char *path, const char *domain, struct np_restore_dir *dir,
                        struct np_error *err);
/** NP_FAILED when the path that was given leads to another directory by now, or to none. */
int np_restore_dir_check(const struct np_restore_dir *dir, struct np_error *err);
/** @param keep false: remove it again if this run made it */
void np_restore_dir_close(struct np_restore_dir *dir, bool keep);

/**
 * Mark the directory as one that a restore writes into, until fd is closed; and warn, in one line, of the
 * hidden files that earlier ones left there, unless another one is at work. They stay: only who owns them
 * knows.
 */
void np_restore_warn_of_unfinished(const struct np_restore_dir *dir);

/** Refuse when a file of that name is there. */
int np_restore_refuse_existing(const struct np_restore_dir *dir, const char *file, struct np_error *err);
/** The same for all companions' names. */
int np_restore_refuse_companions(const struct np_restore_dir *dir, struct np_error *err);

/**
 * Write NAME.original.xml, NAME.xml and NAME.nvram; adds them to result->files.
 * @param open_displays out, owned; of NAME.xml, as np_graphics_open; untouched where there are none
 */
int np_restore_companions(const struct np_restore_dir *dir, const struct np_companions *companions,
                          const char *format, struct np_restore_result *result, char **open_displays,
                          struct np_error *err);

/** Warn of them, once what was restored stays. @param open_displays NULL: nothing to say */
void np_restore_warn_of_displays(const struct np_restore_dir *dir, const char *open_displays);

extern const char *const np_companion_endings[]; /**< of their names; NULL at the end */

/**
 * Add to the error of a restore from damaged streams which other points of the set can still be restored, the
 * newest first: those whose streams are all there and linked, and none of which the error names; and that
 * what is left can be had. No data is read.
 */
void np_restore_say_what_next(const struct np_restore_request *request, struct np_origin *origin,
                              struct np_error *err);

/** The last of these alone, of a file; not of one that does not look like a stream at all. */
void np_restore_say_salvage(const char *path, struct np_error *err);

/** An image that has its name; its target is open. */
struct np_restored_image {
    dev_t dev;
    ino_t ino;
};

/** Which files the streams of the point have, each of which has all of them, as far as they are left. */
struct np_salvaged_files {
    bool count_known;
    uint64_t count;    /**< that there were */
    unsigned named;    /**< a bit for each that restore_salvage_files.c knows and whose name was found */
    uint64_t others;   /**< names that were found besides */
    bool off;          /**< the guest: then there is no live XML */
    bool checkpointed; /**< then there is its XML */
};

/** A restore under way. */
struct np_restore {
    const struct np_restore_request *request;
    struct np_restore_result *result;
    const struct np_target_ops *ops;
    struct np_restore_dir dir;
    struct np_companions companions;
    char *open_displays;              /* owned; of the XML that was written, or NULL */
    struct np_restore_disk *disks;    /* owned; with the targets made so far */
    char (*files)[80];                /* owned; file name of each */
    struct np_restored_image *images; /* owned; of those that are committed */
    size_t count, committed;
    uint64_t done, total; /* for the progress */

    /* Of a salvage: */
    struct np_salvaged_disk *salvaged; /* owned; of each disk, open until it is written */
    struct np_loss_report *reports;    /* owned */
    struct np_salvaged_files files_left;
};

/** For the progress of one disk. */
struct np_restore_watch {
    const struct np_restore *restore;
    size_t disk;
    uint64_t disk_total;
};

/** Note a disk to be written, and what its image is called; refuses one that is there. */
int np_restore_note_disk(struct np_restore *restore, const char *target, uint16_t id,
                         const struct np_geometry *geometry, struct np_error *err);

/** Take XML or NVRAM out of a stream, unless it was taken before, or a restore has no use for a file of that
 * name. */
int np_restore_take_companion(struct np_restore *restore, struct np_stream *stream, const char *name,
                              struct np_error *err);

/** Note what the disk that was noted last will read and write. @param chain at its start */
int np_restore_survey_chain(struct np_restore *restore, struct np_chain *chain, size_t streams,
                            struct np_error *err);

/** @param watch borrowed as long as the options are used */
struct np_restore_options np_restore_engine_options(const struct np_restore *restore,
                                                    struct np_restore_watch *watch);

/* ---- restore_place.c ---- */

/** All disks are written and checked: put them into place, with what goes along with them, or none. */
int np_restore_place_commit(struct np_restore *restore, struct np_error *err);

/** Whoever is told that it is done must find the images where they were asked for: NP_FAILED when not. */
int np_restore_place_check(const struct np_restore *restore, struct np_error *err);

/** Remove what was put into place, as far as it is still ours. */
void np_restore_place_take_back(struct np_restore *restore);

/* ---- restore_salvage_files.c ---- */

/** Take XML and NVRAM from a stream of the point, as far as they are left. @param disk as salvaged */
int np_salvage_files_take(struct np_restore *restore, const struct np_point *point,
                          struct np_salvaged_disk *disk, struct np_error *err);

/** What these lack may be whole in the streams of disks that are not restored. */
int np_salvage_files_complete(struct np_restore *restore, struct np_origin *origin, struct np_error *err);

enum np_file_fate { NP_FILE_NOT_LOST, NP_FILE_PERHAPS_LOST, NP_FILE_LOST };

/** "Not lost" is what is there, and what the point never had. */
enum np_file_fate np_salvage_xml_fate(const struct np_restore *restore);
enum np_file_fate np_salvage_nvram_fate(const struct np_restore *restore);

/* ---- restore_salvage.c ---- */

/** Scan a disk's streams and note it, as the survey of an ordinary restore does. */
int np_salvage_survey(struct np_restore *restore, struct np_origin *origin, const struct np_point_disk *disk,
                      struct np_error *err);

/** Write disk i, and its list of losses unless the image is proven to be exact. */
int np_salvage_disk_write(struct np_restore *restore, struct np_origin *origin, size_t i,
                          struct np_error *err);

/** Instead of writing, for a dry run. */
int np_salvage_count(struct np_restore *restore, struct np_origin *origin, struct np_error *err);

/** Put the lists of losses into place. */
int np_salvage_place_reports(struct np_restore *restore, struct np_error *err);

/** @return 0: nothing is lost; -1: NP_LOSSES says what is */
int np_salvage_tell(struct np_restore *restore, struct np_error *err);

#endif
