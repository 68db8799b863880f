#ifndef SMTP_SANDBOX_H
#define SMTP_SANDBOX_H
/* A small real SMTP submission server on loopback for the first five minutes: STARTTLS, AUTH PLAIN and LOGIN,
 * PIPELINING,
 * CHUNKING, 8BITMIME, SMTPUTF8, SIZE, DSN. Keeps the last 500 mails or 64 MiB in memory, delivers nothing.
 * It shares no protocol code with the client (bytes, loop, tls and crypto are plumbing).
 * To see errors: recipients at fail.test and below are refused with 550 5.1.1, and later@fail.test
 * (later@ANY.fail.test)
 * with 450 4.7.1. */
#include "smtp/loop.h"

struct sandbox;

struct sandbox_mail {                   /* a copy for the asker */
    char id[37];                        /* the ENVID given at MAIL when it is a UUID (mailhatch's id),
        else one of its own */
    int64_t received_unix_ms;
    char *from;                         /* reverse-path, without its angle brackets */
    char **to;
    size_t n_to;
    char *subject;                      /* raw value of the Subject field, unfolded; "" when absent */
    size_t size;
    char tls_version[12], tls_cipher[48];
    char auth_mechanism[16], auth_user[64];
    char **commands;                    /* as received since the mail before, AUTH as "AUTH ***"; only in a GET */
    size_t n_commands;
    char *raw;                          /* only in a GET; a NUL follows that raw_n does not count */
    size_t raw_n;
};

enum sandbox_query_type { SANDBOX_LIST, SANDBOX_GET, SANDBOX_CLEAR };
/* Asked from any thread; answered on reply_to. The asker allocates it and gets it back in on_answer, then
 * sandbox_query_free. */
struct sandbox_query {
    struct loop_msg msg;
    struct sandbox *sandbox;            /* set by sandbox_ask */
    enum sandbox_query_type type;
    char id[37];                        /* GET */
    struct loop *reply_to;
    void (*on_answer)(struct sandbox_query *q);
    void *ctx;
    struct sandbox_mail *mails;         /* answer: newest first; GET: one or none */
    size_t n_mails;
};
void sandbox_query_free(struct sandbox_query *q);

struct sandbox *sandbox_start(char err_out[200]) MUST_CHECK;            /* its own thread, a free port on 127.0.0.1 */
void sandbox_stop(struct sandbox *s);                                   /* answers what was asked before; joins */
uint16_t sandbox_port(const struct sandbox *s);
const char *sandbox_user(const struct sandbox *s);
const char *sandbox_password(const struct sandbox *s);
const char *sandbox_ca_pem(const struct sandbox *s);
void sandbox_ask(struct sandbox *s, struct sandbox_query *q);           /* any thread */
#endif
