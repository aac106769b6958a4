/* The META of a stream of which anything may be damaged. */
#include "record_at.h"
#include "scan.h"
#include "trailer.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/salvage.h"

#include <errno.h>

/* Header of a record where one must be when nothing is wrong there. */
static bool header_at(const struct np_salvage_request *request, uint64_t place,
                      struct np_record_header *header)
{
    uint8_t bytes[NP_RECORD_HEADER_SIZE];
    struct np_error ignored = NP_ERROR_INIT;
    const struct np_input_at *input = &request->input;
    return place < input->size && input->size - place >= sizeof(bytes) &&
           input->read_at(input->ctx, bytes, sizeof(bytes), place, &ignored) == 0 &&
           np_record_decode(bytes, request->name, place, header, &ignored) == 0;
}

/* By what was asked for, by the first record, by END, or by whose records have the most bytes. @return as
 * np_scan_id */
static int find_id(const struct np_salvage_request *request, uint64_t *id, struct np_error *err)
{
    struct np_record_header header;
    const uint64_t size = request->input.size;
    if (request->stream != NULL) {
        *id = np_stream_id(request->stream);
        return 1;
    }
    if (header_at(request, 0, &header) && header.type == NP_RECORD_META) {
        *id = header.stream_id;
        return 1;
    }
    if (size >= NP_END_SIZE && header_at(request, size - NP_END_SIZE, &header) &&
        header.type == NP_RECORD_END) {
        *id = header.stream_id;
        return 1;
    }
    return np_scan_id(&request->input, request->cancel, id, err);
}

/* @return 1; 0: this is no good META; -1: it is, and says what this program does not know */
static int read_meta(const struct np_salvage_request *request, const struct np_scan_found *found,
                     struct np_meta **meta, struct np_error *err)
{
    struct np_error wrong = NP_ERROR_INIT;
    NP_AUTO_FREE uint8_t *table = malloc(found->header.table_len);
    uint64_t place = found->place + NP_RECORD_HEADER_SIZE;
    if (table == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", request->name);
    if (request->input.read_at(request->input.ctx, table, found->header.table_len, place, &wrong) < 0 ||
        np_hash64(table, found->header.table_len) != found->header.table_sum)
        return 0;
    if (np_meta_parse((const char *)table, found->header.table_len, request->name, meta, &wrong) < 0) {
        if (wrong.class == NP_DAMAGED)
            return 0;
        *err = wrong;
        return -1;
    }
    if (np_stream_id(&(*meta)->stream) == found->header.stream_id)
        return 1;
    np_meta_free(*meta);
    *meta = NULL;
    return 0;
}

static void free_scan(struct np_scan **scan)
{
    np_scan_close(*scan);
}

static int find_meta(const struct np_salvage_request *request, uint64_t id, struct np_meta **meta,
                     struct np_error *err)
{
    NP_CLEANUP(free_scan) struct np_scan *scan = NULL;
    struct np_scan_found found;
    if (np_scan_open(&request->input, request->name, id, request->cancel, &scan, err) < 0)
        return -1;
    for (int more; (more = np_scan_next(scan, &found, err)) != 0;) {
        if (more < 0)
            return -1;
        int got = found.header.type == NP_RECORD_META ? read_meta(request, &found, meta, err) : 0;
        if (got != 0)
            return got;
    }
    return 0;
}

int np_salvage_meta(const struct np_salvage_request *request, struct np_meta **meta, struct np_error *err)
{
    uint64_t id;
    *meta = NULL;
    int got = find_id(request, &id, err);
    if (got > 0)
        got = find_meta(request, id, meta, err);
    if (got < 0)
        return -1;
    if (got == 0)
        return np_fail(err, NP_DAMAGED,
                       "%s: neither META of %s can be found in it, so nothing of it can be used",
                       request->name, request->stream != NULL ? "the stream that must be here" : "a stream");
    if (request->stream == NULL || np_uuid_equal(&(*meta)->stream, request->stream))
        return 0;
    np_meta_free(*meta);
    *meta = NULL;
    return np_fail(err, NP_DAMAGED, "%s: it is another stream than the one that must be here", request->name);
}
