/*
 * src/virt against libvirt's embedded driver and a real QEMU. One domain serves all tests, in their order,
 * and one connection as long as possible. The raw libvirt calls here only make what a user has already: a
 * running guest.
 */
#include "test.h"

#include "../../src/virt/domain.h"
#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/log.h"
#include "nbdpull/subprocess.h"
#include "nbdpull/virt.h"

#include <fcntl.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define EMULATOR "/usr/bin/qemu-system-x86_64"

/* Everything lies below root, which goes away in the end. */
static struct {
    char root[64];
    char uri[128];
    struct np_virt *virt;
    struct np_domain *domain;
    const char *skip; /* reason */
} lab;

static void in_root(char *path, size_t size, const char *name)
{
    snprintf(path, size, "%s/%s", lab.root, name);
}

static void print_line(void *ctx, enum np_log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    print_message("log: %s\n", line);
}

/* ---- the laboratory ---- */

static int make_image(const char *name, const char *format, const char *options)
{
    struct np_error err = NP_ERROR_INIT;
    char path[128];
    in_root(path, sizeof(path), name);
    const char *const argv[] = {"qemu-img", "create", "-q", "-f", format, "-o", options, path, "8M", NULL};
    if (np_subprocess_run(argv, &err) == 0)
        return 0;
    print_message("%s\n", err.message);
    return -1;
}

static int make_images(void)
{
    return make_image("a.qcow2", "qcow2", "compat=1.1") | make_image("b.qcow2", "qcow2", "compat=1.1") |
           make_image("old.qcow2", "qcow2", "compat=0.10") | make_image("c.raw", "raw", "preallocation=off");
}

static int write_config(void)
{
    char path[128];
    in_root(path, sizeof(path), "etc");
    if (mkdir(path, 0700) < 0)
        return -1;
    in_root(path, sizeof(path), "etc/qemu.conf");
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return -1;
    if (geteuid() == 0)
        fputs("user = \"root\"\ngroup = \"root\"\n", file);
    /* the log in a file: no virtlogd is needed */
    fputs("security_driver = \"none\"\nstdio_handler = \"file\"\n", file);
    return fclose(file);
}

#define DISK(target, type, name)                                                                             \
    "<disk type='file' device='disk'><driver name='qemu' type='" type "'/><source file='%1$s/" name          \
    "'/><target dev='" target "' bus='virtio'/><serial>S-" target "</serial>"                                \
    "<blockio logical_block_size='512' physical_block_size='4096'/></disk>"

static const char domain_format[] =
    "<domain type='qemu'><name>virt-embed</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
    "<os><type arch='x86_64' machine='q35'>hvm</type></os><genid>8f2a9f0e-5f2b-4e7a-9d6e-0c1d2e3f4a5b</genid>"
    "<devices><emulator>" EMULATOR "</emulator>" DISK("vda", "qcow2", "a.qcow2")
        DISK("vdb", "qcow2", "b.qcow2") DISK("vdc", "raw", "c.raw") DISK("vdd", "qcow2", "old.qcow2") //
    "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>"
    "<interface type='user'><mac address='52:54:00:12:34:56'/></interface>"
    "<serial type='file'><source path='%1$s/serial.log'/></serial>"
    "<channel type='unix'><source mode='bind' path='%1$s/agent.sock'/>"
    "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
    "</devices></domain>";

static int start_domain(void)
{
    char xml[8192];
    snprintf(xml, sizeof(xml), domain_format, lab.root);
    virDomainPtr domain = virDomainDefineXML(lab.virt->conn, xml);
    int result = domain == NULL ? -1 : virDomainCreate(domain);
    if (result < 0)
        print_message("cannot start the domain: %s\n", virGetLastErrorMessage());
    if (domain != NULL)
        virDomainFree(domain);
    return result;
}

static const char *why_skip(void)
{
    if (access(EMULATOR, X_OK) < 0)
        return "no " EMULATOR;
    if (access("/dev/kvm", F_OK) == 0 && access("/dev/kvm", R_OK | W_OK) < 0)
        return "/dev/kvm is there but closed to this user: libvirt would probe QEMU for 44 s each time";
    return NULL;
}

static int setup(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    lab.skip = why_skip();
    if (lab.skip != NULL) {
        print_message("skipped: %s\n", lab.skip);
        return 0;
    }
    np_log_to(print_line, NULL);
    snprintf(lab.root, sizeof(lab.root), "/tmp/virt-embed-XXXXXX");
    if (mkdtemp(lab.root) == NULL || write_config() < 0 || make_images() < 0)
        return -1;
    snprintf(lab.uri, sizeof(lab.uri), "qemu:///embed?root=%s", lab.root);
    if (np_virt_open(lab.uri, NULL, &lab.virt, &err) < 0 || start_domain() < 0 ||
        np_domain_find(lab.virt, "virt-embed", &lab.domain, &err) < 0) {
        print_message("%s\n", err.message);
        return -1;
    }
    return 0;
}

/* Runs after a failed setup too. */
static int teardown(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    virDomainPtr domain = lab.virt == NULL ? NULL : virDomainLookupByName(lab.virt->conn, "virt-embed");
    if (domain != NULL) {
        virDomainDestroy(domain);
        virDomainFree(domain);
    }
    np_domain_free(lab.domain);
    np_virt_close(lab.virt);
    if (lab.root[0] != '\0' && np_dir_remove(AT_FDCWD, lab.root, lab.root, &err) < 0)
        print_message("%s\n", err.message);
    return 0;
}

#define NEEDS_LAB()                                                                                          \
    do {                                                                                                     \
        (void)state;                                                                                         \
        if (lab.skip != NULL)                                                                                \
            skip();                                                                                          \
    } while (0)

/* ---- a job over vda (qcow2) and vdc (raw) ---- */

struct job_paths {
    char socket[128], scratch_a[128], scratch_c[128];
    struct np_job_disk disks[2];
    struct np_domain_disks all;
    struct np_job_spec spec;
};

static void clear_paths(struct job_paths *paths)
{
    np_domain_disks_clear(&paths->all);
    unlink(paths->socket); /* libvirt leaves it */
}

#define AUTO_PATHS __attribute__((cleanup(clear_paths))) struct job_paths

static void fill_spec(struct job_paths *paths, const char *checkpoint)
{
    struct np_error err = NP_ERROR_INIT;
    in_root(paths->socket, sizeof(paths->socket), "job.sock");
    in_root(paths->scratch_a, sizeof(paths->scratch_a), "scratch.vda");
    in_root(paths->scratch_c, sizeof(paths->scratch_c), "scratch.vdc");
    ok(np_domain_disks(lab.domain, &paths->all, &err));
    paths->disks[0] = (struct np_job_disk){
        .target = "vda", .scratch = paths->scratch_a, .export_name = "vda", .checkpoint = checkpoint != NULL};
    paths->disks[1] =
        (struct np_job_disk){.target = "vdc", .scratch = paths->scratch_c, .export_name = "vdc"};
    paths->spec = (struct np_job_spec){.socket = paths->socket,
                                       .checkpoint = checkpoint,
                                       .disks = paths->disks,
                                       .disk_count = 2,
                                       .all = &paths->all};
}

static struct np_job *begin(struct job_paths *paths, const char *checkpoint)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_job *job = NULL;
    fill_spec(paths, checkpoint);
    ok(np_job_begin(lab.domain, &paths->spec, &job, &err));
    return job;
}

static void end(struct np_job *job)
{
    struct np_error err = NP_ERROR_INIT;
    ok(np_job_end(job, &err));
    np_job_free(job);
}

static void assert_no_file(const char *path)
{
    if (access(path, F_OK) == 0)
        fail_msg("%s is still there", path);
}

static void assert_no_checkpoints(void)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_names names = {0};
    ok(np_checkpoint_list(lab.domain, "", &names, &err));
    assert_int_equal(names.count, 0);
    np_names_clear(&names);
}

/* Bitmaps of that name in all images, as QEMU tells. */
static void count_bitmaps(const char *name, size_t wanted)
{
    char *answer = NULL;
    assert_int_equal(
        virDomainQemuMonitorCommand(lab.domain->ptr, "{\"execute\":\"query-named-block-nodes\"}", &answer, 0),
        0);
    char quoted[64];
    snprintf(quoted, sizeof(quoted), "\"name\":\"%s\"", name);
    size_t found = 0;
    for (const char *at = answer; (at = strstr(at, quoted)) != NULL; at++)
        found++;
    free(answer);
    assert_int_equal(found, wanted);
}

/* The test stands beside the job as another program would. */
static void monitor(const char *command)
{
    char *answer = NULL;
    if (virDomainQemuMonitorCommand(lab.domain->ptr, command, &answer, VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP) <
        0)
        fail_msg("%s: %s", command, virGetLastErrorMessage());
    free(answer);
}

/* ---- connection and domain ---- */

static void test_connection__second_process_is_told_that_the_root_is_held(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    char *text = NULL;
    const char *const argv[] = {"/proc/self/exe", "--open", lab.uri, NULL};
    ok(np_subprocess_output(argv, 4096, &text, &err));
    assert_non_null(strstr(text, "held by another process"));
    free(text);
}

static void test_connection__reopening_the_root_in_one_process_works(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    struct np_virt *second = NULL;
    ok(np_virt_open(lab.uri, NULL, &second, &err));
    assert_string_equal(np_virt_uri(second), lab.uri);
    np_virt_close(second);
    bool active = false;
    ok(np_domain_is_active(lab.domain, &active, &err));
    assert_true(active);
}

static void test_domain__is_found_by_name_uuid_and_id(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    struct np_uuid uuid = np_domain_uuid(lab.domain);
    char text[NP_UUID_TEXT_SIZE], id[16];
    np_uuid_format(&uuid, text);
    snprintf(id, sizeof(id), "%u", virDomainGetID(lab.domain->ptr));
    const char *const names[] = {"virt-embed", text, id};
    for (size_t i = 0; i < NP_ARRAY_SIZE(names); i++) {
        struct np_domain *found = NULL;
        ok(np_domain_find(lab.virt, names[i], &found, &err));
        assert_string_equal(np_domain_name(found), "virt-embed");
        np_domain_free(found);
    }
}

static void test_domain__unknown_one_says_how_to_list(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    struct np_domain *found = NULL;
    fails(NP_FAILED, np_domain_find(lab.virt, "nosuch", &found, &err));
    assert_null(found);
    assert_non_null(strstr(err.message, lab.uri));
    assert_non_null(strstr(err.message, "list --all"));
}

static void test_domain__owner_of_qemu_is_known(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    bool known = false;
    uid_t uid = 1;
    gid_t gid = 1;
    ok(np_domain_qemu_owner(lab.domain, &known, &uid, &gid, &err));
    if (known) { /* an ordinary user has no DAC label */
        assert_int_equal(uid, geteuid());
        assert_int_equal(gid, getegid());
    }
    assert_true(known || geteuid() != 0);
}

static void test_disks__tell_what_can_be_backed_up(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    struct np_domain_disks disks = {0};
    ok(np_domain_disks(lab.domain, &disks, &err));
    assert_int_equal(disks.count, 5);
    const struct np_domain_disk *a = &disks.list[0], *raw = &disks.list[2], *old = &disks.list[3];
    assert_string_equal(a->target, "vda");
    assert_string_equal(a->serial, "S-vda");
    assert_string_equal(a->format, "qcow2");
    assert_int_equal(a->size, 8 << 20);
    assert_int_equal(a->logical_block, 512);
    assert_int_equal(a->physical_block, 4096);
    struct stat st;
    assert_int_equal(stat(a->source, &st), 0);
    assert_int_equal(a->image_ino, st.st_ino);
    assert_int_equal(a->image_dev, st.st_dev);
    assert_true(a->can_backup && a->can_bitmap);
    assert_string_equal(a->why, "");
    assert_true(raw->can_backup && !raw->can_bitmap);
    assert_non_null(strstr(raw->why, "raw images cannot hold a dirty bitmap"));
    assert_true(old->can_backup && !old->can_bitmap);
    assert_non_null(strstr(old->why, "compat=1.1"));
    assert_false(disks.list[4].can_backup);
    np_domain_disks_clear(&disks);
}

/* ---- jobs ---- */

static void test_job__begins_serves_and_ends(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    AUTO_PATHS paths = {0};
    ok(np_job_check_free(lab.domain, &err));
    struct np_job *job = begin(&paths, NULL);
    struct stat st;
    assert_int_equal(stat(paths.socket, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    ok(np_job_check_ours(job, &err));
    end(job);
    assert_no_file(paths.scratch_a);
    assert_no_file(paths.scratch_c);
    ok(np_job_check_free(lab.domain, &err));
    assert_no_checkpoints();
}

static void test_job__is_seen_by_others_and_refuses_a_second(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    AUTO_PATHS paths = {0};
    struct np_job *job = begin(&paths, NULL);
    char *socket = NULL;
    ok(np_job_running_socket(lab.domain, &socket, &err));
    assert_string_equal(socket, paths.socket);
    free(socket);
    fails(NP_BUSY, np_job_check_free(lab.domain, &err));
    assert_non_null(strstr(err.message, paths.socket));
    end(job);
    ok(np_job_running_socket(lab.domain, &socket, &err));
    assert_null(socket);
}

static void test_job__ending_twice_is_fine(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    AUTO_PATHS paths = {0};
    struct np_job *job = begin(&paths, NULL);
    ok(np_job_end(job, &err));
    fails(NP_FAILED, np_job_check_ours(job, &err));
    end(job);
}

static void test_job__aborted_by_somebody_is_not_ours(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    AUTO_PATHS paths = {0};
    struct np_job *job = begin(&paths, NULL);
    ok(np_job_end_by_socket(lab.domain, paths.socket, &err)); /* as another process does */
    fails(NP_FAILED, np_job_check_ours(job, &err));
    assert_non_null(strstr(err.message, "somebody else"));
    end(job);
}

static void test_job__of_another_socket_is_left_alone(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    AUTO_PATHS paths = {0};
    struct np_job *job = begin(&paths, NULL);
    ok(np_job_end_by_socket(lab.domain, "/nonexistent/other.sock", &err));
    ok(np_job_check_ours(job, &err));
    end(job);
}

static void test_job__replaced_by_another_is_not_ours_and_not_aborted(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    AUTO_PATHS paths = {0};
    AUTO_PATHS others = {0};
    struct np_job *job = begin(&paths, NULL);
    ok(np_job_end_by_socket(lab.domain, paths.socket, &err));

    fill_spec(&others, NULL);
    in_root(others.socket, sizeof(others.socket), "other.sock");
    struct np_job *other = NULL;
    ok(np_job_begin(lab.domain, &others.spec, &other, &err));
    fails(NP_FAILED, np_job_check_ours(job, &err));
    assert_non_null(strstr(err.message, "other.sock"));
    end(job);
    ok(np_job_check_ours(other, &err));
    end(other);
}

static void test_job__busy_block_job_names_the_disk(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    char path[128], xml[256];
    in_root(path, sizeof(path), "copy.qcow2");
    snprintf(xml, sizeof(xml), "<disk type='file'><source file='%s'/><driver type='qcow2'/></disk>", path);
    if (virDomainBlockCopy(lab.domain->ptr, "vdb", xml, NULL, 0, VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB) < 0)
        fail_msg("%s", virGetLastErrorMessage());
    fails(NP_BUSY, np_job_check_free(lab.domain, &err));
    assert_string_equal(err.disk, "vdb");
    assert_non_null(strstr(err.message, "copy"));
    assert_int_equal(virDomainBlockJobAbort(lab.domain->ptr, "vdb", 0), 0);
}

static void test_job__denied_socket_names_path_and_cause(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    AUTO_PATHS paths = {0};
    fill_spec(&paths, "c-denied");
    paths.spec.socket = "/proc/nowhere/job.sock"; /* not even root can */
    struct np_job *job = NULL;
    fails(NP_FAILED, np_job_begin(lab.domain, &paths.spec, &job, &err));
    assert_null(job);
    assert_non_null(strstr(err.message, "/proc/nowhere"));
    assert_no_file(paths.scratch_a);
    assert_no_checkpoints();
    ok(np_job_check_free(lab.domain, &err));
}

static void test_job__existing_scratch_is_refused_and_kept(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    AUTO_PATHS paths = {0};
    fill_spec(&paths, "c-scratch");
    int fd = open(paths.scratch_c, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    struct np_job *job = NULL;
    fails(NP_FAILED, np_job_begin(lab.domain, &paths.spec, &job, &err));
    assert_int_equal(access(paths.scratch_c, F_OK), 0);
    assert_int_equal(unlink(paths.scratch_c), 0);
    assert_no_checkpoints();
}

/*
 * libvirt exports last: it has made the checkpoint by then and does not take it back. Its job then ends
 * without an event of its own, which must not be waited for.
 */
static void test_job__failed_export_leaves_nothing(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    AUTO_PATHS paths = {0};
    fill_spec(&paths, "c-export");
    paths.disks[1].export_name = paths.disks[0].export_name;
    struct np_job *job = NULL;
    time_t before = time(NULL);
    fails(NP_FAILED, np_job_begin(lab.domain, &paths.spec, &job, &err));
    assert_in_range(time(NULL) - before, 0, 50);
    assert_no_checkpoints();
    count_bitmaps("c-export", 0);
    assert_no_file(paths.scratch_a);
    assert_no_file(paths.scratch_c);
    ok(np_job_check_free(lab.domain, &err));
}

/* ---- checkpoints ---- */

static void test_checkpoint__lists_shows_and_deletes(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    AUTO_PATHS paths = {0};
    end(begin(&paths, "nbdpull-x-0001-00000001"));
    struct np_names names = {0};
    ok(np_checkpoint_list(lab.domain, "nbdpull-x-", &names, &err));
    assert_int_equal(names.count, 1);
    assert_string_equal(names.list[0], "nbdpull-x-0001-00000001");
    char *xml = NULL;
    ok(np_checkpoint_xml(lab.domain, names.list[0], &xml, &err));
    assert_non_null(strstr(xml, "<disk name='vda' checkpoint='bitmap'"));
    assert_non_null(strstr(xml, "<disk name='vdb' checkpoint='no'"));
    free(xml);
    np_names_clear(&names);
    ok(np_checkpoint_list(lab.domain, "nbdpull-y-", &names, &err));
    assert_int_equal(names.count, 0);
    np_names_clear(&names);

    ok(np_checkpoint_delete(lab.domain, "nbdpull-x-0001-00000001", &err));
    ok(np_checkpoint_delete(lab.domain, "nbdpull-x-0001-00000001", &err)); /* none of that name: fine */
    assert_no_checkpoints();
    fails(NP_BITMAP, np_checkpoint_xml(lab.domain, "nbdpull-x-0001-00000001", &xml, &err));
}

static void test_checkpoint__taken_name_is_refused_and_survives(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    AUTO_PATHS paths = {0};
    AUTO_PATHS again = {0};
    end(begin(&paths, "c-taken"));
    fill_spec(&again, "c-taken");
    struct np_job *job = NULL;
    fails(NP_FAILED, np_job_begin(lab.domain, &again.spec, &job, &err));
    assert_non_null(strstr(err.message, "already"));
    char *xml = NULL;
    ok(np_checkpoint_xml(lab.domain, "c-taken", &xml, &err));
    free(xml);
    ok(np_checkpoint_delete(lab.domain, "c-taken", &err));
}

static void test_checkpoint__increment_from_it_and_from_a_missing_one(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    AUTO_PATHS paths = {0};
    AUTO_PATHS next = {0};
    end(begin(&paths, "c-base"));
    fill_spec(&next, "c-next");
    next.disks[0].bitmap = "bm-vda";
    next.disks[0].incremental = "c-missing";
    struct np_job *job = NULL;
    fails(NP_BITMAP, np_job_begin(lab.domain, &next.spec, &job, &err));
    assert_string_equal(err.disk, "vda");
    next.disks[0].incremental = "c-base";
    ok(np_job_begin(lab.domain, &next.spec, &job, &err));
    end(job);
    ok(np_checkpoint_delete(lab.domain, "c-base", &err));
    ok(np_checkpoint_delete(lab.domain, "c-next", &err));
    assert_no_checkpoints();
}

/* One checkpoint over vda and vdb. */
static void make_checkpoint_of_two(const char *name)
{
    struct np_error err = NP_ERROR_INIT;
    AUTO_PATHS paths = {0};
    char scratch_b[128];
    in_root(scratch_b, sizeof(scratch_b), "scratch.vdb");
    fill_spec(&paths, name);
    paths.disks[1] =
        (struct np_job_disk){.target = "vdb", .scratch = scratch_b, .export_name = "vdb", .checkpoint = true};
    struct np_job *job = NULL;
    ok(np_job_begin(lab.domain, &paths.spec, &job, &err));
    end(job);
}

/* QEMU's own name of the node that holds the disk's image, so that a bitmap can be removed behind libvirt's
 * back. */
static void remove_bitmap(const char *file, const char *bitmap)
{
    char path[128], command[512], node[64] = "", *answer = NULL;
    in_root(path, sizeof(path), file);
    assert_int_equal(
        virDomainQemuMonitorCommand(lab.domain->ptr, "{\"execute\":\"query-block\"}", &answer, 0), 0);
    char *at = strstr(answer, path);
    assert_non_null(at);
    char *name = strstr(at, "\"node-name\":\"libvirt-");
    assert_non_null(name);
    assert_int_equal(sscanf(name, "\"node-name\":\"%63[^\"]\"", node), 1);
    free(answer);
    snprintf(command, sizeof(command),
             "{\"execute\":\"block-dirty-bitmap-remove\",\"arguments\":{\"node\":\"%s\",\"name\":\"%s\"}}",
             node, bitmap);
    answer = NULL;
    assert_int_equal(virDomainQemuMonitorCommand(lab.domain->ptr, command, &answer, 0), 0);
    assert_non_null(strstr(answer, "\"return\""));
    free(answer);
}

static void test_checkpoint__one_lost_bitmap_does_not_leak_the_others(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    make_checkpoint_of_two("c-lost1");
    remove_bitmap("b.qcow2", "c-lost1");
    count_bitmaps("c-lost1", 1);
    ok(np_checkpoint_delete(lab.domain, "c-lost1", &err));
    count_bitmaps("c-lost1", 0);
    assert_no_checkpoints();
}

static void test_checkpoint__all_bitmaps_lost_is_forgotten(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    make_checkpoint_of_two("c-lost2");
    remove_bitmap("a.qcow2", "c-lost2");
    remove_bitmap("b.qcow2", "c-lost2");
    ok(np_checkpoint_delete(lab.domain, "c-lost2", &err));
    assert_no_checkpoints();
}

/* ---- the restored guest's XML ---- */

static void test_relocate__defines_beside_the_original(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    for (int live = 0; live < 2; live++) {
        char *original = NULL, *xml = NULL;
        ok(np_domain_xml(lab.domain, live, &original, &err));
        char path[128];
        in_root(path, sizeof(path), "restored.raw");
        const struct np_xml_disk disks[] = {{"vda", path, "raw"}};
        ok(np_xml_relocate(original, "virt-embed-copy", disks, 1, NULL, &xml, &err));
        assert_null(strstr(xml, "agent.sock"));
        assert_null(strstr(xml, "serial.log"));
        assert_null(strstr(xml, "a.qcow2"));
        virDomainPtr copy = virDomainDefineXMLFlags(lab.virt->conn, xml, VIR_DOMAIN_DEFINE_VALIDATE);
        if (copy == NULL)
            fail_msg("%s\n%s", virGetLastErrorMessage(), xml);
        virDomainUndefine(copy);
        virDomainFree(copy);
        free(original);
        free(xml);
    }
}

/* Defined only, never started: one of each kind of device that leads out of the guest. */
static const char rich_guest[] =
    "<domain type='qemu'><name>virt-embed-rich</name><uuid>11111111-2222-3333-4444-555555555555</uuid>"
    "<genid>aaaaaaaa-2222-3333-4444-555555555555</genid><memory unit='MiB'>128</memory><vcpu>1</vcpu>"
    "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
    "<sysinfo type='smbios'><system><entry "
    "name='uuid'>11111111-2222-3333-4444-555555555555</entry></system></sysinfo>"
    "<os><type arch='x86_64' machine='q35'>hvm</type><loader readonly='yes' "
    "type='pflash'>/usr/share/code.fd</loader>"
    "<nvram template='/usr/share/vars.fd'>/orig/VARS.fd</nvram></os><features><acpi/></features>"
    "<devices><emulator>" EMULATOR "</emulator>"
    "<disk type='block' device='disk' snapshot='external'><driver name='qemu' type='qcow2' cache='none' "
    "discard='unmap' copy_on_read='on'><metadata_cache><max_size "
    "unit='bytes'>1048576</max_size></metadata_cache>"
    "</driver><source dev='/orig/dev'/><target dev='vda' bus='virtio'/><serial>D</serial></disk>"
    "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='orig'>"
    "<host name='orig-host'/></source><target dev='vdb' bus='virtio'/></disk>"
    "<disk type='file' device='cdrom'><source file='/orig/cd.iso' startupPolicy='optional'/>"
    "<target dev='sda' bus='sata'/><readonly/></disk>"
    "<filesystem type='mount'><source dir='/orig/dir'/><target dir='t'/></filesystem>"
    "<interface type='bridge'><mac address='52:54:00:aa:bb:cd'/><source bridge='br0'/><target "
    "dev='tap-orig'/>"
    "<virtualport type='openvswitch'><parameters "
    "interfaceid='11111111-2222-3333-4444-555555555555'/></virtualport>"
    "</interface>"
    "<serial type='tcp'><source mode='bind' host='127.0.0.1' service='4555'/><protocol "
    "type='telnet'/></serial>"
    "<serial type='unix'><source mode='bind' path='/orig/serial.sock'/><log "
    "file='/orig/serial.log'/></serial>"
    "<console type='pipe'><source path='/orig/pipe'/><target type='virtio' port='1'/></console>"
    "<channel type='file'><source path='/orig/channel.log'/><target type='virtio' name='log.0'/></channel>"
    "<channel type='unix'><source mode='connect' path='/orig/other.sock'/><target type='virtio' "
    "name='o.0'/></channel>"
    "<graphics type='vnc' port='5901' autoport='no' websocket='5700'/>"
    "<sound model='ich9'><audio id='1'/></sound><audio id='1' type='file' path='/orig/sound.wav'/>"
    "<vsock model='virtio'><cid auto='no' address='777'/></vsock>"
    "<shmem name='orig-shm'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>"
    "</devices></domain>";

static void test_relocate__guest_with_many_ties_defines_beside_the_original(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    virDomainPtr rich = virDomainDefineXML(lab.virt->conn, rich_guest);
    if (rich == NULL)
        fail_msg("%s", virGetLastErrorMessage());
    struct np_domain *domain = NULL;
    char *saved = NULL, *xml = NULL;
    ok(np_domain_find(lab.virt, "virt-embed-rich", &domain, &err));
    ok(np_domain_xml(domain, false, &saved, &err));
    const struct np_xml_disk disks[] = {{"vda", "/new/vda.qcow2", "qcow2"}, {"vdb", "/new/vdb.raw", "raw"}};
    ok(np_xml_relocate(saved, "virt-embed-copy", disks, 2, NULL, &xml, &err));
    if (strstr(xml, "orig") != NULL || strstr(xml, "11111111") != NULL)
        fail_msg("something of the original is left:\n%s", xml);
    virDomainPtr copy = virDomainDefineXMLFlags(lab.virt->conn, xml, VIR_DOMAIN_DEFINE_VALIDATE);
    if (copy == NULL)
        fail_msg("%s\n%s", virGetLastErrorMessage(), xml);
    virDomainUndefineFlags(copy, VIR_DOMAIN_UNDEFINE_KEEP_NVRAM);
    virDomainUndefineFlags(rich, VIR_DOMAIN_UNDEFINE_KEEP_NVRAM);
    virDomainFree(copy);
    virDomainFree(rich);
    np_domain_free(domain);
    free(saved);
    free(xml);
}

/* ---- the end of the domain; last, nothing runs afterwards ---- */

static void test_job__domain_that_ends_ends_it(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    AUTO_PATHS paths = {0};
    struct np_job *job = begin(&paths, "c-off");
    monitor("qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend \"write -P 0x33 1M 64k\"");
    assert_int_equal(virDomainDestroy(lab.domain->ptr), 0);
    fails(NP_FAILED, np_job_check_ours(job, &err));
    end(job);
    fails(NP_FAILED, np_job_check_free(lab.domain, &err));
    assert_non_null(strstr(err.message, "not running"));
    fails(NP_FAILED, np_checkpoint_delete(lab.domain, "c-off", &err));
    assert_non_null(strstr(err.message, "deferred until the domain runs"));
    ok(np_checkpoint_delete(lab.domain, "c-never", &err));

    struct np_domain_disks disks = {0}; /* those of the definition */
    ok(np_domain_disks(lab.domain, &disks, &err));
    assert_int_equal(disks.count, 5);
    assert_int_equal(disks.list[0].size, 8 << 20);
    assert_true(disks.list[0].can_bitmap);
    np_domain_disks_clear(&disks);
}

static void test_checkpoint__deferred_one_goes_when_the_domain_runs_again(void **state)
{
    NEEDS_LAB();
    struct np_error err = NP_ERROR_INIT;
    if (virDomainCreate(lab.domain->ptr) < 0)
        fail_msg("%s", virGetLastErrorMessage());
    ok(np_checkpoint_delete(lab.domain, "c-off", &err));
    assert_no_checkpoints();
}

/* What the second process of a test does: open, say how it went. The driver's half-made state is not looked
 * at. */
static void open_only(const char *uri)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_virt *virt = NULL;
    puts(np_virt_open(uri, NULL, &virt, &err) == 0 ? "opened" : err.message);
    fflush(stdout);
    _exit(0);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--open") == 0)
        open_only(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connection__second_process_is_told_that_the_root_is_held),
        cmocka_unit_test(test_connection__reopening_the_root_in_one_process_works),
        cmocka_unit_test(test_domain__is_found_by_name_uuid_and_id),
        cmocka_unit_test(test_domain__unknown_one_says_how_to_list),
        cmocka_unit_test(test_domain__owner_of_qemu_is_known),
        cmocka_unit_test(test_disks__tell_what_can_be_backed_up),
        cmocka_unit_test(test_job__begins_serves_and_ends),
        cmocka_unit_test(test_job__is_seen_by_others_and_refuses_a_second),
        cmocka_unit_test(test_job__ending_twice_is_fine),
        cmocka_unit_test(test_job__aborted_by_somebody_is_not_ours),
        cmocka_unit_test(test_job__of_another_socket_is_left_alone),
        cmocka_unit_test(test_job__replaced_by_another_is_not_ours_and_not_aborted),
        cmocka_unit_test(test_job__busy_block_job_names_the_disk),
        cmocka_unit_test(test_job__denied_socket_names_path_and_cause),
        cmocka_unit_test(test_job__existing_scratch_is_refused_and_kept),
        cmocka_unit_test(test_job__failed_export_leaves_nothing),
        cmocka_unit_test(test_checkpoint__lists_shows_and_deletes),
        cmocka_unit_test(test_checkpoint__taken_name_is_refused_and_survives),
        cmocka_unit_test(test_checkpoint__increment_from_it_and_from_a_missing_one),
        cmocka_unit_test(test_checkpoint__one_lost_bitmap_does_not_leak_the_others),
        cmocka_unit_test(test_checkpoint__all_bitmaps_lost_is_forgotten),
        cmocka_unit_test(test_relocate__defines_beside_the_original),
        cmocka_unit_test(test_relocate__guest_with_many_ties_defines_beside_the_original),
        cmocka_unit_test(test_job__domain_that_ends_ends_it),
        cmocka_unit_test(test_checkpoint__deferred_one_goes_when_the_domain_runs_again),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
