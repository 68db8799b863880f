#include "api/http_share.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* Sharing out connections, with servers that only count. The functions of api/http.h defined here stand in for the
 * library's. A loop runs once in a test, so what is to come next is done where a connection is brought. */

#define N 3
#define MOST 7

struct http_server {
    unsigned load, brought;
};

static struct http_server servers[N];
static struct loop *loop;
static struct http_share *share;
static struct loop_timer watchdog;
static unsigned brought;
static int last_brought;                /* its descriptor */
static void (*on_bring)(void);          /* after each */
static uint16_t port;
static int clients[64];
static size_t n_clients;

unsigned http_server_load(const struct http_server *s)
{
    return s->load;
}

void http_server_bring(struct http_server *s, const struct loop *from, int fd, const struct sockaddr_storage *address,
                       unsigned n)
{
    ck_assert_ptr_eq(from, loop);
    ck_assert_int_eq(address->ss_family, AF_INET);
    ck_assert_uint_eq(n, sizeof(struct sockaddr_in));
    s->load++;
    s->brought++;
    last_brought = fd;
    brought++;
    on_bring();
}

bool http_server_make_room(struct http_server *s)
{
    (void)s;
    return false;
}

static void on_watchdog(struct loop_timer *t)
{
    (void)t;
    ck_abort_msg("nothing came; brought: %u", brought);
}

static int open_listener(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)(void *)&a, sizeof(a)), 0);
    ck_assert_int_eq(listen(fd, 64), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)(void *)&a, &n), 0);
    port = ntohs(a.sin_port);
    return fd;
}

static void come(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};

    clients[n_clients] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(clients[n_clients++], (struct sockaddr *)(void *)&a, sizeof(a)), 0);
}

static void setup(void)
{
    struct http_share_params p;

    loop = loop_new();
    p = (struct http_share_params){.loop = loop, .max_connections = MOST, .n_servers = N};
    share = http_share_new(&p);
    ck_assert_ptr_nonnull(share);
    for (size_t i = 0; i < N; i++)
        http_share_join(share, &servers[i]);
    ck_assert_int_eq(http_share_listen(share, open_listener()), 0);
    watchdog.on_timer = on_watchdog;
    loop_timer_set(loop, &watchdog, loop_now(loop) + 20000);
}

static void teardown(void)
{
    http_share_stop(share);
    http_share_free(share);
    loop_free(loop);
}

static void stop_at_six(void)
{
    if (brought == 6)
        loop_stop(loop);
}

START_TEST(evenly)
{
    on_bring = stop_at_six;
    for (int i = 0; i < 6; i++)
        come();
    ck_assert_int_eq(loop_run(loop), 0);
    for (size_t i = 0; i < N; i++)
        ck_assert_uint_eq(servers[i].brought, 2);
}
END_TEST

START_TEST(to_the_one_with_the_fewest)
{
    on_bring = stop_at_six;
    servers[1].load = 5;
    brought = 4;                        /* two more are enough: then all are full */
    come();
    come();
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_uint_eq(servers[0].brought, 1);
    ck_assert_uint_eq(servers[1].brought, 0);
    ck_assert_uint_eq(servers[2].brought, 1);
}
END_TEST

/* ---- the limit ---- */

static struct loop_timer later;

static void on_later(struct loop_timer *t)
{
    (void)t;
    ck_assert_uint_eq(brought, MOST);
    servers[1].load--;
    http_share_left(share);
    http_share_left(share);             /* a second one wakes nobody who is awake */
}

static void limit_step(void)
{
    ck_assert_uint_le(servers[0].load + servers[1].load + servers[2].load, MOST);
    if (brought == MOST) {
        later.on_timer = on_later;
        loop_timer_set(loop, &later, loop_now(loop) + 20);
    } else if (brought == MOST + 1) {
        loop_stop(loop);
    }
}

START_TEST(no_more_than_the_limit)
{
    on_bring = limit_step;
    for (int i = 0; i < MOST + 3; i++)
        come();
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_uint_eq(brought, MOST + 1);
    ck_assert_uint_eq(servers[1].load, 2);
}
END_TEST

static void *leave(void *arg)
{
    (void)arg;
    for (int i = 0; i < 1000; i++)
        http_share_left(share);
    return NULL;
}

static void nothing(void)
{
}

/* Whoever ends a connection may be on any thread. */
START_TEST(left_on_other_threads)
{
    pthread_t threads[4];

    on_bring = stop_at_six;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, leave, NULL), 0);
    for (int i = 0; i < 6; i++)
        come();
    ck_assert_int_eq(loop_run(loop), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(brought, 6);
}
END_TEST

/* ---- descriptors ---- */

static struct rlimit files;

static void on_more_descriptors(struct loop_timer *t)
{
    (void)t;
    ck_assert_uint_eq(brought, 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
}

/* Without a descriptor to spare the loop does not spin, and looks again by itself. */
START_TEST(no_descriptor)
{
    struct rlimit none;
    struct rusage before, after;

    on_bring = stop_at_six;
    for (int i = 0; i < 6; i++)
        come();
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
    none = files;
    none.rlim_cur = (rlim_t)clients[5];
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    later.on_timer = on_more_descriptors;
    loop_timer_set(loop, &later, loop_now(loop) + 250);
    getrusage(RUSAGE_SELF, &before);
    ck_assert_int_eq(loop_run(loop), 0);
    getrusage(RUSAGE_SELF, &after);
    ck_assert_uint_eq(brought, 6);
    ck_assert_int_lt(after.ru_nvcsw - before.ru_nvcsw, 50);
}
END_TEST

static unsigned scarce;
static int kept[2];

static void on_scarce(void *ctx)
{
    ck_assert_ptr_eq(ctx, &scarce);
    scarce++;
}

static void on_room(struct loop_timer *t)
{
    char c;

    (void)t;
    ck_assert_uint_eq(brought, 2);
    ck_assert_uint_eq(scarce, 1);
    ck_assert_int_eq(recv(clients[2], &c, 1, 0), 0);
    close(kept[0]);
    close(kept[1]);
}

static void keep_two(void)
{
    if (brought <= 2)
        kept[brought - 1] = last_brought;
    if (brought == 2) {
        later.on_timer = on_room;       /* before the share looks again */
        loop_timer_set(loop, &later, loop_now(loop) + 30);
    } else if (brought == 3) {
        loop_stop(loop);
    }
}

/* Descriptors above max_fd are for others: a connection that gets one is closed, further ones wait. */
START_TEST(descriptors_are_kept)
{
    struct http_share_params p = {.loop = loop, .max_connections = MOST, .n_servers = N, .on_scarce = on_scarce,
                                  .ctx = &scarce};
    int fd, next[2];

    http_share_stop(share);
    http_share_free(share);
    fd = open_listener();
    for (int i = 0; i < 4; i++)
        come();
    next[0] = dup(fd);
    next[1] = p.max_fd = dup(fd);
    close(next[0]);
    close(next[1]);
    share = http_share_new(&p);
    for (size_t i = 0; i < N; i++)
        http_share_join(share, &servers[i]);
    on_bring = keep_two;
    ck_assert_int_eq(http_share_listen(share, fd), 0);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_uint_eq(brought, 3);
    ck_assert_uint_eq(scarce, 1);
}
END_TEST

/* ---- the end ---- */

START_TEST(the_end_takes_what_waits)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    on_bring = nothing;
    for (int i = 0; i < 5; i++)
        come();
    http_share_stop(share);
    ck_assert_uint_eq(brought, 5);
    http_share_left(share);
    http_share_stop(share);
    a.sin_port = htons(port);
    ck_assert_int_lt(connect(fd, (struct sockaddr *)(void *)&a, sizeof(a)), 0);
    close(fd);
}
END_TEST

START_TEST(the_end_while_full)
{
    on_bring = nothing;
    for (int i = 0; i < MOST + 2; i++)
        come();
    http_share_stop(share);
    ck_assert_uint_eq(brought, MOST);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("http_share");
    TCase *t = tcase_create("http_share");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, evenly);
    tcase_add_test(t, to_the_one_with_the_fewest);
    tcase_add_test(t, no_more_than_the_limit);
    tcase_add_test(t, left_on_other_threads);
    tcase_add_test(t, no_descriptor);
    tcase_add_test(t, descriptors_are_kept);
    tcase_add_test(t, the_end_takes_what_waits);
    tcase_add_test(t, the_end_while_full);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
