#include "service/memory.h"

#include <malloc.h>

/* glibc's malloc, set up for bodies of megabytes.
 *
 * A large mail costs two blocks of its size. Fetched from the kernel and given back each time, their pages cost more
 * than all that is done with their octets; in one heap of all threads the body of one mail becomes the composed form of
 * the next. What a burst leaves is given back when it is over. */

#define MMAP_THRESHOLD (32 * 1024 * 1024)       /* the most that mallopt takes */
#define TRIM_THRESHOLD (64 * 1024 * 1024)
#define TOP_PAD (512 * 1024)

void memory_setup(void)
{
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD);
    mallopt(M_TOP_PAD, TOP_PAD);
}

void memory_trim(void)
{
    malloc_trim(TOP_PAD);
}
