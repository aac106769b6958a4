#include "disks.h"

#include "domain.h"
#include "nbdpull/bytes.h"
#include "nbdpull/file.h"
#include "virt_error.h"
#include "xml.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* ---- from the XML ---- */

static bool is(const char *has, const char *value)
{
    return has != NULL && strcmp(has, value) == 0;
}

/* Names the kinds of source whose writes QEMU's block layer does not see, or that libvirt refuses a job on.
 */
static const char *why_no_backup(xmlNodePtr node, const struct np_domain_disk *disk)
{
    if (is(disk->device, "cdrom"))
        return "a CD-ROM is not part of the guest's state";
    if (is(disk->device, "floppy"))
        return "a floppy is not part of the guest's state";
    if (is(disk->device, "lun"))
        return "a lun passes the guest's writes by QEMU's block layer, which cannot back it up";
    if (is(disk->source_type, "vhostuser"))
        return "a vhost-user disk is not under QEMU's block layer, libvirt refuses jobs on it";
    if (is(disk->source_type, "dir"))
        return "a disk made of a directory (vvfat) cannot be backed up";
    if (disk->source == NULL)
        return "the drive is empty";
    xmlNodePtr target = np_xml_child(node, "target");
    if (target != NULL && np_xml_attribute_is(target, "bus", "sd"))
        return "libvirt refuses block jobs on the bus 'sd'";
    if (np_xml_child(node, "transient") != NULL)
        return "the disk is transient, libvirt refuses jobs on it";
    return NULL;
}

static const char *why_no_bitmap(xmlNodePtr node, const struct np_domain_disk *disk)
{
    if (np_xml_child(node, "readonly") != NULL)
        return "the disk is read-only";
    if (disk->is_shareable)
        return "the disk is shareable: a bitmap does not see what others write";
    if (is(disk->format, "raw"))
        return "raw images cannot hold a dirty bitmap";
    if (!is(disk->format, "qcow2"))
        return "only qcow2 images can hold a dirty bitmap";
    return NULL;
}

/* Names what qemu-nbd would need to know besides path and format. */
static const char *why_only_running(xmlNodePtr node, const struct np_domain_disk *disk)
{
    xmlNodePtr source = np_xml_child(node, "source");
    if (is(disk->source_type, "network"))
        return "it is a network disk";
    if (is(disk->source_type, "volume"))
        return "it is named as a volume of a storage pool, not by its path";
    if (!is(disk->source_type, "file") && !is(disk->source_type, "block"))
        return "it is neither a file nor a block device";
    if (disk->source != NULL && disk->source[0] != '/')
        return "its path is not absolute";
    if (np_xml_child(node, "encryption") != NULL ||
        (source != NULL && np_xml_child(source, "encryption") != NULL))
        return "it is encrypted, and libvirt has the secret";
    if (source != NULL && np_xml_child(source, "slices") != NULL)
        return "it is a slice of its source";
    return NULL;
}

static void judge(xmlNodePtr node, struct np_domain_disk *disk)
{
    disk->is_shareable = np_xml_child(node, "shareable") != NULL;
    const char *why = why_no_backup(node, disk);
    disk->can_backup = why == NULL;
    if (why == NULL)
        why = why_no_bitmap(node, disk);
    disk->can_bitmap = why == NULL;
    snprintf(disk->why, sizeof(disk->why), "%s", why != NULL ? why : "");
    disk->why_running = why_only_running(node, disk);
}

static char *joined(const char *a, const char *between, const char *b)
{
    char *text;
    return asprintf(&text, "%s%s%s", a != NULL ? a : "", between, b != NULL ? b : "") < 0 ? NULL : text;
}

/* Path or device; "PROTOCOL:NAME" on the network, where the name may be missing; "POOL/VOLUME". */
static char *source_of(xmlNodePtr node, const char *type)
{
    xmlNodePtr source = np_xml_child(node, "source");
    if (source == NULL)
        return NULL;
    if (is(type, "block") || is(type, "vhostvdpa"))
        return np_xml_attribute(source, "dev");
    if (is(type, "dir"))
        return np_xml_attribute(source, "dir");
    bool network = is(type, "network"), volume = is(type, "volume"), nvme = is(type, "nvme");
    if (!network && !volume && !nvme)
        return np_xml_attribute(source, is(type, "vhostuser") ? "path" : "file");

    NP_AUTO_FREE char *where = np_xml_attribute(source, network ? "protocol" : volume ? "pool" : "type");
    NP_AUTO_FREE char *name = np_xml_attribute(source, network ? "name" : volume ? "volume" : "namespace");
    return where == NULL ? NULL : joined(where, volume ? "/" : ":", name);
}

static char *attribute_of_child(xmlNodePtr node, const char *child, const char *name)
{
    xmlNodePtr below = np_xml_child(node, child);
    return below == NULL ? NULL : np_xml_attribute(below, name);
}

static uint32_t block_size(xmlNodePtr node, const char *name)
{
    NP_AUTO_FREE char *text = attribute_of_child(node, "blockio", name);
    unsigned long bytes = text == NULL ? 0 : strtoul(text, NULL, 10);
    return bytes <= UINT32_MAX ? (uint32_t)bytes : 0;
}

static char *or_default(char *value, const char *other)
{
    return value != NULL ? value : strdup(other);
}

/*
 * <backingStore> with a source, and so on inwards; without one the chain ends there. A running domain has it
 * always, a definition only when somebody or a snapshot wrote it.
 */
static int read_backing(xmlNodePtr node, struct np_domain_disk *disk, struct np_error *err)
{
    xmlNodePtr below = np_xml_child(node, "backingStore");
    disk->backing = below == NULL ? NULL : strdup("");
    for (; below != NULL && np_xml_child(below, "source") != NULL;
         below = np_xml_child(below, "backingStore")) {
        NP_AUTO_FREE char *type = np_xml_attribute(below, "type");
        NP_AUTO_FREE char *path = source_of(below, type);
        NP_AUTO_FREE char *format = attribute_of_child(below, "format", "type");
        NP_AUTO_FREE char *before = disk->backing;
        disk->backing = NULL;
        if (before == NULL || asprintf(&disk->backing, "%s%s %s\n", before, format != NULL ? format : "raw",
                                       path != NULL ? path : "") < 0)
            disk->backing = NULL;
        if (disk->backing == NULL)
            return np_fail_errno(err, NP_FAILED, ENOMEM, "disk %s", disk->target);
        if (!is(type, "file") && !is(type, "block"))
            disk->why_running = "an image of its backing chain is neither a file nor a block device";
    }
    return 0;
}

static int read_disk(xmlNodePtr node, struct np_domain_disk *disk, struct np_error *err)
{
    NP_AUTO_FREE char *target = attribute_of_child(node, "target", "dev");
    if (target == NULL || target[0] == '\0' || strlen(target) >= sizeof(disk->target))
        return np_fail(err, NP_FAILED, "domain XML, line %ld: a disk without a proper target name",
                       xmlGetLineNo(node));
    memcpy(disk->target, target, strlen(target) + 1);
    disk->device = or_default(np_xml_attribute(node, "device"), "disk");
    disk->source_type = or_default(np_xml_attribute(node, "type"), "file");
    disk->format = or_default(attribute_of_child(node, "driver", "type"), "raw");
    if (disk->device == NULL || disk->source_type == NULL || disk->format == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "disk %s", disk->target);
    disk->source = source_of(node, disk->source_type);
    xmlNodePtr serial = np_xml_child(node, "serial");
    disk->serial = serial == NULL ? NULL : np_xml_text(serial);
    disk->logical_block = block_size(node, "logical_block_size");
    disk->physical_block = block_size(node, "physical_block_size");
    judge(node, disk);
    return read_backing(node, disk, err);
}

int np_disks_parse(const char *domain_xml, struct np_domain_disks *disks, struct np_error *err)
{
    *disks = (struct np_domain_disks){0};
    NP_XML_DOC xmlDocPtr doc = NULL;
    if (np_xml_parse(domain_xml, "domain XML", "domain", &doc, err) < 0)
        return -1;
    NP_XML_FOUND xmlXPathObjectPtr found = np_xml_find(doc, "/domain/devices/disk");
    if (found == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot read the domain XML");

    size_t count = np_xml_count(found);
    disks->list = calloc(count > 0 ? count : 1, sizeof(*disks->list));
    if (disks->list == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%zu disks", count);
    for (size_t i = 0; i < count; i++) {
        disks->count = i + 1; /* so that a half-read one is freed */
        if (read_disk(np_xml_at(found, i), &disks->list[i], err) < 0)
            return -1;
    }
    return 0;
}

void np_domain_disks_clear(struct np_domain_disks *disks)
{
    for (size_t i = 0; i < disks->count; i++) {
        struct np_domain_disk *disk = &disks->list[i];
        free(disk->device);
        free(disk->source_type);
        free(disk->source);
        free(disk->format);
        free(disk->serial);
        free(disk->backing);
    }
    free(disks->list);
    *disks = (struct np_domain_disks){0};
}

/* ---- from the image ---- */

/* The XML does not tell a qcow2 of version 2; begin would fail on it with the node's name, not the disk's. */
static void refuse_old_qcow2(struct np_domain_disk *disk, int fd)
{
    uint8_t header[8]; /* "QFI\xfb", then the version, big-endian */
    struct np_error ignored = NP_ERROR_INIT;
    if (np_file_read_at(fd, disk->source, header, sizeof(header), 0, &ignored) < 0)
        return;
    if (memcmp(header, "QFI\xfb\0\0\0\2", sizeof(header)) != 0)
        return;
    disk->can_bitmap = false;
    snprintf(disk->why, sizeof(disk->why),
             "qcow2 of version 2 cannot hold a dirty bitmap; `qemu-img amend -o compat=1.1` while the guest "
             "is off");
}

void np_disks_look_at_image(struct np_domain_disk *disk)
{
    if (disk->source == NULL || (!is(disk->source_type, "file") && !is(disk->source_type, "block")))
        return;
    struct stat st;
    if (stat(disk->source, &st) < 0)
        return;
    disk->image_dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
    disk->image_ino = st.st_ino;
    if (!disk->can_bitmap || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
        return;
    NP_AUTO_FD int fd = open(disk->source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
        refuse_old_qcow2(disk, fd);
}

/* ---- from libvirt ---- */

static uint64_t size_of(struct np_domain *domain, const struct np_domain_disk *disk)
{
    virDomainBlockInfo info;
    if (disk->source == NULL || virDomainGetBlockInfo(domain->ptr, disk->target, &info, 0) < 0)
        return 0;
    return info.capacity;
}

const struct np_domain_disk *np_domain_disk_of(const struct np_domain_disks *disks, const char *target)
{
    for (size_t i = 0; i < disks->count; i++)
        if (strcmp(disks->list[i].target, target) == 0)
            return &disks->list[i];
    return NULL;
}

static int list(struct np_domain *domain, struct np_domain_disks *disks, struct np_error *err)
{
    NP_AUTO_FREE char *xml = NULL;
    if (np_domain_xml(domain, true, &xml, err) < 0)
        return -1;
    return np_disks_parse(xml, disks, err) < 0 ? np_error_context(err, "domain %s", domain->name) : 0;
}

/*
 * A guest with a saved memory goes on with the disks that it had then, whatever its definition says by now.
 * Of the definition are the sizes that libvirt tells, and the disks that a checkpoint may have.
 */
static int compare_with_definition(struct np_domain *domain, struct np_domain_disks *disks,
                                   struct np_error *err)
{
    NP_CLEANUP(np_domain_disks_clear) struct np_domain_disks defined = {0};
    if (list(domain, &defined, err) < 0)
        return -1;
    for (size_t i = 0; i < disks->count; i++) {
        struct np_domain_disk *disk = &disks->list[i];
        const struct np_domain_disk *other = np_domain_disk_of(&defined, disk->target);
        if (other != NULL && is(other->source, disk->source != NULL ? disk->source : ""))
            disk->size = size_of(domain, disk);
        if (other != NULL || !disk->can_bitmap)
            continue;
        disk->can_bitmap = false;
        snprintf(disk->why, sizeof(disk->why), "the saved guest has it, and the domain's definition has not");
    }
    return 0;
}

static int saved_xml(struct np_domain *domain, char **xml, struct np_error *err)
{
    bool active, saved = false;
    if (np_domain_is_active(domain, &active, err) < 0 ||
        (!active && np_domain_is_saved(domain, &saved, err) < 0))
        return -1;
    return saved ? np_domain_saved_xml(domain, xml, err) : 0;
}

int np_domain_disks(struct np_domain *domain, struct np_domain_disks *disks, struct np_error *err)
{
    *disks = (struct np_domain_disks){0};
    NP_CLEANUP(np_domain_disks_clear) struct np_domain_disks found = {0};
    NP_AUTO_FREE char *saved = NULL;
    if (saved_xml(domain, &saved, err) < 0)
        return -1;
    if (saved == NULL && list(domain, &found, err) < 0)
        return -1;
    if (saved != NULL && np_disks_parse(saved, &found, err) < 0)
        return np_error_context(err, "saved memory of domain %s", domain->name);
    if (saved != NULL && compare_with_definition(domain, &found, err) < 0)
        return -1;
    for (size_t i = 0; i < found.count; i++) {
        if (saved == NULL)
            found.list[i].size = size_of(domain, &found.list[i]);
        np_disks_look_at_image(&found.list[i]);
    }
    *disks = found;
    found = (struct np_domain_disks){0};
    return 0;
}
