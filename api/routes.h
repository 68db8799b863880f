#ifndef API_ROUTES_H
#define API_ROUTES_H
/* One table of all endpoints, and the finding of the row for a request. */
#include "api/http.h"

struct hall;

enum route_listener { ROUTE_API, ROUTE_SANDBOX /* API, while the sandbox runs */, ROUTE_ADMIN };

struct route_row {
    enum route_listener listener;
    enum http_method method;            /* GET rows serve HEAD too */
    const char *pattern;                /* "{}" stands for one segment that is not empty */
    const char *label;                  /* for metrics: the pattern as API.md writes it */
    void (*on_headers)(struct hall *h, struct http_request *r);  /* NULL: nothing to say before the body */
    void (*on_request)(struct hall *h, struct http_request *r);
};

struct route_match {
    const struct route_row *row;        /* NULL: not found, or the method is not allowed */
    struct bytes_view argument;         /* what "{}" was */
    char allow[48];                     /* the path's methods, when the path exists: "GET, HEAD" */
};

void routes_find(enum http_method method, struct bytes_view path, bool admin, bool sandbox, struct route_match *out);

/* The handlers, by file. */
void emails_on_headers(struct hall *h, struct http_request *r);
void emails_validate_on_headers(struct hall *h, struct http_request *r);
void emails_batch_on_headers(struct hall *h, struct http_request *r);
void emails_on_body(struct hall *h, struct http_request *r);     /* of all that take a body */
void errors_list(struct hall *h, struct http_request *r);
void errors_get(struct hall *h, struct http_request *r);
void relays_list(struct hall *h, struct http_request *r);
void relays_get(struct hall *h, struct http_request *r);
void diagnose_on_headers(struct hall *h, struct http_request *r);
void sandbox_list(struct hall *h, struct http_request *r);
void sandbox_get(struct hall *h, struct http_request *r);
void sandbox_clear(struct hall *h, struct http_request *r);
void health_root(struct hall *h, struct http_request *r);
void health_openapi(struct hall *h, struct http_request *r);
void health_livez(struct hall *h, struct http_request *r);
void health_readyz(struct hall *h, struct http_request *r);
void health_metrics(struct hall *h, struct http_request *r);
void health_version(struct hall *h, struct http_request *r);
#endif
