#include "api/diagnosis.h"

#include <stdio.h>
#include <string.h>

/* What a diagnosis suggests, as a configuration that can be pasted: with all that was configured before, so that it may
 * stand in its place. */

struct setting {
    const char *name, *value, *remark;  /* remark: NULL, or a few words behind it */
};

struct walk {
    const struct diagnosis *d;
    const struct diagnosis_setup *setup;
    struct bytes_buf *out;
    void (*add)(struct walk *w, const struct setting *s);
};

bool diagnosis_has_suggestion(const struct diagnosis *d)
{
    return d->suggestion.known || d->suggestion.needs_user;
}

const char *diagnosis_why(const struct diagnosis *d)
{
    return d->suggestion.why[0] ? d->suggestion.why : "The relay wants a login, and none is configured.";
}

/* A file beside the one who starts mailhatch; nothing of the host's name can lead elsewhere. */
void diagnosis_write_ca_file(const struct diagnosis *d, struct bytes_buf *out)
{
    for (const char *c = d->suggestion.host; *c; c++)
        bytes_buf_add_char(out, *c == ':' || *c == '/' ? '_' : *c);
    bytes_buf_add_str(out, "-ca.pem");
}

/* ---- the settings, in their order ---- */

static void add(struct walk *w, const char *name, const char *value, const char *remark)
{
    if (value && *value)
        w->add(w, &(struct setting){name, value, remark});
}

static void add_url(struct walk *w)
{
    const struct diagnose_suggestion *g = &w->d->suggestion;
    bool literal = strchr(g->host, ':') != NULL;
    char url[300];

    snprintf(url, sizeof(url), "%s://%s%s%s%s:%u%s", g->tls_mode == SMTP_TLS_IMPLICIT ? "smtps" : "smtp",
             literal ? "[" : "", g->host, literal ? "]" : "", g->host_is_rooted ? "." : "", g->port,
             g->tls_mode == SMTP_TLS_NONE ? "?tls=none" : "");
    add(w, "url", url, NULL);
}

/* Never the password itself: the file that it is in, or where it stays. */
static void add_login(struct walk *w)
{
    const struct diagnosis_setup *s = w->setup;
    char remark[200];

    if (!w->d->suggestion.has_user) {
        if (w->d->suggestion.needs_user) {
            add(w, "user", "ACCOUNT", "the one at this relay,");
            add(w, "password_file", "/path/to/the/password", "and the file with its password");
        }
        return;
    }
    if (s->password_file)
        remark[0] = '\0';
    else if (s->password_from)
        snprintf(remark, sizeof(remark), "its password stays in %s", s->password_from);
    else
        snprintf(remark, sizeof(remark), "its password stays where it is: password_file or password");
    add(w, "user", w->d->user, remark[0] ? remark : NULL);
    add(w, "password_file", s->password_file, NULL);
}

static void add_trust(struct walk *w)
{
    const struct relay_config *c = w->setup->relay;
    struct bytes_buf file;

    bytes_buf_init(&file, 0);
    if (w->d->suggestion.needs_ca_file) {
        diagnosis_write_ca_file(w->d, &file);
        add(w, "ca_file", file.p, NULL);
    } else if (c) {
        add(w, "ca_file", c->ca_file, NULL);
    }
    bytes_buf_deinit(&file);
    if (!c)
        return;
    add(w, "crl_file", c->crl_file, NULL);
    add(w, "pins", c->pins, NULL);
    add(w, "ehlo_name", c->ehlo_name, NULL);
}

static void add_number(struct walk *w, const char *name, uint64_t value, const char *unit)
{
    char text[32];

    snprintf(text, sizeof(text), "%llu%s", (unsigned long long)value, unit);
    add(w, name, text, NULL);
}

/* Those that are not as by default. */
static void add_numbers(struct walk *w)
{
    const struct diagnose_suggestion *g = &w->d->suggestion;
    struct relay_config defaults;
    const struct relay_config *c = w->setup->relay ? w->setup->relay : &defaults;

    relay_config_init(&defaults);
    const struct {
        const char *name;
        uint64_t value, usual;
        const char *unit;
    } rows[] = {
        {"max_sessions", c->max_sessions, defaults.max_sessions, ""},
        {"mails_per_session", c->mails_per_session, defaults.mails_per_session, ""},
        {"min_idle", c->min_idle, defaults.min_idle, ""},
        {"loops", c->loops, defaults.loops, ""},
        {"pipeline_depth", c->pipeline_depth, defaults.pipeline_depth, ""},
        {"dns_timeout", c->dns_ms, defaults.dns_ms, "ms"},
        {"connect_timeout", c->connect_ms, defaults.connect_ms, "ms"},
        {"connect_total_timeout", c->connect_total_ms, defaults.connect_total_ms, "ms"},
        {"banner_timeout", g->banner_timeout_ms ? g->banner_timeout_ms : c->timeouts.banner, defaults.timeouts.banner,
         "ms"},
        {"tls_timeout", c->timeouts.tls, defaults.timeouts.tls, "ms"},
        {"command_timeout", c->timeouts.command, defaults.timeouts.command, "ms"},
        {"write_timeout", c->timeouts.write_stall, defaults.timeouts.write_stall, "ms"},
        {"final_reply_timeout", c->timeouts.final_reply, defaults.timeouts.final_reply, "ms"},
        {"idle_timeout", c->idle_ms, defaults.idle_ms, "ms"},
        {"lifetime", c->lifetime_ms, defaults.lifetime_ms, "ms"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].value != rows[i].usual)
            add_number(w, rows[i].name, rows[i].value, rows[i].unit);
}

static void walk(struct walk *w)
{
    add_url(w);
    add_login(w);
    add_trust(w);
    add_numbers(w);
}

/* ---- the two forms ---- */

/* In double quotes; a setting has no control characters. */
static void add_yaml(struct walk *w, const struct setting *s)
{
    bool plain = strspn(s->value, "0123456789ms") == strlen(s->value) && *s->value <= '9';

    bytes_buf_printf(w->out, "    %s: %s", s->name, plain ? "" : "\"");
    for (const char *c = s->value; *c; c++) {
        if (*c == '"' || *c == '\\')
            bytes_buf_add_char(w->out, '\\');
        bytes_buf_add_char(w->out, *c);
    }
    bytes_buf_printf(w->out, "%s%s%s\n", plain ? "" : "\"", s->remark ? "        # " : "", s->remark ? s->remark : "");
}

void diagnosis_write_yaml(const struct diagnosis *d, const struct diagnosis_setup *setup, struct bytes_buf *out)
{
    if (!diagnosis_has_suggestion(d))
        return;
    bytes_buf_printf(out, "relays:\n  %s:\n", d->relay[0] ? d->relay : "default");
    walk(&(struct walk){.d = d, .setup = setup, .out = out, .add = add_yaml});
}

/* A shell changes nothing in single quotes. */
static void add_env(struct walk *w, const struct setting *s)
{
    bytes_buf_add_str(w->out, "export MAILHATCH_RELAY_");
    for (const char *c = s->name; *c; c++)
        bytes_buf_add_char(w->out, *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c);
    bytes_buf_add_str(w->out, "='");
    for (const char *c = s->value; *c; c++) {
        if (*c == '\'')
            bytes_buf_add_str(w->out, "'\\'");
        bytes_buf_add_char(w->out, *c);
    }
    bytes_buf_printf(w->out, "'%s%s\n", s->remark ? "        # " : "", s->remark ? s->remark : "");
}

void diagnosis_write_env(const struct diagnosis *d, const struct diagnosis_setup *setup, struct bytes_buf *out)
{
    if (!diagnosis_has_suggestion(d) || (d->relay[0] && strcmp(d->relay, "default") != 0))
        return;
    walk(&(struct walk){.d = d, .setup = setup, .out = out, .add = add_env});
}
