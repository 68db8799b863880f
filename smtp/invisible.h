#ifndef SMTP_INVISIBLE_H
#define SMTP_INVISIBLE_H
/* Characters that nobody sees: an address with one in it looks like another person's, and is not. Pure. */
#include "smtp/bytes.h"

enum { INVISIBLE_JOINERS = 1 };         /* U+200C and U+200D are taken: in a domain RFC 5892 appendix A judges them */

/* Format characters and what else Unicode has ignored by default, all spaces but U+0020, line and paragraph separators,
 * blank letters, C1 controls, noncharacters and planes without characters (Unicode 15). Not the C0 controls. */
bool invisible_is(unsigned long c);

/* NULL: there is none in `s`, which is UTF-8. Else a sentence fragment that begins with `where`: "the domain has an
 * invisible character: U+200B, at position 3" (counted in characters from 1). Valid until the thread's next call of
 * either. */
const char *invisible_fault(struct bytes_view s, unsigned flags, const char *where);
/* The same of the character at s.p[at]: `what` is "it has a control character". */
const char *invisible_name(struct bytes_view s, size_t at, const char *what);
#endif
