#include "smtp/address.h"
#include "smtp/address_list.h"
#include "smtp/idn.h"
#include "smtp/invisible.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Addresses with characters that nobody sees are refused by name; so is what a reader could decode. */

static const struct {
    const char *in, *why;
} refused[] = {
    {"a\xE2\x80\x8B" "b@x.example", "the part before the @ has an invisible character: U+200B, at position 2"},
    {"\xEF\xBB\xBF" "ann@x.example", "the part before the @ has an invisible character: U+FEFF, at position 1"},
    {"Ann <\xC3\xA9\xE2\x81\xA0@x.example>", "the part before the @ has an invisible character: U+2060, at position 2"},
    {"ann@te\xE2\x80\x8Bst.example", "the domain has an invisible character: U+200B, at position 3"},
    {"ann@x.example\xC2\xAD", "the domain has an invisible character: U+00AD, at position 10"},
    {"ann@x.example\xC2\xA0", "the domain has an invisible character: U+00A0, at position 10"},
    {"ann@b\xC3\xBC.e\xEF\xB8\x8F", "the domain has an invisible character: U+FE0F, at position 5"},
    {"\"a\xE2\x80\xAE" "b\"@x.example", "the part before the @ has an invisible character: U+202E, at position 2"},
    {"a\xC2\x85@x.example", "it has a control character: U+0085, at position 2"},
    {"\xC3\xA9\x7F@x.example", "it has a control character: U+007F, at position 2"},
    {"x\r\ny@x.example", "it has a control character: U+000D, at position 2"},
    {"Ann\xE2\x80\xA9 <a@x.example>", "it has a line separator: U+2029, at position 4"},
    {"=?utf-8?q?x?=@x.example",
     "the part before the @ looks like an encoded word (=?...?=), which readers would decode"},
    {"\"a =?utf-8?b?eA==?= b\"@x.example",
     "the part before the @ looks like an encoded word (=?...?=), which readers would decode"},
    {"x=?utf-8?q?=41?=y@x.example",
     "the part before the @ looks like an encoded word (=?...?=), which readers would decode"},
};

START_TEST(test_refused)
{
    struct mail_address a;
    struct mail_address_list list;
    struct address_list_fault fault;
    const char *why;

    ck_assert_int_eq(address_parse(bytes_view_str(refused[_i].in), 0, &a, &why), -1);
    ck_assert_str_eq(why, refused[_i].why);
    ck_assert_ptr_null(a.email);
    if (strpbrk(refused[_i].in, "\r\n"))
        return;                         /* a fold, in a list */
    ck_assert_int_eq(address_list_parse(bytes_view_str(refused[_i].in), 0, &list, &fault), -1);
    ck_assert(!fault.no_memory);
}
END_TEST

/* Display names are no addresses; joiners may stand in a domain where its script needs them; and half of an encoded
 * word is none. */
START_TEST(test_taken)
{
    static const char *const taken[] = {
        "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB <a@x.example>",           /* woman, ZWJ, laptop */
        "A\xE2\x80\x8B\xC2\xAD\xEF\xBB\xBF <a@x.example>",
        "a@\xE0\xA4\x95\xE0\xA5\x8D\xE2\x80\x8D\xE0\xA4\xB7.example",           /* ka, virama, ZWJ, ssa */
        "\xC3\xA9@x.example", "=?x@x.example", "x?=@x.example", "?==?@x.example", "=?=@x.example", "a=?b@x.example",
    };

    for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
        struct mail_address a;
        const char *why = "";
        ck_assert_msg(address_parse(bytes_view_str(taken[i]), 0, &a, &why) == 0, "%s: %s", taken[i], why);
        mail_address_deinit(&a);
    }
}
END_TEST

START_TEST(test_joiners)
{
    static const char *const bad[] = {"te\xE2\x80\x8Dst.example", "te\xE2\x80\x8Cst.example", "\xE2\x80\x8D.example"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *why;
        char *out;
        ck_assert_int_eq(idn_to_ascii(bytes_view_str(bad[i]), &out, &why), -1);
    }
}
END_TEST

/* Every character between two letters: no domain loses one, and no local part has one that is not seen. */
START_TEST(test_all)
{
    static const unsigned long named[] = {
        0x80,   0xA0,   0xAD,   0x34F,  0x61C,  0x115F, 0x1680, 0x180E, 0x2000, 0x200B, 0x200E,0x2028, 0x202E, 0x2060,
        0x2064, 0x2066, 0x206F, 0x2800, 0x3000, 0x3164, 0xFE0F, 0xFEFF, 0xFFA0, 0xFFF9, 0xFFFE,
        0x1D173, 0xE0001, 0xE0020, 0xE01EF, 0x10FFFF};

    for (size_t i = 0; i < ARRAY_LEN(named); i++)
        ck_assert_msg(invisible_is(named[i]), "U+%04lX", named[i]);
    for (unsigned long c = 0x80; c < 0xE1000; c = c == 0x1FFFF ? 0xE0000 : c + 1) {
        char text[16] = "te", *out;
        struct mail_address a;
        const char *why;
        size_t n = 2;
        if (c >= 0xD800 && c < 0xE000)
            continue;
        n += bytes_put_utf8(c, text + n);
        memcpy(text + n, "st", 3);
        if (idn_to_ascii(bytes_view_str(text), &out, &why) == 0) {
            ck_assert_msg(strcmp(out, "test") != 0, "U+%04lX is dropped", c);
            free(out);
        }
        memcpy(text + n, "@x.y", 5);
        if (address_parse(bytes_view_str(text), 0, &a, &why) == 0)
            ck_assert_msg(!invisible_is(c), "U+%04lX is taken", c);
        else
            ck_assert_msg(invisible_is(c) && strstr(why, "U+"), "U+%04lX: %s", c, why);
        mail_address_deinit(&a);
    }
}
END_TEST

START_TEST(test_not_invisible)
{
    static const unsigned long seen[] = {0x41, 0xA1, 0xAC, 0xAE, 0xE9, 0x300, 0x3B1, 0x5D0, 0x627, 0x915, 0x200, 0x2010,
                                         0x2027, 0x203F, 0x20AC, 0x2801, 0x3001, 0x4E00, 0xAC00, 0xFE10, 0xFF21, 0xFFFD,
                                         0x1F600, 0x20000, 0x30000};

    for (size_t i = 0; i < ARRAY_LEN(seen); i++)
        ck_assert_msg(!invisible_is(seen[i]), "U+%04lX", seen[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("invisible");
    TCase *tc = tcase_create("invisible");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_refused, 0, (int)ARRAY_LEN(refused));
    tcase_add_test(tc, test_taken);
    tcase_add_test(tc, test_joiners);
    tcase_add_test(tc, test_all);
    tcase_add_test(tc, test_not_invisible);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
