#ifndef API_SUBMISSION_H
#define API_SUBMISSION_H
/* The body of a request that holds mails: taken in as it comes, read and made ready (large ones on a worker thread),
 * and given to who asked. */
#include "api/hall.h"
#include "api/intake.h"
#include "api/json_mail.h"
#include "service/service.h"

struct submission {
    struct http_request *r;
    struct hall *hall;
    bool is_batch, is_permissive;       /* set by the owner, as is on_ready */
    /* On the loop: the mails are ready, or what is wrong stands in read or batch.whole; answers. */
    void (*on_ready)(struct submission *s);
    /* Instead: the body is no mail, and is read by the owner, who takes it over (a block; NULL when it is empty). */
    void (*on_text)(struct submission *s, char *body, size_t n);

    struct json_mail_result read;       /* not a batch */
    struct message *message;            /* taken over by who sends it; NULL when read.code is not SENT */
    struct json_batch batch;
    struct message **messages;          /* of the batch, n_items; NULL: that item is not right */

    struct intake intake;               /* the rest is submission.c's */
    struct json_argument *arguments;    /* of the query, for a finished message */
    size_t n_arguments;
    struct work_job job;
    char *rest;                         /* of a packed piece, while it is inflated elsewhere */
    size_t rest_n;
    enum outcome_code code;             /* of the intake */
};

/* With r's headers: r->body becomes the submission. NULL: answered, for want of memory. */
struct submission *submission_new(struct hall *h, struct http_request *r, const struct intake_params *p) MUST_CHECK;
enum http_taken submission_take(struct http_request *r, struct bytes_view piece);       /* http_params.on_body */
void submission_whole(struct submission *s);                    /* the body is complete */
void submission_free(struct submission *s);                     /* NULL is fine */

void submission_name_send(const struct submission *s, struct send_request *out);        /* request and trace ids */
void submission_read_params(const struct service *s, struct json_mail_params *out);
#endif
