#ifndef API_FORM_READER_H
#define API_FORM_READER_H
/* What the files of the form reader share. Only form*.c includes this. */
#include "api/form.h"

#define FORM_SHOWN_MAX 44

enum form_state { FORM_PREAMBLE, FORM_HEAD, FORM_DATA, FORM_EPILOGUE };

struct form_multipart {
    enum form_state state;
    char delimiter[4 + FORM_BOUNDARY_MAX];      /* CRLF "--" boundary */
    size_t delimiter_n;
    /* Octets that may be a delimiter and what must stand behind it: kept back until it is known what they are. */
    char hold[4 + FORM_BOUNDARY_MAX + 2 + FORM_PADDING_MAX + 2];
    size_t hold_n;
    size_t hold_virtual;                        /* so many of them never came: see begin_line() */
    size_t margin;                              /* octets of the preamble or epilogue */
    struct bytes_buf head;
    size_t line;                                /* where the head's current line begins */
};

struct form_urlencoded {
    bool in_value, begun;                       /* begun: the pair is not empty */
    char escape[2];                             /* the "%" and digit of an escape that is not whole */
    size_t escape_n;
    struct bytes_buf name;
};

struct form_reader {
    bool is_multipart;
    struct form_multipart multipart;
    struct form_urlencoded urlencoded;
    struct form_part part;                      /* the one being read; its data are in: */
    struct bytes_buf data;
    size_t expected, taken;                     /* octets of the whole form, when it is known; fed so far */
    size_t parts_cap;
    size_t held;                                /* by the complete parts */
};

/* Both set the error once and return -1. The second says which part is meant. */
PRINTF_LIKE(2, 3) int form_refuse(struct form *f, const char *fmt, ...);
PRINTF_LIKE(2, 3) int form_refuse_part(struct form *f, const char *fmt, ...);
int form_no_memory(struct form *f);
/* Octets of the input as an error may show them: ASCII, cut. Returns out. */
const char *form_shown(struct bytes_view v, char out[FORM_SHOWN_MAX]);
/* Text that may stand in a name: UTF-8 without controls. */
bool form_is_plain(struct bytes_view v);
/* The value of the part at hand grows; and it is complete. */
int form_part_add(struct form *f, const char *p, size_t n) MUST_CHECK;
int form_part_done(struct form *f) MUST_CHECK;
int form_part_begin(struct form *f) MUST_CHECK;         /* refuses one part too many */

struct form_param {
    struct bytes_view name;
    struct bytes_view value;                    /* what stands between the quotes, not yet unquoted */
    bool is_quoted;
};
struct bytes_view form_param_trim(struct bytes_view v);               /* blanks at both ends */
struct bytes_view form_param_token(struct bytes_view *rest);     /* may be empty */
/* Takes the next "; name=value" off `rest`. 1: got one; 0: there is none; -1: broken, and why. In a value without
 * quotes the octets of `beside` may stand beside those of a token. */
int form_param_next(struct bytes_view *rest, const char *beside, struct form_param *out, const char **why_out)
    MUST_CHECK;
/* The value without its quoting; the caller frees it. NULL: no memory. */
char *form_param_text(const struct form_param *p) MUST_CHECK;

/* A part's head without the empty line at its end: sets name, filename and content_type of the part at hand. */
int form_head_read(struct form *f, struct bytes_view head) MUST_CHECK;

int form_multipart_init(struct form *f, struct bytes_view params) MUST_CHECK;
int form_multipart_feed(struct form *f, struct bytes_view in) MUST_CHECK;
int form_multipart_end(struct form *f) MUST_CHECK;
void form_multipart_deinit(struct form_multipart *m);

void form_urlencoded_init(struct form_urlencoded *u);
int form_urlencoded_feed(struct form *f, struct bytes_view in) MUST_CHECK;
int form_urlencoded_end(struct form *f) MUST_CHECK;
void form_urlencoded_deinit(struct form_urlencoded *u);
#endif
