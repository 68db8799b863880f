#include "smtp/classify.h"

#include <stdio.h>
#include <string.h>

/* The taxonomy's decisions: what a server's refusal means. */

void classify_copy_reply(const char *command, const struct smtp_reply *r, struct smtp_outcome *out)
{
    out->reply_code = r->code;
    memcpy(out->enhanced, r->enhanced, sizeof(out->enhanced));
    memcpy(out->text, r->text, sizeof(out->text));
    snprintf(out->command, sizeof(out->command), "%s", command);
}

static bool is_enhanced(const struct smtp_reply *r, const char *code)
{
    return strcmp(r->enhanced, code) == 0;
}

/* ASCII case is ignored; `word` is lower case. */
static bool says(const struct smtp_reply *r, const char *word)
{
    size_t n = strlen(word), text_n = strlen(r->text);

    for (size_t i = 0; i + n <= text_n; i++)
        if (bytes_equal_nocase(bytes_view(r->text + i, n), bytes_view(word, n)))
            return true;
    return false;
}

static bool says_any(const struct smtp_reply *r, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (says(r, words[i]))
            return true;
    return false;
}

/* 4.7.28 is Gmail's, 4.7.650 … 4.7.652 Microsoft's; others say it in words. Only a 4xx: a 5xx with such words will not
 * go away by waiting. */
static bool is_rate_limit(const struct smtp_reply *r)
{
    static const char *const words[] = {"rate limit",     "ratelimit",       "too many messages",
                                        "too many mails", "too many emails", "sending rate",
                                        "throttl",        "rate exceeded",   "quota exceeded for sending",
                                        "slow down"};

    return r->code / 100 == 4 && (is_enhanced(r, "4.7.28") || strncmp(r->enhanced, "4.7.65", 6) == 0 ||
                                  says_any(r, words, ARRAY_LEN(words)));
}

static bool is_busy(const struct smtp_reply *r)
{
    return r->code == 432 || is_enhanced(r, "4.3.2");
}

static enum outcome_code at_auth(const struct smtp_reply *r)
{
    if (is_enhanced(r, "5.7.139"))
        return OUTCOME_AUTH_BASIC_DISABLED;
    if (is_enhanced(r, "5.7.9") && says(r, "too weak"))         /* RFC 4954 §6; Gmail uses the same code otherwise */
        return OUTCOME_AUTH_TOO_WEAK;
    if (is_enhanced(r, "5.7.9") || is_enhanced(r, "5.7.14"))
        return OUTCOME_AUTH_APP_PASSWORD_REQUIRED;
    if (is_enhanced(r, "5.7.8"))
        return OUTCOME_AUTH_FAILED;
    if (r->code == 530 || is_enhanced(r, "5.7.57"))
        return OUTCOME_AUTH_REQUIRED;
    if (r->code == 534 || r->code == 538)                       /* 538: "encryption required for this mechanism" */
        return OUTCOME_AUTH_TOO_WEAK;
    if (r->code / 100 == 4)
        return OUTCOME_AUTH_TEMPORARY;
    if (r->code == 504)                 /* RFC 4954 §4: unrecognised authentication type */
        return OUTCOME_AUTH_MECHANISM_UNSUPPORTED;
    if (r->code == 500 || r->code == 502)                       /* the command is not known: no word on the password */
        return OUTCOME_AUTH_NOT_OFFERED;
    return OUTCOME_AUTH_FAILED;
}

/* What can be said at MAIL, RCPT, DATA and after the body alike; OUTCOME_COUNT: nothing special. */
static enum outcome_code anywhere(enum stage stage, const struct smtp_reply *r)
{
    if (r->code == 530 || is_enhanced(r, "5.7.57"))
        return OUTCOME_AUTH_REQUIRED;
    if (is_rate_limit(r))
        return OUTCOME_RELAY_RATE_LIMITED;
    if (is_busy(r) && stage != STAGE_BODY)
        return OUTCOME_RELAY_BUSY;
    if (r->code == 552 &&
        (is_enhanced(r, "5.3.4") || is_enhanced(r, "5.2.3") || (!r->enhanced[0] && stage != STAGE_RCPT)))
        return OUTCOME_MESSAGE_TOO_LARGE;
    if (is_enhanced(r, "5.2.2") || is_enhanced(r, "4.2.2") || (r->code == 552 && !r->enhanced[0]))
        return OUTCOME_MAILBOX_FULL;
    return OUTCOME_COUNT;
}

static enum outcome_code at_mail_stage(enum stage stage, const struct smtp_reply *r)
{
    static const char *const relaying[] = {"relay", "not permitted to send through"};
    enum outcome_code code = anywhere(stage, r);

    if (code != OUTCOME_COUNT)
        return code;
    if (stage == STAGE_MAIL)
        return OUTCOME_SENDER_REJECTED;
    if (stage == STAGE_RCPT)
        return is_enhanced(r, "5.7.1") && says_any(r, relaying, ARRAY_LEN(relaying)) ? OUTCOME_RELAY_DENIED
                                                                                     : OUTCOME_RECIPIENTS_REJECTED;
    if (stage == STAGE_DATA)
        return OUTCOME_DATA_REJECTED;
    return r->code / 100 == 4 ? OUTCOME_MESSAGE_DEFERRED : OUTCOME_MESSAGE_REJECTED;
}

static enum outcome_code code_of(enum stage stage, const struct smtp_reply *r)
{
    if (r->code == 421 && stage == STAGE_BANNER)
        return OUTCOME_RELAY_BUSY;
    if (r->code == 421 && stage != STAGE_BODY)
        return is_rate_limit(r) ? OUTCOME_RELAY_RATE_LIMITED : OUTCOME_SERVICE_CLOSING;
    if (r->code / 100 != 4 && r->code / 100 != 5)
        return OUTCOME_PROTOCOL_ERROR;
    switch (stage) {
    case STAGE_BANNER:
        return is_rate_limit(r) ? OUTCOME_RELAY_RATE_LIMITED
               : is_busy(r)     ? OUTCOME_RELAY_BUSY
                                : OUTCOME_BANNER_REJECTED;
    case STAGE_EHLO:
        return OUTCOME_EHLO_REJECTED;
    case STAGE_STARTTLS:
        return OUTCOME_STARTTLS_REFUSED;
    case STAGE_AUTH:
        return at_auth(r);
    case STAGE_MAIL:
    case STAGE_RCPT:
    case STAGE_DATA:
    case STAGE_BODY:
        return at_mail_stage(stage, r);
    case STAGE_REQUEST:
    case STAGE_QUEUE:
    case STAGE_DNS:
    case STAGE_CONNECT:
    case STAGE_PROXY:
    case STAGE_TLS:
    case STAGE_COUNT:
        break;
    }
    unreachable("a reply at a stage without commands");
}

/* `rejected` is the server's word on this mail; a 421, a missing login or a busy server say nothing on it. */
static enum delivery_status delivery_of(enum stage stage, enum outcome_code code)
{
    bool judged = code != OUTCOME_SERVICE_CLOSING && code != OUTCOME_AUTH_REQUIRED && code != OUTCOME_RELAY_BUSY &&
                  code != OUTCOME_RELAY_RATE_LIMITED && code != OUTCOME_PROTOCOL_ERROR;

    if (stage == STAGE_BODY)
        return code == OUTCOME_PROTOCOL_ERROR ? DELIVERY_UNKNOWN : DELIVERY_REJECTED;
    return judged && (stage == STAGE_MAIL || stage == STAGE_RCPT || stage == STAGE_DATA) ? DELIVERY_REJECTED
                                                                                         : DELIVERY_NOT_SENT;
}

void classify_reply(enum stage stage, const char *command, const struct smtp_reply *r, struct smtp_outcome *out)
{
    enum outcome_code code = code_of(stage, r);

    outcome_set_local(out, code, stage, delivery_of(stage, code), NULL);
    classify_copy_reply(command, r, out);
    if (code == OUTCOME_PROTOCOL_ERROR)
        snprintf(out->reason, sizeof(out->reason), "%d is no reply to %s", r->code, command);
}

/* 4.4.5 is "mail system congestion" (RFC 3463 §3.5) by the book; Stalwart says it when a session has had its mails. A
 * number per hour or day is no such limit: it would stand on a new session too. */
static bool is_session_limit(const struct smtp_reply *r)
{
    static const char *const words[] = {"per session",         "per connection",      "this session",
                                        "this connection",     "one session",         "one connection",
                                        "a single session",    "a single connection", "session limit",
                                        "connection limit",    "too many transactions", "transaction limit",
                                        "messages per",        "mails per",           "emails per"};
    static const char *const in_time[] = {"per hour", "per day", "per minute", "per second", "per 24", "per month",
                                          "hourly",   "daily",   "recipients"};

    if (r->code / 100 == 5 && strncmp(r->enhanced, "5.5.", 4) != 0)
        return false;
    return is_enhanced(r, "4.4.5") ||
           (says_any(r, words, ARRAY_LEN(words)) && !says_any(r, in_time, ARRAY_LEN(in_time)));
}

void classify_mail_reply(enum stage stage, const char *command, const struct smtp_reply *r, bool used,
                         struct smtp_outcome *out)
{
    classify_reply(stage, command, r, out);
    if (r->code / 100 != 4 && r->code / 100 != 5)
        return;
    if (r->code == 421) {
        out->whose = WHOSE_SESSION;
    } else if (is_session_limit(r) || (used && stage != STAGE_RCPT && is_enhanced(r, "4.3.2"))) {
        out->code = OUTCOME_SESSION_LIMIT;
        out->whose = WHOSE_SESSION;
        out->delivery = DELIVERY_REJECTED;
    } else if (used && r->code == 503 && stage == STAGE_MAIL) {
        out->whose = WHOSE_SESSION;     /* it is in the middle of something else */
    }
}
