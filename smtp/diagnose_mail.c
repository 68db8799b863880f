#include "smtp/diagnose_int.h"

#include "smtp/classify.h"
#include "smtp/crypto.h"
#include "smtp/relay.h"
#include "smtp/sasl.h"

#include <stdio.h>
#include <time.h>

/* The steps that need trust: the login, the envelope, and a small mail. */

#define LOGIN_WAIT_MS 10000             /* for what another one's login says */
#define LOGIN_LOOK_MS 50
#define AUTH_LINE_MAX 512               /* RFC 4954 §4: with more, the initial response waits for the 334 */

/* ---- AUTH ---- */

static bool fail_auth(struct diagnose_state *s, struct smtp_outcome *o)
{
    o->ms = diagnose_ms(s) - s->step->began_ms;
    diagnose_fail(s, o);
    if (o->reply_code)
        diagnose_blame(s, "%s port %u answered the login of %s with %s by %d%s%s %s", s->d->host, s->d->port,
                       s->d->user, s->d->auth_mechanism, o->reply_code, o->enhanced[0] ? " " : "", o->enhanced,
                       o->text);
    else
        diagnose_blame(s, "%s port %u at AUTH, after %u ms: %s.", s->d->host, s->d->port, o->ms, o->reason);
    return false;
}

static enum diagnose_io respond(struct diagnose_state *s, const struct sasl_mechanism *m, unsigned step,
                                const char *before)
{
    struct sasl_credentials c = {s->p->relay->user, s->p->relay->password ? s->p->relay->password : ""};
    struct bytes_buf line;
    enum diagnose_io io = DIAGNOSE_IO_BROKEN;

    bytes_buf_init(&line, SMTP_REPLY_LINE_MAX_AUTH);
    bytes_buf_reserve(&line, SMTP_REPLY_LINE_MAX_AUTH - 1);     /* growing would leave a copy behind */
    bytes_buf_add_str(&line, before);
    sasl_respond(m, &c, step, &line);
    bytes_buf_add_str(&line, "\r\n");
    if (!line.failed)
        io = diagnose_write(&s->conn, bytes_buf_view(&line));
    else
        snprintf(s->conn.why, sizeof(s->conn.why), "the credentials are too long");
    if (line.p)
        crypto_cleanse(line.p, line.n);
    bytes_buf_deinit(&line);
    return io;
}

static enum diagnose_io auth_command(struct diagnose_state *s, const struct sasl_mechanism *m, unsigned *step)
{
    const struct relay_config *c = s->p->relay;
    size_t secret = strlen(c->user) + strlen(c->password ? c->password : "") + 2;
    char line[64];
    int n = snprintf(line, sizeof(line), "AUTH %s ", m->name);

    if (m->initial && (size_t)n + (secret + 2) / 3 * 4 + 2 <= AUTH_LINE_MAX)
        return respond(s, m, (*step)++, line);
    snprintf(line, sizeof(line), "AUTH %s\r\n", m->name);
    return diagnose_write(&s->conn, bytes_view_str(line));
}

/* Once, with one mechanism: a wrong password shown twice may lock the account. */
static bool log_in(struct diagnose_state *s, const struct sasl_mechanism *m)
{
    unsigned step = 0;
    struct smtp_reply r;
    struct smtp_outcome o;
    enum diagnose_io io = auth_command(s, m, &step);

    for (;;) {
        if (io == DIAGNOSE_IO_OK || io == DIAGNOSE_IO_CLOSED)
            io = diagnose_reply(&s->conn, s->p->relay->timeouts.command, true, &r);
        if (io != DIAGNOSE_IO_OK) {
            diagnose_io_outcome(&s->conn, io, STAGE_AUTH, "AUTH", diagnose_ms(s) - s->step->began_ms, &o);
            diagnose_conn_close(&s->conn);
            return fail_auth(s, &o);
        }
        if (r.code != 334 || step >= m->n_steps)
            break;
        io = respond(s, m, step++, "");
    }
    if (r.code == 235) {
        diagnose_say(s, "User %s was accepted with %s: 235 %s", s->d->user, m->name, r.text);
        return true;
    }
    if (r.code == 334)
        outcome_set_local(&o, OUTCOME_PROTOCOL_ERROR, STAGE_AUTH, DELIVERY_NOT_SENT,
                          "the relay asks for more than the mechanism has");
    else
        classify_reply(STAGE_AUTH, "AUTH", &r, &o);
    return fail_auth(s, &o);
}

static const struct diagnose_ehlo *last_ehlo(const struct diagnose_state *s)
{
    return s->d->ehlo_tls.have ? &s->d->ehlo_tls : &s->d->ehlo;
}

static bool without_user(struct diagnose_state *s, const struct diagnose_ehlo *e)
{
    diagnose_pass(s, "No user is configured.");
    if (e->caps.auth_any)
        diagnose_find(s, DIAGNOSE_FINDING_AUTH_NOT_CONFIGURED, false, "The relay offers AUTH (%s).",
                      e->caps.auth_list);
    return true;
}

static bool no_mechanism(struct diagnose_state *s, const struct diagnose_ehlo *e)
{
    struct smtp_outcome o;

    outcome_set_local(&o, e->caps.auth_any ? OUTCOME_AUTH_MECHANISM_UNSUPPORTED : OUTCOME_AUTH_NOT_OFFERED, STAGE_AUTH,
                      DELIVERY_NOT_SENT, NULL);
    if (e->caps.auth_any)
        snprintf(o.reason, sizeof(o.reason), "the relay offers %.120s, none of which mailhatch can use here",
                 e->caps.auth_list);
    snprintf(o.command, sizeof(o.command), "EHLO");
    diagnose_fail(s, &o);
    if (e->caps.auth_any)
        diagnose_blame(s, "A user is configured, but %s.", o.reason);
    else
        diagnose_blame(s, "A user is configured, but %s port %u offers no AUTH.", s->d->host, s->d->port);
    return false;
}

static void pass_refused(struct diagnose_state *s, const struct smtp_outcome *why, uint64_t left_ms)
{
    unsigned left = (unsigned)((left_ms + 999) / 1000), ago = RELAY_MEMORY_REFUSED_MS / 1000 - left;

    diagnose_pass_failed(s, why);
    diagnose_blame(s, "%s port %u refused the password of %s %u s ago (%d%s%s %s); it is not shown again for %u s, as "
                   "each try counts at the account.", s->d->host, s->d->port, s->d->user, ago, why->reply_code,
                   why->enhanced[0] ? " " : "", why->enhanced, why->text, left);
}

/* A password that is being tried for the first time elsewhere is not shown beside that: what comes of it is waited for.
 * False: it is not shown, and that is said. */
static bool begin_login(struct diagnose_state *s)
{
    uint64_t now = clock_us() / 1000, end = now + LOGIN_WAIT_MS, when;
    struct smtp_outcome why;

    if (!s->p->memory)
        return true;
    for (;;) {
        switch (relay_memory_begin_login(s->p->memory, now, &when, &why)) {
        case RELAY_LOGIN_GO:
            return true;
        case RELAY_LOGIN_REFUSED:
            pass_refused(s, &why, when - now);
            return false;
        case RELAY_LOGIN_WAIT:
            break;
        }
        if (now >= end || diagnose_is_over(&s->limits)) {
            outcome_set_local(&why, OUTCOME_TIMEOUT, STAGE_AUTH, DELIVERY_NOT_SENT,
                              "a mail or another diagnosis is trying the password, and has no answer yet");
            diagnose_pass_failed(s, &why);
            diagnose_blame(s, "Not tried: %s; it is shown by one at a time.", why.reason);
            return false;
        }
        diagnose_pause(&s->limits, LOGIN_LOOK_MS);
        now = clock_us() / 1000;
    }
}

static void end_login(const struct diagnose_state *s)
{
    if (!s->p->memory)
        return;
    if (s->d->auth_ok)
        relay_memory_on_accepted(s->p->memory);
    else if (relay_is_password_refused(s->step->outcome.code))
        relay_memory_on_refused(s->p->memory, &s->step->outcome, clock_us() / 1000);
    else
        relay_memory_on_undecided(s->p->memory);
}

bool diagnose_auth(struct diagnose_state *s)
{
    const struct diagnose_ehlo *e = last_ehlo(s);
    const struct sasl_mechanism *m;

    if (!s->p->relay->user)
        return without_user(s, e);
    m = sasl_choose(&e->caps);
    if (!m)
        return no_mechanism(s, e);
    snprintf(s->d->auth_mechanism, sizeof(s->d->auth_mechanism), "%s", m->name);
    if (s->p->no_auth || !diagnose_may_log_in(s)) {
        diagnose_pass(s, s->p->no_auth ? "The credentials were not to be shown."
                                       : "The credentials are not shown without verified TLS.");
        return s->p->no_auth;
    }
    if (!begin_login(s))
        return false;
    diagnose_say(s, "Offered: %s.", e->caps.auth_list);
    s->d->auth_tried = true;
    s->d->auth_ok = log_in(s, m);
    end_login(s);
    return s->d->auth_ok;
}

/* ---- the envelope ---- */

static const char *sender(const struct diagnose_state *s)
{
    const char *user = s->p->relay->user;

    return s->p->from ? s->p->from : user && strchr(user, '@') ? user : s->p->to;
}

/* What would end the command or the path. */
static bool is_sane(const char *address)
{
    for (const char *c = address; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F || *c == '<' || *c == '>')
            return false;
    return strlen(address) <= 320 && bytes_is_utf8(bytes_view_str(address));
}

static bool refuse_local(struct diagnose_state *s, enum outcome_code code, enum stage stage, const char *why)
{
    struct smtp_outcome o;

    outcome_set_local(&o, code, stage, DELIVERY_NOT_SENT, why);
    diagnose_fail(s, &o);
    diagnose_blame(s, "%s", why);
    return false;
}

/* what: the command with its argument, for people. */
static bool judge(struct diagnose_state *s, enum diagnose_io io, enum stage stage, const char *command,
                  const char *what, const struct smtp_reply *r)
{
    struct smtp_outcome o;
    uint32_t ms = diagnose_ms(s) - s->step->began_ms;

    if (io != DIAGNOSE_IO_OK) {
        diagnose_io_outcome(&s->conn, io, stage, command, ms, &o);
        if (stage == STAGE_BODY) {
            o.code = OUTCOME_OUTCOME_UNKNOWN;
            o.whose = WHOSE_SESSION;
            o.delivery = DELIVERY_UNKNOWN;
        }
        diagnose_fail(s, &o);
        diagnose_blame(s, "%s port %u at %s, after %u ms: %s.", s->d->host, s->d->port, command, ms, o.reason);
        diagnose_conn_close(&s->conn);
        return false;
    }
    if (r->code / 100 == 2 || (stage == STAGE_DATA && r->code == 354)) {
        diagnose_say(s, "%s: %d%s%s %s", what, r->code, r->enhanced[0] ? " " : "", r->enhanced, r->text);
        return true;
    }
    classify_reply(stage, command, r, &o);
    o.ms = ms;
    diagnose_fail(s, &o);
    diagnose_blame(s, "%s port %u answered %s with %d%s%s %s", s->d->host, s->d->port, what, r->code,
                   r->enhanced[0] ? " " : "", r->enhanced, r->text);
    if (stage == STAGE_RCPT && (r->code == 450 || r->code == 451))
        diagnose_find(s, DIAGNOSE_FINDING_GREYLISTED, true,
                      "A temporary refusal at RCPT is usually greylisting: the same mail some minutes later is "
                      "taken.");
    return false;
}

bool diagnose_mail(struct diagnose_state *s)
{
    const char *from = sender(s);
    bool utf8 = !bytes_is_ascii(bytes_view_str(from)) || !bytes_is_ascii(bytes_view_str(s->p->to));
    char what[360];
    struct smtp_reply r;
    enum diagnose_io io;

    if (!diagnose_may_log_in(s)) {
        diagnose_pass(s, "No mail is sent without verified TLS.");
        return false;
    }
    if (!is_sane(from) || !is_sane(s->p->to))
        return refuse_local(s, OUTCOME_VALIDATION_FAILED, STAGE_MAIL, "The sender or the recipient is not an "
                                                                      "address.");
    if (utf8 && !last_ehlo(s)->caps.smtputf8)
        return refuse_local(s, OUTCOME_SMTPUTF8_UNSUPPORTED, STAGE_EHLO,
                            "An address has letters outside ASCII, and the relay does not offer SMTPUTF8.");
    snprintf(what, sizeof(what), "MAIL FROM:<%s>", from);
    io = diagnose_ask(&s->conn, s->p->relay->timeouts.command, &r, "MAIL FROM:<%s>%s", from,
                      utf8 ? " BODY=8BITMIME SMTPUTF8" : "");
    return judge(s, io, STAGE_MAIL, "MAIL", what, &r);
}

static void reset(struct diagnose_state *s)
{
    struct smtp_reply r;

    if (s->conn.fd >= 0 && diagnose_ask(&s->conn, s->p->relay->timeouts.command, &r, "RSET") != DIAGNOSE_IO_OK)
        diagnose_conn_close(&s->conn);
}

bool diagnose_rcpt(struct diagnose_state *s)
{
    char what[360];
    struct smtp_reply r;
    enum diagnose_io io;
    bool taken;

    snprintf(what, sizeof(what), "RCPT TO:<%s>", s->p->to);
    io = diagnose_ask(&s->conn, s->p->relay->timeouts.command, &r, "RCPT TO:<%s>", s->p->to);
    taken = judge(s, io, STAGE_RCPT, "RCPT", what, &r);
    if (!taken || !s->p->send)
        reset(s);
    return taken;
}

/* ---- a small mail ---- */

static void compose(const struct diagnose_state *s, struct bytes_buf *b)
{
    const char *from = sender(s), *at = strrchr(from, '@');
    time_t now = (time_t)s->d->started_at;
    char date[64], id[37];
    struct tm tm;

    crypto_uuid7(id);
    if (!gmtime_r(&now, &tm) || !strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", &tm))
        date[0] = '\0';
    bytes_buf_printf(b, "Date: %s\r\nFrom: <%s>\r\nTo: <%s>\r\n", date, from, s->p->to);
    bytes_buf_printf(b, "Message-ID: <%s@%s>\r\nSubject: mailhatch diagnose: a test mail\r\n", id,
                     at && at[1] ? at + 1 : "localhost");
    bytes_buf_add_str(b, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
                         "This mail was sent by \"mailhatch diagnose --send\" to see whether mail goes "
                         "through.\r\n.\r\n");
}

bool diagnose_send(struct diagnose_state *s)
{
    struct smtp_reply r;
    struct bytes_buf b;
    enum diagnose_io io = diagnose_ask(&s->conn, s->p->relay->timeouts.command, &r, "DATA");

    if (!judge(s, io, STAGE_DATA, "DATA", "DATA", &r))
        return false;
    bytes_buf_init(&b, 4096);
    compose(s, &b);
    io = diagnose_write(&s->conn, bytes_buf_view(&b));
    bytes_buf_deinit(&b);
    if (io == DIAGNOSE_IO_OK || io == DIAGNOSE_IO_CLOSED)
        io = diagnose_reply(&s->conn, s->p->relay->timeouts.final_reply, false, &r);
    return judge(s, io, STAGE_BODY, "body", "the mail", &r);
}
