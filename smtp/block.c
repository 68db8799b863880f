#include "smtp/block.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Mapped blocks: those in use are known by their address, those that are free wait by their size. */

#define BUCKETS 256
#define CLASSES 64                      /* four sizes to each doubling */
#define KEPT_MAX ((size_t)32 * 1024 * 1024)
#define KEPT_EACH ((size_t)8 * 1024 * 1024)     /* a larger one costs little beside what is done with it */
#define COPY_MAX ((size_t)4 * 1024 * 1024)       /* larger blocks grow by moving their pages */
#define SIZE_MOST (SIZE_MAX / 8)        /* nobody means that much */
#define HEAD 64                         /* keeps what follows aligned for anything */
#define PAGE 4096
#define PAGE_MOST ((uintptr_t)64 * 1024)        /* of any machine */

#ifdef __SANITIZE_ADDRESS__             /* sees what is done to malloc's memory, not to this */
#define LARGE SIZE_MAX
#else
#define LARGE BLOCK_LARGE
#endif

struct block {
    struct block *next;                 /* of its bucket, or of its class */
    size_t size;                        /* mapped, this head included */
    size_t class;
};
_Static_assert(sizeof(struct block) <= HEAD, "the head has room");

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct block *in_use[BUCKETS];
static struct block *kept[CLASSES];
static size_t kept_size;

/* 256K, 320K, 384K, 448K, 512K, 640K … */
static size_t class_of(size_t n, size_t *size_out)
{
    size_t base = BLOCK_LARGE, class = 0, size;

    while (base * 2 <= n) {
        base *= 2;
        class += 4;
    }
    size = base;
    while (size < n) {
        size += base / 4;
        class++;
    }
    *size_out = size;
    return class;
}

static struct block **bucket_of(const struct block *b)
{
    return &in_use[(uintptr_t)b / PAGE % BUCKETS];
}

static void *enter(struct block *b)
{
    pthread_mutex_lock(&mutex);
    b->next = *bucket_of(b);
    *bucket_of(b) = b;
    pthread_mutex_unlock(&mutex);
    return (char *)b + HEAD;
}

/* The block that p is the memory of, taken out of its bucket; NULL when it is malloc's. */
static struct block *leave(void *p)
{
    struct block *b = (struct block *)(void *)((char *)p - HEAD), **at;

    if ((uintptr_t)p % PAGE != HEAD)
        return NULL;
    pthread_mutex_lock(&mutex);
    for (at = bucket_of(b); *at && *at != b; at = &(*at)->next)
        ;
    if (*at)
        *at = b->next;
    else
        b = NULL;
    pthread_mutex_unlock(&mutex);
    return b;
}

static struct block *take_kept(size_t class)
{
    struct block *b;

    pthread_mutex_lock(&mutex);
    b = kept[class];
    if (b) {
        kept[class] = b->next;
        kept_size -= b->size;
    }
    pthread_mutex_unlock(&mutex);
    return b;
}

static bool keep(struct block *b)
{
    bool room;

    pthread_mutex_lock(&mutex);
    room = b->size <= KEPT_EACH && kept_size + b->size <= KEPT_MAX;
    if (room) {
        b->next = kept[b->class];
        kept[b->class] = b;
        kept_size += b->size;
    }
    pthread_mutex_unlock(&mutex);
    return room;
}

void *block_alloc(size_t n)
{
    struct block *b;
    size_t size, class;

    if (n > SIZE_MOST)
        return NULL;
    if (n < LARGE)
        return malloc(n ? n : 1);
    class = class_of(n + HEAD, &size);
    if (class >= CLASSES)
        return NULL;
    b = take_kept(class);
    if (!b) {
        b = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (b == MAP_FAILED)
            return NULL;
        b->size = size;
        b->class = class;
    }
    return enter(b);
}

/* A new block with what was used of the old one, which is free for the next of its size. */
static void *replace(void *p, size_t used, size_t n)
{
    void *q = block_alloc(n);

    if (!q)
        return NULL;
    if (used)
        memcpy(q, p, used < n ? used : n);
    block_free(p);
    return q;
}

void *block_resize(void *p, size_t used, size_t n)
{
    struct block *b, *moved;
    size_t size, class;

    if (n > SIZE_MOST)
        return NULL;
    b = p ? leave(p) : NULL;
    if (!b)
        return n < LARGE ? realloc(p, n ? n : 1) : replace(p, used, n);
    class = class_of(n + HEAD, &size);
    if (size == b->size)
        return enter(b);
    if (n < LARGE || size <= COPY_MAX) {
        enter(b);
        return replace(p, used, n);
    }
    moved = class < CLASSES ? mremap(b, b->size, size, MREMAP_MAYMOVE) : MAP_FAILED;
    if (moved == MAP_FAILED) {
        enter(b);
        return NULL;
    }
    moved->size = size;
    moved->class = class;
    return enter(moved);
}

void block_free(void *p)
{
    struct block *b = p ? leave(p) : NULL;

    if (!b)
        free(p);
    else if (!keep(b))
        munmap(b, b->size);
}

void block_trim(void)
{
    for (size_t i = 0; i < CLASSES; i++)
        for (struct block *b; (b = take_kept(i)); munmap(b, b->size))
            ;
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void block_discard(const void *p, size_t n)
{
    uintptr_t from = ((uintptr_t)p + PAGE_MOST - 1) / PAGE_MOST * PAGE_MOST;
    uintptr_t to = ((uintptr_t)p + n) / PAGE_MOST * PAGE_MOST;

    if (from < to)
        madvise((void *)from, to - from, MADV_DONTNEED);
}
