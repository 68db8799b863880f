#include "service/option.h"

#include "service/config_table.h"
#include "smtp/crypto.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One row of the table of settings at work: its names, reading a value, writing it back. */

#define COUNT_OF_TEXT(type, member) 0
#define COUNT_OF_WORD(type, member) 0
#define COUNT_OF_BOOL(type, member) 0
#define COUNT_OF_UINT(type, member) 0
#define COUNT_OF_SIZE(type, member) 0
#define COUNT_OF_MILLIS(type, member) 0
#define COUNT_OF_LIST(type, member) offsetof(type, n_##member)

static const struct option_row top_rows[] = {
#define X(name, type, member, def, min, max, words, flags, help) \
    {#name, \
     OPTION_##type, \
     offsetof(struct config, member), \
     COUNT_OF_##type(struct config, member), \
     def, \
     min, \
     max, \
     words, \
     flags, \
     help},
    CONFIG_TABLE(X)
#undef X
};
static const struct option_row relay_rows[] = {
#define X(name, type, member, def, min, max, words, flags, help) \
    {#name, \
     OPTION_##type, \
     offsetof(struct config_relay, member), \
     COUNT_OF_##type(struct config_relay, member), \
     def, \
     min, \
     max, \
     words, \
     flags, \
     help},
    RELAY_TABLE(X)
#undef X
};
const struct option_table option_top = {top_rows, ARRAY_LEN(top_rows), "MAILHATCH_", "--"};
const struct option_table option_relay = {relay_rows, ARRAY_LEN(relay_rows), "MAILHATCH_RELAY_", "--relay-"};

/* ---- mistakes ---- */

static void add_sentence(struct bytes_buf *b, const char *where, const char *fmt, va_list ap)
{
    char text[700];

    vsnprintf(text, sizeof(text), fmt, ap);
    if (where)
        bytes_buf_printf(b, "%s: ", where);
    bytes_buf_printf(b, "%s\n", text);
}

void option_error(struct config_errors *e, const char *where, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add_sentence(&e->text, where, fmt, ap);
    va_end(ap);
    e->n++;
}

void option_warn(struct config_errors *e, const char *where, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add_sentence(&e->warnings, where, fmt, ap);
    va_end(ap);
    e->n_warnings++;
}

/* ---- names ---- */

const struct option_row *option_find(const struct option_table *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->rows[i].name, name) == 0)
            return &t->rows[i];
    return NULL;
}

void option_env_name(const struct option_table *t, const struct option_row *row, char out[80])
{
    snprintf(out, 80, "%s%s", t->env_prefix, row->name);
    for (char *p = out; *p; p++)
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
}

void option_flag_name(const struct option_table *t, const struct option_row *row, char out[80])
{
    snprintf(out, 80, "%s%s", t->flag_prefix, row->name);
    for (char *p = out; *p; p++)
        if (*p == '_')
            *p = '-';
}

const struct option_row *option_find_env(const struct option_table *t, const char *variable)
{
    char name[80];

    for (size_t i = 0; i < t->n; i++) {
        option_env_name(t, &t->rows[i], name);
        if (strcmp(name, variable) == 0)
            return &t->rows[i];
    }
    return NULL;
}

const struct option_row *option_find_flag(const struct option_table *t, struct bytes_view flag)
{
    char name[80];

    for (size_t i = 0; i < t->n; i++) {
        option_flag_name(t, &t->rows[i], name);
        if (bytes_equal(bytes_view_str(name), flag))
            return &t->rows[i];
    }
    return NULL;
}

void option_guess_start(struct option_guess *g, const char *word)
{
    size_t n = strlen(word);

    *g = (struct option_guess){.word = word, .best = n >= BYTES_DISTANCE_MAX ? 0 : n / 3 < 3 ? n / 3 + 1 : 4};
}

void option_guess_try(struct option_guess *g, const char *candidate)
{
    size_t d;

    if (g->best == 0 || strlen(candidate) >= BYTES_DISTANCE_MAX)
        return;
    d = bytes_distance(g->word, candidate);
    if (d < g->best) {
        g->best = d;
        snprintf(g->name, sizeof(g->name), "%s", candidate);
    }
}

void option_guess_table(struct option_guess *g, const struct option_table *t, enum option_form form)
{
    char name[80];

    for (size_t i = 0; i < t->n; i++) {
        if (form == OPTION_AS_ENV)
            option_env_name(t, &t->rows[i], name);
        else if (form == OPTION_AS_FLAG)
            option_flag_name(t, &t->rows[i], name);
        else
            snprintf(name, sizeof(name), "%s", t->rows[i].name);
        option_guess_try(g, name);
    }
}

/* ---- reading ---- */

struct unit {
    const char *name;
    uint64_t factor;
};
static const struct unit durations[] = {{"", 1000},     {"ms", 1},       {"s", 1000}, {"m", 60000},
                                        {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
static const struct unit sizes[] = {
    {"", 1},      {"B", 1},     {"KiB", 1u << 10}, {"MiB", 1u << 20},  {"GiB", 1u << 30},
    {"kB", 1000}, {"KB", 1000}, {"MB", 1000000},   {"GB", 1000000000}, {NULL, 0},
};
static const struct unit counts[] = {{"", 1}, {NULL, 0}};

/* quantity = 1*12DIGIT ["." 1*6DIGIT] unit */
static bool read_quantity(const char *s, const struct unit *units, uint64_t *out)
{
    uint64_t whole = 0, part = 0, scale = 1;
    const char *p = s;

    for (; *p >= '0' && *p <= '9' && p - s < 12; p++)
        whole = whole * 10 + (uint64_t)(*p - '0');
    if (p == s)
        return false;
    if (*p == '.' && units != counts) {
        for (p++; *p >= '0' && *p <= '9' && scale < 1000000; p++, scale *= 10)
            part = part * 10 + (uint64_t)(*p - '0');
        if (scale == 1)
            return false;
    }
    for (; units->name; units++)
        if (strcmp(units->name, p) == 0)
            return !__builtin_mul_overflow(whole, units->factor, out) &&
                   !__builtin_add_overflow(*out, part * units->factor / scale, out);
    return false;
}

static bool is_word_of(const char *words, const char *s)
{
    size_t n = strlen(s);

    for (const char *p = words; n && p && !strchr(s, '|'); p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (strncmp(p, s, n) == 0 && (p[n] == '|' || p[n] == '\0'))
            return true;
    return false;
}

static bool read_bool(const char *s, bool *out)
{
    *out = is_word_of("true|yes|on|1", s);
    return *out || is_word_of("false|no|off|0", s);
}

static bool is_printable(const char *s)
{
    for (const char *p = s; *p; p++)
        if ((unsigned char)*p < 32 || *p == 127)
            return false;
    return bytes_is_utf8(bytes_view_str(s));
}

/* HOST:PORT, [IPV6]:PORT or unix:/path */
static bool is_listen(const char *s)
{
    const char *colon = strrchr(s, ':');
    uint64_t port;

    if (strncmp(s, "unix:", 5) == 0)
        return s[5] == '/' && strlen(s + 5) < 108;      /* sizeof(sun_path) */
    if (!colon || colon == s || !read_quantity(colon + 1, counts, &port) || port > 65535)
        return false;
    return s[0] == '[' ? colon[-1] == ']' : memchr(s, ':', (size_t)(colon - s)) == NULL;
}

/* sha256/ and 43 base64 characters and "=", comma separated */
static bool are_pins(const char *s)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (;;) {
        if (strncmp(s, "sha256/", 7) != 0 || strspn(s + 7, alphabet) != 43 || s[50] != '=')
            return false;
        if (s[51] == '\0')
            return true;
        if (s[51] != ',')
            return false;
        s += 52;
    }
}

static bool text_is_fine(const struct option_row *row, const char *s, const char *where, struct config_errors *e)
{
    const char *shown = row->flags & (OPTION_SECRET | OPTION_URL) ? "the value" : s;

    if (!*s)
        option_error(e, where, "%s is empty", row->name);
    else if (strlen(s) > 4096)
        option_error(e, where, "%s is longer than 4096 octets", row->name);
    else if (!is_printable(s))
        option_error(e, where, "%s holds a line break, another control character or broken UTF-8", row->name);
    else if (row->type == OPTION_WORD && !is_word_of(row->words, s))
        option_error(e, where, strcmp(row->name, "store") ? "%s: \"%s\" is not one of %s"
                     : "%s: \"%s\" is not available in this version; only %s is", row->name, s, row->words);
    else if (row->flags & OPTION_LISTEN && !is_listen(s))
        option_error(e, where, "%s: \"%s\" is not HOST:PORT (such as 127.0.0.1:8587), [IPV6]:PORT or unix:/path",
                     row->name, shown);
    else if (row->flags & OPTION_PINS && !are_pins(s))
        option_error(e, where, "%s: each pin is sha256/ and the base64 of 32 octets; commas between them", row->name);
    else if (row->flags & OPTION_FILE && access(s, R_OK) != 0)
        option_error(e, where, "%s: %s cannot be read: %s", row->name, s, strerror(errno));
    else
        return true;
    return false;
}

static bool set_text(const struct option_row *row, char **member, const struct option_value *v, struct config_errors *e)
{
    if (!text_is_fine(row, v->items[0], v->where, e))
        return false;
    crypto_cleanse_free(*member);
    *member = strdup(v->items[0]);
    return true;
}

static void free_list(char ***list, size_t *n)
{
    for (size_t i = 0; i < *n; i++)
        crypto_cleanse_free((*list)[i]);
    free(*list);
    *list = NULL;
    *n = 0;
}

static void list_add(char ***list, size_t *n, const char *s, size_t len)
{
    char **longer = realloc(*list, (*n + 1) * sizeof(**list));

    if (!longer)
        unreachable("no memory for the configuration");
    *list = longer;
    longer[(*n)++] = strndup(s, len);
}

/* "a, b,c": blanks around items do not count, empty items are dropped. */
static void split(char ***list, size_t *n, const char *s)
{
    while (*s) {
        size_t len = strcspn(s, ","), trimmed = len, lead = strspn(s, " \t");
        while (trimmed > lead && (s[trimmed - 1] == ' ' || s[trimmed - 1] == '\t'))
            trimmed--;
        if (trimmed > lead)
            list_add(list, n, s + lead, trimmed - lead);
        s += len + (s[len] == ',');
    }
}

static bool set_list(const struct option_row *row, char ***list, size_t *count, const struct option_value *v,
                     struct config_errors *e)
{
    bool fine = true;

    free_list(list, count);
    for (size_t i = 0; i < v->n; i++) {
        if (v->is_list)
            list_add(list, count, v->items[i], strlen(v->items[i]));
        else
            split(list, count, v->items[i]);
    }
    for (size_t i = 0; i < *count; i++)
        fine = text_is_fine(row, (*list)[i], v->where, e) && fine;
    return fine;
}

static bool set_number(const struct option_row *row, void *member, const struct option_value *v,
                       struct config_errors *e)
{
    const struct unit *units = row->type == OPTION_MILLIS ? durations : row->type == OPTION_SIZE ? sizes : counts;
    const char *form = row->type == OPTION_MILLIS ? "a duration (30s, 500ms, 2m, or plain seconds)"
                       : row->type == OPTION_SIZE ? "a size (35MiB, 64KiB, or plain octets)" : "a number";
    const char *unit = row->type == OPTION_MILLIS ? " ms" : "";
    uint64_t n;

    if (!read_quantity(v->items[0], units, &n)) {
        option_error(e, v->where, "%s: \"%s\" is not %s", row->name, v->items[0], form);
        return false;
    }
    if (n < row->min || n > row->max) {
        option_error(e, v->where, "%s: \"%s\" is outside %llu%s to %llu%s", row->name, v->items[0],
                     (unsigned long long)row->min, unit, (unsigned long long)row->max, unit);
        return false;
    }
    if (row->type == OPTION_SIZE)
        *(size_t *)member = (size_t)n;
    else if (row->type == OPTION_MILLIS)
        *(uint32_t *)member = (uint32_t)n;
    else
        *(unsigned *)member = (unsigned)n;
    return true;
}

static bool set_bool(const struct option_row *row, bool *member, const struct option_value *v, struct config_errors *e)
{
    bool b;

    if (!read_bool(v->items[0], &b)) {
        option_error(e, v->where, "%s: \"%s\" is not true or false", row->name, v->items[0]);
        return false;
    }
    *member = b;
    return true;
}

static bool set_value(const struct option_row *row, void *base, const struct option_value *v, struct config_errors *e)
{
    void *member = (char *)base + row->offset;

    switch (row->type) {
    case OPTION_TEXT:
    case OPTION_WORD:
        return set_text(row, member, v, e);
    case OPTION_BOOL:
        return set_bool(row, member, v, e);
    case OPTION_UINT:
    case OPTION_SIZE:
    case OPTION_MILLIS:
        return set_number(row, member, v, e);
    case OPTION_LIST:
        return set_list(row, member, (size_t *)(void *)((char *)base + row->count_offset), v, e);
    }
    unreachable("an option of no type");
}

void option_set(const struct option_table *t, const struct option_row *row, void *base, struct option_source *sources,
                const struct option_value *v, struct config_errors *errors)
{
    struct option_source *source = &sources[row - t->rows];

    if (row->type != OPTION_LIST && (v->is_list || v->n != 1)) {
        option_error(errors, v->where, "%s takes one value, not a list", row->name);
        return;
    }
    if (source->rank == v->rank && source->where) {
        option_error(errors, v->where, "%s is set twice (first at %s)", row->name, source->where);
        return;
    }
    if (!set_value(row, base, v, errors))
        return;
    source->rank = v->rank;
    free(source->where);
    source->where = strdup(v->where);
}

void option_set_defaults(const struct option_table *t, void *base)
{
    struct config_errors e;

    config_errors_init(&e);
    for (size_t i = 0; i < t->n; i++) {
        struct option_value v = {.items = &t->rows[i].def, .n = 1, .where = "default"};
        if (t->rows[i].def && !set_value(&t->rows[i], base, &v, &e))
            unreachable(t->rows[i].name);
    }
    config_errors_deinit(&e);
}

void option_deinit(const struct option_table *t, void *base, struct option_source *sources)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct option_row *row = &t->rows[i];
        void *member = (char *)base + row->offset;
        if (row->type == OPTION_TEXT || row->type == OPTION_WORD)
            crypto_cleanse_free(*(char **)member);
        else if (row->type == OPTION_LIST)
            free_list(member, (size_t *)(void *)((char *)base + row->count_offset));
        if (sources)
            free(sources[i].where);
    }
    free(sources);
}

static bool is_equal_list(const struct option_row *row, const void *base, const void *other)
{
    size_t n = *(const size_t *)(const void *)((const char *)base + row->count_offset);
    char *const *a = *(char **const *)(const void *)((const char *)base + row->offset);
    char *const *b = *(char **const *)(const void *)((const char *)other + row->offset);

    if (n != *(const size_t *)(const void *)((const char *)other + row->count_offset))
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(a[i], b[i]) != 0)
            return false;
    return true;
}

bool option_is_equal(const struct option_row *row, const void *base, const void *other)
{
    const char *a = (const char *)base + row->offset, *b = (const char *)other + row->offset;

    switch (row->type) {
    case OPTION_TEXT:
    case OPTION_WORD: {
        const char *s = *(const char *const *)(const void *)a, *t = *(const char *const *)(const void *)b;
        return s == t || (s && t && strcmp(s, t) == 0);
    }
    case OPTION_BOOL:
        return *(const bool *)a == *(const bool *)b;
    case OPTION_UINT:
        return *(const unsigned *)(const void *)a == *(const unsigned *)(const void *)b;
    case OPTION_SIZE:
        return *(const size_t *)(const void *)a == *(const size_t *)(const void *)b;
    case OPTION_MILLIS:
        return *(const uint32_t *)(const void *)a == *(const uint32_t *)(const void *)b;
    case OPTION_LIST:
        return is_equal_list(row, base, other);
    }
    unreachable("an option of no type");
}

enum option_rank option_rank_of(const struct option_table *t, const char *name, const struct option_source *sources)
{
    const struct option_row *row = option_find(t, name);

    if (!row)
        unreachable("an option that is not in the table");
    return sources[row - t->rows].rank;
}

/* ---- writing ---- */

/* What stands between "://" and "@" is never shown. */
static void write_url(const char *url, struct bytes_buf *out)
{
    const char *authority = strstr(url, "://"), *at;

    authority = authority ? authority + 3 : url;
    at = strrchr(authority, '@');
    bytes_buf_add(out, url, (size_t)(authority - url));
    bytes_buf_add_str(out, at ? "***" : "");
    bytes_buf_add_str(out, at ? at : authority);
}

static void write_millis(uint64_t ms, struct bytes_buf *out)
{
    if (ms % 1000)
        bytes_buf_printf(out, "%llums", (unsigned long long)ms);
    else
        bytes_buf_printf(out, "%llus", (unsigned long long)ms / 1000);
}

static void write_size(uint64_t n, struct bytes_buf *out)
{
    static const char *const names[] = {"", "KiB", "MiB", "GiB"};
    size_t i = 0;

    for (; n && n % 1024 == 0 && i + 1 < ARRAY_LEN(names); i++)
        n /= 1024;
    bytes_buf_printf(out, "%llu%s", (unsigned long long)n, names[i]);
}

static void write_list(const struct option_row *row, char *const *list, size_t n, struct bytes_buf *out)
{
    if (n && row->flags & OPTION_SECRET) {
        bytes_buf_printf(out, "(%zu set, not shown)", n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        bytes_buf_printf(out, "%s%s", i ? ", " : "", list[i]);
}

void option_write_value(const struct option_row *row, const void *base, struct bytes_buf *out)
{
    const void *member = (const char *)base + row->offset;
    const char *text;

    switch (row->type) {
    case OPTION_TEXT:
    case OPTION_WORD:
        text = *(char *const *)member;
        if (text && row->flags & OPTION_URL)
            write_url(text, out);
        else if (text)
            bytes_buf_add_str(out, row->flags & OPTION_SECRET ? "(set, not shown)" : text);
        return;
    case OPTION_BOOL:
        bytes_buf_add_str(out, *(const bool *)member ? "true" : "false");
        return;
    case OPTION_UINT:
        bytes_buf_printf(out, "%u", *(const unsigned *)member);
        return;
    case OPTION_SIZE:
        write_size(*(const size_t *)member, out);
        return;
    case OPTION_MILLIS:
        write_millis(*(const uint32_t *)member, out);
        return;
    case OPTION_LIST:
        write_list(row, *(char *const *const *)member,
                   *(const size_t *)(const void *)((const char *)base + row->count_offset), out);
        return;
    }
}
