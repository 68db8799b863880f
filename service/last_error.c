#include "service/last_error.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* The last failure of each relay, for who asks how it is. */

struct last_errors {
    pthread_mutex_t lock;
    size_t n;
    struct last_error *places[];        /* NULL: nothing was sent there */
};

struct last_errors *last_errors_new(size_t places)
{
    struct last_errors *t = calloc(1, sizeof(*t) + places * sizeof(t->places[0]));

    if (!t || pthread_mutex_init(&t->lock, NULL) != 0) {
        free(t);
        return NULL;
    }
    t->n = places;
    return t;
}

void last_errors_free(struct last_errors *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        free(t->places[i]);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* relay_unavailable repeats what is kept already; a deadline that was used up in the queue is nobody's fault there. */
static bool is_about_relay(const struct smtp_outcome *o)
{
    if (o->code == OUTCOME_RELAY_UNAVAILABLE)
        return false;
    return o->whose == WHOSE_RELAY || (o->whose == WHOSE_SESSION && o->stage >= STAGE_DNS && o->stage <= STAGE_AUTH);
}

void last_errors_note(struct last_errors *t, size_t place, const struct smtp_outcome *o)
{
    bool sent = o->code == OUTCOME_SENT;

    if (place >= t->n || (!sent && !is_about_relay(o)))
        return;
    pthread_mutex_lock(&t->lock);
    if (!t->places[place])
        t->places[place] = calloc(1, sizeof(*t->places[place]));
    if (t->places[place] && sent) {
        t->places[place]->sent_at = (int64_t)time(NULL);
    } else if (t->places[place]) {
        t->places[place]->failed_at = (int64_t)time(NULL);
        t->places[place]->outcome = *o;
    }
    pthread_mutex_unlock(&t->lock);
}

void last_errors_get(struct last_errors *t, size_t place, struct last_error *out)
{
    *out = (struct last_error){.failed_at = 0};
    pthread_mutex_lock(&t->lock);
    if (place < t->n && t->places[place])
        *out = *t->places[place];
    pthread_mutex_unlock(&t->lock);
}
