#ifndef TESTS_UNIT_DIAGNOSE_CASE_H
#define TESTS_UNIT_DIAGNOSE_CASE_H
/* What the tests of the diagnosis share: a relay's settings, a run against a scripted server, and what is expected. */
#include "smtp/diagnose.h"
#include "tests/unit/certs.h"
#include "tests/unit/script_peer.h"

#define EHLO_PLAIN "250-peer.test hello\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-STARTTLS\r\n250 8BITMIME\r\n"
#define EHLO_TLS "250-peer.test hello\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-AUTH PLAIN LOGIN\r\n250 8BITMIME\r\n"
#define BANNER "220 peer.test ESMTP\r\n"
#define PASSWORD "correct horse battery"
#define PASSWORD_BASE64 "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5"
#define PLAIN_BASE64 "AGFubgBjb3JyZWN0IGhvcnNlIGJhdHRlcnk="

/* Made anew for each test: a root, a certificate of it for localhost, and settings that trust it. */
extern struct made ca, leaf;
extern SSL_CTX *good_tls;
extern struct relay_config relay;
extern struct diagnose_params params;
extern struct diagnosis *d;
extern struct script_peer *script_server;
extern const struct script_line good_lines[];

void diagnose_case_setup(void);
void diagnose_case_teardown(void);

void run_against(const struct script *s);
void run_lines(const struct script_line *lines);                /* STARTTLS with good_tls */
const struct diagnose_step *step(enum diagnose_step_id id);
bool has_step(enum diagnose_step_id id);
void expect_failure(enum outcome_code code, enum diagnose_step_id at);
void expect_finding(enum diagnose_finding_id id);
void expect_suggestion(uint16_t port, enum smtp_tls_mode mode);
void expect_no_secrets_sent(void);
void expect_in(const char *text, const char *part);
#endif
