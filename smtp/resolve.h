#ifndef SMTP_RESOLVE_H
#define SMTP_RESOLVE_H
/* A/AAAA look-ups (getaddrinfo) on threads of their own: up to 16 names at once, each at most once, so a name that
 * hangs holds up nobody else. Answers are kept 60 s, failures 1 s, 256 names at the most; threads end after 5 s without
 * work. Where a look-up fails, or takes more than a second, the addresses of the last one that was good are given
 * instead, for up to 24 hours (RFC 8767), unless the answer is that there is no such name. */
#include "smtp/loop.h"
#include "smtp/outcome.h"

#include <sys/socket.h>

#define RESOLVE_ADDRESSES_MAX 16

struct resolver;

struct resolve_address {
    struct sockaddr_storage addr;       /* port filled in */
    socklen_t len;
};

struct resolve_answer {
    struct loop_msg msg;                /* the mailbox's business */
    void (*on_answer)(void *ctx,
                      struct resolve_answer *a);     /* on the asker's loop; then resolve.c frees the answer */
    void *ctx;
    bool ok;
    struct smtp_outcome failure;        /* !ok: dns_not_found, dns_failed (stage dns) */
    uint32_t age_s;                     /* ok: addresses of so long ago, as no name server answers; 0: one does */
    size_t n;
    struct resolve_address v[RESOLVE_ADDRESSES_MAX];    /* interleaved by family,
        RFC 8305 §4; first as the system sorts */
};

struct resolver *resolver_new(void) MUST_CHECK;
/* Unanswered askers get no answer, and no look-up is waited for: its thread ends when it is done. */
void resolver_free(struct resolver *r);
/* Any thread. on_answer always comes later, through the loop's mailbox, exactly once (IP literals and cached names
 * too).
 * The asker keeps ctx alive until then. 0, or -1 without memory (no answer will come). */
int resolver_lookup(struct resolver *r, const char *host, uint16_t port, struct loop *loop,
                    void (*on_answer)(void *, struct resolve_answer *), void *ctx);
/* The same question asked on the caller's own thread, which blocks for as long as the system's resolver likes: for
 * threads that may. *a: ok, failure, n and v. */
void resolve_now(const char *host, uint16_t port, struct resolve_answer *a);
bool resolve_is_literal(const char *host);                      /* "192.0.2.1", "::1", "[::1]" */
void resolve_set_port(struct resolve_address *a, uint16_t port);
void resolve_address_text(const struct resolve_address *a, char out[64]);                       /* "192.0.2.10" */
#endif
