#include "smtp/engine.h"

#include "smtp/pool.h"
#include "smtp/relay_memory.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The door: one thread for each loop, a pool for each relay (or several, each on a loop of its own), and the mailboxes
 * between them and the rest. A reload puts new pools in the place of old ones, which are retired: they take no more
 * mails, and are freed by their loop when they are empty. */

struct worker {
    struct engine *engine;
    struct loop *loop;
    pthread_t thread;
    bool runs;
    struct conn_buffers *buffers;
    struct loop_msg drain;
    /* The loop's own: */
    struct share *shares, *dirty;       /* all; those that want pool_run before the loop waits */
    unsigned n_retired;
    bool draining;
};

/* One pool of a relay, on one of the loops, with its share of the relay's limits. */
struct share {
    struct engine *engine;
    struct worker *worker;
    struct pool *pool;
    struct relay_settings *settings;
    struct relay_memory *memory;        /* a reference */
    struct relay_config config;         /* theirs, with this share of the limits */
    size_t place;
    struct loop_msg adopt, retire;
    struct share *next_in_place;        /* under the engine's lock, as is_current */
    bool is_current;
    struct share *next, *next_dirty;    /* the worker's, as is_retired */
    bool is_retired;
};

struct place {
    struct relay_settings *settings;    /* NULL: no relay. Read and written by whoever reloads */
    struct relay_memory *memory;        /* of its current pools; NULL: no relay */
    struct share *shares;               /* retired ones too */
    struct engine_relay_stats past;     /* counters of those that are freed */
};

struct engine {
    struct resolver *resolver;
    struct worker *workers;
    unsigned n_workers;
    void (*on_trace)(void *ctx, size_t relay, unsigned session, bool from_client, const char *line);
    void *trace_ctx;
    atomic_bool draining;
    bool is_ending;                     /* the threads are joined */
    /* Which pools a relay has. Letters to a pool are posted while it is held, so the one that retires a pool is the
     * last that it gets. */
    pthread_mutex_t lock;
    struct place *places;
    size_t n_places;
};

static void get_lock(struct engine *e)
{
    if (pthread_mutex_lock(&e->lock) != 0)
        unreachable("the engine's lock");
}

static void give_lock(struct engine *e)
{
    if (pthread_mutex_unlock(&e->lock) != 0)
        unreachable("the engine's lock");
}

/* ---- mails to pools ---- */

static void on_submit(struct loop_msg *m)
{
    struct delivery *d = LIST_ITEM(m, struct delivery, msg);

    pool_submit(d->state->pool, d);
}

/* Under the lock: the one of a relay's pools that has least to do; NULL: it has none. */
static struct share *choose_share(const struct engine *e, size_t relay)
{
    struct share *best = NULL;

    for (struct share *s = relay < e->n_places ? e->places[relay].shares : NULL; s; s = s->next_in_place)
        if (s->is_current && (!best || pool_get_load(s->pool) < pool_get_load(best->pool)))
            best = s;
    return best;
}

/* Under the lock. */
static void post(struct share *s, struct delivery *d)
{
    d->msg.on_msg = on_submit;
    d->state->pool = s->pool;
    pool_expect(s->pool);
    loop_post(s->worker->loop, &d->msg);
}

int engine_submit(struct engine *e, struct delivery *d)
{
    struct share *s;

    d->state->submitted_us = clock_us();
    get_lock(e);
    s = choose_share(e, d->relay);
    if (s)
        post(s, d);
    give_lock(e);
    return s ? 0 : -1;
}

/* What waits at a retired pool goes to one of those that took its place. */
static void hand_on(struct share *s)
{
    struct engine *e = s->engine;
    struct delivery *d;
    struct share *to;

    get_lock(e);
    while ((to = choose_share(e, s->place)) && (d = pool_give_back(s->pool)))
        post(to, d);
    give_lock(e);
}

/* ---- on the loops ---- */

static void on_dirty(void *ctx, struct pool *p)
{
    struct share *s = ctx;

    (void)p;
    s->next_dirty = s->worker->dirty;
    s->worker->dirty = s;
}

static void share_free(struct share *s)
{
    if (!s)
        return;
    pool_free(s->pool);
    relay_memory_unref(s->memory);
    relay_settings_unref(s->settings);
    free(s);
}

static void add_counters(struct engine_relay_stats *to, const struct engine_relay_stats *from)
{
    to->opened += from->opened;
    to->resumed += from->resumed;
    to->old_address += from->old_address;
    to->reused += from->reused;
    to->stale += from->stale;
    to->flights += from->flights;
    to->mails += from->mails;
}

static void leave_place(struct share *s)
{
    struct place *place;
    struct share **at;
    struct engine_relay_stats stats;

    get_lock(s->engine);
    place = &s->engine->places[s->place];
    for (at = &place->shares; *at != s;)
        at = &(*at)->next_in_place;
    *at = s->next_in_place;
    pool_get_stats(s->pool, &stats);
    add_counters(&place->past, &stats);
    give_lock(s->engine);
}

static void free_empty(struct worker *w)
{
    for (struct share **at = &w->shares; *at;) {
        struct share *s = *at;
        if (!s->is_retired || !pool_is_empty(s->pool)) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        w->n_retired--;
        leave_place(s);
        share_free(s);
    }
}

/* Running one pool may make it dirty again (a stale session made room): until all are content. */
static int before_wait(void *ctx)
{
    struct worker *w = ctx;
    struct share *s;

    while ((s = w->dirty)) {
        w->dirty = s->next_dirty;
        if (s->is_retired && !w->engine->is_ending)
            hand_on(s);
        pool_run(s->pool);
    }
    if (w->n_retired)
        free_empty(w);
    return -1;
}

static void on_drain(struct loop_msg *m)
{
    struct worker *w = LIST_ITEM(m, struct worker, drain);

    w->draining = true;
    for (struct share *s = w->shares; s; s = s->next)
        pool_drain(s->pool);
}

static void on_adopt(struct loop_msg *m)
{
    struct share *s = LIST_ITEM(m, struct share, adopt);
    struct worker *w = s->worker;

    s->next = w->shares;
    w->shares = s;
    pool_start(s->pool);
    if (w->draining)
        pool_drain(s->pool);
}

static void on_retire(struct loop_msg *m)
{
    struct share *s = LIST_ITEM(m, struct share, retire);

    s->is_retired = true;
    s->worker->n_retired++;
    pool_drain(s->pool);
    pool_start(s->pool);                /* it runs once more, to hand on what waits */
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

static void on_trace(void *ctx, struct pool *p, unsigned session, bool from_client, const char *line)
{
    const struct share *s = ctx;

    (void)p;
    s->engine->on_trace(s->engine->trace_ctx, s->place, session, from_client, line);
}

static void on_refused(void *ctx, struct pool *p, const struct smtp_outcome *why)
{
    const struct share *own = ctx;
    struct engine *e = own->engine;

    (void)p;
    get_lock(e);
    for (struct share *s = own->is_current ? e->places[own->place].shares : NULL; s; s = s->next_in_place) {
        struct refusal *r = s == own || !s->is_current ? NULL : malloc(sizeof(*r));
        if (!r)
            continue;                   /* without memory the other one finds out by itself */
        *r = (struct refusal){.msg.on_msg = on_refusal, .pool = s->pool, .why = *why};
        loop_post(s->worker->loop, &r->msg);
    }
    give_lock(e);
}

static void *run(void *ctx)
{
    struct worker *w = ctx;

    if (loop_run(w->loop) < 0)
        unreachable("epoll failed under a running loop");
    return NULL;
}

/* ---- relays come and go ---- */

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

static void free_shares(struct share *s)
{
    while (s) {
        struct share *next = s->next_in_place;
        share_free(s);
        s = next;
    }
}

static struct share *share_new(struct engine *e, struct relay_settings *settings, struct relay_memory *memory,
                               size_t place, unsigned k, char err_out[200])
{
    unsigned n = loops_of(&settings->c);
    struct share *s = calloc(1, sizeof(*s));
    struct pool_params pp = {.resolver = e->resolver, .on_dirty = on_dirty, .on_refused = n > 1 ? on_refused : NULL,
                             .on_trace = e->on_trace ? on_trace : NULL, .ctx = s};

    if (!s)
        return NULL;
    *s = (struct share){.engine = e, .worker = &e->workers[(place + k) % e->n_workers],
                        .settings = relay_settings_ref(settings), .memory = relay_memory_ref(memory),
                        .config = settings->c, .place = place,
                        .adopt.on_msg = on_adopt, .retire.on_msg = on_retire};
    s->config.max_sessions = part(settings->c.max_sessions, k, n);
    s->config.min_idle = part(settings->c.min_idle, k, n);
    pp.config = &s->config;
    pp.memory = s->memory;
    pp.loop = s->worker->loop;
    pp.buffers = s->worker->buffers;
    s->pool = pool_new(&pp, err_out);
    if (s->pool)
        return s;
    share_free(s);
    return NULL;
}

static struct relay_memory *memory_for(const struct engine *e, const struct relay_config *c, size_t place)
{
    const struct place *before = place < e->n_places ? &e->places[place] : NULL;

    return before && before->settings ? relay_memory_next(before->memory, &before->settings->c, c)
                                      : relay_memory_new();
}

/* All pools of a relay, or NULL. */
static struct share *make_shares(struct engine *e, const struct relay_config *c, size_t place, char err_out[200])
{
    struct relay_settings *settings = relay_settings_new(c);
    struct relay_memory *memory = memory_for(e, c, place);
    struct share *shares = NULL;

    snprintf(err_out, 200, "no memory");
    for (unsigned k = settings && memory ? loops_of(c) : 0; k-- > 0;) {
        struct share *s = share_new(e, settings, memory, place, k, err_out);
        if (!s) {
            free_shares(shares);
            shares = NULL;
            break;
        }
        s->next_in_place = shares;
        shares = s;
    }
    relay_memory_unref(memory);
    relay_settings_unref(settings);
    return shares;
}

static bool is_unchanged(const struct engine *e, size_t place, const struct relay_config *c)
{
    const struct relay_settings *now = place < e->n_places ? e->places[place].settings : NULL;

    return now && c ? relay_settings_equal(&now->c, c) : !now && !c;
}

/* Under the lock. `fresh` may be NULL: the relay is gone. */
static void put_shares(struct place *place, struct share *fresh)
{
    struct share *last = NULL;

    for (struct share *s = fresh; s; s = s->next_in_place) {
        s->is_current = true;
        loop_post(s->worker->loop, &s->adopt);
        last = s;
    }
    for (struct share *s = place->shares; s; s = s->next_in_place) {
        if (!s->is_current)
            continue;
        s->is_current = false;
        loop_post(s->worker->loop, &s->retire);
    }
    relay_settings_unref(place->settings);
    relay_memory_unref(place->memory);
    place->settings = fresh ? relay_settings_ref(fresh->settings) : NULL;
    place->memory = fresh ? relay_memory_ref(fresh->memory) : NULL;
    if (last) {
        last->next_in_place = place->shares;
        place->shares = fresh;
    }
}

static int grow(struct engine *e, size_t n)
{
    struct place *longer;

    if (n <= e->n_places)
        return 0;
    get_lock(e);
    longer = reallocarray(e->places, n, sizeof(*longer));
    if (longer) {
        memset(longer + e->n_places, 0, (n - e->n_places) * sizeof(*longer));
        e->places = longer;
        e->n_places = n;
    }
    give_lock(e);
    return longer ? 0 : -1;
}

int engine_reload(struct engine *e, const struct relay_config *const *relays, size_t n, char err_out[200])
{
    struct share **fresh = calloc(n + 1, sizeof(struct share *));
    size_t made = 0;
    int rc = -1;

    snprintf(err_out, 200, "no memory");
    if (!fresh || grow(e, n) < 0)
        goto out;
    for (; made < n; made++) {
        if (!relays[made] || is_unchanged(e, made, relays[made]))
            continue;
        fresh[made] = make_shares(e, relays[made], made, err_out);
        if (!fresh[made])
            goto out;
    }
    get_lock(e);
    for (size_t i = 0; i < e->n_places; i++)
        if (!is_unchanged(e, i, i < n ? relays[i] : NULL))
            put_shares(&e->places[i], i < n ? fresh[i] : NULL);
    give_lock(e);
    made = 0;                           /* given away */
    err_out[0] = '\0';
    rc = 0;
out:
    while (made)
        free_shares(fresh[--made]);
    free(fresh);
    return rc;
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
    if (!w->loop || !w->buffers)
        return -1;
    loop_set_before_wait(w->loop, before_wait, w);
    return 0;
}

/* As many loops as were asked for, or as the relay that is spread most needs. */
static unsigned count_workers(const struct engine_params *p)
{
    unsigned most = p->loops ? p->loops : 1;

    for (size_t i = 0; i < p->n_relays; i++)
        if (loops_of(&p->relays[i]) > most)
            most = loops_of(&p->relays[i]);
    return most;
}

static int load_first(struct engine *e, const struct engine_params *p, char err_out[200])
{
    const struct relay_config **relays = calloc(p->n_relays + 1, sizeof(*relays));
    int rc = -1;

    for (size_t i = 0; relays && i < p->n_relays; i++)
        relays[i] = &p->relays[i];
    if (relays)
        rc = engine_reload(e, relays, p->n_relays, err_out);
    free(relays);
    return rc;
}

static int start(struct engine *e, const struct engine_params *p, char err_out[200])
{
    snprintf(err_out, 200, "no memory for the SMTP loops");
    e->n_workers = count_workers(p);
    e->on_trace = p->on_trace;
    e->trace_ctx = p->trace_ctx;
    e->resolver = resolver_new();
    e->workers = calloc(e->n_workers, sizeof(*e->workers));
    if (!e->resolver || !e->workers)
        return -1;
    for (unsigned i = 0; i < e->n_workers; i++)
        if (worker_init(&e->workers[i], e) < 0)
            return -1;
    if (load_first(e, p, err_out) < 0)
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

    if (!e || pthread_mutex_init(&e->lock, NULL) != 0) {
        snprintf(err_out, 200, "no memory");
        free(e);
        return NULL;
    }
    if (start(e, p, err_out) < 0) {
        engine_free(e);
        return NULL;
    }
    return e;
}

void engine_drain(struct engine *e)
{
    if (atomic_exchange(&e->draining, true))
        return;
    for (unsigned i = 0; i < e->n_workers; i++)
        loop_post(e->workers[i].loop, &e->workers[i].drain);
}

static void stop_threads(struct engine *e)
{
    if (e->is_ending)
        return;
    for (unsigned i = 0; e->workers && i < e->n_workers; i++)
        if (e->workers[i].runs)
            loop_stop(e->workers[i].loop);
    for (unsigned i = 0; e->workers && i < e->n_workers; i++)
        if (e->workers[i].runs)
            pthread_join(e->workers[i].thread, NULL);
    e->is_ending = true;
}

void engine_give_up(struct engine *e)
{
    stop_threads(e);
    for (size_t i = 0; i < e->n_places; i++)
        for (struct share *s = e->places[i].shares; s; s = s->next_in_place)
            pool_stop(s->pool);
    for (unsigned i = 0; i < e->n_workers; i++)
        if (e->workers[i].runs && loop_run(e->workers[i].loop) < 0)
            unreachable("a stopped loop waited");
    for (size_t i = 0; i < e->n_places; i++)
        for (struct share *s = e->places[i].shares; s; s = s->next_in_place)
            pool_give_up(s->pool);
}

/* Loops first, then the resolver, whose last answers are letters in loops that stand still: they are read before the
 * pools go. */
void engine_free(struct engine *e)
{
    if (!e)
        return;
    stop_threads(e);
    for (size_t i = 0; i < e->n_places; i++)
        for (struct share *s = e->places[i].shares; s; s = s->next_in_place)
            pool_stop(s->pool);
    resolver_free(e->resolver);
    for (unsigned i = 0; e->workers && i < e->n_workers; i++)
        if (e->workers[i].runs && loop_run(e->workers[i].loop) < 0)
            unreachable("a stopped loop waited");
    for (size_t i = 0; i < e->n_places; i++) {
        free_shares(e->places[i].shares);
        relay_memory_unref(e->places[i].memory);
        relay_settings_unref(e->places[i].settings);
    }
    for (unsigned i = 0; e->workers && i < e->n_workers; i++) {
        loop_free(e->workers[i].loop);
        free(e->workers[i].buffers);
    }
    free(e->workers);
    free(e->places);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

struct relay_memory *engine_get_memory(struct engine *e, size_t relay, const struct relay_config *c)
{
    struct relay_memory *m = NULL;

    get_lock(e);
    if (relay < e->n_places && e->places[relay].settings &&
        relay_memory_is_same_login(&e->places[relay].settings->c, c))
        m = relay_memory_ref(e->places[relay].memory);
    give_lock(e);
    return m;
}

void engine_get_stats(struct engine *e, size_t relay, struct engine_relay_stats *out)
{
    struct engine_relay_stats one;
    unsigned n_open = 0, n = 0;

    *out = (struct engine_relay_stats){.idle = 0};
    get_lock(e);
    if (relay < e->n_places)
        *out = e->places[relay].past;
    for (const struct share *s = relay < e->n_places ? e->places[relay].shares : NULL; s; s = s->next_in_place) {
        pool_get_stats(s->pool, &one);
        out->idle += one.idle;
        out->busy += one.busy;
        out->connecting += one.connecting;
        out->waiting += one.waiting;
        n += s->is_current;
        n_open += s->is_current && one.circuit_open;
        add_counters(out, &one);
    }
    give_lock(e);
    out->circuit_open = n && n_open == n;
}
