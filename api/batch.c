#include "api/batch.h"

#include "api/answer.h"
#include "api/json_out.h"

#include <stdlib.h>
#include <string.h>

/* The mails of a batch on their way: each is sent by itself, and the answer lists them in the order of the request. */

/* Of the mails under way at once: what a delivery notes of each recipient takes some 500 octets. Ordinary batches have
 * fewer, and a relay has fewer sessions than this makes mails. */
#define RCPTS_AT_ONCE 10000

struct batch;

struct batch_item {
    struct batch *batch;
    size_t n_rcpts;
    struct bytes_buf text;              /* its result, or its problem */
};

struct batch {
    struct submission *s;               /* with the messages that are not under way yet */
    struct http_request *r;
    struct send_request send;
    size_t n, next, left, failed;
    size_t n_rcpts;                     /* under way */
    bool is_sending;
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

static void send_more(struct batch *b);

static void on_done(void *ctx, const struct send_result *result)
{
    struct batch_item *item = ctx;
    struct batch *b = item->batch;

    if (result->outcome.code == OUTCOME_SENT) {
        json_out_result(&item->text, result);
    } else {
        problem_write(&(struct problem){.outcome = &result->outcome, .result = result,
                                        .request_id = b->r->id}, &item->text);
        b->failed++;
    }
    b->n_rcpts -= item->n_rcpts;
    if (!b->is_sending)                 /* some results come before desk_send returns */
        send_more(b);
    one_less(b);
}

static void note_invalid(struct batch_item *item, const struct json_mail_result *read)
{
    struct smtp_outcome o;
    struct problem p = problem_of_reading(read, &o);

    p.request_id = item->batch->r->id;
    problem_write(&p, &item->text);
    item->batch->failed++;
}

static void send_next(struct batch *b)
{
    struct batch_item *item = &b->items[b->next];
    struct message *message = b->s->messages[b->next];

    b->s->messages[b->next] = NULL;
    if (!message) {
        note_invalid(item, &b->s->batch.items[b->next++]);
        b->left--;
        return;
    }
    b->next++;
    item->n_rcpts = message->n_rcpts;
    b->n_rcpts += item->n_rcpts;
    b->send.ctx = item;
    desk_send(b->s->hall->desk, message, &b->send);
}

/* At least one is under way, or none is left. */
static void send_more(struct batch *b)
{
    b->is_sending = true;
    while (b->next < b->n) {
        const struct message *message = b->s->messages[b->next];
        if (message && b->n_rcpts && b->n_rcpts + message->n_rcpts > RCPTS_AT_ONCE)
            break;
        send_next(b);
    }
    b->is_sending = false;
}

void batch_send(struct submission *s)
{
    struct batch *b = calloc(1, sizeof(*b) + s->batch.n_items * sizeof(b->items[0]));

    if (!b) {
        answer_refusal(s->r, OUTCOME_OVERLOADED, "There is no memory for the batch.");
        return;
    }
    b->s = s;
    b->r = s->r;
    b->send = (struct send_request){.deadline = s->r->deadline, .on_done = on_done};
    b->n = s->batch.n_items;
    b->left = b->n + 1;                 /* the last one is ours: so it ends below, or later */
    submission_name_send(s, &b->send);
    for (size_t i = 0; i < b->n; i++) {
        b->items[i].batch = b;
        bytes_buf_init(&b->items[i].text, 0);
    }
    send_more(b);
    one_less(b);
}
