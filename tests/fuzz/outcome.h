#ifndef FUZZ_OUTCOME_H
#define FUZZ_OUTCOME_H
/* What must hold of every outcome, whoever the server is. */
#include "smtp/outcome.h"

static inline void fuzz_check_outcome(const struct smtp_outcome *o)
{
    if (o->code == OUTCOME_SENT && (o->reply_code / 100 != 2 || o->delivery != DELIVERY_ACCEPTED))
        unreachable("sent without a 2xx");
    if (o->delivery == DELIVERY_ACCEPTED && o->code != OUTCOME_SENT)
        unreachable("accepted and not sent");
    if (o->delivery == DELIVERY_REJECTED && o->reply_code < 400)
        unreachable("rejected without a reply");
}
#endif
