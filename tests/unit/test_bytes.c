#include "smtp/bytes.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Views, buffers and queues, at their limits and one past them. */

static const struct {
    const char *bytes;
    size_t n;
    bool good;
} utf8[] = {
#define V(s) s, sizeof(s) - 1
    {V(""), true}, {V("abc"), true}, {V("a\0b"), true}, {V("\x7f"), true}, {V("\x80"), false}, {V("\xbf"), false},
    {V("\xc1\xbf"), false}, {V("\xc2\x80"), true}, {V("\xdf\xbf"), true}, {V("\xc2"), false}, {V("\xc2\x41"), false},
    {V("\xe0\x9f\xbf"), false}, {V("\xe0\xa0\x80"), true}, {V("\xed\x9f\xbf"), true}, {V("\xed\xa0\x80"), false},
    {V("\xee\x80\x80"), true}, {V("\xef\xbf\xbf"), true}, {V("\xe2\x82"), false}, {V("\xf0\x8f\xbf\xbf"), false},
    {V("\xf0\x90\x80\x80"), true}, {V("\xf4\x8f\xbf\xbf"), true}, {V("\xf4\x90\x80\x80"), false},
    {V("\xf5\x80\x80\x80"), false}, {V("\xf0\x9f\x98"), false}, {V("\xe2\x82\x28"), false}, {V("\xff"), false},
    {V("ok \xe2\x82\xac \xf0\x9f\x98\x80"), true}, {V("ok \xe2\x82\xac\x80"), false},
};

START_TEST(distances)
{
    char longest[BYTES_DISTANCE_MAX] = "";

    ck_assert_uint_eq(bytes_distance("", ""), 0);
    ck_assert_uint_eq(bytes_distance("subject", "subject"), 0);
    ck_assert_uint_eq(bytes_distance("sbject", "subject"), 1);
    ck_assert_uint_eq(bytes_distance("fron", "from"), 1);
    ck_assert_uint_eq(bytes_distance("form", "from"), 1);       /* a swap is one */
    ck_assert_uint_eq(bytes_distance("cc", "bcc"), 1);
    ck_assert_uint_eq(bytes_distance("", "html"), 4);
    memset(longest, 'a', sizeof(longest) - 1);
    ck_assert_uint_eq(bytes_distance(longest, ""), BYTES_DISTANCE_MAX - 1);
    ck_assert_uint_eq(bytes_distance("", longest), BYTES_DISTANCE_MAX - 1);
}
END_TEST

/* In memory of its exact size, so that a read past the end is seen. */
START_TEST(utf8_is_strict)
{
    char *copy = malloc(utf8[_i].n ? utf8[_i].n : 1);

    memcpy(copy, utf8[_i].bytes, utf8[_i].n);
    ck_assert_int_eq(bytes_is_utf8(bytes_view(copy, utf8[_i].n)), utf8[_i].good);
    free(copy);
}
END_TEST

START_TEST(views_compare)
{
    ck_assert(bytes_equal(bytes_view_str("a"), bytes_view_str("a")));
    ck_assert(!bytes_equal(bytes_view_str("a"), bytes_view_str("A")));
    ck_assert(!bytes_equal(bytes_view_str("a"), bytes_view_str("ab")));
    ck_assert(bytes_equal(bytes_view_str(NULL), bytes_view(NULL, 0)));
    ck_assert(bytes_equal_nocase(bytes_view_str("EhLo[{z"), bytes_view_str("eHlO[{Z")));
    ck_assert(!bytes_equal_nocase(bytes_view_str("["), bytes_view_str("{")));           /* 0x20 apart, no letters */
    ck_assert(!bytes_equal_nocase(bytes_view_str("@"), bytes_view_str("`")));
    ck_assert(!bytes_equal_nocase(bytes_view_str("\xc0"), bytes_view_str("\xe0")));     /* ASCII only */
    ck_assert(bytes_starts_nocase(bytes_view_str("MAIL x"), "mail "));
    ck_assert(!bytes_starts_nocase(bytes_view_str("MAI"), "mail"));
    ck_assert(bytes_starts_nocase(bytes_view_str("x"), ""));
    ck_assert(bytes_is_ascii(bytes_view_str("\x7f")) && !bytes_is_ascii(bytes_view_str("a\x80")));
    ck_assert(bytes_is_ascii(bytes_view("", 0)));
}
END_TEST

START_TEST(buf_grows_and_ends_in_nul)
{
    struct bytes_buf b;
    size_t n;
    char *p;

    bytes_buf_init(&b, 0);
    ck_assert_uint_eq(bytes_buf_view(&b).n, 0);
    for (int i = 0; i < 10000; i++) {
        bytes_buf_printf(&b, "%d,", i % 10);
        ck_assert_int_eq(b.p[b.n], '\0');
    }
    bytes_buf_add(&b, "", 0);
    bytes_buf_add_str(&b, "end");
    bytes_buf_add_char(&b, '\0');
    ck_assert(!b.failed);
    p = bytes_buf_take(&b, &n);
    ck_assert_uint_eq(n, 20004);
    ck_assert_str_eq(p + 20000, "end");
    ck_assert_uint_eq(b.n, 0);
    ck_assert_ptr_null(b.p);
    free(p);
    bytes_buf_deinit(&b);
}
END_TEST

START_TEST(buf_keeps_its_limit)
{
    struct bytes_buf b;
    size_t n = 99;

    bytes_buf_init(&b, 4);
    bytes_buf_add_str(&b, "abcd");
    ck_assert(!b.failed);
    bytes_buf_add(&b, "", 0);
    ck_assert(!b.failed);
    bytes_buf_add_char(&b, 'e');
    ck_assert(b.failed);
    ck_assert_uint_eq(b.n, 4);
    bytes_buf_printf(&b, "%s", "");
    ck_assert(b.failed);
    ck_assert_str_eq(b.p, "abcd");
    ck_assert_ptr_null(bytes_buf_take(&b, &n));
    ck_assert_uint_eq(n, 0);
    bytes_buf_add_str(&b, "abcde");     /* usable again, same limit */
    ck_assert(b.failed);
    bytes_buf_deinit(&b);
    ck_assert(!b.failed);
    bytes_buf_printf(&b, "%s", "abcd");
    ck_assert(!b.failed);
    bytes_buf_deinit(&b);
    bytes_buf_reserve(&b, SIZE_MAX);
    ck_assert(b.failed);
}
END_TEST

START_TEST(buf_of_nothing_is_an_empty_string)
{
    struct bytes_buf b;
    char *p;

    bytes_buf_init(&b, 0);
    p = bytes_buf_take(&b, NULL);
    ck_assert_str_eq(p, "");
    free(p);
}
END_TEST

START_TEST(queue_is_first_in_first_out)
{
    struct bytes_queue q;
    unsigned char next_in = 0, next_out = 0;

    bytes_queue_init(&q, 0);
    for (size_t round = 0; round < 2000; round++) {
        size_t add = round * 7 % 300, take;
        char *room = bytes_queue_room(&q, add + 10);
        ck_assert(room != NULL);
        for (size_t i = 0; i < add; i++)
            room[i] = (char)next_in++;
        bytes_queue_added(&q, add);
        take = bytes_queue_len(&q) * (round % 5) / 4;
        for (size_t i = 0; i < take; i++)
            ck_assert_uint_eq((unsigned char)bytes_queue_view(&q).p[i], next_out++);
        bytes_queue_consume(&q, take);
    }
    ck_assert(q.cap < 16384);           /* what was consumed makes room */
    bytes_queue_deinit(&q);
}
END_TEST

START_TEST(queue_keeps_its_limit)
{
    struct bytes_queue q;

    bytes_queue_init(&q, 4);
    bytes_queue_add(&q, "abcd", 4);
    bytes_queue_add(&q, "", 0);
    ck_assert(!q.failed);
    bytes_queue_consume(&q, 2);
    bytes_queue_add(&q, "ef", 2);       /* the limit is of what is inside */
    ck_assert(!q.failed);
    ck_assert(bytes_equal(bytes_queue_view(&q), bytes_view_str("cdef")));
    bytes_queue_add(&q, "g", 1);
    ck_assert(q.failed);
    ck_assert_ptr_null(bytes_queue_room(&q, 0));
    ck_assert_uint_eq(bytes_queue_len(&q), 4);
    bytes_queue_deinit(&q);
    ck_assert(!q.failed);
    ck_assert_ptr_null(bytes_queue_room(&q, SIZE_MAX));
    bytes_queue_deinit(&q);
}
END_TEST

START_TEST(queue_gives_memory_back_when_empty)
{
    struct bytes_queue q;

    bytes_queue_init(&q, 10);
    ck_assert_uint_eq(bytes_queue_view(&q).n, 0);
    bytes_queue_add(&q, "ab", 2);
    bytes_queue_release(&q);
    ck_assert_ptr_nonnull(q.p);
    bytes_queue_consume(&q, 2);
    bytes_queue_release(&q);
    ck_assert_ptr_null(q.p);
    ck_assert_uint_eq(q.max, 10);
}
END_TEST

START_TEST(unreachable_aborts)
{
    unreachable("a test");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bytes");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    suite_add_tcase(s, t);
    tcase_add_loop_test(t, utf8_is_strict, 0, (int)ARRAY_LEN(utf8));
    tcase_add_test(t, distances);
    tcase_add_test(t, views_compare);
    tcase_add_test(t, buf_grows_and_ends_in_nul);
    tcase_add_test(t, buf_keeps_its_limit);
    tcase_add_test(t, buf_of_nothing_is_an_empty_string);
    tcase_add_test(t, queue_is_first_in_first_out);
    tcase_add_test(t, queue_keeps_its_limit);
    tcase_add_test(t, queue_gives_memory_back_when_empty);
    if (srunner_fork_status(r) == CK_FORK)
        tcase_add_test_raise_signal(t, unreachable_aborts, 6);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
