#include "smtp/diagnose_int.h"

#include <stdio.h>

/* From facts and findings to one sentence with the one thing to do first, and to a configuration that is known to
 * work. */

#define NAMES_TRIED 5
#define NAME_MS 3000

/* ---- the suggestion ---- */

static void from_config(struct diagnose_state *s)
{
    struct diagnose_suggestion *g = &s->d->suggestion;

    snprintf(g->host, sizeof(g->host), "%s", s->d->host);
    g->host_is_rooted = s->p->relay->host_is_rooted;
    g->port = s->d->port;
    g->tls_mode = s->d->tls_mode;
    g->has_user = s->p->relay->user != NULL;
    g->login_checked = s->d->auth_ok;
}

/* The configured port first, then 587, 465, 25, 2525. */
static void from_ports(struct diagnose_state *s)
{
    struct diagnose_suggestion *g = &s->d->suggestion;

    for (unsigned i = 0; i < s->d->n_ports && !g->known; i++) {
        const struct diagnose_port *p = &s->d->ports[i];
        if (!p->works)
            continue;
        g->known = true;
        g->changed = p->port != g->port || p->mode != g->tls_mode;
        g->port = p->port;
        g->tls_mode = p->mode;
        snprintf(g->why, sizeof(g->why), "Port %u with tls %s was tried up to the EHLO%s, and works.", p->port,
                 diagnose_mode_name(p->mode), p->mode == SMTP_TLS_NONE ? "" : " under verified TLS");
    }
}

static bool is_same_address(const struct resolve_address *a, const struct resolve_address *b)
{
    char left[64], right[64];

    resolve_address_text(a, left);
    resolve_address_text(b, right);
    return strcmp(left, right) == 0;
}

static bool leads_here(struct diagnose_state *s, const char *name)
{
    struct resolve_answer a;

    diagnose_resolve(name, s->d->port, NAME_MS, &s->limits, &a);
    for (size_t i = 0; i < a.n; i++)
        if (is_same_address(&a.v[i], &s->peer))
            return true;
    return false;
}

/* A name of the certificate that leads to the same server is the name to configure. */
static void from_names(struct diagnose_state *s)
{
    const struct tls_cert *leaf = &s->d->chain.v[0];
    struct diagnose_suggestion *g = &s->d->suggestion;

    for (unsigned i = 0; i < leaf->n_names && i < NAMES_TRIED; i++) {
        if (leaf->names[i][0] == '*' || !leads_here(s, leaf->names[i]))
            continue;
        g->known = g->changed = true;
        snprintf(g->host, sizeof(g->host), "%s", leaf->names[i]);
        g->host_is_rooted = false;
        snprintf(g->why, sizeof(g->why), "The certificate is for %.120s, which leads to the same server (%s).",
                 leaf->names[i], s->d->address);
        return;
    }
}

static void from_anchor(struct diagnose_state *s)
{
    const struct tls_chain *c = &s->d->chain;
    struct diagnose_suggestion *g = &s->d->suggestion;

    if (!c->anchor_pem[0] || !c->name_matches || !c->dates_good || c->sent != c->n)
        return;
    g->known = g->changed = g->needs_ca_file = true;
    snprintf(g->anchor_sha256, sizeof(g->anchor_sha256), "%s", c->v[c->n - 1].sha256);
    snprintf(g->why, sizeof(g->why), "With \"%.120s\" as the trusted authority the chain is good. Compare its "
                                     "fingerprint "
             "with what the relay's operator says before it is trusted.", c->v[c->n - 1].subject);
}

static void from_delay(struct diagnose_state *s)
{
    struct diagnose_suggestion *g = &s->d->suggestion;

    g->known = g->changed = true;
    g->banner_timeout_ms = (s->d->banner_ms * 2 / 1000 + 1) * 1000;
    snprintf(g->why, sizeof(g->why), "The greeting came after %u ms; the banner_timeout leaves it twice that.",
             s->d->banner_ms);
}

static void suggest(struct diagnose_state *s)
{
    struct diagnose_suggestion *g = &s->d->suggestion;
    const struct diagnosis *d = s->d;

    from_config(s);
    if (d->ok) {
        g->known = true;
        snprintf(g->why, sizeof(g->why), "The configuration works as it is.");
    } else if (d->outcome.code == OUTCOME_TLS_CERT_NAME_MISMATCH && d->chain.trusted && d->chain.dates_good) {
        from_names(s);
    } else if (d->outcome.code == OUTCOME_TLS_CERT_UNTRUSTED) {
        from_anchor(s);
    } else if (diagnose_has(d, DIAGNOSE_FINDING_GREETING_TOO_LATE)) {
        from_delay(s);
    } else if (d->n_ports && d->failed_at <= DIAGNOSE_STEP_AUTH) {
        from_ports(s);
    }
    g->needs_user = d->outcome.code == OUTCOME_AUTH_REQUIRED && !g->has_user;
}

/* ---- the conclusion ---- */

struct advice {
    enum outcome_code code;
    const char *text;                   /* what to do first */
};

static const struct advice advice[] = {
    {OUTCOME_DNS_NOT_FOUND, "Correct the host name, or the DNS that this machine asks."},
    {OUTCOME_DNS_FAILED, "Look at this machine's DNS servers (/etc/resolv.conf): they do not answer."},
    {OUTCOME_CONNECT_REFUSED, "Ask the relay's operator which port it listens on."},
    {OUTCOME_CONNECT_TIMEOUT, "Ask whoever runs this network to let connections out to that port."},
    {OUTCOME_NETWORK_UNREACHABLE, "Look at this machine's routes: there is no way to that address."},
    {OUTCOME_CONNECT_FAILED, "Try the same connection from another machine of this network."},
    {OUTCOME_TIMEOUT, "Ask the relay's operator why it does not answer, or whether it looks up this machine's name."},
    {OUTCOME_CONNECTION_CLOSED, "Ask the relay's operator whether connections from this address are allowed."},
    {OUTCOME_RELAY_BUSY, "Lower max_sessions for this relay, or ask its operator for a higher limit."},
    {OUTCOME_RELAY_RATE_LIMITED, "Send more slowly, or ask the relay's operator for a higher limit."},
    {OUTCOME_SERVICE_CLOSING, "Try again later: the relay is shutting down or overloaded."},
    {OUTCOME_BANNER_REJECTED, "Ask the relay's operator why this address is refused; its words are above."},
    {OUTCOME_EHLO_REJECTED, "Set ehlo_name to this machine's full host name."},
    {OUTCOME_PROTOCOL_ERROR, "Look whether host and port lead to an SMTP server at all."},
    {OUTCOME_STARTTLS_REFUSED, "Ask the relay's operator why TLS is not available now."},
    {OUTCOME_STARTTLS_INJECTION, "Do not send through this connection: somebody adds commands to it."},
    {OUTCOME_TLS_VERSION_UNSUPPORTED, "The relay must be brought to TLS 1.2 or newer; until then no mail goes to it."},
    {OUTCOME_TLS_CLOSED, "Try the same from another network: a firewall may be cutting TLS off."},
    {OUTCOME_TLS_HANDSHAKE_FAILED, "Show the relay's operator the TLS alert above."},
    {OUTCOME_TLS_CLIENT_CERT_REJECTED, "Ask the relay's operator for a port without client certificates."},
    {OUTCOME_TLS_CERT_EXPIRED, "The relay's operator must renew the certificate; check this machine's clock first."},
    {OUTCOME_TLS_CERT_NOT_YET_VALID, "Set this machine's clock right."},
    {OUTCOME_TLS_CERT_NAME_MISMATCH, "Configure the relay by a name that is in its certificate."},
    {OUTCOME_TLS_CERT_REVOKED, "The relay's operator must replace the certificate."},
    {OUTCOME_TLS_CERT_WEAK, "The relay's operator must replace the certificate by one with a stronger key or "
                            "signature."},
    {OUTCOME_TLS_PIN_MISMATCH, "Ask the relay's operator whether its key was changed, then update pins."},
    {OUTCOME_AUTH_NOT_OFFERED, "Remove user and password if the relay knows this machine by its address, else use its "
                               "submission port."},
    {OUTCOME_AUTH_MECHANISM_UNSUPPORTED, "Ask the relay's operator for PLAIN or LOGIN under TLS."},
    {OUTCOME_AUTH_REQUIRED, "Configure user and password for this relay."},
    {OUTCOME_AUTH_FAILED, "Check user and password; the relay refused them, and they were shown only once."},
    {OUTCOME_AUTH_BASIC_DISABLED, "Have the administrator allow SMTP AUTH for this mailbox, or use OAuth."},
    {OUTCOME_AUTH_APP_PASSWORD_REQUIRED, "Make an app password for the account and use it instead of the normal one."},
    {OUTCOME_AUTH_TOO_WEAK, "Ask the relay's operator which mechanism this account needs."},
    {OUTCOME_AUTH_TEMPORARY, "Try again in some minutes: the relay cannot check passwords now."},
    {OUTCOME_SENDER_REJECTED, "Use a sender that this account may use."},
    {OUTCOME_RECIPIENTS_REJECTED, "Check the recipient's address; the relay's words are above."},
    {OUTCOME_RELAY_DENIED, "Log in with an account of this relay, or have it allow this machine's address."},
    {OUTCOME_MAILBOX_FULL, "The recipient's mailbox is full; try another recipient."},
    {OUTCOME_MESSAGE_TOO_LARGE, "The relay takes only smaller mails."},
    {OUTCOME_SMTPUTF8_UNSUPPORTED, "Use an address in ASCII for this relay."},
    {OUTCOME_MESSAGE_REJECTED, "The relay refused the mail's text; its words are above."},
    {OUTCOME_MESSAGE_DEFERRED, "Try again in some minutes."},
    {OUTCOME_DATA_REJECTED, "Ask the relay's operator; its words are above."},
    {OUTCOME_VALIDATION_FAILED, "Give plain addresses, as in ann@example.com."},
    {OUTCOME_OUTCOME_UNKNOWN, "Look in the recipient's mailbox before it is sent again: it may have been taken."},
};

static const char *advice_of(const struct diagnosis *d)
{
    bool greeted = d->failed_at != DIAGNOSE_STEP_BANNER;

    if (greeted && (d->outcome.code == OUTCOME_CONNECTION_CLOSED || d->outcome.code == OUTCOME_TIMEOUT))
        return "Ask the relay's operator what its log says of this moment.";
    for (size_t i = 0; i < ARRAY_LEN(advice); i++)
        if (advice[i].code == d->outcome.code && (!greeted || advice[i].code != OUTCOME_PROTOCOL_ERROR))
            return advice[i].text;
    return "Show the relay's operator the steps above.";
}

static const struct diagnose_finding *finding(const struct diagnosis *d, enum diagnose_finding_id id)
{
    for (unsigned i = 0; i < d->n_findings; i++)
        if (d->findings[i].id == id)
            return &d->findings[i];
    return NULL;
}

/* Findings that say more than the code, the most telling first, each with what to do. */
static const struct {
    enum diagnose_finding_id id;
    const char *text;
} causes[] = {
    {DIAGNOSE_FINDING_INTERCEPTION_PRODUCT,
     "Have whoever runs it except this relay from inspection, or set ca_file to its authority if that is wanted."},
    {DIAGNOSE_FINDING_STARTTLS_STRIPPED, "Have SMTP inspection switched off in that firewall, mail shield or proxy."},
    {DIAGNOSE_FINDING_CLOCK_WRONG, "Set this machine's clock right (NTP), then look again."},
    {DIAGNOSE_FINDING_CERT_SELF_SIGNED,
     "Have the relay use a certificate of a known authority, or set ca_file to this one after comparing its "
     "fingerprint."},
    {DIAGNOSE_FINDING_CERT_PRIVATE_CA,
     "Set ca_file to that authority's certificate if it is the operator's own; if nobody knows it, somebody "
     "intercepts."},
    {DIAGNOSE_FINDING_INTERMEDIATE_MISSING,
     "Have the relay send its whole chain, or set ca_file to a file with that issuer and its root."},
    {DIAGNOSE_FINDING_INTERCEPTION_LIKELY, "Compare with another network, or set ca_file if that authority is yours."},
    {DIAGNOSE_FINDING_TLS_TOO_OLD, "The relay must be brought to TLS 1.2 or newer."},
    {DIAGNOSE_FINDING_EGRESS_BLOCKED, "Ask whoever runs this network to let connections out to the relay."},
    {DIAGNOSE_FINDING_GREETING_TOO_LATE, "Raise banner_timeout for this relay."},
    {DIAGNOSE_FINDING_DNS_LOCAL, "Remove the entry, or have the name allowed in the filter."},
    {DIAGNOSE_FINDING_CONNECTION_LIMIT, "Lower max_sessions for this relay, or ask its operator for a higher limit."},
    {DIAGNOSE_FINDING_GREYLISTED, "Repeat it after five minutes."},
};

/* The cause as a finding says it; NULL: the step that failed says it best. Only what was seen where it failed. */
static bool conclude_by_finding(struct diagnose_state *s)
{
    struct diagnosis *d = s->d;

    for (size_t i = 0; i < ARRAY_LEN(causes); i++) {
        const struct diagnose_finding *f = finding(d, causes[i].id);
        bool there = f && (f->step == d->failed_at || f->step == DIAGNOSE_STEP_PORTS ||
                           f->step == DIAGNOSE_STEP_TLS_VERSIONS ||
                           (f->id == DIAGNOSE_FINDING_DNS_LOCAL && d->failed_at == DIAGNOSE_STEP_TCP));
        if (there) {
            snprintf(d->conclusion, sizeof(d->conclusion), "%s %s", f->text, causes[i].text);
            return true;
        }
    }
    return false;
}

static void conclude_by_suggestion(struct diagnose_state *s)
{
    const struct diagnose_suggestion *g = &s->d->suggestion;
    struct diagnosis *d = s->d;

    if (g->port != d->port)
        snprintf(d->conclusion, sizeof(d->conclusion), "%s port %u with tls %s does not work (%s), but port %u with "
                                                       "tls %s "
                 "does: use that.", d->host, d->port, diagnose_mode_name(d->tls_mode),
                 outcome_code_name(d->outcome.code), g->port, diagnose_mode_name(g->tls_mode));
    else if (g->tls_mode != d->tls_mode)
        snprintf(d->conclusion, sizeof(d->conclusion), "%s port %u works with tls %s, not with tls %s: set tls to "
                                                       "%s.", d->host,
                 d->port, diagnose_mode_name(g->tls_mode), diagnose_mode_name(d->tls_mode),
                 diagnose_mode_name(g->tls_mode));
    else
        snprintf(d->conclusion, sizeof(d->conclusion), "The certificate of %.120s port %u is not for that name, but "
                                                       "for "
                 "%.120s: set host to %.120s.", d->host, d->port, g->host, g->host);
}

static void conclude_failure(struct diagnose_state *s)
{
    const struct diagnose_suggestion *g = &s->d->suggestion;
    struct diagnosis *d = s->d;

    if (g->known && g->changed && !g->needs_ca_file && !g->banner_timeout_ms) {
        conclude_by_suggestion(s);
        return;
    }
    if (conclude_by_finding(s))
        return;
    snprintf(d->conclusion, sizeof(d->conclusion), "%s %s", s->cause, advice_of(d));
    d->advice_at = strlen(s->cause) + 1;
}

static void conclude_success(struct diagnose_state *s)
{
    struct diagnosis *d = s->d;
    unsigned warnings = 0;

    for (unsigned i = 0; i < d->n_findings; i++)
        warnings += d->findings[i].warning;
    snprintf(d->conclusion, sizeof(d->conclusion), "%s port %u works%s%s%s%s.", d->host, d->port,
             d->tls_version[0] ? ": " : "", d->tls_version, d->tls_version[0] ? ", certificate verified" : "",
             d->auth_ok ? ", login accepted" : "");
    for (unsigned i = 0; i < d->n_findings && warnings; i++)
        if (d->findings[i].warning) {
            size_t at = strlen(d->conclusion);
            snprintf(d->conclusion + at, sizeof(d->conclusion) - at, " But: %s", d->findings[i].text);
            break;
        }
}

/* The end from outside is no word on the relay, whatever was waited for at that moment. */
static void conclude_early(struct diagnose_state *s)
{
    struct diagnosis *d = s->d;

    if (d->ok)
        outcome_set_local(&d->outcome, OUTCOME_DEADLINE_EXCEEDED, STAGE_CONNECT, DELIVERY_NOT_SENT, NULL);
    d->ok = false;
    snprintf(d->conclusion, sizeof(d->conclusion), "%s%s%s.",
             d->canceled ? "The run was canceled" : "The time for the whole run was up",
             d->failed_at < DIAGNOSE_STEP_COUNT ? " at the step " : " between two steps",
             d->failed_at < DIAGNOSE_STEP_COUNT ? diagnose_step_name(d->failed_at) : "");
    if (d->timed_out) {
        size_t at = strlen(d->conclusion);
        snprintf(d->conclusion + at, sizeof(d->conclusion) - at, " Give it more time, or ask why this step is slow.");
    }
    from_config(s);
}

void diagnose_conclude(struct diagnose_state *s)
{
    struct diagnosis *d = s->d;

    if ((d->canceled || d->timed_out) && (d->ok || d->outcome.code == OUTCOME_DEADLINE_EXCEEDED)) {
        conclude_early(s);
        return;
    }
    suggest(s);
    if (d->ok)
        conclude_success(s);
    else
        conclude_failure(s);
}
