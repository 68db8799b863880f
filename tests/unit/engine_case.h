#ifndef TESTS_ENGINE_CASE_H
#define TESTS_ENGINE_CASE_H
/* An engine with one relay, the peer that it talks to, and the reports that came: for one test at a time. */
#include "smtp/engine.h"
#include "tests/unit/smtp_peer.h"

#define REPORTS_MAX 64

extern struct relay_config ec_config;      /* of the one relay; to be changed before start */
extern struct engine *ec_engine;           /* freed by teardown, unless the test did and set it NULL */
extern struct peer *ec_peer;
extern void (*ec_on_trace)(void *ctx, size_t relay, unsigned session, bool from_client, const char *line);
extern char ec_owner;                      /* &ec_owner is each delivery's owner */

void ec_setup(void);                       /* a checked fixture, as teardown */
void ec_teardown(void);
void ec_use_tls(enum smtp_tls_mode mode);  /* before start: makes certificates, trusts them */
void ec_start(const struct peer_rule *rules, size_t n);    /* n 0: no peer */
void ec_submit(uint64_t within_ms);        /* a mail of 1000 octets, to be reported until then */
void ec_submit_to(size_t n_rcpts, uint64_t within_ms);
void ec_submit_sized(uint64_t within_ms, size_t content_n);
const struct delivery_report *ec_report(size_t n);         /* the n-th, from 1; waits for it */
void ec_drop_reports(void);                /* the next one is the first again */
const struct delivery_report *ec_send_one(size_t n);       /* submits one; its report is the n-th */
void ec_assert_sent(const struct delivery_report *r);
void ec_assert_failed(const struct delivery_report *r, enum outcome_code code, enum stage stage);
struct engine_relay_stats ec_stats(void);
#endif
