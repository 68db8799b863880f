#ifndef SMTP_MIME_HEADER_H
#define SMTP_MIME_HEADER_H
/* Header fields (RFC 5322 §2.2): folded at 78 octets where they can be, encoded words (RFC 2047) where they must be. */
#include "smtp/mail.h"

/* Unstructured text that arrives literally: encoded when it is not ASCII, has "=?" in it, begins or ends with a space,
 * or has a word too long for a line. Empty: "Name:". */
void mime_header_text(struct bytes_buf *out, const char *name, struct bytes_view value);
/* A value of the caller's own: folded at its spaces, encoded only when it is not ASCII (he may have encoded it
 * himself). */
void mime_header_own(struct bytes_buf *out, const char *name, struct bytes_view value);
void mime_header_addresses(struct bytes_buf *out, const char *name, const struct mail_address *v, size_t n);
void mime_header_date(struct bytes_buf *out, int64_t unix_seconds);     /* in UTC, RFC 5322 §3.3 */
/* List-Unsubscribe, and with an https url List-Unsubscribe-Post (RFC 2369, RFC 8058). One of them may be NULL. */
void mime_header_unsubscribe(struct bytes_buf *out, const char *url, const char *mailto);
#endif
