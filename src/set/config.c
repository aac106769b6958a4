/* Readable copies beside the streams: config/ID/NAME. The streams hold the same as BLOBs. */
#include "internal.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <stdio.h>

#define CONFIG_SIZE_MAX (64u << 20)

static int make_key(const struct np_set *set, const char *point_id, const char *name,
                    char key[NP_SET_KEY_MAX], struct np_error *err)
{
    uint64_t number;
    if (!np_point_id_parse(point_id, &number))
        return np_fail(err, NP_FAILED, "%s: \"%s\" is no id of a point", set->path, point_id);
    if (!np_name_is_safe(name))
        return np_fail(err, NP_FAILED, "%s: \"%.100s\" cannot be a file name", set->path, name);
    snprintf(key, NP_SET_KEY_MAX, "config/%s/%s", point_id, name);
    return 0;
}

int np_set_config_write(struct np_set *set, const char *point_id, const char *name, const void *bytes,
                        size_t size, struct np_error *err)
{
    char key[NP_SET_KEY_MAX];
    if (make_key(set, point_id, name, key, err) < 0)
        return -1;
    if (size > CONFIG_SIZE_MAX)
        return np_fail(err, NP_FAILED, "%s/%s: %zu bytes are more than a config file may have", set->path,
                       key, size);
    return set->store->ops->put(set->store, key, bytes, size, NP_STORE_REPLACE, err);
}

int np_set_config_read(struct np_set *set, const char *point_id, const char *name, char **bytes, size_t *size,
                       struct np_error *err)
{
    char key[NP_SET_KEY_MAX];
    if (make_key(set, point_id, name, key, err) < 0)
        return -1;
    return set->store->ops->get(set->store, key, CONFIG_SIZE_MAX, bytes, size, err);
}
