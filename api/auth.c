#include "api/auth.h"

#include "api/http.h"
#include "smtp/crypto.h"

#include <stdlib.h>
#include <string.h>

/* API keys, and the browser rule of API.md §1. */

struct auth {
    char *const *hosts;
    size_t n_hosts;
    size_t n_keys;
    unsigned char digests[][32];        /* equal lengths, so that comparing tells nothing of a key's length */
};

struct auth *auth_new(char *const *keys, size_t n_keys, char *const *allowed_hosts, size_t n_hosts)
{
    struct auth *a = calloc(1, sizeof(*a) + n_keys * sizeof(a->digests[0]));

    if (!a)
        return NULL;
    a->hosts = allowed_hosts;
    a->n_hosts = n_hosts;
    a->n_keys = n_keys;
    for (size_t i = 0; i < n_keys; i++) {
        const char *colon = strchr(keys[i], ':');
        crypto_sha256(bytes_view_str(colon ? colon + 1 : keys[i]), a->digests[i]);
    }
    return a;
}

void auth_free(struct auth *a)
{
    free(a);
}

bool auth_has_keys(const struct auth *a)
{
    return a->n_keys > 0;
}

enum outcome_code auth_check_key(const struct auth *a, const char *authorization)
{
    struct bytes_view token = bytes_view_str(authorization);
    unsigned char digest[32];
    bool known = false;

    if (!a->n_keys)
        return OUTCOME_SENT;
    if (!authorization || !token.n)
        return OUTCOME_MISSING_API_KEY;
    if (!bytes_starts_nocase(token, "Bearer "))
        return OUTCOME_INVALID_API_KEY;
    token = bytes_view(token.p + 7, token.n - 7);
    while (token.n && token.p[0] == ' ')
        token = bytes_view(token.p + 1, token.n - 1);
    while (token.n && token.p[token.n - 1] == ' ')
        token.n--;
    crypto_sha256(token, digest);
    for (size_t i = 0; i < a->n_keys; i++)      /* all of them: the time does not tell which one came near */
        known |= crypto_equal(bytes_view(digest, sizeof(digest)), bytes_view(a->digests[i], sizeof(a->digests[i])));
    return known && token.n ? OUTCOME_SENT : OUTCOME_INVALID_API_KEY;
}

/* "host:port" without its port; "[::1]" keeps its brackets. */
static struct bytes_view without_port(struct bytes_view host)
{
    for (size_t i = host.n; i > 0; i--) {
        char c = host.p[i - 1];
        if (c == ':')
            return bytes_view(host.p, i - 1);
        if (c < '0' || c > '9')
            break;
    }
    return host;
}

static bool is_allowed_host(const struct auth *a, struct bytes_view host)
{
    static const char *const local[] = {"localhost", "127.0.0.1", "[::1]"};
    struct bytes_view bare = without_port(host);

    for (size_t i = 0; i < ARRAY_LEN(local); i++)
        if (bytes_equal_nocase(bare, bytes_view_str(local[i])))
            return true;
    for (size_t i = 0; i < a->n_hosts; i++)
        if (bytes_equal_nocase(bare, bytes_view_str(a->hosts[i])) ||
            bytes_equal_nocase(host, bytes_view_str(a->hosts[i])))
            return true;
    return false;
}

/* A page cannot leave out Origin or Sec-Fetch-Site where its browser sends them, and a name of the attacker's that
 * resolves to 127.0.0.1 (DNS rebinding) shows in Host. */
const char *auth_check_browser(const struct auth *a, const struct http_request *r)
{
    if (a->n_keys)
        return NULL;
    if (r->origin)
        return "The request has an Origin header, so it comes from a web page, and no API keys are configured.";
    if (r->sec_fetch_site && strcmp(r->sec_fetch_site, "none") != 0 && strcmp(r->sec_fetch_site, "same-origin") != 0)
        return "Sec-Fetch-Site says that another site's web page makes the request, and no API keys are configured.";
    if ((r->host && !is_allowed_host(a, bytes_view_str(r->host))) ||
        (r->authority.n && !is_allowed_host(a, r->authority)))
        return "Host is neither this machine (localhost, 127.0.0.1, [::1]) nor in allowed_hosts, and no API keys are "
               "configured.";
    return NULL;
}
