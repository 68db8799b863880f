#ifndef API_JSON_MAIL_H
#define API_JSON_MAIL_H
/* The body of a send request -> struct mail, with all its problems at once. Any thread: nothing here is shared. */
#include "smtp/mail.h"
#include "smtp/outcome.h"

#define JSON_PROBLEMS_MAX 100
#define JSON_BATCH_MAX 100

struct form;

struct json_problem {
    char *pointer;                      /* JSON Pointer (RFC 6901) into the request */
    const char *code; /* static: required, unknown_field, duplicate_key, wrong_type, invalid_address … */
    char *detail;                       /* a sentence */
};

struct json_mail_result {
    enum outcome_code
        code; /* SENT: fine, `mail` is set; else INVALID_JSON, PAYLOAD_TOO_LARGE (max_json_values),
               * VALIDATION_FAILED, NOT_IMPLEMENTED, INTERNAL_ERROR */
    char *detail;                       /* NULL when fine */
    struct json_problem *problems;      /* VALIDATION_FAILED and NOT_IMPLEMENTED; JSON_PROBLEMS_MAX at the most */
    size_t n_problems;
    struct mail *mail;                  /* the caller may take it and set this to NULL */
    const char *kept_end;               /* of a batch: its contents in the body end here; NULL: there are none */
};

struct json_mail_params {
    size_t max_recipients;
    size_t max_json_values;             /* of one request, unknown fields included */
    bool address_literals;              /* ann@[192.0.2.1] */
    bool (*has_relay)(const void *ctx, const char *name);
    const void *ctx;
};

/* Takes `body` (a block or from malloc, n octets) over, and changes it: the mail's contents point into it. */
void json_mail_read(char *body, size_t n, const struct json_mail_params *p, struct json_mail_result *out);
/* A form's fields, by the same rules; values that are no strings are written as JSON. The mail takes the data of the
 * parts. */
void json_mail_read_form(struct form *f, const struct json_mail_params *p, struct json_mail_result *out);

/* What the query of a finished message says; values as they came, percent-encoded. */
struct json_argument {
    char *name, *value;
};

/* A finished message (message/rfc822): the envelope from `from`, `to` (each may be given several times), `relay` and
 * `on_temporary_failure` of the query, else from its header. Takes `body` over. */
void json_mail_read_raw(char *body, size_t n, const struct json_argument *arguments, size_t n_arguments,
                        const struct json_mail_params *p, struct json_mail_result *out);

struct json_batch {
    struct json_mail_result whole;      /* code SENT: `items` count; else what is wrong with the array itself */
    struct json_mail_result *items;     /* pointers begin with "/3" */
    size_t n_items, n_invalid;
    char *body;                         /* the items' contents point into it, in their order; or NULL */
};

/* An array of requests. Takes `body` over; the mails are of use until json_batch_deinit. */
void json_batch_read(char *body, size_t n, const struct json_mail_params *p, struct json_batch *out);
/* All problems of the items in `whole`, as one refusal of the request; when n_invalid is not 0. */
void json_batch_refuse(struct json_batch *b);
void json_batch_deinit(struct json_batch *b);

void json_mail_result_deinit(struct json_mail_result *r);
const char *json_library_version(void);                 /* "cJSON 1.7.15" */
#endif
