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

/* Host names to addresses: getaddrinfo on threads of its own, with one look-up for many waiters and a small memory. */

#define THREADS 2
#define NAMES_MAX 256
#define KEEP_ANSWER_US (60 * 1000000ull)
#define KEEP_FAILURE_US (5 * 1000000ull)

enum name_state { NAME_WAITING, NAME_RUNNING, NAME_KNOWN };

/* One host's look-up and, afterwards, its answer. */
struct name {
    struct list_node node;
    char *host;
    enum name_state state;
    uint64_t until_us;                  /* KNOWN: forgotten then */
    struct waiter *waiters;
    struct resolve_answer answer;       /* KNOWN: the addresses without port, or the failure */
};

struct waiter {
    struct waiter *next;
    struct loop *loop;
    struct resolve_answer *answer;      /* allocated when asked, so that answering cannot fail */
    uint16_t port;
};

struct resolver {
    pthread_mutex_t lock;               /* guards all below */
    pthread_cond_t work;
    struct list names;                  /* least recently asked first */
    pthread_t threads[THREADS];
    size_t n_threads;
    size_t idle, waiting;               /* threads that wait for work; names that wait for a thread */
    bool stopping;
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
    to->failure = from->failure;
    to->n = from->n;
    memcpy(to->v, from->v, from->n * sizeof(from->v[0]));
    for (size_t i = 0; i < to->n; i++)
        resolve_set_port(&to->v[i], port);
    to->msg.on_msg = deliver;
    loop_post(loop, &to->msg);
}

static void answer_waiters(struct name *name)
{
    for (struct waiter *w = name->waiters, *next; w; w = next) {
        next = w->next;
        post(w->loop, w->answer, &name->answer, w->port);
        free(w);
    }
    name->waiters = NULL;
}

/* ---- names ---- */

static void name_free(struct name *name)
{
    for (struct waiter *w = name->waiters, *next; w; w = next) {
        next = w->next;
        free(w->answer);
        free(w);
    }
    free(name->host);
    free(name);
}

static void forget(struct resolver *r, struct name *name)
{
    list_remove(&r->names, &name->node);
    name_free(name);
}

static struct name *find(struct resolver *r, const char *host)
{
    uint64_t now = clock_us();
    struct list_node *next;

    for (struct list_node *node = list_first(&r->names); node; node = next) {
        struct name *name = LIST_ITEM(node, struct name, node);
        next = list_next(&r->names, node);
        if (name->state == NAME_KNOWN && name->until_us <= now)
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
    list_add_last(&r->names, &name->node);
    r->waiting++;
    return name;
}

/* ---- threads ---- */

static struct name *next_work(struct resolver *r)
{
    for (struct list_node *node = list_first(&r->names); node; node = list_next(&r->names, node)) {
        struct name *name = LIST_ITEM(node, struct name, node);
        if (name->state == NAME_WAITING)
            return name;
    }
    return NULL;
}

static void work_on(struct resolver *r, struct name *name)
{
    r->waiting--;
    name->state = NAME_RUNNING;         /* from here on nobody else touches host and answer, or forgets it */
    pthread_mutex_unlock(&r->lock);
    look_up(name->host, &name->answer);
    pthread_mutex_lock(&r->lock);
    name->state = NAME_KNOWN;
    name->until_us = clock_us() + (name->answer.ok ? KEEP_ANSWER_US : KEEP_FAILURE_US);
    if (!r->stopping)
        answer_waiters(name);
}

static void *run(void *arg)
{
    struct resolver *r = arg;

    pthread_mutex_lock(&r->lock);
    while (!r->stopping) {
        struct name *name = next_work(r);
        if (name) {
            work_on(r, name);
            continue;
        }
        r->idle++;
        pthread_cond_wait(&r->work, &r->lock);
        r->idle--;
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* A thread for one name more, when the idle ones have enough to do. Signals are for the main thread. */
static int ensure_thread(struct resolver *r)
{
    sigset_t all, before;
    int rc;

    if (r->idle > r->waiting || r->n_threads == THREADS)
        return 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&r->threads[r->n_threads], NULL, run, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        r->n_threads++;
    return r->n_threads ? 0 : -1;
}

/* ---- the door ---- */

struct resolver *resolver_new(void)
{
    struct resolver *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    list_init(&r->names);
    return r;
}

void resolver_free(struct resolver *r)
{
    struct list_node *node;

    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->lock);
    for (size_t i = 0; i < r->n_threads; i++)
        pthread_join(r->threads[i], NULL);
    while ((node = list_first(&r->names)))
        forget(r, LIST_ITEM(node, struct name, node));
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->work);
    free(r);
}

/* Takes the waiter over when it returns 0. */
static int enqueue(struct resolver *r, const char *host, struct waiter *w)
{
    struct name *name = find(r, host);

    if (!name) {
        if (!make_room(r)) {
            struct resolve_answer busy = {0};
            outcome_set_local(&busy.failure, OUTCOME_DNS_FAILED, STAGE_DNS, DELIVERY_NOT_SENT,
                              "too many look-ups at once");
            post(w->loop, w->answer, &busy, w->port);
            free(w);
            return 0;
        }
        name = ensure_thread(r) == 0 ? name_new(r, host) : NULL;
        if (!name)
            return -1;
        pthread_cond_signal(&r->work);
    } else {
        list_remove(&r->names, &name->node);
        list_add_last(&r->names, &name->node);
    }
    w->next = name->waiters;
    name->waiters = w;
    if (name->state == NAME_KNOWN)
        answer_waiters(name);
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
