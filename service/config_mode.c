#include "service/config_mode.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Looks at the modes of files that hold secrets. */

static bool is_our_group(gid_t gid)
{
    gid_t groups[256];
    int n = getgroups((int)ARRAY_LEN(groups), groups);

    for (int i = 0; i < n; i++)
        if (groups[i] == gid)
            return true;
    return gid == getegid();
}

static void warn_mode(const char *where, const char *path, struct config_errors *e)
{
    struct stat st;
    bool others, group;

    if (!path || stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return;
    others = st.st_mode & S_IROTH;
    group = st.st_mode & S_IRGRP && (st.st_uid == geteuid() || !is_our_group(st.st_gid));     /* else we need it */
    if (others || group)
        option_warn(e, where, "%s holds a secret, and %s can read it (mode %04o): chmod 600 %s", path,
                    others ? "every user of this machine" : "its whole group", (unsigned)st.st_mode & 07777, path);
}

static bool is_from_yaml(const struct option_table *t, const char *name, const struct option_source *sources)
{
    return option_rank_of(t, name, sources) == OPTION_FROM_FILE;
}

/* A digest of 256 random bits is none. */
static bool has_plain_key(const struct config *c)
{
    for (size_t i = 0; i < c->n_api_keys; i++)
        if (!strstr(c->api_keys[i], "sha256:"))
            return true;
    return false;
}

static bool holds_secret(const struct config *c)
{
    if (is_from_yaml(&option_top, "api_keys", c->sources) && has_plain_key(c))
        return true;
    for (size_t i = 0; i < c->n_relays; i++) {
        const struct option_source *sources = c->relays[i].sources;
        enum option_rank rank = option_rank_of(&option_relay, "password", sources);
        if (rank == OPTION_FROM_FILE ||
            (rank == OPTION_FROM_URL && is_from_yaml(&option_relay, "url", sources)))
            return true;
    }
    return false;
}

void config_warn_modes(const struct config *c, const char *config_path, struct config_errors *e)
{
    char where[100];

    if (holds_secret(c))
        warn_mode("configuration", config_path, e);
    for (size_t i = 0; i < c->n_relays; i++) {
        snprintf(where, sizeof(where), "relay %s: password_file", c->relays[i].name);
        warn_mode(where, c->relays[i].password_file, e);
    }
    if (c->uses_keys_file)
        warn_mode("api_keys_file", c->api_keys_file, e);
    for (size_t i = 0; i < c->n_keys; i++)
        warn_mode("secret_file", c->keys[i].secret_file, e);
    warn_mode("tls_key_file", c->tls_key_file, e);
}
