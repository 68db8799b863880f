#include "smtp/mime.h"

#include "smtp/address.h"
#include "smtp/mime_body.h"
#include "smtp/mime_header.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* struct mail -> canonical bytes: the header, then a small tree of parts. */

#define TREE_DEPTH 4                    /* mixed, related, alternative, leaf */
#define PREFIX_MAX 80

/* A leaf has content, a multipart has children. The tree is ours, never the caller's, so its depth is known. */
struct part {
    const char *type;
    struct bytes_view content;
    const struct part *children;
    size_t n_children;
};

/* Boundaries are "=_ID.N": "=_" comes in neither quoted-printable nor base64 (RFC 2045 §6.7), and for 7bit the text is
 * searched. */
struct tree {
    struct bytes_buf *out;
    char prefix[PREFIX_MAX];
    struct {
        const struct part *part;
        size_t next;                    /* child to be written */
        unsigned number;
    } stack[TREE_DEPTH];
    size_t depth;
    unsigned n_boundaries;
};

static void add_boundary(struct tree *t, unsigned number)
{
    bytes_buf_add_str(t->out, t->prefix);
    bytes_buf_printf(t->out, "%u", number);
}

/* The part's own header fields, the empty line, and a leaf's content; a multipart waits on the stack for its children.
 */
static void open_part(struct tree *t, const struct part *p)
{
    enum mime_encoding encoding;

    bytes_buf_add_str(t->out, "Content-Type: ");
    bytes_buf_add_str(t->out, p->type);
    if (p->n_children) {
        if (t->depth == TREE_DEPTH)
            unreachable("part tree too deep");
        t->stack[t->depth].part = p;
        t->stack[t->depth].next = 0;
        t->stack[t->depth++].number = ++t->n_boundaries;
        bytes_buf_add_str(t->out, ";\r\n boundary=\"");
        add_boundary(t, t->n_boundaries);
        bytes_buf_add_str(t->out, "\"\r\n");
        return;
    }
    encoding = mime_body_choose(p->content);
    bytes_buf_add_str(t->out, "\r\nContent-Transfer-Encoding: ");
    bytes_buf_add_str(t->out, mime_encoding_name(encoding));
    bytes_buf_add_str(t->out, "\r\n\r\n");
    mime_body_write(encoding, p->content, t->out);
}

/* RFC 2046 §5.1.1: the CRLF before a delimiter belongs to it, so a part's content is exactly what was given. */
static void write_tree(struct tree *t, const struct part *root)
{
    open_part(t, root);
    while (t->depth) {
        const struct part *p = t->stack[t->depth - 1].part;
        size_t i = t->stack[t->depth - 1].next++;
        bytes_buf_add_str(t->out, "\r\n--");
        add_boundary(t, t->stack[t->depth - 1].number);
        if (i == p->n_children) {
            bytes_buf_add_str(t->out, "--");
            t->depth--;
            continue;
        }
        bytes_buf_add_str(t->out, "\r\n");
        open_part(t, &p->children[i]);
    }
}

static bool occurs(struct bytes_view text, const char *word)
{
    return text.n && memmem(text.p, text.n, word, strlen(word));
}

/* The id is unknown to whoever wrote the text, so the first choice is free in all but tests. */
static void choose_prefix(struct tree *t, const struct mail *m, const char *id)
{
    snprintf(t->prefix, sizeof(t->prefix), "=_%.40s.", id);
    for (unsigned k = 1; occurs(m->text, t->prefix) || occurs(m->html, t->prefix); k++)
        snprintf(t->prefix, sizeof(t->prefix), "=_%.40s_%u.", id, k);
}

static bool is_named(const struct mail_pair *h, const char *name)
{
    return bytes_equal_nocase(bytes_view_str(h->name), bytes_view_str(name));
}

static bool has_header(const struct mail *m, const char *name)
{
    for (size_t i = 0; i < m->headers.n; i++)
        if (is_named(&m->headers.v[i], name))
            return true;
    return false;
}

/* Sender is an address like From: written by the same code, so that its name is encoded and its domain an A-label. */
static void write_own_header(struct bytes_buf *out, const struct mail_pair *h, bool *utf8)
{
    struct mail_address a;
    const char *why;

    if (is_named(h, "Sender") && address_parse(bytes_view_str(h->value), 0, &a, &why) == 0) {
        mime_header_addresses(out, h->name, &a, 1);
        *utf8 |= a.utf8;
        mail_address_deinit(&a);
        return;
    }
    mime_header_own(out, h->name, bytes_view_str(h->value));
}

static char *make_message_id(const struct mail *m, const char *id)
{
    struct bytes_view domain = address_domain(m->from.email ? m->from.email : "");
    struct bytes_buf b;

    if (m->message_id)
        return strdup(m->message_id);
    bytes_buf_init(&b, 0);
    bytes_buf_add_char(&b, '<');
    bytes_buf_add_str(&b, id);
    bytes_buf_add_char(&b, '@');
    bytes_buf_add(&b, domain.p, domain.n);
    bytes_buf_add_char(&b, '>');
    return bytes_buf_take(&b, NULL);
}

static bool list_is_utf8(const struct mail_address_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->v[i].utf8)
            return true;
    return false;
}

static void write_header(const struct mail *m, const struct mime_params *p, struct bytes_buf *out,
                         struct mime_message *msg)
{
    if (m->from.email)
        mime_header_addresses(out, "From", &m->from, 1);
    mime_header_addresses(out, "To", m->to.v, m->to.n);
    mime_header_addresses(out, "Cc", m->cc.v, m->cc.n);
    mime_header_addresses(out, "Reply-To", m->reply_to.v, m->reply_to.n);
    if (m->subject)
        mime_header_text(out, "Subject", bytes_view_str(m->subject));
    if (!has_header(m, "Date"))
        mime_header_date(out, p->date_unix);
    bytes_buf_add_str(out, "Message-ID: ");
    bytes_buf_add_str(out, msg->message_id);
    bytes_buf_add_str(out, "\r\nMIME-Version: 1.0\r\n");
    msg->needs_utf8 = m->from.utf8 || list_is_utf8(&m->to) || list_is_utf8(&m->cc) || list_is_utf8(&m->bcc) ||
                      list_is_utf8(&m->reply_to);
    for (size_t i = 0; i < m->headers.n; i++)
        write_own_header(out, &m->headers.v[i], &msg->needs_utf8);
}

static void write_content(const struct mail *m, const char *id, struct bytes_buf *out)
{
    const struct part text = {.type = "text/plain; charset=utf-8", .content = m->text};
    const struct part html = {.type = "text/html; charset=utf-8", .content = m->html};
    const struct part both[2] = {text, html};
    const struct part alternative = {.type = "multipart/alternative", .children = both, .n_children = ARRAY_LEN(both)};
    struct tree t = {.out = out};

    choose_prefix(&t, m, id);
    write_tree(&t, m->text.p && m->html.p ? &alternative : m->html.p ? &html : &text);
    if (!out->failed && out->p[out->n - 1] != '\n')
        bytes_buf_add(out, "\r\n", 2);
}

int mime_compose(const struct mail *m, const struct mime_params *p, struct mime_message *out)
{
    size_t content = m->text.n + m->html.n;
    struct bytes_buf b;

    *out = (struct mime_message){.message_id = make_message_id(m, p->id)};
    if (!out->message_id)
        return -1;
    bytes_buf_init(&b, 0);
    bytes_buf_reserve(&b, content + content / 8 + 1024);
    write_header(m, p, &b, out);
    write_content(m, p->id, &b);
    out->bytes = bytes_buf_take(&b, &out->n);
    if (out->bytes)
        return 0;
    mime_message_deinit(out);
    return -1;
}

void mime_message_deinit(struct mime_message *m)
{
    free(m->bytes);
    free(m->message_id);
    *m = (struct mime_message){0};
}
