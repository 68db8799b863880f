#include "smtp/diagnose_int.h"

#include "smtp/dial.h"
#include "smtp/ehlo.h"
#include "smtp/sasl.h"
#include "smtp/secrets.h"

#include <errno.h>
#include <stdio.h>

/* What is tried on connections of their own: each TLS version alone, and the other ports and modes. No credential and
 * no mail is ever sent here. */

#define TRIAL_MS 5000                   /* for each answer; less where the relay's own limits are shorter */
#define SILENCE_TLS_MS 300              /* where TLS is expected, and nobody else speaks first */
#define GREETING_MS 7000                /* so long a port is listened to: postscreen's greet_wait is 6 s */

/* ---- one trial connection ---- */

static uint32_t least(uint32_t limit)
{
    return limit && limit < TRIAL_MS ? limit : TRIAL_MS;
}

static uint32_t command_ms(const struct diagnose_state *s)
{
    return least(s->p->relay->timeouts.command);
}

static uint32_t tls_ms(const struct diagnose_state *s)
{
    return least(s->p->relay->timeouts.tls);
}

static uint32_t greeting_ms(const struct diagnose_state *s)
{
    uint32_t limit = s->p->relay->timeouts.banner;

    return limit && limit < GREETING_MS ? limit : GREETING_MS;
}

static bool open_conn(struct diagnose_state *s, struct diagnose_conn *c)
{
    struct diagnose_dialed dialed;

    diagnose_dial(&s->peer, 1, least(s->p->relay->connect_ms), &s->limits, &dialed);
    diagnose_conn_init(c, dialed.fd, &s->limits, NULL);
    return dialed.fd >= 0;
}

static const char *greet(const struct diagnose_state *s, struct diagnose_conn *c, struct smtp_reply *r)
{
    if (diagnose_reply(c, greeting_ms(s), false, r) != DIAGNOSE_IO_OK)
        return "no SMTP banner";
    return r->code == 220 ? NULL : "the banner is a refusal";
}

static const char *hello(struct diagnose_state *s, struct diagnose_conn *c, struct smtp_reply *r)
{
    char name[256];

    diagnose_ehlo_name(c, s->p->relay->ehlo_name, name);
    if (diagnose_ask(c, command_ms(s), r, "EHLO %s", name) != DIAGNOSE_IO_OK)
        return "no reply to EHLO";
    return r->code / 100 == 2 ? NULL : "EHLO was refused";
}

static const char *starttls(const struct diagnose_state *s, struct diagnose_conn *c)
{
    struct smtp_reply r;

    if (diagnose_ask(c, command_ms(s), &r, "STARTTLS") != DIAGNOSE_IO_OK)
        return "no reply to STARTTLS";
    return r.code == 220 && c->off == c->n ? NULL : "STARTTLS was refused";
}

/* ---- TLS versions ---- */

static const char *up_to_tls(struct diagnose_state *s, struct diagnose_conn *c)
{
    struct smtp_reply r;
    const char *why = NULL;

    if (!open_conn(s, c))
        return "no connection";
    if (s->d->tls_mode == SMTP_TLS_IMPLICIT)
        return NULL;
    why = greet(s, c, &r);
    if (!why)
        why = hello(s, c, &r);
    return why ? why : starttls(s, c);
}

static void take_handshake(struct diagnose_conn *c, enum diagnose_io io, struct diagnose_version *v)
{
    struct tls_facts facts;

    if (io == DIAGNOSE_IO_OK) {
        tls_get_facts(c->tls, &facts);
        v->state = DIAGNOSE_VERSION_TAKEN;
        snprintf(v->cipher, sizeof(v->cipher), "%s", facts.cipher);
        return;
    }
    v->state = io == DIAGNOSE_IO_BROKEN || io == DIAGNOSE_IO_CLOSED ? DIAGNOSE_VERSION_REFUSED
                                                                    : DIAGNOSE_VERSION_UNKNOWN;
    snprintf(v->reason, sizeof(v->reason), "%s", c->why);
}

static void try_version(struct diagnose_state *s, enum tls_only only, struct diagnose_version *v)
{
    struct diagnose_conn c;
    char err[200];
    struct tls_context *ctx = diagnose_tls_context(s, only, err);
    const char *why = up_to_tls(s, &c);

    v->state = DIAGNOSE_VERSION_UNKNOWN;
    if (!ctx || why)
        snprintf(v->reason, sizeof(v->reason), "%s", why ? why : err);
    else
        take_handshake(&c, diagnose_handshake(&c, ctx, tls_ms(s)), v);
    tls_context_free(ctx);
    diagnose_conn_close(&c);
}

static void judge_versions(struct diagnose_state *s)
{
    const struct diagnose_version *v = s->d->versions;
    bool legacy = v[0].state == DIAGNOSE_VERSION_TAKEN || v[1].state == DIAGNOSE_VERSION_TAKEN;
    bool modern = v[2].state == DIAGNOSE_VERSION_TAKEN || v[3].state == DIAGNOSE_VERSION_TAKEN;

    if (legacy && !modern)
        diagnose_find(s, DIAGNOSE_FINDING_TLS_TOO_OLD, true,
                      "%s port %u takes nothing newer than %s; mailhatch needs TLS 1.2 (RFC 8996 forbids what is "
                      "older).",
                      s->d->host, s->d->port, v[1].state == DIAGNOSE_VERSION_TAKEN ? v[1].name : v[0].name);
    else if (legacy)
        diagnose_find(s, DIAGNOSE_FINDING_TLS_LEGACY_TAKEN, false,
                      "It still takes %s, which RFC 8996 forbids; mailhatch does not use that.",
                      v[0].state != DIAGNOSE_VERSION_TAKEN   ? "TLSv1.1"
                      : v[1].state != DIAGNOSE_VERSION_TAKEN ? "TLSv1"
                                                             : "TLSv1 and TLSv1.1");
}

bool diagnose_versions(struct diagnose_state *s)
{
    static const char *const names[] = {"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"};

    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        struct diagnose_version *v = &s->d->versions[i];
        v->name = names[i];
        if (diagnose_is_over(&s->limits))
            continue;
        try_version(s, (enum tls_only)(TLS_ONLY_10 + i), v);
        diagnose_say(s, "%s: %s%s%s.", v->name, diagnose_version_state_name(v->state), v->cipher[0] ? ", " : "",
                     v->cipher);
    }
    judge_versions(s);
    return true;
}

/* ---- ports ---- */

/* May a configured user log in with what is offered? */
static const char *check_auth(const struct diagnose_state *s, const struct smtp_reply *r)
{
    struct smtp_capabilities caps;

    smtp_ehlo_parse(r, &caps);
    return !s->p->relay->user || sasl_choose(&caps) ? NULL : "no AUTH that mailhatch can use is offered";
}

static const char *shake_hands(struct diagnose_state *s, struct diagnose_conn *c, struct diagnose_port *out)
{
    char err[200];
    struct tls_context *ctx = diagnose_tls_context(s, TLS_ONLY_ANY, err);
    struct smtp_outcome verdict;
    enum diagnose_io io;

    if (!ctx)
        return "no TLS context";
    io = diagnose_handshake(c, ctx, tls_ms(s));
    tls_context_free(ctx);
    if (io != DIAGNOSE_IO_OK)
        return c->why;
    if (out->state == DIAGNOSE_PORT_SILENT)
        out->state = DIAGNOSE_PORT_TLS;
    if (tls_get_verdict(c->tls, &verdict))
        return NULL;
    snprintf(c->why, sizeof(c->why), "%s", verdict.reason);
    secrets_mask_str(s->limits.secrets, c->why);
    return c->why;
}

static const char *walk_tls(struct diagnose_state *s, struct diagnose_conn *c, struct diagnose_port *out)
{
    struct smtp_reply r;
    const char *why;

    out->state = DIAGNOSE_PORT_SILENT;
    out->mode = SMTP_TLS_IMPLICIT;
    why = shake_hands(s, c, out);
    if (!why)
        why = greet(s, c, &r);
    if (!why) {
        diagnose_clean(out->banner, sizeof(out->banner), bytes_view_str(r.text), false);
        why = hello(s, c, &r);
    }
    return why ? why : check_auth(s, &r);
}

static const char *walk_smtp(struct diagnose_state *s, struct diagnose_conn *c, struct diagnose_port *out)
{
    struct smtp_reply r = {0};
    struct smtp_capabilities caps;
    const char *why = greet(s, c, &r);

    if (r.code) {
        out->state = DIAGNOSE_PORT_SMTP;
        diagnose_clean(out->banner, sizeof(out->banner), bytes_view_str(r.text), false);
    }
    if (!why)
        why = hello(s, c, &r);
    if (why)
        return why;
    smtp_ehlo_parse(&r, &caps);
    out->starttls = caps.starttls;
    if (!caps.starttls) {
        out->mode = SMTP_TLS_NONE;
        return diagnose_scope(&s->peer) == DIAGNOSE_SCOPE_LOOPBACK ? check_auth(s, &r) : "STARTTLS is not offered";
    }
    out->mode = SMTP_TLS_STARTTLS;
    why = starttls(s, c);
    if (!why)
        why = shake_hands(s, c, out);
    if (!why)
        why = hello(s, c, &r);
    return why ? why : check_auth(s, &r);
}

/* A ClientHello before a greeting is what a spammer's program does in the eyes of servers that greet late on purpose
 * (postscreen: PREGREET), and gets this machine's address banned. So it is said only where TLS from the first octet is
 * the rule (RFC 8314 §7.3), was configured, or has been seen. */
static bool may_speak_first(const struct diagnose_state *s, uint16_t port)
{
    return port == 465 || (port == s->d->port && (s->d->tls_mode == SMTP_TLS_IMPLICIT ||
                                                  diagnose_has(s->d, DIAGNOSE_FINDING_WRONG_MODE_TLS_PORT)));
}

static const char *silent(struct diagnose_state *s, struct diagnose_conn *c, struct diagnose_port *out)
{
    if (may_speak_first(s, out->port))
        return walk_tls(s, c, out);
    out->state = DIAGNOSE_PORT_SILENT;
    return "no greeting";
}

/* All ports were connected to at the same time, so those that are walked later have been listened to meanwhile. */
static uint32_t listen_ms(const struct diagnose_state *s, uint16_t port, uint32_t since)
{
    uint32_t ms = may_speak_first(s, port) ? SILENCE_TLS_MS : greeting_ms(s), past = diagnose_ms(s) - since;

    return past < ms ? ms - past : 0;
}

static bool is_reply_digit(const struct diagnose_conn *c)
{
    return c->off < c->n && c->in[c->off] >= '2' && c->in[c->off] <= '5';
}

static void walk(struct diagnose_state *s, int fd, uint32_t since, struct diagnose_port *out)
{
    struct diagnose_conn c;
    const char *why = NULL;
    struct smtp_reply r;

    diagnose_conn_init(&c, fd, &s->limits, NULL);
    out->state = DIAGNOSE_PORT_OTHER;
    switch (diagnose_peek(&c, listen_ms(s, out->port, since))) {
    case DIAGNOSE_IO_OK:
        why = is_reply_digit(&c) ? walk_smtp(s, &c, out) : "it speaks something else than SMTP";
        break;
    case DIAGNOSE_IO_TIMEOUT:
        why = silent(s, &c, out);
        break;
    case DIAGNOSE_IO_CLOSED:
        why = "it closes the connection at once";
        break;
    case DIAGNOSE_IO_CANCELED:
    case DIAGNOSE_IO_BROKEN:
        why = c.why;
        break;
    }
    out->works = !why;
    if (why)
        snprintf(out->why_not, sizeof(out->why_not), "%s", why);
    if (!why)
        (void)!diagnose_ask(&c, 500, &r, "QUIT");
    diagnose_conn_close(&c);
}

static void take_dial(struct diagnose_state *s, const struct diagnose_dialed *from, uint32_t since,
                      struct diagnose_port *out)
{
    out->ms = from->ms;
    if (from->fd >= 0)
        walk(s, from->fd, since, out);
    else if (from->error == ETIMEDOUT)
        out->state = DIAGNOSE_PORT_FILTERED;
    else
        out->state = dial_code_of_errno(from->error) == OUTCOME_CONNECT_REFUSED ? DIAGNOSE_PORT_REFUSED
                                                                              : DIAGNOSE_PORT_FAILED;
}

static void list_ports(struct diagnose_state *s)
{
    static const uint16_t others[] = {587, 465, 25, 2525};

    s->d->ports[s->d->n_ports++].port = s->d->port;
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (others[i] != s->d->port)
            s->d->ports[s->d->n_ports++].port = others[i];
}

static void judge_ports(struct diagnose_state *s)
{
    unsigned filtered = 0;

    for (unsigned i = 0; i < s->d->n_ports; i++) {
        const struct diagnose_port *p = &s->d->ports[i];
        filtered += p->state == DIAGNOSE_PORT_FILTERED;
        if (p->works)
            diagnose_say(s, "%u: works with tls %s.", p->port, diagnose_mode_name(p->mode));
        else
            diagnose_say(s, "%u: %s%s%.80s.", p->port, diagnose_port_state_name(p->state), p->why_not[0] ? ", " : "",
                         p->why_not);
    }
    if (filtered == s->d->n_ports)
        diagnose_find(s, DIAGNOSE_FINDING_EGRESS_BLOCKED, true,
                      "None of the mail ports of %s can be reached: this network lets no mail out, or the whole "
                      "host is behind a firewall.", s->d->host);
}

bool diagnose_ports(struct diagnose_state *s)
{
    struct diagnose_dialed dialed[ARRAY_LEN(s->d->ports)];
    struct resolve_address v[ARRAY_LEN(s->d->ports)];
    uint32_t since;

    list_ports(s);
    for (unsigned i = 0; i < s->d->n_ports; i++) {
        v[i] = s->peer;
        resolve_set_port(&v[i], s->d->ports[i].port);
    }
    diagnose_dial(v, s->d->n_ports, least(s->p->relay->connect_ms), &s->limits, dialed);
    since = diagnose_ms(s);
    for (unsigned i = 0; i < s->d->n_ports; i++)
        take_dial(s, &dialed[i], since, &s->d->ports[i]);
    judge_ports(s);
    return true;
}
