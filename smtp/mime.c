#include "smtp/mime.h"

#include "smtp/address.h"
#include "smtp/block.h"
#include "smtp/mime_header.h"
#include "smtp/mime_tree.h"
#include "smtp/raw.h"

#include <stdlib.h>
#include <string.h>

/* struct mail -> canonical bytes: the header, then the parts; or a finished message and what it lacks. */

#define HEADER_EXTRA 1024               /* field names and what is ours */
#define FIELD_EXTRA 100
#define SHRINK_FROM 4096                /* octets too many that are worth giving back */

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

    if (is_named(h, "Sender") && address_parse(bytes_view_str(h->value), ADDRESS_LITERALS, &a, &why) == 0) {
        mime_header_addresses(out, h->name, &a, 1);
        *utf8 |= a.utf8;
        mail_address_deinit(&a);
        return;
    }
    mime_header_own(out, h->name, bytes_view_str(h->value));
}

/* From's domain, or what is nearest to it: a finished message may be sent from <>. */
static struct bytes_view id_domain(const struct mail *m)
{
    struct bytes_view domain = address_domain(m->from.email ? m->from.email : "");

    if (!domain.n)
        domain = address_domain(m->envelope_from.email ? m->envelope_from.email : "");
    return domain.n ? domain : bytes_view_str("localhost");
}

static char *make_message_id(const struct mail *m, const char *id)
{
    struct bytes_view domain = id_domain(m);
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

static bool addresses_are_utf8(const struct mail *m)
{
    return m->from.utf8 || list_is_utf8(&m->to) || list_is_utf8(&m->cc) || list_is_utf8(&m->bcc) ||
           list_is_utf8(&m->reply_to) || m->envelope_from.utf8 || list_is_utf8(&m->envelope_to);
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
    msg->needs_utf8 = addresses_are_utf8(m);
    for (size_t i = 0; i < m->headers.n; i++)
        write_own_header(out, &m->headers.v[i], &msg->needs_utf8);
    if (m->unsubscribe_url || m->unsubscribe_mailto)
        mime_header_unsubscribe(out, m->unsubscribe_url, m->unsubscribe_mailto);
}

/* Encoded words make a text at most twice as long; so does folding. */
static size_t text_size(const char *s)
{
    return s ? 2 * strlen(s) + FIELD_EXTRA : 0;
}

static size_t addresses_size(const struct mail_address *v, size_t n)
{
    size_t size = 0;

    for (size_t i = 0; i < n; i++)
        size += strlen(v[i].email) + 8 + text_size(v[i].name);
    return size;
}

static size_t header_size(const struct mail *m, const struct mime_message *msg)
{
    size_t size = HEADER_EXTRA + strlen(msg->message_id) + text_size(m->subject);

    if (m->from.email)
        size += addresses_size(&m->from, 1);
    size += addresses_size(m->to.v, m->to.n) + addresses_size(m->cc.v, m->cc.n) +
            addresses_size(m->reply_to.v, m->reply_to.n);
    for (size_t i = 0; i < m->headers.n; i++)
        size += strlen(m->headers.v[i].name) + text_size(m->headers.v[i].value);
    return size + text_size(m->unsubscribe_url) + text_size(m->unsubscribe_mailto);
}

static int compose(struct mail *m, const struct mime_params *p, struct bytes_buf *b, struct mime_message *out)
{
    struct mime_tree *tree = mime_tree_new(m, p->id);

    if (!tree)
        return -1;
    bytes_buf_reserve(b, header_size(m, out) + mime_tree_size(tree));
    write_header(m, p, b, out);
    mime_tree_write(tree, b);
    if (!b->failed && b->p[b->n - 1] != '\n')
        bytes_buf_add(b, "\r\n", 2);
    mime_tree_free(tree);
    return b->failed ? -1 : 0;
}

/* Line ends that are not CRLF, each of which takes an octet more. */
static size_t count_lone_lf(struct bytes_view v)
{
    size_t count = 0;

    for (size_t i = 0; i < v.n; i++) {
        const char *lf = memchr(v.p + i, '\n', v.n - i);
        if (!lf)
            break;
        i = (size_t)(lf - v.p);
        count += i == 0 || v.p[i - 1] != '\r';
    }
    return count;
}

static void compose_raw(const struct mail *m, const struct mime_params *p, struct bytes_buf *b,
                        struct mime_message *out)
{
    struct bytes_buf add;

    bytes_buf_init(&add, 0);
    bytes_buf_add(&add, "", 0);
    if (!m->raw_has_date)
        mime_header_date(&add, p->date_unix);
    if (!m->message_id) {
        bytes_buf_add_str(&add, "Message-ID: ");
        bytes_buf_add_str(&add, out->message_id);
        bytes_buf_add(&add, "\r\n", 2);
    }
    bytes_buf_reserve(b, m->raw.n + count_lone_lf(m->raw) + add.n + 2);
    b->failed |= add.failed;
    if (!b->failed)
        raw_write(m->raw, bytes_buf_view(&add), b);
    bytes_buf_deinit(&add);
    out->needs_8bit = m->raw_is_8bit;
    out->needs_utf8 = m->raw_is_utf8_header || addresses_are_utf8(m);
}

/* The bounds were wide where a header or a text was long and mostly plain. */
static void shrink(struct bytes_buf *b)
{
    char *p;

    if (b->failed || b->cap - b->n < SHRINK_FROM + b->n / 8)
        return;
    p = block_resize(b->p, b->n + 1, b->n + 1);
    if (!p)
        return;
    b->p = p;
    b->cap = b->n + 1;
}

int mime_compose(struct mail *m, const struct mime_params *p, struct mime_message *out)
{
    struct bytes_buf b;

    *out = (struct mime_message){.message_id = make_message_id(m, p->id)};
    if (!out->message_id)
        return -1;
    bytes_buf_init_block(&b, 0);
    if (m->raw.p)
        compose_raw(m, p, &b, out);
    else if (compose(m, p, &b, out) != 0)
        b.failed = true;
    shrink(&b);
    out->bytes = bytes_buf_take(&b, &out->n);
    if (out->bytes)
        return 0;
    mime_message_deinit(out);
    return -1;
}

void mime_message_deinit(struct mime_message *m)
{
    block_free(m->bytes);
    free(m->message_id);
    *m = (struct mime_message){0};
}
