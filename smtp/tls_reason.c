#include "smtp/tls_reason.h"

#include "smtp/tls_text.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

/* From OpenSSL's verify results, error queue and alerts to the taxonomy, with a sentence that names what was wrong. */

static void set(struct smtp_outcome *out, enum outcome_code code, struct bytes_buf *reason)
{
    outcome_set_local(out, code, STAGE_TLS, DELIVERY_NOT_SENT, reason->p ? reason->p : "");
    bytes_buf_deinit(reason);
}

static void add_name(struct bytes_buf *b, const X509_NAME *name)
{
    bytes_buf_add_char(b, '"');
    tls_text_add_name(b, name, 80);
    bytes_buf_add_char(b, '"');
}

static void add_time(struct bytes_buf *b, const ASN1_TIME *t)
{
    struct tm tm;

    if (ASN1_TIME_to_tm(t, &tm) == 1)
        bytes_buf_printf(b, "%04d-%02d-%02d %02d:%02d UTC", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                         tm.tm_min);
    else
        bytes_buf_add_str(b, "an unreadable date");
}

/* ASN1_TIME_diff(3): NULL is now, by this machine's clock, which may be what is wrong. */
static void add_days(struct bytes_buf *b, const ASN1_TIME *from, const ASN1_TIME *to, const char *when)
{
    int days, seconds;

    if (ASN1_TIME_diff(&days, &seconds, from, to) == 1)
        bytes_buf_printf(b, ", %s%d days%s by this machine's clock", from ? "" : when, days, from ? when : "");
}

static void add_san(struct bytes_buf *b, X509 *cert)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    int shown = 0;

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
        if (g->type != GEN_DNS && g->type != GEN_IPADD)
            continue;
        bytes_buf_add_str(b, shown++ ? ", " : " It has: ");
        if (g->type == GEN_DNS)
            tls_text_add_clean(b, (const char *)ASN1_STRING_get0_data(g->d.dNSName),
                               (size_t)ASN1_STRING_length(g->d.dNSName));
        else
            tls_text_add_ip(b, ASN1_STRING_get0_data(g->d.iPAddress), ASN1_STRING_length(g->d.iPAddress));
    }
    if (!shown)
        bytes_buf_add_str(b, " It has no subjectAltName at all; a common name does not count.");
    GENERAL_NAMES_free(names);
}

/* ---- certificates ---- */

static enum outcome_code code_of_verify(int error)
{
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return OUTCOME_TLS_CERT_EXPIRED;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return OUTCOME_TLS_CERT_NOT_YET_VALID;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return OUTCOME_TLS_CERT_NAME_MISMATCH;
    case X509_V_ERR_CERT_REVOKED:
        return OUTCOME_TLS_CERT_REVOKED;
    case X509_V_ERR_EE_KEY_TOO_SMALL:
    case X509_V_ERR_CA_KEY_TOO_SMALL:
    case X509_V_ERR_CA_MD_TOO_WEAK:
        return OUTCOME_TLS_CERT_WEAK;
    default:                            /* not an enum */
        return OUTCOME_TLS_CERT_UNTRUSTED;
    }
}

static void add_untrusted(struct bytes_buf *b, X509_STORE_CTX *x, X509 *cert, int error)
{
    switch (error) {
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        bytes_buf_add_str(b, "The certificate is self-signed and not among the trusted ones: ");
        add_name(b, X509_get_subject_name(cert));
        return;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        bytes_buf_add_str(b, "The chain ends in a CA that is not trusted: ");
        add_name(b, X509_get_subject_name(cert));
        return;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        bytes_buf_add_str(b, "The issuer is unknown: ");
        add_name(b, X509_get_issuer_name(cert));
        if (sk_X509_num(X509_STORE_CTX_get0_untrusted(x)) <= 1)
            bytes_buf_add_str(b, ". The server sent one certificate only; an intermediate may be missing");
        return;
    case X509_V_ERR_UNABLE_TO_GET_CRL:
        bytes_buf_add_str(b, "The CRL file has no list of the issuer ");
        add_name(b, X509_get_issuer_name(cert));
        return;
    default:                            /* not an enum */
        bytes_buf_printf(b, "The certificate cannot be trusted (%s): ", X509_verify_cert_error_string(error));
        add_name(b, X509_get_subject_name(cert));
    }
}

static void add_about(struct bytes_buf *b, const char *what, X509 *cert)
{
    bytes_buf_add_str(b, what);
    add_name(b, X509_get_subject_name(cert));
}

void tls_reason_certificate(X509_STORE_CTX *x, const char *host, struct smtp_outcome *out)
{
    int error = X509_STORE_CTX_get_error(x);
    enum outcome_code code = code_of_verify(error);
    X509 *cert = X509_STORE_CTX_get_current_cert(x);
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    if (!cert)
        cert = X509_STORE_CTX_get0_cert(x);
    if (!cert) {
        bytes_buf_printf(&b, "There is no certificate to verify (%s)", X509_verify_cert_error_string(error));
    } else if (code == OUTCOME_TLS_CERT_EXPIRED) {
        add_about(&b, "The certificate of ", cert);
        bytes_buf_add_str(&b, " expired on ");
        add_time(&b, X509_get0_notAfter(cert));
        add_days(&b, X509_get0_notAfter(cert), NULL, " ago");
    } else if (code == OUTCOME_TLS_CERT_NOT_YET_VALID) {
        add_about(&b, "The certificate of ", cert);
        bytes_buf_add_str(&b, " is valid only from ");
        add_time(&b, X509_get0_notBefore(cert));
        add_days(&b, NULL, X509_get0_notBefore(cert), "in ");
    } else if (code == OUTCOME_TLS_CERT_NAME_MISMATCH) {
        bytes_buf_printf(&b, "The certificate is not for %s.", host);
        add_san(&b, cert);
    } else if (code == OUTCOME_TLS_CERT_REVOKED) {
        add_about(&b, "The certificate is revoked by its issuer: ", cert);
    } else if (code == OUTCOME_TLS_CERT_WEAK) {
        bytes_buf_printf(&b, "%s: ", X509_verify_cert_error_string(error));
        add_name(&b, X509_get_subject_name(cert));
    } else {
        add_untrusted(&b, x, cert, error);
    }
    set(out, code, &b);
}

void tls_reason_pins(size_t n, const char *leaf_pin, struct smtp_outcome *out)
{
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    bytes_buf_printf(&b, "None of the %zu pins is in the chain; the server's certificate has %s", n, leaf_pin);
    set(out, OUTCOME_TLS_PIN_MISMATCH, &b);
}

/* ---- the handshake ---- */

static bool is_text(struct bytes_view v)
{
    for (size_t i = 0; i < v.n; i++)
        if (((unsigned char)v.p[i] < 0x20 && v.p[i] != '\r' && v.p[i] != '\n' && v.p[i] != '\t') ||
            (unsigned char)v.p[i] > 0x7E)
            return false;
    return v.n >= 3;
}

/* RFC 5246 §6.2.1, §7.4.1.3: content type 22, record version, length; then server_hello (2), length, version. */
static unsigned server_hello_version(struct bytes_view v)
{
    const unsigned char *p = (const unsigned char *)v.p;

    return v.n >= 11 && p[0] == 22 && p[1] == 3 && p[5] == 2 ? (unsigned)(p[9] << 8 | p[10]) : 0;
}

/* The first error of the TLS library itself tells most; what other libraries add came before it or after. */
static unsigned long first_error(void)
{
    unsigned long e, chosen = 0;

    while ((e = ERR_get_error()))
        if (!chosen || (ERR_GET_LIB(chosen) != ERR_LIB_SSL && ERR_GET_LIB(e) == ERR_LIB_SSL))
            chosen = e;
    return chosen;
}

static int alert_of(unsigned long e)
{
    int reason = ERR_GET_REASON(e);

    return ERR_GET_LIB(e) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256
               ? reason - SSL_AD_REASON_OFFSET
               : -1;
}

/* TLS 1.2 has no alert of its own for a missing client certificate (RFC 5246 §7.4.6: handshake_failure). */
static bool is_about_client_cert(int alert, bool asked)
{
    switch (alert) {
    case SSL_AD_CERTIFICATE_REQUIRED:
        return true;
    case SSL_AD_HANDSHAKE_FAILURE:
    case SSL_AD_NO_CERTIFICATE:
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
        return asked;
    default:                            /* not an enum */
        return false;
    }
}

static bool is_about_version(unsigned long e, int alert)
{
    int reason = ERR_GET_REASON(e);

    if (alert >= 0 || ERR_GET_LIB(e) != ERR_LIB_SSL)
        return alert == SSL_AD_PROTOCOL_VERSION;
    return reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_WRONG_SSL_VERSION ||
        reason == SSL_R_VERSION_TOO_LOW ||
           reason == SSL_R_VERSION_TOO_HIGH || reason == SSL_R_NO_PROTOCOLS_AVAILABLE;
}

static void add_version(struct bytes_buf *b, unsigned version)
{
    if (version == 0x0300)
        bytes_buf_add_str(b, "The server answered with SSL 3.0; TLS 1.2 or newer is needed");
    else if (version == 0x0301 || version == 0x0302)
        bytes_buf_printf(b, "The server answered with TLS 1.%u; TLS 1.2 or newer is needed", (version & 0xFF) - 1);
    else
        bytes_buf_add_str(b, "The server and mailhatch have no TLS version in common; TLS 1.2 or newer is needed");
}

static void add_error(struct bytes_buf *b, unsigned long e, int alert)
{
    const char *why = e ? ERR_reason_error_string(e) : NULL;

    if (alert >= 0)
        bytes_buf_printf(b, "The peer sent TLS alert %d (%s)", alert, SSL_alert_desc_string_long(alert));
    else
        bytes_buf_printf(b, "TLS failed here: %s", why ? why : "no reason known");
}

static size_t trimmed(struct bytes_view v)
{
    while (v.n && (unsigned char)v.p[v.n - 1] <= ' ')
        v.n--;
    return v.n;
}

static enum outcome_code judge(const struct tls_trouble *t, unsigned long e, int alert, struct bytes_buf *b)
{
    unsigned version = server_hello_version(t->first);

    if (is_about_client_cert(alert, t->client_cert_asked)) {
        bytes_buf_printf(b, "The server wants a client certificate; it sent TLS alert %d (%s)", alert,
                         SSL_alert_desc_string_long(alert));
        return OUTCOME_TLS_CLIENT_CERT_REJECTED;
    }
    if (t->handshaken && !t->eof) {
        add_error(b, e, alert);
        return OUTCOME_PROTOCOL_ERROR;
    }
    if (is_text(t->first)) {
        bytes_buf_add_str(b, "The server's first bytes are plain text: ");
        tls_text_add_clean(b, t->first.p, trimmed(t->first));
        return OUTCOME_TLS_ON_PLAINTEXT_PORT;
    }
    if (is_about_version(e, alert) || (version && version < 0x0303)) {
        add_version(b, version);
        return OUTCOME_TLS_VERSION_UNSUPPORTED;
    }
    if (t->eof) {
        bytes_buf_printf(b, "The server closed the connection%s", t->handshaken ? ""
                            : t->first.n
                                ? " in the middle of the TLS handshake" : " without an answer to the ClientHello");
        return OUTCOME_TLS_CLOSED;
    }
    add_error(b, e, alert);
    return OUTCOME_TLS_HANDSHAKE_FAILED;
}

void tls_reason_failure(const struct tls_trouble *t, struct smtp_outcome *out)
{
    unsigned long e = first_error();
    struct bytes_buf b;
    enum outcome_code code;

    bytes_buf_init(&b, 0);
    code = judge(t, e, alert_of(e), &b);
    set(out, code, &b);
}
