#include "service/config.h"

#include "service/config_env.h"
#include "service/config_key.h"
#include "service/config_relay.h"
#include "service/config_yaml.h"
#include "smtp/crypto.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Loads the settings: defaults, then the file, the environment and the command line; then judges the whole. */

#define SOCKET_MODE 0660                /* listen_mode's default */

struct load {
    struct config *c;
    struct config_errors *e;
    struct config_key_draft draft;      /* the key of `keys:` that is being read */
};

void config_errors_init(struct config_errors *e)
{
    *e = (struct config_errors){.n = 0};
    bytes_buf_init(&e->text, 0);
    bytes_buf_init(&e->warnings, 0);
}

void config_errors_deinit(struct config_errors *e)
{
    bytes_buf_deinit(&e->text);
    bytes_buf_deinit(&e->warnings);
    e->n = e->n_warnings = 0;
}

static struct config *config_new(void)
{
    struct config *c = calloc(1, sizeof(*c));

    if (c)
        c->sources = calloc(option_top.n, sizeof(*c->sources));
    if (!c || !c->sources)
        unreachable("no memory for the configuration");
    option_set_defaults(&option_top, c);
    return c;
}

void config_drop_relays(struct config *c)
{
    for (size_t i = 0; i < c->n_relays; i++)
        config_relay_deinit(&c->relays[i]);
    free(c->relays);
    c->relays = NULL;
    c->n_relays = 0;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    config_drop_relays(c);
    config_keys_deinit(c);
    free(c->file_argument);
    option_deinit(&option_top, c, c->sources);
    free(c);
}

/* ---- sources ---- */

static void on_env_value(void *ctx, bool relay, const struct option_row *row, const struct option_value *v)
{
    struct load *l = ctx;
    struct config_relay *r;

    if (!relay) {
        option_set(&option_top, row, l->c, l->c->sources, v, l->e);
        return;
    }
    r = config_relay_get(l->c, "default");
    if (!r)
        r = config_relay_add(l->c, "default", v->where, l->e);
    if (r)
        option_set(&option_relay, row, r, r->sources, v, l->e);
}

static void unknown_key(struct load *l, const struct config_yaml_item *item)
{
    static const char *const maps[] = {"relays", "keys"};
    static const char *const later[] = {"presets", "routes", "preset", "route", "webhooks"};
    struct option_guess g;

    for (size_t i = 0; i < ARRAY_LEN(later); i++) {
        if (strcmp(later[i], item->key) == 0) {
            option_error(l->e, item->where, "%s: not available in this version", item->key);
            return;
        }
    }
    option_guess_start(&g, item->key);
    option_guess_table(&g, item->relay ? &option_relay : &option_top, OPTION_AS_KEY);
    for (size_t i = 0; !item->relay && i < ARRAY_LEN(maps); i++)
        option_guess_try(&g, maps[i]);
    if (*g.name)
        option_error(l->e, item->where, "%s: no such setting; did you mean %s?", item->key, g.name);
    else
        option_error(l->e, item->where, "%s: no such setting", item->key);
}

static void on_yaml_item(void *ctx, const struct config_yaml_item *item)
{
    const struct option_value v = {item->values, item->n, item->kind == CONFIG_YAML_LIST, OPTION_FROM_FILE,
                                   item->where};
    const struct option_table *table = item->relay ? &option_relay : &option_top;
    struct load *l = ctx;
    struct config_relay *r = item->relay ? config_relay_get(l->c, item->relay) : NULL;
    const struct option_row *row;

    if (item->kind == CONFIG_YAML_KEY) {
        config_key_draft_finish(&l->draft, l->c, l->e);
        config_key_draft_begin(&l->draft, item->where);
        return;
    }
    if (item->is_of_key) {
        config_key_take(&l->draft, item, l->e);
        return;
    }
    if (item->kind == CONFIG_YAML_RELAY) {
        if (r)
            option_error(l->e, item->where, "relay %s is there twice", item->relay);
        else
            (void)config_relay_add(l->c, item->relay, item->where, l->e);
        return;
    }
    row = option_find(table, item->key);
    if (!row)
        unknown_key(l, item);
    else if (item->kind == CONFIG_YAML_OTHER)
        option_error(l->e, item->where, "%s takes a value, not a map", item->key);
    else if (r)
        option_set(table, row, r, r->sources, &v, l->e);
    else if (!item->relay)
        option_set(table, row, l->c, l->c->sources, &v, l->e);
}

/* False: something was not understood, so that what is missing cannot be judged. */
static bool read_sources(struct load *l, int argc, char **argv)
{
    const char *path = config_env_path(argc, argv), *rest;

    if (path)
        config_yaml_read(path, on_yaml_item, l, l->e);
    config_key_draft_finish(&l->draft, l->c, l->e);
    config_env_read(on_env_value, l, l->e);
    config_env_read_argv(argc, argv, on_env_value, l, &rest, l->e);
    l->c->file_argument = rest ? strdup(rest) : NULL;
    return l->e->n == 0;
}

/* ---- the whole ---- */

static void check_keys(struct load *l)
{
    struct config *c = l->c;
    bool file_wins = c->n_api_keys == 0 || option_rank_of(&option_top, "api_keys", c->sources) <=
                                               option_rank_of(&option_top, "api_keys_file", c->sources);

    c->uses_keys_file = c->api_keys_file && file_wins;
    config_keys_look(c);
    for (; c->uses_keys_file && c->n_api_keys; c->n_api_keys--)
        crypto_cleanse_free(c->api_keys[c->n_api_keys - 1]);
    for (size_t i = 0; i < c->n_api_keys; i++)
        config_key_add(c, c->api_keys[i], i + 1, "api_keys", l->e);
    if (c->uses_keys_file)
        config_keys_read_file(c, l->e);
    config_keys_check(c, l->e);
}

/* ---- the owner of a Unix socket ---- */

static bool is_number(const char *s, unsigned long *out)
{
    *out = 0;
    if (!*s || strlen(s) > 9)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return false;
        *out = *out * 10 + (unsigned long)(*s - '0');
    }
    return true;
}

/* Cut at the colon in place. NULL, or what is wrong. */
static const char *find_owner(char *user, uid_t *uid_out, gid_t *gid_out)
{
    char *group = strchr(user, ':');
    const struct passwd *pw = NULL;
    const struct group *gr = NULL;
    unsigned long n;

    if (group)
        *group++ = '\0';
    if (is_number(user, &n))
        *uid_out = (uid_t)n;
    else if (*user && !(pw = getpwnam(user)))
        return "listen_owner: there is no such user";
    else if (*user)
        *uid_out = pw->pw_uid;
    if (group && is_number(group, &n))
        *gid_out = (gid_t)n;
    else if (group && !(gr = getgrnam(group)))
        return "listen_owner: there is no such group";
    else if (group)
        *gid_out = gr->gr_gid;
    return NULL;
}

const char *config_listen_owner(const struct config *c, unsigned *mode_out, uid_t *uid_out, gid_t *gid_out)
{
    char *end = NULL, owner[200];

    *uid_out = (uid_t)-1;
    *gid_out = (gid_t)-1;
    *mode_out = (unsigned)strtoul(c->listen_mode, &end, 8);
    if (strspn(c->listen_mode, "01234567") != strlen(c->listen_mode) || strlen(c->listen_mode) > 4 ||
        *mode_out > 0777 || !(*mode_out & 0222))
        return "listen_mode: write it as chmod takes it, such as 0660; at least one may write, or nobody could call";
    if (!c->listen_owner)
        return NULL;
    snprintf(owner, sizeof(owner), "%s", c->listen_owner);
    return find_owner(owner, uid_out, gid_out);
}

static void check_socket(struct load *l)
{
    bool is_unix = strncmp(l->c->listen, "unix:", 5) == 0;
    unsigned mode;
    uid_t uid;
    gid_t gid;
    const char *why = config_listen_owner(l->c, &mode, &uid, &gid);

    if (why)
        option_error(l->e, NULL, "%s", why);
    if (!is_unix && mode != SOCKET_MODE)        /* a file that says all defaults is right */
        option_error(l->e, "listen_mode", "only a Unix socket has a mode: listen is %s", l->c->listen);
    if (!is_unix && l->c->listen_owner)
        option_error(l->e, "listen_owner", "only a Unix socket has an owner: listen is %s", l->c->listen);
}

/* ---- the API's callers ---- */

/* scheme "://" host [":" port], RFC 6454 §6.2. A page's key is everybody's who opens it, so "*" would be a public
 * relay. */
static void check_origins(struct load *l)
{
    for (size_t i = 0; i < l->c->n_allowed_origins; i++) {
        const char *s = l->c->allowed_origins[i];
        size_t scheme = strncmp(s, "https://", 8) == 0 ? 8 : strncmp(s, "http://", 7) == 0 ? 7 : 0;
        if (strcmp(s, "*") == 0)
            option_error(l->e, "allowed_origins", "\"*\" would let any page send mail: name the origins");
        else if (!scheme || !s[scheme] || strpbrk(s + scheme, "/?#@* \\"))
            option_error(l->e, "allowed_origins",
                         "\"%s\" is no origin: write https://app.example.com, with a port when it is not the usual "
                         "one, without a path", s);
    }
}

/* What the files hold is judged where they are used (api_check_tls). */
static void check_tls(struct load *l)
{
    const struct config *c = l->c;

    if (!c->tls_cert_file != !c->tls_key_file)
        option_error(l->e, c->tls_cert_file ? "tls_cert_file" : "tls_key_file", "%s is missing: certificate and key go "
                     "together", c->tls_cert_file ? "tls_key_file" : "tls_cert_file");
    if (c->client_ca_file && !c->tls_cert_file && !c->tls_key_file)
        option_error(l->e, "client_ca_file", "client certificates are shown in TLS only: set tls_cert_file and "
                     "tls_key_file too");
}

/* A keyless API must not be reachable from elsewhere. 127.0.0.0/8, ::1, localhost and Unix sockets cannot be. */
static void check_reach(struct load *l)
{
    const char *a = l->c->listen;
    bool local = strncmp(a, "127.", 4) == 0 || strncmp(a, "[::1]:", 6) == 0 || strncmp(a, "localhost:", 10) == 0 ||
                 strncmp(a, "unix:", 5) == 0;

    if (!local && l->c->n_keys == 0 && !l->c->api_keys_file && !l->c->client_ca_file)
        option_error(l->e, "listen",
                     "%s can be reached from other machines, so callers need keys: set api_keys_file (or api_keys), "
                     "or client_ca_file, or listen on 127.0.0.1", a);
}

static void choose_default_relay(struct load *l)
{
    struct config *c = l->c;
    const char *name = c->n_relays == 1 ? c->relays[0].name : "default";

    if (c->n_relays == 0)
        return;
    if (c->default_relay && !config_relay_get(c, c->default_relay))
        option_error(l->e, "default_relay", "there is no relay \"%s\"", c->default_relay);
    else if (!c->default_relay && !config_relay_get(c, name))
        option_error(l->e, NULL,
                     "default_relay is missing: with several relays, say which one takes mails that name none");
    else if (!c->default_relay)
        c->default_relay = strdup(name);
}

static void check_relays(struct load *l, bool whole)
{
    if (l->c->sandbox && l->c->n_relays)
        option_error(l->e, NULL,
                     "sandbox and a relay (%s) are both set; the sandbox delivers nothing, so one of them must go",
                     l->c->relays[0].name);
    if (!l->c->sandbox && l->c->n_relays == 0 && whole)
        option_error(l->e, NULL,
                     "No relay is configured. Say where mails go, for example one of:\n"
                     "  MAILHATCH_RELAY_URL=smtp://USER@smtp.example.com:587 "
                     "MAILHATCH_RELAY_PASSWORD_FILE=/run/secrets/smtp mailhatch\n"
                     "  mailhatch --config mailhatch.yaml\n"
                     "  mailhatch --sandbox       (a first try: mails are kept in memory, nothing is delivered)");
    for (size_t i = 0; i < l->c->n_relays; i++)
        config_relay_finish(&l->c->relays[i], l->e);
    choose_default_relay(l);
}

int config_load(int argc, char **argv, struct config **out, struct config_errors *errors)
{
    struct load l = {.c = config_new(), .e = errors};
    bool whole = read_sources(&l, argc, argv);

    check_keys(&l);
    check_socket(&l);
    check_tls(&l);
    check_origins(&l);
    check_reach(&l);
    check_relays(&l, whole);
    *out = errors->n ? NULL : l.c;
    if (errors->n)
        config_free(l.c);
    return errors->n ? -1 : 0;
}

char *config_load_admin_listen(int argc, char **argv, struct config_errors *errors)
{
    struct load l = {.c = config_new(), .e = errors};
    char *listen;

    read_sources(&l, argc, argv);
    listen = errors->n ? NULL : strdup(l.c->admin_listen);
    config_free(l.c);
    return listen;
}

bool config_is_default(const struct config *c, const char *option)
{
    return option_rank_of(&option_top, option, c->sources) == OPTION_FROM_DEFAULT;
}

static char *copy(const char *s)
{
    return s ? strdup(s) : NULL;
}

int config_add_relay(struct config *c, const char *name, const char *host, uint16_t port, const char *user,
                     const char *password, const char *ca_pem)
{
    struct config_errors e;
    struct config_relay *r;

    config_errors_init(&e);
    r = config_relay_get(c, name) ? NULL : config_relay_add(c, name, NULL, &e);
    config_errors_deinit(&e);
    if (!r)
        return -1;
    r->host = copy(host);
    r->user = copy(user);
    r->password = copy(password);
    r->ca_pem = copy(ca_pem);
    r->c.name = r->name;
    r->c.host = r->host;
    r->c.port = port;
    r->c.tls_mode = SMTP_TLS_STARTTLS;
    r->c.user = r->user;
    r->c.password = r->password;
    r->c.ca_pem = r->ca_pem;
    free(c->default_relay);
    c->default_relay = strdup(name);
    return r->host && c->default_relay ? 0 : -1;
}
