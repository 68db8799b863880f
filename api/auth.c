#include "api/auth.h"

#include "api/answer.h"
#include "api/http.h"
#include "api/rate.h"
#include "service/config.h"
#include "smtp/crypto.h"
#include "smtp/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* API keys and their rates, and the browser rule. */

struct auth {
    char *const *hosts;
    size_t n_hosts;
    const struct config_key *keys;
    size_t n_keys;
    _Atomic uint64_t *buckets;          /* one a key; keys of one name share the first one's */
};

struct auth *auth_new(const struct config_key *keys, size_t n_keys, char *const *allowed_hosts, size_t n_hosts)
{
    struct auth *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    *a = (struct auth){.hosts = allowed_hosts, .n_hosts = n_hosts, .keys = keys, .n_keys = n_keys};
    a->buckets = calloc(n_keys + 1, sizeof(*a->buckets));
    if (a->buckets)
        return a;
    free(a);
    return NULL;
}

void auth_free(struct auth *a)
{
    if (a)
        free(a->buckets);
    free(a);
}

bool auth_has_keys(const struct auth *a)
{
    return a->n_keys > 0;
}

/* Digests have equal lengths, so comparing tells nothing of a key's length. */
enum outcome_code auth_check_key(const struct auth *a, const char *authorization, const struct config_key **key_out)
{
    struct bytes_view token = bytes_view_str(authorization);
    unsigned char digest[32];

    *key_out = NULL;
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
        if (crypto_equal(bytes_view(digest, sizeof(digest)), bytes_view(a->keys[i].digest, sizeof(digest))))
            *key_out = &a->keys[i];
    return *key_out && token.n ? OUTCOME_SENT : OUTCOME_INVALID_API_KEY;
}

/* A rotation does not double what a name may send. */
static _Atomic uint64_t *bucket_of(const struct auth *a, const struct config_key *k)
{
    for (size_t i = 0; *k->name && i < a->n_keys; i++)
        if (strcmp(a->keys[i].name, k->name) == 0)
            return &a->buckets[i];
    return &a->buckets[k - a->keys];
}

/* The fields of draft-ietf-httpapi-ratelimit-headers-10. */
bool auth_take_rate(const struct auth *a, struct http_request *r, size_t mails)
{
    const struct config_key *k = r->key;
    struct rate_verdict v;
    char detail[200];

    if (!k || !k->rate)
        return true;
    rate_take(bucket_of(a, k), (struct rate_limit){k->rate, k->rate_ms}, (unsigned)mails, clock_us(), &v);
    snprintf(r->rate_policy, sizeof(r->rate_policy), "\"mails\";q=%u;w=%u", k->rate, (unsigned)(k->rate_ms / 1000));
    snprintf(r->rate, sizeof(r->rate), "\"mails\";r=%u;t=%u", v.left, (unsigned)v.full_s);
    if (v.ok)
        return true;
    if (v.retry_s)
        snprintf(detail, sizeof(detail), "The key may send %u mails in %u s, and has sent them.", k->rate,
                 (unsigned)(k->rate_ms / 1000));
    else
        snprintf(detail, sizeof(detail), "The batch has %zu mails, and the key may send %u in %u s: send smaller ones.",
                 mails, k->rate, (unsigned)(k->rate_ms / 1000));
    answer_rate_limited(r, v.retry_s ? v.retry_s : v.full_s, detail);
    return false;
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
    if (r->client && *r->client)
        return NULL;                    /* it called by a name of our certificate, so there is no rebinding */
    if ((r->host && !is_allowed_host(a, bytes_view_str(r->host))) ||
        (r->authority.n && !is_allowed_host(a, r->authority)))
        return "Host is neither this machine (localhost, 127.0.0.1, [::1]) nor in allowed_hosts, and no API keys are "
               "configured.";
    return NULL;
}
