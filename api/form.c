#include "api/form_reader.h"
#include "smtp/block.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What both kinds of form have in common: which kind it is, the parts, the errors and the memory. */

#define FILE_IS_LARGE 16384             /* so much of it has come: the rest of the form may be it */

int form_refuse(struct form *f, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(f->error, sizeof(f->error), fmt, ap);
    va_end(ap);
    return -1;
}

int form_refuse_part(struct form *f, const char *fmt, ...)
{
    va_list ap;
    size_t n;

    snprintf(f->error, sizeof(f->error), "%s %zu: ", f->reader->is_multipart ? "part" : "field", f->n_parts + 1);
    n = strlen(f->error);
    va_start(ap, fmt);
    vsnprintf(f->error + n, sizeof(f->error) - n, fmt, ap);
    va_end(ap);
    return -1;
}

int form_no_memory(struct form *f)
{
    f->no_memory = true;
    return -1;
}

const char *form_shown(struct bytes_view v, char out[FORM_SHOWN_MAX])
{
    static const char dots[] = "...";
    size_t n = v.n < FORM_SHOWN_MAX - sizeof(dots) ? v.n : FORM_SHOWN_MAX - sizeof(dots);

    for (size_t i = 0; i < n; i++)
        out[i] = v.p[i] >= ' ' && v.p[i] <= '~' ? v.p[i] : '?';
    memcpy(out + n, n < v.n ? dots : "", n < v.n ? sizeof(dots) : 1);
    return out;
}

bool form_is_plain(struct bytes_view v)
{
    for (size_t i = 0; i < v.n; i++)
        if ((unsigned char)v.p[i] < ' ' || v.p[i] == 0x7F)
            return false;
    return bytes_is_utf8(v);
}

static void part_deinit(struct form_part *p)
{
    free(p->name);
    free(p->filename);
    free(p->content_type);
    block_free(p->data);
    *p = (struct form_part){NULL, NULL, NULL, NULL, 0};
}

static size_t part_held(const struct form_part *p)
{
    return bytes_view_str(p->name).n + bytes_view_str(p->filename).n + bytes_view_str(p->content_type).n;
}

int form_part_begin(struct form *f)
{
    if (f->n_parts == FORM_PARTS_MAX)
        return form_refuse(f, "more than %d parts", FORM_PARTS_MAX);
    return 0;
}

int form_part_add(struct form *f, const char *p, size_t n)
{
    struct form_reader *r = f->reader;

    /* Room for base64 too, never touched here: freed, the block has the size that a mail like this is composed into. */
    if (r->part.filename && r->data.n + n >= FILE_IS_LARGE && r->data.cap < BLOCK_LARGE &&
        r->expected > r->taken + BLOCK_LARGE)
        bytes_buf_reserve(&r->data, n + (r->expected - r->taken) / 8 * 11);
    bytes_buf_add(&r->data, p, n);
    return r->data.failed ? form_no_memory(f) : 0;
}

static int make_room(struct form *f)
{
    struct form_reader *r = f->reader;
    size_t cap = r->parts_cap ? r->parts_cap * 2 : 16;
    struct form_part *parts;

    if (f->n_parts < r->parts_cap)
        return 0;
    parts = realloc(f->parts, cap * sizeof(*parts));
    if (!parts)
        return form_no_memory(f);
    f->parts = parts;
    r->parts_cap = cap;
    return 0;
}

int form_part_done(struct form *f)
{
    struct form_reader *r = f->reader;
    char *fitting;

    if (make_room(f) != 0)
        return -1;
    r->part.data = bytes_buf_take(&r->data, &r->part.n);
    if (!r->part.data)
        return form_no_memory(f);
    if (r->part.n < BLOCK_LARGE / 4 && (fitting = block_resize(r->part.data, r->part.n + 1, r->part.n + 1)))
        r->part.data = fitting;         /* of a larger one, what is too much was never touched */
    r->held += part_held(&r->part) + r->part.n + 1;
    f->parts[f->n_parts++] = r->part;
    r->part = (struct form_part){NULL, NULL, NULL, NULL, 0};
    return 0;
}

/* RFC 9110 §8.3.1: media-type = type "/" subtype *( OWS ";" OWS [ parameter ] ) */
static int set_kind(struct form *f, struct bytes_view type)
{
    struct bytes_view rest = form_param_trim(type), first = form_param_token(&rest), second = {"", 0};
    char shown[FORM_SHOWN_MAX];

    if (rest.n && rest.p[0] == '/') {
        rest = bytes_view(rest.p + 1, rest.n - 1);
        second = form_param_token(&rest);
    }
    if (bytes_equal_nocase(first, bytes_view_str("multipart")) &&
        bytes_equal_nocase(second, bytes_view_str("form-data"))) {
        f->reader->is_multipart = true;
        return form_multipart_init(f, rest);
    }
    if (bytes_equal_nocase(first, bytes_view_str("application")) &&
        bytes_equal_nocase(second, bytes_view_str("x-www-form-urlencoded")) &&
        (!rest.n || strchr("; \t", rest.p[0])))
        return 0;                       /* it has no parameters, so those that come mean nothing */
    return form_refuse(f, "\"%s\" is not the type of a form", form_shown(type, shown));
}

struct form *form_new(const char *content_type)
{
    struct form *f = calloc(1, sizeof(*f));
    struct form_reader *r = calloc(1, sizeof(*r));

    if (!f || !r) {
        free(f);
        free(r);
        return NULL;
    }
    f->reader = r;
    bytes_buf_init_block(&r->data, 0);
    bytes_buf_init(&r->multipart.head, FORM_HEAD_MAX);
    form_urlencoded_init(&r->urlencoded);
    if (set_kind(f, bytes_view_str(content_type)) != 0 && f->no_memory) {
        form_free(f);
        return NULL;
    }
    return f;
}

void form_expect(struct form *f, size_t n)
{
    f->reader->expected = n;
}

int form_feed(struct form *f, struct bytes_view in)
{
    if (f->error[0] || f->no_memory)
        return -1;
    f->reader->taken += in.n;
    return f->reader->is_multipart ? form_multipart_feed(f, in) : form_urlencoded_feed(f, in);
}

int form_end(struct form *f)
{
    if (f->error[0] || f->no_memory)
        return -1;
    return f->reader->is_multipart ? form_multipart_end(f) : form_urlencoded_end(f);
}

size_t form_held(const struct form *f)
{
    const struct form_reader *r = f->reader;

    return r->held + r->data.cap + part_held(&r->part) + r->multipart.head.cap + r->urlencoded.name.cap +
           r->parts_cap * sizeof(*f->parts);
}

char *form_take_data(struct form_part *p)
{
    char *data = p->data;

    p->data = NULL;
    p->n = 0;
    return data;
}

void form_free(struct form *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n_parts; i++)
        part_deinit(&f->parts[i]);
    free(f->parts);
    part_deinit(&f->reader->part);
    bytes_buf_deinit(&f->reader->data);
    form_multipart_deinit(&f->reader->multipart);
    form_urlencoded_deinit(&f->reader->urlencoded);
    free(f->reader);
    free(f);
}
