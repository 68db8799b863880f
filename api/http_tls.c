#include "api/http_tls.h"

#include "service/config.h"
#include "smtp/file.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* Certificates of the API's listener. libmicrohttpd does TLS with GnuTLS and knows one set of credentials for ever, so
 * each session is given ours before its handshake: those that the files hold now. */

#define FILES 3
#define CHAIN_MAX 16
#define HELLO_SIZE 8                    /* enough to tell a request line from a TLS record */

/* Suites with forward secrecy and authenticated encryption only; a session is not renegotiated. */
static const char priorities[] =
    "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-AES-128-CBC:-AES-256-CBC:-CAMELLIA-128-CBC:-CAMELLIA-256-CBC:"
    "-SHA1:-DHE-RSA:%SERVER_PRECEDENCE";

struct reading {                        /* of the files; counted, and not changed any more */
    atomic_uint refs;
    gnutls_certificate_credentials_t credentials;
    time_t ends;                        /* the certificate's notAfter */
};

struct http_tls {
    char *path[FILES];                  /* certificate, key, client authorities or NULL */
    char seen[FILES][FILE_STAMP_SIZE];  /* looked at last */
    pthread_mutex_t lock;               /* of `now`: taken once a connection, for one count */
    struct reading *now;
};

struct http_tls_session {
    struct http_tls_params p;
    struct reading *reading;
    gnutls_session_t session;
    int fd;
    bool wants_client, has_begun, is_plain, is_shaken, is_judged;
    const char *why;                    /* the verdict */
    char client[HTTP_TLS_NAME_SIZE];
};

/* ---- reading files ---- */

static void reading_release(struct reading *r)
{
    if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    gnutls_certificate_free_credentials(r->credentials);
    free(r);
}

static void wipe(gnutls_datum_t *d)
{
    file_free((char *)d->data, d->size);
    *d = (gnutls_datum_t){NULL, 0};
}

static bool load(const char *path, gnutls_datum_t *out, char err_out[HTTP_TLS_ERR_SIZE])
{
    char why[FILE_ERR_SIZE];
    size_t n;

    out->data = (unsigned char *)file_read(path, FILE_PEM_MAX, FILE_REGULAR, &n, why);
    out->size = out->data ? (unsigned)n : 0;
    if (!out->data)
        snprintf(err_out, HTTP_TLS_ERR_SIZE, "%.190s %s", path, why);
    return out->data != NULL;
}

/* 0, with the day the first certificate ends; else a GnuTLS error. */
static int read_chain(const gnutls_datum_t *pem, time_t *ends_out)
{
    gnutls_x509_crt_t chain[CHAIN_MAX];
    unsigned n = CHAIN_MAX;
    int rc = gnutls_x509_crt_list_import(chain, &n, pem, GNUTLS_X509_FMT_PEM,
                                         GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);

    if (rc < 0)
        return rc;
    *ends_out = n ? gnutls_x509_crt_get_expiration_time(chain[0]) : (time_t)-1;
    for (unsigned i = 0; i < n; i++)
        gnutls_x509_crt_deinit(chain[i]);
    return n ? 0 : GNUTLS_E_NO_CERTIFICATE_FOUND;
}

static int read_key(const gnutls_datum_t *pem)
{
    gnutls_x509_privkey_t key;
    int rc = gnutls_x509_privkey_init(&key);

    if (rc < 0)
        return rc;
    rc = gnutls_x509_privkey_import2(key, pem, GNUTLS_X509_FMT_PEM, NULL, 0);
    gnutls_x509_privkey_deinit(key);
    return rc;
}

static bool tell(const char *path, const char *what, int rc, char err_out[HTTP_TLS_ERR_SIZE])
{
    snprintf(err_out, HTTP_TLS_ERR_SIZE, "%.200s %s: %s", path, what, gnutls_strerror(rc));
    return false;
}

static bool take_pair(struct reading *r, const struct http_tls *t, const gnutls_datum_t *cert,
                      const gnutls_datum_t *key, char err_out[HTTP_TLS_ERR_SIZE])
{
    int rc = read_chain(cert, &r->ends);

    if (rc < 0)
        return tell(t->path[0], "holds no certificate in PEM form", rc, err_out);
    rc = read_key(key);
    if (rc == GNUTLS_E_DECRYPTION_FAILED)
        return tell(t->path[1], "is locked with a passphrase; a key without one is needed", rc, err_out);
    if (rc < 0)
        return tell(t->path[1], "holds no private key in PEM form", rc, err_out);
    rc = gnutls_certificate_set_x509_key_mem2(r->credentials, cert, key, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (rc == GNUTLS_E_CERTIFICATE_KEY_MISMATCH) {
        snprintf(err_out, HTTP_TLS_ERR_SIZE, "the key in %.150s is not that of the first certificate in %.150s",
                 t->path[1], t->path[0]);
        return false;
    }
    return rc >= 0 || tell(t->path[0], "cannot be used", rc, err_out);
}

static bool take_authorities(struct reading *r, const struct http_tls *t, char err_out[HTTP_TLS_ERR_SIZE])
{
    gnutls_datum_t pem = {NULL, 0};
    int n;

    if (!t->path[2])
        return true;
    if (!load(t->path[2], &pem, err_out))
        return false;
    n = gnutls_certificate_set_x509_trust_mem(r->credentials, &pem, GNUTLS_X509_FMT_PEM);
    wipe(&pem);
    return n > 0 || tell(t->path[2], "holds no certificate in PEM form", n ? n : GNUTLS_E_NO_CERTIFICATE_FOUND,
                         err_out);
}

static struct reading *read_files(const struct http_tls *t, char err_out[HTTP_TLS_ERR_SIZE])
{
    struct reading *r = calloc(1, sizeof(*r));
    gnutls_datum_t cert = {NULL, 0}, key = {NULL, 0};
    bool ok;

    snprintf(err_out, HTTP_TLS_ERR_SIZE, "there is no memory for certificates");
    if (!r || gnutls_certificate_allocate_credentials(&r->credentials) < 0) {
        free(r);
        return NULL;
    }
    atomic_init(&r->refs, 1);
    ok = load(t->path[0], &cert, err_out) && load(t->path[1], &key, err_out) &&
         take_pair(r, t, &cert, &key, err_out) && take_authorities(r, t, err_out);
    wipe(&cert);
    wipe(&key);
    if (ok)
        return r;
    reading_release(r);
    return NULL;
}

/* ---- the whole ---- */

static bool is_changed(struct http_tls *t)
{
    char stamp[FILE_STAMP_SIZE];
    bool changed = false;

    for (size_t i = 0; i < FILES; i++) {
        file_stamp(t->path[i], stamp);
        changed = changed || strcmp(stamp, t->seen[i]) != 0;
        memcpy(t->seen[i], stamp, sizeof(stamp));
    }
    return changed;
}

static char *copy(const char *s)
{
    return s ? strdup(s) : NULL;
}

struct http_tls *http_tls_new(const struct http_tls_files *files, char err_out[HTTP_TLS_ERR_SIZE])
{
    struct http_tls *t = calloc(1, sizeof(*t));

    snprintf(err_out, HTTP_TLS_ERR_SIZE, "there is no memory for certificates");
    if (!t)
        return NULL;
    pthread_mutex_init(&t->lock, NULL);
    t->path[0] = copy(files->cert_file);
    t->path[1] = copy(files->key_file);
    t->path[2] = copy(files->client_ca_file);
    if (t->path[0] && t->path[1] && (t->path[2] || !files->client_ca_file)) {
        is_changed(t);
        t->now = read_files(t, err_out);
    }
    if (t->now)
        return t;
    http_tls_free(t);
    return NULL;
}

void http_tls_free(struct http_tls *t)
{
    if (!t)
        return;
    reading_release(t->now);
    for (size_t i = 0; i < FILES; i++)
        free(t->path[i]);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* Certificate and key are two files: between the two a look finds a pair that does not fit, keeps the old one, and
 * finds the second change the next time. */
enum http_tls_look http_tls_look(struct http_tls *t, char err_out[HTTP_TLS_ERR_SIZE])
{
    struct reading *fresh, *old;

    if (!is_changed(t))
        return HTTP_TLS_SAME;
    fresh = read_files(t, err_out);
    if (!fresh)
        return HTTP_TLS_KEPT;
    pthread_mutex_lock(&t->lock);
    old = t->now;
    t->now = fresh;
    pthread_mutex_unlock(&t->lock);
    reading_release(old);
    return HTTP_TLS_TAKEN;
}

static struct reading *hold(struct http_tls *t)
{
    struct reading *r;

    pthread_mutex_lock(&t->lock);
    r = t->now;
    atomic_fetch_add(&r->refs, 1);
    pthread_mutex_unlock(&t->lock);
    return r;
}

int64_t http_tls_ends(struct http_tls *t)
{
    struct reading *r = hold(t);
    int64_t ends = r->ends;

    reading_release(r);
    return ends;
}

/* ---- sessions ---- */

/* libmicrohttpd wants credentials of its own at the start; no session is left with them. */
static int no_certificate(gnutls_session_t session, const gnutls_datum_t *authorities, int n_authorities,
                          const gnutls_pk_algorithm_t *algorithms, int n_algorithms, gnutls_pcert_st **chain,
                          unsigned *n, gnutls_privkey_t *key)
{
    (void)session;
    (void)authorities;
    (void)n_authorities;
    (void)algorithms;
    (void)n_algorithms;
    (void)chain;
    (void)n;
    (void)key;
    return -1;
}

void http_tls_options(struct MHD_OptionItem *out)
{
    gnutls_certificate_retrieve_function2 *callback = no_certificate;

    out[0] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)priorities};
    out[1] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK, 0, NULL};
    memcpy(&out[1].ptr_value, &callback, sizeof(callback));
    out[2] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
}

static bool is_request_line(const char *p, size_t n)
{
    static const char *const methods[] = {"GET ", "HEAD ", "POST ", "PUT ", "PATCH ", "DELETE ", "OPTIONS "};

    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (n >= strlen(methods[i]) && memcmp(p, methods[i], strlen(methods[i])) == 0)
            return true;
    return false;
}

/* False: nothing has come yet, and errno says so. */
static bool has_begun(struct http_tls_session *s)
{
    char hello[HELLO_SIZE];
    ssize_t n = s->has_begun ? 1 : recv(s->fd, hello, sizeof(hello), MSG_PEEK | MSG_DONTWAIT);

    if (n < 0)
        return false;
    if (!s->has_begun && is_request_line(hello, (size_t)n)) {
        s->is_plain = true;
        s->p.on_plain(s->p.ctx);
    }
    s->has_begun = true;
    return true;
}

/* The client's Finished is the last that a handshake waits for, in both versions and with a resumed session. */
static int on_finished(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                       const gnutls_datum_t *message)
{
    struct http_tls_session *s = gnutls_transport_get_ptr(session);

    (void)type;
    (void)when;
    (void)message;
    s->is_shaken = s->is_shaken || incoming;
    return 0;
}

/* In the place of GnuTLS' own recv: for the sake of the first bytes, since who asks in plain HTTP is told so, and to
 * know when a handshake waits. */
static ssize_t pull(gnutls_transport_ptr_t ptr, void *to, size_t size)
{
    struct http_tls_session *s = ptr;
    ssize_t n = -1;

    if (has_begun(s))                   /* a read before that could get the first bytes after all */
        do
            n = recv(s->fd, to, size, MSG_DONTWAIT);
        while (n > 0 && s->is_plain);
    if (n < 0) {
        int error = errno;
        if (error == EAGAIN && !s->is_shaken)
            s->p.on_wait(s->p.ctx);
        gnutls_transport_set_errno(s->session, error);
    }
    return n;
}

struct http_tls_session *http_tls_begin(struct http_tls *t, const struct http_tls_params *p)
{
    const union MHD_ConnectionInfo *fd = MHD_get_connection_info(p->c, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(p->c, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    struct http_tls_session *s = fd && info ? calloc(1, sizeof(*s)) : NULL;

    if (!s)
        return NULL;
    *s = (struct http_tls_session){.p = *p, .fd = fd->connect_fd, .session = info->tls_session, .reading = hold(t),
                                   .wants_client = t->path[2] != NULL};
    if (gnutls_credentials_set(s->session, GNUTLS_CRD_CERTIFICATE, s->reading->credentials) < 0) {
        http_tls_end(s);
        return NULL;
    }
    if (s->wants_client)
        gnutls_certificate_server_set_request(s->session, GNUTLS_CERT_REQUEST);
    gnutls_transport_set_ptr2(s->session, s, (gnutls_transport_ptr_t)(intptr_t)s->fd);
    gnutls_transport_set_pull_function(s->session, pull);
    gnutls_handshake_set_hook_function(s->session, GNUTLS_HANDSHAKE_FINISHED, GNUTLS_HOOK_POST, on_finished);
    return s;
}

void http_tls_end(struct http_tls_session *s)
{
    if (!s)
        return;
    reading_release(s->reading);
    free(s);
}

/* ---- clients ---- */

static void keep_name(struct http_tls_session *s, const char *name, size_t n)
{
    n = n < HTTP_TLS_NAME_SIZE - 1 ? n : HTTP_TLS_NAME_SIZE - 1;
    for (size_t i = 0; i < n; i++)
        s->client[i] = name[i] >= 0x20 && name[i] < 0x7F ? name[i] : '?';
    s->client[n] = '\0';
}

static void read_name(struct http_tls_session *s, gnutls_x509_crt_t crt)
{
    char name[256];
    size_t n = sizeof(name);

    if (gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &n) >= 0 && n > 0) {
        keep_name(s, name, n);
        return;
    }
    n = sizeof(name);
    if (gnutls_x509_crt_get_subject_alt_name(crt, 0, name, &n, NULL) >= 0 && n > 0)
        keep_name(s, name, n);
    else
        keep_name(s, "(no name)", 9);
}

static void read_client(struct http_tls_session *s)
{
    unsigned n = 0;
    const gnutls_datum_t *peers = gnutls_certificate_get_peers(s->session, &n);
    gnutls_x509_crt_t crt;

    if (!peers || n == 0 || gnutls_x509_crt_init(&crt) < 0)
        return;
    if (gnutls_x509_crt_import(crt, &peers[0], GNUTLS_X509_FMT_DER) >= 0)
        read_name(s, crt);
    gnutls_x509_crt_deinit(crt);
}

static const char *verdict(unsigned status)
{
    if (status == 0)
        return NULL;
    if (status & (GNUTLS_CERT_SIGNER_NOT_FOUND | GNUTLS_CERT_SIGNER_NOT_CA))
        return "The client certificate is not of an authority in client_ca_file.";
    if (status & GNUTLS_CERT_EXPIRED)
        return "The client certificate has expired.";
    if (status & GNUTLS_CERT_NOT_ACTIVATED)
        return "The client certificate is not valid yet.";
    if (status & GNUTLS_CERT_PURPOSE_MISMATCH)
        return "The certificate that the client showed is not one for clients (extended key usage).";
    if (status & GNUTLS_CERT_INSECURE_ALGORITHM)
        return "The client certificate is signed with an algorithm that is too weak.";
    return "The client certificate cannot be verified.";
}

static const char *judge(struct http_tls_session *s)
{
    gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                     .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT};
    unsigned status = 0, n = 0;

    if (!s->wants_client)
        return NULL;
    if (!gnutls_certificate_get_peers(s->session, &n) || n == 0)
        return "The client showed no certificate, and client_ca_file asks for one.";
    if (gnutls_certificate_verify_peers(s->session, &purpose, 1, &status) < 0)
        return "The client certificate cannot be read.";
    return verdict(status);
}

const char *http_tls_judge(struct http_tls_session *s)
{
    if (s->is_judged)
        return s->why;
    s->is_judged = true;
    s->why = judge(s);
    if (s->wants_client && !s->why)
        read_client(s);
    return s->why;
}

const char *http_tls_client(const struct http_tls_session *s)
{
    return s->client;
}

bool http_tls_send(struct http_tls_session *s, struct bytes_view v)
{
    while (v.n) {
        ssize_t n = gnutls_record_send(s->session, v.p, v.n);
        if (n <= 0)
            return false;
        v = bytes_view(v.p + n, v.n - (size_t)n);
    }
    return true;
}

bool http_tls_has_unread(const struct http_tls_session *s)
{
    return gnutls_record_check_pending(s->session) > 0;
}
