/*
 * How libFuzzer changes a stream: as bytes, as it does by itself, or record by record. The latter leaves the
 * other records where they are found, which a byte put in between does not.
 */
#include "fuzz.h"
#include "mend.h"

#include "nbdpull/record.h"

size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                                 uint8_t *out, size_t room, unsigned seed);

enum { GROW = 64 };

static unsigned draw(unsigned *seed, unsigned below)
{
    *seed = *seed * 1103515245u + 12345u;
    return (*seed >> 16) % below;
}

static void mutate_bytes(uint8_t **bytes, uint32_t *size)
{
    *bytes = realloc(*bytes, *size + GROW);
    MUST(*bytes != NULL);
    *size = (uint32_t)LLVMFuzzerMutate(*bytes, *size, *size + GROW);
}

/* A field of the header: some are positions and sums, which are mended anyhow. */
static void mutate_header(struct part *part, unsigned *seed)
{
    static const struct {
        unsigned at, size;
    } fields[] = {{4, 1},  {5, 1},  {6, 1},  {7, 1},  {24, 8}, {24, 8},
                  {32, 8}, {32, 8}, {48, 2}, {50, 2}, {52, 4}, {16, 8}};
    unsigned i = draw(seed, NP_ARRAY_SIZE(fields));
    LLVMFuzzerMutate(part->header + fields[i].at, fields[i].size, fields[i].size);
}

static void duplicate(struct parts *parts, size_t from, size_t to)
{
    if (parts->count == PARTS_MAX)
        return;
    struct part copy = parts->list[from];
    copy.table = (uint8_t *)text_of(copy.table, copy.table_len);
    copy.data = (uint8_t *)text_of(copy.data, copy.data_len);
    memmove(&parts->list[to + 1], &parts->list[to], (parts->count++ - to) * sizeof(copy));
    parts->list[to] = copy;
}

static void erase(struct parts *parts, size_t i)
{
    free(parts->list[i].table);
    free(parts->list[i].data);
    memmove(&parts->list[i], &parts->list[i + 1], (--parts->count - i) * sizeof(parts->list[0]));
}

/* Of parts that are empty most often: whatever else there is, somebody reads it. */
static void spoil_sum(struct part *part, unsigned *seed)
{
    bool table = part->table_len == 0 && (part->data_len > 0 || draw(seed, 2) == 0);
    part->header[50] = table ? OTHER_TABLE_SUM : OTHER_DATA_SUM;
}

static struct part *last_of(struct parts *parts, uint8_t type)
{
    for (size_t i = parts->count; i > 0; i--)
        if (parts->list[i - 1].header[5] == type)
            return &parts->list[i - 1];
    return NULL;
}

/* Copies of second META and DIR as the data of an optional record, which stands in the place of one, or
 * before it; END names the copies. */
static void hide_copies(struct parts *parts, size_t at, unsigned *seed)
{
    static const struct {
        uint8_t type, place;
    } copied[] = {{NP_RECORD_META, 40}, {NP_RECORD_DIR, 16}};
    struct part *end = last_of(parts, NP_RECORD_END);
    struct parts *inner = malloc(sizeof(*inner));
    unsigned which = 1 + draw(seed, 3);
    MUST(inner != NULL);
    inner->count = 0;
    for (size_t i = 0; i < NP_ARRAY_SIZE(copied); i++) {
        const struct part *from = last_of(parts, copied[i].type);
        if (from == NULL || end == NULL || end->table_len < 48 || (which >> i & 1) == 0)
            continue;
        uint64_t was = from->was + 1; /* where no record is */
        struct part *copy = &inner->list[inner->count++];
        *copy = *from;
        np_put_le64(copy->header + 16, was);
        np_put_le64(end->table + copied[i].place, was);
    }
    size_t size;
    duplicate(parts, at, at);
    struct part *holder = &parts->list[at];
    free(holder->data);
    holder->data = parts_join(inner, &size);
    holder->data_len = (uint32_t)size;
    holder->table_len = 0;
    holder->header[5] = NP_RECORD_OPTIONAL | 42;
    np_put_le16(holder->header + 48, NP_DISK_NONE);
    free(inner); /* its parts are others' */
}

static void swap(struct parts *parts, size_t i, size_t k)
{
    struct part was = parts->list[i];
    parts->list[i] = parts->list[k];
    parts->list[k] = was;
}

static void mutate_parts(struct parts *parts, unsigned *seed)
{
    size_t i = draw(seed, (unsigned)parts->count), k = draw(seed, (unsigned)parts->count);
    struct part *part = &parts->list[i];
    switch (draw(seed, 12)) {
    case 0:
    case 1:
    case 2:
        mutate_bytes(&part->table, &part->table_len);
        break;
    case 3:
        mutate_bytes(&part->data, &part->data_len);
        break;
    case 4:
    case 5:
    case 6:
        mutate_header(part, seed);
        break;
    case 7:
        duplicate(parts, i, k);
        break;
    case 8:
        erase(parts, i);
        break;
    case 9:
        spoil_sum(part, seed);
        break;
    case 10:
        hide_copies(parts, i, seed);
        break;
    default:
        swap(parts, i, k);
        break;
    }
}

static size_t put(struct parts *parts, uint8_t flags, uint8_t *to, size_t room)
{
    size_t size;
    NP_AUTO_FREE uint8_t *joined = parts_join(parts, &size);
    if (size + 1 > room)
        return 0;
    to[0] = flags;
    memcpy(to + 1, joined, size);
    return size + 1;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t room, unsigned seed)
{
    unsigned how = draw(&seed, 8);
    if (how == 0 || size < 2)
        return LLVMFuzzerMutate(bytes, size, room);
    uint8_t flags = how == 1 ? (uint8_t)draw(&seed, 256) : bytes[0];
    struct parts *parts = parts_cut(bytes + 1, size - 1);
    for (unsigned times = 1 + draw(&seed, 3); times > 0 && parts->count > 0; times--)
        mutate_parts(parts, &seed);
    size_t made = put(parts, flags, bytes, room);
    parts_free(parts);
    return made > 0 ? made : size;
}

/* One record of the other stream in the place of one. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                                 uint8_t *out, size_t room, unsigned seed)
{
    if (a_size < 2 || b_size < 2)
        return 0;
    struct parts *x = parts_cut(a + 1, a_size - 1), *y = parts_cut(b + 1, b_size - 1);
    if (x->count > 0 && y->count > 0) {
        size_t i = draw(&seed, (unsigned)x->count), k = draw(&seed, (unsigned)y->count);
        struct part was = x->list[i];
        x->list[i] = y->list[k];
        y->list[k] = was;
    }
    size_t made = put(x, a[0], out, room);
    parts_free(x);
    parts_free(y);
    return made;
}
