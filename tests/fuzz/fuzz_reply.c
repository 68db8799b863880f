#include "smtp/ehlo.h"
#include "smtp/reply.h"

/* Fuzz target: the reply parser, whole against byte by byte. Both must give the same replies. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static unsigned long digest(const uint8_t *data, size_t n, size_t piece)
{
    struct smtp_reply_parser p;
    struct smtp_capabilities caps;
    struct smtp_reply r;
    const char *why;
    unsigned long sum = 5381;
    int rc = 0;

    smtp_reply_parser_init(&p);
    for (size_t i = 0; i < n && rc >= 0; i += piece) {
        struct bytes_view v = bytes_view(data + i, n - i < piece ? n - i : piece);
        while (v.n && (rc = smtp_reply_parser_feed(&p, &v, SMTP_REPLY_LINE_MAX, &r, &why)) == 1) {
            smtp_ehlo_parse(&r, &caps);
            sum = sum * 33 + (unsigned long)r.code + r.n_lines;
            for (const char *c = r.text; *c; c++)
                sum = sum * 33 + (unsigned char)*c;
            if (!bytes_is_utf8(bytes_view_str(r.text)))
                unreachable("a reply's text is not UTF-8");
        }
    }
    smtp_reply_parser_deinit(&p);
    return sum * 3 + (rc < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (digest(data, n, n ? n : 1) != digest(data, n, 1))
        unreachable("pieces change what is read");
    return 0;
}
