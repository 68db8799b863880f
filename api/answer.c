#include "api/answer.h"

#include "api/catalogue.h"
#include "api/json_out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Turns outcomes and JSON texts into HTTP answers. */

#define TYPE_JSON "application/json"
#define TYPE_PROBLEM "application/problem+json"

/* Without memory for an answer this one is given. */
static char no_memory[] =
    "{\"type\":\"/v1/errors/internal_error\",\"title\":\"An error in the gateway\",\"status\":500,"
    "\"code\":\"internal_error\",\"stage\":\"request\",\"delivery\":\"unknown\",\"retryable\":false,"
    "\"detail\":\"There is no memory for the answer.\","
    "\"hint\":\"Look at the log under this request_id, and report it.\","
    "\"request_id\":\"\",\"name\":\"internal_error\",\"message\":\"There is no memory for the answer.\","
    "\"statusCode\":500}";

/* Gives the text over to a. */
static void fill(struct http_answer *a, const char *type, struct bytes_buf *text)
{
    a->type = type;
    a->body = bytes_buf_take(text, &a->n);
    if (a->body)
        return;
    a->status = 500;
    a->type = TYPE_PROBLEM;
    a->body = no_memory;
    a->n = sizeof(no_memory) - 1;
    a->is_static = true;
}

void answer_json(struct http_request *r, int status, struct bytes_buf *json)
{
    struct http_answer a = {.status = status};

    fill(&a, TYPE_JSON, json);
    http_answer(r, &a);
}

void answer_problem_begin(struct http_request *r, const struct problem *p, struct http_answer *a,
                          struct bytes_buf *text)
{
    struct problem with_id = *p;

    with_id.request_id = r->id;
    bytes_buf_init(text, 0);
    problem_write(&with_id, text);
    a->status = catalogue_status(p->outcome);
    a->www_authenticate = a->status == 401;
    if (!a->retry_after)
        a->retry_after = problem_retry_after(p->outcome, p->result ? p->result->retry_after_s : 0);
    a->close = p->outcome->code == OUTCOME_SHUTTING_DOWN || a->status == 408;
}

void answer_problem_end(struct http_request *r, struct http_answer *a, struct bytes_buf *text)
{
    fill(a, TYPE_PROBLEM, text);
    http_answer(r, a);
}

static void give_problem(struct http_request *r, const struct problem *p, struct http_answer *a)
{
    struct bytes_buf text;

    answer_problem_begin(r, p, a, &text);
    answer_problem_end(r, a, &text);
}

void answer_problem(struct http_request *r, const struct problem *p)
{
    struct http_answer a = {0};

    give_problem(r, p, &a);
}

/* OVERLOADED and SHUTTING_DOWN are said of a mail that would have queued (API.md §4), the rest of the request. */
static void set_refusal(struct smtp_outcome *o, enum outcome_code code)
{
    enum stage stage = code == OUTCOME_OVERLOADED || code == OUTCOME_SHUTTING_DOWN ? STAGE_QUEUE : STAGE_REQUEST;

    outcome_set_local(o, code, code == OUTCOME_OUTCOME_UNKNOWN ? STAGE_BODY : stage,
                      code == OUTCOME_OUTCOME_UNKNOWN ? DELIVERY_UNKNOWN : DELIVERY_NOT_SENT, NULL);
}

void answer_refusal_with(struct http_request *r, enum outcome_code code, const char *detail, const char *hint)
{
    struct smtp_outcome o;

    set_refusal(&o, code);
    answer_problem(r, &(struct problem){.outcome = &o, .detail = detail, .hint = hint});
}

void answer_refusal(struct http_request *r, enum outcome_code code, const char *detail)
{
    answer_refusal_with(r, code, detail, NULL);
}

void answer_rate_limited(struct http_request *r, uint32_t retry_after, const char *detail)
{
    struct http_answer a = {.retry_after = retry_after};
    struct smtp_outcome o;

    set_refusal(&o, OUTCOME_RATE_LIMITED);
    give_problem(r, &(struct problem){.outcome = &o, .detail = detail}, &a);
}

void answer_not_allowed(struct http_request *r, const char *allow)
{
    struct http_answer a = {0};
    struct smtp_outcome o;
    char detail[160];

    set_refusal(&o, OUTCOME_METHOD_NOT_ALLOWED);
    snprintf(a.allow, sizeof(a.allow), "%s", allow);
    snprintf(detail, sizeof(detail), "This path does not take the method %s; it takes %s.",
             r->method == HTTP_OTHER ? "of the request" : http_method_name(r->method), allow);
    give_problem(r, &(struct problem){.outcome = &o, .detail = detail}, &a);
}

void answer_result(struct http_request *r, const struct send_result *result)
{
    struct bytes_buf text;

    if (result->outcome.code != OUTCOME_SENT) {
        answer_problem(r, &(struct problem){.outcome = &result->outcome, .result = result});
        return;
    }
    bytes_buf_init(&text, 0);
    json_out_result(&text, result);
    answer_json(r, 200, &text);
}
