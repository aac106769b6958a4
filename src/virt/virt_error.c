#include "virt_error.h"

#include <libvirt/virterror.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int np_virt_error_code(void)
{
    return virGetLastErrorCode();
}

const char *np_virt_error_text(void)
{
    return virGetLastErrorMessage();
}

static enum np_class class_of(int code)
{
    switch (code) {
    case VIR_ERR_OPERATION_TIMEOUT: /* of the domain's job lock, after 30 s */
    case VIR_ERR_BLOCK_COPY_ACTIVE:
    case VIR_ERR_RESOURCE_BUSY:
        return NP_BUSY;
    case VIR_ERR_CHECKPOINT_INCONSISTENT:
    case VIR_ERR_NO_DOMAIN_CHECKPOINT:
        return NP_BITMAP;
    default:
        return NP_FAILED;
    }
}

int np_virt_error(struct np_error *err, const char *format, ...)
{
    char what[512];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    return np_fail(err, class_of(np_virt_error_code()), "%s: %s", what, np_virt_error_text());
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_-./", c) != NULL);
}

/* A full stop ends a sentence unless the word goes on behind it. */
static bool ends_word(const char *after)
{
    return !is_word(*after) || (*after == '.' && !is_word(after[1]));
}

bool np_virt_error_names(const char *text, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = text; length > 0 && (at = strstr(at, word)) != NULL; at++) {
        if ((at == text || !is_word(at[-1])) && ends_word(at + length))
            return true;
    }
    return false;
}
