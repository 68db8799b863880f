#ifndef SERVICE_CONFIG_H
#define SERVICE_CONFIG_H
/* Settings: one table (service/config_table.h) gives the struct, defaults, parsing, range check, redaction, --help
 * and the sample file. Sources, later wins: file (YAML), environment (MAILHATCH_…), command line. */
#include "smtp/bytes.h"
#include "smtp/engine.h"
#include "smtp/file.h"

#include <sys/types.h>

struct option_source;                   /* where each value came from: service/option.h */

struct config_relay {                   /* owns its strings; `c` borrows them */
    char *name, *host, *user, *password, *password_file, *ca_file, *crl_file, *pins, *ehlo_name, *extensions_off;
    char *url, *tls, *ca_pem;           /* tls: "starttls" | "implicit" | "none", NULL as the url says */
    char password_stamp[FILE_STAMP_SIZE];       /* of password_file, when it was read */
    char *files, *files_seen;           /* stamps of ca_file and crl_file: in force, and looked at last */
    uint32_t timeout_ms;                /* a cap over every step; 0: none */
    struct option_source *sources;
    struct relay_config c;
};

enum { CONFIG_SCOPE_SEND = 1, CONFIG_SCOPE_READ = 2, CONFIG_SCOPE_DIAGNOSE = 4 };

struct config_words {
    char **v;
    size_t n;
};

struct config_key {                     /* an API key and its rights; an empty list allows all */
    char *name;                         /* "": none. Two keys of one name: a rotation */
    unsigned char digest[32];           /* SHA-256 of the secret */
    char *secret_file;                  /* where the secret stands; or NULL */
    bool is_of_file;                    /* it stands in api_keys_file */
    struct config_words senders, recipients;    /* "ann@example.com" or "@example.com", domains as A-labels */
    struct config_words relays;
    unsigned scopes;
    unsigned rate;                      /* mails in rate_ms; 0: no limit */
    uint32_t rate_ms;
};

struct config {
    char *listen, *admin_listen;        /* "127.0.0.1:8587", "[::1]:0", "unix:/path" */
    char *listen_mode, *listen_owner;   /* of the API's Unix socket: "0660"; "USER:GROUP" or NULL */
    char *default_relay;
    char *store;
    char *on_temporary_failure;         /* "fail" | "retry" */
    char **api_keys;                    /* n_api_keys; a key may be "name:secret" */
    size_t n_api_keys;
    struct config_key *keys;            /* of api_keys, api_keys_file and the file's `keys:` */
    size_t n_keys;
    char *api_keys_file;                /* its keys are among keys, unless api_keys won over it */
    bool uses_keys_file;                /* it did not */
    char *key_stamps;                   /* of the files with keys, when they were read */
    char *tls_cert_file, *tls_key_file; /* of the API's listener; both or none */
    char *client_ca_file;               /* or NULL; only with those */
    char **allowed_hosts;
    size_t n_allowed_hosts;
    char **allowed_origins;             /* "https://app.example.com" */
    size_t n_allowed_origins;
    bool sandbox;
    char *log_format, *log_level;       /* "json" | "text" | "auto"; "debug" | "info" | "warn" | "error" */
    bool log_addresses;                 /* false: masked */
    bool address_literals;              /* ann@[192.0.2.1] is an address */
    uint32_t request_timeout_ms, drain_delay_ms, drain_timeout_ms;
    unsigned max_waiting, max_recipients, max_json_values, max_connections, max_connections_per_address;
    unsigned http_loops, smtp_loops;
    size_t max_inflight_bytes, max_body_bytes;
    struct config_relay *relays;
    size_t n_relays;
    char *file_argument;                /* what is left on the command line (the FILE of `send`), or NULL */
    struct option_source *sources;
};

struct config_errors {                  /* all mistakes at once: one sentence a line, with file:line or variable name */
    struct bytes_buf text;
    unsigned n, n_warnings;
    struct bytes_buf warnings;
};

/* argv without the command word. 0: *out is owned (config_free), warnings may have come. -1: errors are filled. */
int config_load(int argc, char **argv, struct config **out, struct config_errors *errors) MUST_CHECK;
void config_free(struct config *c);
void config_drop_relays(struct config *c);              /* theirs are secrets that nobody needs any more */
/* Only the admin listener's address, judged alone: a health check must not need the relay's settings. Owned; NULL
 * with errors filled. */
char *config_load_admin_listen(int argc, char **argv, struct config_errors *errors) MUST_CHECK;
/* Keys are copied with all they hold, into a list of the caller's own. */
struct config_key *config_keys_copy(const struct config_key *v, size_t n) MUST_CHECK;   /* NULL: no memory */
void config_keys_free(struct config_key *v, size_t n);
#define CONFIG_KEY_ID_SIZE 9
void config_key_id(const struct config_key *k, char out[CONFIG_KEY_ID_SIZE]);   /* the first 8 digits of its digest */
/* The numbers of listen_mode and listen_owner, (uid_t)-1 and (gid_t)-1 where nothing is said. NULL, or a sentence. */
const char *config_listen_owner(const struct config *c, unsigned *mode_out, uid_t *uid_out, gid_t *gid_out);
/* Nobody said anything about this top-level option: it has its default. */
bool config_is_default(const struct config *c, const char *option);
void config_errors_init(struct config_errors *e);
void config_errors_deinit(struct config_errors *e);
/* For the composition root: adds the sandbox's relay and makes it the default. Copies. 0 or -1. */
int config_add_relay(struct config *c, const char *name, const char *host, uint16_t port, const char *user,
                     const char *password, const char *ca_pem) MUST_CHECK;
void config_write_help(struct bytes_buf *out);          /* the options part of --help */
void config_write_sample(struct bytes_buf *out);        /* a commented YAML file */
void config_write_reference(struct bytes_buf *out);     /* docs/configuration.md */
void config_write_effective(const struct config *c, struct bytes_buf *out); /* secrets redacted, each with its source */
const char *config_yaml_library_version(void);          /* "libyaml 0.2.5" */
#endif
