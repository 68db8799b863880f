#include "smtp/address.h"
#include "smtp/raw.h"
#include "tests/fuzz/lines.h"

#include <string.h>

/* Fuzz target: finished messages. What is taken without a problem is written with CRLF only and without Bcc, and is
 * read again as the same message. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Not with the reader's own idea of a header: line by line until the empty one. */
static void check_no_bcc(struct bytes_view v)
{
    for (;;) {
        const char *end = v.n ? memmem(v.p, v.n, "\r\n", 2) : NULL;
        if (!end || end == v.p)
            return;
        for (size_t i = 0; i < 2; i++) {
            static const char *const names[] = {"Bcc", "Resent-Bcc"};
            size_t k = strlen(names[i]);
            if (bytes_starts_nocase(v, names[i]) && v.n > k && strchr(": \t", v.p[k]))
                unreachable("a Bcc is left");
        }
        v = bytes_view(end + 2, v.n - (size_t)(end + 2 - v.p));
    }
}

static void check_same_list(const struct mail_address_list *a, const struct mail_address_list *b)
{
    if (a->n != b->n)
        unreachable("a recipient more or less");
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->v[i].email, b->v[i].email) != 0 || a->v[i].utf8 != b->v[i].utf8)
            unreachable("another recipient");
}

static void check_address(const char *email)
{
    struct mail_address a;
    const char *why;

    if (strlen(email) > 254 || strpbrk(email, "\r\n\t") ||
        address_parse(bytes_view_str(email), ADDRESS_BARE | ADDRESS_LITERALS, &a, &why) != 0 ||
        strcmp(a.email, email) != 0)
        unreachable("an address that was taken is not one");
    mail_address_deinit(&a);
}

static bool is_same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void check_same(const struct raw_facts *a, const struct raw_facts *b)
{
    if (b->n_problems || b->has_bcc || b->bcc.n)
        unreachable("what was written has a problem, or a Bcc");
    if (!is_same(a->from.email, b->from.email) || !is_same(a->message_id, b->message_id))
        unreachable("another sender or Message-ID");
    if (a->has_date != b->has_date || a->is_8bit != b->is_8bit || a->is_utf8_header != b->is_utf8_header)
        unreachable("other facts");
    check_same_list(&a->to, &b->to);
    check_same_list(&a->cc, &b->cc);
}

static void check_written(struct bytes_view in, unsigned want, const struct raw_facts *facts)
{
    struct bytes_buf out;
    struct raw_facts again;

    bytes_buf_init(&out, 0);
    raw_write(in, bytes_view("", 0), &out);
    fuzz_check_lines(out.p, out.n);
    check_no_bcc(bytes_buf_view(&out));
    if (raw_read(bytes_buf_view(&out), want, ADDRESS_LITERALS, &again) != 0)
        unreachable("no memory");
    check_same(facts, &again);
    raw_facts_deinit(&again);
    bytes_buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct bytes_view in = bytes_view(data, n);

    for (unsigned want = 0; want <= RAW_WANT_ENVELOPE; want++) {
        struct raw_facts f;
        if (raw_read(in, want, ADDRESS_LITERALS, &f) != 0)
            unreachable("no memory");
        for (size_t i = 0; i < f.n_problems; i++)
            if (!f.problems[i].detail[0] || !bytes_is_utf8(bytes_view_str(f.problems[i].detail)))
                unreachable("a problem without a reason");
        if ((want & RAW_WANT_FROM) && !f.n_problems)
            check_address(f.from.email);
        for (size_t i = 0; i < f.to.n; i++)
            check_address(f.to.v[i].email);
        if (!f.n_problems)
            check_written(in, want, &f);
        raw_facts_deinit(&f);
    }
    return 0;
}
