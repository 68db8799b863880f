#include "api/answer.h"
#include "api/diagnosis.h"
#include "api/diagnosis_runs.h"
#include "api/hall.h"
#include "api/json_out.h"
#include "api/relays.h"
#include "api/routes.h"
#include "service/config.h"
#include "service/last_error.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* GET /v1/relays and /v1/relays/{name}: how each relay is configured, without secrets, and how it is. */

size_t relays_of_request(struct hall *h, const struct http_request *r, struct relay_settings **out)
{
    char name[65];

    *out = NULL;
    if (r->argument.n >= sizeof(name))
        return SIZE_MAX;
    memcpy(name, r->argument.p, r->argument.n);
    name[r->argument.n] = '\0';
    return service_find_relay(h->service, name, out);
}

bool relays_is_allowed(const struct http_request *r, struct bytes_view name)
{
    const struct config_key *k = r->key;

    for (size_t i = 0; k && i < k->relays.n; i++)
        if (bytes_equal(bytes_view_str(k->relays.v[i]), name))
            return true;
    return !k || k->relays.n == 0;
}

void relays_answer_unknown(struct hall *h, struct http_request *r)
{
    struct bytes_buf detail;
    size_t n = 0;

    bytes_buf_init(&detail, 8192);
    bytes_buf_printf(&detail, "There is no relay \"%.*s\"; configured:", (int)(r->argument.n < 64 ? r->argument.n : 64),
                     r->argument.p);
    for (size_t i = 0; i < service_n_places(h->service); i++) {
        const char *name = service_relay_name(h->service, i);
        if (service_has_relay(h->service, name) && relays_is_allowed(r, bytes_view_str(name)))
            bytes_buf_printf(&detail, "%s %s", n++ ? "," : "", name);
    }
    bytes_buf_add_char(&detail, '.');
    answer_refusal(r, OUTCOME_NOT_FOUND, detail.failed ? NULL : detail.p);
    bytes_buf_deinit(&detail);
}

/* ---- a relay as JSON ---- */

static void add_numbers(struct bytes_buf *out, const char *lead, const struct relays_number *rows, size_t n)
{
    bytes_buf_add_str(out, lead);
    for (size_t i = 0; i < n; i++) {
        bytes_buf_printf(out, "%s\"%s\":", i ? "," : "", rows[i].name);
        json_out_uint(out, rows[i].value);
    }
    bytes_buf_add_char(out, '}');
}

static void add_settings(struct bytes_buf *out, const struct relay_config *c)
{
    const struct relays_number limits[] = {
        {"max_sessions", c->max_sessions},     {"min_idle", c->min_idle},
        {"loops", c->loops},                   {"pipeline_depth", c->pipeline_depth},
        {"mails_per_session", c->mails_per_session},
    };
    const struct relays_number times[] = {
        {"dns", c->dns_ms},
        {"connect", c->connect_ms},
        {"connect_total", c->connect_total_ms},
        {"banner", c->timeouts.banner},
        {"tls", c->timeouts.tls},
        {"command", c->timeouts.command},
        {"write", c->timeouts.write_stall},
        {"final_reply", c->timeouts.final_reply},
        {"idle", c->idle_ms},
        {"lifetime", c->lifetime_ms},
    };

    json_out_member(out, ",\"host\":", c->host);
    bytes_buf_printf(out, ",\"port\":%u", c->port);
    json_out_member(out, ",\"tls\":", diagnose_mode_name(c->tls_mode));
    json_out_member(out, ",\"user\":", c->user);
    json_out_member(out, ",\"ca_file\":", c->ca_file);
    json_out_member(out, ",\"crl_file\":", c->crl_file);
    json_out_member(out, ",\"pins\":", c->pins);
    json_out_member(out, ",\"ehlo_name\":", c->ehlo_name);
    add_numbers(out, ",\"limits\":{", limits, ARRAY_LEN(limits));
    add_numbers(out, ",\"timeouts_ms\":{", times, ARRAY_LEN(times));
}

void relays_add_time(struct bytes_buf *out, const char *lead, int64_t seconds)
{
    time_t t = (time_t)seconds;
    char text[32] = "";
    struct tm tm;

    if (seconds && gmtime_r(&t, &tm))
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    json_out_member(out, lead, text[0] ? text : NULL);
}

static void add_error(struct bytes_buf *out, const char *name, const struct relay_config *c,
                      const struct last_error *e)
{
    struct send_result about = {.relay = name, .relay_host = c->host, .relay_port = c->port,
                                .relay_tls_mode = diagnose_mode_name(c->tls_mode), .relay_has_user = c->user != NULL};

    bytes_buf_add_str(out, ",\"last_error\":");
    if (!e->failed_at) {
        bytes_buf_add_str(out, "null");
        return;
    }
    problem_write_brief(&(struct problem){.outcome = &e->outcome, .result = &about}, out);
    out->n -= !out->failed;             /* the closing brace */
    relays_add_time(out, ",\"at\":", e->failed_at);
    bytes_buf_add_char(out, '}');
}

static void add_diagnosis(struct bytes_buf *out, const struct diagnosis_last *last)
{
    bytes_buf_add_str(out, ",\"last_diagnosis\":");
    if (!last->known) {
        bytes_buf_add_str(out, "null");
        return;
    }
    bytes_buf_printf(out, "{\"ok\":%s", last->ok ? "true" : "false");
    json_out_member(out, ",\"code\":", last->ok ? NULL : outcome_code_name(last->code));
    json_out_member(out, ",\"conclusion\":", last->conclusion);
    relays_add_time(out, ",\"at\":", last->at);
    bytes_buf_add_char(out, '}');
}

static void add_state(struct hall *h, struct bytes_buf *out, size_t place, const struct relay_settings *settings)
{
    struct engine_relay_stats stats;
    struct diagnosis_last last;
    struct last_error error;

    service_get_relay(h->service, place, &stats, &error);
    diagnosis_runs_get_last(h->runs, place, settings, &last);
    const struct relays_number pool[] = {{"idle", stats.idle}, {"busy", stats.busy}, {"connecting", stats.connecting},
                                         {"waiting", stats.waiting}};
    const struct relays_number totals[] = {{"sessions", stats.opened}, {"resumed", stats.resumed},
                                           {"reused", stats.reused}, {"stale", stats.stale}, {"mails", stats.mails}};

    bytes_buf_printf(out, ",\"circuit_open\":%s", stats.circuit_open ? "true" : "false");
    add_numbers(out, ",\"pool\":{", pool, ARRAY_LEN(pool));
    add_numbers(out, ",\"totals\":{", totals, ARRAY_LEN(totals));
    relays_add_time(out, ",\"last_sent_at\":", error.sent_at);
    add_error(out, service_relay_name(h->service, place), &settings->c, &error);
    add_diagnosis(out, &last);
}

static void add_relay(struct hall *h, struct bytes_buf *out, size_t place, const struct relay_settings *settings)
{
    json_out_member(out, "{\"name\":", service_relay_name(h->service, place));
    bytes_buf_printf(out, ",\"default\":%s",
                     service_find_relay(h->service, NULL, NULL) == place ? "true" : "false");
    add_settings(out, &settings->c);
    add_state(h, out, place, settings);
    bytes_buf_add_char(out, '}');
}

/* ---- the handlers ---- */

void relays_list(struct hall *h, struct http_request *r)
{
    size_t places = service_n_places(h->service), n = 0;
    struct relay_settings *settings;
    struct bytes_buf out;

    bytes_buf_init(&out, 0);
    bytes_buf_add_str(&out, "{\"data\":[");
    for (size_t i = 0; i < places; i++) {
        const char *name = service_relay_name(h->service, i);
        if (!relays_is_allowed(r, bytes_view_str(name)) || service_find_relay(h->service, name, &settings) != i)
            continue;                   /* not this key's, or a reload took it away */
        if (n++)
            bytes_buf_add_char(&out, ',');
        add_relay(h, &out, i, settings);
        relay_settings_unref(settings);
    }
    bytes_buf_add_str(&out, "]}");
    answer_json(r, 200, &out);
}

void relays_get(struct hall *h, struct http_request *r)
{
    struct relay_settings *settings;
    size_t place = relays_of_request(h, r, &settings);
    struct bytes_buf out;

    if (place == SIZE_MAX) {
        relays_answer_unknown(h, r);
        return;
    }
    if (relays_is_allowed(r, r->argument)) {
        bytes_buf_init(&out, 0);
        add_relay(h, &out, place, settings);
        answer_json(r, 200, &out);
    } else {
        answer_refusal(r, OUTCOME_FORBIDDEN, "This key may not use this relay.");
    }
    relay_settings_unref(settings);
}
