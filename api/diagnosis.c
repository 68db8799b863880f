#include "api/diagnosis.h"

#include "api/catalogue.h"
#include "api/hint.h"
#include "api/json_out.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* A diagnosis as JSON. */

/* ---- pieces ---- */

static void add_bool(struct bytes_buf *out, const char *lead, bool value)
{
    bytes_buf_add_str(out, lead);
    bytes_buf_add_str(out, value ? "true" : "false");
}

static void add_number(struct bytes_buf *out, const char *lead, uint64_t value)
{
    bytes_buf_add_str(out, lead);
    json_out_uint(out, value);
}

/* A text that is empty when there is none. */
static void add_text(struct bytes_buf *out, const char *lead, const char *text)
{
    json_out_member(out, lead, text[0] ? text : NULL);
}

static void add_time(struct bytes_buf *out, const char *lead, int64_t unix_time)
{
    time_t t = (time_t)unix_time;
    struct tm tm;
    char text[32] = "";

    if (gmtime_r(&t, &tm))
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    add_text(out, lead, text);
}

static const char *code_of(const struct smtp_outcome *o)
{
    return o->code == OUTCOME_SENT ? NULL : outcome_code_name(o->code);
}

/* ---- hints ---- */

void diagnosis_write_hint(const struct diagnosis *d, const struct diagnose_step *step, struct bytes_buf *out)
{
    const struct smtp_outcome *o = &step->outcome;
    struct hint_case c = {.outcome = o, .host = d->host, .port = d->port, .provider = provider_of(d->host, o->text)};
    const char *hint;

    if (step->status != DIAGNOSE_FAIL || o->code == OUTCOME_SENT)
        return;
    c.facts = hint_facts_of_host(d->host, c.provider) | (d->user[0] ? FACT_USER : FACT_NO_USER) |
              (outcome_is_temporary(o) ? FACT_TEMPORARY : 0u) | (o->reply_code < 400 ? FACT_LOCAL : 0u);
    switch (d->tls_mode) {
    case SMTP_TLS_STARTTLS:
        c.facts |= FACT_STARTTLS;
        break;
    case SMTP_TLS_IMPLICIT:
        c.facts |= FACT_IMPLICIT;
        break;
    case SMTP_TLS_NONE:
        c.facts |= FACT_NO_TLS;
        break;
    }
    hint = hint_choose(&c);
    hint_fill(hint ? hint : catalogue_get(o->code)->hint, &c, out);
}

/* The hint knows more of the case (provider, port, login) than general advice does. */
void diagnosis_write_conclusion(const struct diagnosis *d, struct bytes_buf *out)
{
    size_t n = strlen(d->conclusion);
    struct bytes_buf hint;

    bytes_buf_init(&hint, 0);
    for (unsigned i = 0; i < d->n_steps && d->advice_at && d->advice_at < n; i++)
        if (d->steps[i].id == d->failed_at)
            diagnosis_write_hint(d, &d->steps[i], &hint);
    bytes_buf_add(out, d->conclusion, hint.n ? d->advice_at : n);
    bytes_buf_add(out, hint.p, hint.n);
    bytes_buf_deinit(&hint);
}

/* ---- steps and findings ---- */

static void add_step(struct bytes_buf *out, const struct diagnosis *d, const struct diagnose_step *s)
{
    struct bytes_buf hint;

    bytes_buf_init(&hint, 0);
    if (s->id == d->failed_at && !d->advice_at)         /* a finding, or another trial, knows better */
        bytes_buf_add_str(&hint, d->conclusion);
    else
        diagnosis_write_hint(d, s, &hint);
    json_out_member(out, "{\"step\":", diagnose_step_name(s->id));
    json_out_member(out, ",\"status\":", diagnose_status_name(s->status));
    add_number(out, ",\"ms\":", s->ms);
    json_out_member(out, ",\"code\":", code_of(&s->outcome));
    add_text(out, ",\"detail\":", s->detail);
    json_out_member(out, ",\"hint\":", hint.n ? hint.p : NULL);
    bytes_buf_add_str(out, ",\"smtp\":");
    json_out_smtp(out, &s->outcome, true);
    bytes_buf_add_char(out, '}');
    bytes_buf_deinit(&hint);
}

static void add_steps(struct bytes_buf *out, const struct diagnosis *d)
{
    bytes_buf_add_str(out, ",\"steps\":[");
    for (unsigned i = 0; i < d->n_steps; i++) {
        if (i)
            bytes_buf_add_char(out, ',');
        add_step(out, d, &d->steps[i]);
    }
    bytes_buf_add_str(out, "],\"findings\":[");
    for (unsigned i = 0; i < d->n_findings; i++) {
        const struct diagnose_finding *f = &d->findings[i];
        json_out_member(out, i ? ",{\"finding\":" : "{\"finding\":", diagnose_finding_name(f->id));
        json_out_member(out, ",\"step\":", diagnose_step_name(f->step));
        add_bool(out, ",\"warning\":", f->warning);
        json_out_member(out, ",\"text\":", f->text);
        bytes_buf_add_char(out, '}');
    }
    bytes_buf_add_char(out, ']');
}

/* ---- facts ---- */

static void add_addresses(struct bytes_buf *out, const struct diagnosis *d)
{
    bytes_buf_add_str(out, "\"addresses\":[");
    for (unsigned i = 0; i < d->n_addresses; i++) {
        const struct diagnose_address *a = &d->addresses[i];
        json_out_member(out, i ? ",{\"address\":" : "{\"address\":", a->text);
        add_bool(out, ",\"ipv6\":", a->ipv6);
        add_bool(out, ",\"tried\":", a->tried);
        add_bool(out, ",\"connected\":", a->connected);
        add_bool(out, ",\"used\":", a->used);
        add_number(out, ",\"ms\":", a->ms);
        json_out_member(out, ",\"code\":", a->tried && !a->connected ? code_of(&a->failure) : NULL);
        bytes_buf_add_char(out, '}');
    }
    bytes_buf_add_char(out, ']');
}

static void add_ehlo(struct bytes_buf *out, const char *lead, const struct diagnose_ehlo *e)
{
    bytes_buf_add_str(out, lead);
    if (!e->have) {
        bytes_buf_add_str(out, "null");
        return;
    }
    json_out_member(out, "{\"reply\":", e->reply);
    add_text(out, ",\"auth\":", e->caps.auth_list);
    add_number(out, ",\"ms\":", e->ms);
    bytes_buf_add_char(out, '}');
}

static void add_versions(struct bytes_buf *out, const struct diagnosis *d)
{
    bytes_buf_add_str(out, ",\"tls_versions\":[");
    for (size_t i = 0, n = 0; i < ARRAY_LEN(d->versions); i++) {
        const struct diagnose_version *v = &d->versions[i];
        if (!v->name || v->state == DIAGNOSE_VERSION_UNTRIED)
            continue;
        json_out_member(out, n++ ? ",{\"version\":" : "{\"version\":", v->name);
        json_out_member(out, ",\"state\":", diagnose_version_state_name(v->state));
        add_text(out, ",\"cipher\":", v->cipher);
        add_text(out, ",\"reason\":", v->reason);
        bytes_buf_add_char(out, '}');
    }
    bytes_buf_add_char(out, ']');
}

static void add_cert(struct bytes_buf *out, const struct tls_cert *c)
{
    json_out_member(out, "{\"subject\":", c->subject);
    json_out_member(out, ",\"issuer\":", c->issuer);
    bytes_buf_add_str(out, ",\"names\":[");
    for (unsigned i = 0; i < c->n_names; i++)
        json_out_member(out, i ? "," : "", c->names[i]);
    add_time(out, "],\"not_before\":", c->not_before);
    add_time(out, ",\"not_after\":", c->not_after);
    json_out_member(out, ",\"key\":", c->key);
    json_out_member(out, ",\"signature\":", c->signature);
    json_out_member(out, ",\"sha256\":", c->sha256);
    json_out_member(out, ",\"pin\":", c->pin);
    add_bool(out, ",\"self_signed\":", c->self_signed);
    add_bool(out, ",\"ca\":", c->ca);
    bytes_buf_add_char(out, '}');
}

static void add_chain(struct bytes_buf *out, const struct tls_chain *c)
{
    bytes_buf_add_str(out, ",\"certificate\":");
    if (!c->n) {
        bytes_buf_add_str(out, "null");
        return;
    }
    add_bool(out, "{\"trusted\":", c->trusted);
    add_bool(out, ",\"name_matches\":", c->name_matches);
    add_bool(out, ",\"dates_good\":", c->dates_good);
    add_text(out, ",\"missing_issuer\":", c->missing_issuer);
    add_text(out, ",\"missing_url\":", c->missing_url);
    bytes_buf_add_str(out, ",\"chain\":[");
    for (unsigned i = 0; i < c->n; i++) {
        if (i)
            bytes_buf_add_char(out, ',');
        add_cert(out, &c->v[i]);
    }
    bytes_buf_add_str(out, "]}");
}

static void add_ports(struct bytes_buf *out, const struct diagnosis *d)
{
    bytes_buf_add_str(out, ",\"ports\":[");
    for (unsigned i = 0; i < d->n_ports; i++) {
        const struct diagnose_port *p = &d->ports[i];
        add_number(out, i ? ",{\"port\":" : "{\"port\":", p->port);
        json_out_member(out, ",\"state\":", diagnose_port_state_name(p->state));
        add_number(out, ",\"ms\":", p->ms);
        add_text(out, ",\"banner\":", p->banner);
        add_bool(out, ",\"starttls\":", p->starttls);
        add_bool(out, ",\"works\":", p->works);
        json_out_member(out, ",\"tls\":", p->works ? diagnose_mode_name(p->mode) : NULL);
        add_text(out, ",\"why_not\":", p->why_not);
        bytes_buf_add_char(out, '}');
    }
    bytes_buf_add_char(out, ']');
}

static void add_facts(struct bytes_buf *out, const struct diagnosis *d)
{
    bytes_buf_add_str(out, ",\"facts\":{");
    add_addresses(out, d);
    add_text(out, ",\"address\":", d->address);
    add_text(out, ",\"banner\":", d->banner);
    add_number(out, ",\"banner_ms\":", d->banner_ms);
    add_ehlo(out, ",\"ehlo\":", &d->ehlo);
    add_ehlo(out, ",\"ehlo_tls\":", &d->ehlo_tls);
    bytes_buf_add_str(out, ",\"tls\":");
    if (d->tls_on) {
        json_out_member(out, "{\"version\":", d->tls_version);
        json_out_member(out, ",\"cipher\":", d->tls_cipher);
        add_bool(out, ",\"verified\":", d->tls_verified);
        bytes_buf_add_char(out, '}');
    } else {
        bytes_buf_add_str(out, "null");
    }
    add_versions(out, d);
    add_chain(out, &d->chain);
    add_text(out, ",\"auth\":{\"mechanism\":", d->auth_mechanism);
    add_bool(out, ",\"tried\":", d->auth_tried);
    add_bool(out, ",\"accepted\":", d->auth_ok);
    bytes_buf_add_char(out, '}');
    add_ports(out, d);
    bytes_buf_add_char(out, '}');
}

/* ---- the report ---- */

static void add_buf(struct bytes_buf *out, const char *lead, struct bytes_buf *text)
{
    json_out_member(out, lead, text->n ? text->p : NULL);
    bytes_buf_deinit(text);
    bytes_buf_init(text, 0);
}

static void add_suggestion(struct bytes_buf *out, const struct diagnosis *d, const struct diagnosis_setup *setup)
{
    const struct diagnose_suggestion *g = &d->suggestion;
    struct bytes_buf text;

    bytes_buf_add_str(out, ",\"suggested_config\":");
    if (!diagnosis_has_suggestion(d)) {
        bytes_buf_add_str(out, "null");
        return;
    }
    add_bool(out, "{\"changed\":", g->changed || g->needs_user);
    add_bool(out, ",\"login_checked\":", g->login_checked);
    json_out_member(out, ",\"why\":", diagnosis_why(d));
    bytes_buf_init(&text, 0);
    diagnosis_write_yaml(d, setup, &text);
    add_buf(out, ",\"yaml\":", &text);
    diagnosis_write_env(d, setup, &text);
    add_buf(out, ",\"env\":", &text);
    if (g->needs_ca_file) {
        diagnosis_write_ca_file(d, &text);
        add_buf(out, ",\"ca_file\":", &text);
        json_out_member(out, ",\"ca_pem\":", d->chain.anchor_pem);
        json_out_member(out, ",\"ca_sha256\":", g->anchor_sha256);
    }
    bytes_buf_deinit(&text);
    bytes_buf_add_char(out, '}');
}

void diagnosis_write(const struct diagnosis *d, const struct diagnosis_setup *setup, struct bytes_buf *out)
{
    struct bytes_buf text;

    json_out_member(out, "{\"relay\":", d->relay);
    json_out_member(out, ",\"host\":", d->host);
    add_number(out, ",\"port\":", d->port);
    json_out_member(out, ",\"tls_mode\":", diagnose_mode_name(d->tls_mode));
    add_text(out, ",\"user\":", d->user);
    add_time(out, ",\"started_at\":", d->started_at);
    add_number(out, ",\"total_ms\":", d->total_ms);
    add_bool(out, ",\"ok\":", d->ok);
    json_out_member(out, ",\"failed_at\":", d->ok || d->failed_at == DIAGNOSE_STEP_COUNT
                    ? NULL : diagnose_step_name(d->failed_at));
    json_out_member(out, ",\"code\":", d->ok ? NULL : code_of(&d->outcome));
    bytes_buf_init(&text, 0);
    diagnosis_write_conclusion(d, &text);
    add_buf(out, ",\"conclusion\":", &text);
    bytes_buf_deinit(&text);
    add_suggestion(out, d, setup);
    add_steps(out, d);
    add_facts(out, d);
    bytes_buf_add_char(out, '}');
}

void diagnosis_add_differences(struct bytes_buf *report, const char *lines)
{
    bool any = false;

    if (report->failed || !report->n)
        return;
    report->n--;                        /* the closing brace */
    bytes_buf_add_str(report, ",\"differences\":[");
    for (size_t n; *lines; lines += n + (lines[n] == '\n')) {
        n = strcspn(lines, "\n");
        if (any)
            bytes_buf_add_char(report, ',');
        json_out_string(report, bytes_view(lines, n));
        any = true;
    }
    bytes_buf_add_str(report, "]}");
}
