#include "api/http_lobby.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections whose clients have not said anything yet, and what their first bytes are. */

#define FIRST_BYTES 32                  /* looked at; the longest method that is registered has 17 */

struct guest {
    struct loop_io io;
    struct http_lobby *lobby;
    struct guest *prev, *next;          /* the oldest first */
    uint64_t since;
    struct sockaddr_storage address;
    unsigned address_n;
};

struct http_lobby {
    struct http_lobby_params p;
    struct guest *first, *last;
    struct loop_timer timer;            /* of the oldest; may ring too early */
};

/* ---- first bytes ---- */

/* RFC 9110 §5.6.2 */
static bool is_method_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* Whether a request line may begin so: a method and a blank, behind empty lines (RFC 9112 §2.2), and no controls. */
static bool may_be_request(struct bytes_view v)
{
    size_t i = 0;

    while (i < v.n && (v.p[i] == '\r' || v.p[i] == '\n'))
        i++;
    while (i < v.n && is_method_char((unsigned char)v.p[i]))
        i++;
    return i == v.n || v.p[i] == ' ' || v.p[i] == '\r' || v.p[i] == '\n';
}

enum http_speech http_lobby_speech(struct bytes_view v)
{
    static const struct {
        const char *start;
        enum http_speech speech;
    } rows[] = {
        {"PRI * HTTP/2", HTTP_SPEECH_HTTP2}, {"PROXY ", HTTP_SPEECH_PROXY}, {"EHLO ", HTTP_SPEECH_SMTP},
        {"HELO ", HTTP_SPEECH_SMTP},         {"LHLO ", HTTP_SPEECH_SMTP},   {"SSH-", HTTP_SPEECH_SSH},
    };
    static const char proxy_v2[] = "\r\n\r\n\0\r\nQUIT\n";
    unsigned char first = v.n ? (unsigned char)v.p[0] : 0;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (bytes_starts_nocase(v, rows[i].start))
            return rows[i].speech;
    if (v.n >= sizeof(proxy_v2) - 1 && memcmp(v.p, proxy_v2, sizeof(proxy_v2) - 1) == 0)
        return HTTP_SPEECH_PROXY;
    if (first == 0x16 && (v.n < 2 || v.p[1] == 3))      /* a handshake record, RFC 8446 §5.1 */
        return HTTP_SPEECH_TLS;
    if (v.n && (first == 4 || first == 5))              /* RFC 1928 §3, and the version before */
        return HTTP_SPEECH_SOCKS;
    return may_be_request(v) ? HTTP_SPEECH_HTTP : HTTP_SPEECH_OTHER;
}

const char *http_lobby_speech_name(enum http_speech speech)
{
    switch (speech) {
    case HTTP_SPEECH_HTTP:
        return "HTTP";
    case HTTP_SPEECH_TLS:
        return "TLS";
    case HTTP_SPEECH_HTTP2:
        return "HTTP/2";
    case HTTP_SPEECH_PROXY:
        return "the PROXY protocol";
    case HTTP_SPEECH_SMTP:
        return "SMTP";
    case HTTP_SPEECH_SSH:
        return "SSH";
    case HTTP_SPEECH_SOCKS:
        return "SOCKS";
    case HTTP_SPEECH_OTHER:
        return "something else";
    }
    unreachable("a speech without a name");
}

/* ---- guests ---- */

static struct http_lobby_guest guest_view(const struct guest *g)
{
    return (struct http_lobby_guest){
        .fd = g->io.fd, .address = &g->address, .address_n = g->address_n, .since = g->since};
}

static void guest_unlink(struct guest *g)
{
    struct http_lobby *l = g->lobby;

    *(g->prev ? &g->prev->next : &l->first) = g->next;
    *(g->next ? &g->next->prev : &l->last) = g->prev;
    loop_del(l->p.loop, &g->io);
}

static void guest_drop(struct guest *g)
{
    struct http_lobby *l = g->lobby;
    struct http_lobby_guest view = guest_view(g);

    guest_unlink(g);
    close(g->io.fd);
    l->p.on_gone(l->p.ctx, &view);
    free(g);
}

/* 1: it has spoken; 0: not yet; -1: it left. */
static int first_bytes(int fd, char out[FIRST_BYTES], size_t *n_out)
{
    ssize_t n = recv(fd, out, FIRST_BYTES, MSG_PEEK | MSG_DONTWAIT);

    *n_out = n > 0 ? (size_t)n : 0;
    return n > 0 ? 1 : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static void on_guest(struct loop_io *io, uint32_t events)
{
    struct guest *g = (struct guest *)(void *)((char *)io - offsetof(struct guest, io));
    struct http_lobby *l = g->lobby;
    struct http_lobby_guest view = guest_view(g);
    char first[FIRST_BYTES];
    size_t n;
    int rc = first_bytes(io->fd, first, &n);

    (void)events;
    if (rc == 0)
        return;
    if (rc < 0) {
        guest_drop(g);
        return;
    }
    guest_unlink(g);
    l->p.on_speech(l->p.ctx, &view, http_lobby_speech(bytes_view(first, n)));
    free(g);
}

static void on_late(struct loop_timer *t)
{
    struct http_lobby *l = (struct http_lobby *)(void *)((char *)t - offsetof(struct http_lobby, timer));

    while (l->first && l->first->since + l->p.wait_ms <= loop_now(l->p.loop))
        guest_drop(l->first);
    if (l->first)
        loop_timer_set(l->p.loop, t, l->first->since + l->p.wait_ms);
}

static void guest_add(struct http_lobby *l, const struct http_lobby_guest *view)
{
    struct guest *g = calloc(1, sizeof(*g));

    if (g)
        *g = (struct guest){.io = {.fd = view->fd, .on_ready = on_guest}, .lobby = l, .prev = l->last,
                            .since = view->since, .address = *view->address, .address_n = view->address_n};
    if (!g || loop_add(l->p.loop, &g->io, EPOLLIN) < 0) {
        free(g);
        close(view->fd);
        l->p.on_gone(l->p.ctx, view);
        return;
    }
    *(l->last ? &l->last->next : &l->first) = g;
    l->last = g;
    if (!l->timer.is_set)
        loop_timer_set(l->p.loop, &l->timer, l->first->since + l->p.wait_ms);
}

/* ---- the whole ---- */

struct http_lobby *http_lobby_new(const struct http_lobby_params *p)
{
    struct http_lobby *l = calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    l->p = *p;
    l->timer.on_timer = on_late;
    return l;
}

void http_lobby_free(struct http_lobby *l)
{
    if (!l)
        return;
    while (l->first)
        guest_drop(l->first);
    loop_timer_clear(l->p.loop, &l->timer);
    free(l);
}

/* Most clients speak at once: what they said lies there often enough to look before the descriptor is watched. */
void http_lobby_enter(struct http_lobby *l, int fd, const struct sockaddr_storage *address, unsigned n)
{
    struct http_lobby_guest view = {
        .fd = fd, .address = address, .address_n = n, .since = loop_now(l->p.loop)};
    char first[FIRST_BYTES];
    size_t first_n;
    int rc = first_bytes(fd, first, &first_n);

    if (rc > 0) {
        l->p.on_speech(l->p.ctx, &view, http_lobby_speech(bytes_view(first, first_n)));
    } else if (rc == 0) {
        guest_add(l, &view);
    } else {
        close(fd);
        l->p.on_gone(l->p.ctx, &view);
    }
}

uint64_t http_lobby_oldest(const struct http_lobby *l)
{
    return l->first ? l->first->since : UINT64_MAX;
}

void http_lobby_drop_oldest(struct http_lobby *l)
{
    if (!l->first)
        unreachable("nobody waits");
    guest_drop(l->first);
}
