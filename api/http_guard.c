#include "api/http_guard.h"

#include "api/http_head.h"
#include "smtp/crypto.h"

#include <microhttpd.h>
#include <string.h>

/* Reads the head of a request and refuses what two parsers could understand differently (RFC 9112 §6.3, §11.2:
 * request smuggling). */

struct head {                           /* what one walk over the header fields finds */
    struct http_request *r;
    const char *length, *transfer_encoding, *expect, *request_id, *traceparent, *private_network;
    unsigned repeats, traceparent_repeats;      /* of fields that have one value */
    bool broken;                        /* a name that is no token, a value with controls */
};

static void keep(const char **slot, unsigned *repeats, const char *value)
{
    if (!*slot)
        *slot = value;
    else if (repeats)
        (*repeats)++;
}

/* By length first: most fields are none of ours. */
static void sort_field(struct head *h, struct bytes_view name, const char *value)
{
    struct http_request *r = h->r;
    const struct {
        const char *name;
        const char **slot;
        unsigned *repeats;              /* NULL: a list, or nothing hangs on it */
    } known[] = {
        {"host", &r->host, &h->repeats},
        {"content-type", &r->content_type, &h->repeats},
        {"content-length", &h->length, &h->repeats},
        {"transfer-encoding", &h->transfer_encoding, &h->repeats},
        {"authorization", &r->authorization, &h->repeats},
        {"content-encoding", &r->content_encoding, &h->repeats},
        {"origin", &r->origin, &h->repeats},
        {"sec-fetch-site", &r->sec_fetch_site, &h->repeats},
        {"access-control-request-method", &r->preflight, &h->repeats},
        {"access-control-request-private-network", &h->private_network, &h->repeats},
        {"accept", &r->accept, NULL},
        {"expect", &h->expect, NULL},
        {"idempotency-key", &r->idempotency_key, &h->repeats},
        {"prefer", &r->prefer, NULL},
        {"x-batch-validation", &r->batch_validation, &h->repeats},
        {"x-request-id", &h->request_id, NULL},
        {"traceparent", &h->traceparent, &h->traceparent_repeats},
    };

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (bytes_equal_nocase(name, bytes_view_str(known[i].name)))
            keep(known[i].slot, known[i].repeats, value);
}

/* "Content-Length : 5" reaches us with the blank in its name, and libmicrohttpd would not see a length: hence the
 * check of names. */
static enum MHD_Result on_field(void *ctx, enum MHD_ValueKind kind, const char *name, size_t name_n, const char *value,
                                size_t value_n)
{
    struct head *h = ctx;
    struct bytes_view n = bytes_view(name, name_n);

    (void)kind;
    if (!http_head_is_field(n, bytes_view(value ? value : "", value_n)))
        h->broken = true;
    sort_field(h, n, value ? value : "");
    return MHD_YES;
}

const char *http_method_name(enum http_method m)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER"};

    return names[m];
}

static enum http_method method_of(const char *name)
{
    for (enum http_method m = HTTP_GET; m < HTTP_OTHER; m++)
        if (strcmp(name, http_method_name(m)) == 0)
            return m;
    return HTTP_OTHER;
}

static bool is_sane_id(const char *s)
{
    size_t n = s ? strlen(s) : 0;

    for (size_t i = 0; i < n; i++)
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= 'a' && s[i] <= 'z') ||
              strchr("._-", s[i])))
            return false;
    return n >= 1 && n <= 64;
}

static bool read_length(struct http_request *r, const char *s)
{
    size_t n = strlen(s);

    if (n < 1 || n > 18)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        r->length = r->length * 10 + (uint64_t)(s[i] - '0');
    }
    r->has_length = true;
    return true;
}

/* Origin form, or absolute form (RFC 9112 §3.2.2: a server must take it too). "*" stays as it is and names nothing
 * here. */
static bool read_target(struct http_request *r, const char *url)
{
    struct bytes_view v = bytes_view_str(url);
    size_t scheme = bytes_starts_nocase(v, "http://") ? 7 : bytes_starts_nocase(v, "https://") ? 8 : 0;
    const char *slash;

    for (const char *p = url; *p; p++)
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7F)
            return false;
    if (scheme) {
        slash = strchr(url + scheme, '/');
        r->path = bytes_view_str(slash ? slash : "/");
        r->authority = bytes_view(url + scheme, slash ? (size_t)(slash - url) - scheme : strlen(url + scheme));
        return r->authority.n > 0;
    }
    r->path = v;
    return url[0] == '/' || strcmp(url, "*") == 0;
}

/* RFC 9110 §7.2; user information, blanks and paths have no place in it. */
static bool is_host(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s <= 0x20 || (unsigned char)*s >= 0x7F || strchr("/?#@\\", *s))
            return false;
    return true;
}

static enum outcome_code judge(struct http_request *r, const struct head *h, const char **detail_out)
{
    *detail_out = "A header field has a name or a value that RFC 9110 does not allow.";
    if (h->broken)
        return OUTCOME_INVALID_REQUEST;
    *detail_out = "A header field that has one value (Host, Authorization, Content-Type, Content-Length, "
                  "Content-Encoding, Idempotency-Key, Origin …) is given twice.";
    if (h->repeats)
        return OUTCOME_INVALID_REQUEST;
    *detail_out = "A request has either a Content-Length or a Transfer-Encoding.";
    if (h->length && h->transfer_encoding)
        return OUTCOME_INVALID_REQUEST;
    *detail_out = "HTTP/1.1 needs a valid Host header.";
    if ((!r->http10 && !r->host) || (r->host && !is_host(r->host)))
        return OUTCOME_INVALID_REQUEST;
    *detail_out = "Content-Length is not a number.";
    if (h->length && !read_length(r, h->length))
        return OUTCOME_INVALID_REQUEST;
    *detail_out = "HTTP/1.0 has no Transfer-Encoding.";
    if (h->transfer_encoding && r->http10)
        return OUTCOME_INVALID_REQUEST;
    *detail_out = "The only Transfer-Encoding understood is chunked.";
    if (h->transfer_encoding && !bytes_equal_nocase(bytes_view_str(h->transfer_encoding), bytes_view_str("chunked")))
        return OUTCOME_UNSUPPORTED_TRANSFER_ENCODING;
    r->chunked = h->transfer_encoding != NULL;
    r->expects_continue =
        !r->http10 && h->expect && bytes_equal_nocase(bytes_view_str(h->expect), bytes_view_str("100-continue"));
    return OUTCOME_SENT;
}

#define FIELD_SIZE 72                   /* libmicrohttpd's own for each header field, argument or cookie, at most */

static enum MHD_Result on_size(void *ctx, enum MHD_ValueKind kind, const char *name, size_t name_n, const char *value,
                               size_t value_n)
{
    size_t *size = ctx;

    (void)value;
    *size += FIELD_SIZE;
    if (kind == MHD_HEADER_KIND && bytes_equal_nocase(bytes_view(name, name_n), bytes_view_str("cookie")))
        *size += value_n + 1;           /* it is copied */
    return MHD_YES;
}

/* The head leaves libmicrohttpd no memory to write an answer: it would close without a word. */
static bool is_full(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    size_t size = info ? info->header_size : 0;

    if (size > HTTP_GUARD_HEADERS_MAX)
        return true;
    MHD_get_connection_values_n(c, MHD_HEADER_KIND | MHD_COOKIE_KIND | MHD_GET_ARGUMENT_KIND, on_size, &size);
    return size > HTTP_GUARD_MEMORY_MAX;
}

enum outcome_code http_guard_read(struct http_request *r, struct MHD_Connection *c, const char *method, const char *url,
                                  const char *version, size_t uri_n, const char **detail_out)
{
    struct head h = {.r = r};

    r->method = method_of(method);
    r->http10 = strcmp(version, "HTTP/1.0") == 0;
    MHD_get_connection_values_n(c, MHD_HEADER_KIND, on_field, &h);
    r->relay_argument = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "relay");
    if (is_sane_id(h.request_id))
        memcpy(r->id, h.request_id, strlen(h.request_id) + 1);
    else
        crypto_uuid7(r->id);
    r->private_network = h.private_network && strcmp(h.private_network, "true") == 0;
    traceparent_read(h.traceparent, (h.traceparent != NULL) + h.traceparent_repeats, &r->trace);
    *detail_out = "The head of the request has a control character, a line that does not end with CRLF, or a folded "
                  "line.";
    if (!http_head_is_plain(c, method, url, uri_n, version)) {
        r->path = bytes_view("", 0);
        return OUTCOME_INVALID_REQUEST;
    }
    *detail_out = "The request's target is not a path or an absolute URL.";
    if (!read_target(r, url)) {
        r->path = bytes_view("", 0);
        return OUTCOME_INVALID_REQUEST;
    }
    *detail_out = "The request's target is longer than 8,000 bytes.";
    if (uri_n > HTTP_GUARD_URI_MAX)
        return OUTCOME_URI_TOO_LONG;
    *detail_out = "The header block is larger than 12 KiB, or has more fields than there is room for.";
    if (is_full(c))
        return OUTCOME_HEADERS_TOO_LARGE;
    return judge(r, &h, detail_out);
}
