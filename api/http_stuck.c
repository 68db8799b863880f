#include "api/http_int.h"

#include "api/http_tls.h"

#include <microhttpd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Connections and runs of libmicrohttpd that come to nothing: noticed, and ended or put off. */

#define STUCK_LOOKS 2
#define CUT_S 1                         /* until libmicrohttpd ends a connection that it does not see the end of */
#define QUIET_RUNS 64                   /* in a row without a call, enough to fill any buffer; later ones wait, */
#define QUIET_RUNS_AFTER 4              /* fewer while it goes on; the delay doubles up to this: */
#define QUIET_DELAY_MAX 7               /* 2^7 ms */

static const struct sockaddr *stuck_address(struct http_conn *k)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(k->c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

    return info ? info->client_addr : NULL;
}

/* Ends a connection for certain: libmicrohttpd sees the end of its socket and cleans up, but not while its buffer is
 * full, when it reads nothing. Then its own limit of inactivity is what it obeys; we see to it that it looks. */
void http_stuck_cut(struct http_conn *k, int how)
{
    struct http_server *s = k->server;

    shutdown(http_conn_fd(k), how);
    k->is_shut |= how == SHUT_RDWR;
    if (!k->is_cut) {
        MHD_set_connection_option(k->c, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)CUT_S);
        k->is_cut = true;
        s->n_cut++;
    }
    s->pending = true;
    loop_timer_set(s->http->loop, &k->timer, loop_now(s->http->loop) + CUT_S * 1000 + 100);
}

/* In the socket, or deciphered already. */
static bool stuck_has_unread(struct http_conn *k)
{
    int n = 0;

    return (ioctl(http_conn_fd(k), FIONREAD, &n) == 0 && n > 0) || (k->tls && http_tls_has_unread(k->tls));
}

/* A chunk's size line, its extensions or a trailer without an end fill libmicrohttpd's buffer: it then neither reads
 * nor gives up, and asks to be run again at once, always. All else that it reads becomes a call to us. */
static bool stuck_is(struct http_conn *k)
{
    if (k->r.chunked && k->received == k->received_before && stuck_has_unread(k))
        k->stuck_looks++;
    else
        k->stuck_looks = 0;
    return k->stuck_looks >= STUCK_LOOKS;
}

/* What lies unread when a socket is closed makes a reset of its end, and the answer may be lost in that. */
void http_stuck_drop_unread(int fd)
{
    char scrap[4096];

    for (int i = 0; i < 16 && recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT) > 0; i++)
        continue;
}

static void stuck_end(struct http_conn *k)
{
    struct http_server *s = k->server;

    http_server_tell_closed(s, "a line of a chunked body, or its trailer, had no end", stuck_address(k));
    if (!k->r.has_answer)
        s->p.on_refused(&k->r, OUTCOME_INVALID_REQUEST,
                        "A line of the chunked body (a chunk's size and extensions), or its trailer, is too long.");
    if (!k->raw_status)
        http_conn_write_raw(k);
    http_stuck_drop_unread(http_conn_fd(k));
    http_stuck_cut(k, SHUT_WR);
}

bool http_stuck_look(struct http_conn *k)
{
    if (!stuck_is(k))
        return false;
    stuck_end(k);
    return true;
}

/* ---- runs that come to nothing ---- */

void http_stuck_on_quiet(struct loop_timer *t)
{
    struct http_server *s = (struct http_server *)(void *)((char *)t - offsetof(struct http_server, quiet_timer));

    s->pending = true;
}

/* libmicrohttpd may ask to be run at once again and again although nothing comes of it, which would be a whole core for
 * one connection of those of stuck_is. So runs that call nothing are put off, longer and longer; events of sockets are
 * not: they run it at once. */
void http_stuck_next_run(struct http_server *s, bool called)
{
    const unsigned patience = s->is_quiet ? QUIET_RUNS_AFTER : QUIET_RUNS;
    MHD_UNSIGNED_LONG_LONG timeout;
    unsigned delay;

    if (MHD_get_timeout(s->daemon, &timeout) != MHD_YES || timeout != 0) {
        s->quiet = 0;
        s->is_quiet = false;
        return;
    }
    s->quiet = called ? 0 : s->quiet + 1;
    if (s->quiet <= patience) {
        s->pending = true;
        return;
    }
    s->is_quiet = true;
    delay = s->quiet - patience < QUIET_DELAY_MAX ? s->quiet - patience : QUIET_DELAY_MAX;
    loop_timer_set(s->http->loop, &s->quiet_timer, loop_now(s->http->loop) + (1u << delay));
}
