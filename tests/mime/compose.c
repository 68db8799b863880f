#include "api/json_mail.h"
#include "smtp/mime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Composes each request on stdin (four octets of length, big-endian, then JSON) and writes the message to stdout in the
 * same frame; a refused one is the length 0xFFFFFFFF and a frame that says why: a line "pointer code" for each problem.
 * Each answer is flushed, so that one process can be asked for as long as it lives. */

#define REQUEST_MAX (64u * 1024 * 1024)
#define REFUSED 0xFFFFFFFFu

static const struct mime_params params = {
    .id = "0193600d-5eed-7000-8000-0000000000aa",
    .date_unix = 1795552500,            /* Tue, 24 Nov 2026 20:35:00 +0000 */
};

static bool has_relay(const void *ctx, const char *name)
{
    (void)ctx;
    return strcmp(name, "default") == 0;
}

static bool read_length(size_t *n_out)
{
    unsigned char b[4];

    if (fread(b, 1, sizeof(b), stdin) != sizeof(b))
        return false;
    *n_out = (size_t)b[0] << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3];
    return true;
}

static int write_frame(const char *p, size_t n, unsigned length)
{
    unsigned char b[4] = {(unsigned char)(length >> 24), (unsigned char)(length >> 16 & 255),
                          (unsigned char)(length >> 8 & 255), (unsigned char)(length & 255)};

    if (fwrite(b, 1, sizeof(b), stdout) != sizeof(b) || fwrite(p, 1, n, stdout) != n)
        return -1;
    return 0;
}

static int write_refusal(const struct json_mail_result *r)
{
    struct bytes_buf b;
    struct bytes_view why;
    int rc;

    bytes_buf_init(&b, 0);
    for (size_t i = 0; i < r->n_problems; i++)
        bytes_buf_printf(&b, "%s %s\n", r->problems[i].pointer, r->problems[i].code);
    if (!r->n_problems)
        bytes_buf_printf(&b, "- %s\n", r->detail ? r->detail : "no reason given");
    why = bytes_buf_view(&b);
    rc = b.failed || write_frame("", 0, REFUSED) != 0 || write_frame(why.p, why.n, (unsigned)why.n) != 0 ? -1 : 0;
    bytes_buf_deinit(&b);
    return rc;
}

static int answer(char *json, size_t n)         /* takes json over */
{
    static const struct json_mail_params json_params = {
        .max_recipients = 1000, .max_json_values = 100000, .has_relay = has_relay};
    struct json_mail_result r;
    struct mime_message m = {0};
    int rc = -1;

    json_mail_read(json, n, &json_params, &r);
    if (r.code != OUTCOME_SENT)
        rc = write_refusal(&r);
    else if (mime_compose(r.mail, &params, &m) == 0)
        rc = write_frame(m.bytes, m.n, (unsigned)m.n);
    mime_message_deinit(&m);
    json_mail_result_deinit(&r);
    return rc == 0 && fflush(stdout) == 0 ? 0 : -1;
}

int main(void)
{
    size_t n;
    int rc = 0;

    while (rc == 0 && read_length(&n)) {
        char *json = n <= REQUEST_MAX ? malloc(n ? n : 1) : NULL;
        if (json && fread(json, 1, n, stdin) == n) {
            rc = answer(json, n);
        } else {
            free(json);
            rc = -1;
        }
    }
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
