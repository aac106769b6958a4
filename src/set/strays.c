/*
 * Streams of a number that has no point record. A number above all that were ever committed is what a run
 * left that did not come to its end; of any other, the record was lost.
 */
#include "internal.h"

#include "nbdpull/set_repair.h"

#include <string.h>

static uint64_t highest_committed(const struct np_set *set, const struct np_set_files *files)
{
    uint64_t highest = set->json.committed;
    for (size_t i = 0; i < files->count; i++)
        if (files->list[i].record && files->list[i].number > highest)
            highest = files->list[i].number;
    return highest;
}

/* Files of one number are neighbours. @return how many, from i on */
static size_t group(const struct np_set_files *files, size_t i, bool *has_record)
{
    size_t end = i;
    *has_record = false;
    for (; end < files->count && files->list[end].number == files->list[i].number; end++)
        *has_record = *has_record || files->list[end].record;
    return end - i;
}

int np_set_strays(struct np_set *set, struct np_set_files *strays, uint64_t *committed, struct np_error *err)
{
    bool has_record;
    size_t kept = 0;
    if (np_set_files(set, strays, err) < 0)
        return -1;
    *committed = highest_committed(set, strays);
    for (size_t i = 0, count; i < strays->count; i += count) {
        count = group(strays, i, &has_record);
        if (has_record)
            continue;
        memmove(&strays->list[kept], &strays->list[i], count * sizeof(*strays->list));
        kept += count;
    }
    strays->count = kept;
    return 0;
}
