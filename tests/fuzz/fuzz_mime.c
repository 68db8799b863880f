#include "smtp/mime.h"
#include "tests/fuzz/lines.h"

#include <stdlib.h>
#include <string.h>

/* libFuzzer target: a mail made of the input's pieces is composed; the result has CRLF line ends only, no line over 998
 * octets, each owned header field once, and nothing that the pieces could have put into the header. */

#define PIECE_END '\xFE'                /* no octet of UTF-8 */
#define ATTACHMENTS_MAX 4
#define NAME_MOST 1000                  /* octets, as the API has them */
#define FILENAME_MOST 255
#define HEADER_MOST (16 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct input {
    const char *p;
    size_t n;
};

/* Whether the API would not have let the character of n octets through: NEL and the two separators. */
static bool ends_a_line(const char *p, size_t n)
{
    return (n == 2 && memcmp(p, "\xC2\x85", 2) == 0) || (n == 3 && memcmp(p, "\xE2\x80", 2) == 0 &&
                                                        ((unsigned char)p[2] == 0xA8 || (unsigned char)p[2] == 0xA9));
}

/* The next piece, with "?" for what the API would not have let through. Each octet is looked at once: what is random
 * is rarely UTF-8, and pieces have up to 64 KiB. Of `most` octets, more are dropped. */
static char *next_piece(struct input *in, size_t most, bool multi_line)
{
    const char *end = in->n ? memchr(in->p, PIECE_END, in->n) : NULL;
    size_t whole = end ? (size_t)(end - in->p) : in->n, n = whole < most ? whole : most;
    char *s = malloc(n + 1);

    if (!s)
        abort();
    if (n)
        memcpy(s, in->p, n);
    s[n] = '\0';
    in->p += whole + (end != NULL);
    in->n -= whole + (end != NULL);
    for (size_t i = 0, length; i < n; i += length ? length : 1) {
        unsigned char c = (unsigned char)s[i];
        bool is_break = c == '\n' || c == '\r' || c == '\t';
        length = bytes_utf8_length(s + i, n - i);
        if ((c < 0x20 && !(multi_line && is_break)) || c == 0x7F || !length || ends_a_line(s + i, length))
            memset(s + i, '?', length ? length : 1);
    }
    return s;
}

static struct bytes_view next_content(struct input *in, struct mail *m)
{
    char *s = next_piece(in, SIZE_MAX, true);

    if (mail_keep(m, s) != 0)
        abort();
    return bytes_view(s, strlen(s));
}

static void add_attachment(struct input *in, struct mail *m, unsigned char how)
{
    struct mail_attachment a = {.filename = next_piece(in, FILENAME_MOST, false), .is_inline = how & 1};
    size_t n;

    if (how & 2) {
        a.content_id = strdup("logo@x");
        a.is_inline = true;
    }
    if (how & 4)
        a.content_type = strdup(how & 8 ? "message/rfc822" : "text/x-y; name=\"z\"; a=b");
    a.content = next_content(in, m);
    a.is_base64 = how & 16;
    for (n = 0; a.is_base64 && n < a.content.n; n++)
        ((char *)(uintptr_t)a.content.p)[n] = "ABCDabcd0189+/xy"[(unsigned char)a.content.p[n] % 16];
    if (a.is_base64)
        a.content.n -= a.content.n % 4;
    if (mail_add_attachment(m, a) != 0)
        abort();
}

static size_t count_fields(struct bytes_view header, const char *name)
{
    const char *p = header.p, *end = header.p + header.n;
    size_t n = 0;

    for (; p < end; p = (const char *)memchr(p, '\n', (size_t)(end - p)) + 1)
        n += bytes_starts_nocase(bytes_view(p, (size_t)(end - p)), name);
    return n;
}

static void check_header(const char *p, size_t n)
{
    static const char *const once[] = {"From:", "To:", "Subject:", "Date:", "Message-ID:", "MIME-Version:",
                                       "Content-Type:", "X-Own:"};
    const char *end = memmem(p, n, "\r\n\r\n", 4);
    struct bytes_view header;

    if (!end)
        unreachable("no end of the header");
    header = bytes_view(p, (size_t)(end - p) + 2);
    for (size_t i = 0; i < ARRAY_LEN(once); i++)
        if (count_fields(header, once[i]) != 1)
            unreachable(once[i]);
    if (count_fields(header, "Bcc:") || count_fields(header, "X-Evil:"))
        unreachable("a field that nobody asked for");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct mime_params params = {.id = "0193600d-5eed-7000-8000-0000000000aa", .date_unix = 1795552500};
    struct input in = {(const char *)data, n};
    struct mime_message out;
    struct mail *m;
    unsigned char how;

    if (n < 2)
        return 0;
    how = data[0];
    in.p++;
    in.n--;
    m = mail_new();
    if (!m)
        return 0;
    m->from = (struct mail_address){.email = strdup("a@b.example"), .name = next_piece(&in, NAME_MOST, false)};
    m->subject = next_piece(&in, HEADER_MOST, false);
    if (mail_address_list_add(&m->to, (struct mail_address){strdup("c@d.example"),
                                                            next_piece(&in, NAME_MOST, false), false}) != 0 ||
        mail_address_list_add(&m->bcc, (struct mail_address){strdup("s@d.example"), NULL, false}) != 0 ||
        mail_pair_list_add(&m->headers, (struct mail_pair){strdup("X-Own"), next_piece(&in, HEADER_MOST, false)}) != 0)
        abort();
    if (how & 1)
        m->text = next_content(&in, m);
    if (how & 2)
        m->html = next_content(&in, m);
    if (how & 4) {
        m->calendar = next_content(&in, m);
        m->calendar_method = strdup("REQUEST");
    }
    for (unsigned i = 0; i < (how >> 3) % (ATTACHMENTS_MAX + 1) && in.n; i++) {
        unsigned char kind = (unsigned char)*in.p++;
        in.n--;
        add_attachment(&in, m, kind);
    }
    if (!m->text.p && !m->html.p && !m->calendar.p && !m->n_attachments)
        m->text = bytes_view("", 0);
    if (mime_compose(m, &params, &out) == 0) {
        fuzz_check_lines(out.bytes, out.n);
        check_header(out.bytes, out.n);
        mime_message_deinit(&out);
    }
    mail_free(m);
    return 0;
}
