#include "service/log.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Log lines: their form whatever the values hold, the level, the masks. Each test runs in a process of its own. */

static int pipe_fds[2];
static int real_stderr;
static char got[16384];

static void setup(void)
{
    unsetenv("NO_COLOR");
    ck_assert_int_eq(pipe(pipe_fds), 0);
    real_stderr = dup(STDERR_FILENO);
    ck_assert_int_ge(dup2(pipe_fds[1], STDERR_FILENO), 0);
}

static void teardown(void)
{
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

/* What one read(2) of the pipe gives: a whole line, as it was written at once. */
static const char *line(void)
{
    ssize_t n = read(pipe_fds[0], got, sizeof(got) - 1);

    ck_assert_int_gt(n, 0);
    got[n] = '\0';
    ck_assert_int_eq(got[n - 1], '\n');
    ck_assert_ptr_eq(strchr(got, '\n'), got + n - 1);
    return got;
}

static void assert_ends(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    ck_assert_msg(n >= m && strcmp(s + n - m, end) == 0, "\"%s\" does not end with \"%s\"", s, end);
}

START_TEST(test_json)
{
    const char *s;

    ck_assert_int_eq(log_init("json", "info", false), 0);
    log_event(LOG_WARN_LEVEL, "send", "mail not sent", LOG_S("id", "x-1"), LOG_N("smtp_code", 550), LOG_N("ms", 41.25),
              LOG_S("relay", NULL), LOG_N("n", -3));
    s = line();
    /* {"ts":"2026-11-24T21:27:15.123Z", */
    ck_assert_int_eq(strncmp(s, "{\"ts\":\"2", 8), 0);
    ck_assert_int_eq(s[17], 'T');
    ck_assert_int_eq(s[26], '.');
    ck_assert_int_eq(s[30], 'Z');
    assert_ends(s, "Z\",\"level\":\"warn\",\"event\":\"send\",\"msg\":\"mail not sent\",\"id\":\"x-1\","
                   "\"smtp_code\":550,\"ms\":41.250,\"relay\":\"\",\"n\":-3}\n");
}
END_TEST

static const struct {
    const char *value, *json;
} values[] = {
    {"a\"b\\c", "a\\\"b\\\\c"},
    {"line\r\nbreak\t", "line\\u000d\\u000abreak\\u0009"},
    {"\x1b[31mred\x7f", "\\u001b[31mred\\u007f"},
    {"\xc2\x9b" "31m", "\\u009b31m"},                   /* CSI of the C1 set */
    {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
    {"\xff\xc3", "\xef\xbf\xbd\xef\xbf\xbd"},
    {"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},           /* an overlong NUL */
    {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},   /* a surrogate */
    {"\xf0\x9f\x93\xa7", "\xf0\x9f\x93\xa7"},
    {"\xf0\x9f\x93", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
};

START_TEST(test_values)
{
    char want[200];

    ck_assert_int_eq(log_init("json", "info", false), 0);
    log_event(LOG_INFO_LEVEL, "e", values[_i].value, LOG_S("v", values[_i].value));
    snprintf(want, sizeof(want), "\"msg\":\"%s\",\"v\":\"%s\"}\n", values[_i].json, values[_i].json);
    assert_ends(line(), want);
    ck_assert_int_eq(log_init("text", "info", false), 0);
    log_event(LOG_INFO_LEVEL, "e", "m", LOG_S("v", values[_i].value));
    snprintf(want, sizeof(want), " INFO  e: m v=\"%s\"\n", values[_i].json);
    assert_ends(line(), want);
}
END_TEST

START_TEST(test_numbers_json_cannot_say)
{
    ck_assert_int_eq(log_init("json", "info", false), 0);
    log_event(LOG_INFO_LEVEL, "e", "m", LOG_N("a", INFINITY), LOG_N("b", NAN), LOG_N("c", 1e300), LOG_N("d", 0.0001),
              LOG_N("e", -0.5));
    assert_ends(line(), ",\"a\":null,\"b\":null,\"c\":null,\"d\":0,\"e\":-0.500}\n");
}
END_TEST

START_TEST(test_text)
{
    const char *s;

    ck_assert_int_eq(log_init("text", "debug", false), 0);
    log_event(LOG_ERROR_LEVEL, "start", "no luck", LOG_S("why", "address in use"), LOG_S("empty", ""), LOG_S("id", "x"),
              LOG_N("n", 1));
    s = line();
    ck_assert_int_eq(s[2], ':');
    ck_assert_int_eq(s[8], '.');
    assert_ends(s, " ERROR start: no luck why=\"address in use\" id=x n=1\n");
}
END_TEST

/* However long the values, a line is one write that a pipe takes whole, and JSON stays JSON. */
START_TEST(test_long_values)
{
    static char value[20001];
    const char *s;

    memset(value, '"', sizeof(value) - 1);
    ck_assert_int_eq(log_init("json", "info", false), 0);
    log_event(LOG_INFO_LEVEL, "e", value, LOG_S("a", value), LOG_S("b", value), LOG_S("c", value), LOG_S("d", value),
              LOG_S("e", value), LOG_S("f", value));
    s = line();
    ck_assert_uint_le(strlen(s), 4096);
    assert_ends(s, "\\\"\"}\n");
    ck_assert_int_eq(log_init("text", "info", false), 0);
    memset(value, 'x', sizeof(value) - 1);
    log_event(LOG_INFO_LEVEL, "e", value, LOG_S("a", value), LOG_S("b", value), LOG_S("c", value));
    ck_assert_uint_le(strlen(line()), 4096);
}
END_TEST

START_TEST(test_level)
{
    ck_assert_int_eq(log_init("json", "warn", false), 0);
    ck_assert(!log_is_on(LOG_INFO_LEVEL));
    ck_assert(log_is_on(LOG_WARN_LEVEL));
    log_event(LOG_INFO_LEVEL, "e", "hidden", LOG_N("n", 1));
    log_event(LOG_WARN_LEVEL, "e", "shown", LOG_N("n", 1));
    ck_assert_ptr_nonnull(strstr(line(), "shown"));
}
END_TEST

START_TEST(test_unknown_words)
{
    ck_assert_int_eq(log_init("xml", "info", false), -1);
    ck_assert_int_eq(log_init("json", "loud", false), -1);
    ck_assert_int_eq(log_init("", "info", false), -1);
    ck_assert_int_eq(log_init("auto", "info", false), 0);       /* a pipe is no terminal */
    log_event(LOG_INFO_LEVEL, "e", "m", LOG_N("n", 1));
    ck_assert_int_eq(line()[0], '{');
}
END_TEST

static const struct {
    const char *email, *masked;
} addresses[] = {
    {"ann@example.com", "a***@example.com"},
    {"a@b", "a***@b"},
    {"\xc3\xbc" "ml@example.com", "\xc3\xbc***@example.com"},
    {"\"a@b\"@example.com", "\"***@example.com"},
    {"", ""},
    {"nobody", "nobody"},
    {"@example.com", "@example.com"},
};

START_TEST(test_mask_address)
{
    char out[128];

    ck_assert_int_eq(log_init("json", "info", false), 0);
    log_mask_address(addresses[_i].email, out);
    ck_assert_str_eq(out, addresses[_i].masked);
    ck_assert_int_eq(log_init("json", "info", true), 0);
    log_mask_address(addresses[_i].email, out);
    ck_assert_str_eq(out, addresses[_i].email);
}
END_TEST

static const struct {
    const char *text, *masked;
} texts[] = {
    {"5.1.1 <bob@example.org>: no such user", "5.1.1 <b***@example.org>: no such user"},
    {"bob@example.org", "b***@example.org"},
    {"x@y and long.name+tag@z.example, too", "x***@y and l***@z.example, too"},
    {"<\"john doe\"@example.org> unknown", "<\"***@example.org> unknown"},
    {"\xc3\xbc" "ml@example.org", "\xc3\xbc***@example.org"},
    {"@ alone, a @ b", "@ alone, a @ b"},
    {"no address", "no address"},
    {"", ""},
};

START_TEST(test_mask_text)
{
    char out[256];

    ck_assert_int_eq(log_init("json", "info", false), 0);
    log_mask_text(texts[_i].text, out);
    ck_assert_str_eq(out, texts[_i].masked);
}
END_TEST

START_TEST(test_mask_long_text)
{
    static char text[1001], out[256];

    ck_assert_int_eq(log_init("json", "info", false), 0);
    memset(text, 'x', sizeof(text) - 1);
    for (size_t at = 240; at < 256; at++) {
        text[at] = '@';
        log_mask_text(text, out);
        ck_assert_uint_lt(strlen(out), sizeof(out));
        text[at] = 'x';
    }
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        text[i] = i % 2 ? '@' : 'a';
    log_mask_text(text, out);
    ck_assert_uint_lt(strlen(out), sizeof(out));
    log_mask_address(text, out);
    ck_assert_uint_lt(strlen(out), 128);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("log");
    TCase *t = tcase_create("log");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_json);
    tcase_add_loop_test(t, test_values, 0, (int)ARRAY_LEN(values));
    tcase_add_test(t, test_numbers_json_cannot_say);
    tcase_add_test(t, test_text);
    tcase_add_test(t, test_long_values);
    tcase_add_test(t, test_level);
    tcase_add_test(t, test_unknown_words);
    tcase_add_loop_test(t, test_mask_address, 0, (int)ARRAY_LEN(addresses));
    tcase_add_loop_test(t, test_mask_text, 0, (int)ARRAY_LEN(texts));
    tcase_add_test(t, test_mask_long_text);
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
