#include "smtp/file.h"

#include "smtp/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Reads the files that settings name. */

#define FIRST_SIZE 4096                 /* for files that do not say their size, as those of /proc */
#define TRIES 5                         /* when a file changes while it is read */

static atomic_bool pipes_forbidden;

void file_forbid_pipes(void)
{
    pipes_forbidden = true;
}

void file_free(char *text, size_t n)
{
    if (text)
        crypto_cleanse(text, n);
    free(text);
}

static int file_fail(char why_out[FILE_ERR_SIZE], const char *what, int error)
{
    snprintf(why_out, FILE_ERR_SIZE, "%s%s", what, error ? strerror(error) : "");
    return -1;
}

static int fail_size(char why_out[FILE_ERR_SIZE], size_t max)
{
    if (max >= 1024 * 1024 && max % (1024 * 1024) == 0)
        snprintf(why_out, FILE_ERR_SIZE, "is larger than %zu MiB", max / (1024 * 1024));
    else if (max % 1024 == 0)
        snprintf(why_out, FILE_ERR_SIZE, "is larger than %zu KiB", max / 1024);
    else
        snprintf(why_out, FILE_ERR_SIZE, "is larger than %zu bytes", max);
    return -1;
}

/* A pipe without a name, which the one who started this process made for it. A FIFO in the file system may have no
 * writer for ever. */
static bool is_given_pipe(const char *path, enum file_kind kind, const struct stat *st)
{
    return kind == FILE_OR_PIPE && !pipes_forbidden && S_ISFIFO(st->st_mode) &&
           (strcmp(path, "/dev/stdin") == 0 || strncmp(path, "/dev/fd/", 8) == 0 ||
            strncmp(path, "/proc/self/fd/", 14) == 0);
}

static bool is_dev_null(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

static int check_kind(const char *path, enum file_kind kind, const struct stat *st, char why_out[FILE_ERR_SIZE])
{
    if (S_ISREG(st->st_mode) || is_dev_null(st) || is_given_pipe(path, kind, st))
        return 0;
    return file_fail(why_out, S_ISDIR(st->st_mode) ? "is a directory, not a file"
                     : S_ISFIFO(st->st_mode) ? "is a pipe (FIFO), not a file"
                     : S_ISSOCK(st->st_mode) ? "is a socket, not a file" : "is a device, not a file", 0);
}

/* Looked at before it is opened, since opening a device or a FIFO does things; and after, since it may be another one
 * by then. */
static int file_open(const char *path, enum file_kind kind, struct stat *st_out, char why_out[FILE_ERR_SIZE])
{
    int fd;

    if (stat(path, st_out) != 0)
        return file_fail(why_out, "cannot be read: ", errno);
    if (check_kind(path, kind, st_out, why_out) != 0)
        return -1;
    fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return file_fail(why_out, "cannot be read: ", errno);
    if (fstat(fd, st_out) == 0 && check_kind(path, kind, st_out, why_out) == 0)
        return fd;
    close(fd);
    return -1;
}

struct contents {
    char *p;
    size_t n, size;
};

/* No realloc: it would leave a copy of a secret behind. */
static int contents_grow(struct contents *c, size_t size)
{
    char *larger = malloc(size);

    if (!larger)
        return -1;
    if (c->n)
        memcpy(larger, c->p, c->n);
    file_free(c->p, c->n);
    c->p = larger;
    c->size = size;
    return 0;
}

static int read_all(int fd, bool is_pipe, size_t max, struct contents *c, char why_out[FILE_ERR_SIZE])
{
    for (;;) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        ssize_t k;
        if (c->n + 1 >= c->size && contents_grow(c, 2 * c->size) != 0)
            return file_fail(why_out, "cannot be read: ", ENOMEM);
        k = read(fd, c->p + c->n, c->size - 1 - c->n);
        if (k < 0 && errno == EAGAIN && is_pipe)
            (void)poll(&ready, 1, -1);
        else if (k < 0 && errno != EINTR)
            return file_fail(why_out, "cannot be read: ", errno);
        else if (k == 0)
            break;
        else if (k > 0)
            c->n += (size_t)k;
        if (c->n > max)
            return fail_size(why_out, max);
    }
    c->p[c->n] = '\0';
    return 0;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* 1: it changed meanwhile, and may have been read half old, half new. */
static int read_once(const char *path, size_t max, enum file_kind kind, struct contents *c,
                     char why_out[FILE_ERR_SIZE])
{
    struct stat before, after;
    int fd = file_open(path, kind, &before, why_out), rc = -1;
    size_t size;

    if (fd < 0)
        return -1;
    size = S_ISREG(before.st_mode) && before.st_size > 0 ? (size_t)before.st_size : 0;
    if (size > max)
        fail_size(why_out, max);
    else if (contents_grow(c, size < FIRST_SIZE ? FIRST_SIZE : size + 2) != 0)
        file_fail(why_out, "cannot be read: ", ENOMEM);
    else
        rc = read_all(fd, S_ISFIFO(before.st_mode), max, c, why_out);
    if (rc == 0 && S_ISREG(before.st_mode) && fstat(fd, &after) == 0 && !is_same(&before, &after))
        rc = 1;
    close(fd);
    return rc;
}

char *file_read(const char *path, size_t max, enum file_kind kind, size_t *n_out, char why_out[FILE_ERR_SIZE])
{
    for (unsigned i = 0; i < TRIES; i++) {
        struct contents c = {NULL, 0, 0};
        int rc = read_once(path, max, kind, &c, why_out);
        *n_out = c.n;
        if (rc == 0)
            return c.p;
        file_free(c.p, c.n);
        if (rc < 0)
            return NULL;
    }
    file_fail(why_out, "is being written to", 0);
    return NULL;
}

void file_stamp(const char *path, char out[FILE_STAMP_SIZE])
{
    struct stat st;

    if (!path)
        snprintf(out, FILE_STAMP_SIZE, "%s", "");
    else if (stat(path, &st) != 0)
        snprintf(out, FILE_STAMP_SIZE, "-");
    else
        snprintf(out, FILE_STAMP_SIZE, "%" PRIuMAX ".%" PRIuMAX ".%" PRIdMAX ".%" PRIdMAX ".%ld",
                 (uintmax_t)st.st_dev, (uintmax_t)st.st_ino, (intmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec,
                 st.st_mtim.tv_nsec);
}

/* "device.inode" of a stamp. */
static size_t identity_length(const char *stamp)
{
    const char *dot = strchr(stamp, '.');

    dot = dot ? strchr(dot + 1, '.') : NULL;
    return dot ? (size_t)(dot - stamp) : 0;
}

bool file_stamp_is_file(const char *stamp)
{
    return identity_length(stamp) > 0;
}

bool file_stamp_same_file(const char *a, const char *b)
{
    size_t n = identity_length(a);

    return n > 0 && n == identity_length(b) && memcmp(a, b, n) == 0;
}
