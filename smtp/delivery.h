#ifndef SMTP_DELIVERY_H
#define SMTP_DELIVERY_H
/* One mail's way through the engine: its place in a queue, its transaction, and the report that grows with it. */
#include "smtp/conn.h"
#include "smtp/list.h"

struct pool;
struct pool_conn;

/* A further transaction, for the recipients that the relay did not take with the others. */
struct delivery_part {
    size_t n;
    size_t *at;                         /* n of them: their places in the delivery */
    const char **rcpts;
    struct smtp_outcome *outcomes;
    struct smtp_outcome taken;          /* the mail's, of the last transaction that was accepted */
};

struct delivery_state {
    struct list_node node;              /* in the pool's waiting list */
    struct delivery *d;
    struct pool *pool;
    struct pool_conn *conn;             /* whose session has it; NULL while it waits */
    struct loop_timer deadline;
    struct smtp_transaction transaction;
    struct delivery_part *part;         /* NULL: the transaction is of all recipients */
    struct delivery_report *report;     /* made with the delivery, so that nothing can stand in its way */
    uint64_t submitted_us, lent_us;
    unsigned flights_before;
    bool fresh_session;                 /* the running attempt's session was opened for it */
    bool wants_fresh;                   /* its first session was stale: no idle one again */
    bool reported;                      /* as unknown; a late report may follow */
};

/* What is kept of a mail that was reported as taken: enough to say so if that turns out to be uncertain. */
struct delivery_trail {
    char id[37];                        /* empty: none */
    size_t relay;
    struct loop *reply_to;
    void (*on_report)(struct delivery_report *r);
    void *ctx;
};
void delivery_get_trail(const struct delivery *d, struct delivery_trail *out);
/* One more report of that mail, late and doubted, in which `why` stands. Without memory for it none comes. */
void delivery_report_doubt(const struct delivery_trail *t, const struct smtp_outcome *why);

/* The delivery goes to a session that `facts` tells of. */
void delivery_begin_attempt(struct delivery *d, const struct conn_facts *facts, bool fresh_session, unsigned flights);
void delivery_note_attempt(struct delivery *d, const struct smtp_outcome *o, bool reused, uint32_t ms);
void delivery_note_facts(struct delivery *d, const struct conn_facts *facts, bool fresh_session);

/* The attempt found a stale session: as if it had not been made. */
void delivery_forget_attempt(struct delivery *d);
/* After the transaction: were recipients left over because there were too many for it? Then d is ready for another
 * attempt, with just these. Each time there are fewer. */
bool delivery_take_rest(struct delivery *d);
/* Posts the report and frees d. Recipients without an outcome of their own get the mail's. */
void delivery_finish(struct delivery *d, const struct smtp_outcome *o);
/* The session's word on it: the transaction's outcomes. A late one that is still unknown says nothing. */
void delivery_finish_transaction(struct delivery *d, unsigned flights);
/* Reports outcome_unknown now; d lives on for a late report. -1: no memory for that one, nothing was reported. */
int delivery_report_unknown(struct delivery *d, unsigned flights) MUST_CHECK;
#endif
