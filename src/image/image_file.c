#include "nbdpull/image_file.h"

#include "lock.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/subprocess.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

/* An image can hold 65535 bitmaps, of 1023 bytes a name. */
#define TEXT_MAX (16u << 20)
#define CHAIN_MAX 256

static void put(struct json_object **object)
{
    json_object_put(*object);
}

static struct json_object *member(struct json_object *object, const char *key, enum json_type type)
{
    struct json_object *found = NULL;
    json_object_object_get_ex(object, key, &found);
    return json_object_is_type(found, type) ? found : NULL;
}

static const char *text_of(struct json_object *object, const char *key)
{
    struct json_object *found = member(object, key, json_type_string);
    return found == NULL ? NULL : json_object_get_string(found);
}

void np_image_file_clear(struct np_image_file *image)
{
    np_names_clear(&image->usable);
    np_names_clear(&image->broken);
    np_names_clear(&image->below);
    free(image->backing);
    *image = (struct np_image_file){0};
}

bool np_image_file_has(const struct np_names *bitmaps, const char *name)
{
    for (size_t i = 0; i < bitmaps->count; i++)
        if (strcmp(bitmaps->list[i], name) == 0)
            return true;
    return false;
}

/* ---- bitmaps ---- */

/* "auto": it records. "in-use": whoever had it open did not close it. */
static bool is_usable(struct json_object *bitmap)
{
    struct json_object *flags = member(bitmap, "flags", json_type_array);
    bool records = false, left_open = false;
    for (size_t i = 0; flags != NULL && i < json_object_array_length(flags); i++) {
        const char *flag = json_object_get_string(json_object_array_get_idx(flags, i));
        records |= flag != NULL && strcmp(flag, "auto") == 0;
        left_open |= flag != NULL && strcmp(flag, "in-use") == 0;
    }
    return records && !left_open;
}

static int add_bitmaps(struct json_object *layer, bool top, struct np_image_file *image, struct np_error *err)
{
    struct json_object *specific = member(layer, "format-specific", json_type_object);
    struct json_object *data = member(specific, "data", json_type_object);
    struct json_object *bitmaps = member(data, "bitmaps", json_type_array);
    for (size_t i = 0; bitmaps != NULL && i < json_object_array_length(bitmaps); i++) {
        struct json_object *bitmap = json_object_array_get_idx(bitmaps, i);
        const char *name = text_of(bitmap, "name");
        struct np_names *to = !top ? &image->below : is_usable(bitmap) ? &image->usable : &image->broken;
        if (name != NULL && np_names_add(to, name, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- the chain ---- */

static int add_backing(struct json_object *layer, struct np_image_file *image, struct np_error *err)
{
    const char *path = text_of(layer, "full-backing-filename"), *of = text_of(layer, "filename");
    const char *format = text_of(layer, "backing-filename-format");
    if (path == NULL)
        return 0;
    if (format == NULL)
        return np_fail(err, NP_FAILED,
                       "%s: does not say which format its backing image %s has, and it is not guessed: "
                       "`qemu-img rebase -u -b %s -F FORMAT` notes it",
                       of != NULL ? of : "the image", path, path);
    char *longer;
    if (asprintf(&longer, "%s%s %s\n", image->backing, format, path) < 0)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", path);
    free(image->backing);
    image->backing = longer;
    return 0;
}

static int add_layer(struct json_object *layer, bool top, struct np_image_file *image, struct np_error *err)
{
    struct json_object *size = member(layer, "actual-size", json_type_int);
    int64_t bytes = size == NULL ? 0 : json_object_get_int64(size);
    if (bytes > 0 && __builtin_add_overflow(image->on_host, (uint64_t)bytes, &image->on_host))
        image->on_host = UINT64_MAX;
    return add_bitmaps(layer, top, image, err) < 0 ? -1 : add_backing(layer, image, err);
}

static int read_layers(struct json_object *layers, const char *path, struct np_image_file *image,
                       struct np_error *err)
{
    size_t count = json_object_is_type(layers, json_type_array) ? json_object_array_length(layers) : 0;
    if (count == 0 || count > CHAIN_MAX)
        return np_fail(err, NP_FAILED, "%s: qemu-img told of %zu images instead of 1 to %d", path, count,
                       CHAIN_MAX);
    image->backing = strdup("");
    if (image->backing == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", path);
    for (size_t i = 0; i < count; i++)
        if (add_layer(json_object_array_get_idx(layers, i), i == 0, image, err) < 0)
            return -1;
    return 0;
}

int np_image_file_look(const char *path, const char *format, struct np_image_file *out, struct np_error *err)
{
    const char *argv[] = {"qemu-img", "info", "--output=json", "--backing-chain", "-f", format, path, NULL};
    NP_AUTO_FREE char *text = NULL;
    if (path[0] != '/')
        return np_fail(err, NP_FAILED, "%s: not an absolute path", path);
    if (np_subprocess_output(argv, TEXT_MAX, &text, err) < 0)
        return np_image_file_explain_lock(path, err);

    NP_CLEANUP(put) struct json_object *layers = json_tokener_parse(text);
    NP_CLEANUP(np_image_file_clear) struct np_image_file image = {0};
    if (read_layers(layers, path, &image, err) < 0)
        return -1;
    *out = image;
    image = (struct np_image_file){0};
    return 0;
}
