#ifndef SMTP_WORK_H
#define SMTP_WORK_H
/* Threads for what takes too long on a loop: parsing and composing large bodies. A job runs on one of them, and comes
 * back to its loop as a letter. It knows no SMTP; api/ and service/ use it too. */
#include "smtp/loop.h"

struct work;

struct work_job {                       /* embedded; the owner keeps it alive until on_done */
    void (*run)(struct work_job *j);    /* on a worker thread */
    void (*on_done)(struct work_job *j);        /* on the loop reply_to */
    struct loop *reply_to;
    struct loop_msg msg;                /* these two: the workers' business */
    struct work_job *next;
};

/* NULL: no memory. The threads start with their first job, so that who never needs them does not pay. */
struct work *work_new(unsigned threads) MUST_CHECK;
/* Any thread. -1: no thread can be started; the job was not taken. */
int work_submit(struct work *w, struct work_job *j) MUST_CHECK;
/* Waits until every job has run; their letters are posted by then. */
void work_free(struct work *w);
#endif
