#include "api/json_mail.h"

#include "api/json_reader.h"
#include "smtp/block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The fields of a send request, one row each, and the object that holds them. */

#define SUBJECT_MAX 65536               /* servers take header fields of 100 kB or so in all */
#define RELAY_MAX 200

const char *json_library_version(void)
{
    static char version[32];

    snprintf(version, sizeof(version), "cJSON %s", cJSON_Version());
    return version;
}

void json_mail_result_deinit(struct json_mail_result *r)
{
    for (size_t i = 0; i < r->n_problems; i++) {
        free(r->problems[i].pointer);
        free(r->problems[i].detail);
    }
    free(r->problems);
    free(r->detail);
    mail_free(r->mail);
    memset(r, 0, sizeof(*r));
}

/* ---- the rows ---- */

static void read_from(struct json_reader *r, const cJSON *item, const char *pointer)
{
    json_read_address(r, item, pointer, &r->out->mail->from);
}

static void read_to(struct json_reader *r, const cJSON *item, const char *pointer)
{
    json_read_addresses(r, item, pointer, &r->out->mail->to);
}

static void read_cc(struct json_reader *r, const cJSON *item, const char *pointer)
{
    json_read_addresses(r, item, pointer, &r->out->mail->cc);
}

static void read_bcc(struct json_reader *r, const cJSON *item, const char *pointer)
{
    json_read_addresses(r, item, pointer, &r->out->mail->bcc);
}

static void read_reply_to(struct json_reader *r, const cJSON *item, const char *pointer)
{
    json_read_addresses(r, item, pointer, &r->out->mail->reply_to);
}

static void read_subject(struct json_reader *r, const cJSON *item, const char *pointer)
{
    json_reader_copy(r, item, pointer, SUBJECT_MAX, &r->out->mail->subject);
}

static void read_text(struct json_reader *r, const cJSON *item, const char *pointer)
{
    json_reader_content(r, item, pointer, &r->out->mail->text);
}

static void read_html(struct json_reader *r, const cJSON *item, const char *pointer)
{
    json_reader_content(r, item, pointer, &r->out->mail->html);
}

static void read_relay(struct json_reader *r, const cJSON *item, const char *pointer)
{
    char **relay = &r->out->mail->relay;

    json_reader_copy(r, item, pointer, RELAY_MAX, relay);
    if (*relay && !r->params->has_relay(r->params->ctx, *relay))
        json_reader_problem(r, pointer, "unknown_relay", "no relay of that name is configured");
}

static void read_partial(struct json_reader *r, const cJSON *item, const char *pointer)
{
    struct bytes_view v = json_reader_string(r, item, pointer, false);

    if (!v.p)
        return;
    r->out->mail->partial_reject = bytes_equal(v, bytes_view_str("reject"));
    if (!r->out->mail->partial_reject && !bytes_equal(v, bytes_view_str("allow")))
        json_reader_problem(r, pointer, "invalid_value", "\"allow\" or \"reject\"");
}

static void read_require_tls(struct json_reader *r, const cJSON *item, const char *pointer)
{
    r->out->mail->require_tls = json_reader_bool(r, item, pointer);
}

static void read_diagnose(struct json_reader *r, const cJSON *item, const char *pointer)
{
    r->out->mail->diagnose = json_reader_bool(r, item, pointer);
}

static void note_not_yet(struct json_reader *r, const char *name, const char *pointer, const char *detail)
{
    if (r->not_yet.n)
        bytes_buf_add_str(&r->not_yet, ", ");
    bytes_buf_add_str(&r->not_yet, name);
    json_reader_problem(r, pointer, "not_implemented", "%s", detail);
}

void json_mail_set_on_temporary_failure(struct json_reader *r, struct bytes_view word)
{
    static const char pointer[] = "/on_temporary_failure";
    enum mail_on_temporary_failure *out = &r->out->mail->on_temporary_failure;

    if (bytes_equal(word, bytes_view_str("fail")))
        *out = MAIL_ON_TEMPORARY_FAIL;
    else if (bytes_equal(word, bytes_view_str("retry")))
        *out = MAIL_ON_TEMPORARY_RETRY;
    else if (bytes_equal(word, bytes_view_str("queue")))
        note_not_yet(r, pointer + 1, pointer, "\"queue\" does not exist in this version; \"fail\" and \"retry\" do");
    else
        json_reader_problem(r, pointer, "invalid_value", "\"fail\", \"retry\" or \"queue\"");
}

static void read_on_temporary_failure(struct json_reader *r, const cJSON *item, const char *pointer)
{
    struct bytes_view v = json_reader_string(r, item, pointer, false);

    if (v.p)
        json_mail_set_on_temporary_failure(r, v);
}

static const struct field {
    const char *name;
    /* NULL: in the contract, not built */
    void (*read)(struct json_reader *r, const cJSON *item, const char *pointer);
} fields[] = {
    {"from", read_from}, {"to", read_to}, {"cc", read_cc}, {"bcc", read_bcc}, {"reply_to", read_reply_to},
    {"subject", read_subject}, {"text", read_text}, {"html", read_html}, {"attachments", json_read_attachments},
    {"calendar", json_read_calendar}, {"headers", json_read_headers}, {"list_unsubscribe", json_read_list_unsubscribe},
    {"tags", json_read_tags}, {"metadata", json_read_metadata}, {"relay", read_relay},
    {"envelope", json_read_envelope}, {"dsn", json_read_dsn}, {"require_tls", read_require_tls},
    {"partial", read_partial}, {"on_temporary_failure", read_on_temporary_failure}, {"diagnose", read_diagnose},
    {"async", NULL}, {"scheduled_at", NULL}, {"expires_in", NULL},
};

static const char *nth_field(size_t i, const void *ctx)
{
    return ((const struct field *)ctx)[i].name;
}

/* What says nothing needs nothing built: false, [] and {}. */
static bool is_harmless(const cJSON *item)
{
    return cJSON_IsFalse(item) || ((cJSON_IsArray(item) || cJSON_IsObject(item)) && !item->child);
}

static void read_member(struct json_reader *r, const cJSON *item)
{
    char pointer[40];
    size_t i = 0;

    while (i < ARRAY_LEN(fields) && strcmp(fields[i].name, item->string) != 0)
        i++;
    if (i == ARRAY_LEN(fields)) {
        json_reader_unknown(r, "", item->string,
                            json_reader_nearest(item->string, nth_field, ARRAY_LEN(fields), fields));
        return;
    }
    if (cJSON_IsNull(item))
        return;
    snprintf(pointer, sizeof(pointer), "/%s", fields[i].name);
    if (fields[i].read)
        fields[i].read(r, item, pointer);
    else if (!is_harmless(item))
        note_not_yet(r, item->string, pointer, "this field is not available in this version");
}

/* ---- the whole ---- */

static bool has(const cJSON *root, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, name);

    return item && !cJSON_IsNull(item);
}

/* Something that is not plainly nothing: whether it is right has been said already. */
static bool is_given(const cJSON *root, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, name);

    return item && !cJSON_IsNull(item) && !(cJSON_IsArray(item) && !item->child);
}

static bool has_header(const struct mail *m, const char *name)
{
    for (size_t i = 0; i < m->headers.n; i++)
        if (bytes_equal_nocase(bytes_view_str(m->headers.v[i].name), bytes_view_str(name)))
            return true;
    return false;
}

static void check_whole(struct json_reader *r, const cJSON *root)
{
    const struct mail *m = r->out->mail;
    size_t n = m->to.n + m->cc.n + m->bcc.n, most = r->params->max_recipients;

    if (!has(root, "from"))
        json_reader_problem(r, "/from", "required", "a mail needs a sender");
    if (!is_given(root, "to") && !is_given(root, "cc") && !is_given(root, "bcc"))
        json_reader_problem(r, "/to", "required", "a mail needs a recipient in to, cc or bcc");
    if (n > most)
        json_reader_problem(r, "/to", "too_many", "%zu recipients in all, %zu are allowed", n, most);
    if (!has(root, "text") && !has(root, "html") && !is_given(root, "attachments") && !has(root, "calendar") &&
        !m->n_attachments)
        json_reader_problem(r, "/text", "required", "a mail needs text, html, attachments or a calendar");
    if ((m->unsubscribe_url || m->unsubscribe_mailto) &&
        (has_header(m, "List-Unsubscribe") || has_header(m, "List-Unsubscribe-Post")))
        json_reader_problem(r, "/list_unsubscribe", "invalid_value", "headers has a List-Unsubscribe of its own");
}

void json_mail_add_defect(struct json_reader *r, const struct json_defect *d)
{
    static const struct {
        const char *code, *detail;
    } words[] = {
        [JSON_DUPLICATE_KEY] = {"duplicate_key", "this name occurs twice in one object"},
        [JSON_NUL] = {"control_character", "\\u0000 is not allowed"},
        [JSON_LONE_SURROGATE] = {"invalid_unicode", "half of a surrogate pair"},
        [JSON_INVALID_UTF8] = {"invalid_unicode", "not UTF-8"},
    };

    json_reader_problem(r, d->pointer ? d->pointer : "", words[d->kind].code, "%s", words[d->kind].detail);
}

void json_mail_read_item(struct json_reader *r, const cJSON *root)
{
    const cJSON *item;

    if (!cJSON_IsObject(root)) {
        json_reader_wrong_type(r, "", "an object", root);
        return;
    }
    cJSON_ArrayForEach(item, root) {
        if (r->out->n_problems == JSON_PROBLEMS_MAX)
            return;                     /* or a body of unknown names would cost an edit distance for each */
        read_member(r, item);
    }
    check_whole(r, root);
}

/* At most `most` octets of `s`, and no half character. */
static void cut(const char *s, char *to, size_t most)
{
    size_t n = strnlen(s ? s : "", most);
    bool is_cut = n == most;

    while (is_cut && n && !bytes_is_utf8(bytes_view(s, n)))
        n--;
    memcpy(to, s ? s : "", n);
    to[n] = '\0';
}

void json_mail_decide(struct json_reader *r)
{
    struct json_mail_result *out = r->out;
    char detail[300], where[61], what[121];

    if (r->no_memory) {
        out->code = OUTCOME_INTERNAL_ERROR;
    } else if (r->has_too_many_values) {
        out->code = OUTCOME_PAYLOAD_TOO_LARGE;
        snprintf(detail, sizeof(detail), "The JSON has more than %zu values (max_json_values).",
                 r->params->max_json_values);
    } else if (r->not_yet.n) {
        out->code = OUTCOME_NOT_IMPLEMENTED;
        snprintf(detail, sizeof(detail), "Not available in this version: %.200s.", r->not_yet.p);
    } else if (out->n_problems) {
        out->code = OUTCOME_VALIDATION_FAILED;
        cut(out->problems[0].pointer, where, sizeof(where) - 1);
        cut(out->problems[0].detail, what, sizeof(what) - 1);
        snprintf(detail, sizeof(detail), "%zu problem%s in the request; the first, at %s: %s%s", out->n_problems,
                 out->n_problems == 1 ? "" : "s", where[0] ? where : "the top", what,
                 what[0] && what[strlen(what) - 1] == '?' ? "" : ".");
    } else {
        out->code = OUTCOME_SENT;
        return;
    }
    if (out->code != OUTCOME_INTERNAL_ERROR)
        out->detail = strdup(detail);
    mail_free(out->mail);
    out->mail = NULL;
}

/* ---- from JSON ---- */

void json_mail_note_refusal(struct json_reader *r, const struct json_text *t)
{
    r->has_too_many_values = t->has_too_many;
    r->no_memory |= t->no_memory || !t->error[0];
    if (r->no_memory || r->has_too_many_values)
        return;
    r->out->code = OUTCOME_INVALID_JSON;
    r->out->detail = strdup(t->error);
    mail_free(r->out->mail);
    r->out->mail = NULL;
}

static void read_checked(struct json_reader *r, char **body, size_t n, const struct json_text *t)
{
    struct json_tree tree;

    for (size_t i = 0; i < t->n_defects; i++)
        json_mail_add_defect(r, &t->defects[i]);
    if (t->has_more)
        return;                         /* what is not mended must not be read */
    if (json_tree_build(*body, n, t, &tree) == 0) {
        *body = json_tree_take_text(&tree, *body);
        r->tree = &tree;
        json_mail_read_item(r, tree.root);
        json_tree_deinit(&tree);
    } else if (!t->n_defects) {
        r->no_memory = true;            /* the text is JSON: json_text has seen to it */
    }
}

void json_mail_read(char *body, size_t n, const struct json_mail_params *p, struct json_mail_result *out)
{
    struct json_reader r = {.params = p, .out = out, .prefix = ""};
    struct json_text t;

    *out = (struct json_mail_result){.mail = mail_new()};
    bytes_buf_init(&r.not_yet, 1024);
    if (json_text_check(bytes_view(body ? body : "", n), p->max_json_values, &t) == 0 && out->mail)
        read_checked(&r, &body, n, &t);
    else
        json_mail_note_refusal(&r, &t);
    if (!r.kept_end)
        block_free(body);
    else if (mail_keep(out->mail, body) != 0)
        r.no_memory = true;
    if (out->code != OUTCOME_INVALID_JSON)
        json_mail_decide(&r);
    json_text_deinit(&t);
    bytes_buf_deinit(&r.not_yet);
}
