#include "service/reload.h"

#include "service/config_key.h"
#include "service/config_relay.h"
#include "service/log.h"
#include "service/notify.h"
#include "service/service.h"
#include "service/startup.h"
#include "smtp/watch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A new configuration is read and judged whole before anything of it counts; then relays and limits change, and what
 * cannot change is named. */

struct reload {
    struct reload_params p;
    struct config *now;                 /* in force; `start` until the first reload */
    struct watch *watch;                /* of files with secrets */
    bool stopped;
};

static int watch_files(struct reload *r);
static void on_changed(void *ctx, unsigned group);

struct reload *reload_new(const struct reload_params *p)
{
    struct reload *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->p = *p;
    r->now = p->start;
    r->watch = watch_new(p->loop, on_changed, r);
    if (r->watch && watch_files(r) == 0)
        return r;
    watch_free(r->watch);
    free(r);
    return NULL;
}

void reload_free(struct reload *r)
{
    if (!r)
        return;
    watch_free(r->watch);
    if (r->now != r->p.start)
        config_free(r->now);
    free(r);
}

void reload_stop(struct reload *r)
{
    r->stopped = true;
    watch_stop(r->watch);
}

const struct config *reload_config(const struct reload *r)
{
    return r->now;
}

/* ---- what changed ---- */

/* Names of the options, with commas between, that differ and are (or are not) changed by a reload. */
static void list_changes(const struct config *a, const struct config *b, bool restart, char out[512])
{
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; i < option_top.n; i++) {
        const struct option_row *row = &option_top.rows[i];
        if (((row->flags & OPTION_RESTART) != 0) != restart || option_is_equal(row, a, b))
            continue;
        snprintf(out + n, 512 - n, "%s%s", n ? "," : "", row->name);
        n = strlen(out);
    }
}

struct key_changes {
    char added[512], removed[512], changed[512];
};

/* Whether there are any. */
static bool list_keys(const struct config *before, const struct config *after, struct key_changes *out)
{
    config_keys_list(after, before, false, out->added);
    config_keys_list(before, after, false, out->removed);
    config_keys_list(after, before, true, out->changed);
    return out->added[0] || out->removed[0] || out->changed[0];
}

static void tell(const struct reload *r, const struct config *c, const struct service_changes *changes)
{
    char settings[512], restart[512];
    struct key_changes keys;
    bool any = list_keys(r->now, c, &keys) || changes->n;

    list_changes(r->now, c, false, settings);
    list_changes(r->p.start, c, true, restart);
    log_event(LOG_INFO_LEVEL, "reload", any || settings[0] ? "settings reloaded" : "reloaded; nothing changed",
              LOG_S("relays_added", changes->added), LOG_S("relays_removed", changes->removed),
              LOG_S("relays_changed", changes->changed), LOG_IF("keys_added", keys.added),
              LOG_IF("keys_removed", keys.removed), LOG_IF("keys_changed", keys.changed), LOG_S("settings", settings));
    if (restart[0])
        log_event(LOG_WARN_LEVEL, "reload", "these settings changed too, and take a restart",
                  LOG_S("settings", restart));
}

static void refuse(const char *why)
{
    log_event(LOG_ERROR_LEVEL, "reload", "the new configuration is refused; the running one stays", LOG_S("why", why));
}

/* One line of the log for each mistake. */
static void tell_mistakes(struct bytes_buf *text, enum log_level level, const char *event, const char *msg)
{
    for (char *p = text->n ? text->p : NULL, *end; p && *p; p = end + 1) {
        end = strchr(p, '\n');
        if (!end)
            break;
        *end = '\0';
        log_event(level, event, msg, LOG_S("why", p));
    }
}

/* ---- the whole ---- */

/* NULL: mistakes, which are told. Warnings stay in errors. */
static struct config *load(const struct reload *r, struct config_errors *errors)
{
    struct config *c;

    if (config_load(r->p.argc, r->p.argv, &c, errors) != 0) {
        tell_mistakes(&errors->text, LOG_ERROR_LEVEL, "reload", "a mistake in the new configuration");
        refuse("see the lines before");
        return NULL;
    }
    if (c->sandbox == (r->p.sandbox != NULL) && (!r->p.sandbox || startup_add_sandbox(c, r->p.sandbox) == 0))
        return c;
    refuse(c->sandbox == (r->p.sandbox != NULL) ? "no memory" : "sandbox cannot be changed without a restart");
    config_free(c);
    return NULL;
}

/* True: c is in force. */
static bool take(struct reload *r, struct config *c, struct config_errors *errors)
{
    struct service_changes changes;
    char err[200];

    if (r->p.may_take(r->p.ctx, c, err) != 0 || service_reload(r->p.service, c, &changes, err) != 0) {
        refuse(err);
        return false;
    }
    if (r->p.take_keys(r->p.ctx, c) != 0)
        log_event(LOG_ERROR_LEVEL, "reload", "the keys before stay in force",
                  LOG_S("why", "no memory"));
    startup_log(c, false, &errors->warnings);
    tell(r, c, &changes);
    if (r->now != r->p.start)
        config_free(r->now);
    else
        config_drop_relays(r->p.start);
    r->now = c;
    if (watch_files(r) != 0)
        log_event(LOG_ERROR_LEVEL, "reload", "files with secrets are not looked at until the next reload",
                  LOG_S("why", "no memory"));
    return true;
}

/* sd_notify(3): the manager waits for READY=1 of whoever said RELOADING=1 when. */
static void notify_reloading(void)
{
    char text[80];

    snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_us());
    notify_send(text);
}

void reload_run(struct reload *r)
{
    struct config_errors errors;
    struct config *c;

    if (r->stopped) {
        log_event(LOG_INFO_LEVEL, "reload", "not any more: it is stopping", LOG_S("signal", "HUP"));
        return;
    }
    notify_reloading();
    config_errors_init(&errors);
    c = load(r, &errors);
    if (c && !take(r, c, &errors))
        config_free(c);
    config_errors_deinit(&errors);
    notify_send("READY=1");
}

/* ---- files with secrets ---- */

static void tell_secret(const struct config_relay *r, const char *file)
{
    log_event(LOG_INFO_LEVEL, "secrets", "a file changed, and what it says now is in force", LOG_S("relay", r->name),
              LOG_S("file", file));
}

static void tell_kept(const struct config_relay *r, const char *file, const char *why)
{
    log_event(LOG_WARN_LEVEL, "secrets", "a file changed and cannot be used; what it said before stays in force",
              LOG_S("relay", r->name), LOG_S("file", file), LOG_S("why", why));
}

static void look_at_password(struct reload *r, struct config_relay *relay)
{
    struct service_changes changes;
    struct config_errors errors;
    char err[200];

    config_errors_init(&errors);
    if (config_relay_refresh_password(relay, &errors)) {
        if (service_reload(r->p.service, r->now, &changes, err) == 0)
            tell_secret(relay, relay->password_file);
        else
            tell_kept(relay, relay->password_file, err);
    }
    tell_mistakes(&errors.text, LOG_WARN_LEVEL, "secrets",
                  "a file changed and cannot be used; what it said before stays in force");
    config_errors_deinit(&errors);
}

static void look_at_trust(struct reload *r, struct config_relay *relay)
{
    char *before = strdup(relay->files), err[200];
    const char *file = relay->ca_file ? relay->ca_file : relay->crl_file;
    struct service_changes changes;

    if (before && config_relay_refresh_files(relay)) {
        if (service_reload(r->p.service, r->now, &changes, err) == 0) {
            tell_secret(relay, file);
        } else {
            config_relay_keep_files(relay, before);
            tell_kept(relay, file, err);
        }
    }
    free(before);
}

static void look_at_keys(struct reload *r)
{
    struct config *c = r->now, before = {.keys = NULL};
    struct config_errors errors;
    struct key_changes keys;

    config_errors_init(&errors);
    if (config_keys_refresh(c, &before.keys, &before.n_keys, &errors)) {
        if (r->p.take_keys(r->p.ctx, c) != 0)
            log_event(LOG_ERROR_LEVEL, "secrets", "the keys before stay in force",
                      LOG_S("why", "no memory"));
        else if (list_keys(&before, c, &keys))
            log_event(LOG_INFO_LEVEL, "secrets", "a file with API keys changed, and what it says now is in force",
                      LOG_IF("keys_added", keys.added), LOG_IF("keys_removed", keys.removed),
                      LOG_IF("keys_changed", keys.changed));
        config_keys_free(before.keys, before.n_keys);
    }
    tell_mistakes(&errors.text, LOG_WARN_LEVEL, "secrets",
                  "a file with API keys changed and cannot be used; the keys before stay in force");
    config_errors_deinit(&errors);
}

/* Groups of files: keys, the API's certificate, then two of each relay. */
enum { GROUP_KEYS, GROUP_TLS, GROUP_RELAYS };

static size_t list_files(const struct reload *r, struct watch_file *out)
{
    const struct config *c = r->now, *start = r->p.start;       /* the listener keeps the names of its start */
    const char *const tls[] = {start->tls_cert_file, start->tls_key_file, start->client_ca_file};
    size_t n = 0;

    if (c->uses_keys_file)
        out[n++] = (struct watch_file){c->api_keys_file, GROUP_KEYS};
    for (size_t i = 0; i < c->n_keys; i++)
        if (c->keys[i].secret_file)
            out[n++] = (struct watch_file){c->keys[i].secret_file, GROUP_KEYS};
    for (size_t i = 0; i < ARRAY_LEN(tls); i++)
        out[n++] = (struct watch_file){tls[i], GROUP_TLS};
    for (size_t i = 0; i < c->n_relays; i++) {
        const struct config_relay *relay = &c->relays[i];
        unsigned group = GROUP_RELAYS + 2 * (unsigned)i;
        out[n++] = (struct watch_file){relay->password_stamp[0] ? relay->password_file : NULL, group};
        out[n++] = (struct watch_file){relay->ca_file, group + 1};
        out[n++] = (struct watch_file){relay->crl_file, group + 1};
    }
    return n;
}

static int watch_files(struct reload *r)
{
    struct watch_file *files = calloc(1 + r->now->n_keys + 3 + 3 * r->now->n_relays, sizeof(*files));
    int rc = files ? watch_set(r->watch, files, list_files(r, files)) : -1;

    free(files);
    return rc;
}

static void on_changed(void *ctx, unsigned group)
{
    struct reload *r = ctx;
    struct config_relay *relay;

    if (group == GROUP_KEYS) {
        look_at_keys(r);
    } else if (group == GROUP_TLS) {
        r->p.look_at_tls(r->p.ctx);
    } else {
        relay = &r->now->relays[(group - GROUP_RELAYS) / 2];
        if ((group - GROUP_RELAYS) % 2 == 0)
            look_at_password(r, relay);
        else
            look_at_trust(r, relay);
    }
}
