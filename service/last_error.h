#ifndef SERVICE_LAST_ERROR_H
#define SERVICE_LAST_ERROR_H
/* How each relay did of late: its last failure that was not about one mail, and when it last took one. Any thread. */
#include "smtp/outcome.h"

struct last_errors;

struct last_errors *last_errors_new(size_t places) MUST_CHECK;
void last_errors_free(struct last_errors *t);
/* What a send ended with. What a relay says of a sender, a recipient or a text says nothing of the relay, and holds
 * addresses: it is not kept. */
void last_errors_note(struct last_errors *t, size_t place, const struct smtp_outcome *o);

struct last_error {
    int64_t failed_at, sent_at;         /* seconds since 1970; 0: never */
    struct smtp_outcome outcome;        /* when failed_at is not 0 */
};
void last_errors_get(struct last_errors *t, size_t place, struct last_error *out);
#endif
