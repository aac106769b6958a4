#include "job_xml.h"

#include "xml.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- the spec ---- */

/* NULL when the disk is not backed up. */
static const struct np_job_disk *find_disk(const struct np_job_spec *spec, const char *target)
{
    for (size_t i = 0; i < spec->disk_count; i++) {
        if (strcmp(spec->disks[i].target, target) == 0)
            return &spec->disks[i];
    }
    return NULL;
}

static size_t times_among_all(const struct np_job_spec *spec, const char *target)
{
    size_t times = 0;
    for (size_t i = 0; i < spec->all->count; i++)
        times += strcmp(spec->all->list[i].target, target) == 0;
    return times;
}

static int check_disk(const struct np_job_spec *spec, const struct np_job_disk *disk, struct np_error *err)
{
    if (times_among_all(spec, disk->target) != 1 || find_disk(spec, disk->target) != disk)
        return np_fail(err, NP_FAILED, "backup job: disk %s is not exactly once among the domain's disks",
                       disk->target);
    if (disk->incremental != NULL && disk->bitmap == NULL)
        return np_fail(err, NP_FAILED, "backup job: disk %s is incremental without a bitmap to export",
                       disk->target);
    return 0;
}

static int check_spec(const struct np_job_spec *spec, struct np_error *err)
{
    if (spec->disk_count == 0)
        return np_fail(err, NP_FAILED, "backup job: no disk to back up");
    for (size_t i = 0; i < spec->disk_count; i++) {
        if (check_disk(spec, &spec->disks[i], err) < 0)
            return -1;
    }
    return 0;
}

static bool covers_a_disk(const struct np_job_spec *spec)
{
    for (size_t i = 0; i < spec->disk_count; i++) {
        if (spec->disks[i].checkpoint)
            return true;
    }
    return false;
}

/* ---- writing ---- */

static int cannot_write(struct np_error *err, const char *what)
{
    return np_fail(err, NP_FAILED,
                   "cannot write the XML of the %s: a path or name is not UTF-8, or no memory", what);
}

static bool add_backed_up(xmlNodePtr node, const struct np_job_disk *disk)
{
    if (!np_xml_set(node, "backup", "yes") || !np_xml_set(node, "type", "file") ||
        !np_xml_set(node, "exportname", disk->export_name))
        return false;
    bool full = disk->incremental == NULL;
    if (!np_xml_set(node, "backupmode", full ? "full" : "incremental"))
        return false;
    if (!full && (!np_xml_set(node, "incremental", disk->incremental) ||
                  !np_xml_set(node, "exportbitmap", disk->bitmap)))
        return false;
    xmlNodePtr driver = np_xml_add(node, "driver");
    xmlNodePtr scratch = np_xml_add(node, "scratch");
    return driver != NULL && scratch != NULL && np_xml_set(driver, "type", "qcow2") &&
           np_xml_set(scratch, "file", disk->scratch);
}

static bool add_backup_disks(xmlNodePtr root, const struct np_job_spec *spec)
{
    xmlNodePtr disks = np_xml_add(root, "disks");
    for (size_t i = 0; disks != NULL && i < spec->all->count; i++) {
        const char *target = spec->all->list[i].target;
        const struct np_job_disk *disk = find_disk(spec, target);
        xmlNodePtr node = np_xml_add(disks, "disk");
        if (node == NULL || !np_xml_set(node, "name", target))
            return false;
        if (disk != NULL ? !add_backed_up(node, disk) : !np_xml_set(node, "backup", "no"))
            return false;
    }
    return disks != NULL;
}

int np_job_xml_backup(const struct np_job_spec *spec, char **xml, struct np_error *err)
{
    if (check_spec(spec, err) < 0)
        return -1;
    NP_XML_DOC xmlDocPtr doc = np_xml_new("domainbackup");
    xmlNodePtr root = doc == NULL ? NULL : xmlDocGetRootElement(doc);
    xmlNodePtr server = root == NULL ? NULL : np_xml_add(root, "server");
    if (server == NULL || !np_xml_set(root, "mode", "pull") || !np_xml_set(server, "transport", "unix") ||
        !np_xml_set(server, "socket", spec->socket) || !add_backup_disks(root, spec))
        return cannot_write(err, "backup job");
    return np_xml_dump(doc, xml, err);
}

static bool add_checkpoint_disks(xmlNodePtr root, const struct np_job_spec *spec)
{
    xmlNodePtr disks = np_xml_add(root, "disks");
    for (size_t i = 0; disks != NULL && i < spec->all->count; i++) {
        const char *target = spec->all->list[i].target;
        const struct np_job_disk *disk = find_disk(spec, target);
        bool covered = disk != NULL && disk->checkpoint;
        xmlNodePtr node = np_xml_add(disks, "disk");
        if (node == NULL || !np_xml_set(node, "name", target) ||
            !np_xml_set(node, "checkpoint", covered ? "bitmap" : "no"))
            return false;
    }
    return disks != NULL;
}

int np_job_xml_checkpoint(const struct np_job_spec *spec, char **xml, struct np_error *err)
{
    if (check_spec(spec, err) < 0)
        return -1;
    if (!covers_a_disk(spec))
        return np_fail(err, NP_FAILED, "checkpoint %s: no disk of the job can hold a bitmap",
                       spec->checkpoint);
    NP_XML_DOC xmlDocPtr doc = np_xml_new("domaincheckpoint");
    xmlNodePtr root = doc == NULL ? NULL : xmlDocGetRootElement(doc);
    xmlNodePtr name = root == NULL ? NULL : np_xml_add(root, "name");
    if (name == NULL || !np_xml_set_text(name, spec->checkpoint) || !add_checkpoint_disks(root, spec))
        return cannot_write(err, "checkpoint");
    return np_xml_dump(doc, xml, err);
}

/* ---- reading back ---- */

static bool same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* @param wanted NULL: the attribute must be absent */
static int compare_attribute(xmlNodePtr node, const char *name, const char *wanted, const char *where,
                             struct np_error *err)
{
    NP_AUTO_FREE char *has = node == NULL ? NULL : np_xml_attribute(node, name);
    if (same(has, wanted))
        return 0;
    return np_fail(err, NP_FAILED,
                   "libvirt runs another backup job than was asked for: %s has %s '%s', not '%s'", where,
                   name, has != NULL ? has : "", wanted != NULL ? wanted : "");
}

static int compare_disk(xmlNodePtr node, const struct np_job_disk *disk, const char *target,
                        struct np_error *err)
{
    if (disk == NULL)
        return compare_attribute(node, "backup", "no", target, err);
    bool full = disk->incremental == NULL;
    if (compare_attribute(node, "backup", "yes", target, err) < 0 ||
        compare_attribute(node, "type", "file", target, err) < 0 ||
        compare_attribute(node, "backupmode", full ? "full" : "incremental", target, err) < 0 ||
        compare_attribute(node, "incremental", disk->incremental, target, err) < 0 ||
        compare_attribute(node, "exportname", disk->export_name, target, err) < 0 ||
        compare_attribute(node, "exportbitmap", full ? NULL : disk->bitmap, target, err) < 0)
        return -1;
    return compare_attribute(np_xml_child(node, "scratch"), "file", disk->scratch, target, err);
}

static size_t times_among_found(xmlXPathObjectPtr found, const char *target)
{
    size_t times = 0;
    for (size_t i = 0; i < np_xml_count(found); i++)
        times += np_xml_attribute_is(np_xml_at(found, i), "name", target);
    return times;
}

/* A disk that was asked for must be in the answer exactly once; one that was not may only be there with 'no'.
 */
static int compare_disks(xmlDocPtr doc, const struct np_job_spec *spec, struct np_error *err)
{
    NP_XML_FOUND xmlXPathObjectPtr found = np_xml_find(doc, "/domainbackup/disks/disk");
    if (found == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot read the backup job's XML");
    for (size_t i = 0; i < np_xml_count(found); i++) {
        xmlNodePtr node = np_xml_at(found, i);
        NP_AUTO_FREE char *target = np_xml_attribute(node, "name");
        const struct np_job_disk *disk = target == NULL ? NULL : find_disk(spec, target);
        if (compare_disk(node, disk, target != NULL ? target : "a disk without a name", err) < 0)
            return -1;
    }
    for (size_t i = 0; i < spec->disk_count; i++) {
        size_t times = times_among_found(found, spec->disks[i].target);
        if (times != 1)
            return np_fail(err, NP_FAILED,
                           "libvirt runs another backup job than was asked for: it has %s %zu times",
                           spec->disks[i].target, times);
    }
    return 0;
}

int np_job_xml_compare(const struct np_job_spec *spec, const char *xml, struct np_error *err)
{
    NP_XML_DOC xmlDocPtr doc = NULL;
    if (np_xml_parse(xml, "XML of the running backup job", "domainbackup", &doc, err) < 0)
        return -1;
    xmlNodePtr root = xmlDocGetRootElement(doc);
    xmlNodePtr server = np_xml_child(root, "server");
    if (compare_attribute(root, "mode", "pull", "the job", err) < 0 ||
        compare_attribute(server, "transport", "unix", "its server", err) < 0 ||
        compare_attribute(server, "socket", spec->socket, "its server", err) < 0)
        return -1;
    return compare_disks(doc, spec, err);
}

int np_job_xml_socket(const char *xml, char **socket, struct np_error *err)
{
    NP_XML_DOC xmlDocPtr doc = NULL;
    if (np_xml_parse(xml, "XML of the running backup job", "domainbackup", &doc, err) < 0)
        return -1;
    xmlNodePtr server = np_xml_child(xmlDocGetRootElement(doc), "server");
    NP_AUTO_FREE char *path = server == NULL ? NULL : np_xml_attribute(server, "socket");
    NP_AUTO_FREE char *host = server == NULL ? NULL : np_xml_attribute(server, "name");
    NP_AUTO_FREE char *port = server == NULL ? NULL : np_xml_attribute(server, "port");
    if (path == NULL && host != NULL && asprintf(&path, "%s:%s", host, port != NULL ? port : "10809") < 0)
        path = NULL;
    *socket = path != NULL ? NP_STEAL(path) : strdup("");
    if (*socket == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot read the backup job's XML");
    return 0;
}

int np_job_xml_scratch_node(const char *xml, const char *socket, const char *target, char **node,
                            struct np_error *err)
{
    *node = NULL;
    NP_XML_DOC xmlDocPtr doc = NULL;
    if (np_xml_parse(xml, "XML of the running backup job", "domainbackup", &doc, err) < 0)
        return -1;
    xmlNodePtr server = np_xml_child(xmlDocGetRootElement(doc), "server");
    NP_XML_FOUND xmlXPathObjectPtr found = np_xml_find(doc, "/domainbackup/disks/disk[@backup='yes']");
    if (server == NULL || !np_xml_attribute_is(server, "socket", socket))
        return 0;
    for (size_t i = 0; found != NULL && i < np_xml_count(found); i++) {
        xmlNodePtr disk = np_xml_at(found, i);
        if (!np_xml_attribute_is(disk, "name", target))
            continue;
        NP_AUTO_FREE char *index = np_xml_attribute(disk, "index");
        if (index == NULL)
            return np_fail(err, NP_FAILED, "disk %s: this libvirt does not say how to watch its scratch file",
                           target);
        if (asprintf(node, "%s[%s]", target, index) < 0)
            *node = NULL;
        return 0;
    }
    return 0;
}
