#ifndef SERVICE_RELAYS_H
#define SERVICE_RELAYS_H
/* The relays by name. A name gets a place when it is first configured and keeps it for the life of the process, so what
 * is counted under a place, logged, or on its way there stays right while relays come and go. */
#include "service/config.h"

#define RELAYS_PLACES 256
#define RELAYS_NONE SIZE_MAX

struct relays;

struct relays *relays_new(void) MUST_CHECK;
void relays_free(struct relays *t);

/* Any thread. The place of the relay that is configured under this name (NULL: of the default), or RELAYS_NONE. With a
 * place, *out is a reference of the caller's; out may be NULL. */
size_t relays_find(struct relays *t, const char *name, struct relay_settings **out);
const char *relays_name(const struct relays *t, size_t place);          /* NULL: no such place; valid for life */
size_t relays_count(const struct relays *t);                            /* places that have a name */

/* What a configuration would make of them: prepared, and then put in force or dropped. From one thread, as what
 * follows. */
struct relays_next {
    const struct relay_config *relays[RELAYS_PLACES];   /* NULL: none; the configuration's */
    struct relay_settings *settings[RELAYS_PLACES];
    size_t n, default_place;
    unsigned n_changes;
    char added[256], removed[256], changed[256];        /* names, with commas between; cut to fit */
};
struct relays_next *relays_prepare(struct relays *t, const struct config *c, char err_out[200]) MUST_CHECK;
void relays_take(struct relays *t, struct relays_next *next);           /* and frees next */
void relays_drop(struct relays_next *next);
#endif
