#include "api/json_out.h"

#include "smtp/report.h"

#include <string.h>

/* Results as JSON text. */

/* Which bytes need care inside a JSON string (RFC 8259 §7): quote, backslash, controls; and 0x80 up, for the check
 * of UTF-8. */
static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

static void add_escape(struct bytes_buf *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char esc[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

    switch (c) {
    case '"':
        bytes_buf_add(out, "\\\"", 2);
        break;
    case '\\':
        bytes_buf_add(out, "\\\\", 2);
        break;
    case '\n':
        bytes_buf_add(out, "\\n", 2);
        break;
    case '\r':
        bytes_buf_add(out, "\\r", 2);
        break;
    case '\t':
        bytes_buf_add(out, "\\t", 2);
        break;
    default: /* not an enum */
        bytes_buf_add(out, esc, sizeof(esc));
    }
}

/* The length of the well-formed sequence at p, or 0. */
static size_t sequence(const char *p, size_t n)
{
    for (size_t len = 2; len <= 4 && len <= n; len++)
        if (bytes_is_utf8(bytes_view(p, len)))
            return len;
    return 0;
}

void json_out_string(struct bytes_buf *out, struct bytes_view s)
{
    size_t i = 0;

    bytes_buf_reserve(out, s.n + 2);
    bytes_buf_add_char(out, '"');
    while (i < s.n) {
        size_t from = i, len;
        while (i < s.n && is_plain((unsigned char)s.p[i]))
            i++;
        if (i > from)
            bytes_buf_add(out, s.p + from, i - from);
        if (i == s.n)
            break;
        if ((unsigned char)s.p[i] < 0x80) {
            add_escape(out, (unsigned char)s.p[i++]);
        } else if ((len = sequence(s.p + i, s.n - i)) > 0) {
            bytes_buf_add(out, s.p + i, len);
            i += len;
        } else {
            bytes_buf_add(out, "\xEF\xBF\xBD", 3);
            i++;
        }
    }
    bytes_buf_add_char(out, '"');
}

void json_out_uint(struct bytes_buf *out, uint64_t v)
{
    char digits[20];
    size_t at = sizeof(digits);

    do
        digits[--at] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    bytes_buf_add(out, digits + at, sizeof(digits) - at);
}

void json_out_member(struct bytes_buf *out, const char *lead, const char *value)
{
    bytes_buf_add_str(out, lead);
    if (value)
        json_out_string(out, bytes_view_str(value));
    else
        bytes_buf_add(out, "null", 4);
}

static void add_bool(struct bytes_buf *out, const char *lead, bool value)
{
    bytes_buf_add_str(out, lead);
    bytes_buf_add_str(out, value ? "true" : "false");
}

static const char *or_null(const char *s)
{
    return s[0] ? s : NULL;
}

void json_out_smtp(struct bytes_buf *out, const struct smtp_outcome *o, bool with_command)
{
    if (!o->reply_code) {
        bytes_buf_add(out, "null", 4);
        return;
    }
    bytes_buf_add_char(out, '{');
    if (with_command && o->command[0]) {
        json_out_member(out, "\"command\":", o->command);
        bytes_buf_add_char(out, ',');
    }
    bytes_buf_add_str(out, "\"code\":");
    json_out_uint(out, (uint64_t)o->reply_code);
    json_out_member(out, ",\"enhanced\":", or_null(o->enhanced));
    json_out_member(out, ",\"text\":", o->text);
    bytes_buf_add_char(out, '}');
}

void json_out_tls(struct bytes_buf *out, const struct send_result *r)
{
    const struct delivery_report *d = r->report;
    const char *mode = r->relay_tls_mode ? r->relay_tls_mode : "none";

    if (!d || !d->address[0] || (!d->has_tls && strcmp(mode, "none") != 0)) {
        bytes_buf_add(out, "null", 4);
        return;
    }
    json_out_member(out, "{\"mode\":", mode);
    json_out_member(out, ",\"version\":", d->has_tls ? d->tls_version : NULL);
    json_out_member(out, ",\"cipher\":", d->has_tls ? d->tls_cipher : NULL);
    add_bool(out, ",\"verified\":", d->has_tls && d->tls_verified);
    bytes_buf_add_char(out, '}');
}

static const char *recipient_status(const struct smtp_outcome *o)
{
    switch (o->delivery) {
    case DELIVERY_NOT_SENT:
        return "not_sent";
    case DELIVERY_REJECTED:
        return "rejected";
    case DELIVERY_ACCEPTED:
        return "accepted";
    case DELIVERY_UNKNOWN:
        return "unknown";
    }
    unreachable("a delivery without a word");
}

void json_out_recipients(struct bytes_buf *out, const struct send_result *r)
{
    bytes_buf_add_char(out, '[');
    for (size_t i = 0; r->rcpt_outcomes && i < r->n_rcpts; i++) {
        const struct smtp_outcome *o = &r->rcpt_outcomes[i];
        json_out_member(out, i ? ",{\"email\":" : "{\"email\":", r->rcpts[i]);
        json_out_member(out, ",\"status\":", recipient_status(o));
        if (o->code != OUTCOME_SENT)
            json_out_member(out, ",\"code\":", outcome_code_name(o->code));
        bytes_buf_add_str(out, ",\"smtp\":");
        json_out_smtp(out, o, false);
        bytes_buf_add_char(out, '}');
    }
    bytes_buf_add_char(out, ']');
}

void json_out_attempts(struct bytes_buf *out, const struct send_result *r)
{
    bytes_buf_add_char(out, '[');
    for (size_t i = 0; i < r->n_attempts; i++) {
        const struct delivery_attempt *a = &r->attempts[i];
        bytes_buf_add_str(out, i ? ",{\"n\":" : "{\"n\":");
        json_out_uint(out, i + 1);
        add_bool(out, ",\"reused_session\":", a->reused_session);
        json_out_member(out, ",\"code\":", outcome_code_name(a->code));
        json_out_member(out, ",\"stage\":", stage_name(a->stage));
        bytes_buf_add_str(out, ",\"ms\":");
        json_out_uint(out, a->ms);
        bytes_buf_add_char(out, '}');
    }
    bytes_buf_add_char(out, ']');
}

bool json_out_is_partial(const struct send_result *r)
{
    for (size_t i = 0; r->rcpt_outcomes && i < r->n_rcpts; i++)
        if (r->rcpt_outcomes[i].code != OUTCOME_SENT)
            return true;
    return false;
}

/* Milliseconds with one decimal. */
static void add_time(struct bytes_buf *out, const char *lead, uint32_t us)
{
    bytes_buf_add_str(out, lead);
    json_out_uint(out, us / 1000);
    if (us % 1000 >= 100) {
        bytes_buf_add_char(out, '.');
        bytes_buf_add_char(out, (char)('0' + us % 1000 / 100));
    }
}

static void add_timing(struct bytes_buf *out, const struct delivery_report *d)
{
    static const struct delivery_report none;

    if (!d)
        d = &none;
    add_time(out, ",\"timing_ms\":{\"queue\":", d->queue_us);
    add_time(out, ",\"connect\":", d->connect_us);
    add_time(out, ",\"tls\":", d->tls_us);
    add_time(out, ",\"auth\":", d->auth_us);
    add_time(out, ",\"send\":", d->send_us);
    add_time(out, ",\"total\":", d->total_us);
    bytes_buf_add_char(out, '}');
}

void json_out_result(struct bytes_buf *out, const struct send_result *r)
{
    const struct delivery_report *d = r->report;

    bytes_buf_reserve(out, 767);
    json_out_member(out, "{\"id\":", r->id);
    json_out_member(out, ",\"status\":", json_out_is_partial(r) ? "partial" : "sent");
    json_out_member(out, ",\"message_id\":", r->message_id);
    json_out_member(out, ",\"relay\":", r->relay);
    if (r->sandbox)
        bytes_buf_add_str(out, ",\"sandbox\":true");
    bytes_buf_add_str(out, ",\"smtp\":");
    json_out_smtp(out, &r->outcome, false);
    bytes_buf_add_str(out, ",\"recipients\":");
    json_out_recipients(out, r);
    bytes_buf_add_str(out, ",\"tls\":");
    json_out_tls(out, r);
    add_bool(out, ",\"reused_session\":", d && d->reused_session);
    bytes_buf_add_str(out, ",\"attempts\":");
    json_out_uint(out, r->n_attempts);
    add_timing(out, d);
    bytes_buf_add_char(out, '}');
}

/* What the relay must offer for this mail. */
static void add_extensions(struct bytes_buf *out, const struct message *m)
{
    const struct {
        const char *name;
        bool needed;
    } extensions[] = {{"8BITMIME", m->needs_8bit || m->needs_utf8}, {"SMTPUTF8", m->needs_utf8},
                      {"DSN", m->mail->dsn.wanted}, {"REQUIRETLS", m->mail->require_tls}};
    bool any = false;

    bytes_buf_add_str(out, ",\"extensions\":[");
    for (size_t i = 0; i < ARRAY_LEN(extensions); i++)
        if (extensions[i].needed) {
            json_out_member(out, any ? "," : "", extensions[i].name);
            any = true;
        }
    bytes_buf_add_char(out, ']');
}

void json_out_validation(struct bytes_buf *out, const struct message *m, const char *relay)
{
    bytes_buf_add_str(out, "{\"valid\":true,\"size\":");
    json_out_uint(out, m->content_n);
    json_out_member(out, ",\"message_id\":", m->message_id);
    json_out_member(out, ",\"relay\":", relay);
    json_out_member(out, ",\"envelope\":{\"from\":", m->from);
    bytes_buf_add_str(out, ",\"to\":[");
    for (size_t i = 0; i < m->n_rcpts; i++)
        json_out_member(out, i ? "," : "", m->rcpts[i]);
    bytes_buf_add_str(out, "]}");
    add_extensions(out, m);
    bytes_buf_add_char(out, '}');
}
