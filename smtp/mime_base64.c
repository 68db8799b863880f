#include "smtp/mime_base64.h"

#include <string.h>

/* Base64, two digits at a time. */

#define LINE_DIGITS 76                  /* RFC 2045 §6.8 */
#define LINE_OCTETS 57

/* All pairs of digits, so that twelve bits are one look-up. */
#define PAIR4(a, b, c, d, e) {a, b}, {a, c}, {a, d}, {a, e}
#define ROW(a) \
    PAIR4(a, 'A', 'B', 'C', 'D'), PAIR4(a, 'E', 'F', 'G', 'H'), PAIR4(a, 'I', 'J', 'K', 'L'), \
    PAIR4(a, 'M', 'N', 'O', 'P'), PAIR4(a, 'Q', 'R', 'S', 'T'), PAIR4(a, 'U', 'V', 'W', 'X'), \
    PAIR4(a, 'Y', 'Z', 'a', 'b'), PAIR4(a, 'c', 'd', 'e', 'f'), PAIR4(a, 'g', 'h', 'i', 'j'), \
    PAIR4(a, 'k', 'l', 'm', 'n'), PAIR4(a, 'o', 'p', 'q', 'r'), PAIR4(a, 's', 't', 'u', 'v'), \
    PAIR4(a, 'w', 'x', 'y', 'z'), PAIR4(a, '0', '1', '2', '3'), PAIR4(a, '4', '5', '6', '7'), \
    PAIR4(a, '8', '9', '+', '/')
#define ROW4(a, b, c, d) ROW(a), ROW(b), ROW(c), ROW(d)

static const char pairs[64 * 64][2] = {
    ROW4('A', 'B', 'C', 'D'), ROW4('E', 'F', 'G', 'H'), ROW4('I', 'J', 'K', 'L'), ROW4('M', 'N', 'O', 'P'),
    ROW4('Q', 'R', 'S', 'T'), ROW4('U', 'V', 'W', 'X'), ROW4('Y', 'Z', 'a', 'b'), ROW4('c', 'd', 'e', 'f'),
    ROW4('g', 'h', 'i', 'j'), ROW4('k', 'l', 'm', 'n'), ROW4('o', 'p', 'q', 'r'), ROW4('s', 't', 'u', 'v'),
    ROW4('w', 'x', 'y', 'z'), ROW4('0', '1', '2', '3'), ROW4('4', '5', '6', '7'), ROW4('8', '9', '+', '/'),
};

/* A digit's value plus one; 0: no digit. */
static const unsigned char values[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
    ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
};

/* Returns where the digits end. */
static char *encode(const unsigned char *p, size_t n, char *to)
{
    for (; n >= 6; n -= 6, p += 6, to += 8) {
        uint64_t v = (uint64_t)p[0] << 40 | (uint64_t)p[1] << 32 | (uint64_t)p[2] << 24 | (uint64_t)p[3] << 16 |
                     (uint64_t)p[4] << 8 | p[5];
        memcpy(to, pairs[v >> 36], 2);
        memcpy(to + 2, pairs[v >> 24 & 4095], 2);
        memcpy(to + 4, pairs[v >> 12 & 4095], 2);
        memcpy(to + 6, pairs[v & 4095], 2);
    }
    for (; n; n -= n < 3 ? n : 3, p += 3, to += 4) {
        unsigned v = (unsigned)p[0] << 16 | (n > 1 ? (unsigned)p[1] << 8 : 0) | (n > 2 ? p[2] : 0);
        memcpy(to, pairs[v >> 12], 2);
        memcpy(to + 2, pairs[v & 4095], 2);
        if (n < 3)
            to[3] = '=';
        if (n < 2)
            to[2] = '=';
    }
    return to;
}

static void end_at(struct bytes_buf *out, char *to)
{
    *to = '\0';
    out->n = (size_t)(to - out->p);
}

void mime_base64_write(struct bytes_view in, struct bytes_buf *out)
{
    bytes_buf_reserve(out, mime_base64_size(in.n));
    if (!out->failed)
        end_at(out, encode((const unsigned char *)in.p, in.n, out->p + out->n));
}

void mime_base64_lines(struct bytes_view in, struct bytes_buf *out)
{
    const unsigned char *p = (const unsigned char *)in.p;
    size_t n = in.n;
    char *to;

    bytes_buf_reserve(out, mime_base64_lines_size(mime_base64_size(n)));
    if (out->failed)
        return;
    to = out->p + out->n;
    for (; n > LINE_OCTETS; n -= LINE_OCTETS, p += LINE_OCTETS) {
        to = encode(p, LINE_OCTETS, to);
        *to++ = '\r';
        *to++ = '\n';
    }
    end_at(out, encode(p, n, to));
}

void mime_base64_wrap(struct bytes_view digits, struct bytes_buf *out)
{
    const char *p = digits.p;
    size_t n = digits.n;
    char *to;

    bytes_buf_reserve(out, mime_base64_lines_size(n));
    if (out->failed)
        return;
    to = out->p + out->n;
    for (; n > LINE_DIGITS; n -= LINE_DIGITS, p += LINE_DIGITS, to += LINE_DIGITS + 2) {
        memcpy(to, p, LINE_DIGITS);
        memcpy(to + LINE_DIGITS, "\r\n", 2);
    }
    if (n)
        memcpy(to, p, n);
    end_at(out, to + n);
}

/* Four digits as 24 bits, or -1. */
static int32_t value4(const unsigned char *p)
{
    int32_t a = values[p[0]] - 1, b = values[p[1]] - 1, c = values[p[2]] - 1, d = values[p[3]] - 1;

    if ((a | b | c | d) < 0)
        return -1;
    return a << 18 | b << 12 | c << 6 | d;
}

int mime_base64_decode(struct bytes_view digits, char *to, size_t *n_out)
{
    const unsigned char *p = (const unsigned char *)digits.p;
    size_t n = digits.n, at = 0, pad;

    *n_out = 0;
    if (n % 4 != 0)
        return -1;
    pad = !n || p[n - 1] != '=' ? 0 : p[n - 2] != '=' ? 1 : 2;
    for (size_t i = 0; i < n; i += 4) {
        unsigned char last[4];
        bool is_end = i + 4 == n;
        int32_t v;
        memcpy(last, p + i, 4);
        if (is_end && pad)
            memset(last + 4 - pad, 'A', pad);
        v = value4(last);
        if (v < 0)
            return -1;
        to[at++] = (char)(v >> 16);
        if (!is_end || pad < 2)
            to[at++] = (char)(v >> 8 & 255);
        if (!is_end || pad < 1)
            to[at++] = (char)(v & 255);
    }
    *n_out = at;
    return 0;
}
