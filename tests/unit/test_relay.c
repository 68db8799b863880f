#include "smtp/relay.h"

#include <check.h>
#include <stdlib.h>

/* The health of a relay, as a table of moments: no sockets, no clock. */

static struct relay_config config;
static struct relay relay;
static uint64_t when;

static void setup(void)
{
    relay_config_init(&config);
    config.max_sessions = 4;
    relay_init(&relay, &config);
}

static void fail_in(enum stage stage, enum outcome_code code, unsigned others, uint64_t began, uint64_t now)
{
    struct smtp_outcome o;

    outcome_set_local(&o, code, stage, DELIVERY_NOT_SENT, NULL);
    relay_on_failed(&relay, &o, others, began, now);
}

static void fail_at(enum outcome_code code, unsigned others, uint64_t began, uint64_t now)
{
    fail_in(STAGE_BANNER, code, others, began, now);
}

static bool may_open(unsigned alive, unsigned connecting, uint64_t now)
{
    return relay_may_open(&relay, alive, connecting, now, &when);
}

START_TEST(opens_up_to_the_limit)
{
    ck_assert(may_open(0, 0, 1000));
    ck_assert(may_open(0, 3, 1000));
    ck_assert(may_open(3, 0, 1000));
    ck_assert(!may_open(3, 1, 1000));
    ck_assert(!may_open(4, 0, 1000));
    ck_assert_uint_eq(when, UINT64_MAX);
}
END_TEST

START_TEST(not_all_at_once)
{
    config.max_sessions = 1000;
    ck_assert(may_open(0, RELAY_CONNECTING_MAX - 1, 0));
    ck_assert(!may_open(0, RELAY_CONNECTING_MAX, 0));
    ck_assert_uint_eq(when, UINT64_MAX);
    ck_assert(may_open(500, RELAY_CONNECTING_MAX - 1, 0));
}
END_TEST

START_TEST(one_at_a_time_after_a_failure)
{
    fail_in(STAGE_CONNECT, OUTCOME_CONNECT_REFUSED, 0, 900, 1000);
    ck_assert(!may_open(0, 0, 1249));
    ck_assert_uint_eq(when, 1250);
    ck_assert(may_open(0, 0, 1250));
    ck_assert(!may_open(0, 1, 1250));
    relay_on_ready(&relay);
    ck_assert(may_open(1, 1, 1251));
}
END_TEST

START_TEST(delay_grows_to_its_limit)
{
    static const uint64_t delays[] = {250, 500, 1000, 2000};
    uint64_t now = 1000;

    for (size_t i = 0; i < ARRAY_LEN(delays); i++) {
        fail_at(OUTCOME_CONNECT_TIMEOUT, 1, now, now + 10);
        ck_assert(!may_open(0, 0, now + 10));
        ck_assert_uint_eq(when, now + 10 + delays[i]);
        ck_assert(!relay_is_circuit_open(&relay, now + 10));
        now = when;
    }
    for (int i = 0; i < 40; i++) {
        fail_at(OUTCOME_CONNECT_TIMEOUT, 1, now, now + 10);
        ck_assert(!may_open(0, 0, now + 10));
        ck_assert_uint_le(when, now + 10 + RELAY_DELAY_MAX_MS);
        now = when;
    }
    fail_at(OUTCOME_CONNECT_TIMEOUT, 1, now, now);
    ck_assert(!may_open(0, 0, now));
    ck_assert_uint_eq(when, now + RELAY_DELAY_MAX_MS);
}
END_TEST

START_TEST(five_in_a_row_open_the_circuit)
{
    uint64_t now = 1000;

    for (int i = 0; i < 4; i++, now += 10000)
        fail_at(OUTCOME_CONNECT_REFUSED, 0, now, now);
    ck_assert(!relay_is_circuit_open(&relay, now));
    fail_at(OUTCOME_CONNECT_REFUSED, 0, now, now);
    ck_assert(relay_is_circuit_open(&relay, now));
    ck_assert_uint_eq(relay_retry_after_s(&relay, now), 1);
    ck_assert(relay_is_circuit_open(&relay, now + 999));
    ck_assert(!relay_is_circuit_open(&relay, now + 1000));
    ck_assert_uint_eq(relay_retry_after_s(&relay, now + 1000), 0);
    ck_assert(may_open(0, 0, now + 1000));              /* half-open: one attempt */
    ck_assert(!may_open(0, 1, now + 1000));
    fail_at(OUTCOME_TIMEOUT, 0, now + 1000, now + 1500);
    ck_assert_uint_eq(relay_retry_after_s(&relay, now + 1500), 2);
    ck_assert_int_eq(relay.cause.code, OUTCOME_TIMEOUT);
    relay_on_ready(&relay);
    ck_assert(!relay_is_circuit_open(&relay, now + 1501));
}
END_TEST

static const struct {
    enum stage stage;
    enum outcome_code code;
    enum smtp_tls_mode mode;
    bool unreached;
} kinds[] = {
    {STAGE_CONNECT, OUTCOME_CONNECT_REFUSED, SMTP_TLS_STARTTLS, true},
    {STAGE_CONNECT, OUTCOME_CONNECT_TIMEOUT, SMTP_TLS_STARTTLS, true},
    {STAGE_CONNECT, OUTCOME_NETWORK_UNREACHABLE, SMTP_TLS_STARTTLS, true},
    {STAGE_DNS, OUTCOME_DNS_FAILED, SMTP_TLS_STARTTLS, true},
    {STAGE_DNS, OUTCOME_DNS_NOT_FOUND, SMTP_TLS_STARTTLS, true},
    {STAGE_BANNER, OUTCOME_CONNECTION_CLOSED, SMTP_TLS_STARTTLS, true},         /* a balancer without a server */
    {STAGE_TLS, OUTCOME_TLS_CLOSED, SMTP_TLS_IMPLICIT, true},
    {STAGE_TLS, OUTCOME_TLS_CLOSED, SMTP_TLS_STARTTLS, false},
    {STAGE_BANNER, OUTCOME_TIMEOUT, SMTP_TLS_STARTTLS, false},
    {STAGE_BANNER, OUTCOME_RELAY_BUSY, SMTP_TLS_STARTTLS, false},
    {STAGE_EHLO, OUTCOME_CONNECTION_CLOSED, SMTP_TLS_STARTTLS, false},
    {STAGE_TLS, OUTCOME_TLS_CERT_EXPIRED, SMTP_TLS_IMPLICIT, false},
};

/* A relay that comes back has its first mail within 5 s, however long it was away. */
START_TEST(unreached_is_asked_soon)
{
    uint64_t now = 1000;

    config.tls_mode = kinds[_i].mode;
    for (int i = 0; i < 40; i++) {
        now += 100000;
        fail_in(kinds[_i].stage, kinds[_i].code, 0, now, now);
    }
    ck_assert_uint_eq(relay_retry_after_s(&relay, now), kinds[_i].unreached ? 3 : 30);
    ck_assert(!may_open(0, 0, now));
    ck_assert_uint_eq(when, now + (kinds[_i].unreached ? RELAY_CIRCUIT_CONNECT_MAX_MS : RELAY_CIRCUIT_MAX_MS));
}
END_TEST

/* While a server starts it may refuse connections for a while, and then say 421 once. */
START_TEST(what_was_not_reached_does_not_count_against_it)
{
    uint64_t now = 1000;

    for (int i = 0; i < 40; i++, now += 10000)
        fail_in(STAGE_CONNECT, OUTCOME_CONNECT_REFUSED, 0, now, now);
    fail_at(OUTCOME_RELAY_BUSY, 0, now, now);
    ck_assert_uint_eq(relay_retry_after_s(&relay, now), 1);
    for (int i = 0; i < 6; i++, now += 100000)
        fail_at(OUTCOME_RELAY_BUSY, 0, now + 1, now + 1);
    ck_assert(!may_open(0, 0, now - 100000 + 1));
    ck_assert_uint_eq(when, now - 100000 + 1 + 4000);
    fail_in(STAGE_CONNECT, OUTCOME_CONNECT_REFUSED, 0, now, now);
    ck_assert_uint_eq(relay_retry_after_s(&relay, now), 3);
    relay_on_ready(&relay);
    ck_assert(may_open(0, 0, now));
}
END_TEST

START_TEST(side_by_side_is_once)
{
    for (int i = 0; i < 8; i++)
        fail_at(OUTCOME_CONNECT_REFUSED, 0, 1000, 1000 + (uint64_t)i);
    ck_assert_uint_eq(relay.failures, 1);
    ck_assert(!relay_is_circuit_open(&relay, 1010));
}
END_TEST

static const enum outcome_code refused[] = {OUTCOME_AUTH_FAILED, OUTCOME_AUTH_BASIC_DISABLED,
                                            OUTCOME_AUTH_APP_PASSWORD_REQUIRED, OUTCOME_AUTH_TOO_WEAK};

START_TEST(refused_password_opens_it_at_once)
{
    fail_at(refused[_i], 0, 1000, 1000);
    ck_assert_uint_eq(relay_retry_after_s(&relay, 1000), 60);
    ck_assert(!may_open(0, 0, 60999));
    ck_assert_uint_eq(when, 61000);
    ck_assert(may_open(0, 0, 61000));
}
END_TEST

static const enum outcome_code harmless[] = {OUTCOME_AUTH_TEMPORARY, OUTCOME_AUTH_NOT_OFFERED, OUTCOME_RELAY_BUSY,
                                             OUTCOME_TLS_CERT_EXPIRED};

START_TEST(other_failures_do_not)
{
    fail_at(harmless[_i], 0, 1000, 1000);
    ck_assert(!relay_is_circuit_open(&relay, 1000));
    ck_assert(!may_open(0, 0, 1000));
}
END_TEST

START_TEST(busy_lowers_the_limit)
{
    fail_at(OUTCOME_RELAY_BUSY, 2, 1000, 1000);
    ck_assert_uint_eq(relay.failures, 0);
    ck_assert(!may_open(2, 0, 1000));
    ck_assert_uint_eq(when, 31000);
    ck_assert(may_open(1, 0, 1000));
    ck_assert(may_open(2, 0, 31000));
}
END_TEST

START_TEST(refused_elsewhere)
{
    struct smtp_outcome why;

    outcome_set_local(&why, OUTCOME_AUTH_FAILED, STAGE_AUTH, DELIVERY_NOT_SENT, NULL);
    relay_on_refused_elsewhere(&relay, &why, 5000);
    ck_assert(!may_open(0, 0, 4999));
    ck_assert_uint_eq(when, 5000);
    ck_assert_uint_eq(relay_retry_after_s(&relay, 1000), 4);
    ck_assert_int_eq(relay.cause.code, OUTCOME_AUTH_FAILED);
    ck_assert(may_open(0, 0, 5000));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("relay");
    TCase *t = tcase_create("health");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, opens_up_to_the_limit);
    tcase_add_test(t, not_all_at_once);
    tcase_add_test(t, one_at_a_time_after_a_failure);
    tcase_add_test(t, delay_grows_to_its_limit);
    tcase_add_test(t, five_in_a_row_open_the_circuit);
    tcase_add_loop_test(t, unreached_is_asked_soon, 0, (int)ARRAY_LEN(kinds));
    tcase_add_test(t, what_was_not_reached_does_not_count_against_it);
    tcase_add_test(t, side_by_side_is_once);
    tcase_add_loop_test(t, refused_password_opens_it_at_once, 0, (int)ARRAY_LEN(refused));
    tcase_add_loop_test(t, other_failures_do_not, 0, (int)ARRAY_LEN(harmless));
    tcase_add_test(t, busy_lowers_the_limit);
    tcase_add_test(t, refused_elsewhere);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
