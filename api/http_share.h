#ifndef API_HTTP_SHARE_H
#define API_HTTP_SHARE_H
/* One listening socket for the servers of several loops: each connection goes to the server that has the fewest. If
 * each accepted for itself, whoever wakes first would take all that wait: of three loops one often had none. Everything
 * here but http_share_left is for the loop that accepts. */
#include "api/http.h"

struct http_crowd;
struct http_crowd_key;

struct http_share_params {
    struct loop *loop;                  /* the one that accepts */
    unsigned max_connections;           /* of all servers together */
    bool makes_room;                    /* of one server on this loop: the oldest idle connection makes room */
    int max_fd;                         /* a connection with a higher descriptor is closed at once, as the rest is
                                         * kept for others; 0: no limit */
    size_t n_servers;                   /* at most */
    struct http_crowd *crowd;           /* of connections by address; NULL: no limit. Outlives the share */
    void (*on_crowded)(void *ctx, const struct http_crowd_key *key);    /* one more than the limit: it is closed */
    void (*on_scarce)(void *ctx);       /* NULL, or: there was no descriptor for a connection */
    void *ctx;
};
struct http_share *http_share_new(const struct http_share_params *p) MUST_CHECK;
/* Once every server has joined. Takes fd over. 0, or -1 with errno: it is closed. */
int http_share_listen(struct http_share *s, int fd) MUST_CHECK;
void http_share_stop(struct http_share *s);                     /* what waits is taken, then the socket is closed */
void http_share_free(struct http_share *s);                     /* stopped, and after its servers */

/* For http.c. */
void http_share_join(struct http_share *s, struct http_server *server);
void http_share_left(struct http_share *s);                     /* a connection has ended; any thread */
/* It was at this address (struct sockaddr); before _left, and also for one that never began. Any thread. */
void http_share_forget(struct http_share *s, const void *address);
#endif
