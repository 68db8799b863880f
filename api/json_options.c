#include "api/json_reader.h"
#include "smtp/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What else is said about a mail: delivery status notifications, unsubscribing, tags and metadata. */

#define ENVID_MAX 100                   /* RFC 3461 §4.4 */
#define URI_MAX 800                     /* a line of the header may have 998 octets, and a URI cannot be folded */
#define TAGS_MAX 50
#define TAG_MAX 256
#define METADATA_MAX 50
#define METADATA_VALUE_MAX 1000

/* ---- dsn ---- */

static void read_ret(struct json_reader *r, const cJSON *item, struct mail_dsn *dsn)
{
    struct bytes_view v = json_reader_string(r, item, "/dsn/ret", false);

    if (!v.p)
        return;
    dsn->ret = bytes_equal_nocase(v, bytes_view_str("full"))   ? MAIL_RET_FULL
               : bytes_equal_nocase(v, bytes_view_str("hdrs")) ? MAIL_RET_HDRS
                                                               : MAIL_RET_UNSET;
    if (dsn->ret == MAIL_RET_UNSET)
        json_reader_problem(r, "/dsn/ret", "invalid_value", "\"full\" or \"hdrs\"");
}

static void read_envid(struct json_reader *r, const cJSON *item, struct mail_dsn *dsn)
{
    json_reader_copy(r, item, "/dsn/envid", ENVID_MAX, &dsn->envid);
    if (!dsn->envid)
        return;
    for (const char *p = dsn->envid; *p; p++)
        if (*p < ' ' || *p > '~') {
            json_reader_problem(r, "/dsn/envid", "invalid_value", "printable ASCII only");
            return;
        }
    if (!dsn->envid[0])
        json_reader_problem(r, "/dsn/envid", "invalid_value", "not empty");
}

static void add_notify(struct json_reader *r, const cJSON *item, const char *pointer, unsigned *notify)
{
    static const struct {
        const char *word;
        unsigned flag;
    } words[] = {{"never", MAIL_NOTIFY_NEVER}, {"success", MAIL_NOTIFY_SUCCESS}, {"failure", MAIL_NOTIFY_FAILURE},
                 {"delay", MAIL_NOTIFY_DELAY}};
    struct bytes_view v = json_reader_string(r, item, pointer, false);

    if (!v.p)
        return;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (bytes_equal_nocase(v, bytes_view_str(words[i].word))) {
            *notify |= words[i].flag;
            return;
        }
    json_reader_problem(r, pointer, "invalid_value", "\"success\", \"failure\", \"delay\" or \"never\"");
}

static void read_notify(struct json_reader *r, const cJSON *item, struct mail_dsn *dsn)
{
    char at[JSON_POINTER_MAX];
    const cJSON *one, *list = cJSON_IsArray(item) ? item : NULL;
    size_t i = 0;

    if (!list)
        add_notify(r, item, "/dsn/notify", &dsn->notify);
    cJSON_ArrayForEach(one, list) {
        snprintf(at, sizeof(at), "/dsn/notify/%zu", i++);
        add_notify(r, one, at, &dsn->notify);
    }
    if ((dsn->notify & MAIL_NOTIFY_NEVER) && dsn->notify != MAIL_NOTIFY_NEVER)
        json_reader_problem(r, "/dsn/notify", "invalid_value", "\"never\" stands alone");
}

void json_read_dsn(struct json_reader *r, const cJSON *item, const char *pointer)
{
    struct json_member rows[] = {{"ret", NULL}, {"envid", NULL}, {"notify", NULL}};
    struct mail_dsn *dsn = &r->out->mail->dsn;

    if (!json_reader_is_object(r, item, pointer))
        return;
    json_reader_members(r, item, pointer, rows, ARRAY_LEN(rows));
    if (rows[0].item)
        read_ret(r, rows[0].item, dsn);
    if (rows[1].item)
        read_envid(r, rows[1].item, dsn);
    if (rows[2].item)
        read_notify(r, rows[2].item, dsn);
    dsn->wanted = dsn->ret != MAIL_RET_UNSET || dsn->envid != NULL || dsn->notify != 0;
}

/* ---- list_unsubscribe ---- */

static bool is_uri_text(const char *s)
{
    for (; *s; s++)
        if (*s <= ' ' || *s > '~' || strchr("<>\"\\", *s))
            return false;
    return true;
}

static void read_url(struct json_reader *r, const cJSON *item, struct mail *m)
{
    struct bytes_view v;

    json_reader_copy(r, item, "/list_unsubscribe/url", URI_MAX, &m->unsubscribe_url);
    if (!m->unsubscribe_url)
        return;
    v = bytes_view_str(m->unsubscribe_url);
    if (!is_uri_text(m->unsubscribe_url) ||
        !((bytes_starts_nocase(v, "https://") && v.n > 8) || (bytes_starts_nocase(v, "http://") && v.n > 7)))
        json_reader_problem(r, "/list_unsubscribe/url", "invalid_value",
                            "an https (or http) URL in ASCII, the rest percent-encoded");
}

static void read_mailto(struct json_reader *r, const cJSON *item, struct mail *m)
{
    const char *pointer = "/list_unsubscribe/mailto", *why = "only ASCII", *address;
    struct mail_address a = {0};

    json_reader_copy(r, item, pointer, URI_MAX, &m->unsubscribe_mailto);
    if (!m->unsubscribe_mailto)
        return;
    address = m->unsubscribe_mailto;
    if (bytes_starts_nocase(bytes_view_str(address), "mailto:"))
        address += 7;
    if (!is_uri_text(address) ||
        address_parse(bytes_view(address, strcspn(address, "?")), ADDRESS_BARE, &a, &why) != 0)
        json_reader_problem(r, pointer, "invalid_value", "not an address or a mailto: URI: %s", why);
    mail_address_deinit(&a);
}

void json_read_list_unsubscribe(struct json_reader *r, const cJSON *item, const char *pointer)
{
    struct json_member rows[] = {{"url", NULL}, {"mailto", NULL}};

    if (!json_reader_is_object(r, item, pointer))
        return;
    json_reader_members(r, item, pointer, rows, ARRAY_LEN(rows));
    if (rows[0].item)
        read_url(r, rows[0].item, r->out->mail);
    if (rows[1].item)
        read_mailto(r, rows[1].item, r->out->mail);
    if (!rows[0].item && !rows[1].item)
        json_reader_problem(r, pointer, "required", "a \"url\", a \"mailto\" or both");
}

/* ---- tags, metadata ---- */

static void add_pair(struct json_reader *r, struct mail_pair_list *list, struct mail_pair pair)
{
    if (mail_pair_list_add(list, pair) != 0)
        r->no_memory = true;
}

static void read_tag(struct json_reader *r, const cJSON *item, const char *pointer)
{
    struct json_member rows[] = {{"name", NULL}, {"value", NULL}};
    struct mail_pair tag = {0};
    char at[JSON_POINTER_MAX + 16];

    if (cJSON_IsString(item)) {
        json_reader_copy(r, item, pointer, TAG_MAX, &tag.name);
    } else if (!cJSON_IsObject(item)) {
        json_reader_wrong_type(r, pointer, "a string or an object with \"name\" and \"value\"", item);
    } else {
        json_reader_members(r, item, pointer, rows, ARRAY_LEN(rows));
        snprintf(at, sizeof(at), "%s/name", pointer);
        if (rows[0].item)
            json_reader_copy(r, rows[0].item, at, TAG_MAX, &tag.name);
        else
            json_reader_problem(r, at, "required", "a tag needs a \"name\"");
        snprintf(at, sizeof(at), "%s/value", pointer);
        if (rows[1].item)
            json_reader_copy(r, rows[1].item, at, TAG_MAX, &tag.value);
    }
    if (tag.name && !tag.name[0])
        json_reader_problem(r, pointer, "invalid_value", "a tag's name is not empty");
    if (tag.name)
        add_pair(r, &r->out->mail->tags, tag);
    else
        free(tag.value);
}

void json_read_tags(struct json_reader *r, const cJSON *item, const char *pointer)
{
    json_reader_each(r, item, pointer, TAGS_MAX, "tags", read_tag);
}

static void check_name(struct json_reader *r, const char *name, const char *pointer, const char *parent)
{
    unsigned control = json_reader_find_control(bytes_view_str(name), false);

    if (strlen(name) > TAG_MAX)
        json_reader_problem(r, parent, "too_long", "a name has at most %d octets", TAG_MAX);
    else if (control)
        json_reader_problem(r, pointer, "control_character", "the character U+%04X is not allowed in a name", control);
}

void json_read_metadata(struct json_reader *r, const cJSON *item, const char *pointer)
{
    struct bytes_buf at;
    const cJSON *one;
    size_t i = 0;

    if (!json_reader_is_object(r, item, pointer))
        return;
    cJSON_ArrayForEach(one, item) {
        struct mail_pair pair = {0};
        if (i++ == METADATA_MAX) {
            json_reader_problem(r, pointer, "too_many", "more than %d names", METADATA_MAX);
            return;
        }
        bytes_buf_init(&at, 64 * 1024);
        bytes_buf_add_str(&at, pointer);
        json_text_add_pointer_step(&at, bytes_view_str(one->string));
        json_reader_copy(r, one, at.failed ? pointer : bytes_buf_view(&at).p, METADATA_VALUE_MAX, &pair.value);
        check_name(r, one->string, at.failed ? pointer : bytes_buf_view(&at).p, pointer);
        bytes_buf_deinit(&at);
        pair.name = strdup(one->string);
        if (!pair.name)
            r->no_memory = true;
        if (pair.name && pair.value) {
            add_pair(r, &r->out->mail->metadata, pair);
        } else {
            free(pair.name);
            free(pair.value);
        }
    }
}
