#include "service/metrics.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Counters and histograms for /metrics, in tables of fixed size. */

#define ROUTES_MAX 32
#define STATUSES_MAX 256                /* pairs of route and status */
#define SENDS_MAX 2048                  /* a power of two: sets of relay, code, stage and delivery */

static const struct bucket {
    uint64_t us;
    const char *le;
} buckets[] = {
    {1000, "0.001"},  {2500, "0.0025"}, {5000, "0.005"},  {10000, "0.01"},  {25000, "0.025"},
    {50000, "0.05"},  {100000, "0.1"},  {250000, "0.25"}, {500000, "0.5"},  {1000000, "1"},
    {2500000, "2.5"}, {5000000, "5"},   {10000000, "10"}, {30000000, "30"},
};

/* One loop counts and another one reads, so a number is atomic; there is one writer, so adding is a load and a store.
 * What a number belongs to (a route's name, a send's labels) is written before it and never changes. */
typedef _Atomic uint64_t counter;

static uint64_t value_of(const counter *c)
{
    return atomic_load_explicit(c, memory_order_acquire);
}

static void add(counter *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_release);
}

struct histogram {
    counter counts[ARRAY_LEN(buckets) + 1];             /* each alone; added up when written */
    counter sum_us;
};

enum phase { PHASE_QUEUE, PHASE_CONNECT, PHASE_TLS, PHASE_AUTH, PHASE_SEND, PHASE_TOTAL, PHASE_COUNT };
static const char *const phase_names[] = {"queue", "connect", "tls", "auth", "send", "total"};
_Static_assert(ARRAY_LEN(phase_names) == PHASE_COUNT, "one name per phase");

struct route {
    char name[64];
    struct histogram seconds;
};

struct http_count {
    size_t route;
    int status;
    counter n;
};

struct send_labels {
    size_t relay;
    enum outcome_code code;
    enum stage stage;
    enum delivery_status delivery;
};

struct send_count {
    counter n;                          /* 0: the place is free */
    struct send_labels labels;
};

struct relay_metrics {
    struct histogram phases[PHASE_COUNT];
    counter late, retries, stray, failures[WHOSE_COUNT];
};

struct metrics {
    struct route routes[ROUTES_MAX];
    counter n_routes;
    struct http_count http[STATUSES_MAX];
    counter n_http;
    struct send_count sends[SENDS_MAX];
    counter crowded;
    counter dropped;                    /* observations for which a table had no place */
    size_t n_relays;
    struct relay_metrics relays[];
};

struct metrics *metrics_new(size_t n_relays)
{
    struct metrics *m = calloc(1, sizeof(*m) + n_relays * sizeof(m->relays[0]));

    if (m)
        m->n_relays = n_relays;
    return m;
}

void metrics_free(struct metrics *m)
{
    free(m);
}

/* ---- counting ---- */

static void observe(struct histogram *h, uint64_t us)
{
    size_t i = 0;

    while (i < ARRAY_LEN(buckets) && us > buckets[i].us)
        i++;
    add(&h->counts[i], 1);
    add(&h->sum_us, us);
}

/* ROUTES_MAX when the table is full. */
static size_t find_route(struct metrics *m, const char *name)
{
    size_t r = 0, n = value_of(&m->n_routes);

    while (r < n && strncmp(m->routes[r].name, name, sizeof(m->routes[r].name) - 1) != 0)
        r++;
    if (r < n || r == ROUTES_MAX)
        return r;
    snprintf(m->routes[r].name, sizeof(m->routes[r].name), "%s", name);
    add(&m->n_routes, 1);
    return r;
}

static void count_status(struct metrics *m, size_t route, int status, uint64_t by)
{
    size_t i = 0, n = value_of(&m->n_http);

    while (i < n && (m->http[i].route != route || m->http[i].status != status))
        i++;
    if (i == STATUSES_MAX) {
        add(&m->dropped, by);
        return;
    }
    if (i == n) {
        m->http[i].route = route;
        m->http[i].status = status;
        add(&m->n_http, 1);
    }
    add(&m->http[i].n, by);
}

void metrics_count_http(struct metrics *m, const char *route, int status, uint64_t us)
{
    size_t r = find_route(m, route);

    if (r == ROUTES_MAX) {
        add(&m->dropped, 1);
        return;
    }
    observe(&m->routes[r].seconds, us);
    count_status(m, r, status, 1);
}

/* Open addressing. */
static void count_labels(struct metrics *m, const struct send_labels *l, uint64_t by)
{
    size_t h = ((l->relay * 131 + (size_t)l->code) * 31 + (size_t)l->stage) * 7 + (size_t)l->delivery;

    for (size_t i = 0; i < SENDS_MAX; i++) {
        struct send_count *c = &m->sends[(h + i) % SENDS_MAX];
        if (value_of(&c->n) == 0)
            c->labels = *l;
        if (c->labels.relay == l->relay && c->labels.code == l->code && c->labels.stage == l->stage &&
            c->labels.delivery == l->delivery) {
            add(&c->n, by);
            return;
        }
    }
    add(&m->dropped, by);
}

/* A reused session has no connect, tls and auth of its own; zeros would hide what those cost. */
static void observe_phases(struct relay_metrics *r, const struct delivery_report *report)
{
    const uint32_t us[] = {report->queue_us, report->connect_us, report->tls_us,
                           report->auth_us,  report->send_us,    report->total_us};

    _Static_assert(ARRAY_LEN(us) == PHASE_COUNT, "one time per phase");
    for (size_t i = 0; i < PHASE_COUNT; i++)
        if (us[i] || i == PHASE_QUEUE || i == PHASE_TOTAL)
            observe(&r->phases[i], us[i]);
}

void metrics_count_send(struct metrics *m, size_t relay, const struct smtp_outcome *o,
                        const struct delivery_report *report)
{
    struct send_labels l = {relay, o->code, o->code == OUTCOME_SENT ? STAGE_BODY : o->stage, o->delivery};

    count_labels(m, &l, 1);
    if (o->code != OUTCOME_SENT && relay < m->n_relays)
        add(&m->relays[relay].failures[o->whose], 1);
    if (report && relay < m->n_relays)
        observe_phases(&m->relays[relay], report);
}

void metrics_count_retry(struct metrics *m, size_t relay)
{
    if (relay < m->n_relays)
        add(&m->relays[relay].retries, 1);
}

void metrics_count_crowded(struct metrics *m)
{
    add(&m->crowded, 1);
}

void metrics_count_late(struct metrics *m, size_t relay)
{
    if (relay < m->n_relays)
        add(&m->relays[relay].late, 1);
}

void metrics_count_stray(struct metrics *m, size_t relay)
{
    if (relay < m->n_relays)
        add(&m->relays[relay].stray, 1);
}

/* ---- summing up ---- */

static void add_histogram(struct histogram *to, const struct histogram *from)
{
    for (size_t i = 0; i < ARRAY_LEN(from->counts); i++)
        add(&to->counts[i], value_of(&from->counts[i]));
    add(&to->sum_us, value_of(&from->sum_us));
}

static void add_http(struct metrics *to, const struct metrics *from)
{
    size_t n_routes = value_of(&from->n_routes), n_http = value_of(&from->n_http);
    size_t place[ROUTES_MAX];           /* of each route of `from` in `to` */

    for (size_t r = 0; r < n_routes; r++) {
        place[r] = find_route(to, from->routes[r].name);
        if (place[r] < ROUTES_MAX)
            add_histogram(&to->routes[place[r]].seconds, &from->routes[r].seconds);
    }
    for (size_t i = 0; i < n_http; i++) {
        const struct http_count *c = &from->http[i];
        if (c->route < n_routes && place[c->route] < ROUTES_MAX)        /* else a route that came just now */
            count_status(to, place[c->route], c->status, value_of(&c->n));
    }
}

static void add_metrics(struct metrics *to, const struct metrics *from)
{
    add_http(to, from);
    for (size_t i = 0; i < SENDS_MAX; i++) {
        uint64_t n = value_of(&from->sends[i].n);
        if (n)
            count_labels(to, &from->sends[i].labels, n);
    }
    for (size_t r = 0; r < to->n_relays; r++) {
        for (size_t p = 0; p < PHASE_COUNT; p++)
            add_histogram(&to->relays[r].phases[p], &from->relays[r].phases[p]);
        add(&to->relays[r].late, value_of(&from->relays[r].late));
        add(&to->relays[r].stray, value_of(&from->relays[r].stray));
        for (size_t w = 0; w < WHOSE_COUNT; w++)
            add(&to->relays[r].failures[w], value_of(&from->relays[r].failures[w]));
        add(&to->relays[r].retries, value_of(&from->relays[r].retries));
    }
    add(&to->crowded, value_of(&from->crowded));
    add(&to->dropped, value_of(&from->dropped));
}

/* ---- writing ---- */

static void family(struct bytes_buf *out, const char *name, const char *type, const char *help)
{
    bytes_buf_printf(out, "# HELP mailhatch_%s %s\n# TYPE mailhatch_%s %s\n", name, help, name, type);
}

/* key="value" as the text format wants it: backslash, quote and line feed escaped. */
static void label(struct bytes_buf *out, const char *key, const char *value)
{
    bytes_buf_printf(out, "%s=\"", key);
    for (; *value; value++) {
        if (*value == '\\' || *value == '"')
            bytes_buf_add_char(out, '\\');
        bytes_buf_add_str(out, *value == '\n' ? "\\n" : (const char[]){*value, '\0'});
    }
    bytes_buf_add_char(out, '"');
}

/* `labels` is written text such as relay="main",phase="tls". */
static void write_histogram(struct bytes_buf *out, const char *name, const char *labels, const struct histogram *h)
{
    uint64_t n = 0;

    for (size_t i = 0; i <= ARRAY_LEN(buckets); i++) {
        n += value_of(&h->counts[i]);
        bytes_buf_printf(out, "mailhatch_%s_bucket{%s,le=\"%s\"} %" PRIu64 "\n", name, labels,
                         i < ARRAY_LEN(buckets) ? buckets[i].le : "+Inf", n);
    }
    bytes_buf_printf(out, "mailhatch_%s_sum{%s} %" PRIu64 ".%06" PRIu64 "\n", name, labels,
                     value_of(&h->sum_us) / 1000000, value_of(&h->sum_us) % 1000000);
    bytes_buf_printf(out, "mailhatch_%s_count{%s} %" PRIu64 "\n", name, labels, n);
}

static void write_http(const struct metrics *m, struct bytes_buf *out)
{
    struct bytes_buf labels;

    bytes_buf_init(&labels, 0);
    family(out, "http_requests_total", "counter", "HTTP requests answered.");
    for (size_t i = 0; i < value_of(&m->n_http); i++) {
        bytes_buf_add_str(out, "mailhatch_http_requests_total{");
        label(out, "route", m->routes[m->http[i].route].name);
        bytes_buf_printf(out, ",status=\"%d\"} %" PRIu64 "\n", m->http[i].status,
                         value_of(&m->http[i].n));
    }
    family(out, "http_request_duration_seconds", "histogram", "Time from a request's headers to its answer.");
    for (size_t i = 0; i < value_of(&m->n_routes); i++) {
        labels.n = 0;
        label(&labels, "route", m->routes[i].name);
        if (labels.p)
            write_histogram(out, "http_request_duration_seconds", labels.p, &m->routes[i].seconds);
    }
    bytes_buf_deinit(&labels);
}

static void write_crowded(const struct metrics *m, struct bytes_buf *out)
{
    family(out, "http_connections_refused_total", "counter", "Connections closed: max_connections_per_address.");
    bytes_buf_printf(out, "mailhatch_http_connections_refused_total %" PRIu64 "\n", value_of(&m->crowded));
}

static void write_sends(const struct metrics *m, const struct metrics_gauges *g, struct bytes_buf *out)
{
    family(out, "sends_total", "counter", "Mails by what became of them.");
    for (size_t i = 0; i < SENDS_MAX; i++) {
        const struct send_labels *l = &m->sends[i].labels;
        uint64_t n = value_of(&m->sends[i].n);
        if (!n)
            continue;
        bytes_buf_add_str(out, "mailhatch_sends_total{");
        label(out, "relay", l->relay < m->n_relays ? g->relay_names[l->relay] : "");
        bytes_buf_printf(out, ",code=\"%s\",stage=\"%s\",delivery=\"%s\"} %" PRIu64 "\n", outcome_code_name(l->code),
                         stage_name(l->stage), delivery_name(l->delivery), n);
    }
    family(out, "send_phase_seconds", "histogram",
           "Time a send spent in each phase; connect, tls and auth only where a session was opened.");
    for (size_t r = 0; r < m->n_relays; r++) {
        for (size_t p = 0; p < PHASE_COUNT; p++) {
            char labels[160];
            snprintf(labels, sizeof(labels), "relay=\"%s\",phase=\"%s\"", g->relay_names[r], phase_names[p]);
            write_histogram(out, "send_phase_seconds", labels, &m->relays[r].phases[p]);
        }
    }
}

static void write_per_relay(const struct metrics *m, const struct metrics_gauges *g, struct bytes_buf *out,
                            const char *name, const char *type, const char *help,
                            uint64_t (*value)(const struct engine_relay_stats *s))
{
    family(out, name, type, help);
    for (size_t r = 0; r < m->n_relays; r++)
        bytes_buf_printf(out, "mailhatch_%s{relay=\"%s\"} %" PRIu64 "\n", name, g->relay_names[r],
                         value(&g->relays[r]));
}

static uint64_t get_opened(const struct engine_relay_stats *s) { return s->opened; }
static uint64_t get_resumed(const struct engine_relay_stats *s) { return s->resumed; }
static uint64_t get_old_address(const struct engine_relay_stats *s) { return s->old_address; }
static uint64_t get_reused(const struct engine_relay_stats *s) { return s->reused; }
static uint64_t get_stale(const struct engine_relay_stats *s) { return s->stale; }
static uint64_t get_flights(const struct engine_relay_stats *s) { return s->flights; }
static uint64_t get_waiting(const struct engine_relay_stats *s) { return s->waiting; }
static uint64_t get_circuit(const struct engine_relay_stats *s) { return s->circuit_open; }

static void write_relays(const struct metrics *m, const struct metrics_gauges *g, struct bytes_buf *out)
{
    family(out, "sessions", "gauge", "SMTP sessions by state.");
    for (size_t r = 0; r < m->n_relays; r++)
        bytes_buf_printf(
            out,
            "mailhatch_sessions{relay=\"%s\",state=\"idle\"} %u\nmailhatch_sessions{relay=\"%s\",state=\"busy\"} %u\n"
            "mailhatch_sessions{relay=\"%s\",state=\"connecting\"} %u\n",
            g->relay_names[r], g->relays[r].idle, g->relay_names[r], g->relays[r].busy, g->relay_names[r],
            g->relays[r].connecting);
    write_per_relay(m, g, out, "sessions_opened_total", "counter", "SMTP sessions opened.", get_opened);
    write_per_relay(m, g, out, "sessions_resumed_total", "counter", "Of these, by a TLS ticket.", get_resumed);
    write_per_relay(m, g, out, "sessions_old_address_total", "counter",
                    "SMTP sessions opened at the last known address, as no name server answered.", get_old_address);
    write_per_relay(m, g, out, "session_reuse_total", "counter", "Mails sent on a session that was open already.",
                    get_reused);
    write_per_relay(m, g, out, "stale_sessions_total", "counter",
                    "Idle sessions found dead before or at their next use.", get_stale);
    write_per_relay(m, g, out, "flights_total", "counter", "Client flights: writes that had waited for a reply.",
                    get_flights);
    write_per_relay(m, g, out, "waiting_mails", "gauge", "Mails waiting for a session.", get_waiting);
    write_per_relay(m, g, out, "circuit_open", "gauge", "1 while a relay is not tried because it failed.", get_circuit);
    family(out, "retries_total", "counter", "Mails tried again within their request, once for each further try.");
    for (size_t r = 0; r < m->n_relays; r++)
        bytes_buf_printf(out, "mailhatch_retries_total{relay=\"%s\"} %" PRIu64 "\n", g->relay_names[r],
                         value_of(&m->relays[r].retries));
    family(out, "late_verdicts_total", "counter", "Replies that came after outcome_unknown had been answered.");
    for (size_t r = 0; r < m->n_relays; r++)
        bytes_buf_printf(out, "mailhatch_late_verdicts_total{relay=\"%s\"} %" PRIu64 "\n", g->relay_names[r],
                         value_of(&m->relays[r].late));
    family(out, "stray_replies_total", "counter", "Replies that nothing had asked for, right behind a mail's verdict.");
    for (size_t r = 0; r < m->n_relays; r++)
        bytes_buf_printf(out, "mailhatch_stray_replies_total{relay=\"%s\"} %" PRIu64 "\n", g->relay_names[r],
                         value_of(&m->relays[r].stray));
    family(out, "failures_total", "counter", "Mails that failed, by what the failure belongs to.");
    for (size_t r = 0; r < m->n_relays; r++)
        for (int w = WHOSE_GATEWAY; w < WHOSE_COUNT; w++)
            bytes_buf_printf(out, "mailhatch_failures_total{relay=\"%s\",whose=\"%s\"} %" PRIu64 "\n",
                             g->relay_names[r], outcome_whose_name((enum outcome_whose)w),
                             value_of(&m->relays[r].failures[w]));
}

static void write_sum(const struct metrics *m, const struct metrics_gauges *g, struct bytes_buf *out)
{
    write_http(m, out);
    write_crowded(m, out);
    write_sends(m, g, out);
    write_relays(m, g, out);
    family(out, "waiting_requests", "gauge", "Sends running or waiting.");
    bytes_buf_printf(out, "mailhatch_waiting_requests %u\n", g->waiting_requests);
    family(out, "inflight_bytes", "gauge", "Bytes of request bodies held.");
    bytes_buf_printf(out, "mailhatch_inflight_bytes %zu\n", g->inflight_bytes);
    if (g->certificate_ends) {
        family(out, "api_certificate_expires_timestamp_seconds", "gauge", "When the API's certificate ends.");
        bytes_buf_printf(out, "mailhatch_api_certificate_expires_timestamp_seconds %" PRId64 "\n", g->certificate_ends);
    }
    family(out, "metrics_dropped_total", "counter", "Observations for which a table had no place.");
    bytes_buf_printf(out, "mailhatch_metrics_dropped_total %" PRIu64 "\n", value_of(&m->dropped));
    family(out, "log_lines_dropped_total", "counter", "Log lines lost because stderr did not take them.");
    bytes_buf_printf(out, "mailhatch_log_lines_dropped_total %" PRIu64 "\n", g->log_lines_dropped);
    family(out, "build_info", "gauge", "The version that runs.");
    bytes_buf_add_str(out, "mailhatch_build_info{version=\"" MAILHATCH_VERSION "\"} 1\n");
}

void metrics_write(struct metrics *const *all, size_t n, const struct metrics_gauges *g, struct bytes_buf *out)
{
    struct metrics *sum = metrics_new(g->n_relays);

    if (!sum) {
        out->failed = true;
        return;
    }
    for (size_t i = 0; i < n; i++)
        add_metrics(sum, all[i]);
    write_sum(sum, g, out);
    metrics_free(sum);
}
