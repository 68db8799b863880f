#ifndef SMTP_POOL_INT_H
#define SMTP_POOL_INT_H
/* The pool's inside: shared by pool.c (mails and sessions), pool_open.c (attempts) and nobody else. */
#include "smtp/pool.h"
#include "smtp/probe.h"
#include "smtp/relay_memory.h"

#include <stdatomic.h>

/* IDLE: no mail in hand. ROOMY: has some, and could take another one behind them. BUSY: has as many as it may.
 * CLEANING: has none, and is idle again after one more reply. */
enum pool_conn_state {
    POOL_CONNECTING, POOL_IDLE, POOL_ROOMY, POOL_BUSY, POOL_CLEANING, POOL_CLOSING, POOL_STATES
};

struct pool_conn {
    struct list_node node;              /* on pool->conns[state] */
    enum pool_conn_state state;
    struct pool *pool;
    struct conn *conn;
    struct list in_hand;                /* ROOMY, BUSY: deliveries, in the order in which they are answered */
    uint64_t began, idle_since, dies_at;        /* ms; idle_since: CLEANING since, too */
    unsigned mails;                     /* that it is done with */
    unsigned taken;                     /* of these, by the relay */
    struct delivery_trail last;         /* the last one that was taken; its id is empty before */
    unsigned number;                    /* names it in a trace */
    unsigned flights;                   /* of the session, as far as they are counted */
    bool rested;                        /* was idle: it may have died unseen */
    bool silent;                        /* CONNECTING: no octet came; the probe's answer concerns it */
    bool held;                          /* dead before its banner: `held_why` is told unless the probe knows better */
    bool finished;                      /* held, and CONN_FINISHED has come */
    struct smtp_outcome held_why;
};

struct pool {
    struct pool_params p;
    struct relay relay;
    struct smtp_proofs proofs;
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
        _Atomic uint64_t circuit_until, opened, resumed, old_address, reused, stale, flights, mails;
    } stats;
};

/* Only the pool's loop writes them, so no locked addition is needed. */
static inline void pool_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline uint64_t pool_now(const struct pool *p)
{
    return loop_now(p->p.loop);
}

static inline unsigned pool_number(const struct pool *p, enum pool_conn_state state)
{
    return (unsigned)p->conns[state].n;
}

/* Sessions that are logged in. */
static inline unsigned pool_alive(const struct pool *p)
{
    return pool_number(p, POOL_IDLE) + pool_number(p, POOL_ROOMY) + pool_number(p, POOL_BUSY) +
           pool_number(p, POOL_CLEANING);
}

static inline struct pool_conn *pool_first(const struct pool *p, enum pool_conn_state state)
{
    struct list_node *node = list_first(&p->conns[state]);

    return node ? LIST_ITEM(node, struct pool_conn, node) : NULL;
}

void pool_mark_dirty(struct pool *p);                   /* wants pool_run before the loop waits */
void pool_set_timer_before(struct pool *p, uint64_t due);       /* and then at `due` at the latest */
void pool_set_state(struct pool_conn *pc, enum pool_conn_state to);
void pool_note_length(struct pool *p, enum pool_conn_state state);
bool pool_pump(struct pool_conn *pc);                   /* takes all events, lets it write. False: it is gone */
void pool_forget(struct pool_conn *pc);
/* Whoever waits gets the outcome of the attempt that was made for him. */
void pool_fail_waiting(struct pool *p, const struct pool_conn *pc, const struct smtp_outcome *o);

/* Sessions that the mails at the head of the queue may have in a moment. */
size_t pool_expected(const struct pool *p);
void pool_open_some(struct pool *p);                    /* for those who wait, as far as limits and delays allow */
void pool_open_ahead(struct pool *p);                   /* up to min_idle */
void pool_note_unused(struct pool *p);                  /* a session ended that no mail had used */
void pool_heed_refusal(struct pool *p);                 /* of the password, that others met */
void pool_attempt_ready(struct pool_conn *pc);
void pool_judge_silent(struct pool *p);                 /* once it is known what the port speaks */
void pool_attempt_silent(struct pool_conn *pc);         /* connected, and no octet came */
void pool_attempt_dead(struct pool_conn *pc, const struct smtp_outcome *why);
#endif
