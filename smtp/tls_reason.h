#ifndef SMTP_TLS_REASON_H
#define SMTP_TLS_REASON_H
/* Why a handshake failed, in our codes and in words with names and dates. For tls.c only. */
#include "smtp/outcome.h"

#define TLS_FIRST_MAX 48                /* octets kept of what the peer sent first */

struct x509_st;
struct x509_store_ctx_st;

/* After X509_verify_cert said no. host: what was looked for, as the user wrote it. */
void tls_reason_certificate(struct x509_store_ctx_st *x, const char *host, struct smtp_outcome *out);
/* The chain is good, but none of `n` pins is in it. leaf_pin: "sha256/…" of the server's certificate. */
void tls_reason_pins(size_t n, const char *leaf_pin, struct smtp_outcome *out);

struct tls_trouble {
    struct bytes_view first;            /* the first octets of the peer, at most TLS_FIRST_MAX */
    bool handshaken;                    /* the handshake was done before */
    bool eof;                           /* it ended with the transport's end */
    bool client_cert_asked;             /* the server asked for a certificate, and we have none */
};
/* Reads and empties OpenSSL's error queue of this thread. */
void tls_reason_failure(const struct tls_trouble *t, struct smtp_outcome *out);
#endif
