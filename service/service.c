#include "service/service_int.h"

#include "service/config.h"
#include "service/descriptors.h"
#include "service/log.h"
#include "service/message.h"
#include "smtp/block.h"
#include "smtp/diagnose.h"
#include "smtp/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The office's door: what its desks share (relays, capacity, the drain), and how it opens and closes. */

#define TRIM_MS 2000
#define TRIM_ABOVE (16 * BLOCK_LARGE)   /* bytes held: a burst, even of small ones, that is over when they are fewer */
#define CERTIFICATE_DAYS 8              /* so near its end a certificate is warned of */

/* ---- life ---- */

/* On an SMTP loop's thread. */
static void on_trace(void *ctx, size_t relay, unsigned session, bool from_client, const char *line)
{
    const struct service *s = ctx;
    char text[256];

    log_mask_text(line, text);
    log_event(LOG_INFO_LEVEL, "trace", line[0] == '*' ? "of the session" : from_client ? "said to the relay"
              : "said by the relay",
              LOG_S("relay", relays_name(s->relays, relay)), LOG_N("session", session), LOG_S("line", text));
}

static struct engine *start_engine(const struct service *s, const struct relays_next *next, char err_out[200])
{
    struct relay_config *relays = calloc(next->n + 1, sizeof(*relays));
    struct engine_params p = {.relays = relays, .n_relays = next->n, .loops = s->config->smtp_loops,
                              .on_trace = on_trace, .trace_ctx = (void *)(uintptr_t)s};
    struct engine *e = NULL;

    snprintf(err_out, 200, "no memory");
    for (size_t i = 0; relays && i < next->n; i++)
        relays[i] = *next->relays[i];
    if (relays)
        e = engine_new(&p, err_out);
    free(relays);
    return e;
}

static void set_limits(struct service *s, const struct config *c)
{
    s->live.max_inflight = c->max_inflight_bytes;
    s->live.max_waiting = c->max_waiting;
    s->live.max_recipients = c->max_recipients;
    s->live.max_json_values = c->max_json_values;
    s->live.retries = strcmp(c->on_temporary_failure, "retry") == 0;
    s->live.address_literals = c->address_literals;
}

/* The first relays: no place is empty. */
static int open_relays(struct service *s, char err_out[200])
{
    struct relays_next *next;

    s->relays = relays_new();
    s->last_errors = last_errors_new(RELAYS_PLACES);
    next = s->relays && s->last_errors ? relays_prepare(s->relays, s->config, err_out) : NULL;
    if (!next)
        return -1;
    s->engine = start_engine(s, next, err_out);
    if (!s->engine) {
        relays_drop(next);
        return -1;
    }
    relays_take(s->relays, next);
    return 0;
}

int service_reload(struct service *s, const struct config *c, struct service_changes *out, char err_out[200])
{
    struct relays_next *next = relays_prepare(s->relays, c, err_out);

    *out = (struct service_changes){.n = 0};
    if (!next)
        return -1;
    if (engine_reload(s->engine, next->relays, next->n, err_out) != 0) {
        relays_drop(next);
        return -1;
    }
    out->n = next->n_changes;
    snprintf(out->added, sizeof(out->added), "%s", next->added);
    snprintf(out->removed, sizeof(out->removed), "%s", next->removed);
    snprintf(out->changed, sizeof(out->changed), "%s", next->changed);
    relays_take(s->relays, next);
    set_limits(s, c);
    return 0;
}

void service_get_limits(const struct service *s, struct service_limits *out)
{
    *out = (struct service_limits){.max_recipients = s->live.max_recipients,
                                   .max_json_values = s->live.max_json_values,
                                   .address_literals = s->live.address_literals};
}

static void on_empty_msg(struct loop_msg *m)
{
    struct service *s = (struct service *)(void *)((char *)m - offsetof(struct service, empty_msg));

    s->on_empty(s->on_empty_ctx);
}

/* A burst of large bodies is over; small ones may go on coming. */
static void on_trim(struct loop_timer *t)
{
    struct desk *d = (struct desk *)(void *)((char *)t - offsetof(struct desk, trim));

    if (d->service->inflight >= TRIM_ABOVE)
        loop_timer_set(d->loop, t, loop_now(d->loop) + TRIM_MS);
    else if (atomic_exchange(&d->service->had_large, false))
        block_trim();
}

static int make_desks(struct service *s, const struct service_params *p)
{
    s->desks = calloc(p->n_loops, sizeof(*s->desks));
    s->metrics = calloc(p->n_loops, sizeof(*s->metrics));
    if (!s->desks || !s->metrics)
        return -1;
    s->n_desks = p->n_loops;
    for (size_t i = 0; i < s->n_desks; i++) {
        s->metrics[i] = metrics_new(RELAYS_PLACES);
        if (!s->metrics[i])
            return -1;
        s->desks[i] = (struct desk){.service = s, .loop = p->loops[i], .metrics = s->metrics[i],
                                    .trim = {.on_timer = on_trim}};
    }
    return 0;
}

struct service *service_new(const struct service_params *p, char err_out[200])
{
    struct service *s = calloc(1, sizeof(*s));

    snprintf(err_out, 200, "no memory");
    if (!s)
        return NULL;
    s->config = p->config;
    s->sandbox = p->sandbox;
    set_limits(s, p->config);
    s->empty_msg.on_msg = on_empty_msg;
    if (make_desks(s, p) != 0 || open_relays(s, err_out) != 0)
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
    for (size_t i = 0; i < s->n_desks; i++)
        if (s->desks[i].trim.is_set)
            loop_timer_clear(s->desks[i].loop, &s->desks[i].trim);
    engine_free(s->engine);
    for (size_t i = 0; i < s->n_desks; i++)
        metrics_free(s->metrics[i]);
    free(s->metrics);
    free(s->desks);
    relays_free(s->relays);
    last_errors_free(s->last_errors);
    free(s);
}

size_t service_n_desks(const struct service *s)
{
    return s->n_desks;
}

struct desk *service_desk(const struct service *s, size_t i)
{
    return &s->desks[i];
}

/* ---- mails ---- */

struct message *service_prepare(const struct service *s, struct mail *m)
{
    struct relay_settings *settings;
    size_t relay = relays_find(s->relays, m->relay, &settings);
    struct message *msg = message_new(m, relay);

    if (msg)
        msg->settings = settings;
    else
        relay_settings_unref(settings);
    return msg;
}

const char *service_relay_name(const struct service *s, size_t relay)
{
    return relays_name(s->relays, relay);
}

bool service_has_relay(const struct service *s, const char *name)
{
    return relays_find(s->relays, name, NULL) != RELAYS_NONE;
}

size_t service_n_places(const struct service *s)
{
    return relays_count(s->relays);
}

size_t service_find_relay(const struct service *s, const char *name, struct relay_settings **out)
{
    return relays_find(s->relays, name, out);
}

void service_get_relay(const struct service *s, size_t place, struct engine_relay_stats *stats_out,
                       struct last_error *error_out)
{
    engine_get_stats(s->engine, place, stats_out);
    last_errors_get(s->last_errors, place, error_out);
}

struct relay_memory *service_get_relay_memory(const struct service *s, size_t place,
                                              const struct relay_settings *settings)
{
    return engine_get_memory(s->engine, place, &settings->c);
}

/* ---- capacity and draining ---- */

/* Once nothing is running; by a letter, so that nobody is torn down under a function of his own. Bytes are looked at
 * before sends: a send begins while the bytes of its request are held. */
static void tell_when_empty(struct service *s)
{
    if (!s->draining || s->inflight || s->running || atomic_exchange(&s->told_empty, true))
        return;
    engine_drain(s->engine);
    loop_post(s->desks[0].loop, &s->empty_msg);
}

void service_begin_send(struct service *s)
{
    atomic_fetch_add(&s->running, 1);
}

void service_end_send(struct service *s)
{
    atomic_fetch_sub(&s->running, 1);
    tell_when_empty(s);
}

static bool take_room(struct service *s, size_t bytes)
{
    size_t max = s->live.max_inflight, held = s->inflight;

    if (bytes > max)
        return false;
    do {
        if (held > max - bytes)
            return false;
    } while (!atomic_compare_exchange_weak(&s->inflight, &held, held + bytes));
    if (bytes >= BLOCK_LARGE || held + bytes >= TRIM_ABOVE)
        s->had_large = true;
    return true;
}

bool desk_change(struct desk *d, size_t from, size_t to)
{
    if (to > from)
        return take_room(d->service, to - from);
    if (to < from)
        desk_release(d, from - to);
    return true;
}

enum outcome_code desk_reserve(struct desk *d, size_t bytes)
{
    struct service *s = d->service;

    if (s->draining)
        return OUTCOME_SHUTTING_DOWN;
    if (s->running >= s->live.max_waiting || !take_room(s, bytes))
        return OUTCOME_OVERLOADED;
    if (!s->draining)
        return OUTCOME_SENT;
    desk_release(d, bytes);             /* the drain began meanwhile on another loop, and may have seen these bytes */
    return OUTCOME_SHUTTING_DOWN;
}

void desk_release(struct desk *d, size_t bytes)
{
    struct service *s = d->service;
    size_t held = atomic_fetch_sub(&s->inflight, bytes);

    if (bytes > held)
        unreachable("more bytes released than reserved");
    if (held - bytes < TRIM_ABOVE && s->had_large && !d->trim.is_set)
        loop_timer_set(d->loop, &d->trim, loop_now(d->loop) + TRIM_MS);
    tell_when_empty(s);
}

void service_announce_stop(struct service *s)
{
    s->stopping = true;
}

void service_drain(struct service *s, void (*on_empty)(void *ctx), void *ctx)
{
    s->on_empty = on_empty;
    s->on_empty_ctx = ctx;
    s->stopping = true;
    s->draining = true;
    tell_when_empty(s);
}

void service_give_up(struct service *s)
{
    for (size_t i = 0; i < s->n_desks; i++)
        desk_give_up(&s->desks[i]);
    engine_give_up(s->engine);
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

void service_log_http(const struct service_http_line *l)
{
    if (!log_is_on(LOG_DEBUG_LEVEL))
        return;
    log_event(LOG_DEBUG_LEVEL, "http", "request answered", LOG_S("request_id", l->request_id),
              LOG_IF("trace_id", l->trace_id), LOG_IF("span_id", l->span_id), LOG_S("method", l->method),
              LOG_S("route", l->route), LOG_IF("key", l->key), LOG_IF("key_id", l->key_id), LOG_IF("client", l->client),
              LOG_N("status", l->status), LOG_N("ms", (double)l->us / 1000));
}

void service_tell_certificate(struct service *s, int64_t ends, const char *why)
{
    const char *file = s->config->tls_cert_file;
    int64_t left = ends - (int64_t)time(NULL), days = left / 86400 - (left < 0);

    s->certificate_ends = ends;
    if (why)
        log_event(LOG_WARN_LEVEL, "certificate", "a file changed and cannot be used; the certificate before it stays",
                  LOG_S("file", file), LOG_S("why", why), LOG_N("days_left", days));
    else if (days < CERTIFICATE_DAYS)
        log_event(LOG_WARN_LEVEL, "certificate", left < 0 ? "the API's certificate has expired"
                  : "the API's certificate expires soon", LOG_S("file", file), LOG_N("days_left", days));
    else
        log_event(LOG_INFO_LEVEL, "certificate", "the API's certificate is in force", LOG_S("file", file),
                  LOG_N("days_left", days));
}

void service_log_crowded(const char *address, unsigned limit, unsigned n)
{
    log_event(LOG_WARN_LEVEL, "connections", "an address has max_connections_per_address; further ones are closed",
              LOG_S("address", address), LOG_N("limit", limit), LOG_N("refused", n));
}

void service_log_scarce(uint64_t limit, unsigned n)
{
    log_event(LOG_WARN_LEVEL, "connections",
              "too few file descriptors are free for callers of the API; raise the hard limit "
              "(ulimit -Hn, LimitNOFILE=)",
              LOG_N("limit", limit), LOG_N("refused", n));
}

void service_log_descriptors(const struct descriptors *d)
{
    log_event(LOG_WARN_LEVEL, "limits",
              d->connections < d->configured
                  ? "max_connections is lowered, as file descriptors are kept for relays and the admin listener; raise "
                    "the hard limit (ulimit -Hn, LimitNOFILE=)"
                  : "fewer file descriptors than max_connections and max_sessions may need; raise the hard limit "
                    "(ulimit -Hn, LimitNOFILE=) or lower those",
              LOG_N("limit", d->limit), LOG_N("wanted", d->wanted), LOG_N("max_connections", d->connections));
}

void service_log_closed(const char *listener, const char *why, const char *address, unsigned n)
{
    char msg[200];

    snprintf(msg, sizeof(msg), "a connection was closed: %s", why);
    log_event(LOG_WARN_LEVEL, "connections", msg, LOG_S("listener", listener), LOG_IF("address", address),
              LOG_N("times", n));
}

void service_log_diagnosis(const char *request_id, const struct diagnosis *d, const char *conclusion)
{
    char text[256];

    log_mask_text(conclusion, text);
    log_event(d->ok ? LOG_INFO_LEVEL : LOG_WARN_LEVEL, "diagnosis",
              d->ok ? "the relay works" : "the relay does not work",
              LOG_IF("request_id", request_id), LOG_S("relay", d->relay),
              LOG_S("code", outcome_code_name(d->ok ? OUTCOME_SENT : d->outcome.code)),
              LOG_S("step", d->ok || d->failed_at == DIAGNOSE_STEP_COUNT ? "" : diagnose_step_name(d->failed_at)),
              LOG_N("ms", d->total_ms), LOG_S("text", text));
}

void service_log_client_gone(const char *request_id, const char *route)
{
    log_event(LOG_INFO_LEVEL, "client_gone", "the client had closed its connection before its answer; its mail went on",
              LOG_S("request_id", request_id), LOG_S("route", route));
}

void service_write_metrics(struct service *s, struct bytes_buf *out)
{
    struct engine_relay_stats stats[RELAYS_PLACES];
    const char *names[RELAYS_PLACES];
    struct metrics_gauges g = {.waiting_requests = s->running, .inflight_bytes = s->inflight,
                               .log_lines_dropped = log_lines_dropped(),
                               .certificate_ends = s->certificate_ends, .relays = stats, .relay_names = names,
                               .n_relays = relays_count(s->relays)};

    for (size_t i = 0; i < g.n_relays; i++) {
        names[i] = relays_name(s->relays, i);
        engine_get_stats(s->engine, i, &stats[i]);
    }
    metrics_write(s->metrics, s->n_desks, &g, out);
}
