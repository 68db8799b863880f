#include "service/service.h"

#include "service/config.h"
#include "service/log.h"
#include "service/message.h"
#include "service/metrics.h"
#include "service/retry.h"
#include "smtp/block.h"
#include "smtp/crypto.h"
#include "smtp/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The office's door: composes a mail, hands it to the engine, and answers once with what became of it. */

#define TRIM_MS 2000

struct service {
    const struct config *config;
    struct loop *loop;
    struct sandbox *sandbox;
    struct engine *engine;
    struct metrics *metrics;
    size_t n_relays, default_relay;
    const char **relay_names;           /* n_relays */
    struct engine_relay_stats *stats;   /* n_relays; scratch for service_write_metrics */
    unsigned running;                   /* sends that have not been answered */
    size_t inflight;                    /* bytes held by service_reserve */
    bool stopping, draining, told_empty;
    void (*on_empty)(void *ctx);
    void *on_empty_ctx;
    struct loop_msg empty_msg;
    struct loop_timer trim;             /* set while large bodies have left their memory behind */
    bool had_large;
    bool retries;                       /* on_temporary_failure, where a mail does not say */
    struct retrying *waiting;           /* between two tries */
};

struct send {
    struct service *service;
    struct send_request request;
    struct message *message;
    uint64_t started_us;
    struct retrying *retrying;          /* NULL: the first try runs */
};

/* What a mail that is tried again takes along. */
struct retrying {
    struct send *send;
    struct loop_timer timer;            /* set between two tries */
    struct retrying *prev, *next;       /* then, among the service's */
    struct delivery_report *last;       /* of the last try that failed */
    unsigned tries;
    size_t n_attempts;
    struct delivery_attempt attempts[RETRY_TRIES_MAX * DELIVERY_ATTEMPTS_MAX];
};

/* ---- life ---- */

static size_t find_relay(const struct service *s, const char *name)
{
    size_t i = 0;

    while (i < s->n_relays && (!name || strcmp(s->relay_names[i], name) != 0))
        i++;
    return i;
}

static struct engine *start_engine(const struct service *s, char err_out[200])
{
    struct relay_config *relays = calloc(s->n_relays + 1, sizeof(*relays));
    struct engine_params p = {.relays = relays, .n_relays = s->n_relays, .loops = s->config->smtp_loops};
    struct engine *e = NULL;

    snprintf(err_out, 200, "no memory");
    for (size_t i = 0; relays && i < s->n_relays; i++)
        relays[i] = s->config->relays[i].c;
    if (relays)
        e = engine_new(&p, err_out);
    free(relays);
    return e;
}

static void on_empty_msg(struct loop_msg *m)
{
    struct service *s = (struct service *)(void *)((char *)m - offsetof(struct service, empty_msg));

    s->on_empty(s->on_empty_ctx);
}

/* A burst of large bodies is over. */
static void on_trim(struct loop_timer *t)
{
    struct service *s = (struct service *)(void *)((char *)t - offsetof(struct service, trim));

    if (s->inflight || s->running)
        return;                         /* the last release sets it again */
    s->had_large = false;
    block_trim();
}

struct service *service_new(const struct service_params *p, char err_out[200])
{
    struct service *s = calloc(1, sizeof(*s));

    snprintf(err_out, 200, "no memory");
    if (!s)
        return NULL;
    s->config = p->config;
    s->loop = p->loop;
    s->sandbox = p->sandbox;
    s->retries = strcmp(p->config->on_temporary_failure, "retry") == 0;
    s->empty_msg.on_msg = on_empty_msg;
    s->trim.on_timer = on_trim;
    s->n_relays = p->config->n_relays;
    s->relay_names = calloc(s->n_relays + 1, sizeof(*s->relay_names));
    s->stats = calloc(s->n_relays + 1, sizeof(*s->stats));
    s->metrics = metrics_new(s->n_relays);
    if (!s->relay_names || !s->stats || !s->metrics)
        goto fail;
    for (size_t i = 0; i < s->n_relays; i++)
        s->relay_names[i] = p->config->relays[i].name;
    s->default_relay = find_relay(s, p->config->default_relay);
    s->engine = start_engine(s, err_out);
    if (!s->engine)
        goto fail;
    err_out[0] = '\0';
    return s;
fail:
    service_free(s);
    return NULL;
}

void service_free(struct service *s)
{
    if (!s)
        return;
    if (s->trim.slot)
        loop_timer_clear(s->loop, &s->trim);
    engine_free(s->engine);
    metrics_free(s->metrics);
    free(s->relay_names);
    free(s->stats);
    free(s);
}

/* ---- the log's and the metrics' part of a send ---- */

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
              LOG_S("request_id", w->request.request_id), LOG_S("id", r->id), LOG_S("relay", r->relay),
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
              LOG_S("relay", w->service->relay_names[w->message->relay]), LOG_S("code", outcome_code_name(o->code)),
              LOG_S("stage", stage_name(o->stage)), LOG_S("delivery", delivery_name(o->delivery)),
              LOG_N("smtp_code", o->reply_code), LOG_N("tries", w->retrying->tries), LOG_N("in_ms", (double)in_ms),
              LOG_S("text", text));
}

static void on_late_report(struct delivery_report *r)
{
    struct service *s = r->ctx;
    char text[256];

    metrics_count_late(s->metrics, r->relay);
    log_mask_text(r->outcome.reason[0] ? r->outcome.reason : r->outcome.text, text);
    log_event(LOG_WARN_LEVEL, "late_verdict", "the relay's verdict came after outcome_unknown had been answered",
              LOG_S("id", r->id), LOG_S("relay", s->relay_names[r->relay]),
              LOG_S("code", outcome_code_name(r->outcome.code)),
              LOG_S("delivery", delivery_name(r->outcome.delivery)), LOG_N("smtp_code", r->outcome.reply_code),
              LOG_N("ms", r->total_us / 1000.0), LOG_S("text", text));
}

/* ---- a send ---- */

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

/* Once nothing is running; by a letter, so that nobody is torn down under a function of his own. */
static void tell_when_empty(struct service *s)
{
    if (!s->draining || s->told_empty || s->running || s->inflight)
        return;
    s->told_empty = true;
    engine_drain(s->engine);
    loop_post(s->loop, &s->empty_msg);
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
    struct service *s = w->service;
    struct message *m = w->message;
    struct send_result r = {.message_id = m->message_id,
                            .mail = m->mail,
                            .rcpts = m->rcpts,
                            .n_rcpts = m->n_rcpts,
                            .outcome = *o,
                            .report = report};

    memcpy(r.id, m->id, sizeof(r.id));
    if (m->relay < s->n_relays) {
        const struct relay_config *c = &s->config->relays[m->relay].c;
        r.relay = c->name;
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
    metrics_count_send(s->metrics, m->relay, o, report);
    s->running--;
    w->request.on_done(w->request.ctx, &r);
    message_free(m);
    free_retrying(w->retrying);
    free(w);
    tell_when_empty(s);
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
                      (m->on_temporary_failure == MAIL_ON_TEMPORARY_UNSET && w->service->retries);
    d->deadline = w->request.deadline;
    return d;
fail:
    delivery_free(d);
    return NULL;
}

static void on_report(struct delivery_report *r);

static int submit(struct send *w)
{
    struct delivery *d = make_delivery(w);

    if (!d)
        return -1;
    d->owner = w;
    d->ctx = w->service;
    d->reply_to = w->service->loop;
    d->on_report = on_report;
    engine_submit(w->service->engine, d);
    return 0;
}

/* ---- trying again ---- */

static void leave_waiting(struct retrying *t)
{
    struct service *s = t->send->service;

    if (t->prev)
        t->prev->next = t->next;
    else
        s->waiting = t->next;
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
    if (submit(w) == 0)
        metrics_count_retry(w->service->metrics, w->message->relay);
    else
        finish_tried(w, t->last);       /* no memory */
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
    struct service *s = w->service;
    struct retry_case c = {.outcome = &r->outcome, .cause = &r->cause, .tries = w->retrying ? w->retrying->tries : 1,
                           .now = loop_now(s->loop), .deadline = w->request.deadline, .took_ms = r->total_us / 1000,
                           .pause_s = r->retry_after_s};
    uint64_t when;

    if (!r->content)
        return false;
    crypto_random(&c.random, sizeof(c.random));
    when = retry_when(&c);
    if (!when || (!w->retrying && !(w->retrying = retrying_new(w, r))))
        return false;
    delivery_report_free(w->retrying->last);
    w->retrying->last = r;
    w->message->content = r->content;
    r->content = NULL;
    w->retrying->next = s->waiting;
    if (s->waiting)
        s->waiting->prev = w->retrying;
    s->waiting = w->retrying;
    loop_timer_set(s->loop, &w->retrying->timer, when);
    log_retry(w, &r->outcome, when - c.now);
    return true;
}

/* That there was no time for one more try says less than what made it necessary. */
static struct delivery_report *choose(const struct send *w, struct delivery_report *r)
{
    return w->retrying && w->retrying->last && r->outcome.code == OUTCOME_DEADLINE_EXCEEDED ? w->retrying->last : r;
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

void service_give_up(struct service *s)
{
    while (s->waiting) {
        struct retrying *t = s->waiting;
        loop_timer_clear(s->loop, &t->timer);
        leave_waiting(t);
        finish_tried(t->send, t->last);
    }
}

/* ---- the way in ---- */

/* Without memory for a send there is only the stack to answer from. */
static void answer_without_memory(struct message *m, const struct send_request *r)
{
    struct send_result result = {.mail = m ? m->mail : NULL};

    outcome_set_local(&result.outcome, OUTCOME_INTERNAL_ERROR, STAGE_QUEUE, DELIVERY_NOT_SENT, "no memory");
    r->on_done(r->ctx, &result);
    message_free(m);
}

struct message *service_prepare(const struct service *s, struct mail *m)
{
    return message_new(m, m->relay ? find_relay(s, m->relay) : s->default_relay);
}

void service_send(struct service *s, struct message *m, const struct send_request *r)
{
    struct send *w = calloc(1, sizeof(*w));

    if (!w) {
        answer_without_memory(m, r);
        return;
    }
    *w = (struct send){.service = s, .request = *r, .message = m, .started_us = clock_us()};
    s->running++;
    if (m->relay == s->n_relays)
        fail(w, OUTCOME_VALIDATION_FAILED, STAGE_REQUEST, "no such relay is configured");
    else if (m->n_rcpts == 0 || !m->from)
        fail(w, OUTCOME_VALIDATION_FAILED, STAGE_REQUEST, "the mail has no sender or no recipient");
    else if (submit(w) != 0)
        fail(w, OUTCOME_INTERNAL_ERROR, STAGE_QUEUE, "no memory");
}

const char *service_relay_name(const struct service *s, size_t relay)
{
    return relay < s->n_relays ? s->relay_names[relay] : NULL;
}

bool service_has_relay(const struct service *s, const char *name)
{
    return find_relay(s, name) < s->n_relays;
}

/* ---- capacity and draining ---- */

enum outcome_code service_reserve(struct service *s, size_t bytes)
{
    size_t max = s->config->max_inflight_bytes;

    if (s->draining)
        return OUTCOME_SHUTTING_DOWN;
    if (s->running >= s->config->max_waiting || bytes > max || s->inflight > max - bytes)
        return OUTCOME_OVERLOADED;
    s->inflight += bytes;
    s->had_large |= bytes >= BLOCK_LARGE;
    return OUTCOME_SENT;
}

void service_release(struct service *s, size_t bytes)
{
    if (bytes > s->inflight)
        unreachable("more bytes released than reserved");
    s->inflight -= bytes;
    if (s->had_large && !s->inflight)
        loop_timer_set(s->loop, &s->trim, loop_now(s->loop) + TRIM_MS);
    tell_when_empty(s);
}

void service_announce_stop(struct service *s)
{
    s->stopping = true;
}

void service_drain(struct service *s, void (*on_empty)(void *ctx), void *ctx)
{
    s->stopping = true;
    s->draining = true;
    s->on_empty = on_empty;
    s->on_empty_ctx = ctx;
    tell_when_empty(s);
}

bool service_is_draining(const struct service *s)
{
    return s->draining;
}

bool service_is_ready(const struct service *s)
{
    return !s->stopping;
}

struct sandbox *service_sandbox(const struct service *s)
{
    return s->sandbox;
}

const struct config *service_config(const struct service *s)
{
    return s->config;
}

/* ---- HTTP's share of logs and metrics ---- */

void service_count_http(struct service *s, const char *route, int status, uint64_t us)
{
    metrics_count_http(s->metrics, route, status, us);
}

void service_log_http(struct service *s, const char *request_id, const char *method, const char *route, int status,
                      uint64_t us)
{
    (void)s;
    if (!log_is_on(LOG_DEBUG_LEVEL))
        return;
    log_event(LOG_DEBUG_LEVEL, "http", "request answered", LOG_S("request_id", request_id), LOG_S("method", method),
              LOG_S("route", route), LOG_N("status", status), LOG_N("ms", (double)us / 1000));
}

void service_log_client_gone(struct service *s, const char *request_id, const char *route)
{
    (void)s;
    log_event(LOG_INFO_LEVEL, "client_gone", "the client had closed its connection before its answer; its mail went on",
              LOG_S("request_id", request_id), LOG_S("route", route));
}

void service_write_metrics(struct service *s, struct bytes_buf *out)
{
    struct metrics_gauges g = {.waiting_requests = s->running, .inflight_bytes = s->inflight, .relays = s->stats,
                               .relay_names = s->relay_names};

    for (size_t i = 0; i < s->n_relays; i++)
        engine_get_stats(s->engine, i, &s->stats[i]);
    metrics_write(&s->metrics, 1, &g, out);
}
