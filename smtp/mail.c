#include "smtp/mail.h"

#include <stdlib.h>
#include <string.h>

/* struct mail: making, growing and freeing it. */

struct mail *mail_new(void)
{
    return calloc(1, sizeof(struct mail));
}

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

void mail_free(struct mail *m)
{
    if (!m)
        return;
    mail_address_deinit(&m->from);
    mail_address_list_deinit(&m->to);
    mail_address_list_deinit(&m->cc);
    mail_address_list_deinit(&m->bcc);
    mail_address_list_deinit(&m->reply_to);
    free(m->subject);
    free(m->text);
    free(m->html);
    free(m->message_id);
    for (size_t i = 0; i < m->n_headers; i++) {
        free(m->headers[i].name);
        free(m->headers[i].value);
    }
    free(m->headers);
    free(m->relay);
    free(m);
}

/* The lists keep no capacity: room grows whenever their length reaches a power of two. */
static void *grown(void *v, size_t n, size_t size)
{
    if (n & (n - 1))
        return v;
    return reallocarray(v, n ? 2 * n : 1, size);
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

int mail_add_header(struct mail *m, const char *name, const char *value)
{
    struct mail_header h = {strdup(name), strdup(value)};
    struct mail_header *v = grown(m->headers, m->n_headers, sizeof(*v));

    if (v)
        m->headers = v;
    if (!v || !h.name || !h.value) {
        free(h.name);
        free(h.value);
        return -1;
    }
    m->headers[m->n_headers++] = h;
    return 0;
}
