#include "api/json_reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Noting problems, and reading strings, booleans and objects with names that are known. */

/* What was cut to fit may have lost the end of its last character: drops the rest of it. */
static void mend_utf8(char *s)
{
    size_t n = strlen(s), i = n;

    while (i && n - i < 4 && ((unsigned char)s[i - 1] & 0xC0) == 0x80)
        i--;
    if (i && !bytes_is_utf8(bytes_view(s + i - 1, n - (i - 1))))
        s[i - 1] = '\0';
}

static char *joined(const char *prefix, const char *pointer)
{
    size_t a = strlen(prefix), b = strlen(pointer) + 1;
    char *s = malloc(a + b);

    if (s) {
        memcpy(s, prefix, a);
        memcpy(s + a, pointer, b);
    }
    return s;
}

void json_reader_problem(struct json_reader *r, const char *pointer, const char *code, const char *fmt, ...)
{
    struct json_mail_result *out = r->out;
    struct json_problem *grown;
    char detail[400];
    va_list ap;

    if (out->n_problems == JSON_PROBLEMS_MAX)
        return;
    grown = realloc(out->problems, (out->n_problems + 1) * sizeof(*grown));
    if (!grown) {
        r->no_memory = true;
        return;
    }
    out->problems = grown;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    mend_utf8(detail);
    grown[out->n_problems] =
        (struct json_problem){.pointer = joined(r->prefix, pointer), .code = code, .detail = strdup(detail)};
    if (!grown[out->n_problems].pointer || !grown[out->n_problems].detail)
        r->no_memory = true;
    out->n_problems++;
}

static const char *type_name(const cJSON *item)
{
    return cJSON_IsString(item)   ? "a string"
           : cJSON_IsNumber(item) ? "a number"
           : cJSON_IsArray(item)  ? "an array"
           : cJSON_IsObject(item) ? "an object"
           : cJSON_IsNull(item)   ? "null"
                                  : "a boolean";
}

void json_reader_wrong_type(struct json_reader *r, const char *pointer, const char *want, const cJSON *item)
{
    json_reader_problem(r, pointer, "wrong_type", "expected %s, got %s", want, type_name(item));
}

/* ---- strings ---- */

/* Where the next octet is that may be a control or, when wide ones count, begin U+0080–009F or U+2028, U+2029. */
static inline size_t harmless_run(const char *p, size_t n, bool wide_count)
{
    unsigned char most = wide_count ? 0x7E : 0xFF;
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        uint64_t v = bytes_load8(p + i);
        uint64_t marks = bytes_marks_below(v, 0x20) | bytes_marks_of(v, 0x7F) | (wide_count ? v : 0);
        if (marks & BYTES_TOPS)
            return i + bytes_first_mark(marks);
    }
    while (i < n && (unsigned char)p[i] >= 0x20 && (unsigned char)p[i] <= most && p[i] != 0x7F)
        i++;
    return i;
}

unsigned json_reader_find_control(struct bytes_view v, bool multi_line)
{
    const unsigned char *p = (const unsigned char *)v.p;

    for (size_t i = 0; (i += harmless_run(v.p + i, v.n - i, !multi_line)) < v.n; i++) {
        if (p[i] == 0x7F || (p[i] < 0x20 && !(multi_line && (p[i] == '\n' || p[i] == '\r' || p[i] == '\t'))))
            return p[i];
        if (multi_line || i + 1 == v.n)
            continue;
        if (p[i] == 0xC2 && p[i + 1] < 0xA0)
            return p[i + 1];
        if (p[i] == 0xE2 && i + 2 < v.n && p[i + 1] == 0x80 && (p[i + 2] == 0xA8 || p[i + 2] == 0xA9))
            return 0x2000u + (unsigned)(p[i + 2] - 0x80);
    }
    return 0;
}

struct bytes_view json_reader_text(struct json_reader *r, const cJSON *item, const char *pointer, bool multi_line,
                                   bool *kept_out)
{
    struct bytes_view v = {NULL, 0};
    unsigned control;

    *kept_out = false;
    if (!cJSON_IsString(item)) {
        json_reader_wrong_type(r, pointer, "a string", item);
        return v;
    }
    v = json_tree_string(r->tree, item, kept_out);
    control = json_reader_find_control(v, multi_line);
    if (!control)
        return v;
    json_reader_problem(r, pointer, "control_character", "the character U+%04X is not allowed here", control);
    return bytes_view(NULL, 0);
}

struct bytes_view json_reader_string(struct json_reader *r, const cJSON *item, const char *pointer, bool multi_line)
{
    bool kept;

    return json_reader_text(r, item, pointer, multi_line, &kept);
}

void json_reader_copy(struct json_reader *r, const cJSON *item, const char *pointer, size_t most, char **out)
{
    struct bytes_view v = json_reader_string(r, item, pointer, false);

    if (!v.p)
        return;
    if (v.n > most) {
        json_reader_problem(r, pointer, "too_long", "%zu octets of UTF-8, %zu are allowed", v.n, most);
        return;
    }
    free(*out);                         /* of a name that occurs twice */
    *out = strndup(v.p, v.n);
    if (!*out)
        r->no_memory = true;
}

void json_reader_keep(struct json_reader *r, struct bytes_view v, bool kept, struct bytes_view *out)
{
    if (kept && (!r->kept_end || v.p + v.n > r->kept_end))
        r->kept_end = v.p + v.n;
    *out = kept ? v : mail_keep_copy(r->out->mail, v);
    if (!out->p)
        r->no_memory = true;
}

void json_reader_content(struct json_reader *r, const cJSON *item, const char *pointer, struct bytes_view *out)
{
    bool kept;
    struct bytes_view v = json_reader_text(r, item, pointer, true, &kept);

    if (!v.p)
        return;
    json_reader_keep(r, v, kept, out);
}

bool json_reader_bool(struct json_reader *r, const cJSON *item, const char *pointer)
{
    if (!cJSON_IsBool(item))
        json_reader_wrong_type(r, pointer, "true or false", item);
    return cJSON_IsTrue(item);
}

/* ---- arrays, objects ---- */

void json_reader_each(struct json_reader *r, const cJSON *array, const char *pointer, size_t most, const char *what,
                      void (*read)(struct json_reader *r, const cJSON *item, const char *pointer))
{
    char at[JSON_POINTER_MAX];
    const cJSON *item;
    size_t i = 0;

    if (!cJSON_IsArray(array)) {
        json_reader_wrong_type(r, pointer, "an array", array);
        return;
    }
    cJSON_ArrayForEach(item, array) {
        if (i == most) {
            json_reader_problem(r, pointer, "too_many", "more than %zu %s", most, what);
            return;
        }
        snprintf(at, sizeof(at), "%s/%zu", pointer, i++);
        read(r, item, at);
    }
}

bool json_reader_is_object(struct json_reader *r, const cJSON *item, const char *pointer)
{
    if (!cJSON_IsObject(item))
        json_reader_wrong_type(r, pointer, "an object", item);
    return cJSON_IsObject(item);
}

/* replyTo, ReplyTo and reply-to are all meant for reply_to. */
static void to_snake(const char *s, char out[40])
{
    size_t n = 0;

    for (; *s && n < 37; s++) {
        if (*s >= 'A' && *s <= 'Z') {
            if (n)
                out[n++] = '_';
            out[n++] = (char)(*s + ('a' - 'A'));
        } else {
            out[n++] = *s == '-' ? '_' : *s;
        }
    }
    out[n] = '\0';
}

const char *json_reader_nearest(const char *name, const char *(*nth)(size_t i, const void *ctx), size_t n,
                                const void *ctx)
{
    const char *best = NULL;
    size_t least = 3;
    char snake[40];

    to_snake(name, snake);
    for (size_t i = 0; i < n; i++) {
        const char *candidate = nth(i, ctx);
        size_t d = bytes_distance(snake, candidate);
        if (d < least && d < strlen(candidate) && (d == 1 || 2 * d < strlen(candidate))) {
            least = d;
            best = candidate;
        }
    }
    return best;
}

void json_reader_unknown(struct json_reader *r, const char *pointer, const char *name, const char *nearest)
{
    struct bytes_buf at;

    bytes_buf_init(&at, 1024);
    bytes_buf_add_str(&at, pointer);
    json_text_add_pointer_step(&at, bytes_view_str(name));
    json_reader_problem(r, at.failed ? pointer : bytes_buf_view(&at).p, "unknown_field",
                        nearest ? "no such field; did you mean \"%s\"?" : "no such field", nearest);
    bytes_buf_deinit(&at);
}

static const char *nth_member(size_t i, const void *ctx)
{
    return ((const struct json_member *)ctx)[i].name;
}

void json_reader_members(struct json_reader *r, const cJSON *object, const char *pointer, struct json_member *rows,
                         size_t n_rows)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, object) {
        size_t i = 0;
        if (r->out->n_problems == JSON_PROBLEMS_MAX)
            return;                     /* or a body of unknown names would cost an edit distance for each */
        while (i < n_rows && strcmp(rows[i].name, item->string) != 0)
            i++;
        if (i == n_rows)
            json_reader_unknown(r, pointer, item->string, json_reader_nearest(item->string, nth_member, n_rows, rows));
        else if (!cJSON_IsNull(item))
            rows[i].item = item;
    }
}
