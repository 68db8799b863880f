#ifndef API_JSON_OUT_H
#define API_JSON_OUT_H
/* JSON text, written by hand into a bytes_buf: the answer to a send is on the hot path. */
#include "service/service.h"

void json_out_string(struct bytes_buf *out, struct bytes_view s);       /* quoted; what is not UTF-8 becomes U+FFFD */
void json_out_uint(struct bytes_buf *out, uint64_t v);
/* `lead` as it stands (such as ",\"id\":"), then the value as a string; NULL is null. */
void json_out_member(struct bytes_buf *out, const char *lead, const char *value);

/* null when the cause is local */
void json_out_smtp(struct bytes_buf *out, const struct smtp_outcome *o, bool with_command);
void json_out_tls(struct bytes_buf *out, const struct send_result *r);          /* null when there was no session */
/* an array; empty when no attempt got that far */
void json_out_recipients(struct bytes_buf *out, const struct send_result *r);
void json_out_attempts(struct bytes_buf *out, const struct send_result *r);     /* an array of objects */

bool json_out_is_partial(const struct send_result *r);                  /* sent, but not to all */
/* what validating answers; relay: its name */
void json_out_validation(struct bytes_buf *out, const struct message *m, const char *relay);
void json_out_result(struct bytes_buf *out, const struct send_result *r);       /* the answer to a mail that was sent */
#endif
