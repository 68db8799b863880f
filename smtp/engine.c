#include "smtp/engine.h"

#include "smtp/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The door: one thread for each loop, a pool for each relay (or several, each on a loop of its own), and the mailboxes
 * between them and the rest. */

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

/* One pool of a relay, on one of the loops, with its share of the relay's limits. */
struct share {
    struct pool *pool;
    struct worker *worker;
    struct relay_config config;         /* the caller's is his again after engine_new */
    size_t relay;
};

struct engine {
    struct resolver *resolver;
    struct worker *workers;
    unsigned n_workers;
    size_t n_relays;
    size_t *first_share;                /* n_relays + 1: a relay's shares end where the next one's begin */
    struct share *shares;
    size_t n_shares;
    void (*on_trace)(void *ctx, size_t relay, unsigned session, bool from_client, const char *line);
    void *trace_ctx;
    atomic_bool draining;
};

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

/* What is to be done with each pool of a loop, by the loop. */
static void each_pool(const struct worker *w, void (*act)(struct pool *p))
{
    struct engine *e = w->engine;

    for (size_t i = 0; i < e->n_shares; i++)
        if (e->shares[i].worker == w)
            act(e->shares[i].pool);
}

static void on_drain(struct loop_msg *m)
{
    each_pool(LIST_ITEM(m, struct worker, drain), pool_drain);
}

/* A password that one pool saw refused is not tried by the relay's other pools either, or the account is locked. */
struct refusal {
    struct loop_msg msg;
    struct pool *pool;
    struct smtp_outcome why;
};

static void on_refusal(struct loop_msg *m)
{
    struct refusal *r = LIST_ITEM(m, struct refusal, msg);

    pool_hear_refused(r->pool, &r->why);
    free(r);
}

static size_t share_of(const struct engine *e, const struct pool *p)
{
    size_t i = 0;

    while (e->shares[i].pool != p)
        i++;
    return i;
}

static void on_trace(void *ctx, struct pool *p, unsigned session, bool from_client, const char *line)
{
    const struct engine *e = ((struct worker *)ctx)->engine;

    e->on_trace(e->trace_ctx, e->shares[share_of(e, p)].relay, session, from_client, line);
}

static void on_refused(void *ctx, struct pool *p, const struct smtp_outcome *why)
{
    const struct engine *e = ((struct worker *)ctx)->engine;
    size_t own = share_of(e, p);

    for (size_t i = e->first_share[e->shares[own].relay]; i < e->first_share[e->shares[own].relay + 1]; i++) {
        struct refusal *r = i == own ? NULL : malloc(sizeof(*r));
        if (!r)
            continue;                   /* without memory the other one finds out by itself */
        *r = (struct refusal){.msg.on_msg = on_refusal, .pool = e->shares[i].pool, .why = *why};
        loop_post(e->shares[i].worker->loop, &r->msg);
    }
}

static void *run(void *ctx)
{
    struct worker *w = ctx;

    each_pool(w, pool_start);
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
    w->dirty = calloc(e->n_shares + 1, sizeof(struct pool *));
    if (!w->loop || !w->buffers || !w->dirty)
        return -1;
    loop_set_before_wait(w->loop, before_wait, w);
    return 0;
}

/* The i-th of n parts of `whole`; together they are all of it. */
static unsigned part(unsigned whole, unsigned i, unsigned n)
{
    return whole / n + (i < whole % n);
}

static unsigned loops_of(const struct relay_config *c)
{
    unsigned n = c->loops ? c->loops : 1;

    return n < c->max_sessions ? n : c->max_sessions;
}

static int make_shares(struct engine *e, const struct engine_params *p, char err_out[200])
{
    for (size_t i = 0, at = 0; i < e->n_relays; i++) {
        unsigned n = loops_of(&p->relays[i]);
        e->first_share[i] = at;
        for (unsigned k = 0; k < n; k++, at++) {
            struct share *s = &e->shares[at];
            struct pool_params pp = {.resolver = e->resolver, .config = &s->config, .on_dirty = on_dirty,
                                     .on_refused = n > 1 ? on_refused : NULL,
                                     .on_trace = p->on_trace ? on_trace : NULL};
            *s = (struct share){.worker = &e->workers[(i + k) % e->n_workers], .config = p->relays[i], .relay = i};
            s->config.max_sessions = part(p->relays[i].max_sessions, k, n);
            s->config.min_idle = part(p->relays[i].min_idle, k, n);
            pp.loop = s->worker->loop;
            pp.buffers = s->worker->buffers;
            pp.ctx = s->worker;
            s->pool = pool_new(&pp, err_out);
            if (!s->pool)
                return -1;
        }
    }
    e->first_share[e->n_relays] = e->n_shares;
    return 0;
}

/* As many loops as were asked for, or as the relay that is spread most needs. */
static void count_shares(struct engine *e, const struct engine_params *p)
{
    e->n_workers = p->loops ? p->loops : 1;
    e->n_relays = p->n_relays;
    e->on_trace = p->on_trace;
    e->trace_ctx = p->trace_ctx;
    for (size_t i = 0; i < p->n_relays; i++) {
        unsigned n = loops_of(&p->relays[i]);
        e->n_shares += n;
        if (n > e->n_workers)
            e->n_workers = n;
    }
}

static int start(struct engine *e, const struct engine_params *p, char err_out[200])
{
    snprintf(err_out, 200, "no memory for the SMTP loops");
    count_shares(e, p);
    e->resolver = resolver_new();
    e->workers = calloc(e->n_workers, sizeof(*e->workers));
    e->shares = calloc(e->n_shares + 1, sizeof(*e->shares));
    e->first_share = calloc(e->n_relays + 1, sizeof(*e->first_share));
    if (!e->resolver || !e->workers || !e->shares || !e->first_share)
        return -1;
    for (unsigned i = 0; i < e->n_workers; i++)
        if (worker_init(&e->workers[i], e) < 0)
            return -1;
    if (make_shares(e, p, err_out) < 0)
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

/* The one of a relay's pools that has least to do. */
static const struct share *choose_share(const struct engine *e, size_t relay)
{
    const struct share *best = &e->shares[e->first_share[relay]], *end = &e->shares[e->first_share[relay + 1]];

    for (const struct share *s = best + 1; s < end; s++)
        if (pool_get_load(s->pool) < pool_get_load(best->pool))
            best = s;
    return best;
}

void engine_submit(struct engine *e, struct delivery *d)
{
    const struct share *s = choose_share(e, d->relay);

    d->msg.on_msg = on_submit;
    d->state->pool = s->pool;
    d->state->submitted_us = clock_us();
    pool_expect(s->pool);
    loop_post(s->worker->loop, &d->msg);
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
    for (size_t i = 0; e->shares && i < e->n_shares; i++)
        if (e->shares[i].pool)
            pool_stop(e->shares[i].pool);
    resolver_free(e->resolver);
    for (unsigned i = 0; e->workers && i < e->n_workers; i++)
        if (e->workers[i].runs && loop_run(e->workers[i].loop) < 0)
            unreachable("a stopped loop waited");
    for (size_t i = 0; e->shares && i < e->n_shares; i++)
        pool_free(e->shares[i].pool);
    for (unsigned i = 0; e->workers && i < e->n_workers; i++) {
        loop_free(e->workers[i].loop);
        free(e->workers[i].buffers);
        free(e->workers[i].dirty);
    }
    free(e->workers);
    free(e->shares);
    free(e->first_share);
    free(e);
}

void engine_get_stats(struct engine *e, size_t relay, struct engine_relay_stats *out)
{
    struct engine_relay_stats one;

    *out = (struct engine_relay_stats){.circuit_open = true};
    for (size_t i = e->first_share[relay]; i < e->first_share[relay + 1]; i++) {
        pool_get_stats(e->shares[i].pool, &one);
        out->idle += one.idle;
        out->busy += one.busy;
        out->connecting += one.connecting;
        out->waiting += one.waiting;
        out->circuit_open &= one.circuit_open;
        out->opened += one.opened;
        out->resumed += one.resumed;
        out->reused += one.reused;
        out->stale += one.stale;
        out->flights += one.flights;
        out->mails += one.mails;
    }
}
