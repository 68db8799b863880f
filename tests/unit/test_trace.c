#include "smtp/secrets.h"
#include "smtp/trace.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* What a trace shows, and what it must never show. */

static struct trace trace;
static char shown[400000];

static void on_line(void *ctx, bool from_client, const char *line)
{
    size_t n = strlen(shown);

    (void)ctx;
    snprintf(shown + n, sizeof(shown) - n, "%c: %s\n", from_client ? 'C' : 'S', line);
}

static void setup(void)
{
    shown[0] = '\0';
    trace_init(&trace, on_line, NULL);
}

static struct secrets *secrets;

static void hide(const char *password)
{
    secrets = secrets_new("ann", password);
    trace_hide(&trace, secrets, true);
}

static void teardown(void)
{
    trace_deinit(&trace);
    secrets_free(secrets);
    secrets = NULL;
}

static void client(const char *text)
{
    trace_feed(&trace, true, bytes_view_str(text));
}

static void server(const char *text)
{
    trace_feed(&trace, false, bytes_view_str(text));
}

static void expect(const char *text)
{
    ck_assert_str_eq(shown, text);
}

START_TEST(commands_and_replies_are_shown)
{
    server("220 a ESMTP\r\n");
    client("EHLO b\r\n");
    server("250-a\r\n250 SIZE 10\r\n");
    expect("S: 220 a ESMTP\nC: EHLO b\nS: 250-a\nS: 250 SIZE 10\n");
}
END_TEST

START_TEST(pieces_make_the_same_lines)
{
    static const char text[] = "EHLO b\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\nMAIL FROM:<a@b>\r\n";

    for (size_t i = 0; i + 1 < sizeof(text); i++) {
        trace_feed(&trace, true, bytes_view(text + i, 1));
        if (text[i] == '\n' && i > 10 && i < 45)
            server("235 2.7.0 ok\r\n");
    }
    expect("C: EHLO b\nC: AUTH PLAIN ***\nS: 235 ***\nC: MAIL FROM:<a@b>\n");
}
END_TEST

START_TEST(auth_with_an_initial_response)
{
    hide("secretsecret");
    client("auth plain AGFubgBzZWNyZXQ=\r\n");
    server("235 2.7.0 welcome\r\n");
    expect("C: auth plain ***\nS: 235 2.7.0 welcome\n");
}
END_TEST

START_TEST(auth_dialog)
{
    hide("secretsecret");
    client("AUTH LOGIN\r\n");
    server("334 VXNlcm5hbWU6\r\n");
    client("YW5u\r\n");
    server("334 UGFzc3dvcmQ6\r\n");
    client("c2VjcmV0c2VjcmV0\r\n");
    server("535-5.7.8 bad\r\n535 5.7.8 really\r\n");
    client("QUIT\r\n");
    expect("C: AUTH LOGIN\nS: 334 ***\nC: ***\nS: 334 ***\nC: ***\nS: 535-5.7.8 bad\nS: 535 5.7.8 really\nC: QUIT\n");
}
END_TEST

START_TEST(auth_canceled)
{
    client("AUTH XOAUTH2\r\n");
    server("334 eyJzdGF0\r\n");
    client("*\r\n");
    server("501 canceled\r\n");
    client("NOOP\r\n");
    expect("C: AUTH XOAUTH2\nS: 334 ***\nC: *\nS: 501 ***\nC: NOOP\n");
}
END_TEST

START_TEST(what_is_no_mechanism_is_not_shown)
{
    client("AUTH AGFubgBzZWNyZXRzZWNyZXRzZWNyZXQ=\r\n");
    expect("C: AUTH ***\n");
}
END_TEST

START_TEST(an_echo_is_hidden)
{
    hide("correct horse");
    client("AUTH PLAIN AGFubgBjb3JyZWN0IGhvcnNl\r\n");
    server("535 5.7.8 AGFubgBjb3 is wrong\r\n");
    client("NOOP correct horse\r\n");
    server("250 you said t horse\r\n");
    server("250-a correct h\r\n250-corre\r\n");
    server("250 ct horse\r\n");
    trace_note(&trace, "correct horse");
    expect("C: AUTH PLAIN ***\nS: 535 5.7.8 *** is wrong\nC: NOOP *** ***\n"
           "S: 250 you said t horse\nS: 250-a *** *\nS: 250-***\nS: 250 ** ***\nC: * *** ***\n");
}
END_TEST

START_TEST(a_short_password)
{
    hide("ok");
    client("AUTH PLAIN AG9r\r\n");
    server("535 not ok\r\n");
    client("NOOP\r\n");
    server("250 OK, so be it\r\n");
    expect("C: AUTH PLAIN ***\nS: 535 not **\nC: NOOP\nS: 250 OK, so be it\n");
}
END_TEST

START_TEST(a_reply_to_auth_without_its_text)
{
    secrets = secrets_new("ann", "correct horse");
    trace_hide(&trace, secrets, false);
    client("AUTH PLAIN AGFubgBjb3JyZWN0IGhvcnNl\r\n");
    server("535-5.7.8 no\r\n535 no\r\n");
    client("NOOP\r\n");
    server("250 correct horse\r\n");
    expect("C: AUTH PLAIN ***\nS: 535 ***\nS: 535 ***\nC: NOOP\nS: 250 *** ***\n");
}
END_TEST

START_TEST(a_reply_that_is_not_complete)
{
    server("250-a\r\n250-b\r\n");
    expect("");
    client("QUIT\r\n");
    server("250-c\r\n");
    trace_flush(&trace);
    trace_flush(&trace);
    expect("S: 250-a\nS: 250-b\nC: QUIT\nS: 250-c\n");
}
END_TEST

START_TEST(a_reply_without_end)
{
    unsigned n = 0;

    for (int i = 0; i < 3 * TRACE_REPLY_MAX / 8; i++)
        server("250-xxx\r\n");
    ck_assert_uint_le(trace.reply.n, TRACE_REPLY_MAX);
    for (const char *c = shown; (c = strchr(c, '\n')); c++)
        n++;
    ck_assert_uint_eq(n, TRACE_LINES_MAX + 1);
}
END_TEST

START_TEST(a_body_is_counted_only)
{
    client("DATA\r\n");
    server("354 go\r\n");
    client("Subject: secret\r\n\r\nAUTH me\r\n..\r\n.\r\n");
    server("250 taken\r\n");
    client("QUIT\r\n");
    expect("C: DATA\nS: 354 go\nC: * 32 octets of mail\nC: .\nS: 250 taken\nC: QUIT\n");
}
END_TEST

START_TEST(a_refused_data_has_no_body)
{
    client("DATA\r\n");
    server("554 no\r\n");
    client("RSET\r\n");
    expect("C: DATA\nS: 554 no\nC: RSET\n");
}
END_TEST

START_TEST(a_chunk_is_counted_only)
{
    client("MAIL FROM:<a@b>\r\nBDAT 10 LAST\r\nsecret\r\nxxMAIL FROM:<c@d>\r\nBDAT 3\r\nabcRSET\r\n");
    expect("C: MAIL FROM:<a@b>\nC: BDAT 10 LAST\nC: * 10 octets of mail\nC: MAIL FROM:<c@d>\nC: BDAT 3\n"
           "C: * 3 octets of mail\nC: RSET\n");
}
END_TEST

START_TEST(a_chunk_in_pieces)
{
    client("BDAT 6 LAST\r\nse");
    client("cr");
    client("etQUIT\r\n");
    expect("C: BDAT 6 LAST\nC: * 6 octets of mail\nC: QUIT\n");
}
END_TEST

START_TEST(a_size_that_overflows_hides_the_rest)
{
    client("BDAT 99999999999999999999999 LAST\r\nsecret\r\nRSET\r\n");
    expect("C: BDAT 99999999999999999999999 LAST\n");
}
END_TEST

START_TEST(lines_are_cut)
{
    char line[1100], want[1100];

    memset(line, 'a', sizeof(line));
    snprintf(line + TRACE_LINE_MAX, 3, "\r\n");
    server(line);
    snprintf(want, sizeof(want), "S: %.*s\n", TRACE_LINE_MAX, line);
    expect(want);
    shown[0] = '\0';
    memset(line, 'a', sizeof(line));
    snprintf(line + TRACE_LINE_MAX + 1, 3, "\r\n");
    server(line);
    snprintf(want, sizeof(want), "S: %.*s...\n", TRACE_LINE_MAX - 3, line);
    expect(want);
}
END_TEST

START_TEST(lines_are_printable)
{
    server("250 \x1b[31m\x07 \xff\r\n");
    server("250 gr\xc3\xbc\xc3\x9f\r\n");
    expect("S: 250 ?[31m? ?\nS: 250 gr\xc3\xbc\xc3\x9f\n");
}
END_TEST

START_TEST(lines_are_counted)
{
    unsigned n = 0;

    for (int i = 0; i < TRACE_LINES_MAX + 50; i++)
        server("250 x\r\n");
    for (const char *c = shown; (c = strchr(c, '\n')); c++)
        n++;
    ck_assert_uint_eq(n, TRACE_LINES_MAX + 1);
    ck_assert_ptr_nonnull(strstr(shown, "the trace ends here"));
}
END_TEST

START_TEST(notes)
{
    trace_note(&trace, "TLSv1.3");
    expect("C: * TLSv1.3\n");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("trace");
    TCase *t = tcase_create("trace");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, commands_and_replies_are_shown);
    tcase_add_test(t, pieces_make_the_same_lines);
    tcase_add_test(t, auth_with_an_initial_response);
    tcase_add_test(t, auth_dialog);
    tcase_add_test(t, auth_canceled);
    tcase_add_test(t, what_is_no_mechanism_is_not_shown);
    tcase_add_test(t, an_echo_is_hidden);
    tcase_add_test(t, a_short_password);
    tcase_add_test(t, a_reply_to_auth_without_its_text);
    tcase_add_test(t, a_reply_that_is_not_complete);
    tcase_add_test(t, a_reply_without_end);
    tcase_add_test(t, a_body_is_counted_only);
    tcase_add_test(t, a_refused_data_has_no_body);
    tcase_add_test(t, a_chunk_is_counted_only);
    tcase_add_test(t, a_chunk_in_pieces);
    tcase_add_test(t, a_size_that_overflows_hides_the_rest);
    tcase_add_test(t, lines_are_cut);
    tcase_add_test(t, lines_are_printable);
    tcase_add_test(t, lines_are_counted);
    tcase_add_test(t, notes);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
