#ifndef SMTP_TRACE_H
#define SMTP_TRACE_H
/* What of a conversation may be shown: whole lines, redacted and bounded. Pure. A trace never holds a credential, a
 * SASL challenge or response, or a mail's text; what repeats a secret that was named is shown as ***. Feed it plain
 * text in the order it was sent and received. */
#include "smtp/bytes.h"

#define TRACE_LINE_MAX 512              /* octets of a line that are shown */
#define TRACE_LINES_MAX 400             /* of one trace */
#define TRACE_REPLY_MAX 65536           /* octets of a reply that are held until it is complete */

struct secrets;

struct trace {
    void (*on_line)(void *ctx, bool from_client, const char *line);     /* without the line's end; lent */
    void *ctx;
    struct trace_line {
        char p[TRACE_LINE_MAX + 1];
        size_t n;
        bool over;                      /* it is longer than that */
    } line[2];                          /* begun lines: [0] the server's, [1] the client's */
    unsigned n_lines;
    enum trace_mode { TRACE_COMMANDS, TRACE_AUTH, TRACE_DATA_ASKED, TRACE_BODY } mode;
    uint64_t chunk_left;                /* octets of a BDAT chunk still to be passed over */
    uint64_t body_octets;
    struct bytes_buf reply;             /* its lines, each with LF, while more are to come */
    const struct secrets *secrets;
    bool auth_text;
};

void trace_init(struct trace *t, void (*on_line)(void *, bool, const char *), void *ctx);
void trace_deinit(struct trace *t);     /* wipes what was begun */
/* Lent until deinit. auth_text: the text of replies to AUTH is shown too; else their code is. */
void trace_hide(struct trace *t, const struct secrets *secrets, bool auth_text);
void trace_feed(struct trace *t, bool from_client, struct bytes_view bytes);
void trace_flush(struct trace *t);      /* no more is to come: shows the lines of a reply that was not complete */
void trace_note(struct trace *t, const char *what);     /* "TLSv1.3, …": not a line of the conversation; as "* …" */
#endif
