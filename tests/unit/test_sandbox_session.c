#include "smtp/sandbox_session.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Conversations with the sandbox's server side, without sockets: each whole and byte by byte. */

#define MESSAGE_MAX 1000
#define RCPTS_MAX 3
#define PLAIN "AUTH PLAIN AHNhbmRib3gAc2VzYW1l\r\n"       /* NUL sandbox NUL sesame */
#define TO_RCPT "MAIL FROM:<ann@example.com>\r\nRCPT TO:<bob@example.com>\r\n"

static struct sandbox_session *s;
static bool bytewise;
static struct sandbox_mail *mails[8];
static size_t n_mails;

static void set_up(void)
{
    struct sandbox_session_params p = {.user = "sandbox", .password = "sesame", .max_message = MESSAGE_MAX,
                                       .max_rcpts = RCPTS_MAX};

    s = sandbox_session_new(&p);
    ck_assert(s != NULL);
    bytes_queue_consume(sandbox_session_output(s), bytes_queue_len(sandbox_session_output(s)));
}

static void tear_down(void)
{
    sandbox_session_free(s);
    for (size_t i = 0; i < n_mails; i++)
        sandbox_mail_free(mails[i]);
    n_mails = 0;
}

static void feed(const char *p, size_t n)
{
    while (n) {
        size_t took;
        char *copy = malloc(bytewise ? 1 : n);
        memcpy(copy, p, bytewise ? 1 : n);
        took = sandbox_session_feed(s, bytes_view(copy, bytewise ? 1 : n));
        free(copy);
        p += took;
        n -= took;
        mails[n_mails] = sandbox_session_take_mail(s);
        if (mails[n_mails] && n_mails < ARRAY_LEN(mails) - 1)
            n_mails++;
    }
}

/* Takes one reply off; gives its last line. */
static void next_reply(char *line, size_t cap)
{
    struct bytes_queue *q = sandbox_session_output(s);

    for (;;) {
        struct bytes_view v = bytes_queue_view(q);
        const char *lf = v.n ? memchr(v.p, '\n', v.n) : NULL;
        size_t n;
        snprintf(line, cap, "nothing");
        if (!lf)
            return;
        n = (size_t)(lf - v.p) + 1;
        ck_assert(n > 5 && n < cap && v.p[n - 2] == '\r');
        snprintf(line, cap, "%.*s", (int)n - 2, v.p);
        bytes_queue_consume(q, n);
        if (line[3] != '-')
            return;
    }
}

/* expected: the beginnings of the replies, with '|' between them. */
static void talk_n(const char *p, size_t n, const char *expected)
{
    char line[600];

    feed(p, n);
    while (*expected) {
        size_t len = strcspn(expected, "|");
        next_reply(line, sizeof(line));
        ck_assert_msg(strncmp(line, expected, len) == 0, "after %.60s: expected %s, got %s", p, expected, line);
        expected += len + (expected[len] == '|');
    }
    next_reply(line, sizeof(line));
    ck_assert_msg(strcmp(line, "nothing") == 0, "after %.60s: and %s", p, line);
}

static void talk(const char *text, const char *expected)
{
    talk_n(text, strlen(text), expected);
}

static void log_in(void)
{
    talk("EHLO me\r\nSTARTTLS\r\n", "250|220 2.0.0");
    sandbox_session_tls_started(s, "TLSv1.3", "TLS_TEST");
    talk("EHLO me\r\n" PLAIN, "250|235 2.7.0");
}

#define CONVERSATION(name) static void name##_talk(void); \
    START_TEST(name) { bytewise = _i; name##_talk(); } END_TEST \
    static void name##_talk(void)

CONVERSATION(order_is_kept)
{
    talk("MAIL FROM:<a@b.c>\r\n", "503 5.5.1");
    talk("STARTTLS\r\n", "503 5.5.1");
    talk("EHLO\r\nHELO\r\n", "501|501");
    talk("HELO me\r\nEHLO me\r\n", "250|250");
    talk("MAIL FROM:<a@b.c>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n", "530 5.7.0 Must|530 5.7.0 Must|530 5.7.0 Must");
    talk(PLAIN "VRFY x\r\nEXPN x\r\n", "530 5.7.0 Must|530 5.7.0 Must|530 5.7.0 Must");
    talk("BDAT 4 LAST\r\nQUIT", "503 5.5.1");
    talk("STARTTLS now\r\n", "501 5.5.4");
    talk("STARTTLS\r\n", "220");
    ck_assert_int_eq(sandbox_session_state(s), SANDBOX_WANTS_TLS);
    sandbox_session_tls_started(s, "TLSv1.3", "X");
    talk("MAIL FROM:<a@b.c>\r\n", "503 5.5.1 EHLO");
    talk("EHLO me\r\nSTARTTLS\r\nMAIL FROM:<a@b.c>\r\n", "250|503 5.5.1|530 5.7.0 Auth");
    talk("DATA\r\nBDAT 3\r\nabcRCPT TO:<a@b.c>\r\n", "530 5.7.0|503 5.5.1|530 5.7.0");
    talk(PLAIN "RCPT TO:<a@b.c>\r\nDATA\r\nVRFY x\r\nEXPN x\r\n", "235|503 5.5.1 MAIL|503 5.5.1 MAIL|252|502");
    talk("NOOP\r\nhelp\r\nrSeT\r\nWHAT\r\n", "250|214|250|500 5.5.1");
    talk("QUIT\r\nNOOP\r\n", "221 2.0.0");
    ck_assert_int_eq(sandbox_session_state(s), SANDBOX_ENDS);
}

/* RFC 3207 §4.2: what was said in the clear is not carried over. */
CONVERSATION(starttls_injection)
{
    talk("EHLO me\r\nSTARTTLS\r\nEHLO evil\r\n" PLAIN, "250|220");
    sandbox_session_tls_started(s, "TLSv1.3", "X");
    talk("MAIL FROM:<a@b.c>\r\n", "503 5.5.1 EHLO");
}

CONVERSATION(auth_ways)
{
    talk("EHLO me\r\nSTARTTLS\r\n", "250|220");
    sandbox_session_tls_started(s, "TLSv1.3", "X");
    talk("EHLO me\r\nAUTH CRAM-MD5\r\nAUTH\r\n", "250|504 5.5.4|504");
    talk("AUTH PLAIN\r\n*\r\n", "334 |501 5.7.0");
    talk("AUTH PLAIN !!!\r\n", "501 5.5.2");
    talk("AUTH PLAIN =\r\n", "535 5.7.8");
    talk("AUTH LOGIN\r\nc2FuZGJveA==\r\nd3Jvbmc=\r\n", "334 VXNlcm5hbWU6|334 UGFzc3dvcmQ6|535 5.7.8");
    talk("AUTH LOGIN\r\nc2FuZGJveA==\r\nc2VzYW1l\r\n", "334 VXNlcm5hbWU6|334 UGFzc3dvcmQ6|235");
    talk(PLAIN, "503 5.5.1");
}

CONVERSATION(auth_ends_after_three)
{
    talk("EHLO me\r\nSTARTTLS\r\n", "250|220");
    sandbox_session_tls_started(s, "TLSv1.3", "X");
    talk("EHLO me\r\n", "250");
    talk("AUTH PLAIN AHNhbmRib3gAd3Jvbmc=\r\n", "535");             /* the password */
    talk("AUTH PLAIN YW5uAHNhbmRib3gAc2VzYW1l\r\n", "535");         /* on behalf of ann */
    talk("AUTH LOGIN YW5u\r\nc2VzYW1l\r\n", "334|421 4.7.0");       /* another user, this password */
    ck_assert_int_eq(sandbox_session_state(s), SANDBOX_ENDS);
}

CONVERSATION(auth_with_empty_answer)
{
    talk("EHLO me\r\nSTARTTLS\r\n", "250|220");
    sandbox_session_tls_started(s, "TLSv1.3", "X");
    talk("EHLO me\r\nAUTH PLAIN\r\n\r\n", "250|334|535");
    talk("AUTH PLAIN\r\nAHNhbmRib3gAc2VzYW1l\r\n", "334|235");
}

CONVERSATION(data_whole)
{
    log_in();
    talk("MAIL FROM:<ann@example.com> SIZE=99 BODY=8BITMIME RET=HDRS "
         "ENVID=01928c3e-7a10-7b3c-8f00-0123456789ab REQUIRETLS\r\n"
         "RCPT TO:<bob@example.com> NOTIFY=FAILURE,DELAY ORCPT=rfc822;bob+2Bx@example.com\r\n"
         "RCPT TO:<\"b > c\"@example.com>\r\nDATA\r\n", "250 2.1.0|250 2.1.5|250 2.1.5|354");
    talk("X: y\r\nsubject:\tHello\r\n  world\r\nTo: x\r\n\r\nSubject: no\r\n..\r\n.dot\r\n...\r\n.\r\n",
         "250 2.0.0 Ok: kept as 01928c3e-7a10-7b3c-8f00-0123456789ab");
    ck_assert_uint_eq(n_mails, 1);
    ck_assert_str_eq(mails[0]->raw,
                     "X: y\r\nsubject:\tHello\r\n  world\r\nTo: x\r\n\r\nSubject: no\r\n.\r\ndot\r\n..\r\n");
    ck_assert_uint_eq(mails[0]->raw_n, strlen(mails[0]->raw));
    ck_assert_str_eq(mails[0]->from, "ann@example.com");
    ck_assert_uint_eq(mails[0]->n_to, 2);
    ck_assert_str_eq(mails[0]->to[1], "\"b > c\"@example.com");
    ck_assert_str_eq(mails[0]->tls_version, "TLSv1.3");
    ck_assert_str_eq(mails[0]->auth_mechanism, "PLAIN");
    ck_assert_str_eq(mails[0]->auth_user, "sandbox");
    ck_assert_uint_eq(mails[0]->n_commands, 8);
    ck_assert_str_eq(mails[0]->commands[0], "EHLO me");
    ck_assert_str_eq(mails[0]->commands[3], "AUTH ***");
    ck_assert_str_eq(mails[0]->commands[7], "DATA");
    talk("MAIL FROM:<>\r\nRCPT TO:<x@example.com>\r\nDATA\r\n", "250|250|354");
    talk(".\r\n", "250");               /* an empty mail */
    ck_assert_uint_eq(mails[1]->raw_n, 0);
    ck_assert_uint_eq(mails[1]->n_commands, 3);
    ck_assert_str_eq(mails[1]->from, "");
    ck_assert_uint_eq(strlen(mails[1]->id), 36);
}

CONVERSATION(bdat_whole)
{
    log_in();
    talk(TO_RCPT "BDAT 11 LAST\r\nA: b\r\n\r\n.\r\n" TO_RCPT "BDAT 4\r\nab\r\nBDAT 0\r\nBDAT 3 LAST\r\ncd\nNOOP\r\n",
         "250|250|250 2.0.0|250|250|250 2.0.0|250|550 5.5.2|250");
    ck_assert_uint_eq(n_mails, 1);
    ck_assert_str_eq(mails[0]->raw, "A: b\r\n\r\n.\r\n");
    talk(TO_RCPT "BDAT 4\r\na\r\nbBDAT 0 last\r\n", "250|250|250|250");
    ck_assert_str_eq(mails[1]->raw, "a\r\nb");
}

CONVERSATION(bdat_refusals)
{
    log_in();
    talk("BDAT\r\nBDAT x\r\nBDAT 1 FIRST\r\nBDAT 99999999999999999999 LAST\r\n", "501|501|501|501");
    talk("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", "503 5.5.1 MAIL|250");
    talk("MAIL FROM:<a@b.c>\r\nBDAT 6 LAST\r\nQUIT\r\n", "250|503 5.5.1 RCPT");
    talk("MAIL FROM:<a@b.c>\r\nRCPT TO:<x@fail.test>\r\nBDAT 6 LAST\r\nQUIT\r\n", "250|550|554 5.5.1");
    talk(TO_RCPT "BDAT 3\r\na\r\nDATA\r\nRCPT TO:<c@d.e>\r\n", "250|250|250|503 5.5.1 BDAT|503");
}

static size_t count_in_output(const char *what)
{
    struct bytes_view v = bytes_queue_view(sandbox_session_output(s));
    const char *at = v.p, *end = v.p + v.n;
    size_t n = 0;

    while ((at = memmem(at, (size_t)(end - at), what, strlen(what)))) {
        n++;
        at++;
    }
    return n;
}

/* RFC 8689 §2: REQUIRETLS is offered over TLS only. */
CONVERSATION(what_is_offered)
{
    feed("EHLO me\r\n", 9);
    ck_assert_uint_eq(count_in_output("REQUIRETLS"), 0);
    ck_assert_uint_eq(count_in_output("250-DSN\r\n"), 1);
    talk("STARTTLS\r\n", "250|220");
    sandbox_session_tls_started(s, "TLSv1.3", "X");
    feed("EHLO me\r\n", 9);
    ck_assert_uint_eq(count_in_output("250-REQUIRETLS\r\n"), 1);
    ck_assert_uint_eq(count_in_output("250-DSN\r\n"), 1);
    ck_assert_uint_eq(count_in_output("STARTTLS"), 0);
}

static void big(const char *head, size_t n, const char *tail, const char *expected)
{
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    bytes_buf_add_str(&b, head);
    for (size_t i = 0; i < n; i++)
        bytes_buf_add_char(&b, 'x');
    bytes_buf_add_str(&b, tail);
    talk_n(b.p, b.n, expected);
    bytes_buf_deinit(&b);
}

CONVERSATION(size_limits)
{
    log_in();
    talk("MAIL FROM:<a@b.c> SIZE=1001\r\nMAIL FROM:<a@b.c> SIZE=1000\r\nRSET\r\n", "552 5.3.4|250|250");
    big(TO_RCPT "BDAT 1000 LAST\r\n", MESSAGE_MAX, "", "250|250|250");
    big(TO_RCPT "BDAT 1001 LAST\r\n", MESSAGE_MAX + 1, "NOOP\r\n", "250|250|552 5.3.4|250");
    big(TO_RCPT "BDAT 1000\r\n", MESSAGE_MAX, "BDAT 1 LAST\r\nx", "250|250|250|552 5.3.4");
    big(TO_RCPT "DATA\r\n", MESSAGE_MAX - 2, "\r\n.\r\n", "250|250|354|250");
    big(TO_RCPT "DATA\r\n", MESSAGE_MAX - 1, "\r\n.\r\nNOOP\r\n", "250|250|354|552 5.3.4|250");
    big(TO_RCPT "DATA\r\n", 5000, "\r\n.\r\nNOOP\r\n", "250|250|354|552 5.3.4|250");
    big(TO_RCPT "DATA\r\nab\r\n", 1003, "\r\n..\r\n.\nx\r\n\n.\r\n.\r\nNOOP\r\n", "250|250|354|552 5.3.4|250");
    ck_assert_uint_eq(n_mails, 2);
}

CONVERSATION(recipient_limit)
{
    log_in();
    talk(TO_RCPT "RCPT TO:<b@c.d>\r\nRCPT TO:<c@c.d>\r\nRCPT TO:<d@c.d>\r\n", "250|250|250|250|452 4.5.3");
}

CONVERSATION(line_limits)
{
    talk("EHLO me\r\n", "250");
    big("NOOP ", 2048 - 6, "\r\nNOOP\r\n", "250|250");
    big("NOOP ", 2048 - 5, "\r\nNOOP\r\n", "500 5.5.6|250");
    big("NOOP ", 60000, "\r\nNOOP\r\n", "500 5.5.6|250");
    talk("NOOP\nNOOP a\tb\r\n\r\nNOOP\r\n", "500 5.5.2|500 5.5.2|500|250");
    talk_n("NO\0P\r\n", 6, "500 5.5.2");
}

/* SMTP smuggling: only CRLF dot CRLF ends a mail, and a lone CR or LF spoils it. */
CONVERSATION(smuggling)
{
    log_in();
    talk(TO_RCPT "DATA\r\na\n.\r\nMAIL FROM:<x@y.z>\r\n.\r\n", "250|250|354|550 5.5.2");
    talk(TO_RCPT "DATA\r\na\r\n.\nMAIL FROM:<x@y.z>\r\n.\r\n", "250|250|354|550 5.5.2");
    talk(TO_RCPT "DATA\r\na\r.\r\r\n.\r\n", "250|250|354|550 5.5.2");
    talk(TO_RCPT "DATA\r\n\n.\r\n.\r\n", "250|250|354|550 5.5.2");
    ck_assert_uint_eq(n_mails, 0);
}

CONVERSATION(errors_to_try)
{
    log_in();
    talk("MAIL FROM:<a@b.c>\r\nRCPT TO:<x@fail.test>\r\nRCPT TO:<x@a.FAIL.test>\r\n", "250|550 5.1.1|550 5.1.1");
    talk("RCPT TO:<later@fail.test>\r\nRCPT TO:<Later@b.fail.test>\r\n", "450 4.7.1|450 4.7.1");
    talk("DATA\r\n", "554 5.5.1");
    talk("RCPT TO:<x@notfail.test>\r\nRCPT TO:<later@example.com>\r\n", "250|250");
}

CONVERSATION(old_commands_are_forgotten)
{
    log_in();
    for (int i = 0; i < 1300; i++)
        talk("NOOP\r\n", "250");
    talk(TO_RCPT "BDAT 0 LAST\r\n", "250|250|250");
    ck_assert_uint_eq(mails[0]->n_commands, 1200);
    ck_assert_str_eq(mails[0]->commands[1199], "BDAT 0 LAST");
}

#define TEN "0123456789"
#define NINETY TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define HUNDRED NINETY TEN

static const struct {
    const char *line, *reply;
} arguments[] = {
    {"MAIL FROM:<a@b.c>", "250"}, {"mail from:<a@b.c> smtputf8 body=7bit", "250"},
    {"MAIL FROM:<\xc3\xa9@b.c> SMTPUTF8", "250"}, {"MAIL FROM:<\xc3\xa9@b.c>", "553 5.6.7"},
    {"MAIL FROM:<\xff@b.c> SMTPUTF8", "553 5.6.7"}, {"MAIL FROM:<a@b.c> AUTH=<>", "250"},
    {"MAIL FROM: <a@b.c>", "501 5.5.4"}, {"MAIL FROM:a@b.c", "501 5.5.4"}, {"MAIL", "501"}, {"MAIL FROM:", "501"},
    {"MAIL TO:<a@b.c>", "501"}, {"MAIL FROM:<a@b.c", "501 5.1.7"}, {"MAIL FROM:<a b@c.d>", "501 5.1.7"},
    {"MAIL FROM:<a<b@c.d>", "501 5.1.7"}, {"MAIL FROM:<\"a@b.c>", "501 5.1.7"}, {"MAIL FROM:<\"a\\\"@b.c>", "501"},
    {"MAIL FROM:<abc>", "501 5.1.7"}, {"MAIL FROM:<@b.c>", "501"}, {"MAIL FROM:<a@>", "501"},
    {"MAIL FROM:<a@b.c>SIZE=1", "501 5.5.4"}, {"MAIL FROM:<a@b.c> SIZE=", "555"}, {"MAIL FROM:<a@b.c> SIZE=1x", "555"},
    {"MAIL FROM:<a@b.c> SIZE=9999999999999999999", "555"}, {"MAIL FROM:<a@b.c> BODY=BINARYMIME", "555"},
    {"MAIL FROM:<a@b.c> RET=ALL", "555"}, {"MAIL FROM:<a@b.c> WHAT", "555 5.5.4"}, {"MAIL FROM:<a@b.c> ", "555"},
    {"MAIL FROM:<a@b.c>  SIZE=1", "555"}, {"MAIL FROM:<a@b.c> ENVID=a+2", "555"},
        {"MAIL FROM:<a@b.c> ENVID=a=b", "555"},
    {"MAIL FROM:<a@b.c> AUTH=a=b", "555"}, {"MAIL FROM:<a@b.c> ret=hdrs", "250"}, {"MAIL FROM:<a@b.c> RET=", "555"},
    {"MAIL FROM:<a@b.c> RET=FULL RET=HDRS", "555"}, {"MAIL FROM:<a@b.c> RET", "555"},
    {"MAIL FROM:<a@b.c> SIZE=1 SIZE=1", "555"}, {"MAIL FROM:<a@b.c> SMTPUTF8 SMTPUTF8", "555"},
    {"MAIL FROM:<a@b.c> SMTPUTF8=yes", "555"}, {"MAIL FROM:<a@b.c> REQUIRETLS", "250"},
    {"MAIL FROM:<a@b.c> requiretls RET=FULL", "250"}, {"MAIL FROM:<a@b.c> REQUIRETLS=", "555"},
    {"MAIL FROM:<a@b.c> REQUIRETLS=YES", "555"}, {"MAIL FROM:<a@b.c> REQUIRETLS REQUIRETLS", "555"},
    {"RCPT TO:<a@b.c> REQUIRETLS", "555"}, {"RCPT TO:<a@b.c> RET=FULL", "555"},
    {"MAIL FROM:<a@b.c> ENVID=", "555"}, {"MAIL FROM:<a@b.c> ENVID=a+", "555"}, {"MAIL FROM:<a@b.c> ENVID=+2b", "555"},
    {"MAIL FROM:<a@b.c> ENVID=+20", "250"}, {"MAIL FROM:<a@b.c> ENVID=\xc3\xa9", "555"},
    {"MAIL FROM:<a@b.c> ENVID=" HUNDRED, "250"}, {"MAIL FROM:<a@b.c> ENVID=" HUNDRED "x", "555"},
    {"MAIL FROM:<a@b.c> ENVID=a+2Bb", "250"}, {"MAIL FROM:<a@b.c> NOTIFY=NEVER", "555"},
    {"RCPT TO:<a@b.c> NOTIFY=NEVER", "250"}, {"RCPT TO:<a@b.c> NOTIFY=NEVER,DELAY", "555"},
    {"RCPT TO:<a@b.c> NOTIFY=SUCCESS,FAILURE,DELAY", "250"}, {"RCPT TO:<a@b.c> notify=delay", "250"},
    {"RCPT TO:<a@b.c> NOTIFY=SUCCESS,NEVER", "555"}, {"RCPT TO:<a@b.c> NOTIFY=NEVER NOTIFY=NEVER", "555"},
    {"RCPT TO:<a@b.c> NOTIFY=ALWAYS", "555"}, {"RCPT TO:<a@b.c> NOTIFY", "555"},
    {"RCPT TO:<a@b.c> ORCPT=rfc822;b+2Bc@d.e", "250"}, {"RCPT TO:<a@b.c> ORCPT=rfc822;b+2bc@d.e", "555"},
    {"RCPT TO:<a@b.c> ORCPT=rfc822;b=c@d.e", "555"}, {"RCPT TO:<a@b.c> ORCPT=;a@b.c", "555"},
    {"RCPT TO:<a@b.c> ORCPT=rfc 822;a@b.c", "555"}, {"RCPT TO:<a@b.c> ORCPT=rfc_822;a@b.c", "555"},
    {"RCPT TO:<a@b.c> ORCPT=rfc822;a ORCPT=rfc822;a", "555"}, {"RCPT TO:<a@b.c> ORCPT=utf-8;\xc3\xa9@b.c", "555"},
    {"RCPT TO:<a@b.c> ORCPT=rfc822;" HUNDRED HUNDRED HUNDRED HUNDRED NINETY "xxx", "250"},
    {"RCPT TO:<a@b.c> ORCPT=rfc822;" HUNDRED HUNDRED HUNDRED HUNDRED NINETY "xxxx", "555"},
    {"RCPT TO:<a@b.c> NOTIFY=", "555"}, {"RCPT TO:<a@b.c> NOTIFY=DELAY,", "555"}, {"RCPT TO:<a@b.c> ORCPT=x", "555"},
    {"RCPT TO:<a@b.c> ORCPT=rfc822;", "555"}, {"RCPT TO:<a@b.c> SIZE=1", "555"}, {"RCPT TO:<>", "501 5.1.3"},
    {"RCPT TO:<abc>", "501 5.1.3"}, {"RCPT FROM:<a@b.c>", "501"}, {"RCPT TO:<\xc3\xa9@b.c>", "553 5.6.7"},
    {"MAIL FROM:<a@b.c>", "250"},
};

START_TEST(arguments_are_read_strictly)
{
    char line[600];

    log_in();
    for (size_t i = 0; i < ARRAY_LEN(arguments); i++) {
        if (arguments[i].line[0] == 'R')
            talk("MAIL FROM:<a@b.c>\r\n", "250");
        snprintf(line, sizeof(line), "%s\r\n", arguments[i].line);
        talk(line, arguments[i].reply);
        talk("RSET\r\n", "250");
    }
}
END_TEST

START_TEST(local_part_limit)
{
    char line[700];

    log_in();
    snprintf(line, sizeof(line), "MAIL FROM:<%064d@b.c>\r\nRSET\r\nMAIL FROM:<%065d@b.c>\r\n", 1, 1);
    talk(line, "250|250|501");
    snprintf(line, sizeof(line), "MAIL FROM:<a@%0252d>\r\nRSET\r\nMAIL FROM:<a@%0253d>\r\n", 1, 1);
    talk(line, "250|250|501");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sandbox_session");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, t);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, order_is_kept, 0, 2);
    tcase_add_loop_test(t, starttls_injection, 0, 2);
    tcase_add_loop_test(t, auth_ways, 0, 2);
    tcase_add_loop_test(t, auth_ends_after_three, 0, 2);
    tcase_add_loop_test(t, auth_with_empty_answer, 0, 2);
    tcase_add_loop_test(t, data_whole, 0, 2);
    tcase_add_loop_test(t, bdat_whole, 0, 2);
    tcase_add_loop_test(t, bdat_refusals, 0, 2);
    tcase_add_loop_test(t, what_is_offered, 0, 2);
    tcase_add_loop_test(t, size_limits, 0, 2);
    tcase_add_loop_test(t, recipient_limit, 0, 2);
    tcase_add_loop_test(t, line_limits, 0, 2);
    tcase_add_loop_test(t, smuggling, 0, 2);
    tcase_add_loop_test(t, errors_to_try, 0, 2);
    tcase_add_loop_test(t, old_commands_are_forgotten, 0, 2);
    tcase_add_test(t, arguments_are_read_strictly);
    tcase_add_test(t, local_part_limit);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
