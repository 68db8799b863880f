#include "api/http_int.h"

#include "api/http_lobby.h"
#include "api/http_share.h"
#include "smtp/crypto.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* How connections come to a server: accepted on this loop or another, through the lobby, to libmicrohttpd; and which of
 * them goes when there is no room. */

/* ---- by age ---- */

void http_entry_remove(struct http_conn *k)
{
    struct http_server *s = k->server;

    *(k->older ? &k->older->younger : &s->oldest) = k->younger;
    *(k->younger ? &k->younger->older : &s->youngest) = k->older;
    k->older = k->younger = NULL;
}

void http_entry_add(struct http_conn *k)
{
    struct http_server *s = k->server;

    k->since = loop_now(s->http->loop);
    k->older = s->youngest;
    *(s->youngest ? &s->youngest->younger : &s->oldest) = k;
    s->youngest = k;
}

/* ---- from other loops ---- */

struct brought {
    struct loop_msg msg;
    struct http_server *server;
    struct sockaddr_storage address;
    socklen_t n;
    int fd;
};

static void entry_on_brought(struct loop_msg *m)
{
    struct brought *b = (struct brought *)(void *)m;

    http_lobby_enter(b->server->lobby, b->fd, &b->address, b->n);
    free(b);
}

void http_server_bring(struct http_server *s, const struct loop *from, int fd, const struct sockaddr_storage *address,
                       unsigned n)
{
    bool is_here = from == s->http->loop;
    struct brought *b = is_here ? NULL : malloc(sizeof(*b));

    atomic_fetch_add(&s->load, 1);
    if (is_here) {
        http_lobby_enter(s->lobby, fd, address, n);
    } else if (b) {
        *b = (struct brought){.msg = {.on_msg = entry_on_brought}, .server = s, .address = *address, .n = n, .fd = fd};
        loop_post(s->http->loop, &b->msg);
    } else {
        close(fd);
        http_share_forget(s->p.share, address);
        http_server_less_load(s);
    }
}

/* ---- first words ---- */

static void entry_on_gone(void *ctx, const struct http_lobby_guest *g)
{
    struct http_server *s = ctx;

    http_share_forget(s->p.share, g->address);
    http_server_less_load(s);
}

/* It is counted as the lobby's until it is counted as the daemon's, or has failed: then libmicrohttpd has closed it,
 * and has said so if it had begun. */
static void entry_admit(struct http_server *s, const struct http_lobby_guest *g)
{
    s->admitted_since = g->since;
    s->began = false;
    if (MHD_add_connection(s->daemon, g->fd, (const struct sockaddr *)(const void *)g->address, g->address_n) ==
        MHD_YES)
        s->pending = true;
    else if (!s->began)
        http_share_forget(s->p.share, g->address);
    http_server_less_load(s);
}

/* A connection that is none; the answer is for people who look at the wire. */
static void entry_refuse_speech(struct http_server *s, const struct http_lobby_guest *g, enum http_speech speech)
{
    struct http_conn k = {.server = s, .phase = PHASE_UPLOAD, .r = {.owner = s->p.ctx, .wrong_protocol = true}};
    char detail[120];
    struct bytes_buf out;

    snprintf(detail, sizeof(detail), "The client speaks %s, and this port speaks HTTP/1.1 without TLS.",
             http_lobby_speech_name(speech));
    crypto_uuid7(k.r.id);
    s->p.on_refused(&k.r, OUTCOME_INVALID_REQUEST, detail);
    http_response_text(&k.r, &out);
    if (!out.failed)
        send(g->fd, out.p, out.n, MSG_DONTWAIT | MSG_NOSIGNAL);
    bytes_buf_deinit(&out);
    http_response_free(&k.r.answer);
    http_stuck_drop_unread(g->fd);
}

/* Under TLS a request in plain HTTP goes on, too: on_plain answers it. */
static void entry_on_speech(void *ctx, const struct http_lobby_guest *g, enum http_speech speech)
{
    struct http_server *s = ctx;
    char why[80];

    if (speech == HTTP_SPEECH_HTTP || (s->p.tls && speech == HTTP_SPEECH_TLS)) {
        entry_admit(s, g);
        return;
    }
    snprintf(why, sizeof(why), "the client speaks %s, and this port %s", http_lobby_speech_name(speech),
             s->p.tls ? "HTTPS" : "HTTP/1.1 without TLS");
    http_server_tell_closed(s, why, (const struct sockaddr *)(const void *)g->address);
    if (!s->p.tls)
        entry_refuse_speech(s, g, speech);
    close(g->fd);
    entry_on_gone(s, g);
}

/* ---- room ---- */

/* Not those whose answer is our turn. */
static struct http_conn *entry_oldest_idle(struct http_server *s)
{
    struct http_conn *k = s->oldest;

    while (k && (k->is_cut || k->phase == PHASE_WAITING || k->phase == PHASE_PAUSED))
        k = k->younger;
    return k;
}

bool http_server_make_room(struct http_server *s)
{
    struct http_conn *k = entry_oldest_idle(s);
    uint64_t silent = http_lobby_oldest(s->lobby);

    if ((!k && silent == UINT64_MAX) || s->n_cut >= HTTP_ROOM)
        return false;
    http_server_tell_closed(s, "it was the oldest idle one of a full listener", NULL);
    if (k && k->since <= silent)
        http_stuck_cut(k, SHUT_RDWR);
    else
        http_lobby_drop_oldest(s->lobby);
    return true;
}

int http_entry_start(struct http_server *s)
{
    const struct http_lobby_params lobby = {.loop = s->http->loop, .wait_ms = s->p.header_ms, .ctx = s,
                                            .on_speech = entry_on_speech, .on_gone = entry_on_gone};

    s->lobby = http_lobby_new(&lobby);
    return s->lobby ? 0 : -1;
}
