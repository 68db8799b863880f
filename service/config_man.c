#include "service/config_man.h"

#include "service/command_table.h"
#include "service/option.h"

#include <inttypes.h>
#include <string.h>

/* Writes the manual pages mailhatch(8) and mailhatch.conf(5). */

/* Of the last change that a reader should know of; a page's text must not depend on the day it is built. */
#define PAGE_DATE "November 25, 2026"
#define COLUMNS 78

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

/* ---- running text ---- */

/* roff reads "." and "'" at the start of a line as a request, "\" everywhere, and "-" as a hyphen. */
static void write_word(struct bytes_buf *out, const char *word, size_t n)
{
    if (*word == '.' || *word == '\'')
        bytes_buf_add_str(out, "\\&");
    for (size_t i = 0; i < n; i++) {
        if (word[i] == '\\')
            bytes_buf_add_str(out, "\\e");
        else if (word[i] == '-' && (i == 0 || word[i - 1] == '-'))
            bytes_buf_add_str(out, "\\-");
        else
            bytes_buf_add_char(out, word[i]);
    }
}

/* A line break after each sentence (which roff wants, to set the space after it) and before a line gets too long. */
static void write_text(struct bytes_buf *out, const char *text)
{
    size_t column = 0;

    while (*text) {
        size_t n = strcspn(text, " ");
        if (column && column + 1 + n > COLUMNS) {
            bytes_buf_add_char(out, '\n');
            column = 0;
        } else if (column) {
            bytes_buf_add_char(out, ' ');
            column++;
        }
        write_word(out, text, n);
        column += n;
        if (n && strchr(".?!", text[n - 1])) {
            bytes_buf_add_char(out, '\n');
            column = 0;
        }
        text += n;
        text += strspn(text, " ");
    }
    if (column)
        bytes_buf_add_char(out, '\n');
}

static bool has_choice(const struct option_row *row)
{
    return row->words && strchr(row->words, '|');
}

/* "One of a, b or c." */
static void write_choice(struct bytes_buf *out, const struct option_row *row)
{
    const char *p = row->words;

    bytes_buf_add_str(out, "One of\n");
    while (*p) {
        size_t n = strcspn(p, "|");
        const char *next = p[n] ? p + n + 1 : p + n;
        const char *after = !*next ? " ." : strchr(next, '|') ? " ," : "";
        bytes_buf_printf(out, ".Cm %.*s%s\n%s", (int)n, p, after, *next && !strchr(next, '|') ? "or\n" : "");
        p = next;
    }
}

/* ---- rows ---- */

static const char *placeholder(const struct option_row *row)
{
    if (row->flags & OPTION_LISTEN)
        return "ADDRESS";
    if (row->flags & OPTION_FILE)
        return "FILE";
    switch (row->type) {
    case OPTION_TEXT: return row->flags & OPTION_URL ? "URL" : "TEXT";
    case OPTION_WORD: return "WORD";
    case OPTION_BOOL: return "";
    case OPTION_UINT: return "NUMBER";
    case OPTION_SIZE: return "SIZE";
    case OPTION_MILLIS: return "TIME";
    case OPTION_LIST: return "LIST";
    }
    return "";
}

/* Underscores look like a key of the file; a man page's reader types the flag. */
static void write_flags(struct bytes_buf *out, const struct option_table *t)
{
    char flag[80];

    for (size_t i = 0; i < t->n; i++) {
        const struct option_row *row = &t->rows[i];
        option_flag_name(t, row, flag);
        bytes_buf_printf(out, ".It Fl %s%s%s\n", flag + 1, row->type == OPTION_BOOL ? "" : " Ar ", placeholder(row));
        write_text(out, row->help);
    }
}

/* "60s" and "1048576" are written as people would; bounds of a time are kept in milliseconds. */
static void write_bounds(struct bytes_buf *out, const struct option_row *row)
{
    switch (row->type) {
    case OPTION_UINT:
        bytes_buf_printf(out, "A number from %" PRIu64 " to %" PRIu64 ".\n", row->min, row->max);
        return;
    case OPTION_SIZE:
        bytes_buf_printf(out, "A size up to %" PRIu64 "MiB.\n", row->max >> 20);
        return;
    case OPTION_MILLIS:
        bytes_buf_printf(out, "A time from %" PRIu64 "ms to %" PRIu64 "h.\n", row->min, row->max / 3600000);
        return;
    case OPTION_BOOL:
        bytes_buf_add_str(out, ".Cm true\nor\n.Cm false .\n");
        return;
    case OPTION_LIST:
        bytes_buf_add_str(out, "A list.\n");
        return;
    case OPTION_TEXT:
    case OPTION_WORD:
        return;
    }
}

static void write_settings(struct bytes_buf *out, const struct option_table *t)
{
    char flag[80], env[80];

    bytes_buf_add_str(out, ".Bl -tag -width Ds\n");
    for (size_t i = 0; i < t->n; i++) {
        const struct option_row *row = &t->rows[i];
        option_flag_name(t, row, flag);
        option_env_name(t, row, env);
        bytes_buf_printf(out, ".It Ic %s\n", row->name);
        write_text(out, row->help);
        if (has_choice(row))
            write_choice(out, row);
        write_bounds(out, row);
        if (row->def)
            bytes_buf_printf(out, "Default:\n.Ql %s\\& .\n", row->def);      /* it may end in a delimiter */
        bytes_buf_printf(out, ".br\n.Ev %s ,\n.Fl %s\n", env, flag + 1);
    }
    bytes_buf_add_str(out, ".El\n");
}

/* ---- the pages ---- */

static void write_commands(struct bytes_buf *out, const struct command_row *rows, size_t n)
{
    bytes_buf_add_str(out, ".Bl -tag -width Ds\n");
    for (size_t i = 0; i < n; i++) {
        bytes_buf_printf(out, ".It Cm %s%s%s\n", rows[i].word, *rows[i].arguments ? " Ar " : "", rows[i].arguments);
        write_text(out, rows[i].help);
    }
    bytes_buf_add_str(out, ".El\n");
}

static void write_looks(struct bytes_buf *out)
{
    bytes_buf_add_str(out, ".Ss Options of diagnose\n.Bl -tag -width Ds\n");
    for (size_t i = 0; i < ARRAY_LEN(looks); i++) {
        const char *argument = looks[i].arguments;
        bytes_buf_printf(out, ".It Fl %s%s%s\n", looks[i].word + 1, argument ? " Ar " : "", argument ? argument : "");
        write_text(out, looks[i].help);
    }
    bytes_buf_add_str(out, ".El\n");
}

static void write_options(struct bytes_buf *out)
{
    bytes_buf_add_str(out,
                      ".Sh OPTIONS\n"
                      "Each is a setting of the file too, where\n.Xr mailhatch.conf 5\n"
                      "tells its form, bounds and default, and a variable of the environment.\n"
                      ".Bl -tag -width Ds\n"
                      ".It Fl -config Ar FILE\nThe configuration file.\n"
                      ".It Fl -help , Fl h\nThe usage and every option.\n"
                      ".It Fl -version , Fl V\nThe versions of the program and of its libraries.\n");
    write_flags(out, &option_top);
    bytes_buf_add_str(out, ".El\n.Pp\nFor the relay called default; others are in the file only.\n"
                      ".Bl -tag -width Ds\n");
    write_flags(out, &option_relay);
    bytes_buf_add_str(out, ".El\n");
}

static const char page8_begin[] =
    ".Dd " PAGE_DATE "\n.Dt MAILHATCH 8\n.Os\n"
    ".Sh NAME\n.Nm mailhatch\n.Nd HTTP-to-SMTP gateway\n"
    ".Sh SYNOPSIS\n.Nm\n.Op Ar OPTIONS\n.Nm\n.Ar COMMAND\n.Op Ar ARGUMENTS\n"
    ".Sh DESCRIPTION\n.Nm\n"
    "takes a mail by an HTTP POST (JSON, a form, or a finished message), delivers\n"
    "it over a warm, verified TLS session to an SMTP relay, and answers with the\n"
    "relay's verdict or with a structured error: which stage failed, which reply\n"
    "came, whether the mail can have been sent, and what to change.\n.Pp\n"
    "Without a command it serves two listeners: the API, and one for the probes\n"
    "and the metrics.\n"
    "It refuses to start without a relay, unless\n.Fl -sandbox\nis given.\n"
    ".Sh COMMANDS\n";

static const char page8_end[] =
    ".Sh ENVIRONMENT\n"
    "Each setting has a name there:\n.Ev MAILHATCH_LISTEN ,\n.Ev MAILHATCH_RELAY_URL\nand so on; see\n"
    ".Xr mailhatch.conf 5 .\n"
    ".Bl -tag -width Ds\n"
    ".It Ev MAILHATCH_CONFIG\nThe configuration file.\n"
    ".It Ev LISTEN_PID , LISTEN_FDS , LISTEN_FDNAMES\n"
    "Sockets handed over by systemd: the one named\n.Ql api\nis taken in the place of\n.Ic listen ,\n"
    "the one named\n.Ql admin\nin the place of\n.Ic admin_listen .\nOne without a name of these is the API's.\n"
    ".It Ev NOTIFY_SOCKET\nWhere readiness and the end are told, for units of\n.Ql Type=notify .\n"
    ".El\n"
    ".Sh FILES\n"
    ".Bl -tag -width Ds\n"
    ".It Pa /etc/mailhatch/mailhatch.yaml\nThe configuration that the systemd unit starts with.\n"
    ".El\n"
    ".Sh SIGNALS\n"
    ".Bl -tag -width Ds\n"
    ".It Dv SIGTERM , SIGINT\n"
    "Drain: readiness turns false, sends are still taken for\n.Ic drain_delay ,\n"
    "running ones get\n.Ic drain_timeout ,\nthen the program ends with status 0.\n"
    "A second one ends it at once.\n"
    ".It Dv SIGHUP\n"
    "Reads the configuration file and the secrets anew: relays, limits and the log\n"
    "may change, and no request fails.\n"
    "With a mistake nothing changes, and the log tells it.\n"
    ".El\n"
    ".Sh EXIT STATUS\n"
    ".Bl -tag -width Ds\n"
    ".It 0\nAll is well; with\n.Cm send ,\nthe mail was sent.\n"
    ".It 1\nIt failed.\n"
    ".It 2\nThe command line or the settings are wrong.\n"
    ".It 3\n.Cm send :\nsome recipients were refused.\n"
    ".It 4\n.Cm send :\nnobody knows whether the mail was sent.\n"
    ".It 10 \\(en 22\n.Cm diagnose :\nwhere it ends: 10 config, 11 dns, 12 connect, 13 tls, 14 banner, 15 ehlo,\n"
    "16 starttls, 17 certificate, 18 auth, 19 mail, 20 rcpt, 21 the mail itself,\n22 no time left, or interrupted.\n"
    ".El\n"
    ".Sh EXAMPLES\n"
    "A first try, which delivers nothing:\n.Pp\n.Dl mailhatch --sandbox\n.Pp\n"
    "With a relay; STARTTLS is required:\n"
    ".Bd -literal -offset indent\n"
    "export MAILHATCH_RELAY_URL=smtp://ann@smtp.example.org:587\n"
    "export MAILHATCH_RELAY_PASSWORD_FILE=/run/secrets/smtp\n"
    "mailhatch\n"
    ".Ed\n"
    ".Pp\nA mail:\n"
    ".Bd -literal -offset indent\n"
    "curl -sS http://127.0.0.1:8587/v1/emails \\e\n"
    "  -H 'Content-Type: application/json' \\e\n"
    "  -d '{\"from\":\"ann@example.org\",\"to\":\"bob@example.net\",\n"
    "       \"subject\":\"Hello\",\"text\":\"It works.\"}'\n"
    ".Ed\n"
    ".Sh SEE ALSO\n.Xr mailhatch.conf 5\n";

void config_write_man8(struct bytes_buf *out)
{
    bytes_buf_add_str(out, page8_begin);
    write_commands(out, commands, ARRAY_LEN(commands));
    bytes_buf_add_str(out, ".Pp\nTopics of\n.Cm help :\n");
    write_commands(out, topics, ARRAY_LEN(topics));
    write_looks(out);
    write_options(out);
    bytes_buf_add_str(out, page8_end);
}

static const char page5_begin[] =
    ".Dd " PAGE_DATE "\n.Dt MAILHATCH.CONF 5\n.Os\n"
    ".Sh NAME\n.Nm mailhatch.conf\n.Nd settings of mailhatch\n"
    ".Sh DESCRIPTION\n"
    "Settings of\n.Xr mailhatch 8\ncome from three sources, of which the later wins: a file, the environment\n"
    "and the command line.\n"
    "The file is named by\n.Fl -config\nor\n.Ev MAILHATCH_CONFIG ;\nthe systemd unit names\n"
    ".Pa /etc/mailhatch/mailhatch.yaml .\n"
    "It is YAML: a map of the settings below, and under\n.Ic relays\na map of relays by name.\n"
    ".Bd -literal -offset indent\n"
    "listen: 127.0.0.1:8587\n"
    "default_relay: main\n"
    "relays:\n"
    "  main:\n"
    "    url: smtp://ann%40example.org@smtp.example.org:587\n"
    "    password_file: /run/secrets/smtp\n"
    "    max_sessions: 16\n"
    ".Ed\n.Pp\n"
    "Times are\n.Ql 30s ,\n.Ql 500ms ,\n.Ql 2m\nor plain seconds, sizes\n.Ql 35MiB ,\n.Ql 64KiB\nor plain octets;\n"
    "lists outside the file have commas.\n"
    "A variable that is empty counts as not set.\n"
    "A file with a secret may end with a line break, which does not count.\n"
    ".Pp\n.Cm mailhatch check-config\ntells every mistake at once, and what is in force and where it came from;\n"
    ".Cm mailhatch help sample\nprints a file with every setting.\n"
    ".Sh THE SERVICE\n";

void config_write_man5(struct bytes_buf *out)
{
    bytes_buf_add_str(out, page5_begin);
    write_settings(out, &option_top);
    bytes_buf_add_str(out, ".Sh A RELAY\nIn the file under\n.Ic relays ,\nby name; in the environment and on the "
                      "command line for the relay\ncalled default.\n");
    write_settings(out, &option_relay);
    bytes_buf_add_str(out,
                      ".Sh FILES\n.Bl -tag -width Ds\n.It Pa /etc/mailhatch/mailhatch.yaml\n"
                      "The file that the systemd unit starts with.\n.El\n"
                      ".Sh SEE ALSO\n.Xr mailhatch 8\n");
}
