#include "report.h"

#include "output.h"

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

/* A path may hold any byte, and a text cut short may end inside a character; JSON is UTF-8. */
struct json_object *np_report_text(const char *value)
{
    static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */
    NP_AUTO_FREE char *text = malloc(3 * strlen(value) + 1);
    if (text == NULL)
        return NULL;
    size_t used = 0;
    while (*value != '\0') {
        size_t length = np_output_character(value);
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

void np_report_counted(struct json_object *object, const char *key, uint64_t value, bool counted)
{
    np_report_add(object, key, counted ? json_object_new_uint64(value) : NULL);
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

void np_report_put(const char *text, FILE *to)
{
    static const unsigned char marks[] = {0x7f, 0x1f, 0x0f};
    for (size_t length; *text != '\0'; text += length) {
        length = np_output_character(text);
        if (length == 0 || *text == '\n' || !np_output_is_control(text)) {
            length = length > 0 ? length : 1;
            fwrite(text, 1, length, to);
            continue;
        }
        unsigned code = (unsigned char)text[0] & marks[length - 1];
        for (size_t i = 1; i < length; i++)
            code = code << 6 | ((unsigned char)text[i] & 0x3f);
        fprintf(to, "\\u%04x", code);
    }
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
    np_report_put(text != NULL ? text + skip : "}", to);
    fputc('\n', to);
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
