#include "xml.h"

#include "nbdpull/virt.h"

#include <errno.h>
#include <libxml/parser.h>
#include <libxml/xmlerror.h>
#include <libxml/xpathInternals.h>
#include <limits.h>
#include <string.h>

/* A domain of hundreds of disks has about 1 MiB, and some thousand elements. libxml2 needs the square of what
 * an expression finds. */
#define TEXT_MAX (16u << 20)
#define NODES_MAX 50000u

static int parse_failed(const char *what, struct np_error *err)
{
    const xmlError *error = xmlGetLastError();
    const char *message = error != NULL && error->message != NULL ? error->message : "not well-formed";
    return np_fail(err, NP_FAILED, "%s, line %d: %.*s", what, error != NULL ? error->line : 0,
                   (int)strcspn(message, "\n"), message);
}

/* Elements and attributes, or any number above the limit. */
static unsigned count_nodes(const xmlNode *node, unsigned count)
{
    for (const xmlNode *child = node->children; child != NULL && count <= NODES_MAX; child = child->next) {
        if (child->type != XML_ELEMENT_NODE)
            continue;
        for (const xmlAttr *at = child->properties; at != NULL; at = at->next)
            count++;
        count = count_nodes(child, count + 1);
    }
    return count;
}

int np_xml_parse(const char *text, const char *what, const char *root, xmlDocPtr *out, struct np_error *err)
{
    size_t size = strnlen(text, (size_t)TEXT_MAX + 1);
    if (size > TEXT_MAX)
        return np_fail(err, NP_FAILED, "%s: longer than %u bytes", what, TEXT_MAX);
    /* libvirt never writes a DTD. Refused before parsing, so no entity is ever looked at; the encoding is
       given, so that the text cannot hide one in another. */
    if (strstr(text, "<!DOCTYPE") != NULL)
        return np_fail(err, NP_FAILED, "%s: has a document type declaration, which is not accepted", what);

    xmlResetLastError();
    NP_XML_DOC xmlDocPtr doc =
        xmlReadMemory(text, (int)size, NULL, "UTF-8",
                      XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOBLANKS);
    if (doc == NULL)
        return parse_failed(what, err);
    xmlNodePtr element = xmlDocGetRootElement(doc);
    if (doc->intSubset != NULL || element == NULL || element->ns != NULL ||
        strcmp((const char *)element->name, root) != 0)
        return np_fail(err, NP_FAILED, "%s: the root element is not <%s>", what, root);
    if (count_nodes((const xmlNode *)doc, 0) > NODES_MAX)
        return np_fail(err, NP_FAILED, "%s: has more than %u elements and attributes", what, NODES_MAX);
    *out = NP_STEAL(doc);
    return 0;
}

xmlDocPtr np_xml_new(const char *root)
{
    NP_XML_DOC xmlDocPtr doc = xmlNewDoc((const xmlChar *)"1.0");
    xmlNodePtr element = doc == NULL ? NULL : xmlNewDocNode(doc, NULL, (const xmlChar *)root, NULL);
    if (element == NULL)
        return NULL;
    xmlDocSetRootElement(doc, element);
    return NP_STEAL(doc);
}

int np_xml_dump(xmlDocPtr doc, char **text, struct np_error *err)
{
    xmlChar *bytes = NULL;
    int size = 0;
    xmlDocDumpFormatMemoryEnc(doc, &bytes, &size, "UTF-8", 1);
    char *copy = bytes == NULL ? NULL : strndup((const char *)bytes, (size_t)size);
    xmlFree(bytes);
    if (copy == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot write XML");
    *text = copy;
    return 0;
}

xmlXPathObjectPtr np_xml_find(xmlDocPtr doc, const char *expression)
{
    xmlXPathContextPtr context = xmlXPathNewContext(doc);
    if (context == NULL)
        return NULL;
    xmlXPathObjectPtr found = xmlXPathEvalExpression((const xmlChar *)expression, context);
    xmlXPathFreeContext(context);
    return found;
}

size_t np_xml_count(xmlXPathObjectPtr found)
{
    return found->nodesetval == NULL ? 0 : (size_t)found->nodesetval->nodeNr;
}

xmlNodePtr np_xml_at(xmlXPathObjectPtr found, size_t index)
{
    return found->nodesetval->nodeTab[index];
}

void np_xml_remove(xmlNodePtr node)
{
    if (node->type == XML_ATTRIBUTE_NODE) {
        xmlRemoveProp((xmlAttrPtr)node);
        return;
    }
    xmlUnlinkNode(node);
    xmlFreeNode(node);
}

int np_xml_remove_all(xmlDocPtr doc, const char *expression, struct np_error *err)
{
    NP_XML_FOUND xmlXPathObjectPtr found = np_xml_find(doc, expression);
    if (found == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot change XML");
    for (size_t i = np_xml_count(found); i > 0;
         i--) /* in a document's order: what is below another comes first */
        np_xml_remove(np_xml_at(found, i - 1));
    return 0;
}

xmlNodePtr np_xml_child(xmlNodePtr parent, const char *name)
{
    for (xmlNodePtr node = parent->children; node != NULL; node = node->next) {
        if (node->type == XML_ELEMENT_NODE && node->ns == NULL && strcmp((const char *)node->name, name) == 0)
            return node;
    }
    return NULL;
}

/* Ours from now on: everything outside this file uses free(). */
static char *take(xmlChar *value)
{
    char *copy = value == NULL ? NULL : strdup((const char *)value);
    xmlFree(value);
    return copy;
}

char *np_xml_attribute(xmlNodePtr node, const char *name)
{
    return take(xmlGetNoNsProp(node, (const xmlChar *)name));
}

char *np_xml_text(xmlNodePtr node)
{
    return take(xmlNodeGetContent(node));
}

bool np_xml_attribute_is(xmlNodePtr node, const char *name, const char *value)
{
    NP_AUTO_FREE char *has = np_xml_attribute(node, name);
    return has != NULL && strcmp(has, value) == 0;
}

bool np_xml_set(xmlNodePtr node, const char *name, const char *value)
{
    return xmlCheckUTF8((const unsigned char *)value) &&
           xmlSetProp(node, (const xmlChar *)name, (const xmlChar *)value) != NULL;
}

bool np_xml_set_text(xmlNodePtr node, const char *text)
{
    if (!xmlCheckUTF8((const unsigned char *)text))
        return false;
    while (node->children != NULL)
        np_xml_remove(node->children);
    xmlNodePtr content = xmlNewDocText(node->doc, (const xmlChar *)text);
    if (content == NULL || xmlAddChild(node, content) == NULL) {
        xmlFreeNode(content);
        return false;
    }
    return true;
}

xmlNodePtr np_xml_add(xmlNodePtr parent, const char *name)
{
    return xmlNewChild(parent, NULL, (const xmlChar *)name, NULL);
}

int np_xml_has_flash(const char *domain_xml, bool *has, struct np_error *err)
{
    NP_XML_DOC xmlDocPtr doc = NULL;
    if (np_xml_parse(domain_xml, "domain XML", "domain", &doc, err) < 0)
        return -1;
    NP_XML_FOUND xmlXPathObjectPtr found = np_xml_find(
        doc, "/domain/os[@firmware='efi' or loader/@type='pflash'][not(loader/@stateless='yes')]");
    if (found == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot read the domain XML");
    *has = np_xml_count(found) > 0;
    return 0;
}

int np_xml_nvram(const char *domain_xml, char **path, struct np_error *err)
{
    NP_XML_DOC xmlDocPtr doc = NULL;
    if (np_xml_parse(domain_xml, "domain XML", "domain", &doc, err) < 0)
        return -1;
    /* Since libvirt 8.5 it may be a disk source; then the text is blank. Only a local file is one we can
     * copy. */
    NP_XML_FOUND xmlXPathObjectPtr found =
        np_xml_find(doc, "/domain/os/nvram[not(source)] | /domain/os/nvram/source/@file");
    if (found == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot read the domain XML");
    NP_AUTO_FREE char *text = np_xml_count(found) == 0 ? NULL : np_xml_text(np_xml_at(found, 0));
    *path = text != NULL && text[0] == '/' ? NP_STEAL(text) : NULL;
    return 0;
}
