#include "smtp/conn_int.h"

#include "smtp/idn.h"
#include "smtp/list.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* One socket, with TLS or without, that drives one smtp_session and hands its events to the pool. */

#define CLOSE_MS 1000                   /* for the last bytes of a dead session */
#define TURN_MAX (256 * 1024)           /* a body of megabytes does not keep the loop from the other sessions */
#define USER_TIMEOUT_SLACK_MS 10000

/* ---- the socket's and the timer's callbacks ---- */

static void on_ready(struct loop_io *io, uint32_t events)
{
    struct conn *c = LIST_ITEM(io, struct conn, io);

    c->turn = 0;
    if (events & EPOLLOUT)
        c->blocked = false;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        if (c->dead_told)
            conn_close_socket(c);            /* nobody is left to read it */
        else
            c->ops->read(c);
    }
    c->p.on_wake(c->p.ctx);
}

static void limit_passed(struct conn *c)
{
    char reason[100];

    c->limit = UINT64_MAX;
    if (c->dead_told) {
        conn_close_socket(c);
        return;
    }
    if (c->phase == PHASE_DNS) {
        snprintf(reason, sizeof(reason), "no answer from the name servers within %u ms", c->p.config->dns_ms);
        conn_fail_local(c, OUTCOME_DNS_FAILED, STAGE_DNS, reason);
        return;
    }
    snprintf(reason, sizeof(reason), "the TLS handshake did not end within %u ms", c->p.config->timeouts.tls);
    conn_fail_local(c, OUTCOME_TIMEOUT, STAGE_TLS, reason);
}

static void on_timer(struct loop_timer *t)
{
    struct conn *c = LIST_ITEM(t, struct conn, timer);
    uint64_t now = conn_now(c);

    if (c->limit <= now)
        limit_passed(c);
    if (c->silent_at <= now) {
        c->silent_at = UINT64_MAX;
        c->silent = c->phase == PHASE_TALK && !c->heard;
    }
    if (c->phase == PHASE_TALK && !c->dead_told && smtp_session_deadline(c->session) <= now)
        smtp_session_tick(c->session, now);
    c->p.on_wake(c->p.ctx);
}

static void set_timer(struct conn *c)
{
    uint64_t due = c->limit < c->silent_at ? c->limit : c->silent_at;

    if (c->phase == PHASE_TALK && !c->dead_told && smtp_session_deadline(c->session) < due)
        due = smtp_session_deadline(c->session);
    if (due == UINT64_MAX)
        loop_timer_clear(c->p.loop, &c->timer);
    else
        loop_timer_set(c->p.loop, &c->timer, due);
}

/* ---- opening: name, address, session ---- */

static bool is_loopback(const struct resolve_address *a)
{
    if (a->addr.ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)&a->addr)->sin_addr.s_addr) >> 24 == 127;
    return a->addr.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&a->addr)->sin6_addr);
}

static const char only_loopback[] = "tls: none is allowed for loopback addresses only";

static bool is_fqdn(char *name)
{
    if (idn_root_dot(bytes_view_str(name)))
        name[strlen(name) - 1] = '\0';  /* RFC 5321 §4.1.2: Domain ends in a label */
    if (!strchr(name, '.') || name[0] == '.' || name[strlen(name) - 1] == '.')
        return false;
    for (const char *s = name; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '-' && *s != '.')
            return false;
    return true;
}

/* RFC 5321 §4.1.4: the client's FQDN, or an address literal when it has none. */
static void find_ehlo_name(struct conn *c)
{
    struct resolve_address local = {.len = sizeof(local.addr)};
    char text[64];

    if (c->p.config->ehlo_name) {
        snprintf(c->ehlo_name, sizeof(c->ehlo_name), "%s", c->p.config->ehlo_name);
        return;
    }
    if (gethostname(c->ehlo_name, sizeof(c->ehlo_name) - 1) == 0 && is_fqdn(c->ehlo_name))
        return;
    if (getsockname(c->io.fd, (struct sockaddr *)&local.addr, &local.len) < 0) {
        snprintf(c->ehlo_name, sizeof(c->ehlo_name), "[127.0.0.1]");
        return;
    }
    resolve_address_text(&local, text);
    snprintf(c->ehlo_name, sizeof(c->ehlo_name), "[%s%s]", local.addr.ss_family == AF_INET6 ? "IPv6:" : "", text);
}

static void set_options(struct conn *c)
{
    static const int on = 1, keep_idle = 30, keep_every = 10, keep_count = 3;
    unsigned user_timeout = c->p.config->timeouts.write_stall + USER_TIMEOUT_SLACK_MS;

    /* None of them is worth a mail when it is refused. */
    setsockopt(c->io.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(c->io.fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(c->io.fd, IPPROTO_TCP, TCP_KEEPIDLE, &keep_idle, sizeof(keep_idle));
    setsockopt(c->io.fd, IPPROTO_TCP, TCP_KEEPINTVL, &keep_every, sizeof(keep_every));
    setsockopt(c->io.fd, IPPROTO_TCP, TCP_KEEPCNT, &keep_count, sizeof(keep_count));
    setsockopt(c->io.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof(user_timeout));
}

static void on_trace_line(void *ctx, bool from_client, const char *line)
{
    struct conn *c = ctx;

    c->p.on_trace(c->p.ctx, from_client, line);
}

static int begin_trace(struct conn *c)
{
    char words[100];

    c->trace = malloc(sizeof(*c->trace));
    if (!c->trace)
        return -1;
    trace_init(c->trace, on_trace_line, c);
    trace_hide(c->trace, c->p.config->secrets, false);
    snprintf(words, sizeof(words), "connected to %s port %u", c->facts.address, c->p.config->port);
    trace_note(c->trace, words);
    return 0;
}

static int make_session(struct conn *c)
{
    const struct relay_config *config = c->p.config;
    struct smtp_session_params sp = {
        .ehlo_name = c->ehlo_name,
        .tls_mode = config->tls_mode,
        .user = config->user,
        .password = config->password,
        .secrets = config->secrets,
        .timeouts = config->timeouts,
        .one_flight_max = config->one_flight_max,
        .extensions_off = config->extensions_off,
        .proofs = c->p.proofs,
        .one_flight_idle = config->one_flight_idle_ms,
        .depth = config->pipeline_depth,
    };

    find_ehlo_name(c);
    c->session = smtp_session_new(&sp);
    return c->session && (!c->p.on_trace || begin_trace(c) == 0) ? 0 : -1;
}

static void begin_talk(struct conn *c)
{
    struct smtp_outcome why;

    if (c->p.config->tls_mode == SMTP_TLS_IMPLICIT) {
        if (c->ops->start_tls(c, &why) < 0)
            conn_fail(c, &why);
        return;
    }
    c->phase = PHASE_TALK;
    if (c->p.silent_ms != UINT32_MAX)
        c->silent_at = conn_now(c) + c->p.silent_ms;
    smtp_session_start(c->session, conn_now(c));
}

static void fail_dialed(struct conn *c, const struct smtp_outcome *why)
{
    struct smtp_outcome o = *why;

    if (c->facts.address_age_s)
        snprintf(o.reason, sizeof(o.reason), "%.120s (an address of %u s ago: no name server answers now)", why->reason,
                 c->facts.address_age_s);
    conn_fail(c, &o);
}

static void on_dialed(void *ctx, const struct dial_result *r)
{
    struct conn *c = ctx;

    c->dial = NULL;
    c->facts.connect_us = (uint32_t)(clock_us() - c->facts.started_us);
    if (r->fd < 0) {
        fail_dialed(c, &r->failure);
        c->p.on_wake(c->p.ctx);
        return;
    }
    c->io.fd = r->fd;
    c->peer = r->address;
    resolve_address_text(&c->peer, c->facts.address);
    set_options(c);
    if (loop_add(c->p.loop, &c->io, EPOLLIN) < 0 || make_session(c) < 0)
        conn_fail_local(c, OUTCOME_INTERNAL_ERROR, STAGE_CONNECT, "no memory for a session");
    else if (c->p.config->tls_mode == SMTP_TLS_NONE && !is_loopback(&c->peer))
        conn_fail_local(c, OUTCOME_CONNECT_FAILED, STAGE_CONNECT, only_loopback);
    else
        begin_talk(c);
    c->p.on_wake(c->p.ctx);
}

/* With tls: none other addresses are not even connected to. */
static size_t keep_loopback(struct resolve_answer *a)
{
    size_t n = 0;

    for (size_t i = 0; i < a->n; i++)
        if (is_loopback(&a->v[i]))
            a->v[n++] = a->v[i];
    return n;
}

static void on_answer(void *ctx, struct resolve_answer *a)
{
    struct conn *c = ctx;
    struct dial_params dp = {
        .loop = c->p.loop,
        .v = a->v,
        .n = a->n,
        .connect_ms = c->p.config->connect_ms,
        .connect_total_ms = c->p.config->connect_total_ms,
        .on_done = on_dialed,
        .ctx = c,
    };

    c->lookup_runs = false;
    c->limit = UINT64_MAX;
    c->facts.address_age_s = a->age_s;
    if (a->ok && c->p.config->tls_mode == SMTP_TLS_NONE)
        dp.n = keep_loopback(a);
    if (!a->ok) {
        conn_fail(c, &a->failure);
    } else if (!dp.n) {
        conn_fail_local(c, OUTCOME_CONNECT_FAILED, STAGE_CONNECT, only_loopback);
    } else if (!c->failed && !c->dead_told) {
        c->phase = PHASE_CONNECT;
        c->dial = dial_start(&dp);
        if (!c->dial)
            conn_fail_local(c, OUTCOME_INTERNAL_ERROR, STAGE_CONNECT, "no memory for a connection");
    }
    c->p.on_wake(c->p.ctx);
}

struct conn *conn_open(const struct conn_params *p)
{
    struct conn *c = calloc(1, sizeof(*c));
    char host[256];

    if (!c)
        return NULL;
    c->p = *p;
    c->io.fd = -1;
    c->io.on_ready = on_ready;
    c->timer.on_timer = on_timer;
    c->ops = &conn_plain_ops;
    c->facts.started_us = clock_us();
    c->silent_at = UINT64_MAX;
    c->limit = conn_now(c) + p->config->dns_ms;
    relay_settings_lookup_name(p->config, host);
    if (resolver_lookup(p->resolver, host, p->config->port, p->loop, on_answer, c) < 0) {
        free(c);
        return NULL;
    }
    c->lookup_runs = true;
    set_timer(c);
    return c;
}

void conn_free(struct conn *c)
{
    if (!c)
        return;
    loop_timer_clear(c->p.loop, &c->timer);
    dial_cancel(c->dial);
    conn_close_socket(c);
    smtp_session_free(c->session);
    if (c->trace)
        trace_deinit(c->trace);
    free(c->trace);
    tls_free(c->tls);
    free(c);
}

/* ---- events ---- */

/* The step that failed took what the steps before it did not. */
static void note_time_of_failure(struct conn *c)
{
    uint32_t rest = (uint32_t)(clock_us() - c->facts.started_us) - c->facts.connect_us - c->facts.tls_us;

    switch (c->phase) {
    case PHASE_DNS:
    case PHASE_CONNECT:
        c->facts.connect_us += rest;
        break;
    case PHASE_TLS:
        c->facts.tls_us += rest;
        break;
    case PHASE_TALK:
        c->facts.auth_us = rest;
        break;
    }
}

static bool tell_dead(struct conn *c, struct conn_event *ev, const struct smtp_outcome *why, bool quit_ok)
{
    if (!c->was_ready)
        note_time_of_failure(c);
    if (conn_has_taken_back(c))
        conn_close_socket(c);
    ev->type = CONN_DEAD;
    ev->outcome = *why;
    ev->quit_ok = quit_ok;
    c->dead_told = true;
    c->silent_at = UINT64_MAX;
    c->limit = conn_now(c) + CLOSE_MS;
    dial_cancel(c->dial);
    c->dial = NULL;
    return true;
}

static bool pull_session(struct conn *c, struct conn_event *ev)
{
    struct smtp_event sev;

    while (!c->failed && smtp_session_next_event(c->session, &sev))
        switch (sev.type) {
        case SMTP_EV_NONE:
            break;
        case SMTP_EV_START_TLS:
            conn_start_tls(c);
            break;
        case SMTP_EV_READY:
            if (!smtp_session_is_ready(c->session))
                break;                  /* a 421 came with the verdict: the next event says so */
            if (!c->was_ready)
                c->facts.auth_us = (uint32_t)(clock_us() - c->facts.started_us) - c->facts.connect_us - c->facts.tls_us;
            c->was_ready = true;
            c->silent_at = UINT64_MAX;
            ev->type = CONN_READY;
            return true;
        case SMTP_EV_DONE:
            ev->type = CONN_DONE;
            ev->transaction = sev.transaction;
            return true;
        case SMTP_EV_DEAD:
            ev->doubts_last = sev.doubts_last;
            return tell_dead(c, ev, &sev.outcome, sev.quit_ok);
        }
    return false;
}

/* Told once each time that room is made while mails are in hand. */
static bool has_new_room(struct conn *c)
{
    bool had = c->room_told;

    c->room_told = !c->failed && c->was_ready && conn_has_room(c) && !smtp_session_is_ready(c->session);
    return c->room_told && !had;
}

static bool pull(struct conn *c, struct conn_event *ev)
{
    ev->doubts_last = false;
    if (c->dead_told)
        return false;
    if (!c->failed && c->silent && !c->silent_told) {
        c->silent_told = true;
        ev->type = CONN_SILENT;
        return true;
    }
    if (!c->failed && c->session && c->phase != PHASE_CONNECT && pull_session(c, ev))
        return true;
    if (has_new_room(c)) {
        ev->type = CONN_ROOM;
        return true;
    }
    return c->failed && tell_dead(c, ev, &c->failure, false);
}

static bool flush(struct conn *c)
{
    if (c->io.fd < 0 || c->blocked || c->failed || c->phase < PHASE_TLS)
        return false;
    if (c->turn >= TURN_MAX) {          /* EPOLLOUT comes at once, behind what the others have */
        c->blocked = true;
        return false;
    }
    return c->ops->write(c);
}

bool conn_next_event(struct conn *c, struct conn_event *ev)
{
    do
        if (pull(c, ev))
            return true;
    while (flush(c) || (c->failed && !c->dead_told));
    if (c->dead_told && !c->blocked && !c->lookup_runs) {
        if (c->io.fd >= 0 && !c->failed)
            c->ops->close(c);
        conn_close_socket(c);
        loop_timer_clear(c->p.loop, &c->timer);
        ev->type = CONN_FINISHED;
        return true;
    }
    if (c->io.fd >= 0)
        loop_mod(c->p.loop, &c->io, (c->dead_told ? 0 : (uint32_t)EPOLLIN) | (c->blocked ? (uint32_t)EPOLLOUT : 0));
    set_timer(c);
    return false;
}

/* ---- what the pool asks for ---- */

void conn_submit(struct conn *c, struct smtp_transaction *t)
{
    if (c->trace)
        c->trace->n_lines = 0;          /* the bound is for each mail */
    smtp_session_submit(c->session, t, conn_now(c));
}

bool conn_has_room(const struct conn *c)
{
    return !c->failed && !c->dead_told && smtp_session_has_room(c->session);
}

bool conn_is_cleaning(const struct conn *c)
{
    return !c->failed && !c->dead_told && smtp_session_is_cleaning(c->session);
}

bool conn_is_worn(const struct conn *c)
{
    return smtp_session_is_worn(c->session);
}

void conn_look(struct conn *c)
{
    if (c->io.fd >= 0)
        c->ops->read(c);
}

bool conn_give_up(struct conn *c, const struct smtp_transaction *t, uint64_t until)
{
    return smtp_session_give_up(c->session, t, until, conn_now(c));
}

void conn_quit(struct conn *c)
{
    smtp_session_quit(c->session, conn_now(c));
}

enum stage conn_stage(const struct conn *c)
{
    switch (c->phase) {
    case PHASE_DNS:
        return STAGE_DNS;
    case PHASE_CONNECT:
        return STAGE_CONNECT;
    case PHASE_TLS:
        return STAGE_TLS;
    case PHASE_TALK:
        return smtp_session_stage(c->session);
    }
    unreachable("conn phase");
}

bool conn_has_heard(const struct conn *c)
{
    return c->heard;
}

bool conn_body_is_gone(const struct conn *c, const struct smtp_transaction *t)
{
    return smtp_session_body_is_gone(c->session, t);
}

unsigned conn_flights(const struct conn *c)
{
    return smtp_session_flights(c->session);
}

const struct conn_facts *conn_facts(const struct conn *c)
{
    return &c->facts;
}

const struct resolve_address *conn_peer(const struct conn *c)
{
    return c->facts.address[0] ? &c->peer : NULL;
}
