#ifndef SMTP_RAW_H
#define SMTP_RAW_H
/* A finished message (RFC 5322) that somebody hands in to be sent as it is: checked, its header read for an envelope,
 * and written again with CRLF line ends and without Bcc. It may be signed, so nothing else is ever changed: no field is
 * refolded, no body re-encoded. Pure, linear, no recursion. */
#include "smtp/mail.h"

#define RAW_PROBLEMS_MAX 20

struct raw_problem {
    const char *code;                   /* static: control_character, line_too_long, invalid_header, invalid_address, required */
    size_t line;                        /* 1 …; 0: the message as a whole */
    char detail[160];                   /* a sentence fragment */
};

struct raw_facts {
    /* Envelope as the header says it (RFC 5322 §3.6): From's single mailbox, or Sender's; To, Cc and Bcc with groups
     * opened, comments skipped, each mailbox once in each list. Owned: raw_facts_deinit. */
    struct mail_address from;           /* email NULL: the header has none */
    struct mail_address_list to, cc, bcc;
    char *message_id;                   /* with angle brackets, as it stands there; NULL: none, one is added */
    bool has_date, has_bcc, has_resent;
    bool is_8bit;                       /* an octet over 127 in the body */
    bool is_utf8_header;                /* one in the header: needs SMTPUTF8 (RFC 6532) */
    struct raw_problem problems[RAW_PROBLEMS_MAX];
    size_t n_problems;
};

/* Reads `in` as it arrived (LF or CRLF line ends). Problems: a bare CR, a NUL, a line over 998 octets, a header line
 * that is no field, a second From, Sender, To, Cc, Bcc, Date, Message-ID or Subject, an address in them that is none
 * (only when `want_envelope`: else the addresses are not looked at), a header of its own kind over 1 MiB, no From.
 * address_flags: ADDRESS_LITERALS or 0. 0, or -1 without memory. */
int raw_read(struct bytes_view in, bool want_envelope, unsigned address_flags, struct raw_facts *out) MUST_CHECK;
void raw_facts_deinit(struct raw_facts *f);

/* Writes the message: every line end CRLF, a CRLF at the end, all Bcc fields (with their folded lines) left out.
 * `add` (complete header lines, CRLF included, may be empty) comes first: Date or Message-ID where they are missing
 * (RFC 6409 §8). Only for what raw_read found no problem in. */
void raw_write(struct bytes_view in, struct bytes_view add, struct bytes_buf *out);
#endif
