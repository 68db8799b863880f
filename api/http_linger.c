#include "api/http_linger.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections that were answered and are read to their end, so that closing them does not reset them. */

#define DROP_SIZE 65536
#define DROPS 16                        /* in one go; then the loop's other things */

struct leaving {                        /* one connection */
    struct loop_io io;
    struct loop_timer timer;            /* may be set earlier than due: it then only looks again */
    struct http_linger *owner;
    struct leaving *prev, *next;        /* the oldest first */
    uint64_t heard, end, left;          /* ms: the last byte, the end in any case; bytes that may still come */
    struct sockaddr_storage address;
};

struct http_linger {
    struct http_linger_params p;
    struct leaving *first, *last;
    char dropped[DROP_SIZE];            /* one for all: nobody looks at it */
};

struct http_linger *http_linger_new(const struct http_linger_params *p)
{
    struct http_linger *l = calloc(1, sizeof(*l));

    if (l)
        l->p = *p;
    return l;
}

static void leaving_end(struct leaving *c)
{
    struct http_linger *l = c->owner;

    loop_timer_clear(l->p.loop, &c->timer);
    loop_del(l->p.loop, &c->io);
    close(c->io.fd);
    *(c->prev ? &c->prev->next : &l->first) = c->next;
    *(c->next ? &c->next->prev : &l->last) = c->prev;
    l->p.on_left(l->p.ctx, &c->address);
    free(c);
}

bool http_linger_drop_oldest(struct http_linger *l)
{
    if (!l->first)
        return false;
    leaving_end(l->first);
    return true;
}

void http_linger_free(struct http_linger *l)
{
    if (!l)
        return;
    while (http_linger_drop_oldest(l))
        continue;
    free(l);
}

/* MSG_TRUNC: TCP drops the bytes without copying them (tcp(7)). */
static void leaving_read(struct loop_io *io, uint32_t events)
{
    struct leaving *c = (struct leaving *)(void *)((char *)io - offsetof(struct leaving, io));
    struct http_linger *l = c->owner;
    ssize_t n = 1;

    (void)events;
    for (int i = 0; i < DROPS && n > 0; i++) {
        n = recv(io->fd, l->dropped, sizeof(l->dropped), MSG_DONTWAIT | MSG_TRUNC);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || (n > 0 && (uint64_t)n > c->left)) {
            leaving_end(c);
            return;
        }
        c->left -= n > 0 ? (uint64_t)n : 0;
        c->heard = n > 0 ? loop_now(l->p.loop) : c->heard;
    }
}

static uint64_t leaving_due(const struct leaving *c)
{
    uint64_t idle = c->heard + c->owner->p.idle_ms;

    return idle < c->end ? idle : c->end;
}

static void leaving_on_timer(struct loop_timer *t)
{
    struct leaving *c = (struct leaving *)(void *)((char *)t - offsetof(struct leaving, timer));

    if (leaving_due(c) > loop_now(c->owner->p.loop))
        loop_timer_set(c->owner->p.loop, t, leaving_due(c));
    else
        leaving_end(c);
}

/* A Unix socket's peer has an address without a length that is known here; its family is all that is asked for. */
static void linger_copy_address(struct sockaddr_storage *to, const void *from)
{
    const struct sockaddr *sa = from;

    if (!sa)
        return;
    to->ss_family = sa->sa_family;
    if (sa->sa_family == AF_INET)
        memcpy(to, from, sizeof(struct sockaddr_in));
    else if (sa->sa_family == AF_INET6)
        memcpy(to, from, sizeof(struct sockaddr_in6));
}

static bool linger_is_needed(int fd, bool is_whole)
{
    char c;
    ssize_t n = recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);

    return n > 0 || (n < 0 && errno == EAGAIN && !is_whole);
}

bool http_linger_keep(struct http_linger *l, int fd, bool is_whole, const void *address)
{
    struct leaving *c = linger_is_needed(fd, is_whole) ? calloc(1, sizeof(*c)) : NULL;
    uint64_t now = loop_now(l->p.loop);

    if (!c)
        return false;
    *c = (struct leaving){.io = {.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0), .on_ready = leaving_read}, .owner = l,
                          .timer = {.on_timer = leaving_on_timer}, .heard = now, .end = now + l->p.max_ms,
                          .left = l->p.max_bytes, .prev = l->last};
    if (c->io.fd < 0 || loop_add(l->p.loop, &c->io, EPOLLIN) < 0) {
        if (c->io.fd >= 0)
            close(c->io.fd);
        free(c);
        return false;
    }
    linger_copy_address(&c->address, address);
    *(l->last ? &l->last->next : &l->first) = c;
    l->last = c;
    shutdown(c->io.fd, SHUT_WR);
    loop_timer_set(l->p.loop, &c->timer, leaving_due(c));
    return true;
}
