#include "smtp/classify.h"
#include "smtp/reply.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* The taxonomy: what each reply means at each stage. */

static const struct {
    enum stage stage;
    const char *reply;
    const char *code;
    enum delivery_status delivery;
    bool retryable;
} cases[] = {
    {STAGE_BANNER, "554 no service", "banner_rejected", DELIVERY_NOT_SENT, false},
    {STAGE_BANNER, "421 too many connections", "relay_busy", DELIVERY_NOT_SENT, true},
    {STAGE_BANNER, "450 4.7.28 rate", "relay_rate_limited", DELIVERY_NOT_SENT, true},
    {STAGE_EHLO, "550 no", "ehlo_rejected", DELIVERY_NOT_SENT, false},
    {STAGE_EHLO, "451 no", "ehlo_rejected", DELIVERY_NOT_SENT, true},
    {STAGE_STARTTLS, "454 4.7.0 not now", "starttls_refused", DELIVERY_NOT_SENT, true},
    {STAGE_STARTTLS, "501 no", "starttls_refused", DELIVERY_NOT_SENT, false},
    {STAGE_AUTH, "535 5.7.8 no", "auth_failed", DELIVERY_NOT_SENT, false},
    {STAGE_AUTH, "535 5.7.139 disabled", "auth_basic_disabled", DELIVERY_NOT_SENT, false},
    {STAGE_AUTH, "534 5.7.9 app password", "auth_app_password_required", DELIVERY_NOT_SENT, false},
    {STAGE_AUTH, "534 5.7.14 log in", "auth_app_password_required", DELIVERY_NOT_SENT, false},
    {STAGE_AUTH, "534 weak", "auth_too_weak", DELIVERY_NOT_SENT, false},
    {STAGE_AUTH, "534 5.7.9 Authentication mechanism is too weak", "auth_too_weak", DELIVERY_NOT_SENT, false},
    {STAGE_AUTH, "538 5.7.11 Encryption required", "auth_too_weak", DELIVERY_NOT_SENT, false},
    {STAGE_AUTH, "530 5.7.0 Must issue a STARTTLS command first", "auth_required", DELIVERY_NOT_SENT, false},
    {STAGE_AUTH, "502 5.5.1 what", "auth_not_offered", DELIVERY_NOT_SENT, false},
    {STAGE_AUTH, "501 5.5.2 cannot decode", "auth_failed", DELIVERY_NOT_SENT, false},
    {STAGE_AUTH, "504 5.5.4 mechanism", "auth_mechanism_unsupported", DELIVERY_NOT_SENT, false},
    {STAGE_AUTH, "454 4.7.0 later", "auth_temporary", DELIVERY_NOT_SENT, true},
    {STAGE_AUTH, "432 4.7.12 transition", "auth_temporary", DELIVERY_NOT_SENT, true},
    {STAGE_AUTH, "421 bye", "service_closing", DELIVERY_NOT_SENT, true},
    {STAGE_MAIL, "530 5.7.0 auth", "auth_required", DELIVERY_NOT_SENT, false},
    {STAGE_MAIL, "530 5.7.57 client not authenticated", "auth_required", DELIVERY_NOT_SENT, false},
    {STAGE_MAIL, "553 5.7.1 not yours", "sender_rejected", DELIVERY_REJECTED, false},
    {STAGE_MAIL, "451 4.1.8 dns", "sender_rejected", DELIVERY_REJECTED, true},
    {STAGE_MAIL, "432 4.3.2 concurrent", "relay_busy", DELIVERY_NOT_SENT, true},
    {STAGE_MAIL, "452 too many messages, slow down", "relay_rate_limited", DELIVERY_NOT_SENT, true},
    {STAGE_MAIL, "550 5.7.1 too many messages", "sender_rejected", DELIVERY_REJECTED, false},
    {STAGE_MAIL, "552 5.3.4 size", "message_too_large", DELIVERY_REJECTED, false},
    {STAGE_RCPT, "550 5.1.1 unknown", "recipients_rejected", DELIVERY_REJECTED, false},
    {STAGE_RCPT, "450 4.7.1 greylisted", "recipients_rejected", DELIVERY_REJECTED, true},
    {STAGE_RCPT, "554 5.7.1 Relay access denied", "relay_denied", DELIVERY_REJECTED, false},
    {STAGE_RCPT, "550 5.7.1 blocked", "recipients_rejected", DELIVERY_REJECTED, false},
    {STAGE_RCPT, "552 5.2.2 full", "mailbox_full", DELIVERY_REJECTED, false},
    {STAGE_RCPT, "452 4.2.2 full", "mailbox_full", DELIVERY_REJECTED, true},
    {STAGE_DATA, "451 4.3.0 no", "data_rejected", DELIVERY_REJECTED, true},
    {STAGE_DATA, "554 no", "data_rejected", DELIVERY_REJECTED, false},
    {STAGE_BODY, "554 5.7.1 spam", "message_rejected", DELIVERY_REJECTED, false},
    {STAGE_BODY, "451 4.7.0 later", "message_deferred", DELIVERY_REJECTED, true},
    {STAGE_BODY, "421 4.3.0 bye", "message_deferred", DELIVERY_REJECTED, true},
    {STAGE_BODY, "552 too big", "message_too_large", DELIVERY_REJECTED, false},
    {STAGE_BODY, "552 5.2.3 too big", "message_too_large", DELIVERY_REJECTED, false},
    {STAGE_BODY, "552 5.2.2 full", "mailbox_full", DELIVERY_REJECTED, false},
    {STAGE_BODY, "354 what", "protocol_error", DELIVERY_UNKNOWN, false},
};

START_TEST(test_replies_mean)
{
    struct smtp_reply_parser p;
    struct smtp_reply r;
    struct smtp_outcome o;
    struct bytes_buf line;
    struct bytes_view v;
    const char *why;

    bytes_buf_init(&line, 0);
    bytes_buf_printf(&line, "%s\r\n", cases[_i].reply);
    v = bytes_buf_view(&line);
    smtp_reply_parser_init(&p);
    ck_assert_int_eq(smtp_reply_parser_feed(&p, &v, SMTP_REPLY_LINE_MAX, &r, &why), 1);
    classify_reply(cases[_i].stage, "X", &r, &o);
    ck_assert_msg(strcmp(outcome_code_name(o.code), cases[_i].code) == 0, "%s: %s", cases[_i].reply,
                  outcome_code_name(o.code));
    ck_assert_msg(o.delivery == cases[_i].delivery, "%s: %s", cases[_i].reply, delivery_name(o.delivery));
    ck_assert_msg(outcome_is_retryable(&o) == cases[_i].retryable, "%s", cases[_i].reply);
    ck_assert_int_eq(o.reply_code, r.code);
    smtp_reply_parser_deinit(&p);
    bytes_buf_deinit(&line);
}
END_TEST

START_TEST(test_names_are_unique_and_found)
{
    for (int i = 0; i < OUTCOME_COUNT; i++) {
        enum outcome_code found;
        ck_assert(outcome_code_from_name(outcome_code_name((enum outcome_code)i), &found));
        ck_assert_int_eq((int)found, i);
    }
}
END_TEST

START_TEST(test_unknown_is_never_retryable)
{
    for (int i = 0; i < OUTCOME_COUNT; i++) {
        struct smtp_outcome o;
        outcome_set_local(&o, (enum outcome_code)i, STAGE_BODY, DELIVERY_UNKNOWN, NULL);
        ck_assert(!outcome_is_retryable(&o));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("outcome");
    TCase *tc = tcase_create("outcome");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_add_loop_test(tc, test_replies_mean, 0, (int)ARRAY_LEN(cases));
    tcase_add_test(tc, test_names_are_unique_and_found);
    tcase_add_test(tc, test_unknown_is_never_retryable);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
