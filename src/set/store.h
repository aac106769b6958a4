/**
 * @file store.h
 * The one table through which a set reaches its files, so that object storage can stand there later.
 *
 * A key is a path of one to three parts below the set, such as "streams/0001.vda.nbp"; each part is 1 to 100
 * of [A-Za-z0-9._-] and begins with neither a dot nor a dash. A key that is none is refused, whoever made it.
 * Messages name the whole path. A store belongs to one thread; a reader's input may be read by several.
 */
#ifndef NBDPULL_SET_STORE_H
#define NBDPULL_SET_STORE_H

#include "nbdpull/names.h"

#include "nbdpull/stream.h"

#include <sys/uio.h>

/** The first parts of keys below which objects are sought: "points", "streams", "config". NULL at the end. */
extern const char *const np_store_areas[];

#define NP_STORE_ASIDE_MAX 128 /**< a key below aside/, with NUL */

/** An object being written; it exists from its creation on, and counts for nothing before it is mentioned.
 * The store outlives it. */
struct np_store_writer {
    /** Append all pieces. NP_FAILED with path and cause. @param pieces changed */
    int (*append)(struct np_store_writer *writer, struct iovec *pieces, int count, struct np_error *err);
    /** Make what was appended, and the name, durable. */
    int (*commit)(struct np_store_writer *writer, struct np_error *err);
    /** Does the key, sought from the store's beginning, lead to what was appended? @param is out */
    int (*is_in_place)(struct np_store_writer *writer, bool *is, struct np_error *err);
    void (*close)(struct np_store_writer *writer);
};

/** An object open for reading. */
struct np_store_reader {
    struct np_input_at input; /**< any thread may read */
    void (*close)(struct np_store_reader *reader);
};

enum np_store_put {
    NP_STORE_REPLACE, /**< make it or replace it: who looks sees the old or the new object, nothing between */
    NP_STORE_NEW,     /**< NP_FAILED when the key is taken */
};

struct np_store {
    const struct np_store_ops *ops;
};

/** Every member is there. Those that change something fail on a store opened for reading. */
struct np_store_ops {
    /** A new, empty object. NP_FAILED when the key is taken. @param writer out, owned: its close */
    int (*create)(struct np_store *store, const char *key, struct np_store_writer **writer,
                  struct np_error *err);

    /** A small object, whole and durable. On -1 it may be there all the same: only its durability failed. */
    int (*put)(struct np_store *store, const char *key, const void *bytes, size_t size, enum np_store_put how,
               struct np_error *err);

    /** A small object. @param bytes out, owned, NUL-terminated; NULL when there is none */
    int (*get)(struct np_store *store, const char *key, size_t limit, char **bytes, size_t *size,
               struct np_error *err);

    /** @param reader out, owned: its close; NULL when there is no such object */
    int (*open)(struct np_store *store, const char *key, struct np_store_reader **reader,
                struct np_error *err);

    /** The names directly below a prefix, sorted; none when the prefix is unknown. @param names zeroed */
    int (*list)(struct np_store *store, const char *prefix, struct np_names *names, struct np_error *err);

    /**
     * Remove an object, or a prefix with all below it, durably. What is not there is fine, and its absence is
     * made durable: who removed it may have been killed before.
     */
    int (*remove)(struct np_store *store, const char *key, struct np_error *err);

    /**
     * Move an object out of the way, durably and whole: to aside/NAME, or aside/NAME.2 and so on where that
     * is taken. @param to out, its new key
     */
    int (*set_aside)(struct np_store *store, const char *key, char to[NP_STORE_ASIDE_MAX],
                     struct np_error *err);

    /**
     * Remove what interrupted puts left directly below a prefix, and say so in the log; where it cannot be
     * looked for, a warning says that.
     * @param prefix NULL: the store's beginning
     */
    int (*sweep)(struct np_store *store, const char *prefix, struct np_error *err);

    /** NP_FAILED when an area is not where it was found first: see np_store_dir_open. */
    int (*check_place)(struct np_store *store, struct np_error *err);

    void (*close)(struct np_store *store);
};

/**
 * A store in a directory. Every access begins at the held descriptor and follows no symbolic link; files get
 * mode 0600 and directories 0700 whatever the umask. An area is held open too from its first use on: if it is
 * moved or mounted over, all goes on where it began, and can be taken back there.
 * @param dir      open directory; borrowed until close
 * @param path     of it, for messages; copied
 * @param writable false: members that change something fail
 */
int np_store_dir_open(int dir, const char *path, bool writable, struct np_store **store,
                      struct np_error *err);

#endif
