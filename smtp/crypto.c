#include "smtp/crypto.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* Small cryptography for pure code, so that OpenSSL is named in few places. */

void crypto_random(void *p, size_t n)
{
    unsigned char *at = p;

    while (n) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            unreachable("the system has no randomness");
        at += got;
        n -= (size_t)got;
    }
}

void crypto_cleanse(void *p, size_t n)
{
    if (p)
        OPENSSL_cleanse(p, n);
}

void crypto_cleanse_free(char *secret)
{
    if (secret)
        crypto_cleanse(secret, strlen(secret));
    free(secret);
}

bool crypto_equal(struct bytes_view a, struct bytes_view b)
{
    return a.n == b.n && (a.n == 0 || CRYPTO_memcmp(a.p, b.p, a.n) == 0);
}

void crypto_sha256(struct bytes_view in, unsigned char out[32])
{
    if (EVP_Digest(in.n ? in.p : "", in.n, out, NULL, EVP_sha256(), NULL) != 1)
        unreachable("SHA-256 is not available");
}

/* ---- base64, RFC 4648 §4 ---- */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void crypto_base64(struct bytes_view in, struct bytes_buf *out)
{
    const unsigned char *p = (const unsigned char *)in.p;

    bytes_buf_reserve(out, in.n / 3 * 4 + 4);
    for (size_t i = 0; i < in.n; i += 3) {
        size_t left = in.n - i;
        uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0u);
        char quad[4] = {alphabet[v >> 18], alphabet[v >> 12 & 63], left > 1 ? alphabet[v >> 6 & 63] : '=',
                        left > 2 ? alphabet[v & 63] : '='};
        bytes_buf_add(out, quad, sizeof(quad));
    }
}

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648 §3.5: pad bits that are not zero are refused, or one text would have several encodings. */
int crypto_base64_decode(struct bytes_view in, struct bytes_buf *out)
{
    size_t pad = 0;

    if (in.n % 4)
        return -1;
    while (pad < 2 && pad < in.n && in.p[in.n - 1 - pad] == '=')
        pad++;
    for (size_t i = 0; i < in.n; i += 4) {
        size_t digits = i + 4 == in.n ? 4 - pad : 4;
        uint32_t v = 0;
        char three[3];
        for (size_t k = 0; k < 4; k++) {
            int d = k < digits ? digit(in.p[i + k]) : 0;
            if (d < 0)
                return -1;
            v = v << 6 | (uint32_t)d;
        }
        if (v & ((1u << 8 * (4 - digits)) - 1))
            return -1;
        three[0] = (char)(v >> 16);
        three[1] = (char)(v >> 8 & 255);
        three[2] = (char)(v & 255);
        bytes_buf_add(out, three, digits - 1);
    }
    return out->failed ? -1 : 0;
}

/* ---- RFC 9562 §5.7 ---- */

/* Ids are unique, not secret, so their bits come from a stock of the thread's own: one system call in a hundred ids. */
static void take_from_stock(unsigned char *p, size_t n)
{
    static _Thread_local unsigned char stock[1024];
    static _Thread_local size_t left;

    if (left < n) {
        crypto_random(stock, sizeof(stock));
        left = sizeof(stock);
    }
    left -= n;
    memcpy(p, stock + left, n);
}

void crypto_uuid7(char out[37])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char u[16];
    struct timespec ts;
    uint64_t ms;
    size_t at = 0;

    clock_gettime(CLOCK_REALTIME, &ts);
    ms = (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
    take_from_stock(u + 6, sizeof(u) - 6);
    for (int i = 0; i < 6; i++)
        u[i] = (unsigned char)(ms >> (40 - 8 * i));
    u[6] = 0x70 | (u[6] & 0x0F);        /* version 7 */
    u[8] = 0x80 | (u[8] & 0x3F);        /* the variant of RFC 9562 */
    for (size_t i = 0; i < sizeof(u); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[at++] = '-';
        out[at++] = hex[u[i] >> 4];
        out[at++] = hex[u[i] & 15];
    }
    out[at] = '\0';
}

const char *crypto_library_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION);
}
