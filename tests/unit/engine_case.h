#ifndef TESTS_ENGINE_CASE_H
#define TESTS_ENGINE_CASE_H
/* An engine with one relay, the peer that it talks to, and the reports that came: for one test at a time. */
#include "smtp/engine.h"
#include "tests/unit/smtp_peer.h"

#define REPORTS_MAX 64

extern struct relay_config config;      /* of the one relay; to be changed before start */
extern struct engine *engine;           /* freed by teardown, unless the test did and set it NULL */
extern struct peer *peer;
extern char owner;                      /* &owner is each delivery's owner */

void setup(void);                       /* a checked fixture, as teardown */
void teardown(void);
void use_tls(enum smtp_tls_mode mode);  /* before start: makes certificates, trusts them */
void start(const struct peer_rule *rules, size_t n);    /* n 0: no peer */
void submit(uint64_t within_ms);        /* a mail of 1000 octets, to be reported until then */
void submit_sized(uint64_t within_ms, size_t content_n);
const struct delivery_report *report(size_t n);         /* the n-th, from 1; waits for it */
void drop_reports(void);                /* the next one is the first again */
const struct delivery_report *send_one(size_t n);       /* submits one; its report is the n-th */
void assert_sent(const struct delivery_report *r);
void assert_failed(const struct delivery_report *r, enum outcome_code code, enum stage stage);
struct engine_relay_stats stats(void);
#endif
