#ifndef API_HTTP_GUARD_H
#define API_HTTP_GUARD_H
/* Reads a request's head out of libmicrohttpd, and is strict where it is lax. For http.c. */
#include "api/http.h"

#define HTTP_GUARD_URI_MAX 8000
#define HTTP_GUARD_HEADERS_MAX (12 * 1024)
#define HTTP_GUARD_MEMORY_MAX (14 * 1024)       /* of libmicrohttpd's 16 KiB, so that its answer finds room */

/* Fills r. OUTCOME_SENT: served; else the code of the refusal, with *detail_out a static sentence. The connection
 * must close then. */
enum outcome_code http_guard_read(struct http_request *r, struct MHD_Connection *c, const char *method, const char *url,
                                  const char *version, size_t uri_n, const char **detail_out);
#endif
