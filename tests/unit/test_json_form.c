#include "api/form.h"
#include "api/json_text.h"
#include "json_case.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* From forms to mails: fields by the rules of JSON, files as they are. */

#define REST "from=a@b.example&to=c@d.example&text=x"
#define CD "Content-Disposition: form-data; name="

static struct json_mail_result read_form(const char *type, const char *body, size_t n)
{
    struct json_mail_result r;
    struct form *f = form_new(type);

    ck_assert_ptr_nonnull(f);
    ck_assert_msg(form_feed(f, bytes_view(body, n)) == 0 && form_end(f) == 0, "%s", f->error);
    json_mail_read_form(f, &json_case_params, &r);
    form_free(f);                       /* the mail has what it needs */
    json_case_check_result(&r);
    return r;
}

static struct json_mail_result read_urlencoded(const char *body)
{
    return read_form("application/x-www-form-urlencoded", body, strlen(body));
}

/* Parts of a multipart form, each with its fields' values: "name; filename=x" and then the data. */
struct part {
    const char *params, *type, *data;
    size_t n;                           /* 0: as long as the string */
};

static struct json_mail_result read_parts(const struct part *parts, size_t n)
{
    static const struct part rest[] = {{"from", NULL, "a@b.example", 0}, {"to", NULL, "c@d.example", 0},
                                       {"text", NULL, "x", 0}};
    struct json_mail_result r;
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    for (size_t i = 0; i < ARRAY_LEN(rest) + n; i++) {
        const struct part *p = i < ARRAY_LEN(rest) ? &rest[i] : &parts[i - ARRAY_LEN(rest)];
        bytes_buf_printf(&b, "--b\r\n" CD "%s\r\n", p->params);
        if (p->type)
            bytes_buf_printf(&b, "Content-Type: %s\r\n", p->type);
        bytes_buf_add_str(&b, "\r\n");
        bytes_buf_add(&b, p->data, p->n ? p->n : strlen(p->data));
        bytes_buf_add_str(&b, "\r\n");
    }
    bytes_buf_add_str(&b, "--b--\r\n");
    r = read_form("multipart/form-data; boundary=b", b.p, b.n);
    bytes_buf_deinit(&b);
    return r;
}

/* ---- fields ---- */

static const struct {
    const char *body, *problems;
} fields[] = {
    {REST, ""},
    {"", "/from required;/to required;/text required;"},
    {REST "&cc=&bcc=", "/cc/0 invalid_address;/bcc/0 invalid_address;"},
    {REST "&to=&to=x", "/to/1 invalid_address;/to/2 invalid_address;"},
    {"from=a@b.example&to=c@d.example&to=e@d.example&cc=f@d.example&html=", ""},
    {"from=a@b.example&to=c@d.example&to=e@d.example&cc=f@d.example&cc=g@d.example&html=", "/to too_many;"},
    {REST "&reply_to=x@y.example&reply_to=z@y.example&tags=a&tags=b", ""},
    {REST "&from=z@b.example", "/from duplicate_key;"},
    {REST "&text=y&subject=1&subject=2&relay=default&relay=default",
     "/text duplicate_key;/subject duplicate_key;/relay duplicate_key;"},
    {REST "&require_tls=true&require_tls=false", "/require_tls duplicate_key;"},
    {REST "&headers={}&headers={}", "/headers duplicate_key;"},
    {REST "&subject=a%0D%0ABcc:+x@y.example", "/subject control_character;"},
    {REST "&subject=a%00b", "/subject control_character;"},
    {REST "&subject=%C2%85", "/subject control_character;"},
    {REST "&subject=%FF", "/subject invalid_unicode;"},
    {REST "&subject=%ED%A0%80", "/subject invalid_unicode;"},
    {REST "&html=%00", "/html control_character;"},
    {REST "&html=%1B", "/html control_character;"},
    {REST "&html=a%0D%0Ab%09", ""},
    {REST "&subject=100%25+of+%7B%22a%22%7D", ""},
    {REST "&Subject=x&zebra=1&replyTo=x", "/Subject unknown_field;/zebra unknown_field;/replyTo unknown_field;"},
    {REST "&to[]=e@d.example", "/to[] unknown_field;"},
    {REST "&a/b~c=x", "/a~1b~0c unknown_field;"},
    {REST "&_charset_=UTF-8", ""},
    {REST "&relay=other&partial=maybe", "/relay unknown_relay;/partial invalid_value;"},
    {REST "&attachments=[]", "/attachments invalid_value;"},
    {REST "&attachments=", "/attachments invalid_value;"},
    {REST "&attachment=data", "/attachment/0 required;"},
    {REST "&attachment=a&inline=b&attachment=c", "/attachment/0 required;/inline/0 required;/attachment/1 required;"},
    {REST "&async=true", "/async not_implemented;"},
    {REST "&async=false&async=false", "/async duplicate_key;"},
    {REST "&async=0", ""},
    {REST "&scheduled_at=tomorrow", "/scheduled_at not_implemented;"},
    {REST "&on_temporary_failure=fail", ""},
    {REST "&on_temporary_failure=retry", ""},
    {REST "&on_temporary_failure=queue", "/on_temporary_failure not_implemented;"},
    {REST "&on_temporary_failure=later", "/on_temporary_failure invalid_value;"},
    /* truths */
    {REST "&require_tls=1", ""}, {REST "&require_tls=on", ""}, {REST "&require_tls=0", ""},
    {REST "&require_tls=", "/require_tls wrong_type;"},
    {REST "&require_tls=yes", "/require_tls wrong_type;"},
    {REST "&require_tls=TRUE", "/require_tls wrong_type;"},
    {REST "&require_tls=true%20", "/require_tls wrong_type;"},
    /* structures, written as JSON */
    {REST "&headers={\"X-A\":\"1\"}", ""},
    {REST "&headers=%20%0A[{\"name\":\"X-A\",\"value\":\"1\"}]", ""},
    {REST "&headers=X-A:1", "/headers wrong_type;"},
    {REST "&headers=", "/headers wrong_type;"},
    {REST "&headers={", "/headers invalid_value;"},
    {REST "&headers={\"X\":\"1\"}x", "/headers invalid_value;"},
    {REST "&headers={'X':1}", "/headers invalid_value;"},
    {REST "&headers={\"X\":\"1\",\"X\":\"2\"}", "/headers invalid_value;"},
    {REST "&headers={\"X\":\"\\ud800\"}", "/headers invalid_value;"},
    {REST "&headers={\"X\":\"\\u0000\"}", "/headers invalid_value;"},
    {REST "&headers={\"X\":\"a\\nb\"}", "/headers/X control_character;"},
    {REST "&headers={\"From\":\"x\"}", "/headers/From header_not_allowed;"},
    {REST "&metadata={\"k\":1}&dsn=[]&envelope={\"to\":[]}&list_unsubscribe={}",
     "/metadata/k wrong_type;/dsn wrong_type;/envelope/to required;/list_unsubscribe required;"},
    {REST "&dsn={\"notify\":\"never\"}&envelope={\"from\":\"\"}", ""},
    {REST "&dsn=never", "/dsn wrong_type;"},
    {REST "&tags={\"name\":\"a\"}", ""},        /* a list's item is text, whatever it looks like */
    {REST "&to={\"email\":\"x@y.example\"}", "/to/1 invalid_address;"},
    {REST "&calendar=x", "/calendar wrong_type;"},
    {REST "&calendar={\"method\":\"REQUEST\"}", "/calendar/content required;"},
    {REST "&calendar=BEGIN:VCALENDAR%0D%0AEND:VCALENDAR", "/calendar/method required;"},
    {REST "&calendar=BEGIN:VCARD%0AMETHOD:REQUEST%0A", "/calendar/content invalid_value;"},
    {REST "&calendar=BEGIN:VCALENDAR%0D%0AMETHOD:REQUEST%0D%0A", ""},
};

START_TEST(test_fields)
{
    struct json_mail_result r = read_urlencoded(fields[_i].body);

    json_case_expect(&r, fields[_i].body, fields[_i].problems);
    json_mail_result_deinit(&r);
}
END_TEST

/* The same request in both forms of a form and in JSON. */
START_TEST(test_same_mail)
{
    static const struct part parts[] = {
        {"to", NULL, "E <e@d.example>", 0}, {"subject", NULL, "Gr\xC3\xBC\xC3\x9F" "e & more", 0},
        {"tags", NULL, "t1", 0}, {"tags", NULL, "t2", 0}, {"headers", NULL, "{\"X-A\":\"\\u00e9\"}", 0},
        {"require_tls", NULL, "true", 0},
        {"envelope", "application/json", "{\"from\":\"<>\"}", 0},
    };
    struct json_mail_result r[3];

    r[0] = read_parts(parts, ARRAY_LEN(parts));
    r[1] = read_urlencoded("from=a%40b.example&to=c@d.example&text=x&to=E+%3ce%40d.example%3E"
                           "&subject=Gr%C3%BC%C3%9Fe+%26+more&tags=t1&tags=t2&headers=%7B%22X-A%22%3A%22%5Cu00e9%22%7D"
                           "&require_tls=1&envelope={\"from\":\"\"}");
    r[2] = json_case_read_fields("'cc':[],'subject':'Gr\xC3\xBC\xC3\x9F" "e & more','tags':['t1','t2'],'headers':"
                                 "{'X-A':'\\u00e9'},'require_tls':true,'envelope':{'from':''},'bcc':'E <e@d.example>'");
    for (int i = 0; i < 3; i++) {
        const struct mail *m = r[i].mail;
        const struct mail_address *e;
        json_case_expect(&r[i], "a form", "");
        e = i < 2 ? &m->to.v[1] : &m->bcc.v[0];
        ck_assert_str_eq(m->from.email, "a@b.example");
        ck_assert_str_eq(e->email, "e@d.example");
        ck_assert_str_eq(e->name, "E");
        ck_assert_str_eq(m->subject, "Gr\xC3\xBC\xC3\x9F" "e & more");
        ck_assert(bytes_equal(m->text, bytes_view("x", 1)));
        ck_assert_uint_eq(m->tags.n, 2);
        ck_assert_str_eq(m->tags.v[1].name, "t2");
        ck_assert_str_eq(m->headers.v[0].value, "\xC3\xA9");
        ck_assert(m->require_tls);
        ck_assert_str_eq(m->envelope_from.email, "");
        json_mail_result_deinit(&r[i]);
    }
}
END_TEST

/* ---- files ---- */

START_TEST(test_files)
{
    static const struct part parts[] = {
        {"attachment; filename=\"a.bin\"", "application/octet-stream", "\0\r\n--\xFF", 6},
        {"inline; filename=\"logo.png\"", "image/png", "PNG", 0},
        {"attachment; filename=\"r\xC3\xA9sum\xC3\xA9.txt\"", "text/plain; charset=iso-8859-1", "\xE9", 0},
        {"attachment; filename=\"b\"", NULL, "", 0},
    };
    struct json_mail_result r = read_parts(parts, ARRAY_LEN(parts));
    const struct mail_attachment *a;

    json_case_expect(&r, "files", "");
    a = r.mail->attachments;
    ck_assert_uint_eq(r.mail->n_attachments, 4);
    ck_assert_str_eq(a[0].filename, "a.bin");
    ck_assert_ptr_null(a[0].content_type);      /* what a client says of what it does not know: by the name */
    ck_assert(!a[0].is_base64 && !a[0].is_inline);
    ck_assert(bytes_equal(a[0].content, bytes_view("\0\r\n--\xFF", 6)));
    ck_assert_str_eq(a[1].content_type, "image/png");
    ck_assert_str_eq(a[1].content_id, "logo.png");
    ck_assert(a[1].is_inline);
    ck_assert_str_eq(a[2].filename, "r\xC3\xA9sum\xC3\xA9.txt");
    ck_assert_str_eq(a[2].content_type, "text/plain; charset=iso-8859-1");
    ck_assert_ptr_nonnull(a[3].content.p);
    ck_assert_uint_eq(a[3].content.n, 0);
    json_mail_result_deinit(&r);
}
END_TEST

static const struct {
    struct part part;
    const char *problems;
} files[] = {
    {{"attachment; filename=\"\"", "application/octet-stream", "", 0}, ""},     /* an input that nobody filled */
    {{"attachment; filename=\"\"", NULL, "x", 0}, "/attachment/0 invalid_value;"},
    {{"inline; filename=\"\"", NULL, "", 0}, ""},
    {{"attachment", NULL, "x", 0}, "/attachment/0 required;"},
    {{"attachment; filename=a", "nonsense", "x", 0}, "/attachment/0 invalid_value;"},
    {{"attachment; filename=a", "", "x", 0}, "/attachment/0 invalid_value;"},
    {{"attachment; filename=a", "text/plain\r\nX-More: x", "x", 0}, ""},
    {{"inline; filename=\"my logo.png\"", "image/png", "x", 0}, "/inline/0 invalid_value;"},
    {{"inline; filename=\"l\xC3\xB6go.png\"", "image/png", "x", 0}, "/inline/0 invalid_value;"},
    {{"attachment; filename=\"my lo,g;o.png\"", "image/png", "x", 0}, ""},
    {{"attachments; filename=a", NULL, "x", 0}, "/attachments invalid_value;"},
    {{"\"attachments[]\"; filename=a", NULL, "x", 0}, "/attachments[] unknown_field;"},
    {{"file; filename=a", NULL, "x", 0}, "/file unknown_field;"},
    {{"html; filename=page.html", "text/html", "<b>", 0}, ""},
    {{"html; filename=page.html", "text/html", "\xE9", 0}, "/html invalid_unicode;"},
    {{"html", NULL, "a\0b", 3}, "/html control_character;"},
    {{"calendar; filename=i.ics", "text/calendar", "BEGIN:VCALENDAR\r\nMETHOD:CANCEL\r\n", 0}, ""},
    {{"to; filename=list.txt", NULL, "x@y.example", 0}, ""},
    {{"text", NULL, "again", 0}, "/text duplicate_key;"},
};

START_TEST(test_single_files)
{
    struct json_mail_result r = read_parts(&files[_i].part, 1);

    json_case_expect(&r, files[_i].part.params, files[_i].problems);
    json_mail_result_deinit(&r);
}
END_TEST

/* A long field is not copied; whoever it goes to, it lives as long as the mail. */
START_TEST(test_long_fields)
{
    static char longer[3 * JSON_TEXT_LONG];
    const struct part parts[] = {
        {"html", NULL, longer, sizeof(longer)}, {"subject", NULL, longer, JSON_TEXT_LONG},
        {"tags", NULL, longer, 256}, {"cc", NULL, "n@d.example", 0},
        {"attachment; filename=a", "text/plain", longer, sizeof(longer)},
    };
    struct json_mail_result r;

    memset(longer, 'h', sizeof(longer));
    r = read_parts(parts, ARRAY_LEN(parts));
    json_case_expect(&r, "long fields", "");
    ck_assert_uint_eq(r.mail->html.n, sizeof(longer));
    ck_assert_int_eq(r.mail->html.p[sizeof(longer) - 1], 'h');
    ck_assert_uint_eq(strlen(r.mail->subject), JSON_TEXT_LONG);
    ck_assert_uint_eq(r.mail->attachments[0].content.n, sizeof(longer));
    json_mail_result_deinit(&r);
}
END_TEST

/* Around the border of what is copied, each length. */
START_TEST(test_lengths)
{
    static char text[JSON_TEXT_LONG + 2];

    memset(text, 't', sizeof(text));
    for (size_t n = JSON_TEXT_LONG - 2; n <= JSON_TEXT_LONG + 2; n++) {
        const struct part part = {"html", NULL, text, n};
        struct json_mail_result r = read_parts(&part, 1);
        ck_assert_uint_eq(r.mail->html.n, n);
        ck_assert_int_eq(r.mail->html.p[n - 1], 't');
        json_mail_result_deinit(&r);
    }
}
END_TEST

START_TEST(test_number_of_files)
{
    static struct part parts[501];

    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        parts[i] = (struct part){i % 3 ? "attachment; filename=a" : "inline; filename=b", NULL, "x", 0};
    for (size_t n = 500; n <= 501; n++) {
        struct json_mail_result r = read_parts(parts, n);
        json_case_expect(&r, "500", n == 500 ? "" : "/attachment too_many;");
        json_mail_result_deinit(&r);
    }
}
END_TEST

/* All problems at once, fields' and files'. */
START_TEST(test_everything_wrong)
{
    static const struct part parts[] = {
        {"cc", NULL, "nobody", 0}, {"attachment; filename=a", "x", "", 0}, {"zebra", NULL, "", 0},
        {"inline; filename=\"a b\"", NULL, "", 0}, {"headers", NULL, "{", 0}, {"subject", NULL, "\n", 0},
    };
    struct json_mail_result r = read_parts(parts, ARRAY_LEN(parts));

    json_case_expect(&r, "all", "/headers invalid_value;/attachment/0 invalid_value;/inline/0 invalid_value;"
                     "/cc/0 invalid_address;/zebra unknown_field;/subject control_character;");
    json_mail_result_deinit(&r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json_form");
    TCase *tc = tcase_create("json_form");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_fields, 0, (int)ARRAY_LEN(fields));
    tcase_add_test(tc, test_same_mail);
    tcase_add_test(tc, test_files);
    tcase_add_loop_test(tc, test_single_files, 0, (int)ARRAY_LEN(files));
    tcase_add_test(tc, test_long_fields);
    tcase_add_test(tc, test_lengths);
    tcase_add_test(tc, test_number_of_files);
    tcase_add_test(tc, test_everything_wrong);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
