#include "smtp/sasl.h"

#include "smtp/crypto.h"
#include "smtp/session.h"

/* The mechanism table: a row for each, best first. */

/* RFC 4616: [authzid] NUL authcid NUL passwd */
static void plain_respond(const struct sasl_credentials *c, unsigned step, struct bytes_buf *out)
{
    (void)step;
    bytes_buf_add_char(out, '\0');
    bytes_buf_add_str(out, c->user);
    bytes_buf_add_char(out, '\0');
    bytes_buf_add_str(out, c->password);
}

/* The server's prompts ("Username:", "Password:") are not looked at: their texts differ, their order does not. */
static void login_respond(const struct sasl_credentials *c, unsigned step, struct bytes_buf *out)
{
    bytes_buf_add_str(out, step == 0 ? c->user : c->password);
}

static const struct row {
    struct sasl_mechanism m;
    size_t offered;                     /* offset of the flag in struct smtp_capabilities */
} rows[] = {
    {{"PLAIN", 1, plain_respond, true}, offsetof(struct smtp_capabilities, auth_plain)},
    {{"LOGIN", 2, login_respond, false}, offsetof(struct smtp_capabilities, auth_login)},
};

const struct sasl_mechanism *sasl_choose(const struct smtp_capabilities *caps)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (*(const bool *)((const char *)caps + rows[i].offered))
            return &rows[i].m;
    return NULL;
}

void sasl_respond(const struct sasl_mechanism *m, const struct sasl_credentials *c, unsigned step,
                  struct bytes_buf *out)
{
    struct bytes_buf raw;

    bytes_buf_init(&raw, 8192);
    bytes_buf_reserve(&raw, 1024);      /* so that growing leaves no copy behind for credentials of usual length */
    m->respond(c, step, &raw);
    if (raw.failed)
        out->failed = true;
    else
        crypto_base64(bytes_buf_view(&raw), out);
    if (raw.p)
        crypto_cleanse(raw.p, raw.n);
    bytes_buf_deinit(&raw);
}
