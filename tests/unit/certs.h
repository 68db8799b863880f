#ifndef TESTS_CERTS_H
#define TESTS_CERTS_H
/* Certificates for tests, good and bad ones. Everything that is missing aborts the test. */
#include <openssl/ssl.h>
#include <openssl/x509.h>

struct made {
    X509 *cert;
    EVP_PKEY *key;
};

struct made_spec {
    const char *name;                   /* CN */
    const char *san;                    /* "DNS:a,IP:1.2.3.4"; NULL: none */
    const struct made *issuer;          /* NULL: self-signed */
    long from_s, until_s;               /* from now; both 0: an hour ago, in an hour */
    int rsa_bits;                       /* 0: P-256 */
    int sha1;                           /* signed with SHA-1 */
    int ca;
    const char *eku;                    /* NULL: serverAuth for a leaf */
};

void made_init(struct made *m, const struct made_spec *spec);
void made_deinit(struct made *m);
char *made_pem(const struct made *m);                                   /* caller frees */
char *made_pem_file(const struct made *m);                              /* path of a temporary file, as below */
char *made_key_pem(const struct made *m);
void made_pin(const struct made *m, char out[64]);                      /* "sha256/…" */
char *made_crl_file(const struct made *ca, const struct made *revoked); /* path of a temporary file,
    caller unlinks and frees; revoked may be NULL */

/* A server that allows everything OpenSSL can do (security level 0): 0 for version: any. */
SSL_CTX *peer_context(const struct made *leaf, const struct made *intermediate, int min_version, int max_version);
SSL *peer_new(SSL_CTX *ctx);                                            /* on memory BIOs */
#endif
