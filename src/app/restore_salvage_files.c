/*
 * Which files of the point, its XML and NVRAM, are lost with the streams that are damaged. Every stream of a
 * point has all of them: so any that tells their number tells how many are missing, and what is not among
 * those that a backup always writes is the NVRAM. Without the number the XML of the guest as it ran tells
 * whether there was one. Streams of disks that are not restored are asked too, when they are whole.
 */
#include "restore_parts.h"
#include "targets.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"
#include "nbdpull/virt.h"

#include <string.h>

enum { DOMAIN_XML, LIVE_XML, CHECKPOINT_XML, NVRAM, NAMES };

static const char *const names[NAMES] = {"domain.xml", "domain-live.xml", "checkpoint.xml", "nvram"};

static void note_name(struct np_salvaged_files *files, const char *name, uint64_t *others)
{
    for (unsigned i = 0; i < NAMES; i++)
        if (strcmp(name, names[i]) == 0) {
            files->named |= 1U << i;
            return;
        }
    *others += name[0] != '\0';
}

/* @param names_told out; how many the stream tells */
static int take_from(struct np_restore *restore, struct np_stream *stream, uint64_t *names_told,
                     struct np_error *err)
{
    struct np_salvaged_files *files = &restore->files_left;
    const struct np_meta *meta = np_stream_meta(stream);
    uint64_t others = 0;
    const char *name;
    for (*names_told = 0; (name = np_stream_blob_name(stream, *names_told)) != NULL; ++*names_told) {
        struct np_error mine = NP_ERROR_INIT;
        note_name(files, name, &others);
        if (np_restore_take_companion(restore, stream, name, &mine) == 0)
            continue;
        if (mine.class != NP_DAMAGED) {
            *err = mine;
            return -1;
        }
        np_log_warning("%s", mine.message);
    }
    files->others = np_max_u64(files->others, others);
    files->off = meta->guest[0] != '\0';
    files->checkpointed = meta->checkpoint[0] != '\0';
    return 0;
}

static bool is_complete(const struct np_restore *restore)
{
    return np_salvage_xml_fate(restore) == NP_FILE_NOT_LOST &&
           np_salvage_nvram_fate(restore) == NP_FILE_NOT_LOST;
}

int np_salvage_files_take(struct np_restore *restore, const struct np_point *point,
                          struct np_salvaged_disk *disk, struct np_error *err)
{
    struct np_salvaged_files *files = &restore->files_left;
    struct np_salvage *salvage = disk->list[0].salvage;
    uint64_t told;
    if (restore->count > 1 && is_complete(restore))
        return 0;
    if (restore->count == 1) {
        files->off = point->guest[0] != '\0';
        files->checkpointed = point->checkpoint[0] != '\0';
    }
    if (salvage == NULL)
        return 0;
    if (take_from(restore, np_salvage_stream(salvage), &told, err) < 0)
        return -1;
    files->count_known = files->count_known || np_salvage_blob_count(salvage, &files->count);
    return 0;
}

static void close_input(struct np_stream_input **file)
{
    np_stream_input_close(*file);
}

static void close_stream(struct np_stream **stream)
{
    np_stream_close(*stream);
}

/* What is left of a damaged one would have to be sought in all of it, for a disk that nobody asked for. */
static int take_from_whole(struct np_restore *restore, struct np_origin *origin,
                           const struct np_point_disk *disk, struct np_error *err)
{
    struct np_salvaged_files *files = &restore->files_left;
    NP_CLEANUP(close_input) struct np_stream_input *file = NULL;
    NP_CLEANUP(close_stream) struct np_stream *stream = NULL;
    struct np_error why = NP_ERROR_INIT;
    struct np_input_at input;
    uint64_t told;
    if (np_set_stream_open(origin->set, disk, &file, &input, &why) < 0 ||
        np_stream_open(&input, disk->file, &stream, &why) < 0) {
        np_log_debug("%s", why.message);
        return 0;
    }
    if (!np_uuid_equal(&np_stream_meta(stream)->stream, &disk->stream_uuid))
        return 0;
    if (take_from(restore, stream, &told, err) < 0)
        return -1;
    files->count_known = true;
    files->count = told;
    return 0;
}

int np_salvage_files_complete(struct np_restore *restore, struct np_origin *origin, struct np_error *err)
{
    const struct np_point *point = origin->point;
    for (size_t i = 0; origin->set != NULL && i < point->disk_count && !is_complete(restore); i++) {
        const struct np_point_disk *disk = &point->disks[i];
        if (disk->stored && !np_targets_want(&restore->request->disks, disk->target) &&
            take_from_whole(restore, origin, disk, err) < 0)
            return -1;
    }
    return 0;
}

static bool is_named(const struct np_salvaged_files *files, unsigned name)
{
    return (files->named >> name & 1) != 0;
}

/* How many there were whose names were not found. */
static uint64_t missing(const struct np_salvaged_files *files)
{
    uint64_t found = files->others;
    for (unsigned i = 0; i < NAMES; i++)
        found += is_named(files, i);
    return files->count > found ? files->count - found : 0;
}

enum np_file_fate np_salvage_xml_fate(const struct np_restore *restore)
{
    const struct np_salvaged_files *files = &restore->files_left;
    if (restore->companions.domain_xml != NULL)
        return NP_FILE_NOT_LOST;
    /* Every backup has one; what another program wrote may not. */
    bool there_was = is_named(files, DOMAIN_XML) || !files->count_known || missing(files) > 0;
    return there_was ? NP_FILE_LOST : NP_FILE_NOT_LOST;
}

static bool names_nvram(const char *xml)
{
    NP_AUTO_FREE char *path = NULL;
    struct np_error ignored = NP_ERROR_INIT;
    return xml != NULL && (np_xml_nvram(xml, &path, &ignored) < 0 || path != NULL);
}

/* By the number of files, and those that a backup writes besides. What another program wrote need not have
 * those: then an XML that names an NVRAM is believed. */
static enum np_file_fate nvram_by_number(const struct np_restore *restore)
{
    const struct np_salvaged_files *files = &restore->files_left;
    const struct np_companions *companions = &restore->companions;
    uint64_t others = 0;
    others += !is_named(files, DOMAIN_XML);
    others += !files->off && !is_named(files, LIVE_XML);
    others += files->checkpointed && !is_named(files, CHECKPOINT_XML);
    if (missing(files) == 0)
        return NP_FILE_NOT_LOST;
    if (missing(files) > others)
        return NP_FILE_LOST;
    return names_nvram(companions->domain_xml) || names_nvram(companions->live_xml) ? NP_FILE_PERHAPS_LOST
                                                                                    : NP_FILE_NOT_LOST;
}

/* By the XML that a backup asks for its place. Of a guest that ran, the inactive one need not name what
 * libvirt chose. */
static enum np_file_fate nvram_by_xml(const struct np_restore *restore)
{
    const struct np_companions *companions = &restore->companions;
    const char *xml = restore->files_left.off ? companions->domain_xml : companions->live_xml;
    /* One that is named may have been left out, as one that could not be read. */
    return xml != NULL && !names_nvram(xml) ? NP_FILE_NOT_LOST : NP_FILE_PERHAPS_LOST;
}

enum np_file_fate np_salvage_nvram_fate(const struct np_restore *restore)
{
    const struct np_salvaged_files *files = &restore->files_left;
    if (restore->companions.nvram != NULL)
        return NP_FILE_NOT_LOST;
    if (is_named(files, NVRAM))
        return NP_FILE_LOST;
    return files->count_known ? nvram_by_number(restore) : nvram_by_xml(restore);
}
