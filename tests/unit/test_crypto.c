#include "smtp/crypto.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Digests and codecs against the vectors of their RFCs, and what a strict decoder must refuse. */

START_TEST(sha256_vectors)
{
    unsigned char d[32];

    crypto_sha256(bytes_view_str("abc"), d);            /* FIPS 180-4, example 1 */
    ck_assert_mem_eq(d, "\xba\x78\x16\xbf\x8f\x01\xcf\xea\x41\x41\x40\xde\x5d\xae\x22\x23"
                        "\xb0\x03\x61\xa3\x96\x17\x7a\x9c\xb4\x10\xff\x61\xf2\x00\x15\xad", 32);
    crypto_sha256(bytes_view(NULL, 0), d);
    ck_assert_mem_eq(d, "\xe3\xb0\xc4\x42\x98\xfc\x1c\x14\x9a\xfb\xf4\xc8\x99\x6f\xb9\x24"
                        "\x27\xae\x41\xe4\x64\x9b\x93\x4c\xa4\x95\x99\x1b\x78\x52\xb8\x55", 32);
}
END_TEST

static const struct {
    const char *plain, *coded;
} vectors[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="},
               {"foobar", "Zm9vYmFy"}, {"\xff\xfe\xfb", "//77"}};       /* RFC 4648 §10 */

START_TEST(base64_vectors)
{
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    crypto_base64(bytes_view_str(vectors[_i].plain), &b);
    ck_assert(bytes_equal(bytes_buf_view(&b), bytes_view_str(vectors[_i].coded)));
    bytes_buf_deinit(&b);
    ck_assert_int_eq(crypto_base64_decode(bytes_view_str(vectors[_i].coded), &b), 0);
    ck_assert(bytes_equal(bytes_buf_view(&b), bytes_view_str(vectors[_i].plain)));
    bytes_buf_deinit(&b);
}
END_TEST

static const char *const broken[] = {"Z", "Zg", "Zg=", "Zh==", "Zm9=", "====", "=", "Zg==Zg==", "Zm9v\n", "Zm 9",
                                     "Z===", "Zm9-",
                                     "Zm9_", "=Zm9", "Zg=A"};

START_TEST(base64_refuses)
{
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    ck_assert_int_eq(crypto_base64_decode(bytes_view_str(broken[_i]), &b), -1);
    bytes_buf_deinit(&b);
}
END_TEST

START_TEST(base64_keeps_limits)
{
    struct bytes_buf b;

    bytes_buf_init(&b, 3);
    ck_assert_int_eq(crypto_base64_decode(bytes_view_str("Zm9v"), &b), 0);
    bytes_buf_deinit(&b);
    ck_assert_int_eq(crypto_base64_decode(bytes_view_str("Zm9vYg=="), &b), -1);
    bytes_buf_deinit(&b);
    crypto_base64(bytes_view_str("foobar"), &b);
    ck_assert(b.failed);
    bytes_buf_deinit(&b);
}
END_TEST

START_TEST(equal_compares_all)
{
    ck_assert(crypto_equal(bytes_view_str("secret"), bytes_view_str("secret")));
    ck_assert(crypto_equal(bytes_view(NULL, 0), bytes_view_str("")));
    ck_assert(!crypto_equal(bytes_view_str("secret"), bytes_view_str("secreT")));
    ck_assert(!crypto_equal(bytes_view_str("secret"), bytes_view_str("secre")));
    ck_assert(!crypto_equal(bytes_view_str(""), bytes_view_str("s")));
}
END_TEST

START_TEST(cleanse_overwrites)
{
    char secret[] = "hunter2";
    static const char zeroes[sizeof(secret)];

    crypto_cleanse(secret, sizeof(secret));
    ck_assert_mem_eq(secret, zeroes, sizeof(secret));
    crypto_cleanse(NULL, 0);
    crypto_cleanse_free(NULL);
    crypto_cleanse_free(strdup("hunter2"));
}
END_TEST

START_TEST(random_differs)
{
    unsigned char a[64] = {0}, b[64] = {0};

    crypto_random(a, sizeof(a));
    crypto_random(b, sizeof(b));
    ck_assert_mem_ne(a, b, sizeof(a));
    crypto_random(a, 0);
}
END_TEST

START_TEST(uuid7_has_its_form)
{
    char a[37], b[37], stamp[13] = {0};
    unsigned long long ms;

    crypto_uuid7(a);
    crypto_uuid7(b);
    ck_assert_uint_eq(strlen(a), 36);
    ck_assert_uint_eq(strspn(a, "0123456789abcdef-"), 36);
    ck_assert(a[8] == '-' && a[13] == '-' && a[18] == '-' && a[23] == '-');
    ck_assert(a[14] == '7' && strchr("89ab", a[19]));
    ck_assert_str_ne(a, b);
    memcpy(stamp, a, 8);
    memcpy(stamp + 8, a + 9, 4);
    ms = strtoull(stamp, NULL, 16);
    ck_assert(ms / 1000 + 60 > (unsigned long long)time(NULL) && ms / 1000 < (unsigned long long)time(NULL) + 60);
}
END_TEST

START_TEST(library_is_named)
{
    ck_assert(strncmp(crypto_library_version(), "OpenSSL ", 8) == 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("crypto");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    suite_add_tcase(s, t);
    tcase_add_test(t, sha256_vectors);
    tcase_add_loop_test(t, base64_vectors, 0, (int)ARRAY_LEN(vectors));
    tcase_add_loop_test(t, base64_refuses, 0, (int)ARRAY_LEN(broken));
    tcase_add_test(t, base64_keeps_limits);
    tcase_add_test(t, equal_compares_all);
    tcase_add_test(t, cleanse_overwrites);
    tcase_add_test(t, random_differs);
    tcase_add_test(t, uuid7_has_its_form);
    tcase_add_test(t, library_is_named);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
