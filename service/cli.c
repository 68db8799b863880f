#include "service/cli.h"

#include "api/api.h"
#include "service/command_table.h"
#include "service/config_env.h"
#include "service/config_key.h"
#include "service/config_man.h"
#include "service/config_mode.h"
#include "service/log.h"
#include "service/option.h"
#include "service/service.h"
#include "service/startup.h"
#include "smtp/crypto.h"
#include "smtp/file.h"
#include "smtp/idn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The commands that are not the daemon: send, healthcheck, check-config, key, help, version. */

enum { EXIT_SENT = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_PARTIAL = 3, EXIT_UNKNOWN = 4 };

/* ---- send ---- */

struct sending {
    struct config *config;
    struct sandbox *sandbox;
    struct loop *loop;
    struct service *service;
    int status;
};

static bool read_file(const char *path, struct bytes_buf *out)
{
    char why[FILE_ERR_SIZE];
    size_t n;
    char *text = file_read(path, out->max, FILE_OR_PIPE, &n, why);

    if (text)
        bytes_buf_add(out, text, n);
    else
        fprintf(stderr, "mailhatch: %s %s\n", path, why);
    file_free(text, n);
    return text != NULL;
}

/* All of a file, or of standard input for NULL and "-". */
static bool read_input(const char *path, struct bytes_buf *out)
{
    char piece[16384];
    size_t n;

    if (path && strcmp(path, "-") != 0)
        return read_file(path, out);
    if (isatty(STDIN_FILENO) == 1)
        fputs("reading one mail as JSON from the terminal; end with Ctrl-D\n", stderr);
    while (!out->failed && (n = fread(piece, 1, sizeof(piece), stdin)) > 0)
        bytes_buf_add(out, piece, n);
    if (ferror(stdin))
        fprintf(stderr, "mailhatch: standard input cannot be read: %s\n", strerror(errno));
    else if (out->failed)
        fputs("mailhatch: the mail is larger than max_body\n", stderr);
    return !ferror(stdin) && !out->failed;
}

static int exit_status(const struct send_result *r)
{
    if (r->outcome.code != OUTCOME_SENT)
        return r->outcome.delivery == DELIVERY_UNKNOWN ? EXIT_UNKNOWN : EXIT_FAILED;
    for (size_t i = 0; r->rcpt_outcomes && i < r->n_rcpts; i++)
        if (r->rcpt_outcomes[i].code != OUTCOME_SENT)
            return EXIT_PARTIAL;
    return EXIT_SENT;
}

static void print_json(char *json)
{
    size_t n = json ? strlen(json) : 0;

    if (json)
        printf("%s%s", json, n && json[n - 1] == '\n' ? "" : "\n");
    free(json);
}

static void on_done(void *ctx, const struct send_result *r)
{
    struct sending *s = ctx;
    int http_status;

    print_json(api_write_result(r, &http_status));
    s->status = exit_status(r);
    loop_stop(s->loop);
}

static void send_one(struct sending *s)
{
    struct send_request request = {.on_done = on_done, .ctx = s};
    struct message *message;
    struct mail *mail;
    struct bytes_buf input;
    char *problem = NULL, *json;
    size_t n;

    bytes_buf_init(&input, s->config->max_body_bytes);
    s->status = EXIT_USAGE;
    if (!read_input(s->config->file_argument, &input))
        goto out;
    s->status = EXIT_FAILED;
    bytes_buf_add(&input, "", 0);
    json = bytes_buf_take(&input, &n);
    if (!json || api_read_mail(s->service, json, n, &mail, &problem) != 0) {
        print_json(problem);
        goto out;
    }
    message = service_prepare(s->service, mail);
    if (!message) {
        fprintf(stderr, "mailhatch: no memory for the mail\n");
        goto out;
    }
    crypto_uuid7(request.request_id);
    request.deadline = clock_us() / 1000 + s->config->request_timeout_ms;
    desk_send(service_desk(s->service, 0), message, &request);
    if (loop_run(s->loop) != 0)
        fprintf(stderr, "mailhatch: %s\n", strerror(errno));
out:
    bytes_buf_deinit(&input);
}

int cli_send(int argc, char **argv)
{
    struct sending s = {.config = startup_load(argc, argv, true), .status = EXIT_USAGE};
    struct service_params p;
    char err[200];

    if (!s.config)
        return EXIT_USAGE;
    startup_limits();
    if (startup_sandbox(s.config, &s.sandbox) != 0)
        goto out;
    s.loop = loop_new();
    p = (struct service_params){.config = s.config, .loops = &s.loop, .n_loops = 1, .sandbox = s.sandbox};
    s.service = s.loop ? service_new(&p, err) : NULL;
    if (s.service)
        send_one(&s);
    else
        fprintf(stderr, "mailhatch: %s\n", s.loop ? err : strerror(errno));
out:
    service_free(s.service);
    if (s.sandbox)
        sandbox_stop(s.sandbox);
    if (s.loop)
        loop_free(s.loop);
    config_free(s.config);
    return s.status;
}

/* ---- the others ---- */

int cli_healthcheck(int argc, char **argv)
{
    struct config_errors errors;
    char *listen, err[200];
    int status = EXIT_USAGE;

    config_errors_init(&errors);
    listen = config_load_admin_listen(argc, argv, &errors);
    if (!listen)
        fputs(bytes_buf_view(&errors.text).p, stderr);
    else if (api_healthcheck(listen, err) == 0)
        status = EXIT_SENT;
    else {
        fprintf(stderr, "mailhatch healthcheck: %s\n", err);
        status = EXIT_FAILED;
    }
    free(listen);
    config_errors_deinit(&errors);
    return status;
}

int cli_check_config(int argc, char **argv)
{
    struct config_errors errors;
    struct bytes_buf text;
    struct config *c;
    char err[API_TLS_ERR_SIZE];
    int rc;

    config_errors_init(&errors);
    bytes_buf_init(&text, 0);
    rc = config_load(argc, argv, &c, &errors);
    if (rc == 0 && api_check_tls(c, err) != 0) {
        bytes_buf_printf(&errors.text, "%s\n", err);
        config_free(c);
        rc = -1;
    }
    if (rc == 0)
        config_warn_modes(c, config_env_path(argc, argv), &errors);
    if (errors.n_warnings)
        fprintf(stderr, "warnings:\n%s", bytes_buf_view(&errors.warnings).p);
    if (rc == 0) {
        config_write_effective(c, &text);
        printf("%s", bytes_buf_view(&text).p);
        config_free(c);
    } else {
        fprintf(stderr, "mistakes:\n%s", bytes_buf_view(&errors.text).p);
    }
    bytes_buf_deinit(&text);
    config_errors_deinit(&errors);
    return rc == 0 ? EXIT_SENT : EXIT_USAGE;
}

static const struct command_row commands[] = {
#define X(word, arguments, help) {word, arguments, help},
    COMMAND_TABLE(X)
};
static const struct command_row topics[] = {TOPIC_TABLE(X)};
#undef X

static void print_rows(const char *before, const struct command_row *rows, size_t n)
{
    char line[80];

    for (size_t i = 0; i < n; i++) {
        snprintf(line, sizeof(line), "%s %s %s", before, rows[i].word, rows[i].arguments);
        printf("  %-36s %s\n", line, rows[i].help);
    }
}

static void print_usage(void)
{
    printf("mailhatch " MAILHATCH_VERSION ": turns an HTTP POST of JSON into an e-mail on an SMTP relay.\n\n"
           "  %-36s Serve.\n  %-36s Serve, with a relay of its own that delivers nothing.\n", "mailhatch [OPTIONS]",
           "mailhatch --sandbox");
    print_rows("mailhatch", commands, ARRAY_LEN(commands));
    print_rows("mailhatch help", topics, ARRAY_LEN(topics));
    printf("\nExit status: 0 fine (send: sent), 1 failed, 2 usage or configuration, 3 partial, 4 unknown;\n"
           "diagnose has a number for each stage (mailhatch help diagnose).\n\n");
}

static void write_usage(struct bytes_buf *out)
{
    print_usage();
    config_write_help(out);
}

int cli_help(const char *topic, const char *argument)
{
    static const struct {
        const char *topic, *argument;
        void (*write)(struct bytes_buf *out);
    } pages[] = {
        {"", "", write_usage},
        {"sample", "", config_write_sample},
        {"reference", "", config_write_reference},
        {"man", "", config_write_man8},
        {"man5", "", config_write_man5},
        {"completion", "bash", config_write_bash},
        {"completion", "zsh", config_write_zsh},
    };
    struct bytes_buf text;

    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        if (strcmp(pages[i].topic, topic) != 0 || strcmp(pages[i].argument, argument) != 0)
            continue;
        bytes_buf_init(&text, 0);
        pages[i].write(&text);
        printf("%s", bytes_buf_view(&text).p);
        bytes_buf_deinit(&text);
        return EXIT_SENT;
    }
    fprintf(stderr, "mailhatch help: there is no page \"%s%s%s\"; the topics:\n", topic, *argument ? " " : "",
            argument);
    for (size_t i = 0; i < ARRAY_LEN(topics); i++)
        fprintf(stderr, "  %s %s\n", topics[i].word, topics[i].arguments);
    return EXIT_USAGE;
}

/* The secret alone is on standard output, so that it can go into a file; what it needs is beside it. */
int cli_key(int argc, char **argv)
{
    struct bytes_buf secret, line;
    int status = EXIT_USAGE;

    bytes_buf_init(&secret, 0);
    bytes_buf_init(&line, 0);
    if (argc != 2 || strcmp(argv[0], "new") != 0) {
        fprintf(stderr, "usage: mailhatch key new NAME\n");
    } else if (config_key_new(argv[1], &secret, &line) < 0) {
        fprintf(stderr, "A key's name is 1 to 64 letters, digits, '_', '.' and '-'.\n");
    } else {
        fprintf(stderr, "The secret, for the caller (Authorization: Bearer ...); it is not shown again:\n");
        printf("%s\n", secret.p);
        fflush(stdout);
        fprintf(stderr, "Its line for api_keys_file, or what stands behind the colon as hash: in the file:\n%s\n",
                line.p);
        status = 0;
    }
    if (secret.p)
        crypto_cleanse(secret.p, secret.n);
    bytes_buf_deinit(&secret);
    bytes_buf_deinit(&line);
    return status;
}

int cli_version(void)
{
    printf("mailhatch " MAILHATCH_VERSION "\n%s, %s, %s, %s\n", api_library_versions(), crypto_library_version(),
           idn_library_version(), config_yaml_library_version());
    return EXIT_SENT;
}

int cli_unknown(const char *word)
{
    struct option_guess g;

    option_guess_start(&g, word);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        option_guess_try(&g, commands[i].word);
    if (*g.name)
        fprintf(stderr, "mailhatch: no command \"%s\"; did you mean %s?\n", word, g.name);
    else
        fprintf(stderr, "mailhatch: no command \"%s\"; see mailhatch help\n", word);
    return EXIT_USAGE;
}
