#include "smtp/mime.h"
#include "smtp/mime_body.h"
#include "smtp/mime_base64.h"
#include "smtp/mime_header.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Composed mails to the octet, and the choices behind them: folding, encoded words, encodings, boundaries, dates. */

#define ID "0193600d-5eed-7000-8000-0000000000aa"
#define DATE "Date: Tue, 24 Nov 2026 20:35:00 +0000\r\n"
#define OWN_ID "Message-ID: <" ID "@example.com>\r\nMIME-Version: 1.0\r\n"
#define PLAIN "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
#define HTML "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: "
#define START "From: ann@example.com\r\nTo: bob@example.org\r\n"

static struct mime_message compose(const struct mail *m)
{
    const struct mime_params params = {.id = ID, .date_unix = 1795552500};
    struct mime_message out;

    ck_assert_int_eq(mime_compose(m, &params, &out), 0);
    ck_assert_uint_eq(strlen(out.bytes), out.n);
    return out;
}

/* ---- whole mails ---- */

static const struct {
    const char *subject, *text, *html, *want;
} mails[] = {
    {"Hi", "Hello.\n", NULL, START "Subject: Hi\r\n" DATE OWN_ID PLAIN "7bit\r\n\r\nHello.\r\n"},
    {NULL, "no end", NULL, START DATE OWN_ID PLAIN "7bit\r\n\r\nno end\r\n"},
    {"", "", NULL, START "Subject:\r\n" DATE OWN_ID PLAIN "7bit\r\n\r\n"},
    {NULL, NULL, "<p>\r\n", START DATE OWN_ID HTML "7bit\r\n\r\n<p>\r\n"},
    {NULL, "caf\xC3\xA9 in a longer line\n", NULL,
     START DATE OWN_ID PLAIN "quoted-printable\r\n\r\ncaf=C3=A9 in a longer line\r\n"},
    {NULL, "\xE6\x97\xA5\xE6\x9C\xAC\n", NULL, START DATE OWN_ID PLAIN "base64\r\n\r\n5pel5pysDQo=\r\n"},
    {"a", "t", "h\n",
     START "Subject: a\r\n" DATE OWN_ID "Content-Type: multipart/alternative;\r\n boundary=\"=_" ID ".1\"\r\n"
     "\r\n--=_" ID ".1\r\n" PLAIN "7bit\r\n\r\nt\r\n--=_" ID ".1\r\n" HTML "7bit\r\n\r\nh\r\n\r\n--=_" ID ".1--\r\n"},
};

START_TEST(test_mails)
{
    char subject[10];
    struct mail_address to = {.email = (char[]){"bob@example.org"}};
    struct mail m = {.from = {.email = (char[]){"ann@example.com"}}, .to = {&to, 1}};
    struct mime_message out;

    if (mails[_i].subject)
        m.subject = memcpy(subject, mails[_i].subject, strlen(mails[_i].subject) + 1);
    if (mails[_i].text)
        m.text = bytes_view_str(mails[_i].text);
    if (mails[_i].html)
        m.html = bytes_view_str(mails[_i].html);
    out = compose(&m);
    ck_assert_str_eq(out.bytes, mails[_i].want);
    ck_assert(!out.needs_8bit && !out.needs_utf8);
    mime_message_deinit(&out);
}
END_TEST

static struct mail *simple_mail(void)
{
    struct mail *m = mail_new();

    ck_assert_ptr_nonnull(m);
    m->from.email = strdup("ann@example.com");
    m->text = bytes_view_str("x");
    return m;
}

START_TEST(test_everything_in_its_place)
{
    struct mail *m = simple_mail();
    struct mime_message out;

    m->from.name = strdup("Ann \"A\" B");
    ck_assert_int_eq(mail_address_list_add(&m->cc, (struct mail_address){.email = strdup("c@d.example")}), 0);
    ck_assert_int_eq(mail_address_list_add(&m->bcc, (struct mail_address){.email = strdup("hidden@d.example")}), 0);
    ck_assert_int_eq(mail_address_list_add(&m->reply_to, (struct mail_address){.email = strdup("r@d.example")}), 0);
    ck_assert_int_eq(mail_add_header(m, "Date", "4 Nov 2026 20:15 +0000"), 0);
    ck_assert_int_eq(mail_add_header(m, "Sender", "\xC3\x89 <s@b\xC3\xBC.example>"), 0);
    m->message_id = strdup("<own@b.example>");
    out = compose(m);
    ck_assert_str_eq(out.bytes,
                     "From: \"Ann \\\"A\\\" B\" <ann@example.com>\r\nCc: c@d.example\r\nReply-To: r@d.example\r\n"
                     "Message-ID: <own@b.example>\r\nMIME-Version: 1.0\r\nDate: 4 Nov 2026 20:15 +0000\r\n"
                     "Sender: =?utf-8?b?w4k=?= <s@xn--b-eha.example>\r\n" PLAIN "7bit\r\n\r\nx\r\n");
    ck_assert_str_eq(out.message_id, "<own@b.example>");
    mime_message_deinit(&out);
    mail_free(m);
}
END_TEST

/* An address that is not ASCII needs SMTPUTF8 wherever it stands, in Bcc too. */
START_TEST(test_needs_utf8)
{
    for (int place = 0; place < 5; place++) {
        struct mail *m = simple_mail();
        struct mail_address_list *lists[] = {&m->to, &m->cc, &m->bcc, &m->reply_to};
        struct mime_message out;
        m->from.utf8 = place == 4;
        if (place < 4)
            ck_assert_int_eq(
                mail_address_list_add(lists[place],
                                      (struct mail_address){.email = strdup("\xC3\xA9@d.example"), .utf8 = true}), 0);
        out = compose(m);
        ck_assert(out.needs_utf8);
        mime_message_deinit(&out);
        mail_free(m);
    }
}
END_TEST

START_TEST(test_boundary_collision)
{
    struct mail *m = simple_mail();
    struct mime_message out;

    m->text = bytes_view_str("--=_" ID ".1\n=_" ID "_1.x\n");
    m->html = bytes_view_str("=_" ID "_2.");
    out = compose(m);
    ck_assert_ptr_nonnull(strstr(out.bytes, "boundary=\"=_" ID "_3.1\"\r\n"));
    ck_assert_ptr_nonnull(strstr(out.bytes, "\r\n--=_" ID "_3.1--\r\n"));
    mime_message_deinit(&out);
    mail_free(m);
}
END_TEST

/* ---- header fields ---- */

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
    {4107542400, "Date: Mon, 1 Mar 2100 00:00:00 +0000\r\n"}, {1795552500, DATE},
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

/* ---- encodings ---- */

static const struct {
    const char *in;
    enum mime_encoding e;
    const char *want;
} bodies[] = {
    {"", MIME_7BIT, ""}, {"a\nb\rc\r\nd", MIME_7BIT, "a\r\nb\r\nc\r\nd"}, {"\n\r", MIME_7BIT, "\r\n\r\n"},
    {".\n..\n", MIME_7BIT, ".\r\n..\r\n"}, {"=\tx", MIME_7BIT, "=\tx"}, {" From x", MIME_7BIT, " From x"},
    {"From x", MIME_QUOTED_PRINTABLE, "=46rom x"}, {"x\nFrom \n", MIME_QUOTED_PRINTABLE, "x\r\n=46rom=20\r\n"},
    {"x \ny", MIME_QUOTED_PRINTABLE, "x=20\r\ny"}, {"x\t\r\n", MIME_QUOTED_PRINTABLE, "x=09\r\n"},
    {"= ", MIME_QUOTED_PRINTABLE, "=3D=20"}, {"abcdefgh\xC3\xA9", MIME_QUOTED_PRINTABLE, "abcdefgh=C3=A9"},
    {"\xE6\x97\xA5\n", MIME_BASE64, "5pelDQo="}, {"\xE6\x97\xA5\r", MIME_BASE64, "5pelDQo="},
};

START_TEST(test_bodies)
{
    struct bytes_view in = bytes_view_str(bodies[_i].in);
    struct mime_body plan;
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    plan = mime_body_plan(in);
    ck_assert_msg(plan.encoding == bodies[_i].e, "%s", bodies[_i].in);
    mime_body_write(&plan, in, &b);
    ck_assert_str_eq(b.p ? b.p : "", bodies[_i].want);
    bytes_buf_deinit(&b);
}
END_TEST

START_TEST(test_line_limits)
{
    static const enum mime_encoding all[] = {MIME_QUOTED_PRINTABLE, MIME_BASE64};
    struct mime_body plan = {.size = 4 * 3000};
    char line[3000];

    memset(line, 'x', sizeof(line));
    ck_assert_int_eq(mime_body_plan(bytes_view(line, 998)).encoding, MIME_7BIT);
    ck_assert_int_eq(mime_body_plan(bytes_view(line, 999)).encoding, MIME_QUOTED_PRINTABLE);
    memset(line, '=', 1000);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct bytes_buf b;
        bytes_buf_init(&b, 0);
        plan.encoding = all[i];
        mime_body_write(&plan, bytes_view(line, sizeof(line)), &b);
        for (const char *p = b.p; *p; p += strcspn(p, "\n") + (p[strcspn(p, "\n")] == '\n'))
            ck_assert_uint_le(strcspn(p, "\r"), 76);
        bytes_buf_deinit(&b);
    }
}
END_TEST

START_TEST(test_base64)
{
    static const char *const cases[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob",
    "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}, {"\xFF\xFE\xFB", "//77"}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes_buf b;
        bytes_buf_init(&b, 0);
        mime_base64_write(bytes_view_str(cases[i][0]), &b);
        ck_assert_uint_eq(b.n, strlen(cases[i][1]));
        ck_assert_str_eq(b.p, cases[i][1]);
        bytes_buf_deinit(&b);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mime");
    TCase *tc = tcase_create("mime");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_add_loop_test(tc, test_mails, 0, (int)ARRAY_LEN(mails));
    tcase_add_test(tc, test_everything_in_its_place);
    tcase_add_test(tc, test_needs_utf8);
    tcase_add_test(tc, test_boundary_collision);
    tcase_add_loop_test(tc, test_subjects, 0, (int)ARRAY_LEN(subjects));
    tcase_add_test(tc, test_own);
    tcase_add_test(tc, test_name_on_a_new_line);
    tcase_add_test(tc, test_characters_stay_whole);
    tcase_add_loop_test(tc, test_dates, 0, (int)ARRAY_LEN(dates));
    tcase_add_loop_test(tc, test_bodies, 0, (int)ARRAY_LEN(bodies));
    tcase_add_test(tc, test_line_limits);
    tcase_add_test(tc, test_base64);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
