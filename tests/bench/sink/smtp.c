#include "sink.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The sink's side of the conversation: a submission server that accepts everything, counts it and throws it away. */

void conn_reply(struct conn *c, const char *line)
{
    buf_add(&c->replies, line, strlen(line));
}

void conn_reset(struct conn *c)
{
    c->in_mail = false;
    c->n_rcpts = 0;
    c->mail_bytes = 0;
    c->tail_n = 0;
    c->message.n = c->message.off = 0;
}

static enum verdict accept_mail(struct conn *c)
{
    static __thread uint64_t n_seen;
    char line[96];

    if (options.fail_every && ++n_seen % options.fail_every == 0) {
        c->stats->rejected++;
        conn_reply(c, "451 4.3.0 Try later\r\n");
        conn_reset(c);
        return GO_ON;
    }
    c->stats->msgs++;
    c->stats->bytes += c->mail_bytes;
    c->stats->rcpts += c->n_rcpts;
    c->n_mails++;
    if (options.keep_last)
        sink_keep_last(&c->message);
    snprintf(line, sizeof(line), "250 2.0.0 Ok: queued as %012llX\r\n", (unsigned long long)c->stats->msgs);
    conn_reply(c, line);
    conn_reset(c);
    if (options.mails_per_session && c->n_mails >= options.mails_per_session) {
        conn_reply(c, "421 4.7.0 Too many messages\r\n");
        return CLOSE;
    }
    return GO_ON;
}

/* The decoded length, or -1. */
static int base64_decode(const char *s, size_t n, char *out, size_t size)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned value = 0, bits = 0;
    size_t k = 0;

    for (size_t i = 0; i < n && s[i] != '='; i++) {
        const char *digit = s[i] ? strchr(alphabet, s[i]) : NULL;

        if (!digit || k + 1 >= size)
            return -1;
        value = value << 6 | (unsigned)(digit - alphabet);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[k++] = (char)(value >> bits);
        }
    }
    out[k] = '\0';
    return (int)k;
}

static void auth_done(struct conn *c, bool ok)
{
    c->mode = MODE_COMMAND;
    if (ok) {
        c->authed = true;
        c->stats->auths++;
        conn_reply(c, "235 2.7.0 Authenticated\r\n");
    } else {
        c->stats->auth_fail++;
        conn_reply(c, "535 5.7.8 Bad credentials\r\n");
    }
}

/* RFC 4616: authzid NUL authcid NUL passwd */
static void auth_plain(struct conn *c, const char *s, size_t n)
{
    char text[1024];
    int length = base64_decode(s, n, text, sizeof(text));
    const char *end = text + (length > 0 ? length : 0);
    const char *user = length > 0 ? memchr(text, '\0', (size_t)length) : NULL;
    const char *password = user ? memchr(user + 1, '\0', (size_t)(end - user - 1)) : NULL;

    auth_done(c, password && strcmp(user + 1, options.user) == 0 && strcmp(password + 1, options.password) == 0);
}

static bool is_base64_of(const char *s, size_t n, const char *wanted)
{
    char text[512];

    return base64_decode(s, n, text, sizeof(text)) >= 0 && strcmp(text, wanted) == 0;
}

static void auth_login_user(struct conn *c, const char *s, size_t n)
{
    c->user_ok = is_base64_of(s, n, options.user);
    c->mode = MODE_AUTH_PASSWORD;
    conn_reply(c, "334 UGFzc3dvcmQ6\r\n");
}

static enum verdict on_mail(struct conn *c, const char *args, size_t n)
{
    (void)args;
    (void)n;
    c->stats->mail++;
    if (!c->authed && !options.no_auth) {
        conn_reply(c, "530 5.7.0 Authentication required\r\n");
    } else if (c->in_mail) {
        conn_reply(c, "503 5.5.1 Nested MAIL\r\n");
    } else {
        c->in_mail = true;
        conn_reply(c, "250 2.1.0 Ok\r\n");
    }
    return GO_ON;
}

static enum verdict on_rcpt(struct conn *c, const char *args, size_t n)
{
    (void)args;
    (void)n;
    c->stats->rcpt++;
    if (c->in_mail) {
        c->n_rcpts++;
        conn_reply(c, "250 2.1.5 Ok\r\n");
    } else {
        conn_reply(c, "503 5.5.1 Need MAIL\r\n");
    }
    return GO_ON;
}

static enum verdict on_data(struct conn *c, const char *args, size_t n)
{
    (void)args;
    (void)n;
    c->stats->data++;
    if (!c->n_rcpts) {
        conn_reply(c, "503 5.5.1 Need RCPT\r\n");
        return GO_ON;
    }
    c->mode = MODE_DATA;
    memcpy(c->tail, "\r\n", 2);         /* a dot may be the very first thing */
    c->tail_n = 2;
    conn_reply(c, "354 Go ahead\r\n");
    return GO_ON;
}

static enum verdict bdat_done(struct conn *c)
{
    c->mode = MODE_COMMAND;
    if (!c->n_rcpts) {
        conn_reply(c, "503 5.5.1 Need RCPT\r\n");
        c->mail_bytes = 0;
        return GO_ON;
    }
    if (c->bdat_last)
        return accept_mail(c);
    conn_reply(c, "250 2.0.0 Chunk ok\r\n");
    return GO_ON;
}

static enum verdict on_bdat(struct conn *c, const char *args, size_t n)
{
    char *end;

    c->stats->bdat++;
    c->bdat_left = n ? strtoull(args, &end, 10) : 0;
    c->bdat_last = n && strcasestr(args, "LAST");
    c->mode = MODE_BDAT;
    return c->bdat_left ? GO_ON : bdat_done(c);
}

static enum verdict on_ehlo(struct conn *c, const char *args, size_t n)
{
    (void)args;
    (void)n;
    c->stats->other++;
    conn_reset(c);
    conn_reply(c, "250-sink.test\r\n");
    if (!options.no_pipelining)
        conn_reply(c, "250-PIPELINING\r\n");
    if (!options.no_chunking)
        conn_reply(c, "250-CHUNKING\r\n");
    conn_reply(c, c->tls_up ? "250-AUTH PLAIN LOGIN\r\n" : "250-STARTTLS\r\n");
    conn_reply(c, "250-SIZE 52428800\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n");
    return GO_ON;
}

static enum verdict on_starttls(struct conn *c, const char *args, size_t n)
{
    (void)args;
    (void)n;
    c->stats->other++;
    if (c->tls_up) {
        conn_reply(c, "503 5.5.1 Already TLS\r\n");
        return GO_ON;
    }
    conn_reply(c, "220 2.0.0 Ready\r\n");
    return START_TLS;
}

static enum verdict on_auth(struct conn *c, const char *args, size_t n)
{
    c->stats->other++;
    if (!c->tls_up && !options.no_auth) {
        conn_reply(c, "538 5.7.11 Encryption required\r\n");
    } else if (n >= 5 && strncasecmp(args, "PLAIN", 5) == 0) {
        if (n > 6) {
            auth_plain(c, args + 6, n - 6);
        } else {
            c->mode = MODE_AUTH_PLAIN;
            conn_reply(c, "334 \r\n");
        }
    } else if (n >= 5 && strncasecmp(args, "LOGIN", 5) == 0) {
        if (n > 6) {
            auth_login_user(c, args + 6, n - 6);
        } else {
            c->mode = MODE_AUTH_USER;
            conn_reply(c, "334 VXNlcm5hbWU6\r\n");
        }
    } else {
        conn_reply(c, "504 5.5.4 Unknown mechanism\r\n");
    }
    return GO_ON;
}

static enum verdict on_rset(struct conn *c, const char *args, size_t n)
{
    (void)args;
    (void)n;
    c->stats->rset++;
    conn_reset(c);
    conn_reply(c, "250 2.0.0 Ok\r\n");
    return GO_ON;
}

static enum verdict on_noop(struct conn *c, const char *args, size_t n)
{
    (void)args;
    (void)n;
    c->stats->noop++;
    conn_reply(c, "250 2.0.0 Ok\r\n");
    return GO_ON;
}

static enum verdict on_quit(struct conn *c, const char *args, size_t n)
{
    (void)args;
    (void)n;
    c->stats->quit++;
    conn_reply(c, "221 2.0.0 Bye\r\n");
    return CLOSE;
}

static const struct {
    const char *verb;
    enum verdict (*run)(struct conn *c, const char *args, size_t n);
} commands[] = {
    {"MAIL", on_mail}, {"RCPT", on_rcpt}, {"BDAT", on_bdat}, {"DATA", on_data}, {"RSET", on_rset}, {"NOOP", on_noop},
    {"EHLO", on_ehlo}, {"STARTTLS", on_starttls}, {"AUTH", on_auth}, {"QUIT", on_quit},
};

/* One line without its CRLF, NUL behind it. */
static enum verdict on_line(struct conn *c, const char *line, size_t n)
{
    c->stats->cmds++;
    switch (c->mode) {
    case MODE_AUTH_PLAIN:
        auth_plain(c, line, n);
        return GO_ON;
    case MODE_AUTH_USER:
        auth_login_user(c, line, n);
        return GO_ON;
    case MODE_AUTH_PASSWORD:
        auth_done(c, is_base64_of(line, n, options.password) && c->user_ok);
        return GO_ON;
    case MODE_COMMAND:
    case MODE_DATA:
    case MODE_BDAT:
        break;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        size_t length = strlen(commands[i].verb);

        if (n >= length && strncasecmp(line, commands[i].verb, length) == 0 && (n == length || line[length] == ' ')) {
            size_t skip = n > length ? length + 1 : n;

            return commands[i].run(c, line + skip, n - skip);
        }
    }
    c->stats->other++;
    conn_reply(c, "500 5.5.2 Unknown\r\n");
    return GO_ON;
}

/* How many of the bytes belong to the mail, its dot included; *end when they hold the dot. */
static size_t find_dot(const struct conn *c, const char *p, size_t n, bool *end)
{
    static const char dot[] = "\r\n.\r\n";
    char seam[8];                       /* what was read before, and the first bytes of this read */
    size_t tail = (size_t)c->tail_n, take = n < 4 ? n : 4;
    const char *at;

    memcpy(seam, c->tail, tail);
    memcpy(seam + tail, p, take);
    at = memmem(seam, tail + take, dot, 5);
    *end = true;
    if (at)
        return (size_t)(at - seam) + 5 - tail;
    at = memmem(p, n, dot, 5);
    if (at)
        return (size_t)(at - p) + 5;
    *end = false;
    return n;
}

static void remember_tail(struct conn *c, const char *p, size_t n)
{
    char seam[8];
    size_t tail = (size_t)c->tail_n, take = n < 4 ? n : 4, keep = tail + take < 4 ? tail + take : 4;

    memcpy(seam, c->tail, tail);
    memcpy(seam + tail, p + n - take, take);
    memcpy(c->tail, seam + tail + take - keep, keep);
    c->tail_n = (int)keep;
}

static enum verdict feed_data(struct conn *c, const char *p, size_t n, size_t *used)
{
    bool end;

    *used = find_dot(c, p, n, &end);
    c->mail_bytes += *used;
    if (options.keep_last)
        buf_add(&c->message, p, *used);
    if (!end) {
        remember_tail(c, p, *used);
        return GO_ON;
    }
    c->mode = MODE_COMMAND;
    c->mail_bytes -= c->mail_bytes >= 3 ? 3 : 0;        /* ".\r\n" is no part of it */
    return accept_mail(c);
}

static enum verdict feed_bdat(struct conn *c, const char *p, size_t n, size_t *used)
{
    *used = n < c->bdat_left ? n : c->bdat_left;
    if (options.keep_last)
        buf_add(&c->message, p, *used);
    c->bdat_left -= *used;
    c->mail_bytes += *used;
    return c->bdat_left ? GO_ON : bdat_done(c);
}

static enum verdict feed_line(struct conn *c, const char *p, size_t n, size_t *used)
{
    const char *newline = memchr(p, '\n', n);
    size_t length;
    enum verdict verdict;

    *used = newline ? (size_t)(newline - p) + 1 : n;
    buf_add(&c->line, p, *used);
    length = c->line.n - c->line.off;
    if (!newline)
        return length > 65536 ? CLOSE : GO_ON;
    length--;
    if (length && c->line.p[c->line.off + length - 1] == '\r')
        length--;
    c->line.p[c->line.off + length] = '\0';
    verdict = on_line(c, c->line.p + c->line.off, length);
    c->line.n = c->line.off = 0;
    return verdict;
}

enum verdict conn_feed(struct conn *c, const char *p, size_t n)
{
    while (n) {
        size_t used;
        enum verdict verdict;

        if (c->mode == MODE_DATA)
            verdict = feed_data(c, p, n, &used);
        else if (c->mode == MODE_BDAT)
            verdict = feed_bdat(c, p, n, &used);
        else
            verdict = feed_line(c, p, n, &used);
        if (verdict != GO_ON)
            return verdict;             /* what was pipelined behind STARTTLS is dropped, as RFC 3207 wants */
        p += used;
        n -= used;
    }
    return GO_ON;
}
