#include "smtp/delivery.h"

#include "smtp/block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Deliveries and their reports: made together, so that a report can never fail for want of memory. */

struct delivery_box {
    struct delivery d;
    struct delivery_state state;
    char *rcpts[];
};

static struct delivery_report *report_new(size_t n_rcpts)
{
    struct delivery_report *r;

    if (n_rcpts > (SIZE_MAX / 2 - sizeof(*r)) / sizeof(struct smtp_outcome))
        return NULL;
    r = calloc(1, sizeof(*r) + n_rcpts * sizeof(struct smtp_outcome));
    if (!r)
        return NULL;
    r->rcpts = (struct smtp_outcome *)(void *)(r + 1);
    r->n_rcpts = n_rcpts;
    return r;
}

void delivery_report_free(struct delivery_report *r)
{
    if (r)
        block_free(r->content);
    free(r);
}

struct delivery *delivery_new(size_t n_rcpts)
{
    struct delivery_box *b;
    struct delivery_report *r = report_new(n_rcpts);

    if (!r)
        return NULL;
    b = calloc(1, sizeof(*b) + n_rcpts * sizeof(char *));
    if (!b) {
        free(r);
        return NULL;
    }
    b->d.rcpts = b->rcpts;
    b->d.n_rcpts = n_rcpts;
    b->d.state = &b->state;
    b->state.d = &b->d;
    b->state.report = r;
    return &b->d;
}

void delivery_free(struct delivery *d)
{
    if (!d)
        return;
    free(d->from);
    for (size_t i = 0; i < d->n_rcpts; i++)
        free(d->rcpts[i]);
    block_free(d->content);
    free(d->envid);
    free(d->state->part);
    delivery_report_free(d->state->report);
    free(LIST_ITEM(d, struct delivery_box, d));
}

/* ---- the attempt ---- */

void delivery_note_facts(struct delivery *d, const struct conn_facts *facts, bool fresh_session)
{
    struct delivery_report *r = d->state->report;
    bool ours = fresh_session && facts->started_us >= d->state->submitted_us;

    memcpy(r->address, facts->address, sizeof(r->address));
    memcpy(r->tls_version, facts->tls_version, sizeof(r->tls_version));
    memcpy(r->tls_cipher, facts->tls_cipher, sizeof(r->tls_cipher));
    r->has_tls = facts->has_tls;
    r->tls_verified = facts->tls_verified;
    r->reused_session = !fresh_session;
    /* A connection that was on its way before this mail came cost this mail only the waiting. */
    r->connect_us = ours ? facts->connect_us : 0;
    r->tls_us = ours ? facts->tls_us : 0;
    r->auth_us = ours ? facts->auth_us : 0;
}

void delivery_begin_attempt(struct delivery *d, const struct conn_facts *facts, bool fresh_session, unsigned flights)
{
    struct delivery_state *s = d->state;

    s->lent_us = clock_us();
    s->flights_before = flights;
    s->fresh_session = fresh_session;
    delivery_note_facts(d, facts, fresh_session);
    s->transaction = (struct smtp_transaction){
        .from = d->from ? d->from : "",
        .rcpts = s->part ? s->part->rcpts : (const char *const *)d->rcpts,
        .n_rcpts = s->part ? s->part->n : d->n_rcpts,
        .content = bytes_view(d->content, d->content_n),
        .envid = d->envid ? d->envid : d->id[0] ? d->id : NULL,
        .needs_dsn = d->needs_dsn,
        .require_tls = d->require_tls,
        .dsn_ret = d->dsn_ret,
        .dsn_notify = d->dsn_notify,
        .needs_8bit = d->needs_8bit,
        .needs_utf8 = d->needs_utf8,
        .partial_reject = d->partial_reject,
        .rcpt_outcomes = s->part ? s->part->outcomes : s->report->rcpts,
    };
}

void delivery_forget_attempt(struct delivery *d)
{
    struct delivery_state *s = d->state;

    s->conn = NULL;
    s->lent_us = 0;
    memset(s->transaction.rcpt_outcomes, 0, s->transaction.n_rcpts * sizeof(struct smtp_outcome));
}

void delivery_note_attempt(struct delivery *d, const struct smtp_outcome *o, bool reused, uint32_t ms)
{
    struct delivery_report *r = d->state->report;

    if (r->n_attempts == DELIVERY_ATTEMPTS_MAX)
        return;
    r->attempts[r->n_attempts++] = (struct delivery_attempt){
        .code = o->code, .stage = o->stage, .reused_session = reused, .ms = ms,
    };
}

/* ---- too many recipients for one transaction ---- */

/* RFC 5321 §4.5.3.1.10: "452 too many recipients"; those left over get a transaction of their own. Old servers say
 * 552. */
static bool is_left_over(const struct smtp_outcome *o)
{
    if (o->stage != STAGE_RCPT || (o->reply_code != 452 && o->reply_code != 552))
        return false;
    return (o->enhanced[0] && strcmp(o->enhanced + 1, ".5.3") == 0) || strcasestr(o->text, "too many recipients");
}

static void merge_part(struct delivery *d)
{
    const struct delivery_part *p = d->state->part;

    for (size_t i = 0; p && i < p->n; i++)
        d->state->report->rcpts[p->at[i]] = p->outcomes[i];
}

static struct delivery_part *part_new(size_t n)
{
    struct delivery_part *p =
        calloc(1, sizeof(*p) + n * (sizeof(struct smtp_outcome) + sizeof(char *) + sizeof(size_t)));

    if (!p)
        return NULL;
    p->rcpts = (const char **)(void *)(p + 1);
    p->at = (size_t *)(void *)(p->rcpts + n);
    p->outcomes = (struct smtp_outcome *)(void *)(p->at + n);
    return p;
}

bool delivery_take_rest(struct delivery *d)
{
    struct delivery_state *s = d->state;
    struct delivery_part *next;
    size_t n = 0;

    merge_part(d);
    if (s->transaction.outcome.code != OUTCOME_SENT || s->reported)
        return false;
    for (size_t i = 0; i < d->n_rcpts; i++)
        n += is_left_over(&s->report->rcpts[i]);
    next = n ? part_new(n) : NULL;
    if (!next)
        return false;
    for (size_t i = 0; i < d->n_rcpts; i++)
        if (is_left_over(&s->report->rcpts[i])) {
            next->at[next->n] = i;
            next->rcpts[next->n++] = d->rcpts[i];
        }
    next->taken = s->transaction.outcome;
    free(s->part);
    s->part = next;
    s->conn = NULL;
    return true;
}

/* Taken for some stays taken, whatever becomes of the rest. */
static const struct smtp_outcome *outcome_of_all(const struct delivery *d, const struct smtp_outcome *o)
{
    return d->state->part && o->code != OUTCOME_SENT ? &d->state->part->taken : o;
}

/* ---- the report ---- */

static void on_report_msg(struct loop_msg *m)
{
    struct delivery_report *r = LIST_ITEM(m, struct delivery_report, msg);

    r->on_report(r);
}

/* What is not known to have been spent on something else was spent waiting. */
static void set_times(struct delivery_report *r, const struct delivery_state *s)
{
    uint64_t now = clock_us(), spent;

    r->total_us = (uint32_t)(now - s->submitted_us);
    r->send_us = s->lent_us ? (uint32_t)(now - s->lent_us) : 0;
    spent = (uint64_t)r->connect_us + r->tls_us + r->auth_us + r->send_us;
    r->queue_us = r->total_us > spent ? (uint32_t)(r->total_us - spent) : 0;
}

static void post(struct delivery *d, struct delivery_report *r, const struct smtp_outcome *o)
{
    memcpy(r->id, d->id, sizeof(r->id));
    r->relay = d->relay;
    r->on_report = d->on_report;
    r->ctx = d->ctx;
    r->owner = r->late ? NULL : d->owner;
    r->ctx = d->ctx;
    r->outcome = *o;
    r->msg.on_msg = on_report_msg;
    set_times(r, d->state);
    loop_post(d->reply_to, &r->msg);
}

static void post_last(struct delivery *d, const struct smtp_outcome *o)
{
    struct delivery_report *r = d->state->report;

    d->state->report = NULL;
    if (d->keep_content && !r->late && (o->delivery == DELIVERY_NOT_SENT || o->delivery == DELIVERY_REJECTED)) {
        r->content = d->content;
        r->content_n = d->content_n;
    } else
        block_free(d->content);         /* before the answer can bring the next mail's body */
    d->content = NULL;
    post(d, r, o);
    delivery_free(d);
}

void delivery_finish(struct delivery *d, const struct smtp_outcome *o)
{
    struct delivery_report *r = d->state->report;

    if (d->state->reported) {           /* the first report said all that is known */
        delivery_free(d);
        return;
    }
    if (d->state->part)
        for (size_t i = 0; i < d->state->part->n; i++)
            r->rcpts[d->state->part->at[i]] = *o;
    else
        for (size_t i = 0; i < r->n_rcpts; i++)
            r->rcpts[i] = *o;
    d->state->lent_us = 0;
    post_last(d, outcome_of_all(d, o));
}

void delivery_finish_transaction(struct delivery *d, unsigned flights)
{
    struct delivery_state *s = d->state;

    s->report->flights = flights - s->flights_before;
    if (s->reported && s->transaction.outcome.delivery == DELIVERY_UNKNOWN)
        delivery_free(d);
    else
        post_last(d, outcome_of_all(d, &s->transaction.outcome));
}

void delivery_get_trail(const struct delivery *d, struct delivery_trail *out)
{
    *out = (struct delivery_trail){
        .relay = d->relay, .reply_to = d->reply_to, .on_report = d->on_report, .ctx = d->ctx,
    };
    memcpy(out->id, d->id, sizeof(out->id));
}

void delivery_report_doubt(const struct delivery_trail *t, const struct smtp_outcome *why)
{
    struct delivery_report *r = t->id[0] ? report_new(0) : NULL;

    if (!r)
        return;
    memcpy(r->id, t->id, sizeof(r->id));
    r->relay = t->relay;
    r->on_report = t->on_report;
    r->ctx = t->ctx;
    r->late = r->doubted = true;
    r->outcome = *why;
    r->outcome.delivery = DELIVERY_UNKNOWN;
    r->msg.on_msg = on_report_msg;
    loop_post(t->reply_to, &r->msg);
}

/* The session writes recipients' outcomes as they come; SENT is also what a zeroed one looks like. */
static void mark_unknown(const struct delivery *d, struct delivery_report *r, const struct smtp_outcome *unknown)
{
    const struct delivery_part *p = d->state->part;

    for (size_t i = 0; i < (p ? p->n : r->n_rcpts); i++) {
        struct smtp_outcome *o = &r->rcpts[p ? p->at[i] : i];
        if (p)
            *o = p->outcomes[i];
        if (o->code == OUTCOME_SENT)
            *o = *unknown;
    }
}

int delivery_report_unknown(struct delivery *d, unsigned flights)
{
    struct delivery_state *s = d->state;
    struct delivery_report *r = s->report, *late = report_new(r->n_rcpts);
    struct smtp_outcome unknown;

    if (!late)
        return -1;
    outcome_set_local(&unknown, OUTCOME_OUTCOME_UNKNOWN, STAGE_BODY, DELIVERY_UNKNOWN,
                      "the request's deadline passed before the relay answered");
    unknown.ms = (uint32_t)((clock_us() - s->lent_us) / 1000);
    r->flights = flights - s->flights_before;
    memcpy(late, r, sizeof(*late));
    late->rcpts = (struct smtp_outcome *)(void *)(late + 1);
    memcpy(late->rcpts, r->rcpts, r->n_rcpts * sizeof(*r->rcpts));
    late->late = true;
    s->report = late;
    if (!s->part)
        s->transaction.rcpt_outcomes = late->rcpts;
    s->reported = true;
    delivery_note_attempt(d, &unknown, !s->fresh_session, unknown.ms);
    memcpy(r->attempts, late->attempts, sizeof(r->attempts));
    r->n_attempts = late->n_attempts;
    mark_unknown(d, r, &unknown);
    post(d, r, outcome_of_all(d, &unknown));
    return 0;
}
