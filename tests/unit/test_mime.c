#include "smtp/mime.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Composed mails to the octet: which header fields there are, finished messages, what is asked of the relay. */

#define ID "0193600d-5eed-7000-8000-0000000000aa"
#define DATE "Date: Tue, 24 Nov 2026 20:35:00 +0000\r\n"
#define OWN_ID "Message-ID: <" ID "@example.com>\r\nMIME-Version: 1.0\r\n"
#define PLAIN "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
#define HTML "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: "
#define START "From: ann@example.com\r\nTo: bob@example.org\r\n"

static struct mime_message compose(struct mail *m)
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

/* An address that is not ASCII needs SMTPUTF8 wherever it stands, in Bcc and the envelope too. */
START_TEST(test_needs_utf8)
{
    for (int place = 0; place < 8; place++) {
        struct mail *m = simple_mail();
        struct mail_address_list *lists[] = {&m->to, &m->cc, &m->bcc, &m->reply_to, &m->envelope_to};
        struct mime_message out;
        m->from.utf8 = place == 5;
        m->envelope_from.utf8 = place == 6;
        if (place == 7)
            ck_assert_int_eq(mail_add_header(m, "Sender", "\xC3\xA9@d.example"), 0);
        if (place < 5)
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

static const struct {
    const char *url, *mailto, *want;
} unsubscribes[] = {
    {"https://e.example/u", NULL,
     "List-Unsubscribe: <https://e.example/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"},
    {"HTTPS://e.example/u", "u@e.example",
     "List-Unsubscribe: <HTTPS://e.example/u>, <mailto:u@e.example>\r\n"
     "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"},
    {"http://e.example/u", "mailto:u@e.example?subject=x",
     "List-Unsubscribe: <http://e.example/u>, <mailto:u@e.example?subject=x>\r\n"},
    {NULL, "Mailto:u@e.example", "List-Unsubscribe: <Mailto:u@e.example>\r\n"},
};

START_TEST(test_unsubscribe)
{
    struct mail *m = simple_mail();
    struct mime_message out;
    char *at;

    m->unsubscribe_url = unsubscribes[_i].url ? strdup(unsubscribes[_i].url) : NULL;
    m->unsubscribe_mailto = unsubscribes[_i].mailto ? strdup(unsubscribes[_i].mailto) : NULL;
    out = compose(m);
    at = strstr(out.bytes, "List-Unsubscribe");
    ck_assert_ptr_nonnull(at);
    *strstr(at, "Content-Type") = '\0';
    ck_assert_str_eq(at, unsubscribes[_i].want);
    mime_message_deinit(&out);
    mail_free(m);
}
END_TEST

/* RFC 8058 is about https only. */
START_TEST(test_one_click_needs_https)
{
    static const char *const urls[] = {"http://e.example/u", "ftp://e.example", "httpsx", "mailto:u@e.example"};

    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct mail *m = simple_mail();
        struct mime_message out;
        m->unsubscribe_url = strdup(urls[i]);
        out = compose(m);
        ck_assert_ptr_null(strstr(out.bytes, "One-Click"));
        mime_message_deinit(&out);
        mail_free(m);
    }
}
END_TEST

#define FINISHED "From: a@b.example\nSubject: x\n\nhello\n.\n"
#define FINISHED_CRLF "From: a@b.example\r\nSubject: x\r\n\r\nhello\r\n.\r\n"

static const struct {
    const char *from, *envelope_from, *own_id;
    bool has_date, is_8bit, is_utf8;
    const char *want, *want_id;
} finished[] = {
    {"ann@example.com", NULL, "<own@x.example>", true, false, false, FINISHED_CRLF, "<own@x.example>"},
    {"ann@example.com", NULL, "<own@x.example>", false, true, false, DATE FINISHED_CRLF, "<own@x.example>"},
    {"ann@example.com", NULL, NULL, true, false, true, "Message-ID: <" ID "@example.com>\r\n" FINISHED_CRLF,
     "<" ID "@example.com>"},
    {NULL, "e@d.example", NULL, false, false, false, DATE "Message-ID: <" ID "@d.example>\r\n" FINISHED_CRLF,
     "<" ID "@d.example>"},
    {NULL, "", NULL, true, false, false, "Message-ID: <" ID "@localhost>\r\n" FINISHED_CRLF, "<" ID "@localhost>"},
};

START_TEST(test_finished)
{
    struct mail *m = mail_new();
    struct mime_message out;

    ck_assert_ptr_nonnull(m);
    m->raw = bytes_view_str(FINISHED);
    m->raw_has_date = finished[_i].has_date;
    m->raw_is_8bit = finished[_i].is_8bit;
    m->raw_is_utf8_header = finished[_i].is_utf8;
    m->from.email = finished[_i].from ? strdup(finished[_i].from) : NULL;
    m->envelope_from.email = finished[_i].envelope_from ? strdup(finished[_i].envelope_from) : NULL;
    m->message_id = finished[_i].own_id ? strdup(finished[_i].own_id) : NULL;
    m->subject = strdup("not this one");
    out = compose(m);
    ck_assert_str_eq(out.bytes, finished[_i].want);
    ck_assert_str_eq(out.message_id, finished[_i].want_id);
    ck_assert(out.needs_8bit == finished[_i].is_8bit && out.needs_utf8 == finished[_i].is_utf8);
    mime_message_deinit(&out);
    mail_free(m);
}
END_TEST

START_TEST(test_finished_to_utf8_address)
{
    struct mail *m = mail_new();
    struct mime_message out;

    ck_assert_ptr_nonnull(m);
    m->raw = bytes_view_str(FINISHED);
    ck_assert_int_eq(mail_address_list_add(&m->envelope_to, (struct mail_address){.email = strdup("\xC3\xA9@d.example"),
                                                                                 .utf8 = true}), 0);
    out = compose(m);
    ck_assert(out.needs_utf8 && !out.needs_8bit);
    mime_message_deinit(&out);
    mail_free(m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mime");
    TCase *tc = tcase_create("mime");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_mails, 0, (int)ARRAY_LEN(mails));
    tcase_add_test(tc, test_everything_in_its_place);
    tcase_add_test(tc, test_needs_utf8);
    tcase_add_test(tc, test_boundary_collision);
    tcase_add_loop_test(tc, test_unsubscribe, 0, (int)ARRAY_LEN(unsubscribes));
    tcase_add_test(tc, test_one_click_needs_https);
    tcase_add_loop_test(tc, test_finished, 0, (int)ARRAY_LEN(finished));
    tcase_add_test(tc, test_finished_to_utf8_address);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
