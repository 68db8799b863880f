#include "api/form.h"
#include "api/json_text.h"
#include "api/json_tree.h"
#include "json_case.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What bounds the memory of a request: the number of values, the length of pointers, and where long strings go. */

static void add_times(struct bytes_buf *b, const char *what, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bytes_buf_add_str(b, what);
}

/* ---- values ---- */

static const struct {
    const char *text;
    size_t values;
} counted[] = {
    {"0", 1}, {"\"x\"", 1}, {"null", 1}, {"{}", 1}, {"[]", 1}, {"[0]", 2}, {"[[],{}]", 3}, {"{\"a\":0}", 2},
    {"{\"a\":{\"b\":[true,false,null,\"\",-1.5e3]}}", 8}, {" [ 1 , 2 , [ 3 ] ] ", 5},
};

START_TEST(test_values_are_counted)
{
    struct bytes_view text = bytes_view_str(counted[_i].text);
    struct json_text t;

    ck_assert_int_eq(json_text_check(text, counted[_i].values, &t), 0);
    ck_assert_uint_eq(t.n_values, counted[_i].values);
    ck_assert(!t.has_too_many);
    json_text_deinit(&t);
    ck_assert_int_eq(json_text_check(text, counted[_i].values - 1, &t), -1);
    ck_assert(t.has_too_many && !t.no_memory && t.error[0]);
    json_text_deinit(&t);
}
END_TEST

/* What is no JSON before the limit is told as that; behind it nothing is read. */
START_TEST(test_first_of_two_faults)
{
    struct json_text t;

    ck_assert_int_eq(json_text_check(bytes_view_str("[0,x,0]"), 2, &t), -1);
    ck_assert(t.has_too_many);
    json_text_deinit(&t);
    ck_assert_int_eq(json_text_check(bytes_view_str("[0,x,0]"), 3, &t), -1);
    ck_assert(!t.has_too_many);
    json_text_deinit(&t);
}
END_TEST

static const struct json_mail_params ten = {.max_recipients = 3, .max_json_values = 10};

/* A mail of n values: itself, from, to, text, an array and what is in it. */
static char *mail_of(size_t n, const char *before, const char *after)
{
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    bytes_buf_add_str(&b, before);
    bytes_buf_add_str(&b, "{\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"text\":\"x\",\"unknown\":[1");
    add_times(&b, ",1", n - 6);
    bytes_buf_add_str(&b, "]}");
    bytes_buf_add_str(&b, after);
    return bytes_buf_take(&b, NULL);
}

START_TEST(test_mail)
{
    struct json_mail_result r;
    char *text = mail_of(10, "", "");

    json_mail_read(text, strlen(text), &ten, &r);
    json_case_expect(&r, "at the limit", "/unknown unknown_field;");
    json_mail_result_deinit(&r);
    text = mail_of(11, "", "");
    json_mail_read(text, strlen(text), &ten, &r);
    ck_assert_int_eq(r.code, OUTCOME_PAYLOAD_TOO_LARGE);
    ck_assert_str_eq(r.detail, "The JSON has more than 10 values (max_json_values).");
    ck_assert_ptr_null(r.mail);
    ck_assert_uint_eq(r.n_problems, 0);
    json_mail_result_deinit(&r);
}
END_TEST

START_TEST(test_batch)
{
    struct json_batch b;
    char *text = mail_of(9, "[", "]");

    json_batch_read(text, strlen(text), &ten, &b);
    ck_assert_int_eq(b.whole.code, OUTCOME_SENT);
    ck_assert_uint_eq(b.n_invalid, 1);
    json_batch_deinit(&b);
    text = mail_of(9, "[1,", "]");
    json_batch_read(text, strlen(text), &ten, &b);
    ck_assert_int_eq(b.whole.code, OUTCOME_PAYLOAD_TOO_LARGE);
    ck_assert_ptr_nonnull(strstr(b.whole.detail, "max_json_values"));
    ck_assert_uint_eq(b.n_items, 0);
    json_batch_deinit(&b);
}
END_TEST

/* All JSON fields of a form together. */
START_TEST(test_form)
{
    static const char *const forms[] = {"from=a@b.example&to=c@d.example&text=x&metadata={\"a\":\"1\",\"b\":\"2\"}"
                                        "&headers={\"X-A\":\"1\",\"X-B\":\"2\",\"X-C\":\"3\","
                                        "\"X-D\":\"4\",\"X-E\":\"5\"}",
                                        "&dsn={}"};

    for (int more = 0; more < 3; more++) {
        struct form *f = form_new("application/x-www-form-urlencoded");
        struct json_mail_result r;
        ck_assert_ptr_nonnull(f);
        ck_assert_int_eq(form_feed(f, bytes_view_str(forms[0])), 0);
        if (more)
            ck_assert_int_eq(form_feed(f, bytes_view_str(more == 1 ? forms[1] : "&dsn={\"envid\":\"1\"}")), 0);
        ck_assert_int_eq(form_end(f), 0);
        json_mail_read_form(f, &ten, &r);
        ck_assert_int_eq(r.code, more < 2 ? OUTCOME_SENT : OUTCOME_PAYLOAD_TOO_LARGE);
        if (more == 2)
            ck_assert_str_eq(r.detail, "The JSON has more than 10 values (max_json_values).");
        json_mail_result_deinit(&r);
        form_free(f);
    }
}
END_TEST

/* ---- pointers ---- */

/* Names of any length with a hundred defects below, or in them: each pointer is short, and names what it can. */
START_TEST(test_pointers_are_short)
{
    for (size_t n = JSON_TEXT_POINTER_MAX - 8; n < JSON_TEXT_POINTER_MAX + 9; n++) {
        struct bytes_buf b;
        struct json_text t;
        bytes_buf_init(&b, 0);
        bytes_buf_add_str(&b, "{\"a\":{\"");
        add_times(&b, "k", n);
        bytes_buf_add_str(&b, "\":{\"b\":[\"\\u0000\"],\"b\":0},\"\\u0000");
        add_times(&b, "k", n);
        bytes_buf_add_str(&b, "\":1}}");
        ck_assert_int_eq(json_text_check(bytes_buf_view(&b), 100, &t), 0);
        ck_assert_uint_eq(t.n_defects, 3);
        for (size_t i = 0; i < t.n_defects; i++) {
            ck_assert_uint_le(strlen(t.defects[i].pointer), JSON_TEXT_POINTER_MAX);
            ck_assert_int_eq(strncmp(t.defects[i].pointer, "/a", 2), 0);
            ck_assert(bytes_is_utf8(bytes_view_str(t.defects[i].pointer)));
        }
        if (n + 7 <= JSON_TEXT_POINTER_MAX)
            ck_assert_uint_eq(strlen(t.defects[0].pointer), n + 7);     /* /a/kkk…/b/0 */
        if (n + 3 > JSON_TEXT_POINTER_MAX)
            ck_assert_str_eq(t.defects[0].pointer, "/a");
        json_text_deinit(&t);
        bytes_buf_deinit(&b);
    }
}
END_TEST

/* A header's name of 30 MB is not told a hundred times either. */
START_TEST(test_headers_of_long_names)
{
    struct bytes_buf b;
    struct json_mail_result r;

    bytes_buf_init(&b, 0);
    bytes_buf_add_str(&b, "{\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"text\":\"x\",\"headers\":{\"");
    add_times(&b, "k", 5000);
    bytes_buf_add_str(&b, "\":\"v\"}}");
    r = json_case_read(b.p, b.n);
    json_case_expect(&r, "a name of 5000", "/headers invalid_value;");
    json_mail_result_deinit(&r);
    bytes_buf_deinit(&b);
}
END_TEST

/* ---- long strings ---- */

/* The same array of long strings with little and with much beside them: read alike, from the text or from a block of
 * their own. */
START_TEST(test_set_aside)
{
    static const char *const pieces[] = {"x", "\\u00e9", "\\n", "\xC3\xA9"};
    static const char *const meant[] = {"x", "\xC3\xA9", "\n", "\xC3\xA9"};

    for (size_t beside = 0; beside < 20000; beside += 2500) {
        struct json_text t;
        struct json_tree tree;
        struct bytes_buf b;
        char *text;
        size_t n;
        bytes_buf_init(&b, 0);
        bytes_buf_add_str(&b, "[\"\"");
        for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
            bytes_buf_add_str(&b, ",\"");
            add_times(&b, pieces[i], 600);
            bytes_buf_add_str(&b, "\",\"short\"");
        }
        add_times(&b, ",7", beside / 2);
        bytes_buf_add_str(&b, "]");
        text = bytes_buf_take(&b, &n);
        ck_assert_int_eq(json_text_check(bytes_view(text, n), 1000000, &t), 0);
        ck_assert_int_eq(json_tree_build(text, n, &t, &tree), 0);
        if (beside < 5000 || beside > 15000)    /* 6,600 octets are in long strings */
            ck_assert_int_eq(tree.aside != NULL, beside > 15000);
        text = json_tree_take_text(&tree, text);
        for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
            bool kept;
            struct bytes_view v = json_tree_string(&tree, cJSON_GetArrayItem(tree.root, (int)(2 * i + 1)), &kept);
            ck_assert(kept);
            ck_assert_uint_eq(v.n, 600 * strlen(meant[i]));
            ck_assert_uint_eq(strlen(v.p), v.n);
            for (size_t k = 0; k < v.n; k++)
                ck_assert_int_eq(v.p[k], meant[i][k % strlen(meant[i])]);
            ck_assert_str_eq(cJSON_GetArrayItem(tree.root, (int)(2 * i + 2))->valuestring, "short");
        }
        ck_assert_int_eq(cJSON_GetArraySize(tree.root), (int)(1 + 2 * ARRAY_LEN(pieces) + beside / 2));
        json_tree_deinit(&tree);
        json_text_deinit(&t);
        free(text);
    }
}
END_TEST

/* Of base64 two octets behind its end may be written; and the contents live in the mail when the text is gone. */
START_TEST(test_set_aside_contents)
{
    for (size_t digits = 512; digits < 516; digits++) {
        struct bytes_buf b;
        struct json_mail_result r;
        bytes_buf_init(&b, 0);
        bytes_buf_add_str(&b, "{\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"attachments\":[{\"content\":\"");
        add_times(&b, "A", digits);
        bytes_buf_add_str(&b, "\",\"filename\":\"f\"}],\"text\":\"");
        add_times(&b, "y", 700);
        bytes_buf_add_str(&b, "\",\"metadata\":{\"a\":\"");
        add_times(&b, "z", 500);
        bytes_buf_add_str(&b, "\"}");
        add_times(&b, " ", 4000);
        bytes_buf_add_str(&b, "}");
        r = json_case_read(b.p, b.n);
        if (digits % 4 == 1) {
            json_case_expect(&r, "513 digits", "/attachments/0/content invalid_base64;");
        } else {
            ck_assert_int_eq(r.code, OUTCOME_SENT);
            ck_assert_uint_eq(r.mail->attachments[0].content.n, (digits + 3) / 4 * 4);
            ck_assert_uint_eq(r.mail->text.n, 700);
            ck_assert_int_eq(r.mail->text.p[699], 'y');
        }
        json_mail_result_deinit(&r);
        bytes_buf_deinit(&b);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("json_limits");
    TCase *tc = tcase_create("all");
    SRunner *r;
    int failed;

    tcase_add_loop_test(tc, test_values_are_counted, 0, ARRAY_LEN(counted));
    tcase_add_test(tc, test_first_of_two_faults);
    tcase_add_test(tc, test_mail);
    tcase_add_test(tc, test_batch);
    tcase_add_test(tc, test_form);
    tcase_add_test(tc, test_pointers_are_short);
    tcase_add_test(tc, test_headers_of_long_names);
    tcase_add_test(tc, test_set_aside);
    tcase_add_test(tc, test_set_aside_contents);
    suite_add_tcase(s, tc);
    r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
