#include "api/form_reader.h"

#include <stdlib.h>
#include <string.h>

/* Parameters of the header fields that forms have: "; name=token" and "; name="quoted"". */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct bytes_view form_param_trim(struct bytes_view v)
{
    while (v.n && is_blank(v.p[0]))
        v = bytes_view(v.p + 1, v.n - 1);
    while (v.n && is_blank(v.p[v.n - 1]))
        v.n--;
    return v;
}

/* RFC 9110 §5.6.2 */
static bool is_token(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static struct bytes_view take(struct bytes_view *rest, size_t n)
{
    struct bytes_view taken = bytes_view(rest->p, n);

    *rest = bytes_view(rest->p + n, rest->n - n);
    return taken;
}

static struct bytes_view take_token(struct bytes_view *rest, const char *beside)
{
    size_t n = 0;

    while (n < rest->n && (is_token(rest->p[n]) || (rest->p[n] && strchr(beside, rest->p[n]))))
        n++;
    return take(rest, n);
}

struct bytes_view form_param_token(struct bytes_view *rest)
{
    return take_token(rest, "");
}

/* In RFC 9110 §5.6.4 a backslash quotes any octet. Here only a quote or a backslash, which is what curl and others
 * write, since there are browsers that send a path as it is: filename="C:\new\a.txt". */
static bool is_quoting(struct bytes_view v, size_t i)
{
    return v.p[i] == '\\' && i + 1 < v.n && (v.p[i + 1] == '"' || v.p[i + 1] == '\\');
}

static int take_quoted(struct bytes_view *rest, struct form_param *out, const char **why_out)
{
    size_t i = 1;

    while (i < rest->n && rest->p[i] != '"')
        i += is_quoting(*rest, i) ? 2 : 1;
    if (i >= rest->n) {
        *why_out = "a quoted value has no end";
        return -1;
    }
    out->value = bytes_view(rest->p + 1, i - 1);
    out->is_quoted = true;
    take(rest, i + 1);
    return 1;
}

int form_param_next(struct bytes_view *rest, const char *beside, struct form_param *out, const char **why_out)
{
    *out = (struct form_param){.is_quoted = false};
    *why_out = NULL;
    /* RFC 9110 §5.6.6: parameters = *( OWS ";" OWS [ parameter ] ), so there may be nothing behind a ";" */
    do {
        *rest = form_param_trim(*rest);
        if (!rest->n)
            return 0;
        if (rest->p[0] != ';') {
            *why_out = "a parameter does not begin with \";\"";
            return -1;
        }
        take(rest, 1);
        *rest = form_param_trim(*rest);
    } while (!rest->n || rest->p[0] == ';');
    out->name = take_token(rest, "");
    if (!out->name.n || !rest->n || rest->p[0] != '=') {
        *why_out = "a parameter is not name=value";
        return -1;
    }
    take(rest, 1);
    if (rest->n && rest->p[0] == '"')
        return take_quoted(rest, out, why_out);
    out->value = take_token(rest, beside);
    if (!out->value.n) {
        *why_out = "a parameter has no value";
        return -1;
    }
    return 1;
}

char *form_param_text(const struct form_param *p)
{
    struct bytes_view v = p->value;
    char *text = malloc(v.n + 1);
    size_t n = 0;

    if (!text)
        return NULL;
    for (size_t i = 0; i < v.n; i++) {
        if (p->is_quoted && is_quoting(v, i)) {
            text[n++] = v.p[++i];
        } else if (p->is_quoted && v.n - i >= 3 && memcmp(v.p + i, "%22", 3) == 0) {
            /* How browsers write a quote (HTML, "multipart form data"). %0D and %0A, the other two they write so, stay
             * as they are: neither may stand in a name. */
            text[n++] = '"';
            i += 2;
        } else {
            text[n++] = v.p[i];
        }
    }
    text[n] = '\0';
    return text;
}
