#ifndef API_INFLATE_H
#define API_INFLATE_H
/* gzip (RFC 1952) in pieces, over zlib. */
#include "smtp/bytes.h"

struct inflater;

enum inflate_status {
    INFLATE_MORE,                       /* *in is used up, or the room is */
    INFLATE_BROKEN,
};

struct inflater *inflater_new(void) MUST_CHECK;                 /* NULL: no memory */
/* Reads from *in and moves it on; writes at most `room` octets to `out`. There may be more as long as *in has octets or
 * the room was filled. */
enum inflate_status inflater_read(struct inflater *f, struct bytes_view *in, char *out, size_t room,
                                  size_t *written) MUST_CHECK;
bool inflater_is_whole(const struct inflater *f);               /* the input may end here */
void inflater_free(struct inflater *f);
#endif
