#include "api/json_mail.h"

#include "api/json_reader.h"
#include "api/json_text.h"
#include "smtp/address.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The fields of a send request, one row each, and the object that holds them. */

#define POINTER_MAX 200
#define SUBJECT_MAX 65536               /* servers take header fields of 100 kB or so in all */
#define NAME_MAX_OCTETS 1000

const char *json_library_version(void)
{
    static char version[32];

    snprintf(version, sizeof(version), "cJSON %s", cJSON_Version());
    return version;
}

/* ---- problems ---- */

/* What was cut to fit may have lost the end of its last character: drops the rest of it. */
static void mend_utf8(char *s)
{
    size_t n = strlen(s), i = n;

    while (i && n - i < 4 && ((unsigned char)s[i - 1] & 0xC0) == 0x80)
        i--;
    if (i && !bytes_is_utf8(bytes_view(s + i - 1, n - (i - 1))))
        s[i - 1] = '\0';
}

void json_reader_problem(struct json_reader *r, const char *pointer, const char *code, const char *fmt, ...)
{
    struct json_mail_result *out = r->out;
    struct json_problem *grown;
    char detail[400];
    va_list ap;

    if (out->n_problems == JSON_PROBLEMS_MAX)
        return;
    grown = realloc(out->problems, (out->n_problems + 1) * sizeof(*grown));
    if (!grown) {
        r->no_memory = true;
        return;
    }
    out->problems = grown;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    mend_utf8(detail);
    grown[out->n_problems] = (struct json_problem){.pointer = strdup(pointer), .code = code, .detail = strdup(detail)};
    if (!grown[out->n_problems].pointer || !grown[out->n_problems].detail)
        r->no_memory = true;
    out->n_problems++;
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

static const char *type_name(const cJSON *item)
{
    return cJSON_IsString(item)   ? "a string"
           : cJSON_IsNumber(item) ? "a number"
           : cJSON_IsArray(item)  ? "an array"
           : cJSON_IsObject(item) ? "an object"
           : cJSON_IsNull(item)   ? "null"
                                  : "a boolean";
}

static void wrong_type(struct json_reader *r, const char *pointer, const char *want, const cJSON *item)
{
    json_reader_problem(r, pointer, "wrong_type", "expected %s, got %s", want, type_name(item));
}

/* U+0000–001F, 007F–009F and the two line separators; 0 when there is none, else the code point. */
static unsigned find_control(const char *s, bool multi_line)
{
    for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
        if ((*p < 32 && !(multi_line && (*p == '\n' || *p == '\r' || *p == '\t'))) || *p == 127)
            return *p;
        if (multi_line)
            continue;
        if (*p == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0)
            return p[1];
        if (*p == 0xE2 && p[1] == 0x80 && (p[2] == 0xA8 || p[2] == 0xA9))
            return 0x2000u + (unsigned)(p[2] - 0x80);
    }
    return 0;
}

const char *json_reader_string(struct json_reader *r, const cJSON *item, const char *pointer, bool multi_line)
{
    unsigned control;

    if (!cJSON_IsString(item)) {
        wrong_type(r, pointer, "a string", item);
        return NULL;
    }
    control = find_control(item->valuestring, multi_line);
    if (control) {
        json_reader_problem(r, pointer, "control_character", "the character U+%04X is not allowed here", control);
        return NULL;
    }
    return item->valuestring;
}

static void read_string(struct json_reader *r, const cJSON *item, const char *pointer, bool multi_line, char **out)
{
    const char *s = json_reader_string(r, item, pointer, multi_line);

    if (!s)
        return;
    free(*out);                         /* of a name that occurs twice */
    *out = strdup(s);
    if (!*out)
        r->no_memory = true;
}

static void read_content(struct json_reader *r, const cJSON *item, const char *pointer, struct bytes_view *out)
{
    const char *s = json_reader_string(r, item, pointer, true);

    if (!s)
        return;
    *out = mail_keep_copy(r->out->mail, bytes_view_str(s));
    if (!out->p)
        r->no_memory = true;
}

static void check_length(struct json_reader *r, const char *s, const char *pointer, size_t most)
{
    if (s && strlen(s) > most)
        json_reader_problem(r, pointer, "too_long", "%zu octets of UTF-8, %zu are allowed", strlen(s), most);
}

/* ---- addresses ---- */

static bool parse_address(struct json_reader *r, const char *s, const char *pointer, bool bare,
                          struct mail_address *out)
{
    const char *why;
    int rc = address_parse(bytes_view_str(s), bare ? ADDRESS_BARE : 0, out, &why);

    if (rc != 0)
        json_reader_problem(r, pointer, "invalid_address", "not an address: %s", why);
    else
        check_length(r, out->name, pointer, NAME_MAX_OCTETS);
    return rc == 0;
}

static void unknown_member(struct json_reader *r, const char *pointer, const char *name)
{
    struct bytes_buf at;

    bytes_buf_init(&at, 1024);
    bytes_buf_add_str(&at, pointer);
    json_text_add_pointer_step(&at, bytes_view_str(name));
    json_reader_problem(r, at.failed ? pointer : at.p, "unknown_field", "an address has \"email\" and \"name\"");
    bytes_buf_deinit(&at);
}

static bool read_address_object(struct json_reader *r, const cJSON *item, const char *pointer, struct mail_address *out)
{
    const cJSON *email = NULL, *name = NULL, *member;
    char at[POINTER_MAX + 16];
    const char *s;
    size_t before = r->out->n_problems;

    cJSON_ArrayForEach(member, item) {
        if (strcmp(member->string, "email") == 0)
            email = member;
        else if (strcmp(member->string, "name") == 0)
            name = member;
        else
            unknown_member(r, pointer, member->string);
    }
    snprintf(at, sizeof(at), "%s/email", pointer);
    if (!email || cJSON_IsNull(email))
        json_reader_problem(r, at, "required", "an address needs an \"email\"");
    else if ((s = json_reader_string(r, email, at, false)))
        parse_address(r, s, at, true, out);
    snprintf(at, sizeof(at), "%s/name", pointer);
    if (name && !cJSON_IsNull(name))
        read_string(r, name, at, false, &out->name);
    check_length(r, out->name, at, NAME_MAX_OCTETS);
    if (r->out->n_problems == before)
        return true;
    mail_address_deinit(out);
    return false;
}

static bool read_address(struct json_reader *r, const cJSON *item, const char *pointer, struct mail_address *out)
{
    const char *s;

    memset(out, 0, sizeof(*out));
    if (cJSON_IsObject(item))
        return read_address_object(r, item, pointer, out);
    if (!cJSON_IsString(item)) {
        wrong_type(r, pointer, "an address (a string or an object)", item);
        return false;
    }
    s = json_reader_string(r, item, pointer, false);
    return s && parse_address(r, s, pointer, false, out);
}

static void add_address(struct json_reader *r, const cJSON *item, const char *pointer, struct mail_address_list *list)
{
    struct mail_address a;

    if (read_address(r, item, pointer, &a) && mail_address_list_add(list, a) != 0)
        r->no_memory = true;
}

static void read_address_list(struct json_reader *r, const cJSON *item, const char *pointer,
                              struct mail_address_list *list)
{
    char at[POINTER_MAX];
    const cJSON *one;
    size_t i = 0;

    if (!cJSON_IsArray(item)) {
        add_address(r, item, pointer, list);
        return;
    }
    cJSON_ArrayForEach(one, item) {
        if (i >= r->params->max_recipients) {
            json_reader_problem(r, pointer, "too_many", "more than %zu addresses", r->params->max_recipients);
            return;
        }
        snprintf(at, sizeof(at), "%s/%zu", pointer, i++);
        add_address(r, one, at, list);
    }
}

/* ---- the rows ---- */

static void read_from(struct json_reader *r, const cJSON *item)
{
    mail_address_deinit(&r->out->mail->from);
    read_address(r, item, "/from", &r->out->mail->from);
}

static void read_to(struct json_reader *r, const cJSON *item)
{
    read_address_list(r, item, "/to", &r->out->mail->to);
}

static void read_cc(struct json_reader *r, const cJSON *item)
{
    read_address_list(r, item, "/cc", &r->out->mail->cc);
}

static void read_bcc(struct json_reader *r, const cJSON *item)
{
    read_address_list(r, item, "/bcc", &r->out->mail->bcc);
}

static void read_reply_to(struct json_reader *r, const cJSON *item)
{
    read_address_list(r, item, "/reply_to", &r->out->mail->reply_to);
}

static void read_subject(struct json_reader *r, const cJSON *item)
{
    read_string(r, item, "/subject", false, &r->out->mail->subject);
    check_length(r, r->out->mail->subject, "/subject", SUBJECT_MAX);
}

static void read_text(struct json_reader *r, const cJSON *item)
{
    read_content(r, item, "/text", &r->out->mail->text);
}

static void read_html(struct json_reader *r, const cJSON *item)
{
    read_content(r, item, "/html", &r->out->mail->html);
}

static void read_relay(struct json_reader *r, const cJSON *item)
{
    char *name = NULL;

    read_string(r, item, "/relay", false, &name);
    if (name && !r->params->has_relay(r->params->ctx, name))
        json_reader_problem(r, "/relay", "unknown_relay", "no relay of that name is configured");
    free(r->out->mail->relay);
    r->out->mail->relay = name;
}

static void read_partial(struct json_reader *r, const cJSON *item)
{
    const char *s = json_reader_string(r, item, "/partial", false);

    if (s && strcmp(s, "allow") != 0 && strcmp(s, "reject") != 0)
        json_reader_problem(r, "/partial", "invalid_value", "\"allow\" or \"reject\"");
    r->out->mail->partial_reject = s && strcmp(s, "reject") == 0;
}

/* "fail" is what happens anyway; the other words need a queue. */
static void read_on_temporary_failure(struct json_reader *r, const cJSON *item)
{
    if (cJSON_IsString(item) && strcmp(item->valuestring, "fail") == 0)
        return;
    if (r->not_yet.n)
        bytes_buf_add_str(&r->not_yet, ", ");
    bytes_buf_add_str(&r->not_yet, "on_temporary_failure");
    json_reader_problem(r, "/on_temporary_failure", "not_implemented", "only \"fail\" exists in this version");
}

static const struct field {
    const char *name;
    void (*read)(struct json_reader *r, const cJSON *item);     /* NULL: in the contract, not built */
} fields[] = {
    {"from", read_from}, {"to", read_to}, {"cc", read_cc}, {"bcc", read_bcc}, {"reply_to", read_reply_to},
    {"subject", read_subject}, {"text", read_text}, {"html", read_html}, {"headers", json_reader_own_headers},
    {"relay", read_relay}, {"partial", read_partial}, {"on_temporary_failure", read_on_temporary_failure},
    {"attachments", NULL}, {"calendar", NULL}, {"list_unsubscribe", NULL}, {"tags", NULL}, {"metadata", NULL},
    {"envelope", NULL}, {"dsn", NULL}, {"require_tls", NULL}, {"async", NULL}, {"scheduled_at", NULL},
    {"expires_in", NULL}, {"diagnose", NULL},
};

/* What says nothing needs nothing built: false, [] and {}. */
static bool is_harmless(const cJSON *item)
{
    return cJSON_IsFalse(item) || ((cJSON_IsArray(item) || cJSON_IsObject(item)) && !item->child);
}

static void note_not_yet(struct json_reader *r, const cJSON *item)
{
    char pointer[POINTER_MAX];

    if (is_harmless(item))
        return;
    if (r->not_yet.n)
        bytes_buf_add_str(&r->not_yet, ", ");
    bytes_buf_add_str(&r->not_yet, item->string);
    snprintf(pointer, sizeof(pointer), "/%s", item->string);
    json_reader_problem(r, pointer, "not_implemented", "this field is not available in this version");
}

/* ---- unknown fields ---- */

/* replyTo, ReplyTo and reply-to are all meant for reply_to. */
static void to_snake(const char *s, char out[40])
{
    size_t n = 0;

    for (; *s && n < 37; s++) {
        if (*s >= 'A' && *s <= 'Z') {
            if (n)
                out[n++] = '_';
            out[n++] = (char)(*s + ('a' - 'A'));
        } else {
            out[n++] = *s == '-' ? '_' : *s;
        }
    }
    out[n] = '\0';
}

static void unknown_field(struct json_reader *r, const cJSON *item)
{
    const char *best = NULL;
    struct bytes_buf pointer;
    size_t least = 3;
    char snake[40];

    to_snake(item->string, snake);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        size_t d = bytes_distance(snake, fields[i].name);
        if (d < least && d < strlen(fields[i].name)) {
            least = d;
            best = fields[i].name;
        }
    }
    bytes_buf_init(&pointer, 1024);
    json_text_add_pointer_step(&pointer, bytes_view_str(item->string));
    json_reader_problem(r, pointer.failed ? "" : bytes_buf_view(&pointer).p, "unknown_field",
                        best ? "no such field; did you mean \"%s\"?" : "no such field", best);
    bytes_buf_deinit(&pointer);
}

static void read_member(struct json_reader *r, const cJSON *item)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (strcmp(fields[i].name, item->string) == 0) {
            if (cJSON_IsNull(item))
                return;
            if (fields[i].read)
                fields[i].read(r, item);
            else
                note_not_yet(r, item);
            return;
        }
    unknown_field(r, item);
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

static void check_whole(struct json_reader *r, const cJSON *root)
{
    const struct mail *m = r->out->mail;
    size_t n = m->to.n + m->cc.n + m->bcc.n;

    if (!has(root, "from"))
        json_reader_problem(r, "/from", "required", "a mail needs a sender");
    if (!is_given(root, "to") && !is_given(root, "cc") && !is_given(root, "bcc"))
        json_reader_problem(r, "/to", "required", "a mail needs a recipient in to, cc or bcc");
    if (n > r->params->max_recipients)
        json_reader_problem(r, "/to", "too_many", "%zu recipients in all, %zu are allowed", n,
                            r->params->max_recipients);
    if (!has(root, "text") && !has(root, "html") && !is_given(root, "attachments") &&
        !is_given(root, "calendar"))
        json_reader_problem(r, "/text", "required", "a mail needs text or html");
}

static void add_defects(struct json_reader *r, const struct json_text *t)
{
    static const struct {
        const char *code, *detail;
    } words[] = {
        [JSON_DUPLICATE_KEY] = {"duplicate_key", "this name occurs twice in one object"},
        [JSON_NUL] = {"control_character", "\\u0000 is not allowed"},
        [JSON_LONE_SURROGATE] = {"invalid_unicode", "half of a surrogate pair"},
        [JSON_INVALID_UTF8] = {"invalid_unicode", "not UTF-8"},
    };

    for (size_t i = 0; i < t->n_defects; i++)
        json_reader_problem(r, t->defects[i].pointer ? t->defects[i].pointer : "", words[t->defects[i].kind].code, "%s",
                            words[t->defects[i].kind].detail);
}

/* At most `most` octets of `s`, and no half character. */
static void cut(const char *s, char *to, size_t most)
{
    snprintf(to, most + 1, "%s", s ? s : "");
    mend_utf8(to);
}

static void decide(struct json_reader *r)
{
    struct json_mail_result *out = r->out;
    char detail[300], where[61], what[121];

    if (r->not_yet.n) {
        out->code = OUTCOME_NOT_IMPLEMENTED;
        snprintf(detail, sizeof(detail), "Not available in this version: %.200s.", r->not_yet.p);
    } else if (out->n_problems) {
        out->code = OUTCOME_VALIDATION_FAILED;
        cut(out->problems[0].pointer, where, sizeof(where) - 1);
        cut(out->problems[0].detail, what, sizeof(what) - 1);
        snprintf(detail, sizeof(detail), "%zu problem%s in the request; the first, at %s: %s.", out->n_problems,
                 out->n_problems == 1 ? "" : "s", where, what);
    } else {
        return;
    }
    out->detail = strdup(detail);
}

static void read_object(struct json_reader *r, const cJSON *root)
{
    const cJSON *item;

    if (!cJSON_IsObject(root)) {
        wrong_type(r, "", "an object", root);
        return;
    }
    cJSON_ArrayForEach(item, root) {
        if (r->out->n_problems == JSON_PROBLEMS_MAX)
            return;                     /* or a body of unknown names would cost an edit distance for each */
        read_member(r, item);
    }
    check_whole(r, root);
}

/* A copy in which U+FFFD stands for what cJSON refuses or would cut a string at, so that the other problems are found
 * too. */
static char *mended_text(struct bytes_view json, const struct json_text *t)
{
    char *copy = malloc(json.n + 1);

    if (!copy)
        return NULL;
    memcpy(copy, json.p, json.n);
    copy[json.n] = '\0';
    for (size_t i = 0; i < t->n_defects; i++) {
        const struct json_defect *d = &t->defects[i];
        if (d->kind == JSON_NUL || d->kind == JSON_LONE_SURROGATE)
            memcpy(copy + d->offset, "\\ufffd", 6);
        else if (d->kind == JSON_INVALID_UTF8)
            copy[d->offset] = '?';
    }
    return copy;
}

static void read_text_of(struct json_reader *r, struct bytes_view json, const struct json_text *t)
{
    char *copy = NULL;
    cJSON *root;

    add_defects(r, t);
    if (t->n_defects && !(copy = mended_text(json, t))) {
        r->no_memory = true;
        return;
    }
    root = cJSON_ParseWithLength(copy ? copy : json.p, json.n);
    if (root)
        read_object(r, root);
    else if (!t->n_defects)
        r->no_memory = true;            /* the text is JSON: json_text has seen to it */
    cJSON_Delete(root);
    free(copy);
    decide(r);
}

void json_mail_read(struct bytes_view json, const struct json_mail_params *p, struct json_mail_result *out)
{
    struct json_reader r = {.params = p, .out = out};
    struct json_text t;

    memset(out, 0, sizeof(*out));
    bytes_buf_init(&r.not_yet, 1024);
    out->code = OUTCOME_SENT;
    out->mail = mail_new();
    if (json_text_check(json, &t) == 0 && out->mail) {
        read_text_of(&r, json, &t);
    } else if (!t.no_memory && t.error[0]) {
        out->code = OUTCOME_INVALID_JSON;
        out->detail = strdup(t.error);
    } else {
        r.no_memory = true;
    }
    json_text_deinit(&t);
    bytes_buf_deinit(&r.not_yet);
    if (r.no_memory)
        out->code = OUTCOME_INTERNAL_ERROR;
    if (out->code != OUTCOME_SENT) {
        mail_free(out->mail);
        out->mail = NULL;
    }
}
