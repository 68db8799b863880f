#include "smtp/conn.h"

#include "smtp/dial.h"
#include "smtp/list.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* One socket, with TLS or without, that drives one smtp_session and hands its events to the pool. */

#define CLOSE_MS 1000                   /* for the last bytes of a dead session */
#define TURN_MAX (256 * 1024)           /* a body of megabytes does not keep the loop from the other sessions */
#define USER_TIMEOUT_SLACK_MS 10000
#define RECORD_MAX 16384                /* RFC 8446 §5.1: plaintext of one TLS record */
#define RECORDS_MAX 8                   /* encrypted ahead of the kernel */

enum conn_phase { PHASE_DNS, PHASE_CONNECT, PHASE_TLS, PHASE_TALK };

/* How bytes travel. STARTTLS swaps the table; the session does not know which one it is. */
struct transport_ops {
    void (*read)(struct conn *c);       /* takes what one recv gives and feeds it on */
    bool (*write)(struct conn *c);      /* one send; false: nothing to write, or the kernel is full */
    void (*close)(struct conn *c);      /* the polite end, before the socket goes */
    int (*start_tls)(struct conn *c, struct smtp_outcome *why_out);
};

/* A TLS record that waits to be sent. The peer can read it once its last byte has left, and not before. */
struct record {
    size_t end;                         /* in the TLS queue, counted from where it began when this was encrypted */
    size_t plain;                       /* octets of the session's output in it */
};

struct conn {
    struct conn_params p;
    enum conn_phase phase;
    struct loop_io io;                  /* io.fd is -1 when there is no socket */
    struct loop_timer timer;
    const struct transport_ops *ops;
    struct dial *dial;
    struct tls *tls;
    struct smtp_session *session;
    char ehlo_name[256];
    struct resolve_address peer;
    struct conn_facts facts;
    uint64_t limit;                     /* of PHASE_DNS and PHASE_TLS, and of closing; UINT64_MAX: none */
    uint64_t silent_at;
    uint64_t tls_began_us;
    struct record records[RECORDS_MAX];
    size_t records_n, records_at, cipher_sent;
    size_t encrypted;                   /* of the session's output: in records that are not yet with the kernel */
    bool lookup_runs;                   /* the resolver holds our address */
    bool blocked;                       /* the socket's buffer is full, or others have their turn: EPOLLOUT will tell */
    size_t turn;                        /* octets written since the last event of the socket */
    bool was_ready, room_told;
    bool silent, silent_told;
    bool failed, dead_told;             /* failed: `failure` is to be told */
    struct smtp_outcome failure;
};

static const struct transport_ops plain_ops, tls_ops;

static uint64_t now_ms(const struct conn *c)
{
    return loop_now(c->p.loop);
}

static const char *errno_text(int error)
{
    const char *text = strerrordesc_np(error);

    return text ? text : "unknown error";
}

/* ---- ends ---- */

static void close_socket(struct conn *c)
{
    if (c->io.fd < 0)
        return;
    loop_del(c->p.loop, &c->io);
    close(c->io.fd);
    c->io.fd = -1;
    c->blocked = false;
    c->encrypted = 0;
}

void conn_fail(struct conn *c, const struct smtp_outcome *why)
{
    if (c->failed || c->dead_told)
        return;
    c->failed = true;
    c->failure = *why;
}

static void fail_local(struct conn *c, enum outcome_code code, enum stage stage, const char *reason)
{
    struct smtp_outcome o;

    outcome_set_local(&o, code, stage, DELIVERY_NOT_SENT, reason);
    o.ms = (uint32_t)((clock_us() - c->facts.started_us) / 1000);
    conn_fail(c, &o);
}

/* The transport is gone under a session that talks: the session knows what that means for a mail on its way. */
static void transport_gone(struct conn *c, const struct smtp_outcome *why, const char *text)
{
    if (c->io.fd < 0)
        return;
    close_socket(c);
    if (!c->dead_told)
        smtp_session_closed(c->session, why, text, now_ms(c));
}

void conn_drop(struct conn *c, const char *why)
{
    transport_gone(c, NULL, why);
}

/* ---- plain transport ---- */

static void plain_read(struct conn *c)
{
    size_t n;

    switch (dial_recv(c->io.fd, c->p.buffers->cipher, CONN_CIPHER_MAX, &n)) {
    case DIAL_OK:
        smtp_session_feed(c->session, bytes_view(c->p.buffers->cipher, n), now_ms(c));
        break;
    case DIAL_AGAIN:
        break;
    case DIAL_EOF:
        transport_gone(c, NULL, NULL);
        break;
    case DIAL_ERROR:
        transport_gone(c, NULL, errno_text(errno));
        break;
    }
}

/* A server that refuses a mail in its middle answers and closes; the answer (552 …) waits in our buffer and says more
 * than EPIPE. */
static void write_failed(struct conn *c, int error)
{
    for (int i = 0; i < 16 && c->io.fd >= 0; i++)
        c->ops->read(c);
    if (c->phase == PHASE_TLS && c->io.fd >= 0) {
        fail_local(c, OUTCOME_TLS_CLOSED, STAGE_TLS, errno_text(error));
        close_socket(c);
    }
    transport_gone(c, NULL, errno_text(error));
}

static bool plain_write(struct conn *c)
{
    struct bytes_view out = smtp_session_output(c->session);
    size_t n;

    if (!out.n)
        return false;
    switch (dial_send(c->io.fd, out, &n)) {
    case DIAL_OK:
        c->turn += n;
        c->blocked = n < out.n;
        smtp_session_sent(c->session, n, now_ms(c));
        return true;
    case DIAL_AGAIN:
    case DIAL_EOF:
        c->blocked = true;
        return false;
    case DIAL_ERROR:
        write_failed(c, errno);
        return true;
    }
    unreachable("dial_send");
}

static void plain_close(struct conn *c)
{
    (void)c;
}

static int plain_start_tls(struct conn *c, struct smtp_outcome *why_out)
{
    c->tls = tls_new(c->p.tls);
    if (!c->tls) {
        outcome_set_local(why_out, OUTCOME_INTERNAL_ERROR, STAGE_TLS, DELIVERY_NOT_SENT, "no memory for TLS");
        return -1;
    }
    c->ops = &tls_ops;
    c->phase = PHASE_TLS;
    c->tls_began_us = clock_us();
    c->limit = now_ms(c) + c->p.config->timeouts.tls;
    tls_handshake(c->tls);              /* writes the ClientHello into its queue */
    return 0;
}

static const struct transport_ops plain_ops = {plain_read, plain_write, plain_close, plain_start_tls};

/* ---- TLS transport ---- */

static void handshake_failed(struct conn *c, int error)
{
    struct smtp_outcome o;
    size_t n;

    tls_get_failure(c->tls, &o);
    o.ms = (uint32_t)((clock_us() - c->tls_began_us) / 1000);
    if (error && !o.reason[0])
        snprintf(o.reason, sizeof(o.reason), "%s", errno_text(error));
    if (!error && bytes_queue_len(tls_output(c->tls)))          /* our alert tells the server's log why */
        dial_send(c->io.fd, bytes_queue_view(tls_output(c->tls)), &n);
    conn_fail(c, &o);
    close_socket(c);
}

static void handshake_done(struct conn *c)
{
    struct tls_facts f;

    tls_get_facts(c->tls, &f);
    c->facts.has_tls = true;
    c->facts.tls_verified = f.verified;
    c->facts.tls_resumed = f.resumed;
    snprintf(c->facts.tls_version, sizeof(c->facts.tls_version), "%s", f.version);
    snprintf(c->facts.tls_cipher, sizeof(c->facts.tls_cipher), "%s", f.cipher);
    c->facts.tls_us = (uint32_t)(clock_us() - c->tls_began_us);
    c->phase = PHASE_TALK;
    c->limit = UINT64_MAX;
    if (c->p.config->tls_mode == SMTP_TLS_IMPLICIT)
        smtp_session_start(c->session, now_ms(c));
    else
        smtp_session_tls_started(c->session, now_ms(c));
}

static bool handshake_goes_on(struct conn *c, int error)
{
    switch (tls_handshake(c->tls)) {
    case TLS_OK:
        handshake_done(c);
        return true;
    case TLS_WANT_READ:
        return false;
    case TLS_CLOSED:
    case TLS_FAILED:
        handshake_failed(c, error);
        return false;
    }
    unreachable("tls_handshake");
}

/* Everything the TLS layer can give after something was fed to it. */
static void decrypt(struct conn *c, int error)
{
    if (c->phase == PHASE_TLS && !handshake_goes_on(c, error))
        return;
    while (c->io.fd >= 0) {
        struct smtp_outcome why;
        size_t n = 0;
        enum tls_status status = tls_read(c->tls, c->p.buffers->plain, CONN_PLAIN_MAX, &n);
        if (n && !c->dead_told)
            smtp_session_feed(c->session, bytes_view(c->p.buffers->plain, n), now_ms(c));
        switch (status) {
        case TLS_OK:
            if (!tls_has_more(c->tls))
                return;
            break;
        case TLS_WANT_READ:
            return;
        case TLS_CLOSED:
            transport_gone(c, NULL, error ? errno_text(error) : NULL);
            break;
        case TLS_FAILED:
            tls_get_failure(c->tls, &why);
            transport_gone(c, &why, NULL);
            break;
        }
    }
}

static void tls_transport_read(struct conn *c)
{
    size_t n;

    switch (dial_recv(c->io.fd, c->p.buffers->cipher, CONN_CIPHER_MAX, &n)) {
    case DIAL_OK:
        tls_feed(c->tls, bytes_view(c->p.buffers->cipher, n));
        decrypt(c, 0);
        break;
    case DIAL_AGAIN:
        break;
    case DIAL_EOF:
        tls_eof(c->tls);
        decrypt(c, 0);
        break;
    case DIAL_ERROR: {
        int error = errno;
        tls_eof(c->tls);
        decrypt(c, error);
        break;
    }
    }
}

/* A session that ends in the middle of a body takes its output back. What of that is encrypted already must not leave
 * either: it would complete a mail that was reported as not sent. */
static bool has_taken_back(const struct conn *c)
{
    return c->encrypted && c->encrypted > smtp_session_output(c->session).n;
}

/* More of the session's output is encrypted only when all of before has left. */
static bool encrypt(struct conn *c)
{
    struct bytes_queue *q = tls_output(c->tls);
    struct bytes_view out;
    struct smtp_outcome why;

    if (c->phase != PHASE_TALK || c->encrypted)
        return true;
    c->records_n = c->records_at = c->cipher_sent = 0;
    for (out = smtp_session_output(c->session); out.n && c->records_n < RECORDS_MAX;) {
        size_t n = out.n < RECORD_MAX ? out.n : RECORD_MAX;
        if (tls_write(c->tls, bytes_view(out.p, n)) != TLS_OK) {
            tls_get_failure(c->tls, &why);
            transport_gone(c, &why, NULL);
            return false;
        }
        c->records[c->records_n++] = (struct record){.end = bytes_queue_len(q), .plain = n};
        c->encrypted += n;
        out = bytes_view(out.p + n, out.n - n);
    }
    return true;
}

/* The kernel took n more bytes of the TLS queue: tells the session of the records that are wholly gone. */
static void note_cipher_sent(struct conn *c, size_t n)
{
    size_t plain = 0;

    c->cipher_sent += n;
    while (c->records_at < c->records_n && c->records[c->records_at].end <= c->cipher_sent)
        plain += c->records[c->records_at++].plain;
    c->encrypted -= plain;
    if (plain)
        smtp_session_sent(c->session, plain, now_ms(c));
}

static bool tls_transport_write(struct conn *c)
{
    struct bytes_queue *q = tls_output(c->tls);
    size_t n;

    if (has_taken_back(c))
        return false;
    if (!encrypt(c))
        return true;
    if (!bytes_queue_len(q))
        return false;
    switch (dial_send(c->io.fd, bytes_queue_view(q), &n)) {
    case DIAL_OK:
        bytes_queue_consume(q, n);
        c->turn += n;
        c->blocked = bytes_queue_len(q) > 0;
        note_cipher_sent(c, n);
        return true;
    case DIAL_AGAIN:
    case DIAL_EOF:
        c->blocked = true;
        return false;
    case DIAL_ERROR:
        write_failed(c, errno);
        return true;
    }
    unreachable("dial_send");
}

static void tls_transport_close(struct conn *c)
{
    size_t n;

    if (c->phase != PHASE_TALK)
        return;
    tls_shutdown(c->tls);
    dial_send(c->io.fd, bytes_queue_view(tls_output(c->tls)), &n);      /* as far as it goes: nobody waits for it */
}

static int tls_transport_start_tls(struct conn *c, struct smtp_outcome *why_out)
{
    (void)c;
    outcome_set_local(why_out, OUTCOME_PROTOCOL_ERROR, STAGE_STARTTLS, DELIVERY_NOT_SENT, "TLS within TLS");
    return -1;
}

static const struct transport_ops tls_ops = {
    tls_transport_read, tls_transport_write, tls_transport_close, tls_transport_start_tls,
};

/* RFC 3207 §4.1 and CVE-2011-0411: what came in plain text behind the 220 must not be taken for the words of the
 * verified server. */
static void start_tls(struct conn *c)
{
    struct smtp_outcome why;
    size_t n;

    switch (dial_recv(c->io.fd, c->p.buffers->cipher, CONN_CIPHER_MAX, &n)) {
    case DIAL_AGAIN:
        if (c->ops->start_tls(c, &why) < 0)
            conn_fail(c, &why);
        break;
    case DIAL_OK:
        fail_local(c, OUTCOME_STARTTLS_INJECTION, STAGE_STARTTLS, "plaintext followed the reply to STARTTLS");
        break;
    case DIAL_EOF:
        fail_local(c, OUTCOME_TLS_CLOSED, STAGE_TLS, "the relay closed the connection before the TLS handshake");
        break;
    case DIAL_ERROR:
        fail_local(c, OUTCOME_TLS_CLOSED, STAGE_TLS, errno_text(errno));
        break;
    }
}

/* ---- the socket's and the timer's callbacks ---- */

static void on_ready(struct loop_io *io, uint32_t events)
{
    struct conn *c = LIST_ITEM(io, struct conn, io);

    c->turn = 0;
    if (events & EPOLLOUT)
        c->blocked = false;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        if (c->dead_told)
            close_socket(c);            /* nobody is left to read it */
        else
            c->ops->read(c);
    }
    c->p.on_wake(c->p.ctx);
}

static void limit_passed(struct conn *c)
{
    char reason[100];

    c->limit = UINT64_MAX;
    if (c->dead_told) {
        close_socket(c);
        return;
    }
    if (c->phase == PHASE_DNS) {
        snprintf(reason, sizeof(reason), "no answer from the name servers within %u ms", c->p.config->dns_ms);
        fail_local(c, OUTCOME_DNS_FAILED, STAGE_DNS, reason);
        return;
    }
    snprintf(reason, sizeof(reason), "the TLS handshake did not end within %u ms", c->p.config->timeouts.tls);
    fail_local(c, OUTCOME_TIMEOUT, STAGE_TLS, reason);
}

static void on_timer(struct loop_timer *t)
{
    struct conn *c = LIST_ITEM(t, struct conn, timer);
    uint64_t now = now_ms(c);

    if (c->limit <= now)
        limit_passed(c);
    if (c->silent_at <= now) {
        c->silent_at = UINT64_MAX;
        c->silent = c->phase == PHASE_TALK && smtp_session_stage(c->session) == STAGE_BANNER;
    }
    if (c->phase == PHASE_TALK && !c->dead_told && smtp_session_deadline(c->session) <= now)
        smtp_session_tick(c->session, now);
    c->p.on_wake(c->p.ctx);
}

static void set_timer(struct conn *c)
{
    uint64_t due = c->limit < c->silent_at ? c->limit : c->silent_at;

    if (c->phase == PHASE_TALK && !c->dead_told && smtp_session_deadline(c->session) < due)
        due = smtp_session_deadline(c->session);
    if (due == UINT64_MAX)
        loop_timer_clear(c->p.loop, &c->timer);
    else
        loop_timer_set(c->p.loop, &c->timer, due);
}

/* ---- opening: name, address, session ---- */

static bool is_loopback(const struct resolve_address *a)
{
    if (a->addr.ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)&a->addr)->sin_addr.s_addr) >> 24 == 127;
    return a->addr.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&a->addr)->sin6_addr);
}

static const char only_loopback[] = "tls: none is allowed for loopback addresses only";

static bool is_fqdn(const char *name)
{
    if (!strchr(name, '.') || name[0] == '.' || name[strlen(name) - 1] == '.')
        return false;
    for (const char *s = name; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '-' && *s != '.')
            return false;
    return true;
}

/* RFC 5321 §4.1.4: the client's FQDN, or an address literal when it has none. */
static void find_ehlo_name(struct conn *c)
{
    struct resolve_address local = {.len = sizeof(local.addr)};
    char text[64];

    if (c->p.config->ehlo_name) {
        snprintf(c->ehlo_name, sizeof(c->ehlo_name), "%s", c->p.config->ehlo_name);
        return;
    }
    if (gethostname(c->ehlo_name, sizeof(c->ehlo_name) - 1) == 0 && is_fqdn(c->ehlo_name))
        return;
    if (getsockname(c->io.fd, (struct sockaddr *)&local.addr, &local.len) < 0) {
        snprintf(c->ehlo_name, sizeof(c->ehlo_name), "[127.0.0.1]");
        return;
    }
    resolve_address_text(&local, text);
    snprintf(c->ehlo_name, sizeof(c->ehlo_name), "[%s%s]", local.addr.ss_family == AF_INET6 ? "IPv6:" : "", text);
}

static void set_options(struct conn *c)
{
    static const int on = 1, keep_idle = 30, keep_every = 10, keep_count = 3;
    unsigned user_timeout = c->p.config->timeouts.write_stall + USER_TIMEOUT_SLACK_MS;

    /* None of them is worth a mail when it is refused. */
    setsockopt(c->io.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(c->io.fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(c->io.fd, IPPROTO_TCP, TCP_KEEPIDLE, &keep_idle, sizeof(keep_idle));
    setsockopt(c->io.fd, IPPROTO_TCP, TCP_KEEPINTVL, &keep_every, sizeof(keep_every));
    setsockopt(c->io.fd, IPPROTO_TCP, TCP_KEEPCNT, &keep_count, sizeof(keep_count));
    setsockopt(c->io.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof(user_timeout));
}

static int make_session(struct conn *c)
{
    const struct relay_config *config = c->p.config;
    struct smtp_session_params sp = {
        .ehlo_name = c->ehlo_name,
        .tls_mode = config->tls_mode,
        .user = config->user,
        .password = config->password,
        .timeouts = config->timeouts,
        .one_flight_max = c->p.one_flight_max,
        .no_chunking = c->p.no_chunking,
        .one_flight_idle = config->one_flight_idle_ms,
        .depth = config->pipeline_depth,
    };

    find_ehlo_name(c);
    c->session = smtp_session_new(&sp);
    return c->session ? 0 : -1;
}

static void begin_talk(struct conn *c)
{
    struct smtp_outcome why;

    if (c->p.config->tls_mode == SMTP_TLS_IMPLICIT) {
        if (c->ops->start_tls(c, &why) < 0)
            conn_fail(c, &why);
        return;
    }
    c->phase = PHASE_TALK;
    if (c->p.silent_ms != UINT32_MAX)
        c->silent_at = now_ms(c) + c->p.silent_ms;
    smtp_session_start(c->session, now_ms(c));
}

static void on_dialed(void *ctx, const struct dial_result *r)
{
    struct conn *c = ctx;

    c->dial = NULL;
    c->facts.connect_us = (uint32_t)(clock_us() - c->facts.started_us);
    if (r->fd < 0) {
        conn_fail(c, &r->failure);
        c->p.on_wake(c->p.ctx);
        return;
    }
    c->io.fd = r->fd;
    c->peer = r->address;
    resolve_address_text(&c->peer, c->facts.address);
    set_options(c);
    if (loop_add(c->p.loop, &c->io, EPOLLIN) < 0 || make_session(c) < 0)
        fail_local(c, OUTCOME_INTERNAL_ERROR, STAGE_CONNECT, "no memory for a session");
    else if (c->p.config->tls_mode == SMTP_TLS_NONE && !is_loopback(&c->peer))
        fail_local(c, OUTCOME_CONNECT_FAILED, STAGE_CONNECT, only_loopback);
    else
        begin_talk(c);
    c->p.on_wake(c->p.ctx);
}

/* With tls: none other addresses are not even connected to. */
static size_t keep_loopback(struct resolve_answer *a)
{
    size_t n = 0;

    for (size_t i = 0; i < a->n; i++)
        if (is_loopback(&a->v[i]))
            a->v[n++] = a->v[i];
    return n;
}

static void on_answer(void *ctx, struct resolve_answer *a)
{
    struct conn *c = ctx;
    struct dial_params dp = {
        .loop = c->p.loop,
        .v = a->v,
        .n = a->n,
        .connect_ms = c->p.config->connect_ms,
        .connect_total_ms = c->p.config->connect_total_ms,
        .on_done = on_dialed,
        .ctx = c,
    };

    c->lookup_runs = false;
    c->limit = UINT64_MAX;
    if (a->ok && c->p.config->tls_mode == SMTP_TLS_NONE)
        dp.n = keep_loopback(a);
    if (!a->ok) {
        conn_fail(c, &a->failure);
    } else if (!dp.n) {
        fail_local(c, OUTCOME_CONNECT_FAILED, STAGE_CONNECT, only_loopback);
    } else if (!c->failed && !c->dead_told) {
        c->phase = PHASE_CONNECT;
        c->dial = dial_start(&dp);
        if (!c->dial)
            fail_local(c, OUTCOME_INTERNAL_ERROR, STAGE_CONNECT, "no memory for a connection");
    }
    c->p.on_wake(c->p.ctx);
}

struct conn *conn_open(const struct conn_params *p)
{
    struct conn *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->p = *p;
    c->io.fd = -1;
    c->io.on_ready = on_ready;
    c->timer.on_timer = on_timer;
    c->ops = &plain_ops;
    c->facts.started_us = clock_us();
    c->silent_at = UINT64_MAX;
    c->limit = now_ms(c) + p->config->dns_ms;
    if (resolver_lookup(p->resolver, p->config->host, p->config->port, p->loop, on_answer, c) < 0) {
        free(c);
        return NULL;
    }
    c->lookup_runs = true;
    set_timer(c);
    return c;
}

void conn_free(struct conn *c)
{
    if (!c)
        return;
    loop_timer_clear(c->p.loop, &c->timer);
    dial_cancel(c->dial);
    close_socket(c);
    smtp_session_free(c->session);
    tls_free(c->tls);
    free(c);
}

/* ---- events ---- */

/* The step that failed took what the steps before it did not. */
static void note_time_of_failure(struct conn *c)
{
    uint32_t rest = (uint32_t)(clock_us() - c->facts.started_us) - c->facts.connect_us - c->facts.tls_us;

    switch (c->phase) {
    case PHASE_DNS:
    case PHASE_CONNECT:
        c->facts.connect_us += rest;
        break;
    case PHASE_TLS:
        c->facts.tls_us += rest;
        break;
    case PHASE_TALK:
        c->facts.auth_us = rest;
        break;
    }
}

static bool tell_dead(struct conn *c, struct conn_event *ev, const struct smtp_outcome *why, bool quit_ok)
{
    if (!c->was_ready)
        note_time_of_failure(c);
    if (has_taken_back(c))
        close_socket(c);
    ev->type = CONN_DEAD;
    ev->outcome = *why;
    ev->quit_ok = quit_ok;
    c->dead_told = true;
    c->silent_at = UINT64_MAX;
    c->limit = now_ms(c) + CLOSE_MS;
    dial_cancel(c->dial);
    c->dial = NULL;
    return true;
}

static bool pull_session(struct conn *c, struct conn_event *ev)
{
    struct smtp_event sev;

    while (!c->failed && smtp_session_next_event(c->session, &sev))
        switch (sev.type) {
        case SMTP_EV_NONE:
            break;
        case SMTP_EV_START_TLS:
            start_tls(c);
            break;
        case SMTP_EV_READY:
            if (!smtp_session_is_ready(c->session))
                break;                  /* a 421 came with the verdict: the next event says so */
            if (!c->was_ready)
                c->facts.auth_us = (uint32_t)(clock_us() - c->facts.started_us) - c->facts.connect_us - c->facts.tls_us;
            c->was_ready = true;
            c->silent_at = UINT64_MAX;
            ev->type = CONN_READY;
            return true;
        case SMTP_EV_DONE:
            ev->type = CONN_DONE;
            ev->transaction = sev.transaction;
            return true;
        case SMTP_EV_DEAD:
            return tell_dead(c, ev, &sev.outcome, sev.quit_ok);
        }
    return false;
}

/* Told once each time that room is made while mails are in hand. */
static bool has_new_room(struct conn *c)
{
    bool had = c->room_told;

    c->room_told = !c->failed && c->was_ready && conn_has_room(c) && !smtp_session_is_ready(c->session);
    return c->room_told && !had;
}

static bool pull(struct conn *c, struct conn_event *ev)
{
    if (c->dead_told)
        return false;
    if (!c->failed && c->silent && !c->silent_told) {
        c->silent_told = true;
        ev->type = CONN_SILENT;
        return true;
    }
    if (!c->failed && c->session && c->phase != PHASE_CONNECT && pull_session(c, ev))
        return true;
    if (has_new_room(c)) {
        ev->type = CONN_ROOM;
        return true;
    }
    return c->failed && tell_dead(c, ev, &c->failure, false);
}

static bool flush(struct conn *c)
{
    if (c->io.fd < 0 || c->blocked || c->failed || c->phase < PHASE_TLS)
        return false;
    if (c->turn >= TURN_MAX) {          /* EPOLLOUT comes at once, behind what the others have */
        c->blocked = true;
        return false;
    }
    return c->ops->write(c);
}

bool conn_next_event(struct conn *c, struct conn_event *ev)
{
    do
        if (pull(c, ev))
            return true;
    while (flush(c) || (c->failed && !c->dead_told));
    if (c->dead_told && !c->blocked && !c->lookup_runs) {
        if (c->io.fd >= 0 && !c->failed)
            c->ops->close(c);
        close_socket(c);
        loop_timer_clear(c->p.loop, &c->timer);
        ev->type = CONN_FINISHED;
        return true;
    }
    if (c->io.fd >= 0)
        loop_mod(c->p.loop, &c->io, (c->dead_told ? 0 : (uint32_t)EPOLLIN) | (c->blocked ? (uint32_t)EPOLLOUT : 0));
    set_timer(c);
    return false;
}

/* ---- what the pool asks for ---- */

void conn_submit(struct conn *c, struct smtp_transaction *t)
{
    smtp_session_submit(c->session, t, now_ms(c));
}

bool conn_has_room(const struct conn *c)
{
    return !c->failed && !c->dead_told && smtp_session_has_room(c->session);
}

bool conn_is_worn(const struct conn *c)
{
    return smtp_session_is_worn(c->session);
}

void conn_look(struct conn *c)
{
    if (c->io.fd >= 0)
        c->ops->read(c);
}

bool conn_give_up(struct conn *c, const struct smtp_transaction *t, uint64_t until)
{
    return smtp_session_give_up(c->session, t, until, now_ms(c));
}

void conn_quit(struct conn *c)
{
    smtp_session_quit(c->session, now_ms(c));
}

enum stage conn_stage(const struct conn *c)
{
    switch (c->phase) {
    case PHASE_DNS:
        return STAGE_DNS;
    case PHASE_CONNECT:
        return STAGE_CONNECT;
    case PHASE_TLS:
        return STAGE_TLS;
    case PHASE_TALK:
        return smtp_session_stage(c->session);
    }
    unreachable("conn phase");
}

bool conn_body_is_gone(const struct conn *c, const struct smtp_transaction *t)
{
    return smtp_session_body_is_gone(c->session, t);
}

bool conn_one_flight_is_off(const struct conn *c)
{
    return c->session && smtp_session_one_flight_is_off(c->session);
}

unsigned conn_flights(const struct conn *c)
{
    return smtp_session_flights(c->session);
}

const struct conn_facts *conn_facts(const struct conn *c)
{
    return &c->facts;
}

const struct resolve_address *conn_peer(const struct conn *c)
{
    return c->facts.address[0] ? &c->peer : NULL;
}
