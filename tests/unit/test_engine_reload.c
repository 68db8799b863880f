#include "tests/unit/engine_case.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Relays that come, go and change while the engine runs. */

static struct peer *other;              /* where a changed relay is */

static void setup(void)
{
    ec_setup();
    other = NULL;
}

static void teardown(void)
{
    ec_teardown();
    if (other)
        peer_stop(other);
}

/* The relay of the first place becomes c; NULL: none. */
static int reload(const struct relay_config *c)
{
    char err[200];

    return engine_reload(ec_engine, &c, 1, err);
}

static struct relay_config elsewhere(const struct peer_rule *rule)
{
    struct relay_config c = ec_config;

    other = peer_start(rule, 1, NULL, NULL);
    c.port = peer_port(other);
    return c;
}

static struct delivery *to_place(size_t place)
{
    struct delivery *d = delivery_new(1);

    ck_assert_ptr_nonnull(d);
    d->relay = place;
    return d;
}

START_TEST(equal_settings_keep_their_sessions)
{
    ec_start(&(struct peer_rule){0}, 1);
    ec_assert_sent(ec_send_one(1));
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(reload(&ec_config), 0);
    ec_assert_sent(ec_send_one(2));
    ck_assert(ec_report(2)->reused_session);
    ck_assert_int_eq(peer_connections(ec_peer), 1);
}
END_TEST

START_TEST(changed_settings_get_new_sessions_and_keep_the_counters)
{
    struct relay_config c;

    ec_start(&(struct peer_rule){0}, 1);
    ec_assert_sent(ec_send_one(1));
    c = ec_config;
    c.max_sessions = 3;
    ck_assert_int_eq(reload(&c), 0);
    peer_wait_closed(ec_peer, 1);
    ck_assert_int_eq(peer_quits(ec_peer), 1);
    ec_assert_sent(ec_send_one(2));
    ck_assert(!ec_report(2)->reused_session);
    ck_assert_uint_eq(ec_stats().opened, 2);
    ck_assert_uint_eq(ec_stats().mails, 2);
    ck_assert_uint_eq(ec_stats().stale, 0);
}
END_TEST

START_TEST(settings_are_copied)
{
    char host[] = "127.0.0.1", name[] = "client.test";
    struct relay_config c;

    ec_start(&(struct peer_rule){0}, 1);
    c = ec_config;
    c.host = host;
    c.ehlo_name = name;
    c.max_sessions = 3;
    ck_assert_int_eq(reload(&c), 0);
    memset(host, 'x', 9);
    memset(name, ' ', 11);
    ec_assert_sent(ec_send_one(1));
}
END_TEST

START_TEST(a_running_mail_finishes_where_it_is)
{
    struct relay_config c;

    ec_start(&(struct peer_rule){.hold_at = 1}, 1);
    ec_submit(10000);
    peer_wait_held(ec_peer);
    c = elsewhere(&(struct peer_rule){0});
    ck_assert_int_eq(reload(&c), 0);
    ec_assert_sent(ec_send_one(1));
    ck_assert_int_eq(peer_mails(other), 1);
    ck_assert_uint_eq(ec_stats().busy, 1);
    peer_release(ec_peer);
    ec_assert_sent(ec_report(2));
    peer_wait_closed(ec_peer, 1);
    ck_assert_int_eq(peer_quits(ec_peer), 1);
    ck_assert_uint_eq(ec_stats().mails, 2);
}
END_TEST

START_TEST(waiting_mails_go_over)
{
    struct relay_config c;

    ec_config.max_sessions = 1;
    ec_start(&(struct peer_rule){.mute = true}, 1);
    for (int i = 0; i < 5; i++)
        ec_submit(20000);
    c = elsewhere(&(struct peer_rule){0});
    ck_assert_int_eq(reload(&c), 0);
    for (size_t i = 1; i <= 5; i++)
        ec_assert_sent(ec_report(i));
    ck_assert_int_eq(peer_mails(other), 5);
    ck_assert_uint_eq(ec_stats().waiting, 0);
}
END_TEST

START_TEST(the_second_attempt_of_a_stale_session_goes_over)
{
    struct relay_config c;

    ec_config.max_sessions = 1;
    ec_config.one_flight_max = 0;       /* so that the body is not gone when the session ends */
    ec_start(&(struct peer_rule){.at_mail = 2, .mail_hangs = true, .close_instead = true}, 1);
    ec_assert_sent(ec_send_one(1));
    ec_submit(20000);
    peer_wait_held(ec_peer);
    c = elsewhere(&(struct peer_rule){0});
    ck_assert_int_eq(reload(&c), 0);
    peer_release(ec_peer);
    ec_assert_sent(ec_report(2));
    ck_assert_int_eq(peer_mails(other), 1);
}
END_TEST

START_TEST(a_relay_that_is_gone_takes_no_mail_and_finishes_what_it_has)
{
    static const struct peer_rule rules[] = {{.hold_at = 1}, {.hold_at = 0}};
    struct delivery *late;

    ec_config.max_sessions = 1;
    ec_start(rules, 2);
    ec_submit(10000);
    ec_submit(10000);
    peer_wait_held(ec_peer);
    ck_assert_int_eq(reload(NULL), 0);
    late = to_place(0);
    ck_assert_int_eq(engine_submit(ec_engine, late), -1);
    delivery_free(late);
    peer_release(ec_peer);
    ec_assert_sent(ec_report(1));
    ec_assert_sent(ec_report(2));
    peer_wait_closed(ec_peer, 1);
    ck_assert_int_eq(reload(&ec_config), 0);
    ec_assert_sent(ec_send_one(3));
    ck_assert_uint_eq(ec_stats().mails, 3);
}
END_TEST

START_TEST(a_relay_is_added)
{
    const struct relay_config *both[2] = {&ec_config, NULL};
    struct engine_relay_stats stats;
    struct delivery *d = to_place(1);
    struct relay_config c;
    char err[200];

    ec_start(&(struct peer_rule){0}, 1);
    ec_assert_sent(ec_send_one(1));
    ck_assert_int_eq(engine_submit(ec_engine, d), -1);
    delivery_free(d);
    c = elsewhere(&(struct peer_rule){0});
    c.loops = 2;                        /* more than there are threads: both pools share one */
    c.min_idle = 2;
    both[1] = &c;
    ck_assert_int_eq(engine_reload(ec_engine, both, 2, err), 0);
    do
        engine_get_stats(ec_engine, 1, &stats);
    while (stats.idle < 2);
    ck_assert_uint_eq(ec_stats().idle, 1);
    both[1] = NULL;
    ck_assert_int_eq(engine_reload(ec_engine, both, 1, err), 0);        /* the second one is gone again */
    peer_wait_closed(other, 2);
    ck_assert_int_eq(peer_quits(other), 2);
    engine_get_stats(ec_engine, 1, &stats);
    ck_assert_uint_eq(stats.opened, 2);
    engine_get_stats(ec_engine, 77, &stats);
    ck_assert_uint_eq(stats.opened + stats.circuit_open, 0);
}
END_TEST

START_TEST(what_cannot_be_used_changes_nothing)
{
    const struct relay_config *both[2] = {&ec_config, NULL};
    struct relay_config changed, broken;
    char err[200] = "";

    ec_start(&(struct peer_rule){0}, 1);
    ec_assert_sent(ec_send_one(1));
    changed = broken = ec_config;
    changed.max_sessions = 2;
    broken.tls_mode = SMTP_TLS_STARTTLS;
    broken.ca_file = "/nonexistent/ca.pem";
    both[0] = &changed;
    both[1] = &broken;
    ck_assert_int_eq(engine_reload(ec_engine, both, 2, err), -1);
    ck_assert_ptr_nonnull(strstr(err, "/nonexistent/ca.pem"));
    ec_assert_sent(ec_send_one(2));
    ck_assert(ec_report(2)->reused_session);
    both[1] = NULL;
    ck_assert_int_eq(engine_reload(ec_engine, both, 2, err), 0);
    peer_wait_closed(ec_peer, 1);
}
END_TEST

START_TEST(under_load)
{
    struct relay_config c;
    size_t n = 0;

    ec_config.max_sessions = 3;
    ec_config.loops = 3;
    ec_start(&(struct peer_rule){0}, 1);
    for (int round = 0; round < 14; round++) {         /* the peer takes 64 connections */
        for (int i = 0; i < 20; i++)
            ec_submit(20000);
        c = ec_config;
        c.max_sessions = 2 + (unsigned)round % 3;
        c.loops = 1 + (unsigned)round % 4;
        ck_assert_int_eq(reload(&c), 0);
        for (size_t i = 1; i <= 20; i++)
            ec_assert_sent(ec_report(i));
        n += 20;
        ec_drop_reports();
    }
    ck_assert_int_eq(peer_mails(ec_peer), (int)n);
    ck_assert_uint_eq(ec_stats().mails, n);
}
END_TEST

START_TEST(no_wait_between_reloads)
{
    struct relay_config c;

    ec_start(&(struct peer_rule){0}, 1);
    for (int i = 0; i < 20; i++)
        ec_submit(20000);
    for (unsigned round = 0; round < 100; round++) {
        c = ec_config;
        c.max_sessions = 1 + round % 4;
        ck_assert_int_eq(reload(&c), 0);
    }
    for (size_t i = 1; i <= 20; i++)
        ec_assert_sent(ec_report(i));
    ck_assert_int_eq(peer_mails(ec_peer), 20);
}
END_TEST

START_TEST(after_a_drain_new_sessions_end_too)
{
    struct relay_config c;

    ec_start(&(struct peer_rule){0}, 1);
    engine_drain(ec_engine);
    c = ec_config;
    c.max_sessions = 2;
    c.min_idle = 2;
    ck_assert_int_eq(reload(&c), 0);
    ec_assert_sent(ec_send_one(1));
    peer_wait_closed(ec_peer, 1);
    ck_assert_int_eq(peer_quits(ec_peer), 1);
    ck_assert_int_eq(peer_connections(ec_peer), 1);
}
END_TEST

START_TEST(the_end_with_a_retired_pool_that_is_not_empty)
{
    struct relay_config c;

    ec_config.max_sessions = 1;
    ec_start(&(struct peer_rule){.mute = true}, 1);
    ec_submit(20000);
    ck_assert_int_eq(reload(NULL), 0);
    c = ec_config;
    c.max_sessions = 2;
    ck_assert_int_eq(reload(&c), 0);
    ck_assert_int_eq(reload(NULL), 0);
    engine_free(ec_engine);
    ec_engine = NULL;
    ck_assert_int_eq(ec_report(1)->outcome.delivery, DELIVERY_NOT_SENT);
}
END_TEST

START_TEST(copies_and_equality)
{
    static const size_t texts[] = {offsetof(struct relay_config, host), offsetof(struct relay_config, password),
                                   offsetof(struct relay_config, pins), offsetof(struct relay_config, files)};
    static const size_t numbers[] = {offsetof(struct relay_config, max_sessions), offsetof(struct relay_config, loops),
                                     offsetof(struct relay_config, idle_ms), offsetof(struct relay_config, timeouts)};
    struct relay_settings *s = relay_settings_new(&ec_config);
    struct relay_config c;

    ck_assert_ptr_nonnull(s);
    ck_assert_ptr_ne(s->c.host, ec_config.host);
    ck_assert_str_eq(s->c.host, ec_config.host);
    ck_assert(relay_settings_equal(&s->c, &ec_config));
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        c = ec_config;
        *(const char **)(void *)((char *)&c + texts[i]) = "another";
        ck_assert(!relay_settings_equal(&s->c, &c) && !relay_settings_equal(&c, &s->c));
    }
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        c = ec_config;
        ++*(unsigned *)(void *)((char *)&c + numbers[i]);
        ck_assert(!relay_settings_equal(&s->c, &c));
    }
    c = ec_config;
    c.host_is_rooted = true;
    ck_assert(!relay_settings_equal(&s->c, &c));
    relay_settings_unref(relay_settings_ref(s));
    relay_settings_unref(s);
    relay_settings_unref(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("engine_reload");
    TCase *t = tcase_create("reload");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, equal_settings_keep_their_sessions);
    tcase_add_test(t, changed_settings_get_new_sessions_and_keep_the_counters);
    tcase_add_test(t, settings_are_copied);
    tcase_add_test(t, a_running_mail_finishes_where_it_is);
    tcase_add_test(t, waiting_mails_go_over);
    tcase_add_test(t, the_second_attempt_of_a_stale_session_goes_over);
    tcase_add_test(t, a_relay_that_is_gone_takes_no_mail_and_finishes_what_it_has);
    tcase_add_test(t, a_relay_is_added);
    tcase_add_test(t, what_cannot_be_used_changes_nothing);
    tcase_add_test(t, under_load);
    tcase_add_test(t, no_wait_between_reloads);
    tcase_add_test(t, after_a_drain_new_sessions_end_too);
    tcase_add_test(t, the_end_with_a_retired_pool_that_is_not_empty);
    tcase_add_test(t, copies_and_equality);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
