#include "tests/unit/smtp_peer.h"

#include "smtp/tls.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* The misbehaving SMTP server of the transport's tests: blocking sockets, a thread for each connection. */

#define GUESTS_MAX 64

struct guest {                          /* one connection */
    struct peer *peer;
    struct peer_rule rule;
    pthread_t thread;
    int fd;
    struct tls *tls;
    char cipher[16384];                 /* lent to tls until it wants more */
    char in[65536];
    size_t off, n;
    int mails_begun, mails, rcpts;
    bool has_mail, has_rcpt;            /* accepted in this transaction */
    bool over;
};

struct peer {
    struct peer_rule rules[16];
    size_t n_rules;
    struct tls_context *tls;
    int fd;
    uint16_t port;
    pthread_t thread;
    pthread_mutex_t lock;               /* guards what follows */
    pthread_cond_t changed;
    struct guest *guests[GUESTS_MAX];
    int n_guests, present, most, ended, mails, quits, held, released;
    bool stopping;
};

static void add(struct peer *p, int *counter, int n)
{
    pthread_mutex_lock(&p->lock);
    *counter += n;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static int get(struct peer *p, const int *counter)
{
    int n;

    pthread_mutex_lock(&p->lock);
    n = *counter;
    pthread_mutex_unlock(&p->lock);
    return n;
}

/* ---- bytes ---- */

static bool send_all(struct guest *g, struct bytes_view v)
{
    while (v.n) {
        ssize_t n = send(g->fd, v.p, v.n, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        v = bytes_view(v.p + n, v.n - (size_t)n);
    }
    return true;
}

static bool send_cipher(struct guest *g)
{
    struct bytes_queue *q = tls_output(g->tls);
    bool ok = send_all(g, bytes_queue_view(q));

    bytes_queue_consume(q, bytes_queue_len(q));
    return ok;
}

static bool say(struct guest *g, const char *text)
{
    if (!g->tls)
        return send_all(g, bytes_view_str(text));
    return tls_write(g->tls, bytes_view_str(text)) == TLS_OK && send_cipher(g);
}

static bool receive_cipher(struct guest *g)
{
    ssize_t n = recv(g->fd, g->cipher, sizeof(g->cipher), 0);

    if (n <= 0)
        return false;
    tls_feed(g->tls, bytes_view(g->cipher, (size_t)n));
    return true;
}

/* More bytes into `in`; false: the client is gone. */
static bool receive(struct guest *g)
{
    if (g->off) {
        memmove(g->in, g->in + g->off, g->n - g->off);
        g->n -= g->off;
        g->off = 0;
    }
    for (;;) {
        size_t got = 0;
        if (!g->tls) {
            ssize_t n = recv(g->fd, g->in + g->n, sizeof(g->in) - g->n, 0);
            g->n += n > 0 ? (size_t)n : 0;
            return n > 0;
        }
        switch (tls_read(g->tls, g->in + g->n, sizeof(g->in) - g->n, &got)) {
        case TLS_OK:
            g->n += got;
            return true;
        case TLS_WANT_READ:
            if (got) {
                g->n += got;
                return true;
            }
            if (!receive_cipher(g))
                return false;
            break;
        case TLS_CLOSED:
        case TLS_FAILED:
            return false;
        }
    }
}

static bool handshake(struct guest *g)
{
    g->tls = tls_new(g->peer->tls);
    if (!g->tls)
        return false;
    for (;;) {
        enum tls_status status = tls_handshake(g->tls);
        if (!send_cipher(g) || status == TLS_CLOSED || status == TLS_FAILED)
            return false;
        if (status == TLS_OK)
            return true;
        if (!receive_cipher(g))
            return false;
    }
}

static bool read_line(struct guest *g, char line[1024])
{
    for (;;) {
        char *end = memmem(g->in + g->off, g->n - g->off, "\r\n", 2);
        if (end) {
            snprintf(line, 1024, "%.*s", (int)(end - g->in - (long)g->off), g->in + g->off);
            g->off = (size_t)(end - g->in) + 2;
            return true;
        }
        if (!receive(g))
            return false;
    }
}

static bool skip(struct guest *g, size_t n)
{
    while (n) {
        size_t have = g->n - g->off, take = have < n ? have : n;
        g->off += take;
        n -= take;
        if (n && !receive(g))
            return false;
    }
    return true;
}

static bool skip_to_dot(struct guest *g)
{
    char line[1024];

    while (read_line(g, line))
        if (strcmp(line, ".") == 0)
            return true;
    return false;
}

/* ---- commands; false ends the connection ---- */

static bool ehlo(struct guest *g)
{
    char text[256];

    snprintf(text, sizeof(text),
             "250-peer.test\r\n%s%s250-PIPELINING\r\n250-CHUNKING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n",
             g->rule.starttls && !g->tls ? "250-STARTTLS\r\n" : "", g->rule.auth ? "250-AUTH PLAIN\r\n" : "");
    return say(g, text);
}

static bool is_held(struct guest *g)
{
    struct peer *p = g->peer;
    bool stopping;

    pthread_mutex_lock(&p->lock);
    p->held++;
    pthread_cond_broadcast(&p->changed);
    while (!p->released && !p->stopping)
        pthread_cond_wait(&p->changed, &p->lock);
    if (p->released)
        p->released--;
    p->held--;
    stopping = p->stopping;
    pthread_mutex_unlock(&p->lock);
    return !stopping && !g->rule.close_instead;
}

static bool mail(struct guest *g)
{
    g->rcpts = 0;
    g->has_rcpt = false;
    g->has_mail = ++g->mails_begun != g->rule.at_mail;
    if (g->has_mail)
        return say(g, "250 2.1.0 ok\r\n");
    if (g->rule.mail_hangs)
        return is_held(g);
    return g->rule.mail_reply && say(g, g->rule.mail_reply) && strncmp(g->rule.mail_reply, "421", 3) != 0;
}

static bool body_done(struct guest *g)
{
    g->has_rcpt = false;
    if (++g->mails == g->rule.hold_at && !is_held(g))
        return false;
    add(g->peer, &g->peer->mails, 1);
    if (g->mails == g->rule.close_after && g->rule.goodbye) {
        say(g, "250 2.0.0 taken\r\n421 4.7.0 that was enough\r\n");
        return false;
    }
    return say(g, "250 2.0.0 taken\r\n") && g->mails != g->rule.close_after;
}

static bool body(struct guest *g, const char *line)
{
    if (g->rule.early_body_reply && g->has_rcpt) {
        say(g, g->rule.early_body_reply);
        return false;
    }
    if (strncasecmp(line, "DATA", 4) == 0 && !g->has_rcpt)
        return say(g, "503 5.5.1 RCPT first\r\n");
    if (strncasecmp(line, "DATA", 4) == 0 && !say(g, "354 go on\r\n"))
        return false;
    if (g->rule.pause_before_body && g->has_rcpt)
        is_held(g);
    if (strncasecmp(line, "DATA", 4) == 0)
        return skip_to_dot(g) && body_done(g);
    if (!skip(g, strtoul(line + 5, NULL, 10)))
        return false;
    if (!g->has_rcpt)                   /* RFC 3030 §2: discarded */
        return say(g, "503 5.5.1 nobody is to get it\r\n");
    return strstr(line, "LAST") ? body_done(g) : say(g, "250 2.0.0 chunk\r\n");
}

static bool starttls(struct guest *g)
{
    if (g->rule.starttls_reply)
        return say(g, g->rule.starttls_reply);
    return say(g, "220 2.0.0 go\r\n") && handshake(g);
}

static bool command(struct guest *g, const char *line)
{
    if (strncasecmp(line, "EHLO", 4) == 0)
        return ehlo(g);
    if (strncasecmp(line, "STARTTLS", 8) == 0)
        return starttls(g);
    if (strncasecmp(line, "AUTH", 4) == 0)
        return say(g, g->rule.auth_reply ? g->rule.auth_reply : "235 2.7.0 ok\r\n");
    if (strncasecmp(line, "MAIL", 4) == 0)
        return mail(g);
    if (strncasecmp(line, "BDAT", 4) == 0 || strncasecmp(line, "DATA", 4) == 0)
        return body(g, line);
    if (strncasecmp(line, "QUIT", 4) == 0) {
        add(g->peer, &g->peer->quits, 1);
        say(g, "221 2.0.0 bye\r\n");
        return false;
    }
    if (strncasecmp(line, "RCPT", 4) == 0 && g->rule.max_rcpts && ++g->rcpts > g->rule.max_rcpts)
        return say(g, "452 4.5.3 too many recipients\r\n");
    if (strncasecmp(line, "RCPT", 4) == 0 && !g->has_mail)
        return say(g, "503 5.5.1 MAIL first\r\n");
    g->has_rcpt |= strncasecmp(line, "RCPT", 4) == 0;
    return say(g, "250 2.1.5 ok\r\n");                    /* RCPT, RSET, NOOP */
}

static void serve(struct guest *g)
{
    const char *banner = g->rule.banner ? g->rule.banner : "220 peer.test ESMTP\r\n";
    char line[1024];

    if (g->rule.tls_alert_only) {
        if (receive(g) && g->in[0] == 0x16)
            send_all(g, bytes_view("\x15\x03\x01\x00\x02\x02\x28", 7));
        return;
    }
    while (g->rule.mute)
        if (!receive(g))
            return;
        else
            g->off = g->n;
    if (g->rule.implicit_tls && !handshake(g))
        return;
    if (!say(g, banner) || strncmp(banner, "220", 3) != 0)
        return;
    while (read_line(g, line) && command(g, line))
        ;
}

static void *guest_run(void *ctx)
{
    struct guest *g = ctx;
    struct peer *p = g->peer;

    serve(g);
    tls_free(g->tls);
    pthread_mutex_lock(&p->lock);
    close(g->fd);
    g->over = true;
    p->present--;
    p->ended++;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- life ---- */

static void welcome(struct peer *p, int fd)
{
    struct guest *g = calloc(1, sizeof(*g));
    static const int on = 1;

    if (!g)
        abort();
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));          /* one reply a write: Nagle would cost 40 ms */
    g->peer = p;
    g->fd = fd;
    pthread_mutex_lock(&p->lock);
    if (p->n_guests == GUESTS_MAX)
        abort();
    g->rule = p->rules[(size_t)p->n_guests < p->n_rules ? (size_t)p->n_guests : p->n_rules - 1];
    p->guests[p->n_guests++] = g;
    if (++p->present > p->most)
        p->most = p->present;
    pthread_mutex_unlock(&p->lock);
    if (pthread_create(&g->thread, NULL, guest_run, g))
        abort();
}

static void *peer_run(void *ctx)
{
    struct peer *p = ctx;
    int fd;

    while ((fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        welcome(p, fd);
    return NULL;
}

struct peer *peer_start(const struct peer_rule *rules, size_t n, const char *tls_chain, const char *tls_key)
{
    struct peer *p = calloc(1, sizeof(*p));
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    char err[200];

    if (!p)
        abort();
    p->n_rules = n;
    for (size_t i = 0; i < n; i++)
        p->rules[i] = rules[i];
    if (tls_chain && !(p->tls = tls_context_new_server(tls_chain, tls_key, err)))
        abort();
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p->fd < 0 || bind(p->fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(p->fd, 64) < 0 ||
        getsockname(p->fd, (struct sockaddr *)&a, &len) < 0 || pthread_create(&p->thread, NULL, peer_run, p))
        abort();
    p->port = ntohs(a.sin_port);
    return p;
}

void peer_hang_up(struct peer *p)
{
    pthread_mutex_lock(&p->lock);
    for (int i = 0; i < p->n_guests; i++)
        if (!p->guests[i]->over)
            shutdown(p->guests[i]->fd, SHUT_RDWR);
    pthread_mutex_unlock(&p->lock);
}

void peer_stop(struct peer *p)
{
    shutdown(p->fd, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->fd);
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    peer_hang_up(p);
    for (int i = 0; i < p->n_guests; i++) {
        pthread_join(p->guests[i]->thread, NULL);
        free(p->guests[i]);
    }
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    tls_context_free(p->tls);
    free(p);
}

uint16_t peer_port(const struct peer *p)
{
    return p->port;
}

void peer_release(struct peer *p)
{
    add(p, &p->released, 1);
}

static void wait_for(struct peer *p, const int *counter, int n)
{
    pthread_mutex_lock(&p->lock);
    while (*counter < n)
        pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

void peer_wait_held(struct peer *p)
{
    wait_for(p, &p->held, 1);
}

void peer_wait_closed(struct peer *p, int n)
{
    wait_for(p, &p->ended, n);
}

int peer_connections(struct peer *p)
{
    return get(p, &p->n_guests);
}

int peer_mails(struct peer *p)
{
    return get(p, &p->mails);
}

int peer_most(struct peer *p)
{
    return get(p, &p->most);
}

int peer_quits(struct peer *p)
{
    return get(p, &p->quits);
}
