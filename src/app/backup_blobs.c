#include "backup_parts.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/log.h"

#include <fcntl.h>
#include <string.h>

#define NVRAM_LIMIT (16u << 20)

static void add(struct np_run *run, const char *name, char *bytes, size_t size)
{
    run->blobs[run->blob_count++] = (struct np_blob){.name = name, .bytes = bytes, .size = size};
}

static int add_domain_xml(struct np_run *run, const char *name, bool live, struct np_error *err)
{
    char *xml;
    if (np_domain_xml(run->domain, live, &xml, err) < 0)
        return -1;
    add(run, name, xml, strlen(xml));
    return 0;
}

static int add_checkpoint_xml(struct np_run *run, struct np_error *err)
{
    char *xml;
    if (run->result->checkpoint[0] == '\0')
        return 0;
    if (np_checkpoint_xml(run->domain, run->result->checkpoint, &xml, err) < 0)
        return -1;
    add(run, "checkpoint.xml", xml, strlen(xml));
    return 0;
}

/* The name that libvirt gives to a domain's NVRAM. A set, which may be anybody's work, leads to no other
 * file. */
static bool is_nvram_of(const char *path, const char *domain)
{
    const char *name = strrchr(path, '/') + 1;
    size_t length = strlen(domain);
    return strncmp(name, domain, length) == 0 && strncmp(name + length, "_VARS.", strlen("_VARS.")) == 0;
}

/* Where the newest point that saw the guest run had it. *path stays NULL where none knows. */
static void recall_nvram(struct np_run *run, char **path)
{
    for (size_t i = run->points.count; i > 0; i--) {
        struct np_error ignored = NP_ERROR_INIT;
        NP_AUTO_FREE char *xml = NULL;
        NP_AUTO_FREE char *then = NULL;
        size_t size;
        if (np_set_config_read(run->set, run->points.list[i - 1].id, "domain-live.xml", &xml, &size,
                               &ignored) < 0 ||
            xml == NULL)
            continue;
        if (np_xml_nvram(xml, &then, &ignored) == 0 && then != NULL &&
            is_nvram_of(then, np_domain_name(run->domain)))
            *path = NP_STEAL(then);
        return;
    }
}

/* libvirt may choose its place when a guest starts, and say so only as long as it runs. */
static int find_nvram(struct np_run *run, const char *xml, bool off, char **path, struct np_error *err)
{
    bool has_flash = false;
    if (np_xml_nvram(xml, path, err) < 0 ||
        (*path == NULL && off && np_xml_has_flash(xml, &has_flash, err) < 0))
        return -1;
    if (!has_flash)
        return 0;
    recall_nvram(run, path);
    if (*path == NULL)
        np_log_warning(
            "the NVRAM is not in this backup: libvirt says where it lies only while the guest runs, "
            "and no earlier point of the set knows");
    return 0;
}

/* The disks are what counts: NVRAM that cannot be read is a warning. */
static int add_nvram(struct np_run *run, const char *xml, bool off, struct np_error *err)
{
    NP_AUTO_FREE char *path = NULL;
    if (find_nvram(run, xml, off, &path, err) < 0)
        return -1;
    if (path == NULL)
        return 0;

    struct np_error why = NP_ERROR_INIT;
    char *bytes;
    size_t size;
    if (np_file_read_whole(AT_FDCWD, path, path, NVRAM_LIMIT, &bytes, &size, &why) < 0)
        np_log_warning("the NVRAM is not in this backup: %s", why.message);
    else
        add(run, "nvram", bytes, size);
    return 0;
}

int np_run_collect_blobs(struct np_run *run, struct np_error *err)
{
    bool off = run->result->guest[0] != '\0'; /* then there is no live XML */
    if (add_domain_xml(run, "domain.xml", false, err) < 0 ||
        (!off && add_domain_xml(run, "domain-live.xml", true, err) < 0))
        return -1;
    const char *newest = run->blobs[run->blob_count - 1].bytes;
    return add_checkpoint_xml(run, err) < 0 ? -1 : add_nvram(run, newest, off, err);
}

void np_run_free_blobs(struct np_run *run)
{
    for (size_t i = 0; i < run->blob_count; i++)
        free(run->blobs[i].bytes);
    run->blob_count = 0;
}
