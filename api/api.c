#include "api/api.h"

#include "api/answer.h"
#include "api/catalogue.h"
#include "api/hall.h"
#include "api/json_out.h"
#include "api/routes.h"
#include "api/submission.h"
#include "service/config.h"
#include "smtp/crypto.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The front hall's door: two listeners on one loop, and the order in which a request is judged. */

#define HEADER_MS 30000
#define IDLE_MS 75000
#define WRITE_MS 30000
#define ADMIN_CONNECTIONS 128
#define WORKERS 2

/* ---- judging ---- */

/* API.md §1: framing (http_guard) → key → path, method → permission → size, type, capacity (the row's on_headers). */

static void route(struct api *a, struct http_request *r, bool admin)
{
    struct route_match match;
    const char *forbidden;

    routes_find(r->method, r->path, admin, service_sandbox(a->service) != NULL, &match);
    r->route = match.row;
    r->argument = match.argument;
    if (!match.row && match.allow[0]) {
        answer_not_allowed(r, match.allow);
    } else if (!match.row) {
        answer_refusal(r, OUTCOME_NOT_FOUND, "There is nothing at this path.");
    } else {
        forbidden = admin ? NULL : auth_check_browser(a->auth, r);
        if (forbidden)
            answer_refusal(r, OUTCOME_FORBIDDEN, forbidden);
        else if (match.row->on_headers)
            match.row->on_headers(a, r);
    }
}

static void on_headers(struct http_request *r)
{
    struct api *a = r->owner;
    enum outcome_code code = auth_check_key(a->auth, r->authorization);

    if (code == OUTCOME_MISSING_API_KEY)
        answer_refusal(r, code, "The request has no Authorization header, and API keys are configured.");
    else if (code != OUTCOME_SENT)
        answer_refusal(r, code, "The Authorization header does not carry one of the configured API keys.");
    else
        route(a, r, false);
}

static void on_admin_headers(struct http_request *r)
{
    route(r->owner, r, true);
}

static void on_request(struct http_request *r)
{
    r->route->on_request(r->owner, r);
}

static void on_refused(struct http_request *r, enum outcome_code code, const char *detail)
{
    answer_refusal(r, code, detail);
}

static void on_end(struct http_request *r, int status)
{
    struct api *a = r->owner;
    const char *label = r->route ? r->route->label : "other";
    uint64_t us = clock_us() - r->started_us;

    submission_free(r->body);
    if (r->reserved)
        service_release(a->service, r->reserved);
    service_count_http(a->service, label, status, us);
    if (r->client_gone)
        service_log_client_gone(a->service, r->id, label);
    service_log_http(a->service, r->id, http_method_name(r->method), label, status, us);
}

/* ---- the listeners ---- */

static struct http_params server_params(struct api *a, int fd)
{
    const struct config *config = service_config(a->service);

    return (struct http_params){
        .listen_fd = fd,
        .max_connections = config->max_connections,
        .max_body = config->max_body_bytes,
        .header_ms = config->request_timeout_ms < HEADER_MS ? config->request_timeout_ms : HEADER_MS,
        .idle_ms = IDLE_MS,
        .request_ms = config->request_timeout_ms,
        .write_ms = WRITE_MS,
        .ctx = a,
        .on_headers = on_headers,
        .on_request = on_request,
        .on_body = submission_take,
        .on_refused = on_refused,
        .on_end = on_end,
    };
}

static int start_servers(struct api *a, char err_out[200])
{
    const struct config *config = service_config(a->service);
    struct http_params p;

    if (listen_open(config->listen, !auth_has_keys(a->auth), &a->listen, err_out) < 0)
        return -1;
    p = server_params(a, a->listen.fd);
    a->server = http_server_new(a->http, &p);
    if (listen_open(config->admin_listen, false, &a->admin_listen, err_out) < 0)
        return -1;
    p = server_params(a, a->admin_listen.fd);
    p.max_connections = ADMIN_CONNECTIONS;
    p.on_headers = on_admin_headers;
    a->admin = http_server_new(a->http, &p);
    if (a->server && a->admin)
        return 0;
    snprintf(err_out, 200, "The HTTP server did not start: too few file descriptors or too little memory.");
    return -1;
}

struct api *api_new(struct service *s, struct loop *loop, char err_out[200])
{
    const struct config *config = service_config(s);
    struct api *a = calloc(1, sizeof(*a));

    if (!a) {
        snprintf(err_out, 200, "There is no memory for the HTTP server.");
        return NULL;
    }
    a->service = s;
    a->loop = loop;
    a->auth = auth_new(config->api_keys, config->n_api_keys, config->allowed_hosts, config->n_allowed_hosts);
    a->http = http_new(loop);
    a->work = work_new(WORKERS);
    if (!a->auth || !a->http || !a->work)
        snprintf(err_out, 200, "There is no memory for the HTTP server.");
    else if (start_servers(a, err_out) == 0)
        return a;
    api_free(a);
    return NULL;
}

void api_stop_listening(struct api *a)
{
    http_server_stop_listening(a->server);
    listen_remove_path(&a->listen);
}

/* What still waits for the relay is told the truth: nobody knows. */
void api_free(struct api *a)
{
    static const char detail[] = "The gateway was stopped before the relay's answer came; the mail may have been sent.";

    if (!a)
        return;
    a->closing = true;
    work_free(a->work);
    loop_stop(a->loop);                 /* when the start failed, it never ran */
    if (a->work && loop_run(a->loop) < 0)       /* a stopped loop reads its last letters: the workers' */
        unreachable("a stopped loop waited");
    http_server_free(a->server, OUTCOME_OUTCOME_UNKNOWN, detail);
    http_server_free(a->admin, OUTCOME_SHUTTING_DOWN, NULL);
    listen_remove_path(&a->listen);
    listen_remove_path(&a->admin_listen);
    http_free(a->http);
    auth_free(a->auth);
    free(a);
}

uint16_t api_port(const struct api *a)
{
    return a->listen.port;
}

uint16_t api_admin_port(const struct api *a)
{
    return a->admin_listen.port;
}

/* ---- for the command line ---- */

int api_read_mail(const struct service *s, char *json, size_t n, struct mail **mail_out, char **problem_out)
{
    struct json_mail_params params;
    struct json_mail_result read;
    struct smtp_outcome o;
    struct problem p;
    struct bytes_buf text;
    char id[37];

    *problem_out = NULL;
    submission_read_params(s, &params);
    json_mail_read(json, n, &params, &read);
    *mail_out = read.mail;
    read.mail = NULL;
    if (read.code != OUTCOME_SENT) {
        crypto_uuid7(id);
        p = problem_of_reading(&read, &o);
        p.request_id = id;
        bytes_buf_init(&text, 0);
        problem_write(&p, &text);
        *problem_out = bytes_buf_take(&text, NULL);
    }
    json_mail_result_deinit(&read);
    return *mail_out ? 0 : -1;
}

char *api_write_result(const struct send_result *r, int *status_out)
{
    struct bytes_buf text;

    bytes_buf_init(&text, 0);
    *status_out = catalogue_status(&r->outcome);
    if (r->outcome.code == OUTCOME_SENT)
        json_out_result(&text, r);
    else
        problem_write(&(struct problem){.outcome = &r->outcome, .result = r, .request_id = r->id}, &text);
    return bytes_buf_take(&text, NULL);
}

const char *api_library_versions(void)
{
    static char versions[80];

    snprintf(versions, sizeof(versions), "%s, %s", http_library_version(), json_library_version());
    return versions;
}
