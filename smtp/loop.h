#ifndef SMTP_LOOP_H
#define SMTP_LOOP_H
/* An event loop: epoll, timers, and a mailbox with an eventfd. It knows no SMTP; api/ and service/ may use it too.
 * What a loop owns, no other thread touches: every function here but loop_post and loop_stop is for the loop's own
 * thread (or before loop_run). Callbacks run on the loop's thread. Times are milliseconds of CLOCK_MONOTONIC.
 *
 * Input goes before time: a timer rings once everything has been handed out that was ready when it became due, also
 * when the process was stopped in between. After a pause of a second or more all timers wait another 200 ms. */
#include "smtp/bytes.h"

struct loop;

/* Embedded in the owner; the owner keeps it alive until loop_del. events: EPOLLIN | EPOLLOUT … (level-triggered). */
struct loop_io {
    int fd;
    uint32_t events;
    void (*on_ready)(struct loop_io *io, uint32_t events);
};

/* Embedded in the owner; zero-initialised means not set. One shot: cleared before on_timer runs, which may set it
 * again. */
struct loop_timer {
    uint64_t due;
    bool is_set;                        /* to be read only, as due; what follows on_timer is the loop's business */
    void (*on_timer)(struct loop_timer *t);
    struct loop_timer *kids, *next, *back;
};

/* A letter in the mailbox. Embedded in the message, which the receiver owns from loop_post on. */
struct loop_msg {
    struct loop_msg *next;
    void (*on_msg)(struct loop_msg *m);
};

struct loop *loop_new(void) MUST_CHECK;
/* Letters still in the mailbox are NOT freed: drain first. A poster wakes the loop after its letter lies there, so the
 * threads that post are joined first too. */
void loop_free(struct loop *l);
/* until loop_stop, for good: a later run reads what letters there are; 0, or -1 with errno when epoll fails */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);                                 /* any thread; also from a signal handler */

int loop_add(struct loop *l, struct loop_io *io, uint32_t events) MUST_CHECK;     /* 0, or -1 with errno */
/* no system call when nothing changes */
int loop_mod(struct loop *l, struct loop_io *io, uint32_t events);
/* before close(fd). Events of the running batch are dropped too */
void loop_del(struct loop *l, struct loop_io *io);

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t due);          /* sets or moves; cannot fail */
void loop_timer_clear(struct loop *l, struct loop_timer *t);

/* any thread; order is kept per sender. Wakes the loop at most once a batch */
void loop_post(struct loop *l, struct loop_msg *m);

/* Called each time before the loop would wait, and before timers ring: work that is done once a batch (MHD_run,
 * flushing). Returns the longest wait it allows in ms, -1 for any. One hook a loop. */
void loop_set_before_wait(struct loop *l, int (*before_wait)(void *ctx), void *ctx);

/* True: of what is being handed out, a letter may have come after the loop last asked what is ready. Who counts on
 * having seen what came before that letter must look for itself. */
bool loop_is_late(const struct loop *l);

uint64_t loop_now(const struct loop *l);                        /* ms, read once per wake-up */
uint64_t clock_us(void);                                        /* CLOCK_MONOTONIC in µs, read now */
#endif
