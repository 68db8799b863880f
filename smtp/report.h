#ifndef SMTP_REPORT_H
#define SMTP_REPORT_H
/* What the engine says of one delivery on the way up. Plain data: api/ writes it as JSON without knowing the engine. */
#include "smtp/loop.h"
#include "smtp/outcome.h"

struct delivery_attempt {
    enum outcome_code code;
    enum stage stage;
    bool reused_session;
    uint32_t ms;
};
#define DELIVERY_ATTEMPTS_MAX 4

/* Exactly one report with late == false for each delivery, at its deadline at the latest (plus a tick). When that one
 * said outcome_unknown because of the deadline and the server's reply came after all, one more with late == true. */
struct delivery_report {
    struct loop_msg msg;
    void *owner, *ctx;
    void (*on_report)(struct delivery_report *r);
    char id[37];
    size_t relay;
    bool late;
    /* late as well, of a mail reported as sent: a reply that nothing had asked for came right behind its verdict,
     * which may have been another command's. No recipients. */
    bool doubted;
    struct smtp_outcome outcome;        /* the mail's; SENT also when some recipients were refused */
    struct smtp_outcome cause;          /* relay_unavailable: the outcome that opened the circuit */
    uint32_t retry_after_s;             /* 0: not known */
    size_t n_rcpts;
    struct smtp_outcome *rcpts;         /* one each, in the delivery's order */
    /* delivery.keep_content: the bytes, a block, of a mail that is not_sent or rejected; the report's until taken */
    char *content;
    size_t content_n;
    unsigned n_attempts;
    struct delivery_attempt attempts[DELIVERY_ATTEMPTS_MAX];
    char address[64];                   /* of the relay, as connected; empty before */
    bool has_tls, tls_verified, reused_session;
    char tls_version[12], tls_cipher[48];
    /* connect covers dns; auth covers banner and EHLOs */
    uint32_t queue_us, connect_us, tls_us, auth_us, send_us, total_us;
    unsigned flights;                   /* client flights used by this mail's last attempt */
};
void delivery_report_free(struct delivery_report *r);
#endif
