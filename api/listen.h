#ifndef API_LISTEN_H
#define API_LISTEN_H
/* Listening sockets: "host:port", "[v6]:port" or "unix:/path"; or those that systemd hands over. */
#include "smtp/bytes.h"

#include <sys/types.h>

struct listen_socket {
    int fd;                             /* non-blocking; -1 when not open */
    uint16_t port;                      /* as bound; 0 for a Unix socket */
    char path[108];                     /* of a Unix socket of ours, to be removed; "" else */
    char name[300];                     /* where it listens, as an address is written */
    bool is_local;                      /* nobody on another machine can reach it */
    bool inherited;                     /* somebody else holds it too, and it outlives us */
};

struct listen_socket_file {             /* of a Unix socket */
    mode_t mode;
    uid_t uid;                          /* -1: as the process */
    gid_t gid;
};

enum listen_role { LISTEN_API, LISTEN_ADMIN };

/* sd_listen_fds(3): LISTEN_FDS sockets from descriptor 3 on, when LISTEN_PID is this process. Admin's is the one that
 * LISTEN_FDNAMES calls "admin", the API's any other. 1: taken; 0: none was handed over; -1 with a sentence. */
int listen_inherit(enum listen_role role, bool need_local, struct listen_socket *out, char err_out[200]) MUST_CHECK;
/* need_local: refuse any TCP address but loopback. 0, or -1 with a sentence that says what to do. A Unix socket is at
 * no moment open to more people than `file` says. */
int listen_open(const char *address, bool need_local, const struct listen_socket_file *file, struct listen_socket *out,
                char err_out[200]) MUST_CHECK;
/* a Unix socket's name goes with its listener */
void listen_remove_path(struct listen_socket *s);
#endif
