#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Counts what a program allocates: LD_PRELOAD this, and a line of JSON is appended to the file MALLOC_COUNT names (else
 * to standard error) on SIGUSR2 and at the end. cost.py takes the difference of two lines. */

#define CLASSES 7

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

enum count { MALLOC, CALLOC, REALLOC, MEMALIGN, FREE, BYTES, UPTO64, COUNTS = UPTO64 + CLASSES };

static const char *const names[COUNTS] = {"malloc", "calloc", "realloc", "memalign", "free", "bytes",
                                          "upto_64", "upto_256", "upto_1k", "upto_4k", "upto_16k", "upto_64k", "more"};
static atomic_ulong counts[COUNTS];
static int out = STDERR_FILENO;

static void add(enum count what, unsigned long n)
{
    atomic_fetch_add_explicit(&counts[what], n, memory_order_relaxed);
}

static void count(enum count what, size_t size)
{
    size_t limit = 64;
    int class = 0;

    for (; class < CLASSES - 1 && size > limit; limit *= 4)
        class++;
    add(what, 1);
    add(BYTES, size);
    add((enum count)(UPTO64 + class), 1);
}

void *malloc(size_t size)
{
    count(MALLOC, size);
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    count(CALLOC, n * size);
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    count(REALLOC, size);
    return __libc_realloc(p, size);
}

void *memalign(size_t alignment, size_t size)
{
    count(MEMALIGN, size);
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **p, size_t alignment, size_t size)
{
    *p = memalign(alignment, size);
    return *p ? 0 : ENOMEM;
}

void free(void *p)
{
    if (p)
        add(FREE, 1);
    __libc_free(p);
}

/* ---- the report; all of it may run in a signal handler ---- */

static size_t put_text(char *at, const char *text)
{
    size_t n = strlen(text);

    memcpy(at, text, n);
    return n;
}

static size_t put_number(char *at, unsigned long value)
{
    char digits[24];
    size_t n = 0;

    do
        digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    for (size_t i = 0; i < n; i++)
        at[i] = digits[n - 1 - i];
    return n;
}

static void report(void)
{
    char line[1024];
    size_t n = 0;

    for (int i = 0; i < COUNTS; i++) {
        n += put_text(line + n, i ? ", \"" : "{\"");
        n += put_text(line + n, names[i]);
        n += put_text(line + n, "\": ");
        n += put_number(line + n, atomic_load(&counts[i]));
    }
    n += put_text(line + n, "}\n");
    if (write(out, line, n) < 0)
        return;
}

static void on_signal(int number)
{
    int saved = errno;

    (void)number;
    report();
    errno = saved;
}

__attribute__((constructor)) static void start(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    const char *path = getenv("MALLOC_COUNT");

    if (path)
        out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    sigaction(SIGUSR2, &action, NULL);
}

__attribute__((destructor)) static void stop(void)
{
    report();
}
