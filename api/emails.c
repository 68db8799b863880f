#include "api/answer.h"
#include "api/batch.h"
#include "api/failed_send.h"
#include "api/json_out.h"
#include "api/routes.h"
#include "api/submission.h"
#include "service/config.h"

#include <stdlib.h>
#include <string.h>

/* POST /v1/emails, /batch and /validate: judge the headers, read the body, hand the mails to the service and answer
 * with what became of them. */

/* ---- what the headers say ---- */

/* The media type without its parameters (RFC 9110 §8.3.1). */
static struct bytes_view media_type(const char *value)
{
    size_t n = strcspn(value, ";");

    while (n && (value[n - 1] == ' ' || value[n - 1] == '\t'))
        n--;
    return bytes_view(value, n);
}

/* JSON is UTF-8 (RFC 8259 §8.1), and so are forms (the URL standard, RFC 7578 §5.1.2 in practice); another charset
 * would be read wrongly. */
static bool has_other_charset(const char *value)
{
    const char *charset = strcasestr(value, "charset=");

    if (!charset)
        return false;
    charset += 8;
    charset += *charset == '"';
    return !bytes_starts_nocase(bytes_view_str(charset), "utf-8") &&
           !bytes_starts_nocase(bytes_view_str(charset), "us-ascii");
}

static const struct {
    const char *name;
    enum intake_kind kind;
} types[] = {
    {"application/json", INTAKE_JSON},
    {"message/rfc822", INTAKE_RAW},
    {"multipart/form-data", INTAKE_FORM},
    {"application/x-www-form-urlencoded", INTAKE_URLENCODED},
};

static enum outcome_code judge_type(const struct http_request *r, bool json_only, enum intake_kind *kind_out,
                                    const char **detail_out)
{
    struct bytes_view type = media_type(r->content_type ? r->content_type : "");
    size_t i = 0;

    while (i < ARRAY_LEN(types) && !bytes_equal_nocase(type, bytes_view_str(types[i].name)))
        i++;
    *detail_out = "The Content-Type is none of application/json, message/rfc822, multipart/form-data and "
                  "application/x-www-form-urlencoded.";
    if (json_only)
        *detail_out = "The Content-Type is not application/json, which this endpoint takes.";
    if (!r->content_type)
        *detail_out = "The request has no Content-Type.";
    if (i == ARRAY_LEN(types) || (json_only && types[i].kind != INTAKE_JSON))
        return OUTCOME_UNSUPPORTED_MEDIA_TYPE;
    *kind_out = types[i].kind;
    *detail_out = "Text is read as UTF-8 only.";
    return types[i].kind != INTAKE_RAW && has_other_charset(r->content_type) ? OUTCOME_UNSUPPORTED_MEDIA_TYPE
                                                                               : OUTCOME_SENT;
}

static enum outcome_code judge_coding(const struct http_request *r, bool *packed_out, const char **detail_out)
{
    struct bytes_view coding = media_type(r->content_encoding ? r->content_encoding : "identity");

    *packed_out = bytes_equal_nocase(coding, bytes_view_str("gzip")) ||
                  bytes_equal_nocase(coding, bytes_view_str("x-gzip"));
    *detail_out = "The Content-Encoding is not supported; gzip is.";
    return *packed_out || bytes_equal_nocase(coding, bytes_view_str("identity")) ? OUTCOME_SENT
                                                                                  : OUTCOME_UNSUPPORTED_MEDIA_TYPE;
}

/* Promises asked for by header are refused rather than ignored: a caller who sends an Idempotency-Key relies on it. */
static enum outcome_code judge_promises(const struct http_request *r, const char **detail_out)
{
    *detail_out = "Idempotency-Key is in the contract, but this version does not have it; it is refused because a "
                  "caller relies on it.";
    if (r->idempotency_key)
        return OUTCOME_NOT_IMPLEMENTED;
    *detail_out = "\"Prefer: respond-async\" and \"wait\" are in the contract, but this version does not have them.";
    if (r->prefer && (strcasestr(r->prefer, "respond-async") || strcasestr(r->prefer, "wait")))
        return OUTCOME_NOT_IMPLEMENTED;
    return OUTCOME_SENT;
}

/* "strict" is the default (API.md §1). */
static enum outcome_code judge_validation(const struct http_request *r, bool *permissive_out, const char **detail_out)
{
    struct bytes_view v = bytes_view_str(r->batch_validation ? r->batch_validation : "strict");

    *permissive_out = bytes_equal_nocase(v, bytes_view_str("permissive"));
    *detail_out = "X-Batch-Validation is \"strict\" or \"permissive\".";
    return *permissive_out || bytes_equal_nocase(v, bytes_view_str("strict")) ? OUTCOME_SENT : OUTCOME_INVALID_REQUEST;
}

static struct submission *begin(struct hall *h, struct http_request *r, bool is_batch)
{
    const struct config *config = service_config(h->service);
    struct intake_params p = {.content_type = r->content_type, .length = (size_t)r->length,
                              .max = config->max_body_bytes};
    const char *detail = "The body is larger than max_body.";
    enum outcome_code code = OUTCOME_SENT;
    bool permissive = false;
    struct submission *s;

    if (r->has_length && r->length > config->max_body_bytes)
        code = OUTCOME_PAYLOAD_TOO_LARGE;
    if (code == OUTCOME_SENT)
        code = judge_type(r, is_batch, &p.kind, &detail);
    if (code == OUTCOME_SENT)
        code = judge_coding(r, &p.packed, &detail);
    if (code == OUTCOME_SENT)
        code = judge_promises(r, &detail);
    if (code == OUTCOME_SENT && is_batch)
        code = judge_validation(r, &permissive, &detail);
    if (code == OUTCOME_SENT) {
        detail = NULL;
        code = desk_reserve(h->desk, (size_t)r->length);
        r->reserved = code == OUTCOME_SENT ? (size_t)r->length : 0;
    }
    r->wants_body = true;
    if (code != OUTCOME_SENT) {
        answer_refusal(r, code, detail);
        return NULL;
    }
    s = submission_new(h, r, &p);
    if (s) {
        s->is_batch = is_batch;
        s->is_permissive = permissive;
    }
    return s;
}

static void refuse(struct http_request *r, const struct json_mail_result *read)
{
    struct smtp_outcome o;
    struct problem p = problem_of_reading(read, &o);

    answer_problem(r, &p);
}

void emails_on_body(struct hall *h, struct http_request *r)
{
    (void)h;
    submission_whole(r->body);
}

/* ---- one mail ---- */

static void on_done(void *ctx, const struct send_result *result)
{
    struct http_request *r = ctx;

    if (result->outcome.code != OUTCOME_SENT && result->mail && result->mail->diagnose)
        failed_send_answer(r->owner, r, result);
    else
        answer_result(r, result);
}

static void send_ready(struct submission *s)
{
    struct send_request send = {.deadline = s->r->deadline, .on_done = on_done, .ctx = s->r};
    struct message *message = s->message;

    if (s->read.code != OUTCOME_SENT) {
        refuse(s->r, &s->read);
        return;
    }
    if (!auth_take_rate(s->r->auth, s->r, 1))
        return;
    s->message = NULL;                  /* the service's now */
    submission_name_send(s, &send);
    desk_send(s->hall->desk, message, &send);
}

void emails_on_headers(struct hall *h, struct http_request *r)
{
    struct submission *s = begin(h, r, false);

    if (s)
        s->on_ready = send_ready;
}

/* ---- validation ---- */

static void validate_ready(struct submission *s)
{
    struct message *m = s->message;
    struct bytes_buf json;

    if (s->read.code != OUTCOME_SENT) {
        refuse(s->r, &s->read);
    } else if (s->r->accept && strcasestr(s->r->accept, "message/rfc822")) {
        http_answer(s->r, &(struct http_answer){
                              .status = 200, .type = "message/rfc822", .body = m->content, .n = m->content_n,
                              .is_block = true});
        m->content = NULL;              /* given away */
    } else {
        bytes_buf_init(&json, 0);
        json_out_validation(&json, m, service_relay_name(s->hall->service, m->relay));
        answer_json(s->r, 200, &json);
    }
}

void emails_validate_on_headers(struct hall *h, struct http_request *r)
{
    struct submission *s = begin(h, r, false);

    if (s)
        s->on_ready = validate_ready;
}

/* ---- batches ---- */

static size_t count_messages(const struct submission *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->batch.n_items; i++)
        n += s->messages[i] != NULL;
    return n;
}

static void batch_ready(struct submission *s)
{
    if (s->batch.whole.code != OUTCOME_SENT)
        refuse(s->r, &s->batch.whole);
    else if (auth_take_rate(s->r->auth, s->r, count_messages(s)))
        batch_send(s);
}

void emails_batch_on_headers(struct hall *h, struct http_request *r)
{
    struct submission *s = begin(h, r, true);

    if (s)
        s->on_ready = batch_ready;
}
