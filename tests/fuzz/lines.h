#ifndef FUZZ_LINES_H
#define FUZZ_LINES_H
/* What every composed message keeps to (RFC 5322 §2.1, §2.3): CRLF line ends only, the last one there, no line over 998
 * octets, no NUL. */
#include "smtp/bytes.h"

static inline void fuzz_check_lines(const char *p, size_t n)
{
    size_t start = 0;

    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\0')
            unreachable("a NUL");
        if (p[i] == '\r' ? i + 1 == n || p[i + 1] != '\n' : p[i] == '\n' && (i == 0 || p[i - 1] != '\r'))
            unreachable("a bare CR or LF");
        if (p[i] != '\n')
            continue;
        if (i - 1 - start > 998)
            unreachable("a line too long");
        start = i + 1;
    }
    if (start != n)
        unreachable("the last line has no end");
}
#endif
