#include "api/submission.h"

#include "api/answer.h"
#include "api/rights.h"
#include "service/config.h"
#include "smtp/block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From the pieces of a body to mails that are ready to be sent. */

#define TRIM_EACH ((size_t)8 * 1024 * 1024)
#define SMALL (64 * 1024)
#define INLINE_MAX (256 * 1024)         /* larger bodies are read and composed on a worker thread (DESIGN §2) */

static bool has_relay(const void *ctx, const char *name)
{
    return service_has_relay(ctx, name);
}

void submission_read_params(const struct service *s, struct json_mail_params *out)
{
    struct service_limits l;

    service_get_limits(s, &l);
    *out = (struct json_mail_params){.max_recipients = l.max_recipients,
                                     .max_json_values = l.max_json_values,
                                     .address_literals = l.address_literals,
                                     .has_relay = has_relay,
                                     .ctx = s};
}

void submission_name_send(const struct submission *s, struct send_request *out)
{
    const struct http_request *r = s->r;

    memcpy(out->request_id, r->id, sizeof(out->request_id));
    memcpy(out->trace_id, r->trace.trace_id, sizeof(out->trace_id));
    memcpy(out->span_id, r->trace.span_id, sizeof(out->span_id));
    snprintf(out->key, sizeof(out->key), "%s", r->key ? r->key->name : "");
    snprintf(out->key_id, sizeof(out->key_id), "%s", r->key_id);
    snprintf(out->client, sizeof(out->client), "%s", r->client ? r->client : "");
}

static void add_argument(void *ctx, const char *name, const char *value)
{
    struct submission *s = ctx;
    struct json_argument *v = reallocarray(s->arguments, s->n_arguments + 1, sizeof(*v));

    if (!v) {
        s->code = OUTCOME_OVERLOADED;
        return;
    }
    s->arguments = v;
    v[s->n_arguments] = (struct json_argument){strdup(name), strdup(value)};
    if (!v[s->n_arguments].name || !v[s->n_arguments].value)
        s->code = OUTCOME_OVERLOADED;
    s->n_arguments++;
}

struct submission *submission_new(struct hall *h, struct http_request *r, const struct intake_params *p)
{
    struct submission *s = calloc(1, sizeof(*s));

    r->body = s;
    if (s) {
        s->hall = h;
        s->r = r;
        if (p->kind == INTAKE_RAW)
            http_each_argument(r, add_argument, s);
    }
    if (s && s->code == OUTCOME_SENT && intake_init(&s->intake, p) == 0)
        return s;
    answer_refusal(r, OUTCOME_OVERLOADED, "There is no memory for the request.");
    return NULL;
}

void submission_free(struct submission *s)
{
    if (!s)
        return;
    json_mail_result_deinit(&s->read);
    message_free(s->message);
    for (size_t i = 0; s->messages && i < s->batch.n_items; i++)
        message_free(s->messages[i]);
    free(s->messages);
    json_batch_deinit(&s->batch);
    for (size_t i = 0; i < s->n_arguments; i++) {
        free(s->arguments[i].name);
        free(s->arguments[i].value);
    }
    free(s->arguments);
    intake_deinit(&s->intake);
    free(s->rest);
    free(s);
}

/* ---- taking in ---- */

/* A body of unknown length asks for its memory as it grows. */
static void account(struct submission *s)
{
    size_t held = intake_held(&s->intake);
    enum outcome_code code;

    if (held <= s->r->reserved)
        return;
    code = desk_reserve(s->hall->desk, held - s->r->reserved);
    if (code == OUTCOME_SENT)
        s->r->reserved = held;
    else
        answer_refusal(s->r, code, NULL);
}

static void judge_intake(struct submission *s)
{
    if (s->code != OUTCOME_SENT)
        answer_refusal(s->r, s->code, s->intake.detail);
    else
        account(s);
}

static struct submission *of_job(struct work_job *j)
{
    return (struct submission *)(void *)((char *)j - offsetof(struct submission, job));
}

static void run_rest(struct work_job *j)
{
    struct submission *s = of_job(j);
    struct bytes_view rest = bytes_view(s->rest, s->rest_n);

    s->code = intake_feed(&s->intake, &rest, SIZE_MAX);
}

static void on_rest_done(struct work_job *j)
{
    struct submission *s = of_job(j);

    free(s->rest);
    s->rest = NULL;
    judge_intake(s);
    http_continue(s->r);
}

/* 32 KiB that come in may be 32 MB: what is more than a moment's work is inflated elsewhere. */
static enum http_taken pass_on(struct submission *s, struct bytes_view rest)
{
    s->rest = malloc(rest.n + 1);
    s->rest_n = rest.n;
    if (!s->rest) {
        answer_refusal(s->r, OUTCOME_OVERLOADED, "There is no memory for the body.");
        return HTTP_TAKEN;
    }
    memcpy(s->rest, rest.p, rest.n);
    s->job = (struct work_job){.run = run_rest, .on_done = on_rest_done, .reply_to = s->hall->loop};
    if (work_submit(s->hall->work, &s->job) == 0)
        return HTTP_PAUSED;
    answer_refusal(s->r, OUTCOME_OVERLOADED, "No thread can be started for the body.");
    return HTTP_TAKEN;
}

enum http_taken submission_take(struct http_request *r, struct bytes_view piece)
{
    struct submission *s = r->body;
    size_t before = s->intake.total;

    s->code = intake_feed(&s->intake, &piece, INLINE_MAX);
    if (s->code == OUTCOME_SENT && s->intake.inflater && s->intake.total - before >= INLINE_MAX)
        return pass_on(s, piece);
    judge_intake(s);
    return HTTP_TAKEN;
}

/* ---- reading ---- */

/* NULL: read->code is not SENT. */
static struct message *prepare(const struct submission *s, const char *prefix, struct json_mail_result *read)
{
    struct mail *m = read->mail;
    struct message *message;

    if (read->code != OUTCOME_SENT)
        return NULL;
    read->mail = NULL;
    message = service_prepare(s->hall->service, m);
    if (!message) {
        read->code = OUTCOME_INTERNAL_ERROR;
    } else if (!rights_judge_relay(s->r->key, prefix, service_relay_name(s->hall->service, message->relay), read)) {
        message_free(message);
        return NULL;
    }
    return message;
}

static void refuse_if_strict(struct submission *s)
{
    struct json_batch *b = &s->batch;

    if (b->whole.code == OUTCOME_SENT && b->n_invalid && !s->is_permissive)
        json_batch_refuse(b);
}

static void judge_rights(struct submission *s)
{
    struct json_batch *b = &s->batch;
    char prefix[24];

    for (size_t i = 0; b->whole.code == OUTCOME_SENT && i < b->n_items; i++) {
        snprintf(prefix, sizeof(prefix), "/%zu", i);
        if (b->items[i].code == OUTCOME_SENT && !rights_judge_mail(s->r->key, prefix, &b->items[i]))
            b->n_invalid++;
    }
}

/* What an item's contents took of a large body goes back when the item is composed, so that body and mails are not both
 * there whole. */
static struct block_spent contents_of(const struct json_batch *b)
{
    const char *end = b->body;

    for (size_t i = 0; i < b->n_items; i++)
        end = b->items[i].kept_end ? b->items[i].kept_end : end;
    return (struct block_spent){.content = bytes_view(b->body, (size_t)(end - b->body))};
}

static void read_batch(struct submission *s, const struct json_mail_params *params)
{
    struct json_batch *b = &s->batch;
    struct block_spent spent;
    char prefix[24];
    size_t n, made = 0;
    char *body = intake_take(&s->intake, &n);

    json_batch_read(body, n, params, b);
    judge_rights(s);
    refuse_if_strict(s);
    if (b->whole.code == OUTCOME_SENT && !(s->messages = calloc(b->n_items, sizeof(struct message *))))
        b->whole.code = OUTCOME_INTERNAL_ERROR;
    spent = contents_of(b);
    for (size_t i = 0; b->whole.code == OUTCOME_SENT && i < b->n_items; i++) {
        bool was_fine = b->items[i].code == OUTCOME_SENT;
        snprintf(prefix, sizeof(prefix), "/%zu", i);
        s->messages[i] = prepare(s, prefix, &b->items[i]);
        if (was_fine && b->items[i].code == OUTCOME_FORBIDDEN)
            b->n_invalid++;             /* the relay that it would take */
        if (b->items[i].kept_end)
            block_spend(&spent, (size_t)(b->items[i].kept_end - b->body));
        made += s->messages[i] ? s->messages[i]->content_n : 0;
        if (made >= TRIM_EACH) {
            made = 0;
            block_trim();               /* what the composed mails have left of malloc's memory */
        }
    }
    refuse_if_strict(s);
    block_free(b->body);                /* the mails are composed */
    b->body = NULL;
}

static void read_mails(struct submission *s)
{
    struct json_mail_params params;
    char *body;
    size_t n;

    submission_read_params(s->hall->service, &params);
    if (s->is_batch) {
        read_batch(s, &params);
        return;
    }
    switch (s->intake.kind) {
    case INTAKE_JSON:
        body = intake_take(&s->intake, &n);
        json_mail_read(body, n, &params, &s->read);
        break;
    case INTAKE_RAW:
        body = intake_take(&s->intake, &n);
        json_mail_read_raw(body, n, s->arguments, s->n_arguments, &params, &s->read);
        break;
    case INTAKE_FORM:
    case INTAKE_URLENCODED:
        json_mail_read_form(s->intake.form, &params, &s->read);
        form_free(s->intake.form);
        s->intake.form = NULL;
        break;
    }
    if (rights_judge_mail(s->r->key, "", &s->read))
        s->message = prepare(s, "", &s->read);
}

/* What is held from now on: bodies are gone, mails are there. */
static bool settle(struct submission *s)
{
    size_t held = s->message ? message_held(s->message) : 0, before = s->r->reserved;

    for (size_t i = 0; s->messages && i < s->batch.n_items; i++)
        held += s->messages[i] ? message_held(s->messages[i]) : 0;
    if (held > before && held - before < SMALL)
        return true;                    /* as every small request has it, beside what nobody counts of it */
    if (!desk_change(s->hall->desk, before, held)) {
        answer_refusal(s->r, OUTCOME_OVERLOADED, "The mails need more memory than max_inflight_bytes leaves.");
        return false;
    }
    s->r->reserved = held;
    return true;
}

static void run_reading(struct work_job *j)
{
    read_mails(of_job(j));
}

static void on_reading_done(struct work_job *j)
{
    struct submission *s = of_job(j);

    if (settle(s))
        s->on_ready(s);
}

void submission_whole(struct submission *s)
{
    enum outcome_code code = intake_end(&s->intake);

    if (code != OUTCOME_SENT) {
        answer_refusal(s->r, code, s->intake.detail);
        return;
    }
    if (s->on_text) {
        size_t n;
        char *body = intake_take(&s->intake, &n);
        s->on_text(s, body, n);
        return;
    }
    if (s->intake.total > INLINE_MAX) {
        /* For a while there is the body and what is made of it. */
        if (!desk_change(s->hall->desk, s->r->reserved, s->r->reserved + s->intake.total)) {
            answer_refusal(s->r, OUTCOME_OVERLOADED, NULL);
            return;
        }
        s->r->reserved += s->intake.total;
        s->job = (struct work_job){.run = run_reading, .on_done = on_reading_done, .reply_to = s->hall->loop};
        if (work_submit(s->hall->work, &s->job) == 0)
            return;
    }
    read_mails(s);
    if (settle(s))
        s->on_ready(s);
}
