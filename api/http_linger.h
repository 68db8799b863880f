#ifndef API_HTTP_LINGER_H
#define API_HTTP_LINGER_H
/* Closing a connection so that its answer is read (RFC 9112 §9.6). A socket that is closed while input waits unread, or
 * before the rest of an upload arrives, is reset, and a reset takes the answer from a client that has not read it yet.
 * So our side is shut down, what still comes is read and dropped, within bounds of time and bytes, and then the socket
 * is closed. Everything here is for the loop's own thread. */
#include "smtp/loop.h"

struct http_linger;                     /* the connections of one server that are being closed */

struct http_linger_params {
    struct loop *loop;
    uint64_t max_bytes;                 /* dropped for one connection; then it is closed */
    uint32_t idle_ms, max_ms;           /* it is closed: without a byte from the client for so long; in any case */
    void (*on_left)(void *ctx, const void *address);    /* a connection has ended; its address (struct sockaddr) */
    void *ctx;
};
struct http_linger *http_linger_new(const struct http_linger_params *p) MUST_CHECK;     /* NULL: no memory */
void http_linger_free(struct http_linger *l);                   /* all are closed at once, each with on_left */

/* For a connection that is about to be closed. True: it is kept, as a copy of the descriptor, until the client has
 * closed it or the bounds are reached; on_left follows. False: it may be closed, as the client has closed it, or its
 * last request was taken whole (is_whole) and nothing lies behind that; or it cannot be kept (no descriptor, no
 * memory). address: struct sockaddr or NULL; copied. */
bool http_linger_keep(struct http_linger *l, int fd, bool is_whole, const void *address);
/* The one that is kept longest is closed; false: there is none. */
bool http_linger_drop_oldest(struct http_linger *l);
#endif
