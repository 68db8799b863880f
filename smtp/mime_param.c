#include "smtp/mime_param.h"

#include <stdio.h>
#include <string.h>

/* Writing MIME parameters: quoting, RFC 2231, folding. */

#define LINE_MAX_OCTETS 76
#define PARAMETER_MAX 900               /* cannot be folded: far enough from 998 */
#define NAME_MAX_OCTETS 60              /* of a name that is only a fallback */
#define EXTENSION_MAX 12
#define CHARACTER_ESCAPED 12            /* "%XX" of four octets */

void mime_param_begin(struct mime_param_line *l, struct bytes_buf *out, const char *name, const char *value)
{
    *l = (struct mime_param_line){.out = out, .col = strlen(name) + 2 + strlen(value)};
    bytes_buf_add_str(out, name);
    bytes_buf_add(out, ": ", 2);
    bytes_buf_add_str(out, value);
}

void mime_param_end(struct mime_param_line *l)
{
    bytes_buf_add(l->out, "\r\n", 2);
}

/* ";" and the place of a parameter of n octets, with room for the next ";". */
static void place(struct mime_param_line *l, size_t n)
{
    bytes_buf_add_char(l->out, ';');
    if (l->col + 2 + n + 1 > LINE_MAX_OCTETS) {
        bytes_buf_add(l->out, "\r\n ", 3);
        l->col = 1 + n;
    } else {
        bytes_buf_add_char(l->out, ' ');
        l->col += 2 + n;
    }
}

static struct bytes_view trim(struct bytes_view v)
{
    while (v.n && (v.p[v.n - 1] == ' ' || v.p[v.n - 1] == '\t'))
        v.n--;
    while (v.n && (v.p[0] == ' ' || v.p[0] == '\t'))
        v = bytes_view(v.p + 1, v.n - 1);
    return v;
}

/* Where the parameter at `p` ends: at a ";" outside quotes, or at the text's end. */
static const char *parameter_end(const char *p)
{
    bool quoted = false;

    for (; *p && (quoted || *p != ';'); p++) {
        if (*p == '"')
            quoted = !quoted;
        else if (quoted && *p == '\\' && p[1])
            p++;
    }
    return p;
}

/* "name", and its forms of RFC 2231: "name*", "name*0", "name*0*". */
static bool is_name(struct bytes_view parameter)
{
    return bytes_starts_nocase(parameter, "name") && parameter.n > 4 && strchr("=* \t", parameter.p[4]);
}

void mime_param_begin_type(struct mime_param_line *l, struct bytes_buf *out, const char *type, bool without_name)
{
    const char *end = type + strcspn(type, ";");
    struct bytes_view bare = trim(bytes_view(type, (size_t)(end - type)));

    mime_param_begin(l, out, "Content-Type", "");
    if (bare.n > PARAMETER_MAX)
        bare = bytes_view_str("application/octet-stream");
    bytes_buf_add(out, bare.p, bare.n);
    l->col += bare.n;
    while (*end == ';') {
        const char *start = end + 1;
        struct bytes_view parameter;
        end = parameter_end(start);
        parameter = trim(bytes_view(start, (size_t)(end - start)));
        if (!parameter.n || parameter.n > PARAMETER_MAX || (without_name && is_name(parameter)))
            continue;
        place(l, parameter.n);
        bytes_buf_add(out, parameter.p, parameter.n);
    }
}

/* RFC 2045 §5.1: token, any printable ASCII but space and tspecials. */
static bool is_token(const char *s)
{
    if (!*s)
        return false;
    for (; *s; s++)
        if (*s <= ' ' || *s > '~' || strchr("()<>@,;:\\\"/[]?=", *s))
            return false;
    return true;
}

static void add_quoted(struct mime_param_line *l, const char *attribute, struct bytes_view value)
{
    size_t n = strlen(attribute) + 3 + value.n;

    for (size_t i = 0; i < value.n; i++)
        n += value.p[i] == '"' || value.p[i] == '\\';
    place(l, n);
    bytes_buf_add_str(l->out, attribute);
    bytes_buf_add(l->out, "=\"", 2);
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '"' || value.p[i] == '\\')
            bytes_buf_add_char(l->out, '\\');
        bytes_buf_add_char(l->out, value.p[i]);
    }
    bytes_buf_add_char(l->out, '"');
}

void mime_param_add(struct mime_param_line *l, const char *attribute, const char *value)
{
    if (!is_token(value)) {
        add_quoted(l, attribute, bytes_view_str(value));
        return;
    }
    place(l, strlen(attribute) + 1 + strlen(value));
    bytes_buf_add_str(l->out, attribute);
    bytes_buf_add_char(l->out, '=');
    bytes_buf_add_str(l->out, value);
}

/* Whether readers find in a quoted string what was put there: they decode "=?…?=" (which RFC 2047 §5 forbids),
 * fold runs of spaces and cut them at the ends. */
static bool is_quotable(struct bytes_view v, size_t max)
{
    size_t n = v.n;

    for (size_t i = 0; i < v.n; i++) {
        char next = i + 1 < v.n ? v.p[i + 1] : ' ';
        if (v.p[i] < ' ' || v.p[i] > '~' || (v.p[i] == ' ' && (next == ' ' || i == 0)) ||
            (v.p[i] == '=' && next == '?'))
            return false;
        n += v.p[i] == '"' || v.p[i] == '\\';
    }
    return n <= max;
}

/* RFC 2231 §7: attribute-char, without "'" and "%", which mean something in extended values. */
static bool is_attribute_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$&+-.^_`|~", c));
}

/* Writes the character at v.p[*at], escaped; returns its length there. */
static size_t escape_character(struct bytes_view v, size_t *at, char to[CHARACTER_ESCAPED])
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0, start = *at;

    do {
        unsigned char c = (unsigned char)v.p[(*at)++];
        if (is_attribute_char((char)c)) {
            to[n++] = (char)c;
            continue;
        }
        to[n++] = '%';
        to[n++] = hex[c >> 4];
        to[n++] = hex[c & 15];
    } while (*at < v.n && *at - start < 4 && ((unsigned char)v.p[*at] & 0xC0) == 0x80);
    return n;
}

static size_t escaped_size(struct bytes_view v)
{
    size_t n = 0;

    for (size_t i = 0; i < v.n; i++)
        n += is_attribute_char(v.p[i]) ? 1 : 3;
    return n;
}

static void add_escaped(struct mime_param_line *l, struct bytes_view v)
{
    char c[CHARACTER_ESCAPED];

    for (size_t at = 0; at < v.n;) {
        size_t n = escape_character(v, &at, c);
        bytes_buf_add(l->out, c, n);
        l->col += n;
    }
}

/* RFC 2231 §3, §4.1: filename*0*=utf-8''…; filename*1*=…: one to a line, whole characters in each. */
static void add_continued(struct mime_param_line *l, struct bytes_view v)
{
    char piece[LINE_MAX_OCTETS + 1];
    size_t at = 0;

    for (unsigned k = 0; at < v.n; k++) {
        size_t n = (size_t)snprintf(piece, sizeof(piece), "filename*%u*=%s", k, k ? "" : "utf-8''");
        while (at < v.n) {
            char c[CHARACTER_ESCAPED];
            size_t next = at, size = escape_character(v, &next, c);
            if (1 + n + size + 1 > LINE_MAX_OCTETS)
                break;
            memcpy(piece + n, c, size);
            n += size;
            at = next;
        }
        place(l, n);
        bytes_buf_add(l->out, piece, n);
    }
}

void mime_param_filename(struct mime_param_line *l, const char *filename)
{
    static const char single[] = "filename*=utf-8''";
    struct bytes_view v = bytes_view_str(filename);
    size_t n = strlen(single) + escaped_size(v);

    if (is_quotable(v, LINE_MAX_OCTETS - sizeof(" filename=\"\";") + 1)) {
        add_quoted(l, "filename", v);
    } else if (n + 2 <= LINE_MAX_OCTETS) {
        place(l, n);
        bytes_buf_add_str(l->out, single);
        add_escaped(l, v);
    } else {
        add_continued(l, v);
    }
}

/* The extension with its dot; none: at the end. */
static size_t extension_at(struct bytes_view v)
{
    for (size_t i = v.n; i-- > 1 && v.n - i <= EXTENSION_MAX;)
        if (v.p[i] == '.')
            return i;
    return v.n;
}

/* Appends v as plain ASCII to `to` until it has `max` octets. */
static size_t put_fallback(struct bytes_view v, char *to, size_t n, size_t max)
{
    for (size_t i = 0; i < v.n && n < max; i++) {
        char c = v.p[i];
        if (((unsigned char)c & 0xC0) == 0x80)
            continue;                   /* the rest of a character */
        if (c < ' ' || c > '~' || strchr("\"\\?", c) || (c == ' ' && (!n || to[n - 1] == ' ')))
            c = '_';
        to[n++] = c;
    }
    return n;
}

void mime_param_name(struct mime_param_line *l, const char *filename)
{
    struct bytes_view v = bytes_view_str(filename);
    char name[NAME_MAX_OCTETS];
    size_t dot, n;

    if (is_quotable(v, NAME_MAX_OCTETS)) {
        add_quoted(l, "name", v);
        return;
    }
    dot = extension_at(v);
    n = put_fallback(bytes_view(v.p, dot), name, 0, NAME_MAX_OCTETS - (v.n - dot));
    n = put_fallback(bytes_view(v.p + dot, v.n - dot), name, n, NAME_MAX_OCTETS);
    while (n && name[n - 1] == ' ')
        n--;
    add_quoted(l, "name", bytes_view(name, n));
}
