#include "smtp/address.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* One string, one mailbox: what is taken, what it becomes, what is refused, and that it never takes long. */

static const struct {
    const char *in, *email, *name;
    bool utf8;
} good[] = {
    {"ann@example.com", "ann@example.com", NULL, false},
    {"  ann@example.com ", "ann@example.com", NULL, false},
    {"<ann@example.com>", "ann@example.com", NULL, false},
    {"Ann <ann@example.com>", "ann@example.com", "Ann", false},
    {"Ann<ann@example.com>", "ann@example.com", "Ann", false},
    {"Ann  B.   Example <ann@example.com>", "ann@example.com", "Ann B. Example", false},
    {"\"Example, Ann\" <ann@example.com>", "ann@example.com", "Example, Ann", false},
    {"\"Ann \\\"the\\\" \\\\ Example\" <ann@example.com>", "ann@example.com", "Ann \"the\" \\ Example", false},
    {"\"<eve@example.net>\" <ann@example.com>", "ann@example.com", "<eve@example.net>", false},
    {"\"a\" b \"c\" <ann@example.com>", "ann@example.com", "a b c", false},
    {"\"\" <ann@example.com>", "ann@example.com", NULL, false},
    {"J\xC3\xBCrgen Gro\xC3\x9F <j@example.com>", "j@example.com", "J\xC3\xBCrgen Gro\xC3\x9F", false},
    {"=?utf-8?q?Eve?= <ann@example.com>", "ann@example.com", "=?utf-8?q?Eve?=", false},
    {"ann+tag@example.com", "ann+tag@example.com", NULL, false},
    {"Ann.B@EXAMPLE.Com", "Ann.B@example.com", NULL, false},
    {"!#$%&'*+-/=?^_`{|}~@example.com", "!#$%&'*+-/=?^_`{|}~@example.com", NULL, false},
    {"\"ann\"@example.com", "ann@example.com", NULL, false},
    {"\"a\\nn\"@example.com", "ann@example.com", NULL, false},
    {"\"a b\"@example.com", "\"a b\"@example.com", NULL, false},
    {"\"a@b\"@example.com", "\"a@b\"@example.com", NULL, false},
    {"\"a\\\"b\\\\\"@example.com", "\"a\\\"b\\\\\"@example.com", NULL, false},
    {"\".a\"@example.com", "\".a\"@example.com", NULL, false},
    {"\"a..b\"@example.com", "\"a..b\"@example.com", NULL, false},
    {"Ann <\"a b\"@example.com>", "\"a b\"@example.com", "Ann", false},
    {"j\xC3\xBCrgen@example.com", "j\xC3\xBCrgen@example.com", NULL, true},
    {"ann@B\xC3\x9C" "CHER.example", "ann@xn--bcher-kva.example", NULL, false},
    {"root@localhost", "root@localhost", NULL, false},
};

static const struct {
    const char *in, *why;               /* a part of the reason */
} bad[] = {
    {"", "empty"}, {"   ", "empty"}, {"<>", "empty"}, {"Ann <>", "empty"},
    {"ann", "no @"}, {"Ann Example", "no @"}, {"<ann>", "no @"},
    {"@example.com", "before the @"}, {"\"\"@example.com", "before the @"},
    {"ann@", "behind the @"}, {"<ann@>", "behind the @"}, {"@", "before the @"},
    {"ann@@example.com", "more than one @"}, {"a@b@example.com", "more than one @"},
    {".ann@example.com", "dot"}, {"ann.@example.com", "dot"}, {"a..b@example.com", "dot"},
    {"a b@example.com", "space"}, {"ann @example.com", "space"}, {"ann@ example.com", "space"},
    {"ann@exam ple.com", "space"},
    {"a@example.com, b@example.com", "more than one address"}, {"a@example.com;b@example.com", "more than one address"},
    {"a,b@example.com", "more than one address"}, {"Example, Ann <ann@example.com>", "quotes"},
    {"Group: ann@example.com;", "group"}, {"Group: Ann <ann@example.com>;", "closed"},
    {"<@relay.example,@b.example:ann@example.com>", "before the @"},
    {"ann(comment)@example.com", "parentheses"}, {"ann@example.com (Ann)", "space"}, {"Ann (Sales) <a@example.com>", "quotes"},
    {"ann@(c)example.com", "parentheses"},
    {"ann@[192.0.2.1]", "IP address"}, {"ann@[IPv6:2001:db8::1]", "IP address"}, {"ann@192.0.2.1", "IP address"},
    {"ann@example..com", "empty label"}, {"ann@.example.com", "empty label"}, {"ann@example.com.", "empty label"},
    {"ann@exa_mple.com", "letter, digit or hyphen"}, {"ann@-example.com", "hyphen"}, {"ann@example-.com", "hyphen"},
    {"Ann <ann@example.com", "closed"}, {"Ann ann@example.com>", "space"}, {"ann@example.com>", "angle bracket"},
    {"<<ann@example.com>>", "angle bracket"}, {"Ann <ann@example.com> x", "closed"},
    {"<a@example.com><b@example.com>", "angle bracket"},
    {"\"ann@example.com", "quote"}, {"\"Ann <ann@example.com>", "quote"}, {"\"ann\\", "quote"},
    {"\"ann\" x@example.com", "not followed"}, {"\"ann\"x@example.com", "not followed"},
    {"a\"b@example.com", "quote"}, {"a\"b\"@example.com", "quotes"}, {"a\\b@example.com", "quotes"},
    {"eve@example.net <ann@example.com>", "quotes"},
    {"ann@example.com\r\nRCPT TO:<eve@example.net>", "control"}, {"ann\n@example.com", "control"},
    {"Ann\rB <ann@example.com>", "control"}, {"\"Ann\r\nBcc: eve\" <ann@example.com>", "control"},
    {"Ann\tB <ann@example.com>", "control"}, {"ann\x7F@example.com", "control"}, {"ann\x01@example.com", "control"},
    {"Ann\xC2\x85 <ann@example.com>", "control"}, {"ann\xC2\x80@example.com", "control"},
    {"Ann\xE2\x80\xA8 <ann@example.com>", "separator"}, {"ann@exa\xE2\x80\xA9mple.com", "separator"},
    {"ann\xFF@example.com", "UTF-8"}, {"ann\xC3@example.com", "UTF-8"}, {"ann\xED\xA0\x80@example.com", "UTF-8"},
};

START_TEST(taken)
{
    struct mail_address a;
    const char *why;

    ck_assert_msg(address_parse(bytes_view_str(good[_i].in), &a, &why) == 0, "%s: %s", good[_i].in, why);
    ck_assert_ptr_null(why);
    ck_assert_str_eq(a.email, good[_i].email);
    ck_assert_pstr_eq(a.name, good[_i].name);
    ck_assert_int_eq(a.utf8, good[_i].utf8);
    mail_address_deinit(&a);
}
END_TEST

START_TEST(what_comes_out_goes_in)
{
    struct mail_address a, again;
    const char *why;

    ck_assert_int_eq(address_parse(bytes_view_str(good[_i].in), &a, &why), 0);
    ck_assert_int_eq(address_parse_email(bytes_view_str(a.email), &again, &why), 0);
    ck_assert_str_eq(a.email, again.email);
    ck_assert_int_eq(a.utf8, again.utf8);
    mail_address_deinit(&a);
    mail_address_deinit(&again);
}
END_TEST

START_TEST(refused)
{
    struct mail_address a;
    const char *why;
    int rc = address_parse(bytes_view_str(bad[_i].in), &a, &why);

    ck_assert_msg(rc == -1, "%s was taken as %s", bad[_i].in, rc == 0 ? a.email : "");
    ck_assert_msg(strstr(why, bad[_i].why) != NULL, "%s: %s", bad[_i].in, why);
    ck_assert_ptr_null(a.email);
    ck_assert_ptr_null(a.name);
}
END_TEST

START_TEST(nul_is_refused)
{
    struct mail_address a;
    const char *why;

    ck_assert_int_eq(address_parse(bytes_view("ann@example.com\0.net", 20), &a, &why), -1);
    ck_assert_int_eq(address_parse(bytes_view("an\0n@example.com", 16), &a, &why), -1);
    ck_assert_int_eq(address_parse_email(bytes_view("an\0n@example.com", 16), &a, &why), -1);
}
END_TEST

START_TEST(email_only)
{
    static const char *const refused_here[] = {"Ann <ann@example.com>", "<ann@example.com>", "\"Ann\" <ann@example.com>", ""};
    struct mail_address a;
    const char *why;

    ck_assert_int_eq(address_parse_email(bytes_view_str("ann@example.com"), &a, &why), 0);
    mail_address_deinit(&a);
    for (size_t i = 0; i < ARRAY_LEN(refused_here); i++)
        ck_assert_msg(address_parse_email(bytes_view_str(refused_here[i]), &a, &why) == -1, "%s", refused_here[i]);
}
END_TEST

/* n octets of local part, '@', a domain of d octets in labels of 50. */
static int parse_of_length(size_t n, size_t d, struct mail_address *out)
{
    const char *why;
    struct bytes_buf b;
    int rc;

    bytes_buf_init(&b, 0);
    for (size_t i = 0; i < n; i++)
        bytes_buf_add_char(&b, 'l');
    bytes_buf_add_char(&b, '@');
    for (size_t i = 1; i <= d; i++)
        bytes_buf_add_char(&b, i % 51 || i == d ? 'd' : '.');
    rc = address_parse(bytes_buf_view(&b), out, &why);
    bytes_buf_deinit(&b);
    return rc;
}

START_TEST(lengths)
{
    struct mail_address a;

    ck_assert_int_eq(parse_of_length(64, 20, &a), 0);
    mail_address_deinit(&a);
    ck_assert_int_eq(parse_of_length(65, 20, &a), -1);
    ck_assert_int_eq(parse_of_length(64, 189, &a), 0);          /* 254 */
    ck_assert_uint_eq(strlen(a.email), 254);
    mail_address_deinit(&a);
    ck_assert_int_eq(parse_of_length(64, 190, &a), -1);
}
END_TEST

START_TEST(local_part_is_counted_in_octets)
{
    struct mail_address a;
    struct bytes_buf b;
    const char *why;

    bytes_buf_init(&b, 0);
    for (size_t i = 0; i < 33; i++)
        bytes_buf_add_str(&b, "\xC3\xBC");
    bytes_buf_add_str(&b, "@example.com");
    ck_assert_int_eq(address_parse(bytes_buf_view(&b), &a, &why), -1);
    ck_assert_int_eq(address_parse(bytes_view(b.p + 2, b.n - 2), &a, &why), 0);
    mail_address_deinit(&a);
    bytes_buf_deinit(&b);
}
END_TEST

/* 200 kB of what makes backtracking parsers slow; check's own time limit would tell. */
START_TEST(long_nonsense)
{
    static const char *const pieces[] = {"\"", "<", "(", "\\", "\"\\", "@", ".", " ", "a ", "\"a\" ", "<>", "a@", "\xC3\xBC", "=?"};
    struct mail_address a;
    struct bytes_buf b;
    const char *why;

    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        bytes_buf_init(&b, 0);
        while (b.n < 200000)
            bytes_buf_add_str(&b, pieces[i]);
        ck_assert_int_eq(address_parse(bytes_buf_view(&b), &a, &why), -1);
        ck_assert_int_eq(address_parse_email(bytes_buf_view(&b), &a, &why), -1);
        bytes_buf_deinit(&b);
    }
}
END_TEST

START_TEST(domain_of_an_address)
{
    ck_assert(bytes_equal(address_domain("ann@example.com"), bytes_view_str("example.com")));
    ck_assert(bytes_equal(address_domain("\"a@b\"@example.com"), bytes_view_str("example.com")));
    ck_assert_uint_eq(address_domain("ann").n, 0);
    ck_assert_uint_eq(address_domain("").n, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("address");
    TCase *t = tcase_create("address");
    SRunner *r;
    int failed;

    tcase_add_loop_test(t, taken, 0, ARRAY_LEN(good));
    tcase_add_loop_test(t, what_comes_out_goes_in, 0, ARRAY_LEN(good));
    tcase_add_loop_test(t, refused, 0, ARRAY_LEN(bad));
    tcase_add_test(t, nul_is_refused);
    tcase_add_test(t, email_only);
    tcase_add_test(t, lengths);
    tcase_add_test(t, local_part_is_counted_in_octets);
    tcase_add_test(t, long_nonsense);
    tcase_add_test(t, domain_of_an_address);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_set_fork_status(r, CK_FORK);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
