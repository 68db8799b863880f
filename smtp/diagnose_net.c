#include "smtp/diagnose_int.h"

#include "smtp/dial.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* The steps before the first octet: what is configured, what the name means, and which addresses answer. */

#define DNS_SLOW_MS 1000

_Static_assert(DIAGNOSE_ADDRESSES_MAX == RESOLVE_ADDRESSES_MAX, "diagnose.h spares its users the socket header");

/* ---- configuration ---- */

static void check_port(struct diagnose_state *s)
{
    const struct diagnosis *d = s->d;

    if (d->port == 465 && d->tls_mode != SMTP_TLS_IMPLICIT)
        diagnose_find(s, DIAGNOSE_FINDING_PORT_FOR_OTHER_MODE, true,
                      "Port 465 speaks TLS from the first byte (RFC 8314), but tls is %s here.",
                      diagnose_mode_name(d->tls_mode));
    if ((d->port == 587 || d->port == 25 || d->port == 2525) && d->tls_mode == SMTP_TLS_IMPLICIT)
        diagnose_find(s, DIAGNOSE_FINDING_PORT_FOR_OTHER_MODE, true,
                      "Port %u begins in plain text and offers STARTTLS, but tls is implicit here.", d->port);
}

bool diagnose_config(struct diagnose_state *s)
{
    const struct relay_config *c = s->p->relay;
    struct smtp_outcome o;

    if (!s->secrets) {
        outcome_set_local(&o, OUTCOME_INTERNAL_ERROR, STAGE_CONNECT, DELIVERY_NOT_SENT, "no memory");
        diagnose_fail(s, &o);
        return false;
    }
    diagnose_say(s, "%s, port %u, tls %s, %s%s.", s->d->host, s->d->port, diagnose_mode_name(s->d->tls_mode),
                 c->user ? "user " : "no user", c->user ? s->d->user : "");
    check_port(s);
    if (c->user && s->d->tls_mode == SMTP_TLS_NONE)
        diagnose_find(s, DIAGNOSE_FINDING_PLAIN_PASSWORD, true,
                      "With tls none the password would cross the network in clear text.");
    return true;
}

/* ---- DNS ---- */

static bool is_local_name(const char *host)
{
    return resolve_is_literal(host) || bytes_equal_nocase(bytes_view_str(host), bytes_view_str("localhost")) ||
           !strchr(host, '.');
}

static void judge_addresses(struct diagnose_state *s)
{
    unsigned count[4] = {0};

    for (unsigned i = 0; i < s->d->n_addresses; i++)
        count[diagnose_scope(&s->v[i])]++;
    if (count[DIAGNOSE_SCOPE_PUBLIC] && count[DIAGNOSE_SCOPE_PRIVATE])
        diagnose_find(s, DIAGNOSE_FINDING_DNS_SPLIT, true,
                      "%s has public and private addresses at once: which one is taken is a matter of luck.",
                      s->d->host);
    if ((count[DIAGNOSE_SCOPE_LOOPBACK] || count[DIAGNOSE_SCOPE_VOID]) && !is_local_name(s->d->host))
        diagnose_find(s, DIAGNOSE_FINDING_DNS_LOCAL, true,
                      "%s leads back to this machine: an entry in /etc/hosts, or a DNS filter that blocks the name.",
                      s->d->host);
    if (s->d->dns_ms >= DNS_SLOW_MS)
        diagnose_find(s, DIAGNOSE_FINDING_DNS_SLOW, true,
                      "The look-up took %u ms: one of the DNS servers this machine asks does not answer.",
                      s->d->dns_ms);
}

static void take_addresses(struct diagnose_state *s, const struct resolve_answer *a)
{
    unsigned six = 0;

    for (size_t i = 0; i < a->n; i++) {
        struct diagnose_address *to = &s->d->addresses[s->d->n_addresses];
        s->v[s->d->n_addresses++] = a->v[i];
        resolve_address_text(&a->v[i], to->text);
        to->ipv6 = diagnose_is_ipv6(&a->v[i]);
        six += to->ipv6;
    }
    s->peer = s->v[0];
    s->has_peer = true;
    diagnose_say(s, "%s has %zu IPv4 and %u IPv6 address%s (%u ms):", s->d->host, a->n - six, six,
                 a->n == 1 ? "" : "es", s->d->dns_ms);
    for (unsigned i = 0; i < s->d->n_addresses && i < 6; i++)
        diagnose_say(s, "%s%s", s->d->addresses[i].text, i + 1 == s->d->n_addresses ? "." : i == 5 ? ", …" : ",");
}

bool diagnose_dns(struct diagnose_state *s)
{
    char host[256];
    struct resolve_answer a;

    relay_settings_lookup_name(s->p->relay, host);
    if (s->p->only_address)
        snprintf(host, sizeof(host), "%s", s->p->only_address);
    diagnose_resolve(host, s->d->port, s->p->relay->dns_ms ? s->p->relay->dns_ms : 5000, &s->limits, &a);
    s->d->dns_ms = diagnose_ms(s) - s->step->began_ms;
    if (!a.ok) {
        diagnose_fail(s, &a.failure);
        diagnose_blame(s, "The address of %s cannot be found: %s.", host, a.failure.reason);
        if (a.failure.code == OUTCOME_DNS_NOT_FOUND)
            diagnose_find(s, DIAGNOSE_FINDING_DNS_EMPTY, true, "The DNS knows no address for %s.", host);
        return false;
    }
    take_addresses(s, &a);
    judge_addresses(s);
    return true;
}

/* ---- TCP ---- */

static int telling(enum outcome_code code)
{
    return code == OUTCOME_CONNECT_REFUSED       ? 3
           : code == OUTCOME_NETWORK_UNREACHABLE ? 2
           : code == OUTCOME_CONNECT_FAILED      ? 1
                                                 : 0;
}

static void take_dialed(struct diagnose_state *s, unsigned i, const struct diagnose_dialed *from, uint32_t limit_ms)
{
    struct diagnose_address *a = &s->d->addresses[i];
    const char *text = strerrordesc_np(from->error);
    char reason[200];

    a->tried = true;
    a->ms = from->ms;
    a->connected = from->fd >= 0;
    if (a->connected)
        return;
    if (from->error == ETIMEDOUT)
        snprintf(reason, sizeof(reason), "%s: no answer within %u ms", a->text, limit_ms);
    else
        snprintf(reason, sizeof(reason), "%s: %s", a->text, text ? text : "unknown error");
    outcome_set_local(&a->failure,
                      from->error == ECANCELED ? OUTCOME_DEADLINE_EXCEEDED : dial_code_of_errno(from->error),
                      STAGE_CONNECT, DELIVERY_NOT_SENT, reason);
    a->failure.ms = from->ms;
}

static void say_all(struct diagnose_state *s)
{
    if (s->d->n_addresses == 1 && !s->d->addresses[0].connected)
        return;                         /* said already */
    for (unsigned i = 0; i < s->d->n_addresses && i < 6; i++) {
        const struct diagnose_address *a = &s->d->addresses[i];
        if (a->connected)
            diagnose_say(s, "%s port %u: connected in %u ms.", a->text, s->d->port, a->ms);
        else
            diagnose_say(s, "%s.", a->failure.reason);
    }
}

/* Where other ports are worth a try: a host that answers with a refusal is there. */
static int reachable(enum outcome_code code)
{
    return code == OUTCOME_CONNECT_REFUSED ? 2 : code == OUTCOME_CONNECT_TIMEOUT ? 1 : 0;
}

/* The most telling of all failures, as a send would name it. */
static void fail_all(struct diagnose_state *s)
{
    struct smtp_outcome o = s->d->addresses[0].failure;
    enum outcome_code best = o.code;
    bool all_timed_out = true;

    for (unsigned i = 0; i < s->d->n_addresses; i++) {
        const struct smtp_outcome *f = &s->d->addresses[i].failure;
        all_timed_out &= f->code == OUTCOME_CONNECT_TIMEOUT;
        if (telling(f->code) > telling(o.code))
            o = *f;
        if (reachable(f->code) > reachable(best)) {
            best = f->code;
            s->peer = s->v[i];
        }
    }
    diagnose_fail(s, &o);
    diagnose_blame(s, "No connection to %s port %u: %s.", s->d->host, s->d->port, o.reason);
    if (all_timed_out)
        diagnose_find(s, DIAGNOSE_FINDING_PORT_FILTERED, true,
                      "Port %u of %s does not answer at all: a firewall on the way swallows the packets.", s->d->port,
                      s->d->host);
    else if (o.code == OUTCOME_CONNECT_REFUSED)
        diagnose_find(s, DIAGNOSE_FINDING_PORT_CLOSED, true, "Nothing listens on port %u of %s.", s->d->port,
                      s->d->host);
}

static void judge_families(struct diagnose_state *s)
{
    unsigned good[2] = {0}, bad[2] = {0};
    bool local = true;

    for (unsigned i = 0; i < s->d->n_addresses; i++) {
        const struct diagnose_address *a = &s->d->addresses[i];
        good[a->ipv6] += a->connected;
        bad[a->ipv6] += !a->connected;
        local &= diagnose_scope(&s->v[i]) == DIAGNOSE_SCOPE_LOOPBACK;
    }
    if (good[0] && bad[1] && !good[1])
        diagnose_find(s, DIAGNOSE_FINDING_IPV6_BROKEN, !local,
                      "IPv6 does not work to %s port %u while IPv4 does%s.", s->d->host, s->d->port,
                      local ? " (it is this machine)" : "; each new connection may lose time on it");
    else if (good[1] && bad[0] && !good[0])
        diagnose_find(s, DIAGNOSE_FINDING_IPV4_BROKEN, !local, "IPv4 does not work to %s port %u while IPv6 does.",
                      s->d->host, s->d->port);
    else if (bad[0] || bad[1])
        diagnose_find(s, DIAGNOSE_FINDING_ADDRESS_BROKEN, true, "%u of the %u addresses of %s do not answer.",
                      bad[0] + bad[1], s->d->n_addresses, s->d->host);
}

bool diagnose_tcp(struct diagnose_state *s)
{
    struct diagnose_dialed dialed[DIAGNOSE_ADDRESSES_MAX];
    uint32_t ms = s->p->relay->connect_ms ? s->p->relay->connect_ms : 5000;
    unsigned used = s->d->n_addresses;

    diagnose_dial(s->v, s->d->n_addresses, ms, &s->limits, dialed);
    for (unsigned i = 0; i < s->d->n_addresses; i++) {
        take_dialed(s, i, &dialed[i], ms);
        if (dialed[i].fd >= 0 && used == s->d->n_addresses)
            used = i;
        else if (dialed[i].fd >= 0)
            close(dialed[i].fd);
    }
    if (used == s->d->n_addresses)
        fail_all(s);
    say_all(s);
    if (used == s->d->n_addresses)
        return false;
    s->d->addresses[used].used = true;
    s->peer = s->v[used];
    snprintf(s->d->address, sizeof(s->d->address), "%s", s->d->addresses[used].text);
    s->conn.fd = dialed[used].fd;
    judge_families(s);
    return true;
}
