#include "smtp/address.h"
#include "smtp/idn.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Addresses and domains that are and are not taken, at their limits and one past them. */

#define X10 "xxxxxxxxxx"
#define X60 X10 X10 X10 X10 X10 X10
#define X64 X60 "xxxx"

static const struct {
    const char *in, *email, *name;      /* name NULL: none */
    bool utf8;
} good[] = {
    {"ann@example.com", "ann@example.com", NULL, false},
    {"Ann@EXAMPLE.Com", "Ann@example.com", NULL, false},
    {"  ann@example.com  ", "ann@example.com", NULL, false},
    {"<ann@example.com>", "ann@example.com", NULL, false},
    {"Ann <ann@example.com>", "ann@example.com", "Ann", false},
    {"Ann<ann@example.com>", "ann@example.com", "Ann", false},
    {"Ann B. Example <ann@example.com>", "ann@example.com", "Ann B. Example", false},
    {"Ann   Example  <ann@example.com>", "ann@example.com", "Ann Example", false},
    {"\"Doe, Jane\" <jane@example.com>", "jane@example.com", "Doe, Jane", false},
    {"\"a \\\"b\\\" \\\\\" <a@example.com>", "a@example.com", "a \"b\" \\", false},
    {"\"<x@y>\" <a@example.com>", "a@example.com", "<x@y>", false},
    {"\"\" <a@example.com>", "a@example.com", NULL, false},
    {"J\xC3\xBCrgen <j@example.com>", "j@example.com", "J\xC3\xBCrgen", false},
    {"a.b+c_d-e!#$%&'*/=?^`{|}~@example.com", "a.b+c_d-e!#$%&'*/=?^`{|}~@example.com", NULL, false},
    {"\"a b\"@example.com", "\"a b\"@example.com", NULL, false},
    {"\"ab\"@example.com", "ab@example.com", NULL, false},
    {"\"a@b\"@example.com", "\"a@b\"@example.com", NULL, false},
    {"\"a\\b\"@example.com", "ab@example.com", NULL, false},
    {"\"a\\\"b\"@example.com", "\"a\\\"b\"@example.com", NULL, false},
    {"\".a\"@example.com", "\".a\"@example.com", NULL, false},
    {"\xC3\xA9@example.com", "\xC3\xA9@example.com", NULL, true},
    {"a@b\xC3\xBC" "cher.example", "a@xn--bcher-kva.example", NULL, false},
    {"a@B\xC3\x9C" "CHER.example", "a@xn--bcher-kva.example", NULL, false},
    {"a@xn--bcher-kva.example", "a@xn--bcher-kva.example", NULL, false},
    {"a@localhost", "a@localhost", NULL, false},
    {"1@2.example", "1@2.example", NULL, false},
    {X64 "@example.com", X64 "@example.com", NULL, false},
};

START_TEST(test_good)
{
    struct mail_address a;
    const char *why;

    ck_assert_msg(address_parse(bytes_view_str(good[_i].in), 0, &a, &why) == 0, "%s: %s", good[_i].in, why);
    ck_assert_str_eq(a.email, good[_i].email);
    ck_assert_pstr_eq(a.name, good[_i].name);
    ck_assert_int_eq(a.utf8, good[_i].utf8);
    mail_address_deinit(&a);
}
END_TEST

static const char *const bad[] = {
    "", " ", "@", "a", "a@", "@b.example", "a@@b.example", "a@b@c.example", "a b@c.example", "a@b c.example",
    "a@b.example,c@d.example", "a@b.example; c@d.example", "a@b.example c@d.example", "group: a@b.example;",
    "a@b.example(comment)", "(comment)a@b.example", ".a@b.example", "a.@b.example", "a..b@c.example",
    "a\"b@c.example",
    "a@[192.0.2.1]", "a@[IPv6:::1]", "a@192.0.2.1", "a@1", "a@b..example", "a@.example", "a@b.example.",
    "a@-b.example",
    "a@b-.example", "a@b_c.example", "a@b!.example", "a@b.example\r\nBcc: x@y.example", "a\n@b.example",
    "a\t@b.example",
    "a@b.example\x7F", "\xC2\x85@b.example", "a\xE2\x80\xA8@b.example", "\xFF@b.example", "\xED\xA0\x80@b.example",
    "<>", "<a@b.example", "a@b.example>", "<<a@b.example>>", "<a@b.example> x", "Ann <a@b.example> <c@d.example>",
    "Ann ann@b.example", "Doe, Jane <j@b.example>", "a@b <c@d.example>", "Ann (x) <a@b.example>", "[x] <a@b.example>",
    "\"Ann <a@b.example>", "\"a@b.example", "\"\"@b.example", "\"a\"", "\"a\"b@c.example", "\"a\\",
    "\"a\\\"@b.example",
    "<@relay:a@b.example>", X64 "x@example.com", "a@" X64 ".example", "\"" X60 "  xx\"@example.com",
    "a@xn--\xC3\xBC.example", "a@\xE2\x80\x8B.example", "mailto:a@b.example",
};

START_TEST(test_bad)
{
    struct mail_address a;
    const char *why = NULL;

    ck_assert_msg(address_parse(bytes_view_str(bad[_i]), 0, &a, &why) == -1, "%s", bad[_i]);
    ck_assert(why && why[0]);
    ck_assert(!a.email && !a.name);
}
END_TEST

START_TEST(test_nul)
{
    struct mail_address a;
    const char *why;

    ck_assert_int_eq(address_parse(bytes_view("a\0@b.example", 12), 0, &a, &why), -1);
    ck_assert_int_eq(address_parse(bytes_view("a@b.example\0", 12), 0, &a, &why), -1);
}
END_TEST

START_TEST(test_email_alone)
{
    static const char *const named[] = {"Ann <a@b.example>", "<a@b.example>", "\"Ann\" <a@b.example>"};
    struct mail_address a;
    const char *why;

    ck_assert_int_eq(address_parse(bytes_view_str("a@b.example"), ADDRESS_BARE, &a, &why), 0);
    ck_assert_str_eq(a.email, "a@b.example");
    mail_address_deinit(&a);
    for (size_t i = 0; i < ARRAY_LEN(named); i++)
        ck_assert_int_eq(address_parse(bytes_view_str(named[i]), ADDRESS_BARE, &a, &why), -1);
}
END_TEST

/* 254 octets in all: 64 before the @, and 189 of domain. */
START_TEST(test_longest_address)
{
    static const char longest[] = X64 "@" X60 "." X60 "." X60 ".xxxxxx";
    static const char longer[] = X64 "@" X60 "." X60 "." X60 ".xxxxxxx";
    struct mail_address a;
    const char *why;

    ck_assert_uint_eq(strlen(longest), 254);
    ck_assert_int_eq(address_parse(bytes_view_str(longest), 0, &a, &why), 0);
    mail_address_deinit(&a);
    ck_assert_int_eq(address_parse(bytes_view_str(longer), 0, &a, &why), -1);
}
END_TEST

/* Whatever is repeated, it comes back. */
START_TEST(test_linear)
{
    static const char *const repeated[] = {"\"", "<", "(", ">", "@", ",", "\\", "\"\\", ".", "a", "a@", "\"a\" ", " ",
                                           "\xC3\xBC", "<\"", "a@b.example,"};
    static const char *const before[] = {"", "\"", "a@", "Ann <"};

    for (size_t i = 0; i < ARRAY_LEN(repeated); i++)
        for (size_t k = 0; k < ARRAY_LEN(before); k++) {
            struct mail_address a;
            struct bytes_buf b;
            const char *why;
            bytes_buf_init(&b, 0);
            bytes_buf_add_str(&b, before[k]);
            while (b.n < 200000)
                bytes_buf_add_str(&b, repeated[i]);
            ck_assert_int_eq(address_parse(bytes_buf_view(&b), 0, &a, &why), -1);
            bytes_buf_deinit(&b);
        }
}
END_TEST

static const struct {
    const char *in, *out;               /* out NULL: refused */
} domains[] = {
    {"Example.COM", "example.com"}, {"b\xC3\xBC" "cher.de", "xn--bcher-kva.de"}, {"fa\xC3\x9F.de", "xn--fa-hia.de"},
    {"bu\xCC\x88" "cher.de", "xn--bcher-kva.de"}, {"\xE4\xBE\x8B\xE3\x81\x88.jp", "xn--r8jz45g.jp"},
    {X60 "xxx.de", X60 "xxx.de"}, {X60 "." X60 "." X60 "." X60 ".xxxxxxxxx",
     X60 "." X60 "." X60 "." X60 ".xxxxxxxxx"},
    {"", NULL}, {".", NULL}, {"a..b", NULL}, {"a.", NULL}, {".a", NULL}, {"-a.b", NULL}, {"a-.b", NULL}, {"a_b",
     NULL},
    {"a b", NULL}, {X64 ".de", NULL}, {X60 "." X60 "." X60 "." X60 ".xxxxxxxxxx", NULL}, {"1.2.3.4", NULL},
    {"a.123", NULL}, {"\xC3\xBC..de", NULL}, {"\xC3\xBC_.de", NULL}, {"-\xC3\xBC.de", NULL}, {"\xC3\xBC@.de", NULL},
    {"\xFF.de", NULL},
};

START_TEST(test_domains)
{
    const char *why;
    char *out;
    int rc = idn_to_ascii(bytes_view_str(domains[_i].in), &out, &why);

    ck_assert_msg((rc == 0) == (domains[_i].out != NULL), "%s", domains[_i].in);
    ck_assert_pstr_eq(out, domains[_i].out);
    ck_assert_int_eq(why == NULL, rc == 0);
    free(out);
}
END_TEST

START_TEST(test_domain_of)
{
    ck_assert_uint_eq(address_domain("\"a@b\"@c.example").n, 9);
    ck_assert_uint_eq(address_domain("").n, 0);
}
END_TEST

static const struct {
    const char *in;
    bool good;
} literals[] = {
    {"a@[192.0.2.1]", true}, {"a@[0.0.0.0]", true}, {"a@[255.255.255.255]", true}, {"a@[256.0.2.1]", false},
    {"a@[192.0.2]", false}, {"a@[192.0.2.1.5]", false}, {"a@[192.0.2.01]", false}, {"a@[192.0..1]", false},
    {"a@[192.0.2.1", false}, {"a@192.0.2.1]", false}, {"a@[192.0.2.1]x", false}, {"a@[]", false},
    {"a@[ 192.0.2.1]", false},
    {"a@[IPv6:2001:db8::1]", true}, {"a@[ipv6:::1]", true}, {"a@[IPv6:::]", true}, {"a@[IPv6:1:2:3:4:5:6:7:8]", true},
    {"a@[IPv6:1:2:3:4:5:6:192.0.2.1]", true}, {"a@[IPv6:::ffff:192.0.2.1]", true}, {"a@[IPv6:1:2:3:4:5:6:7]", false},
    {"a@[IPv6:1:2:3:4:5:6:7:8:9]", false}, {"a@[IPv6:1::2::3]", false}, {"a@[IPv6:12345::]", false},
    {"a@[IPv6:1:2:3:4:5:6:7::8]", false}, {"a@[IPv6:g::]", false}, {"a@[IPv6:1:]", false}, {"a@[IPv6::1]", false},
    {"a@[IPv6:]", false}, {"a@[2001:db8::1]", false}, {"a@[tag:x]", false}, {"A <a@[192.0.2.1]>", true},
};

/* RFC 5321 §4.1.3; without the flag none is taken. */
START_TEST(test_literals)
{
    struct bytes_view in = bytes_view_str(literals[_i].in);
    struct mail_address a;
    const char *why;

    ck_assert_int_eq(address_parse(in, 0, &a, &why), -1);
    ck_assert_msg((address_parse(in, ADDRESS_LITERALS, &a, &why) == 0) == literals[_i].good, "%s", literals[_i].in);
    if (literals[_i].good) {
        ck_assert_ptr_nonnull(strstr(literals[_i].in, a.email));
        mail_address_deinit(&a);
    } else {
        ck_assert_ptr_null(a.email);
        ck_assert_ptr_nonnull(why);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("address");
    TCase *tc = tcase_create("address");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_add_loop_test(tc, test_good, 0, (int)ARRAY_LEN(good));
    tcase_add_loop_test(tc, test_bad, 0, (int)ARRAY_LEN(bad));
    tcase_add_loop_test(tc, test_literals, 0, (int)ARRAY_LEN(literals));
    tcase_add_test(tc, test_nul);
    tcase_add_test(tc, test_email_alone);
    tcase_add_test(tc, test_longest_address);
    tcase_add_test(tc, test_linear);
    tcase_add_loop_test(tc, test_domains, 0, (int)ARRAY_LEN(domains));
    tcase_add_test(tc, test_domain_of);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
