#ifndef SERVICE_CONFIG_ENV_H
#define SERVICE_CONFIG_ENV_H
/* Reads MAILHATCH_… out of the environment and --… off the command line, and names the option each means. */
#include "service/option.h"

/* relay: the option is one of the relay `default`. row and v are lent. */
typedef void config_env_on_value(void *ctx, bool relay, const struct option_row *row, const struct option_value *v);

/* The file named by --config, else by MAILHATCH_CONFIG; lent; NULL when neither is there. */
const char *config_env_path(int argc, char **argv);
void config_env_read(config_env_on_value *on_value, void *ctx, struct config_errors *errors);
/* *rest_out: the one word that is no option, or NULL; lent from argv. */
void config_env_read_argv(int argc, char **argv, config_env_on_value *on_value, void *ctx, const char **rest_out,
                          struct config_errors *errors);
#endif
