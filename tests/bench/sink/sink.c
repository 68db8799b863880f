#include "sink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* An SMTP submission sink for the benchmark rig: accepts, counts and discards, on loopback only.
 *
 * STARTTLS (TLS 1.2 and 1.3), AUTH PLAIN and LOGIN, PIPELINING, CHUNKING, 8BITMIME, SMTPUTF8, SIZE, enhanced codes.
 *
 *   sink -p SMTPPORT -s STATSPORT -c cert.pem -k key.pem [-t threads] [-D rtt_ms] [-T maxsecs]
 *        [-u user] [-w password] [-a] [-L] [-P] [-K] [-x N] [-M N] [-E N]
 *   -D ms  simulated round trip: every byte received becomes visible ms later (a constant delay line, like netem
 *          without a bandwidth limit); the greeting comes after twice that (the TCP handshake, the first flight)
 *   -T s   stops by itself
 *   -a     does not demand AUTH            -L  keeps the last message: GET /last
 *   -P     does not offer PIPELINING       -K  does not offer CHUNKING
 *   -x N   421 and close after N messages on a session (what many providers do)
 *   -M N   421 at connect over N sessions at once
 *   -E N   451 to every Nth message
 * Statistics: GET http://127.0.0.1:STATSPORT/stats (JSON), /reset, /last; on SIGTERM to stdout. */

#define READ_SIZE (256 * 1024)
#define IDLE_NS 200000000u
#define TICK_NS 20000000u               /* with a delay line: greetings, put there by another thread, are looked for */
#define GREETING "220 sink.test ESMTP\r\n"

struct piece {                          /* in the delay line: bytes, or with n == 0 the greeting */
    struct piece *next;
    struct conn *conn;
    uint64_t due;
    size_t n;
    char bytes[];
};

struct line {                           /* ordered by due, since the delay is constant */
    struct piece *first, *last;
};

struct thread {
    pthread_t id;
    int ep;
    struct stats stats;
    struct line input, greetings;
    pthread_mutex_t greetings_lock;     /* filled by the accepting thread */
    char *read_buf, *plain_buf;
};

struct options options = {.user = "bench", .password = "secret"};
static struct thread *threads;
static int n_threads = 1;
static volatile sig_atomic_t stop;
static SSL_CTX *tls_context;
static uint64_t start_ns;
static struct stats zero;               /* what /reset subtracts */
static struct buf last_message;
static pthread_mutex_t last_message_lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void sink_keep_last(struct buf *message)
{
    pthread_mutex_lock(&last_message_lock);
    free(last_message.p);
    last_message = *message;
    memset(message, 0, sizeof(*message));
    pthread_mutex_unlock(&last_message_lock);
}

/* ---- one connection ---- */

static void conn_free(struct conn *c)
{
    if (c->pending)
        return;
    SSL_free(c->ssl);
    free(c->out.p);
    free(c->replies.p);
    free(c->line.p);
    free(c->message.p);
    free(c);
}

static void conn_close(struct conn *c)
{
    if (c->dead)
        return;
    c->dead = true;
    close(c->fd);
    c->stats->closed++;
}

static void conn_want_out(struct conn *c, bool want)
{
    struct epoll_event ev = {.events = EPOLLIN | (want ? EPOLLOUT : 0), .data.ptr = c};

    if (c->want_out != want)
        epoll_ctl(c->thread->ep, EPOLL_CTL_MOD, c->fd, &ev);
    c->want_out = want;
}

static void conn_flush(struct conn *c)
{
    size_t n = c->replies.n - c->replies.off;

    if (n) {
        c->replied = true;
        if (c->tls_up)
            SSL_write(c->ssl, c->replies.p + c->replies.off, (int)n);
        else
            buf_add(&c->out, c->replies.p + c->replies.off, n);
        c->replies.n = c->replies.off = 0;
    }
    while (c->out.off < c->out.n && !c->dead) {
        ssize_t k = send(c->fd, c->out.p + c->out.off, c->out.n - c->out.off, MSG_NOSIGNAL);

        if (k > 0) {
            c->out.off += (size_t)k;
        } else if (errno == EAGAIN) {
            conn_want_out(c, true);
            return;
        } else if (errno != EINTR) {
            conn_close(c);
        }
    }
    if (!c->dead)
        conn_want_out(c, false);
}

static void conn_start_tls(struct conn *c)
{
    conn_flush(c);
    c->ssl = SSL_new(tls_context);
    c->tls.out = &c->out;
    tm_attach(c->ssl, &c->tls);
    SSL_set_accept_state(c->ssl);
    c->authed = false;
    conn_reset(c);
}

static int conn_handshake(struct conn *c)
{
    int r = SSL_do_handshake(c->ssl);

    c->replied = true;
    if (r == 1) {
        c->tls_up = true;
        c->stats->tls_resumed += SSL_session_reused(c->ssl) ? 1 : 0;
        c->stats->tls_full += SSL_session_reused(c->ssl) ? 0 : 1;
        c->stats->tls13 += SSL_version(c->ssl) == TLS1_3_VERSION;
    } else if (SSL_get_error(c->ssl, r) != SSL_ERROR_WANT_READ) {
        c->stats->tls_fail++;
        ERR_clear_error();
        return -1;
    }
    return 0;
}

static enum verdict conn_tls_input(struct conn *c, const char *p, size_t n)
{
    c->tls.in = p;
    c->tls.inlen = n;
    if (!c->tls_up && conn_handshake(c) < 0)
        return CLOSE;
    while (c->tls_up) {
        int r = SSL_read(c->ssl, c->thread->plain_buf, READ_SIZE);

        if (r <= 0) {
            bool more = SSL_get_error(c->ssl, r) == SSL_ERROR_WANT_READ;

            ERR_clear_error();
            return more ? GO_ON : CLOSE;
        }
        if (conn_feed(c, c->thread->plain_buf, (size_t)r) != GO_ON)
            return CLOSE;
    }
    return GO_ON;
}

/* Bytes from the wire, after the delay line. */
static void conn_input(struct conn *c, const char *p, size_t n)
{
    enum verdict verdict;

    if (c->dead)
        return;
    if (c->replied) {
        c->stats->flights++;
        c->replied = false;
    }
    verdict = c->ssl ? conn_tls_input(c, p, n) : conn_feed(c, p, n);
    if (verdict == START_TLS)
        conn_start_tls(c);
    conn_flush(c);
    if (verdict == CLOSE)
        conn_close(c);
}

/* ---- the delay line ---- */

static void line_add(struct line *l, struct conn *c, const char *p, size_t n, uint64_t due)
{
    struct piece *piece = calloc(1, sizeof(*piece) + n);

    if (!piece)
        abort();
    if (n)
        memcpy(piece->bytes, p, n);
    piece->n = n;
    piece->conn = c;
    piece->due = due;
    c->pending++;
    if (l->last)
        l->last->next = piece;
    else
        l->first = piece;
    l->last = piece;
}

static struct piece *line_take(struct line *l, uint64_t now)
{
    struct piece *piece = l->first;

    if (!piece || piece->due > now)
        return NULL;
    l->first = piece->next;
    if (!l->first)
        l->last = NULL;
    return piece;
}

static struct piece *greeting_take(struct thread *t, uint64_t now)
{
    struct piece *piece;

    pthread_mutex_lock(&t->greetings_lock);
    piece = line_take(&t->greetings, now);
    pthread_mutex_unlock(&t->greetings_lock);
    return piece;
}

static void deliver_due(struct thread *t)
{
    uint64_t now = now_ns();
    struct piece *piece;

    while ((piece = greeting_take(t, now)) || (piece = line_take(&t->input, now))) {
        struct conn *c = piece->conn;

        c->pending--;
        if (piece->n) {
            conn_input(c, piece->bytes, piece->n);
        } else if (!c->dead) {
            conn_reply(c, GREETING);
            conn_flush(c);
        }
        if (c->dead)
            conn_free(c);
        free(piece);
    }
}

static uint64_t wait_ns(const struct thread *t)
{
    uint64_t now, wait = TICK_NS;

    if (!options.rtt_ns)
        return IDLE_NS;
    now = now_ns();
    if (t->input.first && t->input.first->due < now + wait)
        wait = t->input.first->due > now ? t->input.first->due - now : 0;
    return wait;
}

/* ---- threads ---- */

static void on_event(struct thread *t, struct conn *c, uint32_t events)
{
    ssize_t n;

    if (events & EPOLLOUT)
        conn_flush(c);
    if (!c->dead && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        n = recv(c->fd, t->read_buf, READ_SIZE, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            t->stats.ended_by_peer++;
            conn_close(c);
        } else {
            t->stats.wire_in += (uint64_t)n;
            t->stats.reads++;
            if (options.rtt_ns)
                line_add(&t->input, c, t->read_buf, (size_t)n, now_ns() + options.rtt_ns);
            else
                conn_input(c, t->read_buf, (size_t)n);
        }
    }
    if (c->dead)
        conn_free(c);
}

static void *thread_run(void *arg)
{
    struct thread *t = arg;
    struct epoll_event events[256];

    while (!stop) {
        struct timespec wait = {0, (long)wait_ns(t)};
        int n = epoll_pwait2(t->ep, events, 256, &wait, NULL);

        for (int i = 0; i < n; i++)
            on_event(t, events[i].data.ptr, events[i].events);
        if (options.rtt_ns)
            deliver_due(t);
    }
    return NULL;
}

static int threads_start(void)
{
    threads = calloc((size_t)n_threads, sizeof(*threads));
    if (!threads)
        return -1;
    for (int i = 0; i < n_threads; i++) {
        struct thread *t = &threads[i];

        t->ep = epoll_create1(EPOLL_CLOEXEC);
        t->read_buf = malloc(READ_SIZE);
        t->plain_buf = malloc(READ_SIZE);
        pthread_mutex_init(&t->greetings_lock, NULL);
        if (t->ep < 0 || !t->read_buf || !t->plain_buf || pthread_create(&t->id, NULL, thread_run, t))
            return -1;
    }
    return 0;
}

/* ---- statistics ---- */

static void stats_sum(struct stats *out)
{
    memset(out, 0, sizeof(*out));
    for (int i = 0; i < n_threads; i++) {
#define X(name) out->name += threads[i].stats.name;
        COUNTERS(X)
#undef X
    }
}

static int stats_write(char *out, size_t size)
{
    struct stats s;
    struct rusage use;
    int n;

    stats_sum(&s);
    getrusage(RUSAGE_SELF, &use);
    n = snprintf(out, size, "{\"t\":%.6f,\"cpu\":%.6f,\"active\":%lu", (double)(now_ns() - start_ns) / 1e9,
                 (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                     (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6,
                 s.sessions - s.closed - s.refused);
#define X(name) n += snprintf(out + n, size - (size_t)n, ",\"" #name "\":%lu", s.name - zero.name);
    COUNTERS(X)
#undef X
    n += snprintf(out + n, size - (size_t)n, "}\n");
    return n;
}

static void send_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

        if (k <= 0)
            return;
        p += k;
        n -= (size_t)k;
    }
}

static void http_answer(int fd, const char *type, const char *body, size_t n)
{
    char head[160];
    int k = snprintf(head, sizeof(head), "HTTP/1.0 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", type, n);

    send_all(fd, head, (size_t)k);
    send_all(fd, body, n);
}

static void http_serve(int fd)
{
    char request[1024], text[2048];
    struct timeval patience = {1, 0};
    ssize_t n;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    n = recv(fd, request, sizeof(request) - 1, 0);
    if (n <= 0)
        return;
    request[n] = '\0';
    if (strncmp(request, "GET /last", 9) == 0) {
        pthread_mutex_lock(&last_message_lock);
        http_answer(fd, "message/rfc822", last_message.p, last_message.n);
        pthread_mutex_unlock(&last_message_lock);
        return;
    }
    if (strncmp(request, "GET /reset", 10) == 0)
        stats_sum(&zero);
    http_answer(fd, "application/json", text, (size_t)stats_write(text, sizeof(text)));
}

/* ---- listening ---- */

static int listen_on(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 4096)) {
        perror("sink: bind");
        exit(1);
    }
    return fd;
}

static void accept_smtp(int listener)
{
    static unsigned turn;
    static const char busy[] = "421 4.7.0 Too many connections\r\n";
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
    struct thread *t = &threads[turn++ % (unsigned)n_threads];
    struct epoll_event ev = {.events = EPOLLIN};
    struct stats s;
    struct conn *c;

    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    stats_sum(&s);
    __atomic_add_fetch(&t->stats.sessions, 1, __ATOMIC_RELAXED);
    if (options.max_sessions && s.sessions - s.closed - s.refused >= options.max_sessions) {
        send_all(fd, busy, sizeof(busy) - 1);
        close(fd);
        __atomic_add_fetch(&t->stats.refused, 1, __ATOMIC_RELAXED);
        return;
    }
    c = calloc(1, sizeof(*c));
    if (!c)
        abort();
    c->fd = fd;
    c->thread = t;
    c->stats = &t->stats;
    if (options.rtt_ns) {
        pthread_mutex_lock(&t->greetings_lock);
        line_add(&t->greetings, c, NULL, 0, now_ns() + 2 * options.rtt_ns);
        pthread_mutex_unlock(&t->greetings_lock);
    } else {
        send_all(fd, GREETING, sizeof(GREETING) - 1);
        c->replied = true;
    }
    ev.data.ptr = c;
    epoll_ctl(t->ep, EPOLL_CTL_ADD, fd, &ev);
}

static void serve(int smtp, int http)
{
    struct pollfd listeners[2] = {{smtp, POLLIN, 0}, {http, POLLIN, 0}};

    while (!stop) {
        if (poll(listeners, 2, 500) <= 0)
            continue;
        if (listeners[1].revents) {
            int fd = accept4(http, NULL, NULL, SOCK_CLOEXEC);

            if (fd >= 0) {
                http_serve(fd);
                shutdown(fd, SHUT_WR);
                close(fd);
            }
        }
        if (listeners[0].revents)
            accept_smtp(smtp);
    }
}

/* ---- start ---- */

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static void set_limits(unsigned max_seconds)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct rlimit files;

    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    alarm(max_seconds);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

static int tls_init(const char *cert, const char *key)
{
    tls_context = SSL_CTX_new(TLS_server_method());
    if (!tls_context || SSL_CTX_use_certificate_chain_file(tls_context, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls_context, key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        return -1;
    }
    SSL_CTX_set_min_proto_version(tls_context, TLS1_2_VERSION);
    SSL_CTX_set_options(tls_context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_id_context(tls_context, (const unsigned char *)"sink", 4);
    tm_method();                        /* made here, before there are threads */
    return 0;
}

struct arguments {
    int smtp_port, stats_port;
    unsigned max_seconds;
    const char *cert, *key;
};

static void set_argument(struct arguments *a, int option, const char *value)
{
    uint64_t number = value ? strtoull(value, NULL, 10) : 0;

    switch (option) {
    case 'p': a->smtp_port = (int)number; break;
    case 's': a->stats_port = (int)number; break;
    case 'T': a->max_seconds = (unsigned)number; break;
    case 'c': a->cert = value; break;
    case 'k': a->key = value; break;
    case 't': n_threads = (int)number; break;
    case 'D': options.rtt_ns = (uint64_t)(strtod(value, NULL) * 1e6); break;
    case 'u': options.user = value; break;
    case 'w': options.password = value; break;
    case 'x': options.mails_per_session = number; break;
    case 'M': options.max_sessions = number; break;
    case 'E': options.fail_every = number; break;
    case 'a': options.no_auth = true; break;
    case 'L': options.keep_last = true; break;
    case 'P': options.no_pipelining = true; break;
    case 'K': options.no_chunking = true; break;
    default: exit(2); /* not an enum */
    }
}

int main(int argc, char **argv)
{
    struct arguments a = {
        .smtp_port = 2587, .stats_port = 2588, .max_seconds = 3600, .cert = "cert.pem", .key = "key.pem"};
    char text[2048];
    int option, smtp, http;

    while ((option = getopt(argc, argv, "p:s:c:k:t:D:T:u:w:x:M:E:aLPK")) > 0)
        set_argument(&a, option, optarg);
    start_ns = now_ns();
    set_limits(a.max_seconds);
    if (tls_init(a.cert, a.key) < 0 || threads_start() < 0)
        return 1;
    smtp = listen_on(a.smtp_port);
    http = listen_on(a.stats_port);
    serve(smtp, http);
    stats_write(text, sizeof(text));
    fputs(text, stdout);
    return 0;
}
