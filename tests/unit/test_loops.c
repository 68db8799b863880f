#include "service/loops.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* The HTTP loops' threads: each loop runs on one of its own, the first one on ours, and all end with the first. */

#define N 4

struct letter {
    struct loop_msg msg;
    pthread_t seen_by;
};

static struct loops *loops;
static struct loop *const *loop;
static struct letter letters[N];
static atomic_uint read_letters;

static void setup(void)
{
    size_t n;

    loops = loops_new(N);
    ck_assert_ptr_nonnull(loops);
    loop = loops_get(loops, &n);
    ck_assert_uint_eq(n, N);
}

static void teardown(void)
{
    loops_free(loops);
}

static void on_letter(struct loop_msg *m)
{
    struct letter *l = (struct letter *)(void *)m;

    l->seen_by = pthread_self();
    if (atomic_fetch_add(&read_letters, 1) == N - 1)
        loop_stop(loop[0]);
}

START_TEST(each_has_a_thread)
{
    for (size_t i = 0; i < N; i++) {
        letters[i].msg.on_msg = on_letter;
        loop_post(loop[i], &letters[i].msg);
    }
    ck_assert_int_eq(loops_run(loops), 0);
    ck_assert_uint_eq(read_letters, N);
    ck_assert(pthread_equal(letters[0].seen_by, pthread_self()));
    for (size_t i = 0; i < N; i++)
        for (size_t k = i + 1; k < N; k++)
            ck_assert(!pthread_equal(letters[i].seen_by, letters[k].seen_by));
}
END_TEST

/* What was posted before the end is read: by then the threads have ended, and letters are nobody's loss. */
START_TEST(the_end_reads_what_was_posted)
{
    loop_stop(loop[0]);
    for (size_t i = 0; i < N; i++) {
        letters[i].msg.on_msg = on_letter;
        loop_post(loop[i], &letters[i].msg);
    }
    ck_assert_int_eq(loops_run(loops), 0);
    ck_assert_uint_eq(read_letters, N);
}
END_TEST

START_TEST(made_and_not_run)
{
    struct loops *one = loops_new(1);
    size_t n;

    ck_assert_ptr_nonnull(one);
    ck_assert_ptr_nonnull(loops_get(one, &n)[0]);
    ck_assert_uint_eq(n, 1);
    loops_free(one);
    loops_free(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("loops");
    TCase *t = tcase_create("loops");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, each_has_a_thread);
    tcase_add_test(t, the_end_reads_what_was_posted);
    tcase_add_test(t, made_and_not_run);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
