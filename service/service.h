#ifndef SERVICE_SERVICE_H
#define SERVICE_SERVICE_H
/* The office's door: makes a checked struct mail ready, hands it to the engine, and answers once with what became of
 * it. Each HTTP loop has a desk of its own (service/desk.h), where its sends run. What does not say "any thread" is for
 * the first loop's thread, or for when no loop runs. */
#include "service/desk.h"
#include "smtp/loop.h"
#include "smtp/mail.h"
#include "smtp/outcome.h"

struct service;
struct config;
struct descriptors;
struct diagnosis;
struct engine_relay_stats;
struct last_error;
struct relay_settings;
struct sandbox;

/* A mail made ready to be sent: its id, envelope and composed form. Nobody changes it but desk_send, which takes it
 * over. */
struct message {
    char id[37];                        /* UUIDv7 */
    struct mail *mail;                  /* without its contents */
    char *message_id;                   /* with angle brackets */
    char *content;                      /* canonical bytes; a block (smtp/block.h) */
    size_t content_n;
    bool needs_8bit, needs_utf8;
    size_t relay;                       /* its place (service_relay_name), or SIZE_MAX: there is none */
    struct relay_settings *settings;    /* that relay's, when the mail was made ready; a reference; or NULL */
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
    char key[65], key_id[9];            /* name of the API key and the beginning of its digest, for logs; "": none */
    char client[65];                    /* name of the caller's certificate, for logs; "": none */
    char trace_id[33], span_id[17];     /* of the caller's trace (api/traceparent.h), for logs; "": none */
    uint64_t deadline;                  /* ms of CLOCK_MONOTONIC */
    void (*on_done)(void *ctx, const struct send_result *r);    /* exactly once; may run inside desk_send */
    void *ctx;
};

struct service_params {
    const struct config *config;        /* borrowed for life, though a reload may replace what can be replaced */
    struct loop *const *loops;          /* the HTTP loops, n_loops: a desk for each */
    size_t n_loops;
    struct sandbox *sandbox;            /* NULL: none. Its relay is in config already */
};
struct service *service_new(const struct service_params *p, char err_out[200]) MUST_CHECK;
void service_free(struct service *s);
size_t service_n_desks(const struct service *s);
struct desk *service_desk(const struct service *s, size_t i);   /* lent; to be used on its loop */

/* Any thread, as composing a large mail takes its time. Takes m over. NULL: no memory. */
struct message *service_prepare(const struct service *s, struct mail *m) MUST_CHECK;
/* Bytes of memory that it takes until it is answered: its content, and what is noted of each recipient. */
size_t message_held(const struct message *m);
void message_free(struct message *m);                           /* one that is not sent */
const char *service_relay_name(const struct service *s, size_t relay);  /* NULL: no such place; any thread */
bool service_has_relay(const struct service *s, const char *name);      /* for validation: /relay; any thread */

/* The relays as they are now. Any thread. A place is below service_n_places; some may be empty. */
size_t service_n_places(const struct service *s);
/* The place of the relay of that name (NULL: the default one), or SIZE_MAX; *out is a reference of the caller's. */
size_t service_find_relay(const struct service *s, const char *name, struct relay_settings **out);
void service_get_relay(const struct service *s, size_t place, struct engine_relay_stats *stats_out,
                       struct last_error *error_out);

struct relay_memory;
/* See engine_get_memory: for a diagnosis under these settings. */
struct relay_memory *service_get_relay_memory(const struct service *s, size_t place,
                                              const struct relay_settings *settings) MUST_CHECK;

/* What a reload may change, as it is now. Any thread. */
struct service_limits {
    unsigned max_recipients, max_json_values;
    bool address_literals;
};
void service_get_limits(const struct service *s, struct service_limits *out);

struct service_changes {                /* names of relays, with commas between; cut to fit */
    char added[256], removed[256], changed[256];
    unsigned n;
};
/* From now on relays and limits are those of c, which is lent for the call. -1: all stays as it was. */
int service_reload(struct service *s, const struct config *c, struct service_changes *out, char err_out[200])
    MUST_CHECK;

void service_announce_stop(struct service *s);  /* readiness turns false; sends are still taken (drain_delay) */
/* New sends: shutting_down, on every loop. on_empty, on the first one, once nothing runs and no bytes are held. */
void service_drain(struct service *s, void (*on_empty)(void *ctx), void *ctx);
/* When no loop runs any more: letters to them say what is known of each mail that has no answer. */
void service_give_up(struct service *s);
/* Any thread, these four. */
bool service_is_draining(const struct service *s);
bool service_is_ready(const struct service *s);
struct sandbox *service_sandbox(const struct service *s);
const struct config *service_config(const struct service *s);   /* that it started with: for what stays so */

/* The client had closed its connection before its answer; the mail went on without it. Any thread. */
void service_log_client_gone(const char *request_id, const char *route);
/* How a diagnosis ended; request_id: who asked, or NULL. Any thread. */
void service_log_diagnosis(const char *request_id, const struct diagnosis *d, const char *conclusion);
struct service_http_line {
    const char *request_id, *trace_id, *span_id, *method, *route, *key, *key_id, *client;
    int status;
    uint64_t us;
};
/* The API's certificate was read, and ends then (as time(2) counts), for log and metrics. why: a changed one could not
 * be, and the one that ends then stays. */
void service_tell_certificate(struct service *s, int64_t ends, const char *why);
/* An address had `limit` connections and wanted more; n: refused since the last such line. */
void service_log_crowded(const char *address, unsigned limit, unsigned n);
/* Connections were not taken, as the process has no descriptor to spare; n: times since the last such line. */
void service_log_scarce(uint64_t limit, unsigned n);
/* The process may have too few for its settings: what that means. */
void service_log_descriptors(const struct descriptors *d);
/* A connection of a listener ("api", "admin") was closed for a reason that no answer tells; `why` ends a sentence;
 * address: "" for none; n: times since the last such line. Any thread, this and the two above. */
void service_log_closed(const char *listener, const char *why, const char *address, unsigned n);
void service_log_http(const struct service_http_line *l);
void service_write_metrics(struct service *s, struct bytes_buf *out);   /* Prometheus text format 0.0.4 */
#endif
