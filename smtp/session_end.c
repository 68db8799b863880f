#include "smtp/session_int.h"

#include <string.h>

/* What becomes of mails: decided by their replies, or, when the session ends, by what left and what was answered. */

#define KEEP_OUTPUT (64 * 1024)         /* an idle session does not keep a larger buffer */

/* The rest of a body, or commands of a session that is lost. */
void session_drop_output(struct smtp_session *s)
{
    bytes_queue_consume(&s->out, bytes_queue_len(&s->out));
}

/* How far one mail got: the first reply that it waits for. */
enum stage session_stage_of(const struct smtp_session *s, const struct session_mail *m)
{
    for (size_t i = 0; i < s->awaited_n; i++)
        if (session_awaited(s, i)->mail == m)
            return session_steps[session_awaited(s, i)->step].stage;
    return m->f.body_begun ? STAGE_BODY : STAGE_MAIL;
}

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
bool session_is_decided(const struct session_mail *m, struct smtp_outcome *out)
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
            out->whose = WHOSE_ADDRESS;
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
void session_tell_done(struct smtp_session *s, struct smtp_transaction *t, const struct smtp_outcome *o)
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

/* The same refusal for two mails in a row, or one that a new session may not give, is the session's. An address that is
 * refused is the address's. */
static void note_refusal(struct smtp_session *s, const struct smtp_outcome *o)
{
    struct session_refusal now = {.stage = o->stage, .code = o->reply_code}, *last = &s->last_refusal;

    if (o->whose == WHOSE_SESSION)
        s->limit_reached = true;
    if (o->whose == WHOSE_NOBODY || o->whose == WHOSE_ADDRESS)
        now.code = 0;
    memcpy(now.enhanced, o->enhanced, sizeof(now.enhanced));
    s->refused_alike = !now.code ? 0
                       : last->stage == now.stage && last->code == now.code && strcmp(last->enhanced, now.enhanced) == 0
                           ? s->refused_alike + 1
                           : 1;
    *last = now;
}

static void note_end(struct smtp_session *s, const struct session_mail *m, const struct smtp_outcome *o)
{
    s->took = m->f.body_accepted && o->code == OUTCOME_SENT;
    s->rset_due = !s->took;
    s->mails_done++;
    s->refusals += !s->took;
    s->flew = m->f.one_flight;
    s->verdict_at = s->now;
    if (s->took && s->flew)
        smtp_proofs_add(s->p.proofs, s->fingerprint);
    note_refusal(s, o);
}

void session_finish_oldest(struct smtp_session *s, const struct smtp_outcome *o)
{
    struct session_mail *m = session_oldest(s);

    if (m->f.mail_sent)
        note_end(s, m, o);
    s->mails_at = (s->mails_at + 1) % s->mails_cap;
    s->mails_n--;
    session_tell_done(s, m->t, o);
    if (s->out.cap > KEEP_OUTPUT)
        bytes_queue_release(&s->out);
}

/* A mail in hand when its session ends because of *why. What that means for it depends on what left and on what was
 * answered, never on how the session was lost. A 421 says that what is not answered is not done either (RFC 5321 §3.8).
 * A mail behind the one that the session ended with had no part in it. */
void session_judge(const struct smtp_session *s, const struct session_mail *m, const struct smtp_outcome *why,
                  bool behind, struct smtp_outcome *out)
{
    if (session_is_decided(m, out))
        return;
    *out = *why;
    if (behind && why->reply_code != 421)
        outcome_set_local(out, OUTCOME_CONNECTION_CLOSED, STAGE_MAIL, DELIVERY_NOT_SENT,
                          "the session ended with a mail in front of this one");
    if (behind)
        out->stage = session_stage_of(s, m);
    if (why->reply_code == 421 || !session_is_gone(s, m) || m->f.no_recipients_dot)
        return;
    out->stage = STAGE_BODY;
    out->delivery = DELIVERY_UNKNOWN;
    out->whose = WHOSE_SESSION;
    if (out->code != OUTCOME_PROTOCOL_ERROR)
        out->code = OUTCOME_OUTCOME_UNKNOWN;
}

/* `culprit`: the oldest mail is the one that the session ends with. Else it ended already. */
void session_end(struct smtp_session *s, const struct smtp_outcome *why, bool culprit)
{
    struct smtp_outcome reason, o;

    if (s->dead)
        return;
    s->dead = s->dead_due = true;
    s->quit_ok = !why;
    if (why)
        reason = s->death = *why;
    if (s->proof == PROOF_REFUSED)      /* it ran the chunk's QUIT */
        session_refute(s);
    else if (s->proof == PROOF_SENT)
        smtp_proofs_note_lost(s->p.proofs);
    for (bool behind = !culprit; why && s->mails_n; behind = true) {
        session_judge(s, session_oldest(s), &reason, behind, &o);
        if (!behind)
            s->death = o;
        session_finish_oldest(s, &o);
    }
    s->awaited_n = 0;
}

void session_die(struct smtp_session *s, const struct smtp_outcome *why)
{
    session_end(s, why, true);
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
    return code == OUTCOME_PROTOCOL_ERROR ||
           (code == OUTCOME_TIMEOUT && s->awaited_n && session_head(s)->step != STEP_BODY);
}

void session_refute(struct smtp_session *s)
{
    s->proof = PROOF_FAILED;
    smtp_proofs_refute(s->p.proofs);
}

/* Nothing came back since a mail went to a session that had been used before: a firewall on the way may have forgotten
 * it, or its peer is gone; a new one will do. */
bool session_is_stale(const struct smtp_session *s)
{
    const struct session_mail *m = session_oldest(s);

    return m && m->reused && !m->answered && !m->f.body_begun;
}

/* The session is lost in the middle of something: EOF, time-out, a broken reply. */
void session_lose_at(struct smtp_session *s, enum outcome_code code, enum stage stage, const char *reason)
{
    struct smtp_outcome o;

    if (s->dead)
        return;
    if (is_out_of_step(s, code))
        session_refute(s);
    session_drop_output(s);
    outcome_set_local(&o, code, stage, DELIVERY_NOT_SENT, reason);
    if (code == OUTCOME_TIMEOUT && !session_is_stale(s))
        o.whose = WHOSE_RELAY;
    o.ms = (uint32_t)(s->now - s->wait_since);
    session_die(s, &o);
}

void session_lose(struct smtp_session *s, enum outcome_code code, const char *reason)
{
    session_lose_at(s, code, smtp_session_stage(s), reason);
}
