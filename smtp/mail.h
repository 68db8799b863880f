#ifndef SMTP_MAIL_H
#define SMTP_MAIL_H
/* One e-mail as its sender means it: content and envelope, before it is composed. Plain data, shared by all rooms.
 * All strings are UTF-8, NUL-terminated, without CR, LF, NUL or other controls (text and html may hold line breaks
 * and tabs). */
#include "smtp/bytes.h"

struct mail_address {
    /* checked "local@domain"; the domain as A-labels, lower case; quoted local part as on the wire */
    char *email;
    char *name;                         /* display name, or NULL */
    bool utf8;                          /* the local part is not ASCII: needs SMTPUTF8 (RFC 6531) */
};

struct mail_address_list {
    struct mail_address *v;
    size_t n;
};

struct mail_header {
    char *name, *value;
};

struct mail {
    struct mail_address from;           /* from.email NULL: not set */
    struct mail_address_list to, cc, bcc, reply_to;
    char *subject;                      /* these four: NULL when absent; "" is present and empty */
    char *text, *html;
    /* given by the caller, with its angle brackets; NULL: made from id and From's domain */
    char *message_id;
    struct mail_header *headers;        /* the caller's own, in his order; never one that mailhatch owns */
    size_t n_headers;
    char *relay;                        /* name, or NULL for the default */
    bool partial_reject;                /* partial:"reject": nothing goes out when one recipient is refused */
};

struct mail *mail_new(void) MUST_CHECK;
void mail_free(struct mail *m);
/* Appends; takes the strings of `a` over in every case. 0, or -1 without memory. */
int mail_address_list_add(struct mail_address_list *list, struct mail_address a) MUST_CHECK;
int mail_add_header(struct mail *m, const char *name, const char *value) MUST_CHECK;   /* copies */
void mail_address_deinit(struct mail_address *a);
void mail_address_list_deinit(struct mail_address_list *list);
#endif
