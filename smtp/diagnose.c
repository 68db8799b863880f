#include "smtp/diagnose_int.h"

#include "smtp/crypto.h"
#include "smtp/secrets.h"

#include <stdio.h>
#include <time.h>

/* A diagnosis from its first step to its conclusion: which steps there are, in which order, and when they are run. */

#define TOTAL_MS 90000

struct row {
    enum diagnose_step_id id;
    bool (*run)(struct diagnose_state *s);
};

static const struct row plan_starttls[] = {
    {DIAGNOSE_STEP_BANNER, diagnose_banner},
    {DIAGNOSE_STEP_EHLO, diagnose_ehlo},
    {DIAGNOSE_STEP_STARTTLS, diagnose_starttls},
    {DIAGNOSE_STEP_TLS, diagnose_tls},
    {DIAGNOSE_STEP_CERTIFICATE, diagnose_certificate},
    {DIAGNOSE_STEP_EHLO_TLS, diagnose_ehlo_tls},
    {DIAGNOSE_STEP_COUNT, NULL},
};

static const struct row plan_implicit[] = {
    {DIAGNOSE_STEP_TLS, diagnose_tls},
    {DIAGNOSE_STEP_CERTIFICATE, diagnose_certificate},
    {DIAGNOSE_STEP_BANNER, diagnose_banner},
    {DIAGNOSE_STEP_EHLO_TLS, diagnose_ehlo_tls},
    {DIAGNOSE_STEP_COUNT, NULL},
};

static const struct row plan_none[] = {
    {DIAGNOSE_STEP_BANNER, diagnose_banner},
    {DIAGNOSE_STEP_EHLO, diagnose_ehlo},
    {DIAGNOSE_STEP_COUNT, NULL},
};

static const struct row *plan_of(enum smtp_tls_mode mode)
{
    switch (mode) {
    case SMTP_TLS_STARTTLS:
        return plan_starttls;
    case SMTP_TLS_IMPLICIT:
        return plan_implicit;
    case SMTP_TLS_NONE:
        return plan_none;
    }
    unreachable("a TLS mode without a plan");
}

/* ---- running ---- */

static void note_end_of_time(struct diagnose_state *s)
{
    if (!diagnose_is_over(&s->limits))
        return;
    s->d->canceled = s->p->cancel && atomic_load(s->p->cancel);
    s->d->timed_out = !s->d->canceled;
}

/* The step was ended from outside: what it saw then is no word on the relay. */
static void end_overdue(struct diagnose_state *s, const char *why)
{
    snprintf(s->stop, sizeof(s->stop), "%s", why);
    if (s->step->status == DIAGNOSE_FAIL && s->step->outcome.code == OUTCOME_DEADLINE_EXCEEDED)
        diagnose_say(s, "%s", why);
}

static void run_step(struct diagnose_state *s, const struct row *row)
{
    bool go_on;

    note_end_of_time(s);
    if (s->stop[0] || s->d->canceled || s->d->timed_out) {
        diagnose_skip(s, row->id, s->stop[0] ? s->stop
                                  : s->d->canceled ? "The run was canceled." : "The time for the whole run was up.");
        return;
    }
    diagnose_begin(s, row->id);
    go_on = row->run(s);
    note_end_of_time(s);
    if (s->d->canceled || s->d->timed_out)
        end_overdue(s, s->d->canceled ? "The run was canceled." : "The time for the whole run was up.");
    else if (!go_on)
        snprintf(s->stop, sizeof(s->stop), "Not reached: the step before did not succeed (%s).",
                 diagnose_step_name(row->id));
    diagnose_end(s);
}

static void run_extra(struct diagnose_state *s, enum diagnose_step_id id, bool (*run)(struct diagnose_state *))
{
    s->stop[0] = '\0';
    run_step(s, &(struct row){id, run});
}

static void converse(struct diagnose_state *s)
{
    static const struct row first[] = {{DIAGNOSE_STEP_CONFIG, diagnose_config},
                                       {DIAGNOSE_STEP_DNS, diagnose_dns},
                                       {DIAGNOSE_STEP_TCP, diagnose_tcp}};
    static const struct row last[] = {{DIAGNOSE_STEP_MAIL, diagnose_mail},
                                      {DIAGNOSE_STEP_RCPT, diagnose_rcpt},
                                      {DIAGNOSE_STEP_SEND, diagnose_send}};

    for (size_t i = 0; i < ARRAY_LEN(first); i++)
        run_step(s, &first[i]);
    for (const struct row *row = plan_of(s->d->tls_mode); row->run; row++)
        run_step(s, row);
    run_step(s, &(struct row){DIAGNOSE_STEP_AUTH, diagnose_auth});
    for (size_t i = 0; i < ARRAY_LEN(last); i++)
        if (s->p->to && (last[i].id != DIAGNOSE_STEP_SEND || s->p->send))
            run_step(s, &last[i]);
    if (s->conn.fd >= 0)
        run_extra(s, DIAGNOSE_STEP_QUIT, diagnose_quit);
    diagnose_conn_close(&s->conn);
}

/* ---- what is tried besides ---- */

static bool versions_wanted(const struct diagnose_state *s)
{
    enum outcome_code code = s->d->outcome.code;

    if (s->d->tls_mode == SMTP_TLS_NONE || !s->d->address[0])
        return false;
    return s->p->tls_versions || code == OUTCOME_TLS_VERSION_UNSUPPORTED || code == OUTCOME_TLS_HANDSHAKE_FAILED ||
           (code == OUTCOME_TLS_CLOSED && s->d->failed_at == DIAGNOSE_STEP_TLS);
}

/* Is this a failure for which another port may be the cure? */
static bool ports_wanted(const struct diagnose_state *s)
{
    enum outcome_code code = s->d->outcome.code;

    if (!s->has_peer)
        return false;
    if (s->p->all_ports)
        return true;
    switch (s->d->failed_at) {
    case DIAGNOSE_STEP_TCP:
    case DIAGNOSE_STEP_STARTTLS:
    case DIAGNOSE_STEP_TLS:
        return !s->d->ok;
    case DIAGNOSE_STEP_BANNER:
        return code != OUTCOME_RELAY_BUSY && code != OUTCOME_RELAY_RATE_LIMITED &&
               !diagnose_has(s->d, DIAGNOSE_FINDING_GREETING_TOO_LATE);
    case DIAGNOSE_STEP_EHLO:
    case DIAGNOSE_STEP_EHLO_TLS:
        return code == OUTCOME_STARTTLS_NOT_OFFERED || code == OUTCOME_EHLO_REJECTED ||
            code == OUTCOME_PROTOCOL_ERROR ||
               code == OUTCOME_CONNECTION_CLOSED;
    case DIAGNOSE_STEP_AUTH:
        return code == OUTCOME_AUTH_NOT_OFFERED || code == OUTCOME_AUTH_MECHANISM_UNSUPPORTED;
    case DIAGNOSE_STEP_CONFIG:
    case DIAGNOSE_STEP_DNS:
    case DIAGNOSE_STEP_CERTIFICATE:
    case DIAGNOSE_STEP_MAIL:
    case DIAGNOSE_STEP_RCPT:
    case DIAGNOSE_STEP_SEND:
    case DIAGNOSE_STEP_QUIT:
    case DIAGNOSE_STEP_TLS_VERSIONS:
    case DIAGNOSE_STEP_PORTS:
    case DIAGNOSE_STEP_COUNT:
        return false;
    }
    return false;
}

/* ---- the run ---- */

static void copy_config(struct diagnosis *d, const struct relay_config *c)
{
    snprintf(d->relay, sizeof(d->relay), "%s", c->name ? c->name : "");
    snprintf(d->host, sizeof(d->host), "%s", c->host);
    snprintf(d->user, sizeof(d->user), "%s", c->user ? c->user : "");
    d->port = c->port;
    d->tls_mode = c->tls_mode;
}

static void on_trace_line(void *ctx, bool from_client, const char *line)
{
    struct diagnose_state *s = ctx;

    s->p->on_trace(s->p->ctx, from_client, diagnose_ms(s), line);
}

static void start(struct diagnose_state *s)
{
    uint32_t total_ms = s->p->total_ms ? s->p->total_ms : TOTAL_MS;

    memset(s->d, 0, sizeof(*s->d));
    s->d->ok = true;
    s->d->started_at = (int64_t)time(NULL);
    s->d->failed_at = DIAGNOSE_STEP_COUNT;
    copy_config(s->d, s->p->relay);
    s->began_us = clock_us();
    s->limits = (struct diagnose_limits){.until_us = s->began_us + (uint64_t)total_ms * 1000, .cancel = s->p->cancel};
    s->secrets = secrets_new(s->p->relay->user, s->p->relay->password);
    s->limits.secrets = s->secrets;
    trace_init(&s->trace, on_trace_line, s);
    trace_hide(&s->trace, s->secrets, true);
    diagnose_conn_init(&s->conn, -1, &s->limits, s->p->on_trace ? &s->trace : NULL);
}

void diagnose_run(const struct diagnose_params *p, struct diagnosis *d)
{
    struct diagnose_state s;

    memset(&s, 0, sizeof(s));
    s.p = p;
    s.d = d;
    start(&s);
    converse(&s);
    if (versions_wanted(&s))
        run_extra(&s, DIAGNOSE_STEP_TLS_VERSIONS, diagnose_versions);
    if (ports_wanted(&s))
        run_extra(&s, DIAGNOSE_STEP_PORTS, diagnose_ports);
    diagnose_conclude(&s);
    d->total_ms = diagnose_ms(&s);
    trace_deinit(&s.trace);
    secrets_free(s.secrets);
    crypto_cleanse(s.conn.in, sizeof(s.conn.in));
}
