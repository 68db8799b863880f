#include "../tlsmem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* The floor of an HTTP-to-SMTP gateway: HTTP/1.1 in, pooled sessions with pipelined BDAT out, no JSON and no MIME.
 *
 * The request's body goes out as the message's text. It shows what system calls and TLS cost; it is no product: any
 * error ends it. Environment: PORT, SMTP_PORT, SMTP_SESSIONS, SMTP_CA, WINDOW (messages in flight per session, 8). */

#define READ_SIZE (256 * 1024)
#define QUEUE 64                        /* at least WINDOW */
#define MAX_FINISHED 4096

enum step { GREETING, FIRST_EHLO, STARTTLS, HANDSHAKE, SECOND_EHLO, AUTH, READY };
enum kind { LISTENER, SESSION, CLIENT };

struct peer {                           /* the head of everything that epoll knows */
    enum kind kind;
    int fd;
    struct buf out;
};

struct client {
    struct peer peer;
    bool dead;
    size_t body_n;
    struct buf in;
    struct client *next;
};

struct session {
    struct peer peer;
    enum step step;
    bool tls_up, dirty;
    int replies;                        /* to MAIL, RCPT and BDAT of the oldest message */
    SSL *ssl;
    struct tlsmem tls;
    struct buf line;
    struct client *in_flight[QUEUE];
    unsigned head, tail;
};

static int ep;
static unsigned n_sessions, window = 8;
static SSL_CTX *tls_context;
static struct session *sessions;
static struct client *waiting, *last_waiting;
static struct client *finished[MAX_FINISHED];
static unsigned n_finished;

static void die(const char *why)
{
    fprintf(stderr, "floor: %s\n", why);
    exit(1);
}

static unsigned number_from(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);

    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void watch(int operation, struct peer *p, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = p};

    epoll_ctl(ep, operation, p->fd, &ev);
}

static void flush(struct peer *p)
{
    while (p->out.off < p->out.n) {
        ssize_t k = send(p->fd, p->out.p + p->out.off, p->out.n - p->out.off, MSG_NOSIGNAL);

        if (k <= 0) {
            if (errno == EAGAIN)
                watch(EPOLL_CTL_MOD, p, EPOLLIN | EPOLLOUT);
            return;
        }
        p->out.off += (size_t)k;
    }
}

static void put(struct session *s, const void *p, size_t n)
{
    if (s->tls_up)
        SSL_write(s->ssl, p, (int)n);
    else
        buf_add(&s->peer.out, p, n);
}

static void put_line(struct session *s, const char *line, enum step next)
{
    put(s, line, strlen(line));
    s->step = next;
}

static struct session *least_busy(void)
{
    struct session *best = NULL;

    for (unsigned i = 0; i < n_sessions; i++) {
        struct session *s = &sessions[i];

        if (s->step == READY && s->head - s->tail < window && (!best || s->head - s->tail < best->head - best->tail))
            best = s;
    }
    return best;
}

/* Envelope and body in one flight. */
static void send_message(struct session *s, struct client *c)
{
    static const char header[] = "From: a@example.com\r\nTo: b@example.net\r\nSubject: bench\r\nMIME-Version: 1.0\r\n"
                                 "Content-Type: text/plain\r\n\r\n";
    char flight[4096];
    const char *body = c->in.p + c->in.n - c->body_n;
    int n = snprintf(flight, sizeof(flight),
                     "MAIL FROM:<a@example.com> BODY=8BITMIME\r\nRCPT TO:<b@example.net>\r\nBDAT %zu LAST\r\n%s",
                     sizeof(header) - 1 + c->body_n, header);

    if (c->body_n < 2048) {
        memcpy(flight + n, body, c->body_n);
        put(s, flight, (size_t)n + c->body_n);
    } else {
        put(s, flight, (size_t)n);
        put(s, body, c->body_n);
    }
    c->in.n = c->in.off = 0;
    s->in_flight[s->head++ % QUEUE] = c;
    s->dirty = true;
}

static void dispatch(void)
{
    while (waiting) {
        struct session *s = least_busy();
        struct client *c = waiting;

        if (!s)
            return;
        waiting = c->next;
        if (!waiting)
            last_waiting = NULL;
        send_message(s, c);
    }
}

static void on_mail_reply(struct session *s)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n"
                                 "{\"status\":\"sent\"}";
    struct client *c;

    if (++s->replies < 3)
        return;
    s->replies = 0;
    c = s->in_flight[s->tail++ % QUEUE];
    buf_add(&c->peer.out, answer, sizeof(answer) - 1);
    if (n_finished == MAX_FINISHED)
        die("more answers in one turn than there is room for");
    finished[n_finished++] = c;
}

static void start_tls(struct session *s)
{
    s->step = HANDSHAKE;
    s->ssl = SSL_new(tls_context);
    s->tls.out = &s->peer.out;
    tm_attach(s->ssl, &s->tls);
    SSL_set_connect_state(s->ssl);
    SSL_do_handshake(s->ssl);
}

static void on_reply(struct session *s, const char *line)
{
    if (line[0] >= '4')
        die(line);
    switch (s->step) {
    case GREETING:
        put_line(s, "EHLO floor.test\r\n", FIRST_EHLO);
        break;
    case FIRST_EHLO:
        put_line(s, "STARTTLS\r\n", STARTTLS);
        break;
    case STARTTLS:
        start_tls(s);
        break;
    case HANDSHAKE:
        break;
    case SECOND_EHLO:
        put_line(s, "AUTH PLAIN AGJlbmNoAHNlY3JldA==\r\n", AUTH);
        break;
    case AUTH:
        s->step = READY;
        break;
    case READY:
        on_mail_reply(s);
        break;
    }
}

static void feed(struct session *s, const char *p, size_t n)
{
    while (n) {
        const char *newline = memchr(p, '\n', n);
        size_t used = newline ? (size_t)(newline - p) + 1 : n;

        buf_add(&s->line, p, used);
        p += used;
        n -= used;
        if (!newline)
            return;
        s->line.p[s->line.n - 1] = '\0';
        if (s->line.n - s->line.off < 4 || s->line.p[s->line.off + 3] != '-')
            on_reply(s, s->line.p + s->line.off);
        s->line.n = s->line.off = 0;
    }
}

static void on_session(struct session *s, char *buffer)
{
    static char plain[READ_SIZE];
    ssize_t n = recv(s->peer.fd, buffer, READ_SIZE, 0);
    int k;

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        die("the SMTP server closed the connection");
    s->dirty = true;
    if (!s->ssl) {
        feed(s, buffer, (size_t)n);
        return;
    }
    s->tls.in = buffer;
    s->tls.inlen = (size_t)n;
    if (!s->tls_up && SSL_do_handshake(s->ssl) == 1) {
        s->tls_up = true;
        put_line(s, "EHLO floor.test\r\n", SECOND_EHLO);
    }
    while (s->tls_up && (k = SSL_read(s->ssl, plain, READ_SIZE)) > 0)
        feed(s, plain, (size_t)k);
}

static void on_client(struct client *c, char *buffer)
{
    ssize_t n = recv(c->peer.fd, buffer, READ_SIZE, 0);
    char *head, *end, *length;

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {                       /* never freed: its message may be in flight */
        close(c->peer.fd);
        c->dead = true;
        return;
    }
    buf_add(&c->in, buffer, (size_t)n);
    head = c->in.p + c->in.off;
    end = memmem(head, c->in.n - c->in.off, "\r\n\r\n", 4);
    if (!end)
        return;
    length = memmem(head, (size_t)(end - head), "Content-Length: ", 16);
    c->body_n = length ? strtoul(length + 16, NULL, 10) : 0;
    if (c->in.n - c->in.off < (size_t)(end + 4 - head) + c->body_n)
        return;
    c->next = NULL;
    if (last_waiting)
        last_waiting->next = c;
    else
        waiting = c;
    last_waiting = c;
}

static void on_listener(const struct peer *listener)
{
    int fd, one = 1;

    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct client *c = calloc(1, sizeof(*c));

        if (!c)
            die("no memory");
        c->peer.kind = CLIENT;
        c->peer.fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        watch(EPOLL_CTL_ADD, &c->peer, EPOLLIN);
    }
}

static struct sockaddr_in loopback(unsigned port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void connect_sessions(void)
{
    struct sockaddr_in address = loopback(number_from("SMTP_PORT", 2587));
    int one = 1;

    sessions = calloc(n_sessions, sizeof(*sessions));
    if (!sessions)
        die("no memory");
    for (unsigned i = 0; i < n_sessions; i++) {
        struct peer *p = &sessions[i].peer;

        p->kind = SESSION;
        p->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(p->fd, (struct sockaddr *)&address, sizeof(address)))
            die("cannot connect to the SMTP server");
        fcntl(p->fd, F_SETFL, O_NONBLOCK);
        setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        watch(EPOLL_CTL_ADD, p, EPOLLIN);
    }
}

static void listen_http(struct peer *listener)
{
    struct sockaddr_in address = loopback(number_from("PORT", 18080));
    int one = 1;

    listener->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(listener->fd, (struct sockaddr *)&address, sizeof(address)) || listen(listener->fd, 4096))
        die("cannot listen");
    watch(EPOLL_CTL_ADD, listener, EPOLLIN);
}

static void on_event(struct peer *p, uint32_t events)
{
    static char buffer[READ_SIZE];

    if (events & EPOLLOUT) {
        watch(EPOLL_CTL_MOD, p, EPOLLIN);
        flush(p);
    }
    if (!(events & ~(uint32_t)EPOLLOUT))
        return;
    switch (p->kind) {
    case LISTENER:
        on_listener(p);
        break;
    case SESSION:
        on_session((struct session *)p, buffer);
        break;
    case CLIENT:
        on_client((struct client *)p, buffer);
        break;
    }
}

/* What was collected in one turn goes out in one write for each connection. */
static void flush_all(void)
{
    for (unsigned i = 0; i < n_sessions; i++) {
        if (sessions[i].dirty)
            flush(&sessions[i].peer);
        sessions[i].dirty = false;
    }
    for (unsigned i = 0; i < n_finished; i++) {
        if (!finished[i]->dead)
            flush(&finished[i]->peer);
    }
    n_finished = 0;
}

int main(void)
{
    struct peer listener = {.kind = LISTENER};
    struct epoll_event events[256];

    n_sessions = number_from("SMTP_SESSIONS", 16);
    window = number_from("WINDOW", window);
    signal(SIGPIPE, SIG_IGN);
    tls_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_load_verify_locations(tls_context, getenv("SMTP_CA"), NULL);
    SSL_CTX_set_verify(tls_context, SSL_VERIFY_PEER, NULL);
    ep = epoll_create1(0);
    connect_sessions();
    listen_http(&listener);
    for (;;) {
        int n = epoll_wait(ep, events, 256, -1);

        for (int i = 0; i < n; i++)
            on_event(events[i].data.ptr, events[i].events);
        dispatch();
        flush_all();
    }
}
