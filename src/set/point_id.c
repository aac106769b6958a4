#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void np_point_id_format(uint64_t number, char id[NP_POINT_ID_MAX])
{
    snprintf(id, NP_POINT_ID_MAX, "%04u", (unsigned)number);
}

bool np_point_id_parse(const char *id, uint64_t *number)
{
    size_t length = strspn(id, "0123456789");
    if (length < 4 || length > 9 || id[length] != '\0')
        return false;
    char canonical[NP_POINT_ID_MAX];
    *number = strtoull(id, NULL, 10);
    np_point_id_format(*number, canonical);
    return *number > 0 && strcmp(canonical, id) == 0;
}

int np_point_id_compare(const char *a, const char *b)
{
    size_t a_length = strlen(a), b_length = strlen(b); /* digits, without more zeroes than needed */
    return a_length != b_length ? (a_length < b_length ? -1 : 1) : strcmp(a, b);
}

bool np_point_id_of_file(const char *name, char id[NP_POINT_ID_MAX], uint64_t *number)
{
    size_t length = strcspn(name, ".");
    if (length >= NP_POINT_ID_MAX)
        return false;
    memcpy(id, name, length);
    id[length] = '\0';
    return np_point_id_parse(id, number);
}

void np_point_key(const char *id, char key[NP_SET_KEY_MAX])
{
    snprintf(key, NP_SET_KEY_MAX, "points/%s.json", id);
}
