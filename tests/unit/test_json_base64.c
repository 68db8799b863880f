#include "api/json_text.h"
#include "json_case.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Attachments' base64: what is taken and in which form it is kept, short and long. */

#define BEFORE "'attachments':[{'filename':'a','content':'"
#define URL "base64url"
#define ODD "not base64"
#define CUT "not complete"
#define BEHIND "follows the padding"

static const struct {
    const char *written, *want;         /* want NULL: refused, and `why` is in the detail */
    const char *why;
} cases[] = {
    {"", "", NULL}, {"QUJD", "QUJD", NULL}, {"QUI=", "QUI=", NULL}, {"QQ==", "QQ==", NULL},
    /* padding is optional, and may be short of nothing */
    {"QUI", "QUI=", NULL}, {"QQ", "QQ==", NULL}, {"QUJDQUI", "QUJDQUI=", NULL},
    {"QQ=", NULL, CUT}, {"QQ===", NULL, CUT}, {"QUI==", NULL, CUT}, {"QUJD=", NULL, CUT}, {"QUJD==", NULL, CUT},
    {"QUJD====", NULL, CUT}, {"Q", NULL, CUT}, {"Q=", NULL, CUT}, {"Q==", NULL, CUT}, {"Q===", NULL, CUT},
    {"QUJDQ", NULL, CUT}, {"=", NULL, CUT}, {"==", NULL, CUT}, {"===", NULL, CUT}, {"====", NULL, CUT},
    /* line breaks anywhere, and nothing else */
    {"QUJD\\r\\nQUJD\\r\\n", "QUJDQUJD", NULL}, {"\\nQ\\nU\\rJ\\r\\nD\\n", "QUJD", NULL},
    {"Q\\nQ\\n=\\n=\\n", "QQ==", NULL},
    {"\\r\\n\\r\\n", "", NULL}, {"QQ\\n", "QQ==", NULL},
    {"QU JD", NULL, ODD}, {" QUJD", NULL, ODD}, {"QUJD ", NULL, ODD}, {"QQ== ", NULL, BEHIND}, {"QQ= =", NULL, BEHIND},
    {"QU\\tJD", NULL, ODD}, {"QUJD\\u0000", NULL, NULL}, {"QU\\u0001JD", NULL, ODD}, {"QUJD\\u007f", NULL, ODD},
    {"QU\\u2028JD", NULL, ODD}, {"QU\\u0085JD", NULL, ODD},
    /* what follows the padding */
    {"QQ==QQ==", NULL, BEHIND}, {"QQ==Q", NULL, BEHIND}, {"Q=Q=", NULL, BEHIND}, {"=QUJ", NULL, BEHIND},
    {"QQ==\\nQUJD", NULL, BEHIND},
    /* RFC 4648 §3.5: bits that are to be zero are made so */
    {"QR==", "QQ==", NULL}, {"Qf", "QQ==", NULL}, {"QUJ=", "QUI=", NULL}, {"QUL", "QUI=", NULL}, {"//==", "/w==", NULL},
    {"///=", "//8=", NULL}, {"++", "+w==", NULL}, {"999", "998=", NULL},
    /* the other alphabet is named */
    {"QU-D", NULL, URL}, {"QU_D", NULL, URL}, {"-_==", NULL, URL}, {"QQ==-", NULL, URL}, {"_", NULL, URL},
    /* escapes of JSON */
    {"\\/\\/\\/\\/", "////", NULL}, {"+\\/+\\/", "+/+/", NULL}, {"\\u0051\\u0055JD", "QUJD", NULL},
    {"QQ\\u003d=", "QQ==", NULL},
    /* what people paste */
    {"data:text/plain;base64,QUJD", NULL, ODD}, {"QUJD.", NULL, ODD}, {"QUJD,", NULL, ODD}, {"%51UJD", NULL, ODD},
    {"QU\\\\JD", NULL, ODD}, {"QU\\\"JD", NULL, ODD}, {"QUJ\xC3\xA9", NULL, ODD}, {"*", NULL, ODD}, {"QU@D", NULL, ODD},
    {"QU[D", NULL, ODD}, {"QU`D", NULL, ODD}, {"QU{D", NULL, ODD}, {"QU:D", NULL, ODD}, {"QU,D", NULL, ODD},
};

/* `blocks` times "AAAA" and a line break before it: long ones stand in the body. */
static void check_case(size_t i, size_t blocks)
{
    struct json_mail_result r;
    struct bytes_buf fields, want;

    bytes_buf_init(&fields, 0);
    bytes_buf_init(&want, 0);
    bytes_buf_add_str(&fields, BEFORE);
    for (size_t k = 0; k < blocks; k++) {
        bytes_buf_add_str(&fields, k % 19 ? "AAAA" : "AA\\r\\nAA");
        bytes_buf_add_str(&want, "AAAA");
    }
    bytes_buf_printf(&fields, "%s'}]", cases[i].written);
    bytes_buf_add_str(&want, cases[i].want ? cases[i].want : "");
    r = json_case_read_fields(fields.p);
    if (cases[i].want) {
        json_case_expect(&r, cases[i].written, "");
        ck_assert_msg(bytes_equal(r.mail->attachments[0].content, bytes_buf_view(&want)), "%s after %zu: %.*s",
                      cases[i].written, blocks, (int)r.mail->attachments[0].content.n % 200,
                      r.mail->attachments[0].content.p);
    } else {
        ck_assert_msg(r.n_problems >= 1, "%s after %zu", cases[i].written, blocks);
        ck_assert_str_eq(r.problems[0].pointer, "/attachments/0/content");
        if (cases[i].why) {
            ck_assert_str_eq(r.problems[0].code, "invalid_base64");
            ck_assert_msg(strstr(r.problems[0].detail, cases[i].why) != NULL, "%s after %zu: %s", cases[i].written,
                          blocks, r.problems[0].detail);
        }
    }
    json_mail_result_deinit(&r);
    bytes_buf_deinit(&fields);
    bytes_buf_deinit(&want);
}

START_TEST(test_short)
{
    check_case((size_t)_i, 0);
    check_case((size_t)_i, 1);
    check_case((size_t)_i, 5);
}
END_TEST

/* The padding comes too early when it is behind more than itself: the cases that begin with it are left out. */
START_TEST(test_long)
{
    if (cases[_i].written[0] == '=')
        return;
    for (size_t blocks = JSON_TEXT_LONG / 4 - 6; blocks <= JSON_TEXT_LONG / 4 + 2; blocks++)
        check_case((size_t)_i, blocks);
    check_case((size_t)_i, 3000);
}
END_TEST

/* Octet by octet over the border between strings that are copied and those that stay, with and without padding, and
 * with a long string right behind: its first octets are where the padding is written. */
START_TEST(test_neighbours)
{
    for (size_t n = JSON_TEXT_LONG - 4; n < JSON_TEXT_LONG + 8; n++)
        for (int padded = 0; padded < 2; padded++) {
            struct json_mail_result r;
            struct bytes_buf b;
            struct bytes_view v;
            if (n % 4 == 1)
                continue;
            bytes_buf_init(&b, 0);
            bytes_buf_add_str(&b, "'attachments':[{'filename':'a','content':'");
            for (size_t i = 0; i < n; i++)
                bytes_buf_add_char(&b, 'A');
            for (size_t i = n; padded && i % 4; i++)
                bytes_buf_add_char(&b, '=');
            bytes_buf_add_str(&b, "'},{'content':'");
            for (size_t i = 0; i < 700; i++)
                bytes_buf_add_char(&b, 'B');
            bytes_buf_add_str(&b, "','filename':'b'}]");
            r = json_case_read_fields(b.p);
            json_case_expect(&r, "neighbours", "");
            v = r.mail->attachments[0].content;
            ck_assert_uint_eq(v.n, (n + 3) / 4 * 4);
            for (size_t i = 0; i < v.n; i++)
                ck_assert_int_eq(v.p[i], i < n ? 'A' : '=');
            v = r.mail->attachments[1].content;
            ck_assert_uint_eq(v.n, 700);
            ck_assert(v.p[0] == 'B' && v.p[699] == 'B');
            ck_assert_str_eq(r.mail->attachments[1].filename, "b");
            json_mail_result_deinit(&r);
            bytes_buf_deinit(&b);
        }
}
END_TEST

/* The unpadded content is the last string of the document: what follows is two octets. */
START_TEST(test_end_of_document)
{
    for (size_t n = JSON_TEXT_LONG - 4; n < JSON_TEXT_LONG + 4; n++) {
        struct json_mail_result r;
        struct bytes_buf b;
        if (n % 4 == 1)
            continue;
        bytes_buf_init(&b, 0);
        bytes_buf_add_str(&b, "{\"from\":\"a@b.example\",\"to\":\"c@d.example\",\"attachments\":"
                              "[{\"filename\":\"a\",\"content\":\"");
        for (size_t i = 0; i < n; i++)
            bytes_buf_add_char(&b, 'A');
        bytes_buf_add_str(&b, "\"}]}");
        r = json_case_read(b.p, b.n);
        json_case_expect(&r, "end", "");
        ck_assert_uint_eq(r.mail->attachments[0].content.n, (n + 3) / 4 * 4);
        json_mail_result_deinit(&r);
        bytes_buf_deinit(&b);
    }
}
END_TEST

/* Every octet at every place of a word of sixteen, which are checked together. */
START_TEST(test_every_octet)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char content[49], fields[200];

    for (int c = 1; c < 128; c++)
        for (size_t at = 0; at < 48; at++) {
            struct json_mail_result r;
            bool good = strchr(digits, c) != NULL;
            if (c < 0x20 || c == '\'' || c == '"' || c == '\\')
                continue;
            memset(content, 'A', 48);
            content[48] = '\0';
            content[at] = (char)c;
            snprintf(fields, sizeof(fields), BEFORE "%s'}]", content);
            r = json_case_read_fields(fields);
            if (!(c == '=' && at == 47))
                ck_assert_msg((r.n_problems == 0) == good, "%c at %zu", c, at);
            json_mail_result_deinit(&r);
        }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json_base64");
    TCase *tc = tcase_create("json_base64");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_short, 0, (int)ARRAY_LEN(cases));
    tcase_add_loop_test(tc, test_long, 0, (int)ARRAY_LEN(cases));
    tcase_add_test(tc, test_neighbours);
    tcase_add_test(tc, test_end_of_document);
    tcase_add_test(tc, test_every_octet);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
