/*
 * A stream from a pipe. Input: flags of mend.h and, in the upper bits, how the pipe cuts it; then the stream.
 *
 * It must not matter how the bytes come, and whether the caller takes the data or has them skipped; and what
 * is accepted this way must be accepted by the index, and be the same, and what is refused be refused.
 */
#include "both_ways.h"
#include "mend.h"

/* Only the hashes of granules are the caller's to compare: so skipping may accept more. */
static void compare_skipping(struct bytes *bytes, enum verdict verdict)
{
    NP_AUTO_FREE struct seen *seen = calloc(1, sizeof(*seen));
    MUST(seen != NULL);
    enum verdict skipped = read_front_to_back(bytes, true, seen);
    MUST(verdict != ACCEPTED || skipped == ACCEPTED);
}

static void compare_pieces(struct bytes *bytes, size_t piece, enum verdict verdict, const struct seen *taken)
{
    NP_AUTO_FREE struct seen *seen = calloc(1, sizeof(*seen));
    MUST(seen != NULL);
    bytes->piece = piece;
    MUST(read_front_to_back(bytes, false, seen) == verdict);
    bytes->piece = 0;
    if (verdict == REFUSED)
        MUST(seen->err.class == taken->err.class && strcmp(seen->err.message, taken->err.message) == 0);
    if (verdict == ACCEPTED)
        MUST(memcmp(seen->records, taken->records, sizeof(seen->records)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t input_size)
{
    BOUNDED_TIME;
    static const size_t pieces[] = {0, 0, 1, 7, 95, 97, 4096, 0};
    if (input_size < 1)
        return 0;
    size_t size;
    NP_AUTO_FREE uint8_t *stream = mended(input + 1, input_size - 1, input[0], &size);
    struct bytes bytes = {.bytes = stream, .size = size};
    NP_AUTO_FREE struct seen *seen = calloc(1, sizeof(*seen));
    MUST(seen != NULL);
    enum verdict verdict = read_front_to_back(&bytes, false, seen);
    if (pieces[input[0] >> 5] > 0)
        compare_pieces(&bytes, pieces[input[0] >> 5], verdict, seen);
    else if (input[0] >> 5 == 0)
        compare_skipping(&bytes, verdict);
    else
        compare_both_ways(stream, size);
    return 0;
}
