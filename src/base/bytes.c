#include "nbdpull/bytes.h"

bool np_is_zero(const void *bytes, size_t size)
{
    /* Data differs early, so look at a few bytes before the comparison of the whole with itself, which runs
     * at the speed of memcmp and stops at the first byte that is not zero. */
    const uint8_t *p = bytes;
    size_t head = size < 16 ? size : 16;
    for (size_t i = 0; i < head; i++)
        if (p[i] != 0)
            return false;
    return size <= 16 || memcmp(p, p + 16, size - 16) == 0;
}
