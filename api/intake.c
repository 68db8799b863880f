#include "api/intake.h"

#include "api/inflate.h"
#include "smtp/block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The way of a body from the socket to who reads it. */

#define PIECE (32 * 1024)               /* inflated at a time, on the stack */
#define FIRST_CAP 4096

int intake_init(struct intake *t, const struct intake_params *p)
{
    *t = (struct intake){.kind = p->kind, .max = p->max, .expected = p->packed ? 0 : p->length};
    if (p->packed && !(t->inflater = inflater_new()))
        return -1;
    if (p->kind == INTAKE_FORM || p->kind == INTAKE_URLENCODED) {
        t->form = form_new(p->content_type);
        if (t->form)
            form_expect(t->form, t->expected);
        return t->form ? 0 : -1;
    }
    return 0;
}

static enum outcome_code refuse(struct intake *t, enum outcome_code code, const char *detail)
{
    t->detail = detail;
    return code;
}

static enum outcome_code refuse_form(struct intake *t)
{
    if (t->form->no_memory)
        return refuse(t, OUTCOME_OVERLOADED, "There is no memory for the body.");
    snprintf(t->form_detail, sizeof(t->form_detail), "The form cannot be read: %s.", t->form->error);
    return refuse(t, OUTCOME_INVALID_REQUEST, t->form_detail);
}

/* A known length is allocated once; else the block doubles. */
static bool make_room(struct intake *t, size_t n)
{
    size_t need = t->n + n, cap = t->cap ? t->cap * 2 : t->expected ? t->expected : FIRST_CAP;
    char *p;

    if (need <= t->cap)
        return true;
    cap = cap < need ? need : cap > t->max ? t->max : cap;
    p = block_resize(t->data, t->n, cap);
    if (!p)
        return false;
    t->data = p;
    t->cap = cap;
    return true;
}

static enum outcome_code take(struct intake *t, struct bytes_view v)
{
    if (v.n > t->max - t->total)
        return refuse(t, OUTCOME_PAYLOAD_TOO_LARGE, t->inflater ? "The body is larger than max_body once inflated."
                                                                : "The body is larger than max_body.");
    t->total += v.n;
    if (t->form)
        return form_feed(t->form, v) == 0 ? OUTCOME_SENT : refuse_form(t);
    if (!v.n)
        return OUTCOME_SENT;            /* a packed piece that made nothing yet */
    if (!make_room(t, v.n))
        return refuse(t, OUTCOME_OVERLOADED, "There is no memory for the body.");
    memcpy(t->data + t->n, v.p, v.n);
    t->n += v.n;
    return OUTCOME_SENT;
}

enum outcome_code intake_feed(struct intake *t, struct bytes_view *in, size_t most)
{
    char piece[PIECE];
    size_t made = 0, n;
    enum outcome_code code;

    if (!t->inflater) {
        struct bytes_view all = *in;
        *in = bytes_view(in->p + in->n, 0);
        return take(t, all);
    }
    do {
        if (inflater_read(t->inflater, in, piece, sizeof(piece), &n) == INFLATE_BROKEN)
            return refuse(t, OUTCOME_INVALID_REQUEST, "The body is not gzip, although its Content-Encoding says so.");
        code = take(t, bytes_view(piece, n));
        made += n;
    } while (code == OUTCOME_SENT && (in->n || n == sizeof(piece)) && made < most);
    return code;
}

enum outcome_code intake_end(struct intake *t)
{
    if (t->inflater && !inflater_is_whole(t->inflater))
        return refuse(t, OUTCOME_INVALID_REQUEST, "The gzip body ends too early.");
    if (t->form && form_end(t->form) != 0)
        return refuse_form(t);
    return OUTCOME_SENT;
}

size_t intake_held(const struct intake *t)
{
    return t->form ? form_held(t->form) : t->cap;
}

char *intake_take(struct intake *t, size_t *n_out)
{
    char *p = t->data;

    *n_out = t->n;
    t->data = NULL;
    t->n = t->cap = 0;
    return p;
}

void intake_deinit(struct intake *t)
{
    inflater_free(t->inflater);
    form_free(t->form);
    block_free(t->data);
    *t = (struct intake){0};
}
