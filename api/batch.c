#include "api/batch.h"

#include "api/answer.h"
#include "api/json_out.h"

#include <stdlib.h>
#include <string.h>

/* The mails of a batch on their way: each is sent by itself, and the answer lists them in the order of the request. */

struct batch;

struct batch_item {
    struct batch *batch;
    struct bytes_buf text;              /* its result, or its problem */
};

struct batch {
    struct http_request *r;
    size_t n, left, failed;
    struct batch_item items[];
};

/* 200 when all were sent, else 207 (RFC 4918 §11.1): each item tells for itself. */
static void finish(struct batch *b)
{
    struct bytes_buf json;
    size_t size = 64;

    for (size_t i = 0; i < b->n; i++)
        size += b->items[i].text.n + 1;
    bytes_buf_init(&json, 0);
    bytes_buf_reserve(&json, size);
    bytes_buf_add_str(&json, "{\"data\":[");
    for (size_t i = 0; i < b->n; i++) {
        struct bytes_buf *text = &b->items[i].text;
        if (i)
            bytes_buf_add_char(&json, ',');
        bytes_buf_add(&json, text->p, text->n);
        json.failed |= text->failed;
        bytes_buf_deinit(text);
    }
    bytes_buf_add_char(&json, ']');
    if (b->failed) {
        bytes_buf_add_str(&json, ",\"failed\":");
        json_out_uint(&json, b->failed);
    }
    bytes_buf_add_char(&json, '}');
    answer_json(b->r, b->failed ? 207 : 200, &json);
    free(b);
}

static void one_less(struct batch *b)
{
    if (--b->left == 0)
        finish(b);
}

static void on_done(void *ctx, const struct send_result *result)
{
    struct batch_item *item = ctx;

    if (result->outcome.code == OUTCOME_SENT) {
        json_out_result(&item->text, result);
    } else {
        problem_write(&(struct problem){.outcome = &result->outcome, .result = result,
                                        .request_id = item->batch->r->id}, &item->text);
        item->batch->failed++;
    }
    one_less(item->batch);
}

static void note_invalid(struct batch_item *item, const struct json_mail_result *read)
{
    struct smtp_outcome o;
    struct problem p = problem_of_reading(read, &o);

    p.request_id = item->batch->r->id;
    problem_write(&p, &item->text);
    item->batch->failed++;
}

void batch_send(struct submission *s)
{
    struct send_request send = {.deadline = s->r->deadline, .on_done = on_done};
    struct batch *b = calloc(1, sizeof(*b) + s->batch.n_items * sizeof(b->items[0]));

    if (!b) {
        answer_refusal(s->r, OUTCOME_OVERLOADED, "There is no memory for the batch.");
        return;
    }
    b->r = s->r;
    b->n = s->batch.n_items;
    b->left = b->n + 1;                 /* the last one is ours: some results come before all are sent */
    submission_name_send(s, &send);
    for (size_t i = 0; i < b->n; i++) {
        struct message *message = s->messages[i];
        b->items[i].batch = b;
        bytes_buf_init(&b->items[i].text, 0);
        s->messages[i] = NULL;
        send.ctx = &b->items[i];
        if (message) {
            desk_send(s->hall->desk, message, &send);
        } else {
            note_invalid(&b->items[i], &s->batch.items[i]);
            b->left--;
        }
    }
    one_less(b);
}
