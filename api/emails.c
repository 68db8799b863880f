#include "api/answer.h"
#include "api/hall.h"
#include "api/json_mail.h"
#include "api/routes.h"
#include "service/config.h"

#include <string.h>

/* POST /v1/emails: judges the headers, reads the JSON, hands the mail to the service and answers with what became of
 * it. */

/* ---- what the headers say ---- */

/* The media type without its parameters (RFC 9110 §8.3.1). */
static struct bytes_view media_type(const char *value)
{
    size_t n = strcspn(value, ";");

    while (n && (value[n - 1] == ' ' || value[n - 1] == '\t'))
        n--;
    return bytes_view(value, n);
}

static bool is_one_of(struct bytes_view v, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes_equal_nocase(v, bytes_view_str(names[i])))
            return true;
    return false;
}

/* JSON is UTF-8 (RFC 8259 §8.1); another charset would be read wrongly. */
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

static enum outcome_code judge_type(const struct http_request *r, const char **detail_out)
{
    static const char *const later[] = {"multipart/form-data", "application/x-www-form-urlencoded", "message/rfc822"};
    static const char *const packed[] = {"gzip", "x-gzip"};
    struct bytes_view type = media_type(r->content_type ? r->content_type : "");
    struct bytes_view coding = media_type(r->content_encoding ? r->content_encoding : "identity");

    *detail_out = "Bodies of this Content-Type are in the contract, but this version reads application/json only.";
    if (is_one_of(type, later, ARRAY_LEN(later)))
        return OUTCOME_NOT_IMPLEMENTED;
    *detail_out = r->content_type ? "The Content-Type is not application/json." : "The request has no Content-Type.";
    if (!bytes_equal_nocase(type, bytes_view_str("application/json")))
        return OUTCOME_UNSUPPORTED_MEDIA_TYPE;
    *detail_out = "JSON is read as UTF-8 only.";
    if (has_other_charset(r->content_type))
        return OUTCOME_UNSUPPORTED_MEDIA_TYPE;
    *detail_out = "Content-Encoding gzip is in the contract, but this version does not have it.";
    if (is_one_of(coding, packed, ARRAY_LEN(packed)))
        return OUTCOME_NOT_IMPLEMENTED;
    *detail_out = "The Content-Encoding is not supported.";
    return bytes_equal_nocase(coding, bytes_view_str("identity")) ? OUTCOME_SENT : OUTCOME_UNSUPPORTED_MEDIA_TYPE;
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

void emails_on_headers(struct api *a, struct http_request *r)
{
    const struct config *config = service_config(a->service);
    const char *detail = "The body is larger than max_body.";
    enum outcome_code code = OUTCOME_SENT;

    if (r->has_length && r->length > config->max_body_bytes)
        code = OUTCOME_PAYLOAD_TOO_LARGE;
    if (code == OUTCOME_SENT)
        code = judge_type(r, &detail);
    if (code == OUTCOME_SENT)
        code = judge_promises(r, &detail);
    if (code == OUTCOME_SENT) {
        detail = NULL;
        code = service_reserve(a->service, (size_t)r->length);
        r->reserved = code == OUTCOME_SENT ? (size_t)r->length : 0;
    }
    r->wants_body = true;
    if (code != OUTCOME_SENT)
        answer_refusal(r, code, detail);
}

/* ---- the mail ---- */

static bool has_relay(const void *ctx, const char *name)
{
    return service_has_relay(ctx, name);
}

void emails_read(const struct service *s, struct bytes_view json, struct json_mail_result *out)
{
    struct json_mail_params params = {
        .max_recipients = service_config(s)->max_recipients, .has_relay = has_relay, .ctx = s};

    json_mail_read(json, &params, out);
}

static void on_done(void *ctx, const struct send_result *result)
{
    answer_result(ctx, result);
}

static void refuse_mail(struct http_request *r, const struct json_mail_result *read)
{
    struct smtp_outcome o;

    outcome_set_local(&o, read->code, STAGE_REQUEST, DELIVERY_NOT_SENT, NULL);
    answer_problem(r,
                   &(struct problem){
                       .outcome = &o, .detail = read->detail, .errors = read->problems, .n_errors = read->n_problems});
}

void emails_send(struct api *a, struct http_request *r)
{
    struct send_request send = {.deadline = r->deadline, .on_done = on_done, .ctx = r};
    struct json_mail_result read;

    emails_read(a->service, bytes_view(r->body ? r->body : "", r->body_n), &read);
    if (read.code != OUTCOME_SENT) {
        refuse_mail(r, &read);
    } else {
        send.mail = read.mail;
        read.mail = NULL;               /* the service's now */
        memcpy(send.request_id, r->id, sizeof(send.request_id));
        service_send(a->service, &send);
    }
    json_mail_result_deinit(&read);
}
