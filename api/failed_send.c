#include "api/failed_send.h"

#include "api/answer.h"
#include "api/diagnosis.h"
#include "api/diagnosis_runs.h"
#include "api/hall.h"

#include <stdlib.h>
#include <string.h>

/* The answer to a failed mail, with what a look at its relay found. */

#define MARGIN_MS 500                   /* between the end of the run and the request's deadline */
#define LEAST_MS 1000                   /* a shorter look finds nothing */

struct failed_send {
    struct http_request *r;
    struct http_answer answer;
    struct bytes_buf text;              /* the problem object, open at its end */
};

/* The relay, or the way to it, is what failed. */
static bool is_about_relay(const struct send_result *result)
{
    return result->relay && (result->outcome.stage > STAGE_QUEUE || result->outcome.code == OUTCOME_RELAY_UNAVAILABLE);
}

static void end(struct failed_send *f, const struct diagnosis_run *run)
{
    bytes_buf_add_str(&f->text, ",\"diagnosis\":");
    if (run)
        diagnosis_write(&run->d, &(struct diagnosis_setup){.relay = &run->settings->c}, &f->text);
    else
        bytes_buf_add_str(&f->text, "null");
    bytes_buf_add_char(&f->text, '}');
    answer_problem_end(f->r, &f->answer, &f->text);
    free(f);
}

static void on_done(struct diagnosis_run *run)
{
    end(run->ctx, run->d.canceled ? NULL : run);
}

/* What the mail's envelope met, a look at the same envelope shows best; a refused password is not shown once more. */
static struct diagnosis_run *make_run(struct hall *h, const struct send_result *result, uint32_t total_ms)
{
    const struct smtp_outcome *o = &result->outcome;
    struct diagnosis_run *run = diagnosis_run_new();
    const struct mail *m = result->mail;
    const char *from = m->envelope_from.email ? m->envelope_from.email : m->from.email;
    size_t i = 0;

    if (!run)
        return NULL;
    run->place = service_find_relay(h->service, result->relay, &run->settings);
    run->no_auth = o->stage == STAGE_AUTH || result->cause.stage == STAGE_AUTH;
    run->total_ms = total_ms;
    run->reply_to = h->loop;
    run->on_done = on_done;
    if ((o->stage == STAGE_MAIL || o->stage == STAGE_RCPT) && result->n_rcpts) {
        while (result->rcpt_outcomes && i + 1 < result->n_rcpts && result->rcpt_outcomes[i].code == OUTCOME_SENT)
            i++;
        run->to = strdup(result->rcpts[i]);
        run->from = from && *from ? strdup(from) : NULL;
    }
    return run;
}

static bool begin(struct hall *h, struct failed_send *f, const struct send_result *result, uint32_t total_ms)
{
    struct diagnosis_run *run = make_run(h, result, total_ms);

    if (!run || run->place == SIZE_MAX) {
        diagnosis_run_free(run);
        return false;
    }
    memcpy(run->request_id, f->r->id, sizeof(run->request_id));
    run->ctx = f;
    return diagnosis_runs_begin(h->runs, run);
}

/* The sentence stands in detail and message. */
static void answer_without(struct http_request *r, const struct send_result *result, const char *why)
{
    struct problem p = {.outcome = &result->outcome, .result = result};
    struct failed_send *f = calloc(1, sizeof(*f));
    struct bytes_buf detail;

    if (!f) {
        answer_problem(r, &p);
        return;
    }
    bytes_buf_init(&detail, 0);
    problem_write_detail(&p, &detail);
    bytes_buf_printf(&detail, " %s", why);
    p.detail = detail.failed ? NULL : detail.p;
    f->r = r;
    answer_problem_begin(r, &p, &f->answer, &f->text);
    f->text.n -= f->text.n > 0;         /* the closing brace */
    bytes_buf_deinit(&detail);
    end(f, NULL);
}

void failed_send_answer(struct hall *h, struct http_request *r, const struct send_result *result)
{
    uint64_t now = loop_now(h->loop), left = r->deadline > now ? r->deadline - now : 0;
    struct problem p = {.outcome = &result->outcome, .result = result};
    struct failed_send *f;

    if (!is_about_relay(result)) {
        answer_problem(r, &p);
        return;
    }
    if (left < LEAST_MS + MARGIN_MS) {
        answer_without(r, result, "There was no time left in the request for a diagnosis.");
    if (h->closing) {
        answer_without(r, result, "mailhatch is stopping, so there is no diagnosis of this failure.");
        return;
    }
        return;
    }
    f = calloc(1, sizeof(*f));
    if (f) {
        f->r = r;
        answer_problem_begin(r, &p, &f->answer, &f->text);
        f->text.n -= f->text.n > 0;     /* the closing brace */
        if (begin(h, f, result, (uint32_t)left - MARGIN_MS))
            return;
        bytes_buf_deinit(&f->text);
        free(f);
    }
    answer_without(r, result, "As many diagnoses run as may at once, so there is none of this failure.");
}
