#include "api/catalogue.h"

#include "api/hint.h"
#include "api/json_out.h"

/* The catalogue: one row for each code, with its HTTP status, title, meaning and general hint. */

#define CATALOGUE(X) \
    X(SENT, 200, "Sent", \
      "The relay took responsibility for the mail.", \
      "Nothing is to be done.") \
    X(INVALID_JSON, 400, "The body is not valid JSON", \
      "The request's body could not be read as one JSON value in UTF-8.", \
      "Send one JSON object in UTF-8, written by a JSON library, and nothing behind it.") \
    X(INVALID_REQUEST, 400, "The request is malformed", \
      "The HTTP request breaks a rule of RFC 9112, so where it ends is not certain. It was not served.", \
      "Send the request with an ordinary HTTP client; if a proxy stands between, look at what it adds.") \
    X(INVALID_IDEMPOTENCY_KEY, 400, "The Idempotency-Key is not valid", \
      "An Idempotency-Key has 1 to 256 printable characters.", \
      "Use a UUID as the key.") \
    X(MISSING_API_KEY, 401, "An API key is needed", \
      "API keys are configured, and the request carries none.", \
      "Send the header \"Authorization: Bearer KEY\" with one of the configured keys.") \
    X(INVALID_API_KEY, 401, "The API key is not known", \
      "The Authorization header is not a Bearer token that equals one of the configured keys.", \
      "Compare the key with api_keys in the configuration; look for a line break or quotes around it.") \
    X(SENDER_NOT_ALLOWED, 403, "This key may not send from this address", \
      "The API key is limited to certain senders.", \
      "Use an allowed From address, or another key.") \
    X(RECIPIENT_NOT_ALLOWED, 403, "This key may not send to this address", \
      "The API key is limited to certain recipients.", \
      "Use an allowed recipient, or another key.") \
    X(FORBIDDEN, 403, "The request is not allowed", \
      "Who calls may not do this: the key's scopes or relays do not cover it; or a client certificate is asked for, " \
      "and none that counts was shown; or, without API keys, the request comes from a web page or through a host " \
      "name that is not this machine's: any page could otherwise send mail through a developer's own computer.", \
      "Call with a key that has the right, or give it to this one: docs/keys.md.") \
    X(NOT_FOUND, 404, "There is no such thing", \
      "The path names nothing here.", \
      "Compare the path with GET /openapi.yaml; it is case-sensitive and has no slash at its end.") \
    X(METHOD_NOT_ALLOWED, 405, "The method is not allowed here", \
      "The path exists, but not for this method.", \
      "Use one of the methods in the Allow header.") \
    X(NOT_ACCEPTABLE, 406, "The answer does not exist in this form", \
      "The Accept header asks for a type that this resource does not have.", \
      "Accept application/json.") \
    X(REQUEST_TIMEOUT, 408, "The request did not arrive in time", \
      "The body was not complete within request_timeout. Nothing was sent.", \
      "Send it again; if uploads are slow by nature, raise request_timeout.") \
    X(IDEMPOTENCY_IN_PROGRESS, 409, "The first request with this key is still running", \
      "A request with the same Idempotency-Key has not been answered yet.", \
      "Send the request again, with the same key, in a few seconds.") \
    X(NOT_CANCELABLE, 409, "The mail cannot be taken back any more", \
      "The mail is being sent, or has its outcome already.", \
      "Read the mail's record to see what became of it.") \
    X(PAYLOAD_TOO_LARGE, 413, "The body is too large", \
      "The request's body is larger than max_body, or its JSON has more values than max_json_values.", \
      "Send large files as links, or raise the setting that the detail names if the relay takes mails of this size.") \
    X(URI_TOO_LONG, 414, "The URL is too long", \
      "The request's target is longer than 8,000 bytes.", \
      "Put the data in the body.") \
    X(UNSUPPORTED_MEDIA_TYPE, 415, "The body's type is not supported", \
      "The Content-Type, or the Content-Encoding, is none that this endpoint reads.", \
      "Send the header \"Content-Type: application/json\" with a JSON body; forms and message/rfc822 are read too.") \
    X(HEADERS_TOO_LARGE, 431, "The request's headers are too large", \
      "The header block is larger than 12 KiB.", \
      "Look for cookies or tokens that the client or a proxy adds to every request.") \
    X(VALIDATION_FAILED, 422, "The e-mail is not valid", \
      "The body is JSON, but fields are missing or wrong. All mistakes are listed in errors. Nothing was sent.", \
      "Correct the fields named in errors.") \
    X(IDEMPOTENCY_KEY_REUSED, 422, "The Idempotency-Key belongs to another request", \
      "The same key was used before with a different body.", \
      "Use a new key for each mail.") \
    X(RATE_LIMITED, 429, "Too many requests", \
      "The API key's rate is used up.", \
      "Wait as long as Retry-After says.") \
    X(NOT_IMPLEMENTED, 501, "This is not in this version", \
      "The contract knows what the request asks for, but this version does not do it. It is refused rather than " \
      "ignored.", \
      "Leave out what detail names, or use a version that has it.") \
    X(UNSUPPORTED_TRANSFER_ENCODING, 501, "The transfer encoding is not supported", \
      "The only Transfer-Encoding understood is chunked.", \
      "Send the body with a Content-Length, or chunked and nothing else.") \
    X(OVERLOADED, 503, "Too much is waiting", \
      "The limit of requests (max_waiting) or of bytes held (max_inflight_bytes) is reached.", \
      "Send it again after a second; if it lasts, give the relay more sessions (max_sessions) or find out why " \
      "it is slow.") \
    X(QUEUE_FULL, 503, "The queue is full", \
      "The queue holds as many mails as it may.", \
      "Find out why the queue does not empty (often a relay that fails), then send it again.") \
    X(STORE_UNAVAILABLE, 503, "The store cannot be written", \
      "The mail could not be kept durably, so it was not accepted.", \
      "Look at the log for the store's error: often the disk is full or the database is down.") \
    X(SHUTTING_DOWN, 503, "The gateway is shutting down", \
      "No new mails are taken; running ones are finished.", \
      "Send it again: another instance, or this one after its restart, will take it.") \
    X(RELAY_UNAVAILABLE, 503, "The relay failed a moment ago and is given a rest", \
      "After failures that would repeat, the relay is not asked for a while. The error that caused it is in cause.", \
      "Read cause and mend that: {host} is asked again by itself after Retry-After seconds.") \
    X(DEADLINE_EXCEEDED, 504, "The request's time was used up before the mail was sent", \
      "request_timeout passed before the whole mail had left. The relay cannot have taken it.", \
      "Find out why {host} was slow {stage}, or raise request_timeout: it had passed before the mail was sent.") \
    X(INTERNAL_ERROR, 500, "An error in the gateway", \
      "The gateway ran out of memory or met a case it does not know.", \
      "Look at the log under this request_id, and report it.") \
    X(EXPIRED, 504, "The mail's time in the queue ran out", \
      "The mail was tried until expires_in and never accepted.", \
      "Read the record's attempts for the reason, then send a new mail.") \
    X(CANCELED, 409, "The mail was taken back", \
      "Somebody canceled the mail before it was sent.", \
      "Send a new mail if it is wanted after all.") \
    X(DNS_NOT_FOUND, 502, "The relay's host name does not exist", \
      "DNS says that there is no address for the relay's host.", \
      "Correct the host in this relay's url: DNS has no address for {host}.") \
    X(DNS_FAILED, 502, "The relay's host name could not be looked up", \
      "The DNS server did not answer, or answered with a failure.", \
      "Check this machine's name servers (/etc/resolv.conf): they gave no answer for {host}.") \
    X(CONNECT_REFUSED, 502, "The relay refuses connections", \
      "The machine is there, but nothing listens on this port, or a firewall says no.", \
      "Check the port in this relay's url: nothing listens on {host}:{port}, or a firewall refuses it; 587 " \
      "(smtp://) and 465 (smtps://) are usual.") \
    X(NETWORK_UNREACHABLE, 502, "There is no way to the relay", \
      "The network has no route to the relay's address.", \
      "Check this machine's network and routes: there is no way to {host}.") \
    X(CONNECT_FAILED, 502, "The connection to the relay failed", \
      "The connection could not be opened; detail has the system's reason.", \
      "Read the operating system's reason in detail: it says why this machine cannot connect to {host}:{port}.") \
    X(CONNECT_TIMEOUT, 504, "The relay does not answer", \
      "No address of the relay answered in time. Often a firewall drops the packets.", \
      "Have outgoing connections from this machine to {host}:{port} allowed: no answer came, as when a firewall " \
      "drops packets.") \
    X(PROXY_FAILED, 502, "The proxy did not connect to the relay", \
      "The proxy on the way to the relay refused or failed.", \
      "Check the proxy's address, and whether it allows connections to {host}:{port}.") \
    X(CONNECTION_CLOSED, 502, "The relay closed the connection", \
      "The connection ended before the mail was taken. Nothing was sent.", \
      "Send it again; if it repeats, ask the operator of {host} why it hangs up {stage}.") \
    X(TIMEOUT, 504, "The relay answered too late", \
      "The relay was connected but did not reply in time, before the mail was complete.", \
      "Raise command_timeout for this relay (and timeout, if it is set): {host} did not answer {stage} in time, " \
      "as servers do that check addresses elsewhere first.") \
    X(BANNER_REJECTED, 502, "The relay refused the connection", \
      "Instead of a greeting the relay sent a refusal.", \
      "Ask the operator of {host} to allow this machine's address; smtp.text has the reason given.") \
    X(EHLO_REJECTED, 502, "The relay refused EHLO", \
      "The relay did not accept the name this machine gives for itself.", \
      "Set ehlo_name to this machine's full host name: {host} does not like the name that it was given.") \
    X(PLAINTEXT_ON_TLS_PORT, 502, "The port speaks TLS from the first byte", \
      "STARTTLS is configured, but the relay expects TLS at once.", \
      "Change this relay's url to smtps://{host}:{port} and leave tls unset: this port expects TLS from the " \
      "first byte.") \
    X(TLS_ON_PLAINTEXT_PORT, 502, "The port does not begin with TLS", \
      "TLS from the first byte is configured, but the relay answered in plain SMTP.", \
      "Change this relay's url to smtp://{host}:{port} and leave tls unset: this port begins in plain SMTP and " \
      "changes to TLS by STARTTLS.") \
    X(STARTTLS_NOT_OFFERED, 502, "The relay does not offer STARTTLS", \
      "TLS is required, and the relay does not offer it. No password was shown and nothing was sent.", \
      "Try smtps://{host}:465 as this relay's url: {host}:{port} offers no STARTTLS, so either it was never set " \
      "up there, or a firewall or proxy on the way removes it.") \
    X(STARTTLS_REFUSED, 502, "The relay refused STARTTLS", \
      "The relay offered STARTTLS and then did not begin it.", \
      "Have the operator of {host} look at its certificate and key, which often cannot be read: it offers " \
      "STARTTLS and then refuses it.") \
    X(STARTTLS_INJECTION, 502, "Plain text was slipped in before TLS", \
      "Bytes came unencrypted behind the answer to STARTTLS. That is an attack or a badly broken server, so the " \
      "connection was dropped.", \
      "Find out what stands between this machine and {host}: somebody slips plain text in where TLS had been " \
      "agreed on.") \
    X(TLS_VERSION_UNSUPPORTED, 502, "The relay's TLS is too old", \
      "The relay does not speak TLS 1.2 or newer.", \
      "Have {host} brought to TLS 1.2 or newer: older versions are not safe and cannot be switched on here.") \
    X(TLS_HANDSHAKE_FAILED, 502, "The TLS handshake failed", \
      "Both sides could not agree on TLS; detail has the library's reason.", \
      "Show the TLS library's reason in detail to the operator of {host}: most often no cipher is left in " \
      "common, or a device on the way breaks TLS open.") \
    X(TLS_CLIENT_CERT_REJECTED, 502, "The relay wants a client certificate", \
      "The relay did not accept this client's certificate, or its lack.", \
      "Ask the operator of {host} for a port that takes user and password: mailhatch shows no client " \
      "certificate.") \
    X(TLS_CERT_EXPIRED, 502, "The relay's certificate has expired", \
      "The certificate's last day is past, so nothing was sent.", \
      "Have the operator of {host} renew the certificate; detail has the day it expired, by this machine's " \
      "clock.") \
    X(TLS_CERT_NOT_YET_VALID, 502, "The relay's certificate is not valid yet", \
      "The certificate's first day is still to come, by this machine's clock.", \
      "Set this machine's clock right: by it, the certificate of {host} is not valid yet.") \
    X(TLS_CERT_UNTRUSTED, 502, "The relay's certificate is not trusted", \
      "The certificate was not issued by an authority that this machine trusts, or the relay does not send its " \
      "intermediate certificates.", \
      "Set ca_file for this relay to the certificate of the authority that issued the one of {host}, if that " \
      "authority is yours; detail names it.") \
    X(TLS_CERT_NAME_MISMATCH, 502, "The relay's certificate is for another name", \
      "The host that was configured is not among the names in the certificate.", \
      "Change the host in this relay's url to a name that the certificate has; detail lists them, and {host} is " \
      "not among them.") \
    X(TLS_CERT_REVOKED, 502, "The relay's certificate was revoked", \
      "The certificate is on the revocation list in crl_file.", \
      "Have the operator of {host} replace the certificate: its issuer has revoked it.") \
    X(TLS_CERT_WEAK, 502, "The relay's certificate is too weak", \
      "The certificate's key or signature is below what is safe today.", \
      "Have the operator of {host} replace the certificate: RSA of 2048 bits or more, or ECDSA, signed with " \
      "SHA-256.") \
    X(TLS_PIN_MISMATCH, 502, "The relay's key is not the pinned one", \
      "No certificate in the chain has one of the public keys in pins.", \
      "Ask the operator of {host} whether the key was changed: if so, put the pin that detail shows into pins; " \
      "if not, somebody is in between.") \
    X(TLS_CLOSED, 502, "The relay closed the connection in the TLS handshake", \
      "The connection ended before TLS was established.", \
      "Send it again; if it repeats, look for a firewall between this machine and {host} that inspects TLS.") \
    X(AUTH_NOT_OFFERED, 502, "The relay does not offer a login", \
      "A user is configured, and the relay does not offer AUTH. Nothing is sent without the login that was " \
      "asked for.", \
      "Remove user and password from this relay: {host}:{port} offers no login, as relays do that know their " \
      "clients by address.") \
    X(AUTH_MECHANISM_UNSUPPORTED, 502, "No common way to log in", \
      "The relay offers AUTH, but neither PLAIN nor LOGIN.", \
      "Have AUTH PLAIN or LOGIN switched on at {host}: under TLS both are safe.") \
    X(AUTH_REQUIRED, 502, "The relay wants a login", \
      "The relay refuses mails from clients that have not logged in.", \
      "Set user and password for this relay: {host} takes mail only after a login.") \
    X(AUTH_FAILED, 502, "The relay refused the user or password", \
      "The relay does not accept the configured credentials.", \
      "Check user and password of this relay: {host} refuses them; in a url, characters such as @ : / must be " \
      "percent-encoded.") \
    X(AUTH_BASIC_DISABLED, 502, "The relay does not allow passwords for this account", \
      "Logging in with a password is switched off at the provider, for this account or altogether.", \
      "Have the administrator of this mailbox allow SMTP AUTH with a password: {host} has it switched off.") \
    X(AUTH_APP_PASSWORD_REQUIRED, 502, "The provider wants an app password", \
      "The account's ordinary password does not work for SMTP.", \
      "Create an app password in the account's security settings and set password to it: {host} does not take " \
      "the ordinary one.") \
    X(AUTH_TOO_WEAK, 502, "The relay finds the login mechanism too weak", \
      "The relay wants another mechanism than the one that was used.", \
      "Ask the operator of {host} which login mechanism this account may use: PLAIN and LOGIN are too weak for " \
      "it.") \
    X(AUTH_TEMPORARY, 503, "The relay cannot check the login just now", \
      "A temporary failure of the relay's own, not a wrong password.", \
      "Send it again after a minute: {host} cannot check logins just now.") \
    X(OAUTH_TOKEN_FAILED, 502, "No OAuth token could be had", \
      "The token endpoint did not give an access token.", \
      "Check the client id, its secret and the refresh token.") \
    X(SERVICE_CLOSING, 503, "The relay is closing the connection", \
      "The relay answered 421: it is stopping, or it wants fewer or shorter connections.", \
      "Send it again after a minute: {host} is stopping, or wants fewer or shorter connections.") \
    X(RELAY_BUSY, 503, "The relay has no room for another connection", \
      "The relay limits how many connections it takes at once.", \
      "Send it again after a minute: {host} takes no mail just now.") \
    X(RELAY_RATE_LIMITED, 503, "The relay limits how fast you may send", \
      "The account or this machine's address has sent more than the relay allows for the moment.", \
      "Send more slowly: {host} limits this account or this machine's address for now; its operator knows the " \
      "limits.") \
    X(SENDER_REJECTED, 422, "The relay refused the sender", \
      "The relay does not take mail from this From address.", \
      "Use a From address that {host} takes from this account; smtp.text has its reason.") \
    X(RECIPIENTS_REJECTED, 422, "The relay refused all recipients", \
      "Each recipient was refused; recipients lists the reason for each.", \
      "Read the reply of {host} in recipients and correct the address: most often it does not exist.") \
    X(RELAY_DENIED, 422, "The relay does not send to other domains for you", \
      "The relay takes mail for its own domains only, unless the client has logged in or is known.", \
      "Set user and password for this relay: without a login {host} takes mail for its own domains only.") \
    X(MESSAGE_TOO_LARGE, 422, "The mail is too large for the relay", \
      "The mail, as it goes over the wire, is larger than the relay accepts. Attachments grow by a third.", \
      "Send large files as links: the mail is larger than {host} takes.") \
    X(MAILBOX_FULL, 422, "The recipient's mailbox is full", \
      "The relay says that the mailbox has no room.", \
      "Tell the recipient in another way: a retry helps only once there is room in the mailbox.") \
    X(SMTPUTF8_UNSUPPORTED, 422, "The relay cannot send to such an address", \
      "An address has letters beyond ASCII before the @, and the relay does not offer SMTPUTF8.", \
      "Use an address with ASCII letters only before the @: {host} does not offer SMTPUTF8.") \
    X(EIGHTBITMIME_UNSUPPORTED, 422, "The relay does not take 8-bit mails", \
      "The finished mail holds 8-bit bytes, which must not be re-encoded, and the relay does not offer 8BITMIME.", \
      "Encode the mail's parts as quoted-printable or base64: {host} does not offer 8BITMIME.") \
    X(REQUIRETLS_UNSUPPORTED, 422, "The relay does not offer REQUIRETLS", \
      "The mail may only travel under TLS all the way, and the relay cannot promise that.", \
      "Leave out require_tls, or use another relay: {host} does not offer REQUIRETLS.") \
    X(DSN_UNSUPPORTED, 422, "The relay does not offer delivery notifications", \
      "The mail asks for DSN, and the relay does not offer it.", \
      "Leave out dsn, or use another relay: {host} does not offer delivery notifications.") \
    X(DATA_REJECTED, 422, "The relay refused the mail before its content", \
      "Sender and recipients were accepted, and then DATA was refused.", \
      "Do what smtp.text says: {host} took sender and recipients, and then refused DATA.") \
    X(MESSAGE_REJECTED, 422, "The relay refused the mail's content", \
      "The relay read the whole mail and does not want it: often a spam or policy filter.", \
      "Do what smtp.text says: {host} read the whole mail and does not want it, most often because of a spam or " \
      "policy filter.") \
    X(MESSAGE_DEFERRED, 503, "The relay does not take the mail just now", \
      "The relay read the whole mail and refused it for the moment.", \
      "Send it again after a minute: {host} read the whole mail and put it off.") \
    X(OUTCOME_UNKNOWN, 504, "The relay may or may not have taken the mail", \
      "The whole mail has left, and no complete reply came. It may have been sent.", \
      "Look for {message_id} at {host} or at the recipient before you send it again: the mail may have been " \
      "sent.") \
    X(PROTOCOL_ERROR, 502, "The relay does not keep to SMTP", \
      "A reply was malformed, too long, missing, or not asked for, so the connection was dropped.", \
      "Find out what stands between this machine and {host}: an answer {stage} was not SMTP.") \
    X(SESSION_LIMIT, 503, "The relay takes no more mails on this session", \
      "The relay limits the mails of one session or connection, and refused this one on a new session too.", \
      "Ask the operator of {host} for a higher limit of mails for each session: even the first mail of a new session " \
      "was refused.")

enum catalogue_order {
#define X(symbol, status, title, meaning, hint) ROW_##symbol,
    CATALOGUE(X)
#undef X
    ROW_COUNT
};
_Static_assert((int)ROW_COUNT == (int)OUTCOME_COUNT, "one row for each code");
#define X(symbol, status, title, meaning, hint) \
    _Static_assert((int)ROW_##symbol == (int)OUTCOME_##symbol, "rows stand in the order of the codes");
CATALOGUE(X)
#undef X

static const struct catalogue_row rows[] = {
#define X(symbol, status, title, meaning, hint) {status, title, meaning, hint},
    CATALOGUE(X)
#undef X
};

const struct catalogue_row *catalogue_get(enum outcome_code code)
{
    return &rows[code];
}

/* API.md §4: "By class: a 4xx is retryable and 503, a 5xx is not and has the status given." */
int catalogue_status(const struct smtp_outcome *o)
{
    if (outcome_retry_rule(o->code) == RETRY_BY_CLASS && outcome_is_temporary(o))
        return 503;
    return rows[o->code].status;
}

static const char *retry_word(enum retry_rule rule)
{
    switch (rule) {
    case RETRY_NO:
        return "no";
    case RETRY_YES:
        return "yes";
    case RETRY_BY_CLASS:
        return "by_class";
    }
    unreachable("a retry rule without a word");
}

void catalogue_write(enum outcome_code code, struct bytes_buf *out)
{
    const struct catalogue_row *row = &rows[code];

    json_out_member(out, "{\"code\":", outcome_code_name(code));
    json_out_member(out, ",\"title\":", row->title);
    json_out_member(out, ",\"meaning\":", row->meaning);
    json_out_member(out, ",\"hint\":", row->hint);
    bytes_buf_printf(out, ",\"status\":%d", row->status);
    json_out_member(out, ",\"retryable\":", retry_word(outcome_retry_rule(code)));
    bytes_buf_add_str(out, ",\"variants\":");
    hint_write_variants(code, out);
    bytes_buf_add_char(out, '}');
}

void catalogue_write_all(struct bytes_buf *out)
{
    bytes_buf_add_str(out, "{\"data\":[");
    for (unsigned code = OUTCOME_SENT + 1; code < OUTCOME_COUNT; code++) {
        if (code > OUTCOME_SENT + 1)
            bytes_buf_add_char(out, ',');
        catalogue_write((enum outcome_code)code, out);
    }
    bytes_buf_add_str(out, "]}");
}
