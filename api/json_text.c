#include "api/json_text.h"

#include "smtp/block.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A strict reader of JSON text: grammar, characters, depth and duplicate keys; it builds no values. */

#define NUMBER_MAX 400

struct key {                            /* of an object that is still open; decoded */
    size_t at, n;                       /* in reader.names */
    size_t offset;                      /* in the text */
};

struct frame {
    bool is_object;
    size_t index;                       /* of the array's current item */
    size_t first_key;                   /* of the object's keys in reader.keys */
};

struct reader {
    const char *p;
    size_t n, i;
    size_t max_values;
    struct frame frames[JSON_TEXT_DEPTH_MAX];
    size_t depth;
    struct key *keys;
    size_t n_keys, cap_keys;
    struct bytes_buf names;             /* the decoded keys of the open objects */
    struct json_text *out;
};

/* What the next token may be. */
enum expect { VALUE, VALUE_OR_END, NAME, NAME_OR_END, COMMA_OR_END, NOTHING };

static int refuse_at(struct reader *r, size_t offset, const char *why)
{
    size_t line = 1, column = 1;

    for (size_t i = 0; i < offset && i < r->n; i++) {
        if (r->p[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)r->p[i] & 0xC0) != 0x80) {
            column++;
        }
    }
    snprintf(r->out->error, sizeof(r->out->error), "line %zu, column %zu: %s", line, column, why);
    return -1;
}

static int refuse(struct reader *r, const char *why)
{
    return refuse_at(r, r->i, r->i >= r->n ? "the text ends too early" : why);
}

static int no_memory(struct reader *r)
{
    r->out->no_memory = true;
    return -1;
}

void json_text_add_pointer_step(struct bytes_buf *pointer, struct bytes_view name)
{
    bytes_buf_add_char(pointer, '/');
    for (size_t i = 0; i < name.n && !pointer->failed;) {
        size_t len = bytes_utf8_length(name.p + i, name.n - i);
        if (name.p[i] == '~')
            bytes_buf_add_str(pointer, "~0");
        else if (name.p[i] == '/')
            bytes_buf_add_str(pointer, "~1");
        else if (len && name.p[i])
            bytes_buf_add(pointer, name.p + i, len);
        else
            bytes_buf_add_str(pointer, "\xEF\xBF\xBD");
        i += len ? len : 1;
    }
}

/* RFC 6901: the way down the open arrays and objects, as far as there is room. A name may be as long as the body, and
 * a hundred defects below it would each have it. */
static char *make_pointer(const struct reader *r)
{
    struct bytes_buf b;
    size_t whole = 0;
    char index[24];

    bytes_buf_init(&b, JSON_TEXT_POINTER_MAX);
    bytes_buf_add_str(&b, "");
    for (size_t i = 0; i < r->depth && !b.failed; i++) {
        const struct frame *f = &r->frames[i];
        size_t end = i + 1 < r->depth ? r->frames[i + 1].first_key : r->n_keys;
        whole = b.n;
        if (f->is_object && end > f->first_key) {
            const struct key *k = &r->keys[end - 1];
            json_text_add_pointer_step(&b, bytes_view(bytes_buf_view(&r->names).p + k->at, k->n));
        } else if (!f->is_object) {
            snprintf(index, sizeof(index), "/%zu", f->index);
            bytes_buf_add_str(&b, index);
        }
    }
    if (b.failed && b.p) {
        b.p[whole] = '\0';
        return b.p;
    }
    return bytes_buf_take(&b, NULL);
}

static int add_defect(struct reader *r, enum json_defect_kind kind, size_t offset, bool in_key)
{
    struct json_text *t = r->out;
    char *pointer;

    if (t->n_defects == JSON_TEXT_DEFECTS_MAX) {
        t->has_more = true;
        return 0;
    }
    if (!t->defects)
        t->defects = calloc(JSON_TEXT_DEFECTS_MAX, sizeof(*t->defects));
    pointer = t->defects ? make_pointer(r) : NULL;
    if (!pointer)
        return no_memory(r);
    t->defects[t->n_defects++] = (struct json_defect){kind, offset, in_key, pointer};
    return 0;
}

/* Octets that may stand in a string as they are and begin no character of several. */
__attribute__((always_inline)) static inline size_t plain_run(const char *p, size_t n)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        uint64_t v = bytes_load8(p + i);
        uint64_t marks = v | bytes_marks_below(v, 0x20) | bytes_marks_of(v, '"') | bytes_marks_of(v, '\\');
        if (marks & BYTES_TOPS)
            return i + bytes_first_mark(marks);
    }
    while (i < n && (unsigned char)p[i] >= 0x20 && (unsigned char)p[i] < 0x80 && p[i] != '"' && p[i] != '\\')
        i++;
    return i;
}

static void skip_space(struct reader *r)
{
    while (r->i < r->n && (r->p[r->i] == ' ' || r->p[r->i] == '\n' || r->p[r->i] == '\r' || r->p[r->i] == '\t'))
        r->i++;
}

static bool is_digit(const struct reader *r, size_t i)
{
    return i < r->n && r->p[i] >= '0' && r->p[i] <= '9';
}

/* Four hex digits at `i`; -1 when they are not there. */
static long hex4(const struct reader *r, size_t i)
{
    long v = 0;

    if (r->n - i < 4 || i > r->n)
        return -1;
    for (size_t k = i; k < i + 4; k++) {
        int digit = bytes_hex_value(r->p[k]);
        if (digit < 0)
            return -1;
        v = v * 16 + digit;
    }
    return v;
}

/* r->i is at the 'u' of an escape; leaves it behind the last digit. */
static int read_unicode_escape(struct reader *r, struct bytes_buf *key)
{
    size_t start = r->i - 1;
    long c = hex4(r, r->i + 1), low;
    char utf8[4];

    if (c < 0)
        return refuse(r, "\\u needs four hexadecimal digits");
    r->i += 5;
    low = r->i + 1 < r->n && r->p[r->i] == '\\' && r->p[r->i + 1] == 'u' ? hex4(r, r->i + 2) : -1;
    if (c >= 0xD800 && c <= 0xDBFF && low >= 0xDC00 && low <= 0xDFFF) {
        r->i += 6;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    } else if (c >= 0xD800 && c <= 0xDFFF) {
        c = 0xFFFD;
        if (add_defect(r, JSON_LONE_SURROGATE, start, key != NULL) < 0)
            return -1;
    } else if (c == 0) {
        c = 0xFFFD;
        if (add_defect(r, JSON_NUL, start, key != NULL) < 0)
            return -1;
    }
    if (key)
        bytes_buf_add(key, utf8, bytes_put_utf8((unsigned long)c, utf8));
    return 0;
}

const char json_text_escapes[256] = {['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
                                     ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t'};

static int read_escape(struct reader *r, struct bytes_buf *key)
{
    char meant;

    r->i++;
    if (r->i >= r->n)
        return refuse(r, "");
    if (r->p[r->i] == 'u')
        return read_unicode_escape(r, key);
    meant = json_text_escapes[(unsigned char)r->p[r->i]];
    if (!meant)
        return refuse(r, "no such escape");
    if (key)
        bytes_buf_add_char(key, meant);
    r->i++;
    return 0;
}

/* A character beyond ASCII. */
static int read_wide(struct reader *r, struct bytes_buf *key)
{
    size_t len = bytes_utf8_length(r->p + r->i, r->n - r->i);

    if (!len && add_defect(r, JSON_INVALID_UTF8, r->i, key != NULL) < 0)
        return -1;
    if (key && len)
        bytes_buf_add(key, r->p + r->i, len);
    else if (key)
        bytes_buf_add_str(key, "\xEF\xBF\xBD");
    r->i += len ? len : 1;
    return 0;
}

static int add_long(struct reader *r, struct json_long l)
{
    struct json_text *t = r->out;
    struct json_long *v = t->longs;

    if ((t->n_longs & (t->n_longs - 1)) == 0)   /* room grows whenever the number reaches a power of two */
        v = reallocarray(v, t->n_longs ? 2 * t->n_longs : 1, sizeof(*v));
    if (!v)
        return no_memory(r);
    t->longs = v;
    t->longs[t->n_longs++] = l;
    return 0;
}

/* r->i is at the opening quote. `key` takes the decoded text, when it is wanted. */
static int read_string(struct reader *r, struct bytes_buf *key)
{
    size_t run = ++r->i, start = run;
    bool escaped = false;

    for (;;) {
        unsigned char c;
        r->i += plain_run(r->p + r->i, r->n - r->i);
        if (key)
            bytes_buf_add(key, r->p + run, r->i - run);
        if (r->i >= r->n)
            return refuse(r, "");
        c = (unsigned char)r->p[r->i];
        if (c == '"')
            break;
        if (c < 0x20)
            return refuse(r, "a control character in a string must be escaped");
        escaped = escaped || c == '\\';
        if (c == '\\' && !key && r->n - r->i > 1 && json_text_escapes[(unsigned char)r->p[r->i + 1]])
            r->i += 2;                  /* nearly all of them */
        else if ((c == '\\' ? read_escape(r, key) : read_wide(r, key)) < 0)
            return -1;
        run = r->i;
    }
    r->i++;
    if (key || r->i - 1 - start < JSON_TEXT_LONG)
        return 0;
    return add_long(r, (struct json_long){start, r->i - 1 - start, escaped});
}

/* number = [ "-" ] ( "0" / digit1-9 *DIGIT ) [ "." 1*DIGIT ] [ "e" [ "-" / "+" ] 1*DIGIT ]; RFC 7493 §2.2: within a
 * double's range. */
static int read_number(struct reader *r)
{
    char text[NUMBER_MAX + 1];
    size_t start = r->i;
    bool broken;

    r->i += r->p[r->i] == '-';
    broken = !is_digit(r, r->i);
    if (!broken && r->p[r->i] == '0' && is_digit(r, r->i + 1))
        return refuse(r, "a number may not begin with 0");
    while (is_digit(r, r->i))
        r->i++;
    if (!broken && r->i < r->n && r->p[r->i] == '.') {
        broken = !is_digit(r, ++r->i);
        while (is_digit(r, r->i))
            r->i++;
    }
    if (!broken && r->i < r->n && (r->p[r->i] | 32) == 'e') {
        r->i++;
        r->i += r->i < r->n && (r->p[r->i] == '+' || r->p[r->i] == '-');
        broken = !is_digit(r, r->i);
        while (is_digit(r, r->i))
            r->i++;
    }
    if (broken)
        return refuse(r, "expected a digit");
    if (r->i - start > NUMBER_MAX)
        return refuse_at(r, start, "the number is too long");
    memcpy(text, r->p + start, r->i - start);
    text[r->i - start] = '\0';
    if (isinf(strtod(text, NULL)))
        return refuse_at(r, start, "the number is too large");
    return 0;
}

static int read_word(struct reader *r, const char *word)
{
    size_t n = strlen(word);

    if (r->n - r->i < n || memcmp(r->p + r->i, word, n) != 0)
        return refuse(r, "expected true, false or null");
    r->i += n;
    return 0;
}

static int push(struct reader *r, bool is_object)
{
    if (r->depth == JSON_TEXT_DEPTH_MAX)
        return refuse(r, "more than 32 arrays and objects in one another");
    r->frames[r->depth++] = (struct frame){.is_object = is_object, .first_key = r->n_keys};
    r->i++;
    return 0;
}

/* Equal names come together, in the order of the text. */
static int compare_names(const void *a, const void *b, void *names)
{
    const struct key *ka = a, *kb = b;
    int by_text;

    if (ka->n != kb->n)
        return ka->n < kb->n ? -1 : 1;
    by_text = ka->n ? memcmp((const char *)names + ka->at, (const char *)names + kb->at, ka->n) : 0;
    return by_text ? by_text : ka->offset < kb->offset ? -1 : ka->offset > kb->offset;
}

static bool same_name(const struct reader *r, const struct key *a, const struct key *b)
{
    return bytes_equal(bytes_view(r->names.p + a->at, a->n), bytes_view(r->names.p + b->at, b->n));
}

/* The innermost object is complete: each name that comes more than once is one defect. */
static int check_duplicates(struct reader *r)
{
    size_t first = r->frames[r->depth - 1].first_key, end = r->n_keys;
    int rc = 0;

    if (end - first < 2)
        return 0;
    qsort_r(r->keys + first, end - first, sizeof(*r->keys), compare_names, r->names.p);
    for (size_t i = first + 1; i < end && rc == 0; i++) {
        if (!same_name(r, &r->keys[i], &r->keys[i - 1]))
            continue;
        if (i > first + 1 && same_name(r, &r->keys[i], &r->keys[i - 2]))
            continue;
        r->n_keys = i + 1;              /* the pointer ends in this name */
        rc = add_defect(r, JSON_DUPLICATE_KEY, r->keys[i].offset, false);
    }
    r->n_keys = end;
    return rc;
}

static int pop(struct reader *r)
{
    struct frame *f = &r->frames[r->depth - 1];

    if (f->is_object && check_duplicates(r) < 0)
        return -1;
    if (r->n_keys > f->first_key) {
        size_t keep = r->keys[f->first_key].at;
        for (size_t i = f->first_key; i < r->n_keys; i++)
            keep = r->keys[i].at < keep ? r->keys[i].at : keep;
        r->names.n = keep;
        r->n_keys = f->first_key;
    }
    r->depth--;
    r->i++;
    return 0;
}

static int add_key(struct reader *r, struct key k)
{
    if (r->n_keys == r->cap_keys) {
        size_t cap = r->cap_keys ? 2 * r->cap_keys : 32;
        struct key *keys = block_resize(r->keys, r->n_keys * sizeof(*keys), cap * sizeof(*keys));
        if (!keys)
            return no_memory(r);
        r->keys = keys;
        r->cap_keys = cap;
    }
    r->keys[r->n_keys++] = k;
    return 0;
}

static int read_key(struct reader *r)
{
    struct key k = {.at = r->names.n, .offset = r->i};
    size_t first_defect = r->out->n_defects;

    if (r->i >= r->n || r->p[r->i] != '"')
        return refuse(r, "expected a name in quotes");
    if (read_string(r, &r->names) < 0)
        return -1;
    if (r->names.failed)
        return no_memory(r);
    k.n = r->names.n - k.at;
    if (add_key(r, k) < 0)
        return -1;
    for (size_t i = first_defect; i < r->out->n_defects; i++) {
        free(r->out->defects[i].pointer);
        r->out->defects[i].pointer = make_pointer(r);   /* only now is the whole name known */
        if (!r->out->defects[i].pointer)
            return no_memory(r);
    }
    skip_space(r);
    if (r->i >= r->n || r->p[r->i] != ':')
        return refuse(r, "expected a colon");
    r->i++;
    return 0;
}

static enum expect after_value(const struct reader *r)
{
    return r->depth ? COMMA_OR_END : NOTHING;
}

static int read_value(struct reader *r, enum expect *next)
{
    char c = r->i < r->n ? r->p[r->i] : '\0';
    int rc;

    if (r->out->n_values++ == r->max_values) {
        r->out->has_too_many = true;
        return refuse(r, "more values than max_json_values allows");
    }
    if (c == '{' || c == '[') {
        *next = c == '{' ? NAME_OR_END : VALUE_OR_END;
        return push(r, c == '{');
    }
    if (c == '"')
        rc = read_string(r, NULL);
    else if (c == '-' || (c >= '0' && c <= '9'))
        rc = read_number(r);
    else if (c == 't' || c == 'f' || c == 'n')
        rc = read_word(r, c == 't' ? "true" : c == 'f' ? "false" : "null");
    else
        rc = refuse(r, "expected a value");
    *next = after_value(r);
    return rc;
}

static int read_comma_or_end(struct reader *r, enum expect *next)
{
    struct frame *f = &r->frames[r->depth - 1];
    char c = r->i < r->n ? r->p[r->i] : '\0';

    if (c == (f->is_object ? '}' : ']')) {
        int rc = pop(r);
        *next = after_value(r);
        return rc;
    }
    if (c != ',')
        return refuse(r, f->is_object ? "expected a comma or }" : "expected a comma or ]");
    r->i++;
    f->index++;
    *next = f->is_object ? NAME : VALUE;
    return 0;
}

static int step(struct reader *r, enum expect *next)
{
    char c;

    skip_space(r);
    c = r->i < r->n ? r->p[r->i] : '\0';
    switch (*next) {
    case NAME_OR_END:
    case VALUE_OR_END:
        if (c == (*next == NAME_OR_END ? '}' : ']'))
            return read_comma_or_end(r, next);
        if (*next == VALUE_OR_END)
            return read_value(r, next);
        *next = VALUE;
        return read_key(r);
    case NAME:
        *next = VALUE;
        return read_key(r);
    case VALUE:
        return read_value(r, next);
    case COMMA_OR_END:
        return read_comma_or_end(r, next);
    case NOTHING:
        break;
    }
    unreachable("a step behind the end of the JSON text");
}

int json_text_check(struct bytes_view json, size_t max_values, struct json_text *out)
{
    struct reader r = {.p = json.p, .n = json.n, .max_values = max_values, .out = out};
    enum expect next = VALUE;
    int rc = 0;

    *out = (struct json_text){0};
    bytes_buf_init_block(&r.names, 0);
    if (json.n >= 3 && memcmp(json.p, "\xEF\xBB\xBF", 3) == 0)
        rc = refuse(&r, "the text begins with a byte order mark");
    while (rc == 0 && next != NOTHING)
        rc = step(&r, &next);
    if (rc == 0) {
        skip_space(&r);
        if (r.i < r.n)
            rc = refuse(&r, "nothing may follow the value");
    }
    block_free(r.keys);
    bytes_buf_deinit(&r.names);
    return rc;
}

void json_text_deinit(struct json_text *t)
{
    for (size_t i = 0; i < t->n_defects; i++)
        free(t->defects[i].pointer);
    free(t->defects);
    free(t->longs);
    *t = (struct json_text){0};
}
