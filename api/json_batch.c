#include "api/json_reader.h"
#include "smtp/block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A batch: an array of send requests, each judged by itself. */

#define PREFIX_MAX 8

/* The item that a pointer leads into; n_items when it is the array itself. */
static size_t item_of(const struct json_batch *b, const char *pointer)
{
    char *end;
    unsigned long i;

    if (pointer[0] != '/')
        return b->n_items;
    i = strtoul(pointer + 1, &end, 10);
    return end > pointer + 1 && (*end == '/' || !*end) && i < b->n_items ? i : b->n_items;
}

static void read_item(struct json_batch *b, size_t i, const cJSON *item, const struct json_tree *tree,
                      const struct json_text *t, const struct json_mail_params *p)
{
    char prefix[PREFIX_MAX];
    struct json_reader r = {.params = p, .out = &b->items[i], .tree = tree, .prefix = ""};

    *r.out = (struct json_mail_result){.mail = mail_new()};
    bytes_buf_init(&r.not_yet, 1024);
    for (size_t k = 0; k < t->n_defects; k++)
        if (item_of(b, t->defects[k].pointer) == i)
            json_mail_add_defect(&r, &t->defects[k]);
    snprintf(prefix, sizeof(prefix), "/%zu", i);
    r.prefix = prefix;
    if (r.out->mail)
        json_mail_read_item(&r, item);
    else
        r.no_memory = true;
    json_mail_decide(&r);
    r.out->kept_end = r.out->mail ? r.kept_end : NULL;
    b->n_invalid += r.out->code != OUTCOME_SENT;
    bytes_buf_deinit(&r.not_yet);
}

static void read_array(struct json_batch *b, struct json_reader *whole, const struct json_tree *tree,
                       const struct json_text *t)
{
    cJSON *item;
    size_t n = (size_t)cJSON_GetArraySize(tree->root), i = 0;

    if (!cJSON_IsArray(tree->root))
        json_reader_wrong_type(whole, "", "an array of e-mails", tree->root);
    else if (n == 0)
        json_reader_problem(whole, "", "required", "a batch has at least one e-mail");
    else if (n > JSON_BATCH_MAX)
        json_reader_problem(whole, "", "too_many", "%zu e-mails, %d are allowed", n, JSON_BATCH_MAX);
    if (whole->out->n_problems)
        return;
    b->items = calloc(n, sizeof(*b->items));
    if (!b->items) {
        whole->no_memory = true;
        return;
    }
    b->n_items = n;
    /* Each leaves the tree once it is read, so that the mails that are made can have its memory. */
    while ((item = tree->root->child)) {
        cJSON_DetachItemViaPointer(tree->root, item);
        read_item(b, i++, item, tree, t, whole->params);
        cJSON_Delete(item);
    }
    for (i = 0; i < n && !b->items[i].kept_end; i++)
        ;
    if (i == n) {
        block_free(b->body);
        b->body = NULL;
    }
}

void json_batch_read(char *body, size_t n, const struct json_mail_params *p, struct json_batch *out)
{
    struct json_reader whole = {.params = p, .out = &out->whole, .prefix = ""};
    struct json_tree tree;
    struct json_text t;

    *out = (struct json_batch){.body = body};
    if (json_text_check(bytes_view(body ? body : "", n), p->max_json_values, &t) != 0) {
        json_mail_note_refusal(&whole, &t);
    } else if (t.has_more) {
        for (size_t i = 0; i < t.n_defects; i++)
            json_mail_add_defect(&whole, &t.defects[i]);
    } else if (json_tree_build(body, n, &t, &tree) != 0) {
        whole.no_memory = true;
    } else {
        out->body = json_tree_take_text(&tree, body);
        read_array(out, &whole, &tree, &t);
        json_tree_deinit(&tree);
    }
    json_text_deinit(&t);
    if (out->whole.code != OUTCOME_INVALID_JSON)
        json_mail_decide(&whole);
}

/* These say more than that an item is wrong. */
static bool is_worse(enum outcome_code code)
{
    return code == OUTCOME_NOT_IMPLEMENTED || code == OUTCOME_INTERNAL_ERROR || code == OUTCOME_FORBIDDEN ||
           code == OUTCOME_SENDER_NOT_ALLOWED || code == OUTCOME_RECIPIENT_NOT_ALLOWED;
}

/* The worst code of the items is the request's. */
void json_batch_refuse(struct json_batch *b)
{
    struct json_mail_result *w = &b->whole;
    char detail[160];

    w->code = OUTCOME_VALIDATION_FAILED;
    w->problems = calloc(JSON_PROBLEMS_MAX, sizeof(*w->problems));
    for (size_t i = 0; i < b->n_items; i++) {
        struct json_mail_result *item = &b->items[i];
        if (is_worse(item->code))
            w->code = item->code;
        for (size_t k = 0; w->problems && k < item->n_problems && w->n_problems < JSON_PROBLEMS_MAX; k++) {
            w->problems[w->n_problems++] = item->problems[k];
            item->problems[k] = (struct json_problem){0};
        }
    }
    snprintf(detail, sizeof(detail), "%zu of %zu e-mails have problems, so none was sent. X-Batch-Validation: "
             "permissive sends the others.", b->n_invalid, b->n_items);
    free(w->detail);
    w->detail = strdup(detail);
}

void json_batch_deinit(struct json_batch *b)
{
    json_mail_result_deinit(&b->whole);
    for (size_t i = 0; i < b->n_items; i++)
        json_mail_result_deinit(&b->items[i]);
    free(b->items);
    block_free(b->body);
    *b = (struct json_batch){0};
}
