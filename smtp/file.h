#ifndef SMTP_FILE_H
#define SMTP_FILE_H
/* Files that settings name: read whole, of bounded size, and without ever waiting for one. It knows no SMTP; api/ and
 * service/ use it too. Any thread. */
#include "smtp/bytes.h"

#define FILE_ERR_SIZE 100
#define FILE_SECRET_MAX ((size_t)64 * 1024)             /* passwords and API keys */
#define FILE_CONFIG_MAX ((size_t)1024 * 1024)
#define FILE_PEM_MAX ((size_t)16 * 1024 * 1024)         /* certificates, their keys, revocation lists */

enum file_kind {
    FILE_REGULAR,
    /* Or a pipe that this process was given open (/dev/stdin, /dev/fd/63 of a shell's <(…)), and waits for until its
     * end. For the start and for commands: it can be read once. */
    FILE_OR_PIPE,
};

/* All of a file, with a NUL behind it; owned, and to be freed by file_free. Only regular files (and /dev/null) are
 * opened: no FIFO, device or socket can make it wait. NULL, with what is wrong: "is a directory", "cannot be read: …",
 * "is larger than 64 KiB", to be written behind the path. max: in bytes. */
char *file_read(const char *path, size_t max, enum file_kind kind, size_t *n_out,
                char why_out[FILE_ERR_SIZE]) MUST_CHECK;
void file_free(char *text, size_t n);   /* overwrites what file_read gave; NULL is allowed */
/* Which file a path leads to, its size and its time, as a text: so a symlink that is turned (as Kubernetes does with
 * secrets) is a change too. "": no path; "-": no such file, or out of reach. */
#define FILE_STAMP_SIZE 96
void file_stamp(const char *path, char out[FILE_STAMP_SIZE]);
bool file_stamp_is_file(const char *stamp);                      /* there is one */
bool file_stamp_same_file(const char *a, const char *b);        /* whatever its size and time */
void file_forbid_pipes(void);           /* from now on FILE_OR_PIPE is FILE_REGULAR: loops run */
#endif
