#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Preloaded into the program under test: answers for names under .shim.invalid without asking a name server, so that
 * the tests need no network. nxdomain: does not exist; again: the server does not answer; slow: for twenty seconds;
 * late: 127.0.0.1 after more than a second; two: 127.0.0.2, then 127.0.0.1; both: ::1 and 127.0.0.1; split: one address
 * of the Internet and one of a private network.
 * With SHIM_PORT in the environment every other name is 127.0.0.1, and a connection to one of the ports of mail goes to
 * that port of 127.0.0.1, whatever the address: so a relay can be called smtp.gmail.com:587.
 * With SHIM_DIR each name that is asked for becomes a line of the file "asked" there; while a file NAME.hangs is there
 * a look-up of that name does not end, and with NAME.fails it ends with "try again". */

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);
typedef int connector(int, const struct sockaddr *, socklen_t);

static int is_shim_name(const char *node)
{
    size_t n = strlen(node), suffix = sizeof(".shim.invalid") - 1;

    return n > suffix && strcmp(node + n - suffix, ".shim.invalid") == 0;
}

static int has_file(const char *dir, const char *node, const char *suffix)
{
    char path[1024];

    snprintf(path, sizeof(path), "%s/%s.%s", dir, node, suffix);
    return access(path, F_OK) == 0;
}

/* True: it fails. */
static int obey_files(const char *dir, const char *node)
{
    char path[1024];
    FILE *f;

    snprintf(path, sizeof(path), "%s/asked", dir);
    f = fopen(path, "a");
    if (f) {
        fprintf(f, "%s\n", node);
        fclose(f);
    }
    while (has_file(dir, node, "hangs"))
        usleep(10000);
    return has_file(dir, node, "fails");
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
    lookup *real = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");

    if (node && getenv("SHIM_DIR") && obey_files(getenv("SHIM_DIR"), node))
        return EAI_AGAIN;
    if (node && strcmp(node, "nxdomain.shim.invalid") == 0)
        return EAI_NONAME;
    if (node && strcmp(node, "again.shim.invalid") == 0)
        return EAI_AGAIN;
    if (node && strcmp(node, "slow.shim.invalid") == 0) {
        sleep(20);
        return EAI_AGAIN;
    }
    if (node && strcmp(node, "both.shim.invalid") == 0) {
        int error = real("::1", service, hints, res);
        return error ? error : real("127.0.0.1", service, hints, &(*res)->ai_next);
    }
    if (node && strcmp(node, "late.shim.invalid") == 0) {
        usleep(1300000);
        return real("127.0.0.1", service, hints, res);
    }
    if (node && (strcmp(node, "two.shim.invalid") == 0 || strcmp(node, "split.shim.invalid") == 0)) {
        int two = node[0] == 't', error = real(two ? "127.0.0.2" : "198.51.100.7", service, hints, res);
        return error ? error : real(two ? "127.0.0.1" : "10.1.2.3", service, hints, &(*res)->ai_next);
    }
    if (node && getenv("SHIM_PORT") && !is_shim_name(node) && !strchr(node, ':') &&
        node[strspn(node, "0123456789.")] != '\0')
        return real("127.0.0.1", service, hints, res);
    return real(node, service, hints, res);
}

static int is_mail_port(unsigned port)
{
    return port == 25 || port == 465 || port == 587 || port == 2525 || port == 2465 || port == 2587;
}

int connect(int fd, const struct sockaddr *to, socklen_t n)
{
    connector *real = (connector *)dlsym(RTLD_NEXT, "connect");
    const char *port = getenv("SHIM_PORT");
    struct sockaddr_in in;

    if (!port || to->sa_family != AF_INET || n < sizeof(in))
        return real(fd, to, n);
    memcpy(&in, to, sizeof(in));
    if (!is_mail_port(ntohs(in.sin_port)))
        return real(fd, to, n);
    in.sin_port = htons((unsigned short)strtoul(port, NULL, 10));
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return real(fd, (const struct sockaddr *)&in, sizeof(in));
}
