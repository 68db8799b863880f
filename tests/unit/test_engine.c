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

    ec_start(&(struct peer_rule){0}, 1);
    r = ec_send_one(1);
    ec_assert_sent(r);
    ck_assert_ptr_eq(r->owner, &ec_owner);
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

    ec_start(&(struct peer_rule){0}, 1);
    ec_assert_sent(ec_send_one(1));
    r = ec_send_one(2);
    ec_assert_sent(r);
    ck_assert(r->reused_session);
    ck_assert_uint_eq(r->flights, 1);
    ck_assert_uint_eq(r->connect_us + r->auth_us + r->tls_us, 0);
    ck_assert_uint_eq(ec_stats().opened, 1);
    ck_assert_uint_eq(ec_stats().reused, 1);
    ck_assert_uint_eq(ec_stats().mails, 2);
    ck_assert_int_eq(peer_connections(ec_peer), 1);
}
END_TEST

START_TEST(large_body)
{
    ec_start(&(struct peer_rule){0}, 1);
    ec_submit_sized(20000, 6u << 20);
    ec_assert_sent(ec_report(1));
}
END_TEST

START_TEST(never_more_sessions_than_allowed)
{
    ec_config.max_sessions = 2;
    ec_start(&(struct peer_rule){0}, 1);
    for (int i = 0; i < 20; i++)
        ec_submit(10000);
    for (size_t i = 1; i <= 20; i++)
        ec_assert_sent(ec_report(i));
    ck_assert_int_le(peer_most(ec_peer), 2);
    ck_assert_int_eq(peer_mails(ec_peer), 20);
}
END_TEST

START_TEST(sessions_end_after_their_mails)
{
    ec_config.mails_per_session = 2;
    ec_config.max_sessions = 1;
    ec_start(&(struct peer_rule){0}, 1);
    for (size_t i = 1; i <= 4; i++)
        ec_assert_sent(ec_send_one(i));
    peer_wait_closed(ec_peer, 2);
    ck_assert_int_eq(peer_quits(ec_peer), 2);
    ck_assert_uint_eq(ec_stats().stale, 0);
}
END_TEST

/* Many providers say goodbye after so many mails. The verdict and the 421 come together, while others wait for the
 * session. */
START_TEST(goodbye_with_the_verdict)
{
    ec_config.max_sessions = 1;
    ec_start(&(struct peer_rule){.close_after = 2, .goodbye = true}, 1);
    for (int i = 0; i < 7; i++)
        ec_submit(10000);
    for (size_t i = 1; i <= 7; i++)
        ec_assert_sent(ec_report(i));
    ck_assert_int_eq(peer_mails(ec_peer), 7);
    ck_assert_int_ge(peer_connections(ec_peer), 4);
}
END_TEST

START_TEST(idle_sessions_end)
{
    ec_config.idle_ms = 50;
    ec_start(&(struct peer_rule){0}, 1);
    ec_assert_sent(ec_send_one(1));
    peer_wait_closed(ec_peer, 1);
    ck_assert_int_eq(peer_quits(ec_peer), 1);
}
END_TEST

START_TEST(drain_quits_and_still_serves)
{
    ec_start(&(struct peer_rule){0}, 1);
    ec_assert_sent(ec_send_one(1));
    engine_drain(ec_engine);
    engine_drain(ec_engine);
    peer_wait_closed(ec_peer, 1);
    ec_assert_sent(ec_send_one(2));
    peer_wait_closed(ec_peer, 2);
    ck_assert_int_eq(peer_quits(ec_peer), 2);
}
END_TEST

/* ---- TLS ---- */

START_TEST(starttls_with_auth)
{
    const struct delivery_report *r;

    ec_use_tls(SMTP_TLS_STARTTLS);
    ec_config.user = "ann";
    ec_config.password = "secret";
    ec_start(&(struct peer_rule){.starttls = true, .auth = true}, 1);
    r = ec_send_one(1);
    ec_assert_sent(r);
    ck_assert(r->has_tls && r->tls_verified);
    ck_assert_str_eq(r->tls_version, "TLSv1.3");
    ck_assert_uint_gt(r->tls_us, 0);
    ec_submit_sized(20000, 3u << 20);
    ec_assert_sent(ec_report(2));
    ck_assert(ec_report(2)->reused_session);
}
END_TEST

static struct bytes_buf traced;

static void note_trace(void *ctx, size_t relay, unsigned session, bool from_client, const char *line)
{
    (void)ctx;
    ck_assert_uint_eq(relay, 0);
    ck_assert_uint_eq(session, 1);
    bytes_buf_printf(&traced, "%s%s\n", line[0] == '*' ? "" : from_client ? "C: " : "S: ", line);
}

/* The whole conversation, and neither the password nor the mail's text. */
START_TEST(a_trace)
{
    bytes_buf_init(&traced, 0);
    ec_on_trace = note_trace;
    ec_use_tls(SMTP_TLS_STARTTLS);
    ec_config.trace = true;
    ec_config.user = "ann";
    ec_config.password = "hunter2hunter2";
    ec_start(&(struct peer_rule){.starttls = true, .auth = true}, 1);
    ec_assert_sent(ec_send_one(1));
    ec_assert_sent(ec_send_one(2));
    engine_free(ec_engine);             /* its thread writes the trace */
    ec_engine = NULL;
    ck_assert_ptr_nonnull(strstr(traced.p, "* connected to 127.0.0.1 port "));
    ck_assert_ptr_nonnull(strstr(traced.p, "C: STARTTLS\nS: 220 "));
    ck_assert_ptr_nonnull(strstr(traced.p, "* TLSv1.3, "));
    ck_assert_ptr_nonnull(strstr(traced.p, "C: AUTH PLAIN ***\nS: 235"));
    ck_assert_ptr_nonnull(strstr(traced.p, "C: MAIL FROM:<ann@example.com>\n"));
    ck_assert_ptr_nonnull(strstr(traced.p, "C: BDAT 1000 LAST\n"));
    ck_assert_ptr_null(strstr(traced.p, "hunter2"));
    ck_assert_ptr_null(strstr(traced.p, "AGFubgBodW50ZXIy"));
    ck_assert_ptr_null(strstr(traced.p, "Subject"));
    ck_assert_ptr_null(strstr(traced.p, "xxxx"));
    bytes_buf_deinit(&traced);
    ec_on_trace = NULL;
}
END_TEST

START_TEST(no_trace_unless_asked)
{
    bytes_buf_init(&traced, 0);
    ec_on_trace = note_trace;
    ec_start(&(struct peer_rule){0}, 1);
    ec_assert_sent(ec_send_one(1));
    ck_assert_ptr_null(traced.p);
    ec_on_trace = NULL;
}
END_TEST

START_TEST(implicit_tls)
{
    ec_use_tls(SMTP_TLS_IMPLICIT);
    ec_start(&(struct peer_rule){.implicit_tls = true}, 1);
    ec_assert_sent(ec_send_one(1));
    ec_assert_sent(ec_send_one(2));
    ck_assert(ec_report(2)->reused_session && ec_report(2)->has_tls);
}
END_TEST

START_TEST(untrusted_certificate)
{
    struct cert_set other;

    ec_use_tls(SMTP_TLS_STARTTLS);
    ck_assert_int_eq(cert_set_make(&other), 0);
    ec_config.ca_pem = other.ca_pem;
    ec_start(&(struct peer_rule){.starttls = true}, 1);
    ec_assert_failed(ec_send_one(1), OUTCOME_TLS_CERT_UNTRUSTED, STAGE_TLS);
    ck_assert_int_eq(ec_report(1)->outcome.delivery, DELIVERY_NOT_SENT);
    engine_free(ec_engine);
    ec_engine = NULL;
    cert_set_deinit(&other);
}
END_TEST

START_TEST(tls_on_a_plaintext_port)
{
    ec_use_tls(SMTP_TLS_IMPLICIT);
    ec_start(&(struct peer_rule){0}, 1);
    ec_assert_failed(ec_send_one(1), OUTCOME_TLS_ON_PLAINTEXT_PORT, STAGE_TLS);
}
END_TEST

START_TEST(tls_handshake_that_hangs)
{
    ec_use_tls(SMTP_TLS_IMPLICIT);
    ec_config.timeouts.tls = 100;
    ec_start(&(struct peer_rule){.mute = true}, 1);
    ec_assert_failed(ec_send_one(1), OUTCOME_TIMEOUT, STAGE_TLS);
}
END_TEST

START_TEST(injection_behind_starttls)
{
    ec_use_tls(SMTP_TLS_STARTTLS);
    ec_start(&(struct peer_rule){.starttls = true, .starttls_reply = "220 go\r\n250 forged\r\n"}, 1);
    ec_assert_failed(ec_send_one(1), OUTCOME_STARTTLS_INJECTION, STAGE_STARTTLS);
}
END_TEST

START_TEST(plaintext_on_a_tls_port)
{
    ec_use_tls(SMTP_TLS_STARTTLS);
    ec_config.timeouts.banner = 20000;
    ec_start(&(struct peer_rule){.tls_alert_only = true}, 1);
    ec_config.timeouts.banner = 20000;
    ec_assert_failed(ec_send_one(1), OUTCOME_PLAINTEXT_ON_TLS_PORT, STAGE_BANNER);
    ck_assert_uint_lt(ec_report(1)->total_us, 4000000);
    ec_assert_failed(ec_send_one(2), OUTCOME_PLAINTEXT_ON_TLS_PORT, STAGE_BANNER);
}
END_TEST

START_TEST(closed_before_the_banner_is_probed_too)
{
    static const struct peer_rule rules[] = {{.banner = ""}, {.tls_alert_only = true}};

    ec_use_tls(SMTP_TLS_STARTTLS);
    ec_start(rules, 2);
    ec_assert_failed(ec_send_one(1), OUTCOME_PLAINTEXT_ON_TLS_PORT, STAGE_BANNER);
}
END_TEST

START_TEST(closed_before_the_banner)
{
    ec_use_tls(SMTP_TLS_STARTTLS);
    ec_start(&(struct peer_rule){.banner = ""}, 1);
    ec_assert_failed(ec_send_one(1), OUTCOME_CONNECTION_CLOSED, STAGE_BANNER);
}
END_TEST

START_TEST(silence_is_a_timeout)
{
    ec_use_tls(SMTP_TLS_STARTTLS);
    ec_config.timeouts.banner = 200;
    ec_start(&(struct peer_rule){.mute = true}, 1);
    ec_assert_failed(ec_send_one(1), OUTCOME_TIMEOUT, STAGE_BANNER);
}
END_TEST

/* ---- sessions that die ---- */

START_TEST(stale_session_is_replaced)
{
    static const struct peer_rule rules[] = {{.close_after = 1}, {0}};

    ec_start(rules, 2);
    ec_assert_sent(ec_send_one(1));
    peer_wait_closed(ec_peer, 1);
    ec_assert_sent(ec_send_one(2));
    ck_assert(!ec_report(2)->reused_session);
    ck_assert_uint_eq(ec_report(2)->n_attempts, 1);
    ck_assert_uint_eq(ec_stats().stale, 1);
}
END_TEST

static void assert_second_attempt(const struct peer_rule *first, enum outcome_code code)
{
    struct peer_rule rules[] = {*first, {0}};
    const struct delivery_report *r;

    ec_config.one_flight_max = 0;          /* a body on its way would make it unknown */
    ec_start(rules, 2);
    ec_assert_sent(ec_send_one(1));
    r = ec_send_one(2);
    ec_assert_sent(r);
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

    ec_config.one_flight_max = 0;
    ec_start(rules, 2);
    ec_assert_sent(ec_send_one(1));
    ec_assert_failed(ec_send_one(2), OUTCOME_CONNECTION_CLOSED, STAGE_MAIL);
    ck_assert_uint_eq(ec_report(2)->n_attempts, 2);
}
END_TEST

START_TEST(no_other_attempt_on_a_new_session)
{
    ec_start(&(struct peer_rule){.at_mail = 1, .mail_reply = "421 4.4.2 closing\r\n"}, 1);
    ec_assert_failed(ec_send_one(1), OUTCOME_SERVICE_CLOSING, STAGE_MAIL);
    ck_assert_uint_eq(ec_report(1)->n_attempts, 1);
}
END_TEST

START_TEST(no_other_attempt_after_a_refusal)
{
    ec_config.one_flight_max = 0;
    ec_start(&(struct peer_rule){.at_mail = 2, .mail_reply = "550 5.1.8 no\r\n"}, 1);
    ec_assert_sent(ec_send_one(1));
    ec_assert_failed(ec_send_one(2), OUTCOME_SENDER_REJECTED, STAGE_MAIL);
    ck_assert_uint_eq(ec_report(2)->n_attempts, 1);
    ck_assert_int_eq(ec_report(2)->outcome.delivery, DELIVERY_REJECTED);
    ec_assert_sent(ec_send_one(3));           /* the session is still good */
    ck_assert(ec_report(3)->reused_session);
}
END_TEST

START_TEST(refusal_in_the_middle_of_a_body)
{
    ec_start(&(struct peer_rule){.early_body_reply = "552 5.3.4 too big\r\n"}, 1);
    ec_submit_sized(10000, 6u << 20);
    ck_assert_str_eq(outcome_code_name(ec_report(1)->outcome.code), "message_too_large");
    ck_assert_int_eq(ec_report(1)->outcome.reply_code, 552);
}
END_TEST

/* ---- deadlines ---- */

START_TEST(deadline_before_the_banner)
{
    ec_start(&(struct peer_rule){.mute = true}, 1);
    ec_submit(100);
    ec_assert_failed(ec_report(1), OUTCOME_DEADLINE_EXCEEDED, STAGE_BANNER);
    ck_assert_int_eq(ec_report(1)->outcome.delivery, DELIVERY_NOT_SENT);
    ck_assert_uint_lt(ec_report(1)->total_us, 500000);
}
END_TEST

START_TEST(deadline_in_the_queue)
{
    ec_config.max_sessions = 1;
    ec_start(&(struct peer_rule){.hold_at = 1}, 1);
    ec_submit(10000);
    peer_wait_held(ec_peer);
    ec_submit(50);
    ec_assert_failed(ec_report(1), OUTCOME_DEADLINE_EXCEEDED, STAGE_QUEUE);
    ck_assert_uint_eq(ec_report(1)->n_attempts, 0);
    peer_release(ec_peer);
    ec_assert_sent(ec_report(2));
}
END_TEST

/* A mail of n octets to a peer that reads nothing of it before the deadline. True: the answer was "unknown". On a busy
 * machine the deadline may pass before the body is begun: then *begun_out is false, and nothing was found out. */
static bool try_size(size_t n, int *mails_out, bool *begun_out)
{
    bool gone;

    ec_start(&(struct peer_rule){.implicit_tls = true, .pause_before_body = true}, 1);
    ec_submit_sized(250, n);
    gone = ec_report(1)->outcome.delivery == DELIVERY_UNKNOWN;
    if (!gone) {
        ck_assert_str_eq(outcome_code_name(ec_report(1)->outcome.code), "deadline_exceeded");
        ck_assert_int_eq(ec_report(1)->outcome.delivery, DELIVERY_NOT_SENT);
    }
    *begun_out = ec_report(1)->outcome.stage == STAGE_BODY;
    if (*begun_out) {
        peer_wait_held(ec_peer);
        peer_release(ec_peer);
        peer_wait_closed(ec_peer, gone ? 0 : 1);
    }
    *mails_out = peer_mails(ec_peer);
    engine_free(ec_engine);
    ec_engine = NULL;
    peer_stop(ec_peer);
    ec_peer = NULL;
    ec_drop_reports();
    return gone;
}

/* How much the kernel takes of a body that nobody reads is searched for: at that border the end of the mail is
 * encrypted and still with us when the deadline passes. It must stay with us, as the answer says not_sent. */
START_TEST(not_sent_is_not_sent)
{
    size_t low = 100000, high = 12000000;
    int mails;
    bool begun;

    ec_use_tls(SMTP_TLS_IMPLICIT);
    while (high - low > 16384) {
        size_t middle = (low + high) / 2;
        if (try_size(middle, &mails, &begun)) {
            low = middle;
            continue;
        }
        if (!begun)
            continue;
        ck_assert_msg(mails == 0, "%zu octets: not_sent, and the ec_peer took the mail", middle);
        high = middle;
    }
}
END_TEST

START_TEST(unknown_then_the_late_truth)
{
    ec_start(&(struct peer_rule){.hold_at = 1}, 1);
    ec_submit(200);
    ec_assert_failed(ec_report(1), OUTCOME_OUTCOME_UNKNOWN, STAGE_BODY);
    ck_assert_int_eq(ec_report(1)->outcome.delivery, DELIVERY_UNKNOWN);
    ck_assert_ptr_eq(ec_report(1)->owner, &ec_owner);
    peer_release(ec_peer);
    ec_assert_sent(ec_report(2));
    ck_assert(ec_report(2)->late);
    ck_assert_ptr_null(ec_report(2)->owner);
    ec_assert_sent(ec_send_one(3));
    ck_assert(ec_report(3)->reused_session);
}
END_TEST

START_TEST(unknown_for_good)
{
    static const struct peer_rule rules[] = {{.hold_at = 1, .close_instead = true}, {0}};

    ec_start(rules, 2);
    ec_submit(200);
    ec_assert_failed(ec_report(1), OUTCOME_OUTCOME_UNKNOWN, STAGE_BODY);
    peer_release(ec_peer);
    peer_wait_closed(ec_peer, 1);
    ec_assert_sent(ec_send_one(2));           /* and no late report before it */
    ck_assert(!ec_report(2)->late);
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
    ec_config.port = ntohs(a.sin_port);
    ec_start(NULL, 0);
    for (int i = 0; i < 12; i++)
        ec_submit(10000);
    for (size_t i = 1; i <= 12; i++) {
        ec_assert_failed(ec_report(i), OUTCOME_CONNECT_REFUSED, STAGE_CONNECT);
        ck_assert_uint_eq(ec_report(i)->n_attempts, 1);
    }
    ck_assert(!ec_stats().circuit_open);
    close(fd);
}
END_TEST

START_TEST(refused_password_opens_the_circuit)
{
    const struct delivery_report *r;

    ec_use_tls(SMTP_TLS_STARTTLS);
    ec_config.user = "ann";
    ec_config.password = "wrong";
    ec_start(&(struct peer_rule){.starttls = true, .auth = true, .auth_reply = "535 5.7.8 no\r\n"}, 1);
    ec_assert_failed(ec_send_one(1), OUTCOME_AUTH_FAILED, STAGE_AUTH);
    r = ec_send_one(2);
    ec_assert_failed(r, OUTCOME_RELAY_UNAVAILABLE, STAGE_QUEUE);
    ck_assert_int_eq(r->cause.code, OUTCOME_AUTH_FAILED);
    ck_assert_uint_ge(r->retry_after_s, 59);
    ck_assert_uint_le(r->retry_after_s, 60);
    ck_assert(ec_stats().circuit_open);
    ck_assert_int_eq(peer_connections(ec_peer), 1);
}
END_TEST

START_TEST(busy_with_others_alive_lowers_the_limit)
{
    static const struct peer_rule rules[] = {{0}, {.banner = "421 4.7.0 too many connections\r\n"}};

    ec_config.max_sessions = 4;
    ec_start(rules, 2);
    for (int i = 0; i < 20; i++)
        ec_submit(10000);
    for (size_t i = 1; i <= 20; i++)
        ec_assert_sent(ec_report(i));
    ck_assert_int_eq(peer_mails(ec_peer), 20);
}
END_TEST

START_TEST(busy_and_none_alive)
{
    ec_start(&(struct peer_rule){.banner = "421 4.7.0 too many connections\r\n"}, 1);
    ec_assert_failed(ec_send_one(1), OUTCOME_RELAY_BUSY, STAGE_BANNER);
}
END_TEST

/* ---- the end ---- */

START_TEST(free_with_things_in_flight)
{
    ec_config.max_sessions = 1;
    ec_start(&(struct peer_rule){.hold_at = 1}, 1);
    ec_submit(10000);
    peer_wait_held(ec_peer);
    ec_submit(10000);
    ec_submit(10000);
    engine_free(ec_engine);
    ec_engine = NULL;
    for (size_t i = 1; i <= 3; i++)
        if (ec_report(i)->outcome.code == OUTCOME_SHUTTING_DOWN)
            ck_assert_int_eq(ec_report(i)->outcome.delivery, DELIVERY_NOT_SENT);
        else
            ec_assert_failed(ec_report(i), OUTCOME_OUTCOME_UNKNOWN, STAGE_BODY);
}
END_TEST

START_TEST(free_while_connecting)
{
    ec_start(&(struct peer_rule){.mute = true}, 1);
    for (int i = 0; i < 5; i++)
        ec_submit(10000);
    engine_free(ec_engine);
    ec_engine = NULL;
    for (size_t i = 1; i <= 5; i++)
        ck_assert_int_eq(ec_report(i)->outcome.code, OUTCOME_SHUTTING_DOWN);
}
END_TEST

START_TEST(free_unused)
{
    ec_start(&(struct peer_rule){0}, 1);
    delivery_free(delivery_new(3));
    delivery_free(NULL);
}
END_TEST

START_TEST(broken_ca_is_refused_at_start)
{
    struct engine_params p = {.relays = &ec_config, .n_relays = 1, .loops = 2};
    char err[200] = "";

    ec_config.tls_mode = SMTP_TLS_STARTTLS;
    ec_config.ca_file = "/nonexistent/ca.pem";
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
    tcase_add_test(t, a_trace);
    tcase_add_test(t, no_trace_unless_asked);
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
        tcase_add_checked_fixture(cases[i], ec_setup, ec_teardown);
        tcase_set_timeout(cases[i], 60);
        suite_add_tcase(s, cases[i]);
    }
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
