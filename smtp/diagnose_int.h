#ifndef SMTP_DIAGNOSE_INT_H
#define SMTP_DIAGNOSE_INT_H
/* What the files of the diagnosis share. For diagnose*.c only. */
#include "smtp/diagnose.h"

struct diagnose_state {
    const struct diagnose_params *p;
    struct diagnosis *d;
    uint64_t began_us;
    struct diagnose_step *step;         /* the one that runs; NULL: none */
};

/* ---- diagnose.c: the book of steps and findings ---- */

void diagnose_begin(struct diagnose_state *s, enum diagnose_step_id id);
/* A sentence more in the running step's detail. */
void diagnose_say(struct diagnose_state *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
void diagnose_warn(struct diagnose_state *s);                           /* the running step will end as a warning */
/* …as a failure, as which a send would end. */
void diagnose_fail(struct diagnose_state *s, const struct smtp_outcome *why);
void diagnose_end(struct diagnose_state *s);                            /* OK unless warned or failed */
void diagnose_skip(struct diagnose_state *s, enum diagnose_step_id id, const char *why);
void diagnose_find(struct diagnose_state *s, enum diagnose_finding_id id, bool warning, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
uint32_t diagnose_ms(const struct diagnose_state *s);                   /* since the run began */
#endif
