/*
 * A file on its way to its name: made under a hidden name beside it, private to its owner, and put into place
 * when it is complete. Until then nobody sees the final name.
 */
#ifndef TARGET_PLACE_H
#define TARGET_PLACE_H

#include "nbdpull/target.h"

struct np_place {
    int dir;                  /* borrowed */
    const char *name;         /* borrowed; the final one */
    char *path;               /* of the final name, for messages */
    char *temporary;          /* hidden name in dir; NULL once the file is in place */
    char *part_path;          /* of the temporary name, for programs: begins with '/' or '.' */
    int fd;                   /* of the file, for reading and writing */
    _Atomic uint64_t written; /* by np_place_write */
};

/* Make the empty file, mode 0600. NP_FAILED when the final name is taken. place: out, np_place_close */
int np_place_open(struct np_place *place, const struct np_target_options *options, struct np_error *err);

/* From any thread: write into the file, which goes on to the disk while more comes (np_file_start_writing).
 */
int np_place_write(struct np_place *place, const void *bytes, size_t size, uint64_t pos,
                   struct np_error *err);

/* Make the file durable and give it its name. Refuses (NP_FAILED) when the name is taken by now. */
int np_place_commit(struct np_place *place, struct np_error *err);

/* Removes the file when it is not in place. Takes a struct that is zero but for fd -1. */
void np_place_close(struct np_place *place);

#endif
