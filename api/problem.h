#ifndef API_PROBLEM_H
#define API_PROBLEM_H
/* Problem objects (RFC 9457): one shape for every error, its `detail` and `hint` made from the facts of the case.
 * Pure. */
#include "api/json_mail.h"
#include "service/service.h"

struct problem {                        /* everything borrowed */
    const struct smtp_outcome *outcome;
    /* NULL: made from the facts; for an error of the request itself, the outcome's reason */
    const char *detail;
    const char *hint;                   /* NULL: chosen by the facts */
    const struct send_result *result;   /* NULL: the request never became a mail */
    const char *request_id;
    const struct json_problem *errors;  /* validation_failed */
    size_t n_errors;
};

/* Of a request that was not read as a mail; *o is filled for it. */
struct problem problem_of_reading(const struct json_mail_result *read, struct smtp_outcome *o);
void problem_write(const struct problem *p, struct bytes_buf *out);     /* the whole object */
/* An error that belongs to another mail, shorter: code, title, stage, detail, hint, smtp. With result and a relay. */
void problem_write_brief(const struct problem *p, struct bytes_buf *out);
void problem_write_detail(const struct problem *p, struct bytes_buf *out);      /* the sentence or two, as plain text */
/* the catalogue's, or a variant for this case (hint.h), with host and port filled in; as plain text */
void problem_write_hint(const struct problem *p, struct bytes_buf *out);
uint32_t problem_retry_after(const struct smtp_outcome *o, uint32_t known_s);   /* seconds for Retry-After; 0: none */
#endif
