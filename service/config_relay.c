#include "service/config_relay.h"

#include "service/config_url.h"
#include "smtp/crypto.h"
#include "smtp/file.h"
#include "smtp/idn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A relay's settings, judged as a whole and put into the form the engine reads. */

#define RELAYS_MAX 64

struct config_relay *config_relay_get(struct config *c, const char *name)
{
    for (size_t i = 0; i < c->n_relays; i++)
        if (strcmp(c->relays[i].name, name) == 0)
            return &c->relays[i];
    return NULL;
}

/* Names stand in metrics' labels, URLs and logs. */
static bool is_name(const char *s)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    size_t n = strlen(s);

    return n >= 1 && n <= 64 && strspn(s, allowed) == n;
}

struct config_relay *config_relay_add(struct config *c, const char *name, const char *where,
                                      struct config_errors *errors)
{
    struct config_relay *r;

    if (!is_name(name)) {
        option_error(errors, where, "a relay's name is 1 to 64 letters, digits, '_', '.' and '-'");
        return NULL;
    }
    if (c->n_relays == RELAYS_MAX) {
        option_error(errors, where, "more than %d relays", RELAYS_MAX);
        return NULL;
    }
    r = realloc(c->relays, (c->n_relays + 1) * sizeof(*r));
    if (!r)
        unreachable("no memory for the configuration");
    c->relays = r;
    r += c->n_relays++;
    *r = (struct config_relay){.name = strdup(name), .sources = calloc(option_relay.n, sizeof(*r->sources))};
    if (!r->name || !r->sources)
        unreachable("no memory for the configuration");
    relay_config_init(&r->c);
    option_set_defaults(&option_relay, r);
    return r;
}

static const char *judge_secret(const char *s, size_t n, bool lines)
{
    if (n == 0)
        return "is empty";
    for (size_t i = 0; i < n; i++)
        if (((unsigned char)s[i] < 32 || s[i] == 127) && !(lines && (s[i] == '\n' || s[i] == '\r')))
            return "holds a line break or another control character inside";
    return bytes_is_utf8(bytes_view(s, n)) ? NULL : "is not UTF-8";
}

char *config_relay_read_secret(const char *path, bool lines, const char *where, struct config_errors *errors)
{
    char why_not[FILE_ERR_SIZE];
    const char *why = why_not;
    size_t n;
    char *s = file_read(path, FILE_SECRET_MAX, FILE_OR_PIPE, &n, why_not);

    if (s) {
        if (n && s[n - 1] == '\n')
            s[--n] = '\0';
        if (n && s[n - 1] == '\r')
            s[--n] = '\0';
        why = judge_secret(s, n, lines);
    }
    if (!why)
        return s;
    option_error(errors, where, "%s %s", path, why);
    file_free(s, n);
    return NULL;
}

static enum option_rank rank_of(const struct config_relay *r, const char *name)
{
    return option_rank_of(&option_relay, name, r->sources);
}

static void set_rank(struct config_relay *r, const char *name, enum option_rank rank)
{
    r->sources[option_find(&option_relay, name) - option_relay.rows].rank = rank;
}

/* The file wins over a password of the same source; a later source wins over an earlier one. */
static void take_password_file(struct config_relay *r, const char *where, struct config_errors *errors)
{
    struct option_source *source = &r->sources[option_find(&option_relay, "password") - option_relay.rows];
    char *secret;

    if (!r->password_file || (r->password && rank_of(r, "password") > rank_of(r, "password_file")))
        return;
    file_stamp(r->password_file, r->password_stamp);
    secret = config_relay_read_secret(r->password_file, false, where, errors);
    if (!secret)
        return;
    crypto_cleanse_free(r->password);
    r->password = secret;
    free(source->where);
    source->where = strdup("password_file");
}

static void take_url(struct config_relay *r, struct config_url *u)
{
    free(r->host);
    r->host = u->host;
    r->c.host_is_rooted = u->host_is_rooted;
    u->host = NULL;
    if (!r->user && u->user) {
        r->user = u->user;
        u->user = NULL;
        set_rank(r, "user", OPTION_FROM_URL);
    }
    if (!r->password && u->password) {
        r->password = u->password;
        u->password = NULL;
        set_rank(r, "password", OPTION_FROM_URL);
    }
}

static void take_tls(struct config_relay *r, const struct config_url *u, const char *where,
                     struct config_errors *errors)
{
    r->c.tls_mode = u->tls_mode;
    if (r->tls) {
        r->c.tls_mode = strcmp(r->tls, "implicit") == 0 ? SMTP_TLS_IMPLICIT
                        : strcmp(r->tls, "none") == 0 ? SMTP_TLS_NONE : SMTP_TLS_STARTTLS;
        if (u->tls_mode != SMTP_TLS_STARTTLS && u->tls_mode != r->c.tls_mode)
            option_error(errors, where, "tls: %s and the url contradict each other", r->tls);
    }
    r->c.port = u->port ? u->port : r->c.tls_mode == SMTP_TLS_IMPLICIT ? 465 : 587;
    if (r->c.tls_mode == SMTP_TLS_NONE)
        option_warn(errors, where,
            "tls is none: mails and password travel in the clear, so only 127.0.0.0/8 and ::1 are connected to");
    else if (r->c.tls_mode == SMTP_TLS_STARTTLS && r->c.port == 465)
        option_warn(errors, where,
                    "port 465 usually speaks TLS from the first byte; if so, write smtps:// instead of smtp://");
    else if (r->c.tls_mode == SMTP_TLS_IMPLICIT && (r->c.port == 587 || r->c.port == 25))
        option_warn(errors, where,
                    "port %u usually begins in the clear with STARTTLS; if so, write smtp:// instead of smtps://",
                    r->c.port);
}

static void check_login(const struct config_relay *r, const char *where, struct config_errors *errors)
{
    if (r->user && !r->password && !r->password_file)
        option_error(errors, where, "user is set but no password: set password_file (or password)");
    if (!r->user && (r->password || r->password_file))
        option_error(errors, where,
                     "a password is set but no user: set user, or write it in the url (smtp://USER@HOST)");
}

static void take_ehlo_name(struct config_relay *r, const char *where, struct config_errors *errors)
{
    struct bytes_view name = bytes_view_str(r->ehlo_name ? r->ehlo_name : "");
    const char *why;
    char *ascii;

    if (!r->ehlo_name || r->ehlo_name[0] == '[')        /* an address literal, RFC 5321 §4.1.3 */
        return;
    name.n -= idn_root_dot(name);       /* RFC 5321 §4.1.2: Domain ends in a label */
    if (idn_to_ascii(name, &ascii, &why) != 0) {
        option_error(errors, where, "ehlo_name: \"%s\" is not a host name: %s", r->ehlo_name, why);
        return;
    }
    free(r->ehlo_name);
    r->ehlo_name = ascii;
}

static void cap_steps(struct config_relay *r)
{
    uint32_t *const steps[] = {
        &r->c.dns_ms,       &r->c.connect_ms,       &r->c.connect_total_ms,     &r->c.timeouts.banner,
        &r->c.timeouts.tls, &r->c.timeouts.command, &r->c.timeouts.write_stall, &r->c.timeouts.final_reply,
    };

    for (size_t i = 0; r->timeout_ms && i < ARRAY_LEN(steps); i++)
        if (*steps[i] > r->timeout_ms)
            *steps[i] = r->timeout_ms;
}

static void check_sessions(const struct config_relay *r, const char *where, struct config_errors *errors)
{
    if (r->c.min_idle > r->c.max_sessions)
        option_warn(errors, where, "min_idle is %u, but no more than max_sessions (%u) are opened", r->c.min_idle,
                    r->c.max_sessions);
    if (r->c.loops > r->c.max_sessions)
        option_warn(errors, where, "loops is %u, but only max_sessions (%u) can have one each", r->c.loops,
                    r->c.max_sessions);
}

static char *stamp_files(const struct config_relay *r)
{
    char ca[FILE_STAMP_SIZE], crl[FILE_STAMP_SIZE], *both;

    file_stamp(r->ca_file, ca);
    file_stamp(r->crl_file, crl);
    if (asprintf(&both, "%s;%s", ca, crl) < 0)
        unreachable("no memory for the configuration");
    return both;
}

static char *copy(const char *s)
{
    char *c = strdup(s);

    if (!c)
        unreachable("no memory for the configuration");
    return c;
}

static void lend(struct config_relay *r)
{
    r->c.name = r->name;
    r->c.host = r->host;
    r->c.user = r->user;
    r->c.password = r->password;
    r->c.ca_file = r->ca_file;
    r->c.ca_pem = r->ca_pem;
    r->c.crl_file = r->crl_file;
    r->c.pins = r->pins;
    r->c.ehlo_name = r->ehlo_name;
    r->c.files = r->files;
}

/* What the engine would refuse to start with. The system's authorities are not looked at. */
static void check_trust(const struct config_relay *r, const char *where, struct config_errors *errors)
{
    char why[200];

    if (r->host && (r->ca_file || r->crl_file) && relay_settings_check(&r->c, why) != 0)
        option_error(errors, where, "%s", why);
}

static void take_extensions_off(struct config_relay *r, const char *where, struct config_errors *errors)
{
    struct bytes_view bad;

    if (r->extensions_off && !smtp_ehlo_read_extensions(r->extensions_off, &r->c.extensions_off, &bad))
        option_error(errors, where, "extensions_off: \"%.*s\" is not one of " SMTP_EXTENSION_NAMES,
                     (int)(bad.n < 40 ? bad.n : 40), bad.p);
}

void config_relay_finish(struct config_relay *r, struct config_errors *errors)
{
    struct config_url u = {.port = 0};
    const char *url_from = r->sources[option_find(&option_relay, "url") - option_relay.rows].where;
    char where[80], why[200];

    snprintf(where, sizeof(where), "relay %s", r->name);
    if (!r->url) {
        option_error(errors, where, "url is missing%s", strcmp(r->name, "default") ? ""
                     : " (MAILHATCH_RELAY_URL; all MAILHATCH_RELAY_ settings are about the relay \"default\")");
    } else if (config_url_parse(r->url, &u, why) != 0) {
        option_error(errors, url_from ? url_from : where, "relay %s: %s", r->name, why);
    } else {
        take_url(r, &u);
        take_tls(r, &u, where, errors);
    }
    config_url_deinit(&u);
    take_password_file(r, where, errors);
    check_login(r, where, errors);
    take_ehlo_name(r, where, errors);
    take_extensions_off(r, where, errors);
    if (r->timeout_ms && r->timeout_ms < 10)
        option_error(errors, where, "timeout: less than 10 ms; plain numbers are seconds");
    cap_steps(r);
    check_sessions(r, where, errors);
    r->files = stamp_files(r);
    r->files_seen = copy(r->files);
    lend(r);
    check_trust(r, where, errors);
}

/* The stamp is taken before the file is read: what is written meanwhile is found the next time. */
bool config_relay_refresh_password(struct config_relay *r, struct config_errors *errors)
{
    char stamp[FILE_STAMP_SIZE], *secret;

    file_stamp(r->password_file, stamp);
    if (!r->password_stamp[0] || strcmp(stamp, r->password_stamp) == 0)
        return false;
    snprintf(r->password_stamp, sizeof(r->password_stamp), "%s", stamp);
    secret = config_relay_read_secret(r->password_file, false, r->name, errors);
    if (!secret || strcmp(secret, r->password) == 0) {
        crypto_cleanse_free(secret);
        return false;
    }
    crypto_cleanse_free(r->password);
    r->password = secret;
    r->c.password = secret;
    return true;
}

bool config_relay_refresh_files(struct config_relay *r)
{
    char *files = stamp_files(r);
    bool changed = strcmp(files, r->files_seen) != 0;

    free(r->files_seen);
    r->files_seen = files;
    if (changed)
        config_relay_keep_files(r, files);
    return changed;
}

void config_relay_keep_files(struct config_relay *r, const char *files)
{
    char *kept = copy(files);

    free(r->files);
    r->files = kept;
    r->c.files = kept;
}

void config_relay_deinit(struct config_relay *r)
{
    if (r->url)
        crypto_cleanse(r->url, strlen(r->url));
    option_deinit(&option_relay, r, r->sources);
    free(r->name);
    free(r->host);
    free(r->ca_pem);
    free(r->files);
    free(r->files_seen);
}
