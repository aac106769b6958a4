#include "report.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <errno.h>
#include <string.h>

#define STYLE (JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE)

struct json_object *np_report_new(const char *command)
{
    struct json_object *report = json_object_new_object();
    np_report_string(report, "command", command);
    np_report_string(report, "version", NBDPULL_VERSION);
    return report;
}

void np_report_add(struct json_object *object, const char *key, struct json_object *value)
{
    json_object_object_add(object, key, value);
}

/* Bytes of the UTF-8 character at text, or 0 when none begins there. Source: RFC 3629, section 4. */
static size_t character_length(const unsigned char *text)
{
    static const struct {
        unsigned char first, last, second_first, second_last;
        size_t length;
    } rows[] = {
        {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    size_t i = 0;
    while (i < NP_ARRAY_SIZE(rows) && (text[0] < rows[i].first || text[0] > rows[i].last))
        i++;
    if (i == NP_ARRAY_SIZE(rows))
        return 0;
    if (rows[i].length > 1 && (text[1] < rows[i].second_first || text[1] > rows[i].second_last))
        return 0;
    for (size_t at = 2; at < rows[i].length; at++)
        if (text[at] < 0x80 || text[at] > 0xbf)
            return 0;
    return rows[i].length;
}

/* A path may hold any byte, and a text cut short may end inside a character; JSON is UTF-8. */
struct json_object *np_report_text(const char *value)
{
    static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */
    NP_AUTO_FREE char *text = malloc(3 * strlen(value) + 1);
    if (text == NULL)
        return NULL;
    size_t used = 0;
    while (*value != '\0') {
        size_t length = character_length((const unsigned char *)value);
        const char *from = length > 0 ? value : replacement;
        size_t size = length > 0 ? length : 3;
        memcpy(text + used, from, size);
        used += size;
        value += length > 0 ? length : 1;
    }
    text[used] = '\0';
    return json_object_new_string(text);
}

void np_report_string(struct json_object *object, const char *key, const char *value)
{
    bool none = value == NULL || value[0] == '\0';
    np_report_add(object, key, none ? NULL : np_report_text(value));
}

void np_report_size(struct json_object *object, const char *key, uint64_t value)
{
    np_report_add(object, key, json_object_new_uint64(value));
}

void np_report_seconds(struct json_object *object, const char *key, double value)
{
    char text[32];
    snprintf(text, sizeof(text), "%.3f", value);
    np_report_add(object, key, json_object_new_double_s(value, text));
}

void np_report_uuid(struct json_object *object, const char *key, const struct np_uuid *uuid)
{
    char text[NP_UUID_TEXT_SIZE];
    np_uuid_format(uuid, text);
    np_report_string(object, key, np_uuid_is_nil(uuid) ? NULL : text);
}

static struct json_object *point_disk(const struct np_point_disk *disk)
{
    struct json_object *to = json_object_new_object();
    np_report_string(to, "target", disk->target);
    np_report_add(to, "stored", json_object_new_boolean(disk->stored));
    np_report_string(to, "level", disk->level);
    np_report_string(to, "how", disk->how);
    np_report_string(to, "why", disk->why);
    np_report_string(to, "parent", disk->parent);
    np_report_uuid(to, "stream_uuid", &disk->stream_uuid);
    np_report_size(to, "virtual_size", disk->virtual_size);
    np_report_size(to, "data_bytes", disk->data_bytes);
    np_report_size(to, "zero_bytes", disk->zero_bytes);
    np_report_size(to, "stored_bytes", disk->stored_bytes);
    np_report_size(to, "stream_bytes", disk->stream_size);
    np_report_string(to, "codec", disk->codec);
    np_report_string(to, "checkpoint", disk->checkpoint);
    np_report_string(to, "file", disk->file);
    return to;
}

struct json_object *np_report_point(const struct np_point *point)
{
    struct json_object *to = json_object_new_object();
    struct json_object *disks = json_object_new_array();
    np_report_string(to, "id", point->id);
    np_report_uuid(to, "uuid", &point->uuid);
    np_report_string(to, "level", point->level);
    np_report_string(to, "checkpoint", point->checkpoint);
    np_report_string(to, "time", point->time);
    np_report_add(to, "quiesced", json_object_new_boolean(point->quiesced));
    np_report_string(to, "guest", point->guest[0] != '\0' ? point->guest : "running");
    for (size_t i = 0; i < point->disk_count; i++)
        json_object_array_add(disks, point_disk(&point->disks[i]));
    np_report_add(to, "disks", disks);
    return to;
}

static void add_error(struct json_object *report, const struct np_error *err)
{
    struct json_object *error = json_object_new_object();
    np_report_string(error, "class", np_class_name(err->class));
    np_report_string(error, "message", err->message);
    np_report_string(error, "disk", err->disk);
    if (err->offset == NP_NO_OFFSET)
        np_report_add(error, "offset", NULL);
    else
        np_report_size(error, "offset", err->offset);
    np_report_add(report, "error", error);
}

int np_report_flush(FILE *to, struct np_error *err)
{
    if (fflush(to) != 0 || ferror(to))
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot write the result",
                             to == stdout ? "standard output" : "standard error");
    return 0;
}

static int print_from(struct json_object *report, const struct np_error *err, size_t skip, FILE *to,
                      struct np_error *failed)
{
    np_report_size(report, "status", err == NULL ? 0 : (uint64_t)np_error_exit_status(err));
    if (err != NULL && err->class != NP_OK)
        add_error(report, err);
    const char *text = json_object_to_json_string_ext(report, STYLE);
    fprintf(to, "%s\n", text != NULL ? text + skip : "}");
    json_object_put(report);
    return np_report_flush(to, failed);
}

int np_report_print(struct json_object *report, const struct np_error *err, FILE *to, struct np_error *failed)
{
    return print_from(report, err, 0, to, failed);
}

int np_report_print_rest(struct json_object *report, const struct np_error *err, FILE *to,
                         struct np_error *failed)
{
    return print_from(report, err, 1, to, failed);
}
