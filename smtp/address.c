#include "smtp/address.h"

#include "smtp/idn.h"
#include "smtp/invisible.h"

#include <stdlib.h>
#include <string.h>

/* One mailbox out of one string: an optional display name and a checked, canonical address. Each octet is looked at a
 * fixed number of times, whatever it is. */

#define LOCAL_MAX 64                    /* RFC 5321 §4.5.3.1.1, octets */
#define ADDRESS_MAX 254                 /* RFC 5321 §4.5.3.1.3: a path of 256 with its angle brackets */

/* RFC 5322 §3.2.3, and RFC 6532 §3.2: any UTF-8 beyond ASCII. */
static bool is_atext(char c)
{
    if ((unsigned char)c >= 0x80)
        return true;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return true;
    return c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL;
}

/* dot-atom-text = 1*atext *("." 1*atext) */
static bool is_dot_atom(struct bytes_view v)
{
    char last = '.';

    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] == '.' ? last == '.' : !is_atext(v.p[i]))
            return false;
        last = v.p[i];
    }
    return last != '.';
}

/* Nothing that ends a line anywhere may get near a command or a header: C0, DEL, C1 (U+0085 is NEL), U+2028, U+2029. */
static const char *character_fault(struct bytes_view s)
{
    const unsigned char *p = (const unsigned char *)s.p;

    if (!bytes_is_utf8(s))
        return "it is not valid UTF-8";
    for (size_t i = 0; i < s.n; i++) {
        if (p[i] < 0x20 || p[i] == 0x7F)
            return invisible_name(s, i, "it has a control character");
        if (p[i] == 0xC2 && i + 1 < s.n && p[i + 1] < 0xA0)
            return invisible_name(s, i, "it has a control character");
        if (p[i] == 0xE2 && i + 2 < s.n && p[i + 1] == 0x80 && (p[i + 2] == 0xA8 || p[i + 2] == 0xA9))
            return invisible_name(s, i, "it has a line separator");
    }
    return NULL;
}

static struct bytes_view trimmed(struct bytes_view s)
{
    while (s.n && s.p[0] == ' ')
        s = bytes_view(s.p + 1, s.n - 1);
    while (s.n && s.p[s.n - 1] == ' ')
        s.n--;
    return s;
}

/* s.p[0] is a quote. The octets of the quoted-string with its quotes, or 0 when it is not closed. Adds the contents,
 * without the backslashes, to `out`. */
static size_t read_quoted(struct bytes_view s, struct bytes_buf *out)
{
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] == '"')
            return i + 1;
        if (s.p[i] == '\\' && ++i == s.n)
            return 0;
        bytes_buf_add_char(out, s.p[i]);
    }
    return 0;
}

/* RFC 5321 §4.1.2: "the Local-part SHOULD be the form that requires the least quoting". */
static void write_local(struct bytes_view contents, struct bytes_buf *out)
{
    if (is_dot_atom(contents)) {
        bytes_buf_add(out, contents.p, contents.n);
        return;
    }
    bytes_buf_add_char(out, '"');
    for (size_t i = 0; i < contents.n; i++) {
        if (contents.p[i] == '"' || contents.p[i] == '\\')
            bytes_buf_add_char(out, '\\');
        bytes_buf_add_char(out, contents.p[i]);
    }
    bytes_buf_add_char(out, '"');
}

static const char *dot_atom_fault(struct bytes_view local)
{
    if (local.n == 0)
        return "there is nothing before the @";
    if (is_dot_atom(local))
        return NULL;
    for (size_t i = 0; i < local.n; i++) {
        char c = local.p[i];
        if (c == ' ')
            return "it has a space before the @";
        if (c == ',' || c == ';' || c == ':')
            return "it is more than one address, or a group";
        if (c == '(' || c == ')')
            return "comments in parentheses are not accepted";
        if (c == '<' || c == '>')
            return "it has an angle bracket too many";
        if (c != '.' && !is_atext(c))
            return "the part before the @ has a character that needs quotes";
    }
    return "the part before the @ begins or ends with a dot, or has two together";
}

/* What nobody sees makes another mailbox; and RFC 2047 §5 has no encoded word in an addr-spec, nor in a quoted-string,
 * but many readers decode what looks like one in either, and then show and answer to another address. */
static const char *local_fault(struct bytes_view local)
{
    const char *start = local.n ? memmem(local.p, local.n, "=?", 2) : NULL;

    if (start && memmem(start + 2, local.n - (size_t)(start + 2 - local.p), "?=", 2))
        return "the part before the @ looks like an encoded word (=?...?=), which readers would decode";
    return invisible_fault(local, 0, "the part before the @");
}

/* Splits at the '@' and adds the canonical local part to `out`. */
static const char *read_local(struct bytes_view s, struct bytes_buf *out, struct bytes_view *domain_out)
{
    struct bytes_buf contents;
    const char *why = NULL, *at;
    size_t n;

    *domain_out = bytes_view("", 0);
    if (s.n == 0)
        return "it is empty";
    if (s.p[0] != '"') {
        at = memchr(s.p, '@', s.n);
        if (!at)
            return "it has no @";
        n = (size_t)(at - s.p);
        why = dot_atom_fault(bytes_view(s.p, n));
        if (!why)
            why = local_fault(bytes_view(s.p, n));
        bytes_buf_add(out, s.p, n);
    } else {
        bytes_buf_init(&contents, 0);
        n = read_quoted(s, &contents);
        if (n == 0)
            why = "a quote is not closed";
        else if (contents.n == 0)
            why = "there is nothing before the @";
        else if (n == s.n || s.p[n] != '@')
            why = "a quoted part is not followed by @ or by an address in angle brackets";
        if (!why)
            why = local_fault(bytes_buf_view(&contents));
        write_local(bytes_buf_view(&contents), out);
        out->failed |= contents.failed;
        bytes_buf_deinit(&contents);
    }
    if (!why)
        *domain_out = bytes_view(s.p + n + 1, s.n - n - 1);
    return why;
}

static const char *domain_fault(struct bytes_view domain)
{
    if (domain.n == 0)
        return "there is nothing behind the @";
    if (domain.p[0] == '[')
        return "an IP address in brackets is not accepted as domain (address_literals allows it)";
    for (size_t i = 0; i < domain.n; i++) {
        char c = domain.p[i];
        if (c == '@')
            return "it has more than one @";
        if (c == ',' || c == ';')
            return "it is more than one address, or a group";
        if (c == ' ')
            return "it has a space behind the @";
        if (c == '(' || c == ')')
            return "comments in parentheses are not accepted";
        if (c == '<' || c == '>')
            return "it has an angle bracket too many";
    }
    return NULL;
}

/* RFC 5321 §4.1.3: Snum 3("." Snum), each 0–255 without a leading zero. */
static bool is_ipv4(struct bytes_view v)
{
    unsigned value = 0, digits = 0, dots = 0;

    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] == '.') {
            if (!digits || ++dots > 3)
                return false;
            value = digits = 0;
            continue;
        }
        if (v.p[i] < '0' || v.p[i] > '9' || (digits && !value))
            return false;
        value = value * 10 + (unsigned)(v.p[i] - '0');
        if (++digits > 3 || value > 255)
            return false;
    }
    return digits && dots == 3;
}

/* Eight groups, or fewer with one "::"; the last two may be an IPv4 address. */
static bool is_ipv6(struct bytes_view v)
{
    unsigned groups = 0, digits = 0;
    bool gap = false;

    for (size_t i = 0; i < v.n; i++) {
        if (bytes_hex_value(v.p[i]) >= 0) {
            groups += !digits;
            if (++digits > 4)
                return false;
        } else if (v.p[i] == '.') {
            size_t start = i - digits;
            return digits && is_ipv4(bytes_view(v.p + start, v.n - start)) && (gap ? groups < 7 : groups == 7);
        } else if (v.p[i] != ':') {
            return false;
        } else if (i + 1 < v.n && v.p[i + 1] == ':') {
            if (gap || (i && !digits))
                return false;
            gap = true;
            digits = 0;
            i++;
        } else {
            if (!digits || i + 1 == v.n)
                return false;
            digits = 0;
        }
    }
    return gap ? groups < 8 : groups == 8;
}

static const char *read_literal(struct bytes_view domain, struct bytes_buf *out)
{
    struct bytes_view inner = bytes_view(domain.p + 1, domain.n - 1);
    bool ok;

    if (!inner.n || inner.p[inner.n - 1] != ']')
        return "the bracket behind the @ is not closed";
    inner.n--;
    ok = bytes_starts_nocase(inner, "IPv6:") ? is_ipv6(bytes_view(inner.p + 5, inner.n - 5)) : is_ipv4(inner);
    if (!ok)
        return "there is no IP address in the brackets";
    bytes_buf_add(out, domain.p, domain.n);
    return NULL;
}

static const char *read_domain(struct bytes_view domain, unsigned flags, struct bytes_buf *out)
{
    const char *why = NULL;
    char *ascii = NULL;

    if ((flags & ADDRESS_LITERALS) && domain.n && domain.p[0] == '[')
        return read_literal(domain, out);
    why = domain_fault(domain);
    if (!why && idn_to_ascii(domain, &ascii, &why) == 0) {
        bytes_buf_add_str(out, ascii);
        free(ascii);
    }
    return why;
}

static const char *read_email(struct bytes_view s, unsigned flags, struct mail_address *out)
{
    struct bytes_view domain;
    struct bytes_buf b;
    const char *why;

    bytes_buf_init(&b, 0);
    why = read_local(s, &b, &domain);
    if (!why && b.n > LOCAL_MAX)
        why = "the part before the @ is longer than 64 octets";
    if (!why) {
        out->utf8 = !bytes_is_ascii(bytes_buf_view(&b));
        bytes_buf_add_char(&b, '@');
        why = read_domain(domain, flags, &b);
    }
    if (!why && b.n > ADDRESS_MAX)
        why = "it is longer than 254 octets";
    if (!why && b.failed)
        why = "there is no memory";
    if (!why && !(out->email = strndup(b.p, b.n)))       /* the buffer has room for far more */
        why = "there is no memory";
    bytes_buf_deinit(&b);
    return why;
}

static const char *name_character_fault(char c)
{
    if (c == ',' || c == ';' || c == ':')
        return "it is more than one address, a group, or a name that needs quotes";
    if (c == '(' || c == ')')
        return "parentheses in a name need quotes";
    if (c == '@')
        return "an @ in a name needs quotes";
    if (c != '.' && !is_atext(c))
        return "the name has a character that needs quotes";
    return NULL;
}

/* phrase = 1*word, and the dots of obs-phrase, which people write without quotes ("John Q. Public"). Runs of spaces
 * outside quotes count as one (they are folding white space). */
static const char *read_name(struct bytes_view s, struct mail_address *out)
{
    struct bytes_buf b;
    const char *why = NULL;

    bytes_buf_init(&b, 0);
    for (size_t i = 0; i < s.n && !why;) {
        if (s.p[i] == '"') {
            i += read_quoted(bytes_view(s.p + i, s.n - i), &b);
            continue;
        }
        if (s.p[i] != ' ')
            why = name_character_fault(s.p[i]);
        if (s.p[i] != ' ' || (b.n && b.p[b.n - 1] != ' '))
            bytes_buf_add_char(&b, s.p[i]);
        i++;
    }
    if (!why && b.failed)
        why = "there is no memory";
    if (!why) {
        struct bytes_view name = trimmed(bytes_buf_view(&b));
        out->name = name.n ? strndup(name.p, name.n) : NULL;
        if (name.n && !out->name)
            why = "there is no memory";
    }
    bytes_buf_deinit(&b);
    return why;
}

/* Where the address in angle brackets begins: s.n when there is none. */
static const char *find_angle(struct bytes_view s, size_t *at_out)
{
    bool quoted = false;

    *at_out = s.n;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"')
            quoted = !quoted;
        else if (quoted && s.p[i] == '\\')
            i++;
        else if (!quoted && s.p[i] == '<') {
            *at_out = i;
            return NULL;
        }
    }
    return quoted ? "a quote is not closed" : NULL;
}

static int finish(struct mail_address *out, const char *why, const char **why_out)
{
    *why_out = why;
    if (!why)
        return 0;
    mail_address_deinit(out);
    return -1;
}

static const char *read_mailbox(struct bytes_view s, unsigned flags, struct mail_address *out)
{
    size_t angle = s.n;
    const char *why = flags & ADDRESS_BARE ? NULL : find_angle(s, &angle);

    if (why)
        return why;
    if (angle == s.n)
        return read_email(s, flags, out);
    if (s.p[s.n - 1] != '>')
        return "the angle bracket is not closed, or something follows it";
    why = read_name(bytes_view(s.p, angle), out);
    return why ? why : read_email(bytes_view(s.p + angle + 1, s.n - angle - 2), flags, out);
}

int address_parse(struct bytes_view s, unsigned flags, struct mail_address *out, const char **why_out)
{
    const char *why = character_fault(s);

    *out = (struct mail_address){0};
    if (!why)
        why = read_mailbox(trimmed(s), flags, out);
    return finish(out, why, why_out);
}

struct bytes_view address_domain(const char *email)
{
    const char *at = strrchr(email, '@');

    return bytes_view_str(at ? at + 1 : "");
}
