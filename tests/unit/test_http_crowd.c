#include "api/http_crowd.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

/* Connections counted by address. */

static struct http_crowd_key key_of(const char *text)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct http_crowd_key key;

    if (inet_pton(AF_INET, text, &four.sin_addr) == 1) {
        http_crowd_key((const struct sockaddr *)(const void *)&four, &key);
    } else {
        ck_assert_int_eq(inet_pton(AF_INET6, text, &six.sin6_addr), 1);
        http_crowd_key((const struct sockaddr *)(const void *)&six, &key);
    }
    return key;
}

static bool enter(struct http_crowd *c, const char *text)
{
    struct http_crowd_key key = key_of(text);

    return http_crowd_enter(c, &key);
}

static void leave(struct http_crowd *c, const char *text)
{
    struct http_crowd_key key = key_of(text);

    http_crowd_leave(c, &key);
}

START_TEST(a_limit_for_each_address)
{
    struct http_crowd *c = http_crowd_new(2, 100);

    ck_assert(enter(c, "192.0.2.1") && enter(c, "192.0.2.1"));
    ck_assert(!enter(c, "192.0.2.1"));
    ck_assert(enter(c, "192.0.2.2"));
    leave(c, "192.0.2.1");
    ck_assert(enter(c, "192.0.2.1"));
    ck_assert(!enter(c, "192.0.2.1"));
    http_crowd_free(c);
}
END_TEST

START_TEST(ipv6_by_64_bits)
{
    struct http_crowd *c = http_crowd_new(1, 100);

    ck_assert(enter(c, "2001:db8:0:1::1"));
    ck_assert(!enter(c, "2001:db8:0:1:ffff::2"));
    ck_assert(enter(c, "2001:db8:0:2::1"));
    ck_assert(enter(c, "::ffff:192.0.2.1"));
    ck_assert(!enter(c, "192.0.2.1"));
    ck_assert(enter(c, "::1"));
    http_crowd_free(c);
}
END_TEST

START_TEST(a_unix_socket_is_no_address)
{
    struct http_crowd *c = http_crowd_new(1, 100);
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    struct http_crowd_key key;

    http_crowd_key((const struct sockaddr *)(const void *)&sun, &key);
    for (int i = 0; i < 3; i++)
        ck_assert(http_crowd_enter(c, &key));
    http_crowd_leave(c, &key);
    http_crowd_free(c);
}
END_TEST

START_TEST(texts)
{
    struct http_crowd_key four = key_of("192.0.2.1"), six = key_of("2001:db8:0:1:2:3:4:5");
    char text[64];

    http_crowd_text(&four, text);
    ck_assert_str_eq(text, "192.0.2.1");
    http_crowd_text(&six, text);
    ck_assert_str_eq(text, "2001:db8:0:1::/64");
}
END_TEST

/* Far more addresses than buckets; the counts are exact, in any order of leaving. */
START_TEST(many_addresses)
{
    struct http_crowd *c = http_crowd_new(3, 1);
    char text[32];

    for (int round = 0; round < 4; round++)
        for (int i = 0; i < 2000; i++) {
            snprintf(text, sizeof(text), "10.0.%d.%d", i / 250, i % 250);
            ck_assert(enter(c, text) == (round < 3));
        }
    for (int i = 1999; i >= 0; i--) {
        snprintf(text, sizeof(text), "10.0.%d.%d", i / 250, i % 250);
        for (int n = 0; n < 3; n++)
            leave(c, text);
        ck_assert(enter(c, text));
    }
    http_crowd_free(c);
}
END_TEST

static void *come_and_go(void *ctx)
{
    for (int i = 0; i < 20000; i++)
        if (enter(ctx, "192.0.2.1"))
            leave(ctx, "192.0.2.1");
    return NULL;
}

START_TEST(several_threads)
{
    struct http_crowd *c = http_crowd_new(2, 100);
    pthread_t threads[3];

    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, come_and_go, c), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    ck_assert(enter(c, "192.0.2.1") && enter(c, "192.0.2.1") && !enter(c, "192.0.2.1"));
    http_crowd_free(c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("http_crowd");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_test(t, a_limit_for_each_address);
    tcase_add_test(t, ipv6_by_64_bits);
    tcase_add_test(t, a_unix_socket_is_no_address);
    tcase_add_test(t, texts);
    tcase_add_test(t, many_addresses);
    tcase_add_test(t, several_threads);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
