#ifndef SMTP_TLS_H
#define SMTP_TLS_H
/* TLS over memory: contexts, handshake, verification, and the reasons when it fails. No sockets: cipher text is fed
 * in and taken out of a queue, so one send(2) carries a whole flight, and tests run client against server in memory.
 * OpenSSL is named only in tls*.c, crypto.c and cert.c. */
#include "smtp/outcome.h"
#include "smtp/tls_chain.h"

/* One relay's (or one server's) settings, and the tickets of its sessions (each used once, at most an hour old);
 * several threads may use it at once. */
struct tls_context;
struct tls;                             /* one connection's end */

struct tls_client_params {
    const char *host;                   /* checked against the certificate's SAN only (dNSName, or iPAddress when
                                         * it is an IP); SNI unless it is an IP */
    const char *ca_file;                /* NULL: the system's hashed CA directory, read lazily; else it replaces that,
                                         * and whatever stands in it is trusted, roots or not */
    const char *ca_pem;                 /* trust only this PEM text (the sandbox); wins over ca_file */
    const char *crl_file;               /* NULL: no revocation check; else of the leaf */
    const char *pins;                   /* NULL, or comma list of sha256/BASE64 of the SPKI; one must match the
                                         * leaf or an issuer in the chain */
    bool many;                          /* so many connections that memory counts more than time: see below */
    /* For a diagnosis only. */
    bool inspect;                       /* a bad certificate does not end the handshake; see tls_get_verdict */
    /* TLS_ONLY_…: that version and no other, at security level 0, whatever the certificate. Such a connection tells
     * what the server takes; it never carries a credential or a mail. */
    enum tls_only { TLS_ONLY_ANY, TLS_ONLY_10, TLS_ONLY_11, TLS_ONLY_12, TLS_ONLY_13 } only;
};
/* TLS ≥ 1.2, security level 2, no renegotiation, no compression, verification always on. With `many` a connection gives
 * its 33 KiB of buffers back after each record and asks for them anew before the next. NULL: err_out says why. */
struct tls_context *tls_context_new_client(const struct tls_client_params *p, char err_out[200]) MUST_CHECK;
/* Server: PEM texts, chain and key. */
struct tls_context *tls_context_new_server(const char *chain_pem, const char *key_pem, char err_out[200]) MUST_CHECK;
void tls_context_free(struct tls_context *c);                           /* its connections may live on */

enum tls_status { TLS_OK, TLS_WANT_READ, TLS_CLOSED /* close_notify, or told by tls_eof */, TLS_FAILED };

struct tls *tls_new(struct tls_context *c) MUST_CHECK;
void tls_free(struct tls *t);

/* Cipher text from the peer, lent: call handshake or read until one of them does not say OK; the view may end then. */
void tls_feed(struct tls *t, struct bytes_view cipher);
void tls_eof(struct tls *t);                                            /* the transport saw EOF */
enum tls_status tls_handshake(struct tls *t);                           /* OK: done and verified */
enum tls_status tls_read(struct tls *t, char *buf, size_t cap, size_t *n_out);         /* *n_out > 0 only with OK */
/* After an OK of tls_read: another call may bring more than "want read". */
bool tls_has_more(const struct tls *t);
enum tls_status tls_write(struct tls *t, struct bytes_view plain);      /* encrypts all of it into the output queue */
void tls_shutdown(struct tls *t);                                       /* queues close_notify */
struct bytes_queue *tls_output(struct tls *t);                          /* cipher text to send; consume what went out */

struct tls_facts {
    char version[12];                   /* "TLSv1.3" */
    char cipher[48];
    bool verified, resumed;
};
void tls_get_facts(const struct tls *t, struct tls_facts *out);

/* After TLS_FAILED or TLS_CLOSED: stage tls, delivery not_sent, `reason` with names and dates, and the code:
 * tls_version_unsupported, tls_cert_*, tls_pin_mismatch, tls_client_cert_rejected (in TLS 1.3 known at the first read
 * only), tls_closed, tls_on_plaintext_port (the peer's first bytes are printable text), else tls_handshake_failed; and
 * protocol_error when a record is broken after the handshake, or when the peer sends more than 64 records without data
 * (key updates, tickets, warnings …) between two calls of tls_write. */
void tls_get_failure(const struct tls *t, struct smtp_outcome *out);

/* inspect: true when the certificate is good; else *out is the outcome that ends a handshake without `inspect`. */
bool tls_get_verdict(const struct tls *t, struct smtp_outcome *out);
/* The chain as the server sent it, after the handshake. */
void tls_get_chain(const struct tls *t, struct tls_chain *out);

/* The bytes of one ClientHello for a probe (0: no room), and the judgement on what came back: does the peer speak TLS?
 * -1 not enough bytes yet, 0 no, 1 yes. */
size_t tls_probe_hello(char *buf, size_t cap, const char *host);
int tls_probe_is_tls(struct bytes_view answer);
#endif
