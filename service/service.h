#ifndef SERVICE_SERVICE_H
#define SERVICE_SERVICE_H
/* The office's door: makes a checked struct mail ready, hands it to the engine, and answers once with what became of
 * it. Everything here but service_new/_free and what says "any thread" is for the HTTP loop's thread, and callbacks run
 * there. */
#include "smtp/loop.h"
#include "smtp/mail.h"
#include "smtp/outcome.h"

struct service;
struct config;
struct sandbox;

/* A mail made ready to be sent: its id, envelope and composed form. Nobody changes it but service_send, which takes it
 * over. */
struct message {
    char id[37];                        /* UUIDv7 */
    struct mail *mail;                  /* without its contents */
    char *message_id;                   /* with angle brackets */
    char *content;                      /* canonical bytes; a block (smtp/block.h) */
    size_t content_n;
    bool needs_8bit, needs_utf8;
    size_t relay;                       /* index into the configuration's relays */
    const char *from;                   /* envelope; "" is <> */
    size_t n_rcpts;
    const char *rcpts[];                /* envelope: its own, or to, cc, bcc, each once; lent from mail */
};

/* What became of one send; lent to on_done for the length of the call. */
struct send_result {
    char id[37];
    const char *message_id;             /* NULL when it was not composed */
    const char *relay;                  /* name; NULL when none was chosen */
    const char *relay_host;
    uint16_t relay_port;
    const char *relay_tls_mode;         /* "starttls", "implicit", "none" */
    bool relay_has_user;                /* it is configured with a login */
    bool sandbox;
    const struct mail *mail;            /* as submitted */
    const char *const *rcpts;           /* envelope, in the order of rcpt_outcomes */
    const struct smtp_outcome *rcpt_outcomes;   /* n_rcpts, or NULL when no attempt got that far */
    size_t n_rcpts;
    struct smtp_outcome outcome;
    struct smtp_outcome cause;          /* relay_unavailable */
    uint32_t retry_after_s;             /* 0: none known */
    const struct delivery_report *report; /* address, TLS, timings; NULL when it never reached the engine */
    const struct delivery_attempt *attempts;    /* of all tries, in their order */
    size_t n_attempts;
};

struct send_request {
    char request_id[65];
    uint64_t deadline;                  /* ms of CLOCK_MONOTONIC */
    void (*on_done)(void *ctx, const struct send_result *r);    /* exactly once; may run inside service_send */
    void *ctx;
};

struct service_params {
    const struct config *config;        /* borrowed for life */
    struct loop *loop;                  /* the HTTP loop */
    struct sandbox *sandbox;            /* NULL: none. Its relay is in config already */
};
struct service *service_new(const struct service_params *p, char err_out[200]) MUST_CHECK;
void service_free(struct service *s);

/* Any thread, as composing a large mail takes its time. Takes m over. NULL: no memory. */
struct message *service_prepare(const struct service *s, struct mail *m) MUST_CHECK;
void message_free(struct message *m);                           /* one that is not sent */
void service_send(struct service *s, struct message *m, const struct send_request *r);  /* takes m over, copies *r */
const char *service_relay_name(const struct service *s, size_t relay);  /* NULL: there is no such index */
bool service_has_relay(const struct service *s, const char *name);      /* for validation: /relay; any thread */

/* Capacity, asked before a body is read: OUTCOME_SENT when there is room, else OVERLOADED or SHUTTING_DOWN. `bytes`
 * are held until _release. This is where a drain refuses: service_send itself still serves whoever got in before. */
enum outcome_code service_reserve(struct service *s, size_t bytes) MUST_CHECK;
void service_release(struct service *s, size_t bytes);

void service_announce_stop(struct service *s);  /* readiness turns false; sends are still taken (drain_delay) */
/* New sends: shutting_down. on_empty once nothing is running and no bytes are held. */
void service_drain(struct service *s, void (*on_empty)(void *ctx), void *ctx);
/* At the end of a drain: mails that wait for their next try are answered with their last failure. */
void service_give_up(struct service *s);
bool service_is_draining(const struct service *s);
bool service_is_ready(const struct service *s);
struct sandbox *service_sandbox(const struct service *s);
const struct config *service_config(const struct service *s);

void service_count_http(struct service *s, const char *route, int status,
                        uint64_t us); /* route: a pattern, never a raw path */
/* The client had closed its connection before its answer; the mail went on without it. */
void service_log_client_gone(struct service *s, const char *request_id, const char *route);
void service_log_http(struct service *s, const char *request_id, const char *method, const char *route, int status,
                      uint64_t us);
void service_write_metrics(struct service *s, struct bytes_buf *out);   /* Prometheus text format 0.0.4 */
#endif
