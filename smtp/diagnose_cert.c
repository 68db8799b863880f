#include "smtp/diagnose_int.h"

#include "smtp/secrets.h"

#include <stdio.h>
#include <time.h>

/* What a certificate chain tells: who signed it, for whom, until when, and who may be standing in between. */

#define DAY 86400
#define EXPIRES_SOON_DAYS 21

/* Names in issuers of products that read TLS. Only looked at when the chain is not trusted: some of these companies
 * have had public authorities too. */
static const struct {
    const char *word, *product;
} products[] = {
    {"fortinet", "Fortinet"},
    {"fortigate", "Fortinet FortiGate"},
    {"zscaler", "Zscaler"},
    {"palo alto", "Palo Alto Networks"},
    {"paloalto", "Palo Alto Networks"},
    {"globalprotect", "Palo Alto GlobalProtect"},
    {"sophos", "Sophos"},
    {"blue coat", "Blue Coat / Symantec ProxySG"},
    {"bluecoat", "Blue Coat / Symantec ProxySG"},
    {"proxysg", "Blue Coat / Symantec ProxySG"},
    {"symantec", "Symantec"},
    {"cisco umbrella", "Cisco Umbrella"},
    {"opendns", "Cisco Umbrella"},
    {"ironport", "Cisco IronPort"},
    {"netskope", "Netskope"},
    {"avast", "Avast Mail Shield"},
    {"avg technologies", "AVG"},
    {"avg web/mail shield", "AVG Mail Shield"},
    {"kaspersky", "Kaspersky"},
    {"eset ssl filter", "ESET"},
    {"eset, spol", "ESET"},
    {"bitdefender", "Bitdefender"},
    {"norton", "Norton"},
    {"mcafee", "McAfee"},
    {"skyhigh", "Skyhigh"},
    {"check point", "Check Point"},
    {"checkpoint", "Check Point"},
    {"sonicwall", "SonicWall"},
    {"watchguard", "WatchGuard"},
    {"forcepoint", "Forcepoint"},
    {"websense", "Forcepoint / Websense"},
    {"barracuda", "Barracuda"},
    {"smoothwall", "Smoothwall"},
    {"untangle", "Untangle"},
    {"securly", "Securly"},
    {"lightspeed", "Lightspeed"},
    {"cloudflare gateway", "Cloudflare Gateway"},
    {"gateway ca - cloudflare", "Cloudflare Gateway"},
    {"mitmproxy", "mitmproxy"},
    {"portswigger", "Burp (PortSwigger)"},
    {"charles proxy", "Charles Proxy"},
    {"fiddler", "Fiddler"},
    {"squid", "Squid"},
};

static bool contains_nocase(const char *text, const char *word)
{
    size_t n = strlen(word), text_n = strlen(text);

    for (size_t i = 0; i + n <= text_n; i++)
        if (bytes_equal_nocase(bytes_view(text + i, n), bytes_view(word, n)))
            return true;
    return false;
}

static const char *product_of(const struct tls_chain *c)
{
    for (unsigned i = 0; i < c->n; i++)
        for (size_t k = 0; k < ARRAY_LEN(products); k++)
            if (contains_nocase(c->v[i].issuer, products[k].word))
                return products[k].product;
    return NULL;
}

/* ---- the dates ---- */

static void date_text(int64_t t, char out[32])
{
    time_t at = (time_t)t;
    struct tm tm;

    if (!gmtime_r(&at, &tm) || !strftime(out, 32, "%Y-%m-%d %H:%M UTC", &tm))
        snprintf(out, 32, "an unreadable date");
}

static void span_text(int64_t seconds, char out[32])
{
    if (seconds >= 2 * DAY)
        snprintf(out, 32, "%lld days", (long long)(seconds / DAY));
    else if (seconds >= 7200)
        snprintf(out, 32, "%lld hours", (long long)(seconds / 3600));
    else
        snprintf(out, 32, "%lld minutes", (long long)(seconds / 60));
}

static void judge_dates(struct diagnose_state *s, const struct tls_chain *c)
{
    char span[32], now[32];
    unsigned early = 0, late = 0;

    date_text(c->now, now);
    for (unsigned i = 0; i < c->n; i++) {
        early += c->now < c->v[i].not_before;
        late += c->now > c->v[i].not_after;
    }
    if (early) {
        span_text(c->v[0].not_before - c->now, span);
        diagnose_find(s, DIAGNOSE_FINDING_CLOCK_WRONG, true,
                      "This machine's clock says %s, which is %s before the certificate begins: either the clock is "
                      "slow or the certificate was put in place too early.", now, span);
    } else if (late && late == c->n && c->n > 1) {
        diagnose_find(s, DIAGNOSE_FINDING_CLOCK_WRONG, true,
                      "This machine's clock says %s, and every certificate of the chain has expired by then: the "
                      "clock is probably fast.", now);
    } else if (late) {
        span_text(c->now - c->v[0].not_after, span);
        diagnose_say(s, "By this machine's clock (%s) that was %s ago.", now, span);
    } else if (s->d->tls_verified && c->v[0].not_after - c->now < (int64_t)EXPIRES_SOON_DAYS * DAY) {
        span_text(c->v[0].not_after - c->now, span);
        diagnose_find(s, DIAGNOSE_FINDING_CERT_EXPIRES_SOON, true, "The certificate expires in %s.", span);
    }
}

/* ---- who signed it ---- */

static void judge_trust(struct diagnose_state *s, const struct tls_chain *c)
{
    const char *product = product_of(c);
    const struct tls_cert *leaf = &c->v[0];

    if (product)
        diagnose_find(s, DIAGNOSE_FINDING_INTERCEPTION_PRODUCT, true,
                      "The certificate was issued by %s (\"%.120s\"): a product that reads TLS stands between this "
                      "machine and %s.", product, leaf->issuer, s->d->host);
    if (leaf->self_signed)
        diagnose_find(s, DIAGNOSE_FINDING_CERT_SELF_SIGNED, true,
                      "The certificate of %s port %u is self-signed: nothing but itself vouches for it.", s->d->host,
                      s->d->port);
    if (!product && c->missing_issuer[0] && !leaf->self_signed &&
        (c->missing_url[0] || c->sent == 1 || s->p->relay->ca_file))
        diagnose_find(s, DIAGNOSE_FINDING_INTERMEDIATE_MISSING, true,
                      "The relay sent %u certificate%s; the one of their issuer \"%.140s\" is missing%s%.100s%s.",
                      c->sent,
                      c->sent == 1 ? "" : "s", c->missing_issuer, c->missing_url[0] ? " (it is at " : "",
                      c->missing_url,
                      c->missing_url[0] ? ")" : "");
    if (!product && !leaf->self_signed && c->name_matches && !resolve_is_literal(s->d->host))
        diagnose_find(s, DIAGNOSE_FINDING_INTERCEPTION_LIKELY, true,
                      "It is for exactly this name and signed by \"%.120s\", which is not trusted here: a firewall or "
                      "proxy that reads TLS, or a private authority of the relay's own.", leaf->issuer);
    if (!leaf->self_signed && c->anchor_pem[0])
        diagnose_find(s, DIAGNOSE_FINDING_CERT_PRIVATE_CA, true,
                      "The chain ends in an authority that is not public: \"%.140s\".",
                      c->v[c->n - 1].subject);
}

static void say_names(struct diagnose_state *s, const struct tls_cert *leaf)
{
    struct bytes_buf b;

    bytes_buf_init(&b, 260);
    for (unsigned i = 0; i < leaf->n_names && !b.failed; i++)
        bytes_buf_printf(&b, "%s%.100s", i ? ", " : "", leaf->names[i]);
    diagnose_say(s, "It is for %s%s, not for %s.", b.n ? b.p : "no name at all (a common name does not count)",
                 b.failed || leaf->names_cut ? " and others" : "", s->d->host);
    bytes_buf_deinit(&b);
}

/* A certificate's words are the peer's, too. */
static void hide_secrets(const struct secrets *secrets, struct tls_chain *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        secrets_mask_str(secrets, c->v[i].subject);
        secrets_mask_str(secrets, c->v[i].issuer);
        for (unsigned k = 0; k < c->v[i].n_names; k++)
            secrets_mask_str(secrets, c->v[i].names[k]);
    }
    secrets_mask_str(secrets, c->missing_issuer);
    secrets_mask_str(secrets, c->missing_url);
}

bool diagnose_certificate(struct diagnose_state *s)
{
    struct tls_chain *c = &s->d->chain;
    char until[32];

    tls_get_chain(s->conn.tls, c);
    hide_secrets(s->secrets, c);
    if (!c->n) {
        diagnose_say(s, "The relay sent no certificate.");
        return s->d->tls_verified;
    }
    date_text(c->v[0].not_after, until);
    diagnose_say(s, "\"%.100s\", issued by \"%.100s\", until %s, %s, %s; %u sent.", c->v[0].subject, c->v[0].issuer,
                 until,
                 c->v[0].key, c->v[0].signature, c->sent);
    if (!tls_get_verdict(s->conn.tls, &s->verdict)) {
        secrets_mask_str(s->secrets, s->verdict.reason);
        diagnose_fail(s, &s->verdict);
        diagnose_blame(s, "%s.", s->verdict.reason);
    } else {
        diagnose_say(s, "It is trusted and for %s.", s->d->host);
    }
    judge_dates(s, c);
    if (!c->trusted)
        judge_trust(s, c);
    if (!c->name_matches && s->verdict.code != OUTCOME_TLS_CERT_NAME_MISMATCH)
        say_names(s, &c->v[0]);
    return s->d->tls_verified;
}
