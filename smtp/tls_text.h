#ifndef SMTP_TLS_TEXT_H
#define SMTP_TLS_TEXT_H
/* What certificates say of themselves, as text that may be shown. For tls*.c only. */
#include "smtp/bytes.h"

struct X509_name_st;

/* The peer's text: what is not printable UTF-8 becomes '?'. */
void tls_text_add_clean(struct bytes_buf *b, const char *p, size_t n);
void tls_text_add_name(struct bytes_buf *b, const struct X509_name_st *name, size_t max);    /* RFC 4514, cut */
void tls_text_add_ip(struct bytes_buf *b, const unsigned char *p, int n);
#endif
