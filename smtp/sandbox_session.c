#include "smtp/sandbox_session.h"

#include "smtp/crypto.h"
#include "smtp/sandbox_args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A submission server as RFC 5321, RFC 6409 and the extensions ask for, strict in what it reads. */

#define LINE_MAX_COMMAND 2048           /* RFC 5321 §4.5.3.1.4 says 512; parameters and UTF-8 addresses add to it */
#define LINE_MAX_AUTH 12288             /* RFC 4954 §4 */
#define COMMANDS_MAX 1200               /* kept for one mail */
#define AUTH_TRIES 3
#define NAME "sandbox.localhost"

enum input { IN_COMMAND, IN_PLAIN, IN_LOGIN_USER, IN_LOGIN_PASSWORD, IN_DATA, IN_CHUNK, IN_TLS, IN_END };

struct sandbox_session {
    struct sandbox_session_params p;
    enum input input;
    struct bytes_queue out;
    struct bytes_buf line;
    bool line_too_long;

    bool greeted, tls, authenticated;
    unsigned auth_failures;
    bool user_good;                     /* AUTH LOGIN: the first of its two answers */
    char tls_version[12], tls_cipher[48], mechanism[16], user[64];

    struct sandbox_mail *mail;          /* the transaction; NULL outside of one */
    bool utf8;
    size_t n_refused;                   /* recipients */
    bool chunked;                       /* a BDAT was taken */
    struct bytes_buf body;
    size_t line_at;                     /* DATA: where the line begins that is being read */
    bool too_large;
    size_t chunk_left;
    bool chunk_last;
    const char *chunk_refusal;          /* the reply for the chunk when it was not wanted; its octets are swallowed */

    char **commands;
    size_t n_commands;
    struct sandbox_mail *done;          /* until it is taken */
};

/* ---- replies and records ---- */

static void reply(struct sandbox_session *s, const char *text)
{
    bytes_queue_add(&s->out, text, strlen(text));
    bytes_queue_add(&s->out, "\r\n", 2);
}

static void end(struct sandbox_session *s, const char *text)
{
    reply(s, text);
    s->input = IN_END;
}

static bool is_secret(struct bytes_view line)
{
    return bytes_starts_nocase(line, "AUTH");
}

static void record(struct sandbox_session *s, struct bytes_view line)
{
    char **v;

    if (s->n_commands == COMMANDS_MAX) {
        free(s->commands[0]);
        memmove(s->commands, s->commands + 1, --s->n_commands * sizeof(*s->commands));
    }
    v = realloc(s->commands, (s->n_commands + 1) * sizeof(*v));
    if (!v)
        return;
    s->commands = v;
    v[s->n_commands] = is_secret(line) ? strdup("AUTH ***") : strndup(line.p, line.n);
    if (v[s->n_commands])
        s->n_commands++;
}

static void forget_commands(struct sandbox_session *s)
{
    for (size_t i = 0; i < s->n_commands; i++)
        free(s->commands[i]);
    free(s->commands);
    s->commands = NULL;
    s->n_commands = 0;
}

static void reset(struct sandbox_session *s)
{
    sandbox_mail_free(s->mail);
    s->mail = NULL;
    bytes_buf_deinit(&s->body);
    s->line_at = s->n_refused = 0;
    s->too_large = s->chunked = s->utf8 = false;
}

/* ---- EHLO, STARTTLS and the small ones ---- */

static void on_ehlo(struct sandbox_session *s, struct bytes_view arg)
{
    char size[32];

    if (!arg.n) {
        reply(s, "501 5.5.4 Say EHLO and your name");
        return;
    }
    reset(s);
    s->greeted = true;
    snprintf(size, sizeof(size), "250-SIZE %zu", s->p.max_message);
    reply(s, "250-" NAME " takes mail and delivers nothing");
    reply(s, size);
    reply(s, s->tls ? "250-AUTH PLAIN LOGIN" : "250-STARTTLS");
    reply(s, "250-PIPELINING");
    reply(s, "250-CHUNKING");
    reply(s, "250-8BITMIME");
    reply(s, "250-SMTPUTF8");
    reply(s, "250-DSN");
    if (s->tls)                         /* RFC 8689 §2: not before */
        reply(s, "250-REQUIRETLS");
    reply(s, "250 ENHANCEDSTATUSCODES");
}

static void on_helo(struct sandbox_session *s, struct bytes_view arg)
{
    if (!arg.n) {
        reply(s, "501 5.5.4 Say HELO and your name");
        return;
    }
    reset(s);
    s->greeted = true;
    reply(s, "250 " NAME);
}

static void on_starttls(struct sandbox_session *s, struct bytes_view arg)
{
    if (arg.n) {
        reply(s, "501 5.5.4 STARTTLS has no argument");
    } else if (s->tls) {
        reply(s, "503 5.5.1 TLS runs already");
    } else {
        reset(s);
        reply(s, "220 2.0.0 Ready to start TLS");
        s->input = IN_TLS;
    }
}

static void on_rset(struct sandbox_session *s, struct bytes_view arg)
{
    (void)arg;
    reset(s);
    reply(s, "250 2.0.0 Ok");
}

static void on_noop(struct sandbox_session *s, struct bytes_view arg)
{
    (void)arg;
    reply(s, "250 2.0.0 Ok");
}

static void on_help(struct sandbox_session *s, struct bytes_view arg)
{
    (void)arg;
    reply(s, "214 2.0.0 This sandbox keeps mails in memory for a look and delivers none");
}

static void on_vrfy(struct sandbox_session *s, struct bytes_view arg)
{
    (void)arg;
    reply(s, "252 2.5.2 Try to send");
}

static void on_expn(struct sandbox_session *s, struct bytes_view arg)
{
    (void)arg;
    reply(s, "502 5.5.1 There are no lists here");
}

static void on_quit(struct sandbox_session *s, struct bytes_view arg)
{
    (void)arg;
    end(s, "221 2.0.0 Bye");
}

/* ---- AUTH ---- */

static void judge(struct sandbox_session *s, bool good)
{
    s->input = IN_COMMAND;
    if (good) {
        s->authenticated = true;
        snprintf(s->user, sizeof(s->user), "%s", s->p.user);
        reply(s, "235 2.7.0 Authentication succeeded");
    } else if (++s->auth_failures == AUTH_TRIES) {
        end(s, "421 4.7.0 Too many failures");
    } else {
        reply(s, "535 5.7.8 User or password is wrong");
    }
}

static bool is_text(struct bytes_view v, const char *text)
{
    return crypto_equal(v, bytes_view_str(text));
}

/* RFC 4616 §2: [authzid] NUL authcid NUL passwd */
static bool is_plain_good(const struct sandbox_session *s, struct bytes_view v)
{
    const char *first = v.n ? memchr(v.p, '\0', v.n) : NULL;
    const char *second = first ? memchr(first + 1, '\0', v.n - (size_t)(first + 1 - v.p)) : NULL;
    struct bytes_view as, user, password;

    if (!second)
        return false;
    as = bytes_view(v.p, (size_t)(first - v.p));
    user = bytes_view(first + 1, (size_t)(second - first - 1));
    password = bytes_view(second + 1, v.n - (size_t)(second + 1 - v.p));
    return (!as.n || bytes_equal(as, user)) && is_text(user, s->p.user) && is_text(password, s->p.password);
}

static void challenge(struct sandbox_session *s, enum input next, const char *text)
{
    s->input = next;
    reply(s, text);
}

static void auth_line(struct sandbox_session *s, struct bytes_view line)
{
    enum input was = s->input;
    struct bytes_buf b;

    s->input = IN_COMMAND;
    if (bytes_equal(line, bytes_view_str("*"))) {       /* RFC 4954 §4: the client cancels */
        reply(s, "501 5.7.0 Cancelled");
        return;
    }
    if (bytes_equal(line, bytes_view_str("=")))         /* an initial response of nothing */
        line.n = 0;
    bytes_buf_init(&b, LINE_MAX_AUTH);
    if (crypto_base64_decode(line, &b) < 0) {
        reply(s, "501 5.5.2 Not base64");
    } else if (was == IN_PLAIN) {
        judge(s, is_plain_good(s, bytes_buf_view(&b)));
    } else if (was == IN_LOGIN_USER) {
        s->user_good = is_text(bytes_buf_view(&b), s->p.user);
        challenge(s, IN_LOGIN_PASSWORD, "334 UGFzc3dvcmQ6");
    } else {
        judge(s, s->user_good && is_text(bytes_buf_view(&b), s->p.password));
    }
    crypto_cleanse(b.p, b.n);
    bytes_buf_deinit(&b);
}

static void on_auth(struct sandbox_session *s, struct bytes_view arg)
{
    const char *space = arg.n ? memchr(arg.p, ' ', arg.n) : NULL;
    struct bytes_view mechanism = bytes_view(arg.p, space ? (size_t)(space - arg.p) : arg.n);
    bool plain = bytes_equal_nocase(mechanism, bytes_view_str("PLAIN"));

    if (s->authenticated || s->mail) {
        reply(s, "503 5.5.1 Not now");
        return;
    }
    if (!plain && !bytes_equal_nocase(mechanism, bytes_view_str("LOGIN"))) {
        reply(s, "504 5.5.4 PLAIN or LOGIN");
        return;
    }
    snprintf(s->mechanism, sizeof(s->mechanism), "%s", plain ? "PLAIN" : "LOGIN");
    s->input = plain ? IN_PLAIN : IN_LOGIN_USER;
    if (space)
        auth_line(s, bytes_view(space + 1, arg.n - mechanism.n - 1));
    else
        challenge(s, s->input, plain ? "334 " : "334 VXNlcm5hbWU6");
}

/* ---- MAIL and RCPT ---- */

static bool is_uuid(const char *v)
{
    if (strlen(v) != 36 || strspn(v, "0123456789abcdefABCDEF-") != 36)
        return false;
    for (size_t i = 0; i < 36; i++)
        if ((v[i] == '-') != (i == 8 || i == 13 || i == 18 || i == 23))
            return false;
    return true;
}

static void on_mail(struct sandbox_session *s, struct bytes_view arg)
{
    struct sandbox_args a;
    char refusal[128];

    if (s->mail) {
        reply(s, "503 5.5.1 A mail is under way");
        return;
    }
    if (sandbox_args_mail(arg, &a, refusal) < 0) {
        reply(s, refusal);
        return;
    }
    if (a.size > s->p.max_message) {
        reply(s, "552 5.3.4 The message is too large");
        return;
    }
    reset(s);
    s->mail = sandbox_mail_new();
    if (s->mail)
        s->mail->from = strndup(a.path.p, a.path.n);
    if (!s->mail || !s->mail->from) {
        reset(s);
        reply(s, "451 4.3.0 No memory");
        return;
    }
    s->utf8 = (a.said & SANDBOX_SMTPUTF8) != 0;
    if (is_uuid(a.envid))
        memcpy(s->mail->id, a.envid, sizeof(s->mail->id));
    else
        crypto_uuid7(s->mail->id);
    reply(s, "250 2.1.0 Ok");
}

/* The errors that can be tried: see sandbox.h. */
static const char *refusal_for(struct bytes_view path)
{
    static const char domain[] = "fail.test";
    size_t at = path.n, n = sizeof(domain) - 1;
    struct bytes_view tail;

    while (path.p[at - 1] != '@')
        at--;
    tail = bytes_view(path.p + at, path.n - at);
    if (tail.n < n || !bytes_equal_nocase(bytes_view(tail.p + tail.n - n, n), bytes_view(domain, n)) ||
        (tail.n > n && tail.p[tail.n - n - 1] != '.'))
        return NULL;
    return bytes_equal_nocase(bytes_view(path.p, at - 1), bytes_view_str("later")) ? "450 4.7.1 Try again later"
                                                                                   : "550 5.1.1 No such user here";
}

static bool add_rcpt(struct sandbox_mail *m, struct bytes_view path)
{
    char **v = realloc(m->to, (m->n_to + 1) * sizeof(*v));

    if (!v)
        return false;
    m->to = v;
    v[m->n_to] = strndup(path.p, path.n);
    if (!v[m->n_to])
        return false;
    m->n_to++;
    return true;
}

static void on_rcpt(struct sandbox_session *s, struct bytes_view arg)
{
    struct sandbox_args a;
    char refusal[128];
    const char *no;

    if (sandbox_args_rcpt(arg, &a, refusal) < 0)
        no = refusal;
    else if (!bytes_is_ascii(a.path) && !(s->utf8 && bytes_is_utf8(a.path)))
        no = "553 5.6.7 A recipient that is not ASCII needs SMTPUTF8";
    else if (s->chunked)
        no = "503 5.5.1 The body has begun";
    else if (s->mail->n_to == s->p.max_rcpts)
        no = "452 4.5.3 Too many recipients";
    else
        no = refusal_for(a.path);
    if (!no && !add_rcpt(s->mail, a.path))
        no = "451 4.3.0 No memory";
    s->n_refused += no != NULL;
    reply(s, no ? no : "250 2.1.5 Ok");
}

/* ---- the body ---- */

static bool has_bare(struct bytes_view v)
{
    for (size_t i = 0; i < v.n; i++)
        if ((v.p[i] == '\n' && (i == 0 || v.p[i - 1] != '\r')) ||
            (v.p[i] == '\r' && (i + 1 == v.n || v.p[i + 1] != '\n')))
            return true;
    return false;
}

static void deliver(struct sandbox_session *s)
{
    struct sandbox_mail *m = s->mail;
    char text[80];

    m->raw = bytes_buf_take(&s->body, &m->raw_n);
    if (!m->raw) {
        reset(s);
        reply(s, "451 4.3.0 No memory");
        return;
    }
    memcpy(m->tls_version, s->tls_version, sizeof(m->tls_version));
    memcpy(m->tls_cipher, s->tls_cipher, sizeof(m->tls_cipher));
    memcpy(m->auth_mechanism, s->mechanism, sizeof(m->auth_mechanism));
    memcpy(m->auth_user, s->user, sizeof(m->auth_user));
    m->commands = s->commands;
    m->n_commands = s->n_commands;
    s->commands = NULL;
    s->n_commands = 0;
    s->done = m;
    s->mail = NULL;
    reset(s);
    snprintf(text, sizeof(text), "250 2.0.0 Ok: kept as %s", m->id);
    reply(s, text);
}

static void finish(struct sandbox_session *s)
{
    s->input = IN_COMMAND;
    if (s->too_large || s->body.n > s->p.max_message) {
        reset(s);
        reply(s, "552 5.3.4 The message is too large");
    } else if (has_bare(bytes_buf_view(&s->body))) {    /* RFC 5321 §2.3.8: CR and LF only ever together */
        reset(s);
        reply(s, "550 5.5.2 The message has a CR or LF that stands alone");
    } else {
        deliver(s);
    }
}

static const char *body_refusal(const struct sandbox_session *s)
{
    if (!s->mail)
        return "503 5.5.1 MAIL comes first";
    if (s->mail->n_to)
        return NULL;
    return s->n_refused ? "554 5.5.1 No valid recipients" : "503 5.5.1 RCPT comes first";
}

static void on_data(struct sandbox_session *s, struct bytes_view arg)
{
    const char *no = body_refusal(s);

    if (arg.n) {
        reply(s, "501 5.5.4 DATA has no argument");
    } else if (no || s->chunked) {
        reply(s, no ? no : "503 5.5.1 BDAT has begun");
    } else {
        s->input = IN_DATA;
        reply(s, "354 End with a dot on a line of its own");
    }
}

/* RFC 5321 §4.5.2: a dot at a line's begin is taken away; alone it ends the mail, but only between two CRLFs. */
static bool end_line(struct sandbox_session *s)
{
    char *line = s->body.p + s->line_at;
    size_t n = s->body.n - s->line_at;
    bool after_crlf = s->line_at == 0 || (s->line_at > 1 && line[-2] == '\r');

    if (after_crlf && n == 3 && memcmp(line, ".\r\n", 3) == 0) {
        s->body.n -= 3;
        s->body.p[s->body.n] = '\0';
        return true;
    }
    if (line[0] == '.') {
        memmove(line, line + 1, n);     /* the NUL behind too */
        s->body.n--;
    }
    s->line_at = s->body.n;
    return false;
}

/* A mail that is refused in the end is not kept, only as much as it takes to see the last dot. */
static void shed(struct sandbox_session *s)
{
    size_t n = s->body.n - s->line_at;
    char *line = s->body.p + s->line_at;
    char last[2] = {'\r', '\n'};

    if (s->body.n <= s->p.max_message + 3)
        return;
    s->too_large = true;
    if (n > 8) {                        /* too long to be the dot; what counts is how it ends */
        line[7] = line[n - 1];
        n = 8;
    }
    if (s->line_at > 1)
        memcpy(last, line - 2, 2);
    memmove(s->body.p + 2, line, n);
    memcpy(s->body.p, last, 2);
    s->line_at = 2;
    s->body.n = n + 2;
}

static size_t take_data(struct sandbox_session *s, struct bytes_view in)
{
    size_t at = 0;

    while (at < in.n) {
        const char *lf = memchr(in.p + at, '\n', in.n - at);
        size_t n = lf ? (size_t)(lf - in.p) + 1 - at : in.n - at;
        bytes_buf_add(&s->body, in.p + at, n);
        at += n;
        if (s->body.failed) {
            end(s, "421 4.3.0 No memory");
            return in.n;
        }
        if (lf && end_line(s)) {
            finish(s);
            return at;
        }
        shed(s);
    }
    return at;
}

/* RFC 3030 §2: the size comes first, so the octets are read whatever is wrong with the command. */
static void on_bdat(struct sandbox_session *s, struct bytes_view arg)
{
    size_t i = 0, size = 0;

    while (i < arg.n && arg.p[i] >= '0' && arg.p[i] <= '9' && i < 18)
        size = size * 10 + (size_t)(arg.p[i++] - '0');
    s->chunk_last = bytes_equal_nocase(bytes_view(arg.p + i, arg.n - i), bytes_view_str(" LAST"));
    if (i == 0 || (i < arg.n && !s->chunk_last)) {
        reply(s, "501 5.5.4 Say BDAT size, or BDAT size LAST");
        return;
    }
    s->chunk_refusal = !s->greeted || !s->tls || !s->authenticated ? "503 5.5.1 Not now" : body_refusal(s);
    if (!s->chunk_refusal && (s->body.n > s->p.max_message || size > s->p.max_message - s->body.n))
        s->chunk_refusal = "552 5.3.4 The message is too large";
    s->chunk_left = size;
    s->input = IN_CHUNK;
}

static void end_chunk(struct sandbox_session *s)
{
    s->input = IN_COMMAND;
    if (s->chunk_refusal) {
        reset(s);
        reply(s, s->chunk_refusal);
    } else if (s->chunk_last) {
        finish(s);
    } else {
        s->chunked = true;
        reply(s, "250 2.0.0 Ok: chunk taken");
    }
}

static size_t take_chunk(struct sandbox_session *s, struct bytes_view in)
{
    size_t n = in.n < s->chunk_left ? in.n : s->chunk_left;

    if (!s->chunk_refusal)
        bytes_buf_add(&s->body, in.p, n);
    if (s->body.failed)
        s->chunk_refusal = "451 4.3.0 No memory";
    s->chunk_left -= n;
    if (!s->chunk_left)
        end_chunk(s);
    return n;
}

/* ---- commands ---- */

enum { NEEDS_GREETING = 1, NEEDS_TLS = 2, NEEDS_AUTH = 4, NEEDS_MAIL = 8 };

static const struct {
    const char *verb;
    unsigned needs;
    void (*run)(struct sandbox_session *s, struct bytes_view arg);
} commands[] = {
    {"EHLO", 0, on_ehlo},
    {"HELO", 0, on_helo},
    {"STARTTLS", NEEDS_GREETING, on_starttls},
    {"AUTH", NEEDS_GREETING | NEEDS_TLS, on_auth},
    {"MAIL", NEEDS_GREETING | NEEDS_TLS | NEEDS_AUTH, on_mail},
    {"RCPT", NEEDS_GREETING | NEEDS_TLS | NEEDS_AUTH | NEEDS_MAIL, on_rcpt},
    {"DATA", NEEDS_GREETING | NEEDS_TLS | NEEDS_AUTH, on_data},
    {"BDAT", 0, on_bdat},
    {"RSET", 0, on_rset},
    {"NOOP", 0, on_noop},
    {"HELP", 0, on_help},
    {"VRFY", NEEDS_GREETING | NEEDS_TLS | NEEDS_AUTH, on_vrfy},
    {"EXPN", NEEDS_GREETING | NEEDS_TLS | NEEDS_AUTH, on_expn},
    {"QUIT", 0, on_quit},
};

static const char *what_is_missing(const struct sandbox_session *s, unsigned needs)
{
    if ((needs & NEEDS_GREETING) && !s->greeted)
        return "503 5.5.1 EHLO comes first";
    if ((needs & NEEDS_TLS) && !s->tls)
        return "530 5.7.0 Must issue a STARTTLS command first";
    if ((needs & NEEDS_AUTH) && !s->authenticated)
        return "530 5.7.0 Authentication required";
    if ((needs & NEEDS_MAIL) && !s->mail)
        return "503 5.5.1 MAIL comes first";
    return NULL;
}

static bool has_control(struct bytes_view v)
{
    for (size_t i = 0; i < v.n; i++)
        if ((unsigned char)v.p[i] < 0x20 || v.p[i] == 0x7F)
            return true;
    return false;
}

static void command_line(struct sandbox_session *s, struct bytes_view line)
{
    const char *space = line.n ? memchr(line.p, ' ', line.n) : NULL;
    struct bytes_view verb = bytes_view(line.p, space ? (size_t)(space - line.p) : line.n);
    struct bytes_view arg = space ? bytes_view(space + 1, line.n - verb.n - 1) : bytes_view("", 0);

    if (has_control(line)) {
        reply(s, "500 5.5.2 A command has no control characters and ends in CRLF");
        return;
    }
    record(s, line);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        const char *missing;
        if (!bytes_equal_nocase(verb, bytes_view_str(commands[i].verb)))
            continue;
        missing = what_is_missing(s, commands[i].needs);
        if (missing)
            reply(s, missing);
        else
            commands[i].run(s, arg);
        return;
    }
    reply(s, "500 5.5.1 Not a command");
}

static void run_line(struct sandbox_session *s)
{
    struct bytes_view line = bytes_buf_view(&s->line);

    if (s->line_too_long || !line.n || line.p[line.n - 1] != '\r') {
        s->input = IN_COMMAND;
        reply(s, s->line_too_long ? "500 5.5.6 The line is too long" : "500 5.5.2 A line ends in CRLF");
        return;
    }
    line.n--;
    if (s->input == IN_COMMAND)
        command_line(s, line);
    else
        auth_line(s, line);
}

static size_t take_line(struct sandbox_session *s, struct bytes_view in)
{
    const char *lf = memchr(in.p, '\n', in.n);
    size_t n = lf ? (size_t)(lf - in.p) : in.n;

    if (s->line.n + n > (s->input == IN_COMMAND ? LINE_MAX_COMMAND : LINE_MAX_AUTH))
        s->line_too_long = true;
    else
        bytes_buf_add(&s->line, in.p, n);
    if (!lf)
        return n;
    if (s->line.failed)
        end(s, "421 4.3.0 No memory");
    else
        run_line(s);
    if (s->line.p)
        crypto_cleanse(s->line.p, s->line.n);           /* it may have been a password */
    s->line.n = 0;
    s->line_too_long = false;
    return n + 1;
}

/* ---- the door ---- */

struct sandbox_session *sandbox_session_new(const struct sandbox_session_params *p)
{
    struct sandbox_session *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->p = *p;
    bytes_queue_init(&s->out, 0);
    bytes_buf_init(&s->line, LINE_MAX_AUTH);
    bytes_buf_init(&s->body, 0);
    reply(s, "220 " NAME " ESMTP mailhatch sandbox: delivers nothing");
    return s;
}

void sandbox_session_free(struct sandbox_session *s)
{
    if (!s)
        return;
    reset(s);
    forget_commands(s);
    sandbox_mail_free(s->done);
    bytes_queue_deinit(&s->out);
    bytes_buf_deinit(&s->line);
    free(s);
}

static size_t take_some(struct sandbox_session *s, struct bytes_view in)
{
    switch (s->input) {
    case IN_COMMAND:
    case IN_PLAIN:
    case IN_LOGIN_USER:
    case IN_LOGIN_PASSWORD:
        return take_line(s, in);
    case IN_DATA:
        return take_data(s, in);
    case IN_CHUNK:
        return take_chunk(s, in);
    case IN_TLS:
    case IN_END:
        return in.n;
    }
    unreachable("sandbox input");
}

size_t sandbox_session_feed(struct sandbox_session *s, struct bytes_view in)
{
    size_t at = 0;

    while (at < in.n && !s->done) {
        at += take_some(s, bytes_view(in.p + at, in.n - at));
        if (s->input == IN_CHUNK && !s->chunk_left)
            end_chunk(s);               /* "BDAT 0 LAST" has no octets to wait for */
    }
    return at;
}

struct bytes_queue *sandbox_session_output(struct sandbox_session *s)
{
    return &s->out;
}

struct sandbox_mail *sandbox_session_take_mail(struct sandbox_session *s)
{
    struct sandbox_mail *m = s->done;

    s->done = NULL;
    return m;
}

enum sandbox_session_state sandbox_session_state(const struct sandbox_session *s)
{
    return s->input == IN_TLS ? SANDBOX_WANTS_TLS : s->input == IN_END ? SANDBOX_ENDS : SANDBOX_TALKS;
}

/* RFC 3207 §4.2: the server forgets what it knew of the client. */
void sandbox_session_tls_started(struct sandbox_session *s, const char *version, const char *cipher)
{
    s->input = IN_COMMAND;
    s->tls = true;
    s->greeted = false;
    snprintf(s->tls_version, sizeof(s->tls_version), "%s", version);
    snprintf(s->tls_cipher, sizeof(s->tls_cipher), "%s", cipher);
}

void sandbox_session_end(struct sandbox_session *s, const char *text)
{
    if (s->input != IN_END)
        end(s, text);
}
