#include "smtp/tls_text.h"

#include <openssl/x509.h>

/* Names out of certificates, cleaned and cut. */

void tls_text_add_clean(struct bytes_buf *b, const char *p, size_t n)
{
    bool utf8 = bytes_is_utf8(bytes_view(p, n));

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        bytes_buf_add_char(b, c < 0x20 || c == 0x7F || (c > 0x7F && !utf8) ? '?' : p[i]);
    }
}

void tls_text_add_name(struct bytes_buf *b, const X509_NAME *name, size_t max)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *p = NULL;
    long n;

    if (!bio)
        return;
    X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
    n = BIO_get_mem_data(bio, &p);
    if (n > 0)
        tls_text_add_clean(b, p, (size_t)n > max ? max : (size_t)n);
    BIO_free(bio);
}

void tls_text_add_ip(struct bytes_buf *b, const unsigned char *p, int n)
{
    if (n == 4)
        bytes_buf_printf(b, "%u.%u.%u.%u", p[0], p[1], p[2], p[3]);
    for (int i = 0; n == 16 && i < 16; i += 2)
        bytes_buf_printf(b, "%s%x", i ? ":" : "", (unsigned)(p[i] << 8 | p[i + 1]));
}
