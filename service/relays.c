#include "service/relays.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The table of relays: names have places for life, settings come and go under a lock. */

struct relays {
    char *names[RELAYS_PLACES];         /* written before n says so, and never changed */
    _Atomic size_t n;
    pthread_mutex_t lock;               /* what follows; held for a look */
    struct relay_settings *settings[RELAYS_PLACES];
    size_t default_place;
};

static void get_lock(struct relays *t)
{
    if (pthread_mutex_lock(&t->lock) != 0)
        unreachable("the relays' lock");
}

static void give_lock(struct relays *t)
{
    if (pthread_mutex_unlock(&t->lock) != 0)
        unreachable("the relays' lock");
}

struct relays *relays_new(void)
{
    struct relays *t = calloc(1, sizeof(*t));

    if (!t || pthread_mutex_init(&t->lock, NULL) != 0) {
        free(t);
        return NULL;
    }
    t->default_place = RELAYS_NONE;
    return t;
}

void relays_free(struct relays *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++) {
        relay_settings_unref(t->settings[i]);
        free(t->names[i]);
    }
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* ---- any thread ---- */

static size_t place_of(const struct relays *t, const char *name)
{
    size_t i = 0, n = t->n;

    while (i < n && strcmp(t->names[i], name) != 0)
        i++;
    return i < n ? i : RELAYS_NONE;
}

size_t relays_find(struct relays *t, const char *name, struct relay_settings **out)
{
    size_t place = name ? place_of(t, name) : RELAYS_NONE;

    if (out)
        *out = NULL;
    get_lock(t);
    if (!name)
        place = t->default_place;
    if (place != RELAYS_NONE && !t->settings[place])
        place = RELAYS_NONE;
    if (place != RELAYS_NONE && out)
        *out = relay_settings_ref(t->settings[place]);
    give_lock(t);
    return place;
}

const char *relays_name(const struct relays *t, size_t place)
{
    return place < t->n ? t->names[place] : NULL;
}

size_t relays_count(const struct relays *t)
{
    return t->n;
}

/* ---- a new configuration ---- */

static size_t give_place(struct relays *t, const char *name)
{
    size_t place = place_of(t, name), n = t->n;

    if (place != RELAYS_NONE || n == RELAYS_PLACES)
        return place;
    t->names[n] = strdup(name);
    if (!t->names[n])
        return RELAYS_NONE;
    t->n = n + 1;
    return n;
}

static void add_name(char list[256], const char *name)
{
    size_t n = strlen(list);

    snprintf(list + n, 256 - n, "%s%s", n ? "," : "", name);
}

/* Only this thread writes settings, so it reads them without the lock. */
static void note_changes(const struct relays *t, struct relays_next *next)
{
    for (size_t i = 0; i < next->n; i++) {
        const struct relay_settings *now = t->settings[i];
        const struct relay_settings *then = next->settings[i];
        if (!now && !then)
            continue;
        if (now && then && relay_settings_equal(&now->c, &then->c))
            continue;
        add_name(!now ? next->added : !then ? next->removed : next->changed, t->names[i]);
        next->n_changes++;
    }
}

struct relays_next *relays_prepare(struct relays *t, const struct config *c, char err_out[200])
{
    struct relays_next *next = calloc(1, sizeof(*next));

    snprintf(err_out, 200, "no memory");
    for (size_t i = 0; next && i < c->n_relays; i++) {
        size_t place = give_place(t, c->relays[i].name);
        if (place == RELAYS_NONE) {
            if (t->n == RELAYS_PLACES)
                snprintf(err_out, 200, "more than %d names of relays since the start; restart to use new ones",
                         RELAYS_PLACES);
            goto fail;
        }
        next->relays[place] = &c->relays[i].c;
        next->settings[place] = relay_settings_new(&c->relays[i].c);
        if (!next->settings[place])
            goto fail;
    }
    if (!next)
        return NULL;
    next->n = t->n;
    next->default_place = c->default_relay ? place_of(t, c->default_relay) : RELAYS_NONE;
    note_changes(t, next);
    err_out[0] = '\0';
    return next;
fail:
    relays_drop(next);
    return NULL;
}

void relays_take(struct relays *t, struct relays_next *next)
{
    get_lock(t);
    for (size_t i = 0; i < next->n; i++) {
        struct relay_settings *old = t->settings[i];
        t->settings[i] = next->settings[i];
        next->settings[i] = old;
    }
    t->default_place = next->default_place;
    give_lock(t);
    relays_drop(next);
}

void relays_drop(struct relays_next *next)
{
    for (size_t i = 0; next && i < RELAYS_PLACES; i++)
        relay_settings_unref(next->settings[i]);
    free(next);
}
