#include "api/answer.h"
#include "api/hall.h"
#include "api/json_out.h"
#include "api/openapi.h"
#include "api/readiness.h"
#include "api/routes.h"
#include "service/config.h"
#include "smtp/crypto.h"

#include <string.h>

/* What this is and how it is: the root, the contract, and the admin listener's pages. */

static void answer_text(struct http_request *r, int status, const char *json)
{
    struct bytes_buf out;

    bytes_buf_init(&out, 0);
    bytes_buf_add_str(&out, json);
    answer_json(r, status, &out);
}

void health_root(struct hall *h, struct http_request *r)
{
    struct bytes_buf out;

    bytes_buf_init(&out, 0);
    json_out_member(&out, "{\"name\":\"mailhatch\",\"version\":", MAILHATCH_VERSION);
    json_out_member(&out, ",\"description\":", "An HTTP-to-SMTP gateway: POST JSON, get the relay's verdict.");
    bytes_buf_add_str(&out,
                      ",\"links\":{\"send\":\"/v1/emails\",\"errors\":\"/v1/errors\",\"openapi\":\"/openapi.yaml\"");
    if (service_sandbox(h->service))
        bytes_buf_add_str(&out, ",\"sandbox\":\"/sandbox/messages\"");
    bytes_buf_add_str(&out, "}}");
    answer_json(r, 200, &out);
}

void health_openapi(struct hall *h, struct http_request *r)
{
    struct bytes_buf out;
    struct http_answer answer = {.status = 200, .type = "application/yaml"};

    (void)h;
    bytes_buf_init(&out, 0);
    bytes_buf_add(&out, openapi_yaml, openapi_yaml_len);
    answer.body = bytes_buf_take(&out, &answer.n);
    if (answer.body)
        http_answer(r, &answer);
    else
        answer_refusal(r, OUTCOME_OVERLOADED, "There is no memory for the answer.");
}

/* The loop runs, or this would not be called. */
void health_livez(struct hall *h, struct http_request *r)
{
    (void)h;
    answer_text(r, 200, "{\"status\":\"ok\"}");
}

/* Readiness does not depend on the relay (DESIGN §8). */
void health_readyz(struct hall *h, struct http_request *r)
{
    if (r->relay_argument && strcmp(r->relay_argument, "deep") == 0)
        readiness_deep(h, r);
    else if (r->relay_argument)
        answer_refusal(r, OUTCOME_INVALID_REQUEST, "The argument relay has one value, \"deep\".");
    else if (service_is_ready(h->service))
        answer_text(r, 200, "{\"status\":\"ready\"}");
    else
        answer_text(r, 503,
                    service_is_draining(h->service) ? "{\"status\":\"shutting_down\"}" : "{\"status\":\"not_ready\"}");
}

void health_metrics(struct hall *h, struct http_request *r)
{
    struct bytes_buf out;
    struct http_answer answer = {.status = 200, .type = "text/plain; version=0.0.4"};

    bytes_buf_init(&out, 0);
    service_write_metrics(h->service, &out);
    answer.body = bytes_buf_take(&out, &answer.n);
    if (answer.body)
        http_answer(r, &answer);
    else
        answer_refusal(r, OUTCOME_OVERLOADED, "There is no memory for the metrics.");
}

void health_version(struct hall *h, struct http_request *r)
{
    struct bytes_buf out;

    (void)h;
    bytes_buf_init(&out, 0);
    json_out_member(&out, "{\"name\":\"mailhatch\",\"version\":", MAILHATCH_VERSION);
    json_out_member(&out, ",\"libraries\":[", http_library_version());
    json_out_member(&out, ",", crypto_library_version());
    json_out_member(&out, ",", config_yaml_library_version());
    bytes_buf_add_str(&out, "]}");
    answer_json(r, 200, &out);
}
