#include "api/json_reader.h"
#include "smtp/address.h"
#include "smtp/raw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A finished message with what its query says of the envelope. */

/* RFC 3986 §2.1, in place; "%" without two digits stays. "+" is itself: ann+tag@example.com is an address. False: there
 * was a NUL, behind which nothing would be seen. */
static bool percent_decode(char *s)
{
    char *to = s;
    bool whole = true;

    for (; *s; s++) {
        if (*s == '%' && bytes_hex_value(s[1]) >= 0 && bytes_hex_value(s[2]) >= 0) {
            *to = (char)(bytes_hex_value(s[1]) << 4 | bytes_hex_value(s[2]));
            whole = whole && *to++ != '\0';
            s += 2;
        } else {
            *to++ = *s == ' ' ? '+' : *s;       /* the HTTP library has read a plus as a blank; a blank is %20 */
        }
    }
    *to = '\0';
    return whole;
}

struct envelope {
    bool has_from, has_to, has_relay, has_policy;
};

/* Two values of what has one: which of them counts, two readers may see differently. */
static bool raw_is_first(struct json_reader *r, bool *has, const char *pointer)
{
    if (*has)
        json_reader_problem(r, pointer, "duplicate_key", "given twice in the query");
    return !*has && (*has = true);
}

static void read_from(struct json_reader *r, const char *value, struct envelope *e)
{
    struct mail_address *from = &r->out->mail->envelope_from;
    unsigned flags = r->params->address_literals ? ADDRESS_LITERALS : 0;
    const char *why;

    if (e->has_from) {
        json_reader_problem(r, "/from", "duplicate_key", "a mail has one envelope sender");
        return;
    }
    e->has_from = true;
    if (!value[0] || strcmp(value, "<>") == 0) {
        from->email = strdup("");
        r->no_memory |= !from->email;
    } else if (address_parse(bytes_view_str(value), flags, from, &why) != 0) {
        json_reader_problem(r, "/from", "invalid_address", "not an address: %s", why);
    }
}

static void read_to(struct json_reader *r, const char *value, size_t i)
{
    unsigned flags = r->params->address_literals ? ADDRESS_LITERALS : 0;
    struct mail_address a;
    char pointer[32];
    const char *why;

    if (address_parse(bytes_view_str(value), flags, &a, &why) != 0) {
        snprintf(pointer, sizeof(pointer), "/to/%zu", i);
        json_reader_problem(r, pointer, "invalid_address", "not an address: %s", why);
    } else if (mail_address_list_add(&r->out->mail->envelope_to, a) != 0) {
        r->no_memory = true;
    }
}

static const char *nth_name(size_t i, const void *ctx)
{
    static const char *const names[] = {"from", "to", "relay", "on_temporary_failure"};

    (void)ctx;
    return names[i];
}

static void read_arguments(struct json_reader *r, const struct json_argument *v, size_t n, struct envelope *e)
{
    struct mail *m = r->out->mail;
    size_t n_to = 0;

    for (size_t i = 0; i < n; i++) {
        bool whole = percent_decode(v[i].name);
        whole = percent_decode(v[i].value) && whole;
        if (!whole) {
            json_reader_problem(r, "", "control_character", "the character U+0000 is not allowed in the query");
        } else if (strcmp(v[i].name, "from") == 0) {
            read_from(r, v[i].value, e);
        } else if (strcmp(v[i].name, "to") == 0) {
            e->has_to = true;
            read_to(r, v[i].value, n_to++);
        } else if (strcmp(v[i].name, "on_temporary_failure") == 0) {
            if (raw_is_first(r, &e->has_policy, "/on_temporary_failure"))
                json_mail_set_on_temporary_failure(r, bytes_view_str(v[i].value));
        } else if (strcmp(v[i].name, "relay") != 0) {
            json_reader_unknown(r, "", v[i].name, json_reader_nearest(v[i].name, nth_name, 4, NULL));
        } else if (!r->params->has_relay(r->params->ctx, v[i].value)) {
            json_reader_problem(r, "/relay", "unknown_relay", "no relay of that name is configured");
        } else if (raw_is_first(r, &e->has_relay, "/relay")) {
            m->relay = strdup(v[i].value);
            r->no_memory |= !m->relay;
        }
    }
}

static void take_facts(struct json_reader *r, struct raw_facts *facts, struct envelope e)
{
    struct mail *m = r->out->mail;

    m->message_id = facts->message_id;
    facts->message_id = NULL;
    m->raw_has_date = facts->has_date;
    m->raw_is_8bit = facts->is_8bit;
    m->raw_is_utf8_header = facts->is_utf8_header;
    m->from = facts->from;
    m->to = facts->to;
    m->cc = facts->cc;
    m->bcc = facts->bcc;
    facts->from = (struct mail_address){0};
    facts->to = facts->cc = facts->bcc = (struct mail_address_list){0};
    for (size_t i = 0; i < facts->n_problems; i++) {
        const struct raw_problem *p = &facts->problems[i];
        if (p->line)
            json_reader_problem(r, "", p->code, "line %zu: %s", p->line, p->detail);
        else
            json_reader_problem(r, "", p->code, "%s", p->detail);
    }
    if (facts->has_resent && !(e.has_from && e.has_to))
        json_reader_problem(r, "", "invalid_header", "a message with Resent- fields needs ?from= and ?to=: its header "
                            "names several envelopes");
}

static void check_recipients(struct json_reader *r, struct envelope e)
{
    const struct mail *m = r->out->mail;
    size_t n = e.has_to ? m->envelope_to.n : m->to.n + m->cc.n + m->bcc.n, most = r->params->max_recipients;

    if (n == 0 && !r->out->n_problems)
        json_reader_problem(r, "/to", "required", "a mail needs a recipient in ?to= or in To, Cc or Bcc");
    if (n > most)
        json_reader_problem(r, "/to", "too_many", "%zu recipients in all, %zu are allowed", n, most);
}

void json_mail_read_raw(char *body, size_t n, const struct json_argument *arguments, size_t n_arguments,
                        const struct json_mail_params *p, struct json_mail_result *out)
{
    struct json_reader r = {.params = p, .out = out, .prefix = ""};
    struct envelope e = {0};
    struct raw_facts facts;

    *out = (struct json_mail_result){.mail = mail_new()};
    bytes_buf_init(&r.not_yet, 1024);
    if (!out->mail || mail_keep(out->mail, body) != 0) {
        r.no_memory = true;
    } else {
        out->mail->raw = bytes_view(body ? body : "", n);
        read_arguments(&r, arguments, n_arguments, &e);
        if (raw_read(out->mail->raw, (e.has_from ? 0 : RAW_WANT_FROM) | (e.has_to ? 0 : RAW_WANT_TO),
                     p->address_literals ? ADDRESS_LITERALS : 0, &facts) != 0)
            r.no_memory = true;
        take_facts(&r, &facts, e);
        raw_facts_deinit(&facts);
        check_recipients(&r, e);
    }
    json_mail_decide(&r);
    bytes_buf_deinit(&r.not_yet);
}
