#include "smtp/relay_memory.h"

#include <check.h>
#include <stdlib.h>

/* What is known of a relay beyond a pool's life, as a table of moments. */

static struct relay_memory *memory;
static struct relay_config config;
static uint64_t when;
static struct smtp_outcome why;

static void setup(void)
{
    relay_config_init(&config);
    config.host = "mail.example.com";
    config.user = "ann";
    config.password = "secret";
    memory = relay_memory_new();
    ck_assert_ptr_nonnull(memory);
}

static void teardown(void)
{
    relay_memory_unref(memory);
}

static enum relay_login begin(uint64_t now)
{
    return relay_memory_begin_login(memory, now, &when, &why);
}

static void refuse(uint64_t now)
{
    struct smtp_outcome o;

    outcome_set_local(&o, OUTCOME_AUTH_FAILED, STAGE_AUTH, DELIVERY_NOT_SENT, "no");
    relay_memory_on_refused(memory, &o, now);
}

/* ---- the port ---- */

START_TEST(probed_once_an_hour)
{
    ck_assert_int_eq(relay_memory_get_port(memory, 1000), RELAY_PORT_UNKNOWN);
    ck_assert(relay_memory_begin_probe(memory, 1000));
    ck_assert(!relay_memory_begin_probe(memory, 1001));
    ck_assert_int_eq(relay_memory_get_port(memory, 1001), RELAY_PORT_PROBING);
    relay_memory_on_probed(memory, true, 2000);
    ck_assert_int_eq(relay_memory_get_port(memory, 2000), RELAY_PORT_IS_TLS);
    ck_assert_int_eq(relay_memory_get_port(memory, 2000 + 3599999), RELAY_PORT_IS_TLS);
    ck_assert(!relay_memory_begin_probe(memory, 2000 + 3599999));
    ck_assert_int_eq(relay_memory_get_port(memory, 2000 + 3600000), RELAY_PORT_UNKNOWN);
    ck_assert(relay_memory_begin_probe(memory, 2000 + 3600000));
}
END_TEST

START_TEST(probe_that_never_ends)
{
    ck_assert(relay_memory_begin_probe(memory, 1000));
    ck_assert_int_eq(relay_memory_get_port(memory, 1000 + RELAY_MEMORY_PROBING_MS), RELAY_PORT_IS_NOT_TLS);
    ck_assert(!relay_memory_begin_probe(memory, 1000 + RELAY_MEMORY_PROBING_MS));
}
END_TEST

START_TEST(never_after_a_greeting)
{
    ck_assert(relay_memory_begin_probe(memory, 1000));
    relay_memory_on_probed(memory, true, 1000);
    relay_memory_on_greeted(memory);
    ck_assert_int_eq(relay_memory_get_port(memory, 1001), RELAY_PORT_IS_NOT_TLS);
    ck_assert(!relay_memory_begin_probe(memory, 90000000));
}
END_TEST

/* ---- the password ---- */

START_TEST(first_shown_by_one)
{
    ck_assert_int_eq(begin(1000), RELAY_LOGIN_GO);
    ck_assert_int_eq(begin(1000), RELAY_LOGIN_WAIT);
    ck_assert_uint_eq(when, 1000 + RELAY_MEMORY_TRIAL_MS);
    ck_assert_int_eq(begin(1000 + RELAY_MEMORY_TRIAL_MS), RELAY_LOGIN_GO);      /* one that hangs stops nobody */
    relay_memory_on_accepted(memory);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(begin(2000), RELAY_LOGIN_GO);
}
END_TEST

START_TEST(undecided_lets_the_next_one_try)
{
    ck_assert_int_eq(begin(1000), RELAY_LOGIN_GO);
    relay_memory_on_undecided(memory);
    ck_assert_int_eq(begin(1001), RELAY_LOGIN_GO);
}
END_TEST

START_TEST(refused_once_a_minute)
{
    uint64_t until;

    ck_assert(!relay_memory_is_refused(memory, 1000, &until, &why));
    refuse(1000);
    ck_assert(relay_memory_is_refused(memory, 1001, &until, &why));
    ck_assert_uint_eq(until, 61000);
    ck_assert_str_eq(why.reason, "no");
    ck_assert_int_eq(begin(60999), RELAY_LOGIN_REFUSED);
    ck_assert_uint_eq(when, 61000);
    ck_assert_int_eq(why.code, OUTCOME_AUTH_FAILED);
    ck_assert(!relay_memory_is_refused(memory, 61000, &until, &why));
    ck_assert_int_eq(begin(61000), RELAY_LOGIN_GO);
    ck_assert_int_eq(begin(61000), RELAY_LOGIN_WAIT);   /* the other pools' circuits end in the same moment */
    ck_assert_int_eq(begin(61000 + 59999), RELAY_LOGIN_WAIT);
    refuse(61500);
    ck_assert_int_eq(begin(100000), RELAY_LOGIN_REFUSED);
    ck_assert_uint_eq(when, 121500);
    ck_assert_int_eq(begin(121500), RELAY_LOGIN_GO);
    relay_memory_on_accepted(memory);
    ck_assert_int_eq(begin(121501), RELAY_LOGIN_GO);
    ck_assert_int_eq(begin(121501), RELAY_LOGIN_GO);
}
END_TEST

/* ---- a reload ---- */

static struct relay_memory *next(struct relay_config *c)
{
    return relay_memory_next(memory, &config, c);
}

START_TEST(reload_keeps_what_holds)
{
    struct relay_config c = config;
    struct relay_memory *m;
    uint64_t until;

    relay_memory_on_greeted(memory);
    refuse(1000);
    c.max_sessions = 3;
    m = next(&c);
    ck_assert_ptr_eq(m, memory);
    relay_memory_unref(m);
    c.password = "another";
    m = next(&c);
    ck_assert_ptr_ne(m, memory);
    ck_assert(!relay_memory_is_refused(m, 1001, &until, &why));
    ck_assert_int_eq(relay_memory_begin_login(m, 1001, &when, &why), RELAY_LOGIN_GO);
    ck_assert(!relay_memory_begin_probe(m, 1001));      /* it is the same server, which has greeted */
    relay_memory_unref(m);
    c = config;
    c.user = "bob";
    m = next(&c);
    ck_assert(!relay_memory_is_refused(m, 1001, &until, &why));
    relay_memory_unref(m);
}
END_TEST

START_TEST(another_server_is_not_known)
{
    struct relay_config changed[] = {config, config, config};

    changed[0].host = "mx.example.com";
    changed[1].port = 2525;
    changed[2].tls_mode = SMTP_TLS_IMPLICIT;
    relay_memory_on_greeted(memory);
    for (size_t i = 0; i < ARRAY_LEN(changed); i++) {
        struct relay_memory *m = next(&changed[i]);
        ck_assert(relay_memory_begin_probe(m, 1001));
        relay_memory_unref(m);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("relay_memory");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, probed_once_an_hour);
    tcase_add_test(t, probe_that_never_ends);
    tcase_add_test(t, never_after_a_greeting);
    tcase_add_test(t, first_shown_by_one);
    tcase_add_test(t, undecided_lets_the_next_one_try);
    tcase_add_test(t, refused_once_a_minute);
    tcase_add_test(t, reload_keeps_what_holds);
    tcase_add_test(t, another_server_is_not_known);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
