#include "smtp/tls_peer.h"

#include "smtp/crypto.h"
#include "smtp/tls_text.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

/* The chain a server sent, described: names, dates, keys, and each question of its verification asked alone. */

static void put(struct bytes_buf *b, char *out, size_t cap)
{
    snprintf(out, cap, "%s", b->p ? b->p : "");
    bytes_buf_deinit(b);
}

static void name_text(const X509_NAME *name, char out[200])
{
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    tls_text_add_name(&b, name, 199);
    put(&b, out, 200);
}

static int64_t seconds(const ASN1_TIME *t)
{
    struct tm tm;

    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void read_names(X509 *cert, struct tls_cert *out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
        struct bytes_buf b;
        if (g->type != GEN_DNS && g->type != GEN_IPADD)
            continue;
        if (out->n_names == TLS_CERT_NAMES_MAX) {
            out->names_cut = true;
            break;
        }
        bytes_buf_init(&b, 0);
        if (g->type == GEN_DNS)
            tls_text_add_clean(&b, (const char *)ASN1_STRING_get0_data(g->d.dNSName),
                               (size_t)ASN1_STRING_length(g->d.dNSName));
        else
            tls_text_add_ip(&b, ASN1_STRING_get0_data(g->d.iPAddress), ASN1_STRING_length(g->d.iPAddress));
        put(&b, out->names[out->n_names++], sizeof(out->names[0]));
    }
    GENERAL_NAMES_free(names);
}

static void read_key(X509 *cert, char out[24])
{
    const EVP_PKEY *key = X509_get0_pubkey(cert);
    char curve[20];
    size_t n;

    if (!key)
        snprintf(out, 24, "unreadable");
    else if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, curve, sizeof(curve), &n) == 1)
        snprintf(out, 24, "EC %s", strcmp(curve, "prime256v1") == 0 ? "P-256" : curve);
    else if (EVP_PKEY_is_a(key, "RSA"))
        snprintf(out, 24, "RSA %d", EVP_PKEY_get_bits(key));
    else
        snprintf(out, 24, "%.23s", EVP_PKEY_get0_type_name(key) ? EVP_PKEY_get0_type_name(key) : "unknown");
}

static void read_digests(X509 *cert, struct tls_cert *out)
{
    unsigned char digest[EVP_MAX_MD_SIZE], *der = NULL;
    unsigned n = 0;
    struct bytes_buf b;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);

    if (X509_digest(cert, EVP_sha256(), digest, &n) == 1)
        for (unsigned i = 0; i < n && i < 32; i++)
            snprintf(out->sha256 + 2 * i, 3, "%02x", digest[i]);
    bytes_buf_init(&b, 0);
    bytes_buf_add_str(&b, "sha256/");
    crypto_sha256(bytes_view(der, len > 0 ? (size_t)len : 0), digest);
    crypto_base64(bytes_view(digest, 32), &b);
    put(&b, out->pin, sizeof(out->pin));
    OPENSSL_free(der);
}

static void read_cert(X509 *cert, struct tls_cert *out)
{
    int nid = X509_get_signature_nid(cert);

    name_text(X509_get_subject_name(cert), out->subject);
    name_text(X509_get_issuer_name(cert), out->issuer);
    read_names(cert, out);
    out->not_before = seconds(X509_get0_notBefore(cert));
    out->not_after = seconds(X509_get0_notAfter(cert));
    read_key(cert, out->key);
    snprintf(out->signature, sizeof(out->signature), "%s", nid == NID_undef ? "unknown" : OBJ_nid2sn(nid));
    read_digests(cert, out);
    out->self_signed = X509_self_signed(cert, 0) == 1;
    out->ca = X509_check_ca(cert) >= 1;
}

/* ---- the questions ---- */

struct finding {
    bool good;
    int error;
    X509 *at;                           /* the certificate at fault, lent by the chain */
};

/* Is there a way from the leaf to an authority of the store, whatever the dates and the name? */
static struct finding trust(X509_STORE *store, X509 *leaf, STACK_OF(X509) *chain)
{
    X509_STORE_CTX *x = X509_STORE_CTX_new();
    struct finding f = {.error = X509_V_ERR_UNSPECIFIED};
    X509 *at;

    if (x && X509_STORE_CTX_init(x, store, leaf, chain) == 1) {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(x);
        X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
        X509_VERIFY_PARAM_clear_flags(param, X509_V_FLAG_CRL_CHECK);
        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_NO_CHECK_TIME);
        X509_VERIFY_PARAM_set_auth_level(param, 2);
        f.good = X509_verify_cert(x) == 1;
        f.error = X509_STORE_CTX_get_error(x);
        at = X509_STORE_CTX_get_current_cert(x);
        for (int i = 0; at && i < sk_X509_num(chain); i++)
            if (X509_cmp(sk_X509_value(chain, i), at) == 0)
                f.at = sk_X509_value(chain, i);
    }
    X509_STORE_CTX_free(x);
    ERR_clear_error();
    return f;
}

static void read_url(X509 *cert, char *out, size_t cap)
{
    AUTHORITY_INFO_ACCESS *aia = X509_get_ext_d2i(cert, NID_info_access, NULL, NULL);

    for (int i = 0; i < sk_ACCESS_DESCRIPTION_num(aia) && !out[0]; i++) {
        const ACCESS_DESCRIPTION *a = sk_ACCESS_DESCRIPTION_value(aia, i);
        struct bytes_buf b;
        if (OBJ_obj2nid(a->method) != NID_ad_ca_issuers || a->location->type != GEN_URI)
            continue;
        bytes_buf_init(&b, 0);
        tls_text_add_clean(&b, (const char *)ASN1_STRING_get0_data(a->location->d.uniformResourceIdentifier),
                           (size_t)ASN1_STRING_length(a->location->d.uniformResourceIdentifier));
        put(&b, out, cap);
    }
    AUTHORITY_INFO_ACCESS_free(aia);
}

static void read_missing(const struct finding *f, struct tls_chain *out)
{
    if (f->error != X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT && f->error != X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY &&
        f->error != X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE)
        return;
    if (!f->at)
        return;
    name_text(X509_get_issuer_name(f->at), out->missing_issuer);
    read_url(f->at, out->missing_url, sizeof(out->missing_url));
}

/* Would trust in the last certificate alone do? Only then is it worth to be shown as a ca_file. */
static void read_anchor(X509 *leaf, STACK_OF(X509) *chain, struct tls_chain *out)
{
    X509 *last = sk_X509_value(chain, sk_X509_num(chain) - 1);
    X509_STORE *store = X509_STORE_new();
    BIO *bio = BIO_new(BIO_s_mem());
    char *p = NULL;
    long n;

    if (store && bio && X509_STORE_add_cert(store, last) == 1 && trust(store, leaf, chain).good &&
        PEM_write_bio_X509(bio, last) == 1) {
        n = BIO_get_mem_data(bio, &p);
        if (n > 0 && (size_t)n < sizeof(out->anchor_pem))
            memcpy(out->anchor_pem, p, (size_t)n);
    }
    BIO_free(bio);
    X509_STORE_free(store);
    ERR_clear_error();
}

static bool matches(X509 *leaf, const char *host, bool is_ip)
{
    return is_ip ? X509_check_ip_asc(leaf, host, 0) == 1
                 : X509_check_host(leaf, host, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
                                                      X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

static bool in_dates(const struct tls_chain *c)
{
    for (unsigned i = 0; i < c->n; i++)
        if (c->now < c->v[i].not_before || c->now > c->v[i].not_after)
            return false;
    return true;
}

void tls_peer_read_chain(SSL *ssl, const char *host, bool host_is_ip, struct tls_chain *out)
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    X509 *leaf = sk_X509_value(chain, 0);
    struct finding f;

    memset(out, 0, sizeof(*out));
    out->now = (int64_t)time(NULL);
    if (!leaf)
        return;
    out->sent = (unsigned)sk_X509_num(chain);
    while (out->n < out->sent && out->n < TLS_CHAIN_MAX) {
        read_cert(sk_X509_value(chain, (int)out->n), &out->v[out->n]);
        out->n++;
    }
    f = trust(SSL_CTX_get_cert_store(SSL_get_SSL_CTX(ssl)), leaf, chain);
    out->trusted = f.good;
    out->name_matches = matches(leaf, host, host_is_ip);
    out->dates_good = in_dates(out);
    if (!f.good) {
        read_missing(&f, out);
        read_anchor(leaf, chain, out);
    }
    ERR_clear_error();
}
