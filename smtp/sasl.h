#ifndef SMTP_SASL_H
#define SMTP_SASL_H
/* SASL mechanisms as pure steps (RFC 4954, 4616; LOGIN is a draft that all servers speak). Responses are base64
 * already; the caller wipes them. */
#include "smtp/bytes.h"

struct smtp_capabilities;

struct sasl_credentials {
    const char *user, *password;
};

struct sasl_mechanism {
    const char *name;
    unsigned n_steps;                   /* responses in all */
    /* Response number `step` (0 …), which may be an initial one for step 0 when `initial`. Without the base64. */
    void (*respond)(const struct sasl_credentials *c, unsigned step, struct bytes_buf *out);
    bool initial;                       /* step 0 may go with the AUTH command (RFC 4954 §4) */
};

/* The best one that both sides speak; NULL: none. */
const struct sasl_mechanism *sasl_choose(const struct smtp_capabilities *caps);
/* The base64 of response `step` is appended to out. */
void sasl_respond(const struct sasl_mechanism *m, const struct sasl_credentials *c, unsigned step,
                  struct bytes_buf *out);
#endif
