#include "tests/unit/script_peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* The server of the diagnosis' tests: what it says is a table. */

#define GUESTS_MAX 64

struct guest {
    struct script_peer *peer;
    pthread_t thread;
    int fd;
    SSL *ssl;
    char in[16384];
    size_t n;
    bool in_body;
};

struct script_peer {
    struct script script;
    int fd;
    uint16_t port;
    pthread_t thread;
    pthread_mutex_t lock;               /* guards what follows */
    struct guest guests[GUESTS_MAX];
    int n_guests;
    char log[65536];                    /* each line received, and LF */
    size_t log_n;
};

static bool say(struct guest *g, const char *text)
{
    size_t n = strlen(text);

    if (g->ssl)
        return !n || SSL_write(g->ssl, text, (int)n) == (int)n;
    return send(g->fd, text, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static bool handshake(struct guest *g)
{
    g->ssl = SSL_new(g->peer->script.tls);
    if (!g->ssl)
        abort();
    SSL_set_fd(g->ssl, g->fd);
    return SSL_accept(g->ssl) == 1;
}

static void note(struct script_peer *p, const char *line)
{
    pthread_mutex_lock(&p->lock);
    p->log_n += (size_t)snprintf(p->log + p->log_n, sizeof(p->log) - p->log_n, "%s\n", line);
    if (p->log_n >= sizeof(p->log))
        abort();
    pthread_mutex_unlock(&p->lock);
}

static bool read_line(struct guest *g, char line[4096])
{
    for (;;) {
        char *end = memmem(g->in, g->n, "\r\n", 2);
        ssize_t n;
        if (end) {
            size_t len = (size_t)(end - g->in);
            snprintf(line, 4096, "%.*s", (int)len, g->in);
            g->n -= len + 2;
            memmove(g->in, end + 2, g->n);
            return true;
        }
        n = g->ssl ? SSL_read(g->ssl, g->in + g->n, (int)(sizeof(g->in) - g->n))
                   : recv(g->fd, g->in + g->n, sizeof(g->in) - g->n, 0);
        if (n <= 0)
            return false;
        g->n += (size_t)n;
    }
}

static bool matches(const struct guest *g, const char *on, const char *line)
{
    if (strncmp(on, "tls:", 4) == 0)
        return g->ssl && strncasecmp(line, on + 4, strlen(on) - 4) == 0;
    return strncasecmp(line, on, strlen(on)) == 0;
}

static const char *reply_to(struct guest *g, const char *line)
{
    if (g->in_body) {
        g->in_body = strcmp(line, ".") != 0;
        if (g->in_body)
            return "";
    }
    for (const struct script_line *l = g->peer->script.lines; l && l->on; l++)
        if (matches(g, l->on, line))
            return l->reply;
    if (strncasecmp(line, "DATA", 4) == 0) {
        g->in_body = true;
        return "354 go on\r\n";
    }
    if (strncasecmp(line, "STARTTLS", 8) == 0)
        return "220 2.0.0 go\r\n";
    if (strncasecmp(line, "AUTH", 4) == 0)
        return "235 2.7.0 welcome\r\n";
    return strncasecmp(line, "QUIT", 4) == 0 ? "221 2.0.0 bye\r\n" : "250 2.0.0 ok\r\n";
}

static void converse(struct guest *g)
{
    char line[4096];

    while (read_line(g, line)) {
        const char *reply = reply_to(g, line);
        note(g->peer, line);
        if (!reply || !say(g, reply))
            return;
        if (strncasecmp(line, "STARTTLS", 8) == 0 && strncmp(reply, "220", 3) == 0 && g->peer->script.tls &&
            !strstr(reply, "\r\n2") && !handshake(g))
            return;
    }
}

static void *serve(void *ctx)
{
    struct guest *g = ctx;
    const struct script *s = &g->peer->script;
    struct pollfd p = {.fd = g->fd, .events = POLLIN};
    char sink[4096];

    if (!s->implicit_tls || handshake(g)) {
        if (s->banner_ms)
            poll(&p, 1, (int)s->banner_ms);
        if (!s->banner)
            while (recv(g->fd, sink, sizeof(sink), 0) > 0)
                ;
        else if (strcmp(s->banner, "close") != 0 && say(g, s->banner) && strncmp(s->banner, "220", 3) == 0)
            converse(g);
    }
    SSL_free(g->ssl);
    shutdown(g->fd, SHUT_RDWR);
    return NULL;
}

static void *accept_all(void *ctx)
{
    struct script_peer *p = ctx;
    static const int on = 1;
    int fd;

    while ((fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        struct guest *g;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        pthread_mutex_lock(&p->lock);
        if (p->n_guests == GUESTS_MAX)
            abort();
        g = &p->guests[p->n_guests++];
        pthread_mutex_unlock(&p->lock);
        g->peer = p;
        g->fd = fd;
        if (pthread_create(&g->thread, NULL, serve, g))
            abort();
    }
    return NULL;
}

struct script_peer *script_peer_start(const struct script *s)
{
    struct script_peer *p = calloc(1, sizeof(*p));
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);

    if (!p)
        abort();
    p->script = *s;
    signal(SIGPIPE, SIG_IGN);           /* OpenSSL writes with write(2) */
    pthread_mutex_init(&p->lock, NULL);
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p->fd < 0 || bind(p->fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(p->fd, 64) < 0 ||
        getsockname(p->fd, (struct sockaddr *)&a, &len) < 0 || pthread_create(&p->thread, NULL, accept_all, p))
        abort();
    p->port = ntohs(a.sin_port);
    return p;
}

void script_peer_stop(struct script_peer *p)
{
    shutdown(p->fd, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->fd);
    for (int i = 0; i < p->n_guests; i++)
        shutdown(p->guests[i].fd, SHUT_RDWR);
    for (int i = 0; i < p->n_guests; i++) {
        pthread_join(p->guests[i].thread, NULL);
        close(p->guests[i].fd);
    }
    pthread_mutex_destroy(&p->lock);
    free(p);
}

uint16_t script_peer_port(const struct script_peer *p)
{
    return p->port;
}

int script_peer_count(struct script_peer *p, const char *begin)
{
    int n = 0;

    pthread_mutex_lock(&p->lock);
    for (const char *line = p->log; line[0]; line = strchr(line, '\n') + 1)
        n += strncasecmp(line, begin, strlen(begin)) == 0;
    pthread_mutex_unlock(&p->lock);
    return n;
}
