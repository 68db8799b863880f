#ifndef API_JSON_READER_H
#define API_JSON_READER_H
/* What the readers of fields share: where they are, and the problems found so far. Only json_*.c includes this.
 * Pointers are those within one mail's object; a batch's prefix is put before them when a problem is noted. */
#include "api/json_mail.h"
#include "api/json_tree.h"

#define JSON_POINTER_MAX 200            /* of the pointers made here; a name of the caller's may be longer */
#define JSON_ATTACHMENTS_MAX 500
#define JSON_FILENAME_MAX 255           /* octets */

struct json_reader {
    const struct json_mail_params *params;
    struct json_mail_result *out;
    const struct json_tree *tree;
    const char *prefix;                 /* "", or "/3" */
    struct bytes_buf not_yet;           /* names of fields of the contract that are not built */
    size_t n_values;                    /* JSON values read so far, of a form's fields */
    bool has_too_many_values;
    bool no_memory;
    const char *kept_end;               /* the mail points into the body, up to here; NULL: it does not */
};

PRINTF_LIKE(4, 5)
void json_reader_problem(struct json_reader *r, const char *pointer, const char *code, const char *fmt, ...);
void json_reader_wrong_type(struct json_reader *r, const char *pointer, const char *want, const cJSON *item);
/* U+0000–001F, 007F–009F and the two line separators (multi_line: only DEL and the C0 controls but TAB, CR, LF); 0 when
 * there is none, else the code point. The text is UTF-8. */
unsigned json_reader_find_control(struct bytes_view v, bool multi_line);
/* A string without controls but (multi_line) TAB, CR and LF; p NULL with a problem noted otherwise. Lent from the tree
 * or the text. */
struct bytes_view json_reader_string(struct json_reader *r, const cJSON *item, const char *pointer, bool multi_line);
/* The same; kept: it stands in the body, where it may be changed. */
struct bytes_view json_reader_text(struct json_reader *r, const cJSON *item, const char *pointer, bool multi_line,
                                   bool *kept_out);
/* The same, as a copy in *out (freed first) of at most `most` octets. */
void json_reader_copy(struct json_reader *r, const cJSON *item, const char *pointer, size_t most, char **out);
/* Sets *out to a content that stands in the body (kept), or to a copy of it. */
void json_reader_keep(struct json_reader *r, struct bytes_view v, bool kept, struct bytes_view *out);
/* A content: in the body, or kept by the mail. */
void json_reader_content(struct json_reader *r, const cJSON *item, const char *pointer, struct bytes_view *out);
bool json_reader_bool(struct json_reader *r, const cJSON *item, const char *pointer);
bool json_reader_is_object(struct json_reader *r, const cJSON *item, const char *pointer);

/* Each item of an array, with its pointer; more than `most` are a problem ("more than 50 tags"). */
void json_reader_each(struct json_reader *r, const cJSON *array, const char *pointer, size_t most, const char *what,
                      void (*read)(struct json_reader *r, const cJSON *item, const char *pointer));

/* A member of an object, by its name: one row each. A null is skipped, another name is a problem with did-you-mean. */
struct json_member {
    const char *name;
    const cJSON *item;                  /* out: NULL when absent or null */
};
void json_reader_members(struct json_reader *r, const cJSON *object, const char *pointer, struct json_member *rows,
                         size_t n_rows);
/* "Did you mean": the nearest of the names, or NULL. */
const char *json_reader_nearest(const char *name, const char *(*nth)(size_t i, const void *ctx), size_t n,
                                const void *ctx);
/* For `name` in the object at `pointer`, escaped as RFC 6901 has it. */
void json_reader_unknown(struct json_reader *r, const char *pointer, const char *name, const char *nearest);

/* The readers of single fields, by file. */
void json_read_address(struct json_reader *r, const cJSON *item, const char *pointer, struct mail_address *out);
void json_read_addresses(struct json_reader *r, const cJSON *item, const char *pointer,
                         struct mail_address_list *list);
void json_read_envelope(struct json_reader *r, const cJSON *item, const char *pointer);
void json_read_headers(struct json_reader *r, const cJSON *item, const char *pointer);
void json_read_list_unsubscribe(struct json_reader *r, const cJSON *item, const char *pointer);
void json_read_attachments(struct json_reader *r, const cJSON *item, const char *pointer);
void json_read_calendar(struct json_reader *r, const cJSON *item, const char *pointer);
void json_read_dsn(struct json_reader *r, const cJSON *item, const char *pointer);
void json_read_tags(struct json_reader *r, const cJSON *item, const char *pointer);
void json_read_metadata(struct json_reader *r, const cJSON *item, const char *pointer);

/* For attachments that come as files. Each notes its problem. */
void json_check_filename(struct json_reader *r, const char *name, const char *pointer);
void json_check_content_type(struct json_reader *r, const char *type, const char *pointer);
/* A content id without its angle brackets, as a copy; NULL with a problem noted. */
char *json_check_content_id(struct json_reader *r, const char *id, const char *pointer);

/* Reads one mail's object into r->out, and decides its code. Not for what json_text found. */
void json_mail_read_item(struct json_reader *r, const cJSON *item);
void json_mail_set_on_temporary_failure(struct json_reader *r, struct bytes_view word);  /* notes a problem */
void json_mail_add_defect(struct json_reader *r, const struct json_defect *d);
/* Notes why json_text_check said -1: INVALID_JSON is set with its detail, the rest is json_mail_decide's. */
void json_mail_note_refusal(struct json_reader *r, const struct json_text *t);
void json_mail_decide(struct json_reader *r);
#endif
