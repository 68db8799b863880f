#include "service/descriptors.h"

/* Shares out the file descriptors of the process. */

#define ADMIN_CONNECTIONS 128
#define LIBRARIES_AND_FILES 64
#define A_LOOP 8

/* Racing addresses and probes: two for each session. */
static uint64_t relays_want(const struct config *c)
{
    uint64_t n = 0;

    for (size_t i = 0; i < c->n_relays; i++)
        n += c->relays[i].c.max_sessions * 2;
    return n;
}

static uint64_t at_most(uint64_t n, uint64_t most)
{
    return n < most ? n : most;
}

/* Where the limit is too low for all, half of it stays with us. */
void descriptors_share_out(const struct config *c, uint64_t limit, struct descriptors *out)
{
    const uint64_t wish =
        LIBRARIES_AND_FILES + A_LOOP * (uint64_t)c->http_loops + ADMIN_CONNECTIONS + relays_want(c);
    const uint64_t kept = limit < c->max_connections + wish ? at_most(wish, limit / 2) : wish;
    const uint64_t left = limit - kept, admin = kept < wish ? at_most(kept / 4, ADMIN_CONNECTIONS) : ADMIN_CONNECTIONS;

    *out = (struct descriptors){.limit = limit,
                                .wanted = c->max_connections + wish,
                                .configured = c->max_connections,
                                .kept = (unsigned)at_most(kept, UINT32_MAX),
                                .connections = (unsigned)at_most(c->max_connections, left ? left : 1),
                                .admin_connections = admin ? (unsigned)admin : 1};
}
