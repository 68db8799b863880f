#include "smtp/dial.h"

#include "smtp/list.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* TCP to the first of several addresses that answers: each starts 250 ms after the one before. */

#define NEXT_AFTER_MS 250               /* RFC 8305 §5: Connection Attempt Delay, recommended value */

_Static_assert(DIAL_READABLE == EPOLLIN, "dial.h spares its users the epoll header");

struct dial_try {
    struct loop_io io;                  /* io.fd is -1 when it does not run */
    struct dial *dial;
    uint64_t limit;
    int error;
};

struct dial {
    struct dial_params p;
    struct resolve_address v[RESOLVE_ADDRESSES_MAX];
    struct dial_try tries[RESOLVE_ADDRESSES_MAX];
    size_t started, running;
    uint64_t began, next_at, give_up_at;
    struct loop_timer timer;
};

/* ---- the two calls ---- */

enum dial_io dial_send(int fd, struct bytes_view v, size_t *n_out)
{
    ssize_t n;

    *n_out = 0;
    do
        n = send(fd, v.p, v.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN || errno == ENOBUFS ? DIAL_AGAIN : DIAL_ERROR;
    *n_out = (size_t)n;
    return DIAL_OK;
}

enum dial_io dial_recv(int fd, char *buf, size_t cap, size_t *n_out)
{
    ssize_t n;

    *n_out = 0;
    do
        n = recv(fd, buf, cap, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? DIAL_AGAIN : DIAL_ERROR;
    *n_out = (size_t)n;
    return n ? DIAL_OK : DIAL_EOF;
}

/* ---- what failures mean together ---- */

enum outcome_code dial_code_of_errno(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return OUTCOME_CONNECT_REFUSED;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
    case EADDRNOTAVAIL:                 /* no address of ours in that family */
    case EAFNOSUPPORT:
        return OUTCOME_NETWORK_UNREACHABLE;
    case ETIMEDOUT:
        return OUTCOME_CONNECT_TIMEOUT;
    default:                            /* not an enum */
        return OUTCOME_CONNECT_FAILED;
    }
}

static int telling(enum outcome_code code)
{
    return code == OUTCOME_CONNECT_REFUSED       ? 3
           : code == OUTCOME_NETWORK_UNREACHABLE ? 2
           : code == OUTCOME_CONNECT_FAILED      ? 1
                                                 : 0;
}

static const char *errno_text(int error)
{
    const char *text = strerrordesc_np(error);

    return text ? text : "unknown error";
}

static void describe(const struct dial *d, uint64_t now, struct smtp_outcome *out)
{
    enum outcome_code code = OUTCOME_CONNECT_TIMEOUT;
    struct bytes_buf reason;

    bytes_buf_init(&reason, sizeof(out->reason) - 1);
    for (size_t i = 0; i < d->started; i++) {
        int error = d->tries[i].error;
        char address[64];
        resolve_address_text(&d->v[i], address);
        if (telling(dial_code_of_errno(error)) > telling(code))
            code = dial_code_of_errno(error);
        if (error == ETIMEDOUT)
            bytes_buf_printf(&reason, "%s%s: no answer within %u ms", i ? "; " : "", address,
                             d->p.connect_ms < d->p.connect_total_ms ? d->p.connect_ms : d->p.connect_total_ms);
        else
            bytes_buf_printf(&reason, "%s%s: %s", i ? "; " : "", address, errno_text(error));
    }
    outcome_set_local(out, code, STAGE_CONNECT, DELIVERY_NOT_SENT, reason.p ? reason.p : "no address to connect to");
    out->ms = (uint32_t)(now - d->began);
    bytes_buf_deinit(&reason);
}

/* ---- one try ---- */

static void end_try(struct dial_try *t, int error)
{
    if (t->io.fd < 0)
        return;
    loop_del(t->dial->p.loop, &t->io);
    close(t->io.fd);
    t->io.fd = -1;
    t->error = error;
    t->dial->running--;
}

static void free_dial(struct dial *d)
{
    for (size_t i = 0; i < d->started; i++)
        end_try(&d->tries[i], ECANCELED);
    loop_timer_clear(d->p.loop, &d->timer);
    free(d);
}

static void finish(struct dial *d, struct dial_result *r)
{
    void (*on_done)(void *, const struct dial_result *) = d->p.on_done;
    void *ctx = d->p.ctx;

    free_dial(d);
    on_done(ctx, r);
}

static void step(struct dial *d);

static void on_ready(struct loop_io *io, uint32_t events)
{
    struct dial_try *t = LIST_ITEM(io, struct dial_try, io);
    struct dial *d = t->dial;
    struct dial_result r;
    int error = 0;
    socklen_t len = sizeof(error);

    (void)events;
    if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error) {
        end_try(t, error);
        d->next_at = 0;                 /* a failure is the signal for the next one (RFC 8305 §5) */
        step(d);
        return;
    }
    loop_del(d->p.loop, io);
    d->running--;
    memset(&r, 0, sizeof(r));
    r.fd = io->fd;
    r.address = d->v[t - d->tries];
    io->fd = -1;
    finish(d, &r);
}

static void start_try(struct dial *d, uint64_t now)
{
    struct dial_try *t = &d->tries[d->started];
    const struct resolve_address *a = &d->v[d->started++];

    t->dial = d;
    t->limit = now + d->p.connect_ms;
    t->io.on_ready = on_ready;
    t->io.fd = socket(a->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (t->io.fd < 0) {
        t->error = errno;
        return;
    }
    if ((connect(t->io.fd, (const struct sockaddr *)&a->addr, a->len) < 0 && errno != EINPROGRESS) ||
        loop_add(d->p.loop, &t->io, EPOLLOUT) < 0) {
        t->error = errno;
        close(t->io.fd);
        t->io.fd = -1;
        return;
    }
    d->running++;
    d->next_at = now + NEXT_AFTER_MS;
}

static uint64_t next_due(const struct dial *d)
{
    uint64_t due = d->give_up_at;

    for (size_t i = 0; i < d->started; i++)
        if (d->tries[i].io.fd >= 0 && d->tries[i].limit < due)
            due = d->tries[i].limit;
    if (d->started < d->p.n && d->next_at < due)
        due = d->next_at;
    return due;
}

static void step(struct dial *d)
{
    uint64_t now = loop_now(d->p.loop);
    struct dial_result r;

    for (size_t i = 0; i < d->started; i++)
        if (d->tries[i].limit <= now || d->give_up_at <= now)
            end_try(&d->tries[i], ETIMEDOUT);
    while (d->started < d->p.n && now < d->give_up_at && (!d->running || d->next_at <= now))
        start_try(d, now);
    if (d->running) {
        loop_timer_set(d->p.loop, &d->timer, next_due(d));
        return;
    }
    memset(&r, 0, sizeof(r));
    r.fd = -1;
    describe(d, now, &r.failure);
    finish(d, &r);
}

static void on_timer(struct loop_timer *t)
{
    step(LIST_ITEM(t, struct dial, timer));
}

struct dial *dial_start(const struct dial_params *p)
{
    struct dial *d = calloc(1, sizeof(*d));

    if (!d)
        return NULL;
    d->p = *p;
    if (d->p.n > RESOLVE_ADDRESSES_MAX)
        d->p.n = RESOLVE_ADDRESSES_MAX;
    for (size_t i = 0; i < d->p.n; i++)
        d->v[i] = p->v[i];
    d->p.v = NULL;
    d->began = loop_now(p->loop);
    d->give_up_at = d->began + p->connect_total_ms;
    d->timer.on_timer = on_timer;
    loop_timer_set(p->loop, &d->timer, d->began);
    return d;
}

void dial_cancel(struct dial *d)
{
    if (d)
        free_dial(d);
}
