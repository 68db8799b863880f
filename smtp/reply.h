#ifndef SMTP_REPLY_H
#define SMTP_REPLY_H
/* One SMTP reply, and a strict parser that can stop and go on at any byte (RFC 5321 §4.2, RFC 2034, RFC 3463). */
#include "smtp/bytes.h"
#include "smtp/secrets.h"

#define SMTP_REPLY_LINE_MAX 4096        /* octets, CRLF included */
#define SMTP_REPLY_LINE_MAX_AUTH 12288  /* RFC 4954 §4: long SASL challenges */
#define SMTP_REPLY_LINES_MAX 100
#define SMTP_REPLY_MAX 65536            /* octets of all texts of one reply */

struct smtp_reply {
    int code;                           /* 200 … 559 */
    unsigned n_lines;
    char enhanced[12];                  /* "2.1.5", or empty: none, or of another class than the code */
    char text[256];                     /* `shown` in one line: printable UTF-8, cut, without the enhanced code */
    /* The lines' texts, each ending in LF, lent until the next feed. `lines` is as it came, for decisions; what leaves
     * the process is made of `shown`, which does not repeat the parser's secrets. */
    struct bytes_view lines, shown;
};

struct smtp_reply_parser {
    struct bytes_buf line, lines;       /* the line that is not complete yet; texts of the reply's lines */
    int code;                           /* of the lines so far; 0 before the first */
    unsigned n_lines;
    struct bytes_buf hidden;            /* the lines of a reply that repeats a secret, with *** in its place */
    const struct secrets *secrets;      /* lent; may be set after init, NULL: there are none */
    bool done;                          /* the reply was handed out; the next feed begins a new one */
};

void smtp_reply_parser_init(struct smtp_reply_parser *p);
void smtp_reply_parser_deinit(struct smtp_reply_parser *p);
/* Eats from *in up to the end of one reply. 1: *out is it. 0: all is eaten, more is needed. -1: broken, *why_out says
 * how; feed no more. */
int smtp_reply_parser_feed(struct smtp_reply_parser *p, struct bytes_view *in, size_t line_max, struct smtp_reply *out,
                           const char **why_out) MUST_CHECK;
bool smtp_reply_parser_is_empty(const struct smtp_reply_parser *p);     /* not in the middle of a reply */
#endif
