#include "api/problem.h"

#include "api/catalogue.h"
#include "api/hint.h"
#include "api/json_out.h"
#include "smtp/report.h"

#include <string.h>

/* Problem objects: what happened in this case, in words, and what to do about it. */

/* ---- hints ---- */

static unsigned facts_of_mail(const struct smtp_outcome *o, const struct send_result *r)
{
    const char *mode = r->relay_tls_mode ? r->relay_tls_mode : "";

    return (strcmp(mode, "starttls") == 0 ? FACT_STARTTLS : 0u) | (strcmp(mode, "implicit") == 0 ? FACT_IMPLICIT : 0u) |
           (strcmp(mode, "none") == 0 ? FACT_NO_TLS : 0u) | (r->relay_has_user ? FACT_USER : FACT_NO_USER) |
           (outcome_is_temporary(o) ? FACT_TEMPORARY : 0u) | (o->reply_code < 400 ? FACT_LOCAL : 0u) |
           (r->n_rcpts > 1 ? FACT_MANY : 0u) | (o->delivery == DELIVERY_UNKNOWN ? FACT_UNKNOWN : 0u);
}

static struct hint_case case_of(const struct problem *p)
{
    const struct smtp_outcome *o = p->outcome;
    const struct send_result *r = p->result;
    struct hint_case c = {.outcome = o};

    if (r && r->relay_host) {
        c.host = r->relay_host;
        c.port = r->relay_port;
        c.provider = provider_of(r->relay_host, o->text);
        c.facts = hint_facts_of_host(r->relay_host, c.provider) | facts_of_mail(o, r);
        c.message_id = r->message_id;
    }
    return c;
}

void problem_write_hint(const struct problem *p, struct bytes_buf *out)
{
    struct hint_case c = case_of(p);
    const char *hint = p->hint ? p->hint : hint_choose(&c);

    hint_fill(hint ? hint : catalogue_get(p->outcome->code)->hint, &c, out);
}

/* ---- details ---- */

struct local_phrase {                   /* "smtp.example.com:587 " + phrase + (at the stage) */
    enum outcome_code code;
    bool with_stage;
    const char *phrase;
};

static const struct local_phrase phrases[] = {
    {OUTCOME_DNS_NOT_FOUND, false, "has no address: DNS does not know the name"},
    {OUTCOME_DNS_FAILED, false, "could not be looked up in DNS"},
    {OUTCOME_CONNECT_REFUSED, false, "refused the connection"},
    {OUTCOME_NETWORK_UNREACHABLE, false, "cannot be reached from this machine"},
    {OUTCOME_CONNECT_FAILED, false, "could not be connected"},
    {OUTCOME_CONNECT_TIMEOUT, false, "did not answer the attempt to connect"},
    {OUTCOME_CONNECTION_CLOSED, true, "closed the connection"},
    {OUTCOME_TIMEOUT, true, "did not reply in time"},
    {OUTCOME_PLAINTEXT_ON_TLS_PORT, false, "speaks TLS from the first byte, and STARTTLS is configured"},
    {OUTCOME_TLS_ON_PLAINTEXT_PORT, false, "answered in plain SMTP, and TLS from the first byte is configured"},
    {OUTCOME_STARTTLS_NOT_OFFERED, false, "answered EHLO without STARTTLS"},
    {OUTCOME_STARTTLS_INJECTION, false, "sent plain text behind its answer to STARTTLS"},
    {OUTCOME_TLS_VERSION_UNSUPPORTED, false, "does not speak TLS 1.2 or newer"},
    {OUTCOME_TLS_HANDSHAKE_FAILED, false, "and this machine could not agree on TLS"},
    {OUTCOME_TLS_CLIENT_CERT_REJECTED, false, "wants a client certificate"},
    {OUTCOME_TLS_CERT_EXPIRED, false, "showed a certificate that has expired"},
    {OUTCOME_TLS_CERT_NOT_YET_VALID, false, "showed a certificate that is not valid yet"},
    {OUTCOME_TLS_CERT_UNTRUSTED, false, "showed a certificate that is not trusted"},
    {OUTCOME_TLS_CERT_NAME_MISMATCH, false, "showed a certificate for another name"},
    {OUTCOME_TLS_CERT_REVOKED, false, "showed a certificate that was revoked"},
    {OUTCOME_TLS_CERT_WEAK, false, "showed a certificate that is too weak"},
    {OUTCOME_TLS_PIN_MISMATCH, false, "showed a certificate without any of the pinned keys"},
    {OUTCOME_TLS_CLOSED, false, "closed the connection in the TLS handshake"},
    {OUTCOME_AUTH_NOT_OFFERED, false, "does not offer AUTH, and a user is configured"},
    {OUTCOME_AUTH_MECHANISM_UNSUPPORTED, false, "offers neither AUTH PLAIN nor AUTH LOGIN"},
    {OUTCOME_AUTH_FAILED, false, "did not accept the login"},
    {OUTCOME_MESSAGE_TOO_LARGE, false, "announces a limit that this mail exceeds"},
    {OUTCOME_SMTPUTF8_UNSUPPORTED, false, "does not offer SMTPUTF8, which an address of this mail needs"},
    {OUTCOME_EIGHTBITMIME_UNSUPPORTED, false, "does not offer 8BITMIME, which this mail needs"},
    {OUTCOME_REQUIRETLS_UNSUPPORTED, false, "does not offer REQUIRETLS"},
    {OUTCOME_DSN_UNSUPPORTED, false, "does not offer DSN"},
    {OUTCOME_OUTCOME_UNKNOWN, false, "took the whole mail, and no complete reply came"},
    {OUTCOME_PROTOCOL_ERROR, true, "did not keep to SMTP"},
    {OUTCOME_RELAY_UNAVAILABLE, false, "is not asked for a while, after an error that would repeat"},
    {OUTCOME_DEADLINE_EXCEEDED, true, "had not taken the mail when the request's time was used up"},
    {OUTCOME_SERVICE_CLOSING, true, "closed the connection"},
};

static const struct local_phrase *find_phrase(enum outcome_code code)
{
    for (size_t i = 0; i < ARRAY_LEN(phrases); i++)
        if (phrases[i].code == code)
            return &phrases[i];
    return NULL;
}

static void add_where(struct bytes_buf *out, const struct send_result *r)
{
    const char *address = r->report ? r->report->address : "";
    bool bracketed = strchr(r->relay_host, ':') != NULL;

    bytes_buf_printf(out, "%s%s%s:%u", bracketed ? "[" : "", r->relay_host, bracketed ? "]" : "", r->relay_port);
    if (address[0] && strcmp(address, r->relay_host) != 0)
        bytes_buf_printf(out, " (%s)", address);
}

/* "… answered RCPT for bob@example.org with 550 5.1.1 No such user" */
static void add_reply(struct bytes_buf *out, const struct smtp_outcome *o, const struct send_result *r)
{
    bytes_buf_printf(out, " answered %s", o->stage == STAGE_BANNER ? "the connection"
                                          : o->stage == STAGE_BODY ? "the mail's content"
                                          : o->command[0]          ? o->command
                                                                   : stage_name(o->stage));
    if (o->stage == STAGE_RCPT && r->n_rcpts == 1)
        bytes_buf_printf(out, " for %s", r->rcpts[0]);
    bytes_buf_printf(out, " with %d%s%s%s%s", o->reply_code, o->enhanced[0] ? " " : "", o->enhanced,
                     o->text[0] ? " " : "", o->text);
}

/* The reason of a plain end of the stream says what the phrase says. */
static bool is_said_already(const struct smtp_outcome *o)
{
    return o->code == OUTCOME_CONNECTION_CLOSED && strcmp(o->reason, "the relay closed the connection") == 0;
}

static void end_sentence(struct bytes_buf *out)
{
    while (out->n && !out->failed && (out->p[out->n - 1] == '.' || out->p[out->n - 1] == ' '))
        out->n--;
    bytes_buf_add_char(out, '.');
}

static const char *fate(const struct smtp_outcome *o)
{
    switch (o->delivery) {
    case DELIVERY_NOT_SENT:
        return o->code == OUTCOME_STARTTLS_NOT_OFFERED ? " Nothing was sent, and no password was shown."
                                                       : " Nothing was sent.";
    case DELIVERY_REJECTED:
        return " The relay did not accept the mail.";
    case DELIVERY_ACCEPTED:
        return "";
    case DELIVERY_UNKNOWN:
        return " The mail may have been sent.";
    }
    unreachable("a delivery without a sentence");
}

static void add_relay_detail(struct bytes_buf *out, const struct smtp_outcome *o, const struct send_result *r)
{
    const struct local_phrase *phrase = o->reply_code >= 400 ? NULL : find_phrase(o->code);

    add_where(out, r);
    if (o->code == OUTCOME_TLS_ON_PLAINTEXT_PORT && r->relay_tls_mode && strcmp(r->relay_tls_mode, "starttls") == 0) {
        bytes_buf_add_str(out, " agreed to STARTTLS and went on in plain text");
    } else if (phrase) {
        bytes_buf_printf(out, " %s", phrase->phrase);
        if (phrase->with_stage)
            bytes_buf_printf(out, " %s", hint_stage_place(o->stage));
    } else if (o->reply_code) {
        add_reply(out, o, r);
    } else {
        bytes_buf_printf(out, ": %s", catalogue_get(o->code)->title);
    }
    if (o->ms)
        bytes_buf_printf(out, " (after %u ms)", o->ms);
    if (o->reason[0] && !is_said_already(o))
        bytes_buf_printf(out, ": %s", o->reason);
    end_sentence(out);
}

/* With partial: "reject" one refusal is enough. */
static void add_refused(struct bytes_buf *out, const struct smtp_outcome *o, const struct send_result *r)
{
    size_t refused = 0;

    if (o->code != OUTCOME_RECIPIENTS_REJECTED || r->n_rcpts < 2)
        return;
    for (size_t i = 0; i < r->n_rcpts; i++)
        refused += !r->rcpt_outcomes || r->rcpt_outcomes[i].code != OUTCOME_SENT;
    if (refused == r->n_rcpts)
        bytes_buf_printf(out, " All %zu recipients were refused.", r->n_rcpts);
    else
        bytes_buf_printf(out, " Refused were %zu of %zu recipients.", refused, r->n_rcpts);
}

/* Once a relay was chosen it is named; before that the outcome's reason, or else the catalogue, says it all. */
void problem_write_detail(const struct problem *p, struct bytes_buf *out)
{
    const struct smtp_outcome *o = p->outcome;
    const struct send_result *r = p->result;

    if (p->detail) {
        bytes_buf_add_str(out, p->detail);
        return;
    }
    if (!r || !r->relay_host || !r->report) {
        bytes_buf_add_str(out, o->reason[0] ? o->reason : catalogue_get(o->code)->meaning);
        end_sentence(out);
        if (r)
            bytes_buf_add_str(out, fate(o));
        return;
    }
    add_relay_detail(out, o, r);
    add_refused(out, o, r);
    if (r->n_attempts > 1)
        bytes_buf_printf(out, " It was tried %zu times.", r->n_attempts);
    bytes_buf_add_str(out, fate(o));
}

/* ---- Retry-After ---- */

/* API.md §4: the seconds left where known; overloaded 1; shutting_down 5; greylisting 300; another 4xx of the relay
 * 60. */
uint32_t problem_retry_after(const struct smtp_outcome *o, uint32_t known_s)
{
    if (!outcome_is_retryable(o))
        return 0;
    if (known_s)
        return known_s;
    if (o->code == OUTCOME_OVERLOADED)
        return 1;
    if (o->code == OUTCOME_SHUTTING_DOWN)
        return 5;
    if (outcome_is_greylisting(o))
        return 300;
    return outcome_is_temporary(o) ? 60 : 0;
}

/* ---- the object ---- */

static void add_relay(struct bytes_buf *out, const struct send_result *r)
{
    const char *address = r && r->report && r->report->address[0] ? r->report->address : NULL;

    if (!r || !r->relay || !r->relay_host) {
        bytes_buf_add_str(out, ",\"relay\":null");
        return;
    }
    json_out_member(out, ",\"relay\":{\"name\":", r->relay);
    json_out_member(out, ",\"host\":", r->relay_host);
    bytes_buf_add_str(out, ",\"port\":");
    json_out_uint(out, r->relay_port);
    json_out_member(out, ",\"address\":", address);
    bytes_buf_add_char(out, '}');
}

static void add_hint(struct bytes_buf *out, const struct problem *p)
{
    struct bytes_buf hint;

    bytes_buf_init(&hint, 0);
    problem_write_hint(p, &hint);
    bytes_buf_add_str(out, ",\"hint\":");
    json_out_string(out, bytes_buf_view(&hint));
    if (hint.failed)
        out->failed = true;
    bytes_buf_deinit(&hint);
}

void problem_write_brief(const struct problem *p, struct bytes_buf *out)
{
    const struct smtp_outcome *o = p->outcome;
    struct bytes_buf detail;

    bytes_buf_init(&detail, 0);
    add_relay_detail(&detail, o, p->result);
    json_out_member(out, "{\"code\":", outcome_code_name(o->code));
    json_out_member(out, ",\"title\":", catalogue_get(o->code)->title);
    json_out_member(out, ",\"stage\":", stage_name(o->stage));
    bytes_buf_add_str(out, ",\"detail\":");
    json_out_string(out, bytes_buf_view(&detail));
    add_hint(out, p);
    bytes_buf_add_str(out, ",\"smtp\":");
    json_out_smtp(out, o, true);
    bytes_buf_add_char(out, '}');
    bytes_buf_deinit(&detail);
}

/* relay_unavailable: the error that opened the circuit. */
static void add_cause(struct bytes_buf *out, const struct problem *p)
{
    struct problem inner = {.outcome = &p->result->cause, .result = p->result};

    bytes_buf_add_str(out, ",\"cause\":");
    problem_write_brief(&inner, out);
}

static void add_errors(struct bytes_buf *out, const struct problem *p)
{
    bytes_buf_add_str(out, ",\"errors\":[");
    for (size_t i = 0; i < p->n_errors; i++) {
        json_out_member(out, i ? ",{\"pointer\":" : "{\"pointer\":", p->errors[i].pointer ? p->errors[i].pointer : "");
        json_out_member(out, ",\"code\":", p->errors[i].code);
        json_out_member(out, ",\"detail\":", p->errors[i].detail ? p->errors[i].detail : "");
        bytes_buf_add_char(out, '}');
    }
    bytes_buf_add_char(out, ']');
}

static void add_conversation(struct bytes_buf *out, const struct problem *p)
{
    const struct send_result *r = p->result;

    add_relay(out, r);
    bytes_buf_add_str(out, ",\"smtp\":");
    json_out_smtp(out, p->outcome, true);
    bytes_buf_add_str(out, ",\"tls\":");
    if (r)
        json_out_tls(out, r);
    else
        bytes_buf_add_str(out, "null");
    bytes_buf_add_str(out, ",\"recipients\":");
    if (r)
        json_out_recipients(out, r);
    else
        bytes_buf_add_str(out, "[]");
    bytes_buf_add_str(out, ",\"attempts\":");
    if (r)
        json_out_attempts(out, r);
    else
        bytes_buf_add_str(out, "[]");
    if (r && p->outcome->code == OUTCOME_RELAY_UNAVAILABLE && r->cause.code != OUTCOME_SENT && r->relay_host)
        add_cause(out, p);
}

struct problem problem_of_reading(const struct json_mail_result *read, struct smtp_outcome *o)
{
    outcome_set_local(o, read->code, STAGE_REQUEST, DELIVERY_NOT_SENT, NULL);
    return (struct problem){
        .outcome = o, .detail = read->detail, .errors = read->problems, .n_errors = read->n_problems};
}

void problem_write(const struct problem *p, struct bytes_buf *out)
{
    const struct smtp_outcome *o = p->outcome;
    const char *name = outcome_code_name(o->code);
    int status = catalogue_status(o);
    struct bytes_buf detail;

    bytes_buf_init(&detail, 0);
    problem_write_detail(p, &detail);
    bytes_buf_printf(out, "{\"type\":\"/v1/errors/%s\"", name);
    json_out_member(out, ",\"title\":", catalogue_get(o->code)->title);
    bytes_buf_printf(out, ",\"status\":%d,\"code\":\"%s\"", status, name);
    bytes_buf_printf(out, ",\"stage\":\"%s\",\"delivery\":\"%s\"", stage_name(o->stage), delivery_name(o->delivery));
    bytes_buf_printf(out, ",\"retryable\":%s,\"detail\":", outcome_is_retryable(o) ? "true" : "false");
    json_out_string(out, bytes_buf_view(&detail));
    add_hint(out, p);
    add_conversation(out, p);
    if (o->code == OUTCOME_VALIDATION_FAILED || p->n_errors)
        add_errors(out, p);
    json_out_member(out, ",\"id\":", p->result && p->result->id[0] ? p->result->id : NULL);
    json_out_member(out, ",\"request_id\":", p->request_id ? p->request_id : "");
    json_out_member(out, ",\"message_id\":", p->result ? p->result->message_id : NULL);
    json_out_member(out, ",\"name\":", name);
    bytes_buf_add_str(out, ",\"message\":");
    json_out_string(out, bytes_buf_view(&detail));
    bytes_buf_printf(out, ",\"statusCode\":%d}", status);
    if (detail.failed)
        out->failed = true;
    bytes_buf_deinit(&detail);
}
