#include "service/config_url.h"

#include "smtp/crypto.h"
#include "smtp/idn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads a relay's URL. */

static bool fail(char why_out[200], const char *why)
{
    snprintf(why_out, 200, "%s", why);
    return false;
}

/* RFC 3986 §2.1. CR, LF and NUL would become commands of their own behind AUTH, so no control character passes. */
static bool decode(struct bytes_view in, char **out, char why_out[200])
{
    size_t n = 0;

    *out = calloc(1, in.n + 1);
    if (!*out)
        return fail(why_out, "no memory");
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        if (c == '%') {
            int high = i + 2 < in.n ? bytes_hex_value(in.p[i + 1]) : -1;
            int low = i + 2 < in.n ? bytes_hex_value(in.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return fail(why_out,
                            "a % in user or password is not followed by two hex digits (write % itself as %25)");
            c = (char)(high * 16 + low);
            i += 2;
        }
        if ((unsigned char)c < 32 || c == 127)
            return fail(why_out, "user or password holds a control character");
        (*out)[n++] = c;
    }
    return bytes_is_utf8(bytes_view(*out, n)) || fail(why_out, "user or password is not UTF-8");
}

static bool read_user(struct bytes_view info, struct config_url *u, char why_out[200])
{
    const char *colon = memchr(info.p, ':', info.n);
    size_t n = colon ? (size_t)(colon - info.p) : info.n;

    if (n == 0)
        return fail(why_out, "the user before @ is empty");
    if (!decode(bytes_view(info.p, n), &u->user, why_out))
        return false;
    if (!colon)
        return true;
    if (n + 1 == info.n)
        return fail(why_out, "the password before @ is empty");
    return decode(bytes_view(colon + 1, info.n - n - 1), &u->password, why_out);
}

static bool read_port(struct bytes_view digits, struct config_url *u, char why_out[200])
{
    unsigned port = 0;

    for (size_t i = 0; i < digits.n; i++) {
        if (digits.p[i] < '0' || digits.p[i] > '9' || i >= 5)
            return fail(why_out, "the port is not a number from 1 to 65535");
        port = port * 10 + (unsigned)(digits.p[i] - '0');
    }
    if (port == 0 || port > 65535)
        return fail(why_out, "the port is not a number from 1 to 65535");
    u->port = (uint16_t)port;
    return true;
}

/* RFC 3986 §3.2.2: what may stand in an IPv6 literal; the resolver judges the rest. */
static bool is_ipv6_text(struct bytes_view v)
{
    for (size_t i = 0; i < v.n; i++)
        if (bytes_hex_value(v.p[i]) < 0 && v.p[i] != ':' && v.p[i] != '.')
            return false;
    return memchr(v.p, ':', v.n) != NULL;
}

/* Four numbers up to 255 with dots between; a leading 0 would be octal to some readers. */
static bool is_ipv4(struct bytes_view v)
{
    unsigned dots = 0, octet = 0, digits = 0;

    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] == '.' && digits) {
            dots++;
            octet = digits = 0;
        } else if (v.p[i] >= '0' && v.p[i] <= '9' && !(digits && octet == 0)) {
            octet = octet * 10 + (unsigned)(v.p[i] - '0');
            digits++;
        } else {
            return false;
        }
        if (octet > 255)
            return false;
    }
    return dots == 3 && digits;
}

static bool read_name(struct bytes_view host, struct config_url *u, char why_out[200])
{
    const char *why;

    if (memchr(host.p, ':', host.n))
        return fail(why_out, "an IPv6 address must stand in brackets, as in smtp://[2001:db8::1]:587");
    u->host_is_rooted = idn_root_dot(host);
    host.n -= u->host_is_rooted;
    if (idn_to_ascii(host, &u->host, &why) == 0)
        return true;
    snprintf(why_out, 200, "the host is not a name: %s", why);
    return false;
}

static bool read_host(struct bytes_view host, struct config_url *u, char why_out[200])
{
    if (host.n == 0)
        return fail(why_out, "there is no host");
    if (host.p[0] == '[') {
        if (host.p[host.n - 1] != ']' || host.n < 4 || !is_ipv6_text(bytes_view(host.p + 1, host.n - 2)))
            return fail(why_out, "what stands in brackets is not an IPv6 address");
        host = bytes_view(host.p + 1, host.n - 2);
    } else if (!is_ipv4(host)) {
        return read_name(host, u, why_out);
    }
    u->host = strndup(host.p, host.n);
    return u->host || fail(why_out, "no memory");
}

/* authority = [ userinfo "@" ] host [ ":" port ] */
static bool read_authority(struct bytes_view a, struct config_url *u, char why_out[200])
{
    const char *at = memrchr(a.p, '@', a.n), *colon;

    if (at) {
        size_t n = (size_t)(at - a.p);
        if (!read_user(bytes_view(a.p, n), u, why_out))
            return false;
        a = bytes_view(at + 1, a.n - n - 1);
    }
    colon = memrchr(a.p, ':', a.n);
    /* A colon inside brackets, or one of several, is no port's. */
    if (colon && colon[-1] != ']' &&
        (memchr(a.p, ':', (size_t)(colon - a.p)) || memchr(colon, ']', a.n - (size_t)(colon - a.p))))
        colon = NULL;
    if (colon) {
        size_t n = (size_t)(colon - a.p);
        if (!read_port(bytes_view(colon + 1, a.n - n - 1), u, why_out))
            return false;
        a.n = n;
    }
    return read_host(a, u, why_out);
}

static bool read_scheme(const char **p, struct config_url *u, char why_out[200])
{
    if (bytes_starts_nocase(bytes_view_str(*p), "smtp://")) {
        u->tls_mode = SMTP_TLS_STARTTLS;
        *p += 7;
        return true;
    }
    if (bytes_starts_nocase(bytes_view_str(*p), "smtps://")) {
        u->tls_mode = SMTP_TLS_IMPLICIT;
        *p += 8;
        return true;
    }
    return fail(why_out, "the url must begin with smtp:// (STARTTLS) or smtps:// (TLS at once)");
}

static bool read_rest(const char *rest, struct config_url *u, char why_out[200])
{
    if (*rest == '/')
        rest++;
    if (*rest == '\0')
        return true;
    if (strcmp(rest, "?tls=none") != 0)
        return fail(why_out, "behind host and port only ?tls=none may follow");
    if (u->tls_mode == SMTP_TLS_IMPLICIT)
        return fail(why_out, "smtps:// and ?tls=none contradict each other");
    u->tls_mode = SMTP_TLS_NONE;
    return true;
}

int config_url_parse(const char *url, struct config_url *out, char why_out[200])
{
    const char *p = url;
    size_t n;

    *out = (struct config_url){.port = 0};
    why_out[0] = '\0';
    if (read_scheme(&p, out, why_out)) {
        n = strcspn(p, "/?#");
        if (strchr(p + n, '@'))         /* what looks like a host so far may be half a password */
            fail(why_out, "/ ? # in user or password must be written as %2F %3F %23");
        else if (read_authority(bytes_view(p, n), out, why_out) && read_rest(p + n, out, why_out))
            return 0;
    }
    config_url_deinit(out);
    return -1;
}

void config_url_deinit(struct config_url *u)
{
    crypto_cleanse_free(u->user);
    crypto_cleanse_free(u->password);
    free(u->host);
    *u = (struct config_url){.port = 0};
}
