#include "smtp/resolve.h"

#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The resolver against a getaddrinfo and a clock of the test's own: coalescing, memory, order, failures. */

/* ---- the doubles ---- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_moved = PTHREAD_COND_INITIALIZER;
static int calls, inside;
static bool closed;                     /* look-ups wait until it opens */
static time_t clock_ahead;              /* seconds; atomic access */
static enum fate { FATE_GOOD, FATE_ABSENT, FATE_AGAIN, FATE_SYSTEM } fate;     /* of good.test */

static struct addrinfo *node(int family, const char *text, struct addrinfo *next)
{
    struct addrinfo *a = calloc(1, sizeof(*a));
    struct sockaddr_storage *s = calloc(1, sizeof(*s));

    s->ss_family = (sa_family_t)family;
    if (family == AF_INET)
        inet_pton(family, text, &((struct sockaddr_in *)s)->sin_addr);
    else
        inet_pton(family, text, &((struct sockaddr_in6 *)s)->sin6_addr);
    a->ai_family = family;
    a->ai_addr = (struct sockaddr *)s;
    a->ai_addrlen = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    a->ai_next = next;
    return a;
}

void freeaddrinfo(struct addrinfo *a)
{
    for (struct addrinfo *next; a; a = next) {
        next = a->ai_next;
        free(a->ai_addr);
        free(a);
    }
}

int getaddrinfo(const char *restrict host, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict out)
{
    enum fate mine;

    (void)service;
    (void)hints;
    pthread_mutex_lock(&gate);
    calls++;
    inside++;
    pthread_cond_broadcast(&gate_moved);
    while (closed)
        pthread_cond_wait(&gate_moved, &gate);
    inside--;
    pthread_cond_broadcast(&gate_moved);
    mine = strcasecmp(host, "good.test") == 0 ? fate : FATE_GOOD;
    pthread_mutex_unlock(&gate);
    *out = NULL;
    if (strcmp(host, "absent.test") == 0 || mine == FATE_ABSENT)
        return EAI_NONAME;
    if (strcmp(host, "nodata.test") == 0)
        return EAI_NODATA;
    if (strcmp(host, "again.test") == 0 || mine == FATE_AGAIN)
        return EAI_AGAIN;
    if (strcmp(host, "system.test") == 0 || mine == FATE_SYSTEM) {
        errno = EMFILE;
        return EAI_SYSTEM;
    }
    if (strcmp(host, "mixed.test") == 0) {
        *out = node(AF_INET6, "2001:db8::1", node(AF_INET6, "2001:db8::2", node(AF_INET6, "2001:db8::3",
               node(AF_INET, "192.0.2.1", node(AF_INET, "192.0.2.2", NULL)))));
        return 0;
    }
    if (strcmp(host, "many.test") == 0) {
        for (int i = 0; i < 40; i++)
            *out = node(AF_INET, "192.0.2.9", *out);
        return 0;
    }
    *out = node(AF_INET, "192.0.2.7", NULL);
    return 0;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc = (int)syscall(SYS_clock_gettime, id, ts);

    ts->tv_sec += __atomic_load_n(&clock_ahead, __ATOMIC_SEQ_CST);
    return rc;
}

/* The kernel's clock is behind the one above. */
int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until)
{
    struct timespec t = *until;

    t.tv_sec -= __atomic_load_n(&clock_ahead, __ATOMIC_SEQ_CST);
    return pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, &t);
}

static void set_gate(bool shut)
{
    pthread_mutex_lock(&gate);
    closed = shut;
    pthread_cond_broadcast(&gate_moved);
    pthread_mutex_unlock(&gate);
}

/* n: as many, or with 0 none any more. */
static void wait_inside(int n)
{
    pthread_mutex_lock(&gate);
    while (n ? inside < n : inside > 0)
        pthread_cond_wait(&gate_moved, &gate);
    pthread_mutex_unlock(&gate);
}

static void set_fate(enum fate to)
{
    pthread_mutex_lock(&gate);
    fate = to;
    pthread_mutex_unlock(&gate);
}

static bool is_resolver(const char *task)
{
    char path[300], name[20] = "";
    FILE *f;

    snprintf(path, sizeof(path), "/proc/self/task/%s/comm", task);
    f = fopen(path, "re");
    if (!f)
        return false;
    if (!fgets(name, sizeof(name), f))
        name[0] = '\0';
    fclose(f);
    return strcmp(name, "resolver\n") == 0;
}

static int count_threads(void)
{
    DIR *d = opendir("/proc/self/task");
    int n = 0;

    for (struct dirent *e; (e = readdir(d));)
        n += is_resolver(e->d_name);
    closedir(d);
    return n;
}

static int call_count(void)
{
    int n;

    pthread_mutex_lock(&gate);
    n = calls;
    pthread_mutex_unlock(&gate);
    return n;
}

/* ---- askers ---- */

static struct loop *loop, *loop_before;
static struct resolver *resolver;
static int left;
static struct resolve_answer last;

static void set_up(void)
{
    loop = loop_new();
    resolver = resolver_new();
    ck_assert(loop && resolver);
}

static void tear_down(void)
{
    resolver_free(resolver);
    loop_free(loop);
    loop_free(loop_before);
}

/* A loop that was stopped stays so: each wait has one of its own. Who posted the last answer may still be waking the
 * loop of it, with the resolver's lock held; the loop before that nobody touches any more, as a look-up took the lock
 * since. */
static void new_loop(void)
{
    loop_free(loop_before);
    loop_before = loop;
    loop = loop_new();
    ck_assert(loop != NULL);
}

static void on_answer(void *ctx, struct resolve_answer *a)
{
    last = *a;
    if (ctx)
        ++*(int *)ctx;
    if (--left == 0)
        loop_stop(loop);
}

static void ask_counting(const char *host, uint16_t port, int *count)
{
    left++;
    ck_assert_int_eq(resolver_lookup(resolver, host, port, loop, on_answer, count), 0);
}

static void ask(const char *host)
{
    ask_counting(host, 25, NULL);
}

static void answers(void)
{
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_int_eq(left, 0);
}

static struct resolve_answer *ask_once(const char *host)
{
    new_loop();
    ask(host);
    answers();
    return &last;
}

static const char *text_of(size_t i)
{
    static char text[64];

    resolve_address_text(&last.v[i], text);
    return text;
}

/* ---- tests ---- */

START_TEST(literals_need_no_look_up)
{
    static const char *const hosts[][2] = {{"192.0.2.1", "192.0.2.1"}, {"::1", "::1"}, {"[::1]", "::1"},
                                           {"[2001:db8::5]", "2001:db8::5"}};

    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        ask_once(hosts[i][0]);
        ck_assert(last.ok && last.n == 1);
        ck_assert_str_eq(text_of(0), hosts[i][1]);
        ck_assert_uint_eq(ntohs(last.v[0].addr.ss_family == AF_INET
                                    ? ((struct sockaddr_in *)&last.v[0].addr)->sin_port
                                    : ((struct sockaddr_in6 *)&last.v[0].addr)->sin6_port), 25);
    }
    ck_assert_int_eq(call_count(), 0);
}
END_TEST

START_TEST(families_alternate)
{
    static const char *const expected[] = {"2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "2001:db8::3"};

    ask_once("mixed.test");
    ck_assert(last.ok && last.n == ARRAY_LEN(expected));
    for (size_t i = 0; i < last.n; i++)
        ck_assert_str_eq(text_of(i), expected[i]);
}
END_TEST

START_TEST(addresses_are_limited)
{
    ask_once("many.test");
    ck_assert_uint_eq(last.n, RESOLVE_ADDRESSES_MAX);
}
END_TEST

static const struct {
    const char *host;
    enum outcome_code code;
    const char *reason;
} failures[] = {
    {"absent.test", OUTCOME_DNS_NOT_FOUND, "absent.test: Name or service not known"},
    {"nodata.test", OUTCOME_DNS_NOT_FOUND, "nodata.test: No address"},
    {"again.test", OUTCOME_DNS_FAILED, "again.test: Temporary failure"},
    {"system.test", OUTCOME_DNS_FAILED, "system.test: Too many open files"},
};

START_TEST(failures_are_told)
{
    ask_once(failures[_i].host);
    ck_assert(!last.ok && last.n == 0);
    ck_assert_int_eq(last.failure.code, failures[_i].code);
    ck_assert_int_eq(last.failure.stage, STAGE_DNS);
    ck_assert_msg(strstr(last.failure.reason, failures[_i].reason) != NULL, "%s", last.failure.reason);
}
END_TEST

START_TEST(one_look_up_for_many)
{
    int count = 0;

    set_gate(true);
    for (int i = 0; i < 50; i++)
        ask_counting(i % 2 ? "one.test" : "ONE.test", (uint16_t)(25 + i), &count);
    wait_inside(1);
    ask_counting("one.test", 25, &count);
    set_gate(false);
    answers();
    ck_assert_int_eq(count, 51);
    ck_assert_int_eq(call_count(), 1);
}
END_TEST

/* Names that hang hold up nobody else, as long as they are not more than sixteen; also when a thread was idle. */
START_TEST(sixteen_run_at_once)
{
    char host[32];

    ask_once("before.test");
    calls = 0;
    new_loop();
    set_gate(true);
    for (int i = 0; i < 17; i++) {
        snprintf(host, sizeof(host), "h%d.test", i);
        ask(host);
    }
    wait_inside(16);
    ck_assert_int_eq(call_count(), 16);
    set_gate(false);
    answers();
    ck_assert_int_eq(call_count(), 17);
}
END_TEST

/* ---- the last good addresses ---- */

START_TEST(old_addresses_after_a_moment)
{
    int count = 0;

    ask_once("good.test");
    ck_assert_uint_eq(last.age_s, 0);
    __atomic_store_n(&clock_ahead, 100, __ATOMIC_SEQ_CST);
    new_loop();
    set_gate(true);
    ask_counting("good.test", 25, &count);
    ask_counting("good.test", 26, &count);
    answers();                          /* while the look-up hangs */
    ck_assert_int_eq(count, 2);
    ck_assert(last.ok && last.n == 1);
    ck_assert_str_eq(text_of(0), "192.0.2.7");
    ck_assert_uint_ge(last.age_s, 100);
    ck_assert_int_eq(call_count(), 2);
    ask_once("GOOD.test");              /* at once: it has hung for long enough */
    ck_assert_uint_ge(last.age_s, 100);
    ck_assert_int_eq(call_count(), 2);
    set_gate(false);
    for (int i = 0; i < 10000 && last.age_s; i++) {     /* until the thread that hung has brought its answer */
        usleep(1000);
        ask_once("good.test");
    }
    ck_assert_uint_eq(last.age_s, 0);
}
END_TEST

START_TEST(old_addresses_where_it_fails)
{
    static const enum fate fates[] = {FATE_AGAIN, FATE_SYSTEM};

    for (size_t i = 0; i < ARRAY_LEN(fates); i++) {
        set_fate(FATE_GOOD);
        __atomic_fetch_add(&clock_ahead, 100, __ATOMIC_SEQ_CST);
        ask_once("good.test");
        ck_assert(last.ok && last.age_s == 0);
        set_fate(fates[i]);
        __atomic_fetch_add(&clock_ahead, 100, __ATOMIC_SEQ_CST);
        ask_once("good.test");
        ck_assert(last.ok && last.age_s >= 100);
    }
    set_fate(FATE_GOOD);
    __atomic_fetch_add(&clock_ahead, 2, __ATOMIC_SEQ_CST);
    ask_once("good.test");              /* soon it is asked for again */
    ck_assert(last.ok && last.age_s == 0);
}
END_TEST

START_TEST(not_where_the_name_is_gone)
{
    ask_once("good.test");
    set_fate(FATE_ABSENT);
    __atomic_store_n(&clock_ahead, 100, __ATOMIC_SEQ_CST);
    ask_once("good.test");
    ck_assert(!last.ok);
    ck_assert_int_eq(last.failure.code, OUTCOME_DNS_NOT_FOUND);
    set_fate(FATE_AGAIN);
    __atomic_store_n(&clock_ahead, 200, __ATOMIC_SEQ_CST);
    ask_once("good.test");              /* nor afterwards */
    ck_assert(!last.ok);
}
END_TEST

START_TEST(nor_after_a_day)
{
    ask_once("good.test");
    set_fate(FATE_AGAIN);
    __atomic_store_n(&clock_ahead, 24 * 3600 - 60, __ATOMIC_SEQ_CST);
    ask_once("good.test");
    ck_assert(last.ok);
    __atomic_store_n(&clock_ahead, 24 * 3600 + 1, __ATOMIC_SEQ_CST);
    ask_once("good.test");
    ck_assert(!last.ok);
}
END_TEST

/* ---- memory ---- */

START_TEST(answers_are_kept)
{
    ask_once("good.test");
    ask_once("good.test");
    ck_assert_int_eq(call_count(), 1);
    __atomic_store_n(&clock_ahead, 59, __ATOMIC_SEQ_CST);
    ask_once("good.test");
    ck_assert_int_eq(call_count(), 1);
    __atomic_store_n(&clock_ahead, 61, __ATOMIC_SEQ_CST);
    ask_once("good.test");
    ck_assert_int_eq(call_count(), 2);
}
END_TEST

START_TEST(failures_are_kept_shorter)
{
    ask_once("absent.test");
    new_loop();
    ask("absent.test");
    ask("absent.test");
    answers();
    ck_assert_int_le(call_count(), 2);  /* 1, unless this machine is busy for a second */
    ck_assert(!last.ok);
    calls = 1;
    __atomic_store_n(&clock_ahead, 3, __ATOMIC_SEQ_CST);
    ask_once("absent.test");
    ck_assert_int_eq(call_count(), 2);
}
END_TEST

START_TEST(memory_is_bounded)
{
    char host[32];

    for (int i = 0; i < 257; i++) {
        snprintf(host, sizeof(host), "h%d.test", i);
        ask_once(host);
        ask_once("h0.test");            /* in use, so it stays */
    }
    ck_assert_int_eq(call_count(), 257);
    ask_once("h1.test");                /* the oldest went */
    ck_assert_int_eq(call_count(), 258);
}
END_TEST

START_TEST(waiting_names_are_bounded)
{
    char host[32];
    int count = 0;

    set_gate(true);
    for (int i = 0; i < 257; i++) {
        snprintf(host, sizeof(host), "h%d.test", i);
        ask_counting(host, 25, &count);
    }
    set_gate(false);
    answers();
    ck_assert_int_eq(count, 257);
    ck_assert_int_eq(call_count(), 256);
}
END_TEST

/* The end waits for no look-up; what hangs is left to its thread. */
START_TEST(free_with_askers_waiting)
{
    set_gate(true);
    ask("a.test");
    ask("b.test");
    ask("c.test");
    wait_inside(3);
    resolver_free(resolver);
    resolver = NULL;
    loop_stop(loop);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_int_eq(left, 3);          /* no answer came, and none will */
    set_gate(false);
    wait_inside(0);
}
END_TEST

START_TEST(threads_end_when_idle)
{
    for (int i = 0; i == 0 || (i < 1000 && count_threads() > 1); i++) {
        ask_once("good.test");          /* wakes all: who has nothing to do now has been idle for too long */
        __atomic_fetch_add(&clock_ahead, 100, __ATOMIC_SEQ_CST);
        usleep(1000);
    }
    ck_assert_int_le(count_threads(), 1);       /* who made the last look-up */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("resolve");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, literals_need_no_look_up);
    tcase_add_test(t, families_alternate);
    tcase_add_test(t, addresses_are_limited);
    tcase_add_loop_test(t, failures_are_told, 0, (int)ARRAY_LEN(failures));
    tcase_add_test(t, one_look_up_for_many);
    tcase_add_test(t, sixteen_run_at_once);
    tcase_add_test(t, old_addresses_after_a_moment);
    tcase_add_test(t, old_addresses_where_it_fails);
    tcase_add_test(t, not_where_the_name_is_gone);
    tcase_add_test(t, nor_after_a_day);
    tcase_add_test(t, answers_are_kept);
    tcase_add_test(t, failures_are_kept_shorter);
    tcase_add_test(t, memory_is_bounded);
    tcase_add_test(t, waiting_names_are_bounded);
    tcase_add_test(t, free_with_askers_waiting);
    tcase_add_test(t, threads_end_when_idle);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
