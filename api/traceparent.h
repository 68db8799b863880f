#ifndef API_TRACEPARENT_H
#define API_TRACEPARENT_H
/* The header traceparent (W3C Trace Context, Recommendation of 23 November 2021, §3.2): by which trace and span a
 * request was caused. It goes into logs, and nowhere else: SMTP has no place for it. */

struct traceparent {                    /* both "" when there is none */
    char trace_id[33], span_id[17];
};

/* What is malformed counts as absent (§3.2.2, §4.3). `n`: how often the field came; only once is good. */
void traceparent_read(const char *value, unsigned n, struct traceparent *out);
#endif
