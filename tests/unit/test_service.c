#include "service/service.h"

#include "service/config.h"
#include "service/log.h"
#include "smtp/engine.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The office with an engine that does nothing: what goes down to it, what comes up to the caller, capacity and
 * draining. The functions of smtp/engine.h defined here stand in for the library's. */

static struct delivery *submitted;
static unsigned drained;
static struct config_errors errors;
static struct config *config;
static struct loop *loop, *loops[2];        /* loop: the one whose desk is used */
static struct desk *desk;
static struct service *service;
static struct send_result last;
static char last_rcpts[200], last_host[80];
static unsigned answers, empties;
static uint64_t deadline = 12345;
static bool stop_on_submit;

struct engine *engine_new(const struct engine_params *p, char err_out[200])
{
    ck_assert_uint_eq(p->n_relays, 2);
    err_out[0] = '\0';
    return malloc(1);
}

/* Whether there is a relay at that place, and what a reload was told last. */
static bool is_gone;
static int reload_result;
static const char *reloaded_host[4];

int engine_reload(struct engine *e, const struct relay_config *const *relays, size_t n, char err_out[200])
{
    ck_assert_ptr_nonnull(e);
    memset(reloaded_host, 0, sizeof(reloaded_host));
    for (size_t i = 0; i < n && i < ARRAY_LEN(reloaded_host); i++)
        reloaded_host[i] = relays[i] ? relays[i]->host : NULL;
    snprintf(err_out, 200, "%s", reload_result ? "it cannot be used" : "");
    return reload_result;
}

int engine_submit(struct engine *e, struct delivery *d)
{
    ck_assert_ptr_nonnull(e);
    ck_assert_ptr_null(submitted);
    if (is_gone)
        return -1;
    submitted = d;
    if (stop_on_submit)
        loop_stop(loop);
    return 0;
}

void engine_drain(struct engine *e)
{
    ck_assert_ptr_nonnull(e);
    drained++;
}

void engine_give_up(struct engine *e)
{
    ck_assert_ptr_nonnull(e);
    drained++;
}

void engine_free(struct engine *e)
{
    free(e);
}

void engine_get_stats(struct engine *e, size_t relay, struct engine_relay_stats *out)
{
    ck_assert_ptr_nonnull(e);
    *out = (struct engine_relay_stats){.idle = (unsigned)relay};
}

struct relay_memory *engine_get_memory(struct engine *e, size_t relay, const struct relay_config *c)
{
    (void)relay;
    (void)c;
    ck_assert_ptr_nonnull(e);
    return NULL;
}

static void make_service(void)
{
    struct service_params p = {.config = config, .loops = loops, .n_loops = 2};
    char err[200];

    service = service_new(&p, err);
    ck_assert_ptr_nonnull(service);
    desk = service_desk(service, 0);
    ck_assert_uint_eq(service_n_desks(service), 2);
}

static void setup(void)
{
    char *argv[] = {"--default-relay=default", "--relay-url=smtp://h", "--max-waiting=1", "--max-inflight-bytes=2000",
                    NULL};

    clearenv();
    ck_assert_int_eq(log_init("json", "error", false), 0);
    config_errors_init(&errors);
    ck_assert_int_eq(config_load(4, argv, &config, &errors), 0);
    ck_assert_int_eq(config_add_relay(config, "other", "127.0.0.1", 25, NULL, NULL, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(loops); i++)
        loops[i] = loop_new();
    loop = loops[0];
    make_service();
}

static void teardown(void)
{
    delivery_free(submitted);
    service_free(service);
    for (size_t i = 0; i < ARRAY_LEN(loops); i++)
        loop_free(loops[i]);
    config_free(config);
    config_errors_deinit(&errors);
}

static void on_done(void *ctx, const struct send_result *r)
{
    ck_assert_ptr_eq(ctx, &answers);
    answers++;
    last = *r;
    snprintf(last_host, sizeof(last_host), "%s", r->relay_host ? r->relay_host : "");
    last_rcpts[0] = '\0';
    for (size_t i = 0; i < r->n_rcpts; i++) {
        strncat(last_rcpts, r->rcpts[i], 60);
        strncat(last_rcpts, " ", 2);
    }
}

static void add(struct mail_address_list *list, const char *email)
{
    ck_assert_int_eq(mail_address_list_add(list, (struct mail_address){.email = strdup(email)}), 0);
}

static struct mail *make_mail(void)
{
    struct mail *m = mail_new();

    m->from.email = strdup("ann@example.com");
    m->text = bytes_view_str("Hello.\n");
    add(&m->to, "bob@example.org");
    add(&m->to, "Bob@example.org");
    add(&m->to, "bob@example.org");
    add(&m->cc, "carl@example.org");
    add(&m->bcc, "carl@example.org");
    add(&m->bcc, "dora@example.org");
    return m;
}

static void send_mail(struct mail *m)
{
    struct send_request r = {.request_id = "r-1", .deadline = deadline, .on_done = on_done, .ctx = &answers};
    struct message *message = service_prepare(service, m);

    ck_assert_ptr_nonnull(message);
    desk_send(desk, message, &r);
}

/* The report that the engine would make, delivered at once. */
static struct delivery_report *make_report(enum outcome_code code, enum stage stage, enum delivery_status delivery)
{
    struct delivery_report *r = calloc(1, sizeof(*r) + submitted->n_rcpts * sizeof(struct smtp_outcome));

    memcpy(r->id, submitted->id, sizeof(r->id));
    r->owner = submitted->owner;
    r->ctx = submitted->ctx;
    r->relay = submitted->relay;
    r->on_report = submitted->on_report;
    r->outcome = (struct smtp_outcome){
        .code = code, .stage = stage, .delivery = delivery, .whose = outcome_usual_whose(code)};
    r->n_rcpts = submitted->n_rcpts;
    r->rcpts = (struct smtp_outcome *)(void *)(r + 1);
    r->retry_after_s = 7;
    if (submitted->keep_content) {
        r->content = submitted->content;
        r->content_n = submitted->content_n;
        submitted->content = NULL;
    }
    r->n_attempts = 1;
    r->attempts[0] = (struct delivery_attempt){.code = code, .stage = stage};
    return r;
}

static void report(enum outcome_code code, enum stage stage, enum delivery_status delivery)
{
    struct delivery_report *r = make_report(code, stage, delivery);

    delivery_free(submitted);
    submitted = NULL;
    r->on_report(r);
}

START_TEST(test_what_goes_down)
{
    send_mail(make_mail());
    ck_assert_uint_eq(answers, 0);
    ck_assert_ptr_nonnull(submitted);
    ck_assert_uint_eq(strlen(submitted->id), 36);
    ck_assert_str_eq(submitted->from, "ann@example.com");
    ck_assert_uint_eq(submitted->n_rcpts, 4);
    ck_assert_str_eq(submitted->rcpts[0], "bob@example.org");
    ck_assert_str_eq(submitted->rcpts[1], "Bob@example.org");
    ck_assert_str_eq(submitted->rcpts[2], "carl@example.org");
    ck_assert_str_eq(submitted->rcpts[3], "dora@example.org");
    ck_assert_uint_eq(submitted->relay, 1);             /* the last one added is the default */
    ck_assert_uint_eq(submitted->deadline, 12345);
    ck_assert_ptr_eq(submitted->reply_to, loop);
    ck_assert_ptr_nonnull(strstr(submitted->content, "Hello."));
    ck_assert_ptr_null(strstr(submitted->content, "dora"));
    report(OUTCOME_SENT, STAGE_BODY, DELIVERY_ACCEPTED);
    ck_assert_uint_eq(answers, 1);
    ck_assert_str_eq(last_rcpts, "bob@example.org Bob@example.org carl@example.org dora@example.org ");
}
END_TEST

START_TEST(test_named_relay)
{
    struct mail *m = make_mail();

    ck_assert(service_has_relay(service, "default"));
    ck_assert(!service_has_relay(service, "nobody"));
    m->relay = strdup("default");
    send_mail(m);
    ck_assert_uint_eq(submitted->relay, 0);
    report(OUTCOME_AUTH_FAILED, STAGE_AUTH, DELIVERY_NOT_SENT);
    ck_assert_int_eq(last.outcome.code, OUTCOME_AUTH_FAILED);
    ck_assert_str_eq(last.relay, "default");
    ck_assert_str_eq(last_host, "h");
    ck_assert_uint_eq(last.relay_port, 587);
    ck_assert_str_eq(last.relay_tls_mode, "starttls");
    ck_assert_uint_eq(last.retry_after_s, 7);
    ck_assert_ptr_null(last.rcpt_outcomes);             /* no recipient was ever named to the relay */
    ck_assert(!last.sandbox);
}
END_TEST

START_TEST(test_refused_recipients_have_outcomes)
{
    send_mail(make_mail());
    report(OUTCOME_RECIPIENTS_REJECTED, STAGE_RCPT, DELIVERY_REJECTED);
    ck_assert_ptr_nonnull(last.rcpt_outcomes);
}
END_TEST

START_TEST(test_refused_without_the_engine)
{
    struct mail *m = make_mail();

    m->relay = strdup("nobody");
    send_mail(m);
    ck_assert_ptr_null(submitted);
    ck_assert_int_eq(last.outcome.code, OUTCOME_VALIDATION_FAILED);
    ck_assert_int_eq(last.outcome.delivery, DELIVERY_NOT_SENT);
    ck_assert_ptr_null(last.relay);
    ck_assert_ptr_null(last.report);
    m = mail_new();
    m->from.email = strdup("ann@example.com");
    send_mail(m);
    ck_assert_int_eq(last.outcome.code, OUTCOME_VALIDATION_FAILED);
    ck_assert_uint_eq(answers, 2);
}
END_TEST

/* ---- trying again ---- */

static void send_to_retry(uint32_t ms)
{
    struct mail *m = make_mail();

    deadline = loop_now(loop) + ms;
    m->on_temporary_failure = MAIL_ON_TEMPORARY_RETRY;
    send_mail(m);
    ck_assert(submitted->keep_content);
}

static void report_deferred(void)
{
    struct delivery_report *r = make_report(OUTCOME_MESSAGE_DEFERRED, STAGE_BODY, DELIVERY_REJECTED);

    r->outcome.reply_code = 451;
    r->retry_after_s = 0;
    delivery_free(submitted);
    submitted = NULL;
    r->on_report(r);
}

static bool metrics_have(const char *line)
{
    struct bytes_buf out;
    bool found;

    bytes_buf_init(&out, 0);
    service_write_metrics(service, &out);
    found = strstr(out.p, line) != NULL;
    bytes_buf_deinit(&out);
    return found;
}

START_TEST(test_retry)
{
    char id[37], content[2000];
    size_t n;

    send_to_retry(30000);
    memcpy(id, submitted->id, sizeof(id));
    n = submitted->content_n;
    ck_assert_uint_lt(n, sizeof(content));
    memcpy(content, submitted->content, n);
    report_deferred();
    ck_assert_uint_eq(answers, 0);
    ck_assert_ptr_null(submitted);
    ck_assert_int_eq(desk_reserve(desk, 1), OUTCOME_OVERLOADED);  /* who waits for a try counts as waiting */
    stop_on_submit = true;
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_ptr_nonnull(submitted);
    ck_assert_str_eq(submitted->id, id);
    ck_assert_uint_eq(submitted->content_n, n);
    ck_assert_mem_eq(submitted->content, content, n);
    ck_assert_uint_eq(submitted->deadline, deadline);
    ck_assert_uint_eq(submitted->n_rcpts, 4);
    report(OUTCOME_SENT, STAGE_BODY, DELIVERY_ACCEPTED);
    ck_assert_uint_eq(answers, 1);
    ck_assert_int_eq(last.outcome.code, OUTCOME_SENT);
    ck_assert_str_eq(last.id, id);
    ck_assert_uint_eq(last.n_attempts, 2);
    ck_assert(metrics_have("mailhatch_retries_total{relay=\"other\"} 1\n"));
    ck_assert(metrics_have("code=\"sent\",stage=\"body\",delivery=\"accepted\"} 1\n"));
    ck_assert(!metrics_have("message_deferred"));       /* a send counts once */
}
END_TEST

/* That the next try found no time left is not the reason. */
START_TEST(test_retry_that_came_too_late)
{
    send_to_retry(30000);
    report_deferred();
    stop_on_submit = true;
    ck_assert_int_eq(loop_run(loop), 0);
    report(OUTCOME_DEADLINE_EXCEEDED, STAGE_CONNECT, DELIVERY_NOT_SENT);
    ck_assert_uint_eq(answers, 1);
    ck_assert_int_eq(last.outcome.code, OUTCOME_MESSAGE_DEFERRED);
    ck_assert_uint_eq(last.n_attempts, 2);
}
END_TEST

START_TEST(test_no_retry)
{
    send_mail(make_mail());
    ck_assert(!submitted->keep_content);                /* the default of the setting is fail */
    report_deferred();
    ck_assert_uint_eq(answers, 1);
    send_to_retry(100);                                 /* no time for another one */
    report_deferred();
    ck_assert_uint_eq(answers, 2);
    send_to_retry(30000);
    report(OUTCOME_MESSAGE_REJECTED, STAGE_BODY, DELIVERY_REJECTED);
    ck_assert_uint_eq(answers, 3);
    send_to_retry(30000);
    report(OUTCOME_OUTCOME_UNKNOWN, STAGE_BODY, DELIVERY_UNKNOWN);
    ck_assert_uint_eq(answers, 4);
    ck_assert_uint_eq(last.n_attempts, 1);
    ck_assert(metrics_have("mailhatch_retries_total{relay=\"other\"} 0\n"));
}
END_TEST

/* With the setting. */
START_TEST(test_retry_by_the_setting)
{
    struct mail *m;

    service_free(service);
    free(config->on_temporary_failure);
    config->on_temporary_failure = strdup("retry");
    make_service();
    send_mail(make_mail());
    ck_assert(submitted->keep_content);
    report(OUTCOME_SENT, STAGE_BODY, DELIVERY_ACCEPTED);
    m = make_mail();
    m->on_temporary_failure = MAIL_ON_TEMPORARY_FAIL;
    send_mail(m);
    ck_assert(!submitted->keep_content);
    report(OUTCOME_SENT, STAGE_BODY, DELIVERY_ACCEPTED);
}
END_TEST

static void on_empty(void *ctx);

/* A drain waits for the mail, and its end answers it. */
START_TEST(test_retry_and_drain)
{
    send_to_retry(30000);
    report_deferred();
    service_drain(service, on_empty, &empties);
    ck_assert_uint_eq(drained, 0);
    desk_give_up(desk);
    ck_assert_uint_eq(answers, 1);
    ck_assert_int_eq(last.outcome.code, OUTCOME_MESSAGE_DEFERRED);
    ck_assert_uint_eq(last.n_attempts, 1);
    ck_assert_uint_eq(drained, 1);
    desk_give_up(desk);
    ck_assert_uint_eq(answers, 1);
}
END_TEST

/* Nothing is tried again, and what still comes is not sent: it has its names all the same. */
START_TEST(test_given_up)
{
    send_to_retry(30000);
    service_give_up(service);
    report_deferred();
    ck_assert_uint_eq(answers, 1);
    ck_assert_int_eq(last.outcome.code, OUTCOME_MESSAGE_DEFERRED);
    send_mail(make_mail());
    ck_assert_ptr_null(submitted);
    ck_assert_uint_eq(answers, 2);
    ck_assert_int_eq(last.outcome.code, OUTCOME_SHUTTING_DOWN);
    ck_assert_int_eq(last.outcome.delivery, DELIVERY_NOT_SENT);
    ck_assert_uint_eq(strlen(last.id), 36);
}
END_TEST

/* A late verdict has no owner left: it is counted, and nobody is answered twice. */
START_TEST(test_late_report)
{
    struct delivery_report *late;
    struct bytes_buf out;

    send_mail(make_mail());
    late = make_report(OUTCOME_SENT, STAGE_BODY, DELIVERY_ACCEPTED);
    late->late = true;
    late->owner = NULL;
    report(OUTCOME_OUTCOME_UNKNOWN, STAGE_BODY, DELIVERY_UNKNOWN);
    late->on_report(late);
    ck_assert_uint_eq(answers, 1);
    bytes_buf_init(&out, 0);
    service_write_metrics(service, &out);
    ck_assert_ptr_nonnull(strstr(out.p, "mailhatch_late_verdicts_total{relay=\"other\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(out.p, "code=\"outcome_unknown\",stage=\"body\",delivery=\"unknown\"} 1\n"));
    ck_assert_ptr_null(strstr(out.p, "code=\"sent\""));
    ck_assert_ptr_nonnull(strstr(out.p, "mailhatch_sessions{relay=\"other\",state=\"idle\"} 1\n"));
    bytes_buf_deinit(&out);
}
END_TEST

START_TEST(test_capacity)
{
    ck_assert_int_eq(desk_reserve(desk, 2001), OUTCOME_OVERLOADED);
    ck_assert_int_eq(desk_reserve(desk, SIZE_MAX), OUTCOME_OVERLOADED);
    ck_assert_int_eq(desk_reserve(desk, 2000), OUTCOME_SENT);
    ck_assert_int_eq(desk_reserve(desk, 1), OUTCOME_OVERLOADED);
    ck_assert_int_eq(desk_reserve(desk, 0), OUTCOME_SENT);
    desk_release(desk, 2000);
    ck_assert_int_eq(desk_reserve(desk, 1), OUTCOME_SENT);
    desk_release(desk, 1);
    send_mail(make_mail());                             /* max_waiting is 1 */
    ck_assert_int_eq(desk_reserve(desk, 1), OUTCOME_OVERLOADED);
    report(OUTCOME_SENT, STAGE_BODY, DELIVERY_ACCEPTED);
    ck_assert_int_eq(desk_reserve(desk, 1), OUTCOME_SENT);
    desk_release(desk, 1);
}
END_TEST

static void on_empty(void *ctx)
{
    ck_assert_ptr_eq(ctx, &empties);
    empties++;
    loop_stop(loop);
}

START_TEST(test_drain)
{
    ck_assert(service_is_ready(service));
    service_announce_stop(service);
    ck_assert(!service_is_ready(service) && !service_is_draining(service));
    ck_assert_int_eq(desk_reserve(desk, 100), OUTCOME_SENT);      /* drain_delay: still served */
    service_drain(service, on_empty, &empties);
    ck_assert(service_is_draining(service));
    ck_assert_int_eq(desk_reserve(desk, 1), OUTCOME_SHUTTING_DOWN);
    send_mail(make_mail());                             /* it had got in before */
    ck_assert_ptr_nonnull(submitted);
    desk_release(desk, 100);
    ck_assert_uint_eq(drained, 0);
    report(OUTCOME_SENT, STAGE_BODY, DELIVERY_ACCEPTED);
    ck_assert_uint_eq(answers, 1);
    ck_assert_uint_eq(drained, 1);
    ck_assert_uint_eq(empties, 0);                      /* by a letter, never out of the answer's own stack */
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_uint_eq(empties, 1);
}
END_TEST

START_TEST(test_drain_of_an_idle_service)
{
    service_drain(service, on_empty, &empties);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_uint_eq(empties, 1);
}
END_TEST

/* Limits and a drain are all desks'; answers and timers are each one's own. */
START_TEST(test_two_desks)
{
    struct desk *other = service_desk(service, 1);

    ck_assert_ptr_eq(desk_loop(other), loops[1]);
    ck_assert_ptr_eq(desk_service(other), service);
    ck_assert_int_eq(desk_reserve(desk, 1500), OUTCOME_SENT);
    ck_assert_int_eq(desk_reserve(other, 501), OUTCOME_OVERLOADED);
    ck_assert_int_eq(desk_reserve(other, 500), OUTCOME_SENT);
    desk_release(desk, 1500);
    desk = other;
    send_mail(make_mail());
    ck_assert_ptr_eq(submitted->reply_to, loops[1]);
    ck_assert_int_eq(desk_reserve(service_desk(service, 0), 1), OUTCOME_OVERLOADED);    /* max_waiting is 1 */
    service_drain(service, on_empty, &empties);
    ck_assert_int_eq(desk_reserve(other, 1), OUTCOME_SHUTTING_DOWN);
    report(OUTCOME_SENT, STAGE_BODY, DELIVERY_ACCEPTED);
    ck_assert_uint_eq(drained, 0);
    desk_release(other, 500);
    ck_assert_uint_eq(drained, 1);
    ck_assert(metrics_have("code=\"sent\",stage=\"body\",delivery=\"accepted\"} 1\n"));
    ck_assert_int_eq(loop_run(loop), 0);                /* the first loop is told */
    ck_assert_uint_eq(empties, 1);
}
END_TEST

/* ---- reloading ---- */

static struct config *load(const char *url)
{
    char *argv[] = {"--default-relay=default", (char *)(uintptr_t)url, "--max-waiting=2", "--max-recipients=3",
                    "--on-temporary-failure=retry", "--address-literals", NULL};
    struct config *c;

    ck_assert_int_eq(config_load(6, argv, &c, &errors), 0);
    return c;
}

START_TEST(test_reload)
{
    struct config *c = load("--relay-url=smtp://elsewhere");
    struct service_changes changes;
    struct service_limits limits;
    char err[200];

    ck_assert_int_eq(config_add_relay(c, "third", "127.0.0.1", 26, NULL, NULL, NULL), 0);
    ck_assert_int_eq(service_reload(service, c, &changes, err), 0);
    ck_assert_uint_eq(changes.n, 3);
    ck_assert_str_eq(changes.added, "third");
    ck_assert_str_eq(changes.removed, "other");
    ck_assert_str_eq(changes.changed, "default");
    ck_assert_str_eq(reloaded_host[0], "elsewhere");
    ck_assert_ptr_null(reloaded_host[1]);
    ck_assert_str_eq(reloaded_host[2], "127.0.0.1");
    ck_assert(service_has_relay(service, "third") && !service_has_relay(service, "other"));
    ck_assert_str_eq(service_relay_name(service, 1), "other");
    ck_assert_int_eq(service_reload(service, c, &changes, err), 0);
    ck_assert_uint_eq(changes.n, 0);
    config_free(c);
    service_get_limits(service, &limits);
    ck_assert_uint_eq(limits.max_recipients, 3);
    ck_assert(limits.address_literals);
    send_mail(make_mail());
    ck_assert_uint_eq(submitted->relay, 2);             /* the new default */
    ck_assert(submitted->keep_content);
    ck_assert_int_eq(desk_reserve(desk, 1), OUTCOME_SENT);
    desk_release(desk, 1);
    report(OUTCOME_SENT, STAGE_BODY, DELIVERY_ACCEPTED);
    ck_assert(metrics_have("mailhatch_sends_total{relay=\"third\""));
    ck_assert(metrics_have("mailhatch_flights_total{relay=\"other\"} 0\n"));
}
END_TEST

/* A mail keeps what it was made ready with. */
START_TEST(test_reload_under_a_mail)
{
    struct config *c = load("--relay-url=smtp://elsewhere");
    struct service_changes changes;
    struct mail *m = make_mail();
    char err[200];

    m->relay = strdup("default");
    send_mail(m);
    ck_assert_int_eq(service_reload(service, c, &changes, err), 0);
    config_free(c);
    report(OUTCOME_AUTH_FAILED, STAGE_AUTH, DELIVERY_NOT_SENT);
    ck_assert_str_eq(last_host, "h");
    is_gone = true;                     /* taken away after its mail was made ready */
    send_mail(make_mail());
    is_gone = false;
    ck_assert_int_eq(last.outcome.code, OUTCOME_VALIDATION_FAILED);
    ck_assert_uint_eq(answers, 2);
}
END_TEST

START_TEST(test_reload_refused)
{
    struct config *c = load("--relay-url=smtp://elsewhere");
    struct service_changes changes;
    struct service_limits limits;
    char err[200];

    reload_result = -1;
    ck_assert_int_eq(service_reload(service, c, &changes, err), -1);
    reload_result = 0;
    ck_assert_str_eq(err, "it cannot be used");
    ck_assert_uint_eq(changes.n, 0);
    service_get_limits(service, &limits);
    ck_assert_uint_eq(limits.max_recipients, 1000);
    ck_assert(service_has_relay(service, "other"));
    config_free(c);
}
END_TEST

START_TEST(test_more_names_than_places)
{
    struct service_changes changes;
    char err[200] = "", name[20];

    for (unsigned i = 0; i < 300 && !err[0]; i++) {
        struct config *c = load("--relay-url=smtp://elsewhere");
        snprintf(name, sizeof(name), "r%u", i);
        ck_assert_int_eq(config_add_relay(c, name, "127.0.0.1", 26, NULL, NULL, NULL), 0);
        reload_result = -1;             /* a name that was refused once has its place all the same */
        ck_assert_int_eq(service_reload(service, c, &changes, err), -1);
        err[0] = strstr(err, "256") ? err[0] : '\0';
        config_free(c);
    }
    reload_result = 0;
    ck_assert_ptr_nonnull(strstr(err, "restart"));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("service");
    TCase *t = tcase_create("service");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_what_goes_down);
    tcase_add_test(t, test_named_relay);
    tcase_add_test(t, test_refused_recipients_have_outcomes);
    tcase_add_test(t, test_refused_without_the_engine);
    tcase_add_test(t, test_retry);
    tcase_add_test(t, test_retry_that_came_too_late);
    tcase_add_test(t, test_no_retry);
    tcase_add_test(t, test_retry_by_the_setting);
    tcase_add_test(t, test_retry_and_drain);
    tcase_add_test(t, test_given_up);
    tcase_add_test(t, test_late_report);
    tcase_add_test(t, test_capacity);
    tcase_add_test(t, test_drain);
    tcase_add_test(t, test_drain_of_an_idle_service);
    tcase_add_test(t, test_two_desks);
    tcase_add_test(t, test_reload);
    tcase_add_test(t, test_reload_under_a_mail);
    tcase_add_test(t, test_reload_refused);
    tcase_add_test(t, test_more_names_than_places);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    int failed;

    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
