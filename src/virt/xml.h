/*
 * libxml2, for texts that may be hostile (an XML from a backup): no network, no DTD and so no entities,
 * bounded. XPath expressions are constants of ours; what comes from outside is compared, never made part of
 * one.
 */
#ifndef NP_VIRT_XML_H
#define NP_VIRT_XML_H

#include "nbdpull/cleanup.h"
#include "nbdpull/error.h"

#include <libxml/tree.h>
#include <libxml/xpath.h>

/*
 * Parse a text whose root element must be of that name, in no namespace.
 * @param what for messages: "domain XML"
 * @param doc  out, owned: NP_XML_DOC
 */
int np_xml_parse(const char *text, const char *what, const char *root, xmlDocPtr *doc, struct np_error *err);

/* A document with that root element. NULL when out of memory. */
xmlDocPtr np_xml_new(const char *root);

/* The document as text. @param text out, owned (free) */
int np_xml_dump(xmlDocPtr doc, char **text, struct np_error *err);

/* Nodes that the expression finds; NULL when out of memory. @return owned: NP_XML_FOUND */
xmlXPathObjectPtr np_xml_find(xmlDocPtr doc, const char *expression);
size_t np_xml_count(xmlXPathObjectPtr found);
xmlNodePtr np_xml_at(xmlXPathObjectPtr found, size_t index);

/* Unlink and free an element with all below it, or an attribute. */
void np_xml_remove(xmlNodePtr node);

/* Remove whatever the expression finds; none of it may lie below another. */
int np_xml_remove_all(xmlDocPtr doc, const char *expression, struct np_error *err);

/* The first child element of that name, in no namespace, or NULL: what an expression of ours would find. */
xmlNodePtr np_xml_child(xmlNodePtr parent, const char *name);

/* Value of an attribute, text below a node: owned (free), NULL when absent or out of memory. */
char *np_xml_attribute(xmlNodePtr node, const char *name);
char *np_xml_text(xmlNodePtr node);

/* Is the attribute there with this value? */
bool np_xml_attribute_is(xmlNodePtr node, const char *name, const char *value);

/* Set or add; values are plain text, never markup. False when out of memory or not UTF-8. */
bool np_xml_set(xmlNodePtr node, const char *name, const char *value);
bool np_xml_set_text(xmlNodePtr node, const char *text);
xmlNodePtr np_xml_add(xmlNodePtr parent, const char *name);

static inline void np_xml_free_doc(xmlDocPtr *doc)
{
    xmlFreeDoc(*doc);
}

/* Freeing a set looks at each node, and who walks over it may have removed some. Of namespaces, which it
 * would own, nobody asks for any. */
static inline void np_xml_free_found(xmlXPathObjectPtr *found)
{
    if (*found != NULL && (*found)->nodesetval != NULL)
        (*found)->nodesetval->nodeNr = 0;
    xmlXPathFreeObject(*found);
}

#define NP_XML_DOC NP_CLEANUP(np_xml_free_doc)
#define NP_XML_FOUND NP_CLEANUP(np_xml_free_found)

#endif
