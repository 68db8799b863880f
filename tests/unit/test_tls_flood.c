#include "smtp/tls.h"

#include "tests/unit/certs.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A server that sends what costs it little and us much: it is bounded, and named. What is in order is not. */

#define ROUNDS 3000                     /* of a flood */

struct talk {
    struct made root, leaf;
    struct tls_context *ctx;
    struct tls *client;
    SSL_CTX *server_ctx;
    SSL *server;
    size_t got;                         /* octets of data that the client read */
};

static struct talk talk;

static void to_server(void)
{
    struct bytes_view v = bytes_queue_view(tls_output(talk.client));

    if (v.n)
        ck_assert_int_eq(BIO_write(SSL_get_rbio(talk.server), v.p, (int)v.n), (int)v.n);
    bytes_queue_consume(tls_output(talk.client), v.n);
}

/* What the server has said so far; step 0: all at once. */
static enum tls_status to_client(size_t step)
{
    char *p = NULL, buf[16384];
    size_t n = (size_t)BIO_get_mem_data(SSL_get_wbio(talk.server), &p), got = 0;
    enum tls_status status = TLS_WANT_READ;

    for (size_t at = 0; at < n && (status == TLS_WANT_READ || status == TLS_OK); at += step ? step : n) {
        tls_feed(talk.client, bytes_view(p + at, !step || n - at < step ? n - at : step));
        while ((status = tls_read(talk.client, buf, sizeof(buf), &got)) == TLS_OK)
            talk.got += got;
    }
    BIO_reset(SSL_get_wbio(talk.server));
    return status;
}

static void shake_hands(int version)
{
    char *ca, err[200];
    enum tls_status status;

    made_init(&talk.root, &(struct made_spec){.name = "Root", .ca = 1});
    made_init(&talk.leaf, &(struct made_spec){.name = "mail.example.com", .issuer = &talk.root,
                                              .san = "DNS:mail.example.com"});
    ca = made_pem(&talk.root);
    talk.ctx = tls_context_new_client(&(struct tls_client_params){.host = "mail.example.com", .ca_pem = ca}, err);
    ck_assert_msg(talk.ctx != NULL, "%s", err);
    free(ca);
    talk.client = tls_new(talk.ctx);
    talk.server_ctx = peer_context(&talk.leaf, NULL, version, version);
    talk.server = peer_new(talk.server_ctx);
    status = tls_handshake(talk.client);
    for (int i = 0; i < 5 && status == TLS_WANT_READ; i++) {
        char *p = NULL;
        long n;
        to_server();
        SSL_do_handshake(talk.server);
        n = BIO_get_mem_data(SSL_get_wbio(talk.server), &p);
        tls_feed(talk.client, bytes_view(p, (size_t)n));
        status = tls_handshake(talk.client);
        BIO_reset(SSL_get_wbio(talk.server));
    }
    ck_assert_int_eq(status, TLS_OK);
    to_server();
    ck_assert_int_eq(SSL_do_handshake(talk.server), 1);
    ck_assert_int_eq(to_client(0), TLS_WANT_READ);
}

static void hang_up(void)
{
    SSL_free(talk.server);
    SSL_CTX_free(talk.server_ctx);
    tls_free(talk.client);
    tls_context_free(talk.ctx);
    made_deinit(&talk.root);
    made_deinit(&talk.leaf);
}

/* ---- floods ---- */

static void say(const char *text)
{
    ck_assert_int_eq(SSL_write(talk.server, text, (int)strlen(text)), (int)strlen(text));
}

static void key_update(void)
{
    ck_assert_int_eq(SSL_key_update(talk.server, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    ck_assert_int_eq(SSL_do_handshake(talk.server), 1);
}

static void key_update_asked_for(void)
{
    ck_assert_int_eq(SSL_key_update(talk.server, SSL_KEY_UPDATE_REQUESTED), 1);
    ck_assert_int_eq(SSL_do_handshake(talk.server), 1);
}

static void ticket(void)
{
    ck_assert_int_eq(SSL_new_session_ticket(talk.server), 1);
    ck_assert_int_eq(SSL_do_handshake(talk.server), 1);
}

static void hello_request(void)
{
    ck_assert_int_eq(SSL_renegotiate(talk.server), 1);
    SSL_do_handshake(talk.server);
}

static void key_update_and_an_octet(void)
{
    key_update();
    say("2");
}

static const struct flood {
    int version;
    void (*send)(void);
    size_t step;
} floods[] = {
    {TLS1_3_VERSION, key_update, 0},
    {TLS1_3_VERSION, key_update, 1},
    {TLS1_3_VERSION, key_update_asked_for, 0},
    {TLS1_3_VERSION, ticket, 0},
    {TLS1_3_VERSION, ticket, 7},
    {TLS1_3_VERSION, key_update_and_an_octet, 0},
    {TLS1_2_VERSION, hello_request, 0},
};

START_TEST(a_flood_ends)
{
    const struct flood *f = &floods[_i];
    struct smtp_outcome why;
    enum tls_status status = TLS_WANT_READ;
    int rounds;

    shake_hands(f->version);
    for (rounds = 0; rounds < ROUNDS && status == TLS_WANT_READ; rounds += 10) {
        for (int i = 0; i < 10; i++)
            f->send();
        status = to_client(f->step);
    }
    ck_assert_int_eq(status, TLS_FAILED);
    ck_assert_int_le(rounds, 130);
    tls_get_failure(talk.client, &why);
    ck_assert_int_eq(why.code, OUTCOME_PROTOCOL_ERROR);
    ck_assert_str_eq(why.reason, "The peer sent more than 64 TLS records without data in a row");
    ck_assert_uint_le(bytes_queue_len(tls_output(talk.client)), 16384);
    hang_up();
}
END_TEST

/* In one piece, as a kernel hands it over: what is behind the limit is not looked at. */
START_TEST(a_flood_in_one_piece_costs_little)
{
    char *p = NULL;
    size_t n, got;
    char byte;
    struct smtp_outcome why;

    shake_hands(TLS1_3_VERSION);
    for (int i = 0; i < ROUNDS; i++)
        key_update();
    n = (size_t)BIO_get_mem_data(SSL_get_wbio(talk.server), &p);
    /* The last record is broken: one that decrypts up to it would say so. */
    p[n - 1] ^= 1;
    tls_feed(talk.client, bytes_view(p, n));
    ck_assert_int_eq(tls_read(talk.client, &byte, 1, &got), TLS_FAILED);
    tls_get_failure(talk.client, &why);
    ck_assert_str_eq(why.reason, "The peer sent more than 64 TLS records without data in a row");
    hang_up();
}
END_TEST

START_TEST(a_handshake_in_crumbs_ends)
{
    struct smtp_outcome why;
    struct tls_context *ctx;
    struct tls *t;
    char err[200];
    /* A ServerHello of 65,000 octets to come, one a record. */
    static const char first[] = "\x16\x03\x03\x00\x04\x02\x00\xFD\xE8", crumb[] = "\x16\x03\x03\x00\x01\x00";
    enum tls_status status = TLS_WANT_READ;
    int n;

    ctx = tls_context_new_client(&(struct tls_client_params){.host = "mail.example.com"}, err);
    ck_assert_ptr_nonnull(ctx);
    t = tls_new(ctx);
    ck_assert_int_eq(tls_handshake(t), TLS_WANT_READ);
    tls_feed(t, bytes_view(first, sizeof(first) - 1));
    status = tls_handshake(t);
    for (n = 0; n < 65000 && status == TLS_WANT_READ; n++) {
        tls_feed(t, bytes_view(crumb, sizeof(crumb) - 1));
        status = tls_handshake(t);
    }
    ck_assert_int_eq(status, TLS_FAILED);
    ck_assert_int_le(n, 2100);
    tls_get_failure(t, &why);
    ck_assert_int_eq(why.code, OUTCOME_TLS_HANDSHAKE_FAILED);
    tls_free(t);
    tls_context_free(ctx);
}
END_TEST

/* ---- what is in order ---- */

/* A long life: key updates and tickets between replies, each of them after a command. */
START_TEST(a_few_for_each_command)
{
    char buf[64];

    shake_hands(TLS1_3_VERSION);
    for (int i = 0; i < 200; i++) {
        ck_assert_int_eq(tls_write(talk.client, bytes_view_str("NOOP\r\n")), TLS_OK);
        to_server();
        ck_assert_int_eq(SSL_read(talk.server, buf, sizeof(buf)), 6);
        key_update_asked_for();
        ticket();
        say("250 ok\r\n");
        ck_assert_int_eq(to_client(0), TLS_WANT_READ);
    }
    ck_assert_uint_eq(talk.got, 200 * 8);
    hang_up();
}
END_TEST

/* A server without buffers, and one of many lines. */
START_TEST(data_in_small_records)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        talk.got = 0;
        shake_hands(version);
        for (int i = 0; i < 20000; i++)
            say("2");
        ck_assert_int_eq(to_client(0), TLS_WANT_READ);
        ck_assert_uint_eq(talk.got, 20000);
        hang_up();
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tls_flood");
    TCase *t = tcase_create("tls_flood");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, a_flood_ends, 0, (int)ARRAY_LEN(floods));
    tcase_add_test(t, a_flood_in_one_piece_costs_little);
    tcase_add_test(t, a_handshake_in_crumbs_ends);
    tcase_add_test(t, a_few_for_each_command);
    tcase_add_test(t, data_in_small_records);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
