#include "client.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define MINIMUM_BLOCK_MAX (64u << 10) /* NBD protocol, "Block size constraints" */

static void cleanup_client(struct np_nbd_client **client)
{
    np_nbd_client_close(*client);
}

/* libnbd puts the name of its function in front, which says nothing to an administrator. */
static const char *without_function(const char *said)
{
    const char *colon = strncmp(said, "nbd_", 4) == 0 ? strstr(said, ": ") : NULL;
    return colon == NULL ? said : colon + 2;
}

int np_nbd_client_fail(const struct np_nbd_client *client, struct np_error *err, const char *what, ...)
{
    char cause[512]; /* copied first: the next call of libnbd in this thread forgets it */
    const char *said = nbd_get_error();
    int errnum = nbd_get_errno();
    snprintf(cause, sizeof(cause), "%s", said == NULL ? strerror(errnum) : without_function(said));

    char doing[256];
    va_list args;
    va_start(args, what);
    vsnprintf(doing, sizeof(doing), what, args);
    va_end(args);

    if (client->group != NULL && np_cancel_check(client->group->cancel, err) < 0)
        return -1;
    if (client->group != NULL && np_nbd_group_is_interrupted(client->group))
        return np_fail(err, NP_FAILED, "%s: %s: interrupted", client->subject, doing);
    if (client->connected && np_nbd_client_is_lost(client))
        return np_fail(err, NP_FAILED, "%s: %s: the NBD connection was lost (%s); %s", client->subject, doing,
                       cause, client->lost);
    return np_fail(err, NP_FAILED, "%s: %s: %s", client->subject, doing, cause);
}

bool np_nbd_client_is_lost(const struct np_nbd_client *client)
{
    return nbd_aio_is_dead(client->nbd) == 1 || nbd_aio_is_closed(client->nbd) == 1;
}

static int copy_names(struct np_nbd_client *client, const struct np_nbd_address *address,
                      struct np_error *err)
{
    bool whole = address->subject != NULL ? (client->subject = strdup(address->subject)) != NULL
                                          : asprintf(&client->subject, "export '%s' on %s",
                                                     address->export_name, address->socket) >= 0;
    whole = whole && (client->lost = strdup(address->lost)) != NULL;
    if (whole && address->bitmap != NULL)
        whole = asprintf(&client->bitmap_context, NP_NBD_BITMAP "%s", address->bitmap) >= 0;
    return whole ? 0 : np_fail_errno(err, NP_FAILED, ENOMEM, "%s", address->socket);
}

/* What must be said to libnbd before it connects. */
static int configure(struct np_nbd_client *client, const struct np_nbd_address *address, struct np_error *err)
{
    client->nbd = nbd_create();
    if (client->nbd == NULL)
        return np_fail(err, NP_FAILED, "%s: cannot use libnbd: %s", client->subject, nbd_get_error());

    uint32_t strict = nbd_get_strict_mode(client->nbd) | LIBNBD_STRICT_MASK;
    bool done = nbd_set_strict_mode(client->nbd, strict) == 0 &&
                nbd_set_export_name(client->nbd, address->export_name) == 0 &&
                /* np_nbd_client_read sees to it that every byte of the buffer comes from the server */
                nbd_set_pread_initialize(client->nbd, false) == 0;
    if (done && address->allocation)
        done = nbd_add_meta_context(client->nbd, NP_NBD_ALLOCATION) == 0;
    if (done && client->bitmap_context != NULL)
        done = nbd_add_meta_context(client->nbd, client->bitmap_context) == 0;
    return done ? 0 : np_nbd_client_fail(client, err, "cannot set up the connection");
}

/* The socket is made here and not by libnbd, so that an interrupt reaches the handshake too. */
static int connect_socket(struct np_nbd_client *client, const char *path, struct np_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return np_fail(err, NP_FAILED, "%s: cannot connect: the path of the socket is longer than %zu bytes",
                       client->subject, sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, strlen(path));

    NP_AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot connect", client->subject);
    client->socket = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (client->socket < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot connect", client->subject);
    return np_steal_fd(&fd);
}

static int handshake(struct np_nbd_client *client, int fd, struct np_error *err)
{
    if (nbd_connect_socket(client->nbd, fd) < 0) /* takes the descriptor, also when it fails */
        return np_nbd_client_fail(client, err, "cannot connect");
    client->connected = true;
    int64_t size = nbd_get_size(client->nbd);
    if (size < 0)
        return np_nbd_client_fail(client, err, "cannot learn its size");
    client->size = (uint64_t)size;
    client->read_flags = nbd_can_df(client->nbd) == 1 ? LIBNBD_CMD_FLAG_DF : 0;
    return 0;
}

static int need_context(struct np_nbd_client *client, const char *context, const char *without,
                        struct np_error *err)
{
    int offered = nbd_can_meta_context(client->nbd, context);
    if (offered < 0)
        return np_nbd_client_fail(client, err, "cannot learn whether it has %s", context);
    if (offered == 0)
        return np_fail(err, NP_FAILED, "%s: the server does not offer %s; %s", client->subject, context,
                       without);
    return 0;
}

static int check_contexts(struct np_nbd_client *client, const struct np_nbd_address *address,
                          struct np_error *err)
{
    if (!address->allocation)
        return 0;
    if (nbd_get_structured_replies_negotiated(client->nbd) != 1)
        return np_fail(err, NP_FAILED,
                       "%s: the server has no structured replies, so it cannot say what is allocated; "
                       "QEMU's servers have them",
                       client->subject);
    if (need_context(client, NP_NBD_ALLOCATION, "without it nobody knows what is allocated", err) < 0)
        return -1;
    if (client->bitmap_context == NULL)
        return 0;
    return need_context(client, client->bitmap_context,
                        "without the dirty bitmap nobody knows what has changed: take a full backup, or scan",
                        err);
}

/* The server's numbers are outside data: they become sizes of requests and of one allocation. */
static int learn_blocks(struct np_nbd_client *client, struct np_error *err)
{
    int64_t minimum = nbd_get_block_size(client->nbd, LIBNBD_SIZE_MINIMUM);
    int64_t preferred = nbd_get_block_size(client->nbd, LIBNBD_SIZE_PREFERRED);
    int64_t maximum = nbd_get_block_size(client->nbd, LIBNBD_SIZE_MAXIMUM);
    if (minimum < 0 || preferred < 0 || maximum < 0)
        return np_nbd_client_fail(client, err, "cannot learn its block sizes");

    client->minimum = (uint32_t)np_min_u64((uint64_t)minimum, UINT32_MAX);
    client->preferred = (uint32_t)np_min_u64((uint64_t)preferred, UINT32_MAX);
    client->align = client->minimum == 0 ? 1 : client->minimum;
    if (!np_is_power_of_two(client->align) || client->align > MINIMUM_BLOCK_MAX)
        return np_fail(err, NP_FAILED, "%s: the server's minimum block of %u bytes is not supported",
                       client->subject, client->minimum);
    if (client->size % client->align != 0)
        return np_fail(err, NP_FAILED,
                       "%s: its %ju bytes are no multiple of the server's minimum block of %u bytes, so its "
                       "end cannot be read",
                       client->subject, (uintmax_t)client->size, client->align);
    uint64_t most = maximum == 0 ? NP_NBD_REQUEST_MAX : np_min_u64((uint64_t)maximum, NP_NBD_REQUEST_MAX);
    client->request_max = (uint32_t)np_max_u64(np_align_down(most, client->align), client->align);
    return 0;
}

static int make_block(struct np_nbd_client *client, struct np_error *err)
{
    if (client->align == 1)
        return 0;
    client->block = malloc(client->align);
    return client->block != NULL ? 0 : np_fail_errno(err, NP_FAILED, ENOMEM, "%s", client->subject);
}

int np_nbd_client_open(const struct np_nbd_address *address, struct np_nbd_group *group,
                       struct np_nbd_client **client, struct np_error *err)
{
    NP_CLEANUP(cleanup_client) struct np_nbd_client *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", address->socket);
    made->socket = -1;
    if (copy_names(made, address, err) < 0 || configure(made, address, err) < 0)
        return -1;

    NP_AUTO_FD int fd = connect_socket(made, address->socket, err);
    if (fd < 0 || np_nbd_group_join(group, made, err) < 0 || handshake(made, np_steal_fd(&fd), err) < 0) {
        np_cancel_check(group->cancel, err); /* the server may have been ended because of it */
        return -1;
    }
    if (check_contexts(made, address, err) < 0 || learn_blocks(made, err) < 0 || make_block(made, err) < 0)
        return -1;
    *client = NP_STEAL(made);
    return 0;
}

void np_nbd_client_close(struct np_nbd_client *client)
{
    if (client == NULL)
        return;
    if (client->nbd != NULL && nbd_aio_is_ready(client->nbd) == 1)
        nbd_aio_disconnect(client->nbd, 0); /* said, and not waited for: the server may hang */
    np_nbd_group_leave(client);
    nbd_close(client->nbd);
    if (client->socket >= 0)
        close(client->socket);
    free(client->block);
    free(client->bitmap_context);
    free(client->lost);
    free(client->subject);
    free(client);
}

uint64_t np_nbd_client_size(const struct np_nbd_client *client)
{
    return client->size;
}

void np_nbd_client_blocks(const struct np_nbd_client *client, uint32_t *minimum, uint32_t *preferred)
{
    *minimum = client->minimum;
    *preferred = client->preferred;
}
