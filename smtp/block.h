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
void block_trim(void);                          /* gives what is kept back to the kernel */
#endif
