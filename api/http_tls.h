#ifndef API_HTTP_TLS_H
#define API_HTTP_TLS_H
/* TLS of the API's listener: certificate and key, and the authorities of client certificates (mutual TLS). The floor is
 * TLS 1.2. The files may change while it runs: each connection keeps the reading that it began with. */
#include "smtp/bytes.h"

struct http_tls;                        /* of all loops */
struct http_tls_session;                /* one connection's; for its loop's thread */
struct MHD_Connection;
struct MHD_OptionItem;

#define HTTP_TLS_ERR_SIZE 400
#define HTTP_TLS_NAME_SIZE 65

struct http_tls_files {                 /* PEM; paths are borrowed */
    const char *cert_file;              /* the certificate, then its chain */
    const char *key_file;
    const char *client_ca_file;         /* NULL: clients show no certificate */
};

/* NULL: err_out says what is wrong with which file. */
struct http_tls *http_tls_new(const struct http_tls_files *files, char err_out[HTTP_TLS_ERR_SIZE]) MUST_CHECK;
void http_tls_free(struct http_tls *t);                         /* after its connections */

enum http_tls_look {
    HTTP_TLS_SAME,
    HTTP_TLS_TAKEN,                     /* the files changed, and new connections get what they say now */
    HTTP_TLS_KEPT,                      /* the files changed and cannot be used: err_out; told once a change */
};
/* One thread at a time. */
enum http_tls_look http_tls_look(struct http_tls *t, char err_out[HTTP_TLS_ERR_SIZE]);
int64_t http_tls_ends(struct http_tls *t);                      /* the certificate's notAfter, as time(2) counts */
/* For http.c. */

struct http_tls_params {
    struct MHD_Connection *c;           /* its handshake has not begun */
    void *ctx;
    /* The client's first bytes are a request in plain HTTP: called once, from libmicrohttpd's reading; they are still
     * in the socket. What it writes to the socket itself goes out in the clear. What comes from then on is dropped:
     * a connection that is closed with bytes unread is reset, and the client may not see what was written. */
    void (*on_plain)(void *ctx);
    /* The handshake goes on when the client has sent more; from libmicrohttpd's reading. */
    void (*on_wait)(void *ctx);
};
#define HTTP_TLS_OPTIONS 3
void http_tls_options(struct MHD_OptionItem *out);              /* for MHD_USE_TLS */
/* NULL: no memory */
struct http_tls_session *http_tls_begin(struct http_tls *t, const struct http_tls_params *p) MUST_CHECK;
void http_tls_end(struct http_tls_session *s);                  /* before libmicrohttpd frees its own */
/* Once the handshake is over. NULL: the client may go on; else a sentence why not (static). */
const char *http_tls_judge(struct http_tls_session *s);
/* Of a client that may: its certificate's common name, else its first name of any kind; "": none was asked for */
const char *http_tls_client(const struct http_tls_session *s);
bool http_tls_send(struct http_tls_session *s, struct bytes_view v);   /* all of it at once, or false */
bool http_tls_has_unread(const struct http_tls_session *s);    /* deciphered bytes that nobody has taken yet */
#endif
