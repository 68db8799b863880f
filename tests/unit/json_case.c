#include "json_case.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Documents for the readers of requests, and what they found in them. */

static bool has_relay(const void *ctx, const char *name)
{
    (void)ctx;
    return strcmp(name, "default") == 0;
}

const struct json_mail_params json_case_params = {
    .max_recipients = 3, .max_json_values = 1000000, .has_relay = has_relay};

void json_case_check_result(const struct json_mail_result *r)
{
    ck_assert_int_eq(r->mail != NULL, r->code == OUTCOME_SENT);
    ck_assert_int_eq(r->detail == NULL, r->code == OUTCOME_SENT);
    if (r->code == OUTCOME_SENT || r->code == OUTCOME_VALIDATION_FAILED)
        ck_assert_int_eq(r->n_problems > 0, r->code == OUTCOME_VALIDATION_FAILED);
    ck_assert(!r->detail || bytes_is_utf8(bytes_view_str(r->detail)));
    for (size_t i = 0; i < r->n_problems; i++) {
        ck_assert(bytes_is_utf8(bytes_view_str(r->problems[i].pointer)));
        ck_assert(bytes_is_utf8(bytes_view_str(r->problems[i].detail)));
        ck_assert(r->problems[i].detail[0]);
    }
}

struct json_mail_result json_case_read(const char *json, size_t n)
{
    struct json_mail_result r;
    char *copy = malloc(n ? n : 1);

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, json, n);
    json_mail_read(copy, n, &json_case_params, &r);
    json_case_check_result(&r);
    return r;
}

char *json_case_quoted(const char *text)
{
    char *copy = strdup(text);

    ck_assert_ptr_nonnull(copy);
    for (char *p = copy; (p = strchr(p, '\'')); p++)
        *p = '"';
    return copy;
}

struct json_mail_result json_case_read_fields(const char *fields)
{
    struct json_mail_result r;
    struct bytes_buf b;
    char *json;

    bytes_buf_init(&b, 0);
    bytes_buf_add_str(&b, "{'from':'a@b.example','to':'c@d.example','text':'x',");
    bytes_buf_add_str(&b, fields);
    bytes_buf_add_char(&b, '}');
    ck_assert(!b.failed);
    json = json_case_quoted(b.p);
    r = json_case_read(json, b.n);
    free(json);
    bytes_buf_deinit(&b);
    return r;
}

void json_case_expect(const struct json_mail_result *r, const char *what, const char *problems)
{
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    for (size_t i = 0; i < r->n_problems; i++)
        bytes_buf_printf(&b, "%s %s;", r->problems[i].pointer, r->problems[i].code);
    ck_assert_msg(strcmp(b.n ? b.p : "", problems) == 0, "%.200s:\ngot      %s\nexpected %s\n%s", what, b.n ? b.p : "",
                  problems, r->detail ? r->detail : "");
    bytes_buf_deinit(&b);
}
