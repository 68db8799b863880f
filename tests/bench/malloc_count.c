#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Counts what a program allocates: LD_PRELOAD this, and a line of JSON is appended to the file MALLOC_COUNT names (else
 * to standard error) on SIGUSR2 and at the end. cost.py takes the difference of two lines. "callers" has the return
 * address of each call that allocates, with calls and bytes. */

#define CLASSES 7
#define CALLERS 1024                    /* a power of two; there are some hundred */
#define CALLER_TEXT 80

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

enum count { MALLOC, CALLOC, REALLOC, MEMALIGN, FREE, BYTES, UPTO64, COUNTS = UPTO64 + CLASSES };

static const char *const names[COUNTS] = {"malloc", "calloc", "realloc", "memalign", "free", "bytes",
                                          "upto_64", "upto_256", "upto_1k", "upto_4k", "upto_16k", "upto_64k", "more"};
static atomic_ulong counts[COUNTS];
static struct caller {
    atomic_uintptr_t from;
    atomic_ulong calls, bytes;
} callers[CALLERS];
static int out = STDERR_FILENO;

static void add(enum count what, unsigned long n)
{
    atomic_fetch_add_explicit(&counts[what], n, memory_order_relaxed);
}

/* The slot is taken once and for all by who comes first; when the table is full the rest goes uncounted. */
static void count_caller(void *from, size_t size)
{
    uintptr_t address = (uintptr_t)from;

    for (size_t i = 0; i < CALLERS; i++) {
        struct caller *c = &callers[(address / 4 + i) & (CALLERS - 1)];
        uintptr_t owner = 0;

        if (atomic_compare_exchange_strong(&c->from, &owner, address) || owner == address) {
            atomic_fetch_add_explicit(&c->calls, 1, memory_order_relaxed);
            atomic_fetch_add_explicit(&c->bytes, size, memory_order_relaxed);
            return;
        }
    }
}

static void count(enum count what, size_t size, void *from)
{
    size_t limit = 64;
    int class = 0;

    for (; class < CLASSES - 1 && size > limit; limit *= 4)
        class++;
    add(what, 1);
    add(BYTES, size);
    add((enum count)(UPTO64 + class), 1);
    count_caller(from, size);
}

void *malloc(size_t size)
{
    count(MALLOC, size, __builtin_return_address(0));
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    count(CALLOC, n * size, __builtin_return_address(0));
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    count(REALLOC, size, __builtin_return_address(0));
    return __libc_realloc(p, size);
}

void *memalign(size_t alignment, size_t size)
{
    count(MEMALIGN, size, __builtin_return_address(0));
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
    static char line[1024 + CALLERS * CALLER_TEXT];
    size_t n = 0;

    for (int i = 0; i < COUNTS; i++) {
        n += put_text(line + n, i ? ", \"" : "{\"");
        n += put_text(line + n, names[i]);
        n += put_text(line + n, "\": ");
        n += put_number(line + n, atomic_load(&counts[i]));
    }
    n += put_text(line + n, ", \"callers\": {\"0\": [0, 0]");
    for (int i = 0; i < CALLERS; i++) {
        if (!atomic_load(&callers[i].from))
            continue;
        n += put_text(line + n, ", \"");
        n += put_number(line + n, atomic_load(&callers[i].from));
        n += put_text(line + n, "\": [");
        n += put_number(line + n, atomic_load(&callers[i].calls));
        n += put_text(line + n, ", ");
        n += put_number(line + n, atomic_load(&callers[i].bytes));
        n += put_text(line + n, "]");
    }
    n += put_text(line + n, "}}\n");
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
