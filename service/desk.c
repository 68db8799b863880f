#include "service/service_int.h"

#include "service/config.h"
#include "service/log.h"
#include "service/retry.h"
#include "smtp/block.h"
#include "smtp/crypto.h"
#include "smtp/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A send on its loop: the mail goes to the engine, once or, where that was asked for, until it is taken; and the caller
 * is answered once with what became of it. */

struct send {
    struct desk *desk;
    struct send_request request;
    struct message *message;
    uint64_t started_us;
    struct retrying *retrying;          /* NULL: the first try runs */
};

/* What a mail that is tried again takes along. */
struct retrying {
    struct send *send;
    struct loop_timer timer;            /* set between two tries */
    struct retrying *prev, *next;       /* then, among the desk's */
    struct delivery_report *last;       /* of the last try that failed */
    unsigned tries;
    size_t n_attempts;
    struct delivery_attempt attempts[RETRY_TRIES_MAX * DELIVERY_ATTEMPTS_MAX];
};

struct service *desk_service(const struct desk *d)
{
    return d->service;
}

struct loop *desk_loop(const struct desk *d)
{
    return d->loop;
}

/* ---- the log's and the metrics' part ---- */

void desk_count_crowded(struct desk *d)
{
    metrics_count_crowded(d->metrics);
}

void desk_count_http(struct desk *d, const char *route, int status, uint64_t us)
{
    metrics_count_http(d->metrics, route, status, us);
}

/* "campaign=spring,vip", cut to fit. */
static void join_tags(const struct mail_pair_list *tags, char out[256])
{
    struct bytes_buf b;

    bytes_buf_init(&b, 255);
    for (size_t i = 0; i < tags->n; i++)
        bytes_buf_printf(&b, "%s%s%s%s", i ? "," : "", tags->v[i].name, tags->v[i].value ? "=" : "",
                         tags->v[i].value ? tags->v[i].value : "");
    snprintf(out, 256, "%s", b.p ? b.p : "");
    bytes_buf_deinit(&b);
}

static void log_send(const struct send *w, const struct send_result *r)
{
    const struct smtp_outcome *o = &r->outcome;
    char from[128], text[256], tags[256];

    if (!log_is_on(o->code == OUTCOME_SENT ? LOG_INFO_LEVEL : LOG_WARN_LEVEL))
        return;
    log_mask_address(w->message->from ? w->message->from : "", from);
    log_mask_text(o->reason[0] ? o->reason : o->text, text);
    join_tags(&w->message->mail->tags, tags);
    log_event(o->code == OUTCOME_SENT ? LOG_INFO_LEVEL : LOG_WARN_LEVEL, "send", o->code == OUTCOME_SENT ? "mail sent"
              : o->delivery == DELIVERY_UNKNOWN ? "nobody knows whether the mail was sent" : "mail not sent",
              LOG_S("request_id", w->request.request_id), LOG_IF("trace_id", w->request.trace_id),
              LOG_IF("span_id", w->request.span_id), LOG_IF("key", w->request.key),
              LOG_IF("key_id", w->request.key_id), LOG_IF("client", w->request.client), LOG_S("id", r->id),
              LOG_S("relay", r->relay),
              LOG_S("code", outcome_code_name(o->code)), LOG_S("stage", stage_name(o->stage)),
              LOG_S("delivery", delivery_name(o->delivery)), LOG_N("smtp_code", o->reply_code),
              LOG_N("ms", (double)(clock_us() - w->started_us) / 1000), LOG_N("rcpts", r->n_rcpts), LOG_S("from", from),
              LOG_S("peer", r->report ? r->report->address : ""), LOG_S("text", text),
              LOG_S("tags", tags));
}

static void log_retry(const struct send *w, const struct smtp_outcome *o, uint64_t in_ms)
{
    char text[256];

    log_mask_text(o->reason[0] ? o->reason : o->text, text);
    log_event(LOG_INFO_LEVEL, "retry", "the mail failed for the moment and will be tried again",
              LOG_S("request_id", w->request.request_id), LOG_S("id", w->message->id),
              LOG_S("relay", relays_name(w->desk->service->relays, w->message->relay)),
              LOG_S("code", outcome_code_name(o->code)), LOG_S("stage", stage_name(o->stage)),
              LOG_S("delivery", delivery_name(o->delivery)), LOG_N("smtp_code", o->reply_code),
              LOG_N("tries", w->retrying->tries), LOG_N("in_ms", (double)in_ms), LOG_S("text", text));
}

/* The mail was answered as sent. Who reads the log, or the relay's last error, learns that this may be wrong. */
static void on_doubt(struct desk *d, const struct delivery_report *r)
{
    struct smtp_outcome o = r->outcome;

    metrics_count_stray(d->metrics, r->relay);
    o.whose = WHOSE_RELAY;
    last_errors_note(d->service->last_errors, r->relay, &o);
    log_event(LOG_WARN_LEVEL, "verdict_in_doubt",
              "the relay sent a reply that nothing had asked for right behind the one that said this mail was taken; "
              "mails go to this relay in single steps from now on",
              LOG_S("id", r->id), LOG_S("relay", relays_name(d->service->relays, r->relay)),
              LOG_S("code", outcome_code_name(o.code)), LOG_S("delivery", delivery_name(o.delivery)),
              LOG_N("smtp_code", o.reply_code));
}

static void on_late_report(struct delivery_report *r)
{
    struct desk *d = r->ctx;
    char text[256];

    if (r->doubted) {
        on_doubt(d, r);
        return;
    }
    metrics_count_late(d->metrics, r->relay);
    log_mask_text(r->outcome.reason[0] ? r->outcome.reason : r->outcome.text, text);
    log_event(LOG_WARN_LEVEL, "late_verdict", "the relay's verdict came after outcome_unknown had been answered",
              LOG_S("id", r->id), LOG_S("relay", relays_name(d->service->relays, r->relay)),
              LOG_S("code", outcome_code_name(r->outcome.code)),
              LOG_S("delivery", delivery_name(r->outcome.delivery)), LOG_N("smtp_code", r->outcome.reply_code),
              LOG_N("ms", r->total_us / 1000.0), LOG_S("text", text));
}

/* ---- the end ---- */

static const char *tls_mode_name(enum smtp_tls_mode mode)
{
    switch (mode) {
    case SMTP_TLS_STARTTLS:
        return "starttls";
    case SMTP_TLS_IMPLICIT:
        return "implicit";
    case SMTP_TLS_NONE:
        return "none";
    }
    unreachable("a TLS mode of no name");
}

static void free_retrying(struct retrying *t)
{
    if (!t)
        return;
    delivery_report_free(t->last);
    free(t);
}

/* The single end of every send: answers, logs, counts, and forgets it. */
static void finish(struct send *w, const struct smtp_outcome *o, const struct delivery_report *report)
{
    const struct service *s = w->desk->service;
    struct desk *d = w->desk;
    struct message *m = w->message;
    struct send_result r = {.message_id = m->message_id,
                            .mail = m->mail,
                            .rcpts = m->rcpts,
                            .n_rcpts = m->n_rcpts,
                            .outcome = *o,
                            .report = report};

    memcpy(r.id, m->id, sizeof(r.id));
    if (m->settings) {
        const struct relay_config *c = &m->settings->c;
        r.relay = relays_name(s->relays, m->relay);
        r.relay_host = c->host;
        r.relay_port = c->port;
        r.relay_tls_mode = tls_mode_name(c->tls_mode);
        r.relay_has_user = c->user != NULL;
        r.sandbox = s->sandbox != NULL;
    }
    if (report) {
        r.attempts = w->retrying ? w->retrying->attempts : report->attempts;
        r.n_attempts = w->retrying ? w->retrying->n_attempts : report->n_attempts;
        r.cause = report->cause;
        r.retry_after_s = report->retry_after_s;
        if (o->code == OUTCOME_SENT || o->stage >= STAGE_MAIL)
            r.rcpt_outcomes = report->rcpts;
    }
    log_send(w, &r);
    if (m->settings)
        last_errors_note(s->last_errors, m->relay, o);
    metrics_count_send(d->metrics, m->relay, o, report);
    w->request.on_done(w->request.ctx, &r);
    message_free(m);
    free_retrying(w->retrying);
    free(w);
    service_end_send(d->service);
}

static void fail(struct send *w, enum outcome_code code, enum stage stage, const char *reason)
{
    struct smtp_outcome o;

    outcome_set_local(&o, code, stage, DELIVERY_NOT_SENT, reason);
    finish(w, &o, NULL);
}

/* The content goes from the message to the delivery. NULL without memory. */
static struct delivery *make_delivery(const struct send *w)
{
    struct message *msg = w->message;
    const struct mail *m = msg->mail;
    struct delivery *d = delivery_new(msg->n_rcpts);

    if (!d)
        return NULL;
    memcpy(d->id, msg->id, sizeof(d->id));
    d->from = strdup(msg->from);
    d->envid = m->dsn.envid ? strdup(m->dsn.envid) : NULL;
    for (size_t i = 0; i < msg->n_rcpts; i++) {
        d->rcpts[i] = strdup(msg->rcpts[i]);
        if (!d->rcpts[i])
            goto fail;
    }
    if (!d->from || (m->dsn.envid && !d->envid))
        goto fail;
    d->relay = msg->relay;
    d->content = msg->content;
    d->content_n = msg->content_n;
    msg->content = NULL;
    d->needs_8bit = msg->needs_8bit;
    d->needs_utf8 = msg->needs_utf8;
    d->needs_dsn = m->dsn.wanted;
    d->dsn_ret = m->dsn.ret;
    d->dsn_notify = m->dsn.notify;
    d->require_tls = m->require_tls;
    d->partial_reject = m->partial_reject;
    d->keep_content = m->on_temporary_failure == MAIL_ON_TEMPORARY_RETRY ||
                      (m->on_temporary_failure == MAIL_ON_TEMPORARY_UNSET && w->desk->service->live.retries);
    d->deadline = w->request.deadline;
    return d;
fail:
    delivery_free(d);
    return NULL;
}

static void on_report(struct delivery_report *r);

/* What stood in the way, if anything did: the first is no memory. */
enum submitted { SUBMIT_FAILED, SUBMIT_NO_RELAY, SUBMIT_DONE };

static enum submitted submit(struct send *w)
{
    struct delivery *d = make_delivery(w);

    if (!d)
        return SUBMIT_FAILED;
    d->owner = w;
    d->ctx = w->desk;
    d->reply_to = w->desk->loop;
    d->on_report = on_report;
    if (engine_submit(w->desk->service->engine, d) == 0)
        return SUBMIT_DONE;
    delivery_free(d);                   /* a reload took the relay away */
    return SUBMIT_NO_RELAY;
}

/* ---- trying again ---- */

static void leave_waiting(struct retrying *t)
{
    struct desk *d = t->send->desk;

    if (t->prev)
        t->prev->next = t->next;
    else
        d->waiting = t->next;
    if (t->next)
        t->next->prev = t->prev;
    t->prev = t->next = NULL;
}

/* The times are those of the last try, and what lay before it was waiting. */
static void finish_tried(struct send *w, struct delivery_report *r)
{
    uint32_t total = (uint32_t)(clock_us() - w->started_us);

    if (total > r->total_us) {
        r->queue_us += total - r->total_us;
        r->total_us = total;
    }
    finish(w, &r->outcome, r);
}

/* The next try, of the same bytes under the same id. */
static void on_retry(struct loop_timer *timer)
{
    struct retrying *t = (struct retrying *)(void *)((char *)timer - offsetof(struct retrying, timer));
    struct send *w = t->send;

    leave_waiting(t);
    t->tries++;
    if (submit(w) == SUBMIT_DONE)
        metrics_count_retry(w->desk->metrics, w->message->relay);
    else
        finish_tried(w, t->last);
}

static void note_try(struct retrying *t, const struct delivery_report *r)
{
    for (unsigned i = 0; i < r->n_attempts && t->n_attempts < ARRAY_LEN(t->attempts); i++)
        t->attempts[t->n_attempts++] = r->attempts[i];
}

static struct retrying *retrying_new(struct send *w, const struct delivery_report *first)
{
    struct retrying *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    t->send = w;
    t->timer.on_timer = on_retry;
    t->tries = 1;
    note_try(t, first);
    return t;
}

/* Takes r over when the mail is to be tried again. There is a content in it only if that was asked for, and if the
 * relay cannot have the mail. */
static bool try_again(struct send *w, struct delivery_report *r)
{
    struct desk *d = w->desk;
    struct retry_case c = {.outcome = &r->outcome, .cause = &r->cause, .tries = w->retrying ? w->retrying->tries : 1,
                           .now = loop_now(d->loop), .deadline = w->request.deadline, .took_ms = r->total_us / 1000,
                           .pause_s = r->retry_after_s};
    uint64_t when;

    if (!r->content || d->given_up)
        return false;
    crypto_random(&c.random, sizeof(c.random));
    when = retry_when(&c);
    if (!when || (!w->retrying && !(w->retrying = retrying_new(w, r))))
        return false;
    delivery_report_free(w->retrying->last);
    w->retrying->last = r;
    w->message->content = r->content;
    r->content = NULL;
    w->retrying->next = d->waiting;
    if (d->waiting)
        d->waiting->prev = w->retrying;
    d->waiting = w->retrying;
    loop_timer_set(d->loop, &w->retrying->timer, when);
    log_retry(w, &r->outcome, when - c.now);
    return true;
}

/* That there was no time for one more try says less than what made it necessary. */
static struct delivery_report *choose(const struct send *w, struct delivery_report *r)
{
    bool ran_out = r->outcome.code == OUTCOME_DEADLINE_EXCEEDED || r->outcome.code == OUTCOME_SHUTTING_DOWN;

    return w->retrying && w->retrying->last && ran_out ? w->retrying->last : r;
}

static void on_report(struct delivery_report *r)
{
    struct send *w = r->owner;

    if (r->late) {
        on_late_report(r);
    } else {
        if (w->retrying)
            note_try(w->retrying, r);
        if (try_again(w, r))
            return;
        finish_tried(w, choose(w, r));
    }
    delivery_report_free(r);
}

void desk_give_up(struct desk *d)
{
    d->given_up = true;
    while (d->waiting) {
        struct retrying *t = d->waiting;
        loop_timer_clear(d->loop, &t->timer);
        leave_waiting(t);
        finish_tried(t->send, t->last);
    }
}

/* ---- the way in ---- */

/* Without memory for a send there is only the stack to answer from. */
static void answer_without_memory(struct message *m, const struct send_request *r)
{
    struct send_result result = {.mail = m->mail, .message_id = m->message_id, .rcpts = m->rcpts,
                                 .n_rcpts = m->n_rcpts};

    memcpy(result.id, m->id, sizeof(result.id));
    outcome_set_local(&result.outcome, OUTCOME_INTERNAL_ERROR, STAGE_QUEUE, DELIVERY_NOT_SENT, "no memory");
    r->on_done(r->ctx, &result);
    message_free(m);
}

static void fail_without_relay(struct send *w)
{
    fail(w, OUTCOME_VALIDATION_FAILED, STAGE_REQUEST, "no such relay is configured");
}

static void hand_down(struct send *w)
{
    switch (submit(w)) {
    case SUBMIT_FAILED:
        fail(w, OUTCOME_INTERNAL_ERROR, STAGE_QUEUE, "no memory");
        return;
    case SUBMIT_NO_RELAY:
        fail_without_relay(w);
        return;
    case SUBMIT_DONE:
        return;
    }
}

void desk_send(struct desk *d, struct message *m, const struct send_request *r)
{
    struct send *w = calloc(1, sizeof(*w));

    if (!w) {
        answer_without_memory(m, r);
        return;
    }
    *w = (struct send){.desk = d, .request = *r, .message = m, .started_us = clock_us()};
    service_begin_send(d->service);
    if (d->given_up)
        fail(w, OUTCOME_SHUTTING_DOWN, STAGE_QUEUE, "mailhatch is stopping");
    else if (m->relay == RELAYS_NONE)
        fail_without_relay(w);
    else if (m->n_rcpts == 0 || !m->from)
        fail(w, OUTCOME_VALIDATION_FAILED, STAGE_REQUEST, "the mail has no sender or no recipient");
    else
        hand_down(w);
}
