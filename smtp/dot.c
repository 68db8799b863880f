#include "smtp/dot.h"

#include <string.h>

/* Dot stuffing across pieces. */

size_t smtp_dot_stuff(struct smtp_dot *d, struct bytes_view *in, char *buf, size_t cap)
{
    size_t out = 0;

    while (in->n && out + 1 < cap) {
        size_t room = cap - out, n;
        const char *lf;
        if (!d->in_line && in->p[0] == '.') {
            buf[out++] = '.';
            room--;
        }
        lf = memchr(in->p, '\n', in->n < room ? in->n : room);
        n = lf ? (size_t)(lf - in->p) + 1 : in->n < room ? in->n : room;
        memcpy(buf + out, in->p, n);
        out += n;
        in->p += n;
        in->n -= n;
        d->in_line = !lf;
    }
    return out;
}
