#include "api/rights.h"

#include "api/routes.h"
#include "service/config.h"
#include "smtp/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Which routes, senders, recipients and relays a key may use. */

struct judging {
    const char *prefix;                 /* "" or "/3" of a batch */
    struct json_mail_result *r;
};

/* What anybody with a key may read: what this is, and what its errors mean. */
bool rights_has_scope(const struct config_key *k, const struct route_row *row)
{
    static const char *const open[] = {"/", "/openapi.yaml", "/v1/errors", "/v1/errors/{}"};
    unsigned needs = row->method == HTTP_GET ? CONFIG_SCOPE_READ : CONFIG_SCOPE_SEND;

    for (size_t i = 0; i < ARRAY_LEN(open); i++)
        if (strcmp(row->pattern, open[i]) == 0)
            return true;
    if (strcmp(row->pattern, "/v1/relays/{}/diagnose") == 0)
        needs = CONFIG_SCOPE_DIAGNOSE;
    return k->scopes & needs;
}

/* Local parts are compared without case: no server that counts gives Ann@ to another person than ann@. */
static bool is_listed(const struct config_words *list, const char *email)
{
    const char *at = strrchr(email, '@');

    for (size_t i = 0; i < list->n; i++) {
        const char *whole = list->v[i][0] == '@' && at ? at : email;
        if (bytes_equal_nocase(bytes_view_str(list->v[i]), bytes_view_str(whole)))
            return true;
    }
    return list->n == 0;
}

static void refuse(struct judging *j, enum outcome_code code, const char *pointer, const char *what)
{
    struct json_mail_result *r = j->r;
    struct json_problem *p;

    if (r->code == OUTCOME_SENT) {
        r->code = code;
        if (asprintf(&r->detail, "%s%s: this key may not %s.", j->prefix, pointer, what) < 0)
            r->detail = NULL;
    }
    if (r->n_problems == JSON_PROBLEMS_MAX || !(p = reallocarray(r->problems, r->n_problems + 1, sizeof(*p))))
        return;
    r->problems = p;
    p += r->n_problems++;
    *p = (struct json_problem){.code = outcome_code_name(code)};
    if (asprintf(&p->pointer, "%s%s", j->prefix, pointer) < 0 || asprintf(&p->detail, "this key may not %s", what) < 0)
        unreachable("no memory for a refusal");
}

static void judge_sender(struct judging *j, const struct config_key *k, const char *pointer, const char *email)
{
    char what[400];

    if (!email || !*email || is_listed(&k->senders, email))
        return;                         /* <> is nobody's address: From still says who sends */
    snprintf(what, sizeof(what), "send from %s", email);
    refuse(j, OUTCOME_SENDER_NOT_ALLOWED, pointer, what);
}

static void judge_recipients(struct judging *j, const struct config_key *k, const char *field,
                             const struct mail_address_list *list)
{
    char what[400], pointer[64];

    for (size_t i = 0; i < list->n; i++) {
        if (is_listed(&k->recipients, list->v[i].email))
            continue;
        snprintf(what, sizeof(what), "send to %s", list->v[i].email);
        snprintf(pointer, sizeof(pointer), list->n == 1 ? "%s" : "%s/%zu", field, i);
        refuse(j, OUTCOME_RECIPIENT_NOT_ALLOWED, pointer, what);
    }
}

/* A header that shows a person to the reader: one plain mailbox, or it is refused, as two parsers may see two. */
static void judge_shown(struct judging *j, const struct config_key *k, const char *pointer, struct bytes_view value)
{
    struct mail_address a;
    const char *why;

    while (value.n && strchr(" \t\r\n", value.p[0]))
        value = bytes_view(value.p + 1, value.n - 1);
    while (value.n && strchr(" \t\r\n", value.p[value.n - 1]))
        value.n--;
    if (address_parse(value, ADDRESS_LITERALS, &a, &why) < 0) {
        refuse(j, OUTCOME_SENDER_NOT_ALLOWED, pointer, "send with a From or Sender that is not one plain address");
        return;
    }
    judge_sender(j, k, pointer, a.email);
    mail_address_deinit(&a);
}

static bool is_sender_field(struct bytes_view name)
{
    static const char *const names[] = {"From", "Sender", "Resent-From", "Resent-Sender"};

    while (name.n && (name.p[name.n - 1] == ' ' || name.p[name.n - 1] == '\t'))
        name.n--;                       /* obs-from = "From" *WSP ":" (RFC 5322 §4.5.2) */
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (bytes_equal_nocase(name, bytes_view_str(names[i])))
            return true;
    return false;
}

static size_t line_length(struct bytes_view v)
{
    const char *end = memchr(v.p, '\n', v.n);

    return end ? (size_t)(end - v.p) + 1 : v.n;
}

/* The header of a finished message, field by field with its folded lines; unfolded, a line break is a blank. */
static void judge_raw(struct judging *j, const struct config_key *k, struct bytes_view rest)
{
    while (rest.n && rest.p[0] != '\r' && rest.p[0] != '\n') {
        size_t n = line_length(rest);
        const char *colon;
        while (n < rest.n && (rest.p[n] == ' ' || rest.p[n] == '\t'))
            n += line_length(bytes_view(rest.p + n, rest.n - n));
        colon = memchr(rest.p, ':', n);
        if (colon && is_sender_field(bytes_view(rest.p, (size_t)(colon - rest.p)))) {
            struct bytes_buf value;
            bytes_buf_init(&value, 0);
            for (const char *p = colon + 1; p < rest.p + n; p++)
                bytes_buf_add_char(&value, *p == '\r' || *p == '\n' ? ' ' : *p);
            judge_shown(j, k, "", bytes_buf_view(&value));
            bytes_buf_deinit(&value);
        }
        rest = bytes_view(rest.p + n, rest.n - n);
    }
}

static void judge_senders(struct judging *j, const struct config_key *k, const struct mail *m)
{
    judge_sender(j, k, "/from", m->from.email);
    judge_sender(j, k, "/envelope/from", m->envelope_from.email);
    for (size_t i = 0; i < m->headers.n; i++)
        if (is_sender_field(bytes_view_str(m->headers.v[i].name)))
            judge_shown(j, k, "/headers", bytes_view_str(m->headers.v[i].value));
    if (m->raw.p)
        judge_raw(j, k, m->raw);
}

bool rights_judge_mail(const struct config_key *k, const char *prefix, struct json_mail_result *r)
{
    struct judging j = {prefix, r};
    const struct mail *m = r->mail;

    if (!k || r->code != OUTCOME_SENT)
        return r->code == OUTCOME_SENT;
    if (k->senders.n)
        judge_senders(&j, k, m);
    if (m->diagnose && !(k->scopes & CONFIG_SCOPE_DIAGNOSE))
        refuse(&j, OUTCOME_FORBIDDEN, "/diagnose", "ask for a diagnosis");
    judge_recipients(&j, k, "/to", &m->to);
    judge_recipients(&j, k, "/cc", &m->cc);
    judge_recipients(&j, k, "/bcc", &m->bcc);
    judge_recipients(&j, k, "/envelope/to", &m->envelope_to);
    return r->code == OUTCOME_SENT;
}

bool rights_judge_relay(const struct config_key *k, const char *prefix, const char *relay, struct json_mail_result *r)
{
    struct judging j = {prefix, r};
    char what[160];

    if (!k || k->relays.n == 0)
        return true;
    for (size_t i = 0; relay && i < k->relays.n; i++)
        if (strcmp(k->relays.v[i], relay) == 0)
            return true;
    snprintf(what, sizeof(what), "use the relay %s", relay ? relay : "that the mail would take");
    refuse(&j, OUTCOME_FORBIDDEN, "/relay", what);
    return false;
}
