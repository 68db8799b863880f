#include "service/config_env.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Reads MAILHATCH_… out of the environment and --… off the command line. */

#define PATH_VARIABLE "MAILHATCH_CONFIG"
#define PATH_FLAG "--config"

/* What Kubernetes injects for a Service named mailhatch: MAILHATCH_PORT, MAILHATCH_PORT_8587_TCP_ADDR,
 * MAILHATCH_SERVICE_HOST … */
static bool is_injected(const char *variable)
{
    return strncmp(variable, "MAILHATCH_PORT", 14) == 0 || strncmp(variable, "MAILHATCH_SERVICE_", 18) == 0;
}

static void warn_unknown(const char *variable, struct config_errors *errors)
{
    struct option_guess g;

    option_guess_start(&g, variable);
    option_guess_table(&g, &option_top, OPTION_AS_ENV);
    option_guess_table(&g, &option_relay, OPTION_AS_ENV);
    option_guess_try(&g, PATH_VARIABLE);
    if (*g.name)
        option_warn(errors, variable, "no such setting, ignored; did you mean %s?", g.name);
    else
        option_warn(errors, variable, "no such setting, ignored");
}

void config_env_read(config_env_on_value *on_value, void *ctx, struct config_errors *errors)
{
    for (char **entry = environ; entry && *entry; entry++) {
        const char *equals = strchr(*entry, '=');
        const struct option_row *top, *relay;
        char variable[128];
        size_t n;

        if (!equals || strncmp(*entry, "MAILHATCH_", 10) != 0)
            continue;
        n = (size_t)(equals - *entry) < sizeof(variable) ? (size_t)(equals - *entry) : sizeof(variable) - 1;
        memcpy(variable, *entry, n);
        variable[n] = '\0';
        top = option_find_env(&option_top, variable);
        relay = top ? NULL : option_find_env(&option_relay, variable);
        if (top || relay) {
            const char *value = equals + 1;
            struct option_value v = {&value, 1, false, OPTION_FROM_ENV, variable};
            if (*value)                 /* compose files write NAME=${X:-}: empty means not set */
                on_value(ctx, relay != NULL, top ? top : relay, &v);
        } else if (!is_injected(variable) && strcmp(variable, PATH_VARIABLE) != 0) {
            warn_unknown(variable, errors);
        }
    }
}

static void unknown_flag(const char *flag, struct config_errors *errors)
{
    struct option_guess g;

    option_guess_start(&g, flag);
    option_guess_table(&g, &option_top, OPTION_AS_FLAG);
    option_guess_table(&g, &option_relay, OPTION_AS_FLAG);
    option_guess_try(&g, PATH_FLAG);
    option_guess_try(&g, "--help");
    option_guess_try(&g, "--version");
    if (*g.name)
        option_error(errors, flag, "no such option; did you mean %s?", g.name);
    else
        option_error(errors, flag, "no such option; see mailhatch help");
}

struct argument {                       /* one option off the command line */
    char flag[80];                      /* without its value */
    const char *value;                  /* NULL: none was given */
};

/* Reads argv[*i] and, when the option wants a value and has none behind "=", the word after it. */
static void next_argument(int argc, char **argv, int *i, bool takes_word, struct argument *a)
{
    const char *equals = strchr(argv[*i], '=');

    a->value = equals ? equals + 1 : NULL;
    if (!a->value && takes_word && *i + 1 < argc)
        a->value = argv[++*i];
}

static void flag_name(const char *arg, char out[80])
{
    size_t n = strcspn(arg, "=");

    if (n > 79)
        n = 79;
    memcpy(out, arg, n);
    out[n] = '\0';
}

const char *config_env_path(int argc, char **argv)
{
    const char *variable = getenv(PATH_VARIABLE);

    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], PATH_FLAG "=", sizeof(PATH_FLAG)) == 0)
            return argv[i] + sizeof(PATH_FLAG);
        if (strcmp(argv[i], PATH_FLAG) == 0 && i + 1 < argc)
            return argv[i + 1];
    }
    return variable && *variable ? variable : NULL;
}

static void read_flag(int argc, char **argv, int *i, config_env_on_value *on_value, void *ctx,
                      struct config_errors *errors)
{
    const struct option_row *top, *relay = NULL, *row;
    bool is_path;
    struct argument a;

    flag_name(argv[*i], a.flag);
    is_path = strcmp(a.flag, PATH_FLAG) == 0;
    top = option_find_flag(&option_top, bytes_view_str(a.flag));
    if (!top)
        relay = option_find_flag(&option_relay, bytes_view_str(a.flag));
    row = top ? top : relay;
    if (!row && !is_path) {
        unknown_flag(a.flag, errors);
        return;
    }
    next_argument(argc, argv, i, is_path || row->type != OPTION_BOOL, &a);
    if (!a.value && row && row->type == OPTION_BOOL)
        a.value = "true";
    if (!a.value)
        option_error(errors, a.flag, "a value is missing");
    else if (row) {
        struct option_value v = {&a.value, 1, false, OPTION_FROM_COMMAND_LINE, a.flag};
        on_value(ctx, relay != NULL, row, &v);
    }
}

void config_env_read_argv(int argc, char **argv, config_env_on_value *on_value, void *ctx, const char **rest_out,
                          struct config_errors *errors)
{
    *rest_out = NULL;
    for (int i = 0; i < argc; i++) {
        if (argv[i][0] == '-' && argv[i][1] != '\0')
            read_flag(argc, argv, &i, on_value, ctx, errors);
        else if (*rest_out)
            option_error(errors, argv[i], "one argument too many");
        else
            *rest_out = argv[i];
    }
}
