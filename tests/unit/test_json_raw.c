#include "json_case.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Finished messages with what their query says: whose envelope it is in the end, and what is refused where. */

#define HEAD "From: a@b.example\r\nTo: c@d.example\r\n"
#define BODY "\r\nx\r\n"
#define BOTH "from=s@b.example&to=r@d.example"

/* "a=b&c=d" as the HTTP library hands it on: a plus has become a blank, everything else is as it was. */
static size_t split(const char *query, struct json_argument *out, size_t room)
{
    size_t n = 0;

    while (*query) {
        size_t length = strcspn(query, "&"), name = strcspn(query, "=&");
        ck_assert_uint_lt(n, room);
        out[n].name = strndup(query, name);
        out[n].value = name < length ? strndup(query + name + 1, length - name - 1) : strdup("");
        ck_assert(out[n].name && out[n].value);
        for (char *p = out[n].value; (p = strchr(p, '+')); p++)
            *p = ' ';
        query += length + (query[length] == '&');
        n++;
    }
    return n;
}

static struct json_mail_result read_raw(const char *query, const char *message, size_t n)
{
    struct json_argument arguments[12] = {0};
    struct json_mail_result r;
    size_t count = split(query, arguments, ARRAY_LEN(arguments));
    char *copy = n ? malloc(n) : NULL;

    if (copy)
        memcpy(copy, message, n);
    json_mail_read_raw(copy, n, arguments, count, &json_case_params, &r);
    for (size_t i = 0; i < count; i++) {
        free(arguments[i].name);
        free(arguments[i].value);
    }
    json_case_check_result(&r);
    return r;
}

/* ---- whose envelope ---- */

static void join(const struct mail_address_list *list, struct bytes_buf *out)
{
    for (size_t i = 0; i < list->n; i++)
        bytes_buf_printf(out, "%s%s", out->n ? " " : "", list->v[i].email);
}

static const struct {
    const char *query, *head;
    /* the envelope's sender; recipients of the query; those of the header ("to cc bcc") */
    const char *from, *to, *header;
} envelopes[] = {
    {"", HEAD, "a@b.example", "", "c@d.example"},
    {"", "From: A <A@B.example>\r\nCc: \"x, y\" <c@d.example>, e@d.example\r\nBcc: f@d.example\r\n", "A@b.example", "",
     "c@d.example e@d.example f@d.example"},
    {"", "From: a@b.example\r\nBcc: f@d.example\r\n", "a@b.example", "", "f@d.example"},
    {"", "From: a@b.example, z@b.example\r\nSender: s@b.example\r\nTo: c@d.example\r\n", "s@b.example", "",
     "c@d.example"},
    {BOTH, HEAD, "s@b.example", "r@d.example", ""},
    {"to=r@d.example", HEAD, "a@b.example", "r@d.example", ""},
    {"from=s@b.example", HEAD, "s@b.example", "", "c@d.example"},
    {"from=&to=r@d.example", HEAD, "", "r@d.example", ""},
    {"from=<>", HEAD, "", "", "c@d.example"},
    {"from=%3C%3e", HEAD, "", "", "c@d.example"},
    {"to=r1@d.example&from=s@b.example&to=r2@d.example&to=r3@d.example", HEAD, "s@b.example",
     "r1@d.example r2@d.example r3@d.example", ""},
    {"from=s%40b.example&to=r%2Btag%40d.example", HEAD, "s@b.example", "r+tag@d.example", ""},
    {"from=s+1@b.example&to=r+tag@d.example", HEAD, "s+1@b.example", "r+tag@d.example", ""},
    {"to=%22r%20r%22@d.example&relay=default", HEAD, "a@b.example", "\"r r\"@d.example", ""},
    {"%66rom=s@b.example&t%6F=R%20%3Cr@d.example%3E", HEAD, "s@b.example", "r@d.example", ""},
    {"to=r%25x@d.example&from=s%@b.example", HEAD, "s%@b.example", "r%x@d.example", ""},
    {"to=r%zz@d.example&from=s%4@b.example", HEAD, "s%4@b.example", "r%zz@d.example", ""},
    {"to=b%C3%BCcher@d.example", HEAD, "a@b.example", "b\xC3\xBC" "cher@d.example", ""},
    {"to=r@B%C3%BCcher.example", HEAD, "a@b.example", "r@xn--bcher-kva.example", ""},
    /* who names both does not need a header that can be read */
    {BOTH, "From: nobody\r\nTo: undisclosed-recipients:;\r\n", "s@b.example", "r@d.example", ""},
    {BOTH, HEAD "Resent-From: q@b.example\r\nResent-To: q@d.example\r\n", "s@b.example", "r@d.example", ""},
};

START_TEST(test_envelopes)
{
    struct json_mail_result r;
    struct bytes_buf b, to, header;
    const char *from;

    bytes_buf_init(&b, 0);
    bytes_buf_init(&to, 0);
    bytes_buf_init(&header, 0);
    bytes_buf_printf(&b, "%s" BODY, envelopes[_i].head);
    r = read_raw(envelopes[_i].query, b.p, b.n);
    json_case_expect(&r, envelopes[_i].query, "");
    from = r.mail->envelope_from.email ? r.mail->envelope_from.email : r.mail->from.email;
    ck_assert_str_eq(from, envelopes[_i].from);
    join(&r.mail->envelope_to, &to);
    ck_assert_str_eq(bytes_buf_view(&to).p, envelopes[_i].to);
    if (!r.mail->envelope_to.n) {
        join(&r.mail->to, &header);
        join(&r.mail->cc, &header);
        join(&r.mail->bcc, &header);
        ck_assert_str_eq(bytes_buf_view(&header).p, envelopes[_i].header);
    }
    ck_assert(bytes_equal(r.mail->raw, bytes_buf_view(&b)));
    json_mail_result_deinit(&r);
    bytes_buf_deinit(&b);
    bytes_buf_deinit(&to);
    bytes_buf_deinit(&header);
}
END_TEST

/* ---- refusals ---- */

static const struct {
    const char *query, *message, *problems, *detail;    /* detail: in the first problem's */
} refused[] = {
    {"from=x", HEAD BODY, "/from invalid_address;", NULL},
    {"from=a@b.example%0D%0ADATA", HEAD BODY, "/from invalid_address;", NULL},
    {"from=a@b.example%3E%20SIZE=1", HEAD BODY, "/from invalid_address;", NULL},
    {"from=%20", HEAD BODY, "/from invalid_address;", NULL},
    {"from=a@b.example&from=a@b.example", HEAD BODY, "/from duplicate_key;", NULL},
    {"from=&from=", HEAD BODY, "/from duplicate_key;", NULL},
    {"to=", HEAD BODY, "/to/0 invalid_address;", NULL},
    {"to=r@d.example&to=x&to=%00r@d.example&to=<>", HEAD BODY,
     "/to/1 invalid_address; control_character;/to/2 invalid_address;", NULL},
    {"to=r@d.example,q@d.example", HEAD BODY, "/to/0 invalid_address;", NULL},
    {"to=%FF@d.example", HEAD BODY, "/to/0 invalid_address;", NULL},
    {"to=r@d.example%00&from=s@b.example", HEAD BODY, " control_character;", "U+0000"},
    {"%00=x", HEAD BODY, " control_character;", "U+0000"},
    {"relay=default&relay=default", HEAD BODY, "/relay duplicate_key;", "twice"},
    {"on_temporary_failure=fail&on_temporary_failure=retry", HEAD BODY, "/on_temporary_failure duplicate_key;",
     "twice"},
    {"relay=other", HEAD BODY, "/relay unknown_relay;", NULL},
    {"relay=", HEAD BODY, "/relay unknown_relay;", NULL},
    {"relay=defaul%74%00x", HEAD BODY, " control_character;", NULL},
    {"on_temporary_failure=later", HEAD BODY, "/on_temporary_failure invalid_value;", NULL},
    {"on_temporary_failure=", HEAD BODY, "/on_temporary_failure invalid_value;", NULL},
    {"on_temporary=retry", HEAD BODY, "/on_temporary unknown_field;", "no such field"},
    {"form=a@b.example", HEAD BODY, "/form unknown_field;", "did you mean \"from\"?"},
    {"From=a@b.example", HEAD BODY, "/From unknown_field;", "did you mean \"from\"?"},
    {"tos=a@b.example", HEAD BODY, "/tos unknown_field;", "did you mean \"to\"?"},
    {"rely=default", HEAD BODY, "/rely unknown_field;", "did you mean \"relay\"?"},
    {"subject=x", HEAD BODY, "/subject unknown_field;", "no such field"},
    {"=x", HEAD BODY, "/ unknown_field;", NULL},
    {"a%2Fb%7E=x", HEAD BODY, "/a~1b~0 unknown_field;", NULL},
    {"cc=x@d.example&bcc=y@d.example", HEAD BODY, "/cc unknown_field;/bcc unknown_field;", NULL},
    {"to=1@d.example&to=2@d.example&to=3@d.example&to=4@d.example", HEAD BODY, "/to too_many;", "4 recipients"},
    {"", "From: a@b.example\r\nTo: 1@d.example, 2@d.example\r\nCc: 3@d.example\r\nBcc: 4@d.example\r\n" BODY,
     "/to too_many;", "4 recipients"},
    {"", "From: a@b.example\r\n" BODY, "/to required;", NULL},
    {"", "From: a@b.example\r\nTo: undisclosed-recipients:;\r\n" BODY, "/to required;", NULL},
    {"from=a@b.example", "Subject: x\r\n" BODY, " required;", NULL},
    {"", HEAD "Resent-To: q@d.example\r\n" BODY, " invalid_header;", "Resent-"},
    {"from=a@b.example", HEAD "Resent-To: q@d.example\r\n" BODY, " invalid_header;", "Resent-"},
    {"to=a@b.example", HEAD "Resent-Date: x\r\n" BODY, " invalid_header;", "Resent-"},
    {"", HEAD "\r\na\rb\r\n", " control_character;", "line 4"},
    {BOTH, HEAD "\r\na\rb\r\n", " control_character;", "line 4"},
    {BOTH, "From: a@b.example\r\nTo: x y z\r\nnonsense\r\n" BODY, " invalid_header;", "line 3"},
    {"", "", " required;", NULL},
    {"", "From: a\r\nTo: b\r\n" BODY, " invalid_address; invalid_address;", "line 1"},
    {"to=x&zebra=1", HEAD "\r\na\rb\r\n", "/to/0 invalid_address;/zebra unknown_field; control_character;", NULL},
};

START_TEST(test_refused)
{
    struct json_mail_result r = read_raw(refused[_i].query, refused[_i].message, strlen(refused[_i].message));

    json_case_expect(&r, refused[_i].query, refused[_i].problems);
    ck_assert_int_eq(r.code, OUTCOME_VALIDATION_FAILED);
    if (refused[_i].detail)
        ck_assert_msg(strstr(r.problems[0].detail, refused[_i].detail) != NULL, "%s: %s", refused[_i].query,
                      r.problems[0].detail);
    json_mail_result_deinit(&r);
}
END_TEST

START_TEST(test_on_temporary_failure)
{
    struct json_mail_result r = read_raw(BOTH "&on_temporary_failure=retr%79", HEAD BODY, sizeof(HEAD BODY) - 1);

    json_case_expect(&r, "retry", "");
    ck_assert_int_eq(r.mail->on_temporary_failure, MAIL_ON_TEMPORARY_RETRY);
    json_mail_result_deinit(&r);
    r = read_raw("on_temporary_failure=queue", HEAD BODY, sizeof(HEAD BODY) - 1);
    json_case_expect(&r, "queue", "/on_temporary_failure not_implemented;");
    ck_assert_int_eq(r.code, OUTCOME_NOT_IMPLEMENTED);
    json_mail_result_deinit(&r);
}
END_TEST

/* What comes percent-encoded need not be UTF-8; what is said of it is. */
START_TEST(test_names_that_are_no_text)
{
    static const char *const queries[] = {"%FF=x", "a%C3=x", "%ED%A0%80=x", "%80%80=x", "zebra%0A%1B=x"};

    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        struct json_mail_result r = read_raw(queries[i], HEAD BODY, sizeof(HEAD BODY) - 1);
        ck_assert_uint_eq(r.n_problems, 1);
        ck_assert_str_eq(r.problems[0].code, "unknown_field");
        json_mail_result_deinit(&r);
    }
}
END_TEST

START_TEST(test_nul_and_long_lines)
{
    static const char nul[] = HEAD "\r\na\0b\r\n";
    struct json_mail_result r = read_raw(BOTH, nul, sizeof(nul) - 1);
    struct bytes_buf b;

    json_case_expect(&r, "NUL", " control_character;");
    ck_assert_ptr_nonnull(strstr(r.problems[0].detail, "line 4"));
    json_mail_result_deinit(&r);
    for (size_t n = 998; n <= 999; n++) {
        bytes_buf_init(&b, 0);
        bytes_buf_add_str(&b, HEAD "\r\n");
        for (size_t i = 0; i < n; i++)
            bytes_buf_add_char(&b, 'x');
        bytes_buf_add_str(&b, "\n");
        r = read_raw(BOTH, b.p, b.n);
        json_case_expect(&r, "a long line", n == 998 ? "" : " line_too_long;");
        if (n > 998)
            ck_assert_ptr_nonnull(strstr(r.problems[0].detail, "line 4"));
        json_mail_result_deinit(&r);
        bytes_buf_deinit(&b);
    }
}
END_TEST

/* ---- what else is read from the message ---- */

START_TEST(test_facts)
{
    static const char plain[] = HEAD BODY,
                      full[] = HEAD "Message-ID: <own@b.example>\nDate: Tue, 24 Nov 2026 20:15:00 +0000\n\n\xC3\xA9\n",
                      wide[] = "From: a@b.example\nTo: b\xC3\xBC@d.example\n\nx\n";
    struct json_mail_result r = read_raw("relay=default", plain, sizeof(plain) - 1);

    ck_assert_str_eq(r.mail->relay, "default");
    ck_assert_ptr_null(r.mail->message_id);
    ck_assert(!r.mail->raw_has_date && !r.mail->raw_is_8bit && !r.mail->raw_is_utf8_header);
    json_mail_result_deinit(&r);
    r = read_raw("relay=default", full, sizeof(full) - 1);
    ck_assert_int_eq(r.code, OUTCOME_SENT);
    ck_assert_str_eq(r.mail->message_id, "<own@b.example>");
    ck_assert(r.mail->raw_has_date && r.mail->raw_is_8bit && !r.mail->raw_is_utf8_header);
    json_mail_result_deinit(&r);
    r = read_raw("", wide, sizeof(wide) - 1);
    ck_assert_int_eq(r.code, OUTCOME_SENT);
    ck_assert(r.mail->raw_is_utf8_header && r.mail->to.v[0].utf8);
    json_mail_result_deinit(&r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json_raw");
    TCase *tc = tcase_create("json_raw");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_envelopes, 0, (int)ARRAY_LEN(envelopes));
    tcase_add_loop_test(tc, test_refused, 0, (int)ARRAY_LEN(refused));
    tcase_add_test(tc, test_names_that_are_no_text);
    tcase_add_test(tc, test_on_temporary_failure);
    tcase_add_test(tc, test_nul_and_long_lines);
    tcase_add_test(tc, test_facts);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
