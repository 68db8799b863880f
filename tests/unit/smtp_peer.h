#ifndef TESTS_UNIT_SMTP_PEER_H
#define TESTS_UNIT_SMTP_PEER_H
/* An SMTP server for tests, on 127.0.0.1 and threads of its own, that misbehaves by rule: one rule for each connection
 * in the order they are accepted, the last one for all that follow. */
#include "smtp/bytes.h"

struct peer_rule {
    const char *banner;                 /* NULL: a 220; "": none. Anything but a 220 is followed by a close */
    bool mute;                          /* says nothing, until the client goes */
    bool tls_alert_only;                /* silent, but a ClientHello gets a TLS alert */
    bool implicit_tls, starttls;
    bool auth;                          /* offers AUTH PLAIN */
    const char *auth_reply;             /* NULL: a 235 */
    const char *starttls_reply;         /* NULL: a 220 and the handshake */
    int at_mail;                        /* the n-th MAIL (1 …) gets the following; 0: none */
    const char *mail_reply;             /* NULL: none, the connection is closed; a 421 is followed by a close */
    int max_rcpts;                      /* in one transaction: more get a 452; 0: no limit */
    bool mail_hangs;                    /* that MAIL gets no answer until peer_release */
    int close_after;                    /* so many mails; 0: never */
    bool goodbye;                       /* then with a 421 in one write with the verdict */
    int hold_at;                        /* the reply to the n-th body waits for peer_release; 0: none */
    bool pause_before_body;             /* BDAT is read; its octets only after peer_release */
    bool close_instead;                 /* …and then the connection is closed without it */
    const char *early_body_reply;       /* said as soon as BDAT or DATA is read, before the body; then a close */
};

struct peer;

/* tls_chain and tls_key: PEM, NULL when no rule wants TLS. */
struct peer *peer_start(const struct peer_rule *rules, size_t n, const char *tls_chain, const char *tls_key) MUST_CHECK;
void peer_stop(struct peer *p);         /* closes all, joins all */
uint16_t peer_port(const struct peer *p);
void peer_release(struct peer *p);      /* lets one held reply go */
void peer_hang_up(struct peer *p);      /* ends all connections there are */
void peer_wait_held(struct peer *p);    /* until a body is held */
void peer_wait_closed(struct peer *p, int n);           /* until n connections have ended */
int peer_connections(struct peer *p);
int peer_mails(struct peer *p);         /* bodies answered with 250 */
int peer_most(struct peer *p);          /* connections at the same time */
int peer_quits(struct peer *p);
#endif
