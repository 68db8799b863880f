#ifndef API_API_H
#define API_API_H
/* The front hall's door: two listeners, API (on all loops of the service's desks) and admin (on the first). All
 * functions are for the first loop's thread; _new and _free for when no loop runs. */
#include "service/service.h"

struct api;
struct cJSON;
struct config;

/* Binds and listens; the loops serve once they run. NULL: err_out says what to do (address in use, not loopback
 * without keys …). */
struct api *api_new(struct service *s, char err_out[200]) MUST_CHECK;
/* On the first loop: the API listener closes, on the others by a letter; running requests go on; the admin listener
 * stays. */
void api_stop_listening(struct api *a);
/* A drain begins: diagnoses end now. */
void api_drain(struct api *a);
void api_free(struct api *a);
/* Whether certificate, key and authorities of the API can be used, as far as they are set. 0; -1: err_out says which
 * file is wrong and how. */
#define API_TLS_ERR_SIZE 400
int api_check_tls(const struct config *c, char err_out[API_TLS_ERR_SIZE]) MUST_CHECK;
/* For a reload, on the first loop. Whether these settings may come into force: -1, err_out says why not. */
int api_may_take(const struct api *a, const struct config *c, char err_out[200]) MUST_CHECK;
/* Their keys and allowed_hosts count for requests from now on (on other loops, from their next letters on). The rates
 * that names have used stay used. -1: no memory, and nothing changed. */
int api_take_keys(struct api *a, const struct config *c) MUST_CHECK;
/* The certificate, its key or the clients' authorities changed: new connections get what the files say now. What cannot
 * be used is told in the log, and changes nothing. */
void api_look_at_tls(struct api *a);
/* Where they listen: HOST:PORT as bound (a configured port 0 is picked by the kernel), or unix:/path. */
const char *api_address(const struct api *a);
const char *api_admin_address(const struct api *a);
/* The API's socket is systemd's: who connects while this process does not listen waits for the next one. */
bool api_is_inherited(const struct api *a);

/* For `mailhatch send`: JSON text -> mail (all problems at once) and result -> JSON text; the same code as the HTTP
 * path. json (from malloc) is taken over. 0: *mail_out owned by the caller. -1: *problem_out is the problem object's
 * JSON, malloc'ed. */
int api_read_mail(const struct service *s, char *json, size_t n, struct mail **mail_out,
                  char **problem_out) MUST_CHECK;
/* malloc'ed JSON; the HTTP status it has */
char *api_write_result(const struct send_result *r, int *status_out) MUST_CHECK;

const char *api_library_versions(void);         /* "libmicrohttpd 0.9.75, cJSON 1.7.15" */

/* For `mailhatch healthcheck`: asks /livez of the admin listener at that address (as in the configuration),
 * blocking, for 3 s at the most. 0: alive. -1: err_out says what went wrong. */
int api_healthcheck(const char *admin_listen, char err_out[200]) MUST_CHECK;
#endif
