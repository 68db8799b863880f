#include "api/rate.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>

/* Buckets: emptied, filled by time, asked for more than they hold, and shared by threads. */

#define START_US 5000000000u
#define SECOND_US 1000000u

static const struct rate_limit ten_a_minute = {10, 60000};

START_TEST(test_whole_then_refused)
{
    _Atomic uint64_t bucket = 0;
    struct rate_verdict v;

    for (unsigned i = 0; i < 10; i++) {
        rate_take(&bucket, ten_a_minute, 1, START_US, &v);
        ck_assert(v.ok);
        ck_assert_uint_eq(v.left, 9 - i);
        ck_assert_uint_eq(v.full_s, 6 * (i + 1));
    }
    rate_take(&bucket, ten_a_minute, 1, START_US, &v);
    ck_assert(!v.ok);
    ck_assert_uint_eq(v.left, 0);
    ck_assert_uint_eq(v.retry_s, 6);
}
END_TEST

START_TEST(test_fills)
{
    _Atomic uint64_t bucket = 0;
    struct rate_verdict v;

    rate_take(&bucket, ten_a_minute, 10, START_US, &v);
    ck_assert(v.ok);
    rate_take(&bucket, ten_a_minute, 1, START_US + 6 * SECOND_US - 1, &v);
    ck_assert(!v.ok);
    ck_assert_uint_eq(v.retry_s, 1);
    rate_take(&bucket, ten_a_minute, 1, START_US + 6 * SECOND_US, &v);
    ck_assert(v.ok);
    rate_take(&bucket, ten_a_minute, 1, START_US + 6 * SECOND_US, &v);
    ck_assert(!v.ok);
    rate_take(&bucket, ten_a_minute, 10, START_US + 66 * SECOND_US, &v);
    ck_assert(v.ok);
}
END_TEST

/* All or nothing; what is more than the whole can never be had. */
START_TEST(test_many)
{
    _Atomic uint64_t bucket = 0;
    struct rate_verdict v;

    rate_take(&bucket, ten_a_minute, 11, START_US, &v);
    ck_assert(!v.ok);
    ck_assert_uint_eq(v.retry_s, 0);
    ck_assert_uint_eq(v.left, 10);
    rate_take(&bucket, ten_a_minute, 6, START_US, &v);
    ck_assert(v.ok);
    rate_take(&bucket, ten_a_minute, 6, START_US, &v);
    ck_assert(!v.ok);
    ck_assert_uint_eq(v.retry_s, 12);
    ck_assert_uint_eq(v.left, 4);
    rate_take(&bucket, ten_a_minute, 4, START_US, &v);
    ck_assert(v.ok);
    rate_take(&bucket, ten_a_minute, 0, START_US, &v);
    ck_assert(v.ok);
}
END_TEST

START_TEST(test_largest)
{
    const struct rate_limit most = {1000000, 86400000}, fastest = {1000000, 1000};
    _Atomic uint64_t bucket = 0, other = 0;
    struct rate_verdict v;

    rate_take(&bucket, most, 1000000, START_US, &v);
    ck_assert(v.ok);
    ck_assert_uint_eq(v.left, 0);
    rate_take(&bucket, most, 1, START_US, &v);
    ck_assert(!v.ok);
    rate_take(&other, fastest, 1, START_US, &v);
    ck_assert_uint_eq(v.left, 999999);
}
END_TEST

static _Atomic uint64_t shared;
static atomic_uint taken;

static void *take_all(void *arg)
{
    struct rate_verdict v;

    (void)arg;
    for (unsigned i = 0; i < 5000; i++) {
        rate_take(&shared, (struct rate_limit){1000, 60000}, 1, START_US, &v);
        taken += v.ok;
    }
    return NULL;
}

START_TEST(test_threads)
{
    pthread_t threads[4];

    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, take_all, NULL), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(taken, 1000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rate");
    TCase *tc = tcase_create("rate");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_add_test(tc, test_whole_then_refused);
    tcase_add_test(tc, test_fills);
    tcase_add_test(tc, test_many);
    tcase_add_test(tc, test_largest);
    tcase_add_test(tc, test_threads);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
