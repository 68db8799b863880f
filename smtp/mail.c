#include "smtp/mail.h"

#include "smtp/block.h"

#include <stdlib.h>
#include <string.h>

/* struct mail: making, growing and freeing it. */

#define MANY 50                         /* recipients whose names take memory worth giving back */

struct mail *mail_new(void)
{
    return calloc(1, sizeof(struct mail));
}

/* ---- freeing ---- */

void mail_address_deinit(struct mail_address *a)
{
    free(a->email);
    free(a->name);
    *a = (struct mail_address){0};
}

void mail_address_list_deinit(struct mail_address_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        mail_address_deinit(&list->v[i]);
    free(list->v);
    *list = (struct mail_address_list){0};
}

void mail_attachment_deinit(struct mail_attachment *a)
{
    free(a->filename);
    free(a->content_type);
    free(a->content_id);
    *a = (struct mail_attachment){0};
}

/* Many addresses move together, into the place of the first names: else each would hold a page of its own. */
static void drop_names(struct mail_address_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free(list->v[i].name);
        list->v[i].name = NULL;
    }
    if (list->n < MANY)
        return;
    for (size_t i = 0; i < list->n; i++)
        list->v[i].name = strdup(list->v[i].email);
    for (size_t i = 0; i < list->n; i++) {
        if (list->v[i].name) {
            free(list->v[i].email);
            list->v[i].email = list->v[i].name;
        }
        list->v[i].name = NULL;
    }
}

void mail_drop_content(struct mail *m)
{
    drop_names(&m->to);
    drop_names(&m->cc);
    drop_names(&m->bcc);
    for (size_t i = 0; i < m->n_attachments; i++)
        mail_attachment_deinit(&m->attachments[i]);
    free(m->attachments);
    m->attachments = NULL;
    m->n_attachments = 0;
    m->text = m->html = m->calendar = m->raw = bytes_view(NULL, 0);
    for (size_t i = 0; i < m->n_keeps; i++)
        block_free(m->keeps[i]);
    free(m->keeps);
    m->keeps = NULL;
    m->n_keeps = 0;
}

static void pair_deinit(struct mail_pair *p)
{
    free(p->name);
    free(p->value);
}

static void pair_list_deinit(struct mail_pair_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        pair_deinit(&list->v[i]);
    free(list->v);
}

void mail_free(struct mail *m)
{
    if (!m)
        return;
    mail_drop_content(m);
    mail_address_deinit(&m->from);
    mail_address_list_deinit(&m->to);
    mail_address_list_deinit(&m->cc);
    mail_address_list_deinit(&m->bcc);
    mail_address_list_deinit(&m->reply_to);
    mail_address_deinit(&m->envelope_from);
    mail_address_list_deinit(&m->envelope_to);
    free(m->subject);
    free(m->calendar_method);
    free(m->unsubscribe_url);
    free(m->unsubscribe_mailto);
    free(m->message_id);
    pair_list_deinit(&m->headers);
    pair_list_deinit(&m->tags);
    pair_list_deinit(&m->metadata);
    free(m->relay);
    free(m->dsn.envid);
    free(m);
}

/* ---- growing ---- */

/* The lists keep no capacity: room grows whenever their length reaches a power of two. */
static void *grown(void *v, size_t n, size_t size)
{
    if (n & (n - 1))
        return v;
    return reallocarray(v, n ? 2 * n : 1, size);
}

int mail_keep(struct mail *m, void *block)
{
    void **v = grown(m->keeps, m->n_keeps, sizeof(*v));

    if (!v) {
        block_free(block);
        return -1;
    }
    m->keeps = v;
    m->keeps[m->n_keeps++] = block;
    return 0;
}

struct bytes_view mail_keep_copy(struct mail *m, struct bytes_view v)
{
    char *p = malloc(v.n + 1);

    if (!p)
        return bytes_view(NULL, 0);
    if (v.n)
        memcpy(p, v.p, v.n);
    p[v.n] = '\0';
    return mail_keep(m, p) == 0 ? bytes_view(p, v.n) : bytes_view(NULL, 0);
}

int mail_address_list_add(struct mail_address_list *list, struct mail_address a)
{
    struct mail_address *v = grown(list->v, list->n, sizeof(*v));

    if (!v) {
        mail_address_deinit(&a);
        return -1;
    }
    list->v = v;
    list->v[list->n++] = a;
    return 0;
}

int mail_pair_list_add(struct mail_pair_list *list, struct mail_pair pair)
{
    struct mail_pair *v = grown(list->v, list->n, sizeof(*v));

    if (!v) {
        pair_deinit(&pair);
        return -1;
    }
    list->v = v;
    list->v[list->n++] = pair;
    return 0;
}

int mail_add_attachment(struct mail *m, struct mail_attachment a)
{
    struct mail_attachment *v = grown(m->attachments, m->n_attachments, sizeof(*v));

    if (!v) {
        mail_attachment_deinit(&a);
        return -1;
    }
    m->attachments = v;
    m->attachments[m->n_attachments++] = a;
    return 0;
}

int mail_add_header(struct mail *m, const char *name, const char *value)
{
    struct mail_pair h = {strdup(name), strdup(value)};

    if (h.name && h.value)
        return mail_pair_list_add(&m->headers, h);
    pair_deinit(&h);
    return -1;
}
