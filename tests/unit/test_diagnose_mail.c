#include "tests/unit/diagnose_case.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* What a diagnosis finds at the login and the envelope. */

/* ---- AUTH ---- */

struct auth_case {
    const char *reply;
    enum outcome_code code;
    const char *conclusion;
};

static const struct auth_case auth_cases[] = {
    {"535 5.7.8 bad credentials\r\n", OUTCOME_AUTH_FAILED, "Check user and password"},
    {"535 5.7.139 basic authentication is disabled\r\n", OUTCOME_AUTH_BASIC_DISABLED, "use OAuth"},
    {"534 5.7.9 Application-specific password required\r\n", OUTCOME_AUTH_APP_PASSWORD_REQUIRED, "app password"},
    {"534 5.7.14 log in via your web browser\r\n", OUTCOME_AUTH_APP_PASSWORD_REQUIRED, "app password"},
    {"454 4.7.0 try later\r\n", OUTCOME_AUTH_TEMPORARY, "some minutes"},
    {"250 hm\r\n", OUTCOME_PROTOCOL_ERROR, "Show the relay's operator"},
    {NULL, OUTCOME_CONNECTION_CLOSED, "relay's operator"},
};

START_TEST(auth_refused)
{
    const struct auth_case *c = &auth_cases[_i];
    const struct script_line lines[] = {{"tls:EHLO", EHLO_TLS}, {"EHLO", EHLO_PLAIN}, {"AUTH", c->reply}, {NULL, NULL}};

    params.to = "bob@example.org";
    run_lines(lines);
    expect_failure(c->code, DIAGNOSE_STEP_AUTH);
    expect_in(d->conclusion, c->conclusion);
    ck_assert(d->auth_tried && !d->auth_ok);
    ck_assert_int_eq(script_peer_count(script_server, "AUTH"), 1);
    ck_assert_int_eq(script_peer_count(script_server, "MAIL"), 0);
    ck_assert(!has_step(DIAGNOSE_STEP_PORTS));
}
END_TEST

START_TEST(auth_echo_is_hidden)
{
    static const struct script_line lines[] = {{"tls:EHLO", EHLO_TLS}, {"EHLO", EHLO_PLAIN},
                                               {"AUTH", "535 5.7.8 no such: " PLAIN_BASE64 "\r\n"}, {NULL, NULL}};

    run_lines(lines);
    expect_failure(OUTCOME_AUTH_FAILED, DIAGNOSE_STEP_AUTH);
    ck_assert_ptr_null(memmem(d, sizeof(*d), PLAIN_BASE64, 10));
    expect_in(d->outcome.text, "no such: ***");
}
END_TEST

START_TEST(auth_by_login)
{
    static const struct script_line lines[] = {
        {"tls:EHLO", "250-peer.test\r\n250 AUTH LOGIN\r\n"}, {"EHLO", EHLO_PLAIN},
        {"AUTH LOGIN", "334 VXNlcm5hbWU6\r\n"},  {"YW5u", "334 UGFzc3dvcmQ6\r\n"},
        {PASSWORD_BASE64, "235 2.7.0 in\r\n"},   {NULL, NULL}};

    run_lines(lines);
    ck_assert_msg(d->ok, "%s", d->conclusion);
    ck_assert_str_eq(d->auth_mechanism, "LOGIN");
}
END_TEST

START_TEST(auth_not_offered)
{
    static const struct script_line lines[] = {{"tls:EHLO", "250-peer.test\r\n250 8BITMIME\r\n"}, {"EHLO", EHLO_PLAIN},
                                               {NULL, NULL}};

    run_lines(lines);
    expect_failure(OUTCOME_AUTH_NOT_OFFERED, DIAGNOSE_STEP_AUTH);
    expect_no_secrets_sent();
}
END_TEST

START_TEST(auth_mechanism_unknown)
{
    static const struct script_line lines[] = {{"tls:EHLO", "250-peer.test\r\n250 AUTH GSSAPI NTLM\r\n"},
                                               {"EHLO", EHLO_PLAIN}, {NULL, NULL}};

    run_lines(lines);
    expect_failure(OUTCOME_AUTH_MECHANISM_UNSUPPORTED, DIAGNOSE_STEP_AUTH);
    expect_in(step(DIAGNOSE_STEP_AUTH)->detail, "GSSAPI NTLM");
    expect_no_secrets_sent();
}
END_TEST

START_TEST(auth_offered_in_clear_text_too)
{
    static const struct script_line lines[] = {{"tls:EHLO", EHLO_TLS},
                                               {"EHLO", "250-peer.test\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"},
                                               {NULL, NULL}};

    run_lines(lines);
    ck_assert_msg(d->ok, "%s", d->conclusion);
    expect_finding(DIAGNOSE_FINDING_AUTH_BEFORE_TLS);
}
END_TEST

START_TEST(no_auth_on_demand)
{
    params.no_auth = true;
    run_lines(good_lines);
    ck_assert_msg(d->ok, "%s", d->conclusion);
    ck_assert_int_eq(step(DIAGNOSE_STEP_AUTH)->status, DIAGNOSE_SKIPPED);
    expect_no_secrets_sent();
}
END_TEST

START_TEST(auth_is_needed_but_not_configured)
{
    static const struct script_line lines[] = {{"tls:EHLO", EHLO_TLS}, {"EHLO", EHLO_PLAIN},
                                               {"MAIL", "530 5.7.57 Client was not authenticated\r\n"}, {NULL, NULL}};

    relay.user = NULL;
    params.to = "bob@example.org";
    run_lines(lines);
    expect_failure(OUTCOME_AUTH_REQUIRED, DIAGNOSE_STEP_MAIL);
    expect_finding(DIAGNOSE_FINDING_AUTH_NOT_CONFIGURED);
    ck_assert(d->suggestion.needs_user && !d->suggestion.known);
}
END_TEST

/* ---- the envelope ---- */

struct mail_case {
    const char *on, *reply;
    enum outcome_code code;
    enum diagnose_step_id at;
};

static const struct mail_case mail_cases[] = {
    {"MAIL", "553 5.7.1 sender address rejected: not owned by user\r\n", OUTCOME_SENDER_REJECTED, DIAGNOSE_STEP_MAIL},
    {"MAIL", "452 4.7.28 rate limit\r\n", OUTCOME_RELAY_RATE_LIMITED, DIAGNOSE_STEP_MAIL},
    {"RCPT", "554 5.7.1 relay access denied\r\n", OUTCOME_RELAY_DENIED, DIAGNOSE_STEP_RCPT},
    {"RCPT", "550 5.1.1 no such user\r\n", OUTCOME_RECIPIENTS_REJECTED, DIAGNOSE_STEP_RCPT},
    {"RCPT", "552 5.2.2 full\r\n", OUTCOME_MAILBOX_FULL, DIAGNOSE_STEP_RCPT},
    {"DATA", "554 5.5.0 no\r\n", OUTCOME_DATA_REJECTED, DIAGNOSE_STEP_SEND},
    {".", "552 5.3.4 too big\r\n", OUTCOME_MESSAGE_TOO_LARGE, DIAGNOSE_STEP_SEND},
    {".", "451 4.3.0 later\r\n", OUTCOME_MESSAGE_DEFERRED, DIAGNOSE_STEP_SEND},
    {".", NULL, OUTCOME_OUTCOME_UNKNOWN, DIAGNOSE_STEP_SEND},
    {"RCPT", NULL, OUTCOME_CONNECTION_CLOSED, DIAGNOSE_STEP_RCPT},
};

START_TEST(mail_refused)
{
    const struct mail_case *c = &mail_cases[_i];
    const struct script_line lines[] = {{"tls:EHLO", EHLO_TLS}, {"EHLO", EHLO_PLAIN}, {c->on, c->reply}, {NULL, NULL}};

    params.to = "bob@example.org";
    params.send = true;
    run_lines(lines);
    expect_failure(c->code, c->at);
}
END_TEST

START_TEST(greylisted)
{
    static const struct script_line lines[] = {{"tls:EHLO", EHLO_TLS}, {"EHLO", EHLO_PLAIN},
                                               {"RCPT", "450 4.7.1 greylisted\r\n"}, {NULL, NULL}};

    params.to = "bob@example.org";
    run_lines(lines);
    expect_failure(OUTCOME_RECIPIENTS_REJECTED, DIAGNOSE_STEP_RCPT);
    expect_finding(DIAGNOSE_FINDING_GREYLISTED);
    ck_assert_int_eq(script_peer_count(script_server, "RSET"), 1);
}
END_TEST

START_TEST(smtputf8_is_needed)
{
    params.to = "b\xc3\xb6" "b@example.org";
    params.from = "ann@example.org";
    run_lines(good_lines);
    expect_failure(OUTCOME_SMTPUTF8_UNSUPPORTED, DIAGNOSE_STEP_MAIL);
    ck_assert_int_eq(script_peer_count(script_server, "MAIL"), 0);
}
END_TEST

START_TEST(an_address_cannot_add_commands)
{
    params.to = "bob@example.org>\r\nRCPT TO:<eve@example.org";
    run_lines(good_lines);
    expect_failure(OUTCOME_VALIDATION_FAILED, DIAGNOSE_STEP_MAIL);
    ck_assert_int_eq(script_peer_count(script_server, "RCPT"), 0);
    ck_assert_int_eq(script_peer_count(script_server, "MAIL"), 0);
}
END_TEST

static void add_cases(TCase *t)
{
    tcase_add_loop_test(t, auth_refused, 0, (int)ARRAY_LEN(auth_cases));
    tcase_add_test(t, auth_echo_is_hidden);
    tcase_add_test(t, auth_by_login);
    tcase_add_test(t, auth_not_offered);
    tcase_add_test(t, auth_mechanism_unknown);
    tcase_add_test(t, auth_offered_in_clear_text_too);
    tcase_add_test(t, no_auth_on_demand);
    tcase_add_test(t, auth_is_needed_but_not_configured);
    tcase_add_loop_test(t, mail_refused, 0, (int)ARRAY_LEN(mail_cases));
    tcase_add_test(t, greylisted);
    tcase_add_test(t, smtputf8_is_needed);
    tcase_add_test(t, an_address_cannot_add_commands);
}

int main(void)
{
    Suite *s = suite_create("diagnose_mail");
    TCase *t = tcase_create("diagnose_mail");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, diagnose_case_setup, diagnose_case_teardown);
    add_cases(t);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
