#include "smtp/resolve.h"

#include "smtp/list.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Host names to addresses: getaddrinfo on threads of its own, with one look-up for many waiters, a small memory, and
 * the last good addresses for the time in which the name servers do not answer. */

#define LOOKUPS_MAX 16                  /* at once: so many names may hang before others wait for them */
#define THREADS_MAX (LOOKUPS_MAX + 1)   /* one looks at the clock for those who wait with old addresses at hand */
#define NAMES_MAX 256
#define KEEP_ANSWER_US (60 * 1000000ull)
#define KEEP_FAILURE_US (1 * 1000000ull)        /* a relay whose name is back is back */
#define PATIENCE_US (1 * 1000000ull)    /* RFC 8767 §5: "client response timer"; then old addresses will do */
#define KEEP_OLD_US (24 * 3600 * 1000000ull)    /* RFC 8767 §5: "between 1 and 3 days" */
#define IDLE_US (5 * 1000000ull)        /* a thread without work ends */

enum name_state { NAME_WAITING, NAME_RUNNING, NAME_KNOWN };

/* One host's look-up and, afterwards, its answer. */
struct name {
    struct list_node node;
    char *host;
    enum name_state state;
    uint64_t until_us;                  /* KNOWN: asked for after that, it is looked up again */
    uint64_t asked_us;                  /* else: when this look-up was asked for first */
    struct waiter *waiters;
    struct resolve_answer answer;       /* of the last look-up: the addresses without port, or the failure */
    struct resolve_answer good;         /* the last one with addresses; n is 0: there was none */
    uint64_t good_us;                   /* when that came */
};

struct waiter {
    struct waiter *next;
    struct loop *loop;
    struct resolve_answer *answer;      /* allocated when asked, so that answering cannot fail */
    uint16_t port;
};

struct resolver {
    pthread_mutex_t lock;               /* guards all below */
    pthread_cond_t work, left;          /* there is something to do; a thread has ended */
    struct list names;                  /* least recently asked first */
    size_t n_threads, running;          /* all; those that are in getaddrinfo */
    size_t waiting;                     /* names that wait for a thread */
    bool stopping;
    bool abandoned;                     /* the last thread frees it */
};

/* ---- addresses ---- */

void resolve_set_port(struct resolve_address *a, uint16_t port)
{
    if (a->addr.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&a->addr)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)&a->addr)->sin_port = htons(port);
}

void resolve_address_text(const struct resolve_address *a, char out[64])
{
    const void *p = a->addr.ss_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)&a->addr)->sin6_addr
                                                  : (const void *)&((const struct sockaddr_in *)&a->addr)->sin_addr;

    if (!inet_ntop(a->addr.ss_family, p, out, 64))
        snprintf(out, 64, "?");
}

/* "192.0.2.1", "::1", "[::1]" */
static bool literal(const char *host, struct resolve_address *out)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&out->addr;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out->addr;
    char bare[INET6_ADDRSTRLEN];
    size_t n = strlen(host);

    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        out->addr.ss_family = AF_INET;
        out->len = sizeof(*v4);
        return true;
    }
    if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
        host++;
        n -= 2;
    }
    if (n >= sizeof(bare))
        return false;
    memcpy(bare, host, n);
    bare[n] = '\0';
    if (inet_pton(AF_INET6, bare, &v6->sin6_addr) != 1)
        return false;
    out->addr.ss_family = AF_INET6;
    out->len = sizeof(*v6);
    return true;
}

static void collect(const struct addrinfo *list, int family, bool same, struct resolve_address *out, size_t *n)
{
    for (; list && *n < RESOLVE_ADDRESSES_MAX; list = list->ai_next) {
        if ((list->ai_family == family) != same || (list->ai_family != AF_INET && list->ai_family != AF_INET6))
            continue;
        memset(&out[*n], 0, sizeof(out[*n]));
        memcpy(&out[*n].addr, list->ai_addr, list->ai_addrlen);
        out[(*n)++].len = list->ai_addrlen;
    }
}

/* RFC 8305 §4: "the client SHOULD modify the ordering to interleave address families." The first one sets the tone. */
static void fill(const struct addrinfo *list, struct resolve_answer *a)
{
    struct resolve_address first[RESOLVE_ADDRESSES_MAX], other[RESOLVE_ADDRESSES_MAX];
    size_t n_first = 0, n_other = 0, i = 0, k = 0;

    collect(list, list->ai_family, true, first, &n_first);
    collect(list, list->ai_family, false, other, &n_other);
    a->n = 0;
    while (a->n < RESOLVE_ADDRESSES_MAX && (i < n_first || k < n_other)) {
        if (i < n_first)
            a->v[a->n++] = first[i++];
        if (k < n_other && a->n < RESOLVE_ADDRESSES_MAX)
            a->v[a->n++] = other[k++];
    }
}

/* ---- the look-up itself ---- */

static void set_failure(struct resolve_answer *a, const char *host, int rc, int error)
{
    bool absent = rc == EAI_NONAME || rc == EAI_NODATA;
    const char *text = rc == EAI_SYSTEM ? strerrordesc_np(error) : gai_strerror(rc);
    char reason[200];

    snprintf(reason, sizeof(reason), "%.120s: %s", host, text ? text : "unknown error");
    a->ok = false;
    a->n = 0;
    outcome_set_local(&a->failure, absent ? OUTCOME_DNS_NOT_FOUND : OUTCOME_DNS_FAILED, STAGE_DNS, DELIVERY_NOT_SENT,
                      reason);
}

static void look_up(const char *host, struct resolve_answer *a)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    uint64_t began = clock_us();
    /* RFC 6761 §6.3: localhost is this machine, with the root's dot too; in /etc/hosts it stands without. */
    bool is_localhost = bytes_equal_nocase(bytes_view_str(host), bytes_view_str("localhost."));
    int rc = getaddrinfo(is_localhost ? "localhost" : host, NULL, &hints, &list), error = errno;

    if (rc == 0 && list)
        fill(list, a);
    a->ok = rc == 0 && a->n > 0;
    if (!a->ok) {
        set_failure(a, host, rc ? rc : EAI_NODATA, error);
        a->failure.ms = (uint32_t)((clock_us() - began) / 1000);
    }
    if (list)
        freeaddrinfo(list);
}

void resolve_now(const char *host, uint16_t port, struct resolve_answer *a)
{
    memset(a, 0, sizeof(*a));
    if (literal(host, &a->v[0])) {
        a->ok = true;
        a->n = 1;
    } else {
        look_up(host, a);
    }
    for (size_t i = 0; i < a->n; i++)
        resolve_set_port(&a->v[i], port);
}

bool resolve_is_literal(const char *host)
{
    struct resolve_address a;

    return literal(host, &a);
}

/* ---- answers ---- */

static void deliver(struct loop_msg *m)
{
    struct resolve_answer *a = LIST_ITEM(m, struct resolve_answer, msg);

    a->on_answer(a->ctx, a);
    free(a);
}

/* After the post the answer is the asker's loop's. */
static void post(struct loop *loop, struct resolve_answer *to, const struct resolve_answer *from, uint16_t port)
{
    to->ok = from->ok;
    to->age_s = from->age_s;
    to->failure = from->failure;
    to->n = from->n;
    memcpy(to->v, from->v, from->n * sizeof(from->v[0]));
    for (size_t i = 0; i < to->n; i++)
        resolve_set_port(&to->v[i], port);
    to->msg.on_msg = deliver;
    loop_post(loop, &to->msg);
}

static void answer_waiters(struct name *name, const struct resolve_answer *with)
{
    for (struct waiter *w = name->waiters, *next; w; w = next) {
        next = w->next;
        post(w->loop, w->answer, with, w->port);
        free(w);
    }
    name->waiters = NULL;
}

/* ---- names ---- */

static void drop_waiters(struct name *name)
{
    for (struct waiter *w = name->waiters, *next; w; w = next) {
        next = w->next;
        free(w->answer);
        free(w);
    }
    name->waiters = NULL;
}

static void name_free(struct name *name)
{
    drop_waiters(name);
    free(name->host);
    free(name);
}

static void forget(struct resolver *r, struct name *name)
{
    list_remove(&r->names, &name->node);
    name_free(name);
}

static bool has_old(const struct name *name, uint64_t now)
{
    return name->good.n && now - name->good_us < KEEP_OLD_US;
}

static const struct resolve_answer *old_answer(struct name *name, uint64_t now)
{
    name->good.age_s = (uint32_t)((now - name->good_us) / 1000000);
    return &name->good;
}

/* KNOWN. A name server that says that there is no such name has answered: the old addresses are no longer its own. */
static const struct resolve_answer *best_answer(struct name *name, uint64_t now)
{
    bool failed = !name->answer.ok && name->answer.failure.code != OUTCOME_DNS_NOT_FOUND;

    return failed && has_old(name, now) ? old_answer(name, now) : &name->answer;
}

static struct name *find(struct resolver *r, const char *host)
{
    uint64_t now = clock_us();
    struct list_node *next;

    for (struct list_node *node = list_first(&r->names); node; node = next) {
        struct name *name = LIST_ITEM(node, struct name, node);
        next = list_next(&r->names, node);
        if (name->state == NAME_KNOWN && name->until_us <= now && !has_old(name, now))
            forget(r, name);
        else if (bytes_equal_nocase(bytes_view_str(name->host), bytes_view_str(host)))
            return name;
    }
    return NULL;
}

/* Room for one more: the known name that was asked for the longest ago goes. False: 256 look-ups are under way. */
static bool make_room(struct resolver *r)
{
    if (r->names.n < NAMES_MAX)
        return true;
    for (struct list_node *node = list_first(&r->names); node; node = list_next(&r->names, node)) {
        struct name *name = LIST_ITEM(node, struct name, node);
        if (name->state == NAME_KNOWN) {
            forget(r, name);
            return true;
        }
    }
    return false;
}

static struct name *name_new(struct resolver *r, const char *host)
{
    struct name *name = calloc(1, sizeof(*name));

    if (!name)
        return NULL;
    name->host = strdup(host);
    if (!name->host) {
        free(name);
        return NULL;
    }
    name->state = NAME_KNOWN;           /* for no time at all: the caller looks it up */
    list_add_last(&r->names, &name->node);
    return name;
}

/* ---- threads ---- */

static struct name *next_work(const struct resolver *r)
{
    for (struct list_node *node = list_first(&r->names); node; node = list_next(&r->names, node)) {
        struct name *name = LIST_ITEM(node, struct name, node);
        if (name->state == NAME_WAITING)
            return r->running < LOOKUPS_MAX ? name : NULL;
    }
    return NULL;
}

static void keep_answer(struct name *name, const struct resolve_answer *a)
{
    uint64_t now = clock_us();

    name->state = NAME_KNOWN;
    name->answer = *a;
    name->until_us = now + (a->ok ? KEEP_ANSWER_US : KEEP_FAILURE_US);
    if (a->ok || a->failure.code == OUTCOME_DNS_NOT_FOUND)
        name->good = *a;
    if (a->ok)
        name->good_us = now;
    answer_waiters(name, best_answer(name, now));
}

static void work_on(struct resolver *r, struct name *name)
{
    struct resolve_answer a = {.ok = false};

    r->waiting--;
    r->running++;
    name->state = NAME_RUNNING;         /* from here on nobody else forgets it */
    pthread_mutex_unlock(&r->lock);
    look_up(name->host, &a);
    pthread_mutex_lock(&r->lock);
    r->running--;
    if (r->stopping)
        name_free(name);                /* resolver_free left it to us */
    else
        keep_answer(name, &a);
}

/* Who has waited for a moment gets the old addresses. Returns when the next one will have. */
static uint64_t answer_impatient(struct resolver *r)
{
    uint64_t now = clock_us(), next = UINT64_MAX;

    for (struct list_node *node = list_first(&r->names); node; node = list_next(&r->names, node)) {
        struct name *name = LIST_ITEM(node, struct name, node);
        if (name->state == NAME_KNOWN || !name->waiters || !has_old(name, now))
            continue;
        if (name->asked_us + PATIENCE_US <= now)
            answer_waiters(name, old_answer(name, now));
        else if (name->asked_us + PATIENCE_US < next)
            next = name->asked_us + PATIENCE_US;
    }
    return next;
}

static void wait_until(struct resolver *r, uint64_t until_us)
{
    struct timespec t = {.tv_sec = (time_t)(until_us / 1000000), .tv_nsec = (long)(until_us % 1000000) * 1000};

    pthread_cond_timedwait(&r->work, &r->lock, &t);
}

static void resolver_destroy(struct resolver *r)
{
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->work);
    pthread_cond_destroy(&r->left);
    free(r);
}

static void *run(void *arg)
{
    struct resolver *r = arg;
    uint64_t ends = clock_us() + IDLE_US;
    bool is_last;

    pthread_mutex_lock(&r->lock);
    while (!r->stopping) {
        struct name *name = next_work(r);
        uint64_t next;
        if (name) {
            work_on(r, name);
            ends = clock_us() + IDLE_US;
            continue;
        }
        next = answer_impatient(r);
        if (next == UINT64_MAX && clock_us() >= ends)
            break;
        wait_until(r, next != UINT64_MAX ? next : ends);
    }
    r->n_threads--;
    pthread_cond_broadcast(&r->left);
    is_last = r->abandoned && !r->n_threads;
    pthread_mutex_unlock(&r->lock);
    if (is_last)
        resolver_destroy(r);
    return NULL;
}

static int start_thread(struct resolver *r)
{
    sigset_t all, before;
    pthread_attr_t attr;
    pthread_t thread;
    int rc;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);        /* signals are the main thread's */
    rc = pthread_create(&thread, &attr, run, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (rc != 0)
        return -1;
    pthread_setname_np(thread, "resolver");
    r->n_threads++;
    return 0;
}

/* A thread for each name that waits, and one that can look at the clock. -1: there is none at all. */
static int ensure_threads(struct resolver *r)
{
    while (r->n_threads < THREADS_MAX && r->n_threads - r->running < r->waiting + 1)
        if (start_thread(r) < 0)
            break;
    return r->n_threads ? 0 : -1;
}

/* ---- the door ---- */

struct resolver *resolver_new(void)
{
    struct resolver *r = calloc(1, sizeof(*r));
    pthread_condattr_t attr;

    if (!r)
        return NULL;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, &attr);
    pthread_cond_init(&r->left, &attr);
    pthread_condattr_destroy(&attr);
    list_init(&r->names);
    return r;
}

void resolver_free(struct resolver *r)
{
    struct list_node *node;
    bool is_last;

    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_broadcast(&r->work);
    while ((node = list_first(&r->names))) {
        struct name *name = LIST_ITEM(node, struct name, node);
        list_remove(&r->names, node);
        drop_waiters(name);
        if (name->state != NAME_RUNNING)
            name_free(name);            /* else its thread does, whenever getaddrinfo is done */
    }
    while (r->n_threads > r->running)
        pthread_cond_wait(&r->left, &r->lock);
    is_last = !r->n_threads;
    r->abandoned = !is_last;
    pthread_mutex_unlock(&r->lock);
    if (is_last)
        resolver_destroy(r);
}

static void refuse_busy(struct waiter *w)
{
    struct resolve_answer busy = {.ok = false};

    outcome_set_local(&busy.failure, OUTCOME_DNS_FAILED, STAGE_DNS, DELIVERY_NOT_SENT, "too many look-ups at once");
    post(w->loop, w->answer, &busy, w->port);
    free(w);
}

/* -1: there is no thread. */
static int start_look_up(struct resolver *r, struct name *name, uint64_t now)
{
    name->state = NAME_WAITING;
    name->asked_us = now;
    r->waiting++;
    if (ensure_threads(r) == 0) {
        pthread_cond_broadcast(&r->work);
        return 0;
    }
    r->waiting--;
    name->state = NAME_KNOWN;
    return -1;
}

/* Takes the waiter over when it returns 0. */
static int enqueue(struct resolver *r, const char *host, struct waiter *w)
{
    struct name *name = find(r, host);
    uint64_t now = clock_us();

    if (!name && !make_room(r)) {
        refuse_busy(w);
        return 0;
    }
    if (!name)
        name = name_new(r, host);
    if (!name || (name->state == NAME_KNOWN && name->until_us <= now && start_look_up(r, name, now) < 0))
        return -1;
    list_remove(&r->names, &name->node);
    list_add_last(&r->names, &name->node);
    w->next = name->waiters;
    name->waiters = w;
    if (name->state == NAME_KNOWN)
        answer_waiters(name, best_answer(name, now));
    else if (has_old(name, now) && ensure_threads(r) == 0)
        answer_impatient(r);
    return 0;
}

static void answer_literal(struct resolve_answer *to, const struct resolve_address *address, uint16_t port,
                           struct loop *loop)
{
    struct resolve_answer from = {.ok = true, .n = 1, .v = {*address}};

    post(loop, to, &from, port);
}

int resolver_lookup(struct resolver *r, const char *host, uint16_t port, struct loop *loop,
                    void (*on_answer)(void *, struct resolve_answer *), void *ctx)
{
    struct resolve_answer *a = calloc(1, sizeof(*a));
    struct waiter *w = NULL;
    struct resolve_address address;
    int rc = -1;

    if (!a)
        return -1;
    a->on_answer = on_answer;
    a->ctx = ctx;
    if (literal(host, &address)) {
        answer_literal(a, &address, port, loop);
        return 0;
    }
    w = calloc(1, sizeof(*w));
    if (w) {
        *w = (struct waiter){.loop = loop, .answer = a, .port = port};
        pthread_mutex_lock(&r->lock);
        rc = enqueue(r, host, w);
        pthread_mutex_unlock(&r->lock);
    }
    if (rc < 0) {
        free(w);
        free(a);
    }
    return rc;
}
