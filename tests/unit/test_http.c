#include "api/auth.h"
#include "api/http.h"
#include "api/listen.h"
#include "service/config.h"
#include "service/config_key.h"

#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* HTTP on real sockets, all on one thread: raw bytes in, answers out; then keys, the browser rule and listening. The
 * owner here answers with the code's name, or the body it got; a body that begins with "later" is answered by a
 * timer. */

#define MAX_BODY 20000
#define CONNECTIONS 160

static struct loop *loop;
static struct http *http;
static struct http_server *server;
static struct listen_socket listening;
static int client;
static char input[262144];              /* what the client has received */
static size_t input_n;
static bool client_closed;
static unsigned ended;
static int last_status;
static size_t room_left;
static struct loop_timer later, resume, watchdog;
static struct bytes_buf body = {.max = SIZE_MAX / 4};
static unsigned pauses;
static bool refuse_paused;
static struct http_request *waiting;
static const char *wanted;
static void (*and_then)(void);         /* once the wanted text came: the test's second part */

static void answer(struct http_request *r, int status, const char *text, size_t n)
{
    struct http_answer a = {.status = status, .type = "text/plain", .body = malloc(n + 1), .n = n};

    ck_assert_ptr_nonnull(a.body);
    memcpy(a.body, text, n);
    http_answer(r, &a);
}

static void on_headers(struct http_request *r)
{
    if (bytes_equal(r->path, bytes_view_str("/refuse")))
        answer(r, 415, "refused", 7);
    r->wants_body = r->method == HTTP_POST;
}

static const char huge[32 << 20];       /* more than the kernel keeps for a client that does not read */

static void on_request(struct http_request *r)
{
    if (body.n >= 5 && memcmp(body.p, "later", 5) == 0) {
        waiting = r;
        loop_timer_set(loop, &later, loop_now(loop) + 1);
    } else if (bytes_equal(r->path, bytes_view_str("/huge"))) {
        answer(r, 200, huge, sizeof(huge));
    } else if (r->wants_body) {
        answer(r, 200, bytes_buf_view(&body).p, body.n);
    } else {
        answer(r, 200, r->path.p, r->path.n);
    }
}

static void on_later(struct loop_timer *t)
{
    (void)t;
    answer(waiting, 200, "at last", 7);
}

static void on_stop(struct loop_timer *t)
{
    (void)t;
    loop_stop(loop);
}

/* The body of the one request that has one; "/pause" takes it piece by piece. */
static enum http_taken on_body(struct http_request *r, struct bytes_view piece)
{
    if (piece.n > room_left) {
        answer(r, 503, "no room", 7);
        return HTTP_TAKEN;
    }
    bytes_buf_add(&body, piece.p, piece.n);
    if (!bytes_equal(r->path, bytes_view_str("/pause")))
        return HTTP_TAKEN;
    pauses++;
    waiting = r;
    loop_timer_set(loop, &resume, loop_now(loop) + 1);
    return HTTP_PAUSED;
}

static void on_resume(struct loop_timer *t)
{
    (void)t;
    if (refuse_paused)
        answer(waiting, 413, "enough", 6);
    http_continue(waiting);
}

static void on_refused(struct http_request *r, enum outcome_code code, const char *detail)
{
    (void)detail;
    answer(r, code == OUTCOME_REQUEST_TIMEOUT ? 408 : 400, outcome_code_name(code), strlen(outcome_code_name(code)));
}

static void on_end(struct http_request *r, int status)
{
    (void)r;
    bytes_buf_deinit(&body);
    ended++;
    last_status = status;
}

/* ---- the client's side: polled from the loop's own thread by a timer ---- */

static void read_client(void)
{
    ssize_t n;

    while ((n = recv(client, input + input_n, sizeof(input) - 1 - input_n, MSG_DONTWAIT)) > 0)
        input_n += (size_t)n;
    if (n == 0 || (n < 0 && errno != EAGAIN))
        client_closed = true;
    input[input_n] = '\0';
}

/* Two moments end a run: the wanted text has come (NULL: the server closed), or three seconds are over. */
static void on_watch(struct loop_timer *t)
{
    static unsigned ticks;

    read_client();
    if (and_then && wanted && strstr(input, wanted)) {
        and_then();
        and_then = NULL;
    }
    if ((wanted && strstr(input, wanted)) || (!wanted && client_closed) || ++ticks > 1500) {
        ticks = 0;
        loop_stop(loop);
        return;
    }
    loop_timer_set(loop, t, loop_now(loop) + 2);
}

static void start(uint32_t request_ms)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct http_params p = {.max_connections = CONNECTIONS,
                            .max_body = MAX_BODY,
                            .header_ms = request_ms,
                            .idle_ms = request_ms,
                            .request_ms = request_ms,
                            .write_ms = request_ms < 5000 ? request_ms : 5000,
                            .on_headers = on_headers,
                            .on_request = on_request,
                            .on_body = on_body,
                            .on_refused = on_refused,
                            .on_end = on_end};
    char err[200];

    loop = loop_new();
    http = http_new(loop);
    ck_assert_int_eq(listen_open("127.0.0.1:0", true, NULL, &listening, err), 0);
    p.listen_fd = listening.fd;
    server = http_server_new(http, &p);
    ck_assert_ptr_nonnull(server);
    in.sin_port = htons(listening.port);
    client = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(client, (struct sockaddr *)(void *)&in, sizeof(in)), 0);
    later.on_timer = on_later;
    resume.on_timer = on_resume;
    watchdog.on_timer = on_watch;
    room_left = MAX_BODY;
    bytes_buf_init(&body, 0);
}

static void setup(void)
{
    start(10000);
}

static void setup_impatient(void)
{
    start(50);
}

static void teardown(void)
{
    http_server_free(server, OUTCOME_SHUTTING_DOWN, NULL);
    http_free(http);
    loop_free(loop);
    close(client);
}

static void say(const char *bytes)
{
    ck_assert_int_eq(send(client, bytes, strlen(bytes), MSG_NOSIGNAL), (ssize_t)strlen(bytes));
}

/* Runs until the text came; each test runs in a process of its own, so one loop_run is all there is. */
static void run_until(const char *text)
{
    wanted = text;
    loop_timer_set(loop, &watchdog, loop_now(loop) + 1);
    ck_assert_int_eq(loop_run(loop), 0);
    if (text)
        ck_assert_msg(strstr(input, text) != NULL, "wanted \"%s\", got: %s", text, input);
    else
        ck_assert_msg(client_closed, "not closed: %s", input);
}

static unsigned answers(void)
{
    unsigned n = 0;

    for (const char *p = input; (p = strstr(p, "HTTP/1.1 ")) != NULL; p++)
        n++;
    return n;
}

#define HEAD(line) line "\r\nHost: localhost\r\n"

/* ---- served ---- */

/* Each is answered, though libmicrohttpd cannot be answered in the first call it makes for such a request. */
START_TEST(expects_without_a_body)
{
    static const char *const more[] = {"", "Content-Length: 0\r\n"};

    say(HEAD("POST /a HTTP/1.1") "Expect: 100-continue\r\n");
    say(more[_i]);
    say("\r\n" HEAD("GET /b HTTP/1.1") "Expect: 100-continue\r\n\r\n" HEAD("GET /c HTTP/1.1") "\r\n");
    run_until("/c");
    ck_assert_uint_eq(answers(), 2 + 3);        /* with the 100s */
}
END_TEST

START_TEST(two_in_one_write)
{
    say(HEAD("GET /a HTTP/1.1") "X-Request-Id: my.id-1\r\n\r\n" HEAD(
        "POST /p HTTP/1.1") "Content-Length: 5\r\n\r\nhello" HEAD("GET /last HTTP/1.1") "\r\n");
    run_until("/last");
    ck_assert_uint_eq(answers(), 3);
    ck_assert_ptr_nonnull(strstr(input, "X-Request-Id: my.id-1\r\n"));
    ck_assert_ptr_nonnull(strstr(input, "Cache-Control: no-store\r\n"));
    ck_assert_ptr_nonnull(strstr(input, "\r\n\r\nhello"));
    ck_assert_ptr_null(strstr(input, "Server:"));
    ck_assert_uint_ge(ended, 2);
}
END_TEST

START_TEST(answered_later)
{
    say(HEAD("POST / HTTP/1.1") "Content-Length: 5\r\n\r\nlater" HEAD("GET /last HTTP/1.1") "\r\n");
    run_until("/last");
    ck_assert_ptr_nonnull(strstr(input, "at last"));
    ck_assert_uint_eq(answers(), 2);
}
END_TEST

START_TEST(client_left_while_waiting)
{
    say(HEAD("POST / HTTP/1.1") "Content-Length: 5\r\n\r\nlater");
    shutdown(client, SHUT_WR);
    run_until(NULL);
    ck_assert_uint_eq(ended, 1);
}
END_TEST

/* The owner stops before its answer came: the server's end refuses the request, and writes that. */
START_TEST(stopped_while_waiting)
{
    say(HEAD("POST / HTTP/1.1") "Content-Length: 5\r\n\r\nlater");
    later.on_timer = on_stop;
    ck_assert_int_eq(loop_run(loop), 0);
    http_server_free(server, OUTCOME_SHUTTING_DOWN, NULL);
    server = NULL;
    read_client();
    ck_assert_ptr_nonnull(strstr(input, "shutting_down"));
    ck_assert_ptr_nonnull(strstr(input, "Connection: close"));
    ck_assert_uint_eq(ended, 1);
}
END_TEST

START_TEST(chunked)
{
    say(HEAD("POST / HTTP/1.1") "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n" HEAD(
        "GET /last HTTP/1.1") "\r\n");
    run_until("/last");
    ck_assert_ptr_nonnull(strstr(input, "abcdefg"));
}
END_TEST

START_TEST(chunked_too_large)
{
    char chunk[4097] = {0};

    memset(chunk, 'x', sizeof(chunk) - 1);
    say(HEAD("POST / HTTP/1.1") "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 6; i++) {
        say("1000\r\n");
        say(chunk);
        say("\r\n");
    }
    say("0\r\n\r\n");
    run_until("payload_too_large");
}
END_TEST

START_TEST(chunked_without_room)
{
    room_left = 0;
    say(HEAD("POST / HTTP/1.1") "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    run_until("no room");
}
END_TEST

/* The owner takes a piece, wants no more for a while, and goes on. */
START_TEST(a_paused_body_comes_whole)
{
    char chunk[4097] = {0};

    memset(chunk, 'x', sizeof(chunk) - 1);
    say(HEAD("POST /pause HTTP/1.1") "Content-Length: 8195\r\n\r\n");
    say(chunk);
    say(chunk);
    say("end" HEAD("GET /last HTTP/1.1") "\r\n");
    run_until("/last");
    ck_assert_uint_ge(pauses, 1);
    ck_assert_ptr_nonnull(strstr(input, "xend"));
    ck_assert_uint_eq(answers(), 2);
}
END_TEST

START_TEST(a_paused_body_can_be_refused)
{
    char chunk[4097] = {0};

    memset(chunk, 'x', sizeof(chunk) - 1);
    refuse_paused = true;
    say(HEAD("POST /pause HTTP/1.1") "Content-Length: 8192\r\n\r\n");
    say(chunk);
    say(chunk);
    run_until("enough");
    ck_assert_uint_eq(pauses, 1);
    ck_assert_uint_eq(answers(), 1);
}
END_TEST

/* The server goes while a request is paused: it is refused like all that wait. */
START_TEST(a_paused_body_at_the_end)
{
    say(HEAD("POST /pause HTTP/1.1") "Content-Length: 10\r\n\r\nabc");
    resume.on_timer = on_stop;
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_uint_eq(pauses, 1);
}
END_TEST

START_TEST(continue_is_said)
{
    say(HEAD("POST / HTTP/1.1") "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    run_until("HTTP/1.1 100");
}
END_TEST

START_TEST(continue_is_not_said)
{
    say(HEAD("POST /refuse HTTP/1.1") "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    run_until("refused");
    ck_assert_ptr_null(strstr(input, "100 Continue"));
}
END_TEST

START_TEST(small_body_of_a_refused_request_is_dropped)
{
    say(HEAD("POST /refuse HTTP/1.1") "Content-Length: 5\r\n\r\nhello" HEAD("GET /last HTTP/1.1") "\r\n");
    run_until("/last");
    ck_assert_ptr_nonnull(strstr(input, "refused"));
    ck_assert_uint_eq(answers(), 2);
}
END_TEST

START_TEST(large_body_of_a_refused_request_closes)
{
    say(HEAD("POST /refuse HTTP/1.1") "Content-Length: 100000\r\n\r\n" HEAD("GET /smuggled HTTP/1.1") "\r\n");
    run_until(NULL);
    ck_assert_ptr_nonnull(strstr(input, "Connection: close"));
    ck_assert_ptr_null(strstr(input, "/smuggled"));
}
END_TEST

static struct sockaddr_storage server_address;
static socklen_t server_address_len = sizeof(server_address);
static int others[CONNECTIONS - 1];

static int connect_again(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_eq(connect(fd, (struct sockaddr *)(void *)&server_address, server_address_len), 0);
    return fd;
}

static void all_go_and_one_comes(void)
{
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        close(others[i]);
    close(client);
    client = connect_again();
    say(HEAD("GET /last HTTP/1.1") "\r\n");
    wanted = "/last";
}

/* At its limit libmicrohttpd stops listening, and takes its listener back only at the start of a run. */
START_TEST(full_house_empties)
{
    ck_assert_int_eq(getpeername(client, (struct sockaddr *)(void *)&server_address, &server_address_len), 0);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        others[i] = connect_again();
    say(HEAD("GET /first HTTP/1.1") "\r\n");
    and_then = all_go_and_one_comes;
    wanted = "/first";
    loop_timer_set(loop, &watchdog, loop_now(loop) + 1);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_ptr_nonnull(strstr(input, "/last"));
}
END_TEST

static const struct {
    const char *target, *path;          /* path NULL: refused */
} targets[] = {
    {"/a%2fb", "/a%2fb"},
    {"/a%00b", "/a%00b"},
    {"/a?b=c&relay=deep", "/a"},
    {"http://localhost/abs", "/abs"},
    {"HTTPS://localhost:1", "/"},
    {"http:///x", NULL},
    {"ftp://x/y", NULL},
    {"/\xC3\xBC", NULL},
};

START_TEST(target)
{
    char text[256];

    snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", targets[_i].target);
    say(text);
    run_until(NULL);
    snprintf(text, sizeof(text), "\r\n\r\n%s", targets[_i].path ? targets[_i].path : "invalid_request");
    ck_assert_msg(strstr(input, text) != NULL, "got: %s", input);
}
END_TEST

/* ---- refused ---- */

static const struct {
    const char *fields, *code;          /* behind "POST /p HTTP/1.1\r\n"; code NULL: libmicrohttpd's own page */
} framings[] = {
    {"Host: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", "invalid_request"},
    {"Host: localhost\r\nContent-Length: 5\r\nContent-Length: 5\r\n", "invalid_request"},
    {"Host: localhost\r\nContent-Length: 5\r\nContent-Length: 50\r\n", "invalid_request"},
    {"Host: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "invalid_request"},
    {"Host: localhost\r\nTransfer-Encoding: gzip, chunked\r\n", "unsupported_transfer_encoding"},
    {"Host: localhost\r\nTransfer-Encoding: chunked, identity\r\n", "unsupported_transfer_encoding"},
    {"Host: localhost\r\nTransfer-Encoding: xchunked\r\n", "unsupported_transfer_encoding"},
    {"Host: localhost\r\nHost: localhost\r\nContent-Length: 0\r\n", "invalid_request"},
    {"Host: a/b\r\nContent-Length: 0\r\n", "invalid_request"},
    {"Content-Length: 0\r\n", "invalid_request"},
    {"Host: localhost\r\nContent-Length : 5\r\n", "invalid_request"},
    {"Host: localhost\r\nContent-Length:\r\n 5\r\n", "invalid_request"},
    {"Host: localhost\r\nContent-Length: 5\r\n 0\r\n", "invalid_request"},
    {"Host: localhost\r\nTransfer-Encoding:\r\n chunked\r\n", "invalid_request"},
    {"Host: localhost\r\nX: a\x01z\r\nContent-Length: 0\r\n", "invalid_request"},
    {"Host: localhost\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\nContent-Length: 0\r\n",
     "invalid_request"},
    {"Host: localhost\r\nContent-Length: +5\r\n", NULL},
    {"Host: localhost\r\nContent-Length: 5,5\r\n", NULL},
    {"Host: localhost\r\nContent-Length: 99999999999999999999999999\r\n", NULL},
};

/* Whatever is refused, what comes behind it is never taken for a request. */
START_TEST(framing)
{
    say("POST /p HTTP/1.1\r\n");
    say(framings[_i].fields);
    say("\r\n0\r\n\r\n" HEAD("GET /smuggled HTTP/1.1") "\r\n");
    run_until(NULL);
    ck_assert_ptr_null(strstr(input, "/smuggled"));
    ck_assert_msg(strstr(input, framings[_i].code ? framings[_i].code : "HTTP/1.1 4") != NULL, "got: %s", input);
}
END_TEST

START_TEST(long_things)
{
    char text[20000];

    memset(text, 'a', sizeof(text));
    memcpy(text, "GET /", 5);
    text[_i ? 13000 : 9000] = '\0';
    if (_i)
        memcpy(text, "GET / HTTP/1.1\r\nX: ", 19);
    say(text);
    say(_i ? "\r\nHost: localhost\r\n\r\n" : " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    run_until(_i ? "headers_too_large" : "uri_too_long");
}
END_TEST

/* ---- time ---- */

START_TEST(slow_body)
{
    say(HEAD("POST / HTTP/1.1") "Content-Length: 500\r\n\r\nx");
    run_until(NULL);
    ck_assert_ptr_nonnull(strstr(input, "HTTP/1.1 408 "));
    ck_assert_ptr_nonnull(strstr(input, "request_timeout"));
    http_server_free(server, OUTCOME_SHUTTING_DOWN, NULL);      /* the connection is gone now at the latest */
    server = NULL;
    ck_assert_int_eq(last_status, 408);
}
END_TEST

START_TEST(slow_head)
{
    say("POST / HTTP/1.1\r\nHost: local");
    run_until(NULL);
    ck_assert_uint_eq(input_n, 0);
    ck_assert_uint_eq(ended, 0);
}
END_TEST

START_TEST(idle_is_closed)
{
    say(HEAD("GET /a HTTP/1.1") "\r\n");
    run_until(NULL);
    ck_assert_uint_eq(answers(), 1);
    ck_assert_int_eq(last_status, 200);
}
END_TEST

/* Reads an octet now and then: that something moves does not count, the answer has its time as a whole. */
static void on_trickle(struct loop_timer *t)
{
    static unsigned ticks;
    char c;

    if (recv(client, &c, 1, MSG_DONTWAIT) == 1)
        input_n++;
    if (ended || ++ticks > 1500)
        loop_stop(loop);
    else
        loop_timer_set(loop, t, loop_now(loop) + 2);
}

START_TEST(slow_reader)
{
    say(HEAD("GET /huge HTTP/1.1") "\r\n");
    watchdog.on_timer = on_trickle;
    loop_timer_set(loop, &watchdog, loop_now(loop) + 2);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_uint_eq(ended, 1);
    ck_assert_uint_gt(input_n, 0);
}
END_TEST

/* ---- keys and browsers: no sockets ---- */

static char key_named[] = "app:s3cret", key_bare[] = "other", key_colon[] = "n:a:b", host_name[] = "mail.lan";
static char *keys[] = {key_named, key_bare, key_colon}, *hosts[] = {host_name};

static const struct {
    const char *authorization;
    enum outcome_code code;
} authorizations[] = {
    {"Bearer s3cret", OUTCOME_SENT},
    {"bearer other", OUTCOME_SENT},
    {"Bearer  other ", OUTCOME_SENT},
    {"Bearer a:b", OUTCOME_SENT},
    {NULL, OUTCOME_MISSING_API_KEY},
    {"", OUTCOME_MISSING_API_KEY},
    {"Bearer", OUTCOME_INVALID_API_KEY},
    {"Bearer ", OUTCOME_INVALID_API_KEY},
    {"Bearer app:s3cret", OUTCOME_INVALID_API_KEY},
    {"Bearer S3cret", OUTCOME_INVALID_API_KEY},
    {"Bearer s3cre", OUTCOME_INVALID_API_KEY},
    {"Bearer s3cret2", OUTCOME_INVALID_API_KEY},
    {"Basic s3cret", OUTCOME_INVALID_API_KEY},
    {"s3cret", OUTCOME_INVALID_API_KEY},
};

/* The keys as settings; config_keys_deinit frees them. */
static struct config parsed_keys(void)
{
    struct config c = {.keys = NULL};
    struct config_errors e;

    config_errors_init(&e);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        config_key_add(&c, keys[i], i + 1, "test", &e);
    ck_assert_uint_eq(e.n, 0);
    config_errors_deinit(&e);
    return c;
}

START_TEST(key)
{
    struct config c = parsed_keys();
    struct auth *with = auth_new(&(struct auth_params){.keys = c.keys, .n_keys = c.n_keys});
    struct auth *without = auth_new(&(struct auth_params){.keys = NULL});
    const struct config_key *found;

    ck_assert_int_eq(auth_check_key(with, authorizations[_i].authorization, &found), authorizations[_i].code);
    ck_assert((authorizations[_i].code == OUTCOME_SENT) == (found != NULL));
    ck_assert_int_eq(auth_check_key(without, authorizations[_i].authorization, &found), OUTCOME_SENT);
    ck_assert_ptr_null(found);
    auth_release(with);
    auth_release(without);
    config_keys_deinit(&c);
}
END_TEST

static const struct {
    const char *host, *origin, *site, *authority;
    bool allowed;
} browsers[] = {
    {"localhost", NULL, NULL, "", true},
    {"LOCALHOST:8587", NULL, NULL, "", true},
    {"127.0.0.1:8587", NULL, NULL, "", true},
    {"[::1]:8587", NULL, NULL, "", true},
    {"[::1]", NULL, NULL, "", true},
    {"mail.lan:80", NULL, NULL, "", true},
    {NULL, NULL, NULL, "", true},
    {"localhost", NULL, "none", "", true},
    {"localhost", NULL, "same-origin", "", true},
    {"localhost", NULL, "same-site", "", false},
    {"localhost", NULL, "cross-site", "", false},
    {"localhost", "http://localhost", NULL, "", false},
    {"localhost", "null", "none", "", false},
    {"localhost.evil.example", NULL, NULL, "", false},
    {"evil.example", NULL, NULL, "", false},
    {"127.0.0.1.evil.example:8587", NULL, NULL, "", false},
    {"127.0.0.2", NULL, NULL, "", false},
    {"", NULL, NULL, "", false},
    {"localhost", NULL, NULL, "evil.example", false},
    {"evil.example", NULL, NULL, "localhost", false},
};

static const struct {
    const char *host, *origin, *site, *authority, *loopback;
    bool allowed;
} admin_browsers[] = {
    {"localhost", NULL, NULL, "", "127.0.0.1:8588", true},
    {"127.0.0.1:8588", NULL, NULL, "", "127.0.0.1:8588", true},
    {"mail.lan:80", NULL, NULL, "", "127.0.0.1:8588", true},
    {NULL, NULL, NULL, "", "127.0.0.1:8588", true},
    {"localhost", NULL, "none", "", "127.0.0.1:8588", true},
    {"localhost", NULL, "same-origin", "", "127.0.0.1:8588", true},
    {"localhost", NULL, "cross-site", "", "127.0.0.1:8588", false},
    {"localhost", NULL, "cross-site", "", NULL, false},
    {"localhost", NULL, "same-site", "", NULL, false},
    {"localhost", "null", NULL, "", NULL, false},
    {"localhost", "http://localhost", "same-origin", "", NULL, false},
    {"evil.example", NULL, NULL, "", "127.0.0.1:8588", false},
    {"evil.example", NULL, NULL, "", NULL, true},
    {"10.1.2.3:8588", NULL, NULL, "", NULL, true},
    {"10.1.2.3:8588", NULL, NULL, "", "[::1]:8588", false},
    {"127.0.0.2", NULL, NULL, "", "127.0.0.2:8588", true},
    {"127.0.0.2", NULL, NULL, "", "127.0.0.1:8588", false},
    {"localhost", NULL, NULL, "evil.example", "127.0.0.1:8588", false},
    {"127.0.0.2", NULL, NULL, "evil.example", "127.0.0.2:8588", false},
};

START_TEST(admin_browser)
{
    struct config c = parsed_keys();
    const struct auth_params p = {.keys = c.keys, .n_keys = c.n_keys, .allowed_hosts = hosts,
                                  .n_hosts = ARRAY_LEN(hosts)};
    struct auth *a = auth_new(&p);
    struct http_request r = {.host = admin_browsers[_i].host,
                             .origin = admin_browsers[_i].origin,
                             .cors = admin_browsers[_i].origin != NULL,
                             .sec_fetch_site = admin_browsers[_i].site,
                             .authority = bytes_view_str(admin_browsers[_i].authority)};

    ck_assert_int_eq(auth_check_admin_browser(a, &r, admin_browsers[_i].loopback) == NULL,
                     admin_browsers[_i].allowed);
    auth_release(a);
    config_keys_deinit(&c);
}
END_TEST

START_TEST(browser)
{
    struct config c = parsed_keys();
    struct auth *a = auth_new(&(struct auth_params){.allowed_hosts = hosts, .n_hosts = ARRAY_LEN(hosts)});
    struct auth *with = auth_new(&(struct auth_params){.keys = c.keys, .n_keys = c.n_keys});
    struct http_request r = {.host = browsers[_i].host,
                             .origin = browsers[_i].origin,
                             .sec_fetch_site = browsers[_i].site,
                             .authority = bytes_view_str(browsers[_i].authority)};

    ck_assert_int_eq(auth_check_browser(a, &r) == NULL, browsers[_i].allowed);
    ck_assert_ptr_null(auth_check_browser(with, &r));
    auth_release(a);
    auth_release(with);
    config_keys_deinit(&c);
}
END_TEST

static const struct {
    const char *address;
    bool local_only, ok;
} addresses[] = {
    {"127.0.0.1:0", true, true},
    {"localhost:0", true, true},
    {"0.0.0.0:0", true, false},
    {"0.0.0.0:0", false, true},
    {":0", true, false},
    {"*:0", false, true},
    {"[::]:0", true, false},
    {"::1:0", true, false},
    {"127.0.0.1", true, false},
    {"127.0.0.1:", true, false},
    {"127.0.0.1:65536", true, false},
    {"127.0.0.1:-1", true, false},
    {"127.0.0.1:8x", true, false},
    {"no.such.host.invalid:0", false, false},
    {"unix:", true, false},
    {"unix:/no/such/directory/s", true, false},
};

static const struct listen_socket_file socket_file = {.mode = 0640, .uid = (uid_t)-1, .gid = (gid_t)-1};

START_TEST(address)
{
    struct listen_socket s;
    char err[200] = "";

    ck_assert_int_eq(listen_open(addresses[_i].address, addresses[_i].local_only, &socket_file, &s, err) == 0,
                     addresses[_i].ok);
    if (addresses[_i].ok) {
        ck_assert_uint_ne(s.port, 0);
        close(s.fd);
    } else {
        ck_assert_int_eq(s.fd, -1);
        ck_assert_int_eq(err[strlen(err) - 1], '.');
    }
}
END_TEST

START_TEST(unix_socket)
{
    char dir[] = "/tmp/mailhatch-test-XXXXXX", name[64], err[200];
    struct listen_socket first, second;
    struct stat st;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(name, sizeof(name), "unix:%s/s", dir);
    ck_assert_int_eq(listen_open(name, true, &socket_file, &first, err), 0);
    ck_assert_int_eq(stat(name + 5, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0640);
    ck_assert_int_eq(listen_open(name, true, &socket_file, &second, err), -1);        /* in use */
    close(first.fd);
    ck_assert_int_eq(listen_open(name, true, &socket_file, &second, err), 0);         /* left over */
    close(second.fd);
    listen_remove_path(&second);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("http");
    TCase *served = tcase_create("served"), *slow = tcase_create("time"), *rules = tcase_create("rules");
    SRunner *r;
    int failed;

    tcase_add_checked_fixture(served, setup, teardown);
    tcase_add_test(served, two_in_one_write);
    tcase_add_loop_test(served, expects_without_a_body, 0, 2);
    tcase_add_test(served, answered_later);
    tcase_add_test(served, client_left_while_waiting);
    tcase_add_test(served, stopped_while_waiting);
    tcase_add_test(served, chunked);
    tcase_add_test(served, chunked_too_large);
    tcase_add_test(served, chunked_without_room);
    tcase_add_test(served, a_paused_body_comes_whole);
    tcase_add_test(served, a_paused_body_can_be_refused);
    tcase_add_test(served, a_paused_body_at_the_end);
    tcase_add_test(served, continue_is_said);
    tcase_add_test(served, continue_is_not_said);
    tcase_add_test(served, small_body_of_a_refused_request_is_dropped);
    tcase_add_test(served, large_body_of_a_refused_request_closes);
    tcase_add_test(served, full_house_empties);
    tcase_add_loop_test(served, target, 0, (int)ARRAY_LEN(targets));
    tcase_add_loop_test(served, framing, 0, (int)ARRAY_LEN(framings));
    tcase_add_loop_test(served, long_things, 0, 2);
    tcase_add_checked_fixture(slow, setup_impatient, teardown);
    tcase_add_test(slow, slow_body);
    tcase_add_test(slow, slow_head);
    tcase_add_test(slow, idle_is_closed);
    tcase_add_test(slow, slow_reader);
    tcase_add_loop_test(rules, key, 0, (int)ARRAY_LEN(authorizations));
    tcase_add_loop_test(rules, admin_browser, 0, (int)ARRAY_LEN(admin_browsers));
    tcase_add_loop_test(rules, browser, 0, (int)ARRAY_LEN(browsers));
    tcase_add_loop_test(rules, address, 0, (int)ARRAY_LEN(addresses));
    tcase_add_test(rules, unix_socket);
    suite_add_tcase(s, served);
    suite_add_tcase(s, slow);
    suite_add_tcase(s, rules);
    r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
