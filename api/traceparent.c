#include "api/traceparent.h"

#include <stdbool.h>
#include <string.h>

/* Reads version-traceid-parentid-flags: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01. */

#define LENGTH 55

static bool is_hex(const char *s, size_t n)
{
    return strspn(s, "0123456789abcdef") >= n;          /* §3.2: upper case is malformed */
}

static bool is_zero(const char *s, size_t n)
{
    return strspn(s, "0") >= n;
}

void traceparent_read(const char *value, unsigned n, struct traceparent *out)
{
    size_t length = value ? strlen(value) : 0;

    *out = (struct traceparent){.trace_id = ""};
    if (n != 1 || length < LENGTH || value[2] != '-' || value[35] != '-' || value[52] != '-')
        return;
    if (!is_hex(value, 2) || !is_hex(value + 3, 32) || !is_hex(value + 36, 16) || !is_hex(value + 53, 2))
        return;
    if (memcmp(value, "ff", 2) == 0 || is_zero(value + 3, 32) || is_zero(value + 36, 16))
        return;
    /* §4.3: a later version may go on behind a dash; version 00 ends here */
    if (length > LENGTH && (memcmp(value, "00", 2) == 0 || value[LENGTH] != '-'))
        return;
    memcpy(out->trace_id, value + 3, 32);
    memcpy(out->span_id, value + 36, 16);
}
