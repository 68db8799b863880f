#ifndef SERVICE_DESK_H
#define SERVICE_DESK_H
/* The desk that the office keeps for each HTTP loop: its sends, their timers, its numbers. Everything here is for that
 * loop's thread, and callbacks run there. Part of the door (service/service.h). */
#include "smtp/outcome.h"

struct desk;
struct loop;
struct message;
struct send_request;
struct service;

struct service *desk_service(const struct desk *d);
struct loop *desk_loop(const struct desk *d);

void desk_send(struct desk *d, struct message *m, const struct send_request *r);        /* takes m over, copies *r */

/* Capacity, asked before a body is read: OUTCOME_SENT when there is room, else OVERLOADED or SHUTTING_DOWN. `bytes`
 * are held until _release, on this desk. The limits are those of all loops together. This is where a drain refuses:
 * desk_send itself still serves whoever got in before. */
enum outcome_code desk_reserve(struct desk *d, size_t bytes) MUST_CHECK;
void desk_release(struct desk *d, size_t bytes);
/* A reservation of `from` bytes becomes one of `to`. A drain does not matter: whoever got in is served. False: there is
 * no room, and it stays as it was. */
bool desk_change(struct desk *d, size_t from, size_t to) MUST_CHECK;

/* At the end of a drain: mails that wait for their next try are answered with their last failure, none is tried again,
 * and what still comes is not sent (shutting_down). */
void desk_give_up(struct desk *d);

void desk_count_crowded(struct desk *d);                /* a connection was closed as its address has enough */
void desk_count_http(struct desk *d, const char *route, int status, uint64_t us);       /* route: never a raw path */
#endif
