#include "smtp/address_list.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Address lists as headers have them, and what is no list. */

#define LITERALS ADDRESS_LITERALS

static const struct {
    const char *in, *out;               /* emails joined by spaces */
    unsigned flags;
} good[] = {
    {"", "", 0}, {" \r\n ", "", 0}, {"(nobody)", "", 0}, {",", "", 0}, {"undisclosed-recipients:;", "", 0},
    {"undisclosed-recipients: ;", "", 0}, {" nobody(that will be listed)  :  ;  (really) ", "", 0},
    {"a@b.example", "a@b.example", 0}, {" a@b.example ", "a@b.example", 0}, {"\ta@b.example\r\n", "a@b.example", 0},
    {"a@b.example,c@d.example", "a@b.example c@d.example", 0},
    {"a@b.example,\r\n\tc@d.example,\n e@f.example", "a@b.example c@d.example e@f.example", 0},
    {"a@b.example,,c@d.example,", "a@b.example c@d.example", 0}, {", ,a@b.example", "a@b.example", 0},
    {"<a@b.example>", "a@b.example", 0}, {"< a@b.example >", "a@b.example", 0},
    {"Ann <a@b.example>, Bob<c@d.example>", "a@b.example c@d.example", 0},
    {"Ann\r\n B.\r\n Example\r\n <a@b.example>", "a@b.example", 0},
    {"\"Doe, Jane\" <j@b.example>, c@d.example", "j@b.example c@d.example", 0},
    {"\"a; b: <c@d.example> (e\" <j@b.example>", "j@b.example", 0},
    {"\"a \\\" , b\" <j@b.example>", "j@b.example", 0}, {"\"Jane\r\n\tDoe\" <j@b.example>", "j@b.example", 0},
    {"Jane \"JJ\" Doe <j@b.example>", "j@b.example", 0},
    {"=?utf-8?q?J=C3=BCrgen?= <j@b.example>", "j@b.example", 0}, {"J\xC3\xBCrgen <j@b.example>", "j@b.example", 0},
    {"a@b.example (Ann Example)", "a@b.example", 0}, {"(Ann) a@b.example", "a@b.example", 0},
    {"(a(b(c)d)e) a@b.example ((()))", "a@b.example", 0}, {"(\\)) a@b.example (\\()", "a@b.example", 0},
    {"(a, b; c: <d@e.example> \") f@g.example", "f@g.example", 0},
    {"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", "pete@silly.test", 0},
    {"A Group(Some people)\r\n     :Chris Jones <c@(Chris's host.)public.example>,\r\n         joe@example.org,\r\n"
     "  John <jdoe@one.test> (my dear friend); (the end of the group)",
     "c@public.example joe@example.org jdoe@one.test", 0},
    {"a @ b.example", "a@b.example", 0}, {"a(x)@(y)b.example", "a@b.example", 0},
    {"Friends: a@b.example, C <c@d.example>; , e@f.example", "a@b.example c@d.example e@f.example", 0},
    {"a:b <c@d.example>;", "c@d.example", 0},
    {"x@y.example, Friends:;, Others: a@b.example;", "x@y.example a@b.example", 0},
    {"\"A: group\": a@b.example;", "a@b.example", 0}, {"Friends: ,a@b.example,;", "a@b.example", 0},
    {"\"a b\"@c.example", "\"a b\"@c.example", 0},
    {"\"a,b\"@c.example, \"d\"@c.example", "\"a,b\"@c.example d@c.example", 0},
    {"\"a@b\"@c.example", "\"a@b\"@c.example", 0}, {"<\"a>b\"@c.example>", "\"a>b\"@c.example", 0},
    {"a@B.Example", "a@b.example", 0}, {"a@b\xC3\xBC" "cher.example", "a@xn--bcher-kva.example", 0},
    {"a@b.example, A@b.example, a@B.EXAMPLE, Ann <a@b.example>", "a@b.example A@b.example", 0},
    {"c@d.example, a@b.example, c@d.example, a@b.example", "c@d.example a@b.example", 0},
    {"a@[192.0.2.1], b@[IPv6:2001:db8::1]", "a@[192.0.2.1] b@[IPv6:2001:db8::1]", LITERALS},
    {"Ann <a@[IPv6:::1]>", "a@[IPv6:::1]", LITERALS}, {"Ann <a@b.example>", "a@b.example", ADDRESS_BARE},
};

START_TEST(test_good)
{
    struct mail_address_list list;
    struct address_list_fault fault;
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    ck_assert_msg(address_list_parse(bytes_view_str(good[_i].in), good[_i].flags, &list, &fault) == 0, "%s: %s",
                  good[_i].in, fault.why);
    for (size_t i = 0; i < list.n; i++)
        bytes_buf_printf(&b, "%s%s", i ? " " : "", list.v[i].email);
    bytes_buf_add_str(&b, "");
    ck_assert_str_eq(b.p, good[_i].out);
    bytes_buf_deinit(&b);
    mail_address_list_deinit(&list);
}
END_TEST

static const struct {
    const char *in;
    size_t n, at;                       /* which address, and where it is said to be */
    unsigned flags;
} bad[] = {
    {"a", 1, 0, 0}, {"a@b.example, c", 2, 13, 0}, {"a@b.example c@d.example", 1, 0, 0}, {"Ann Example", 1, 0, 0},
    {"a@b.example; c@d.example", 1, 0, 0}, {";", 1, 0, 0}, {"a@b.example,;", 2, 12, 0},
    {"Friends: a@b.example", 2, 20, 0},
    {"Friends:", 1, 8, 0}, {"Friends: x: a@b.example;;", 1, 9, 0}, {":;", 1, 0, 0}, {"(x):;", 1, 3, 0},
    {"a@b.example: c@d.example;", 1, 0, 0}, {"Ann <a@b.example>: c@d.example;", 1, 0, 0},
    {"Friends:; c@d.example", 1, 10, 0}, {"Friends:; <c@d.example>", 1, 10, 0}, {"Friends:;;", 1, 9, 0},
    {"Friends:;:", 1, 9, 0}, {"a]b:;", 1, 0, 0}, {"a\\b:;", 1, 0, 0}, {"a\x01:;", 1, 0, 0},
    {"(", 1, 0, 0}, {"a@b.example (x", 1, 0, 0}, {"((x) a@b.example", 1, 0, 0}, {"a@b.example )", 1, 0, 0},
    {"(\\) a@b.example", 1, 0, 0}, {"(x\\", 1, 0, 0}, {")(", 1, 0, 0},
    {"\"", 1, 0, 0}, {"\"Ann <a@b.example>", 1, 0, 0}, {"\"Ann\\\" <a@b.example>", 1, 0, 0}, {"\"a\\", 1, 0, 0},
    {"<", 1, 0, 0}, {"<>", 1, 0, 0}, {">", 1, 0, 0}, {"Ann <a@b.example", 1, 0, 0}, {"Ann a@b.example>", 1, 0, 0},
    {"Ann <a@b.example, c@d.example>", 1, 0, 0}, {"<<a@b.example>>", 1, 0, 0},
    {"<a@b.example> <c@d.example>", 1, 0, 0},
    {"<a@b.example> x", 1, 0, 0}, {"<a@b.example> \"x\"", 1, 0, 0}, {"<a@b.example><", 1, 0, 0},
    {"<@relay.example:a@b.example>", 1, 0, 0}, {"x@y.example, R <@r.example,@s.example:a@b.example>", 2, 13, 0},
    {"Doe, Jane <j@b.example>", 1, 0, 0}, {"a@b <c@d.example>", 1, 0, 0}, {"a:b <c@d.example>", 2, 17, 0},
    {"a@b@c.example", 1, 0, 0}, {"a b@c.example", 1, 0, 0}, {"a(x)b@c.example", 1, 0, 0},
    {"a@b(x)c.example", 1, 0, 0},
    {"a. b@c.example", 1, 0, 0}, {"\"a\" \"b\"@c.example", 1, 0, 0}, {"\"a\".b@c.example", 1, 0, 0},
    {"\"a\r\n b\"@c.example", 1, 0, 0}, {"<\"a\r\n b\"@c.example>", 1, 0, 0}, {"\"a\tb\"@c.example", 1, 0, 0},
    {"\"a\\\r\nb\" <c@d.example>", 1, 0, 0}, {"a@\xC2\x85.example", 1, 0, 0}, {"\xC2\x85 <a@b.example>", 1, 0, 0},
    {"a\xE2\x80\xA8@b.example", 1, 0, 0}, {"\"\xE2\x80\xA9\" <a@b.example>", 1, 0, 0},
    {"\xFF <a@b.example>", 1, 0, 0},
    {"a@[192.0.2.1]", 1, 0, 0}, {"a@[192.0.2.1", 1, 0, LITERALS}, {"a@[192.0.2.1, b@c.example]", 1, 0, LITERALS},
    {"a@[192.0.2.1]x", 1, 0, LITERALS}, {"a@[x]", 1, 0, LITERALS}, {"[192.0.2.1]", 1, 0, LITERALS},
    {"a@-b.example", 1, 0, 0}, {"a@b..example", 1, 0, 0}, {"a@b.example\x7F", 1, 0, 0},
};

START_TEST(test_bad)
{
    struct mail_address_list list;
    struct address_list_fault fault;

    ck_assert_msg(address_list_parse(bytes_view_str(bad[_i].in), bad[_i].flags, &list, &fault) == -1, "%s", bad[_i].in);
    ck_assert(fault.why && fault.why[0] && !fault.no_memory);
    ck_assert_msg(fault.n == bad[_i].n && fault.at == bad[_i].at, "%s: %s, address %zu at %zu", bad[_i].in, fault.why,
                  fault.n, fault.at);
    ck_assert(!list.v && !list.n);
}
END_TEST

START_TEST(test_names)
{
    struct mail_address_list list;
    struct address_list_fault fault;
    static const char in[] = "=?utf-8?q?J=C3=BCrgen?= (x) B. <j@b.example>, \"Doe,\r\n\tJane\"<k@b.example>,"
                             " l@b.example (L)";

    ck_assert_int_eq(address_list_parse(bytes_view_str(in), 0, &list, &fault), 0);
    ck_assert_uint_eq(list.n, 3);
    ck_assert_str_eq(list.v[0].name, "=?utf-8?q?J=C3=BCrgen?= B.");
    ck_assert_str_eq(list.v[1].name, "Doe, Jane");
    ck_assert_ptr_null(list.v[2].name);
    ck_assert(!list.v[0].utf8);
    mail_address_list_deinit(&list);
    ck_assert_int_eq(address_list_parse(bytes_view_str("\xC3\xA9@b.example"), 0, &list, &fault), 0);
    ck_assert(list.v[0].utf8);
    mail_address_list_deinit(&list);
    ck_assert_int_eq(address_list_parse(bytes_view("a\0@b.example", 12), 0, &list, &fault), -1);
}
END_TEST

static struct bytes_buf repeat(const char *before, const char *s, size_t n, const char *behind)
{
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    bytes_buf_add_str(&b, before);
    while (b.n < n)
        bytes_buf_add_str(&b, s);
    bytes_buf_add_str(&b, behind);
    return b;
}

/* Whatever is repeated, it comes back. */
START_TEST(test_linear)
{
    static const char *const repeated[] = {"\"", "<", "(", ")", ">", "@", "\\", "\"\\", "a@", "\"a\" ", "<\"", ":", ";",
                                           "(\\", "()a", "a:", "<@", "[", "@[", "a:;", "\r\n \""};
    static const char *const before[] = {"", "\"", "a@", "Ann <", "(", "G:", "a@b.example,"};

    for (size_t i = 0; i < ARRAY_LEN(repeated); i++)
        for (size_t k = 0; k < ARRAY_LEN(before); k++) {
            struct mail_address_list list;
            struct address_list_fault fault;
            struct bytes_buf b = repeat(before[k], repeated[i], 200000, "x");
            ck_assert_msg(address_list_parse(bytes_buf_view(&b), ADDRESS_LITERALS, &list, &fault) == -1, "%s%s…",
                          before[k], repeated[i]);
            bytes_buf_deinit(&b);
        }
}
END_TEST

START_TEST(test_large)
{
    static const struct {
        const char *before, *s, *behind;
        size_t n;
    } rows[] = {
        {"", "(", "x", 0}, {"a@b.example", " (x)", "", 1}, {"", "a@b.example,", "", 1}, {"", "g:;,", "", 0},
        {"", ",", "", 0},
        {"", "()", "a@b.example", 1}, {"G:", "a@b.example,", ";", 1}, {"", "\r\n ", "a@b.example", 1},
        {"", "\"\" ", "<a@b.example>", 1},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct mail_address_list list;
        struct address_list_fault fault;
        struct bytes_buf b = repeat(rows[i].before, rows[i].s, 200000, rows[i].behind);
        ck_assert_int_eq(address_list_parse(bytes_buf_view(&b), 0, &list, &fault), i ? 0 : -1);
        ck_assert_uint_eq(list.n, rows[i].n);
        mail_address_list_deinit(&list);
        bytes_buf_deinit(&b);
    }
}
END_TEST

/* Twenty thousand, each of them twice, in their order. */
START_TEST(test_many)
{
    struct mail_address_list list;
    struct address_list_fault fault;
    struct bytes_buf b;
    char email[32];

    bytes_buf_init(&b, 0);
    for (unsigned i = 0; i < 40000; i++)
        bytes_buf_printf(&b, "u%u@b.example,", i * 7919 % 20000);
    ck_assert_int_eq(address_list_parse(bytes_buf_view(&b), 0, &list, &fault), 0);
    ck_assert_uint_eq(list.n, 20000);
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(email, sizeof(email), "u%u@b.example", i * 7919 % 20000);
        ck_assert_str_eq(list.v[i].email, email);
    }
    mail_address_list_deinit(&list);
    bytes_buf_deinit(&b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("address_list");
    TCase *tc = tcase_create("address_list");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_good, 0, (int)ARRAY_LEN(good));
    tcase_add_loop_test(tc, test_bad, 0, (int)ARRAY_LEN(bad));
    tcase_add_test(tc, test_names);
    tcase_add_test(tc, test_linear);
    tcase_add_test(tc, test_large);
    tcase_add_test(tc, test_many);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
