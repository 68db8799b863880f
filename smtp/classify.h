#ifndef SMTP_CLASSIFY_H
#define SMTP_CLASSIFY_H
/* From a reply that is not the hoped-for one to an outcome: the enhanced code before the basic one, by stage (RFC 3463,
 * RFC 5321 §4.2.3, RFC 4954 §6, and what large providers add). */
#include "smtp/outcome.h"
#include "smtp/reply.h"

/* Fills code, stage, delivery and the reply's fields. `command` as in struct smtp_outcome. Delivery: not_sent up to
 * AUTH; rejected for a 4xx/5xx at MAIL, RCPT, DATA and the body; not_sent where the code says so (auth_required, 421
 * …). A reply that is neither 4xx nor 5xx is a protocol_error. */
void classify_reply(enum stage stage, const char *command, const struct smtp_reply *r, struct smtp_outcome *out);
/* The same for a mail on a session. `used`: a mail went on it before; then a refusal that speaks of the session, of
 * transactions or mails on one, or of the order of commands, is the session's (whose): a new one may take the same
 * mail. */
void classify_mail_reply(enum stage stage, const char *command, const struct smtp_reply *r, bool used,
                         struct smtp_outcome *out);
void classify_copy_reply(const char *command, const struct smtp_reply *r,
                         struct smtp_outcome *out); /* the reply's fields only */
#endif
