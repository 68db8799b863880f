#include "api/answer.h"
#include "api/diagnosis.h"
#include "api/diagnosis_runs.h"
#include "api/json_diagnose.h"
#include "api/relays.h"
#include "api/rights.h"
#include "api/routes.h"
#include "api/submission.h"
#include "service/config.h"

#include <string.h>

/* POST /v1/relays/{name}/diagnose: the staged check of a configured relay; nothing in the request can point it, or the
 * credentials, elsewhere. */

#define BODY_MAX 16384

static bool is_json(const char *type)
{
    size_t n = type ? strcspn(type, "; \t") : 0;

    return n && bytes_equal_nocase(bytes_view(type, n), bytes_view_str("application/json"));
}

static enum outcome_code judge(struct hall *h, struct http_request *r, const char **detail_out)
{
    bool has_body = r->chunked || r->length > 0;
    enum outcome_code code;

    *detail_out = "The body is larger than 16 KiB.";
    if (r->length > BODY_MAX)
        return OUTCOME_PAYLOAD_TOO_LARGE;
    *detail_out = "The Content-Type is not application/json, which this endpoint takes.";
    if (has_body && !is_json(r->content_type))
        return OUTCOME_UNSUPPORTED_MEDIA_TYPE;
    *detail_out = "This endpoint takes no Content-Encoding.";
    if (has_body && r->content_encoding && strcasecmp(r->content_encoding, "identity") != 0)
        return OUTCOME_UNSUPPORTED_MEDIA_TYPE;
    /* Held until the answer, so that a drain waits for it. */
    code = desk_reserve(h->desk, sizeof(struct diagnosis_run));
    r->reserved = code == OUTCOME_SENT ? sizeof(struct diagnosis_run) : 0;
    *detail_out = NULL;
    return code;
}

static void on_done(struct diagnosis_run *run)
{
    const struct diagnosis_setup setup = {.relay = &run->settings->c};
    struct http_request *r = run->ctx;
    struct bytes_buf json;

    if (run->d.canceled) {
        answer_refusal(r, OUTCOME_SHUTTING_DOWN, NULL);
        return;
    }
    bytes_buf_init(&json, 0);
    diagnosis_write(&run->d, &setup, &json);
    answer_json(r, 200, &json);
}

static char *copy(const char *s)
{
    return s ? strdup(s) : NULL;
}

static void begin(struct submission *s, const struct json_diagnose *wish, const struct mail *m)
{
    struct diagnosis_run *run = diagnosis_run_new();

    if (!run) {
        answer_refusal(s->r, OUTCOME_OVERLOADED, "There is no memory for a diagnosis.");
        return;
    }
    run->place = relays_of_request(s->hall, s->r, &run->settings);
    run->to = copy(m->to.n ? m->to.v[0].email : NULL);
    run->from = copy(m->from.email);
    run->send = wish->send;
    run->tls_versions = wish->tls_versions;
    run->all_ports = wish->all_ports;
    run->reply_to = s->hall->loop;
    memcpy(run->request_id, s->r->id, sizeof(run->request_id));
    run->on_done = on_done;
    run->ctx = s->r;
    if (run->place == SIZE_MAX) {       /* a reload took it away */
        relays_answer_unknown(s->hall, s->r);
        diagnosis_run_free(run);
    } else if (!diagnosis_runs_begin(s->hall->runs, run)) {
        answer_refusal(s->r, OUTCOME_OVERLOADED, "As many diagnoses run as may at once (2); repeat it in a moment.");
    }
}

static void on_text(struct submission *s, char *body, size_t n)
{
    struct json_mail_params params;
    struct json_mail_result read;
    struct json_diagnose wish;
    struct smtp_outcome o;

    submission_read_params(s->hall->service, &params);
    json_diagnose_read(body, n, &params, &wish, &read);
    if (!rights_judge_mail(s->r->key, "", &read)) {
        struct problem p = problem_of_reading(&read, &o);
        answer_problem(s->r, &p);
    } else if (wish.send && s->r->key && !(s->r->key->scopes & CONFIG_SCOPE_SEND)) {
        answer_refusal(s->r, OUTCOME_FORBIDDEN, "/send: this key may not send mails.");
    } else {
        begin(s, &wish, read.mail);
    }
    json_mail_result_deinit(&read);
}

void diagnose_on_headers(struct hall *h, struct http_request *r)
{
    struct intake_params p = {.kind = INTAKE_JSON, .content_type = r->content_type, .length = (size_t)r->length,
                              .max = BODY_MAX};
    struct relay_settings *settings;
    const char *detail;
    enum outcome_code code;
    struct submission *s;

    r->wants_body = true;
    if (relays_of_request(h, r, &settings) == SIZE_MAX) {
        relays_answer_unknown(h, r);
        return;
    }
    relay_settings_unref(settings);
    if (!relays_is_allowed(r, r->argument)) {
        answer_refusal(r, OUTCOME_FORBIDDEN, "This key may not use this relay.");
        return;
    }
    code = judge(h, r, &detail);
    if (code != OUTCOME_SENT) {
        answer_refusal(r, code, detail);
        return;
    }
    s = submission_new(h, r, &p);
    if (s)
        s->on_text = on_text;
}
