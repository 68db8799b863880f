#include "api/diagnosis.h"

#include <stdio.h>
#include <string.h>

/* What a diagnosis suggests, as a configuration that can be pasted. */

/* A file beside the one who starts mailhatch; nothing of the host's name can lead elsewhere. */
void diagnosis_write_ca_file(const struct diagnosis *d, struct bytes_buf *out)
{
    for (const char *c = d->suggestion.host; *c; c++)
        bytes_buf_add_char(out, *c == ':' || *c == '/' ? '_' : *c);
    bytes_buf_add_str(out, "-ca.pem");
}

static void add_url(const struct diagnose_suggestion *g, struct bytes_buf *out)
{
    bool literal = strchr(g->host, ':') != NULL;

    bytes_buf_printf(out, "%s://%s%s%s:%u%s", g->tls_mode == SMTP_TLS_IMPLICIT ? "smtps" : "smtp", literal ? "[" : "",
                     g->host, literal ? "]" : "", g->port, g->tls_mode == SMTP_TLS_NONE ? "?tls=none" : "");
}

/* In double quotes, as YAML and a shell read it alike; a user's name has no control characters. */
static void add_quoted(const char *text, struct bytes_buf *out)
{
    bytes_buf_add_char(out, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            bytes_buf_add_char(out, '\\');
        bytes_buf_add_char(out, *text);
    }
    bytes_buf_add_char(out, '"');
}

void diagnosis_write_yaml(const struct diagnosis *d, struct bytes_buf *out)
{
    const struct diagnose_suggestion *g = &d->suggestion;

    if (!g->known)
        return;
    bytes_buf_printf(out, "relays:\n  %s:\n    url: \"", d->relay[0] ? d->relay : "default");
    add_url(g, out);
    bytes_buf_add_str(out, "\"\n");
    if (g->has_user) {
        bytes_buf_add_str(out, "    user: ");
        add_quoted(d->user, out);
        bytes_buf_add_str(out, "        # its password stays where it is: password_file or password\n");
    } else if (g->needs_user) {
        bytes_buf_add_str(out, "    # this relay wants a login: add user and password_file\n");
    }
    if (g->needs_ca_file) {
        bytes_buf_add_str(out, "    ca_file: \"");
        diagnosis_write_ca_file(d, out);
        bytes_buf_add_str(out, "\"\n");
    }
    if (g->banner_timeout_ms)
        bytes_buf_printf(out, "    banner_timeout: %ums\n", g->banner_timeout_ms);
}

/* A shell would change these in double quotes. */
static void add_shell_quoted(const char *text, struct bytes_buf *out)
{
    bytes_buf_add_char(out, '\'');
    for (; *text; text++)
        if (*text == '\'')
            bytes_buf_add_str(out, "'\\''");
        else
            bytes_buf_add_char(out, *text);
    bytes_buf_add_char(out, '\'');
}

void diagnosis_write_env(const struct diagnosis *d, struct bytes_buf *out)
{
    const struct diagnose_suggestion *g = &d->suggestion;

    if (!g->known || (d->relay[0] && strcmp(d->relay, "default") != 0))
        return;
    bytes_buf_add_str(out, "export MAILHATCH_RELAY_URL='");
    add_url(g, out);
    bytes_buf_add_str(out, "'\n");
    if (g->has_user) {
        bytes_buf_add_str(out, "export MAILHATCH_RELAY_USER=");
        add_shell_quoted(d->user, out);
        bytes_buf_add_str(out, "        # MAILHATCH_RELAY_PASSWORD_FILE as before\n");
    }
    if (g->needs_ca_file) {
        bytes_buf_add_str(out, "export MAILHATCH_RELAY_CA_FILE='");
        diagnosis_write_ca_file(d, out);
        bytes_buf_add_str(out, "'\n");
    }
    if (g->banner_timeout_ms)
        bytes_buf_printf(out, "export MAILHATCH_RELAY_BANNER_TIMEOUT=%ums\n", g->banner_timeout_ms);
}
