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
        .rcpts = (const char *const *)d->rcpts,
        .n_rcpts = d->n_rcpts,
        .content = bytes_view(d->content, d->content_n),
        .envid = d->envid ? d->envid : d->id[0] ? d->id : NULL,
        .needs_dsn = d->needs_dsn,
        .require_tls = d->require_tls,
        .dsn_ret = d->dsn_ret,
        .dsn_notify = d->dsn_notify,
        .needs_8bit = d->needs_8bit,
        .needs_utf8 = d->needs_utf8,
        .partial_reject = d->partial_reject,
        .rcpt_outcomes = s->report->rcpts,
    };
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
    for (size_t i = 0; i < r->n_rcpts; i++)
        r->rcpts[i] = *o;
    d->state->lent_us = 0;
    post_last(d, o);
}

void delivery_finish_transaction(struct delivery *d, unsigned flights)
{
    struct delivery_state *s = d->state;

    s->report->flights = flights - s->flights_before;
    if (s->reported && s->transaction.outcome.delivery == DELIVERY_UNKNOWN)
        delivery_free(d);
    else
        post_last(d, &s->transaction.outcome);
}

/* The session writes recipients' outcomes as they come; SENT is also what a zeroed one looks like. */
static void mark_unknown(struct delivery_report *r, const struct smtp_outcome *unknown)
{
    for (size_t i = 0; i < r->n_rcpts; i++)
        if (r->rcpts[i].code == OUTCOME_SENT)
            r->rcpts[i] = *unknown;
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
    s->transaction.rcpt_outcomes = late->rcpts;
    s->reported = true;
    delivery_note_attempt(d, &unknown, !s->fresh_session, unknown.ms);
    memcpy(r->attempts, late->attempts, sizeof(r->attempts));
    r->n_attempts = late->n_attempts;
    mark_unknown(r, &unknown);
    post(d, r, &unknown);
    return 0;
}
