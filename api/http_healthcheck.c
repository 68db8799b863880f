#include "api/api.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The smallest HTTP client that a health check needs: one GET of /livez, for images that have neither shell nor curl.
 */

#define TIMEOUT_MS 3000

static int fail(char err_out[200], const char *what, const char *why)
{
    snprintf(err_out, 200, "%.120s: %s", what, why);
    return -1;
}

/* Milliseconds left until `deadline`, never below 0. */
static int left_ms(uint64_t deadline)
{
    uint64_t now = clock_us() / 1000;

    return now < deadline ? (int)(deadline - now) : 0;
}

static bool wait_for(int fd, short events, uint64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = events};
    int n;

    do
        n = poll(&p, 1, left_ms(deadline));
    while (n < 0 && errno == EINTR);
    if (n == 0)
        errno = ETIMEDOUT;
    return n > 0;
}

static int connect_to(const struct sockaddr *addr, socklen_t len, uint64_t deadline)
{
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = 0;
    socklen_t n = sizeof(error);

    if (fd < 0)
        return -1;
    if (connect(fd, addr, len) == 0)
        return fd;
    if (errno == EINPROGRESS && wait_for(fd, POLLOUT, deadline) &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0) {
        if (!error)
            return fd;
        errno = error;
    }
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int connect_unix(const char *path, uint64_t deadline)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};

    snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
    return connect_to((const struct sockaddr *)(const void *)&sun, sizeof(sun), deadline);
}

/* A listener on all addresses is asked on loopback. */
static int connect_tcp(const char *listen, uint64_t deadline)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    const char *colon = strrchr(listen, ':');
    char host[256];
    int fd = -1;

    if (!colon) {
        errno = EINVAL;
        return -1;
    }
    snprintf(host, sizeof(host), "%.*s", (int)(colon - listen), listen);
    if (host[0] == '[') {
        host[strcspn(host, "]")] = '\0';
        memmove(host, host + 1, strlen(host));
    }
    if (strcmp(host, "0.0.0.0") == 0)
        snprintf(host, sizeof(host), "127.0.0.1");
    else if (strcmp(host, "::") == 0)
        snprintf(host, sizeof(host), "::1");
    if (getaddrinfo(host, colon + 1, &hints, &list) != 0) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
        fd = connect_to(a->ai_addr, a->ai_addrlen, deadline);
    freeaddrinfo(list);
    return fd;
}

/* Reads the status line, "HTTP/1.1 200 OK": 0 when it says 200. */
static int ask(int fd, const char *listen, uint64_t deadline, char err_out[200])
{
    static const char request[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    char answer[256];
    size_t have = 0;

    if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)(sizeof(request) - 1))
        return fail(err_out, listen, strerror(errno));
    while (have < 12) {
        ssize_t n;
        if (!wait_for(fd, POLLIN, deadline))
            return fail(err_out, listen, strerror(errno));
        n = recv(fd, answer + have, sizeof(answer) - 1 - have, 0);
        if (n <= 0)
            return fail(err_out, listen, n < 0 ? strerror(errno) : "closed the connection without an answer");
        have += (size_t)n;
    }
    answer[12] = '\0';
    if (strcmp(answer, "HTTP/1.1 200") != 0)
        return fail(err_out, listen, "the answer is not HTTP/1.1 200");
    return 0;
}

int api_healthcheck(const char *admin_listen, char err_out[200])
{
    uint64_t deadline = clock_us() / 1000 + TIMEOUT_MS;
    bool is_unix = strncmp(admin_listen, "unix:", 5) == 0;
    int fd = is_unix ? connect_unix(admin_listen + 5, deadline) : connect_tcp(admin_listen, deadline);
    int rc;

    err_out[0] = '\0';
    if (fd < 0)
        return fail(err_out, admin_listen, strerror(errno));
    rc = ask(fd, admin_listen, deadline, err_out);
    close(fd);
    return rc;
}
