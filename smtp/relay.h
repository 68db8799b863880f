#ifndef SMTP_RELAY_H
#define SMTP_RELAY_H
/* What is known of one destination: how many sessions it takes, when it may be tried again, and why it is not tried
 * now. No I/O, no clock. */
#include "smtp/engine.h"

#define RELAY_DELAY_FIRST_MS 250
#define RELAY_DELAY_MAX_MS 30000
#define RELAY_CIRCUIT_FAILURES 5        /* connection failures in a row that open the circuit */
#define RELAY_CIRCUIT_FIRST_MS 1000
#define RELAY_CIRCUIT_MAX_MS 30000
#define RELAY_CIRCUIT_CONNECT_MAX_MS 3000       /* where nothing was reached: asking costs the relay next to nothing */
#define RELAY_CIRCUIT_AUTH_MS 60000     /* so that an account is not locked by our tries */
#define RELAY_LIMIT_LOWERED_MS 30000
#define RELAY_SESSION_LIMIT_MS 3600000  /* how long a limit of mails a session, once met, is believed */
#define RELAY_CONNECTING_MAX 128        /* attempts side by side: nobody likes a thousand SYNs at once */

struct relay {
    const struct relay_config *config;
    unsigned failures;                  /* in a row */
    unsigned answered;                  /* of these, since the last one that was ready: at a relay that was there */
    uint64_t failed_at, next_attempt_at, circuit_until, limit_until;
    unsigned limit;                     /* counts until limit_until */
    unsigned session_limit;             /* mails that a session is good for; counts until session_limit_until */
    uint64_t session_limit_until;
    struct smtp_outcome cause;          /* of the last failure */
};

void relay_init(struct relay *r, const struct relay_config *config);

/* May one more connection be opened, with `alive` idle or busy and `connecting` on their way? When false, *when_out is
 * the time at which that may change by itself (UINT64_MAX: only when a session ends). */
bool relay_may_open(const struct relay *r, unsigned alive, unsigned connecting, uint64_t now, uint64_t *when_out);
bool relay_is_circuit_open(const struct relay *r, uint64_t now);
uint32_t relay_retry_after_s(const struct relay *r, uint64_t now);      /* until an attempt is let through; 0: now */

/* A session was told to stop after `taken` mails. */
void relay_on_session_limit(struct relay *r, unsigned taken, uint64_t now);
unsigned relay_mails_per_session(const struct relay *r, uint64_t now);  /* as configured or learnt; 0: no limit */

bool relay_is_password_refused(enum outcome_code code);                 /* AUTH's refusals that may lock an account */
uint64_t relay_doubled(uint64_t first, unsigned times, uint64_t most);  /* first * 2^times, at most `most` */

void relay_on_ready(struct relay *r);                                   /* an attempt led to a session */
/* An attempt that began at `began` ended in *why with `others` sessions idle, busy or connecting. */
void relay_on_failed(struct relay *r, const struct smtp_outcome *why, unsigned others, uint64_t began, uint64_t now);
/* The password was refused in another pool, or in a diagnosis: it is not shown before `until`. */
void relay_on_refused_elsewhere(struct relay *r, const struct smtp_outcome *why, uint64_t until);
#endif
