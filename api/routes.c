#include "api/routes.h"

#include "api/answer.h"

#include <string.h>

/* All endpoints of both listeners, one row each. */

static void not_yet(struct hall *h, struct http_request *r)
{
    (void)h;
    answer_refusal(r, OUTCOME_NOT_IMPLEMENTED, "This endpoint is in the contract, but this version does not have it.");
}

/* Of rows that match a path, those with the pattern of the first one count: fixed names stand before "{}". */
static const struct route_row rows[] = {
    {ROUTE_API, HTTP_POST, "/v1/emails", "/v1/emails", emails_on_headers, emails_on_body},
    {ROUTE_API, HTTP_GET, "/v1/emails", "/v1/emails", not_yet, NULL},
    {ROUTE_API, HTTP_POST, "/v1/emails/batch", "/v1/emails/batch", emails_batch_on_headers, emails_on_body},
    {ROUTE_API, HTTP_POST, "/v1/emails/validate", "/v1/emails/validate", emails_validate_on_headers,
     emails_on_body},
    {ROUTE_API, HTTP_GET, "/v1/emails/{}", "/v1/emails/{id}", not_yet, NULL},
    {ROUTE_API, HTTP_POST, "/v1/emails/{}/cancel", "/v1/emails/{id}/cancel", not_yet, NULL},
    {ROUTE_API, HTTP_POST, "/v1/emails/{}/retry", "/v1/emails/{id}/retry", not_yet, NULL},
    {ROUTE_API, HTTP_GET, "/v1/relays", "/v1/relays", NULL, relays_list},
    {ROUTE_API, HTTP_GET, "/v1/relays/{}", "/v1/relays/{name}", NULL, relays_get},
    {ROUTE_API, HTTP_POST, "/v1/relays/{}/diagnose", "/v1/relays/{name}/diagnose", diagnose_on_headers,
     emails_on_body},
    {ROUTE_API, HTTP_GET, "/v1/errors", "/v1/errors", NULL, errors_list},
    {ROUTE_API, HTTP_GET, "/v1/errors/{}", "/v1/errors/{code}", NULL, errors_get},
    {ROUTE_API, HTTP_GET, "/", "/", NULL, health_root},
    {ROUTE_API, HTTP_GET, "/openapi.yaml", "/openapi.yaml", NULL, health_openapi},
    {ROUTE_SANDBOX, HTTP_GET, "/sandbox/messages", "/sandbox/messages", NULL, sandbox_list},
    {ROUTE_SANDBOX, HTTP_DELETE, "/sandbox/messages", "/sandbox/messages", NULL, sandbox_clear},
    {ROUTE_SANDBOX, HTTP_GET, "/sandbox/messages/{}", "/sandbox/messages/{id}", NULL, sandbox_get},
    {ROUTE_ADMIN, HTTP_GET, "/livez", "/livez", NULL, health_livez},
    {ROUTE_ADMIN, HTTP_GET, "/readyz", "/readyz", NULL, health_readyz},
    {ROUTE_ADMIN, HTTP_GET, "/metrics", "/metrics", NULL, health_metrics},
    {ROUTE_ADMIN, HTTP_GET, "/version", "/version", NULL, health_version},
};

static bool matches(const char *pattern, struct bytes_view path, struct bytes_view *argument)
{
    size_t i = 0;

    for (const char *p = pattern; *p; p++) {
        size_t from = i;
        if (*p != '{') {
            if (i == path.n || path.p[i++] != *p)
                return false;
            continue;
        }
        while (i < path.n && path.p[i] != '/')
            i++;
        if (i == from)
            return false;
        *argument = bytes_view(path.p + from, i - from);
        p++;                            /* past the closing brace */
    }
    return i == path.n;
}

static bool is_served(const struct route_row *row, bool admin, bool sandbox)
{
    switch (row->listener) {
    case ROUTE_API:
        return !admin;
    case ROUTE_SANDBOX:
        return !admin && sandbox;
    case ROUTE_ADMIN:
        return admin;
    }
    unreachable("a listener without routes");
}

/* At most four methods a path, so "GET, HEAD, POST, DELETE" is the longest; it fits. */
static void add_allow(char allow[48], enum http_method method)
{
    if (allow[0])
        strncat(allow, ", ", 47 - strlen(allow));
    strncat(allow, http_method_name(method), 47 - strlen(allow));
    if (method == HTTP_GET)
        strncat(allow, ", HEAD", 47 - strlen(allow));
}

void routes_find(enum http_method method, struct bytes_view path, bool admin, bool sandbox, struct route_match *out)
{
    enum http_method want = method == HTTP_HEAD ? HTTP_GET : method;
    const char *pattern = NULL;

    *out = (struct route_match){.row = NULL};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct route_row *row = &rows[i];
        struct bytes_view argument = {"", 0};
        if (!is_served(row, admin, sandbox) || (pattern && strcmp(pattern, row->pattern) != 0) ||
            !matches(row->pattern, path, &argument))
            continue;
        pattern = row->pattern;
        add_allow(out->allow, row->method);
        if (row->method == want) {
            out->row = row;
            out->argument = argument;
        }
    }
}
