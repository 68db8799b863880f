#ifndef SINK_H
#define SINK_H
/* The two halves of the sink: smtp.c holds the conversation, sink.c the sockets, threads, delay line and statistics. */
#include "../tlsmem.h"

#include <stdbool.h>
#include <stdint.h>

struct options {
    uint64_t rtt_ns;                    /* simulated round trip; 0: none */
    bool no_auth, keep_last, no_pipelining, no_chunking;
    uint64_t mails_per_session, max_sessions, fail_every;       /* 0: no limit, never */
    const char *user, *password;
};
extern struct options options;

#define COUNTERS(X) \
    X(msgs) X(bytes) X(rcpts) X(sessions) X(closed) X(refused) X(cmds) X(flights) X(reads) X(wire_in) \
    X(tls_full) X(tls_resumed) X(tls13) X(tls_fail) X(auths) X(auth_fail) \
    X(mail) X(rcpt) X(data) X(bdat) X(rset) X(noop) X(quit) X(other) X(rejected) X(ended_by_peer)

struct stats {
#define X(name) uint64_t name;
    COUNTERS(X)
#undef X
};

enum mode { MODE_COMMAND, MODE_DATA, MODE_BDAT, MODE_AUTH_PLAIN, MODE_AUTH_USER, MODE_AUTH_PASSWORD };

struct conn {
    int fd;
    struct thread *thread;
    struct stats *stats;                /* its thread's */
    enum mode mode;
    SSL *ssl;
    struct tlsmem tls;
    bool tls_up, authed, dead, want_out;
    bool replied;                       /* something was sent since the last input: what comes next is a new flight */
    int pending;                        /* pieces in the delay line that still name this connection */
    struct buf out, replies, line, message;
    bool in_mail, bdat_last, user_ok;
    unsigned n_rcpts;
    uint64_t bdat_left, mail_bytes, n_mails;
    char tail[4];                       /* the last bytes of DATA so far: the dot may straddle two reads */
    int tail_n;
};

enum verdict { GO_ON, CLOSE, START_TLS };

void conn_reply(struct conn *c, const char *line);
void conn_reset(struct conn *c);                                /* forgets the transaction */
enum verdict conn_feed(struct conn *c, const char *p, size_t n);        /* plaintext from the client */
void sink_keep_last(struct buf *message);                       /* takes its bytes */
#endif
