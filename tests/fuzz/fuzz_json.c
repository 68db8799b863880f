#include "api/json_mail.h"
#include "smtp/mime.h"
#include "tests/fuzz/lines.h"

#include <stdlib.h>
#include <string.h>

/* Fuzz target: a request's JSON. Either a mail that can be composed into well-formed lines, or a refusal with
 * reasons. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool has_relay(const void *ctx, const char *name)
{
    (void)ctx;
    return strcmp(name, "default") == 0;
}

static void check_refusal(const struct json_mail_result *r)
{
    if (r->mail || !r->detail || (r->code != OUTCOME_INVALID_JSON && r->n_problems == 0))
        unreachable("refused without a reason, or with a mail");
    if (!bytes_is_utf8(bytes_view_str(r->detail)))
        unreachable("a detail is not UTF-8");
    for (size_t i = 0; i < r->n_problems; i++)
        if (!bytes_is_utf8(bytes_view_str(r->problems[i].pointer)) ||
            !bytes_is_utf8(bytes_view_str(r->problems[i].detail)))
            unreachable("a problem is not UTF-8");
}

/* The same text as a batch: whatever it holds, each item is a mail or has its reasons. */
static void read_batch(const uint8_t *data, size_t n, const struct json_mail_params *params)
{
    char *copy = malloc(n ? n : 1);
    struct json_batch b;

    if (!copy)
        return;
    memcpy(copy, data, n);
    json_batch_read(copy, n, params, &b);
    for (size_t i = 0; i < b.n_items; i++)
        if (b.items[i].code != OUTCOME_SENT)
            check_refusal(&b.items[i]);
    if (b.whole.code == OUTCOME_SENT && b.n_invalid)
        json_batch_refuse(&b);
    json_batch_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct json_mail_params json_params = {
        .max_recipients = 5, .max_json_values = 500, .has_relay = has_relay};
    static const struct mime_params params = {.id = "0193600d-5eed-7000-8000-0000000000aa"};
    struct json_mail_result r;
    struct mime_message m;
    char *copy;

    read_batch(data, n, &json_params);
    copy = malloc(n ? n : 1);
    if (!copy)
        return 0;
    memcpy(copy, data, n);
    json_mail_read(copy, n, &json_params, &r);
    if (r.code != OUTCOME_SENT) {
        check_refusal(&r);
    } else if (mime_compose(r.mail, &params, &m) == 0) {
        fuzz_check_lines(m.bytes, m.n);
        mime_message_deinit(&m);
    }
    json_mail_result_deinit(&r);
    return 0;
}
