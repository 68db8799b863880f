#include "smtp/session.h"
#include "tests/fuzz/outcome.h"

#include <stdlib.h>
#include <string.h>

/* Fuzz target: a whole session with a server that says anything, in pieces of any size, with time passing. The first
 * byte chooses the settings; a byte 0xFF in what follows is a close, 0xFE two seconds, 0xFD a piece's end. A mail is
 * submitted whenever the session has room, up to three behind each other; what it needs of the relay changes from one
 * to the next. Now and then one in hand is given up. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define MAILS 12

struct mail_in_hand {
    struct smtp_transaction t;
    struct smtp_outcome rcpts[2];
    bool given_up, gone, done;
};

struct world {
    struct smtp_session *s;
    struct mail_in_hand mails[MAILS];
    unsigned submitted, done;
    uint64_t now;
    bool dead;
};

/* What the relay did not offer is not used, and a mail that needs it is not begun. */
static void check_needs(const struct world *w, const struct smtp_transaction *t)
{
    const struct smtp_capabilities *c = smtp_session_capabilities(w->s);

    if (t->outcome.code != OUTCOME_SENT)
        return;
    if ((t->needs_8bit && !c->eightbitmime) || (t->needs_utf8 && !c->smtputf8) || (t->needs_dsn && !c->dsn) ||
        (t->require_tls && !c->requiretls))
        unreachable("sent without what the mail needs");
}

/* A mail whose body had left is not "not sent" unless the server said so: by a reply, or by the envelope's replies. */
static void on_done(struct world *w, struct smtp_transaction *t)
{
    struct mail_in_hand *m = (struct mail_in_hand *)(void *)t;
    const struct smtp_outcome *o = &t->outcome;

    if (m->done)
        unreachable("a mail is done twice");
    m->done = true;
    w->done++;
    fuzz_check_outcome(o);
    check_needs(w, t);
    if (m->gone && o->delivery == DELIVERY_NOT_SENT && !o->reply_code && o->code != OUTCOME_PROTOCOL_ERROR)
        unreachable("a mail that had left is said not to be sent");
    if (!m->gone && o->delivery == DELIVERY_UNKNOWN && o->code == OUTCOME_OUTCOME_UNKNOWN)
        unreachable("a mail that had not left is said to be unknown");
}

static void write_all(struct world *w)
{
    struct bytes_view out;

    while ((out = smtp_session_output(w->s)).n) {
        smtp_session_sent(w->s, out.n, w->now);
        for (unsigned i = 0; i < w->submitted; i++)
            w->mails[i].gone |= smtp_session_body_is_gone(w->s, &w->mails[i].t);
    }
}

static void submit(struct world *w)
{
    static const char *const to[] = {"b@y", "c+\xC3\xA9=@y"};
    unsigned i = w->submitted++;
    struct mail_in_hand *m = &w->mails[i];

    m->t = (struct smtp_transaction){.from = "a@x",
                                     .rcpts = to,
                                     .n_rcpts = 2,
                                     .rcpt_outcomes = m->rcpts,
                                     .content = bytes_view_str("A: b\r\n\r\n.x\r\n"),
                                     .envid = i % 2 ? "a+b=c d" : NULL,
                                     .needs_8bit = i == 2,
                                     .needs_utf8 = i == 3,
                                     .needs_dsn = i == 4,
                                     .require_tls = i == 5,
                                     .dsn_ret = i % 2 ? MAIL_RET_HDRS : MAIL_RET_UNSET,
                                     .dsn_notify = 2 * i % 16,
                                     .partial_reject = i % 3 == 1};
    smtp_session_submit(w->s, &m->t, w->now);
}

static void drive(struct world *w)
{
    struct smtp_event ev;

    write_all(w);
    while (smtp_session_next_event(w->s, &ev)) {
        if (ev.type == SMTP_EV_START_TLS)
            smtp_session_tls_started(w->s, w->now);
        if (ev.type == SMTP_EV_DONE)
            on_done(w, ev.transaction);
        if (ev.type == SMTP_EV_DEAD)
            w->dead = true;
        while (smtp_session_has_room(w->s) && w->submitted < MAILS)
            submit(w);
        if (!w->dead)
            write_all(w);
    }
    if (w->dead && w->done < w->submitted)
        unreachable("a session died and kept a mail");
}

/* The one that has waited longest but one, so that there are some in front of it and behind it. */
static void give_up_one(struct world *w)
{
    unsigned i = w->done + 1;

    if (i >= w->submitted || w->mails[i].done || w->mails[i].given_up || w->dead)
        return;
    w->mails[i].given_up = true;
    smtp_session_give_up(w->s, &w->mails[i].t, w->now + 4000, w->now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct smtp_session_params p = {
        .ehlo_name = "me",
        .timeouts = {.banner = 5000, .command = 5000, .tls = 5000, .write_stall = 5000, .final_reply = 5000},
        .one_flight_idle = 5000,
    };
    struct world w = {.now = 1};
    struct smtp_proofs proofs = {.n = 0};
    size_t from = 1;

    if (n < 1)
        return 0;
    p.tls_mode = data[0] & 1 ? SMTP_TLS_STARTTLS : SMTP_TLS_NONE;
    p.user = data[0] & 2 ? "ann" : NULL;
    p.password = data[0] & 2 ? "secret" : NULL;
    p.one_flight_max = data[0] & 4 ? 65536 : 0;
    p.depth = data[0] & 8 ? 3 : 1;
    p.proofs = &proofs;
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
            if (data[0] & 16)
                give_up_one(&w);
        }
        if (i == n || data[i] == 0xFF)
            smtp_session_closed(w.s, NULL, NULL, w.now);
        drive(&w);
    }
    smtp_session_free(w.s);
    return 0;
}
