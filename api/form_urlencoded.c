#include "api/form_reader.h"

#include <stdlib.h>
#include <string.h>

/* application/x-www-form-urlencoded (WHATWG URL, §5.1), but what that standard would guess at is refused here. */

void form_urlencoded_init(struct form_urlencoded *u)
{
    *u = (struct form_urlencoded){.in_value = false};
    bytes_buf_init(&u->name, 0);
}

void form_urlencoded_deinit(struct form_urlencoded *u)
{
    bytes_buf_deinit(&u->name);
}

static int add(struct form *f, const char *p, size_t n)
{
    struct form_urlencoded *u = &f->reader->urlencoded;

    if (u->in_value)
        return form_part_add(f, p, n);
    if (n > FORM_NAME_MAX - u->name.n)
        return form_refuse_part(f, "its name is longer than %d octets", FORM_NAME_MAX);
    bytes_buf_add(&u->name, p, n);
    return u->name.failed ? form_no_memory(f) : 0;
}

static int begin(struct form *f)
{
    if (f->reader->urlencoded.begun)
        return 0;
    f->reader->urlencoded.begun = true;
    return form_part_begin(f);
}

static int end_name(struct form *f)
{
    struct form_urlencoded *u = &f->reader->urlencoded;

    if (!u->name.n)
        return form_refuse_part(f, "it has no name");
    if (!form_is_plain(bytes_buf_view(&u->name)))
        return form_refuse_part(f, "its name is not UTF-8, or has a control character");
    u->in_value = true;
    return 0;
}

/* "a=1&&b" has an empty pair, which is none, and a "b" that has no "=": its value is empty. */
static int end_pair(struct form *f)
{
    struct form_urlencoded *u = &f->reader->urlencoded;

    if (!u->begun)
        return 0;
    if (!u->in_value && end_name(f) != 0)
        return -1;
    f->reader->part.name = strndup(u->name.p, u->name.n);
    if (!f->reader->part.name)
        return form_no_memory(f);
    u->name.n = 0;
    u->in_value = u->begun = false;
    return form_part_done(f);
}

static int feed_escape(struct form *f, char c)
{
    struct form_urlencoded *u = &f->reader->urlencoded;
    char octet;

    if (bytes_hex_value(c) < 0)
        return form_refuse_part(f, "a \"%%\" is not followed by two hexadecimal digits");
    if (u->escape_n < sizeof(u->escape)) {
        u->escape[u->escape_n++] = c;
        return 0;
    }
    octet = (char)(bytes_hex_value(u->escape[1]) * 16 + bytes_hex_value(c));
    u->escape_n = 0;
    return add(f, &octet, 1);
}

static int feed_special(struct form *f, char c)
{
    struct form_urlencoded *u = &f->reader->urlencoded;

    if (c == '&')
        return end_pair(f);
    if (begin(f) != 0)
        return -1;
    if (c == '+')
        return add(f, " ", 1);
    if (c == '=')
        return u->in_value ? add(f, "=", 1) : end_name(f);
    u->escape[u->escape_n++] = c;
    return 0;
}

static bool is_special(char c)
{
    return c == '&' || c == '=' || c == '+' || c == '%';
}

int form_urlencoded_feed(struct form *f, struct bytes_view in)
{
    const struct form_urlencoded *u = &f->reader->urlencoded;
    size_t i = 0;

    while (i < in.n) {
        size_t from = i;
        if (u->escape_n) {
            if (feed_escape(f, in.p[i++]) != 0)
                return -1;
            continue;
        }
        while (i < in.n && !is_special(in.p[i]))
            i++;
        if (i > from && (begin(f) != 0 || add(f, in.p + from, i - from) != 0))
            return -1;
        if (i < in.n && feed_special(f, in.p[i++]) != 0)
            return -1;
    }
    return 0;
}

int form_urlencoded_end(struct form *f)
{
    if (f->reader->urlencoded.escape_n)
        return form_refuse_part(f, "the form ends in the middle of a %%XX");
    return end_pair(f);
}
