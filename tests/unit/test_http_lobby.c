#include "api/http_lobby.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What first bytes are, and a lobby with socket pairs for connections. */

#define WAIT_MS 60

/* ---- first bytes ---- */

static const struct {
    const char *first;
    size_t n;                           /* 0: up to the NUL */
    enum http_speech speech;
} speeches[] = {
    {"GET / HTTP/1.1\r\n", 0, HTTP_SPEECH_HTTP},
    {"G", 0, HTTP_SPEECH_HTTP},
    {"M-SEARCH * HTTP/1.1\r\n", 0, HTTP_SPEECH_HTTP},
    {"\r\n\r\nGET /", 0, HTTP_SPEECH_HTTP},
    {"\r\n", 0, HTTP_SPEECH_HTTP},
    {"PROPFIND /", 0, HTTP_SPEECH_HTTP},
    {"PROXY", 0, HTTP_SPEECH_HTTP},     /* a method of five letters may yet become it */
    {"nonsense\r\n", 0, HTTP_SPEECH_HTTP},      /* the parser's to refuse */
    {"GET /\xC3\xA4", 0, HTTP_SPEECH_HTTP},     /* the same */
    {"\x16", 0, HTTP_SPEECH_TLS},
    {"\x16\x03\x01\x02\x00\x01", 6, HTTP_SPEECH_TLS},
    {"\x16\x04", 0, HTTP_SPEECH_OTHER},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, HTTP_SPEECH_HTTP2},
    {"PROXY TCP4 192.0.2.1", 0, HTTP_SPEECH_PROXY},
    {"\r\n\r\n\0\r\nQUIT\n\x21", 13, HTTP_SPEECH_PROXY},
    {"\r\n\r\n\0\r", 6, HTTP_SPEECH_OTHER},
    {"EHLO x\r\n", 0, HTTP_SPEECH_SMTP},
    {"ehlo x\r\n", 0, HTTP_SPEECH_SMTP},
    {"SSH-2.0-x\r\n", 0, HTTP_SPEECH_SSH},
    {"\x05\x01\x00", 3, HTTP_SPEECH_SOCKS},
    {"\x04\x01\x00\x50", 4, HTTP_SPEECH_SOCKS},
    {"\0\0\0\x08", 4, HTTP_SPEECH_OTHER},
    {"AMQP\0\0\x09\x01", 8, HTTP_SPEECH_OTHER},
    {"0\x0C\x02\x01", 4, HTTP_SPEECH_OTHER},    /* LDAP: a digit may begin a method, a control may not go on */
    {"\x80\x2E\x01", 0, HTTP_SPEECH_OTHER},
    {"\xEF\xBB\xBFGET / HTTP/1.1\r\n", 0, HTTP_SPEECH_OTHER},
};

START_TEST(first_bytes)
{
    const char *first = speeches[_i].first;
    size_t n = speeches[_i].n ? speeches[_i].n : strlen(first);

    ck_assert_msg(http_lobby_speech(bytes_view(first, n)) == speeches[_i].speech, "\"%s\" is %s", first,
                  http_lobby_speech_name(http_lobby_speech(bytes_view(first, n))));
}
END_TEST

/* ---- waiting ---- */

static struct loop *loop;
static struct http_lobby *lobby;
static struct loop_timer step, watchdog;
static unsigned spoken, gone, wanted;   /* the loop stops when both together are as many */
static int last_fd, client[3];
static enum http_speech last_speech;
static struct sockaddr_storage address = {.ss_family = AF_INET};

static void count(void)
{
    if (spoken + gone == wanted)
        loop_stop(loop);
}

static void on_speech(void *ctx, const struct http_lobby_guest *g, enum http_speech speech)
{
    ck_assert_ptr_eq(ctx, &address);
    ck_assert_int_eq(g->address->ss_family, AF_INET);
    last_fd = g->fd;
    last_speech = speech;
    close(g->fd);
    spoken++;
    count();
}

static void on_gone(void *ctx, const struct http_lobby_guest *g)
{
    (void)ctx;
    last_fd = g->fd;
    gone++;
    count();
}

static void on_watchdog(struct loop_timer *t)
{
    (void)t;
    ck_abort_msg("nothing happens: %u spoken, %u gone", spoken, gone);
}

/* Comes in; the other end is client[i]. Returns our descriptor. */
static int come(int i, const char *first)
{
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    client[i] = pair[1];
    if (first)
        ck_assert_int_eq(write(client[i], first, strlen(first)), (ssize_t)strlen(first));
    http_lobby_enter(lobby, pair[0], &address, sizeof(address));
    return pair[0];
}

static void setup(void)
{
    struct http_lobby_params p = {.wait_ms = WAIT_MS, .ctx = &address, .on_speech = on_speech, .on_gone = on_gone};

    p.loop = loop = loop_new();
    lobby = http_lobby_new(&p);
    ck_assert_ptr_nonnull(lobby);
    watchdog.on_timer = on_watchdog;
    loop_timer_set(loop, &watchdog, loop_now(loop) + 20000);
}

static void teardown(void)
{
    http_lobby_free(lobby);
    loop_free(loop);
}

START_TEST(who_spoke_before_goes_on_at_once)
{
    wanted = 2;
    come(0, "GET /");
    ck_assert_uint_eq(spoken, 1);
    come(1, "\x16\x03");
    ck_assert_uint_eq(spoken, 2);
    ck_assert_int_eq(last_speech, HTTP_SPEECH_TLS);
    ck_assert_uint_eq(http_lobby_oldest(lobby), UINT64_MAX);
}
END_TEST

static void say(struct loop_timer *t)
{
    (void)t;
    ck_assert_int_eq(write(client[1], "SSH-2", 5), 5);
    close(client[2]);
}

/* One is silent for too long, one speaks, one leaves. */
START_TEST(all_ways_out)
{
    int silent = come(0, NULL);

    come(1, NULL);
    come(2, NULL);
    wanted = 3;
    step.on_timer = say;
    loop_timer_set(loop, &step, loop_now(loop) + 5);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_uint_eq(spoken, 1);
    ck_assert_uint_eq(gone, 2);
    ck_assert_int_eq(last_speech, HTTP_SPEECH_SSH);
    ck_assert_int_eq(last_fd, silent);
    ck_assert_uint_eq(http_lobby_oldest(lobby), UINT64_MAX);
}
END_TEST

START_TEST(the_oldest_goes_first)
{
    int first = come(0, NULL), second = come(1, NULL);

    wanted = 3;
    ck_assert_uint_le(http_lobby_oldest(lobby), loop_now(loop));
    http_lobby_drop_oldest(lobby);
    ck_assert_int_eq(last_fd, first);
    http_lobby_drop_oldest(lobby);
    ck_assert_int_eq(last_fd, second);
    ck_assert_uint_eq(gone, 2);
    ck_assert_uint_eq(http_lobby_oldest(lobby), UINT64_MAX);
    come(2, NULL);
    http_lobby_free(lobby);
    lobby = NULL;
    ck_assert_uint_eq(gone, 3);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("http_lobby");
    TCase *t = tcase_create("speech"), *u = tcase_create("lobby");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_loop_test(t, first_bytes, 0, ARRAY_LEN(speeches));
    tcase_add_checked_fixture(u, setup, teardown);
    tcase_add_test(u, who_spoke_before_goes_on_at_once);
    tcase_add_test(u, all_ways_out);
    tcase_add_test(u, the_oldest_goes_first);
    suite_add_tcase(s, t);
    suite_add_tcase(s, u);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
