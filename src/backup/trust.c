/*
 * Whether a dirty bitmap may be believed: looks for proofs of the contrary before anything is written.
 *
 * One walk over the base's index beside the extents. It reads clean granules that were zero and are allocated
 * now at once, and keeps a bounded number of clean granules with data as a sample, which it reads at the end.
 * Where the sample does not tell the disk from another one of the guest, a walk over both indexes finds what
 * does.
 */
#include "nbdpull/backup.h"

#include "schedule.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SAMPLE 64

/*
 * The last clean granules with data are all compared, as many as lie in the largest cluster of qcow2. A disk
 * that was shrunk and grown again lost its bits behind the cut, but keeps the rest of the cluster that was
 * cut: content of any age, called clean. Behind that cluster all is zero or dirty, so it is the last one with
 * clean data.
 */
#define TAIL_BYTES ((uint64_t)2 << 20)

/*
 * Granules that tell a disk from a rival. Not one alone: an image that was shrunk within a cluster and grown
 * again holds content of any age in the rest of it, called clean, perhaps this disk's own. So more than lie
 * in one cluster; where there are not so many, all of them must be this disk's.
 */
static size_t enough_unlike(const struct np_geometry *geometry)
{
    return (size_t)(TAIL_BYTES / geometry->granule) + 1;
}

struct sample {
    uint64_t offset;
    uint32_t length;
    struct np_hash128 hash;
};

/* The base of another disk whose bitmap has the same name. */
struct rival {
    struct np_parent parent;
    struct np_parent_window window; /* its hashes: room for all of one */
    uint64_t loaded;                /* where that window begins; UINT64_MAX: none is there */
    size_t unlike;                  /* granules in which it held something else, and that are this disk's */
    bool unread;                    /* its index could not be read */
};

struct check {
    const struct np_source *source;
    void *reader;
    const struct np_geometry *geometry;
    struct np_geometry base_geometry;
    struct np_schedule schedule; /* only to ask for extents */
    struct np_parent parent;
    struct np_trust *trust;
    struct rival *rival; /* whom the walk is to tell this disk from; NULL: it takes samples */

    struct sample first, samples[SAMPLE];
    struct sample *tail; /* a ring: the last so many */
    size_t tail_count;
    uint64_t seen; /* clean granules with data so far */
    uint64_t random;
    uint8_t *buffer;           /* one granule */
    struct np_hash128 *hashes; /* of one window */
};

static void check_clear(struct check **pointer)
{
    struct check *check = *pointer;
    if (check == NULL)
        return;
    check->source->ops->reader_close(check->reader);
    free(check->tail);
    free(check->buffer);
    free(check->hashes);
    free(check);
}

/* xorshift64: any sequence will do that cannot be known before the run. */
static uint64_t next_random(struct check *check)
{
    check->random ^= check->random << 13;
    check->random ^= check->random >> 7;
    check->random ^= check->random << 17;
    return check->random;
}

/* Each clean granule gets the same chance, whatever their number. */
static void offer(struct check *check, const struct sample *sample)
{
    if (check->seen == 0)
        check->first = *sample;
    check->tail[check->seen % check->tail_count] = *sample;
    uint64_t slot = check->seen < SAMPLE ? check->seen : next_random(check) % (check->seen + 1);
    if (slot < SAMPLE)
        check->samples[slot] = *sample;
    check->seen++;
}

static void disbelieve(struct check *check, const char *why, uint64_t offset)
{
    check->trust->believed = false;
    check->trust->offset = offset;
    snprintf(check->trust->why, sizeof(check->trust->why), "%s", why);
}

static int read_granule(struct check *check, uint64_t offset, uint32_t length, struct np_error *err)
{
    check->trust->compared += length;
    if (check->source->ops->read(check->reader, check->buffer, offset, length, err) < 0)
        return np_error_where(err, NULL, offset);
    return 0;
}

static int check_was_zero(struct check *check, uint64_t offset, uint32_t length, struct np_error *err)
{
    if (read_granule(check, offset, length, err) < 0)
        return -1;
    if (!np_is_zero(check->buffer, length))
        disbelieve(check, "the bitmap calls a range clean that was zero and now holds data", offset);
    return 0;
}

static int check_sample(struct check *check, const struct sample *sample, struct np_error *err)
{
    if (!check->trust->believed)
        return 0;
    if (read_granule(check, sample->offset, sample->length, err) < 0)
        return -1;
    if (!np_hash128_equal(np_hash128(check->buffer, sample->length), sample->hash))
        disbelieve(check, "the bitmap calls a range clean whose content has changed", sample->offset);
    return 0;
}

enum likeness { LIKE, UNLIKE, PERHAPS };

/*
 * Did the rival hold the same there as this disk's base? Where only one of the two ends within the granule,
 * the hashes are of different lengths and do not tell. Offsets must not fall after rival_begin.
 */
static int liken(struct check *check, const struct sample *sample, enum likeness *likeness,
                 struct np_error *err)
{
    struct rival *rival = check->rival;
    uint64_t window = np_align_down(sample->offset, check->geometry->chunk);
    unsigned index = (unsigned)((sample->offset - window) / check->geometry->granule);
    rival->unread =
        rival->loaded != window && np_parent_window(&rival->parent, window, &rival->window, err) < 0;
    if (rival->unread)
        return -1;
    rival->loaded = window;
    if (np_map_get(rival->window.map, index) != NP_GRANULE_DATA)
        *likeness = UNLIKE;
    else if (np_granule_length(&rival->parent.geometry, window, index) != sample->length)
        *likeness = PERHAPS;
    else
        *likeness = np_hash128_equal(rival->window.hashes[index], sample->hash) ? LIKE : UNLIKE;
    return 0;
}

/* A granule that may be both's is read too, but does not tell whose image it is. */
static int check_differing(struct check *check, const struct sample *sample, struct np_error *err)
{
    enum likeness likeness;
    if (liken(check, sample, &likeness, err) < 0)
        return -1;
    check->rival->unlike += likeness == UNLIKE;
    return likeness != LIKE ? check_sample(check, sample, err) : 0;
}

/* A granule's flags: dirty if any byte is, data if any byte is. */
static int granule_flags(struct check *check, uint64_t offset, uint32_t length, bool *dirty, bool *data,
                         struct np_error *err)
{
    *dirty = *data = false;
    for (uint64_t at = offset; at < offset + length;) {
        struct np_extent extent;
        if (np_schedule_extent(&check->schedule, at, &extent, err) < 0)
            return -1;
        *dirty |= (extent.flags & NP_EXTENT_DIRTY) != 0;
        *data |= !(extent.flags & NP_EXTENT_ZERO);
        at = np_min_u64(extent.offset + extent.length, offset + length);
    }
    return 0;
}

static int check_granule(struct check *check, uint64_t window, unsigned index,
                         const struct np_parent_window *base, struct np_error *err)
{
    uint64_t offset = window + (uint64_t)index * check->geometry->granule;
    uint32_t length = np_granule_length(check->geometry, window, index);
    enum np_granule_state was = np_map_get(base->map, index);
    bool dirty, data;
    if (was == NP_GRANULE_ABSENT || np_granule_length(&check->base_geometry, window, index) != length)
        return 0; /* grown: stored whatever the bitmap says */
    if (granule_flags(check, offset, length, &dirty, &data, err) < 0)
        return -1;
    if (dirty)
        return 0;
    if (!data) {
        if (was == NP_GRANULE_DATA) /* cut off by shrinking: more than one cluster may be left of that */
            disbelieve(check, "the bitmap calls a range clean that held data and now is zero", offset);
        return 0;
    }
    if (was == NP_GRANULE_ZERO) /* the walk beside a rival comes after one that has looked at these */
        return check->rival != NULL ? 0 : check_was_zero(check, offset, length, err);
    const struct sample sample = {offset, length, base->hashes[index]};
    if (check->rival != NULL)
        return check_differing(check, &sample, err);
    offer(check, &sample);
    return 0;
}

/* A run that both sides call zero, or that is dirty all over, needs no look at each window. */
static int skip_run(struct check *check, uint64_t at, uint64_t *run, struct np_error *err)
{
    struct np_extent extent;
    if (np_schedule_extent(&check->schedule, at, &extent, err) < 0)
        return -1;
    *run = np_align_down(extent.length, check->geometry->chunk);
    if (*run == 0 || (extent.flags & NP_EXTENT_DIRTY))
        return 0;
    uint64_t base_zero = 0;
    if ((extent.flags & NP_EXTENT_ZERO) && np_parent_zero_run(&check->parent, at, &base_zero, err) < 0)
        return -1;
    *run = np_min_u64(*run, base_zero);
    return 0;
}

static bool is_told_apart(const struct check *check)
{
    return check->rival->unlike >= enough_unlike(check->geometry);
}

static bool goes_on(const struct check *check)
{
    return check->trust->believed && (check->rival == NULL || !is_told_apart(check));
}

static int walk(struct check *check, struct np_cancel *cancel, struct np_error *err)
{
    uint64_t end = np_min_u64(check->base_geometry.size, check->geometry->size);
    struct np_parent_window base = {.hashes = check->hashes};
    for (uint64_t at = 0; at < end && goes_on(check);) {
        uint64_t run;
        if (np_cancel_check(cancel, err) < 0 || skip_run(check, at, &run, err) < 0)
            return -1;
        if (run > 0) {
            at += run;
            continue;
        }
        if (np_parent_window(&check->parent, at, &base, err) < 0)
            return -1;
        unsigned granules = np_window_granules(check->geometry, at);
        for (unsigned i = 0; i < granules && goes_on(check); i++)
            if (check_granule(check, at, i, &base, err) < 0)
                return -1;
        at += np_window_length(check->geometry, at);
    }
    return 0;
}

static int read_samples(struct check *check, struct np_cancel *cancel, struct np_error *err)
{
    if (check->seen == 0)
        return 0;
    if (check_sample(check, &check->first, err) < 0)
        return -1;
    for (size_t i = 0; i < check->tail_count && i < check->seen; i++)
        if (np_cancel_check(cancel, err) < 0 || check_sample(check, &check->tail[i], err) < 0)
            return -1;
    for (size_t i = 0; i < SAMPLE && i < check->seen; i++)
        if (np_cancel_check(cancel, err) < 0 || check_sample(check, &check->samples[i], err) < 0)
            return -1;
    return 0;
}

/* ---- other disks ---- */

static int rival_begin(struct check *check, uint64_t offset, struct np_error *err)
{
    struct rival *rival = check->rival;
    rival->loaded = UINT64_MAX;
    rival->unread = np_chain_seek(rival->parent.base->chain, offset, err) < 0;
    if (rival->unread)
        return -1;
    np_parent_init(&rival->parent, rival->parent.base, check->geometry);
    return 0;
}

/* The samples have been read, and were this disk's. */
static int tell_by_samples(struct check *check, struct np_error *err)
{
    for (size_t i = 0; i < SAMPLE && i < check->seen && !is_told_apart(check); i++) {
        enum likeness likeness;
        if (rival_begin(check, check->samples[i].offset, err) < 0 ||
            liken(check, &check->samples[i], &likeness, err) < 0)
            return -1;
        check->rival->unlike += likeness == UNLIKE;
    }
    return 0;
}

/* Nearly equal disks: where do they differ? */
static int tell_by_walk(struct check *check, struct np_cancel *cancel, struct np_error *err)
{
    const struct np_base *base = check->parent.base;
    check->rival->unlike = 0;
    if (rival_begin(check, 0, err) < 0 || np_chain_seek(base->chain, 0, err) < 0)
        return -1;
    np_schedule_init(&check->schedule, check->source, check->reader, check->geometry, NP_SCOPE_DIRTY, NULL);
    np_parent_init(&check->parent, base, check->geometry);
    return walk(check, cancel, err);
}

/*
 * An image that came to the place of another disk's of the same guest brings a bitmap of the right name with
 * it. So what is read must be this disk's where the other one held something else, in clean granules; if
 * there are none, it does not matter whose image it is.
 */
static int check_rival(struct check *check, const struct np_base *base, struct np_cancel *cancel,
                       struct np_error *err)
{
    NP_AUTO_FREE struct np_hash128 *hashes =
        calloc(check->geometry->chunk / check->geometry->granule, sizeof(*hashes));
    struct rival rival = {.parent.base = base, .window.hashes = hashes};
    const struct np_geometry *grid = np_chain_geometry(base->chain);
    if (hashes == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot check the bitmap");
    if (grid->chunk != check->geometry->chunk || grid->granule != check->geometry->granule) {
        disbelieve(check, "its hashes cannot be compared with those of another disk of the guest", 0);
        return 0;
    }
    check->rival = &rival;
    int result = tell_by_samples(check, err);
    if (result == 0 && !is_told_apart(check) && check->seen > SAMPLE)
        result = tell_by_walk(check, cancel, err);
    check->rival = NULL;
    if (result == 0 || !rival.unread)
        return result;
    disbelieve(check,
               "the index of another disk of the guest cannot be read, which this one is to be told from",
               err->offset == NP_NO_OFFSET ? 0 : err->offset);
    check->trust->cause = *err;
    *err = (struct np_error)NP_ERROR_INIT;
    return 0;
}

/*
 * Where the walk did not look, the pull will: an index that is damaged there must be found now, while the
 * disk can still be stored whole.
 */
static int walk_rest(struct check *check, struct np_cancel *cancel, struct np_error *err)
{
    struct np_chain_step *step = &check->parent.step;
    for (int more; (more = np_chain_next(check->parent.base->chain, step, err)) != 0;)
        if (more < 0 || np_cancel_check(cancel, err) < 0)
            return -1;
    return 0;
}

int np_backup_trust(const struct np_source *source, const struct np_geometry *geometry,
                    const struct np_base *base, const struct np_base *rivals, size_t rival_count,
                    uint64_t seed, struct np_cancel *cancel, struct np_trust *trust, struct np_error *err)
{
    *trust = (struct np_trust){.believed = true};
    NP_CLEANUP(check_clear) struct check *check = calloc(1, sizeof(*check));
    if (check == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot check the bitmap");
    check->source = source;
    check->geometry = geometry;
    check->base_geometry = *geometry;
    check->base_geometry.size = base->size;
    check->trust = trust;
    check->random = seed | 1;
    check->tail_count = (size_t)np_max_u64(1, TAIL_BYTES / geometry->granule);
    check->tail = calloc(check->tail_count, sizeof(*check->tail));
    check->buffer = malloc(geometry->granule);
    check->hashes = calloc(geometry->chunk / geometry->granule, sizeof(*check->hashes));
    if (check->tail == NULL || check->buffer == NULL || check->hashes == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot check the bitmap");
    if (source->ops->reader_open(source->ctx, &check->reader, err) < 0)
        return -1;
    np_schedule_init(&check->schedule, source, check->reader, geometry, NP_SCOPE_DIRTY, NULL);
    np_parent_init(&check->parent, base, geometry);
    if (walk(check, cancel, err) < 0 || walk_rest(check, cancel, err) < 0)
        return -1;
    if (read_samples(check, cancel, err) < 0)
        return -1;
    for (size_t i = 0; i < rival_count && trust->believed; i++)
        if (check_rival(check, &rivals[i], cancel, err) < 0)
            return -1;
    return 0;
}
