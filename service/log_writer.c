#include "service/log_writer.h"

#include "smtp/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The thread that writes the log, and the ring between it and those who log.
 *
 * A thread with blocking writes, and neither O_NONBLOCK nor poll(2) before a write by the one who logs: stderr is
 * shared with other processes (the shell's terminal, a supervisor's pipe), so its flags are not ours to change, and
 * the room that poll reported may be taken by the time of the write. A file on a slow disk is always "ready" and blocks
 * all the same.
 *
 * Where stderr is a pipe, opening it once more gives a file description of our own, which may be non-blocking; a pipe
 * takes a line whole or not at all. So a pipe with room has a line before the request that it tells of is answered, and
 * loses none to a SIGKILL. It needs the right to open the pipe, which a container's user often has not. */

#define RING_SIZE ((size_t)1024 * 1024)
#define RESERVE ((size_t)64 * 1024)     /* only for important lines: a flood of others does not push them out */
#define LINGER_MS 5                     /* after a batch: lines that come now are written together, without a wake-up */
#define RETRY_MS 1000                   /* between looks whether stderr takes lines again */
#define FLUSH_MAX_MS 5000
#define FLUSH_LOOK_MS 10
#define CRASH_MS 200

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake, moved;         /* for the writer; for those who flush */
    log_writer_report *report;
    int through;                        /* stderr's pipe, non-blocking; 0: none */
    bool is_asleep;                     /* the writer waits for a signal */
    bool is_writing, is_refused;        /* the last write failed */
    bool overflows;                     /* lines are lost until the ring has been emptied and the loss reported */
    size_t first, used;                 /* of ring: records of a length and as many bytes */
    uint64_t unreported, progress;
} w = {.lock = PTHREAD_MUTEX_INITIALIZER};

static char ring[RING_SIZE];
static atomic_bool is_started;
static _Atomic uint64_t n_lost;
static atomic_size_t n_pending;         /* lines that were put and neither written nor lost; read by on_crash */

/* ---- the ring; under the lock ---- */

static void ring_add(const void *p, size_t n)
{
    size_t at = (w.first + w.used) % RING_SIZE, piece = n < RING_SIZE - at ? n : RING_SIZE - at;

    memcpy(ring + at, p, piece);
    memcpy(ring, (const char *)p + piece, n - piece);
    w.used += n;
}

static void ring_peek(void *p, size_t n)
{
    size_t piece = n < RING_SIZE - w.first ? n : RING_SIZE - w.first;

    memcpy(p, ring + w.first, piece);
    memcpy((char *)p + piece, ring, n - piece);
}

static void ring_drop(size_t n)
{
    w.used -= n;
    w.first = w.used ? (w.first + n) % RING_SIZE : 0;   /* a ring that is emptied often touches few pages */
}

/* ---- the writer ---- */

struct batch {                          /* the writer's own */
    char text[LOG_WRITER_LINE_MAX], rest[LOG_WRITER_LINE_MAX];
    size_t n, n_rest;                   /* rest: of a line that stderr took the beginning of */
};

static size_t count_lines(const char *p, size_t n)
{
    size_t lines = 0;

    for (const char *end = p + n; (p = memchr(p, '\n', (size_t)(end - p))); p++)
        lines++;
    return lines;
}

/* How many bytes stderr took: all, or fewer and it refuses the next one. */
static size_t write_some(const char *p, size_t n)
{
    size_t done = 0;

    while (done < n) {
        struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
        ssize_t k = write(STDERR_FILENO, p + done, n - done);
        if (k > 0)
            done += (size_t)k;
        else if (k < 0 && errno == EAGAIN)              /* another process made it non-blocking: this loses no line */
            (void)poll(&ready, 1, RETRY_MS);
        else if (k == 0 || errno != EINTR)
            break;
    }
    return done;
}

/* Number of lines that were lost. The end of a line whose beginning was taken is kept, so that what follows it later
 * does not stand in the middle of it. */
static size_t write_batch(struct batch *b)
{
    size_t done;

    if (b->n_rest) {
        done = write_some(b->rest, b->n_rest);
        memmove(b->rest, b->rest + done, b->n_rest - done);
        b->n_rest -= done;
        if (b->n_rest)
            return count_lines(b->text, b->n);
    }
    done = write_some(b->text, b->n);
    if (done < b->n && done > 0 && b->text[done - 1] != '\n') {
        const char *end = memchr(b->text + done, '\n', b->n - done);
        b->n_rest = end ? (size_t)(end + 1 - (b->text + done)) : b->n - done;
        memcpy(b->rest, b->text + done, b->n_rest);
        done += b->n_rest;
    }
    return count_lines(b->text + done, b->n - done);
}

static void add_ms(struct timespec *t, unsigned ms)
{
    t->tv_sec += ms / 1000;
    t->tv_nsec += (long)(ms % 1000) * 1000000;
    if (t->tv_nsec >= 1000000000) {
        t->tv_sec++;
        t->tv_nsec -= 1000000000;
    }
}

/* False: the time is over. */
static bool writer_wait(pthread_cond_t *c, unsigned ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    add_ms(&until, ms);
    return pthread_cond_timedwait(c, &w.lock, &until) == 0;
}

/* Whole lines, as many as one write takes. False: there are none. */
static bool take_batch(struct batch *b)
{
    uint16_t n;

    b->n = 0;
    while (w.used) {
        ring_peek(&n, sizeof(n));
        if (b->n + n > sizeof(b->text))
            return true;
        ring_drop(sizeof(n));
        ring_peek(b->text + b->n, n);
        ring_drop(n);
        b->n += n;
    }
    return b->n > 0;
}

static void writer_lose(uint64_t n)
{
    w.unreported += n;
    atomic_fetch_add(&n_lost, n);
}

/* Number of lines that were lost. */
static size_t write_out(struct batch *b)
{
    size_t lines;

    w.is_writing = true;
    pthread_mutex_unlock(&w.lock);
    lines = write_batch(b);
    pthread_mutex_lock(&w.lock);
    w.is_writing = false;
    w.is_refused = lines || b->n_rest;
    w.progress++;
    pthread_cond_broadcast(&w.moved);
    return lines;
}

static void write_lines(struct batch *b)
{
    size_t n = count_lines(b->text, b->n);

    writer_lose(write_out(b));
    atomic_fetch_sub(&n_pending, n);
}

/* The ring is empty: what stands there is said to be incomplete, and only then new lines may come. */
static void writer_report(struct batch *b)
{
    uint64_t reported = w.unreported;

    b->n = reported ? w.report(reported, b->text) : 0;
    if (write_out(b) == 0)
        w.unreported -= reported;
    if (w.unreported == 0)
        w.overflows = false;
}

static void writer_rest(const struct batch *b)
{
    w.is_asleep = true;
    if (w.unreported || b->n_rest)
        (void)writer_wait(&w.wake, RETRY_MS);
    else
        pthread_cond_wait(&w.wake, &w.lock);
    w.is_asleep = false;
}

static void *writer_run(void *arg)
{
    static struct batch b;

    (void)arg;
    pthread_mutex_lock(&w.lock);
    for (;;) {
        bool wrote = false;
        for (; take_batch(&b); wrote = true)
            write_lines(&b);
        if (w.unreported || b.n_rest)
            writer_report(&b);
        if (wrote)
            (void)writer_wait(&w.wake, LINGER_MS);
        else if (!w.used)
            writer_rest(&b);
    }
    return NULL;
}

/* ---- a crash ---- */

/* The writer is another thread and goes on while the handler waits a moment for it. Only calls that are safe in a
 * signal handler; after it the signal ends the process as it would have. */
static void on_crash(int signo)
{
    for (unsigned ms = 0; ms < CRASH_MS && atomic_load(&n_pending); ms += 2)
        (void)poll(NULL, 0, 2);
    raise(signo);
}

static void catch_crashes(void)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)     /* which have handlers of their own */
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction a = {.sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND};

    for (size_t i = 0; i < ARRAY_LEN(signals); i++)
        sigaction(signals[i], &a, NULL);
#else
    (void)on_crash;
#endif
}

/* ---- for those who log ---- */

int log_writer_start(log_writer_report *report_line)
{
    pthread_condattr_t monotonic;
    pthread_attr_t detached;
    sigset_t all, before;
    pthread_t thread;
    int rc;

    w.report = report_line;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w.wake, &monotonic);
    pthread_cond_init(&w.moved, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_attr_init(&detached);       /* it may hang in a write for good: nobody waits for its end */
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);                   /* signals are for the main thread; SIGPIPE and SIGXFSZ are errors here */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&thread, &detached, writer_run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&detached);
    if (rc != 0)
        return -1;
    pthread_setname_np(thread, "log");
    catch_crashes();
    atomic_store(&is_started, true);
    return 0;
}

void log_writer_write_through(void)
{
    struct stat st;
    int fd;

    if (fstat(STDERR_FILENO, &st) != 0 || !S_ISFIFO(st.st_mode))
        return;
    fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    pthread_mutex_lock(&w.lock);
    w.through = fd > 0 ? fd : 0;
    pthread_mutex_unlock(&w.lock);
}

/* Under the lock: no line overtakes another. */
static bool write_through(struct bytes_view text)
{
    return w.through && !w.used && !w.is_writing && !w.unreported &&
           write(w.through, text.p, text.n) == (ssize_t)text.n;
}

bool log_writer_put(struct bytes_view text, bool important)
{
    size_t room = important ? RING_SIZE : RING_SIZE - RESERVE, lines = count_lines(text.p, text.n);
    uint16_t n = (uint16_t)text.n;

    if (!atomic_load(&is_started))
        return false;
    pthread_mutex_lock(&w.lock);
    if (write_through(text)) {
        pthread_mutex_unlock(&w.lock);
        return true;
    }
    if ((w.overflows && !important) || w.used + sizeof(n) + n > room) {
        w.overflows = true;
        writer_lose(lines);
    } else {
        ring_add(&n, sizeof(n));
        ring_add(text.p, n);
        atomic_fetch_add(&n_pending, lines);
        if (w.is_asleep)
            pthread_cond_signal(&w.wake);
        w.is_asleep = false;            /* one signal is enough */
    }
    pthread_mutex_unlock(&w.lock);
    return true;
}

static bool is_all_out(void)
{
    return !w.used && !w.is_writing && (!w.unreported || w.is_refused);
}

void log_writer_flush(unsigned stall_ms)
{
    uint64_t begun = clock_us() / 1000, moved = begun, now = begun, seen;

    if (!atomic_load(&is_started))
        return;
    pthread_mutex_lock(&w.lock);
    seen = w.progress;
    pthread_cond_signal(&w.wake);       /* it may linger */
    while (!is_all_out() && now - moved < stall_ms && now - begun < FLUSH_MAX_MS) {
        (void)writer_wait(&w.moved, FLUSH_LOOK_MS);
        now = clock_us() / 1000;
        if (w.progress != seen)
            moved = now;
        seen = w.progress;
    }
    pthread_mutex_unlock(&w.lock);
}

uint64_t log_writer_lost(void)
{
    return atomic_load(&n_lost);
}
