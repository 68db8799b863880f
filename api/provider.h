#ifndef API_PROVIDER_H
#define API_PROVIDER_H
/* The mail providers whose ways of refusing are known well enough to say something better than the general hint. Pure
 * data; a provider is recognised by the relay's host name, else by what its replies carry. */
#include <stdbool.h>
#include <stdint.h>

enum provider {
    PROVIDER_NONE, PROVIDER_GMAIL, PROVIDER_MICROSOFT, PROVIDER_OUTLOOK, PROVIDER_YAHOO, PROVIDER_ICLOUD, PROVIDER_SES,
    PROVIDER_SENDGRID, PROVIDER_MAILGUN, PROVIDER_POSTMARK, PROVIDER_BREVO, PROVIDER_MAILJET, PROVIDER_RESEND,
    PROVIDER_COUNT
};

/* host: the relay's, as configured; reply: the text of its reply, which may be empty. Neither is NULL. */
enum provider provider_of(const char *host, const char *reply);
const char *provider_name(enum provider p);     /* as people call it: "Microsoft 365"; of NONE: "the relay" */
uint16_t provider_other_port(enum provider p);  /* where it takes STARTTLS besides 587 and 25; 0: nowhere else */
bool provider_has_465(enum provider p);         /* TLS from the first byte on port 465; true of NONE: not known */
#endif
