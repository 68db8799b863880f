#include "api/catalogue.h"
#include "api/routes.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* The catalogue of error codes against API.md §4, and the table of routes. */

static struct bytes_buf out;

static void setup(void)
{
    bytes_buf_init(&out, 0);
}

static void teardown(void)
{
    bytes_buf_deinit(&out);
}

START_TEST(every_code_has_words)
{
    const struct catalogue_row *row = catalogue_get((enum outcome_code)_i);

    ck_assert_int_ge(row->status, _i == OUTCOME_SENT ? 200 : 400);
    ck_assert_int_le(row->status, 504);
    ck_assert_uint_gt(strlen(row->title), 3);
    ck_assert_uint_lt(strlen(row->title), 80);
    ck_assert_int_ne(row->title[strlen(row->title) - 1], '.');
    ck_assert_int_eq(row->meaning[strlen(row->meaning) - 1], '.');
    ck_assert_int_eq(row->hint[strlen(row->hint) - 1], '.');
}
END_TEST

static const struct {
    enum outcome_code code;
    int reply, status;
} statuses[] = {
    {OUTCOME_SENT, 250, 200},
    {OUTCOME_INVALID_JSON, 0, 400},
    {OUTCOME_MISSING_API_KEY, 0, 401},
    {OUTCOME_FORBIDDEN, 0, 403},
    {OUTCOME_REQUEST_TIMEOUT, 0, 408},
    {OUTCOME_PAYLOAD_TOO_LARGE, 0, 413},
    {OUTCOME_HEADERS_TOO_LARGE, 0, 431},
    {OUTCOME_VALIDATION_FAILED, 0, 422},
    {OUTCOME_NOT_IMPLEMENTED, 0, 501},
    {OUTCOME_UNSUPPORTED_TRANSFER_ENCODING, 0, 501},
    {OUTCOME_OVERLOADED, 0, 503},
    {OUTCOME_DEADLINE_EXCEEDED, 0, 504},
    {OUTCOME_CONNECT_TIMEOUT, 0, 504},
    {OUTCOME_CONNECTION_CLOSED, 0, 502},
    {OUTCOME_STARTTLS_NOT_OFFERED, 250, 502},
    {OUTCOME_AUTH_FAILED, 535, 502},
    {OUTCOME_AUTH_TEMPORARY, 454, 503},
    {OUTCOME_SENDER_REJECTED, 550, 422},
    {OUTCOME_SENDER_REJECTED, 451, 503},
    {OUTCOME_RECIPIENTS_REJECTED, 450, 503},
    {OUTCOME_BANNER_REJECTED, 554, 502},
    {OUTCOME_BANNER_REJECTED, 450, 503},
    {OUTCOME_MAILBOX_FULL, 452, 503},
    {OUTCOME_MAILBOX_FULL, 552, 422},
    {OUTCOME_MESSAGE_DEFERRED, 451, 503},
    {OUTCOME_MESSAGE_TOO_LARGE, 452, 422},      /* not by class: the table's status stands */
    {OUTCOME_OUTCOME_UNKNOWN, 0, 504},
};

START_TEST(status_by_class)
{
    struct smtp_outcome o = {.code = statuses[_i].code, .reply_code = statuses[_i].reply};

    ck_assert_int_eq(catalogue_status(&o), statuses[_i].status);
}
END_TEST

START_TEST(entry_as_json)
{
    catalogue_write(OUTCOME_DATA_REJECTED, &out);
    ck_assert_str_eq(out.p,
                     "{\"code\":\"data_rejected\",\"title\":\"The relay refused the mail before its content\","
                     "\"meaning\":\"Sender and recipients were accepted, and then DATA was refused.\","
                     "\"hint\":\"Do what smtp.text says: {host} took sender and recipients, and then refused DATA.\","
                     "\"status\":422,\"retryable\":\"by_class\",\"variants\":[{\"when\":\"a 4xx reply\","
                     "\"hint\":\"Send it again after a minute: {host} refuses the mail for now only.\"}]}");
}
END_TEST

START_TEST(list_has_all_but_sent)
{
    size_t n = 0;

    catalogue_write_all(&out);
    ck_assert(!out.failed);
    for (const char *p = out.p; (p = strstr(p, "{\"code\":")) != NULL; p++)
        n++;
    ck_assert_uint_eq(n, OUTCOME_COUNT - 1);
    ck_assert_ptr_null(strstr(out.p, "\"code\":\"sent\""));
}
END_TEST

static const struct {
    enum http_method method;
    const char *path;
    bool admin, sandbox;
    const char *label, *argument, *allow;       /* label NULL: no row */
} paths[] = {
    {HTTP_POST, "/v1/emails", false, false, "/v1/emails", "", "POST, GET, HEAD"},
    {HTTP_HEAD, "/v1/errors/timeout", false, false, "/v1/errors/{code}", "timeout", "GET, HEAD"},
    {HTTP_POST, "/v1/emails/batch", false, false, "/v1/emails/batch", "", "POST"},
    {HTTP_GET, "/v1/emails/batch", false, false, NULL, "", "POST"},
    {HTTP_POST, "/v1/emails/abc/cancel", false, false, "/v1/emails/{id}/cancel", "abc", "POST"},
    {HTTP_OPTIONS, "/v1/emails", false, false, NULL, "", "POST, GET, HEAD"},
    {HTTP_POST, "/v1/emails/", false, false, NULL, "", ""},
    {HTTP_POST, "/V1/emails", false, false, NULL, "", ""},
    {HTTP_POST, "/v1%2femails", false, false, NULL, "", ""},
    {HTTP_POST, "//v1/emails", false, false, NULL, "", ""},
    {HTTP_GET, "/v1/errors/a/b", false, false, NULL, "", ""},
    {HTTP_GET, "*", false, false, NULL, "", ""},
    {HTTP_GET, "", false, false, NULL, "", ""},
    {HTTP_GET, "/sandbox/messages", false, false, NULL, "", ""},
    {HTTP_DELETE, "/sandbox/messages", false, true, "/sandbox/messages", "", "GET, HEAD, DELETE"},
    {HTTP_GET, "/metrics", false, false, NULL, "", ""},
    {HTTP_GET, "/metrics", true, false, "/metrics", "", "GET, HEAD"},
    {HTTP_POST, "/v1/emails", true, true, NULL, "", ""},
};

START_TEST(route_of_a_path)
{
    struct route_match m;

    routes_find(paths[_i].method, bytes_view_str(paths[_i].path), paths[_i].admin, paths[_i].sandbox, &m);
    ck_assert_pstr_eq(m.row ? m.row->label : NULL, paths[_i].label);
    if (m.row)
        ck_assert(bytes_equal(m.argument, bytes_view_str(paths[_i].argument)));
    ck_assert_str_eq(m.allow, paths[_i].allow);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("catalogue");
    TCase *t = tcase_create("tables");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, every_code_has_words, 0, OUTCOME_COUNT);
    tcase_add_loop_test(t, status_by_class, 0, (int)ARRAY_LEN(statuses));
    tcase_add_test(t, entry_as_json);
    tcase_add_test(t, list_has_all_but_sent);
    tcase_add_loop_test(t, route_of_a_path, 0, (int)ARRAY_LEN(paths));
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
