#include "smtp/probe.h"

#include "smtp/dial.h"
#include "smtp/list.h"
#include "smtp/tls.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The question behind plaintext_on_tls_port: one connection, one ClientHello, a look at the answer's first bytes. */

#define PROBE_MS 3000
#define ANSWER_MAX 64

struct probe {
    struct loop *loop;
    struct loop_io io;                  /* io.fd is -1 while it connects */
    struct loop_timer timer;
    struct dial *dial;
    char host[256], answer[ANSWER_MAX];
    size_t answer_n;
    void (*on_done)(void *ctx, bool is_tls);
    void *ctx;
};

void probe_cancel(struct probe *p)
{
    if (!p)
        return;
    dial_cancel(p->dial);
    loop_timer_clear(p->loop, &p->timer);
    if (p->io.fd >= 0) {
        loop_del(p->loop, &p->io);
        close(p->io.fd);
    }
    free(p);
}

static void finish(struct probe *p, bool is_tls)
{
    void (*on_done)(void *, bool) = p->on_done;
    void *ctx = p->ctx;

    probe_cancel(p);
    on_done(ctx, is_tls);
}

static void on_ready(struct loop_io *io, uint32_t events)
{
    struct probe *p = LIST_ITEM(io, struct probe, io);
    size_t n;
    int verdict;

    (void)events;
    switch (dial_recv(io->fd, p->answer + p->answer_n, sizeof(p->answer) - p->answer_n, &n)) {
    case DIAL_AGAIN:
        return;
    case DIAL_EOF:
    case DIAL_ERROR:
        finish(p, false);
        return;
    case DIAL_OK:
        break;
    }
    p->answer_n += n;
    verdict = tls_probe_is_tls(bytes_view(p->answer, p->answer_n));
    if (verdict >= 0 || p->answer_n == sizeof(p->answer))
        finish(p, verdict == 1);
}

static void on_timer(struct loop_timer *t)
{
    finish(LIST_ITEM(t, struct probe, timer), false);
}

static void on_dialed(void *ctx, const struct dial_result *r)
{
    struct probe *p = ctx;
    char hello[2048];
    size_t n = tls_probe_hello(hello, sizeof(hello), p->host), sent = 0;

    p->dial = NULL;
    if (r->fd < 0) {
        finish(p, false);
        return;
    }
    p->io.fd = r->fd;
    p->io.on_ready = on_ready;
    /* A new socket's buffer takes a ClientHello whole. */
    if (loop_add(p->loop, &p->io, DIAL_READABLE) < 0 || dial_send(r->fd, bytes_view(hello, n), &sent) != DIAL_OK ||
        sent != n)
        finish(p, false);
}

struct probe *probe_start(struct loop *loop, const struct resolve_address *to, const char *host,
                          void (*on_done)(void *ctx, bool is_tls), void *ctx)
{
    struct probe *p = calloc(1, sizeof(*p));
    struct dial_params dp = {
        .loop = loop,
        .v = to,
        .n = 1,
        .connect_ms = PROBE_MS,
        .connect_total_ms = PROBE_MS,
        .on_done = on_dialed,
        .ctx = p,
    };

    if (!p)
        return NULL;
    p->loop = loop;
    p->io.fd = -1;
    p->on_done = on_done;
    p->ctx = ctx;
    p->timer.on_timer = on_timer;
    for (size_t i = 0; host[i] && i + 1 < sizeof(p->host); i++)
        p->host[i] = host[i];
    p->dial = dial_start(&dp);
    if (!p->dial) {
        free(p);
        return NULL;
    }
    loop_timer_set(loop, &p->timer, loop_now(loop) + PROBE_MS);
    return p;
}
