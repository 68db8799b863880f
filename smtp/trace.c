#include "smtp/trace.h"

#include "smtp/crypto.h"
#include "smtp/secrets.h"

#include <stdio.h>

/* The redaction of a conversation: which lines may be shown, and how much of them. */

void trace_init(struct trace *t, void (*on_line)(void *, bool, const char *), void *ctx)
{
    memset(t, 0, sizeof(*t));
    bytes_buf_init(&t->reply, TRACE_REPLY_MAX);
    t->on_line = on_line;
    t->ctx = ctx;
}

void trace_deinit(struct trace *t)
{
    crypto_cleanse(t->line, sizeof(t->line));
    if (t->reply.p)
        crypto_cleanse(t->reply.p, t->reply.cap);
    bytes_buf_deinit(&t->reply);
}

void trace_hide(struct trace *t, const struct secrets *secrets, bool auth_text)
{
    t->secrets = secrets;
    t->auth_text = auth_text;
}

/* ---- showing ---- */

static void show(struct trace *t, bool from_client, const char *line)
{
    if (t->n_lines > TRACE_LINES_MAX)
        return;
    if (t->n_lines++ == TRACE_LINES_MAX)
        t->on_line(t->ctx, true, "* the trace ends here: it has as many lines as are kept");
    else
        t->on_line(t->ctx, from_client, line);
}

/* text has room for a NUL behind it. */
static void show_clean(struct trace *t, bool from_client, char *text, size_t n)
{
    bool utf8 = bytes_is_utf8(bytes_view(text, n));
    char behind = text[n];

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7F || (c > 0x7F && !utf8))
            text[i] = '?';
    }
    text[n] = '\0';
    show(t, from_client, text);
    text[n] = behind;
}

/* A reply is shown when it is complete, as an echo may begin on one line and end on the next. */
void trace_flush(struct trace *t)
{
    char *at = t->reply.p, *end;
    size_t n = secrets_mask(t->secrets, at, t->reply.n, true);

    for (end = at + n; at < end;) {
        char *lf = memchr(at, '\n', (size_t)(end - at));
        size_t len = lf ? (size_t)(lf - at) : (size_t)(end - at);
        show_clean(t, false, at, len);
        at += len + 1;
    }
    if (t->reply.p)
        crypto_cleanse(t->reply.p, t->reply.n);
    t->reply.n = 0;
}

void trace_note(struct trace *t, const char *what)
{
    char line[TRACE_LINE_MAX];

    trace_flush(t);
    snprintf(line, sizeof(line), "* %.500s", what);
    secrets_mask_str(t->secrets, line);
    show(t, true, line);
}

static void mark_cut(struct trace_line *l)
{
    if (l->over)
        memcpy(l->p + l->n - 3, "...", 3);
}

static void show_command(struct trace *t, struct trace_line *l)
{
    mark_cut(l);
    show_clean(t, true, l->p, secrets_mask(t->secrets, l->p, l->n, false));
}

/* RFC 5321 §4.2.1: the last line of a reply has no hyphen behind its code. */
static void add_reply_line(struct trace *t, const char *p, size_t n)
{
    if (t->reply.n + n + 1 > TRACE_REPLY_MAX)
        trace_flush(t);
    bytes_buf_add(&t->reply, p, n);
    bytes_buf_add_char(&t->reply, '\n');
    if (n < 4 || p[3] != '-' || t->reply.failed)
        trace_flush(t);
}

static bool begins(const struct trace_line *l, const char *word)
{
    return bytes_starts_nocase(bytes_view(l->p, l->n), word);
}

/* RFC 4954 §4: "AUTH" SP mechanism [SP initial-response]. Only what can be a mechanism's name is shown. */
static void show_auth(struct trace *t, const struct trace_line *l)
{
    char line[64];
    size_t n = 5;

    while (n < l->n && n < 25 && l->p[n] > ' ' && l->p[n] < 0x7F)
        n++;
    if (n < l->n && l->p[n] != ' ')
        snprintf(line, sizeof(line), "AUTH ***");
    else
        snprintf(line, sizeof(line), "%.*s%s", (int)n, l->p, n + 1 < l->n ? " ***" : "");
    show(t, true, line);
}

static void show_body(struct trace *t)
{
    char line[64];

    snprintf(line, sizeof(line), "%llu octets of mail", (unsigned long long)t->body_octets);
    trace_note(t, line);
    t->body_octets = 0;
}

/* ---- lines ---- */

/* RFC 3030 §2: "BDAT" SP chunk-size [SP "LAST"]. A size that does not fit hides all that follows. */
static uint64_t chunk_size(const struct trace_line *l)
{
    uint64_t n = 0;

    for (size_t i = 5; i < l->n && l->p[i] >= '0' && l->p[i] <= '9'; i++) {
        if (n > UINT64_MAX / 10 - 10)
            return UINT64_MAX;
        n = n * 10 + (uint64_t)(l->p[i] - '0');
    }
    return n;
}

static void client_line(struct trace *t, struct trace_line *l)
{
    if (t->mode == TRACE_AUTH) {
        show(t, true, l->n == 1 && l->p[0] == '*' ? "*" : "***");
    } else if (begins(l, "AUTH ")) {
        show_auth(t, l);
        t->mode = TRACE_AUTH;
    } else {
        t->mode = begins(l, "DATA") && l->n == 4 ? TRACE_DATA_ASKED : TRACE_COMMANDS;
        show_command(t, l);
        if (begins(l, "BDAT "))
            t->chunk_left = chunk_size(l);
    }
}

static void body_line(struct trace *t, const struct trace_line *l)
{
    if (l->n != 1 || l->over || l->p[0] != '.') {
        t->body_octets += l->n + 2;
        return;
    }
    t->mode = TRACE_COMMANDS;
    show_body(t);
    show(t, true, ".");
}

/* A challenge may hold what the client said before (SCRAM), and a refusal what it was given. */
static void auth_reply_line(struct trace *t, const struct trace_line *l)
{
    char line[32];
    bool challenge = begins(l, "334");

    if (!challenge && l->n > 3 && l->p[3] != '-')
        t->mode = TRACE_COMMANDS;
    if (!challenge && t->auth_text) {
        add_reply_line(t, l->p, l->n);
        return;
    }
    snprintf(line, sizeof(line), "%s ***", challenge ? "334" : "(reply to AUTH)");
    if (!challenge && l->n >= 3 && l->p[0] >= '2' && l->p[0] <= '5')
        snprintf(line, sizeof(line), "%.3s ***", l->p);
    trace_flush(t);
    show(t, false, line);
}

static void server_line(struct trace *t, struct trace_line *l)
{
    mark_cut(l);
    if (t->mode == TRACE_AUTH) {
        auth_reply_line(t, l);
        return;
    }
    if (t->mode == TRACE_DATA_ASKED && begins(l, "354") && (l->n == 3 || l->p[3] == ' '))
        t->mode = TRACE_BODY;
    add_reply_line(t, l->p, l->n);
}

static void end_line(struct trace *t, bool from_client)
{
    struct trace_line *l = &t->line[from_client];

    if (l->n && l->p[l->n - 1] == '\r')
        l->n--;
    if (from_client)
        trace_flush(t);
    if (!from_client)
        server_line(t, l);
    else if (t->mode == TRACE_BODY)
        body_line(t, l);
    else
        client_line(t, l);
    crypto_cleanse(l->p, l->n);
    l->n = 0;
    l->over = false;
}

void trace_feed(struct trace *t, bool from_client, struct bytes_view bytes)
{
    struct trace_line *l = &t->line[from_client];

    for (size_t i = 0; i < bytes.n; i++) {
        if (from_client && t->chunk_left) {
            uint64_t rest = bytes.n - i, n = rest < t->chunk_left ? rest : t->chunk_left;
            t->chunk_left -= n;
            t->body_octets += n;
            if (!t->chunk_left)
                show_body(t);
            i += (size_t)n - 1;
        } else if (bytes.p[i] == '\n') {
            end_line(t, from_client);
        } else if (l->n < TRACE_LINE_MAX) {
            l->p[l->n++] = bytes.p[i];
        } else {
            l->over |= bytes.p[i] != '\r';
            t->body_octets += from_client && t->mode == TRACE_BODY;
        }
    }
}
