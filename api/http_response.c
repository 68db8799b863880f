#include "api/http_int.h"

#include "smtp/block.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>

/* Answers as libmicrohttpd takes them, and as text for where it takes none. */

void http_response_free(struct http_answer *a)
{
    if (a->is_block)
        block_free(a->body);
    else if (!a->is_static)
        free(a->body);
    a->body = NULL;
}

static void add_header(struct MHD_Response *m, bool *ok, const char *name, const char *value)
{
    *ok = *ok && MHD_add_response_header(m, name, value) == MHD_YES;
}

/* The Fetch standard's fields, §3.2.3. */
static void add_cors(struct MHD_Response *m, bool *ok, const struct http_request *r)
{
    add_header(m, ok, "Access-Control-Allow-Origin", r->origin);
    add_header(m, ok, "Vary", "Origin");
    if (!r->answer.preflight) {
        add_header(m, ok, "Access-Control-Expose-Headers", "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy");
        return;
    }
    add_header(m, ok, "Access-Control-Allow-Headers",
               "Authorization, Content-Type, Content-Encoding, Traceparent, X-Request-Id, X-Batch-Validation");
    add_header(m, ok, "Access-Control-Max-Age", "600");
    if (r->private_network)
        add_header(m, ok, "Access-Control-Allow-Private-Network", "true");
}

struct MHD_Response *http_response_make(struct http_conn *k)
{
    struct http_answer *a = &k->r.answer;
    struct MHD_Response *m =
        a->is_block ? MHD_create_response_from_buffer_with_free_callback(a->n, a->body, block_free)
                    : MHD_create_response_from_buffer(a->n, a->body, a->is_static || !a->body ? MHD_RESPMEM_PERSISTENT
                                                                                              : MHD_RESPMEM_MUST_FREE);
    char seconds[12];
    bool ok = true;

    if (!m)
        return NULL;
    a->body = NULL;                     /* libmicrohttpd's now */
    add_header(m, &ok, "X-Request-Id", k->r.id);
    add_header(m, &ok, "Cache-Control", "no-store");
    if (a->type)
        add_header(m, &ok, "Content-Type", a->type);
    if (a->allow[0])
        add_header(m, &ok, a->preflight ? "Access-Control-Allow-Methods" : "Allow", a->allow);
    if (k->r.cors)
        add_cors(m, &ok, &k->r);
    if (a->www_authenticate)
        add_header(m, &ok, "WWW-Authenticate", "Bearer");
    if (a->retry_after) {
        snprintf(seconds, sizeof(seconds), "%u", a->retry_after);
        add_header(m, &ok, "Retry-After", seconds);
    }
    if (k->r.rate_policy[0]) {
        add_header(m, &ok, "RateLimit-Policy", k->r.rate_policy);
        add_header(m, &ok, "RateLimit", k->r.rate);
    }
    if (a->close || k->server->closing)
        add_header(m, &ok, "Connection", "close");
    if (ok)
        return m;
    MHD_destroy_response(m);
    return NULL;
}

void http_response_text(const struct http_request *r, struct bytes_buf *out)
{
    const struct http_answer *a = &r->answer;

    bytes_buf_init(out, 0);
    bytes_buf_printf(
        out,
        "HTTP/1.1 %d %s\r\nConnection: close\r\nX-Request-Id: %s\r\nCache-Control: no-store\r\nContent-Length: %zu\r\n",
        a->status, MHD_get_reason_phrase_for((unsigned)a->status), r->id, a->n);
    if (a->type)
        bytes_buf_printf(out, "Content-Type: %s\r\n", a->type);
    if (r->cors)
        bytes_buf_printf(out, "Access-Control-Allow-Origin: %s\r\nVary: Origin\r\n", r->origin);
    bytes_buf_add_str(out, "\r\n");
    bytes_buf_add(out, a->body, a->n);
}
