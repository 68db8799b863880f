#ifndef SMTP_BYTES_H
#define SMTP_BYTES_H
/* Views, growable buffers and byte queues with limits. Pure: no I/O, no globals. */
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* A place that cannot be reached. Aborts in builds for tests; in production it says why on stderr and aborts too:
 * going on with a broken invariant could send a mail twice. */
_Noreturn void unreachable(const char *why);
void unreachable_say(void (*say)(const char *why));     /* what says so, instead of stderr itself, which may block */

/* Borrowed bytes; never owned, not NUL-terminated. */
struct bytes_view {
    const char *p;
    size_t n;
};
static inline struct bytes_view bytes_view(const void *p, size_t n) { return (struct bytes_view){p, n}; }
struct bytes_view bytes_view_str(const char *s);                        /* s may be NULL: empty view */
bool bytes_equal(struct bytes_view a, struct bytes_view b);
bool bytes_equal_nocase(struct bytes_view a, struct bytes_view b);      /* ASCII case only */
bool bytes_starts_nocase(struct bytes_view a, const char *prefix);
bool bytes_is_utf8(struct bytes_view v);                                /* strict RFC 3629 */
size_t bytes_utf8_length(const char *p, size_t n);                      /* of the character at p; 0: broken. n >= 1 */
size_t bytes_put_utf8(unsigned long c, char to[4]);                     /* returns its length */
int bytes_hex_value(char c);                                            /* of one digit, or -1 */
bool bytes_is_ascii(struct bytes_view v);

/* Eight octets at a time. In a word of marks the top bit of an octet says that it is one of those looked for; the first
 * marked octet is exact, what lies behind it may be marked by a borrow. */
#define BYTES_ONES 0x0101010101010101u
#define BYTES_TOPS 0x8080808080808080u
static inline uint64_t bytes_load8(const char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}
static inline uint64_t bytes_marks_below(uint64_t v, unsigned char c)   /* c at most 128 */
{
    return (v - BYTES_ONES * c) & ~v;
}
static inline uint64_t bytes_marks_of(uint64_t v, unsigned char c)
{
    v ^= BYTES_ONES * c;
    return (v - BYTES_ONES) & ~v;
}
static inline size_t bytes_first_mark(uint64_t marks) { return (size_t)__builtin_ctzll(marks & BYTES_TOPS) / 8; }

/* For "did you mean": insertions, deletions, substitutions and swaps of neighbours between two words, each shorter than
 * BYTES_DISTANCE_MAX. */
#define BYTES_DISTANCE_MAX 64
size_t bytes_distance(const char *a, const char *b);

/* A growable buffer. An addition that would pass `max` or for which memory is missing sets `failed` and changes
 * nothing more; so a composer adds freely and asks once at the end. Always NUL-terminated when p is not NULL (the
 * NUL is not counted). */
struct bytes_buf {
    char *p;
    size_t n, cap, max;
    bool failed;
    bool is_block;                      /* its memory is a block (smtp/block.h), and what _take gives is one */
};
void bytes_buf_init(struct bytes_buf *b, size_t max);                   /* max 0: no limit but SIZE_MAX / 2 */
void bytes_buf_init_block(struct bytes_buf *b, size_t max);             /* for what may be large */
void bytes_buf_deinit(struct bytes_buf *b);                             /* leaves an empty, usable buffer */
void bytes_buf_reserve(struct bytes_buf *b, size_t more);
void bytes_buf_add(struct bytes_buf *b, const void *p, size_t n);
void bytes_buf_add_str(struct bytes_buf *b, const char *s);
void bytes_buf_add_char(struct bytes_buf *b, char c);
void bytes_buf_printf(struct bytes_buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct bytes_view bytes_buf_view(const struct bytes_buf *b);
/* caller frees; NULL when failed. n_out may be NULL */
char *bytes_buf_take(struct bytes_buf *b, size_t *n_out) MUST_CHECK;

/* A byte queue: added at the end, consumed at the front. Same failure rule as bytes_buf. */
struct bytes_queue {
    char *p;
    size_t off, n, cap, max;                                            /* live bytes are p[off..n) */
    bool failed;
};
void bytes_queue_init(struct bytes_queue *q, size_t max);
void bytes_queue_deinit(struct bytes_queue *q);
void bytes_queue_add(struct bytes_queue *q, const void *p, size_t n);
/* n writable bytes at the end, or NULL; then _added */
char *bytes_queue_room(struct bytes_queue *q, size_t n);
void bytes_queue_added(struct bytes_queue *q, size_t n);
void bytes_queue_consume(struct bytes_queue *q, size_t n);
void bytes_queue_truncate(struct bytes_queue *q, size_t n);             /* only the first n bytes stay */
void bytes_queue_release(struct bytes_queue *q);                        /* give back memory of an empty queue */
static inline size_t bytes_queue_len(const struct bytes_queue *q) { return q->n - q->off; }
static inline struct bytes_view bytes_queue_view(const struct bytes_queue *q)
{
    return bytes_view(q->p ? q->p + q->off : "", q->n - q->off);
}
#endif
