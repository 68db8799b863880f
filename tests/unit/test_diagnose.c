#include "tests/unit/diagnose_case.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A diagnosis from beginning to end, and what it finds before TLS. */

/* ---- all is well ---- */

START_TEST(starttls_works)
{
    static const enum diagnose_step_id order[] = {
        DIAGNOSE_STEP_CONFIG, DIAGNOSE_STEP_DNS, DIAGNOSE_STEP_TCP, DIAGNOSE_STEP_BANNER, DIAGNOSE_STEP_EHLO,
        DIAGNOSE_STEP_STARTTLS, DIAGNOSE_STEP_TLS, DIAGNOSE_STEP_CERTIFICATE, DIAGNOSE_STEP_EHLO_TLS,
        DIAGNOSE_STEP_AUTH, DIAGNOSE_STEP_MAIL, DIAGNOSE_STEP_RCPT, DIAGNOSE_STEP_QUIT, DIAGNOSE_STEP_TLS_VERSIONS};

    params.to = "bob@example.org";
    params.from = "ann@example.org";
    params.tls_versions = true;
    run_lines(good_lines);
    ck_assert_msg(d->ok, "%s", d->conclusion);
    ck_assert_uint_eq(d->n_steps, ARRAY_LEN(order));
    for (unsigned i = 0; i < d->n_steps; i++) {
        ck_assert_str_eq(diagnose_step_name(d->steps[i].id), diagnose_step_name(order[i]));
        ck_assert_msg(d->steps[i].status == DIAGNOSE_OK, "%s: %s", diagnose_step_name(order[i]), d->steps[i].detail);
    }
    ck_assert(d->tls_verified && d->auth_ok);
    ck_assert_str_eq(d->auth_mechanism, "PLAIN");
    ck_assert_str_eq(d->banner, "peer.test ESMTP");
    ck_assert_str_eq(d->address, "127.0.0.1");
    expect_in(d->ehlo.reply, "STARTTLS\n");
    expect_in(d->ehlo_tls.reply, "AUTH PLAIN LOGIN\n");
    expect_finding(DIAGNOSE_FINDING_AUTH_ONLY_AFTER_TLS);
    expect_finding(DIAGNOSE_FINDING_EHLO_CHANGED);
    expect_finding(DIAGNOSE_FINDING_NO_SMTPUTF8);
    expect_finding(DIAGNOSE_FINDING_SIZE_LIMIT);
    ck_assert_int_eq(d->versions[3].state, DIAGNOSE_VERSION_TAKEN);
    ck_assert_int_eq(script_peer_count(script_server, "AUTH"), 1);
    ck_assert_int_eq(script_peer_count(script_server, "RSET"), 1);
    ck_assert_int_eq(script_peer_count(script_server, "DATA"), 0);
    ck_assert(d->suggestion.known && !d->suggestion.changed && d->suggestion.login_checked);
    expect_in(d->conclusion, "works: TLSv1.3, certificate verified, login accepted.");
}
END_TEST

START_TEST(implicit_works)
{
    relay.tls_mode = SMTP_TLS_IMPLICIT;
    run_against(&(struct script){.banner = BANNER, .lines = good_lines, .tls = good_tls, .implicit_tls = true});
    ck_assert_msg(d->ok, "%s", d->conclusion);
    ck_assert(d->auth_ok && !has_step(DIAGNOSE_STEP_STARTTLS) && !has_step(DIAGNOSE_STEP_PORTS));
    ck_assert_uint_eq(d->chain.n, 1);
    ck_assert_str_eq(d->chain.v[0].names[0], "localhost");
    ck_assert(d->chain.trusted && d->chain.name_matches && d->chain.dates_good);
}
END_TEST

START_TEST(a_mail_is_sent_on_demand)
{
    params.to = "bob@example.org";
    params.send = true;
    run_lines(good_lines);
    ck_assert_msg(d->ok, "%s", d->conclusion);
    ck_assert_int_eq(step(DIAGNOSE_STEP_SEND)->status, DIAGNOSE_OK);
    ck_assert_int_eq(script_peer_count(script_server, "Subject: mailhatch diagnose"), 1);
    ck_assert_int_eq(script_peer_count(script_server, "RSET"), 0);
    ck_assert_int_eq(script_peer_count(script_server, "MAIL FROM:<bob@example.org>"), 1);
}
END_TEST

static unsigned begun, ended;

static void count_step(void *ctx, const struct diagnosis *of, unsigned index)
{
    (void)ctx;
    ck_assert_uint_eq(index, of->n_steps - 1);
    if (of->steps[index].status == DIAGNOSE_RUNNING)
        begun++;
    else
        ended++;
}

START_TEST(steps_are_told_as_they_begin_and_end)
{
    begun = ended = 0;
    params.on_step = count_step;
    run_lines(good_lines);
    ck_assert_uint_eq(begun, d->n_steps);
    ck_assert_uint_eq(ended, d->n_steps);
}
END_TEST

/* ---- the wrong mode ---- */

START_TEST(starttls_configured_on_a_tls_port)
{
    relay.timeouts.banner = 200;
    run_against(&(struct script){.banner = BANNER, .lines = good_lines, .tls = good_tls, .implicit_tls = true});
    expect_failure(OUTCOME_PLAINTEXT_ON_TLS_PORT, DIAGNOSE_STEP_BANNER);
    expect_finding(DIAGNOSE_FINDING_WRONG_MODE_TLS_PORT);
    expect_suggestion(relay.port, SMTP_TLS_IMPLICIT);
    ck_assert(d->suggestion.changed);
    expect_in(d->conclusion, "works with tls implicit, not with tls starttls: set tls to implicit.");
    expect_no_secrets_sent();
}
END_TEST

START_TEST(implicit_configured_on_a_plain_port)
{
    relay.tls_mode = SMTP_TLS_IMPLICIT;
    run_lines(good_lines);
    expect_failure(OUTCOME_TLS_ON_PLAINTEXT_PORT, DIAGNOSE_STEP_TLS);
    expect_finding(DIAGNOSE_FINDING_WRONG_MODE_PLAIN_PORT);
    expect_suggestion(relay.port, SMTP_TLS_STARTTLS);
    expect_no_secrets_sent();
}
END_TEST

START_TEST(no_tls_at_all_on_this_machine)
{
    static const struct script_line lines[] = {{"EHLO", "250-dev.test\r\n250 8BITMIME\r\n"}, {"STARTTLS", "502 no\r\n"},
                                               {NULL, NULL}};

    relay.user = NULL;
    run_lines(lines);
    expect_failure(OUTCOME_STARTTLS_NOT_OFFERED, DIAGNOSE_STEP_EHLO);
    ck_assert(!diagnose_has(d, DIAGNOSE_FINDING_STARTTLS_STRIPPED));
    expect_suggestion(relay.port, SMTP_TLS_NONE);
}
END_TEST

START_TEST(a_port_is_judged_by_its_number)
{
    relay.port = 465;
    relay.connect_ms = 200;
    diagnose_run(&params, d);
    expect_finding(DIAGNOSE_FINDING_PORT_FOR_OTHER_MODE);
    ck_assert_int_eq(step(DIAGNOSE_STEP_CONFIG)->status, DIAGNOSE_WARN);
    relay.port = 587;
    relay.tls_mode = SMTP_TLS_IMPLICIT;
    diagnose_run(&params, d);
    expect_finding(DIAGNOSE_FINDING_PORT_FOR_OTHER_MODE);
    relay.tls_mode = SMTP_TLS_NONE;
    diagnose_run(&params, d);
    ck_assert(!diagnose_has(d, DIAGNOSE_FINDING_PORT_FOR_OTHER_MODE));
    expect_finding(DIAGNOSE_FINDING_PLAIN_PASSWORD);
}
END_TEST

/* ---- the first octets ---- */

START_TEST(too_many_connections)
{
    run_against(&(struct script){.banner = "421 4.7.0 too many connections\r\n"});
    expect_failure(OUTCOME_RELAY_BUSY, DIAGNOSE_STEP_BANNER);
    expect_finding(DIAGNOSE_FINDING_CONNECTION_LIMIT);
    expect_in(d->conclusion, "max_sessions");
    ck_assert(!has_step(DIAGNOSE_STEP_PORTS));
}
END_TEST

START_TEST(banner_refuses)
{
    run_against(&(struct script){.banner = "554 5.7.1 no mail from 127.0.0.1\r\n"});
    expect_failure(OUTCOME_BANNER_REJECTED, DIAGNOSE_STEP_BANNER);
    ck_assert_int_eq(d->outcome.reply_code, 554);
}
END_TEST

START_TEST(not_an_smtp_server)
{
    run_against(&(struct script){.banner = "SSH-2.0-Open\x07SSH_9.2\r\n"});
    expect_failure(OUTCOME_PROTOCOL_ERROR, DIAGNOSE_STEP_BANNER);
    expect_in(step(DIAGNOSE_STEP_BANNER)->detail, "SSH-2.0-Open?SSH_9.2");
}
END_TEST

START_TEST(closed_at_once)
{
    run_against(&(struct script){.banner = "close"});
    expect_failure(OUTCOME_CONNECTION_CLOSED, DIAGNOSE_STEP_BANNER);
}
END_TEST

START_TEST(silent)
{
    relay.timeouts.banner = 100;
    relay.timeouts.tls = relay.timeouts.command = 200;
    run_against(&(struct script){.banner = NULL});
    expect_failure(OUTCOME_TIMEOUT, DIAGNOSE_STEP_BANNER);
    ck_assert_int_eq(d->ports[0].state, DIAGNOSE_PORT_SILENT);
}
END_TEST

START_TEST(greeting_too_late)
{
    relay.timeouts.banner = 200;
    run_against(&(struct script){.banner = BANNER, .banner_ms = 350, .lines = good_lines, .tls = good_tls});
    expect_failure(OUTCOME_TIMEOUT, DIAGNOSE_STEP_BANNER);
    expect_finding(DIAGNOSE_FINDING_GREETING_TOO_LATE);
    ck_assert_uint_ge(d->banner_ms, 350);
    ck_assert_uint_ge(d->suggestion.banner_timeout_ms, 1000);
    ck_assert(d->auth_ok);              /* the walk goes on */
}
END_TEST

START_TEST(ehlo_refused)
{
    static const struct script_line lines[] = {{"EHLO", "550 5.7.1 your name does not resolve\r\n"}, {NULL, NULL}};

    run_lines(lines);
    expect_failure(OUTCOME_EHLO_REJECTED, DIAGNOSE_STEP_EHLO);
    expect_in(d->conclusion, "ehlo_name");
}
END_TEST

START_TEST(hostile_replies_stay_bounded)
{
    static char reply[60000];
    const struct script_line lines[] = {{"tls:EHLO", reply}, {"EHLO", EHLO_PLAIN}, {NULL, NULL}};
    size_t n = 0;

    for (int i = 0; i < 90; i++)
        n += (size_t)snprintf(reply + n, sizeof(reply) - n, "250-\x1b]0;%0500d\x80\r\n", i);
    snprintf(reply + n, sizeof(reply) - n, "250 AUTH PLAIN\r\n");
    run_lines(lines);
    ck_assert(d->ehlo_tls.cut);
    for (const char *c = d->ehlo_tls.reply; *c; c++)
        ck_assert(*c == '\n' || (unsigned char)*c >= 0x20);
    for (unsigned i = 0; i < d->n_steps; i++)
        ck_assert(bytes_is_utf8(bytes_view_str(d->steps[i].detail)));
}
END_TEST

/* ---- DNS, TCP, ports ---- */

START_TEST(no_such_name)
{
    relay.host = "a..b.invalid";
    params.only_address = NULL;
    diagnose_run(&params, d);
    expect_failure(OUTCOME_DNS_NOT_FOUND, DIAGNOSE_STEP_DNS);
    expect_finding(DIAGNOSE_FINDING_DNS_EMPTY);
    ck_assert_int_eq(step(DIAGNOSE_STEP_TCP)->status, DIAGNOSE_SKIPPED);
    ck_assert(!has_step(DIAGNOSE_STEP_PORTS));
}
END_TEST

/* The server listens on 127.0.0.1 only; where localhost is ::1 too, that is found and does no harm. */
START_TEST(ipv6_broken)
{
    params.only_address = NULL;
    run_lines(good_lines);
    ck_assert_msg(d->ok, "%s", d->conclusion);
    ck_assert_str_eq(d->address, "127.0.0.1");
    for (unsigned i = 0; i < d->n_addresses; i++) {
        ck_assert(d->addresses[i].tried);
        ck_assert_int_eq(d->addresses[i].connected, !d->addresses[i].ipv6);
        if (d->addresses[i].ipv6)
            expect_finding(DIAGNOSE_FINDING_IPV6_BROKEN);
    }
}
END_TEST

/* A socket that is bound and does not listen keeps its port closed. */
static int bound(uint16_t *port_out, int backlog)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, len), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    if (backlog >= 0)
        ck_assert_int_eq(listen(fd, backlog), 0);
    *port_out = ntohs(a.sin_port);
    return fd;
}

START_TEST(port_closed)
{
    int fd = bound(&relay.port, -1);

    diagnose_run(&params, d);
    expect_failure(OUTCOME_CONNECT_REFUSED, DIAGNOSE_STEP_TCP);
    expect_finding(DIAGNOSE_FINDING_PORT_CLOSED);
    ck_assert_uint_eq(d->n_ports, 5);
    ck_assert_int_eq(d->ports[0].state, DIAGNOSE_PORT_REFUSED);
    ck_assert_int_eq(step(DIAGNOSE_STEP_BANNER)->status, DIAGNOSE_SKIPPED);
    close(fd);
}
END_TEST

/* A listener whose queue is full answers nothing, like a firewall that swallows packets. */
START_TEST(port_filtered)
{
    int fd = bound(&relay.port, 0), first = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons(relay.port)};

    ck_assert_int_eq(connect(first, (struct sockaddr *)&a, sizeof(a)), 0);
    relay.connect_ms = 150;
    diagnose_run(&params, d);
    expect_failure(OUTCOME_CONNECT_TIMEOUT, DIAGNOSE_STEP_TCP);
    expect_finding(DIAGNOSE_FINDING_PORT_FILTERED);
    expect_in(step(DIAGNOSE_STEP_TCP)->detail, "127.0.0.1: no answer within 150 ms");
    ck_assert_int_eq(d->ports[0].state, DIAGNOSE_PORT_FILTERED);
    close(first);
    close(fd);
}
END_TEST

START_TEST(ports_on_demand)
{
    params.all_ports = true;
    run_lines(good_lines);
    ck_assert_msg(d->ok, "%s", d->conclusion);
    ck_assert_uint_eq(d->n_ports, 5);
    ck_assert_int_eq(d->ports[0].state, DIAGNOSE_PORT_SMTP);
    ck_assert(d->ports[0].works && d->ports[0].starttls && d->ports[0].mode == SMTP_TLS_STARTTLS);
    ck_assert_int_eq(script_peer_count(script_server, "AUTH"), 1);
}
END_TEST

/* ---- limits and the trace ---- */

static atomic_bool cancel;

static void cancel_at_banner(void *ctx, const struct diagnosis *of, unsigned index)
{
    (void)ctx;
    if (of->steps[index].id == DIAGNOSE_STEP_BANNER)
        atomic_store(&cancel, true);
}

START_TEST(canceled)
{
    atomic_store(&cancel, false);
    params.cancel = &cancel;
    params.on_step = cancel_at_banner;
    run_against(&(struct script){.banner = NULL});
    ck_assert(d->canceled && !d->timed_out && !d->ok);
    ck_assert_uint_lt(d->total_ms, 1500);
    ck_assert(!has_step(DIAGNOSE_STEP_PORTS) || step(DIAGNOSE_STEP_PORTS)->status == DIAGNOSE_SKIPPED);
}
END_TEST

START_TEST(time_is_up)
{
    params.total_ms = 300;
    run_against(&(struct script){.banner = NULL});
    ck_assert(d->timed_out && !d->canceled && !d->ok);
    ck_assert_uint_ge(d->total_ms, 300);
    ck_assert_uint_lt(d->total_ms, 2000);
}
END_TEST

static char traced[20000];

static void on_trace(void *ctx, bool from_client, uint32_t ms, const char *line)
{
    size_t n = strlen(traced);

    (void)ctx;
    (void)ms;
    snprintf(traced + n, sizeof(traced) - n, "%c: %s\n", from_client ? 'C' : 'S', line);
}

START_TEST(traced_without_secrets)
{
    traced[0] = '\0';
    params.on_trace = on_trace;
    params.to = "bob@example.org";
    params.send = true;
    run_lines(good_lines);
    ck_assert_msg(d->ok, "%s", d->conclusion);
    expect_in(traced, "S: 220 peer.test ESMTP\nC: EHLO client.test\nS: 250-peer.test hello\n");
    expect_in(traced, "C: * TLSv1.3, ");
    expect_in(traced, "C: AUTH PLAIN ***\nS: 235 2.7.0 welcome\nC: MAIL FROM:<bob@example.org>\n");
    expect_in(traced, "octets of mail\nC: .\nS: 250");
    ck_assert_ptr_null(strstr(traced, PASSWORD));
    ck_assert_ptr_null(strstr(traced, PLAIN_BASE64));
    ck_assert_ptr_null(strstr(traced, "Subject"));
    ck_assert_ptr_null(memmem(d, sizeof(*d), PASSWORD, 8));
}
END_TEST

static void add_cases(TCase *t)
{
    tcase_add_test(t, starttls_works);
    tcase_add_test(t, implicit_works);
    tcase_add_test(t, a_mail_is_sent_on_demand);
    tcase_add_test(t, steps_are_told_as_they_begin_and_end);
    tcase_add_test(t, starttls_configured_on_a_tls_port);
    tcase_add_test(t, implicit_configured_on_a_plain_port);
    tcase_add_test(t, no_tls_at_all_on_this_machine);
    tcase_add_test(t, a_port_is_judged_by_its_number);
    tcase_add_test(t, too_many_connections);
    tcase_add_test(t, banner_refuses);
    tcase_add_test(t, not_an_smtp_server);
    tcase_add_test(t, closed_at_once);
    tcase_add_test(t, silent);
    tcase_add_test(t, greeting_too_late);
    tcase_add_test(t, ehlo_refused);
    tcase_add_test(t, hostile_replies_stay_bounded);
    tcase_add_test(t, no_such_name);
    tcase_add_test(t, ipv6_broken);
    tcase_add_test(t, port_closed);
    tcase_add_test(t, port_filtered);
    tcase_add_test(t, ports_on_demand);
    tcase_add_test(t, canceled);
    tcase_add_test(t, time_is_up);
    tcase_add_test(t, traced_without_secrets);
}

int main(void)
{
    Suite *s = suite_create("diagnose");
    TCase *t = tcase_create("diagnose");
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
