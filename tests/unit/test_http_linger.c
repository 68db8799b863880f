#include "api/http_linger.h"

#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections that are read to their end before they are closed: which need it, and for how long, on TCP and on Unix
 * sockets. A timer of the loop plays the client. */

#define IDLE_MS 60
#define MAX_MS 400
#define MAX_BYTES 300000

static struct loop *loop;
static struct http_linger *linger;
static struct loop_timer tick;
static unsigned left, drips, wanted;
static unsigned family_left;
static int client, server;
static bool is_tcp, drip;
static size_t flood;
static uint64_t begun, ended;

static void on_left(void *ctx, const void *address)
{
    ck_assert_ptr_eq(ctx, &left);
    family_left = ((const struct sockaddr *)address)->sa_family;
    ended = loop_now(loop);
    left++;
}

/* Until `wanted` have left; meanwhile the client drips a byte, or floods. */
static void on_tick(struct loop_timer *t)
{
    static const char bytes[10000];

    if (left >= wanted || loop_now(loop) > begun + 5000) {
        loop_stop(loop);
        return;
    }
    if (drip)
        drips += send(client, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
    for (ssize_t n = 1; flood && n > 0; flood -= n > 0 ? (size_t)n : 0)
        n = send(client, bytes, flood < sizeof(bytes) ? flood : sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT);
    loop_timer_set(loop, t, loop_now(loop) + 5);
}

static void connect_tcp(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)(void *)&in, n), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)(void *)&in, &n), 0);
    client = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(client, (struct sockaddr *)(void *)&in, n), 0);
    server = accept(fd, NULL, NULL);
    ck_assert_int_ge(server, 0);
    close(fd);
}

static void connect_pair(void)
{
    int fds[2];

    if (is_tcp) {
        connect_tcp();
        return;
    }
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    client = fds[0];
    server = fds[1];
}

static void setup(void)
{
    struct http_linger_params p = {.max_bytes = MAX_BYTES, .idle_ms = IDLE_MS, .max_ms = MAX_MS, .on_left = on_left,
                                   .ctx = &left};

    loop = loop_new();
    p.loop = loop;
    linger = http_linger_new(&p);
    ck_assert_ptr_nonnull(linger);
    tick.on_timer = on_tick;
    connect_pair();
}

static void setup_tcp(void)
{
    is_tcp = true;
    setup();
}

static void teardown(void)
{
    http_linger_free(linger);
    loop_free(loop);
    close(client);
}

/* As libmicrohttpd does: it asks, then closes its own descriptor. */
static bool keep(bool is_whole)
{
    const struct sockaddr_in in = {.sin_family = AF_INET};
    const struct sockaddr un = {.sa_family = AF_UNIX};
    bool kept = http_linger_keep(linger, server, is_whole, is_tcp ? (const void *)&in : (const void *)&un);

    close(server);
    return kept;
}

static void run(unsigned n)
{
    wanted = n;
    begun = clock_us() / 1000;
    loop_timer_set(loop, &tick, 1);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_uint_eq(left, n);
}

static void say(const char *text)
{
    ck_assert_int_eq(send(client, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static bool is_at_end(void)
{
    char c;

    return recv(client, &c, 1, 0) == 0;
}

START_TEST(needless)
{
    ck_assert(!keep(true));             /* all was read */
    connect_pair();
    close(client);
    ck_assert(!keep(false));            /* the client has left */
    ck_assert_uint_eq(left, 0);
    connect_pair();
}
END_TEST

START_TEST(needed)
{
    say("more");
    ck_assert(keep(true));              /* something lies behind the request */
    ck_assert(is_at_end());             /* our side is shut down, and there is no reset */
    close(client);
    run(1);
    ck_assert_uint_eq(family_left, is_tcp ? AF_INET : AF_UNIX);
    connect_pair();
}
END_TEST

START_TEST(idle)
{
    ck_assert(keep(false));
    ck_assert(is_at_end());
    run(1);
    ck_assert_uint_ge(ended, begun + IDLE_MS - 1);
}
END_TEST

START_TEST(dripping)
{
    ck_assert(keep(false));
    drip = true;
    run(1);
    ck_assert_uint_gt(drips, MAX_MS / IDLE_MS);
    ck_assert_uint_ge(ended, begun + MAX_MS - 10);
}
END_TEST

/* At the bound it is taken to its end, one byte past it it is cut. */
START_TEST(flooding)
{
    ck_assert(keep(false));
    flood = MAX_BYTES + (size_t)_i;
    run(1);
    ck_assert_uint_eq(flood, 0);
    if (_i)
        ck_assert_uint_lt(ended, begun + IDLE_MS);
    else
        ck_assert_uint_ge(ended, begun + IDLE_MS - 1);
}
END_TEST

START_TEST(oldest)
{
    int first = client;

    ck_assert(!http_linger_drop_oldest(linger));
    ck_assert(keep(false));
    connect_pair();
    ck_assert(keep(false));
    ck_assert(http_linger_drop_oldest(linger));
    ck_assert_uint_eq(left, 1);
    ck_assert_int_eq(send(client, "x", 1, MSG_NOSIGNAL), 1);
    if (!is_tcp)
        ck_assert(send(first, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
    close(first);
    run(2);
}
END_TEST

START_TEST(end_of_all)
{
    int first = client;

    ck_assert(keep(false));
    connect_pair();
    ck_assert(keep(false));
    http_linger_free(linger);
    linger = NULL;
    ck_assert_uint_eq(left, 2);
    close(first);
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_test(t, needless);
    tcase_add_test(t, needed);
    tcase_add_test(t, idle);
    tcase_add_test(t, dripping);
    tcase_add_loop_test(t, flooding, 0, 2);
    tcase_add_test(t, oldest);
    tcase_add_test(t, end_of_all);
}

int main(void)
{
    Suite *s = suite_create("http_linger");
    TCase *un = tcase_create("unix sockets"), *tcp = tcase_create("tcp");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(un, setup, teardown);
    add_tests(un);
    suite_add_tcase(s, un);
    tcase_add_checked_fixture(tcp, setup_tcp, teardown);
    add_tests(tcp);
    suite_add_tcase(s, tcp);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
