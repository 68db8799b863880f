#ifndef SMTP_WATCH_H
#define SMTP_WATCH_H
/* Tells a loop when files have changed and are at rest again. A thread of its own looks at them, so that a file system
 * that hangs holds up no loop. It knows no SMTP; service/ uses it too.
 *
 * A changed file counts when two looks find the same: file, size, time and contents. They are WATCH_REPLACED_MS apart
 * when another file was put in its place (moved there, or a symlink that was turned), which is whole as a rule; else
 * WATCH_WRITTEN_MS, since a file may be written in several steps. */
#include "smtp/loop.h"

#define WATCH_REPLACED_MS 1000
#define WATCH_WRITTEN_MS 4000

struct watch;

struct watch_file {
    const char *path;                   /* NULL: none, passed over */
    unsigned group;                     /* files that belong together: told when all of them are at rest */
};

/* on_changed: on the loop. group is one of the last watch_set. No inotify: it would watch the wrong file when a symlink
 * on the way is turned, and needs what a sandboxed process may not have. NULL: no memory, or no thread. */
struct watch *watch_new(struct loop *loop, void (*on_changed)(void *ctx, unsigned group), void *ctx) MUST_CHECK;
/* From now on these, copied; on the loop's thread. Each group is told once, when it is at rest for the first time: what
 * the files were when its owner read them only he knows. -1: no memory, and nothing changed. */
int watch_set(struct watch *w, const struct watch_file *files, size_t n) MUST_CHECK;
void watch_stop(struct watch *w);       /* nothing is told any more; before the loop is freed */
void watch_free(struct watch *w);       /* after the loop was freed. The thread is not waited for: it may hang */
#endif
