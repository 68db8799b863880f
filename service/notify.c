#include "service/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* Tells the service manager that the service is ready, or stopping. */

#define PATIENCE_US 200000              /* when its queue is full: this runs on a loop */

void notify_send(const char *state)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_usec = PATIENCE_US};
    const char *path = getenv("NOTIFY_SOCKET");
    size_t n = path ? strlen(path) : 0;
    int fd;

    if (!n || (*path != '/' && *path != '@') || n >= sizeof(sun.sun_path))
        return;
    memcpy(sun.sun_path, path, n);
    if (*path == '@')
        sun.sun_path[0] = '\0';         /* an abstract name */
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)(const void *)&sun,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    close(fd);
}
