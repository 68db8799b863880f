#include "api/provider.h"

#include "smtp/bytes.h"

#include <string.h>

/* The table of providers, and how one is recognised. */

struct provider_row {
    const char *name;
    uint16_t other_port;
    bool no_465;
    const char *reply_word;             /* only its replies carry it; NULL: none is known */
};

/* Ports as the providers' own pages give them. */
static const struct provider_row rows[] = {
    [PROVIDER_NONE] = {"the relay", 0, false, NULL},
    [PROVIDER_GMAIL] = {"Gmail", 0, false, " gsmtp"},
    [PROVIDER_MICROSOFT] = {"Microsoft 365", 0, true, ".prod.outlook.com"},
    [PROVIDER_OUTLOOK] = {"Outlook.com", 0, true, NULL},
    [PROVIDER_YAHOO] = {"Yahoo Mail", 0, false, NULL},
    [PROVIDER_ICLOUD] = {"iCloud Mail", 0, false, NULL},
    [PROVIDER_SES] = {"Amazon SES", 2587, false, NULL},
    [PROVIDER_SENDGRID] = {"SendGrid", 2525, false, "sendgrid.com/"},
    [PROVIDER_MAILGUN] = {"Mailgun", 2525, false, NULL},
    [PROVIDER_POSTMARK] = {"Postmark", 2525, true, NULL},
    [PROVIDER_BREVO] = {"Brevo", 2525, false, NULL},
    [PROVIDER_MAILJET] = {"Mailjet", 2525, false, NULL},
    [PROVIDER_RESEND] = {"Resend", 2587, false, NULL},
};
_Static_assert(ARRAY_LEN(rows) == PROVIDER_COUNT, "one row for each provider");

/* The host is `suffix` or ends with "." and it, and begins with `prefix`. The first row that matches wins. */
static const struct {
    const char *suffix, *prefix;
    enum provider provider;
} hosts[] = {
    {"gmail.com", "", PROVIDER_GMAIL},
    {"googlemail.com", "", PROVIDER_GMAIL},
    {"office365.com", "", PROVIDER_MICROSOFT},
    {"protection.outlook.com", "", PROVIDER_MICROSOFT},
    {"outlook.com", "", PROVIDER_OUTLOOK},
    {"hotmail.com", "", PROVIDER_OUTLOOK},
    {"live.com", "", PROVIDER_OUTLOOK},
    {"mail.yahoo.com", "", PROVIDER_YAHOO},
    {"aol.com", "", PROVIDER_YAHOO},
    {"mail.me.com", "", PROVIDER_ICLOUD},
    {"amazonaws.com", "email-smtp", PROVIDER_SES},      /* not the machines that anybody rents there */
    {"sendgrid.net", "", PROVIDER_SENDGRID},
    {"mailgun.org", "", PROVIDER_MAILGUN},
    {"postmarkapp.com", "", PROVIDER_POSTMARK},
    {"brevo.com", "", PROVIDER_BREVO},
    {"sendinblue.com", "", PROVIDER_BREVO},
    {"mailjet.com", "", PROVIDER_MAILJET},
    {"resend.com", "", PROVIDER_RESEND},
};

static bool host_ends(const char *host, const char *suffix)
{
    size_t h = strlen(host), n = strlen(suffix);

    if (h < n || !bytes_equal_nocase(bytes_view(host + h - n, n), bytes_view(suffix, n)))
        return false;
    return h == n || host[h - n - 1] == '.';
}

enum provider provider_of(const char *host, const char *reply)
{
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        if (host_ends(host, hosts[i].suffix) && bytes_starts_nocase(bytes_view_str(host), hosts[i].prefix))
            return hosts[i].provider;
    for (unsigned p = PROVIDER_NONE + 1; p < PROVIDER_COUNT; p++)
        if (rows[p].reply_word && strcasestr(reply, rows[p].reply_word))
            return (enum provider)p;
    return PROVIDER_NONE;
}

const char *provider_name(enum provider p)
{
    return rows[p].name;
}

uint16_t provider_other_port(enum provider p)
{
    return rows[p].other_port;
}

bool provider_has_465(enum provider p)
{
    return !rows[p].no_465;
}
