#include "nbdpull/virt.h"

#include "nbdpull/bytes.h"
#include "xml.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define NAMED_MAX 4 /* the others are counted */

/* Windows and sockets of the host: libvirt reads no address of them. */
static bool has_no_address(xmlNodePtr graphics)
{
    static const char *const types[] = {"sdl", "desktop", "egl-headless", "dbus"};
    for (size_t i = 0; i < NP_ARRAY_SIZE(types); i++) {
        if (np_xml_attribute_is(graphics, "type", types[i]))
            return true;
    }
    return false;
}

static bool is_loopback_address(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 == 127;
    if (address->sa_family != AF_INET6)
        return false;
    const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
}

/* QEMU reads it in the same way, so 127.1 is one too. Other names than this one may lead anywhere. */
static bool is_loopback(const char *text)
{
    const struct addrinfo numeric = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (strcasecmp(text, "localhost") == 0)
        return true;
    if (getaddrinfo(text, NULL, &numeric, &found) != 0)
        return false;
    bool loopback = is_loopback_address(found->ai_addr);
    freeaddrinfo(found);
    return loopback;
}

/* ---- where it listens: <listen> first, as libvirt reads it, else the attribute of old ---- */

static bool is_named(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* Without an address the host's qemu.conf says which: 127.0.0.1, or what its administrator wants of all. */
static bool is_open_address(const char *address, FILE *where)
{
    if (!is_named(address) || is_loopback(address))
        return false;
    fprintf(where, "%.100s", address);
    return true;
}

static bool is_open_listen(xmlNodePtr listen, const char *of_old, FILE *where)
{
    if (np_xml_attribute_is(listen, "type", "socket") || np_xml_attribute_is(listen, "type", "none"))
        return false;
    if (np_xml_attribute_is(listen, "type", "network")) { /* the address of its bridge, when it starts */
        NP_AUTO_FREE char *network = np_xml_attribute(listen, "network");
        fprintf(where, "this host's address in network '%.100s'", network != NULL ? network : "");
        return true;
    }
    NP_AUTO_FREE char *address = np_xml_attribute(listen, "address");
    return is_open_address(is_named(address) ? address : of_old, where);
}

static bool is_open_anywhere(xmlNodePtr graphics, FILE *where)
{
    NP_AUTO_FREE char *of_old = np_xml_attribute(graphics, "listen");
    xmlNodePtr listen = np_xml_child(graphics, "listen");
    if (listen == NULL)
        return is_open_address(of_old, where);
    for (; listen != NULL; listen = listen->next) {
        if (listen->type == XML_ELEMENT_NODE && listen->ns == NULL &&
            strcmp((const char *)listen->name, "listen") == 0 && is_open_listen(listen, of_old, where))
            return true;
    }
    return false;
}

/* @param text out, owned: "vnc on 0.0.0.0"; NULL when nobody else reaches it, or only who has its password */
static int describe(xmlNodePtr graphics, char **text, struct np_error *err)
{
    *text = NULL;
    NP_AUTO_FREE char *password = np_xml_attribute(graphics, "passwd");
    if (password != NULL || has_no_address(graphics)) /* an empty one lets nobody in */
        return 0;
    NP_AUTO_FREE char *type = np_xml_attribute(graphics, "type");
    NP_AUTO_FREE char *written = NULL;
    size_t size;
    FILE *where = open_memstream(&written, &size);
    if (where == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot read the domain XML");
    fprintf(where, "%.20s on ", type != NULL ? type : "a display");
    bool open = is_open_anywhere(graphics, where);
    bool failed = ferror(where) != 0;
    if (fclose(where) != 0 || failed)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot read the domain XML");
    *text = open ? NP_STEAL(written) : NULL;
    return 0;
}

static int list_open(xmlXPathObjectPtr found, FILE *to, size_t *count, struct np_error *err)
{
    *count = 0;
    for (size_t i = 0; i < np_xml_count(found); i++) {
        NP_AUTO_FREE char *text = NULL;
        if (describe(np_xml_at(found, i), &text, err) < 0)
            return -1;
        if (text == NULL)
            continue;
        if (*count < NAMED_MAX)
            fprintf(to, "%s%s", *count > 0 ? ", " : "", text);
        *count += 1;
    }
    if (*count > NAMED_MAX)
        fprintf(to, " and %zu more", *count - NAMED_MAX);
    return 0;
}

int np_graphics_open(const char *domain_xml, char **displays, struct np_error *err)
{
    *displays = NULL;
    NP_XML_DOC xmlDocPtr doc = NULL;
    if (np_xml_parse(domain_xml, "domain XML", "domain", &doc, err) < 0)
        return -1;
    NP_XML_FOUND xmlXPathObjectPtr found = np_xml_find(doc, "/domain/devices/graphics");
    NP_AUTO_FREE char *text = NULL;
    size_t size, count = 0;
    FILE *to = found == NULL ? NULL : open_memstream(&text, &size);
    if (to == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot read the domain XML");
    int listed = list_open(found, to, &count, err);
    bool failed = ferror(to) != 0;
    if (fclose(to) != 0 || failed)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot read the domain XML");
    *displays = listed == 0 && count > 0 ? NP_STEAL(text) : NULL;
    return listed;
}
