#include "smtp/pool.h"

#include "smtp/crypto.h"
#include "smtp/probe.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Sessions of one relay: which are idle, busy, connecting or closing, and which mail each takes next. */

#define LATE_MS 600000                  /* how long an unknown mail's session waits for the reply */
#define LOOK_AFTER_MS 1000              /* a session idle for less has just been watched by the loop: no extra read */
#define SILENT_MS 2000
#define AHEAD_FIRST_MS 1000
#define AHEAD_MAX_MS 60000

/* IDLE: no mail in hand. ROOMY: has some, and could take another one behind them. BUSY: has as many as it may. */
enum pool_conn_state { POOL_CONNECTING, POOL_IDLE, POOL_ROOMY, POOL_BUSY, POOL_CLOSING, POOL_STATES };

struct pool_conn {
    struct list_node node;              /* on pool->conns[state] */
    enum pool_conn_state state;
    struct pool *pool;
    struct conn *conn;
    struct list in_hand;                /* ROOMY, BUSY: deliveries, in the order in which they are answered */
    uint64_t began, idle_since, dies_at;        /* ms */
    unsigned mails;                     /* that it is done with */
    unsigned flights;                   /* of the session, as far as they are counted */
    bool rested;                        /* was idle: it may have died unseen */
    bool silent;                        /* CONNECTING: no banner came; the probe's answer concerns it */
    bool held;                          /* dead before its banner: `held_why` is told unless the probe knows better */
    bool finished;                      /* held, and CONN_FINISHED has come */
    struct smtp_outcome held_why;
};

struct pool {
    struct pool_params p;
    struct relay relay;
    struct tls_context *tls;
    struct list conns[POOL_STATES];     /* IDLE, ROOMY: most recently used first */
    struct list waiting;                /* deliveries, first come first */
    struct loop_timer timer;            /* the next attempt may start; the circuit; idle sessions end */
    struct probe *probe;
    uint64_t ahead_at;                  /* no session is opened ahead before */
    unsigned ahead_unused;              /* sessions in a row that ended without a mail */
    bool dirty, draining, stopped;
    struct {
        _Atomic unsigned lengths[POOL_STATES], waiting, load;
        _Atomic uint64_t circuit_until, opened, resumed, reused, stale, flights, mails;
    } stats;
};

static bool pump(struct pool_conn *pc);

static void count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t now_ms(const struct pool *p)
{
    return loop_now(p->p.loop);
}

static unsigned number(const struct pool *p, enum pool_conn_state state)
{
    return (unsigned)p->conns[state].n;
}

/* Sessions that are logged in. */
static unsigned alive(const struct pool *p)
{
    return number(p, POOL_IDLE) + number(p, POOL_ROOMY) + number(p, POOL_BUSY);
}

static struct pool_conn *first_in(const struct pool *p, enum pool_conn_state state)
{
    struct list_node *node = list_first(&p->conns[state]);

    return node ? LIST_ITEM(node, struct pool_conn, node) : NULL;
}

static void mark_dirty(struct pool *p)
{
    if (p->dirty)
        return;
    p->dirty = true;
    p->p.on_dirty(p->p.ctx, p);
}

static void note_length(struct pool *p, enum pool_conn_state state)
{
    atomic_store_explicit(&p->stats.lengths[state], number(p, state), memory_order_relaxed);
}

static void set_state(struct pool_conn *pc, enum pool_conn_state to)
{
    struct pool *p = pc->pool;
    enum pool_conn_state from = pc->state;

    list_remove(&p->conns[from], &pc->node);
    list_add_first(&p->conns[to], &pc->node);
    pc->state = to;
    note_length(p, from);
    note_length(p, to);
}

static void set_timer_before(struct pool *p, uint64_t due)
{
    if (due != UINT64_MAX && (!p->timer.slot || p->timer.due > due))
        loop_timer_set(p->p.loop, &p->timer, due);
}

/* ---- the waiting list ---- */

static void note_waiting(struct pool *p)
{
    atomic_store_explicit(&p->stats.waiting, (unsigned)p->waiting.n, memory_order_relaxed);
}

static struct delivery *first_waiting(const struct pool *p)
{
    struct list_node *node = list_first(&p->waiting);

    return node ? LIST_ITEM(node, struct delivery_state, node)->d : NULL;
}

static void leave_waiting(struct pool *p, struct delivery *d)
{
    list_remove(&p->waiting, &d->state->node);
    note_waiting(p);
}

static void let_go(struct pool *p, struct delivery *d)
{
    loop_timer_clear(p->p.loop, &d->state->deadline);
    atomic_fetch_sub_explicit(&p->stats.load, 1, memory_order_relaxed);
}

static void end_delivery(struct pool *p, struct delivery *d, const struct smtp_outcome *o)
{
    let_go(p, d);
    delivery_finish(d, o);
}

/* The oldest attempt on its way is the one that the mails at the head of the queue wait for. */
static const struct pool_conn *awaited(const struct pool *p)
{
    struct list_node *node = list_last(&p->conns[POOL_CONNECTING]);

    return node ? LIST_ITEM(node, struct pool_conn, node) : NULL;
}

static void deadline_while_waiting(struct pool *p, struct delivery *d)
{
    const struct pool_conn *pc = awaited(p);
    struct smtp_outcome o;

    outcome_set_local(&o, OUTCOME_DEADLINE_EXCEEDED, pc ? conn_stage(pc->conn) : STAGE_QUEUE, DELIVERY_NOT_SENT,
                      pc ? "the request's deadline passed while the connection was being made"
                         : "the request's deadline passed while the mail waited for a session");
    o.ms = (uint32_t)((clock_us() - d->state->submitted_us) / 1000);
    if (pc) {
        delivery_note_facts(d, conn_facts(pc->conn), true);
        delivery_note_attempt(d, &o, false, (uint32_t)(now_ms(p) - pc->began));
    }
    leave_waiting(p, d);
    end_delivery(p, d, &o);
}

static void on_deadline(struct loop_timer *t)
{
    struct delivery_state *s = LIST_ITEM(t, struct delivery_state, deadline);
    struct pool *p = s->pool;
    struct pool_conn *pc = s->conn;

    if (!pc) {
        deadline_while_waiting(p, s->d);
        return;
    }
    /* Past the last byte nobody can take the mail back: say so now, and let the reply correct it. */
    if (conn_give_up(pc->conn, &s->transaction, now_ms(p) + LATE_MS) &&
        delivery_report_unknown(s->d, conn_flights(pc->conn)) < 0)
        conn_drop(pc->conn, "no memory for a late report");
    pump(pc);
}

void pool_submit(struct pool *p, struct delivery *d)
{
    struct delivery_state *s = d->state;

    s->pool = p;
    s->deadline.on_timer = on_deadline;
    loop_timer_set(p->p.loop, &s->deadline, d->deadline);
    list_add_last(&p->waiting, &s->node);
    note_waiting(p);
    mark_dirty(p);
}

/* ---- lending ---- */

static bool is_worn_out(const struct pool_conn *pc)
{
    unsigned most = pc->pool->relay.config->mails_per_session;

    return (most && pc->mails + pc->in_hand.n >= most) || now_ms(pc->pool) >= pc->dies_at || conn_is_worn(pc->conn);
}

static bool has_room(const struct pool_conn *pc)
{
    return conn_has_room(pc->conn) && !is_worn_out(pc);
}

static void lend(struct pool_conn *pc, struct delivery *d)
{
    struct pool *p = pc->pool;
    bool reused = pc->rested || pc->mails + pc->in_hand.n > 0;

    leave_waiting(p, d);
    list_add_last(&pc->in_hand, &d->state->node);
    pc->silent = false;
    d->state->conn = pc;
    delivery_begin_attempt(d, conn_facts(pc->conn), !reused, conn_flights(pc->conn));
    if (reused)
        count(&p->stats.reused, 1);
    conn_submit(pc->conn, &d->state->transaction);
    set_state(pc, has_room(pc) ? POOL_ROOMY : POOL_BUSY);
}

/* Behind another mail one waits for its reply too, so that is for those for whom no session can be had: none is idle,
 * none is on its way for them, and no more may be opened. */
static size_t surplus(const struct pool *p)
{
    uint64_t when;

    if (p->stopped || p->waiting.n <= p->conns[POOL_CONNECTING].n ||
        relay_may_open(&p->relay, alive(p), number(p, POOL_CONNECTING), now_ms(p), &when))
        return 0;
    return p->waiting.n - p->conns[POOL_CONNECTING].n;
}

/* An idle session, or one with mails in hand, may be as dead as the one that a mail wanting a fresh one was on: such a
 * mail is passed over here. */
static struct delivery *first_for_used(const struct pool *p)
{
    for (struct list_node *node = list_first(&p->waiting); node; node = list_next(&p->waiting, node))
        if (!LIST_ITEM(node, struct delivery_state, node)->wants_fresh)
            return LIST_ITEM(node, struct delivery_state, node)->d;
    return NULL;
}

static void lend_behind(struct pool_conn *pc, size_t most)
{
    struct delivery *d;

    while (most-- && has_room(pc) && (d = first_for_used(pc->pool)))
        lend(pc, d);
}

static void quit(struct pool_conn *pc)
{
    set_state(pc, POOL_CLOSING);
    conn_quit(pc->conn);
    mark_dirty(pc->pool);
}

static void rest(struct pool_conn *pc)
{
    struct pool *p = pc->pool;
    uint64_t ends = now_ms(p) + p->relay.config->idle_ms;

    pc->idle_since = now_ms(p);
    pc->rested = true;
    set_state(pc, POOL_IDLE);
    set_timer_before(p, ends < pc->dies_at ? ends : pc->dies_at);
}

static void on_ready(struct pool_conn *pc)
{
    struct pool *p = pc->pool;
    struct delivery *next = first_waiting(p);

    if (pc->state == POOL_CONNECTING) {
        relay_on_ready(&p->relay);
        atomic_store_explicit(&p->stats.circuit_until, 0, memory_order_relaxed);
        count(&p->stats.opened, 1);
        count(&p->stats.resumed, conn_facts(pc->conn)->tls_resumed);
        mark_dirty(p);                  /* attempts held back by a failure may start now */
    }
    if (p->stopped || (pc->mails && is_worn_out(pc)))
        quit(pc);
    else if (next)
        lend(pc, next);
    else if (p->draining)
        quit(pc);
    else
        rest(pc);
}

static void on_room(struct pool_conn *pc)
{
    set_state(pc, has_room(pc) ? POOL_ROOMY : POOL_BUSY);
    lend_behind(pc, surplus(pc->pool));
}

/* An idle session that is surely alive as far as we can see, or NULL. Stale ones end on the way. */
static struct pool_conn *take_idle(struct pool *p)
{
    struct pool_conn *pc;

    while ((pc = first_in(p, POOL_IDLE))) {
        if (now_ms(p) - pc->idle_since < LOOK_AFTER_MS)
            return pc;
        conn_look(pc->conn);
        if (pump(pc) && pc->state == POOL_IDLE)
            return pc;
    }
    return NULL;
}

/* ---- ends of mails, of attempts, of sessions ---- */

/* A reused session may have been dying unseen; the mail that found out tries once more on a new one. A reply that
 * judges the mail is never tried again. */
static bool deserves_another(const struct delivery *d)
{
    const struct smtp_outcome *o = &d->state->transaction.outcome;

    return !d->state->fresh_session && !d->state->wants_fresh && !d->state->reported && o->delivery == DELIVERY_NOT_SENT &&
           (o->code == OUTCOME_CONNECTION_CLOSED || o->code == OUTCOME_SERVICE_CLOSING || o->reply_code == 421);
}

static void on_done(struct pool_conn *pc, struct smtp_transaction *t)
{
    struct pool *p = pc->pool;
    struct delivery_state *s = LIST_ITEM(t, struct delivery_state, transaction);
    struct delivery *d = s->d;
    unsigned flights = conn_flights(pc->conn);

    list_remove(&pc->in_hand, &s->node);
    pc->mails++;
    p->ahead_unused = 0;
    count(&p->stats.mails, 1);
    count(&p->stats.flights, flights - pc->flights);
    pc->flights = flights;
    if (!s->reported)
        delivery_note_attempt(d, &t->outcome, !s->fresh_session, (uint32_t)((clock_us() - s->lent_us) / 1000));
    if (deserves_another(d)) {
        count(&p->stats.stale, 1);
        s->wants_fresh = true;
        s->conn = NULL;
        s->lent_us = 0;
        memset(s->report->rcpts, 0, s->report->n_rcpts * sizeof(*s->report->rcpts));
        list_add_first(&p->waiting, &s->node);
        note_waiting(p);
        mark_dirty(p);
        return;
    }
    let_go(p, d);
    delivery_finish_transaction(d, flights);
}

static void fail_waiting(struct pool *p, const struct pool_conn *pc, const struct smtp_outcome *o)
{
    struct delivery *d;

    while ((d = first_waiting(p))) {
        delivery_note_facts(d, conn_facts(pc->conn), true);
        delivery_note_attempt(d, o, false, (uint32_t)(now_ms(p) - pc->began));
        leave_waiting(p, d);
        end_delivery(p, d, o);
    }
}

static void attempt_failed(struct pool_conn *pc, const struct smtp_outcome *o)
{
    struct pool *p = pc->pool;
    unsigned others;

    pc->held = false;
    set_state(pc, POOL_CLOSING);
    others = alive(p) + number(p, POOL_CONNECTING);
    relay_on_failed(&p->relay, o, others, pc->began, now_ms(p));
    atomic_store_explicit(&p->stats.circuit_until, p->relay.circuit_until, memory_order_relaxed);
    if (relay_is_password_refused(o->code) && p->p.on_refused)
        p->p.on_refused(p->p.ctx, p, o);        /* before anybody can know of it and send more */
    if (!others)
        fail_waiting(p, pc, o);
    mark_dirty(p);
}

void pool_hear_refused(struct pool *p, const struct smtp_outcome *why)
{
    relay_on_failed(&p->relay, why, 0, now_ms(p), now_ms(p));
    atomic_store_explicit(&p->stats.circuit_until, p->relay.circuit_until, memory_order_relaxed);
    mark_dirty(p);
}

static void set_wrong_port(struct smtp_outcome *o, const struct pool_conn *pc)
{
    outcome_set_local(o, OUTCOME_PLAINTEXT_ON_TLS_PORT, STAGE_BANNER, DELIVERY_NOT_SENT,
                      "the port answers a TLS ClientHello and sends no SMTP banner");
    o->ms = (uint32_t)(now_ms(pc->pool) - pc->began);
}

static void forget(struct pool_conn *pc)
{
    enum pool_conn_state state = pc->state;

    list_remove(&pc->pool->conns[state], &pc->node);
    note_length(pc->pool, state);
    conn_free(pc->conn);
    free(pc);
}

/* The probe's answer, applied to one attempt that was silent or died silent. */
static void judge_silent(struct pool_conn *pc)
{
    struct smtp_outcome wrong_port;
    bool is_tls = pc->pool->relay.probe_is_tls;

    pc->silent = false;
    set_wrong_port(&wrong_port, pc);
    if (!pc->held) {
        if (is_tls)
            conn_fail(pc->conn, &wrong_port);
        pump(pc);
        return;
    }
    attempt_failed(pc, is_tls ? &wrong_port : &pc->held_why);
    if (pc->finished)
        forget(pc);
}

static void on_probed(void *ctx, bool is_tls)
{
    struct pool *p = ctx;
    struct list_node *node, *next;

    p->probe = NULL;
    relay_on_probed(&p->relay, is_tls, now_ms(p));
    for (node = list_first(&p->conns[POOL_CONNECTING]); node; node = next) {
        struct pool_conn *pc = LIST_ITEM(node, struct pool_conn, node);
        next = list_next(&p->conns[POOL_CONNECTING], node);     /* judging one leaves the others where they are */
        if (pc->silent)
            judge_silent(pc);
    }
}

/* False: there is nothing to ask, or no means to. */
static bool ask_probe(struct pool_conn *pc)
{
    struct pool *p = pc->pool;

    if (!p->probe && !p->stopped && conn_peer(pc->conn))
        p->probe = probe_start(p->p.loop, conn_peer(pc->conn), p->relay.config->host, on_probed, p);
    pc->silent = p->probe != NULL;
    return pc->silent;
}

static void on_silent(struct pool_conn *pc)
{
    struct smtp_outcome wrong_port;

    if (pc->state != POOL_CONNECTING)
        return;
    if (!relay_is_probed(&pc->pool->relay, now_ms(pc->pool))) {
        ask_probe(pc);
    } else if (pc->pool->relay.probe_is_tls) {
        set_wrong_port(&wrong_port, pc);
        conn_fail(pc->conn, &wrong_port);
    }
}

static void on_attempt_dead(struct pool_conn *pc, const struct smtp_outcome *why)
{
    struct pool *p = pc->pool;
    struct smtp_outcome wrong_port;
    bool no_banner = p->relay.config->tls_mode == SMTP_TLS_STARTTLS &&
                     why->code == OUTCOME_CONNECTION_CLOSED && why->stage == STAGE_BANNER;

    if (no_banner && !relay_is_probed(&p->relay, now_ms(p)) && ask_probe(pc)) {
        pc->held = true;
        pc->held_why = *why;
        return;
    }
    if (no_banner && relay_is_probed(&p->relay, now_ms(p)) && p->relay.probe_is_tls) {
        set_wrong_port(&wrong_port, pc);
        why = &wrong_port;
    }
    attempt_failed(pc, why);
}

/* Opened ahead and closed by the relay before it was of use: less eagerly, so that nobody is called on once a second. */
static void note_unused(struct pool *p)
{
    p->ahead_at = now_ms(p) + relay_doubled(AHEAD_FIRST_MS, p->ahead_unused++, AHEAD_MAX_MS);
}

static void on_dead(struct pool_conn *pc, const struct conn_event *ev)
{
    struct pool *p = pc->pool;

    if (conn_one_flight_is_off(pc->conn))
        p->relay.one_flight_off = true;
    mark_dirty(p);
    switch (pc->state) {
    case POOL_CONNECTING:
        on_attempt_dead(pc, &ev->outcome);
        return;
    case POOL_IDLE:
        count(&p->stats.stale, 1);
        if (!pc->mails)
            note_unused(p);
        set_state(pc, POOL_CLOSING);
        return;
    case POOL_ROOMY:
    case POOL_BUSY:
        if (pc->in_hand.n)
            unreachable("a session ended and told nothing of a mail");
        set_state(pc, POOL_CLOSING);
        return;
    case POOL_CLOSING:
        return;
    case POOL_STATES:
        break;
    }
    unreachable("pool state");
}

/* Takes all events of a session and lets it write. False: it is gone. */
static bool pump(struct pool_conn *pc)
{
    struct conn_event ev;

    while (conn_next_event(pc->conn, &ev))
        switch (ev.type) {
        case CONN_READY:
            on_ready(pc);
            break;
        case CONN_ROOM:
            on_room(pc);
            break;
        case CONN_DONE:
            on_done(pc, ev.transaction);
            break;
        case CONN_SILENT:
            on_silent(pc);
            break;
        case CONN_DEAD:
            on_dead(pc, &ev);
            break;
        case CONN_FINISHED:
            if (pc->held) {
                pc->finished = true;
                return true;
            }
            forget(pc);
            return false;
        }
    return true;
}

static void on_wake(void *ctx)
{
    pump(ctx);
}

/* ---- opening ---- */

static uint32_t silent_ms(const struct relay_config *c)
{
    if (c->tls_mode != SMTP_TLS_STARTTLS)
        return UINT32_MAX;
    if (c->port == 465)                 /* RFC 8314 §7.3: TLS from the first byte is what this port is for */
        return 0;
    return c->timeouts.banner / 2 < SILENT_MS ? c->timeouts.banner / 2 : SILENT_MS;
}

/* ±20 %, so that sessions opened together do not end together. */
static uint64_t spread(uint32_t ms)
{
    uint32_t random;

    crypto_random(&random, sizeof(random));
    return (uint64_t)ms * 4 / 5 + (uint64_t)ms * 2 / 5 * (random % 1024) / 1023;
}

static int open_one(struct pool *p)
{
    const struct relay_config *config = p->relay.config;
    struct pool_conn *pc = calloc(1, sizeof(*pc));
    struct conn_params cp = {
        .loop = p->p.loop,
        .resolver = p->p.resolver,
        .buffers = p->p.buffers,
        .config = config,
        .tls = p->tls,
        .one_flight_max = p->relay.one_flight_off ? 0 : config->one_flight_max,
        .no_chunking = p->relay.one_flight_off,
        .silent_ms = silent_ms(config),
        .on_wake = on_wake,
        .ctx = pc,
    };

    if (!pc)
        return -1;
    pc->pool = p;
    pc->state = POOL_CONNECTING;
    list_init(&pc->in_hand);
    pc->began = now_ms(p);
    pc->dies_at = config->lifetime_ms ? pc->began + spread(config->lifetime_ms) : UINT64_MAX;
    pc->conn = conn_open(&cp);
    if (!pc->conn) {
        free(pc);
        return -1;
    }
    list_add_first(&p->conns[POOL_CONNECTING], &pc->node);
    note_length(p, POOL_CONNECTING);
    return 0;
}

static void open_some(struct pool *p)
{
    uint64_t when = UINT64_MAX;

    while (p->waiting.n > p->conns[POOL_CONNECTING].n &&
           relay_may_open(&p->relay, alive(p), number(p, POOL_CONNECTING), now_ms(p), &when))
        if (open_one(p) < 0) {
            when = now_ms(p) + RELAY_DELAY_FIRST_MS;
            break;
        }
    if (p->waiting.n > p->conns[POOL_CONNECTING].n)
        set_timer_before(p, when);
}

/* The first mail after a quiet time finds a session open. What fails is tried again at the pace of any attempt; a
 * refused password only for a mail. */
static void open_ahead(struct pool *p)
{
    unsigned least = p->relay.config->min_idle;
    uint64_t when = UINT64_MAX;

    if (!least || p->draining || relay_is_password_refused(p->relay.failures ? p->relay.cause.code : OUTCOME_SENT))
        return;
    while (alive(p) + number(p, POOL_CONNECTING) < least) {
        if (p->ahead_at > now_ms(p))
            when = p->ahead_at;
        else if (!relay_may_open(&p->relay, alive(p), number(p, POOL_CONNECTING), now_ms(p), &when))
            ;
        else if (open_one(p) == 0)
            continue;
        else
            when = now_ms(p) + RELAY_DELAY_FIRST_MS;
        set_timer_before(p, when);
        return;
    }
}

static void fail_unavailable(struct pool *p)
{
    struct delivery *d;
    struct smtp_outcome o;

    outcome_set_local(&o, OUTCOME_RELAY_UNAVAILABLE, STAGE_QUEUE, DELIVERY_NOT_SENT,
                      "the relay failed a moment ago and is not tried before the pause is over");
    while ((d = first_waiting(p))) {
        d->state->report->cause = p->relay.cause;
        d->state->report->retry_after_s = relay_retry_after_s(&p->relay, now_ms(p));
        leave_waiting(p, d);
        end_delivery(p, d, &o);
    }
}

static void lend_idle(struct pool *p)
{
    struct delivery *d;
    struct pool_conn *pc;

    while ((d = first_for_used(p)) && (pc = take_idle(p))) {
        lend(pc, d);
        pump(pc);
    }
}

/* Those for whom there is no session of their own, evenly among those that have mails in hand. */
static void lend_roomy(struct pool *p)
{
    size_t n = surplus(p), roomy = p->conns[POOL_ROOMY].n, each;
    struct pool_conn *pc;

    if (!n || !roomy)
        return;
    each = (n + roomy - 1) / roomy;
    while (roomy-- && (n = surplus(p)) > 0 && p->conns[POOL_ROOMY].n) {
        pc = LIST_ITEM(list_last(&p->conns[POOL_ROOMY]), struct pool_conn, node);
        lend_behind(pc, each < n ? each : n);
        if (pc->state == POOL_ROOMY)
            set_state(pc, has_room(pc) ? POOL_ROOMY : POOL_BUSY);
        pump(pc);
    }
}

/* Mails that want a fresh session while idle ones fill the limit. */
static void make_room(struct pool *p)
{
    struct list_node *oldest = list_last(&p->conns[POOL_IDLE]);
    struct pool_conn *pc;

    if (!p->waiting.n || !oldest || number(p, POOL_CONNECTING) ||
        alive(p) < p->relay.config->max_sessions)
        return;
    pc = LIST_ITEM(oldest, struct pool_conn, node);
    quit(pc);
    pump(pc);
}

void pool_run(struct pool *p)
{
    p->dirty = false;
    if (p->stopped)
        return;
    lend_idle(p);
    make_room(p);
    if (!alive(p) && !p->conns[POOL_CONNECTING].n && relay_is_circuit_open(&p->relay, now_ms(p)))
        fail_unavailable(p);
    open_some(p);
    open_ahead(p);
    lend_roomy(p);
}

void pool_start(struct pool *p)
{
    mark_dirty(p);
}

/* ---- time ---- */

/* Of all sessions the min_idle used last stay until they are too old. */
static void end_old_idle(struct pool *p)
{
    struct list_node *node, *next;
    unsigned kept = alive(p) - number(p, POOL_IDLE);

    for (node = list_first(&p->conns[POOL_IDLE]); node; node = next) {
        struct pool_conn *pc = LIST_ITEM(node, struct pool_conn, node);
        uint64_t ends = kept++ < p->relay.config->min_idle ? UINT64_MAX : pc->idle_since + p->relay.config->idle_ms;
        next = list_next(&p->conns[POOL_IDLE], node);           /* ending one leaves the others where they are */
        if (pc->dies_at < ends)
            ends = pc->dies_at;
        if (ends > now_ms(p)) {
            set_timer_before(p, ends);
            continue;
        }
        quit(pc);
        pump(pc);
    }
}

static void on_timer(struct loop_timer *t)
{
    struct pool *p = LIST_ITEM(t, struct pool, timer);

    end_old_idle(p);
    mark_dirty(p);
}

void pool_drain(struct pool *p)
{
    struct pool_conn *pc;

    p->draining = true;
    while ((pc = first_in(p, POOL_IDLE))) {
        quit(pc);
        pump(pc);
    }
}

void pool_stop(struct pool *p)
{
    p->stopped = true;
}

/* ---- life ---- */

struct pool *pool_new(const struct pool_params *params, char err_out[200])
{
    const struct relay_config *c = params->config;
    struct tls_client_params tp = {
        .host = c->host, .ca_file = c->ca_file, .ca_pem = c->ca_pem, .crl_file = c->crl_file, .pins = c->pins,
    };
    struct pool *p = calloc(1, sizeof(*p));

    if (!p) {
        memcpy(err_out, "no memory", sizeof("no memory"));
        return NULL;
    }
    p->p = *params;
    relay_init(&p->relay, c);
    for (int i = 0; i < POOL_STATES; i++)
        list_init(&p->conns[i]);
    list_init(&p->waiting);
    p->timer.on_timer = on_timer;
    if (c->tls_mode != SMTP_TLS_NONE) {
        p->tls = tls_context_new_client(&tp, err_out);
        if (!p->tls) {
            free(p);
            return NULL;
        }
    }
    return p;
}

/* The engine ends while the mail is on a session: what is known of it is what the session knows. */
static void end_running(struct pool_conn *pc, struct delivery_state *s)
{
    struct smtp_outcome o;
    bool gone = conn_body_is_gone(pc->conn, &s->transaction);

    if (gone)
        outcome_set_local(&o, OUTCOME_OUTCOME_UNKNOWN, STAGE_BODY, DELIVERY_UNKNOWN, "mailhatch stopped");
    else
        outcome_set_local(&o, OUTCOME_SHUTTING_DOWN, conn_stage(pc->conn), DELIVERY_NOT_SENT, "mailhatch stopped");
    list_remove(&pc->in_hand, &s->node);
    end_delivery(pc->pool, s->d, &o);
}

void pool_free(struct pool *p)
{
    struct delivery *d;
    struct smtp_outcome o;

    if (!p)
        return;
    p->stopped = true;
    outcome_set_local(&o, OUTCOME_SHUTTING_DOWN, STAGE_QUEUE, DELIVERY_NOT_SENT, "mailhatch stopped");
    while ((d = first_waiting(p))) {
        leave_waiting(p, d);
        end_delivery(p, d, &o);
    }
    for (int i = 0; i < POOL_STATES; i++)
        for (struct pool_conn *pc; (pc = first_in(p, (enum pool_conn_state)i));) {
            while (pc->in_hand.n)
                end_running(pc, LIST_ITEM(list_first(&pc->in_hand), struct delivery_state, node));
            forget(pc);
        }
    probe_cancel(p->probe);
    loop_timer_clear(p->p.loop, &p->timer);
    tls_context_free(p->tls);
    free(p);
}

void pool_get_stats(const struct pool *p, struct engine_relay_stats *out)
{
    *out = (struct engine_relay_stats){
        .idle = atomic_load_explicit(&p->stats.lengths[POOL_IDLE], memory_order_relaxed),
        .busy = atomic_load_explicit(&p->stats.lengths[POOL_ROOMY], memory_order_relaxed) +
                atomic_load_explicit(&p->stats.lengths[POOL_BUSY], memory_order_relaxed),
        .connecting = atomic_load_explicit(&p->stats.lengths[POOL_CONNECTING], memory_order_relaxed),
        .waiting = atomic_load_explicit(&p->stats.waiting, memory_order_relaxed),
        .circuit_open = atomic_load_explicit(&p->stats.circuit_until, memory_order_relaxed) > clock_us() / 1000,
        .opened = atomic_load_explicit(&p->stats.opened, memory_order_relaxed),
        .resumed = atomic_load_explicit(&p->stats.resumed, memory_order_relaxed),
        .reused = atomic_load_explicit(&p->stats.reused, memory_order_relaxed),
        .stale = atomic_load_explicit(&p->stats.stale, memory_order_relaxed),
        .flights = atomic_load_explicit(&p->stats.flights, memory_order_relaxed),
        .mails = atomic_load_explicit(&p->stats.mails, memory_order_relaxed),
    };
}

unsigned pool_get_load(const struct pool *p)
{
    return atomic_load_explicit(&p->stats.load, memory_order_relaxed);
}

void pool_expect(struct pool *p)
{
    atomic_fetch_add_explicit(&p->stats.load, 1, memory_order_relaxed);
}
