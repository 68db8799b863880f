#include "smtp/raw.h"

#include "smtp/address_list.h"
#include "smtp/block.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Finished messages: what is wrong with one, what its header says, and the message with clean line ends. */

#define LINE_MAX_OCTETS 998             /* RFC 5322 §2.1.1, without the line end */
#define HEADER_MAX (1024 * 1024)
#define RUN_MAX (256 * 1024)            /* octets copied at once */

/* RFC 5322 §3.6: at most one of each; RFC 2045 §3 and the grammar there say it of the MIME fields. Two of them are read
 * differently by different programs, and that is what somebody who writes two wants. */
enum field_kind {
    FIELD_FROM,
    FIELD_SENDER,
    FIELD_TO,
    FIELD_CC,
    FIELD_BCC,
    FIELD_MESSAGE_ID,
    FIELD_DATE,
    FIELD_REPLY_TO,
    FIELD_SUBJECT,
    FIELD_IN_REPLY_TO,
    FIELD_REFERENCES,
    FIELD_MIME_VERSION,
    FIELD_CONTENT_TYPE,
    FIELD_CONTENT_TRANSFER_ENCODING,
    FIELD_OTHER,
};

static const char *const field_names[] = {
    [FIELD_FROM] = "From",
    [FIELD_SENDER] = "Sender",
    [FIELD_TO] = "To",
    [FIELD_CC] = "Cc",
    [FIELD_BCC] = "Bcc",
    [FIELD_MESSAGE_ID] = "Message-ID",
    [FIELD_DATE] = "Date",
    [FIELD_REPLY_TO] = "Reply-To",
    [FIELD_SUBJECT] = "Subject",
    [FIELD_IN_REPLY_TO] = "In-Reply-To",
    [FIELD_REFERENCES] = "References",
    [FIELD_MIME_VERSION] = "MIME-Version",
    [FIELD_CONTENT_TYPE] = "Content-Type",
    [FIELD_CONTENT_TRANSFER_ENCODING] = "Content-Transfer-Encoding",
};
_Static_assert(ARRAY_LEN(field_names) == FIELD_OTHER, "one name per kind");

struct field {
    struct bytes_view all;              /* its lines, line ends included */
    struct bytes_view name, value;      /* value: folds included, the last line end too */
    size_t line;                        /* line 0: the message has no such field */
};

struct reading {
    struct raw_facts *facts;
    unsigned address_flags;
    bool no_memory;
    struct field fields[FIELD_OTHER];
};

/* ---- problems ---- */

static void PRINTF_LIKE(4, 5) problem(struct raw_facts *f, const char *code, size_t line, const char *fmt, ...)
{
    size_t same = 0, at = f->n_problems;
    va_list ap;

    for (size_t i = 0; i < f->n_problems; i++)
        same += strcmp(f->problems[i].code, code) == 0;
    if (same >= RAW_PROBLEMS_OF_A_CODE || f->n_problems == RAW_PROBLEMS_MAX)
        return;
    for (; at && f->problems[at - 1].line > line; at--)
        f->problems[at] = f->problems[at - 1];
    f->n_problems++;
    f->problems[at].code = code;
    f->problems[at].line = line;
    va_start(ap, fmt);
    vsnprintf(f->problems[at].detail, sizeof(f->problems[at].detail), fmt, ap);
    va_end(ap);
}

/* ---- lines ---- */

/* Takes the next line with its line end from the front. */
static struct bytes_view take_line(struct bytes_view *rest)
{
    const char *lf = memchr(rest->p, '\n', rest->n);
    struct bytes_view line = bytes_view(rest->p, lf ? (size_t)(lf - rest->p) + 1 : rest->n);

    *rest = bytes_view(rest->p + line.n, rest->n - line.n);
    return line;
}

static struct bytes_view without_end(struct bytes_view line)
{
    if (line.n && line.p[line.n - 1] == '\n') {
        line.n--;
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
    }
    return line;
}

static bool is_white(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_blank(struct bytes_view v)
{
    for (size_t i = 0; i < v.n; i++)
        if (!is_white(v.p[i]) && v.p[i] != '\r' && v.p[i] != '\n')
            return false;
    return true;
}

/* Takes the next field with its folded lines from the front; false at the empty line or the end. A line that is no
 * field is taken as one without a name. The only place that says where a header ends, for reading and writing alike. */
static bool take_field(struct bytes_view *rest, struct field *out)
{
    const char *start = rest->p, *colon;
    struct bytes_view after = *rest, line;

    if (!rest->n)
        return false;
    line = without_end(take_line(&after));
    if (!line.n)
        return false;
    while (after.n && is_white(after.p[0]))
        take_line(&after);
    colon = memchr(start, ':', line.n);
    *rest = after;
    out->all = bytes_view(start, (size_t)(after.p - start));
    out->name = bytes_view(start, colon ? (size_t)(colon - start) : 0);
    out->value = colon ? bytes_view(colon + 1, (size_t)(after.p - colon) - 1) : bytes_view(start, 0);
    return true;
}

/* Eight octets at a time. */
static bool has_high_octet(struct bytes_view v)
{
    uint64_t word, all = 0;
    size_t i = 0;

    for (; i + sizeof(word) <= v.n; i += sizeof(word)) {
        memcpy(&word, v.p + i, sizeof(word));
        all |= word;
    }
    for (; i < v.n; i++)
        all |= (unsigned char)v.p[i];
    return (all & 0x8080808080808080u) != 0;
}

static void check_lines(struct bytes_view in, struct raw_facts *f)
{
    bool has_nul = in.n && memchr(in.p, '\0', in.n);

    for (size_t number = 1; in.n; number++) {
        struct bytes_view line = without_end(take_line(&in));
        if (line.n > LINE_MAX_OCTETS)
            problem(f, "line_too_long", number, "the line has %zu octets, and a line of a mail at most %d", line.n,
                    LINE_MAX_OCTETS);
        if (memchr(line.p, '\r', line.n))
            problem(f, "control_character", number, "the line has a CR that no LF follows");
        if (has_nul && memchr(line.p, '\0', line.n))
            problem(f, "control_character", number, "the line has a NUL octet");
    }
}

/* ---- the header ---- */

static enum field_kind kind_of(struct bytes_view name)
{
    for (size_t i = 0; i < ARRAY_LEN(field_names); i++)
        if (bytes_equal_nocase(name, bytes_view_str(field_names[i])))
            return (enum field_kind)i;
    return FIELD_OTHER;
}

static bool is_bcc(struct bytes_view name)
{
    return bytes_equal_nocase(name, bytes_view_str("Bcc")) || bytes_equal_nocase(name, bytes_view_str("Resent-Bcc"));
}

/* RFC 5322 §3.6.8: field-name = 1*ftext, ftext = %d33-57 / %d59-126. */
static bool is_field_name(struct bytes_view name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] < 33 || name.p[i] > 126)
            return false;
    return name.n > 0;
}

/* Says what is wrong with a line that should be a field's first. */
static bool check_field(struct field *field, struct raw_facts *f)
{
    struct bytes_view name = field->name;
    const char *why = NULL;

    if (is_white(field->all.p[0]))
        why = "the header begins with a folded line, which belongs to no field";
    else if (name.n && is_white(name.p[name.n - 1]))
        why = "there is white space between the field's name and its colon";
    else if (field->line == 1 && bytes_starts_nocase(field->all, "From ") && !is_field_name(name))
        why = "the message begins with an mbox separator (\"From \" without a colon): leave that line out";
    else if (field->value.p == field->all.p)
        why = "the line is no header field: it has no colon (an empty line ends the header)";
    else if (!is_field_name(name))
        why = "the field's name is empty, or has an octet that is not printable ASCII";
    if (why)
        problem(f, "invalid_header", field->line, "%s", why);
    return !why;
}

/* Each line of the field, folded ones too. Returns their number. */
static size_t check_field_lines(const struct field *field, struct raw_facts *f)
{
    struct bytes_view rest = field->all;
    size_t number = field->line;

    for (; rest.n; number++) {
        struct bytes_view line = take_line(&rest);
        /* RFC 5322 §3.2.2: only obsolete folding has lines of nothing but white space; some take one for the end. */
        if (number > field->line && is_blank(line))
            problem(f, "invalid_header", number, "the header has a line of nothing but white space");
        if (has_high_octet(line) && !bytes_is_utf8(line))
            problem(f, "invalid_header", number, "the header has octets that are not UTF-8");
    }
    return number - field->line;
}

static void note_field(struct reading *r, const struct field *field)
{
    enum field_kind kind = kind_of(field->name);
    struct raw_facts *f = r->facts;

    f->has_date |= kind == FIELD_DATE;
    f->has_bcc |= is_bcc(field->name);
    f->has_resent |= bytes_starts_nocase(field->name, "Resent-");
    if (!is_bcc(field->name))
        f->is_utf8_header |= has_high_octet(field->all);
    if (kind == FIELD_OTHER)
        return;
    if (r->fields[kind].line)
        problem(f, "invalid_header", field->line, "there is a second %s (the first is in line %zu)", field_names[kind],
                r->fields[kind].line);
    else
        r->fields[kind] = *field;
}

/* Returns what follows the header: the empty line and the body. */
static struct bytes_view read_header(struct reading *r, struct bytes_view in)
{
    static const char mark[] = "\xEF\xBB\xBF";
    struct bytes_view rest = in;
    struct field field = {.line = 1};

    if (bytes_starts_nocase(rest, mark)) {
        problem(r->facts, "invalid_header", 1, "the message begins with a byte order mark");
        rest = bytes_view(rest.p + 3, rest.n - 3);
    }
    while (take_field(&rest, &field)) {
        if ((size_t)(rest.p - in.p) > HEADER_MAX) {
            problem(r->facts, "invalid_header", field.line, "the header is longer than %d octets", HEADER_MAX);
            return bytes_view(rest.p, 0);
        }
        if (check_field(&field, r->facts))
            note_field(r, &field);
        field.line += check_field_lines(&field, r->facts);
    }
    return rest;
}

/* ---- what the fields say ---- */

/* RFC 5322 §3.6.4: msg-id = "<" id-left "@" id-right ">". Programs write others within the brackets; what matters is
 * that it is one word. */
static void read_message_id(struct reading *r)
{
    const struct field *field = &r->fields[FIELD_MESSAGE_ID];
    struct bytes_view v = field->value;
    bool ok;

    if (!field->line)
        return;
    while (v.n && is_blank(bytes_view(v.p, 1)))
        v = bytes_view(v.p + 1, v.n - 1);
    while (v.n && is_blank(bytes_view(v.p + v.n - 1, 1)))
        v.n--;
    ok = v.n > 2 && v.n <= LINE_MAX_OCTETS && v.p[0] == '<' && v.p[v.n - 1] == '>';
    for (size_t i = 1; ok && i + 1 < v.n; i++)
        ok = v.p[i] > 32 && v.p[i] < 127 && v.p[i] != '<' && v.p[i] != '>';
    if (!ok) {
        problem(r->facts, "invalid_header", field->line,
                "the Message-ID is not one <…> of printable ASCII without spaces");
        return;
    }
    r->facts->message_id = strndup(v.p, v.n);
    r->no_memory |= !r->facts->message_id;
}

static size_t count_line_ends(struct bytes_view v)
{
    size_t n = 0;

    for (const char *p = v.p; v.n && (p = memchr(p, '\n', (size_t)(v.p + v.n - p))); p++)
        n++;
    return n;
}

static void read_addresses(struct reading *r, enum field_kind kind, struct mail_address_list *out)
{
    const struct field *field = &r->fields[kind];
    struct address_list_fault fault;

    if (!field->line || address_list_parse(field->value, r->address_flags, out, &fault) == 0)
        return;
    r->no_memory |= fault.no_memory;
    problem(r->facts, "invalid_address", field->line + count_line_ends(bytes_view(field->value.p, fault.at)),
            "%s, address %zu: %s", field_names[kind], fault.n, fault.why);
}

/* RFC 5322 §3.6.2: "If the from field contains more than one mailbox specification in the mailbox-list, then the
 * sender field, containing the field name "Sender" and a single mailbox specification, MUST appear". */
static void read_sender(struct reading *r)
{
    struct mail_address_list from = {0}, sender = {0};
    size_t line = r->fields[FIELD_FROM].line, before = r->facts->n_problems;
    struct mail_address_list *chosen;

    read_addresses(r, FIELD_FROM, &from);
    read_addresses(r, FIELD_SENDER, &sender);
    chosen = from.n == 1 ? &from : &sender;
    if (!line || r->facts->n_problems > before) {
        /* said already */
    } else if (r->fields[FIELD_SENDER].line && sender.n != 1) {
        problem(r->facts, "invalid_address", r->fields[FIELD_SENDER].line, "Sender has %zu addresses instead of one",
                sender.n);
    } else if (!chosen->n) {
        problem(r->facts, "invalid_address", line,
                "From has %zu addresses and there is no Sender: the header does not say who sends it", from.n);
    } else {
        r->facts->from = chosen->v[0];
        chosen->v[0] = (struct mail_address){0};
    }
    mail_address_list_deinit(&from);
    mail_address_list_deinit(&sender);
}

int raw_read(struct bytes_view in, unsigned want, unsigned address_flags, struct raw_facts *out)
{
    struct reading r = {.facts = out, .address_flags = address_flags};

    *out = (struct raw_facts){0};
    check_lines(in, out);
    out->is_8bit = has_high_octet(read_header(&r, in));
    read_message_id(&r);
    if (!r.fields[FIELD_FROM].line)
        problem(out, "required", 0, "the message has no From");
    if (want & RAW_WANT_FROM)
        read_sender(&r);
    if (want & RAW_WANT_TO) {
        read_addresses(&r, FIELD_TO, &out->to);
        read_addresses(&r, FIELD_CC, &out->cc);
        read_addresses(&r, FIELD_BCC, &out->bcc);
    }
    return r.no_memory ? -1 : 0;
}

void raw_facts_deinit(struct raw_facts *f)
{
    mail_address_deinit(&f->from);
    mail_address_list_deinit(&f->to);
    mail_address_list_deinit(&f->cc);
    mail_address_list_deinit(&f->bcc);
    free(f->message_id);
    *f = (struct raw_facts){0};
}

/* ---- writing ---- */

/* Copies whole runs; a run ends at a bare LF, or when it is long. RFC 5321 §2.3.8: "SMTP client implementations MUST
 * NOT transmit these characters except when they are intended as line terminators and then MUST … transmit them only as
 * a <CRLF> sequence". So no "\n.\n" is left that some server would take for the end of the data. */
static void write_lines(struct bytes_view in, struct bytes_buf *out)
{
    const char *run = in.p, *p = in.p, *end, *lf;
    struct block_spent spent = {.content = in};
    bool ends;

    if (!in.n)
        return;
    end = in.p + in.n;
    ends = end[-1] == '\n';
    while (p < end && (lf = memchr(p, '\n', (size_t)(end - p)))) {
        bool is_pair = lf > in.p && lf[-1] == '\r';
        p = lf + 1;
        if (is_pair && (size_t)(p - run) < RUN_MAX)
            continue;
        bytes_buf_add(out, run, (size_t)(lf - run) - is_pair);
        bytes_buf_add(out, "\r\n", 2);
        run = p;
        block_spend(&spent, (size_t)(run - in.p));
    }
    bytes_buf_add(out, run, (size_t)(end - run));
    if (!ends)
        bytes_buf_add(out, "\r\n", 2);
}

void raw_write(struct bytes_view in, struct bytes_view add, struct bytes_buf *out)
{
    struct bytes_view rest = in;
    const char *run = in.p;
    struct field field;

    bytes_buf_reserve(out, in.n + add.n + 2);
    bytes_buf_add(out, add.p, add.n);
    while (take_field(&rest, &field)) {
        if (!is_bcc(field.name))
            continue;
        write_lines(bytes_view(run, (size_t)(field.all.p - run)), out);
        run = rest.p;
    }
    write_lines(bytes_view(run, in.n - (size_t)(run - in.p)), out);
}
