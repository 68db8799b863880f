#include "smtp/cert.h"
#include "smtp/secrets.h"
#include "smtp/session.h"
#include "smtp/tls.h"
#include "tests/fuzz/outcome.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fuzz target: a whole session under TLS, against an OpenSSL server in this process that says anything, in records of
 * any size, between them what TLS allows and what it does not. The first byte chooses the settings; bytes of what
 * follows that are no operation below are text. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum op {
    OP_RECORD = 0xF0,                   /* the text so far is a record of its own */
    OP_KEY_UPDATE,
    OP_KEY_UPDATE_BACK,                 /* and we shall do the same */
    OP_TICKET,
    OP_HELLO_REQUEST,                   /* TLS 1.2 */
    OP_FLIP,                            /* a bit of the next cipher text; the next byte says which */
    OP_CUT,                             /* the next byte: so many octets of the cipher text are lost */
    OP_PIECES,                          /* the next byte: cipher text comes in pieces of that size; 0: whole */
    OP_TIME,                            /* two seconds */
    OP_GOODBYE,                         /* close_notify */
    OP_EOF,
    OP_GIVE_UP,                         /* the caller's deadline for a mail passes */
    OP_RAW,                             /* the next byte: so many octets behind it are cipher text as they are */
    OP_TWICE,                           /* the cipher text that follows comes twice */
    OP_FLOOD,                           /* a hundred key updates */
};

#define MAILS 6
#define SAID_MAX 65536

struct mail_in_hand {
    struct smtp_transaction t;
    struct smtp_outcome rcpt;
    char content[48];
    bool done;
};

struct world {
    struct smtp_session *s;
    struct tls *tls;                    /* NULL: plain text */
    SSL *server;
    bool shaken, dead;
    struct mail_in_hand mails[MAILS];
    unsigned submitted, done;
    uint64_t now;
    struct bytes_buf said, heard;       /* plain text of the server, and what it received */
    size_t understood;                  /* of `said`, by the session */
    uint8_t flip, cut, pieces;
    bool has_flip, twice;
};

static struct tls_context *client_context;
static SSL_CTX *server_contexts[2];     /* TLS 1.2, 1.3 */
static const char password[] = "correct horse/9";

static void use_pem(SSL_CTX *ctx, const struct cert_set *set)
{
    BIO *chain = BIO_new_mem_buf(set->chain_pem, -1), *key_bio = BIO_new_mem_buf(set->key_pem, -1);
    X509 *cert = PEM_read_bio_X509(chain, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);

    if (SSL_CTX_use_certificate(ctx, cert) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1)
        unreachable("no certificate");
    X509_free(cert);
    EVP_PKEY_free(key);
    BIO_free(chain);
    BIO_free(key_bio);
}

static void make_contexts(void)
{
    struct cert_set set;
    char err[200];

    if (cert_set_make(&set) < 0)
        unreachable("no certificates");
    client_context = tls_context_new_client(&(struct tls_client_params){.host = "localhost", .ca_pem = set.ca_pem},
                                            err);
    for (int i = 0; i < 2; i++) {
        int version = i ? TLS1_3_VERSION : TLS1_2_VERSION;
        server_contexts[i] = SSL_CTX_new(TLS_server_method());
        SSL_CTX_set_min_proto_version(server_contexts[i], version);
        SSL_CTX_set_max_proto_version(server_contexts[i], version);
        SSL_CTX_set_num_tickets(server_contexts[i], 0);         /* or one run would lean on the one before it */
        SSL_CTX_set_options(server_contexts[i], SSL_OP_NO_TICKET);
        SSL_CTX_set_session_cache_mode(server_contexts[i], SSL_SESS_CACHE_OFF);
        use_pem(server_contexts[i], &set);
    }
    cert_set_deinit(&set);
}

/* ---- invariants ---- */

/* Whatever is done to the cipher text: what is understood is what the server said, from its beginning. */
static void check_understood(struct world *w, const char *p, size_t n)
{
    if (w->understood + n > w->said.n || memcmp(w->said.p + w->understood, p, n) != 0)
        unreachable("the session was fed what the server had not said");
    w->understood += n;
}

static void on_done(struct world *w, struct smtp_transaction *t)
{
    struct mail_in_hand *m = (struct mail_in_hand *)(void *)t;
    const struct smtp_outcome *o = &t->outcome;

    if (m->done)
        unreachable("a mail is done twice");
    m->done = true;
    w->done++;
    fuzz_check_outcome(o);
    if (o->code == OUTCOME_SENT &&
        !(w->heard.n && memmem(w->heard.p, w->heard.n, t->content.p, t->content.n)))
        unreachable("sent, and the server has not all of it");
    if (strstr(o->text, "correct horse") || strstr(o->reason, "correct horse"))
        unreachable("the password is shown");
}

/* ---- the client's side of the wire ---- */

static void submit(struct world *w)
{
    static const char *const to[] = {"b@y"};
    unsigned i = w->submitted++;
    struct mail_in_hand *m = &w->mails[i];
    int n = snprintf(m->content, sizeof(m->content), "X: mail %u\r\n\r\ntext\r\n", i);

    m->t = (struct smtp_transaction){.from = "a@x",
                                     .rcpts = to,
                                     .n_rcpts = 1,
                                     .rcpt_outcomes = &m->rcpt,
                                     .content = bytes_view(m->content, (size_t)n)};
    smtp_session_submit(w->s, &m->t, w->now);
}

/* Cipher text to the server, and what it makes of it. */
static void to_server(struct world *w)
{
    struct bytes_queue *q = tls_output(w->tls);
    char buf[4096];
    int n;

    if (bytes_queue_len(q))
        BIO_write(SSL_get_rbio(w->server), bytes_queue_view(q).p, (int)bytes_queue_len(q));
    bytes_queue_consume(q, bytes_queue_len(q));
    ERR_clear_error();
    if (!w->shaken)
        return;
    while ((n = SSL_read(w->server, buf, sizeof(buf))) > 0)
        bytes_buf_add(&w->heard, buf, (size_t)n);
    ERR_clear_error();
}

static void lose(struct world *w)
{
    struct smtp_outcome why;

    tls_get_failure(w->tls, &why);
    smtp_session_closed(w->s, &why, NULL, w->now);
}

static void write_all(struct world *w)
{
    struct bytes_view out;

    while (!w->dead && (out = smtp_session_output(w->s)).n) {
        if (!w->tls) {
            bytes_buf_add(&w->heard, out.p, out.n);
        } else if (tls_write(w->tls, out) != TLS_OK) {
            lose(w);
            return;
        } else {
            to_server(w);
        }
        smtp_session_sent(w->s, out.n, w->now);
    }
    if (w->tls)
        to_server(w);
}

static void shake_hands(struct world *w);

static void drive(struct world *w)
{
    struct smtp_event ev;

    write_all(w);
    while (smtp_session_next_event(w->s, &ev)) {
        if (ev.type == SMTP_EV_START_TLS)
            shake_hands(w);
        if (ev.type == SMTP_EV_DONE)
            on_done(w, ev.transaction);
        if (ev.type == SMTP_EV_DEAD)
            w->dead = true;
        while (!w->dead && smtp_session_has_room(w->s) && w->submitted < MAILS)
            submit(w);
        write_all(w);
    }
    if (w->dead && w->done < w->submitted)
        unreachable("a session died and kept a mail");
}

/* ---- the server's side ---- */

static void feed(struct world *w, struct bytes_view cipher)
{
    char plain[512];
    enum tls_status status = TLS_OK;
    size_t n;

    tls_feed(w->tls, cipher);
    while (!w->dead && status == TLS_OK) {
        status = tls_read(w->tls, plain, sizeof(plain), &n);
        if (n) {
            check_understood(w, plain, n);
            smtp_session_feed(w->s, bytes_view(plain, n), w->now);
            drive(w);
        }
        if (status == TLS_CLOSED)
            smtp_session_closed(w->s, NULL, NULL, w->now);
        else if (status == TLS_FAILED)
            lose(w);
        else if (status == TLS_OK && !tls_has_more(w->tls))
            break;
    }
    drive(w);
}

/* What the server wrote comes over the wire, or what is left of it. */
static void deliver(struct world *w)
{
    char *p = NULL, *copy;
    size_t n = (size_t)BIO_get_mem_data(SSL_get_wbio(w->server), &p), step;

    copy = malloc(2 * n + 1);
    if (!copy)
        return;
    memcpy(copy, p, n);
    BIO_reset(SSL_get_wbio(w->server));
    if (w->has_flip && n)
        copy[w->flip % n] ^= (char)(1 << (w->flip & 7));
    w->has_flip = w->has_flip && !n;
    if (w->twice)
        memcpy(copy + n, copy, n);
    n = (w->twice ? 2 : 1) * n;
    n -= w->cut < n ? w->cut : n;
    w->twice = false;
    w->cut = 0;
    step = w->pieces ? w->pieces : n;
    for (size_t at = 0; at < n && !w->dead; at += step)
        feed(w, bytes_view(copy + at, n - at < step ? n - at : step));
    free(copy);
}

/* Honest, but for what was prepared: then it fails. */
static void shake_hands(struct world *w)
{
    enum tls_status status;

    w->tls = tls_new(client_context);
    status = tls_handshake(w->tls);
    for (int i = 0; i < 6 && status == TLS_WANT_READ; i++) {
        char *p = NULL, *copy;
        size_t n;
        to_server(w);
        SSL_do_handshake(w->server);
        ERR_clear_error();
        n = (size_t)BIO_get_mem_data(SSL_get_wbio(w->server), &p);
        copy = malloc(n + 1);
        memcpy(copy, p, n);
        BIO_reset(SSL_get_wbio(w->server));
        if (w->has_flip && n)
            copy[w->flip % n] ^= (char)(1 << (w->flip & 7));
        w->has_flip = w->has_flip && !n;
        tls_feed(w->tls, bytes_view(copy, n));
        status = tls_handshake(w->tls);
        if (status == TLS_OK)
            (void)!tls_read(w->tls, (char[1]){0}, 1, &n);       /* eats what is lent */
        free(copy);
    }
    to_server(w);
    w->shaken = status == TLS_OK && SSL_do_handshake(w->server) == 1;
    ERR_clear_error();
    if (status != TLS_OK)
        lose(w);
    else if (smtp_session_stage(w->s) == STAGE_TLS)
        smtp_session_tls_started(w->s, w->now);
}

static void say(struct world *w, struct bytes_buf *text)
{
    if (text->n && !w->tls && !w->dead) {
        smtp_session_feed(w->s, bytes_buf_view(text), w->now);
        drive(w);
    } else if (text->n && w->shaken && w->said.n + text->n <= SAID_MAX &&
               SSL_write(w->server, text->p, (int)text->n) == (int)text->n) {
        bytes_buf_add(&w->said, text->p, text->n);
        deliver(w);
    }
    ERR_clear_error();
    text->n = 0;
}

static void say_nothing(struct world *w, enum op op)
{
    bool newer = w->shaken && SSL_version(w->server) == TLS1_3_VERSION;

    for (int i = 0; i < (op == OP_FLOOD ? 100 : 1); i++) {
        if (newer && op == OP_TICKET)
            SSL_new_session_ticket(w->server);
        else if (newer && op != OP_HELLO_REQUEST)
            SSL_key_update(w->server, op == OP_KEY_UPDATE_BACK ? SSL_KEY_UPDATE_REQUESTED
                                                               : SSL_KEY_UPDATE_NOT_REQUESTED);
        else if (!newer && w->shaken && op == OP_HELLO_REQUEST)
            SSL_renegotiate(w->server);
        if (w->shaken)
            SSL_do_handshake(w->server);
    }
    ERR_clear_error();
    if (w->shaken)
        deliver(w);
}

static void give_up_one(struct world *w)
{
    if (w->done < w->submitted && !w->dead && !w->mails[w->done].done)
        smtp_session_give_up(w->s, &w->mails[w->done].t, w->now + 4000, w->now);
    drive(w);
}

static void end_transport(struct world *w)
{
    if (w->shaken) {
        tls_eof(w->tls);
        feed(w, bytes_view("", 0));
    } else {
        smtp_session_closed(w->s, NULL, NULL, w->now);
        drive(w);
    }
}

/* One operation with the bytes behind it; how many of those it took. */
static size_t operate(struct world *w, enum op op, const uint8_t *more, size_t n)
{
    size_t raw = n ? more[0] : 0;

    switch (op) {
    case OP_RECORD:
        return 0;
    case OP_KEY_UPDATE:
    case OP_KEY_UPDATE_BACK:
    case OP_TICKET:
    case OP_HELLO_REQUEST:
    case OP_FLOOD:
        say_nothing(w, op);
        return 0;
    case OP_FLIP:
        w->has_flip = n > 0;
        w->flip = n ? more[0] : 0;
        return n > 0;
    case OP_CUT:
        w->cut = n ? more[0] : 0;
        return n > 0;
    case OP_PIECES:
        w->pieces = n ? more[0] : 0;
        return n > 0;
    case OP_TIME:
        w->now += 2000;
        if (!w->dead)
            smtp_session_tick(w->s, w->now);
        drive(w);
        return 0;
    case OP_GOODBYE:
        if (w->shaken)
            SSL_shutdown(w->server);
        ERR_clear_error();
        if (w->shaken)
            deliver(w);
        return 0;
    case OP_EOF:
        end_transport(w);
        return 0;
    case OP_GIVE_UP:
        give_up_one(w);
        return 0;
    case OP_RAW:
        if (n && raw > n - 1)
            raw = n - 1;
        if (w->shaken && raw)
            feed(w, bytes_view(more + 1, raw));
        return n ? raw + 1 : 0;
    case OP_TWICE:
        w->twice = true;
        return 0;
    }
    return 0;
}

static void play(struct world *w, const uint8_t *data, size_t n)
{
    struct bytes_buf text;

    bytes_buf_init(&text, SAID_MAX);
    for (size_t i = 0; i < n && !w->dead; i++) {
        if (data[i] < OP_RECORD || data[i] > OP_FLOOD) {
            bytes_buf_add_char(&text, (char)data[i]);
            continue;
        }
        say(w, &text);
        if (!w->dead)
            i += operate(w, (enum op)data[i], data + i + 1, n - i - 1);
    }
    say(w, &text);
    bytes_buf_deinit(&text);
    for (int i = 0; i < 20 && !w->dead; i++)
        operate(w, i < 10 ? OP_TIME : OP_EOF, NULL, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct smtp_session_params p = {
        .ehlo_name = "me",
        .timeouts = {.banner = 5000, .command = 5000, .tls = 5000, .write_stall = 5000, .final_reply = 5000},
        .one_flight_idle = 5000,
    };
    struct world w = {.now = 1};
    struct secrets *secrets;
    struct smtp_proofs proofs = {.n = 0};

    if (n < 1)
        return 0;
    if (!client_context)
        make_contexts();
    p.tls_mode = data[0] & 1 ? SMTP_TLS_STARTTLS : SMTP_TLS_IMPLICIT;
    p.user = data[0] & 2 ? "ann" : NULL;
    p.password = data[0] & 2 ? password : NULL;
    p.one_flight_max = data[0] & 4 ? 65536 : 0;
    p.depth = data[0] & 8 ? 3 : 1;
    p.secrets = secrets = secrets_new(p.user, p.password);
    p.proofs = &proofs;
    w.s = smtp_session_new(&p);
    w.server = SSL_new(server_contexts[!(data[0] & 16)]);
    SSL_set_bio(w.server, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(w.server);
    bytes_buf_init(&w.said, 0);
    bytes_buf_init(&w.heard, 0);
    if (p.tls_mode == SMTP_TLS_IMPLICIT)
        shake_hands(&w);
    smtp_session_start(w.s, w.now);
    play(&w, data + 1, n - 1);
    if (!w.dead || w.done < w.submitted)
        unreachable("a session does not end");
    bytes_buf_deinit(&w.said);
    bytes_buf_deinit(&w.heard);
    smtp_session_free(w.s);
    tls_free(w.tls);
    SSL_free(w.server);
    secrets_free(secrets);
    return 0;
}
