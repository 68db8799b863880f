#ifndef SERVICE_CONFIG_YAML_H
#define SERVICE_CONFIG_YAML_H
/* Reads the configuration file's YAML, through libyaml, into a flat run of items; what they mean is for config.c. */
#include "service/option.h"

enum config_yaml_kind {
    CONFIG_YAML_RELAY,                  /* a relay's map begins; key is NULL */
    CONFIG_YAML_KEY,                    /* a map of `keys:` begins; key is NULL */
    CONFIG_YAML_SCALAR, CONFIG_YAML_LIST,
    CONFIG_YAML_OTHER                   /* a map, or a list of something else than words */
};

struct config_yaml_item {               /* lent to on_item */
    enum config_yaml_kind kind;
    const char *relay;                  /* name of the relay it stands in; NULL at the top */
    bool is_of_key;                     /* it stands in the map of an API key */
    const char *key;
    const char *const *values;
    size_t n;
    const char *where;                  /* "mailhatch.yaml:12" */
};

void config_yaml_read(const char *path, void (*on_item)(void *ctx, const struct config_yaml_item *item), void *ctx,
                      struct config_errors *errors);
#endif
