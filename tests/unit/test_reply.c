#include "smtp/dot.h"
#include "smtp/ehlo.h"
#include "smtp/reply.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Replies at the limit and one past it, what EHLO offers, and dots over every piece border. */

struct reply_case {
    const char *in;
    int rc;                             /* of the first feed with all of it */
    int code;
    const char *enhanced, *text;
};

static const struct reply_case replies[] = {
    {"250 ok\r\n", 1, 250, "", "ok"},
    {"250\r\n", 1, 250, "", ""},
    {"250 \r\n", 1, 250, "", ""},
    {"250-one\r\n250-\r\n250 two\r\n", 1, 250, "", "one two"},
    {"250-one\r\n250\r\n", 1, 250, "", "one"},
    {"550 5.1.1 no such user\r\n", 1, 550, "5.1.1", "no such user"},
    {"550-5.7.1 not\r\n550 5.7.1 here\r\n", 1, 550, "5.7.1", "not here"},
    {"550 4.1.1 another class\r\n", 1, 550, "", "4.1.1 another class"},
    {"550 5.1111.1 too long\r\n", 1, 550, "", "5.1111.1 too long"},
    {"550 5.1.1\r\n", 1, 550, "5.1.1", ""},
    {"354 3.0.0 go\r\n", 1, 354, "", "3.0.0 go"},
    {"250 tab\there \x01\x7f end\r\n", 1, 250, "", "tab here ?? end"},
    {"250 caf\xc3\xa9 \xff \xc2\x85 \xed\xa0\x80\r\n", 1, 250, "", "caf\xc3\xa9 ? ?? ???"},
    {"25", 0, 0, NULL, NULL},
    {"250 ok\r", 0, 0, NULL, NULL},
    {"250-one\r\n", 0, 0, NULL, NULL},
    {"250 ok\n", -1, 0, NULL, NULL},
    {"250 o\rk\r\n", -1, 0, NULL, NULL},
    {"25O ok\r\n", -1, 0, NULL, NULL},
    {"150 ok\r\n", -1, 0, NULL, NULL},
    {"650 ok\r\n", -1, 0, NULL, NULL},
    {"260 ok\r\n", -1, 0, NULL, NULL},
    {"2500 ok\r\n", -1, 0, NULL, NULL},
    {"250:ok\r\n", -1, 0, NULL, NULL},
    {"25\r\n", -1, 0, NULL, NULL},
    {"\r\n", -1, 0, NULL, NULL},
    {"250-one\r\n251 two\r\n", -1, 0, NULL, NULL},
    {" 250 ok\r\n", -1, 0, NULL, NULL},
};

static int feed_in_pieces(const char *in, size_t n, size_t piece, struct smtp_reply *out)
{
    struct smtp_reply_parser p;
    const char *why = NULL;
    int rc = 0;

    smtp_reply_parser_init(&p);
    for (size_t i = 0; i < n && rc == 0; i += piece) {
        struct bytes_view v = bytes_view(in + i, n - i < piece ? n - i : piece);
        rc = smtp_reply_parser_feed(&p, &v, SMTP_REPLY_LINE_MAX, out, &why);
        ck_assert(rc >= 0 || why != NULL);
    }
    smtp_reply_parser_deinit(&p);
    return rc;
}

START_TEST(test_replies)
{
    const struct reply_case *c = &replies[_i];
    struct smtp_reply r;

    for (size_t piece = 1; piece <= strlen(c->in); piece++) {
        ck_assert_int_eq(feed_in_pieces(c->in, strlen(c->in), piece, &r), c->rc);
        if (c->rc != 1)
            continue;
        ck_assert_int_eq(r.code, c->code);
        ck_assert_str_eq(r.enhanced, c->enhanced);
        ck_assert_str_eq(r.text, c->text);
    }
}
END_TEST

START_TEST(test_nul_is_broken)
{
    struct smtp_reply r;

    ck_assert_int_eq(feed_in_pieces("250 o\0k\r\n", 9, 9, &r), -1);
    ck_assert_int_eq(feed_in_pieces("250 o\0k\r\n", 9, 1, &r), -1);
}
END_TEST

START_TEST(test_line_limit)
{
    struct smtp_reply r;
    char *line = malloc(SMTP_REPLY_LINE_MAX + 2);

    memset(line, 'x', SMTP_REPLY_LINE_MAX + 1);
    memcpy(line, "250 ", 4);
    memcpy(line + SMTP_REPLY_LINE_MAX - 2, "\r\n", 2);
    ck_assert_int_eq(feed_in_pieces(line, SMTP_REPLY_LINE_MAX, SMTP_REPLY_LINE_MAX, &r), 1);
    ck_assert_int_eq(feed_in_pieces(line, SMTP_REPLY_LINE_MAX, 7, &r), 1);
    memcpy(line + SMTP_REPLY_LINE_MAX - 2, "x\r\n", 3);
    ck_assert_int_eq(feed_in_pieces(line, SMTP_REPLY_LINE_MAX + 1, SMTP_REPLY_LINE_MAX + 1, &r), -1);
    ck_assert_int_eq(feed_in_pieces(line, SMTP_REPLY_LINE_MAX + 1, 7, &r), -1);
    free(line);
}
END_TEST

START_TEST(test_lines_limit)
{
    struct bytes_buf b;
    struct smtp_reply r;

    bytes_buf_init(&b, 0);
    for (int i = 0; i < SMTP_REPLY_LINES_MAX - 1; i++)
        bytes_buf_add_str(&b, "250-x\r\n");
    bytes_buf_add_str(&b, "250 x\r\n");
    ck_assert_int_eq(feed_in_pieces(b.p, b.n, b.n, &r), 1);
    ck_assert_uint_eq(r.n_lines, SMTP_REPLY_LINES_MAX);
    memcpy(b.p + b.n - 7, "250-x\r\n", 7);
    bytes_buf_add_str(&b, "250 x\r\n");
    ck_assert_int_eq(feed_in_pieces(b.p, b.n, b.n, &r), -1);
    bytes_buf_deinit(&b);
}
END_TEST

/* Each line adds its text and an LF; the last one may bring the reply to 64 KiB, with its code. */
START_TEST(test_size_limit)
{
    size_t n = 16 * SMTP_REPLY_LINE_MAX, text = SMTP_REPLY_LINE_MAX - 6 + 1, last = SMTP_REPLY_MAX - 16 * text + 2;
    char *p = malloc(n + 256);
    struct smtp_reply r;

    memset(p, 'x', n + 256);
    for (int i = 0; i <= 16; i++) {
        char *line = p + i * SMTP_REPLY_LINE_MAX;
        size_t line_n = i < 16 ? SMTP_REPLY_LINE_MAX : last;
        memcpy(line, i < 16 ? "250-" : "250 ", 4);
        memcpy(line + line_n - 2, "\r\n", 2);
    }
    ck_assert_int_eq(feed_in_pieces(p, n + last, 4096, &r), 1);
    memcpy(p + n + last - 2, "x\r\n", 3);
    ck_assert_int_eq(feed_in_pieces(p, n + last + 1, 4096, &r), -1);
    free(p);
}
END_TEST

START_TEST(test_text_is_cut_between_characters)
{
    struct smtp_reply r;
    char line[700] = "250 x";

    for (int i = 0; i < 300; i++)
        memcpy(line + 5 + 2 * i, "\xc3\xa9", 2);
    memcpy(line + 605, "\r\n", 2);
    ck_assert_int_eq(feed_in_pieces(line, 607, 607, &r), 1);
    ck_assert_uint_lt(strlen(r.text), sizeof(r.text));
    ck_assert(bytes_is_utf8(bytes_view_str(r.text)));
}
END_TEST

START_TEST(test_ehlo)
{
    static const char in[] =
        "250-relay SIZE 5\r\n250-size 10240000\r\n250-Auth plain LOGIN x\r\n250-AUTH=CRAM-MD5\r\n250-8BITMIME\r\n"
        "250-CHUNKINGX\r\n250-\r\n250 DSN\r\n";
    struct smtp_reply_parser p;
    struct smtp_capabilities c;
    struct smtp_reply r;
    struct bytes_view v = bytes_view_str(in);
    const char *why;

    smtp_reply_parser_init(&p);
    ck_assert_int_eq(smtp_reply_parser_feed(&p, &v, SMTP_REPLY_LINE_MAX, &r, &why), 1);
    smtp_ehlo_parse(&r, &c);
    ck_assert(c.size_offered && c.auth_plain && c.auth_login && c.eightbitmime && c.dsn);
    ck_assert(!c.chunking && !c.pipelining && !c.starttls && !c.smtputf8);
    ck_assert_uint_eq(c.size_max, 10240000);
    ck_assert_str_eq(c.auth_list, "plain LOGIN x CRAM-MD5");
    smtp_reply_parser_deinit(&p);
}
END_TEST

static const struct {
    const char *in, *out;
} dots[] = {
    {"", ""}, {".", ".."}, {".\r\n", "..\r\n"}, {"a.b\r\n.c\r\n", "a.b\r\n..c\r\n"}, {"..\r\n..\r\n", "...\r\n...\r\n"},
    {"\r\n.\r\n", "\r\n..\r\n"}, {"a\r\n.", "a\r\n.."}, {"x\r\n.\r\n.\r\ny", "x\r\n..\r\n..\r\ny"},
};

START_TEST(test_dot_over_borders)
{
    const char *in = dots[_i].in, *want = dots[_i].out;
    size_t n = strlen(in);

    for (size_t piece = 1; piece <= n + 1; piece++)
        for (size_t cap = 2; cap < 8; cap++) {
            struct smtp_dot d = {false};
            char got[100];
            size_t at = 0;
            for (size_t i = 0; i < n; i += piece) {
                struct bytes_view v = bytes_view(in + i, n - i < piece ? n - i : piece);
                while (v.n)
                    at += smtp_dot_stuff(&d, &v, got + at, cap);
            }
            ck_assert_uint_eq(at, strlen(want));
            ck_assert(memcmp(got, want, at) == 0);
        }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reply");
    TCase *tc = tcase_create("reply");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_add_loop_test(tc, test_replies, 0, (int)ARRAY_LEN(replies));
    tcase_add_test(tc, test_nul_is_broken);
    tcase_add_test(tc, test_line_limit);
    tcase_add_test(tc, test_lines_limit);
    tcase_add_test(tc, test_size_limit);
    tcase_add_test(tc, test_text_is_cut_between_characters);
    tcase_add_test(tc, test_ehlo);
    tcase_add_loop_test(tc, test_dot_over_borders, 0, (int)ARRAY_LEN(dots));
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
