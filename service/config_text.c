#include "service/config.h"
#include "service/config_key.h"
#include "service/option.h"

#include <string.h>

/* Writes the settings for people: --help, the sample file, and what is in force. */

static void write_help_rows(const struct option_table *t, struct bytes_buf *out)
{
    char flag[80], env[80];

    for (size_t i = 0; i < t->n; i++) {
        const struct option_row *row = &t->rows[i];
        option_flag_name(t, row, flag);
        option_env_name(t, row, env);
        bytes_buf_printf(out, "  %s%s   [%s]\n      %s", flag, row->type == OPTION_BOOL ? "" : " VALUE", env,
                         row->help);
        if (row->words && strchr(row->words, '|'))
            bytes_buf_printf(out, " One of %s.", row->words);
        if (row->def)
            bytes_buf_printf(out, " Default %s.", row->def);
        bytes_buf_add_char(out, '\n');
    }
}

void config_write_help(struct bytes_buf *out)
{
    bytes_buf_add_str(
        out,
        "Options (--name VALUE or --name=VALUE), each with its name in the environment; the file has the same names\n"
        "with '_'. Later wins: file, environment, command line.\n"
        "  --config FILE   [MAILHATCH_CONFIG]\n      The YAML file.\n");
    write_help_rows(&option_top, out);
    bytes_buf_add_str(out, "\nThe relay \"default\" (others are in the file, under relays):\n");
    write_help_rows(&option_relay, out);
}

static void write_sample_rows(const struct option_table *t, const char *indent, const char *skip, struct bytes_buf *out)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct option_row *row = &t->rows[i];
        const char *def = row->def ? row->def : row->type == OPTION_LIST ? "[]" : "...";
        bool colon = def[strlen(def) - 1] == ':';       /* which would begin a map */
        if (strcmp(row->name, skip) == 0)
            continue;
        bytes_buf_printf(out, "%s# %s", indent, row->help);
        if (row->words && strchr(row->words, '|'))
            bytes_buf_printf(out, " One of %s.", row->words);
        bytes_buf_printf(out, "\n%s# %s: %s%s%s\n", indent, row->name, colon ? "\"" : "", def, colon ? "\"" : "");
    }
}

void config_write_sample(struct bytes_buf *out)
{
    bytes_buf_add_str(
        out,
        "# Every setting of mailhatch, with its default. `mailhatch check-config --config FILE` judges a file.\n"
        "# Each has a name in the environment too: MAILHATCH_LISTEN …; MAILHATCH_RELAY_… for the\n"
        "# relay \"default\".\n\n");
    write_sample_rows(&option_top, "", "", out);
    bytes_buf_add_str(out, "\nrelays:\n  default:\n    url: smtp://smtp.example.com:587\n");
    write_sample_rows(&option_relay, "    ", "url", out);
}

static void write_reference_rows(const struct option_table *t, struct bytes_buf *out)
{
    char env[80];

    bytes_buf_add_str(out, "| in the file | in the environment | default | |\n|---|---|---|---|\n");
    for (size_t i = 0; i < t->n; i++) {
        const struct option_row *row = &t->rows[i];
        option_env_name(t, row, env);
        bytes_buf_printf(out, "| `%s` | `%s` | %s%s%s | %s", row->name, env, row->def ? "`" : "",
                         row->def ? row->def : "", row->def ? "`" : "", row->help);
        if (row->words && strchr(row->words, '|')) {
            bytes_buf_add_str(out, " One of ");
            for (const char *p = row->words; *p; p++)
                bytes_buf_add_str(out, *p == '|' ? ", " : (const char[]){*p, '\0'});
            bytes_buf_add_char(out, '.');
        }
        if (row->flags & OPTION_RESTART)
            bytes_buf_add_str(out, " Needs a restart.");
        bytes_buf_add_str(out, " |\n");
    }
}

void config_write_reference(struct bytes_buf *out)
{
    bytes_buf_add_str(
        out,
        "# Configuration\n\n"
        "This page is written by `mailhatch help reference`, from the table that the program reads its settings by.\n\n"
        "Sources, later wins: the file (YAML; `--config FILE` or `MAILHATCH_CONFIG`), the environment, the command\n"
        "line (`--max-body 10MiB` or `--max-body=10MiB`: the name in the file with `-`; `--relay-…` for the relay\n"
        "`default`). Durations are `30s`, `500ms`, `2m`, or plain seconds; sizes `35MiB`, `64KiB`, or plain octets;\n"
        "lists outside the file have commas. A variable that is empty counts as not set; an unknown `MAILHATCH_…` is\n"
        "a warning. A file with a secret may end with a line break, which does not count.\n"
        "`mailhatch check-config` tells every mistake at once, and what is in force and where it came from;\n"
        "`mailhatch help sample` prints a file with every setting. SIGHUP reloads all but what needs a restart.\n\n"
        "```yaml\nlisten: 127.0.0.1:8587\ndefault_relay: main\nrelays:\n"
        "  main:\n    url: smtp://ann%40example.org@smtp.example.org:587\n    password_file: /run/secrets/smtp\n"
        "    max_sessions: 16\n"
        "```\n\n`keys:`, a list of API keys with their rights, is in [keys.md](keys.md).\n\n## The service\n\n");
    write_reference_rows(&option_top, out);
    bytes_buf_add_str(
        out,
        "\n## A relay\n\nIn the file under `relays:`, by name; in the environment and on the command line for the "
        "relay `default`.\n\n");
    write_reference_rows(&option_relay, out);
}

static void write_effective_rows(const struct option_table *t, const char *indent, const void *base,
                                 const struct option_source *sources, struct bytes_buf *out)
{
    for (size_t i = 0; i < t->n; i++) {
        struct bytes_buf value;
        const char *where = sources[i].where;
        bytes_buf_init(&value, 0);
        option_write_value(&t->rows[i], base, &value);
        if (value.n) {
            where = where ? where : sources[i].rank == OPTION_FROM_URL ? "the url" : "default";
            bytes_buf_printf(out, "%s%s: %s  # %s\n", indent, t->rows[i].name, value.p, where);
        }
        bytes_buf_deinit(&value);
    }
}

void config_write_effective(const struct config *c, struct bytes_buf *out)
{
    write_effective_rows(&option_top, "", c, c->sources, out);
    config_keys_write(c, out);
    if (c->n_relays)
        bytes_buf_add_str(out, "relays:\n");
    for (size_t i = 0; i < c->n_relays; i++) {
        bytes_buf_printf(out, "  %s:\n", c->relays[i].name);
        write_effective_rows(&option_relay, "    ", &c->relays[i], c->relays[i].sources, out);
    }
}
