#ifndef SMTP_MIME_BODY_H
#define SMTP_MIME_BODY_H
/* Content-transfer-encodings (RFC 2045 §6). Line breaks of any kind (LF, CR, CRLF) come out as CRLF. */
#include "smtp/bytes.h"

enum mime_encoding { MIME_7BIT, MIME_QUOTED_PRINTABLE, MIME_BASE64 };

/* 7bit for what survives any relay untouched: ASCII, lines of at most 998, no space at a line's end, no line "From …".
 * Else quoted-printable or base64, whichever is smaller. */
enum mime_encoding mime_body_choose(struct bytes_view text) MUST_CHECK;
const char *mime_encoding_name(enum mime_encoding e);
void mime_body_write(enum mime_encoding e, struct bytes_view text, struct bytes_buf *out);
void mime_base64_write(struct bytes_view in, struct bytes_buf *out);    /* padded, without line breaks */
#endif
