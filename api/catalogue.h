#ifndef API_CATALOGUE_H
#define API_CATALOGUE_H
/* The catalogue of error codes: what HTTP and people see of each code of smtp/outcome.h. Static data. */
#include "smtp/outcome.h"

struct catalogue_row {
    int status;                         /* HTTP; a retryable code "by class" becomes 503 when the reply was a 4xx */
    const char *title;                  /* what happened, in a few words */
    const char *meaning;                /* what that says about the world */
    const char *hint;                   /* the one thing to do first, a template (hint.h); hint_rows.c has variants */
};

const struct catalogue_row *catalogue_get(enum outcome_code code);
int catalogue_status(const struct smtp_outcome *o);             /* the HTTP status of this case */
/* One entry of GET /v1/errors: {"code":…,"title":…,…,"variants":[…]}. */
void catalogue_write(enum outcome_code code, struct bytes_buf *out);
/* {"data":[…]}, without OUTCOME_SENT, which is no error */
void catalogue_write_all(struct bytes_buf *out);
#endif
