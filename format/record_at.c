#include "record_at.h"

#include "damage.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

static int read_at(const struct np_record_at *at, void *buffer, size_t size, uint64_t pos,
                   struct np_error *err)
{
    return size == 0 ? 0 : at->input.read_at(at->input.ctx, buffer, size, pos, err);
}

int np_record_at_header(const struct np_record_at *at, uint64_t pos, uint8_t type,
                        struct np_record_header *header, struct np_error *err)
{
    uint64_t limit = at->input.size - NP_END_SIZE; /* np_stream_open saw that there are as many */
    uint8_t bytes[NP_RECORD_HEADER_SIZE];
    if (pos >= limit || limit - pos < sizeof(bytes))
        return np_fail(err, NP_DAMAGED, "%s: no record can be at byte %ju: the stream is damaged", at->name,
                       (uintmax_t)pos);
    if (read_at(at, bytes, sizeof(bytes), pos, err) < 0 ||
        np_record_decode(bytes, at->name, pos, header, err) < 0 ||
        np_record_expect(header, at->name, at->stream_id, pos, NP_ANY_NUMBER, err) < 0)
        return -1;
    if (header->type != type)
        return np_damage_record(at->name, header, NULL, err, "a record of type %s must be there",
                                np_record_type_name(type));
    if (np_record_size(header) > limit - pos)
        return np_damage_record(at->name, header, NULL, err, "it reaches into END");
    const char *wrong = np_record_wrong_sum(header);
    return wrong == NULL ? 0 : np_damage_record(at->name, header, NULL, err, "%s", wrong);
}

int np_record_at_place(const struct np_record_at *at, const struct np_place *place, uint8_t type,
                       struct np_record_header *header, struct np_error *err)
{
    if (np_record_at_header(at, place->pos, type, header, err) < 0)
        return -1;
    if (!np_place_is_of(place, header))
        return np_damage_record(at->name, header, NULL, err, "another record must be there");
    return 0;
}

int np_record_at_table(const struct np_record_at *at, const struct np_record_header *header,
                       const struct np_meta_disk *disk, void *table, struct np_error *err)
{
    if (read_at(at, table, header->table_len, header->pos + NP_RECORD_HEADER_SIZE, err) < 0)
        return -1;
    if (np_hash64(table, header->table_len) != header->table_sum)
        return np_damage_record(at->name, header, disk, err, "its table has a wrong checksum");
    return 0;
}

int np_record_at_data(const struct np_record_at *at, const struct np_record_header *header,
                      const struct np_meta_disk *disk, void *data, struct np_error *err)
{
    uint64_t pos = header->pos + NP_RECORD_HEADER_SIZE + header->table_len;
    if (read_at(at, data, header->data_len, pos, err) < 0)
        return -1;
    if (!np_hash128_equal(np_hash128(data, header->data_len), header->data_sum))
        return np_damage_record(at->name, header, disk, err, "its data have a wrong checksum");
    return 0;
}

int np_record_at_new_table(const struct np_record_at *at, const struct np_record_header *header,
                           uint8_t **table, struct np_error *err)
{
    NP_AUTO_FREE uint8_t *bytes = malloc(header->table_len > 0 ? header->table_len : 1);
    if (bytes == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", at->name);
    if (np_record_at_table(at, header, NULL, bytes, err) < 0)
        return -1;
    *table = NP_STEAL(bytes);
    return 0;
}

int np_record_at_whole(const struct np_record_at *at, const struct np_place *place, uint8_t type,
                       struct np_record_header *header, uint8_t **table, struct np_error *err)
{
    if (np_record_at_place(at, place, type, header, err) < 0)
        return -1;
    return np_record_at_new_table(at, header, table, err);
}
