#ifndef SMTP_DIAL_H
#define SMTP_DIAL_H
/* A TCP connection to the first of several addresses that answers (RFC 8305 §5), and the two calls made on a connected
 * socket. */
#include "smtp/loop.h"
#include "smtp/outcome.h"
#include "smtp/resolve.h"

struct dial;

struct dial_result {
    int fd;                             /* connected, non-blocking, the receiver's; -1: failure says why */
    struct resolve_address address;     /* the one that answered */
    struct smtp_outcome failure;        /* connect_refused, network_unreachable, connect_timeout, connect_failed */
};

struct dial_params {
    struct loop *loop;
    const struct resolve_address *v;    /* copied; at most RESOLVE_ADDRESSES_MAX are tried, in this order */
    size_t n;
    uint32_t connect_ms, connect_total_ms;      /* for each address; in all */
    void (*on_done)(void *ctx, const struct dial_result *r);    /* once, never inside dial_start */
    void *ctx;
};

struct dial *dial_start(const struct dial_params *p) MUST_CHECK;        /* NULL: no memory */
void dial_cancel(struct dial *d);                                       /* on_done will not run; NULL is allowed */

/* connect_refused, network_unreachable, connect_timeout or connect_failed. */
enum outcome_code dial_code_of_errno(int error);

/* send and recv, non-blocking and without SIGPIPE. */
enum dial_io { DIAL_OK, DIAL_AGAIN, DIAL_EOF, DIAL_ERROR /* errno says which */ };
enum dial_io dial_send(int fd, struct bytes_view v, size_t *n_out);
enum dial_io dial_recv(int fd, char *buf, size_t cap, size_t *n_out);
#define DIAL_READABLE 0x001u            /* EPOLLIN */
#endif
