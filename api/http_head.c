#include "api/http_head.h"

#include <microhttpd.h>
#include <string.h>

/* Looks at a request's head where libmicrohttpd (0.9.75) keeps it: as it came, in one piece from the method to the
 * empty line, but that the octets behind method, target, version, names and values are NUL now, and so is each CR and
 * LF of a line end. The strings that it shows lie in there, in their order. So a NUL that came over the wire is one too
 * many, a bare LF is one too few, and a folded line is a field that lies elsewhere. (A NUL right before a bare LF looks
 * like a CRLF; nothing is cut off by that one.) */

struct walk {
    const char *at, *end;               /* where the next field must begin; behind the head */
    bool is_plain;
};

static bool is_token_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct bytes_view v)
{
    for (size_t i = 0; i < v.n; i++)
        if (!is_token_char((unsigned char)v.p[i]))
            return false;
    return v.n > 0;
}

/* No CR, LF, NUL or other control; a tab is fine. */
static bool is_field_value(struct bytes_view v)
{
    for (size_t i = 0; i < v.n; i++) {
        unsigned char c = (unsigned char)v.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7F)
            return false;
    }
    return true;
}

bool http_head_is_field(struct bytes_view name, struct bytes_view value)
{
    return is_token(name) && is_field_value(value);
}

size_t http_head_target_length(const char *uri)
{
    size_t n = 0;

    for (; uri[n]; n++)
        if ((unsigned char)uri[n] <= 0x20 || uri[n] == 0x7F)
            return 0;
    return n;
}

/* What was CRLF. */
static bool take_line_end(struct walk *w)
{
    if (w->end - w->at < 2 || w->at[0] || w->at[1])
        return false;
    w->at += 2;
    return true;
}

/* A folded line is appended to the name, which moves for that. */
static const char *value_of(const char *name, size_t name_n)
{
    const char *p = name + name_n + 1;

    while (*p == ' ' || *p == '\t')
        p++;
    return p;
}

static enum MHD_Result on_field(void *ctx, enum MHD_ValueKind kind, const char *name, size_t name_n, const char *value,
                                size_t value_n)
{
    struct walk *w = ctx;

    (void)kind;
    w->is_plain = w->is_plain && name == w->at && value == value_of(name, name_n) && value + value_n < w->end;
    if (!w->is_plain)
        return MHD_NO;
    w->at = value + value_n;
    w->is_plain = take_line_end(w);
    return w->is_plain ? MHD_YES : MHD_NO;
}

bool http_head_is_plain(struct MHD_Connection *c, const char *method, const char *url, size_t url_n,
                        const char *version)
{
    const union MHD_ConnectionInfo *size = MHD_get_connection_info(c, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    struct walk w = {.at = version + strlen(version), .end = method + (size ? size->header_size : 0)};

    if (!is_token(bytes_view_str(method)) || method + strlen(method) + 1 != url || url + url_n + 1 != version ||
        w.at >= w.end)
        return false;
    w.is_plain = take_line_end(&w);
    MHD_get_connection_values_n(c, MHD_HEADER_KIND, on_field, &w);
    return w.is_plain && take_line_end(&w) && w.at == w.end;
}

static enum MHD_Result on_trailer(void *ctx, enum MHD_ValueKind kind, const char *name, size_t name_n,
                                  const char *value, size_t value_n)
{
    bool *good = ctx;

    (void)kind;
    *good = *good && value == value_of(name, name_n) &&
            http_head_is_field(bytes_view(name, name_n), bytes_view(value, value_n));
    return MHD_YES;
}

bool http_head_has_good_trailer(struct MHD_Connection *c)
{
    bool good = true;

    MHD_get_connection_values_n(c, MHD_FOOTER_KIND, on_trailer, &good);
    return good;
}
