#include "smtp/mime_header.h"

#include "smtp/mime_base64.h"

#include <string.h>

/* Writing header fields: folding, encoded words, display names, dates. */

#define LINE_SOFT 78                    /* RFC 5322 §2.1.1, without CRLF */
#define LINE_ENCODED 76                 /* RFC 2047 §2: a line that has an encoded word */
#define WORD_MAX 900                    /* far enough from 998 for any field name */
#define NAME_WORD_MAX 60                /* longer words of a display name are encoded, so that they can be folded */
#define ENCODED_FRAME 12                /* "=?utf-8?q?" and "?=" */
#define ENCODED_ROOM_MIN 16             /* for the widest character in either encoding */
#define ENCODED_ROOM_MAX 63             /* 75 in all, RFC 2047 §2 */

struct line {
    struct bytes_buf *out;
    size_t col;
    bool begun;                         /* a word follows the field's name: from now on it may be folded */
    bool encoded;                       /* this line has an encoded word */
};

static void line_begin(struct line *l, struct bytes_buf *out, const char *name)
{
    size_t n = strlen(name);

    bytes_buf_add(out, name, n);
    bytes_buf_add_char(out, ':');
    *l = (struct line){.out = out, .col = n + 1};
}

static void line_end(struct line *l)
{
    bytes_buf_add(l->out, "\r\n", 2);
}

static void line_fold(struct line *l)
{
    bytes_buf_add(l->out, "\r\n", 2);
    l->col = 0;
    l->encoded = false;
}

static size_t line_limit(const struct line *l)
{
    return l->encoded ? LINE_ENCODED : LINE_SOFT;
}

/* A word with the spaces before it; on a new line when it does not fit. */
static void put_spaced(struct line *l, struct bytes_view v)
{
    if (l->begun && l->col + v.n > line_limit(l))
        line_fold(l);
    bytes_buf_add(l->out, v.p, v.n);
    l->col += v.n;
    l->begun = true;
}

static void put_word(struct line *l, struct bytes_view v)
{
    if (l->begun && l->col + 1 + v.n > line_limit(l))
        line_fold(l);
    bytes_buf_add_char(l->out, ' ');
    bytes_buf_add(l->out, v.p, v.n);
    l->col += v.n + 1;
    l->begun = true;
}

/* Words and the runs of spaces before them; a run stays with its word, so no line consists of spaces. */
static void put_folded(struct line *l, struct bytes_view v)
{
    size_t start = 0;

    if (!v.n)
        return;
    if (l->col + 1 + v.n <= line_limit(l)) {
        put_word(l, v);
        return;
    }
    for (size_t i = 1; i <= v.n; i++) {
        struct bytes_view word = bytes_view(v.p + start, i - start);
        if (i < v.n && (v.p[i] != ' ' || v.p[i - 1] == ' '))
            continue;
        if (start == 0)
            put_word(l, word);
        else
            put_spaced(l, word);
        start = i;
    }
}

/* RFC 2047 §5 (3): what may stand for itself in an encoded word of a phrase; we keep to it everywhere. */
static bool is_literal_in_q(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '!' || c == '*' ||
           c == '+' || c == '-' || c == '/' || c == ' ';
}

static size_t q_size(const char *p, size_t n)
{
    size_t size = 0;

    for (size_t i = 0; i < n; i++)
        size += is_literal_in_q(p[i]) ? 1 : 3;
    return size;
}

static void put_q(struct bytes_buf *out, struct bytes_view v)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < v.n; i++) {
        unsigned char c = (unsigned char)v.p[i];
        char escaped[3] = {'=', hex[c >> 4], hex[c & 15]};
        if (is_literal_in_q(v.p[i]))
            bytes_buf_add_char(out, c == ' ' ? '_' : v.p[i]);
        else
            bytes_buf_add(out, escaped, 3);
    }
}

static size_t character_size(struct bytes_view v, size_t at)
{
    size_t end = at + 1;

    while (end < v.n && ((unsigned char)v.p[end] & 0xC0) == 0x80 && end - at < 4)
        end++;
    return end - at;
}

/* How many octets of `v` fit into `room`: RFC 2047 §5, "each encoded-word MUST represent an integral number of
 * characters". */
static size_t encoded_fit(struct bytes_view v, size_t room, bool base64)
{
    size_t n = 0, used = 0;

    while (n < v.n) {
        size_t c = character_size(v, n);
        used += base64 ? c : q_size(v.p + n, c);
        if (used > (base64 ? room / 4 * 3 : room))
            break;
        n += c;
    }
    return n;
}

static void put_encoded(struct line *l, struct bytes_view v)
{
    bool base64 = q_size(v.p, v.n) > (v.n + 2) / 3 * 4;

    while (v.n) {
        size_t taken = l->col + 1 + ENCODED_FRAME, room = taken < LINE_ENCODED ? LINE_ENCODED - taken : 0;
        size_t before, n;
        if (room < ENCODED_ROOM_MIN && l->begun) {
            line_fold(l);
            room = ENCODED_ROOM_MAX;
        }
        room = room < ENCODED_ROOM_MIN ? ENCODED_ROOM_MIN : room > ENCODED_ROOM_MAX ? ENCODED_ROOM_MAX : room;
        n = encoded_fit(v, room, base64);
        before = l->out->n;
        bytes_buf_add_str(l->out, base64 ? " =?utf-8?b?" : " =?utf-8?q?");
        if (base64)
            mime_base64_write(bytes_view(v.p, n), l->out);
        else
            put_q(l->out, bytes_view(v.p, n));
        bytes_buf_add(l->out, "?=", 2);
        l->col += l->out->n - before;
        l->begun = l->encoded = true;
        v = bytes_view(v.p + n, v.n - n);
    }
}

/* What a reader could take for an encoded word would be decoded, and so not arrive as it was meant. */
static bool looks_encoded(struct bytes_view v)
{
    return v.n && memmem(v.p, v.n, "=?", 2) != NULL;
}

static bool is_printable_ascii(struct bytes_view v)
{
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] < ' ' || v.p[i] > '~')
            return false;
    return true;
}

/* The longest word, with the spaces before it. */
static size_t longest_word(struct bytes_view v)
{
    size_t longest = 0, start = 0;

    for (size_t i = 1; i <= v.n; i++) {
        if (i < v.n && (v.p[i] != ' ' || v.p[i - 1] == ' '))
            continue;
        if (i - start > longest)
            longest = i - start;
        start = i;
    }
    return longest;
}

/* Readers unfold to one space, however many there were, and cut spaces at the ends; in an encoded word all stay. */
static bool would_lose_spaces(const struct line *l, struct bytes_view v)
{
    if (!v.n)
        return false;
    return v.p[0] == ' ' || v.p[v.n - 1] == ' ' ||
           (l->col + 1 + v.n > line_limit(l) && memmem(v.p, v.n, "  ", 2) != NULL);
}

void mime_header_text(struct bytes_buf *out, const char *name, struct bytes_view value)
{
    struct line l;

    line_begin(&l, out, name);
    if (!is_printable_ascii(value) || looks_encoded(value) || longest_word(value) > WORD_MAX ||
        would_lose_spaces(&l, value))
        put_encoded(&l, value);
    else
        put_folded(&l, value);
    line_end(&l);
}

void mime_header_own(struct bytes_buf *out, const char *name, struct bytes_view value)
{
    struct line l;

    while (value.n && value.p[value.n - 1] == ' ')
        value.n--;
    while (value.n && value.p[0] == ' ')
        value = bytes_view(value.p + 1, value.n - 1);
    line_begin(&l, out, name);
    if (is_printable_ascii(value) && longest_word(value) <= WORD_MAX)
        put_folded(&l, value);
    else
        put_encoded(&l, value);
    line_end(&l);
}

enum name_form { NAME_ATOMS, NAME_QUOTED, NAME_ENCODED };

static bool is_atom_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

/* RFC 5322 §3.2.5: phrase = 1*word. Readers fold runs of spaces into one, quoted or not, so such a name is encoded. */
static enum name_form name_form(struct bytes_view v)
{
    bool atoms = true;

    if (!is_printable_ascii(v) || looks_encoded(v) || longest_word(v) > NAME_WORD_MAX || v.p[0] == ' ' ||
        v.p[v.n - 1] == ' ' || memmem(v.p, v.n, "  ", 2))
        return NAME_ENCODED;
    for (size_t i = 0; i < v.n; i++)
        atoms = atoms && (v.p[i] == ' ' || is_atom_char(v.p[i]));
    if (atoms)
        return NAME_ATOMS;
    return v.n <= NAME_WORD_MAX ? NAME_QUOTED : NAME_ENCODED;
}

static void put_quoted(struct line *l, struct bytes_view v)
{
    char quoted[2 * NAME_WORD_MAX + 2];
    size_t n = 0;

    quoted[n++] = '"';
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] == '"' || v.p[i] == '\\')
            quoted[n++] = '\\';
        quoted[n++] = v.p[i];
    }
    quoted[n++] = '"';
    put_word(l, bytes_view(quoted, n));
}

static void put_name(struct line *l, struct bytes_view v)
{
    switch (name_form(v)) {
    case NAME_ATOMS:
        put_folded(l, v);
        return;
    case NAME_QUOTED:
        put_quoted(l, v);
        return;
    case NAME_ENCODED:
        put_encoded(l, v);
        return;
    }
    unreachable("form of a display name");
}

static void put_address(struct line *l, const struct mail_address *a, bool last)
{
    char word[300];                     /* an address has at most 254 octets */
    size_t n = strlen(a->email), at = 0;
    bool named = a->name && a->name[0];
    bool bracketed = named || a->email[0] == '"';       /* some readers take a quoted local part for a name */

    if (n > sizeof(word) - 3)
        unreachable("address longer than its limit");
    if (named)
        put_name(l, bytes_view_str(a->name));
    if (bracketed)
        word[at++] = '<';
    memcpy(word + at, a->email, n);
    at += n;
    if (bracketed)
        word[at++] = '>';
    if (!last)
        word[at++] = ',';
    put_word(l, bytes_view(word, at));
}

void mime_header_addresses(struct bytes_buf *out, const char *name, const struct mail_address *v, size_t n)
{
    struct line l;

    if (!n)
        return;
    line_begin(&l, out, name);
    for (size_t i = 0; i < n; i++)
        put_address(&l, &v[i], i + 1 == n);
    line_end(&l);
}

/* "<uri>", broken inside only where it is longer than any line may be: RFC 2369 §2 has readers ignore spaces there. */
static void put_uri(struct line *l, const char *scheme, const char *uri, const char *end)
{
    struct bytes_view rest = bytes_view_str(uri);
    size_t n = strlen(scheme) + rest.n + 1 + strlen(end);

    if (l->begun && l->col + 1 + n > LINE_SOFT)
        line_fold(l);
    bytes_buf_add_str(l->out, " <");
    bytes_buf_add_str(l->out, scheme);
    for (; rest.n > WORD_MAX; rest = bytes_view(rest.p + WORD_MAX, rest.n - WORD_MAX)) {
        bytes_buf_add(l->out, rest.p, WORD_MAX);
        bytes_buf_add(l->out, "\r\n ", 3);
    }
    bytes_buf_add(l->out, rest.p, rest.n);
    bytes_buf_add_str(l->out, end);
    l->col += 2 + n;
    l->begun = true;
}

void mime_header_unsubscribe(struct bytes_buf *out, const char *url, const char *mailto)
{
    bool has_scheme = mailto && bytes_starts_nocase(bytes_view_str(mailto), "mailto:");
    struct line l;

    line_begin(&l, out, "List-Unsubscribe");
    if (url)
        put_uri(&l, "", url, mailto ? ">," : ">");
    if (mailto)
        put_uri(&l, has_scheme ? "" : "mailto:", mailto, ">");
    line_end(&l);
    if (url && bytes_starts_nocase(bytes_view_str(url), "https:"))
        bytes_buf_add_str(out, "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n");
}

/* Days since 1970-01-01 to a date of the Gregorian calendar, counted in years that begin on 1 March. */
static void civil_from_days(int64_t days, int64_t *year_out, unsigned *month_out, unsigned *day_out)
{
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
    unsigned doe = (unsigned)(z - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

    *day_out = doy - (153 * mp + 2) / 5 + 1;
    *month_out = mp < 10 ? mp + 3 : mp - 9;
    *year_out = (int64_t)yoe + era * 400 + (*month_out <= 2);
}

void mime_header_date(struct bytes_buf *out, int64_t unix_seconds)
{
    static const char days[7][4] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int64_t n_days, s, year;
    unsigned month, day;

    if (unix_seconds < 0)
        unix_seconds = 0;
    n_days = unix_seconds / 86400;
    s = unix_seconds % 86400;
    civil_from_days(n_days, &year, &month, &day);
    bytes_buf_printf(out, "Date: %s, %u %s %lld %02d:%02d:%02d +0000\r\n", days[n_days % 7], day, months[month - 1],
                     (long long)year, (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
}
