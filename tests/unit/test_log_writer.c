#include "service/log.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* The log's thread: nobody who logs waits for stderr, no line is cut or lost in silence. Each test runs in a process of
 * its own. */

#define LINE_SIZE 4200
#define FLOOD 40000                     /* lines: several times what the ring holds */
#define STALL_MS 60000                  /* longer than any test waits: flush until all is out */

static int out[2];                      /* the pipe that stderr is */
static int real_stderr;

struct found {                          /* in what was read */
    size_t lines, broken, reports;
    unsigned long long dropped;
    char first[LINE_SIZE], last[LINE_SIZE];
};

/* Each test runs with the thread alone, and with a pipe that is written through to. */
static void start(int through)
{
    log_start();
    if (through)
        log_write_through();
}

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
    ck_assert_int_gt(fcntl(out[1], F_SETPIPE_SZ, 4096), 0);
    real_stderr = dup(STDERR_FILENO);
    ck_assert_int_ge(dup2(out[1], STDERR_FILENO), 0);
    close(out[1]);
    ck_assert_int_eq(log_init("json", "info", false), 0);
}

static void take_line(struct found *f, const char *line)
{
    const char *dropped = strstr(line, "\"dropped\":");

    snprintf(f->lines ? f->last : f->first, sizeof(f->last), "%s", line);
    f->lines++;
    f->broken += strncmp(line, "{\"ts\":\"", 7) != 0 || strcmp(line + strlen(line) - 2, "}\n") != 0;
    if (strstr(line, "\"event\":\"log\"") && dropped) {
        f->reports++;
        f->dropped += strtoull(dropped + 10, NULL, 10);
    }
}

/* Lines until the last one that holds `end`, or the end of the stream for NULL. */
static void read_lines(int fd, const char *end, struct found *f)
{
    FILE *file = fdopen(fd, "r");
    char line[LINE_SIZE];

    *f = (struct found){.lines = 0};
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof(line), file)) {
        take_line(f, line);
        if (end && strstr(line, end))
            break;
    }
    fclose(file);
}

struct reader {
    pthread_t thread;
    struct found found;
};

static void *run_reader(void *arg)
{
    struct reader *r = arg;

    read_lines(out[0], "\"msg\":\"the last\"", &r->found);
    return NULL;
}

static void *run_writer(void *arg)
{
    for (int i = 0; i < 500; i++)
        log_event(LOG_INFO_LEVEL, "e", (const char *)arg, LOG_N("i", i));
    return NULL;
}

START_TEST(test_nothing_is_lost_while_it_is_read)
{
    struct reader r;
    pthread_t threads[4];

    start(_i);
    ck_assert_int_eq(pthread_create(&r.thread, NULL, run_reader, &r), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_writer, "a thread's"), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    log_event(LOG_INFO_LEVEL, "e", "the last", LOG_N("n", 1));
    pthread_join(r.thread, NULL);
    ck_assert_uint_eq(r.found.lines, 4 * 500 + 1);
    ck_assert_uint_eq(r.found.broken, 0);
    ck_assert_uint_eq(log_lines_dropped(), 0);
}
END_TEST

/* Nobody reads; then somebody does. */
START_TEST(test_an_unread_pipe)
{
    struct reader r;

    start(_i);
    for (int i = 0; i < FLOOD; i++)
        log_event(LOG_INFO_LEVEL, "e", "one of many", LOG_N("i", i));
    ck_assert_uint_gt(log_lines_dropped(), 0);
    log_flush(50);                      /* gives up */
    log_event(LOG_WARN_LEVEL, "e", "a warning has its place kept", LOG_N("n", 1));
    ck_assert_int_eq(pthread_create(&r.thread, NULL, run_reader, &r), 0);
    log_flush(STALL_MS);
    log_event(LOG_INFO_LEVEL, "e", "the last", LOG_N("n", 1));
    pthread_join(r.thread, NULL);
    ck_assert_uint_eq(r.found.broken, 0);
    ck_assert_uint_eq(r.found.reports, 1);
    ck_assert_uint_eq(r.found.dropped, log_lines_dropped());
    ck_assert_uint_eq(r.found.lines - r.found.reports + r.found.dropped, FLOOD + 2);
    ck_assert_ptr_nonnull(strstr(r.found.first, "\"i\":0}"));
}
END_TEST

/* A disk that is full in the middle of a line, and then is not. */
START_TEST(test_a_full_disk)
{
    char name[] = "/tmp/mailhatch-log-XXXXXX";
    int fd = mkstemp(name);
    struct rlimit small = {10000, RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
    struct found f;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    start(_i);
    for (int i = 0; i < 500; i++)
        log_event(LOG_INFO_LEVEL, "e", "one of many", LOG_N("i", i));
    log_flush(STALL_MS);
    ck_assert_int_eq(lseek(fd, 0, SEEK_END), 10000);
    ck_assert_uint_gt(log_lines_dropped(), 300);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    log_event(LOG_INFO_LEVEL, "e", "the last", LOG_N("n", 1));
    log_flush(STALL_MS);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    read_lines(fd, NULL, &f);
    unlink(name);
    ck_assert_uint_eq(f.broken, 0);
    ck_assert_uint_eq(f.reports, 1);
    ck_assert_uint_eq(f.dropped, log_lines_dropped());
    ck_assert_uint_eq(f.lines - f.reports + f.dropped, 501);
}
END_TEST

START_TEST(test_a_closed_pipe)
{
    close(out[0]);
    start(_i);
    for (int i = 0; i < 100; i++)
        log_event(LOG_INFO_LEVEL, "e", "for nobody", LOG_N("i", i));
    log_flush(STALL_MS);
    ck_assert_uint_eq(log_lines_dropped(), 100);
}
END_TEST

/* Another process made the shared stderr non-blocking. */
START_TEST(test_a_pipe_that_does_not_block)
{
    struct reader r;

    ck_assert_int_eq(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK), 0);
    start(_i);
    for (int i = 0; i < 500; i++)
        log_event(LOG_INFO_LEVEL, "e", "one of many", LOG_N("i", i));
    log_event(LOG_INFO_LEVEL, "e", "the last", LOG_N("n", 1));
    ck_assert_int_eq(pthread_create(&r.thread, NULL, run_reader, &r), 0);
    pthread_join(r.thread, NULL);
    ck_assert_uint_eq(r.found.lines, 501);
    ck_assert_uint_eq(r.found.broken, 0);
    ck_assert_uint_eq(log_lines_dropped(), 0);
}
END_TEST

/* What was logged before a crash is what explains it. */
START_TEST(test_a_crash)
{
    struct found f;
    int status;
    pid_t child = fork();

    ck_assert_int_ge(child, 0);
    if (child == 0) {
        start(_i);
        for (int i = 0; i < 500; i++)
            log_event(LOG_INFO_LEVEL, "e", "one of many", LOG_N("i", i));
        unreachable("this test");
    }
    dup2(real_stderr, STDERR_FILENO);   /* so that the child's is the pipe's only end */
    read_lines(out[0], NULL, &f);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGABRT);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    ck_assert_uint_eq(f.lines, 501);
    ck_assert_uint_eq(f.broken, 0);
    ck_assert_ptr_nonnull(strstr(f.last, "\"event\":\"crash\""));
    ck_assert_ptr_nonnull(strstr(f.last, "\"why\":\"this test\""));
#endif
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("log writer");
    TCase *t = tcase_create("log writer");

    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_loop_test(t, test_nothing_is_lost_while_it_is_read, 0, 2);
    tcase_add_loop_test(t, test_an_unread_pipe, 0, 2);
    tcase_add_loop_test(t, test_a_full_disk, 0, 2);
    tcase_add_loop_test(t, test_a_closed_pipe, 0, 2);
    tcase_add_loop_test(t, test_a_pipe_that_does_not_block, 0, 2);
    tcase_add_loop_test(t, test_a_crash, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    int failed;

    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
