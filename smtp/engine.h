#ifndef SMTP_ENGINE_H
#define SMTP_ENGINE_H
/* The workshop's door: relays with their pools of SMTP sessions, on loops of their own. struct delivery goes down,
 * struct delivery_report comes up. */
#include "smtp/loop.h"
#include "smtp/mail.h"
#include "smtp/outcome.h"
#include "smtp/report.h"
#include "smtp/session.h"

struct engine;
struct secrets;

struct relay_config {                   /* strings are borrowed by whoever takes it, for the length of the call */
    const char *name, *host;            /* host: a name without the root's dot, or an IP address without brackets */
    bool host_is_rooted;                /* the dot was there: the name is whole, and looked up with it */
    uint16_t port;
    enum smtp_tls_mode tls_mode;
    const char *user, *password;        /* NULL: no AUTH */
    const struct secrets *secrets;      /* of these; relay_settings_new makes it, elsewhere it is NULL */
    const char *ca_file, *ca_pem, *crl_file, *pins;
    const char *files;                  /* differs when one of those files was changed; NULL: nobody looks */
    const char *ehlo_name;              /* NULL: FQDN host name, else the literal of the local socket's address */
    unsigned max_sessions;              /* default 8 */
    unsigned min_idle;                  /* sessions kept open, in use or not, for mails to come; default 0 */
    unsigned pipeline_depth;            /* mails in flight on one session; default 1 */
    bool trace;                         /* engine_params.on_trace is told of its wire */
    unsigned loops;                     /* SMTP loops that its sessions are spread over; default 1 */
    uint32_t dns_ms, connect_ms, connect_total_ms, one_flight_idle_ms, idle_ms, lifetime_ms;
    struct smtp_timeouts timeouts;
    unsigned mails_per_session;         /* 0: no limit */
    size_t one_flight_max;
    unsigned extensions_off;            /* SMTP_EXT_… (smtp/ehlo.h): not used even where offered */
};
void relay_config_init(struct relay_config *c);                         /* the defaults of DESIGN §4 */

/* A copy with strings of its own, for whoever may outlive the original. Any thread. */
struct relay_settings {
    struct relay_config c;              /* not to be changed */
    _Atomic unsigned refs;
};
struct relay_settings *relay_settings_new(const struct relay_config *c) MUST_CHECK;     /* with one reference */
struct relay_settings *relay_settings_ref(struct relay_settings *s);
void relay_settings_unref(struct relay_settings *s);                    /* the last one cleanses and frees */
bool relay_settings_equal(const struct relay_config *a, const struct relay_config *b);
/* What the resolver is asked for: the host, with its dot. */
void relay_settings_lookup_name(const struct relay_config *c, char out[256]);
/* Can its authorities, revocation lists and pins be used? 0, or -1 with the reason. Reads the files. */
int relay_settings_check(const struct relay_config *c, char err_out[200]) MUST_CHECK;

struct engine_params {
    const struct relay_config *relays;  /* of the first n_relays places */
    size_t n_relays;
    /* SMTP loops, default 1 and as many as any relay wants; a relay's first one is loop (index % loops) */
    unsigned loops;
    /* For relays with `trace`: each line of the wire, redacted; "* …" is a remark. `session` numbers the sessions of
     * all relays. Runs on the SMTP loops' threads. May be NULL. */
    void (*on_trace)(void *ctx, size_t relay, unsigned session, bool from_client, const char *line);
    void *trace_ctx;
};

/* One mail on its way down. Heap object made by delivery_new; the engine owns it from submit on. */
struct delivery {
    struct loop_msg msg;                /* the engine's business, as are the fields below the line */
    char id[37];                        /* the mail's id */
    size_t relay;                       /* its place, see engine_reload */
    char *from;                         /* reverse-path; "" is <> */
    char **rcpts;
    size_t n_rcpts;
    char *content;                      /* canonical bytes; a block (smtp/block.h), owned */
    size_t content_n;
    char *envid;                        /* the caller's ENVID, or NULL: the mail's id is it; owned */
    enum mail_dsn_ret dsn_ret;
    unsigned dsn_notify;                /* MAIL_NOTIFY_… */
    bool needs_8bit, needs_utf8, needs_dsn, require_tls, partial_reject;
    bool keep_content;                  /* the report hands it back, unless the relay has or may have the mail */
    uint64_t deadline;                  /* ms of CLOCK_MONOTONIC */
    struct loop *reply_to;              /* where on_report runs */
    void (*on_report)(struct delivery_report *r);                       /* owns r: delivery_report_free */
    void *owner;                        /* handed back in the first report only; NULL in a late one */
    void *ctx;                          /* handed back in each report */
    struct delivery_state *state;       /* engine's */
};
struct delivery *delivery_new(size_t n_rcpts) MUST_CHECK;               /* zeroed, with room for n_rcpts pointers */
void delivery_free(struct delivery *d);

struct engine *engine_new(const struct engine_params *p, char err_out[200]) MUST_CHECK;  /* starts its threads */
/* The relays from now on, each at its place; NULL: none is there. From one thread. Where settings are equal nothing
 * happens; else new sessions and tickets take the place of the old ones: mails that wait go over, or are finished under
 * the old settings when the relay is gone; running ones finish where they are. -1: all stays as it was. */
int engine_reload(struct engine *e, const struct relay_config *const *relays, size_t n, char err_out[200]) MUST_CHECK;
/* Any thread. 0: takes d over, and a report comes in every case. -1: there is no such relay (any more). */
int engine_submit(struct engine *e, struct delivery *d) MUST_CHECK;
/* Any thread. Idle sessions QUIT; running ones finish; new deliveries are still served until engine_free. */
void engine_drain(struct engine *e);
/* Joins the threads, and sends a report of every mail that has none: its verdict, when that lies in the socket; else
 * outcome_unknown when the body is gone, and shutting_down. Only engine_free may follow. */
void engine_give_up(struct engine *e);
/* joins the threads; call when every report has come (late ones are given up) */
void engine_free(struct engine *e);

struct relay_memory;                    /* smtp/relay_memory.h */
/* What is known of a relay, as long as its server, user and password are those of *c; else NULL. A reference of the
 * caller's. Any thread. */
struct relay_memory *engine_get_memory(struct engine *e, size_t relay, const struct relay_config *c) MUST_CHECK;
void relay_memory_unref(struct relay_memory *m);                        /* NULL is allowed */

struct engine_relay_stats {             /* a snapshot; counters since the engine's start */
    unsigned idle, busy, connecting, waiting;
    bool circuit_open;
    uint64_t opened, resumed, reused, stale, flights, mails;    /* resumed: of the opened, by a TLS ticket */
    uint64_t old_address;               /* of the opened: at addresses of before, as no name server answered */
};
/* any thread; counters survive all reloads */
void engine_get_stats(struct engine *e, size_t relay, struct engine_relay_stats *out);
#endif
