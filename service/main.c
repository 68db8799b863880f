#include "api/api.h"
#include "service/cli.h"
#include "service/cli_diagnose.h"
#include "service/log.h"
#include "service/loops.h"
#include "service/notify.h"
#include "service/reload.h"
#include "service/startup.h"
#include "smtp/file.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* The composition root: builds the house from settings, runs it until a signal, and takes it down in order. */

#define STOP_GRACE_MS 5000              /* beyond drain_delay and drain_timeout */
#define HANDOVER_MS 500                 /* for requests on connections accepted before the socket was handed on */
#define FLUSH_LOG_MS 1000               /* at the end, as long as stderr takes nothing at all */
#define SECOND_SIGNAL_FLUSH_MS 100
#define FLUSH_MS 100                    /* after the last answer was made: for its last bytes to leave */

struct house {
    int argc;                           /* without the command word */
    char **argv;
    struct config *config;              /* at the start */
    struct reload *reload;
    struct sandbox *sandbox;
    struct loops *loops;
    struct loop *loop;                  /* the first one, of this thread */
    struct service *service;
    struct api *api;
    struct loop_io signals;
    struct loop_timer delay, timeout, flush;
    bool stopping, timed_out, forced;   /* forced: by a second signal */
};

#define HOUSE_OF(member_p, member) ((struct house *)(void *)((char *)(member_p) - offsetof(struct house, member)))

/* ---- the end ---- */

static void on_flushed(struct loop_timer *t)
{
    loop_stop(HOUSE_OF(t, flush)->loop);
}

static void on_empty(void *ctx)
{
    struct house *h = ctx;

    api_stop_listening(h->api);
    loop_timer_set(h->loop, &h->flush, loop_now(h->loop) + FLUSH_MS);
}

static void on_drain_timeout(struct loop_timer *t)
{
    struct house *h = HOUSE_OF(t, timeout);

    log_event(LOG_ERROR_LEVEL, "drain", "drain_timeout is over and requests are still running; leaving without them",
              LOG_N("drain_timeout_s", reload_config(h->reload)->drain_timeout_ms / 1000.0));
    h->timed_out = true;
    loop_stop(h->loop);
}

static void start_drain(struct loop_timer *t)
{
    struct house *h = HOUSE_OF(t, delay);

    loop_timer_set(h->loop, &h->timeout, loop_now(h->loop) + reload_config(h->reload)->drain_timeout_ms);
    api_drain(h->api);
    service_drain(h->service, on_empty, h);
}

/* A unit's TimeoutStopSec= knows nothing of our settings: ask for what they may take. */
static void tell_stopping(const struct config *c)
{
    char text[120];

    snprintf(text, sizeof(text), "STOPPING=1\nSTATUS=Finishing running sends\nEXTEND_TIMEOUT_USEC=%" PRIu64,
             ((uint64_t)c->drain_delay_ms + c->drain_timeout_ms + STOP_GRACE_MS) * 1000);
    notify_send(text);
}

/* API.md's promise: readiness first, then drain_delay, then 503 for new sends while running ones finish. */
static void begin_stop(struct house *h, int signo)
{
    uint32_t delay = h->config->drain_delay_ms;

    const struct config *c = reload_config(h->reload);

    h->stopping = true;
    reload_stop(h->reload);
    log_event(LOG_INFO_LEVEL, "drain", "stopping; a second signal leaves at once",
              LOG_S("signal", signo == SIGINT ? "INT" : "TERM"),
              LOG_N("drain_delay_s", c->drain_delay_ms / 1000.0),
              LOG_N("drain_timeout_s", c->drain_timeout_ms / 1000.0));
    tell_stopping(c);
    service_announce_stop(h->service);
    if (api_is_inherited(h->api)) {     /* who connects from now on is the next process's, and waits for it */
        api_stop_listening(h->api);
        delay = delay < HANDOVER_MS ? HANDOVER_MS : delay;
    }
    if (delay)
        loop_timer_set(h->loop, &h->delay, loop_now(h->loop) + delay);
    else
        start_drain(&h->delay);
}

static void leave_now(struct house *h)
{
    h->forced = true;
    loop_stop(h->loop);
}

static void on_signal(struct loop_io *io, uint32_t events)
{
    struct house *h = HOUSE_OF(io, signals);
    struct signalfd_siginfo info;

    (void)events;
    while (read(io->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGHUP)
            reload_run(h->reload);
        else if (h->stopping)
            leave_now(h);
        else
            begin_stop(h, (int)info.ssi_signo);
    }
}

/* ---- the beginning ---- */

/* Blocked before any thread starts, so that every thread inherits it and only the descriptor tells. */
static int take_signals(struct house *h)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return -1;
    h->signals.on_ready = on_signal;
    h->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return h->signals.fd < 0 ? -1 : loop_add(h->loop, &h->signals, EPOLLIN);
}

/* What curl wants in order to reach that address from this machine. */
static void write_url(const char *address, bool tls, char out[400])
{
    const char *scheme = tls ? "https" : "http";

    if (strncmp(address, "unix:", 5) == 0)
        snprintf(out, 400, "--unix-socket %s %s://localhost", address + 5, scheme);
    else if (strncmp(address, "0.0.0.0:", 8) == 0)
        snprintf(out, 400, "%s://127.0.0.1:%s", scheme, address + 8);
    else if (strncmp(address, "[::]:", 5) == 0)
        snprintf(out, 400, "%s://[::1]:%s", scheme, address + 5);
    else
        snprintf(out, 400, "%s://%s", scheme, address);
}

/* For people: on a terminal, and wherever the sandbox runs (a first try), unless JSON was asked for by name. */
static void greet(const struct house *h, const char *api, const char *admin)
{
    const char *key = h->config->n_keys ? " -H 'Authorization: Bearer YOUR_KEY'" : "";
    struct bytes_buf text;
    char url[400];

    if (strcmp(h->config->log_format, "json") == 0 || (!h->sandbox && isatty(STDERR_FILENO) != 1))
        return;
    bytes_buf_init(&text, LOG_PLAIN_MAX);
    write_url(api, h->config->tls_cert_file != NULL, url);
    bytes_buf_printf(&text,
                     "\nmailhatch " MAILHATCH_VERSION
                     "\n  API    %s\n  admin  %s  (/livez /readyz /metrics /version)\n  relay  %s\n",
                     api, admin, h->config->default_relay);
    if (h->sandbox)
        bytes_buf_printf(&text,
                         "\nThe sandbox relay takes mails and delivers nothing. Send one, then look at it:\n\n"
                         "  curl -sS %s/v1/emails%s -H 'Content-Type: application/json' \\\n"
                         "    -d '{\"from\":\"ann@example.com\",\"to\":\"bob@example.org\",\"subject\":\"Hello\","
                         "\"text\":\"It works.\"}'\n\n"
                         "  curl -sS %s/sandbox/messages%s\n", url, key, url, key);
    bytes_buf_add_char(&text, '\n');
    log_plain(bytes_buf_view(&text).p);
    bytes_buf_deinit(&text);
}

static void tell_listening(const struct house *h)
{
    const struct config *c = h->config;
    const char *api = api_address(h->api), *admin = api_admin_address(h->api);
    char ready[400];

    log_event(LOG_INFO_LEVEL, "listening", "ready for requests", LOG_S("version", MAILHATCH_VERSION), LOG_S("api", api),
              LOG_S("admin", admin), LOG_S("default_relay", c->default_relay), LOG_N("relays", c->n_relays),
              LOG_N("pid", getpid()));
    greet(h, api, admin);
    snprintf(ready, sizeof(ready), "READY=1\nSTATUS=Serving on %s", api);
    notify_send(ready);
}

/* Each loop is to have a connection at least, and all together as many as are configured. */
static size_t n_loops(const struct config *c)
{
    return c->http_loops < c->max_connections ? c->http_loops : c->max_connections;
}

static int may_take(void *ctx, const struct config *c, char err_out[200])
{
    return api_may_take(ctx, c, err_out);
}

static int take_keys(void *ctx, const struct config *c)
{
    return api_take_keys(ctx, c);
}

static void look_at_tls(void *ctx)
{
    api_look_at_tls(ctx);
}

static int build(struct house *h)
{
    struct service_params p = {.config = h->config};
    char err[200];

    h->loops = loops_new(n_loops(h->config));
    if (h->loops)
        p.loops = loops_get(h->loops, &p.n_loops);
    h->loop = h->loops ? p.loops[0] : NULL;
    if (!h->loop || take_signals(h) != 0) {
        log_event(LOG_ERROR_LEVEL, "start", "no event loop", LOG_S("why", strerror(errno)));
        return -1;
    }
    if (startup_sandbox(h->config, &h->sandbox) != 0)
        return -1;
    p.sandbox = h->sandbox;
    h->service = service_new(&p, err);
    if (h->service)
        h->api = api_new(h->service, err);
    if (h->api)
        h->reload = reload_new(&(struct reload_params){h->argc, h->argv, h->config, h->service, h->sandbox, h->loop,
                                                       may_take, take_keys, look_at_tls, h->api});
    if (h->reload)
        return 0;
    log_event(LOG_ERROR_LEVEL, "start", err, LOG_S("listen", h->config->listen),
              LOG_S("admin_listen", h->config->admin_listen));
    return -1;
}

static void take_down(struct house *h)
{
    if (h->reload)
        reload_stop(h->reload);
    if (h->service)
        service_give_up(h->service);    /* no mail is left, unless a loop failed */
    if (h->api)
        api_free(h->api);
    service_free(h->service);
    if (h->sandbox)
        sandbox_stop(h->sandbox);
    if (h->signals.fd > 0)
        close(h->signals.fd);
    loops_free(h->loops);
    reload_free(h->reload);
    config_free(h->config);
}

/* drain_timeout is over, or a second signal came. Whoever still waits gets an answer: what is known of the mail. What
 * still runs holds pieces of the house. From now on a signal kills. */
static void leave(struct house *h)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    service_give_up(h->service);
    api_free(h->api);
    log_flush(h->forced ? SECOND_SIGNAL_FLUSH_MS : FLUSH_LOG_MS);
    _exit(h->forced ? 1 : 0);
}

/* The settings that only the room above can judge. */
static bool can_serve(const struct config *c)
{
    char err[API_TLS_ERR_SIZE];

    if (api_check_tls(c, err) == 0)
        return true;
    log_flush(FLUSH_LOG_MS);
    fprintf(stderr, "mailhatch cannot start:\n%s\n", err);
    return false;
}

static int run(int argc, char **argv)
{
    struct house h = {.argc = argc, .argv = argv};
    int status = 1;

    startup_memory();
    h.config = startup_load(argc, argv, false);
    if (!h.config)
        return 2;
    if (h.config->file_argument) {
        log_flush(FLUSH_LOG_MS);
        status = cli_unknown(h.config->file_argument);
        config_free(h.config);
        return status;
    }
    if (!can_serve(h.config)) {
        config_free(h.config);
        return 2;
    }
    startup_limits();
    file_forbid_pipes();
    h.delay.on_timer = start_drain;
    h.timeout.on_timer = on_drain_timeout;
    h.flush.on_timer = on_flushed;
    if (build(&h) == 0) {
        tell_listening(&h);
        status = loops_run(h.loops) == 0 ? 0 : 1;
        if (status != 0)
            log_event(LOG_ERROR_LEVEL, "stop", "an event loop or its thread failed", LOG_S("why", strerror(errno)));
        log_event(LOG_INFO_LEVEL, "stop", "stopped", LOG_N("pid", getpid()));
    }
    if (h.timed_out || h.forced)
        leave(&h);
    take_down(&h);
    return status;
}

static bool asks_for(int argc, char **argv, const char *word, const char *shorter)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], word) == 0 || strcmp(argv[i], shorter) == 0)
            return true;
    return false;
}

/* `mailhatch help TOPIC`; --help after a command, or as an argument, is the usage. */
static int help(int argc, char **argv, const char *word)
{
    static char ask[] = "--help", *asked[] = {ask};
    bool is_command = strcmp(word, "help") == 0 && !asks_for(argc, argv, "--help", "-h");

    if (strcmp(word, "diagnose") == 0 || (is_command && argc > 2 && strcmp(argv[2], "diagnose") == 0))
        return cli_diagnose(1, asked);  /* it has options of its own */
    return cli_help(is_command && argc > 2 ? argv[2] : "", is_command && argc > 3 ? argv[3] : "");
}

static int dispatch(int argc, char **argv)
{
    static const struct {
        const char *word;
        int (*command)(int argc, char **argv);
    } commands[] = {{"send", cli_send}, {"check-config", cli_check_config}, {"healthcheck", cli_healthcheck},
                  {"diagnose", cli_diagnose}, {"key", cli_key}};
    const char *word = argc > 1 && argv[1][0] != '-' ? argv[1] : "";

    if (strcmp(word, "help") == 0 || asks_for(argc, argv, "--help", "-h"))
        return help(argc, argv, word);
    if (strcmp(word, "version") == 0 || asks_for(argc, argv, "--version", "-V"))
        return cli_version();
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].word, word) == 0)
            return commands[i].command(argc - 2, argv + 2);
    if (*word)
        return cli_unknown(word);
    return run(argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    int status = startup_descriptors() == 0 ? dispatch(argc, argv) : 1;

    log_flush(FLUSH_LOG_MS);
    return status;
}
