#include "api/form_reader.h"

#include <string.h>

/* multipart/form-data in pieces of any size: finds the delimiters, collects the heads, and keeps the data.
 *
 * RFC 2046 §5.1.1, with what is refused or bounded here:
 *   multipart := [preamble CRLF] "--" boundary padding CRLF part *( CRLF "--" boundary padding CRLF part )
 *                CRLF "--" boundary "--" padding [CRLF epilogue]
 *   part      := *( field CRLF ) [CRLF *OCTET]
 * A line that begins with "--" boundary and goes on otherwise ("--boundaryX", "--boundary--X", "--boundary-") is no
 * delimiter but data, as it stands in the grammar: only padding (blanks) and CRLF, or "--", padding and CRLF or the
 * end of the form, make it one. A line feed alone in the place of that CRLF is refused: some would take it for a line's
 * end, some would not, and whoever guesses reads another form than his neighbour. */

/* What an octet makes of those that are held back. */
enum verdict { UNDECIDED, DELIMITER, CLOSE_DELIMITER, NO_DELIMITER, BARE_LF, TOO_MUCH_PADDING };

static void set_state(struct form_multipart *m, enum form_state to)
{
    m->state = to;
    m->margin = 0;
}

/* Where data begin, a delimiter may stand without its CRLF: at the form's start for want of a preamble, and after a
 * head, whose empty line is the delimiter's CRLF when the part has no body. So a CRLF is held that never came. */
static void begin_line(struct form_multipart *m)
{
    memcpy(m->hold, "\r\n", 2);
    m->hold_n = m->hold_virtual = 2;
}

/* RFC 2046 §5.1.1: boundary := 0*69<bchars> bcharsnospace */
static bool is_boundary(struct bytes_view b)
{
    for (size_t i = 0; i < b.n; i++)
        if (!((b.p[i] >= 'a' && b.p[i] <= 'z') || (b.p[i] >= 'A' && b.p[i] <= 'Z') ||
              (b.p[i] >= '0' && b.p[i] <= '9') || (b.p[i] && strchr("'()+_,-./:=? ", b.p[i]))))
            return false;
    return b.n && b.p[b.n - 1] != ' ';
}

static int set_boundary(struct form *f, struct bytes_view b)
{
    struct form_multipart *m = &f->reader->multipart;

    if (m->delimiter_n)
        return form_refuse(f, "the Content-Type has two boundaries");
    if (!b.n)
        return form_refuse(f, "the Content-Type's boundary is empty");
    if (b.n > FORM_BOUNDARY_MAX)
        return form_refuse(f, "the Content-Type's boundary is longer than %d characters", FORM_BOUNDARY_MAX);
    if (!is_boundary(b))
        return form_refuse(f, "the Content-Type's boundary has characters that may not stand in one or at its end");
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, b.p, b.n);
    m->delimiter_n = 4 + b.n;
    return 0;
}

int form_multipart_init(struct form *f, struct bytes_view params)
{
    struct form_param p;
    const char *why;
    int rc;

    /* Java and others write boundary=----=_Part_1 without the quotes it should have. Nothing else it could mean. */
    while ((rc = form_param_next(&params, "/:=?(),", &p, &why)) == 1)
        if (bytes_equal_nocase(p.name, bytes_view_str("boundary")) && set_boundary(f, p.value) != 0)
            return -1;
    if (rc < 0)
        return form_refuse(f, "in the Content-Type, %s", why);
    if (!f->reader->multipart.delimiter_n)
        return form_refuse(f, "the Content-Type has no boundary");
    begin_line(&f->reader->multipart);
    return 0;
}

void form_multipart_deinit(struct form_multipart *m)
{
    bytes_buf_deinit(&m->head);
}

/* Octets that are none of a delimiter. */
static int put(struct form *f, const char *p, size_t n)
{
    struct form_multipart *m = &f->reader->multipart;

    if (m->state == FORM_DATA)
        return form_part_add(f, p, n);
    m->margin += n;
    if (m->margin > FORM_MARGIN_MAX)
        return form_refuse(f, "more than %d octets stand %s", FORM_MARGIN_MAX,
                           m->state == FORM_PREAMBLE ? "before the first boundary" : "behind the last boundary");
    return 0;
}

/* How many octets there are before the first that may begin a delimiter. A CR of which the piece shows that it begins
 * none is passed over here, so that only delimiters and piece ends leave the fast road; each octet is compared with at
 * most one delimiter, as the boundary has no CR. */
static size_t find_candidate(const struct form_multipart *m, struct bytes_view in)
{
    const char *p = in.p, *end = in.p + in.n;

    while (p < end && (p = memchr(p, '\r', (size_t)(end - p))) != NULL) {
        size_t left = (size_t)(end - p);
        if ((left == 1 || p[1] == '\n') && memcmp(p, m->delimiter, left < m->delimiter_n ? left : m->delimiter_n) == 0)
            return (size_t)(p - in.p);
        p++;
    }
    return in.n;
}

static bool is_closing(const struct form_multipart *m)
{
    return m->hold_n >= m->delimiter_n + 2 && m->hold[m->delimiter_n] == '-';
}

static enum verdict judge(const struct form_multipart *m, char c)
{
    size_t tail = m->hold_n - m->delimiter_n;
    char last = m->hold[m->hold_n - 1];

    if (m->hold_n < m->delimiter_n)
        return c == m->delimiter[m->hold_n] ? UNDECIDED : NO_DELIMITER;
    if (tail && last == '\r')
        return c != '\n' ? NO_DELIMITER : is_closing(m) ? CLOSE_DELIMITER : DELIMITER;
    if (tail == 0 && c == '-')
        return UNDECIDED;
    if (tail == 1 && last == '-')
        return c == '-' ? UNDECIDED : NO_DELIMITER;
    if (c == ' ' || c == '\t')
        return tail < FORM_PADDING_MAX + (is_closing(m) ? 2 : 0) ? UNDECIDED : TOO_MUCH_PADDING;
    if (c == '\r')
        return UNDECIDED;
    return c == '\n' ? BARE_LF : NO_DELIMITER;
}

/* What was held is no delimiter, whatever follows, nor does one begin in it: the only CR but the first can be its last
 * octet, and had a LF followed, this were a delimiter. */
static int spill(struct form *f)
{
    struct form_multipart *m = &f->reader->multipart;
    size_t from = m->hold_virtual, n = m->hold_n;

    m->hold_n = m->hold_virtual = 0;
    return put(f, m->hold + from, n - from);
}

static int at_delimiter(struct form *f, bool closing)
{
    struct form_multipart *m = &f->reader->multipart;

    m->hold_n = m->hold_virtual = 0;
    if (m->state == FORM_DATA && form_part_done(f) != 0)
        return -1;
    set_state(m, closing ? FORM_EPILOGUE : FORM_HEAD);
    m->head.n = m->line = 0;
    return closing ? 0 : form_part_begin(f);
}

static int refuse_line(struct form *f, const char *why)
{
    size_t nth = f->n_parts + (f->reader->multipart.state == FORM_DATA ? 2 : 1);

    return form_refuse(f, "the line of boundary %zu %s", nth, why);
}

/* Takes one octet behind those that are held, or none when it turns out that they are data. */
static int feed_held(struct form *f, struct bytes_view *in)
{
    struct form_multipart *m = &f->reader->multipart;
    enum verdict verdict = judge(m, in->p[0]);

    if (verdict == NO_DELIMITER)
        return spill(f);
    m->hold[m->hold_n++] = in->p[0];
    *in = bytes_view(in->p + 1, in->n - 1);
    switch (verdict) {
    case DELIMITER:
    case CLOSE_DELIMITER:
        return at_delimiter(f, verdict == CLOSE_DELIMITER);
    case BARE_LF:
        return refuse_line(f, "ends with a bare line feed; lines end with CRLF");
    case TOO_MUCH_PADDING:
        return refuse_line(f, "has too many blanks at its end");
    case UNDECIDED:
    case NO_DELIMITER:
        break;
    }
    return 0;
}

static int feed_data(struct form *f, struct bytes_view *in)
{
    struct form_multipart *m = &f->reader->multipart;
    size_t n;

    if (m->hold_n)
        return feed_held(f, in);
    n = find_candidate(m, *in);
    if (put(f, in->p, n) != 0)
        return -1;
    if (n < in->n) {
        m->hold[m->hold_n++] = '\r';
        n++;
    }
    *in = bytes_view(in->p + n, in->n - n);
    return 0;
}

static int end_head(struct form *f)
{
    struct form_multipart *m = &f->reader->multipart;

    if (form_head_read(f, bytes_view(bytes_buf_view(&m->head).p, m->line)) != 0)
        return -1;
    set_state(m, FORM_DATA);
    begin_line(m);
    return 0;
}

static int feed_head(struct form *f, struct bytes_view *in)
{
    struct form_multipart *m = &f->reader->multipart;
    char c = in->p[0];
    bool after_cr = m->head.n > m->line && m->head.p[m->head.n - 1] == '\r';

    *in = bytes_view(in->p + 1, in->n - 1);
    if (after_cr ? c != '\n' : c == '\n')
        return form_refuse_part(f, "its head has a bare %s; lines end with CRLF",
                                after_cr ? "carriage return" : "line feed");
    if (((unsigned char)c < ' ' && c != '\t' && c != '\r' && c != '\n') || c == 0x7F)
        return form_refuse_part(f, "its head has a control character");
    if (m->head.n == FORM_HEAD_MAX)
        return form_refuse_part(f, "its head is longer than %d octets", FORM_HEAD_MAX);
    bytes_buf_add_char(&m->head, c);
    if (m->head.failed)
        return form_no_memory(f);
    if (c != '\n')
        return 0;
    if (m->head.n - m->line == 2)
        return end_head(f);
    m->line = m->head.n;
    return 0;
}

int form_multipart_feed(struct form *f, struct bytes_view in)
{
    struct form_multipart *m = &f->reader->multipart;
    int rc = 0;

    while (rc == 0 && in.n) {
        switch (m->state) {
        case FORM_PREAMBLE:
        case FORM_DATA:
            rc = feed_data(f, &in);
            break;
        case FORM_HEAD:
            rc = feed_head(f, &in);
            break;
        case FORM_EPILOGUE:
            rc = put(f, in.p, in.n);
            in.n = 0;
            break;
        }
    }
    return rc;
}

/* Behind a line that ends with a bare LF a boundary is data. Says so when that may be why the form has no end. */
static int refuse_unended_data(struct form *f)
{
    const struct form_multipart *m = &f->reader->multipart;
    struct bytes_view data = bytes_buf_view(&f->reader->data);
    const char *p = data.p, *end = data.p + data.n;

    while ((p = memmem(p, (size_t)(end - p), m->delimiter + 1, m->delimiter_n - 1)) != NULL) {
        if (p == data.p || p[-1] != '\r')
            return form_refuse_part(f, "the line before a boundary ends with a bare line feed; lines end with CRLF");
        p++;
    }
    return form_refuse_part(f, "the form ends in the middle of its data: no closing boundary");
}

int form_multipart_end(struct form *f)
{
    struct form_multipart *m = &f->reader->multipart;

    /* RFC 2046: the last CRLF belongs to the epilogue, so it may be missing; half of it may not. */
    if (is_closing(m) && m->hold[m->hold_n - 1] != '\r' && at_delimiter(f, true) != 0)
        return -1;
    switch (m->state) {
    case FORM_PREAMBLE:
        return form_refuse(f, "the form ends before its first boundary");
    case FORM_HEAD:
        return form_refuse_part(f, "the form ends in the middle of its head");
    case FORM_DATA:
        return refuse_unended_data(f);
    case FORM_EPILOGUE:
        break;
    }
    return 0;
}
