#include "tests/unit/engine_case.h"

#include <check.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* Several mails on one session, sessions opened ahead, several loops for one relay. */

/* No time passes here: the engine's thread is on its way there. */
static void wait_until_lent(uint64_t n)
{
    while (ec_stats().reused < n)
        sched_yield();
}

START_TEST(mails_go_behind_one_that_is_held)
{
    ec_config.max_sessions = 1;
    ec_config.pipeline_depth = 4;
    ec_start(&(struct peer_rule){.hold_at = 2}, 1);
    ec_assert_sent(ec_send_one(1));
    ec_submit(10000);
    peer_wait_held(ec_peer);
    for (int i = 0; i < 4; i++)
        ec_submit(10000);
    wait_until_lent(4);                 /* the held one and three more; the fifth has no room */
    peer_release(ec_peer);
    for (size_t i = 2; i <= 6; i++)
        ec_assert_sent(ec_report(i));
    ck_assert_uint_eq(ec_stats().reused, 5);
    ck_assert_int_eq(peer_mails(ec_peer), 6);
    ck_assert_int_eq(peer_connections(ec_peer), 1);
}
END_TEST

/* Four sessions' worth of mails go side by side before two go behind each other. */
START_TEST(own_sessions_first)
{
    ec_config.max_sessions = 4;
    ec_config.pipeline_depth = 8;
    ec_start(&(struct peer_rule){.hold_at = 1}, 1);
    for (int i = 0; i < 4; i++)
        ec_submit(10000);
    while (ec_stats().busy < 4)
        sched_yield();
    for (int i = 0; i < 4; i++) {
        peer_wait_held(ec_peer);
        peer_release(ec_peer);
    }
    for (size_t i = 1; i <= 4; i++)
        ec_assert_sent(ec_report(i));
    ck_assert_uint_eq(ec_stats().opened, 4);
    ck_assert_uint_eq(ec_stats().reused, 0);
}
END_TEST

START_TEST(goodbye_with_mails_in_flight)
{
    ec_config.max_sessions = 1;
    ec_config.pipeline_depth = 8;
    ec_start(&(struct peer_rule){.close_after = 2, .goodbye = true}, 1);
    for (int i = 0; i < 7; i++)
        ec_submit(10000);
    for (size_t i = 1; i <= 7; i++)
        ec_assert_sent(ec_report(i));
    ck_assert_int_eq(peer_mails(ec_peer), 7);
    ck_assert_int_ge(peer_connections(ec_peer), 4);
}
END_TEST

START_TEST(mails_in_flight_count_for_a_session)
{
    ec_config.max_sessions = 1;
    ec_config.pipeline_depth = 8;
    ec_config.mails_per_session = 2;
    ec_start(&(struct peer_rule){0}, 1);
    for (int i = 0; i < 6; i++)
        ec_submit(10000);
    for (size_t i = 1; i <= 6; i++)
        ec_assert_sent(ec_report(i));
    peer_wait_closed(ec_peer, 3);
    ck_assert_int_eq(peer_quits(ec_peer), 3);
    ck_assert_int_eq(peer_connections(ec_peer), 3);
}
END_TEST

START_TEST(sessions_are_opened_ahead)
{
    const struct delivery_report *r;

    ec_config.min_idle = 2;
    ec_config.idle_ms = 0;                 /* not theirs */
    ec_start(&(struct peer_rule){0}, 1);
    while (ec_stats().idle < 2)
        sched_yield();
    r = ec_send_one(1);
    ec_assert_sent(r);
    ck_assert(r->reused_session);
    ck_assert_uint_eq(r->connect_us + r->auth_us, 0);
    ck_assert_int_eq(peer_connections(ec_peer), 2);
}
END_TEST

/* The next one is opened when a session has done its work; after a drain none is. */
START_TEST(opened_ahead_again)
{
    ec_config.min_idle = ec_config.max_sessions = 1;
    ec_config.mails_per_session = 1;
    ec_start(&(struct peer_rule){0}, 1);
    for (size_t i = 1; i <= 3; i++) {
        while (ec_stats().idle < 1)
            sched_yield();
        ec_assert_sent(ec_send_one(i));
    }
    peer_wait_closed(ec_peer, 3);
    while (ec_stats().idle < 1)
        sched_yield();
    engine_drain(ec_engine);
    peer_wait_closed(ec_peer, 4);
    ck_assert_int_eq(peer_connections(ec_peer), 4);
    ck_assert_uint_eq(ec_stats().stale, 0);
}
END_TEST

/* A relay that closes what it is not sent anything on is not called on again and again. */
START_TEST(unused_ones_are_opened_slowly)
{
    static const struct peer_rule rules[] = {{.banner = "421 4.7.0 go away\r\n"}, {0}};

    ec_config.min_idle = 1;
    ec_start(rules, 2);
    while (ec_stats().idle < 1)
        sched_yield();
    ck_assert_int_eq(peer_connections(ec_peer), 2);
}
END_TEST

START_TEST(stale_ahead_is_replaced)
{
    ec_config.min_idle = 1;
    ec_start(&(struct peer_rule){.at_mail = 1, .mail_reply = "421 4.3.2 idle for too long\r\n"}, 1);
    while (ec_stats().idle < 1)
        sched_yield();
    ec_assert_failed(ec_send_one(1), OUTCOME_SERVICE_CLOSING, STAGE_MAIL);
    ck_assert_uint_eq(ec_report(1)->n_attempts, 2);
}
END_TEST

START_TEST(several_loops)
{
    ec_config.max_sessions = ec_config.loops = 3;
    ec_start(&(struct peer_rule){0}, 1);
    for (int i = 0; i < 30; i++)
        ec_submit(10000);
    for (size_t i = 1; i <= 30; i++)
        ec_assert_sent(ec_report(i));
    ck_assert_uint_eq(ec_stats().opened, 3);
    ck_assert_uint_eq(ec_stats().mails, 30);
    ck_assert_int_le(peer_most(ec_peer), 3);
}
END_TEST

START_TEST(more_loops_than_sessions)
{
    ec_config.max_sessions = 1;
    ec_config.loops = 8;
    ec_start(&(struct peer_rule){0}, 1);
    for (int i = 0; i < 8; i++)
        ec_submit(10000);
    for (size_t i = 1; i <= 8; i++)
        ec_assert_sent(ec_report(i));
    ck_assert_int_eq(peer_most(ec_peer), 1);
}
END_TEST

START_TEST(refused_password_is_known_to_all_loops)
{
    ec_use_tls(SMTP_TLS_STARTTLS);
    ec_config.user = "ann";
    ec_config.password = "wrong";
    ec_config.loops = 4;
    ec_start(&(struct peer_rule){.starttls = true, .auth = true, .auth_reply = "535 5.7.8 no\r\n"}, 1);
    ec_assert_failed(ec_send_one(1), OUTCOME_AUTH_FAILED, STAGE_AUTH);
    for (int i = 0; i < 8; i++)
        ec_submit(10000);
    for (size_t i = 2; i <= 9; i++)
        ec_assert_failed(ec_report(i), OUTCOME_RELAY_UNAVAILABLE, STAGE_QUEUE);
    while (!ec_stats().circuit_open)       /* some of the four may still be about to read of it */
        sched_yield();
    ck_assert_int_eq(peer_connections(ec_peer), 1);
}
END_TEST

/* ---- more recipients than the relay takes at once ---- */

static void assert_rcpts(size_t n, const char *const codes[])
{
    const struct delivery_report *r = ec_report(1);

    ck_assert_uint_eq(r->n_rcpts, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(strcmp(outcome_code_name(r->rcpts[i].code), codes[i]) == 0, "recipient %zu: %s", i,
                      outcome_code_name(r->rcpts[i].code));
}

static void start_small(struct peer_rule rule)
{
    rule.max_rcpts = 2;
    ec_config.max_sessions = 1;
    ec_start(&rule, 1);
}

START_TEST(the_rest_in_further_transactions)
{
    static const char *const codes[] = {"sent", "sent", "sent", "sent", "sent"};

    start_small((struct peer_rule){0});
    ec_submit_to(5, 10000);
    ec_assert_sent(ec_report(1));
    assert_rcpts(5, codes);
    ck_assert_uint_eq(ec_report(1)->n_attempts, 1);
    ck_assert_int_eq(peer_mails(ec_peer), 3);
    ck_assert_int_eq(peer_connections(ec_peer), 1);
}
END_TEST

START_TEST(the_rest_is_refused)
{
    static const char *const codes[] = {"sent", "sent", "sender_rejected", "sender_rejected"};

    ec_config.one_flight_max = 0;       /* this peer would take a body after all */
    start_small((struct peer_rule){.at_mail = 2, .mail_reply = "550 5.7.1 once is enough\r\n"});
    ec_submit_to(4, 10000);
    ec_assert_sent(ec_report(1));
    assert_rcpts(4, codes);
}
END_TEST

/* The second transaction was to go on a session that had gone stale: another one has the rest. */
START_TEST(the_rest_on_another_session)
{
    static const char *const codes[] = {"sent", "sent", "sent", "sent", "sent"};

    start_small((struct peer_rule){.close_after = 1, .goodbye = true});
    ec_submit_to(5, 10000);
    ec_assert_sent(ec_report(1));
    assert_rcpts(5, codes);
    ck_assert_int_eq(peer_mails(ec_peer), 3);
    ck_assert_int_eq(peer_connections(ec_peer), 3);
}
END_TEST

START_TEST(the_rest_is_unknown)
{
    static const char *const codes[] = {"sent", "sent", "outcome_unknown", "outcome_unknown"};

    start_small((struct peer_rule){.hold_at = 2, .close_instead = true});
    ec_submit_to(4, 10000);
    peer_wait_held(ec_peer);
    peer_release(ec_peer);
    ec_assert_sent(ec_report(1));
    assert_rcpts(4, codes);
}
END_TEST

START_TEST(the_rest_is_answered_late)
{
    static const char *const codes[] = {"sent", "sent", "outcome_unknown", "outcome_unknown"};

    start_small((struct peer_rule){.hold_at = 2});
    ec_submit_to(4, 500);
    ec_assert_sent(ec_report(1));
    assert_rcpts(4, codes);
    peer_release(ec_peer);
    ec_assert_sent(ec_report(2));
    ck_assert(ec_report(2)->late);
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(ec_report(2)->rcpts[i].code, OUTCOME_SENT);
}
END_TEST

START_TEST(deadline_before_the_rest)
{
    static const char *const codes[] = {"sent", "sent", "deadline_exceeded", "deadline_exceeded"};

    ec_config.one_flight_max = 0;       /* a body on its way would make it unknown */
    start_small((struct peer_rule){.at_mail = 2, .mail_hangs = true});
    ec_submit_to(4, 500);
    ec_assert_sent(ec_report(1));
    assert_rcpts(4, codes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine_depth");
    TCase *t = tcase_create("wire");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(t, ec_setup, ec_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, mails_go_behind_one_that_is_held);
    tcase_add_test(t, own_sessions_first);
    tcase_add_test(t, goodbye_with_mails_in_flight);
    tcase_add_test(t, mails_in_flight_count_for_a_session);
    tcase_add_test(t, sessions_are_opened_ahead);
    tcase_add_test(t, opened_ahead_again);
    tcase_add_test(t, unused_ones_are_opened_slowly);
    tcase_add_test(t, stale_ahead_is_replaced);
    tcase_add_test(t, several_loops);
    tcase_add_test(t, more_loops_than_sessions);
    tcase_add_test(t, refused_password_is_known_to_all_loops);
    tcase_add_test(t, the_rest_in_further_transactions);
    tcase_add_test(t, the_rest_is_refused);
    tcase_add_test(t, the_rest_on_another_session);
    tcase_add_test(t, the_rest_is_unknown);
    tcase_add_test(t, the_rest_is_answered_late);
    tcase_add_test(t, deadline_before_the_rest);
    suite_add_tcase(suite, t);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
