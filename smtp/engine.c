#include "smtp/engine.h"

#include "smtp/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The door: one thread for each loop, one pool for each relay, and the mailboxes between them and the rest. */

struct worker {
    struct engine *engine;
    struct loop *loop;
    pthread_t thread;
    bool runs;
    struct conn_buffers *buffers;
    struct pool **dirty;                /* pools that want pool_run before the loop waits; room for all */
    size_t n_dirty;
    struct loop_msg drain;
};

struct engine {
    struct resolver *resolver;
    struct worker *workers;
    unsigned n_workers;
    struct pool **pools;
    struct relay_config *configs;       /* n_pools; the caller's array is his again after engine_new */
    size_t n_pools;
    atomic_bool draining;
};

static struct worker *worker_of(const struct engine *e, size_t relay)
{
    return &e->workers[relay % e->n_workers];
}

/* ---- on the loops ---- */

static void on_dirty(void *ctx, struct pool *p)
{
    struct worker *w = ctx;

    w->dirty[w->n_dirty++] = p;
}

/* Running one pool may make it dirty again (a stale session made room): until all are content. */
static int before_wait(void *ctx)
{
    struct worker *w = ctx;

    while (w->n_dirty)
        pool_run(w->dirty[--w->n_dirty]);
    return -1;
}

static void on_submit(struct loop_msg *m)
{
    struct delivery *d = LIST_ITEM(m, struct delivery, msg);

    pool_submit(d->state->pool, d);
}

static void on_drain(struct loop_msg *m)
{
    struct worker *w = LIST_ITEM(m, struct worker, drain);
    struct engine *e = w->engine;

    for (size_t i = 0; i < e->n_pools; i++)
        if (worker_of(e, i) == w && e->pools[i])
            pool_drain(e->pools[i]);
}

static void *run(void *ctx)
{
    struct worker *w = ctx;

    if (loop_run(w->loop) < 0)
        unreachable("epoll failed under a running loop");
    return NULL;
}

/* ---- life ---- */

/* Signals are the main thread's. */
static int start_thread(struct worker *w, unsigned i)
{
    sigset_t all, before;
    char name[16];

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    w->runs = pthread_create(&w->thread, NULL, run, w) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!w->runs)
        return -1;
    snprintf(name, sizeof(name), "smtp-%u", i);
    pthread_setname_np(w->thread, name);
    return 0;
}

static int worker_init(struct worker *w, struct engine *e)
{
    w->engine = e;
    w->drain.on_msg = on_drain;
    w->loop = loop_new();
    w->buffers = malloc(sizeof(*w->buffers));
    w->dirty = calloc(e->n_pools + 1, sizeof(*w->dirty));
    if (!w->loop || !w->buffers || !w->dirty)
        return -1;
    loop_set_before_wait(w->loop, before_wait, w);
    return 0;
}

static int make_pools(struct engine *e, char err_out[200])
{
    for (size_t i = 0; i < e->n_pools; i++) {
        struct worker *w = worker_of(e, i);
        struct pool_params pp = {
            .loop = w->loop,
            .resolver = e->resolver,
            .buffers = w->buffers,
            .config = &e->configs[i],
            .on_dirty = on_dirty,
            .ctx = w,
        };
        e->pools[i] = pool_new(&pp, err_out);
        if (!e->pools[i])
            return -1;
    }
    return 0;
}

static int start(struct engine *e, const struct engine_params *p, char err_out[200])
{
    snprintf(err_out, 200, "no memory for the SMTP loops");
    e->n_workers = p->loops ? p->loops : 1;
    e->n_pools = p->n_relays;
    e->resolver = resolver_new();
    e->workers = calloc(e->n_workers, sizeof(*e->workers));
    e->pools = calloc(e->n_pools + 1, sizeof(struct pool *));
    e->configs = calloc(e->n_pools + 1, sizeof(*e->configs));
    if (!e->resolver || !e->workers || !e->pools || !e->configs)
        return -1;
    memcpy(e->configs, p->relays, e->n_pools * sizeof(*e->configs));
    for (unsigned i = 0; i < e->n_workers; i++)
        if (worker_init(&e->workers[i], e) < 0)
            return -1;
    if (make_pools(e, err_out) < 0)
        return -1;
    for (unsigned i = 0; i < e->n_workers; i++)
        if (start_thread(&e->workers[i], i) < 0) {
            snprintf(err_out, 200, "the thread of SMTP loop %u cannot be started", i);
            return -1;
        }
    err_out[0] = '\0';
    return 0;
}

struct engine *engine_new(const struct engine_params *p, char err_out[200])
{
    struct engine *e = calloc(1, sizeof(*e));

    if (!e) {
        snprintf(err_out, 200, "no memory");
        return NULL;
    }
    if (start(e, p, err_out) < 0) {
        engine_free(e);
        return NULL;
    }
    return e;
}

void engine_submit(struct engine *e, struct delivery *d)
{
    d->msg.on_msg = on_submit;
    d->state->pool = e->pools[d->relay];
    d->state->submitted_us = clock_us();
    loop_post(worker_of(e, d->relay)->loop, &d->msg);
}

void engine_drain(struct engine *e)
{
    if (atomic_exchange(&e->draining, true))
        return;
    for (unsigned i = 0; i < e->n_workers; i++)
        loop_post(e->workers[i].loop, &e->workers[i].drain);
}

/* Loops first, then the resolver, whose last answers are letters in loops that stand still: they are read before the
 * pools go. */
void engine_free(struct engine *e)
{
    if (!e)
        return;
    for (unsigned i = 0; e->workers && i < e->n_workers; i++)
        if (e->workers[i].runs)
            loop_stop(e->workers[i].loop);
    for (unsigned i = 0; e->workers && i < e->n_workers; i++)
        if (e->workers[i].runs)
            pthread_join(e->workers[i].thread, NULL);
    for (size_t i = 0; e->pools && i < e->n_pools; i++)
        if (e->pools[i])
            pool_stop(e->pools[i]);
    resolver_free(e->resolver);
    for (unsigned i = 0; e->workers && i < e->n_workers; i++)
        if (e->workers[i].runs && loop_run(e->workers[i].loop) < 0)
            unreachable("a stopped loop waited");
    for (size_t i = 0; e->pools && i < e->n_pools; i++)
        pool_free(e->pools[i]);
    for (unsigned i = 0; e->workers && i < e->n_workers; i++) {
        loop_free(e->workers[i].loop);
        free(e->workers[i].buffers);
        free(e->workers[i].dirty);
    }
    free(e->workers);
    free(e->pools);
    free(e->configs);
    free(e);
}

void engine_get_stats(struct engine *e, size_t relay, struct engine_relay_stats *out)
{
    pool_get_stats(e->pools[relay], out);
}
