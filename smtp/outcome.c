#include "smtp/outcome.h"

#include <stdio.h>
#include <string.h>

/* Names and rules of outcomes. */

static const struct {
    const char *name;
    enum retry_rule retry;
    enum outcome_whose whose;
} codes[] = {
#define X(symbol, name, retry, whose) [OUTCOME_##symbol] = {name, RETRY_##retry, WHOSE_##whose},
    OUTCOME_CODES(X)
#undef X
};

static const char *const stages[] = {
    [STAGE_REQUEST] = "request", [STAGE_QUEUE] = "queue", [STAGE_DNS] = "dns", [STAGE_CONNECT] = "connect",
    [STAGE_PROXY] = "proxy", [STAGE_TLS] = "tls", [STAGE_BANNER] = "banner", [STAGE_EHLO] = "ehlo",
    [STAGE_STARTTLS] = "starttls", [STAGE_AUTH] = "auth", [STAGE_MAIL] = "mail", [STAGE_RCPT] = "rcpt",
    [STAGE_DATA] = "data", [STAGE_BODY] = "body",
};
_Static_assert(ARRAY_LEN(stages) == STAGE_COUNT, "one name a stage");

static const char *const whose_names[] = {
    [WHOSE_NOBODY] = "nobody", [WHOSE_REQUEST] = "request", [WHOSE_GATEWAY] = "gateway", [WHOSE_RELAY] = "relay",
    [WHOSE_SESSION] = "session", [WHOSE_MAIL] = "mail", [WHOSE_ADDRESS] = "address",
};
_Static_assert(ARRAY_LEN(whose_names) == WHOSE_COUNT, "one name for each");

const char *outcome_code_name(enum outcome_code code)
{
    return codes[code].name;
}

bool outcome_code_from_name(const char *name, enum outcome_code *out)
{
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (strcmp(codes[i].name, name) == 0) {
            *out = (enum outcome_code)i;
            return true;
        }
    *out = OUTCOME_INTERNAL_ERROR;
    return false;
}

const char *stage_name(enum stage s)
{
    return stages[s];
}

const char *delivery_name(enum delivery_status d)
{
    switch (d) {
    case DELIVERY_NOT_SENT:
        return "not_sent";
    case DELIVERY_REJECTED:
        return "rejected";
    case DELIVERY_ACCEPTED:
        return "accepted";
    case DELIVERY_UNKNOWN:
        return "unknown";
    }
    unreachable("delivery status");
}

enum outcome_whose outcome_usual_whose(enum outcome_code code)
{
    return codes[code].whose;
}

const char *outcome_whose_name(enum outcome_whose whose)
{
    return whose_names[whose];
}

void outcome_on_fresh_session(struct smtp_outcome *o)
{
    if (o->whose == WHOSE_SESSION)
        o->whose = WHOSE_RELAY;
}

enum retry_rule outcome_retry_rule(enum outcome_code code)
{
    return codes[code].retry;
}

bool outcome_is_temporary(const struct smtp_outcome *o)
{
    return o->reply_code >= 400 && o->reply_code < 500;
}

/* 450 4.7.1 to RCPT is what the usual greylists say; others say it in words, or wait for the body. */
bool outcome_is_greylisting(const struct smtp_outcome *o)
{
    if (!outcome_is_temporary(o) || o->stage < STAGE_MAIL)
        return false;
    return (o->code == OUTCOME_RECIPIENTS_REJECTED && strcmp(o->enhanced, "4.7.1") == 0) ||
           strcasestr(o->text, "greylist") || strcasestr(o->text, "graylist");
}

bool outcome_is_retryable(const struct smtp_outcome *o)
{
    if (o->delivery == DELIVERY_UNKNOWN || o->delivery == DELIVERY_ACCEPTED)
        return false;
    switch (codes[o->code].retry) {
    case RETRY_NO:
        return false;
    case RETRY_YES:
        return true;
    case RETRY_BY_CLASS:
        return outcome_is_temporary(o);
    }
    unreachable("retry rule");
}

void outcome_set_local(struct smtp_outcome *o, enum outcome_code code, enum stage stage, enum delivery_status d,
                       const char *reason)
{
    memset(o, 0, sizeof(*o));
    o->code = code;
    o->whose = codes[code].whose;
    o->stage = stage;
    o->delivery = d;
    snprintf(o->reason, sizeof(o->reason), "%s", reason ? reason : "");
}
