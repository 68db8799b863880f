#include "smtp/engine.h"

#include "smtp/crypto.h"
#include "smtp/secrets.h"
#include "smtp/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A relay's settings with strings of their own, kept as long as anybody refers to them. */

/* A member that is forgotten below would not be noticed by a reload. */
_Static_assert(sizeof(void *) != 8 || sizeof(struct relay_config) == 184, "copy and compare the new member too");

static const size_t strings[] = {
    offsetof(struct relay_config, name),    offsetof(struct relay_config, host),
    offsetof(struct relay_config, user),    offsetof(struct relay_config, password),
    offsetof(struct relay_config, ca_file), offsetof(struct relay_config, ca_pem),
    offsetof(struct relay_config, crl_file), offsetof(struct relay_config, pins),
    offsetof(struct relay_config, ehlo_name), offsetof(struct relay_config, files),
};

static const char **string_at(struct relay_config *c, size_t i)
{
    return (const char **)(void *)((char *)c + strings[i]);
}

static const char *get_string(const struct relay_config *c, size_t i)
{
    return *(const char *const *)(const void *)((const char *)c + strings[i]);
}

struct relay_settings *relay_settings_new(const struct relay_config *c)
{
    struct relay_settings *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->c = *c;
    s->refs = 1;
    for (size_t i = 0; i < ARRAY_LEN(strings); i++)
        *string_at(&s->c, i) = NULL;
    s->c.secrets = NULL;
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        const char *from = get_string(c, i);
        if (!from)
            continue;
        *string_at(&s->c, i) = strdup(from);
        if (!*string_at(&s->c, i)) {
            relay_settings_unref(s);
            return NULL;
        }
    }
    s->c.secrets = secrets_new(s->c.user, s->c.password);
    if (!s->c.secrets) {
        relay_settings_unref(s);
        return NULL;
    }
    return s;
}

struct relay_settings *relay_settings_ref(struct relay_settings *s)
{
    s->refs++;
    return s;
}

void relay_settings_unref(struct relay_settings *s)
{
    if (!s || --s->refs)
        return;
    for (size_t i = 0; i < ARRAY_LEN(strings); i++)
        crypto_cleanse_free((char *)(uintptr_t)get_string(&s->c, i));
    secrets_free((struct secrets *)(uintptr_t)s->c.secrets);
    free(s);
}

static bool same_string(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_times(const struct relay_config *a, const struct relay_config *b)
{
    const struct smtp_timeouts *s = &a->timeouts, *t = &b->timeouts;

    return a->dns_ms == b->dns_ms && a->connect_ms == b->connect_ms && a->connect_total_ms == b->connect_total_ms &&
           a->one_flight_idle_ms == b->one_flight_idle_ms && a->idle_ms == b->idle_ms &&
           a->lifetime_ms == b->lifetime_ms && s->banner == t->banner && s->tls == t->tls &&
           s->command == t->command && s->write_stall == t->write_stall && s->final_reply == t->final_reply;
}

bool relay_settings_equal(const struct relay_config *a, const struct relay_config *b)
{
    for (size_t i = 0; i < ARRAY_LEN(strings); i++)
        if (!same_string(get_string(a, i), get_string(b, i)))
            return false;
    return a->host_is_rooted == b->host_is_rooted && a->port == b->port && a->tls_mode == b->tls_mode &&
           a->max_sessions == b->max_sessions && a->min_idle == b->min_idle &&
           a->pipeline_depth == b->pipeline_depth && a->trace == b->trace && a->loops == b->loops &&
           a->mails_per_session == b->mails_per_session && a->one_flight_max == b->one_flight_max &&
           a->extensions_off == b->extensions_off && same_times(a, b);
}

void relay_settings_lookup_name(const struct relay_config *c, char out[256])
{
    snprintf(out, 256, "%s%s", c->host, c->host_is_rooted ? "." : "");
}

int relay_settings_check(const struct relay_config *c, char err_out[200])
{
    const struct tls_client_params p = {.host = c->host, .ca_file = c->ca_file, .ca_pem = c->ca_pem,
                                        .crl_file = c->crl_file, .pins = c->pins};
    struct tls_context *tls = c->tls_mode == SMTP_TLS_NONE ? NULL : tls_context_new_client(&p, err_out);
    bool good = tls || c->tls_mode == SMTP_TLS_NONE;

    tls_context_free(tls);
    if (good)
        err_out[0] = '\0';
    return good ? 0 : -1;
}
