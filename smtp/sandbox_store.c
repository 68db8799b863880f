#include "smtp/sandbox_store.h"

#include "smtp/list.h"

#include <stdlib.h>
#include <string.h>

/* What the sandbox keeps of the mails it took, and copies of that for who asks. */

#define SUBJECT_MAX 8192

struct kept {
    struct list_node node;
    size_t cost;
    struct sandbox_mail *mail;
};

struct sandbox_store {
    struct list mails;                  /* newest first */
    size_t bytes, max_mails, max_bytes;
};

/* ---- mails ---- */

struct sandbox_mail *sandbox_mail_new(void)
{
    return calloc(1, sizeof(struct sandbox_mail));
}

static void strings_free(char **v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(v[i]);
    free(v);
}

static void mail_deinit(struct sandbox_mail *m)
{
    free(m->from);
    strings_free(m->to, m->n_to);
    strings_free(m->commands, m->n_commands);
    free(m->subject);
    free(m->raw);
}

void sandbox_mail_free(struct sandbox_mail *m)
{
    if (!m)
        return;
    mail_deinit(m);
    free(m);
}

static int strings_copy(char **from, size_t n, char ***to_out, size_t *n_out)
{
    *to_out = calloc(n ? n : 1, sizeof(char *));
    if (!*to_out)
        return -1;
    for (*n_out = 0; *n_out < n; ++*n_out) {
        (*to_out)[*n_out] = strdup(from[*n_out]);
        if (!(*to_out)[*n_out])
            return -1;
    }
    return 0;
}

static int mail_copy(const struct sandbox_mail *from, struct sandbox_mail *to, bool whole)
{
    *to = *from;
    to->to = to->commands = NULL;
    to->n_to = to->n_commands = to->raw_n = 0;
    to->raw = NULL;
    to->from = strdup(from->from ? from->from : "");
    to->subject = strdup(from->subject ? from->subject : "");
    if (!to->from || !to->subject || strings_copy(from->to, from->n_to, &to->to, &to->n_to) < 0)
        return -1;
    if (!whole)
        return 0;
    to->raw = malloc(from->raw_n + 1);
    if (!to->raw || strings_copy(from->commands, from->n_commands, &to->commands, &to->n_commands) < 0)
        return -1;
    if (from->raw_n)
        memcpy(to->raw, from->raw, from->raw_n);
    to->raw[from->raw_n] = '\0';
    to->raw_n = from->raw_n;
    return 0;
}

/* ---- the subject ---- */

static struct bytes_view next_line(struct bytes_view *rest)
{
    const char *end = memchr(rest->p, '\n', rest->n);
    size_t n = end ? (size_t)(end - rest->p) + 1 : rest->n;
    struct bytes_view line = bytes_view(rest->p, n);

    *rest = bytes_view(rest->p + n, rest->n - n);
    while (line.n && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
        line.n--;
    return line;
}

/* RFC 5322 §2.2.3: unfolding takes the CRLF before white space away, and only that. */
static char *find_subject(struct bytes_view raw)
{
    struct bytes_buf b;
    bool found = false;

    bytes_buf_init(&b, SUBJECT_MAX);
    while (raw.n) {
        struct bytes_view line = next_line(&raw);
        bool folded = line.n && (line.p[0] == ' ' || line.p[0] == '\t');
        if (!line.n || (found && !folded))
            break;
        if (found) {
            bytes_buf_add(&b, line.p, line.n);
        } else if (!folded && bytes_starts_nocase(line, "subject:")) {
            size_t skip = 8;
            while (skip < line.n && (line.p[skip] == ' ' || line.p[skip] == '\t'))
                skip++;
            bytes_buf_add(&b, line.p + skip, line.n - skip);
            found = true;
        }
    }
    b.failed = false;                   /* a subject too long is cut, not lost */
    return bytes_buf_take(&b, NULL);
}

/* ---- the store ---- */

struct sandbox_store *sandbox_store_new(size_t max_mails, size_t max_bytes)
{
    struct sandbox_store *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    list_init(&s->mails);
    s->max_mails = max_mails;
    s->max_bytes = max_bytes;
    return s;
}

static void drop_oldest(struct sandbox_store *s)
{
    struct kept *k = LIST_ITEM(list_last(&s->mails), struct kept, node);

    list_remove(&s->mails, &k->node);
    s->bytes -= k->cost;
    sandbox_mail_free(k->mail);
    free(k);
}

static void clear(struct sandbox_store *s)
{
    while (s->mails.n)
        drop_oldest(s);
}

void sandbox_store_free(struct sandbox_store *s)
{
    if (!s)
        return;
    clear(s);
    free(s);
}

static size_t cost_of(const struct sandbox_mail *m)
{
    size_t n = sizeof(*m) + m->raw_n + strlen(m->subject);

    for (size_t i = 0; i < m->n_to; i++)
        n += strlen(m->to[i]) + 32;
    for (size_t i = 0; i < m->n_commands; i++)
        n += strlen(m->commands[i]) + 32;
    return n;
}

void sandbox_store_add(struct sandbox_store *s, struct sandbox_mail *m)
{
    struct kept *k = calloc(1, sizeof(*k));

    m->size = m->raw_n;
    m->subject = find_subject(bytes_view(m->raw ? m->raw : "", m->raw_n));
    if (!k || !m->subject) {
        free(k);
        sandbox_mail_free(m);
        return;
    }
    k->mail = m;
    k->cost = cost_of(m);
    list_add_first(&s->mails, &k->node);
    s->bytes += k->cost;
    while (s->mails.n > s->max_mails || (s->bytes > s->max_bytes && s->mails.n > 1))
        drop_oldest(s);
}

/* ---- questions ---- */

/* Without memory the answer is as long as it got. */
static void answer_some(const struct sandbox_store *s, struct sandbox_query *q, bool whole)
{
    size_t max = whole ? 1 : s->mails.n;

    q->mails = calloc(max ? max : 1, sizeof(*q->mails));
    for (struct list_node *n = list_first(&s->mails); n && q->mails && q->n_mails < max; n = list_next(&s->mails, n)) {
        const struct sandbox_mail *m = LIST_ITEM(n, struct kept, node)->mail;
        if (whole && strcmp(m->id, q->id) != 0)
            continue;
        if (mail_copy(m, &q->mails[q->n_mails], whole) < 0) {
            mail_deinit(&q->mails[q->n_mails]);
            return;
        }
        q->n_mails++;
    }
}

void sandbox_store_answer(struct sandbox_store *s, struct sandbox_query *q)
{
    switch (q->type) {
    case SANDBOX_LIST:
        answer_some(s, q, false);
        return;
    case SANDBOX_GET:
        answer_some(s, q, true);
        return;
    case SANDBOX_CLEAR:
        clear(s);
        return;
    }
}

void sandbox_query_free(struct sandbox_query *q)
{
    if (!q)
        return;
    for (size_t i = 0; i < q->n_mails; i++)
        mail_deinit(&q->mails[i]);
    free(q->mails);
    free(q);
}
