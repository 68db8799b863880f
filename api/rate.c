#include "api/rate.h"

/* A token bucket, kept as the time when it will be full again (GCRA: ITU-T I.371, annex A). */

#define NS_OF_US 1000u
#define NS_OF_MS 1000000u
#define NS_OF_S 1000000000u

static uint32_t seconds_up(uint64_t ns)
{
    return (uint32_t)((ns + NS_OF_S - 1) / NS_OF_S);
}

void rate_take(_Atomic uint64_t *bucket, struct rate_limit limit, unsigned cost, uint64_t now_us,
               struct rate_verdict *out)
{
    uint64_t now = now_us * NS_OF_US, whole = (uint64_t)limit.ms * NS_OF_MS, one = whole / limit.n;
    uint64_t full = atomic_load(bucket), from, then;

    do {
        from = full > now ? full : now;
        then = from + cost * one;
        *out = (struct rate_verdict){.ok = cost <= limit.n && then - now <= whole};
    } while (out->ok && !atomic_compare_exchange_weak(bucket, &full, then));
    if (!out->ok && cost <= limit.n)
        out->retry_s = seconds_up(then - now - whole);
    then = out->ok ? then : from;
    out->left = then - now >= whole ? 0 : (unsigned)((whole - (then - now)) / one);
    if (out->left > limit.n)            /* `one` is rounded down */
        out->left = limit.n;
    out->full_s = seconds_up(then - now);
}
