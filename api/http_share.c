#include "api/http_share.h"

#include "api/http_crowd.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Accepts connections and shares them out among the servers of several loops. */

#define BATCH 16                        /* accepted in one go; then the loop's other things */
#define REST_MS 100                     /* without a descriptor to spare: until the next look */

struct http_share {
    struct http_share_params p;
    struct loop_io io;                  /* the listening socket; fd -1: not any more */
    struct http_server **servers;
    size_t n_servers;
    /* The socket is not watched. Whoever turns this to false sees to it that it is again: the loop itself, or by the
     * letter who ends a connection. */
    atomic_bool resting;
    struct loop_msg wake;
    struct loop_timer timer;
};

static bool is_full(const struct http_share *s)
{
    unsigned n = 0;

    for (size_t i = 0; i < s->n_servers; i++)
        n += http_server_load(s->servers[i]);
    return n >= s->p.max_connections;
}

static struct http_server *least_loaded(const struct http_share *s)
{
    struct http_server *least = s->servers[0];

    for (size_t i = 1; i < s->n_servers; i++)
        if (http_server_load(s->servers[i]) < http_server_load(least))
            least = s->servers[i];
    return least;
}

static void watch(struct http_share *s)
{
    if (s->io.fd >= 0)
        loop_mod(s->p.loop, &s->io, EPOLLIN);
}

static void on_wake(struct loop_msg *m)
{
    watch((struct http_share *)(void *)((char *)m - offsetof(struct http_share, wake)));
}

static void end_rest(struct http_share *s)
{
    if (atomic_exchange(&s->resting, false))
        watch(s);
}

static void on_timer(struct loop_timer *t)
{
    end_rest((struct http_share *)(void *)((char *)t - offsetof(struct http_share, timer)));
}

/* The clients wait in the backlog; whoever leaves wakes us. */
static void rest(struct http_share *s)
{
    loop_mod(s->p.loop, &s->io, 0);
    s->resting = true;
}

static bool is_lasting(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static bool may_enter(const struct http_share *s, const struct sockaddr *address)
{
    struct http_crowd_key key;

    if (!s->p.crowd)
        return true;
    http_crowd_key(address, &key);
    if (http_crowd_enter(s->p.crowd, &key))
        return true;
    s->p.on_crowded(s->p.ctx, &key);
    return false;
}

/* Without a descriptor to spare: the others wait for a moment. */
static void rest_for_a_while(struct http_share *s)
{
    rest(s);
    loop_timer_set(s->p.loop, &s->timer, loop_now(s->p.loop) + REST_MS);
    if (s->p.on_scarce)
        s->p.on_scarce(s->p.ctx);
}

/* A new descriptor is the lowest that is free. */
static bool is_scarce(const struct http_share *s, int fd)
{
    return s->p.max_fd && fd > s->p.max_fd;
}

/* False when there was none, or it cannot be had now. */
static bool accept_one(struct http_share *s)
{
    struct sockaddr_storage address;
    socklen_t n = sizeof(address);
    int fd;

    if (is_full(s) && !(s->p.makes_room && http_server_make_room(s->servers[0]))) {
        rest(s);
        if (!is_full(s))
            end_rest(s);                /* one left before it could see the rest */
        return false;
    }
    fd = accept4(s->io.fd, (struct sockaddr *)(void *)&address, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (is_scarce(s, fd)) {
        close(fd);
        rest_for_a_while(s);
        return false;
    }
    if (fd >= 0) {
        if (may_enter(s, (const struct sockaddr *)(const void *)&address))
            http_server_bring(least_loaded(s), s->p.loop, fd, &address, n);
        else
            close(fd);
        return true;
    }
    if (is_lasting(errno)) {
        if (s->p.makes_room)
            http_server_make_room(s->servers[0]);
        rest_for_a_while(s);
        return false;
    }
    return errno == ECONNABORTED || errno == EINTR;     /* that one has left; the next may be there */
}

static void on_ready(struct loop_io *io, uint32_t events)
{
    struct http_share *s = (struct http_share *)(void *)((char *)io - offsetof(struct http_share, io));

    (void)events;
    for (int i = 0; i < BATCH && accept_one(s); i++)
        continue;
}

struct http_share *http_share_new(const struct http_share_params *p)
{
    struct http_share *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->p = *p;
    s->io = (struct loop_io){.fd = -1, .on_ready = on_ready};
    s->wake.on_msg = on_wake;
    s->timer.on_timer = on_timer;
    s->servers = calloc(p->n_servers, sizeof(struct http_server *));
    if (s->servers)
        return s;
    free(s);
    return NULL;
}

void http_share_join(struct http_share *s, struct http_server *server)
{
    if (s->n_servers == s->p.n_servers)
        unreachable("more servers than were announced");
    s->servers[s->n_servers++] = server;
}

int http_share_listen(struct http_share *s, int fd)
{
    s->io.fd = fd;
    if (loop_add(s->p.loop, &s->io, EPOLLIN) == 0)
        return 0;
    close(fd);
    s->io.fd = -1;
    return -1;
}

/* The end of a connection is counted before this, and a rest begins before the counts are looked at the last time: so
 * either this sees the rest, or the loop sees the room. */
void http_share_left(struct http_share *s)
{
    if (s->resting && atomic_exchange(&s->resting, false))
        loop_post(s->p.loop, &s->wake);
}

void http_share_forget(struct http_share *s, const void *address)
{
    struct http_crowd_key key;

    if (!s->p.crowd)
        return;
    http_crowd_key(address, &key);
    http_crowd_leave(s->p.crowd, &key);
}

void http_share_stop(struct http_share *s)
{
    if (s->io.fd < 0)
        return;
    s->p.makes_room = false;            /* or this might not end */
    while (accept_one(s))
        continue;
    loop_timer_clear(s->p.loop, &s->timer);
    loop_del(s->p.loop, &s->io);
    close(s->io.fd);
    s->io.fd = -1;
    s->resting = false;                 /* and nobody need wake us any more */
}

void http_share_free(struct http_share *s)
{
    if (!s)
        return;
    free(s->servers);
    free(s);
}
