#include "smtp/session.h"

#include <stdlib.h>
#include <string.h>

/* Fuzz target: a whole session with a server that says anything, in pieces of any size, with time passing. The first
 * byte chooses the settings; a byte 0xFF in what follows is a close, 0xFE two seconds, 0xFD a piece's end. A mail is
 * submitted whenever the session is ready; what it needs of the relay changes from one to the next. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct world {
    struct smtp_session *s;
    struct smtp_transaction t;
    struct smtp_outcome rcpts[2];
    uint64_t now;
    unsigned mails;
    bool dead, busy;
};

/* What must hold of every outcome: accepted has a 2xx, unknown only after the body left. */
static void check(const struct smtp_outcome *o)
{
    if (o->code == OUTCOME_SENT && (o->reply_code / 100 != 2 || o->delivery != DELIVERY_ACCEPTED))
        unreachable("sent without a 2xx");
    if (o->delivery == DELIVERY_ACCEPTED && o->code != OUTCOME_SENT)
        unreachable("accepted and not sent");
    if (o->delivery == DELIVERY_REJECTED && o->reply_code < 400)
        unreachable("rejected without a reply");
}

/* What the relay did not offer is not used, and a mail that needs it is not begun. */
static void check_needs(const struct world *w)
{
    const struct smtp_capabilities *c = smtp_session_capabilities(w->s);

    if (w->t.outcome.code != OUTCOME_SENT)
        return;
    if ((w->t.needs_8bit && !c->eightbitmime) || (w->t.needs_utf8 && !c->smtputf8) || (w->t.needs_dsn && !c->dsn) ||
        (w->t.require_tls && !c->requiretls))
        unreachable("sent without what the mail needs");
}

static void submit(struct world *w)
{
    static const char *const to[] = {"b@y", "c+\xC3\xA9=@y"};
    unsigned i = w->mails++;

    w->t = (struct smtp_transaction){.from = "a@x",
                                     .rcpts = to,
                                     .n_rcpts = 2,
                                     .rcpt_outcomes = w->rcpts,
                                     .content = bytes_view_str("A: b\r\n\r\n.x\r\n"),
                                     .envid = i % 2 ? "a+b=c d" : NULL,
                                     .needs_8bit = i == 2,
                                     .needs_utf8 = i == 3,
                                     .needs_dsn = i == 4,
                                     .require_tls = i == 5,
                                     .dsn_ret = i % 2 ? MAIL_RET_HDRS : MAIL_RET_UNSET,
                                     .dsn_notify = 2 * i,
                                     .partial_reject = i % 3 == 1};
    w->busy = true;
    smtp_session_submit(w->s, &w->t, w->now);
}

static void drive(struct world *w)
{
    struct smtp_event ev;
    struct bytes_view out;

    while ((out = smtp_session_output(w->s)).n)
        smtp_session_sent(w->s, out.n, w->now);
    while (smtp_session_next_event(w->s, &ev)) {
        if (ev.type == SMTP_EV_START_TLS)
            smtp_session_tls_started(w->s, w->now);
        if (ev.type == SMTP_EV_DONE) {
            check(&w->t.outcome);
            check_needs(w);
            w->busy = false;
        }
        if (ev.type == SMTP_EV_DEAD)
            w->dead = true;
        if (ev.type == SMTP_EV_READY && smtp_session_is_ready(w->s) && w->mails < 8)
            submit(w);
        while ((out = smtp_session_output(w->s)).n)
            smtp_session_sent(w->s, out.n, w->now);
    }
    if (w->dead && w->busy)
        unreachable("a session died and kept a mail");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct smtp_session_params p = {
        .ehlo_name = "me",
        .timeouts = {.banner = 5000, .command = 5000, .tls = 5000, .write_stall = 5000, .final_reply = 5000},
        .one_flight_idle = 5000,
    };
    struct world w = {.now = 1};
    size_t from = 1;

    if (n < 1)
        return 0;
    p.tls_mode = data[0] & 1 ? SMTP_TLS_STARTTLS : SMTP_TLS_NONE;
    p.user = data[0] & 2 ? "ann" : NULL;
    p.password = data[0] & 2 ? "secret" : NULL;
    p.one_flight_max = data[0] & 4 ? 65536 : 0;
    w.s = smtp_session_new(&p);
    smtp_session_start(w.s, w.now);
    for (size_t i = 1; i <= n && !w.dead; i++) {
        if (i < n && data[i] < 0xFD)
            continue;
        smtp_session_feed(w.s, bytes_view(data + from, i - from), w.now);
        from = i + 1;
        if (i < n && data[i] == 0xFE) {
            w.now += 2000;
            smtp_session_tick(w.s, w.now);
        }
        if (i == n || data[i] == 0xFF)
            smtp_session_closed(w.s, NULL, NULL, w.now);
        drive(&w);
    }
    smtp_session_free(w.s);
    return 0;
}
