#include "api/diagnosis.h"
#include "api/json_diagnose.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* A diagnosis as a configuration, as JSON and back, and beside another one. */

static struct diagnosis *here, *there;
static struct relay_config relay;
static struct diagnosis_setup setup;
static struct bytes_buf out;

static void fill(struct diagnosis *d)
{
    struct tls_cert *cert = &d->chain.v[0];

    memset(d, 0, sizeof(*d));
    snprintf(d->relay, sizeof(d->relay), "default");
    snprintf(d->host, sizeof(d->host), "smtp.example.com");
    snprintf(d->user, sizeof(d->user), "ann");
    snprintf(d->conclusion, sizeof(d->conclusion), "It works.");
    d->port = 587;
    d->ok = true;
    d->failed_at = DIAGNOSE_STEP_COUNT;
    d->n_addresses = 1;
    snprintf(d->addresses[0].text, sizeof(d->addresses[0].text), "192.0.2.10");
    snprintf(d->banner, sizeof(d->banner), "smtp.example.com ESMTP 4711");
    d->ehlo.have = d->ehlo_tls.have = d->tls_on = true;
    snprintf(d->ehlo.reply, sizeof(d->ehlo.reply), "smtp.example.com\nSTARTTLS\nSIZE 1000\n");
    snprintf(d->ehlo_tls.reply, sizeof(d->ehlo_tls.reply), "smtp.example.com\nAUTH PLAIN LOGIN\nSIZE 1000\n");
    snprintf(d->ehlo_tls.caps.auth_list, sizeof(d->ehlo_tls.caps.auth_list), "PLAIN LOGIN");
    snprintf(d->tls_version, sizeof(d->tls_version), "TLSv1.3");
    snprintf(d->tls_cipher, sizeof(d->tls_cipher), "TLS_AES_256_GCM_SHA384");
    d->versions[2] = (struct diagnose_version){.name = "TLSv1.2", .state = DIAGNOSE_VERSION_TAKEN};
    d->chain.n = d->chain.sent = 1;
    d->chain.trusted = d->chain.name_matches = d->chain.dates_good = true;
    snprintf(cert->subject, sizeof(cert->subject), "CN=smtp.example.com");
    snprintf(cert->issuer, sizeof(cert->issuer), "CN=R11,O=Let's Encrypt");
    snprintf(cert->sha256, sizeof(cert->sha256), "0123");
    d->n_ports = 1;
    d->ports[0] = (struct diagnose_port){.port = 465, .state = DIAGNOSE_PORT_TLS};
    d->suggestion = (struct diagnose_suggestion){.known = true, .has_user = true, .port = 587};
    snprintf(d->suggestion.host, sizeof(d->suggestion.host), "smtp.example.com");
}

static void set_up(void)
{
    here = calloc(1, sizeof(*here));
    there = calloc(1, sizeof(*there));
    fill(here);
    fill(there);
    relay_config_init(&relay);
    setup = (struct diagnosis_setup){.relay = &relay};
    bytes_buf_init(&out, 0);
}

static void tear_down(void)
{
    free(here);
    free(there);
    bytes_buf_deinit(&out);
}

static const char *text(void)
{
    return bytes_buf_view(&out).p;
}

static void expect_in(const char *part)
{
    ck_assert_msg(strstr(text(), part) != NULL, "\"%s\" is not in:\n%s", part, text());
}

/* ---- the configuration ---- */

START_TEST(plain)
{
    diagnosis_write_yaml(here, &setup, &out);
    ck_assert_str_eq(text(), "relays:\n  default:\n    url: \"smtp://smtp.example.com:587\"\n    user: \"ann\"        "
                             "# its password stays where it is: password_file or password\n");
}
END_TEST

START_TEST(everything_is_kept)
{
    relay.ca_file = "/etc/ca.pem";
    relay.crl_file = "/etc/ca.crl";
    relay.pins = "sha256/AAAA";
    relay.ehlo_name = "app.example.org";
    relay.max_sessions = 3;
    relay.timeouts.command = 7000;
    setup.password_file = "/run/secrets/smtp";
    diagnosis_write_yaml(here, &setup, &out);
    ck_assert_str_eq(text(),
                     "relays:\n  default:\n    url: \"smtp://smtp.example.com:587\"\n    user: \"ann\"\n"
                     "    password_file: \"/run/secrets/smtp\"\n    ca_file: \"/etc/ca.pem\"\n"
                     "    crl_file: \"/etc/ca.crl\"\n    pins: \"sha256/AAAA\"\n    ehlo_name: \"app.example.org\"\n"
                     "    max_sessions: 3\n    command_timeout: 7000ms\n");
}
END_TEST

START_TEST(the_suggested_authority_takes_the_place_of_another)
{
    relay.ca_file = "/etc/ca.pem";
    here->suggestion.needs_ca_file = true;
    diagnosis_write_env(here, &setup, &out);
    expect_in("export MAILHATCH_RELAY_CA_FILE='smtp.example.com-ca.pem'\n");
    ck_assert(!strstr(text(), "/etc/ca.pem"));
}
END_TEST

START_TEST(a_host_leads_to_no_other_directory)
{
    snprintf(here->suggestion.host, sizeof(here->suggestion.host), "../../2001:db8::1");
    diagnosis_write_ca_file(here, &out);
    ck_assert_str_eq(text(), ".._.._2001_db8__1-ca.pem");
}
END_TEST

START_TEST(urls)
{
    static const struct {
        enum smtp_tls_mode mode;
        const char *host, *want;
    } rows[] = {{SMTP_TLS_IMPLICIT, "a.test", "url: \"smtps://a.test:587\""},
                {SMTP_TLS_STARTTLS, "2001:db8::1", "url: \"smtp://[2001:db8::1]:587\""},
                {SMTP_TLS_NONE, "127.0.0.1", "url: \"smtp://127.0.0.1:587?tls=none\""}};

    here->suggestion.tls_mode = rows[_i].mode;
    snprintf(here->suggestion.host, sizeof(here->suggestion.host), "%s", rows[_i].host);
    diagnosis_write_yaml(here, &setup, &out);
    expect_in(rows[_i].want);
}
END_TEST

START_TEST(quoting)
{
    snprintf(here->user, sizeof(here->user), "an'n\"\\$(id)`id`");
    diagnosis_write_yaml(here, &setup, &out);
    expect_in("user: \"an'n\\\"\\\\$(id)`id`\"");
    bytes_buf_deinit(&out);
    diagnosis_write_env(here, &setup, &out);
    expect_in("export MAILHATCH_RELAY_USER='an'\\''n\"\\$(id)`id`'");
}
END_TEST

START_TEST(another_relay_has_no_environment)
{
    snprintf(here->relay, sizeof(here->relay), "bulk");
    diagnosis_write_env(here, &setup, &out);
    ck_assert_uint_eq(out.n, 0);
    diagnosis_write_yaml(here, &setup, &out);
    expect_in("relays:\n  bulk:\n");
}
END_TEST

START_TEST(a_missing_login)
{
    here->suggestion = (struct diagnose_suggestion){.needs_user = true, .port = 25};
    snprintf(here->suggestion.host, sizeof(here->suggestion.host), "a.test");
    ck_assert(diagnosis_has_suggestion(here));
    diagnosis_write_yaml(here, &setup, &out);
    expect_in("user: \"ACCOUNT\"");
    expect_in("password_file: \"/path/to/the/password\"");
    ck_assert_ptr_nonnull(strstr(diagnosis_why(here), "login"));
}
END_TEST

START_TEST(nothing_to_suggest)
{
    here->suggestion.known = false;
    diagnosis_write_yaml(here, &setup, &out);
    diagnosis_write_env(here, &setup, &out);
    ck_assert_uint_eq(out.n, 0);
    diagnosis_write(here, &setup, &out);
    expect_in("\"suggested_config\":null");
}
END_TEST

START_TEST(no_setup)
{
    setup.relay = NULL;
    here->suggestion.banner_timeout_ms = 31000;
    diagnosis_write_yaml(here, &setup, &out);
    expect_in("    banner_timeout: 31000ms\n");
    ck_assert(!strstr(text(), "max_sessions"));
}
END_TEST

/* ---- as JSON and back ---- */

static char *report(const struct diagnosis *d, size_t *n)
{
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    diagnosis_write(d, &setup, &b);
    return bytes_buf_take(&b, n);
}

START_TEST(there_and_back)
{
    const char *why;
    size_t n;
    char *json;

    here->findings[here->n_findings++] = (struct diagnose_finding){.id = DIAGNOSE_FINDING_DNS_SPLIT, .warning = true};
    fill(there);
    there->findings[there->n_findings++] = here->findings[0];
    json = report(here, &n);
    ck_assert_int_eq(diagnosis_read(json, n, here, &why), 0);
    ck_assert_msg(diagnosis_compare(there, here, "there", "here", &out) == 0, "%s", text());
}
END_TEST

START_TEST(no_report)
{
    static const char *const texts[] = {"", "{", "[]", "{}", "{\"facts\":{}}", "{\"facts\":[],\"conclusion\":\"\"}",
                                        "{\"facts\":{},\"conclusion\":7}"};
    const char *why = NULL;

    ck_assert_int_eq(diagnosis_read(strdup(texts[_i]), strlen(texts[_i]), here, &why), -1);
    ck_assert_ptr_nonnull(why);
}
END_TEST

/* Texts too long, lists too long, types of all kinds: cut, or as if it were not there. */
START_TEST(a_strange_report)
{
    const char *why;
    char *json;
    size_t n;

    bytes_buf_add_str(&out, "{\"host\":\"");
    for (int i = 0; i < 9999; i++)
        bytes_buf_add_char(&out, 'x');
    bytes_buf_add_str(&out, "\",\"port\":-7,\"ok\":\"yes\",\"conclusion\":\"a\\u001b[31mb\",\"findings\":[");
    for (int i = 0; i < 500; i++)
        bytes_buf_printf(&out, "%s{\"finding\":\"dns_split\",\"text\":%d}", i ? "," : "", i);
    bytes_buf_add_str(&out, "],\"facts\":{\"addresses\":[");
    for (int i = 0; i < 500; i++)
        bytes_buf_printf(&out, "%s7", i ? "," : "");
    bytes_buf_add_str(&out, "],\"ports\":[1,2,3,4,5,6,7,8,9],\"ehlo\":[],\"tls\":7,\"tls_versions\":{\"a\":1},"
                            "\"certificate\":{\"chain\":[1,2,3,4,5,6,7,8,9,10,11]},\"auth\":null}}");
    json = bytes_buf_take(&out, &n);
    ck_assert_int_eq(diagnosis_read(json, n, here, &why), 0);
    ck_assert_uint_eq(strlen(here->host), sizeof(here->host) - 1);
    ck_assert_uint_eq(here->port, 0);
    ck_assert(!here->ok);
    ck_assert_str_eq(here->conclusion, "a?[31mb");
    ck_assert_uint_le(here->n_findings, DIAGNOSE_FINDING_COUNT);
    ck_assert_uint_eq(here->n_addresses, DIAGNOSE_ADDRESSES_MAX);
    ck_assert_uint_eq(here->n_ports, ARRAY_LEN(here->ports));
    ck_assert_uint_eq(here->chain.n, TLS_CHAIN_MAX);
    diagnosis_compare(there, here, "there", "here", &out);
}
END_TEST

START_TEST(differences_are_the_last_member)
{
    diagnosis_add_differences(&out, "a\n");
    ck_assert_uint_eq(out.n, 0);
    bytes_buf_add_str(&out, "{\"a\":1}");
    diagnosis_add_differences(&out, "one \"line\"\ntwo\n");
    ck_assert_str_eq(text(), "{\"a\":1,\"differences\":[\"one \\\"line\\\"\",\"two\"]}");
    bytes_buf_deinit(&out);
    bytes_buf_add_str(&out, "{\"a\":1}");
    diagnosis_add_differences(&out, "");
    ck_assert_str_eq(text(), "{\"a\":1,\"differences\":[]}");
}
END_TEST

/* ---- beside another one ---- */

static void expect_one(const char *line)
{
    unsigned n = diagnosis_compare(there, here, "production", "here", &out);

    ck_assert_msg(n == 1, "%u differences:\n%s", n, text());
    expect_in(line);
}

START_TEST(nothing_is_different)
{
    snprintf(here->banner, sizeof(here->banner), "smtp.example.com ESMTP 7");
    here->ehlo.ms = 700;
    here->total_ms = 7000;
    ck_assert_uint_eq(diagnosis_compare(there, here, "production", "here", &out), 0);
}
END_TEST

START_TEST(result)
{
    here->ok = false;
    here->outcome.code = OUTCOME_AUTH_FAILED;
    expect_one("result: production: works / here: auth_failed\n");
}
END_TEST

START_TEST(addresses)
{
    snprintf(here->addresses[0].text, sizeof(here->addresses[0].text), "10.0.0.7");
    expect_one("addresses: production: 192.0.2.10 / here: 10.0.0.7. The name leads to different servers");
}
END_TEST

START_TEST(banner)
{
    snprintf(here->banner, sizeof(here->banner), "************");
    expect_one("banner: production: smtp.example.com ESMTP 4711 / here: ************. ");
}
END_TEST

START_TEST(a_slow_greeting)
{
    there->banner_ms = 100;
    here->banner_ms = 6000;
    expect_one("time of the greeting: production: 100 ms / here: 6000 ms. ");
}
END_TEST

START_TEST(starttls_is_missing_here)
{
    snprintf(here->ehlo.reply, sizeof(here->ehlo.reply), "smtp.example.com\nSIZE 1000\n");
    expect_one("EHLO: only production: STARTTLS. Something on the way removes it here.\n");
}
END_TEST

START_TEST(an_extension_more_here)
{
    snprintf(here->ehlo.reply, sizeof(here->ehlo.reply), "other greeting\nSTARTTLS\nSIZE 1000\nXXXXXXXA\n");
    expect_one("EHLO: only here: XXXXXXXA\n");
}
END_TEST

START_TEST(mechanisms)
{
    snprintf(here->ehlo_tls.reply, sizeof(here->ehlo_tls.reply), "smtp.example.com\nAUTH XOAUTH2\nSIZE 1000\n");
    snprintf(here->ehlo_tls.caps.auth_list, sizeof(here->ehlo_tls.caps.auth_list), "XOAUTH2");
    expect_one("AUTH: production: PLAIN LOGIN / here: XOAUTH2. ");
}
END_TEST

START_TEST(version)
{
    snprintf(here->tls_version, sizeof(here->tls_version), "TLSv1.2");
    expect_one("TLS: production: TLSv1.3 / here: TLSv1.2\n");
}
END_TEST

START_TEST(versions_taken)
{
    here->versions[2].state = DIAGNOSE_VERSION_REFUSED;
    expect_one("TLSv1.2: production: taken / here: refused\n");
}
END_TEST

START_TEST(another_issuer)
{
    snprintf(here->chain.v[0].issuer, sizeof(here->chain.v[0].issuer), "CN=Corporate Inspection");
    snprintf(here->chain.v[0].sha256, sizeof(here->chain.v[0].sha256), "4567");
    here->chain.trusted = false;
    ck_assert_uint_eq(diagnosis_compare(there, here, "production", "here", &out), 2);
    expect_in("certificate's issuer: production: CN=R11,O=Let's Encrypt / here: CN=Corporate Inspection. Here somebody "
              "else stands behind the port: an inspecting proxy, most likely.\n");
    expect_in("authority: production: trusted / here: not trusted\n");
}
END_TEST

START_TEST(the_same_certificate_is_not_trusted_here)
{
    here->chain.trusted = false;
    expect_one("It is the same certificate: this machine lacks the authority");
}
END_TEST

START_TEST(a_renewal)
{
    snprintf(here->chain.v[0].sha256, sizeof(here->chain.v[0].sha256), "4567");
    expect_one("certificate's fingerprint: production: 0123 / here: 4567. ");
}
END_TEST

START_TEST(clocks)
{
    here->chain.dates_good = false;
    expect_one("dates: production: good / here: not good. It is the same certificate: compare the clocks.\n");
}
END_TEST

START_TEST(ports)
{
    here->ports[0].state = DIAGNOSE_PORT_FILTERED;
    expect_one("port 465: production: tls / here: filtered. A firewall here swallows it.\n");
    bytes_buf_deinit(&out);
    there->ports[0].state = DIAGNOSE_PORT_UNTRIED;      /* nothing to compare with */
    ck_assert_uint_eq(diagnosis_compare(there, here, "production", "here", &out), 0);
}
END_TEST

START_TEST(findings)
{
    here->findings[here->n_findings++] =
        (struct diagnose_finding){.id = DIAGNOSE_FINDING_IPV6_BROKEN, .warning = true, .text = "IPv6 does not work."};
    here->findings[here->n_findings++] =
        (struct diagnose_finding){.id = DIAGNOSE_FINDING_SIZE_LIMIT, .text = "Only worth knowing."};
    expect_one("only here: IPv6 does not work.\n");
}
END_TEST

/* ---- what is wished over HTTP ---- */

static bool has_relay(const void *ctx, const char *name)
{
    return ctx == NULL && name != NULL;
}

START_TEST(wishes)
{
    static const struct {
        const char *body;
        enum outcome_code want;
        bool send;
        const char *to;
    } rows[] = {
        {"", OUTCOME_SENT, false, NULL},
        {"{}", OUTCOME_SENT, false, NULL},
        {"{\"to\":null,\"send\":null,\"all_ports\":true}", OUTCOME_SENT, false, NULL},
        {"{\"to\":\"Bob <bob@example.org>\",\"send\":true}", OUTCOME_SENT, true, "bob@example.org"},
        {"{\"to\":{\"email\":\"bob@example.org\"},\"from\":\"a@b.test\"}", OUTCOME_SENT, false, "bob@example.org"},
        {"{\"to\":[\"bob@example.org\"]}", OUTCOME_VALIDATION_FAILED, false, NULL},
        {"{\"to\":\"bob\"}", OUTCOME_VALIDATION_FAILED, false, NULL},
        {"{\"from\":\"bob@example.org\"}", OUTCOME_VALIDATION_FAILED, false, NULL},
        {"{\"send\":true}", OUTCOME_VALIDATION_FAILED, false, NULL},
        {"{\"send\":1}", OUTCOME_VALIDATION_FAILED, false, NULL},
        {"{\"host\":\"evil.test\"}", OUTCOME_VALIDATION_FAILED, false, NULL},
        {"{\"send\":true,\"send\":false}", OUTCOME_VALIDATION_FAILED, false, NULL},
        {"[]", OUTCOME_VALIDATION_FAILED, false, NULL},
        {"{", OUTCOME_INVALID_JSON, false, NULL},
    };
    const struct json_mail_params params = {.max_recipients = 10, .max_json_values = 100, .has_relay = has_relay};
    size_t n = strlen(rows[_i].body);
    struct json_mail_result read;
    struct json_diagnose wish;

    json_diagnose_read(n ? strdup(rows[_i].body) : NULL, n, &params, &wish, &read);
    ck_assert_str_eq(outcome_code_name(read.code), outcome_code_name(rows[_i].want));
    ck_assert(!read.mail == (read.code != OUTCOME_SENT));
    if (read.mail) {
        ck_assert_int_eq(wish.send, rows[_i].send);
        ck_assert_uint_eq(read.mail->to.n, rows[_i].to ? 1 : 0);
        if (rows[_i].to)
            ck_assert_str_eq(read.mail->to.v[0].email, rows[_i].to);
    }
    json_mail_result_deinit(&read);
}
END_TEST

static void add_all(TCase *t)
{
    tcase_add_test(t, plain);
    tcase_add_test(t, everything_is_kept);
    tcase_add_test(t, the_suggested_authority_takes_the_place_of_another);
    tcase_add_test(t, a_host_leads_to_no_other_directory);
    tcase_add_loop_test(t, urls, 0, 3);
    tcase_add_test(t, quoting);
    tcase_add_test(t, another_relay_has_no_environment);
    tcase_add_test(t, a_missing_login);
    tcase_add_test(t, nothing_to_suggest);
    tcase_add_test(t, no_setup);
    tcase_add_test(t, there_and_back);
    tcase_add_loop_test(t, no_report, 0, 7);
    tcase_add_test(t, a_strange_report);
    tcase_add_test(t, differences_are_the_last_member);
    tcase_add_loop_test(t, wishes, 0, 14);
}

static void add_comparisons(TCase *t)
{
    tcase_add_test(t, nothing_is_different);
    tcase_add_test(t, result);
    tcase_add_test(t, addresses);
    tcase_add_test(t, banner);
    tcase_add_test(t, a_slow_greeting);
    tcase_add_test(t, starttls_is_missing_here);
    tcase_add_test(t, an_extension_more_here);
    tcase_add_test(t, mechanisms);
    tcase_add_test(t, version);
    tcase_add_test(t, versions_taken);
    tcase_add_test(t, another_issuer);
    tcase_add_test(t, the_same_certificate_is_not_trusted_here);
    tcase_add_test(t, a_renewal);
    tcase_add_test(t, clocks);
    tcase_add_test(t, ports);
    tcase_add_test(t, findings);
}

int main(void)
{
    Suite *s = suite_create("diagnosis");
    TCase *t = tcase_create("diagnosis"), *beside = tcase_create("beside another one");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_checked_fixture(beside, set_up, tear_down);
    add_all(t);
    add_comparisons(beside);
    suite_add_tcase(s, t);
    suite_add_tcase(s, beside);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
