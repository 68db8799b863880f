#include "smtp/loop.h"

#include "smtp/list.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The event loop: descriptors, timers, letters, and what may be done from inside a callback. The test has its own
 * clock, and may stop the process (as far as the loop can tell) while epoll_wait waits. */

static struct loop *loop;
static time_t ahead;                    /* seconds the clock is ahead; atomic access */

int clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc = (int)syscall(SYS_clock_gettime, id, ts);

    ts->tv_sec += __atomic_load_n(&ahead, __ATOMIC_SEQ_CST);
    return rc;
}

static int (*in_wait)(void);           /* called with each epoll_wait; -2: go on and wait, else what it returns */

int epoll_wait(int fd, struct epoll_event *events, int max, int ms)
{
    int rc = in_wait ? in_wait() : -2;

    return rc == -2 ? (int)syscall(SYS_epoll_pwait, fd, events, max, ms, NULL, 0) : rc;
}

static void set_up(void)
{
    loop = loop_new();
    ck_assert(loop != NULL);
}

static void tear_down(void)
{
    loop_free(loop);
}

/* ---- timers ---- */

struct alarm {
    struct loop_timer timer;
    int n;
};

static int order[1000], n_rung, stop_after;
static struct alarm *to_clear;

static void on_alarm(struct loop_timer *t)
{
    ck_assert(!t->is_set);      /* one shot: cleared before */
    order[n_rung++] = LIST_ITEM(t, struct alarm, timer)->n;
    if (to_clear) {
        loop_timer_clear(loop, &to_clear->timer);
        to_clear = NULL;
    }
    if (n_rung == stop_after)
        loop_stop(loop);
}

static void alarm_set(struct alarm *a, int n, uint64_t due)
{
    a->n = n;
    a->timer.on_timer = on_alarm;
    loop_timer_set(loop, &a->timer, due);
}

START_TEST(timers_ring_in_order)
{
    static struct alarm a[500];
    uint64_t now = loop_now(loop);
    unsigned seed = 1;

    for (int i = 0; i < 500; i++) {
        int due = (int)((seed = seed * 1103515245u + 12345u) >> 16) % 400;
        alarm_set(&a[i], due, now + (uint64_t)due);
    }
    for (int i = 0; i < 500; i += 3)    /* some move, some go */
        alarm_set(&a[i], 399 - a[i].n, now + (uint64_t)(399 - a[i].n));
    for (int i = 0; i < 500; i += 5) {
        loop_timer_clear(loop, &a[i].timer);
        loop_timer_clear(loop, &a[i].timer);
    }
    stop_after = 400;
    __atomic_store_n(&ahead, 1, __ATOMIC_SEQ_CST);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_int_eq(n_rung, 400);
    for (int i = 1; i < n_rung; i++)
        ck_assert_int_le(order[i - 1], order[i]);
}
END_TEST

START_TEST(a_timer_clears_another_that_is_due)
{
    static struct alarm a, b, c;
    uint64_t now = loop_now(loop);

    alarm_set(&a, 1, now);
    alarm_set(&b, 2, now);
    alarm_set(&c, 3, now);
    to_clear = &b;
    stop_after = 2;
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert(order[0] == 1 && order[1] == 3);
}
END_TEST

static int rings;

static void on_again(struct loop_timer *t)
{
    if (++rings == 5)
        loop_stop(loop);
    else
        loop_timer_set(loop, t, loop_now(loop) + 1);
}

START_TEST(a_timer_sets_itself_again)
{
    struct loop_timer t = {.on_timer = on_again};

    loop_timer_set(loop, &t, 0);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_int_eq(rings, 5);
}
END_TEST

START_TEST(a_timer_is_not_early)
{
    static struct alarm a;
    uint64_t began = clock_us();

    alarm_set(&a, 1, loop_now(loop) + 30);
    stop_after = 1;
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_uint_ge(clock_us() - began, 28000);
}
END_TEST

/* ---- descriptors ---- */

struct end {
    struct loop_io io;
    struct end *victim;                 /* freed by the first that is ready */
    int ready;
};

static void on_ready(struct loop_io *io, uint32_t events)
{
    struct end *e = LIST_ITEM(io, struct end, io);
    char byte;

    ck_assert(events & EPOLLIN);
    ck_assert_int_eq(read(io->fd, &byte, 1), 1);
    e->ready++;
    if (e->victim) {
        loop_del(loop, &e->victim->io);
        free(e->victim);                /* the running batch must not touch it */
        loop_stop(loop);
    }
}

static void pair(int fds[2])
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
}

START_TEST(a_callback_frees_another_of_its_batch)
{
    int one[2], two[2];
    struct end *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b)), *left;

    pair(one);
    pair(two);
    *a = (struct end){.io = {.fd = one[0], .on_ready = on_ready}, .victim = b};
    *b = (struct end){.io = {.fd = two[0], .on_ready = on_ready}, .victim = a};
    ck_assert(loop_add(loop, &a->io, EPOLLIN) == 0 && loop_add(loop, &b->io, EPOLLIN) == 0);
    ck_assert(write(one[1], "x", 1) == 1 && write(two[1], "x", 1) == 1);
    ck_assert_int_eq(loop_run(loop), 0);
    /* Exactly one of them ran and freed the other; which, epoll decides: only its byte is gone. */
    left = recv(one[0], (char[1]){0}, 1, MSG_PEEK) < 0 ? a : b;
    ck_assert_int_eq(left->ready, 1);
    free(left);
    for (int i = 0; i < 2; i++) {
        close(one[i]);
        close(two[i]);
    }
}
END_TEST

static void stop_when_ready(struct loop_io *io, uint32_t events)
{
    (void)io;
    (void)events;
    loop_stop(loop);
}

START_TEST(events_can_be_changed)
{
    int fds[2];
    struct loop_io io = {.on_ready = stop_when_ready};

    pair(fds);
    io.fd = fds[0];
    ck_assert_int_eq(loop_add(loop, &io, 0), 0);
    ck_assert_int_eq(loop_mod(loop, &io, EPOLLOUT), 0);
    ck_assert_int_eq(loop_mod(loop, &io, EPOLLOUT), 0);
    ck_assert_uint_eq(io.events, EPOLLOUT);
    ck_assert_int_eq(loop_run(loop), 0);
    loop_del(loop, &io);
    close(fds[0]);
    close(fds[1]);
    ck_assert_int_eq(loop_add(loop, &io, EPOLLIN), -1);
    ck_assert_int_eq(errno, EBADF);
}
END_TEST

/* ---- letters ---- */

struct letter {
    struct loop_msg msg;
    int from, n;
};

static int last_of[4], letters;

static void on_letter(struct loop_msg *m)
{
    struct letter *l = LIST_ITEM(m, struct letter, msg);

    ck_assert_int_eq(l->n, last_of[l->from]);
    last_of[l->from]++;
    letters++;
    if (letters == 4 * 2000)
        loop_stop(loop);
    free(l);
}

static void post(int from, int n)
{
    struct letter *l = calloc(1, sizeof(*l));

    *l = (struct letter){.msg = {.on_msg = on_letter}, .from = from, .n = n};
    loop_post(loop, &l->msg);
}

static void *writer(void *arg)
{
    for (int i = 0; i < 2000; i++)
        post((int)(intptr_t)arg, i);
    return NULL;
}

START_TEST(letters_keep_each_senders_order)
{
    pthread_t threads[4];

    for (intptr_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, writer, (void *)i), 0);
    ck_assert_int_eq(loop_run(loop), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(letters, 8000);
}
END_TEST

START_TEST(letters_before_the_stop_are_read)
{
    for (int i = 0; i < 3; i++)
        post(0, i);
    loop_stop(loop);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_int_eq(letters, 3);
}
END_TEST

static void on_letter_that_writes(struct loop_msg *m)
{
    post(0, 0);
    loop_stop(loop);
    free(m);
}

START_TEST(a_letter_writes_a_letter)
{
    struct loop_msg *m = calloc(1, sizeof(*m));

    m->on_msg = on_letter_that_writes;
    loop_post(loop, m);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_int_eq(letters, 1);
}
END_TEST

/* ---- a process that is stopped ---- */

#define SOCKETS 300

static struct loop_io sockets[SOCKETS];
static int far_ends[SOCKETS], waits, bytes_read, read_at_ring, hook_work, hook_done, second;
static bool is_interrupted;

static void jump(int seconds)
{
    __atomic_add_fetch(&ahead, seconds, __ATOMIC_SEQ_CST);
}

static void write_byte(int i)
{
    ck_assert_int_eq(write(far_ends[i], "x", 1), 1);
}

static void on_byte(struct loop_io *io, uint32_t events)
{
    char byte;

    (void)events;
    ck_assert_int_eq(read(io->fd, &byte, 1), 1);
    bytes_read++;
    if (second) {                       /* the process is stopped in a callback */
        write_byte(second);
        second = 0;
        jump(10);
    }
    hook_work++;
}

static void add_sockets(int n)
{
    for (int i = 0; i < n; i++) {
        int fds[2];
        pair(fds);
        sockets[i] = (struct loop_io){.fd = fds[0], .on_ready = on_byte};
        far_ends[i] = fds[1];
        ck_assert_int_eq(loop_add(loop, &sockets[i], EPOLLIN), 0);
    }
}

static void on_ring(struct loop_timer *t)
{
    (void)t;
    read_at_ring = bytes_read;
    loop_stop(loop);
}

/* The number of octets that were read before the timer rang. */
static int run_until_ring(uint64_t ms)
{
    static struct loop_timer t = {.on_timer = on_ring};

    loop_timer_set(loop, &t, loop_now(loop) + ms);
    ck_assert_int_eq(loop_run(loop), 0);
    in_wait = NULL;
    return read_at_ring;
}

static int stopped_in_wait(void)
{
    if (waits++)
        return -2;
    write_byte(0);
    jump(10);
    errno = EINTR;
    return is_interrupted ? -1 : 0;     /* or its time was up meanwhile */
}

START_TEST(input_of_a_pause_comes_before_timers)
{
    add_sockets(1);
    is_interrupted = _i;
    in_wait = stopped_in_wait;
    ck_assert_int_eq(run_until_ring(2000), 1);
}
END_TEST

START_TEST(a_pause_in_a_callback)
{
    add_sockets(2);
    second = 1;
    write_byte(0);
    ck_assert_int_eq(run_until_ring(2000), 2);
}
END_TEST

static int stopped_before_wait(void)
{
    if (!waits++)
        jump(10);
    return -2;
}

START_TEST(more_is_ready_than_fits_a_batch)
{
    add_sockets(SOCKETS);
    for (int i = 0; i < SOCKETS; i++)
        write_byte(i);
    in_wait = stopped_before_wait;
    ck_assert_int_eq(run_until_ring(2000), SOCKETS);
}
END_TEST

/* The same, and no second of pause: only the order helps. */
START_TEST(a_timer_is_behind_all_that_is_ready)
{
    add_sockets(SOCKETS);
    for (int i = 0; i < SOCKETS; i++)
        write_byte(i);
    ck_assert_int_eq(run_until_ring(0), SOCKETS);
}
END_TEST

/* A hook that waits for sockets of its own, as libmicrohttpd does. */
static int hook_with_sockets(void *ctx)
{
    (void)ctx;
    hook_done = hook_work;
    return -1;
}

static void on_ring_look_at_hook(struct loop_timer *t)
{
    on_ring(t);
    read_at_ring = hook_done;
}

START_TEST(the_hook_comes_before_timers)
{
    struct loop_timer t = {.on_timer = on_ring_look_at_hook};

    add_sockets(1);
    loop_set_before_wait(loop, hook_with_sockets, NULL);
    write_byte(0);
    loop_timer_set(loop, &t, loop_now(loop));
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_int_eq(read_at_ring, 1);
}
END_TEST

static int late_input(void)
{
    if (waits == 0)
        jump(10);
    if (waits == 2)
        write_byte(0);
    waits++;
    return waits == 1 ? 0 : -2;
}

START_TEST(a_pause_gives_a_moment_more)
{
    struct loop_timer early = {.on_timer = on_again};

    rings = 4;                          /* it would stop the loop */
    add_sockets(1);
    in_wait = late_input;
    loop_timer_set(loop, &early, loop_now(loop) + 1000);
    ck_assert_int_eq(loop_run(loop), 0);
    in_wait = NULL;
    ck_assert_int_eq(bytes_read, 1);
    ck_assert_int_gt(waits, 2);
}
END_TEST

static int always_late(void)
{
    jump(2);
    return ++waits < 1000 ? 0 : -2;
}

START_TEST(whoever_is_always_late_has_timers)
{
    in_wait = always_late;
    run_until_ring(1);
    ck_assert_int_lt(waits, 10);
}
END_TEST

static void on_byte_again(struct loop_io *io, uint32_t events)
{
    (void)io;
    (void)events;
    bytes_read++;
}

/* Sockets that are always ready, more than fit in a batch. */
START_TEST(endless_input_does_not_keep_timers)
{
    add_sockets(SOCKETS);
    for (int i = 0; i < SOCKETS; i++) {
        sockets[i].on_ready = on_byte_again;
        write_byte(i);
    }
    ck_assert_int_lt(run_until_ring(0), 10 * SOCKETS);
}
END_TEST

/* ---- the rest ---- */

static int hooks;

static int before_wait(void *ctx)
{
    ck_assert_ptr_eq(ctx, &hooks);
    if (++hooks == 3)
        loop_stop(loop);
    return 0;                           /* do not wait: there is work */
}

START_TEST(the_hook_limits_the_wait)
{
    static struct alarm far;

    alarm_set(&far, 1, loop_now(loop) + 3600000);
    loop_set_before_wait(loop, before_wait, &hooks);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_int_eq(hooks, 3);
    ck_assert_int_eq(n_rung, 0);
}
END_TEST

static void on_signal(int number)
{
    (void)number;
    loop_stop(loop);
}

static void *kicker(void *arg)
{
    pthread_kill(*(pthread_t *)arg, SIGUSR1);
    return NULL;
}

START_TEST(a_signal_handler_stops_it)
{
    struct sigaction sa = {.sa_handler = on_signal};
    pthread_t self = pthread_self(), thread;

    sigaction(SIGUSR1, &sa, NULL);
    ck_assert_int_eq(pthread_create(&thread, NULL, kicker, &self), 0);
    ck_assert_int_eq(loop_run(loop), 0);
    pthread_join(thread, NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("loop");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, timers_ring_in_order);
    tcase_add_test(t, a_timer_clears_another_that_is_due);
    tcase_add_test(t, a_timer_sets_itself_again);
    tcase_add_test(t, a_timer_is_not_early);
    tcase_add_test(t, a_callback_frees_another_of_its_batch);
    tcase_add_test(t, events_can_be_changed);
    tcase_add_test(t, letters_keep_each_senders_order);
    tcase_add_test(t, letters_before_the_stop_are_read);
    tcase_add_test(t, a_letter_writes_a_letter);
    tcase_add_loop_test(t, input_of_a_pause_comes_before_timers, 0, 2);
    tcase_add_test(t, a_pause_in_a_callback);
    tcase_add_test(t, more_is_ready_than_fits_a_batch);
    tcase_add_test(t, a_timer_is_behind_all_that_is_ready);
    tcase_add_test(t, the_hook_comes_before_timers);
    tcase_add_test(t, a_pause_gives_a_moment_more);
    tcase_add_test(t, whoever_is_always_late_has_timers);
    tcase_add_test(t, endless_input_does_not_keep_timers);
    tcase_add_test(t, the_hook_limits_the_wait);
    tcase_add_test(t, a_signal_handler_stops_it);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
