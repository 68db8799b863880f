#ifndef SMTP_RAW_H
#define SMTP_RAW_H
/* A finished message (RFC 5322) that somebody hands in to be sent as it is: checked, its header read for an envelope,
 * and written again with CRLF line ends and without Bcc. It may be signed, so nothing else is ever changed: no field is
 * refolded, no body re-encoded. Pure, no recursion; linear, but that addresses are sorted to find the doubles. */
#include "smtp/mail.h"

#define RAW_PROBLEMS_MAX 20
#define RAW_PROBLEMS_OF_A_CODE 8        /* so that a thousand bare CRs do not hide that From is missing */

struct raw_problem {
    /* static: control_character, line_too_long, invalid_header, invalid_address, required */
    const char *code;
    size_t line;                        /* 1 …; 0: the message as a whole */
    char detail[160];                   /* a sentence fragment */
};

struct raw_facts {
    /* Envelope as the header says it (RFC 5322 §3.6): From's single mailbox, or Sender's; To, Cc and Bcc with groups
     * opened, comments skipped, each mailbox once in each list. Owned: raw_facts_deinit. */
    struct mail_address from;           /* email NULL: not wanted, or there is a problem */
    struct mail_address_list to, cc, bcc;
    char *message_id;                   /* with angle brackets, as it stands there; NULL: none, one is added */
    bool has_date, has_resent;
    bool has_bcc;                       /* Bcc or Resent-Bcc: what is not written */
    bool is_8bit;                       /* an octet over 127 in the body */
    bool is_utf8_header;                /* one in the header but for Bcc: needs SMTPUTF8 (RFC 6532) */
    struct raw_problem problems[RAW_PROBLEMS_MAX];      /* by line */
    size_t n_problems;
};

/* Reads `in` as it arrived (LF or CRLF line ends; the empty line and the body may be missing). Problems: a bare CR, a
 * NUL, a line over 998 octets, a byte order mark or an mbox line before the header, a header line that is no field, a
 * second From, Sender, Reply-To, To, Cc, Bcc, Date, Message-ID, Subject, In-Reply-To, References or MIME field, a
 * header that is not UTF-8 or over 1 MiB, a Message-ID that is none, no From; and as far as they are wanted (else they
 * are not read) an address that is none in From and Sender (RAW_WANT_FROM) or in To, Cc and Bcc (RAW_WANT_TO), and no
 * single sender.
 * address_flags: ADDRESS_LITERALS or 0. 0, or -1 without memory; *out is to be deinited in both cases. */
enum { RAW_WANT_FROM = 1, RAW_WANT_TO = 2, RAW_WANT_ENVELOPE = 3 };
int raw_read(struct bytes_view in, unsigned want, unsigned address_flags, struct raw_facts *out) MUST_CHECK;
void raw_facts_deinit(struct raw_facts *f);

/* Writes the message: every line end CRLF, a CRLF at the end, all Bcc and Resent-Bcc fields (with their folded lines)
 * left out. `add` (complete header lines, CRLF included, may be empty) comes first: Date or Message-ID where they are
 * missing (RFC 6409 §8). Only for what raw_read found no problem in. Of a large `in` the memory is given
 * back as it is read (block_spend). */
void raw_write(struct bytes_view in, struct bytes_view add, struct bytes_buf *out);
#endif
