#ifndef SMTP_SANDBOX_ARGS_H
#define SMTP_SANDBOX_ARGS_H
/* What stands behind MAIL and RCPT, read strictly, so that a client's mistakes are seen. Pure. */
#include "smtp/bytes.h"

#define SANDBOX_ENVID_MAX 100           /* RFC 3461 §4.4 */

struct sandbox_args {
    struct bytes_view path;             /* without angle brackets; lent from the line */
    bool utf8;                          /* SMTPUTF8 was said */
    size_t size;                        /* SIZE=, 0 when not said */
    char envid[SANDBOX_ENVID_MAX + 1];  /* decoded; empty when not said */
};

/* "FROM:<path> …", "TO:<path> …". 0; or -1 and the whole reply in refusal_out (one line without CRLF). */
int sandbox_args_mail(struct bytes_view arg, struct sandbox_args *out, char refusal_out[128]) MUST_CHECK;
int sandbox_args_rcpt(struct bytes_view arg, struct sandbox_args *out, char refusal_out[128]) MUST_CHECK;
#endif
