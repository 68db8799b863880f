#include "smtp/secrets.h"

#include "smtp/crypto.h"

#include <stdio.h>
#include <stdlib.h>

/* Which texts repeat a relay's password: a set of all its windows of eight octets, looked up as a text passes by. */

#define FORM_MAX 16384                  /* of a form's text; credentials are bounded long before */
#define SHORT_MAX 24                    /* forms of a short password */

/* A form of fewer than SECRETS_MIN octets that count, looked for as it is. */
struct short_form {
    char p[64];
    size_t n;
    bool anywhere;                      /* no word of any language: it need not stand by itself */
};

struct secrets {
    uint64_t *windows;                  /* a hash set with open addressing; 0: an empty place */
    size_t n_windows, cap;              /* cap: a power of two, at least twice n_windows */
    struct short_form shorts[SHORT_MAX];
    size_t n_shorts;
};

enum mark { MARK_NONE, MARK_WORD, MARK_ALONE };

/* ---- octets ---- */

/* Case and the alphabet of base64 do not count; 0: passed over. */
static unsigned char fold(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return (unsigned char)(c | 0x20);
    if (c == '-')
        return '+';
    if (c == '_')
        return '/';
    return c <= ' ' || c == 0x7F ? 0 : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t code_length(const char *p, size_t n)
{
    bool has = n > 3 && is_digit(p[0]) && is_digit(p[1]) && is_digit(p[2]) && (p[3] == ' ' || p[3] == '-');

    return has ? 4 : 0;
}

/* RFC 5321 §4.2 and RFC 3463 §2: what stands in front of a line's text and would part the halves of an echo. */
static size_t prefix_length(const char *p, size_t n, bool has_codes)
{
    size_t at = has_codes ? code_length(p, n) : 0, i = at;

    if (n - i < 6 || !(p[i] == '2' || p[i] == '4' || p[i] == '5') || p[i + 1] != '.')
        return at;
    for (i += 2; i < n && is_digit(p[i]); i++)
        ;
    if (i < n && p[i] == '.')
        for (i++; i < n && is_digit(p[i]); i++)
            ;
    return i < n && p[i] == ' ' ? i : at;
}

static int hex_pair(const char *p, size_t n)
{
    int high = n >= 2 ? bytes_hex_value(p[0]) : -1, low = high >= 0 ? bytes_hex_value(p[1]) : -1;

    return low >= 0 ? high * 16 + low : -1;
}

/* "&#65;", "&#x41;", "&amp;": of p[0, n), which begins with '&'. -1: none of them. */
static int entity(const char *p, size_t n, size_t *used_out)
{
    static const struct {
        const char *name;
        char c;
    } names[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
    int value = 0, base = n > 2 && (p[2] == 'x' || p[2] == 'X') ? 16 : 10, digit;
    size_t i = base == 16 ? 3 : 2, first = i;

    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        *used_out = strlen(names[k].name);
        if (n >= *used_out && memcmp(p, names[k].name, *used_out) == 0)
            return names[k].c;
    }
    if (n < 4 || p[1] != '#')
        return -1;
    for (; i < n && i < first + 4 && (digit = bytes_hex_value(p[i])) >= 0 && digit < base; i++)
        value = value * base + digit;
    *used_out = i + 1;
    return i > first && i < n && p[i] == ';' && value < 256 ? value : -1;
}

/* The octet that p[0, n) begins with when it is written in another way; -1: it is not. */
static int escaped(const char *p, size_t n, size_t *used_out)
{
    *used_out = 3;
    switch (p[0]) {
    case '=':
        if (n > 1 && p[1] == '\n') {    /* RFC 2045 §6.7: a soft line break */
            *used_out = 1;
            return ' ';
        }
        return hex_pair(p + 1, n - 1);
    case '%':
    case '+':
        return hex_pair(p + 1, n - 1);
    case '\\':
        *used_out = 4;
        return n > 1 && p[1] == 'x' ? hex_pair(p + 2, n - 2) : -1;
    case '&':
        return entity(p, n, used_out);
    default:                            /* not an enum */
        return -1;
    }
}

static bool may_be_escape(char c)
{
    return c == '%' || c == '=' || c == '+' || c == '\\' || c == '&';
}

/* ---- the set of windows ---- */

static size_t place_of(const struct secrets *s, uint64_t window)
{
    return (size_t)((window * 0x9E3779B97F4A7C15u) >> 32) & (s->cap - 1);
}

static bool has_window(const struct secrets *s, uint64_t window)
{
    for (size_t i = place_of(s, window);; i = (i + 1) & (s->cap - 1)) {
        if (s->windows[i] == window)
            return true;
        if (!s->windows[i])
            return false;
    }
}

static bool make_room(struct secrets *s)
{
    struct secrets old = *s;

    if (s->cap && s->n_windows * 2 < s->cap)
        return true;
    s->cap = s->cap ? s->cap * 2 : 256;
    s->windows = calloc(s->cap, sizeof(*s->windows));
    if (!s->windows) {
        *s = old;
        return false;
    }
    for (size_t i = 0; i < old.cap; i++) {
        size_t at = old.windows[i] ? place_of(s, old.windows[i]) : 0;
        while (old.windows[i] && s->windows[at])
            at = (at + 1) & (s->cap - 1);
        if (old.windows[i])
            s->windows[at] = old.windows[i];
    }
    if (old.windows)
        crypto_cleanse(old.windows, old.cap * sizeof(*old.windows));
    free(old.windows);
    return true;
}

static bool add_window(struct secrets *s, uint64_t window)
{
    size_t at;

    if (!make_room(s))
        return false;
    if (has_window(s, window))
        return true;
    for (at = place_of(s, window); s->windows[at]; at = (at + 1) & (s->cap - 1))
        ;
    s->windows[at] = window;
    s->n_windows++;
    return true;
}

/* ---- walking through a text ---- */

struct walk {
    const struct secrets *s;
    unsigned char *marks;               /* one for each octet of the text; NULL: only the answer is wanted */
    uint64_t window;                    /* the last eight octets that count, folded; 0 octets: fewer so far */
    size_t at[SECRETS_MIN];             /* where in the text these are */
    size_t n;
    bool found;
};

static void walk_on(struct walk *w, unsigned char c, size_t at)
{
    w->window = w->window << 8 | c;
    w->at[w->n++ % SECRETS_MIN] = at;
    if (w->n < SECRETS_MIN || !has_window(w->s, w->window))
        return;
    w->found = true;
    for (size_t i = 0; w->marks && i < SECRETS_MIN; i++)
        w->marks[w->at[i]] = MARK_WORD;
}

/* True: there may be escapes in it. */
static bool walk_plain(struct walk *w, struct bytes_view text, bool has_codes)
{
    bool escapes = false, line_begins = true;

    for (size_t i = 0; i < text.n; i++) {
        unsigned char c;
        if (line_begins)
            i += prefix_length(text.p + i, text.n - i, has_codes);
        line_begins = i < text.n && text.p[i] == '\n';
        c = i < text.n ? fold((unsigned char)text.p[i]) : 0;
        if (!c)
            continue;
        escapes |= may_be_escape(text.p[i]);
        walk_on(w, c, i);
        if (w->found && !w->marks)
            return false;
    }
    return escapes;
}

static void walk_unescaped(struct walk *w, struct bytes_view text, bool has_codes)
{
    bool line_begins = true;

    for (size_t i = 0, used; i < text.n && (w->marks || !w->found); i += used) {
        int octet;
        unsigned char c;
        used = line_begins ? prefix_length(text.p + i, text.n - i, has_codes) : 0;
        line_begins = false;
        if (used)
            continue;
        octet = escaped(text.p + i, text.n - i, &used);
        if (octet < 0) {
            octet = (unsigned char)text.p[i];
            used = 1;
            line_begins = octet == '\n';
        }
        c = fold((unsigned char)octet);
        if (c)
            walk_on(w, c, i);
    }
}

/* ---- short forms ---- */

static bool begins_alone(struct bytes_view text, size_t at)
{
    return !at || (unsigned char)text.p[at - 1] <= ' ' || strchr("\"'`<([{=:;,/&", text.p[at - 1]);
}

static bool ends_alone(struct bytes_view text, size_t at)
{
    if (at < text.n && (text.p[at] == '.' || text.p[at] == '!' || text.p[at] == '?'))
        at++;                           /* the end of a sentence, or a name such as "mail.example.org" */
    return at == text.n || (unsigned char)text.p[at] <= ' ' || strchr("\"'`>)]}=:;,/&", text.p[at]);
}

static bool find_short(const struct short_form *f, struct bytes_view text, unsigned char *marks)
{
    const char *hit, *at = text.p, *end = text.p + text.n;
    bool found = false;

    for (; (hit = memmem(at, (size_t)(end - at), f->p, f->n)); at = hit + 1) {
        size_t from = (size_t)(hit - text.p);
        if (!f->anywhere && !(begins_alone(text, from) && ends_alone(text, from + f->n)))
            continue;
        found = true;
        if (!marks)
            return true;
        memset(marks + from, f->anywhere ? MARK_WORD : MARK_ALONE, f->n);
    }
    return found;
}

static bool find(const struct secrets *s, struct bytes_view text, bool has_codes, unsigned char *marks)
{
    struct walk plain = {.s = s, .marks = marks}, unescaped = plain;
    bool found = false;

    if (s->n_windows && walk_plain(&plain, text, has_codes))
        walk_unescaped(&unescaped, text, has_codes);
    for (size_t i = 0; i < s->n_shorts && (marks || !found); i++)
        found |= find_short(&s->shorts[i], text, marks);
    return found || plain.found || unescaped.found;
}

bool secrets_are_in(const struct secrets *s, struct bytes_view text, bool has_codes)
{
    return s && text.n && find(s, text, has_codes, NULL);
}

/* ---- hiding ---- */

static bool is_blank(char c)
{
    return (unsigned char)c <= ' ';
}

/* Three stars, or as many as there is room for. */
static size_t put_stars(char *to, size_t room)
{
    size_t n = room < 3 ? room : 3;

    memset(to, '*', n);
    return n;
}

static size_t hide_marked(char *text, size_t n, bool has_codes, const unsigned char *marks)
{
    size_t to = 0;

    for (size_t i = 0, end; i < n; i = end) {
        bool whole = false;
        if (has_codes && (!i || text[i - 1] == '\n') && (end = i + code_length(text + i, n - i)) > i) {
            memmove(text + to, text + i, end - i);
            to += end - i;
            continue;
        }
        for (end = i; end < n && !is_blank(text[end]); end++)
            whole |= marks[end] == MARK_WORD;
        if (end == i) {
            text[to++] = text[end++];
        } else if (whole) {
            to += put_stars(text + to, end - i);
        } else if (marks[i] == MARK_ALONE) {
            for (end = i; end < n && marks[end] == MARK_ALONE; end++)
                ;
            to += put_stars(text + to, end - i);
        } else {
            for (end = i; end < n && !is_blank(text[end]) && marks[end] == MARK_NONE; end++)
                ;
            memmove(text + to, text + i, end - i);
            to += end - i;
        }
    }
    return to;
}

size_t secrets_mask(const struct secrets *s, char *text, size_t n, bool has_codes)
{
    unsigned char *marks;
    size_t left;

    if (!secrets_are_in(s, bytes_view(text, n), has_codes))
        return n;
    marks = calloc(n, 1);
    if (!marks)
        return put_stars(text, n);
    find(s, bytes_view(text, n), has_codes, marks);
    left = hide_marked(text, n, has_codes, marks);
    crypto_cleanse(text + left, n - left);
    free(marks);
    return left;
}

void secrets_mask_str(const struct secrets *s, char *text)
{
    text[secrets_mask(s, text, strlen(text), false)] = '\0';
}

/* ---- making the forms ---- */

static void add_short(struct secrets *s, struct bytes_view v, bool anywhere)
{
    struct short_form *f = &s->shorts[s->n_shorts];

    if (!v.n || v.n > sizeof(f->p) || s->n_shorts == SHORT_MAX)
        return;
    memcpy(f->p, v.p, v.n);
    f->n = v.n;
    f->anywhere = anywhere;
    s->n_shorts++;
}

/* All windows of a form. What is shorter than one is looked for as it is. */
static bool add_form(struct secrets *s, struct bytes_view v)
{
    uint64_t window = 0;
    size_t n = 0;

    for (size_t i = 0; i < v.n; i++) {
        unsigned char c = fold((unsigned char)v.p[i]);
        if (!c)
            continue;
        window = window << 8 | c;
        if (++n >= SECRETS_MIN && !add_window(s, window))
            return false;
    }
    if (n < SECRETS_MIN)
        add_short(s, v, false);
    return true;
}

static void wipe(struct bytes_buf *b)
{
    if (b->p)
        crypto_cleanse(b->p, b->cap);
    bytes_buf_deinit(b);
}

static void begin_form(struct bytes_buf *b, size_t n)
{
    bytes_buf_init(b, FORM_MAX);
    bytes_buf_reserve(b, n);            /* growing would leave a copy behind */
}

static bool add_base64(struct secrets *s, struct bytes_view in)
{
    struct bytes_buf b;
    bool good;

    begin_form(&b, in.n * 2 + 8);
    crypto_base64(in, &b);
    good = !b.failed && add_form(s, bytes_buf_view(&b));
    wipe(&b);
    return good;
}

/* Behind `skip` octets of anything: only the characters that the password alone decides. */
static bool add_aligned(struct secrets *s, const char *password, size_t skip)
{
    size_t n = strlen(password), from = (skip * 8 + 5) / 6, to = (skip + n) * 8 / 6;
    struct bytes_buf raw, b;
    bool good = true;

    begin_form(&raw, n + 4);
    begin_form(&b, n * 2 + 12);
    bytes_buf_add(&raw, "\0\0", skip);
    bytes_buf_add_str(&raw, password);
    crypto_base64(bytes_buf_view(&raw), &b);
    if (raw.failed || b.failed)
        good = false;
    else if (to - from >= SECRETS_MIN)
        good = add_form(s, bytes_view(b.p + from, to - from));
    else if (to - from >= 6)
        add_short(s, bytes_view(b.p + from, to - from), true);
    wipe(&raw);
    wipe(&b);
    return good;
}

/* As AUTH PLAIN carries it (RFC 4616), with and without an authorization identity. */
static bool add_plain_response(struct secrets *s, const char *user, const char *password, bool has_authzid)
{
    struct bytes_buf raw;
    bool good;

    begin_form(&raw, strlen(user) * 2 + strlen(password) + 4);
    if (has_authzid)
        bytes_buf_add_str(&raw, user);
    bytes_buf_add_char(&raw, '\0');
    bytes_buf_add_str(&raw, user);
    bytes_buf_add_char(&raw, '\0');
    bytes_buf_add_str(&raw, password);
    good = !raw.failed && add_base64(s, bytes_buf_view(&raw));
    wipe(&raw);
    return good;
}

static bool is_alphanumeric(char c)
{
    return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Each octet, or each that is no letter or digit, as two hexadecimal digits behind `before`. */
static bool add_encoded(struct secrets *s, const char *password, const char *before, bool all)
{
    struct bytes_buf b;
    bool good;

    begin_form(&b, strlen(password) * 5 + 8);
    for (const char *c = password; *c; c++)
        if (all || !is_alphanumeric(*c))
            bytes_buf_printf(&b, "%s%02X", before, (unsigned char)*c);
        else
            bytes_buf_add_char(&b, *c);
    good = !b.failed && add_form(s, bytes_buf_view(&b));
    wipe(&b);
    return good;
}

/* The escapes of a long password are undone as a text passes by; those of a short one must be looked for. */
static bool add_escapes(struct secrets *s, const char *password)
{
    static const char *const before[] = {"%", "=", "+", "\\x"};
    size_t special = 0;

    for (const char *c = password; *c; c++)
        special += !is_alphanumeric(*c);
    for (size_t i = 0; i < ARRAY_LEN(before); i++)
        if (!add_encoded(s, password, before[i], true) || (special && !add_encoded(s, password, before[i], false)))
            return false;
    return true;
}

/* One that looks escaped itself, such as "50%41off", would not be found once that is undone. */
static bool add_unescaped(struct secrets *s, const char *password)
{
    struct bytes_buf b;
    size_t n = strlen(password);
    bool good;

    begin_form(&b, n + 1);
    for (size_t i = 0, used; i < n; i += used) {
        int octet = escaped(password + i, n - i, &used);
        if (octet < 0)
            used = 1;
        bytes_buf_add_char(&b, octet < 0 ? password[i] : (char)octet);
    }
    good = !b.failed && (b.n == n || b.n < SECRETS_MIN || add_form(s, bytes_buf_view(&b)));
    wipe(&b);
    return good;
}

static bool add_all(struct secrets *s, const char *user, const char *password)
{
    struct bytes_view plain = bytes_view_str(password);
    bool is_long;

    if (!add_form(s, plain))
        return false;
    is_long = !s->n_shorts;
    return add_base64(s, plain) && add_aligned(s, password, 0) && add_aligned(s, password, 1) &&
           add_aligned(s, password, 2) && add_plain_response(s, user, password, false) &&
           add_plain_response(s, user, password, true) && add_encoded(s, password, "", true) &&
           (is_long ? add_unescaped(s, password) : add_escapes(s, password));
}

struct secrets *secrets_new(const char *user, const char *password)
{
    struct secrets *s = calloc(1, sizeof(*s));

    if (s && password && password[0] && !add_all(s, user ? user : "", password)) {
        secrets_free(s);
        return NULL;
    }
    return s;
}

void secrets_free(struct secrets *s)
{
    if (!s)
        return;
    if (s->windows)
        crypto_cleanse(s->windows, s->cap * sizeof(*s->windows));
    free(s->windows);
    crypto_cleanse(s, sizeof(*s));
    free(s);
}
