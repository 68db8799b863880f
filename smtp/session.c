#include "smtp/session_int.h"

#include "smtp/classify.h"
#include "smtp/crypto.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The SMTP conversation: feeds replies to the steps that wait for them, lets the next ones go, and says what became of
 * each mail. */

#define OUTPUT_MAX (256 * 1024)
#define OUTPUT_VIEW_MAX (128 * 1024)    /* of that, in one call of _output */
#define KEEP_OUTPUT (64 * 1024)         /* an idle session does not keep a larger buffer */
#define ENVID_MAX 100                   /* RFC 3461 §4.4 */

/* ---- life ---- */

struct smtp_session *smtp_session_new(const struct smtp_session_params *p)
{
    struct smtp_session *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->p = *p;
    smtp_reply_parser_init(&s->parser);
    bytes_queue_init(&s->out, OUTPUT_MAX);
    return s;
}

void smtp_session_free(struct smtp_session *s)
{
    if (!s)
        return;
    smtp_reply_parser_deinit(&s->parser);
    if (s->p.user && s->out.p)
        crypto_cleanse(s->out.p, s->out.cap);   /* lost before AUTH's line had left */
    bytes_queue_deinit(&s->out);
    free(s->awaited);
    free(s);
}

/* ---- small pieces ---- */

void session_push_event(struct smtp_session *s, enum smtp_event_type type)
{
    if (s->events_n == EVENTS_MAX)
        unreachable("events of a session are not pulled");
    s->events[(s->events_at + s->events_n++) % EVENTS_MAX] = (struct smtp_event){.type = type};
}

static struct smtp_event *last_event(struct smtp_session *s)
{
    return &s->events[(s->events_at + s->events_n - 1) % EVENTS_MAX];
}

bool smtp_session_next_event(struct smtp_session *s, struct smtp_event *ev)
{
    if (!s->events_n) {
        ev->type = SMTP_EV_NONE;
        return false;
    }
    *ev = s->events[s->events_at];
    s->events_at = (s->events_at + 1) % EVENTS_MAX;
    s->events_n--;
    return true;
}

void session_put(struct smtp_session *s, const char *p, size_t n)
{
    if (!s->in_flight)
        s->flights++;
    s->in_flight = true;
    if (!bytes_queue_len(&s->out))
        s->progress_at = s->now;
    bytes_queue_add(&s->out, p, n);
    s->queued += n;
}

/* The rest of a body, or commands of a session that is lost. */
static void drop_output(struct smtp_session *s)
{
    bytes_queue_consume(&s->out, bytes_queue_len(&s->out));
}

static bool await(struct smtp_session *s, enum smtp_step step, size_t rcpt)
{
    if (s->awaited_n == s->awaited_cap) {
        size_t cap = s->awaited_cap ? s->awaited_cap * 2 : 8;
        struct smtp_awaited *ring = malloc(cap * sizeof(*ring));
        if (!ring)
            return false;
        for (size_t i = 0; i < s->awaited_n; i++)
            ring[i] = s->awaited[(s->awaited_at + i) % s->awaited_cap];
        free(s->awaited);
        s->awaited = ring;
        s->awaited_cap = cap;
        s->awaited_at = 0;
    }
    if (!s->awaited_n)
        s->wait_since = s->now;
    s->awaited[(s->awaited_at + s->awaited_n++) % s->awaited_cap] = (struct smtp_awaited){step, (uint32_t)rcpt};
    return true;
}

static const struct smtp_awaited *head(const struct smtp_session *s)
{
    return s->awaited_n ? &s->awaited[s->awaited_at] : NULL;
}

bool session_body_is_gone(const struct smtp_session *s)
{
    return s->f.body_queued && s->sent >= s->f.body_end;
}

enum stage smtp_session_stage(const struct smtp_session *s)
{
    const struct smtp_awaited *a = head(s);

    if (s->tls_asked && !s->tls_on)
        return STAGE_TLS;
    if (a)
        return session_steps[a->step].stage;
    return s->greeted ? STAGE_MAIL : STAGE_BANNER;
}

/* ---- ends ---- */

/* The refusal that explains most: a permanent one, else the first. */
static const struct smtp_outcome *decisive_refusal(const struct smtp_transaction *t)
{
    const struct smtp_outcome *first = NULL;

    for (size_t i = 0; i < t->n_rcpts; i++) {
        const struct smtp_outcome *o = &t->rcpt_outcomes[i];
        if (o->code == OUTCOME_SENT)
            continue;
        if (o->reply_code >= 500)
            return o;
        if (!first)
            first = o;
    }
    return first;
}

/* What the replies so far say of the mail; false: nothing final. */
static bool is_decided(const struct smtp_session *s, struct smtp_outcome *out)
{
    const struct mail_facts *f = &s->f;
    bool all_answered = f->rcpts_ok + f->rcpts_refused == s->t->n_rcpts;

    if (f->mail_refused || f->body_accepted) {
        *out = s->verdict;
        return true;
    }
    if (f->mail_ok && all_answered && f->rcpts_refused && (!f->rcpts_ok || s->t->partial_reject)) {
        *out = *decisive_refusal(s->t);
        if (f->rcpts_ok) {
            out->code = OUTCOME_RECIPIENTS_REJECTED;
            out->delivery = DELIVERY_NOT_SENT;
        }
        return true;
    }
    if (f->data_refused || f->body_refused) {
        *out = s->verdict;
        return true;
    }
    return false;
}

/* Accepted at RCPT means nothing when the mail failed behind it; a refusal of one's own stays. */
static void finish(struct smtp_session *s, const struct smtp_outcome *o)
{
    struct smtp_transaction *t = s->t;

    t->outcome = *o;
    if (o->code != OUTCOME_SENT)
        for (size_t i = 0; i < t->n_rcpts; i++)
            if (t->rcpt_outcomes[i].code == OUTCOME_SENT)
                t->rcpt_outcomes[i] = *o;
    if (s->f.mail_sent)
        s->rset_due = !(s->f.body_accepted && o->code == OUTCOME_SENT);
    s->t = NULL;
    if (s->out.cap > KEEP_OUTPUT)
        bytes_queue_release(&s->out);
    session_push_event(s, SMTP_EV_DONE);
    last_event(s)->transaction = t;
}

void session_die(struct smtp_session *s, const struct smtp_outcome *why)
{
    if (s->dead)
        return;
    s->dead = true;
    s->awaited_n = 0;
    if (s->t && why)
        finish(s, why);
    session_push_event(s, SMTP_EV_DEAD);
    if (why)
        last_event(s)->outcome = *why;
    last_event(s)->quit_ok = !why;
}

void session_die_local(struct smtp_session *s, enum outcome_code code, enum stage stage, const char *reason)
{
    struct smtp_outcome o;

    outcome_set_local(&o, code, stage, DELIVERY_NOT_SENT, reason);
    o.ms = (uint32_t)(s->now - s->wait_since);
    session_die(s, &o);
}

void session_must_die(struct smtp_session *s, enum outcome_code code, enum stage stage, const char *reason)
{
    if (s->must_die)
        return;
    s->must_die = true;
    outcome_set_local(&s->death, code, stage, DELIVERY_NOT_SENT, reason);
}

/* Fewer replies than the flight is owed, or more: a server that does not swallow the body of a refused BDAT. A late
 * verdict is not that. */
static bool is_out_of_step(const struct smtp_session *s, enum outcome_code code)
{
    if (!s->f.one_flight || !session_body_is_gone(s))
        return false;
    return code == OUTCOME_PROTOCOL_ERROR || (code == OUTCOME_TIMEOUT && s->awaited_n > 1);
}

/* The session is lost in the middle of something (EOF, time-out, a broken reply): what that means for the mail depends
 * on what left and on what was answered, never on how it was lost. */
static void lose_at(struct smtp_session *s, enum outcome_code code, enum stage stage, const char *reason)
{
    struct smtp_outcome o;

    if (s->dead)
        return;
    if (is_out_of_step(s, code))
        s->one_flight_off = true;
    drop_output(s);
    if (s->t && is_decided(s, &o)) {
        session_die(s, &o);
        return;
    }
    outcome_set_local(&o, code, stage, DELIVERY_NOT_SENT, reason);
    o.ms = (uint32_t)(s->now - s->wait_since);
    if (s->t && session_body_is_gone(s) && !s->f.no_recipients_dot) {
        o.stage = STAGE_BODY;
        o.delivery = DELIVERY_UNKNOWN;
        if (code != OUTCOME_PROTOCOL_ERROR)
            o.code = OUTCOME_OUTCOME_UNKNOWN;
    }
    session_die(s, &o);
}

static void lose(struct smtp_session *s, enum outcome_code code, const char *reason)
{
    lose_at(s, code, smtp_session_stage(s), reason);
}

/* ---- going on ---- */

static void finish_by_facts(struct smtp_session *s)
{
    struct smtp_outcome o;

    if (!is_decided(s, &o))
        outcome_set_local(&o, OUTCOME_PROTOCOL_ERROR, STAGE_MAIL, DELIVERY_NOT_SENT,
                          s->must_die ? s->death.reason : "the envelope came to no end");
    finish(s, &o);
    if (!s->must_die) {
        session_push_event(s, SMTP_EV_READY);
        return;
    }
    drop_output(s);
    session_die(s, &s->death);
}

/* Work in hand implies a reply awaited: what may go, goes; and when nothing is awaited any more, something has come to
 * its end. */
static void run(struct smtp_session *s)
{
    enum smtp_step step;

    while ((step = session_next_step(s)) != STEP_NONE) {
        if (!await(s, step, s->f.rcpts_sent)) {
            lose(s, OUTCOME_INTERNAL_ERROR, "no memory");
            return;
        }
        session_steps[step].send(s);
        if (s->out.failed)
            lose(s, OUTCOME_INTERNAL_ERROR, "no memory for the output");
    }
    if (s->dead || s->awaited_n)
        return;
    if (s->t) {
        finish_by_facts(s);
    } else if (!s->ready_told && s->ehlo_done && (s->authed || !s->p.user) &&
               (s->tls_on || s->p.tls_mode == SMTP_TLS_NONE)) {
        s->ready_told = true;
        session_push_event(s, SMTP_EV_READY);
    }
}

void smtp_session_start(struct smtp_session *s, uint64_t now)
{
    s->now = s->last_reply_at = s->progress_at = now;
    s->tls_on = s->p.tls_mode == SMTP_TLS_IMPLICIT;
    if (!await(s, STEP_BANNER, 0))
        lose(s, OUTCOME_INTERNAL_ERROR, "no memory");
}

/* RFC 3207 §4.2: whatever was learnt before TLS is forgotten. */
void smtp_session_tls_started(struct smtp_session *s, uint64_t now)
{
    s->now = now;
    s->tls_on = true;
    s->ehlo_done = false;
    memset(&s->caps, 0, sizeof(s->caps));
    run(s);
}

/* ---- input ---- */

/* A 421 may stand in the place of any reply and ends the session (RFC 5321 §3.8). As the body's reply it judges the
 * mail. */
static void closing(struct smtp_session *s, const struct smtp_awaited *a, const struct smtp_reply *r)
{
    struct smtp_outcome o;

    if (!s->t || !is_decided(s, &o))
        classify_reply(session_steps[a->step].stage, session_steps[a->step].name, r, &o);
    session_hide_echo(s, &o);
    drop_output(s);
    session_die(s, &o);
}

static void unsolicited(struct smtp_session *s, const struct smtp_reply *r)
{
    struct smtp_outcome o;

    if (r->code == 421) {
        outcome_set_local(&o, OUTCOME_SERVICE_CLOSING, smtp_session_stage(s), DELIVERY_NOT_SENT, NULL);
        classify_copy_reply("", r, &o);
        session_die(s, &o);
        return;
    }
    lose(s, OUTCOME_PROTOCOL_ERROR, "a reply came that nothing had asked for");
}

static void take_reply(struct smtp_session *s, const struct smtp_reply *r)
{
    struct smtp_awaited a;

    s->last_reply_at = s->now;
    s->in_flight = false;
    if (!s->awaited_n) {
        unsolicited(s, r);
        return;
    }
    a = *head(s);
    if (r->code == 421 && a.step != STEP_BODY && a.step != STEP_QUIT && a.step != STEP_BANNER) {
        closing(s, &a, r);
        return;
    }
    if (bytes_queue_len(&s->out) && a.step != STEP_BODY && !s->f.body_begun && s->awaited_n == 1) {
        lose(s, OUTCOME_PROTOCOL_ERROR, "a reply came before its command was sent");
        return;
    }
    if (r->code / 100 == 3 && a.step != STEP_DATA && a.step != STEP_AUTH && a.step != STEP_AUTH_RESPONSE) {
        lose(s, OUTCOME_PROTOCOL_ERROR, "a 3xx reply to a command that has none");
        return;
    }
    s->awaited_at = (s->awaited_at + 1) % s->awaited_cap;
    s->awaited_n--;
    s->wait_since = s->now;
    session_steps[a.step].reply(s, &a, r);
    if (r->code == 421 && a.step == STEP_BODY && !s->must_die) {
        session_must_die(s, OUTCOME_SERVICE_CLOSING, STAGE_BODY, NULL);
        classify_copy_reply("body", r, &s->death);
    }
}

static void begin_tls(struct smtp_session *s, size_t left)
{
    s->events_n = 0;                    /* a START_TLS that nobody has pulled yet */
    if (left)
        session_die_local(s, OUTCOME_STARTTLS_INJECTION, STAGE_STARTTLS, "plaintext followed the reply to STARTTLS");
    else
        session_push_event(s, SMTP_EV_START_TLS);
}

void smtp_session_feed(struct smtp_session *s, struct bytes_view in, uint64_t now)
{
    s->now = now;
    if (s->tls_asked && !s->tls_on && in.n && !s->dead)
        begin_tls(s, in.n);
    while (in.n && !s->dead) {
        struct smtp_reply reply;
        const char *why = NULL;
        bool at_auth = smtp_session_stage(s) == STAGE_AUTH;
        int rc = smtp_reply_parser_feed(&s->parser, &in, at_auth ? SMTP_REPLY_LINE_MAX_AUTH : SMTP_REPLY_LINE_MAX,
                                        &reply, &why);
        if (rc < 0)
            lose(s, OUTCOME_PROTOCOL_ERROR, why);
        if (rc <= 0)
            return;
        take_reply(s, &reply);
        if (s->tls_asked && !s->tls_on && !s->dead) {
            begin_tls(s, in.n);
            return;
        }
        run(s);
    }
}

void smtp_session_closed(struct smtp_session *s, const struct smtp_outcome *why, const char *errno_text, uint64_t now)
{
    s->now = now;
    if (s->dead)
        return;
    if (s->awaited_n && head(s)->step == STEP_QUIT)
        session_die(s, NULL);
    else if (why)                       /* in TLS 1.3 a refused client certificate shows after the handshake */
        lose_at(s, why->code, s->t ? smtp_session_stage(s) : why->stage, why->reason);
    else
        lose(s, smtp_session_stage(s) == STAGE_TLS ? OUTCOME_TLS_CLOSED : OUTCOME_CONNECTION_CLOSED,
             errno_text ? errno_text : "the relay closed the connection");
}

/* ---- output ---- */

struct bytes_view smtp_session_output(struct smtp_session *s)
{
    struct bytes_view out;

    if (!s->dead) {
        session_fill_body(s);
        if (s->out.failed)
            lose(s, OUTCOME_INTERNAL_ERROR, "no memory for the output");
    }
    out = bytes_queue_view(&s->out);
    if (out.n > OUTPUT_VIEW_MAX)
        out.n = OUTPUT_VIEW_MAX;
    return out;
}

void smtp_session_sent(struct smtp_session *s, size_t n, uint64_t now)
{
    s->now = s->progress_at = now;
    s->sent += n;
    if (n > bytes_queue_len(&s->out))   /* what was on its way when the session ended was dropped here already */
        n = bytes_queue_len(&s->out);
    bytes_queue_consume(&s->out, n);
    if (bytes_queue_len(&s->out))
        return;
    s->wait_since = now;
    if (s->mechanism && !s->ready_told && s->out.p)
        crypto_cleanse(s->out.p, s->out.cap);   /* AUTH's lines were in it */
    if (s->t && !s->dead)
        run(s);                         /* a long list of recipients goes in pieces */
}

/* ---- time ---- */

static uint64_t reply_limit(const struct smtp_session *s, enum smtp_step step)
{
    uint32_t ms;

    memcpy(&ms, (const char *)&s->p.timeouts + session_steps[step].timeout, sizeof(ms));
    return ms;
}

uint64_t smtp_session_deadline(const struct smtp_session *s)
{
    if (s->dead)
        return UINT64_MAX;
    if (bytes_queue_len(&s->out) || (s->f.body_begun && s->t && !s->f.body_queued))
        return s->progress_at + s->p.timeouts.write_stall;
    if (!s->awaited_n)
        return UINT64_MAX;
    if (s->t && s->final_until)
        return s->final_until;
    return s->wait_since + reply_limit(s, head(s)->step);
}

void smtp_session_tick(struct smtp_session *s, uint64_t now)
{
    char reason[120];

    s->now = now;
    if (now < smtp_session_deadline(s))
        return;
    if (s->awaited_n && head(s)->step == STEP_QUIT) {
        session_die(s, NULL);
        return;
    }
    if (bytes_queue_len(&s->out))
        snprintf(reason, sizeof(reason), "the relay took no more bytes for %u ms", s->p.timeouts.write_stall);
    else
        snprintf(reason, sizeof(reason), "no complete reply to %s within %u ms",
                 head(s)->step == STEP_BANNER ? "the connection" : session_steps[head(s)->step].name,
                 (unsigned)(now - s->wait_since));
    lose(s, OUTCOME_TIMEOUT, reason);
}

/* ---- mails ---- */

bool smtp_session_is_ready(const struct smtp_session *s)
{
    return s->ready_told && !s->t && !s->dead && !s->quit_asked;
}

/* The last line of defence: what would break a command into two, or make it longer than a server has room for (RFC 5321
 * §4.5.3.1, RFC 3461 §4.4). Whoever submits has seen to it already. */
static const char *envelope_defect(const struct smtp_transaction *t)
{
    if (t->from[strcspn(t->from, "\r\n")])
        return "a line break in the envelope";
    for (size_t i = 0; i < t->n_rcpts; i++)
        if (t->rcpts[i][strcspn(t->rcpts[i], "\r\n")])
            return "a line break in the envelope";
    if (!t->envid)
        return NULL;
    if (strlen(t->envid) > ENVID_MAX)
        return "the envelope's id is too long";
    for (const char *p = t->envid; *p; p++)
        if (*p < ' ' || *p > '~')
            return "the envelope's id has a character that may not be in one";
    return NULL;
}

/* RFC 6531 §3.1 asks for both SMTPUTF8 and 8BITMIME. RFC 8689 §4.2.1: REQUIRETLS is said over TLS only, and what was
 * offered before is forgotten; without TLS it is not believed. */
static const char *missing_extension(const struct smtp_session *s, const struct smtp_transaction *t,
                                     enum outcome_code *code_out)
{
    const struct smtp_capabilities *c = &s->caps;

    *code_out = OUTCOME_SENT;
    if (t->needs_utf8 && !(c->smtputf8 && c->eightbitmime)) {
        *code_out = OUTCOME_SMTPUTF8_UNSUPPORTED;
        return "the relay does not offer SMTPUTF8";
    }
    if (t->needs_8bit && !c->eightbitmime) {
        *code_out = OUTCOME_EIGHTBITMIME_UNSUPPORTED;
        return "the relay does not offer 8BITMIME";
    }
    if (t->needs_dsn && !c->dsn) {
        *code_out = OUTCOME_DSN_UNSUPPORTED;
        return "the relay does not offer DSN";
    }
    if (t->require_tls && !(c->requiretls && s->tls_on)) {
        *code_out = OUTCOME_REQUIRETLS_UNSUPPORTED;
        return s->tls_on ? "the relay does not offer REQUIRETLS" : "the session with the relay has no TLS";
    }
    return NULL;
}

/* What this relay cannot take is not tried. */
static bool is_refused_beforehand(const struct smtp_session *s, const struct smtp_transaction *t,
                                  struct smtp_outcome *o)
{
    const char *why = envelope_defect(t);
    enum outcome_code code;
    char reason[120];

    if (why) {
        outcome_set_local(o, OUTCOME_INTERNAL_ERROR, STAGE_MAIL, DELIVERY_NOT_SENT, why);
        return true;
    }
    if (s->caps.size_max && t->content.n > s->caps.size_max) {
        snprintf(reason, sizeof(reason), "the mail has %zu octets, the relay takes %llu", t->content.n,
                 (unsigned long long)s->caps.size_max);
        outcome_set_local(o, OUTCOME_MESSAGE_TOO_LARGE, STAGE_MAIL, DELIVERY_NOT_SENT, reason);
        return true;
    }
    why = missing_extension(s, t, &code);
    if (why)
        outcome_set_local(o, code, STAGE_EHLO, DELIVERY_NOT_SENT, why);
    return why != NULL;
}

void smtp_session_submit(struct smtp_session *s, struct smtp_transaction *t, uint64_t now)
{
    struct smtp_outcome o;

    if (!smtp_session_is_ready(s) || !t->n_rcpts)
        unreachable("a mail was given to a session that is not ready");
    s->now = now;
    s->fresh = now - s->last_reply_at <= s->p.one_flight_idle;
    s->final_until = 0;
    s->t = t;
    memset(&s->f, 0, sizeof(s->f));
    memset(&t->outcome, 0, sizeof(t->outcome));
    memset(t->rcpt_outcomes, 0, t->n_rcpts * sizeof(*t->rcpt_outcomes));
    if (is_refused_beforehand(s, t, &o)) {
        finish(s, &o);
        session_push_event(s, SMTP_EV_READY);
        return;
    }
    s->in_flight = false;
    run(s);
}

void smtp_session_quit(struct smtp_session *s, uint64_t now)
{
    if (!smtp_session_is_ready(s))
        return;
    s->now = now;
    s->quit_asked = true;
    run(s);
}

bool smtp_session_give_up(struct smtp_session *s, uint64_t until, uint64_t now)
{
    struct smtp_outcome o;

    s->now = now;
    if (!s->t)
        return false;
    if (session_body_is_gone(s) && !s->f.no_recipients_dot && !is_decided(s, &o)) {
        s->final_until = until;
        return true;
    }
    lose(s, OUTCOME_DEADLINE_EXCEEDED, "the request's deadline passed");
    return false;
}

/* ---- facts for the driver ---- */

const struct smtp_capabilities *smtp_session_capabilities(const struct smtp_session *s)
{
    return &s->caps;
}

bool smtp_session_body_is_gone(const struct smtp_session *s)
{
    return s->t && session_body_is_gone(s);
}

bool smtp_session_one_flight_is_off(const struct smtp_session *s)
{
    return s->one_flight_off;
}

unsigned smtp_session_flights(const struct smtp_session *s)
{
    return s->flights;
}

const char *smtp_session_auth_mechanism(const struct smtp_session *s)
{
    return s->mechanism ? s->mechanism->name : "";
}
