#include "json_strict.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <string.h>

/*
 * document = object, with nothing around it
 * value    = object | array | string | integer | true | false | null
 * key      = '"' 1*64[a-z0-9_] '"'
 * integer  = 0 | [1-9][0-9]*, below 2^53
 * string   = as RFC 8259 in valid UTF-8, without U+0000 and without half surrogate pairs
 * space    = as RFC 8259
 */
struct scan {
    const char *begin, *at, *end;
    const char *what;
    struct np_error *err;
};

struct key {
    const char *text;
    size_t size;
};

static int refuse(const struct scan *scan, const char *why)
{
    return np_fail(scan->err, NP_DAMAGED, "%s: not acceptable JSON at byte %zu: %s", scan->what,
                   (size_t)(scan->at - scan->begin), why);
}

/* The next byte, or NUL at the end: NUL is nowhere allowed, so the two need not be told apart. */
static char peek(const struct scan *scan)
{
    if (scan->at < scan->end)
        return *scan->at;
    return '\0';
}

static bool take(struct scan *scan, char wanted)
{
    if (peek(scan) != wanted || wanted == '\0')
        return false;
    scan->at++;
    return true;
}

static void skip_space(struct scan *scan)
{
    while (peek(scan) == ' ' || peek(scan) == '\t' || peek(scan) == '\n' || peek(scan) == '\r')
        scan->at++;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int scan_integer(struct scan *scan)
{
    uint64_t value = 0;
    bool leading_zero = peek(scan) == '0' && scan->at + 1 < scan->end && is_digit(scan->at[1]);
    if (!is_digit(peek(scan)) || leading_zero)
        return refuse(scan, "numbers are integers from 0 without leading zeroes");
    for (; is_digit(peek(scan)); scan->at++) {
        value = value * 10 + (uint64_t)(peek(scan) - '0');
        if (value >= NP_JSON_INTEGER_LIMIT)
            return refuse(scan, "the number is not below 2^53");
    }
    if (peek(scan) == '.' || peek(scan) == 'e' || peek(scan) == 'E')
        return refuse(scan, "numbers have no fraction and no exponent");
    return 0;
}

static int scan_word(struct scan *scan, const char *word)
{
    for (const char *c = word; *c != '\0'; c++)
        if (!take(scan, *c))
            return refuse(scan, "this is no value");
    return 0;
}

/* Four hexadecimal digits, or -1. */
static long scan_hex4(struct scan *scan)
{
    long value = 0;
    for (int i = 0; i < 4; i++, scan->at++) {
        char c = peek(scan);
        char lower = (char)(c | 0x20);
        if (is_digit(c))
            value = value * 16 + (c - '0');
        else if (lower >= 'a' && lower <= 'f')
            value = value * 16 + (lower - 'a') + 10;
        else
            return -1;
    }
    return value;
}

static int scan_unicode_escape(struct scan *scan)
{
    long unit = scan_hex4(scan);
    if (unit <= 0)
        return refuse(scan, "\\u wants four hexadecimal digits, and not 0000");
    if (unit < 0xd800 || unit > 0xdfff)
        return 0;
    if (unit > 0xdbff || !take(scan, '\\') || !take(scan, 'u'))
        return refuse(scan, "half a surrogate pair");
    unit = scan_hex4(scan);
    if (unit < 0xdc00 || unit > 0xdfff)
        return refuse(scan, "half a surrogate pair");
    return 0;
}

static int scan_escape(struct scan *scan)
{
    char c = peek(scan);
    if (c == '\0' || strchr("\"\\/bfnrtu", c) == NULL)
        return refuse(scan, "unknown escape");
    scan->at++;
    return c == 'u' ? scan_unicode_escape(scan) : 0;
}

/* Length of the UTF-8 sequence at p, or 0: shortest form only, no surrogates, up to U+10FFFF. */
static size_t utf8_length(const uint8_t *p, size_t left)
{
    static const struct {
        uint8_t mask, lead, length;
        uint32_t least;
    } forms[] = {{0x80, 0x00, 1, 0}, {0xe0, 0xc0, 2, 0x80}, {0xf0, 0xe0, 3, 0x800}, {0xf8, 0xf0, 4, 0x10000}};

    for (size_t i = 0; i < NP_ARRAY_SIZE(forms); i++) {
        if ((p[0] & forms[i].mask) != forms[i].lead)
            continue;
        if (forms[i].length > left)
            return 0;
        uint32_t code = p[0] & (uint8_t)~forms[i].mask;
        for (size_t k = 1; k < forms[i].length; k++) {
            if ((p[k] & 0xc0) != 0x80)
                return 0;
            code = code << 6 | (p[k] & 0x3f);
        }
        bool surrogate = code >= 0xd800 && code <= 0xdfff;
        return code < forms[i].least || code > 0x10ffff || surrogate ? 0 : forms[i].length;
    }
    return 0;
}

/* The opening quote has been taken. */
static int scan_string_rest(struct scan *scan)
{
    while (scan->at < scan->end) {
        uint8_t c = (uint8_t)*scan->at;
        if (take(scan, '"'))
            return 0;
        if (take(scan, '\\')) {
            if (scan_escape(scan) < 0)
                return -1;
            continue;
        }
        if (c < 0x20)
            return refuse(scan, "control character in a string");
        size_t length = utf8_length((const uint8_t *)scan->at, (size_t)(scan->end - scan->at));
        if (length == 0)
            return refuse(scan, "not valid UTF-8");
        scan->at += length;
    }
    return refuse(scan, "the text ends inside a string");
}

static int scan_key(struct scan *scan, struct key *key)
{
    if (!take(scan, '"'))
        return refuse(scan, "a key is missing");
    key->text = scan->at;
    while (is_digit(peek(scan)) || peek(scan) == '_' || (peek(scan) >= 'a' && peek(scan) <= 'z'))
        scan->at++;
    key->size = (size_t)(scan->at - key->text);
    if (key->size == 0 || key->size > NP_JSON_KEY_MAX || !take(scan, '"'))
        return refuse(scan, "keys are 1 to 64 of a-z, 0-9 and _");
    return 0;
}

static bool key_is_among(const struct key *key, const struct key *keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (keys[i].size == key->size && memcmp(keys[i].text, key->text, key->size) == 0)
            return true;
    return false;
}

static int scan_value(struct scan *scan, int depth_left);

/* Comparing each key with all before it is cheap because there are at most NP_JSON_KEYS_MAX. */
static int scan_object_rest(struct scan *scan, int depth_left)
{
    struct key keys[NP_JSON_KEYS_MAX];
    size_t count = 0;

    skip_space(scan);
    if (take(scan, '}'))
        return 0;
    do {
        skip_space(scan);
        if (count == NP_JSON_KEYS_MAX)
            return refuse(scan, "more than 256 keys in one object");
        if (scan_key(scan, &keys[count]) < 0)
            return -1;
        if (key_is_among(&keys[count], keys, count))
            return refuse(scan, "the key is there twice");
        count++;
        skip_space(scan);
        if (!take(scan, ':'))
            return refuse(scan, "a colon is missing");
        if (scan_value(scan, depth_left) < 0)
            return -1;
        skip_space(scan);
    } while (take(scan, ','));
    return take(scan, '}') ? 0 : refuse(scan, "the object does not end");
}

static int scan_array_rest(struct scan *scan, int depth_left)
{
    skip_space(scan);
    if (take(scan, ']'))
        return 0;
    do {
        if (scan_value(scan, depth_left) < 0)
            return -1;
        skip_space(scan);
    } while (take(scan, ','));
    return take(scan, ']') ? 0 : refuse(scan, "the array does not end");
}

/* Recursion is bounded by depth_left, so hostile nesting cannot exhaust the stack. */
static int scan_value(struct scan *scan, int depth_left)
{
    skip_space(scan);
    char c = peek(scan);
    if ((c == '{' || c == '[') && depth_left == 0)
        return refuse(scan, "nested deeper than 8");
    if (take(scan, '{'))
        return scan_object_rest(scan, depth_left - 1);
    if (take(scan, '['))
        return scan_array_rest(scan, depth_left - 1);
    if (take(scan, '"'))
        return scan_string_rest(scan);
    if (is_digit(c) || c == '-')
        return scan_integer(scan);
    return scan_word(scan, c == 't' ? "true" : c == 'f' ? "false" : "null");
}

int np_json_strict_check(const char *text, size_t size, const char *what, struct np_error *err)
{
    struct scan scan = {.begin = text, .at = text, .end = text + size, .what = what, .err = err};
    if (size > NP_JSON_SIZE_MAX)
        return np_fail(err, NP_DAMAGED, "%s: %zu bytes of JSON, more than 1 MiB", what, size);
    if (peek(&scan) != '{')
        return refuse(&scan, "it does not begin with {");
    if (scan_value(&scan, NP_JSON_DEPTH_MAX) < 0)
        return -1;
    return scan.at == scan.end ? 0 : refuse(&scan, "there is something after the document");
}

void np_json_strict_put(struct json_object **root)
{
    json_object_put(*root);
}

static void free_tokener(struct json_tokener **tokener)
{
    if (*tokener != NULL)
        json_tokener_free(*tokener);
}

int np_json_strict_parse(const char *text, size_t size, const char *what, struct json_object **root,
                         struct np_error *err)
{
    if (np_json_strict_check(text, size, what, err) < 0)
        return -1;

    /* json-c counts depth otherwise, so give it room; the limit has been checked. */
    NP_CLEANUP(free_tokener) struct json_tokener *tokener = json_tokener_new_ex(4 * NP_JSON_DEPTH_MAX);
    if (tokener == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", what);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    *root = json_tokener_parse_ex(tokener, text, (int)size);
    if (*root == NULL)
        return np_fail(err, NP_FAILED, "%s: cannot parse: %s", what,
                       json_tokener_error_desc(json_tokener_get_error(tokener)));
    return 0;
}
