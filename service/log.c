#include "service/log.h"

#include "service/log_writer.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* One line per fact on stderr, JSON or human; no line is parted by a write(2), so that lines of several threads and
 * processes never mix. */

#define LINE_MAX_OCTETS 4000            /* with the line's end below LOG_WRITER_LINE_MAX */
#define VALUE_MAX_OCTETS 700

static struct {                         /* a reload sets them while others log */
    atomic_bool json, colours, addresses;
    _Atomic(enum log_level) level;
} settings = {.level = LOG_INFO_LEVEL, .json = true};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

struct line {
    char text[LINE_MAX_OCTETS + 8];
    size_t n;
};

int log_init(const char *format, const char *level, bool show_addresses)
{
    bool terminal = isatty(STDERR_FILENO) == 1;
    const char *no_color = getenv("NO_COLOR");
    size_t i = 0;

    while (i < ARRAY_LEN(level_names) && strcmp(level_names[i], level) != 0)
        i++;
    if (i == ARRAY_LEN(level_names))
        return -1;
    if (strcmp(format, "auto") == 0)
        settings.json = !terminal;
    else if (strcmp(format, "json") == 0 || strcmp(format, "text") == 0)
        settings.json = format[0] == 'j';
    else
        return -1;
    settings.level = (enum log_level)i;
    settings.colours = terminal && !settings.json && !(no_color && *no_color);
    settings.addresses = show_addresses;
    return 0;
}

bool log_is_on(enum log_level level)
{
    return level >= settings.level;
}

static void add(struct line *l, const char *s, size_t n)
{
    if (n > LINE_MAX_OCTETS - l->n)
        n = LINE_MAX_OCTETS - l->n;
    memcpy(l->text + l->n, s, n);
    l->n += n;
}

static void add_str(struct line *l, const char *s)
{
    add(l, s, strlen(s));
}

/* Length of the UTF-8 sequence at s, 0 when it is broken. */
static size_t sequence(const char *s)
{
    size_t have = 1;

    while (have < 4 && ((unsigned char)s[have] & 0xC0) == 0x80)
        have++;
    for (size_t n = 1; n <= have; n++)
        if (bytes_is_utf8(bytes_view(s, n)))
            return n;
    return 0;
}

/* RFC 8259 §7 escapes serve both forms: neither a quote nor a line break of a value can end it. DEL and C1 would
 * steer a terminal. */
static void add_escaped(struct line *l, const char *s)
{
    size_t end = l->n + VALUE_MAX_OCTETS;

    while (*s && l->n < end) {
        size_t n = sequence(s);
        unsigned char c = (unsigned char)*s;
        char escape[8];
        if (n == 0) {
            add_str(l, "\xEF\xBF\xBD");                 /* U+FFFD */
            n = 1;
        } else if (c == '"' || c == '\\') {
            snprintf(escape, sizeof(escape), "\\%c", c);
            add_str(l, escape);
        } else if (c < 32 || c == 127) {
            snprintf(escape, sizeof(escape), "\\u%04x", c);
            add_str(l, escape);
        } else if (c == 0xC2 && (unsigned char)s[1] < 0xA0) {
            snprintf(escape, sizeof(escape), "\\u%04x", (unsigned char)s[1]);
            add_str(l, escape);
        } else {
            add(l, s, n);
        }
        s += n;
    }
}

static void add_string(struct line *l, const char *s)
{
    add_str(l, "\"");
    add_escaped(l, s);
    add_str(l, "\"");
}

static void add_number(struct line *l, double n)
{
    char text[32];

    if (!(n > -1e15 && n < 1e15))                       /* JSON has no infinity and no NaN */
        snprintf(text, sizeof(text), "null");
    else if (n >= 0 ? n - (double)(long long)n < 0.0005 : (double)(long long)n - n < 0.0005)
        snprintf(text, sizeof(text), "%lld", (long long)n);
    else
        snprintf(text, sizeof(text), "%.3f", n);
    add_str(l, text);
}

/* RFC 3339, UTC; local time would need a look at files. */
static void add_time(struct line *l, bool date)
{
    struct timespec ts;
    struct tm tm;
    char text[64];

    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    if (date)
        snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", tm.tm_year + 1900, tm.tm_mon + 1,
                 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000);
    else
        snprintf(text, sizeof(text), "%02d:%02d:%02d.%03ld", tm.tm_hour, tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000);
    add_str(l, text);
}

static bool is_last(const struct log_field *f)
{
    return !f->key;
}

/* A line that is too long loses its last fields, never its form. */
static bool has_room(const struct line *l)
{
    return l->n + 2 * VALUE_MAX_OCTETS < LINE_MAX_OCTETS;
}

static void write_json(struct line *l, enum log_level level, const char *event, const char *msg,
                       const struct log_field *fields)
{
    add_str(l, "{\"ts\":\"");
    add_time(l, true);
    add_str(l, "\",\"level\":\"");
    add_str(l, level_names[level]);
    add_str(l, "\",\"event\":");
    add_string(l, event);
    add_str(l, ",\"msg\":");
    add_string(l, msg);
    for (const struct log_field *f = fields; !is_last(f) && has_room(l); f++) {
        if (f->if_set && !*f->str)
            continue;
        add_str(l, ",");
        add_string(l, f->key);
        add_str(l, ":");
        if (f->str)
            add_string(l, f->str);
        else
            add_number(l, f->num);
    }
    add_str(l, "}");
}

static bool is_bare(const char *s)
{
    for (const char *p = s; *p; p++)
        if ((unsigned char)*p <= 32 || (unsigned char)*p >= 127 || *p == '"' || *p == '=' || *p == '\\')
            return false;
    return *s != '\0';
}

static void write_text(struct line *l, enum log_level level, const char *event, const char *msg,
                       const struct log_field *fields)
{
    static const char *const words[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};
    static const char *const colours[] = {"\033[2m", "\033[32m", "\033[33m", "\033[31m"};

    add_time(l, false);
    add_str(l, " ");
    add_str(l, settings.colours ? colours[level] : "");
    add_str(l, words[level]);
    add_str(l, settings.colours ? "\033[0m " : " ");
    add_escaped(l, event);
    add_str(l, ": ");
    add_escaped(l, msg);
    for (const struct log_field *f = fields; !is_last(f) && has_room(l); f++) {
        if (f->str && !*f->str)
            continue;
        add_str(l, settings.colours ? " \033[2m" : " ");
        add_str(l, f->key);
        add_str(l, settings.colours ? "=\033[0m" : "=");
        if (!f->str)
            add_number(l, f->num);
        else if (is_bare(f->str))
            add_str(l, f->str);
        else
            add_string(l, f->str);
    }
}

static void write_line(struct line *l, enum log_level level, const char *event, const char *msg,
                       const struct log_field *fields)
{
    l->n = 0;
    if (settings.json)
        write_json(l, level, event, msg, fields);
    else
        write_text(l, level, event, msg, fields);
    l->text[l->n++] = '\n';
}

void log_write(enum log_level level, const char *event, const char *msg, const struct log_field *fields)
{
    struct line l;

    if (!log_is_on(level))
        return;
    write_line(&l, level, event, msg, fields);
    if (!log_writer_put(bytes_view(l.text, l.n), level >= LOG_WARN_LEVEL) && write(STDERR_FILENO, l.text, l.n) < 0)
        return;                         /* there is nowhere left to say so */
}

void log_plain(const char *text)
{
    if (!log_writer_put(bytes_view_str(text), true))
        fputs(text, stderr);
}

/* ---- the writer ---- */

/* Whatever the level: lines of that level were lost. */
static size_t report_dropped(uint64_t dropped, char to[LOG_WRITER_LINE_MAX])
{
    const struct log_field fields[] = {LOG_N("dropped", dropped), {.key = NULL}};
    struct line l;

    _Static_assert(sizeof(l.text) <= LOG_WRITER_LINE_MAX, "a line fits");
    write_line(&l, LOG_WARN_LEVEL, "log", "lines were lost here: stderr did not take them", fields);
    memcpy(to, l.text, l.n);
    return l.n;
}

static void say_why(const char *why)
{
    log_event(LOG_ERROR_LEVEL, "crash", "broken invariant; the process ends here", LOG_S("why", why));
}

void log_start(void)
{
    if (log_writer_start(report_dropped) == 0)
        unreachable_say(say_why);
}

void log_write_through(void)
{
    log_writer_write_through();
}

void log_flush(unsigned stall_ms)
{
    log_writer_flush(stall_ms);
}

uint64_t log_lines_dropped(void)
{
    return log_writer_lost();
}

/* ---- masks ---- */

void log_mask_address(const char *email, char out[128])
{
    const char *at = strrchr(email, '@');
    size_t first = 1;

    if (settings.addresses || !at || at == email) {
        snprintf(out, 128, "%.120s", email);
        return;
    }
    while (((unsigned char)email[first] & 0xC0) == 0x80)
        first++;                        /* one letter, not one octet */
    snprintf(out, 128, "%.*s***%.110s", (int)first, email, at);
}

/* What may stand before the '@' of an address inside a sentence. */
static bool is_local_part(char c)
{
    return (unsigned char)c >= 128 || (c && !strchr(" \t<>()[]:;,\"'@", c) && (unsigned char)c > 32);
}

/* Where the local part that ends at out[n) begins, n for none. A quoted one (RFC 5321 §4.1.2) may hold blanks. */
static size_t local_part_start(const char *out, size_t n)
{
    const char *quote = n > 1 && out[n - 1] == '"' ? memrchr(out, '"', n - 1) : NULL;
    size_t start = n;

    if (quote)
        return (size_t)(quote - out);
    while (start > 0 && is_local_part(out[start - 1]))
        start--;
    return start;
}

void log_mask_text(const char *text, char out[256])
{
    size_t n = 0;

    for (const char *p = text; *p && n < 250; p++) {
        size_t start = *p == '@' && !settings.addresses ? local_part_start(out, n) : n;
        if (start < n) {
            size_t keep = start + 1;
            while (keep < n && ((unsigned char)out[keep] & 0xC0) == 0x80)
                keep++;
            memcpy(out + keep, "***", 3);
            n = keep + 3;
        }
        out[n++] = *p;
    }
    out[n] = '\0';
}
