#ifndef SERVICE_MESSAGE_H
#define SERVICE_MESSAGE_H
/* A mail made ready to be sent. */
#include "service/service.h"

/* Takes m over, whose contents are freed once composed. relay: its place. NULL: no memory. Any
 * thread. */
struct message *message_new(struct mail *m, size_t relay) MUST_CHECK;
#endif
