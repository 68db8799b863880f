#include "smtp/idn.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Domains: what they become as A-labels, and what is none. */

static const struct {
    const char *in, *out;
} good[] = {
    {"example.com", "example.com"},
    {"EXAMPLE.Com", "example.com"},
    {"localhost", "localhost"},
    {"a-b.example", "a-b.example"},
    {"1and1.example", "1and1.example"},
    {"4.example", "4.example"},
    {"b\xC3\xBC" "cher.example", "xn--bcher-kva.example"},
    {"B\xC3\x9C" "CHER.Example", "xn--bcher-kva.example"},
    {"bu\xCC\x88" "cher.example", "xn--bcher-kva.example"},                     /* decomposed */
    {"fa\xC3\x9F.example", "xn--fa-hia.example"},                               /* ß stays: nontransitional */
    {"\xE4\xBE\x8B\xE3\x81\x88.\xE3\x83\x86\xE3\x82\xB9\xE3\x83\x88", "xn--r8jz45g.xn--zckzah"},
    {"\xE4\xBE\x8B\xE3\x81\x88\xE3\x80\x82\xE3\x83\x86\xE3\x82\xB9\xE3\x83\x88", "xn--r8jz45g.xn--zckzah"},
    {"xn--bcher-kva.example", "xn--bcher-kva.example"},
    {"XN--BCHER-KVA.example", "xn--bcher-kva.example"},
};

static const char *const bad[] = {
    "", ".", "..", "a..b", ".a", "a.", "a_b.example", "a b", "-a.example", "a-.example",
    "a!b", "a@b", "a/b", "a:b", "[a]", "a,b",
    "192.0.2.1", "example.123", "1", "a\nb", "a\r.example", "\x7F.example",
    "b\xC3\xBC_cher.example", "\xC3\xBC..example", ".\xC3\xBC", "\xC3\xBC b.example",
    "\xE2\x84\x80.example",                                     /* ℀ would map to a/c */
    "\xEF\xBC\xA0.example", "a\xEF\xBC\xA0" "b.example", "a\xEF\xBC\xBF" "b\xC3\xBC.example",    /* fullwidth @, _ */
    "\xC3\xBC@b.example", "\xC3\xBC/b.example", "\xC3\xBC,b.example",
    "a\xE2\x80\xA8" "b.example",                                /* U+2028 */
    "a\xE2\x80\xAE" "b.example",                                /* U+202E turns the direction */
    "\xFF.example", "\xC3.example",
};

START_TEST(taken)
{
    const char *why;
    char *out;

    ck_assert_msg(idn_to_ascii(bytes_view_str(good[_i].in), &out, &why) == 0, "%s: %s", good[_i].in, why);
    ck_assert_str_eq(out, good[_i].out);
    free(out);
}
END_TEST

START_TEST(refused)
{
    const char *why;
    char *out;

    ck_assert_msg(idn_to_ascii(bytes_view_str(bad[_i]), &out, &why) == -1, "%s", bad[_i]);
    ck_assert_ptr_null(out);
    ck_assert_ptr_nonnull(why);
}
END_TEST

/* A domain of n octets in labels of `label`. */
static int convert_of_length(size_t n, size_t label, const char *letter)
{
    struct bytes_buf b;
    const char *why;
    char *out;
    int rc;

    bytes_buf_init(&b, 0);
    for (size_t i = 1; i <= n; i++)
        bytes_buf_add_str(&b, i % (label + 1) || i == n ? letter : ".");
    rc = idn_to_ascii(bytes_buf_view(&b), &out, &why);
    free(out);
    bytes_buf_deinit(&b);
    return rc;
}

START_TEST(lengths)
{
    ck_assert_int_eq(convert_of_length(63, 63, "a"), 0);
    ck_assert_int_eq(convert_of_length(64, 64, "a"), -1);
    ck_assert_int_eq(convert_of_length(253, 50, "a"), 0);
    ck_assert_int_eq(convert_of_length(254, 50, "a"), -1);
    ck_assert_int_eq(convert_of_length(200000, 200000, "a"), -1);
    ck_assert_int_eq(convert_of_length(200000, 50, "."), -1);
    ck_assert_int_eq(convert_of_length(63, 63, "\xC3\xBC"), -1);
    ck_assert_int_eq(convert_of_length(200000, 50, "\xC3\xBC"), -1);
}
END_TEST

START_TEST(nul_does_not_cut)
{
    const char *why;
    char *out;

    ck_assert_int_eq(idn_to_ascii(bytes_view("example.com\0.net", 16), &out, &why), -1);
    ck_assert_int_eq(idn_to_ascii(bytes_view("\xC3\xBC\0.net", 7), &out, &why), -1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("idn");
    TCase *t = tcase_create("idn");
    SRunner *r;
    int failed;

    tcase_add_loop_test(t, taken, 0, ARRAY_LEN(good));
    tcase_add_loop_test(t, refused, 0, ARRAY_LEN(bad));
    tcase_add_test(t, lengths);
    tcase_add_test(t, nul_does_not_cut);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_set_fork_status(r, CK_FORK);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
