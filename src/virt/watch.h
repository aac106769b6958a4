/*
 * What libvirt's events say about a domain, waited for by condition variable. An event does not say which job
 * it is about, so it only wakes: the waiter asks libvirt again.
 */
#ifndef NP_VIRT_WATCH_H
#define NP_VIRT_WATCH_H

#include "nbdpull/error.h"

#include <libvirt/libvirt.h>
#include <limits.h>

/* The events of one connection, and whether it still stands. Libvirt refuses a second registration for a
 * domain. */
struct np_link;

/* @param conn borrowed, outlives the link. @param can_break it leads to a daemon */
int np_link_begin(virConnectPtr conn, bool can_break, struct np_link **link, struct np_error *err);

/* All its watches have ended. Takes NULL. */
void np_link_end(struct np_link *link);

/* A new connection in place of a broken one: the watches go over to it, and whoever waits is woken. */
void np_link_move(struct np_link *from, struct np_link *to);

struct np_watch_news {
    unsigned long count; /* events so far, of every kind; the end of the connection is one */
    bool resumed;        /* a paused guest was made to run */
    bool missed;         /* the connection broke meanwhile: there may have been more than these tell */
    const char *stopped; /* how the domain ended ("was destroyed"), or NULL; static string */
    char job_error[256]; /* what the event of the last completed job said, or "" */
    bool io_failed;      /* an I/O error of the host was reported to the guest, or ignored */
    bool io_pauses;      /* one that pauses the guest came; the pause itself may be yet to come */
    bool io_paused;      /* the guest was paused by one */
};

struct np_watch;

/* Begin before what is to be watched. @param link borrowed, outlives the watch */
int np_watch_begin(struct np_link *link, virDomainPtr domain, struct np_watch **watch, struct np_error *err);
void np_watch_end(struct np_watch *watch); /* takes NULL */

void np_watch_read(struct np_watch *watch, struct np_watch_news *news);

/* An event of our own: for whoever waits. */
void np_watch_wake(struct np_watch *watch);

/* Wait until more than `seen` events have come. False when `seconds` went by without one. */
bool np_watch_wait(struct np_watch *watch, unsigned long seen, unsigned seconds);
bool np_watch_wait_ms(struct np_watch *watch, unsigned long seen, unsigned milliseconds);
#define NP_WATCH_FOREVER UINT_MAX /* milliseconds */

/* Seconds of the clock that these waits go by, which never steps. */
double np_watch_now(void);

#endif
