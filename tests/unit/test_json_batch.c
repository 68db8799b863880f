#include "api/json_text.h"
#include "json_case.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Batches: which items are right, what is wrong with the others and where, and the whole as one refusal. */

#define GOOD "{'from':'a@b.example','to':'c@d.example','text':'x'}"

static struct json_batch read_batch(const char *quoted)
{
    char *json = json_case_quoted(quoted);
    struct json_batch b;

    json_batch_read(json, strlen(json), &json_case_params, &b);
    for (size_t i = 0; i < b.n_items; i++)
        json_case_check_result(&b.items[i]);
    return b;
}

static struct json_batch read_times(const char *item, size_t n)
{
    struct json_batch b;
    struct bytes_buf text;

    bytes_buf_init(&text, 0);
    for (size_t i = 0; i < n; i++) {
        bytes_buf_add_char(&text, i ? ',' : '[');
        bytes_buf_add_str(&text, item);
    }
    bytes_buf_add_str(&text, n ? "]" : "[]");
    b = read_batch(text.p);
    bytes_buf_deinit(&text);
    return b;
}

/* ---- the array itself ---- */

static const struct {
    const char *text, *problems;        /* NULL: no JSON */
} wholes[] = {
    {"{}", " wrong_type;"}, {GOOD, " wrong_type;"}, {"null", " wrong_type;"}, {"'x'", " wrong_type;"},
    {"1", " wrong_type;"},
    {"true", " wrong_type;"}, {"[]", " required;"}, {" [ ] ", " required;"},
    {"", NULL}, {"[", NULL}, {"[" GOOD ",]", NULL}, {"[" GOOD "]x", NULL}, {GOOD GOOD, NULL}, {GOOD "\n" GOOD, NULL},
    {"[" GOOD " " GOOD "]", NULL},
};

START_TEST(test_not_a_batch)
{
    struct json_batch b = read_batch(wholes[_i].text);

    if (wholes[_i].problems) {
        json_case_expect(&b.whole, wholes[_i].text, wholes[_i].problems);
        ck_assert_int_eq(b.whole.code, OUTCOME_VALIDATION_FAILED);
    } else {
        ck_assert_int_eq(b.whole.code, OUTCOME_INVALID_JSON);
        ck_assert(strncmp(b.whole.detail, "line ", 5) == 0);
    }
    ck_assert_uint_eq(b.n_items, 0);
    ck_assert_ptr_null(b.items);
    json_batch_deinit(&b);
}
END_TEST

START_TEST(test_limit)
{
    struct json_batch b = read_times(GOOD, JSON_BATCH_MAX);

    ck_assert_int_eq(b.whole.code, OUTCOME_SENT);
    ck_assert_uint_eq(b.n_items, JSON_BATCH_MAX);
    ck_assert_uint_eq(b.n_invalid, 0);
    for (size_t i = 0; i < b.n_items; i++)
        ck_assert_ptr_nonnull(b.items[i].mail);
    json_batch_deinit(&b);
    b = read_times(GOOD, JSON_BATCH_MAX + 1);
    json_case_expect(&b.whole, "101", " too_many;");
    ck_assert_uint_eq(b.n_items, 0);
    json_batch_deinit(&b);
    b = read_times("0", 100000);
    json_case_expect(&b.whole, "100000", " too_many;");
    json_batch_deinit(&b);
    b = read_times(GOOD, 1);
    ck_assert_uint_eq(b.n_items, 1);
    ck_assert_str_eq(b.items[0].mail->from.email, "a@b.example");
    json_batch_deinit(&b);
}
END_TEST

/* ---- items ---- */

/* Nothing an item has goes to another; pointers are those into the document. */
START_TEST(test_items)
{
    static const char *const problems[] = {
        "", "/1 wrong_type;", "/2/from required;/2/to required;/2/text required;",
        "/3/to/0 invalid_address;/3/to/1 wrong_type;",
        "", "/5/subject control_character;", "/6/tex unknown_field;", "/7/text duplicate_key;",
        "/8/async not_implemented;",
        "/9 wrong_type;", "/10/attachments/1/content invalid_base64;/10/cc/email required;", "/11/a~1b unknown_field;",
    };
    struct json_batch b = read_batch(
        "[" GOOD ",1,{},{'from':'a@b.example','to':['x',2],'text':''}," GOOD
        ",{'from':'a@b.example','to':'c@d.example','text':'x','subject':'\\u0000'}"
        ",{'from':'a@b.example','to':'c@d.example','text':'x','tex':'x'}"
        ",{'from':'a@b.example','to':'c@d.example','text':'x','text':'y'}"
        ",{'from':'a@b.example','to':'c@d.example','text':'x','async':true}"
        ",[" GOOD "]"
        ",{'from':'a@b.example','to':'c@d.example','attachments':[{'filename':'a','content':''},"
        "{'filename':'b','content':'?'}],'cc':{}}"
        ",{'from':'a@b.example','to':'c@d.example','text':'x','a/b':1}]");

    ck_assert_int_eq(b.whole.code, OUTCOME_SENT);
    ck_assert_uint_eq(b.n_items, ARRAY_LEN(problems));
    for (size_t i = 0; i < b.n_items; i++) {
        char at[30];
        snprintf(at, sizeof(at), "item %zu", i);
        json_case_expect(&b.items[i], at, problems[i]);
    }
    ck_assert_uint_eq(b.n_invalid, ARRAY_LEN(problems) - 2);
    ck_assert_int_eq(b.items[8].code, OUTCOME_NOT_IMPLEMENTED);
    json_batch_deinit(&b);
}
END_TEST

/* Defects of items 1 and 10 must not be mixed up by their pointers' beginnings. */
START_TEST(test_defects_by_item)
{
    struct bytes_buf text;
    struct json_batch b;

    bytes_buf_init(&text, 0);
    for (size_t i = 0; i < 12; i++)
        bytes_buf_add_str(&text, i == 0    ? "[" GOOD
                                 : i == 10 ? ",{'from':'a@b.example','to':'c@d.example','text':'\xFF'}"
                                           : "," GOOD);
    bytes_buf_add_char(&text, ']');
    b = read_batch(text.p);
    ck_assert_uint_eq(b.n_invalid, 1);
    json_case_expect(&b.items[1], "1", "");
    json_case_expect(&b.items[10], "10", "/10/text invalid_unicode;");
    json_batch_deinit(&b);
    bytes_buf_deinit(&text);
}
END_TEST

/* An item that is itself what a defect is in: its pointer ends there. */
START_TEST(test_defect_is_the_item)
{
    struct json_batch b = read_batch("['\xFF'," GOOD ",'\\ud800']");

    json_case_expect(&b.items[0], "0", "/0 invalid_unicode;/0 wrong_type;");
    json_case_expect(&b.items[1], "1", "");
    json_case_expect(&b.items[2], "2", "/2 invalid_unicode;/2 wrong_type;");
    json_batch_deinit(&b);
}
END_TEST

/* Long contents of all items stand in one body. */
START_TEST(test_long_contents)
{
    struct bytes_buf text;
    struct json_batch b;

    bytes_buf_init(&text, 0);
    for (size_t i = 0; i < 20; i++) {
        bytes_buf_printf(&text, "%s{'from':'a@b.example','to':'c@d.example','attachments':[{'filename':'a','content':'",
                         i ? "," : "[");
        for (size_t k = 0; k < JSON_TEXT_LONG / 4 + i; k++)
            bytes_buf_add_str(&text, "AAAA");
        bytes_buf_add_str(&text, i % 2 ? "QQ" : "QUJ");
        bytes_buf_add_str(&text, "'}],'html':'");
        for (size_t k = 0; k < JSON_TEXT_LONG; k++)
            bytes_buf_add_char(&text, (char)('a' + (char)i));
        bytes_buf_add_str(&text, "'}");
    }
    bytes_buf_add_char(&text, ']');
    b = read_batch(text.p);
    ck_assert_uint_eq(b.n_invalid, 0);
    for (size_t i = 0; i < 20; i++) {
        const struct mail *m = b.items[i].mail;
        struct bytes_view v = m->attachments[0].content;
        ck_assert_uint_eq(v.n, JSON_TEXT_LONG / 4 * 4 + i * 4 + 4);
        ck_assert(memcmp(v.p + v.n - 4, i % 2 ? "QQ==" : "QUI=", 4) == 0);
        ck_assert_uint_eq(m->html.n, JSON_TEXT_LONG);
        ck_assert_int_eq(m->html.p[0], 'a' + (char)i);
        ck_assert_int_eq(m->html.p[JSON_TEXT_LONG - 1], 'a' + (char)i);
        ck_assert_uint_eq(m->n_keeps, 0);       /* the batch has the body */
    }
    json_batch_deinit(&b);
    bytes_buf_deinit(&text);
}
END_TEST

/* ---- the whole as one refusal ---- */

START_TEST(test_refusal)
{
    struct json_batch b = read_batch("[{'to':'x','text':''}," GOOD ",7]");

    ck_assert_uint_eq(b.n_invalid, 2);
    json_batch_refuse(&b);
    json_case_expect(&b.whole, "refused", "/0/to invalid_address;/0/from required;/2 wrong_type;");
    ck_assert_int_eq(b.whole.code, OUTCOME_VALIDATION_FAILED);
    ck_assert_ptr_nonnull(strstr(b.whole.detail, "2 of 3"));
    json_batch_deinit(&b);
}
END_TEST

/* What is not built makes the whole 501: no repair of the others would help. */
START_TEST(test_refusal_not_implemented)
{
    struct json_batch b = read_batch(
        "[7,{'from':'a@b.example','to':'c@d.example','text':'x','expires_in':5},{'scheduled_at':'x'}]");

    json_batch_refuse(&b);
    ck_assert_int_eq(b.whole.code, OUTCOME_NOT_IMPLEMENTED);
    json_case_expect(&b.whole, "refused", "/0 wrong_type;/1/expires_in not_implemented;/2/scheduled_at not_implemented;"
                     "/2/from required;/2/to required;/2/text required;");
    json_batch_deinit(&b);
}
END_TEST

START_TEST(test_refusal_limit)
{
    struct json_batch b = read_times("{}", 60);         /* three problems each */

    ck_assert_uint_eq(b.n_invalid, 60);
    json_batch_refuse(&b);
    ck_assert_uint_eq(b.whole.n_problems, JSON_PROBLEMS_MAX);
    ck_assert_str_eq(b.whole.problems[0].pointer, "/0/from");
    ck_assert_str_eq(b.whole.problems[99].pointer, "/33/from");
    json_batch_deinit(&b);
    b = read_times("{'tags':[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}", 100);
    json_batch_refuse(&b);
    ck_assert_uint_eq(b.whole.n_problems, JSON_PROBLEMS_MAX);
    json_batch_deinit(&b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json_batch");
    TCase *tc = tcase_create("json_batch");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_not_a_batch, 0, (int)ARRAY_LEN(wholes));
    tcase_add_test(tc, test_limit);
    tcase_add_test(tc, test_items);
    tcase_add_test(tc, test_defects_by_item);
    tcase_add_test(tc, test_defect_is_the_item);
    tcase_add_test(tc, test_long_contents);
    tcase_add_test(tc, test_refusal);
    tcase_add_test(tc, test_refusal_not_implemented);
    tcase_add_test(tc, test_refusal_limit);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
