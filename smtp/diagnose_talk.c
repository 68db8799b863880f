#include "smtp/diagnose_int.h"

#include "smtp/classify.h"
#include "smtp/ehlo.h"
#include "smtp/secrets.h"

#include <stdarg.h>
#include <stdio.h>

/* The conversation up to the EHLO under TLS: banner, EHLO, STARTTLS, handshake. */

#define GREETING_SLOW_MS 3000
#define SILENCE_MS 2000                 /* so long a port may be silent before it is asked whether it speaks TLS */
#define PROBE_MS 3000
#define QUIT_MS 2000

/* ---- asking ---- */

void diagnose_io_outcome(const struct diagnose_conn *c, enum diagnose_io io, enum stage stage, const char *command,
                         uint32_t ms, struct smtp_outcome *out)
{
    char reason[200];

    switch (io) {
    case DIAGNOSE_IO_TIMEOUT:
        snprintf(reason, sizeof(reason), "no complete reply to %s within %u ms", command, ms);
        outcome_set_local(out, diagnose_is_over(c->limits) ? OUTCOME_DEADLINE_EXCEEDED : OUTCOME_TIMEOUT, stage,
                          DELIVERY_NOT_SENT, reason);
        break;
    case DIAGNOSE_IO_CANCELED:
        outcome_set_local(out, OUTCOME_DEADLINE_EXCEEDED, stage, DELIVERY_NOT_SENT, c->why);
        break;
    case DIAGNOSE_IO_OK:
    case DIAGNOSE_IO_CLOSED:
        outcome_set_local(out, OUTCOME_CONNECTION_CLOSED, stage, DELIVERY_NOT_SENT, c->why);
        break;
    case DIAGNOSE_IO_BROKEN:
        outcome_set_local(out, OUTCOME_PROTOCOL_ERROR, stage, DELIVERY_NOT_SENT, c->why);
        break;
    }
    out->ms = ms;
}

enum diagnose_io diagnose_ask(struct diagnose_conn *c, uint32_t ms, struct smtp_reply *out, const char *fmt, ...)
{
    char line[1100];
    va_list args;
    enum diagnose_io io;

    va_start(args, fmt);
    vsnprintf(line, sizeof(line) - 2, fmt, args);
    va_end(args);
    strncat(line, "\r\n", 3);
    io = diagnose_write(c, bytes_view_str(line));
    /* A server that says why and closes lets the write fail before its words are read. */
    if (io != DIAGNOSE_IO_OK && io != DIAGNOSE_IO_CLOSED)
        return io;
    return diagnose_reply(c, ms, false, out);
}

static void say_not_smtp(struct diagnose_state *s, const char *reason)
{
    size_t n = s->conn.n;
    char first[120];

    while (n && (unsigned char)s->conn.in[n - 1] <= ' ')
        n--;
    diagnose_clean(first, sizeof(first), bytes_view(s->conn.in, n), false);
    secrets_mask_str(s->limits.secrets, first);
    diagnose_blame(s, "%s port %u speaks no SMTP: its first octets are \"%s\" (%s).", s->d->host, s->d->port, first,
                   reason);
}

/* The first reply is awaited for nothing that was said. */
static void say_loss(struct diagnose_state *s, enum diagnose_io io, enum stage stage, const char *command,
                     const char *reason, uint32_t ms)
{
    if (stage == STAGE_BANNER && io == DIAGNOSE_IO_TIMEOUT)
        diagnose_blame(s, "%s port %u took the connection and said nothing within %u ms.", s->d->host, s->d->port, ms);
    else if (stage == STAGE_BANNER && io == DIAGNOSE_IO_CLOSED)
        diagnose_blame(s, "%s port %u took the connection and closed it after %u ms, without a greeting (%s).",
                       s->d->host, s->d->port, ms, reason);
    else if (stage == STAGE_BANNER && io == DIAGNOSE_IO_BROKEN && !s->conn.tls)
        say_not_smtp(s, reason);
    else
        diagnose_blame(s, "%s port %u at %s, after %u ms: %s.", s->d->host, s->d->port, command, ms, reason);
}

static void lose(struct diagnose_state *s, enum diagnose_io io, enum stage stage, const char *command)
{
    struct smtp_outcome o;
    uint32_t ms = diagnose_ms(s) - s->step->began_ms;

    diagnose_io_outcome(&s->conn, io, stage, command, ms, &o);
    diagnose_fail(s, &o);
    say_loss(s, io, stage, stage == STAGE_BANNER ? "the greeting" : command, o.reason, ms);
    diagnose_conn_close(&s->conn);
}

static void refuse(struct diagnose_state *s, enum stage stage, const char *command, const struct smtp_reply *r)
{
    struct smtp_outcome o;

    classify_reply(stage, command, r, &o);
    o.ms = diagnose_ms(s) - s->step->began_ms;
    diagnose_fail(s, &o);
    diagnose_blame(s, "%s port %u answered %s with %d%s%s %s.", s->d->host, s->d->port,
                 stage == STAGE_BANNER ? "the connection" : command, r->code,
                 r->enhanced[0] ? " " : "", r->enhanced, r->text);
}

/* ---- the first octets ---- */

static bool has_stars(struct bytes_view v)
{
    return memmem(v.p, v.n, "********", 8) != NULL;
}

/* "XXXXXXXA", "XXXXXXXXXXXX": the keyword of an extension that a firewall's SMTP inspection overwrote in place. */
static bool is_masked(struct bytes_view line)
{
    size_t n = 0;

    while (n < line.n && line.p[n] == 'X')
        n++;
    return n >= 4 && (n == line.n || (n + 1 == line.n && line.p[n] >= 'A' && line.p[n] <= 'Z') || line.p[n] == ' ');
}

bool diagnose_is_rewritten(const struct smtp_reply *r)
{
    const char *at = r->lines.p, *end = at + r->lines.n;

    if (has_stars(r->lines))
        return true;
    while (at < end) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        size_t n = lf ? (size_t)(lf - at) : (size_t)(end - at);
        if (is_masked(bytes_view(at, n)))
            return true;
        at += n + 1;
    }
    return false;
}

static void wrong_mode_tls(struct diagnose_state *s, uint32_t ms)
{
    struct smtp_outcome o;

    outcome_set_local(&o, OUTCOME_PLAINTEXT_ON_TLS_PORT, STAGE_BANNER, DELIVERY_NOT_SENT,
                      "the port answers a ClientHello with TLS");
    o.ms = ms;
    diagnose_fail(s, &o);
    diagnose_find(s, DIAGNOSE_FINDING_WRONG_MODE_TLS_PORT, true,
                  "%s port %u speaks TLS from the first byte, so tls must be implicit there, not %s.", s->d->host,
                  s->d->port, diagnose_mode_name(s->d->tls_mode));
}

/* A silent port is asked on a connection of its own, with a ClientHello and nothing else. */
static bool ask_for_tls(struct diagnose_state *s)
{
    struct diagnose_dialed dialed;
    struct diagnose_conn c;
    char hello[2048];
    size_t n = tls_probe_hello(hello, sizeof(hello), s->d->host);
    uint32_t limit = s->p->relay->timeouts.tls, ms = limit && limit < PROBE_MS ? limit : PROBE_MS;
    bool is_tls = false;

    diagnose_dial(&s->peer, 1, ms, &s->limits, &dialed);
    if (dialed.fd < 0)
        return false;
    diagnose_conn_init(&c, dialed.fd, &s->limits, NULL);
    if (diagnose_write(&c, bytes_view(hello, n)) == DIAGNOSE_IO_OK && diagnose_peek(&c, ms) == DIAGNOSE_IO_OK)
        is_tls = tls_probe_is_tls(bytes_view(c.in, c.n)) == 1;
    diagnose_conn_close(&c);
    return is_tls;
}

/* A port that says nothing may be one that greets late on purpose, and bans who speaks before (postscreen). So it is
 * asked only when nobody in this process knows better. */
static bool speaks_tls(struct diagnose_state *s)
{
    struct relay_memory *m = s->p->memory;
    bool is_tls;

    if (!m)
        return ask_for_tls(s);
    if (!relay_memory_begin_probe(m, clock_us() / 1000))
        return relay_memory_get_port(m, clock_us() / 1000) == RELAY_PORT_IS_TLS;
    is_tls = ask_for_tls(s);
    relay_memory_on_probed(m, is_tls, clock_us() / 1000);
    return is_tls;
}

static bool banner_began_otherwise(struct diagnose_state *s)
{
    struct bytes_view first = bytes_view(s->conn.in + s->conn.off, s->conn.n - s->conn.off);

    return !s->conn.tls && tls_probe_is_tls(first) == 1;
}

/* A greeting that comes too late for a send is waited for here, to say how late it is. */
static enum diagnose_io await_first(struct diagnose_state *s, bool *is_tls_out)
{
    uint32_t limit = s->p->relay->timeouts.banner ? s->p->relay->timeouts.banner : 15000;
    uint32_t quiet = limit < SILENCE_MS ? limit : SILENCE_MS;
    enum diagnose_io io = diagnose_peek(&s->conn, quiet);

    *is_tls_out = false;
    if (io == DIAGNOSE_IO_TIMEOUT && !s->conn.tls && speaks_tls(s))
        *is_tls_out = true;
    else if (io == DIAGNOSE_IO_TIMEOUT)
        io = diagnose_peek(&s->conn, limit * 3 - quiet);
    if (io == DIAGNOSE_IO_OK)
        *is_tls_out = banner_began_otherwise(s);
    return io;
}

static void judge_delay(struct diagnose_state *s)
{
    uint32_t limit = s->p->relay->timeouts.banner ? s->p->relay->timeouts.banner : 15000, ms = s->d->banner_ms;
    struct smtp_outcome o;

    if (ms > limit) {
        outcome_set_local(&o, OUTCOME_TIMEOUT, STAGE_BANNER, DELIVERY_NOT_SENT, "the greeting comes too late");
        o.ms = limit;
        diagnose_fail(s, &o);
        diagnose_find(s, DIAGNOSE_FINDING_GREETING_TOO_LATE, true,
                      "The greeting came after %u ms, and this relay's banner_timeout is %u ms.", ms, limit);
    } else if (ms >= GREETING_SLOW_MS) {
        diagnose_find(s, DIAGNOSE_FINDING_GREETING_DELAY, true,
                      "The greeting took %u ms: the relay delays it on purpose, or looks this machine's name up in a "
                      "DNS that does not answer.", ms);
    }
}

static bool take_banner(struct diagnose_state *s, const struct smtp_reply *r)
{
    diagnose_clean(s->d->banner, sizeof(s->d->banner), r->shown, true);
    if (s->d->banner[0] && s->d->banner[strlen(s->d->banner) - 1] == '\n')
        s->d->banner[strlen(s->d->banner) - 1] = '\0';
    if (r->code != 220) {
        refuse(s, STAGE_BANNER, "banner", r);
        if (r->code == 421)
            diagnose_find(s, DIAGNOSE_FINDING_CONNECTION_LIMIT, true,
                          "The relay takes no further connection from here now: too many are open, or it is busy.");
        return false;
    }
    diagnose_say(s, "220 %s (%u ms).", r->text, s->d->banner_ms);
    if (s->p->memory)
        relay_memory_on_greeted(s->p->memory);
    if (has_stars(r->lines))
        diagnose_find(s, DIAGNOSE_FINDING_SMTP_REWRITTEN, true,
                      "The banner is masked with asterisks: a firewall on the way (\"SMTP inspection\", \"fixup\") "
                      "rewrites the conversation.");
    judge_delay(s);
    return true;
}

bool diagnose_banner(struct diagnose_state *s)
{
    struct smtp_reply r;
    bool is_tls;
    enum diagnose_io io = await_first(s, &is_tls);

    s->d->banner_ms = diagnose_ms(s) - s->step->began_ms;
    if (is_tls) {
        wrong_mode_tls(s, s->d->banner_ms);
        diagnose_conn_close(&s->conn);
        return false;
    }
    if (io == DIAGNOSE_IO_OK)
        io = diagnose_reply(&s->conn, s->p->relay->timeouts.command, false, &r);
    if (io != DIAGNOSE_IO_OK) {
        lose(s, io, STAGE_BANNER, "the connection");
        return false;
    }
    return take_banner(s, &r);
}

/* ---- EHLO ---- */

void diagnose_take_ehlo(struct diagnose_ehlo *e, const struct smtp_reply *r)
{
    e->have = true;
    e->cut = diagnose_clean(e->reply, sizeof(e->reply), r->shown, true);
    smtp_ehlo_parse(r, &e->caps);
}

static enum diagnose_io say_hello(struct diagnose_state *s, struct smtp_reply *r)
{
    char name[256];

    diagnose_ehlo_name(&s->conn, s->p->relay->ehlo_name, name);
    return diagnose_ask(&s->conn, s->p->relay->timeouts.command, r, "EHLO %s", name);
}

/* RFC 5321 §3.2: an old server without EHLO gets HELO, where neither TLS nor a login is wanted. */
static bool say_helo(struct diagnose_state *s, struct smtp_reply *r)
{
    char name[256];
    enum diagnose_io io;

    diagnose_ehlo_name(&s->conn, s->p->relay->ehlo_name, name);
    io = diagnose_ask(&s->conn, s->p->relay->timeouts.command, r, "HELO %s", name);
    if (io != DIAGNOSE_IO_OK) {
        lose(s, io, STAGE_EHLO, "HELO");
        return false;
    }
    if (r->code / 100 != 2) {
        refuse(s, STAGE_EHLO, "HELO", r);
        return false;
    }
    diagnose_say(s, "The relay knows no EHLO and took HELO: %d %s.", r->code, r->text);
    return true;
}

static bool hello(struct diagnose_state *s, struct diagnose_ehlo *e, struct smtp_reply *r)
{
    enum diagnose_io io = say_hello(s, r);

    e->ms = diagnose_ms(s) - s->step->began_ms;
    if (io != DIAGNOSE_IO_OK) {
        lose(s, io, STAGE_EHLO, "EHLO");
        return false;
    }
    if (r->code / 100 == 5 && s->d->tls_mode == SMTP_TLS_NONE && !s->p->relay->user)
        return say_helo(s, r);
    if (r->code / 100 != 2) {
        refuse(s, STAGE_EHLO, "EHLO", r);
        return false;
    }
    diagnose_take_ehlo(e, r);
    diagnose_say(s, "%u line%s: %s (%u ms).", r->n_lines, r->n_lines == 1 ? "" : "s", r->text, e->ms);
    if (diagnose_is_rewritten(r))
        diagnose_find(s, DIAGNOSE_FINDING_SMTP_REWRITTEN, true,
                      "The EHLO reply has extensions overwritten with X: a firewall on the way (\"SMTP inspection\", "
                      "\"fixup\") rewrites the conversation.");
    return true;
}

/* Somebody who only takes the word out of the EHLO reply is found out by saying it nevertheless. */
static void try_starttls_anyway(struct diagnose_state *s)
{
    struct smtp_reply r;
    enum diagnose_io io = diagnose_ask(&s->conn, s->p->relay->timeouts.command, &r, "STARTTLS");

    if (io == DIAGNOSE_IO_OK && r.code == 220) {
        diagnose_find(s, DIAGNOSE_FINDING_STARTTLS_STRIPPED, true,
                      "STARTTLS is not offered, yet the relay takes it: somebody on the way removes it from the EHLO "
                      "reply.");
        diagnose_conn_close(&s->conn);
    } else if (io != DIAGNOSE_IO_OK) {
        diagnose_conn_close(&s->conn);
    } else if (diagnose_has(s->d, DIAGNOSE_FINDING_SMTP_REWRITTEN)) {
        diagnose_find(s, DIAGNOSE_FINDING_STARTTLS_STRIPPED, true,
                      "STARTTLS is missing where the conversation is rewritten: the firewall removes it.");
    }
}

static bool check_starttls(struct diagnose_state *s, const struct smtp_reply *r)
{
    struct smtp_outcome o;

    if (s->d->ehlo.caps.starttls)
        return true;
    outcome_set_local(&o, OUTCOME_STARTTLS_NOT_OFFERED, STAGE_EHLO, DELIVERY_NOT_SENT, NULL);
    classify_copy_reply("EHLO", r, &o);
    diagnose_fail(s, &o);
    diagnose_blame(s, "%s port %u does not offer STARTTLS.", s->d->host, s->d->port);
    try_starttls_anyway(s);
    return false;
}

bool diagnose_ehlo(struct diagnose_state *s)
{
    struct smtp_reply r;

    if (!hello(s, &s->d->ehlo, &r))
        return false;
    if (s->d->tls_mode == SMTP_TLS_STARTTLS)
        return check_starttls(s, &r);
    diagnose_capabilities(s, &s->d->ehlo);
    return true;
}

/* ---- what changed ---- */

static struct bytes_view keyword(const char *line)
{
    return bytes_view(line, strcspn(line, " =\n"));
}

static bool has_keyword(const char *reply, struct bytes_view word)
{
    const char *line = strchr(reply, '\n');

    for (; line && line[1]; line = strchr(line + 1, '\n'))
        if (bytes_equal_nocase(keyword(line + 1), word))
            return true;
    return false;
}

static void add_missing(struct bytes_buf *b, const char *sign, const char *from, const char *in)
{
    const char *line = strchr(from, '\n');

    for (; line && line[1]; line = strchr(line + 1, '\n')) {
        struct bytes_view word = keyword(line + 1);
        if (!has_keyword(in, word))
            bytes_buf_printf(b, "%s%s%.*s", b->n ? ", " : "", sign, (int)(word.n < 30 ? word.n : 30), word.p);
    }
}

static void compare(struct diagnose_state *s)
{
    const struct diagnosis *d = s->d;
    struct bytes_buf b;

    bytes_buf_init(&b, 300);
    add_missing(&b, "+", d->ehlo_tls.reply, d->ehlo.reply);
    add_missing(&b, "-", d->ehlo.reply, d->ehlo_tls.reply);
    if (b.n)
        diagnose_find(s, DIAGNOSE_FINDING_EHLO_CHANGED, false, "Under TLS the extensions are others: %s.", b.p);
    bytes_buf_deinit(&b);
    if (d->ehlo_tls.caps.auth_any && !d->ehlo.caps.auth_any)
        diagnose_find(s, DIAGNOSE_FINDING_AUTH_ONLY_AFTER_TLS, false, "AUTH is offered only after TLS, as it should "
                                                                      "be.");
    else if (d->ehlo.caps.auth_any)
        diagnose_find(s, DIAGNOSE_FINDING_AUTH_BEFORE_TLS, false,
                      "AUTH is offered in clear text too (%s); mailhatch never uses it there.",
                          d->ehlo.caps.auth_list);
}

void diagnose_capabilities(struct diagnose_state *s, const struct diagnose_ehlo *e)
{
    if (!e->have)
        return;
    if (!e->caps.smtputf8)
        diagnose_find(s, DIAGNOSE_FINDING_NO_SMTPUTF8, false,
                      "No SMTPUTF8: addresses with letters outside ASCII before the @ cannot be used.");
    if (!e->caps.pipelining)
        diagnose_find(s, DIAGNOSE_FINDING_NO_PIPELINING, false, "No PIPELINING: each command waits for its reply.");
    if (e->caps.size_max)
        diagnose_find(s, DIAGNOSE_FINDING_SIZE_LIMIT, false, "The largest mail it takes has %.1f MB.",
                      (double)e->caps.size_max / 1e6);
}

bool diagnose_ehlo_tls(struct diagnose_state *s)
{
    struct smtp_reply r;

    if (!hello(s, &s->d->ehlo_tls, &r))
        return false;
    if (s->d->ehlo.have)
        compare(s);
    diagnose_capabilities(s, &s->d->ehlo_tls);
    return true;
}

/* ---- STARTTLS and the handshake ---- */

bool diagnose_starttls(struct diagnose_state *s)
{
    struct smtp_reply r;
    struct smtp_outcome o;
    enum diagnose_io io = diagnose_ask(&s->conn, s->p->relay->timeouts.command, &r, "STARTTLS");

    if (io != DIAGNOSE_IO_OK) {
        lose(s, io, STAGE_STARTTLS, "STARTTLS");
        return false;
    }
    if (r.code / 100 == 4 || r.code / 100 == 5) {
        refuse(s, STAGE_STARTTLS, "STARTTLS", &r);
        return false;
    }
    if (r.code != 220 || s->conn.off < s->conn.n) {
        bool injected = r.code == 220;
        outcome_set_local(&o, injected ? OUTCOME_STARTTLS_INJECTION : OUTCOME_STARTTLS_REFUSED, STAGE_STARTTLS,
                          DELIVERY_NOT_SENT, injected ? "plaintext followed the reply to STARTTLS"
                                                      : "only 220 starts TLS");
        if (!injected)
            classify_copy_reply("STARTTLS", &r, &o);
        diagnose_fail(s, &o);
        diagnose_blame(s, "%s port %u answered STARTTLS with %d %s: %s.", s->d->host, s->d->port, r.code, r.text,
                       o.reason);
        diagnose_conn_close(&s->conn);
        return false;
    }
    diagnose_say(s, "Offered, and accepted: 220 %s.", r.text);
    return true;
}

struct tls_context *diagnose_tls_context(const struct diagnose_state *s, enum tls_only only, char err_out[200])
{
    const struct relay_config *c = s->p->relay;
    struct tls_client_params params = {.host = c->host, .ca_file = c->ca_file, .ca_pem = c->ca_pem,
                                       .crl_file = c->crl_file, .pins = c->pins, .inspect = true, .only = only};

    return tls_context_new_client(&params, err_out);
}

static void fail_handshake(struct diagnose_state *s, enum diagnose_io io, uint32_t ms)
{
    struct smtp_outcome o;

    if (s->conn.tls && (io == DIAGNOSE_IO_BROKEN || io == DIAGNOSE_IO_CLOSED)) {
        tls_get_failure(s->conn.tls, &o);
    secrets_mask_str(s->limits.secrets, o.reason);
        o.ms = ms;
    } else {
        diagnose_io_outcome(&s->conn, io, STAGE_TLS, "the ClientHello", ms, &o);
    }
    diagnose_fail(s, &o);
    diagnose_blame(s, "The handshake with %s port %u failed after %u ms: %s.", s->d->host, s->d->port, ms, o.reason);
    if (o.code == OUTCOME_TLS_ON_PLAINTEXT_PORT)
        diagnose_find(s, DIAGNOSE_FINDING_WRONG_MODE_PLAIN_PORT, true,
                      "%s port %u begins in plain SMTP, so tls must be starttls there, not implicit.", s->d->host,
                      s->d->port);
    diagnose_conn_close(&s->conn);
}

static void note_tls(struct diagnose_state *s)
{
    char note[200];

    snprintf(note, sizeof(note), "%s, %s, certificate %s", s->d->tls_version, s->d->tls_cipher,
             s->d->tls_verified ? "verified" : "NOT trusted");
    if (s->conn.trace)
        trace_note(s->conn.trace, note);
}

bool diagnose_tls(struct diagnose_state *s)
{
    char err[200];
    struct tls_context *ctx = diagnose_tls_context(s, TLS_ONLY_ANY, err);
    struct tls_facts facts;
    struct smtp_outcome o;
    enum diagnose_io io;
    uint32_t ms;

    if (!ctx) {
        outcome_set_local(&o, OUTCOME_INTERNAL_ERROR, STAGE_TLS, DELIVERY_NOT_SENT, err);
        diagnose_fail(s, &o);
        diagnose_blame(s, "%s", err);
        return false;
    }
    io = diagnose_handshake(&s->conn, ctx, s->p->relay->timeouts.tls ? s->p->relay->timeouts.tls : 10000);
    ms = diagnose_ms(s) - s->step->began_ms;
    tls_context_free(ctx);
    if (io != DIAGNOSE_IO_OK) {
        fail_handshake(s, io, ms);
        return false;
    }
    tls_get_facts(s->conn.tls, &facts);
    s->d->tls_on = true;
    s->d->tls_verified = facts.verified;
    snprintf(s->d->tls_version, sizeof(s->d->tls_version), "%s", facts.version);
    snprintf(s->d->tls_cipher, sizeof(s->d->tls_cipher), "%s", facts.cipher);
    diagnose_say(s, "%s with %s (%u ms).", facts.version, facts.cipher, ms);
    note_tls(s);
    return true;
}

bool diagnose_may_log_in(const struct diagnose_state *s)
{
    if (s->d->tls_mode == SMTP_TLS_NONE)
        return diagnose_scope(&s->peer) == DIAGNOSE_SCOPE_LOOPBACK;
    return s->d->tls_on && s->d->tls_verified &&
           (strcmp(s->d->tls_version, "TLSv1.2") == 0 || strcmp(s->d->tls_version, "TLSv1.3") == 0);
}

bool diagnose_quit(struct diagnose_state *s)
{
    struct smtp_reply r;
    enum diagnose_io io = diagnose_ask(&s->conn, QUIT_MS, &r, "QUIT");

    if (io == DIAGNOSE_IO_OK)
        diagnose_say(s, "%d %s.", r.code, r.text);
    else
        diagnose_say(s, "No reply to QUIT, which harms nothing.");
    return true;
}
