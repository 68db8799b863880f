#include "api/inflate.h"

#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

/* gzip bodies, inflated as they arrive. */

#define GZIP_ONLY (15 + 16)             /* window bits, and what makes zlib expect a gzip header */

struct inflater {
    z_stream z;
    bool at_end;                        /* of a member; RFC 1952 §2.2: there may be another */
};

struct inflater *inflater_new(void)
{
    struct inflater *f = calloc(1, sizeof(*f));

    if (f && inflateInit2(&f->z, GZIP_ONLY) != Z_OK) {
        free(f);
        return NULL;
    }
    return f;
}

enum inflate_status inflater_read(struct inflater *f, struct bytes_view *in, char *out, size_t room, size_t *written)
{
    size_t n = in->n < UINT_MAX ? in->n : UINT_MAX;
    int rc = Z_OK;

    *written = 0;
    f->z.next_in = (Bytef *)(uintptr_t)in->p;
    f->z.avail_in = (uInt)n;
    f->z.next_out = (Bytef *)out;
    f->z.avail_out = (uInt)room;
    while (rc == Z_OK && f->z.avail_out && (f->z.avail_in || !f->at_end)) {
        if (f->at_end && inflateReset(&f->z) != Z_OK)
            return INFLATE_BROKEN;
        f->at_end = false;
        rc = inflate(&f->z, Z_NO_FLUSH);
        if (rc == Z_STREAM_END) {
            f->at_end = true;
            rc = Z_OK;
        }
    }
    *in = bytes_view(in->p + (n - f->z.avail_in), in->n - (n - f->z.avail_in));
    *written = room - f->z.avail_out;
    return rc == Z_OK || rc == Z_BUF_ERROR ? INFLATE_MORE : INFLATE_BROKEN;
}

bool inflater_is_whole(const struct inflater *f)
{
    return f->at_end;
}

void inflater_free(struct inflater *f)
{
    if (!f)
        return;
    inflateEnd(&f->z);
    free(f);
}
