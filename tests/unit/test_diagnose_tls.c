#include "tests/unit/diagnose_case.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a diagnosis finds between STARTTLS and the certificate. */

/* ---- STARTTLS ---- */

START_TEST(starttls_taken_out_of_ehlo)
{
    static const struct script_line lines[] = {{"EHLO", "250-peer.test\r\n250 8BITMIME\r\n"}, {NULL, NULL}};

    run_lines(lines);
    expect_failure(OUTCOME_STARTTLS_NOT_OFFERED, DIAGNOSE_STEP_EHLO);
    expect_finding(DIAGNOSE_FINDING_STARTTLS_STRIPPED);
    expect_no_secrets_sent();
}
END_TEST

START_TEST(a_firewall_masks_extensions)
{
    static const struct script_line lines[] = {{"EHLO", "250-peer.test\r\n250-XXXXXXXA\r\n250 8BITMIME\r\n"},
                                               {"STARTTLS", "500 #5.5.1 command not recognized\r\n"},
                                               {NULL, NULL}};

    run_lines(lines);
    expect_failure(OUTCOME_STARTTLS_NOT_OFFERED, DIAGNOSE_STEP_EHLO);
    expect_finding(DIAGNOSE_FINDING_SMTP_REWRITTEN);
    expect_finding(DIAGNOSE_FINDING_STARTTLS_STRIPPED);
    expect_in(d->conclusion, "Have SMTP inspection switched off");
}
END_TEST

START_TEST(a_firewall_masks_the_banner)
{
    static const struct script_line lines[] = {{"EHLO", "250-peer.test\r\n250 XXXXXXXXXXXX\r\n"},
                                               {"STARTTLS", "500 what\r\n"},
                                               {NULL, NULL}};

    run_against(&(struct script){.banner = "220 ****************************\r\n", .lines = lines, .tls = good_tls});
    expect_finding(DIAGNOSE_FINDING_SMTP_REWRITTEN);
    expect_finding(DIAGNOSE_FINDING_STARTTLS_STRIPPED);
    ck_assert_int_eq(step(DIAGNOSE_STEP_BANNER)->status, DIAGNOSE_WARN);
}
END_TEST

START_TEST(starttls_refused)
{
    static const struct script_line lines[] = {{"EHLO", EHLO_PLAIN}, {"STARTTLS", "454 4.7.0 TLS not available\r\n"},
                                               {NULL, NULL}};

    run_lines(lines);
    expect_failure(OUTCOME_STARTTLS_REFUSED, DIAGNOSE_STEP_STARTTLS);
    ck_assert_int_eq(d->outcome.reply_code, 454);
    expect_in(step(DIAGNOSE_STEP_STARTTLS)->detail, "454 4.7.0 TLS not available");
    ck_assert_int_eq(step(DIAGNOSE_STEP_AUTH)->status, DIAGNOSE_SKIPPED);
    ck_assert_int_eq(step(DIAGNOSE_STEP_QUIT)->status, DIAGNOSE_OK);
    expect_no_secrets_sent();
}
END_TEST

START_TEST(starttls_injection)
{
    static const struct script_line lines[] = {{"EHLO", EHLO_PLAIN}, {"STARTTLS", "220 go\r\n250 injected\r\n"},
                                               {NULL, NULL}};

    run_lines(lines);
    expect_failure(OUTCOME_STARTTLS_INJECTION, DIAGNOSE_STEP_STARTTLS);
    expect_no_secrets_sent();
}
END_TEST

/* ---- TLS ---- */

START_TEST(tls_too_old)
{
    SSL_CTX *old = peer_context(&leaf, NULL, TLS1_VERSION, TLS1_1_VERSION);

    run_against(&(struct script){.banner = BANNER, .lines = good_lines, .tls = old});
    expect_failure(OUTCOME_TLS_VERSION_UNSUPPORTED, DIAGNOSE_STEP_TLS);
    ck_assert_int_eq(d->versions[0].state, DIAGNOSE_VERSION_TAKEN);
    ck_assert_int_eq(d->versions[1].state, DIAGNOSE_VERSION_TAKEN);
    ck_assert_int_eq(d->versions[2].state, DIAGNOSE_VERSION_REFUSED);
    ck_assert_int_eq(d->versions[3].state, DIAGNOSE_VERSION_REFUSED);
    expect_finding(DIAGNOSE_FINDING_TLS_TOO_OLD);
    expect_in(d->conclusion, "takes nothing newer than TLSv1.1");
    ck_assert(!d->suggestion.known);
    expect_no_secrets_sent();
    SSL_CTX_free(old);
}
END_TEST

START_TEST(legacy_tls_besides)
{
    SSL_CTX *wide = peer_context(&leaf, NULL, TLS1_VERSION, TLS1_2_VERSION);

    params.tls_versions = true;
    run_against(&(struct script){.banner = BANNER, .lines = good_lines, .tls = wide});
    ck_assert_msg(d->ok, "%s", d->conclusion);
    expect_finding(DIAGNOSE_FINDING_TLS_LEGACY_TAKEN);
    ck_assert_int_eq(d->versions[2].state, DIAGNOSE_VERSION_TAKEN);
    ck_assert_int_eq(d->versions[3].state, DIAGNOSE_VERSION_REFUSED);
    ck_assert_int_eq(script_peer_count(script_server, "AUTH"), 1);
    SSL_CTX_free(wide);
}
END_TEST

/* ---- certificates ---- */

static void run_cert(const struct made_spec *spec)
{
    struct made m;
    SSL_CTX *ctx;

    made_init(&m, spec);
    ctx = peer_context(&m, NULL, 0, 0);
    run_against(&(struct script){.banner = BANNER, .lines = good_lines, .tls = ctx});
    SSL_CTX_free(ctx);
    made_deinit(&m);
    if (d->failed_at == DIAGNOSE_STEP_CERTIFICATE) {
        expect_no_secrets_sent();
        ck_assert_uint_ge(d->chain.n, 1);
        ck_assert_int_eq(step(DIAGNOSE_STEP_AUTH)->status, DIAGNOSE_SKIPPED);
    }
}

START_TEST(cert_expired)
{
    run_cert(&(struct made_spec){.name = "x", .san = "DNS:localhost", .issuer = &ca, .from_s = -86400 * 20,
                                 .until_s = -86400 * 10});
    expect_failure(OUTCOME_TLS_CERT_EXPIRED, DIAGNOSE_STEP_CERTIFICATE);
    expect_in(step(DIAGNOSE_STEP_CERTIFICATE)->detail, "that was 10 days ago");
    ck_assert(!d->suggestion.known);
}
END_TEST

START_TEST(cert_not_yet_valid)
{
    run_cert(&(struct made_spec){.name = "x", .san = "DNS:localhost", .issuer = &ca, .from_s = 86400 * 5 + 60,
                                 .until_s = 86400 * 50});
    expect_failure(OUTCOME_TLS_CERT_NOT_YET_VALID, DIAGNOSE_STEP_CERTIFICATE);
    expect_finding(DIAGNOSE_FINDING_CLOCK_WRONG);
    expect_in(d->conclusion, "which is 5 days before the certificate begins");
}
END_TEST

START_TEST(cert_expires_soon)
{
    run_cert(&(struct made_spec){.name = "x", .san = "DNS:localhost", .issuer = &ca, .from_s = -60,
                                 .until_s = 86400 * 3 + 60});
    ck_assert_msg(d->ok, "%s", d->conclusion);
    expect_finding(DIAGNOSE_FINDING_CERT_EXPIRES_SOON);
    expect_in(d->conclusion, "The certificate expires in 3 days.");
}
END_TEST

START_TEST(cert_self_signed)
{
    char digest[65];

    relay.port = 0;
    run_cert(&(struct made_spec){.name = "x", .san = "DNS:localhost"});
    expect_failure(OUTCOME_TLS_CERT_UNTRUSTED, DIAGNOSE_STEP_CERTIFICATE);
    expect_finding(DIAGNOSE_FINDING_CERT_SELF_SIGNED);
    ck_assert(!diagnose_has(d, DIAGNOSE_FINDING_INTERCEPTION_LIKELY));
    ck_assert(d->suggestion.known && d->suggestion.needs_ca_file);
    ck_assert_str_eq(d->suggestion.anchor_sha256, d->chain.v[0].sha256);
    snprintf(digest, sizeof(digest), "%s", d->chain.v[0].sha256);
    ck_assert_uint_eq(strlen(digest), 64);
    expect_in(d->chain.anchor_pem, "-----BEGIN CERTIFICATE-----");
}
END_TEST

/* What is suggested works: the same server, with the certificate it sent as the authority. */
START_TEST(the_suggested_authority_works)
{
    struct made m;
    char *pem;

    made_init(&m, &(struct made_spec){.name = "x", .san = "DNS:localhost", .from_s = -60, .until_s = 86400 * 99});
    SSL_CTX_free(good_tls);
    good_tls = peer_context(&m, NULL, 0, 0);
    run_lines(good_lines);
    ck_assert(d->suggestion.needs_ca_file);
    pem = strdup(d->chain.anchor_pem);
    relay.ca_pem = pem;
    diagnose_run(&params, d);
    ck_assert_msg(d->ok, "%s", d->conclusion);
    free(pem);
    made_deinit(&m);
}
END_TEST

START_TEST(cert_wrong_name)
{
    relay.host = "127.0.0.1";
    run_lines(good_lines);
    expect_failure(OUTCOME_TLS_CERT_NAME_MISMATCH, DIAGNOSE_STEP_CERTIFICATE);
    expect_in(step(DIAGNOSE_STEP_CERTIFICATE)->detail,
              "The certificate is not for 127.0.0.1. It has: localhost, other.test.");
    ck_assert(d->suggestion.known && d->suggestion.changed);
    ck_assert_str_eq(d->suggestion.host, "localhost");
    expect_in(d->conclusion, "set host to localhost");
}
END_TEST

START_TEST(cert_intercepted_by_a_product)
{
    struct made fortinet;

    made_init(&fortinet, &(struct made_spec){.name = "FortiGate CA Fortinet", .ca = 1});
    run_cert(&(struct made_spec){.name = "x", .san = "DNS:localhost", .issuer = &fortinet});
    expect_failure(OUTCOME_TLS_CERT_UNTRUSTED, DIAGNOSE_STEP_CERTIFICATE);
    expect_finding(DIAGNOSE_FINDING_INTERCEPTION_PRODUCT);
    expect_in(d->conclusion, "issued by Fortinet");
    made_deinit(&fortinet);
}
END_TEST

START_TEST(cert_intercepted_by_somebody)
{
    struct made other, m;
    SSL_CTX *ctx;

    made_init(&other, &(struct made_spec){.name = "Corp Gateway", .ca = 1, .from_s = -60, .until_s = 86400});
    made_init(&m, &(struct made_spec){.name = "x", .san = "DNS:localhost", .issuer = &other});
    ctx = peer_context(&m, &other, 0, 0);
    run_against(&(struct script){.banner = BANNER, .lines = good_lines, .tls = ctx});
    expect_failure(OUTCOME_TLS_CERT_UNTRUSTED, DIAGNOSE_STEP_CERTIFICATE);
    expect_finding(DIAGNOSE_FINDING_INTERCEPTION_LIKELY);
    expect_finding(DIAGNOSE_FINDING_CERT_PRIVATE_CA);
    ck_assert_uint_eq(d->chain.sent, 2);
    ck_assert(d->suggestion.needs_ca_file);
    expect_no_secrets_sent();
    SSL_CTX_free(ctx);
    made_deinit(&m);
    made_deinit(&other);
}
END_TEST

START_TEST(cert_without_its_intermediate)
{
    struct made middle;

    made_init(&middle, &(struct made_spec){.name = "Test Intermediate 7", .ca = 1, .issuer = &ca});
    run_cert(&(struct made_spec){.name = "x", .san = "DNS:localhost", .issuer = &middle});
    expect_failure(OUTCOME_TLS_CERT_UNTRUSTED, DIAGNOSE_STEP_CERTIFICATE);
    expect_finding(DIAGNOSE_FINDING_INTERMEDIATE_MISSING);
    ck_assert_str_eq(d->chain.missing_issuer, "CN=Test Intermediate 7");
    ck_assert(!d->suggestion.known);
    made_deinit(&middle);
}
END_TEST

START_TEST(cert_with_hostile_names)
{
    run_cert(&(struct made_spec){.name = "a\x01\x1b[31m\n\"b\"", .san = "DNS:localhost"});
    expect_failure(OUTCOME_TLS_CERT_UNTRUSTED, DIAGNOSE_STEP_CERTIFICATE);
    for (const char *c = d->chain.v[0].subject; *c; c++)
        ck_assert_int_ge((unsigned char)*c, 0x20);
    for (const char *c = step(DIAGNOSE_STEP_CERTIFICATE)->detail; *c; c++)
        ck_assert_int_ge((unsigned char)*c, 0x20);
}
END_TEST

static void add_cases(TCase *t)
{
    tcase_add_test(t, starttls_taken_out_of_ehlo);
    tcase_add_test(t, a_firewall_masks_extensions);
    tcase_add_test(t, a_firewall_masks_the_banner);
    tcase_add_test(t, starttls_refused);
    tcase_add_test(t, starttls_injection);
    tcase_add_test(t, tls_too_old);
    tcase_add_test(t, legacy_tls_besides);
    tcase_add_test(t, cert_expired);
    tcase_add_test(t, cert_not_yet_valid);
    tcase_add_test(t, cert_expires_soon);
    tcase_add_test(t, cert_self_signed);
    tcase_add_test(t, the_suggested_authority_works);
    tcase_add_test(t, cert_wrong_name);
    tcase_add_test(t, cert_intercepted_by_a_product);
    tcase_add_test(t, cert_intercepted_by_somebody);
    tcase_add_test(t, cert_without_its_intermediate);
    tcase_add_test(t, cert_with_hostile_names);
}

int main(void)
{
    Suite *s = suite_create("diagnose_tls");
    TCase *t = tcase_create("diagnose_tls");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, diagnose_case_setup, diagnose_case_teardown);
    add_cases(t);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
