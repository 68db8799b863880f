#ifndef SERVICE_CONFIG_MODE_H
#define SERVICE_CONFIG_MODE_H
/* Who else can read the files with secrets: for check-config. Not said at each start, since mounted secrets are often
 * 0444 and reach nobody else all the same. */
#include "service/option.h"

/* A warning for each file with a secret that its group or every user can read. config_path: the YAML file, or NULL; it
 * counts when a password or a key stands in it. */
void config_warn_modes(const struct config *c, const char *config_path, struct config_errors *e);
#endif
