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
/* Exim drops a session, in plain text within TLS, at more than ten RSETs that each followed no accepted mail; Postfix
 * answers more slowly after ten errors. */
#define REFUSALS_MAX 10

/* ---- life ---- */

struct smtp_session *smtp_session_new(const struct smtp_session_params *p)
{
    struct smtp_session *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->p = *p;
    s->done_last = &s->done_first;
    /* Without CHUNKING the envelope of the next mail goes behind the dot of one, whatever the depth. */
    s->mails_cap = p->depth > 2 ? p->depth : 2;
    s->mails = calloc(s->mails_cap, sizeof(*s->mails));
    if (!s->mails) {
        free(s);
        return NULL;
    }
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
    free(s->mails);
    free(s);
}

/* ---- small pieces ---- */

/* Whatever ends, ends in this order: mails, then the readiness for more, or the session. */
bool smtp_session_next_event(struct smtp_session *s, struct smtp_event *ev)
{
    ev->type = SMTP_EV_NONE;
    if (s->start_tls_due) {
        s->start_tls_due = false;
        ev->type = SMTP_EV_START_TLS;
    } else if (s->done_first) {
        ev->type = SMTP_EV_DONE;
        ev->transaction = s->done_first;
        s->done_first = ev->transaction->next;
        if (!s->done_first)
            s->done_last = &s->done_first;
    } else if (s->ready_due) {
        s->ready_due = false;
        ev->type = SMTP_EV_READY;
    } else if (s->dead_due) {
        s->dead_due = false;
        ev->type = SMTP_EV_DEAD;
        ev->quit_ok = s->quit_ok;
        ev->outcome = s->death;
    }
    return ev->type != SMTP_EV_NONE;
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

static bool await(struct smtp_session *s, enum smtp_step step)
{
    struct session_mail *m = session_newest(s);
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
    s->awaited[(s->awaited_at + s->awaited_n++) % s->awaited_cap] =
        (struct smtp_awaited){.step = step, .mail = m, .rcpt = m ? (uint32_t)m->f.rcpts_sent : 0};
    return true;
}

static struct smtp_awaited *awaited(const struct smtp_session *s, size_t i)
{
    return &s->awaited[(s->awaited_at + i) % s->awaited_cap];
}

static const struct smtp_awaited *head(const struct smtp_session *s)
{
    return s->awaited_n ? awaited(s, 0) : NULL;
}

bool session_is_gone(const struct smtp_session *s, const struct session_mail *m)
{
    return m->f.body_queued && s->sent >= m->f.body_end;
}

/* The i-th mail in hand; mails_n when t is none of them. */
static unsigned number_of(const struct smtp_session *s, const struct smtp_transaction *t)
{
    unsigned i = 0;

    while (i < s->mails_n && session_mail(s, i)->t != t)
        i++;
    return i;
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

/* How far one mail got: the first reply that it waits for. */
static enum stage stage_of(const struct smtp_session *s, const struct session_mail *m)
{
    for (size_t i = 0; i < s->awaited_n; i++)
        if (awaited(s, i)->mail == m)
            return session_steps[awaited(s, i)->step].stage;
    return m->f.body_begun ? STAGE_BODY : STAGE_MAIL;
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
static bool is_decided(const struct session_mail *m, struct smtp_outcome *out)
{
    const struct mail_facts *f = &m->f;
    const struct smtp_transaction *t = m->t;
    bool all_answered = f->rcpts_ok + f->rcpts_refused == t->n_rcpts;

    if (f->mail_refused || f->body_accepted) {
        *out = t->outcome;
        return true;
    }
    if (f->mail_ok && all_answered && f->rcpts_refused && (!f->rcpts_ok || t->partial_reject)) {
        *out = *decisive_refusal(t);
        if (f->rcpts_ok) {
            out->code = OUTCOME_RECIPIENTS_REJECTED;
            out->delivery = DELIVERY_NOT_SENT;
        }
        return true;
    }
    if (f->data_refused || f->body_refused) {
        *out = t->outcome;
        return true;
    }
    return false;
}

/* Accepted at RCPT means nothing when the mail failed behind it; a refusal of one's own stays. */
static void tell_done(struct smtp_session *s, struct smtp_transaction *t, const struct smtp_outcome *o)
{
    t->outcome = *o;
    if (o->code != OUTCOME_SENT)
        for (size_t i = 0; i < t->n_rcpts; i++)
            if (t->rcpt_outcomes[i].code == OUTCOME_SENT)
                t->rcpt_outcomes[i] = *o;
    t->next = NULL;
    *s->done_last = t;
    s->done_last = &t->next;
}

static void finish_oldest(struct smtp_session *s, const struct smtp_outcome *o)
{
    struct session_mail *m = session_oldest(s);

    if (m->f.mail_sent)
        s->rset_due = !(m->f.body_accepted && o->code == OUTCOME_SENT);
    if (m->f.mail_sent && s->rset_due)
        s->refusals++;
    s->flew = m->f.one_flight;
    s->mails_at = (s->mails_at + 1) % s->mails_cap;
    s->mails_n--;
    tell_done(s, m->t, o);
    if (s->out.cap > KEEP_OUTPUT)
        bytes_queue_release(&s->out);
}

/* A mail in hand when its session ends because of *why. What that means for it depends on what left and on what was
 * answered, never on how the session was lost. A 421 says that what is not answered is not done either (RFC 5321 §3.8).
 * A mail behind the one that the session ended with had no part in it. */
static void judge(const struct smtp_session *s, const struct session_mail *m, const struct smtp_outcome *why,
                  bool behind, struct smtp_outcome *out)
{
    if (is_decided(m, out))
        return;
    *out = *why;
    if (behind && why->reply_code != 421)
        outcome_set_local(out, OUTCOME_CONNECTION_CLOSED, STAGE_MAIL, DELIVERY_NOT_SENT,
                          "the session ended with a mail in front of this one");
    if (behind)
        out->stage = stage_of(s, m);
    if (why->reply_code == 421 || !session_is_gone(s, m) || m->f.no_recipients_dot)
        return;
    out->stage = STAGE_BODY;
    out->delivery = DELIVERY_UNKNOWN;
    if (out->code != OUTCOME_PROTOCOL_ERROR)
        out->code = OUTCOME_OUTCOME_UNKNOWN;
}

/* `culprit`: the oldest mail is the one that the session ends with. Else it ended already. */
static void end(struct smtp_session *s, const struct smtp_outcome *why, bool culprit)
{
    struct smtp_outcome reason, o;

    if (s->dead)
        return;
    s->dead = s->dead_due = true;
    s->quit_ok = !why;
    if (why)
        reason = s->death = *why;
    for (bool behind = !culprit; why && s->mails_n; behind = true) {
        judge(s, session_oldest(s), &reason, behind, &o);
        if (!behind)
            s->death = o;
        finish_oldest(s, &o);
    }
    s->awaited_n = 0;
}

void session_die(struct smtp_session *s, const struct smtp_outcome *why)
{
    end(s, why, true);
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
    const struct session_mail *m = session_oldest(s);

    if (!m)
        return s->flew && code == OUTCOME_PROTOCOL_ERROR;
    if (!m->f.one_flight || !session_is_gone(s, m))
        return false;
    return code == OUTCOME_PROTOCOL_ERROR || (code == OUTCOME_TIMEOUT && s->awaited_n && head(s)->step != STEP_BODY);
}

/* The session is lost in the middle of something: EOF, time-out, a broken reply. */
static void lose_at(struct smtp_session *s, enum outcome_code code, enum stage stage, const char *reason)
{
    struct smtp_outcome o;

    if (s->dead)
        return;
    if (is_out_of_step(s, code))
        s->one_flight_off = true;
    drop_output(s);
    outcome_set_local(&o, code, stage, DELIVERY_NOT_SENT, reason);
    o.ms = (uint32_t)(s->now - s->wait_since);
    session_die(s, &o);
}

static void lose(struct smtp_session *s, enum outcome_code code, const char *reason)
{
    lose_at(s, code, smtp_session_stage(s), reason);
}

/* ---- going on ---- */

/* The oldest mail awaits nothing more, and nothing more of it can be written: it is at its end. */
static bool finish_by_facts(struct smtp_session *s)
{
    struct session_mail *m = session_oldest(s);
    struct smtp_outcome o;

    if (s->dead || !m || (s->awaited_n && head(s)->mail == m))
        return false;
    if (!is_decided(m, &o))
        outcome_set_local(&o, OUTCOME_PROTOCOL_ERROR, STAGE_MAIL, DELIVERY_NOT_SENT,
                          s->must_die ? s->death.reason : "the envelope came to no end");
    finish_oldest(s, &o);
    if (s->must_die) {
        drop_output(s);
        end(s, &s->death, false);
    } else if (!s->mails_n) {
        s->ready_due = true;
    }
    return true;
}

static void write_commands(struct smtp_session *s)
{
    enum smtp_step step;

    while ((step = session_next_step(s)) != STEP_NONE) {
        if (!await(s, step)) {
            lose(s, OUTCOME_INTERNAL_ERROR, "no memory");
            return;
        }
        session_steps[step].send(s);
        if (s->out.failed)
            lose(s, OUTCOME_INTERNAL_ERROR, "no memory for the output");
        else if (!s->dead)
            awaited(s, s->awaited_n - 1)->end = s->queued;
    }
}

/* Work in hand implies a reply awaited: what may go, goes; and when a mail awaits nothing any more, it has come to its
 * end, and the next one may go on. */
static void run(struct smtp_session *s)
{
    do
        write_commands(s);
    while (finish_by_facts(s));
    if (s->dead || s->awaited_n || s->mails_n || s->ready_told)
        return;
    if (s->ehlo_done && (s->authed || !s->p.user) && (s->tls_on || s->p.tls_mode == SMTP_TLS_NONE))
        s->ready_told = s->ready_due = true;
}

void smtp_session_start(struct smtp_session *s, uint64_t now)
{
    s->now = s->last_reply_at = s->progress_at = now;
    s->tls_on = s->p.tls_mode == SMTP_TLS_IMPLICIT;
    if (!await(s, STEP_BANNER))
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
    if (a.end > s->sent && a.step != STEP_BODY) {
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
    s->start_tls_due = !left;           /* one that nobody has pulled yet is taken back */
    if (left)
        session_die_local(s, OUTCOME_STARTTLS_INJECTION, STAGE_STARTTLS, "plaintext followed the reply to STARTTLS");
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
        lose_at(s, why->code, s->mails_n ? smtp_session_stage(s) : why->stage, why->reason);
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

/* The whole of what the first awaited reply answers is out. */
static bool is_head_sent(const struct smtp_session *s)
{
    const struct smtp_awaited *a = head(s);

    return a && (a->step == STEP_BODY ? session_is_gone(s, a->mail) : s->sent >= a->end);
}

void smtp_session_sent(struct smtp_session *s, size_t n, uint64_t now)
{
    bool was_sent = is_head_sent(s);

    s->now = s->progress_at = now;
    s->sent += n;
    if (!was_sent && is_head_sent(s))
        s->wait_since = now;
    if (n > bytes_queue_len(&s->out))   /* what was on its way when the session ended was dropped here already */
        n = bytes_queue_len(&s->out);
    bytes_queue_consume(&s->out, n);
    if (bytes_queue_len(&s->out))
        return;
    /* A slow line delays all replies to one mail, and none to those in front of it. */
    if (s->mails_n < 2)
        s->wait_since = now;
    if (s->mechanism && !s->ready_told && s->out.p)
        crypto_cleanse(s->out.p, s->out.cap);   /* AUTH's lines were in it */
    if (s->mails_n && !s->dead)
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
    const struct session_mail *oldest = session_oldest(s), *newest = session_newest(s);

    if (s->dead)
        return UINT64_MAX;
    if (bytes_queue_len(&s->out) || (newest && newest->f.body_begun && !newest->f.body_queued))
        return s->progress_at + s->p.timeouts.write_stall;
    if (!s->awaited_n)
        return UINT64_MAX;
    if (oldest && oldest->final_until)
        return oldest->final_until;
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
    return s->ready_told && !s->mails_n && !s->dead && !s->quit_asked;
}

bool smtp_session_is_worn(const struct smtp_session *s)
{
    return s->refusals >= REFUSALS_MAX;
}

bool smtp_session_has_room(const struct smtp_session *s)
{
    const struct session_mail *m = session_newest(s);

    if (!m)
        return smtp_session_is_ready(s);
    if (s->dead || s->must_die || s->quit_asked || !s->caps.pipelining || s->mails_n == s->mails_cap)
        return false;
    if (s->refusals + s->mails_n >= REFUSALS_MAX)
        return false;                   /* each of them may be refused */
    if (!m->f.body_queued || m->f.no_recipients_dot || bytes_queue_len(&s->out) > SESSION_OUTPUT_LOW)
        return false;
    if (!session_uses_chunking(s))
        return s->mails_n < 2;
    return s->mails_n < s->p.depth && !s->one_flight_off;
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

    if (!smtp_session_has_room(s) || !t->n_rcpts)
        unreachable("a mail was given to a session that has no room for it");
    s->now = now;
    s->ready_due = false;
    memset(&t->outcome, 0, sizeof(t->outcome));
    memset(t->rcpt_outcomes, 0, t->n_rcpts * sizeof(*t->rcpt_outcomes));
    if (is_refused_beforehand(s, t, &o)) {
        tell_done(s, t, &o);
        s->ready_due = !s->mails_n;
        return;
    }
    if (!s->mails_n)
        s->in_flight = false;
    s->mails_n++;
    *session_newest(s) =
        (struct session_mail){.t = t, .begin = s->queued, .fresh = now - s->last_reply_at <= s->p.one_flight_idle};
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

/* Nothing of the mails from the i-th on is written any more; those in front of them are waited for. */
static void give_up_from(struct smtp_session *s, unsigned i, const struct smtp_outcome *why)
{
    uint64_t begin = session_mail(s, i)->begin;
    struct smtp_outcome o;

    session_must_die(s, why->code, STAGE_MAIL, why->reason);
    bytes_queue_truncate(&s->out, begin > s->sent ? (size_t)(begin - s->sent) : 0);
    for (unsigned k = i; k < s->mails_n; k++) {
        judge(s, session_mail(s, k), why, k > i, &o);
        o.stage = stage_of(s, session_mail(s, k));
        tell_done(s, session_mail(s, k)->t, &o);
    }
    s->mails_n = i;
    while (awaited(s, s->awaited_n - 1)->mail != session_newest(s))
        s->awaited_n--;
}

bool smtp_session_give_up(struct smtp_session *s, const struct smtp_transaction *t, uint64_t until, uint64_t now)
{
    static const char reason[] = "the request's deadline passed";
    unsigned i = number_of(s, t);
    struct session_mail *m = session_mail(s, i);
    struct smtp_outcome o;

    s->now = now;
    if (i == s->mails_n)
        return false;
    if (session_is_gone(s, m) && !m->f.no_recipients_dot && !is_decided(m, &o)) {
        m->final_until = until;
        return true;
    }
    outcome_set_local(&o, OUTCOME_DEADLINE_EXCEEDED, STAGE_MAIL, DELIVERY_NOT_SENT, reason);
    if (i)
        give_up_from(s, i, &o);
    else
        lose(s, OUTCOME_DEADLINE_EXCEEDED, reason);
    return false;
}

/* ---- facts for the driver ---- */

const struct smtp_capabilities *smtp_session_capabilities(const struct smtp_session *s)
{
    return &s->caps;
}

bool smtp_session_body_is_gone(const struct smtp_session *s, const struct smtp_transaction *t)
{
    unsigned i = number_of(s, t);

    return i < s->mails_n && session_is_gone(s, session_mail(s, i));
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
