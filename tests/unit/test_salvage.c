/*
 * Streams are damaged in all ways, and what is left of a chain is read. Then each granule must be as it was,
 * or be told as lost; and what stands for a lost one must be what is said to stand there.
 */
#include "random_history.h"

#include "../../format/losses.h"

#include "nbdpull/salvage.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- what is left of a chain ---- */

/* A stream as the disk has it now. */
struct damaged {
    struct memory memory;
    bool gone;
    size_t bad_from, bad_to; /* bytes that cannot be read */
    struct np_uuid uuid;
};

static int read_damaged(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    struct damaged *damaged = ctx;
    if (pos < damaged->bad_to && pos + size > damaged->bad_from)
        return np_fail(err, NP_FAILED, "memory: input/output error");
    return memory_read_at(&damaged->memory, buffer, size, pos, err);
}

struct left {
    struct damaged streams[LAYERS_MAX]; /* oldest first */
    size_t count;
    struct np_salvage_room room;
    struct np_salvage *salvages[LAYERS_MAX]; /* newest first, from here on */
    struct np_losses *all[LAYERS_MAX];
    struct np_chain *chain;
    bool whole;
};

static void left_begin(struct left *left, const struct history *history, size_t newest)
{
    *left = (struct left){.count = newest + 1};
    left->room.index_fd = memfd_create("index", MFD_CLOEXEC);
    left->room.losses_fd = memfd_create("losses", MFD_CLOEXEC);
    for (size_t i = 0; i < left->count; i++) {
        const struct memory *from = &history->streams[i].memory;
        struct memory *to = &left->streams[i].memory;
        to->bytes = malloc(2 * from->size + 4096); /* damage may make it longer */
        assert_non_null(to->bytes);
        memcpy(to->bytes, from->bytes, from->size);
        to->size = from->size;
        left->streams[i].uuid = history->streams[i].meta->stream;
    }
}

static void left_close(struct left *left)
{
    np_chain_close(left->chain);
    for (size_t i = 0; i < left->count; i++) {
        np_salvage_close(left->salvages[i]);
        np_losses_free(left->all[i]);
        left->salvages[i] = NULL;
        left->all[i] = NULL;
    }
    left->chain = NULL;
}

static void left_clear(struct left *left)
{
    left_close(left);
    for (size_t i = 0; i < left->count; i++)
        free(left->streams[i].memory.bytes);
    close(left->room.index_fd);
    close(left->room.losses_fd);
}

/* @return false: there is nothing left at all */
static bool left_open(struct left *left, const struct history *history, bool older)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_chain_part parts[LAYERS_MAX] = {0};
    size_t good = 0;
    left->whole = true;
    for (size_t i = 0; i < left->count; i++) {
        struct damaged *damaged = &left->streams[left->count - 1 - i];
        const struct np_salvage_request request = {
            .input = {.read_at = read_damaged, .ctx = damaged, .size = damaged->memory.size},
            .name = "damaged",
            .stream = &damaged->uuid,
            .target = "vda",
            .room = &left->room,
        };
        err = (struct np_error)NP_ERROR_INIT;
        if (!damaged->gone && np_salvage_open(&request, &left->salvages[i], &err) == 0) {
            parts[i].stream = np_salvage_stream(left->salvages[i]);
            parts[i].losses = np_salvage_losses(left->salvages[i]);
            left->whole = left->whole && np_salvage_is_whole(left->salvages[i]);
            good++;
            continue;
        }
        assert_true(damaged->gone || err.class == NP_DAMAGED);
        left->whole = false;
        parts[i].size = history->streams[left->count - 1 - i].meta->disks[0].geometry.size;
        ok(np_losses_of_all(parts[i].size, &left->all[i], &err));
        parts[i].losses = left->all[i];
    }
    if (good > 0)
        ok(np_chain_open_damaged(parts, left->count, "vda", older, &left->chain, &err));
    return good > 0;
}

/* ---- what it must tell ---- */

#define GRANULES_MAX 32768

struct told {
    uint32_t
        value[GRANULES_MAX]; /* of the model; of data, which layer's content it must be is known by then */
    bool is[GRANULES_MAX], data[GRANULES_MAX], lost[GRANULES_MAX];
    size_t layer[GRANULES_MAX];   /* data: whose record */
    size_t instead[GRANULES_MAX]; /* lost */
    uint64_t lost_bytes, possible_bytes;
};

static struct told told;

/* The bytes of each granule that is taken are some content's; the model's number of it is in its bytes. */
static void take_data(struct left *left, const struct np_chain_step *step)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_stream *stream = np_salvage_stream(left->salvages[step->stream]);
    const struct np_geometry *geometry = &np_stream_meta(stream)->disks[0].geometry;
    static uint8_t table[NP_DATA_TABLE_MAX], data[CHUNK], out[CHUNK];
    struct np_record record;
    ok(np_stream_read(stream, 0, &step->entry, table, data, &record, &err));
    ok(np_window_expand(geometry, &record, "test", out, &err));
    const uint8_t *at = out;
    for (unsigned i = 0; i < np_window_granules(geometry, step->offset); i++) {
        enum np_granule_state state = np_map_get(step->map, i);
        uint64_t number = step->offset / GRANULE + i;
        uint32_t length = np_granule_length(geometry, step->offset, i);
        if (np_map_get(step->take, i) == NP_GRANULE_DATA) {
            assert_false(told.is[number]);
            told.is[number] = told.data[number] = true;
            told.layer[number] = step->stream;
            told.value[number] = length >= 8 ? (uint32_t)(np_get_le64(at) >> 32) : 0;
        }
        if (state == NP_GRANULE_DATA || state == NP_GRANULE_DEAD)
            at += length;
    }
}

static void take_step(struct left *left, const struct np_chain_step *step)
{
    if (step->kind == NP_CHAIN_DATA) {
        take_data(left, step);
        return;
    }
    assert_int_equal(step->offset % GRANULE, 0);
    if (step->kind == NP_CHAIN_LOST && step->loss.kind == NP_LOSS_POSSIBLE)
        told.possible_bytes += step->length;
    else if (step->kind == NP_CHAIN_LOST)
        told.lost_bytes += step->length;
    for (uint64_t i = step->offset / GRANULE; i * GRANULE < step->offset + step->length; i++) {
        bool *is = step->kind == NP_CHAIN_LOST ? &told.lost[i] : &told.is[i];
        assert_false(*is);
        *is = true;
        if (step->kind == NP_CHAIN_LOST)
            told.instead[i] = step->instead;
    }
}

static bool same_granule(const struct content *a, const struct content *b, uint64_t i)
{
    return content_granule_length(a, i) == content_granule_length(b, i);
}

/* @param contents of each point, oldest first */
static void check_granule(const struct left *left, const struct content *contents, bool older, uint64_t i)
{
    const struct content *wanted = &contents[left->count - 1];
    if (!told.is[i])
        fail_msg("granule %ju is not told", (uintmax_t)i);
    if (told.lost[i]) {
        assert_true(older || told.instead[i] == left->count);
        if (told.instead[i] == left->count) {
            assert_false(told.data[i]);
            return;
        }
        wanted = &contents[left->count - 1 - told.instead[i]];
        assert_true(same_granule(wanted, &contents[left->count - 1], i));
    }
    assert_int_equal(told.data[i], wanted->granules[i] != 0);
    if (told.data[i] && content_granule_length(wanted, i) >= 8)
        assert_int_equal(told.value[i], wanted->granules[i]);
}

/* @return false: nothing could be read */
static bool check_left(struct left *left, const struct history *history, const struct content *contents,
                       bool older)
{
    struct np_error err = NP_ERROR_INIT;
    static struct np_chain_step step;
    memset(&told, 0, sizeof(told));
    if (!left_open(left, history, older))
        return false;
    const struct content *content = &contents[left->count - 1];
    assert_true(content_count(content) < GRANULES_MAX);
    assert_int_equal(np_chain_geometry(left->chain)->size, content->geometry.size);
    for (int more; (more = np_chain_next(left->chain, &step, &err)) != 0;) {
        ok(more);
        take_step(left, &step);
    }
    for (uint64_t i = 0; i < content_count(content); i++)
        check_granule(left, contents, older, i);
    left_close(left);
    return true;
}

/* ---- damage ---- */

static void cut_out(struct memory *memory, size_t from, size_t to)
{
    memmove(memory->bytes + from, memory->bytes + to, memory->size - to);
    memory->size -= to - from;
}

static void insert(struct memory *memory, size_t at, const void *bytes, size_t size)
{
    memmove(memory->bytes + at + size, memory->bytes + at, memory->size - at);
    memcpy(memory->bytes + at, bytes, size);
    memory->size += size;
}

/* Header and place of record n, or of the last one. */
static size_t record_at(const struct memory *memory, uint64_t n, struct np_record_header *header)
{
    struct np_error err = NP_ERROR_INIT;
    size_t at = 0, next = 0;
    for (uint64_t i = 0; i <= n && next < memory->size; i++) {
        at = next;
        ok(np_record_decode(memory->bytes + at, "test", at, header, &err));
        next = at + np_record_size(header);
    }
    return at;
}

static void damage_randomly(struct damaged *damaged, const struct memory *other)
{
    struct memory *memory = &damaged->memory;
    size_t from = pick(memory->size), length = 1 + pick(pick(2) == 0 ? 300 : 20000), to;
    uint8_t noise[200];
    to = np_min_u64(from + length, memory->size);
    switch (pick(9)) {
    case 0:
        memory->bytes[from] ^= (uint8_t)(1 + pick(255));
        break;
    case 1:
        memset(memory->bytes + from, 0, to - from);
        break;
    case 2:
        memory->size = from + 1;
        break;
    case 3:
        cut_out(memory, from, to);
        if (memory->size == 0)
            damaged->gone = true;
        break;
    case 4:
        for (size_t i = 0; i < sizeof(noise); i++)
            noise[i] = (uint8_t)pick(256);
        insert(memory, from, noise, 1 + pick(sizeof(noise)));
        break;
    case 5: /* a block of another stream of the set */
        to = np_min_u64(to, other->size);
        if (from < to)
            memcpy(memory->bytes + from, other->bytes + from, to - from);
        break;
    case 6:
        damaged->bad_from = from;
        damaged->bad_to = to;
        break;
    case 7:
        damaged->gone = pick(2) == 0;
        break;
    default: /* the same bytes once more */
        to = np_min_u64(to, from + 4000);
        uint8_t again[4000];
        memcpy(again, memory->bytes + from, to - from);
        insert(memory, to, again, to - from);
        break;
    }
}

static void run_history(uint64_t seed)
{
    random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 7;
    struct history history = {0};
    struct content contents[LAYERS_MAX];
    bool described[9 * PER_WINDOW + 2];
    size_t points = 1 + pick(LAYERS_MAX - 2);
    contents[0] = content_new(random_size(), CHUNK, GRANULE);
    mutate(&contents[0], described);
    memset(described, true, sizeof(described));
    for (size_t i = 0; i < points; i++) {
        if (i > 0)
            contents[i] = next_content(&contents[i - 1], described);
        add_random_stream(&history, &contents[i], described);
    }
    for (int round = 0; round < 6; round++) {
        struct left left;
        left_begin(&left, &history, pick(points));
        for (uint64_t n = 1 + pick(3); n > 0; n--) {
            size_t which = pick(left.count);
            damage_randomly(&left.streams[which], &history.streams[pick(left.count)].memory);
            if (left.streams[which].memory.size > history.streams[which].memory.size)
                break; /* there is room to grow once */
        }
        if (check_left(&left, &history, contents, false))
            check_left(&left, &history, contents, true);
        left_clear(&left);
    }
    for (size_t i = 0; i < points; i++)
        content_clear(&contents[i]);
    history_clear(&history);
}

static void test_salvage__each_granule_is_as_it_was_or_told_as_lost(void **state)
{
    (void)state;
    const char *more = getenv("NP_HISTORIES");
    uint64_t seeds = more != NULL ? strtoull(more, NULL, 10) : 500;
    for (uint64_t seed = 1; seed <= seeds; seed++)
        run_history(seed);
}

/* ---- what must not be lost ---- */

struct case_of {
    struct history history;
    struct content contents[2];
    bool *described;
    struct left left;
};

/* A full of that many windows, all data but each third granule, and an increment on some of them. */
static void case_begin(struct case_of *it, uint64_t windows)
{
    *it = (struct case_of){0};
    it->contents[0] = content_new(windows * CHUNK, CHUNK, GRANULE);
    it->contents[1] = content_new(windows * CHUNK, CHUNK, GRANULE);
    uint64_t count = content_count(&it->contents[0]);
    it->described = calloc(count + 1, 1);
    assert_non_null(it->described);
    memset(it->described, true, count);
    for (uint64_t i = 0; i < count; i++)
        it->contents[0].granules[i] = i % 3 == 0 ? 0 : (uint32_t)i + 1;
    add_stream(&it->history, &it->contents[0], it->described);
    for (uint64_t i = 0; i < count; i++) {
        it->described[i] = i / PER_WINDOW % 2 == 0 && i % 5 < 2;
        it->contents[1].granules[i] =
            it->described[i] ? (i % 4 == 0 ? 0 : (uint32_t)(i + 70000)) : it->contents[0].granules[i];
    }
    add_stream(&it->history, &it->contents[1], it->described);
}

static void case_clear(struct case_of *it)
{
    content_clear(&it->contents[0]);
    content_clear(&it->contents[1]);
    history_clear(&it->history);
    free(it->described);
}

/* Damage the stream `which` of a chain that ends with the stream `newest`, and read what is left. */
static void after(struct case_of *it, size_t newest, size_t which, void (*damage)(struct damaged *damaged),
                  bool older)
{
    left_begin(&it->left, &it->history, newest);
    damage(&it->left.streams[which]);
    assert_true(check_left(&it->left, &it->history, it->contents, older));
    left_clear(&it->left);
}

static void nothing(struct damaged *damaged)
{
    (void)damaged;
}

static uint64_t the_record; /* that the functions below damage; counted from 0, META */

static void flip_header(struct damaged *damaged)
{
    struct np_record_header header;
    damaged->memory.bytes[record_at(&damaged->memory, the_record, &header) + 30] ^= 1;
}

static void flip_table(struct damaged *damaged)
{
    struct np_record_header header;
    damaged->memory.bytes[record_at(&damaged->memory, the_record, &header) + NP_RECORD_HEADER_SIZE] ^= 1;
}

static void flip_data(struct damaged *damaged)
{
    struct np_record_header header;
    size_t at = record_at(&damaged->memory, the_record, &header);
    damaged->memory.bytes[at + NP_RECORD_HEADER_SIZE + header.table_len] ^= 1;
}

static void drop_record(struct damaged *damaged)
{
    struct np_record_header header;
    size_t at = record_at(&damaged->memory, the_record, &header);
    cut_out(&damaged->memory, at, at + np_record_size(&header));
}

static void drop_end(struct damaged *damaged)
{
    damaged->memory.size -= NP_END_SIZE;
}

/* META, DIR and END */
static void drop_trailer(struct damaged *damaged)
{
    struct np_record_header header;
    for (uint64_t n = 1;; n++) {
        size_t at = record_at(&damaged->memory, n, &header);
        if (header.type != NP_RECORD_META)
            continue;
        damaged->memory.size = at;
        return;
    }
}

static void drop_first_meta(struct damaged *damaged)
{
    memset(damaged->memory.bytes, 0, 700);
}

static void test_salvage__of_good_streams_nothing_is_lost(void **state)
{
    (void)state;
    struct case_of it;
    case_begin(&it, 1100);
    for (size_t newest = 0; newest < 2; newest++) {
        after(&it, newest, 0, nothing, false);
        assert_true(it.left.whole);
        assert_int_equal(told.lost_bytes + told.possible_bytes, 0);
    }
    case_clear(&it);
}

static void test_salvage__end_dir_and_meta_can_be_lost_without_loss(void **state)
{
    (void)state;
    void (*const damages[])(struct damaged *) = {drop_end, drop_trailer, drop_first_meta};
    struct case_of it;
    case_begin(&it, 1100);
    for (size_t i = 0; i < NP_ARRAY_SIZE(damages); i++) {
        after(&it, 1, 0, damages[i], false);
        assert_false(it.left.whole);
        assert_int_equal(told.lost_bytes + told.possible_bytes, 0);
    }
    case_clear(&it);
}

/* Of an increment only the end of the disk is in doubt, behind its last record. */
static void test_salvage__an_increment_without_an_end_is_in_doubt_behind_its_last_record(void **state)
{
    (void)state;
    struct case_of it;
    case_begin(&it, 101);
    after(&it, 1, 1, drop_trailer, true);
    assert_int_equal(told.lost_bytes, 0);
    assert_in_range(told.possible_bytes, 1, CHUNK);
    after(&it, 1, 1, drop_end, true); /* DIR is there, and says that there were no more */
    assert_int_equal(told.lost_bytes + told.possible_bytes, 0);
    case_clear(&it);
}

/* Bytes of data granules of the full's window w. */
static uint64_t data_in(const struct case_of *it, uint64_t w)
{
    uint64_t bytes = 0;
    for (uint64_t i = w * PER_WINDOW; i < (w + 1) * PER_WINDOW; i++)
        bytes += it->contents[0].granules[i] != 0 ? GRANULE : 0;
    return bytes;
}

/* The map is in the record's table, or in the leaf that lists it: what was zero is still known to be zero. */
static void test_salvage__a_record_loses_no_more_than_its_data(void **state)
{
    (void)state;
    void (*const damages[])(struct damaged *) = {flip_data, flip_table, flip_header, drop_record};
    struct case_of it;
    case_begin(&it, 1100);
    for (size_t i = 0; i < NP_ARRAY_SIZE(damages); i++)
        for (the_record = 1; the_record < 1000; the_record += 499) {
            struct np_record_header header;
            record_at(&it.history.streams[0].memory, the_record, &header);
            if (header.type != NP_RECORD_DATA)
                continue;
            after(&it, 0, 0, damages[i], false);
            assert_int_equal(told.lost_bytes, data_in(&it, header.offset / CHUNK));
            assert_int_equal(told.possible_bytes, 0);
        }
    case_clear(&it);
}

static uint64_t first_of_type(const struct memory *memory, uint8_t type, uint64_t from)
{
    struct np_record_header header;
    for (uint64_t n = from;; n++) {
        record_at(memory, n, &header);
        if (header.type == type)
            return n;
    }
}

static void test_salvage__an_index_can_be_lost_without_loss(void **state)
{
    (void)state;
    void (*const damages[])(struct damaged *) = {flip_table, flip_header, drop_record};
    struct case_of it;
    case_begin(&it, 1100);
    for (size_t which = 0; which < 2; which++)
        for (size_t i = 0; i < NP_ARRAY_SIZE(damages); i++) {
            the_record = first_of_type(&it.history.streams[which].memory, NP_RECORD_INDEX, 0);
            after(&it, 1, which, damages[i], false);
            assert_false(it.left.whole);
            assert_int_equal(told.lost_bytes + told.possible_bytes, 0);
        }
    case_clear(&it);
}

static uint64_t the_index;

static void flip_header_and_index(struct damaged *damaged)
{
    struct np_record_header header;
    size_t index = record_at(&damaged->memory, the_index, &header);
    flip_header(damaged);
    damaged->memory.bytes[index + NP_RECORD_HEADER_SIZE + 20] ^= 1;
}

/* Then nobody knows which it was: all that no record describes between its neighbours. */
static void test_salvage__without_record_and_index_what_lies_between_its_neighbours_is_in_doubt(void **state)
{
    (void)state;
    struct case_of it;
    case_begin(&it, 200);
    the_record = 11;
    the_index = first_of_type(&it.history.streams[1].memory, NP_RECORD_INDEX, 0);
    after(&it, 1, 1, flip_header_and_index, true);
    assert_int_equal(told.lost_bytes, 0);
    assert_in_range(told.possible_bytes, CHUNK, 5 * CHUNK); /* windows 18 to 22 */
    the_index = first_of_type(&it.history.streams[0].memory, NP_RECORD_INDEX, 0);
    after(&it, 0, 0, flip_header_and_index, false);
    assert_int_equal(told.possible_bytes, 0); /* a full stores all */
    assert_int_equal(told.lost_bytes, CHUNK);
    case_clear(&it);
}

static void lose_it(struct damaged *damaged)
{
    damaged->gone = true;
}

static void test_salvage__without_a_stream_the_rest_of_the_chain_serves(void **state)
{
    (void)state;
    struct case_of it;
    case_begin(&it, 50);
    after(&it, 1, 1, lose_it, true); /* the increment: all is the full's, and all is in doubt */
    assert_int_equal(told.possible_bytes, 50 * CHUNK);
    after(&it, 1, 0, lose_it, true); /* the full: what the increment has is good */
    assert_in_range(told.lost_bytes + told.possible_bytes, 25 * CHUNK, 49 * CHUNK);
    case_clear(&it);
}

/* The guest's disk may hold streams, whole ones and parts: their records are data. */
static void test_salvage__records_inside_the_payload_are_not_taken(void **state)
{
    (void)state;
    struct case_of it;
    case_begin(&it, 20);
    left_begin(&it.left, &it.history, 0);
    struct memory *memory = &it.left.streams[0].memory;
    const struct memory *guest = &it.history.streams[1].memory;
    struct np_record_header header;
    size_t at = record_at(memory, 3, &header) + NP_RECORD_HEADER_SIZE + header.table_len;
    memcpy(memory->bytes + at, guest->bytes, np_min_u64(guest->size, header.data_len));
    assert_true(check_left(&it.left, &it.history, it.contents, false));
    assert_int_equal(told.lost_bytes, data_in(&it, header.offset / CHUNK));
    left_clear(&it.left);
    case_clear(&it);
}

/* Each byte of a small chain, one after the other. */
static void test_salvage__any_byte_can_be_wrong(void **state)
{
    (void)state;
    struct case_of it;
    case_begin(&it, 3);
    for (size_t which = 0; which < 2; which++)
        for (size_t at = 0; at < it.history.streams[which].memory.size; at += at < 4000 ? 1 : 37) {
            left_begin(&it.left, &it.history, 1);
            it.left.streams[which].memory.bytes[at] ^= 0x10;
            assert_true(check_left(&it.left, &it.history, it.contents, at % 2 == 0));
            assert_in_range(told.lost_bytes + told.possible_bytes, 0, 3 * CHUNK);
            left_clear(&it.left);
        }
    case_clear(&it);
}

static void test_salvage__any_length_can_be_left(void **state)
{
    (void)state;
    struct case_of it;
    case_begin(&it, 3);
    for (size_t which = 0; which < 2; which++)
        for (size_t size = 1; size < it.history.streams[which].memory.size; size += size < 3000 ? 7 : 61) {
            left_begin(&it.left, &it.history, 1);
            it.left.streams[which].memory.size = size;
            assert_true(check_left(&it.left, &it.history, it.contents, size % 2 == 0));
            left_clear(&it.left);
        }
    case_clear(&it);
}

/* A restore reads them twice: to survey, and to write. */
static void test_salvage__losses_of_a_whole_disk_can_be_read_again(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_losses *losses;
    struct np_loss loss;
    ok(np_losses_of_all(1 << 20, &losses, &err));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(np_losses_next(losses, &loss, &err), 1);
        assert_int_equal(loss.length, 1 << 20);
        assert_int_equal(np_losses_next(losses, &loss, &err), 0);
        np_losses_rewind(losses);
    }
    np_losses_free(losses);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_salvage__each_granule_is_as_it_was_or_told_as_lost),
        cmocka_unit_test(test_salvage__of_good_streams_nothing_is_lost),
        cmocka_unit_test(test_salvage__end_dir_and_meta_can_be_lost_without_loss),
        cmocka_unit_test(test_salvage__an_increment_without_an_end_is_in_doubt_behind_its_last_record),
        cmocka_unit_test(test_salvage__a_record_loses_no_more_than_its_data),
        cmocka_unit_test(test_salvage__an_index_can_be_lost_without_loss),
        cmocka_unit_test(test_salvage__without_record_and_index_what_lies_between_its_neighbours_is_in_doubt),
        cmocka_unit_test(test_salvage__without_a_stream_the_rest_of_the_chain_serves),
        cmocka_unit_test(test_salvage__records_inside_the_payload_are_not_taken),
        cmocka_unit_test(test_salvage__losses_of_a_whole_disk_can_be_read_again),
        cmocka_unit_test(test_salvage__any_byte_can_be_wrong),
        cmocka_unit_test(test_salvage__any_length_can_be_left),
    };
    return cmocka_run_group_tests_name("salvage", tests, NULL, NULL);
}
