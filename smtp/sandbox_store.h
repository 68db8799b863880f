#ifndef SMTP_SANDBOX_STORE_H
#define SMTP_SANDBOX_STORE_H
/* The mails the sandbox keeps: a bounded list, oldest out. Used by the sandbox's thread only. */
#include "smtp/sandbox.h"

struct sandbox_store;

struct sandbox_mail *sandbox_mail_new(void) MUST_CHECK;
void sandbox_mail_free(struct sandbox_mail *m);

struct sandbox_store *sandbox_store_new(size_t max_mails, size_t max_bytes) MUST_CHECK;
void sandbox_store_free(struct sandbox_store *s);
void sandbox_store_add(struct sandbox_store *s,
                       struct sandbox_mail *m);        /* takes it over; sets size and subject */
void sandbox_store_answer(struct sandbox_store *s,
                          struct sandbox_query *q);    /* fills mails and n_mails with copies */
#endif
