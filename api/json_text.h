#ifndef API_JSON_TEXT_H
#define API_JSON_TEXT_H
/* The strict pass over raw JSON text before cJSON, which takes much that is not JSON (RFC 8259, RFC 7493). One pass, no
 * recursion. */
#include "smtp/bytes.h"

#define JSON_TEXT_DEPTH_MAX 32          /* arrays and objects in one another */
#define JSON_TEXT_DEFECTS_MAX 100
#define JSON_TEXT_POINTER_MAX 1024      /* octets; a longer one ends at the innermost value that it can name */

/* What is JSON by its grammar, and yet not what anybody meant: reported with the place in the document. */
enum json_defect_kind { JSON_DUPLICATE_KEY, JSON_NUL, JSON_LONE_SURROGATE, JSON_INVALID_UTF8 };

struct json_defect {
    enum json_defect_kind kind;
    size_t offset;                      /* of the key, of the six octets "\uXXXX", or of the broken octet */
    bool in_key;
    /* JSON Pointer (RFC 6901) to the value, or to one around it (JSON_TEXT_POINTER_MAX); always valid UTF-8 */
    char *pointer;
};

/* A string value of at least JSON_TEXT_LONG octets as it stands in the text. */
#define JSON_TEXT_LONG 512
struct json_long {
    size_t offset, n;                   /* between its quotes */
    bool escaped;                       /* there is a backslash in it */
};

struct json_text {
    char error[160]; /* "line 1, column 31: expected a name in quotes"; empty when the text is JSON */
    struct json_defect *defects;
    size_t n_defects;
    bool has_more;                      /* defects that found no room: the text is not to be read any further */
    struct json_long *longs;            /* in the order of the text */
    size_t n_longs;
    size_t n_values;                    /* strings, numbers, words, arrays and objects; names do not count */
    bool has_too_many;                  /* values: error says so, though the text may be JSON */
    bool no_memory;
};

extern const char json_text_escapes[256];       /* what a letter behind a backslash means; 0: nothing, or 'u' */

/* 0: the grammar is right (there may be defects). -1: error says why not, or there is no memory. Reads no further than
 * `max_values` values: each would become some 100 octets of a tree, however short it is. */
int json_text_check(struct bytes_view json, size_t max_values, struct json_text *out) MUST_CHECK;
void json_text_deinit(struct json_text *t);
void json_text_add_pointer_step(struct bytes_buf *pointer, struct bytes_view name);     /* "/" and the name, escaped */
#endif
