/*
 * The dirty bitmaps that a running QEMU has. libvirt tells only of those whose checkpoint it knows, and an
 * image file tells of what was stored when it was last closed: so QEMU is asked by its monitor.
 */
#include "domain.h"
#include "nbdpull/cleanup.h"
#include "virt_error.h"

#include <json-c/json.h>
#include <libvirt/libvirt-qemu.h>
#include <string.h>

static void put(json_object **object)
{
    json_object_put(*object);
}

static json_object *member(json_object *object, const char *key, enum json_type type)
{
    json_object *found = NULL;
    json_object_object_get_ex(object, key, &found);
    return json_object_is_type(found, type) ? found : NULL;
}

static size_t length_of(json_object *array)
{
    return array == NULL ? 0 : json_object_array_length(array);
}

/* The disks' own images are open for writing, unless the disk is read-only; those below are not. */
static int add_of_node(json_object *node, struct np_names *writable, struct np_names *others,
                       struct np_error *err)
{
    json_object *bitmaps = member(node, "dirty-bitmaps", json_type_array);
    json_object *read_only = member(node, "ro", json_type_boolean);
    struct np_names *to = read_only != NULL && !json_object_get_boolean(read_only) ? writable : others;
    for (size_t i = 0; i < length_of(bitmaps); i++) {
        json_object *name = member(json_object_array_get_idx(bitmaps, i), "name", json_type_string);
        if (name != NULL && np_names_add(to, json_object_get_string(name), err) < 0)
            return -1;
    }
    return 0;
}

int np_domain_bitmaps(struct np_domain *domain, struct np_names *writable, struct np_names *others,
                      struct np_error *err)
{
    NP_AUTO_FREE char *answer = NULL;
    if (virDomainQemuMonitorCommand(domain->ptr,
                                    "{\"execute\":\"query-named-block-nodes\",\"arguments\":{\"flat\":true}}",
                                    &answer, VIR_DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT) < 0)
        return np_virt_error(err, "cannot ask the QEMU of domain %s for its dirty bitmaps", domain->name);
    NP_CLEANUP(put) json_object *json = json_tokener_parse(answer);
    json_object *nodes = member(json, "return", json_type_array);
    if (nodes == NULL)
        return np_fail(err, NP_FAILED, "what the QEMU of domain %s tells of its disks is not understood",
                       domain->name);
    for (size_t i = 0; i < length_of(nodes); i++)
        if (add_of_node(json_object_array_get_idx(nodes, i), writable, others, err) < 0)
            return -1;
    return 0;
}
