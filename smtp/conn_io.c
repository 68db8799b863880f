#include "smtp/conn_int.h"
#include "smtp/secrets.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* How bytes travel between the socket and the session: in plain text, or in TLS. */

static const struct transport_ops tls_ops;

static const char *errno_text(int error)
{
    const char *text = strerrordesc_np(error);

    return text ? text : "unknown error";
}

void conn_close_socket(struct conn *c)
{
    if (c->io.fd < 0)
        return;
    if (c->trace)
        trace_flush(c->trace);
    loop_del(c->p.loop, &c->io);
    close(c->io.fd);
    c->io.fd = -1;
    c->blocked = false;
    c->encrypted = 0;
}

void conn_fail(struct conn *c, const struct smtp_outcome *why)
{
    if (c->failed || c->dead_told)
        return;
    c->failed = true;
    c->failure = *why;
}

void conn_fail_local(struct conn *c, enum outcome_code code, enum stage stage, const char *reason)
{
    struct smtp_outcome o;

    outcome_set_local(&o, code, stage, DELIVERY_NOT_SENT, reason);
    o.ms = (uint32_t)((clock_us() - c->facts.started_us) / 1000);
    conn_fail(c, &o);
}

void conn_transport_gone(struct conn *c, const struct smtp_outcome *why, const char *text)
{
    if (c->io.fd < 0)
        return;
    conn_close_socket(c);
    if (c->trace)
        trace_note(c->trace, why ? why->reason : text ? text : "the relay closed the connection");
    if (!c->dead_told)
        smtp_session_closed(c->session, why, text, conn_now(c));
}

void conn_drop(struct conn *c, const char *why)
{
    conn_transport_gone(c, NULL, why);
}

void conn_note_sent(struct conn *c, size_t n)
{
    struct bytes_view out;

    if (c->trace) {
        out = smtp_session_output(c->session);
        conn_trace(c, true, bytes_view(out.p, n < out.n ? n : out.n));
    }
    smtp_session_sent(c->session, n, conn_now(c));
}

/* ---- plain transport ---- */

static void plain_read(struct conn *c)
{
    size_t n;

    switch (dial_recv(c->io.fd, c->p.buffers->cipher, CONN_CIPHER_MAX, &n)) {
    case DIAL_OK:
        c->heard = true;
        conn_trace(c, false, bytes_view(c->p.buffers->cipher, n));
        smtp_session_feed(c->session, bytes_view(c->p.buffers->cipher, n), conn_now(c));
        break;
    case DIAL_AGAIN:
        break;
    case DIAL_EOF:
        conn_transport_gone(c, NULL, NULL);
        break;
    case DIAL_ERROR:
        conn_transport_gone(c, NULL, errno_text(errno));
        break;
    }
}

/* A server that refuses a mail in its middle answers and closes; the answer (552 …) waits in our buffer and says more
 * than EPIPE. */
static void write_failed(struct conn *c, int error)
{
    for (int i = 0; i < 16 && c->io.fd >= 0; i++)
        c->ops->read(c);
    if (c->phase == PHASE_TLS && c->io.fd >= 0) {
        conn_fail_local(c, OUTCOME_TLS_CLOSED, STAGE_TLS, errno_text(error));
        conn_close_socket(c);
    }
    conn_transport_gone(c, NULL, errno_text(error));
}

/* One send. False: the kernel takes nothing now. When the socket is broken the session knows, and *n_out is 0. */
static bool send_some(struct conn *c, struct bytes_view v, size_t *n_out)
{
    switch (dial_send(c->io.fd, v, n_out)) {
    case DIAL_OK:
        c->turn += *n_out;
        c->blocked = *n_out < v.n;
        return true;
    case DIAL_AGAIN:
    case DIAL_EOF:
        c->blocked = true;
        return false;
    case DIAL_ERROR:
        write_failed(c, errno);
        *n_out = 0;
        return true;
    }
    unreachable("dial_send");
}

static bool plain_write(struct conn *c)
{
    struct bytes_view out = smtp_session_output(c->session);
    size_t n;

    if (!out.n || !send_some(c, out, &n))
        return false;
    if (n)
        conn_note_sent(c, n);
    return true;
}

static void plain_close(struct conn *c)
{
    (void)c;
}

static int plain_start_tls(struct conn *c, struct smtp_outcome *why_out)
{
    c->tls = tls_new(c->p.tls);
    if (!c->tls) {
        outcome_set_local(why_out, OUTCOME_INTERNAL_ERROR, STAGE_TLS, DELIVERY_NOT_SENT, "no memory for TLS");
        return -1;
    }
    c->ops = &tls_ops;
    c->phase = PHASE_TLS;
    c->tls_began_us = clock_us();
    c->limit = conn_now(c) + c->p.config->timeouts.tls;
    tls_handshake(c->tls);              /* writes the ClientHello into its queue */
    return 0;
}

const struct transport_ops conn_plain_ops = {plain_read, plain_write, plain_close, plain_start_tls};

/* ---- TLS transport ---- */

/* Its reason may have words of the peer: its first octets, a name in its certificate. */
static void get_tls_failure(const struct conn *c, struct smtp_outcome *out)
{
    tls_get_failure(c->tls, out);
    secrets_mask_str(c->p.config->secrets, out->reason);
}

static void handshake_failed(struct conn *c, int error)
{
    struct smtp_outcome o;
    size_t n;

    get_tls_failure(c, &o);
    o.ms = (uint32_t)((clock_us() - c->tls_began_us) / 1000);
    if (error && !o.reason[0])
        snprintf(o.reason, sizeof(o.reason), "%s", errno_text(error));
    if (!error && bytes_queue_len(tls_output(c->tls)))          /* our alert tells the server's log why */
        dial_send(c->io.fd, bytes_queue_view(tls_output(c->tls)), &n);
    conn_fail(c, &o);
    conn_close_socket(c);
}

static void handshake_done(struct conn *c)
{
    struct tls_facts f;
    char words[120];

    tls_get_facts(c->tls, &f);
    c->facts.has_tls = true;
    c->facts.tls_verified = f.verified;
    c->facts.tls_resumed = f.resumed;
    snprintf(c->facts.tls_version, sizeof(c->facts.tls_version), "%s", f.version);
    snprintf(c->facts.tls_cipher, sizeof(c->facts.tls_cipher), "%s", f.cipher);
    c->facts.tls_us = (uint32_t)(clock_us() - c->tls_began_us);
    if (c->trace) {
        snprintf(words, sizeof(words), "%s, %s%s%s", f.version, f.cipher, f.verified ? ", verified" : "",
                 f.resumed ? ", resumed" : "");
        trace_note(c->trace, words);
    }
    c->phase = PHASE_TALK;
    c->limit = UINT64_MAX;
    if (c->p.config->tls_mode == SMTP_TLS_IMPLICIT)
        smtp_session_start(c->session, conn_now(c));
    else
        smtp_session_tls_started(c->session, conn_now(c));
}

static bool handshake_goes_on(struct conn *c, int error)
{
    switch (tls_handshake(c->tls)) {
    case TLS_OK:
        handshake_done(c);
        return true;
    case TLS_WANT_READ:
        return false;
    case TLS_CLOSED:
    case TLS_FAILED:
        handshake_failed(c, error);
        return false;
    }
    unreachable("tls_handshake");
}

/* Everything the TLS layer can give after something was fed to it. */
static void decrypt(struct conn *c, int error)
{
    if (c->phase == PHASE_TLS && !handshake_goes_on(c, error))
        return;
    while (c->io.fd >= 0) {
        struct smtp_outcome why;
        size_t n = 0;
        enum tls_status status = tls_read(c->tls, c->p.buffers->plain, CONN_PLAIN_MAX, &n);
        if (n && !c->dead_told) {
            conn_trace(c, false, bytes_view(c->p.buffers->plain, n));
            smtp_session_feed(c->session, bytes_view(c->p.buffers->plain, n), conn_now(c));
        }
        switch (status) {
        case TLS_OK:
            if (!tls_has_more(c->tls))
                return;
            break;
        case TLS_WANT_READ:
            return;
        case TLS_CLOSED:
            conn_transport_gone(c, NULL, error ? errno_text(error) : NULL);
            break;
        case TLS_FAILED:
            get_tls_failure(c, &why);
            conn_transport_gone(c, &why, NULL);
            break;
        }
    }
}

static void tls_transport_read(struct conn *c)
{
    size_t n;

    switch (dial_recv(c->io.fd, c->p.buffers->cipher, CONN_CIPHER_MAX, &n)) {
    case DIAL_OK:
        tls_feed(c->tls, bytes_view(c->p.buffers->cipher, n));
        decrypt(c, 0);
        break;
    case DIAL_AGAIN:
        break;
    case DIAL_EOF:
        tls_eof(c->tls);
        decrypt(c, 0);
        break;
    case DIAL_ERROR: {
        int error = errno;
        tls_eof(c->tls);
        decrypt(c, error);
        break;
    }
    }
}

bool conn_has_taken_back(const struct conn *c)
{
    return c->encrypted && c->encrypted > smtp_session_output(c->session).n;
}

/* More of the session's output is encrypted only when all of before has left. */
static bool encrypt(struct conn *c)
{
    struct bytes_queue *q = tls_output(c->tls);
    struct bytes_view out;
    struct smtp_outcome why;

    if (c->phase != PHASE_TALK || c->encrypted)
        return true;
    c->records_n = c->records_at = c->cipher_sent = 0;
    for (out = smtp_session_output(c->session); out.n && c->records_n < RECORDS_MAX;) {
        size_t n = out.n < RECORD_MAX ? out.n : RECORD_MAX;
        if (tls_write(c->tls, bytes_view(out.p, n)) != TLS_OK) {
            get_tls_failure(c, &why);
            conn_transport_gone(c, &why, NULL);
            return false;
        }
        c->records[c->records_n++] = (struct record){.end = bytes_queue_len(q), .plain = n};
        c->encrypted += n;
        out = bytes_view(out.p + n, out.n - n);
    }
    return true;
}

/* The kernel took n more bytes of the TLS queue: tells the session of the records that are wholly gone. */
static void note_cipher_sent(struct conn *c, size_t n)
{
    size_t plain = 0;

    c->cipher_sent += n;
    while (c->records_at < c->records_n && c->records[c->records_at].end <= c->cipher_sent)
        plain += c->records[c->records_at++].plain;
    c->encrypted -= plain;
    if (plain)
        conn_note_sent(c, plain);
}

static bool tls_transport_write(struct conn *c)
{
    struct bytes_queue *q = tls_output(c->tls);
    size_t n;

    if (conn_has_taken_back(c))
        return false;
    if (!encrypt(c))
        return true;
    if (!bytes_queue_len(q) || !send_some(c, bytes_queue_view(q), &n))
        return false;
    if (n) {
        bytes_queue_consume(q, n);
        note_cipher_sent(c, n);
    }
    return true;
}

static void tls_transport_close(struct conn *c)
{
    size_t n;

    if (c->phase != PHASE_TALK)
        return;
    tls_shutdown(c->tls);
    dial_send(c->io.fd, bytes_queue_view(tls_output(c->tls)), &n);      /* as far as it goes: nobody waits for it */
}

static int tls_transport_start_tls(struct conn *c, struct smtp_outcome *why_out)
{
    (void)c;
    outcome_set_local(why_out, OUTCOME_PROTOCOL_ERROR, STAGE_STARTTLS, DELIVERY_NOT_SENT, "TLS within TLS");
    return -1;
}

static const struct transport_ops tls_ops = {
    tls_transport_read, tls_transport_write, tls_transport_close, tls_transport_start_tls,
};

/* RFC 3207 §4.1 and CVE-2011-0411: what came in plain text behind the 220 must not be taken for the words of the
 * verified server. */
void conn_start_tls(struct conn *c)
{
    struct smtp_outcome why;
    size_t n;

    switch (dial_recv(c->io.fd, c->p.buffers->cipher, CONN_CIPHER_MAX, &n)) {
    case DIAL_AGAIN:
        if (c->ops->start_tls(c, &why) < 0)
            conn_fail(c, &why);
        break;
    case DIAL_OK:
        conn_fail_local(c, OUTCOME_STARTTLS_INJECTION, STAGE_STARTTLS, "plaintext followed the reply to STARTTLS");
        break;
    case DIAL_EOF:
        conn_fail_local(c, OUTCOME_TLS_CLOSED, STAGE_TLS, "the relay closed the connection before the TLS handshake");
        break;
    case DIAL_ERROR:
        conn_fail_local(c, OUTCOME_TLS_CLOSED, STAGE_TLS, errno_text(errno));
        break;
    }
}
