#ifndef API_HINT_H
#define API_HINT_H
/* Hints: the one thing to do first, chosen by the facts of the case. catalogue.c has a general one for each code; the
 * rows here are for cases in which something better is true. Pure. */
#include "api/provider.h"
#include "smtp/outcome.h"

enum hint_fact {
    FACT_LOOPBACK = 1 << 0,             /* the relay is this machine: localhost, 127.0.0.0/8, ::1 */
    FACT_SHORT_HOST = 1 << 1,           /* a name without a dot, and not localhost */
    FACT_ADDRESS = 1 << 2,              /* the host is an IP address */
    FACT_PROVIDER = 1 << 3,             /* a provider of provider.h */
    FACT_OTHER_PORT = 1 << 4,           /* … that takes STARTTLS on another port, too */
    FACT_NO_465 = 1 << 5,               /* … that has no port 465 */
    FACT_STARTTLS = 1 << 6,             /* how the relay is configured */
    FACT_IMPLICIT = 1 << 7,
    FACT_NO_TLS = 1 << 8,
    FACT_USER = 1 << 9,                 /* user is set */
    FACT_NO_USER = 1 << 10,
    FACT_TEMPORARY = 1 << 11,           /* the reply is a 4xx */
    FACT_LOCAL = 1 << 12,               /* no reply refused it: mailhatch or the network did */
    FACT_MANY = 1 << 13,                /* several recipients */
    FACT_UNKNOWN = 1 << 14,             /* delivery is unknown */
    FACT_COUNT = 15
};

struct hint_case {                      /* all borrowed */
    const struct smtp_outcome *outcome;
    const char *host;                   /* NULL: no relay was chosen */
    uint16_t port;
    enum provider provider;
    unsigned facts;                     /* of enum hint_fact */
    const char *message_id;             /* NULL: none */
};

/* What is 0 or NULL matches anything; the first row that matches wins. */
struct hint_row {
    enum outcome_code code;
    enum stage stage;                   /* STAGE_REQUEST: any, as no relay was asked there */
    uint16_t port;
    enum provider provider;
    int reply;
    const char *enhanced;
    const char *says;                   /* words, with a bar between; one is in the reply or the reason. Any case */
    unsigned facts;                     /* all of them hold */
    const char *hint;                   /* a template, see hint_fill */
};
extern const struct hint_row hint_rows[];       /* hint_rows.c */
extern const size_t hint_n_rows;

/* Facts that follow from host and provider. */
unsigned hint_facts_of_host(const char *host, enum provider p);
const char *hint_choose(const struct hint_case *c);     /* a template; NULL: the catalogue's is best */
/* Writes a template with {host}, {port}, {other_port}, {provider}, {stage} ("at MAIL FROM") and {message_id} filled in.
 */
void hint_fill(const char *hint, const struct hint_case *c, struct bytes_buf *out);
void hint_write_when(const struct hint_row *row, struct bytes_buf *out);        /* "port 465, tls: starttls" */
/* The variants of a code as JSON: [{"when":…,"hint":…},…] */
void hint_write_variants(enum outcome_code code, struct bytes_buf *out);
const char *hint_stage_place(enum stage s);             /* "at MAIL FROM", "in the TLS handshake" */
#endif
