#include "smtp/reply.h"

#include <string.h>

/* Replies: bytes in, one strict reply out. */

void smtp_reply_parser_init(struct smtp_reply_parser *p)
{
    memset(p, 0, sizeof(*p));
    bytes_buf_init(&p->line, SMTP_REPLY_LINE_MAX_AUTH + 1);
    bytes_buf_init(&p->lines, SMTP_REPLY_MAX + SMTP_REPLY_LINES_MAX);
    bytes_buf_init(&p->hidden, SMTP_REPLY_MAX + SMTP_REPLY_LINES_MAX);
}

void smtp_reply_parser_deinit(struct smtp_reply_parser *p)
{
    bytes_buf_deinit(&p->line);
    bytes_buf_deinit(&p->lines);
    bytes_buf_deinit(&p->hidden);
}

bool smtp_reply_parser_is_empty(const struct smtp_reply_parser *p)
{
    return p->line.n == 0 && (p->code == 0 || p->done);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* RFC 3463 §2: class "." subject "." detail, at most 1, 3 and 3 digits. Its length, 0 when there is none. */
static size_t enhanced_length(const char *p, size_t n, int code)
{
    size_t i = 2, digits;

    if (n < 5 || p[0] != (char)('0' + code / 100) || p[1] != '.' || !(p[0] == '2' || p[0] == '4' || p[0] == '5'))
        return 0;
    for (digits = 0; i < n && is_digit(p[i]) && digits < 3; digits++)
        i++;
    if (!digits || i >= n || p[i] != '.')
        return 0;
    i++;
    for (digits = 0; i < n && is_digit(p[i]) && digits < 3; digits++)
        i++;
    return digits && (i == n || p[i] == ' ') ? i : 0;
}

/* Appends to out->text what is printable; everything else becomes '?'. */
static void add_text(struct smtp_reply *out, const char *p, size_t n)
{
    size_t at = strlen(out->text), room = sizeof(out->text) - 1;

    if (at && n && at < room)
        out->text[at++] = ' ';
    for (size_t i = 0; i < n && at < room; i++) {
        unsigned char c = (unsigned char)p[i];
        out->text[at++] = c == '\t' ? ' ' : (c < 32 || c == 127) ? '?' : (char)c;
    }
    out->text[at] = '\0';
}

/* Cut in the middle of a character, or never UTF-8: what is not well formed becomes '?'. C1 controls (U+0080 …) too. */
static void mend_utf8(char *s)
{
    size_t n = strlen(s);

    for (size_t i = 0; i < n;) {
        size_t len = 1;
        while (len < 4 && i + len < n && ((unsigned char)s[i + len] & 0xC0) == 0x80)
            len++;
        if (bytes_is_utf8(bytes_view(s + i, len)) &&
            !(len == 2 && (unsigned char)s[i] == 0xC2 && (unsigned char)s[i + 1] < 0xA0)) {
            i += len;
            continue;
        }
        s[i++] = '?';
    }
}

/* Some servers say what they were given. Nobody shall read a password in an answer, a log or a diagnosis, so it ends
 * here, whatever the command was. */
static struct bytes_view hide_secrets(struct smtp_reply_parser *p)
{
    if (!secrets_are_in(p->secrets, bytes_buf_view(&p->lines), false))
        return bytes_buf_view(&p->lines);
    p->hidden.n = 0;
    bytes_buf_add(&p->hidden, p->lines.p, p->lines.n);
    if (p->hidden.failed)
        return bytes_view_str("***\n");
    p->hidden.n = secrets_mask(p->secrets, p->hidden.p, p->hidden.n, false);
    return bytes_buf_view(&p->hidden);
}

static void finish(struct smtp_reply_parser *p, struct smtp_reply *out)
{
    const char *at, *end;

    memset(out, 0, sizeof(*out));
    out->code = p->code;
    out->n_lines = p->n_lines;
    out->lines = bytes_buf_view(&p->lines);
    out->shown = hide_secrets(p);
    at = out->shown.p;
    end = at + out->shown.n;
    while (at < end) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)(lf - at), k = enhanced_length(at, n, p->code);
        if (k && k < sizeof(out->enhanced) && !out->enhanced[0])
            memcpy(out->enhanced, at, k);
        if (k < n && at[k] == ' ' && k)
            k++;
        add_text(out, at + k, n - k);
        at = lf + 1;
    }
    mend_utf8(out->text);
    p->done = true;
}

/* RFC 5321 §4.2: Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF. 1: the last
 * line. */
static int take_line(struct smtp_reply_parser *p, struct bytes_view line, const char **why_out)
{
    int code;

    if (line.n < 3 || line.p[0] < '2' || line.p[0] > '5' || line.p[1] < '0' || line.p[1] > '5' ||
        !is_digit(line.p[2])) {
        *why_out = "a reply does not begin with a three-digit code";
        return -1;
    }
    code = (line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0');
    if (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-') {
        *why_out = "a reply's code is not followed by a space, a hyphen or the end of the line";
        return -1;
    }
    if (p->code && p->code != code) {
        *why_out = "the code changes within a reply of several lines";
        return -1;
    }
    if (++p->n_lines > SMTP_REPLY_LINES_MAX) {
        *why_out = "a reply has more than 100 lines";
        return -1;
    }
    if (p->lines.n + line.n > SMTP_REPLY_MAX) {
        *why_out = "a reply is larger than 64 KiB";
        return -1;
    }
    p->code = code;
    if (line.n > 4)
        bytes_buf_add(&p->lines, line.p + 4, line.n - 4);
    bytes_buf_add_char(&p->lines, '\n');
    if (p->lines.failed) {
        *why_out = "no memory for a reply";
        return -1;
    }
    return line.n == 3 || line.p[3] == ' ';
}

/* One line without its CRLF, from *in or from what was kept of it before. 0: not complete. */
static int next_line(struct smtp_reply_parser *p, struct bytes_view *in, size_t line_max, struct bytes_view *line,
                     const char **why_out)
{
    const char *lf = in->n ? memchr(in->p, '\n', in->n) : NULL;
    size_t n = lf ? (size_t)(lf - in->p) + 1 : in->n;

    if (p->line.n + n > line_max) {
        *why_out = "a reply line is too long";
        return -1;
    }
    if (!lf || p->line.n) {
        bytes_buf_add(&p->line, in->p, n);
        if (p->line.failed) {
            *why_out = "no memory for a reply";
            return -1;
        }
    }
    *line = lf && !p->line.n ? bytes_view(in->p, n) : bytes_buf_view(&p->line);
    in->p += n;
    in->n -= n;
    if (!lf)
        return 0;
    if (line->n < 2 || line->p[line->n - 2] != '\r') {
        *why_out = "a reply line ends in LF without CR";
        return -1;
    }
    line->n -= 2;
    if (memchr(line->p, '\r', line->n) || memchr(line->p, '\0', line->n)) {
        *why_out = "a reply line has a bare CR or a NUL in it";
        return -1;
    }
    return 1;
}

int smtp_reply_parser_feed(struct smtp_reply_parser *p, struct bytes_view *in, size_t line_max, struct smtp_reply *out,
                           const char **why_out)
{
    if (p->done) {
        p->done = false;
        p->code = 0;
        p->n_lines = 0;
        p->lines.n = 0;
    }
    for (;;) {
        struct bytes_view line;
        int rc = next_line(p, in, line_max, &line, why_out);
        if (rc <= 0)
            return rc;
        rc = take_line(p, line, why_out);
        p->line.n = 0;
        if (rc < 0)
            return -1;
        if (rc) {
            finish(p, out);
            return 1;
        }
    }
}
