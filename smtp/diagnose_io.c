#include "smtp/diagnose_io.h"

#include "smtp/idn.h"
#include "smtp/secrets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* poll(2) with deadlines: what a diagnosis does with sockets, one call after the other. */

#define LATE_LOOKS_MAX 16               /* at what lay there at the end of a limit; an endless drip ends */
#define SLICE_MS 100                    /* so often a wait looks whether the run was canceled */

/* ---- time ---- */

static bool is_canceled(const struct diagnose_limits *l)
{
    return l->cancel && atomic_load(l->cancel);
}

bool diagnose_is_over(const struct diagnose_limits *l)
{
    return is_canceled(l) || clock_us() >= l->until_us;
}

static uint64_t deadline(const struct diagnose_limits *l, uint32_t ms)
{
    uint64_t at = clock_us() + (uint64_t)ms * 1000;

    return at < l->until_us ? at : l->until_us;
}

static int slice_ms(uint64_t until_us)
{
    uint64_t now = clock_us(), left = until_us > now ? (until_us - now + 999) / 1000 : 0;

    return left < SLICE_MS ? (int)left : SLICE_MS;
}

void diagnose_pause(const struct diagnose_limits *l, uint32_t ms)
{
    poll(NULL, 0, slice_ms(deadline(l, ms)));
}

/* ---- connecting ---- */

static void start(const struct resolve_address *a, struct diagnose_dialed *out)
{
    out->ms = 0;
    out->error = EINPROGRESS;
    out->fd = socket(a->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (out->fd < 0) {
        out->error = errno;
        return;
    }
    if (connect(out->fd, (const struct sockaddr *)&a->addr, a->len) < 0 && errno != EINPROGRESS) {
        out->error = errno;
        close(out->fd);
        out->fd = -1;
    }
}

static void finish(struct diagnose_dialed *d, int error, uint64_t began_us)
{
    d->error = error;
    d->ms = (uint32_t)((clock_us() - began_us) / 1000);
    if (error && d->fd >= 0) {
        close(d->fd);
        d->fd = -1;
    }
}

static void look(struct diagnose_dialed *d, short events, uint64_t began_us)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (!events)
        return;
    if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    finish(d, error, began_us);
}

void diagnose_dial(const struct resolve_address *v, size_t n, uint32_t ms, const struct diagnose_limits *l,
                   struct diagnose_dialed *out)
{
    struct pollfd p[RESOLVE_ADDRESSES_MAX];
    uint64_t began = clock_us(), until = deadline(l, ms);
    bool running = true;

    for (size_t i = 0; i < n; i++)
        start(&v[i], &out[i]);
    while (running) {
        /* Read first: what came while we were stopped is in time. */
        bool over = clock_us() >= until || is_canceled(l);
        int ready;
        running = false;
        for (size_t i = 0; i < n; i++) {
            p[i] = (struct pollfd){.fd = out[i].error == EINPROGRESS ? out[i].fd : -1, .events = POLLOUT};
            running |= p[i].fd >= 0;
        }
        ready = running ? poll(p, (nfds_t)n, over ? 0 : slice_ms(until)) : -1;
        for (size_t i = 0; i < n && ready >= 0; i++) {
            if (p[i].fd >= 0)
                look(&out[i], p[i].revents, began);
            if (over && out[i].fd >= 0 && out[i].error == EINPROGRESS)
                finish(&out[i], is_canceled(l) ? ECANCELED : ETIMEDOUT, began);
        }
    }
}

/* ---- looking up ---- */

struct lookup {
    pthread_mutex_t lock;
    pthread_cond_t done_cond;
    atomic_uint refs;                   /* the asker's and the thread's */
    bool done;
    uint16_t port;
    struct resolve_answer answer;
    char host[256];
};

static void drop(struct lookup *u)
{
    if (atomic_fetch_sub(&u->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&u->lock);
    pthread_cond_destroy(&u->done_cond);
    free(u);
}

static void *look_up(void *arg)
{
    struct lookup *u = arg;
    struct resolve_answer a;

    resolve_now(u->host, u->port, &a);
    pthread_mutex_lock(&u->lock);
    u->answer = a;
    u->done = true;
    pthread_cond_signal(&u->done_cond);
    pthread_mutex_unlock(&u->lock);
    drop(u);
    return NULL;
}

static struct lookup *lookup_new(const char *host, uint16_t port)
{
    struct lookup *u = calloc(1, sizeof(*u));
    pthread_condattr_t attr;

    if (!u)
        return NULL;
    snprintf(u->host, sizeof(u->host), "%s", host);
    u->port = port;
    atomic_init(&u->refs, 2);
    pthread_mutex_init(&u->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&u->done_cond, &attr);
    pthread_condattr_destroy(&attr);
    return u;
}

static bool lookup_start(struct lookup *u)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, look_up, u) != 0)
        return false;
    pthread_detach(thread);
    return true;
}

static bool lookup_wait(struct lookup *u, uint64_t until_us, const struct diagnose_limits *l)
{
    bool done;

    pthread_mutex_lock(&u->lock);
    while (!u->done && clock_us() < until_us && !is_canceled(l)) {
        uint64_t at = clock_us() + (uint64_t)slice_ms(until_us) * 1000;
        struct timespec t = {.tv_sec = (time_t)(at / 1000000), .tv_nsec = (long)(at % 1000000) * 1000};
        pthread_cond_timedwait(&u->done_cond, &u->lock, &t);
    }
    done = u->done;
    pthread_mutex_unlock(&u->lock);
    return done;
}

void diagnose_resolve(const char *host, uint16_t port, uint32_t ms, const struct diagnose_limits *l,
                      struct resolve_answer *a)
{
    struct lookup *u = lookup_new(host, port);
    char reason[200];

    memset(a, 0, sizeof(*a));
    if (!u || !lookup_start(u)) {
        outcome_set_local(&a->failure, OUTCOME_INTERNAL_ERROR, STAGE_DNS, DELIVERY_NOT_SENT, "no memory for a "
                                                                                             "look-up");
        if (u)
            atomic_store(&u->refs, 1);
    } else if (lookup_wait(u, deadline(l, ms), l)) {
        *a = u->answer;
    } else {
        snprintf(reason, sizeof(reason), "%.120s: no answer within %u ms", host, ms);
        outcome_set_local(&a->failure, OUTCOME_DNS_FAILED, STAGE_DNS, DELIVERY_NOT_SENT, reason);
    }
    if (u)
        drop(u);
}

/* ---- a connection ---- */

void diagnose_conn_init(struct diagnose_conn *c, int fd, const struct diagnose_limits *l, struct trace *trace)
{
    memset(c, 0, sizeof(*c));
    c->fd = fd;
    c->limits = l;
    c->trace = trace;
    smtp_reply_parser_init(&c->parser);
    c->parser.secrets = l->secrets;
}

void diagnose_conn_close(struct diagnose_conn *c)
{
    if (c->trace)
        trace_flush(c->trace);
    tls_free(c->tls);
    c->tls = NULL;
    smtp_reply_parser_deinit(&c->parser);
    smtp_reply_parser_init(&c->parser);
    c->parser.secrets = c->limits->secrets;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static enum diagnose_io give_up(struct diagnose_conn *c, enum diagnose_io what, const char *why)
{
    snprintf(c->why, sizeof(c->why), "%s", why);
    return what;
}

static enum diagnose_io wait_for(struct diagnose_conn *c, short events, uint64_t until_us)
{
    struct pollfd p = {.fd = c->fd, .events = events};

    for (;;) {
        bool over;
        int n;
        if (is_canceled(c->limits))
            return give_up(c, DIAGNOSE_IO_CANCELED, "the run was canceled");
        over = clock_us() >= until_us;  /* read first: what came while we were stopped is in time */
        n = poll(&p, 1, slice_ms(until_us));
        c->late_looks = over ? c->late_looks + 1 : 0;
        if (n > 0 && c->late_looks <= LATE_LOOKS_MAX)
            return DIAGNOSE_IO_OK;
        if (n >= 0 && over)
            return give_up(c, DIAGNOSE_IO_TIMEOUT, "no answer in time");
    }
}

static enum diagnose_io lost(struct diagnose_conn *c, int error)
{
    const char *text = error ? strerrordesc_np(error) : "the relay closed the connection";

    return give_up(c, DIAGNOSE_IO_CLOSED, text ? text : "unknown error");
}

static enum diagnose_io receive(struct diagnose_conn *c, char *buf, size_t cap, size_t *n_out, uint64_t until_us)
{
    for (;;) {
        enum diagnose_io io = wait_for(c, POLLIN, until_us);
        ssize_t n;
        *n_out = 0;
        if (io != DIAGNOSE_IO_OK)
            return io;
        n = recv(c->fd, buf, cap, MSG_DONTWAIT);
        if (n > 0) {
            *n_out = (size_t)n;
            return DIAGNOSE_IO_OK;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            return lost(c, n == 0 ? 0 : errno);
    }
}

static enum diagnose_io send_all(struct diagnose_conn *c, struct bytes_view v, uint64_t until_us)
{
    while (v.n) {
        enum diagnose_io io = wait_for(c, POLLOUT, until_us);
        ssize_t n;
        if (io != DIAGNOSE_IO_OK)
            return io;
        n = send(c->fd, v.p, v.n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return lost(c, errno);
        if (n > 0)
            v = bytes_view(v.p + n, v.n - (size_t)n);
    }
    return DIAGNOSE_IO_OK;
}

static enum diagnose_io flush_tls(struct diagnose_conn *c, uint64_t until_us)
{
    struct bytes_queue *q = tls_output(c->tls);
    enum diagnose_io io = send_all(c, bytes_queue_view(q), until_us);

    bytes_queue_consume(q, bytes_queue_len(q));
    return io;
}

static enum diagnose_io feed_tls(struct diagnose_conn *c, uint64_t until_us)
{
    size_t n;
    enum diagnose_io io = receive(c, c->cipher, sizeof(c->cipher), &n, until_us);

    if (io == DIAGNOSE_IO_CLOSED)
        tls_eof(c->tls);
    else if (io == DIAGNOSE_IO_OK)
        tls_feed(c->tls, bytes_view(c->cipher, n));
    return io;
}

static enum diagnose_io tls_trouble(struct diagnose_conn *c, enum tls_status status)
{
    struct smtp_outcome o;

    tls_get_failure(c->tls, &o);
    secrets_mask_str(c->limits->secrets, o.reason);     /* it may have words of the peer */
    return give_up(c, status == TLS_CLOSED ? DIAGNOSE_IO_CLOSED : DIAGNOSE_IO_BROKEN, o.reason);
}

enum diagnose_io diagnose_handshake(struct diagnose_conn *c, struct tls_context *ctx, uint32_t ms)
{
    uint64_t until = deadline(c->limits, ms);
    enum diagnose_io io = DIAGNOSE_IO_OK;

    c->tls = tls_new(ctx);
    if (!c->tls)
        return give_up(c, DIAGNOSE_IO_BROKEN, "no memory for TLS");
    for (;;) {
        enum tls_status status = tls_handshake(c->tls);
        enum diagnose_io sent = flush_tls(c, until);
        if (status == TLS_OK)
            return sent;
        if (status != TLS_WANT_READ)
            return tls_trouble(c, status);
        /* What was received says more than a write that fails. */
        if (sent == DIAGNOSE_IO_TIMEOUT || sent == DIAGNOSE_IO_CANCELED)
            return sent;
        io = feed_tls(c, until);
        if (io != DIAGNOSE_IO_OK && io != DIAGNOSE_IO_CLOSED)
            return io;
    }
}

static enum diagnose_io more_from_tls(struct diagnose_conn *c, uint64_t until_us)
{
    for (;;) {
        size_t n;
        enum tls_status status = tls_read(c->tls, c->in, sizeof(c->in), &n);
        enum diagnose_io io;
        if (status == TLS_OK && n) {
            c->n = n;
            return DIAGNOSE_IO_OK;
        }
        if (status == TLS_CLOSED || status == TLS_FAILED)
            return status == TLS_CLOSED ? lost(c, 0) : tls_trouble(c, status);
        io = feed_tls(c, until_us);
        if (io != DIAGNOSE_IO_OK && io != DIAGNOSE_IO_CLOSED)
            return io;
    }
}

/* All before was eaten. */
static enum diagnose_io more(struct diagnose_conn *c, uint64_t until_us)
{
    enum diagnose_io io;

    c->off = c->n = 0;
    io = c->tls ? more_from_tls(c, until_us) : receive(c, c->in, sizeof(c->in), &c->n, until_us);
    if (io == DIAGNOSE_IO_OK && c->trace)
        trace_feed(c->trace, false, bytes_view(c->in, c->n));
    return io;
}

enum diagnose_io diagnose_peek(struct diagnose_conn *c, uint32_t ms)
{
    return c->off < c->n ? DIAGNOSE_IO_OK : more(c, deadline(c->limits, ms));
}

enum diagnose_io diagnose_reply(struct diagnose_conn *c, uint32_t ms, bool at_auth, struct smtp_reply *out)
{
    uint64_t until = deadline(c->limits, ms);

    for (;;) {
        struct bytes_view in = bytes_view(c->in + c->off, c->n - c->off);
        const char *why = NULL;
        int rc = smtp_reply_parser_feed(&c->parser, &in, at_auth ? SMTP_REPLY_LINE_MAX_AUTH : SMTP_REPLY_LINE_MAX, out,
                                        &why);
        enum diagnose_io io;
        c->off = c->n - in.n;
        if (rc != 0)
            return rc > 0 ? DIAGNOSE_IO_OK : give_up(c, DIAGNOSE_IO_BROKEN, why ? why : "no SMTP reply");
        io = more(c, until);
        if (io != DIAGNOSE_IO_OK)
            return io;
    }
}

enum diagnose_io diagnose_write(struct diagnose_conn *c, struct bytes_view v)
{
    uint64_t until = deadline(c->limits, 15000);

    if (c->trace)
        trace_feed(c->trace, true, v);
    if (!c->tls)
        return send_all(c, v, until);
    if (tls_write(c->tls, v) != TLS_OK)
        return tls_trouble(c, TLS_FAILED);
    return flush_tls(c, until);
}

/* ---- addresses ---- */

bool diagnose_is_ipv6(const struct resolve_address *a)
{
    return a->addr.ss_family == AF_INET6;
}

static enum diagnose_scope scope4(uint32_t a)
{
    if (a >> 24 == 127)
        return DIAGNOSE_SCOPE_LOOPBACK;
    if (a >> 24 == 0)
        return DIAGNOSE_SCOPE_VOID;
    if (a >> 24 == 10 || a >> 20 == 0xAC1 || a >> 16 == 0xC0A8 || a >> 16 == 0xA9FE || a >> 22 == 0x191)
        return DIAGNOSE_SCOPE_PRIVATE;  /* RFC 1918, link-local, RFC 6598 */
    return DIAGNOSE_SCOPE_PUBLIC;
}

enum diagnose_scope diagnose_scope(const struct resolve_address *a)
{
    const struct in6_addr *six = &((const struct sockaddr_in6 *)&a->addr)->sin6_addr;

    if (!diagnose_is_ipv6(a))
        return scope4(ntohl(((const struct sockaddr_in *)&a->addr)->sin_addr.s_addr));
    if (IN6_IS_ADDR_LOOPBACK(six))
        return DIAGNOSE_SCOPE_LOOPBACK;
    if (IN6_IS_ADDR_UNSPECIFIED(six))
        return DIAGNOSE_SCOPE_VOID;
    return IN6_IS_ADDR_LINKLOCAL(six) || (six->s6_addr[0] & 0xFE) == 0xFC ? DIAGNOSE_SCOPE_PRIVATE
                                                                         : DIAGNOSE_SCOPE_PUBLIC;
}

void diagnose_ehlo_name(const struct diagnose_conn *c, const char *configured, char out[256])
{
    struct resolve_address local = {.len = sizeof(local.addr)};
    const char *dot;
    char text[64], name[256] = "";

    if (!configured && gethostname(name, sizeof(name) - 1) == 0) {
        if (idn_root_dot(bytes_view_str(name)))
            name[strlen(name) - 1] = '\0';
        dot = strchr(name, '.');
        configured = dot && dot != name && dot[1] ? name : NULL;
    }
    if (configured) {
        snprintf(out, 256, "%s", configured);
        return;
    }
    snprintf(out, 256, "[127.0.0.1]");
    if (getsockname(c->fd, (struct sockaddr *)&local.addr, &local.len) < 0)
        return;
    resolve_address_text(&local, text);
    snprintf(out, 256, "[%s%s]", diagnose_is_ipv6(&local) ? "IPv6:" : "", text);
}
