#include "smtp/cert.h"

#include "smtp/crypto.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

/* A CA that signs one certificate and forgets its key. */

static int add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;
    int good;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    good = ext && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return good ? 0 : -1;
}

/* RFC 5280 §4.1.2.2: the serial number is positive and at most 20 octets. */
static int set_serial(X509 *cert)
{
    unsigned char serial[16];
    BIGNUM *n;
    int good;

    crypto_random(serial, sizeof(serial));
    serial[0] = (unsigned char)((serial[0] & 0x7F) | 0x40);
    n = BN_bin2bn(serial, sizeof(serial), NULL);
    good = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
    BN_free(n);
    return good ? 0 : -1;
}

static X509 *certificate_new(EVP_PKEY *key, const char *name, const X509_NAME *issuer)
{
    X509 *cert = X509_new();
    X509_NAME *subject = cert ? X509_get_subject_name(cert) : NULL;

    if (cert && key && X509_set_version(cert, 2) && set_serial(cert) == 0 &&
        X509_gmtime_adj(X509_getm_notBefore(cert), -3600) && X509_gmtime_adj(X509_getm_notAfter(cert), 365L * 86400) &&
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0) &&
        X509_set_issuer_name(cert, issuer ? issuer : subject) && X509_set_pubkey(cert, key))
        return cert;
    X509_free(cert);
    return NULL;
}

static char *text_of(BIO *bio)
{
    char *p = NULL;
    long n = bio ? BIO_get_mem_data(bio, &p) : 0;

    return n > 0 ? strndup(p, (size_t)n) : NULL;
}

static char *certificate_text(X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = bio && PEM_write_bio_X509(bio, cert) ? text_of(bio) : NULL;

    BIO_free(bio);
    return text;
}

static char *key_text(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) ? text_of(bio) : NULL;

    BIO_free(bio);                      /* overwrites its memory */
    return text;
}

static X509 *make_ca(EVP_PKEY *key)
{
    X509 *ca = certificate_new(key, "mailhatch sandbox CA", NULL);

    if (ca && add_extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") == 0 &&
        add_extension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign") == 0 &&
        add_extension(ca, ca, NID_subject_key_identifier, "hash") == 0 && X509_sign(ca, key, EVP_sha256()))
        return ca;
    X509_free(ca);
    return NULL;
}

static X509 *make_leaf(EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key)
{
    X509 *leaf = ca ? certificate_new(key, "mailhatch sandbox", X509_get_subject_name(ca)) : NULL;

    if (leaf && add_extension(leaf, ca, NID_basic_constraints, "critical,CA:FALSE") == 0 &&
        add_extension(leaf, ca, NID_key_usage, "critical,digitalSignature") == 0 &&
        add_extension(leaf, ca, NID_ext_key_usage, "serverAuth") == 0 &&
        add_extension(leaf, ca, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1,IP:::1") == 0 &&
        add_extension(leaf, ca, NID_authority_key_identifier, "keyid:always") == 0 &&
            X509_sign(leaf, ca_key, EVP_sha256()))
        return leaf;
    X509_free(leaf);
    return NULL;
}

int cert_set_make(struct cert_set *out)
{
    EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
    X509 *ca = make_ca(ca_key), *leaf = make_leaf(key, ca, ca_key);

    memset(out, 0, sizeof(*out));
    if (leaf) {
        out->ca_pem = certificate_text(ca);
        out->chain_pem = certificate_text(leaf);
        out->key_pem = key_text(key);
    }
    X509_free(leaf);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    if (out->ca_pem && out->chain_pem && out->key_pem)
        return 0;
    cert_set_deinit(out);
    return -1;
}

void cert_set_deinit(struct cert_set *c)
{
    free(c->ca_pem);
    free(c->chain_pem);
    crypto_cleanse_free(c->key_pem);
    memset(c, 0, sizeof(*c));
}
