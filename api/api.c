#include "api/api.h"

#include "api/answer.h"
#include "api/catalogue.h"
#include "api/diagnosis_runs.h"
#include "api/hall.h"
#include "api/http_crowd.h"
#include "api/http_share.h"
#include "api/http_tls.h"
#include "api/json_out.h"
#include "api/listen.h"
#include "api/rights.h"
#include "api/routes.h"
#include "api/submission.h"
#include "service/config.h"
#include "service/descriptors.h"
#include "smtp/crypto.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* The front hall's door: the listeners, a hall for each loop, and the order in which a request is judged. */

#define HEADER_MS 30000
#define ADMIN_HEADER_MS 3000            /* probes and scrapers ask at once */
#define IDLE_MS 75000
#define WRITE_MS 30000
#define ADMIN_SOCKET_MODE 0660
#define WORKERS 2
#define TELL_MS 1000

struct api {
    struct service *service;
    struct work *work;
    struct diagnosis_runs *runs;
    struct listen_socket listen, admin_listen;
    struct http_tls *tls;               /* NULL: plain HTTP */
    struct http_share *share;           /* of connections; NULL with one loop and no limit, where the library accepts */
    struct http_crowd *crowd;           /* NULL: no limit for an address */
    struct descriptors descriptors;
    struct hall_tell crowded, scarce;
    bool stopped;                       /* it does not listen any more */
    size_t n_halls;
    struct hall halls[];
};

/* ---- judging ---- */

/* API.md §1: framing (http_guard) → client certificate → key → path, method → permission → size, type, capacity (the
 * row's on_headers). */

static const char browser_hint[] =
    "Configure an API key (api_keys), or call the API by the name localhost; further names go in allowed_hosts.";
static const char origin_hint[] =
    "If pages of this origin may send mail, add it to allowed_origins, as scheme://host:port; else call from a server.";
static const char admin_hint[] =
    "Call the admin listener from a program, by the name localhost or 127.0.0.1; further names go in allowed_hosts.";
static const char plain_hint[] = "Write https:// in the URL: this port takes nothing else.";
static const char wrong_protocol_hint[] =
    "Write http:// in the URL and use HTTP/1.1; for HTTPS the API needs tls_cert_file and tls_key_file.";
static const char stranger_hint[] =
    "Call with a certificate (and its key) of an authority in client_ca_file: curl --cert FILE --key FILE.";

static void route(struct hall *h, struct http_request *r, bool admin)
{
    struct route_match match;
    const char *forbidden;

    routes_find(r->method, r->path, admin, service_sandbox(h->service) != NULL, &match);
    r->route = match.row;
    r->argument = match.argument;
    if (!match.row && match.allow[0]) {
        answer_not_allowed(r, match.allow);
    } else if (!match.row) {
        answer_refusal(r, OUTCOME_NOT_FOUND, "There is nothing at this path.");
    } else {
        forbidden = admin || h->is_unix ? NULL : auth_check_browser(r->auth, r);
        if (forbidden)
            answer_refusal_with(r, OUTCOME_FORBIDDEN, forbidden, browser_hint);
        else if (r->key && !rights_has_scope(r->key, match.row))
            answer_refusal(r, OUTCOME_FORBIDDEN, "This key's scopes do not cover this method and path.");
        else if (match.row->on_headers)
            match.row->on_headers(h, r);
    }
}

/* A browser asks before it lets a page ask (Fetch, §3.2.2): it sends neither a key nor a certificate with that. */
static void answer_preflight(struct hall *h, struct http_request *r)
{
    struct http_answer a = {.status = 204, .preflight = true};
    struct route_match match;

    routes_find(HTTP_OPTIONS, r->path, false, service_sandbox(h->service) != NULL, &match);
    memcpy(a.allow, match.allow, sizeof(a.allow));
    if (!r->cors)
        answer_refusal_with(r, OUTCOME_FORBIDDEN, "The page's Origin is not in allowed_origins.", origin_hint);
    else if (!match.allow[0])
        answer_refusal(r, OUTCOME_NOT_FOUND, "There is nothing at this path.");
    else
        http_answer(r, &a);
}

static void on_headers(struct http_request *r)
{
    struct hall *h = r->owner;
    enum outcome_code code;

    r->auth = auth_hold(h->auth);
    r->cors = auth_allows_origin(r->auth, r);
    if (r->method == HTTP_OPTIONS && r->origin && r->preflight) {
        answer_preflight(h, r);
        return;
    }
    code = r->stranger ? OUTCOME_FORBIDDEN : auth_check_key(r->auth, r->authorization, &r->key);
    if (r->key)
        config_key_id(r->key, r->key_id);
    if (r->stranger)
        answer_refusal_with(r, OUTCOME_FORBIDDEN, r->stranger, stranger_hint);
    else if (code == OUTCOME_MISSING_API_KEY)
        answer_refusal(r, code, "The request has no Authorization header, and API keys are configured.");
    else if (code != OUTCOME_SENT)
        answer_refusal(r, code, "The Authorization header does not carry one of the configured API keys.");
    else
        route(h, r, false);
}

static void on_admin_headers(struct http_request *r)
{
    struct hall *h = r->owner;
    const char *forbidden;

    r->auth = auth_hold(h->auth);
    forbidden = auth_check_admin_browser(r->auth, r, h->admin_loopback);
    if (forbidden)
        answer_refusal_with(r, OUTCOME_FORBIDDEN, forbidden, admin_hint);
    else
        route(h, r, true);
}

static void on_request(struct http_request *r)
{
    r->route->on_request(r->owner, r);
}

static void on_refused(struct http_request *r, enum outcome_code code, const char *detail)
{
    answer_refusal_with(r, code, detail, r->is_plain ? plain_hint : r->wrong_protocol ? wrong_protocol_hint : NULL);
}

static void on_end(struct http_request *r, int status)
{
    struct hall *h = r->owner;
    const char *label = r->route ? r->route->label : "other";
    uint64_t us = clock_us() - r->started_us;

    submission_free(r->body);
    if (r->reserved)
        desk_release(h->desk, r->reserved);
    desk_count_http(h->desk, label, status, us);
    if (r->client_gone)
        service_log_client_gone(r->id, label);
    service_log_http(&(struct service_http_line){.request_id = r->id, .trace_id = r->trace.trace_id,
                                                 .span_id = r->trace.span_id, .method = http_method_name(r->method),
                                                 .route = label, .key = r->key ? r->key->name : NULL,
                                                 .key_id = r->key_id, .client = r->client, .status = status, .us = us});
    auth_release(r->auth);
}

/* ---- what the log is told of connections ---- */

/* How often it was, this time included; 0: not now. */
static unsigned may_tell(struct hall_tell *t, uint64_t now)
{
    unsigned n = ++t->n;

    if (t->last && now < t->last + TELL_MS)
        return 0;
    *t = (struct hall_tell){.last = now};
    return n;
}

static void on_crowded(void *ctx, const struct http_crowd_key *key)
{
    struct api *a = ctx;
    unsigned n = may_tell(&a->crowded, loop_now(a->halls[0].loop));
    char address[64];

    desk_count_crowded(a->halls[0].desk);
    if (!n)
        return;
    http_crowd_text(key, address);
    service_log_crowded(address, service_config(a->service)->max_connections_per_address, n);
}

static void on_scarce(void *ctx)
{
    struct api *a = ctx;
    unsigned n = may_tell(&a->scarce, loop_now(a->halls[0].loop));

    if (n)
        service_log_scarce(a->descriptors.limit, n);
}

static void tell_closed(struct hall *h, struct hall_tell *t, const char *listener, const char *why,
                        const struct sockaddr *sa)
{
    unsigned n = may_tell(t, loop_now(h->loop));
    struct http_crowd_key key = {.counts = false};
    char address[64] = "";

    if (!n)
        return;
    if (sa)
        http_crowd_key(sa, &key);
    if (key.counts)
        http_crowd_text(&key, address);
    service_log_closed(listener, why, address, n);
}

static void on_closed(void *ctx, const char *why, const struct sockaddr *sa)
{
    struct hall *h = ctx;

    tell_closed(h, &h->closed, "api", why, sa);
}

static void on_admin_closed(void *ctx, const char *why, const struct sockaddr *sa)
{
    struct hall *h = ctx;

    tell_closed(h, &h->admin_closed, "admin", why, sa);
}

/* ---- the listeners ---- */

static struct http_params server_params(const struct api *a, size_t hall, int fd)
{
    const struct config *config = service_config(a->service);

    return (struct http_params){
        .listen_fd = fd,
        .max_connections = a->descriptors.connections,
        .max_body = config->max_body_bytes,
        .header_ms = config->request_timeout_ms < HEADER_MS ? config->request_timeout_ms : HEADER_MS,
        .idle_ms = IDLE_MS,
        .request_ms = config->request_timeout_ms,
        .write_ms = WRITE_MS,
        .ctx = (void *)(uintptr_t)&a->halls[hall],
        .on_headers = on_headers,
        .on_request = on_request,
        .on_body = submission_take,
        .on_refused = on_refused,
        .on_end = on_end,
        .on_closed = on_closed,
    };
}

/* No browser reaches one, so nothing there comes from a web page. */
static bool is_unix(const struct listen_socket *s)
{
    return strncmp(s->name, "unix:", 5) == 0;
}

static int start_server(struct api *a, size_t hall)
{
    struct http_params p = server_params(a, hall, -1);

    a->halls[hall].is_unix = is_unix(&a->listen);
    p.share = a->share;
    p.tls = a->tls;
    a->halls[hall].server = http_server_new(a->halls[hall].http, &p);
    return a->halls[hall].server ? 0 : -1;
}

static void share_descriptors_out(struct api *a)
{
    struct rlimit files = {RLIM_INFINITY, RLIM_INFINITY};

    getrlimit(RLIMIT_NOFILE, &files);
    descriptors_share_out(service_config(a->service), files.rlim_cur, &a->descriptors);
    if (a->descriptors.limit < a->descriptors.wanted)
        service_log_descriptors(&a->descriptors);
}

/* Of the API's connections. */
static int last_descriptor(const struct api *a)
{
    uint64_t last = a->descriptors.limit - a->descriptors.kept - 1;

    return a->descriptors.limit > a->descriptors.kept && last < INT32_MAX ? (int)last + 1 : 0;
}

/* There is one socket for all loops; one each (SO_REUSEPORT) would lose the connections that wait at it when it is
 * closed. */
static int start_halls(struct api *a)
{
    const struct config *c = service_config(a->service);
    struct http_share_params p = {.loop = a->halls[0].loop, .n_servers = a->n_halls,
                                  .max_connections = a->descriptors.connections,
                                  .max_fd = last_descriptor(a), .on_crowded = on_crowded, .on_scarce = on_scarce,
                                  .ctx = a};
    int rc = 0;

    if (c->max_connections_per_address)
        p.crowd = a->crowd = http_crowd_new(c->max_connections_per_address, c->max_connections);
    if (c->max_connections_per_address && !a->crowd)
        return -1;
    a->share = http_share_new(&p);
    if (!a->share)
        return -1;
    for (size_t i = 0; i < a->n_halls; i++)
        rc |= start_server(a, i);
    if (rc == 0)
        rc = http_share_listen(a->share, a->listen.fd);
    return rc;
}

static int start_admin(struct api *a)
{
    struct http_params p = server_params(a, 0, a->admin_listen.fd);

    if (a->admin_listen.is_local && !is_unix(&a->admin_listen))
        a->halls[0].admin_loopback = a->admin_listen.name;
    p.max_connections = a->descriptors.admin_connections;
    p.makes_room = true;
    p.no_bodies = true;
    p.header_ms = p.header_ms < ADMIN_HEADER_MS ? p.header_ms : ADMIN_HEADER_MS;
    p.on_headers = on_admin_headers;
    p.on_closed = on_admin_closed;
    a->halls[0].admin = http_server_new(a->halls[0].http, &p);
    return a->halls[0].admin ? 0 : -1;
}

/* The socket that was handed over for it, else one of our own. */
static int start_listening(const struct config *c, enum listen_role role, bool need_local, struct listen_socket *out,
                           char err_out[200])
{
    struct listen_socket_file file;
    int rc = listen_inherit(role, need_local, out, err_out);

    if (rc != 0)
        return rc;
    if (config_listen_owner(c, &file.mode, &file.uid, &file.gid) != NULL)
        unreachable("settings that were judged");
    if (role == LISTEN_API)
        return listen_open(c->listen, need_local, &file, out, err_out);
    file = (struct listen_socket_file){ADMIN_SOCKET_MODE, (uid_t)-1, (gid_t)-1};
    return listen_open(c->admin_listen, false, &file, out, err_out);
}

/* ---- TLS ---- */

static struct http_tls *load_tls(const struct config *c, char err_out[HTTP_TLS_ERR_SIZE])
{
    const struct http_tls_files files = {c->tls_cert_file, c->tls_key_file, c->client_ca_file};

    return http_tls_new(&files, err_out);
}

int api_check_tls(const struct config *c, char err_out[API_TLS_ERR_SIZE])
{
    struct http_tls *tls = c->tls_cert_file ? load_tls(c, err_out) : NULL;

    http_tls_free(tls);
    return c->tls_cert_file && !tls ? -1 : 0;
}

void api_look_at_tls(struct api *a)
{
    char err[HTTP_TLS_ERR_SIZE];
    enum http_tls_look look = a->tls ? http_tls_look(a->tls, err) : HTTP_TLS_SAME;

    if (look != HTTP_TLS_SAME)
        service_tell_certificate(a->service, http_tls_ends(a->tls), look == HTTP_TLS_KEPT ? err : NULL);
}

static int start_tls(struct api *a, char err_out[200])
{
    const struct config *c = service_config(a->service);
    char err[HTTP_TLS_ERR_SIZE];

    if (!c->tls_cert_file)
        return 0;
    a->tls = load_tls(c, err);
    if (!a->tls) {
        snprintf(err_out, 200, "%.199s", err);
        return -1;
    }
    service_tell_certificate(a->service, http_tls_ends(a->tls), NULL);
    return 0;
}

/* ---- the whole ---- */

static int start_servers(struct api *a, char err_out[200])
{
    const struct config *config = service_config(a->service);
    bool need_local = config->n_keys == 0 && !config->client_ca_file;
    int rc;

    share_descriptors_out(a);
    if (start_tls(a, err_out) < 0)
        return -1;
    if (start_listening(config, LISTEN_API, need_local, &a->listen, err_out) < 0)
        return -1;
    rc = start_halls(a);
    if (start_listening(config, LISTEN_ADMIN, false, &a->admin_listen, err_out) < 0)
        return -1;
    rc |= start_admin(a);
    if (rc != 0)
        snprintf(err_out, 200, "The HTTP server did not start: too few file descriptors or too little memory.");
    return rc;
}

static void on_stop(struct loop_msg *m)
{
    struct hall *h = (struct hall *)(void *)((char *)m - offsetof(struct hall, stop));

    http_server_stop_listening(h->server);
}

static struct auth *make_auth(const struct config *c, const struct auth *before)
{
    const struct auth_params p = {c->keys, c->n_keys, c->allowed_hosts, c->n_allowed_hosts,
                                  c->allowed_origins, c->n_allowed_origins, before};

    return auth_new(&p);
}

static int make_halls(struct api *a)
{
    struct auth *auth = make_auth(service_config(a->service), NULL);
    bool ok = true;

    if (!auth)
        return -1;
    for (size_t i = 0; i < service_n_desks(a->service); i++) {
        struct desk *desk = service_desk(a->service, i);
        a->halls[i] = (struct hall){.service = a->service, .desk = desk, .loop = desk_loop(desk),
                                    .auth = auth_hold(auth), .work = a->work, .runs = a->runs,
                                    .http = http_new(desk_loop(desk)),
                                    .stop = {.on_msg = on_stop}};
        ok = ok && a->halls[i].http;
        a->n_halls++;
    }
    auth_release(auth);
    return ok ? 0 : -1;
}

struct api *api_new(struct service *s, char err_out[200])
{
    size_t n = service_n_desks(s);
    struct api *a = calloc(1, sizeof(*a) + n * sizeof(a->halls[0]));

    snprintf(err_out, 200, "There is no memory for the HTTP server.");
    if (!a)
        return NULL;
    a->service = s;
    a->work = work_new(WORKERS);
    a->runs = diagnosis_runs_new(s);
    if (a->work && a->runs && make_halls(a) == 0 && start_servers(a, err_out) == 0)
        return a;
    api_free(a);
    return NULL;
}

void api_stop_listening(struct api *a)
{
    if (a->stopped)
        return;
    a->stopped = true;
    listen_remove_path(&a->listen);
    http_share_stop(a->share);
    for (size_t i = 1; i < a->n_halls; i++)
        loop_post(a->halls[i].loop, &a->halls[i].stop);
    http_server_stop_listening(a->halls[0].server);
}

/* ---- other keys ---- */

struct auth_letter {
    struct loop_msg msg;
    struct hall *hall;
    struct auth *auth;
};

static void on_auth(struct loop_msg *m)
{
    struct auth_letter *l = (struct auth_letter *)(void *)m;

    auth_release(l->hall->auth);
    l->hall->auth = l->auth;
    free(l);
}

int api_may_take(const struct api *a, const struct config *c, char err_out[200])
{
    if (a->listen.is_local || c->n_keys || service_config(a->service)->client_ca_file)
        return 0;
    snprintf(err_out, 200, "It has no API keys, and the API listens on %.60s, which other machines can reach.",
             a->listen.name);
    return -1;
}

int api_take_keys(struct api *a, const struct config *c)
{
    struct auth *auth = make_auth(c, a->halls[0].auth);
    struct auth_letter **letters = calloc(a->n_halls, sizeof(struct auth_letter *));
    bool ok = auth && letters;

    for (size_t i = 0; ok && i < a->n_halls; i++) {
        letters[i] = calloc(1, sizeof(*letters[i]));
        ok = letters[i] != NULL;
    }
    for (size_t i = 0; letters && i < a->n_halls; i++) {
        if (!ok) {
            free(letters[i]);
            continue;
        }
        *letters[i] = (struct auth_letter){.msg = {.on_msg = on_auth}, .hall = &a->halls[i], .auth = auth_hold(auth)};
        loop_post(a->halls[i].loop, &letters[i]->msg);
    }
    auth_release(auth);
    free(letters);
    return ok ? 0 : -1;
}

void api_drain(struct api *a)
{
    diagnosis_runs_cancel(a->runs);
}

/* A stopped loop reads its last letters: the workers', and on_stop. One that never ran, as the start failed, has not
 * been stopped yet. */
static void read_last_letters(struct hall *h)
{
    h->closing = true;
    loop_stop(h->loop);
    if (loop_run(h->loop) < 0)
        unreachable("a stopped loop waited");
}

/* What became of mails is in the last letters (service_give_up). */
void api_free(struct api *a)
{
    static const char detail[] = "The gateway was stopped before the relay's answer came; the mail may have been sent.";

    if (!a)
        return;
    work_free(a->work);
    diagnosis_runs_stop(a->runs);
    if (a->share)
        http_share_stop(a->share);
    for (size_t i = 0; i < a->n_halls; i++)
        read_last_letters(&a->halls[i]);
    for (size_t i = 0; i < a->n_halls; i++) {
        struct hall *h = &a->halls[i];
        http_server_free(h->server, OUTCOME_OUTCOME_UNKNOWN, detail);
        http_server_free(h->admin, OUTCOME_SHUTTING_DOWN, NULL);
        http_free(h->http);
        auth_release(h->auth);
    }
    http_share_free(a->share);
    http_crowd_free(a->crowd);
    http_tls_free(a->tls);
    listen_remove_path(&a->listen);
    listen_remove_path(&a->admin_listen);
    diagnosis_runs_free(a->runs);
    free(a);
}

const char *api_address(const struct api *a)
{
    return a->listen.name;
}

const char *api_admin_address(const struct api *a)
{
    return a->admin_listen.name;
}

bool api_is_inherited(const struct api *a)
{
    return a->listen.inherited;
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
