#include "api/diagnosis.h"

#include <cjson/cJSON.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A saved report of a diagnosis, read back for comparison. Whoever can give us the file can give us any text: what does
 * not fit is cut, what is missing is as if it had not been found. */

static const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

static void copy(char *out, size_t cap, const cJSON *text)
{
    snprintf(out, cap, "%s", cJSON_IsString(text) ? text->valuestring : "");
    for (char *c = out; *c; c++)        /* it goes to a terminal */
        if ((unsigned char)*c < ' ' && *c != '\n')
            *c = '?';
}

#define COPY(out, object, name) copy((out), sizeof(out), member((object), (name)))

static bool is_true(const cJSON *object, const char *name)
{
    return cJSON_IsTrue(member(object, name));
}

static unsigned number(const cJSON *object, const char *name)
{
    const cJSON *n = member(object, name);

    return cJSON_IsNumber(n) && n->valuedouble > 0 && n->valuedouble < INT_MAX ? (unsigned)n->valuedouble : 0;
}

static void read_addresses(const cJSON *list, struct diagnosis *d)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, list)
    {
        struct diagnose_address *a = &d->addresses[d->n_addresses];
        if (d->n_addresses == DIAGNOSE_ADDRESSES_MAX)
            return;
        COPY(a->text, item, "address");
        a->ipv6 = is_true(item, "ipv6");
        a->tried = is_true(item, "tried");
        a->connected = is_true(item, "connected");
        a->used = is_true(item, "used");
        d->n_addresses++;
    }
}

static void read_ehlo(const cJSON *object, struct diagnose_ehlo *e)
{
    e->have = cJSON_IsObject(object);
    COPY(e->reply, object, "reply");
    COPY(e->caps.auth_list, object, "auth");
}

static void read_versions(const cJSON *list, struct diagnosis *d)
{
    static const char *const names[] = {"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"};
    const cJSON *item;
    char name[16], state[16];

    cJSON_ArrayForEach(item, list)
    {
        COPY(name, item, "version");
        COPY(state, item, "state");
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            if (strcmp(names[i], name) != 0)
                continue;
            d->versions[i].name = names[i];
            for (int s = DIAGNOSE_VERSION_UNTRIED; s <= DIAGNOSE_VERSION_UNKNOWN; s++)
                if (strcmp(diagnose_version_state_name((enum diagnose_version_state)s), state) == 0)
                    d->versions[i].state = (enum diagnose_version_state)s;
        }
    }
}

static void read_chain(const cJSON *object, struct tls_chain *c)
{
    const cJSON *item;

    c->trusted = is_true(object, "trusted");
    c->name_matches = is_true(object, "name_matches");
    c->dates_good = is_true(object, "dates_good");
    COPY(c->missing_issuer, object, "missing_issuer");
    cJSON_ArrayForEach(item, member(object, "chain"))
    {
        struct tls_cert *cert = &c->v[c->n];
        if (c->n == TLS_CHAIN_MAX)
            return;
        COPY(cert->subject, item, "subject");
        COPY(cert->issuer, item, "issuer");
        COPY(cert->sha256, item, "sha256");
        COPY(cert->key, item, "key");
        c->n++;
    }
    c->sent = c->n;
}

static void read_ports(const cJSON *list, struct diagnosis *d)
{
    const cJSON *item;
    char state[16];

    cJSON_ArrayForEach(item, list)
    {
        struct diagnose_port *p = &d->ports[d->n_ports];
        if (d->n_ports == ARRAY_LEN(d->ports))
            return;
        p->port = (uint16_t)number(item, "port");
        COPY(state, item, "state");
        for (int s = DIAGNOSE_PORT_UNTRIED; s <= DIAGNOSE_PORT_FAILED; s++)
            if (strcmp(diagnose_port_state_name((enum diagnose_port_state)s), state) == 0)
                p->state = (enum diagnose_port_state)s;
        d->n_ports++;
    }
}

static void read_findings(const cJSON *list, struct diagnosis *d)
{
    const cJSON *item;
    char name[64];

    cJSON_ArrayForEach(item, list)
    {
        COPY(name, item, "finding");
        for (int id = 0; id < DIAGNOSE_FINDING_COUNT; id++) {
            struct diagnose_finding *f = &d->findings[d->n_findings];
            if (strcmp(diagnose_finding_name((enum diagnose_finding_id)id), name) != 0)
                continue;
            if (d->n_findings == ARRAY_LEN(d->findings))
                return;
            f->id = (enum diagnose_finding_id)id;
            f->warning = is_true(item, "warning");
            COPY(f->text, item, "text");
            d->n_findings++;
            break;
        }
    }
}

static void read_facts(const cJSON *facts, struct diagnosis *d)
{
    const cJSON *tls = member(facts, "tls"), *auth = member(facts, "auth");

    read_addresses(member(facts, "addresses"), d);
    COPY(d->address, facts, "address");
    COPY(d->banner, facts, "banner");
    read_ehlo(member(facts, "ehlo"), &d->ehlo);
    read_ehlo(member(facts, "ehlo_tls"), &d->ehlo_tls);
    d->tls_on = cJSON_IsObject(tls);
    d->tls_verified = is_true(tls, "verified");
    COPY(d->tls_version, tls, "version");
    COPY(d->tls_cipher, tls, "cipher");
    read_versions(member(facts, "tls_versions"), d);
    read_chain(member(facts, "certificate"), &d->chain);
    COPY(d->auth_mechanism, auth, "mechanism");
    d->auth_tried = is_true(auth, "tried");
    d->auth_ok = is_true(auth, "accepted");
    read_ports(member(facts, "ports"), d);
}

int diagnosis_read(char *json, size_t n, struct diagnosis *d, const char **why_out)
{
    cJSON *root = cJSON_ParseWithLength(json, n);
    const cJSON *facts = member(root, "facts");
    char code[64];

    memset(d, 0, sizeof(*d));
    free(json);
    *why_out = !root ? "it is no JSON" : "it is no report of \"mailhatch diagnose --json\"";
    if (!cJSON_IsObject(facts) || !cJSON_IsString(member(root, "conclusion"))) {
        cJSON_Delete(root);
        return -1;
    }
    COPY(d->relay, root, "relay");
    COPY(d->host, root, "host");
    COPY(d->conclusion, root, "conclusion");
    COPY(code, root, "code");
    d->port = (uint16_t)number(root, "port");
    d->ok = is_true(root, "ok");
    if (!outcome_code_from_name(code, &d->outcome.code))
        d->outcome.code = OUTCOME_SENT;
    read_findings(member(root, "findings"), d);
    read_facts(facts, d);
    cJSON_Delete(root);
    return 0;
}
