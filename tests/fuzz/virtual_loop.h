#ifndef FUZZ_VIRTUAL_LOOP_H
#define FUZZ_VIRTUAL_LOOP_H
/* smtp/loop.h and smtp/work.h once more, for one fuzz target: all on one thread, turn by turn, under a clock that
 * stands still until nothing is left to do and then goes on to the next timer. So a run is the same each time, and a
 * time-out of 30 s costs nothing. */
#include "smtp/loop.h"
#include "smtp/work.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TIMERS_MAX 4096

struct loop {
    int epfd;
    struct loop_timer *timers[TIMERS_MAX];              /* in no order */
    size_t n_timers;
    struct epoll_event batch[64];
    int batch_n, batch_at;
    int (*before_wait)(void *ctx);
    void *before_wait_ctx;
    struct loop_msg *first, **last;
};

static uint64_t virtual_us = 1000000000;

uint64_t clock_us(void)
{
    return virtual_us;
}

uint64_t loop_now(const struct loop *l)
{
    (void)l;
    return virtual_us / 1000;
}

struct loop *loop_new(void)
{
    struct loop *l = calloc(1, sizeof(*l));

    if (!l)
        unreachable("no memory");
    l->epfd = epoll_create1(EPOLL_CLOEXEC);
    l->last = &l->first;
    return l;
}

void loop_free(struct loop *l)
{
    close(l->epfd);
    free(l);
}

int loop_add(struct loop *l, struct loop_io *io, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = io};

    io->events = events;
    return epoll_ctl(l->epfd, EPOLL_CTL_ADD, io->fd, &ev);
}

int loop_mod(struct loop *l, struct loop_io *io, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = io};

    io->events = events;
    return epoll_ctl(l->epfd, EPOLL_CTL_MOD, io->fd, &ev);
}

void loop_del(struct loop *l, struct loop_io *io)
{
    epoll_ctl(l->epfd, EPOLL_CTL_DEL, io->fd, NULL);
    for (int i = l->batch_at; i < l->batch_n; i++)
        if (l->batch[i].data.ptr == io)
            l->batch[i].events = 0;
}

void loop_timer_clear(struct loop *l, struct loop_timer *t)
{
    size_t i = 0;

    if (!t->is_set)
        return;
    while (l->timers[i] != t)
        i++;
    l->timers[i] = l->timers[--l->n_timers];
    t->is_set = false;
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t due)
{
    if (!t->is_set) {
        if (l->n_timers == TIMERS_MAX)
            unreachable("too many timers");
        l->timers[l->n_timers++] = t;
        t->is_set = true;
    }
    t->due = due;
}

void loop_post(struct loop *l, struct loop_msg *m)
{
    m->next = NULL;
    *l->last = m;
    l->last = &m->next;
}

void loop_set_before_wait(struct loop *l, int (*before_wait)(void *ctx), void *ctx)
{
    l->before_wait = before_wait;
    l->before_wait_ctx = ctx;
}

void loop_stop(struct loop *l)
{
    (void)l;
}

static struct loop_timer *virtual_next_timer(const struct loop *l)
{
    struct loop_timer *next = l->n_timers ? l->timers[0] : NULL;

    for (size_t i = 1; i < l->n_timers; i++)
        if (l->timers[i]->due < next->due)
            next = l->timers[i];
    return next;
}

/* Letters, then what the descriptors say, then what is due. False: there was nothing. */
static bool virtual_turn(struct loop *l)
{
    bool busy = l->before_wait && l->before_wait(l->before_wait_ctx) == 0;
    struct loop_msg *m = l->first, *next;
    struct loop_timer *t;

    l->first = NULL;
    l->last = &l->first;
    busy = busy || m;
    for (; m; m = next) {
        next = m->next;
        m->on_msg(m);
    }
    l->batch_n = epoll_wait(l->epfd, l->batch, 64, 0);
    for (l->batch_at = 0; l->batch_at < l->batch_n;) {
        struct epoll_event *ev = &l->batch[l->batch_at++];
        struct loop_io *io = ev->data.ptr;
        busy = true;
        if (ev->events)
            io->on_ready(io, ev->events);
    }
    l->batch_n = 0;
    while ((t = virtual_next_timer(l)) != NULL && t->due <= virtual_us / 1000) {
        busy = true;
        loop_timer_clear(l, t);
        t->on_timer(t);
    }
    return busy;
}

/* To the next timer. False: none is set. */
static bool virtual_pass(struct loop *l)
{
    struct loop_timer *t = virtual_next_timer(l);

    if (t && t->due * 1000 > virtual_us)
        virtual_us = t->due * 1000;
    return t != NULL;
}

int loop_run(struct loop *l)
{
    while (virtual_turn(l))
        continue;
    return 0;
}

/* ---- jobs run at once ---- */

struct work {
    char nothing;
};

static void virtual_on_done(struct loop_msg *m)
{
    struct work_job *j = (struct work_job *)(void *)((char *)m - offsetof(struct work_job, msg));

    j->on_done(j);
}

struct work *work_new(unsigned threads)
{
    (void)threads;
    return calloc(1, sizeof(struct work));
}

int work_submit(struct work *w, struct work_job *j)
{
    (void)w;
    j->msg.on_msg = virtual_on_done;
    j->run(j);
    loop_post(j->reply_to, &j->msg);
    return 0;
}

void work_free(struct work *w)
{
    free(w);
}
#endif
