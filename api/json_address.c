#include "api/json_reader.h"
#include "smtp/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Addresses: strings, objects, lists of both; and the envelope made of them. */

#define NAME_MAX_OCTETS 1000

static bool parse(struct json_reader *r, struct bytes_view v, const char *pointer, unsigned flags,
                  struct mail_address *out)
{
    const char *why;

    if (r->params->address_literals)
        flags |= ADDRESS_LITERALS;
    if (address_parse(v, flags, out, &why) != 0) {
        json_reader_problem(r, pointer, "invalid_address", "not an address: %s", why);
        return false;
    }
    if (out->name && strlen(out->name) > NAME_MAX_OCTETS)
        json_reader_problem(r, pointer, "too_long", "%zu octets of UTF-8, %d are allowed", strlen(out->name),
                            NAME_MAX_OCTETS);
    return true;
}

static void read_object(struct json_reader *r, const cJSON *item, const char *pointer, struct mail_address *out)
{
    struct json_member rows[] = {{"email", NULL}, {"name", NULL}};
    char at[JSON_POINTER_MAX + 16];
    struct bytes_view v;

    json_reader_members(r, item, pointer, rows, ARRAY_LEN(rows));
    snprintf(at, sizeof(at), "%s/email", pointer);
    if (!rows[0].item)
        json_reader_problem(r, at, "required", "an address needs an \"email\"");
    else if ((v = json_reader_string(r, rows[0].item, at, false)).p)
        parse(r, v, at, ADDRESS_BARE, out);
    snprintf(at, sizeof(at), "%s/name", pointer);
    if (rows[1].item)
        json_reader_copy(r, rows[1].item, at, NAME_MAX_OCTETS, &out->name);
}

/* *out stays empty when anything was wrong with it. */
void json_read_address(struct json_reader *r, const cJSON *item, const char *pointer, struct mail_address *out)
{
    size_t before = r->out->n_problems;
    struct bytes_view v;

    mail_address_deinit(out);
    if (cJSON_IsObject(item))
        read_object(r, item, pointer, out);
    else if (!cJSON_IsString(item))
        json_reader_wrong_type(r, pointer, "an address (a string or an object)", item);
    else if ((v = json_reader_string(r, item, pointer, false)).p)
        parse(r, v, pointer, 0, out);
    if (r->out->n_problems != before)
        mail_address_deinit(out);
}

static void add(struct json_reader *r, const cJSON *item, const char *pointer, struct mail_address_list *list)
{
    struct mail_address a = {0};

    json_read_address(r, item, pointer, &a);
    if (a.email && mail_address_list_add(list, a) != 0)
        r->no_memory = true;
}

void json_read_addresses(struct json_reader *r, const cJSON *item, const char *pointer,
                         struct mail_address_list *list)
{
    char at[JSON_POINTER_MAX];
    const cJSON *one;
    size_t i = 0;

    if (!cJSON_IsArray(item)) {
        add(r, item, pointer, list);
        return;
    }
    cJSON_ArrayForEach(one, item) {
        if (i >= r->params->max_recipients) {
            json_reader_problem(r, pointer, "too_many", "more than %zu addresses", r->params->max_recipients);
            return;
        }
        snprintf(at, sizeof(at), "%s/%zu", pointer, i++);
        add(r, one, at, list);
    }
}

/* "" and "<>" are the null reverse-path (RFC 5321 §4.5.5). */
static void read_reverse_path(struct json_reader *r, const cJSON *item, const char *pointer, struct mail_address *out)
{
    struct bytes_view v = cJSON_IsString(item) ? json_reader_string(r, item, pointer, false) : bytes_view(NULL, 0);

    if (!v.p || (v.n && !bytes_equal(v, bytes_view("<>", 2)))) {
        if (v.p || !cJSON_IsString(item))
            json_read_address(r, item, pointer, out);
        return;
    }
    mail_address_deinit(out);
    out->email = strdup("");
    if (!out->email)
        r->no_memory = true;
}

void json_read_envelope(struct json_reader *r, const cJSON *item, const char *pointer)
{
    struct json_member rows[] = {{"from", NULL}, {"to", NULL}};
    struct mail *m = r->out->mail;

    if (!json_reader_is_object(r, item, pointer))
        return;
    json_reader_members(r, item, pointer, rows, ARRAY_LEN(rows));
    if (rows[0].item)
        read_reverse_path(r, rows[0].item, "/envelope/from", &m->envelope_from);
    if (!rows[1].item)
        return;
    json_read_addresses(r, rows[1].item, "/envelope/to", &m->envelope_to);
    if (cJSON_IsArray(rows[1].item) && !rows[1].item->child)
        json_reader_problem(r, "/envelope/to", "required", "an envelope's \"to\" has at least one recipient");
}
