/**
 * @file virt.h
 * All of libvirt and libxml2: connection, domains and their disks, backup jobs, checkpoints.
 *
 * The first connection starts libvirt's event loop in a thread of its own, with all signals blocked, which
 * runs until the process ends. Functions may be called from any one thread at a time. Libvirt's error is
 * copied at the call. NP_FAILED unless said otherwise. Libvirt itself prints nothing. It is not fork-safe:
 * start child processes by exec only.
 */
#ifndef NBDPULL_VIRT_H
#define NBDPULL_VIRT_H

#include "nbdpull/cancel.h"
#include "nbdpull/error.h"
#include "nbdpull/names.h"
#include "nbdpull/uuid.h"

#include <sys/types.h>

struct np_virt;

/**
 * Connect. Remote URIs (a host part or a transport) are refused before anything is done, and so are aliases
 * of libvirt.conf; a remote default of libvirt.conf is refused once libvirt has told it.
 *
 * An embedded driver (qemu:///embed?root=DIR) lives on until the process ends, of one root a process; NP_BUSY
 * when another process holds the root.
 *
 * A server that accepts and does not answer can hold the call for ever; when somebody asks to stop, the
 * attempt is given up (its thread stays until the process ends). Not that of an embedded driver, which waits
 * for nobody.
 * @param uri    as virsh -c; NULL: libvirt's default
 * @param cancel borrowed, or NULL
 */
int np_virt_open(const char *uri, struct np_cancel *cancel, struct np_virt **virt, struct np_error *err);

/** Its domains, watches and jobs are freed already. Takes NULL. */
void np_virt_close(struct np_virt *virt);
const char *np_virt_uri(const struct np_virt *virt); /**< as libvirt reports it; borrowed */

/* ---- domains ---- */

struct np_domain;

/** By name, then UUID, then (like virsh) running id. An unknown one: the message lists how to see them. */
int np_domain_find(struct np_virt *virt, const char *name, struct np_domain **domain, struct np_error *err);
/** By UUID. @param domain out, owned; NULL when there is none */
int np_domain_find_uuid(struct np_virt *virt, const struct np_uuid *uuid, struct np_domain **domain,
                        struct np_error *err);
void np_domain_free(struct np_domain *domain); /**< takes NULL */
const char *np_domain_name(const struct np_domain *domain);
struct np_uuid np_domain_uuid(const struct np_domain *domain);

/** Does it run (or is it paused)? */
int np_domain_is_active(struct np_domain *domain, bool *active, struct np_error *err);

/** Is it active, and beyond the start of its QEMU? Before, it has not written to a disk, and may yet fail. */
int np_domain_has_started(struct np_domain *domain, bool *started, struct np_error *err);

/** Does the guest run, that is, is it not paused or off? */
int np_domain_is_running(struct np_domain *domain, bool *running, struct np_error *err);

/** As np_job_resume_guest, for a job of which nothing but its socket is known. */
int np_domain_resume_after_io_error(struct np_domain *domain, bool *resumed, struct np_error *err);

/** Is there a saved memory that the next start goes on from (virsh managedsave)? */
int np_domain_is_saved(struct np_domain *domain, bool *saved, struct np_error *err);

/**
 * Start a domain that is off, paused, with a mark in its live XML. Refused when it has a saved memory. On
 * failure np_domain_stop_paused tells whether it was started: the connection may have broken before the
 * answer.
 * @param mark what np_domain_stop_paused must name; UTF-8
 */
int np_domain_start_paused(struct np_domain *domain, const char *mark, struct np_error *err);

enum np_stopped {
    NP_STOPPED,          /**< it is off now, its bitmaps are in its images */
    NP_STOPPED_WAS_OFF,  /**< it was already */
    NP_STOPPED_RESUMED,  /**< it runs, or did and has no such mark: somebody has it */
    NP_STOPPED_HAS_RUN,  /**< it has the mark, and is paused, but has run or may have: so this one too */
    NP_STOPPED_NOT_OURS, /**< it is paused, and has no such mark */
};

/**
 * End, gracefully, a domain that np_domain_start_paused has started and that has never run since. The events
 * tell that where this np_domain has heard all of them since it was started; else QEMU is asked by its
 * monitor, which libvirt notes as a taint of the domain. A connection that broke is opened again.
 * @return 0, or -1: NP_BUSY while a backup job of another socket than `mark`, or a block job, uses its disks
 */
int np_domain_stop_paused(struct np_domain *domain, const char *mark, enum np_stopped *how,
                          struct np_error *err);

#define NP_DISK_WHY_MAX 160

/** A disk of the live domain. All strings owned by the list. */
struct np_domain_disk {
    char target[64];                        /**< "vda" */
    char *device;                           /**< "disk", "cdrom", "floppy", "lun" */
    char *source_type;                      /**< "file", "block", "network", ... */
    char *source;                           /**< path; "PROTOCOL:NAME", "POOL/VOLUME"; NULL when empty */
    char *format;                           /**< driver type: "qcow2", "raw", ... */
    char *serial;                           /**< or NULL */
    uint64_t size;                          /**< virtual size, bytes; 0 when not known */
    uint32_t logical_block, physical_block; /**< bytes; 0 when libvirt does not say */
    uint64_t image_dev, image_ino;          /**< of a local image (a block device's own number); else 0, 0 */
    bool is_shareable;                      /**< others may write to it too */
    bool can_backup;                        /**< takes part in a pull backup */
    bool can_bitmap;                        /**< can hold a dirty bitmap, so takes part in checkpoints */
    char why[NP_DISK_WHY_MAX];              /**< reason when can_backup or can_bitmap is false, else "" */
    const char
        *why_running; /**< static; why only a running QEMU can read it, NULL: its image can be opened */
    char *backing; /**< backing chain that the XML gives, "FORMAT PATH\n" an image; NULL: the images tell */
};

struct np_domain_disks {
    struct np_domain_disk *list; /**< owned, in the XML's order */
    size_t count;
};

/** Read the disks of the running domain; when it is off those that it starts with: of its saved memory, or of
 * the definition. @param disks out, owned: np_domain_disks_clear */
int np_domain_disks(struct np_domain *domain, struct np_domain_disks *disks, struct np_error *err);
void np_domain_disks_clear(struct np_domain_disks *disks); /**< takes a zeroed struct */

/** @return borrowed from the list; NULL: none has this target name */
const struct np_domain_disk *np_domain_disk_of(const struct np_domain_disks *disks, const char *target);

/**
 * Bytes that a disk's images take on the host, those of its backing chain too: about what a full reads. It is
 * no bound: metadata and preallocation count as well, and compressed clusters count as what they take.
 * @param known out; false when libvirt cannot tell for every image
 */
int np_domain_allocation(struct np_domain *domain, const char *target, bool *known, uint64_t *bytes,
                         struct np_error *err);

/** The XML without secrets. @param live that of the running domain, else the inactive one. @param xml out,
 * owned */
int np_domain_xml(struct np_domain *domain, bool live, char **xml, struct np_error *err);

/** As np_domain_xml, of a domain that is off: what it goes on with from its saved memory. @param xml NULL
 * when that is damaged: it starts without it then */
int np_domain_saved_xml(struct np_domain *domain, char **xml, struct np_error *err);

/** Path of the NVRAM file of a domain XML; *path NULL when it has none. @param path out, owned (free) */
int np_xml_nvram(const char *domain_xml, char **path, struct np_error *err);
/** Does its firmware keep variables in flash? Then a guest that runs has NVRAM, whether this XML names it or
 * not. */
int np_xml_has_flash(const char *domain_xml, bool *has, struct np_error *err);

/**
 * Owner that QEMU's process runs as (DAC label of the live XML); *known false when there is no such label, as
 * with qemu:///session, where it is the user.
 */
int np_domain_qemu_owner(struct np_domain *domain, bool *known, uid_t *uid, gid_t *gid, struct np_error *err);

/** Where a restored disk lies, for np_xml_relocate. */
struct np_xml_disk {
    const char *target;
    const char *path;   /**< absolute path of the restored image */
    const char *format; /**< "qcow2" or "raw" */
};

/**
 * The XML of a restored guest that can be defined beside the original and shares no file, socket or host
 * device with it: new name, no UUID, disks in `disks` as local files of that path and format (backing chains
 * and snapshots' traces removed), disks that were not restored removed, CD-ROMs and floppies emptied, NVRAM
 * path replaced (or removed when nvram is NULL: libvirt then makes one from the template), MACs and
 * generation id removed, ports made automatic, serial ports and channels on pty or on a socket of the new
 * guest. Devices that cannot be there twice (host devices, shared directories, shared memory, arguments for
 * QEMU, ...) are left out, each with a line of np_log_info. What is only read (loader, NVRAM template,
 * kernel, initrd) is kept.
 * @param domain_xml may be hostile: no DTD is accepted, and at most 16 MiB
 * @param disks      each must be in the XML exactly once
 * @param xml        out, owned (free)
 */
int np_xml_relocate(const char *domain_xml, const char *name, const struct np_xml_disk *disks, size_t count,
                    const char *nvram, char **xml, struct np_error *err);

/**
 * Displays that others than the host can reach and that have no password, as a person reads them: "vnc on
 * 0.0.0.0, spice on 192.0.2.1"; a few of them, the others counted. A display without an address listens where
 * the host's qemu.conf says, and is none of them.
 * @param domain_xml as for np_xml_relocate; names in it are cut, not escaped
 * @param displays   out, owned (free); NULL when there are none
 */
int np_graphics_open(const char *domain_xml, char **displays, struct np_error *err);

/* ---- backup jobs ---- */

struct np_job_disk {
    const char *target;
    const char *scratch;     /**< path of the scratch file that libvirt makes */
    const char *export_name; /**< NBD export */
    const char *incremental; /**< checkpoint to start from, or NULL: full */
    const char *bitmap;      /**< export name of the dirty bitmap when incremental */
    bool checkpoint;         /**< this disk is in the new checkpoint */
};

struct np_job_spec {
    const char *socket;     /**< path of the NBD server's Unix socket */
    const char *checkpoint; /**< name of the checkpoint to create with the job, or NULL */
    const struct np_job_disk
        *disks; /**< the disks that are backed up; all others are listed as backup='no' */
    size_t disk_count;
    const struct np_domain_disks *all; /**< all disks of the domain */
};

struct np_job;

/**
 * Refuse early: NP_BUSY when a backup (its socket is named), another job, or a block job of a disk runs on
 * the domain. (virDomainBackupBegin would wait 30 s for the lock.) NP_FAILED when the domain is off.
 */
int np_job_check_free(struct np_domain *domain, struct np_error *err);

/**
 * Begin the job and the checkpoint in one call, read the XML back and compare (every disk, socket, scratch).
 * On failure nothing of ours runs and nothing is left; what could not be undone is told by np_log_warning.
 * NP_BUSY when another job holds the lock or the disk; NP_BITMAP when a checkpoint to start from, or its
 * bitmap, is missing or broken (err->disk is the first such disk where libvirt names it).
 * @param spec borrowed for the call; the socket must be one that no other attempt uses
 */
int np_job_begin(struct np_domain *domain, const struct np_job_spec *spec, struct np_job **job,
                 struct np_error *err);

/**
 * Is the running job still ours (socket path in its XML)? A connection that broke (libvirtd was restarted) is
 * opened again first, here and where a job is ended. NP_FAILED when it is not, or when none runs, saying
 * what is known: aborted by somebody, domain ended.
 */
int np_job_check_ours(struct np_job *job, struct np_error *err);

/**
 * End our job, which is its normal end too, and wait until it is over, its scratch files gone. Fine when it
 * is over already or the domain ended. The socket file may stay. When the connection breaks and does not come
 * back within seconds, the message says that the job may still run.
 */
int np_job_end(struct np_job *job, struct np_error *err);

/**
 * What libvirt's events have said since before the job began. These and np_job_end may be called from one
 * more thread.
 */
struct np_job_news {
    unsigned long count; /**< of any kind, np_job_wake among them */
    bool domain_ended;
    bool guest_paused; /**< an I/O error of the host has paused the guest, or is about to */
    bool guest_failed; /**< one was reported to the guest, or ignored, by the disk's error policy */
};

void np_job_news(struct np_job *job, struct np_job_news *news);
/** Wait until more than `seen` events have come. */
void np_job_wait(struct np_job *job, unsigned long seen);
/** An event of our own, for np_job_wait. */
void np_job_wake(struct np_job *job);

/**
 * Ask for an event when a write to the disk's scratch file ends behind that byte of it. It comes once.
 * @param armed out; false when our job does not run any more
 */
int np_job_watch_scratch(struct np_job *job, const char *target, uint64_t pos, bool *armed,
                         struct np_error *err);

/** What all scratch files hold now, without their metadata; 0 once the job is over. They never shrink. */
int np_job_scratch_used(struct np_job *job, uint64_t *bytes, struct np_error *err);

/**
 * Resume the guest if an I/O error has paused it: its writes are tried again. Once the job is over, for a
 * guest that ran before it.
 */
int np_job_resume_guest(struct np_job *job, bool *resumed, struct np_error *err);

/** Free; does not end the job. Takes NULL. */
void np_job_free(struct np_job *job);

/**
 * Socket path of the backup job that runs on the domain ("HOST:PORT" if it is on TCP, "" in push mode);
 * *socket NULL when none runs. @param socket out, owned (free)
 */
int np_job_running_socket(struct np_domain *domain, char **socket, struct np_error *err);

/** End the domain's backup job if its socket is this one, and wait until it is over. Nothing if it is not. */
int np_job_end_by_socket(struct np_domain *domain, const char *socket, struct np_error *err);

/**
 * After a process died that may have called begin: libvirt goes on with it, and lets it wait up to 30 s for
 * another job's end. Wait until the job with this socket runs, or none can come any more. Returns at once
 * when it runs, and after 0.2 s when the domain has no job; only another job makes it wait longer. Polls, for
 * libvirt has no event for a job that begins.
 * @param cancel borrowed, or NULL; it ends the wait, with -1
 */
int np_job_await_begin(struct np_domain *domain, const char *socket, struct np_cancel *cancel,
                       struct np_error *err);

/* ---- the agent in the guest ---- */

/** Does the running domain have a channel for QEMU's guest agent? Whether one answers is another matter. */
int np_agent_configured(struct np_domain *domain, bool *configured, struct np_error *err);

/**
 * Freeze all file systems of the guest. Bounded: an agent that does not listen takes some 5 s, one that does
 * not come to its end 30 s.
 * @param thaw out, on failure too: np_agent_thaw must follow. False when nothing was frozen by this call, as
 * when somebody else has frozen the guest
 * @return 0; -1 NP_FAILED when it is not frozen, for whatever reason
 */
int np_agent_freeze(struct np_domain *domain, bool *thaw, struct np_error *err);

/**
 * Thaw. Tries for 30 s where the agent does not answer; fine when the domain does not run any more.
 * @param thawed out; false: nothing was frozen any more
 * @return 0; -1 NP_FAILED: the guest may be frozen, the message says how to thaw it
 */
int np_agent_thaw(struct np_domain *domain, bool *thawed, struct np_error *err);

/* ---- checkpoints ---- */

/** Names of the checkpoints of all domains there that begin with prefix; of others as far as they can be
 * listed.
 * @param names out, owned */
int np_checkpoint_list_all(struct np_domain *domain, const char *prefix, struct np_names *names,
                           struct np_error *err);

/** Names of the domain's checkpoints that begin with prefix. @param names out, owned */
int np_checkpoint_list(struct np_domain *domain, const char *prefix, struct np_names *names,
                       struct np_error *err);

/** The checkpoint's XML, as saved beside a point. NP_BITMAP when there is none. @param xml out, owned (free)
 */
int np_checkpoint_xml(struct np_domain *domain, const char *name, char **xml, struct np_error *err);

/**
 * Delete with its bitmaps; on a bitmap that is gone: redefine without it, delete again. None of that name:
 * fine. NP_FAILED "deferred until the domain runs" while it is off, for the bitmaps would stay and record for
 * ever.
 */
int np_checkpoint_delete(struct np_domain *domain, const char *name, struct np_error *err);

/** What libvirt knows of one disk in a checkpoint. */
struct np_checkpoint_state {
    bool known;           /**< libvirt has a checkpoint of that name */
    bool usable;          /**< its bitmap for the disk is there and consistent */
    uint64_t dirty_bytes; /**< when usable: what the bitmap calls dirty now */
};

/** Ask before a job whether an increment can start from a checkpoint: fast, no job needed. */
int np_checkpoint_probe(struct np_domain *domain, const char *name, const char *target,
                        struct np_checkpoint_state *state, struct np_error *err);

/**
 * Tell libvirt of a checkpoint whose bitmaps were made in the images, or may have been.
 * @param targets the disks that it covers, others of the domain it does not
 * @param disks   all of the domain
 */
int np_checkpoint_declare(struct np_domain *domain, const char *name, const struct np_names *targets,
                          const struct np_domain_disks *disks, struct np_error *err);

/** Targets of the disks that it covers. NP_FAILED when there is none of that name. @param targets zeroed;
 * filled */
int np_checkpoint_targets(struct np_domain *domain, const char *name, struct np_names *targets,
                          struct np_error *err);

/** Have libvirt forget it, while the domain is off; its bitmaps have been removed. None of that name: fine.
 */
int np_checkpoint_forget(struct np_domain *domain, const char *name, struct np_error *err);

/**
 * Tell libvirt again of a checkpoint that it has lost. The bitmap of one disk at least must be usable;
 * np_checkpoint_probe tells of which. With none, the checkpoint and what is left of its bitmaps are removed.
 * While the domain is off libvirt does not look for bitmaps, and it is only told.
 * @param saved_xml as np_checkpoint_xml gave it; hostile
 * @param name      what it must be named
 */
int np_checkpoint_redefine(struct np_domain *domain, const char *saved_xml, const char *name,
                           struct np_error *err);

/**
 * Look for bitmaps of a checkpoint that libvirt does not know, and of which only the name is left. Where an
 * image has a usable one, libvirt is told again, so that it can be deleted; broken ones are removed.
 * @param found out; libvirt knows it now
 */
int np_checkpoint_recall(struct np_domain *domain, const char *name, bool *found, struct np_error *err);

/**
 * Names of all dirty bitmaps that the QEMU of a running domain has, those of lost checkpoints too; more than
 * once when several images have one of that name. libvirt notes as a taint of the domain that its monitor was
 * used.
 * @param writable of images that are open for writing: the disks' own. Zeroed; filled
 * @param others   of those that are not: backing images, read-only disks. Zeroed; filled
 */
int np_domain_bitmaps(struct np_domain *domain, struct np_names *writable, struct np_names *others,
                      struct np_error *err);

#endif
