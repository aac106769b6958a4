#include "status.h"

#include "nbdpull/bytes.h"

#include <errno.h>
#include <string.h>

#define STATE_DIRTY 1u                    /* QEMU docs/interop/nbd.txt, "qemu:dirty-bitmap" */
#define STATUS_MAX (UINT32_MAX - 0xffffu) /* lengths have 32 bits; a multiple of every minimum block */

/* One request, while libnbd calls back once for each context. */
struct request {
    struct np_nbd_status *status;
    const struct np_nbd_client *client;
    uint64_t end;     /* of what is asked for */
    bool answered[2]; /* same order as the lists */
    bool failed;      /* err is filled */
    struct np_error *err;
};

static size_t list_count(const struct np_nbd_client *client)
{
    return client->bitmap_context == NULL ? 1 : 2;
}

static int take(struct request *request, size_t which, const uint32_t *words, size_t count)
{
    static const uint32_t bits[] = {LIBNBD_STATE_ZERO, STATE_DIRTY};
    static const uint32_t flags[] = {NP_EXTENT_ZERO, NP_EXTENT_DIRTY};
    if (request->answered[which])
        return np_fail(request->err, NP_FAILED, "the server told the block status of one context twice");
    request->answered[which] = true;
    return np_nbd_extents_append(&request->status->lists[which], words, count, request->end, bits[which],
                                 flags[which], request->err);
}

static int on_context(void *ctx, const char *context, uint64_t offset, uint32_t *words, size_t count,
                      int *error)
{
    struct request *request = ctx;
    (void)offset; /* that of the request */
    bool allocation = strcmp(context, NP_NBD_ALLOCATION) == 0;
    bool bitmap =
        request->client->bitmap_context != NULL && strcmp(context, request->client->bitmap_context) == 0;
    if (request->failed || (!allocation && !bitmap))
        return 0;
    if (take(request, allocation ? 0 : 1, words, count) < 0) {
        request->failed = true;
        *error = EPROTO;
        return -1;
    }
    return 0;
}

static int ask(struct np_nbd_status *status, struct np_nbd_client *client, uint64_t offset, uint64_t length,
               struct np_error *err)
{
    uint64_t begin = np_align_down(offset, client->align);
    length = np_min_u64(np_align_up(offset + length, client->align) - begin, STATUS_MAX);
    struct request request = {.status = status, .client = client, .end = begin + length, .err = err};
    nbd_extent_callback context = {.callback = on_context, .user_data = &request};
    for (size_t i = 0; i < NP_ARRAY_SIZE(status->lists); i++)
        np_nbd_extents_begin(&status->lists[i], begin);

    int done = nbd_block_status(client->nbd, length, begin, context, 0);
    if (request.failed)
        return np_error_context(err, "%s", client->subject);
    if (done < 0)
        return np_nbd_client_fail(client, err, "cannot get the block status of %ju bytes at %ju",
                                  (uintmax_t)length, (uintmax_t)begin);
    return 0;
}

/* The lists are emptied by a request that fails, so what is covered can be believed. */
static bool is_covered(const struct np_nbd_status *status, size_t lists, uint64_t offset)
{
    for (size_t i = 0; i < lists; i++)
        if (offset < status->lists[i].offset || offset >= status->lists[i].end)
            return false;
    return true;
}

int np_nbd_status_extents(struct np_nbd_status *status, struct np_nbd_client *client, uint64_t offset,
                          uint64_t length, struct np_extent *extents, size_t room, size_t *count,
                          struct np_error *err)
{
    size_t lists = list_count(client);
    if (!is_covered(status, lists, offset) && ask(status, client, offset, length, err) < 0) {
        np_nbd_status_clear(status);
        return np_error_where(err, NULL, offset);
    }
    if (np_nbd_extents_walk(status->lists, lists, offset, offset + length, extents, room, count, err) == 0)
        return 0;
    np_error_context(err, "%s", client->subject);
    return np_error_where(err, NULL, offset);
}

void np_nbd_status_clear(struct np_nbd_status *status)
{
    for (size_t i = 0; i < NP_ARRAY_SIZE(status->lists); i++)
        np_nbd_extents_clear(&status->lists[i]);
}
