#include "smtp/proof.h"

#include <string.h>

/* What is known of a relay's servers and BDAT. */

#define ID_MIN 8                        /* a word this long with a digit in it names a machine or a session */
#define FNV_OFFSET 14695981039346656037ULL
#define FNV_PRIME 1099511628211ULL

bool smtp_proofs_has(const struct smtp_proofs *p, uint64_t fingerprint)
{
    for (unsigned i = 0; i < p->n && !p->refuted; i++)
        if (p->proven[i] == fingerprint)
            return true;
    return false;
}

void smtp_proofs_add(struct smtp_proofs *p, uint64_t fingerprint)
{
    p->lost = 0;
    if (smtp_proofs_has(p, fingerprint))
        return;
    p->proven[p->at] = fingerprint;
    p->at = (p->at + 1) % SMTP_PROOFS_MAX;
    if (p->n < SMTP_PROOFS_MAX)
        p->n++;
}

void smtp_proofs_refute(struct smtp_proofs *p)
{
    p->refuted = true;
}

void smtp_proofs_note_lost(struct smtp_proofs *p)
{
    if (++p->lost >= SMTP_PROOFS_LOST_MAX)
        smtp_proofs_refute(p);
}

static uint64_t hash(uint64_t h, struct bytes_view v)
{
    for (size_t i = 0; i < v.n; i++)
        h = (h ^ (unsigned char)v.p[i]) * FNV_PRIME;
    return h;
}

static bool has_digit(struct bytes_view word)
{
    for (size_t i = 0; i < word.n; i++)
        if (word.p[i] >= '0' && word.p[i] <= '9')
            return true;
    return false;
}

/* RFC 5322 §3.3 day-of-week: many a banner ends in its date. */
static bool is_weekday(struct bytes_view word)
{
    static const char days[] = "Mon,Tue,Wed,Thu,Fri,Sat,Sun,";

    for (size_t i = 0; i < sizeof(days) - 1; i += 4)
        if (word.n == 4 && memcmp(word.p, days + i, 4) == 0)
            return true;
    return false;
}

static uint64_t hash_banner_line(uint64_t h, struct bytes_view line)
{
    while (line.n) {
        const char *space = memchr(line.p, ' ', line.n);
        struct bytes_view word = bytes_view(line.p, space ? (size_t)(space - line.p) : line.n);
        if (is_weekday(word))
            return h;
        h = hash(h, word.n >= ID_MIN && has_digit(word) ? bytes_view("#", 1) : word);
        h = hash(h, bytes_view(" ", 1));
        line = bytes_view(line.p + word.n + (space ? 1 : 0), line.n - word.n - (space ? 1 : 0));
    }
    return h;
}

uint64_t smtp_proof_fingerprint(const struct smtp_reply *r, bool is_ehlo, uint64_t before)
{
    const char *at = r->lines.p, *end = at + r->lines.n;
    uint64_t h = before ? before : FNV_OFFSET;

    for (unsigned i = 0; at < end; i++) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        struct bytes_view line = bytes_view(at, (size_t)(lf - at));
        if (!is_ehlo)
            h = hash_banner_line(h, line);
        else if (i > 0)                 /* the first line greets us by our address */
            h = hash(h, line);
        h = hash(h, bytes_view("\n", 1));
        at = lf + 1;
    }
    return h;
}
