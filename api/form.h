#ifndef API_FORM_H
#define API_FORM_H
/* Forms as they come in: multipart/form-data (RFC 7578, RFC 2046 §5.1) and application/x-www-form-urlencoded, read in
 * pieces of any size; the result does not depend on where the pieces are cut. A part's octets are copied once, into a
 * buffer of their own; nothing is decoded but %XX and "+" of urlencoded. Pure; linear in the input. */
#include "smtp/bytes.h"

#define FORM_PARTS_MAX 2000
#define FORM_HEAD_MAX (16 * 1024)       /* of one part's header */
#define FORM_FIELDS_MAX 32              /* in one part's header */
#define FORM_NAME_MAX 256
#define FORM_BOUNDARY_MAX 70            /* RFC 2046 §5.1.1 */
#define FORM_PADDING_MAX 64             /* blanks behind a delimiter */
#define FORM_MARGIN_MAX (64 * 1024)     /* the preamble, and again the epilogue; neither is kept */

struct form_part {
    char *name;                         /* UTF-8 without controls, NUL-terminated; neither NULL nor empty */
    /* NULL: not a file; "": a file input left empty. UTF-8 without controls. filename* (RFC 5987, though RFC 7578 §4.2
     * forbids it) wins over filename; path parts that some browsers send are cut off at the last "/" or "\" */
    char *filename;
    char *content_type;                 /* as it came (UTF-8 without controls but TAB, maybe empty), or NULL */
    char *data;                         /* NUL-terminated behind its end; may hold NULs of its own; NULL once taken */
    size_t n;
};

struct form {
    struct form_part *parts;            /* complete ones only; NULL when there is none */
    size_t n_parts;
    char error[160];                    /* why it was refused: a sentence fragment, ASCII; "" while it is fine */
    bool no_memory;
    struct form_reader *reader;         /* the reader's business */
};

/* `content_type`: the whole header value. NULL: no memory. A type that is no form's, or a boundary that is missing,
 * empty, longer than FORM_BOUNDARY_MAX or not one has the error set, and the form takes nothing. */
struct form *form_new(const char *content_type) MUST_CHECK;
/* How many octets the form has, when it is known: a large part is then given its room at once. */
void form_expect(struct form *f, size_t n);
/* 0, or -1: error (or no_memory) says why; what follows is not wanted. */
int form_feed(struct form *f, struct bytes_view in) MUST_CHECK;
/* The input is at its end; called once. -1: refused, or not whole ("the form ends in the middle of a part"). */
int form_end(struct form *f) MUST_CHECK;
/* Octets of memory held for parts, to be counted by whoever limits them; data that was taken stays counted. */
size_t form_held(const struct form *f);
char *form_take_data(struct form_part *p);      /* the caller frees it, by block_free; p->data is NULL then */
void form_free(struct form *f);
#endif
