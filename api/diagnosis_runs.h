#ifndef API_DIAGNOSIS_RUNS_H
#define API_DIAGNOSIS_RUNS_H
/* Diagnoses that are asked for over HTTP: few at once, on threads of their own, as one may take 90 s; and what the last
 * one of each relay said. */
#include "smtp/diagnose.h"
#include "smtp/work.h"

#define DIAGNOSIS_RUNS_MAX 2

struct diagnosis_runs;

struct diagnosis_run {                  /* heap, by diagnosis_run_new; the fields up to the line are the asker's */
    size_t place;                       /* the relay's, and a reference of its settings, given over */
    struct relay_settings *settings;
    char *to, *from;                    /* owned, or NULL */
    bool send, no_auth, all_ports, tls_versions;
    uint32_t total_ms;                  /* 0: diagnose.h's default */
    char request_id[65];                /* for the log. Empty: a look in the background, logged when it finds news */
    struct loop *reply_to;
    /* On that loop. The run is freed when it returns; run->d.canceled: the gateway stops. */
    void (*on_done)(struct diagnosis_run *run);
    void *ctx;
    struct diagnosis d;
    /* ---- */
    struct diagnosis_runs *runs;
    struct work_job job;
};
struct diagnosis_run *diagnosis_run_new(void) MUST_CHECK;
void diagnosis_run_free(struct diagnosis_run *run);             /* one that was not begun */

struct service;
struct diagnosis_runs *diagnosis_runs_new(struct service *s) MUST_CHECK;
/* Any thread. True: it runs, and on_done comes. False: too many do, or the gateway stops; the run is freed. */
bool diagnosis_runs_begin(struct diagnosis_runs *t, struct diagnosis_run *run) MUST_CHECK;
/* Any thread. Running ones end within 100 ms or so, and none begins any more. */
void diagnosis_runs_cancel(struct diagnosis_runs *t);
/* The same, and waits for them: their letters are posted by then. They are to be read before _free. */
void diagnosis_runs_stop(struct diagnosis_runs *t);
void diagnosis_runs_free(struct diagnosis_runs *t);

struct diagnosis_last {                 /* a full look at a relay; one that was about a mail's envelope is none */
    bool known, ok;
    int64_t at;                         /* seconds since 1970, when it ended */
    uint32_t age_s;
    enum outcome_code code;             /* !ok */
    char conclusion[600];
};
/* Any thread. What was found under other settings than these is not known. */
void diagnosis_runs_get_last(struct diagnosis_runs *t, size_t place, const struct relay_settings *settings,
                             struct diagnosis_last *out);
#endif
