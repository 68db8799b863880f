#include "smtp/mime_body.h"

#include "smtp/block.h"
#include "smtp/mime_base64.h"

#include <string.h>

/* Content-transfer-encodings: which one a text needs, and writing it in that one. */

#define LINE_HARD 998                   /* RFC 5322 §2.1.1 */
#define QP_LINE 75                      /* RFC 2045 §6.7 rule 5: 76 with the soft break's "=" */
#define QP_LINE_MIN 73                  /* the shortest line before a soft break: no room for a third of "=XX" */
#define STAGE (57 * 64)                 /* octets of 64 lines of base64 */
#define SLICE_OCTETS (57 * 4096)        /* and of 4,096; as digits: */
#define SLICE_DIGITS (76 * 4096)

enum { PLAIN, SPACE, BREAK, ESCAPE };   /* what an octet is to quoted-printable */

#define E ESCAPE
#define E8 E, E, E, E, E, E, E, E
#define E64 E8, E8, E8, E8, E8, E8, E8, E8
static const unsigned char classes[256] = {
    E8, E, SPACE, BREAK, E, E, BREAK, E, E, E8, E8,
    [' '] = SPACE, ['='] = E, [127] = E, [128] = E64, E64,
};
#undef E
#undef E8
#undef E64
static const char hex[] = "0123456789ABCDEF";

static inline unsigned class_of(char c)
{
    return classes[(unsigned char)c];
}

/* ---- runs ---- */

#define EACH(octet) (UINT64_MAX / 255 * (octet))

/* Whether one of eight octets is not plain: a control, over 127, "=" or DEL. Each term borrows from bit 7 of its octet
 * (Bit Twiddling Hacks, "determine if a word has a zero byte"). */
static bool has_special(uint64_t w)
{
    uint64_t equals = w ^ EACH('='), del = w ^ EACH(127);

    return ((w | (w - EACH(' ')) | (equals - EACH(1)) | (del - EACH(1))) & EACH(128)) != 0;
}

/* How many octets from here quoted-printable could write as they are, spaces included. */
static size_t plain_run(const char *p, size_t n)
{
    size_t i = 0;
    uint64_t w;

    for (; n - i >= sizeof(w); i += sizeof(w)) {
        memcpy(&w, p + i, sizeof(w));
        if (has_special(w))
            break;
    }
    while (i < n && class_of(p[i]) <= SPACE)
        i++;
    return i;
}

/* A text's lines one by one. Where the next CR and LF are is kept until they are passed, so that a text with one kind
 * only is not searched for the other again and again. */
struct lines {
    struct bytes_view text;
    size_t at, cr, lf;
    struct block_spent spent;           /* empty: the text stays */
};

static size_t find(struct bytes_view text, size_t from, char c)
{
    const char *found = from < text.n ? memchr(text.p + from, c, text.n - from) : NULL;

    return found ? (size_t)(found - text.p) : text.n;
}

static struct lines lines_of(const struct mime_body *b, struct bytes_view text)
{
    struct lines l = {.text = text, .spent = {.content = b->is_last ? text : bytes_view("", 0)}};

    l.cr = find(text, 0, '\r');
    l.lf = find(text, 0, '\n');
    return l;
}

/* The next line without its break; *broken_out: a break ended it. False at the end. */
static bool next_line(struct lines *l, struct bytes_view *line_out, bool *broken_out)
{
    size_t start = l->at, end, n = l->text.n;

    if (start >= n)
        return false;
    block_spend(&l->spent, start);
    if (l->lf < start)
        l->lf = find(l->text, start, '\n');
    if (l->cr < start)
        l->cr = find(l->text, start, '\r');
    end = l->cr < l->lf ? l->cr : l->lf;
    *line_out = bytes_view(l->text.p + start, end - start);
    *broken_out = end < n;
    l->at = end + 1 + (l->lf < n && l->lf == l->cr + 1);
    return true;
}

/* ---- choosing ---- */

struct scan {
    size_t escapes;                     /* octets that quoted-printable writes as three wherever they stand */
    size_t edges;                       /* and those for their place: a space at a line's end, the F of "From " */
    size_t lone;                        /* line breaks that are not CRLF */
    bool not_7bit;
};

/* mboxrd writers and some relays put ">" before such a line. */
static bool is_from_line(const char *p, size_t n)
{
    return n >= 5 && memcmp(p, "From ", 5) == 0;
}

static void scan_line(struct scan *s, const char *p, size_t n)
{
    size_t edges = (size_t)is_from_line(p, n) + (n && class_of(p[n - 1]) == SPACE);

    s->edges += edges;
    if (n > LINE_HARD || edges)
        s->not_7bit = true;
}

static struct scan scan_text(struct bytes_view text)
{
    struct scan s = {0};
    const char *p = text.p;
    size_t start = 0, i = 0;

    while (i < text.n) {
        unsigned class = class_of(p[i]);
        if (class <= SPACE) {
            i += plain_run(p + i, text.n - i);
        } else if (class == ESCAPE) {
            do {
                s.escapes++;
                s.not_7bit |= p[i] != '=';
            } while (++i < text.n && class_of(p[i]) == ESCAPE);
        } else {
            bool is_pair = p[i] == '\r' && i + 1 < text.n && p[i + 1] == '\n';
            scan_line(&s, p + start, i - start);
            s.lone += !is_pair;
            i += 1 + is_pair;
            start = i;
        }
    }
    if (start < text.n)
        scan_line(&s, p + start, text.n - start);
    return s;
}

static struct mime_body plan(enum mime_encoding e, struct bytes_view text, const struct scan *s)
{
    struct mime_body b = {.encoding = e, .is_crlf = s->lone == 0, .size = text.n + s->lone};

    if (e == MIME_BASE64) {
        b.size = mime_base64_lines_size(mime_base64_size(b.size));
    } else if (e == MIME_QUOTED_PRINTABLE) {
        b.size += 2 * (s->escapes + s->edges);
        b.size += b.size / QP_LINE_MIN * 3;
    }
    return b;
}

struct mime_body mime_body_plan(struct bytes_view text)
{
    struct scan s = scan_text(text);

    if (!s.not_7bit)
        return plan(MIME_7BIT, text, &s);
    /* n + 2e octets of quoted-printable against 4/3 n of base64. */
    return plan(2 * s.escapes <= text.n / 3 + 2 ? MIME_QUOTED_PRINTABLE : MIME_BASE64, text, &s);
}

struct mime_body mime_body_plan_base64(struct bytes_view text)
{
    struct scan s = scan_text(text);

    return plan(MIME_BASE64, text, &s);
}

bool mime_body_plan_message(struct bytes_view message, struct mime_body *out)
{
    struct scan s = {0};
    const char *p = message.p;

    *out = (struct mime_body){0};
    if (!bytes_is_ascii(message) || (message.n && memchr(p, '\0', message.n)))
        return false;
    for (size_t i = 0; i < message.n;) {
        const char *lf = memchr(p + i, '\n', message.n - i);
        size_t end = lf ? (size_t)(lf - p) : message.n, n = end - i;
        bool is_pair = lf && n && p[end - 1] == '\r';
        n -= is_pair;
        if (n > LINE_HARD || memchr(p + i, '\r', n))
            return false;
        s.lone += lf && !is_pair;
        i = end + 1;
    }
    *out = plan(MIME_7BIT, message, &s);
    return true;
}

const char *mime_body_encoding_name(enum mime_encoding e)
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

/* ---- writing ---- */

static void add_plain(struct bytes_view in, struct bytes_buf *out)
{
    bytes_buf_add(out, in.p, in.n);
}

/* What needs no look at its lines, in slices of whole lines of base64. */
static void write_slices(const struct mime_body *b, struct bytes_view text, size_t slice,
                         void (*write)(struct bytes_view in, struct bytes_buf *out), struct bytes_buf *out)
{
    struct block_spent spent = {.content = b->is_last ? text : bytes_view("", 0)};
    size_t at = 0;

    bytes_buf_reserve(out, b->size);
    for (; text.n - at > slice; at += slice) {
        write(bytes_view(text.p + at, slice), out);
        if (write != add_plain)
            bytes_buf_add(out, "\r\n", 2);
        block_spend(&spent, at + slice);
    }
    write(bytes_view(text.p + at, text.n - at), out);
}

static void write_7bit(const struct mime_body *b, struct bytes_view text, struct bytes_buf *out)
{
    struct bytes_view line;
    struct lines l;
    bool broken;
    char *to;

    bytes_buf_reserve(out, b->size);
    if (out->failed)
        return;
    if (b->is_crlf) {
        write_slices(b, text, SLICE_OCTETS, add_plain, out);
        return;
    }
    l = lines_of(b, text);
    to = out->p + out->n;
    while (next_line(&l, &line, &broken)) {
        memcpy(to, line.p, line.n);
        to += line.n;
        if (!broken)
            break;
        memcpy(to, "\r\n", 2);
        to += 2;
    }
    *to = '\0';
    out->n = (size_t)(to - out->p);
}

/* Quoted-printable being written into room that the plan's size has made. */
struct qp {
    char *to;
    size_t col;
};

static void qp_soft_break(struct qp *q)
{
    memcpy(q->to, "=\r\n", 3);
    q->to += 3;
    q->col = 0;
}

static void qp_plain(struct qp *q, const char *p, size_t n)
{
    while (n) {
        size_t room = QP_LINE - q->col, take = n < room ? n : room;
        memcpy(q->to, p, take);
        q->to += take;
        q->col += take;
        p += take;
        n -= take;
        if (n)
            qp_soft_break(q);
    }
}

static void qp_escape(struct qp *q, char c)
{
    if (q->col + 3 > QP_LINE)
        qp_soft_break(q);
    *q->to++ = '=';
    *q->to++ = hex[(unsigned char)c >> 4];
    *q->to++ = hex[(unsigned char)c & 15];
    q->col += 3;
}

/* RFC 2045 §6.7 rule 3: a space may not end a line. */
static void qp_line(struct qp *q, struct bytes_view line)
{
    size_t n = line.n - (line.n && class_of(line.p[line.n - 1]) == SPACE), i = 0;

    q->col = 0;
    if (is_from_line(line.p, line.n))
        qp_escape(q, line.p[i++]);
    while (i < n) {
        size_t run = plain_run(line.p + i, n - i);
        qp_plain(q, line.p + i, run);
        i += run;
        if (i < n)
            qp_escape(q, line.p[i++]);
    }
    if (i < line.n)
        qp_escape(q, line.p[i]);
}

static void write_qp(const struct mime_body *b, struct bytes_view text, struct bytes_buf *out)
{
    struct lines l = lines_of(b, text);
    struct bytes_view line;
    struct qp q;
    bool broken;

    bytes_buf_reserve(out, b->size);
    if (out->failed)
        return;
    q.to = out->p + out->n;
    while (next_line(&l, &line, &broken)) {
        qp_line(&q, line);
        if (!broken)
            break;
        *q.to++ = '\r';
        *q.to++ = '\n';
    }
    *q.to = '\0';
    out->n = (size_t)(q.to - out->p);
}

/* Whole lines of base64 out of pieces of text. */
struct stage {
    struct bytes_buf *out;
    char in[STAGE];
    size_t n;
};

static void stage_add(struct stage *s, const char *p, size_t n)
{
    while (n) {
        size_t room = STAGE - s->n, take = n < room ? n : room;
        if (!room) {
            mime_base64_lines(bytes_view(s->in, STAGE), s->out);
            bytes_buf_add(s->out, "\r\n", 2);
            s->n = 0;
            continue;
        }
        memcpy(s->in + s->n, p, take);
        s->n += take;
        p += take;
        n -= take;
    }
}

/* RFC 2046 §4.1.1: a text's line breaks are CRLF inside base64 too. */
static void write_base64(const struct mime_body *b, struct bytes_view text, struct bytes_buf *out)
{
    struct bytes_view line;
    struct lines l;
    struct stage s;
    bool broken;

    if (b->is_crlf) {
        write_slices(b, text, SLICE_OCTETS, mime_base64_lines, out);
        return;
    }
    l = lines_of(b, text);
    s.out = out;
    s.n = 0;
    bytes_buf_reserve(out, b->size);
    while (next_line(&l, &line, &broken)) {
        stage_add(&s, line.p, line.n);
        if (broken)
            stage_add(&s, "\r\n", 2);
    }
    mime_base64_lines(bytes_view(s.in, s.n), out);
}

void mime_body_write(const struct mime_body *b, struct bytes_view text, struct bytes_buf *out)
{
    switch (b->encoding) {
    case MIME_7BIT:
        write_7bit(b, text, out);
        return;
    case MIME_QUOTED_PRINTABLE:
        write_qp(b, text, out);
        return;
    case MIME_BASE64:
        write_base64(b, text, out);
        return;
    }
    unreachable("mime encoding");
}

void mime_body_write_octets(struct bytes_view octets, struct bytes_buf *out)
{
    struct mime_body b = {.is_last = true, .size = mime_base64_lines_size(mime_base64_size(octets.n))};

    write_slices(&b, octets, SLICE_OCTETS, mime_base64_lines, out);
}

void mime_body_write_digits(struct bytes_view digits, struct bytes_buf *out)
{
    struct mime_body b = {.is_last = true, .size = mime_base64_lines_size(digits.n)};

    write_slices(&b, digits, SLICE_DIGITS, mime_base64_wrap, out);
}
