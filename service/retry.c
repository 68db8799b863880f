#include "service/retry.h"

/* Whether a mail that failed for the moment is tried again within its request, and when. */

/* Waiting in the office changes none of these; and a greylist counts minutes, a rate limit only grows with each try, a
 * mailbox is emptied by a person. */
static bool is_worth_it(const struct retry_case *c)
{
    const struct smtp_outcome *o = c->outcome;

    if (!outcome_is_retryable(o) || outcome_is_greylisting(o))
        return false;
    if (o->code == OUTCOME_RELAY_UNAVAILABLE)
        return outcome_is_retryable(c->cause);          /* a refused password stays refused */
    switch (o->whose) {
    case WHOSE_RELAY:
    case WHOSE_SESSION:
    case WHOSE_MAIL:
    case WHOSE_ADDRESS:
        return o->code != OUTCOME_RELAY_RATE_LIMITED && o->code != OUTCOME_MAILBOX_FULL;
    case WHOSE_NOBODY:
    case WHOSE_REQUEST:
    case WHOSE_GATEWAY:
    case WHOSE_COUNT:
        return false;
    }
    unreachable("whose it is");
}

/* 100 ms, doubled for each try, at most 5 s; a quarter more or less. */
static uint64_t pause_ms(const struct retry_case *c)
{
    uint64_t ms = RETRY_FIRST_MS;

    for (unsigned i = 1; i < c->tries && ms < RETRY_MOST_MS; i++)
        ms *= 2;
    if (ms > RETRY_MOST_MS)
        ms = RETRY_MOST_MS;
    return ms - ms / 4 + c->random % (ms / 2 + 1);
}

uint64_t retry_when(const struct retry_case *c)
{
    uint64_t pause = pause_ms(c), known = (uint64_t)c->pause_s * 1000;

    if (!is_worth_it(c) || c->tries >= RETRY_TRIES_MAX)
        return 0;
    if (known)                          /* all that wait for one circuit would come in the same moment */
        pause = known + c->random % RETRY_FIRST_MS;
    if (c->now + pause + c->took_ms + RETRY_MARGIN_MS >= c->deadline)
        return 0;
    return c->now + pause;
}
