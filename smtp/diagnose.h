#ifndef SMTP_DIAGNOSE_H
#define SMTP_DIAGNOSE_H
/* The staged check of one relay: what a person would try by hand, in order, with facts, findings and one conclusion.
 * A run is one blocking call on a thread of the caller's; all it says is plain data. Nothing a server sends gets in
 * unbounded or unprintable, and no credential gets in at all. */
#include "smtp/engine.h"
#include "smtp/tls_chain.h"

#include <stdatomic.h>

/* In the order of a run; each at most once. `tls` and `certificate` come before `banner` in implicit mode. */
#define DIAGNOSE_STEPS(X) \
    X(CONFIG, "config") \
    X(DNS, "dns") \
    X(TCP, "tcp") \
    X(BANNER, "banner") \
    X(EHLO, "ehlo") \
    X(STARTTLS, "starttls") \
    X(TLS, "tls") \
    X(CERTIFICATE, "certificate") \
    X(EHLO_TLS, "ehlo_tls") \
    X(AUTH, "auth") \
    X(MAIL, "mail") \
    X(RCPT, "rcpt") \
    X(SEND, "send") \
    X(QUIT, "quit") \
    X(TLS_VERSIONS, "tls_versions") \
    X(PORTS, "ports")

enum diagnose_step_id {
#define X(symbol, name) DIAGNOSE_STEP_##symbol,
    DIAGNOSE_STEPS(X)
#undef X
    DIAGNOSE_STEP_COUNT
};

enum diagnose_status { DIAGNOSE_RUNNING, DIAGNOSE_OK, DIAGNOSE_WARN, DIAGNOSE_FAIL, DIAGNOSE_SKIPPED };

/* What was found besides the code of a failed step: named causes, and things worth knowing though nothing failed. */
#define DIAGNOSE_FINDINGS(X) \
    X(PORT_FOR_OTHER_MODE, "port_for_other_mode")               /* 465 with starttls, 587 with implicit, … */ \
    X(PLAIN_PASSWORD, "plain_password")                         /* a password would go in clear: it was not shown */ \
    X(DNS_EMPTY, "dns_empty")                                   /* the name exists or not, but has no address */ \
    X(DNS_SPLIT, "dns_split")                                   /* private and public addresses in one answer */ \
    X(DNS_LOCAL, "dns_local")                                   /* a name that is not local, at 127.x, 0.0.0.0, :: */ \
    X(DNS_SLOW, "dns_slow") \
    X(IPV6_BROKEN, "ipv6_broken")                               /* IPv6 fails, IPv4 works */ \
    X(IPV4_BROKEN, "ipv4_broken") \
    X(ADDRESS_BROKEN, "address_broken")                         /* one of several of the same family */ \
    X(PORT_FILTERED, "port_filtered")                           /* no answer at all: a firewall swallows it */ \
    X(PORT_CLOSED, "port_closed")                               /* refused: nothing listens there */ \
    X(EGRESS_BLOCKED, "egress_blocked")                         /* all ports tried are filtered */ \
    X(GREETING_DELAY, "greeting_delay") \
    X(GREETING_TOO_LATE, "greeting_too_late")                   /* later than this relay's banner_timeout */ \
    X(CONNECTION_LIMIT, "connection_limit")                     /* 421 on connect */ \
    X(SMTP_REWRITTEN, "smtp_rewritten")                         /* banner of asterisks, EHLO with XXXXXXXA */ \
    X(STARTTLS_STRIPPED, "starttls_stripped") \
    X(WRONG_MODE_TLS_PORT, "wrong_mode_tls_port")               /* starttls or none, and the port speaks TLS */ \
    X(WRONG_MODE_PLAIN_PORT, "wrong_mode_plain_port")           /* implicit, and the port speaks plain SMTP */ \
    X(TLS_TOO_OLD, "tls_too_old")                               /* nothing newer than TLS 1.1 is taken */ \
    X(TLS_LEGACY_TAKEN, "tls_legacy_taken")                     /* TLS 1.0 or 1.1 besides a good version */ \
    X(CLOCK_WRONG, "clock_wrong")                               /* the local clock is likely the one that is off */ \
    X(CERT_EXPIRES_SOON, "cert_expires_soon") \
    X(CERT_SELF_SIGNED, "cert_self_signed") \
    X(CERT_PRIVATE_CA, "cert_private_ca") \
    X(INTERMEDIATE_MISSING, "intermediate_missing") \
    X(INTERCEPTION_PRODUCT, "interception_product")             /* the issuer is a known inspection product */ \
    X(INTERCEPTION_LIKELY, "interception_likely")               /* untrusted chain, yet for exactly this name */ \
    X(AUTH_ONLY_AFTER_TLS, "auth_only_after_tls")               /* as it should be; said for the reader */ \
    X(AUTH_BEFORE_TLS, "auth_before_tls")                       /* offered in clear text too */ \
    X(AUTH_NOT_CONFIGURED, "auth_not_configured")            /* AUTH is offered, no user is configured */ \
    X(EHLO_CHANGED, "ehlo_changed") \
    X(NO_SMTPUTF8, "no_smtputf8") \
    X(NO_PIPELINING, "no_pipelining") \
    X(SIZE_LIMIT, "size_limit") \
    X(GREYLISTED, "greylisted")

enum diagnose_finding_id {
#define X(symbol, name) DIAGNOSE_FINDING_##symbol,
    DIAGNOSE_FINDINGS(X)
#undef X
    DIAGNOSE_FINDING_COUNT
};

struct diagnose_step {
    enum diagnose_step_id id;
    enum diagnose_status status;
    uint32_t began_ms, ms;              /* since the run began; how long it took */
    /* FAIL: as a send would have failed. WARN may have one that did not decide; else code OUTCOME_SENT. */
    struct smtp_outcome outcome;
    char detail[600];                   /* one to three sentences, with host, port, reply and times */
};

struct diagnose_finding {
    enum diagnose_finding_id id;
    enum diagnose_step_id step;         /* where it was seen */
    bool warning;                       /* false: only worth knowing */
    char text[400];                     /* a sentence */
};

#define DIAGNOSE_ADDRESSES_MAX 16

struct diagnose_address {
    char text[64];
    bool ipv6, tried, used;             /* used: the conversation ran there */
    bool connected;
    uint32_t ms;
    struct smtp_outcome failure;        /* tried && !connected */
};

enum diagnose_port_state {
    DIAGNOSE_PORT_UNTRIED, DIAGNOSE_PORT_SMTP, DIAGNOSE_PORT_TLS, DIAGNOSE_PORT_SILENT /* open, says nothing */,
    DIAGNOSE_PORT_OTHER /* open, speaks something else */, DIAGNOSE_PORT_REFUSED, DIAGNOSE_PORT_FILTERED,
    DIAGNOSE_PORT_FAILED
};

struct diagnose_port {
    uint16_t port;
    enum diagnose_port_state state;
    uint32_t ms;
    char banner[200];                   /* printable */
    bool starttls;                      /* SMTP: offered at EHLO */
    /* It was walked up to the EHLO under verified TLS (or plain, for a relay on this machine): `mode` works there. */
    bool works;
    enum smtp_tls_mode mode;
    char why_not[200];                  /* !works and it was walked: where it ended */
};

enum diagnose_version_state { DIAGNOSE_VERSION_UNTRIED, DIAGNOSE_VERSION_TAKEN, DIAGNOSE_VERSION_REFUSED,
                              DIAGNOSE_VERSION_UNKNOWN /* the connection failed otherwise */ };

struct diagnose_version {
    const char *name;                   /* "TLSv1" … "TLSv1.3"; static */
    enum diagnose_version_state state;
    char cipher[48];
    char reason[200];                   /* !TAKEN */
};

struct diagnose_ehlo {
    bool have;
    uint32_t ms;
    char reply[4096];                   /* lines with LF between, printable; the whole reply unless cut */
    bool cut;
    struct smtp_capabilities caps;
};

/* What a configuration should say, as far as a trial has shown that it works. */
struct diagnose_suggestion {
    bool known;                         /* false: no configuration is known to mend it */
    bool changed;                       /* it differs from what was checked */
    bool login_checked;                 /* the credentials were taken in this run; else it is known up to EHLO */
    char host[256];
    bool host_is_rooted;                /* to be written with the root's dot, as it was */
    uint16_t port;
    enum smtp_tls_mode tls_mode;
    bool has_user;                      /* as was configured */
    bool needs_user;                    /* the relay wants a login, none is configured */
    /* The chain's own last certificate must be trusted: the setting ca_file, with facts.chain.anchor_pem in that file.
     * Only after a person has compared anchor_sha256 with what the relay's operator says. */
    bool needs_ca_file;
    char anchor_sha256[65];
    uint32_t banner_timeout_ms;         /* 0: as it is; else the setting banner_timeout */
    char why[300];                      /* what it changes and how that is known */
};

/* Some 90 KiB: on the heap. Holds no pointers but to static text: copy and free it as you like. */
struct diagnosis {
    char relay[64], host[256];
    uint16_t port;
    enum smtp_tls_mode tls_mode;
    char user[256];                     /* as configured, or empty; never the password */
    int64_t started_at;                 /* seconds since 1970 */
    uint32_t total_ms;

    unsigned n_steps;
    struct diagnose_step steps[DIAGNOSE_STEP_COUNT];            /* in the order they ran */
    unsigned n_findings;
    struct diagnose_finding findings[DIAGNOSE_FINDING_COUNT];   /* each at most once */

    unsigned n_addresses;
    struct diagnose_address addresses[DIAGNOSE_ADDRESSES_MAX];
    uint32_t dns_ms;
    char address[64];                   /* where the conversation ran; empty: nowhere */
    char banner[512];
    uint32_t banner_ms;
    struct diagnose_ehlo ehlo, ehlo_tls;                        /* implicit: the only one is `ehlo_tls` */
    bool tls_on, tls_verified;
    char tls_version[12], tls_cipher[48];
    struct diagnose_version versions[4];
    struct tls_chain chain;
    char auth_mechanism[32];            /* the one that was used */
    bool auth_tried, auth_ok;
    unsigned n_ports;
    struct diagnose_port ports[5];      /* 25, 465, 587, 2525, and the configured one */

    bool ok;                            /* no step failed */
    bool canceled, timed_out;           /* it ended before its time */
    struct smtp_outcome outcome;        /* of the first step that failed; code OUTCOME_SENT: none */
    enum diagnose_step_id failed_at;    /* !ok */
    char conclusion[600];               /* the cause, and the one thing to do first */
    size_t advice_at;                   /* where general advice begins in it, for which better may be known; else 0 */
    struct diagnose_suggestion suggestion;
};

struct diagnose_params {                /* all of it borrowed for the run */
    const struct relay_config *relay;
    const char *to;                     /* NULL: no MAIL and RCPT */
    const char *from;                   /* NULL: the user when that is an address, else `to` */
    bool send;                          /* with `to`: a small real mail, after which RSET is not needed */
    bool no_auth;                       /* do not show the credentials */
    bool all_ports, tls_versions;       /* try these even when nothing failed */
    const char *only_address;           /* an IP literal to connect to instead of what DNS says; or NULL */
    uint32_t total_ms;                  /* 0: 90 s */
    /* What this process knows of the relay (engine_get_memory), which is told what is found; NULL: nothing. It keeps
     * apart who shows the password, and who speaks to a port that is silent. */
    struct relay_memory *memory;
    const atomic_bool *cancel;          /* NULL: none; another thread sets it, the run ends within some 100 ms */
    /* Each step as it begins (RUNNING) and as it ends; d->steps[index]. On the run's thread. May be NULL. */
    void (*on_step)(void *ctx, const struct diagnosis *d, unsigned index);
    /* Each line of the wire, redacted (smtp/trace.h); "* …" is a remark. May be NULL. */
    void (*on_trace)(void *ctx, bool from_client, uint32_t ms, const char *line);
    void *ctx;
};

/* Blocks. *d is filled on every path. The credentials are shown at most once in a run, not at all while they are known
 * to be refused (the step is then skipped, and the outcome is that refusal), and they and mail never without verified
 * TLS of 1.2 or newer; except to a loopback address with `tls: none`, where a send would do the same. */
void diagnose_run(const struct diagnose_params *p, struct diagnosis *d);

const char *diagnose_step_name(enum diagnose_step_id id);               /* "dns" … */
const char *diagnose_status_name(enum diagnose_status s);           /* "running", "ok", "warn", "fail", "skipped" */
const char *diagnose_finding_name(enum diagnose_finding_id id);
const char *diagnose_port_state_name(enum diagnose_port_state s);       /* "smtp", "tls", "silent", "refused" … */
const char *diagnose_version_state_name(enum diagnose_version_state s); /* "untried", "taken", "refused", "unknown" */
const char *diagnose_mode_name(enum smtp_tls_mode mode);                /* "starttls", "implicit", "none" */
bool diagnose_has(const struct diagnosis *d, enum diagnose_finding_id id);
#endif
