#include "service/metrics.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Metrics: sums, buckets at their edges, and tables that are full. */

static struct metrics *m, *all[3];
static size_t n_all = 1;
static struct bytes_buf out;
static const char *const names[] = {"main", "bulk"};
static const struct engine_relay_stats stats[] = {
    {.idle = 3,
     .busy = 2,
     .connecting = 1,
     .waiting = 7,
     .circuit_open = true,
     .opened = 11,
     .resumed = 4,
     .old_address = 3,
     .reused = 12,
     .stale = 13,
     .flights = 14},
    {.idle = 0},
};

static void setup(void)
{
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        ck_assert_ptr_nonnull(all[i] = metrics_new(ARRAY_LEN(names)));
    m = all[0];
    bytes_buf_init(&out, 0);
}

static void teardown(void)
{
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        metrics_free(all[i]);
    bytes_buf_deinit(&out);
}

static void write_all(void)
{
    const struct metrics_gauges g = {.waiting_requests = 5, .inflight_bytes = 6, .log_lines_dropped = 9,
                                     .relays = stats, .relay_names = names,
                                     .n_relays = ARRAY_LEN(names)};

    bytes_buf_deinit(&out);
    metrics_write(all, n_all, &g, &out);
    ck_assert(!out.failed);
}

static void assert_line(const char *line)
{
    char want[300];

    snprintf(want, sizeof(want), "\n%s\n", line);
    ck_assert_msg(strstr(out.p, want) != NULL, "\"%s\" is not in:\n%s", line, out.p);
}

static size_t count_lines(const char *start)
{
    size_t n = 0, len = strlen(start);

    for (const char *p = out.p; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
        n += strncmp(p, start, len) == 0;
    return n;
}

START_TEST(test_http)
{
    metrics_count_http(m, "POST /v1/emails", 200, 1000);
    metrics_count_http(m, "POST /v1/emails", 200, 1001);
    metrics_count_http(m, "POST /v1/emails", 503, 31000000);
    metrics_count_http(m, "a\"b\\c\nd", 200, 0);
    write_all();
    assert_line("mailhatch_http_requests_total{route=\"POST /v1/emails\",status=\"200\"} 2");
    assert_line("mailhatch_http_requests_total{route=\"POST /v1/emails\",status=\"503\"} 1");
    assert_line("mailhatch_http_requests_total{route=\"a\\\"b\\\\c\\nd\",status=\"200\"} 1");
    assert_line("mailhatch_http_request_duration_seconds_bucket{route=\"POST /v1/emails\",le=\"0.001\"} 1");
    assert_line("mailhatch_http_request_duration_seconds_bucket{route=\"POST /v1/emails\",le=\"0.0025\"} 2");
    assert_line("mailhatch_http_request_duration_seconds_bucket{route=\"POST /v1/emails\",le=\"30\"} 2");
    assert_line("mailhatch_http_request_duration_seconds_bucket{route=\"POST /v1/emails\",le=\"+Inf\"} 3");
    assert_line("mailhatch_http_request_duration_seconds_sum{route=\"POST /v1/emails\"} 31.002001");
    assert_line("mailhatch_http_request_duration_seconds_count{route=\"POST /v1/emails\"} 3");
}
END_TEST

static struct smtp_outcome make_outcome(enum outcome_code code, enum stage stage, enum delivery_status delivery)
{
    return (struct smtp_outcome){.code = code, .stage = stage, .delivery = delivery};
}

START_TEST(test_sends)
{
    struct smtp_outcome sent = make_outcome(OUTCOME_SENT, STAGE_BODY, DELIVERY_ACCEPTED), also_sent = sent;
    struct smtp_outcome refused = make_outcome(OUTCOME_AUTH_FAILED, STAGE_AUTH, DELIVERY_NOT_SENT);
    struct delivery_report fresh = {
        .queue_us = 10, .connect_us = 20, .tls_us = 30, .auth_us = 40, .send_us = 50, .total_us = 150};
    struct delivery_report reused = {.queue_us = 0, .send_us = 50, .total_us = 50};

    also_sent.stage = STAGE_REQUEST; /* a mail that was sent has one label set, whatever the stage says */
    metrics_count_send(m, 0, &sent, &fresh);
    metrics_count_send(m, 0, &also_sent, &reused);
    metrics_count_send(m, 1, &refused, NULL);
    metrics_count_send(m, 2, &refused, &fresh);         /* no relay was chosen */
    metrics_count_late(m, 1);
    metrics_count_late(m, 2);
    write_all();
    assert_line("mailhatch_sends_total{relay=\"main\",code=\"sent\",stage=\"body\",delivery=\"accepted\"} 2");
    assert_line("mailhatch_sends_total{relay=\"bulk\",code=\"auth_failed\",stage=\"auth\",delivery=\"not_sent\"} 1");
    assert_line("mailhatch_sends_total{relay=\"\",code=\"auth_failed\",stage=\"auth\",delivery=\"not_sent\"} 1");
    ck_assert_uint_eq(count_lines("mailhatch_sends_total{"), 3);
    assert_line("mailhatch_send_phase_seconds_count{relay=\"main\",phase=\"tls\"} 1");
    assert_line("mailhatch_send_phase_seconds_count{relay=\"main\",phase=\"queue\"} 2");
    assert_line("mailhatch_send_phase_seconds_sum{relay=\"main\",phase=\"total\"} 0.000200");
    assert_line("mailhatch_send_phase_seconds_count{relay=\"bulk\",phase=\"total\"} 0");
    assert_line("mailhatch_late_verdicts_total{relay=\"bulk\"} 1");
}
END_TEST

START_TEST(test_gauges)
{
    write_all();
    assert_line("mailhatch_sessions{relay=\"main\",state=\"idle\"} 3");
    assert_line("mailhatch_sessions{relay=\"main\",state=\"busy\"} 2");
    assert_line("mailhatch_sessions{relay=\"main\",state=\"connecting\"} 1");
    assert_line("mailhatch_sessions_opened_total{relay=\"main\"} 11");
    assert_line("mailhatch_sessions_resumed_total{relay=\"main\"} 4");
    assert_line("mailhatch_sessions_old_address_total{relay=\"main\"} 3");
    assert_line("mailhatch_session_reuse_total{relay=\"main\"} 12");
    assert_line("mailhatch_stale_sessions_total{relay=\"main\"} 13");
    assert_line("mailhatch_flights_total{relay=\"main\"} 14");
    assert_line("mailhatch_circuit_open{relay=\"main\"} 1");
    assert_line("mailhatch_circuit_open{relay=\"bulk\"} 0");
    assert_line("mailhatch_waiting_requests 5");
    assert_line("mailhatch_inflight_bytes 6");
    assert_line("mailhatch_build_info{version=\"" MAILHATCH_VERSION "\"} 1");
}
END_TEST

/* Every family has its HELP and TYPE once, before its samples. */
START_TEST(test_families)
{
    write_all();
    ck_assert_uint_eq(count_lines("# HELP mailhatch_"), count_lines("# TYPE mailhatch_"));
    ck_assert_uint_ge(count_lines("# HELP mailhatch_"), 14);
    ck_assert_int_eq(out.p[out.n - 1], '\n');
}
END_TEST

START_TEST(test_full_tables)
{
    char route[80];

    for (int i = 0; i < 40; i++) {                      /* 32 routes have a place */
        snprintf(route, sizeof(route), "GET /%d/%060d", i, 0);
        metrics_count_http(m, route, 200, 1);
    }
    write_all();
    ck_assert_uint_eq(count_lines("mailhatch_http_request_duration_seconds_count{"), 32);
    assert_line("mailhatch_log_lines_dropped_total 9");
    assert_line("mailhatch_metrics_dropped_total 8");
    for (int i = 0; i < 300; i++) {                     /* 256 pairs of route and status have one, 32 are taken */
        snprintf(route, sizeof(route), "GET /0/%060d", 0);
        metrics_count_http(m, route, 1000 + i, 1);
    }
    write_all();
    ck_assert_uint_eq(count_lines("mailhatch_http_requests_total{"), 256);
    assert_line("mailhatch_metrics_dropped_total 84");
}
END_TEST

START_TEST(test_full_table_of_sends)
{
    size_t n = 0;

    for (unsigned code = 1; code < OUTCOME_COUNT; code++)
        for (unsigned stage = 0; stage < STAGE_COUNT; stage++)
            for (unsigned d = 0; d < 4; d++, n++) {
                struct smtp_outcome o =
                    make_outcome((enum outcome_code)code, (enum stage)stage, (enum delivery_status)d);
                metrics_count_send(m, 0, &o, NULL);
            }
    write_all();
    ck_assert_uint_gt(n, 2048);
    ck_assert_uint_eq(count_lines("mailhatch_sends_total{"), 2048);
    ck_assert_ptr_nonnull(strstr(out.p, "mailhatch_metrics_dropped_total "));
}
END_TEST

/* Three loops: what each has counted is added, whatever place it has in the tables of each. */
START_TEST(test_sums)
{
    struct smtp_outcome sent = make_outcome(OUTCOME_SENT, STAGE_BODY, DELIVERY_ACCEPTED);
    struct smtp_outcome refused = make_outcome(OUTCOME_AUTH_FAILED, STAGE_AUTH, DELIVERY_NOT_SENT);
    struct delivery_report report = {.send_us = 50, .total_us = 50};

    n_all = ARRAY_LEN(all);
    for (int i = 0; i < 10; i++) {
        metrics_count_http(all[0], "a", 200, 1000);
        metrics_count_http(all[1], "b", 404, 2000);
        metrics_count_http(all[1], "a", 200, 3000000);
        metrics_count_http(all[2], "a", 503, 1000);
        metrics_count_send(all[i % 3], 0, &sent, &report);
        metrics_count_send(all[2], 1, &refused, NULL);
        metrics_count_retry(all[i % 2], 1);
    }
    metrics_count_late(all[1], 0);
    metrics_count_late(all[2], 0);
    write_all();
    assert_line("mailhatch_http_requests_total{route=\"a\",status=\"200\"} 20");
    assert_line("mailhatch_http_requests_total{route=\"a\",status=\"503\"} 10");
    assert_line("mailhatch_http_requests_total{route=\"b\",status=\"404\"} 10");
    ck_assert_uint_eq(count_lines("mailhatch_http_requests_total{"), 3);
    assert_line("mailhatch_http_request_duration_seconds_bucket{route=\"a\",le=\"0.001\"} 20");
    assert_line("mailhatch_http_request_duration_seconds_sum{route=\"a\"} 30.020000");
    assert_line("mailhatch_sends_total{relay=\"main\",code=\"sent\",stage=\"body\",delivery=\"accepted\"} 10");
    assert_line("mailhatch_sends_total{relay=\"bulk\",code=\"auth_failed\",stage=\"auth\",delivery=\"not_sent\"} 10");
    assert_line("mailhatch_send_phase_seconds_count{relay=\"main\",phase=\"total\"} 10");
    assert_line("mailhatch_retries_total{relay=\"bulk\"} 10");
    assert_line("mailhatch_late_verdicts_total{relay=\"main\"} 2");
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("metrics");
    TCase *t = tcase_create("metrics");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_http);
    tcase_add_test(t, test_sends);
    tcase_add_test(t, test_gauges);
    tcase_add_test(t, test_families);
    tcase_add_test(t, test_full_tables);
    tcase_add_test(t, test_full_table_of_sends);
    tcase_add_test(t, test_sums);
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
