#include "smtp/mime_body.h"

#include <string.h>

/* Content-transfer-encodings: which one a text needs, and writing it in that one. */

#define LINE_HARD 998                   /* RFC 5322 §2.1.1 */
#define QP_LINE 75                      /* RFC 2045 §6.7 rule 5: 76 with the soft break's "=" */
#define BASE64_LINE_IN 57               /* octets in a line of 76 */
#define CHUNK 4096                      /* input between two looks at the room left */

enum { PLAIN, SPACE, BREAK, ESCAPE };   /* what an octet is to quoted-printable */

#define E ESCAPE
static const unsigned char classes[128] = {
    E, E, E, E, E, E, E, E, E, SPACE, BREAK, E, E, BREAK, E, E, E, E, E, E, E, E, E, E, E, E, E, E, E, E, E, E,
    [' '] = SPACE, ['='] = E, [127] = E,
};
#undef E
static const char hex[] = "0123456789ABCDEF";
static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static inline unsigned class_of(char c)
{
    return (unsigned char)c < sizeof(classes) ? classes[(unsigned char)c] : ESCAPE;
}

struct scan {
    size_t escapes;                     /* octets that quoted-printable writes as three */
    bool not_7bit;                      /* and one of them, a long line, a space at a line's end … forbids 7bit */
};

/* mboxrd writers and some relays put ">" before such a line. */
static bool is_from_line(const char *p, size_t n)
{
    return n >= 5 && memcmp(p, "From ", 5) == 0;
}

static void scan_line(struct scan *s, const char *p, size_t n)
{
    if (n > LINE_HARD || is_from_line(p, n) || (n && class_of(p[n - 1]) == SPACE))
        s->not_7bit = true;
}

static struct scan scan_text(struct bytes_view text)
{
    struct scan s = {0};
    size_t start = 0;

    for (size_t i = 0; i < text.n; i++) {
        unsigned class = class_of(text.p[i]);
        if (class == ESCAPE) {
            s.escapes++;
            s.not_7bit |= text.p[i] != '=';
        } else if (class == BREAK) {
            scan_line(&s, text.p + start, i - start);
            start = i + 1;
        }
    }
    scan_line(&s, text.p + start, text.n - start);
    return s;
}

enum mime_encoding mime_body_choose(struct bytes_view text)
{
    struct scan s = scan_text(text);

    if (!s.not_7bit)
        return MIME_7BIT;
    /* n + 2e octets of quoted-printable against 4/3 n of base64. */
    return 2 * s.escapes <= text.n / 3 + 2 ? MIME_QUOTED_PRINTABLE : MIME_BASE64;
}

const char *mime_encoding_name(enum mime_encoding e)
{
    switch (e) {
    case MIME_7BIT:
        return "7bit";
    case MIME_QUOTED_PRINTABLE:
        return "quoted-printable";
    case MIME_BASE64:
        return "base64";
    }
    unreachable("mime encoding");
}

/* The line at `i` without its break; *next_out is where the one behind it begins, *broken_out whether a break ended it.
 */
static struct bytes_view line_at(struct bytes_view text, size_t i, size_t *next_out, bool *broken_out)
{
    size_t end = i;

    while (end < text.n && class_of(text.p[end]) != BREAK)
        end++;
    *broken_out = end < text.n;
    *next_out = end + *broken_out;
    if (*broken_out && text.p[end] == '\r' && *next_out < text.n && text.p[*next_out] == '\n')
        ++*next_out;
    return bytes_view(text.p + i, end - i);
}

static void write_7bit(struct bytes_view text, struct bytes_buf *out)
{
    for (size_t i = 0; i < text.n;) {
        bool broken;
        struct bytes_view line = line_at(text, i, &i, &broken);
        bytes_buf_add(out, line.p, line.n);
        if (broken)
            bytes_buf_add(out, "\r\n", 2);
    }
}

/* Writes one octet; the caller has made room. Returns the new column. */
static size_t put_qp(struct bytes_buf *out, unsigned char c, bool escape, size_t col)
{
    char *to = out->p + out->n;
    size_t len = escape ? 3 : 1;

    if (col + len > QP_LINE) {
        memcpy(to, "=\r\n", 3);
        to += 3;
        col = 0;
    }
    if (escape) {
        *to++ = '=';
        *to++ = hex[c >> 4];
        *to++ = hex[c & 15];
    } else {
        *to++ = (char)c;
    }
    out->n = (size_t)(to - out->p);
    return col + len;
}

static void write_qp_line(struct bytes_view line, struct bytes_buf *out)
{
    size_t col = 0;

    for (size_t i = 0; i < line.n; i++) {
        unsigned class = class_of(line.p[i]);
        bool escape = class == ESCAPE || (class == SPACE && i + 1 == line.n);
        if (i % CHUNK == 0)
            bytes_buf_reserve(out, (line.n - i < CHUNK ? line.n - i : CHUNK) * 6);
        if (out->failed)
            return;
        if (i == 0 && is_from_line(line.p, line.n))
            escape = true;
        col = put_qp(out, (unsigned char)line.p[i], escape, col);
    }
    bytes_buf_add(out, "", 0);          /* the NUL behind what was written without it */
}

static void write_qp(struct bytes_view text, struct bytes_buf *out)
{
    for (size_t i = 0; i < text.n;) {
        bool broken;
        struct bytes_view line = line_at(text, i, &i, &broken);
        write_qp_line(line, out);
        if (broken)
            bytes_buf_add(out, "\r\n", 2);
    }
}

void mime_base64_write(struct bytes_view in, struct bytes_buf *out)
{
    const unsigned char *p = (const unsigned char *)in.p;
    char *to;

    bytes_buf_reserve(out, in.n / 3 * 4 + 4);
    if (out->failed)
        return;
    to = out->p + out->n;
    for (size_t i = 0; i < in.n; i += 3) {
        unsigned b1 = i + 1 < in.n ? p[i + 1] : 0, b2 = i + 2 < in.n ? p[i + 2] : 0;
        unsigned v = (unsigned)p[i] << 16 | b1 << 8 | b2;
        *to++ = base64_digits[v >> 18];
        *to++ = base64_digits[v >> 12 & 63];
        *to++ = i + 1 < in.n ? base64_digits[v >> 6 & 63] : '=';
        *to++ = i + 2 < in.n ? base64_digits[v & 63] : '=';
    }
    out->n = (size_t)(to - out->p);
    *to = '\0';
}

struct base64_writer {
    struct bytes_buf *out;
    char in[BASE64_LINE_IN];
    size_t n;
    bool started;
};

static void base64_flush(struct base64_writer *w)
{
    if (!w->n)
        return;
    if (w->started)
        bytes_buf_add(w->out, "\r\n", 2);
    mime_base64_write(bytes_view(w->in, w->n), w->out);
    w->started = true;
    w->n = 0;
}

static void base64_put(struct base64_writer *w, char c)
{
    w->in[w->n++] = c;
    if (w->n == sizeof(w->in))
        base64_flush(w);
}

/* RFC 2046 §4.1.1: a text's line breaks are CRLF inside base64 too. */
static void write_base64(struct bytes_view text, struct bytes_buf *out)
{
    struct base64_writer w = {.out = out};

    bytes_buf_reserve(out, text.n / BASE64_LINE_IN * 80 + 80);
    for (size_t i = 0; i < text.n;) {
        bool broken;
        struct bytes_view line = line_at(text, i, &i, &broken);
        for (size_t k = 0; k < line.n; k++)
            base64_put(&w, line.p[k]);
        if (broken) {
            base64_put(&w, '\r');
            base64_put(&w, '\n');
        }
    }
    base64_flush(&w);
}

void mime_body_write(enum mime_encoding e, struct bytes_view text, struct bytes_buf *out)
{
    switch (e) {
    case MIME_7BIT:
        write_7bit(text, out);
        return;
    case MIME_QUOTED_PRINTABLE:
        write_qp(text, out);
        return;
    case MIME_BASE64:
        write_base64(text, out);
        return;
    }
    unreachable("mime encoding");
}
