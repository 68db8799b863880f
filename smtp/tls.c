#include "smtp/tls.h"

#include "smtp/crypto.h"
#include "smtp/file.h"
#include "smtp/tls_peer.h"
#include "smtp/tls_reason.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* TLS over memory: OpenSSL behind a BIO of our own that reads what was fed and appends to a queue. */

#define PINS_MAX 32
#define TICKETS_MAX 16                  /* of one relay; a server gives two at a time */
#define BARREN_MAX 64                   /* records and messages without data that a peer may send between our writes */
#define HANDSHAKE_RECORDS_MAX 2048      /* the longest chain of certificates (100 KB) in records of 50 octets */
#define TICKET_SECONDS 3600             /* a certificate revoked or expired meanwhile counts again after that */

struct tls_context {
    atomic_uint refs;                   /* the owner's and one for each struct tls */
    SSL_CTX *ssl;
    bool server, inspect;
    char *host;                         /* NULL for servers; without brackets or a last dot */
    bool host_is_ip;
    unsigned char pins[PINS_MAX][32];
    size_t n_pins;
    pthread_mutex_t mutex;
    SSL_SESSION *tickets[TICKETS_MAX];  /* the newest last; each is used once (RFC 8446 §C.4) */
    size_t n_tickets;
};

struct tls {
    struct tls_context *ctx;
    SSL *ssl;
    struct bytes_view fed;              /* lent by the caller until all of it is read */
    struct bytes_queue left;            /* fed before that and not read yet */
    struct bytes_queue out;
    char first[TLS_FIRST_MAX];
    size_t n_first;
    bool eof, handshaken, dead;
    unsigned records;                   /* received in the handshake */
    unsigned barren;                    /* received since our last write and not made up for by data */
    bool client_cert_asked;
    bool has_failure, has_verdict;      /* verdict: what would have been the failure without ctx->inspect */
    struct smtp_outcome failure, verdict;
};

/* ---- what carries nothing ---- */

/* Key updates, tickets, requests to renegotiate, warnings and empty records cost us much more than the peer, and there
 * is no end to them: RFC 8446 §4.6.3 sets no limit. Some are in order, more than that keeps a loop from its other
 * sessions. */
static bool is_flooding(const struct tls *t)
{
    return t->barren > BARREN_MAX || (!t->handshaken && t->records > HANDSHAKE_RECORDS_MAX);
}

static void on_message(int is_write, int version, int type, const void *p, size_t n, SSL *ssl, void *arg)
{
    struct tls *t = SSL_get_app_data(ssl);

    (void)version;
    (void)p;
    (void)n;
    (void)arg;
    if (is_write || !t)
        return;
    if (!t->handshaken)
        t->records += type == SSL3_RT_HEADER;
    else if (type == SSL3_RT_HEADER || type == SSL3_RT_HANDSHAKE)       /* a record may hold many messages */
        t->barren++;
}

static void set_flood(struct tls *t)
{
    char reason[120];

    if (t->handshaken)
        snprintf(reason, sizeof(reason), "The peer sent more than %d TLS records without data in a row", BARREN_MAX);
    else
        snprintf(reason, sizeof(reason), "The peer sent more than %d TLS records in its handshake",
                 HANDSHAKE_RECORDS_MAX);
    outcome_set_local(&t->failure, t->handshaken ? OUTCOME_PROTOCOL_ERROR : OUTCOME_TLS_HANDSHAKE_FAILED, STAGE_TLS,
                      DELIVERY_NOT_SENT, reason);
    t->has_failure = true;
}

/* ---- the BIO ---- */

static int bio_read(BIO *bio, char *buf, int cap)
{
    struct tls *t = BIO_get_data(bio);
    bool queued = bytes_queue_len(&t->left) > 0;
    struct bytes_view from = queued ? bytes_queue_view(&t->left) : t->fed;
    size_t n = from.n < (size_t)cap ? from.n : (size_t)cap;

    BIO_clear_retry_flags(bio);
    if (is_flooding(t)) {               /* no more records are taken; status_of says why */
        BIO_set_retry_read(bio);
        return -1;
    }
    if (!n) {
        if (!t->eof)
            BIO_set_retry_read(bio);
        return t->eof ? 0 : -1;
    }
    memcpy(buf, from.p, n);
    if (queued)
        bytes_queue_consume(&t->left, n);
    else
        t->fed = bytes_view(t->fed.p + n, t->fed.n - n);
    return (int)n;
}

static int bio_write(BIO *bio, const char *p, int n)
{
    struct tls *t = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    bytes_queue_add(&t->out, p, (size_t)n);
    return t->out.failed ? -1 : n;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    const struct tls *t = BIO_get_data(bio);

    (void)num;
    (void)ptr;
    if (cmd == BIO_CTRL_EOF)
        return t->eof && !t->fed.n && !bytes_queue_len(&t->left);
    return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;
static pthread_once_t bio_once = PTHREAD_ONCE_INIT;

static void make_bio_method(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "memory of mailhatch");
    if (!bio_method || !BIO_meth_set_read(bio_method, bio_read) || !BIO_meth_set_write(bio_method, bio_write) ||
        !BIO_meth_set_ctrl(bio_method, bio_ctrl))
        unreachable("no memory for a BIO method");
}

/* ---- verification ---- */

static void spki_digest(X509 *cert, unsigned char out[32])
{
    unsigned char *der = NULL;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);

    crypto_sha256(bytes_view(der, n > 0 ? (size_t)n : 0), out);
    OPENSSL_free(der);
}

static bool is_pinned(const struct tls_context *c, STACK_OF(X509) *chain)
{
    unsigned char digest[32];

    for (int i = 0; i < sk_X509_num(chain); i++) {
        spki_digest(sk_X509_value(chain, i), digest);
        for (size_t k = 0; k < c->n_pins; k++)
            if (memcmp(digest, c->pins[k], sizeof(digest)) == 0)
                return true;
    }
    return false;
}

static void refuse_pins(struct tls *t, STACK_OF(X509) *chain)
{
    unsigned char digest[32];
    struct bytes_buf pin;

    bytes_buf_init(&pin, 0);
    bytes_buf_add_str(&pin, "sha256/");
    spki_digest(sk_X509_value(chain, 0), digest);
    crypto_base64(bytes_view(digest, sizeof(digest)), &pin);
    tls_reason_pins(t->ctx->n_pins, pin.p ? pin.p : "", &t->failure);
    t->has_failure = true;
    bytes_buf_deinit(&pin);
}

static int judge(X509_STORE_CTX *x, struct tls *t)
{
    if (X509_verify_cert(x) <= 0) {
        if (X509_STORE_CTX_get_error(x) == X509_V_OK)
            X509_STORE_CTX_set_error(x, X509_V_ERR_UNSPECIFIED);
        tls_reason_certificate(x, t->ctx->host, &t->failure);
        t->has_failure = true;
        return 0;
    }
    if (t->ctx->n_pins && !is_pinned(t->ctx, X509_STORE_CTX_get0_chain(x))) {
        refuse_pins(t, X509_STORE_CTX_get0_chain(x));
        X509_STORE_CTX_set_error(x, X509_V_ERR_APPLICATION_VERIFICATION);
        return 0;
    }
    return 1;
}

/* In place of OpenSSL's own call, because the certificate at fault is only known in here. The error stays in *x and
 * becomes the connection's verify result, so one that goes on is never called verified. */
static int verify(X509_STORE_CTX *x, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls *t = SSL_get_app_data(ssl);

    (void)arg;
    if (judge(x, t))
        return 1;
    if (!t->ctx->inspect)
        return 0;
    t->verdict = t->failure;
    t->has_verdict = true;
    t->has_failure = false;
    return 1;
}

static int client_cert_asked(SSL *ssl, X509 **cert, EVP_PKEY **key)
{
    struct tls *t = SSL_get_app_data(ssl);

    (void)cert;
    (void)key;
    t->client_cert_asked = true;
    return 0;                           /* go on without one */
}

/* ---- tickets ---- */

/* A context is one relay with its settings, so no ticket ever reaches another relay or identity. A copy is kept:
 * OpenSSL spoils the original when the peer just leaves, which is how most SMTP sessions end. */
static int keep_ticket(SSL *ssl, SSL_SESSION *original)
{
    struct tls_context *c = ((struct tls *)SSL_get_app_data(ssl))->ctx;
    SSL_SESSION *session, *oldest = NULL;

    if (!SSL_SESSION_is_resumable(original) || SSL_get_verify_result(ssl) != X509_V_OK)
        return 0;
    session = SSL_SESSION_dup(original);
    if (!session)
        return 0;
    pthread_mutex_lock(&c->mutex);
    if (c->n_tickets == TICKETS_MAX) {
        oldest = c->tickets[0];
        memmove(c->tickets, c->tickets + 1, --c->n_tickets * sizeof(SSL_SESSION *));
    }
    c->tickets[c->n_tickets++] = session;
    pthread_mutex_unlock(&c->mutex);
    SSL_SESSION_free(oldest);
    return 0;
}

static SSL_SESSION *newest_ticket(struct tls_context *c)
{
    SSL_SESSION *session = NULL;

    pthread_mutex_lock(&c->mutex);
    if (c->n_tickets)
        session = c->tickets[--c->n_tickets];
    pthread_mutex_unlock(&c->mutex);
    return session;
}

/* RFC 5246 §7.2.2: after a fatal alert the session's secrets and tickets are forgotten. */
static void forget_tickets(struct tls_context *c)
{
    SSL_SESSION *session;

    while ((session = newest_ticket(c)))
        SSL_SESSION_free(session);
}

static void offer_ticket(struct tls_context *c, SSL *ssl)
{
    long now = (long)time(NULL), age;
    SSL_SESSION *session;

    while ((session = newest_ticket(c))) {
        age = now - SSL_SESSION_get_time(session);
        if (age >= 0 && age < TICKET_SECONDS && age < SSL_SESSION_get_timeout(session)) {
            SSL_set_session(ssl, session);      /* one that the server does not know costs nothing */
            SSL_SESSION_free(session);
            return;
        }
        SSL_SESSION_free(session);
    }
}

/* ---- contexts ---- */

static int fail(char err_out[200], const char *what, const char *which)
{
    unsigned long e = ERR_peek_error();
    const char *why = e ? ERR_reason_error_string(e) : NULL;

    snprintf(err_out, 200, "%s%s%.90s%s%s", what, which ? " " : "", which ? which : "", why ? ": " : "", why
             ? why : "");
    ERR_clear_error();
    return -1;
}

static struct tls_context *context_new(const SSL_METHOD *method, bool server)
{
    struct tls_context *c = calloc(1, sizeof(*c));

    ERR_clear_error();
    if (!c)
        return NULL;
    atomic_init(&c->refs, 1);
    pthread_mutex_init(&c->mutex, NULL);
    c->server = server;
    c->ssl = SSL_CTX_new(method);
    if (!c->ssl || !SSL_CTX_set_min_proto_version(c->ssl, TLS1_2_VERSION) ||
        !SSL_CTX_set_max_proto_version(c->ssl, 0)) {
        tls_context_free(c);
        return NULL;
    }
    SSL_CTX_set_msg_callback(c->ssl, on_message);
    SSL_CTX_set_security_level(c->ssl, 2);
    SSL_CTX_set_options(c->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (server)
        SSL_CTX_set_mode(c->ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
    return c;
}

/* RFC 6125 §6.4, RFC 9525 §6.3: only the SAN counts, and a wildcard stands for one whole label. */
static int set_host(struct tls_context *c, const char *host, char err_out[200])
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(c->ssl);
    struct bytes_view h = bytes_view_str(host);

    if (h.n > 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
        h = bytes_view(h.p + 1, h.n - 2);
    if (h.n > 1 && h.p[h.n - 1] == '.')
        h.n--;
    if (!h.n || h.n > 255)
        return fail(err_out, "The host name to verify is empty or too long", NULL);
    c->host = strndup(h.p, h.n);
    if (!c->host)
        return fail(err_out, "No memory", NULL);
    X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    c->host_is_ip = X509_VERIFY_PARAM_set1_ip_asc(param, c->host) == 1;
    ERR_clear_error();
    if (!c->host_is_ip && !X509_VERIFY_PARAM_set1_host(param, c->host, 0))
        return fail(err_out, "The host name cannot be verified:", c->host);
    return 0;
}

/* Certificates, and the revocation lists among them: number of those taken, or -1. */
static int take_infos(X509_STORE *store, const STACK_OF(X509_INFO) *infos)
{
    int n = 0;

    for (int i = 0; i < sk_X509_INFO_num(infos); i++) {
        const X509_INFO *info = sk_X509_INFO_value(infos, i);
        if ((info->x509 && !X509_STORE_add_cert(store, info->x509)) ||
            (info->crl && !X509_STORE_add_crl(store, info->crl)))
            return -1;
        n += info->x509 || info->crl;
    }
    return n;
}

static int add_trusted_pem(SSL_CTX *ssl, const char *pem, size_t n, const char *what, char err_out[200])
{
    BIO *bio = BIO_new_mem_buf(pem, (int)n);
    STACK_OF(X509_INFO) *infos = bio ? PEM_X509_INFO_read_bio(bio, NULL, NULL, NULL) : NULL;
    int taken = infos ? take_infos(SSL_CTX_get_cert_store(ssl), infos) : -1;

    sk_X509_INFO_pop_free(infos, X509_INFO_free);
    BIO_free(bio);
    if (taken <= 0)
        return fail(err_out, "No CA certificate can be read from", what);
    ERR_clear_error();
    return 0;
}

/* Files are read here and not by OpenSSL, which would wait for a FIFO and read a device to no end. */
static char *read_pem(const char *path, size_t *n_out, char err_out[200])
{
    char why[FILE_ERR_SIZE];
    char *pem = file_read(path, FILE_PEM_MAX, FILE_REGULAR, n_out, why);

    if (!pem)
        snprintf(err_out, 200, "%.99s %s", path, why);
    return pem;
}

static int set_trust(SSL_CTX *ssl, const struct tls_client_params *p, char err_out[200])
{
    const char *dir = getenv(X509_get_default_cert_dir_env());
    char *pem;
    size_t n;
    int rc;

    if (p->ca_pem)
        return add_trusted_pem(ssl, p->ca_pem, strlen(p->ca_pem), "the text", err_out);
    if (p->ca_file) {
        /* Put there by hand, each of them ends a chain, root or not: the server's own certificate, an intermediate.
         * Set on the store, so that a diagnosis asks the same question. */
        X509_STORE_set_flags(SSL_CTX_get_cert_store(ssl), X509_V_FLAG_PARTIAL_CHAIN);
        pem = read_pem(p->ca_file, &n, err_out);
        rc = pem ? add_trusted_pem(ssl, pem, n, p->ca_file, err_out) : -1;
        file_free(pem, n);
        return rc;
    }
    if (SSL_CTX_load_verify_dir(ssl, dir && *dir ? dir : X509_get_default_cert_dir()) != 1)
        return fail(err_out, "Cannot use the system's CA directory", NULL);
    return 0;
}

/* Number of lists, or -1: one cannot be read. */
static int add_crls(X509_STORE *store, const char *pem, size_t n)
{
    BIO *bio = BIO_new_mem_buf(pem, (int)n);
    X509_CRL *crl;
    bool ok = bio != NULL;
    int added = 0;

    while (ok && (crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL))) {
        ok = X509_STORE_add_crl(store, crl) == 1;
        X509_CRL_free(crl);
        added++;
    }
    ok = ok && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;    /* the end of the text */
    BIO_free(bio);
    return ok ? added : -1;
}

/* Only the leaf is looked up: CRLs of intermediates are seldom at hand, and without one everything would be refused. */
static int set_crl(SSL_CTX *ssl, const char *file, char err_out[200])
{
    X509_STORE *store = SSL_CTX_get_cert_store(ssl);
    size_t n;
    char *pem = read_pem(file, &n, err_out);
    int added = pem ? add_crls(store, pem, n) : 0;

    if (!pem)
        return -1;
    file_free(pem, n);
    if (added <= 0)
        return fail(err_out, "No revocation list can be read from", file);
    ERR_clear_error();
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
    return 0;
}

static int add_pin(struct tls_context *c, struct bytes_view v)
{
    static const char prefix[] = "sha256/";
    struct bytes_buf b;
    bool good;

    if (v.n < sizeof(prefix) || memcmp(v.p, prefix, sizeof(prefix) - 1) != 0 || c->n_pins == PINS_MAX)
        return -1;
    bytes_buf_init(&b, 0);
    good = crypto_base64_decode(bytes_view(v.p + sizeof(prefix) - 1, v.n - (sizeof(prefix) - 1)), &b) == 0 && b.n == 32;
    if (good)
        memcpy(c->pins[c->n_pins++], b.p, 32);
    bytes_buf_deinit(&b);
    return good ? 0 : -1;
}

static int set_pins(struct tls_context *c, const char *pins, char err_out[200])
{
    while (*pins) {
        size_t n;
        pins += strspn(pins, ", ");
        n = strcspn(pins, ", ");
        if (n && add_pin(c, bytes_view(pins, n)) < 0)
            return fail(err_out, "A pin must be sha256/ and the base64 of 32 octets, at most 32 of them:", pins);
        pins += n;
    }
    return c->n_pins ? 0 : fail(err_out, "The list of pins is empty", NULL);
}

/* OpenSSL 3 takes TLS 1.0 and 1.1 at security level 0 only. */
static int set_only(SSL_CTX *ssl, enum tls_only only, char err_out[200])
{
    static const int versions[] = {0, TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION};

    SSL_CTX_set_security_level(ssl, 0);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_NONE, NULL);
    if (!SSL_CTX_set_cipher_list(ssl, "ALL:!aNULL:@SECLEVEL=0") ||
        !SSL_CTX_set_min_proto_version(ssl, versions[only]) || !SSL_CTX_set_max_proto_version(ssl, versions[only]))
        return fail(err_out, "This TLS version cannot be asked for", NULL);
    return 0;
}

struct tls_context *tls_context_new_client(const struct tls_client_params *p, char err_out[200])
{
    struct tls_context *c = context_new(TLS_client_method(), false);

    err_out[0] = '\0';
    if (!c) {
        fail(err_out, "No TLS context", NULL);
        return NULL;
    }
    c->inspect = p->inspect || p->only != TLS_ONLY_ANY;
    if (p->many)
        SSL_CTX_set_mode(c->ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(c->ssl, verify, NULL);
    SSL_CTX_set_client_cert_cb(c->ssl, client_cert_asked);
    SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c->ssl, keep_ticket);
    if (set_host(c, p->host, err_out) < 0 || set_trust(c->ssl, p, err_out) < 0 ||
        (p->crl_file && set_crl(c->ssl, p->crl_file, err_out) < 0) || (p->pins && set_pins(c, p->pins, err_out) < 0) ||
        (p->only != TLS_ONLY_ANY && set_only(c->ssl, p->only, err_out) < 0)) {
        tls_context_free(c);
        return NULL;
    }
    return c;
}

static int use_chain(SSL_CTX *ssl, const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    int good = cert && SSL_CTX_use_certificate(ssl, cert) == 1;

    X509_free(cert);
    while (good && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        good = SSL_CTX_add1_chain_cert(ssl, cert) == 1;
        X509_free(cert);
    }
    BIO_free(bio);
    if (good)
        ERR_clear_error();
    return good ? 0 : -1;
}

static int use_key(SSL_CTX *ssl, const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    int good = key && SSL_CTX_use_PrivateKey(ssl, key) == 1 && SSL_CTX_check_private_key(ssl) == 1;

    EVP_PKEY_free(key);
    BIO_free(bio);
    return good ? 0 : -1;
}

struct tls_context *tls_context_new_server(const char *chain_pem, const char *key_pem, char err_out[200])
{
    struct tls_context *c = context_new(TLS_server_method(), true);

    err_out[0] = '\0';
    if (c && use_chain(c->ssl, chain_pem) == 0 && use_key(c->ssl, key_pem) == 0 &&
        SSL_CTX_set_session_id_context(c->ssl, (const unsigned char *)"mailhatch", 9) == 1)
        return c;
    fail(err_out, c ? "The certificate or its key cannot be used" : "No TLS context", NULL);
    tls_context_free(c);
    return NULL;
}

void tls_context_free(struct tls_context *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    forget_tickets(c);
    pthread_mutex_destroy(&c->mutex);
    SSL_CTX_free(c->ssl);
    free(c->host);
    free(c);
}

/* ---- one connection ---- */

static int attach(struct tls *t)
{
    BIO *bio;

    pthread_once(&bio_once, make_bio_method);
    t->ssl = SSL_new(t->ctx->ssl);
    bio = BIO_new(bio_method);
    if (!t->ssl || !bio) {
        BIO_free(bio);
        return -1;
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);      /* takes the BIO over */
    SSL_set_app_data(t->ssl, t);
    if (t->ctx->server) {
        SSL_set_accept_state(t->ssl);
    } else {
        SSL_set_connect_state(t->ssl);
        offer_ticket(t->ctx, t->ssl);
    }
    /* RFC 6066 §3: literal addresses are not permitted in server_name. */
    if (t->ctx->host && !t->ctx->host_is_ip && SSL_set_tlsext_host_name(t->ssl, t->ctx->host) != 1)
        return -1;
    return 0;
}

struct tls *tls_new(struct tls_context *c)
{
    struct tls *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    atomic_fetch_add(&c->refs, 1);
    t->ctx = c;
    t->fed = bytes_view("", 0);
    bytes_queue_init(&t->left, 0);
    bytes_queue_init(&t->out, 0);
    if (attach(t) < 0) {
        ERR_clear_error();
        tls_free(t);
        return NULL;
    }
    return t;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    bytes_queue_deinit(&t->left);
    bytes_queue_deinit(&t->out);
    tls_context_free(t->ctx);
    free(t);
}

void tls_feed(struct tls *t, struct bytes_view cipher)
{
    size_t keep = TLS_FIRST_MAX - t->n_first < cipher.n ? TLS_FIRST_MAX - t->n_first : cipher.n;

    if (t->dead)
        return;
    if (keep)
        memcpy(t->first + t->n_first, cipher.p, keep);
    t->n_first += keep;
    if (t->fed.n || bytes_queue_len(&t->left)) {
        bytes_queue_add(&t->left, t->fed.p, t->fed.n);
        bytes_queue_add(&t->left, cipher.p, cipher.n);
        t->fed = bytes_view("", 0);
    } else {
        bytes_queue_release(&t->left);
        t->fed = cipher;
    }
}

void tls_eof(struct tls *t)
{
    t->eof = true;
}

static enum tls_status die(struct tls *t, enum tls_status status)
{
    struct tls_trouble trouble = {.first = bytes_view(t->first, t->n_first), .handshaken = t->handshaken,
                                  .eof = status == TLS_CLOSED, .client_cert_asked = t->client_cert_asked};

    if (!t->has_failure)
        tls_reason_failure(&trouble, &t->failure);
    t->has_failure = true;
    t->dead = true;
    if (status == TLS_FAILED)
        forget_tickets(t->ctx);
    t->fed = bytes_view("", 0);
    ERR_clear_error();
    return status;
}

static enum tls_status status_of(struct tls *t, int ret)
{
    switch (SSL_get_error(t->ssl, ret)) {
    case SSL_ERROR_NONE:
        return TLS_OK;
    case SSL_ERROR_WANT_READ:
        if (is_flooding(t)) {
            set_flood(t);
            return die(t, TLS_FAILED);
        }
        return t->left.failed ? die(t, TLS_FAILED) : TLS_WANT_READ;
    case SSL_ERROR_ZERO_RETURN:
        return die(t, TLS_CLOSED);
    case SSL_ERROR_SSL:
        if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
            return die(t, TLS_CLOSED);
        return die(t, TLS_FAILED);
    default: /* not an enum */          /* SSL_ERROR_SYSCALL: bio_read saw the end, or bio_write has no memory */
        return die(t, t->eof ? TLS_CLOSED : TLS_FAILED);
    }
}

/* What a dead connection answers: the same again, for ever. */
static enum tls_status dead_status(const struct tls *t)
{
    return t->failure.code == OUTCOME_TLS_CLOSED ? TLS_CLOSED : TLS_FAILED;
}

enum tls_status tls_handshake(struct tls *t)
{
    enum tls_status status;

    if (t->dead)
        return dead_status(t);
    ERR_clear_error();
    status = status_of(t, SSL_do_handshake(t->ssl));
    if (status == TLS_OK)
        t->handshaken = true;
    return status;
}

enum tls_status tls_read(struct tls *t, char *buf, size_t cap, size_t *n_out)
{
    enum tls_status status;

    *n_out = 0;
    if (t->dead)
        return dead_status(t);
    ERR_clear_error();
    status = status_of(t, SSL_read_ex(t->ssl, buf, cap, n_out));
    t->barren = t->barren > *n_out ? t->barren - (unsigned)*n_out : 0;
    return status;
}

bool tls_has_more(const struct tls *t)
{
    return t->eof || t->fed.n || bytes_queue_len(&t->left) || SSL_has_pending(t->ssl);
}

enum tls_status tls_write(struct tls *t, struct bytes_view plain)
{
    if (t->dead)
        return dead_status(t);
    if (!t->handshaken)
        unreachable("tls_write before the handshake");
    ERR_clear_error();
    t->barren = 0;
    while (plain.n) {
        size_t n = 0;
        enum tls_status status = status_of(t, SSL_write_ex(t->ssl, plain.p, plain.n, &n));
        if (status == TLS_WANT_READ)    /* only renegotiation could ask for that, and it is off */
            return die(t, TLS_FAILED);
        if (status != TLS_OK)
            return status;
        plain = bytes_view(plain.p + n, plain.n - n);
    }
    return TLS_OK;
}

void tls_shutdown(struct tls *t)
{
    if (!t->handshaken || t->dead)
        return;
    ERR_clear_error();
    SSL_shutdown(t->ssl);
    ERR_clear_error();
}

struct bytes_queue *tls_output(struct tls *t)
{
    return &t->out;
}

void tls_get_facts(const struct tls *t, struct tls_facts *out)
{
    memset(out, 0, sizeof(*out));
    if (!t->handshaken)
        return;
    snprintf(out->version, sizeof(out->version), "%s", SSL_get_version(t->ssl));
    snprintf(out->cipher, sizeof(out->cipher), "%s", SSL_get_cipher_name(t->ssl));
    out->verified = !t->ctx->server && SSL_get_verify_result(t->ssl) == X509_V_OK;
    out->resumed = SSL_session_reused(t->ssl) == 1;
}

void tls_get_failure(const struct tls *t, struct smtp_outcome *out)
{
    if (t->has_failure)
        *out = t->failure;
    else
        outcome_set_local(out, OUTCOME_TLS_HANDSHAKE_FAILED, STAGE_TLS, DELIVERY_NOT_SENT, "The handshake did not end");
}

bool tls_get_verdict(const struct tls *t, struct smtp_outcome *out)
{
    if (t->has_verdict)
        *out = t->verdict;
    return !t->has_verdict;
}

void tls_get_chain(const struct tls *t, struct tls_chain *out)
{
    tls_peer_read_chain(t->ssl, t->ctx->host ? t->ctx->host : "", t->ctx->host_is_ip, out);
}

/* ---- the probe ---- */

size_t tls_probe_hello(char *buf, size_t cap, const char *host)
{
    char err[200];
    struct tls_client_params params = {.host = host};
    struct tls_context *c = tls_context_new_client(&params, err);
    struct tls *t = c ? tls_new(c) : NULL;
    size_t n = 0;

    if (t && tls_handshake(t) == TLS_WANT_READ && bytes_queue_len(&t->out) <= cap) {
        n = bytes_queue_len(&t->out);
        memcpy(buf, bytes_queue_view(&t->out).p, n);
    }
    tls_free(t);
    tls_context_free(c);
    return n;
}

/* RFC 8446 §5.1: type (21 alert, 22 handshake), major version 3, minor, length up to 2^14 and some. */
int tls_probe_is_tls(struct bytes_view answer)
{
    const unsigned char *p = (const unsigned char *)answer.p;

    if ((answer.n >= 1 && p[0] != 21 && p[0] != 22) || (answer.n >= 2 && p[1] != 3) || (answer.n >= 3 && p[2] > 4))
        return 0;
    if (answer.n < 5)
        return -1;
    return p[3] <= 0x40 && (p[3] || p[4]);
}
