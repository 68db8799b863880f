#ifndef API_RATE_H
#define API_RATE_H
/* How many mails a key may send in a time: one word of memory a bucket, shared by all loops without a lock. */
#include "smtp/bytes.h"

#include <stdatomic.h>

struct rate_limit {
    unsigned n;                         /* mails in `ms`; 0: no limit */
    uint32_t ms;
};

struct rate_verdict {
    bool ok;
    unsigned left;                      /* that may be sent at once */
    uint32_t full_s;                    /* until all n may */
    uint32_t retry_s;                   /* not ok: until this many may; 0: never, it is more than n */
};

/* A bucket begins as 0, which is full. now_us: CLOCK_MONOTONIC. All of `cost` or nothing is taken. Any thread. */
void rate_take(_Atomic uint64_t *bucket, struct rate_limit limit, unsigned cost, uint64_t now_us,
               struct rate_verdict *out);
#endif
