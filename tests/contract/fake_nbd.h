/*
 * An NBD server that breaks the protocol in the way a test wants: real servers are too well-behaved. Serves
 * each connection in a thread of its own. Source of the constants: NetworkBlockDevice/nbd, doc/proto.md.
 */
#ifndef TESTS_CONTRACT_FAKE_NBD_H
#define TESTS_CONTRACT_FAKE_NBD_H

#include "test.h"

#include "nbdpull/listener.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define FAKE_PIECES_MAX 4
#define FAKE_CONNECTIONS_MAX 64

#define FAKE_CHUNK_MAGIC 0x668e33efu
#define FAKE_CHUNK_DONE 1u
#define FAKE_TYPE_NONE 0u
#define FAKE_TYPE_DATA 1u
#define FAKE_TYPE_HOLE 2u
#define FAKE_TYPE_STATUS 5u
#define FAKE_TYPE_ERROR 0x8001u
#define FAKE_TYPE_ERROR_OFFSET 0x8002u
#define FAKE_READ 0u
#define FAKE_STATUS 7u

struct fake_piece {
    uint32_t offset, length; /* within the read; the bytes are all `value` */
    uint8_t value;
};

struct fake_context {
    const char *name;
    uint32_t words[16]; /* its whole answer to every block status */
    size_t word_count;  /* 0: it does not answer */
    unsigned times;     /* how often it answers; 0 is once */
};

/* As it came, in the machine's byte order; the cookie goes back as it is. */
struct fake_request {
    int fd;
    unsigned connection; /* from 0 */
    uint16_t type;
    uint64_t cookie, offset;
    uint32_t length;
};

struct fake_nbd {
    uint64_t size, later_size;                 /* of the first connection, and of the others if it is not 0 */
    struct fake_piece pieces[FAKE_PIECES_MAX]; /* the answer to every read */
    size_t piece_count;
    struct fake_context contexts[2];
    size_t context_count;
    bool hang_up_in_handshake, hang_up_in_read;
    bool silent_in_handshake; /* from the second connection on */
    uint32_t refuses;         /* the error that every option gets; 0: none does */
    bool no_structured_replies;
    unsigned patience_ms; /* hang up when no request comes for so long; 0: wait */

    /* Answers reads and block status instead of what is above. Returns false to hang up. */
    bool (*answer)(void *ctx, const struct fake_request *request);
    void *ctx;

    struct np_listener listener;
    pthread_t thread;
    atomic_uint connections;
};

struct fake_connection {
    struct fake_nbd *fake;
    int fd;
    unsigned number;
    pthread_t thread;
};

static inline bool fake_receive(int fd, void *bytes, size_t size)
{
    return recv(fd, bytes, size, MSG_WAITALL) == (ssize_t)size;
}

static inline void fake_send(int fd, const void *bytes, size_t size)
{
    for (const char *from = bytes; size > 0;) {
        ssize_t sent = send(fd, from, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        from += sent;
        size -= (size_t)sent;
    }
}

static inline void fake_send_option(int fd, uint32_t option, uint32_t type, const void *data, uint32_t size)
{
    struct __attribute__((packed)) {
        uint64_t magic;
        uint32_t option, type, size;
    } head = {htobe64(0x3e889045565a9), htobe32(option), htobe32(type), htobe32(size)};
    fake_send(fd, &head, sizeof(head));
    fake_send(fd, data, size);
}

/* A chunk whose header says what it is told to say. */
static inline void fake_send_header(int fd, uint32_t magic, uint16_t flags, uint16_t type, uint64_t cookie,
                                    uint32_t size)
{
    struct __attribute__((packed)) {
        uint32_t magic;
        uint16_t flags, type;
        uint64_t cookie;
        uint32_t size;
    } chunk = {htobe32(magic), htobe16(flags), htobe16(type), cookie, htobe32(size)};
    fake_send(fd, &chunk, sizeof(chunk));
}

static inline void fake_send_chunk(int fd, bool last, uint16_t type, uint64_t cookie, const void *head,
                                   uint32_t head_size, const void *data, uint32_t size)
{
    fake_send_header(fd, FAKE_CHUNK_MAGIC, last, type, cookie, head_size + size);
    fake_send(fd, head, head_size);
    fake_send(fd, data, size);
}

static inline void fake_send_data(int fd, bool last, uint64_t cookie, uint64_t offset, const void *data,
                                  uint32_t size)
{
    uint64_t at = htobe64(offset);
    fake_send_chunk(fd, last, FAKE_TYPE_DATA, cookie, &at, sizeof(at), data, size);
}

/* @param words pairs of length and state, in the machine's byte order */
static inline void fake_send_extents(int fd, bool last, uint64_t cookie, uint32_t context,
                                     const uint32_t *words, size_t count)
{
    uint32_t id = htobe32(context), *wire = malloc(count * sizeof(*wire) + 1);
    for (size_t i = 0; i < count; i++)
        wire[i] = htobe32(words[i]);
    fake_send_chunk(fd, last, FAKE_TYPE_STATUS, cookie, &id, sizeof(id), wire,
                    (uint32_t)(count * sizeof(*wire)));
    free(wire);
}

static inline void fake_send_done(int fd, uint64_t cookie)
{
    fake_send_chunk(fd, true, FAKE_TYPE_NONE, cookie, NULL, 0, NULL, 0);
}

static inline void fake_offer_contexts(const struct fake_nbd *fake, int fd)
{
    for (uint32_t i = 0; i < fake->context_count; i++) {
        struct __attribute__((packed)) {
            uint32_t id;
            char name[64];
        } context = {.id = htobe32(i)};
        size_t size = strlen(fake->contexts[i].name);
        memcpy(context.name, fake->contexts[i].name, size);
        fake_send_option(fd, 10, 4, &context, (uint32_t)(4 + size));
    }
    fake_send_option(fd, 10, 1, NULL, 0);
}

/* Returns true when transmission begins. */
static inline bool fake_handshake(const struct fake_nbd *fake, const struct fake_connection *connection)
{
    int fd = connection->fd;
    uint64_t size = connection->number > 0 && fake->later_size != 0 ? fake->later_size : fake->size;
    fake_send(fd, "NBDMAGICIHAVEOPT\0\3", 18); /* fixed newstyle, no zeroes */
    uint32_t client_flags;
    if (!fake_receive(fd, &client_flags, 4) || fake->hang_up_in_handshake)
        return false;
    while (fake->silent_in_handshake && connection->number > 0)
        if (!fake_receive(fd, &client_flags, 1))
            return false;
    for (;;) {
        struct __attribute__((packed)) {
            uint64_t magic;
            uint32_t option, size;
        } head;
        char data[4096];
        if (!fake_receive(fd, &head, sizeof(head)) || be32toh(head.size) > sizeof(data) ||
            (head.size != 0 && !fake_receive(fd, data, be32toh(head.size))))
            return false;
        uint32_t option = be32toh(head.option);
        struct __attribute__((packed)) {
            uint16_t type;
            uint64_t size;
            uint16_t flags;
        } export = {0, htobe64(size), htobe16(1 | 128)};
        if (fake->refuses != 0) {
            fake_send_option(fd, option, fake->refuses, NULL, 0);
        } else if (option == 10) {
            fake_offer_contexts(fake, fd);
        } else if (option == 7) {
            fake_send_option(fd, option, 3, &export, sizeof(export));
            fake_send_option(fd, option, 1, NULL, 0);
            return true;
        } else {
            bool can = option == 8 && !fake->no_structured_replies;
            fake_send_option(fd, option, can ? 1 : 0x80000001, NULL, 0);
        }
    }
}

static inline void fake_answer_read(const struct fake_nbd *fake, const struct fake_request *request)
{
    for (size_t i = 0; i < fake->piece_count; i++) {
        const struct fake_piece *piece = &fake->pieces[i];
        uint8_t *data = malloc(piece->length + 1);
        memset(data, piece->value, piece->length);
        fake_send_data(request->fd, i + 1 == fake->piece_count, request->cookie,
                       request->offset + piece->offset, data, piece->length);
        free(data);
    }
}

static inline void fake_answer_status(const struct fake_nbd *fake, const struct fake_request *request)
{
    for (uint32_t i = 0; i < fake->context_count; i++) {
        const struct fake_context *context = &fake->contexts[i];
        for (unsigned n = 0; context->word_count > 0 && n < (context->times > 1 ? context->times : 1); n++)
            fake_send_extents(request->fd, false, request->cookie, i, context->words, context->word_count);
    }
    fake_send_done(request->fd, request->cookie);
}

static inline bool fake_answer(struct fake_nbd *fake, const struct fake_request *request)
{
    if (fake->answer != NULL)
        return fake->answer(fake->ctx, request);
    if (request->type == FAKE_READ && fake->hang_up_in_read)
        return false;
    if (request->type == FAKE_READ)
        fake_answer_read(fake, request);
    else
        fake_answer_status(fake, request);
    return true;
}

static inline void *fake_serve(void *ctx)
{
    struct fake_connection *connection = ctx;
    struct fake_nbd *fake = connection->fake;
    bool serving = fake_handshake(fake, connection);
    const struct timeval patience = {.tv_sec = fake->patience_ms / 1000,
                                     .tv_usec = (suseconds_t)(fake->patience_ms % 1000) * 1000};
    setsockopt(connection->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    while (serving) {
        struct __attribute__((packed)) {
            uint32_t magic;
            uint16_t flags, type;
            uint64_t cookie, offset;
            uint32_t length;
        } wire;
        serving = fake_receive(connection->fd, &wire, sizeof(wire)) && wire.type != htobe16(2);
        const struct fake_request request = {.fd = connection->fd,
                                             .connection = connection->number,
                                             .type = be16toh(wire.type),
                                             .cookie = wire.cookie,
                                             .offset = be64toh(wire.offset),
                                             .length = be32toh(wire.length)};
        serving = serving && fake_answer(fake, &request);
    }
    shutdown(connection->fd, SHUT_RDWR);
    return NULL;
}

static inline void *fake_accept(void *ctx)
{
    struct fake_nbd *fake = ctx;
    struct fake_connection connections[FAKE_CONNECTIONS_MAX];
    unsigned count = 0;
    for (; count < FAKE_CONNECTIONS_MAX; count++) {
        struct fake_connection *connection = &connections[count];
        *connection = (struct fake_connection){.fake = fake, .number = count};
        connection->fd = accept4(fake->listener.fd, NULL, NULL, SOCK_CLOEXEC);
        if (connection->fd < 0)
            break;
        fake->connections++;
        if (pthread_create(&connection->thread, NULL, fake_serve, connection) != 0)
            abort();
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(connections[i].thread, NULL);
        close(connections[i].fd);
    }
    return NULL;
}

static inline void fake_start(struct fake_nbd *fake)
{
    struct np_error err = NP_ERROR_INIT;
    ok(np_listener_open(&fake->listener, FAKE_CONNECTIONS_MAX, &err));
    assert_int_equal(pthread_create(&fake->thread, NULL, fake_accept, fake), 0);
}

/* Its clients are closed. */
static inline void fake_stop(struct fake_nbd *fake)
{
    shutdown(fake->listener.fd, SHUT_RDWR);
    pthread_join(fake->thread, NULL);
    np_listener_close(&fake->listener);
}

#endif
