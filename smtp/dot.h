#ifndef SMTP_DOT_H
#define SMTP_DOT_H
/* Transparency for DATA (RFC 5321 §4.5.2): a line's leading dot is doubled, across pieces. */
#include "smtp/bytes.h"

struct smtp_dot {
    bool in_line; /* the byte before was not the LF of a CRLF; zero-initialised: at a line's beginning */
};

/* Writes as much of *in as fits cap (≥ 2) into buf, stuffed; eats it from *in; returns the octets written. */
size_t smtp_dot_stuff(struct smtp_dot *d, struct bytes_view *in, char *buf, size_t cap);
#endif
