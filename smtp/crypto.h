#ifndef SMTP_CRYPTO_H
#define SMTP_CRYPTO_H
/* Small cryptography for pure code: no OpenSSL types here. */
#include "smtp/bytes.h"

void crypto_random(void *p, size_t n);                                  /* aborts when the system has no randomness */
void crypto_cleanse(void *p, size_t n);                                 /* overwrites a secret; not optimised away */
void crypto_cleanse_free(char *secret);                                 /* NUL-terminated; NULL is allowed */
bool crypto_equal(struct bytes_view a, struct bytes_view b);            /* constant time in the contents */
void crypto_sha256(struct bytes_view in, unsigned char out[32]);
void crypto_base64(struct bytes_view in, struct bytes_buf *out);        /* one line, padded */
int crypto_base64_decode(struct bytes_view in, struct bytes_buf *out);  /* strict, padded; 0 or -1 */
void crypto_uuid7(char out[37]);                                        /* RFC 9562 §5.7; time from CLOCK_REALTIME */
const char *crypto_library_version(void);                               /* "OpenSSL 3.0.17 …" */
#endif
