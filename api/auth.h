#ifndef API_AUTH_H
#define API_AUTH_H
/* Who may call: API keys, and the rule that keeps web pages out while there are none. */
#include "smtp/outcome.h"

struct http_request;
struct auth;

/* keys: "name:secret" or "secret". Only digests are kept. NULL: no memory. */
/* allowed_hosts is borrowed */
struct auth *auth_new(char *const *keys, size_t n_keys, char *const *allowed_hosts, size_t n_hosts) MUST_CHECK;
void auth_free(struct auth *a);
bool auth_has_keys(const struct auth *a);
/* SENT: may; else missing_api_key, invalid_api_key */
enum outcome_code auth_check_key(const struct auth *a, const char *authorization);
/* Without keys: NULL, or a static sentence why this request is refused as forbidden. */
const char *auth_check_browser(const struct auth *a, const struct http_request *r);
#endif
