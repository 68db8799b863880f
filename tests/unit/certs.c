#include "tests/unit/certs.h"

#include "smtp/crypto.h"

#include <check.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Certificates and OpenSSL servers for tests. */

static void add(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ck_assert(ext && X509_add_ext(cert, ext, -1) == 1);
    X509_EXTENSION_free(ext);
}

void made_init(struct made *m, const struct made_spec *spec)
{
    static long serial = 1;
    bool now = !spec->from_s && !spec->until_s;
    X509 *c = X509_new(), *issuer = spec->issuer ? spec->issuer->cert : c;

    m->cert = c;
    m->key = spec->rsa_bits ? EVP_RSA_gen((unsigned)spec->rsa_bits) : EVP_EC_gen("P-256");
    ck_assert(c && m->key && X509_set_version(c, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(c), serial++) == 1);
    X509_gmtime_adj(X509_getm_notBefore(c), now ? -3600 : spec->from_s);
    X509_gmtime_adj(X509_getm_notAfter(c), now ? 3600 : spec->until_s);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_UTF8, (const unsigned char *)spec->name, -1,
                               -1, 0);
    X509_set_issuer_name(c, X509_get_subject_name(issuer));
    X509_set_pubkey(c, m->key);
    add(c, issuer, NID_basic_constraints, spec->ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (!spec->ca)
        add(c, issuer, NID_ext_key_usage, spec->eku ? spec->eku : "serverAuth");
    if (spec->san)
        add(c, issuer, NID_subject_alt_name, spec->san);
    ck_assert(X509_sign(c, spec->issuer ? spec->issuer->key : m->key, spec->sha1 ? EVP_sha1() : EVP_sha256()));
}

void made_deinit(struct made *m)
{
    X509_free(m->cert);
    EVP_PKEY_free(m->key);
}

static char *taken(BIO *bio)
{
    char *p = NULL, *text;
    long n = BIO_get_mem_data(bio, &p);

    text = strndup(p, (size_t)n);
    BIO_free(bio);
    return text;
}

char *made_pem(const struct made *m)
{
    BIO *bio = BIO_new(BIO_s_mem());

    PEM_write_bio_X509(bio, m->cert);
    return taken(bio);
}

char *made_pem_file(const struct made *m)
{
    char path[] = "/tmp/mailhatch-pem-XXXXXX", *pem = made_pem(m);
    FILE *f = fdopen(mkstemp(path), "w");

    ck_assert(f && fputs(pem, f) >= 0 && fclose(f) == 0);
    free(pem);
    return strdup(path);
}

char *made_key_pem(const struct made *m)
{
    BIO *bio = BIO_new(BIO_s_mem());

    PEM_write_bio_PrivateKey(bio, m->key, NULL, NULL, 0, NULL, NULL);
    return taken(bio);
}

void made_pin(const struct made *m, char out[64])
{
    unsigned char *der = NULL, digest[32];
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(m->cert), &der);
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    crypto_sha256(bytes_view(der, (size_t)n), digest);
    crypto_base64(bytes_view(digest, sizeof(digest)), &b);
    snprintf(out, 64, "sha256/%s", b.p);
    bytes_buf_deinit(&b);
    OPENSSL_free(der);
}

char *made_crl_file(const struct made *ca, const struct made *revoked)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *now = X509_gmtime_adj(NULL, -60), *then = X509_gmtime_adj(NULL, 3600);
    char path[] = "/tmp/mailhatch-crl-XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");

    X509_CRL_set_version(crl, 1);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert));
    X509_CRL_set1_lastUpdate(crl, now);
    X509_CRL_set1_nextUpdate(crl, then);
    if (revoked) {
        X509_REVOKED *r = X509_REVOKED_new();
        X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(revoked->cert));
        X509_REVOKED_set_revocationDate(r, now);
        X509_CRL_add0_revoked(crl, r);
    }
    X509_CRL_sort(crl);
    ck_assert(X509_CRL_sign(crl, ca->key, EVP_sha256()) && f && PEM_write_X509_CRL(f, crl));
    fclose(f);
    X509_CRL_free(crl);
    ASN1_TIME_free(now);
    ASN1_TIME_free(then);
    return strdup(path);
}

SSL_CTX *peer_context(const struct made *leaf, const struct made *intermediate, int min_version, int max_version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    ck_assert(ctx && SSL_CTX_set_cipher_list(ctx, "ALL:@SECLEVEL=0") == 1);
    SSL_CTX_set_security_level(ctx, 0);
    ck_assert(SSL_CTX_set_min_proto_version(ctx, min_version) && SSL_CTX_set_max_proto_version(ctx, max_version));
    ck_assert(SSL_CTX_use_certificate(ctx, leaf->cert) == 1 && SSL_CTX_use_PrivateKey(ctx, leaf->key) == 1);
    if (intermediate)
        ck_assert(SSL_CTX_add1_chain_cert(ctx, intermediate->cert) == 1);
    return ctx;
}

SSL *peer_new(SSL_CTX *ctx)
{
    SSL *ssl = SSL_new(ctx);

    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(ssl);
    return ssl;
}
