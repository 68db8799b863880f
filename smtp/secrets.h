#ifndef SMTP_SECRETS_H
#define SMTP_SECRETS_H
/* A relay's password in the forms in which a server may repeat it, and what hides them. Pure.
 *
 * Known forms: plain; base64 of it alone, as AUTH PLAIN and AUTH LOGIN carry it, or anywhere within a longer base64
 * text (also base64url); hexadecimal; with characters written as %41, =41, +41 (xtext), \x41, &#65; or &amp;. Case,
 * blanks and line breaks do not count, so a form may also be split over the lines of a reply. SECRETS_MIN octets of a
 * form are an echo, and the whole word that holds them is hidden. A password shorter than that is hidden only where it
 * stands by itself, as written: "mail" must not blank out every reply that speaks of mail. */
#include "smtp/bytes.h"

#define SECRETS_MIN 8                   /* octets of a secret in a text that are no chance */

struct secrets;

/* Of one relay's credentials; either may be NULL. Never changes, so threads may share it. NULL: no memory. */
struct secrets *secrets_new(const char *user, const char *password) MUST_CHECK;
void secrets_free(struct secrets *s);   /* wipes it */

/* Does a text of one or more lines (LF between them) repeat a form? has_codes: each line still begins with its reply
 * code. `s` may be NULL here and below: then nothing is hidden. Cost: some nanoseconds an octet. */
bool secrets_are_in(const struct secrets *s, struct bytes_view text, bool has_codes);
/* Writes *** over each word of text[0, n) that repeats a form. Lines stay lines. Returns the new length, at most n. */
size_t secrets_mask(const struct secrets *s, char *text, size_t n, bool has_codes) MUST_CHECK;
void secrets_mask_str(const struct secrets *s, char *text);             /* the same for a string */
#endif
