#include "service/config_man.h"

#include "service/command_table.h"
#include "service/option.h"

#include <string.h>

/* Writes the completions of bash and zsh: commands, options, and the words and files that an option takes. */

static const struct command_row commands[] = {
#define X(word, arguments, help) {word, arguments, help},
    COMMAND_TABLE(X)
};
static const struct command_row topics[] = {TOPIC_TABLE(X)};
#undef X
static const struct command_row looks[] = {             /* the options of diagnose */
#define X(name, member, argument, help) {name, argument, help},
    DIAGNOSE_TABLE(X)
#undef X
};

static const struct option_table *const tables[] = {&option_top, &option_relay};

static bool has_choice(const struct option_row *row)
{
    return row->words && strchr(row->words, '|');
}

static void write_words(struct bytes_buf *out, const struct command_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bytes_buf_printf(out, "%s%s", i ? " " : "", rows[i].word);
}

/* ---- bash ---- */

static void write_bash_flags(struct bytes_buf *out)
{
    char flag[80];

    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        for (size_t i = 0; i < tables[t]->n; i++) {
            option_flag_name(tables[t], &tables[t]->rows[i], flag);
            bytes_buf_printf(out, "        %s\n", flag);
        }
    }
}

/* One arm of a case for each option that takes one of some words, one for all that take a file, one for the rest. */
static void write_bash_values(struct bytes_buf *out)
{
    struct bytes_buf files, others;
    char flag[80];

    bytes_buf_init(&files, 0);
    bytes_buf_init(&others, 0);
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        for (size_t i = 0; i < tables[t]->n; i++) {
            const struct option_row *row = &tables[t]->rows[i];
            option_flag_name(tables[t], row, flag);
            if (has_choice(row)) {
                bytes_buf_printf(out, "    %s) words=\"", flag);
                for (const char *p = row->words; *p; p++)
                    bytes_buf_add_char(out, *p == '|' ? ' ' : *p);
                bytes_buf_add_str(out, "\" ;;\n");
            } else if (row->flags & OPTION_FILE) {
                bytes_buf_printf(&files, " | %s", flag);
            } else if (row->type != OPTION_BOOL) {
                bytes_buf_printf(&others, "%s%s", others.n ? " | " : "", flag);
            }
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(looks); i++)
        if (looks[i].arguments && strcmp(looks[i].arguments, "FILE") == 0)
            bytes_buf_printf(&files, " | %s", looks[i].word);
        else if (looks[i].arguments && strcmp(looks[i].arguments, "MODE") != 0)
            bytes_buf_printf(&others, " | %s", looks[i].word);
    bytes_buf_add_str(out, "    --tls) words=\"starttls implicit none\" ;;\n");
    bytes_buf_printf(out, "    --config%s) files=1 ;;\n", bytes_buf_view(&files).p);
    bytes_buf_printf(out, "    %s) return ;;\n", bytes_buf_view(&others).p);
    bytes_buf_deinit(&files);
    bytes_buf_deinit(&others);
}

void config_write_bash(struct bytes_buf *out)
{
    bytes_buf_add_str(out,
                      "# bash completion for mailhatch(8), written by `mailhatch help completion bash`.\n\n"
                      "_mailhatch()\n{\n"
                      "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
                      "    local words=\"\" files=\"\"\n"
                      "    # \"=\" breaks words: --tls=star is three of them\n"
                      "    [[ $cur == = ]] && cur=\n"
                      "    [[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
                      "    COMPREPLY=()\n"
                      "    case $prev in\n");
    write_bash_values(out);
    bytes_buf_add_str(out, "    help) words=\"");
    write_words(out, topics, ARRAY_LEN(topics));
    bytes_buf_add_str(out,
                      "\" ;;\n"
                      "    completion) words=\"bash zsh\" ;;\n"
                      "    send) files=1 ;;\n"
                      "    esac\n"
                      "    if [[ -z $words && -z $files && $cur != -* && $COMP_CWORD -eq 1 ]]; then\n"
                      "        words=\"");
    write_words(out, commands, ARRAY_LEN(commands));
    bytes_buf_add_str(out,
                      "\"\n"
                      "    elif [[ $cur == -* ]]; then\n"
                      "        words=\"\n"
                      "        --config\n        --help\n        --version\n");
    write_bash_flags(out);
    bytes_buf_add_str(out,
                      "        \"\n"
                      "        files=\"\"\n"
                      "        [[ ${COMP_WORDS[1]} == diagnose ]] && words+=\" ");
    write_words(out, looks, ARRAY_LEN(looks));
    bytes_buf_add_str(out,
                      "\"\n"
                      "    fi\n"
                      "    if [[ -n $files ]]; then\n"
                      "        compopt -o filenames 2>/dev/null\n"
                      "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
                      "    else\n"
                      "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
                      "    fi\n"
                      "}\n"
                      "complete -F _mailhatch mailhatch\n");
}

/* ---- zsh ---- */

/* Inside '…' and _arguments' [description]: quotes, brackets and colons have meanings. */
static void write_zsh_text(struct bytes_buf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '\'')
            bytes_buf_add_str(out, "'\\''");
        else if (strchr("[]:\\", *p))
            bytes_buf_printf(out, "\\%c", *p);
        else
            bytes_buf_add_char(out, *p);
    }
}

static void write_zsh_flag(struct bytes_buf *out, const struct option_table *t, const struct option_row *row)
{
    char flag[80];

    option_flag_name(t, row, flag);
    bytes_buf_printf(out, "        '%s%s[", flag, row->type == OPTION_BOOL ? "" : "=");
    write_zsh_text(out, row->help);
    bytes_buf_add_char(out, ']');
    if (has_choice(row)) {
        bytes_buf_add_str(out, ":word:(");
        for (const char *p = row->words; *p; p++)
            bytes_buf_add_char(out, *p == '|' ? ' ' : *p);
        bytes_buf_add_char(out, ')');
    } else if (row->flags & OPTION_FILE) {
        bytes_buf_add_str(out, ":file:_files");
    } else if (row->type != OPTION_BOOL) {
        bytes_buf_add_str(out, ":value: ");
    }
    bytes_buf_add_str(out, "'\n");
}

static void write_zsh_look(struct bytes_buf *out, const struct command_row *row)
{
    const char *argument = row->arguments ? row->arguments : "";

    bytes_buf_printf(out, "        '%s%s[", row->word, *argument ? "=" : "");
    write_zsh_text(out, row->help);
    bytes_buf_printf(out, "]%s'\n", strcmp(argument, "FILE") == 0   ? ":file:_files"
                                    : strcmp(argument, "MODE") == 0 ? ":word:(starttls implicit none)"
                                    : *argument                     ? ":value: "
                                                                    : "");
}

static void write_zsh_described(struct bytes_buf *out, const char *name, const struct command_row *rows, size_t n)
{
    bytes_buf_printf(out, "    %s=(\n", name);
    for (size_t i = 0; i < n; i++) {
        bytes_buf_printf(out, "        '%s:", rows[i].word);
        write_zsh_text(out, rows[i].help);
        bytes_buf_add_str(out, "'\n");
    }
    bytes_buf_add_str(out, "    )\n");
}

void config_write_zsh(struct bytes_buf *out)
{
    bytes_buf_add_str(out,
                      "#compdef mailhatch\n"
                      "# zsh completion for mailhatch(8), written by `mailhatch help completion zsh`.\n\n"
                      "_mailhatch() {\n"
                      "    local -a commands topics options looks\n");
    write_zsh_described(out, "commands", commands, ARRAY_LEN(commands));
    write_zsh_described(out, "topics", topics, ARRAY_LEN(topics));
    bytes_buf_add_str(out,
                      "    options=(\n"
                      "        '--config=[The configuration file.]:file:_files'\n"
                      "        '(- *)'{-h,--help}'[The usage and every option.]'\n"
                      "        '(- *)'{-V,--version}'[The versions.]'\n");
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (size_t i = 0; i < tables[t]->n; i++)
            write_zsh_flag(out, tables[t], &tables[t]->rows[i]);
    bytes_buf_add_str(out, "    )\n    looks=(\n");
    for (size_t i = 0; i < ARRAY_LEN(looks); i++)
        write_zsh_look(out, &looks[i]);
    bytes_buf_add_str(out,
                      "    )\n"
                      "    if (( CURRENT == 2 )) && [[ $words[CURRENT] != -* ]]; then\n"
                      "        _describe command commands\n"
                      "    elif [[ $words[2] == help ]]; then\n"
                      "        if (( CURRENT == 3 )); then\n"
                      "            _describe topic topics\n"
                      "        elif [[ $words[3] == completion ]]; then\n"
                      "            compadd bash zsh\n"
                      "        fi\n"
                      "    elif [[ $words[2] == send ]]; then\n"
                      "        _arguments -s '1: :' '2:mail:_files' $options\n"
                      "    elif [[ $words[2] == diagnose ]]; then\n"
                      "        _arguments -s '1: :' '2:relay or host: ' $looks $options\n"
                      "    else\n"
                      "        _arguments -s '1: :' $options\n"
                      "    fi\n"
                      "}\n\n"
                      "_mailhatch \"$@\"\n");
}
