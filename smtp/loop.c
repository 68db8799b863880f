#include "smtp/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* The event loop: one epoll set, one heap of timers, one mailbox. */

#define BATCH 256
#define PAUSE_MS 1000                   /* so late, the process did not run: SIGSTOP, a freezer, a stopped machine */
#define GRACE_MS 200                    /* for what the peers said meanwhile: it is here, or on its way again */
#define TO_WAKE_MAX 16

struct loop {
    int epfd, evfd;
    atomic_bool stopping;
    uint64_t now;
    uint64_t looked_at;                 /* everything that was ready then has been handed out */
    uint64_t grace_until;               /* after a pause, timers wait until then */
    bool has_grace;                     /* one at a time, or whoever is always late would never see a timer */
    size_t n_io;                        /* descriptors that are added */
    unsigned full_batches;              /* in a row: there may be more that is ready */
    bool is_late;                       /* see loop_is_late */
    struct loop_timer *timers;          /* the one that is due first */
    struct epoll_event batch[BATCH];
    int batch_n, batch_at;
    int (*before_wait)(void *ctx);
    void *before_wait_ctx;
    struct loop *to_wake[TO_WAKE_MAX];  /* got letters from this loop's batch and sleep */
    size_t to_wake_n;
    pthread_mutex_t lock;               /* guards the mailbox below, and nothing else */
    struct loop_msg *first, **last;
    bool awake;                         /* a wake-up is on its way: no second write to the eventfd */
};

static _Thread_local struct loop *running;             /* the loop of this thread, while it runs */

uint64_t clock_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

uint64_t loop_now(const struct loop *l)
{
    return l->now;
}

struct loop *loop_new(void)
{
    struct loop *l = calloc(1, sizeof(*l));
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};    /* each write is an edge: never read */

    if (!l)
        return NULL;
    l->epfd = epoll_create1(EPOLL_CLOEXEC);
    l->evfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->last = &l->first;
    l->now = clock_us() / 1000;
    pthread_mutex_init(&l->lock, NULL);
    if (l->epfd < 0 || l->evfd < 0 || epoll_ctl(l->epfd, EPOLL_CTL_ADD, l->evfd, &ev) < 0) {
        loop_free(l);
        return NULL;
    }
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    if (l->epfd >= 0)
        close(l->epfd);
    if (l->evfd >= 0)
        close(l->evfd);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- descriptors ---- */

int loop_add(struct loop *l, struct loop_io *io, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = io};

    io->events = events;
    if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, io->fd, &ev) < 0)
        return -1;
    l->n_io++;
    return 0;
}

int loop_mod(struct loop *l, struct loop_io *io, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = io};

    if (io->events == events)
        return 0;
    io->events = events;
    return epoll_ctl(l->epfd, EPOLL_CTL_MOD, io->fd, &ev);
}

void loop_del(struct loop *l, struct loop_io *io)
{
    if (epoll_ctl(l->epfd, EPOLL_CTL_DEL, io->fd, NULL) == 0)
        l->n_io--;
    for (int i = l->batch_at; i < l->batch_n; i++)
        if (l->batch[i].data.ptr == io)
            l->batch[i].events = 0;     /* the owner may free io now */
}

/* ---- timers: a pairing heap ---- */

/* Each timer is a node, so that setting one asks for no memory and cannot fail. A node's first kid is in `kids`, the
 * others follow by `next`; `back` leads to the node before, or from a first kid to its parent. */

static struct loop_timer *meld(struct loop_timer *a, struct loop_timer *b)
{
    if (!a || !b)
        return a ? a : b;
    if (b->due < a->due) {
        struct loop_timer *t = a;
        a = b;
        b = t;
    }
    b->next = a->kids;
    if (b->next)
        b->next->back = b;
    b->back = a;
    a->kids = b;
    return a;
}

/* In pairs on the way there, all of those on the way back: that keeps later ones cheap. */
static struct loop_timer *meld_all(struct loop_timer *first)
{
    struct loop_timer *pairs = NULL, *all = NULL, *rest;

    for (struct loop_timer *a = first, *b; a; a = rest) {
        b = a->next;
        rest = b ? b->next : NULL;
        a->next = a->back = NULL;
        if (b)
            b->next = b->back = NULL;
        a = meld(a, b);
        a->next = pairs;
        pairs = a;
    }
    for (; pairs; pairs = rest) {
        rest = pairs->next;
        pairs->next = NULL;
        all = meld(all, pairs);
    }
    return all;
}

void loop_timer_clear(struct loop *l, struct loop_timer *t)
{
    struct loop_timer *kids;

    if (!t->is_set)
        return;
    kids = meld_all(t->kids);
    if (t == l->timers) {
        l->timers = kids;
    } else {
        if (t->back->kids == t)
            t->back->kids = t->next;
        else
            t->back->next = t->next;
        if (t->next)
            t->next->back = t->back;
        l->timers = meld(l->timers, kids);
    }
    t->is_set = false;
    t->kids = t->next = t->back = NULL;
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t due)
{
    if (t->is_set && t->due == due)
        return;
    loop_timer_clear(l, t);
    t->due = due;
    t->is_set = true;
    l->timers = meld(l->timers, t);
}

/* ---- mailbox ---- */

static void wake(struct loop *l)
{
    uint64_t one = 1;

    if (write(l->evfd, &one, sizeof(one)) < 0)
        unreachable("an eventfd cannot be written");            /* its counter is full after 2^64 wake-ups */
}

void loop_post(struct loop *l, struct loop_msg *m)
{
    bool sleeping;

    m->next = NULL;
    pthread_mutex_lock(&l->lock);
    *l->last = m;
    l->last = &m->next;
    sleeping = !l->awake;
    l->awake = true;
    pthread_mutex_unlock(&l->lock);
    if (!sleeping)
        return;
    /* A loop's own batch wakes each other loop once, at its end: on a busy machine the receiver would run at once, take
     * one letter and sleep again. */
    if (running && running != l && running->to_wake_n < TO_WAKE_MAX)
        running->to_wake[running->to_wake_n++] = l;
    else
        wake(l);
}

static void wake_others(struct loop *l)
{
    for (size_t i = 0; i < l->to_wake_n; i++)
        wake(l->to_wake[i]);
    l->to_wake_n = 0;
}

void loop_stop(struct loop *l)
{
    atomic_store(&l->stopping, true);
    wake(l);
}

bool loop_is_late(const struct loop *l)
{
    return l->is_late;
}

/* The first letter's poster wakes the loop once it lies there, so epoll_wait saw all that was ready before it. One
 * behind it may have come at any time since. */
static void run_mailbox(struct loop *l)
{
    struct loop_msg *m, *next;

    pthread_mutex_lock(&l->lock);
    m = l->first;
    l->first = NULL;
    l->last = &l->first;
    l->awake = false;
    pthread_mutex_unlock(&l->lock);
    if (m && m->next)
        l->is_late = true;
    for (; m; m = next) {
        next = m->next;                 /* on_msg may free m */
        m->on_msg(m);
    }
}

/* ---- running ---- */

void loop_set_before_wait(struct loop *l, int (*before_wait)(void *ctx), void *ctx)
{
    l->before_wait = before_wait;
    l->before_wait_ctx = ctx;
}

/* Input goes before time. A timer may only ring when whatever was ready at that time has been handed out: a reply that
 * came within its limit lies in the socket while this process is stopped, or busy with others. So timers are run up to
 * looked_at, the clock before epoll_wait was asked, and never up to the clock behind it. After a pause they wait a
 * moment longer: what a peer sent to a stopped virtual machine comes again, and what is answered now needs a round
 * trip. */
static void note_pause(struct loop *l, uint64_t now, uint64_t awaited)
{
    if (now <= awaited + PAUSE_MS || l->has_grace)
        return;
    l->has_grace = true;
    l->grace_until = now + GRACE_MS;
}

static int run_hook(const struct loop *l)
{
    return l->before_wait ? l->before_wait(l->before_wait_ctx) : -1;
}

static uint64_t next_due(const struct loop *l)
{
    uint64_t due = l->timers ? l->timers->due : UINT64_MAX;

    return due < l->grace_until ? l->grace_until : due;
}

static int wait_ms(struct loop *l)
{
    int hook = run_hook(l);
    uint64_t due, left;

    wake_others(l);
    l->looked_at = clock_us() / 1000;
    note_pause(l, l->looked_at, l->now);
    if (!l->timers)
        return hook;
    due = next_due(l);
    left = due > l->looked_at ? due - l->looked_at : 0;
    if (left > 60000)
        left = 60000;
    return hook >= 0 && (uint64_t)hook < left ? hook : (int)left;
}

/* Waits at most `ms` (-1: for ever); the number of events, 0 when there are none. -1: epoll failed. */
static int look(struct loop *l, int ms)
{
    int n = epoll_wait(l->epfd, l->batch, BATCH, ms);

    if (n < 0 && errno != EINTR)
        return -1;
    l->now = clock_us() / 1000;
    l->is_late = n == BATCH;            /* there may be more that is ready */
    if (ms >= 0)
        note_pause(l, l->now, l->looked_at + (uint64_t)ms);
    if (n < 0)
        l->looked_at = 0;               /* stopped and continued: nothing was looked at */
    if (n == BATCH && ++l->full_batches <= l->n_io / BATCH)
        l->looked_at = 0;               /* epoll shows in turn what is ready; the others come next */
    else
        l->full_batches = 0;
    return n < 0 ? 0 : n;
}

static void run_timers(struct loop *l)
{
    if (l->looked_at >= l->grace_until)
        l->has_grace = false;
    if (!l->timers || next_due(l) > l->looked_at)
        return;
    run_hook(l);                        /* what came may have left work for it: libmicrohttpd has sockets of its own */
    while (l->timers && l->timers->due <= l->looked_at) {
        struct loop_timer *t = l->timers;
        loop_timer_clear(l, t);
        t->on_timer(t);
    }
}

static void run_batch(struct loop *l)
{
    bool letters = false;

    for (l->batch_at = 0; l->batch_at < l->batch_n;) {
        struct epoll_event *ev = &l->batch[l->batch_at++];
        struct loop_io *io = ev->data.ptr;
        if (!io)
            letters = true;
        else if (ev->events)
            io->on_ready(io, ev->events);
    }
    l->batch_n = 0;
    if (letters) {
        run_mailbox(l);
    }
}

int loop_run(struct loop *l)
{
    running = l;
    l->now = clock_us() / 1000;
    while (!atomic_load(&l->stopping)) {
        l->batch_n = look(l, wait_ms(l));
        if (l->batch_n < 0) {
            l->batch_n = 0;
            running = NULL;
            return -1;
        }
        run_batch(l);
        run_timers(l);
    }
    run_mailbox(l);                     /* what was posted before the stop is not lost */
    wake_others(l);
    running = NULL;
    return 0;
}
