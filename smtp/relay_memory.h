#ifndef SMTP_RELAY_MEMORY_H
#define SMTP_RELAY_MEMORY_H
/* What this process knows of a relay beyond the life of a pool: whether it ever greeted, what a probe of its port said,
 * and how its password fared. The relay's pools on all loops share it with the diagnoses, and a reload hands on what it
 * did not change. Any thread: one lock, held for a look. Times are ms of CLOCK_MONOTONIC. */
#include "smtp/engine.h"

#define RELAY_MEMORY_PROBE_MS 3600000   /* between two probes; so long an answer counts */
#define RELAY_MEMORY_PROBING_MS 5000    /* a probe that said nothing by then says nothing any more */
#define RELAY_MEMORY_REFUSED_MS 60000   /* so that an account is not locked by our tries */
#define RELAY_MEMORY_TRIAL_MS 2000      /* a password that was never accepted is on trial for so long at the most */

struct relay_memory *relay_memory_new(void) MUST_CHECK;                 /* with one reference */
/* For `after` in the place of `before`: the same one, or another one with what still holds: nothing for another server,
 * all but the login for another password. With one reference more. */
struct relay_memory *relay_memory_next(struct relay_memory *m, const struct relay_config *before,
                                       const struct relay_config *after) MUST_CHECK;
struct relay_memory *relay_memory_ref(struct relay_memory *m);
/* The same server, user and password. */
bool relay_memory_is_same_login(const struct relay_config *a, const struct relay_config *b);

/* ---- the port ---- */

enum relay_port { RELAY_PORT_UNKNOWN, RELAY_PORT_PROBING, RELAY_PORT_IS_TLS, RELAY_PORT_IS_NOT_TLS };

void relay_memory_on_greeted(struct relay_memory *m);                   /* it speaks SMTP: there is nothing to ask */
/* True: the caller may speak to a port that says nothing, and nobody else may for an hour. */
bool relay_memory_begin_probe(struct relay_memory *m, uint64_t now) MUST_CHECK;
void relay_memory_on_probed(struct relay_memory *m, bool is_tls, uint64_t now);
enum relay_port relay_memory_get_port(struct relay_memory *m, uint64_t now);

/* ---- the password ---- */

enum relay_login {
    RELAY_LOGIN_GO,                     /* say what became of it: _accepted, _refused or _undecided */
    RELAY_LOGIN_WAIT,                   /* somebody else is trying it for the first time: ask again at *when_out */
    RELAY_LOGIN_REFUSED,                /* it is not shown before *when_out; *why_out is the reply */
};
enum relay_login relay_memory_begin_login(struct relay_memory *m, uint64_t now, uint64_t *when_out,
                                          struct smtp_outcome *why_out) MUST_CHECK;
void relay_memory_on_accepted(struct relay_memory *m);
void relay_memory_on_refused(struct relay_memory *m, const struct smtp_outcome *why, uint64_t now);
void relay_memory_on_undecided(struct relay_memory *m);                 /* it was not shown, or not judged */
/* Is it refused now? Then until when, and why. Costs one atomic read when it is not. */
bool relay_memory_is_refused(struct relay_memory *m, uint64_t now, uint64_t *until_out, struct smtp_outcome *why_out);
#endif
