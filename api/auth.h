#ifndef API_AUTH_H
#define API_AUTH_H
/* Who may call, and how often: API keys, and the rule that keeps web pages out while there are none. */
#include "smtp/outcome.h"

struct config_key;
struct http_request;
struct auth;

/* One set of keys, hosts and origins, copied and never changed. It is counted: each hall holds the one in force, and
 * each request the one that it came under, so that nobody waits for anybody when the settings change. With `before`,
 * the rate that a name (or a nameless key) has used is still used. NULL: no memory. */
struct auth_params {
    const struct config_key *keys;
    size_t n_keys;
    char *const *allowed_hosts;
    size_t n_hosts;
    char *const *allowed_origins;
    size_t n_origins;
    const struct auth *before;          /* or NULL */
};
struct auth *auth_new(const struct auth_params *p) MUST_CHECK;          /* held once */
struct auth *auth_hold(struct auth *a);                                 /* any thread, as _release */
void auth_release(struct auth *a);
bool auth_has_keys(const struct auth *a);
/* SENT: may, by *key_out (NULL: there are no keys); else missing_api_key, invalid_api_key */
enum outcome_code auth_check_key(const struct auth *a, const char *authorization, const struct config_key **key_out);
/* Whether the request's key may send so many mails now. Notes for the answer how many it may; false: answered with
 * rate_limited. */
bool auth_take_rate(const struct auth *a, struct http_request *r, size_t mails);
/* Whether the web pages of the request's Origin are among allowed_origins. */
bool auth_allows_origin(const struct auth *a, const struct http_request *r);
/* Without keys: NULL, or a static sentence why this request is refused as forbidden. */
const char *auth_check_browser(const struct auth *a, const struct http_request *r);
/* The same for the admin listener, which has no keys and no CORS. loopback: the address it listens on, when no other
 * machine reaches that; NULL: any Host will do, as probes call a pod's address and scrapers a service's name. */
const char *auth_check_admin_browser(const struct auth *a, const struct http_request *r, const char *loopback);
#endif
