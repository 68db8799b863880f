#ifndef SMTP_TLS_CHAIN_H
#define SMTP_TLS_CHAIN_H
/* A certificate chain as the server sent it, as plain data: what a person needs to see who stands behind a port.
 * Everything in it is the peer's text: printable UTF-8, one line, cut. */
#include "smtp/bytes.h"

#define TLS_CHAIN_MAX 8                 /* certificates that are described */
#define TLS_CERT_NAMES_MAX 20           /* names of one certificate that are kept */
#define TLS_PEM_MAX 12288

struct tls_cert {
    char subject[200], issuer[200];     /* RFC 4514: "CN=…,O=…" */
    char names[TLS_CERT_NAMES_MAX][256];        /* dNSName and iPAddress of the SAN */
    unsigned n_names;                   /* of those kept */
    bool names_cut;                     /* it has more */
    int64_t not_before, not_after;      /* seconds since 1970 */
    char key[24];                       /* "RSA 2048", "EC P-256", "Ed25519" */
    char signature[48];                 /* "RSA-SHA256", "ecdsa-with-SHA256" */
    char sha256[65];                    /* of the certificate, hexadecimal */
    char pin[52];                       /* "sha256/…" of the public key, as in the setting `pins` */
    bool self_signed, ca;
};

struct tls_chain {
    unsigned n;                         /* of v; 0: there is no chain */
    unsigned sent;                      /* as many came */
    struct tls_cert v[TLS_CHAIN_MAX];   /* the leaf first, in the order sent */
    int64_t now;                        /* the local clock when it was read */
    bool trusted;                       /* leads to a trusted authority, whatever the name and the dates say */
    bool name_matches, dates_good;
    /* An authority of ours signed nothing of this, and the chain's end is not self-signed: the issuer whose certificate
     * the server should send, or which is not trusted; else empty. */
    char missing_issuer[200];
    char missing_url[256];              /* where the certificate says that issuer is to be had (AIA); may be empty */
    /* PEM of the last certificate sent, when trust in it alone would make the chain good; else empty. */
    char anchor_pem[TLS_PEM_MAX];
};
#endif
