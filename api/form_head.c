#include "api/form_reader.h"

#include <stdlib.h>
#include <string.h>

/* The head of a part of multipart/form-data: its name, its file name and its type. */

struct head {
    struct bytes_view names[FORM_FIELDS_MAX];
    size_t n;
    struct bytes_view disposition, type, encoding;      /* p NULL: absent */
};

static bool is_field(struct bytes_view name, const char *field)
{
    return bytes_equal_nocase(name, bytes_view_str(field));
}

/* field = token ":" value; RFC 7578 §4.8: other fields than these three are ignored. */
static int read_field(struct form *f, struct head *h, struct bytes_view line)
{
    struct bytes_view rest = line, name = form_param_token(&rest), value;
    char shown[FORM_SHOWN_MAX];

    if (line.p[0] == ' ' || line.p[0] == '\t')
        return form_refuse_part(f, "its head has a folded header field");
    if (!name.n || !rest.n || rest.p[0] != ':')
        return form_refuse_part(f, "\"%s\" is not a header field", form_shown(line, shown));
    if (h->n == FORM_FIELDS_MAX)
        return form_refuse_part(f, "its head has more than %d header fields", FORM_FIELDS_MAX);
    for (size_t i = 0; i < h->n; i++)
        if (bytes_equal_nocase(h->names[i], name))
            return form_refuse_part(f, "its head has %s twice", form_shown(name, shown));
    h->names[h->n++] = name;
    value = form_param_trim(bytes_view(rest.p + 1, rest.n - 1));
    if (is_field(name, "content-disposition"))
        h->disposition = value;
    else if (is_field(name, "content-type"))
        h->type = value;
    else if (is_field(name, "content-transfer-encoding"))
        h->encoding = value;
    return 0;
}

/* The feeder has seen to it that each line ends with CRLF and has no other CR, LF or control than TAB. */
static int read_fields(struct form *f, struct head *h, struct bytes_view head)
{
    while (head.n) {
        const char *end = memchr(head.p, '\r', head.n);
        size_t n = end ? (size_t)(end - head.p) : head.n;
        if (read_field(f, h, bytes_view(head.p, n)) != 0)
            return -1;
        head = end ? bytes_view(end + 2, head.n - n - 2) : bytes_view("", 0);
    }
    return 0;
}

/* RFC 5987 §3.2.1: attr-char */
static bool is_attr_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$&+-.^_`|~", c));
}

/* RFC 5987 §3.2: ext-value = charset "'" [ language ] "'" *( pct-encoded / attr-char ) */
static int read_extended(struct form *f, const struct form_param *p, char **out)
{
    static const char charset[] = "utf-8'";
    struct bytes_view v = p->value;
    const char *quote;
    char *text;
    size_t n = 0, i;

    if (p->is_quoted || !bytes_starts_nocase(v, charset))
        return form_refuse_part(f, "its filename* does not begin with utf-8''");
    quote = memchr(v.p + sizeof(charset) - 1, '\'', v.n - (sizeof(charset) - 1));
    if (!quote)
        return form_refuse_part(f, "its filename* does not begin with utf-8''");
    text = malloc(v.n + 1);
    if (!text)
        return form_no_memory(f);
    for (i = (size_t)(quote - v.p) + 1; i < v.n; i++) {
        int high = v.n - i > 2 ? bytes_hex_value(v.p[i + 1]) : -1, low = v.n - i > 2 ? bytes_hex_value(v.p[i + 2]) : -1;
        if (v.p[i] == '%' && high >= 0 && low >= 0) {
            text[n++] = (char)(high * 16 + low);
            i += 2;
        } else if (is_attr_char(v.p[i])) {
            text[n++] = v.p[i];
        } else {
            break;
        }
    }
    text[n] = '\0';
    if (i < v.n || !form_is_plain(bytes_view(text, n))) {
        free(text);
        return form_refuse_part(f, "its filename* is not UTF-8 text in %%XX");
    }
    *out = text;
    return 0;
}

static int read_param(struct form *f, const struct form_param *p, char **name, char **filename, char **extended)
{
    char shown[FORM_SHOWN_MAX];
    char **to = is_field(p->name, "name") ? name : is_field(p->name, "filename") ? filename : NULL;

    if (is_field(p->name, "filename*"))
        to = extended;
    if (!to && (bytes_starts_nocase(p->name, "filename*") || bytes_starts_nocase(p->name, "name*")))
        return form_refuse_part(f, "the parameter %s is not understood", form_shown(p->name, shown));
    if (!to)
        return 0;
    if (*to)
        return form_refuse_part(f, "its Content-Disposition has %s twice", form_shown(p->name, shown));
    if (to == extended)
        return read_extended(f, p, to);
    *to = form_param_text(p);
    if (!*to)
        return form_no_memory(f);
    if (!form_is_plain(bytes_view_str(*to)))
        return form_refuse_part(f, "its %s has a control character", form_shown(p->name, shown));
    return 0;
}

/* RFC 7578 §4.2: "do not use any directory path information that may be present". */
static int cut_path(struct form *f, char *filename)
{
    char *slash = strrchr(filename, '/'), *backslash = strrchr(filename, '\\');
    char *last = !slash || (backslash && backslash > slash) ? backslash : slash;

    if (!last)
        return 0;
    if (!last[1])
        return form_refuse_part(f, "its file name is a path without a name");
    memmove(filename, last + 1, strlen(last + 1) + 1);
    return 0;
}

static int read_params(struct form *f, struct bytes_view rest)
{
    struct form_part *part = &f->reader->part;
    struct form_param p;
    const char *why;
    char *extended = NULL;
    int rc;

    while ((rc = form_param_next(&rest, "", &p, &why)) == 1)
        if (read_param(f, &p, &part->name, &part->filename, &extended) != 0)
            break;
    if (rc < 0)
        form_refuse_part(f, "in its Content-Disposition, %s", why);
    if (extended) {
        free(part->filename);
        part->filename = extended;
    }
    if (rc != 0)
        return -1;
    if (!part->name || !part->name[0])
        return form_refuse_part(f, "it has no name");
    if (strlen(part->name) > FORM_NAME_MAX)
        return form_refuse_part(f, "its name is longer than %d octets", FORM_NAME_MAX);
    return part->filename ? cut_path(f, part->filename) : 0;
}

static int read_disposition(struct form *f, const struct head *h)
{
    struct bytes_view rest = h->disposition, kind;
    char shown[FORM_SHOWN_MAX];

    if (!rest.p)
        return form_refuse_part(f, "it has no Content-Disposition");
    kind = form_param_token(&rest);
    if (!is_field(kind, "form-data"))
        return form_refuse_part(f, "its Content-Disposition is \"%s\" instead of form-data",
                                form_shown(h->disposition, shown));
    return read_params(f, rest);
}

/* RFC 7578 §4.7: senders "SHOULD NOT generate any parts with a Content-Transfer-Encoding"; what these three name is no
 * encoding, so they do no harm. */
static int check_encoding(struct form *f, const struct head *h)
{
    char shown[FORM_SHOWN_MAX];

    if (!h->encoding.p || is_field(h->encoding, "7bit") || is_field(h->encoding, "8bit") ||
        is_field(h->encoding, "binary"))
        return 0;
    return form_refuse_part(f, "its Content-Transfer-Encoding is \"%s\"; forms are sent without one",
                            form_shown(h->encoding, shown));
}

/* RFC 7578 §4.3: several files in one multipart/mixed part are the deprecated way (curl -F a=@x,y still writes it), and
 * would pass for one text here. */
static int check_type(struct form *f, const struct head *h)
{
    if (f->reader->part.filename || !bytes_starts_nocase(h->type, "multipart/"))
        return 0;
    return form_refuse_part(f, "it is a multipart itself; each file is sent as a part of its own");
}

int form_head_read(struct form *f, struct bytes_view head)
{
    struct head h = {.n = 0};
    struct form_part *part = &f->reader->part;

    if (!bytes_is_utf8(head))
        return form_refuse_part(f, "its head is not UTF-8");
    if (read_fields(f, &h, head) != 0 || read_disposition(f, &h) != 0 || check_encoding(f, &h) != 0 ||
        check_type(f, &h) != 0)
        return -1;
    if (h.type.p) {
        part->content_type = strndup(h.type.p, h.type.n);
        if (!part->content_type)
            return form_no_memory(f);
    }
    return 0;
}
