#include "api/diagnosis.h"

#include <stdio.h>
#include <string.h>

/* What two diagnoses of a relay found differently: production against test, or now against a minute ago. */

struct comparison {
    const struct diagnosis *there, *here;
    const char *there_name, *here_name;
    struct bytes_buf *out;
    unsigned n;
};

/* ---- one difference ---- */

static void differ(struct comparison *c, const char *what, const char *there, const char *here, const char *means)
{
    bytes_buf_printf(c->out, "%s: %s: %s / %s: %s%s%s\n", what, c->there_name, there[0] ? there : "none", c->here_name,
                     here[0] ? here : "none", means ? ". " : "", means ? means : "");
    c->n++;
}

static void compare_text(struct comparison *c, const char *what, const char *there, const char *here, const char *means)
{
    if (strcmp(there, here) != 0)
        differ(c, what, there, here, means);
}

/* Greetings carry dates, counters and ids: another number is no other server. */
static bool is_same_greeting(const char *a, const char *b)
{
    while (*a || *b) {
        size_t na = strspn(a, "0123456789"), nb = strspn(b, "0123456789");
        if ((na > 0) != (nb > 0) || (!na && *a != *b))
            return false;
        a += na ? na : 1;
        b += nb ? nb : 1;
    }
    return true;
}

static void compare_greeting(struct comparison *c)
{
    const char *there = c->there->banner, *here = c->here->banner;
    char slow[2][16];

    if (there[0] && here[0] && !is_same_greeting(there, here))
        differ(c, "banner", there, here, "Another server answers, or something on the way writes it anew.");
    else if (!there[0] != !here[0])
        differ(c, "banner", there, here, NULL);
    if (c->here->banner_ms < 2000 || c->here->banner_ms / 4 < c->there->banner_ms)
        return;
    snprintf(slow[0], sizeof(slow[0]), "%u ms", c->there->banner_ms);
    snprintf(slow[1], sizeof(slow[1]), "%u ms", c->here->banner_ms);
    differ(c, "time of the greeting", slow[0], slow[1],
           "The relay looks up this machine's address, or waits before it greets a stranger.");
}

/* ---- result ---- */

static const char *result(const struct diagnosis *d)
{
    return d->ok ? "works" : outcome_code_name(d->outcome.code);
}

/* ---- network ---- */

static void join_addresses(const struct diagnosis *d, struct bytes_buf *out)
{
    for (unsigned i = 0; i < d->n_addresses; i++)
        bytes_buf_printf(out, "%s%s", i ? " " : "", d->addresses[i].text);
}

static void compare_addresses(struct comparison *c)
{
    struct bytes_buf there, here;

    bytes_buf_init(&there, 0);
    bytes_buf_init(&here, 0);
    join_addresses(c->there, &there);
    join_addresses(c->here, &here);
    compare_text(c, "addresses", there.p ? there.p : "", here.p ? here.p : "",
                 "The name leads to different servers, or a proxy stands here.");
    bytes_buf_deinit(&there);
    bytes_buf_deinit(&here);
}

static const struct diagnose_port *port_of(const struct diagnosis *d, uint16_t port)
{
    for (unsigned i = 0; i < d->n_ports; i++)
        if (d->ports[i].port == port)
            return &d->ports[i];
    return NULL;
}

/* Only ports that both have tried. */
static void compare_ports(struct comparison *c)
{
    char what[20];

    for (unsigned i = 0; i < c->here->n_ports; i++) {
        const struct diagnose_port *here = &c->here->ports[i], *there = port_of(c->there, here->port);
        if (!there || there->state == DIAGNOSE_PORT_UNTRIED || here->state == DIAGNOSE_PORT_UNTRIED)
            continue;
        snprintf(what, sizeof(what), "port %u", here->port);
        compare_text(c, what, diagnose_port_state_name(there->state), diagnose_port_state_name(here->state),
                     here->state == DIAGNOSE_PORT_FILTERED ? "A firewall here swallows it." : NULL);
    }
}

/* ---- EHLO ---- */

static bool has_line(const char *reply, struct bytes_view line)
{
    for (const char *at = reply; *at; at += strcspn(at, "\n"), at += *at == '\n')
        if (bytes_equal_nocase(bytes_view(at, strcspn(at, "\n")), line))
            return true;
    return false;
}

/* The first line greets and differs from server to server. */
static void add_missing(struct comparison *c, const char *what, const char *has, const char *lacks, const char *who,
                        const char *means)
{
    const char *at = has + strcspn(has, "\n");

    for (at += *at == '\n'; *at; at += strcspn(at, "\n"), at += *at == '\n') {
        struct bytes_view line = bytes_view(at, strcspn(at, "\n"));
        if (has_line(lacks, line) || bytes_starts_nocase(line, "AUTH ") || bytes_starts_nocase(line, "AUTH="))
            continue;                   /* AUTH is compared by itself */
        bytes_buf_printf(c->out, "%s: only %s: %.*s%s%s\n", what, who, (int)line.n, line.p,
                         means && bytes_equal_nocase(line, bytes_view_str("STARTTLS")) ? ". " : "",
                         means && bytes_equal_nocase(line, bytes_view_str("STARTTLS")) ? means : "");
        c->n++;
    }
}

static void compare_ehlo(struct comparison *c, const char *what, const struct diagnose_ehlo *there,
                         const struct diagnose_ehlo *here)
{
    if (!there->have || !here->have)
        return;                         /* the result says why */
    add_missing(c, what, there->reply, here->reply, c->there_name, "Something on the way removes it here.");
    add_missing(c, what, here->reply, there->reply, c->here_name, NULL);
}

static void compare_auth(struct comparison *c)
{
    const struct diagnosis *there = c->there, *here = c->here;

    if (there->ehlo.have && here->ehlo.have)
        compare_text(c, "AUTH before TLS", there->ehlo.caps.auth_list, here->ehlo.caps.auth_list, NULL);
    if (there->ehlo_tls.have && here->ehlo_tls.have)
        compare_text(c, "AUTH", there->ehlo_tls.caps.auth_list, here->ehlo_tls.caps.auth_list,
                     "The relay offers other mechanisms to this network, or it is another relay.");
}

/* ---- TLS ---- */

static void compare_versions(struct comparison *c)
{
    char what[40];

    for (size_t i = 0; i < ARRAY_LEN(c->here->versions); i++) {
        const struct diagnose_version *there = &c->there->versions[i], *here = &c->here->versions[i];
        if (!there->name || !here->name || there->state == here->state || there->state == DIAGNOSE_VERSION_UNTRIED ||
            here->state == DIAGNOSE_VERSION_UNTRIED)
            continue;
        snprintf(what, sizeof(what), "%s", here->name);
        differ(c, what, diagnose_version_state_name(there->state), diagnose_version_state_name(here->state), NULL);
    }
}

static void compare_chain(struct comparison *c)
{
    const struct tls_chain *there = &c->there->chain, *here = &c->here->chain;

    if (!there->n || !here->n)
        return;
    compare_text(c, "certificate's issuer", there->v[0].issuer, here->v[0].issuer,
                 here->trusted ? NULL : "Here somebody else stands behind the port: an inspecting proxy, most likely.");
    compare_text(c, "certificate's subject", there->v[0].subject, here->v[0].subject, NULL);
    if (strcmp(there->v[0].issuer, here->v[0].issuer) == 0)
        compare_text(c, "certificate's fingerprint", there->v[0].sha256, here->v[0].sha256,
                     "The same authority made another one: a renewal, or another server.");
    if (there->trusted != here->trusted)
        differ(c, "authority", there->trusted ? "trusted" : "not trusted", here->trusted ? "trusted" : "not trusted",
               strcmp(there->v[0].sha256, here->v[0].sha256) == 0 && !here->trusted
               ? "It is the same certificate: this machine lacks the authority (ca-certificates, ca_file)." : NULL);
    if (there->dates_good != here->dates_good)
        differ(c, "dates", there->dates_good ? "good" : "not good", here->dates_good ? "good" : "not good",
               strcmp(there->v[0].sha256, here->v[0].sha256) == 0 ? "It is the same certificate: compare the clocks."
               : NULL);
}

/* ---- findings ---- */

static void add_findings(struct comparison *c, const struct diagnosis *has, const struct diagnosis *lacks,
                         const char *who)
{
    for (unsigned i = 0; i < has->n_findings; i++) {
        const struct diagnose_finding *f = &has->findings[i];
        if (!f->warning || diagnose_has(lacks, f->id))
            continue;
        bytes_buf_printf(c->out, "only %s: %s\n", who, f->text);
        c->n++;
    }
}

unsigned diagnosis_compare(const struct diagnosis *there, const struct diagnosis *here, const char *there_name,
                           const char *here_name, struct bytes_buf *out)
{
    struct comparison c = {there, here, there_name, here_name, out, 0};

    compare_text(&c, "result", result(there), result(here), NULL);
    compare_text(&c, "host", there->host, here->host, NULL);
    if (there->port != here->port) {
        char ports[2][8];
        snprintf(ports[0], sizeof(ports[0]), "%u", there->port);
        snprintf(ports[1], sizeof(ports[1]), "%u", here->port);
        differ(&c, "port", ports[0], ports[1], NULL);
    }
    compare_addresses(&c);
    compare_greeting(&c);
    compare_ehlo(&c, "EHLO", &there->ehlo, &here->ehlo);
    compare_ehlo(&c, "EHLO under TLS", &there->ehlo_tls, &here->ehlo_tls);
    compare_auth(&c);
    compare_text(&c, "TLS", there->tls_version, here->tls_version, NULL);
    compare_text(&c, "cipher", there->tls_cipher, here->tls_cipher, NULL);
    compare_versions(&c);
    compare_chain(&c);
    if (there->auth_tried && here->auth_tried && there->auth_ok != here->auth_ok)
        differ(&c, "login", there->auth_ok ? "accepted" : "refused", here->auth_ok ? "accepted" : "refused", NULL);
    compare_ports(&c);
    add_findings(&c, there, here, there_name);
    add_findings(&c, here, there, here_name);
    return c.n;
}
