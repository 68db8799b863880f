#include "smtp/block.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Blocks of every size: what they hold, that they come back, and that malloc's own are known as such. */

#define MANY 200

START_TEST(small_ones_are_malloc_s)
{
    char *p = block_alloc(0), *q = malloc(10);

    ck_assert_ptr_nonnull(p);
    ck_assert_ptr_nonnull(q);
    block_free(p);
    block_free(q);
    block_free(NULL);
}
END_TEST

/* Contents stay across every growth and every shrinking, whatever the block was. */
START_TEST(contents_stay)
{
    static const size_t sizes[] = {1,        1000,    BLOCK_LARGE - 1, BLOCK_LARGE, BLOCK_LARGE + 1, 900000, 5 << 20,
                                   40 << 20, 5 << 20, 700000,          BLOCK_LARGE, 100,             3 << 20};
    size_t used = 0;
    char *p = NULL;

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t kept = used < sizes[i] ? used : sizes[i];
        p = block_resize(p, used, sizes[i]);
        ck_assert_ptr_nonnull(p);
        for (size_t k = 0; k < kept; k++)
            ck_assert_int_eq((unsigned char)p[k], (unsigned char)(k * 31 % 251));
        for (size_t k = 0; k < sizes[i]; k++)
            p[k] = (char)(unsigned char)(k * 31 % 251);
        used = sizes[i];
    }
    block_free(p);
}
END_TEST

START_TEST(malloc_s_own_can_grow)
{
    char *p = malloc(6);

    ck_assert_ptr_nonnull(p);
    memcpy(p, "hello", 6);
    p = block_resize(p, 6, 2 * BLOCK_LARGE);
    ck_assert_ptr_nonnull(p);
    ck_assert_str_eq(p, "hello");
    p = block_resize(p, 6, 6);
    ck_assert_ptr_nonnull(p);
    ck_assert_str_eq(p, "hello");
    free(p);                            /* a small one is malloc's again */
}
END_TEST

#ifndef __SANITIZE_ADDRESS__            /* there every block is malloc's */
START_TEST(a_freed_one_comes_back)
{
    char *p = block_alloc(1000000), *q;

    ck_assert_ptr_nonnull(p);
    block_free(p);
    q = block_alloc(1000001);           /* of the same class */
    ck_assert_ptr_eq(q, p);
    block_free(q);
    q = block_alloc(2000000);
    ck_assert_ptr_ne(q, p);
    block_free(q);
    block_trim();
    q = block_alloc(1000000);
    ck_assert_ptr_nonnull(q);
    memset(q, 'x', 1000000);
    block_free(q);
}
END_TEST
#endif

START_TEST(too_large_is_refused)
{
    char *p = block_alloc(BLOCK_LARGE);

    ck_assert_ptr_nonnull(p);
    memset(p, 'x', BLOCK_LARGE);
    ck_assert_ptr_null(block_alloc(SIZE_MAX / 5));
    ck_assert_ptr_null(block_resize(p, BLOCK_LARGE, SIZE_MAX / 5));
    ck_assert_int_eq(p[BLOCK_LARGE - 1], 'x');
    block_free(p);
}
END_TEST

static void *use_many(void *ctx)
{
    char *mine[8] = {NULL};
    unsigned seed = *(unsigned *)ctx;

    for (unsigned i = 0; i < MANY; i++) {
        unsigned k = (seed * 7 + i * 5) % 8;
        size_t n = BLOCK_LARGE / 2 + (size_t)((i * 37 + seed) % 9) * 100000;
        block_free(mine[k]);
        mine[k] = block_alloc(n);
        if (!mine[k])
            abort();
        mine[k][0] = mine[k][n - 1] = (char)k;
    }
    for (unsigned k = 0; k < 8; k++)
        block_free(mine[k]);
    return NULL;
}

START_TEST(threads_share_them)
{
    unsigned seeds[4] = {1, 2, 3, 4};
    pthread_t threads[4];

    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, use_many, &seeds[i]), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    block_trim();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("block");
    TCase *t = tcase_create("block");
    SRunner *runner;
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, small_ones_are_malloc_s);
    tcase_add_test(t, contents_stay);
    tcase_add_test(t, malloc_s_own_can_grow);
#ifndef __SANITIZE_ADDRESS__
    tcase_add_test(t, a_freed_one_comes_back);
#endif
    tcase_add_test(t, too_large_is_refused);
    tcase_add_test(t, threads_share_them);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
