/*
 * An NBD server that breaks the protocol in the way a test wants: real servers are too well-behaved. Serves
 * one connection in a thread. Source of the constants: NetworkBlockDevice/nbd, doc/proto.md.
 */
#ifndef TESTS_CONTRACT_FAKE_NBD_H
#define TESTS_CONTRACT_FAKE_NBD_H

#include "test.h"

#include "nbdpull/listener.h"

#include <endian.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define FAKE_PIECES_MAX 4

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

struct fake_nbd {
    uint64_t size;
    struct fake_piece pieces[FAKE_PIECES_MAX]; /* the answer to every read */
    size_t piece_count;
    struct fake_context contexts[2];
    size_t context_count;
    bool hang_up_in_handshake, hang_up_in_read;

    struct np_listener listener;
    pthread_t thread;
};

static inline bool fake_receive(int fd, void *bytes, size_t size)
{
    return recv(fd, bytes, size, MSG_WAITALL) == (ssize_t)size;
}

static inline void fake_send(int fd, const void *bytes, size_t size)
{
    ssize_t ignored = send(fd, bytes, size, MSG_NOSIGNAL);
    (void)ignored;
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

static inline void fake_send_chunk(int fd, bool last, uint16_t type, uint64_t cookie, const void *head,
                                   uint32_t head_size, const void *data, uint32_t size)
{
    struct __attribute__((packed)) {
        uint32_t magic;
        uint16_t flags, type;
        uint64_t cookie;
        uint32_t size;
    } chunk = {htobe32(0x668e33ef), htobe16(last), htobe16(type), cookie, htobe32(head_size + size)};
    fake_send(fd, &chunk, sizeof(chunk));
    fake_send(fd, head, head_size);
    fake_send(fd, data, size);
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
static inline bool fake_handshake(const struct fake_nbd *fake, int fd)
{
    fake_send(fd, "NBDMAGICIHAVEOPT\0\3", 18); /* fixed newstyle, no zeroes */
    uint32_t client_flags;
    if (!fake_receive(fd, &client_flags, 4) || fake->hang_up_in_handshake)
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
        } export = {0, htobe64(fake->size), htobe16(1 | 128)};
        if (option == 10) {
            fake_offer_contexts(fake, fd);
        } else if (option == 7) {
            fake_send_option(fd, option, 3, &export, sizeof(export));
            fake_send_option(fd, option, 1, NULL, 0);
            return true;
        } else {
            fake_send_option(fd, option, option == 8 ? 1 : 0x80000001, NULL, 0);
        }
    }
}

static inline void fake_answer_read(const struct fake_nbd *fake, int fd, uint64_t cookie, uint64_t offset)
{
    static uint8_t data[1 << 16];
    for (size_t i = 0; i < fake->piece_count; i++) {
        const struct fake_piece *piece = &fake->pieces[i];
        uint64_t at = htobe64(offset + piece->offset);
        memset(data, piece->value, piece->length);
        fake_send_chunk(fd, i + 1 == fake->piece_count, 1, cookie, &at, 8, data, piece->length);
    }
}

static inline void fake_answer_status(const struct fake_nbd *fake, int fd, uint64_t cookie)
{
    for (uint32_t i = 0; i < fake->context_count; i++) {
        const struct fake_context *context = &fake->contexts[i];
        uint32_t id = htobe32(i), words[16];
        for (size_t w = 0; w < context->word_count; w++)
            words[w] = htobe32(context->words[w]);
        for (unsigned n = 0; context->word_count > 0 && n < (context->times > 1 ? context->times : 1); n++)
            fake_send_chunk(fd, false, 5, cookie, &id, 4, words, (uint32_t)(4 * context->word_count));
    }
    fake_send_chunk(fd, true, 0, cookie, NULL, 0, NULL, 0);
}

static inline void *fake_serve(void *ctx)
{
    struct fake_nbd *fake = ctx;
    int fd = accept4(fake->listener.fd, NULL, NULL, SOCK_CLOEXEC);
    bool serving = fd >= 0 && fake_handshake(fake, fd);
    while (serving) {
        struct __attribute__((packed)) {
            uint32_t magic;
            uint16_t flags, type;
            uint64_t cookie, offset;
            uint32_t length;
        } request;
        serving = fake_receive(fd, &request, sizeof(request)) && request.type != htobe16(2);
        if (serving && request.type == htobe16(0) && fake->hang_up_in_read)
            serving = false;
        else if (serving && request.type == htobe16(0))
            fake_answer_read(fake, fd, request.cookie, be64toh(request.offset));
        else if (serving)
            fake_answer_status(fake, fd, request.cookie);
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

static inline void fake_start(struct fake_nbd *fake)
{
    struct np_error err = NP_ERROR_INIT;
    ok(np_listener_open(&fake->listener, 1, &err));
    assert_int_equal(pthread_create(&fake->thread, NULL, fake_serve, fake), 0);
}

static inline void fake_stop(struct fake_nbd *fake)
{
    pthread_join(fake->thread, NULL);
    np_listener_close(&fake->listener);
}

#endif
