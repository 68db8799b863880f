#include "api/diagnoses.h"

#include "api/answer.h"
#include "api/diagnosis.h"
#include "api/hall.h"
#include "api/json_out.h"
#include "api/routes.h"
#include "service/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* POST /v1/relays/{name}/diagnose and /readyz?relay=deep, and what runs behind them. */

#define AT_ONCE 2
#define MARGIN_MS 1000                  /* between the end of a run and the request's deadline */
#define DEEP_KEPT_MS 60000
#define DEEP_TOTAL_MS 20000
#define ADDRESS_MAX 400

struct diagnoses {
    struct work *work;
    atomic_bool cancel;
    atomic_uint running;
    /* The last look at the default relay; the admin listener's loop only. */
    bool deep_known, deep_ok, deep_runs;
    uint64_t deep_at;
    char deep_relay[64], deep_conclusion[900];
};

struct diagnosis_job {
    struct work_job job;
    struct diagnoses *all;
    struct hall *hall;
    struct relay_settings *settings;
    struct diagnosis_order order;
    char to[ADDRESS_MAX], from[ADDRESS_MAX];
    struct diagnosis d;
};

/* ---- running ---- */

struct diagnoses *diagnoses_new(void)
{
    struct diagnoses *all = calloc(1, sizeof(*all));

    if (!all)
        return NULL;
    all->work = work_new(AT_ONCE);
    if (all->work)
        return all;
    free(all);
    return NULL;
}

void diagnoses_stop(struct diagnoses *all)
{
    if (!all)
        return;
    atomic_store(&all->cancel, true);
    work_free(all->work);
    all->work = NULL;
}

void diagnoses_free(struct diagnoses *all)
{
    free(all);
}

static void run_job(struct work_job *w)
{
    struct diagnosis_job *j = (struct diagnosis_job *)(void *)((char *)w - offsetof(struct diagnosis_job, job));
    struct diagnose_params p = {
        .relay = &j->settings->c,
        .to = j->order.to,
        .from = j->order.from,
        .send = j->order.send,
        .tls_versions = j->order.tls_versions,
        .all_ports = j->order.all_ports,
        .no_auth = j->order.no_auth,
        .total_ms = j->order.total_ms,
        .cancel = &j->all->cancel,
    };

    diagnose_run(&p, &j->d);
}

static void on_job_done(struct work_job *w)
{
    struct diagnosis_job *j = (struct diagnosis_job *)(void *)((char *)w - offsetof(struct diagnosis_job, job));

    atomic_fetch_sub(&j->all->running, 1);
    j->order.on_done(j->order.ctx, j->hall, &j->d);
    relay_settings_unref(j->settings);
    free(j);
}

static struct diagnosis_job *job_new(struct hall *h, const struct diagnosis_order *o, struct relay_settings *settings)
{
    struct diagnosis_job *j = calloc(1, sizeof(*j));

    if (!j)
        return NULL;
    j->job = (struct work_job){.run = run_job, .on_done = on_job_done, .reply_to = h->loop};
    j->all = h->diagnoses;
    j->hall = h;
    j->settings = settings;
    j->order = *o;
    snprintf(j->to, sizeof(j->to), "%s", o->to ? o->to : "");
    snprintf(j->from, sizeof(j->from), "%s", o->from ? o->from : "");
    j->order.to = o->to ? j->to : NULL;
    j->order.from = o->from ? j->from : NULL;
    return j;
}

enum outcome_code diagnoses_start(struct hall *h, const struct diagnosis_order *o)
{
    struct diagnoses *all = h->diagnoses;
    struct relay_settings *settings = service_relay_settings(h->service, o->relay);
    struct diagnosis_job *j;

    if (!settings)
        return OUTCOME_NOT_FOUND;
    if (atomic_fetch_add(&all->running, 1) < AT_ONCE && (j = job_new(h, o, settings))) {
        if (work_submit(all->work, &j->job) == 0)
            return OUTCOME_SENT;
        free(j);
    }
    atomic_fetch_sub(&all->running, 1);
    relay_settings_unref(settings);
    return OUTCOME_OVERLOADED;
}

/* ---- POST /v1/relays/{name}/diagnose ---- */

struct wishes {
    struct diagnosis_order order;
    char to[ADDRESS_MAX], from[ADDRESS_MAX];
    char unknown[64];
};

static void on_argument(void *ctx, const char *name, const char *value)
{
    struct wishes *w = ctx;
    bool yes = strcmp(value, "true") == 0 || strcmp(value, "1") == 0 || !*value;

    if (strcmp(name, "to") == 0)
        snprintf(w->to, sizeof(w->to), "%s", value);
    else if (strcmp(name, "from") == 0)
        snprintf(w->from, sizeof(w->from), "%s", value);
    else if (strcmp(name, "send") == 0)
        w->order.send = yes;
    else if (strcmp(name, "tls_versions") == 0)
        w->order.tls_versions = yes;
    else if (strcmp(name, "all_ports") == 0)
        w->order.all_ports = yes;
    else
        snprintf(w->unknown, sizeof(w->unknown), "%s", name);
}

static void answer_report(void *ctx, struct hall *h, const struct diagnosis *d)
{
    struct bytes_buf json;

    (void)h;
    bytes_buf_init(&json, 0);
    diagnosis_write(d, &json);
    answer_json(ctx, 200, &json);
}

void relays_diagnose(struct hall *h, struct http_request *r)
{
    uint64_t now = loop_now(h->loop), left = r->deadline > now ? r->deadline - now : 0;
    struct wishes w = {.order = {.on_done = answer_report, .ctx = r}};
    char name[64], detail[160];
    enum outcome_code code;

    http_each_argument(r, on_argument, &w);
    snprintf(name, sizeof(name), "%.*s", (int)r->argument.n, r->argument.p);
    w.order.relay = name;
    w.order.to = w.to[0] ? w.to : NULL;
    w.order.from = w.from[0] ? w.from : NULL;
    w.order.total_ms = left > 2 * MARGIN_MS ? (uint32_t)(left - MARGIN_MS) : MARGIN_MS;
    if (w.unknown[0] || (w.order.send && !w.order.to)) {
        snprintf(detail, sizeof(detail), w.unknown[0] ? "The argument %s is none of to, from, send, tls_versions and "
                 "all_ports." : "send needs to%s.", w.unknown);
        answer_refusal(r, OUTCOME_INVALID_REQUEST, detail);
        return;
    }
    code = r->argument.n < sizeof(name) ? diagnoses_start(h, &w.order) : OUTCOME_NOT_FOUND;
    if (code == OUTCOME_NOT_FOUND)
        answer_refusal(r, code, "No relay of this name is configured.");
    else if (code != OUTCOME_SENT)
        answer_refusal(r, code, "Two diagnoses are running already.");
}

/* ---- "diagnose": true ---- */

struct failed_send {
    struct http_request *r;
    struct http_answer answer;
    struct bytes_buf text;              /* the problem object, open at its end */
};

static void answer_failed_send(void *ctx, struct hall *h, const struct diagnosis *d)
{
    struct failed_send *f = ctx;

    (void)h;
    bytes_buf_add_str(&f->text, ",\"diagnosis\":");
    diagnosis_write(d, &f->text);
    bytes_buf_add_char(&f->text, '}');
    answer_problem_end(f->r, &f->answer, &f->text);
    free(f);
}

/* A refused password is not shown once more for each mail that asks. */
static bool is_login(const struct send_result *result)
{
    return result->outcome.stage == STAGE_AUTH || result->cause.stage == STAGE_AUTH;
}

bool diagnoses_answer(struct hall *h, struct http_request *r, const struct send_result *result)
{
    uint64_t now = loop_now(h->loop), left = r->deadline > now ? r->deadline - now : 0;
    struct diagnosis_order o = {.relay = result->relay, .no_auth = is_login(result), .on_done = answer_failed_send};
    struct failed_send *f;

    if (left < 3 * MARGIN_MS || !(f = calloc(1, sizeof(*f))))
        return false;
    f->r = r;
    answer_problem_begin(r, &(struct problem){.outcome = &result->outcome, .result = result}, &f->answer, &f->text);
    if (f->text.n && f->text.p[f->text.n - 1] == '}')
        f->text.n--;
    o.total_ms = (uint32_t)(left - MARGIN_MS);
    o.ctx = f;
    if (diagnoses_start(h, &o) == OUTCOME_SENT)
        return true;
    bytes_buf_deinit(&f->text);
    free(f);
    return false;
}

/* ---- /readyz?relay=deep ---- */

static void answer_deep(struct hall *h, struct http_request *r)
{
    const struct diagnoses *all = h->diagnoses;
    struct bytes_buf json;

    bytes_buf_init(&json, 0);
    json_out_member(&json, "{\"status\":", all->deep_ok ? "ready" : "relay_not_ready");
    json_out_member(&json, ",\"relay\":", all->deep_relay);
    json_out_member(&json, ",\"conclusion\":", all->deep_conclusion);
    bytes_buf_add_str(&json, ",\"age_s\":");
    json_out_uint(&json, (loop_now(h->loop) - all->deep_at) / 1000);
    bytes_buf_add_char(&json, '}');
    answer_json(r, all->deep_ok ? 200 : 503, &json);
}

/* ctx: the request that waits for it, or NULL when an older result has answered it. */
static void on_deep(void *ctx, struct hall *h, const struct diagnosis *d)
{
    struct diagnoses *all = h->diagnoses;
    struct bytes_buf conclusion;

    bytes_buf_init(&conclusion, sizeof(all->deep_conclusion) - 1);
    diagnosis_write_conclusion(d, &conclusion);
    snprintf(all->deep_conclusion, sizeof(all->deep_conclusion), "%s", bytes_buf_view(&conclusion).p);
    bytes_buf_deinit(&conclusion);
    snprintf(all->deep_relay, sizeof(all->deep_relay), "%s", d->relay);
    all->deep_ok = d->ok;
    all->deep_known = true;
    all->deep_runs = false;
    all->deep_at = loop_now(h->loop);
    if (ctx)
        answer_deep(h, ctx);
}

/* A probe is asked often: it gets the last result at once, and an old one is looked into again behind it. */
void readyz_deep(struct hall *h, struct http_request *r)
{
    struct diagnoses *all = h->diagnoses;
    bool old = !all->deep_known || loop_now(h->loop) - all->deep_at > DEEP_KEPT_MS;
    struct diagnosis_order o = {.total_ms = DEEP_TOTAL_MS, .on_done = on_deep, .ctx = all->deep_known ? NULL : r};
    enum outcome_code code = OUTCOME_OVERLOADED;

    if (old && !all->deep_runs) {
        code = diagnoses_start(h, &o);
        all->deep_runs = code == OUTCOME_SENT;
    }
    if (all->deep_known)
        answer_deep(h, r);
    else if (code == OUTCOME_NOT_FOUND)
        answer_refusal(r, code, "No relay is configured.");
    else if (code != OUTCOME_SENT)
        answer_refusal(r, OUTCOME_OVERLOADED, "The first look at the relay is not over yet.");
}
