#ifndef SMTP_MIME_BASE64_H
#define SMTP_MIME_BASE64_H
/* Base64 (RFC 2045 §6.8): standard alphabet, padded. "Lines" are of 76 digits, with CRLF between them only. */
#include "smtp/bytes.h"

void mime_base64_write(struct bytes_view in, struct bytes_buf *out);    /* without line breaks */
void mime_base64_lines(struct bytes_view in, struct bytes_buf *out);
void mime_base64_wrap(struct bytes_view digits, struct bytes_buf *out); /* what is base64 already, into lines */

static inline size_t mime_base64_size(size_t n) { return n / 3 * 4 + (n % 3 ? 4 : 0); }
/* Of that many digits in lines. */
static inline size_t mime_base64_lines_size(size_t digits) { return digits + (digits ? (digits - 1) / 76 * 2 : 0); }

/* Canonical base64 (no line breaks). `to` has room for digits.n / 4 * 3. 0, or -1: it is none. */
int mime_base64_decode(struct bytes_view digits, char *to, size_t *n_out) MUST_CHECK;
#endif
