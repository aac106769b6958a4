/*
 * XML from outside. The first byte says which: a domain's disks, a domain that is restored, a backup job, a
 * checkpoint.
 *
 * A restored domain must lead to no file but those that were restored: that is looked up in what comes out,
 * by another way than the one that makes it.
 */
#include "fuzz.h"

#include "virt/checkpoint_xml.h"
#include "virt/disks.h"
#include "virt/job_xml.h"

enum what { DISKS, RELOCATE, JOB, CHECKPOINT };

static void cleanup_names(struct np_names *names)
{
    np_names_clear(names);
}

/* ---- disks ---- */

static void read_disks(const char *xml)
{
    NP_CLEANUP(np_domain_disks_clear) struct np_domain_disks disks = {0};
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE char *nvram = NULL;
    if (np_disks_parse(xml, &disks, &err) < 0) {
        refused(&err);
        return;
    }
    for (size_t i = 0; i < disks.count; i++) {
        const struct np_domain_disk *disk = &disks.list[i];
        MUST(disk->target[0] != '\0' && memchr(disk->target, '\0', sizeof(disk->target)) != NULL);
        MUST(disk->device != NULL && disk->source_type != NULL && disk->format != NULL);
        MUST(!disk->can_bitmap || (disk->can_backup && strcmp(disk->format, "qcow2") == 0));
        MUST((disk->can_backup && disk->can_bitmap) == (disk->why[0] == '\0'));
        MUST(!disk->can_backup || disk->source != NULL);
        MUST(disk->why_running != NULL || disk->source == NULL || disk->source[0] == '/');
    }
    MUST_WORK(np_xml_nvram(xml, &nvram, &err));
    MUST(nvram == NULL || nvram[0] == '/');
}

/* ---- a domain that is restored ---- */

static const struct np_xml_disk restored[] = {{"vda", "/restored/vda.qcow2", "qcow2"},
                                              {"vdb", "/restored/vdb.raw", "raw"}};
static const char new_nvram[] = "/restored/nvram.fd";

static bool has_any(xmlDocPtr doc, const char *expression)
{
    NP_XML_FOUND xmlXPathObjectPtr found = np_xml_find(doc, expression);
    MUST(found != NULL);
    return np_xml_count(found) > 0;
}

static bool is_restored(const char *path)
{
    for (size_t i = 0; i < NP_ARRAY_SIZE(restored); i++) {
        if (strcmp(path, restored[i].path) == 0)
            return true;
    }
    return false;
}

static void check_restored_disk(xmlNodePtr disk)
{
    size_t sources = 0;
    for (xmlNodePtr child = disk->children; child != NULL; child = child->next) {
        if (child->type != XML_ELEMENT_NODE)
            continue;
        MUST(strcmp((const char *)child->name, "backingStore") != 0);
        MUST(strcmp((const char *)child->name, "mirror") != 0);
        if (strcmp((const char *)child->name, "source") != 0)
            continue;
        NP_AUTO_FREE char *file = np_xml_attribute(child, "file");
        MUST(file != NULL && is_restored(file) && child->children == NULL);
        sources++;
    }
    bool drive =
        np_xml_attribute_is(disk, "device", "cdrom") || np_xml_attribute_is(disk, "device", "floppy");
    MUST(sources == 1 || (drive && sources == 0));
    MUST(np_xml_attribute_is(disk, "type", "file"));
}

static void check_restored(const char *xml)
{
    static const char *const never[] = {
        "/domain/uuid",
        "/domain/devices/*[local-name()='hostdev' or local-name()='filesystem' or local-name()='shmem']",
        "/domain/devices/*[local-name()='lease' or local-name()='pstore']",
        "/domain/devices/interface[@type='hostdev' or @type='vhostuser' or @type='vdpa']",
        "/domain/devices/interface/mac",
        "/domain/devices/interface/script",
        "/domain/devices/*[self::serial or self::parallel or self::console or self::channel]/source/@path",
        "/domain/devices/*[self::redirdev or self::smartcard]/source/@path",
        "/domain/devices/*[self::serial or self::parallel or self::console or self::channel]/log",
        "/domain/devices/graphics/@socket",
        "/domain/devices/graphics/listen/@socket",
        "/domain/devices/memory/source/path",
        "/domain/os/nvram[2]",
        "/domain/os/loader[@readonly='no']",
        "/domain/*[local-name()='commandline']",
        "/domain/*[not(self::metadata)]/descendant-or-self::*/@*[namespace-uri() != '']",
        "/domain/*[not(self::metadata)]//*[namespace-uri() != '' and namespace-uri(..) = '']",
    };
    struct np_error err = NP_ERROR_INIT;
    NP_XML_DOC xmlDocPtr doc = NULL;
    MUST_WORK(np_xml_parse(xml, "domain XML", "domain", &doc, &err));
    for (size_t i = 0; i < NP_ARRAY_SIZE(never); i++) {
        if (has_any(doc, never[i]))
            broken(__FILE__, __LINE__, never[i], NULL);
    }
    NP_XML_FOUND xmlXPathObjectPtr disks = np_xml_find(doc, "/domain/devices/disk");
    MUST(disks != NULL);
    for (size_t i = 0; i < np_xml_count(disks); i++)
        check_restored_disk(np_xml_at(disks, i));
    NP_AUTO_FREE char *nvram = NULL;
    MUST_WORK(np_xml_nvram(xml, &nvram, &err));
    MUST(nvram == NULL || strcmp(nvram, new_nvram) == 0);
}

static void relocate(const char *xml, size_t count, const char *nvram)
{
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE char *once = NULL;
    NP_AUTO_FREE char *twice = NULL;
    if (np_xml_relocate(xml, "new-guest", restored, count, nvram, &once, &err) < 0) {
        refused(&err);
        return;
    }
    check_restored(once);
    MUST_WORK(np_xml_relocate(once, "new-guest", restored, count, nvram, &twice, &err));
    MUST(strcmp(once, twice) == 0);
    NP_AUTO_FREE char *displays = NULL;
    MUST_WORK(np_graphics_open(once, &displays, &err));
    MUST(displays == NULL || strlen(displays) < 800);
}

/* ---- jobs ---- */

static void read_job(const char *xml)
{
    static struct np_domain_disk list[] = {{.target = "vda"}, {.target = "vdb"}, {.target = "vdc"}};
    static const struct np_domain_disks all = {list, NP_ARRAY_SIZE(list)};
    static const struct np_job_disk disks[] = {
        {.target = "vda", .scratch = "/s/vda", .export_name = "vda", .checkpoint = true},
        {.target = "vdb", .scratch = "/s/vdb", .export_name = "vdb", .incremental = "c1", .bitmap = "b"}};
    static const struct np_job_spec spec = {
        .socket = "/s/socket", .checkpoint = "c2", .disks = disks, .disk_count = 2, .all = &all};
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE char *socket = NULL;
    NP_AUTO_FREE char *node = NULL;
    NP_AUTO_FREE char *own = NULL;
    MUST_WORK(np_job_xml_backup(&spec, &own, &err));
    MUST_WORK(np_job_xml_compare(&spec, own, &err));
    bool readable = np_job_xml_socket(xml, &socket, &err) == 0;
    MUST(readable ? socket != NULL : refused(&err) == 0);
    err = (struct np_error)NP_ERROR_INIT;
    if (np_job_xml_compare(&spec, xml, &err) == 0)
        MUST(readable && strcmp(socket, spec.socket) == 0);
    else
        refused(&err);
    err = (struct np_error)NP_ERROR_INIT;
    if (np_job_xml_scratch_node(xml, "/s/socket", "vda", &node, &err) < 0)
        refused(&err);
    else
        MUST(node == NULL || (readable && strncmp(node, "vda[", 4) == 0));
}

/* ---- checkpoints ---- */

static void read_checkpoint(const char *xml)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_checkpoint_state state = {0};
    NP_CLEANUP(cleanup_names) struct np_names targets = {0};
    NP_XML_DOC xmlDocPtr doc = NULL;
    NP_AUTO_FREE char *again = NULL;
    bool readable = np_checkpoint_xml_size(xml, "vda", &state, &err) == 0;
    MUST(readable || (refused(&err) == 0 && !state.usable));
    err = (struct np_error)NP_ERROR_INIT;
    MUST((np_checkpoint_xml_targets(xml, &targets, &err) == 0) == readable);
    err = (struct np_error)NP_ERROR_INIT;
    if (np_checkpoint_xml_saved(xml, "nbdpull-1", &doc, &err) < 0) {
        refused(&err);
        return;
    }
    MUST(readable);
    MUST(!has_any(
        doc, "/domaincheckpoint/parent | /domaincheckpoint/domain | /domaincheckpoint/disks/disk/@size | "
             "/domaincheckpoint/disks/disk/@bitmap"));
    MUST_WORK(np_xml_dump(doc, &again, &err));
    NP_CLEANUP(cleanup_names) struct np_names kept = {0};
    MUST_WORK(np_checkpoint_xml_targets(again, &kept, &err));
    MUST(kept.count == targets.count);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    BOUNDED_TIME;
    if (size < 1)
        return 0;
    NP_AUTO_FREE char *xml = text_of(input + 1, size - 1);
    switch (input[0] % 4) {
    case DISKS:
        read_disks(xml);
        break;
    case RELOCATE:
        relocate(xml, input[0] >> 2 & 1 ? 2 : 1, input[0] >> 3 & 1 ? new_nvram : NULL);
        break;
    case JOB:
        read_job(xml);
        break;
    case CHECKPOINT:
        read_checkpoint(xml);
        break;
    }
    return 0;
}
