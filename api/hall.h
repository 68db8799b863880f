#ifndef API_HALL_H
#define API_HALL_H
/* What the files of the front hall share: the hall of each HTTP loop, where its requests are served. Everything in it
 * is for that loop's thread. */
#include "api/auth.h"
#include "api/http.h"
#include "service/service.h"
#include "smtp/work.h"

struct diagnosis_runs;

struct hall_tell {                      /* a line of the log, at most one a second: what causes it comes in crowds */
    uint64_t last;                      /* ms: when it was written last */
    unsigned n;                         /* times since then */
};

struct hall {
    struct service *service;            /* all halls' */
    struct desk *desk;
    struct loop *loop;
    struct auth *auth;                  /* in force; held */
    struct work *work;                  /* the same: for large bodies */
    struct diagnosis_runs *runs;        /* the same */
    bool checking_relay;                /* /readyz?relay=deep has a diagnosis running; the first loop's */
    bool is_unix;                       /* the API listens on a Unix socket */
    /* of the admin listener on a loopback address: HOST:PORT; else NULL */
    const char *admin_loopback;
    bool closing;                       /* its loop has stopped, and reads its last letters */
    struct http *http;
    struct http_server *server, *admin; /* the admin listener is on the first loop, NULL elsewhere */
    struct hall_tell closed, admin_closed;
    struct loop_msg stop;
};
#endif
