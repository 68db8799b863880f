#ifndef API_HTTP_HEAD_H
#define API_HTTP_HEAD_H
/* Whether a request's head is what libmicrohttpd shows of it. It hands out C strings: a NUL in a field cuts off what
 * lies behind it, a NUL at the start of a line ends the head, a bare LF ends a line, and a folded line goes to the
 * field's name. Who is in front of us may read each of these differently (RFC 9112 §2.2, §5.2, §11.2). */
#include "smtp/bytes.h"

struct MHD_Connection;

/* Of a request target as it came (for libmicrohttpd's URI log callback): its length, or 0 when it has an octet that no
 * target has: a control, a blank. */
size_t http_head_target_length(const char *uri);
/* In the first call for a request, with that call's strings and the target's length: false when the head has a NUL, a
 * line end that is not CRLF, or a folded line; when the method is no token, or a blank too many is in the request line.
 */
bool http_head_is_plain(struct MHD_Connection *c, const char *method, const char *url, size_t url_n,
                        const char *version);
/* In the last call: whether the fields behind a chunked body (RFC 9112 §7.1.2), which nobody reads, are ones. */
bool http_head_has_good_trailer(struct MHD_Connection *c);
/* RFC 9110 §5.1, §5.5. */
bool http_head_is_field(struct bytes_view name, struct bytes_view value);
#endif
