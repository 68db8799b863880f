#include "api/form.h"
#include "api/json_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A form's fields as the object that JSON would have been, so that they are read by the same rows; files go to the mail
 * as they are. */

enum kind {
    TEXT,
    LIST,                               /* a name that comes several times */
    STRUCTURE,                          /* an object or array, written as JSON */
    TRUTH,
    FILES,                              /* parts of other names hold them */
};

static const struct row {
    const char *name;
    enum kind kind;
} rows[] = {
    {"to", LIST}, {"cc", LIST}, {"bcc", LIST}, {"reply_to", LIST}, {"tags", LIST},
    {"headers", STRUCTURE}, {"list_unsubscribe", STRUCTURE}, {"metadata", STRUCTURE}, {"envelope", STRUCTURE},
    {"dsn", STRUCTURE}, {"calendar", STRUCTURE},
    {"require_tls", TRUTH}, {"diagnose", TRUTH}, {"async", TRUTH},
    {"attachments", FILES},
};

static enum kind kind_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, name) == 0)
            return rows[i].kind;
    return TEXT;
}

struct form_fields {
    struct json_reader *r;
    struct json_tree *tree;
};

static void add_item(struct form_fields *f, const char *name, cJSON *item)
{
    if (item && cJSON_AddItemToObject(f->tree->root, name, item))
        return;
    cJSON_Delete(item);
    f->r->no_memory = true;
}

/* NULL with a problem noted. */
static cJSON *parse_structure(struct form_fields *f, const struct form_part *p, const char *pointer)
{
    struct json_text t;
    cJSON *item = NULL;
    int rc = json_text_check(bytes_view(p->data, p->n), f->r->params->max_json_values - f->r->n_values, &t);

    f->r->n_values += t.has_too_many ? 0 : t.n_values;
    if (t.no_memory || t.has_too_many)
        json_mail_note_refusal(f->r, &t);
    else if (rc != 0)
        json_reader_problem(f->r, pointer, "invalid_value", "this field is written as JSON: %s", t.error);
    else if (t.n_defects)
        json_reader_problem(f->r, pointer, "invalid_value", "the JSON of this field has a %s",
                            t.defects[0].kind == JSON_DUPLICATE_KEY ? "name twice" : "character that is not allowed");
    else if (!(item = cJSON_ParseWithLength(p->data, p->n)))
        f->r->no_memory = true;
    json_text_deinit(&t);
    return item;
}

/* curl -F calendar=@invite.ics: the content alone, whose METHOD line tells the rest. */
static cJSON *wrap_calendar(struct form_fields *f, struct bytes_view v)
{
    cJSON *object = cJSON_CreateObject(), *content = json_tree_new_string(f->tree, v);

    if (object && content && cJSON_AddItemToObject(object, "content", content))
        return object;
    cJSON_Delete(content);
    cJSON_Delete(object);
    return NULL;
}

static void add_structure(struct form_fields *f, const struct form_part *p, const char *pointer)
{
    struct bytes_view v = bytes_view(p->data, p->n);
    size_t blank = strspn(p->data, " \t\r\n");

    if (strcmp(p->name, "calendar") == 0 && bytes_starts_nocase(v, "BEGIN:")) {
        add_item(f, p->name, wrap_calendar(f, v));
        return;
    }
    if (p->data[blank] == '{' || p->data[blank] == '[') {
        cJSON *item = parse_structure(f, p, pointer);
        if (item)
            add_item(f, p->name, item);
        return;
    }
    add_item(f, p->name, json_tree_new_string(f->tree, v));
}

static void add_to_list(struct form_fields *f, const struct form_part *p)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(f->tree->root, p->name), *item;

    if (!list) {
        list = cJSON_CreateArray();
        add_item(f, p->name, list);
        if (f->r->no_memory)
            return;
    }
    item = json_tree_new_string(f->tree, bytes_view(p->data, p->n));
    if (item && cJSON_AddItemToArray(list, item))
        return;
    cJSON_Delete(item);
    f->r->no_memory = true;
}

static void add_truth(struct form_fields *f, const struct form_part *p)
{
    bool yes = strcmp(p->data, "true") == 0 || strcmp(p->data, "1") == 0 || strcmp(p->data, "on") == 0;
    bool no = strcmp(p->data, "false") == 0 || strcmp(p->data, "0") == 0;

    add_item(f, p->name, yes || no ? cJSON_CreateBool(yes) : cJSON_CreateString(p->data));
}

static void add_field(struct form_fields *f, const struct form_part *p)
{
    enum kind kind = kind_of(p->name);
    char pointer[FORM_NAME_MAX + 2];

    snprintf(pointer, sizeof(pointer), "/%s", p->name);
    if (memchr(p->data, '\0', p->n)) {
        json_reader_problem(f->r, pointer, "control_character", "the character U+0000 is not allowed here");
        return;
    }
    if (!bytes_is_utf8(bytes_view(p->data, p->n))) {
        json_reader_problem(f->r, pointer, "invalid_unicode", "not UTF-8");
        return;
    }
    if (kind != LIST && cJSON_GetObjectItemCaseSensitive(f->tree->root, p->name)) {
        json_reader_problem(f->r, pointer, "duplicate_key", "this field occurs twice");
        return;
    }
    switch (kind) {
    case TEXT:
        add_item(f, p->name, json_tree_new_string(f->tree, bytes_view(p->data, p->n)));
        return;
    case LIST:
        add_to_list(f, p);
        return;
    case STRUCTURE:
        add_structure(f, p, pointer);
        return;
    case TRUTH:
        add_truth(f, p);
        return;
    case FILES:
        json_reader_problem(f->r, pointer, "invalid_value",
                            "in a form, files are parts named \"attachment\" or \"inline\"");
        return;
    }
    unreachable("a kind of field");
}

/* ---- files ---- */

static bool is_file(const struct form_part *p)
{
    return strcmp(p->name, "attachment") == 0 || strcmp(p->name, "inline") == 0;
}

/* Browsers send this for a file input that nobody filled. */
static bool is_nothing(const struct form_part *p)
{
    return p->filename && !p->filename[0] && !p->n;
}

static bool is_plain_text(struct json_reader *r, const char *s, const char *pointer)
{
    struct bytes_view v = bytes_view_str(s);

    if (!bytes_is_utf8(v))
        json_reader_problem(r, pointer, "invalid_unicode", "not UTF-8");
    else if (json_reader_find_control(v, false))
        json_reader_problem(r, pointer, "control_character", "the character U+%04X is not allowed here",
                            json_reader_find_control(v, false));
    else
        return true;
    return false;
}

/* Takes the part's data. An inline file is known to the html by its name ("cid:logo.png"). */
static void add_file(struct json_reader *r, struct form_part *p, size_t i)
{
    struct mail *m = r->out->mail;
    struct mail_attachment a = {.is_inline = strcmp(p->name, "inline") == 0, .content = {p->data, p->n}};
    char pointer[FORM_NAME_MAX + 32];
    char *data = form_take_data(p);

    if (mail_keep(m, data) != 0) {
        r->no_memory = true;
        return;
    }
    snprintf(pointer, sizeof(pointer), "/%s/%zu", p->name, i);
    if (!p->filename) {
        json_reader_problem(r, pointer, "required", "a file needs a filename");
    } else if (is_plain_text(r, p->filename, pointer)) {
        json_check_filename(r, p->filename, pointer);
        a.filename = strdup(p->filename);
        r->no_memory |= !a.filename;
        if (a.is_inline)
            a.content_id = json_check_content_id(r, p->filename, pointer);
    }
    if (p->content_type && !bytes_equal_nocase(bytes_view_str(p->content_type),
                                               bytes_view_str("application/octet-stream"))) {
        json_check_content_type(r, p->content_type, pointer);
        a.content_type = strdup(p->content_type);
        r->no_memory |= !a.content_type;
    }
    if (mail_add_attachment(m, a) != 0)
        r->no_memory = true;
}

static void add_files(struct json_reader *r, struct form *f)
{
    size_t n[2] = {0};

    for (size_t i = 0; i < f->n_parts; i++) {
        struct form_part *p = &f->parts[i];
        bool is_inline = strcmp(p->name, "inline") == 0;
        if (!is_file(p) || is_nothing(p))
            continue;
        if (n[0] + n[1] == JSON_ATTACHMENTS_MAX) {
            json_reader_problem(r, "/attachment", "too_many", "more than %d attachments", JSON_ATTACHMENTS_MAX);
            return;
        }
        add_file(r, p, n[is_inline]++);
    }
}

/* The mail's contents may point into any long field. */
static void keep_fields(struct json_reader *r, struct form *f)
{
    for (size_t i = 0; i < f->n_parts; i++)
        if (f->parts[i].data && f->parts[i].n >= JSON_TEXT_LONG && mail_keep(r->out->mail,
                                                                            form_take_data(&f->parts[i])) != 0)
            r->no_memory = true;
}

static bool is_charset_note(const struct form_part *p)          /* RFC 7578 §4.6 */
{
    return strcmp(p->name, "_charset_") == 0;
}

void json_mail_read_form(struct form *form, const struct json_mail_params *p, struct json_mail_result *out)
{
    struct json_reader r = {.params = p, .out = out, .prefix = ""};
    struct json_tree tree;
    struct form_fields f = {&r, &tree};

    *out = (struct json_mail_result){.mail = mail_new()};
    bytes_buf_init(&r.not_yet, 1024);
    if (!out->mail || json_tree_begin(&tree) != 0) {
        r.no_memory = true;
    } else {
        for (size_t i = 0; i < form->n_parts; i++)
            if (!is_file(&form->parts[i]) && !is_charset_note(&form->parts[i]))
                add_field(&f, &form->parts[i]);
        add_files(&r, form);
        r.tree = &tree;
        json_mail_read_item(&r, tree.root);
        json_tree_deinit(&tree);
        keep_fields(&r, form);
    }
    json_mail_decide(&r);
    bytes_buf_deinit(&r.not_yet);
}
