#include "smtp/pool_int.h"

#include "smtp/crypto.h"

#include <stdlib.h>

/* Opening sessions: for mails that wait, and ahead of them; and what it means when an attempt fails. */

#define SILENT_MS 2000
#define CLEANING_MS 200
#define SILENT_465_MS 300               /* RFC 8314 §7.3: TLS from the first byte is what this port is for */
#define OTHERS_MS 50                    /* so often a look at what another pool of the relay has begun */
#define AHEAD_FIRST_MS 1000
#define AHEAD_MAX_MS 60000

/* ±20 %, so that sessions opened together do not end together. */
static uint64_t spread(uint32_t ms)
{
    uint32_t random;

    crypto_random(&random, sizeof(random));
    return (uint64_t)ms * 4 / 5 + (uint64_t)ms * 2 / 5 * (random % 1024) / 1023;
}

static uint32_t silent_ms(const struct relay_config *c)
{
    uint32_t ms;

    if (c->tls_mode != SMTP_TLS_STARTTLS)
        return UINT32_MAX;
    ms = c->port == 465 ? SILENT_465_MS : SILENT_MS;
    return c->timeouts.banner / 2 < ms ? c->timeouts.banner / 2 : ms;
}

static void on_wake(void *ctx)
{
    pool_pump(ctx);
}

static void on_trace(void *ctx, bool from_client, const char *line)
{
    struct pool_conn *pc = ctx;

    pc->pool->p.on_trace(pc->pool->p.ctx, pc->pool, pc->number, from_client, line);
}

static int open_one(struct pool *p)
{
    static atomic_uint sessions;
    const struct relay_config *config = p->relay.config;
    struct pool_conn *pc = calloc(1, sizeof(*pc));
    struct conn_params cp = {
        .loop = p->p.loop,
        .resolver = p->p.resolver,
        .buffers = p->p.buffers,
        .config = config,
        .tls = p->tls,
        .proofs = &p->proofs,
        .silent_ms = silent_ms(config),
        .on_wake = on_wake,
        .on_trace = p->p.on_trace && config->trace ? on_trace : NULL,
        .ctx = pc,
    };

    if (!pc)
        return -1;
    pc->pool = p;
    pc->number = 1 + atomic_fetch_add_explicit(&sessions, 1, memory_order_relaxed);
    pc->state = POOL_CONNECTING;
    list_init(&pc->in_hand);
    pc->began = pool_now(p);
    pc->dies_at = config->lifetime_ms ? pc->began + spread(config->lifetime_ms) : UINT64_MAX;
    pc->conn = conn_open(&cp);
    if (!pc->conn) {
        free(pc);
        return -1;
    }
    list_add_first(&p->conns[POOL_CONNECTING], &pc->node);
    pool_note_length(p, POOL_CONNECTING);
    return 0;
}

/* One that cleans itself takes a round trip where a new one takes five; it is not waited for longer than that. The
 * oldest one is the last. */
size_t pool_expected(const struct pool *p)
{
    size_t n = p->conns[POOL_CONNECTING].n;

    for (struct list_node *node = list_first(&p->conns[POOL_CLEANING]); node;
         node = list_next(&p->conns[POOL_CLEANING], node)) {
        if (LIST_ITEM(node, struct pool_conn, node)->idle_since + CLEANING_MS <= pool_now(p))
            break;
        n++;
    }
    return n;
}

/* ---- the password ---- */

static void heed(struct pool *p, const struct smtp_outcome *why, uint64_t until)
{
    relay_on_refused_elsewhere(&p->relay, why, until);
    atomic_store_explicit(&p->stats.circuit_until, until, memory_order_relaxed);
}

void pool_heed_refusal(struct pool *p)
{
    struct smtp_outcome why;
    uint64_t until;

    if (p->relay.config->user && relay_memory_is_refused(p->p.memory, pool_now(p), &until, &why) &&
        p->relay.circuit_until < until)
        heed(p, &why, until);
}

/* May one more session show it? *when_out: else when that may change. */
static bool may_log_in(struct pool *p, uint64_t *when_out)
{
    struct smtp_outcome why;

    if (!p->relay.config->user)
        return true;
    switch (relay_memory_begin_login(p->p.memory, pool_now(p), when_out, &why)) {
    case RELAY_LOGIN_GO:
        return true;
    case RELAY_LOGIN_WAIT:
        if (!p->conns[POOL_CONNECTING].n)               /* else our own attempt tells */
            *when_out = pool_now(p) + OTHERS_MS;
        return false;
    case RELAY_LOGIN_REFUSED:
        heed(p, &why, *when_out);
        pool_mark_dirty(p);
        return false;
    }
    unreachable("a login's verdict");
}

static void note_login(struct pool *p, const struct smtp_outcome *o)
{
    if (!p->relay.config->user)
        return;
    if (relay_is_password_refused(o->code))
        relay_memory_on_refused(p->p.memory, o, pool_now(p));
    else
        relay_memory_on_undecided(p->p.memory);
}

/* ---- opening ---- */

static bool may_open(struct pool *p, uint64_t *when_out)
{
    return relay_may_open(&p->relay, pool_alive(p), pool_number(p, POOL_CONNECTING), pool_now(p), when_out) &&
           may_log_in(p, when_out);
}

static int open_or_give_up(struct pool *p)
{
    if (open_one(p) == 0)
        return 0;
    if (p->relay.config->user)
        relay_memory_on_undecided(p->p.memory);
    return -1;
}

void pool_open_some(struct pool *p)
{
    uint64_t when = UINT64_MAX;

    while (p->waiting.n > pool_expected(p) && may_open(p, &when))
        if (open_or_give_up(p) < 0) {
            when = pool_now(p) + RELAY_DELAY_FIRST_MS;
            break;
        }
    if (p->waiting.n > pool_expected(p))
        pool_set_timer_before(p, when);
    else if (p->waiting.n && p->conns[POOL_CLEANING].n)
        pool_set_timer_before(p, pool_now(p) + CLEANING_MS);
}

/* Opened ahead and closed by the relay before it was of use: less eagerly, or it would be called on for ever. Those
 * that a relay closes all at once, as when it restarts, are one reason to wait, not several. */
void pool_note_unused(struct pool *p)
{
    if (p->ahead_at > pool_now(p))
        return;
    p->ahead_at = pool_now(p) + relay_doubled(AHEAD_FIRST_MS, p->ahead_unused++, AHEAD_MAX_MS);
}

/* When one more session may be opened ahead; UINT64_MAX: only when one ends. */
static uint64_t next_ahead(struct pool *p)
{
    uint64_t when;

    if (p->ahead_at > pool_now(p))
        return p->ahead_at;
    return may_open(p, &when) ? 0 : when;
}

/* The first mail after a quiet time finds a session open. What fails is tried again at the pace of any attempt; a
 * refused password only for a mail. */
void pool_open_ahead(struct pool *p)
{
    uint64_t when = 0;

    if (p->draining || (p->relay.failures && relay_is_password_refused(p->relay.cause.code)))
        return;
    while (pool_alive(p) + pool_number(p, POOL_CONNECTING) < p->relay.config->min_idle && !when) {
        when = next_ahead(p);
        if (!when && open_or_give_up(p) < 0)
            when = pool_now(p) + RELAY_DELAY_FIRST_MS;
    }
    if (when)
        pool_set_timer_before(p, when);
}

/* ---- how attempts end ---- */

void pool_attempt_ready(struct pool_conn *pc)
{
    struct pool *p = pc->pool;

    relay_memory_on_greeted(p->p.memory);
    if (p->relay.config->user)
        relay_memory_on_accepted(p->p.memory);
    relay_on_ready(&p->relay);
    atomic_store_explicit(&p->stats.circuit_until, 0, memory_order_relaxed);
}

/* Whatever it said then, it spoke SMTP. */
static bool has_greeted(const struct pool *p, const struct smtp_outcome *o)
{
    return o->reply_code || o->stage > STAGE_BANNER ||
           (o->stage == STAGE_TLS && p->relay.config->tls_mode == SMTP_TLS_STARTTLS);
}

static void attempt_failed(struct pool_conn *pc, const struct smtp_outcome *o)
{
    struct pool *p = pc->pool;
    unsigned others;

    if (has_greeted(p, o))
        relay_memory_on_greeted(p->p.memory);
    note_login(p, o);
    pc->held = false;
    pool_set_state(pc, POOL_CLOSING);
    others = pool_alive(p) + pool_number(p, POOL_CONNECTING);
    relay_on_failed(&p->relay, o, others, pc->began, pool_now(p));
    atomic_store_explicit(&p->stats.circuit_until, p->relay.circuit_until, memory_order_relaxed);
    if (relay_is_password_refused(o->code) && p->p.on_refused)
        p->p.on_refused(p->p.ctx, p, o);        /* before anybody can know of it and send more */
    if (!others)
        pool_fail_waiting(p, pc, o);
    pool_mark_dirty(p);
}

void pool_hear_refused(struct pool *p, const struct smtp_outcome *why)
{
    relay_on_failed(&p->relay, why, 0, pool_now(p), pool_now(p));
    atomic_store_explicit(&p->stats.circuit_until, p->relay.circuit_until, memory_order_relaxed);
    pool_mark_dirty(p);
}

static void set_wrong_port(struct smtp_outcome *o, const struct pool_conn *pc)
{
    outcome_set_local(o, OUTCOME_PLAINTEXT_ON_TLS_PORT, STAGE_BANNER, DELIVERY_NOT_SENT,
                      "the port answers a TLS ClientHello and sends no SMTP banner");
    o->ms = (uint32_t)(pool_now(pc->pool) - pc->began);
}

/* The probe's answer, applied to one attempt that was silent or died silent. */
static void judge_silent(struct pool_conn *pc, bool is_tls)
{
    struct smtp_outcome wrong_port;

    pc->silent = false;
    set_wrong_port(&wrong_port, pc);
    if (!pc->held) {
        if (is_tls && !conn_has_heard(pc->conn))
            conn_fail(pc->conn, &wrong_port);
        pool_pump(pc);
        return;
    }
    attempt_failed(pc, is_tls ? &wrong_port : &pc->held_why);
    if (pc->finished)
        pool_forget(pc);
}

void pool_judge_silent(struct pool *p)
{
    enum relay_port port = relay_memory_get_port(p->p.memory, pool_now(p));
    struct list_node *node, *next;

    for (node = list_first(&p->conns[POOL_CONNECTING]); node && !p->probe; node = next) {
        struct pool_conn *pc = LIST_ITEM(node, struct pool_conn, node);
        next = list_next(&p->conns[POOL_CONNECTING], node);     /* judging one leaves the others where they are */
        if (pc->silent && port == RELAY_PORT_PROBING)
            pool_set_timer_before(p, pool_now(p) + OTHERS_MS);  /* another pool asks */
        else if (pc->silent)
            judge_silent(pc, port == RELAY_PORT_IS_TLS);
    }
}

static void on_probed(void *ctx, bool is_tls)
{
    struct pool *p = ctx;

    p->probe = NULL;
    relay_memory_on_probed(p->p.memory, is_tls, pool_now(p));
    pool_judge_silent(p);
}

/* What comes of it, pool_judge_silent says. Who speaks to a server before it has greeted is taken for a spammer
 * (Postfix postscreen: PREGREET), so that is done once, and never to one that is known to greet. */
static bool ask_probe(struct pool_conn *pc)
{
    struct pool *p = pc->pool;

    if (conn_has_heard(pc->conn) || p->stopped || !conn_peer(pc->conn))
        return false;
    if (!p->probe && relay_memory_begin_probe(p->p.memory, pool_now(p))) {
        p->probe = probe_start(p->p.loop, conn_peer(pc->conn), p->relay.config->host, on_probed, p);
        if (!p->probe)
            relay_memory_on_probed(p->p.memory, false, pool_now(p));
    }
    if (!p->probe && relay_memory_get_port(p->p.memory, pool_now(p)) == RELAY_PORT_PROBING)
        pool_set_timer_before(p, pool_now(p) + OTHERS_MS);
    else if (!p->probe)
        return false;
    pc->silent = true;
    return true;
}

static bool is_tls_port(struct pool *p)
{
    return relay_memory_get_port(p->p.memory, pool_now(p)) == RELAY_PORT_IS_TLS;
}

void pool_attempt_silent(struct pool_conn *pc)
{
    struct smtp_outcome wrong_port;

    if (pc->state != POOL_CONNECTING)
        return;
    if (is_tls_port(pc->pool)) {
        set_wrong_port(&wrong_port, pc);
        conn_fail(pc->conn, &wrong_port);
    } else {
        (void)ask_probe(pc);
    }
}

void pool_attempt_dead(struct pool_conn *pc, const struct smtp_outcome *why)
{
    struct pool *p = pc->pool;
    struct smtp_outcome wrong_port;
    bool no_banner = p->relay.config->tls_mode == SMTP_TLS_STARTTLS && !conn_has_heard(pc->conn) &&
                     why->code == OUTCOME_CONNECTION_CLOSED && why->stage == STAGE_BANNER;

    if (no_banner && !is_tls_port(p) && ask_probe(pc)) {
        pc->held = true;
        pc->held_why = *why;
        return;
    }
    if (no_banner && is_tls_port(p)) {
        set_wrong_port(&wrong_port, pc);
        why = &wrong_port;
    }
    attempt_failed(pc, why);
}
