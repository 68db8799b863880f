#ifndef API_HTTP_H
#define API_HTTP_H
/* HTTP/1.1 servers on our own loop, over libmicrohttpd in external epoll mode. Everything runs on the loop's thread.
 * A request's life: headers are read and guarded → on_headers (may answer) → body → on_request (answers now or
 * later) → on_end. */
#include "api/traceparent.h"
#include "smtp/loop.h"
#include "smtp/outcome.h"

struct http;                            /* drives the servers of one loop */
struct auth;
struct http_server;
struct http_share;
struct http_tls;
struct config_key;
struct route_row;
struct sockaddr;
struct sockaddr_storage;
struct MHD_Connection;

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_OPTIONS, HTTP_OTHER };
const char *http_method_name(enum http_method m);                       /* "OTHER" for what is not listed */

struct http_answer {
    int status;
    const char *type;                   /* Content-Type; NULL: no body */
    char *body;                         /* malloc'ed and taken over, unless is_static */
    size_t n;
    bool is_static;
    bool is_block;                      /* body is a block (smtp/block.h) */
    bool close;                         /* Connection: close */
    bool www_authenticate;
    uint32_t retry_after;               /* seconds; 0: not said */
    char allow[48];                     /* "": not said */
    bool preflight;                     /* allow is for Access-Control-Allow-Methods */
};

struct http_request {                   /* strings are valid until on_end; NULL when the header is absent */
    enum http_method method;
    bool is_plain;                      /* not in TLS, where only that is taken: it is refused */
    bool wrong_protocol;                /* not HTTP at all: it is refused */
    bool http10, chunked, has_length, expects_continue;
    uint64_t length;                    /* Content-Length */
    struct bytes_view path;             /* raw: nothing is percent-decoded; without the query */
    struct bytes_view authority;        /* of an absolute-form target, else empty */
    /* preflight: Access-Control-Request-Method */
    const char *host, *authorization, *content_type, *content_encoding, *origin, *sec_fetch_site, *accept, *preflight,
        *idempotency_key, *prefer, *batch_validation;
    const char *relay_argument;         /* ?relay= */
    char id[65];                        /* X-Request-Id: the caller's if sane, else one of ours */
    struct traceparent trace;
    uint64_t started_us, deadline;      /* deadline: ms of CLOCK_MONOTONIC, request_timeout after the headers */
    bool has_answer;
    bool cors;                          /* its answer says that pages of its Origin may read it */
    bool private_network;               /* the browser asks for a page of a public network (Private Network Access) */
    const char *client;                 /* of its certificate, under mutual TLS, for the log; "" or NULL: none */
    const char *stranger;               /* why its client may not call at all; NULL: it may */
    bool client_gone;                   /* it had closed its side when a suspended request was answered */
    struct http_answer answer;

    bool wants_body;                    /* set in on_headers: else a body is dropped */
    void *owner;                        /* ctx of the params */
    char key_id[9];                     /* of the key, for the log; "": none */
    char rate[48], rate_policy[48];     /* RateLimit and RateLimit-Policy of its answer; "": not said */
    struct auth *auth;                  /* these six are the owner's: what was in force when it came; held */
    const struct config_key *key;       /* of that; NULL: the API has no keys */
    const struct route_row *route;
    struct bytes_view argument;
    size_t reserved;
    void *body;                         /* whatever takes the body; freed in on_end */
};

enum http_taken {
    HTTP_TAKEN,
    HTTP_PAUSED,                        /* no more until http_continue */
};

struct http_params {
    int listen_fd;                      /* taken over; -1: connections come from `share` */
    struct http_share *share;           /* or NULL, when it listens by itself; outlives the server */
    struct http_tls *tls;               /* NULL: plain HTTP; outlives the server */
    unsigned max_connections;
    bool makes_room;                    /* at max_connections the oldest idle one is closed for a new one */
    bool no_bodies;                     /* no request has a body */
    size_t max_body;
    uint32_t header_ms, idle_ms, request_ms, write_ms;
    void *ctx;
    /* These answer the request, or leave it as it is. */
    void (*on_headers)(struct http_request *r);
    void (*on_request)(struct http_request *r);
    /* A piece of a wanted body, as it comes; may answer: then the rest is dropped. */
    enum http_taken (*on_body)(struct http_request *r, struct bytes_view piece);
    /* http.c itself refuses: framing, size, time. Must answer. */
    void (*on_refused)(struct http_request *r, enum outcome_code code, const char *detail);
    void (*on_end)(struct http_request *r, int status);         /* 499: the client left before its answer */
    /* NULL, or for the log: a connection is closed, or held up, for a reason that no answer tells. `why` (valid during
     * the call) ends a sentence; address: struct sockaddr, or NULL. */
    void (*on_closed)(void *ctx, const char *why, const struct sockaddr *address);
};

struct http *http_new(struct loop *loop) MUST_CHECK;            /* takes the loop's before_wait hook */
void http_free(struct http *h);                                 /* after its servers */
/* NULL: listen_fd is closed */
struct http_server *http_server_new(struct http *h, const struct http_params *p) MUST_CHECK;
/* A connection, from the loop that accepted it; fd is taken over. */
void http_server_bring(struct http_server *s, const struct loop *from, int fd, const struct sockaddr_storage *address,
                       unsigned n);
/* Closes its oldest connection that waits for its client; false: there is none, or too many are being closed. Its own
 * loop. */
bool http_server_make_room(struct http_server *s);
unsigned http_server_load(const struct http_server *s);         /* connections, brought ones included; any thread */
/* running requests go on; every answer now closes its connection */
void http_server_stop_listening(struct http_server *s);
/* Requests without an answer are refused with `code`; what is answered is written as far as the sockets take it. */
void http_server_free(struct http_server *s, enum outcome_code code, const char *detail);

/* exactly once a request; inside the callbacks or later */
void http_answer(struct http_request *r, const struct http_answer *a);
/* after HTTP_PAUSED, not inside the callback; an answer may have been given meanwhile */
void http_continue(struct http_request *r);
/* Each argument of the query in its order; a value as it came, but that "+" is a blank. */
void http_each_argument(struct http_request *r, void (*on_argument)(void *ctx, const char *name, const char *value),
                        void *ctx);
const char *http_library_version(void);                         /* "libmicrohttpd 0.9.75" */
#endif
