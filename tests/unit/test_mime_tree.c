#include "smtp/mime_tree.h"
#include "smtp/mime_base64.h"
#include "smtp/mime_param.h"
#include "smtp/mime_type.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* The parts of a mail: their order and nesting, each one's header fields, file names, messages inside messages. */

#define TEXT "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\nt"
#define HTML "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\nh"
#define CALENDAR \
    "Content-Type: text/calendar; charset=utf-8; method=REQUEST\r\nContent-Transfer-Encoding: 7bit\r\n\r\nc"
#define INVITE \
    "Content-Type: application/ics; name=\"invite.ics\"\r\nContent-Transfer-Encoding: base64\r\n" \
    "Content-Disposition: attachment; filename=\"invite.ics\"\r\n\r\nYw=="
#define FILE_PART \
    "Content-Type: application/pdf; name=\"f.pdf\"\r\nContent-Transfer-Encoding: base64\r\n" \
    "Content-Disposition: attachment; filename=\"f.pdf\"\r\n\r\nZg=="
#define IMAGE \
    "Content-Type: image/png; name=\"i.png\"\r\nContent-Transfer-Encoding: base64\r\n" \
    "Content-Disposition: inline; filename=\"i.png\"\r\nContent-ID: <i@x>\r\n\r\naQ=="
#define SHORT(kind, n) "Content-Type: multipart/" kind "; boundary=\"=_id." #n "\"\r\n"
#define RELATED(type, fold, n) \
    "Content-Type: multipart/related; type=\"" type "\";" fold "boundary=\"=_id." #n "\"\r\n"
#define NEXT(n) "\r\n--=_id." #n "\r\n"
#define END(n) "\r\n--=_id." #n "--"

/* The parts of `m` as they are written; to be freed. */
static char *written(struct mail *m, const char *id)
{
    struct mime_tree *t = mime_tree_new(m, id);
    struct bytes_buf b;
    char *p;

    ck_assert_ptr_nonnull(t);
    bytes_buf_init(&b, 0);
    mime_tree_write(t, &b);
    ck_assert_uint_le(b.n, mime_tree_size(t));
    p = bytes_buf_take(&b, NULL);
    ck_assert_ptr_nonnull(p);
    mime_tree_free(t);
    return p;
}

/* ---- nesting ---- */

/* What there is: t, h, c(alendar), f(ile), i(mage with a Content-ID). */
static const struct {
    const char *has, *want;
} trees[] = {
    {"", "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"},
    {"t", TEXT}, {"h", HTML}, {"f", FILE_PART}, {"i", IMAGE},
    {"th", SHORT("alternative", 1) NEXT(1) TEXT NEXT(1) HTML END(1)},
    {"tf", SHORT("mixed", 1) NEXT(1) TEXT NEXT(1) FILE_PART END(1)},
    {"ff", SHORT("mixed", 1) NEXT(1) FILE_PART NEXT(1) FILE_PART END(1)},
    {"ti", SHORT("mixed", 1) NEXT(1) TEXT NEXT(1) IMAGE END(1)},
    {"hi", RELATED("text/html", " ", 1) NEXT(1) HTML NEXT(1) IMAGE END(1)},
    {"c", SHORT("mixed", 1) NEXT(1) CALENDAR NEXT(1) INVITE END(1)},
    {"thi", RELATED("multipart/alternative", "\r\n ", 1) NEXT(1) SHORT("alternative", 2) NEXT(2) TEXT NEXT(2) HTML
     END(2) NEXT(1) IMAGE END(1)},
    {"fhi", SHORT("mixed", 1) NEXT(1) RELATED("text/html", " ", 2) NEXT(2) HTML NEXT(2) IMAGE END(2) NEXT(1) FILE_PART
     END(1)},
    {"ifthc", SHORT("mixed", 1) NEXT(1) RELATED("multipart/alternative", "\r\n ", 2) NEXT(2) SHORT("alternative", 3)
     NEXT(3) TEXT NEXT(3) HTML NEXT(3) CALENDAR END(3) NEXT(2) IMAGE END(2) NEXT(1) FILE_PART NEXT(1) INVITE END(1)},
};

static void add_file(struct mail *m, const char *name, const char *type, const char *id, const char *content)
{
    struct mail_attachment a = {.filename = name ? strdup(name) : NULL, .content_type = type ? strdup(type) : NULL,
                                .content_id = id ? strdup(id) : NULL, .is_inline = id != NULL,
                                .content = bytes_view_str(content)};

    ck_assert_int_eq(mail_add_attachment(m, a), 0);
}

START_TEST(test_trees)
{
    struct mail *m = mail_new();
    char *got;

    ck_assert_ptr_nonnull(m);
    for (const char *c = trees[_i].has; *c; c++) {
        if (*c == 't')
            m->text = bytes_view_str("t");
        else if (*c == 'h')
            m->html = bytes_view_str("h");
        else if (*c == 'c')
            m->calendar = bytes_view_str("c");
        else if (*c == 'f')
            add_file(m, "f.pdf", NULL, NULL, "f");
        else
            add_file(m, "i.png", NULL, "i@x", "i");
    }
    if (m->calendar.p)
        m->calendar_method = strdup("REQUEST");
    got = written(m, "id");
    ck_assert_str_eq(got, trees[_i].want);
    free(got);
    mail_free(m);
}
END_TEST

/* A boundary may not stand in anything that is written as it is: texts, calendars, messages inside. */
START_TEST(test_boundary_is_in_no_part)
{
    static const char text[] = "A: --=_id.1\n\n";

    for (int place = 0; place < 4; place++) {
        struct mail *m = mail_new();
        char *got;
        ck_assert_ptr_nonnull(m);
        m->text = bytes_view_str(place == 0 ? text : "t");
        m->html = bytes_view_str(place == 1 ? text : "h");
        if (place == 2)
            m->calendar = bytes_view_str(text);
        add_file(m, "m.eml", NULL, NULL, place == 3 ? text : "A: b\n\n");
        got = written(m, "id");
        ck_assert_ptr_nonnull(strstr(got, "boundary=\"=_id_1.1\""));
        free(got);
        mail_free(m);
    }
}
END_TEST

/* ---- one part ---- */

static char *file_written(struct mail_attachment a)
{
    struct mail *m = mail_new();
    char *got;

    ck_assert_ptr_nonnull(m);
    a.filename = a.filename ? strdup(a.filename) : NULL;
    a.content_type = a.content_type ? strdup(a.content_type) : NULL;
    ck_assert_int_eq(mail_add_attachment(m, a), 0);
    got = written(m, "id");
    mail_free(m);
    return got;
}

#define B64 "Content-Transfer-Encoding: base64\r\n"

static const struct {
    const char *name, *type, *want;     /* Content-Type's line and Content-Disposition's */
} files[] = {
    {NULL, NULL, "Content-Type: application/octet-stream\r\n" B64 "Content-Disposition: attachment\r\n"},
    {"", NULL, "Content-Type: application/octet-stream\r\n" B64 "Content-Disposition: attachment\r\n"},
    {"a.PNG", NULL,
     "Content-Type: image/png; name=\"a.PNG\"\r\n" B64 "Content-Disposition: attachment; filename=\"a.PNG\"\r\n"},
    {NULL, "text/plain; charset=iso-8859-1 ;name=mine ; x=\"a;\\\"b\"",
     "Content-Type: text/plain; charset=iso-8859-1; name=mine; x=\"a;\\\"b\"\r\n" B64
     "Content-Disposition: attachment\r\n"},
    {"n", "text/plain;NAME=\"x;y\";charset=us-ascii;name*0*=utf-8''z;named=1; ",
     "Content-Type: text/plain; charset=us-ascii; named=1; name=\"n\"\r\n" B64
     "Content-Disposition: attachment; filename=\"n\"\r\n"},
    {"n", "multipart/mixed; boundary=\"=_id.1\"",
     "Content-Type: application/octet-stream; name=\"n\"\r\n" B64
     "Content-Disposition: attachment; filename=\"n\"\r\n"},
    {"n.txt", NULL,
     "Content-Type: text/plain; charset=utf-8; name=\"n.txt\"\r\n" B64
     "Content-Disposition: attachment; filename=\"n.txt\"\r\n"},
    {"n", "Text/CSV",
     "Content-Type: Text/CSV; name=\"n\"\r\n" B64 "Content-Disposition: attachment; filename=\"n\"\r\n"},
};

START_TEST(test_files)
{
    char *got = file_written((struct mail_attachment){.filename = (char *)(size_t)files[_i].name,
                                                      .content_type = (char *)(size_t)files[_i].type,
                                                      .content = bytes_view_str("\xC3\xA9")});
    char *end = strstr(got, "\r\n\r\n");

    ck_assert_ptr_nonnull(end);
    ck_assert_str_eq(end, "\r\n\r\nw6k=");
    end[2] = '\0';
    ck_assert_str_eq(got, files[_i].want);
    free(got);
}
END_TEST

/* A charset is promised only for what is UTF-8, wherever the pieces end in which base64 is looked at. */
START_TEST(test_charset_is_what_it_is)
{
    static const char *const breaks[] = {"", "\xF0\x9F\x98", "\x80"};
    const char *broken = breaks[_i % 3];
    bool as_digits = _i / 3 % 2;

    for (int shift = 0; shift < 4; shift++) {
        struct mail_attachment a = {.filename = (char[]){"a.txt"}, .is_base64 = as_digits};
        struct bytes_buf octets, digits;
        char *got;
        bytes_buf_init(&octets, 0);
        bytes_buf_init(&digits, 0);
        bytes_buf_add(&octets, "xyz", (size_t)shift);
        for (size_t i = 0; i < 2000; i++)
            bytes_buf_add_str(&octets, "\xF0\x9F\x98\x80");
        bytes_buf_add_str(&octets, broken);
        mime_base64_write(bytes_buf_view(&octets), &digits);
        a.content = bytes_buf_view(as_digits ? &digits : &octets);
        got = file_written(a);
        ck_assert((strstr(got, "charset=utf-8") != NULL) == (broken[0] == '\0'));
        free(got);
        bytes_buf_deinit(&octets);
        bytes_buf_deinit(&digits);
    }
}
END_TEST

static struct mail *mail_with(struct mail_attachment a)
{
    struct mail *m = mail_new();

    ck_assert_ptr_nonnull(m);
    ck_assert_int_eq(mail_add_attachment(m, a), 0);
    return m;
}

/* What is base64 already is written as it is, in lines. */
START_TEST(test_digits)
{
    char digits[201];
    struct mail *m;
    char *got, *content;

    memset(digits, 'Q', 200);
    digits[200] = '\0';
    m = mail_with((struct mail_attachment){.is_base64 = true, .content = bytes_view(digits, 200)});
    got = written(m, "id");
    content = strstr(got, "\r\n\r\n") + 4;
    ck_assert_uint_eq(strlen(content), 204);
    ck_assert(memcmp(content + 76, "\r\nQ", 3) == 0 && memcmp(content + 154, "\r\nQ", 3) == 0);
    free(got);
    mail_free(m);
}
END_TEST

#define SEVEN \
    "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\nContent-Disposition: attachment\r\n\r\n"
#define EIGHT \
    "Content-Type: application/octet-stream; name=\"message.eml\"\r\n" B64 \
    "Content-Disposition: attachment; filename=\"message.eml\"\r\n\r\n"

static const struct {
    const char *content;
    bool is_base64;
    const char *want;
} messages[] = {
    {"A: b\n\nc\n", false, SEVEN "A: b\r\n\r\nc\r\n"}, {"A: b\r\n\r\nc", false, SEVEN "A: b\r\n\r\nc"},
    {"QTogYgoKYwo=", true, SEVEN "A: b\r\n\r\nc\r\n"}, {"A: b\n\n\xC3\xA9", false, EIGHT "QTogYgoKw6k="},
    {"QTogYgoKw6k=", true, EIGHT "QTogYgoKw6k="}, {"A: b\r\r", false, EIGHT "QTogYg0N"},
    {"QTogYgoKAA==", true, EIGHT "QTogYgoKAA=="}, {"no field\n", false, EIGHT "bm8gZmllbGQK"}, {"", false, EIGHT},
    {"", true, EIGHT}, {"bm8=", true, EIGHT "bm8="},
};

START_TEST(test_messages)
{
    char *content = strdup(messages[_i].content);       /* it may be decoded in its place */
    char *got = file_written((struct mail_attachment){.content_type = (char[]){"message/rfc822"},
                                                      .content = bytes_view_str(content),
                                                      .is_base64 = messages[_i].is_base64});

    ck_assert_str_eq(got, messages[_i].want);
    free(got);
    free(content);
}
END_TEST

/* ---- file names ---- */

#define A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A60 A50 "aaaaaaaaaa"

static const struct {
    const char *name, *filename, *fallback;
} names[] = {
    {"a.txt", "; filename=\"a.txt\"", "; name=\"a.txt\""},
    {"a b; c=d%20.txt", "; filename=\"a b; c=d%20.txt\"", "; name=\"a b; c=d%20.txt\""},
    {"q\"u\\o", "; filename=\"q\\\"u\\\\o\"", "; name=\"q\\\"u\\\\o\""},
    {"\"; filename=\"evil.exe",
     "; filename=\"\\\"; filename=\\\"evil.exe\"", "; name=\"\\\"; filename=\\\"evil.exe\""},
    {"x\\", "; filename=\"x\\\\\"", "; name=\"x\\\\\""},
    {"utf-8''%41", "; filename=\"utf-8''%41\"", "; name=\"utf-8''%41\""},
    {"=?utf-8?q?x?=", "; filename*=utf-8''%3D%3Futf-8%3Fq%3Fx%3F%3D", "; name=\"=_utf-8_q_x_=\""},
    {"caf\xC3\xA9 1.pdf", "; filename*=utf-8''caf%C3%A9%201.pdf", "; name=\"caf_ 1.pdf\""},
    {"'%*()<>@,;:\xC3\xA9", "; filename*=utf-8''%27%25%2A%28%29%3C%3E%40%2C%3B%3A%C3%A9",
     "; name=\"'%*()<>@,;:_\""},
    {"a  b", "; filename*=utf-8''a%20%20b", "; name=\"a _b\""}, {" a", "; filename*=utf-8''%20a", "; name=\"_a\""},
    {"a ", "; filename*=utf-8''a%20", "; name=\"a\""}, {" ", "; filename*=utf-8''%20", "; name=\"_\""},
    {"a\rb\nc\td", "; filename*=utf-8''a%0Db%0Ac%09d", "; name=\"a_b_c_d\""},
    {"\xC2\x85\xE2\x80\xA8x", "; filename*=utf-8''%C2%85%E2%80%A8x", "; name=\"__x\""},
    {A60, ";\r\n filename=\"" A60 "\"", "; name=\"" A60 "\""},
    {A60 "aaa", ";\r\n filename=\"" A60 "aaa\"", "; name=\"" A60 "\""},
    {A60 "aaaa", ";\r\n filename*0*=utf-8''" A50 "aaaaa;"
     "\r\n filename*1*=aaaaaaaaa", "; name=\"" A60 "\""},
    {A60 A60 ".pdf", ";\r\n filename*0*=utf-8''" A50 "aaaaa;"
     "\r\n filename*1*=" A60 "aa;\r\n filename*2*=aaa.pdf",
     "; name=\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.pdf\""},
    {"\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9.d",
     ";\r\n filename*0*=utf-8''%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9;\r\n filename*1*=%C3%A9.d",
     "; name=\"__________.d\""},
};

START_TEST(test_names)
{
    struct mime_param_line l;
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    mime_param_begin(&l, &b, "X", "y");
    mime_param_filename(&l, names[_i].name);
    ck_assert_str_eq(b.p + 4, names[_i].filename);
    bytes_buf_deinit(&b);
    mime_param_begin(&l, &b, "X", "y");
    mime_param_name(&l, names[_i].name);
    ck_assert_str_eq(b.p + 4, names[_i].fallback);
    mime_param_end(&l);
    ck_assert_str_eq(b.p + b.n - 2, "\r\n");
    bytes_buf_deinit(&b);
}
END_TEST

/* Names of every length, of one to four octets a character: no line over 76, no triplet and no character cut. */
START_TEST(test_long_names)
{
    static const char *const letters[] = {"a", "\"", "\xC3\xA9", "\xE6\x97\xA5", "\xF0\x9F\x98\x80", "a\xE6\x97\xA5"};
    const char *letter = letters[_i];

    for (size_t n = 1; n < 400; n += n < 100 ? 1 : 41) {
        struct bytes_buf name, b;
        struct mime_param_line l;
        bytes_buf_init(&name, 0);
        bytes_buf_init(&b, 0);
        for (size_t i = 0; i < n; i++)
            bytes_buf_add_str(&name, letter);
        bytes_buf_add_str(&name, ".pdf");
        mime_param_begin(&l, &b, "Content-Disposition", "attachment");
        mime_param_filename(&l, name.p);
        mime_param_name(&l, name.p);
        mime_param_end(&l);
        for (const char *p = b.p; *p; p += strcspn(p, "\n") + 1) {
            size_t length = strcspn(p, "\r"), last = p[length - 1] == ';' ? length - 1 : length;
            ck_assert_uint_le(length, 76);
            ck_assert(p[last - 1] != '%' && p[last - 2] != '%');
            if (p[last - 3] == '%' && letter[0] & 0x80)         /* a character's last octet */
                ck_assert(p[last - 2] >= '8' && p[last - 2] <= 'B');
        }
        ck_assert_ptr_nonnull(strstr(b.p, ".pdf\"\r\n"));
        bytes_buf_deinit(&name);
        bytes_buf_deinit(&b);
    }
}
END_TEST

START_TEST(test_types)
{
    static const char *const cases[][2] = {
        {"a.pdf", "application/pdf"}, {"A.PDF", "application/pdf"}, {"a.tar.gz", "application/gzip"},
        {"a.md", "text/markdown"}, {"a.heic", "image/heic"}, {"a.woff2", "font/woff2"}, {"a.eml", "message/rfc822"},
        {".ics", "text/calendar"}, {"pdf", "application/octet-stream"}, {"a.", "application/octet-stream"},
        {"a.pdf ", "application/octet-stream"}, {"a.pdfx", "application/octet-stream"},
        {"a.pd", "application/octet-stream"}, {"", "application/octet-stream"}, {NULL, "application/octet-stream"},
        {"a.pdf/b", "application/octet-stream"},
        {"a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        ck_assert_str_eq(mime_type_of(cases[i][0]), cases[i][1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mime_tree");
    TCase *tc = tcase_create("mime_tree");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_trees, 0, (int)ARRAY_LEN(trees));
    tcase_add_test(tc, test_boundary_is_in_no_part);
    tcase_add_loop_test(tc, test_files, 0, (int)ARRAY_LEN(files));
    tcase_add_loop_test(tc, test_charset_is_what_it_is, 0, 6);
    tcase_add_test(tc, test_digits);
    tcase_add_loop_test(tc, test_messages, 0, (int)ARRAY_LEN(messages));
    tcase_add_loop_test(tc, test_names, 0, (int)ARRAY_LEN(names));
    tcase_add_loop_test(tc, test_long_names, 0, 6);
    tcase_add_test(tc, test_types);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
