#include "smtp/address_list.h"

#include <stdlib.h>
#include <string.h>

/* The addresses of a header field: lists, groups, comments and folding are taken off here, and what is left of each
 * mailbox goes to address_parse.
 *
 * RFC 5322 §3.4:  address-list = address *("," address)     address = mailbox / group
 *                 mailbox = name-addr / addr-spec            name-addr = [display-name] [CFWS] "<" addr-spec ">" [CFWS]
 *                 group = display-name ":" [group-list] ";" [CFWS] */

static const char no_memory[] = "there is no memory";

struct reader {
    struct bytes_view in;
    size_t i;
    unsigned flags;
    struct bytes_buf text;              /* the mailbox so far: no comments, each run of white space one space */
    size_t start;                       /* where it began */
    bool space;                         /* white space or a comment since the last octet of `text` */
    bool in_angle, angle_done;
    bool in_group, group_done;
    bool at_quote_fold;                 /* the text ends with a quoted string that was folded */
    bool no_phrase;                     /* there is what a group's name cannot have without quotes */
    struct mail_address_list list;
};

static bool is_white(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void put(struct reader *r, char c)
{
    bytes_buf_add_char(&r->text, c);
}

static char last_of(const struct reader *r)
{
    return r->text.n ? r->text.p[r->text.n - 1] : '\0';
}

/* r->i is at '('. comment = "(" *([FWS] ccontent) [FWS] ")"; they nest, so they are counted. */
static const char *skip_comment(struct reader *r)
{
    size_t depth = 0, start = r->i;

    for (; r->i < r->in.n; r->i++) {
        char c = r->in.p[r->i];
        if (c == '\\') {
            r->i++;
        } else if (c == '(') {
            depth++;
        } else if (c == ')' && --depth == 0) {
            r->i++;
            return NULL;
        }
    }
    r->i = start;
    return "a comment's parenthesis is not closed";
}

/* r->i is at the first quote. The string is copied with its quotes; of a fold in it, the line end goes (RFC 5322
 * §3.2.4: "the CRLF … is invisible") and a tab behind it is a space. */
static const char *copy_quoted(struct reader *r)
{
    size_t start = r->i;
    bool folded = false;

    put(r, r->in.p[r->i++]);
    for (; r->i < r->in.n; r->i++) {
        char c = r->in.p[r->i];
        if (c == '\r' || c == '\n') {
            folded = true;
            continue;
        }
        if (c == '\\' && r->i + 1 < r->in.n) {
            put(r, c);
            c = r->in.p[++r->i];
        } else if (c == '"') {
            put(r, c);
            r->i++;
            r->at_quote_fold = folded;
            return NULL;
        }
        put(r, c == '\t' && folded ? ' ' : c);
    }
    r->i = start;
    return "a quote is not closed";
}

/* r->i is at '[' behind an '@'. What stands in the brackets is address_parse's to judge; a comma or colon in them is
 * not ours. */
static const char *copy_literal(struct reader *r)
{
    const char *end = memchr(r->in.p + r->i, ']', r->in.n - r->i);
    size_t n;

    if (!end)
        return "the bracket behind the @ is not closed";
    n = (size_t)(end - (r->in.p + r->i)) + 1;
    bytes_buf_add(&r->text, r->in.p + r->i, n);
    r->i += n;
    return NULL;
}

static void begin_mailbox(struct reader *r)
{
    r->text.n = 0;
    r->space = r->in_angle = r->angle_done = r->at_quote_fold = r->no_phrase = false;
}

/* The mailbox ends here, with a comma, a semicolon or the value. */
static const char *end_mailbox(struct reader *r)
{
    struct mail_address a;
    const char *why = NULL;

    if (r->in_angle)
        return "an angle bracket is not closed";
    if (r->text.failed)
        return no_memory;
    if (r->text.n) {
        if (address_parse(bytes_buf_view(&r->text), r->flags, &a, &why) != 0)
            return why;
        if (mail_address_list_add(&r->list, a) != 0)
            return no_memory;
    }
    begin_mailbox(r);
    return NULL;
}

static const char *begin_group(struct reader *r)
{
    if (r->in_group)
        return "there is a group within a group";
    if (!r->text.n)
        return "a group has no name before its colon";
    if (r->no_phrase || r->angle_done)
        return "a colon stands behind something that is no group's name";
    r->in_group = true;
    begin_mailbox(r);
    return NULL;
}

static const char *end_group(struct reader *r)
{
    const char *why;

    if (!r->in_group)
        return "there is a semicolon outside of a group";
    why = end_mailbox(r);
    r->in_group = false;
    r->group_done = true;
    return why;
}

/* RFC 5322 §4.4: obs-route = obs-domain-list ":", obs-domain-list = *(CFWS / ",") "@" domain …. A receiver may drop
 * it; who hands in a mail with it wants what nobody does any more (RFC 5321 appendix C). */
static const char *angle(struct reader *r, char c)
{
    if (c == '>') {
        if (!r->in_angle)
            return "it has an angle bracket too many";
        r->in_angle = false;
        r->angle_done = true;
    } else if (r->in_angle || r->angle_done) {
        return "it has an angle bracket too many";
    } else {
        r->in_angle = true;
        r->at_quote_fold = false;
        if (!r->text.n)
            r->start = r->i;
    }
    put(r, c);
    r->space = false;
    return NULL;
}

/* An octet of a word. Around an '@' and at the inside of angle brackets white space means nothing: CFWS is part of
 * dot-atom, quoted-string and domain-literal there. */
static const char *word(struct reader *r, char c)
{
    if (r->group_done)
        return "something follows a group's semicolon";
    if (c == '@' && r->in_angle && last_of(r) == '<')
        return "a route before the address is not accepted";
    if (c == '@' && r->at_quote_fold)
        return "the part before the @ is folded";
    if (!r->text.n)
        r->start = r->i;
    if (r->space && r->text.n && c != '@' && last_of(r) != '@' && last_of(r) != '<')
        put(r, ' ');
    r->space = false;
    r->at_quote_fold = false;
    if (c == '"')
        return copy_quoted(r);
    if (c == '[' && last_of(r) == '@')
        return copy_literal(r);
    if (c == '@' || c == '[' || c == ']' || c == '\\' || (unsigned char)c < ' ' || c == 0x7F)
        r->no_phrase = true;
    put(r, c);
    r->i++;
    return NULL;
}

static const char *separator(struct reader *r, char c)
{
    const char *why;

    if (c == ':')
        return begin_group(r);
    if (c == ';')
        return end_group(r);
    why = end_mailbox(r);
    r->group_done = false;
    return why;
}

/* One thing from the value. */
static const char *step(struct reader *r)
{
    char c = r->in.p[r->i];
    const char *why = NULL;

    if (c == '(') {
        r->space = true;
        return skip_comment(r);
    }
    if (c == ')')
        return "there is a parenthesis too many";
    if (is_white(c))
        r->space = true;
    else if (c == ',' || c == ';' || (c == ':' && !r->in_angle))
        why = separator(r, c);
    else if ((c == '<' && !r->group_done) || c == '>')
        why = angle(r, c);
    else
        return word(r, c);
    if (!why)
        r->i++;
    return why;
}

/* ---- each mailbox once ---- */

static int compare_emails(const void *a, const void *b)
{
    const struct mail_address *const *x = a, *const *y = b;
    int order = strcmp((*x)->email, (*y)->email);

    return order ? order : (*x > *y) - (*x < *y);
}

/* Sorted beside the list; of equal ones the first stays. */
static const char *drop_duplicates(struct mail_address_list *list)
{
    struct mail_address **sorted;
    size_t kept = 0;

    if (list->n < 2)
        return NULL;
    sorted = malloc(list->n * sizeof(struct mail_address *));
    if (!sorted)
        return no_memory;
    for (size_t i = 0; i < list->n; i++)
        sorted[i] = &list->v[i];
    qsort(sorted, list->n, sizeof(struct mail_address *), compare_emails);
    /* Backwards, so that the one compared with still has its address. */
    for (size_t i = list->n - 1; i > 0; i--)
        if (strcmp(sorted[i]->email, sorted[i - 1]->email) == 0)
            mail_address_deinit(sorted[i]);
    free(sorted);
    for (size_t i = 0; i < list->n; i++)
        if (list->v[i].email)
            list->v[kept++] = list->v[i];
    list->n = kept;
    return NULL;
}

int address_list_parse(struct bytes_view value, unsigned flags, struct mail_address_list *out,
                       struct address_list_fault *fault_out)
{
    struct reader r = {.in = value, .flags = flags & ADDRESS_LITERALS};
    const char *why = NULL;

    *out = (struct mail_address_list){0};
    *fault_out = (struct address_list_fault){0};
    bytes_buf_init(&r.text, 0);
    while (!why && r.i < r.in.n)
        why = step(&r);
    if (!why)
        why = end_mailbox(&r);
    if (!why && r.in_group)
        why = "a group is not closed with a semicolon";
    if (!why)
        why = drop_duplicates(&r.list);
    if (why)
        *fault_out = (struct address_list_fault){.why = why,
                                                 .n = r.list.n + 1,
                                                 .at = r.text.n ? r.start : r.i,
                                                 .no_memory = strcmp(why, no_memory) == 0};
    bytes_buf_deinit(&r.text);
    if (why)
        mail_address_list_deinit(&r.list);
    *out = r.list;
    return why ? -1 : 0;
}
