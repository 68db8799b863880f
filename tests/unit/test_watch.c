#include "smtp/watch.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Files that change: told when they are at rest, each change once, and those of a group together. */

enum { STEPS, MOVED, PAIR, STEADY, GROUPS };
static const char *const names[] = {"steps", "moved", "pair-a", "pair-b", "steady"};
static const unsigned groups[] = {STEPS, MOVED, PAIR, PAIR, STEADY};

static char dir[] = "/tmp/mailhatch-watch-XXXXXX";
static char paths[ARRAY_LEN(names)][64];
static struct loop *loop;
static struct watch *w;
static struct loop_timer next, patience;
static unsigned told[GROUPS], step;
static uint64_t changed_at[GROUPS], told_at[GROUPS];
static bool wrong_first;                /* the group of two was told while the second file was in the making */

static void append(size_t i, const char *text)
{
    int fd = open(paths[i], O_WRONLY | O_CREAT | O_APPEND, 0600);

    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    changed_at[groups[i]] = loop_now(loop);
}

static void move_in(size_t i, const char *text)
{
    char new[80];
    FILE *f;

    snprintf(new, sizeof(new), "%s/new", dir);
    f = fopen(new, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
    ck_assert_int_eq(rename(new, paths[i]), 0);
    changed_at[groups[i]] = loop_now(loop);
}

static bool is_all_told(unsigned n)
{
    for (size_t i = 0; i < GROUPS - 1; i++)
        if (told[i] < n)
            return false;
    return true;
}

/* Within the time that a file must rest: the first step alone is never told. */
static void on_next(struct loop_timer *t)
{
    (void)t;
    append(0, "the rest");
    append(3, "the rest");
    step++;
}

static void on_changed(void *ctx, unsigned group)
{
    (void)ctx;
    told[group]++;
    told_at[group] = loop_now(loop);
    wrong_first = wrong_first || (group == PAIR && told[PAIR] == 2 && step < 1);
    if (step == 0 && is_all_told(1) && told[STEADY]) {
        append(0, "begun");
        move_in(1, "whole");
        move_in(2, "whole");
        append(3, "begun");
        loop_timer_set(loop, &next, loop_now(loop) + 2 * WATCH_REPLACED_MS);
    }
    if (is_all_told(2))
        loop_stop(loop);
}

static void on_patience(struct loop_timer *t)
{
    (void)t;
    loop_stop(loop);
}

START_TEST(test_steps_moves_and_groups)
{
    struct watch_file files[ARRAY_LEN(names) + 1] = {{NULL, 77}};

    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_ptr_nonnull(loop = loop_new());
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(paths[i], sizeof(paths[i]), "%s/%s", dir, names[i]);
        append(i, "old");
        files[i + 1] = (struct watch_file){paths[i], groups[i]};
    }
    ck_assert_ptr_nonnull(w = watch_new(loop, on_changed, NULL));
    for (size_t i = 0; i < 100; i++)    /* the thread is in the midst of another list: only the last counts */
        ck_assert_int_eq(watch_set(w, files, i % 3), 0);
    ck_assert_int_eq(watch_set(w, files, ARRAY_LEN(files)), 0);
    next.on_timer = on_next;
    patience.on_timer = on_patience;
    loop_timer_set(loop, &patience, loop_now(loop) + 60000);
    ck_assert_int_eq(loop_run(loop), 0);
    for (size_t i = 0; i < GROUPS - 1; i++)
        ck_assert_uint_eq(told[i], 2);
    ck_assert_uint_eq(told[STEADY], 1);
    ck_assert(!wrong_first);
    ck_assert_uint_eq(step, 1);
    ck_assert_uint_ge(told_at[STEPS] - changed_at[STEPS], WATCH_WRITTEN_MS);
    ck_assert_uint_ge(told_at[PAIR] - changed_at[PAIR], WATCH_WRITTEN_MS);
    ck_assert_uint_ge(told_at[MOVED] - changed_at[MOVED], WATCH_REPLACED_MS);
    ck_assert_uint_lt(told_at[MOVED], told_at[STEPS]);
    watch_stop(w);
    loop_free(loop);
    watch_free(w);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlink(paths[i]);
    rmdir(dir);
}
END_TEST

static void on_nothing(void *ctx, unsigned group)
{
    (void)ctx;
    (void)group;
}

START_TEST(test_stop_at_once)
{
    const struct watch_file file = {"/etc/hostname", 5};

    for (size_t i = 0; i < 50; i++) {
        ck_assert_ptr_nonnull(loop = loop_new());
        ck_assert_ptr_nonnull(w = watch_new(loop, on_nothing, NULL));
        ck_assert_int_eq(watch_set(w, &file, 1), 0);
        watch_stop(w);
        loop_free(loop);
        watch_free(w);
    }
    watch_free(NULL);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("watch");
    TCase *t = tcase_create("watch");

    tcase_set_timeout(t, 90);
    tcase_add_test(t, test_steps_moves_and_groups);
    tcase_add_test(t, test_stop_at_once);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    int failed;

    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
