/*
 * Damage of streams of more than one kind at once: two disks in one stream, their records in turn; more
 * records than a leaf of the index lists; several records a window, as merges write them. Records are lost
 * together with their leaves, moved, exchanged, and taken from other streams.
 */
#include "salvage_left.h"

#define DISKS 2
#define STREAMS 4
#define WINDOWS_MAX 2000

struct big {
    struct history history;
    struct content contents[DISKS][STREAMS];
    bool *described[DISKS];
};

static void begin_big_stream(struct big *big, size_t layer)
{
    struct np_error err = NP_ERROR_INIT;
    struct memory_stream *stream = &big->history.streams[layer];
    *stream = (struct memory_stream){.meta = np_meta_new(DISKS, DISKS, &err)};
    assert_non_null(stream->meta);
    struct np_meta *meta = stream->meta;
    meta->stream = random_uuid();
    meta->domain = meta->point = random_uuid();
    strcpy(meta->created, "2026-11-20T03:00:00Z");
    strcpy(meta->domain_name, "guest");
    strcpy(meta->level, "auto");
    for (unsigned d = 0; d < DISKS; d++) {
        struct np_meta_disk *disk = &meta->disks[d];
        disk->id = (uint16_t)d;
        snprintf(disk->target, sizeof(disk->target), "vd%c", (int)('a' + d));
        strcpy(disk->source_format, "qcow2");
        strcpy(disk->level, layer == 0 ? "full" : "inc");
        strcpy(disk->how, layer == 0 ? "all" : "bitmap");
        disk->geometry = big->contents[d][layer].geometry;
        disk->state = random_uuid();
        if (layer > 0) {
            const struct np_meta_disk *base = &stream[-1].meta->disks[d];
            strcpy(disk->base_point, "0001");
            disk->base_state = base->state;
            disk->base_size = base->geometry.size;
        }
        strcpy(meta->point_disks[d].target, disk->target);
        meta->point_disks[d].state = disk->state;
        meta->point_disks[d].stream = meta->stream;
    }
    memory_stream_write(stream);
}

/* Most granules of a full are zero, so that there are many records and few bytes. */
static void change(struct content *content, bool *described, bool full)
{
    uint64_t count = content_count(content), zeroes = 0;
    bool every = full || pick(3) == 0;
    for (uint64_t w = 0; w * PER_WINDOW < count; w++) {
        if (zeroes == 0 && pick(40) == 0)
            zeroes = 1 + pick(6);
        if (zeroes > 0) {
            zeroes--;
            for (uint64_t i = w * PER_WINDOW; i < (w + 1) * PER_WINDOW && i < count; i++) {
                content->granules[i] = 0;
                described[i] = true;
            }
            continue;
        }
        if (!every && pick(3) > 0)
            continue;
        for (uint64_t n = pick(9) == 0 ? pick(PER_WINDOW) : 1; n > 0; n--) {
            uint64_t i = w * PER_WINDOW + pick(PER_WINDOW);
            if (i >= count)
                continue;
            described[i] = true;
            content->granules[i] = pick(4) == 0 ? 0 : 1 + (uint32_t)pick(UINT32_MAX - 1);
        }
    }
}

static void next_contents(struct big *big, size_t layer)
{
    for (unsigned d = 0; d < DISKS; d++) {
        struct content *now = &big->contents[d][layer];
        const struct content *old = layer > 0 ? &big->contents[d][layer - 1] : NULL;
        /* Often there is one record, or a few, behind the first leaf. */
        uint64_t windows = pick(3) == 0 ? 1 + pick(WINDOWS_MAX) : pick(3) == 0 ? 1024 + pick(100) : pick(12);
        uint64_t size = old != NULL && pick(2) > 0 ? old->geometry.size
                                                   : windows * CHUNK + (pick(2) == 0 ? pick(CHUNK) : 0);
        *now = content_new(size, CHUNK, GRANULE);
        memset(big->described[d], old == NULL, content_count(now) + 1);
        if (old != NULL) {
            uint64_t common = np_min_u64(content_count(old), content_count(now));
            memcpy(now->granules, old->granules, common * sizeof(*now->granules));
        }
        change(now, big->described[d], old == NULL);
        for (uint64_t i = old == NULL || size == old->geometry.size
                              ? UINT64_MAX
                              : np_min_u64(size, old->geometry.size) / GRANULE;
             i < content_count(now); i++) {
            big->described[d][i] = true;
            now->granules[i] = pick(20) == 0 ? (uint32_t)pick(UINT32_MAX) : 0;
        }
    }
}

static void write_window(struct big *big, size_t layer, uint16_t d, uint64_t offset)
{
    const struct content *content = &big->contents[d][layer];
    struct np_writer *writer = big->history.streams[layer].writer;
    struct np_error err = NP_ERROR_INIT;
    unsigned granules = np_window_granules(&content->geometry, offset), live[2] = {0}, zero = 0;
    enum np_granule_state parts[2][PER_WINDOW] = {0};
    bool split = pick(3) == 0;
    for (unsigned i = 0; i < granules; i++) {
        uint64_t number = offset / GRANULE + i;
        if (!big->described[d][number])
            continue;
        unsigned part = split ? (unsigned)pick(2) : 0;
        parts[part][i] = content->granules[number] == 0 ? NP_GRANULE_ZERO : NP_GRANULE_DATA;
        zero += content->granules[number] == 0;
        live[part]++;
    }
    if (zero == granules) {
        ok(np_writer_zero(writer, d, offset, np_window_length(&content->geometry, offset), &err));
        return;
    }
    for (unsigned part = 0; part < 2; part++) {
        for (unsigned i = 0; split && i < granules; i++)
            if (parts[part][i] == NP_GRANULE_ABSENT && pick(8) == 0)
                parts[part][i] = NP_GRANULE_DEAD;
        if (live[part] > 0)
            write_record_of(writer, d, content, offset, parts[part]);
    }
}

static void write_big_stream(struct big *big, size_t layer)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_writer *writer = big->history.streams[layer].writer;
    uint64_t at[DISKS] = {0}, size[DISKS];
    for (unsigned d = 0; d < DISKS; d++)
        size[d] = big->contents[d][layer].geometry.size;
    bool in_turn = pick(3) > 0;
    while (at[0] < size[0] || at[1] < size[1]) {
        uint16_t d = in_turn ? (uint16_t)pick(DISKS) : at[0] == size[0];
        if (at[d] == size[d])
            d = !d;
        write_window(big, layer, d, at[d]);
        at[d] = np_min_u64(at[d] + CHUNK, size[d]);
    }
    for (uint16_t d = 0; d < DISKS; d++) {
        ok(np_writer_disk_end(writer, d, NULL, &err));
        big->history.streams[layer].digests[d] = np_writer_totals(writer, d)->digest;
    }
    static const char *const names[] = {"domain.xml", "domain-live.xml", "nvram"};
    uint64_t blobs = big->history.streams[layer].blobs = 1 + layer % 3;
    for (uint64_t i = 0; i < blobs; i++)
        ok(np_writer_blob(writer, names[i], "<domain/>", 9, &err));
    ok(np_writer_finish(writer, &err));
    np_writer_free(NP_STEAL(big->history.streams[layer].writer));
}

/* ---- damage ---- */

/* Places and headers of all records. */
struct listed {
    size_t at;
    struct np_record_header header;
};

static size_t list_records(const struct memory *memory, struct listed *list, size_t room)
{
    struct np_error err = NP_ERROR_INIT;
    size_t count = 0;
    for (size_t at = 0; at < memory->size; count++) {
        assert_true(count < room);
        list[count].at = at;
        ok(np_record_decode(memory->bytes + at, "test", at, &list[count].header, &err));
        at += np_record_size(&list[count].header);
    }
    return count;
}

#define RECORDS_MAX (8 * WINDOWS_MAX)

static struct listed records[RECORDS_MAX], others[RECORDS_MAX];

static void flip_in(struct memory *memory, const struct listed *record)
{
    size_t size = np_record_size(&record->header);
    memory->bytes[record->at + pick(pick(2) == 0 ? NP_RECORD_HEADER_SIZE : size)] ^= (uint8_t)(1 + pick(255));
}

/* Bytes of one record, at the place of another. */
static void put_over(struct memory *memory, size_t at, const struct memory *from, const struct listed *record)
{
    size_t size = np_record_size(&record->header);
    if (at + size <= memory->size)
        memmove(memory->bytes + at, from->bytes + record->at, size);
}

static void damage_records(struct damaged *damaged, const struct memory *good, const struct memory *other)
{
    struct memory *memory = &damaged->memory;
    size_t count = list_records(good, records, RECORDS_MAX),
           other_count = list_records(other, others, RECORDS_MAX);
    size_t a = pick(count), b = pick(count), c = pick(other_count), indexes = 0;
    switch (pick(10)) {
    case 8:
    case 9: /* a leaf, and some records before and behind it */
        b = a;
        while (a < count && records[a].header.type != NP_RECORD_INDEX)
            a++;
        if (a == count)
            break;
        flip_in(memory, &records[a]);
        for (uint64_t n = pick(4); n > 0; n--)
            flip_in(memory, &records[np_min_u64(count - 1, a - np_min_u64(a, 4) + pick(9))]);
        if (pick(2) == 0)
            flip_in(memory, &records[b]);
        break;
    case 0: /* some records, and some leaves */
        for (uint64_t n = 1 + pick(4); n > 0; n--)
            flip_in(memory, &records[pick(count)]);
        for (size_t i = 0; i < count; i++)
            if (records[i].header.type == NP_RECORD_INDEX && pick(2) == 0)
                flip_in(memory, &records[i]);
        break;
    case 1: /* a run of records, and the leaf behind them */
        for (size_t i = a; i < count && i < a + 1 + pick(5); i++)
            flip_in(memory, &records[i]);
        while (a < count && records[a].header.type != NP_RECORD_INDEX)
            a++;
        if (a < count && pick(2) == 0)
            flip_in(memory, &records[a]);
        break;
    case 2: /* moved within the stream */
        put_over(memory, records[b].at, good, &records[a]);
        break;
    case 3: /* exchanged: where both are of one size nothing else shows it */
        for (b = a + 1; b < count; b++)
            if (np_record_size(&records[a].header) == np_record_size(&records[b].header))
                break;
        if (b == count)
            break;
        put_over(memory, records[b].at, good, &records[a]);
        put_over(memory, records[a].at, good, &records[b]);
        break;
    case 4: /* of another stream of the set, and right but for the id */
        put_over(memory, records[a].at, other, &others[c]);
        break;
    case 5: /* doubled */
        if (memory->size == good->size)
            insert(memory, records[b].at, good->bytes + records[a].at, np_record_size(&records[a].header));
        break;
    case 6: /* gone, and all behind moved up */
        b = np_min_u64(count - 1, a + 1 + pick(3));
        if (memory->size == good->size)
            cut_out(memory, records[a].at, records[b].at);
        break;
    default: /* every index record */
        for (size_t i = 0; i < count; i++)
            if (records[i].header.type == NP_RECORD_INDEX && indexes++ % 2 == pick(2))
                flip_in(memory, &records[i]);
        flip_in(memory, &records[a]);
        break;
    }
}

static void run_big(uint64_t seed)
{
    random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 11;
    static struct big big;
    big = (struct big){0};
    size_t layers = 1 + pick(STREAMS);
    for (unsigned d = 0; d < DISKS; d++)
        assert_non_null(big.described[d] = calloc((WINDOWS_MAX + 2) * PER_WINDOW, 1));
    for (size_t i = 0; i < layers; i++) {
        next_contents(&big, i);
        begin_big_stream(&big, i);
        big.history.count++;
        write_big_stream(&big, i);
    }
    for (int round = 0; round < 8; round++) {
        struct left left;
        left_begin(&left, &big.history, pick(layers));
        for (uint64_t n = 1 + pick(3); n > 0; n--) {
            size_t which = pick(left.count), other = pick(layers);
            const struct memory *good = &big.history.streams[which].memory;
            if (pick(4) == 0) {
                damage_randomly(&left.streams[which], &big.history.streams[other].memory);
                break; /* records are not where they were */
            }
            damage_records(&left.streams[which], good, &big.history.streams[other].memory);
            if (left.streams[which].memory.size != good->size)
                break;
        }
        for (the_disk = 0; the_disk < DISKS; the_disk++)
            if (check_left(&left, &big.history, big.contents[the_disk], false))
                check_left(&left, &big.history, big.contents[the_disk], true);
        left_clear(&left);
    }
    for (unsigned d = 0; d < DISKS; d++) {
        for (size_t i = 0; i < layers; i++)
            content_clear(&big.contents[d][i]);
        free(big.described[d]);
    }
    history_clear(&big.history);
}

static void test_salvage_streams__each_granule_of_each_disk_is_as_it_was_or_told_as_lost(void **state)
{
    (void)state;
    const char *more = getenv("NP_HISTORIES"), *first = getenv("NP_FIRST"),
               *choice = getenv("NBDPULL_CHOICE");
    uint64_t seeds = more != NULL ? strtoull(more, NULL, 10) : 20, seed = 1;
    if (first != NULL)
        seed = strtoull(first, NULL, 10);
    else if (more == NULL && choice != NULL)
        seed = strtoull(choice, NULL, 10) * seeds + 1;
    print_message("histories %ju to %ju\n", (uintmax_t)seed, (uintmax_t)(seed + seeds - 1));
    for (uint64_t end = seed + seeds; seed < end; seed++) {
        if (getenv("NP_TELL") != NULL)
            fprintf(stderr, "seed %ju\n", (uintmax_t)seed);
        run_big(seed);
    }
}

/* ---- at the border of two leaves ---- */

#define LEAF 1024 /* records that a leaf lists at most */

/* A full, and an increment with one record more than a leaf lists: records 1 to LEAF, their leaf, one more,
 * its leaf. */
struct border {
    struct history history;
    struct content contents[2];
    struct left left;
};

static void border_begin(struct border *it)
{
    NP_AUTO_FREE bool *described = calloc((LEAF + 6) * PER_WINDOW + 1, 1);
    *it = (struct border){0};
    the_disk = 0;
    memset(described, true, (LEAF + 6) * PER_WINDOW);
    for (unsigned layer = 0; layer < 2; layer++) {
        it->contents[layer] = content_new((LEAF + 6) * CHUNK, CHUNK, GRANULE);
        for (uint64_t w = 0; w < LEAF + 6; w++)
            it->contents[layer].granules[w * PER_WINDOW] = (uint32_t)w + 1;
        for (uint64_t w = 0; layer == 1 && w <= LEAF; w++) {
            it->contents[1].granules[w * PER_WINDOW] = (uint32_t)w + 100000;
            described[w * PER_WINDOW] = true;
        }
        add_stream(&it->history, &it->contents[layer], described);
        memset(described, false, (LEAF + 6) * PER_WINDOW);
    }
}

static void border_clear(struct border *it)
{
    for (unsigned layer = 0; layer < 2; layer++)
        content_clear(&it->contents[layer]);
    history_clear(&it->history);
}

/* Lose the headers of some records of the increment, and the table of one; both lists end with 0. */
static void lose_at_border(struct border *it, const uint64_t *headers, uint64_t table, bool trailer)
{
    const struct memory *good = &it->history.streams[1].memory;
    struct np_record_header header;
    left_begin(&it->left, &it->history, 1);
    struct memory *memory = &it->left.streams[1].memory;
    for (; *headers > 0; headers++)
        memory->bytes[record_at(good, *headers, &header) + 30] ^= 1;
    if (table > 0)
        memory->bytes[record_at(good, table, &header) + NP_RECORD_HEADER_SIZE + 20] ^= 1;
    if (trailer) /* META, DIR and END, behind two leaves and the root */
        memory->size = record_at(good, LEAF + 5, &header);
    assert_true(check_left(&it->left, &it->history, it->contents, false));
    left_clear(&it->left);
}

/* No leaf tells of a record whose leaf is lost too. So what lies there is in doubt. */
static void test_salvage_streams__a_record_that_is_lost_with_its_leaf_is_in_doubt(void **state)
{
    (void)state;
    const struct {
        uint64_t headers[4], table;
    } losses[] = {
        {{LEAF, LEAF + 1}, 0},           /* the last before its leaf */
        {{LEAF, LEAF + 1, LEAF + 2}, 0}, /* and all of the next leaf's */
        {{500, LEAF + 1}, 0},            /* one in the middle */
        {{LEAF, LEAF + 2}, LEAF + 1},    /* between them a leaf that cannot be read */
    };
    struct border it;
    border_begin(&it);
    for (size_t i = 0; i < NP_ARRAY_SIZE(losses); i++) {
        lose_at_border(&it, losses[i].headers, losses[i].table, false);
        assert_true(told.lost[(losses[i].headers[0] - 1) * PER_WINDOW]);
    }
    border_clear(&it);
}

/* And what a leaf tells of makes nothing doubtful that it does not list. */
static void test_salvage_streams__a_record_that_a_leaf_lists_puts_no_other_in_doubt(void **state)
{
    (void)state;
    struct border it;
    border_begin(&it);
    lose_at_border(&it, (const uint64_t[]){0}, 0, true);
    uint64_t possible = told.possible_bytes;
    assert_in_range(possible, 1, 6 * CHUNK);
    lose_at_border(&it, (const uint64_t[]){LEAF, 0}, 0, true);
    assert_int_equal(told.possible_bytes, possible);
    assert_int_equal(told.lost_bytes, GRANULE);
    /* Nor does a leaf that is lost, but for what may have been beside it. */
    lose_at_border(&it, (const uint64_t[]){LEAF + 1, 0}, 0, true);
    assert_int_equal(told.possible_bytes, possible + CHUNK - GRANULE);
    assert_int_equal(told.lost_bytes, 0);
    border_clear(&it);
}

/* ---- named files ---- */

/* Of the last record of that type its data, or its table where it has none. */
static void spoil_last(struct memory *memory, uint8_t type)
{
    static struct listed list[LEAF + 20];
    size_t last = list_records(memory, list, NP_ARRAY_SIZE(list));
    while (last > 0 && list[--last].header.type != type)
        ;
    const struct np_record_header *header = &list[last].header;
    assert_int_equal(header->type, type);
    memory->bytes[list[last].at + NP_RECORD_HEADER_SIZE + (header->data_len > 0 ? header->table_len : 0)] ^=
        1;
}

/* DIR and the second META's results say how many there were, and nothing else does. */
static void test_salvage_streams__dir_or_results_tell_the_number_of_files(void **state)
{
    (void)state;
    struct border it;
    border_begin(&it);
    for (unsigned lost = 0; lost < 4; lost++) {
        left_begin(&it.left, &it.history, 1);
        if ((lost & 1) != 0)
            spoil_last(&it.left.streams[1].memory, NP_RECORD_DIR);
        if ((lost & 2) != 0)
            spoil_last(&it.left.streams[1].memory, NP_RECORD_META);
        assert_true(left_open(&it.left, &it.history, false));
        assert_int_equal(check_blobs(it.left.salvages[0], &it.history.streams[1]), lost != 3);
        left_clear(&it.left);
    }
    border_clear(&it);
}

/* ---- bytes too many and too few ---- */

/* A header is found wherever it lies, also across the border of what is read at once. */
static void test_salvage_streams__bytes_too_many_or_too_few_cost_one_record(void **state)
{
    (void)state;
    struct border it;
    struct np_record_header header;
    const size_t places[] = {0, 1, 48, 94, 95, 96, 97};
    NP_AUTO_FREE uint8_t *noise = calloc(1, 256 << 10);
    border_begin(&it);
    for (size_t i = 0; i < NP_ARRAY_SIZE(places); i++) {
        left_begin(&it.left, &it.history, 1);
        size_t at = record_at(&it.history.streams[1].memory, 5, &header);
        insert(&it.left.streams[1].memory, at, noise, (256 << 10) - places[i] - at);
        assert_true(check_left(&it.left, &it.history, it.contents, false));
        assert_int_equal(told.lost_bytes + told.possible_bytes, 0);
        left_clear(&it.left);
    }
    left_begin(&it.left, &it.history, 1);
    size_t at = record_at(&it.history.streams[1].memory, 7, &header) + NP_RECORD_HEADER_SIZE;
    cut_out(&it.left.streams[1].memory, at + 100, at + 1100);
    assert_true(check_left(&it.left, &it.history, it.contents, false));
    assert_int_equal(told.lost_bytes, GRANULE);
    assert_int_equal(told.possible_bytes, 0);
    left_clear(&it.left);
    border_clear(&it);
}

/* ---- who serves instead ---- */

static void add_zeroes(struct history *history, uint64_t size);

/* A ZERO record does, also one that is lost and that the index still tells of. */
static void test_salvage_streams__zeroes_of_an_older_stream_are_told_as_its(void **state)
{
    (void)state;
    struct history history = {0};
    struct content contents[2] = {content_new(5 * CHUNK, CHUNK, GRANULE),
                                  content_new(5 * CHUNK, CHUNK, GRANULE)};
    the_disk = 0;
    add_zeroes(&history, 5 * CHUNK);
    add_zeroes(&history, 5 * CHUNK);
    for (unsigned lost = 0; lost < 2; lost++) {
        struct left left;
        struct np_record_header header;
        left_begin(&left, &history, 1);
        left.streams[1].gone = true;
        if (lost)
            left.streams[0].memory.bytes[record_at(&left.streams[0].memory, 1, &header) + 30] ^= 1;
        assert_true(check_left(&left, &history, contents, true));
        assert_int_equal(told.possible_bytes, 5 * CHUNK);
        for (size_t i = 0; i < 5 * PER_WINDOW; i++)
            assert_int_equal(told.instead[i], 1);
        left_clear(&left);
    }
    content_clear(&contents[0]);
    content_clear(&contents[1]);
    history_clear(&history);
}

/* ---- large disks ---- */

#define HUGE ((UINT64_C(1) << 53) - CHUNK)

/* A stream of vda alone that is zero everywhere, of any size. */
static void add_zeroes(struct history *history, uint64_t size)
{
    struct np_error err = NP_ERROR_INIT;
    const struct content content = {.geometry = {.size = size, .chunk = CHUNK, .granule = GRANULE}};
    struct memory_stream *stream = begin_stream(history, &content);
    memory_stream_write(stream);
    ok(np_writer_zero(stream->writer, 0, 0, size, &err));
    finish_stream(history, NULL);
}

/* Nobody may walk it window by window: that would take days. */
static void assert_few_steps(struct left *left, const struct history *history, bool older)
{
    struct np_error err = NP_ERROR_INIT;
    static struct np_chain_step step;
    uint64_t told_bytes = 0, size = history->streams[left->count - 1].meta->disks[0].geometry.size;
    assert_true(left_open(left, history, older));
    unsigned steps = 0;
    for (int more; (more = np_chain_next(left->chain, &step, &err)) != 0; steps++) {
        ok(more);
        assert_in_range(steps, 0, 100);
        told_bytes += step.kind == NP_CHAIN_ZERO ? step.length : 0;
    }
    assert_int_equal(told_bytes, size);
    left_close(left);
}

/* What an old stream had beyond the size that the disk had in between is of no use. */
static void test_salvage_streams__a_huge_disk_that_was_small_in_between_takes_no_time(void **state)
{
    (void)state;
    const uint64_t sizes[] = {CHUNK + GRANULE, 3 * CHUNK, HUGE};
    the_disk = 0;
    for (size_t n = 0; n < NP_ARRAY_SIZE(sizes); n++)
        for (unsigned lost = 0; lost < 7; lost++) {
            struct history history = {0};
            struct left left;
            add_zeroes(&history, HUGE);
            add_zeroes(&history, sizes[n]);
            add_zeroes(&history, HUGE);
            left_begin(&left, &history, 2);
            for (unsigned i = 0; i < 3; i++)
                left.streams[i].gone = lost >> i & 1;
            assert_few_steps(&left, &history, false);
            assert_few_steps(&left, &history, true);
            left_clear(&left);
            history_clear(&history);
        }
}

/* ---- hostile and misleading streams ---- */

struct counted {
    struct memory memory;
    uint64_t bytes; /* that were read */
};

static int read_counted(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    struct counted *counted = ctx;
    counted->bytes += size;
    return memory_read_at(&counted->memory, buffer, size, pos, err);
}

/* Each header is good, has a wrong body, and nothing at its end; so all that follows is looked through for
 * each. */
static void test_salvage_streams__what_is_read_is_a_small_multiple_of_what_is_there(void **state)
{
    (void)state;
    const size_t count = 5000;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta *meta;
    struct counted counted = {
        .memory = {.bytes = calloc(count, NP_RECORD_HEADER_SIZE), .size = count * NP_RECORD_HEADER_SIZE}};
    const struct np_salvage_request request = {
        .input = {.read_at = read_counted, .ctx = &counted, .size = counted.memory.size}, .name = "hostile"};
    for (size_t i = 0; i < count; i++) {
        struct np_record_header header = {.version = NP_FORMAT_VERSION,
                                          .type = NP_RECORD_DATA,
                                          .stream_id = 7,
                                          .pos = i * 512,
                                          .length = 392,
                                          .table_len = 24,
                                          .data_len = 392,
                                          .number = i};
        np_record_encode(&header, counted.memory.bytes + i * NP_RECORD_HEADER_SIZE);
    }
    assert_int_equal(np_salvage_meta(&request, &meta, &err), -1);
    assert_int_equal(err.class, NP_DAMAGED);
    assert_in_range(counted.bytes, counted.memory.size, 8 * counted.memory.size);
    free(counted.memory.bytes);
}

/* In the payload are streams of the guest's own, with many more records; its first and its last bytes are
 * lost. */
static void test_salvage_streams__a_stream_is_not_taken_for_one_inside_its_payload(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct history outer = {0};
    struct content content = content_new(4 * CHUNK, CHUNK, GRANULE);
    bool described[4 * PER_WINDOW + 1];
    struct left left;
    struct np_meta *meta;
    memset(described, true, sizeof(described));
    for (uint64_t i = 0; i < 4 * PER_WINDOW; i++)
        content.granules[i] = 1;
    add_stream(&outer, &content, described);
    left_begin(&left, &outer, 0);
    struct memory *memory = &left.streams[0].memory;
    for (uint64_t n = 1; n < 5; n++) {
        struct np_record_header header,
            inner = {.version = NP_FORMAT_VERSION, .type = NP_RECORD_ZERO, .length = CHUNK, .stream_id = n};
        size_t at =
            record_at(&outer.streams[0].memory, n, &header) + NP_RECORD_HEADER_SIZE + header.table_len;
        for (size_t i = 0; i < 100; i++) {
            inner.number++;
            inner.pos += NP_RECORD_HEADER_SIZE;
            np_record_encode(&inner, memory->bytes + at + i * NP_RECORD_HEADER_SIZE);
        }
    }
    memset(memory->bytes, 0, 64);
    memory->size -= NP_END_SIZE / 2;
    const struct np_salvage_request request = {
        .input = {.read_at = read_damaged, .ctx = &left.streams[0], .size = memory->size}, .name = "outer"};
    ok(np_salvage_meta(&request, &meta, &err));
    assert_true(np_uuid_equal(&meta->stream, &outer.streams[0].meta->stream));
    np_meta_free(meta);
    left_clear(&left);
    content_clear(&content);
    history_clear(&outer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_salvage_streams__each_granule_of_each_disk_is_as_it_was_or_told_as_lost),
        cmocka_unit_test(test_salvage_streams__a_record_that_is_lost_with_its_leaf_is_in_doubt),
        cmocka_unit_test(test_salvage_streams__a_record_that_a_leaf_lists_puts_no_other_in_doubt),
        cmocka_unit_test(test_salvage_streams__dir_or_results_tell_the_number_of_files),
        cmocka_unit_test(test_salvage_streams__bytes_too_many_or_too_few_cost_one_record),
        cmocka_unit_test(test_salvage_streams__zeroes_of_an_older_stream_are_told_as_its),
        cmocka_unit_test(test_salvage_streams__a_huge_disk_that_was_small_in_between_takes_no_time),
        cmocka_unit_test(test_salvage_streams__what_is_read_is_a_small_multiple_of_what_is_there),
        cmocka_unit_test(test_salvage_streams__a_stream_is_not_taken_for_one_inside_its_payload),
    };
    return cmocka_run_group_tests_name("salvage_streams", tests, NULL, NULL);
}
