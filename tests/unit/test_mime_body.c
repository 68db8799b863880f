#include "smtp/mime_body.h"
#include "smtp/mime_base64.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Content-transfer-encodings: which one is chosen, what it writes, and that reading it gives the text again. */

static const struct {
    const char *in;
    enum mime_encoding e;
    const char *want;
} bodies[] = {
    {"", MIME_7BIT, ""}, {"a\nb\rc\r\nd", MIME_7BIT, "a\r\nb\r\nc\r\nd"}, {"\n\r", MIME_7BIT, "\r\n\r\n"},
    {".\n..\n", MIME_7BIT, ".\r\n..\r\n"}, {"=\tx", MIME_7BIT, "=\tx"}, {" From x", MIME_7BIT, " From x"},
    {"From x", MIME_QUOTED_PRINTABLE, "=46rom x"}, {"x\nFrom \n", MIME_QUOTED_PRINTABLE, "x\r\n=46rom=20\r\n"},
    {"x \ny", MIME_QUOTED_PRINTABLE, "x=20\r\ny"}, {"x\t\r\n", MIME_QUOTED_PRINTABLE, "x=09\r\n"},
    {"= ", MIME_QUOTED_PRINTABLE, "=3D=20"}, {"abcdefgh\xC3\xA9", MIME_QUOTED_PRINTABLE, "abcdefgh=C3=A9"},
    {"x=\xC3\xA9\r\n", MIME_BASE64, "eD3DqQ0K"}, {"a\001", MIME_QUOTED_PRINTABLE, "a=01"},
    {"abcdef\x7F", MIME_QUOTED_PRINTABLE, "abcdef=7F"}, {"F", MIME_7BIT, "F"}, {"From", MIME_7BIT, "From"},
    {" ", MIME_QUOTED_PRINTABLE, "=20"}, {"\r\r\n\r", MIME_7BIT, "\r\n\r\n\r\n"},
    {"\xE6\x97\xA5\n", MIME_BASE64, "5pelDQo="}, {"\xE6\x97\xA5\r", MIME_BASE64, "5pelDQo="},
};

START_TEST(test_bodies)
{
    struct bytes_view in = bytes_view_str(bodies[_i].in);
    struct mime_body plan;
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    plan = mime_body_plan(in);
    ck_assert_msg(plan.encoding == bodies[_i].e, "%s", bodies[_i].in);
    mime_body_write(&plan, in, &b);
    ck_assert_str_eq(b.p ? b.p : "", bodies[_i].want);
    bytes_buf_deinit(&b);
}
END_TEST

START_TEST(test_line_limits)
{
    static const enum mime_encoding all[] = {MIME_QUOTED_PRINTABLE, MIME_BASE64};
    struct mime_body plan = {.size = 4 * 3000};
    char line[3000];

    memset(line, 'x', sizeof(line));
    ck_assert_int_eq(mime_body_plan(bytes_view(line, 998)).encoding, MIME_7BIT);
    ck_assert_int_eq(mime_body_plan(bytes_view(line, 999)).encoding, MIME_QUOTED_PRINTABLE);
    memset(line, '=', 1000);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct bytes_buf b;
        bytes_buf_init(&b, 0);
        plan.encoding = all[i];
        mime_body_write(&plan, bytes_view(line, sizeof(line)), &b);
        for (const char *p = b.p; *p; p += strcspn(p, "\n") + (p[strcspn(p, "\n")] == '\n'))
            ck_assert_uint_le(strcspn(p, "\r"), 76);
        bytes_buf_deinit(&b);
    }
}
END_TEST

START_TEST(test_base64)
{
    static const char *const cases[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob",
    "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}, {"\xFF\xFE\xFB", "//77"}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes_buf b;
        bytes_buf_init(&b, 0);
        mime_base64_write(bytes_view_str(cases[i][0]), &b);
        ck_assert_uint_eq(b.n, strlen(cases[i][1]));
        ck_assert_str_eq(b.p, cases[i][1]);
        bytes_buf_deinit(&b);
    }
}
END_TEST

/* ---- there and back ---- */

static int hex_value(char c)
{
    if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'F')))
        ck_abort_msg("not a hexadecimal digit: %c", c);
    return c <= '9' ? c - '0' : c - 'A' + 10;
}

static void read_qp(struct bytes_view in, struct bytes_buf *out)
{
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] != '=') {
            bytes_buf_add_char(out, in.p[i]);
            continue;
        }
        if (i + 2 >= in.n)
            ck_abort_msg("an escape is cut off");
        if (in.p[i + 1] != '\r')
            bytes_buf_add_char(out, (char)(hex_value(in.p[i + 1]) * 16 + hex_value(in.p[i + 2])));
        i += 2;
    }
}

static void read_base64(struct bytes_view in, struct bytes_buf *out)
{
    struct bytes_buf digits;
    size_t n;

    bytes_buf_init(&digits, 0);
    for (size_t i = 0; i < in.n; i++)
        if (in.p[i] != '\r' && in.p[i] != '\n')
            bytes_buf_add_char(&digits, in.p[i]);
    bytes_buf_reserve(out, digits.n);
    ck_assert_int_eq(mime_base64_decode(bytes_buf_view(&digits), out->p, &n), 0);
    out->n = n;
    bytes_buf_deinit(&digits);
}

/* Line breaks as RFC 2046 §4.1.1 has them. */
static void canonical(struct bytes_view in, struct bytes_buf *out)
{
    for (size_t i = 0; i < in.n; i++) {
        bool is_break = in.p[i] == '\r' || in.p[i] == '\n';
        if (!is_break)
            bytes_buf_add_char(out, in.p[i]);
        else
            bytes_buf_add_str(out, "\r\n");
        if (in.p[i] == '\r' && i + 1 < in.n && in.p[i + 1] == '\n')
            i++;
    }
}

static void check_written(struct bytes_view text, struct mime_body plan)
{
    size_t limit = plan.encoding == MIME_7BIT ? 998 : 76;
    struct bytes_buf want, written, got;
    struct bytes_view v;

    bytes_buf_init(&want, 0);
    bytes_buf_init(&written, 0);
    bytes_buf_init(&got, 0);
    canonical(text, &want);
    mime_body_write(&plan, text, &written);
    ck_assert(!written.failed && (written.n == 0 || written.p[written.n] == '\0'));
    ck_assert_uint_le(written.n, plan.size);
    if (plan.encoding != MIME_QUOTED_PRINTABLE)
        ck_assert_uint_eq(written.n, plan.size);
    v = bytes_buf_view(&written);
    ck_assert(bytes_is_ascii(v));
    for (size_t start = 0; start < v.n;) {
        const char *lf = memchr(v.p + start, '\n', v.n - start);
        size_t end = lf ? (size_t)(lf - v.p) - 1 : v.n;
        if (end - start > limit || (lf && lf[-1] != '\r'))
            ck_abort_msg("a line of %zu octets, or an LF alone", end - start);
        if (plan.encoding == MIME_QUOTED_PRINTABLE && end > start && strchr(" \t", v.p[end - 1]))
            ck_abort_msg("a space at a line's end");
        start = end + 2;
    }
    if (plan.encoding == MIME_7BIT)
        bytes_buf_add(&got, v.p, v.n);
    else
        (plan.encoding == MIME_BASE64 ? read_base64 : read_qp)(v, &got);
    ck_assert_uint_eq(got.n, want.n);
    ck_assert(got.n == 0 || memcmp(got.p, want.p, got.n) == 0);
    bytes_buf_deinit(&want);
    bytes_buf_deinit(&written);
    bytes_buf_deinit(&got);
}

/* Texts of a few kinds in many lengths: runs that end at each column, breaks of each kind, dense and sparse escapes. */
START_TEST(test_there_and_back)
{
    static const char *const alphabets[] = {"a", "ab \n", "a\r\n", "abcdefghijkl=", "\xC3\xA9", "ab\xC3\xA9 \t\r\n",
                                            "abcdefghijklmnopqr\xE6\n", "From .\n", "\r", "\n", "=", " "};
    const char *alphabet = alphabets[_i % (int)ARRAY_LEN(alphabets)];
    unsigned state = 12345u + (unsigned)_i;
    size_t n_letters = strlen(alphabet);
    char text[1200];

    for (size_t n = 0; n < sizeof(text); n += n < 300 ? 1 : 37) {
        struct bytes_view v = bytes_view(text, n);
        for (size_t i = 0; i < n; i++) {
            state = state * 1103515245u + 12345u;
            text[i] = alphabet[(state >> 16) % n_letters];
        }
        check_written(v, mime_body_plan(v));
        check_written(v, mime_body_plan_base64(v));
    }
}
END_TEST

/* Past what is staged for one piece of base64. */
START_TEST(test_long_text)
{
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    for (unsigned i = 0; i < 20000; i++)
        bytes_buf_add_str(&b, i % 7 ? "\xE6\x97\xA5" : "\n");
    check_written(bytes_buf_view(&b), mime_body_plan(bytes_buf_view(&b)));
    ck_assert_int_eq(mime_body_plan(bytes_buf_view(&b)).encoding, MIME_BASE64);
    bytes_buf_deinit(&b);
}
END_TEST

/* ---- messages inside messages ---- */

START_TEST(test_messages)
{
    static const struct {
        const char *in;
        size_t n;
        bool fits;
    } cases[] = {
        {"A: b\n\nc \nFrom x\n", 16, true}, {"A: b\r\n\r\n", 8, true}, {"", 0, true}, {"\001", 1, true},
        {"A: b\r\r\n", 7, false}, {"A: b\r", 5, false}, {"\r", 1, false}, {"\rx\n", 3, false}, {"A\0b", 3, false},
        {"caf\xC3\xA9", 5, false},
    };
    char line[1000];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mime_body b;
        ck_assert_msg(mime_body_plan_message(bytes_view(cases[i].in, cases[i].n), &b) == cases[i].fits, "%zu", i);
        if (cases[i].fits)
            check_written(bytes_view(cases[i].in, cases[i].n), b);
    }
    for (size_t n = 997; n <= 1000; n++) {
        struct mime_body b;
        memset(line, 'x', sizeof(line));
        ck_assert(mime_body_plan_message(bytes_view(line, n), &b) == (n <= 998));
        memcpy(line + n - 2, "\r\n", 2);
        ck_assert(mime_body_plan_message(bytes_view(line, n), &b));
    }
}
END_TEST

/* ---- base64 ---- */

START_TEST(test_base64_lines)
{
    char octets[400];

    for (size_t i = 0; i < sizeof(octets); i++)
        octets[i] = (char)(i * 37 + 11);
    for (size_t n = 0; n <= sizeof(octets); n++) {
        struct bytes_buf plain, lines, wrapped, back;
        struct bytes_buf *all[] = {&plain, &lines, &wrapped, &back};
        for (size_t i = 0; i < ARRAY_LEN(all); i++)
            bytes_buf_init(all[i], 0);
        mime_base64_write(bytes_view(octets, n), &plain);
        mime_base64_lines(bytes_view(octets, n), &lines);
        mime_base64_wrap(bytes_buf_view(&plain), &wrapped);
        ck_assert_uint_eq(plain.n, mime_base64_size(n));
        ck_assert_uint_eq(lines.n, mime_base64_lines_size(plain.n));
        ck_assert_str_eq(lines.p, wrapped.p);
        for (const char *p = lines.p; strlen(p) > 76; p += 78)
            ck_assert(strcspn(p, "\r") == 76 && p[77] == '\n' && p[78]);
        read_base64(bytes_buf_view(&lines), &back);
        ck_assert_uint_eq(back.n, n);
        ck_assert(n == 0 || memcmp(back.p, octets, n) == 0);
        for (size_t i = 0; i < ARRAY_LEN(all); i++)
            bytes_buf_deinit(all[i]);
    }
}
END_TEST

START_TEST(test_base64_refused)
{
    static const char *const cases[] = {"A", "AA", "AAA", "AAAAA", "====", "A===", "=AAA", "AA=A", "AA==AAAA", "AA A",
                                        "AA-_", "AA\r\n", "AA\xC3\xA9", "AAAA=", "A=A="};
    char to[16];
    size_t n;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ck_assert_msg(mime_base64_decode(bytes_view_str(cases[i]), to, &n) == -1, "%s", cases[i]);
        ck_assert_uint_eq(n, 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mime_body");
    TCase *tc = tcase_create("mime_body");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_bodies, 0, (int)ARRAY_LEN(bodies));
    tcase_add_test(tc, test_line_limits);
    tcase_add_test(tc, test_base64);
    tcase_add_loop_test(tc, test_there_and_back, 0, 24);
    tcase_add_test(tc, test_long_text);
    tcase_add_test(tc, test_messages);
    tcase_add_test(tc, test_base64_lines);
    tcase_add_test(tc, test_base64_refused);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
