#include "api/json_tree.h"
#include "json_case.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Long strings, which are decoded where they stand in the text, against the short ones that cJSON decodes. */

#define REPLACED "\xEF\xBF\xBD"

/* A text and its tree; the text is in a block of exactly its size. */
struct grown {
    char *text;
    size_t n;
    struct json_text checked;
    struct json_tree tree;
};

static struct grown grow(const char *json, size_t n)
{
    struct grown g = {.text = malloc(n), .n = n};

    ck_assert_ptr_nonnull(g.text);
    memcpy(g.text, json, n);
    ck_assert_msg(json_text_check(bytes_view(g.text, n), 1000000, &g.checked) == 0, "%s", g.checked.error);
    ck_assert_int_eq(json_tree_build(g.text, n, &g.checked, &g.tree), 0);
    return g;
}

static void fell(struct grown *g)
{
    json_tree_deinit(&g->tree);
    json_text_deinit(&g->checked);
    free(g->text);
}

static struct bytes_view string_at(const struct grown *g, int i, bool *kept_out)
{
    return json_tree_string(&g->tree, cJSON_GetArrayItem(g->tree.root, i), kept_out);
}

static void add_times(struct bytes_buf *b, const char *what, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bytes_buf_add_str(b, what);
}

/* ---- what an escape means ---- */

static const struct {
    const char *written, *meant;
} escapes[] = {
    {"a", "a"}, {"\\\"", "\""}, {"\\\\", "\\"}, {"\\/", "/"}, {"\\b", "\b"}, {"\\f", "\f"}, {"\\n", "\n"},
    {"\\r", "\r"},
    {"\\t", "\t"}, {"\\u0001", "\x01"}, {"\\u0041", "A"}, {"\\u007f", "\x7F"}, {"\\u0080", "\xC2\x80"},
    {"\\u07FF", "\xDF\xBF"}, {"\\u0800", "\xE0\xA0\x80"}, {"\\uD7FF", "\xED\x9F\xBF"}, {"\\ue000", "\xEE\x80\x80"},
    {"\\uFFFF", "\xEF\xBF\xBF"}, {"\\uD800\\uDC00", "\xF0\x90\x80\x80"}, {"\\uD83D\\ude00", "\xF0\x9F\x98\x80"},
    {"\\udbff\\udfff", "\xF4\x8F\xBF\xBF"}, {"\xC3\xA9", "\xC3\xA9"}, {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},
    {"\\\\u0041", "\\u0041"}, {"\\\\\\n", "\\\n"}, {"\\\\n", "\\n"}, {"\\\"\\\\\\/", "\"\\/"},
    {"\\u0000", REPLACED}, {"\\ud800", REPLACED}, {"\\udc00x", REPLACED "x"}, {"\xFF", "?"}, {"\xC3", "?"},
    {"\x80y", "?y"}, {"\xED\xA0\x80", "???"},
};

static void check_escape(const char *written, const char *meant, size_t before, size_t after, size_t times)
{
    struct bytes_buf json, want;
    struct bytes_view got;
    struct grown g;
    bool kept;

    bytes_buf_init(&json, 0);
    bytes_buf_init(&want, 0);
    bytes_buf_add_str(&json, "[\"");
    for (int i = 0; i < 2; i++) {
        struct bytes_buf *b = i ? &want : &json;
        add_times(b, "x", before);
        add_times(b, i ? meant : written, times);
        add_times(b, "z", after);
    }
    bytes_buf_add_str(&json, "\"]");
    g = grow(json.p, json.n);
    got = string_at(&g, 0, &kept);
    ck_assert_int_eq(kept, json.n - 4 >= JSON_TEXT_LONG);
    ck_assert_msg(bytes_equal(got, bytes_buf_view(&want)), "%s: %.200s", written, got.p);
    ck_assert_int_eq(got.p[got.n], '\0');
    fell(&g);
    bytes_buf_deinit(&json);
    bytes_buf_deinit(&want);
}

/* First, last, in the middle, and nothing else, in strings just too short and just long enough. */
START_TEST(test_escapes)
{
    const char *written = escapes[_i].written, *meant = escapes[_i].meant;
    bool is_defect = strstr(meant, REPLACED) || strchr(meant, '?');
    size_t n = strlen(written), times;

    for (size_t length = JSON_TEXT_LONG - 1; length <= JSON_TEXT_LONG + 1; length++) {
        size_t rest = length - n;
        check_escape(written, meant, 0, rest, 1);
        check_escape(written, meant, rest, 0, 1);
        check_escape(written, meant, rest / 2, rest - rest / 2, 1);
        times = is_defect && length / n > 33 ? 33 : length / n;         /* more than 100 are not all mended */
        check_escape(written, meant, length - times * n, 0, times);
    }
    check_escape(written, meant, 3, 5, is_defect ? 33 : 2000);
    check_escape(written, meant, 0, 0, 1);
}
END_TEST

/* Runs of every length between two escapes: they are moved, overlapping. */
START_TEST(test_runs_between_escapes)
{
    for (size_t run = 0; run < 40; run++) {
        struct bytes_buf json, want;
        struct grown g;
        bool kept;
        bytes_buf_init(&json, 0);
        bytes_buf_init(&want, 0);
        bytes_buf_add_str(&json, "[\"");
        for (int i = 0; i < 100; i++) {
            add_times(&json, "r", run);
            bytes_buf_add_str(&json, i % 2 ? "\\u00e9" : "\\n");
            add_times(&want, "r", run);
            bytes_buf_add_str(&want, i % 2 ? "\xC3\xA9" : "\n");
        }
        add_times(&json, "e", JSON_TEXT_LONG);
        add_times(&want, "e", JSON_TEXT_LONG);
        bytes_buf_add_str(&json, "\"]");
        g = grow(json.p, json.n);
        ck_assert(bytes_equal(string_at(&g, 0, &kept), bytes_buf_view(&want)));
        ck_assert(kept);
        fell(&g);
        bytes_buf_deinit(&json);
        bytes_buf_deinit(&want);
    }
}
END_TEST

/* ---- which strings stay ---- */

START_TEST(test_long_ones_stay_in_the_text)
{
    struct bytes_buf json;
    struct grown g;
    bool kept;

    bytes_buf_init(&json, 0);
    bytes_buf_add_str(&json, "[\"");
    add_times(&json, "a", JSON_TEXT_LONG - 1);
    bytes_buf_add_str(&json, "\",\"");
    add_times(&json, "b", JSON_TEXT_LONG);
    bytes_buf_add_str(&json, "\",\"\",\"");
    add_times(&json, "c", JSON_TEXT_LONG * 3);
    bytes_buf_add_str(&json, "\",\"d\"]");
    g = grow(json.p, json.n);
    ck_assert_uint_eq(g.tree.n_longs, 2);
    ck_assert_uint_eq(string_at(&g, 0, &kept).n, JSON_TEXT_LONG - 1);
    ck_assert(!kept);
    ck_assert_ptr_eq(string_at(&g, 1, &kept).p, g.text + 2 + JSON_TEXT_LONG - 1 + 3);
    ck_assert(kept);
    ck_assert_uint_eq(string_at(&g, 2, &kept).n, 0);
    ck_assert(!kept);
    ck_assert_ptr_eq(string_at(&g, 3, &kept).p, g.text + 2 + JSON_TEXT_LONG - 1 + 3 + JSON_TEXT_LONG + 6);
    ck_assert_uint_eq(string_at(&g, 3, &kept).n, JSON_TEXT_LONG * 3);
    ck_assert_str_eq(string_at(&g, 4, &kept).p, "d");
    ck_assert(!kept);
    fell(&g);
    bytes_buf_deinit(&json);
}
END_TEST

/* A hundred of them: each mark leads to its own. */
START_TEST(test_marks)
{
    struct bytes_buf json;
    struct grown g;
    bool kept;

    bytes_buf_init(&json, 0);
    for (int i = 0; i < 100; i++) {
        char letter[2] = {(char)('!' + i % 90), '\0'};
        if (letter[0] == '"' || letter[0] == '\\')
            letter[0] = 'q';
        bytes_buf_add_str(&json, i ? ",\"" : "[\"");
        add_times(&json, letter, JSON_TEXT_LONG + (size_t)i);
        bytes_buf_add_char(&json, '"');
    }
    bytes_buf_add_char(&json, ']');
    g = grow(json.p, json.n);
    for (int i = 0; i < 100; i++) {
        struct bytes_view v = string_at(&g, i, &kept);
        char want = (char)('!' + i % 90);
        ck_assert(kept);
        ck_assert_uint_eq(v.n, JSON_TEXT_LONG + (size_t)i);
        ck_assert_int_eq(v.p[v.n - 1], want == '"' || want == '\\' ? 'q' : want);
    }
    fell(&g);
    bytes_buf_deinit(&json);
}
END_TEST

/* A caller who writes what a mark looks like gets his text, not somebody's long string: the octet is no UTF-8, so it
 * is a defect and replaced, and as an escape it is a letter. */
START_TEST(test_nobody_writes_a_mark)
{
    static const char *const written[] = {"\xFF" "0", "\xFF", "\\u00ff0", "\xC3\xBF" "0"},
                      *const meant[] = {"?0", "?", "\xC3\xBF" "0", "\xC3\xBF" "0"};

    for (size_t i = 0; i < ARRAY_LEN(written); i++) {
        struct bytes_buf json;
        struct grown g;
        bool kept;
        bytes_buf_init(&json, 0);
        bytes_buf_add_str(&json, "[\"");
        add_times(&json, "s", JSON_TEXT_LONG);
        bytes_buf_printf(&json, "\",\"%s\"]", written[i]);
        g = grow(json.p, json.n);
        ck_assert_str_eq(string_at(&g, 1, &kept).p, meant[i]);
        ck_assert(!kept);
        fell(&g);
        bytes_buf_deinit(&json);
    }
}
END_TEST

/* Names are never long: only values are. */
START_TEST(test_long_names)
{
    struct bytes_buf json;
    struct grown g;

    bytes_buf_init(&json, 0);
    bytes_buf_add_str(&json, "{\"");
    add_times(&json, "n", JSON_TEXT_LONG * 2);
    bytes_buf_add_str(&json, "\":\"v\"}");
    g = grow(json.p, json.n);
    ck_assert_uint_eq(g.tree.n_longs, 0);
    ck_assert_uint_eq(strlen(g.tree.root->child->string), JSON_TEXT_LONG * 2);
    ck_assert_str_eq(g.tree.root->child->valuestring, "v");
    fell(&g);
    bytes_buf_deinit(&json);
}
END_TEST

START_TEST(test_a_text_that_is_one_string)
{
    struct bytes_buf json;
    struct grown g;
    bool kept;

    bytes_buf_init(&json, 0);
    bytes_buf_add_char(&json, '"');
    add_times(&json, "\\n", JSON_TEXT_LONG);
    bytes_buf_add_char(&json, '"');
    g = grow(json.p, json.n);
    ck_assert_uint_eq(json_tree_string(&g.tree, g.tree.root, &kept).n, JSON_TEXT_LONG);
    fell(&g);
    bytes_buf_deinit(&json);
}
END_TEST

/* ---- a tree that was not a text ---- */

START_TEST(test_new_strings)
{
    static char longer[JSON_TEXT_LONG + 1], shorter[JSON_TEXT_LONG];
    struct json_tree t;
    cJSON *a, *b, *c;
    bool kept;

    memset(longer, 'l', JSON_TEXT_LONG);
    memset(shorter, 's', JSON_TEXT_LONG - 1);
    ck_assert_int_eq(json_tree_begin(&t), 0);
    a = json_tree_new_string(&t, bytes_view_str(longer));
    b = json_tree_new_string(&t, bytes_view_str(shorter));
    c = json_tree_new_string(&t, bytes_view_str(longer));
    ck_assert(cJSON_AddItemToObject(t.root, "a", a) && cJSON_AddItemToObject(t.root, "b", b) &&
              cJSON_AddItemToObject(t.root, "c", c));
    ck_assert_ptr_eq(json_tree_string(&t, a, &kept).p, longer);
    ck_assert(kept);
    ck_assert_str_eq(json_tree_string(&t, b, &kept).p, shorter);
    ck_assert(!kept);
    ck_assert_ptr_eq(json_tree_string(&t, c, &kept).p, longer);
    json_tree_deinit(&t);
}
END_TEST

/* ---- a mail over its body ---- */

/* Behind the hundredth defect nothing is mended: what looks like a mark there, or half of a pair at a long string's
 * end, must not be looked at. */
static void read_defective(const char *before, const char *defect, size_t n, const char *after)
{
    struct bytes_buf json;
    struct json_batch b;
    char *copy;

    bytes_buf_init(&json, 0);
    bytes_buf_add_str(&json, before);
    add_times(&json, defect, n);
    bytes_buf_add_str(&json, after);
    copy = malloc(json.n);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, json.p, json.n);
    json_batch_read(copy, json.n, &json_case_params, &b);
    if (b.whole.code == OUTCOME_SENT) {
        ck_assert_uint_le(n, JSON_TEXT_DEFECTS_MAX);
        ck_assert_uint_eq(b.n_invalid, b.n_items);
    } else {
        json_case_check_result(&b.whole);
        ck_assert_int_eq(b.whole.code, OUTCOME_VALIDATION_FAILED);
        ck_assert_uint_eq(b.whole.n_problems, JSON_PROBLEMS_MAX);
        ck_assert(strncmp(b.whole.problems[0].pointer, "/0", 2) == 0);
        ck_assert_uint_eq(b.n_items, 0);
    }
    json_batch_deinit(&b);
    bytes_buf_deinit(&json);
}

START_TEST(test_more_defects_than_are_noted)
{
    for (size_t n = JSON_TEXT_DEFECTS_MAX - 2; n <= JSON_TEXT_DEFECTS_MAX + 2; n++) {
        read_defective("[{\"text\":\"", "\xFF", n, "\"},{\"subject\":\"\xFF" "99999999\"}]");
        read_defective("[{\"text\":\"", "\xFF", n, "\"},{\"subject\":\"\xFF\"},{\"text\":\"\xFF" "0\"}]");
        read_defective("[{\"text\":\"", "\xFF", n, "\"},{\"subject\":\"\\u0000\"}]");
        read_defective("[{\"text\":\"", "\xFF", n, "\",\"from\":\"\\udc00\"}]");
        read_defective("[{\"text\":\"", "\\ud800", n, "\"}]");
        read_defective("[\"", "\\ud800", n, "\"]");
        read_defective("[\"", "\\ud83d\\u0041", n, "\"]");
    }
}
END_TEST

/* Text, html and two contents, all long: they are views into one block, each whole beside its neighbours. */
START_TEST(test_contents_are_views)
{
    struct json_mail_result r;
    struct bytes_buf json;
    const struct mail *m;

    bytes_buf_init(&json, 0);
    bytes_buf_add_str(&json, "{\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"text\":\"");
    add_times(&json, "t\\n", 400);
    bytes_buf_add_str(&json, "\",\"html\":\"");
    add_times(&json, "<b>", 400);
    bytes_buf_add_str(&json, "\",\"attachments\":[{\"filename\":\"a\",\"content\":\"");
    add_times(&json, "QUJD", 200);
    bytes_buf_add_str(&json, "QQ\"},{\"content\":\"");
    add_times(&json, "QUJD\\r\\n", 200);
    bytes_buf_add_str(&json, "QUI\",\"filename\":\"b\"}]}");
    r = json_case_read(json.p, json.n);
    json_case_expect(&r, "long contents", "");
    m = r.mail;
    ck_assert_uint_eq(m->text.n, 800);
    ck_assert(memcmp(m->text.p + 798, "t\n", 3) == 0);
    ck_assert_uint_eq(m->html.n, 1200);
    ck_assert(memcmp(m->html.p + 1197, "<b>", 4) == 0);
    ck_assert_uint_eq(m->attachments[0].content.n, 804);
    ck_assert(memcmp(m->attachments[0].content.p + 796, "QUJDQQ==", 8) == 0);
    ck_assert_uint_eq(m->attachments[1].content.n, 804);
    ck_assert(memcmp(m->attachments[1].content.p + 796, "QUJDQUI=", 8) == 0);
    ck_assert_str_eq(m->attachments[1].filename, "b");
    ck_assert_uint_eq(m->n_keeps, 1);
    json_mail_result_deinit(&r);
    bytes_buf_deinit(&json);
}
END_TEST

/* Long strings where no content is wanted are refused or copied, and nothing of the body is kept. */
START_TEST(test_long_strings_elsewhere)
{
    static const struct {
        const char *before, *after, *problems;
    } cases[] = {
        {"'to':'", "'", "/to duplicate_key;/to invalid_address;"},
        {"'subject':'", "'", ""},
        {"'relay':'", "'", "/relay too_long;"},
        {"'partial':'", "'", "/partial invalid_value;"},
        {"'headers':{'X':'", "'}", ""},
        {"'headers':[{'value':'','name':'", "'}]", "/headers/0 invalid_value;"},
        {"'on_temporary_failure':'", "'", "/on_temporary_failure invalid_value;"},
        {"'zebra':'", "'", "/zebra unknown_field;"},
        {"'tags':['", "']", "/tags/0 too_long;"},
        {"'envelope':{'from':'", "'}", "/envelope/from invalid_address;"},
        {"'attachments':[{'content':'','content_id':'", "'}]", "/attachments/0/content_id too_long;"},
        {"'dsn':'", "'", "/dsn wrong_type;"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct json_mail_result r;
        struct bytes_buf b;
        bytes_buf_init(&b, 0);
        bytes_buf_add_str(&b, cases[i].before);
        add_times(&b, "long", JSON_TEXT_LONG / 4);
        bytes_buf_add_str(&b, cases[i].after);
        r = json_case_read_fields(b.p);
        json_case_expect(&r, b.p, cases[i].problems);
        if (r.mail)
            ck_assert_uint_eq(r.mail->n_keeps, 1);      /* the short text */
        json_mail_result_deinit(&r);
        bytes_buf_deinit(&b);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json_tree");
    TCase *tc = tcase_create("json_tree");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_escapes, 0, (int)ARRAY_LEN(escapes));
    tcase_add_test(tc, test_runs_between_escapes);
    tcase_add_test(tc, test_long_ones_stay_in_the_text);
    tcase_add_test(tc, test_marks);
    tcase_add_test(tc, test_nobody_writes_a_mark);
    tcase_add_test(tc, test_long_names);
    tcase_add_test(tc, test_a_text_that_is_one_string);
    tcase_add_test(tc, test_new_strings);
    tcase_add_test(tc, test_more_defects_than_are_noted);
    tcase_add_test(tc, test_contents_are_views);
    tcase_add_test(tc, test_long_strings_elsewhere);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
