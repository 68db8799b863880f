#ifndef API_JSON_TREE_H
#define API_JSON_TREE_H
/* cJSON's tree of a text that json_text has checked. Long strings stay in the text and are decoded there: the tree has
 * a mark in their place, so that a body of 30 MB costs its memory once, and cJSON reads only what is between. Only
 * json_*.c includes this. */
#include "api/json_text.h"

#include <cjson/cJSON.h>

struct json_tree {
    cJSON *root;
    struct bytes_view *longs;           /* decoded, NUL-terminated, lent from the text */
    size_t n_longs;
    bool is_large;                      /* it leaves much of malloc's memory behind, which goes back to the kernel */
    char *aside;                        /* the block with the long strings when it is not the text; or NULL */
};

/* Changes `text`: defects become U+FFFD or "?". What cJSON reads is a copy of what is between the long strings, which
 * are decoded where they stand; or, when they are the lesser part, they are copied, and cJSON reads what then remains
 * in the text. So beside the text and the tree there is never more than half the text. -1: no memory. */
int json_tree_build(char *text, size_t n, const struct json_text *checked, struct json_tree *out) MUST_CHECK;
/* The block that the kept strings stand in, which the caller frees: `text`, or another one, and `text` is freed. */
char *json_tree_take_text(struct json_tree *t, char *text) MUST_CHECK;
/* An object to which json_tree_add_* and cJSON's own calls add: a request that did not come as JSON. -1: no memory */
int json_tree_begin(struct json_tree *out) MUST_CHECK;
/* A string item, whose text stays where it is (NUL-terminated) when it is long. NULL: no memory. */
cJSON *json_tree_new_string(struct json_tree *t, struct bytes_view v) MUST_CHECK;
void json_tree_deinit(struct json_tree *t);

/* The text of a string item. Kept: it lives as long as the text that the tree was built from; else as long as the
 * tree. */
struct bytes_view json_tree_string(const struct json_tree *t, const cJSON *item, bool *kept_out);
#endif
