#include "smtp/sandbox.h"

#include "smtp/crypto.h"
#include "smtp/sandbox_store.h"
#include "smtp/tls.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The sandbox over real sockets, with a small blocking client, and its store. */

static struct sandbox *sandbox;
/* Of the last question: freed when the sandbox, which may still be waking it, has answered once more or is stopped. */
static struct loop *loop;

static void set_up(void)
{
    char err[200];

    sandbox = sandbox_start(err);
    ck_assert_msg(sandbox != NULL, "%s", err);
}

static void tear_down(void)
{
    sandbox_stop(sandbox);
    loop_free(loop);
}

/* ---- the client ---- */

struct client {
    int fd;
    struct tls_context *ctx;
    struct tls *tls;
    struct bytes_buf in;
};

static void client_init(struct client *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(sandbox_port(sandbox)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    memset(c, 0, sizeof(*c));
    bytes_buf_init(&c->in, 0);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert(c->fd >= 0 && connect(c->fd, (struct sockaddr *)&a, sizeof(a)) == 0);
}

static void client_deinit(struct client *c)
{
    tls_free(c->tls);
    tls_context_free(c->ctx);
    bytes_buf_deinit(&c->in);
    close(c->fd);
}

static void flush(struct client *c)
{
    while (bytes_queue_len(tls_output(c->tls))) {
        struct bytes_view v = bytes_queue_view(tls_output(c->tls));
        ssize_t n = send(c->fd, v.p, v.n, MSG_NOSIGNAL);
        ck_assert_int_gt(n, 0);
        bytes_queue_consume(tls_output(c->tls), (size_t)n);
    }
}

static void say(struct client *c, const char *text)
{
    if (!c->tls) {
        ck_assert_int_eq(send(c->fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
        return;
    }
    ck_assert_int_eq(tls_write(c->tls, bytes_view_str(text)), TLS_OK);
    flush(c);
}

/* False: the server closed. */
static bool receive(struct client *c)
{
    char buf[4096], plain[4096];
    ssize_t n = recv(c->fd, buf, sizeof(buf), 0);
    size_t got, before;
    enum tls_status status;

    if (n <= 0)
        return false;
    if (!c->tls) {
        bytes_buf_add(&c->in, buf, (size_t)n);
        return true;
    }
    before = c->in.n;
    tls_feed(c->tls, bytes_view(buf, (size_t)n));
    while ((status = tls_read(c->tls, plain, sizeof(plain), &got)) == TLS_OK)
        bytes_buf_add(&c->in, plain, got);
    return status == TLS_WANT_READ || c->in.n > before;       /* the last words came with the end */
}

/* Takes one reply; it must begin so. */
static void expect(struct client *c, const char *begin)
{
    for (;;) {
        const char *lf = c->in.n ? memchr(c->in.p, '\n', c->in.n) : NULL;
        size_t n;
        char line[600];
        if (!lf) {
            ck_assert_msg(receive(c), "closed before %s", begin);
            continue;
        }
        n = (size_t)(lf - c->in.p) + 1;
        snprintf(line, sizeof(line), "%.*s", (int)n, c->in.p);
        memmove(c->in.p, c->in.p + n, c->in.n - n);
        c->in.n -= n;
        if (line[3] == '-')
            continue;
        ck_assert_msg(strncmp(line, begin, strlen(begin)) == 0, "expected %s, got %s", begin, line);
        return;
    }
}

static enum tls_status shake(struct client *c, const char *host, const char *ca)
{
    struct tls_client_params p = {.host = host, .ca_pem = ca};
    char err[200], buf[4096];
    enum tls_status status;

    c->ctx = tls_context_new_client(&p, err);
    ck_assert_msg(c->ctx != NULL, "%s", err);
    c->tls = tls_new(c->ctx);
    while ((status = tls_handshake(c->tls)) == TLS_WANT_READ) {
        ssize_t n;
        flush(c);
        n = recv(c->fd, buf, sizeof(buf), 0);
        if (n <= 0)
            tls_eof(c->tls);
        else
            tls_feed(c->tls, bytes_view(buf, (size_t)n));
    }
    flush(c);
    return status;
}

static void log_in(struct client *c)
{
    struct bytes_buf b;
    char secret[128];
    int n = snprintf(secret, sizeof(secret), "%c%s%c%s", 0, sandbox_user(sandbox), 0, sandbox_password(sandbox));

    client_init(c);
    expect(c, "220 ");
    say(c, "EHLO me\r\nSTARTTLS\r\n");
    expect(c, "250 ");
    expect(c, "220 ");
    ck_assert_int_eq(shake(c, "127.0.0.1", sandbox_ca_pem(sandbox)), TLS_OK);
    bytes_buf_init(&b, 0);
    bytes_buf_add_str(&b, "EHLO me\r\nAUTH PLAIN ");
    crypto_base64(bytes_view(secret, (size_t)n), &b);
    bytes_buf_add_str(&b, "\r\n");
    say(c, b.p);
    bytes_buf_deinit(&b);
    expect(c, "250 ");
    expect(c, "235 ");
}

static void send_mail(struct client *c, const char *envid, const char *subject)
{
    char text[400], mail[200];

    snprintf(mail, sizeof(mail), "Subject: %s\r\n\r\nHello\r\n", subject);
    snprintf(text, sizeof(text), "MAIL FROM:<ann@example.com> ENVID=%s\r\nRCPT TO:<bob@example.com>\r\n"
                                 "BDAT %zu LAST\r\n%s", envid, strlen(mail), mail);
    say(c, text);
    expect(c, "250 2.1.0");
    expect(c, "250 2.1.5");
    expect(c, "250 2.0.0");
}

/* ---- questions ---- */

static void on_answer(struct sandbox_query *q)
{
    *(struct sandbox_query **)q->ctx = q;
    loop_stop(loop);
}

static struct sandbox_query *ask(enum sandbox_query_type type, const char *id)
{
    struct sandbox_query *q = calloc(1, sizeof(*q)), *answer = NULL;
    struct loop *before = loop;

    loop = loop_new();
    q->type = type;
    q->reply_to = loop;
    q->on_answer = on_answer;
    q->ctx = &answer;
    snprintf(q->id, sizeof(q->id), "%s", id);
    sandbox_ask(sandbox, q);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_ptr_eq(answer, q);
    loop_free(before);
    return q;
}

#define ID1 "01928c3e-7a10-7b3c-8f00-000000000001"
#define ID2 "01928c3e-7a10-7b3c-8f00-000000000002"

START_TEST(a_mail_is_kept)
{
    struct client c;
    struct sandbox_query *q;

    log_in(&c);
    send_mail(&c, ID1, "one");
    send_mail(&c, ID2, "two");
    q = ask(SANDBOX_LIST, "");
    ck_assert_uint_eq(q->n_mails, 2);
    ck_assert_str_eq(q->mails[0].id, ID2);
    ck_assert_str_eq(q->mails[1].subject, "one");
    ck_assert_ptr_null(q->mails[0].raw);
    ck_assert_uint_eq(q->mails[0].n_commands, 0);
    ck_assert_uint_eq(q->mails[0].size, strlen("Subject: two\r\n\r\nHello\r\n"));
    ck_assert(q->mails[0].received_unix_ms > 1700000000000);
    sandbox_query_free(q);
    q = ask(SANDBOX_GET, ID1);
    ck_assert_uint_eq(q->n_mails, 1);
    ck_assert_str_eq(q->mails[0].raw, "Subject: one\r\n\r\nHello\r\n");
    ck_assert_str_eq(q->mails[0].from, "ann@example.com");
    ck_assert_str_eq(q->mails[0].to[0], "bob@example.com");
    ck_assert_str_eq(q->mails[0].tls_version, "TLSv1.3");
    ck_assert_str_eq(q->mails[0].auth_user, "sandbox");
    ck_assert_uint_eq(q->mails[0].n_commands, 7);
    ck_assert_str_eq(q->mails[0].commands[3], "AUTH ***");
    sandbox_query_free(q);
    q = ask(SANDBOX_GET, "nothing");
    ck_assert_uint_eq(q->n_mails, 0);
    sandbox_query_free(q);
    sandbox_query_free(ask(SANDBOX_CLEAR, ""));
    q = ask(SANDBOX_LIST, "");
    ck_assert_uint_eq(q->n_mails, 0);
    sandbox_query_free(q);
    say(&c, "QUIT\r\n");
    expect(&c, "221 ");
    while (receive(&c))
        continue;
    client_deinit(&c);
}
END_TEST

START_TEST(certificate_is_for_this_host_only)
{
    struct client c;
    struct smtp_outcome out;

    for (int i = 0; i < 2; i++) {
        client_init(&c);
        expect(&c, "220 ");
        say(&c, "EHLO me\r\nSTARTTLS\r\n");
        expect(&c, "250 ");
        expect(&c, "220 ");
        ck_assert_int_eq(shake(&c, i ? "mail.example.com" : "localhost", sandbox_ca_pem(sandbox)),
                         i ? TLS_FAILED : TLS_OK);
        if (i) {
            tls_get_failure(c.tls, &out);
            ck_assert_int_eq(out.code, OUTCOME_TLS_CERT_NAME_MISMATCH);
        }
        client_deinit(&c);
    }
}
END_TEST

START_TEST(injected_plaintext_is_not_answered)
{
    struct client c;

    client_init(&c);
    expect(&c, "220 ");
    say(&c, "EHLO me\r\nSTARTTLS\r\nNOOP\r\n");
    expect(&c, "250 ");
    expect(&c, "220 ");
    ck_assert_int_eq(shake(&c, "localhost", sandbox_ca_pem(sandbox)), TLS_OK);
    say(&c, "QUIT\r\n");
    expect(&c, "221 ");
    client_deinit(&c);
}
END_TEST

START_TEST(garbage_instead_of_tls)
{
    struct client c;

    client_init(&c);
    expect(&c, "220 ");
    say(&c, "EHLO me\r\nSTARTTLS\r\n");
    expect(&c, "250 ");
    expect(&c, "220 ");
    say(&c, "EHLO me\r\n");
    while (receive(&c))
        continue;                       /* an alert, and the end */
    client_deinit(&c);
}
END_TEST

START_TEST(connections_are_limited)
{
    static struct client c[66];

    for (size_t i = 0; i < 64; i++) {
        client_init(&c[i]);
        expect(&c[i], "220 ");
    }
    client_init(&c[64]);
    expect(&c[64], "421 4.7.0");
    ck_assert(!receive(&c[64]));
    say(&c[0], "QUIT\r\n");
    expect(&c[0], "221 ");
    ck_assert(!receive(&c[0]));
    client_init(&c[65]);
    expect(&c[65], "220 ");
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        client_deinit(&c[i]);
}
END_TEST

START_TEST(a_large_mail)
{
    struct client c;
    struct sandbox_query *q;
    size_t lines = 40000;
    struct bytes_buf b;

    log_in(&c);
    say(&c, "MAIL FROM:<ann@example.com>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n");
    expect(&c, "250");
    expect(&c, "250");
    expect(&c, "354");
    bytes_buf_init(&b, 0);
    for (size_t i = 0; i < lines; i++)
        bytes_buf_printf(&b, "..line %zu of a rather long mail\r\n", i);
    bytes_buf_add_str(&b, ".\r\n");
    say(&c, b.p);
    expect(&c, "250 2.0.0");
    q = ask(SANDBOX_LIST, "");
    ck_assert_uint_eq(q->n_mails, 1);
    ck_assert_uint_eq(q->mails[0].size, b.n - 3 - lines);
    sandbox_query_free(q);
    bytes_buf_deinit(&b);
    client_deinit(&c);
}
END_TEST

/* A client that only asks and never reads is not read from for ever; the others go on. */
START_TEST(a_client_that_does_not_read)
{
    struct client deaf, c;
    char flood[8 * 1024];
    size_t sent = 0;

    for (size_t i = 0; i + 6 <= sizeof(flood); i += 6)
        memcpy(flood + i, "HELP\r\n", 6);
    client_init(&deaf);
    for (ssize_t n = 1; n > 0 && sent < 64u << 20; sent += n > 0 ? (size_t)n : 0)
        n = send(deaf.fd, flood, sizeof(flood) / 6 * 6, MSG_NOSIGNAL | MSG_DONTWAIT);
    client_init(&c);
    expect(&c, "220 ");
    say(&c, "QUIT\r\n");
    expect(&c, "221 ");
    client_deinit(&c);
    client_deinit(&deaf);
}
END_TEST

static void *sender(void *arg)
{
    struct client c;

    (void)arg;
    log_in(&c);
    for (int i = 0; i < 20; i++)
        send_mail(&c, "x", "many");
    client_deinit(&c);
    return NULL;
}

START_TEST(many_at_once)
{
    pthread_t threads[4];
    struct sandbox_query *q;

    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, sender, NULL), 0);
    for (int i = 0; i < 20; i++)
        sandbox_query_free(ask(SANDBOX_LIST, ""));
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    q = ask(SANDBOX_LIST, "");
    ck_assert_uint_eq(q->n_mails, 80);
    sandbox_query_free(q);
}
END_TEST

START_TEST(stops_with_clients_connected)
{
    struct client c, d;
    struct sandbox *mine = sandbox;

    log_in(&c);
    client_init(&d);
    expect(&d, "220 ");
    sandbox = NULL;
    sandbox_stop(mine);
    ck_assert(!receive(&d));
    client_deinit(&c);
    client_deinit(&d);
}
END_TEST

START_TEST(passwords_differ)
{
    char first[64], err[200];

    snprintf(first, sizeof(first), "%s", sandbox_password(sandbox));
    sandbox_stop(sandbox);
    sandbox = sandbox_start(err);
    ck_assert(sandbox != NULL);
    ck_assert_uint_eq(strlen(first), 32);
    ck_assert_uint_eq(strspn(first, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), 32);
    ck_assert_str_ne(first, sandbox_password(sandbox));
}
END_TEST

/* ---- the store alone ---- */

static void put(struct sandbox_store *s, int n, const char *raw)
{
    struct sandbox_mail *m = sandbox_mail_new();

    ck_assert(m != NULL);
    snprintf(m->id, sizeof(m->id), "%d", n);
    m->from = strdup("a@b.c");
    m->raw = strdup(raw);
    m->raw_n = strlen(raw);
    sandbox_store_add(s, m);
}

static size_t count(struct sandbox_store *s, char *newest)
{
    struct sandbox_query *q = calloc(1, sizeof(*q));
    size_t n;

    q->type = SANDBOX_LIST;
    sandbox_store_answer(s, q);
    n = q->n_mails;
    if (newest)
        snprintf(newest, 37, "%s", n ? q->mails[0].id : "");
    sandbox_query_free(q);
    return n;
}

START_TEST(oldest_goes_out)
{
    struct sandbox_store *s = sandbox_store_new(3, 4000);
    char newest[37], *large = calloc(1, 5000);

    ck_assert_uint_eq(count(s, NULL), 0);
    for (int i = 1; i <= 5; i++) {
        put(s, i, "x");
        ck_assert_uint_eq(count(s, newest), i < 3 ? (size_t)i : 3);
        ck_assert_int_eq(newest[0], '0' + i);
    }
    memset(large, 'x', 2500);
    put(s, 6, large);
    ck_assert_uint_gt(count(s, NULL), 1);
    put(s, 7, large);
    ck_assert_uint_eq(count(s, newest), 1);
    memset(large, 'x', 4999);
    put(s, 8, large);                   /* larger than all the room: alone */
    ck_assert_uint_eq(count(s, newest), 1);
    ck_assert_str_eq(newest, "8");
    sandbox_store_free(s);
    free(large);
}
END_TEST

static const struct {
    const char *raw, *subject;
} subjects[] = {
    {"Subject: a\r\n\r\n", "a"}, {"SUBJECT:a\r\n b\r\n\tc\r\nX: y\r\n\r\n", "a b\tc"},
        {"X: y\r\n\r\nSubject: a\r\n", ""},
    {"", ""}, {"Subject:", ""}, {"Subject:\r\n", ""}, {"X: y\r\n Subject: a\r\n\r\n", ""}, {"Subject: a", "a"},
    {"Subjects: b\r\nSubject: a\r\nSubject: c\r\n\r\n", "a"},
};

START_TEST(subject_is_found)
{
    struct sandbox_store *s = sandbox_store_new(3, 4000);
    struct sandbox_query *q = calloc(1, sizeof(*q));

    put(s, 1, subjects[_i].raw);
    q->type = SANDBOX_LIST;
    sandbox_store_answer(s, q);
    ck_assert_str_eq(q->mails[0].subject, subjects[_i].subject);
    sandbox_query_free(q);
    sandbox_store_free(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sandbox");
    TCase *t = tcase_create("sockets"), *u = tcase_create("store");
    SRunner *r = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, t);
    suite_add_tcase(suite, u);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, a_mail_is_kept);
    tcase_add_test(t, certificate_is_for_this_host_only);
    tcase_add_test(t, injected_plaintext_is_not_answered);
    tcase_add_test(t, garbage_instead_of_tls);
    tcase_add_test(t, connections_are_limited);
    tcase_add_test(t, a_large_mail);
    tcase_add_test(t, a_client_that_does_not_read);
    tcase_add_test(t, many_at_once);
    tcase_add_test(t, stops_with_clients_connected);
    tcase_add_test(t, passwords_differ);
    tcase_add_test(u, oldest_goes_out);
    tcase_add_loop_test(u, subject_is_found, 0, (int)ARRAY_LEN(subjects));
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
