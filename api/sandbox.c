#include "smtp/sandbox.h"

#include "api/answer.h"
#include "api/hall.h"
#include "api/json_out.h"
#include "api/routes.h"
#include "smtp/crypto.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* /sandbox/messages: the mails that the built-in sandbox relay keeps. */

/* ---- a mail as JSON ---- */

static void add_time(struct bytes_buf *out, int64_t unix_ms)
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm tm;
    char text[32];

    gmtime_r(&seconds, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    bytes_buf_printf(out, ",\"received_at\":\"%s.%03dZ\"", text, (int)(unix_ms % 1000));
}

static void add_summary(struct bytes_buf *out, const struct sandbox_mail *m)
{
    json_out_member(out, "\"id\":", m->id);
    add_time(out, m->received_unix_ms);
    json_out_member(out, ",\"envelope\":{\"from\":", m->from);
    bytes_buf_add_str(out, ",\"to\":[");
    for (size_t i = 0; i < m->n_to; i++)
        json_out_member(out, i ? "," : "", m->to[i]);
    json_out_member(out, "]},\"subject\":", m->subject ? m->subject : "");
    bytes_buf_add_str(out, ",\"size\":");
    json_out_uint(out, m->size);
}

/* One field without its name, unfolded (RFC 5322 §2.2.3: the line break before a blank goes, the blank stays). */
static void add_value(struct bytes_buf *out, const char *p, size_t n)
{
    struct bytes_buf value;

    bytes_buf_init(&value, 0);
    while (n && (*p == ' ' || *p == '\t')) {
        p++;
        n--;
    }
    for (size_t i = 0; i < n; i++)
        if (p[i] != '\r' && p[i] != '\n')
            bytes_buf_add_char(&value, p[i]);
    json_out_string(out, bytes_buf_view(&value));
    bytes_buf_deinit(&value);
}

/* The end of the field that begins at p: its last line break, folded lines included. */
static const char *field_end(const char *p, const char *end)
{
    for (;;) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        if (!lf)
            return end;
        if (lf + 1 == end || (lf[1] != ' ' && lf[1] != '\t'))
            return lf + 1;
        p = lf + 1;
    }
}

static void add_headers(struct bytes_buf *out, const struct sandbox_mail *m)
{
    const char *p = m->raw, *end = m->raw + m->raw_n;
    bool first = true;

    bytes_buf_add_str(out, ",\"headers\":[");
    while (p && p < end && *p != '\r' && *p != '\n') {
        const char *next = field_end(p, end);
        const char *colon = memchr(p, ':', (size_t)(next - p));
        if (colon) {
            bytes_buf_add_str(out, first ? "{\"name\":" : ",{\"name\":");
            json_out_string(out, bytes_view(p, (size_t)(colon - p)));
            bytes_buf_add_str(out, ",\"value\":");
            add_value(out, colon + 1, (size_t)(next - colon - 1));
            bytes_buf_add_char(out, '}');
            first = false;
        }
        p = next;
    }
    bytes_buf_add_char(out, ']');
}

/* The raw bytes as text when JSON can carry them unchanged, else base64. */
static void add_raw(struct bytes_buf *out, const struct sandbox_mail *m)
{
    struct bytes_view raw = bytes_view(m->raw ? m->raw : "", m->raw_n);

    if (bytes_is_utf8(raw)) {
        bytes_buf_add_str(out, ",\"raw\":");
        json_out_string(out, raw);
        return;
    }
    bytes_buf_add_str(out, ",\"raw_base64\":\"");
    crypto_base64(raw, out);
    bytes_buf_add_char(out, '"');
}

static void add_mail(struct bytes_buf *out, const struct sandbox_mail *m)
{
    bytes_buf_add_char(out, '{');
    add_summary(out, m);
    json_out_member(out, ",\"tls\":{\"version\":", m->tls_version);
    json_out_member(out, ",\"cipher\":", m->tls_cipher);
    json_out_member(out, "},\"auth\":{\"mechanism\":", m->auth_mechanism);
    json_out_member(out, ",\"user\":", m->auth_user);
    bytes_buf_add_str(out, "},\"commands\":[");
    for (size_t i = 0; i < m->n_commands; i++)
        json_out_member(out, i ? "," : "", m->commands[i]);
    bytes_buf_add_char(out, ']');
    add_headers(out, m);
    add_raw(out, m);
    bytes_buf_add_char(out, '}');
}

/* ---- the sandbox's answers ---- */

static void on_list(struct sandbox_query *q)
{
    struct bytes_buf json;

    bytes_buf_init(&json, 0);
    bytes_buf_add_str(&json, "{\"data\":[");
    for (size_t i = 0; i < q->n_mails; i++) {
        bytes_buf_add_str(&json, i ? ",{" : "{");
        add_summary(&json, &q->mails[i]);
        bytes_buf_add_char(&json, '}');
    }
    bytes_buf_add_str(&json, "],\"total\":");
    json_out_uint(&json, q->n_mails);
    bytes_buf_add_char(&json, '}');
    answer_json(q->ctx, 200, &json);
    sandbox_query_free(q);
}

static void answer_raw(struct http_request *r, struct sandbox_mail *m)
{
    http_answer(r, &(struct http_answer){.status = 200, .type = "message/rfc822", .body = m->raw, .n = m->raw_n});
    m->raw = NULL;                      /* given away */
}

static void on_get(struct sandbox_query *q)
{
    struct http_request *r = q->ctx;
    struct bytes_buf json;

    if (!q->n_mails) {
        answer_refusal(r, OUTCOME_NOT_FOUND,
                       "The sandbox has no mail of this id; it keeps the last 500 mails or 64 MiB.");
    } else if (r->accept && strcasestr(r->accept, "message/rfc822")) {
        answer_raw(r, &q->mails[0]);
    } else {
        bytes_buf_init(&json, 0);
        add_mail(&json, &q->mails[0]);
        answer_json(r, 200, &json);
    }
    sandbox_query_free(q);
}

static void on_clear(struct sandbox_query *q)
{
    http_answer(q->ctx, &(struct http_answer){.status = 204});
    sandbox_query_free(q);
}

/* ---- the requests ---- */

static void ask(struct hall *h, struct http_request *r, enum sandbox_query_type type,
                void (*on_answer)(struct sandbox_query *q))
{
    struct sandbox_query *q = calloc(1, sizeof(*q));

    if (!q) {
        answer_refusal(r, OUTCOME_OVERLOADED, "There is no memory for the question.");
        return;
    }
    q->type = type;
    q->reply_to = h->loop;
    q->on_answer = on_answer;
    q->ctx = r;
    if (type == SANDBOX_GET && r->argument.n < sizeof(q->id))
        memcpy(q->id, r->argument.p, r->argument.n);    /* a longer one is no id: the empty one is not found either */
    sandbox_ask(service_sandbox(h->service), q);
}

void sandbox_list(struct hall *h, struct http_request *r)
{
    ask(h, r, SANDBOX_LIST, on_list);
}

void sandbox_get(struct hall *h, struct http_request *r)
{
    ask(h, r, SANDBOX_GET, on_get);
}

void sandbox_clear(struct hall *h, struct http_request *r)
{
    ask(h, r, SANDBOX_CLEAR, on_clear);
}
