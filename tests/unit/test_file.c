#include "smtp/file.h"

#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Files that settings name: whatever stands in their place, the reading ends and its size is bounded. */

#define MAX 8192

static char dir[] = "/tmp/mailhatch-file-XXXXXX", path[64], why[FILE_ERR_SIZE];
static size_t n;

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/f", dir);
}

static void teardown(void)
{
    unlink(path);
    rmdir(path);
    rmdir(dir);
}

static void put(size_t size, char c)
{
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    for (size_t i = 0; i < size; i++)
        fputc(c, f);
    ck_assert_int_eq(fclose(f), 0);
}

static void assert_refused(const char *name, const char *want)
{
    ck_assert_ptr_null(file_read(name, MAX, FILE_OR_PIPE, &n, why));
    ck_assert_str_eq(why, want);
}

START_TEST(test_sizes)
{
    static const size_t sizes[] = {0, 1, 4094, 4095, 4096, 4097, MAX - 1, MAX};

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char *text;
        put(sizes[i], 'x');
        text = file_read(path, MAX, FILE_REGULAR, &n, why);
        ck_assert_ptr_nonnull(text);
        ck_assert_uint_eq(n, sizes[i]);
        ck_assert_uint_eq(strlen(text), n);
        file_free(text, n);
    }
    put(MAX + 1, 'x');
    assert_refused(path, "is larger than 8 KiB");
    ck_assert_ptr_null(file_read(path, 1000, FILE_REGULAR, &n, why));
    ck_assert_str_eq(why, "is larger than 1000 bytes");
    ck_assert_int_eq(truncate(path, (off_t)3 << 30), 0);        /* sparse: it costs nothing to make */
    ck_assert_ptr_null(file_read(path, FILE_PEM_MAX, FILE_REGULAR, &n, why));
    ck_assert_str_eq(why, "is larger than 16 MiB");
}
END_TEST

/* Their size is 0 by stat(2). */
START_TEST(test_proc)
{
    char *text = file_read("/proc/self/status", FILE_SECRET_MAX, FILE_REGULAR, &n, why);

    ck_assert_ptr_nonnull(text);
    ck_assert_ptr_nonnull(strstr(text, "Threads:"));
    file_free(text, n);
    ck_assert_ptr_null(file_read("/proc/self/maps", 100, FILE_REGULAR, &n, why));
    ck_assert_str_eq(why, "is larger than 100 bytes");
}
END_TEST

START_TEST(test_what_is_no_file)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_refused("/dev/zero", "is a device, not a file");
    assert_refused("/dev/tty", "is a device, not a file");
    assert_refused(dir, "is a directory, not a file");
    assert_refused(path, "cannot be read: No such file or directory");
    ck_assert_int_eq(symlink(path, path), 0);
    assert_refused(path, "cannot be read: Too many levels of symbolic links");
    unlink(path);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    assert_refused(path, "is a pipe (FIFO), not a file");
    unlink(path);
    snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
    ck_assert_int_eq(bind(s, (struct sockaddr *)&sun, sizeof(sun)), 0);
    assert_refused(path, "is a socket, not a file");
    close(s);
    free(file_read("/dev/null", MAX, FILE_REGULAR, &n, why));
    ck_assert_uint_eq(n, 0);
    ck_assert_ptr_null(file_read("/dev/full", MAX, FILE_REGULAR, &n, why));
}
END_TEST

/* As a shell's <(…) gives one: read once, at the start. */
START_TEST(test_a_pipe_that_was_given)
{
    char name[32], *text;
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    snprintf(name, sizeof(name), "/dev/fd/%d", fds[0]);
    ck_assert_int_eq(write(fds[1], "secret", 6), 6);
    ck_assert_ptr_null(file_read(name, MAX, FILE_REGULAR, &n, why));
    ck_assert_str_eq(why, "is a pipe (FIFO), not a file");
    close(fds[1]);
    text = file_read(name, MAX, FILE_OR_PIPE, &n, why);
    ck_assert_ptr_nonnull(text);
    ck_assert_str_eq(text, "secret");
    file_free(text, n);
    close(fds[0]);
    ck_assert_int_eq(pipe(fds), 0);     /* open at both ends: nothing would ever come */
    snprintf(name, sizeof(name), "/dev/fd/%d", fds[0]);
    file_forbid_pipes();
    assert_refused(name, "is a pipe (FIFO), not a file");
}
END_TEST

static atomic_bool stopped;

/* Writes 'a' and 'b' in turns over the whole file, so that a reading may begin in one and end in the other. */
static void *write_on(void *arg)
{
    static char text[2][MAX];
    int fd = open(path, O_WRONLY);

    (void)arg;
    memset(text[0], 'a', MAX);
    memset(text[1], 'b', MAX);
    for (unsigned i = 0; !stopped; i++)
        ck_assert_int_eq(pwrite(fd, text[i % 2], MAX - i % 7, 0), (ssize_t)(MAX - i % 7));
    close(fd);
    return NULL;
}

/* What is read is bounded, and its end is where n says, however the file changes meanwhile. */
START_TEST(test_a_file_that_is_written_to)
{
    pthread_t thread;

    put(MAX, 'a');
    ck_assert_int_eq(pthread_create(&thread, NULL, write_on, NULL), 0);
    for (unsigned i = 0; i < 500; i++) {
        char *text = file_read(path, MAX, FILE_REGULAR, &n, why);
        ck_assert(text || strcmp(why, "is being written to") == 0);
        ck_assert_uint_le(n, MAX);
        file_free(text, n);
        ck_assert_int_eq(truncate(path, i % MAX), 0);
    }
    stopped = true;
    pthread_join(thread, NULL);
}
END_TEST

START_TEST(test_stamps)
{
    char a[FILE_STAMP_SIZE], b[FILE_STAMP_SIZE];

    file_stamp(NULL, a);
    ck_assert_str_eq(a, "");
    file_stamp(path, a);
    ck_assert_str_eq(a, "-");
    ck_assert(!file_stamp_same_file(a, a));
    put(1, 'x');
    file_stamp(path, a);
    put(2, 'x');
    file_stamp(path, b);
    ck_assert_str_ne(a, b);
    ck_assert(file_stamp_same_file(a, b));
    file_stamp("/dev/null", b);
    ck_assert(!file_stamp_same_file(a, b));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("file");
    TCase *t = tcase_create("file");

    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_sizes);
    tcase_add_test(t, test_proc);
    tcase_add_test(t, test_what_is_no_file);
    tcase_add_test(t, test_a_pipe_that_was_given);
    tcase_add_test(t, test_a_file_that_is_written_to);
    tcase_add_test(t, test_stamps);
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
