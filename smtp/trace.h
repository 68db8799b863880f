#ifndef SMTP_TRACE_H
#define SMTP_TRACE_H
/* What of a conversation may be shown: whole lines, redacted and bounded. Pure. A trace never holds a credential, a
 * SASL response or challenge, or a mail's text. */
#include "smtp/bytes.h"

#define TRACE_LINE_MAX 512              /* octets of a line that are shown */
#define TRACE_LINES_MAX 400             /* of one trace */

struct trace {
    void (*on_line)(void *ctx, bool from_client, const char *line);     /* without the line's end; lent */
    void *ctx;
    struct bytes_buf line[2];           /* begun lines: [0] the server's, [1] the client's */
    bool over[2];                       /* the rest of a line that is too long is passed over */
    unsigned n_lines;
    enum trace_mode { TRACE_COMMANDS, TRACE_AUTH, TRACE_AUTH_ENDED, TRACE_DATA_ASKED, TRACE_BODY } mode;
    uint64_t chunk_left;                /* octets of a BDAT chunk that are passed over */
    uint64_t body_octets;
};

void trace_init(struct trace *t, void (*on_line)(void *, bool, const char *), void *ctx);
void trace_deinit(struct trace *t);     /* wipes what was begun */
void trace_feed(struct trace *t, bool from_client, struct bytes_view bytes);
void trace_note(struct trace *t, const char *what);     /* "* TLSv1.3, …": not a line of the conversation */
#endif
