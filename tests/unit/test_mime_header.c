#include "smtp/mime_header.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Header fields: folding, encoded words, display names, dates. */

#define W10 "aaaaaaaaa "

static const struct {
    const char *in, *want;
} subjects[] = {
    {"", "S:\r\n"},
    {"plain", "S: plain\r\n"},
    {W10 W10 W10 W10 W10 W10 W10 "aaaaa", "S: " W10 W10 W10 W10 W10 W10 W10 "aaaaa\r\n"},
    {W10 W10 W10 W10 W10 W10 W10 "aaaaaa", "S: " W10 W10 W10 W10 W10 W10 "aaaaaaaaa\r\n aaaaaa\r\n"},
    {" x", "S: =?utf-8?q?_x?=\r\n"},
    {"x ", "S: =?utf-8?q?x_?=\r\n"},
    {"a =?b", "S: =?utf-8?b?YSA9P2I=?=\r\n"},
    {"caf\xC3\xA9 au lait", "S: =?utf-8?q?caf=C3=A9_au_lait?=\r\n"},
    {"\xE6\x97\xA5", "S: =?utf-8?b?5pel?=\r\n"},
};

START_TEST(test_subjects)
{
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    mime_header_text(&b, "S", bytes_view_str(subjects[_i].in));
    ck_assert_str_eq(b.p, subjects[_i].want);
    bytes_buf_deinit(&b);
}
END_TEST

START_TEST(test_own)
{
    static const char *const cases[][2] = {
        {"", "X:\r\n"}, {"  a  b  ", "X: a  b\r\n"}, {"   ", "X:\r\n"}, {"=?utf-8?q?x?=", "X: =?utf-8?q?x?=\r\n"},
        {"\xC3\xA9", "X: =?utf-8?b?w6k=?=\r\n"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes_buf b;
        bytes_buf_init(&b, 0);
        mime_header_own(&b, "X", bytes_view_str(cases[i][0]));
        ck_assert_str_eq(b.p, cases[i][1]);
        bytes_buf_deinit(&b);
    }
}
END_TEST

/* A name that begins a continuation line keeps its space, or it would be a header line of its own. */
START_TEST(test_name_on_a_new_line)
{
    char first[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@example.com", second[] = "b@c.example";
    char name[] = "Longfirstword and so on and so on and on and on and on and on and on and on";
    struct mail_address v[] = {{.email = first}, {.email = second, .name = name}};
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    mime_header_addresses(&b, "To", v, 2);
    ck_assert_ptr_nonnull(strstr(b.p, ",\r\n Longfirstword and"));
    ck_assert_ptr_null(strstr(b.p, " \r\n"));
    bytes_buf_deinit(&b);
}
END_TEST

/* Each encoded word by itself is whole UTF-8: q's "=XX" of one character stay together, and b's octets do. */
START_TEST(test_characters_stay_whole)
{
    for (size_t before = 0; before < 80; before++) {
        struct bytes_buf in, b;
        bytes_buf_init(&in, 0);
        bytes_buf_init(&b, 0);
        for (size_t i = 0; i < 3 * before; i++)
            bytes_buf_add_char(&in, 'a');
        for (size_t i = 0; i < before / 2 + 5; i++)
            bytes_buf_add_str(&in, "\xF0\x9F\x98\x80");
        mime_header_text(&b, "Subject", bytes_buf_view(&in));
        for (char *w = b.p; (w = strstr(w, "=?utf-8?")); w += 10) {
            size_t n = strcspn(w + 10, "?");
            ck_assert_uint_le(n + 12, 75);
            if (w[8] == 'q')            /* F0 opens each character, 80 ends it */
                ck_assert(n < 3 || w[10] != '=' || memcmp(w + 10, "=F0", 3) == 0);
            else
                ck_assert_uint_eq(n % 4, 0);
            if (w[8] == 'q' && n >= 3 && w[10 + n - 3] == '=')
                ck_assert(memcmp(w + 10 + n - 3, "=80", 3) == 0);
        }
        bytes_buf_deinit(&in);
        bytes_buf_deinit(&b);
    }
}
END_TEST

static const struct {
    int64_t at;
    const char *want;
} dates[] = {
    {0, "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n"}, {-1, "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n"},
    {951782399, "Date: Mon, 28 Feb 2000 23:59:59 +0000\r\n"}, {951782400,
     "Date: Tue, 29 Feb 2000 00:00:00 +0000\r\n"},
    {1772323199, "Date: Sat, 28 Feb 2026 23:59:59 +0000\r\n"}, {1772323200,
     "Date: Sun, 1 Mar 2026 00:00:00 +0000\r\n"},
    {1798761599, "Date: Thu, 31 Dec 2026 23:59:59 +0000\r\n"}, {1798761600,
     "Date: Fri, 1 Jan 2027 00:00:00 +0000\r\n"},
    {4107542400, "Date: Mon, 1 Mar 2100 00:00:00 +0000\r\n"}, {1795552500,
     "Date: Tue, 24 Nov 2026 20:35:00 +0000\r\n"},
};

START_TEST(test_dates)
{
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    mime_header_date(&b, dates[_i].at);
    ck_assert_str_eq(b.p, dates[_i].want);
    bytes_buf_deinit(&b);
}
END_TEST

/* Whatever stands in a display name, it stays inside it. */
START_TEST(test_names)
{
    static const char *const cases[][2] = {
        {"Ann", "F: Ann <a@b.example>\r\n"},
        {"A \"B\" \\C", "F: \"A \\\"B\\\" \\\\C\" <a@b.example>\r\n"},
        {"evil@x.example>, <y@z.example", "F: \"evil@x.example>, <y@z.example\" <a@b.example>\r\n"},
        {"a; b%20c", "F: \"a; b%20c\" <a@b.example>\r\n"},
        {"=?utf-8?q?x?=", "F: =?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <a@b.example>\r\n"},
        {"a  b", "F: =?utf-8?q?a__b?= <a@b.example>\r\n"},
        {" a", "F: =?utf-8?q?_a?= <a@b.example>\r\n"},
        {"a\tb", "F: =?utf-8?b?YQli?= <a@b.example>\r\n"},
        {"", "F: a@b.example\r\n"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mail_address a = {.email = (char[]){"a@b.example"}, .name = strdup(cases[i][0])};
        struct bytes_buf b;
        bytes_buf_init(&b, 0);
        mime_header_addresses(&b, "F", &a, 1);
        ck_assert_str_eq(b.p, cases[i][1]);
        bytes_buf_deinit(&b);
        free(a.name);
    }
}
END_TEST

static void check_lines(const char *p, size_t max)
{
    while (*p) {
        size_t n = strcspn(p, "\r\n");
        ck_assert_uint_le(n, max);
        ck_assert(n > 1 && memcmp(p + n, "\r\n", 2) == 0);
        p += n + 2;
        ck_assert(!*p || *p == ' ');
    }
}

START_TEST(test_references_are_folded_between_ids)
{
    struct bytes_buf in, b;

    bytes_buf_init(&in, 0);
    bytes_buf_init(&b, 0);
    for (unsigned i = 0; i < 1000; i++)
        bytes_buf_printf(&in, "%s<%u.abcdefgh@mail.example.com>", i ? " " : "", i);
    mime_header_own(&b, "References", bytes_buf_view(&in));
    check_lines(b.p, 78);
    for (const char *p = strstr(b.p, "\r\n "); p; p = strstr(p + 1, "\r\n "))
        ck_assert(p[-1] == '>' && p[3] == '<');
    bytes_buf_deinit(&in);
    bytes_buf_deinit(&b);
}
END_TEST

START_TEST(test_long_subjects)
{
    static const char *const words[] = {"\xE6\x97\xA5", "word ", "\xC3\xA9 abcdefghijkl"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        struct bytes_buf in, b;
        bytes_buf_init(&in, 0);
        bytes_buf_init(&b, 0);
        while (in.n < 65536)
            bytes_buf_add_str(&in, words[i]);
        bytes_buf_add_char(&in, 'x');
        mime_header_text(&b, "Subject", bytes_buf_view(&in));
        check_lines(b.p, i == 1 ? 78 : 76);
        bytes_buf_deinit(&in);
        bytes_buf_deinit(&b);
    }
}
END_TEST

/* A URI longer than a line may be is broken where readers ignore it; each piece stays under 998. */
START_TEST(test_unsubscribe_too_long_for_a_line)
{
    char url[3000] = "https://e.example/";
    struct bytes_buf b;

    memset(url + strlen(url), 'x', sizeof(url) - 1 - strlen(url));
    bytes_buf_init(&b, 0);
    mime_header_unsubscribe(&b, url, "u@e.example");
    ck_assert_ptr_nonnull(strstr(b.p, ">,\r\n <mailto:u@e.example>\r\nList-Unsubscribe-Post: "));
    *strstr(b.p, "List-Unsubscribe-Post") = '\0';
    check_lines(b.p, 998);
    bytes_buf_deinit(&b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mime_header");
    TCase *tc = tcase_create("mime_header");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_subjects, 0, (int)ARRAY_LEN(subjects));
    tcase_add_test(tc, test_own);
    tcase_add_test(tc, test_name_on_a_new_line);
    tcase_add_test(tc, test_characters_stay_whole);
    tcase_add_loop_test(tc, test_dates, 0, (int)ARRAY_LEN(dates));
    tcase_add_test(tc, test_names);
    tcase_add_test(tc, test_references_are_folded_between_ids);
    tcase_add_test(tc, test_long_subjects);
    tcase_add_test(tc, test_unsubscribe_too_long_for_a_line);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
