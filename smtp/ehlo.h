#ifndef SMTP_EHLO_H
#define SMTP_EHLO_H
/* The extensions out of an EHLO reply (RFC 5321 §4.1.1.1). */
#include "smtp/reply.h"

struct smtp_capabilities {
    bool pipelining, chunking, eightbitmime, smtputf8, dsn, enhanced_codes, requiretls, starttls, size_offered;
    uint64_t size_max;                  /* octets of a mail; 0: no limit given */
    bool auth_plain, auth_login, auth_any;
    char auth_list[160];                /* as offered, printable, for details */
};

/* Those that can be switched off where a relay, or something in front of it, offers what it cannot do. What protects,
 * STARTTLS and AUTH, is not among them. */
enum smtp_extension {
    SMTP_EXT_PIPELINING = 1,            /* RFC 2920 */
    SMTP_EXT_CHUNKING = 2,              /* RFC 3030 */
    SMTP_EXT_8BITMIME = 4,              /* RFC 6152 */
    SMTP_EXT_SMTPUTF8 = 8,              /* RFC 6531 */
    SMTP_EXT_DSN = 16,                  /* RFC 3461 */
    SMTP_EXT_SIZE = 32,                 /* RFC 1870 */
    SMTP_EXT_REQUIRETLS = 64,           /* RFC 8689 */
};
#define SMTP_EXTENSION_NAMES "pipelining, chunking, 8bitmime, smtputf8, dsn, size, requiretls"

void smtp_ehlo_parse(const struct smtp_reply *r, struct smtp_capabilities *out);
void smtp_ehlo_switch_off(struct smtp_capabilities *c, unsigned extensions);    /* as if they had not been offered */
/* Keywords, in any case, separated by commas or blanks, as SMTP_EXT_… bits. False: *bad_out is one that is none. */
bool smtp_ehlo_read_extensions(const char *list, unsigned *out, struct bytes_view *bad_out);
#endif
