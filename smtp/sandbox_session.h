#ifndef SMTP_SANDBOX_SESSION_H
#define SMTP_SANDBOX_SESSION_H
/* The server's side of one SMTP conversation: bytes in, bytes and whole mails out. No I/O; the driver stamps the
 * mails. */
#include "smtp/sandbox_store.h"

struct sandbox_session;

struct sandbox_session_params {
    const char *user, *password;        /* outlive the session */
    size_t max_message, max_rcpts;      /* octets; recipients a mail */
};

enum sandbox_session_state {
    SANDBOX_TALKS,                      /* feed it */
    SANDBOX_WANTS_TLS,                  /* send the output, start TLS, tell it */
    SANDBOX_ENDS,                       /* send the output, close */
};

struct sandbox_session *sandbox_session_new(const struct sandbox_session_params *p) MUST_CHECK;    /* greets */
void sandbox_session_free(struct sandbox_session *s);
/* Gives how much it took: it stops at the end of each mail, so ask for the mail, then feed the rest. After STARTTLS
 * what
 * came with it is taken and thrown away (RFC 3207 §4.2: plaintext is not to be carried over). */
size_t sandbox_session_feed(struct sandbox_session *s, struct bytes_view in);
struct bytes_queue *sandbox_session_output(struct sandbox_session *s);
struct sandbox_mail *sandbox_session_take_mail(struct sandbox_session *s);      /* NULL: none; else the caller's */
enum sandbox_session_state sandbox_session_state(const struct sandbox_session *s);
void sandbox_session_tls_started(struct sandbox_session *s, const char *version, const char *cipher);
void sandbox_session_end(struct sandbox_session *s, const char *reply);         /* the driver's own end: idle,
    going down */
#endif
