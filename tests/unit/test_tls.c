#include "smtp/tls.h"

#include "smtp/cert.h"
#include "tests/unit/certs.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Client against server in memory: every reason a handshake can fail for, fed whole and byte by byte, on TLS 1.2 and
 * 1.3. */

static struct made root, sub, other_root;

static void set_up(void)
{
    made_init(&root, &(struct made_spec){.name = "Test Root", .ca = 1});
    made_init(&sub, &(struct made_spec){.name = "Test Intermediate", .ca = 1, .issuer = &root});
    made_init(&other_root, &(struct made_spec){.name = "Other Root", .ca = 1});
}

static void tear_down(void)
{
    made_deinit(&root);
    made_deinit(&sub);
    made_deinit(&other_root);
}

/* ---- pumping ---- */

static void to_peer(struct tls *t, SSL *peer)
{
    struct bytes_view v = bytes_queue_view(tls_output(t));

    if (v.n)
        ck_assert_int_eq(BIO_write(SSL_get_rbio(peer), v.p, (int)v.n), (int)v.n);
    bytes_queue_consume(tls_output(t), v.n);
}

/* Feeds all that the peer has for us; gives the last status. */
static enum tls_status from_peer(struct tls *t, SSL *peer, bool bytewise)
{
    char *p = NULL;
    long n = BIO_get_mem_data(SSL_get_wbio(peer), &p);
    enum tls_status status = TLS_WANT_READ;

    for (long i = 0, step; i < n && status == TLS_WANT_READ; i += step) {
        step = bytewise ? 1 : n;
        char *copy = malloc((size_t)step);      /* so that a use after return is seen */
        memcpy(copy, p + i, (size_t)step);
        tls_feed(t, bytes_view(copy, (size_t)step));
        status = tls_handshake(t);
        if (status == TLS_OK) {
            char byte;
            size_t got;
            if (i + step < n)
                tls_feed(t, bytes_view(p + i + step, (size_t)(n - i - step)));
            ck_assert_int_ne(tls_read(t, &byte, 1, &got), TLS_OK);
        }
        free(copy);
    }
    BIO_reset(SSL_get_wbio(peer));
    return status;
}

static enum tls_status shake(struct tls *t, SSL *peer, bool bytewise)
{
    enum tls_status status = tls_handshake(t);

    for (int round = 0; round < 10 && status == TLS_WANT_READ; round++) {
        to_peer(t, peer);
        SSL_do_handshake(peer);
        status = from_peer(t, peer, bytewise);
    }
    to_peer(t, peer);
    if (status == TLS_OK)
        SSL_do_handshake(peer);
    return status;
}

static struct tls_context *client(const struct tls_client_params *p)
{
    char err[200];
    struct tls_context *c = tls_context_new_client(p, err);

    ck_assert_msg(c != NULL, "%s", err);
    return c;
}

struct trial {
    const struct made *leaf, *intermediate, *trusted;
    const char *host, *pins, *crl_file, *ca_file;       /* ca_file: in place of `trusted` */
    int min_version, max_version;
    bool bytewise;
};

static struct tls_client_params params_of(const struct trial *f, const char *ca)
{
    return (struct tls_client_params){.host = f->host ? f->host : "mail.example.com", .ca_file = f->ca_file,
                                      .ca_pem = f->ca_file ? NULL : ca, .pins = f->pins, .crl_file = f->crl_file};
}

/* The same server under `inspect`: the handshake ends, is not called verified, and the verdict is the failure. */
static void expect_same_verdict(const struct trial *f, enum tls_status status, const struct smtp_outcome *failure)
{
    char *ca = made_pem(f->trusted ? f->trusted : &root);
    struct tls_client_params p = params_of(f, ca);
    struct tls_context *c;
    struct tls *t;
    SSL_CTX *peer_ctx = peer_context(f->leaf, f->intermediate, f->min_version, f->max_version);
    SSL *peer = peer_new(peer_ctx);
    struct smtp_outcome verdict = {.code = OUTCOME_SENT};
    struct tls_facts facts;
    struct tls_chain *chain = calloc(1, sizeof(*chain));

    p.inspect = true;
    c = client(&p);
    t = tls_new(c);
    if (shake(t, peer, f->bytewise) == TLS_OK) {
        ck_assert_int_eq(tls_get_verdict(t, &verdict), status == TLS_OK);
        tls_get_facts(t, &facts);
        ck_assert_int_eq(facts.verified, status == TLS_OK);
        tls_get_chain(t, chain);
        ck_assert_uint_eq(chain->n, f->intermediate ? 2 : 1);
        ck_assert_uint_eq(strlen(chain->v[0].sha256), 64);
        ck_assert(chain->trusted || status != TLS_OK);
    } else {
        tls_get_failure(t, &verdict);
    }
    ck_assert_int_eq(verdict.code, failure->code);
    ck_assert_str_eq(verdict.reason, failure->reason);
    free(chain);
    tls_context_free(c);
    tls_free(t);
    SSL_free(peer);
    SSL_CTX_free(peer_ctx);
    free(ca);
}

static enum tls_status try(const struct trial *f, struct smtp_outcome *out)
{
    char *ca = made_pem(f->trusted ? f->trusted : &root);
    struct tls_client_params p = params_of(f, ca);
    struct tls_context *c = client(&p);
    struct tls *t = tls_new(c);
    SSL_CTX *peer_ctx = peer_context(f->leaf, f->intermediate, f->min_version, f->max_version);
    SSL *peer = peer_new(peer_ctx);
    enum tls_status status;
    struct tls_facts facts;

    tls_context_free(c);                /* the connection keeps it */
    ck_assert(t != NULL);
    status = shake(t, peer, f->bytewise);
    memset(out, 0, sizeof(*out));
    tls_get_facts(t, &facts);
    ck_assert_int_eq(facts.verified, status == TLS_OK);
    if (status != TLS_OK) {
        tls_get_failure(t, out);
        ck_assert_int_eq(out->stage, STAGE_TLS);
        ck_assert_int_eq(out->delivery, DELIVERY_NOT_SENT);
        ck_assert_int_eq(tls_handshake(t), status);             /* it stays dead */
    }
    tls_free(t);
    SSL_free(peer);
    SSL_CTX_free(peer_ctx);
    free(ca);
    expect_same_verdict(f, status, out);
    return status;
}

/* On each version, whole and byte by byte. */
static void expect(struct trial f, enum outcome_code code, const char *reason)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

    for (int i = 0; i < 4; i++) {
        struct smtp_outcome out;
        enum tls_status status;
        f.max_version = versions[i & 1];
        f.bytewise = i >> 1;
        status = try(&f, &out);
        ck_assert_int_eq(status, code == OUTCOME_SENT ? TLS_OK : TLS_FAILED);
        ck_assert_msg(out.code == code, "%s: %s", outcome_code_name(out.code), out.reason);
        ck_assert_msg(!reason || strstr(out.reason, reason), "%s", out.reason);
    }
}

/* ---- what is good ---- */

#define LEAF_OF(ca, ...) made_init(&leaf, &(struct made_spec){.name = "mail.example.com", .issuer = ca, __VA_ARGS__})
#define LEAF(...) LEAF_OF(&root, __VA_ARGS__)

START_TEST(good_names)
{
    struct made leaf;

    LEAF(.san = "DNS:mail.example.com,DNS:*.example.net,IP:192.0.2.7,IP:2001:db8::7");
    expect((struct trial){.leaf = &leaf}, OUTCOME_SENT, NULL);
    expect((struct trial){.leaf = &leaf, .host = "MAIL.example.COM."}, OUTCOME_SENT, NULL);
    expect((struct trial){.leaf = &leaf, .host = "a.example.net"}, OUTCOME_SENT, NULL);
    expect((struct trial){.leaf = &leaf, .host = "192.0.2.7"}, OUTCOME_SENT, NULL);
    expect((struct trial){.leaf = &leaf, .host = "[2001:db8::7]"}, OUTCOME_SENT, NULL);
    made_deinit(&leaf);
}
END_TEST

START_TEST(good_with_intermediate)
{
    struct made leaf;

    LEAF_OF(&sub, .san = "DNS:mail.example.com");
    expect((struct trial){.leaf = &leaf, .intermediate = &sub}, OUTCOME_SENT, NULL);
    made_deinit(&leaf);
}
END_TEST

/* ---- anchors that are no roots ---- */

static void expect_with(const struct made *anchor, struct trial f, enum outcome_code code, const char *reason)
{
    char *path = made_pem_file(anchor);

    f.ca_file = path;
    expect(f, code, reason);
    unlink(path);
    free(path);
}

START_TEST(ca_file_may_hold_what_is_no_root)
{
    struct made leaf, twin;

    LEAF_OF(&sub, .san = "DNS:mail.example.com");
    made_init(&twin, &(struct made_spec){.name = "mail.example.com", .san = "DNS:mail.example.com", .issuer = &sub});
    expect_with(&leaf, (struct trial){.leaf = &leaf}, OUTCOME_SENT, NULL);
    expect_with(&leaf, (struct trial){.leaf = &leaf, .intermediate = &sub}, OUTCOME_SENT, NULL);
    expect_with(&sub, (struct trial){.leaf = &leaf}, OUTCOME_SENT, NULL);
    expect_with(&sub, (struct trial){.leaf = &leaf, .intermediate = &sub}, OUTCOME_SENT, NULL);
    expect_with(&root, (struct trial){.leaf = &leaf, .intermediate = &sub}, OUTCOME_SENT, NULL);
    expect_with(&twin, (struct trial){.leaf = &leaf, .intermediate = &sub}, OUTCOME_TLS_CERT_UNTRUSTED, "issuer");
    expect_with(&other_root, (struct trial){.leaf = &leaf}, OUTCOME_TLS_CERT_UNTRUSTED, "issuer");
    expect_with(&leaf, (struct trial){.leaf = &leaf, .host = "mx.example.com"}, OUTCOME_TLS_CERT_NAME_MISMATCH, NULL);
    made_deinit(&leaf);
    made_deinit(&twin);
    LEAF(.san = "DNS:mail.example.com", .from_s = -7200, .until_s = -3600);
    expect_with(&leaf, (struct trial){.leaf = &leaf}, OUTCOME_TLS_CERT_EXPIRED, NULL);
    made_deinit(&leaf);
    LEAF(.san = "DNS:mail.example.com", .eku = "clientAuth");
    expect_with(&leaf, (struct trial){.leaf = &leaf}, OUTCOME_TLS_CERT_UNTRUSTED, "purpose");
    made_deinit(&leaf);
}
END_TEST

/* ---- certificates that are not ---- */

START_TEST(expired)
{
    struct made leaf;

    LEAF(.san = "DNS:mail.example.com", .from_s = -7200, .until_s = -3600);
    expect((struct trial){.leaf = &leaf}, OUTCOME_TLS_CERT_EXPIRED, "\"CN=mail.example.com\" expired on 20");
    made_deinit(&leaf);
}
END_TEST

START_TEST(not_yet_valid)
{
    struct made leaf;

    LEAF(.san = "DNS:mail.example.com", .from_s = 3600, .until_s = 7200);
    expect((struct trial){.leaf = &leaf}, OUTCOME_TLS_CERT_NOT_YET_VALID, "is valid only from 20");
    made_deinit(&leaf);
}
END_TEST

START_TEST(self_signed)
{
    struct made leaf;

    LEAF_OF(NULL, .san = "DNS:mail.example.com");
    expect((struct trial){.leaf = &leaf}, OUTCOME_TLS_CERT_UNTRUSTED,
           "self-signed and not among the trusted ones: \"CN=mail");
    made_deinit(&leaf);
}
END_TEST

START_TEST(unknown_root)
{
    struct made leaf;

    LEAF(.san = "DNS:mail.example.com");
    expect((struct trial){.leaf = &leaf, .trusted = &other_root}, OUTCOME_TLS_CERT_UNTRUSTED,
           "The issuer is unknown: \"CN=Test Root\"");
    expect((struct trial){.leaf = &leaf, .intermediate = &root, .trusted = &other_root}, OUTCOME_TLS_CERT_UNTRUSTED,
           "ends in a CA that is not trusted: \"CN=Test Root\"");
    made_deinit(&leaf);
}
END_TEST

START_TEST(missing_intermediate)
{
    struct made leaf;

    LEAF_OF(&sub, .san = "DNS:mail.example.com");
    expect((struct trial){.leaf = &leaf}, OUTCOME_TLS_CERT_UNTRUSTED,
           "\"CN=Test Intermediate\". The server sent one certificate only");
    made_deinit(&leaf);
}
END_TEST

START_TEST(wrong_purpose)
{
    struct made leaf;

    LEAF(.san = "DNS:mail.example.com", .eku = "clientAuth");
    expect((struct trial){.leaf = &leaf}, OUTCOME_TLS_CERT_UNTRUSTED, "purpose");
    made_deinit(&leaf);
}
END_TEST

START_TEST(wrong_names)
{
    struct made leaf;

    LEAF(.san = "DNS:mx.example.org,DNS:*.example.net,DNS:w*.example.com,IP:192.0.2.7");
    expect((struct trial){.leaf = &leaf}, OUTCOME_TLS_CERT_NAME_MISMATCH,
           "not for mail.example.com. It has: mx.example.org, *.example.net, w*.example.com, 192.0.2.7");
    expect((struct trial){.leaf = &leaf, .host = "a.b.example.net"}, OUTCOME_TLS_CERT_NAME_MISMATCH, NULL);
    expect((struct trial){.leaf = &leaf, .host = "www.example.com"}, OUTCOME_TLS_CERT_NAME_MISMATCH, NULL);
    expect((struct trial){.leaf = &leaf, .host = "192.0.2.8"}, OUTCOME_TLS_CERT_NAME_MISMATCH, "not for 192.0.2.8");
    made_deinit(&leaf);
}
END_TEST

START_TEST(common_name_does_not_count)
{
    struct made leaf;

    LEAF(.san = NULL);
    expect((struct trial){.leaf = &leaf}, OUTCOME_TLS_CERT_NAME_MISMATCH, "no subjectAltName");
    made_deinit(&leaf);
}
END_TEST

START_TEST(name_with_controls_stays_one_line)
{
    struct made leaf;

    made_init(&leaf, &(struct made_spec){.name = "evil\r\nname \xc3\xa9", .issuer = &root,
                                         .san = "DNS:mail.example.com",
                                         .from_s = -7200, .until_s = -3600});
    expect((struct trial){.leaf = &leaf}, OUTCOME_TLS_CERT_EXPIRED, "evil\\0D\\0Aname \xc3\xa9");
    made_deinit(&leaf);
}
END_TEST

START_TEST(revoked)
{
    struct made leaf;
    char *with, *without, *foreign;

    LEAF(.san = "DNS:mail.example.com");
    with = made_crl_file(&root, &leaf);
    without = made_crl_file(&root, NULL);
    foreign = made_crl_file(&other_root, NULL);
    expect((struct trial){.leaf = &leaf, .crl_file = with}, OUTCOME_TLS_CERT_REVOKED, "CN=mail.example.com");
    expect((struct trial){.leaf = &leaf, .crl_file = without}, OUTCOME_SENT, NULL);
    expect((struct trial){.leaf = &leaf, .crl_file = foreign}, OUTCOME_TLS_CERT_UNTRUSTED,
           "no list of the issuer \"CN=Test Root\"");
    unlink(with);
    unlink(without);
    unlink(foreign);
    free(with);
    free(without);
    free(foreign);
    made_deinit(&leaf);
}
END_TEST

START_TEST(weak)
{
    struct made leaf, sha1_sub;

    LEAF(.san = "DNS:mail.example.com", .rsa_bits = 1024);
    expect((struct trial){.leaf = &leaf}, OUTCOME_TLS_CERT_WEAK, "key too weak");
    made_deinit(&leaf);
    made_init(&sha1_sub, &(struct made_spec){.name = "Old Intermediate", .ca = 1, .issuer = &root, .sha1 = 1});
    LEAF_OF(&sha1_sub, .san = "DNS:mail.example.com");
    expect((struct trial){.leaf = &leaf, .intermediate = &sha1_sub}, OUTCOME_TLS_CERT_WEAK,
           "CA signature digest algorithm too weak");
    made_deinit(&leaf);
    made_deinit(&sha1_sub);
}
END_TEST

START_TEST(pins)
{
    struct made leaf;
    char own[64], ca[64], foreign[64], both[132];

    LEAF(.san = "DNS:mail.example.com");
    made_pin(&leaf, own);
    made_pin(&root, ca);
    made_pin(&other_root, foreign);
    snprintf(both, sizeof(both), "%s, %s", foreign, ca);
    expect((struct trial){.leaf = &leaf, .pins = own}, OUTCOME_SENT, NULL);
    expect((struct trial){.leaf = &leaf, .pins = ca}, OUTCOME_SENT, NULL);
    expect((struct trial){.leaf = &leaf, .pins = both}, OUTCOME_SENT, NULL);
    expect((struct trial){.leaf = &leaf, .pins = foreign}, OUTCOME_TLS_PIN_MISMATCH, own);
    expect((struct trial){.leaf = &leaf, .pins = own, .trusted = &other_root}, OUTCOME_TLS_CERT_UNTRUSTED, NULL);
    made_deinit(&leaf);
}
END_TEST

/* ---- other failures ---- */

START_TEST(old_versions)
{
    static const int versions[] = {TLS1_VERSION, TLS1_1_VERSION};
    struct made leaf;

    LEAF(.san = "DNS:mail.example.com");
    for (int i = 0; i < 4; i++) {
        struct smtp_outcome out;
        struct trial f = {.leaf = &leaf, .min_version = versions[i & 1], .max_version = versions[i & 1],
                          .bytewise = i >> 1};
        ck_assert_int_eq(try(&f, &out), TLS_FAILED);
        ck_assert_msg(out.code == OUTCOME_TLS_VERSION_UNSUPPORTED, "%s: %s", outcome_code_name(out.code), out.reason);
    }
    made_deinit(&leaf);
}
END_TEST

/* A diagnosis asks for one version at a time, whatever the certificate; the server's range decides. */
START_TEST(one_version_alone)
{
    static const int versions[] = {TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION};
    struct made leaf;

    LEAF_OF(&other_root, .san = "DNS:somebody.else");
    for (int i = 0; i < 16; i++) {
        int offered = i / 4, asked = i % 4;
        struct tls_context *c = client(&(struct tls_client_params){.host = "mail.example.com",
                                                                   .only = (enum tls_only)(TLS_ONLY_10 + asked)});
        struct tls *t = tls_new(c);
        SSL_CTX *peer_ctx = peer_context(&leaf, NULL, versions[offered], versions[offered]);
        SSL *peer = peer_new(peer_ctx);
        struct tls_facts facts;
        ck_assert_int_eq(shake(t, peer, false), offered == asked ? TLS_OK : TLS_FAILED);
        tls_get_facts(t, &facts);
        ck_assert(!facts.verified);
        tls_free(t);
        tls_context_free(c);
        SSL_free(peer);
        SSL_CTX_free(peer_ctx);
    }
    made_deinit(&leaf);
}
END_TEST

/* Bytes written by hand, in place of a server's answer. */
static void answer_by_hand(struct bytes_view answer, bool eof, bool bytewise, enum tls_status expected,
                           struct smtp_outcome *out)
{
    char *ca = made_pem(&root);
    struct tls_context *c = client(&(struct tls_client_params){.host = "mail.example.com", .ca_pem = ca});
    struct tls *t = tls_new(c);
    enum tls_status status = tls_handshake(t);

    ck_assert_int_eq(status, TLS_WANT_READ);
    for (size_t i = 0, step; i < answer.n && status == TLS_WANT_READ; i += step) {
        step = bytewise ? 1 : answer.n;
        tls_feed(t, bytes_view(answer.p + i, step));
        status = tls_handshake(t);
    }
    if (eof) {
        tls_eof(t);
        status = tls_handshake(t);
    }
    ck_assert_int_eq(status, expected);
    tls_get_failure(t, out);
    tls_free(t);
    tls_context_free(c);
    free(ca);
}

static const struct {
    const char *bytes;
    size_t n;
    bool eof;
    enum tls_status status;
    enum outcome_code code;
    const char *reason;
} by_hand[] = {
#define BYTES(s) s, sizeof(s) - 1
    {BYTES("220 mail.example.com ESMTP\r\n"), false, TLS_FAILED, OUTCOME_TLS_ON_PLAINTEXT_PORT, "plain text: 220 m"},
    {BYTES("554-no\r\n"), false, TLS_FAILED, OUTCOME_TLS_ON_PLAINTEXT_PORT, "554-n"},
    {BYTES("HTTP/1.1 400 Bad Request\r\n"), false, TLS_FAILED, OUTCOME_TLS_ON_PLAINTEXT_PORT, "HTTP"},
    {BYTES("220"), true, TLS_CLOSED, OUTCOME_TLS_ON_PLAINTEXT_PORT, "220"},
    {BYTES(""), true, TLS_CLOSED, OUTCOME_TLS_CLOSED, "without an answer"},
    {BYTES("\x16\x03\x03\x00"), true, TLS_CLOSED, OUTCOME_TLS_CLOSED, "in the middle"},
    {BYTES("\x15\x03\x03\x00\x02\x02\x28"), false, TLS_FAILED, OUTCOME_TLS_HANDSHAKE_FAILED,
     "alert 40 (handshake failure)"},
    {BYTES("\x15\x03\x03\x00\x02\x02\x28"), true, TLS_FAILED, OUTCOME_TLS_HANDSHAKE_FAILED, "alert 40"},
    {BYTES("\x15\x03\x01\x00\x02\x02\x46"), false, TLS_FAILED, OUTCOME_TLS_VERSION_UNSUPPORTED, "in common"},
    {BYTES("\x15\x03\x03\x00\x02\x02\x74"), false, TLS_FAILED, OUTCOME_TLS_CLIENT_CERT_REJECTED, "alert 116"},
    {BYTES("\x15\x03\x03\x00\x02\x01\x00"), false, TLS_CLOSED, OUTCOME_TLS_CLOSED, "closed the connection"},
    {BYTES("\x00\x01\x02\x03\x04\x05\x06\x07"), false, TLS_FAILED, OUTCOME_TLS_HANDSHAKE_FAILED, NULL},
    /* A ServerHello of TLS 1.0. */
    {BYTES("\x16\x03\x01\x00\x2a\x02\x00\x00\x26\x03\x01"
           "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\x00\xc0\x14\x00"), false, TLS_FAILED, OUTCOME_TLS_VERSION_UNSUPPORTED,
               "TLS 1.0"},
};

START_TEST(answers_by_hand)
{
    for (int bytewise = 0; bytewise < 2; bytewise++) {
        struct smtp_outcome out;
        answer_by_hand(bytes_view(by_hand[_i].bytes, by_hand[_i].n), by_hand[_i].eof, bytewise, by_hand[_i].status,
                       &out);
        ck_assert_msg(out.code == by_hand[_i].code, "%s: %s", outcome_code_name(out.code), out.reason);
        ck_assert_msg(!by_hand[_i].reason || strstr(out.reason, by_hand[_i].reason), "%s", out.reason);
    }
}
END_TEST

/* In TLS 1.3 the refusal comes after our handshake is done, at the first read (RFC 8446 §4.4.2.4). */
START_TEST(client_certificate_wanted)
{
    struct made leaf;
    char *ca = made_pem(&root), buf[16];

    LEAF(.san = "DNS:mail.example.com");
    for (int i = 0; i < 2; i++) {
        struct tls_context *c = client(&(struct tls_client_params){.host = "mail.example.com", .ca_pem = ca});
        struct tls *t = tls_new(c);
        SSL_CTX *ctx = peer_context(&leaf, NULL, 0, i ? TLS1_3_VERSION : TLS1_2_VERSION);
        struct smtp_outcome out;
        enum tls_status status;
        SSL *peer;
        size_t n;

        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        peer = peer_new(ctx);
        status = shake(t, peer, false);
        if (i) {
            char *p = NULL;
            long len = BIO_get_mem_data(SSL_get_wbio(peer), &p);
            ck_assert_int_eq(status, TLS_OK);
            tls_feed(t, bytes_view(p, (size_t)len));
            status = tls_read(t, buf, sizeof(buf), &n);
        }
        ck_assert_int_eq(status, TLS_FAILED);
        tls_get_failure(t, &out);
        ck_assert_msg(out.code == OUTCOME_TLS_CLIENT_CERT_REJECTED, "%s: %s", outcome_code_name(out.code), out.reason);
        tls_free(t);
        tls_context_free(c);
        SSL_free(peer);
        SSL_CTX_free(ctx);
    }
    free(ca);
    made_deinit(&leaf);
}
END_TEST

/* ---- after the handshake, our client and our server ---- */

struct pair {
    struct tls_context *client_ctx, *server_ctx;
    struct tls *client, *server;
};

static void move(struct tls *from, struct tls *to)
{
    struct bytes_view v = bytes_queue_view(tls_output(from));

    if (v.n)
        tls_feed(to, v);
}

static void pair_shake(struct pair *p)
{
    enum tls_status c = TLS_WANT_READ, s = TLS_WANT_READ;
    char buf[16];
    size_t n;

    p->client = tls_new(p->client_ctx);
    p->server = tls_new(p->server_ctx);
    for (int i = 0; i < 6 && (c != TLS_OK || s != TLS_OK); i++) {
        c = tls_handshake(p->client);
        move(p->client, p->server);
        s = tls_handshake(p->server);
        bytes_queue_consume(tls_output(p->client), bytes_queue_len(tls_output(p->client)));
        move(p->server, p->client);
        c = tls_handshake(p->client);
        if (c == TLS_OK)                /* the server's tickets */
            ck_assert_int_eq(tls_read(p->client, buf, sizeof(buf), &n), TLS_WANT_READ);
        bytes_queue_consume(tls_output(p->server), bytes_queue_len(tls_output(p->server)));
    }
    ck_assert(c == TLS_OK && s == TLS_OK);
}

static void pair_init(struct pair *p)
{
    struct cert_set set;
    char err[200];

    ck_assert_int_eq(cert_set_make(&set), 0);
    p->client_ctx = client(&(struct tls_client_params){.host = "127.0.0.1", .ca_pem = set.ca_pem});
    p->server_ctx = tls_context_new_server(set.chain_pem, set.key_pem, err);
    ck_assert_msg(p->server_ctx != NULL, "%s", err);
    cert_set_deinit(&set);
    pair_shake(p);
}

static void pair_deinit(struct pair *p)
{
    tls_free(p->client);
    tls_free(p->server);
    tls_context_free(p->client_ctx);
    tls_context_free(p->server_ctx);
}

START_TEST(data_both_ways)
{
    struct pair p;
    struct tls_facts facts;
    size_t total = 300000, n, got = 0;
    char *sent = malloc(total), *seen = malloc(total);
    enum tls_status status;

    pair_init(&p);
    tls_get_facts(p.client, &facts);
    ck_assert_str_eq(facts.version, "TLSv1.3");
    ck_assert(facts.verified && !facts.resumed && strncmp(facts.cipher, "TLS_", 4) == 0);
    for (size_t i = 0; i < total; i++)
        sent[i] = (char)(i * 7 + i / 251);
    ck_assert_int_eq(tls_write(p.client, bytes_view(sent, total)), TLS_OK);
    for (size_t step = 1; bytes_queue_len(tls_output(p.client)); step = step * 2 % 9973) {
        struct bytes_view v = bytes_queue_view(tls_output(p.client));
        v.n = v.n < step ? v.n : step;
        tls_feed(p.server, v);
        while ((status = tls_read(p.server, seen + got, total - got ? total - got : 1, &n)) == TLS_OK)
            got += n;
        ck_assert_int_eq(status, TLS_WANT_READ);
        bytes_queue_consume(tls_output(p.client), v.n);
    }
    ck_assert_uint_eq(got, total);
    ck_assert_mem_eq(sent, seen, total);
    free(sent);
    free(seen);
    pair_deinit(&p);
}
END_TEST

static bool shakes_resumed(struct pair *p)
{
    struct tls_facts facts;

    tls_free(p->client);
    tls_free(p->server);
    pair_shake(p);
    tls_get_facts(p->client, &facts);
    ck_assert(facts.verified);
    return facts.resumed;
}

/* Two tickets a handshake, each used once. */
START_TEST(tickets)
{
    struct pair p;

    pair_init(&p);
    for (int i = 0; i < 40; i++)
        ck_assert(shakes_resumed(&p));
    pair_deinit(&p);
}
END_TEST

/* A server that does not know the ticket shakes hands in full, and shows a certificate that is judged anew. */
START_TEST(tickets_of_another_server)
{
    struct pair p, other;
    struct smtp_outcome out;
    struct tls *t;

    pair_init(&p);
    pair_init(&other);
    t = tls_new(p.client_ctx);
    tls_free(other.server);
    other.server = tls_new(other.server_ctx);
    ck_assert_int_eq(tls_handshake(t), TLS_WANT_READ);
    move(t, other.server);
    ck_assert_int_eq(tls_handshake(other.server), TLS_WANT_READ);
    move(other.server, t);
    ck_assert_int_eq(tls_handshake(t), TLS_FAILED);
    tls_get_failure(t, &out);
    ck_assert_int_eq(out.code, OUTCOME_TLS_CERT_UNTRUSTED);
    tls_free(t);
    pair_deinit(&p);
    pair_deinit(&other);
}
END_TEST

START_TEST(ends)
{
    struct pair p;
    char buf[16];
    size_t n;
    struct smtp_outcome out;

    pair_init(&p);
    ck_assert_int_eq(tls_write(p.server, bytes_view("bye", 3)), TLS_OK);
    tls_shutdown(p.server);
    move(p.server, p.client);
    ck_assert_int_eq(tls_read(p.client, buf, sizeof(buf), &n), TLS_OK);
    ck_assert_uint_eq(n, 3);
    ck_assert_int_eq(tls_read(p.client, buf, sizeof(buf), &n), TLS_CLOSED);
    ck_assert_int_eq(tls_read(p.client, buf, sizeof(buf), &n), TLS_CLOSED);
    tls_eof(p.server);
    ck_assert_int_eq(tls_read(p.server, buf, sizeof(buf), &n), TLS_CLOSED);
    ck_assert_int_eq(tls_write(p.server, bytes_view("x", 1)), TLS_CLOSED);
    tls_get_failure(p.server, &out);
    ck_assert_int_eq(out.code, OUTCOME_TLS_CLOSED);
    pair_deinit(&p);
}
END_TEST

START_TEST(broken_record)
{
    struct pair p;
    char buf[16];
    size_t n;
    struct smtp_outcome out;

    pair_init(&p);
    tls_feed(p.client, bytes_view("\x17\x03\x03\x00\x14" "AAAAAAAAAAAAAAAAAAAA", 25));
    ck_assert_int_eq(tls_read(p.client, buf, sizeof(buf), &n), TLS_FAILED);
    tls_get_failure(p.client, &out);
    ck_assert_int_eq(out.code, OUTCOME_PROTOCOL_ERROR);
    ck_assert_str_ne(out.reason, "");
    ck_assert_int_eq(tls_write(p.client, bytes_view("x", 1)), TLS_FAILED);
    pair_deinit(&p);
}
END_TEST

/* ---- settings ---- */

static const struct tls_client_params bad_settings[] = {
    {.host = ""},
    {.host = "mail.example.com", .ca_file = "/nonexistent/ca.pem"},
    {.host = "mail.example.com", .ca_pem = "no certificate"},
    {.host = "mail.example.com", .crl_file = "/nonexistent/crl.pem"},
    {.host = "mail.example.com", .pins = "sha256/AAAA"},
    {.host = "mail.example.com", .pins = "sha1/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
    {.host = "mail.example.com", .pins = " ,"},
};

START_TEST(settings_refused)
{
    char err[200] = "";

    ck_assert_ptr_null(tls_context_new_client(&bad_settings[_i], err));
    ck_assert_str_ne(err, "");
}
END_TEST

START_TEST(server_settings_refused)
{
    struct cert_set a, b;
    char err[200] = "";

    ck_assert(cert_set_make(&a) == 0 && cert_set_make(&b) == 0);
    ck_assert_ptr_null(tls_context_new_server(a.chain_pem, b.key_pem, err));
    ck_assert_str_ne(err, "");
    ck_assert_ptr_null(tls_context_new_server("nothing", a.key_pem, err));
    ck_assert_ptr_null(tls_context_new_server(a.chain_pem, "nothing", err));
    cert_set_deinit(&a);
    cert_set_deinit(&b);
}
END_TEST

START_TEST(system_trust_does_not_know_our_root)
{
    struct made leaf;
    struct tls_context *c = client(&(struct tls_client_params){.host = "mail.example.com"});
    struct tls *t = tls_new(c);
    SSL_CTX *ctx;
    SSL *peer;
    struct smtp_outcome out;

    LEAF(.san = "DNS:mail.example.com");
    ctx = peer_context(&leaf, NULL, 0, 0);
    peer = peer_new(ctx);
    ck_assert_int_eq(shake(t, peer, false), TLS_FAILED);
    tls_get_failure(t, &out);
    ck_assert_int_eq(out.code, OUTCOME_TLS_CERT_UNTRUSTED);
    tls_free(t);
    tls_context_free(c);
    SSL_free(peer);
    SSL_CTX_free(ctx);
    made_deinit(&leaf);
}
END_TEST

/* ---- the probe ---- */

START_TEST(probe_hello_is_answered)
{
    struct cert_set set;
    char err[200], hello[2048];
    size_t n = tls_probe_hello(hello, sizeof(hello), "localhost");
    struct tls_context *c;
    struct tls *t;

    ck_assert_uint_gt(n, 100);
    ck_assert_uint_eq(tls_probe_hello(hello, 50, "localhost"), 0);
    n = tls_probe_hello(hello, sizeof(hello), "localhost");
    ck_assert_int_eq(cert_set_make(&set), 0);
    c = tls_context_new_server(set.chain_pem, set.key_pem, err);
    t = tls_new(c);
    tls_feed(t, bytes_view(hello, n));
    ck_assert_int_eq(tls_handshake(t), TLS_WANT_READ);
    ck_assert_int_eq(tls_probe_is_tls(bytes_queue_view(tls_output(t))), 1);
    tls_free(t);
    tls_context_free(c);
    cert_set_deinit(&set);
}
END_TEST

START_TEST(probe_judges)
{
    ck_assert_int_eq(tls_probe_is_tls(bytes_view("", 0)), -1);
    ck_assert_int_eq(tls_probe_is_tls(bytes_view("\x16\x03\x03\x00", 4)), -1);
    ck_assert_int_eq(tls_probe_is_tls(bytes_view("\x15\x03\x03\x00\x02", 5)), 1);
    ck_assert_int_eq(tls_probe_is_tls(bytes_view("\x16\x03\x01\x00\x00", 5)), 0);
    ck_assert_int_eq(tls_probe_is_tls(bytes_view("\x16\x03\x05", 3)), 0);
    ck_assert_int_eq(tls_probe_is_tls(bytes_view("\x16\x02", 2)), 0);
    ck_assert_int_eq(tls_probe_is_tls(bytes_view("220 hello", 9)), 0);
    ck_assert_int_eq(tls_probe_is_tls(bytes_view("2", 1)), 0);
}
END_TEST

static void add_certificate_tests(TCase *t)
{
    tcase_add_test(t, good_names);
    tcase_add_test(t, ca_file_may_hold_what_is_no_root);
    tcase_add_test(t, good_with_intermediate);
    tcase_add_test(t, expired);
    tcase_add_test(t, not_yet_valid);
    tcase_add_test(t, self_signed);
    tcase_add_test(t, unknown_root);
    tcase_add_test(t, missing_intermediate);
    tcase_add_test(t, wrong_purpose);
    tcase_add_test(t, wrong_names);
    tcase_add_test(t, common_name_does_not_count);
    tcase_add_test(t, name_with_controls_stays_one_line);
    tcase_add_test(t, revoked);
    tcase_add_test(t, weak);
    tcase_add_test(t, pins);
}

int main(void)
{
    Suite *s = suite_create("tls");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    add_certificate_tests(t);
    tcase_add_test(t, old_versions);
    tcase_add_test(t, one_version_alone);
    tcase_add_loop_test(t, answers_by_hand, 0, (int)ARRAY_LEN(by_hand));
    tcase_add_test(t, client_certificate_wanted);
    tcase_add_test(t, data_both_ways);
    tcase_add_test(t, tickets);
    tcase_add_test(t, tickets_of_another_server);
    tcase_add_test(t, ends);
    tcase_add_test(t, broken_record);
    tcase_add_loop_test(t, settings_refused, 0, (int)ARRAY_LEN(bad_settings));
    tcase_add_test(t, server_settings_refused);
    tcase_add_test(t, system_trust_does_not_know_our_root);
    tcase_add_test(t, probe_hello_is_answered);
    tcase_add_test(t, probe_judges);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
