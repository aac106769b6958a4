/* What a running backup has begun, for whoever comes after a crash. */
#include "internal.h"

#include "json_read.h"
#include "json_write.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <errno.h>

#define KEY "intent.json"
#define TEXT_MAX (4u << 20) /* most of it paths of images */

void np_intent_clear(struct np_intent *intent)
{
    free(intent->images);
    intent->images = NULL;
    intent->image_count = 0;
}

static void encode_images(const struct np_intent *intent, struct np_json_write *out)
{
    struct json_object *array = intent->by_images ? np_json_write_array(out, "images") : NULL;
    for (size_t i = 0; i < intent->image_count; i++) {
        struct np_json_write inner;
        np_json_write_element(out, array, &inner);
        np_json_write_string(&inner, "target", intent->images[i].target);
        np_json_write_string(&inner, "path", intent->images[i].path);
    }
}

int np_intent_encode(const struct np_intent *intent, char **text, size_t *size, struct np_error *err)
{
    NP_CLEANUP(np_json_write_clear) struct np_json_write out;
    np_json_write_init(&out);
    np_json_write_string_or_null(&out, "point", intent->point_id);
    np_json_write_string_or_null(&out, "checkpoint", intent->checkpoint);
    np_json_write_string_or_null(&out, "home", intent->home);
    np_json_write_string(&out, "uri", intent->uri);
    np_json_write_uuid(&out, "domain", &intent->domain);
    np_json_write_string(&out, "socket", intent->socket);
    np_json_write_string(&out, "work_dir", intent->work_dir);
    np_json_write_string(&out, "started", intent->started);
    np_json_write_bool(&out, "guest_ran", intent->guest_ran);
    np_json_write_bool(&out, "freeze", intent->freeze);
    np_json_write_bool(&out, "guest_started", intent->guest_started);
    encode_images(intent, &out);
    return np_json_write_text(&out, KEY, text, size, err);
}

int np_set_intent_write(struct np_set *set, const struct np_intent *intent, struct np_error *err)
{
    NP_AUTO_FREE char *text = NULL;
    size_t size;
    if (np_intent_encode(intent, &text, &size, err) < 0)
        return -1;
    return set->store->ops->put(set->store, KEY, text, size, NP_STORE_REPLACE, err);
}

/* There only in a run on images. */
static int decode_images(const struct np_json_read *in, struct np_intent *intent, struct np_error *err)
{
    struct json_object *array;
    if (!json_object_object_get_ex(in->object, "images", NULL))
        return 0;
    intent->by_images = true;
    if (np_json_read_array(in, "images", NP_DISKS_MAX, &array, err) < 0)
        return -1;
    size_t count = json_object_array_length(array);
    intent->images = calloc(count + 1, sizeof(*intent->images));
    if (intent->images == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot read", in->file);
    intent->image_count = count;
    for (size_t i = 0; i < count; i++) {
        struct np_json_read element;
        struct np_intent_image *image = &intent->images[i];
        if (np_json_read_element(in, "images", array, i, &element, err) < 0 ||
            np_json_read_string(&element, "target", image->target, sizeof(image->target), err) < 0 ||
            np_json_read_string(&element, "path", image->path, sizeof(image->path), err) < 0)
            return -1;
        if (image->path[0] != '/')
            return np_json_read_wrong(&element, "path", "is not an absolute path", err);
    }
    return 0;
}

/* What the first versions did not write: without it, nothing of the kind is put right. */
static int decode_younger(const struct np_json_read *in, struct np_intent *intent, struct np_error *err)
{
    if (np_json_read_has(in, "home") &&
        np_json_read_string_or_null(in, "home", intent->home, sizeof(intent->home), err) < 0)
        return -1;
    if (np_json_read_has(in, "guest_ran") && np_json_read_bool(in, "guest_ran", &intent->guest_ran, err) < 0)
        return -1;
    if (np_json_read_has(in, "guest_started") &&
        np_json_read_bool(in, "guest_started", &intent->guest_started, err) < 0)
        return -1;
    return np_json_read_has(in, "freeze") ? np_json_read_bool(in, "freeze", &intent->freeze, err) : 0;
}

static int decode(const struct np_json_read *in, struct np_intent *intent, struct np_error *err)
{
    uint64_t number;
    if (np_json_read_string_or_null(in, "point", intent->point_id, sizeof(intent->point_id), err) < 0)
        return -1;
    if (intent->point_id[0] != '\0' && !np_point_id_parse(intent->point_id, &number))
        return np_json_read_wrong(in, "point", "is no id of a point", err);
    if (np_json_read_string_or_null(in, "checkpoint", intent->checkpoint, sizeof(intent->checkpoint), err) <
            0 ||
        np_json_read_string(in, "uri", intent->uri, sizeof(intent->uri), err) < 0 ||
        np_json_read_uuid(in, "domain", &intent->domain, err) < 0 ||
        np_json_read_string(in, "socket", intent->socket, sizeof(intent->socket), err) < 0 ||
        np_json_read_string(in, "work_dir", intent->work_dir, sizeof(intent->work_dir), err) < 0 ||
        np_json_read_string(in, "started", intent->started, sizeof(intent->started), err) < 0)
        return -1;
    return decode_younger(in, intent, err) < 0 ? -1 : decode_images(in, intent, err);
}

int np_intent_decode(const char *text, size_t size, const char *from, struct np_intent *intent,
                     struct np_error *err)
{
    NP_CLEANUP(np_json_read_free) struct np_json_read in = {0};
    *intent = (struct np_intent){0};
    return np_json_read_parse(text, size, from, &in, err) < 0 ? -1 : decode(&in, intent, err);
}

int np_set_intent_read(struct np_set *set, struct np_intent *intent, bool *found, struct np_error *err)
{
    NP_AUTO_FREE char *path = np_path_join(set->path, KEY);
    NP_AUTO_FREE char *text = NULL;
    size_t size;
    *intent = (struct np_intent){0};
    if (path == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot read " KEY, set->path);
    if (set->store->ops->get(set->store, KEY, TEXT_MAX, &text, &size, err) < 0)
        return -1;
    *found = text != NULL;
    if (text == NULL)
        return 0;
    if (np_intent_decode(text, size, path, intent, err) < 0)
        return -1;
    if (intent->point_id[0] == '\0')
        return np_fail(err, NP_DAMAGED, "%s: key point is null", path);
    return 0;
}

int np_set_intent_clear(struct np_set *set, struct np_error *err)
{
    return set->store->ops->remove(set->store, KEY, err);
}
