#include "api/json_mail.h"
#include "api/json_text.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* JSON texts that are and are not JSON, and requests with everything that may be wrong in them. */

#define S(s) s, sizeof(s) - 1
#define MAIL_REST "\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"text\":\"x\""
#define EMOJI "\xF0\x9F\x98\x80"

/* ---- texts ---- */

struct text_case {
    const char *json;
    size_t n;
};

static const struct text_case valid[] = {
    {S("{}")}, {S("[]")}, {S("null")}, {S("true")}, {S("false")}, {S("0")}, {S("-0")}, {S("\"\"")},
    {S(" \t\r\n{ \t\r\n} \t\r\n")}, {S("[1,2]")}, {S("[ 1 , 2 ]")}, {S("{\"a\":1}")},
    {S("{ \"a\" : 1 , \"b\" : 2 }")},
    {S("1")}, {S("-1")}, {S("10")}, {S("0.0")}, {S("1.5")}, {S("1e5")}, {S("1E5")}, {S("1e+5")}, {S("1e-5")},
    {S("-1.5E-10")}, {S("0e0")}, {S("1e308")}, {S("1e-400")}, {S("0.00000000000000000000000000000000001")},
    {S("123456789012345678901234567890")}, {S("9007199254740993")}, {S("[0,-0,0.1,1e1]")},
    {S("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"")}, {S("\"\\u0041\"")}, {S("\"\\u00e9\\u00E9\"")}, {S("\"\\ud83d\\ude00\"")},
    {S("\"\\uD83D\\uDE00\"")}, {S("\"\\uDBFF\\uDFFF\"")}, {S("\"\\uFFFF\\uFDD0\"")}, {S("\"\\u0001\"")},
    {S("\"\x7F\"")}, {S("\"\xC3\xA9\"")}, {S("\"" EMOJI "\"")}, {S("\"\xF4\x8F\xBF\xBF\"")}, {S("\"\xE2\x80\xA8\"")},
    {S("\"\xEF\xBB\xBF\"")}, {S("\"/* no comment */\"")}, {S("{\"\":0}")}, {S("{\"a\":{\"a\":{\"a\":[{}]}}}")},
    {S("[{\"a\":1},{\"a\":1}]")}, {S("{\"a\":1,\"A\":1,\"a \":1}")}, {S("{\"\\u0061\":{},\"b\":{}}")},
    {S("[[],[[]],{},[{}]]")}, {S("[\"a\",null,true,false,1.5]")}, {S("\"\\\\u0000\"")}, {S("[\"\\\\\",\"\\\"\"]")},
};

static const struct text_case invalid[] = {
    {S("")}, {S(" ")}, {S("\xEF\xBB\xBF{}")}, {S("\xEF\xBB\xBF")}, {S("\xFE\xFF\0{\0}")}, {S("{\0}\0")},
    {S("{} {}")}, {S("{}x")}, {S("{},")}, {S("[]]")}, {S("{}}")}, {S("1 2")}, {S("\"a\" \"b\"")}, {S("{}\0")},
    {S("{}//")}, {S("/**/{}")}, {S("# x\n{}")}, {S("nul")}, {S("nulll")}, {S("True")}, {S("TRUE")}, {S("tru")},
    {S("NaN")}, {S("Infinity")}, {S("-Infinity")}, {S("undefined")}, {S("a")}, {S("'a'")}, {S("\v{}")}, {S("\f1")},
    {S("\xC2\xA0{}")}, {S("\xE2\x80\xA8{}")},
    {S("01")}, {S("-01")}, {S("00")}, {S("-")}, {S("+1")}, {S(".5")}, {S("1.")}, {S("-.5")}, {S("1.e5")}, {S("1e")},
    {S("1e+")}, {S("1e1.5")}, {S("1ee5")}, {S("0x10")}, {S("1_000")}, {S("1,000")}, {S("--1")}, {S("1e309")},
    {S("-1e999")}, {S("1f")}, {S("\xD9\xA1")},
    {S("\"")}, {S("\"a")}, {S("\"\\\"")}, {S("\"\\")}, {S("\"\\x41\"")}, {S("\"\\a\"")}, {S("\"\\'\"")},
    {S("\"\\0\"")},
    {S("\"\\\n\"")}, {S("\"\\u\"")}, {S("\"\\u1\"")}, {S("\"\\u12\"")}, {S("\"\\u123\"")}, {S("\"\\u123g\"")},
    {S("\"\\u+123\"")}, {S("\"\\U0041\"")}, {S("\"\\ud83d\\u\"")}, {S("\"\\ud83d\\x\"")}, {S("\"\\u004")},
    {S("\"\n\"")}, {S("\"\t\"")}, {S("\"\r\"")}, {S("\"\0\"")}, {S("\"\x1F\"")}, {S("\"a\x01\"")},
    {S("[")}, {S("[1")}, {S("[1,")}, {S("[1,]")}, {S("[,1]")}, {S("[,]")}, {S("[1,,2]")}, {S("[1 2]")}, {S("[1:2]")},
    {S("[1}")}, {S("]")}, {S("[\"a\"")}, {S("[1]1")}, {S("[-]")}, {S("[a]")}, {S("[\"a\",\n")},
    {S("{")}, {S("{\"a\"")}, {S("{\"a\":")}, {S("{\"a\":1")}, {S("{\"a\":1,")}, {S("{\"a\":1,}")}, {S("{,}")},
    {S("{,\"a\":1}")}, {S("{\"a\"}")}, {S("{\"a\",1}")}, {S("{\"a\":}")}, {S("{\"a\"::1}")}, {S("{a:1}")},
    {S("{'a':1}")},
    {S("{1:1}")}, {S("{null:1}")}, {S("{\"a\":1 \"b\":2}")}, {S("{\"a\":1,,\"b\":2}")}, {S("{\"a\":1]")}, {S("}")},
    {S("{[]:1}")}, {S("{\"a\" 1}")}, {S("{\"a\":1:2}")}, {S(":")}, {S(",")}, {S("{\"a\n\":1}")}, {S("{\"\\x\":1}")},
    {S("{\"a\":\"b}")}, {S("\xFF")}, {S("[\xE9]")},
};

/* A copy of exactly n octets, so that AddressSanitizer sees a read past the end. */
static int check_text(const char *json, size_t n, struct json_text *out)
{
    char *copy = malloc(n ? n : 1);
    int rc;

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, json, n);
    rc = json_text_check(bytes_view(copy, n), 10000000, out);
    free(copy);
    return rc;
}

/* json_mail_read takes its text over, and changes it. */
static void read_copy(const char *json, size_t n, const struct json_mail_params *params, struct json_mail_result *out)
{
    char *copy = malloc(n ? n : 1);

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, json, n);
    json_mail_read(copy, n, params, out);
}

START_TEST(test_valid)
{
    struct json_text t;

    ck_assert_msg(check_text(valid[_i].json, valid[_i].n, &t) == 0, "%s: %s", valid[_i].json, t.error);
    ck_assert_str_eq(t.error, "");
    ck_assert_msg(t.n_defects == 0, "%s", valid[_i].json);
    json_text_deinit(&t);
}
END_TEST

START_TEST(test_invalid)
{
    static const struct json_mail_params params = {.max_recipients = 1, .max_json_values = 1000000};
    struct json_mail_result r;
    struct json_text t;

    ck_assert_msg(check_text(invalid[_i].json, invalid[_i].n, &t) == -1, "%s", invalid[_i].json);
    ck_assert(!t.no_memory);
    ck_assert_msg(strncmp(t.error, "line ", 5) == 0, "%s", t.error);
    read_copy(invalid[_i].json, invalid[_i].n, &params, &r);
    ck_assert_int_eq(r.code, OUTCOME_INVALID_JSON);
    ck_assert_str_eq(r.detail, t.error);
    ck_assert_ptr_null(r.mail);
    json_mail_result_deinit(&r);
    json_text_deinit(&t);
}
END_TEST

/* Every beginning of a good text is a bad one. */
START_TEST(test_cut_short)
{
    static const char json[] = "{\"a\":[1.5e+3,true,\"\\ud83d\\ude00" EMOJI "\\n\"],\"b\":{\"c\":null}}";

    for (size_t n = 0; n < sizeof(json) - 1; n++) {
        struct json_text t;
        ck_assert_int_eq(check_text(json, n, &t), -1);
        json_text_deinit(&t);
    }
}
END_TEST

static const struct {
    const char *json, *error;
} places[] = {
    {"", "line 1, column 1: the text ends too early"},
    {"{\"a\":1,}", "line 1, column 8: expected a name in quotes"},
    {"{\n \"\xC3\xA9\xC3\xA9\": x}", "line 2, column 8: expected a value"},
    {"[1\n\n2]", "line 3, column 1: expected a comma or ]"},
    {"{} x", "line 1, column 4: nothing may follow the value"},
    {"\xEF\xBB\xBF{}", "line 1, column 1: the text begins with a byte order mark"},
    {"[1,01]", "line 1, column 4: a number may not begin with 0"},
};

START_TEST(test_places)
{
    struct json_text t;

    ck_assert_int_eq(check_text(places[_i].json, strlen(places[_i].json), &t), -1);
    ck_assert_str_eq(t.error, places[_i].error);
    json_text_deinit(&t);
}
END_TEST

static int check_nested(const char *open, const char *close, size_t depth)
{
    struct bytes_buf b;
    struct json_text t;
    int rc;

    bytes_buf_init(&b, 0);
    for (size_t i = 0; i < depth; i++)
        bytes_buf_add_str(&b, open);
    bytes_buf_add_str(&b, "0");
    for (size_t i = 0; i < depth; i++)
        bytes_buf_add_str(&b, close);
    rc = check_text(b.p, b.n, &t);
    json_text_deinit(&t);
    bytes_buf_deinit(&b);
    return rc;
}

START_TEST(test_depth)
{
    ck_assert_int_eq(check_nested("[", "]", JSON_TEXT_DEPTH_MAX), 0);
    ck_assert_int_eq(check_nested("[", "]", JSON_TEXT_DEPTH_MAX + 1), -1);
    ck_assert_int_eq(check_nested("{\"a\":", "}", JSON_TEXT_DEPTH_MAX), 0);
    ck_assert_int_eq(check_nested("{\"a\":", "}", JSON_TEXT_DEPTH_MAX + 1), -1);
    ck_assert_int_eq(check_nested("[", "", 200000), -1);
}
END_TEST

START_TEST(test_number_length)
{
    char json[402];
    struct json_text t;

    memset(json, '1', sizeof(json));
    json[1] = '.';
    ck_assert_int_eq(check_text(json, 400, &t), 0);
    json_text_deinit(&t);
    ck_assert_int_eq(check_text(json, 401, &t), -1);
    json_text_deinit(&t);
}
END_TEST

struct defect_case {
    const char *json;
    size_t n;
    enum json_defect_kind kind;
    size_t offset;
    bool in_key;
    const char *pointer;
};

static const struct defect_case defects[] = {
    {S("{\"a\":1,\"a\":2}"), JSON_DUPLICATE_KEY, 7, false, "/a"},
    {S("{\"a\":1,\"\\u0061\":2}"), JSON_DUPLICATE_KEY, 7, false, "/a"},
    {S("{\"\":1,\"\":2}"), JSON_DUPLICATE_KEY, 6, false, "/"},
    {S("{\"b\":[0,{\"~/\":1,\"c\":2,\"~/\":3}],\"z\":0}"), JSON_DUPLICATE_KEY, 22, false, "/b/1/~0~1"},
    {S("{\"a\":1,\"a\":2,\"a\":3}"), JSON_DUPLICATE_KEY, 7, false, "/a"},
    {S("[\"x\",\"\\u0000\"]"), JSON_NUL, 6, false, "/1"},
    {S("{\"a\\u0000\":1}"), JSON_NUL, 3, true, "/a\xEF\xBF\xBD"},
    {S("\"\\ud800\""), JSON_LONE_SURROGATE, 1, false, ""},
    {S("\"\\udc00\""), JSON_LONE_SURROGATE, 1, false, ""},
    {S("\"\\ud800x\""), JSON_LONE_SURROGATE, 1, false, ""},
    {S("\"\\ud800\\n\""), JSON_LONE_SURROGATE, 1, false, ""},
    {S("{\"a\":\"\\ud800\\u0041\"}"), JSON_LONE_SURROGATE, 6, false, "/a"},
    {S("\"\\ud83d\\ud83d\\ude00\""), JSON_LONE_SURROGATE, 1, false, ""},
    {S("\"\\ude00\\ud83d\\ude00\""), JSON_LONE_SURROGATE, 1, false, ""},
    {S("\"\xFF\""), JSON_INVALID_UTF8, 1, false, ""},
    {S("\"\x80\""), JSON_INVALID_UTF8, 1, false, ""},
    {S("\"\xC3\""), JSON_INVALID_UTF8, 1, false, ""},
    {S("\"\xC3x\""), JSON_INVALID_UTF8, 1, false, ""},
    {S("{\"\xE9\":1}"), JSON_INVALID_UTF8, 2, true, "/\xEF\xBF\xBD"},
};

START_TEST(test_defects)
{
    const struct defect_case *c = &defects[_i];
    struct json_text t;

    ck_assert_int_eq(check_text(c->json, c->n, &t), 0);
    ck_assert_uint_eq(t.n_defects, 1);
    ck_assert_int_eq(t.defects[0].kind, c->kind);
    ck_assert_uint_eq(t.defects[0].offset, c->offset);
    ck_assert_int_eq(t.defects[0].in_key, c->in_key);
    ck_assert_str_eq(t.defects[0].pointer, c->pointer);
    json_text_deinit(&t);
}
END_TEST

/* Overlong, beyond U+10FFFF, surrogates, cut: each broken octet is a defect of its own. */
START_TEST(test_broken_utf8)
{
    static const char *const broken[] = {"\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80", "\xED\xBF\xBF",
                                         "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x82",
                                         "\xF0\x9F\x98", "\xFE", "\xFC\x80\x80\x80\x80\x80"};

    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        char json[20];
        struct json_text t;
        snprintf(json, sizeof(json), "\"a%sb\"", broken[i]);
        ck_assert_int_eq(check_text(json, strlen(json), &t), 0);
        ck_assert_uint_eq(t.n_defects, strlen(broken[i]));
        ck_assert_int_eq(t.defects[0].kind, JSON_INVALID_UTF8);
        json_text_deinit(&t);
    }
}
END_TEST

START_TEST(test_defects_limit)
{
    struct bytes_buf b;
    struct json_text t;

    bytes_buf_init(&b, 0);
    bytes_buf_add_char(&b, '"');
    for (int i = 0; i < 100000; i++)
        bytes_buf_add_str(&b, "\\u0000");
    bytes_buf_add_char(&b, '"');
    ck_assert_int_eq(check_text(b.p, b.n, &t), 0);
    ck_assert_uint_eq(t.n_defects, JSON_TEXT_DEFECTS_MAX);
    json_text_deinit(&t);
    bytes_buf_deinit(&b);
}
END_TEST

/* 100,000 names in one object: sorted, not compared each with each. */
START_TEST(test_many_names)
{
    struct bytes_buf b;
    struct json_text t;

    bytes_buf_init(&b, 0);
    bytes_buf_add_char(&b, '{');
    for (int i = 0; i < 100000; i++)
        bytes_buf_printf(&b, "\"k%d\":0,", i);
    bytes_buf_add_str(&b, "\"k5\":0}");
    ck_assert_int_eq(check_text(b.p, b.n, &t), 0);
    ck_assert_uint_eq(t.n_defects, 1);
    ck_assert_str_eq(t.defects[0].pointer, "/k5");
    json_text_deinit(&t);
    bytes_buf_deinit(&b);
}
END_TEST

/* ---- mails ---- */

static bool has_relay(const void *ctx, const char *name)
{
    return strcmp(name, ctx) == 0;
}

static struct json_mail_result read_mail(const char *json)
{
    static char relay[] = "default";
    const struct json_mail_params params = {
        .max_recipients = 3, .max_json_values = 1000000, .has_relay = has_relay, .ctx = relay};
    struct json_mail_result r;

    read_copy(json, strlen(json), &params, &r);
    ck_assert_int_eq(r.mail != NULL, r.code == OUTCOME_SENT);
    ck_assert_int_eq(r.detail == NULL, r.code == OUTCOME_SENT);
    for (size_t i = 0; i < r.n_problems; i++) {
        ck_assert(bytes_is_utf8(bytes_view_str(r.problems[i].pointer)));
        ck_assert(bytes_is_utf8(bytes_view_str(r.problems[i].detail)));
        ck_assert(r.problems[i].detail[0]);
    }
    return r;
}

/* The request is as good as this. "pointer code" of each problem, in order; "" when it is a mail. */
static const struct {
    const char *json, *problems;
} mails[] = {
    {"{" MAIL_REST "}", ""},
    {"{" MAIL_REST ",\"subject\":null,\"html\":null,\"cc\":null,\"tags\":null,\"relay\":null,\"headers\":null}", ""},
    {"{\"from\":\"a@b.example\",\"bcc\":\"c@d.example\",\"to\":[],\"html\":\"\"}", ""},
    {"{" MAIL_REST ",\"tags\":[],\"metadata\":{},\"async\":false,\"on_temporary_failure\":\"fail\"}", ""},
    {"{" MAIL_REST ",\"relay\":\"default\",\"partial\":\"allow\"}", ""},
    {"{}", "/from required;/to required;/text required;"},
    {"[]", " wrong_type;"}, {"\"a\"", " wrong_type;"}, {"null", " wrong_type;"}, {"1", " wrong_type;"},
    {"{\"from\":null,\"to\":null,\"text\":null}", "/from required;/to required;/text required;"},
    {"{\"from\":1,\"to\":true,\"text\":[],\"html\":{},\"subject\":2}",
     "/from wrong_type;/to wrong_type;/text wrong_type;/html wrong_type;/subject wrong_type;"},
    {"{\"from\":\"a\",\"to\":[\"b@c.example\",\"\",3],\"cc\":{\"name\":\"x\"},\"text\":\"x\"}",
     "/from invalid_address;/to/1 invalid_address;/to/2 wrong_type;/cc/email required;"},
    {"{\"from\":\"a@b.example\",\"to\":[[\"c@d.example\"]],\"text\":\"x\"}", "/to/0 wrong_type;"},
    {"{\"from\":[\"a@b.example\"],\"to\":\"c@d.example\",\"text\":\"x\"}", "/from wrong_type;"},
    {"{\"from\":{\"email\":\"N <a@b.example>\"},\"to\":{\"email\":null},\"text\":\"x\"}",
     "/from/email invalid_address;/to/email required;"},
    {"{\"from\":{\"email\":1,\"name\":2,\"e~/\":3},\"to\":\"c@d.example\",\"text\":\"x\"}",
     "/from/e~0~1 unknown_field;/from/email wrong_type;/from/name wrong_type;"},
    {"{\"from\":\"a@b.example\",\"to\":\"a@b.example, c@d.example\",\"text\":\"x\"}", "/to invalid_address;"},
    {"{\"from\":{\"email\":\"a@b.example\",\"name\":\"x\\ny\"},\"to\":\"c@d.example\",\"text\":\"x\"}",
     "/from/name control_character;"},
    {"{\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"text\":\"a\\u0007\",\"html\":\"\\u007f\"}",
     "/text control_character;/html control_character;"},
    {"{" MAIL_REST ",\"subject\":\"a\\r\\nBcc: x@y.example\"}", "/subject control_character;"},
    {"{" MAIL_REST ",\"subject\":\"\\u0085\"}", "/subject control_character;"},
    {"{" MAIL_REST ",\"subject\":\"\\u2028\"}", "/subject control_character;"},
    {"{" MAIL_REST ",\"subject\":\"\\t\"}", "/subject control_character;"},
    {"{" MAIL_REST ",\"subject\":\"\\u0000\"}", "/subject control_character;"},
    {"{" MAIL_REST ",\"subject\":\"\\ud800\"}", "/subject invalid_unicode;"},
    {"{" MAIL_REST ",\"subject\":\"\xff\"}", "/subject invalid_unicode;"},
    {"{" MAIL_REST ",\"text\":\"y\"}", "/text duplicate_key;"},
    {"{" MAIL_REST ",\"headers\":{\"X\":\"1\",\"X\":\"2\"}}", "/headers/X duplicate_key;"},
    {"{\"from\":\"\\ud800@b.example\",\"to\":\"c@d.example\",\"bogus\":1}",
     "/from invalid_unicode;/bogus unknown_field;/text required;"},
    {"{" MAIL_REST ",\"relay\":\"other\"}", "/relay unknown_relay;"},
    {"{" MAIL_REST ",\"relay\":1,\"partial\":true}", "/relay wrong_type;/partial wrong_type;"},
    {"{" MAIL_REST ",\"partial\":\"maybe\"}", "/partial invalid_value;"},
    {"{" MAIL_REST ",\"on_temporary_failure\":\"retry\"}", ""},
    {"{" MAIL_REST ",\"on_temporary_failure\":\"Retry\"}", "/on_temporary_failure invalid_value;"},
    {"{" MAIL_REST ",\"on_temporary_failure\":\"\"}", "/on_temporary_failure invalid_value;"},
    {"{" MAIL_REST ",\"on_temporary_failure\":true}", "/on_temporary_failure wrong_type;"},
    {"{" MAIL_REST ",\"cc\":[\"a@b.example\",\"b@b.example\"]}", ""},
    {"{" MAIL_REST ",\"cc\":[\"a@b.example\",\"b@b.example\",\"c@b.example\"]}", "/to too_many;"},
    {"{" MAIL_REST ",\"reply_to\":[\"a@b.example\",\"b@b.example\",\"c@b.example\",\"d@b.example\"]}",
     "/reply_to too_many;"},
    {"{" MAIL_REST ",\"subjec\":\"\",\"replyTo\":\"\",\"zebra\":1,\"a/b\":1}",
     "/subjec unknown_field;/replyTo unknown_field;/zebra unknown_field;/a~1b unknown_field;"},
    {"{" MAIL_REST ",\"headers\":1}", "/headers wrong_type;"},
    {"{" MAIL_REST ",\"headers\":{\"X-A\":1,\"X-B\":null}}", "/headers/X-A wrong_type;/headers/X-B wrong_type;"},
    {"{" MAIL_REST ",\"headers\":[1,{\"name\":\"X\"},{\"name\":\"X\",\"value\":\"v\",\"more\":1},{\"name\":1,"
     "\"value\":\"v\"}]}",
     "/headers/0 wrong_type;/headers/1 wrong_type;/headers/2 wrong_type;/headers/3 wrong_type;"},
    {"{" MAIL_REST ",\"headers\":{\"from\":\"x\",\"TO\":\"x\",\"Cc\":\"x\",\"bcc\":\"x\",\"Reply-To\":\"x\","
     "\"Subject\":\"x\"}}",
     "/headers/from header_not_allowed;/headers/TO header_not_allowed;/headers/Cc header_not_allowed;"
     "/headers/bcc header_not_allowed;/headers/Reply-To header_not_allowed;/headers/Subject header_not_allowed;"},
    {"{" MAIL_REST ",\"headers\":{\"MIME-Version\":\"x\",\"content-foo\":\"x\",\"Resent-To\":\"x\","
     "\"ARC-Seal\":\"x\"}}",
     "/headers/MIME-Version header_not_allowed;/headers/content-foo header_not_allowed;"
     "/headers/Resent-To header_not_allowed;/headers/ARC-Seal header_not_allowed;"},
    {"{" MAIL_REST ",\"headers\":{\"DKIM-Signature\":\"x\",\"Received\":\"x\",\"Return-Path\":\"x\"}}",
     "/headers/DKIM-Signature header_not_allowed;/headers/Received header_not_allowed;"
     "/headers/Return-Path header_not_allowed;"},
    {"{" MAIL_REST ",\"headers\":{\"\":\"x\",\"A:B\":\"x\",\"A B\":\"x\",\"A\\nB\":\"x\",\"\xC3\xA9\":\"x\"}}",
     "/headers/ invalid_value;/headers/A:B invalid_value;/headers/A B invalid_value;/headers/A\nB invalid_value;"
     "/headers/\xC3\xA9 invalid_value;"},
    {"{" MAIL_REST ",\"headers\":{\"X\":\"a\\r\\nBcc: b\"}}", "/headers/X control_character;"},
    {"{" MAIL_REST ",\"headers\":{\"Received-SPF\":\"x\",\"Mime\":\"x\",\"X-From\":\"\xC3\xA9\"}}", ""},
};

START_TEST(test_mails)
{
    struct json_mail_result r = read_mail(mails[_i].json);
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    for (size_t i = 0; i < r.n_problems; i++)
        bytes_buf_printf(&b, "%s %s;", r.problems[i].pointer, r.problems[i].code);
    ck_assert_msg(strcmp(bytes_buf_view(&b).n ? b.p : "", mails[_i].problems) == 0, "%s:\ngot      %s\nexpected %s",
                  mails[_i].json, b.n ? b.p : "", mails[_i].problems);
    ck_assert_int_eq(r.code, r.n_problems ? OUTCOME_VALIDATION_FAILED : OUTCOME_SENT);
    bytes_buf_deinit(&b);
    json_mail_result_deinit(&r);
}
END_TEST

static const struct {
    const char *name, *value;
    bool good;
} headers[] = {
    {"Date", "Tue, 24 Nov 2026 20:15:00 +0100", true}, {"date", "4 Nov 2026 20:15 -0000", true},
    {"Date", "Tue, 24 Nov 2026 20:15:60 +0000", true}, {"Date", "2026-11-24T20:15:00Z", false},
    {"Date", "Tue 24 Nov 2026 20:15:00 +0100", false}, {"Date", "32 Nov 2026 20:15:00 +0100", false},
    {"Date", "24 nov 2026 20:15:00 +0100", false}, {"Date", "24 Nov 26 20:15:00 +0100", false},
    {"Date", "24 Nov 2026 24:00:00 +0100", false}, {"Date", "24 Nov 2026 20:60:00 +0100", false},
    {"Date", "24 Nov 2026 20:15:00 GMT", false}, {"Date", "24 Nov 2026 20:15:00 +010", false},
    {"Date", "24 Nov 2026 20:15:00 +01000", false}, {"Date", "24 Nov 2026 20:15:00 +0100 x", false}, {"Date", "",
     false},
    {"Message-ID", "<a@b>", true}, {"message-id", "<a.b!x@c.example>", true}, {"Message-ID", "a@b", false},
    {"Message-ID", "<a@b> ", false}, {"Message-ID", "<a@b><c@d>", false}, {"Message-ID", "<a>", false},
    {"Message-ID", "<@b>", false}, {"Message-ID", "<a@>", false}, {"Message-ID", "<a@b@c>", false},
    {"Message-ID", "<a b@c>", false}, {"Message-ID", "<a@b", false}, {"Message-ID", "<a<@b>", false},
    {"Message-ID", "<\xC3\xA9@b>", false}, {"Message-ID", "", false},
    {"References", "<a@b> <c@d>", true}, {"References", "<a@b><c@d>", true}, {"In-Reply-To", "<a@b>, <c@d>", true},
    {"References", "", false}, {"References", " ", false}, {"References", "<a@b> x", false}, {"In-Reply-To",
     "Re: x", false},
    {"Sender", "a@b.example", true}, {"Sender", "N <a@b.example>", true}, {"Sender", "nobody", false}, {"Sender",
     "", false},
    {"X-A", "", true}, {"X-A", "  ", true}, {"X-A", "=?utf-8?q?x?=", true},
};

START_TEST(test_headers)
{
    struct json_mail_result r;
    char json[400];

    snprintf(json, sizeof(json), "{" MAIL_REST ",\"headers\":{\"%s\":\"%s\"}}", headers[_i].name, headers[_i].value);
    r = read_mail(json);
    ck_assert_msg(r.n_problems == (headers[_i].good ? 0 : 1), "%s", json);
    if (!headers[_i].good)
        ck_assert_str_eq(r.problems[0].code, "invalid_value");
    json_mail_result_deinit(&r);
}
END_TEST

START_TEST(test_once_only_headers)
{
    static const char *const names[] = {"Date\",\"value\":\"4 Nov 2026 20:15 +0000", "Message-ID\",\"value\":\"<a@b>",
                                        "Sender\",\"value\":\"a@b.example", "References\",\"value\":\"<a@b>"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct json_mail_result r;
        char json[400];
        snprintf(json, sizeof(json), "{" MAIL_REST ",\"headers\":[{\"name\":\"%s\"},{\"name\":\"%s\"}]}", names[i],
                 names[i]);
        r = read_mail(json);
        ck_assert_uint_eq(r.n_problems, 1);
        ck_assert_str_eq(r.problems[0].pointer, "/headers/1");
        ck_assert_str_eq(r.problems[0].code, "invalid_value");
        json_mail_result_deinit(&r);
    }
}
END_TEST

static const struct {
    const char *field, *meant;          /* NULL: nothing near */
} guesses[] = {
    {"replyTo", "reply_to"}, {"ReplyTo", "reply_to"}, {"reply-to", "reply_to"}, {"Subject", "subject"},
    {"subjct", "subject"}, {"form", "from"}, {"body", NULL}, {"htlm", "html"}, {"txt", "text"}, {"TO", "to"},
    {"attachment", "attachments"}, {"scheduledAt", "scheduled_at"}, {"listUnsubscribe", "list_unsubscribe"},
    {"x", NULL}, {"", NULL}, {"zzzzzzzz", NULL},
};

START_TEST(test_did_you_mean)
{
    struct json_mail_result r;
    char json[200], want[60];

    snprintf(json, sizeof(json), "{" MAIL_REST ",\"%s\":\"\"}", guesses[_i].field);
    snprintf(want, sizeof(want), "did you mean \"%s\"?", guesses[_i].meant ? guesses[_i].meant : "");
    r = read_mail(json);
    ck_assert_uint_eq(r.n_problems, 1);
    ck_assert_str_eq(r.problems[0].code, "unknown_field");
    if (guesses[_i].meant)
        ck_assert_msg(strstr(r.problems[0].detail, want) != NULL, "%s", r.problems[0].detail);
    else
        ck_assert_msg(strstr(r.problems[0].detail, "did you mean") == NULL, "%s: %s", json, r.problems[0].detail);
    json_mail_result_deinit(&r);
}
END_TEST

static const char *const not_yet[] = {"async\":true", "scheduled_at\":\"x\"", "expires_in\":5",
                                      "on_temporary_failure\":\"queue\""};

START_TEST(test_not_implemented)
{
    struct json_mail_result r;
    char json[200], want[60];
    size_t n = strcspn(not_yet[_i], "\"");

    snprintf(json, sizeof(json), "{" MAIL_REST ",\"%s}", not_yet[_i]);
    snprintf(want, sizeof(want), "/%.*s", (int)n, not_yet[_i]);
    r = read_mail(json);
    ck_assert_int_eq(r.code, OUTCOME_NOT_IMPLEMENTED);
    ck_assert_uint_eq(r.n_problems, 1);
    ck_assert_str_eq(r.problems[0].pointer, want);
    ck_assert_ptr_nonnull(strstr(r.detail, want + 1));
    json_mail_result_deinit(&r);
}
END_TEST

START_TEST(test_not_implemented_with_problems)
{
    struct json_mail_result r = read_mail("{\"from\":\"x\",\"to\":\"c@d.example\",\"scheduled_at\":\"x\","
    "\"async\":true}");

    ck_assert_int_eq(r.code, OUTCOME_NOT_IMPLEMENTED);
    ck_assert_uint_eq(r.n_problems, 4);
    ck_assert_ptr_nonnull(strstr(r.detail, "scheduled_at, async"));
    json_mail_result_deinit(&r);
}
END_TEST

START_TEST(test_whole_mail)
{
    struct json_mail_result r = read_mail(
        "{\"from\":\"Ann B. <Ann@EXAMPLE.com>\",\"to\":[\"b@c.example\",{\"email\":\"c@c.example\","
        "\"name\":\"C, \\u00e9\"}],"
        "\"bcc\":{\"email\":\"d@c.example\",\"name\":null},\"reply_to\":\"\xC3\xA9@b\xC3\xBC.example\","
        "\"subject\":\"\","
        "\"text\":\"a\\tb\\r\\n\\ud83d\\ude00\",\"headers\":[{\"name\":\"X-A\",\"value\":\"1\"},{\"name\":\"X-A\","
        "\"value\":\"2\"},"
        "{\"name\":\"Message-Id\",\"value\":\"<own@b.example>\"}],\"relay\":\"default\",\"partial\":\"reject\","
        "\"on_temporary_failure\":\"retry\"}");
    const struct mail *m = r.mail;

    ck_assert_int_eq(r.code, OUTCOME_SENT);
    ck_assert_str_eq(m->from.email, "Ann@example.com");
    ck_assert_str_eq(m->from.name, "Ann B.");
    ck_assert_uint_eq(m->to.n, 2);
    ck_assert_ptr_null(m->to.v[0].name);
    ck_assert_str_eq(m->to.v[1].name, "C, \xC3\xA9");
    ck_assert_uint_eq(m->cc.n, 0);
    ck_assert_uint_eq(m->bcc.n, 1);
    ck_assert_str_eq(m->reply_to.v[0].email, "\xC3\xA9@xn--b-eha.example");
    ck_assert(m->reply_to.v[0].utf8 && !m->from.utf8);
    ck_assert_str_eq(m->subject, "");
    ck_assert_str_eq(m->text.p, "a\tb\r\n" EMOJI);
    ck_assert_ptr_null(m->html.p);
    ck_assert_uint_eq(m->headers.n, 2);
    ck_assert_str_eq(m->headers.v[1].value, "2");
    ck_assert_str_eq(m->message_id, "<own@b.example>");
    ck_assert_str_eq(m->relay, "default");
    ck_assert(m->partial_reject);
    ck_assert_int_eq(m->on_temporary_failure, MAIL_ON_TEMPORARY_RETRY);
    json_mail_result_deinit(&r);
}
END_TEST

/* ---- limits: at it, and one past it ---- */

static struct json_mail_result read_repeated(const char *before, const char *what, size_t n, const char *after)
{
    struct bytes_buf b;
    struct json_mail_result r;

    bytes_buf_init(&b, 0);
    bytes_buf_add_str(&b, before);
    for (size_t i = 0; i < n; i++)
        bytes_buf_add_str(&b, what);
    bytes_buf_add_str(&b, after);
    r = read_mail(b.p);
    bytes_buf_deinit(&b);
    return r;
}

static const struct {
    const char *before, *what;
    size_t most;
    const char *after, *pointer, *code;
} limits[] = {
    {"{" MAIL_REST ",\"headers\":{\"", "x", 76, "\":\"v\"}}", NULL, "invalid_value"},
    {"{" MAIL_REST ",\"headers\":{\"X\":\"", "x", 900, "\"}}", "/headers/X", "invalid_value"},
    {"{" MAIL_REST ",\"headers\":{\"X\":\"", "x ", 8192, "\"}}", "/headers/X", "invalid_value"},
    {"{" MAIL_REST ",\"headers\":{\"Message-ID\":\"<a@", "x", 246, ">\"}}", "/headers/Message-ID", "invalid_value"},
    {"{" MAIL_REST ",\"subject\":\"", "x", 65536, "\"}", "/subject", "too_long"},
    {"{\"to\":\"c@d.example\",\"text\":\"\",\"from\":{\"email\":\"a@b.example\",\"name\":\"", "x", 1000, "\"}}",
     "/from/name",
     "too_long"},
    {"{\"to\":\"c@d.example\",\"text\":\"\",\"from\":\"", "x", 1000, " <a@b.example>\"}", "/from", "too_long"},
    {"{" MAIL_REST ",\"headers\":[{\"name\":\"X\",\"value\":\"\"}", ",{\"name\":\"X\",\"value\":\"\"}", 199, "]}",
     "/headers",
     "too_many"},
};

START_TEST(test_limits)
{
    struct json_mail_result r = read_repeated(limits[_i].before, limits[_i].what, limits[_i].most, limits[_i].after);

    ck_assert_msg(r.n_problems == 0, "%s", r.n_problems ? r.problems[0].detail : "");
    json_mail_result_deinit(&r);
    r = read_repeated(limits[_i].before, limits[_i].what, limits[_i].most + 1, limits[_i].after);
    ck_assert_uint_eq(r.n_problems, 1);
    ck_assert_str_eq(r.problems[0].code, limits[_i].code);
    if (limits[_i].pointer)
        ck_assert_str_eq(r.problems[0].pointer, limits[_i].pointer);
    json_mail_result_deinit(&r);
}
END_TEST

/* Names that are cut for a detail are cut between characters: read_mail looks at that. */
START_TEST(test_details_stay_utf8)
{
    for (size_t n = 1; n < 140; n++) {
        struct json_mail_result r = read_repeated("{" MAIL_REST ",\"", "\xE2\x82\xAC", n, "\":1}");
        ck_assert(bytes_is_utf8(bytes_view_str(r.detail)));
        json_mail_result_deinit(&r);
        r = read_repeated("{\"from\":{\"x", "\xC3\xA9", n, "\":1}}");
        ck_assert(bytes_is_utf8(bytes_view_str(r.detail)));
        json_mail_result_deinit(&r);
    }
}
END_TEST

START_TEST(test_problems_limit)
{
    struct json_mail_result r = read_repeated("{" MAIL_REST, ",\"zebra\":0", 100000, "}");

    ck_assert_uint_le(r.n_problems, JSON_PROBLEMS_MAX);
    json_mail_result_deinit(&r);
    r = read_repeated("{" MAIL_REST ",\"headers\":[1", ",1", 150, "]}");
    ck_assert_uint_eq(r.n_problems, JSON_PROBLEMS_MAX);
    ck_assert_int_eq(r.code, OUTCOME_VALIDATION_FAILED);
    json_mail_result_deinit(&r);
    r = read_repeated("{\"from\":\"a@b.example\",\"text\":\"\",\"to\":[1", ",1", 50000, "]}");
    ck_assert_uint_eq(r.n_problems, 4);
    json_mail_result_deinit(&r);
}
END_TEST

static void add_text_tests(TCase *tc)
{
    tcase_add_loop_test(tc, test_valid, 0, (int)ARRAY_LEN(valid));
    tcase_add_loop_test(tc, test_invalid, 0, (int)ARRAY_LEN(invalid));
    tcase_add_test(tc, test_cut_short);
    tcase_add_loop_test(tc, test_places, 0, (int)ARRAY_LEN(places));
    tcase_add_test(tc, test_depth);
    tcase_add_test(tc, test_number_length);
    tcase_add_loop_test(tc, test_defects, 0, (int)ARRAY_LEN(defects));
    tcase_add_test(tc, test_broken_utf8);
    tcase_add_test(tc, test_defects_limit);
    tcase_add_test(tc, test_many_names);
}

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *tc = tcase_create("json");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    add_text_tests(tc);
    tcase_add_loop_test(tc, test_mails, 0, (int)ARRAY_LEN(mails));
    tcase_add_loop_test(tc, test_headers, 0, (int)ARRAY_LEN(headers));
    tcase_add_test(tc, test_once_only_headers);
    tcase_add_loop_test(tc, test_did_you_mean, 0, (int)ARRAY_LEN(guesses));
    tcase_add_loop_test(tc, test_not_implemented, 0, (int)ARRAY_LEN(not_yet));
    tcase_add_test(tc, test_not_implemented_with_problems);
    tcase_add_test(tc, test_whole_mail);
    tcase_add_loop_test(tc, test_limits, 0, (int)ARRAY_LEN(limits));
    tcase_add_test(tc, test_details_stay_utf8);
    tcase_add_test(tc, test_problems_limit);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
