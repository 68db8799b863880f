#ifndef SERVICE_DESCRIPTORS_H
#define SERVICE_DESCRIPTORS_H
/* How the file descriptors that the process may have are shared out: what relays, files and the admin listener need is
 * kept from the API's callers, or they could take all of it. Pure. */
#include "service/config.h"

struct descriptors {
    uint64_t limit;                     /* RLIMIT_NOFILE, the soft one */
    uint64_t wanted;                    /* by the settings, all in all */
    unsigned kept;                      /* not for connections of the API */
    unsigned configured;                /* max_connections */
    unsigned connections;               /* of the API; max_connections, or what there is: 1 at least */
    unsigned admin_connections;
};
void descriptors_share_out(const struct config *c, uint64_t limit, struct descriptors *out);
#endif
