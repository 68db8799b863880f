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
#define ENVID_MAX 100                   /* RFC 3461 §4.4 */
/* Exim drops a session, in plain text within TLS, at more than ten RSETs that each followed no accepted mail. */
#define REFUSALS_MAX 10
/* Postfix answers each command a second late once more than ten were refused (smtpd_soft_error_limit), of any mail. A
 * mail to one wrong address is refused two: its RCPT, and the DATA or BDAT behind it. */
#define ERRORS_MAX 8
#define ERRORS_OF_A_MAIL 2
#define REFUSED_ALIKE_MAX 2
/* Nobody's mail waits for the replies between mails; and where a session was silent for long it may be dead. */
#define BETWEEN_MS 2000
#define STALE_REPLY_MS 5000
#define IDLE_MS 1000                    /* a session that was just opened has not died yet */
#define DOUBT_MS 5000                   /* behind a verdict; what comes later is some goodbye */

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
    s->parser.secrets = p->secrets;
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
        ev->doubts_last = s->doubts_last;
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
    const struct smtp_awaited *a = session_head(s);

    if (s->tls_asked && !s->tls_on)
        return STAGE_TLS;
    if (a)
        return session_steps[a->step].stage;
    return s->greeted ? STAGE_MAIL : STAGE_BANNER;
}

/* ---- going on ---- */

/* The oldest mail awaits nothing more, and nothing more of it can be written: it is at its end. */
static bool finish_by_facts(struct smtp_session *s)
{
    struct session_mail *m = session_oldest(s);
    struct smtp_outcome o;

    if (s->dead || !m || (s->awaited_n && session_head(s)->mail == m))
        return false;
    if (!session_is_decided(m, &o))
        outcome_set_local(&o, OUTCOME_PROTOCOL_ERROR, STAGE_MAIL, DELIVERY_NOT_SENT,
                          s->must_die ? s->death.reason : "the envelope came to no end");
    session_finish_oldest(s, &o);
    if (s->must_die) {
        session_drop_output(s);
        session_end(s, &s->death, false);
    } else if (!s->mails_n) {
        s->ready_owed = true;
    }
    return true;
}

static void write_commands(struct smtp_session *s)
{
    enum smtp_step step;

    while ((step = session_next_step(s)) != STEP_NONE) {
        if (!await(s, step)) {
            session_lose(s, OUTCOME_INTERNAL_ERROR, "no memory");
            return;
        }
        session_steps[step].send(s);
        if (s->out.failed)
            session_lose(s, OUTCOME_INTERNAL_ERROR, "no memory for the output");
        else if (!s->dead)
            session_awaited(s, s->awaited_n - 1)->end = s->queued;
    }
}

/* Work in hand implies a reply awaited: what may go, goes; and when a mail awaits nothing any more, it has come to its
 * end, and the next one may go on. */
static void run(struct smtp_session *s)
{
    do
        write_commands(s);
    while (finish_by_facts(s));
    if (s->dead || s->awaited_n || s->mails_n)
        return;
    if (s->ready_told) {
        s->ready_due |= s->ready_owed && session_is_between_done(s);
        s->ready_owed &= !s->ready_due;
        return;
    }
    if (s->ehlo_done && (s->authed || !s->p.user) && (s->tls_on || s->p.tls_mode == SMTP_TLS_NONE))
        s->ready_told = s->ready_due = true;
}

void smtp_session_start(struct smtp_session *s, uint64_t now)
{
    s->now = s->last_reply_at = s->progress_at = now;
    s->tls_on = s->p.tls_mode == SMTP_TLS_IMPLICIT;
    if (!await(s, STEP_BANNER))
        session_lose(s, OUTCOME_INTERNAL_ERROR, "no memory");
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
    session_drop_output(s);
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
    /* Behind a verdict it says that replies have slipped: the one before may have been another command's. */
    s->doubts_last = s->took && s->now - s->verdict_at <= DOUBT_MS;
    if (s->doubts_last)
        session_refute(s);
    session_lose(s, OUTCOME_PROTOCOL_ERROR, "a reply came that nothing had asked for");
}

/* A server may say goodbye (421) with its verdict. In one flight it is one only where the reply that was taken for the
 * verdict has the enhanced code of one (RFC 3463 §3: X.0.0, X.6.0), and not that of a reply to MAIL or RCPT (X.1.x). */
static bool is_goodbye(const struct session_mail *m, struct bytes_view left)
{
    const char *enhanced = m->t->outcome.enhanced;

    return bytes_starts_nocase(left, "421") && m->f.body_accepted &&
           (!m->f.one_flight || strncmp(enhanced, "2.0.", 4) == 0 || strncmp(enhanced, "2.6.", 4) == 0);
}

/* What lies behind the reply to the last body was said before anything else was asked: some reply was said twice, or
 * one too many, and the verdict may be the one behind. */
static void doubt_verdict(struct smtp_session *s, struct bytes_view left)
{
    struct session_mail *m = session_oldest(s);
    struct smtp_outcome *o = m ? &m->t->outcome : NULL;

    if (!m || s->mails_n > 1 || s->awaited_n || !left.n || s->must_die || m->f.no_recipients_dot)
        return;
    if (!m->f.body_accepted && !(m->f.one_flight && m->f.body_refused))
        return;
    if (is_goodbye(m, left))
        return;
    m->f.body_accepted = true;          /* no reply of another command decides it now */
    outcome_set_local(o, OUTCOME_OUTCOME_UNKNOWN, STAGE_BODY, DELIVERY_UNKNOWN,
                      "more replies came than were asked for, so that which of them was the mail's cannot be told");
    session_refute(s);
    session_must_die(s, OUTCOME_PROTOCOL_ERROR, STAGE_BODY, o->reason);
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
    a = *session_head(s);
    if (a.mail)
        a.mail->answered = true;
    s->errors += s->ready_told && r->code >= 400;
    if (r->code == 421 && a.step != STEP_BODY && a.step != STEP_QUIT && a.step != STEP_BANNER) {
        closing(s, &a, r);
        return;
    }
    if (a.end > s->sent && a.step != STEP_BODY) {
        session_lose(s, OUTCOME_PROTOCOL_ERROR, "a reply came before its command was sent");
        return;
    }
    if (r->code / 100 == 3 && a.step != STEP_DATA && a.step != STEP_AUTH && a.step != STEP_AUTH_RESPONSE &&
        a.step != STEP_STARTTLS) {
        session_lose(s, OUTCOME_PROTOCOL_ERROR, "a 3xx reply to a command that has none");
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
            session_lose(s, OUTCOME_PROTOCOL_ERROR, why);
        if (rc <= 0)
            return;
        take_reply(s, &reply);
        if (!s->dead)
            doubt_verdict(s, in);
        if (s->tls_asked && !s->tls_on && !s->dead) {
            begin_tls(s, in.n);
            return;
        }
        run(s);
    }
}

static bool is_oldest_gone(const struct smtp_session *s)
{
    return s->mails_n && session_is_gone(s, session_oldest(s));
}

void smtp_session_closed(struct smtp_session *s, const struct smtp_outcome *why, const char *errno_text, uint64_t now)
{
    s->now = now;
    if (s->dead)
        return;
    if (s->awaited_n && session_head(s)->step == STEP_QUIT)
        session_die(s, NULL);
    else if (why)                       /* in TLS 1.3 a refused client certificate shows after the handshake */
        session_lose_at(s, is_oldest_gone(s) ? OUTCOME_CONNECTION_CLOSED : why->code,
                s->mails_n ? smtp_session_stage(s) : why->stage, why->reason);
    else
        session_lose(s, smtp_session_stage(s) == STAGE_TLS ? OUTCOME_TLS_CLOSED : OUTCOME_CONNECTION_CLOSED,
             errno_text ? errno_text : "the relay closed the connection");
}

/* ---- output ---- */

struct bytes_view smtp_session_output(struct smtp_session *s)
{
    struct bytes_view out;

    if (!s->dead) {
        session_fill_body(s);
        if (s->out.failed)
            session_lose(s, OUTCOME_INTERNAL_ERROR, "no memory for the output");
    }
    out = bytes_queue_view(&s->out);
    if (out.n > OUTPUT_VIEW_MAX)
        out.n = OUTPUT_VIEW_MAX;
    return out;
}

/* The whole of what the first awaited reply answers is out. */
static bool is_head_sent(const struct smtp_session *s)
{
    const struct smtp_awaited *a = session_head(s);

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

/* Of a reply that no mail waits for, or that tells whether the session lives at all. */
static uint64_t short_limit(const struct smtp_session *s)
{
    uint64_t limit = reply_limit(s, session_head(s)->step);
    uint32_t most = s->ready_owed ? BETWEEN_MS : STALE_REPLY_MS;

    return limit < most ? limit : most;
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
    if (s->ready_owed || session_is_stale(s))
        return s->wait_since + short_limit(s);
    return s->wait_since + reply_limit(s, session_head(s)->step);
}

void smtp_session_tick(struct smtp_session *s, uint64_t now)
{
    char reason[120];

    s->now = now;
    if (now < smtp_session_deadline(s))
        return;
    if (s->awaited_n && session_head(s)->step == STEP_QUIT) {
        session_die(s, NULL);
        return;
    }
    if (bytes_queue_len(&s->out))
        snprintf(reason, sizeof(reason), "the relay took no more bytes for %u ms", s->p.timeouts.write_stall);
    else
        snprintf(reason, sizeof(reason), "no complete reply to %s within %u ms",
                 session_head(s)->step == STEP_BANNER ? "the connection" : session_steps[session_head(s)->step].name,
                 (unsigned)(now - s->wait_since));
    session_lose(s, OUTCOME_TIMEOUT, reason);
}

/* ---- mails ---- */

bool smtp_session_is_ready(const struct smtp_session *s)
{
    return s->ready_told && !s->ready_owed && !s->mails_n && !s->dead && !s->quit_asked;
}

bool smtp_session_is_cleaning(const struct smtp_session *s)
{
    return s->ready_owed && !s->dead;
}

bool smtp_session_is_worn(const struct smtp_session *s)
{
    return s->refusals >= REFUSALS_MAX || s->errors >= ERRORS_MAX || s->refused_alike >= REFUSED_ALIKE_MAX ||
           s->limit_reached;
}

bool smtp_session_has_room(const struct smtp_session *s)
{
    const struct session_mail *m = session_newest(s);

    if (!m)
        return smtp_session_is_ready(s);
    if (s->dead || s->must_die || s->quit_asked || !s->caps.pipelining || s->mails_n == s->mails_cap)
        return false;
    if (smtp_session_is_worn(s) || session_wants_proof(s))
        return false;
    if (s->refusals + s->mails_n >= REFUSALS_MAX)
        return false;                   /* each of them may be refused */
    if (s->errors && s->errors + ERRORS_OF_A_MAIL * s->mails_n >= ERRORS_MAX)
        return false;
    if (!m->f.body_queued || m->f.no_recipients_dot || bytes_queue_len(&s->out) > SESSION_OUTPUT_LOW)
        return false;
    if (!session_uses_chunking(s))
        return s->mails_n < 2;
    return s->mails_n < s->p.depth;
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
        session_tell_done(s, t, &o);
        s->ready_due = !s->mails_n;
        return;
    }
    if (!s->mails_n)
        s->in_flight = false;
    s->mails_n++;
    *session_newest(s) =
        (struct session_mail){.t = t, .begin = s->queued, .fresh = now - s->last_reply_at < s->p.one_flight_idle,
                              .reused = s->mails_done || now - s->last_reply_at > IDLE_MS};
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
        session_judge(s, session_mail(s, k), why, k > i, &o);
        o.stage = session_stage_of(s, session_mail(s, k));
        session_tell_done(s, session_mail(s, k)->t, &o);
    }
    s->mails_n = i;
    while (session_awaited(s, s->awaited_n - 1)->mail != session_newest(s))
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
    if (session_is_gone(s, m) && !m->f.no_recipients_dot && !session_is_decided(m, &o)) {
        m->final_until = until;
        return true;
    }
    outcome_set_local(&o, OUTCOME_DEADLINE_EXCEEDED, STAGE_MAIL, DELIVERY_NOT_SENT, reason);
    if (i)
        give_up_from(s, i, &o);
    else
        session_lose(s, OUTCOME_DEADLINE_EXCEEDED, reason);
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

unsigned smtp_session_flights(const struct smtp_session *s)
{
    return s->flights;
}

const char *smtp_session_auth_mechanism(const struct smtp_session *s)
{
    return s->mechanism ? s->mechanism->name : "";
}
