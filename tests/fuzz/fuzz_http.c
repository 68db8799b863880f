#include "virtual_loop.h"

#include "api/api.h"
#include "api/diagnosis_runs.h"
#include "lines.h"
#include "service/config.h"
#include "service/log.h"
#include "service/service.h"
#include "smtp/block.h"
#include "smtp/engine.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Fuzz target: what a client writes on one connection, to the whole front hall and office over an engine that does
 * nothing but look. The first byte says how: bit 0, to the admin listener; bit 1, the client shuts its side when it is
 * done; bit 2, in pieces, by the second byte. What must hold: each request gets one answer, in its order, and the
 * answer is well formed; no mail goes down whose envelope or lines could be read as commands; each mail that goes down
 * is named in an answer. */

#define OUTPUT_MAX (4 << 20)
#define ANSWERS_MAX 4096
#define TURNS_MAX 3000                  /* without an end: time goes on */
#define PASSES_MAX 400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct noted {                          /* an answered request, as the log has it */
    int status;
    char id[65];
};

static struct {
    struct loop *loop;
    struct config *config;
    struct service *service;
    struct api *api;
    struct sockaddr_un address[2];      /* API, admin */
} gateway;
static struct noted noted[ANSWERS_MAX];
static size_t n_noted, n_mails;
static const char other_protocol[] = "Write http:// in the URL";
static char mails[ANSWERS_MAX][37];
static char output[OUTPUT_MAX + 1];
static size_t output_n;

/* ---- what the log is told ---- */

int log_init(const char *format, const char *level, bool show_addresses)
{
    (void)format;
    (void)level;
    (void)show_addresses;
    return 0;
}

void log_start(void)
{
}

void log_write_through(void)
{
}

void log_flush(unsigned stall_ms)
{
    (void)stall_ms;
}

uint64_t log_lines_dropped(void)
{
    return 0;
}

void log_plain(const char *text)
{
    (void)text;
}

bool log_is_on(enum log_level level)
{
    (void)level;
    return true;
}

static void note_request(const struct log_field *fields)
{
    struct noted *r = &noted[n_noted++];

    for (; fields->key; fields++)
        if (strcmp(fields->key, "status") == 0)
            r->status = (int)fields->num;
        else if (strcmp(fields->key, "request_id") == 0)
            snprintf(r->id, sizeof(r->id), "%s", fields->str);
    if (r->status == 499)               /* the client left: there is no answer */
        n_noted--;
}

void log_write(enum log_level level, const char *event, const char *msg, const struct log_field *fields)
{
    (void)level;
    (void)msg;
    if (strcmp(event, "http") == 0 && n_noted < ANSWERS_MAX)
        note_request(fields);
}

void log_mask_address(const char *email, char out[128])
{
    snprintf(out, 128, "%s", email);
}

void log_mask_text(const char *text, char out[256])
{
    snprintf(out, 256, "%s", text);
}

/* ---- the engine ---- */

struct engine {
    char nothing;
};

struct engine *engine_new(const struct engine_params *p, char err_out[200])
{
    (void)p;
    (void)err_out;
    return calloc(1, sizeof(struct engine));
}

void engine_give_up(struct engine *e)
{
    (void)e;
}

struct relay_memory *engine_get_memory(struct engine *e, size_t relay, const struct relay_config *c)
{
    (void)e;
    (void)relay;
    (void)c;
    return NULL;
}

int engine_reload(struct engine *e, const struct relay_config *const *relays, size_t n, char err_out[200])
{
    (void)e;
    (void)relays;
    (void)n;
    (void)err_out;
    return 0;
}

static void check_word(const char *s)
{
    for (; s && *s; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7F)
            unreachable("a control character in an envelope");
}

/* A recipient whose address begins so is refused, so that problems are written too. */
static bool is_refused(const char *rcpt)
{
    return strncmp(rcpt, "no", 2) == 0;
}

static struct delivery_report *report_on(struct delivery *d)
{
    struct delivery_report *r = calloc(1, sizeof(*r) + d->n_rcpts * sizeof(struct smtp_outcome));
    size_t refused = 0;

    if (!r)
        unreachable("no memory");
    memcpy(r->id, d->id, sizeof(r->id));
    r->owner = d->owner;
    r->ctx = d->ctx;
    r->relay = d->relay;
    r->on_report = d->on_report;
    r->n_rcpts = d->n_rcpts;
    r->rcpts = (struct smtp_outcome *)(void *)(r + 1);
    for (size_t i = 0; i < d->n_rcpts; i++)
        if (is_refused(d->rcpts[i]) && ++refused)
            r->rcpts[i] = (struct smtp_outcome){.code = OUTCOME_RECIPIENTS_REJECTED, .stage = STAGE_RCPT,
                                                .delivery = DELIVERY_REJECTED, .reply_code = 550, .command = "RCPT",
                                                .text = "no"};
    if (refused == d->n_rcpts)
        r->outcome = r->rcpts[0];
    if (d->keep_content && refused == d->n_rcpts) {
        r->content = d->content;
        r->content_n = d->content_n;
        d->content = NULL;
    }
    return r;
}

static void on_report_letter(struct loop_msg *m)
{
    struct delivery_report *r = (struct delivery_report *)(void *)((char *)m - offsetof(struct delivery_report, msg));

    r->on_report(r);
}

int engine_submit(struct engine *e, struct delivery *d)
{
    struct delivery_report *r;

    (void)e;
    check_word(d->from);
    check_word(d->envid);
    check_word(d->id);
    if (d->n_rcpts == 0)
        unreachable("a mail to nobody");
    for (size_t i = 0; i < d->n_rcpts; i++)
        check_word(d->rcpts[i]);
    fuzz_check_lines(d->content, d->content_n);
    if (n_mails < ANSWERS_MAX)
        memcpy(mails[n_mails++], d->id, sizeof(mails[0]));
    r = report_on(d);
    r->msg.on_msg = on_report_letter;
    loop_post(d->reply_to, &r->msg);
    delivery_free(d);
    return 0;
}

void engine_drain(struct engine *e)
{
    (void)e;
}

void engine_free(struct engine *e)
{
    free(e);
}

void engine_get_stats(struct engine *e, size_t relay, struct engine_relay_stats *out)
{
    (void)e;
    (void)relay;
    *out = (struct engine_relay_stats){0};
}

/* ---- diagnoses, which are a network's ---- */

struct diagnosis_run *diagnosis_run_new(void)
{
    return calloc(1, sizeof(struct diagnosis_run));
}

void diagnosis_run_free(struct diagnosis_run *run)
{
    relay_settings_unref(run->settings);
    free(run->to);
    free(run->from);
    free(run);
}

struct diagnosis_runs *diagnosis_runs_new(struct service *s)
{
    (void)s;
    return calloc(1, 1);
}

bool diagnosis_runs_begin(struct diagnosis_runs *t, struct diagnosis_run *run)
{
    (void)t;
    diagnosis_run_free(run);
    return false;
}

void diagnosis_runs_cancel(struct diagnosis_runs *t)
{
    (void)t;
}

void diagnosis_runs_stop(struct diagnosis_runs *t)
{
    (void)t;
}

void diagnosis_runs_free(struct diagnosis_runs *t)
{
    free(t);
}

void diagnosis_runs_get_last(struct diagnosis_runs *t, size_t place, const struct relay_settings *settings,
                             struct diagnosis_last *out)
{
    (void)t;
    (void)place;
    (void)settings;
    *out = (struct diagnosis_last){0};
}

/* ---- the gateway ---- */

static void start(void)
{
    char listen[80], admin[80], err[200] = "";
    char *argv[] = {listen, admin, (char[]){"--relay-url=smtp://relay.example"}, (char[]){"--max-body=20000"},
                    (char[]){"--request-timeout=10s"}, (char[]){"--allowed-origins=https://app.example"}, NULL};
    struct config_errors errors;
    struct service_params p;

    snprintf(listen, sizeof(listen), "--listen=unix:/tmp/fuzz-http-%d", (int)getpid());
    snprintf(admin, sizeof(admin), "--admin-listen=unix:/tmp/fuzz-http-admin-%d", (int)getpid());
    config_errors_init(&errors);
    if (config_load(6, argv, &gateway.config, &errors) != 0)
        unreachable(errors.text.p);
    config_errors_deinit(&errors);
    gateway.loop = loop_new();
    p = (struct service_params){.config = gateway.config, .loops = &gateway.loop, .n_loops = 1};
    gateway.service = service_new(&p, err);
    gateway.api = gateway.service ? api_new(gateway.service, err) : NULL;
    if (!gateway.api)
        unreachable(err);
    for (int i = 0; i < 2; i++) {
        gateway.address[i].sun_family = AF_UNIX;
        snprintf(gateway.address[i].sun_path, sizeof(gateway.address[i].sun_path), "%s",
                 strchr(i ? admin : listen, '/'));
    }
}

static void stop(void)
{
    if (!gateway.api)
        return;
    api_free(gateway.api);
    service_free(gateway.service);
    loop_free(gateway.loop);
    config_free(gateway.config);
    gateway.api = NULL;
}

/* ---- the client ---- */

/* False: the server has closed. */
static bool client_reads(int fd)
{
    ssize_t n;

    while ((n = recv(fd, output + output_n, OUTPUT_MAX - output_n, MSG_DONTWAIT)) > 0)
        output_n += (size_t)n;
    return n < 0 && errno == EAGAIN;
}

/* Until nothing moves, or for long: something may wait for the time to go on. */
static bool settle(int fd)
{
    int turns = 0;

    while (virtual_turn(gateway.loop) && turns++ < TURNS_MAX)
        if (turns % 16 == 0)
            client_reads(fd);
    return client_reads(fd);
}

static void client_writes(int fd, const uint8_t *data, size_t n, bool pieces, unsigned seed)
{
    while (n) {
        ssize_t sent;
        size_t piece = n;
        if (pieces) {
            seed = seed * 1103515245u + 12345u;
            piece = 1 + (seed >> 16) % (1 + n / 2);
        }
        sent = send(fd, data, piece, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return;
        data += sent > 0 ? sent : 0;
        n -= sent > 0 ? (size_t)sent : 0;
        if ((n || pieces) && !settle(fd))
            return;
    }
}

/* One connection, from its beginning to its end: until no timer is set any more. False: it has none. */
static bool talk(const uint8_t *data, size_t n, unsigned how, unsigned seed)
{
    const struct sockaddr_un *to = &gateway.address[how & 1];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), passes = 0;

    if (connect(fd, (const struct sockaddr *)(const void *)to, sizeof(*to)) != 0)
        unreachable("nobody listens");
    client_writes(fd, data, n, how & 4, seed);
    if (how & 2)
        shutdown(fd, SHUT_WR);
    while (settle(fd) && passes++ < PASSES_MAX && virtual_pass(gateway.loop))
        continue;
    close(fd);
    settle(-1);
    while (passes++ < PASSES_MAX && virtual_pass(gateway.loop))
        settle(-1);
    return gateway.loop->n_timers == 0;
}

/* ---- the answers ---- */

/* A line, without its CRLF. */
static struct bytes_view next_line(const char **at, const char *end)
{
    const char *from = *at, *cr = memchr(from, '\r', (size_t)(end - from));

    if (!cr || cr + 1 == end || cr[1] != '\n')
        unreachable("an answer's head has no end");
    for (const char *p = from; p < cr; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7F)
            unreachable("an answer's head has a control character");
    *at = cr + 2;
    return bytes_view(from, (size_t)(cr - from));
}

static bool is_field(struct bytes_view line, const char *name, struct bytes_view *value_out)
{
    size_t n = strlen(name);

    if (!bytes_starts_nocase(line, name) || line.n < n + 2 || line.p[n] != ':')
        return false;
    *value_out = bytes_view(line.p + n + 2, line.n - n - 2);
    return true;
}

static unsigned long number_of(struct bytes_view v)
{
    char text[24];

    snprintf(text, sizeof(text), "%.*s", (int)(v.n < 20 ? v.n : 20), v.p);
    return strtoul(text, NULL, 10);
}

/* The answer at *at; returns its status, or 0 for a page of libmicrohttpd's own, behind which nothing is looked at. */
static int next_answer(const char **at, const char *end, struct bytes_view *id_out)
{
    struct bytes_view line = next_line(at, end), value;
    unsigned long length = 0;
    int status = line.n > 12 ? (int)number_of(bytes_view(line.p + 9, 3)) : 0;

    if (!bytes_starts_nocase(line, "HTTP/1.") || status < 100 || status > 599)
        unreachable("no status line");
    *id_out = bytes_view(NULL, 0);
    while ((line = next_line(at, end)).n) {
        if (is_field(line, "Content-Length", &value))
            length = number_of(value);
        else if (is_field(line, "X-Request-Id", &value))
            *id_out = value;
    }
    if (status == 100)
        return 100;
    if (!id_out->p)
        return 0;
    if ((size_t)(end - *at) >= 7 && memcmp(*at, "HTTP/1.", 7) == 0)
        length = 0;                     /* that was to a HEAD */
    if (length > (size_t)(end - *at) && *at != end)
        unreachable("an answer is cut off");
    *at += *at == end ? 0 : length;
    return status;
}

static void check_answers(void)
{
    const char *at = output, *end = output + output_n;
    struct bytes_view id;
    size_t n = 0;

    while (at < end) {
        int status = next_answer(&at, end, &id);
        if (status == 0)
            break;
        if (status == 100)
            continue;
        if (n == n_noted && status == 400 && at == end &&
            memmem(output, output_n, other_protocol, strlen(other_protocol)))
            break;                      /* to what was no request at all: the lobby's answer, which is no request's */
        if (n == n_noted || noted[n].status != status ||
            !bytes_equal(id, bytes_view_str(noted[n].id)))
            unreachable("an answer that is no request's");
        n++;
    }
    if (n != n_noted)
        unreachable("a request without an answer");
}

static void check_mails(void)
{
    output[output_n] = '\0';
    for (size_t i = 0; i < n_mails; i++)
        if (!memmem(output, output_n, mails[i], 36))
            unreachable("a mail that no answer names");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    if (!gateway.api) {
        start();
        atexit(stop);
    }
    n_noted = n_mails = output_n = 0;
    if (!talk(data + 2, n - 2, data[0], data[1]))
        unreachable("a connection without an end");
    check_answers();
    check_mails();
    return 0;
}
