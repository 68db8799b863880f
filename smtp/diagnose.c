#include "smtp/diagnose_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

/* A diagnosis from its first step to its conclusion: the order of the steps, and the book that is kept of them. */

/* ---- names ---- */

const char *diagnose_step_name(enum diagnose_step_id id)
{
    static const char *const names[] = {
#define X(symbol, name) [DIAGNOSE_STEP_##symbol] = name,
        DIAGNOSE_STEPS(X)
#undef X
    };

    return names[id];
}

const char *diagnose_finding_name(enum diagnose_finding_id id)
{
    static const char *const names[] = {
#define X(symbol, name) [DIAGNOSE_FINDING_##symbol] = name,
        DIAGNOSE_FINDINGS(X)
#undef X
    };

    return names[id];
}

const char *diagnose_status_name(enum diagnose_status s)
{
    static const char *const names[] = {"running", "ok", "warn", "fail", "skipped"};

    return names[s];
}

const char *diagnose_port_state_name(enum diagnose_port_state s)
{
    static const char *const names[] = {"untried", "smtp", "tls", "silent", "other", "refused", "filtered", "failed"};

    return names[s];
}

const char *diagnose_version_state_name(enum diagnose_version_state s)
{
    static const char *const names[] = {"untried", "taken", "refused", "unknown"};

    return names[s];
}

bool diagnose_has(const struct diagnosis *d, enum diagnose_finding_id id)
{
    for (unsigned i = 0; i < d->n_findings; i++)
        if (d->findings[i].id == id)
            return true;
    return false;
}

/* ---- the book ---- */

uint32_t diagnose_ms(const struct diagnose_state *s)
{
    return (uint32_t)((clock_us() - s->began_us) / 1000);
}

static void tell(struct diagnose_state *s)
{
    if (s->p->on_step)
        s->p->on_step(s->p->ctx, s->d, (unsigned)(s->step - s->d->steps));
}

void diagnose_begin(struct diagnose_state *s, enum diagnose_step_id id)
{
    if (s->step || s->d->n_steps == DIAGNOSE_STEP_COUNT)
        unreachable("two steps of a diagnosis at once");
    s->step = &s->d->steps[s->d->n_steps++];
    s->step->id = id;
    s->step->began_ms = diagnose_ms(s);
    tell(s);
}

void diagnose_say(struct diagnose_state *s, const char *fmt, ...)
{
    char *detail = s->step->detail;
    size_t at = strlen(detail), cap = sizeof(s->step->detail);
    va_list args;

    if (at && at + 1 < cap) {
        detail[at++] = ' ';
        detail[at] = '\0';
    }
    va_start(args, fmt);
    vsnprintf(detail + at, cap - at, fmt, args);
    va_end(args);
}

void diagnose_warn(struct diagnose_state *s)
{
    if (s->step->status != DIAGNOSE_FAIL)
        s->step->status = DIAGNOSE_WARN;
}

void diagnose_fail(struct diagnose_state *s, const struct smtp_outcome *why)
{
    s->step->status = DIAGNOSE_FAIL;
    s->step->outcome = *why;
    if (s->d->outcome.code == OUTCOME_SENT) {
        s->d->outcome = *why;
        s->d->failed_at = s->step->id;
        s->d->ok = false;
    }
}

void diagnose_end(struct diagnose_state *s)
{
    if (s->step->status == DIAGNOSE_RUNNING)
        s->step->status = DIAGNOSE_OK;
    s->step->ms = diagnose_ms(s) - s->step->began_ms;
    tell(s);
    s->step = NULL;
}

void diagnose_skip(struct diagnose_state *s, enum diagnose_step_id id, const char *why)
{
    s->step = &s->d->steps[s->d->n_steps++];
    s->step->id = id;
    s->step->status = DIAGNOSE_SKIPPED;
    s->step->began_ms = diagnose_ms(s);
    snprintf(s->step->detail, sizeof(s->step->detail), "%s", why);
    tell(s);
    s->step = NULL;
}

void diagnose_find(struct diagnose_state *s, enum diagnose_finding_id id, bool warning, const char *fmt, ...)
{
    struct diagnose_finding *f = &s->d->findings[s->d->n_findings];
    va_list args;

    if (diagnose_has(s->d, id))
        return;
    s->d->n_findings++;
    f->id = id;
    f->step = s->step->id;
    f->warning = warning;
    va_start(args, fmt);
    vsnprintf(f->text, sizeof(f->text), fmt, args);
    va_end(args);
    if (warning)
        diagnose_warn(s);
}

/* ---- the run ---- */

static void copy_config(struct diagnosis *d, const struct relay_config *c)
{
    snprintf(d->relay, sizeof(d->relay), "%s", c->name ? c->name : "");
    snprintf(d->host, sizeof(d->host), "%s", c->host);
    snprintf(d->user, sizeof(d->user), "%s", c->user ? c->user : "");
    d->port = c->port;
    d->tls_mode = c->tls_mode;
}

void diagnose_run(const struct diagnose_params *p, struct diagnosis *d)
{
    struct diagnose_state s = {.p = p, .d = d, .began_us = clock_us()};

    memset(d, 0, sizeof(*d));
    d->ok = true;
    d->started_at = (int64_t)time(NULL);
    copy_config(d, p->relay);
    diagnose_begin(&s, DIAGNOSE_STEP_CONFIG);
    diagnose_say(&s, "%s port %u.", d->host, d->port);
    diagnose_end(&s);
    d->total_ms = diagnose_ms(&s);
}
