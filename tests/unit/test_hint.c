#include "api/catalogue.h"
#include "api/hint.h"

#include <check.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* The hints: every row can be chosen, every template can be filled, and the facts that choose them are right. */

static struct bytes_buf out;
static struct smtp_outcome outcome;
static struct hint_case facts;

static void setup(void)
{
    bytes_buf_init(&out, 0);
    memset(&outcome, 0, sizeof(outcome));
    facts = (struct hint_case){.outcome = &outcome, .host = "smtp.example.com", .port = 26};
}

static void teardown(void)
{
    bytes_buf_deinit(&out);
}

/* A case that has all the row asks for and, as far as that allows, nothing more. */
static void make_case(const struct hint_row *row)
{
    size_t n = row->says ? strcspn(row->says, "|") : 0;

    outcome.code = row->code;
    outcome.stage = row->stage ? row->stage : STAGE_RCPT;
    outcome.reply_code = row->reply;
    if (row->enhanced)
        memcpy(outcome.enhanced, row->enhanced, strlen(row->enhanced) + 1);
    if (row->says)
        memcpy(outcome.text, row->says, n);
    facts.port = row->port ? row->port : 26;
    facts.provider = row->provider;
    facts.facts = row->facts;
}

/* A row that an earlier one always hides would be a promise of docs/errors.md that is never kept. */
START_TEST(every_row_can_be_chosen)
{
    const struct hint_row *row = &hint_rows[_i];

    make_case(row);
    ck_assert_str_eq(hint_choose(&facts), row->hint);
}
END_TEST

static void check_sentence(const char *template)
{
    size_t n;

    hint_fill(template, &facts, &out);
    n = out.n;
    ck_assert_uint_gt(n, 15);
    ck_assert_uint_lt(n, 320);
    ck_assert(isupper((unsigned char)out.p[0]));
    ck_assert_int_eq(out.p[n - 1], '.');
    ck_assert_ptr_null(strpbrk(out.p, "{}"));
    ck_assert_ptr_null(strstr(out.p, "  "));
}

START_TEST(every_row_is_a_sentence)
{
    make_case(&hint_rows[_i]);
    check_sentence(hint_rows[_i].hint);
}
END_TEST

START_TEST(every_general_hint_is_a_sentence)
{
    check_sentence(catalogue_get((enum outcome_code)_i)->hint);
}
END_TEST

/* For every row the catalogue says when: nothing is chosen without a condition. */
START_TEST(every_row_has_a_condition)
{
    hint_write_when(&hint_rows[_i], &out);
    ck_assert_uint_gt(out.n, 3);
}
END_TEST

START_TEST(conditions_in_words)
{
    struct hint_row row = {.port = 465, .provider = PROVIDER_SES, .stage = STAGE_BANNER, .reply = 502,
                           .enhanced = "5.7.1", .says = "one|two", .facts = FACT_USER | FACT_TEMPORARY};

    hint_write_when(&row, &out);
    ck_assert_str_eq(out.p, "Amazon SES, port 465, stage banner, user is set, a 4xx reply, reply 502, reply 5.7.1, "
                            "the reply or the reason says \"one\" or \"two\"");
}
END_TEST

static const struct {
    const char *host;
    enum provider provider;
    unsigned want;
} hosts[] = {
    {"localhost", PROVIDER_NONE, FACT_LOOPBACK},
    {"LOCALHOST", PROVIDER_NONE, FACT_LOOPBACK},
    {"127.0.0.1", PROVIDER_NONE, FACT_LOOPBACK | FACT_ADDRESS},
    {"::1", PROVIDER_NONE, FACT_LOOPBACK | FACT_ADDRESS},
    {"127.example.com", PROVIDER_NONE, 0},
    {"192.0.2.1", PROVIDER_NONE, FACT_ADDRESS},
    {"2001:db8::1", PROVIDER_NONE, FACT_ADDRESS},
    {"mail", PROVIDER_NONE, FACT_SHORT_HOST},
    {"mail.example.com", PROVIDER_NONE, 0},
    {"smtp.gmail.com", PROVIDER_GMAIL, FACT_PROVIDER},
    {"smtp.office365.com", PROVIDER_MICROSOFT, FACT_PROVIDER | FACT_NO_465},
    {"smtp.postmarkapp.com", PROVIDER_POSTMARK, FACT_PROVIDER | FACT_NO_465 | FACT_OTHER_PORT},
};

START_TEST(facts_of_a_host)
{
    ck_assert_uint_eq(hint_facts_of_host(hosts[_i].host, hosts[_i].provider), hosts[_i].want);
}
END_TEST

START_TEST(nothing_special)
{
    outcome.code = OUTCOME_DNS_FAILED;
    ck_assert_ptr_null(hint_choose(&facts));
    outcome.code = OUTCOME_CONNECT_REFUSED;
    ck_assert_ptr_null(hint_choose(&facts));
    facts.port = 25;
    ck_assert_ptr_nonnull(hint_choose(&facts));
    facts.host = NULL;                  /* no relay: nothing could be filled in */
    ck_assert_ptr_null(hint_choose(&facts));
}
END_TEST

START_TEST(words_of_a_reply_or_a_reason)
{
    outcome.code = OUTCOME_TLS_CERT_UNTRUSTED;
    ck_assert_ptr_null(hint_choose(&facts));
    memcpy(outcome.reason, "The certificate is SELF-SIGNED and", sizeof("The certificate is SELF-SIGNED and"));
    ck_assert_ptr_nonnull(strstr(hint_choose(&facts), "a copy of its certificate"));
    outcome.code = OUTCOME_MESSAGE_REJECTED;
    outcome.reason[0] = '\0';
    memcpy(outcome.text, "contains malware", sizeof("contains malware"));       /* the second of the words */
    ck_assert_ptr_nonnull(strstr(hint_choose(&facts), "attachment"));
}
END_TEST

START_TEST(filled_in)
{
    outcome.stage = STAGE_MAIL;
    facts.provider = PROVIDER_SES;
    facts.message_id = "<m@example.com>";
    hint_fill("{host} {port} {other_port} {provider} {stage} {message_id}.", &facts, &out);
    ck_assert_str_eq(out.p, "smtp.example.com 26 2587 Amazon SES at MAIL FROM <m@example.com>.");
}
END_TEST

START_TEST(filled_in_with_little)
{
    facts.host = NULL;
    hint_fill("Look for {message_id} at {host}.", &facts, &out);
    ck_assert_str_eq(out.p, "Look for the Message-ID at the relay.");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hint");
    TCase *t = tcase_create("table");
    SRunner *r = srunner_create(s);
    int failed, n = (int)hint_n_rows;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, every_row_can_be_chosen, 0, n);
    tcase_add_loop_test(t, every_row_is_a_sentence, 0, n);
    tcase_add_loop_test(t, every_row_has_a_condition, 0, n);
    tcase_add_loop_test(t, every_general_hint_is_a_sentence, OUTCOME_INVALID_JSON, OUTCOME_COUNT);
    tcase_add_test(t, conditions_in_words);
    tcase_add_loop_test(t, facts_of_a_host, 0, (int)ARRAY_LEN(hosts));
    tcase_add_test(t, nothing_special);
    tcase_add_test(t, words_of_a_reply_or_a_reason);
    tcase_add_test(t, filled_in);
    tcase_add_test(t, filled_in_with_little);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
