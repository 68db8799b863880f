#include "service/config_key.h"
#include "service/config_url.h"
#include "service/option.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* libFuzzer target: settings, as a YAML file, as variables of the environment and on the command line; relay URLs and
 * lines of API keys. The first octet says how the rest is taken; pieces end with 0xFE. Whatever comes, there are
 * mistakes or a configuration, never both; what is taken is within its ranges and is read again as it is written; and
 * no secret is ever shown. */

#define PIECE_END '\xFE'                /* no octet of UTF-8 */
#define PIECES_MAX 32
#define MARK "qZ7-sEcReT"               /* each secret begins with it */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct pieces {
    char *v[PIECES_MAX + 1];            /* NULL behind the last, as in environ and argv */
    size_t n;
    char *text;
};

static void fuzz_split(const uint8_t *data, size_t n, struct pieces *out)
{
    char *p;

    *out = (struct pieces){.text = malloc(n + 1)};
    if (!out->text)
        abort();
    memcpy(out->text, data, n);
    out->text[n] = '\0';
    for (p = out->text; out->n < PIECES_MAX && p;) {
        char *end = strchr(p, PIECE_END);
        if (end)
            *end++ = '\0';
        out->v[out->n++] = p;
        p = end;
    }
}

static const char *piece(const struct pieces *p, size_t i)
{
    return i < p->n ? p->v[i] : "";
}

/* ---- what was taken ---- */

static void check_range(const struct option_row *row, const void *base)
{
    const void *member = (const char *)base + row->offset;
    uint64_t value;

    switch (row->type) {
    case OPTION_UINT:
        value = *(const unsigned *)member;
        break;
    case OPTION_SIZE:
        value = *(const size_t *)member;
        break;
    case OPTION_MILLIS:
        value = *(const uint32_t *)member;
        break;
    case OPTION_TEXT:
    case OPTION_WORD:
    case OPTION_BOOL:
    case OPTION_LIST:
        return;
    }
    if (value < row->min || value > row->max)
        unreachable(row->name);
}

static void check_again(const struct option_table *t, const struct option_row *row, const void *base, void *fresh,
                        struct option_source *sources)
{
    struct config_errors errors;
    struct bytes_buf text;

    bytes_buf_init(&text, 0);
    option_write_value(row, base, &text);
    if (!(row->flags & (OPTION_SECRET | OPTION_URL)) && row->type != OPTION_LIST && text.n) {
        const char *const items[] = {text.p};
        const struct option_value v = {items, 1, false, OPTION_FROM_FILE, "again"};
        config_errors_init(&errors);
        option_set(t, row, fresh, sources, &v, &errors);
        if (errors.n || !option_is_equal(row, base, fresh))
            unreachable(row->name);
        config_errors_deinit(&errors);
    }
    bytes_buf_deinit(&text);
}

/* Both have what each table is about at their beginning: rows know their place in it. */
static void check_rows(const struct option_table *t, const void *base, void *fresh)
{
    struct option_source *sources = calloc(t->n, sizeof(*sources));

    if (!sources)
        abort();
    option_set_defaults(t, fresh);
    for (size_t i = 0; i < t->n; i++) {
        check_range(&t->rows[i], base);
        check_again(t, &t->rows[i], base, fresh, sources);
    }
    option_deinit(t, fresh, sources);
}

static void check_taken(const struct config *c)
{
    bool has_default = c->sandbox && c->n_relays == 0;
    struct config top = {.n_keys = 0};

    check_rows(&option_top, c, &top);
    for (size_t i = 0; i < c->n_relays; i++) {
        const struct config_relay *r = &c->relays[i];
        struct config_relay fresh = {.name = NULL};
        if (!r->c.host || !r->c.port || !r->name || !r->name[0])
            unreachable("a relay without a host, a port or a name");
        if (r->timeout_ms == 0)         /* a cap, which may be below a row's least */
            check_rows(&option_relay, r, &fresh);
        has_default = has_default || strcmp(r->name, c->default_relay) == 0;
    }
    if (!has_default)
        unreachable("no default relay");
    for (size_t i = 0; i < c->n_keys; i++)
        if (!c->keys[i].name || (c->keys[i].rate && !c->keys[i].rate_ms) || !c->keys[i].scopes)
            unreachable("a key without a name, a period or a scope");
}

static void check_hidden(const struct bytes_buf *text)
{
    if (text->n && memmem(text->p, text->n, MARK, strlen(MARK)))
        unreachable(text->p);           /* a secret is shown */
}

/* ---- all sources ---- */

static void load(const char *yaml, char **variables, int argc, char **argv, bool has_mark)
{
    static int fd = -1;
    static char path[64];
    char config[80], *environment[PIECES_MAX + 3] = {NULL}, **before = environ;
    struct config_errors errors;
    struct bytes_buf shown;
    struct config *c = NULL;
    size_t n = 0, size = strlen(yaml);

    if (fd < 0) {
        fd = memfd_create("config", MFD_CLOEXEC);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, yaml, size, 0) != (ssize_t)size)
        abort();
    snprintf(config, sizeof(config), "MAILHATCH_CONFIG=%s", path);
    if (*yaml)
        environment[n++] = config;
    for (size_t i = 0; variables && variables[i]; i++)
        if (strncmp(variables[i], "MAILHATCH_", 10) == 0)
            environment[n++] = variables[i];
    config_errors_init(&errors);
    bytes_buf_init(&shown, 0);
    environ = environment;
    if ((config_load(argc, argv, &c, &errors) == 0) != (c != NULL) || (c != NULL) != (errors.n == 0) ||
        (errors.n != 0) != (errors.text.n != 0))
        unreachable("mistakes and a configuration, or neither");
    environ = before;
    if (c) {
        check_taken(c);
        config_write_effective(c, &shown);
    }
    if (has_mark) {
        check_hidden(&shown);
        check_hidden(&errors.text);
        check_hidden(&errors.warnings);
    }
    config_free(c);
    bytes_buf_deinit(&shown);
    config_errors_deinit(&errors);
}

/* The first piece is the file; those with "--" are arguments; the others are variables. */
static void load_pieces(struct pieces *p)
{
    char *variables[PIECES_MAX + 1] = {NULL}, *arguments[PIECES_MAX + 1] = {NULL};
    size_t n_variables = 0, n_arguments = 0;

    for (size_t i = 1; i < p->n; i++)
        if (strncmp(p->v[i], "--", 2) == 0)
            arguments[n_arguments++] = p->v[i];
        else
            variables[n_variables++] = p->v[i];
    load(piece(p, 0), variables, (int)n_arguments, arguments, false);
}

/* ---- secrets ---- */

static char *made(struct bytes_buf *b)
{
    char *text = bytes_buf_take(b, NULL);

    if (!text)
        abort();
    return text;
}

static void check_url(const char *url)
{
    struct config_url u;
    char why[200];

    if (config_url_parse(url, &u, why) == 0) {
        if (!u.host || !u.host[0] || why[0] || strpbrk(u.host, "@/?# \r\n"))
            unreachable("a URL without a host");
    } else if (u.host || u.user || u.password || !why[0]) {
        unreachable("refused without a reason, or with something left over");
    }
    if (strstr(why, MARK))
        unreachable("a URL's error shows its password");
    config_url_deinit(&u);
}

/* scheme, user, password's rest, host and what follows: as it is, in a variable, and in a file. */
static void load_url(const struct pieces *p)
{
    static const char *const schemes[] = {"smtp://", "smtps://", "SMTP://", "smtp:"};
    size_t scheme = piece(p, 0)[0] ? (unsigned char)piece(p, 0)[0] % ARRAY_LEN(schemes) : 0;
    struct bytes_buf b;
    char *url, *variables[2] = {NULL, NULL};

    bytes_buf_init(&b, 0);
    bytes_buf_printf(&b, "MAILHATCH_RELAY_URL=%s%s:" MARK "%s@%s", schemes[scheme], piece(p, 1), piece(p, 2),
                     piece(p, 3));
    variables[0] = made(&b);
    url = strchr(variables[0], '=') + 1;
    check_url(url);
    check_url(piece(p, 3));
    load("", variables, 0, NULL, true);
    bytes_buf_init(&b, 0);
    bytes_buf_printf(&b, "relays:\n  a:\n    url: '%s'\n", url);
    free(variables[0]);
    variables[0] = made(&b);
    load(variables[0], NULL, 0, NULL, true);
    free(variables[0]);
}

/* A key's name, its secret's rest and rights, in a variable; and passwords. */
static void load_secrets(const struct pieces *p)
{
    /* A blank ends the secret, and yet what follows may be part of what somebody took for one. */
    static const char *const formats[] = {"MAILHATCH_API_KEYS=%s%s" MARK "%s",
                                          "MAILHATCH_API_KEYS=%s%s" MARK " " MARK "%s",
                                          "MAILHATCH_RELAY_PASSWORD=%.0s%.0s" MARK "%s"};
    char *variables[ARRAY_LEN(formats) + 2] = {NULL}, url[] = "MAILHATCH_RELAY_URL=smtp://ann@smtp.example.org";
    struct bytes_buf b;
    char *yaml;
    bool named = piece(p, 0)[0] && !strpbrk(piece(p, 0), ":,= ");       /* else it is the secret that is cut there */

    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        bytes_buf_init(&b, 0);
        bytes_buf_printf(&b, formats[i], named ? piece(p, 0) : "", named ? ":" : "", piece(p, 1));
        variables[i] = made(&b);
    }
    variables[ARRAY_LEN(formats)] = url;
    load("", variables, 0, NULL, true);
    load("", variables + 1, 0, NULL, true);
    bytes_buf_init(&b, 0);
    bytes_buf_printf(&b, "relays:\n  default:\n    url: smtp://ann@smtp.example.org\n    password: " MARK "%s\n"
                     "api_keys: [ \"" MARK "%s\" ]\nkeys:\n  - name: a\n    secret: " MARK "%s\n", piece(p, 2),
                     strpbrk(piece(p, 3), "\",\\") ? "" : piece(p, 3), piece(p, 4));
    yaml = made(&b);
    load(yaml, NULL, 0, NULL, true);
    free(yaml);
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        free(variables[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    /* What blocks, or has no end, when it is read; and no secret stands where none belongs. */
    static const char *const elsewhere[] = {"/dev", "/proc", "/sys", MARK};
    struct pieces p;

    if (!n)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++)
        if (memmem(data, n, elsewhere[i], strlen(elsewhere[i])))
            return 0;
    fuzz_split(data + 1, n - 1, &p);
    if (data[0] % 3 == 0)
        load_pieces(&p);
    else if (data[0] % 3 == 1)
        load_url(&p);
    else
        load_secrets(&p);
    free(p.text);
    return 0;
}
