#ifndef SERVICE_METRICS_H
#define SERVICE_METRICS_H
/* Counters and histograms for /metrics, in tables of fixed size: an observation never allocates. Each loop counts in
 * one of its own, and any thread may write them all as one. Labels are relays, codes, stages, phases, routes and
 * statuses of ours; never an address, a tag or anything else a caller or a server may choose. */
#include "smtp/engine.h"

struct metrics;

struct metrics_gauges {                 /* what others count, at the moment of writing */
    unsigned waiting_requests;
    size_t inflight_bytes;
    uint64_t log_lines_dropped;
    int64_t certificate_ends;           /* as time(2) counts; 0: there is none */
    const struct engine_relay_stats *relays;    /* n_relays */
    const char *const *relay_names;
    size_t n_relays;                    /* as many as are written */
};

struct metrics *metrics_new(size_t n_relays) MUST_CHECK;
void metrics_free(struct metrics *m);
void metrics_count_http(struct metrics *m, const char *route, int status, uint64_t us);         /* route is copied */
void metrics_count_crowded(struct metrics *m);          /* a connection was closed as its address has enough */
/* relay: place, or one beyond all when none was chosen. report: NULL when the engine was not reached. */
void metrics_count_send(struct metrics *m, size_t relay, const struct smtp_outcome *o,
                        const struct delivery_report *report);
void metrics_count_retry(struct metrics *m, size_t relay);
void metrics_count_late(struct metrics *m, size_t relay);
void metrics_count_stray(struct metrics *m, size_t relay);      /* a reply too many, behind a verdict */
/* Prometheus text format 0.0.4: the sums over n of them (at least one). */
void metrics_write(struct metrics *const *all, size_t n, const struct metrics_gauges *g, struct bytes_buf *out);
#endif
