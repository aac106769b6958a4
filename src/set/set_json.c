#include "internal.h"

#include "json_read.h"
#include "json_write.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FORMAT_NAME "nbdpull-set"
#define TEXT_MAX (64u << 10)

static int read_version(const struct np_json_read *in, struct np_error *err)
{
    char format[32];
    uint64_t version;
    if (np_json_read_string(in, "format", format, sizeof(format), err) < 0)
        return -1;
    if (strcmp(format, FORMAT_NAME) != 0)
        return np_json_read_wrong(in, "format", "is not \"" FORMAT_NAME "\"", err);
    if (np_json_read_number(in, "version", &version, err) < 0)
        return -1;
    if (version > NP_SET_VERSION)
        return np_fail(err, NP_FAILED,
                       "%s: a backup set of version %" PRIu64 ", and this nbdpull (%s) knows versions up to "
                       "%d: use a newer nbdpull",
                       in->file, version, NBDPULL_VERSION, NP_SET_VERSION);
    return 0;
}

static int read_domain(const struct np_json_read *in, struct np_set_json *json, struct np_error *err)
{
    struct np_json_read domain;
    if (np_json_read_object_or_null(in, "domain", &domain, err) < 0)
        return -1;
    if (domain.object == NULL)
        return 0;
    if (np_json_read_string(&domain, "name", json->domain_name, sizeof(json->domain_name), err) < 0)
        return -1;
    return np_json_read_uuid(&domain, "uuid", &json->domain, err);
}

static int read_home(const struct np_json_read *in, struct np_set_json *json, struct np_error *err)
{
    struct np_json_read home;
    if (np_json_read_object(in, "home", &home, err) < 0 ||
        np_json_read_string(&home, "id", json->home_id, sizeof(json->home_id), err) < 0)
        return -1;
    if (strspn(json->home_id, "0123456789abcdef") != NP_HOME_ID_SIZE - 1)
        return np_json_read_wrong(&home, "id", "is not 12 hexadecimal digits", err);
    if (np_json_read_string(&home, "host", json->home.host, sizeof(json->home.host), err) < 0 ||
        np_json_read_number_text(&home, "dev", &json->home.dev, err) < 0)
        return -1;
    if (np_json_read_number_text(&home, "ino", &json->home.ino, err) < 0)
        return -1;
    /* Not in sets of the first versions. */
    if (np_json_read_has(&home, "fs") && np_json_read_number_text(&home, "fs", &json->home.fs, err) < 0)
        return -1;
    return np_json_read_has(&home, "born") ? np_json_read_number_text(&home, "born", &json->home.born, err)
                                           : 0;
}

static int decode(const struct np_json_read *in, struct np_set_json *json, struct np_error *err)
{
    *json = (struct np_set_json){0};
    if (read_version(in, err) < 0 || np_json_read_uuid(in, "uuid", &json->uuid, err) < 0 ||
        read_domain(in, json, err) < 0 || np_json_read_number(in, "next", &json->next, err) < 0 ||
        np_json_read_number(in, "committed", &json->committed, err) < 0)
        return -1;
    return read_home(in, json, err);
}

static void encode(const struct np_set_json *json, struct np_json_write *out)
{
    struct np_json_write inner;
    np_json_write_string(out, "format", FORMAT_NAME);
    np_json_write_number(out, "version", NP_SET_VERSION);
    np_json_write_uuid(out, "uuid", &json->uuid);
    if (json->domain_name[0] == '\0') {
        np_json_write_null(out, "domain");
    } else {
        np_json_write_object(out, "domain", &inner);
        np_json_write_string(&inner, "name", json->domain_name);
        np_json_write_uuid(&inner, "uuid", &json->domain);
    }
    np_json_write_number(out, "next", json->next);
    np_json_write_number(out, "committed", json->committed);
    np_json_write_object(out, "home", &inner);
    np_json_write_string(&inner, "id", json->home_id);
    np_json_write_string(&inner, "host", json->home.host);
    np_json_write_number_text(&inner, "dev", json->home.dev);
    np_json_write_number_text(&inner, "ino", json->home.ino);
    if (json->home.fs != 0)
        np_json_write_number_text(&inner, "fs", json->home.fs);
    if (json->home.born != 0)
        np_json_write_number_text(&inner, "born", json->home.born);
}

int np_set_json_read(struct np_store *store, const char *set_path, struct np_set_json *json, bool *found,
                     struct np_error *err)
{
    NP_AUTO_FREE char *path = np_path_join(set_path, "set.json");
    NP_AUTO_FREE char *text = NULL;
    size_t size;
    if (path == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot open the backup set", set_path);
    if (store->ops->get(store, "set.json", TEXT_MAX, &text, &size, err) < 0)
        return -1;
    *found = text != NULL;
    if (text == NULL)
        return 0;
    NP_CLEANUP(np_json_read_free) struct np_json_read in = {0};
    if (np_json_read_parse(text, size, path, &in, err) < 0)
        return -1;
    return decode(&in, json, err);
}

int np_set_json_write(struct np_store *store, const char *set_path, const struct np_set_json *json,
                      struct np_error *err)
{
    NP_CLEANUP(np_json_write_clear) struct np_json_write out;
    np_json_write_init(&out);
    encode(json, &out);
    NP_AUTO_FREE char *text = NULL;
    size_t size;
    if (np_json_write_text(&out, set_path, &text, &size, err) < 0)
        return -1;
    return store->ops->put(store, "set.json", text, size, NP_STORE_REPLACE, err);
}
