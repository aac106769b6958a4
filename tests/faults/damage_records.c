/* Damages that know where records begin and end. */
#include "damage.h"

#include "unit/surgery.h"

static void tell(const struct variants *to, const char *what, struct memory memory)
{
    to->each(to->ctx, what, memory.bytes, memory.size);
    free(memory.bytes);
}

static struct parts *parts_from(const struct bytes *stream)
{
    const struct memory memory = {.bytes = stream->bytes, .size = stream->size};
    return cut_up(&memory);
}

/* The records' bytes as they are, in another order: positions, numbers and sums are those of before. */
static struct memory as_they_are(const struct parts *parts, const struct bytes *stream)
{
    struct memory memory = {0};
    for (size_t i = 0; i < parts->count; i++) {
        const struct part *part = &parts->list[i];
        memory_add(&memory, stream->bytes + part->was, np_record_size(&part->header));
    }
    return memory;
}

static const unsigned fixes[] = {FIX_SUMS, FIX_ABOVE, FIX_LINKS};
static const char *const fix_names[] = {"sums right", "links above right", "all links right"};

/* In each way of putting right what was moved. Takes the parts' order; the records are the stream's. */
typedef void change(struct parts *parts, size_t i, size_t k);

static void try_change(const struct variants *to, const struct bytes *stream, const char *name, change *make,
                       size_t i, size_t k)
{
    char what[160];
    for (size_t f = 0; f <= NP_ARRAY_SIZE(fixes); f++) {
        if (!to->wanted(to->ctx))
            continue;
        struct parts *parts = parts_from(stream);
        make(parts, i, k);
        bool raw = f == NP_ARRAY_SIZE(fixes);
        snprintf(what, sizeof(what), "record %zu %s %zu, %s", i, name, k, raw ? "as they are" : fix_names[f]);
        tell(to, what, raw ? as_they_are(parts, stream) : put_together(parts, fixes[f]));
        parts_free(parts);
    }
}

static void swap(struct parts *parts, size_t i, size_t k)
{
    part_swap(parts, i, k);
}

static void double_it(struct parts *parts, size_t i, size_t k)
{
    const struct part from = parts->list[i];
    part_insert(parts, k, &from)->was = from.was;
}

static void drop(struct parts *parts, size_t i, size_t k)
{
    (void)k;
    part_remove(parts, i);
}

void records_moved(const struct variants *to, const struct bytes *stream)
{
    struct parts *parts = parts_from(stream);
    size_t count = parts->count;
    parts_free(parts);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = i + 1; k < count; k++)
            try_change(to, stream, "swapped with", swap, i, k);
        for (size_t k = 0; k <= count; k++)
            if (k != i) /* in front of itself, behind itself are the same */
                try_change(to, stream, "doubled before", double_it, i, k);
        try_change(to, stream, "dropped", drop, i, 0);
    }
}

/* ---- from another stream ---- */

static void replace_one(const struct variants *to, const struct bytes *stream, const struct bytes *other,
                        const char *name, size_t i)
{
    char what[200];
    for (size_t f = 0; f <= NP_ARRAY_SIZE(fixes); f++) {
        if (!to->wanted(to->ctx))
            continue;
        struct parts *parts = parts_from(stream), *others = parts_from(other);
        const struct part *from = &others->list[i];
        snprintf(what, sizeof(what), "record %zu from %s, %s", i, name,
                 f < NP_ARRAY_SIZE(fixes) ? fix_names[f] : "as it is");
        if (f < NP_ARRAY_SIZE(fixes)) {
            uint64_t was = parts->list[i].was;
            part_remove(parts, i);
            part_insert(parts, i, from)->was = was;
            tell(to, what, put_together(parts, fixes[f]));
        } else {
            struct memory memory = {0};
            for (size_t k = 0; k < parts->count; k++) {
                const struct part *part = k == i ? from : &parts->list[k];
                memory_add(&memory, (k == i ? other : stream)->bytes + part->was,
                           np_record_size(&part->header));
            }
            tell(to, what, memory);
        }
        parts_free(parts);
        parts_free(others);
    }
}

void records_replaced(const struct variants *to, const struct bytes *stream, const struct bytes *other,
                      const char *name)
{
    struct parts *parts = parts_from(stream), *others = parts_from(other);
    size_t count = np_min_u64(parts->count, others->count);
    parts_free(parts);
    parts_free(others);
    for (size_t i = 0; i < count; i++)
        replace_one(to, stream, other, name, i);
}

/* ---- sums right, content not ---- */

static void forge(const struct variants *to, const struct bytes *stream, size_t i, bool in_data, size_t at,
                  uint8_t bits)
{
    char what[160];
    if (!to->wanted(to->ctx))
        return;
    struct parts *parts = parts_from(stream);
    struct part *part = &parts->list[i];
    (in_data ? part->data : part->table)[at] ^= bits;
    snprintf(what, sizeof(what), "record %zu (type %u): byte %zu of its %s ^ %02x, all sums right", i,
             part->header.type, at, in_data ? "data" : "table", bits);
    /* Only sums, and what says where the changed record is: nothing of its content is made anew. */
    tell(to, what, put_together(parts, part->header.type == NP_RECORD_INDEX ? FIX_DIR | FIX_END : FIX_END));
    parts_free(parts);
}

void records_forged(const struct variants *to, const struct bytes *stream)
{
    struct parts *parts = parts_from(stream);
    for (size_t i = 1; i < parts->count; i++) {
        const struct np_record_header *header = &parts->list[i].header;
        bool index = header->type == NP_RECORD_INDEX || header->type == NP_RECORD_DIR;
        bool results = header->type == NP_RECORD_META;
        for (size_t at = 0; index && at < header->table_len; at++) {
            forge(to, stream, i, false, at, (uint8_t)(1 << at % 8));
            forge(to, stream, i, false, at, 0xff);
        }
        for (size_t at = 0; (index || results) && at < header->data_len; at++) {
            forge(to, stream, i, true, at, (uint8_t)(1 << at % 8));
            forge(to, stream, i, true, at, 0xff);
        }
    }
    parts_free(parts);
}
