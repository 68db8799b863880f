#ifndef SERVICE_NOTIFY_H
#define SERVICE_NOTIFY_H
/* sd_notify(3) without its library. */

/* "READY=1\nSTATUS=…" to the socket that NOTIFY_SOCKET names; nothing without one. It cannot fail in a way that
 * matters: the service manager's own time-out tells. */
void notify_send(const char *state);
#endif
