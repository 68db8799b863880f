#ifndef API_INTAKE_H
#define API_INTAKE_H
/* Where a request's body goes as it arrives: inflated when it is packed, then kept as one block or read as a form. No
 * thread of its own; one thread at a time. */
#include "api/form.h"
#include "smtp/outcome.h"

enum intake_kind { INTAKE_JSON, INTAKE_RAW, INTAKE_FORM, INTAKE_URLENCODED };

struct inflater;

struct intake {
    enum intake_kind kind;
    struct inflater *inflater;          /* NULL: not packed */
    struct form *form;                  /* NULL: kept as `data` */
    char *data;
    size_t n, cap, expected;
    size_t max, total;                  /* octets after inflation: most, so far */
    const char *detail;                 /* of what intake_feed or _end refused: a sentence, lent or static */
    char form_detail[200];
};

struct intake_params {
    enum intake_kind kind;
    bool packed;                        /* Content-Encoding: gzip */
    const char *content_type;           /* the whole value: a form's boundary */
    size_t length;                      /* Content-Length, 0 when unknown */
    size_t max;                         /* octets after inflation */
};

/* -1: no memory; deinit all the same. */
int intake_init(struct intake *t, const struct intake_params *p) MUST_CHECK;
/* Reads from *in and moves it on; stops after about `most` octets of inflated body, for who must not take long.
 * OUTCOME_SENT: fine. */
enum outcome_code intake_feed(struct intake *t, struct bytes_view *in, size_t most) MUST_CHECK;
/* The body is at its end. OUTCOME_SENT: it is whole. */
enum outcome_code intake_end(struct intake *t) MUST_CHECK;
size_t intake_held(const struct intake *t);                     /* octets of memory */
/* The block (smtp/block.h); NULL when it is empty. */
char *intake_take(struct intake *t, size_t *n_out);
void intake_deinit(struct intake *t);
#endif
