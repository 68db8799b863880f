#include "smtp/work.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Jobs on worker threads: each runs once, elsewhere, and comes back to its own loop. */

#define JOBS 2000

struct job {
    struct work_job job;
    struct lane *lane;
    unsigned runs, dones, value;        /* not atomic: the letters order them, as ThreadSanitizer sees */
    pthread_t ran_on;
};

/* A loop with what is to come back to it. */
struct lane {
    struct loop *loop;
    struct job *jobs;
    size_t n, back;
    pthread_t thread;
    struct work *work;                  /* to submit from the loop's thread */
    size_t chain;                       /* this many more are submitted from on_done */
};

static struct job *of(struct work_job *j)
{
    return (struct job *)(void *)j;     /* its first member */
}

static void run(struct work_job *j)
{
    of(j)->runs++;
    of(j)->value = of(j)->value * 2 + 1;
    of(j)->ran_on = pthread_self();
}

static void on_done(struct work_job *j)
{
    struct lane *lane = of(j)->lane;

    of(j)->dones++;
    ck_assert(pthread_equal(pthread_self(), lane->thread));
    ck_assert(!pthread_equal(of(j)->ran_on, lane->thread));
    if (lane->chain) {
        lane->chain--;
        ck_assert_int_eq(work_submit(lane->work, j), 0);
        return;
    }
    if (++lane->back == lane->n)
        loop_stop(lane->loop);
}

static void lane_init(struct lane *lane, size_t n)
{
    *lane = (struct lane){.loop = loop_new(), .n = n, .jobs = calloc(n, sizeof(struct job)), .thread = pthread_self()};
    ck_assert(lane->loop && lane->jobs);
    for (size_t i = 0; i < n; i++)
        lane->jobs[i] = (struct job){.job = {.run = run, .on_done = on_done, .reply_to = lane->loop}, .lane = lane,
                                     .value = (unsigned)i};
}

static void lane_deinit(struct lane *lane)
{
    loop_free(lane->loop);
    free(lane->jobs);
}

static void expect_all(const struct lane *lane)
{
    ck_assert_uint_eq(lane->back, lane->n);
    for (size_t i = 0; i < lane->n; i++) {
        ck_assert_uint_eq(lane->jobs[i].runs, 1);
        ck_assert_uint_eq(lane->jobs[i].dones, 1);
        ck_assert_uint_eq(lane->jobs[i].value, (unsigned)i * 2 + 1);
    }
}

START_TEST(test_jobs_run_and_come_back)
{
    static const unsigned threads[] = {1, 2, 7};
    struct work *w = work_new(threads[_i]);
    struct lane lane;

    ck_assert_ptr_nonnull(w);
    lane_init(&lane, JOBS);
    for (size_t i = 0; i < JOBS; i++)
        ck_assert_int_eq(work_submit(w, &lane.jobs[i].job), 0);
    ck_assert_int_eq(loop_run(lane.loop), 0);
    expect_all(&lane);
    work_free(w);
    lane_deinit(&lane);
}
END_TEST

/* A job is its owner's again in on_done: it may go once more. */
START_TEST(test_again_from_on_done)
{
    struct work *w = work_new(2);
    struct lane lane;

    lane_init(&lane, 3);
    lane.work = w;
    lane.chain = 500;
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(work_submit(w, &lane.jobs[i].job), 0);
    ck_assert_int_eq(loop_run(lane.loop), 0);
    ck_assert_uint_eq(lane.jobs[0].runs + lane.jobs[1].runs + lane.jobs[2].runs, 503);
    ck_assert_uint_eq(lane.jobs[0].dones + lane.jobs[1].dones + lane.jobs[2].dones, 503);
    work_free(w);
    lane_deinit(&lane);
}
END_TEST

static void *run_lane(void *ctx)
{
    struct lane *lane = ctx;

    lane->thread = pthread_self();
    for (size_t i = 0; i < lane->n; i++)
        if (work_submit(lane->work, &lane->jobs[i].job) != 0)
            return NULL;
    return loop_run(lane->loop) == 0 ? lane : NULL;
}

/* Three loops submit at once; each gets its own jobs back, on its own thread. */
START_TEST(test_several_loops)
{
    struct work *w = work_new(2);
    struct lane lanes[3];
    pthread_t threads[3];

    for (size_t i = 0; i < ARRAY_LEN(lanes); i++) {
        lane_init(&lanes[i], JOBS / 2);
        lanes[i].work = w;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_lane, &lanes[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(lanes); i++) {
        void *result;
        ck_assert_int_eq(pthread_join(threads[i], &result), 0);
        ck_assert_ptr_eq(result, &lanes[i]);
    }
    work_free(w);
    for (size_t i = 0; i < ARRAY_LEN(lanes); i++) {
        expect_all(&lanes[i]);
        lane_deinit(&lanes[i]);
    }
}
END_TEST

/* One thread runs them in the order they came. */
static atomic_uint next_number;

static void run_numbered(struct work_job *j)
{
    of(j)->value = atomic_fetch_add(&next_number, 1);
    of(j)->runs++;
    of(j)->ran_on = pthread_self();
}

START_TEST(test_order)
{
    struct work *w = work_new(1);
    struct lane lane;

    lane_init(&lane, 100);
    for (size_t i = 0; i < lane.n; i++) {
        lane.jobs[i].job.run = run_numbered;
        ck_assert_int_eq(work_submit(w, &lane.jobs[i].job), 0);
    }
    ck_assert_int_eq(loop_run(lane.loop), 0);
    for (size_t i = 0; i < lane.n; i++)
        ck_assert_uint_eq(lane.jobs[i].value, i);
    work_free(w);
    lane_deinit(&lane);
}
END_TEST

/* A gate that jobs wait at: all threads are busy then, and the second one was started while the first was. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned waiting;
static bool open_gate;

static void run_at_gate(struct work_job *j)
{
    pthread_mutex_lock(&gate);
    waiting++;
    pthread_cond_broadcast(&changed);
    while (!open_gate)
        pthread_cond_wait(&changed, &gate);
    pthread_mutex_unlock(&gate);
    run(j);
}

static void wait_for_waiting(unsigned n)
{
    pthread_mutex_lock(&gate);
    while (waiting < n)
        pthread_cond_wait(&changed, &gate);
    pthread_mutex_unlock(&gate);
}

static void open_the_gate(void)
{
    pthread_mutex_lock(&gate);
    open_gate = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&gate);
}

START_TEST(test_as_many_at_once_as_threads)
{
    struct work *w = work_new(3);
    struct lane lane;

    lane_init(&lane, 9);
    for (size_t i = 0; i < lane.n; i++) {
        lane.jobs[i].job.run = run_at_gate;
        ck_assert_int_eq(work_submit(w, &lane.jobs[i].job), 0);
    }
    wait_for_waiting(3);
    open_the_gate();
    ck_assert_int_eq(loop_run(lane.loop), 0);
    expect_all(&lane);
    work_free(w);
    lane_deinit(&lane);
}
END_TEST

/* Two long jobs and two threads: what comes between does not go to a thread that is not idle yet. */
START_TEST(test_a_long_job_holds_nobody_up)
{
    struct work *w = work_new(2);
    struct lane lane, quick;

    lane_init(&lane, 1);
    lane_init(&quick, 50);
    lane.jobs[0].job.run = run_at_gate;
    ck_assert_int_eq(work_submit(w, &lane.jobs[0].job), 0);
    wait_for_waiting(1);
    for (size_t i = 0; i < quick.n; i++)
        ck_assert_int_eq(work_submit(w, &quick.jobs[i].job), 0);
    ck_assert_int_eq(loop_run(quick.loop), 0);          /* while the long one stands at the gate */
    expect_all(&quick);
    ck_assert_uint_eq(lane.back, 0);
    open_the_gate();
    ck_assert_int_eq(loop_run(lane.loop), 0);
    expect_all(&lane);
    work_free(w);
    lane_deinit(&lane);
    lane_deinit(&quick);
}
END_TEST

static void *free_work(void *w)
{
    work_free(w);
    return NULL;
}

/* work_free returns when all have run, those that were still waiting too; their letters lie in the mailbox. */
START_TEST(test_free_waits)
{
    struct work *w = work_new(2);
    struct lane lane;
    pthread_t freeing;

    lane_init(&lane, 40);
    for (size_t i = 0; i < lane.n; i++) {
        lane.jobs[i].job.run = run_at_gate;
        ck_assert_int_eq(work_submit(w, &lane.jobs[i].job), 0);
    }
    wait_for_waiting(2);
    ck_assert_int_eq(pthread_create(&freeing, NULL, free_work, w), 0);
    open_the_gate();
    ck_assert_int_eq(pthread_join(freeing, NULL), 0);
    for (size_t i = 0; i < lane.n; i++)
        ck_assert_uint_eq(lane.jobs[i].runs, 1);
    ck_assert_uint_eq(lane.back, 0);
    loop_stop(lane.loop);
    ck_assert_int_eq(loop_run(lane.loop), 0);           /* a stopped loop reads its last letters */
    expect_all(&lane);
    lane_deinit(&lane);
}
END_TEST

START_TEST(test_unused)
{
    work_free(NULL);
    work_free(work_new(4));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("work");
    TCase *tc = tcase_create("work");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, test_jobs_run_and_come_back, 0, 3);
    tcase_add_test(tc, test_again_from_on_done);
    tcase_add_test(tc, test_several_loops);
    tcase_add_test(tc, test_order);
    tcase_add_test(tc, test_as_many_at_once_as_threads);
    tcase_add_test(tc, test_a_long_job_holds_nobody_up);
    tcase_add_test(tc, test_free_waits);
    tcase_add_test(tc, test_unused);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
