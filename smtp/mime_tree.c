#include "smtp/mime_tree.h"

#include "smtp/mime_base64.h"
#include "smtp/mime_body.h"
#include "smtp/mime_param.h"
#include "smtp/mime_type.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The parts of a mail: which there are, how each is written, and writing them in order. */

#define TREE_DEPTH 3                    /* mixed, related, alternative */
#define PREFIX_MAX 80
#define PARTS_EXTRA 8                   /* three alternatives, the invitation as a file, multiparts, the body again */
#define PART_EXTRA 320                  /* header fields and boundaries of a part, beside the strings in them */
#define CONTENT_ID_MAX 900
#define OCTETS "application/octet-stream"

enum part_form {
    PART_MULTIPART,
    PART_TEXT,                          /* as its mime_body says */
    PART_OCTETS,                        /* base64 of the content */
    PART_DIGITS,                        /* the content is base64 already */
};

/* The tree is ours, never the caller's, so its depth is known. */
struct part {
    enum part_form form;
    const char *type, *charset, *method;            /* charset, method: parameters of their own, or NULL */
    const char *disposition, *filename, *content_id;
    struct bytes_view content;
    struct mime_body body;
    size_t size;                        /* of the content as it is written */
    const struct part *const *children;
    size_t n_children;
};

/* Boundaries are "=_ID.N": "=_" comes in neither quoted-printable nor base64 (RFC 2045 §6.7), and 7bit content is
 * searched. */
struct mime_tree {
    char prefix[PREFIX_MAX];
    struct {
        const struct part *part;
        size_t next;                    /* child to be written */
        unsigned number;
    } stack[TREE_DEPTH];
    size_t depth;
    unsigned n_boundaries;
    const struct part *root;
    size_t size;
    const struct part **slots;          /* children, the lists one behind the other */
    size_t n_slots, n_parts;
    struct part parts[];
};

/* ---- single parts ---- */

static struct part text_part(const char *type, struct bytes_view content)
{
    struct part p = {.form = PART_TEXT, .type = type, .content = content, .body = mime_body_plan(content)};

    p.body.is_last = true;
    p.size = p.body.size;
    return p;
}

static bool is_of(const char *type, const char *kind)
{
    return bytes_starts_nocase(bytes_view_str(type), kind);
}

/* A field name and a colon (RFC 5322 §2.2): what is not even that is no message, whatever its type says. */
static bool begins_with_field(struct bytes_view v)
{
    size_t i = 0;

    while (i < v.n && v.p[i] > ' ' && v.p[i] <= '~' && v.p[i] != ':')
        i++;
    return i > 0 && i < v.n && v.p[i] == ':';
}

/* A message needs its octets, so base64 is taken off, in its place: beside the two blocks of a large mail there is no
 * third. */
static void decode_in_place(struct mail_attachment *a)
{
    char *p = (char *)(uintptr_t)a->content.p;
    size_t n;

    if (mime_base64_decode(a->content, p, &n) != 0)
        unreachable("base64 that is not canonical");
    a->content.n = n;
    a->is_base64 = false;
}

/* How many octets of `v` are whole characters: one that is cut off at its end waits for the next piece. */
static size_t whole_characters(struct bytes_view v)
{
    for (size_t back = 1; back <= 3 && back <= v.n; back++) {
        unsigned char c = (unsigned char)v.p[v.n - back];
        if (c >= 0xC0)
            return c >= (back == 1 ? 0xC0 : back == 2 ? 0xE0 : 0xF0) ? v.n - back : v.n;
        if (c < 0x80)
            break;
    }
    return v.n;
}

/* Whether base64 holds UTF-8, looked at in pieces. */
static bool digits_are_utf8(struct bytes_view digits)
{
    char piece[3072 + 4];
    size_t kept = 0, n;

    for (size_t at = 0; at < digits.n; at += 4096) {
        size_t take = digits.n - at < 4096 ? digits.n - at : 4096, whole;
        if (mime_base64_decode(bytes_view(digits.p + at, take), piece + kept, &n) != 0)
            return false;
        n += kept;
        whole = whole_characters(bytes_view(piece, n));
        if (!bytes_is_utf8(bytes_view(piece, whole)))
            return false;
        kept = n - whole;
        memmove(piece, piece + whole, kept);
    }
    return kept == 0;
}

/* A text file whose type was guessed: without a charset readers take it for ASCII (RFC 2046 §4.1.2). */
static const char *guess_charset(const char *type, const struct mail_attachment *a)
{
    if (a->content_type || !is_of(type, "text/"))
        return NULL;
    return (a->is_base64 ? digits_are_utf8(a->content) : bytes_is_utf8(a->content)) ? "utf-8" : NULL;
}

/* RFC 2046 §5.2.1 allows no encoding around a message: one that cannot do without goes as something else. */
static struct part file_part(struct mail_attachment *a)
{
    struct part p = {
        .type = a->content_type ? a->content_type : mime_type_of(a->filename),
        .disposition = a->is_inline ? "inline" : "attachment",
        .filename = a->filename && a->filename[0] ? a->filename : NULL,
        .content_id = a->content_id,
    };
    bool is_message = is_of(p.type, "message/");

    if (is_message && a->is_base64)
        decode_in_place(a);
    p.content = a->content;
    if (is_message && begins_with_field(p.content) && mime_body_plan_message(p.content, &p.body)) {
        p.form = PART_TEXT;
        p.body.is_last = true;
        p.size = p.body.size;
        return p;
    }
    if (is_message || is_of(p.type, "multipart/"))
        p.type = OCTETS;
    if (is_message && !p.filename)
        p.filename = "message.eml";
    p.form = a->is_base64 ? PART_DIGITS : PART_OCTETS;
    p.charset = guess_charset(p.type, a);
    p.size = mime_base64_lines_size(a->is_base64 ? a->content.n : mime_base64_size(a->content.n));
    return p;
}

/* The invitation once more, for readers that do not show the alternative. */
static struct part calendar_file(const struct mail *m)
{
    struct part p = {.form = PART_TEXT, .type = "application/ics", .disposition = "attachment",
                     .filename = "invite.ics", .content = m->calendar, .body = mime_body_plan_base64(m->calendar)};

    p.size = p.body.size;
    return p;
}

/* ---- the tree ---- */

static size_t header_size(const struct part *p)
{
    /* Escaped, a name is three times as long, and in pieces a quarter more. */
    size_t name = p->filename ? 4 * strlen(p->filename) + 200 : 0, id = p->content_id ? strlen(p->content_id) : 0;

    return PART_EXTRA + name + id + 2 * strlen(p->type) + (p->method ? strlen(p->method) : 0);
}

/* A part and its place in the list of children that is being made. */
static void add_child(struct mime_tree *t, struct part p)
{
    t->size += p.size + header_size(&p);
    t->parts[t->n_parts] = p;
    t->slots[t->n_slots++] = &t->parts[t->n_parts++];
}

/* What stands for the children from `start` on: a single one for itself. */
static const struct part *group(struct mime_tree *t, const char *type, size_t start)
{
    struct part *p = &t->parts[t->n_parts];

    if (t->n_slots == start + 1)
        return t->slots[start];
    *p = (struct part){.form = PART_MULTIPART, .type = type, .children = t->slots + start,
                       .n_children = t->n_slots - start};
    t->size += header_size(p);
    t->n_parts++;
    return p;
}

static void add_alternatives(struct mime_tree *t, const struct mail *m)
{
    struct part calendar;

    if (m->text.p || (!m->html.p && !m->calendar.p && !m->n_attachments))
        add_child(t, text_part("text/plain; charset=utf-8", m->text));
    if (m->html.p)
        add_child(t, text_part("text/html; charset=utf-8", m->html));
    if (m->calendar.p) {
        calendar = text_part("text/calendar; charset=utf-8", m->calendar);
        calendar.method = m->calendar_method;
        calendar.body.is_last = false;  /* it comes again as a file */
        add_child(t, calendar);
    }
}

/* `related`: those that an html can name by their Content-ID (RFC 2392); else the others. */
static void add_files(struct mime_tree *t, struct mail *m, bool related)
{
    for (size_t i = 0; i < m->n_attachments; i++)
        if ((m->html.p && m->attachments[i].content_id) == related)
            add_child(t, file_part(&m->attachments[i]));
}

static void build(struct mime_tree *t, struct mail *m)
{
    const struct part *body = NULL;
    size_t start = 0;

    add_alternatives(t, m);
    if (t->n_slots) {
        body = group(t, "multipart/alternative", start);
        start = t->n_slots;
        t->slots[t->n_slots++] = body;
        add_files(t, m, true);
        /* RFC 2387 §3.1: type= is that of the first part. */
        body = group(t, body->form == PART_MULTIPART ? "multipart/related; type=\"multipart/alternative\""
                                                     : "multipart/related; type=\"text/html\"", start);
        start = t->n_slots;
        t->slots[t->n_slots++] = body;
    }
    add_files(t, m, false);
    if (m->calendar.p)
        add_child(t, calendar_file(m));
    t->root = group(t, "multipart/mixed", start);
}

static bool occurs(const struct mime_tree *t, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; i < t->n_parts; i++) {
        const struct part *p = &t->parts[i];
        if (p->form == PART_TEXT && p->body.encoding == MIME_7BIT && p->content.n >= n &&
            memmem(p->content.p, p->content.n, word, n))
            return true;
    }
    return false;
}

/* The id is unknown to whoever wrote the text, so the first choice is free in all but tests. */
static void choose_prefix(struct mime_tree *t, const char *id)
{
    snprintf(t->prefix, sizeof(t->prefix), "=_%.40s.", id);
    if (t->root->form != PART_MULTIPART)
        return;
    for (unsigned k = 1; occurs(t, t->prefix); k++)
        snprintf(t->prefix, sizeof(t->prefix), "=_%.40s_%u.", id, k);
}

struct mime_tree *mime_tree_new(struct mail *m, const char *id)
{
    size_t most = m->n_attachments + PARTS_EXTRA;
    struct mime_tree *t = calloc(1, sizeof(*t) + most * (sizeof(t->parts[0]) + sizeof(t->slots[0])));

    if (!t)
        return NULL;
    t->slots = (const struct part **)(void *)(t->parts + most);
    build(t, m);
    choose_prefix(t, id);
    return t;
}

void mime_tree_free(struct mime_tree *t)
{
    free(t);
}

/* ---- writing ---- */

size_t mime_tree_size(const struct mime_tree *t)
{
    return t->size;
}

static void add_boundary(const struct mime_tree *t, unsigned number, struct bytes_buf *out)
{
    bytes_buf_add_str(out, t->prefix);
    bytes_buf_printf(out, "%u", number);
}

static void write_content_id(const char *id, struct bytes_buf *out)
{
    bytes_buf_add_str(out, "Content-ID: <");
    bytes_buf_add(out, id, strnlen(id, CONTENT_ID_MAX));
    bytes_buf_add_str(out, ">\r\n");
}

static void write_part_header(const struct mime_tree *t, const struct part *p, struct bytes_buf *out)
{
    enum mime_encoding encoding = p->form == PART_TEXT ? p->body.encoding : MIME_BASE64;
    struct mime_param_line l;
    char boundary[PREFIX_MAX + 12];

    mime_param_begin_type(&l, out, p->type, p->filename != NULL);
    if (p->charset)
        mime_param_add(&l, "charset", p->charset);
    if (p->method)
        mime_param_add(&l, "method", p->method);
    if (p->form == PART_MULTIPART) {
        snprintf(boundary, sizeof(boundary), "%s%u", t->prefix, t->n_boundaries);
        mime_param_add(&l, "boundary", boundary);
        mime_param_end(&l);
        return;
    }
    if (p->filename)
        mime_param_name(&l, p->filename);
    mime_param_end(&l);
    bytes_buf_add_str(out, "Content-Transfer-Encoding: ");
    bytes_buf_add_str(out, mime_body_encoding_name(encoding));
    bytes_buf_add(out, "\r\n", 2);
    if (p->disposition) {
        mime_param_begin(&l, out, "Content-Disposition", p->disposition);
        if (p->filename)
            mime_param_filename(&l, p->filename);
        mime_param_end(&l);
    }
    if (p->content_id)
        write_content_id(p->content_id, out);
}

/* The part's own header fields, the empty line, and a leaf's content; a multipart waits on the stack for its children.
 */
static void open_part(struct mime_tree *t, const struct part *p, struct bytes_buf *out)
{
    if (p->form == PART_MULTIPART) {
        if (t->depth == TREE_DEPTH)
            unreachable("part tree too deep");
        t->stack[t->depth].part = p;
        t->stack[t->depth].next = 0;
        t->stack[t->depth++].number = ++t->n_boundaries;
    }
    write_part_header(t, p, out);
    switch (p->form) {
    case PART_MULTIPART:
        return;
    case PART_TEXT:
        bytes_buf_add(out, "\r\n", 2);
        mime_body_write(&p->body, p->content, out);
        return;
    case PART_OCTETS:
        bytes_buf_add(out, "\r\n", 2);
        mime_body_write_octets(p->content, out);
        return;
    case PART_DIGITS:
        bytes_buf_add(out, "\r\n", 2);
        mime_body_write_digits(p->content, out);
        return;
    }
    unreachable("form of a part");
}

/* RFC 2046 §5.1.1: the CRLF before a delimiter belongs to it, so a part's content is exactly what was given. */
void mime_tree_write(struct mime_tree *t, struct bytes_buf *out)
{
    open_part(t, t->root, out);
    while (t->depth) {
        const struct part *p = t->stack[t->depth - 1].part;
        size_t i = t->stack[t->depth - 1].next++;
        bytes_buf_add_str(out, "\r\n--");
        add_boundary(t, t->stack[t->depth - 1].number, out);
        if (i == p->n_children) {
            bytes_buf_add_str(out, "--");
            t->depth--;
            continue;
        }
        bytes_buf_add_str(out, "\r\n");
        open_part(t, p->children[i], out);
    }
}
