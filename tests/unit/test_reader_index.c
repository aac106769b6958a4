#include "surgery.h"

/* Trees that np_writer would not grow, of streams with one disk: both readers must take what FORMAT.md
 * allows, and refuse the rest. */

#define NEW_WAS (UINT64_C(1) << 60) /* positions that no record came from: names for new nodes */

struct grower {
    struct parts *from, *to;
    unsigned fan;                                /* children of an inner node */
    struct part *waiting[NP_INDEX_LEVELS][1200]; /* nodes without a parent, by level */
    unsigned count[NP_INDEX_LEVELS];
    uint64_t next_was;
    struct part made[1200];
};

static void grow(struct grower *grower, unsigned level);

static struct part *add_node(struct grower *grower, unsigned level, size_t entries, uint32_t entry_size)
{
    size_t n = grower->next_was++ - NEW_WAS;
    struct part *node = &grower->made[n];
    *node = (struct part){.header = grower->from->list[0].header, .was = NEW_WAS + n};
    node->header.type = NP_RECORD_INDEX;
    node->header.disk = grower->from->meta->disks[0].id;
    node->header.table_len = (uint32_t)(NP_INDEX_HEAD_SIZE + entries * entry_size);
    node->header.length = 1;
    node->table = calloc(1, node->header.table_len);
    np_index_node_put_head(node->table, (uint8_t)level, entry_size, (unsigned)entries, 0);
    grower->waiting[level][grower->count[level]++] = node;
    return node;
}

static void append_part(struct grower *grower, const struct part *part)
{
    part_insert(grower->to, grower->to->count, part)->was = part->was;
}

static void grow_leaf(struct grower *grower)
{
    uint32_t size = np_index_node_entry_size(&grower->from->meta->disks[0].geometry);
    append_part(grower, add_node(grower, 0, 0, size)); /* FIX_LEAVES fills it */
    grow(grower, 0);
}

/* A parent for all nodes of a level that wait for one. */
static void grow_parent(struct grower *grower, unsigned level)
{
    unsigned count = grower->count[level];
    struct part *node = add_node(grower, level + 1, count, NP_INDEX_CHILD_SIZE);
    for (unsigned i = 0; i < count; i++)
        np_put_le64(node->table + NP_INDEX_HEAD_SIZE + (size_t)i * NP_INDEX_CHILD_SIZE,
                    grower->waiting[level][i]->was);
    append_part(grower, node);
    grower->count[level] = 0;
    grow(grower, level + 1);
}

static void grow(struct grower *grower, unsigned level)
{
    if (grower->count[level] == grower->fan)
        grow_parent(grower, level);
}

static unsigned all_waiting(const struct grower *grower)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < NP_INDEX_LEVELS; i++)
        sum += grower->count[i];
    return sum;
}

static void finish_tree(struct grower *grower)
{
    unsigned level = 0;
    while (all_waiting(grower) > 1 || grower->count[level] == 0) {
        if (grower->count[level] > 0)
            grow_parent(grower, level);
        level++;
    }
    for (size_t i = 0; i < grower->from->count; i++) {
        uint8_t *disk = grower->from->list[i].table + NP_DIR_HEAD_SIZE;
        if (grower->from->list[i].header.type != NP_RECORD_DIR)
            continue;
        disk[2] = (uint8_t)level;
        np_put_le64(disk + 8, grower->waiting[level][0]->was);
    }
}

/* The same records with a leaf after every `per_leaf` of them and inner nodes of `fan` children. Takes from.
 */
static struct parts *replanted(struct parts *from, unsigned per_leaf, unsigned fan)
{
    struct grower *grower = calloc(1, sizeof(*grower));
    *grower = (struct grower){.from = from, .to = calloc(1, sizeof(*grower->to)), .fan = fan};
    grower->next_was = NEW_WAS;
    unsigned open = 0;
    for (size_t i = 0; i < from->count; i++) {
        const struct part *part = &from->list[i];
        bool counts = part->header.type == NP_RECORD_DATA || part->header.type == NP_RECORD_ZERO;
        bool last = part->header.type == NP_RECORD_BLOB && part->header.offset == 0 && grower->fan > 0;
        if (part->header.type == NP_RECORD_INDEX)
            continue;
        if (last) {
            if (open > 0)
                grow_leaf(grower);
            finish_tree(grower);
            grower->fan = 0; /* once */
        }
        append_part(grower, part);
        if (counts && ++open == per_leaf) {
            open = 0;
            grow_leaf(grower);
        }
    }
    for (size_t i = 0; i < grower->next_was - NEW_WAS; i++) {
        free(grower->made[i].table);
        free(grower->made[i].data);
    }
    struct parts *to = grower->to;
    to->meta = from->meta;
    from->meta = NULL;
    parts_free(from);
    free(grower);
    return to;
}

/* ---- help ---- */

/* An increment of ten windows with a record each. */
static struct guest ten_windows(void)
{
    static const uint64_t sizes[] = {10 * SAMPLE_CHUNK};
    struct guest guest = sample_guest(sizes, 1, 0x11);
    memset(guest.image[0], 1, sizes[0]);
    guest_increment(&guest, 0, sizes[0], "10100000");
    return guest;
}

static void pipe_refuses(struct memory *memory, const char *why)
{
    struct np_error err = NP_ERROR_INIT;
    fails(NP_DAMAGED, read_all(memory, &err));
    if (strstr(err.message, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.message, why);
}

static void index_refuses(struct memory *memory, const char *why)
{
    struct np_error err = NP_ERROR_INIT;
    fails(NP_DAMAGED, restore_index(memory, NULL, &err));
    if (strstr(err.message, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.message, why);
}

/* Both readers must refuse what is put together of the parts. @param by_index NULL: only the pipe can see it
 */
static void refused(struct parts *parts, unsigned fix, const char *by_pipe, const char *by_index)
{
    struct memory memory = put_together(parts, fix);
    pipe_refuses(&memory, by_pipe);
    if (by_index != NULL)
        index_refuses(&memory, by_index);
    free(memory.bytes);
    parts_free(parts);
}

/* ---- shapes ---- */

static void test_reader_index__any_shape_of_a_tree_is_taken(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    for (unsigned per_leaf = 1; per_leaf <= 11; per_leaf += 2) {
        for (unsigned fan = 2; fan <= 5; fan++) {
            struct guest guest = ten_windows();
            struct memory memory = write_guest(&guest, 0);
            struct parts *parts = replanted(cut_up(&memory), per_leaf, fan);
            free(memory.bytes);
            memory = put_together(parts, FIX_ALL);
            uint8_t *images[SAMPLE_DISKS];
            empty_images(&guest, images);
            ok(read_all(&memory, &err));
            ok(restore_index(&memory, images, &err));
            assert_true(images_fit(&guest, images));
            free_images(&guest, images);
            parts_free(parts);
            guest_free(&guest);
            free(memory.bytes);
        }
    }
}

static struct parts *small_tree(void)
{
    return replanted(parts_of(ten_windows()), 2, 4); /* five leaves, two inner nodes, a root */
}

static void test_reader_index__more_than_257_nodes_must_not_wait_for_a_parent(void **state)
{
    (void)state;
    struct guest guest;
    for (unsigned leaves = 257; leaves <= 258; leaves++) {
        struct memory memory = many_records(&guest, leaves, 16);
        struct parts *parts = replanted(cut_up(&memory), 1, 1000);
        free(memory.bytes);
        /* The root has more children than it may: that is what the pipe reader says if it gets so far. */
        refused(parts, FIX_ALL, leaves == 257 ? "impossible count" : "an INDEX of the next level is missing",
                "its table is too long");
        guest_free(&guest);
    }
}

static void test_reader_index__a_leaf_has_at_most_1024_entries(void **state)
{
    (void)state;
    struct guest guest;
    struct memory memory = many_records(&guest, 1030, 16);
    struct parts *parts = cut_up(&memory);
    free(memory.bytes);
    part_remove(parts, part_of(parts, NP_RECORD_INDEX, 0));
    refused(parts, FIX_LINKS | FIX_TOTALS, "an INDEX is missing before it", NULL);
    guest_free(&guest);
}

static void test_reader_index__a_leaf_has_at_most_8192_hashes(void **state)
{
    (void)state;
    struct guest guest;
    struct memory memory = many_records(&guest, 20, NP_GRANULES_MAX);
    struct parts *parts = cut_up(&memory);
    free(memory.bytes);
    part_remove(parts, part_of(parts, NP_RECORD_INDEX, 0));
    refused(parts, FIX_LINKS | FIX_TOTALS, "an INDEX is missing before it", NULL);
    guest_free(&guest);
}

/* ---- inner nodes that lie ---- */

static void child_refused(size_t at, const char *by_index)
{
    struct parts *parts = small_tree();
    struct part *root = &parts->list[part_of(parts, NP_RECORD_INDEX, 7)];
    struct memory once = put_together(parts, FIX_ALL); /* so that places are right, to be wrong then */
    free(once.bytes);
    assert_int_equal(root->table[0], 2);
    root->table[NP_INDEX_HEAD_SIZE + at] ^= 1;
    uint8_t *dir = parts->list[part_of(parts, NP_RECORD_DIR, 0)].table + NP_DIR_HEAD_SIZE;
    uint8_t header[NP_RECORD_HEADER_SIZE];
    root->header.table_sum = np_hash64(root->table, root->header.table_len);
    np_record_encode(&root->header, header);
    np_put_le64(dir + 16, root->header.head_sum);
    for (size_t i = 0; i < parts->count; i++)
        parts->list[i].was = parts->list[i].header.pos;
    refused(parts, FIX_END, "the index disagrees with the nodes before it", by_index);
}

static void test_reader_index__an_inner_node_that_says_otherwise_is_refused(void **state)
{
    (void)state;
    child_refused(8, "another record must be there");  /* head_sum */
    child_refused(32, "another record must be there"); /* table_len */
    child_refused(36, "another record must be there"); /* data_len */
}

static void test_reader_index__a_node_without_a_parent_is_refused(void **state)
{
    (void)state;
    struct parts *parts = small_tree();
    struct part *root = &parts->list[part_of(parts, NP_RECORD_INDEX, 7)];
    np_put_le16(root->table + 2, 1); /* of two */
    root->header.table_len -= NP_INDEX_CHILD_SIZE;
    refused(parts, FIX_ALL, "its index does not list all its records", "where DIR counts");
}

static void test_reader_index__children_have_one_parent(void **state)
{
    (void)state;
    struct parts *parts = small_tree();
    size_t inner = part_of(parts, NP_RECORD_INDEX, 4);
    assert_int_equal(parts->list[inner].table[0], 1);
    part_insert(parts, inner + 1, &parts->list[inner]);
    refused(parts, FIX_ALL, "the index disagrees with the nodes before it", NULL);
}

static void test_reader_index__a_tree_of_another_disk_is_refused(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {SAMPLE_CHUNK, SAMPLE_CHUNK};
    struct parts *parts = parts_of(sample_guest(sizes, 2, 0x11));
    uint8_t *disks = parts->list[part_of(parts, NP_RECORD_DIR, 0)].table + NP_DIR_HEAD_SIZE;
    uint8_t root[NP_INDEX_CHILD_SIZE];
    memcpy(root, disks + 8, sizeof(root));
    memcpy(disks + 8, disks + NP_DIR_DISK_SIZE + 8, sizeof(root));
    memcpy(disks + NP_DIR_DISK_SIZE + 8, root, sizeof(root));
    refused(parts, FIX_END, "it names another root of the index", "it belongs to another disk");
}

/* ---- one window in two leaves ---- */

static void test_reader_index__a_zero_does_not_share_a_window_across_leaves(void **state)
{
    (void)state;
    struct parts *parts = parts_of(ten_windows());
    size_t last = part_of(parts, NP_RECORD_DATA, 9);
    struct part *zero = part_insert(parts, last + 1, &parts->list[last]);
    zero->header.type = NP_RECORD_ZERO;
    zero->header.codec = 0;
    zero->header.length = SAMPLE_CHUNK;
    zero->header.table_len = zero->header.data_len = 0;
    refused(replanted(parts, 1, 20), FIX_ALL, "shares its window", "it lists what was listed before");
}

static void test_reader_index__a_granule_is_not_described_twice_across_leaves(void **state)
{
    (void)state;
    for (unsigned granule_state = NP_GRANULE_DATA; granule_state <= NP_GRANULE_ZERO; granule_state++) {
        struct parts *parts = parts_of(ten_windows());
        size_t last = part_of(parts, NP_RECORD_DATA, 9);
        struct part *second = part_insert(parts, last + 1, &parts->list[last]);
        if (granule_state == NP_GRANULE_ZERO) {
            np_map_set(second->table, 2, NP_GRANULE_ZERO); /* which is data in the first */
            for (unsigned k = 0; k < 16; k++)
                if (k != 2)
                    np_map_set(second->table, k, NP_GRANULE_ABSENT);
            second->header.table_len = np_map_bytes(&parts->meta->disks[0].geometry);
            second->header.data_len = 0;
            second->header.length = 0;
            second->header.codec = 0;
            part_swap(parts, last, last + 1); /* the zero comes first */
        }
        refused(replanted(parts, 1, 20), FIX_ALL, "it describes a granule that was described before",
                "it lists what was listed before");
    }
}

/* ---- leaves that lie, in ways that look right ---- */

/* A stream of one disk with one record, to be moved or cut in the index alone. */
static struct parts *one_record(bool zero)
{
    static const uint64_t sizes[] = {4 * SAMPLE_CHUNK};
    struct guest guest = sample_guest(sizes, 1, 0x11);
    memset(guest.image[0], zero ? 0 : 1, sizes[0]);
    guest_increment(&guest, 0, sizes[0],
                    zero ? "1" : "1111111111111111000000000000000000000000000000000000000000000000");
    return parts_of(guest);
}

static void test_reader_index__a_window_moved_in_the_index_is_refused(void **state)
{
    (void)state;
    struct parts *parts = one_record(false);
    struct part *leaf = &parts->list[part_of(parts, NP_RECORD_INDEX, 0)];
    np_put_le64(leaf->table + NP_INDEX_HEAD_SIZE + 16, SAMPLE_CHUNK);
    leaf->header.offset = SAMPLE_CHUNK;
    refused(parts, FIX_LINKS, "the index disagrees with the records before it",
            "the index describes another record at this place");
}

static void test_reader_index__a_zero_cut_in_the_index_is_refused(void **state)
{
    (void)state;
    struct parts *parts = one_record(true);
    struct part *leaf = &parts->list[part_of(parts, NP_RECORD_INDEX, 0)];
    np_put_le64(leaf->table + NP_INDEX_HEAD_SIZE + 24, 3 * SAMPLE_CHUNK);
    leaf->header.length = 3 * SAMPLE_CHUNK;
    refused(parts, FIX_LINKS, "the index disagrees with the records before it",
            "the index describes another record at this place");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader_index__any_shape_of_a_tree_is_taken),
        cmocka_unit_test(test_reader_index__more_than_257_nodes_must_not_wait_for_a_parent),
        cmocka_unit_test(test_reader_index__a_leaf_has_at_most_1024_entries),
        cmocka_unit_test(test_reader_index__a_leaf_has_at_most_8192_hashes),
        cmocka_unit_test(test_reader_index__an_inner_node_that_says_otherwise_is_refused),
        cmocka_unit_test(test_reader_index__a_node_without_a_parent_is_refused),
        cmocka_unit_test(test_reader_index__children_have_one_parent),
        cmocka_unit_test(test_reader_index__a_tree_of_another_disk_is_refused),
        cmocka_unit_test(test_reader_index__a_zero_does_not_share_a_window_across_leaves),
        cmocka_unit_test(test_reader_index__a_granule_is_not_described_twice_across_leaves),
        cmocka_unit_test(test_reader_index__a_window_moved_in_the_index_is_refused),
        cmocka_unit_test(test_reader_index__a_zero_cut_in_the_index_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
