#include "smtp/idn.h"

#include "smtp/invisible.h"

#include <idn2.h>
#include <stdlib.h>
#include <string.h>

/* Domains to lower-case A-labels, label by label checked; the only file that names libidn2. */

#define DOMAIN_MAX 253
#define LABEL_MAX 63

static const char *label_fault(const char *p, size_t n)
{
    if (n == 0)
        return "the domain has an empty label";
    if (n > LABEL_MAX)
        return "a label of the domain is longer than 63 octets";
    if (p[0] == '-' || p[n - 1] == '-')
        return "a label of the domain begins or ends with a hyphen";
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return "the domain has a character that is not a letter, digit or hyphen";
    }
    return NULL;
}

static bool all_digits(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    return true;
}

/* RFC 1123 §2.1: letters, digits and hyphens; "the highest-level component label will be alphabetic". */
static const char *domain_fault(const char *s)
{
    size_t n = strlen(s), start = 0;

    if (n == 0)
        return "the domain is missing";
    if (n > DOMAIN_MAX)
        return "the domain is longer than 253 octets";
    for (size_t i = 0; i <= n; i++) {
        const char *why;
        if (i < n && s[i] != '.')
            continue;
        why = label_fault(s + start, i - start);
        if (why)
            return why;
        if (i == n && all_digits(s + start, i - start))
            return "the domain is an IP address or ends in a number";
        start = i + 1;
    }
    return NULL;
}

/* libidn2 maps (UTS 46), normalises and encodes; what comes out is checked like any other ASCII domain. Not with
 * IDN2_USE_STD3_ASCII_RULES: it drops what it should refuse, and "b_ü" becomes somebody else's "bü". */
static const char *convert(const char *utf8, char **out)
{
    int flags = IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL;
    char *ascii = NULL;
    int rc = idn2_to_ascii_8z(utf8, &ascii, flags);

    *out = NULL;
    if (rc == IDN2_MALLOC)
        return "there is no memory";
    if (rc != IDN2_OK)
        return "the domain is not a valid internationalised name";
    *out = strdup(ascii);
    idn2_free(ascii);
    return *out ? NULL : "there is no memory";
}

int idn_to_ascii(struct bytes_view domain, char **out, const char **why_out)
{
    char *s;

    *out = NULL;
    *why_out = NULL;
    /* An A-label is never shorter than a third of its UTF-8 form, so nothing longer can come out short enough. */
    if (domain.n > (size_t)4 * DOMAIN_MAX) {
        *why_out = "the domain is longer than 253 octets";
        return -1;
    }
    if (memchr(domain.p, '\0', domain.n)) {
        *why_out = "the domain has a control character";
        return -1;
    }
    /* UTS 46 drops or replaces most of them, and so finds somebody else's domain. */
    *why_out = invisible_fault(domain, INVISIBLE_JOINERS, "the domain");
    if (*why_out)
        return -1;
    s = strndup(domain.p, domain.n);
    if (!s) {
        *why_out = "there is no memory";
        return -1;
    }
    if (!bytes_is_ascii(domain)) {
        char *utf8 = s;
        *why_out = convert(utf8, &s);
        free(utf8);
        if (*why_out)
            return -1;
    }
    for (char *p = s; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p + ('a' - 'A'));
    *why_out = domain_fault(s);
    if (*why_out) {
        free(s);
        return -1;
    }
    *out = s;
    return 0;
}

size_t idn_root_dot(struct bytes_view name)
{
    return name.n > 1 && name.p[name.n - 1] == '.';
}

const char *idn_library_version(void)
{
    return "libidn2 " IDN2_VERSION;
}
