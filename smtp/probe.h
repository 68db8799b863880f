#ifndef SMTP_PROBE_H
#define SMTP_PROBE_H
/* Does a port speak TLS from the first byte? Asked on a connection of its own, with a ClientHello and nothing else. */
#include "smtp/resolve.h"

struct probe;

/* on_done runs once, never inside probe_start; the probe is freed before. No answer within 3 s, or no connection, is
 * "no". NULL: no memory. */
struct probe *probe_start(struct loop *loop, const struct resolve_address *to, const char *host,
                          void (*on_done)(void *ctx, bool is_tls), void *ctx) MUST_CHECK;
void probe_cancel(struct probe *p);                                     /* on_done will not run; NULL is allowed */
#endif
