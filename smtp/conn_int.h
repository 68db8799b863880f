#ifndef SMTP_CONN_INT_H
#define SMTP_CONN_INT_H
/* A connection's inside: shared by conn.c (its life and events), conn_io.c (how bytes travel) and nobody else. */
#include "smtp/conn.h"
#include "smtp/dial.h"
#include "smtp/trace.h"

#define RECORD_MAX 16384                /* RFC 8446 §5.1: plaintext of one TLS record */
#define RECORDS_MAX 8                   /* encrypted ahead of the kernel */

enum conn_phase { PHASE_DNS, PHASE_CONNECT, PHASE_TLS, PHASE_TALK };

/* How bytes travel. STARTTLS swaps the table; the session does not know which one it is. */
struct transport_ops {
    void (*read)(struct conn *c);       /* takes what one recv gives and feeds it on */
    bool (*write)(struct conn *c);      /* one send; false: nothing to write, or the kernel is full */
    void (*close)(struct conn *c);      /* the polite end, before the socket goes */
    int (*start_tls)(struct conn *c, struct smtp_outcome *why_out);
};

/* A TLS record that waits to be sent. The peer can read it once its last byte has left, and not before. */
struct record {
    size_t end;                         /* in the TLS queue, counted from where it began when this was encrypted */
    size_t plain;                       /* octets of the session's output in it */
};

struct conn {
    struct conn_params p;
    enum conn_phase phase;
    struct loop_io io;                  /* io.fd is -1 when there is no socket */
    struct loop_timer timer;
    const struct transport_ops *ops;
    struct dial *dial;
    struct tls *tls;
    struct smtp_session *session;
    struct trace *trace;                /* NULL: none is wanted */
    char ehlo_name[256];
    struct resolve_address peer;
    struct conn_facts facts;
    uint64_t limit;                     /* of PHASE_DNS and PHASE_TLS, and of closing; UINT64_MAX: none */
    uint64_t silent_at;
    uint64_t tls_began_us;
    struct record records[RECORDS_MAX];
    size_t records_n, records_at, cipher_sent;
    size_t encrypted;                   /* of the session's output: in records that are not yet with the kernel */
    bool lookup_runs;                   /* the resolver holds our address */
    bool blocked;                       /* the socket's buffer is full, or others have their turn: EPOLLOUT will tell */
    size_t turn;                        /* octets written since the last event of the socket */
    bool heard;                         /* an octet has come in plain text */
    bool was_ready, room_told;
    bool silent, silent_told;
    bool failed, dead_told;             /* failed: `failure` is to be told */
    struct smtp_outcome failure;
};

static inline uint64_t conn_now(const struct conn *c)
{
    return loop_now(c->p.loop);
}

static inline void conn_trace(struct conn *c, bool from_client, struct bytes_view bytes)
{
    if (c->trace)
        trace_feed(c->trace, from_client, bytes);
}

extern const struct transport_ops conn_plain_ops;

void conn_close_socket(struct conn *c);
void conn_fail_local(struct conn *c, enum outcome_code code, enum stage stage, const char *reason);
/* The transport is gone under a session that talks: the session knows what that means for a mail on its way. */
void conn_transport_gone(struct conn *c, const struct smtp_outcome *why, const char *text);
void conn_start_tls(struct conn *c);
/* The kernel took the first n octets of the session's output. */
void conn_note_sent(struct conn *c, size_t n);
/* A session that ends in the middle of a body takes its output back. What of that is encrypted already must not leave
 * either: it would complete a mail that was reported as not sent. */
bool conn_has_taken_back(const struct conn *c);
#endif
