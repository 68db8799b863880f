#ifndef SMTP_CONN_H
#define SMTP_CONN_H
/* One socket, with TLS or without, driving one smtp_session: look-up, connection, handshake, login, mails, end.
 * The owner pulls: after on_wake (always the last thing a callback does, so the owner may free the conn in it) and
 * after each of conn_submit, conn_look, conn_give_up, conn_quit, conn_fail and conn_drop it calls conn_next_event until
 * that returns false. */
#include "smtp/engine.h"
#include "smtp/resolve.h"
#include "smtp/tls.h"

struct conn;

#define CONN_CIPHER_MAX (16 * 1024)     /* of one turn: a peer that says much in small records has to wait for others */
#define CONN_PLAIN_MAX (16 * 1024)
struct conn_buffers {                   /* one a loop: what is read is fed on before the next read */
    char cipher[CONN_CIPHER_MAX];       /* bytes of the socket */
    char plain[CONN_PLAIN_MAX];         /* decrypted */
};

struct conn_params {                    /* pointers are borrowed for the conn's life */
    struct loop *loop;
    struct resolver *resolver;
    struct conn_buffers *buffers;
    const struct relay_config *config;
    struct tls_context *tls;            /* NULL for SMTP_TLS_NONE */
    struct smtp_proofs *proofs;
    uint32_t silent_ms;                 /* CONN_SILENT after so long without an octet; UINT32_MAX: never */
    void (*on_wake)(void *ctx);
    /* Each line of the wire, redacted (smtp/trace.h), at most TRACE_LINES_MAX a mail; "* …" is a remark. NULL: none */
    void (*on_trace)(void *ctx, bool from_client, const char *line);
    void *ctx;                          /* of both */
};

enum conn_event_type {
    CONN_READY,                         /* conn_submit may be called */
    CONN_ROOM,                          /* mails are in hand, and conn_submit may be called all the same */
    CONN_DONE,                          /* the transaction has its outcome */
    CONN_SILENT,                        /* connected, and not an octet for silent_ms; the conn goes on waiting */
    CONN_DEAD,                          /* no more use; outcome says why, unless quit_ok */
    CONN_FINISHED,                      /* after CONN_DEAD: the last bytes are out, the socket is closed: conn_free */
};

struct conn_event {
    enum conn_event_type type;
    struct smtp_transaction *transaction;       /* CONN_DONE */
    struct smtp_outcome outcome;        /* CONN_DEAD */
    bool quit_ok;                       /* CONN_DEAD */
    bool doubts_last;                   /* CONN_DEAD: see smtp_event */
};

struct conn_facts {
    char address[64];                   /* empty before the connection stands */
    uint32_t address_age_s;             /* not 0: the name servers gave no answer, and this is from so long ago */
    bool has_tls, tls_verified, tls_resumed;
    char tls_version[12], tls_cipher[48];
    uint64_t started_us;
    uint32_t connect_us, tls_us, auth_us;
};

struct conn *conn_open(const struct conn_params *p) MUST_CHECK;         /* NULL: no memory. on_wake never runs inside */
void conn_free(struct conn *c);         /* only after CONN_FINISHED, or when loop and resolver stand still */
bool conn_next_event(struct conn *c, struct conn_event *ev);            /* also writes what there is, sets the timer */

void conn_submit(struct conn *c, struct smtp_transaction *t);           /* only with room; ready is room too */
bool conn_has_room(const struct conn *c);                               /* once it was ready */
bool conn_is_cleaning(const struct conn *c);                            /* see smtp_session_is_cleaning */
bool conn_is_worn(const struct conn *c);                                /* see smtp_session_is_worn */
void conn_look(struct conn *c);         /* reads what waits: EOF, close_notify, a 421 become events */
/* see smtp_session_give_up */
bool conn_give_up(struct conn *c, const struct smtp_transaction *t, uint64_t until);
void conn_quit(struct conn *c);         /* only when ready */
void conn_fail(struct conn *c, const struct smtp_outcome *why);         /* before CONN_READY: the attempt ends so */
void conn_drop(struct conn *c, const char *why);                        /* as if the peer had closed it */

enum stage conn_stage(const struct conn *c);
bool conn_has_heard(const struct conn *c);                              /* an octet has come */
bool conn_body_is_gone(const struct conn *c, const struct smtp_transaction *t);
unsigned conn_flights(const struct conn *c);
const struct conn_facts *conn_facts(const struct conn *c);
const struct resolve_address *conn_peer(const struct conn *c);          /* NULL before the connection stands */
#endif
