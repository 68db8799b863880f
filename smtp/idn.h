#ifndef SMTP_IDN_H
#define SMTP_IDN_H
/* IDN domains to A-labels (RFC 5891) through libidn2. The only file that names libidn2 is idn.c. */
#include "smtp/bytes.h"

/* ASCII labels are checked (LDH, 1–63 octets, no leading or trailing hyphen, 253 in all) and lower-cased, others
 * converted; "a..b", "a_b" and characters that nobody sees are refused (the joiners as RFC 5892 has it). *out: caller
 * frees. -1: *why_out is a sentence fragment, valid until the thread's next call; *out NULL. */
int idn_to_ascii(struct bytes_view domain, char **out, const char **why_out) MUST_CHECK;
/* RFC 1034 §3.1: "smtp.example.org." is the same name, and says that it is whole: no search list is tried. 1 when it
 * ends so and something stands before the dot, else 0. */
size_t idn_root_dot(struct bytes_view name);
const char *idn_library_version(void);                                  /* "libidn2 2.3.3" */
#endif
