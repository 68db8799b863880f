#ifndef SMTP_ADDRESS_H
#define SMTP_ADDRESS_H
/* Parse, check and write one mailbox: "ann@example.com" or "Ann Example <ann@example.com>" (RFC 5322 §3.4 without
 * comments, groups and routes; RFC 5321 §4.1.2; RFC 6531 for UTF-8). Linear in the input; no recursion. */
#include "smtp/mail.h"

enum {
    ADDRESS_BARE = 1,                   /* only "local@domain": no display name, no angle brackets */
    ADDRESS_LITERALS = 2,               /* "ann@[192.0.2.1]" and "ann@[IPv6:2001:db8::1]" too (RFC 5321 §4.1.3) */
};

/* Input `s` is UTF-8. 0: *out is filled, caller owns (mail_address_deinit). -1: *why_out is an English sentence
 * fragment such as "the domain has an empty label", *out is empty. A character that nobody sees (but in the display
 * name) is named: "the domain has an invisible character: U+200B, at position 3"; that text is valid until the thread's
 * next call. Limits: local part 64 octets, address 254, label 63. The domain becomes lower-case A-labels through
 * libidn2 (smtp/idn.h). */
int address_parse(struct bytes_view s, unsigned flags, struct mail_address *out, const char **why_out) MUST_CHECK;

struct bytes_view address_domain(const char *email);            /* what is behind the last '@'; lent from email */
#endif
