#ifndef SMTP_DIAGNOSE_IO_H
#define SMTP_DIAGNOSE_IO_H
/* The blocking connections of a diagnosis: TCP to several addresses at once, replies, commands, TLS. Each call has its
 * own limit in ms, and all share the end of the run and its cancellation. For diagnose*.c only. */
#include "smtp/outcome.h"
#include "smtp/reply.h"
#include "smtp/resolve.h"
#include "smtp/tls.h"
#include "smtp/trace.h"

#include <stdatomic.h>

struct diagnose_limits {                /* what all connections of a run share */
    uint64_t until_us;                  /* of clock_us() */
    const atomic_bool *cancel;          /* or NULL */
    const struct secrets *secrets;      /* what nothing that is shown may repeat */
};
bool diagnose_is_over(const struct diagnose_limits *l);                 /* canceled, or its time is up */
void diagnose_pause(const struct diagnose_limits *l, uint32_t ms);      /* at most 100 ms, and not beyond the end */

struct diagnose_dialed {
    int fd;                             /* connected, non-blocking, the caller's; or -1 */
    int error;                          /* errno; ECANCELED when the run was over */
    uint32_t ms;
};
/* All of them at the same time; out has n elements. */
void diagnose_dial(const struct resolve_address *v, size_t n, uint32_t ms, const struct diagnose_limits *l,
                   struct diagnose_dialed *out);

/* What look-ups say, on a thread that is left behind when it takes too long: then *a is dns_failed. */
void diagnose_resolve(const char *host, uint16_t port, uint32_t ms, const struct diagnose_limits *l,
                      struct resolve_answer *a);

enum diagnose_io {
    DIAGNOSE_IO_OK,
    DIAGNOSE_IO_CLOSED,                 /* EOF or reset */
    DIAGNOSE_IO_TIMEOUT,
    DIAGNOSE_IO_CANCELED,
    DIAGNOSE_IO_BROKEN,                 /* not an SMTP reply; or TLS failed: tls_get_failure(c->tls) */
};

struct diagnose_conn {
    int fd;                             /* -1: none */
    const struct diagnose_limits *limits;
    struct trace *trace;                /* or NULL */
    struct tls *tls;                    /* NULL: plain */
    struct smtp_reply_parser parser;
    char in[8192];                      /* plain text received; [off, n) is not eaten yet */
    size_t off, n;
    char cipher[16384];                 /* lent to tls */
    unsigned late_looks;                /* in a row, after a limit */
    char why[200];                      /* of the last call that was not OK; printable */
};

void diagnose_conn_init(struct diagnose_conn *c, int fd, const struct diagnose_limits *l, struct trace *trace);
void diagnose_conn_close(struct diagnose_conn *c);                      /* no QUIT; may be called again */

/* At least one octet has come and is not eaten; then c->in + c->off may be looked at. */
enum diagnose_io diagnose_peek(struct diagnose_conn *c, uint32_t ms);
enum diagnose_io diagnose_reply(struct diagnose_conn *c, uint32_t ms, bool at_auth, struct smtp_reply *out);
enum diagnose_io diagnose_write(struct diagnose_conn *c, struct bytes_view v);
enum diagnose_io diagnose_handshake(struct diagnose_conn *c, struct tls_context *ctx, uint32_t ms);

/* An address on this machine: 127.0.0.0/8, ::1. Private: RFC 1918, RFC 4193, link-local. Void: 0.0.0.0, ::. */
enum diagnose_scope { DIAGNOSE_SCOPE_PUBLIC, DIAGNOSE_SCOPE_PRIVATE, DIAGNOSE_SCOPE_LOOPBACK, DIAGNOSE_SCOPE_VOID };
enum diagnose_scope diagnose_scope(const struct resolve_address *a);
bool diagnose_is_ipv6(const struct resolve_address *a);
/* What EHLO says: configured, else this host's full name, else the literal of the socket's own address. */
void diagnose_ehlo_name(const struct diagnose_conn *c, const char *configured, char out[256]);
#endif
