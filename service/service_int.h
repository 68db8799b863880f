#ifndef SERVICE_SERVICE_INT_H
#define SERVICE_SERVICE_INT_H
/* What service.c and desk.c share: what all loops have in common, and what each has of its own. */
#include "service/last_error.h"
#include "service/metrics.h"
#include "service/relays.h"
#include "service/service.h"

#include <stdatomic.h>

struct retrying;

struct desk {
    struct service *service;
    struct loop *loop;
    struct metrics *metrics;
    struct retrying *waiting;           /* mails between two tries */
    bool given_up;
    struct loop_timer trim;             /* set while large bodies have left their memory behind */
};

/* Read-only once the loops run, but for what is atomic. */
struct service {
    const struct config *config;
    struct sandbox *sandbox;
    struct engine *engine;
    struct relays *relays;
    struct last_errors *last_errors;
    struct {                            /* what a reload may change */
        _Atomic size_t max_inflight;
        atomic_uint max_waiting, max_recipients, max_json_values;
        atomic_bool retries;            /* on_temporary_failure, where a mail does not say */
        atomic_bool address_literals;
    } live;
    size_t n_desks;
    struct desk *desks;
    struct metrics **metrics;           /* the desks' */
    /* A drain and a reservation meet here: each writes its own and then reads the other's, so one of them sees it
     * (sequentially consistent, as all of these). */
    _Atomic size_t inflight;            /* bytes held by desk_reserve */
    atomic_uint running;                /* sends that have not been answered */
    atomic_bool stopping, draining, told_empty, had_large;
    _Atomic int64_t certificate_ends;   /* the API's, as time(2) counts; 0: plain HTTP */
    void (*on_empty)(void *ctx);        /* these three: the first loop's */
    void *on_empty_ctx;
    struct loop_msg empty_msg;
};

void service_begin_send(struct service *s);
void service_end_send(struct service *s);                       /* it is answered */
#endif
