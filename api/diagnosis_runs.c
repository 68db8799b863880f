#include "api/diagnosis_runs.h"

#include "api/diagnosis.h"
#include "service/service.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Runs diagnoses on threads of their own, and remembers what the last one of each relay said. */

struct known {
    struct known *next;
    size_t place;
    struct relay_settings *settings;    /* under which it was found; a reference */
    struct diagnosis_last last;
};

struct diagnosis_runs {
    struct service *service;
    struct work *work;                  /* NULL once it is stopped */
    atomic_bool cancel;
    atomic_uint running;
    pthread_mutex_t lock;
    struct known *known;                /* under the lock */
};

struct diagnosis_runs *diagnosis_runs_new(struct service *s)
{
    struct diagnosis_runs *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    t->service = s;
    t->work = work_new(DIAGNOSIS_RUNS_MAX);
    if (t->work && pthread_mutex_init(&t->lock, NULL) == 0)
        return t;
    work_free(t->work);
    free(t);
    return NULL;
}

void diagnosis_runs_cancel(struct diagnosis_runs *t)
{
    t->cancel = true;
}

void diagnosis_runs_stop(struct diagnosis_runs *t)
{
    if (!t || !t->work)
        return;
    t->cancel = true;
    work_free(t->work);
    t->work = NULL;
}

void diagnosis_runs_free(struct diagnosis_runs *t)
{
    if (!t)
        return;
    diagnosis_runs_stop(t);
    for (struct known *k = t->known, *next; k; k = next) {
        next = k->next;
        relay_settings_unref(k->settings);
        free(k);
    }
    pthread_mutex_destroy(&t->lock);
    free(t);
}

struct diagnosis_run *diagnosis_run_new(void)
{
    return calloc(1, sizeof(struct diagnosis_run));
}

void diagnosis_run_free(struct diagnosis_run *run)
{
    if (!run)
        return;
    relay_settings_unref(run->settings);
    free(run->to);
    free(run->from);
    free(run);
}

/* ---- what is remembered ---- */

static struct known *find(struct known *k, size_t place)
{
    while (k && k->place != place)
        k = k->next;
    return k;
}

/* Looks that left something out, or that ended at what one mail's envelope met, say nothing of the relay. */
static bool is_full_look(const struct diagnosis_run *run)
{
    const struct diagnosis *d = &run->d;

    return !run->no_auth && !d->canceled && !(d->timed_out && run->total_ms) &&
           (d->ok || d->failed_at < DIAGNOSE_STEP_MAIL);
}

/* True: it is another result than the one before. */
static bool remember(struct diagnosis_runs *t, const struct diagnosis_run *run, const char *conclusion)
{
    const struct diagnosis *d = &run->d;
    struct diagnosis_last last = {.known = true, .ok = d->ok, .at = (int64_t)time(NULL), .code = d->outcome.code};
    struct known *k;
    bool news;

    if (!is_full_look(run))
        return false;
    snprintf(last.conclusion, sizeof(last.conclusion), "%s", conclusion);
    pthread_mutex_lock(&t->lock);
    k = find(t->known, run->place);
    if (!k && (k = calloc(1, sizeof(*k))) != NULL) {
        k->place = run->place;
        k->next = t->known;
        t->known = k;
    }
    news = !k || !k->last.known || k->last.ok != last.ok || k->last.code != last.code;
    if (k) {
        relay_settings_unref(k->settings);
        k->settings = relay_settings_ref(run->settings);
        k->last = last;
    }
    pthread_mutex_unlock(&t->lock);
    return news;
}

static void note(struct diagnosis_runs *t, const struct diagnosis_run *run)
{
    struct bytes_buf conclusion;
    bool news;

    bytes_buf_init(&conclusion, 0);
    diagnosis_write_conclusion(&run->d, &conclusion);
    news = remember(t, run, bytes_buf_view(&conclusion).p);
    if (run->request_id[0] || news)
        service_log_diagnosis(run->request_id, &run->d, bytes_buf_view(&conclusion).p);
    bytes_buf_deinit(&conclusion);
}

void diagnosis_runs_get_last(struct diagnosis_runs *t, size_t place, const struct relay_settings *settings,
                             struct diagnosis_last *out)
{
    const struct known *k;
    int64_t age;

    *out = (struct diagnosis_last){.known = false};
    pthread_mutex_lock(&t->lock);
    k = find(t->known, place);
    if (k && k->settings == settings)
        *out = k->last;
    pthread_mutex_unlock(&t->lock);
    age = (int64_t)time(NULL) - out->at;
    out->age_s = age > 0 ? (uint32_t)age : 0;
}

/* ---- running ---- */

static struct diagnosis_run *of_job(struct work_job *j)
{
    return (struct diagnosis_run *)(void *)((char *)j - offsetof(struct diagnosis_run, job));
}

static void on_thread(struct work_job *j)
{
    struct diagnosis_run *run = of_job(j);
    struct diagnose_params p = {
        .relay = &run->settings->c,
        .to = run->to,
        .from = run->from,
        .send = run->send,
        .no_auth = run->no_auth,
        .all_ports = run->all_ports,
        .tls_versions = run->tls_versions,
        .total_ms = run->total_ms,
        .memory = service_get_relay_memory(run->runs->service, run->place, run->settings),
        .cancel = &run->runs->cancel,
    };

    diagnose_run(&p, &run->d);
    relay_memory_unref(p.memory);
    note(run->runs, run);
    atomic_fetch_sub(&run->runs->running, 1);
}

static void on_back(struct work_job *j)
{
    struct diagnosis_run *run = of_job(j);

    run->on_done(run);
    diagnosis_run_free(run);
}

bool diagnosis_runs_begin(struct diagnosis_runs *t, struct diagnosis_run *run)
{
    bool room = atomic_fetch_add(&t->running, 1) < DIAGNOSIS_RUNS_MAX;

    run->runs = t;
    run->job = (struct work_job){.run = on_thread, .on_done = on_back, .reply_to = run->reply_to};
    if (room && !t->cancel && t->work && work_submit(t->work, &run->job) == 0)
        return true;
    atomic_fetch_sub(&t->running, 1);
    diagnosis_run_free(run);
    return false;
}
