#include "place.h"

#include "nbdpull/bytes.h"
#include "nbdpull/window.h"

struct np_place np_place_of(const struct np_record_header *header)
{
    return (struct np_place){
        .pos = header->pos,
        .head_sum = header->head_sum,
        .table_len = header->table_len,
        .data_len = header->data_len,
    };
}

void np_place_put(uint8_t to[NP_PLACE_SIZE], const struct np_place *place)
{
    np_put_le64(to, place->pos);
    np_put_le64(to + 8, place->head_sum);
    np_put_le32(to + 16, place->table_len);
    np_put_le32(to + 20, place->data_len);
}

struct np_place np_place_get(const uint8_t from[NP_PLACE_SIZE])
{
    return (struct np_place){
        .pos = np_get_le64(from),
        .head_sum = np_get_le64(from + 8),
        .table_len = np_get_le32(from + 16),
        .data_len = np_get_le32(from + 20),
    };
}

uint64_t np_place_size(const struct np_place *place)
{
    struct np_record_header header = {.table_len = place->table_len, .data_len = place->data_len};
    return np_record_size(&header);
}

/* Some record's: its own type's limits are for who reads it. The payload of a DATA may be the longest of all.
 */
bool np_place_is_before(const struct np_place *place, uint64_t pos)
{
    return place->pos % NP_RECORD_ALIGN == 0 && place->table_len <= NP_TABLE_MAX &&
           place->data_len <= NP_CHUNK_MAX && place->pos < pos && np_place_size(place) <= pos - place->pos;
}

bool np_place_is_of(const struct np_place *place, const struct np_record_header *header)
{
    return place->pos == header->pos && place->head_sum == header->head_sum &&
           place->table_len == header->table_len && place->data_len == header->data_len;
}
