#include "api/json_out.h"
#include "api/problem.h"
#include "smtp/report.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Problem objects and results as JSON: details, hints, Retry-After, and strings that must not break the text. */

static struct bytes_buf out;
static struct delivery_report report;
static struct send_result result;
static struct smtp_outcome rcpt;
static const char *const rcpts[] = {"bob@example.org", "carol@example.org"};

static void setup(void)
{
    bytes_buf_init(&out, 0);
    memset(&report, 0, sizeof(report));
    rcpt = (struct smtp_outcome){.code = OUTCOME_SENT, .delivery = DELIVERY_ACCEPTED, .reply_code = 250};
    memcpy(rcpt.enhanced, "2.1.5", sizeof("2.1.5"));
    memcpy(rcpt.text, "Ok", sizeof("Ok"));
    memcpy(report.address, "192.0.2.10", sizeof("192.0.2.10"));
    result = (struct send_result){.id = "0192f7c0-0000-7000-8000-000000000001", .message_id = "<m@example.com>",
                                  .relay = "default", .relay_host = "smtp.example.com", .relay_port = 587,
                                  .relay_tls_mode = "starttls", .rcpts = rcpts, .n_rcpts = 1, .report = &report,
                                  .attempts = report.attempts, .n_attempts = 1};
}

static void teardown(void)
{
    bytes_buf_deinit(&out);
}

static void set_failure(enum outcome_code code, enum stage stage, int reply, const char *enhanced, const char *text)
{
    struct smtp_outcome *o = &result.outcome;

    outcome_set_local(o, code, stage, reply >= 400 && stage >= STAGE_MAIL ? DELIVERY_REJECTED : DELIVERY_NOT_SENT,
                      NULL);
    o->reply_code = reply;
    memcpy(o->enhanced, enhanced, strlen(enhanced) + 1);
    memcpy(o->text, text, strlen(text) + 1);
    if (reply)
        memcpy(o->command, stage == STAGE_RCPT ? "RCPT" : "AUTH", 5);
}

static const char *detail(void)
{
    problem_write_detail(&(struct problem){.outcome = &result.outcome, .result = &result}, &out);
    return out.p;
}

static const char *hint(void)
{
    problem_write_hint(&(struct problem){.outcome = &result.outcome, .result = &result}, &out);
    return out.p;
}

/* ---- strings ---- */

static const struct {
    const char *in, *json;
} strings[] = {
    {"", "\"\""},
    {"plain", "\"plain\""},
    {"a\"b\\c", "\"a\\\"b\\\\c\""},
    {"\n\r\t\x01\x1f", "\"\\n\\r\\t\\u0001\\u001f\""},
    {"\x7f", "\"\x7f\""},
    {"gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80", "\"gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80\""},
    {"\xC3", "\"\xEF\xBF\xBD\""},
    {"a\xFF" "b", "\"a\xEF\xBF\xBD" "b\""},
    {"\xED\xA0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},       /* a surrogate is not UTF-8 */
    {"\xF0\x9F\x98", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
};

START_TEST(string_as_json)
{
    json_out_string(&out, bytes_view_str(strings[_i].in));
    ck_assert_str_eq(out.p, strings[_i].json);
}
END_TEST

START_TEST(nul_inside_a_string)
{
    json_out_string(&out, bytes_view("a\0b", 3));
    ck_assert_str_eq(out.p, "\"a\\u0000b\"");
}
END_TEST

START_TEST(numbers)
{
    json_out_uint(&out, 0);
    bytes_buf_add_char(&out, ' ');
    json_out_uint(&out, UINT64_MAX);
    ck_assert_str_eq(out.p, "0 18446744073709551615");
}
END_TEST

/* ---- results ---- */

START_TEST(result_of_a_sent_mail)
{
    result.outcome = rcpt;
    memcpy(result.outcome.enhanced, "2.0.0", sizeof("2.0.0"));
    memcpy(result.outcome.text, "Ok: queued as 4F1", sizeof("Ok: queued as 4F1"));
    result.rcpt_outcomes = &rcpt;
    report.has_tls = report.tls_verified = report.reused_session = true;
    memcpy(report.tls_version, "TLSv1.3", sizeof("TLSv1.3"));
    memcpy(report.tls_cipher, "TLS_AES_256_GCM_SHA384", sizeof("TLS_AES_256_GCM_SHA384"));
    report.queue_us = 149;
    report.send_us = 41399;
    report.total_us = 41000;
    json_out_result(&out, &result);
    ck_assert_str_eq(out.p,
                     "{\"id\":\"0192f7c0-0000-7000-8000-000000000001\",\"status\":\"sent\","
                     "\"message_id\":\"<m@example.com>\",\"relay\":\"default\","
                     "\"smtp\":{\"code\":250,\"enhanced\":\"2.0.0\",\"text\":\"Ok: queued as 4F1\"},"
                     "\"recipients\":[{\"email\":\"bob@example.org\",\"status\":\"accepted\","
                     "\"smtp\":{\"code\":250,\"enhanced\":\"2.1.5\",\"text\":\"Ok\"}}],"
                     "\"tls\":{\"mode\":\"starttls\",\"version\":\"TLSv1.3\",\"cipher\":\"TLS_AES_256_GCM_SHA384\","
                     "\"verified\":true},\"reused_session\":true,\"attempts\":1,"
                     "\"timing_ms\":{\"queue\":0.1,\"connect\":0,\"tls\":0,\"auth\":0,\"send\":41.3,\"total\":41}}");
}
END_TEST

START_TEST(result_partial)
{
    struct smtp_outcome two[2] = {rcpt, rcpt};

    result.outcome = rcpt;
    outcome_set_local(&two[1], OUTCOME_RECIPIENTS_REJECTED, STAGE_RCPT, DELIVERY_REJECTED, NULL);
    two[1].reply_code = 550;
    result.rcpt_outcomes = two;
    result.n_rcpts = 2;
    result.sandbox = true;
    json_out_result(&out, &result);
    ck_assert_ptr_nonnull(strstr(out.p, "\"status\":\"partial\""));
    ck_assert_ptr_nonnull(strstr(out.p, "\"sandbox\":true"));
    ck_assert_ptr_nonnull(strstr(out.p, "{\"email\":\"carol@example.org\",\"status\":\"rejected\","
                                        "\"code\":\"recipients_rejected\",\"smtp\":{\"code\":550,\"enhanced\":null,"));
    ck_assert_ptr_nonnull(strstr(out.p, "\"tls\":null"));
}
END_TEST

/* ---- details ---- */

START_TEST(detail_of_a_reply)
{
    set_failure(OUTCOME_RECIPIENTS_REJECTED, STAGE_RCPT, 550, "5.1.1", "No such user.");
    ck_assert_str_eq(detail(),
                     "smtp.example.com:587 (192.0.2.10) answered RCPT for bob@example.org with 550 5.1.1 No such "
                     "user. The relay did not accept the mail.");
}
END_TEST

START_TEST(detail_of_a_local_failure)
{
    set_failure(OUTCOME_STARTTLS_NOT_OFFERED, STAGE_EHLO, 250, "", "smtp.example.com");
    ck_assert_str_eq(detail(),
                     "smtp.example.com:587 (192.0.2.10) answered EHLO without STARTTLS. Nothing was sent, and no "
                     "password was shown.");
}
END_TEST

START_TEST(detail_with_time_reason_and_tries)
{
    set_failure(OUTCOME_CONNECTION_CLOSED, STAGE_MAIL, 0, "", "");
    result.outcome.ms = 41;
    memcpy(result.outcome.reason, "Connection reset by peer", sizeof("Connection reset by peer"));
    result.n_attempts = 2;
    ck_assert_str_eq(detail(), "smtp.example.com:587 (192.0.2.10) closed the connection at MAIL FROM (after 41 ms): "
                               "Connection reset by peer. It was tried 2 times. Nothing was sent.");
}
END_TEST

START_TEST(detail_of_an_unknown_outcome)
{
    set_failure(OUTCOME_OUTCOME_UNKNOWN, STAGE_BODY, 0, "", "");
    result.outcome.delivery = DELIVERY_UNKNOWN;
    report.address[0] = '\0';
    ck_assert_str_eq(detail(),
                     "smtp.example.com:587 took the whole mail, and no complete reply came. The mail may have been "
                     "sent.");
}
END_TEST

START_TEST(detail_names_what_was_answered)
{
    set_failure(OUTCOME_MESSAGE_REJECTED, STAGE_BODY, 554, "5.7.1", "spam");
    ck_assert_ptr_nonnull(strstr(detail(), " answered the mail's content with 554 5.7.1 spam."));
    bytes_buf_deinit(&out);
    set_failure(OUTCOME_RELAY_BUSY, STAGE_BANNER, 421, "", "full");
    ck_assert_ptr_nonnull(strstr(detail(), " answered the connection with 421 full."));
}
END_TEST

START_TEST(detail_of_a_plain_end)
{
    set_failure(OUTCOME_CONNECTION_CLOSED, STAGE_BANNER, 0, "", "");
    memcpy(result.outcome.reason, "the relay closed the connection", sizeof("the relay closed the connection"));
    result.relay_host = "2001:db8::1";
    report.address[0] = '\0';
    ck_assert_str_eq(detail(), "[2001:db8::1]:587 closed the connection at the greeting. Nothing was sent.");
}
END_TEST

START_TEST(detail_of_plain_text_after_starttls)
{
    set_failure(OUTCOME_TLS_ON_PLAINTEXT_PORT, STAGE_TLS, 0, "", "");
    ck_assert_ptr_nonnull(strstr(detail(), " agreed to STARTTLS and went on in plain text."));
    bytes_buf_deinit(&out);
    result.relay_tls_mode = "implicit";
    ck_assert_ptr_nonnull(strstr(detail(), "TLS from the first byte is configured"));
}
END_TEST

START_TEST(detail_counts_the_refused)
{
    struct smtp_outcome two[2] = {rcpt, rcpt};

    set_failure(OUTCOME_RECIPIENTS_REJECTED, STAGE_RCPT, 550, "5.1.1", "no");
    two[1].code = OUTCOME_RECIPIENTS_REJECTED;
    result.rcpt_outcomes = two;
    result.n_rcpts = 2;
    ck_assert_ptr_nonnull(strstr(detail(), " Refused were 1 of 2 recipients."));
    bytes_buf_deinit(&out);
    two[0].code = OUTCOME_RECIPIENTS_REJECTED;
    ck_assert_ptr_nonnull(strstr(detail(), " All 2 recipients were refused."));
}
END_TEST

START_TEST(detail_before_any_relay)
{
    outcome_set_local(&result.outcome, OUTCOME_OVERLOADED, STAGE_QUEUE, DELIVERY_NOT_SENT, NULL);
    result.report = NULL;
    ck_assert_ptr_nonnull(strstr(detail(), "max_waiting"));
}
END_TEST

/* ---- hints ---- */

START_TEST(hint_with_host_and_port)
{
    set_failure(OUTCOME_PLAINTEXT_ON_TLS_PORT, STAGE_BANNER, 0, "", "");
    result.relay_port = 2465;
    ck_assert_str_eq(hint(), "Change this relay's url to smtps://smtp.example.com:2465 and leave tls unset: this port "
                             "expects TLS from the first byte.");
}
END_TEST

START_TEST(hint_with_an_ipv6_host)
{
    set_failure(OUTCOME_PLAINTEXT_ON_TLS_PORT, STAGE_BANNER, 0, "", "");
    result.relay_host = "2001:db8::1";
    ck_assert_ptr_nonnull(strstr(hint(), "smtps://[2001:db8::1]:587 "));
}
END_TEST

START_TEST(hint_by_login)
{
    set_failure(OUTCOME_RELAY_DENIED, STAGE_RCPT, 550, "5.7.1", "relaying denied");
    ck_assert_ptr_nonnull(strstr(hint(), "Set user and password"));
    bytes_buf_deinit(&out);
    result.relay_has_user = true;
    ck_assert_ptr_nonnull(strstr(hint(), "logged in"));
}
END_TEST

START_TEST(hint_by_provider_of_the_reply)
{
    set_failure(OUTCOME_AUTH_FAILED, STAGE_AUTH, 535, "5.7.8", "Username and Password not accepted. a1sm - gsmtp");
    ck_assert_ptr_nonnull(strstr(hint(), "app password"));
}
END_TEST

START_TEST(hint_with_the_message_id)
{
    set_failure(OUTCOME_OUTCOME_UNKNOWN, STAGE_BODY, 0, "", "");
    ck_assert_ptr_nonnull(strstr(hint(), "Look for <m@example.com> at smtp.example.com"));
}
END_TEST

START_TEST(hint_without_a_mail)
{
    set_failure(OUTCOME_AUTH_FAILED, STAGE_AUTH, 535, "", "");
    problem_write_hint(&(struct problem){.outcome = &result.outcome}, &out);
    ck_assert_ptr_nonnull(strstr(out.p, ": the relay refuses them"));
}
END_TEST

/* ---- Retry-After ---- */

static const struct {
    enum outcome_code code;
    int reply;
    const char *enhanced, *text;
    uint32_t known, want;
} waits[] = {
    {OUTCOME_OVERLOADED, 0, "", "", 0, 1},
    {OUTCOME_SHUTTING_DOWN, 0, "", "", 0, 5},
    {OUTCOME_RELAY_UNAVAILABLE, 0, "", "", 17, 17},
    {OUTCOME_RECIPIENTS_REJECTED, 450, "4.7.1", "Try again", 0, 300},
    {OUTCOME_RECIPIENTS_REJECTED, 451, "", "You are GreyListed", 0, 300},
    {OUTCOME_RECIPIENTS_REJECTED, 450, "4.2.1", "later", 0, 60},
    {OUTCOME_RECIPIENTS_REJECTED, 550, "5.7.1", "greylisted for ever", 0, 0},
    {OUTCOME_MESSAGE_DEFERRED, 451, "", "", 0, 60},
    {OUTCOME_AUTH_FAILED, 535, "", "", 9, 0},
    {OUTCOME_CONNECT_REFUSED, 0, "", "", 0, 0},
};

START_TEST(retry_after)
{
    set_failure(waits[_i].code, STAGE_RCPT, waits[_i].reply, waits[_i].enhanced, waits[_i].text);
    ck_assert_uint_eq(problem_retry_after(&result.outcome, waits[_i].known), waits[_i].want);
}
END_TEST

START_TEST(unknown_is_never_retried)
{
    set_failure(OUTCOME_CONNECTION_CLOSED, STAGE_BODY, 0, "", "");
    result.outcome.delivery = DELIVERY_UNKNOWN;
    ck_assert_uint_eq(problem_retry_after(&result.outcome, 60), 0);
}
END_TEST

/* ---- the object ---- */

START_TEST(object_of_a_request)
{
    struct json_problem error = {.pointer = (char *)(uintptr_t)"/to/1", .code = "invalid_address",
                                 .detail = (char *)(uintptr_t)"\"bob@\" has no domain."};

    set_failure(OUTCOME_VALIDATION_FAILED, STAGE_REQUEST, 0, "", "");
    problem_write(&(struct problem){.outcome = &result.outcome, .detail = "1 field is wrong.", .request_id = "r1",
                                    .errors = &error, .n_errors = 1}, &out);
    ck_assert_str_eq(
        out.p, "{\"type\":\"/v1/errors/validation_failed\",\"title\":\"The e-mail is not valid\",\"status\":422,"
               "\"code\":\"validation_failed\",\"stage\":\"request\",\"delivery\":\"not_sent\",\"retryable\":false,"
               "\"detail\":\"1 field is wrong.\",\"hint\":\"Correct the fields named in errors.\",\"relay\":null,"
               "\"smtp\":null,\"tls\":null,\"recipients\":[],\"attempts\":[],"
               "\"errors\":[{\"pointer\":\"/to/1\",\"code\":\"invalid_address\","
               "\"detail\":\"\\\"bob@\\\" has no domain.\"}],\"id\":null,\"request_id\":\"r1\",\"message_id\":null,"
               "\"name\":\"validation_failed\",\"message\":\"1 field is wrong.\",\"statusCode\":422}");
}
END_TEST

START_TEST(object_with_cause)
{
    set_failure(OUTCOME_RELAY_UNAVAILABLE, STAGE_QUEUE, 0, "", "");
    outcome_set_local(&result.cause, OUTCOME_AUTH_FAILED, STAGE_AUTH, DELIVERY_NOT_SENT, NULL);
    result.cause.reply_code = 535;
    problem_write(&(struct problem){.outcome = &result.outcome, .result = &result, .request_id = "r1"}, &out);
    ck_assert_ptr_nonnull(strstr(out.p, "\"status\":503"));
    ck_assert_ptr_nonnull(strstr(out.p, "\"cause\":{\"code\":\"auth_failed\""));
    ck_assert_ptr_nonnull(strstr(out.p, "\"relay\":{\"name\":\"default\",\"host\":\"smtp.example.com\",\"port\":587,"
                                        "\"address\":\"192.0.2.10\"}"));
    ck_assert_ptr_nonnull(strstr(out.p, "\"id\":\"0192f7c0-0000-7000-8000-000000000001\""));
}
END_TEST

START_TEST(object_with_attempts)
{
    set_failure(OUTCOME_CONNECTION_CLOSED, STAGE_EHLO, 0, "", "");
    result.n_attempts = 2;
    report.attempts[0] = (struct delivery_attempt){OUTCOME_CONNECTION_CLOSED, STAGE_MAIL, true, 3};
    report.attempts[1] = (struct delivery_attempt){OUTCOME_CONNECTION_CLOSED, STAGE_EHLO, false, 41};
    problem_write(&(struct problem){.outcome = &result.outcome, .result = &result, .request_id = "r1"}, &out);
    ck_assert_ptr_nonnull(strstr(out.p, "\"attempts\":[{\"n\":1,\"reused_session\":true,\"code\":\"connection_closed\","
                                        "\"stage\":\"mail\",\"ms\":3},{\"n\":2,\"reused_session\":false,"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("problem");
    TCase *t = tcase_create("json");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, string_as_json, 0, (int)ARRAY_LEN(strings));
    tcase_add_test(t, nul_inside_a_string);
    tcase_add_test(t, numbers);
    tcase_add_test(t, result_of_a_sent_mail);
    tcase_add_test(t, result_partial);
    tcase_add_test(t, detail_of_a_reply);
    tcase_add_test(t, detail_of_a_local_failure);
    tcase_add_test(t, detail_with_time_reason_and_tries);
    tcase_add_test(t, detail_of_an_unknown_outcome);
    tcase_add_test(t, detail_names_what_was_answered);
    tcase_add_test(t, detail_of_a_plain_end);
    tcase_add_test(t, detail_of_plain_text_after_starttls);
    tcase_add_test(t, detail_counts_the_refused);
    tcase_add_test(t, detail_before_any_relay);
    tcase_add_test(t, hint_with_host_and_port);
    tcase_add_test(t, hint_with_an_ipv6_host);
    tcase_add_test(t, hint_by_login);
    tcase_add_test(t, hint_by_provider_of_the_reply);
    tcase_add_test(t, hint_with_the_message_id);
    tcase_add_test(t, hint_without_a_mail);
    tcase_add_loop_test(t, retry_after, 0, (int)ARRAY_LEN(waits));
    tcase_add_test(t, unknown_is_never_retried);
    tcase_add_test(t, object_of_a_request);
    tcase_add_test(t, object_with_cause);
    tcase_add_test(t, object_with_attempts);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
