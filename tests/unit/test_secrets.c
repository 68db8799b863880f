#include "smtp/secrets.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* Which texts repeat a password, and what is left of them. */

#define PASSWORD "correct horse/9"

struct mask_case {
    const char *password, *text, *masked;
};

static const struct mask_case cases[] = {
    {PASSWORD, "550 5.7.1 user bob is unknown", "550 5.7.1 user bob is unknown"},
    {PASSWORD, "you said correct horse/9, ann", "you said *** *** ann"},
    {PASSWORD, "you said CORRECT HORSE/9", "you said *** ***"},
    {PASSWORD, "cut: correct hor", "cut: *** ***"},
    {PASSWORD, "cut: correct h", "cut: *** *"},
    {PASSWORD, "cut: correct", "cut: correct"},                                 /* seven octets are chance */
    {PASSWORD, "in (pass=correct horse/9).", "in *** ***"},
    {PASSWORD, "Y29ycmVjdCBob3JzZS85 is wrong", "*** is wrong"},                /* base64 of the password */
    {PASSWORD, "AUTH PLAIN AGFubgBjb3JyZWN0IGhvcnNlLzk=?", "AUTH PLAIN ***"},    /* \0ann\0… */
    {PASSWORD, "AUTH PLAIN AGFubgBjb3J", "AUTH PLAIN ***"},
    {PASSWORD, "auth plain agfubgbjb3jyzwn0ighvcnnlLzk=", "auth plain ***"},
    {PASSWORD, "x eyJwIjoiY29ycmVjdCBob3JzZS85In0= y", "x *** y"},              /* {"p":"…"} */
    {PASSWORD, "x eyJwYSI6ImNvcnJlY3QgaG9yc2UvOSJ9 y", "x *** y"},              /* the two other alignments */
    {PASSWORD, "x eyJwYXMiOiJjb3JyZWN0IGhvcnNlLzkifQ== y", "x *** y"},
    {PASSWORD, "636f727265637420686f7273652f39", "***"},
    {PASSWORD, "636F7272656374", "***"},
    {PASSWORD, "/login?p=correct%20horse%2F9&u=ann", "***"},
    {PASSWORD, "=63=6F=72=72ect=20horse", "***"},
    {PASSWORD, "correct+20horse+2F9", "***"},
    {PASSWORD, "\\x63\\x6f\\x72\\x72ect horse", "*** ***"},
    {PASSWORD, "&#99;orrect&#x20;hor&#115;e", "***"},
    {PASSWORD, "corre=\nct horse", "***\n** ***"},
    {PASSWORD, "user corre\n5.7.1 ct horse/9\nbye", "user ***\n5.7.1 ** ***\nbye"},
    {PASSWORD, "user\ncorr\nect\nhorse\nbye", "user\n***\n***\n***\nbye"},
    {"a?b>c~d+e/f=", "YT9iPmN-ZCtlL2Y9", "***"},                                /* base64url */
    {"Tom&\"Jerry\"<1>", "Tom&amp;&quot;Jerry&quot;&lt;1&gt;", "***"},
    {"50%41off100%", "you said 50%41off100%", "you said ***"},
    {"50%41off100%", "you said 50%2541off100%25", "you said ***"},
    {"gr\xC3\xBC\xC3\x9F" "e dich", "no gr\xC3\xBC\xC3\x9F" "e dich", "no *** ***"},
    {"123-4567890", "123-4567890", "***"},
    /* Short: by itself, as written. */
    {"mail", "mail for mail.example.org: Mail refused, \"mail\"", "*** for mail.example.org: Mail refused, \"***\""},
    {"mail", "the word e-mail, mails and mail.", "the word e-mail, mails and ***."},
    {"ok", "235 OK, ok", "235 OK, **"},
    {"a", "a b", "* b"},
    {"p@ss", "login=p%40ss&x", "login=***&x"},
    {"p@ss", "p=40ss %70%40%73%73", "*** ***"},
    {"secret", "AGFubgBzZWNyZXQ= c2VjcmV0 736563726574", "*** *** ***"},
    {"secret", "x eyJwIjoic2VjcmV0In0= y", "x *** y"},
    {"a b c d", "you said a b c d", "you said ***"},
    {"", "anything", "anything"},
    {NULL, "anything", "anything"},
};

START_TEST(what_is_hidden)
{
    const struct mask_case *c = &cases[_i];
    struct secrets *s = secrets_new("ann", c->password);
    size_t n = strlen(c->text);
    char *text = malloc(n + 1);         /* its end is known to the sanitizer */

    memcpy(text, c->text, n + 1);
    ck_assert_int_eq(secrets_are_in(s, bytes_view(text, n), false), strcmp(c->text, c->masked) != 0);
    secrets_mask_str(s, text);
    ck_assert_str_eq(text, c->masked);
    free(text);
    secrets_free(s);
}
END_TEST

/* Every piece of eight octets of every form, and no shorter one of the password. */
START_TEST(all_pieces)
{
    static const char *const forms[] = {PASSWORD, "Y29ycmVjdCBob3JzZS85", "AGFubgBjb3JyZWN0IGhvcnNlLzk=",
                                        "YW5uAGFubgBjb3JyZWN0IGhvcnNlLzk=", "636f727265637420686f7273652f39"};
    struct secrets *s = secrets_new("ann", PASSWORD);

    for (size_t k = 0; k < ARRAY_LEN(forms); k++)
        for (size_t i = 0, n = strlen(forms[k]); i + SECRETS_MIN + 1 <= n; i++)
            ck_assert_msg(secrets_are_in(s, bytes_view(forms[k] + i, SECRETS_MIN + 1), false), "%s %zu", forms[k], i);
    for (size_t i = 0; i + SECRETS_MIN - 1 <= strlen(PASSWORD); i++)
        ck_assert(!secrets_are_in(s, bytes_view(PASSWORD + i, SECRETS_MIN - 1), false));
    secrets_free(s);
}
END_TEST

START_TEST(codes_in_front_of_lines)
{
    struct secrets *s = secrets_new("ann", PASSWORD);
    char text[] = "550-5.7.1 corre\n550-ct hor\n550 se/9";
    size_t n = secrets_mask(s, text, sizeof(text) - 1, true);

    text[n] = '\0';
    ck_assert_str_eq(text, "550-5.7.1 ***\n550-** ***\n550 ***");
    secrets_free(s);
}
END_TEST

START_TEST(no_credentials)
{
    struct secrets *s = secrets_new(NULL, NULL);

    ck_assert_ptr_nonnull(s);
    ck_assert(!secrets_are_in(s, bytes_view_str("anything"), false));
    ck_assert(!secrets_are_in(NULL, bytes_view_str("anything"), false));
    secrets_free(s);
    secrets_free(NULL);
}
END_TEST

/* A random text is never longer afterwards, and repeats nothing any more but what is too short. */
START_TEST(what_is_left_is_clean)
{
    static const char *const pieces[] = {"correct ", "horse/9", "%20", "Y29ycmVj", "dCBob3Jz", "\n", "AGFubgBj", "=\n",
                                         "&#99;", "x", " ", "5.7.1 ", "250-", "636f", "7272"};
    struct secrets *s = secrets_new("ann", PASSWORD);
    unsigned seed = 1;

    for (int round = 0; round < 2000; round++) {
        char text[128] = "";
        size_t n = 0;
        for (int i = 0; i < 12; i++) {
            const char *piece = pieces[((seed = seed * 1103515245u + 12345u) >> 16) % ARRAY_LEN(pieces)];
            memcpy(text + n, piece, strlen(piece));
            n += strlen(piece);
        }
        n = secrets_mask(s, text, n, round % 2);
        ck_assert_ptr_null(memmem(text, n, "correcth", 8));
        ck_assert_ptr_null(memmem(text, n, "Y29ycmVj", 8));
        ck_assert_ptr_null(memmem(text, n, "AGFubgBj", 8));
    }
    secrets_free(s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("secrets");
    TCase *t = tcase_create("secrets");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_loop_test(t, what_is_hidden, 0, (int)ARRAY_LEN(cases));
    tcase_add_test(t, all_pieces);
    tcase_add_test(t, codes_in_front_of_lines);
    tcase_add_test(t, no_credentials);
    tcase_add_test(t, what_is_left_is_clean);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
