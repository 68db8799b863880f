#ifndef SMTP_PROOF_H
#define SMTP_PROOF_H
/* Which servers of one relay were shown to read and discard the octets of a refused BDAT chunk (RFC 3030 §2). Only to
 * such a server does the text of a mail leave before its envelope is accepted: any other one may run it as commands, in
 * a session that is logged in. Behind one name stand different servers, so each is known by its fingerprint. Of one
 * loop; no I/O. */
#include "smtp/reply.h"

#define SMTP_PROOFS_MAX 16              /* fingerprints; the oldest goes */
#define SMTP_PROOFS_LOST_MAX 3          /* sessions in a row that ended in the middle of their proof */

struct smtp_proofs {                    /* zeroed: nothing is known */
    uint64_t proven[SMTP_PROOFS_MAX];
    unsigned n, at;                     /* of `proven`: used, and where the next one goes */
    unsigned lost;
    bool refuted;                       /* one of them does not discard: BDAT is not used with this relay any more */
};

bool smtp_proofs_has(const struct smtp_proofs *p, uint64_t fingerprint);
void smtp_proofs_add(struct smtp_proofs *p, uint64_t fingerprint);
void smtp_proofs_note_lost(struct smtp_proofs *p);
void smtp_proofs_refute(struct smtp_proofs *p);

/* Of a server: its banner and its last EHLO's keywords, without what differs from session to session (a date, an id,
 * the number of a machine, our own address). */
uint64_t smtp_proof_fingerprint(const struct smtp_reply *r, bool is_ehlo, uint64_t before); /* before: the banner's */
#endif
