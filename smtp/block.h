#ifndef SMTP_BLOCK_H
#define SMTP_BLOCK_H
/* Memory for what may be large: bodies and composed mails. Blocks of at least BLOCK_LARGE octets are mapped apart from
 * malloc's heap, where small things would settle in the holes they leave, and are kept for the next one when they are
 * freed: a page costs more to fetch from the kernel than all that is done with its octets. Any thread. */
#include "smtp/bytes.h"

#define BLOCK_LARGE ((size_t)256 * 1024)

void *block_alloc(size_t n) MUST_CHECK;         /* NULL: no memory */
/* As realloc does; `used` octets are kept. p may be NULL, or malloc's own. NULL: no memory, and p stands as it was. */
void *block_resize(void *p, size_t used, size_t n) MUST_CHECK;
void block_free(void *p);                       /* a block, what malloc gave, or NULL */
/* Gives what is kept back to the kernel, and what malloc holds and nobody uses. Some milliseconds after a burst. */
void block_trim(void);

/* Large contents that are read once, from front to back: what was read is given back to the kernel meanwhile, so that
 * a mail's body and its composed form are never both in memory as a whole. What is given back reads as zeros. */
struct block_spent {
    struct bytes_view content;
    size_t at;                          /* that much of it has been given back */
};
#define BLOCK_SPENT_FROM ((size_t)4 * 1024 * 1024)      /* smaller ones are worth more as they are */
#define BLOCK_SPENT_STEP ((size_t)1024 * 1024)
void block_discard(const void *p, size_t n);    /* nobody reads these octets again, nor writes any */
static inline void block_spend(struct block_spent *s, size_t read)
{
    if (s->content.n < BLOCK_SPENT_FROM || read - s->at < BLOCK_SPENT_STEP)
        return;
    block_discard(s->content.p + s->at, read - s->at);
    s->at = read;
}
#endif
