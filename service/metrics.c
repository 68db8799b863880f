#include "service/metrics.h"

#include <inttypes.h>
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

struct histogram {
    uint64_t counts[ARRAY_LEN(buckets) + 1];            /* each alone; added up when written */
    uint64_t sum_us;
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
    uint64_t n;
};

struct send_count {
    uint64_t n;                         /* 0: the place is free */
    size_t relay;
    enum outcome_code code;
    enum stage stage;
    enum delivery_status delivery;
};

struct relay_metrics {
    struct histogram phases[PHASE_COUNT];
    uint64_t late, retries;
};

struct metrics {
    struct route routes[ROUTES_MAX];
    size_t n_routes;
    struct http_count http[STATUSES_MAX];
    size_t n_http;
    struct send_count sends[SENDS_MAX];
    uint64_t dropped;                   /* observations for which a table had no place */
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

static void observe(struct histogram *h, uint64_t us)
{
    size_t i = 0;

    while (i < ARRAY_LEN(buckets) && us > buckets[i].us)
        i++;
    h->counts[i]++;
    h->sum_us += us;
}

void metrics_count_http(struct metrics *m, const char *route, int status, uint64_t us)
{
    size_t r = 0, i = 0;

    while (r < m->n_routes && strncmp(m->routes[r].name, route, sizeof(m->routes[r].name) - 1) != 0)
        r++;
    if (r == ROUTES_MAX) {
        m->dropped++;
        return;
    }
    if (r == m->n_routes) {
        snprintf(m->routes[r].name, sizeof(m->routes[r].name), "%s", route);
        m->n_routes++;
    }
    observe(&m->routes[r].seconds, us);
    while (i < m->n_http && (m->http[i].route != r || m->http[i].status != status))
        i++;
    if (i == STATUSES_MAX) {
        m->dropped++;
        return;
    }
    if (i == m->n_http)
        m->http[m->n_http++] = (struct http_count){.route = r, .status = status};
    m->http[i].n++;
}

/* The place of one set of labels: open addressing; NULL when the table is full. */
static struct send_count *find_send(struct metrics *m, size_t relay, const struct smtp_outcome *o)
{
    enum stage stage = o->code == OUTCOME_SENT ? STAGE_BODY : o->stage;
    size_t h = ((relay * 131 + (size_t)o->code) * 31 + (size_t)stage) * 7 + (size_t)o->delivery;

    for (size_t i = 0; i < SENDS_MAX; i++) {
        struct send_count *c = &m->sends[(h + i) % SENDS_MAX];
        if (c->n == 0)
            *c = (struct send_count){0, relay, o->code, stage, o->delivery};
        if (c->n == 0 || (c->relay == relay && c->code == o->code && c->stage == stage && c->delivery == o->delivery))
            return c;
    }
    return NULL;
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
    struct send_count *c = find_send(m, relay, o);

    if (c)
        c->n++;
    else
        m->dropped++;
    if (report && relay < m->n_relays)
        observe_phases(&m->relays[relay], report);
}

void metrics_count_retry(struct metrics *m, size_t relay)
{
    if (relay < m->n_relays)
        m->relays[relay].retries++;
}

void metrics_count_late(struct metrics *m, size_t relay)
{
    if (relay < m->n_relays)
        m->relays[relay].late++;
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
        n += h->counts[i];
        bytes_buf_printf(out, "mailhatch_%s_bucket{%s,le=\"%s\"} %" PRIu64 "\n", name, labels,
                         i < ARRAY_LEN(buckets) ? buckets[i].le : "+Inf", n);
    }
    bytes_buf_printf(out, "mailhatch_%s_sum{%s} %" PRIu64 ".%06" PRIu64 "\n", name, labels, h->sum_us / 1000000,
                     h->sum_us % 1000000);
    bytes_buf_printf(out, "mailhatch_%s_count{%s} %" PRIu64 "\n", name, labels, n);
}

static void write_http(const struct metrics *m, struct bytes_buf *out)
{
    struct bytes_buf labels;

    bytes_buf_init(&labels, 0);
    family(out, "http_requests_total", "counter", "HTTP requests answered.");
    for (size_t i = 0; i < m->n_http; i++) {
        bytes_buf_add_str(out, "mailhatch_http_requests_total{");
        label(out, "route", m->routes[m->http[i].route].name);
        bytes_buf_printf(out, ",status=\"%d\"} %" PRIu64 "\n", m->http[i].status, m->http[i].n);
    }
    family(out, "http_request_duration_seconds", "histogram", "Time from a request's headers to its answer.");
    for (size_t i = 0; i < m->n_routes; i++) {
        labels.n = 0;
        label(&labels, "route", m->routes[i].name);
        if (labels.p)
            write_histogram(out, "http_request_duration_seconds", labels.p, &m->routes[i].seconds);
    }
    bytes_buf_deinit(&labels);
}

static void write_sends(const struct metrics *m, const struct metrics_gauges *g, struct bytes_buf *out)
{
    family(out, "sends_total", "counter", "Mails by what became of them.");
    for (size_t i = 0; i < SENDS_MAX; i++) {
        const struct send_count *c = &m->sends[i];
        if (!c->n)
            continue;
        bytes_buf_add_str(out, "mailhatch_sends_total{");
        label(out, "relay", c->relay < m->n_relays ? g->relay_names[c->relay] : "");
        bytes_buf_printf(out, ",code=\"%s\",stage=\"%s\",delivery=\"%s\"} %" PRIu64 "\n", outcome_code_name(c->code),
                         stage_name(c->stage), delivery_name(c->delivery), c->n);
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
                         m->relays[r].retries);
    family(out, "late_verdicts_total", "counter", "Replies that came after outcome_unknown had been answered.");
    for (size_t r = 0; r < m->n_relays; r++)
        bytes_buf_printf(out, "mailhatch_late_verdicts_total{relay=\"%s\"} %" PRIu64 "\n", g->relay_names[r],
                         m->relays[r].late);
}

void metrics_write(const struct metrics *m, const struct metrics_gauges *g, struct bytes_buf *out)
{
    write_http(m, out);
    write_sends(m, g, out);
    write_relays(m, g, out);
    family(out, "waiting_requests", "gauge", "Sends running or waiting.");
    bytes_buf_printf(out, "mailhatch_waiting_requests %u\n", g->waiting_requests);
    family(out, "inflight_bytes", "gauge", "Bytes of request bodies held.");
    bytes_buf_printf(out, "mailhatch_inflight_bytes %zu\n", g->inflight_bytes);
    family(out, "metrics_dropped_total", "counter", "Observations for which a table had no place.");
    bytes_buf_printf(out, "mailhatch_metrics_dropped_total %" PRIu64 "\n", m->dropped);
    family(out, "build_info", "gauge", "The version that runs.");
    bytes_buf_add_str(out, "mailhatch_build_info{version=\"" MAILHATCH_VERSION "\"} 1\n");
}
