#include "nbdpull/virt.h"

#include "nbdpull/bytes.h"
#include "nbdpull/log.h"
#include "xml.h"

#include <errno.h>
#include <string.h>

/*
 * A restored guest beside its original: it must be possible to define it, and it must share no file, socket
 * or host device with the original. Where the XML cannot tell whether something is shared, it goes: the XML
 * as it was saved stands beside this one for those who want it back.
 *
 * Kept on purpose: what is only read (loader, NVRAM template, kernel, initrd, fw_cfg files, ACPI tables),
 * networks and bridges, and random sources.
 */

/* ---- what goes silently: identities, states of the running guest, leftovers of snapshots ---- */

static const char *const traces[] = {
    "/domain/@id",
    "/domain/uuid",
    "/domain/sysinfo/system/entry[@name='uuid']",           /* must equal the UUID */
    "/domain/sysinfo/system[not(*)]",                       /* which must not be empty */
    "/domain/seclabel[@type='dynamic' and not(baselabel)]", /* what libvirt does without being told */
    "/domain/devices/*/alias[not(starts-with(@name, 'ua-'))]",
    "/domain/devices/interface/mac",
    "/domain/devices/interface/target",
    "/domain/devices/interface/source/@portid",
    "/domain/devices/interface/virtualport/parameters/@interfaceid",
    "/domain/devices/interface/virtualport/parameters/@instanceid",
    "/domain/devices/interface/backend/@logFile",
    /* Where such a device stays what it is, libvirt takes no path for it; but others may. */
    "/domain/devices/*[self::serial or self::parallel or self::console or self::channel]/source/@path",
    "/domain/devices/*[self::redirdev or self::smartcard]/source/@path",
    "/domain/devices/*/log", /* of serial ports and channels: a file */
    "/domain/devices/console/@tty",
    "/domain/devices/vsock/cid/@address",
    "/domain/devices/graphics/@port",
    "/domain/devices/graphics/@tlsPort",
    "/domain/devices/graphics/@websocket",
    "/domain/devices/graphics/@socket",
    "/domain/devices/graphics/@address",
    "/domain/devices/graphics/listen/@socket",
    "/domain/os/varstore/@path",
    /* Never written by libvirt, which reads the first it finds: what we change must be that one. */
    "/domain/os[position() > 1]",
    "/domain/os/nvram[position() > 1]",
};

/* ---- what goes with a word to the user: devices that cannot be there twice ---- */

static const struct {
    const char *expression, *what;
} shared[] = {
    {"/domain/devices/filesystem", "a directory of the host that is shared with the guest"},
    {"/domain/devices/hostdev", "a device of the host"},
    {"/domain/devices/interface[@type='hostdev' or @type='vhostuser' or @type='vdpa']",
     "a network interface on a device or socket of the host"},
    {"/domain/devices/interface/*[self::script or self::downscript]",
     "a script that the host runs for a network interface"},
    {"/domain/devices/shmem", "shared memory"},
    {"/domain/devices/lease", "a lease"},
    {"/domain/devices/memory[source/path]", "memory that lies in a file"},
    {"/domain/devices/pstore", "a pstore file"},
    {"/domain/devices/tpm[backend/@type='passthrough' or backend/@type='external' or backend/source]",
     "a TPM with a device, socket or state of its own"},
    {"/domain/devices/input[source]", "an input device of the host"},
    {"/domain/devices/smartcard[@mode='host' or @type != 'spicevmc']", "a smart card of the host"},
    {"/domain/devices/redirdev[@type != 'spicevmc']", "a redirected USB device"},
    {"/domain/devices/rng[backend/@model='egd']", "a random source at a socket of the host"},
    {"/domain/devices/channel[target/@type='guestfwd']", "a guestfwd channel"},
    {"/domain/devices/crypto[backend/source]", "a crypto device of the host"},
    {"/domain/*[local-name()='commandline' or local-name()='override']", "additional arguments of QEMU"},
    {"/domain/*[namespace-uri() != '' and not(local-name()='capabilities' or local-name()='deprecation')]",
     "an element that is none of libvirt's"},
};

static bool is_foreign(const xmlNs *ns)
{
    return ns != NULL && ns->href != NULL && ns->href[0] != '\0';
}

static void drop_foreign_attributes(xmlNodePtr node)
{
    for (xmlAttrPtr at = node->properties, next; at != NULL; at = next) {
        next = at->next;
        if (is_foreign(at->ns))
            xmlRemoveProp(at);
    }
}

/* As deep as the parser takes elements. */
static void drop_foreign_below(xmlNodePtr node)
{
    drop_foreign_attributes(node);
    for (xmlNodePtr child = node->children, next; child != NULL; child = next) {
        next = child->next;
        if (child->type != XML_ELEMENT_NODE)
            continue;
        if (is_foreign(child->ns) && !is_foreign(node->ns))
            np_xml_remove(child);
        else
            drop_foreign_below(child);
    }
}

/*
 * libvirt writes no foreign names outside of <metadata>, but takes such an attribute, and in some versions
 * such an element, for its own: it would be what all expressions look for and do not find. Those right below
 * the root go with a word.
 */
static void drop_foreign(xmlNodePtr root)
{
    drop_foreign_attributes(root);
    for (xmlNodePtr child = root->children; child != NULL; child = child->next) {
        bool metadata = !is_foreign(child->ns) && xmlStrEqual(child->name, (const xmlChar *)"metadata");
        if (child->type == XML_ELEMENT_NODE && !metadata)
            drop_foreign_below(child);
    }
}

static int drop_shared(xmlDocPtr doc, struct np_error *err)
{
    for (size_t i = 0; i < NP_ARRAY_SIZE(shared); i++) {
        NP_XML_FOUND xmlXPathObjectPtr found = np_xml_find(doc, shared[i].expression);
        if (found == NULL)
            return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot change XML");
        if (np_xml_count(found) > 0)
            np_log_info("the restored domain XML leaves out %zu x %s", np_xml_count(found), shared[i].what);
        if (np_xml_remove_all(doc, shared[i].expression, err) < 0)
            return -1;
    }
    return 0;
}

static int drop_traces(xmlDocPtr doc, struct np_error *err)
{
    for (size_t i = 0; i < NP_ARRAY_SIZE(traces); i++) {
        if (np_xml_remove_all(doc, traces[i], err) < 0)
            return -1;
    }
    return 0;
}

/* ---- what stays, detached from the host ---- */

static int no_memory(struct np_error *err)
{
    return np_fail(err, NP_FAILED, "cannot change the domain XML: a path or name is not UTF-8, or no memory");
}

static bool remove_children(xmlNodePtr node, const char *name)
{
    for (xmlNodePtr child; (child = np_xml_child(node, name)) != NULL;)
        np_xml_remove(child);
    return true;
}

static bool is_one_of(xmlNodePtr node, const char *attribute, const char *const values[])
{
    for (size_t i = 0; values[i] != NULL; i++) {
        if (np_xml_attribute_is(node, attribute, values[i]))
            return true;
    }
    return false;
}

/* Where a serial port, console or channel leads to: kinds with nothing of the host behind them stay as they
 * are. */
static bool detach_character_device(xmlNodePtr node)
{
    static const char *const harmless[] = {"null",      "vc",           "stdio", "spicevmc",
                                           "spiceport", "qemu-vdagent", "dbus",  NULL};
    if (is_one_of(node, "type", harmless))
        return true;
    xmlNodePtr target = np_xml_child(node, "target");
    bool virtio = strcmp((const char *)node->name, "channel") == 0 && target != NULL &&
                  np_xml_attribute_is(target, "type", "virtio");
    bool own_socket = virtio && np_xml_attribute_is(node, "type", "unix");
    remove_children(node, "source");
    remove_children(node, "protocol");
    if (!own_socket)
        return np_xml_set(node, "type", "pty");
    xmlNodePtr source = np_xml_add(node, "source"); /* without a path libvirt takes one of the new guest's */
    return source != NULL && np_xml_set(source, "mode", "bind");
}

static bool automatic_port(xmlNodePtr node)
{
    static const char *const with_ports[] = {"vnc", "spice", "rdp", NULL};
    return !is_one_of(node, "type", with_ports) || np_xml_set(node, "autoport", "yes");
}

static bool automatic_cid(xmlNodePtr node)
{
    return np_xml_set(node, "auto", "yes");
}

/* Two guests with one generation id would both believe that nothing had happened; empty: libvirt makes a new
 * one. */
static bool empty_text(xmlNodePtr node)
{
    return np_xml_set_text(node, "");
}

static bool silent_audio(xmlNodePtr node)
{
    xmlUnsetProp(node, (const xmlChar *)"path");
    return np_xml_set(node, "type", "none");
}

/* A loader that the guest may write would be written by both. */
static bool read_only_loader(xmlNodePtr node)
{
    return np_xml_set(node, "readonly", "yes");
}

static int change_each(xmlDocPtr doc, const char *expression, bool (*change)(xmlNodePtr),
                       struct np_error *err)
{
    NP_XML_FOUND xmlXPathObjectPtr found = np_xml_find(doc, expression);
    if (found == NULL)
        return no_memory(err);
    for (size_t i = 0; i < np_xml_count(found); i++) {
        if (!change(np_xml_at(found, i)))
            return no_memory(err);
    }
    return 0;
}

static int detach(xmlDocPtr doc, struct np_error *err)
{
    if (change_each(doc,
                    "/domain/devices/*[self::serial or self::parallel or self::console or self::channel]",
                    detach_character_device, err) < 0 ||
        change_each(doc, "/domain/devices/graphics", automatic_port, err) < 0 ||
        change_each(doc, "/domain/devices/vsock/cid", automatic_cid, err) < 0 ||
        change_each(doc, "/domain/devices/audio[@type='file']", silent_audio, err) < 0 ||
        change_each(doc, "/domain/os/loader[@readonly='no']", read_only_loader, err) < 0)
        return -1;
    return change_each(doc, "/domain/genid", empty_text, err);
}

/* ---- disks ---- */

static const struct np_xml_disk *find_disk(const struct np_xml_disk *disks, size_t count, const char *target)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(disks[i].target, target) == 0)
            return &disks[i];
    }
    return NULL;
}

/* Children and attributes that spoke of the old image, its chain, or how it was reached. */
static void forget_source(xmlNodePtr node)
{
    static const char *const children[] = {
        "source", "backingStore", "mirror",    "auth",        "encryption",
        "state",  "transient",    "shareable", "privateData", "diskSecretsPlacement"};
    static const char *const attributes[] = {"snapshot", "rawio", "sgio"};
    for (size_t i = 0; i < NP_ARRAY_SIZE(children); i++)
        remove_children(node, children[i]);
    for (size_t i = 0; i < NP_ARRAY_SIZE(attributes); i++)
        xmlUnsetProp(node, (const xmlChar *)attributes[i]);
}

/* The driver keeps how the guest's requests are served (cache, discard, queues), not what the old image
 * needed. */
static bool set_driver(xmlNodePtr node, const char *format)
{
    xmlNodePtr driver = np_xml_child(node, "driver");
    if (driver == NULL) {
        driver = np_xml_add(node, "driver");
        if (driver == NULL || !np_xml_set(driver, "name", "qemu"))
            return false;
    }
    remove_children(driver, "metadata_cache");
    xmlUnsetProp(driver, (const xmlChar *)"copy_on_read");
    xmlUnsetProp(driver, (const xmlChar *)"discard_no_unref");
    return np_xml_set(driver, "type", format);
}

static bool place_disk(xmlNodePtr node, const struct np_xml_disk *disk)
{
    forget_source(node);
    if (np_xml_attribute_is(node, "device", "lun") && !np_xml_set(node, "device", "disk"))
        return false;
    if (!np_xml_set(node, "type", "file") || !set_driver(node, disk->format))
        return false;
    xmlNodePtr source = np_xml_add(node, "source");
    return source != NULL && np_xml_set(source, "file", disk->path);
}

/* A drive for media stays, without a medium. */
static bool empty_drive(xmlNodePtr node)
{
    forget_source(node);
    return np_xml_set(node, "type", "file") && set_driver(node, "raw");
}

/* @param placed counts up when the disk is one of ours */
static int relocate_disk(xmlNodePtr node, const struct np_xml_disk *disks, size_t count, size_t *placed,
                         struct np_error *err)
{
    static const char *const drives[] = {"cdrom", "floppy", NULL};
    xmlNodePtr target = np_xml_child(node, "target");
    NP_AUTO_FREE char *name = target == NULL ? NULL : np_xml_attribute(target, "dev");
    const struct np_xml_disk *disk = name == NULL ? NULL : find_disk(disks, count, name);
    if (disk != NULL) {
        *placed += 1;
        return place_disk(node, disk) ? 0 : no_memory(err);
    }
    if (is_one_of(node, "device", drives))
        return empty_drive(node) ? 0 : no_memory(err);
    np_log_info("the restored domain XML leaves out disk %s, which was not restored",
                name != NULL ? name : "?");
    np_xml_remove(node);
    return 0;
}

static int relocate_disks(xmlDocPtr doc, const struct np_xml_disk *disks, size_t count, struct np_error *err)
{
    NP_XML_FOUND xmlXPathObjectPtr found = np_xml_find(doc, "/domain/devices/disk");
    if (found == NULL)
        return no_memory(err);
    size_t placed = 0, total = np_xml_count(found);
    for (size_t i = 0; i < total; i++) {
        xmlNodePtr node = np_xml_at(found, i);
        found->nodesetval->nodeTab[i] = NULL; /* it may be freed, and freeing the set looks at each node */
        if (relocate_disk(node, disks, count, &placed, err) < 0)
            return -1;
    }
    if (placed != count)
        return np_fail(err, NP_FAILED, "domain XML: it has %zu of the %zu disks that were restored", placed,
                       count);
    return 0;
}

/* ---- name and NVRAM ---- */

static int set_name(xmlNodePtr root, const char *name, struct np_error *err)
{
    xmlNodePtr node = np_xml_child(root, "name");
    if (node == NULL)
        node = np_xml_add(root, "name");
    return node != NULL && np_xml_set_text(node, name) ? 0 : no_memory(err);
}

/* The template stays, it is only read: without a file of ours libvirt makes one from it under the new name.
 */
static int forget_nvram(xmlNodePtr node, struct np_error *err)
{
    NP_AUTO_FREE char *template = np_xml_attribute(node, "template");
    if (template != NULL)
        return np_xml_set_text(node, "") ? 0 : no_memory(err);
    np_xml_remove(node);
    return 0;
}

static int set_nvram(xmlNodePtr root, const char *path, struct np_error *err)
{
    xmlNodePtr os = np_xml_child(root, "os");
    xmlNodePtr node = os == NULL ? NULL : np_xml_child(os, "nvram");
    if (node != NULL)
        xmlUnsetProp(node, (const xmlChar *)"type"); /* of a source, where a path follows */
    if (path == NULL)
        return node == NULL ? 0 : forget_nvram(node, err);
    if (node == NULL && os != NULL)
        node = np_xml_add(os, "nvram");
    if (node == NULL)
        return np_fail(err, NP_FAILED, "domain XML: no <os> to name the NVRAM file in");
    return np_xml_set_text(node, path) ? 0 : no_memory(err);
}

int np_xml_relocate(const char *domain_xml, const char *name, const struct np_xml_disk *disks, size_t count,
                    const char *nvram, char **xml, struct np_error *err)
{
    NP_XML_DOC xmlDocPtr doc = NULL;
    if (np_xml_parse(domain_xml, "domain XML", "domain", &doc, err) < 0)
        return -1;
    xmlNodePtr root = xmlDocGetRootElement(doc);
    drop_foreign(root);
    if (set_name(root, name, err) < 0 || drop_traces(doc, err) < 0 || set_nvram(root, nvram, err) < 0 ||
        drop_shared(doc, err) < 0 || detach(doc, err) < 0 || relocate_disks(doc, disks, count, err) < 0)
        return -1;
    return np_xml_dump(doc, xml, err);
}
