#ifndef SMTP_SESSION_INT_H
#define SMTP_SESSION_INT_H
/* The session's inside: shared by session.c (driving), session_steps.c (commands and their replies), session_end.c
 * (what becomes of mails) and nobody else. */
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
    STEP_PROOF,                         /* BDAT out of turn, with its chunk (smtp/proof.h) */
    STEP_RSET,
    STEP_MAIL,
    STEP_RCPT,
    STEP_DATA,
    STEP_BODY,                          /* BDAT or what follows 354; its reply is the mail's verdict */
    STEP_QUIT,
    STEP_COUNT
};

/* Of the server of this session: does it discard the octets of a refused chunk? */
enum session_proof {
    PROOF_UNKNOWN,
    PROOF_SENT,                         /* the refusal of the BDAT is awaited */
    PROOF_REFUSED,                      /* it was refused; now RSET must be answered next, and nothing else */
    PROOF_GIVEN,                        /* here, or by a server of the same fingerprint */
    PROOF_FAILED,
};

struct session_refusal {                /* what a mail was refused with; code 0: it was not */
    enum stage stage;
    int code;
    char enhanced[12];
};

struct session_mail;

struct smtp_awaited {
    enum smtp_step step;
    uint32_t rcpt;                      /* RCPT: which */
    struct session_mail *mail;          /* NULL: the command is of no mail */
    uint64_t end;                       /* of the command in `queued` */
};

/* What is known of one transaction. Commands are noted when written, answers when they come. */
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

/* A mail in hand. Mails are answered in the order in which they were submitted; only the newest is still being written.
 * Until the mail is decided, its transaction's outcome holds what the reply to MAIL, DATA or the body says of it. */
struct session_mail {
    struct smtp_transaction *t;
    struct mail_facts f;
    bool fresh;                         /* the session was used recently enough for one flight */
    bool reused;                        /* the session had a mail before, or was idle: it may have died unseen */
    bool answered;                      /* a reply of its own came */
    uint64_t begin;                     /* of its first command in `queued` */
    uint64_t final_until;               /* given up after its body was gone: how long its reply is waited for */
};

struct smtp_session {
    struct smtp_session_params p;
    struct smtp_reply_parser parser;
    struct bytes_queue out;
    uint64_t queued, sent;              /* octets since start */
    struct smtp_awaited *awaited;       /* a ring */
    size_t awaited_cap, awaited_at, awaited_n;
    struct session_mail *mails;         /* a ring: `mails_cap` of them, the oldest at `mails_at` */
    unsigned mails_cap, mails_at, mails_n;
    struct smtp_transaction *done_first, **done_last;   /* have their outcome; nobody has pulled it yet */
    bool start_tls_due, ready_due, dead_due;            /* further events to be pulled */
    struct smtp_capabilities caps;
    unsigned flights;
    bool in_flight;                     /* something was written since the last reply */

    bool greeted, ehlo_done, ehlo_refused, tls_asked, tls_on, auth_begun, authed, quit_asked, ready_told, dead;
    const struct sasl_mechanism *mechanism;
    unsigned auth_step;
    /* Between mails. ready_owed: the last one in hand is done; EV_READY waits for RSET and proof. */
    bool ready_owed, rset_due, rset_sent;
    enum session_proof proof;
    uint64_t fingerprint;               /* of banner and EHLO */
    unsigned mails_done;                /* that were written to the server */
    unsigned refusals;                  /* of these: did not end in 2xx */
    unsigned errors;                    /* commands that were refused */
    bool limit_reached;                 /* it refuses what a new session may take */
    struct session_refusal last_refusal;
    unsigned refused_alike;             /* mails in a row, by the same reply */
    bool flew, took;                    /* the last mail that ended: it had left in one flight; it was taken */
    bool doubts_last;                   /* replies slipped: the verdict of that mail may have been another's */

    bool must_die;                      /* in step with the server no more: nothing more is written */
    bool quit_ok;                       /* dead, and nothing was wrong */
    struct smtp_outcome death;          /* must_die: how the session ends, unless it is lost before; dead: how it did */

    uint64_t now;
    uint64_t wait_since;                /* when the first awaited reply became the first */
    uint64_t progress_at;               /* when the output last moved */
    uint64_t last_reply_at, verdict_at;
};

struct step_row {
    const char *name;                   /* the command, as outcomes name it */
    enum stage stage;
    size_t timeout;                     /* offset in struct smtp_timeouts */
    void (*send)(struct smtp_session *s);       /* a command of the newest mail, or of none */
    void (*reply)(struct smtp_session *s, const struct smtp_awaited *a, const struct smtp_reply *r);
};
extern const struct step_row session_steps[STEP_COUNT];

enum smtp_step session_next_step(const struct smtp_session *s);
void session_fill_body(struct smtp_session *s); /* more of the newest body into the output, as far as it is low */
bool session_uses_chunking(const struct smtp_session *s);
bool session_wants_proof(const struct smtp_session *s);         /* before it goes on behind a mail */
bool session_is_between_done(const struct smtp_session *s);     /* no RSET and no proof is due or awaited */
/* The server does not discard, or replies slip: no flights and no BDAT with this relay any more. */
void session_refute(struct smtp_session *s);

static inline struct session_mail *session_mail(const struct smtp_session *s, unsigned i)      /* 0: the oldest */
{
    return &s->mails[(s->mails_at + i) % s->mails_cap];
}
static inline struct session_mail *session_oldest(const struct smtp_session *s)
{
    return s->mails_n ? session_mail(s, 0) : NULL;
}
static inline struct session_mail *session_newest(const struct smtp_session *s)
{
    return s->mails_n ? session_mail(s, s->mails_n - 1) : NULL;
}

static inline struct smtp_awaited *session_awaited(const struct smtp_session *s, size_t i)      /* 0: the first */
{
    return &s->awaited[(s->awaited_at + i) % s->awaited_cap];
}
static inline const struct smtp_awaited *session_head(const struct smtp_session *s)
{
    return s->awaited_n ? session_awaited(s, 0) : NULL;
}

/* ---- ends (session_end.c) ---- */

/* What the replies so far say of the mail; false: nothing final. */
bool session_is_decided(const struct session_mail *m, struct smtp_outcome *out);
/* What it means for a mail in hand that its session ends because of *why; `behind`: another mail was the reason. */
void session_judge(const struct smtp_session *s, const struct session_mail *m, const struct smtp_outcome *why,
                   bool behind, struct smtp_outcome *out);
enum stage session_stage_of(const struct smtp_session *s, const struct session_mail *m);       /* how far it got */
bool session_is_stale(const struct smtp_session *s);    /* reused, and silent since a mail was given to it */
void session_tell_done(struct smtp_session *s, struct smtp_transaction *t, const struct smtp_outcome *o);
void session_finish_oldest(struct smtp_session *s, const struct smtp_outcome *o);
void session_drop_output(struct smtp_session *s);       /* the rest of a body, or commands of a session that is lost */
/* `culprit`: the oldest mail is the one that the session ends with; else it ended already. */
void session_end(struct smtp_session *s, const struct smtp_outcome *why, bool culprit);
/* Lost in the middle of something: EOF, time-out, a broken reply. */
void session_lose_at(struct smtp_session *s, enum outcome_code code, enum stage stage, const char *reason);
void session_lose(struct smtp_session *s, enum outcome_code code, const char *reason);

/* For handlers: facts that end more than their own command. */
/* The end, as *why says (NULL: an orderly one), and with it that of all mails in hand. What is in the output may still
 * go. */
void session_die(struct smtp_session *s, const struct smtp_outcome *why);
void session_die_local(struct smtp_session *s, enum outcome_code code, enum stage stage, const char *reason);
/* The same, but the oldest mail goes on to its own end first. The first reason counts. */
void session_must_die(struct smtp_session *s, enum outcome_code code, enum stage stage, const char *reason);
void session_put(struct smtp_session *s, const char *p, size_t n);
bool session_is_gone(const struct smtp_session *s, const struct session_mail *m);      /* the whole body left */
#define SESSION_OUTPUT_LOW (64 * 1024)
#endif
