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
    char *name, *secret;
    struct bytes_buf rights;
    char where[300];
};
void config_key_draft_begin(struct config_key_draft *d, const char *where);
void config_key_take(struct config_key_draft *d, const struct config_yaml_item *item, struct config_errors *e);
void config_key_draft_finish(struct config_key_draft *d, struct config *c, struct config_errors *e);
void config_keys_deinit(struct config *c);
void config_keys_write(const struct config *c, struct bytes_buf *out);  /* names and rights, never a secret */
/* `mailhatch key new NAME`: a secret of 256 random bits, and the line of its digest. -1: not a name. */
int config_key_new(const char *name, struct bytes_buf *secret_out, struct bytes_buf *line_out) MUST_CHECK;
#endif
