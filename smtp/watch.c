#include "smtp/watch.h"

#include "smtp/file.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Looks at files until those that changed are at rest. */

#define LOOK_MS 2000
#define MOVING_LOOK_MS 250              /* while one has changed */

struct watched {
    char *path;
    unsigned group;
    char known[FILE_STAMP_SIZE];        /* told of; "": nothing yet */
    char seen[FILE_STAMP_SIZE];
    uint64_t hash;                      /* of what was read with `seen` */
    uint64_t since;                     /* ms; when that was found first */
    bool in_steps;                      /* it may be written so */
    enum { AT_REST, MOVING, READY } state;      /* READY: at rest, and not told of yet */
    bool is_due;                        /* under the lock: the loop is to be told of its group */
};

struct list {
    size_t n;
    struct watched files[];
};

struct watch {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct loop *loop;
    void (*on_changed)(void *ctx, unsigned group);
    void *ctx;
    struct list *list, *next;           /* the thread's; what it is to take over, or NULL */
    struct loop_msg msg;
    bool is_posted, stopped;
    unsigned refs;                      /* the owner and the thread */
};

static void list_free(struct list *l)
{
    for (size_t i = 0; l && i < l->n; i++)
        free(l->files[i].path);
    free(l);
}

/* Called with the lock, which is given back. */
static void watch_release(struct watch *w)
{
    bool is_last = --w->refs == 0;

    pthread_mutex_unlock(&w->lock);
    if (!is_last)
        return;
    list_free(w->list);
    list_free(w->next);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* ---- looking; on the thread, without the lock ---- */

/* FNV-1a: nobody gains by a collision. Not OpenSSL's: this thread is not waited for, and may be here while the process
 * ends and OpenSSL has cleaned up after itself. */
static uint64_t hash_file(const char *path)
{
    char why[FILE_ERR_SIZE];
    size_t n;
    char *text = file_read(path, FILE_PEM_MAX, FILE_REGULAR, &n, why);
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; text && i < n; i++)
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    file_free(text, n);
    return hash;
}

/* Not: another file was put in the place of the one that was there. */
static bool may_be_in_steps(const struct watched *f, const char *stamp)
{
    const char *before = *f->known ? f->known : f->seen;

    if (f->state != AT_REST && file_stamp_same_file(f->seen, stamp))
        return true;                    /* whatever it is, it was written to since the last look */
    return !file_stamp_is_file(before) || file_stamp_same_file(before, stamp);
}

static void look_at_file(struct watched *f, uint64_t now)
{
    char stamp[FILE_STAMP_SIZE];
    uint64_t hash;
    bool as_seen;

    file_stamp(f->path, stamp);
    if (strcmp(stamp, f->known) == 0) {
        f->state = AT_REST;
        return;
    }
    as_seen = f->state != AT_REST && strcmp(stamp, f->seen) == 0;
    if (as_seen && now - f->since < (f->in_steps ? WATCH_WRITTEN_MS : WATCH_REPLACED_MS))
        return;
    hash = hash_file(f->path);
    if (as_seen && hash == f->hash) {
        f->state = READY;
        return;
    }
    f->in_steps = may_be_in_steps(f, stamp);
    memcpy(f->seen, stamp, sizeof(stamp));
    f->hash = hash;
    f->since = now;
    f->state = MOVING;
}

/* True: all of its files are at rest, and there is something to tell. */
static bool is_group_ready(const struct list *l, unsigned group)
{
    bool ready = false;

    for (size_t i = 0; i < l->n; i++) {
        if (l->files[i].group != group)
            continue;
        if (l->files[i].state == MOVING)
            return false;
        ready = ready || l->files[i].state == READY;
    }
    return ready;
}

static bool take_due(struct list *l, unsigned *group_out)
{
    bool found = false;

    for (size_t i = 0; l && i < l->n; i++) {
        struct watched *f = &l->files[i];
        if (!f->is_due || (found && f->group != *group_out))
            continue;
        *group_out = f->group;
        found = true;
        f->is_due = false;
    }
    return found;
}

static void watch_on_msg(struct loop_msg *m)
{
    struct watch *w = (struct watch *)(void *)((char *)m - offsetof(struct watch, msg));
    unsigned group = 0;

    pthread_mutex_lock(&w->lock);
    w->is_posted = false;
    while (!w->stopped && !w->next && take_due(w->list, &group)) {      /* next: what is due is of an older list */
        pthread_mutex_unlock(&w->lock);
        w->on_changed(w->ctx, group);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
}

static void tell_group(struct watch *w, struct list *l, unsigned group)
{
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < l->n; i++) {
        struct watched *f = &l->files[i];
        if (f->group != group || f->state != READY)
            continue;
        memcpy(f->known, f->seen, sizeof(f->known));
        f->state = AT_REST;
        f->is_due = true;
    }
    if (!w->is_posted && !w->stopped) {
        w->is_posted = true;
        loop_post(w->loop, &w->msg);
    }
    pthread_mutex_unlock(&w->lock);
}

/* In how many ms the next look is due. */
static unsigned look(struct watch *w)
{
    struct list *l = w->list;
    unsigned next = LOOK_MS;

    for (size_t i = 0; l && i < l->n; i++)
        look_at_file(&l->files[i], clock_us() / 1000);
    for (size_t i = 0; l && i < l->n; i++) {
        if (is_group_ready(l, l->files[i].group))
            tell_group(w, l, l->files[i].group);
        else if (l->files[i].state != AT_REST)
            next = MOVING_LOOK_MS;
    }
    return next;
}

static void watch_wait(struct watch *w, unsigned ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(&w->wake, &w->lock, &until);
}

static void *watch_run(void *arg)
{
    struct watch *w = arg;
    unsigned wait = LOOK_MS;

    pthread_mutex_lock(&w->lock);
    while (!w->stopped) {
        if (w->next) {
            list_free(w->list);
            w->list = w->next;
            w->next = NULL;
        } else {
            watch_wait(w, wait);
        }
        if (w->stopped || w->next)
            continue;
        pthread_mutex_unlock(&w->lock);
        wait = look(w);
        pthread_mutex_lock(&w->lock);
    }
    watch_release(w);
    return NULL;
}

/* ---- for the owner ---- */

/* Signals are the main thread's. */
static int watch_start(struct watch *w)
{
    pthread_attr_t detached;
    sigset_t all, before;
    pthread_t thread;
    int rc;

    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&thread, &detached, watch_run, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&detached);
    return rc == 0 ? 0 : -1;
}

struct watch *watch_new(struct loop *loop, void (*on_changed)(void *ctx, unsigned group), void *ctx)
{
    struct watch *w = calloc(1, sizeof(*w));
    pthread_condattr_t monotonic;

    if (!w)
        return NULL;
    *w = (struct watch){.loop = loop, .on_changed = on_changed, .ctx = ctx, .refs = 2,
                          .msg = {.on_msg = watch_on_msg}};
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (watch_start(w) == 0)
        return w;
    w->refs = 1;                        /* no thread */
    watch_free(w);
    return NULL;
}

int watch_set(struct watch *w, const struct watch_file *files, size_t n)
{
    struct list *l = calloc(1, sizeof(*l) + n * sizeof(l->files[0])), *old;
    bool ok = l != NULL;

    for (size_t i = 0; ok && i < n; i++) {
        if (!files[i].path)
            continue;
        l->files[l->n] = (struct watched){.path = strdup(files[i].path), .group = files[i].group};
        ok = l->files[l->n++].path != NULL;
    }
    if (!ok) {
        list_free(l);
        return -1;
    }
    pthread_mutex_lock(&w->lock);
    old = w->next;                      /* the thread did not come to it */
    w->next = l;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    list_free(old);
    return 0;
}

void watch_stop(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    w->stopped = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

void watch_free(struct watch *w)
{
    if (!w)
        return;
    watch_stop(w);
    pthread_mutex_lock(&w->lock);
    watch_release(w);
}
