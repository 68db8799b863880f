#ifndef API_HTTP_CROWD_H
#define API_HTTP_CROWD_H
/* How many connections each address has, for a limit. An address is an IPv4 address or an IPv6 /64, which is what one
 * customer of a network gets; a Unix socket has none and no limit. Any thread. */
#include "smtp/bytes.h"

struct http_crowd;
struct sockaddr;

struct http_crowd_key {                 /* an address; IPv4 as IPv4-mapped IPv6 */
    unsigned char octets[16];
    bool counts;                        /* false: of no address */
};

/* limit: connections of one address, at least 1; most: of all, a guess for the table's size */
struct http_crowd *http_crowd_new(unsigned limit, size_t most) MUST_CHECK;
void http_crowd_free(struct http_crowd *c);
void http_crowd_key(const struct sockaddr *sa, struct http_crowd_key *out);
bool http_crowd_enter(struct http_crowd *c, const struct http_crowd_key *key);  /* false: it has `limit` already */
void http_crowd_leave(struct http_crowd *c, const struct http_crowd_key *key);  /* once for each that entered */
void http_crowd_text(const struct http_crowd_key *key, char out[64]);           /* "192.0.2.1", "2001:db8::/64" */
#endif
