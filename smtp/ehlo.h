#ifndef SMTP_EHLO_H
#define SMTP_EHLO_H
/* The extensions out of an EHLO reply (RFC 5321 §4.1.1.1). */
#include "smtp/reply.h"
#include "smtp/session.h"

void smtp_ehlo_parse(const struct smtp_reply *r, struct smtp_capabilities *out);
#endif
