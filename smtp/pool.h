#ifndef SMTP_POOL_H
#define SMTP_POOL_H
/* One relay's sessions and the mails that wait for them. A session's state is the list it is on, so counts are list
 * lengths.
 * A relay may have several pools, each on a loop of its own with its share of the limits.
 * Everything but what says "any thread" is for the pool's loop. */
#include "smtp/delivery.h"
#include "smtp/relay.h"

struct pool;

struct pool_params {
    struct loop *loop;
    struct resolver *resolver;
    struct conn_buffers *buffers;
    const struct relay_config *config;
    struct relay_memory *memory;        /* borrowed; shared with the relay's other pools */
    void (*on_dirty)(void *ctx, struct pool *p);        /* wants pool_run before the loop waits; once until then */
    void (*on_refused)(void *ctx, struct pool *p, const struct smtp_outcome *why);      /* the password; may be NULL */
    /* Lines of a session's wire; NULL: not wanted. */
    void (*on_trace)(void *ctx, struct pool *p, unsigned session, bool from_client, const char *line);
    void *ctx;
};

struct pool *pool_new(const struct pool_params *p, char err_out[200]) MUST_CHECK;
/* Loop and resolver stand still, and what is not reported is reported now; or it is empty. */
void pool_free(struct pool *p);
bool pool_is_empty(const struct pool *p);               /* no session in any state, and no mail */
void pool_start(struct pool *p);        /* on its loop, before all else */
void pool_submit(struct pool *p, struct delivery *d);                   /* takes d over, which pool_expect announced */
void pool_run(struct pool *p);          /* lends idle sessions, opens new ones, fails what has no hope */
void pool_drain(struct pool *p);        /* idle sessions QUIT, now and whenever one has nothing to do */
/* A mail that waits, for another pool to take (after pool_expect there); NULL: none does. */
struct delivery *pool_give_back(struct pool *p);
/* Its loop stands still: every mail is reported with what is known of it, and none is taken any more. */
void pool_give_up(struct pool *p);
void pool_stop(struct pool *p);         /* no session is opened or lent any more */
void pool_hear_refused(struct pool *p, const struct smtp_outcome *why); /* by another pool of the same relay */

/* Any thread. The mails that the pool was given, or that are on their way to it: */
unsigned pool_get_load(const struct pool *p);
void pool_expect(struct pool *p);       /* one more is */
void pool_get_stats(const struct pool *p, struct engine_relay_stats *out);
#endif
