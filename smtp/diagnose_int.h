#ifndef SMTP_DIAGNOSE_INT_H
#define SMTP_DIAGNOSE_INT_H
/* What the files of the diagnosis share. For diagnose*.c only. */
#include "smtp/diagnose.h"
#include "smtp/diagnose_io.h"
#include "smtp/relay_memory.h"

struct diagnose_state {
    const struct diagnose_params *p;
    struct diagnosis *d;
    uint64_t began_us;
    struct diagnose_limits limits;
    struct diagnose_step *step;         /* the one that runs; NULL: none */
    struct secrets *secrets;            /* of the relay's credentials */
    struct trace trace;
    struct resolve_address v[DIAGNOSE_ADDRESSES_MAX];   /* d->addresses, to connect to */
    struct resolve_address peer;        /* where the conversation ran, or would run first */
    bool has_peer;
    struct diagnose_conn conn;          /* the conversation's; fd -1: over */
    struct smtp_outcome verdict;        /* of the certificate; code OUTCOME_SENT: good */
    char cause[400];                    /* the sentence that says why the first step failed */
    char stop[200];                     /* why later steps are not reached; empty: they are */
};

/* ---- diagnose_book.c: the book of steps and findings ---- */

void diagnose_begin(struct diagnose_state *s, enum diagnose_step_id id);
void diagnose_end(struct diagnose_state *s);                            /* OK unless something else was said */
void diagnose_skip(struct diagnose_state *s, enum diagnose_step_id id, const char *why);        /* without a begin */
/* A sentence more in the running step's detail. */
void diagnose_say(struct diagnose_state *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* …which is also why this step failed. After diagnose_fail. */
void diagnose_blame(struct diagnose_state *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
void diagnose_warn(struct diagnose_state *s);
void diagnose_fail(struct diagnose_state *s, const struct smtp_outcome *why);   /* why: as a send would have ended */
void diagnose_pass(struct diagnose_state *s, const char *why);          /* the running step is skipped */
/* …as it would fail for sure: the run fails here, with this outcome. */
void diagnose_pass_failed(struct diagnose_state *s, const struct smtp_outcome *why);
/* …and the text in the running step's detail; the second time nothing. */
void diagnose_find(struct diagnose_state *s, enum diagnose_finding_id id, bool warning, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
uint32_t diagnose_ms(const struct diagnose_state *s);                   /* since the run began */
/* Printable UTF-8 on one line, or lines with LF between; true: it was cut. */
bool diagnose_clean(char *out, size_t cap, struct bytes_view text, bool keep_lf);

/* ---- the steps: false ends the conversation ---- */

/* diagnose_net.c */
bool diagnose_config(struct diagnose_state *s);
bool diagnose_dns(struct diagnose_state *s);
bool diagnose_tcp(struct diagnose_state *s);

/* diagnose_talk.c */
bool diagnose_banner(struct diagnose_state *s);
bool diagnose_ehlo(struct diagnose_state *s);
bool diagnose_starttls(struct diagnose_state *s);
bool diagnose_tls(struct diagnose_state *s);
bool diagnose_ehlo_tls(struct diagnose_state *s);
bool diagnose_quit(struct diagnose_state *s);
void diagnose_capabilities(struct diagnose_state *s, const struct diagnose_ehlo *e);    /* what they lack */

/* diagnose_cert.c */
bool diagnose_certificate(struct diagnose_state *s);

/* diagnose_mail.c */
bool diagnose_auth(struct diagnose_state *s);
bool diagnose_mail(struct diagnose_state *s);
bool diagnose_rcpt(struct diagnose_state *s);
bool diagnose_send(struct diagnose_state *s);

/* diagnose_ports.c, on connections of their own */
bool diagnose_versions(struct diagnose_state *s);
bool diagnose_ports(struct diagnose_state *s);

/* diagnose_conclude.c */
void diagnose_conclude(struct diagnose_state *s);

/* ---- shared by the conversation and the trials ---- */

/* The outcome of a call that was not OK while a reply to `command` was awaited. */
void diagnose_io_outcome(const struct diagnose_conn *c, enum diagnose_io io, enum stage stage, const char *command,
                         uint32_t ms, struct smtp_outcome *out);
/* Writes fmt and CRLF and waits for the reply. */
enum diagnose_io diagnose_ask(struct diagnose_conn *c, uint32_t ms, struct smtp_reply *out, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
void diagnose_take_ehlo(struct diagnose_ehlo *e, const struct smtp_reply *r);
struct tls_context *diagnose_tls_context(const struct diagnose_state *s, enum tls_only only, char err_out[200])
    MUST_CHECK;
bool diagnose_is_rewritten(const struct smtp_reply *r);         /* lines masked by an inspecting firewall */
bool diagnose_may_log_in(const struct diagnose_state *s);       /* credentials and mail may go now */
#endif
