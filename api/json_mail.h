#ifndef API_JSON_MAIL_H
#define API_JSON_MAIL_H
/* The body of a send request: a JSON object -> struct mail, with all its problems at once. */
#include "smtp/mail.h"
#include "smtp/outcome.h"

#define JSON_PROBLEMS_MAX 100

struct json_problem {
    char *pointer;                      /* JSON Pointer (RFC 6901) into the request */
    const char *code; /* static: required, unknown_field, duplicate_key, wrong_type, invalid_address … */
    char *detail;                       /* a sentence */
};

struct json_mail_result {
    enum outcome_code
        code; /* SENT: fine, `mail` is set; else INVALID_JSON, VALIDATION_FAILED, NOT_IMPLEMENTED, INTERNAL_ERROR */
    char *detail;                       /* NULL when fine */
    struct json_problem *problems;      /* VALIDATION_FAILED and NOT_IMPLEMENTED; JSON_PROBLEMS_MAX at the most */
    size_t n_problems;
    struct mail *mail;                  /* the caller may take it and set this to NULL */
};

struct json_mail_params {
    size_t max_recipients;
    bool (*has_relay)(const void *ctx, const char *name);
    const void *ctx;
};

void json_mail_read(struct bytes_view json, const struct json_mail_params *p, struct json_mail_result *out);
void json_mail_result_deinit(struct json_mail_result *r);
const char *json_library_version(void);                 /* "cJSON 1.7.15" */
#endif
