#include "api/json_diagnose.h"

#include "api/json_reader.h"
#include "smtp/block.h"

#include <stdlib.h>
#include <string.h>

/* Reads what a diagnosis is to look at besides the usual. */

static void read_recipient(struct json_reader *r, const cJSON *item)
{
    struct mail_address a = {0};

    json_read_address(r, item, "/to", &a);
    if (a.email && mail_address_list_add(&r->out->mail->to, a) != 0)
        r->no_memory = true;
}

static void read_object(struct json_reader *r, const cJSON *root, struct json_diagnose *wish)
{
    struct json_member rows[] = {{"to", NULL}, {"from", NULL}, {"send", NULL}, {"tls_versions", NULL},
                                 {"all_ports", NULL}};

    if (!json_reader_is_object(r, root, ""))
        return;
    json_reader_members(r, root, "", rows, ARRAY_LEN(rows));
    if (rows[0].item)
        read_recipient(r, rows[0].item);
    if (rows[1].item)
        json_read_address(r, rows[1].item, "/from", &r->out->mail->from);
    wish->send = rows[2].item && json_reader_bool(r, rows[2].item, "/send");
    wish->tls_versions = rows[3].item && json_reader_bool(r, rows[3].item, "/tls_versions");
    wish->all_ports = rows[4].item && json_reader_bool(r, rows[4].item, "/all_ports");
    if ((wish->send || rows[1].item) && !rows[0].item)
        json_reader_problem(r, "/to", "required", "%s needs a recipient", wish->send ? "send" : "from");
}

static void read_checked(struct json_reader *r, char **body, size_t n, const struct json_text *t,
                         struct json_diagnose *wish)
{
    struct json_tree tree;

    for (size_t i = 0; i < t->n_defects; i++)
        json_mail_add_defect(r, &t->defects[i]);
    if (t->has_more)
        return;                         /* what is not mended must not be read */
    if (json_tree_build(*body, n, t, &tree) == 0) {
        *body = json_tree_take_text(&tree, *body);
        r->tree = &tree;
        read_object(r, tree.root, wish);
        json_tree_deinit(&tree);
    } else if (!t->n_defects) {
        r->no_memory = true;
    }
}

void json_diagnose_read(char *body, size_t n, const struct json_mail_params *p, struct json_diagnose *wish,
                        struct json_mail_result *out)
{
    struct json_reader r = {.params = p, .out = out, .prefix = ""};
    struct json_text t;

    *wish = (struct json_diagnose){.send = false};
    *out = (struct json_mail_result){.code = OUTCOME_SENT, .mail = mail_new()};
    if (!n) {
        block_free(body);
        out->code = out->mail ? OUTCOME_SENT : OUTCOME_INTERNAL_ERROR;
        return;
    }
    bytes_buf_init(&r.not_yet, 1024);
    if (json_text_check(bytes_view(body, n), p->max_json_values, &t) == 0 && out->mail)
        read_checked(&r, &body, n, &t, wish);
    else
        json_mail_note_refusal(&r, &t);
    block_free(body);
    if (out->code != OUTCOME_INVALID_JSON)
        json_mail_decide(&r);
    json_text_deinit(&t);
    bytes_buf_deinit(&r.not_yet);
}
