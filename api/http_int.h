#ifndef API_HTTP_INT_H
#define API_HTTP_INT_H
/* What the files of http.c share: a connection and a server. For their loop's thread. */
#include "api/http.h"

#include <stdatomic.h>

struct MHD_Daemon;
struct MHD_Response;
struct http_linger;
struct http_lobby;
struct http_tls_session;

#define HTTP_SERVERS_MAX 2
#define HTTP_ROOM 64                    /* connections beyond the limit that may be on their way out */

enum phase {
    PHASE_IDLE,                         /* between requests, and while a head is read */
    PHASE_UPLOAD,                       /* the body comes in and is kept */
    PHASE_PAUSED,                       /* the same, suspended until http_continue */
    PHASE_DROP,                         /* the answer is known; the rest of the body is read and dropped */
    PHASE_WAITING,                      /* suspended until http_answer */
    PHASE_ANSWERED,                     /* queued in libmicrohttpd */
};

struct http_conn {
    struct http_request r;              /* one at a time; first, so that a request is its connection */
    struct http_server *server;
    struct MHD_Connection *c;
    struct http_tls_session *tls;       /* or NULL */
    enum phase phase;
    size_t uri_n, received, dropped, received_before;
    size_t late_end, received_late;     /* what lay at the socket when the time was up counts: up to here */
    uint64_t due;                       /* what is allowed to take until then */
    struct loop_timer timer;            /* may be set earlier than due: it then only looks again */
    struct http_conn *prev, *next;      /* waiting, finished, or in mid-handshake */
    struct loop_io io;                  /* the socket in our epoll set, in mid-handshake */
    struct http_conn *older, *younger;  /* by `since` */
    uint64_t since;                     /* ms: it came to the daemon, or its last request ended */
    unsigned stuck_looks;
    bool is_cut;                        /* its end has been made sure of */
    bool is_shut;                       /* both ways: nobody reads any more */
    bool is_whole;                      /* the last request came whole, and its answer leaves the end to the client */
    int raw_status;                     /* of an answer written past libmicrohttpd */
};

struct conn_list {
    struct http_conn *first;
};

struct http_server {
    struct http *http;
    struct http_params p;
    struct MHD_Daemon *daemon;
    struct loop_io io;                  /* the daemon's epoll set in ours */
    bool pending;                       /* the daemon has work although its descriptors are quiet */
    unsigned calls, quiet;              /* of the daemon to us; its last runs that made none and left work */
    bool is_quiet;                      /* there were too many of those, and there is work all the time */
    struct loop_timer quiet_timer;
    bool closing, ending;
    struct http_linger *linger;         /* NULL: the server ends, and so does every connection, at once */
    struct conn_list waiting, finished; /* both are suspended; finished ones are resumed in a batch */
    struct conn_list shaking;           /* suspended too, until the client has sent more of its handshake */
    struct http_conn *oldest, *youngest;        /* of the daemon's connections */
    unsigned n_cut;                     /* of these: cut, and not gone yet */
    struct http_lobby *lobby;
    uint64_t admitted_since;            /* ms: when the connection came that is being given to the daemon */
    bool began;                         /* the daemon took it */
    struct http_share *own_share;       /* which gives connections to this server only, or NULL */
    atomic_uint load;                   /* connections: the daemon's, in the lobby, and those that are brought */
};

struct http {
    struct loop *loop;
    struct http_server *servers[HTTP_SERVERS_MAX];
};

/* http.c */
int http_conn_fd(struct http_conn *k);
void http_conn_write_raw(struct http_conn *k);  /* its answer, past libmicrohttpd; the connection must end then */
void http_conn_list_add(struct conn_list *l, struct http_conn *k);
void http_conn_list_remove(struct conn_list *l, struct http_conn *k);
void http_server_less_load(struct http_server *s);              /* a connection of its load has ended */
void http_server_tell_closed(struct http_server *s, const char *why, const struct sockaddr *address);

/* http_response.c */
struct MHD_Response *http_response_make(struct http_conn *k) MUST_CHECK;        /* NULL: no memory */
void http_response_text(const struct http_request *r, struct bytes_buf *out);   /* inits out; for the wire */
void http_response_free(struct http_answer *a);                 /* what it still has */

/* http_entry.c */
int http_entry_start(struct http_server *s) MUST_CHECK;         /* its lobby; -1: no memory */
void http_entry_add(struct http_conn *k);                       /* the youngest of its server's */
void http_entry_remove(struct http_conn *k);

/* http_stuck.c */
/* Ends a connection for certain, with shutdown(2)'s `how`. */
void http_stuck_cut(struct http_conn *k, int how);
/* Once a second, while a body is awaited: whether nothing will come of it any more. If so it has been answered and
 * cut. */
bool http_stuck_look(struct http_conn *k);
void http_stuck_drop_unread(int fd);
/* After a run of the daemon; called: it called us. Decides when it runs again. */
void http_stuck_next_run(struct http_server *s, bool called);
void http_stuck_on_quiet(struct loop_timer *t);
#endif
