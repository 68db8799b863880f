#ifndef SMTP_MIME_PARAM_H
#define SMTP_MIME_PARAM_H
/* Header fields with parameters (RFC 2045 §5.1, RFC 2183, RFC 2231): Content-Type and Content-Disposition, in lines of
 * at most 76 octets wherever they can be folded. Nothing in a value can end the field or add a parameter. */
#include "smtp/bytes.h"

struct mime_param_line {
    struct bytes_buf *out;
    size_t col;
};

void mime_param_begin(struct mime_param_line *l, struct bytes_buf *out, const char *name, const char *value);
/* "Content-Type: " and a media type "type/subtype; parameters" that has been checked; without its name parameter where
 * one of ours follows. */
void mime_param_begin_type(struct mime_param_line *l, struct bytes_buf *out, const char *type, bool without_name);
void mime_param_add(struct mime_param_line *l, const char *attribute, const char *value);
/* filename=: as it is when it is printable ASCII and fits a line, else RFC 2231. Never both forms: readers call the
 * second one a duplicate. */
void mime_param_filename(struct mime_param_line *l, const char *filename);
/* name=, for readers that know no RFC 2231: each character that is not ASCII as "_", shortened, with its extension. */
void mime_param_name(struct mime_param_line *l, const char *filename);
void mime_param_end(struct mime_param_line *l);
#endif
