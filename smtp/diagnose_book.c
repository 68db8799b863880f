#include "smtp/diagnose_int.h"

#include <stdarg.h>
#include <stdio.h>

/* The book of a diagnosis: its steps as they begin and end, and what was found. */

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

/* A text that was cut must not end in the middle of a character. */
static void trim(char *text)
{
    size_t n = strlen(text);

    for (int i = 0; i < 3 && n && !bytes_is_utf8(bytes_view(text, n)); i++)
        text[--n] = '\0';
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

/* A server's words end as they like; ours go on in a new sentence. */
static bool ends_a_sentence(const char *text, size_t n)
{
    return !n || strchr(".,:;!?", text[n - 1]) != NULL;
}

static void add_sentence(char *text, size_t cap, const char *more)
{
    size_t n = strlen(text);

    snprintf(text + n, cap - n, "%s%s%s", ends_a_sentence(text, n) ? "" : ".", n ? " " : "", more);
    trim(text);
}

void diagnose_say(struct diagnose_state *s, const char *fmt, ...)
{
    char more[600];
    va_list args;

    va_start(args, fmt);
    vsnprintf(more, sizeof(more), fmt, args);
    va_end(args);
    add_sentence(s->step->detail, sizeof(s->step->detail), more);
}

void diagnose_blame(struct diagnose_state *s, const char *fmt, ...)
{
    char more[sizeof(s->cause) - 2];
    va_list args;

    va_start(args, fmt);
    vsnprintf(more, sizeof(more), fmt, args);
    va_end(args);
    trim(more);
    add_sentence(s->step->detail, sizeof(s->step->detail), more);
    if (s->d->failed_at == s->step->id && !s->cause[0])
        snprintf(s->cause, sizeof(s->cause), "%s%s", more, ends_a_sentence(more, strlen(more)) ? "" : ".");
}

void diagnose_warn(struct diagnose_state *s)
{
    if (s->step->status == DIAGNOSE_RUNNING)
        s->step->status = DIAGNOSE_WARN;
}

static void fail_run(struct diagnose_state *s, const struct smtp_outcome *why)
{
    s->step->outcome = *why;
    if (s->d->outcome.code == OUTCOME_SENT) {
        s->d->outcome = *why;
        s->d->failed_at = s->step->id;
        s->d->ok = false;
    }
}

void diagnose_fail(struct diagnose_state *s, const struct smtp_outcome *why)
{
    s->step->status = DIAGNOSE_FAIL;
    fail_run(s, why);
}

void diagnose_pass_failed(struct diagnose_state *s, const struct smtp_outcome *why)
{
    s->step->status = DIAGNOSE_SKIPPED;
    fail_run(s, why);
}

void diagnose_end(struct diagnose_state *s)
{
    if (s->step->status == DIAGNOSE_RUNNING)
        s->step->status = DIAGNOSE_OK;
    s->step->ms = diagnose_ms(s) - s->step->began_ms;
    tell(s);
    s->step = NULL;
}

void diagnose_pass(struct diagnose_state *s, const char *why)
{
    s->step->status = DIAGNOSE_SKIPPED;
    diagnose_say(s, "%s", why);
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
    trim(f->text);
    diagnose_say(s, "%s", f->text);
    if (warning)
        diagnose_warn(s);
}

/* ---- text ---- */

bool diagnose_clean(char *out, size_t cap, struct bytes_view text, bool keep_lf)
{
    bool utf8 = bytes_is_utf8(text), cut = text.n >= cap;
    size_t n = cut ? cap - 1 : text.n;

    /* Not in the middle of a character. */
    while (cut && utf8 && n && ((unsigned char)text.p[n] & 0xC0) == 0x80)
        n--;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool bad = c == 0x7F || (c > 0x7F && !utf8) || (c < 0x20 && !(keep_lf && c == '\n'));
        out[i] = bad ? (c == '\n' || c == '\r' ? ' ' : '?') : text.p[i];
    }
    out[n] = '\0';
    return cut;
}

const char *diagnose_mode_name(enum smtp_tls_mode mode)
{
    switch (mode) {
    case SMTP_TLS_STARTTLS:
        return "starttls";
    case SMTP_TLS_IMPLICIT:
        return "implicit";
    case SMTP_TLS_NONE:
        return "none";
    }
    unreachable("a TLS mode without a name");
}
