#include "smtp/sasl.h"
#include "smtp/session.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* The mechanism table: which one is taken, and each response to the octet. */

static const struct {
    bool plain, login;
    const char *chosen;
} offers[] = {{true, true, "PLAIN"}, {true, false, "PLAIN"}, {false, true, "LOGIN"}, {false, false, NULL}};

START_TEST(test_choice)
{
    struct smtp_capabilities caps = {.auth_any = true, .auth_plain = offers[_i].plain, .auth_login = offers[_i].login};
    const struct sasl_mechanism *m = sasl_choose(&caps);

    ck_assert_int_eq(m != NULL, offers[_i].chosen != NULL);
    if (m)
        ck_assert_str_eq(m->name, offers[_i].chosen);
}
END_TEST

static const struct {
    const char *mechanism, *user, *password;
    unsigned step;
    const char *response;
} responses[] = {
    {"PLAIN", "ann", "secret", 0, "AGFubgBzZWNyZXQ="},
    {"PLAIN", "", "", 0, "AAA="},
    {"PLAIN", "ann", "caf\xc3\xa9 \xe2\x82\xac", 0, "AGFubgBjYWbDqSDigqw="},
    {"LOGIN", "ann", "secret", 0, "YW5u"},
    {"LOGIN", "ann", "secret", 1, "c2VjcmV0"},
    {"LOGIN", "ann", "", 1, ""},
};

static const struct sasl_mechanism *find(const char *name)
{
    struct smtp_capabilities caps = {0};
    const struct sasl_mechanism *m;

    caps.auth_plain = strcmp(name, "PLAIN") == 0;
    caps.auth_login = strcmp(name, "LOGIN") == 0;
    m = sasl_choose(&caps);
    ck_assert_ptr_nonnull(m);
    ck_assert_str_eq(m->name, name);
    return m;
}

START_TEST(test_responses)
{
    const struct sasl_mechanism *m = find(responses[_i].mechanism);
    struct sasl_credentials c = {responses[_i].user, responses[_i].password};
    struct bytes_buf out;

    bytes_buf_init(&out, 0);
    bytes_buf_add_str(&out, "> ");
    ck_assert_uint_lt(responses[_i].step, m->n_steps);
    sasl_respond(m, &c, responses[_i].step, &out);
    ck_assert(!out.failed);
    ck_assert_uint_eq(out.n, 2 + strlen(responses[_i].response));
    ck_assert_str_eq(out.p + 2, responses[_i].response);
    bytes_buf_deinit(&out);
}
END_TEST

/* A longer one is a failure that the caller sees, never a password that was cut. */
START_TEST(test_too_long)
{
    char *password = malloc(9001);
    struct sasl_credentials c = {"ann", password};
    struct bytes_buf out;

    memset(password, 'x', 9000);
    password[9000] = '\0';
    for (unsigned i = 0; i < 2; i++) {
        const struct sasl_mechanism *m = find(i ? "PLAIN" : "LOGIN");
        bytes_buf_init(&out, 0);
        sasl_respond(m, &c, m->n_steps - 1, &out);
        ck_assert(out.failed);
        ck_assert_uint_eq(out.n, 0);
        bytes_buf_deinit(&out);
    }
    free(password);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sasl");
    TCase *tc = tcase_create("sasl");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_add_loop_test(tc, test_choice, 0, (int)ARRAY_LEN(offers));
    tcase_add_loop_test(tc, test_responses, 0, (int)ARRAY_LEN(responses));
    tcase_add_test(tc, test_too_long);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
