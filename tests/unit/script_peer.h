#ifndef TESTS_UNIT_SCRIPT_PEER_H
#define TESTS_UNIT_SCRIPT_PEER_H
/* An SMTP server for tests that says what a table tells it, on 127.0.0.1 and a thread for each connection. */
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

struct script_line {
    const char *on;                     /* a line that begins so (any case); with "tls:" before: only under TLS */
    /* With CRLF. NULL: the connection is closed. A 220 to STARTTLS with nothing behind it leads to the handshake */
    const char *reply;
};

struct script {
    const char *banner;                 /* NULL: silence; "close": the connection is closed at once */
    unsigned banner_ms;                 /* so long after the connection, unless the client speaks first */
    bool implicit_tls;
    const struct script_line *lines;    /* ends with on == NULL; before the defaults: QUIT …, 250 for the rest */
    SSL_CTX *tls;                       /* the caller's */
};

struct script_peer;

struct script_peer *script_peer_start(const struct script *s);
void script_peer_stop(struct script_peer *p);
uint16_t script_peer_port(const struct script_peer *p);
int script_peer_count(struct script_peer *p, const char *begin);        /* lines received that begin so, in all */
#endif
