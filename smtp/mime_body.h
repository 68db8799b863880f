#ifndef SMTP_MIME_BODY_H
#define SMTP_MIME_BODY_H
/* Content-transfer-encodings of text (RFC 2045 §6). Line breaks of any kind (LF, CR, CRLF) come out as CRLF. */
#include "smtp/bytes.h"

enum mime_encoding { MIME_7BIT, MIME_QUOTED_PRINTABLE, MIME_BASE64 };

struct mime_body {
    enum mime_encoding encoding;
    bool is_crlf;                       /* its line breaks are CRLF already */
    bool is_last;                       /* the text is not needed again: block_spend may take it as it is written */
    size_t size;                        /* encoded: of quoted-printable an upper bound, else exact */
};

/* 7bit for what survives any relay untouched: ASCII, lines of at most 998, no space at a line's end, no line "From …".
 * Else quoted-printable or base64, whichever is smaller. */
struct mime_body mime_body_plan(struct bytes_view text) MUST_CHECK;
/* In base64, whatever it holds. */
struct mime_body mime_body_plan_base64(struct bytes_view text) MUST_CHECK;
/* A message inside a message may not be encoded (RFC 2046 §5.2.1): true and a plan for 7bit when it needs no encoding
 * (no octet over 127, NUL or bare CR, no line over 998). */
bool mime_body_plan_message(struct bytes_view message, struct mime_body *out) MUST_CHECK;
const char *mime_body_encoding_name(enum mime_encoding e);
void mime_body_write(const struct mime_body *b, struct bytes_view text, struct bytes_buf *out);
/* Octets, or digits of base64, as lines of base64; they are not needed again. */
void mime_body_write_octets(struct bytes_view octets, struct bytes_buf *out);
void mime_body_write_digits(struct bytes_view digits, struct bytes_buf *out);
#endif
