#include "blob_table.h"

#include "nbdpull/bytes.h"

enum { NAME_AT = 26 };

bool np_blob_table_name_is_good(const char *name)
{
    size_t length = strlen(name);
    return length >= 1 && length <= NP_BLOB_NAME_MAX && name[0] != '.' &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == length;
}

uint32_t np_blob_table_put(uint8_t to[NP_BLOB_TABLE_MAX], const struct np_blob_table *table)
{
    size_t length = strlen(table->name);
    np_put_le64(to, table->total);
    np_hash128_put(to + 8, table->sum);
    np_put_le16(to + 24, (uint16_t)length);
    memcpy(to + NAME_AT, table->name, length);
    return (uint32_t)(NAME_AT + length);
}

static const char *wrong(const struct np_record_header *header, const struct np_blob_table *table,
                         size_t length)
{
    if (strlen(table->name) != length || !np_blob_table_name_is_good(table->name))
        return "its name cannot be the name of a blob";
    if (table->total >= NP_OFFSET_LIMIT || header->offset > table->total ||
        header->length > table->total - header->offset)
        return "it is no part of its blob";
    if (header->length == 0 && table->total != 0)
        return "it is an empty part of a blob that is not empty";
    return NULL;
}

int np_blob_table_decode(const struct np_record *record, const char *name, struct np_blob_table *table,
                         struct np_error *err)
{
    const struct np_record_header *header = &record->header;
    const char *what = "its table does not hold its name";
    size_t length = header->table_len >= NAME_AT ? np_get_le16(record->table + 24) : 0;
    if (length >= 1 && length <= NP_BLOB_NAME_MAX && header->table_len == NAME_AT + length) {
        *table = (struct np_blob_table){
            .total = np_get_le64(record->table),
            .sum = np_hash128_get(record->table + 8),
        };
        memcpy(table->name, record->table + NAME_AT, length);
        what = wrong(header, table, length);
    }
    if (what == NULL)
        return 0;
    np_fail(err, NP_DAMAGED, "%s: record %ju (BLOB) at byte %ju: %s: the stream is damaged", name,
            (uintmax_t)header->number, (uintmax_t)header->pos, what);
    return np_error_record(err, header->pos, header->number);
}
