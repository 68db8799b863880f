#include "service/descriptors.h"

#include <check.h>
#include <stdlib.h>

/* Who gets which descriptors, by limits. */

static const struct {
    uint64_t limit;
    unsigned max_connections, connections, admin, kept;
    bool enough;
} rows[] = {
    {UINT64_MAX, 2048, 2048, 128, 200, true},   /* RLIM_INFINITY */
    {2248, 2048, 2048, 128, 200, true},
    {2247, 2048, 2047, 128, 200, false},
    {1024, 2048, 824, 128, 200, false},
    {400, 2048, 200, 128, 200, false},
    {256, 2048, 128, 32, 128, false},           /* half of it stays with us */
    {256, 100, 100, 32, 128, false},
    {20, 2048, 10, 2, 10, false},
    {1, 2048, 1, 1, 0, false},
    {0, 2048, 1, 1, 0, false},
};

START_TEST(shares)
{
    struct config c = {.max_connections = rows[_i].max_connections, .http_loops = 1};
    struct descriptors d;

    descriptors_share_out(&c, rows[_i].limit, &d);
    ck_assert_uint_eq(d.limit, rows[_i].limit);
    ck_assert_uint_eq(d.configured, rows[_i].max_connections);
    ck_assert_uint_eq(d.connections, rows[_i].connections);
    ck_assert_uint_eq(d.admin_connections, rows[_i].admin);
    ck_assert_uint_eq(d.kept, rows[_i].kept);
    ck_assert_int_eq(d.limit >= d.wanted, rows[_i].enough);
}
END_TEST

START_TEST(relays_count)
{
    struct config c = {.max_connections = 100, .http_loops = 2};
    struct descriptors without, with;

    descriptors_share_out(&c, 100000, &without);
    c.n_relays = 2;
    c.relays = calloc(2, sizeof(c.relays[0]));
    ck_assert_ptr_nonnull(c.relays);
    c.relays[0].c.max_sessions = 8;
    c.relays[1].c.max_sessions = 4;
    descriptors_share_out(&c, 100000, &with);
    ck_assert_uint_eq(with.wanted, without.wanted + 24);
    ck_assert_uint_eq(with.kept, without.kept + 24);
    free(c.relays);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("descriptors");
    TCase *t = tcase_create("descriptors");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_loop_test(t, shares, 0, ARRAY_LEN(rows));
    tcase_add_test(t, relays_count);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
