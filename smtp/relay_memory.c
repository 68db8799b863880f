#include "smtp/relay_memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* What this process knows of a relay, for all its pools and diagnoses. */

struct relay_memory {
    atomic_uint refs;
    _Atomic uint64_t refused_until;     /* written under the lock */
    pthread_mutex_t lock;               /* guards all below */
    bool greeted, probed, is_tls;       /* probed: is_tls counts */
    uint64_t probed_at;                 /* or begun at; 0: never */
    bool accepted;                      /* since it was last refused */
    bool was_refused;                   /* since it was last accepted */
    uint64_t trial_until;               /* somebody shows it now; 0: nobody */
    struct smtp_outcome why;            /* was_refused */
};

struct relay_memory *relay_memory_new(void)
{
    struct relay_memory *m = calloc(1, sizeof(*m));

    if (!m)
        return NULL;
    atomic_init(&m->refs, 1);
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

struct relay_memory *relay_memory_ref(struct relay_memory *m)
{
    atomic_fetch_add(&m->refs, 1);
    return m;
}

void relay_memory_unref(struct relay_memory *m)
{
    if (!m || atomic_fetch_sub(&m->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static bool is_same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool is_same_server(const struct relay_config *a, const struct relay_config *b)
{
    return is_same_text(a->host, b->host) && a->port == b->port && a->tls_mode == b->tls_mode;
}

bool relay_memory_is_same_login(const struct relay_config *a, const struct relay_config *b)
{
    return is_same_server(a, b) && is_same_text(a->user, b->user) && is_same_text(a->password, b->password);
}

struct relay_memory *relay_memory_next(struct relay_memory *m, const struct relay_config *before,
                                       const struct relay_config *after)
{
    struct relay_memory *next;

    if (relay_memory_is_same_login(before, after))
        return relay_memory_ref(m);
    next = relay_memory_new();
    if (!next || !is_same_server(before, after))
        return next;
    pthread_mutex_lock(&m->lock);
    next->greeted = m->greeted;
    next->probed = m->probed;
    next->is_tls = m->is_tls;
    next->probed_at = m->probed_at;
    pthread_mutex_unlock(&m->lock);
    return next;
}

/* ---- the port ---- */

void relay_memory_on_greeted(struct relay_memory *m)
{
    pthread_mutex_lock(&m->lock);
    m->greeted = true;
    pthread_mutex_unlock(&m->lock);
}

static bool is_recent(const struct relay_memory *m, uint64_t now)
{
    return m->probed_at && now < m->probed_at + RELAY_MEMORY_PROBE_MS;
}

bool relay_memory_begin_probe(struct relay_memory *m, uint64_t now)
{
    bool may;

    pthread_mutex_lock(&m->lock);
    may = !m->greeted && !is_recent(m, now);
    if (may) {
        m->probed = false;
        m->probed_at = now;
    }
    pthread_mutex_unlock(&m->lock);
    return may;
}

void relay_memory_on_probed(struct relay_memory *m, bool is_tls, uint64_t now)
{
    pthread_mutex_lock(&m->lock);
    m->probed = true;
    m->is_tls = is_tls;
    m->probed_at = now;
    pthread_mutex_unlock(&m->lock);
}

static enum relay_port port_now(const struct relay_memory *m, uint64_t now)
{
    if (m->greeted)
        return RELAY_PORT_IS_NOT_TLS;
    if (!is_recent(m, now))
        return RELAY_PORT_UNKNOWN;
    if (!m->probed)
        return now < m->probed_at + RELAY_MEMORY_PROBING_MS ? RELAY_PORT_PROBING : RELAY_PORT_IS_NOT_TLS;
    return m->is_tls ? RELAY_PORT_IS_TLS : RELAY_PORT_IS_NOT_TLS;
}

enum relay_port relay_memory_get_port(struct relay_memory *m, uint64_t now)
{
    enum relay_port port;

    pthread_mutex_lock(&m->lock);
    port = port_now(m, now);
    pthread_mutex_unlock(&m->lock);
    return port;
}

/* ---- the password ---- */

/* A password that was accepted may be shown by any number of sessions. One that never was, or was refused last, is
 * shown by one at a time: when it is wrong, each further one counts at the account. */
static enum relay_login begin_login(struct relay_memory *m, uint64_t now, uint64_t *when_out,
                                    struct smtp_outcome *why_out)
{
    if (m->accepted)
        return RELAY_LOGIN_GO;
    if (now < m->refused_until) {
        *when_out = m->refused_until;
        *why_out = m->why;
        return RELAY_LOGIN_REFUSED;
    }
    if (now < m->trial_until) {
        *when_out = m->trial_until;
        return RELAY_LOGIN_WAIT;
    }
    m->trial_until = now + (m->was_refused ? RELAY_MEMORY_REFUSED_MS : RELAY_MEMORY_TRIAL_MS);
    return RELAY_LOGIN_GO;
}

enum relay_login relay_memory_begin_login(struct relay_memory *m, uint64_t now, uint64_t *when_out,
                                          struct smtp_outcome *why_out)
{
    enum relay_login verdict;

    pthread_mutex_lock(&m->lock);
    verdict = begin_login(m, now, when_out, why_out);
    pthread_mutex_unlock(&m->lock);
    return verdict;
}

void relay_memory_on_accepted(struct relay_memory *m)
{
    pthread_mutex_lock(&m->lock);
    m->accepted = true;
    m->was_refused = false;
    m->refused_until = m->trial_until = 0;
    pthread_mutex_unlock(&m->lock);
}

void relay_memory_on_refused(struct relay_memory *m, const struct smtp_outcome *why, uint64_t now)
{
    pthread_mutex_lock(&m->lock);
    m->accepted = false;
    m->was_refused = true;
    m->refused_until = now + RELAY_MEMORY_REFUSED_MS;
    m->trial_until = 0;
    m->why = *why;
    pthread_mutex_unlock(&m->lock);
}

void relay_memory_on_undecided(struct relay_memory *m)
{
    pthread_mutex_lock(&m->lock);
    m->trial_until = 0;
    pthread_mutex_unlock(&m->lock);
}

bool relay_memory_is_refused(struct relay_memory *m, uint64_t now, uint64_t *until_out, struct smtp_outcome *why_out)
{
    bool refused;

    if (now >= atomic_load_explicit(&m->refused_until, memory_order_relaxed))
        return false;
    pthread_mutex_lock(&m->lock);
    *until_out = m->refused_until;
    refused = now < *until_out;
    if (refused)
        *why_out = m->why;
    pthread_mutex_unlock(&m->lock);
    return refused;
}
