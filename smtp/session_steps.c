#include "smtp/session_int.h"

#include "smtp/classify.h"
#include "smtp/crypto.h"
#include "smtp/ehlo.h"

#include <stdio.h>
#include <string.h>

/* The commands of a session: how each is written, what each reply means, and which one may go next. */

#define AUTH_LINE_MAX 512               /* RFC 4954 §4: with more, the initial response waits for the 334 */

#define ORCPT_TYPE "rfc822;"
#define ORCPT_MAX 500                   /* RFC 3461 §4.2: of the value, encoded */

#define TIMEOUT(field) offsetof(struct smtp_timeouts, field)

static bool is_ok(const struct smtp_reply *r)
{
    return r->code / 100 == 2;
}

static void put_str(struct smtp_session *s, const char *text)
{
    session_put(s, text, strlen(text));
}

static void refuse_login(struct smtp_session *s, enum smtp_step step, const struct smtp_reply *r)
{
    struct smtp_outcome o;

    classify_reply(session_steps[step].stage, session_steps[step].name, r, &o);
    put_str(s, "QUIT\r\n");             /* nobody waits for its reply */
    session_die(s, &o);
}

/* ---- banner, EHLO, STARTTLS ---- */

static void banner_reply(struct smtp_session *s, const struct smtp_awaited *a, const struct smtp_reply *r)
{
    if (r->code == 220) {
        s->greeted = true;
        s->fingerprint = smtp_proof_fingerprint(r, false, 0);
    }
    else if (is_ok(r))
        session_die_local(s, OUTCOME_PROTOCOL_ERROR, STAGE_BANNER, "a banner is 220");
    else
        refuse_login(s, a->step, r);
}

static void ehlo_send(struct smtp_session *s)
{
    put_str(s, "EHLO ");
    put_str(s, s->p.ehlo_name);
    put_str(s, "\r\n");
}

static void helo_send(struct smtp_session *s)
{
    put_str(s, "HELO ");
    put_str(s, s->p.ehlo_name);
    put_str(s, "\r\n");
}

/* What EHLO said decides whether the session can go on: no STARTTLS, no AUTH. The outcome shows the reply that lacks
 * it. */
static void check_offers(struct smtp_session *s, const struct smtp_reply *r)
{
    struct smtp_outcome o;

    if (s->p.tls_mode == SMTP_TLS_STARTTLS && !s->tls_on) {
        if (s->caps.starttls)
            return;
        outcome_set_local(&o, OUTCOME_STARTTLS_NOT_OFFERED, STAGE_EHLO, DELIVERY_NOT_SENT, NULL);
    } else if (s->p.user) {
        s->mechanism = sasl_choose(&s->caps);
        if (s->mechanism)
            return;
        outcome_set_local(&o, s->caps.auth_any ? OUTCOME_AUTH_MECHANISM_UNSUPPORTED : OUTCOME_AUTH_NOT_OFFERED,
                          STAGE_AUTH, DELIVERY_NOT_SENT, NULL);
        if (s->caps.auth_any)
            snprintf(o.reason, sizeof(o.reason), "the relay offers %.120s; mailhatch speaks PLAIN and LOGIN",
                     s->caps.auth_list);
    } else {
        return;
    }
    classify_copy_reply("EHLO", r, &o);
    put_str(s, "QUIT\r\n");
    session_die(s, &o);
}

/* What is known of it may be known of this one. STARTTLS is offered before TLS: the EHLO that counts comes then. */
static void note_server(struct smtp_session *s, const struct smtp_reply *r)
{
    if (s->p.tls_mode == SMTP_TLS_STARTTLS && !s->tls_on)
        return;
    s->fingerprint = smtp_proof_fingerprint(r, true, s->fingerprint);
    s->proof = s->p.proofs->refuted                                ? PROOF_FAILED
               : smtp_proofs_has(s->p.proofs, s->fingerprint) ? PROOF_GIVEN
                                                              : PROOF_UNKNOWN;
}

static void ehlo_reply(struct smtp_session *s, const struct smtp_awaited *a, const struct smtp_reply *r)
{
    if (is_ok(r)) {
        smtp_ehlo_parse(r, &s->caps);
        smtp_ehlo_switch_off(&s->caps, s->p.extensions_off);
        s->ehlo_done = true;
        note_server(s, r);
        check_offers(s, r);
    } else if (r->code / 100 == 5 && s->p.tls_mode == SMTP_TLS_NONE && !s->p.user) {
        s->ehlo_refused = true;         /* RFC 5321 §3.2: an old server; it gets HELO */
    } else {
        refuse_login(s, a->step, r);
    }
}

static void helo_reply(struct smtp_session *s, const struct smtp_awaited *a, const struct smtp_reply *r)
{
    if (is_ok(r))
        s->ehlo_done = true;
    else
        refuse_login(s, a->step, r);
}

static void starttls_send(struct smtp_session *s)
{
    put_str(s, "STARTTLS\r\n");
}

/* RFC 3207 §4. Bytes behind the 220 are looked for by feed, which knows what is left of its input. */
static void starttls_reply(struct smtp_session *s, const struct smtp_awaited *a, const struct smtp_reply *r)
{
    struct smtp_outcome o;

    if (r->code == 220) {
        s->tls_asked = true;
        return;
    }
    if (r->code / 100 == 4 || r->code / 100 == 5) {
        refuse_login(s, a->step, r);
        return;
    }
    outcome_set_local(&o, OUTCOME_STARTTLS_REFUSED, STAGE_STARTTLS, DELIVERY_NOT_SENT, "only 220 starts TLS");
    classify_copy_reply("STARTTLS", r, &o);
    session_die(s, &o);
}

/* ---- AUTH ---- */

static void put_response(struct smtp_session *s, const char *before)
{
    struct sasl_credentials c = {s->p.user, s->p.password};
    struct bytes_buf line;

    bytes_buf_init(&line, SMTP_REPLY_LINE_MAX_AUTH);
    bytes_buf_reserve(&line, SMTP_REPLY_LINE_MAX_AUTH);     /* growing would leave a copy behind */
    bytes_buf_add_str(&line, before);
    sasl_respond(s->mechanism, &c, s->auth_step++, &line);
    bytes_buf_add_str(&line, "\r\n");
    if (line.failed)
        session_die_local(s, OUTCOME_INTERNAL_ERROR, STAGE_AUTH, "the credentials are too long");
    else
        session_put(s, line.p, line.n);
    if (line.p)
        crypto_cleanse(line.p, line.n);
    bytes_buf_deinit(&line);
}

static void auth_send(struct smtp_session *s)
{
    size_t secret = strlen(s->p.user) + strlen(s->p.password) + 2;      /* PLAIN's: the one with an initial response */
    char line[40];
    int n = snprintf(line, sizeof(line), "AUTH %s ", s->mechanism->name);

    if (s->mechanism->initial && (size_t)n + (secret + 2) / 3 * 4 + 2 <= AUTH_LINE_MAX) {
        put_response(s, line);
        return;
    }
    snprintf(line, sizeof(line), "AUTH %s\r\n", s->mechanism->name);
    put_str(s, line);
}

static void auth_response_send(struct smtp_session *s)
{
    put_response(s, "");
}

static void auth_reply(struct smtp_session *s, const struct smtp_awaited *a, const struct smtp_reply *r)
{
    if (r->code == 235)
        s->authed = true;
    else if (r->code == 334 && s->auth_step < s->mechanism->n_steps)
        s->auth_begun = true;           /* a response is owed */
    else if (r->code / 100 == 4 || r->code / 100 == 5)
        refuse_login(s, a->step, r);
    else
        session_die_local(s, OUTCOME_PROTOCOL_ERROR, STAGE_AUTH,
                          r->code == 334 ? "the relay asks for more than the mechanism has"
                                         : "that is no reply to AUTH");
}

/* ---- the envelope ---- */

/* RFC 3030 §2: the receiver of a BDAT that it refuses reads and discards the chunk all the same. One that does not,
 * runs this chunk as a command: QUIT does no harm, and its reply is not RSET's. Behind it, in the same write, the RSET:
 * one that throws away whatever came along does not answer it. */
static void proof_send(struct smtp_session *s)
{
    put_str(s, "BDAT 6 LAST\r\nQUIT\r\n");
    s->proof = PROOF_SENT;
    s->rset_due = true;
}

/* 500 to 502: it knows no BDAT, so no octets of one. */
static void proof_reply(struct smtp_session *s, const struct smtp_awaited *a, const struct smtp_reply *r)
{
    (void)a;
    if (r->code >= 503) {
        s->proof = PROOF_REFUSED;
        return;
    }
    session_refute(s);
    s->doubts_last = s->took && is_ok(r);
}

static void rset_send(struct smtp_session *s)
{
    struct session_mail *m = session_newest(s);

    put_str(s, "RSET\r\n");
    if (m)
        m->f.rset_sent = true;
    else
        s->rset_sent = true;
}

static void rset_between_reply(struct smtp_session *s, const struct smtp_reply *r)
{
    if (s->proof == PROOF_REFUSED && r->code == 250) {
        s->proof = PROOF_GIVEN;         /* the others hear of it once a mail has gone so */
    } else if (s->proof == PROOF_REFUSED) {
        session_refute(s);
        s->doubts_last = s->took && r->code != 221;     /* 221 is what the chunk's command is answered with */
    }
    s->rset_due = s->rset_sent = false;
    if (!is_ok(r) || r->code == 221)
        session_die_local(s, OUTCOME_PROTOCOL_ERROR, STAGE_MAIL, "the relay refused RSET");
}

/* Behind a mail in the same flight the reply may be that mail's verdict, if one was said twice. */
static void rset_reply(struct smtp_session *s, const struct smtp_awaited *a, const struct smtp_reply *r)
{
    if (!a->mail) {
        rset_between_reply(s, r);
        return;
    }
    if (is_ok(r)) {
        s->rset_due = false;
        return;
    }
    a->mail->f.rset_refused = true;
    s->doubts_last = s->took && s->flew;
    session_must_die(s, OUTCOME_PROTOCOL_ERROR, STAGE_MAIL, "the relay refused RSET");
}

/* RFC 3461 §4: xtext = *( xchar / hexchar ); xchar is "!" to "~" without "+" and "="; hexchar is "+" and two upper-case
 * hexadecimal digits. */
static bool is_xchar(char c)
{
    return c >= '!' && c <= '~' && c != '+' && c != '=';
}

static size_t xchars(const char *text)
{
    size_t n = 0;

    while (is_xchar(text[n]))
        n++;
    return n;
}

static size_t xtext_length(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += is_xchar(*text) ? 1 : 3;
    return n;
}

static void put_xtext(struct smtp_session *s, const char *text)
{
    char hexchar[4];

    for (;;) {
        size_t n = xchars(text);
        if (n)
            session_put(s, text, n);
        if (!text[n])
            return;
        snprintf(hexchar, sizeof(hexchar), "+%02X", (unsigned char)text[n]);
        put_str(s, hexchar);
        text += n + 1;
    }
}

/* RFC 3461 §4.3, §4.4; only where DSN is offered. */
static void put_dsn_of_mail(struct smtp_session *s, const struct smtp_transaction *t)
{
    switch (t->dsn_ret) {
    case MAIL_RET_UNSET:
        break;
    case MAIL_RET_FULL:
        put_str(s, " RET=FULL");
        break;
    case MAIL_RET_HDRS:
        put_str(s, " RET=HDRS");
        break;
    }
    if (t->envid && t->envid[0]) {
        put_str(s, " ENVID=");
        put_xtext(s, t->envid);
    }
}

static void mail_send(struct smtp_session *s)
{
    struct session_mail *m = session_newest(s);
    const struct smtp_transaction *t = m->t;
    char number[32];

    put_str(s, "MAIL FROM:<");
    put_str(s, t->from);
    put_str(s, ">");
    if (s->caps.size_offered) {
        snprintf(number, sizeof(number), " SIZE=%zu", t->content.n);
        put_str(s, number);
    }
    if (t->needs_8bit || t->needs_utf8)
        put_str(s, " BODY=8BITMIME");
    if (t->needs_utf8)
        put_str(s, " SMTPUTF8");
    if (t->require_tls)
        put_str(s, " REQUIRETLS");
    if (s->caps.dsn)
        put_dsn_of_mail(s, t);
    put_str(s, "\r\n");
    m->f.mail_sent = true;
}

static void mail_reply(struct smtp_session *s, const struct smtp_awaited *a, const struct smtp_reply *r)
{
    if (is_ok(r)) {
        a->mail->f.mail_ok = true;
        return;
    }
    a->mail->f.mail_refused = true;
    classify_mail_reply(STAGE_MAIL, "MAIL", r, s->mails_done > 0, &a->mail->t->outcome);
}

/* RFC 3461 §4.1: notify-list = "NEVER" / 1#( "SUCCESS" / "FAILURE" / "DELAY" ). §4.2: ORCPT names the recipient as he
 * was known here; the address type for what is not ASCII (RFC 6533) is one that few servers take. */
static void put_dsn_of_rcpt(struct smtp_session *s, unsigned notify, const char *rcpt)
{
    static const struct {
        unsigned bit;
        const char *word;
    } words[] = {{MAIL_NOTIFY_SUCCESS, "SUCCESS"}, {MAIL_NOTIFY_FAILURE, "FAILURE"}, {MAIL_NOTIFY_DELAY, "DELAY"}};
    bool first = true;

    put_str(s, " NOTIFY=");
    if (notify & MAIL_NOTIFY_NEVER)
        put_str(s, "NEVER");
    for (size_t i = 0; i < ARRAY_LEN(words) && !(notify & MAIL_NOTIFY_NEVER); i++) {
        if (!(notify & words[i].bit))
            continue;
        if (!first)
            put_str(s, ",");
        put_str(s, words[i].word);
        first = false;
    }
    if (bytes_is_ascii(bytes_view_str(rcpt)) && strlen(ORCPT_TYPE) + xtext_length(rcpt) <= ORCPT_MAX) {
        put_str(s, " ORCPT=" ORCPT_TYPE);
        put_xtext(s, rcpt);
    }
}

static void rcpt_send(struct smtp_session *s)
{
    struct session_mail *m = session_newest(s);
    const char *rcpt = m->t->rcpts[m->f.rcpts_sent++];

    put_str(s, "RCPT TO:<");
    put_str(s, rcpt);
    put_str(s, ">");
    if (s->caps.dsn && m->t->dsn_notify)
        put_dsn_of_rcpt(s, m->t->dsn_notify, rcpt);
    put_str(s, "\r\n");
}

static void rcpt_reply(struct smtp_session *s, const struct smtp_awaited *a, const struct smtp_reply *r)
{
    struct smtp_outcome *o = &a->mail->t->rcpt_outcomes[a->rcpt];

    if (is_ok(r)) {
        a->mail->f.rcpts_ok++;
        outcome_set_local(o, OUTCOME_SENT, STAGE_RCPT, DELIVERY_ACCEPTED, NULL);
        classify_copy_reply("RCPT", r, o);
        return;
    }
    a->mail->f.rcpts_refused++;
    if (a->mail->f.mail_refused)
        return;                         /* a consequence: what the mail was refused with is the recipient's too */
    classify_mail_reply(STAGE_RCPT, "RCPT", r, s->mails_done > 0, o);
}

/* ---- the body ---- */

static void data_send(struct smtp_session *s)
{
    put_str(s, "DATA\r\n");
    session_newest(s)->f.data_sent = true;
}

static void data_reply(struct smtp_session *s, const struct smtp_awaited *a, const struct smtp_reply *r)
{
    struct mail_facts *f = &a->mail->f;

    if (r->code == 354) {
        f->data_ok = true;
        if (f->mail_refused && f->rcpts_ok)             /* whatever went now would go in the name of another mail */
            session_must_die(s, OUTCOME_PROTOCOL_ERROR, STAGE_DATA, "the relay takes a mail whose sender it refused");
        return;
    }
    if (is_ok(r)) {                     /* nodemailer writes the mail as commands after this */
        session_die_local(s, OUTCOME_PROTOCOL_ERROR, STAGE_DATA, "a 2xx reply to DATA");
        return;
    }
    f->data_refused = true;
    if (f->mail_refused || !f->rcpts_ok)
        return;                         /* the consequence of a refusal that counts already */
    classify_mail_reply(STAGE_DATA, "DATA", r, s->mails_done > 0, &a->mail->t->outcome);
}

/* RFC 3030 §2: BDAT chunk-size LAST. The content is one chunk; the threshold for one flight keeps a wasted one small.
 */
static void body_send(struct smtp_session *s)
{
    struct session_mail *m = session_newest(s);
    struct mail_facts *f = &m->f;
    char line[40];

    f->body_begun = true;
    s->progress_at = s->now;
    f->one_flight = !f->data_sent && f->rcpts_ok + f->rcpts_refused < m->t->n_rcpts;
    if (!f->data_sent) {
        snprintf(line, sizeof(line), "BDAT %zu LAST\r\n", m->t->content.n);
        put_str(s, line);
    }
    if (f->data_sent && !f->rcpts_ok) {
        f->no_recipients_dot = true;
        f->body_queued = true;
        put_str(s, ".\r\n");
        f->body_end = s->queued;
        return;
    }
    session_fill_body(s);
}

static void end_body(struct smtp_session *s, struct mail_facts *f)
{
    if (f->data_sent)
        put_str(s, f->dot.in_line ? "\r\n.\r\n" : ".\r\n");
    f->body_queued = true;
    f->body_end = s->queued;
}

void session_fill_body(struct smtp_session *s)
{
    struct session_mail *m = session_newest(s);
    struct mail_facts *f = m ? &m->f : NULL;

    if (!m || !f->body_begun || f->body_queued || f->body_refused || s->must_die)
        return;
    while (bytes_queue_len(&s->out) < SESSION_OUTPUT_LOW && f->body_at < m->t->content.n) {
        struct bytes_view rest = bytes_view(m->t->content.p + f->body_at, m->t->content.n - f->body_at);
        size_t n = rest.n < SESSION_OUTPUT_LOW ? rest.n : SESSION_OUTPUT_LOW, before = rest.n;
        char *room;
        if (!f->data_sent) {
            session_put(s, rest.p, n);
            f->body_at += n;
        } else if ((room = bytes_queue_room(&s->out, SESSION_OUTPUT_LOW))) {
            n = smtp_dot_stuff(&f->dot, &rest, room, SESSION_OUTPUT_LOW);
            bytes_queue_added(&s->out, n);
            s->queued += n;
            f->body_at += before - rest.n;
        }
        if (s->out.failed)
            return;
    }
    if (f->body_at == m->t->content.n)
        end_body(s, f);
}

static bool is_syntax(const struct smtp_reply *r)
{
    return r->code >= 500 && r->code <= 504;
}

/* RFC 5321 §4.2.4: the command is not known, or not now, and all that comes before it was accepted: this server offers
 * CHUNKING and cannot do it, whatever was shown by one that looks like it. It may be reading the mail's text as
 * commands. The mail had no verdict: it goes on a new session, by DATA. */
static void refuse_bdat(struct smtp_session *s, struct session_mail *m, const struct smtp_reply *r)
{
    struct smtp_outcome *o = &m->t->outcome;

    m->f.body_refused = true;
    session_refute(s);
    outcome_set_local(o, OUTCOME_PROTOCOL_ERROR, STAGE_BODY, DELIVERY_NOT_SENT,
                      "the relay offers CHUNKING and does not know BDAT");
    classify_copy_reply("BDAT", r, o);
    session_must_die(s, OUTCOME_PROTOCOL_ERROR, STAGE_BODY, o->reason);
}

static void body_refused(struct smtp_session *s, struct session_mail *m, const struct smtp_reply *r)
{
    struct mail_facts *f = &m->f;

    f->body_refused = true;
    if (!f->data_sent && is_syntax(r) && f->mail_ok && f->rcpts_ok) {
        refuse_bdat(s, m, r);
        return;
    }
    if (!session_is_gone(s, m) && r->code != 421)       /* the rest of the body would be read as commands */
        session_must_die(s, OUTCOME_PROTOCOL_ERROR, STAGE_BODY, "the relay answered before the mail was complete");
    if (!f->mail_refused && f->rcpts_ok && !f->no_recipients_dot)
        classify_mail_reply(STAGE_BODY, "body", r, s->mails_done > 0, &m->t->outcome);
}

static void body_reply(struct smtp_session *s, const struct smtp_awaited *a, const struct smtp_reply *r)
{
    struct mail_facts *f = &a->mail->f;
    struct smtp_outcome *verdict = &a->mail->t->outcome;

    if (!is_ok(r)) {
        body_refused(s, a->mail, r);
        return;
    }
    if (f->no_recipients_dot)           /* RFC 2920 §3.1: some servers say 250 to the lone dot; nobody was to get it */
        return;
    if (!f->rcpts_ok && !f->mail_refused) {
        session_must_die(s, OUTCOME_PROTOCOL_ERROR, STAGE_BODY, "the relay accepted a body for nobody");
        return;
    }
    f->body_accepted = true;
    outcome_set_local(verdict, OUTCOME_SENT, STAGE_BODY, DELIVERY_ACCEPTED, NULL);
    classify_copy_reply("body", r, verdict);
    if (session_is_gone(s, a->mail) && !f->mail_refused && !f->rset_refused)
        return;
    /* Whose mail was that? Exim 4.96 delivers such a one with the sender of the mail before. */
    verdict->code = OUTCOME_PROTOCOL_ERROR;
    verdict->whose = WHOSE_SESSION;
    verdict->delivery = DELIVERY_UNKNOWN;
    snprintf(verdict->reason, sizeof(verdict->reason),
             "the relay accepted a body whose envelope or end it had not accepted");
    session_must_die(s, OUTCOME_PROTOCOL_ERROR, STAGE_BODY, "the relay accepted a body out of step");
}

static void quit_send(struct smtp_session *s)
{
    put_str(s, "QUIT\r\n");
}

static void quit_reply(struct smtp_session *s, const struct smtp_awaited *a, const struct smtp_reply *r)
{
    (void)a;
    (void)r;                            /* whatever it is, it says goodbye */
    session_die(s, NULL);
}

/* ---- the rows ---- */

const struct step_row session_steps[STEP_COUNT] = {
    [STEP_NONE] = {"", STAGE_MAIL, TIMEOUT(command), NULL, NULL},
    [STEP_BANNER] = {"banner", STAGE_BANNER, TIMEOUT(banner), NULL, banner_reply},
    [STEP_EHLO] = {"EHLO", STAGE_EHLO, TIMEOUT(command), ehlo_send, ehlo_reply},
    [STEP_HELO] = {"HELO", STAGE_EHLO, TIMEOUT(command), helo_send, helo_reply},
    [STEP_STARTTLS] = {"STARTTLS", STAGE_STARTTLS, TIMEOUT(command), starttls_send, starttls_reply},
    [STEP_AUTH] = {"AUTH", STAGE_AUTH, TIMEOUT(command), auth_send, auth_reply},
    [STEP_AUTH_RESPONSE] = {"AUTH", STAGE_AUTH, TIMEOUT(command), auth_response_send, auth_reply},
    [STEP_PROOF] = {"BDAT", STAGE_MAIL, TIMEOUT(command), proof_send, proof_reply},
    [STEP_RSET] = {"RSET", STAGE_MAIL, TIMEOUT(command), rset_send, rset_reply},
    [STEP_MAIL] = {"MAIL", STAGE_MAIL, TIMEOUT(command), mail_send, mail_reply},
    [STEP_RCPT] = {"RCPT", STAGE_RCPT, TIMEOUT(command), rcpt_send, rcpt_reply},
    [STEP_DATA] = {"DATA", STAGE_DATA, TIMEOUT(command), data_send, data_reply},
    [STEP_BODY] = {"body", STAGE_BODY, TIMEOUT(final_reply), body_send, body_reply},
    [STEP_QUIT] = {"QUIT", STAGE_MAIL, TIMEOUT(command), quit_send, quit_reply},
};

/* ---- what may go next ---- */

static enum smtp_step next_of_login(const struct smtp_session *s)
{
    if (s->awaited_n || !s->greeted || (s->tls_asked && !s->tls_on))
        return STEP_NONE;
    if (!s->ehlo_done)
        return s->ehlo_refused ? STEP_HELO : STEP_EHLO;
    if (s->p.tls_mode == SMTP_TLS_STARTTLS && !s->tls_on)
        return STEP_STARTTLS;
    if (s->p.user && !s->authed)
        return s->auth_begun ? STEP_AUTH_RESPONSE : STEP_AUTH;
    return STEP_NONE;
}

/* Behind a BDAT the octets leave at once, whatever becomes of it; behind a DATA they wait for the 354. */
bool session_uses_chunking(const struct smtp_session *s)
{
    return s->caps.chunking && s->proof == PROOF_GIVEN;
}

/* Where it would be of use: behind the first mail, so that none waits for it but a second one that is there already. */
bool session_wants_proof(const struct smtp_session *s)
{
    return s->proof == PROOF_UNKNOWN && s->caps.pipelining && s->caps.chunking && s->mails_done + s->mails_n > 0 &&
           (s->p.one_flight_max || s->p.depth > 1) && !s->p.proofs->refuted;
}

bool session_is_between_done(const struct smtp_session *s)
{
    return !s->mails_n && !s->awaited_n && ((!s->rset_due && !session_wants_proof(s)) || smtp_session_is_worn(s));
}

/* The body may leave before the envelope's replies are known: one flight. */
static bool may_fly_whole(const struct smtp_session *s, const struct session_mail *m)
{
    return s->caps.pipelining && session_uses_chunking(s) && !m->t->partial_reject &&
           m->t->content.n <= s->p.one_flight_max && m->fresh;
}

/* A refused mail's envelope is taken back before the session is lent again, so that a refused RSET harms no other. */
static enum smtp_step next_between(const struct smtp_session *s)
{
    if (!session_is_between_done(s) && !smtp_session_is_worn(s)) {
        if (session_wants_proof(s) && !s->awaited_n)
            return STEP_PROOF;
        return s->rset_due && !s->rset_sent ? STEP_RSET : STEP_NONE;
    }
    return s->quit_asked && !s->awaited_n ? STEP_QUIT : STEP_NONE;
}

/* With mails in front of this one something is awaited, so what is known of its own replies is all of them. */
static enum smtp_step next_after_envelope(const struct smtp_session *s, const struct session_mail *m)
{
    const struct mail_facts *f = &m->f;

    if (f->body_begun || f->data_refused)
        return STEP_NONE;
    if (f->data_sent)                   /* 354 is out; what follows it is the body or, for nobody, the dot */
        return f->data_ok && !s->awaited_n ? STEP_BODY : STEP_NONE;
    if (may_fly_whole(s, m))
        return STEP_BODY;
    /* RFC 2920 §3.1: DATA may be the last command of a group. */
    if (s->awaited_n)
        return s->caps.pipelining && !session_uses_chunking(s) && !m->t->partial_reject ? STEP_DATA : STEP_NONE;
    if (f->mail_refused || !f->rcpts_ok || f->rset_refused || (m->t->partial_reject && f->rcpts_refused))
        return STEP_NONE;
    return session_uses_chunking(s) ? STEP_BODY : STEP_DATA;
}

static enum smtp_step next_of_mail(const struct smtp_session *s, const struct session_mail *m)
{
    const struct mail_facts *f = &m->f;

    if (s->awaited_n && !s->caps.pipelining)
        return STEP_NONE;
    if (bytes_queue_len(&s->out) > SESSION_OUTPUT_LOW)
        return STEP_NONE;               /* a long list of recipients goes in pieces */
    if (!f->mail_sent) {
        /* How the mails in front of it end is not known yet: each may be one that leaves its envelope behind. */
        if ((s->rset_due || s->mails_n > 1) && !f->rset_sent)
            return STEP_RSET;
        return f->rset_refused ? STEP_NONE : STEP_MAIL;
    }
    if (f->rcpts_sent < m->t->n_rcpts)
        return f->mail_refused && !s->awaited_n ? STEP_NONE : STEP_RCPT;
    return next_after_envelope(s, m);
}

enum smtp_step session_next_step(const struct smtp_session *s)
{
    if (s->dead || s->must_die)
        return STEP_NONE;
    if (!s->ready_told)
        return next_of_login(s);
    if (s->mails_n)
        return next_of_mail(s, session_newest(s));
    return next_between(s);
}
