/*
 * Reading through a client.
 *
 * A read counts as done when the server reported success for all of it and the pieces it sent cover every
 * byte exactly once. libnbd adds up the sizes of the pieces; a piece sent twice in place of another one would
 * pass there, and the buffer would keep what an earlier read left in it.
 *
 * Reads ask for an answer in one piece (DF). QEMU cuts others along what is allocated, which it asks its
 * images for once more, and hangs up when one of them cannot be read in the middle; asked this way, it tells
 * the error.
 */
#include "client.h"

#include "nbdpull/bytes.h"

#include <errno.h>

/* Progress of one read request. */
struct coverage {
    uint64_t next; /* all before it has come */
    bool gap;      /* a piece did not begin there */
};

static int on_piece(void *ctx, const void *bytes, size_t size, uint64_t offset, unsigned kind, int *error)
{
    struct coverage *seen = ctx;
    (void)bytes;
    if (kind == LIBNBD_READ_ERROR) /* libnbd fails the whole request for it */
        return 0;
    if (offset != seen->next) {
        seen->gap = true;
        *error = EPROTO;
        return -1;
    }
    seen->next += size;
    return 0;
}

/* One request, within the server's rules. */
static int read_request(struct np_nbd_client *client, void *buffer, uint64_t offset, size_t length,
                        struct np_error *err)
{
    struct coverage seen = {.next = offset};
    nbd_chunk_callback piece = {.callback = on_piece, .user_data = &seen};
    int status = nbd_pread_structured(client->nbd, buffer, length, offset, piece, client->read_flags);
    if (status < 0 && !seen.gap)
        return np_nbd_client_fail(client, err, "cannot read %zu bytes at %ju", length, (uintmax_t)offset);
    if (status < 0 || seen.next != offset + length)
        return np_fail(
            err, NP_FAILED,
            "%s: cannot read %zu bytes at %ju: the server's answer lacks bytes, or is out of order",
            client->subject, length, (uintmax_t)offset);
    return 0;
}

/* The part of one minimum block that is asked for, by way of the whole block. */
static int read_part(struct np_nbd_client *client, void *buffer, uint64_t offset, size_t length,
                     struct np_error *err)
{
    uint64_t begin = np_align_down(offset, client->align);
    if (read_request(client, client->block, begin, client->align, err) < 0)
        return -1;
    memcpy(buffer, client->block + (offset - begin), length);
    return 0;
}

static int read_step(struct np_nbd_client *client, void *buffer, uint64_t offset, size_t length, size_t *done,
                     struct np_error *err)
{
    size_t inside = offset & (client->align - 1);
    if (inside != 0 || length < client->align) {
        *done = np_min_u64(length, client->align - inside);
        return read_part(client, buffer, offset, *done, err);
    }
    *done = np_min_u64(np_align_down(length, client->align), client->request_max);
    return read_request(client, buffer, offset, *done, err);
}

int np_nbd_client_read(struct np_nbd_client *client, void *buffer, uint64_t offset, size_t length,
                       struct np_error *err)
{
    for (uint8_t *to = buffer; length > 0;) {
        size_t done;
        if (read_step(client, to, offset, length, &done, err) < 0)
            return np_error_where(err, NULL, offset);
        to += done;
        offset += done;
        length -= done;
    }
    return 0;
}
