#include "api/problem.h"

#include "api/catalogue.h"
#include "api/json_out.h"
#include "smtp/report.h"

#include <string.h>

/* Problem objects: what happened in this case, in words, and what to do about it. */

/* ---- hints ---- */

struct hint_variant {                   /* what is 0 or NULL matches anything; the first row that matches wins */
    enum outcome_code code;
    uint16_t port;
    const char *host;                   /* the relay's host is this or ends with "." and this */
    const char *enhanced;
    const char *hint;
};

#define GMAIL "gmail.com"
#define OFFICE "office365.com"
#define OUTLOOK "outlook.com"
#define SENDGRID "sendgrid.net"
#define SES "amazonaws.com"

#define HINT_GMAIL_PASSWORD \
    "Create an app password in the Google account (security, 2-step verification) and configure that one."
#define HINT_OFFICE_AUTH \
    "Have \"Authenticated SMTP\" switched on for this mailbox in the Microsoft 365 admin center, and security " \
    "defaults checked."
#define HINT_OFFICE_SEND_AS \
    "Use the mailbox's own address as From, or give the account the permission \"Send as\" for this one."
#define HINT_SES_VERIFY \
    "Verify the From address or its domain in SES, in the region of this relay; while the account is in the SES " \
    "sandbox, " \
    "the recipients must be verified too."
#define HINT_LOCALHOST \
    "In a container, localhost is the container itself: use the host name of the machine or service that runs the " \
    "relay."
#define HINT_GREYLIST \
    "The relay puts off mails from senders it has not seen before (greylisting): send it again after five minutes."
#define HINT_SMTPS "Write the relay's url as smtps://HOST:465: this port expects TLS from the first byte."
#define HINT_STARTTLS \
    "Write the relay's url as smtp://HOST:587: this port begins in plain SMTP and changes to TLS by STARTTLS."

static const struct hint_variant variants[] = {
    {OUTCOME_CONNECT_REFUSED, 0, "localhost", NULL, HINT_LOCALHOST},
    {OUTCOME_CONNECT_REFUSED, 0, "127.0.0.1", NULL, HINT_LOCALHOST},
    {OUTCOME_CONNECT_REFUSED, 25, NULL, NULL, "Try the relay's submission port: 587 (smtp://) or 465 (smtps://)."},
    {OUTCOME_CONNECT_REFUSED, 465, NULL, NULL, "Try port 587 with STARTTLS: smtp://HOST:587."},
    {OUTCOME_CONNECT_REFUSED, 587, NULL, NULL, "Try port 465 with TLS from the first byte: smtps://HOST:465."},
    {OUTCOME_CONNECT_TIMEOUT, 25, NULL, NULL,
     "Use the relay's submission port, 587 or 465: many networks and clouds block outgoing port 25."},
    {OUTCOME_CONNECT_TIMEOUT, 465, NULL, NULL,
     "Check that a firewall here lets port 465 out; 587 may be open where it is not."},
    {OUTCOME_CONNECT_TIMEOUT, 587, NULL, NULL,
     "Check that a firewall here lets port 587 out; some relays also listen on 2525."},
    {OUTCOME_STARTTLS_NOT_OFFERED, 25, NULL, NULL,
     "Use the relay's submission port, 587 or 465: port 25 is for mail between servers and often has no TLS."},
    {OUTCOME_STARTTLS_NOT_OFFERED, 465, NULL, NULL, HINT_SMTPS},
    {OUTCOME_PLAINTEXT_ON_TLS_PORT, 465, NULL, NULL, HINT_SMTPS},
    {OUTCOME_TIMEOUT, 465, NULL, NULL,
     "Check that the relay's url begins with smtps://: port 465 expects TLS from the first byte and says nothing "
     "before it."},
    {OUTCOME_TLS_ON_PLAINTEXT_PORT, 587, NULL, NULL, HINT_STARTTLS},
    {OUTCOME_TLS_ON_PLAINTEXT_PORT, 25, NULL, NULL,
     "Write the relay's url with smtp:// instead of smtps://: port 25 begins in plain SMTP and changes to TLS by "
     "STARTTLS."},
    {OUTCOME_AUTH_NOT_OFFERED, 25, NULL, NULL,
     "Use the relay's submission port, 587 or 465: port 25 seldom offers a login."},
    {OUTCOME_AUTH_FAILED, 0, GMAIL, NULL, HINT_GMAIL_PASSWORD},
    {OUTCOME_AUTH_APP_PASSWORD_REQUIRED, 0, GMAIL, NULL, HINT_GMAIL_PASSWORD},
    {OUTCOME_AUTH_FAILED, 0, OFFICE, NULL, HINT_OFFICE_AUTH},
    {OUTCOME_AUTH_FAILED, 0, OUTLOOK, NULL, HINT_OFFICE_AUTH},
    {OUTCOME_AUTH_BASIC_DISABLED, 0, OFFICE, NULL, HINT_OFFICE_AUTH},
    {OUTCOME_AUTH_BASIC_DISABLED, 0, OUTLOOK, NULL, HINT_OFFICE_AUTH},
    {OUTCOME_AUTH_REQUIRED, 0, OFFICE, NULL, "Set user and password of a licensed mailbox for this relay."},
    {OUTCOME_AUTH_FAILED, 0, SENDGRID, NULL,
     "Set user to the word apikey, and password to an API key that may send mail."},
    {OUTCOME_AUTH_FAILED, 0, SES, NULL,
     "Create SMTP credentials in the SES console, in this relay's region: an AWS access key and its secret do not work "
     "here."},
    {OUTCOME_SENDER_REJECTED, 0, SES, NULL, HINT_SES_VERIFY},
    {OUTCOME_MESSAGE_REJECTED, 0, SES, NULL, HINT_SES_VERIFY},
    {OUTCOME_SENDER_REJECTED, 0, SENDGRID, NULL,
     "Verify the From address or its domain as a sender identity at SendGrid."},
    {OUTCOME_MESSAGE_REJECTED, 0, SENDGRID, NULL,
     "Verify the From address or its domain as a sender identity at SendGrid."},
    {OUTCOME_SENDER_REJECTED, 0, OFFICE, NULL, HINT_OFFICE_SEND_AS},
    {OUTCOME_MESSAGE_REJECTED, 0, OFFICE, "5.2.252", HINT_OFFICE_SEND_AS},
    {OUTCOME_MESSAGE_REJECTED, 0, OFFICE, "5.7.60", HINT_OFFICE_SEND_AS},
    {OUTCOME_RELAY_RATE_LIMITED, 0, GMAIL, NULL,
     "Wait: Gmail limits each account to 500 recipients a day, Workspace to 2,000."},
    {OUTCOME_RELAY_RATE_LIMITED, 0, OFFICE, NULL,
     "Send more slowly: Microsoft 365 takes 30 mails a minute from a mailbox."},
    {OUTCOME_MESSAGE_REJECTED, 0, NULL, "5.7.26",
     "Set up SPF and DKIM for the From domain: the receiver wants mail that is authenticated."},
    {OUTCOME_MESSAGE_REJECTED, 0, NULL, "5.3.4", "Send large files as links: the mail is larger than the relay takes."},
    {OUTCOME_RECIPIENTS_REJECTED, 0, NULL, "5.1.1", "Correct the address: the mailbox does not exist."},
    {OUTCOME_RECIPIENTS_REJECTED, 0, NULL, "5.1.2", "Correct what is behind the @: the domain takes no mail."},
    {OUTCOME_RECIPIENTS_REJECTED, 0, NULL, "5.1.10", "Correct the address: the mailbox does not exist."},
    {OUTCOME_RECIPIENTS_REJECTED, 0, NULL, "4.7.1", HINT_GREYLIST},
    {OUTCOME_SENDER_REJECTED, 0, NULL, "5.1.8", "Use a From domain that exists in DNS."},
    {OUTCOME_SENDER_REJECTED, 0, NULL, "5.7.1",
     "Use a From address that belongs to the account the relay logs in with."},
};

static bool host_matches(const char *host, const char *name)
{
    size_t h = host ? strlen(host) : 0, n = strlen(name);

    if (h < n || !bytes_equal_nocase(bytes_view(host + h - n, n), bytes_view(name, n)))
        return false;
    return h == n || host[h - n - 1] == '.';
}

const char *problem_hint(const struct problem *p)
{
    const struct smtp_outcome *o = p->outcome;
    const struct send_result *r = p->result;

    for (size_t i = 0; r && i < ARRAY_LEN(variants); i++) {
        const struct hint_variant *v = &variants[i];
        if (v->code == o->code && (!v->port || v->port == r->relay_port) &&
            (!v->host || host_matches(r->relay_host, v->host)) &&
            (!v->enhanced || strcmp(v->enhanced, o->enhanced) == 0))
            return v->hint;
    }
    return catalogue_get(o->code)->hint;
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

static const char *const stage_places[] = {
    [STAGE_REQUEST] = "while the request was read",
    [STAGE_QUEUE] = "while the mail waited for a session",
    [STAGE_DNS] = "while the name was looked up",
    [STAGE_CONNECT] = "while connecting",
    [STAGE_PROXY] = "at the proxy",
    [STAGE_TLS] = "in the TLS handshake",
    [STAGE_BANNER] = "at the greeting",
    [STAGE_EHLO] = "at EHLO",
    [STAGE_STARTTLS] = "at STARTTLS",
    [STAGE_AUTH] = "at the login",
    [STAGE_MAIL] = "at MAIL FROM",
    [STAGE_RCPT] = "at RCPT TO",
    [STAGE_DATA] = "at DATA",
    [STAGE_BODY] = "at the mail's content",
};
_Static_assert(ARRAY_LEN(stage_places) == STAGE_COUNT, "one place for each stage");

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

    bytes_buf_printf(out, "%s:%u", r->relay_host, r->relay_port);
    if (address[0] && strcmp(address, r->relay_host) != 0)
        bytes_buf_printf(out, " (%s)", address);
}

/* "… answered RCPT for bob@example.org with 550 5.1.1 No such user" */
static void add_reply(struct bytes_buf *out, const struct smtp_outcome *o, const struct send_result *r)
{
    bytes_buf_printf(out, " answered %s", o->command[0] ? o->command : stage_name(o->stage));
    if (o->stage == STAGE_RCPT && r->n_rcpts == 1)
        bytes_buf_printf(out, " for %s", r->rcpts[0]);
    bytes_buf_printf(out, " with %d%s%s%s%s", o->reply_code, o->enhanced[0] ? " " : "", o->enhanced,
                     o->text[0] ? " " : "", o->text);
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
    if (phrase) {
        bytes_buf_printf(out, " %s", phrase->phrase);
        if (phrase->with_stage)
            bytes_buf_printf(out, " %s", stage_places[o->stage]);
    } else if (o->reply_code) {
        add_reply(out, o, r);
    } else {
        bytes_buf_printf(out, ": %s", catalogue_get(o->code)->title);
    }
    if (o->ms)
        bytes_buf_printf(out, " (after %u ms)", o->ms);
    if (o->reason[0])
        bytes_buf_printf(out, ": %s", o->reason);
    end_sentence(out);
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
    if (o->code == OUTCOME_RECIPIENTS_REJECTED && r->n_rcpts > 1)
        bytes_buf_printf(out, " All %zu recipients were refused.", r->n_rcpts);
    if (r->report->n_attempts > 1)
        bytes_buf_printf(out, " It was tried %u times.", r->report->n_attempts);
    bytes_buf_add_str(out, fate(o));
}

/* ---- Retry-After ---- */

static bool is_greylisting(const struct smtp_outcome *o)
{
    if (o->code != OUTCOME_RECIPIENTS_REJECTED || !outcome_is_temporary(o))
        return false;
    return strcmp(o->enhanced, "4.7.1") == 0 || strcasestr(o->text, "greylist") || strcasestr(o->text, "graylist");
}

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
    if (is_greylisting(o))
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

/* relay_unavailable: the error that opened the circuit, shorter than a whole problem: it belongs to another mail. */
static void add_cause(struct bytes_buf *out, const struct problem *p)
{
    const struct smtp_outcome *cause = &p->result->cause;
    struct problem inner = {.outcome = cause, .result = p->result};
    struct bytes_buf detail;

    bytes_buf_init(&detail, 0);
    add_relay_detail(&detail, cause, p->result);
    json_out_member(out, ",\"cause\":{\"code\":", outcome_code_name(cause->code));
    json_out_member(out, ",\"title\":", catalogue_get(cause->code)->title);
    json_out_member(out, ",\"stage\":", stage_name(cause->stage));
    bytes_buf_add_str(out, ",\"detail\":");
    json_out_string(out, bytes_buf_view(&detail));
    json_out_member(out, ",\"hint\":", problem_hint(&inner));
    bytes_buf_add_str(out, ",\"smtp\":");
    json_out_smtp(out, cause, true);
    bytes_buf_add_char(out, '}');
    bytes_buf_deinit(&detail);
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
    json_out_member(out, ",\"hint\":", problem_hint(p));
    add_conversation(out, p);
    if (o->code == OUTCOME_VALIDATION_FAILED || p->n_errors)
        add_errors(out, p);
    json_out_member(out, ",\"id\":", p->result && p->result->id[0] ? p->result->id : NULL);
    json_out_member(out, ",\"request_id\":", p->request_id ? p->request_id : "");
    json_out_member(out, ",\"name\":", name);
    bytes_buf_add_str(out, ",\"message\":");
    json_out_string(out, bytes_buf_view(&detail));
    bytes_buf_printf(out, ",\"statusCode\":%d}", status);
    if (detail.failed)
        out->failed = true;
    bytes_buf_deinit(&detail);
}
