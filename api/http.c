#include "api/http_int.h"

#include "api/http_guard.h"
#include "api/http_head.h"
#include "api/http_linger.h"
#include "api/http_lobby.h"
#include "api/http_share.h"
#include "api/http_tls.h"
#include "smtp/block.h"
#include "smtp/crypto.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* HTTP servers driven from our own loop: libmicrohttpd's descriptors sit in its epoll set, its work is done in the
 * loop's before_wait hook.
 *
 * What it answers by itself, as a short HTML page and without X-Request-Id, before any code here is asked: a request
 * line or header block that does not fit its 16 KiB (414, 431), a malformed request line or header (400), a
 * Content-Length that is no number or too large a one (400, 413; with the status line twice, a fault of its own), an
 * HTTP version it does not know (505). */

#define MEMORY_PER_CONNECTION 16384
#define DROP_MAX 65536                  /* so much of an unwanted body is read, so that the connection can be kept */
#define FLUSH_ROUNDS 64
#define PATIENCE_US 100000
#define LOOK_MS 1000
#define LATE_LOOK_MS 20
#define LINGER_BYTES (64 << 20)         /* beside max_body: what a refused upload may still send */
#define LINGER_IDLE_MS 5000
#define LINGER_MS 30000
#define PLAIN_MS 2000                   /* for a client that asked in plain HTTP to read that it must not, and leave */


struct argument_walk {
    void (*on_argument)(void *ctx, const char *name, const char *value);
    void *ctx;
};

static enum MHD_Result on_argument(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct argument_walk *w = cls;

    (void)kind;
    w->on_argument(w->ctx, name, value ? value : "");
    return MHD_YES;
}

void http_each_argument(struct http_request *r, void (*on_value)(void *ctx, const char *name, const char *value),
                        void *ctx)
{
    struct http_conn *k = (struct http_conn *)(void *)r;
    struct argument_walk w = {on_value, ctx};

    MHD_get_connection_values(k->c, MHD_GET_ARGUMENT_KIND, on_argument, &w);
}

const char *http_library_version(void)
{
    static char text[40];

    snprintf(text, sizeof(text), "libmicrohttpd %s", MHD_get_version());
    return text;
}

/* ---- lists of suspended connections ---- */

void http_conn_list_add(struct conn_list *l, struct http_conn *k)
{
    k->prev = NULL;
    k->next = l->first;
    if (l->first)
        l->first->prev = k;
    l->first = k;
}

void http_conn_list_remove(struct conn_list *l, struct http_conn *k)
{
    if (k->prev)
        k->prev->next = k->next;
    else
        l->first = k->next;
    if (k->next)
        k->next->prev = k->prev;
    k->prev = k->next = NULL;
}

/* ---- deadlines ---- */

/* Our own, as libmicrohttpd's time-out is inactivity only: a byte a second would keep a connection for ever.
 * They move later from request to request, so the timer is seldom touched: it is set only when it would ring
 * too late. */
static void set_due_at(struct http_conn *k, uint64_t due)
{
    k->due = due;
    if (!k->timer.is_set || k->timer.due > k->due)
        loop_timer_set(k->server->http->loop, &k->timer, k->due);
}

static void set_due(struct http_conn *k, uint32_t ms)
{
    set_due_at(k, loop_now(k->server->http->loop) + ms);
}

int http_conn_fd(struct http_conn *k)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(k->c, MHD_CONNECTION_INFO_CONNECTION_FD);

    return info ? info->connect_fd : -1;
}

static bool send_all(struct http_conn *k, struct bytes_view v)
{
    if (k->tls)
        return http_tls_send(k->tls, v);
    return send(http_conn_fd(k), v.p, v.n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)v.n;
}

void http_server_tell_closed(struct http_server *s, const char *why, const struct sockaddr *address)
{
    if (s->p.on_closed)
        s->p.on_closed(s->p.ctx, why, address);
}

/* libmicrohttpd takes no answer while a body comes in, so this one goes past it; the connection ends with it. */
void http_conn_write_raw(struct http_conn *k)
{
    const struct http_answer *a = &k->r.answer;
    struct bytes_buf out;

    http_response_text(&k->r, &out);
    if (!out.failed && send_all(k, bytes_buf_view(&out)))
        k->raw_status = a->status;
    bytes_buf_deinit(&out);
}

static bool is_at_end(struct http_conn *k)
{
    char c;
    ssize_t n = recv(http_conn_fd(k), &c, 1, MSG_PEEK | MSG_DONTWAIT);

    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* Under TLS its goodbye lies unread before the client's end. */
static bool has_closed(struct http_conn *k)
{
    struct pollfd p = {.fd = http_conn_fd(k), .events = POLLRDHUP};

    return k->tls ? poll(&p, 1, 0) == 1 : is_at_end(k);
}

/* Under TLS, what lies before the end may also be of the body: nothing more came of it since the last look. */
static bool has_left_upload(struct http_conn *k)
{
    bool stands = k->received == k->received_before;

    k->received_before = k->received;
    return (stands || !k->tls) && has_closed(k);
}

/* libmicrohttpd reads less than it could and then waits for an edge of epoll; none comes when what was right behind is
 * the client's end. So while the rest of a body is awaited we look ourselves. */
static void look_soon(struct http_conn *k)
{
    struct loop *l = k->server->http->loop;

    if (k->timer.due > loop_now(l) + LOOK_MS)
        loop_timer_set(l, &k->timer, loop_now(l) + LOOK_MS);
}

/* What came in time may not be read yet: this process was stopped, or busy. So what lies at the socket at the first
 * late look is still read, for as long as that goes on, and no more. */
static bool is_reading_on(struct http_conn *k)
{
    int unread = 0;

    if (k->late_end) {
        if (k->received == k->received_late || k->received >= k->late_end)
            return false;
    } else if (ioctl(http_conn_fd(k), FIONREAD, &unread) < 0 || unread <= 0) {
        return false;
    } else {
        k->late_end = k->received + (size_t)unread;
    }
    k->received_late = k->received;
    loop_timer_set(k->server->http->loop, &k->timer, loop_now(k->server->http->loop) + LATE_LOOK_MS);
    k->server->pending = true;
    return true;
}

/* In mid-upload; libmicrohttpd goes on reading, so that the answer is not lost in a reset: the next piece, or the end
 * of the body, makes it close, and the connection is then read to its end. */
static bool answer_late(struct http_conn *k)
{
    bool was_answered = k->raw_status;  /* and nothing came since */

    if (!was_answered)
        http_conn_write_raw(k);
    if (was_answered || !k->raw_status)
        return false;
    shutdown(http_conn_fd(k), SHUT_WR);
    set_due(k, LINGER_IDLE_MS);
    return true;
}

static void on_due(struct loop_timer *t)
{
    struct http_conn *k = (struct http_conn *)(void *)((char *)t - offsetof(struct http_conn, timer));
    struct http_server *s = k->server;
    bool awaits = k->phase == PHASE_UPLOAD || k->phase == PHASE_DROP, is_late = k->due <= loop_now(s->http->loop);

    if (k->is_cut) {
        http_stuck_cut(k, SHUT_RDWR);
        return;
    }
    if (awaits && http_stuck_look(k))
        return;
    if (k->phase == PHASE_WAITING || k->phase == PHASE_PAUSED)
        return;                         /* suspended: the owner goes on or answers; the next due is set then */
    if (is_late && awaits && is_reading_on(k))
        return;
    if (!is_late && !(awaits && has_left_upload(k))) {
        loop_timer_set(s->http->loop, &k->timer, k->due);
        if (awaits)
            look_soon(k);
        return;
    }
    if (is_late && k->phase == PHASE_UPLOAD && !k->r.has_answer)
        s->p.on_refused(&k->r, OUTCOME_REQUEST_TIMEOUT, "The body was not complete within request_timeout.");
    if (is_late && awaits && answer_late(k))
        return;
    http_stuck_cut(k, SHUT_RDWR);
}

/* ---- answers ---- */

static enum MHD_Result queue_answer(struct http_conn *k)
{
    struct MHD_Response *m = http_response_make(k);
    enum MHD_Result rc;

    if (!m)
        return MHD_NO;
    k->phase = PHASE_ANSWERED;
    set_due(k, k->server->p.write_ms);
    rc = MHD_queue_response(k->c, (unsigned)k->r.answer.status, m);
    MHD_destroy_response(m);
    return rc;
}

/* A suspended connection is not watched by libmicrohttpd. A client that only closed its side may still read: it is
 * answered all the same. Nobody leaves in the first moments, so the quick answers are spared the system call. */
static bool has_left(struct http_conn *k)
{
    return clock_us() - k->r.started_us > PATIENCE_US && has_closed(k);
}

void http_answer(struct http_request *r, const struct http_answer *a)
{
    struct http_conn *k = (struct http_conn *)(void *)r;

    if (r->has_answer)
        unreachable("a request is answered twice");
    r->answer = *a;
    r->has_answer = true;
    if (k->phase != PHASE_WAITING)
        return;                         /* inside a callback: its caller goes on */
    r->client_gone = has_left(k);
    http_conn_list_remove(&k->server->waiting, k);
    http_conn_list_add(&k->server->finished, k);
    k->server->pending = true;
}

void http_continue(struct http_request *r)
{
    struct http_conn *k = (struct http_conn *)(void *)r;

    if (k->phase != PHASE_PAUSED)
        unreachable("a request goes on that was not paused");
    if (r->has_answer)
        r->answer.close = true;
    k->phase = r->has_answer ? PHASE_DROP : PHASE_UPLOAD;
    http_conn_list_remove(&k->server->waiting, k);
    http_conn_list_add(&k->server->finished, k);
    k->server->pending = true;
}

/* ---- a request's calls, as libmicrohttpd makes them ---- */

static bool has_body(const struct http_request *r)
{
    return r->chunked || (r->has_length && r->length > 0);
}

/* Bodies of other methods mean nothing (RFC 9110 §9.3.1), and nobody waits for one. */
static bool may_have_body(const struct http_conn *k)
{
    const enum http_method m = k->r.method;

    return !k->server->p.no_bodies && (m == HTTP_POST || m == HTTP_PUT || m == HTTP_PATCH);
}

/* An answer before the body: a small body is read and dropped and the connection kept; else libmicrohttpd answers at
 * once and closes. */
static enum MHD_Result answer_early(struct http_conn *k)
{
    struct http_request *r = &k->r;
    bool is_small = !r->chunked && !r->expects_continue && r->length <= DROP_MAX;

    if (!r->answer.close && (!has_body(r) || (is_small && may_have_body(k)))) {
        k->phase = PHASE_DROP;
        return MHD_YES;
    }
    r->answer.close = true;
    return queue_answer(k);
}

static enum MHD_Result on_head(struct http_conn *k, const char *method, const char *url, const char *version)
{
    struct http_request *r = &k->r;
    const struct http_params *p = &k->server->p;
    const char *detail;
    enum outcome_code code;

    k->phase = PHASE_UPLOAD;
    r->owner = p->ctx;
    r->started_us = clock_us();
    r->deadline = loop_now(k->server->http->loop) + p->request_ms;
    set_due(k, p->request_ms);
    code = http_guard_read(r, k->c, method, url, version, k->uri_n, &detail);
    if (code != OUTCOME_SENT) {
        p->on_refused(r, code, detail);
        http_conn_write_raw(k);                   /* such a head may leave libmicrohttpd no memory for an answer */
        return MHD_NO;                  /* where the next request begins is not certain */
    }
    if (k->tls) {
        r->stranger = http_tls_judge(k->tls);
        r->client = http_tls_client(k->tls);
    }
    p->on_headers(r);
    if (!r->has_answer && !r->wants_body && has_body(r) && !may_have_body(k))
        p->on_refused(r, OUTCOME_INVALID_REQUEST, "A request like this one has no body.");
    else if (!r->has_answer && !r->wants_body && r->length > DROP_MAX)
        p->on_refused(r, OUTCOME_PAYLOAD_TOO_LARGE, "This endpoint takes no body.");
    if (r->has_answer)
        return answer_early(k);
    if (has_body(r))
        look_soon(k);
    return MHD_YES;
}

static enum MHD_Result drop(struct http_conn *k, size_t n)
{
    k->dropped += n;
    if (k->dropped <= (k->r.has_answer && k->r.wants_body ? k->server->p.max_body : DROP_MAX))
        return MHD_YES;
    if (k->r.has_answer)
        http_conn_write_raw(k);
    return MHD_NO;
}

static void suspend(struct http_conn *k, enum phase phase)
{
    k->phase = phase;
    http_conn_list_add(&k->server->waiting, k);
    MHD_suspend_connection(k->c);
}

static enum MHD_Result on_body(struct http_conn *k, const char *data, size_t n)
{
    struct http_request *r = &k->r;
    const struct http_params *p = &k->server->p;

    if (k->phase == PHASE_DROP || !r->wants_body)
        return drop(k, n);
    if (k->received > p->max_body) {
        p->on_refused(r, OUTCOME_PAYLOAD_TOO_LARGE, "The body is larger than max_body.");
    } else if (p->on_body(r, bytes_view(data, n)) == HTTP_PAUSED) {
        suspend(k, PHASE_PAUSED);
        return MHD_YES;
    }
    if (!r->has_answer) {
        if (r->chunked || k->received < r->length)
            look_soon(k);
        return MHD_YES;
    }
    r->answer.close = true;
    k->phase = PHASE_DROP;
    return drop(k, n);
}

static enum MHD_Result on_whole(struct http_conn *k)
{
    /* else libmicrohttpd and http_guard read the head differently */
    bool agreed = k->r.chunked || k->received == k->r.length;

    if (!k->r.has_answer && !agreed)
        k->server->p.on_refused(&k->r, OUTCOME_INVALID_REQUEST, "The body's length is not what the header says.");
    if (!k->r.has_answer && k->r.chunked && !http_head_has_good_trailer(k->c)) {
        agreed = false;
        k->server->p.on_refused(&k->r, OUTCOME_INVALID_REQUEST, "A field behind the body has a control character.");
    }
    if (!k->r.has_answer)
        k->server->p.on_request(&k->r);
    if (!agreed)
        k->r.answer.close = true;
    if (k->r.has_answer)
        return queue_answer(k);
    suspend(k, PHASE_WAITING);
    return MHD_YES;
}

/* "Expect: 100-continue" without a body: libmicrohttpd says 100, and when bytes lie behind the request it makes a call
 * in which it takes no answer. Resumed, it makes the last one. */
static enum MHD_Result skip_call(struct http_conn *k)
{
    k->r.expects_continue = false;
    MHD_suspend_connection(k->c);
    http_conn_list_add(&k->server->finished, k);
    k->server->pending = true;
    return MHD_YES;
}

static enum MHD_Result on_call(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                               const char *version, const char *data, size_t *data_n, void **req_cls)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_conn *k = info ? info->socket_context : NULL;
    size_t n = *data_n;

    (void)cls;
    (void)req_cls;
    if (!k)
        return MHD_NO;
    k->server->calls++;
    switch (k->phase) {
    case PHASE_IDLE:
        return on_head(k, method, url, version);
    case PHASE_UPLOAD:
    case PHASE_DROP:
        *data_n = 0;
        if (k->raw_status)
            return MHD_NO;              /* answered */
        k->received += n;
        if (k->r.expects_continue && !has_body(&k->r))
            return skip_call(k);
        return n ? on_body(k, data, n) : on_whole(k);
    case PHASE_WAITING:
        return queue_answer(k);         /* resumed */
    case PHASE_PAUSED:
        unreachable("a piece of a body for a connection that is suspended");
    case PHASE_ANSWERED:
        return MHD_YES;
    }
    unreachable("a phase without a call");
}

/* ---- a connection's life ---- */

/* The request line is complete: the head must follow soon. The value returned becomes *req_cls, which is not used. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_conn *k = info ? info->socket_context : NULL;

    (void)cls;
    if (k) {
        k->server->calls++;
        k->is_whole = false;
        k->uri_n = http_head_target_length(uri);
        set_due(k, k->server->p.header_ms);
    }
    return NULL;
}

static void on_completed(void *cls, struct MHD_Connection *c, void **req_cls, enum MHD_RequestTerminationCode why)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_conn *k = info ? info->socket_context : NULL;

    (void)cls;
    (void)req_cls;
    (void)why;
    if (!k || k->phase == PHASE_IDLE)
        return;
    k->is_whole = k->phase == PHASE_ANSWERED && !k->r.answer.close && !k->server->closing;
    k->server->p.on_end(&k->r, k->phase == PHASE_ANSWERED ? k->r.answer.status : k->raw_status ? k->raw_status : 499);
    http_response_free(&k->r.answer);
    memset(&k->r, 0, sizeof(k->r));
    k->phase = PHASE_IDLE;
    k->received = k->dropped = k->received_before = k->late_end = k->received_late = 0;
    k->raw_status = 0;
    k->stuck_looks = 0;
    http_entry_remove(k);
    http_entry_add(k);
    if (!k->is_cut)
        set_due(k, k->server->p.idle_ms);
}

void http_server_less_load(struct http_server *s)
{
    atomic_fetch_sub(&s->load, 1);
    http_share_left(s->p.share);
}

/* A connection has ended, after it lingered if it did: until then it counts. The share counts connections by address
 * from when it accepts them. */
static void on_left(void *ctx, const void *address)
{
    struct http_server *s = ctx;

    if (address)
        http_share_forget(s->p.share, address);
    http_server_less_load(s);
}

/* Our side of the connection is over; true: not the connection. */
static bool lingers(struct http_server *s, struct http_conn *k, const void *address)
{
    return s->linger && k && !k->is_shut && http_linger_keep(s->linger, http_conn_fd(k), k->is_whole, address);
}

/* The client's request is not in TLS: libmicrohttpd never sees it, so it is answered here. */
static void on_plain(void *ctx)
{
    struct http_conn *k = ctx;
    struct http_tls_session *tls = k->tls;

    crypto_uuid7(k->r.id);
    k->r.owner = k->server->p.ctx;
    k->r.is_plain = true;
    k->server->p.on_refused(&k->r, OUTCOME_INVALID_REQUEST,
                            "The request came in plain HTTP, and this port speaks TLS from the first byte.");
    k->tls = NULL;
    http_conn_write_raw(k);
    k->tls = tls;
    http_response_free(&k->r.answer);
    memset(&k->r, 0, sizeof(k->r));
    shutdown(http_conn_fd(k), SHUT_WR);
    set_due(k, PLAIN_MS);
}

/* The client has sent more of its handshake, or left. */
static void on_more(struct loop_io *io, uint32_t events)
{
    struct http_conn *k = (struct http_conn *)(void *)((char *)io - offsetof(struct http_conn, io));

    (void)events;
    loop_del(k->server->http->loop, io);
    http_conn_list_remove(&k->server->shaking, k);
    MHD_resume_connection(k->c);
    k->server->pending = true;
}

/* libmicrohttpd forgets only behind the handshake that a socket had nothing more to read: left to itself, it would try
 * again and again. So the connection is suspended until there is more. */
static void on_wait(void *ctx)
{
    struct http_conn *k = ctx;
    struct http_server *s = k->server;

    k->io = (struct loop_io){.fd = http_conn_fd(k), .on_ready = on_more};
    if (s->ending || loop_add(s->http->loop, &k->io, EPOLLIN | EPOLLRDHUP) < 0)
        return;
    http_conn_list_add(&s->shaking, k);
    MHD_suspend_connection(k->c);
}

static void conn_free(struct http_conn *k)
{
    struct http_server *s = k->server;

    http_entry_remove(k);
    s->n_cut -= k->is_cut;
    loop_timer_clear(s->http->loop, &k->timer);
    http_tls_end(k->tls);
    free(k);
    s->pending = true;                  /* at its limit libmicrohttpd listens again only at the start of its next run */
}

/* NULL: no memory. */
static struct http_conn *conn_new(struct http_server *s, struct MHD_Connection *c)
{
    struct http_conn *k = calloc(1, sizeof(*k));
    struct http_tls_params tls = {.c = c, .ctx = k, .on_plain = on_plain, .on_wait = on_wait};

    if (!k)
        return NULL;
    k->server = s;
    k->c = c;
    k->timer.on_timer = on_due;
    if (s->p.tls && !(k->tls = http_tls_begin(s->p.tls, &tls))) {
        free(k);
        return NULL;
    }
    http_entry_add(k);
    set_due_at(k, s->admitted_since + s->p.header_ms);  /* in the lobby its time ran already */
    return k;
}

static void on_connection(void *cls, struct MHD_Connection *c, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const void *address = info ? info->client_addr : NULL;
    struct http_server *s = cls;

    s->calls++;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        s->began = true;
        atomic_fetch_add(&s->load, 1);
        *socket_context = conn_new(s, c);       /* without one its first request is refused by closing it */
        return;
    }
    if (!lingers(s, *socket_context, address))
        on_left(s, address);
    if (*socket_context)
        conn_free(*socket_context);
    *socket_context = NULL;
}

/* Routing is on the raw path: "%2f" is no slash and "%00" no end. */
static size_t on_unescape(void *cls, struct MHD_Connection *c, char *s)
{
    (void)cls;
    (void)c;
    return strlen(s);
}

/* ---- servers ---- */

static void on_ready(struct loop_io *io, uint32_t events)
{
    struct http_server *s = (struct http_server *)(void *)((char *)io - offsetof(struct http_server, io));

    (void)events;
    s->pending = true;
}

unsigned http_server_load(const struct http_server *s)
{
    return s->load;
}

/* ---- running ---- */

/* Each resume makes libmicrohttpd walk all suspended connections in its next run, so all that are finished are
 * resumed before it. */
static void run_server(struct http_server *s)
{
    struct http_conn *k;
    unsigned calls = s->calls;

    s->pending = false;
    while ((k = s->finished.first) != NULL) {
        http_conn_list_remove(&s->finished, k);
        if (k->phase == PHASE_WAITING)
            set_due(k, s->p.write_ms);
        else
            set_due_at(k, k->r.deadline);
        if (k->phase != PHASE_WAITING)
            look_soon(k);               /* the client may have left while nobody watched */
        MHD_resume_connection(k->c);
    }
    MHD_run(s->daemon);
    http_stuck_next_run(s, s->calls != calls);
}

static int before_wait(void *ctx)
{
    struct http *h = ctx;
    int wait = -1;

    for (size_t i = 0; i < HTTP_SERVERS_MAX; i++) {
        struct http_server *s = h->servers[i];
        if (s && s->pending)
            run_server(s);
        if (s && s->pending)
            wait = 0;
    }
    return wait;
}

struct http *http_new(struct loop *loop)
{
    struct http *h = calloc(1, sizeof(*h));

    if (!h)
        return NULL;
    h->loop = loop;
    loop_set_before_wait(loop, before_wait, h);
    return h;
}

void http_free(struct http *h)
{
    if (!h)
        return;
    loop_set_before_wait(h->loop, NULL, NULL);
    free(h);
}

/* Without TURBO under TLS: with it the daemon takes a socket for readable that it has not asked. */
static struct MHD_Daemon *start_daemon(struct http_server *s)
{
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET;
    struct MHD_OptionItem tls[HTTP_TLS_OPTIONS] = {{MHD_OPTION_END, 0, NULL}};

    flags |= s->p.tls ? MHD_USE_TLS : MHD_USE_TURBO;
    if (s->p.tls)
        http_tls_options(tls);
    return MHD_start_daemon(flags, 0, NULL, NULL, on_call, s,
                            MHD_OPTION_CONNECTION_LIMIT, s->p.max_connections + HTTP_ROOM,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_PER_CONNECTION,
                            MHD_OPTION_CONNECTION_TIMEOUT, 0u,
                            MHD_OPTION_STRICT_FOR_CLIENT, 0,
                            MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
                            MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
                            MHD_OPTION_URI_LOG_CALLBACK, on_uri, s,
                            MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, s,
                            MHD_OPTION_ARRAY, tls,
                            MHD_OPTION_END);
}

/* Connections come from a share in any case: it knows what to do without a descriptor to spare. */
static int start_share(struct http_server *s)
{
    const struct http_share_params share = {.loop = s->http->loop, .n_servers = 1, .ctx = s->p.ctx,
                                            .max_connections = s->p.max_connections, .makes_room = s->p.makes_room};

    if (!s->p.share)
        s->p.share = s->own_share = http_share_new(&share);
    if (!s->p.share)
        return -1;
    http_share_join(s->p.share, s);
    return 0;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void server_deinit(struct http_server *s)
{
    http_linger_free(s->linger);
    s->linger = NULL;
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    http_lobby_free(s->lobby);
    http_share_free(s->own_share);
    free(s);
}

struct http_server *http_server_new(struct http *h, const struct http_params *p)
{
    struct http_server *s = calloc(1, sizeof(*s));
    int listen_fd = p->listen_fd;
    size_t slot = 0;

    while (slot < HTTP_SERVERS_MAX && h->servers[slot])
        slot++;
    if (!s || slot == HTTP_SERVERS_MAX)
        goto fail;
    s->http = h;
    s->p = *p;
    s->quiet_timer.on_timer = http_stuck_on_quiet;
    s->linger = http_linger_new(&(struct http_linger_params){
        .loop = h->loop, .max_bytes = (uint64_t)p->max_body + LINGER_BYTES, .idle_ms = LINGER_IDLE_MS,
        .max_ms = LINGER_MS, .on_left = on_left, .ctx = s});
    s->daemon = s->linger ? start_daemon(s) : NULL;
    if (!s->daemon || http_entry_start(s) < 0)
        goto fail;
    s->io = (struct loop_io){.fd = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
                             .on_ready = on_ready};
    if (loop_add(h->loop, &s->io, EPOLLIN) < 0)
        goto fail;
    if (start_share(s) < 0 || (s->own_share && http_share_listen(s->own_share, listen_fd) < 0)) {
        loop_del(h->loop, &s->io);
        listen_fd = -1;
        goto fail;
    }
    s->pending = true;
    h->servers[slot] = s;
    return s;
fail:
    close_fd(&listen_fd);
    if (s)
        server_deinit(s);
    return NULL;
}

void http_server_stop_listening(struct http_server *s)
{
    s->closing = true;
    if (s->own_share)
        http_share_stop(s->own_share);
}

/* libmicrohttpd stops with none suspended. */
static void wake_all(struct http_server *s, enum outcome_code code, const char *detail)
{
    while (s->waiting.first) {
        struct http_conn *k = s->waiting.first;
        bool paused = k->phase == PHASE_PAUSED;
        if (!k->r.has_answer)
            s->p.on_refused(&k->r, code, detail);       /* one that waits is moved to finished by that */
        if (paused)
            http_continue(&k->r);
    }
    while (s->shaking.first)
        on_more(&s->shaking.first->io, 0);
}

void http_server_free(struct http_server *s, enum outcome_code code, const char *detail)
{
    if (!s)
        return;
    http_server_stop_listening(s);
    s->ending = true;
    wake_all(s, code, detail);
    s->pending = true;
    for (int i = 0; i < FLUSH_ROUNDS && s->pending; i++)
        run_server(s);
    for (size_t i = 0; i < HTTP_SERVERS_MAX; i++)
        if (s->http->servers[i] == s)
            s->http->servers[i] = NULL;
    loop_del(s->http->loop, &s->io);
    loop_timer_clear(s->http->loop, &s->quiet_timer);
    http_linger_free(s->linger);        /* an end does not wait for them */
    s->linger = NULL;
    server_deinit(s);
}
