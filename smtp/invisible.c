#include "smtp/invisible.h"

#include <stdio.h>

/* Which characters are invisible, and where the first one stands. */

/* Unicode 15: general categories Cf, Zs, Zl and Zp, Default_Ignorable_Code_Point (DerivedCoreProperties.txt), C1, and
 * what is no character at all. In order. */
static const struct {
    unsigned long first, last;
} ranges[] = {
    {0x80, 0xA0},       {0xAD, 0xAD},       {0x34F, 0x34F},     {0x600, 0x605},     {0x61C, 0x61C},
    {0x6DD, 0x6DD},     {0x70F, 0x70F},     {0x890, 0x891},     {0x8E2, 0x8E2},     {0x115F, 0x1160},
    {0x1680, 0x1680},   {0x17B4, 0x17B5},   {0x180B, 0x180F},   {0x2000, 0x200F},   {0x2028, 0x202F},
    {0x205F, 0x206F},   {0x2800, 0x2800},   {0x3000, 0x3000},   {0x3164, 0x3164},   {0xFDD0, 0xFDEF},
    {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},   {0xFFA0, 0xFFA0},   {0xFFF0, 0xFFFC},   {0x110BD, 0x110BD},
    {0x110CD, 0x110CD}, {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0x40000, 0xEFFFF},
};

bool invisible_is(unsigned long c)
{
    size_t low = 0, high = ARRAY_LEN(ranges);

    if ((c & 0xFFFE) == 0xFFFE)
        return true;                    /* the last two of each plane are noncharacters */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c > ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < ARRAY_LEN(ranges) && c >= ranges[low].first;
}

/* The character of n octets at p. */
static unsigned long code_point(const char *p, size_t n)
{
    static const unsigned char masks[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    unsigned long c = (unsigned char)p[0] & masks[n];

    for (size_t i = 1; i < n; i++)
        c = c << 6 | ((unsigned char)p[i] & 0x3F);
    return c;
}

const char *invisible_name(struct bytes_view s, size_t at, const char *what)
{
    static _Thread_local char text[120];
    size_t position = 1, n = bytes_utf8_length(s.p + at, s.n - at);

    for (size_t i = 0; i < at; i++)
        position += ((unsigned char)s.p[i + 1] & 0xC0) != 0x80;
    snprintf(text, sizeof(text), "%s: U+%04lX, at position %zu", what, n ? code_point(s.p + at, n) : 0xFFFD, position);
    return text;
}

const char *invisible_fault(struct bytes_view s, unsigned flags, const char *where)
{
    char what[80];

    if (bytes_is_ascii(s))
        return NULL;
    for (size_t i = 0, n; i < s.n; i += n) {
        unsigned long c;
        n = bytes_utf8_length(s.p + i, s.n - i);
        if (!n)
            return NULL;
        c = code_point(s.p + i, n);
        if (!invisible_is(c) || ((flags & INVISIBLE_JOINERS) && (c == 0x200C || c == 0x200D)))
            continue;
        snprintf(what, sizeof(what), "%s has an invisible character", where);
        return invisible_name(s, i, what);
    }
    return NULL;
}
