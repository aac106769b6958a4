/* Real NBD servers for tests: qemu-nbd and nbdkit, started on a private socket, and ended at will. */
#ifndef TESTS_CONTRACT_SERVER_H
#define TESTS_CONTRACT_SERVER_H

#include "test.h"

#include "nbdpull/listener.h"
#include "nbdpull/subprocess.h"

#include <signal.h>

struct server {
    struct np_listener listener;
    struct np_subprocess process;
};

/* argv as on the command line, without an address: the socket is handed over. */
static inline void server_start(struct server *server, const char *const argv[])
{
    struct np_error err = NP_ERROR_INIT;
    ok(np_listener_open(&server->listener, 16, &err));
    ok(np_subprocess_start_socket(&server->process, argv, server->listener.fd, SIGTERM, &err));
    np_listener_hand_over(&server->listener);
}

static inline void server_stop(struct server *server)
{
    np_subprocess_stop(&server->process);
    np_listener_close(&server->listener);
}

static inline void server_kill(struct server *server)
{
    kill(server->process.pid, SIGKILL);
}

#define server_run(server, ...) server_start(server, (const char *const[]){__VA_ARGS__, NULL})

/* Run a program to its good end. */
static inline void run_program(const char *const argv[])
{
    struct np_error err = NP_ERROR_INIT;
    ok(np_subprocess_run(argv, &err));
}

#define run(...) run_program((const char *const[]){__VA_ARGS__, NULL})

#endif
