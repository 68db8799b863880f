#include "service/loops.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* The HTTP loops and their threads. */

struct hand {
    struct loops *loops;
    struct loop *loop;
    pthread_t thread;
};

struct loops {
    atomic_int error;                   /* errno of a loop that failed */
    size_t n, n_running;                /* threads, the first loop's not counted */
    struct loop **loop;
    struct hand hands[];
};

struct loops *loops_new(size_t n)
{
    struct loops *l = calloc(1, sizeof(*l) + n * sizeof(l->hands[0]));

    if (!l)
        return NULL;
    l->loop = calloc(n, sizeof(struct loop *));
    if (!l->loop)
        goto fail;
    for (l->n = 0; l->n < n; l->n++) {
        l->loop[l->n] = loop_new();
        if (!l->loop[l->n])
            goto fail;
        l->hands[l->n] = (struct hand){.loops = l, .loop = l->loop[l->n]};
    }
    return l;
fail:
    loops_free(l);
    return NULL;
}

struct loop *const *loops_get(const struct loops *l, size_t *n_out)
{
    *n_out = l->n;
    return l->loop;
}

/* One loop that cannot wait any more ends them all. */
static void *run_hand(void *arg)
{
    struct hand *h = arg;

    if (loop_run(h->loop) != 0) {
        atomic_store(&h->loops->error, errno);
        loop_stop(h->loops->loop[0]);
    }
    return NULL;
}

static int start_threads(struct loops *l)
{
    char name[16];
    int rc = 0;

    while (l->n_running + 1 < l->n && rc == 0) {
        struct hand *h = &l->hands[l->n_running + 1];
        rc = pthread_create(&h->thread, NULL, run_hand, h);
        if (rc != 0)
            break;
        l->n_running++;
        snprintf(name, sizeof(name), "http-%zu", l->n_running);
        pthread_setname_np(h->thread, name);
    }
    return rc;
}

static void end_threads(struct loops *l)
{
    for (size_t i = 1; i <= l->n_running; i++)
        loop_stop(l->loop[i]);
    for (size_t i = 1; i <= l->n_running; i++)
        pthread_join(l->hands[i].thread, NULL);
    l->n_running = 0;
}

int loops_run(struct loops *l)
{
    int error = start_threads(l);

    if (error == 0 && loop_run(l->loop[0]) != 0)
        error = errno;
    end_threads(l);
    if (error == 0)
        error = atomic_load(&l->error);
    errno = error;
    return error == 0 ? 0 : -1;
}

void loops_free(struct loops *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->n; i++)
        loop_free(l->loop[i]);
    free(l->loop);
    free(l);
}
