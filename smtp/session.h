#ifndef SMTP_SESSION_H
#define SMTP_SESSION_H
/* The SMTP conversation, client side, sans-I/O (RFC 5321, 3207, 4954, 2920, 3030, 1870, 6531, 3461). Bytes and `now`
 * come in; bytes, events (pulled, never called back) and a deadline come out. No sockets, clock, threads, logs, TLS
 * library. Life: new → start → … EV_START_TLS → tls_started … → EV_READY → submit → EV_DONE → (ready again, or
 * EV_DEAD) … After EV_DEAD nothing more is done with it but free. Times: milliseconds, any epoch, never going back. */
#include "smtp/ehlo.h"
#include "smtp/mail.h"
#include "smtp/outcome.h"
#include "smtp/proof.h"

struct smtp_session;

enum smtp_tls_mode { SMTP_TLS_STARTTLS, SMTP_TLS_IMPLICIT, SMTP_TLS_NONE };

/* ms; each a limit from the moment that step's wait begins, never restarted by a dripping byte */
struct smtp_timeouts {
    uint32_t banner, command, tls, write_stall, final_reply;
};

struct smtp_session_params {            /* strings are borrowed for the session's life */
    const char *ehlo_name;              /* FQDN or address literal */
    enum smtp_tls_mode tls_mode;
    const char *user, *password;        /* NULL user: no AUTH wanted */
    const struct secrets *secrets;      /* of these, to be hidden in outcomes; may be NULL */
    struct smtp_timeouts timeouts;
    size_t one_flight_max;              /* bodies up to this go in one flight with their envelope; 0: never */
    uint32_t one_flight_idle;           /* ms since the last reply: only a session used more recently may do that */
    unsigned extensions_off;            /* SMTP_EXT_…: not used even where offered */
    struct smtp_proofs *proofs;         /* of all sessions with this relay on this loop */
    unsigned depth;                     /* mails in flight at once where PIPELINING and CHUNKING are offered; 0 is 1 */
};

/* One mail for the session. Borrowed until its EV_DONE; results are written into it. */
struct smtp_transaction {
    struct smtp_transaction *next;      /* the session's business */
    const char *from;                   /* reverse-path without angle brackets; "" is <> */
    const char *const *rcpts;
    size_t n_rcpts;                     /* ≥ 1 */
    struct bytes_view content;          /* canonical: CRLF lines, ends with CRLF */
    /* ENVID where DSN is offered (RFC 3461 §4.4): printable ASCII and spaces, at most 100; or NULL */
    const char *envid;
    /* What the relay must offer, else EV_DONE with a clear outcome and nothing written (RFC 6152, 6531, 3461, 8689). */
    bool needs_8bit, needs_utf8, needs_dsn, require_tls;
    enum mail_dsn_ret dsn_ret;          /* RET=, when set */
    unsigned dsn_notify;                /* MAIL_NOTIFY_…: NOTIFY= of each RCPT, with ORCPT where it fits; 0: neither */
    bool partial_reject;
    struct smtp_outcome outcome;        /* out: the mail's */
    /* out: n_rcpts of them, the caller's array. Accepted at RCPT and then refused with the body: the body's outcome */
    struct smtp_outcome *rcpt_outcomes;
};

enum smtp_event_type {
    SMTP_EV_NONE,
    SMTP_EV_START_TLS,                  /* the driver shakes hands now, then says tls_started or closed */
    /* idle: submit may be called, if is_ready still says so: what came behind may have ended it. Once after login, and
     * after each EV_DONE that leaves it usable */
    SMTP_EV_READY,
    SMTP_EV_DONE,                       /* the transaction has its outcome; the session holds it no more */
    /* no more use: `outcome` says why (before READY: why the login failed). The driver closes the socket once the
     * output is gone (a QUIT may be in it) */
    SMTP_EV_DEAD,
};
struct smtp_event {
    enum smtp_event_type type;
    struct smtp_transaction *transaction;       /* EV_DONE */
    struct smtp_outcome outcome;                /* EV_DEAD */
    /* EV_DEAD: an orderly end (our QUIT was answered); outcome has no meaning */
    bool quit_ok;
    /* EV_DEAD: a reply came that nothing had asked for, right behind the verdict on the last mail that was DONE: which
     * of the two was its verdict cannot be told */
    bool doubts_last;
};

struct smtp_session *smtp_session_new(const struct smtp_session_params *p) MUST_CHECK;
void smtp_session_free(struct smtp_session *s);

/* TCP is up (and TLS with verification, for IMPLICIT) */
void smtp_session_start(struct smtp_session *s, uint64_t now);
void smtp_session_tls_started(struct smtp_session *s, uint64_t now);    /* handshake done and verified */
/* bytes from the server, decrypted */
void smtp_session_feed(struct smtp_session *s, struct bytes_view in, uint64_t now);
/* The transport is gone. `why` NULL: EOF or reset → the session makes connection_closed (or auth_failed after a 535,
 * service_closing after a 421, …) by stage. Otherwise the transport's own outcome (TLS failure); its delivery is
 * computed by the session. errno_text may be NULL. */
void smtp_session_closed(struct smtp_session *s, const struct smtp_outcome *why, const char *errno_text, uint64_t now);
void smtp_session_tick(struct smtp_session *s, uint64_t now);           /* the deadline may have passed */

/* valid until _sent or _feed; empty: nothing to write now. ≤ 128 KiB a call */
struct bytes_view smtp_session_output(struct smtp_session *s);
/* the kernel took n of those bytes (last byte of the last TLS record) */
void smtp_session_sent(struct smtp_session *s, size_t n, uint64_t now);
bool smtp_session_next_event(struct smtp_session *s, struct smtp_event *ev);             /* false: none */
uint64_t smtp_session_deadline(const struct smtp_session *s);           /* UINT64_MAX: none */

bool smtp_session_is_ready(const struct smtp_session *s);               /* no mail in hand, and one may be submitted */
/* Another mail may be submitted, behind those in hand: up to `depth` with PIPELINING and CHUNKING, each of which then
 * begins with RSET; with PIPELINING alone one, whose envelope leaves with the dot of the mail before it. */
bool smtp_session_has_room(const struct smtp_session *s);
/* No mail is in hand, and EV_READY waits for the reply to a RSET or to the proof (see submit). */
bool smtp_session_is_cleaning(const struct smtp_session *s);
/* So many commands were refused on it that servers lose patience, or it refused what may pass on a new one: it should
 * be ended when it is ready. */
bool smtp_session_is_worn(const struct smtp_session *s);
/* Only with room. Checks against the capabilities first (size, SMTPUTF8, 8BITMIME, DSN, REQUIRETLS): a mail that needs
 * more is EV_DONE at once, nothing is written. EV_READY comes back once the session is clean: behind a refused mail the
 * RSET is answered first, and behind the first mail the server is asked to prove that it discards the octets of a
 * refused BDAT chunk (smtp/proof.h), before a mail may go in one flight. */
void smtp_session_submit(struct smtp_session *s, struct smtp_transaction *t, uint64_t now);
/* idle sessions: QUIT, then EV_DEAD with quit_ok */
void smtp_session_quit(struct smtp_session *s, uint64_t now);

/* The caller's own deadline for one of its transactions passed. Body not wholly gone: the transaction is EV_DONE with
 * deadline_exceeded/not_sent; so is each behind it with connection_closed/not_sent; and the session is EV_DEAD, once
 * the mails in front have their replies. Wholly gone: nothing changes, returns true: "answer outcome_unknown and keep
 * waiting"; the final wait is prolonged to `until`. */
bool smtp_session_give_up(struct smtp_session *s, const struct smtp_transaction *t, uint64_t until, uint64_t now);

const struct smtp_capabilities *smtp_session_capabilities(const struct smtp_session *s);
enum stage smtp_session_stage(const struct smtp_session *s);
/* of one of its transactions */
bool smtp_session_body_is_gone(const struct smtp_session *s, const struct smtp_transaction *t);
/* client flights since start: output after having waited for a reply */
unsigned smtp_session_flights(const struct smtp_session *s);
const char *smtp_session_auth_mechanism(const struct smtp_session *s);  /* "PLAIN", or "" */
#endif
