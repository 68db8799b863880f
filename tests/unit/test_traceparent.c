#include "api/traceparent.h"

#include "smtp/bytes.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* The examples and rules of W3C Trace Context. */

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"

static const char *const good[] = {
    "00-" TRACE "-" SPAN "-01",
    "00-" TRACE "-" SPAN "-00",
    "00-" TRACE "-" SPAN "-fe",
    "01-" TRACE "-" SPAN "-01",
    "cc-" TRACE "-" SPAN "-01-what-the-future-will-be-like",
};

static const char *const bad[] = {
    "",
    "-",
    "00",
    "00-" TRACE "-" SPAN "-0",
    "00-" TRACE "-" SPAN,
    "00-" TRACE "-" SPAN "-01-",
    "00-" TRACE "-" SPAN "-01.",
    "00-" TRACE "-" SPAN "-011",
    "01-" TRACE "-" SPAN "-01.what",
    "ff-" TRACE "-" SPAN "-01",
    "FF-" TRACE "-" SPAN "-01",
    "0g-" TRACE "-" SPAN "-01",
    " 00-" TRACE "-" SPAN "-01",
    "00_" TRACE "-" SPAN "-01",
    "00-" TRACE "_" SPAN "-01",
    "00-" TRACE "-" SPAN "_01",
    "00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01",
    "00-" TRACE "-B7AD6B7169203331-01",
    "00-" TRACE "-" SPAN "-0G",
    "00-00000000000000000000000000000000-" SPAN "-01",
    "00-" TRACE "-0000000000000000-01",
    "00-" TRACE "0-" SPAN "-01",
    "00-0af7651916cd43dd8448eb211c80319\"-" SPAN "-01",
};

START_TEST(test_good)
{
    struct traceparent t;

    traceparent_read(good[_i], 1, &t);
    ck_assert_str_eq(t.trace_id, TRACE);
    ck_assert_str_eq(t.span_id, SPAN);
}
END_TEST

START_TEST(test_bad)
{
    struct traceparent t;

    traceparent_read(bad[_i], 1, &t);
    ck_assert_msg(!t.trace_id[0] && !t.span_id[0], "%s", bad[_i]);
}
END_TEST

START_TEST(test_every_prefix_is_bad)
{
    char text[80];
    struct traceparent t;

    for (int n = 0; n < 55; n++) {
        snprintf(text, sizeof(text), "%.*s", n, good[0]);
        traceparent_read(text, 1, &t);
        ck_assert(!t.trace_id[0]);
    }
}
END_TEST

START_TEST(test_absent_and_twice)
{
    struct traceparent t;

    traceparent_read(NULL, 0, &t);
    ck_assert(!t.trace_id[0] && !t.span_id[0]);
    traceparent_read(good[0], 2, &t);
    ck_assert(!t.trace_id[0] && !t.span_id[0]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("traceparent");
    TCase *t = tcase_create("traceparent");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_loop_test(t, test_good, 0, ARRAY_LEN(good));
    tcase_add_loop_test(t, test_bad, 0, ARRAY_LEN(bad));
    tcase_add_test(t, test_every_prefix_is_bad);
    tcase_add_test(t, test_absent_and_twice);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
