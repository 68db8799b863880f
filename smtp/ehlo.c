#include "smtp/ehlo.h"

#include <string.h>

/* EHLO keywords to capabilities; what is not known is passed over, as the RFC asks. */

static struct bytes_view next_word(struct bytes_view *v)
{
    struct bytes_view word;

    while (v->n && v->p[0] == ' ') {
        v->p++;
        v->n--;
    }
    word = bytes_view(v->p, 0);
    while (v->n && v->p[0] != ' ') {
        v->p++;
        v->n--;
        word.n++;
    }
    return word;
}

static bool is_word(struct bytes_view v, const char *s)
{
    return bytes_equal_nocase(v, bytes_view_str(s));
}

/* RFC 1870: 0 or no number: no fixed limit. More digits than fit: no limit either. */
static uint64_t parse_size(struct bytes_view v)
{
    uint64_t n = 0;

    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9' || n > UINT64_MAX / 10 - 10)
            return 0;
        n = n * 10 + (uint64_t)(v.p[i] - '0');
    }
    return n;
}

static void note_mechanism(struct smtp_capabilities *c, struct bytes_view word)
{
    size_t at = strlen(c->auth_list);

    c->auth_any = true;
    c->auth_plain |= is_word(word, "PLAIN");
    c->auth_login |= is_word(word, "LOGIN");
    if (at + word.n + 2 > sizeof(c->auth_list))
        return;
    if (at)
        c->auth_list[at++] = ' ';
    for (size_t i = 0; i < word.n; i++)
        c->auth_list[at++] = word.p[i] > 32 && word.p[i] < 127 ? word.p[i] : '?';
    c->auth_list[at] = '\0';
}

static void take_line(struct smtp_capabilities *c, struct bytes_view line)
{
    struct bytes_view key = next_word(&line), word;

    if (is_word(key, "PIPELINING"))
        c->pipelining = true;
    else if (is_word(key, "CHUNKING"))
        c->chunking = true;
    else if (is_word(key, "8BITMIME"))
        c->eightbitmime = true;
    else if (is_word(key, "SMTPUTF8"))
        c->smtputf8 = true;
    else if (is_word(key, "DSN"))
        c->dsn = true;
    else if (is_word(key, "ENHANCEDSTATUSCODES"))
        c->enhanced_codes = true;
    else if (is_word(key, "REQUIRETLS"))
        c->requiretls = true;
    else if (is_word(key, "STARTTLS"))
        c->starttls = true;
    else if (is_word(key, "SIZE")) {
        c->size_offered = true;
        c->size_max = parse_size(next_word(&line));
    } else if (is_word(key, "AUTH") || bytes_starts_nocase(key, "AUTH=")) {
        /* "AUTH=LOGIN" is the form of old servers for old clients. */
        if (key.n > 5)
            note_mechanism(c, bytes_view(key.p + 5, key.n - 5));
        while ((word = next_word(&line)).n)
            note_mechanism(c, word);
    }
}

static void take_lines(struct bytes_view lines, struct smtp_capabilities *out)
{
    const char *at = lines.p, *end = at + lines.n;

    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; at < end; i++) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        if (i > 0)                      /* the first line is the server's name */
            take_line(out, bytes_view(at, (size_t)(lf - at)));
        at = lf + 1;
    }
}

/* What is offered goes by what came; the list of mechanisms is for people. */
void smtp_ehlo_parse(const struct smtp_reply *r, struct smtp_capabilities *out)
{
    struct smtp_capabilities shown;

    take_lines(r->lines, out);
    if (r->shown.p == r->lines.p)
        return;
    take_lines(r->shown, &shown);
    memcpy(out->auth_list, shown.auth_list, sizeof(out->auth_list));
}

void smtp_ehlo_switch_off(struct smtp_capabilities *c, unsigned extensions)
{
    c->pipelining &= !(extensions & SMTP_EXT_PIPELINING);
    c->chunking &= !(extensions & SMTP_EXT_CHUNKING);
    c->eightbitmime &= !(extensions & SMTP_EXT_8BITMIME);
    c->smtputf8 &= !(extensions & SMTP_EXT_SMTPUTF8);
    c->dsn &= !(extensions & SMTP_EXT_DSN);
    c->requiretls &= !(extensions & SMTP_EXT_REQUIRETLS);
    if (extensions & SMTP_EXT_SIZE) {
        c->size_offered = false;
        c->size_max = 0;
    }
}

bool smtp_ehlo_read_extensions(const char *list, unsigned *out, struct bytes_view *bad_out)
{
    static const struct {
        const char *keyword;
        enum smtp_extension bit;
    } known[] = {
        {"PIPELINING", SMTP_EXT_PIPELINING}, {"CHUNKING", SMTP_EXT_CHUNKING}, {"8BITMIME", SMTP_EXT_8BITMIME},
        {"SMTPUTF8", SMTP_EXT_SMTPUTF8},     {"DSN", SMTP_EXT_DSN},           {"SIZE", SMTP_EXT_SIZE},
        {"REQUIRETLS", SMTP_EXT_REQUIRETLS},
    };

    *out = 0;
    for (list += strspn(list, ", "); *list; list += strspn(list, ", ")) {
        size_t i = 0;
        *bad_out = bytes_view(list, strcspn(list, ", "));
        while (i < ARRAY_LEN(known) && !is_word(*bad_out, known[i].keyword))
            i++;
        if (i == ARRAY_LEN(known))
            return false;
        *out |= known[i].bit;
        list += bad_out->n;
    }
    return true;
}
