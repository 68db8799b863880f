#ifndef API_RELAYS_H
#define API_RELAYS_H
/* What the endpoints about relays share. */
#include "api/http.h"

struct hall;
struct relay_settings;

struct relays_number {
    const char *name;
    uint64_t value;
};

/* The relay whose name is the path's argument, or SIZE_MAX; *out is a reference of the caller's. */
size_t relays_of_request(struct hall *h, const struct http_request *r, struct relay_settings **out);
/* By the request's key, which may be limited to some relays. */
bool relays_is_allowed(const struct http_request *r, struct bytes_view name);
void relays_answer_unknown(struct hall *h, struct http_request *r);     /* 404, with the names that there are */
void relays_add_time(struct bytes_buf *out, const char *lead, int64_t seconds);         /* RFC 3339, or null for 0 */
#endif
