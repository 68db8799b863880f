#ifndef SERVICE_CONFIG_URL_H
#define SERVICE_CONFIG_URL_H
/* Reads a relay's URL: smtp://user:password@host:port (STARTTLS required, port 587), smtps://… (implicit TLS, port
 * 465), and smtp://…?tls=none. Pure. User and password are percent-decoded; the host becomes A-labels or an IP
 * literal without brackets. */
#include "service/config.h"

struct config_url {
    char *user, *password, *host;       /* owned; user and password may be NULL */
    bool host_is_rooted;                /* it ended in a dot, which host is without */
    uint16_t port;                      /* 0: not given */
    enum smtp_tls_mode tls_mode;
};

/* 0; or -1 and *out is empty, why_out is a sentence that shows neither user nor password. */
int config_url_parse(const char *url, struct config_url *out, char why_out[200]) MUST_CHECK;
void config_url_deinit(struct config_url *u);
#endif
