#ifndef SERVICE_LOOPS_H
#define SERVICE_LOOPS_H
/* The HTTP loops and their threads: the first one is for the thread that makes them, each other has one of its own. */
#include "smtp/loop.h"

struct loops;

struct loops *loops_new(size_t n) MUST_CHECK;                   /* NULL, with errno: no memory or descriptors */
struct loop *const *loops_get(const struct loops *l, size_t *n_out);    /* lent */
/* Runs all until the first one is stopped; the other threads have ended when it returns. What is to be on a loop must
 * be on it before. 0, or -1 with errno: a thread could not be started, or epoll failed. */
int loops_run(struct loops *l);
void loops_free(struct loops *l);
#endif
