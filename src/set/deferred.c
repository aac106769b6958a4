/*
 * Checkpoints of failed attempts that could not be deleted yet, because the domain is off. Their names are
 * kept here and not in the intent, which is about one run: the next one writes its own.
 */
#include "internal.h"

#include "json_read.h"
#include "json_write.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <errno.h>

#define KEY "deferred.json"
#define TEXT_MAX (1u << 20)
#define COUNT_MAX 4096

static int decode(const struct np_json_read *in, struct np_names *names, struct np_error *err)
{
    struct json_object *array;
    if (np_json_read_array(in, "checkpoints", COUNT_MAX, &array, err) < 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(array); i++) {
        struct np_json_read inner;
        char name[NP_CHECKPOINT_MAX];
        if (np_json_read_element(in, "checkpoints", array, i, &inner, err) < 0 ||
            np_json_read_string(&inner, "name", name, sizeof(name), err) < 0 ||
            np_names_add(names, name, err) < 0)
            return -1;
    }
    return 0;
}

int np_set_deferred_read(struct np_set *set, struct np_names *checkpoints, struct np_error *err)
{
    NP_AUTO_FREE char *path = np_path_join(set->path, KEY);
    NP_AUTO_FREE char *text = NULL;
    NP_CLEANUP(np_json_read_free) struct np_json_read in = {0};
    size_t size;
    if (path == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot read " KEY, set->path);
    if (set->store->ops->get(set->store, KEY, TEXT_MAX, &text, &size, err) < 0)
        return -1;
    if (text == NULL)
        return 0;
    return np_json_read_parse(text, size, path, &in, err) < 0 ? -1 : decode(&in, checkpoints, err);
}

int np_set_deferred_write(struct np_set *set, const struct np_names *checkpoints, struct np_error *err)
{
    if (checkpoints->count == 0)
        return set->store->ops->remove(set->store, KEY, err);

    NP_CLEANUP(np_json_write_clear) struct np_json_write out;
    np_json_write_init(&out);
    struct json_object *array = np_json_write_array(&out, "checkpoints");
    for (size_t i = 0; i < checkpoints->count; i++) {
        struct np_json_write inner;
        np_json_write_element(&out, array, &inner);
        np_json_write_string(&inner, "name", checkpoints->list[i]);
    }
    NP_AUTO_FREE char *text = NULL;
    size_t size;
    if (np_json_write_text(&out, KEY, &text, &size, err) < 0)
        return -1;
    return set->store->ops->put(set->store, KEY, text, size, NP_STORE_REPLACE, err);
}
