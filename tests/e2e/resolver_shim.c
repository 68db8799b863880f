#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

/* Preloaded into the program under test: answers for names under .shim.invalid without asking a name server, so that
 * the tests need no network. nxdomain: does not exist; again: the server does not answer; slow: for twenty seconds;
 * two: 127.0.0.2, then 127.0.0.1. */

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
    lookup *real = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");

    if (node && strcmp(node, "nxdomain.shim.invalid") == 0)
        return EAI_NONAME;
    if (node && strcmp(node, "again.shim.invalid") == 0)
        return EAI_AGAIN;
    if (node && strcmp(node, "slow.shim.invalid") == 0) {
        sleep(20);
        return EAI_AGAIN;
    }
    if (node && strcmp(node, "two.shim.invalid") == 0) {
        int error = real("127.0.0.2", service, hints, res);
        return error ? error : real("127.0.0.1", service, hints, &(*res)->ai_next);
    }
    return real(node, service, hints, res);
}
