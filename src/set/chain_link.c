#include "chain_link.h"

#include <inttypes.h>
#include <stdio.h>

static int fail_link(const struct np_stream *child, const struct np_stream *base, const char *what,
                     struct np_error *err)
{
    return np_fail(err, NP_DAMAGED, "%s does not build on %s: %s", np_stream_name(child),
                   np_stream_name(base), what);
}

static int check_state(const struct np_stream *child, const struct np_meta_disk *child_disk,
                       const struct np_stream *base, const struct np_meta_disk *base_disk,
                       struct np_error *err)
{
    if (np_uuid_equal(&child_disk->base_state, &base_disk->state))
        return 0;
    char what[160], wanted[NP_UUID_TEXT_SIZE], found[NP_UUID_TEXT_SIZE];
    np_uuid_format(&child_disk->base_state, wanted);
    np_uuid_format(&base_disk->state, found);
    snprintf(what, sizeof(what), "it wants state %s (point %s), and that holds %s", wanted,
             child_disk->base_point, found);
    return fail_link(child, base, what, err);
}

static int check_grid(const struct np_stream *child, const struct np_meta_disk *child_disk,
                      const struct np_stream *base, const struct np_meta_disk *base_disk,
                      struct np_error *err)
{
    const struct np_geometry *a = &child_disk->geometry, *b = &base_disk->geometry;
    if (child_disk->base_size != b->size) {
        char what[160];
        snprintf(what, sizeof(what), "it wants %" PRIu64 " bytes, and that holds %" PRIu64,
                 child_disk->base_size, b->size);
        return fail_link(child, base, what, err);
    }
    if (a->chunk != b->chunk || a->granule != b->granule)
        return fail_link(child, base, "chunk and granule sizes differ", err);
    return 0;
}

/* A digest is not known where a base's index could not be read; then states and sizes must do. */
static int check_digest(const struct np_stream *child, const struct np_meta_disk *child_disk,
                        const struct np_stream *base, const struct np_meta_disk *base_disk,
                        struct np_error *err)
{
    const struct np_totals *totals = np_stream_totals(base, base_disk->id);
    if (totals == NULL || !totals->digest_known || !child_disk->base_digest_known ||
        np_hash128_equal(totals->digest, child_disk->base_digest))
        return 0;
    return fail_link(child, base, "it wants the same state with another digest", err);
}

int np_chain_link_check(const struct np_stream *child, const struct np_meta_disk *child_disk,
                        const struct np_stream *base, const struct np_meta_disk *base_disk,
                        struct np_error *err)
{
    if (check_state(child, child_disk, base, base_disk, err) < 0 ||
        check_grid(child, child_disk, base, base_disk, err) < 0)
        return -1;
    return check_digest(child, child_disk, base, base_disk, err);
}

int np_chain_link_check_root(const struct np_stream *root, const struct np_meta_disk *disk,
                             struct np_error *err)
{
    if (np_uuid_is_nil(&disk->base_state))
        return 0;
    char wanted[NP_UUID_TEXT_SIZE];
    np_uuid_format(&disk->base_state, wanted);
    return np_fail(err, NP_DAMAGED, "%s builds on state %s (point %s), which is not in the chain",
                   np_stream_name(root), wanted, disk->base_point);
}
