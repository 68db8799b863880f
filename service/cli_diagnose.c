#include "service/cli_diagnose.h"

#include "api/diagnosis.h"
#include "service/command_table.h"
#include "service/config_url.h"
#include "service/diagnose_text.h"
#include "service/option.h"
#include "service/startup.h"
#include "smtp/crypto.h"
#include "smtp/file.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The command diagnose: which relay, how it is looked at, and what is printed. */

enum { EXIT_WORKS = 0, EXIT_NONE = 1, EXIT_USAGE = 2, EXIT_TIME = 22 };

#define PASSWORD_MAX 1024
#define REPORT_MAX (1024 * 1024)

struct wanted {
    const char *target;                 /* NULL: the default relay */
    const char *to, *from, *user, *password_file, *ca_file, *tls, *timeout, *address, *compare, *watch;
    bool send, tls_versions, all_ports, no_auth, trace, json, quiet, help;
    char **rest;                        /* options of the configuration */
    int n_rest;
};

struct command {
    struct wanted w;
    struct config *config;              /* NULL: the target is a host */
    struct config_url url;              /* of such a target */
    char password[PASSWORD_MAX];
    struct relay_config relay;
    struct diagnosis_setup setup;
    uint32_t total_ms, watch_s;
    struct diagnose_text text;
    struct diagnosis *d, *before, *saved;
};

/* ---- the command line ---- */

static const struct {
    const char *name;
    size_t offset;                      /* of a const char *, or without an argument of a bool */
    const char *argument, *help;
} options[] = {
#define X(name, member, argument, help) {name, offsetof(struct wanted, member), argument, help},
    DIAGNOSE_TABLE(X)
    X("--help", help, NULL, "This page.")
#undef X
};

static void print_help(void)
{
    printf("mailhatch diagnose [RELAY | HOST[:PORT] | URL] [OPTIONS]\n\n"
           "Walks the way of a mail to the relay step by step and says what fails, why, and what to change. RELAY is\n"
           "a name of the configuration; without one it is the default relay. HOST and URL need no configuration.\n\n");
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        char name[40];
        snprintf(name, sizeof(name), "%s %s", options[i].name, options[i].argument ? options[i].argument : "");
        printf("  %-24s %s\n", name, options[i].help);
    }
    printf("\nFurther options are those of the configuration (mailhatch help).\n\n"
           "  mailhatch diagnose                               the default relay, as the gateway uses it\n"
           "  mailhatch diagnose smtp.example.com:465          a server, before it is configured\n"
           "  mailhatch diagnose main --to me@example.com --send\n"
           "  mailhatch diagnose --json >test.json             and on the other machine:\n"
           "  mailhatch diagnose --compare test.json           what is different there\n\n"
           "Exit status: 0 it works, 1 no diagnosis, 2 usage or configuration; else where it ends: 10 config, 11 dns,\n"
           "12 connect, 13 tls, 14 banner, 15 ehlo, 16 starttls, 17 certificate, 18 auth, 19 mail, 20 rcpt, 21 the\n"
           "mail itself, 22 no time left, or interrupted. With --watch that of the last look.\n");
}

static int usage(const char *fmt, const char *what)
{
    fputs("mailhatch diagnose: ", stderr);
    fprintf(stderr, fmt, what);
    fputs("; see mailhatch diagnose --help\n", stderr);
    return -1;
}

/* One of ours at argv[*i], which moves to its value. 0: it is not. -1: told. */
static int take_option(struct wanted *w, int argc, char **argv, int *i)
{
    const char *word = argv[*i];
    size_t n = strcspn(word, "=");

    for (size_t k = 0; k < ARRAY_LEN(options); k++) {
        if (strlen(options[k].name) != n || strncmp(options[k].name, word, n) != 0)
            continue;
        if (!options[k].argument && word[n])
            return usage("%s takes no value", options[k].name);
        if (!options[k].argument) {
            *(bool *)(void *)((char *)w + options[k].offset) = true;
            return 1;
        }
        if (!word[n] && *i + 1 >= argc)
            return usage("%s needs a value", options[k].name);
        *(const char **)(void *)((char *)w + options[k].offset) = word[n] ? word + n + 1 : argv[++*i];
        return 1;
    }
    return 0;
}

/* What is not ours and begins with "-" is the configuration's, with the word behind it unless it has a "=". */
static int read_arguments(struct wanted *w, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        int rc = take_option(w, argc, argv, &i);
        if (rc < 0)
            return -1;
        if (rc > 0)
            continue;
        if (argv[i][0] == '-') {
            w->rest[w->n_rest++] = argv[i];
            if (!strchr(argv[i], '=') && i + 1 < argc && argv[i + 1][0] != '-')
                w->rest[w->n_rest++] = argv[++i];
        } else if (w->target) {
            return usage("one relay or host at a time, not \"%s\" too", argv[i]);
        } else {
            w->target = argv[i];
        }
    }
    if (w->send && !w->to)
        return usage("%s needs --to", "--send");
    if (w->json && w->quiet)
        return usage("--json does not go with %s", "--quiet");
    return 0;
}

static int read_seconds(const char *text, const char *name, uint32_t most, uint32_t *out)
{
    char *end;
    unsigned long n;

    if (!text)
        return 0;
    n = strtoul(text, &end, 10);
    if (*end || end == text || text[0] == '-' || n < 1 || n > most)
        return usage("%s wants a number of seconds", name);
    *out = (uint32_t)n;
    return 0;
}

/* ---- which relay ---- */

/* A name of the configuration has none of these characters that a host name or URL cannot be without. */
static bool is_host(const char *target)
{
    return target && (strpbrk(target, ".:/[") || strcmp(target, "localhost") == 0);
}

static bool take_relay(struct command *c, const struct config *config, const char *name)
{
    const struct config_relay *r = NULL;
    size_t password = (size_t)(option_find(&option_relay, "password") - option_relay.rows);

    for (size_t i = 0; i < config->n_relays && !r; i++)
        if (!name || strcmp(config->relays[i].name, name) == 0)
            r = &config->relays[i];
    if (!r)
        return false;
    c->relay = r->c;
    c->setup.password_file = r->password_file;
    c->setup.password_from = r->sources[password].where;
    return true;
}

/* A relay's name may look like a host's. */
static bool is_configured(struct command *c)
{
    struct config_errors errors;

    config_errors_init(&errors);
    if (config_load(c->w.n_rest, c->w.rest, &c->config, &errors) != 0)
        c->config = NULL;
    config_errors_deinit(&errors);
    if (c->config && take_relay(c, c->config, c->w.target))
        return true;
    config_free(c->config);
    c->config = NULL;
    return false;
}

static int find_relay(struct command *c)
{
    const char *name = c->w.target ? c->w.target : c->config->default_relay;
    struct option_guess g;

    if (take_relay(c, c->config, name))
        return 0;
    option_guess_start(&g, name);
    for (size_t i = 0; i < c->config->n_relays; i++)
        option_guess_try(&g, c->config->relays[i].name);
    fprintf(stderr, "mailhatch diagnose: no relay \"%s\" is configured%s%s%s; a server is written HOST:PORT\n", name,
            *g.name ? "; did you mean " : "", g.name, *g.name ? "?" : "");
    return -1;
}

static int from_host(struct command *c)
{
    char url[600], why[200];

    relay_config_init(&c->relay);
    snprintf(url, sizeof(url), "%s%s", strstr(c->w.target, "://") ? "" : "smtp://", c->w.target);
    if (config_url_parse(url, &c->url, why) != 0) {
        fprintf(stderr, "mailhatch diagnose: %s: %s\n", c->w.target, why);
        return -1;
    }
    c->relay.name = "default";          /* as which it may be configured */
    c->relay.host = c->url.host;
    c->relay.host_is_rooted = c->url.host_is_rooted;
    c->relay.user = c->url.user;
    c->relay.password = c->url.password;
    c->relay.tls_mode = c->url.tls_mode;
    if (!strstr(c->w.target, "://") && c->url.port == 465)
        c->relay.tls_mode = SMTP_TLS_IMPLICIT;          /* RFC 8314 §7.3 */
    c->relay.port = c->url.port ? c->url.port : c->relay.tls_mode == SMTP_TLS_IMPLICIT ? 465 : 587;
    return 0;
}

/* The first line of standard input or of a file; false and told. */
static bool read_first_line(const char *path, char out[PASSWORD_MAX])
{
    char why[FILE_ERR_SIZE], *text = NULL;
    size_t n = 0;
    bool ok;

    if (strcmp(path, "-") == 0) {
        ok = fgets(out, PASSWORD_MAX, stdin) != NULL;
        snprintf(why, sizeof(why), "holds none");
        path = "standard input";
    } else {
        text = file_read(path, PASSWORD_MAX - 1, FILE_OR_PIPE, &n, why);
        ok = text != NULL && n > 0;
        if (text && !n)
            snprintf(why, sizeof(why), "is empty");
        memcpy(out, ok ? text : "", ok ? n + 1 : 1);
        file_free(text, n);
    }
    if (!ok)
        fprintf(stderr, "mailhatch diagnose: no password can be read: %s %s\n", path, why);
    out[strcspn(out, "\r\n")] = '\0';
    return ok;
}

static int read_password(struct command *c)
{
    bool is_stdin = strcmp(c->w.password_file, "-") == 0;

    if (!read_first_line(c->w.password_file, c->password))
        return -1;
    c->relay.password = c->password;
    c->setup.password_file = is_stdin ? NULL : c->w.password_file;
    c->setup.password_from = NULL;
    return 0;
}

static int take_tls(struct command *c)
{
    for (int m = SMTP_TLS_STARTTLS; m <= SMTP_TLS_NONE; m++)
        if (strcmp(diagnose_mode_name((enum smtp_tls_mode)m), c->w.tls) == 0) {
            c->relay.tls_mode = (enum smtp_tls_mode)m;
            return 0;
        }
    return usage("--tls is starttls, implicit or none, not \"%s\"", c->w.tls);
}

/* What the command line says of the relay wins. */
static int apply_wishes(struct command *c)
{
    const struct wanted *w = &c->w;

    if (w->tls && take_tls(c) < 0)
        return -1;
    if (w->ca_file)
        c->relay.ca_file = w->ca_file;
    if (w->user)
        c->relay.user = w->user;
    if (w->password_file && read_password(c) < 0)
        return -1;
    if (w->password_file && !c->relay.user)
        return usage("%s needs --user", "--password-file");
    if (c->relay.user && !c->relay.password && !w->no_auth)
        return usage("user %s has no password: --password-file, or --no-auth", c->relay.user);
    if (c->relay.user && !c->relay.password)
        c->relay.password = "";
    return 0;
}

static int settle(struct command *c)
{
    if (read_seconds(c->w.timeout, "--timeout", 3600, &c->total_ms) < 0 ||
        read_seconds(c->w.watch, "--watch", 86400, &c->watch_s) < 0)
        return -1;
    c->total_ms *= 1000;
    c->setup.relay = &c->relay;
    if (is_host(c->w.target) && !is_configured(c)) {
        if (c->w.n_rest)
            return usage("%s is an option of the configuration, and a host needs none", c->w.rest[0]);
        if (from_host(c) < 0)
            return -1;
    } else if (!c->config) {
        c->config = startup_load(c->w.n_rest, c->w.rest, true);
        if (!c->config)
            return -1;
        if (c->config->sandbox)
            return usage("the sandbox is no relay to be diagnosed%s", "");
        if (find_relay(c) < 0)
            return -1;
    }
    return apply_wishes(c);
}

/* ---- runs ---- */

static void on_step(void *ctx, const struct diagnosis *d, unsigned index)
{
    const struct command *c = ctx;

    diagnose_text_step(&c->text, d, index);
}

/* A second Ctrl-C ends the program at once. */
static atomic_bool canceled;

static void on_interrupt(int signo)
{
    (void)signo;
    canceled = true;
}

static void on_trace(void *ctx, bool from_client, uint32_t ms, const char *line)
{
    (void)ctx;
    fprintf(stderr, "%6u ms %s %s\n", ms, line[0] == '*' ? " " : from_client ? ">" : "<", line);
}

static void run(struct command *c, struct diagnosis *d, bool live)
{
    struct diagnose_params p = {
        .relay = &c->relay,
        .to = c->w.to,
        .from = c->w.from,
        .send = c->w.send,
        .no_auth = c->w.no_auth,
        .all_ports = c->w.all_ports,
        .tls_versions = c->w.tls_versions,
        .only_address = c->w.address,
        .total_ms = c->total_ms,
        .cancel = &canceled,
        .on_step = live ? on_step : NULL,
        .on_trace = c->w.trace ? on_trace : NULL,
        .ctx = c,
    };

    diagnose_run(&p, d);
}

static int exit_status(const struct diagnosis *d)
{
    if (d->ok)
        return EXIT_WORKS;
    if (d->outcome.code == OUTCOME_DEADLINE_EXCEEDED)   /* not: a port was still looked at when the time was up */
        return EXIT_TIME;
    switch (d->failed_at) {
    case DIAGNOSE_STEP_CONFIG:
        return 10;
    case DIAGNOSE_STEP_DNS:
        return 11;
    case DIAGNOSE_STEP_TCP:
        return 12;
    case DIAGNOSE_STEP_TLS:
        return 13;
    case DIAGNOSE_STEP_BANNER:
        return 14;
    case DIAGNOSE_STEP_EHLO:
    case DIAGNOSE_STEP_EHLO_TLS:
        return 15;
    case DIAGNOSE_STEP_STARTTLS:
        return 16;
    case DIAGNOSE_STEP_CERTIFICATE:
        return 17;
    case DIAGNOSE_STEP_AUTH:
        return 18;
    case DIAGNOSE_STEP_MAIL:
        return 19;
    case DIAGNOSE_STEP_RCPT:
        return 20;
    case DIAGNOSE_STEP_SEND:
        return 21;
    case DIAGNOSE_STEP_QUIT:
    case DIAGNOSE_STEP_TLS_VERSIONS:
    case DIAGNOSE_STEP_PORTS:
    case DIAGNOSE_STEP_COUNT:
        return EXIT_NONE;
    }
    return EXIT_NONE;
}

/* differences: lines, or NULL. */
static void print_json(const struct command *c, const struct diagnosis *d, const char *differences)
{
    struct bytes_buf out;

    bytes_buf_init(&out, 0);
    diagnosis_write(d, &c->setup, &out);
    if (differences)
        diagnosis_add_differences(&out, differences);
    printf("%s\n", bytes_buf_view(&out).p);
    bytes_buf_deinit(&out);
}

static void print_conclusion(const struct diagnosis *d)
{
    struct bytes_buf out;

    bytes_buf_init(&out, 0);
    diagnosis_write_conclusion(d, &out);
    printf("%s\n", bytes_buf_view(&out).p);
    bytes_buf_deinit(&out);
}

/* ---- comparing ---- */

static int read_saved(struct command *c)
{
    char err[FILE_ERR_SIZE];
    const char *why = err;
    size_t n;
    char *text = file_read(c->w.compare, REPORT_MAX, FILE_OR_PIPE, &n, err);

    if (text && diagnosis_read(text, n, c->saved, &why) == 0)
        return 0;
    fprintf(stderr, "mailhatch diagnose: %s%s %s\n", c->w.compare, text ? ":" : "", why);
    return -1;
}

static void print_differences(const struct diagnose_text *t, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        char *line = strndup(text, n);
        if (line)
            diagnose_text_paragraph(t, 4, line);
        free(line);
        text += n + (text[n] == '\n');
    }
}

/* "production" of /srv/reports/production.json. */
static void name_of_file(const char *path, char out[64])
{
    const char *slash = strrchr(path, '/');
    char *dot;

    snprintf(out, 64, "%s", slash ? slash + 1 : path);
    dot = strrchr(out, '.');
    if (dot && dot != out)
        *dot = '\0';
}

static void print_comparison(struct command *c)
{
    struct bytes_buf out;
    char name[64];
    unsigned n;

    name_of_file(c->w.compare, name);
    bytes_buf_init(&out, 0);
    n = diagnosis_compare(c->saved, c->d, name, "here", &out);
    if (c->w.json) {
        print_json(c, c->d, bytes_buf_view(&out).p);
    } else {
        printf("\nCompared with %s (%s):\n", c->w.compare, c->saved->host);
        if (n == 0)
            printf("    nothing is different\n");
        print_differences(&c->text, bytes_buf_view(&out).p);
    }
    bytes_buf_deinit(&out);
}

/* ---- watching ---- */

static void print_line(const struct diagnosis *d)
{
    time_t now = time(NULL);
    struct tm tm;
    char clock[16] = "";

    if (localtime_r(&now, &tm))
        strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
    printf("%s  %-4s  %5u ms  ", clock, d->ok ? "ok" : "FAIL", d->total_ms);
    print_conclusion(d);
}

static void look_again(struct command *c, bool first)
{
    struct bytes_buf out;

    run(c, c->d, false);
    if (canceled)
        return;                         /* that it was interrupted is no change */
    bytes_buf_init(&out, 0);
    if (!first)
        diagnosis_compare(c->before, c->d, "before", "now", &out);
    if (c->w.json) {
        print_json(c, c->d, bytes_buf_view(&out).p);
    } else {
        print_line(c->d);
        print_differences(&c->text, bytes_buf_view(&out).p);
    }
    bytes_buf_deinit(&out);
    fflush(stdout);
}

static bool is_password_refused(enum outcome_code code)
{
    return code == OUTCOME_AUTH_FAILED || code == OUTCOME_AUTH_BASIC_DISABLED ||
           code == OUTCOME_AUTH_APP_PASSWORD_REQUIRED || code == OUTCOME_AUTH_TOO_WEAK;
}

/* Until it is interrupted, or the password is refused: shown again and again it may lock the account. The status is
 * that of the last look. */
static int watch(struct command *c)
{
    int status = EXIT_TIME;

    for (bool first = true; !canceled; first = false) {
        struct diagnosis *swap = c->before;
        struct timespec pause = {.tv_sec = c->watch_s};
        look_again(c, first);
        if (canceled)
            break;
        status = exit_status(c->d);
        if (is_password_refused(c->d->outcome.code)) {
            fputs("mailhatch diagnose: the password was refused; watching ends, as more tries may lock the account "
                  "(--no-auth watches without it)\n", stderr);
            break;
        }
        c->before = c->d;
        c->d = swap;
        nanosleep(&pause, NULL);
    }
    return status;
}

/* ---- the command ---- */

static int diagnose(struct command *c)
{
    bool live = !c->w.json && !c->w.quiet;

    if (c->w.compare && read_saved(c) < 0)
        return EXIT_USAGE;
    diagnose_text_init(&c->text, stdout);
    if (c->w.trace)
        c->text.terminal = false;       /* lines of the wire come in between */
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND}, NULL);
    if (c->watch_s)
        return watch(c);
    if (live)
        diagnose_text_head(&c->text, &c->relay);
    run(c, c->d, live);
    if (c->w.json && !c->w.compare)
        print_json(c, c->d, NULL);
    else if (c->w.quiet)
        print_conclusion(c->d);
    else if (live)
        diagnose_text_end(&c->text, c->d, &c->setup);
    if (c->w.compare)
        print_comparison(c);
    return exit_status(c->d);
}

int cli_diagnose(int argc, char **argv)
{
    struct command c = {.w.rest = calloc((size_t)argc + 1, sizeof(char *))};
    int status = EXIT_USAGE;

    c.d = calloc(3, sizeof(*c.d));
    if (!c.w.rest || !c.d) {
        fputs("mailhatch diagnose: no memory\n", stderr);
        status = EXIT_NONE;
    } else if (read_arguments(&c.w, argc, argv) == 0) {
        struct diagnosis *all = c.d;
        c.before = c.d + 1;
        c.saved = c.d + 2;
        if (c.w.help) {
            print_help();
            status = EXIT_WORKS;
        } else if (settle(&c) == 0) {
            status = diagnose(&c);
        }
        c.d = all;
    }
    crypto_cleanse(c.password, sizeof(c.password));
    config_url_deinit(&c.url);
    config_free(c.config);
    free(c.w.rest);
    free(c.d);
    return status;
}
