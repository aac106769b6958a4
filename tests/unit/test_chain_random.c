#include "random_history.h"

static void assert_seeks(const struct history *history, size_t newest, const struct content *content)
{
    struct np_error err = NP_ERROR_INIT;
    CHAIN(chain, history, newest);
    static struct np_chain_step step;
    for (int i = 0; i < 3; i++) {
        uint64_t from = pick(content->geometry.size + CHUNK);
        ok(np_chain_seek(chain, from, &err));
        if (from >= content->geometry.size)
            assert_int_equal(np_chain_next(chain, &step, &err), 0);
        else if (pick(2) == 0)
            ok(np_chain_next(chain, &step, &err)); /* and leave it in the middle */
        else
            assert_tells_from(history, newest, content, chain, from);
    }
}

static void run_history(uint64_t seed)
{
    random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    struct history history = {0};
    size_t points = 1 + pick(LAYERS_MAX - 1);
    struct content content = content_new(random_size(), CHUNK, GRANULE);
    bool described[9 * PER_WINDOW + 2];
    mutate(&content, described);
    memset(described, true, sizeof(described));
    for (size_t i = 0; i < points; i++) {
        if (i > 0) {
            struct content next = next_content(&content, described);
            content_clear(&content);
            content = next;
        }
        add_random_stream(&history, &content, described);
        assert_tells(&history, i, &content);
        assert_seeks(&history, i, &content);
    }
    content_clear(&content);
    history_clear(&history);
}

static void test_chain__random_histories_are_told_exactly(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++)
        run_history(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain__random_histories_are_told_exactly),
    };
    return cmocka_run_group_tests_name("chain_random", tests, NULL, NULL);
}
