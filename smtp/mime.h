#ifndef SMTP_MIME_H
#define SMTP_MIME_H
/* struct mail -> canonical bytes (RFC 5322, 2045–2049): CRLF lines of at most 998 octets, header lines folded at 78,
 * Message-ID and Date fixed, Bcc absent, no bare CR or LF, never a line that a server could take for the end of data
 * once it is dot-stuffed. Pure: the date comes in. */
#include "smtp/mail.h"

struct mime_message {
    char *bytes;                        /* a block (smtp/block.h), owned; mime_message_deinit */
    size_t n;
    char *message_id;                   /* with angle brackets; owned */
    /* 8BITMIME, SMTPUTF8 wanted of the relay. 8bit: only of a finished message, what is composed here is 7bit. utf8: an
     * address in the header or envelope, or a finished message's header, is not ASCII. */
    bool needs_8bit, needs_utf8;
};

struct mime_params {
    /* the mail's id, a UUID: becomes the Message-ID's local part, boundaries are made from it */
    const char *id;
    int64_t date_unix;                  /* seconds; written as UTC "+0000" */
};

/* 0, or -1 without memory (*out is empty then). `m` has been checked by the caller. Its contents are of no use
 * afterwards: base64 is decoded where it stands, and large ones are given back as they are read (block_spend). */
int mime_compose(struct mail *m, const struct mime_params *p, struct mime_message *out) MUST_CHECK;
void mime_message_deinit(struct mime_message *m);
#endif
