#ifndef SMTP_SESSION_INT_H
#define SMTP_SESSION_INT_H
/* The session's inside: shared by session.c (driving), session_steps.c (commands and their replies) and nobody else. */
#include "smtp/dot.h"
#include "smtp/reply.h"
#include "smtp/sasl.h"
#include "smtp/session.h"

enum smtp_step {
    STEP_NONE,                          /* nothing may be sent now */
    STEP_BANNER,                        /* only ever awaited */
    STEP_EHLO,
    STEP_HELO,
    STEP_STARTTLS,
    STEP_AUTH,
    STEP_AUTH_RESPONSE,
    STEP_RSET,
    STEP_MAIL,
    STEP_RCPT,
    STEP_DATA,
    STEP_BODY,                          /* BDAT or what follows 354; its reply is the mail's verdict */
    STEP_QUIT,
    STEP_COUNT
};

struct smtp_awaited {
    enum smtp_step step;
    uint32_t rcpt;                      /* RCPT: which */
};

/* What is known of the running transaction. Commands are noted when written, answers when they come. */
struct mail_facts {
    bool rset_sent, rset_refused;
    bool mail_sent, mail_ok, mail_refused;
    size_t rcpts_sent, rcpts_ok, rcpts_refused;
    bool data_sent, data_ok, data_refused;      /* DATA, not BDAT */
    bool body_begun, body_queued, body_accepted, body_refused;
    bool no_recipients_dot;             /* 354 came, nobody was accepted: only the dot went (RFC 2920 §3.1) */
    bool one_flight;                    /* the body went with its envelope */
    size_t body_at;                     /* octets of the content taken so far */
    struct smtp_dot dot;
    uint64_t body_end;                  /* of `queued`, once body_queued */
};

#define EVENTS_MAX 8

struct smtp_session {
    struct smtp_session_params p;
    struct smtp_reply_parser parser;
    struct bytes_queue out;
    uint64_t queued, sent;              /* octets since start */
    struct smtp_awaited *awaited;       /* a ring */
    size_t awaited_cap, awaited_at, awaited_n;
    struct smtp_event events[EVENTS_MAX];
    size_t events_at, events_n;
    struct smtp_capabilities caps;
    unsigned flights;
    bool in_flight;                     /* something was written since the last reply */

    bool greeted, ehlo_done, ehlo_refused, tls_asked, tls_on, auth_begun, authed, quit_asked, ready_told, dead;
    const struct sasl_mechanism *mechanism;
    unsigned auth_step;
    bool rset_due, one_flight_off;
    bool fresh;                         /* used recently enough for one flight; known at submit */

    struct smtp_transaction *t;
    struct mail_facts f;
    struct smtp_outcome verdict;        /* what the reply to MAIL, DATA or the body says of the whole mail */
    bool must_die;                      /* in step with the server no more: not to be used after this transaction */
    struct smtp_outcome death;          /* must_die: how the session ends, unless it is lost before */

    uint64_t now;
    uint64_t wait_since;                /* when the first awaited reply became the first */
    uint64_t progress_at;               /* when the output last moved */
    uint64_t last_reply_at, final_until;
};

struct step_row {
    const char *name;                   /* the command, as outcomes name it */
    enum stage stage;
    size_t timeout;                     /* offset in struct smtp_timeouts */
    void (*send)(struct smtp_session *s);
    void (*reply)(struct smtp_session *s, const struct smtp_awaited *a, const struct smtp_reply *r);
};
extern const struct step_row session_steps[STEP_COUNT];

enum smtp_step session_next_step(const struct smtp_session *s);
void session_fill_body(struct smtp_session *s); /* more of the body into the output, as far as it is low */

/* For handlers: facts that end more than their own command. */
/* The end, as *why says (NULL: an orderly one). A running transaction gets *why as its outcome. What is in the output
 * may still go. */
void session_die(struct smtp_session *s, const struct smtp_outcome *why);
void session_die_local(struct smtp_session *s, enum outcome_code code, enum stage stage, const char *reason);
/* The same, but the running transaction goes on to its own end first. The first reason counts. */
void session_must_die(struct smtp_session *s, enum outcome_code code, enum stage stage, const char *reason);
void session_hide_echo(const struct smtp_session *s, struct smtp_outcome *o);  /* no credentials in o->text */
void session_push_event(struct smtp_session *s, enum smtp_event_type type);
void session_put(struct smtp_session *s, const char *p, size_t n);
bool session_body_is_gone(const struct smtp_session *s);
#endif
