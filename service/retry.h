#ifndef SERVICE_RETRY_H
#define SERVICE_RETRY_H
/* on_temporary_failure "retry": whether a mail is tried again within its request, and when. Pure: no clock, no I/O. */
#include "smtp/outcome.h"

#define RETRY_TRIES_MAX 32              /* of one mail, the first included; no more for a longer request_timeout */
#define RETRY_FIRST_MS 100
#define RETRY_MOST_MS 5000
#define RETRY_MARGIN_MS 250             /* between the end that a try should have and the deadline */

struct retry_case {
    const struct smtp_outcome *outcome; /* of the last try */
    const struct smtp_outcome *cause;   /* relay_unavailable: what opened the circuit; else of no account */
    unsigned tries;                     /* so far; 1 after the first */
    uint64_t now, deadline;             /* ms, of one clock */
    uint32_t took_ms;                   /* the last try: the next one may take as long */
    uint32_t pause_s;                   /* until the relay may be asked again, where that is known; else 0 */
    uint32_t random;                    /* any number: spreads the mails that failed together */
};

/* The time of the next try, in (now, deadline); 0: none, the failure is answered. */
uint64_t retry_when(const struct retry_case *c);
#endif
