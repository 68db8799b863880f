#include "api/intake.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Bodies on their way in: plain and packed, whole and cut everywhere, broken in every octet, and too large. */

#define MAX 100000
#define FORM "multipart/form-data; boundary=b"
#define FORM_TEXT "--b\r\nContent-Disposition: form-data; name=n\r\n\r\ndata\r\n--b--\r\n"

/* One gzip member; the caller frees it. */
static struct bytes_view pack(struct bytes_view v)
{
    z_stream z = {0};
    size_t room = compressBound(v.n) + 64;
    char *p = malloc(room);

    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)v.p;
    z.avail_in = (uInt)v.n;
    z.next_out = (Bytef *)p;
    z.avail_out = (uInt)room;
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    room = z.total_out;
    deflateEnd(&z);
    return bytes_view(p, room);
}

static void drop(struct bytes_view v)
{
    free((char *)(uintptr_t)v.p);
}

static struct bytes_view joined(struct bytes_view a, struct bytes_view b)
{
    char *p = malloc(a.n + b.n + 1);

    ck_assert_ptr_nonnull(p);
    memcpy(p, a.p, a.n);
    memcpy(p + a.n, b.p, b.n);
    return bytes_view(p, a.n + b.n);
}

static void begin(struct intake *t, enum intake_kind kind, bool packed, size_t length, size_t max)
{
    const struct intake_params p = {.kind = kind, .packed = packed, .max = max, .length = length,
                                    .content_type = kind == INTAKE_URLENCODED ? "application/x-www-form-urlencoded"
                                                                              : FORM};

    ck_assert_int_eq(intake_init(t, &p), 0);
}

/* Feeds a piece to its end, `most` inflated octets at a time. */
static enum outcome_code feed(struct intake *t, struct bytes_view piece, size_t most)
{
    enum outcome_code code;
    size_t before;
    char *copy = malloc(piece.n ? piece.n : 1);
    struct bytes_view in = bytes_view(copy, piece.n);

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, piece.p, piece.n);
    do {
        before = in.n + (t->max - t->total);
        code = intake_feed(t, &in, most);
    } while (code == OUTCOME_SENT && in.n && in.n + (t->max - t->total) != before);
    ck_assert(code != OUTCOME_SENT || in.n == 0);
    free(copy);
    return code;
}

static enum outcome_code feed_all(struct intake *t, struct bytes_view v, size_t piece, size_t most)
{
    enum outcome_code code = OUTCOME_SENT;

    for (size_t at = 0; code == OUTCOME_SENT && at < v.n; at += piece)
        code = feed(t, bytes_view(v.p + at, v.n - at < piece ? v.n - at : piece), most);
    return code == OUTCOME_SENT ? intake_end(t) : code;
}

static void expect_block(struct intake *t, struct bytes_view want)
{
    size_t n;
    char *p;

    ck_assert_uint_eq(t->total, want.n);
    p = intake_take(t, &n);
    ck_assert_uint_eq(n, want.n);
    ck_assert(n == 0 || memcmp(p, want.p, n) == 0);
    free(p);
    ck_assert_uint_eq(t->n, 0);
}

/* Text that packs, with some that does not. */
static struct bytes_view text(size_t n)
{
    static char buf[MAX + 1];
    uint32_t x = 1;

    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        buf[i] = i % 7 ? (char)('a' + (char)(i % 26)) : (char)(x >> 24);
    }
    return bytes_view(buf, n);
}

/* ---- plain ---- */

START_TEST(test_plain)
{
    static const size_t pieces[] = {1, 3, 4096, MAX}, lengths[] = {0, 1, 4095, 4096, 4097, 10000},
                        promised[] = {0, 1, 4096, 10000, MAX};

    for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
        for (size_t k = 0; k < ARRAY_LEN(lengths); k++)
            for (size_t m = 0; m < ARRAY_LEN(promised); m++) {
                struct intake t;
                begin(&t, i % 2 ? INTAKE_RAW : INTAKE_JSON, false, promised[m], MAX);
                ck_assert_int_eq(feed_all(&t, text(lengths[k]), pieces[i], SIZE_MAX), OUTCOME_SENT);
                ck_assert_uint_ge(intake_held(&t), lengths[k] ? 1 : 0);
                expect_block(&t, text(lengths[k]));
                intake_deinit(&t);
            }
}
END_TEST

START_TEST(test_plain_limit)
{
    for (size_t piece = 1; piece <= 1000; piece *= 10)
        for (size_t n = 999; n <= 1002; n++) {
            struct intake t;
            begin(&t, INTAKE_JSON, false, 0, 1000);
            ck_assert_int_eq(feed_all(&t, text(n), piece, SIZE_MAX),
                             n <= 1000 ? OUTCOME_SENT : OUTCOME_PAYLOAD_TOO_LARGE);
            if (n > 1000)
                ck_assert_str_eq(t.detail, "The body is larger than max_body.");
            ck_assert_uint_le(t.total, 1000);
            intake_deinit(&t);
        }
}
END_TEST

START_TEST(test_nothing)
{
    struct intake t;
    size_t n;

    begin(&t, INTAKE_JSON, false, 0, 10);
    ck_assert_int_eq(intake_end(&t), OUTCOME_SENT);
    ck_assert_ptr_null(intake_take(&t, &n));
    ck_assert_uint_eq(n, 0);
    intake_deinit(&t);
    begin(&t, INTAKE_JSON, true, 0, 10);
    ck_assert_int_eq(intake_end(&t), OUTCOME_INVALID_REQUEST);
    intake_deinit(&t);
}
END_TEST

/* ---- packed ---- */

START_TEST(test_packed)
{
    static const size_t lengths[] = {0, 1, 100, 32767, 32768, 32769, 65536, MAX};
    static const size_t pieces[] = {1, 2, 7, 100, MAX}, mosts[] = {1, 1000, 32768, 40000, SIZE_MAX};

    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct bytes_view packed = pack(text(lengths[i]));
        for (size_t k = 0; k < ARRAY_LEN(pieces); k++)
            for (size_t m = 0; m < ARRAY_LEN(mosts); m++) {
                struct intake t;
                begin(&t, INTAKE_JSON, true, packed.n, MAX);
                ck_assert_int_eq(feed_all(&t, packed, pieces[k], mosts[m]), OUTCOME_SENT);
                expect_block(&t, text(lengths[i]));
                intake_deinit(&t);
            }
        drop(packed);
    }
}
END_TEST

/* In two pieces, cut at every octet. */
START_TEST(test_packed_cut)
{
    struct bytes_view packed = pack(text(2000));

    for (size_t at = 0; at <= packed.n; at++) {
        struct intake t;
        begin(&t, INTAKE_JSON, true, 0, MAX);
        ck_assert_int_eq(feed(&t, bytes_view(packed.p, at), SIZE_MAX), OUTCOME_SENT);
        ck_assert_int_eq(feed(&t, bytes_view(packed.p + at, packed.n - at), SIZE_MAX), OUTCOME_SENT);
        ck_assert_int_eq(intake_end(&t), OUTCOME_SENT);
        expect_block(&t, text(2000));
        intake_deinit(&t);
    }
    drop(packed);
}
END_TEST

/* Every beginning is not the whole, the check sum and the length at the end included. */
START_TEST(test_packed_truncated)
{
    struct bytes_view packed = pack(text(2000));

    for (size_t n = 0; n < packed.n; n++) {
        struct intake t;
        begin(&t, INTAKE_JSON, true, 0, MAX);
        ck_assert_int_eq(feed_all(&t, bytes_view(packed.p, n), n + 1, SIZE_MAX), OUTCOME_INVALID_REQUEST);
        ck_assert_str_eq(t.detail, "The gzip body ends too early.");
        intake_deinit(&t);
    }
    drop(packed);
}
END_TEST

/* RFC 1952 §2.2: members one after another are one file, cut anywhere. */
START_TEST(test_members)
{
    struct bytes_view a = pack(text(500)), nothing = pack(text(0)), b = pack(bytes_view("end", 3));
    struct bytes_view ab = joined(a, nothing), all = joined(ab, b), want = joined(text(500), bytes_view("end", 3));

    for (size_t at = 0; at <= all.n; at++) {
        struct intake t;
        begin(&t, INTAKE_JSON, true, 0, MAX);
        ck_assert_int_eq(feed(&t, bytes_view(all.p, at), SIZE_MAX), OUTCOME_SENT);
        ck_assert_int_eq(feed(&t, bytes_view(all.p + at, all.n - at), SIZE_MAX), OUTCOME_SENT);
        ck_assert_int_eq(intake_end(&t), OUTCOME_SENT);
        expect_block(&t, want);
        intake_deinit(&t);
        begin(&t, INTAKE_JSON, true, 0, MAX);           /* whole only where a member ends */
        ck_assert_int_eq(feed_all(&t, bytes_view(all.p, at), at + 1, SIZE_MAX),
                         at == a.n || at == ab.n || at == all.n ? OUTCOME_SENT : OUTCOME_INVALID_REQUEST);
        intake_deinit(&t);
    }
    drop(a), drop(nothing), drop(b), drop(ab), drop(all), drop(want);
}
END_TEST

/* A member that fills the room to the octet, and another behind it. */
START_TEST(test_member_at_the_edge)
{
    for (size_t n = 32767; n <= 32769; n++) {
        struct bytes_view a = pack(text(n)), b = pack(bytes_view("end", 3)), all = joined(a, b);
        struct bytes_view want = joined(text(n), bytes_view("end", 3));
        for (size_t most = 1; most < 100000; most *= 8) {
            struct intake t;
            begin(&t, INTAKE_JSON, true, 0, MAX);
            ck_assert_int_eq(feed_all(&t, all, all.n, most), OUTCOME_SENT);
            expect_block(&t, want);
            intake_deinit(&t);
        }
        drop(a), drop(b), drop(all), drop(want);
    }
}
END_TEST

START_TEST(test_garbage_behind)
{
    static const char *const garbage[] = {"x", "\n", "{}", "\x1f\x8b\x08", "garbage as long as a header"};
    struct bytes_view packed = pack(text(300));

    for (size_t i = 0; i < ARRAY_LEN(garbage); i++)
        for (size_t piece = 1; piece <= 1000; piece += 333) {
            struct bytes_view all = joined(packed, bytes_view_str(garbage[i]));
            struct intake t;
            begin(&t, INTAKE_JSON, true, 0, MAX);
            ck_assert_int_eq(feed_all(&t, all, piece, SIZE_MAX), OUTCOME_INVALID_REQUEST);
            intake_deinit(&t);
            drop(all);
        }
    drop(packed);
}
END_TEST

START_TEST(test_not_gzip)
{
    static const char *const bodies[] = {"{}", "x", "\x1f", "\x1f\x8b", "\x1f\x8b\x07 and so on", "\x78\x9c\x03\x00",
                                         "{\"from\":\"a@b.example\"}"};

    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct intake t;
        begin(&t, INTAKE_JSON, true, 0, MAX);
        ck_assert_int_eq(feed_all(&t, bytes_view_str(bodies[i]), 100, SIZE_MAX), OUTCOME_INVALID_REQUEST);
        ck_assert_ptr_nonnull(t.detail);
        intake_deinit(&t);
    }
}
END_TEST

/* One octet changed, each in turn: refused, or (in the header's unused octets) the same as before. */
START_TEST(test_broken_octets)
{
    struct bytes_view packed = pack(text(600));
    char *p = (char *)(uintptr_t)packed.p;
    size_t harmless = 0;

    for (size_t at = 0; at < packed.n; at++) {
        struct intake t;
        enum outcome_code code;
        p[at] = (char)(p[at] ^ 0x55);
        begin(&t, INTAKE_JSON, true, 0, MAX);
        code = feed_all(&t, packed, packed.n, SIZE_MAX);
        if (code == OUTCOME_SENT) {
            harmless++;
            expect_block(&t, text(600));
        } else {
            ck_assert_int_eq(code, OUTCOME_INVALID_REQUEST);
        }
        intake_deinit(&t);
        p[at] = (char)(p[at] ^ 0x55);
    }
    ck_assert_uint_le(harmless, 6);     /* time of change, extra flags, system */
    drop(packed);
}
END_TEST

START_TEST(test_packed_limit)
{
    for (size_t n = 9999; n <= 10001; n++) {
        struct bytes_view packed = pack(text(n));
        for (size_t piece = 1; piece <= 10000; piece *= 100) {
            struct intake t;
            begin(&t, INTAKE_JSON, true, 0, 10000);
            ck_assert_int_eq(feed_all(&t, packed, piece, 1000), n <= 10000 ? OUTCOME_SENT : OUTCOME_PAYLOAD_TOO_LARGE);
            if (n > 10000)
                ck_assert_str_eq(t.detail, "The body is larger than max_body once inflated.");
            intake_deinit(&t);
        }
        drop(packed);
    }
}
END_TEST

/* A thousand to one: refused at the limit, with no more memory held than that, and made in steps as asked. */
START_TEST(test_bomb)
{
    static char zeros[20 * 1000 * 1000];
    struct bytes_view packed = pack(bytes_view(zeros, sizeof(zeros)));
    struct bytes_view in = packed;
    struct intake t;
    size_t before = 0, steps = 0;
    enum outcome_code code;

    ck_assert_uint_lt(packed.n, sizeof(zeros) / 500);
    begin(&t, INTAKE_JSON, true, packed.n, 1000 * 1000);
    while ((code = intake_feed(&t, &in, 50000)) == OUTCOME_SENT) {
        ck_assert_uint_le(t.total - before, 50000 + 32 * 1024);
        ck_assert_uint_le(intake_held(&t), 1000 * 1000);
        before = t.total;
        ck_assert_uint_lt(steps++, 100);
    }
    ck_assert_int_eq(code, OUTCOME_PAYLOAD_TOO_LARGE);
    ck_assert_uint_le(t.total, 1000 * 1000);
    ck_assert_uint_le(intake_held(&t), 1000 * 1000);
    intake_deinit(&t);
    drop(packed);
}
END_TEST

/* ---- forms ---- */

START_TEST(test_forms)
{
    struct bytes_view plain = bytes_view_str(FORM_TEXT), packed = pack(plain);

    for (int gzip = 0; gzip < 2; gzip++)
        for (size_t piece = 1; piece <= plain.n; piece++) {
            struct intake t;
            begin(&t, INTAKE_FORM, gzip, 0, plain.n);
            ck_assert_int_eq(feed_all(&t, gzip ? packed : plain, piece, 10), OUTCOME_SENT);
            ck_assert_uint_eq(t.form->n_parts, 1);
            ck_assert_str_eq(t.form->parts[0].data, "data");
            ck_assert_uint_ge(intake_held(&t), 4);
            intake_deinit(&t);
        }
    drop(packed);
}
END_TEST

START_TEST(test_forms_refused)
{
    static const struct {
        const char *body;
        size_t max;
        enum outcome_code code;
    } cases[] = {
        {"", 100, OUTCOME_INVALID_REQUEST},
        {"--b\r\nContent-Disposition: form-data; name=n\r\n\r\ndata", 100, OUTCOME_INVALID_REQUEST},
        {"--b\r\nnonsense\r\n\r\ndata\r\n--b--", 100, OUTCOME_INVALID_REQUEST},
        {FORM_TEXT, sizeof(FORM_TEXT) - 2, OUTCOME_PAYLOAD_TOO_LARGE},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (int gzip = 0; gzip < 2; gzip++) {
            struct bytes_view body = bytes_view_str(cases[i].body), packed = pack(body);
            struct intake t;
            begin(&t, INTAKE_FORM, gzip, 0, cases[i].max);
            ck_assert_int_eq(feed_all(&t, gzip ? packed : body, 5, SIZE_MAX), cases[i].code);
            ck_assert(t.detail && t.detail[0]);
            intake_deinit(&t);
            drop(packed);
        }
}
END_TEST

/* A boundary that is none is told with the first octet, or at the end. */
START_TEST(test_no_boundary)
{
    for (int gzip = 0; gzip < 2; gzip++) {
        const struct intake_params p = {.kind = INTAKE_FORM, .packed = gzip, .max = 100, .content_type =
                                        "multipart/form-data"};
        struct bytes_view packed = pack(bytes_view_str(FORM_TEXT));
        struct intake t;
        ck_assert_int_eq(intake_init(&t, &p), 0);
        ck_assert_int_eq(feed_all(&t, gzip ? packed : bytes_view_str(FORM_TEXT), 1000, SIZE_MAX),
                         OUTCOME_INVALID_REQUEST);
        ck_assert_ptr_nonnull(strstr(t.detail, "boundary"));
        intake_deinit(&t);
        drop(packed);
    }
}
END_TEST

START_TEST(test_urlencoded)
{
    struct bytes_view packed = pack(bytes_view_str("a=%41&b=x+y"));
    struct intake t;

    begin(&t, INTAKE_URLENCODED, true, 0, 100);
    ck_assert_int_eq(feed_all(&t, packed, 1, SIZE_MAX), OUTCOME_SENT);
    ck_assert_uint_eq(t.form->n_parts, 2);
    ck_assert_str_eq(t.form->parts[0].data, "A");
    ck_assert_str_eq(t.form->parts[1].data, "x y");
    intake_deinit(&t);
    drop(packed);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("intake");
    TCase *tc = tcase_create("intake");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_plain);
    tcase_add_test(tc, test_plain_limit);
    tcase_add_test(tc, test_nothing);
    tcase_add_test(tc, test_packed);
    tcase_add_test(tc, test_packed_cut);
    tcase_add_test(tc, test_packed_truncated);
    tcase_add_test(tc, test_members);
    tcase_add_test(tc, test_member_at_the_edge);
    tcase_add_test(tc, test_garbage_behind);
    tcase_add_test(tc, test_not_gzip);
    tcase_add_test(tc, test_broken_octets);
    tcase_add_test(tc, test_packed_limit);
    tcase_add_test(tc, test_bomb);
    tcase_add_test(tc, test_forms);
    tcase_add_test(tc, test_forms_refused);
    tcase_add_test(tc, test_no_boundary);
    tcase_add_test(tc, test_urlencoded);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
