#include "test.h"

#include "../../src/virt/checkpoint_xml.h"
#include "../../src/virt/disks.h"
#include "../../src/virt/job_xml.h"
#include "../../src/virt/virt_error.h"
#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/virt.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

/* ---- URIs ---- */

static void test_connection__remote_uris_are_refused_before_opening(void **state)
{
    (void)state;
    static const char *const remote[] = {
        "qemu+ssh://host.invalid/system", "qemu+unix:///system", "qemu://host.invalid/system",
        "qemu+tcp://10.0.0.1/system",     "qemu://[::1]/system", "qemu+libssh2://user@host.invalid/system",
        "test+ssh://host.invalid/default"};
    for (size_t i = 0; i < NP_ARRAY_SIZE(remote); i++) {
        struct np_error err = NP_ERROR_INIT;
        struct np_virt *virt = NULL;
        fails(NP_FAILED, np_virt_open(remote[i], NULL, &virt, &err));
        assert_null(virt);
        assert_true(has(err.message, "remote URI"));
        assert_true(has(err.message, remote[i]));
    }
}

/* A message goes to logs and mails. And where no other host is named, it would be in each message to come. */
static void test_connection__a_password_is_not_said(void **state)
{
    (void)state;
    static const struct {
        const char *uri, *said;
    } cases[] = {
        {"qemu+ssh://user:hidden@host.invalid/system", "qemu+ssh://user:***@host.invalid/system is a remote"},
        {"qemu://user:hid:den@[::1]:16514/system", "qemu://user:***@[::1]:16514/system is a remote"},
        {"qemu://user:hidden@/system", "qemu://user:***@/system is a remote"},
        {"qemu+ssh://user:hid den@host.invalid/system", "'qemu+ssh://user:***@host.invalid/system' is not"},
        {"qemu+ssh://user:hi/dd@en@host.invalid/system", "qemu+ssh://user:***@host.invalid/system"},
        {"qemu+ssh://user:hidden@host.invalid/%zz", "'qemu+ssh://user:***@host.invalid/%zz' is not"},
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(cases); i++) {
        struct np_error err = NP_ERROR_INIT;
        struct np_virt *virt = NULL;
        fails(NP_FAILED, np_virt_open(cases[i].uri, NULL, &virt, &err));
        if (!has(err.message, cases[i].said) || has(err.message, "hid") || has(err.message, "den@"))
            fail_msg("of %s it says: %s", cases[i].uri, err.message);
    }
}

static void test_connection__remote_default_is_refused_too(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_virt *virt = NULL;
    setenv("LIBVIRT_DEFAULT_URI", "qemu+ssh://host.invalid/system", 1);
    fails(NP_FAILED, np_virt_open(NULL, NULL, &virt, &err));
    unsetenv("LIBVIRT_DEFAULT_URI");
    assert_true(has(err.message, "remote URI"));
}

static void test_connection__aliases_and_nonsense_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"hail", "/system", "qemu:///%zz", "::::"};
    for (size_t i = 0; i < NP_ARRAY_SIZE(wrong); i++) {
        struct np_error err = NP_ERROR_INIT;
        struct np_virt *virt = NULL;
        fails(NP_FAILED, np_virt_open(wrong[i], NULL, &virt, &err));
        assert_true(has(err.message, "not a libvirt URI"));
    }
}

static void test_connection__unreachable_daemon_says_what_to_try(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_virt *virt = NULL;
    fails(NP_FAILED, np_virt_open("qemu:///system?socket=/nonexistent/libvirt-sock", NULL, &virt, &err));
    assert_true(has(err.message, "/nonexistent/libvirt-sock"));
    assert_true(has(err.message, "systemctl status libvirtd"));
}

/* libvirt's own test driver: everything but QEMU is real. */
static void test_connection__test_driver_finds_its_domain(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_virt *virt = NULL;
    struct np_domain *domain = NULL;
    ok(np_virt_open("test:///default", NULL, &virt, &err));
    assert_string_equal(np_virt_uri(virt), "test:///default");
    ok(np_domain_find(virt, "test", &domain, &err));
    bool active = false;
    ok(np_domain_is_active(domain, &active, &err));
    assert_true(active);
    np_domain_free(domain);
    domain = NULL;
    fails(NP_FAILED, np_domain_find(virt, "99999999999999999999", &domain, &err));
    fails(NP_FAILED, np_domain_find(virt, "", &domain, &err));
    assert_null(domain);
    np_virt_close(virt);
}

/* ---- names in libvirt's texts ---- */

static void test_virt_error__names_are_whole_words(void **state)
{
    (void)state;
    assert_true(np_virt_error_names("missing or broken bitmap 'c1' for disk 'vda'", "vda"));
    assert_true(np_virt_error_names("no disk named vda.", "vda"));
    assert_true(np_virt_error_names("vda", "vda"));
    assert_false(np_virt_error_names("bitmap 'nbdpull-vda-3' of 'vdb'", "vda"));
    assert_false(np_virt_error_names("cannot open /img/vda.qcow2", "vda"));
    assert_false(np_virt_error_names("disk 'vdaa'", "vda"));
    assert_false(np_virt_error_names("", "vda"));
    assert_false(np_virt_error_names("vda", ""));
}

/* ---- disks ---- */

static const char all_kinds[] =
    "<domain type='kvm'><name>g</name><devices>"
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/i/a.qcow2' index='2'/>"
    "<backingStore type='file'><source file='/i/base.raw'/><format type='raw'/></backingStore>"
    "<target dev='vda' bus='virtio'/><serial>S&amp;1</serial>"
    "<blockio logical_block_size='4096' physical_block_size='8192'/></disk>"
    "<disk type='block' device='disk'><driver type='raw'/><source dev='/dev/vg/lv'/><target "
    "dev='vdb'/></disk>"
    "<disk type='network' device='disk'><driver type='raw'/><source protocol='rbd' name='pool/img'>"
    "<host name='m'/></source><target dev='vdc'/></disk>"
    "<disk type='network' device='disk'><driver type='qcow2'/><source protocol='nbd'><host "
    "name='h'/></source>"
    "<target dev='vdd'/></disk>"
    "<disk type='file' device='cdrom'><source file='/i/cd.iso'/><target dev='sda' "
    "bus='sata'/><readonly/></disk>"
    "<disk type='file' device='floppy'><target dev='fda'/></disk>"
    "<disk type='block' device='lun'><driver type='raw'/><source dev='/dev/sdx'/><target dev='sdb'/></disk>"
    "<disk type='vhostuser' device='disk'><driver type='raw'/><source type='unix' path='/s'/>"
    "<target dev='vde'/></disk>"
    "<disk type='file' device='disk'><driver type='qcow2'/><source file='/i/r'/><target "
    "dev='vdf'/><readonly/></disk>"
    "<disk type='file' device='disk'><driver type='raw'/><source file='/i/s'/><target "
    "dev='vdg'/><shareable/></disk>"
    "<disk type='file' device='disk'><driver type='qcow2'/><source file='/i/t'/><target "
    "dev='vdh'/><transient/></disk>"
    "<disk type='file' device='disk'><driver type='qed'/><source file='/i/q'/><target dev='vdi'/></disk>"
    "<disk type='file'><driver type='qcow2'/><source file='/i/sd'/><target dev='sdc' bus='sd'/></disk>"
    "<disk type='volume' device='disk'><driver type='qcow2'/><source pool='p' volume='v'/><target "
    "dev='vdj'/></disk>"
    "<disk type='nvme' device='disk'><driver type='raw'/><source type='pci' managed='yes' namespace='1'>"
    "<address domain='0' bus='1' slot='0' function='0'/></source><target dev='vdk'/></disk>"
    "</devices></domain>";

struct kind {
    const char *target, *source;
    bool backup, bitmap;
    const char *why;
};

static void test_disks__each_kind_is_judged(void **state)
{
    (void)state;
    static const struct kind wanted[] = {
        {"vda", "/i/a.qcow2", true, true, ""},
        {"vdb", "/dev/vg/lv", true, false, "raw images"},
        {"vdc", "rbd:pool/img", true, false, "raw images"},
        {"vdd", "nbd:", true, true, ""},
        {"sda", "/i/cd.iso", false, false, "CD-ROM"},
        {"fda", NULL, false, false, "floppy"},
        {"sdb", "/dev/sdx", false, false, "lun"},
        {"vde", "/s", false, false, "vhost-user"},
        {"vdf", "/i/r", true, false, "read-only"},
        {"vdg", "/i/s", true, false, "shareable"},
        {"vdh", "/i/t", false, false, "transient"},
        {"vdi", "/i/q", true, false, "only qcow2"},
        {"sdc", "/i/sd", false, false, "'sd'"},
        {"vdj", "p/v", true, true, ""},
        {"vdk", "pci:1", true, false, "raw images"},
    };
    struct np_error err = NP_ERROR_INIT;
    struct np_domain_disks disks;
    ok(np_disks_parse(all_kinds, &disks, &err));
    assert_int_equal(disks.count, NP_ARRAY_SIZE(wanted));
    for (size_t i = 0; i < disks.count; i++) {
        const struct np_domain_disk *disk = &disks.list[i];
        assert_string_equal(disk->target, wanted[i].target);
        assert_int_equal(disk->source == NULL, wanted[i].source == NULL);
        if (disk->source != NULL)
            assert_string_equal(disk->source, wanted[i].source);
        assert_int_equal(disk->can_backup, wanted[i].backup);
        assert_int_equal(disk->can_bitmap, wanted[i].bitmap);
        assert_int_equal(disk->why[0] == '\0', wanted[i].why[0] == '\0');
        assert_true(has(disk->why, wanted[i].why));
    }
    assert_string_equal(disks.list[0].serial, "S&1");
    assert_int_equal(disks.list[0].logical_block, 4096);
    assert_int_equal(disks.list[0].physical_block, 8192);
    assert_null(disks.list[1].serial);
    assert_int_equal(disks.list[1].logical_block, 0);
    np_domain_disks_clear(&disks);
}

static void test_disks__target_too_long_or_missing_is_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_domain_disks disks;
    fails(NP_FAILED, np_disks_parse("<domain><devices><disk type='file'/></devices></domain>", &disks, &err));
    np_domain_disks_clear(&disks);
    char xml[512], name[200];
    memset(name, 'v', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    snprintf(xml, sizeof(xml), "<domain><devices><disk><target dev='%s'/></disk></devices></domain>", name);
    fails(NP_FAILED, np_disks_parse(xml, &disks, &err));
    np_domain_disks_clear(&disks);
}

static void write_header(const char *path, uint8_t version)
{
    const uint8_t header[8] = {'Q', 'F', 'I', 0xfb, 0, 0, 0, version};
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, header, sizeof(header)), sizeof(header));
    close(fd);
}

static void test_disks__qcow2_of_version_2_holds_no_bitmap(void **state)
{
    (void)state;
    char path[] = "/tmp/test-virt-xml-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (uint8_t version = 2; version <= 3; version++) {
        write_header(path, version);
        char type[] = "file";
        struct np_domain_disk disk = {
            .source_type = type, .source = path, .can_backup = true, .can_bitmap = true};
        np_disks_look_at_image(&disk);
        assert_int_equal(disk.can_bitmap, version == 3);
        assert_int_equal(has(disk.why, "compat=1.1"), version == 2);
        assert_true(disk.can_backup);
        assert_int_not_equal(disk.image_ino, 0);
    }
    unlink(path);
}

/* ---- the job's XML ---- */

static struct np_domain_disk three_disks[] = {{.target = "vda"}, {.target = "vdb"}, {.target = "sda"}};
static const struct np_domain_disks all_three = {three_disks, 3};

static struct np_job_disk job_disks[2];

static struct np_job_spec mixed_spec(void)
{
    job_disks[0] = (struct np_job_disk){.target = "vda",
                                        .scratch = "/s/a & b",
                                        .export_name = "vda",
                                        .incremental = "c1",
                                        .bitmap = "bm-vda",
                                        .checkpoint = true};
    job_disks[1] = (struct np_job_disk){.target = "vdb", .scratch = "/s/'b\"<", .export_name = "vdb"};
    return (struct np_job_spec){
        .socket = "/s/sock", .checkpoint = "c2", .disks = job_disks, .disk_count = 2, .all = &all_three};
}

static void test_job_xml__lists_every_disk(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_job_spec spec = mixed_spec();
    NP_AUTO_FREE char *xml = NULL;
    ok(np_job_xml_backup(&spec, &xml, &err));
    assert_true(has(xml, "<domainbackup mode=\"pull\">"));
    assert_true(has(xml, "<server transport=\"unix\" socket=\"/s/sock\"/>"));
    assert_true(has(xml, "<disk name=\"vda\" backup=\"yes\" type=\"file\" exportname=\"vda\" "
                         "backupmode=\"incremental\" incremental=\"c1\" exportbitmap=\"bm-vda\">"));
    assert_true(has(xml, "<scratch file=\"/s/a &amp; b\"/>"));
    assert_true(has(xml, "backupmode=\"full\""));
    assert_true(has(xml, "<disk name=\"sda\" backup=\"no\"/>"));
}

static void test_job_xml__checkpoint_covers_only_what_is_backed_up(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_job_spec spec = mixed_spec();
    NP_AUTO_FREE char *xml = NULL;
    ok(np_job_xml_checkpoint(&spec, &xml, &err));
    assert_true(has(xml, "<name>c2</name>"));
    assert_true(has(xml, "<disk name=\"vda\" checkpoint=\"bitmap\"/>"));
    assert_true(has(xml, "<disk name=\"vdb\" checkpoint=\"no\"/>"));
    assert_true(has(xml, "<disk name=\"sda\" checkpoint=\"no\"/>"));

    /* whatever is not in the job has no bitmap: both XMLs come from the same list */
    spec.disk_count = 1;
    spec.disks = &job_disks[1];
    job_disks[1].checkpoint = true;
    NP_AUTO_FREE char *backup = NULL;
    NP_AUTO_FREE char *checkpoint = NULL;
    ok(np_job_xml_backup(&spec, &backup, &err));
    ok(np_job_xml_checkpoint(&spec, &checkpoint, &err));
    assert_true(has(backup, "<disk name=\"vda\" backup=\"no\"/>"));
    assert_true(has(checkpoint, "<disk name=\"vda\" checkpoint=\"no\"/>"));
    assert_true(has(checkpoint, "<disk name=\"vdb\" checkpoint=\"bitmap\"/>"));
}

static void test_job_xml__wrong_specs_are_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    char *xml = NULL;
    struct np_job_spec spec = mixed_spec();
    job_disks[1].target = "vdz";
    fails(NP_FAILED, np_job_xml_backup(&spec, &xml, &err)); /* not of this domain */
    job_disks[1].target = "vda";
    fails(NP_FAILED, np_job_xml_backup(&spec, &xml, &err)); /* twice */
    spec = mixed_spec();
    job_disks[0].bitmap = NULL;
    fails(NP_FAILED, np_job_xml_backup(&spec, &xml, &err));
    spec = mixed_spec();
    job_disks[0].checkpoint = false;
    fails(NP_FAILED, np_job_xml_checkpoint(&spec, &xml, &err)); /* a checkpoint of nothing */
    spec = mixed_spec();
    spec.disk_count = 0;
    fails(NP_FAILED, np_job_xml_backup(&spec, &xml, &err));
    spec = mixed_spec();
    spec.socket = "/s/\xff\xfe";
    fails(NP_FAILED, np_job_xml_backup(&spec, &xml, &err));
    assert_null(xml);
}

/* As libvirt 9.0 answers. */
static const char answer[] =
    "<domainbackup mode='pull'><server transport='unix' socket='/s/sock'/><disks>"
    "<disk name='vda' backup='yes' type='file' backupmode='incremental' incremental='c1' exportname='vda' "
    "exportbitmap='bm-vda' index='9'><driver type='qcow2'/><scratch file='/s/a &amp; b'/></disk>"
    "<disk name='vdb' backup='yes' type='file' backupmode='full' exportname='vdb' index='10'>"
    "<driver type='qcow2'/><scratch file='/s/&apos;b&quot;&lt;'/></disk><disk name='sda' "
    "backup='no'/></disks>"
    "</domainbackup>";

/* The answer with one part replaced. */
static char *changed(const char *from, const char *to)
{
    const char *at = strstr(answer, from);
    assert_non_null(at);
    char *text;
    assert_true(asprintf(&text, "%.*s%s%s", (int)(at - answer), answer, to, at + strlen(from)) >= 0);
    return text;
}

static void test_job_xml__readback_must_be_what_was_asked(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_job_spec spec = mixed_spec();
    ok(np_job_xml_compare(&spec, answer, &err));
    static const char *const changes[][2] = {
        {"mode='pull'", "mode='push'"},
        {"socket='/s/sock'", "socket='/s/other'"},
        {"transport='unix'", "transport='tcp'"},
        {"<server transport='unix' socket='/s/sock'/>", ""},
        {"backupmode='incremental'", "backupmode='full'"},
        {"incremental='c1' exp", "incremental='c0' exp"},
        {"incremental='c1' exp", "exp"},
        {"exportname='vda'", "exportname='vdb'"},
        {"exportbitmap='bm-vda'", "exportbitmap='bm'"},
        {"exportbitmap='bm-vda'", ""},
        {"backupmode='full'", "backupmode='incremental' incremental='c1'"},
        {"backupmode='full'", "backupmode='full' incremental='c1'"},
        {"/s/a &amp; b", "/s/c"},
        {"<scratch file='/s/a &amp; b'/>", ""},
        {"'sda' backup='no'", "'sda' backup='yes'"},
        {"'vda' backup='yes'", "'vda' backup='no'"},
        {"'sda' backup='no'/>", "'sda' backup='no'/><disk name='vdx' backup='yes'/>"},
        {"<disk name='vdb' backup='yes' type='file' backupmode='full' exportname='vdb' index='10'>"
         "<driver type='qcow2'/><scratch file='/s/&apos;b&quot;&lt;'/></disk>",
         ""},
        {"<domainbackup ", "<otherbackup "},
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(changes); i++) {
        NP_AUTO_FREE char *xml = changed(changes[i][0], changes[i][1]);
        err = (struct np_error)NP_ERROR_INIT;
        if (np_job_xml_compare(&spec, xml, &err) == 0)
            fail_msg("'%s' for '%s' was not seen", changes[i][1], changes[i][0]);
    }
}

static void test_job_xml__socket_of_any_job_can_be_named(void **state)
{
    (void)state;
    static const char *const jobs[][2] = {
        {"<domainbackup mode='pull'><server transport='unix' socket='/a'/></domainbackup>", "/a"},
        {"<domainbackup mode='pull'><server transport='tcp' name='h' port='1'/></domainbackup>", "h:1"},
        {"<domainbackup mode='push'/>", ""},
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(jobs); i++) {
        struct np_error err = NP_ERROR_INIT;
        NP_AUTO_FREE char *socket = NULL;
        ok(np_job_xml_socket(jobs[i][0], &socket, &err));
        assert_string_equal(socket, jobs[i][1]);
    }
}

static void test_job_xml__scratch_node_is_of_our_job_only(void **state)
{
    (void)state;
    static const char job[] =
        "<domainbackup mode='pull'><server transport='unix' socket='/s'/><disks>"
        "<disk name='vda' backup='yes' type='file' index='7'><scratch file='/f'/></disk>"
        "<disk name='vdb' backup='no'/><disk name='vdc' backup='yes' type='file'/></disks></domainbackup>";
    static const char *const asked[][3] = {
        {"/s", "vda", "vda[7]"}, {"/t", "vda", NULL}, {"/s", "vdb", NULL}, {"/s", "vdd", NULL}};
    for (size_t i = 0; i < NP_ARRAY_SIZE(asked); i++) {
        struct np_error err = NP_ERROR_INIT;
        NP_AUTO_FREE char *node = NULL;
        ok(np_job_xml_scratch_node(job, asked[i][0], asked[i][1], &node, &err));
        if (asked[i][2] == NULL)
            assert_null(node);
        else
            assert_string_equal(node, asked[i][2]);
    }
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE char *node = NULL;
    fails(NP_FAILED, np_job_xml_scratch_node(job, "/s", "vdc", &node, &err));
}

/* ---- NVRAM ---- */

static void test_xml__nvram_path(void **state)
{
    (void)state;
    static const char *const kinds[][2] = {
        {"<nvram>/n/v.fd</nvram>", "/n/v.fd"},
        {"<nvram template='/t'>/n/v.fd</nvram>", "/n/v.fd"},
        {"<nvram type='file'><source file='/n/w.fd'/></nvram>", "/n/w.fd"},
        {"<nvram type='network'><source protocol='iscsi' name='x'/></nvram>", NULL},
        {"<nvram template='/t'/>", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(kinds); i++) {
        struct np_error err = NP_ERROR_INIT;
        char xml[256];
        snprintf(xml, sizeof(xml), "<domain><os>%s</os></domain>", kinds[i][0]);
        char unset[] = "unset";
        NP_AUTO_FREE char *path = unset;
        ok(np_xml_nvram(xml, &path, &err));
        assert_int_equal(path == NULL, kinds[i][1] == NULL);
        if (path != NULL)
            assert_string_equal(path, kinds[i][1]);
    }
}

/* ---- relocation ---- */

static const struct np_xml_disk restored[] = {{"vda", "/r/vda & co.qcow2", "qcow2"},
                                              {"vdb", "/r/vdb.raw", "raw"}};

static const char original[] =
    "<domain type='kvm' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
    "<name>web</name><uuid>11111111-2222-3333-4444-555555555555</uuid>"
    "<genid>aaaaaaaa-2222-3333-4444-555555555555</genid><title>Web</title>"
    "<sysinfo type='smbios'><system><entry name='uuid'>11111111-2222-3333-4444-555555555555</entry>"
    "<entry name='serial'>keep-me</entry></system></sysinfo>"
    "<os><type arch='x86_64'>hvm</type><loader readonly='yes' type='pflash'>/usr/share/code.fd</loader>"
    "<nvram template='/usr/share/vars.fd'>/orig/web_VARS.fd</nvram></os>"
    "<devices>"
    "<disk type='block' device='disk' snapshot='external'><driver name='qemu' type='raw' cache='none' "
    "discard='unmap' copy_on_read='on' discard_no_unref='on'><metadata_cache><max_size "
    "unit='bytes'>1</max_size>"
    "</metadata_cache></driver><auth username='u'><secret type='iscsi' usage='orig-secret'/></auth>"
    "<source dev='/orig/dev' index='3' startupPolicy='optional'><encryption format='luks'>"
    "<secret type='passphrase' uuid='99999999-2222-3333-4444-555555555555'/></encryption>"
    "<reservations managed='no'><source type='unix' path='/orig/pr.sock' mode='client'/></reservations>"
    "<seclabel model='dac' relabel='no'/></source>"
    "<backingStore type='file'><format type='qcow2'/><source file='/orig/base.qcow2'/></backingStore>"
    "<mirror type='file' job='copy'><source file='/orig/mirror'/></mirror>"
    "<target dev='vda' bus='virtio'/><iotune><total_iops_sec>5</total_iops_sec></iotune><shareable/>"
    "<serial>DISK1</serial><boot order='1'/><alias name='virtio-disk0'/></disk>"
    "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='rbd' "
    "name='orig/img'>"
    "<host name='orig-mon'/></source><target dev='vdb' bus='virtio'/><alias name='ua-mine'/></disk>"
    "<disk type='file' device='disk'><driver type='qcow2'/><source file='/orig/not-restored'/>"
    "<target dev='vdc' bus='virtio'/></disk>"
    "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='/orig/cd.iso'/>"
    "<target dev='sda' bus='sata'/><readonly/></disk>"
    "<filesystem type='mount'><source dir='/orig/dir'/><target dir='t'/></filesystem>"
    "<interface type='network'><mac address='52:54:00:aa:bb:cc'/><source network='default' "
    "portid='orig-port'/>"
    "<target dev='vnet-orig'/><model type='virtio'/></interface>"
    "<interface type='vhostuser'><source type='unix' path='/orig/vhost.sock' mode='client'/></interface>"
    "<serial type='file'><source path='/orig/serial.log'/><log file='/orig/serial2.log'/><target "
    "port='0'/></serial>"
    "<console type='file'><source path='/orig/serial.log'/><target type='serial' port='0'/></console>"
    "<parallel type='tcp'><source mode='bind' host='127.0.0.1' service='4555'/><protocol "
    "type='telnet'/></parallel>"
    "<channel type='unix'><source mode='bind' path='/orig/agent.sock'/>"
    "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
    "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>"
    "<channel type='dbus'><source channel='kept' path='/orig/dbus'/><target type='virtio' "
    "name='d'/></channel>"
    "<redirdev bus='usb' type='spicevmc'><source path='/orig/usb'/></redirdev>"
    "<channel type='unix'><source mode='bind' path='/orig/fwd'/><target type='guestfwd' address='10.0.2.1' "
    "port='4600'/></channel>"
    "<graphics type='vnc' port='5901' autoport='no' websocket='5700' socket='/orig/vnc.sock'>"
    "<listen type='socket' socket='/orig/vnc.sock'/></graphics>"
    "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
    "<rng model='virtio'><backend model='egd' type='unix'><source mode='connect' "
    "path='/orig/egd'/></backend></rng>"
    "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
    "<tpm model='tpm-tis'><backend type='passthrough'><device path='/orig/tpm0'/></backend></tpm>"
    "<audio id='1' type='file' path='/orig/sound.wav'/>"
    "<hostdev mode='subsystem' type='usb'><source><vendor id='0xorig'/></source></hostdev>"
    "<shmem name='orig-shm'/><vsock model='virtio'><cid auto='no' address='777'/></vsock>"
    "<memory model='nvdimm'><source><path>/orig/nvdimm</path></source></memory>"
    "<memory model='dimm'><target><size>1</size></target></memory>"
    "<input type='evdev'><source dev='/orig/event0'/></input>"
    "<lease><lockspace>l</lockspace><key>k</key><target path='/orig/lease'/></lease>"
    "</devices>"
    "<seclabel type='dynamic' model='dac' relabel='yes'><label>+1:+1</label></seclabel>"
    "<qemu:commandline><qemu:arg value='-drive'/><qemu:arg value='file=/orig/extra'/></qemu:commandline>"
    "</domain>";

static char *relocated(const char *nvram)
{
    struct np_error err = NP_ERROR_INIT;
    char *xml = NULL;
    ok(np_xml_relocate(original, "web-restored", restored, NP_ARRAY_SIZE(restored), nvram, &xml, &err));
    return xml;
}

static void test_relocate__nothing_of_the_original_is_left(void **state)
{
    (void)state;
    NP_AUTO_FREE char *xml = relocated("/r/nvram.fd");
    static const char *const gone[] = {
        "/orig",        "orig",          "11111111", "99999999",   "id=\"7\"",        "52:54:00",
        "snapshot=",    "<mirror",       "<auth",    "encryption", "startup",         "backingStore",
        "shareable",    "copy_on_read",  "no_unref", "metadata",   "autoport=\"no\"", "websocket",
        "5901",         "777",           "seclabel", "hostdev",    "filesystem",      "commandline",
        "virtio-disk0", "aaaaaaaa-2222", "4555",
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(gone); i++) {
        if (has(xml, gone[i]))
            fail_msg("'%s' is left in\n%s", gone[i], xml);
    }
}

static void test_relocate__what_the_guest_needs_is_kept(void **state)
{
    (void)state;
    NP_AUTO_FREE char *xml = relocated("/r/nvram.fd");
    static const char *const kept[] = {
        "<name>web-restored</name>",
        "<title>Web</title>",
        "keep-me",
        "<source file=\"/r/vda &amp; co.qcow2\"/>",
        "<source file=\"/r/vdb.raw\"/>",
        "cache=\"none\" discard=\"unmap\"",
        "<total_iops_sec>5",
        "<serial>DISK1</serial>",
        "<boot order=\"1\"/>",
        "ua-mine",
        "<target dev=\"sda\" bus=\"sata\"/>",
        "<nvram template=\"/usr/share/vars.fd\">/r/nvram.fd</nvram>",
        "/usr/share/code.fd",
        "<source network=\"default\"/>",
        "<serial type=\"pty\">",
        "<console type=\"pty\">",
        "<parallel type=\"pty\"/>",
        "org.qemu.guest_agent.0",
        "<source mode=\"bind\"/>",
        "<channel type=\"spicevmc\">",
        "<source channel=\"kept\"/>",
        "<audio id=\"1\" type=\"none\"/>",
        "/dev/urandom",
        "type=\"emulator\"",
        "model=\"dimm\"",
        "autoport=\"yes\"",
        "<cid auto=\"yes\"/>",
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(kept); i++) {
        if (!has(xml, kept[i]))
            fail_msg("'%s' is missing in\n%s", kept[i], xml);
    }
}

static void test_relocate__disks_are_local_files_of_the_new_format(void **state)
{
    (void)state;
    NP_AUTO_FREE char *xml = relocated(NULL);
    struct np_error err = NP_ERROR_INIT;
    struct np_domain_disks disks;
    ok(np_disks_parse(xml, &disks, &err));
    assert_int_equal(disks.count, 3);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(disks.list[i].target, restored[i].target);
        assert_string_equal(disks.list[i].source_type, "file");
        assert_string_equal(disks.list[i].source, restored[i].path);
        assert_string_equal(disks.list[i].format, restored[i].format);
    }
    assert_string_equal(disks.list[2].device, "cdrom");
    assert_null(disks.list[2].source);
    np_domain_disks_clear(&disks);
}

/* What a hostile backup may hold: no expression may need its square, and what is too much is refused. */
static void test_relocate__many_elements_take_no_time(void **state)
{
    (void)state;
    static const struct {
        const char *each;
        size_t count;
        bool refused;
    } cases[] = {
        {"<q x:a='1'/>", 16000, false},          {"<x:q/>", 24000, false},
        {"<q><x:q/></q>", 24000, false},         {"<q/>", 1000000, true},
        {"<q a='1' b='2' c='3'/>", 15000, true},
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(cases); i++) {
        struct np_error err = NP_ERROR_INIT;
        NP_AUTO_FREE char *text = NULL;
        NP_AUTO_FREE char *xml = NULL;
        size_t size, each = strlen(cases[i].each);
        FILE *out = open_memstream(&text, &size);
        assert_non_null(out);
        fputs("<domain xmlns:x='u'><name>n</name><devices>", out);
        for (size_t j = 0; j < cases[i].count; j++)
            assert_int_equal(fwrite(cases[i].each, 1, each, out), each);
        fputs("</devices></domain>", out);
        assert_int_equal(fclose(out), 0);
        clock_t began = clock();
        int done = np_xml_relocate(text, "n", NULL, 0, NULL, &xml, &err);
        assert_int_equal(done, cases[i].refused ? -1 : 0);
        assert_true(!cases[i].refused || has(err.message, "more than 50000 elements"));
        /* 0.1 s, under valgrind some 30 times that; it was a minute */
        assert_true((double)(clock() - began) / CLOCKS_PER_SEC < (getenv("NBDPULL_SLOW") == NULL ? 3 : 300));
    }
}

static void test_flash__is_seen_where_libvirt_would_make_nvram(void **state)
{
    (void)state;
    static const struct {
        const char *os;
        bool has;
    } cases[] = {
        {"<os firmware='efi'/>", true},
        {"<os firmware='bios'/>", false},
        {"<os><loader type='pflash'>/c</loader></os>", true},
        {"<os><loader type='rom'>/c</loader></os>", false},
        {"<os firmware='efi'><loader stateless='yes'/></os>", false},
        {"", false},
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(cases); i++) {
        struct np_error err = NP_ERROR_INIT;
        char xml[256];
        bool flash;
        snprintf(xml, sizeof(xml), "<domain>%s</domain>", cases[i].os);
        ok(np_xml_has_flash(xml, &flash, &err));
        assert_int_equal(flash, cases[i].has);
    }
}

static void test_relocate__without_nvram_libvirt_makes_its_own(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE char *xml = relocated(NULL);
    NP_AUTO_FREE char *path = NULL;
    ok(np_xml_nvram(xml, &path, &err));
    assert_null(path);
    assert_true(has(xml, "template=\"/usr/share/vars.fd\""));
}

static void test_relocate__disk_that_the_xml_lacks_is_an_error(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    char *xml = NULL;
    const struct np_xml_disk unknown[] = {{"vdz", "/r/z", "raw"}};
    fails(NP_FAILED, np_xml_relocate(original, "n", unknown, 1, NULL, &xml, &err));
    assert_null(xml);
}

/* libvirt takes the first NVRAM of any <os>; a second one must not be it. */
static void test_relocate__a_second_nvram_is_not_left(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "<domain><os/><os><nvram>/orig/nv</nvram></os><devices><disk><target "
        "dev='vda'/></disk></devices></domain>",
        "<domain><os><nvram>/a</nvram><nvram>/orig/nv</nvram></os>"
        "<devices><disk><target dev='vda'/></disk></devices></domain>",
    };
    for (size_t i = 0; i < 2 * NP_ARRAY_SIZE(texts); i++) {
        struct np_error err = NP_ERROR_INIT;
        NP_AUTO_FREE char *xml = NULL;
        const struct np_xml_disk disk[] = {{"vda", "/r/a", "raw"}};
        ok(np_xml_relocate(texts[i / 2], "n", disk, 1, i % 2 == 0 ? NULL : "/r/nv", &xml, &err));
        assert_false(has(xml, "/orig"));
    }
}

static void test_relocate__properties_set_past_libvirt_are_not_left(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE char *xml = NULL;
    const struct np_xml_disk disk[] = {{"vda", "/r/a", "raw"}};
    ok(np_xml_relocate(
        "<domain><devices><disk><target dev='vda'/></disk></devices>"
        "<q:override xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:device alias='ua-1'>"
        "<q:frontend><q:property name='x' type='string' value='/orig'/></q:frontend></q:device>"
        "</q:override></domain>",
        "n", disk, 1, NULL, &xml, &err));
    assert_false(has(xml, "/orig"));
}

/* libvirt takes x:socket for its socket: the first attribute of that name counts, whatever its namespace. */
static void test_relocate__names_of_other_namespaces_are_not_left(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE char *xml = NULL;
    const struct np_xml_disk disk[] = {{"vda", "/r/a", "raw"}};
    ok(np_xml_relocate(
        "<domain type='kvm' xmlns:x='u' x:id='/orig'><x:name>/orig</x:name><name>orig</name>"
        "<metadata><x:keep x:it='1'/></metadata>"
        "<qemu:capabilities xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><qemu:add "
        "capability='c'/>"
        "</qemu:capabilities><x:os>/orig</x:os><devices>"
        "<disk><x:target dev='vdz'/><x:source file='/orig'/><source file='/orig'/><target dev='vda' "
        "x:dev='/orig'/></disk>"
        "<graphics type='vnc' x:socket='/orig'><x:listen type='socket' socket='/orig'/></graphics>"
        "<audio id='1' x:type='file' type='none' x:path='/orig'/>"
        "<interface x:type='/orig' type='user'><model "
        "type='virtio'><x:deep><x:deeper>/orig</x:deeper><below><x:again>/orig</x:again></below></x:deep>"
        "</model></interface></devices></domain>",
        "new", disk, 1, NULL, &xml, &err));
    if (has(xml, "orig"))
        fail_msg("the original is left in\n%s", xml);
    assert_true(has(xml, "<name>new</name>") && has(xml, "<source file=\"/r/a\"/>"));
    assert_true(has(xml, "<x:keep x:it=\"1\"/>") && has(xml, "<qemu:add capability=\"c\"/>"));
}

/* As root by libvirtd, when the guest starts. */
static void test_relocate__scripts_that_the_host_runs_are_not_left(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE char *xml = NULL;
    ok(np_xml_relocate("<domain><name>n</name><devices><interface type='ethernet'><script path='/orig'/>"
                       "<downscript path='/orig'/><model type='virtio'/></interface></devices></domain>",
                       "new", NULL, 0, NULL, &xml, &err));
    assert_false(has(xml, "orig"));
    assert_true(has(xml, "<model type=\"virtio\"/>"));
}

static void test_relocate__names_are_text_never_markup(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE char *xml = NULL;
    const struct np_xml_disk hostile[] = {{"vda", "/r/'/><x y='&amp;", "raw"}};
    ok(np_xml_relocate(original, "</name><uuid>1</uuid>&lt;", hostile, 1, "/r/<&>", &xml, &err));
    assert_false(has(xml, "<x "));
    assert_false(has(xml, "<uuid>"));
    struct np_domain_disks disks;
    ok(np_disks_parse(xml, &disks, &err));
    assert_string_equal(disks.list[0].source, hostile[0].path);
    np_domain_disks_clear(&disks);
}

/* ---- hostile XML ---- */

static void expect_refused(const char *text)
{
    struct np_error err = NP_ERROR_INIT;
    char *out = NULL;
    struct np_domain_disks disks;
    fails(NP_FAILED, np_xml_nvram(text, &out, &err));
    fails(NP_FAILED, np_xml_relocate(text, "n", NULL, 0, NULL, &out, &err));
    fails(NP_FAILED, np_disks_parse(text, &disks, &err));
    np_domain_disks_clear(&disks);
    assert_null(out);
}

/* A file of a set that was damaged or made must not have an increment read another checkpoint's bitmap. */
static void test_checkpoint_xml__its_bitmaps_are_its_own(void **state)
{
    (void)state;
    static const char saved[] =
        "<domaincheckpoint><name>nbdpull-1</name><parent><name>gone</name></parent><disks>"
        "<disk name='vda' checkpoint='bitmap' bitmap='nbdpull-2' size='7'/><disk name='vdb' checkpoint='no'/>"
        "</disks><domain type='qemu'><name>web</name></domain></domaincheckpoint>";
    NP_XML_DOC xmlDocPtr doc = NULL;
    NP_AUTO_FREE char *xml = NULL;
    struct np_error err = NP_ERROR_INIT;
    assert_int_equal(np_checkpoint_xml_saved(saved, "nbdpull-1", &doc, &err), 0);
    assert_int_equal(np_xml_dump(doc, &xml, &err), 0);
    assert_non_null(strstr(xml, "<disk name=\"vda\" checkpoint=\"bitmap\"/>"));
    assert_null(strstr(xml, "nbdpull-2"));
    assert_null(strstr(xml, "gone"));
    assert_null(strstr(xml, "web"));
}

static void test_xml__entities_are_refused(void **state)
{
    (void)state;
    expect_refused("<!DOCTYPE domain [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">"
                   "<!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\"><!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;\">]>"
                   "<domain><name>&d;&d;&d;&d;</name></domain>");
    expect_refused(
        "<!DOCTYPE domain [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><domain><name>&x;</name></domain>");
    expect_refused("<!DOCTYPE domain SYSTEM \"http://host.invalid/x.dtd\"><domain/>");
    expect_refused("<domain><name>&undefined;</name></domain>");
}

static void test_xml__broken_texts_are_refused(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "",
        " ",
        "<",
        "<domain",
        "<domain>",
        "<other/>",
        "<domain/>x",
        "<domain a='",
        "<domain>\xff</domain>",
        "<domain><a></domain>",
        "<domain xmlns='urn:x' xmlns='urn:y'/>",
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(broken); i++)
        expect_refused(broken[i]);
}

static void test_xml__deep_and_huge_texts_are_refused(void **state)
{
    (void)state;
    enum { DEPTH = 100000, HUGE_SIZE = 17 << 20 };
    NP_AUTO_FREE char *deep = malloc(DEPTH * 3 + 32);
    NP_AUTO_FREE char *big = malloc(HUGE_SIZE + 32);
    assert_non_null(deep);
    assert_non_null(big);
    char *to = stpcpy(deep, "<domain>");
    for (size_t i = 0; i < DEPTH; i++)
        to = stpcpy(to, "<a>");
    expect_refused(deep);
    memset(stpcpy(big, "<domain>"), ' ', HUGE_SIZE);
    stpcpy(big + HUGE_SIZE, "</domain>");
    expect_refused(big);
}

/* Whatever a damaged text is, it is refused or understood: no crash, no leak (under the sanitisers). */
static void test_xml__damaged_texts_never_crash(void **state)
{
    (void)state;
    uint32_t seed = 12345;
    NP_AUTO_FREE char *text = malloc(sizeof(original));
    assert_non_null(text);
    for (int round = 0; round < 1500; round++) {
        memcpy(text, original, sizeof(original));
        for (int hits = 0; hits < 1 + round % 4; hits++) {
            seed = seed * 1664525 + 1013904223;
            text[seed % (sizeof(original) - 1)] = "<>/='\"&x \x01\xff"[(seed >> 24) % 11];
        }
        struct np_error err = NP_ERROR_INIT;
        NP_AUTO_FREE char *xml = NULL;
        NP_AUTO_FREE char *path = NULL;
        struct np_domain_disks disks;
        (void)!np_xml_relocate(text, "n", restored, NP_ARRAY_SIZE(restored), "/r/n", &xml, &err);
        assert_true(xml != NULL || err.message[0] != '\0');
        err = (struct np_error)NP_ERROR_INIT;
        (void)!np_disks_parse(text, &disks, &err);
        np_domain_disks_clear(&disks);
        err = (struct np_error)NP_ERROR_INIT;
        (void)!np_xml_nvram(text, &path, &err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connection__remote_uris_are_refused_before_opening),
        cmocka_unit_test(test_connection__a_password_is_not_said),
        cmocka_unit_test(test_connection__remote_default_is_refused_too),
        cmocka_unit_test(test_connection__aliases_and_nonsense_are_refused),
        cmocka_unit_test(test_connection__unreachable_daemon_says_what_to_try),
        cmocka_unit_test(test_connection__test_driver_finds_its_domain),
        cmocka_unit_test(test_virt_error__names_are_whole_words),
        cmocka_unit_test(test_disks__each_kind_is_judged),
        cmocka_unit_test(test_disks__target_too_long_or_missing_is_refused),
        cmocka_unit_test(test_disks__qcow2_of_version_2_holds_no_bitmap),
        cmocka_unit_test(test_job_xml__lists_every_disk),
        cmocka_unit_test(test_checkpoint_xml__its_bitmaps_are_its_own),
        cmocka_unit_test(test_job_xml__checkpoint_covers_only_what_is_backed_up),
        cmocka_unit_test(test_job_xml__wrong_specs_are_refused),
        cmocka_unit_test(test_job_xml__readback_must_be_what_was_asked),
        cmocka_unit_test(test_job_xml__socket_of_any_job_can_be_named),
        cmocka_unit_test(test_job_xml__scratch_node_is_of_our_job_only),
        cmocka_unit_test(test_xml__nvram_path),
        cmocka_unit_test(test_relocate__nothing_of_the_original_is_left),
        cmocka_unit_test(test_relocate__what_the_guest_needs_is_kept),
        cmocka_unit_test(test_relocate__disks_are_local_files_of_the_new_format),
        cmocka_unit_test(test_relocate__many_elements_take_no_time),
        cmocka_unit_test(test_flash__is_seen_where_libvirt_would_make_nvram),
        cmocka_unit_test(test_relocate__without_nvram_libvirt_makes_its_own),
        cmocka_unit_test(test_relocate__disk_that_the_xml_lacks_is_an_error),
        cmocka_unit_test(test_relocate__a_second_nvram_is_not_left),
        cmocka_unit_test(test_relocate__properties_set_past_libvirt_are_not_left),
        cmocka_unit_test(test_relocate__names_of_other_namespaces_are_not_left),
        cmocka_unit_test(test_relocate__scripts_that_the_host_runs_are_not_left),
        cmocka_unit_test(test_relocate__names_are_text_never_markup),
        cmocka_unit_test(test_xml__entities_are_refused),
        cmocka_unit_test(test_xml__broken_texts_are_refused),
        cmocka_unit_test(test_xml__deep_and_huge_texts_are_refused),
        cmocka_unit_test(test_xml__damaged_texts_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
