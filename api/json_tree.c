#include "api/json_tree.h"

#include "smtp/block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A tree of small values over a text whose long strings stay where they are. */

/* No octet of checked and mended text is 0xFF, so no caller can write a mark. */
#define MARK '\xFF'
#define MARK_MAX 24
#define LARGE ((size_t)4 * 1024 * 1024)
#define ASIDE_EXTRA 2                   /* octets behind a string set aside: as many as its reader may write there */
_Static_assert(MARK_MAX <= JSON_TEXT_LONG, "a mark fits into its string's place");

static unsigned long hex4(const char *p)
{
    return (unsigned long)(bytes_hex_value(p[0]) << 12 | bytes_hex_value(p[1]) << 8 | bytes_hex_value(p[2]) << 4 |
                           bytes_hex_value(p[3]));
}

/* The text is checked, so every escape is whole, and what it means is never longer than itself. */
static size_t unescape(char *p, size_t n)
{
    const char *from = p, *end = p + n;
    char *to = p;

    while (from < end) {
        const char *backslash = memchr(from, '\\', (size_t)(end - from));
        size_t run = (size_t)((backslash ? backslash : end) - from);
        memmove(to, from, run);
        to += run;
        from += run;
        if (from == end)
            break;
        if (from[1] != 'u') {
            *to++ = json_text_escapes[(unsigned char)from[1]];
            from += 2;
        } else {
            unsigned long c = hex4(from + 2);
            from += 6;
            if (c >= 0xD800 && c <= 0xDBFF) {
                c = 0x10000 + ((c - 0xD800) << 10) + (hex4(from + 2) - 0xDC00);
                from += 6;
            }
            to += bytes_put_utf8(c, to);
        }
    }
    return (size_t)(to - p);
}

/* U+FFFD stands for what cJSON refuses or would cut a string at, so that the other problems are found too. */
static void mend(char *text, const struct json_text *checked)
{
    for (size_t i = 0; i < checked->n_defects; i++) {
        const struct json_defect *d = &checked->defects[i];
        if (d->kind == JSON_NUL || d->kind == JSON_LONE_SURROGATE)
            memcpy(text + d->offset, "\\ufffd", 6);
        else if (d->kind == JSON_INVALID_UTF8)
            text[d->offset] = '?';
    }
}

/* Returns its length. `to` may be the middle of a text, so no NUL is written behind it. */
static size_t write_mark(char *to, size_t i)
{
    char mark[MARK_MAX];
    int n = snprintf(mark, sizeof(mark), "%c%zu", MARK, i);

    memcpy(to, mark, (size_t)n);
    return (size_t)n;
}

static void add_mark(struct bytes_buf *out, size_t i)
{
    char mark[MARK_MAX];

    bytes_buf_add(out, mark, write_mark(mark, i));
}

/* The text with a mark in the place of each long string. */
static void write_skeleton(const char *text, size_t n, const struct json_text *checked, struct bytes_buf *out)
{
    size_t at = 0;

    for (size_t i = 0; i < checked->n_longs; i++) {
        bytes_buf_add(out, text + at, checked->longs[i].offset - at);
        add_mark(out, i);
        at = checked->longs[i].offset + checked->longs[i].n;
    }
    bytes_buf_add(out, text + at, n - at);
}

/* The long string at p, where its closing quote, or another octet, is behind it. */
static struct bytes_view decode(char *p, const struct json_long *l)
{
    size_t n = l->escaped ? unescape(p, l->n) : l->n;

    p[n] = '\0';
    return bytes_view(p, n);
}

static void parse_copy(char *text, size_t n, const struct json_text *checked, struct json_tree *out)
{
    struct bytes_buf skeleton;

    bytes_buf_init_block(&skeleton, 0);
    write_skeleton(text, n, checked, &skeleton);
    if (!skeleton.failed)
        out->root = cJSON_ParseWithLength(skeleton.p, skeleton.n);
    bytes_buf_deinit(&skeleton);
    for (size_t i = 0; i < checked->n_longs; i++)
        out->longs[i] = decode(text + checked->longs[i].offset, &checked->longs[i]);
}

/* Moves the long strings out of the text; a mark has fewer octets than any of them. Returns the text's new length. */
static size_t set_aside(char *text, size_t n, const struct json_text *checked, struct json_tree *out)
{
    char *to = text, *aside = out->aside;
    size_t at = 0;

    for (size_t i = 0; i < checked->n_longs; i++) {
        const struct json_long *l = &checked->longs[i];
        memmove(to, text + at, l->offset - at);
        to += l->offset - at;
        at = l->offset + l->n;
        memcpy(aside, text + l->offset, l->n);
        out->longs[i] = decode(aside, l);
        aside += l->n + ASIDE_EXTRA;
        to += write_mark(to, i);
    }
    memmove(to, text + at, n - at);
    return (size_t)(to - text) + n - at;
}

static void parse_in_place(char *text, size_t n, const struct json_text *checked, size_t long_octets,
                           struct json_tree *out)
{
    out->aside = block_alloc(long_octets + checked->n_longs * ASIDE_EXTRA);
    if (out->aside)
        out->root = cJSON_ParseWithLength(text, set_aside(text, n, checked, out));
}

int json_tree_build(char *text, size_t n, const struct json_text *checked, struct json_tree *out)
{
    size_t long_octets = 0;

    *out = (struct json_tree){0};
    mend(text, checked);
    for (size_t i = 0; i < checked->n_longs; i++)
        long_octets += checked->longs[i].n;
    out->longs = calloc(checked->n_longs + 1, sizeof(*out->longs));
    out->n_longs = checked->n_longs;
    out->is_large = n - long_octets + checked->n_values * sizeof(cJSON) > LARGE;
    if (out->longs && !checked->n_longs)
        out->root = cJSON_ParseWithLength(text, n);
    else if (out->longs && long_octets < n / 2)
        parse_in_place(text, n, checked, long_octets, out);
    else if (out->longs)
        parse_copy(text, n, checked, out);
    if (out->root)
        return 0;
    json_tree_deinit(out);
    return -1;
}

char *json_tree_take_text(struct json_tree *t, char *text)
{
    char *aside = t->aside;

    t->aside = NULL;
    if (!aside)
        return text;
    block_free(text);
    return aside;
}

int json_tree_begin(struct json_tree *out)
{
    *out = (struct json_tree){.root = cJSON_CreateObject()};
    return out->root ? 0 : -1;
}

cJSON *json_tree_new_string(struct json_tree *t, struct bytes_view v)
{
    struct bytes_view *longs;
    struct bytes_buf mark;
    cJSON *item = NULL;

    if (v.n < JSON_TEXT_LONG)
        return cJSON_CreateString(v.p);
    longs = reallocarray(t->longs, t->n_longs + 1, sizeof(*longs));
    if (!longs)
        return NULL;
    t->longs = longs;
    t->longs[t->n_longs] = v;
    bytes_buf_init(&mark, 0);
    add_mark(&mark, t->n_longs++);
    if (!mark.failed)
        item = cJSON_CreateString(mark.p);
    bytes_buf_deinit(&mark);
    return item;
}

void json_tree_deinit(struct json_tree *t)
{
    cJSON_Delete(t->root);
    free(t->longs);
    block_free(t->aside);
    if (t->is_large)
        block_trim();
    *t = (struct json_tree){0};
}

struct bytes_view json_tree_string(const struct json_tree *t, const cJSON *item, bool *kept_out)
{
    const char *s = item->valuestring;
    size_t i;

    *kept_out = s[0] == MARK;
    if (!*kept_out)
        return bytes_view_str(s);
    i = strtoul(s + 1, NULL, 10);
    if (i >= t->n_longs)
        unreachable("a mark without its string");
    return t->longs[i];
}
