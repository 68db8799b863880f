#include "api/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Opens the sockets on which the API and the admin listener take connections, or takes those that were handed over. */

#define ERR_SIZE 200
#define BACKLOG 1024
#define FIRST_INHERITED 3               /* SD_LISTEN_FDS_START */

/* ---- Unix sockets ---- */

/* A socket file that nobody listens on is left over from a crash and may go; a live one may not. */
static bool is_stale(const struct sockaddr_un *sun)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool stale =
        fd >= 0 && connect(fd, (const struct sockaddr *)(const void *)sun, sizeof(*sun)) < 0 && errno == ECONNREFUSED;

    if (fd >= 0)
        close(fd);
    return stale;
}

/* The mode of the descriptor is the new file's (unix(7) does not say so; Linux does); it may narrow the umask's, never
 * widen it. Nobody can connect before listen(2), so the owner and the mode asked for are there in time. */
static bool bind_unix(int fd, const struct sockaddr_un *sun, const struct listen_socket_file *file)
{
    bool is_owned = file->uid == (uid_t)-1 && file->gid == (gid_t)-1;
    int error;

    if (fchmod(fd, 0600) < 0 || bind(fd, (const struct sockaddr *)(const void *)sun, sizeof(*sun)) < 0)
        return false;
    if ((is_owned || lchown(sun->sun_path, file->uid, file->gid) == 0) && chmod(sun->sun_path, file->mode) == 0 &&
        listen(fd, BACKLOG) == 0)
        return true;
    error = errno;
    unlink(sun->sun_path);
    errno = error;
    return false;
}

static int open_unix(const char *path, const struct listen_socket_file *file, struct listen_socket *out,
                     char err_out[ERR_SIZE])
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    struct stat st;

    if (!path[0] || strlen(path) >= sizeof(sun.sun_path)) {
        snprintf(err_out, ERR_SIZE, "The path of a Unix socket has 1 to %zu characters.", sizeof(sun.sun_path) - 1);
        return -1;
    }
    memcpy(sun.sun_path, path, strlen(path) + 1);
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && is_stale(&sun))
        unlink(path);
    out->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (out->fd < 0 || !bind_unix(out->fd, &sun, file)) {
        snprintf(err_out, ERR_SIZE, "Cannot listen on unix:%.80s: %s.", path,
                 errno == EADDRINUSE ? "something else uses this path; remove it or choose another"
                 : errno == EPERM    ? "listen_owner is somebody whom only root may make the owner"
                                     : strerror(errno));
        return -1;
    }
    memcpy(out->path, path, strlen(path) + 1);
    out->is_local = true;
    return 0;
}

void listen_remove_path(struct listen_socket *s)
{
    if (s->path[0])
        unlink(s->path);
    s->path[0] = '\0';
}

/* ---- TCP ---- */

static bool is_loopback(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr) >> 24) == 127;
    if (sa->sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
    return false;
}

/* "host:port" or "[v6]:port" taken apart. */
static int split(const char *address, char host[256], char port[6])
{
    const char *colon = strrchr(address, ':');
    const char *from = address, *to = colon;
    unsigned long number = 0;

    if (!colon || !colon[1] || strlen(colon + 1) > 5)
        return -1;
    for (const char *p = colon + 1; *p; p++) {
        if (*p < '0' || *p > '9')
            return -1;
        number = number * 10 + (unsigned long)(*p - '0');
    }
    if (number > 65535)
        return -1;
    if (from[0] == '[' && to > from && to[-1] == ']') {
        from++;
        to--;
    } else if (memchr(from, ':', (size_t)(to - from))) {
        return -1;                      /* an IPv6 address without its brackets */
    }
    if (to - from > 255)
        return -1;
    memcpy(host, from, (size_t)(to - from));
    host[to - from] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return 0;
}

static int open_address(const struct addrinfo *ai, const char *address, struct listen_socket *out,
                        char err_out[ERR_SIZE])
{
    struct sockaddr_storage bound;
    socklen_t len = sizeof(bound);
    int on = 1;

    out->fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (out->fd >= 0)
        setsockopt(out->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (out->fd < 0 || bind(out->fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(out->fd, BACKLOG) < 0 ||
        getsockname(out->fd, (struct sockaddr *)(void *)&bound, &len) < 0) {
        snprintf(err_out, ERR_SIZE, "Cannot listen on %.80s: %s.", address,
                 errno == EADDRINUSE ? "the port is in use; stop what uses it or choose another port"
                 : errno == EACCES ? "ports below 1024 need a privilege; choose a higher one" : strerror(errno));
        return -1;
    }
    out->port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&bound)->sin6_port
                                                  : ((struct sockaddr_in *)(void *)&bound)->sin_port);
    return 0;
}

static int open_tcp(const char *address, bool need_local, struct listen_socket *out, char err_out[ERR_SIZE])
{
    struct addrinfo want = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found = NULL;
    char host[256], port[6];
    int rc;

    if (split(address, host, port) < 0) {
        snprintf(err_out, ERR_SIZE, "\"%.80s\" is no address to listen on: write HOST:PORT, [IPV6]:PORT or unix:/path.",
                 address);
        return -1;
    }
    rc = getaddrinfo(host[0] && strcmp(host, "*") != 0 ? host : NULL, port, &want, &found);
    if (rc != 0) {
        snprintf(err_out, ERR_SIZE, "Cannot listen on %.80s: %s.", address, gai_strerror(rc));
        return -1;
    }
    out->is_local = is_loopback(found->ai_addr);
    if (need_local && !out->is_local) {
        snprintf(err_out, ERR_SIZE, "Refusing to listen on %.60s without API keys: set api_keys (MAILHATCH_API_KEYS), "
                 "or listen on 127.0.0.1, [::1] or a Unix socket.", address);
        rc = -1;
    } else {
        rc = open_address(found, address, out, err_out);
    }
    freeaddrinfo(found);
    return rc;
}

/* Where it really listens: the port that the kernel picked in the place of 0. */
static void set_name(struct listen_socket *s, const char *address)
{
    const char *colon = strrchr(address, ':');

    if (s->path[0] || !colon)
        snprintf(s->name, sizeof(s->name), "%.299s", address);
    else
        snprintf(s->name, sizeof(s->name), "%.*s:%u", (int)(colon - address), address, s->port);
}

int listen_open(const char *address, bool need_local, const struct listen_socket_file *file, struct listen_socket *out,
                char err_out[ERR_SIZE])
{
    int rc;

    *out = (struct listen_socket){.fd = -1};
    rc = strncmp(address, "unix:", 5) == 0 ? open_unix(address + 5, file, out, err_out)
                                           : open_tcp(address, need_local, out, err_out);
    if (rc < 0 && out->fd >= 0) {
        close(out->fd);
        out->fd = -1;
    }
    if (rc == 0)
        set_name(out, address);
    return rc;
}

/* ---- handed over ---- */

/* How many descriptors were handed over to this process: none, when the variables are another one's. */
static int count_inherited(void)
{
    const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
    long count;

    if (!pid || !n || strtol(pid, NULL, 10) != (long)getpid())
        return 0;
    count = strtol(n, NULL, 10);
    return count < 0 || count > 64 ? 0 : (int)count;
}

/* Whether the n-th of the names "api:admin" is the admin listener's. */
static bool is_for_admin(int n)
{
    const char *p = getenv("LISTEN_FDNAMES");

    for (; p && n > 0; n--) {
        p = strchr(p, ':');
        p = p ? p + 1 : NULL;
    }
    return p && strcspn(p, ":") == 5 && strncmp(p, "admin", 5) == 0;
}

static bool is_listening_stream(int fd)
{
    int type = 0, listening = 0;
    socklen_t n = sizeof(type), m = sizeof(listening);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &m) == 0 && listening;
}

/* Where it listens; false for a family other than TCP's and Unix's. */
static bool describe(const struct sockaddr_storage *bound, socklen_t len, struct listen_socket *out)
{
    const struct sockaddr *sa = (const struct sockaddr *)(const void *)bound;
    char host[64], port[8];

    if (sa->sa_family == AF_UNIX) {
        const char *path = ((const struct sockaddr_un *)(const void *)bound)->sun_path;
        size_t n = len - offsetof(struct sockaddr_un, sun_path);
        snprintf(out->name, sizeof(out->name), "unix:%.*s", n && *path ? (int)n : 0, path);
        return true;
    }
    if ((sa->sa_family != AF_INET && sa->sa_family != AF_INET6) ||
        getnameinfo(sa, len, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return false;
    snprintf(out->name, sizeof(out->name), sa->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    out->port = (uint16_t)strtoul(port, NULL, 10);
    return true;
}

static int take_inherited(int fd, const char *what, bool need_local, struct listen_socket *out, char err_out[ERR_SIZE])
{
    struct sockaddr_storage bound = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(bound);
    int flags = fcntl(fd, F_GETFL);

    if (!is_listening_stream(fd) || getsockname(fd, (struct sockaddr *)(void *)&bound, &len) < 0 ||
        !describe(&bound, len, out)) {
        snprintf(err_out, ERR_SIZE, "What was handed over for %s (descriptor %d) is no listening stream socket: the "
                 "socket unit needs ListenStream= and Accept=no.", what, fd);
        return -1;
    }
    out->is_local = bound.ss_family == AF_UNIX || is_loopback((const struct sockaddr *)(const void *)&bound);
    if (need_local && !out->is_local) {
        snprintf(err_out, ERR_SIZE, "Refusing to listen on %.60s without API keys: set api_keys (MAILHATCH_API_KEYS), "
                 "or write a loopback address in the socket unit.", out->name);
        return -1;
    }
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        snprintf(err_out, ERR_SIZE, "Cannot take descriptor %d: %s.", fd, strerror(errno));
        return -1;
    }
    out->fd = fd;
    out->inherited = true;
    return 1;
}

int listen_inherit(enum listen_role role, bool need_local, struct listen_socket *out, char err_out[ERR_SIZE])
{
    const char *what = role == LISTEN_ADMIN ? "the admin listener" : "the API";
    int n = count_inherited(), found = -1;

    *out = (struct listen_socket){.fd = -1};
    for (int i = 0; i < n; i++) {
        if (is_for_admin(i) != (role == LISTEN_ADMIN))
            continue;
        if (found >= 0) {
            snprintf(err_out, ERR_SIZE, "Two sockets were handed over for %s, and it has one listener: leave one "
                     "ListenStream= in the socket unit.", what);
            return -1;
        }
        found = FIRST_INHERITED + i;
    }
    return found < 0 ? 0 : take_inherited(found, what, need_local, out, err_out);
}
