#ifndef SMTP_SANDBOX_ARGS_H
#define SMTP_SANDBOX_ARGS_H
/* What stands behind MAIL and RCPT, read strictly, so that a client's mistakes are seen. Pure. */
#include "smtp/bytes.h"

#define SANDBOX_ENVID_MAX 100           /* RFC 3461 §4.4 */
#define SANDBOX_ORCPT_MAX 500           /* RFC 3461 §4.2: of the value, encoded */

/* What was said, one bit each: nothing may be said twice. */
enum sandbox_param {
    SANDBOX_SIZE = 1,
    SANDBOX_BODY = 2,
    SANDBOX_SMTPUTF8 = 4,
    SANDBOX_RET = 8,
    SANDBOX_ENVID = 16,
    SANDBOX_AUTH = 32,
    SANDBOX_REQUIRETLS = 64,
    SANDBOX_NOTIFY = 128,
    SANDBOX_ORCPT = 256,
};

struct sandbox_args {
    struct bytes_view path;             /* without angle brackets; lent from the line */
    unsigned said;                      /* SANDBOX_… */
    size_t size;                        /* SIZE=, 0 when not said */
    char envid[SANDBOX_ENVID_MAX + 1];  /* decoded; empty when not said */
};

/* "FROM:<path> …", "TO:<path> …". 0; or -1 and the whole reply in refusal_out (one line without CRLF). */
int sandbox_args_mail(struct bytes_view arg, struct sandbox_args *out, char refusal_out[128]) MUST_CHECK;
int sandbox_args_rcpt(struct bytes_view arg, struct sandbox_args *out, char refusal_out[128]) MUST_CHECK;
#endif
