#include "api/auth.h"

#include "api/answer.h"
#include "api/http.h"
#include "api/rate.h"
#include "service/config.h"
#include "smtp/crypto.h"
#include "smtp/idn.h"
#include "smtp/loop.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* API keys and their rates, and the browser rule. */

/* What a name has used of its rate; sets of keys share it, the one before and the one after. */
struct bucket {
    atomic_uint refs;
    _Atomic uint64_t level;
};

struct auth {
    atomic_uint refs;
    struct config_words hosts, origins;
    struct config_key *keys;
    size_t n_keys;
    struct bucket **buckets;            /* one a key; keys of one name share it, so that a rotation does not double
                                         * what a name may send */
};

/* ---- sets ---- */

static void bucket_release(struct bucket *b)
{
    if (b && atomic_fetch_sub(&b->refs, 1) == 1)
        free(b);
}

static bool is_same_caller(const struct config_key *a, const struct config_key *b)
{
    return *a->name ? strcmp(a->name, b->name) == 0
                    : !*b->name && memcmp(a->digest, b->digest, sizeof(a->digest)) == 0;
}

static struct bucket *find_bucket(const struct auth *a, size_t n, const struct config_key *k)
{
    for (size_t i = 0; i < n; i++)
        if (is_same_caller(&a->keys[i], k))
            return a->buckets[i];
    return NULL;
}

static struct bucket *bucket_of(const struct auth *a, size_t i, const struct auth *before)
{
    struct bucket *b = find_bucket(a, i, &a->keys[i]);

    if (!b && before)
        b = find_bucket(before, before->n_keys, &a->keys[i]);
    if (b)
        atomic_fetch_add(&b->refs, 1);
    else if ((b = calloc(1, sizeof(*b))))
        atomic_init(&b->refs, 1);
    return b;
}

static bool copy_list(char *const *from, size_t n, struct config_words *to)
{
    to->v = calloc(n + 1, sizeof(*to->v));
    for (; to->v && to->n < n; to->n++)
        if (!(to->v[to->n] = strdup(from[to->n])))
            return false;
    return to->v != NULL;
}

static void free_list(struct config_words *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->v[i]);
    free(w->v);
}

static bool fill(struct auth *a, const struct auth_params *p)
{
    a->keys = config_keys_copy(p->keys, p->n_keys);
    a->buckets = calloc(p->n_keys + 1, sizeof(struct bucket *));
    if (!a->keys || !a->buckets || !copy_list(p->allowed_hosts, p->n_hosts, &a->hosts) ||
        !copy_list(p->allowed_origins, p->n_origins, &a->origins))
        return false;
    for (a->n_keys = 0; a->n_keys < p->n_keys; a->n_keys++)
        if (!(a->buckets[a->n_keys] = bucket_of(a, a->n_keys, p->before)))
            break;
    return a->n_keys == p->n_keys;
}

static void auth_free(struct auth *a, size_t n_keys)
{
    for (size_t i = 0; i < a->n_keys; i++)
        bucket_release(a->buckets[i]);
    config_keys_free(a->keys, a->keys ? n_keys : 0);
    free(a->buckets);
    free_list(&a->hosts);
    free_list(&a->origins);
    free(a);
}

struct auth *auth_new(const struct auth_params *p)
{
    struct auth *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    atomic_init(&a->refs, 1);
    if (fill(a, p))
        return a;
    auth_free(a, p->n_keys);
    return NULL;
}

struct auth *auth_hold(struct auth *a)
{
    atomic_fetch_add(&a->refs, 1);
    return a;
}

void auth_release(struct auth *a)
{
    if (a && atomic_fetch_sub(&a->refs, 1) == 1)
        auth_free(a, a->n_keys);
}

/* ---- keys ---- */

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

/* The fields of draft-ietf-httpapi-ratelimit-headers-10. */
bool auth_take_rate(const struct auth *a, struct http_request *r, size_t mails)
{
    const struct config_key *k = r->key;
    struct rate_verdict v;
    char detail[200];

    if (!k || !k->rate)
        return true;
    rate_take(&a->buckets[k - a->keys]->level, (struct rate_limit){k->rate, k->rate_ms}, (unsigned)mails, clock_us(),
              &v);
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

/* ---- web pages ---- */

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

    bare.n -= idn_root_dot(bare);       /* http://localhost.:8587/ */

    for (size_t i = 0; i < ARRAY_LEN(local); i++)
        if (bytes_equal_nocase(bare, bytes_view_str(local[i])))
            return true;
    for (size_t i = 0; i < a->hosts.n; i++)
        if (bytes_equal_nocase(bare, bytes_view_str(a->hosts.v[i])) ||
            bytes_equal_nocase(host, bytes_view_str(a->hosts.v[i])))
            return true;
    return false;
}

/* RFC 6454 §6.2: scheme, host and port, as the browser writes them. */
bool auth_allows_origin(const struct auth *a, const struct http_request *r)
{
    for (size_t i = 0; r->origin && i < a->origins.n; i++)
        if (bytes_equal_nocase(bytes_view_str(r->origin), bytes_view_str(a->origins.v[i])))
            return true;
    return false;
}

/* A page cannot leave out Origin or Sec-Fetch-Site where its browser sends them. */
static bool is_from_other_site(const struct http_request *r)
{
    return r->sec_fetch_site && strcmp(r->sec_fetch_site, "none") != 0 && strcmp(r->sec_fetch_site, "same-origin") != 0;
}

/* A name of the attacker's that resolves to 127.0.0.1 (DNS rebinding) shows in Host. */
static bool has_foreign_host(const struct auth *a, const struct http_request *r)
{
    return (r->host && !is_allowed_host(a, bytes_view_str(r->host))) ||
           (r->authority.n && !is_allowed_host(a, r->authority));
}

const char *auth_check_browser(const struct auth *a, const struct http_request *r)
{
    if (a->n_keys)
        return NULL;
    if (r->origin && !r->cors)
        return "The request has an Origin header, so it comes from a web page, and no API keys are configured.";
    if (!r->cors && is_from_other_site(r))
        return "Sec-Fetch-Site says that another site's web page makes the request, and no API keys are configured.";
    if (r->client && *r->client)
        return NULL;                    /* it called by a name of our certificate, so there is no rebinding */
    if (has_foreign_host(a, r))
        return "Host is neither this machine (localhost, 127.0.0.1, [::1]) nor in allowed_hosts, and no API keys are "
               "configured.";
    return NULL;
}

static bool is_own_host(struct bytes_view host, const char *own)
{
    return bytes_equal_nocase(without_port(host), without_port(bytes_view_str(own)));
}

const char *auth_check_admin_browser(const struct auth *a, const struct http_request *r, const char *loopback)
{
    if (r->origin)
        return "The request has an Origin header, so it comes from a web page.";
    if (is_from_other_site(r))
        return "Sec-Fetch-Site says that another site's web page makes the request.";
    if (!loopback || !has_foreign_host(a, r) ||
        (r->host && is_own_host(bytes_view_str(r->host), loopback) &&
         (!r->authority.n || is_own_host(r->authority, loopback))))
        return NULL;
    return "Host is neither this machine (localhost, 127.0.0.1, [::1]) nor in allowed_hosts.";
}
