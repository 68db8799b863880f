#include "api/hint.h"

#include "api/json_out.h"

#include <stdio.h>
#include <string.h>

/* Chooses the hint of a case, fills host and port in, and says when each is chosen. */

static const char *const stage_places[] = {
    [STAGE_REQUEST] = "while the request was read",
    [STAGE_QUEUE] = "while the mail waited for a session",
    [STAGE_DNS] = "while the name was looked up",
    [STAGE_CONNECT] = "while connecting",
    [STAGE_PROXY] = "at the proxy",
    [STAGE_TLS] = "in the TLS handshake",
    [STAGE_BANNER] = "at the greeting",
    [STAGE_EHLO] = "at EHLO",
    [STAGE_STARTTLS] = "at STARTTLS",
    [STAGE_AUTH] = "at the login",
    [STAGE_MAIL] = "at MAIL FROM",
    [STAGE_RCPT] = "at RCPT TO",
    [STAGE_DATA] = "at DATA",
    [STAGE_BODY] = "at the mail's content",
};
_Static_assert(ARRAY_LEN(stage_places) == STAGE_COUNT, "one place for each stage");

/* In the order of the bits of enum hint_fact. */
static const char *const fact_words[] = {
    "the relay is this machine",
    "the host has no dot",
    "the host is an IP address",
    "a known provider",
    "a provider with another port",
    "a provider without port 465",
    "tls: starttls",
    "tls: implicit",
    "tls: none",
    "user is set",
    "user is not set",
    "a 4xx reply",
    "not by a reply",
    "several recipients",
    "delivery unknown",
};
_Static_assert(ARRAY_LEN(fact_words) == FACT_COUNT, "words for each fact");

const char *hint_stage_place(enum stage s)
{
    return stage_places[s];
}

/* ---- choosing ---- */

static bool is_address(const char *host)
{
    return strchr(host, ':') || (host[0] && !host[strspn(host, "0123456789.")]);
}

unsigned hint_facts_of_host(const char *host, enum provider p)
{
    bool address = is_address(host);
    bool loopback = strcasecmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
                    (address && strncmp(host, "127.", 4) == 0);

    return (loopback ? FACT_LOOPBACK : 0u) | (address ? FACT_ADDRESS : 0u) |
           (!address && !loopback && !strchr(host, '.') ? FACT_SHORT_HOST : 0u) |
           (p != PROVIDER_NONE ? FACT_PROVIDER : 0u) | (provider_other_port(p) ? FACT_OTHER_PORT : 0u) |
           (provider_has_465(p) ? 0u : FACT_NO_465);
}

/* `words`: alternatives with a bar between. */
static bool says(const struct smtp_outcome *o, const char *words)
{
    char word[48];

    while (*words) {
        size_t n = strcspn(words, "|");
        if (n < sizeof(word)) {
            memcpy(word, words, n);
            word[n] = '\0';
            if (strcasestr(o->text, word) || strcasestr(o->reason, word))
                return true;
        }
        words += n + (words[n] == '|');
    }
    return false;
}

static bool matches(const struct hint_row *row, const struct hint_case *c)
{
    const struct smtp_outcome *o = c->outcome;

    return row->code == o->code && (!row->stage || row->stage == o->stage) && (!row->port || row->port == c->port) &&
           (!row->provider || row->provider == c->provider) && (!row->reply || row->reply == o->reply_code) &&
           (!row->enhanced || strcmp(row->enhanced, o->enhanced) == 0) && (row->facts & c->facts) == row->facts &&
           (!row->says || says(o, row->says));
}

const char *hint_choose(const struct hint_case *c)
{
    for (size_t i = 0; c->host && i < hint_n_rows; i++)
        if (matches(&hint_rows[i], c))
            return hint_rows[i].hint;
    return NULL;
}

/* ---- filling in ---- */

static void add_host(const struct hint_case *c, struct bytes_buf *out)
{
    bool bracketed = c->host && strchr(c->host, ':');           /* RFC 3986 §3.2.2: as it stands in a url */

    bytes_buf_printf(out, "%s%s%s", bracketed ? "[" : "", c->host ? c->host : "the relay", bracketed ? "]" : "");
}

static void add_value(struct bytes_view name, const struct hint_case *c, struct bytes_buf *out)
{
    if (bytes_equal(name, bytes_view_str("host")))
        add_host(c, out);
    else if (bytes_equal(name, bytes_view_str("port")))
        bytes_buf_printf(out, "%u", c->port);
    else if (bytes_equal(name, bytes_view_str("other_port")))
        bytes_buf_printf(out, "%u", provider_other_port(c->provider));
    else if (bytes_equal(name, bytes_view_str("provider")))
        bytes_buf_add_str(out, provider_name(c->provider));
    else if (bytes_equal(name, bytes_view_str("stage")))
        bytes_buf_add_str(out, stage_places[c->outcome->stage]);
    else if (bytes_equal(name, bytes_view_str("message_id")))
        bytes_buf_add_str(out, c->message_id ? c->message_id : "the Message-ID");
    else
        unreachable("a hint with an unknown name in braces");
}

void hint_fill(const char *hint, const struct hint_case *c, struct bytes_buf *out)
{
    while (*hint) {
        size_t n = strcspn(hint, "{");
        bytes_buf_add(out, hint, n);
        hint += n;
        if (!*hint)
            return;
        n = strcspn(hint, "}");
        add_value(bytes_view(hint + 1, n - 1), c, out);
        hint += n + 1;
    }
}

/* ---- for the catalogue ---- */

static void add_condition(struct bytes_buf *out, size_t *n, const char *before, const char *what, const char *behind)
{
    bytes_buf_printf(out, "%s%s%s%s", (*n)++ ? ", " : "", before, what, behind);
}

void hint_write_when(const struct hint_row *row, struct bytes_buf *out)
{
    char number[16];
    size_t n = 0;

    if (row->provider)
        add_condition(out, &n, "", provider_name(row->provider), "");
    if (row->port) {
        snprintf(number, sizeof(number), "%u", row->port);
        add_condition(out, &n, "port ", number, "");
    }
    if (row->stage)
        add_condition(out, &n, "stage ", stage_name(row->stage), "");
    for (unsigned i = 0; i < FACT_COUNT; i++)
        if (row->facts & 1u << i)
            add_condition(out, &n, "", fact_words[i], "");
    if (row->reply) {
        snprintf(number, sizeof(number), "%d", row->reply);
        add_condition(out, &n, "reply ", number, "");
    }
    if (row->enhanced)
        add_condition(out, &n, "reply ", row->enhanced, "");
    if (row->says)
        add_condition(out, &n, "", "the reply or the reason says \"", "");
    for (const char *p = row->says; p && *p; p++)
        bytes_buf_add_str(out, *p == '|' ? "\" or \"" : (char[2]){*p, '\0'});
    if (row->says)
        bytes_buf_add_char(out, '"');
}

void hint_write_variants(enum outcome_code code, struct bytes_buf *out)
{
    struct bytes_buf when;
    size_t n = 0;

    bytes_buf_init(&when, 0);
    bytes_buf_add_char(out, '[');
    for (size_t i = 0; i < hint_n_rows; i++) {
        if (hint_rows[i].code != code)
            continue;
        hint_write_when(&hint_rows[i], &when);
        bytes_buf_add_str(out, n++ ? ",{\"when\":" : "{\"when\":");
        json_out_string(out, bytes_buf_view(&when));
        json_out_member(out, ",\"hint\":", hint_rows[i].hint);
        bytes_buf_add_char(out, '}');
        bytes_buf_deinit(&when);
    }
    bytes_buf_add_char(out, ']');
}
