#include "api/http_crowd.h"

#include "smtp/crypto.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Counts connections by address, in a hash table with chains; an address without connections takes no memory. */

#define BUCKETS_MIN 64
#define BUCKETS_MAX 65536

struct address {
    struct address *next;
    struct http_crowd_key key;
    unsigned n;
};

struct http_crowd {
    pthread_mutex_t lock;
    unsigned limit;
    uint64_t seed;                      /* who chooses his address does not choose his chain */
    size_t mask;
    struct address *buckets[];
};

struct http_crowd *http_crowd_new(unsigned limit, size_t most)
{
    struct http_crowd *c;
    size_t n = BUCKETS_MIN;

    while (n < most && n < BUCKETS_MAX)
        n *= 2;
    c = calloc(1, sizeof(*c) + n * sizeof(struct address *));
    if (!c)
        return NULL;
    pthread_mutex_init(&c->lock, NULL);
    c->limit = limit;
    c->mask = n - 1;
    crypto_random((unsigned char *)&c->seed, sizeof(c->seed));
    return c;
}

void http_crowd_free(struct http_crowd *c)
{
    if (!c)
        return;
    for (size_t i = 0; i <= c->mask; i++) {
        for (struct address *a = c->buckets[i], *next; a; a = next) {
            next = a->next;
            free(a);
        }
    }
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void http_crowd_key(const struct sockaddr *sa, struct http_crowd_key *out)
{
    static const unsigned char mapped[12] = {[10] = 0xFF, [11] = 0xFF};

    *out = (struct http_crowd_key){.counts = false};
    if (sa->sa_family == AF_INET) {
        memcpy(out->octets, mapped, sizeof(mapped));
        memcpy(out->octets + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
        out->counts = true;
    } else if (sa->sa_family == AF_INET6) {
        const unsigned char *from = ((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr.s6_addr;
        bool is_mapped = memcmp(from, mapped, sizeof(mapped)) == 0;
        memcpy(out->octets, from, is_mapped ? 16 : 8);
        out->counts = true;
    }
}

/* splitmix64's mixer over the two halves. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static struct address **find(struct http_crowd *c, const struct http_crowd_key *key)
{
    uint64_t half[2];
    struct address **at;

    memcpy(half, key->octets, sizeof(half));
    at = &c->buckets[mix(mix(half[0] ^ c->seed) ^ half[1]) & c->mask];
    while (*at && memcmp((*at)->key.octets, key->octets, sizeof(key->octets)) != 0)
        at = &(*at)->next;
    return at;
}

bool http_crowd_enter(struct http_crowd *c, const struct http_crowd_key *key)
{
    struct address **at;
    bool ok;

    if (!key->counts)
        return true;
    pthread_mutex_lock(&c->lock);
    at = find(c, key);
    if (!*at && (*at = calloc(1, sizeof(**at))))
        (*at)->key = *key;
    ok = *at && (*at)->n < c->limit;
    if (ok)
        (*at)->n++;
    pthread_mutex_unlock(&c->lock);
    return ok;
}

void http_crowd_leave(struct http_crowd *c, const struct http_crowd_key *key)
{
    struct address **at, *a;

    if (!key->counts)
        return;
    pthread_mutex_lock(&c->lock);
    at = find(c, key);
    a = *at;
    if (!a)
        unreachable("a connection leaves that never entered");
    if (--a->n == 0) {
        *at = a->next;
        free(a);
    }
    pthread_mutex_unlock(&c->lock);
}

void http_crowd_text(const struct http_crowd_key *key, char out[64])
{
    char text[INET6_ADDRSTRLEN] = "";
    bool is_v4 = key->octets[10] == 0xFF && key->octets[11] == 0xFF;

    inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? key->octets + 12 : key->octets, text, sizeof(text));
    snprintf(out, 64, "%s%s", text, is_v4 ? "" : "/64");
}
