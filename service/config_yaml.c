#include "service/config_yaml.h"

#include "smtp/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* Reads the configuration file's YAML into a flat run of items. */

#define VALUES_MAX 1000
#define DEPTH_MAX 32

struct reader {
    yaml_parser_t parser;
    yaml_event_t event;                 /* the one being looked at */
    const char *path;
    char where[300];
    bool failed, in_key;
    void (*on_item)(void *ctx, const struct config_yaml_item *item);
    void *ctx;
    struct config_errors *errors;
    char *values[VALUES_MAX];
    size_t n_values;
};

const char *config_yaml_library_version(void)
{
    static char text[32];

    snprintf(text, sizeof(text), "libyaml %s", yaml_get_version_string());
    return text;
}

static void set_where(struct reader *r, size_t line)
{
    const char *slash = strrchr(r->path, '/');

    snprintf(r->where, sizeof(r->where), "%.200s:%zu", slash ? slash + 1 : r->path, line + 1);
}

static bool fail(struct reader *r, const char *why)
{
    if (!r->failed)
        option_error(r->errors, r->where, "%s", why);
    r->failed = true;
    return false;
}

/* Pulls the next event into r->event. Values are words typed by our table: anchors and aliases have no use here. */
static bool next_event(struct reader *r)
{
    const char *anchor = NULL;

    yaml_event_delete(&r->event);
    memset(&r->event, 0, sizeof(r->event));
    if (!yaml_parser_parse(&r->parser, &r->event)) {
        set_where(r, r->parser.problem_mark.line);
        return fail(r, r->parser.problem ? r->parser.problem : "not YAML");
    }
    set_where(r, r->event.start_mark.line);
    if (r->event.type == YAML_SCALAR_EVENT)
        anchor = (const char *)r->event.data.scalar.anchor;
    if (r->event.type == YAML_ALIAS_EVENT || anchor)
        return fail(r, "anchors and aliases (& and *) are not used here; a value that begins so stands in quotes");
    return true;
}

static void tell(struct reader *r, enum config_yaml_kind kind, const char *relay, const char *key)
{
    const struct config_yaml_item item = {
        .kind = kind, .relay = relay, .is_of_key = r->in_key, .key = key,
        .values = (const char *const *)r->values, .n = r->n_values, .where = r->where};

    r->on_item(r->ctx, &item);
    for (size_t i = 0; i < r->n_values; i++)
        free(r->values[i]);
    r->n_values = 0;
}

/* A copy of the scalar at hand; NULL (and told) when it holds a NUL. */
static char *scalar(struct reader *r)
{
    const char *p = (const char *)r->event.data.scalar.value;
    size_t n = r->event.data.scalar.length;

    if (strlen(p) != n) {
        fail(r, "a value holds a NUL");
        return NULL;
    }
    return strdup(p);
}

/* Skips the rest of a map or list whose start is r->event. */
static bool skip(struct reader *r)
{
    for (int depth = 1; depth > 0;) {
        if (!next_event(r))
            return false;
        if (r->event.type == YAML_MAPPING_START_EVENT || r->event.type == YAML_SEQUENCE_START_EVENT)
            depth++;
        else if (r->event.type == YAML_MAPPING_END_EVENT || r->event.type == YAML_SEQUENCE_END_EVENT)
            depth--;
        if (depth > DEPTH_MAX)
            return fail(r, "nested too deep");
    }
    return true;
}

static bool read_list(struct reader *r, enum config_yaml_kind *kind)
{
    *kind = CONFIG_YAML_LIST;
    while (next_event(r) && r->event.type != YAML_SEQUENCE_END_EVENT) {
        char *s;
        if (r->event.type != YAML_SCALAR_EVENT) {
            *kind = CONFIG_YAML_OTHER;
            if (!skip(r))
                return false;
            continue;
        }
        if (r->n_values == VALUES_MAX)
            return fail(r, "a list of more than 1000");
        s = scalar(r);
        if (!s)
            return false;
        r->values[r->n_values++] = s;
    }
    return !r->failed;
}

/* The value of `key`, told as one item at the line where it begins. */
static bool read_value(struct reader *r, const char *relay, const char *key)
{
    enum config_yaml_kind kind = CONFIG_YAML_OTHER;
    char where[sizeof(r->where)];
    bool ok = true;

    if (!next_event(r))
        return false;
    memcpy(where, r->where, sizeof(where));
    if (r->event.type == YAML_SCALAR_EVENT) {
        kind = CONFIG_YAML_SCALAR;
        r->values[0] = scalar(r);
        r->n_values = r->values[0] ? 1 : 0;
        ok = r->n_values == 1;
    } else if (r->event.type == YAML_SEQUENCE_START_EVENT) {
        ok = read_list(r, &kind);
    } else {
        ok = skip(r);
    }
    if (!ok)
        return false;
    memcpy(r->where, where, sizeof(where));
    tell(r, kind, relay, key);
    return true;
}

/* The next key of a map; NULL at the map's end, or when the reading failed. */
static char *next_key(struct reader *r)
{
    if (!next_event(r) || r->event.type == YAML_MAPPING_END_EVENT)
        return NULL;
    if (r->event.type == YAML_SCALAR_EVENT)
        return scalar(r);
    fail(r, "a key must be a word");
    return NULL;
}

/* relays: {NAME: {key: value …} …} */
static bool read_relays(struct reader *r)
{
    char *name, *key;

    if (!next_event(r))
        return false;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return fail(r, "relays must be a map of names, each with a map of its settings");
    while ((name = next_key(r))) {
        tell(r, CONFIG_YAML_RELAY, name, NULL);
        if (next_event(r) && r->event.type != YAML_MAPPING_START_EVENT)
            fail(r, "a relay must be a map of its settings, such as {url: \"smtp://smtp.example.com\"}");
        while (!r->failed && (key = next_key(r))) {
            read_value(r, name, key);
            free(key);
        }
        free(name);
    }
    return !r->failed;
}

/* keys: [{key: value …} …] */
static bool read_keys(struct reader *r)
{
    char *key;

    if (!next_event(r))
        return false;
    if (r->event.type != YAML_SEQUENCE_START_EVENT)
        return fail(r, "keys must be a list, each with name, hash and so on");
    while (next_event(r) && r->event.type != YAML_SEQUENCE_END_EVENT) {
        if (r->event.type != YAML_MAPPING_START_EVENT)
            return fail(r, "a key must be a map, such as {name: web, hash: \"sha256:...\"}");
        tell(r, CONFIG_YAML_KEY, NULL, NULL);
        r->in_key = true;
        while (!r->failed && (key = next_key(r))) {
            read_value(r, NULL, key);
            free(key);
        }
        r->in_key = false;
    }
    return !r->failed;
}

static bool read_top(struct reader *r)
{
    char *key;

    if (!next_event(r) || !next_event(r))               /* the stream's start, then the document's */
        return false;
    if (r->event.type == YAML_STREAM_END_EVENT)
        return true;                                    /* nothing but comments */
    if (!next_event(r))
        return false;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return fail(r, "the file must be a map of settings, such as 'listen: 127.0.0.1:8587'");
    while ((key = next_key(r))) {
        bool ok = strcmp(key, "relays") == 0 ? read_relays(r)
                  : strcmp(key, "keys") == 0 ? read_keys(r) : read_value(r, NULL, key);
        free(key);
        if (!ok)
            return false;
    }
    if (r->failed || !next_event(r) || !next_event(r))  /* the document's end, then the stream's */
        return false;
    return r->event.type == YAML_STREAM_END_EVENT || fail(r, "a second document (---) in the file");
}

void config_yaml_read(const char *path, void (*on_item)(void *ctx, const struct config_yaml_item *item), void *ctx,
                      struct config_errors *errors)
{
    struct reader *r = calloc(1, sizeof(*r));
    char why[FILE_ERR_SIZE], *text;
    size_t n;

    if (!r)
        unreachable("no memory for the configuration");
    text = file_read(path, FILE_CONFIG_MAX, FILE_OR_PIPE, &n, why);
    if (!text) {
        option_error(errors, path, "%s", why);
        goto out;
    }
    if (!yaml_parser_initialize(&r->parser))
        unreachable("no memory for the configuration");
    r->path = path;
    r->on_item = on_item;
    r->ctx = ctx;
    r->errors = errors;
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, n);
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    if (!read_top(r) && !r->failed)
        fail(r, "not the YAML that was expected");
    for (size_t i = 0; i < r->n_values; i++)
        free(r->values[i]);
    yaml_event_delete(&r->event);
    yaml_parser_delete(&r->parser);
    file_free(text, n);
out:
    free(r);
}
