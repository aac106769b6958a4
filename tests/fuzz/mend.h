/*
 * Streams for fuzzers. Checksums stop one at the first record, so an input is a byte of flags and a stream,
 * and the flags say what is made right before it is read: what is left wrong is what lies behind the
 * checksums.
 *
 * unit/surgery.h does the same for streams that are well-formed but for one wanted fault; here nothing is.
 */
#ifndef NBDPULL_FUZZ_MEND_H
#define NBDPULL_FUZZ_MEND_H

#include <stddef.h>
#include <stdint.h>

enum {
    MEND_SUMS = 1 << 0,   /* identities, positions, numbers, checksums; END's size, count and digest */
    MEND_LINKS = 1 << 1,  /* what END, DIR and INDEX say of the records they name, where one is there */
    MEND_LEAVES = 1 << 2, /* leaves list the records before them */
    MEND_TOTALS = 1 << 3, /* DIR and results add up the records */
    MEND_HASHES = 1 << 4, /* hashes of granules and sums of files */
    MEND_ALL = (1 << 5) - 1,
};

/*
 * What the low byte of a header's flags, which readers do not look at, says to who mends it: leave this sum
 * wrong. Of a part that is empty nobody else would.
 */
enum { OTHER_DATA_SUM = 0xd5, OTHER_TABLE_SUM = 0x7a };

#define PARTS_MAX 400

/* A record as it lies there; nothing of it is checked. */
struct part {
    uint8_t header[96];
    uint8_t *table, *data; /* owned */
    uint32_t table_len, data_len;
    uint64_t was; /* the position that its header tells: so a record that moved is still found */
    uint8_t padding[15];
};

struct parts {
    struct part list[PARTS_MAX];
    size_t count;
};

/* Whatever follows the last record that there is room for belongs to its data. */
struct parts *parts_cut(const uint8_t *bytes, size_t size);
void parts_free(struct parts *parts);

/* Make right what the flags name. META and DIR in the data of an optional record too, so that END can name
 * them: nobody comes by them front to back. */
void parts_mend(struct parts *parts, unsigned flags);

/* One after the other. @return owned (free) */
uint8_t *parts_join(const struct parts *parts, size_t *size);

/* All of it. With no flags a plain copy. @return owned (free) */
uint8_t *mended(const uint8_t *bytes, size_t size, unsigned flags, size_t *to);

#endif
