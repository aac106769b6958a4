#include "backup_parts.h"

#include "nbdpull/bytes.h"

#include <inttypes.h>
#include <string.h>

int np_run_expect(struct np_run *run, struct np_run_disk *disk, uint64_t *bytes, bool *allocated,
                  struct np_error *err)
{
    const struct np_domain_disk *of = disk->domain_disk;
    bool known;
    *allocated = disk->mode != NP_MODE_BITMAP;
    if (run->reach->expect(run, disk, bytes, &known, err) < 0)
        return -1;
    if (!known || (of->size != 0 && *bytes > of->size))
        *bytes = of->size;
    return 0;
}

/*
 * A full that nobody asked for replaces a chain that is missing or broken. To put it off because the disk is
 * small would leave the guest without a backup for as long as it stays small.
 */
static bool must_be_stored(const struct np_run *run, const struct np_run_disk *disk)
{
    return disk->mode == NP_MODE_FULL && strcmp(run->request->level, "full") != 0 &&
           strcmp(run->request->level, "copy") != 0;
}

int np_run_check_threshold(struct np_run *run, struct np_error *err)
{
    uint64_t total = 0, threshold = run->request->threshold;
    for (size_t i = 0; threshold > 0 && i < run->disk_count; i++) {
        uint64_t bytes;
        bool allocated;
        if (must_be_stored(run, &run->disks[i]))
            return 0;
        if (np_run_expect(run, &run->disks[i], &bytes, &allocated, err) < 0)
            return -1;
        if (!np_add_u64(total, bytes, &total))
            return 0;
    }
    if (total >= threshold)
        return 0;
    return np_fail(err, NP_SKIPPED,
                   "domain '%s': skipped: there are %" PRIu64 " bytes to store (%s), less than the threshold "
                   "of %" PRIu64 "; nothing was done",
                   np_domain_name(run->domain), total, run->result->level, threshold);
}
