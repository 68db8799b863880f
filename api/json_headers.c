#include "api/json_reader.h"
#include "smtp/address.h"
#include "smtp/address_list.h"

#include <stdlib.h>
#include <string.h>

/* The caller's own header fields: which he may set, and what they must look like. */

#define NAME_MAX_OCTETS 76              /* "Name: " and a first word must fit a line */
#define VALUE_MAX_OCTETS (16 * 1024)    /* very long References lists included */
#define HEADERS_MAX 200
#define WORD_MAX_OCTETS 900             /* RFC 5322 §2.1.1: a line may have 998, and a word cannot be folded */

enum rule { REFUSED, ANY, ADDRESS, ADDRESSES, DATE, MESSAGE_ID, MESSAGE_IDS };

static const struct row {
    const char *name;                   /* one that ends in '-' is a beginning */
    enum rule rule;
    const char *instead;                /* REFUSED: the field of the request that does it, if any */
} rows[] = {
    {"From", REFUSED, "from"}, {"To", REFUSED, "to"}, {"Cc", REFUSED, "cc"}, {"Bcc", REFUSED, "bcc"},
    {"Reply-To", REFUSED, "reply_to"}, {"Subject", REFUSED, "subject"},
    {"MIME-", REFUSED, NULL}, {"Content-", REFUSED, NULL}, {"Resent-", REFUSED, NULL}, {"ARC-", REFUSED, NULL},
    {"DKIM-Signature", REFUSED, NULL}, {"DomainKey-Signature", REFUSED, NULL}, {"Received", REFUSED, NULL},
    {"Return-Path", REFUSED, NULL}, {"Apparently-To", REFUSED, NULL},
    {"Disposition-Notification-To", ADDRESSES, NULL}, {"Return-Receipt-To", ADDRESSES, NULL},
    {"Errors-To", ADDRESSES, NULL}, {"X-Confirm-Reading-To", ADDRESSES, NULL},
    {"Sender", ADDRESS, NULL}, {"Date", DATE, NULL}, {"Message-ID", MESSAGE_ID, NULL},
    {"In-Reply-To", MESSAGE_IDS, NULL}, {"References", MESSAGE_IDS, NULL},
};

static const struct row any = {"", ANY, NULL};

static const struct row *find_row(const char *name)
{
    struct bytes_view v = bytes_view_str(name);

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *row = rows[i].name;
        if (row[strlen(row) - 1] == '-' ? bytes_starts_nocase(v, row) : bytes_equal_nocase(v, bytes_view_str(row)))
            return &rows[i];
    }
    return &any;
}

/* RFC 5322 §3.6.8: ftext. */
static bool is_field_name(const char *s)
{
    size_t n = strlen(s);

    if (!n || n > NAME_MAX_OCTETS)
        return false;
    for (; *s; s++)
        if (*s < 33 || *s > 126 || *s == ':')
            return false;
    return true;
}

/* What is not ASCII is encoded, and so can be folded anywhere. */
static bool has_long_word(const char *s)
{
    if (!bytes_is_ascii(bytes_view_str(s)))
        return false;
    while (*s) {
        size_t n = strcspn(s, " \t");
        if (n > WORD_MAX_OCTETS)
            return true;
        s += n + (s[n] != '\0');
    }
    return false;
}

/* RFC 5322 §3.6.4, without comments and quoted parts: "<" left "@" right ">", all printable ASCII. Its length, 0 when
 * it is none. */
static size_t message_id_length(const char *s)
{
    size_t n = 1, at = 0;

    if (*s != '<')
        return 0;
    for (; s[n] && s[n] != '>'; n++) {
        if (s[n] <= 32 || s[n] > 126 || s[n] == '<')
            return 0;
        if (s[n] == '@') {
            if (at || n == 1)
                return 0;
            at = n;
        }
    }
    return s[n] == '>' && at && n > at + 1 && n < 250 ? n + 1 : 0;
}

static bool are_message_ids(const char *s)
{
    size_t count = 0, n;

    while (*s) {
        s += strspn(s, " \t,");
        if (!*s)
            break;
        n = message_id_length(s);
        if (!n)
            return false;
        s += n;
        count++;
    }
    return count > 0;
}

static bool eat_number(const char **s, size_t least, size_t most, int low, int high)
{
    size_t n = 0;
    int value = 0;

    for (; n < most && (*s)[n] >= '0' && (*s)[n] <= '9'; n++)
        value = value * 10 + ((*s)[n] - '0');
    *s += n;
    return n >= least && value >= low && value <= high;
}

static bool eat_word(const char **s, const char *words)         /* words of three letters, without anything between */
{
    for (; *words; words += 3)
        if (strncmp(*s, words, 3) == 0) {
            *s += 3;
            return true;
        }
    return false;
}

static bool eat(const char **s, const char *text)
{
    size_t n = strlen(text);

    if (strncmp(*s, text, n) != 0)
        return false;
    *s += n;
    return true;
}

/* RFC 5322 §3.3, as everybody writes it: [Day ","] D Mon YYYY HH:MM[:SS] (+|-)HHMM */
static bool is_date(const char *s)
{
    if (eat_word(&s, "MonTueWedThuFriSatSun") && !eat(&s, ", "))
        return false;
    if (!eat_number(&s, 1, 2, 1, 31) || !eat(&s, " ") || !eat_word(&s, "JanFebMarAprMayJunJulAugSepOctNovDec") ||
        !eat(&s, " ") || !eat_number(&s, 4, 4, 1900, 9999) || !eat(&s, " ") || !eat_number(&s, 2, 2, 0, 23) ||
        !eat(&s, ":") || !eat_number(&s, 2, 2, 0, 59))
        return false;
    if (*s == ':' && !(eat(&s, ":") && eat_number(&s, 2, 2, 0, 60)))
        return false;
    return eat(&s, " ") && (eat(&s, "+") || eat(&s, "-")) && eat_number(&s, 4, 4, 0, 9959) && !*s;
}

/* ASCII passes as it is: programs write more here than any grammar has. Beyond it there may be what nobody sees. */
static const char *addresses_fault(struct bytes_view value)
{
    struct mail_address_list list;
    struct address_list_fault fault;

    if (bytes_is_ascii(value) || address_list_parse(value, ADDRESS_LITERALS, &list, &fault) != 0)
        return bytes_is_ascii(value) ? NULL : fault.why;
    mail_address_list_deinit(&list);
    return NULL;
}

static const char *why_not(enum rule rule, const char *value)
{
    struct mail_address a;
    const char *why = NULL;

    switch (rule) {
    case REFUSED:
    case ANY:
        break;
    case ADDRESS:
        if (address_parse(bytes_view_str(value), ADDRESS_LITERALS, &a, &why) == 0)
            mail_address_deinit(&a);
        break;
    case ADDRESSES:
        why = addresses_fault(bytes_view_str(value));
        break;
    case DATE:
        why = is_date(value) ? NULL : "not a date such as \"Tue, 24 Nov 2026 20:15:00 +0100\"";
        break;
    case MESSAGE_ID:
        why = message_id_length(value) && message_id_length(value) == strlen(value)
                  ? NULL
                  : "not a message id such as \"<id@example.com>\"";
        break;
    case MESSAGE_IDS:
        why = are_message_ids(value) ? NULL : "not a list of message ids such as \"<id@example.com>\"";
        break;
    }
    return why;
}

static bool is_there(const struct mail *m, const char *name)
{
    for (size_t i = 0; i < m->headers.n; i++)
        if (bytes_equal_nocase(bytes_view_str(m->headers.v[i].name), bytes_view_str(name)))
            return true;
    return bytes_equal_nocase(bytes_view_str(name), bytes_view_str("Message-ID")) && m->message_id;
}

static void refuse(struct json_reader *r, const char *pointer, const char *name, const struct row *row)
{
    if (row->instead)
        json_reader_problem(r, pointer, "header_not_allowed", "%.76s is written by mailhatch; use the field \"%s\"",
                            name, row->instead);
    else
        json_reader_problem(r, pointer, "header_not_allowed", "%.76s is written by mailhatch or by servers on the way",
                            name);
}

static void add(struct json_reader *r, const char *name, const cJSON *item, const char *pointer)
{
    const char *value = json_reader_string(r, item, pointer, false).p, *why;
    struct mail *m = r->out->mail;
    const struct row *row;

    if (!is_field_name(name)) {
        json_reader_problem(r, pointer, "invalid_value",
                            "a header's name is 1 to %d printable ASCII characters without \":\"", NAME_MAX_OCTETS);
        return;
    }
    row = find_row(name);
    if (row->rule == REFUSED) {
        refuse(r, pointer, name, row);
        return;
    }
    if (!value)
        return;
    why = strlen(value) > VALUE_MAX_OCTETS || has_long_word(value) ? "too long, or a word in it is"
                                                                   : why_not(row->rule, value);
    if (!why && row->rule != ANY && is_there(m, name))
        why = "this header may occur once";
    if (why)
        json_reader_problem(r, pointer, "invalid_value", "%.76s: %s", name, why);
    else if (row->rule == MESSAGE_ID)
        r->no_memory |= !(m->message_id = strdup(value));
    else
        r->no_memory |= mail_add_header(m, name, value) != 0;
}

static void add_pair(struct json_reader *r, const cJSON *pair, size_t i)
{
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(pair, "name"),
                *value = cJSON_GetObjectItemCaseSensitive(pair, "value");
    struct bytes_buf pointer;

    bytes_buf_init(&pointer, 100);
    bytes_buf_printf(&pointer, "/headers/%zu", i);
    if (!cJSON_IsObject(pair) || !cJSON_IsString(name) || !value || cJSON_GetArraySize(pair) != 2)
        json_reader_problem(r, bytes_buf_view(&pointer).p, "wrong_type", "expected {\"name\": …, \"value\": …}");
    else
        add(r, name->valuestring, value, bytes_buf_view(&pointer).p);
    bytes_buf_deinit(&pointer);
}

void json_read_headers(struct json_reader *r, const cJSON *item, const char *pointer)
{
    const cJSON *one;
    struct bytes_buf at;
    size_t i = 0;

    if (!cJSON_IsObject(item) && !cJSON_IsArray(item)) {
        json_reader_problem(r, pointer, "wrong_type", "expected an object of strings, or an array of {name, value}");
        return;
    }
    cJSON_ArrayForEach(one, item) {
        if (i++ == HEADERS_MAX) {
            json_reader_problem(r, pointer, "too_many", "more than %d headers", HEADERS_MAX);
            return;
        }
        if (cJSON_IsArray(item)) {
            add_pair(r, one, i - 1);
            continue;
        }
        bytes_buf_init(&at, JSON_TEXT_POINTER_MAX);
        bytes_buf_add_str(&at, pointer);
        json_text_add_pointer_step(&at, bytes_view_str(one->string));
        add(r, one->string, one, at.failed ? pointer : bytes_buf_view(&at).p);
        bytes_buf_deinit(&at);
    }
}
