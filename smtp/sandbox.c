#include "smtp/sandbox.h"

#include "smtp/cert.h"
#include "smtp/crypto.h"
#include "smtp/list.h"
#include "smtp/sandbox_session.h"
#include "smtp/sandbox_store.h"
#include "smtp/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* The sandbox relay's thread: a listener on loopback, its connections, and the door for questions. */

#define MAILS_MAX 500
#define BYTES_MAX (64u << 20)
#define MESSAGE_MAX 36700160u           /* 35 MiB: what large providers take */
#define RCPTS_MAX 1000
#define CONNS_MAX 64
#define IDLE_MS (5 * 60 * 1000u)        /* RFC 5321 §4.5.3.2.7 */
#define PENDING_MAX (256u << 10)        /* replies a client has not fetched: it is not read from meanwhile */
#define RECV_MAX (64u << 10)
#define USER "sandbox"

struct sandbox {
    struct loop *loop;
    struct loop_io listener;
    struct loop_timer accept_again;
    struct tls_context *tls;
    struct sandbox_store *store;
    struct list conns;
    char *ca_pem;
    char password[33];
    uint16_t port;
    pthread_t thread;
    char cipher[RECV_MAX], plain[RECV_MAX];
};

struct conn {
    struct list_node node;
    struct sandbox *sandbox;
    struct loop_io io;
    struct loop_timer idle;
    struct sandbox_session *session;
    struct tls *tls;                    /* NULL: still in the clear */
    bool tls_ready;
    struct bytes_queue wire;            /* to be sent as it is */
    bool broken;                        /* to be closed without another word */
};

/* ---- a connection's output ---- */

static void move_all(struct bytes_queue *from, struct bytes_queue *to)
{
    struct bytes_view v = bytes_queue_view(from);

    bytes_queue_add(to, v.p, v.n);
    bytes_queue_consume(from, v.n);
}

static bool ends(const struct conn *c)
{
    return sandbox_session_state(c->session) == SANDBOX_ENDS;
}

static void collect_output(struct conn *c)
{
    struct bytes_queue *out = sandbox_session_output(c->session);

    if (c->tls && c->tls_ready) {
        if (bytes_queue_len(out) && tls_write(c->tls, bytes_queue_view(out)) != TLS_OK)
            c->broken = true;
        bytes_queue_consume(out, bytes_queue_len(out));
        if (ends(c))
            tls_shutdown(c->tls);
    } else if (!c->tls) {
        move_all(out, &c->wire);
    }
    if (c->tls)
        move_all(tls_output(c->tls), &c->wire);
    if (c->wire.failed)
        c->broken = true;
}

static void send_wire(struct conn *c)
{
    while (bytes_queue_len(&c->wire)) {
        struct bytes_view v = bytes_queue_view(&c->wire);
        ssize_t n = send(c->io.fd, v.p, v.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            c->broken = c->broken || (errno != EAGAIN && errno != ENOBUFS);
            return;
        }
        bytes_queue_consume(&c->wire, (size_t)n);
    }
    bytes_queue_release(&c->wire);
}

/* ---- a connection's input ---- */

static void keep_mail(struct conn *c)
{
    struct sandbox_mail *m = sandbox_session_take_mail(c->session);
    struct timespec ts;

    if (!m)
        return;
    clock_gettime(CLOCK_REALTIME, &ts);
    m->received_unix_ms = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
    sandbox_store_add(c->sandbox->store, m);
}

static void feed(struct conn *c, struct bytes_view v)
{
    while (v.n) {
        size_t n = sandbox_session_feed(c->session, v);
        v = bytes_view(v.p + n, v.n - n);
        keep_mail(c);
    }
}

static void start_tls(struct conn *c)
{
    collect_output(c);                  /* the 220 goes out in the clear */
    c->tls = tls_new(c->sandbox->tls);
    if (!c->tls)
        c->broken = true;
}

static bool shake_hands(struct conn *c)
{
    struct tls_facts facts;

    switch (tls_handshake(c->tls)) {
    case TLS_OK:
        tls_get_facts(c->tls, &facts);
        c->tls_ready = true;
        sandbox_session_tls_started(c->session, facts.version, facts.cipher);
        return true;
    case TLS_WANT_READ:
        return false;
    case TLS_CLOSED:
    case TLS_FAILED:
        collect_output(c);              /* the alert */
        send_wire(c);
        c->broken = true;
        return false;
    }
    unreachable("tls_handshake");
}

static void decrypt(struct conn *c, struct bytes_view cipher)
{
    enum tls_status status;
    size_t n;

    tls_feed(c->tls, cipher);
    if (!c->tls_ready && !shake_hands(c))
        return;
    while ((status = tls_read(c->tls, c->sandbox->plain, RECV_MAX, &n)) == TLS_OK)
        feed(c, bytes_view(c->sandbox->plain, n));
    if (status != TLS_WANT_READ)
        c->broken = true;
}

static void receive(struct conn *c)
{
    ssize_t n = recv(c->io.fd, c->sandbox->cipher, RECV_MAX, MSG_DONTWAIT);

    if (n <= 0) {
        c->broken = n == 0 || (errno != EAGAIN && errno != EINTR);
        return;
    }
    loop_timer_set(c->sandbox->loop, &c->idle, loop_now(c->sandbox->loop) + IDLE_MS);
    if (c->tls)
        decrypt(c, bytes_view(c->sandbox->cipher, (size_t)n));
    else
        feed(c, bytes_view(c->sandbox->cipher, (size_t)n));
    if (!c->tls && !c->broken && sandbox_session_state(c->session) == SANDBOX_WANTS_TLS)
        start_tls(c);
}

/* ---- connections ---- */

static void conn_free(struct conn *c)
{
    struct sandbox *s = c->sandbox;

    list_remove(&s->conns, &c->node);
    loop_timer_clear(s->loop, &c->idle);
    loop_del(s->loop, &c->io);
    close(c->io.fd);
    tls_free(c->tls);
    sandbox_session_free(c->session);
    bytes_queue_deinit(&c->wire);
    free(c);
    if (s->listener.events == 0)
        loop_mod(s->loop, &s->listener, EPOLLIN);       /* a descriptor is free again */
}

/* The one place where a connection is closed: nothing may touch c afterwards. */
static void conn_settle(struct conn *c)
{
    uint32_t events = 0;

    collect_output(c);
    send_wire(c);
    if (c->broken || (ends(c) && !bytes_queue_len(&c->wire))) {
        conn_free(c);
        return;
    }
    if (bytes_queue_len(&c->wire))
        events |= EPOLLOUT;
    if (!ends(c) && bytes_queue_len(&c->wire) < PENDING_MAX)
        events |= EPOLLIN;
    loop_mod(c->sandbox->loop, &c->io, events);
}

static void on_ready(struct loop_io *io, uint32_t events)
{
    struct conn *c = LIST_ITEM(io, struct conn, io);

    if (events & EPOLLIN)
        receive(c);
    else if (events & (EPOLLERR | EPOLLHUP))
        c->broken = true;
    conn_settle(c);
}

static void on_idle(struct loop_timer *t)
{
    struct conn *c = LIST_ITEM(t, struct conn, idle);

    if (ends(c) || (c->tls && !c->tls_ready))
        c->broken = true;
    sandbox_session_end(c->session, "421 4.4.2 Idle for too long");
    loop_timer_set(c->sandbox->loop, t, loop_now(c->sandbox->loop) + IDLE_MS);
    conn_settle(c);
}

/* Takes fd over. */
static void conn_start(struct sandbox *s, int fd)
{
    struct sandbox_session_params p = {.user = USER, .password = s->password, .max_message = MESSAGE_MAX,
                                       .max_rcpts = RCPTS_MAX};
    struct conn *c = calloc(1, sizeof(*c));
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (!c || !(c->session = sandbox_session_new(&p))) {
        free(c);
        close(fd);
        return;
    }
    c->sandbox = s;
    c->io = (struct loop_io){.fd = fd, .on_ready = on_ready};
    c->idle.on_timer = on_idle;
    bytes_queue_init(&c->wire, 0);
    if (loop_add(s->loop, &c->io, EPOLLIN) < 0) {
        sandbox_session_free(c->session);
        free(c);
        close(fd);
        return;
    }
    list_add_last(&s->conns, &c->node);
    loop_timer_set(s->loop, &c->idle, loop_now(s->loop) + IDLE_MS);
    conn_settle(c);
}

/* ---- the listener ---- */

static void refuse(int fd)
{
    static const char text[] = "421 4.7.0 Too many connections\r\n";

    (void)send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

static void on_connection(struct loop_io *io, uint32_t events)
{
    struct sandbox *s = LIST_ITEM(io, struct sandbox, listener);
    int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)events;
    if (fd >= 0 && s->conns.n < CONNS_MAX) {
        conn_start(s, fd);
    } else if (fd >= 0) {
        refuse(fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        loop_mod(s->loop, io, 0);       /* it would be ready for ever */
        loop_timer_set(s->loop, &s->accept_again, loop_now(s->loop) + 1000);
    }
}

static void on_accept_again(struct loop_timer *t)
{
    struct sandbox *s = LIST_ITEM(t, struct sandbox, accept_again);

    loop_mod(s->loop, &s->listener, EPOLLIN);
}

static int listen_on_loopback(struct sandbox *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);

    s->listener.on_ready = on_connection;
    s->listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->listener.fd < 0 || bind(s->listener.fd, (struct sockaddr *)&a, len) < 0 || listen(s->listener.fd, 128) < 0 ||
        getsockname(s->listener.fd, (struct sockaddr *)&a, &len) < 0)
        return -1;
    s->port = ntohs(a.sin_port);
    return loop_add(s->loop, &s->listener, EPOLLIN);
}

/* ---- the thread ---- */

static void *run(void *arg)
{
    struct sandbox *s = arg;

    if (loop_run(s->loop) < 0)
        unreachable("the sandbox's epoll set failed");
    return NULL;
}

static int start_thread(struct sandbox *s)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);                   /* signals are for the main thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&s->thread, NULL, run, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = rc;
    return rc ? -1 : 0;
}

/* base64url (RFC 4648 §5), so that it can stand in a URL. */
static int make_password(struct sandbox *s)
{
    unsigned char secret[24];
    struct bytes_buf b;

    crypto_random(secret, sizeof(secret));
    bytes_buf_init(&b, 0);
    crypto_base64(bytes_view(secret, sizeof(secret)), &b);      /* 32 characters, no padding */
    crypto_cleanse(secret, sizeof(secret));
    for (size_t i = 0; i < b.n && i + 1 < sizeof(s->password); i++)
        s->password[i] = b.p[i] == '+' ? '-' : b.p[i] == '/' ? '_' : b.p[i];
    crypto_cleanse(b.p, b.n);
    bytes_buf_deinit(&b);
    return s->password[0] ? 0 : -1;
}

static int make_tls(struct sandbox *s, char err_out[200])
{
    struct cert_set set;

    if (cert_set_make(&set) < 0) {
        snprintf(err_out, 200, "cannot make the sandbox's certificate");
        return -1;
    }
    s->tls = tls_context_new_server(set.chain_pem, set.key_pem, err_out);
    s->ca_pem = set.ca_pem;
    set.ca_pem = NULL;
    cert_set_deinit(&set);
    return s->tls ? 0 : -1;
}

static void sandbox_free(struct sandbox *s)
{
    struct list_node *node;

    while ((node = list_first(&s->conns)))
        conn_free(LIST_ITEM(node, struct conn, node));
    if (s->listener.fd >= 0)
        close(s->listener.fd);
    loop_free(s->loop);
    sandbox_store_free(s->store);
    tls_context_free(s->tls);
    free(s->ca_pem);
    crypto_cleanse(s->password, sizeof(s->password));
    free(s);
}

struct sandbox *sandbox_start(char err_out[200])
{
    struct sandbox *s = calloc(1, sizeof(*s));

    err_out[0] = '\0';
    if (!s) {
        snprintf(err_out, 200, "no memory");
        return NULL;
    }
    list_init(&s->conns);
    s->listener.fd = -1;
    s->accept_again.on_timer = on_accept_again;
    s->loop = loop_new();
    s->store = sandbox_store_new(MAILS_MAX, BYTES_MAX);
    if (s->loop && s->store && make_password(s) == 0 && make_tls(s, err_out) == 0 && listen_on_loopback(s) == 0 &&
        start_thread(s) == 0)
        return s;
    if (!err_out[0])
        snprintf(err_out, 200, "the sandbox cannot listen on 127.0.0.1: %s", strerrordesc_np(errno));
    sandbox_free(s);
    return NULL;
}

void sandbox_stop(struct sandbox *s)
{
    if (!s)
        return;
    loop_stop(s->loop);
    pthread_join(s->thread, NULL);
    sandbox_free(s);
}

/* ---- the door ---- */

uint16_t sandbox_port(const struct sandbox *s)
{
    return s->port;
}

const char *sandbox_user(const struct sandbox *s)
{
    (void)s;
    return USER;
}

const char *sandbox_password(const struct sandbox *s)
{
    return s->password;
}

const char *sandbox_ca_pem(const struct sandbox *s)
{
    return s->ca_pem;
}

static void on_answered(struct loop_msg *m)
{
    struct sandbox_query *q = LIST_ITEM(m, struct sandbox_query, msg);

    q->on_answer(q);
}

static void on_asked(struct loop_msg *m)
{
    struct sandbox_query *q = LIST_ITEM(m, struct sandbox_query, msg);

    sandbox_store_answer(q->sandbox->store, q);
    q->msg.on_msg = on_answered;
    loop_post(q->reply_to, &q->msg);
}

void sandbox_ask(struct sandbox *s, struct sandbox_query *q)
{
    q->sandbox = s;
    q->mails = NULL;
    q->n_mails = 0;
    q->msg.on_msg = on_asked;
    loop_post(s->loop, &q->msg);
}
