#include "api/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Opens the sockets on which the API and the admin listener take connections. */

#define ERR_SIZE 200
#define BACKLOG 1024

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

static int open_unix(const char *path, struct listen_socket *out, char err_out[ERR_SIZE])
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
    if (out->fd < 0 || bind(out->fd, (const struct sockaddr *)(const void *)&sun, sizeof(sun)) < 0 ||
        chmod(path, 0660) < 0 || listen(out->fd, BACKLOG) < 0) {
        snprintf(err_out, ERR_SIZE, "Cannot listen on unix:%.80s: %s.", path,
                 errno == EADDRINUSE ? "something else uses this path; remove it or choose another" : strerror(errno));
        return -1;
    }
    memcpy(out->path, path, strlen(path) + 1);
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
    if (need_local && !is_loopback(found->ai_addr)) {
        snprintf(err_out, ERR_SIZE, "Refusing to listen on %.60s without API keys: set api_keys (MAILHATCH_API_KEYS), "
                 "or listen on 127.0.0.1, [::1] or a Unix socket.", address);
        rc = -1;
    } else {
        rc = open_address(found, address, out, err_out);
    }
    freeaddrinfo(found);
    return rc;
}

int listen_open(const char *address, bool need_local, struct listen_socket *out, char err_out[ERR_SIZE])
{
    int rc;

    *out = (struct listen_socket){.fd = -1};
    rc = strncmp(address, "unix:", 5) == 0 ? open_unix(address + 5, out, err_out)
                                           : open_tcp(address, need_local, out, err_out);
    if (rc < 0 && out->fd >= 0) {
        close(out->fd);
        out->fd = -1;
    }
    return rc;
}
