#include "smtp/dial.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Happy eyeballs on loopback: a listener whose queue is full stands for the address that never answers. */

static struct loop *loop;
static struct dial_result result;
static bool done;
static int fds[16];
static size_t n_fds;

static void setup(void)
{
    loop = loop_new();
    ck_assert_ptr_nonnull(loop);
    memset(&result, 0, sizeof(result));
    result.fd = -1;
    done = false;
    n_fds = 0;
}

static void teardown(void)
{
    while (n_fds)
        close(fds[--n_fds]);
    if (result.fd >= 0)
        close(result.fd);
    loop_free(loop);
}

static struct resolve_address address(const char *ip, uint16_t port)
{
    struct resolve_address a = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

    ck_assert_int_eq(inet_pton(AF_INET, ip, &in.sin_addr), 1);
    memcpy(&a.addr, &in, sizeof(in));
    return a;
}

static int bound(const char *ip, uint16_t port, struct resolve_address *out)
{
    struct resolve_address a = address(ip, port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a.addr, a.len), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a.addr, &a.len), 0);
    fds[n_fds++] = fd;
    *out = a;
    return fd;
}

static struct resolve_address listening(void)
{
    struct resolve_address a;

    ck_assert_int_eq(listen(bound("127.0.0.1", 0, &a), 8), 0);
    return a;
}

/* Bound and not listening: the kernel refuses, and nobody else can take the port. */
static struct resolve_address refusing(void)
{
    struct resolve_address a;

    bound("127.0.0.1", 0, &a);
    return a;
}

/* The accept queue of a backlog of 0 holds one connection; the SYNs that follow are dropped. */
static struct resolve_address black_hole(void)
{
    struct resolve_address a;

    ck_assert_int_eq(listen(bound("127.0.0.1", 0, &a), 0), 0);
    for (int i = 0; i < 4; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        ck_assert_int_ge(fd, 0);
        (void)connect(fd, (struct sockaddr *)&a.addr, a.len);
        fds[n_fds++] = fd;
    }
    return a;
}

static void on_done(void *ctx, const struct dial_result *r)
{
    ck_assert_ptr_eq(ctx, &result);
    ck_assert(!done);
    done = true;
    result = *r;
    loop_stop(loop);
}

/* Milliseconds until the dial ended. */
static uint64_t dial_all(const struct resolve_address *v, size_t n, uint32_t each, uint32_t total)
{
    struct dial_params p = {
        .loop = loop, .v = v, .n = n, .connect_ms = each, .connect_total_ms = total, .on_done = on_done, .ctx = &result,
    };
    uint64_t began = clock_us();

    ck_assert_ptr_nonnull(dial_start(&p));
    ck_assert(!done);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert(done);
    return (clock_us() - began) / 1000;
}

START_TEST(connects)
{
    struct resolve_address v[] = {listening()};

    ck_assert_uint_lt(dial_all(v, 1, 5000, 15000), 200);
    ck_assert_int_ge(result.fd, 0);
    ck_assert_mem_eq(&result.address.addr, &v[0].addr, v[0].len);
}
END_TEST

START_TEST(black_holed_first_costs_250_ms)
{
    struct resolve_address v[] = {black_hole(), listening()};
    uint64_t ms = dial_all(v, 2, 5000, 15000);

    ck_assert_int_ge(result.fd, 0);
    ck_assert_mem_eq(&result.address.addr, &v[1].addr, v[1].len);
    ck_assert_uint_ge(ms, 240);
    ck_assert_uint_lt(ms, 500);
}
END_TEST

START_TEST(refused_first_costs_nothing)
{
    struct resolve_address v[] = {refusing(), listening()};

    ck_assert_uint_lt(dial_all(v, 2, 5000, 15000), 200);
    ck_assert_int_ge(result.fd, 0);
}
END_TEST

START_TEST(refused)
{
    struct resolve_address v[] = {refusing()};

    dial_all(v, 1, 5000, 15000);
    ck_assert_int_eq(result.fd, -1);
    ck_assert_int_eq(result.failure.code, OUTCOME_CONNECT_REFUSED);
    ck_assert_int_eq(result.failure.stage, STAGE_CONNECT);
    ck_assert_int_eq(result.failure.delivery, DELIVERY_NOT_SENT);
    ck_assert_str_eq(result.failure.reason, "127.0.0.1: Connection refused");
}
END_TEST

START_TEST(times_out_for_each_address)
{
    struct resolve_address v[] = {black_hole()};
    uint64_t ms = dial_all(v, 1, 300, 15000);

    ck_assert_int_eq(result.failure.code, OUTCOME_CONNECT_TIMEOUT);
    ck_assert_str_eq(result.failure.reason, "127.0.0.1: no answer within 300 ms");
    ck_assert_uint_ge(ms, 290);
    ck_assert_uint_lt(ms, 700);
}
END_TEST

START_TEST(times_out_in_all)
{
    struct resolve_address v[] = {black_hole(), black_hole(), black_hole()};
    uint64_t ms = dial_all(v, 3, 5000, 400);

    ck_assert_int_eq(result.failure.code, OUTCOME_CONNECT_TIMEOUT);
    ck_assert_uint_ge(ms, 390);
    ck_assert_uint_lt(ms, 700);
    ck_assert_uint_ge(result.failure.ms, 390);
}
END_TEST

START_TEST(the_most_telling_failure_wins)
{
    struct resolve_address v[] = {black_hole(), refusing()};

    dial_all(v, 2, 400, 15000);
    ck_assert_int_eq(result.failure.code, OUTCOME_CONNECT_REFUSED);
    ck_assert_str_eq(result.failure.reason, "127.0.0.1: no answer within 400 ms; 127.0.0.1: Connection refused");
}
END_TEST

START_TEST(no_address_is_a_failure)
{
    dial_all(NULL, 0, 400, 15000);
    ck_assert_int_eq(result.fd, -1);
    ck_assert(result.failure.reason[0] != '\0');
}
END_TEST

static void stop(struct loop_timer *t)
{
    (void)t;
    loop_stop(loop);
}

START_TEST(cancelled_says_nothing)
{
    struct resolve_address v[] = {listening(), black_hole()};
    struct loop_timer timer = {.on_timer = stop};
    struct dial_params p = {
        .loop = loop, .v = v, .n = 2, .connect_ms = 100, .connect_total_ms = 100, .on_done = on_done, .ctx = &result,
    };

    dial_cancel(dial_start(&p));
    dial_cancel(NULL);
    loop_timer_set(loop, &timer, loop_now(loop) + 150);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert(!done);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dial");
    TCase *t = tcase_create("dial");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, connects);
    tcase_add_test(t, black_holed_first_costs_250_ms);
    tcase_add_test(t, refused_first_costs_nothing);
    tcase_add_test(t, refused);
    tcase_add_test(t, times_out_for_each_address);
    tcase_add_test(t, times_out_in_all);
    tcase_add_test(t, the_most_telling_failure_wins);
    tcase_add_test(t, no_address_is_a_failure);
    tcase_add_test(t, cancelled_says_nothing);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
