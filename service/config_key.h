#ifndef SERVICE_CONFIG_KEY_H
#define SERVICE_CONFIG_KEY_H
/* One API key and its rights, as settings: read from its line (docs/keys.md), or from the map of a YAML file. */
#include "service/option.h"

struct config_yaml_item;

/* Adds the key that `line` says to c->keys. `number` and `where` are for the messages. */
void config_key_add(struct config *c, const char *line, size_t number, const char *where, struct config_errors *e);
/* A key of `keys:` in the file, item by item: _begin, _take …, _finish, which adds it. */
struct config_key_draft {
    bool is_open;
    char *name, *secret, *secret_file;
    struct bytes_buf rights;
    char where[300];
};
void config_key_draft_begin(struct config_key_draft *d, const char *where);
void config_key_take(struct config_key_draft *d, const struct config_yaml_item *item, struct config_errors *e);
void config_key_draft_finish(struct config_key_draft *d, struct config *c, struct config_errors *e);
/* The keys of c->api_keys_file, one a line; blank lines and those that begin with # do not count. */
void config_keys_read_file(struct config *c, struct config_errors *e);
void config_keys_check(struct config *c, struct config_errors *e);      /* the relays that they name are there */
void config_keys_look(struct config *c);                /* notes the stamps of the files, before they are read */
/* Whether files with keys changed since the last look, and c->keys is what they say now; *before_out, owned, has those
 * that were in force. Mistakes: they stay. */
bool config_keys_refresh(struct config *c, struct config_key **before_out, size_t *n_out, struct config_errors *e);
void config_keys_deinit(struct config *c);
/* What became of keys, for the log: "web (c455ed31), job (…)" of those in `a` that are not in `b` (`changed`: that are
 * in both, with other rights). */
void config_keys_list(const struct config *a, const struct config *b, bool changed, char out[512]);
void config_keys_write(const struct config *c, struct bytes_buf *out);  /* names and rights, never a secret */
/* `mailhatch key new NAME`: a secret of 256 random bits, and the line of its digest. -1: not a name. */
int config_key_new(const char *name, struct bytes_buf *secret_out, struct bytes_buf *line_out) MUST_CHECK;
#endif
