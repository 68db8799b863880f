#include "tests/unit/diagnose_case.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* The fixture of the diagnosis' tests. */

struct made ca, leaf;
static char *ca_pem;
SSL_CTX *good_tls;
struct relay_config relay;
struct diagnose_params params;
struct diagnosis *d;
struct script_peer *script_server;

const struct script_line good_lines[] = {{"tls:EHLO", EHLO_TLS}, {"EHLO", EHLO_PLAIN}, {NULL, NULL}};

void diagnose_case_setup(void)
{
    made_init(&ca, &(struct made_spec){.name = "Test Root", .ca = 1, .from_s = -3600, .until_s = 86400 * 365});
    made_init(&leaf, &(struct made_spec){.name = "leaf", .san = "DNS:localhost,DNS:other.test", .issuer = &ca,
                                         .from_s = -3600, .until_s = 86400 * 90});
    ca_pem = made_pem(&ca);
    good_tls = peer_context(&leaf, NULL, 0, 0);
    relay_config_init(&relay);
    relay.name = "default";
    relay.host = "localhost";
    relay.user = "ann";
    relay.password = PASSWORD;
    relay.ca_pem = ca_pem;
    relay.ehlo_name = "client.test";
    relay.connect_ms = 1000;
    memset(&params, 0, sizeof(params));
    params.relay = &relay;
    params.only_address = "127.0.0.1";
    d = calloc(1, sizeof(*d));
    ck_assert_ptr_nonnull(d);
    script_server = NULL;
}

void diagnose_case_teardown(void)
{
    if (script_server)
        script_peer_stop(script_server);
    SSL_CTX_free(good_tls);
    made_deinit(&leaf);
    made_deinit(&ca);
    free(ca_pem);
    free(d);
}

/* ---- runs and what is expected of them ---- */

void run_against(const struct script *s)
{
    script_server = script_peer_start(s);
    relay.port = script_peer_port(script_server);
    diagnose_run(&params, d);
}

void run_lines(const struct script_line *lines)
{
    run_against(&(struct script){.banner = BANNER, .lines = lines, .tls = good_tls});
}

const struct diagnose_step *step(enum diagnose_step_id id)
{
    for (unsigned i = 0; i < d->n_steps; i++)
        if (d->steps[i].id == id)
            return &d->steps[i];
    ck_abort_msg("no step %s", diagnose_step_name(id));
}

bool has_step(enum diagnose_step_id id)
{
    for (unsigned i = 0; i < d->n_steps; i++)
        if (d->steps[i].id == id)
            return true;
    return false;
}

void expect_failure(enum outcome_code code, enum diagnose_step_id at)
{
    ck_assert_str_eq(outcome_code_name(d->outcome.code), outcome_code_name(code));
    ck_assert_str_eq(diagnose_step_name(d->failed_at), diagnose_step_name(at));
    ck_assert_int_eq(step(at)->status, DIAGNOSE_FAIL);
    ck_assert_int_eq(step(at)->outcome.code, (int)code);
    ck_assert(!d->ok);
    ck_assert_str_ne(d->conclusion, "");
}

void expect_finding(enum diagnose_finding_id id)
{
    ck_assert_msg(diagnose_has(d, id), "%s was not found; %s", diagnose_finding_name(id), d->conclusion);
}

void expect_suggestion(uint16_t port, enum smtp_tls_mode mode)
{
    ck_assert_msg(d->suggestion.known, "nothing suggested: %s", d->conclusion);
    ck_assert_uint_eq(d->suggestion.port, port);
    ck_assert_int_eq(d->suggestion.tls_mode, mode);
}

void expect_no_secrets_sent(void)
{
    ck_assert_int_eq(script_peer_count(script_server, "AUTH"), 0);
    ck_assert_int_eq(script_peer_count(script_server, "MAIL"), 0);
    ck_assert(!d->auth_tried);
}

void expect_in(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part), "\"%s\" is not in \"%s\"", part, text);
}
