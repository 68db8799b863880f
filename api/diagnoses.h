#ifndef API_DIAGNOSES_H
#define API_DIAGNOSES_H
/* Diagnoses of configured relays, asked for over HTTP: on threads of their own, few at once, ended when the program
 * ends. One of these for all halls. */
#include "api/http.h"
#include "smtp/diagnose.h"

struct diagnoses;
struct hall;
struct send_result;

struct diagnosis_order {
    const char *relay;                  /* NULL: the default one */
    const char *to, *from;              /* NULL: none; copied */
    bool send, tls_versions, all_ports, no_auth;
    uint32_t total_ms;
    /* On the hall's loop, once; d is lent for the call. */
    void (*on_done)(void *ctx, struct hall *h, const struct diagnosis *d);
    void *ctx;
};

struct diagnoses *diagnoses_new(void) MUST_CHECK;
void diagnoses_stop(struct diagnoses *all);     /* cancels them; their letters are posted by then */
void diagnoses_free(struct diagnoses *all);     /* after that, when the letters are read */
/* OUTCOME_SENT: on_done will come. Else NOT_FOUND (no such relay) or OVERLOADED (enough of them run). */
enum outcome_code diagnoses_start(struct hall *h, const struct diagnosis_order *o) MUST_CHECK;
/* The answer to a mail that its relay failed, with a diagnosis in it ("diagnose": true). False: there is no time or no
 * room for one; then nothing was done. */
bool diagnoses_answer(struct hall *h, struct http_request *r, const struct send_result *result) MUST_CHECK;
#endif
