#include "json_case.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each field of a request with everything that may be wrong in it. Documents have ' for ". */

#define EMAILS_9 "'a@b.example','a@b.example','a@b.example','a@b.example','a@b.example','a@b.example','a@b.example'"

/* ---- refused, and where ---- */

static const struct {
    const char *fields, *problems;
} wrong[] = {
    {"'attachments':{}", "/attachments wrong_type;"},
    {"'attachments':'x'", "/attachments wrong_type;"},
    {"'attachments':false", "/attachments wrong_type;"},
    {"'attachments':['x',1,null,[]]",
     "/attachments/0 wrong_type;/attachments/1 wrong_type;/attachments/2 wrong_type;/attachments/3 wrong_type;"},
    {"'attachments':[{}]", "/attachments/0/filename required;/attachments/0/content required;"},
    {"'attachments':[{'filename':null,'content':null}]",
     "/attachments/0/filename required;/attachments/0/content required;"},
    {"'attachments':[{'content_id':'c'}]", "/attachments/0/content required;"},
    {"'attachments':[{'filename':1,'content':2,'content_type':3,'content_id':4,'disposition':5}]",
     "/attachments/0/filename wrong_type;/attachments/0/content_type wrong_type;"
     "/attachments/0/content_id wrong_type;/attachments/0/disposition wrong_type;"
     "/attachments/0/content wrong_type;"},
    {"'attachments':[{'filename':'a','content':[]}]", "/attachments/0/content wrong_type;"},
    {"'attachments':[{'filename':'','content':''}]", "/attachments/0/filename invalid_value;"},
    {"'attachments':[{'filename':'a','content':'','disposition':'Inlined'}]",
     "/attachments/0/disposition invalid_value;"},
    {"'attachments':[{'filename':'a','content':'','disposition':''}]", "/attachments/0/disposition invalid_value;"},
    {"'attachments':[{'filename':'a','content':'','path':'x'}]", "/attachments/0/path unknown_field;"},
    {"'attachments':[{'filename':'a','content':'','contentType':'text/plain','Filename':'b'}]",
     "/attachments/0/contentType unknown_field;/attachments/0/Filename unknown_field;"},
    {"'attachments':[{'filename':'a','filename':'b','content':''}]", "/attachments/0/filename duplicate_key;"},

    {"'calendar':'BEGIN:VCALENDAR'", "/calendar wrong_type;"},
    {"'calendar':[]", "/calendar wrong_type;"},
    {"'calendar':{}", "/calendar/content required;/calendar/method required;"},
    {"'calendar':{'method':'REQUEST'}", "/calendar/content required;"},
    {"'calendar':{'method':1,'content':2}", "/calendar/content wrong_type;/calendar/method wrong_type;"},
    {"'calendar':{'content':'BEGIN:VCALENDAR\\r\\nEND:VCALENDAR'}", "/calendar/method required;"},
    {"'calendar':{'method':'INVITE','content':'BEGIN:VCALENDAR'}", "/calendar/method invalid_value;"},
    {"'calendar':{'method':'','content':'BEGIN:VCALENDAR'}", "/calendar/method invalid_value;"},
    {"'calendar':{'method':'REQUEST','content':''}", "/calendar/content invalid_value;"},
    {"'calendar':{'method':'REQUEST','content':' BEGIN:VCALENDAR'}", "/calendar/content invalid_value;"},
    {"'calendar':{'method':'REQUEST','content':'BEGIN:VCALENDAR\\nMETHOD:CANCEL\\n'}",
     "/calendar/method invalid_value;"},
    {"'calendar':{'content':'BEGIN:VCALENDAR\\nMETHOD:INVITE\\n'}", "/calendar/method invalid_value;"},
    {"'calendar':{'content':'BEGIN:VCALENDAR\\nMETHOD:'}", "/calendar/method invalid_value;"},
    {"'calendar':{'content':'BEGIN:VCALENDAR\\n METHOD:REQUEST\\nX-METHOD:REQUEST\\n'}", "/calendar/method required;"},
    {"'calendar':{'method':'REQUEST','content':'BEGIN:VCALENDAR','url':'x'}", "/calendar/url unknown_field;"},

    {"'list_unsubscribe':'https://x.example/'", "/list_unsubscribe wrong_type;"},
    {"'list_unsubscribe':{}", "/list_unsubscribe required;"},
    {"'list_unsubscribe':{'url':null,'mailto':null}", "/list_unsubscribe required;"},
    {"'list_unsubscribe':{'url':1,'mailto':[]}",
     "/list_unsubscribe/url wrong_type;/list_unsubscribe/mailto wrong_type;"},
    {"'list_unsubscribe':{'url':''}", "/list_unsubscribe/url invalid_value;"},
    {"'list_unsubscribe':{'url':'https://'}", "/list_unsubscribe/url invalid_value;"},
    {"'list_unsubscribe':{'url':'http://'}", "/list_unsubscribe/url invalid_value;"},
    {"'list_unsubscribe':{'url':'//x.example/'}", "/list_unsubscribe/url invalid_value;"},
    {"'list_unsubscribe':{'url':'javascript:alert(1)'}", "/list_unsubscribe/url invalid_value;"},
    {"'list_unsubscribe':{'url':'mailto:a@b.example'}", "/list_unsubscribe/url invalid_value;"},
    {"'list_unsubscribe':{'url':'https://x.example/a b'}", "/list_unsubscribe/url invalid_value;"},
    {"'list_unsubscribe':{'url':'https://x.example/>,<https://y.example/'}", "/list_unsubscribe/url invalid_value;"},
    {"'list_unsubscribe':{'url':'https://x.example/\\\"'}", "/list_unsubscribe/url invalid_value;"},
    {"'list_unsubscribe':{'url':'https://x.example/\\\\'}", "/list_unsubscribe/url invalid_value;"},
    {"'list_unsubscribe':{'url':'https://\\u00e9.example/'}", "/list_unsubscribe/url invalid_value;"},
    {"'list_unsubscribe':{'mailto':''}", "/list_unsubscribe/mailto invalid_value;"},
    {"'list_unsubscribe':{'mailto':'mailto:'}", "/list_unsubscribe/mailto invalid_value;"},
    {"'list_unsubscribe':{'mailto':'mailto:a@b.example?subject=a b'}", "/list_unsubscribe/mailto invalid_value;"},
    {"'list_unsubscribe':{'mailto':'A <a@b.example>'}", "/list_unsubscribe/mailto invalid_value;"},
    {"'list_unsubscribe':{'mailto':'\\u00e9@b.example'}", "/list_unsubscribe/mailto invalid_value;"},
    {"'list_unsubscribe':{'mailto':'https://x.example/'}", "/list_unsubscribe/mailto invalid_value;"},
    {"'list_unsubscribe':{'url':'https://x.example/','post':true}", "/list_unsubscribe/post unknown_field;"},
    {"'list_unsubscribe':{'url':'https://x.example/'},'headers':{'list-unsubscribe':'<https://y.example/>'}",
     "/list_unsubscribe invalid_value;"},
    {"'headers':{'List-Unsubscribe-Post':'x'},'list_unsubscribe':{'mailto':'a@b.example'}",
     "/list_unsubscribe invalid_value;"},

    {"'envelope':'a@b.example'", "/envelope wrong_type;"},
    {"'envelope':[]", "/envelope wrong_type;"},
    {"'envelope':{'from':1,'to':2}", "/envelope/from wrong_type;/envelope/to wrong_type;"},
    {"'envelope':{'from':['a@b.example']}", "/envelope/from wrong_type;"},
    {"'envelope':{'from':' '}", "/envelope/from invalid_address;"},
    {"'envelope':{'from':'<'}", "/envelope/from invalid_address;"},
    {"'envelope':{'from':'<> '}", "/envelope/from invalid_address;"},
    {"'envelope':{'from':'a@b.example>'}", "/envelope/from invalid_address;"},
    {"'envelope':{'from':{'email':''}}", "/envelope/from/email invalid_address;"},
    {"'envelope':{'to':[]}", "/envelope/to required;"},
    {"'envelope':{'to':['a@b.example','','<>']}", "/envelope/to/1 invalid_address;/envelope/to/2 invalid_address;"},
    {"'envelope':{'to':''}", "/envelope/to invalid_address;"},
    {"'envelope':{'to':[null]}", "/envelope/to/0 wrong_type;"},
    {"'envelope':{'to':[" EMAILS_9 "]}", "/envelope/to too_many;"},
    {"'envelope':{'sender':'a@b.example','rcpt':'x'}", "/envelope/sender unknown_field;/envelope/rcpt unknown_field;"},

    {"'dsn':true", "/dsn wrong_type;"},
    {"'dsn':'never'", "/dsn wrong_type;"},
    {"'dsn':{'ret':1,'envid':2,'notify':3}", "/dsn/ret wrong_type;/dsn/envid wrong_type;/dsn/notify wrong_type;"},
    {"'dsn':{'ret':'headers'}", "/dsn/ret invalid_value;"},
    {"'dsn':{'ret':''}", "/dsn/ret invalid_value;"},
    {"'dsn':{'envid':''}", "/dsn/envid invalid_value;"},
    {"'dsn':{'envid':'caf\\u00e9'}", "/dsn/envid invalid_value;"},
    {"'dsn':{'notify':'always'}", "/dsn/notify invalid_value;"},
    {"'dsn':{'notify':['success','bounce',1]}", "/dsn/notify/1 invalid_value;/dsn/notify/2 wrong_type;"},
    {"'dsn':{'notify':['never','failure']}", "/dsn/notify invalid_value;"},
    {"'dsn':{'notify':{}}", "/dsn/notify wrong_type;"},
    {"'dsn':{'orcpt':'x'}", "/dsn/orcpt unknown_field;"},

    {"'tags':'x'", "/tags wrong_type;"},
    {"'tags':{}", "/tags wrong_type;"},
    {"'tags':[1,null,[]]", "/tags/0 wrong_type;/tags/1 wrong_type;/tags/2 wrong_type;"},
    {"'tags':['']", "/tags/0 invalid_value;"},
    {"'tags':[{}]", "/tags/0/name required;"},
    {"'tags':[{'value':'v'}]", "/tags/0/name required;"},
    {"'tags':[{'name':'','value':'v'}]", "/tags/0 invalid_value;"},
    {"'tags':[{'name':1,'value':2}]", "/tags/0/name wrong_type;/tags/0/value wrong_type;"},
    {"'tags':[{'name':'n','valu':'v'}]", "/tags/0/valu unknown_field;"},

    {"'metadata':[]", "/metadata wrong_type;"},
    {"'metadata':'x'", "/metadata wrong_type;"},
    {"'metadata':{'a':1,'b':null,'c':{},'d':true}",
     "/metadata/a wrong_type;/metadata/b wrong_type;/metadata/c wrong_type;/metadata/d wrong_type;"},
    {"'metadata':{'a~b/c':1}", "/metadata/a~0b~1c wrong_type;"},
    {"'metadata':{'a':'1','a':'2'}", "/metadata/a duplicate_key;"},
    {"'metadata':{'a\\nb':'1'}", "/metadata/a\nb control_character;"},
    {"'metadata':{'a\\u0085':'1'}", "/metadata/a\xC2\x85 control_character;"},

    {"'require_tls':'true'", "/require_tls wrong_type;"},
    {"'require_tls':1", "/require_tls wrong_type;"},
    {"'require_tls':[]", "/require_tls wrong_type;"},
    {"'relay':''", "/relay unknown_relay;"},
    {"'relay':'Default'", "/relay unknown_relay;"},
    {"'partial':'Allow'", "/partial invalid_value;"},
    {"'reply_to':{'email':'a@b.example','Name':'x'}", "/reply_to/Name unknown_field;"},
    {"'cc':[{'email':''},{'name':''},'']", "/cc/0/email invalid_address;/cc/1/email required;/cc/2 invalid_address;"},
    {"'bcc':'undisclosed-recipients:;'", "/bcc invalid_address;"},
    {"'reply_to':'a@[127.0.0.1]'", "/reply_to invalid_address;"},

    {"'attachments':[{'filename':'a','content':'!'},{'filename':'b','content':'','content_type':'x'}],"
     "'calendar':{},'list_unsubscribe':{'url':'x'},'tags':[1],'metadata':{'k':2},'envelope':{'from':'x'},"
     "'dsn':{'ret':'x'},'require_tls':0,'headers':{'Bcc':'x'},'cc':'x','subject':'\\n','zebra':1",
     "/attachments/0/content invalid_base64;/attachments/1/content_type invalid_value;"
     "/calendar/content required;/calendar/method required;/list_unsubscribe/url invalid_value;"
     "/tags/0 wrong_type;/metadata/k wrong_type;/envelope/from invalid_address;/dsn/ret invalid_value;"
     "/require_tls wrong_type;/headers/Bcc header_not_allowed;/cc invalid_address;/subject control_character;"
     "/zebra unknown_field;"},
};

START_TEST(test_wrong)
{
    struct json_mail_result r = json_case_read_fields(wrong[_i].fields);

    json_case_expect(&r, wrong[_i].fields, wrong[_i].problems);
    ck_assert_int_eq(r.code, OUTCOME_VALIDATION_FAILED);
    json_mail_result_deinit(&r);
}
END_TEST

static const char *const harmless[] = {
    "'attachments':[]",
    "'attachments':null,'calendar':null,'list_unsubscribe':null,'envelope':null,'dsn':null,'tags':null,"
    "'metadata':null,'require_tls':null",
    "'envelope':{}", "'envelope':{'from':null,'to':null}", "'dsn':{}", "'dsn':{'ret':null}", "'dsn':{'notify':[]}",
    "'tags':[]", "'metadata':{}", "'require_tls':false", "'async':false",
};

START_TEST(test_harmless)
{
    struct json_mail_result r = json_case_read_fields(harmless[_i]);

    json_case_expect(&r, harmless[_i], "");
    ck_assert_uint_eq(r.mail->n_attachments, 0);
    ck_assert_ptr_null(r.mail->envelope_from.email);
    ck_assert(!r.mail->dsn.wanted && !r.mail->require_tls);
    json_mail_result_deinit(&r);
}
END_TEST

/* What stands for a body when there is no text. */
START_TEST(test_contents_without_text)
{
    static const struct {
        const char *fields, *problems;
    } cases[] = {
        {"'attachments':[]", "/text required;"},
        {"'attachments':null,'calendar':null", "/text required;"},
        {"'attachments':[{'filename':'a','content':''}]", ""},
        {"'calendar':{'method':'REQUEST','content':'BEGIN:VCALENDAR'}", ""},
        {"'attachments':[1]", "/attachments/0 wrong_type;"},
        {"'calendar':1", "/calendar wrong_type;"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct json_mail_result r;
        char text[300], *json;
        snprintf(text, sizeof(text), "{'from':'a@b.example','to':'c@d.example',%s}", cases[i].fields);
        json = json_case_quoted(text);
        r = json_case_read(json, strlen(json));
        json_case_expect(&r, text, cases[i].problems);
        json_mail_result_deinit(&r);
        free(json);
    }
}
END_TEST

/* ---- controls ---- */

struct place {
    const char *format, *pointer;
};

/* One line each: no controls at all. */
static const struct place lines[] = {
    {"'subject':'a%sb'", "/subject"},
    {"'cc':'a%sb@c.example'", "/cc"},
    {"'cc':'A%sB <a@c.example>'", "/cc"},
    {"'cc':['a@b.example','a@b%s.example']", "/cc/1"},
    {"'bcc':{'email':'a%sb@c.example'}", "/bcc/email"},
    {"'reply_to':[{'email':'a@c.example','name':'a%sb'}]", "/reply_to/0/name"},
    {"'attachments':[{'content':'','filename':'a%sb'}]", "/attachments/0/filename"},
    {"'attachments':[{'content':'','filename':'a','content_type':'text/plain%s'}]", "/attachments/0/content_type"},
    {"'attachments':[{'content':'','filename':'a','content_id':'a%sb'}]", "/attachments/0/content_id"},
    {"'attachments':[{'content':'','filename':'a','disposition':'inline%s'}]", "/attachments/0/disposition"},
    {"'calendar':{'method':'REQUEST%s','content':'BEGIN:VCALENDAR'}", "/calendar/method"},
    {"'list_unsubscribe':{'url':'https://x.example/%s'}", "/list_unsubscribe/url"},
    {"'list_unsubscribe':{'mailto':'a@b.example%s'}", "/list_unsubscribe/mailto"},
    {"'headers':{'X-A':'a%sBcc: x@y.example'}", "/headers/X-A"},
    {"'headers':[{'name':'X-A','value':'%s'}]", "/headers/0"},
    {"'headers':{'Message-ID':'<a%s@b>'}", "/headers/Message-ID"},
    {"'tags':['a%sb']", "/tags/0"},
    {"'tags':[{'name':'a%sb'}]", "/tags/0/name"},
    {"'tags':[{'name':'a','value':'%s'}]", "/tags/0/value"},
    {"'metadata':{'k':'a%sb'}", "/metadata/k"},
    {"'envelope':{'from':'a%s@b.example'}", "/envelope/from"},
    {"'envelope':{'from':'%s'}", "/envelope/from"},
    {"'envelope':{'to':['a@b%s.example']}", "/envelope/to/0"},
    {"'dsn':{'envid':'a%sb'}", "/dsn/envid"},
    {"'dsn':{'ret':'full%s'}", "/dsn/ret"},
    {"'dsn':{'notify':['never%s']}", "/dsn/notify/0"},
    {"'relay':'default%s'", "/relay"},
    {"'partial':'reject%s'", "/partial"},
};

static const char *const controls[] = {
    "\\r", "\\n", "\\r\\n", "\\t", "\\b", "\\f", "\\u0000", "\\u0001", "\\u001f", "\\u007f", "\x7F", "\\u0080",
    "\\u0085", "\\u009f", "\xC2\x85", "\xC2\x9F", "\\u2028", "\\u2029", "\xE2\x80\xA8", "\xE2\x80\xA9",
};

START_TEST(test_controls_in_lines)
{
    char fields[300];

    for (size_t i = 0; i < ARRAY_LEN(controls); i++) {
        struct json_mail_result r;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(fields, sizeof(fields), lines[_i].format, controls[i]);
#pragma GCC diagnostic pop
        r = json_case_read_fields(fields);
        ck_assert_msg(r.n_problems > 0, "%s", fields);
        /* of a NUL the text's reader tells, which goes down to the value */
        ck_assert_msg(strncmp(r.problems[0].pointer, lines[_i].pointer, strlen(lines[_i].pointer)) == 0, "%s: %s",
                      fields, r.problems[0].pointer);
        ck_assert_msg(strcmp(r.problems[0].code, "control_character") == 0, "%s: %s", fields, r.problems[0].code);
        ck_assert_ptr_null(r.mail);
        json_mail_result_deinit(&r);
    }
}
END_TEST

/* Neighbours of the controls are letters like others. */
START_TEST(test_no_controls)
{
    static const char *const letters[] = {"\\u00a0", "\\u2027", "\\u202a", "\xC2\xA0", "\xE2\x80\xA7",
                                          "\xE2\x80\xAA", "~", " ", "\\u0100", "\xC4\x80", "\\\\n",
                                          "\\/", "\xE1\x80\xA8", "\xC3\x85"};

    for (size_t i = 0; i < ARRAY_LEN(letters); i++) {
        struct json_mail_result r;
        char fields[200];
        snprintf(fields, sizeof(fields), "'subject':'a%sb','tags':['%s'],'metadata':{'k':'0123456%s'}", letters[i],
                 letters[i], letters[i]);
        r = json_case_read_fields(fields);
        json_case_expect(&r, fields, "");
        json_mail_result_deinit(&r);
    }
}
END_TEST

/* Texts of several lines: TAB, CR and LF are theirs, and what Unicode calls a control but no mail reader minds. */
START_TEST(test_controls_in_texts)
{
    static const struct place texts[] = {
        {"'html':'%s'", "/html"},
        {"'calendar':{'method':'REQUEST','content':'BEGIN:VCALENDAR%s'}", "/calendar/content"},
    };
    static const char *const bad[] = {"\\u0000", "\\u0001", "\\u0008", "\\u000b", "\\u000c", "\\u001b", "\\u001f",
                                      "\\u007f"},
                      *const good[] = {"\\t", "\\r", "\\n", "\\r\\n", "\\u0085", "\\u2028", "\\u00a0"};
    const struct place *place = &texts[_i];
    char fields[200], expected[100];

    snprintf(expected, sizeof(expected), "%s control_character;", place->pointer);
    for (size_t i = 0; i < ARRAY_LEN(bad) + ARRAY_LEN(good); i++) {
        bool is_bad = i < ARRAY_LEN(bad);
        struct json_mail_result r;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(fields, sizeof(fields), place->format, is_bad ? bad[i] : good[i - ARRAY_LEN(bad)]);
#pragma GCC diagnostic pop
        r = json_case_read_fields(fields);
        json_case_expect(&r, fields, is_bad ? expected : "");
        json_mail_result_deinit(&r);
    }
}
END_TEST

/* At every place of a word of eight octets, which are looked at together. */
START_TEST(test_controls_at_every_place)
{
    static const char *const bad[] = {"\x7F", "\xC2\x80", "\xE2\x80\xA9", "\\n"};
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";

    for (size_t k = 0; k < ARRAY_LEN(bad); k++)
        for (int before = 0; before < 20; before++)
            for (int after = 0; after < 20; after += 3) {
                struct json_mail_result r;
                char fields[100];
                snprintf(fields, sizeof(fields), "'subject':'%.*s%s%.*s'", before, letters, bad[k], after, letters);
                r = json_case_read_fields(fields);
                json_case_expect(&r, fields, "/subject control_character;");
                json_mail_result_deinit(&r);
            }
}
END_TEST

/* ---- limits: at it, and one past it ---- */

static const struct {
    const char *before, *what;
    size_t most;
    const char *after, *problems;
} limits[] = {
    {"'attachments':[{'content':'','filename':'", "x", 255, "'}]", "/attachments/0/filename too_long;"},
    {"'attachments':[{'content':'','filename':'x", "\xC3\xA9", 127, "'}]", "/attachments/0/filename too_long;"},
    {"'attachments':[{'content':'','filename':'a','content_type':'a/", "x", 198, "'}]",
     "/attachments/0/content_type too_long;"},
    {"'attachments':[{'content':'','filename':'a','content_id':'", "x", 200, "'}]",
     "/attachments/0/content_id invalid_value;"},
    {"'attachments':[{'content':'','filename':'a','content_id':'<", "x", 200, ">'}]",
     "/attachments/0/content_id too_long;"},
    {"'attachments':[{'content':'','filename':'a'}", ",{'content':'','filename':'a'}", 499, "]",
     "/attachments too_many;"},
    {"'list_unsubscribe':{'url':'https://", "x", 792, "'}", "/list_unsubscribe/url too_long;"},
    {"'list_unsubscribe':{'mailto':'a@b.example?", "x", 788, "'}", "/list_unsubscribe/mailto too_long;"},
    {"'dsn':{'envid':'", "x", 100, "'}", "/dsn/envid too_long;"},
    {"'tags':['x'", ",'x'", 49, "]", "/tags too_many;"},
    {"'tags':['", "x", 256, "']", "/tags/0 too_long;"},
    {"'tags':[{'value':'','name':'", "x", 256, "'}]", "/tags/0/name too_long;"},
    {"'tags':[{'name':'n','value':'", "x", 256, "'}]", "/tags/0/value too_long;"},
    {"'metadata':{'k':'", "x", 1000, "'}", "/metadata/k too_long;"},
    {"'envelope':{'to':['a@b.example'", ",'a@b.example'", 2, "]}", "/envelope/to too_many;"},
    {"'reply_to':['a@b.example'", ",'a@b.example'", 2, "]", "/reply_to too_many;"},
    {"'subject':'x", "\xC3\xA9", 32767, "'", "/subject too_long;"},
};

static struct json_mail_result read_repeated(const char *before, const char *what, size_t n, const char *after)
{
    struct json_mail_result r;
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    bytes_buf_add_str(&b, before);
    for (size_t i = 0; i < n; i++)
        bytes_buf_add_str(&b, what);
    bytes_buf_add_str(&b, after);
    r = json_case_read_fields(b.p);
    bytes_buf_deinit(&b);
    return r;
}

START_TEST(test_limits)
{
    struct json_mail_result r = read_repeated(limits[_i].before, limits[_i].what, limits[_i].most, limits[_i].after);

    json_case_expect(&r, limits[_i].before, "");
    json_mail_result_deinit(&r);
    r = read_repeated(limits[_i].before, limits[_i].what, limits[_i].most + 1, limits[_i].after);
    json_case_expect(&r, limits[_i].before, limits[_i].problems);
    json_mail_result_deinit(&r);
}
END_TEST

/* A limit over names, each another one. */
START_TEST(test_metadata_limits)
{
    for (int n = 50; n <= 51; n++) {
        struct json_mail_result r;
        struct bytes_buf b;
        bytes_buf_init(&b, 0);
        for (int i = 0; i < n; i++)
            bytes_buf_printf(&b, "%s'k%d':'v'", i ? "," : "'metadata':{", i);
        bytes_buf_add_char(&b, '}');
        r = json_case_read_fields(b.p);
        json_case_expect(&r, "metadata", n == 50 ? "" : "/metadata too_many;");
        json_mail_result_deinit(&r);
        bytes_buf_deinit(&b);
    }
    for (size_t n = 256; n <= 257; n++) {
        struct json_mail_result r = read_repeated("'metadata':{'", "k", n, "':'v'}");
        ck_assert_uint_eq(r.n_problems, n == 256 ? 0 : 1);
        if (n > 256)
            ck_assert_str_eq(r.problems[0].code, "too_long");
        json_mail_result_deinit(&r);
    }
}
END_TEST

START_TEST(test_problems_limit)
{
    struct json_mail_result r = read_repeated("'tags':[],'attachments':[{}", ",{}", 499, "]");

    ck_assert_uint_eq(r.n_problems, JSON_PROBLEMS_MAX);
    json_mail_result_deinit(&r);
    r = read_repeated("'attachments':[{'content':'','filename':'a'", ",'zebra':1", 1, "}]");
    ck_assert_uint_eq(r.n_problems, 1);
    json_mail_result_deinit(&r);
}
END_TEST

/* ---- taken, and as what ---- */

static const struct mail_attachment *only_attachment(const struct json_mail_result *r)
{
    ck_assert_int_eq(r->code, OUTCOME_SENT);
    ck_assert_uint_eq(r->mail->n_attachments, 1);
    return &r->mail->attachments[0];
}

START_TEST(test_attachments)
{
    struct json_mail_result r = json_case_read_fields(
        "'attachments':[{'filename':'../a b\\u00e9.pdf','content':'QUI='},"
        "{'filename':'logo.png','content':'QUJD','content_id':'<logo@x>','content_type':'image/png'},"
        "{'content_id':'only-an-id','content':''},"
        "{'filename':'a','content':'','content_id':'c','disposition':'Attachment'},"
        "{'filename':'a','content':'','disposition':'INLINE'},"
        "{'filename':'a','content':'','content_type':null,'content_id':null,'disposition':null}]");
    const struct mail_attachment *a = r.mail->attachments;

    ck_assert_int_eq(r.code, OUTCOME_SENT);
    ck_assert_uint_eq(r.mail->n_attachments, 6);
    ck_assert_str_eq(a[0].filename, "../a b\xC3\xA9.pdf");
    ck_assert_ptr_null(a[0].content_type);
    ck_assert_ptr_null(a[0].content_id);
    ck_assert(a[0].is_base64 && !a[0].is_inline);
    ck_assert(bytes_equal(a[0].content, bytes_view("QUI=", 4)));
    ck_assert_str_eq(a[1].content_id, "logo@x");
    ck_assert_str_eq(a[1].content_type, "image/png");
    ck_assert(a[1].is_inline);
    ck_assert_ptr_null(a[2].filename);
    ck_assert(a[2].is_inline && a[2].content.p && a[2].content.n == 0);
    ck_assert(!a[3].is_inline && a[3].content_id && a[4].is_inline && !a[4].content_id && !a[5].is_inline);
    json_mail_result_deinit(&r);
}
END_TEST

static const struct {
    const char *type;
    bool good;
} types[] = {
    {"text/plain", true}, {"TEXT/Plain", true}, {"application/vnd.a-b+c.d!#$&^_x", true}, {"a/b", true},
    {"text/plain; charset=utf-8", true}, {"text/plain;charset=utf-8", true}, {"text/plain ; charset=utf-8", true},
    {"text/plain; charset=\\\"utf 8\\\"", true},
    {"text/plain; a=\\\"\\\\\\\"\\\"; b=c", true}, {"a/b; c=\\\"\\\"", true},
    {"message/rfc822", true}, {"multiparty/x", true},
    {"", false}, {"text", false}, {"text/", false}, {"/plain", false}, {"text//plain", false},
    {"text/plain/x", false},
    {"text /plain", false}, {"text/ plain", false}, {" text/plain", false}, {"text/plain ", false},
    {"text/plain;", false}, {"text/plain; ", false}, {"text/plain; charset", false}, {"text/plain; charset=", false},
    {"text/plain; =utf-8", false},
    {"text/plain; a=b c", false}, {"text/plain; a=b c=d", false}, {"text/plain, text/html", false},
    {"text/plain; a=\\\"b", false}, {"text/plain; a=\\\"b\\\\", false}, {"text/plain; a=b\\\"", false},
    {"text/plain; a=\\\"b\\\"c", false}, {"t\xC3\xA9xt/plain", false}, {"text/plain; a=\xC3\xA9", false},
    {"text/plain; a=\\\"\xC3\xA9\\\"", false}, {"text/plain(comment)", false}, {"text/pl\\\\ain", false},
    {"<a>/b", false},
    {"multipart/mixed; boundary=x", false}, {"Multipart/Related", false}, {"text/plain; a==b", false},
    {"text/plain\\u0000x", false},
};

START_TEST(test_content_types)
{
    struct json_mail_result r;
    char fields[300];

    snprintf(fields, sizeof(fields), "'attachments':[{'filename':'a','content':'','content_type':'%s'}]",
             types[_i].type);
    r = json_case_read_fields(fields);
    ck_assert_msg((r.n_problems == 0) == types[_i].good, "%s", types[_i].type);
    if (!types[_i].good)
        ck_assert_str_eq(r.problems[0].pointer, "/attachments/0/content_type");
    json_mail_result_deinit(&r);
}
END_TEST

static const struct {
    const char *id, *want;              /* NULL: refused */
} ids[] = {
    {"logo", "logo"}, {"<logo>", "logo"}, {"logo@b.example", "logo@b.example"}, {"a%20b", "a%20b"},
    {"a.b-c_d+e=", "a.b-c_d+e="}, {"[x]", "[x]"}, {"", NULL}, {"<>", NULL}, {"<", NULL}, {">", NULL}, {"<logo", NULL},
    {"logo>", NULL}, {"<<logo>>", NULL}, {"a b", NULL}, {"a,b", NULL}, {"a;b", NULL}, {"a\\\"b", NULL},
    {"a\\\\b", NULL}, {"(a)", NULL},
    {"caf\xC3\xA9", NULL},
    {"<a> <b>", NULL},
};

START_TEST(test_content_ids)
{
    struct json_mail_result r;
    char fields[200];

    snprintf(fields, sizeof(fields), "'attachments':[{'content':'','content_id':'%s'}]", ids[_i].id);
    r = json_case_read_fields(fields);
    if (ids[_i].want)
        ck_assert_str_eq(only_attachment(&r)->content_id, ids[_i].want);
    else
        json_case_expect(&r, fields, "/attachments/0/content_id invalid_value;");
    json_mail_result_deinit(&r);
}
END_TEST

START_TEST(test_calendar)
{
    static const struct {
        const char *member, *method;
    } cases[] = {
        {"'method':'REQUEST','content':'BEGIN:VCALENDAR\\r\\nMETHOD:REQUEST\\r\\nEND:VCALENDAR\\r\\n'", "REQUEST"},
        {"'method':'request','content':'begin:vcalendar\\nmethod:Request'", "REQUEST"},
        {"'method':'Cancel','content':'BEGIN:VCALENDAR\\nEND:VCALENDAR'", "CANCEL"},
        {"'content':'BEGIN:VCALENDAR\\r\\nVERSION:2.0\\r\\nMETHOD:PUBLISH\\r\\n'", "PUBLISH"},
        {"'method':null,'content':'BEGIN:VCALENDAR\\nMETHOD:declinecounter'", "DECLINECOUNTER"},
        {"'method':'COUNTER','content':'BEGIN:VCALENDAR'", "COUNTER"},
        {"'method':'ADD','content':'BEGIN:VCALENDAR'", "ADD"},
        {"'method':'REPLY','content':'BEGIN:VCALENDAR'", "REPLY"},
        {"'method':'REFRESH','content':'BEGIN:VCALENDAR'", "REFRESH"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct json_mail_result r;
        char fields[200];
        snprintf(fields, sizeof(fields), "'calendar':{%s}", cases[i].member);
        r = json_case_read_fields(fields);
        json_case_expect(&r, fields, "");
        ck_assert_str_eq(r.mail->calendar_method, cases[i].method);
        ck_assert(bytes_starts_nocase(r.mail->calendar, "BEGIN:VCALENDAR"));
        json_mail_result_deinit(&r);
    }
}
END_TEST

START_TEST(test_dsn)
{
    struct json_mail_result r = json_case_read_fields(
        "'dsn':{'ret':'HDRS','envid':'a=b ~!','notify':['success','DELAY','failure','success']}");

    ck_assert_int_eq(r.code, OUTCOME_SENT);
    ck_assert(r.mail->dsn.wanted);
    ck_assert_int_eq(r.mail->dsn.ret, MAIL_RET_HDRS);
    ck_assert_str_eq(r.mail->dsn.envid, "a=b ~!");
    ck_assert_uint_eq(r.mail->dsn.notify, MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_DELAY | MAIL_NOTIFY_FAILURE);
    json_mail_result_deinit(&r);
    r = json_case_read_fields("'dsn':{'ret':'full','notify':'never'}");
    ck_assert_int_eq(r.mail->dsn.ret, MAIL_RET_FULL);
    ck_assert_uint_eq(r.mail->dsn.notify, MAIL_NOTIFY_NEVER);
    ck_assert_ptr_null(r.mail->dsn.envid);
    json_mail_result_deinit(&r);
    r = json_case_read_fields("'dsn':{'notify':['never','never']}");
    ck_assert_uint_eq(r.mail->dsn.notify, MAIL_NOTIFY_NEVER);
    json_mail_result_deinit(&r);
}
END_TEST

START_TEST(test_list_unsubscribe)
{
    struct json_mail_result r = json_case_read_fields(
        "'list_unsubscribe':{'url':'HTTPS://x.example/u?a=%20&b=(c),d;e','mailto':'MAILTO:u+1@b.example?subject=off'}");

    ck_assert_int_eq(r.code, OUTCOME_SENT);
    ck_assert_str_eq(r.mail->unsubscribe_url, "HTTPS://x.example/u?a=%20&b=(c),d;e");
    ck_assert_str_eq(r.mail->unsubscribe_mailto, "MAILTO:u+1@b.example?subject=off");
    json_mail_result_deinit(&r);
    r = json_case_read_fields("'list_unsubscribe':{'mailto':'u@b.example'},'headers':{'List-Id':'<l.b.example>'}");
    ck_assert_ptr_null(r.mail->unsubscribe_url);
    ck_assert_str_eq(r.mail->unsubscribe_mailto, "u@b.example");
    json_mail_result_deinit(&r);
    r = json_case_read_fields("'list_unsubscribe':{'url':'http://x','mailto':null}");
    ck_assert_str_eq(r.mail->unsubscribe_url, "http://x");
    json_mail_result_deinit(&r);
}
END_TEST

START_TEST(test_tags_and_metadata)
{
    struct json_mail_result r = json_case_read_fields(
        "'tags':['word',{'name':'n','value':'v'},{'name':'empty','value':''},{'name':'none','value':null},'word'],"
        "'metadata':{'':'empty name','a':'','\\u00e9/~':'\\u00e9'}");
    const struct mail_pair *t = r.mail->tags.v, *m = r.mail->metadata.v;

    ck_assert_int_eq(r.code, OUTCOME_SENT);
    ck_assert_uint_eq(r.mail->tags.n, 5);
    ck_assert_str_eq(t[0].name, "word");
    ck_assert_ptr_null(t[0].value);
    ck_assert_str_eq(t[1].name, "n");
    ck_assert_str_eq(t[1].value, "v");
    ck_assert_str_eq(t[2].value, "");
    ck_assert_ptr_null(t[3].value);
    ck_assert_uint_eq(r.mail->metadata.n, 3);
    ck_assert_str_eq(m[0].value, "empty name");
    ck_assert_str_eq(m[1].value, "");
    ck_assert_str_eq(m[2].name, "\xC3\xA9/~");
    json_mail_result_deinit(&r);
}
END_TEST

START_TEST(test_envelope)
{
    struct json_mail_result r = json_case_read_fields(
        "'envelope':{'from':'bounce+1@B.Example','to':['A <x@y.example>',{'email':'z@y.example'}]},'require_tls':true");

    ck_assert_int_eq(r.code, OUTCOME_SENT);
    ck_assert_str_eq(r.mail->envelope_from.email, "bounce+1@b.example");
    ck_assert_uint_eq(r.mail->envelope_to.n, 2);
    ck_assert_str_eq(r.mail->envelope_to.v[0].email, "x@y.example");
    ck_assert_str_eq(r.mail->envelope_to.v[1].email, "z@y.example");
    ck_assert_str_eq(r.mail->to.v[0].email, "c@d.example");
    ck_assert(r.mail->require_tls);
    json_mail_result_deinit(&r);
    r = json_case_read_fields("'envelope':{'from':'','to':'x@y.example'}");
    ck_assert_str_eq(r.mail->envelope_from.email, "");
    ck_assert_uint_eq(r.mail->envelope_to.n, 1);
    json_mail_result_deinit(&r);
    r = json_case_read_fields("'envelope':{'from':'<>'}");
    ck_assert_str_eq(r.mail->envelope_from.email, "");
    ck_assert_uint_eq(r.mail->envelope_to.n, 0);
    json_mail_result_deinit(&r);
}
END_TEST

/* The null sender is an envelope's only. */
START_TEST(test_null_sender_elsewhere)
{
    static const char *const documents[] = {"{'from':'','to':'c@d.example','text':''}",
                                            "{'from':'<>','to':'c@d.example','text':''}"};

    for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
        char *json = json_case_quoted(documents[i]);
        struct json_mail_result r = json_case_read(json, strlen(json));
        json_case_expect(&r, documents[i], "/from invalid_address;");
        json_mail_result_deinit(&r);
        free(json);
    }
}
END_TEST

static TCase *cases(void)
{
    TCase *tc = tcase_create("fields");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_wrong, 0, (int)ARRAY_LEN(wrong));
    tcase_add_loop_test(tc, test_harmless, 0, (int)ARRAY_LEN(harmless));
    tcase_add_test(tc, test_contents_without_text);
    tcase_add_loop_test(tc, test_controls_in_lines, 0, (int)ARRAY_LEN(lines));
    tcase_add_test(tc, test_no_controls);
    tcase_add_loop_test(tc, test_controls_in_texts, 0, 2);
    tcase_add_test(tc, test_controls_at_every_place);
    tcase_add_loop_test(tc, test_limits, 0, (int)ARRAY_LEN(limits));
    tcase_add_test(tc, test_metadata_limits);
    tcase_add_test(tc, test_problems_limit);
    tcase_add_test(tc, test_attachments);
    tcase_add_loop_test(tc, test_content_types, 0, (int)ARRAY_LEN(types));
    tcase_add_loop_test(tc, test_content_ids, 0, (int)ARRAY_LEN(ids));
    tcase_add_test(tc, test_calendar);
    tcase_add_test(tc, test_dsn);
    tcase_add_test(tc, test_list_unsubscribe);
    tcase_add_test(tc, test_tags_and_metadata);
    tcase_add_test(tc, test_envelope);
    tcase_add_test(tc, test_null_sender_elsewhere);
    return tc;
}

int main(void)
{
    Suite *suite = suite_create("json_fields");
    SRunner *sr = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, cases());
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
