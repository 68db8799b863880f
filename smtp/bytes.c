#include "smtp/bytes.h"

#include "smtp/block.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Views, growable buffers and byte queues with limits. */

static void (*_Atomic say_why)(const char *why);

void unreachable_say(void (*say)(const char *why))
{
    say_why = say;
}

_Noreturn void unreachable(const char *why)
{
    void (*say)(const char *) = atomic_exchange(&say_why, NULL);        /* once: it may fail in its turn */

    if (say)
        say(why);
    else
        fprintf(stderr, "mailhatch: broken invariant: %s\n", why);
    abort();
}

struct bytes_view bytes_view_str(const char *s)
{
    return s ? bytes_view(s, strlen(s)) : bytes_view("", 0);
}

bool bytes_equal(struct bytes_view a, struct bytes_view b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool bytes_equal_nocase(struct bytes_view a, struct bytes_view b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

bool bytes_starts_nocase(struct bytes_view a, const char *prefix)
{
    size_t n = strlen(prefix);

    return a.n >= n && bytes_equal_nocase(bytes_view(a.p, n), bytes_view(prefix, n));
}

bool bytes_is_ascii(struct bytes_view v)
{
    for (size_t i = 0; i < v.n; i++)
        if ((unsigned char)v.p[i] > 127)
            return false;
    return true;
}

/* RFC 3629 §4: the well-formed sequences, by first byte; returns the length, 0 when broken. */
size_t bytes_utf8_length(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    unsigned char c = p[0], low = 0x80, high = 0xBF;
    size_t len;

    if (c < 0x80)
        return 1;
    if (c < 0xC2 || c > 0xF4)
        return 0;
    len = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (n < len)
        return 0;
    if (c == 0xE0)
        low = 0xA0;
    else if (c == 0xED)
        high = 0x9F;                    /* no surrogates */
    else if (c == 0xF0)
        low = 0x90;
    else if (c == 0xF4)
        high = 0x8F;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if (p[i] < 0x80 || p[i] > 0xBF)
            return 0;
    return len;
}

bool bytes_is_utf8(struct bytes_view v)
{
    for (size_t i = 0; i < v.n;) {
        size_t len = bytes_utf8_length(v.p + i, v.n - i);
        if (!len)
            return false;
        i += len;
    }
    return true;
}

size_t bytes_put_utf8(unsigned long c, char to[4])
{
    size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xC0, 0xE0, 0xF0};

    for (size_t i = len; i-- > 1; c >>= 6)
        to[i] = (char)(0x80 | (c & 63));
    to[0] = (char)(leads[len] | c);
    return len;
}

int bytes_hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Optimal string alignment, three rows of its table at a time. */
size_t bytes_distance(const char *a, const char *b)
{
    size_t rows[3][BYTES_DISTANCE_MAX], na = strlen(a), nb = strlen(b);
    size_t *before = rows[0], *last = rows[1], *now = rows[2];

    if (na >= BYTES_DISTANCE_MAX || nb >= BYTES_DISTANCE_MAX)
        unreachable("a word too long for bytes_distance");
    for (size_t j = 0; j <= nb; j++)
        last[j] = j;
    memset(before, 0, sizeof(rows[0]));
    for (size_t i = 1; i <= na; i++) {
        size_t *spare = before;
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        before = last;
        last = now;
        now = spare;
    }
    return last[nb];
}

/* Room for `need` bytes in all plus a NUL; doubles, so that adding is linear. What is more than that is had
 * exactly: who knows the size pays for no more. */
static bool grow(char **p, size_t *cap, size_t need, size_t max, bool is_block)
{
    size_t want = need < 256 ? 256 : need < *cap * 2 ? *cap * 2 : need + 1;
    char *q;

    if (need > max)
        return false;
    if (need + 1 <= *cap)
        return true;
    q = is_block ? block_resize(*p, *cap, want) : realloc(*p, want);
    if (!q)
        return false;
    *p = q;
    *cap = want;
    return true;
}

void bytes_buf_init(struct bytes_buf *b, size_t max)
{
    *b = (struct bytes_buf){.max = max ? max : SIZE_MAX / 4};
}

void bytes_buf_init_block(struct bytes_buf *b, size_t max)
{
    bytes_buf_init(b, max);
    b->is_block = true;
}

void bytes_buf_deinit(struct bytes_buf *b)
{
    if (b->is_block)
        block_free(b->p);
    else
        free(b->p);
    *b = (struct bytes_buf){.max = b->max, .is_block = b->is_block};
}

void bytes_buf_reserve(struct bytes_buf *b, size_t more)
{
    if (b->failed || more > b->max || !grow(&b->p, &b->cap, b->n + more, b->max, b->is_block))
        b->failed = true;
}

void bytes_buf_add(struct bytes_buf *b, const void *p, size_t n)
{
    bytes_buf_reserve(b, n);
    if (b->failed)
        return;
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = '\0';
}

void bytes_buf_add_str(struct bytes_buf *b, const char *s)
{
    bytes_buf_add(b, s, strlen(s));
}

void bytes_buf_add_char(struct bytes_buf *b, char c)
{
    bytes_buf_add(b, &c, 1);
}

void bytes_buf_printf(struct bytes_buf *b, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
        return;
    }
    bytes_buf_reserve(b, (size_t)n);
    if (b->failed)
        return;
    va_start(ap, fmt);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)n;
}

struct bytes_view bytes_buf_view(const struct bytes_buf *b)
{
    return bytes_view(b->p ? b->p : "", b->n);
}

char *bytes_buf_take(struct bytes_buf *b, size_t *n_out)
{
    char *p = NULL;

    if (n_out)
        *n_out = 0;
    if (!b->failed && !b->p)
        bytes_buf_add(b, "", 0);
    if (!b->failed) {
        p = b->p;
        if (n_out)
            *n_out = b->n;
        b->p = NULL;
    }
    bytes_buf_deinit(b);
    return p;
}

void bytes_queue_init(struct bytes_queue *q, size_t max)
{
    *q = (struct bytes_queue){.max = max ? max : SIZE_MAX / 4};
}

void bytes_queue_deinit(struct bytes_queue *q)
{
    free(q->p);
    bytes_queue_init(q, q->max);
}

char *bytes_queue_room(struct bytes_queue *q, size_t n)
{
    if (q->failed || n > q->max || bytes_queue_len(q) > q->max - n) {
        q->failed = true;
        return NULL;
    }
    if (q->off && (q->off == q->n || q->n + n + 1 > q->cap)) {
        memmove(q->p, q->p + q->off, q->n - q->off);
        q->n -= q->off;
        q->off = 0;
    }
    if (!grow(&q->p, &q->cap, q->n + n, SIZE_MAX / 4, false)) {
        q->failed = true;
        return NULL;
    }
    return q->p + q->n;
}

void bytes_queue_added(struct bytes_queue *q, size_t n)
{
    q->n += n;
}

void bytes_queue_add(struct bytes_queue *q, const void *p, size_t n)
{
    char *to = bytes_queue_room(q, n);

    if (!to)
        return;
    if (n)
        memcpy(to, p, n);
    q->n += n;
}

void bytes_queue_consume(struct bytes_queue *q, size_t n)
{
    q->off += n;
    if (q->off == q->n)
        q->off = q->n = 0;
}

void bytes_queue_truncate(struct bytes_queue *q, size_t n)
{
    if (n < bytes_queue_len(q))
        q->n = q->off + n;
}

void bytes_queue_release(struct bytes_queue *q)
{
    if (bytes_queue_len(q) == 0)
        bytes_queue_deinit(q);
}
