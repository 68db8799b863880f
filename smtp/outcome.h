#ifndef SMTP_OUTCOME_H
#define SMTP_OUTCOME_H
/* The taxonomy: one struct for whatever can become of a mail, and the code for each cause (the contract's error
 * codes; append-only). HTTP statuses, titles and hints are in api/catalogue.c, one row for each code here. */
#include "smtp/bytes.h"

enum delivery_status {                         /* what is known of the mail's fate */
    /* the last byte of the body has not left, or the relay cannot have taken the mail */
    DELIVERY_NOT_SENT,
    DELIVERY_REJECTED,                  /* 4xx/5xx to MAIL, to all RCPTs, to DATA or to the body */
    DELIVERY_ACCEPTED,                  /* 2xx to the body */
    DELIVERY_UNKNOWN,                   /* the body is gone, no complete reply came */
};

enum stage {
    STAGE_REQUEST, STAGE_QUEUE, STAGE_DNS, STAGE_CONNECT, STAGE_PROXY, STAGE_TLS, STAGE_BANNER, STAGE_EHLO,
    STAGE_STARTTLS, STAGE_AUTH, STAGE_MAIL, STAGE_RCPT, STAGE_DATA, STAGE_BODY,
    STAGE_COUNT
};

/* May the same mail be sent again later without risk of a double? BY_CLASS: yes when the SMTP reply was 4xx. */
enum retry_rule { RETRY_NO, RETRY_YES, RETRY_BY_CLASS };

/* Whose it is: what a failure belongs to, and so what may still work. Each code has one that it usually is; a reply and
 * its context may say better (smtp/classify.h). The pool, retries, the circuit, the relays' last error and the metrics
 * ask this, not the code. */
enum outcome_whose {
    WHOSE_NOBODY,                       /* nothing failed */
    WHOSE_REQUEST,                      /* the caller's request or key */
    WHOSE_GATEWAY,                      /* mailhatch's own: capacity, memory, the request's time, its end */
    WHOSE_RELAY,                        /* whatever is sent there now would fail */
    WHOSE_SESSION,                      /* this one session: the same mail may go at once on a new one */
    WHOSE_MAIL,                         /* its sender, size, needs or content: another mail may pass */
    WHOSE_ADDRESS,                      /* one or more recipients */
    WHOSE_COUNT
};

#define OUTCOME_CODES(X) \
    X(SENT, "sent", NO, NOBODY) \
    X(INVALID_JSON, "invalid_json", NO, REQUEST) \
    X(INVALID_REQUEST, "invalid_request", NO, REQUEST) \
    X(INVALID_IDEMPOTENCY_KEY, "invalid_idempotency_key", NO, REQUEST) \
    X(MISSING_API_KEY, "missing_api_key", NO, REQUEST) \
    X(INVALID_API_KEY, "invalid_api_key", NO, REQUEST) \
    X(SENDER_NOT_ALLOWED, "sender_not_allowed", NO, REQUEST) \
    X(RECIPIENT_NOT_ALLOWED, "recipient_not_allowed", NO, REQUEST) \
    X(FORBIDDEN, "forbidden", NO, REQUEST) \
    X(NOT_FOUND, "not_found", NO, REQUEST) \
    X(METHOD_NOT_ALLOWED, "method_not_allowed", NO, REQUEST) \
    X(NOT_ACCEPTABLE, "not_acceptable", NO, REQUEST) \
    X(REQUEST_TIMEOUT, "request_timeout", YES, REQUEST) \
    X(IDEMPOTENCY_IN_PROGRESS, "idempotency_in_progress", YES, REQUEST) \
    X(NOT_CANCELABLE, "not_cancelable", NO, REQUEST) \
    X(PAYLOAD_TOO_LARGE, "payload_too_large", NO, REQUEST) \
    X(URI_TOO_LONG, "uri_too_long", NO, REQUEST) \
    X(UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", NO, REQUEST) \
    X(HEADERS_TOO_LARGE, "headers_too_large", NO, REQUEST) \
    X(VALIDATION_FAILED, "validation_failed", NO, REQUEST) \
    X(IDEMPOTENCY_KEY_REUSED, "idempotency_key_reused", NO, REQUEST) \
    X(RATE_LIMITED, "rate_limited", YES, REQUEST) \
    X(NOT_IMPLEMENTED, "not_implemented", NO, REQUEST) \
    X(UNSUPPORTED_TRANSFER_ENCODING, "unsupported_transfer_encoding", NO, REQUEST) \
    X(OVERLOADED, "overloaded", YES, GATEWAY) \
    X(QUEUE_FULL, "queue_full", YES, GATEWAY) \
    X(STORE_UNAVAILABLE, "store_unavailable", YES, GATEWAY) \
    X(SHUTTING_DOWN, "shutting_down", YES, GATEWAY) \
    X(RELAY_UNAVAILABLE, "relay_unavailable", YES, RELAY) \
    X(DEADLINE_EXCEEDED, "deadline_exceeded", YES, GATEWAY) \
    X(INTERNAL_ERROR, "internal_error", NO, GATEWAY) \
    X(EXPIRED, "expired", NO, GATEWAY) \
    X(CANCELED, "canceled", NO, GATEWAY) \
    X(DNS_NOT_FOUND, "dns_not_found", NO, RELAY) \
    X(DNS_FAILED, "dns_failed", YES, RELAY) \
    X(CONNECT_REFUSED, "connect_refused", YES, RELAY) \
    X(NETWORK_UNREACHABLE, "network_unreachable", YES, RELAY) \
    X(CONNECT_FAILED, "connect_failed", YES, RELAY) \
    X(CONNECT_TIMEOUT, "connect_timeout", YES, RELAY) \
    X(PROXY_FAILED, "proxy_failed", NO, RELAY) \
    X(CONNECTION_CLOSED, "connection_closed", YES, SESSION) \
    X(TIMEOUT, "timeout", YES, SESSION) \
    X(BANNER_REJECTED, "banner_rejected", BY_CLASS, RELAY) \
    X(EHLO_REJECTED, "ehlo_rejected", BY_CLASS, RELAY) \
    X(PLAINTEXT_ON_TLS_PORT, "plaintext_on_tls_port", NO, RELAY) \
    X(TLS_ON_PLAINTEXT_PORT, "tls_on_plaintext_port", NO, RELAY) \
    X(STARTTLS_NOT_OFFERED, "starttls_not_offered", NO, RELAY) \
    X(STARTTLS_REFUSED, "starttls_refused", BY_CLASS, RELAY) \
    X(STARTTLS_INJECTION, "starttls_injection", NO, RELAY) \
    X(TLS_VERSION_UNSUPPORTED, "tls_version_unsupported", NO, RELAY) \
    X(TLS_HANDSHAKE_FAILED, "tls_handshake_failed", NO, RELAY) \
    X(TLS_CLIENT_CERT_REJECTED, "tls_client_cert_rejected", NO, RELAY) \
    X(TLS_CERT_EXPIRED, "tls_cert_expired", NO, RELAY) \
    X(TLS_CERT_NOT_YET_VALID, "tls_cert_not_yet_valid", NO, RELAY) \
    X(TLS_CERT_UNTRUSTED, "tls_cert_untrusted", NO, RELAY) \
    X(TLS_CERT_NAME_MISMATCH, "tls_cert_name_mismatch", NO, RELAY) \
    X(TLS_CERT_REVOKED, "tls_cert_revoked", NO, RELAY) \
    X(TLS_CERT_WEAK, "tls_cert_weak", NO, RELAY) \
    X(TLS_PIN_MISMATCH, "tls_pin_mismatch", NO, RELAY) \
    X(TLS_CLOSED, "tls_closed", YES, RELAY) \
    X(AUTH_NOT_OFFERED, "auth_not_offered", NO, RELAY) \
    X(AUTH_MECHANISM_UNSUPPORTED, "auth_mechanism_unsupported", NO, RELAY) \
    X(AUTH_REQUIRED, "auth_required", NO, RELAY) \
    X(AUTH_FAILED, "auth_failed", NO, RELAY) \
    X(AUTH_BASIC_DISABLED, "auth_basic_disabled", NO, RELAY) \
    X(AUTH_APP_PASSWORD_REQUIRED, "auth_app_password_required", NO, RELAY) \
    X(AUTH_TOO_WEAK, "auth_too_weak", NO, RELAY) \
    X(AUTH_TEMPORARY, "auth_temporary", YES, RELAY) \
    X(OAUTH_TOKEN_FAILED, "oauth_token_failed", NO, RELAY) \
    X(SERVICE_CLOSING, "service_closing", YES, SESSION) \
    X(RELAY_BUSY, "relay_busy", YES, RELAY) \
    X(RELAY_RATE_LIMITED, "relay_rate_limited", YES, RELAY) \
    X(SENDER_REJECTED, "sender_rejected", BY_CLASS, MAIL) \
    X(RECIPIENTS_REJECTED, "recipients_rejected", BY_CLASS, ADDRESS) \
    X(RELAY_DENIED, "relay_denied", NO, MAIL) \
    X(MESSAGE_TOO_LARGE, "message_too_large", NO, MAIL) \
    X(MAILBOX_FULL, "mailbox_full", BY_CLASS, ADDRESS) \
    X(SMTPUTF8_UNSUPPORTED, "smtputf8_unsupported", NO, MAIL) \
    X(EIGHTBITMIME_UNSUPPORTED, "8bitmime_unsupported", NO, MAIL) \
    X(REQUIRETLS_UNSUPPORTED, "requiretls_unsupported", NO, MAIL) \
    X(DSN_UNSUPPORTED, "dsn_unsupported", NO, MAIL) \
    X(DATA_REJECTED, "data_rejected", BY_CLASS, MAIL) \
    X(MESSAGE_REJECTED, "message_rejected", BY_CLASS, MAIL) \
    X(MESSAGE_DEFERRED, "message_deferred", YES, MAIL) \
    X(OUTCOME_UNKNOWN, "outcome_unknown", NO, SESSION) \
    X(PROTOCOL_ERROR, "protocol_error", NO, SESSION) \
    X(SESSION_LIMIT, "session_limit", YES, SESSION)

enum outcome_code {
#define X(symbol, name, retry, whose) OUTCOME_##symbol,
    OUTCOME_CODES(X)
#undef X
    OUTCOME_COUNT
};

/* What became of a mail, of one recipient, or of an attempt to connect. Plain data, copied freely. */
struct smtp_outcome {
    enum outcome_code code;             /* OUTCOME_SENT: the relay took it */
    enum delivery_status delivery;
    enum outcome_whose whose;
    enum stage stage;
    int reply_code;                     /* the SMTP reply that decided; 0 when the cause is local */
    char enhanced[12];                  /* "4.7.0" (RFC 3463); empty when none was given */
    /* "MAIL", "AUTH", "body", "banner" …: what the reply answered; empty when local */
    char command[16];
    char text[256];                     /* the reply's text: one line of printable UTF-8, cut, no echo of a password */
    /* local cause in words: errno, TLS library's reason, what was malformed; empty when a reply says it all */
    char reason[200];
    uint32_t ms;                        /* how long the step that failed had waited */
};

const char *outcome_code_name(enum outcome_code code);
bool outcome_code_from_name(const char *name, enum outcome_code *out);
enum outcome_whose outcome_usual_whose(enum outcome_code code);
const char *outcome_whose_name(enum outcome_whose whose);       /* "session" … */
/* What a session's end or refusal means when the session was opened for this very mail: the relay's doing. */
void outcome_on_fresh_session(struct smtp_outcome *o);
const char *delivery_name(enum delivery_status d);                     /* "not_sent" … */
const char *stage_name(enum stage s);                           /* "request" … */
enum retry_rule outcome_retry_rule(enum outcome_code code);
/* RFC-wise: may the request be repeated unchanged, later, without risk of a double mail? Never when delivery is
 * unknown or accepted. */
bool outcome_is_retryable(const struct smtp_outcome *o);
bool outcome_is_temporary(const struct smtp_outcome *o);        /* its reply is a 4xx */
bool outcome_is_greylisting(const struct smtp_outcome *o);      /* it wants the mail again in some minutes */

/* A local failure: fills everything, `whose` as is usual for the code, reply fields empty. reason may be NULL. */
void outcome_set_local(struct smtp_outcome *o, enum outcome_code code, enum stage stage, enum delivery_status d,
                       const char *reason);
#endif
