#include "smtp/work.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* A queue of jobs and the threads that take from it. */

struct work {
    pthread_mutex_t mutex;
    pthread_cond_t more;
    struct work_job *first, **last;     /* waiting */
    bool stopping;
    unsigned idle, n_threads, max_threads;
    pthread_t threads[];
};

static void on_msg(struct loop_msg *m)
{
    struct work_job *j = (struct work_job *)(void *)((char *)m - offsetof(struct work_job, msg));

    j->on_done(j);
}

/* NULL: stopping, and nothing is left. */
static struct work_job *take(struct work *w)
{
    struct work_job *j;

    pthread_mutex_lock(&w->mutex);
    w->idle++;
    while (!w->first && !w->stopping)
        pthread_cond_wait(&w->more, &w->mutex);
    w->idle--;
    j = w->first;
    if (j) {
        w->first = j->next;
        if (!w->first)
            w->last = &w->first;
    }
    pthread_mutex_unlock(&w->mutex);
    return j;
}

static void *run(void *ctx)
{
    struct work_job *j;

    while ((j = take(ctx))) {
        j->run(j);
        loop_post(j->reply_to, &j->msg);        /* the job is its owner's again */
    }
    return NULL;
}

struct work *work_new(unsigned threads)
{
    struct work *w = calloc(1, sizeof(*w) + threads * sizeof(w->threads[0]));

    if (!w)
        return NULL;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->more, NULL);
    w->last = &w->first;
    w->max_threads = threads;
    return w;
}

/* Signals are the main thread's. */
static int start_thread(struct work *w)
{
    sigset_t all, before;
    char name[16];
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&w->threads[w->n_threads], NULL, run, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return -1;
    snprintf(name, sizeof(name), "work-%u", w->n_threads);
    pthread_setname_np(w->threads[w->n_threads++], name);
    return 0;
}

int work_submit(struct work *w, struct work_job *j)
{
    int rc = 0;

    j->msg.on_msg = on_msg;
    j->next = NULL;
    pthread_mutex_lock(&w->mutex);
    if (!w->idle && w->n_threads < w->max_threads && start_thread(w) < 0 && !w->n_threads) {
        rc = -1;
    } else {
        *w->last = j;
        w->last = &j->next;
        pthread_cond_signal(&w->more);
    }
    pthread_mutex_unlock(&w->mutex);
    return rc;
}

void work_free(struct work *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->mutex);
    w->stopping = true;
    pthread_cond_broadcast(&w->more);
    pthread_mutex_unlock(&w->mutex);
    for (unsigned i = 0; i < w->n_threads; i++)
        pthread_join(w->threads[i], NULL);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}
