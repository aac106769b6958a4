#include "nbdpull/image_file.h"

#include "lock.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/subprocess.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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

/*
 * Followed by hand: qemu-img would open whatever an image names, as root perhaps, where QEMU runs as a user
 * that may not, and libvirt knows what that is.
 */
struct layer {
    char *path, *format; /* owned */
};

static void clear_layer(struct layer *layer)
{
    free(layer->path);
    free(layer->format);
    *layer = (struct layer){0};
}

static int set_layer(struct layer *layer, const char *path, const char *format, struct np_error *err)
{
    struct layer made = {strdup(path), strdup(format)};
    clear_layer(layer);
    *layer = made;
    return made.path != NULL && made.format != NULL ? 0 : np_fail_errno(err, NP_FAILED, ENOMEM, "%s", path);
}

/* The bit in the header of a qcow2 whose data lie in another file. */
static bool has_data_file(const char *path)
{
    uint8_t header[80]; /* "QFI\xfb", then the version at 4 and the incompatible features at 72, big-endian */
    struct np_error ignored = NP_ERROR_INIT;
    NP_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return fd >= 0 && np_file_read_at(fd, path, header, sizeof(header), 0, &ignored) == 0 &&
           memcmp(header, "QFI\xfb", 4) == 0 && header[7] >= 3 && (header[79] & 4) != 0;
}

/* An image may name whatever it likes. Of a pipe qemu-img would wait for a writer, a device could act. */
static int check_is_image(const struct layer *layer, struct np_error *err)
{
    struct stat st;
    if (layer->path[0] != '/')
        return np_fail(err, NP_FAILED, "%s: not an absolute path", layer->path);
    if (stat(layer->path, &st) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot open", layer->path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return np_fail(err, NP_FAILED, "%s: neither a file nor a block device", layer->path);
    return 0;
}

/* The format of the first comes from the domain's XML, those below from the image above. */
static bool is_format_of_files(const char *format)
{
    static const char *const formats[] = {"raw",  "qcow2", "qcow",  "qed",   "vdi",      "vpc",
                                          "vhdx", "vmdk",  "bochs", "cloop", "parallels"};
    for (size_t i = 0; i < NP_ARRAY_SIZE(formats); i++)
        if (strcmp(formats[i], format) == 0)
            return true;
    return false;
}

static int check_holds_data(const struct layer *layer, struct np_error *err)
{
    if (check_is_image(layer, err) < 0)
        return -1;
    if (strcmp(layer->format, "vmdk") != 0 &&
        !(strcmp(layer->format, "qcow2") == 0 && has_data_file(layer->path)))
        return 0;
    return np_fail(
        err, NP_FAILED,
        "%s: its data may lie in other files, which only the image names; that is read while the "
        "guest runs only, by QEMU's user: start the guest, or at least its QEMU (virsh start --paused)",
        layer->path);
}

/* @param layer becomes the one below; without a path when there is none */
static int go_below(struct json_object *said, struct layer *layer, struct np_image_file *image,
                    struct np_error *err)
{
    const char *path = text_of(said, "full-backing-filename");
    const char *format = text_of(said, "backing-filename-format");
    if (path == NULL) {
        clear_layer(layer);
        return 0;
    }
    if (format == NULL)
        return np_fail(err, NP_FAILED,
                       "%s: does not say which format its backing image %s has, and it is not guessed: "
                       "`qemu-img rebase -u -b %s -F FORMAT` notes it",
                       layer->path, path, path);
    if (path[0] != '/')
        return np_fail(
            err, NP_FAILED,
            "%s: its backing image %s is neither a file nor a block device; start the guest to back "
            "it up",
            layer->path, path);
    if (!is_format_of_files(format))
        return np_fail(err, NP_FAILED,
                       "%s: its backing image %s has the format '%s', which is read only while the guest "
                       "runs; start the guest to back it up",
                       layer->path, path, format);
    char *longer;
    if (asprintf(&longer, "%s%s %s\n", image->backing, format, path) < 0)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", path);
    free(image->backing);
    image->backing = longer;
    return set_layer(layer, path, format, err);
}

/*
 * @param holds where to add what keeps writers out, or NULL. A qcow2 needs none: its server does, and its
 * bitmap is to be added before that.
 */
static int read_layer(struct layer *layer, bool top, struct np_image_holds *holds,
                      struct np_image_file *image, struct np_error *err)
{
    const char *argv[] = {"qemu-img", "info", "--output=json", "-f", layer->format, layer->path, NULL};
    NP_AUTO_FREE char *text = NULL;
    if (check_holds_data(layer, err) < 0)
        return -1;
    if (holds != NULL && strcmp(layer->format, "qcow2") != 0 &&
        np_image_holds_add(holds, layer->path, err) < 0)
        return -1;
    if (np_subprocess_output(argv, TEXT_MAX, &text, err) < 0)
        return np_image_file_explain_lock(layer->path, err);
    NP_CLEANUP(put) struct json_object *said = json_tokener_parse(text);
    if (!json_object_is_type(said, json_type_object))
        return np_fail(err, NP_FAILED, "%s: what qemu-img tells of it is not understood", layer->path);
    struct json_object *size = member(said, "actual-size", json_type_int);
    int64_t bytes = size == NULL ? 0 : json_object_get_int64(size);
    if (bytes > 0 && __builtin_add_overflow(image->on_host, (uint64_t)bytes, &image->on_host))
        image->on_host = UINT64_MAX;
    return add_bitmaps(said, top, image, err) < 0 ? -1 : go_below(said, layer, image, err);
}

int np_image_file_hold(const char *path, const char *format, struct np_image_holds *holds,
                       struct np_image_file *out, struct np_error *err)
{
    NP_CLEANUP(clear_layer) struct layer layer = {0};
    NP_CLEANUP(np_image_file_clear) struct np_image_file image = {.backing = strdup("")};
    if (image.backing == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", path);
    if (set_layer(&layer, path, format, err) < 0)
        return -1;
    for (size_t i = 0; layer.path != NULL; i++) {
        if (i == CHAIN_MAX)
            return np_fail(err, NP_FAILED, "%s: its backing chain has more than %d images", path, CHAIN_MAX);
        if (read_layer(&layer, i == 0, holds, &image, err) < 0)
            return -1;
    }
    *out = image;
    image = (struct np_image_file){0};
    return 0;
}

int np_image_file_look(const char *path, const char *format, struct np_image_file *image,
                       struct np_error *err)
{
    return np_image_file_hold(path, format, NULL, image, err);
}
