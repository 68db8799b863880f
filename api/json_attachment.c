#include "api/json_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Attachments and invitations: their names, types and contents. */

#define CONTENT_TYPE_MAX 200
#define CONTENT_ID_MAX 200
#define METHOD_MAX 20
#define CALENDAR_MAX ((size_t)4 * 1024 * 1024)  /* it is written twice: to be shown, and as a file */

/* ---- names, types, ids ---- */

void json_check_filename(struct json_reader *r, const char *name, const char *pointer)
{
    if (!name[0])
        json_reader_problem(r, pointer, "invalid_value", "a file name is not empty");
    else if (strlen(name) > JSON_FILENAME_MAX)
        json_reader_problem(r, pointer, "too_long", "%zu octets of UTF-8, %d are allowed", strlen(name),
                            JSON_FILENAME_MAX);
}

/* RFC 2045 §5.1: any printable ASCII but the tspecials. */
static size_t token_length(const char *s)
{
    size_t n = 0;

    while (s[n] > ' ' && s[n] < 127 && !strchr("()<>@,;:\\\"/[]?=", s[n]))
        n++;
    return n;
}

static size_t quoted_length(const char *s)
{
    size_t n = 1;

    if (s[0] != '"')
        return 0;
    for (; s[n] && s[n] != '"'; n++) {
        if (s[n] == '\\')
            n++;
        if (s[n] < ' ' || s[n] > '~')
            return 0;
    }
    return s[n] == '"' ? n + 1 : 0;
}

/* "type/subtype" *( ";" attribute "=" value ). A letter beyond ASCII is negative or large, so it is no token. */
static bool is_content_type(const char *s)
{
    size_t n = token_length(s);

    if (!n || s[n] != '/' || !token_length(s + n + 1))
        return false;
    s += n + 1;
    s += token_length(s);
    while (*s) {
        s += strspn(s, " ");
        if (*s++ != ';')
            return false;
        s += strspn(s, " ");
        n = token_length(s);
        if (!n || s[n] != '=')
            return false;
        s += n + 1;
        n = *s == '"' ? quoted_length(s) : token_length(s);
        if (!n)
            return false;
        s += n;
    }
    return true;
}

void json_check_content_type(struct json_reader *r, const char *type, const char *pointer)
{
    if (strlen(type) > CONTENT_TYPE_MAX || !is_content_type(type))
        json_reader_problem(r, pointer, "invalid_value", "not a content type such as \"application/pdf\"");
    else if (bytes_starts_nocase(bytes_view_str(type), "multipart/"))
        json_reader_problem(r, pointer, "invalid_value", "a file is not multipart; give the type of its own");
}

/* RFC 2045 §7, RFC 2392: with or without its brackets; nothing that would need quoting in either place. */
char *json_check_content_id(struct json_reader *r, const char *id, const char *pointer)
{
    size_t n = strlen(id);
    bool ok;

    if (n >= 2 && id[0] == '<' && id[n - 1] == '>') {
        id++;
        n -= 2;
    }
    ok = n > 0 && n <= CONTENT_ID_MAX;
    for (size_t i = 0; ok && i < n; i++)
        ok = id[i] > ' ' && id[i] < 127 && !strchr("<>()\\\",;", id[i]);
    if (!ok) {
        json_reader_problem(r, pointer, "invalid_value", "a content id has 1 to %d printable ASCII characters without "
                            "spaces, brackets, quotes, \",\" and \";\"", CONTENT_ID_MAX);
        return NULL;
    }
    return strndup(id, n);
}

/* ---- base64 ---- */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const unsigned char is_digit[256] = {
    ['A'] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    ['a'] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    ['0'] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, ['+'] = 1, ['/'] = 1,
};

/* 1 or 0; not a bool, as they are joined by "&" without a branch between */
static inline unsigned are_digits(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;

    return (unsigned)(is_digit[u[0]] & is_digit[u[1]] & is_digit[u[2]] & is_digit[u[3]]);
}

/* Moves the digits together; *at_out is where the first other octet is that is no line break. */
static size_t compact(char *p, size_t n, size_t *at_out)
{
    size_t i = 0, to = 0;

    while (i + 16 <= n && are_digits(p + i) & are_digits(p + i + 4) & are_digits(p + i + 8) & are_digits(p + i + 12))
        i += 16;                        /* no line breaks: nothing moves */
    to = i;
    while (i < n) {
        if (i + 4 <= n && are_digits(p + i)) {
            if (to != i)
                memmove(p + to, p + i, 4);
            i += 4;
            to += 4;
        } else if (is_digit[(unsigned char)p[i]]) {
            p[to++] = p[i++];
        } else if (p[i] == '\n' || p[i] == '\r') {
            i++;
        } else {
            break;
        }
    }
    *at_out = i;
    return to;
}

/* RFC 4648 §3.5: the bits behind the last octet are zero, whatever the writer left there. */
static void mend_last(char *p, size_t n)
{
    size_t value = (size_t)(strchr(digits, p[n - 1]) - digits);

    p[n - 1] = digits[value & (n % 4 == 2 ? 0x30u : 0x3Cu)];
}

/* Base64 as API.md takes it -> its canonical form, in place; two octets behind p[n] may be written. NULL, or what is
 * wrong. */
static const char *canonical_base64(char *p, size_t n, size_t *n_out)
{
    size_t at, m = compact(p, n, &at), padding = 0;

    for (size_t i = at; i < n; i++) {
        if (p[i] == '-' || p[i] == '_')
            return "base64url is not taken; use the standard alphabet with + and /";
        if (p[i] != '=' && p[i] != '\r' && p[i] != '\n')
            return i == at ? "not base64" : "something follows the padding";
        padding += p[i] == '=';
    }
    if (m % 4 == 1 || padding > 2 || (padding && (m + padding) % 4))
        return "the base64 is not complete";
    if (m % 4) {
        mend_last(p, m);
        memcpy(p + m, "==", 4 - m % 4);
        m += 4 - m % 4;
    }
    *n_out = m;
    return NULL;
}

/* A long content stands in the body: behind it come at least its closing quote and another octet of the text, both read
 * already. */
static void read_base64(struct json_reader *r, const cJSON *item, const char *pointer, struct bytes_view *out)
{
    char small[JSON_TEXT_LONG + 2];
    const char *why;
    struct bytes_view v;
    char *p = small;
    size_t n = 0;
    bool kept;

    if (!cJSON_IsString(item)) {
        json_reader_wrong_type(r, pointer, "a string", item);
        return;
    }
    v = json_tree_string(r->tree, item, &kept);         /* controls are no base64 either */
    if (kept)
        p = (char *)(uintptr_t)v.p;
    else if (v.n < JSON_TEXT_LONG)
        memcpy(small, v.p, v.n);
    else
        unreachable("a long string in the tree");
    why = canonical_base64(p, v.n, &n);
    if (why) {
        json_reader_problem(r, pointer, "invalid_base64", "%s", why);
        return;
    }
    json_reader_keep(r, bytes_view(p, n), kept, out);
}

/* ---- attachments ---- */

enum { FILENAME, CONTENT, CONTENT_TYPE, CONTENT_ID, DISPOSITION, N_MEMBERS };

static void read_disposition(struct json_reader *r, const cJSON *item, const char *pointer, bool *is_inline)
{
    struct bytes_view v = json_reader_string(r, item, pointer, false);

    if (!v.p)
        return;
    *is_inline = bytes_equal_nocase(v, bytes_view_str("inline"));
    if (!*is_inline && !bytes_equal_nocase(v, bytes_view_str("attachment")))
        json_reader_problem(r, pointer, "invalid_value", "\"attachment\" or \"inline\"");
}

static void read_names(struct json_reader *r, const struct json_member *rows, const char *pointer,
                       struct mail_attachment *a)
{
    char at[JSON_POINTER_MAX + 16], *id = NULL;

    snprintf(at, sizeof(at), "%s/filename", pointer);
    if (rows[FILENAME].item)
        json_reader_copy(r, rows[FILENAME].item, at, JSON_FILENAME_MAX, &a->filename);
    else if (!rows[CONTENT_ID].item)
        json_reader_problem(r, at, "required", "an attachment needs a \"filename\" (or a \"content_id\")");
    if (a->filename)
        json_check_filename(r, a->filename, at);
    snprintf(at, sizeof(at), "%s/content_type", pointer);
    if (rows[CONTENT_TYPE].item)
        json_reader_copy(r, rows[CONTENT_TYPE].item, at, CONTENT_TYPE_MAX, &a->content_type);
    if (a->content_type)
        json_check_content_type(r, a->content_type, at);
    snprintf(at, sizeof(at), "%s/content_id", pointer);
    if (rows[CONTENT_ID].item)
        json_reader_copy(r, rows[CONTENT_ID].item, at, CONTENT_ID_MAX + 2, &id);
    if (id)
        a->content_id = json_check_content_id(r, id, at);
    free(id);
}

static void read_attachment(struct json_reader *r, const cJSON *item, const char *pointer)
{
    struct json_member rows[N_MEMBERS] = {
        [FILENAME] = {"filename", NULL}, [CONTENT] = {"content", NULL}, [CONTENT_TYPE] = {"content_type", NULL},
        [CONTENT_ID] = {"content_id", NULL}, [DISPOSITION] = {"disposition", NULL}};
    struct mail_attachment a = {.is_base64 = true, .content = {"", 0}};
    char at[JSON_POINTER_MAX + 16];

    if (!json_reader_is_object(r, item, pointer))
        return;
    json_reader_members(r, item, pointer, rows, N_MEMBERS);
    read_names(r, rows, pointer, &a);
    a.is_inline = a.content_id != NULL;
    snprintf(at, sizeof(at), "%s/disposition", pointer);
    if (rows[DISPOSITION].item)
        read_disposition(r, rows[DISPOSITION].item, at, &a.is_inline);
    snprintf(at, sizeof(at), "%s/content", pointer);
    if (rows[CONTENT].item)
        read_base64(r, rows[CONTENT].item, at, &a.content);
    else
        json_reader_problem(r, at, "required", "an attachment needs its \"content\", as base64; nothing is fetched");
    if (mail_add_attachment(r->out->mail, a) != 0)
        r->no_memory = true;
}

void json_read_attachments(struct json_reader *r, const cJSON *item, const char *pointer)
{
    json_reader_each(r, item, pointer, JSON_ATTACHMENTS_MAX, "attachments", read_attachment);
}

/* ---- calendar ---- */

/* RFC 5546 §1.4: iTIP's methods. */
static const char *find_method(struct bytes_view v)
{
    static const char *const methods[] = {"PUBLISH", "REQUEST", "REPLY", "ADD", "CANCEL", "REFRESH", "COUNTER",
                                          "DECLINECOUNTER"};

    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (bytes_equal_nocase(v, bytes_view_str(methods[i])))
            return methods[i];
    return NULL;
}

/* What the object itself says: a line "METHOD:REQUEST" (RFC 5545 §3.7.2). */
static struct bytes_view own_method(struct bytes_view text)
{
    const char *p = text.p, *end = text.p + text.n;

    while (p < end) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        struct bytes_view line = bytes_view(p, (size_t)((line_end ? line_end : end) - p));
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        if (bytes_starts_nocase(line, "METHOD:"))
            return bytes_view(line.p + 7, line.n - 7);
        p = line_end ? line_end + 1 : end;
    }
    return bytes_view(NULL, 0);
}

/* RFC 6047 §2.4: the type's method parameter is the object's METHOD. */
static void read_method(struct json_reader *r, const cJSON *item, struct mail *m)
{
    struct bytes_view own = m->calendar.p ? own_method(m->calendar) : bytes_view(NULL, 0), given = {NULL, 0};
    const char *method;

    if (item) {
        given = json_reader_string(r, item, "/calendar/method", false);
        if (!given.p)
            return;
    }
    method = find_method(given.p ? given : own);
    if (!given.p && !own.p)
        json_reader_problem(r, "/calendar/method", "required", "a calendar needs its method, such as \"REQUEST\"");
    else if (!method)
        json_reader_problem(r, "/calendar/method", "invalid_value", "PUBLISH, REQUEST, REPLY, ADD, CANCEL, REFRESH, "
                            "COUNTER or DECLINECOUNTER");
    else if (given.p && own.p && !bytes_equal_nocase(given, own))
        json_reader_problem(r, "/calendar/method", "invalid_value", "the content says METHOD:%.*s",
                            (int)(own.n < METHOD_MAX ? own.n : METHOD_MAX), own.p);
    else if (!(m->calendar_method = strdup(method)))
        r->no_memory = true;
}

void json_read_calendar(struct json_reader *r, const cJSON *item, const char *pointer)
{
    struct json_member rows[] = {{"method", NULL}, {"content", NULL}};
    struct mail *m = r->out->mail;

    if (!json_reader_is_object(r, item, pointer))
        return;
    json_reader_members(r, item, pointer, rows, ARRAY_LEN(rows));
    if (rows[1].item)
        json_reader_content(r, rows[1].item, "/calendar/content", &m->calendar);
    else
        json_reader_problem(r, "/calendar/content", "required", "a calendar needs its content, an iCalendar object");
    if (m->calendar.n > CALENDAR_MAX)
        json_reader_problem(r, "/calendar/content", "too_long", "%zu octets of UTF-8, %zu are allowed", m->calendar.n,
                            CALENDAR_MAX);
    if (m->calendar.p && !bytes_starts_nocase(m->calendar, "BEGIN:VCALENDAR"))
        json_reader_problem(r, "/calendar/content", "invalid_value",
                            "an iCalendar object begins with \"BEGIN:VCALENDAR\"");
    free(m->calendar_method);
    m->calendar_method = NULL;
    read_method(r, rows[0].item, m);
}
