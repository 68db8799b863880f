#ifndef API_LISTEN_H
#define API_LISTEN_H
/* Listening sockets: "host:port", "[v6]:port" or "unix:/path". */
#include "smtp/bytes.h"

struct listen_socket {
    int fd;                             /* non-blocking; -1 when not open */
    uint16_t port;                      /* as bound; 0 for a Unix socket */
    char path[108];                     /* of a Unix socket; "" for TCP */
};

/* need_local: refuse any TCP address but loopback. 0, or -1 with a sentence that says what to do. */
int listen_open(const char *address, bool need_local, struct listen_socket *out, char err_out[200]) MUST_CHECK;
/* a Unix socket's name goes with its listener */
void listen_remove_path(struct listen_socket *s);
#endif
