#include "api/form.h"

#include <stdlib.h>
#include <string.h>

/* Fuzz target: forms, whole against cut. Both must give the same parts and the same error. The first byte chooses the
 * type (its two low bits; 3: the first line of the input is the type) and the second how the input is cut. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void check_text(const char *s)
{
    if (!s)
        return;
    if (!bytes_is_utf8(bytes_view_str(s)))
        unreachable("a name is not UTF-8");
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7F)
            unreachable("a name has a control character");
}

static void compare(const struct form *a, const struct form *b)
{
    if (strcmp(a->error, b->error) != 0 || a->n_parts != b->n_parts)
        unreachable("pieces change the error or the number of parts");
    if (a->n_parts > FORM_PARTS_MAX || !bytes_is_ascii(bytes_view_str(a->error)))
        unreachable("too many parts, or an error that cannot be shown");
    for (size_t i = 0; i < a->n_parts; i++) {
        const struct form_part *p = &a->parts[i], *q = &b->parts[i];
        if (!same_text(p->name, q->name) || !same_text(p->filename, q->filename) ||
            !same_text(p->content_type, q->content_type) || !bytes_equal(bytes_view(p->data, p->n),
                                                                       bytes_view(q->data, q->n)))
            unreachable("pieces change a part");
        if (!p->name[0] || strlen(p->name) > FORM_NAME_MAX || p->data[p->n])
            unreachable("a part without a name, or with data that have no end");
        check_text(p->name);
        check_text(p->filename);
    }
}

/* In pieces of 1 to `most` octets, in blocks of their own so that a sanitizer sees a step out of them. */
static struct form *read_form(const char *type, const uint8_t *data, size_t n, size_t most, unsigned seed)
{
    struct form *f = form_new(type);
    int rc = 0;

    if (!f)
        return NULL;
    for (size_t i = 0, piece; i < n && rc == 0; i += piece) {
        char *block;
        seed = seed * 1103515245u + 12345u;
        piece = most == n ? n : 1 + (seed >> 16) % most;
        piece = piece < n - i ? piece : n - i;
        block = malloc(piece);
        if (!block)
            unreachable("no memory");
        memcpy(block, data + i, piece);
        rc = form_feed(f, bytes_view(block, piece));
        free(block);
    }
    if (rc == 0)
        rc = form_end(f);
    if (rc != (f->error[0] ? -1 : 0))
        unreachable("refused without an error, or taken with one");
    return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const types[] = {"application/x-www-form-urlencoded", "multipart/form-data; boundary=b",
                                        "multipart/form-data; boundary=\"--- a\"; charset=utf-8"};
    char first[200] = "";
    const char *type = first;
    struct form *whole, *cut;
    size_t from = 2;

    if (n < 2)
        return 0;
    if ((data[0] & 3) < 3) {
        type = types[data[0] & 3];
    } else {
        const uint8_t *end = memchr(data + 2, '\n', n - 2);
        if (!end || (size_t)(end - data) - 2 >= sizeof(first))
            return 0;
        memcpy(first, data + 2, (size_t)(end - data) - 2);
        from = (size_t)(end - data) + 1;
    }
    whole = read_form(type, data + from, n - from, n - from, 0);
    cut = read_form(type, data + from, n - from, 1 + data[1] % 80, data[1]);
    if (whole && cut)
        compare(whole, cut);
    form_free(whole);
    form_free(cut);
    return 0;
}
