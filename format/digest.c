#include "nbdpull/digest.h"

#include "nbdpull/bytes.h"

static struct np_hash128 term(uint64_t number, uint64_t length, struct np_hash128 hash)
{
    uint8_t bytes[16 + NP_HASH128_SIZE];
    np_put_le64(bytes, number);
    np_put_le64(bytes + 8, length);
    np_hash128_put(bytes + 16, hash);
    return np_hash128(bytes, sizeof(bytes));
}

void np_digest_join(struct np_hash128 *sum, struct np_hash128 other)
{
    sum->low += other.low;
    sum->high += other.high + (sum->low < other.low);
}

void np_digest_add(struct np_hash128 *sum, uint64_t number, uint64_t length, struct np_hash128 hash)
{
    np_digest_join(sum, term(number, length, hash));
}

void np_digest_subtract(struct np_hash128 *sum, uint64_t number, uint64_t length, struct np_hash128 hash)
{
    struct np_hash128 t = term(number, length, hash);
    bool borrow = sum->low < t.low;
    sum->low -= t.low;
    sum->high -= t.high + borrow;
}
