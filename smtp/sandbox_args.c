#include "smtp/sandbox_args.h"

#include <stdio.h>
#include <string.h>

/* The arguments of MAIL and RCPT as the sandbox reads them: RFC 5321 §4.1.2, RFC 1870, RFC 3461, RFC 4954, RFC 6152,
 * RFC 6531, RFC 8689. */

#define LOCAL_MAX 64
#define PATH_MAX_OCTETS 254

static int refuse(char refusal_out[128], const char *text)
{
    snprintf(refusal_out, 128, "%s", text);
    return -1;
}

static struct bytes_view cut(struct bytes_view v, size_t n)
{
    return bytes_view(v.p + n, v.n - n);
}

/* Where the closing '>' stands, quoted strings stepped over; v.n when it is missing or something may not stand there.
 * */
static size_t path_end(struct bytes_view v)
{
    bool quoted = false;

    for (size_t i = 0; i < v.n; i++) {
        unsigned char c = (unsigned char)v.p[i];
        if (c < 0x20 || c == 0x7F || (!quoted && (c == ' ' || c == '<')))
            return v.n;
        if (quoted && c == '\\' && i + 1 < v.n)
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (c == '>' && !quoted)
            return i;
    }
    return v.n;
}

static bool is_mailbox(struct bytes_view path)
{
    size_t at = path.n;

    while (at > 0 && path.p[at - 1] != '@')
        at--;
    return at > 1 && at < path.n && at - 1 <= LOCAL_MAX && path.n <= PATH_MAX_OCTETS;
}

/* "FROM:" and the path; what is left are the parameters. RFC 5321 §3.3: no space after the colon. */
static int take_path(struct bytes_view *arg, const char *keyword, struct sandbox_args *out, char refusal_out[128])
{
    size_t end;

    if (!bytes_starts_nocase(*arg, keyword) || arg->n == strlen(keyword) || arg->p[strlen(keyword)] != '<') {
        snprintf(refusal_out, 128, "501 5.5.4 Say %s<address>", keyword);
        return -1;
    }
    *arg = cut(*arg, strlen(keyword) + 1);
    end = path_end(*arg);
    if (end == arg->n)
        return refuse(refusal_out, "501 5.1.7 The address is not closed or has a character that may not be there");
    out->path = bytes_view(arg->p, end);
    *arg = cut(*arg, end + 1);
    if (arg->n && arg->p[0] != ' ')
        return refuse(refusal_out, "501 5.5.4 A space is missing behind the address");
    return 0;
}

static struct bytes_view next_param(struct bytes_view *arg)
{
    const char *end;
    struct bytes_view v;

    *arg = cut(*arg, 1);                /* the space */
    end = arg->n ? memchr(arg->p, ' ', arg->n) : NULL;
    v = bytes_view(arg->p, end ? (size_t)(end - arg->p) : arg->n);
    *arg = cut(*arg, v.n);
    return v;
}

/* "KEY=value": the value, when the key is that one and something stands behind it. */
static bool has_key(struct bytes_view param, const char *key, struct bytes_view *value_out)
{
    if (!bytes_starts_nocase(param, key) || param.n == strlen(key))
        return false;
    *value_out = cut(param, strlen(key));
    return true;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* RFC 3461 §4: xtext is printable ASCII, and "+" with two upper-case hexadecimal digits for the rest. */
static bool read_xtext(struct bytes_view v, char *out, size_t cap)
{
    size_t n = 0;

    for (size_t i = 0; i < v.n; i++) {
        int c = (unsigned char)v.p[i];
        if (c < 33 || c > 126 || c == '=' || n + 1 >= cap)
            return false;
        if (c == '+') {
            if (i + 2 >= v.n || hex(v.p[i + 1]) < 0 || hex(v.p[i + 2]) < 0)
                return false;
            c = hex(v.p[i + 1]) << 4 | hex(v.p[i + 2]);
            i += 2;
        }
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return n > 0;
}

static bool is_one_of(struct bytes_view v, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes_equal_nocase(v, bytes_view_str(words[i])))
            return true;
    return false;
}

static bool read_body(struct bytes_view v, struct sandbox_args *out)
{
    static const char *const words[] = {"7BIT", "8BITMIME"};

    (void)out;
    return is_one_of(v, words, ARRAY_LEN(words));
}

static bool read_ret(struct bytes_view v, struct sandbox_args *out)
{
    static const char *const words[] = {"FULL", "HDRS"};

    (void)out;
    return is_one_of(v, words, ARRAY_LEN(words));
}

static bool read_size(struct bytes_view v, struct sandbox_args *out)
{
    out->size = 0;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9' || i >= 18)
            return false;
        out->size = out->size * 10 + (size_t)(v.p[i] - '0');
    }
    return v.n > 0;
}

static bool read_envid(struct bytes_view v, struct sandbox_args *out)
{
    return read_xtext(v, out->envid, sizeof(out->envid));
}

/* RFC 4954 §5: the submitter, as xtext; "<>" is one too. */
static bool read_auth(struct bytes_view v, struct sandbox_args *out)
{
    char decoded[512];

    (void)out;
    return read_xtext(v, decoded, sizeof(decoded));
}

/* RFC 3461 §4.1: NEVER stands alone. */
static bool read_notify(struct bytes_view v, struct sandbox_args *out)
{
    static const char *const words[] = {"SUCCESS", "FAILURE", "DELAY"};

    (void)out;
    if (bytes_equal_nocase(v, bytes_view_str("NEVER")))
        return true;
    for (;;) {
        const char *comma = v.n ? memchr(v.p, ',', v.n) : NULL;
        size_t n = comma ? (size_t)(comma - v.p) : v.n;
        if (!is_one_of(bytes_view(v.p, n), words, ARRAY_LEN(words)))
            return false;
        if (!comma)
            return true;
        v = cut(v, n + 1);
    }
}

/* RFC 3461 §4.2: original-recipient-address = addr-type ";" xtext; addr-type is an atom. */
static bool read_orcpt(struct bytes_view v, struct sandbox_args *out)
{
    const char *semicolon = memchr(v.p, ';', v.n);
    char decoded[SANDBOX_ORCPT_MAX + 1];

    (void)out;
    if (!semicolon || semicolon == v.p || v.n > SANDBOX_ORCPT_MAX)
        return false;
    for (const char *p = v.p; p < semicolon; p++)
        if (!((*p | 32) >= 'a' && (*p | 32) <= 'z') && !(*p >= '0' && *p <= '9') && *p != '-')
            return false;
    return read_xtext(cut(v, (size_t)(semicolon - v.p) + 1), decoded, sizeof(decoded));
}

/* A key that ends in "=" wants a value; the others have none. */
struct param_row {
    enum sandbox_param param;
    const char *key;
    bool (*read)(struct bytes_view value, struct sandbox_args *out);
};

static const struct param_row mail_params[] = {
    {SANDBOX_SIZE, "SIZE=", read_size}, {SANDBOX_BODY, "BODY=", read_body}, {SANDBOX_SMTPUTF8, "SMTPUTF8", NULL},
    {SANDBOX_RET, "RET=", read_ret}, {SANDBOX_ENVID, "ENVID=", read_envid}, {SANDBOX_AUTH, "AUTH=", read_auth},
    {SANDBOX_REQUIRETLS, "REQUIRETLS", NULL},
};

static const struct param_row rcpt_params[] = {
    {SANDBOX_NOTIFY, "NOTIFY=", read_notify}, {SANDBOX_ORCPT, "ORCPT=", read_orcpt},
};

static bool take_param(const struct param_row *rows, size_t n, struct bytes_view param, struct sandbox_args *out)
{
    struct bytes_view value;

    for (size_t i = 0; i < n; i++) {
        if (rows[i].read ? !has_key(param, rows[i].key, &value)
                         : !bytes_equal_nocase(param, bytes_view_str(rows[i].key)))
            continue;
        if ((out->said & rows[i].param) || (rows[i].read && !rows[i].read(value, out)))
            return false;
        out->said |= rows[i].param;
        return true;
    }
    return false;
}

static int take_params(struct bytes_view arg, const struct param_row *rows, size_t n, struct sandbox_args *out,
                       char refusal_out[128])
{
    while (arg.n) {
        struct bytes_view param = next_param(&arg);
        if (!take_param(rows, n, param, out)) {
            snprintf(refusal_out, 128, "%s%.*s", "555 5.5.4 Not a parameter here, or not a value for it: ",
                     param.n > 60 || !bytes_is_ascii(param) ? 0 : (int)param.n, param.p);
            return -1;
        }
    }
    return 0;
}

int sandbox_args_mail(struct bytes_view arg, struct sandbox_args *out, char refusal_out[128])
{
    memset(out, 0, sizeof(*out));
    if (take_path(&arg, "FROM:", out, refusal_out) < 0 ||
        take_params(arg, mail_params, ARRAY_LEN(mail_params), out, refusal_out) < 0)
        return -1;
    if (out->path.n && !is_mailbox(out->path))
        return refuse(refusal_out, "501 5.1.7 The sender is not local@domain");
    if (!bytes_is_ascii(out->path) && !((out->said & SANDBOX_SMTPUTF8) && bytes_is_utf8(out->path)))
        return refuse(refusal_out, "553 5.6.7 A sender that is not ASCII needs SMTPUTF8");
    return 0;
}

int sandbox_args_rcpt(struct bytes_view arg, struct sandbox_args *out, char refusal_out[128])
{
    memset(out, 0, sizeof(*out));
    if (take_path(&arg, "TO:", out, refusal_out) < 0 ||
        take_params(arg, rcpt_params, ARRAY_LEN(rcpt_params), out, refusal_out) < 0)
        return -1;
    return is_mailbox(out->path) ? 0 : refuse(refusal_out, "501 5.1.3 The recipient is not local@domain");
}
