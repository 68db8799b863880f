#include "tests/unit/engine_case.h"

#include "smtp/cert.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The engine on real sockets against a peer that misbehaves by rule. */

/* ---- mails that go out ---- */

START_TEST(happy)
{
    const struct delivery_report *r;

    start(&(struct peer_rule){0}, 1);
    r = send_one(1);
    assert_sent(r);
    ck_assert_ptr_eq(r->owner, &owner);
    ck_assert(!r->late && !r->reused_session && !r->has_tls);
    ck_assert_str_eq(r->address, "127.0.0.1");
    ck_assert_str_eq(r->id, "0192f7c0-0000-7000-8000-000000000001");
    ck_assert_uint_eq(r->n_attempts, 1);
    ck_assert_int_eq(r->attempts[0].code, OUTCOME_SENT);
    ck_assert_uint_gt(r->connect_us, 0);
    ck_assert_uint_gt(r->auth_us, 0);
    ck_assert_uint_ge(r->total_us, r->connect_us + r->auth_us + r->send_us);
    ck_assert_uint_ge(r->flights, 1);
}
END_TEST

START_TEST(reuses_a_session_in_one_flight)
{
    const struct delivery_report *r;

    start(&(struct peer_rule){0}, 1);
    assert_sent(send_one(1));
    r = send_one(2);
    assert_sent(r);
    ck_assert(r->reused_session);
    ck_assert_uint_eq(r->flights, 1);
    ck_assert_uint_eq(r->connect_us + r->auth_us + r->tls_us, 0);
    ck_assert_uint_eq(stats().opened, 1);
    ck_assert_uint_eq(stats().reused, 1);
    ck_assert_uint_eq(stats().mails, 2);
    ck_assert_int_eq(peer_connections(peer), 1);
}
END_TEST

START_TEST(large_body)
{
    start(&(struct peer_rule){0}, 1);
    submit_sized(20000, 6u << 20);
    assert_sent(report(1));
}
END_TEST

START_TEST(never_more_sessions_than_allowed)
{
    config.max_sessions = 2;
    start(&(struct peer_rule){0}, 1);
    for (int i = 0; i < 20; i++)
        submit(10000);
    for (size_t i = 1; i <= 20; i++)
        assert_sent(report(i));
    ck_assert_int_le(peer_most(peer), 2);
    ck_assert_int_eq(peer_mails(peer), 20);
}
END_TEST

START_TEST(sessions_end_after_their_mails)
{
    config.mails_per_session = 2;
    config.max_sessions = 1;
    start(&(struct peer_rule){0}, 1);
    for (size_t i = 1; i <= 4; i++)
        assert_sent(send_one(i));
    peer_wait_closed(peer, 2);
    ck_assert_int_eq(peer_quits(peer), 2);
    ck_assert_uint_eq(stats().stale, 0);
}
END_TEST

/* Many providers say goodbye after so many mails. The verdict and the 421 come together, while others wait for the
 * session. */
START_TEST(goodbye_with_the_verdict)
{
    config.max_sessions = 1;
    start(&(struct peer_rule){.close_after = 2, .goodbye = true}, 1);
    for (int i = 0; i < 7; i++)
        submit(10000);
    for (size_t i = 1; i <= 7; i++)
        assert_sent(report(i));
    ck_assert_int_eq(peer_mails(peer), 7);
    ck_assert_int_ge(peer_connections(peer), 4);
}
END_TEST

START_TEST(idle_sessions_end)
{
    config.idle_ms = 50;
    start(&(struct peer_rule){0}, 1);
    assert_sent(send_one(1));
    peer_wait_closed(peer, 1);
    ck_assert_int_eq(peer_quits(peer), 1);
}
END_TEST

START_TEST(drain_quits_and_still_serves)
{
    start(&(struct peer_rule){0}, 1);
    assert_sent(send_one(1));
    engine_drain(engine);
    engine_drain(engine);
    peer_wait_closed(peer, 1);
    assert_sent(send_one(2));
    peer_wait_closed(peer, 2);
    ck_assert_int_eq(peer_quits(peer), 2);
}
END_TEST

/* ---- TLS ---- */

START_TEST(starttls_with_auth)
{
    const struct delivery_report *r;

    use_tls(SMTP_TLS_STARTTLS);
    config.user = "ann";
    config.password = "secret";
    start(&(struct peer_rule){.starttls = true, .auth = true}, 1);
    r = send_one(1);
    assert_sent(r);
    ck_assert(r->has_tls && r->tls_verified);
    ck_assert_str_eq(r->tls_version, "TLSv1.3");
    ck_assert_uint_gt(r->tls_us, 0);
    submit_sized(20000, 3u << 20);
    assert_sent(report(2));
    ck_assert(report(2)->reused_session);
}
END_TEST

START_TEST(implicit_tls)
{
    use_tls(SMTP_TLS_IMPLICIT);
    start(&(struct peer_rule){.implicit_tls = true}, 1);
    assert_sent(send_one(1));
    assert_sent(send_one(2));
    ck_assert(report(2)->reused_session && report(2)->has_tls);
}
END_TEST

START_TEST(untrusted_certificate)
{
    struct cert_set other;

    use_tls(SMTP_TLS_STARTTLS);
    ck_assert_int_eq(cert_set_make(&other), 0);
    config.ca_pem = other.ca_pem;
    start(&(struct peer_rule){.starttls = true}, 1);
    assert_failed(send_one(1), OUTCOME_TLS_CERT_UNTRUSTED, STAGE_TLS);
    ck_assert_int_eq(report(1)->outcome.delivery, DELIVERY_NOT_SENT);
    engine_free(engine);
    engine = NULL;
    cert_set_deinit(&other);
}
END_TEST

START_TEST(tls_on_a_plaintext_port)
{
    use_tls(SMTP_TLS_IMPLICIT);
    start(&(struct peer_rule){0}, 1);
    assert_failed(send_one(1), OUTCOME_TLS_ON_PLAINTEXT_PORT, STAGE_TLS);
}
END_TEST

START_TEST(tls_handshake_that_hangs)
{
    use_tls(SMTP_TLS_IMPLICIT);
    config.timeouts.tls = 100;
    start(&(struct peer_rule){.mute = true}, 1);
    assert_failed(send_one(1), OUTCOME_TIMEOUT, STAGE_TLS);
}
END_TEST

START_TEST(injection_behind_starttls)
{
    use_tls(SMTP_TLS_STARTTLS);
    start(&(struct peer_rule){.starttls = true, .starttls_reply = "220 go\r\n250 forged\r\n"}, 1);
    assert_failed(send_one(1), OUTCOME_STARTTLS_INJECTION, STAGE_STARTTLS);
}
END_TEST

START_TEST(plaintext_on_a_tls_port)
{
    use_tls(SMTP_TLS_STARTTLS);
    config.timeouts.banner = 20000;
    start(&(struct peer_rule){.tls_alert_only = true}, 1);
    config.timeouts.banner = 20000;
    assert_failed(send_one(1), OUTCOME_PLAINTEXT_ON_TLS_PORT, STAGE_BANNER);
    ck_assert_uint_lt(report(1)->total_us, 4000000);
    assert_failed(send_one(2), OUTCOME_PLAINTEXT_ON_TLS_PORT, STAGE_BANNER);
}
END_TEST

START_TEST(closed_before_the_banner_is_probed_too)
{
    static const struct peer_rule rules[] = {{.banner = ""}, {.tls_alert_only = true}};

    use_tls(SMTP_TLS_STARTTLS);
    start(rules, 2);
    assert_failed(send_one(1), OUTCOME_PLAINTEXT_ON_TLS_PORT, STAGE_BANNER);
}
END_TEST

START_TEST(closed_before_the_banner)
{
    use_tls(SMTP_TLS_STARTTLS);
    start(&(struct peer_rule){.banner = ""}, 1);
    assert_failed(send_one(1), OUTCOME_CONNECTION_CLOSED, STAGE_BANNER);
}
END_TEST

START_TEST(silence_is_a_timeout)
{
    use_tls(SMTP_TLS_STARTTLS);
    config.timeouts.banner = 200;
    start(&(struct peer_rule){.mute = true}, 1);
    assert_failed(send_one(1), OUTCOME_TIMEOUT, STAGE_BANNER);
}
END_TEST

/* ---- sessions that die ---- */

START_TEST(stale_session_is_replaced)
{
    static const struct peer_rule rules[] = {{.close_after = 1}, {0}};

    start(rules, 2);
    assert_sent(send_one(1));
    peer_wait_closed(peer, 1);
    assert_sent(send_one(2));
    ck_assert(!report(2)->reused_session);
    ck_assert_uint_eq(report(2)->n_attempts, 1);
    ck_assert_uint_eq(stats().stale, 1);
}
END_TEST

static void assert_second_attempt(const struct peer_rule *first, enum outcome_code code)
{
    struct peer_rule rules[] = {*first, {0}};
    const struct delivery_report *r;

    config.one_flight_max = 0;          /* a body on its way would make it unknown */
    start(rules, 2);
    assert_sent(send_one(1));
    r = send_one(2);
    assert_sent(r);
    ck_assert_uint_eq(r->n_attempts, 2);
    ck_assert_int_eq(r->attempts[0].code, code);
    ck_assert_int_eq(r->attempts[0].stage, STAGE_MAIL);
    ck_assert(r->attempts[0].reused_session && !r->attempts[1].reused_session && !r->reused_session);
    ck_assert_int_eq(r->attempts[1].code, OUTCOME_SENT);
}

START_TEST(closed_at_mail_on_a_reused_session)
{
    assert_second_attempt(&(struct peer_rule){.at_mail = 2}, OUTCOME_CONNECTION_CLOSED);
}
END_TEST

START_TEST(service_closing_at_mail_on_a_reused_session)
{
    assert_second_attempt(&(struct peer_rule){.at_mail = 2, .mail_reply = "421 4.4.2 idle for too long\r\n"},
                          OUTCOME_SERVICE_CLOSING);
}
END_TEST

START_TEST(only_one_more_attempt)
{
    static const struct peer_rule rules[] = {{.at_mail = 2}, {.at_mail = 1}};

    config.one_flight_max = 0;
    start(rules, 2);
    assert_sent(send_one(1));
    assert_failed(send_one(2), OUTCOME_CONNECTION_CLOSED, STAGE_MAIL);
    ck_assert_uint_eq(report(2)->n_attempts, 2);
}
END_TEST

START_TEST(no_other_attempt_on_a_new_session)
{
    start(&(struct peer_rule){.at_mail = 1, .mail_reply = "421 4.4.2 closing\r\n"}, 1);
    assert_failed(send_one(1), OUTCOME_SERVICE_CLOSING, STAGE_MAIL);
    ck_assert_uint_eq(report(1)->n_attempts, 1);
}
END_TEST

START_TEST(no_other_attempt_after_a_refusal)
{
    config.one_flight_max = 0;
    start(&(struct peer_rule){.at_mail = 2, .mail_reply = "550 5.1.8 no\r\n"}, 1);
    assert_sent(send_one(1));
    assert_failed(send_one(2), OUTCOME_SENDER_REJECTED, STAGE_MAIL);
    ck_assert_uint_eq(report(2)->n_attempts, 1);
    ck_assert_int_eq(report(2)->outcome.delivery, DELIVERY_REJECTED);
    assert_sent(send_one(3));           /* the session is still good */
    ck_assert(report(3)->reused_session);
}
END_TEST

START_TEST(refusal_in_the_middle_of_a_body)
{
    start(&(struct peer_rule){.early_body_reply = "552 5.3.4 too big\r\n"}, 1);
    submit_sized(10000, 6u << 20);
    ck_assert_str_eq(outcome_code_name(report(1)->outcome.code), "message_too_large");
    ck_assert_int_eq(report(1)->outcome.reply_code, 552);
}
END_TEST

/* ---- deadlines ---- */

START_TEST(deadline_before_the_banner)
{
    start(&(struct peer_rule){.mute = true}, 1);
    submit(100);
    assert_failed(report(1), OUTCOME_DEADLINE_EXCEEDED, STAGE_BANNER);
    ck_assert_int_eq(report(1)->outcome.delivery, DELIVERY_NOT_SENT);
    ck_assert_uint_lt(report(1)->total_us, 500000);
}
END_TEST

START_TEST(deadline_in_the_queue)
{
    config.max_sessions = 1;
    start(&(struct peer_rule){.hold_at = 1}, 1);
    submit(10000);
    peer_wait_held(peer);
    submit(50);
    assert_failed(report(1), OUTCOME_DEADLINE_EXCEEDED, STAGE_QUEUE);
    ck_assert_uint_eq(report(1)->n_attempts, 0);
    peer_release(peer);
    assert_sent(report(2));
}
END_TEST

/* A mail of n octets to a peer that reads nothing before the deadline. True: the answer was "unknown". */
static bool try_size(size_t n, int *mails_out)
{
    bool gone;

    start(&(struct peer_rule){.implicit_tls = true, .pause_before_body = true}, 1);
    submit_sized(250, n);
    gone = report(1)->outcome.delivery == DELIVERY_UNKNOWN;
    if (!gone) {
        ck_assert_str_eq(outcome_code_name(report(1)->outcome.code), "deadline_exceeded");
        ck_assert_int_eq(report(1)->outcome.delivery, DELIVERY_NOT_SENT);
    }
    peer_wait_held(peer);
    peer_release(peer);
    peer_wait_closed(peer, gone ? 0 : 1);
    *mails_out = peer_mails(peer);
    engine_free(engine);
    engine = NULL;
    peer_stop(peer);
    peer = NULL;
    drop_reports();
    return gone;
}

/* How much the kernel takes of a body that nobody reads is searched for: at that border the end of the mail is
 * encrypted and still with us when the deadline passes. It must stay with us, as the answer says not_sent. */
START_TEST(not_sent_is_not_sent)
{
    size_t low = 100000, high = 12000000;
    int mails;

    use_tls(SMTP_TLS_IMPLICIT);
    while (high - low > 16384) {
        size_t middle = (low + high) / 2;
        if (try_size(middle, &mails)) {
            low = middle;
            continue;
        }
        ck_assert_msg(mails == 0, "%zu octets: not_sent, and the peer took the mail", middle);
        high = middle;
    }
}
END_TEST

START_TEST(unknown_then_the_late_truth)
{
    start(&(struct peer_rule){.hold_at = 1}, 1);
    submit(200);
    assert_failed(report(1), OUTCOME_OUTCOME_UNKNOWN, STAGE_BODY);
    ck_assert_int_eq(report(1)->outcome.delivery, DELIVERY_UNKNOWN);
    ck_assert_ptr_eq(report(1)->owner, &owner);
    peer_release(peer);
    assert_sent(report(2));
    ck_assert(report(2)->late);
    ck_assert_ptr_null(report(2)->owner);
    assert_sent(send_one(3));
    ck_assert(report(3)->reused_session);
}
END_TEST

START_TEST(unknown_for_good)
{
    static const struct peer_rule rules[] = {{.hold_at = 1, .close_instead = true}, {0}};

    start(rules, 2);
    submit(200);
    assert_failed(report(1), OUTCOME_OUTCOME_UNKNOWN, STAGE_BODY);
    peer_release(peer);
    peer_wait_closed(peer, 1);
    assert_sent(send_one(2));           /* and no late report before it */
    ck_assert(!report(2)->late);
}
END_TEST

/* ---- relays that cannot be reached ---- */

START_TEST(refused_by_all_that_waited)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);    /* not listening */
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    config.port = ntohs(a.sin_port);
    start(NULL, 0);
    for (int i = 0; i < 12; i++)
        submit(10000);
    for (size_t i = 1; i <= 12; i++) {
        assert_failed(report(i), OUTCOME_CONNECT_REFUSED, STAGE_CONNECT);
        ck_assert_uint_eq(report(i)->n_attempts, 1);
    }
    ck_assert(!stats().circuit_open);
    close(fd);
}
END_TEST

START_TEST(refused_password_opens_the_circuit)
{
    const struct delivery_report *r;

    use_tls(SMTP_TLS_STARTTLS);
    config.user = "ann";
    config.password = "wrong";
    start(&(struct peer_rule){.starttls = true, .auth = true, .auth_reply = "535 5.7.8 no\r\n"}, 1);
    assert_failed(send_one(1), OUTCOME_AUTH_FAILED, STAGE_AUTH);
    r = send_one(2);
    assert_failed(r, OUTCOME_RELAY_UNAVAILABLE, STAGE_QUEUE);
    ck_assert_int_eq(r->cause.code, OUTCOME_AUTH_FAILED);
    ck_assert_uint_ge(r->retry_after_s, 59);
    ck_assert_uint_le(r->retry_after_s, 60);
    ck_assert(stats().circuit_open);
    ck_assert_int_eq(peer_connections(peer), 1);
}
END_TEST

START_TEST(busy_with_others_alive_lowers_the_limit)
{
    static const struct peer_rule rules[] = {{0}, {.banner = "421 4.7.0 too many connections\r\n"}};

    config.max_sessions = 4;
    start(rules, 2);
    for (int i = 0; i < 20; i++)
        submit(10000);
    for (size_t i = 1; i <= 20; i++)
        assert_sent(report(i));
    ck_assert_int_eq(peer_mails(peer), 20);
}
END_TEST

START_TEST(busy_and_none_alive)
{
    start(&(struct peer_rule){.banner = "421 4.7.0 too many connections\r\n"}, 1);
    assert_failed(send_one(1), OUTCOME_RELAY_BUSY, STAGE_BANNER);
}
END_TEST

/* ---- the end ---- */

START_TEST(free_with_things_in_flight)
{
    config.max_sessions = 1;
    start(&(struct peer_rule){.hold_at = 1}, 1);
    submit(10000);
    peer_wait_held(peer);
    submit(10000);
    submit(10000);
    engine_free(engine);
    engine = NULL;
    for (size_t i = 1; i <= 3; i++)
        if (report(i)->outcome.code == OUTCOME_SHUTTING_DOWN)
            ck_assert_int_eq(report(i)->outcome.delivery, DELIVERY_NOT_SENT);
        else
            assert_failed(report(i), OUTCOME_OUTCOME_UNKNOWN, STAGE_BODY);
}
END_TEST

START_TEST(free_while_connecting)
{
    start(&(struct peer_rule){.mute = true}, 1);
    for (int i = 0; i < 5; i++)
        submit(10000);
    engine_free(engine);
    engine = NULL;
    for (size_t i = 1; i <= 5; i++)
        ck_assert_int_eq(report(i)->outcome.code, OUTCOME_SHUTTING_DOWN);
}
END_TEST

START_TEST(free_unused)
{
    start(&(struct peer_rule){0}, 1);
    delivery_free(delivery_new(3));
    delivery_free(NULL);
}
END_TEST

START_TEST(broken_ca_is_refused_at_start)
{
    struct engine_params p = {.relays = &config, .n_relays = 1, .loops = 2};
    char err[200] = "";

    config.tls_mode = SMTP_TLS_STARTTLS;
    config.ca_file = "/nonexistent/ca.pem";
    ck_assert_ptr_null(engine_new(&p, err));
    ck_assert(err[0] != '\0');
}
END_TEST

static TCase *wire(void)
{
    TCase *t = tcase_create("wire");

    tcase_add_test(t, happy);
    tcase_add_test(t, reuses_a_session_in_one_flight);
    tcase_add_test(t, large_body);
    tcase_add_test(t, never_more_sessions_than_allowed);
    tcase_add_test(t, sessions_end_after_their_mails);
    tcase_add_test(t, goodbye_with_the_verdict);
    tcase_add_test(t, idle_sessions_end);
    tcase_add_test(t, drain_quits_and_still_serves);
    tcase_add_test(t, stale_session_is_replaced);
    tcase_add_test(t, closed_at_mail_on_a_reused_session);
    tcase_add_test(t, service_closing_at_mail_on_a_reused_session);
    tcase_add_test(t, only_one_more_attempt);
    tcase_add_test(t, no_other_attempt_on_a_new_session);
    tcase_add_test(t, no_other_attempt_after_a_refusal);
    tcase_add_test(t, refusal_in_the_middle_of_a_body);
    return t;
}

static TCase *tls(void)
{
    TCase *t = tcase_create("tls");

    tcase_add_test(t, starttls_with_auth);
    tcase_add_test(t, implicit_tls);
    tcase_add_test(t, untrusted_certificate);
    tcase_add_test(t, tls_on_a_plaintext_port);
    tcase_add_test(t, tls_handshake_that_hangs);
    tcase_add_test(t, injection_behind_starttls);
    tcase_add_test(t, plaintext_on_a_tls_port);
    tcase_add_test(t, closed_before_the_banner_is_probed_too);
    tcase_add_test(t, closed_before_the_banner);
    tcase_add_test(t, silence_is_a_timeout);
    return t;
}

static TCase *life(void)
{
    TCase *t = tcase_create("life");

    tcase_add_test(t, deadline_before_the_banner);
    tcase_add_test(t, deadline_in_the_queue);
    tcase_add_test(t, not_sent_is_not_sent);
    tcase_add_test(t, unknown_then_the_late_truth);
    tcase_add_test(t, unknown_for_good);
    tcase_add_test(t, refused_by_all_that_waited);
    tcase_add_test(t, refused_password_opens_the_circuit);
    tcase_add_test(t, busy_with_others_alive_lowers_the_limit);
    tcase_add_test(t, busy_and_none_alive);
    tcase_add_test(t, free_with_things_in_flight);
    tcase_add_test(t, free_while_connecting);
    tcase_add_test(t, free_unused);
    tcase_add_test(t, broken_ca_is_refused_at_start);
    return t;
}

int main(void)
{
    Suite *s = suite_create("engine");
    TCase *cases[] = {wire(), tls(), life()};
    SRunner *r = srunner_create(s);
    int failed;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        tcase_add_checked_fixture(cases[i], setup, teardown);
        tcase_set_timeout(cases[i], 60);
        suite_add_tcase(s, cases[i]);
    }
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
