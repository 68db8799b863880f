#include "tests/unit/engine_case.h"

#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What comes between epoll_wait's answer and the letters that are read because of it. */

static void (*_Atomic behind_the_look)(void);  /* called once, when a loop was woken by a letter and has not read it */

static bool has_letter(const struct epoll_event *events, int n)
{
    while (n > 0)
        if (!events[--n].data.ptr)
            return true;
    return false;
}

int epoll_wait(int fd, struct epoll_event *events, int max, int ms)
{
    int n = (int)syscall(SYS_epoll_pwait, fd, events, max, ms, NULL, 0);
    void (*act)(void) = has_letter(events, n) ? atomic_exchange(&behind_the_look, NULL) : NULL;

    if (act)
        act();
    return n;
}

static void hang_up_and_submit(void)
{
    peer_hang_up(ec_peer);
    peer_wait_closed(ec_peer, 1);
    ec_submit(10000);
}

/* The relay's end is here before the second mail, and no event tells of it before both mails are lent. */
START_TEST(a_session_ends_before_a_mail_that_comes_late)
{
    ec_start(&(struct peer_rule){0}, 1);
    ec_assert_sent(ec_send_one(1));
    ec_assert_sent(ec_send_one(2));
    ck_assert_uint_eq(ec_report(2)->flights, 1);
    atomic_store(&behind_the_look, hang_up_and_submit);
    ec_submit(10000);
    ec_assert_sent(ec_report(3));
    ec_assert_sent(ec_report(4));
    ck_assert(!atomic_load(&behind_the_look));
    ck_assert_uint_eq(ec_stats().stale, 1);
    ck_assert_int_eq(peer_mails(ec_peer), 4);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("engine_late");
    TCase *t = tcase_create("late");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, ec_setup, ec_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_session_ends_before_a_mail_that_comes_late);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
