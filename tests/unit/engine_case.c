#include "tests/unit/engine_case.h"

#include "smtp/cert.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the engine's tests share. */

static struct loop *home;               /* where reports arrive */
static pthread_t home_thread;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;
static struct delivery_report *reports[REPORTS_MAX];
static size_t n_reports;
struct relay_config ec_config;
struct engine *ec_engine;
struct peer *ec_peer;
static struct cert_set certs;
void (*ec_on_trace)(void *ctx, size_t relay, unsigned session, bool from_client, const char *line);
char ec_owner;

static void *home_run(void *ctx)
{
    (void)ctx;
    loop_run(home);
    return NULL;
}

void ec_setup(void)
{
    home = loop_new();
    ck_assert_ptr_nonnull(home);
    ck_assert_int_eq(pthread_create(&home_thread, NULL, home_run, NULL), 0);
    relay_config_init(&ec_config);
    ec_config.name = "test";
    ec_config.host = "127.0.0.1";
    ec_config.tls_mode = SMTP_TLS_NONE;
    ec_config.ehlo_name = "client.test";
    n_reports = 0;
    ec_engine = NULL;
    ec_peer = NULL;
    memset(&certs, 0, sizeof(certs));
}

void ec_drop_reports(void)
{
    while (n_reports)
        delivery_report_free(reports[--n_reports]);
}

void ec_teardown(void)
{
    engine_free(ec_engine);
    if (ec_peer)
        peer_stop(ec_peer);
    loop_stop(home);
    pthread_join(home_thread, NULL);
    loop_free(home);
    ec_drop_reports();
    cert_set_deinit(&certs);
}

/* With TLS in a rule, certs must have been made. */
void ec_start(const struct peer_rule *rules, size_t n)
{
    struct engine_params p = {.relays = &ec_config, .n_relays = 1, .loops = 1, .on_trace = ec_on_trace};
    char err[200];

    if (n) {
        ec_peer = peer_start(rules, n, certs.chain_pem, certs.key_pem);
        ec_config.port = peer_port(ec_peer);
    }
    ec_engine = engine_new(&p, err);
    ck_assert_msg(ec_engine != NULL, "%s", err);
}

void ec_use_tls(enum smtp_tls_mode mode)
{
    ck_assert_int_eq(cert_set_make(&certs), 0);
    ec_config.ca_pem = certs.ca_pem;
    ec_config.tls_mode = mode;
}

static void on_report(struct delivery_report *r)
{
    pthread_mutex_lock(&lock);
    ck_assert_uint_lt(n_reports, REPORTS_MAX);
    reports[n_reports++] = r;
    pthread_cond_broadcast(&arrived);
    pthread_mutex_unlock(&lock);
}

/* The n-th report (from 1). */
const struct delivery_report *ec_report(size_t n)
{
    struct delivery_report *r;

    pthread_mutex_lock(&lock);
    while (n_reports < n)
        pthread_cond_wait(&arrived, &lock);
    r = reports[n - 1];
    pthread_mutex_unlock(&lock);
    return r;
}

static char *line_of(size_t n)
{
    char *content = malloc(n + 1);

    ck_assert_ptr_nonnull(content);
    memset(content, 'x', n);
    for (size_t i = 0; i + 2 <= n; i += 78)
        memcpy(content + i, "\r\n", 2);
    memcpy(content, "Subject: a\r\n\r\n", n < 14 ? n : 14);
    memcpy(content + n - 2, "\r\n", 3);
    return content;
}

static void submit(uint64_t within_ms, size_t content_n, size_t n_rcpts)
{
    struct delivery *d = delivery_new(n_rcpts);

    ck_assert_ptr_nonnull(d);
    snprintf(d->id, sizeof(d->id), "0192f7c0-0000-7000-8000-000000000001");
    d->from = strdup("ann@example.com");
    for (size_t i = 0; i < n_rcpts; i++)
        d->rcpts[i] = strdup("bob@example.org");
    d->content = line_of(content_n);
    d->content_n = content_n;
    d->deadline = clock_us() / 1000 + within_ms;
    d->reply_to = home;
    d->on_report = on_report;
    d->owner = &ec_owner;
    ck_assert_int_eq(engine_submit(ec_engine, d), 0);
}

void ec_submit_sized(uint64_t within_ms, size_t content_n)
{
    submit(within_ms, content_n, 1);
}

void ec_submit_to(size_t n_rcpts, uint64_t within_ms)
{
    submit(within_ms, 1000, n_rcpts);
}

void ec_submit(uint64_t within_ms)
{
    ec_submit_sized(within_ms, 1000);
}

const struct delivery_report *ec_send_one(size_t n)
{
    ec_submit(10000);
    return ec_report(n);
}

void ec_assert_sent(const struct delivery_report *r)
{
    ck_assert_msg(r->outcome.code == OUTCOME_SENT, "%s: %s %s", outcome_code_name(r->outcome.code), r->outcome.text,
                  r->outcome.reason);
    ck_assert_int_eq(r->outcome.delivery, DELIVERY_ACCEPTED);
    ck_assert_int_eq(r->rcpts[0].code, OUTCOME_SENT);
}

void ec_assert_failed(const struct delivery_report *r, enum outcome_code code, enum stage stage)
{
    ck_assert_str_eq(outcome_code_name(r->outcome.code), outcome_code_name(code));
    ck_assert_str_eq(stage_name(r->outcome.stage), stage_name(stage));
    ck_assert_int_eq(r->rcpts[0].code, code);
}

struct engine_relay_stats ec_stats(void)
{
    struct engine_relay_stats s;

    engine_get_stats(ec_engine, 0, &s);
    return s;
}
