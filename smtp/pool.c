#include "smtp/pool_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sessions of one relay: which are idle, busy, connecting or closing, and which mail each takes next. */

#define MANY 64                         /* sessions: up to here 2 MB of TLS buffers are nothing */
#define LATE_MS 600000                  /* how long an unknown mail's session waits for the reply */
#define LOOK_AFTER_MS 1000      /* a session idle for less has just been watched by the loop: no extra read, unless a
                                 * mail may have come after the loop's last look */

void pool_mark_dirty(struct pool *p)
{
    if (p->dirty)
        return;
    p->dirty = true;
    p->p.on_dirty(p->p.ctx, p);
}

void pool_note_length(struct pool *p, enum pool_conn_state state)
{
    atomic_store_explicit(&p->stats.lengths[state], pool_number(p, state), memory_order_relaxed);
}

void pool_set_state(struct pool_conn *pc, enum pool_conn_state to)
{
    struct pool *p = pc->pool;
    enum pool_conn_state from = pc->state;

    list_remove(&p->conns[from], &pc->node);
    list_add_first(&p->conns[to], &pc->node);
    pc->state = to;
    pool_note_length(p, from);
    pool_note_length(p, to);
}

void pool_set_timer_before(struct pool *p, uint64_t due)
{
    if (due != UINT64_MAX && (!p->timer.is_set || p->timer.due > due))
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

/* why: "the request's deadline passed" … */
static void end_waiting(struct pool *p, struct delivery *d, enum outcome_code code, const char *why)
{
    const struct pool_conn *pc = awaited(p);
    struct smtp_outcome o;
    char reason[120];

    snprintf(reason, sizeof(reason), "%s while the %s", why,
             pc ? "connection was being made" : "mail waited for a session");
    outcome_set_local(&o, code, pc ? conn_stage(pc->conn) : STAGE_QUEUE, DELIVERY_NOT_SENT, reason);
    o.ms = (uint32_t)((clock_us() - d->state->submitted_us) / 1000);
    if (pc) {
        delivery_note_facts(d, conn_facts(pc->conn), true);
        delivery_note_attempt(d, &o, false, (uint32_t)(pool_now(p) - pc->began));
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
        end_waiting(p, s->d, OUTCOME_DEADLINE_EXCEEDED, "the request's deadline passed");
        return;
    }
    /* Past the last byte nobody can take the mail back: say so now, and let the reply correct it. */
    if (conn_give_up(pc->conn, &s->transaction, pool_now(p) + LATE_MS) &&
        delivery_report_unknown(s->d, conn_flights(pc->conn)) < 0)
        conn_drop(pc->conn, "no memory for a late report");
    pool_pump(pc);
}

void pool_submit(struct pool *p, struct delivery *d)
{
    struct delivery_state *s = d->state;

    s->pool = p;
    s->deadline.on_timer = on_deadline;
    loop_timer_set(p->p.loop, &s->deadline, d->deadline);
    list_add_last(&p->waiting, &s->node);
    note_waiting(p);
    pool_mark_dirty(p);
}

struct delivery *pool_give_back(struct pool *p)
{
    struct delivery *d = first_waiting(p);

    if (!d)
        return NULL;
    leave_waiting(p, d);
    let_go(p, d);
    return d;
}

/* ---- lending ---- */

static bool is_worn_out(const struct pool_conn *pc)
{
    unsigned most = relay_mails_per_session(&pc->pool->relay, pool_now(pc->pool));

    return (most && pc->mails + pc->in_hand.n >= most) || pool_now(pc->pool) >= pc->dies_at || conn_is_worn(pc->conn);
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
        pool_count(&p->stats.reused, 1);
    conn_submit(pc->conn, &d->state->transaction);
    pool_set_state(pc, has_room(pc) ? POOL_ROOMY : POOL_BUSY);
}

/* Behind another mail one waits for its reply too, so that is for those for whom no session can be had: none is idle,
 * none is on its way for them, and no more may be opened. */
static size_t surplus(const struct pool *p)
{
    uint64_t when;

    if (p->stopped || p->waiting.n <= pool_expected(p) ||
        relay_may_open(&p->relay, pool_alive(p), pool_number(p, POOL_CONNECTING), pool_now(p), &when))
        return 0;
    return p->waiting.n - pool_expected(p);
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
    pool_set_state(pc, POOL_CLOSING);
    conn_quit(pc->conn);
    pool_mark_dirty(pc->pool);
}

static void rest(struct pool_conn *pc)
{
    struct pool *p = pc->pool;
    uint64_t ends = pool_now(p) + p->relay.config->idle_ms;

    pc->idle_since = pool_now(p);
    pc->rested = true;
    pool_set_state(pc, POOL_IDLE);
    pool_set_timer_before(p, ends < pc->dies_at ? ends : pc->dies_at);
}

static void on_ready(struct pool_conn *pc)
{
    struct pool *p = pc->pool;
    struct delivery *next = first_waiting(p);

    if (pc->state == POOL_CONNECTING) {
        pool_attempt_ready(pc);
        pool_count(&p->stats.opened, 1);
        pool_count(&p->stats.resumed, conn_facts(pc->conn)->tls_resumed);
        pool_count(&p->stats.old_address, conn_facts(pc->conn)->address_age_s != 0);
        pool_mark_dirty(p);                  /* attempts held back by a failure may start now */
    }
    if (pc->state == POOL_CLEANING)
        pool_mark_dirty(p);             /* a mail that wants a new session waited for this one in vain */
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
    pool_set_state(pc, has_room(pc) ? POOL_ROOMY : POOL_BUSY);
    lend_behind(pc, surplus(pc->pool));
}

/* An idle session that is surely alive as far as we can see, or NULL. Stale ones end on the way. */
static struct pool_conn *take_idle(struct pool *p)
{
    struct pool_conn *pc;

    while ((pc = pool_first(p, POOL_IDLE))) {
        if (pool_now(p) - pc->idle_since < LOOK_AFTER_MS && !loop_is_late(p->p.loop))
            return pc;
        conn_look(pc->conn);
        if (pool_pump(pc) && pc->state == POOL_IDLE)
            return pc;
    }
    return NULL;
}

/* ---- ends of mails, of attempts, of sessions ---- */

/* A reused session may have been dying unseen, or have had its share of mails; the mail that found out goes on a new
 * one, or on one that has just shown that it lives. What may be on its way to somebody is never tried again, nor what
 * was refused as itself. */
static bool deserves_another(const struct delivery *d)
{
    const struct smtp_outcome *o = &d->state->transaction.outcome;

    return !d->state->fresh_session && d->state->report->n_attempts < DELIVERY_ATTEMPTS_MAX && !d->state->reported &&
           (o->delivery == DELIVERY_NOT_SENT || o->delivery == DELIVERY_REJECTED) && o->whose == WHOSE_SESSION;
}

static void note_result(struct pool_conn *pc, struct delivery *d)
{
    struct smtp_outcome *o = &d->state->transaction.outcome;

    if (o->code == OUTCOME_SENT) {
        pc->taken++;
        delivery_get_trail(d, &pc->last);
    } else if (o->code == OUTCOME_SESSION_LIMIT && pc->mails > 1) {
        relay_on_session_limit(&pc->pool->relay, pc->taken, pool_now(pc->pool));
    }
    if (d->state->fresh_session)
        outcome_on_fresh_session(o);
}

/* At the head of the queue: it has been there before. */
static void wait_again(struct pool *p, struct delivery *d)
{
    list_add_first(&p->waiting, &d->state->node);
    note_waiting(p);
    pool_mark_dirty(p);
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
    pool_count(&p->stats.mails, 1);
    pool_count(&p->stats.flights, flights - pc->flights);
    pc->flights = flights;
    note_result(pc, d);
    if (!s->reported && !(s->part && t->outcome.code == OUTCOME_SENT))
        delivery_note_attempt(d, &t->outcome, !s->fresh_session, (uint32_t)((clock_us() - s->lent_us) / 1000));
    if (conn_is_cleaning(pc->conn)) {
        pc->idle_since = pool_now(p);
        pool_set_state(pc, POOL_CLEANING);
    }
    if (deserves_another(d)) {
        pool_count(&p->stats.stale, 1);
        s->wants_fresh = true;
        delivery_forget_attempt(d);
        wait_again(p, d);
        return;
    }
    if (delivery_take_rest(d)) {
        wait_again(p, d);
        return;
    }
    let_go(p, d);
    delivery_finish_transaction(d, flights);
}

void pool_fail_waiting(struct pool *p, const struct pool_conn *pc, const struct smtp_outcome *o)
{
    struct delivery *d;

    while ((d = first_waiting(p))) {
        delivery_note_facts(d, conn_facts(pc->conn), true);
        delivery_note_attempt(d, o, false, (uint32_t)(pool_now(p) - pc->began));
        leave_waiting(p, d);
        end_delivery(p, d, o);
    }
}

void pool_forget(struct pool_conn *pc)
{
    enum pool_conn_state state = pc->state;

    list_remove(&pc->pool->conns[state], &pc->node);
    pool_note_length(pc->pool, state);
    conn_free(pc->conn);
    free(pc);
}

static void on_dead(struct pool_conn *pc, const struct conn_event *ev)
{
    struct pool *p = pc->pool;

    if (ev->doubts_last)
        delivery_report_doubt(&pc->last, &ev->outcome);
    pool_mark_dirty(p);
    switch (pc->state) {
    case POOL_CONNECTING:
        pool_attempt_dead(pc, &ev->outcome);
        return;
    case POOL_IDLE:
        pool_count(&p->stats.stale, 1);
        if (!pc->mails)
            pool_note_unused(p);
        pool_set_state(pc, POOL_CLOSING);
        return;
    case POOL_CLEANING:
        pool_count(&p->stats.stale, 1);
        pool_set_state(pc, POOL_CLOSING);
        return;
    case POOL_ROOMY:
    case POOL_BUSY:
        if (pc->in_hand.n)
            unreachable("a session ended and told nothing of a mail");
        pool_set_state(pc, POOL_CLOSING);
        return;
    case POOL_CLOSING:
        return;
    case POOL_STATES:
        break;
    }
    unreachable("pool state");
}

/* Takes all events of a session and lets it write. False: it is gone. */
bool pool_pump(struct pool_conn *pc)
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
            pool_attempt_silent(pc);
            break;
        case CONN_DEAD:
            on_dead(pc, &ev);
            break;
        case CONN_FINISHED:
            if (pc->held) {
                pc->finished = true;
                return true;
            }
            pool_forget(pc);
            return false;
        }
    return true;
}

/* ---- lending what is there ---- */

static void fail_unavailable(struct pool *p)
{
    struct delivery *d;
    struct smtp_outcome o;

    outcome_set_local(&o, OUTCOME_RELAY_UNAVAILABLE, STAGE_QUEUE, DELIVERY_NOT_SENT,
                      "the relay failed a moment ago and is not tried before the pause is over");
    while ((d = first_waiting(p))) {
        d->state->report->cause = p->relay.cause;
        d->state->report->retry_after_s = relay_retry_after_s(&p->relay, pool_now(p));
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
        pool_pump(pc);
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
            pool_set_state(pc, has_room(pc) ? POOL_ROOMY : POOL_BUSY);
        pool_pump(pc);
    }
}

/* Mails that want a fresh session while idle ones fill the limit. */
static void make_room(struct pool *p)
{
    struct list_node *oldest = list_last(&p->conns[POOL_IDLE]);
    struct pool_conn *pc;

    if (!p->waiting.n || !oldest || pool_number(p, POOL_CONNECTING) ||
        pool_alive(p) < p->relay.config->max_sessions)
        return;
    pc = LIST_ITEM(oldest, struct pool_conn, node);
    quit(pc);
    pool_pump(pc);
}

void pool_run(struct pool *p)
{
    p->dirty = false;
    if (p->stopped)
        return;
    pool_heed_refusal(p);
    lend_idle(p);
    make_room(p);
    if (!pool_alive(p) && !p->conns[POOL_CONNECTING].n && relay_is_circuit_open(&p->relay, pool_now(p)))
        fail_unavailable(p);
    pool_open_some(p);
    pool_open_ahead(p);
    lend_roomy(p);
}

void pool_start(struct pool *p)
{
    pool_mark_dirty(p);
}

/* ---- time ---- */

/* Of all sessions the min_idle used last stay until they are too old. */
static void end_old_idle(struct pool *p)
{
    struct list_node *node, *next;
    unsigned kept = pool_alive(p) - pool_number(p, POOL_IDLE);

    for (node = list_first(&p->conns[POOL_IDLE]); node; node = next) {
        struct pool_conn *pc = LIST_ITEM(node, struct pool_conn, node);
        uint64_t ends = kept++ < p->relay.config->min_idle ? UINT64_MAX : pc->idle_since + p->relay.config->idle_ms;
        next = list_next(&p->conns[POOL_IDLE], node);           /* ending one leaves the others where they are */
        if (pc->dies_at < ends)
            ends = pc->dies_at;
        if (ends > pool_now(p)) {
            pool_set_timer_before(p, ends);
            continue;
        }
        quit(pc);
        pool_pump(pc);
    }
}

static void on_timer(struct loop_timer *t)
{
    struct pool *p = LIST_ITEM(t, struct pool, timer);

    end_old_idle(p);
    pool_judge_silent(p);
    pool_mark_dirty(p);
}

void pool_drain(struct pool *p)
{
    struct pool_conn *pc;

    p->draining = true;
    while ((pc = pool_first(p, POOL_IDLE))) {
        quit(pc);
        pool_pump(pc);
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
        .many = c->max_sessions > MANY,
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

/* ---- the end ---- */

/* The engine ends while the mail is on a session: what is known of it is what the session knows. */
static void end_running(struct pool_conn *pc, struct delivery_state *s)
{
    struct smtp_outcome o;
    bool gone = conn_body_is_gone(pc->conn, &s->transaction);

    if (gone)
        outcome_set_local(&o, OUTCOME_OUTCOME_UNKNOWN, STAGE_BODY, DELIVERY_UNKNOWN, "mailhatch stopped");
    else
        outcome_set_local(&o, OUTCOME_SHUTTING_DOWN, conn_stage(pc->conn), DELIVERY_NOT_SENT, "mailhatch stopped");
    o.ms = (uint32_t)((clock_us() - s->lent_us) / 1000);
    if (!s->reported)
        delivery_note_attempt(s->d, &o, !s->fresh_session, o.ms);
    list_remove(&pc->in_hand, &s->node);
    end_delivery(pc->pool, s->d, &o);
}

/* A verdict may lie in the socket: it counts. */
static void hear_last_words(struct pool *p)
{
    static const enum pool_conn_state states[] = {POOL_ROOMY, POOL_BUSY};
    struct list_node *node, *next;

    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        for (node = list_first(&p->conns[states[i]]); node; node = next) {
            struct pool_conn *pc = LIST_ITEM(node, struct pool_conn, node);
            next = list_next(&p->conns[states[i]], node);       /* hearing one leaves the others where they are */
            if (!pc->in_hand.n)
                continue;
            conn_look(pc->conn);
            pool_pump(pc);
        }
}

void pool_give_up(struct pool *p)
{
    struct delivery *d;

    p->stopped = true;
    hear_last_words(p);
    while ((d = first_waiting(p)))
        end_waiting(p, d, OUTCOME_SHUTTING_DOWN, "mailhatch stopped");
    for (int i = 0; i < POOL_STATES; i++)
        for (struct list_node *node = list_first(&p->conns[i]); node; node = list_next(&p->conns[i], node)) {
            struct pool_conn *pc = LIST_ITEM(node, struct pool_conn, node);
            while (pc->in_hand.n)
                end_running(pc, LIST_ITEM(list_first(&pc->in_hand), struct delivery_state, node));
        }
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    pool_give_up(p);
    for (int i = 0; i < POOL_STATES; i++)
        for (struct pool_conn *pc; (pc = pool_first(p, (enum pool_conn_state)i));)
            pool_forget(pc);
    probe_cancel(p->probe);
    loop_timer_clear(p->p.loop, &p->timer);
    tls_context_free(p->tls);
    free(p);
}

bool pool_is_empty(const struct pool *p)
{
    size_t n = p->waiting.n;

    for (int i = 0; i < POOL_STATES; i++)
        n += p->conns[i].n;
    return n == 0 && !p->probe;
}

/* Of its own, or by a password that others saw refused. */
static bool is_circuit_open(const struct pool *p)
{
    uint64_t now = clock_us() / 1000, until;
    struct smtp_outcome why;

    return atomic_load_explicit(&p->stats.circuit_until, memory_order_relaxed) > now ||
           (p->relay.config->user && relay_memory_is_refused(p->p.memory, now, &until, &why));
}

void pool_get_stats(const struct pool *p, struct engine_relay_stats *out)
{
    *out = (struct engine_relay_stats){
        .idle = atomic_load_explicit(&p->stats.lengths[POOL_IDLE], memory_order_relaxed) +
                atomic_load_explicit(&p->stats.lengths[POOL_CLEANING], memory_order_relaxed),
        .busy = atomic_load_explicit(&p->stats.lengths[POOL_ROOMY], memory_order_relaxed) +
                atomic_load_explicit(&p->stats.lengths[POOL_BUSY], memory_order_relaxed),
        .connecting = atomic_load_explicit(&p->stats.lengths[POOL_CONNECTING], memory_order_relaxed),
        .waiting = atomic_load_explicit(&p->stats.waiting, memory_order_relaxed),
        .circuit_open = is_circuit_open(p),
        .opened = atomic_load_explicit(&p->stats.opened, memory_order_relaxed),
        .resumed = atomic_load_explicit(&p->stats.resumed, memory_order_relaxed),
        .old_address = atomic_load_explicit(&p->stats.old_address, memory_order_relaxed),
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
