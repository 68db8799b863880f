#include "tests/unit/conversation.h"

#include "smtp/secrets.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The runner of C:/S: scripts. */

#define BIG (100 * 1024)
#define WORD_MAX 300
#define HELLO "Subject: x\r\n\r\nhello\r\n"
#define DOTS "Subject: x\r\n\r\n.\r\n..a\r\nb\r\n"

#define MAILS_MAX 12

struct sent_mail {
    struct smtp_transaction t;
    const char *to[3];
    char from_room[WORD_MAX], to_room[WORD_MAX], envid_room[WORD_MAX];      /* of the words of "> mail" */
    struct smtp_outcome rcpts[3];
    bool done;
};

struct run {
    const struct conversation *c;
    struct smtp_session *s;
    bool pipelined, bytewise, held, taking;
    size_t taken;                       /* looked at by the driver, on its way to the kernel */
    uint64_t now;
    struct bytes_queue written;         /* by the client, not yet compared */
    struct bytes_buf said;              /* by the server, not yet fed */
    struct sent_mail mails[MAILS_MAX], *last;   /* last: submitted or done */
    size_t mails_n;
    struct smtp_outcome dead;
    bool doubted;
    struct smtp_proofs proofs;
    struct secrets *secrets;
    char *big;
    unsigned line;
    char where[400];
};

static void take_output(struct run *r)
{
    struct bytes_view v;

    if (r->taking && !r->taken)
        r->taken = smtp_session_output(r->s).n;
    while (!r->held && !r->taking && (v = smtp_session_output(r->s)).n) {
        bytes_queue_add(&r->written, v.p, v.n);
        smtp_session_sent(r->s, v.n, r->now);
    }
}

static void feed(struct run *r)
{
    size_t step = r->bytewise ? 1 : r->said.n;

    for (size_t i = 0; i < r->said.n; i += step) {
        /* Each piece in memory of its own size, so that a sanitizer sees a read past it. */
        char *piece = malloc(step);
        memcpy(piece, r->said.p + i, step);
        smtp_session_feed(r->s, bytes_view(piece, step), r->now);
        free(piece);
        take_output(r);
    }
    r->said.n = 0;
}

/* What stands behind `key` at the begin of a word; NULL when there is no such word. */
static const char *find_word(const char *words, const char *key)
{
    for (const char *at = strstr(words, key); at; at = strstr(at + 1, key))
        if (at[-1] == ' ')
            return at + strlen(key);
    return NULL;
}

static bool has_word(const char *words, const char *word)
{
    const char *end = find_word(words, word);

    return end && (*end == ' ' || *end == '\0');
}

/* "key=value", copied to `room`; or what is meant without it. */
static const char *word_value(const char *words, const char *key, char room[WORD_MAX], const char *otherwise)
{
    const char *value = find_word(words, key);

    if (!value)
        return otherwise;
    ck_assert_uint_lt(strcspn(value, " "), WORD_MAX);
    snprintf(room, WORD_MAX, "%.*s", (int)strcspn(value, " "), value);
    return room;
}

static unsigned notify_bits(const char *words)
{
    static const char *const names[] = {"never", "success", "failure", "delay"};
    char room[WORD_MAX];
    const char *list = word_value(words, "notify=", room, "");
    unsigned bits = 0;

    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (strstr(list, names[i]))
            bits |= 1u << i;
    return bits;
}

static void submit(struct run *r, const char *words)
{
    bool big = has_word(words, "big");
    struct sent_mail *m;

    if (big && !r->big) {
        r->big = malloc(BIG);
        for (size_t i = 0; i < BIG; i += 2)
            memcpy(r->big + i, i % 64 ? "xx" : "\r\n", 2);
        memcpy(r->big + BIG - 2, "\r\n", 2);
    }
    ck_assert_msg(r->mails_n < MAILS_MAX, "%s: too many mails", r->where);
    m = r->last = &r->mails[r->mails_n++];
    m->to[0] = word_value(words, "to=", m->to_room, "b@y");
    m->to[1] = "c@y";
    m->to[2] = "d@y";
    m->t = (struct smtp_transaction){
        .from = word_value(words, "from=", m->from_room, "a@x"),
        .rcpts = m->to,
        .n_rcpts = has_word(words, "three") ? 3 : has_word(words, "two") ? 2 : 1,
        .content = big ? bytes_view(r->big, BIG) : bytes_view_str(has_word(words, "dots") ? DOTS : HELLO),
        .envid = word_value(words, "id=", m->envid_room, "id-1"),
        .needs_utf8 = has_word(words, "utf8"),
        .needs_8bit = has_word(words, "8bit"),
        .needs_dsn = has_word(words, "dsn"),
        .require_tls = has_word(words, "require_tls"),
        .dsn_ret = has_word(words, "ret=full")   ? MAIL_RET_FULL
                   : has_word(words, "ret=hdrs") ? MAIL_RET_HDRS
                                                 : MAIL_RET_UNSET,
        .dsn_notify = notify_bits(words),
        .partial_reject = has_word(words, "reject"),
        .rcpt_outcomes = m->rcpts,
    };
    for (char *p = m->envid_room; *p; p++)
        if (*p == '_')
            *p = ' ';
    ck_assert_msg(smtp_session_has_room(r->s), "%s: no room", r->where);
    smtp_session_submit(r->s, &m->t, r->now);
}

/* "… #2" is the second mail; else the first that is not done. */
static struct sent_mail *named_mail(struct run *r, const char *words)
{
    const char *number = strstr(words, " #");
    size_t i = 0;

    while (i < r->mails_n && r->mails[i].done)
        i++;
    if (number)
        i = (size_t)(number[2] - '1');
    ck_assert_msg(i < r->mails_n, "%s: no such mail", r->where);
    return &r->mails[i];
}

static void expect_line(struct run *r, const char *want)
{
    struct bytes_view v = bytes_queue_view(&r->written);
    const char *lf = v.n ? memchr(v.p, '\n', v.n) : NULL;
    size_t n = lf ? (size_t)(lf - v.p) - 1 : 0;

    ck_assert_msg(lf && n < v.n && v.p[n] == '\r', "%s: the client wrote no whole line, but \"%.*s\"", r->where,
                  (int)v.n, v.p);
    if (strcmp(want, "*") != 0)
        ck_assert_msg(n == strlen(want) && memcmp(v.p, want, n) == 0, "%s: the client wrote \"%.*s\"", r->where, (int)n,
                      v.p);
    bytes_queue_consume(&r->written, n + 2);
}

static void check_outcome(const struct run *r, const struct smtp_outcome *o, const char *want)
{
    char got[100];
    size_t n = strcspn(want, "#");

    n -= want[n] == '#';
    snprintf(got, sizeof(got), "%s %s %s", outcome_code_name(o->code), delivery_name(o->delivery),
             stage_name(o->stage));
    ck_assert_msg(strlen(got) == n && strncmp(got, want, n) == 0, "%s: got \"%s\" (%d %s; %s)", r->where, got,
                  o->reply_code, o->text, o->reason);
}

static void expect_event(struct run *r, const char *want)
{
    struct smtp_event ev;

    if (strncmp(want, "rcpt ", 5) == 0) {
        const struct smtp_outcome *o = &r->last->rcpts[want[5] - '0'];
        ck_assert_msg(strcmp(outcome_code_name(o->code), want + 7) == 0, "%s: got %s", r->where,
                      outcome_code_name(o->code));
        return;
    }
    if (strncmp(want, "text ", 5) == 0) {
        ck_assert_msg(strcmp(r->dead.text, want + 5) == 0, "%s: got \"%s\"", r->where, r->dead.text);
        return;
    }
    if (strncmp(want, "one_flight ", 11) == 0) {
        ck_assert_msg(r->proofs.refuted == (strcmp(want + 11, "off") == 0), "%s", r->where);
        return;
    }
    if (strncmp(want, "doubted ", 8) == 0) {
        ck_assert_msg(r->doubted == (strcmp(want + 8, "yes") == 0), "%s", r->where);
        return;
    }
    if (strncmp(want, "whose ", 6) == 0) {
        ck_assert_str_eq(outcome_whose_name(r->last->t.outcome.whose), want + 6);
        return;
    }
    if (strncmp(want, "worn ", 5) == 0) {
        ck_assert_msg(smtp_session_is_worn(r->s) == (strcmp(want + 5, "yes") == 0), "%s", r->where);
        return;
    }
    if (strncmp(want, "room ", 5) == 0) {
        ck_assert_msg(smtp_session_has_room(r->s) == (strcmp(want + 5, "yes") == 0), "%s", r->where);
        return;
    }
    if (strcmp(want, "nothing") == 0) {
        ck_assert_msg(!smtp_session_next_event(r->s, &ev), "%s: got event %d", r->where, ev.type);
        return;
    }
    ck_assert_msg(smtp_session_next_event(r->s, &ev), "%s: no event", r->where);
    switch (ev.type) {
    case SMTP_EV_NONE:
        ck_abort_msg("%s: the empty event", r->where);
        break;
    case SMTP_EV_READY:
        ck_assert_msg(strcmp(want, "ready") == 0, "%s: got ready", r->where);
        break;
    case SMTP_EV_START_TLS:
        ck_assert_msg(strcmp(want, "start_tls") == 0, "%s: got start_tls", r->where);
        break;
    case SMTP_EV_DONE:
        ck_assert_msg(strncmp(want, "done ", 5) == 0, "%s: got done %s", r->where,
                      outcome_code_name(ev.transaction->outcome.code));
        r->last = named_mail(r, want);
        ck_assert_msg(ev.transaction == &r->last->t, "%s: another mail's done", r->where);
        ck_assert_msg(!r->last->done, "%s: done twice", r->where);
        r->last->done = true;
        check_outcome(r, &r->last->t.outcome, want + 5);
        break;
    case SMTP_EV_DEAD:
        r->doubted = ev.doubts_last;
        if (strcmp(want, "quit") == 0) {
            ck_assert_msg(ev.quit_ok, "%s: dead, not by QUIT", r->where);
            break;
        }
        ck_assert_msg(strncmp(want, "dead ", 5) == 0 && !ev.quit_ok, "%s: got dead %s", r->where,
                      outcome_code_name(ev.outcome.code));
        r->dead = ev.outcome;
        check_outcome(r, &ev.outcome, want + 5);
        break;
    }
}

/* The mails so far are done: the next one is the first again. */
static void forget(struct run *r)
{
    for (size_t i = 0; i < r->mails_n; i++)
        ck_assert_msg(r->mails[i].done, "%s: mail %zu is not done", r->where, i + 1);
    r->mails_n = 0;
    memset(r->mails, 0, sizeof(r->mails));
}

/* Another session with the same relay. */
static void begin(struct run *r)
{
    struct smtp_session_params params = r->c->params;

    smtp_session_free(r->s);
    params.proofs = &r->proofs;
    params.secrets = r->secrets;
    r->s = smtp_session_new(&params);
    smtp_session_start(r->s, r->now);
}

static void act(struct run *r, const char *what)
{
    if (strcmp(what, "tls") == 0)
        smtp_session_tls_started(r->s, r->now);
    else if (strcmp(what, "close") == 0)
        smtp_session_closed(r->s, NULL, NULL, r->now);
    else if (strcmp(what, "hold") == 0)
        r->held = true;
    else if (strcmp(what, "take") == 0)
        r->taking = true;
    else if (strcmp(what, "let") == 0) {
        if (r->taken)
            smtp_session_sent(r->s, r->taken, r->now);
        r->taken = 0;
        r->held = r->taking = false;
    } else if (strcmp(what, "forget") == 0)
        forget(r);
    else if (strcmp(what, "anew") == 0)
        begin(r);
    else if (strcmp(what, "quit") == 0)
        smtp_session_quit(r->s, r->now);
    else if (strncmp(what, "wait ", 5) == 0) {
        r->now += strtoul(what + 5, NULL, 10);
        smtp_session_tick(r->s, r->now);
    } else if (strncmp(what, "give_up ", 8) == 0) {
        bool gone = smtp_session_give_up(r->s, &named_mail(r, what)->t, r->now + 600000, r->now);
        ck_assert_msg(gone == (strncmp(what + 8, "TRUE", 4) == 0), "%s", r->where);
    } else {
        ck_abort_msg("%s: unknown", r->where);
    }
}

static void do_line(struct run *r, const char *line)
{
    const char *arg = line + 3;

    if (line[0] == 'S') {
        if (strcmp(arg, "$PIPE") == 0 && !r->pipelined)
            return;
        bytes_buf_add_str(&r->said, strcmp(arg, "$PIPE") == 0 ? "250-PIPELINING" : arg);
        if (line[1] == ':')
            bytes_buf_add_str(&r->said, "\r\n");
        return;
    }
    feed(r);
    if (line[0] == '>')
        submit(r, line + 2);
    else if (line[0] == 'x')
        act(r, line + 2);
    take_output(r);
    if (line[0] == '!')
        expect_event(r, line + 2);
    else if (line[0] == 'C' && line[1] == '.') {
        ck_assert_msg(bytes_queue_len(&r->written) >= strtoul(arg, NULL, 10), "%s: only %zu octets", r->where,
                      bytes_queue_len(&r->written));
        bytes_queue_consume(&r->written, strtoul(arg, NULL, 10));
    } else if (line[0] == 'C')
        expect_line(r, arg);
}

static void run_once(const struct conversation *c, bool pipelined, bool bytewise)
{
    struct run r = {.c = c, .pipelined = pipelined, .bytewise = bytewise, .now = 1000};
    struct smtp_event ev;
    const char *at = c->script;

    r.secrets = secrets_new(c->params.user, c->params.password);
    bytes_queue_init(&r.written, 0);
    bytes_buf_init(&r.said, 0);
    begin(&r);
    for (r.line = 1; *at; r.line++) {
        const char *lf = strchr(at, '\n');
        char *line = strndup(at, (size_t)(lf - at));
        snprintf(r.where, sizeof(r.where), "%s (%s, %s), line %u: %s", c->name, pipelined ? "pipelined" : "lock-step",
                 bytewise ? "byte by byte" : "whole", r.line, line);
        do_line(&r, line);
        free(line);
        at = lf + 1;
    }
    feed(&r);
    ck_assert_msg(!smtp_session_next_event(r.s, &ev), "%s: an event is left: %d", r.where, ev.type);
    for (size_t i = 0; i < r.mails_n; i++)
        ck_assert_msg(r.mails[i].done, "%s: mail %zu is not done", r.where, i + 1);
    ck_assert_msg(!bytes_queue_len(&r.written), "%s: the client wrote more: \"%.60s\"", r.where,
                  bytes_queue_view(&r.written).p);
    smtp_session_free(r.s);
    secrets_free(r.secrets);
    bytes_queue_deinit(&r.written);
    bytes_buf_deinit(&r.said);
    free(r.big);
}

void conversation_run(const struct conversation *c)
{
    for (int pipelined = 0; pipelined < 2; pipelined++)
        if (c->modes & (pipelined ? PIPELINED : LOCK_STEP)) {
            run_once(c, pipelined, false);
            if (!(c->modes & WHOLE))
                run_once(c, pipelined, true);
        }
}
