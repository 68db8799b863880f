#include "service/retry.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Whether and when a failed mail is tried again, as tables: no sockets, no clock. */

#define NOW 1000000u

static struct smtp_outcome outcome, cause;
static struct retry_case c;

static void setup(void)
{
    memset(&outcome, 0, sizeof(outcome));
    outcome_set_local(&cause, OUTCOME_CONNECT_REFUSED, STAGE_CONNECT, DELIVERY_NOT_SENT, NULL);
    c = (struct retry_case){.outcome = &outcome, .cause = &cause, .tries = 1, .now = NOW, .deadline = NOW + 30000};
}

static void set(enum outcome_code code, enum stage stage, enum delivery_status d, int reply, const char *enhanced,
                const char *text)
{
    outcome_set_local(&outcome, code, stage, d, NULL);
    outcome.reply_code = reply;
    memcpy(outcome.enhanced, enhanced, strlen(enhanced) + 1);
    memcpy(outcome.text, text, strlen(text) + 1);
}

static void set_deferred(void)
{
    set(OUTCOME_MESSAGE_DEFERRED, STAGE_BODY, DELIVERY_REJECTED, 451, "4.3.0", "try later");
}

/* ---- whether ---- */

static const struct {
    enum outcome_code code;
    enum stage stage;
    enum delivery_status delivery;
    int reply;
    const char *enhanced, *text;
    bool again;
} cases[] = {
    {OUTCOME_MESSAGE_DEFERRED, STAGE_BODY, DELIVERY_REJECTED, 451, "4.3.0", "try later", true},
    {OUTCOME_SENDER_REJECTED, STAGE_MAIL, DELIVERY_REJECTED, 451, "4.3.0", "", true},
    {OUTCOME_RECIPIENTS_REJECTED, STAGE_RCPT, DELIVERY_REJECTED, 450, "4.2.0", "busy", true},
    {OUTCOME_RECIPIENTS_REJECTED, STAGE_RCPT, DELIVERY_NOT_SENT, 450, "4.2.0", "partial: reject", true},
    {OUTCOME_CONNECT_REFUSED, STAGE_CONNECT, DELIVERY_NOT_SENT, 0, "", "", true},
    {OUTCOME_DNS_FAILED, STAGE_DNS, DELIVERY_NOT_SENT, 0, "", "", true},
    {OUTCOME_CONNECTION_CLOSED, STAGE_BODY, DELIVERY_NOT_SENT, 0, "", "", true},
    {OUTCOME_SERVICE_CLOSING, STAGE_MAIL, DELIVERY_NOT_SENT, 421, "4.3.2", "", true},
    {OUTCOME_RELAY_BUSY, STAGE_BANNER, DELIVERY_NOT_SENT, 421, "", "", true},
    {OUTCOME_AUTH_TEMPORARY, STAGE_AUTH, DELIVERY_NOT_SENT, 454, "4.7.0", "", true},
    {OUTCOME_RELAY_UNAVAILABLE, STAGE_QUEUE, DELIVERY_NOT_SENT, 0, "", "", true},
    /* said for good */
    {OUTCOME_MESSAGE_REJECTED, STAGE_BODY, DELIVERY_REJECTED, 554, "5.7.1", "", false},
    {OUTCOME_RECIPIENTS_REJECTED, STAGE_RCPT, DELIVERY_REJECTED, 550, "5.1.1", "", false},
    {OUTCOME_AUTH_FAILED, STAGE_AUTH, DELIVERY_NOT_SENT, 535, "5.7.8", "", false},
    {OUTCOME_STARTTLS_NOT_OFFERED, STAGE_EHLO, DELIVERY_NOT_SENT, 0, "", "", false},
    {OUTCOME_DNS_NOT_FOUND, STAGE_DNS, DELIVERY_NOT_SENT, 0, "", "", false},
    {OUTCOME_INTERNAL_ERROR, STAGE_QUEUE, DELIVERY_NOT_SENT, 0, "", "", false},
    /* the relay has the mail, or may have it, whatever the code says */
    {OUTCOME_SENT, STAGE_BODY, DELIVERY_ACCEPTED, 250, "", "", false},
    {OUTCOME_OUTCOME_UNKNOWN, STAGE_BODY, DELIVERY_UNKNOWN, 0, "", "", false},
    {OUTCOME_MESSAGE_DEFERRED, STAGE_BODY, DELIVERY_UNKNOWN, 451, "", "", false},
    {OUTCOME_CONNECTION_CLOSED, STAGE_BODY, DELIVERY_ACCEPTED, 0, "", "", false},
    /* a matter of minutes, or of a person */
    {OUTCOME_RECIPIENTS_REJECTED, STAGE_RCPT, DELIVERY_REJECTED, 450, "4.7.1", "try again later", false},
    {OUTCOME_RECIPIENTS_REJECTED, STAGE_RCPT, DELIVERY_REJECTED, 451, "", "You are GreyListed", false},
    {OUTCOME_MESSAGE_DEFERRED, STAGE_BODY, DELIVERY_REJECTED, 451, "4.3.0", "graylisted for 300 s", false},
    {OUTCOME_RELAY_RATE_LIMITED, STAGE_MAIL, DELIVERY_NOT_SENT, 421, "4.7.28", "", false},
    {OUTCOME_MAILBOX_FULL, STAGE_RCPT, DELIVERY_REJECTED, 452, "4.2.2", "", false},
    /* ours: the request's own end, and refusals at the door */
    {OUTCOME_DEADLINE_EXCEEDED, STAGE_CONNECT, DELIVERY_NOT_SENT, 0, "", "", false},
    {OUTCOME_OVERLOADED, STAGE_QUEUE, DELIVERY_NOT_SENT, 0, "", "", false},
    {OUTCOME_SHUTTING_DOWN, STAGE_QUEUE, DELIVERY_NOT_SENT, 0, "", "", false},
    {OUTCOME_REQUEST_TIMEOUT, STAGE_REQUEST, DELIVERY_NOT_SENT, 0, "", "", false},
    {OUTCOME_RATE_LIMITED, STAGE_REQUEST, DELIVERY_NOT_SENT, 0, "", "", false},
};

START_TEST(whether)
{
    set(cases[_i].code, cases[_i].stage, cases[_i].delivery, cases[_i].reply, cases[_i].enhanced, cases[_i].text);
    ck_assert_msg((retry_when(&c) != 0) == cases[_i].again, "%s %d", outcome_code_name(cases[_i].code), _i);
}
END_TEST

START_TEST(a_refused_password_stays_refused)
{
    set(OUTCOME_RELAY_UNAVAILABLE, STAGE_QUEUE, DELIVERY_NOT_SENT, 0, "", "");
    outcome_set_local(&cause, OUTCOME_AUTH_FAILED, STAGE_AUTH, DELIVERY_NOT_SENT, NULL);
    c.pause_s = 1;
    ck_assert_uint_eq(retry_when(&c), 0);
}
END_TEST

START_TEST(not_for_ever)
{
    set_deferred();
    c.deadline = NOW + 3600000;
    c.tries = RETRY_TRIES_MAX - 1;
    ck_assert_uint_ne(retry_when(&c), 0);
    c.tries = RETRY_TRIES_MAX;
    ck_assert_uint_eq(retry_when(&c), 0);
}
END_TEST

/* ---- when ---- */

START_TEST(the_pause_grows)
{
    static const unsigned pauses[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000};

    set_deferred();
    for (unsigned i = 0; i < ARRAY_LEN(pauses); i++) {
        uint64_t least = UINT64_MAX, most = 0;
        c.tries = i + 1;
        for (c.random = 0; c.random < 20000; c.random++) {
            uint64_t pause = retry_when(&c) - NOW;
            least = pause < least ? pause : least;
            most = pause > most ? pause : most;
        }
        ck_assert_uint_eq(least, pauses[i] - pauses[i] / 4);
        ck_assert_uint_eq(most, pauses[i] + pauses[i] / 4);
    }
}
END_TEST

START_TEST(a_known_pause_is_kept)
{
    set(OUTCOME_RELAY_UNAVAILABLE, STAGE_QUEUE, DELIVERY_NOT_SENT, 0, "", "");
    c.pause_s = 4;
    for (c.random = 0; c.random < 1000; c.random++) {
        ck_assert_uint_ge(retry_when(&c), NOW + 4000);
        ck_assert_uint_lt(retry_when(&c), NOW + 4000 + RETRY_FIRST_MS);
    }
    c.random = 0;
    c.deadline = NOW + 4000 + RETRY_MARGIN_MS;          /* then it is answered now, and not at the deadline */
    ck_assert_uint_eq(retry_when(&c), 0);
    c.deadline++;
    ck_assert_uint_eq(retry_when(&c), NOW + 4000);
}
END_TEST

START_TEST(a_try_has_time_to_end)
{
    set_deferred();
    c.random = 25;                      /* 100 ms to the point */
    c.took_ms = 700;
    c.deadline = NOW + 100 + 700 + RETRY_MARGIN_MS;
    ck_assert_uint_eq(retry_when(&c), 0);
    c.deadline++;
    ck_assert_uint_eq(retry_when(&c), NOW + 100);
    c.took_ms = UINT32_MAX;
    ck_assert_uint_eq(retry_when(&c), 0);
    c.took_ms = 0;
    c.deadline = NOW;
    ck_assert_uint_eq(retry_when(&c), 0);
    c.deadline = NOW - 1;
    ck_assert_uint_eq(retry_when(&c), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("retry");
    TCase *t = tcase_create("retry");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_loop_test(t, whether, 0, (int)ARRAY_LEN(cases));
    tcase_add_test(t, a_refused_password_stays_refused);
    tcase_add_test(t, not_for_ever);
    tcase_add_test(t, the_pause_grows);
    tcase_add_test(t, a_known_pause_is_kept);
    tcase_add_test(t, a_try_has_time_to_end);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
